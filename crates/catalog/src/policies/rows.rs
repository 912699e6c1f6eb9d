//! Policies out of their rows: a page of them in a handful of statements, however many there are.

use std::collections::HashMap;

use model::ids::{PolicyId, ResourceId, VolumeId};
use model::policy::{OperationDefinition, Policy, PolicyResource, ScheduledOperation, Trigger};
use model::retention::{Retention, RetentionFields};
use model::schedule::Pattern;
use model::text::{Description, Name, Tag};
use sqlx::AssertSqlSafe;

use crate::engine::Tx;
use crate::error::CatalogError;
use crate::page::places;
use crate::tags::tag_of_row;
use crate::value::{Row, Value};

/// How many policies one statement asks about.
const IDS_A_STATEMENT: usize = 500;

/// Policies from their rows, with the parts of all of them in a few statements.
pub(crate) async fn whole_policies(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Policy>, CatalogError> {
    let mut policies = rows.iter().map(policy_of_row).collect::<Result<Vec<_>, _>>()?;
    for some in policies.chunks_mut(IDS_A_STATEMENT) {
        let ids: Vec<Value> = some.iter().map(|policy| Value::from(policy.id)).collect();
        let mut resources = resources_of(tx, &ids).await?;
        let mut operations = operations_of(tx, &ids).await?;
        let mut tags = tags_of(tx, &ids).await?;
        for policy in some {
            policy.resources = resources.remove(&policy.id).unwrap_or_default();
            policy.operations = operations.remove(&policy.id).unwrap_or_default();
            policy.tags = tags.remove(&policy.id).unwrap_or_default();
        }
    }
    Ok(policies)
}

/// What the row itself says; its parts are missing yet.
fn policy_of_row(row: &Row) -> Result<Policy, CatalogError> {
    Ok(Policy {
        id: row.id("id")?,
        project_id: row.id("project_id")?,
        name: Name::new(&row.text("name")?).map_err(|_| row.corrupt("name"))?,
        description: description_of(row, "description")?,
        parameters: row.text("parameters")?,
        resources: Vec::new(),
        operations: Vec::new(),
        tags: Vec::new(),
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}

async fn resources_of(
    tx: &mut Tx,
    ids: &[Value],
) -> Result<HashMap<PolicyId, Vec<PolicyResource>>, CatalogError> {
    let sql = format!(
        "SELECT policy_id, resource_id, name, extra_info FROM policy_resources WHERE policy_id IN ({}) \
         ORDER BY policy_id, position",
        places(1, ids.len())
    );
    let mut excluded = excluded_volumes_of(tx, ids).await?;
    let mut resources: HashMap<PolicyId, Vec<PolicyResource>> = HashMap::new();
    // Safe: made of our own words and places; every value is bound.
    for row in tx.all(AssertSqlSafe(sql), ids.to_vec()).await? {
        let (policy, id): (PolicyId, ResourceId) = (row.id("policy_id")?, row.id("resource_id")?);
        resources.entry(policy).or_default().push(PolicyResource {
            excluded_volumes: excluded.remove(&(policy, id.clone())).unwrap_or_default(),
            id,
            name: row.text("name")?,
            extra_info: row.optional_text("extra_info")?,
        });
    }
    match excluded.into_keys().next() {
        None => Ok(resources),
        Some((policy, id)) => {
            let what = format!("policy {policy} leaves out disks of server {id}, which it does not name");
            Err(CatalogError::Corrupt { what })
        }
    }
}

async fn excluded_volumes_of(
    tx: &mut Tx,
    ids: &[Value],
) -> Result<HashMap<(PolicyId, ResourceId), Vec<VolumeId>>, CatalogError> {
    let sql = format!(
        "SELECT policy_id, resource_id, volume_id FROM policy_excluded_volumes WHERE policy_id IN ({}) \
         ORDER BY policy_id, resource_id, position",
        places(1, ids.len())
    );
    let mut excluded: HashMap<(PolicyId, ResourceId), Vec<VolumeId>> = HashMap::new();
    // Safe: made of our own words and places; every value is bound.
    for row in tx.all(AssertSqlSafe(sql), ids.to_vec()).await? {
        let key = (row.id("policy_id")?, row.id("resource_id")?);
        excluded.entry(key).or_default().push(row.id("volume_id")?);
    }
    Ok(excluded)
}

async fn operations_of(
    tx: &mut Tx,
    ids: &[Value],
) -> Result<HashMap<PolicyId, Vec<ScheduledOperation>>, CatalogError> {
    let sql = format!(
        "SELECT id, policy_id, name, description, enabled, operation_type, keep_permanent, \
         keep_max_backups, keep_duration_days, keep_day_backups, keep_week_backups, keep_month_backups, \
         keep_year_backups, keep_timezone, destination_region, destination_project_id, \
         enable_acceleration, trigger_id, trigger_pattern, trigger_start_time \
         FROM scheduled_operations WHERE policy_id IN ({}) ORDER BY policy_id, position",
        places(1, ids.len())
    );
    let mut operations: HashMap<PolicyId, Vec<ScheduledOperation>> = HashMap::new();
    // Safe: made of our own words and places; every value is bound.
    for row in tx.all(AssertSqlSafe(sql), ids.to_vec()).await? {
        operations.entry(row.id("policy_id")?).or_default().push(operation_of_row(&row)?);
    }
    Ok(operations)
}

async fn tags_of(tx: &mut Tx, ids: &[Value]) -> Result<HashMap<PolicyId, Vec<Tag>>, CatalogError> {
    let sql = format!(
        "SELECT policy_id, tag_key, tag_value FROM policy_tags WHERE policy_id IN ({}) \
         ORDER BY policy_id, position",
        places(1, ids.len())
    );
    let mut tags: HashMap<PolicyId, Vec<Tag>> = HashMap::new();
    // Safe: made of our own words and places; every value is bound.
    for row in tx.all(AssertSqlSafe(sql), ids.to_vec()).await? {
        tags.entry(row.id("policy_id")?).or_default().push(tag_of_row(&row)?);
    }
    Ok(tags)
}

fn operation_of_row(row: &Row) -> Result<ScheduledOperation, CatalogError> {
    let retention = Retention::new(RetentionFields {
        permanent: row.flag("keep_permanent")?,
        max_backups: row.integer("keep_max_backups")?,
        duration_days: row.integer("keep_duration_days")?,
        day_backups: row.small("keep_day_backups")?,
        week_backups: row.small("keep_week_backups")?,
        month_backups: row.small("keep_month_backups")?,
        year_backups: row.small("keep_year_backups")?,
        timezone: row.optional_text("keep_timezone")?,
    })
    .map_err(|bad| row.corrupt(bad.field))?;
    let definition = match row.text("operation_type")?.as_str() {
        "backup" => OperationDefinition::Backup { retention },
        "replication" => OperationDefinition::Replication {
            retention,
            destination_region: row.id("destination_region")?,
            destination_project_id: row.id("destination_project_id")?,
            enable_acceleration: row.flag("enable_acceleration")?,
        },
        _ => return Err(row.corrupt("operation_type")),
    };
    let pattern =
        Pattern::parse(&row.text("trigger_pattern")?).map_err(|_| row.corrupt("trigger_pattern"))?;
    Ok(ScheduledOperation {
        id: row.id("id")?,
        name: row.text("name")?,
        description: description_of(row, "description")?,
        enabled: row.flag("enabled")?,
        definition,
        trigger: Trigger { id: row.id("trigger_id")?, pattern, start_time: row.time("trigger_start_time")? },
    })
}

pub(crate) fn description_of(row: &Row, column: &str) -> Result<Description, CatalogError> {
    Description::new(&row.text(column)?).map_err(|_| row.corrupt(column))
}
