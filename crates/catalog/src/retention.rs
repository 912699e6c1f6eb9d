//! What retention decides by: a few words of each backup of a policy, read some at a time, because a policy may have
//! made a hundred thousand.

use std::collections::{BTreeMap, HashSet};

use model::checkpoint::ItemState;
use model::ids::{CheckpointItemId, PolicyId, ResourceId};
use model::retention::{Arrival, Candidate};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::value::{Row, values};

/// Items read at once.
const ITEMS_AT_ONCE: u32 = 2000;

impl Catalog {
    /// Every item of a policy's runs as retention looks at it, server by server and oldest first. One that is being
    /// copied or restored is held; those that somebody had back from the quarantine are left to people.
    pub async fn retention_candidates(
        &self,
        policy: PolicyId,
    ) -> Result<BTreeMap<ResourceId, Vec<Candidate>>, CatalogError> {
        let mut tx = self.read("reading items for retention").await?;
        let copied = items_being_copied(&mut tx, policy).await?;
        let mut by_server: BTreeMap<ResourceId, Vec<Candidate>> = BTreeMap::new();
        let (mut after, mut last) = (Timestamp::from_micros(i64::MIN), String::new());
        loop {
            let rows = tx
                .all(
                    "SELECT id, resource_id, state, auto_trigger, protected_at, created_at, origin_region, \
                     origin_arrived_at, origin_keep_until FROM checkpoint_items \
                     WHERE policy_id = $1 AND state <> 'deleted' AND undeleted_at IS NULL \
                     AND (created_at, id) > ($2, $3) ORDER BY created_at, id LIMIT $4",
                    values![policy, after, last.as_str(), ITEMS_AT_ONCE],
                )
                .await?;
            let Some(end) = rows.last() else { return Ok(by_server) };
            (after, last) = (end.time("created_at")?, end.text("id")?);
            for row in &rows {
                let candidate = candidate_of_row(row, &copied)?;
                by_server.entry(row.id("resource_id")?).or_default().push(candidate);
            }
        }
    }

    /// When an item of a policy's runs last changed, if it has any: as long as it stays the same, retention
    /// decides by the same items. Items that are still being made do not count, neither here nor there.
    pub async fn items_changed_at(&self, policy: PolicyId) -> Result<Option<Timestamp>, CatalogError> {
        let mut tx = self.read("looking for changed items").await?;
        let row = tx
            .first(
                "SELECT updated_at FROM checkpoint_items WHERE policy_id = $1 AND state <> 'deleted' \
                 AND state NOT IN ('waiting_protect', 'protecting') ORDER BY updated_at DESC LIMIT 1",
                values![policy],
            )
            .await?;
        row.map_or(Ok(None), |row| row.optional_time("updated_at"))
    }
}

async fn items_being_copied(
    tx: &mut Tx,
    policy: PolicyId,
) -> Result<HashSet<CheckpointItemId>, CatalogError> {
    let rows = tx
        .all(
            "SELECT DISTINCT r.checkpoint_item_id AS item_id FROM replication_records r \
             JOIN checkpoint_items i ON i.id = r.checkpoint_item_id WHERE i.policy_id = $1 \
             AND r.state IN ('copying', 'verifying', 'publishing')",
            values![policy],
        )
        .await?;
    rows.iter().map(|row| row.id("item_id")).collect()
}

fn candidate_of_row(row: &Row, copied: &HashSet<CheckpointItemId>) -> Result<Candidate, CatalogError> {
    let id = row.id("id")?;
    let state = row.word("state", ItemState::from_word)?;
    let arrival = match row.optional_text("origin_region")? {
        Some(_) => Some(Arrival {
            arrived_at: row.time("origin_arrived_at")?,
            keep_until: row.time("origin_keep_until")?,
        }),
        None => None,
    };
    Ok(Candidate {
        id,
        protected_at: row.optional_time("protected_at")?.map_or_else(|| row.time("created_at"), Ok)?,
        arrival,
        auto_trigger: row.flag("auto_trigger")?,
        is_available: state == ItemState::Available,
        is_held: matches!(state, ItemState::WaitingRestore | ItemState::Restoring) || copied.contains(&id),
    })
}
