//! What the catalog knows about a replication that is only thought of: the facts from which [`model::forecast`]
//! reckons. Reads only.

use std::collections::BTreeSet;

use model::forecast::{MeasuredRate, PlannedItem};
use model::ids::{CheckpointItemId, GrantId, ProjectId, RegionName, ResourceId};
use model::replication::Destination;
use sqlx::AssertSqlSafe;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::page::places;
use crate::value::{Row, Value, values};

/// What a replication of some items would come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ForecastFacts {
    /// The items that are still there.
    pub items: Vec<PlannedItem>,
    /// Their servers of which the destination holds something that a difference can be made against.
    pub servers_there: BTreeSet<ResourceId>,
    /// How fast the last records went to the region.
    pub rate: MeasuredRate,
    /// What our replicas under the grant take there; nothing when one of them is of an earlier release.
    pub grant_used_bytes: Option<u64>,
}

/// How many ids one statement asks about.
const IDS_A_STATEMENT: usize = 500;

/// How many finished records the rate is measured from.
const MEASURED_RECORDS: u32 = 20;

impl Catalog {
    /// The facts about replicating these items of a project to a destination, under a grant.
    pub async fn forecast_facts(
        &self,
        project: &ProjectId,
        selected: &[CheckpointItemId],
        destination: &Destination,
        grant: GrantId,
    ) -> Result<ForecastFacts, CatalogError> {
        let mut tx = self.read("forecasting a replication").await?;
        let mut items = Vec::with_capacity(selected.len());
        for some in selected.chunks(IDS_A_STATEMENT) {
            items.extend(planned_items(&mut tx, some).await?);
        }
        let servers: BTreeSet<&ResourceId> = items.iter().map(|item| &item.resource_id).collect();
        let servers: Vec<&ResourceId> = servers.into_iter().collect();
        let mut servers_there = BTreeSet::new();
        for some in servers.chunks(IDS_A_STATEMENT) {
            servers_there.extend(with_base(&mut tx, project, destination, some).await?);
        }
        let rate = measured_rate(&mut tx, &destination.region).await?;
        let grant_used_bytes = grant_used_bytes(&mut tx, project, &destination.region, grant).await?;
        Ok(ForecastFacts { items, servers_there, rate, grant_used_bytes })
    }
}

async fn planned_items(tx: &mut Tx, ids: &[CheckpointItemId]) -> Result<Vec<PlannedItem>, CatalogError> {
    let sql = format!(
        "SELECT id, resource_id, created_at, added_bytes, COALESCE(stored_bytes, logical_bytes) AS stored_bytes \
         FROM checkpoint_items WHERE id IN ({})",
        places(1, ids.len())
    );
    // Safe: made of our own words and places; every value is bound.
    let rows = tx.all(AssertSqlSafe(sql), ids.iter().map(Value::from).collect()).await?;
    let planned = |row: &Row| {
        Ok(PlannedItem {
            item_id: row.id("id")?,
            resource_id: row.id("resource_id")?,
            created_at: row.time("created_at")?,
            added_bytes: row.count("added_bytes")?,
            stored_bytes: row.count("stored_bytes")?,
        })
    };
    rows.iter().map(planned).collect()
}

/// Those of these servers of which [`Catalog::replicated_manifests`] would name a base.
async fn with_base(
    tx: &mut Tx,
    project: &ProjectId,
    destination: &Destination,
    servers: &[&ResourceId],
) -> Result<Vec<ResourceId>, CatalogError> {
    let rows: Vec<String> = (4..4 + servers.len()).map(|place| format!("(${place})")).collect();
    let sql = format!(
        "WITH wanted (resource_id) AS (VALUES {}) SELECT w.resource_id AS resource_id FROM wanted w \
         WHERE EXISTS (SELECT 1 FROM replication_records r JOIN checkpoint_items i \
         ON i.id = r.checkpoint_item_id WHERE r.source_project_id = $1 AND r.destination_region = $2 \
         AND r.destination_project_id = $3 AND r.resource_id = w.resource_id AND r.state = 'done' \
         AND r.is_current = 1 AND r.replica_gone_at IS NULL AND i.manifest_digest IS NOT NULL \
         AND i.state IN ('available', 'waiting_restore', 'restoring'))",
        rows.join(", ")
    );
    let mut bound = values![project, &destination.region, &destination.project_id];
    bound.extend(servers.iter().map(|server| Value::from(*server)));
    // Safe: made of our own words and places; every value is bound.
    let rows = tx.all(AssertSqlSafe(sql), bound).await?;
    rows.iter().map(|row| row.id("resource_id")).collect()
}

/// What the last records to a region came to that went through in one attempt.
async fn measured_rate(tx: &mut Tx, region: &RegionName) -> Result<MeasuredRate, CatalogError> {
    let row = tx
        .first(
            "SELECT CAST(COALESCE(SUM(l.sent_bytes), 0) AS BIGINT) AS sent_bytes, \
             CAST(COALESCE(SUM(l.updated_at - l.begun_at), 0) AS BIGINT) AS micros FROM (\
             SELECT sent_bytes, updated_at, begun_at FROM replication_records WHERE destination_region = $1 \
             AND state = 'done' AND attempts = 1 AND begun_at IS NOT NULL AND updated_at >= begun_at \
             ORDER BY updated_at DESC LIMIT $2) l",
            values![region, MEASURED_RECORDS],
        )
        .await?;
    let Some(row) = row else { return Ok(MeasuredRate::default()) };
    Ok(MeasuredRate { sent_bytes: row.count("sent_bytes")?, micros: row.count("micros")? })
}

async fn grant_used_bytes(
    tx: &mut Tx,
    project: &ProjectId,
    region: &RegionName,
    grant: GrantId,
) -> Result<Option<u64>, CatalogError> {
    let row = tx
        .first(
            "SELECT CAST(COALESCE(SUM(i.stored_bytes), 0) AS BIGINT) AS used_bytes, \
             COUNT(*) - COUNT(i.stored_bytes) AS unknown_count FROM replication_records r \
             JOIN checkpoint_items i ON i.id = r.checkpoint_item_id WHERE r.source_project_id = $1 \
             AND r.destination_region = $2 AND r.grant_id = $3 AND r.state = 'done' AND r.is_current = 1 \
             AND r.replica_gone_at IS NULL",
            values![project, region, grant],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let used_bytes = row.count("used_bytes")?;
    Ok((row.count("unknown_count")? == 0).then_some(used_bytes))
}
