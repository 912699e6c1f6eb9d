//! Replicas that arrived here: what heads say about them, what is proved of them, and the tombstones
//! of those that are gone.

use model::grant::{Level, Mode};
use model::ids::{CheckpointItemId, GrantId, ProjectId, RegionName};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::jobs::{JobKind, Lease, check_lease_on, end_job};
use crate::region::take_head_counter;
use crate::value::{Row, values};

/// Where a replica is in its life here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReplicaState {
    /// It is here.
    Live,
    /// Somebody ordered its deletion.
    Deleting,
    /// Retention ordered its end.
    Expiring,
    /// Somebody deleted it.
    Deleted,
    /// Retention dropped it.
    Expired,
}

impl ReplicaState {
    /// All states.
    pub const ALL: [ReplicaState; 5] = [
        ReplicaState::Live,
        ReplicaState::Deleting,
        ReplicaState::Expiring,
        ReplicaState::Deleted,
        ReplicaState::Expired,
    ];

    /// The word stored in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            ReplicaState::Live => "live",
            ReplicaState::Deleting => "deleting",
            ReplicaState::Expiring => "expiring",
            ReplicaState::Deleted => "deleted",
            ReplicaState::Expired => "expired",
        }
    }

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<ReplicaState> {
        ReplicaState::ALL.into_iter().find(|state| state.word() == word)
    }

    /// Whether it can no longer be counted on here, by somebody's will.
    pub fn is_ending(self) -> bool {
        self != ReplicaState::Live
    }
}

/// A replica, or the tombstone of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its item here; derived from origin, project and generation.
    pub item_id: CheckpointItemId,
    /// The region that made the backup.
    pub source_region: RegionName,
    /// The item there.
    pub source_item_id: CheckpointItemId,
    /// The project here.
    pub destination_project_id: ProjectId,
    /// Which incarnation of the replica.
    pub generation: u32,
    /// The signed manifest.
    pub manifest_digest: [u8; 32],
    /// The vault here.
    pub vault_id: [u8; 16],
    /// The grant that let it in.
    pub grant_id: GrantId,
    /// What this region may know of it.
    pub mode: Mode,
    /// What is proved of it.
    pub level: Level,
    /// Where it is in its life.
    pub state: ReplicaState,
    /// Stored bytes, as the manifest says.
    pub stored_bytes: u64,
    /// Nothing expires it before.
    pub keep_until: Timestamp,
    /// The receipt that was given.
    pub receipt: Vec<u8>,
    /// When it was published.
    pub published_at: Timestamp,
    /// When it went.
    pub ended_at: Option<Timestamp>,
}

/// What the next head to a region says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadIssue {
    /// Its counter; receipts prepared before it cannot be published any more.
    pub counter: u64,
    /// Every replica of that region, tombstones too, by item id.
    pub replicas: Vec<Replica>,
}

macro_rules! replica_columns {
    () => {
        "item_id, source_region, source_item_id, destination_project_id, generation, manifest_digest, \
         vault_id, grant_id, mode, level, state, stored_bytes, keep_until, receipt, published_at, ended_at"
    };
}

impl Catalog {
    /// Takes the next head counter and what the head of that counter lists, in one transaction: a
    /// replica is in every head whose counter is larger than the one in its receipt.
    pub async fn issue_head(&self, source_region: &RegionName) -> Result<HeadIssue, CatalogError> {
        let mut tx = self.write("issuing a head").await?;
        let counter = take_head_counter(&mut tx).await?;
        let replicas = replicas_of(&mut tx, source_region).await?;
        tx.commit().await?;
        Ok(HeadIssue { counter, replicas })
    }

    /// Every replica of a region, tombstones too, by item id.
    pub async fn replicas_for_head(&self, source_region: &RegionName) -> Result<Vec<Replica>, CatalogError> {
        let mut tx = self.read("listing replicas").await?;
        replicas_of(&mut tx, source_region).await
    }

