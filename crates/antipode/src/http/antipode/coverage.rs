//! Which servers are covered in which other region.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::coverage::{Coverage, CoveredRegion, CoveredServer, Whose};
use model::coverage::Verdict;
use model::evidence::EVIDENCE_SECONDS_MAX;
use model::ids::ResourceId;
use model::time::{SECOND_MICROS, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Site;
use crate::http::error::{ApiError, OwnError};
use crate::http::openapi::parameters::{CoverageFilter, ServerPage};
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::openapi::schema::{ForeignId, Id, LevelWord, Moment, RegionText, VerdictWord};
use crate::http::page::{Links, read_page};
use crate::http::request::{LoggedIn, Query};

/// `{"coverage": […]}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CoverageAnswer {
    /// The moment that the answer speaks of.
    #[schema(value_type = Moment)]
    at: String,
    /// How old evidence may be before a verdict is `unproven`.
    evidence_seconds_max: i64,
    coverage: Vec<CoveredServerBody>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    coverage_links: Links,
}

/// One server.
#[derive(Debug, Serialize, ToSchema)]
struct CoveredServerBody {
    #[schema(value_type = ForeignId)]
    id: String,
    name: String,
    #[schema(value_type = ForeignId)]
    project_id: String,
    /// The policy that it is in, if it is in one.
    #[schema(value_type = Option<Id>)]
    policy_id: Option<String>,
    policy_name: Option<String>,
    /// The regions that its policy goes to or has a target for, and those that hold a replica of it.
    destinations: Vec<CoveredRegionBody>,
}

/// One server in one region.
#[derive(Debug, Serialize, ToSchema)]
struct CoveredRegionBody {
    #[schema(value_type = RegionText)]
    destination_region: String,
    /// `met`, `at-risk`, `breached` or `unproven`; null without a target, as long as nothing is unproven.
    #[schema(value_type = Option<VerdictWord>)]
    verdict: Option<&'static str>,
    /// Since when.
    #[schema(value_type = Option<Moment>)]
    since: Option<String>,
    /// How old the newest replica may become; null when nobody said so.
    rpo_seconds: Option<u32>,
    /// The newest backup that is available here.
    #[schema(value_type = Option<Id>)]
    newest_backup_id: Option<String>,
    /// The moment whose data it holds.
    #[schema(value_type = Option<Moment>)]
    newest_backup_at: Option<String>,
    /// The backup whose replica is the newest there; it may be gone here.
    #[schema(value_type = Option<Id>)]
    newest_replica_id: Option<String>,
    /// The moment whose data it holds.
    #[schema(value_type = Option<Moment>)]
    newest_replica_at: Option<String>,
    /// What is proved of it: `stored`, `opened` or `drilled`.
    #[schema(value_type = Option<LevelWord>)]
    level: Option<&'static str>,
    /// How much older the data of the newest replica are than those of the newest backup; null when either is missing.
    lag_seconds: Option<u64>,
    /// What would have to be moved for the newest backup to be there, at most.
    owed_bytes: u64,
    /// When the region last said, signed, that the newest replica is there.
    #[schema(value_type = Option<Moment>)]
    evidence_at: Option<String>,
    /// How long ago that is.
    evidence_age_seconds: Option<i64>,
}

impl CoverageAnswer {
    fn new(coverage: Coverage, query: &Query, site: &Site) -> CoverageAnswer {
        let coverage_links =
            Links::next(&coverage.servers, |server| server.server_id.to_string(), query, &site.api_url);
        let body = |server| CoveredServerBody::new(server, coverage.at);
        CoverageAnswer {
            at: coverage.at.wire(),
            evidence_seconds_max: EVIDENCE_SECONDS_MAX,
            coverage: coverage.servers.rows.into_iter().map(body).collect(),
            coverage_links,
        }
    }
}

impl CoveredServerBody {
    fn new(server: CoveredServer, now: Timestamp) -> CoveredServerBody {
        let (policy_id, policy_name) = server.policy.unzip();
        CoveredServerBody {
            id: server.server_id.to_string(),
            name: server.server_name,
            project_id: server.project_id.to_string(),
            policy_id: policy_id.map(|id| id.to_string()),
            policy_name,
            destinations: server.regions.iter().map(|region| CoveredRegionBody::new(region, now)).collect(),
        }
    }
}

impl CoveredRegionBody {
    fn new(region: &CoveredRegion, now: Timestamp) -> CoveredRegionBody {
        let CoveredRegion { region, covering, judgement } = region;
        let (backup, replica) = (covering.backup, covering.replica);
        let evidence_at = replica.map(|replica| replica.evidence.at);
        let age = |at: Timestamp| (now.micros() - at.micros()) / SECOND_MICROS;
        CoveredRegionBody {
            destination_region: region.to_string(),
            verdict: judgement.verdict.map(Verdict::word),
            since: judgement.since.map(Timestamp::wire),
            rpo_seconds: covering.rpo_seconds,
            newest_backup_id: backup.map(|backup| backup.item_id.to_string()),
            newest_backup_at: backup.map(|backup| backup.protected_at.wire()),
            newest_replica_id: replica.map(|replica| replica.item_id.to_string()),
            newest_replica_at: replica.map(|replica| replica.protected_at.wire()),
            level: replica.map(|replica| replica.level.word()),
            lag_seconds: judgement.lag_seconds,
            owed_bytes: judgement.owed_bytes,
            evidence_at: evidence_at.map(Timestamp::wire),
            evidence_age_seconds: evidence_at.map(age),
        }
    }
}

fn read_whose(query: &Query) -> Result<Whose, ApiError> {
    let of_all = query.boolean("all_tenants")?.unwrap_or(false);
    Ok(if of_all { Whose::Everybody } else { Whose::Project })
}

/// Shows which servers are covered in which other region
///
/// From what is live now and from what the other regions signed last, never from what jobs once came to. Servers of the
/// token's project, or of all projects for those who watch the region.
#[utoipa::path(
    get,
    path = "/coverage",
    operation_id = "showCoverage",
    tag = "replication",
    params(CoverageFilter, ServerPage),
    responses(
        (status = 200, description = "A page of servers.", body = CoverageAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    LoggedIn(caller): LoggedIn,
    query: Query,
) -> Result<Json<CoverageAnswer>, OwnError> {
    let (whose, page) = (read_whose(&query)?, read_page(&query, &[])?);
    query.parsed::<ResourceId>("marker", "the id of a server")?;
    let coverage = control.coverage(&caller, whose, &page).await?;
    Ok(Json(CoverageAnswer::new(coverage, &query, &site)))
}
