//! What the catalog knows about servers and the regions that could stand in for this one: the facts from which
//! [`model::coverage::judge`] decides. A page of servers costs a few looks into indexes for each server and region,
//! and the backups that were made since its newest replica, however many backups there are.

use std::collections::{BTreeMap, BTreeSet};

use model::coverage::{Covering, NewestBackup, NewestReplica};
use model::evidence::{Evidence, HeadSeen, ReceiptSeen};
use model::grant::Level;
use model::ids::{PolicyId, ProjectId, RegionName, ResourceId};
use sqlx::AssertSqlSafe;

use crate::destinations::{PolicyDestination, destinations_of};
use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::holdings::heads_seen;
use crate::page::{Direction, Page, Sort, Where, places};
use crate::servers::{SERVERS, ServerSort};
use crate::value::{Row, Value, values};

/// Whose servers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoverageScope<'a> {
    /// Those of one project.
    Project(&'a ProjectId),
    /// Those of all projects.
    Region,
}

/// A server in every region that it should be in, or is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerCoverage {
    /// The server.
    pub server_id: ResourceId,
    /// Its name.
    pub server_name: String,
    /// Its project.
    pub project_id: ProjectId,
    /// The policy that it is in, with its name.
    pub policy: Option<(PolicyId, String)>,
    /// Each region, by name: the destinations of the policy, and wherever there is a replica.
    pub regions: Vec<(RegionName, Covering)>,
}

/// How many servers one statement asks about.
const IDS_A_STATEMENT: usize = 500;

/// Backups that can be restored and were made here: the very words of the index `newest_backups`.
macro_rules! sound_backups_of_server {
    () => {
        "FROM checkpoint_items b WHERE b.project_id = s.project_id AND b.resource_id = s.id \
         AND b.origin_region IS NULL AND b.state IN ('available', 'waiting_restore', 'restoring')"
    };
}

/// The regions that any record goes or went to, one look each.
const REGIONS_WITH_RECORDS: &str = "WITH RECURSIVE place (region) AS (\
     SELECT MIN(destination_region) FROM replication_records UNION ALL \
     SELECT (SELECT MIN(r.destination_region) FROM replication_records r \
     WHERE r.destination_region > place.region) FROM place WHERE place.region IS NOT NULL) \
     SELECT region FROM place WHERE region IS NOT NULL";

impl Catalog {
    /// One page of servers, each with what is there for it. Servers without any region are on the page too.
    pub async fn coverage(
        &self,
        scope: CoverageScope<'_>,
        page: &Page<()>,
    ) -> Result<Vec<ServerCoverage>, CatalogError> {
        let mut tx = self.read("looking at what is covered").await?;
        let servers = page_of_servers(&mut tx, scope, page).await?;
        let heads = heads_seen(&mut tx).await?;
        let ids: Vec<Value> = servers
            .iter()
            .map(|row| Ok(Value::from(row.id::<ResourceId>("id")?)))
            .collect::<Result<_, CatalogError>>()?;
        let mut found = Vec::with_capacity(servers.len());
        for (rows, ids) in servers.chunks(IDS_A_STATEMENT).zip(ids.chunks(IDS_A_STATEMENT)) {
            let facts = Facts::read(&mut tx, ids, &heads).await?;
            for row in rows {
                found.push(facts.of(row)?);
            }
        }
        Ok(found)
    }
}

/// What is known of some servers.
struct Facts {
    policies: BTreeMap<ResourceId, (PolicyId, String)>,
    destinations: BTreeMap<PolicyId, Vec<PolicyDestination>>,
    backups: BTreeMap<ResourceId, NewestBackup>,
    replicas: BTreeMap<ResourceId, BTreeMap<RegionName, NewestReplica>>,
}

impl Facts {
    async fn read(
        tx: &mut Tx,
        ids: &[Value],
        heads: &BTreeMap<RegionName, HeadSeen>,
    ) -> Result<Facts, CatalogError> {
        let policies = policies_of(tx, ids).await?;
        let of_servers: BTreeSet<PolicyId> = policies.values().map(|(id, _)| *id).collect();
        let of_servers: Vec<PolicyId> = of_servers.into_iter().collect();
        Ok(Facts {
            policies,
            destinations: destinations_of(tx, &of_servers).await?,
            backups: newest_backups(tx, ids).await?,
            replicas: newest_replicas(tx, ids, heads).await?,
        })
    }

    fn of(&self, row: &Row) -> Result<ServerCoverage, CatalogError> {
        let server_id: ResourceId = row.id("id")?;
        let registered_at = row.time("created_at")?;
        let policy = self.policies.get(&server_id).cloned();
        let of_policy = policy.as_ref().and_then(|(id, _)| self.destinations.get(id));
        let of_policy = of_policy.map(Vec::as_slice).unwrap_or_default();
        let replicas = self.replicas.get(&server_id);
        let named = of_policy.iter().map(|destination| &destination.region);
        let regions: BTreeSet<&RegionName> =
            named.chain(replicas.into_iter().flat_map(BTreeMap::keys)).collect();
        let covering = |region: &RegionName| Covering {
            registered_at,
            backup: self.backups.get(&server_id).copied(),
            replica: replicas.and_then(|replicas| replicas.get(region)).copied(),
            rpo_seconds: of_policy
                .iter()
                .find(|known| known.region == *region)
                .and_then(|known| known.rpo_seconds),
        };
        let regions = regions.into_iter().map(|region| (region.clone(), covering(region))).collect();
        Ok(ServerCoverage {
            server_name: row.text("name")?,
            project_id: row.id("project_id")?,
            server_id,
            policy,
            regions,
        })
    }
}