    /// The replica behind an item, if it is one.
    pub async fn replica(&self, item: CheckpointItemId) -> Result<Option<Replica>, CatalogError> {
        let mut tx = self.read("reading a replica").await?;
        let row = tx
            .first(concat!("SELECT ", replica_columns!(), " FROM replicas WHERE item_id = $1"), values![item])
            .await?;
        row.as_ref().map(replica_of_row).transpose()
    }

    /// Ends a verification: the replica's level rises to what was proved, never falls.
    pub async fn finish_verification(
        &self,
        lease: &Lease,
        item: CheckpointItemId,
        proved: Level,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("finishing a verification").await?;
        check_lease_on(&mut tx, lease, JobKind::Verify, item.bytes()).await?;
        let row = tx
            .first("UPDATE replicas SET level = level WHERE item_id = $1 RETURNING level", values![item])
            .await?;
        if let Some(row) = row {
            let level = row.word("level", Level::from_word)?.max(proved);
            tx.execute("UPDATE replicas SET level = $1 WHERE item_id = $2", values![level.word(), item])
                .await?;
        }
        end_job(&mut tx, JobKind::Verify, item.bytes(), now).await?;
        tx.commit().await
    }
}

async fn replicas_of(tx: &mut Tx, source_region: &RegionName) -> Result<Vec<Replica>, CatalogError> {
    let rows = tx
        .all(
            concat!(
                "SELECT ",
                replica_columns!(),
                " FROM replicas WHERE source_region = $1 ORDER BY item_id"
            ),
            values![source_region],
        )
        .await?;
    rows.iter().map(replica_of_row).collect()
}

/// The replica, or its tombstone, that a transfer would make.
pub(crate) async fn replica_of_key(
    tx: &mut Tx,
    key: &crate::transfers::TransferKey,
) -> Result<Option<Replica>, CatalogError> {
    let row = tx
        .first(
            concat!(
                "SELECT ",
                replica_columns!(),
                " FROM replicas WHERE source_region = $1 AND source_item_id = $2 \
                 AND destination_project_id = $3 AND generation = $4"
            ),
            key.values(),
        )
        .await?;
    row.as_ref().map(replica_of_row).transpose()
}

/// Writes the row of a replica that is being published.
pub(crate) async fn insert_replica(tx: &mut Tx, replica: &Replica) -> Result<(), CatalogError> {
    tx.execute(
        concat!(
            "INSERT INTO replicas (",
            replica_columns!(),
            ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)"
        ),
        values![
            replica.item_id,
            &replica.source_region,
            replica.source_item_id,
            &replica.destination_project_id,
            replica.generation,
            replica.manifest_digest,
            replica.vault_id,
            replica.grant_id,
            replica.mode.word(),
            replica.level.word(),
            replica.state.word(),
            replica.stored_bytes,
            replica.keep_until,
            replica.receipt.as_slice(),
            replica.published_at,
            replica.ended_at
        ],
    )
    .await?;
    Ok(())
}

fn replica_of_row(row: &Row) -> Result<Replica, CatalogError> {
    Ok(Replica {
        item_id: row.id("item_id")?,
        source_region: row.id("source_region")?,
        source_item_id: row.id("source_item_id")?,
        destination_project_id: row.id("destination_project_id")?,
        generation: row.small("generation")?,
        manifest_digest: row.bytes("manifest_digest")?,
        vault_id: row.bytes("vault_id")?,
        grant_id: row.id("grant_id")?,
        mode: row.word("mode", Mode::from_word)?,
        level: row.word("level", Level::from_word)?,
        state: row.word("state", ReplicaState::from_word)?,
        stored_bytes: row.count("stored_bytes")?,
        keep_until: row.time("keep_until")?,
        receipt: row.blob("receipt")?,
        published_at: row.time("published_at")?,
        ended_at: row.optional_time("ended_at")?,
    })
}
