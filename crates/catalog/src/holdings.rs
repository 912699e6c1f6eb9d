//! What destinations hold, as far as this region knows: the other side of their heads. A replica that a
//! destination lost makes its item selectable again; one that it deleted does not.

use std::collections::BTreeMap;

use model::evidence::HeadSeen;
use model::grant::Level;
use model::ids::{CheckpointItemId, RegionName, ReplicationRecordId, ResourceId};
use model::replication::{Destination, RecordEvent};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::records::{RecordChange, lock_record, store_record_state};
use crate::value::{Row, values};

/// A replica that should be there, for comparison with a head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoneRecord {
    /// The record.
    pub id: ReplicationRecordId,
    /// The item here.
    pub item_id: CheckpointItemId,
    /// The replica there.
    pub destination_item_id: CheckpointItemId,
    /// Heads with a larger counter list the replica.
    pub head_counter: u64,
    /// What is proved of it, as far as this region was told.
    pub level: Level,
    /// Whether a head told that it was deleted or expired there.
    pub is_gone: bool,
    /// When the record last changed.
    pub updated_at: Timestamp,
}

impl Catalog {
    /// Manifests of a server's live items that a destination has acknowledged and, as far as we know,
    /// still holds, newest first: what the next item of the server can be sent against.
    pub async fn replicated_manifests(
        &self,
        resource: &ResourceId,
        destination: &Destination,
        limit: u32,
    ) -> Result<Vec<[u8; 32]>, CatalogError> {
        let mut tx = self.read("reading what a destination holds").await?;
        let rows = tx
            .all(
                "SELECT i.manifest_digest AS manifest_digest FROM checkpoint_items i \
                 JOIN replication_records r ON r.checkpoint_item_id = i.id \
                 WHERE i.resource_id = $1 AND r.destination_region = $2 AND r.destination_project_id = $3 \
                 AND r.state = 'done' AND r.is_current = 1 AND r.replica_gone_at IS NULL \
                 AND i.manifest_digest IS NOT NULL \
                 AND i.state IN ('available', 'waiting_restore', 'restoring') \
                 ORDER BY i.created_at DESC, i.id DESC LIMIT $4",
                values![resource, &destination.region, &destination.project_id, limit],
            )
            .await?;
        rows.iter().map(|row| row.bytes("manifest_digest")).collect()
    }

    /// The current records that are done for a region, for comparison with its head.
    pub async fn done_records(&self, region: &RegionName) -> Result<Vec<DoneRecord>, CatalogError> {
        let mut tx = self.read("reading what a region should hold").await?;
        let rows = tx
            .all(
                "SELECT id, checkpoint_item_id, destination_item_id, receipt_head_counter, \
                 COALESCE(replica_level, 'stored') AS replica_level, replica_gone_at, updated_at FROM replication_records \
                 WHERE destination_region = $1 AND state = 'done' AND is_current = 1 ORDER BY id",
                values![region],
            )
            .await?;
        rows.iter().map(done_of_row).collect()
    }

    /// Notes that the destination lost these replicas; their items are selected again. Records that
    /// are not done any more are left alone. Answers how many were lost.
    pub async fn mark_lost(&self, ids: &[ReplicationRecordId], now: Timestamp) -> Result<u64, CatalogError> {
        let mut tx = self.write("noting lost replicas").await?;
        let mut sorted = ids.to_vec();
        sorted.sort();
        sorted.dedup();
        let mut lost = 0;
        for id in sorted {
            let Ok(state) = lock_record(&mut tx, id).await?.on(RecordEvent::MissingFromHead) else {
                continue;
            };
            let change = RecordChange {
                reason_code: "lost".to_owned(),
                reason: "the destination no longer lists the replica; replicate again".to_owned(),
            };
            store_record_state(&mut tx, id, state, &change, now).await?;
            lost += 1;
        }
        tx.commit().await?;
        Ok(lost)
    }

    /// Notes that the destination deleted or expired these replicas. Their records stay done; only a
    /// manual order replicates such an item again.
    pub async fn note_replicas_gone(
        &self,
        ids: &[ReplicationRecordId],
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting deleted replicas").await?;
        let mut sorted = ids.to_vec();
        sorted.sort();
        for id in sorted {
            tx.execute(
                "UPDATE replication_records SET replica_gone_at = $1 \
                 WHERE id = $2 AND state = 'done' AND replica_gone_at IS NULL",
                values![now, id],
            )
            .await?;
        }
        tx.commit().await
    }

    /// Notes that the destination holds these replicas again: it took their deletion back.
    pub async fn note_replicas_back(&self, ids: &[ReplicationRecordId]) -> Result<(), CatalogError> {
        let mut tx = self.write("noting replicas that are back").await?;
        let mut sorted = ids.to_vec();
        sorted.sort();
        for id in sorted {
            tx.execute(
                "UPDATE replication_records SET replica_gone_at = NULL WHERE id = $1 AND state = 'done' \
                 AND is_current = 1",
                values![id],
            )
            .await?;
        }
        tx.commit().await
    }

    /// Notes what a head says is proved of replicas.
    pub async fn note_replica_levels(
        &self,
        levels: &[(ReplicationRecordId, Level)],
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting what is proved of replicas").await?;
        let mut sorted = levels.to_vec();
        sorted.sort();
        for (id, level) in sorted {
            tx.execute(
                "UPDATE replication_records SET replica_level = $1 WHERE id = $2 AND state = 'done'",
                values![level.word(), id],
            )
            .await?;
        }
        tx.commit().await
    }

    /// Notes that every record was compared with a head of a region: from now on it is evidence for the replicas
    /// that it lists.
    pub async fn note_head_compared(&self, region: &RegionName, head: &HeadSeen) -> Result<(), CatalogError> {
        let mut tx = self.write("noting that a head was compared").await?;
        tx.execute(
            "UPDATE peer_heads SET compared_counter = $1, asked_at = $2 WHERE region = $3 \
             AND (compared_counter IS NULL OR compared_counter < $1)",
            values![head.counter, head.asked_at, region],
        )
        .await?;
        tx.commit().await
    }
}

/// The newest head of each region that was compared with the records.
pub(crate) async fn heads_seen(tx: &mut Tx) -> Result<BTreeMap<RegionName, HeadSeen>, CatalogError> {
    let rows = tx
        .all(
            "SELECT region, compared_counter, asked_at FROM peer_heads WHERE asked_at IS NOT NULL",
            values![],
        )
        .await?;
    let seen = |row: &Row| {
        let head = HeadSeen { counter: row.count("compared_counter")?, asked_at: row.time("asked_at")? };
        Ok((row.id("region")?, head))
    };
    rows.iter().map(seen).collect()
}

fn done_of_row(row: &Row) -> Result<DoneRecord, CatalogError> {
    Ok(DoneRecord {
        id: row.id("id")?,
        item_id: row.id("checkpoint_item_id")?,
        destination_item_id: row.id("destination_item_id")?,
        head_counter: row.count("receipt_head_counter")?,
        level: row.word("replica_level", Level::from_word)?,
        is_gone: row.optional_time("replica_gone_at")?.is_some(),
        updated_at: row.time("updated_at")?,
    })
}
