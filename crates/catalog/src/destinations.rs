//! Destinations of policies: the regions that a policy goes to by schedule, and what it promises for each region.
//! A target outlives the operation that goes there, so that switching a schedule off does not hide that it is missed.

use std::collections::BTreeMap;

use model::ids::{PolicyId, ProjectId, RegionName};
use model::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::page::places;
use crate::policies::{lock_policy, read_policy};
use crate::value::{Row, Value, values};

/// How many policies one statement asks about.
const IDS_A_STATEMENT: usize = 500;

/// Destinations by policy and region, while they are put together.
type Found = BTreeMap<PolicyId, BTreeMap<RegionName, PolicyDestination>>;

/// A region that a policy goes to, or promises something for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyDestination {
    /// The region.
    pub region: RegionName,
    /// How old the newest replica of a server may become there, if somebody said so.
    pub rpo_seconds: Option<u32>,
    /// The project there and whether the schedule is on, if an operation of the policy goes there.
    pub operation: Option<DestinationOperation>,
}

/// The operation of a policy that goes to a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationOperation {
    /// The project there.
    pub project_id: ProjectId,
    /// Whether the schedule runs.
    pub enabled: bool,
}

impl Catalog {
    /// The destinations of a policy, by region.
    pub async fn policy_destinations(
        &self,
        project: &ProjectId,
        policy: PolicyId,
    ) -> Result<Vec<PolicyDestination>, CatalogError> {
        let mut tx = self.read("reading the destinations of a policy").await?;
        let known = read_policy(&mut tx, policy).await?.filter(|known| known.project_id == *project);
        known.ok_or_else(|| CatalogError::not_found("policy", policy))?;
        Ok(destinations_of(&mut tx, &[policy]).await?.remove(&policy).unwrap_or_default())
    }

    /// Sets or takes away the target of a policy for a region.
    pub async fn set_destination_target(
        &self,
        project: &ProjectId,
        policy: PolicyId,
        target: (&RegionName, Option<u32>),
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("setting the target of a destination").await?;
        let known = lock_policy(&mut tx, policy).await?.filter(|known| known.project_id == *project);
        known.ok_or_else(|| CatalogError::not_found("policy", policy))?;
        match target {
            (region, Some(rpo_seconds)) => {
                tx.execute(
                    "INSERT INTO policy_destinations (policy_id, destination_region, rpo_seconds, updated_at) \
                     VALUES ($1, $2, $3, $4) ON CONFLICT (policy_id, destination_region) DO UPDATE SET \
                     rpo_seconds = excluded.rpo_seconds, updated_at = excluded.updated_at",
                    values![policy, region, rpo_seconds, now],
                )
                .await?;
            }
            (region, None) => {
                tx.execute(
                    "DELETE FROM policy_destinations WHERE policy_id = $1 AND destination_region = $2",
                    values![policy, region],
                )
                .await?;
            }
        }
        tx.commit().await
    }
}

/// The destinations of policies of any project, by region; a policy without any is left out.
pub(crate) async fn destinations_of(
    tx: &mut Tx,
    policies: &[PolicyId],
) -> Result<BTreeMap<PolicyId, Vec<PolicyDestination>>, CatalogError> {
    let mut found = Found::new();
    for some in policies.chunks(IDS_A_STATEMENT) {
        let ids: Vec<Value> = some.iter().map(Value::from).collect();
        let sql = format!(
            "SELECT policy_id, destination_region, destination_project_id, enabled FROM scheduled_operations \
             WHERE policy_id IN ({}) AND destination_region IS NOT NULL ORDER BY policy_id, position",
            places(1, ids.len())
        );
        // Safe: made of our own words and places; every value is bound.
        for row in tx.all(AssertSqlSafe(sql), ids.clone()).await? {
            let operation = DestinationOperation {
                project_id: row.id("destination_project_id")?,
                enabled: row.flag("enabled")?,
            };
            entry(&mut found, &row)?.operation = Some(operation);
        }
        let sql = format!(
            "SELECT policy_id, destination_region, rpo_seconds FROM policy_destinations \
             WHERE policy_id IN ({})",
            places(1, ids.len())
        );
        // Safe: made of our own words and places; every value is bound.
        for row in tx.all(AssertSqlSafe(sql), ids).await? {
            entry(&mut found, &row)?.rpo_seconds = Some(row.small("rpo_seconds")?);
        }
    }
    Ok(found.into_iter().map(|(policy, regions)| (policy, regions.into_values().collect())).collect())
}

/// Forgets the targets of a policy that goes.
pub(crate) async fn delete_destinations(tx: &mut Tx, policy: PolicyId) -> Result<(), CatalogError> {
    tx.execute("DELETE FROM policy_destinations WHERE policy_id = $1", values![policy]).await?;
    Ok(())
}

fn entry<'a>(found: &'a mut Found, row: &Row) -> Result<&'a mut PolicyDestination, CatalogError> {
    let region: RegionName = row.id("destination_region")?;
    let fresh = PolicyDestination { region: region.clone(), rpo_seconds: None, operation: None };
    Ok(found.entry(row.id("policy_id")?).or_default().entry(region).or_insert(fresh))
}
