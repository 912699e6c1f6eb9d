//! Coverage: which servers could be had back in which other region, judged by what is live now and by what the other
//! region signed last. [`model::coverage::judge`] decides.

use catalog::{CoverageScope, ServerCoverage};
use model::coverage::{self, Covering, Judgement};
use model::ids::{PolicyId, ProjectId, RegionName, ResourceId};
use model::time::Timestamp;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::Error;
use crate::page::{Page, PageOf, page_of};

/// Whose servers are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Those of the caller's project.
    Project,
    /// Those of every project, for those who watch the region.
    Everybody,
}

/// A server and how it stands in each region.
#[derive(Clone, Debug)]
pub struct CoveredServer {
    /// The server.
    pub server_id: ResourceId,
    /// Its name.
    pub server_name: String,
    /// Its project.
    pub project_id: ProjectId,
    /// The policy that it is in, with its name.
    pub policy: Option<(PolicyId, String)>,
    /// Each region, by name.
    pub regions: Vec<CoveredRegion>,
}

/// How a server stands in one region.
#[derive(Clone, Debug)]
pub struct CoveredRegion {
    /// The region.
    pub region: RegionName,
    /// What is known.
    pub covering: Covering,
    /// What follows.
    pub judgement: Judgement,
}

/// One page of the answer.
#[derive(Clone, Debug)]
pub struct Coverage {
    /// The moment that it speaks of.
    pub at: Timestamp,
    /// The servers.
    pub servers: PageOf<CoveredServer>,
}

impl Control {
    /// How the servers of a project, or of all, are covered in other regions.
    pub async fn coverage(&self, caller: &Caller, whose: Whose, page: &Page<()>) -> Result<Coverage, Error> {
        let scope = match whose {
            Whose::Project => CoverageScope::Project(caller.may(Action::Read)?),
            Whose::Everybody => {
                caller.may_in_region(Action::Watch)?;
                CoverageScope::Region
            }
        };
        let at = self.now();
        let found = page_of(page, async |page| self.catalog().coverage(scope, &page).await).await?;
        let rows = found.rows.into_iter().map(|server| judged(server, at)).collect();
        Ok(Coverage { at, servers: PageOf { rows, has_more: found.has_more } })
    }
}

fn judged(server: ServerCoverage, now: Timestamp) -> CoveredServer {
    let region = |(region, covering): (RegionName, Covering)| {
        let judgement = coverage::judge(&covering, now);
        CoveredRegion { region, covering, judgement }
    };
    CoveredServer {
        server_id: server.server_id,
        server_name: server.server_name,
        project_id: server.project_id,
        policy: server.policy,
        regions: server.regions.into_iter().map(region).collect(),
    }
}
