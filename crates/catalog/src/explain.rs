//! What the catalog knows about an item and every region that it is, was, or could be sent to, at one moment: the facts
//! from which [`model::explain::explain`] decides.

use std::collections::{BTreeMap, BTreeSet};

use model::checkpoint::ItemState;
use model::evidence::{HeadSeen, ReceiptSeen};
use model::explain::{DestinationFacts, ItemFacts, RecordFacts, Schedule};
use model::grant::{Grant, Level};
use model::ids::{CheckpointItemId, PolicyId, ProjectId, RegionName, ResourceId};
use model::replication::RecordState;
use model::time::Timestamp;

use crate::destinations::{PolicyDestination, destinations_of};
use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::grants::grants_of_source;
use crate::holdings::heads_seen;
use crate::policies::read_policy;
use crate::value::{Row, values};

/// An item and its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExplainFacts {
    /// The item.
    pub item_id: CheckpointItemId,
    /// Its server.
    pub resource_id: ResourceId,
    /// The server's name when it was backed up.
    pub resource_name: String,
    /// What decides about it.
    pub item: ItemFacts,
    /// Every destination of its policy, every region with a record of it, and every region with a usable grant, by name.
    pub destinations: Vec<DestinationFacts>,
}

/// What is known of all regions.
struct Known {
    confirmed: BTreeSet<RegionName>,
    heads: BTreeMap<RegionName, HeadSeen>,
    grants: Vec<Grant>,
    of_policy: Vec<PolicyDestination>,
    records: BTreeMap<RegionName, (ProjectId, RecordFacts)>,
}

impl Catalog {
    /// The facts about an item of a project, deleted or not, as long as its row is there. A region that is asked for
    /// is among the destinations if it is paired, whatever goes there.
    pub async fn explain_facts(
        &self,
        project: &ProjectId,
        item: CheckpointItemId,
        asked: Option<&RegionName>,
        now: Timestamp,
    ) -> Result<ExplainFacts, CatalogError> {
        let mut tx = self.read("gathering what is known of an item").await?;
        let row = tx
            .first(
                "SELECT i.id AS id, i.resource_id AS resource_id, i.resource_name AS resource_name, \
                 i.state AS state, i.origin_region AS origin_region, i.policy_id AS policy_id, \
                 (SELECT r.blocked_reason FROM region r) AS blocked_reason \
                 FROM checkpoint_items i WHERE i.id = $1 AND i.project_id = $2",
                values![item, project],
            )
            .await?;
        let row = row.ok_or_else(|| CatalogError::not_found("checkpoint item", item))?;
        let policy_id = live_policy(&mut tx, &row).await?;
        let known = Known {
            confirmed: confirmed_peers(&mut tx).await?,
            heads: heads_seen(&mut tx).await?,
            grants: grants_of_source(&mut tx, project, now).await?,
            of_policy: match policy_id {
                Some(policy) => {
                    destinations_of(&mut tx, &[policy]).await?.remove(&policy).unwrap_or_default()
                }
                None => Vec::new(),
            },
            records: newest_records(&mut tx, item).await?,
        };
        Ok(ExplainFacts {
            item_id: item,
            resource_id: row.id("resource_id")?,
            resource_name: row.text("resource_name")?,
            item: ItemFacts {
                state: row.word("state", ItemState::from_word)?,
                is_replica: row.optional_text("origin_region")?.is_some(),
                policy_id,
                is_blocked: row.optional_text("blocked_reason")?.is_some(),
            },
            destinations: known.regions(asked).into_iter().map(|region| known.of(region)).collect(),
        })
    }
}

impl Known {
    fn regions(&self, asked: Option<&RegionName>) -> BTreeSet<RegionName> {
        let of_policy = self.of_policy.iter().map(|destination| &destination.region);
        let of_grants = self.grants.iter().map(|grant| &grant.destination_region);
        let of_asked = asked.filter(|region| self.confirmed.contains(*region));
        self.records.keys().chain(of_policy).chain(of_grants).chain(of_asked).cloned().collect()
    }

    fn of(&self, region: RegionName) -> DestinationFacts {
        let record = self.records.get(&region);
        let operation = self.of_policy.iter().find(|known| known.region == region);
        let operation = operation.and_then(|known| known.operation.as_ref());
        let mut grants = self.grants.iter().filter(|grant| grant.destination_region == region);
        let wanted = record.map(|(project, _)| project).or(operation.map(|known| &known.project_id));
        let grant = grants.find(|grant| wanted.is_none_or(|wanted| *wanted == grant.destination_project_id));
        DestinationFacts {
            project_id: wanted.or(grant.map(|grant| &grant.destination_project_id)).cloned(),
            is_paired: self.confirmed.contains(&region),
            has_grant: grant.is_some(),
            schedule: match operation {
                Some(known) if known.enabled => Schedule::On,
                Some(_) => Schedule::Off,
                None => Schedule::Absent,
            },
            record: record.map(|(_, facts)| facts.clone()),
            head: self.heads.get(&region).copied(),
            region,
        }
    }
}

/// The policy that made the item, unless it is deleted.
async fn live_policy(tx: &mut Tx, row: &Row) -> Result<Option<PolicyId>, CatalogError> {
    match row.optional_id("policy_id")? {
        Some(policy) => Ok(read_policy(tx, policy).await?.map(|policy| policy.id)),
        None => Ok(None),
    }
}

async fn confirmed_peers(tx: &mut Tx) -> Result<BTreeSet<RegionName>, CatalogError> {
    let rows = tx.all("SELECT name FROM peers WHERE is_confirmed = 1", values![]).await?;
    rows.iter().map(|row| row.id("name")).collect()
}

/// The record of an item that counts for each region: the current one, else the newest.
async fn newest_records(
    tx: &mut Tx,
    item: CheckpointItemId,
) -> Result<BTreeMap<RegionName, (ProjectId, RecordFacts)>, CatalogError> {
    let rows = tx
        .all(
            "SELECT id, destination_region, destination_project_id, state, reason_code, reason, try_at, \
             planned_bytes, sent_bytes, receipt_head_counter, replica_level, destination_item_id, \
             replica_gone_at, updated_at FROM replication_records WHERE checkpoint_item_id = $1 \
             ORDER BY is_current, created_at, id",
            values![item],
        )
        .await?;
    let mut newest = BTreeMap::new();
    for row in &rows {
        let facts = (row.id("destination_project_id")?, record_of_row(row)?);
        newest.insert(row.id("destination_region")?, facts);
    }
    Ok(newest)
}

fn record_of_row(row: &Row) -> Result<RecordFacts, CatalogError> {
    let updated_at = row.time("updated_at")?;
    let head_counter = row.optional_count("receipt_head_counter")?;
    let level = row.optional_text("replica_level")?;
    Ok(RecordFacts {
        id: row.id("id")?,
        state: row.word("state", RecordState::from_word)?,
        reason_code: row.text("reason_code")?,
        reason: row.text("reason")?,
        try_at: row.time("try_at")?,
        planned_bytes: row.count("planned_bytes")?,
        sent_bytes: row.count("sent_bytes")?,
        receipt: head_counter.map(|head_counter| ReceiptSeen { stored_at: updated_at, head_counter }),
        level: level.map(|_| row.word("replica_level", Level::from_word)).transpose()?,
        replica_id: row.optional_id("destination_item_id")?,
        gone_at: row.optional_time("replica_gone_at")?,
        updated_at,
    })
}