/// A page by index: in a project by the moment of registration, in the region by id.
async fn page_of_servers(
    tx: &mut Tx,
    scope: CoverageScope<'_>,
    page: &Page<()>,
) -> Result<Vec<Row>, CatalogError> {
    let (filter, key) = match scope {
        CoverageScope::Project(project) => (Where::of("project_id", project), ServerSort::CreatedAt),
        CoverageScope::Region => (Where::new(), ServerSort::Id),
    };
    let page = Page {
        limit: page.limit,
        offset: page.offset,
        marker: page.marker.clone(),
        sort: vec![Sort { key, direction: Direction::Ascending }],
    };
    SERVERS.page(tx, filter, &page).await
}

async fn policies_of(
    tx: &mut Tx,
    ids: &[Value],
) -> Result<BTreeMap<ResourceId, (PolicyId, String)>, CatalogError> {
    let sql = format!(
        "SELECT pr.resource_id AS resource_id, p.id AS id, p.name AS name FROM policy_resources pr \
         JOIN policies p ON p.id = pr.policy_id WHERE pr.resource_id IN ({})",
        places(1, ids.len())
    );
    // Safe: made of our own words and places; every value is bound.
    let rows = tx.all(AssertSqlSafe(sql), ids.to_vec()).await?;
    rows.iter().map(|row| Ok((row.id("resource_id")?, (row.id("id")?, row.text("name")?)))).collect()
}

async fn newest_backups(
    tx: &mut Tx,
    ids: &[Value],
) -> Result<BTreeMap<ResourceId, NewestBackup>, CatalogError> {
    let sql = format!(
        "SELECT s.id AS server_id, i.id AS item_id, i.protected_at AS protected_at, \
         COALESCE(i.stored_bytes, i.logical_bytes) AS stored_bytes FROM servers s \
         CROSS JOIN checkpoint_items i WHERE s.id IN ({}) AND i.id = (SELECT b.id {} \
         AND b.protected_at IS NOT NULL ORDER BY b.protected_at DESC LIMIT 1)",
        places(1, ids.len()),
        sound_backups_of_server!()
    );
    // Safe: made of our own words and places; every value is bound.
    let rows = tx.all(AssertSqlSafe(sql), ids.to_vec()).await?;
    let newest = |row: &Row| {
        let backup = NewestBackup {
            item_id: row.id("item_id")?,
            protected_at: row.time("protected_at")?,
            stored_bytes: row.count("stored_bytes")?,
        };
        Ok((row.id("server_id")?, backup))
    };
    rows.iter().map(newest).collect()
}

async fn newest_replicas(
    tx: &mut Tx,
    ids: &[Value],
    heads: &BTreeMap<RegionName, HeadSeen>,
) -> Result<BTreeMap<ResourceId, BTreeMap<RegionName, NewestReplica>>, CatalogError> {
    let mut found: BTreeMap<ResourceId, BTreeMap<RegionName, NewestReplica>> = BTreeMap::new();
    for region in tx.all(REGIONS_WITH_RECORDS, values![]).await? {
        let region: RegionName = region.id("region")?;
        let sql = format!(
            "SELECT s.id AS server_id, r.checkpoint_item_id AS item_id, r.protected_at AS protected_at, \
             r.replica_level AS replica_level, r.receipt_head_counter AS receipt_head_counter, \
             r.updated_at AS updated_at, CAST((SELECT COALESCE(SUM(b.added_bytes), 0) {} \
             AND b.protected_at > r.protected_at) AS BIGINT) AS newer_bytes FROM servers s \
             CROSS JOIN replication_records r WHERE s.id IN ({}) AND r.id = (SELECT n.id \
             FROM replication_records n WHERE n.source_project_id = s.project_id \
             AND n.destination_region = $1 AND n.resource_id = s.id AND n.state = 'done' \
             AND n.is_current = 1 AND n.replica_gone_at IS NULL AND n.protected_at IS NOT NULL \
             ORDER BY n.protected_at DESC LIMIT 1)",
            sound_backups_of_server!(),
            places(2, ids.len())
        );
        let mut bound = values![&region];
        bound.extend_from_slice(ids);
        // Safe: made of our own words and places; every value is bound.
        for row in tx.all(AssertSqlSafe(sql), bound).await? {
            let replica = replica_of_row(&row, heads.get(&region))?;
            found.entry(row.id("server_id")?).or_default().insert(region.clone(), replica);
        }
    }
    Ok(found)
}

fn replica_of_row(row: &Row, head: Option<&HeadSeen>) -> Result<NewestReplica, CatalogError> {
    let receipt =
        ReceiptSeen { stored_at: row.time("updated_at")?, head_counter: row.count("receipt_head_counter")? };
    Ok(NewestReplica {
        item_id: row.id("item_id")?,
        protected_at: row.time("protected_at")?,
        level: row.word("replica_level", Level::from_word)?,
        evidence: Evidence::of(&receipt, head),
        newer_bytes: row.count("newer_bytes")?,
    })
}
