//! Acceptance grants: made and taken back here by the destination project's admin; cached there, so
//! that a call without a matching one is refused at once.

use model::grant::{Grant, KEEP_DAYS_MIN_DEFAULT, Mode};
use model::ids::{GrantId, ProjectId, RegionName};
use model::time::Timestamp;
use vault::crash_point;

use super::Peer;
use super::messages::{LinkError, PeerReply, PeerRequest};
use crate::Control;
use crate::access::{Action, Caller};
use crate::error::Error;

/// A grant to be made by the caller's project.
#[derive(Clone, Debug)]
pub struct NewGrant {
    /// The region that may send.
    pub source_region: RegionName,
    /// The project there.
    pub source_project_id: ProjectId,
    /// What this region may know of the replicas.
    pub mode: Mode,
    /// The most stored bytes it accepts.
    pub bytes_max: Option<u64>,
    /// Nothing that arrives expires before this many days; 30 when left out.
    pub keep_days_min: Option<u32>,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// The longest minimum retention of a grant: a hundred years.
const KEEP_DAYS_MAX: u32 = 36_500;

impl Control {
    /// Makes a grant in the caller's project.
    pub async fn create_grant(&self, caller: &Caller, new: NewGrant) -> Result<Grant, Error> {
        let project = caller.may(Action::ChangeGrants)?;
        if !self.peers().is_known(&new.source_region) {
            return Err(Error::invalid("source_region", "is not a paired region"));
        }
        let keep_days_min = new.keep_days_min.unwrap_or(KEEP_DAYS_MIN_DEFAULT);
        if keep_days_min > KEEP_DAYS_MAX {
            return Err(Error::invalid("keep_days_min", "must be at most 36500"));
        }
        let grant = Grant {
            id: GrantId::from_entropy(self.entropy_bytes()),
            source_region: new.source_region,
            source_project_id: new.source_project_id,
            destination_region: self.region_name().clone(),
            destination_project_id: project.clone(),
            mode: new.mode,
            bytes_max: new.bytes_max,
            keep_days_min,
            created_at: self.now(),
            expires_at: new.expires_at,
            revoked_at: None,
        };
        self.catalog().create_grant(&grant).await?;
        self.wakes().scheduler.notify_one();
        Ok(grant)
    }

    /// The grants of the caller's project.
    pub async fn grants(&self, caller: &Caller) -> Result<Vec<Grant>, Error> {
        let project = caller.may(Action::Read)?;
        Ok(self.catalog().grants(project).await?)
    }

    /// Takes a grant back: arrivals stop, nothing that is here is freed.
    pub async fn revoke_grant(&self, caller: &Caller, id: GrantId) -> Result<(), Error> {
        let project = caller.may(Action::ChangeGrants)?;
        self.catalog().revoke_grant(project, id, self.now()).await?;
        self.wakes().scheduler.notify_one();
        Ok(())
    }

    /// Asks a region for its grants now, at most once a second; a region that is down changes nothing.
    pub(crate) async fn refresh_grants(&self, region: &RegionName) {
        let Some(peer) = self.peers().confirmed(region) else { return };
        if self.turns().may_refresh(region, self.now())
            && let Err(error) = self.fetch_grants(&peer).await
        {
            tracing::debug!(region = %region, %error, "grants could not be fetched");
        }
    }

    /// Asks a peer which grants it holds for us, and remembers the answer.
    pub(crate) async fn fetch_grants(&self, peer: &Peer) -> Result<(), Error> {
        match self.ask(peer, PeerRequest::Grants).await {
            Ok(PeerReply::Grants(grants)) => {
                self.catalog().replace_remote_grants(&peer.name, &grants).await?;
                crash_point!("grants.cached");
                Ok(())
            }
            Ok(_) => Err(Error::internal("to fetch grants", "the peer answered out of turn")),
            Err(error) => Err(not_now(error)),
        }
    }
}

/// A peer that does not answer now is no fault of ours.
pub(super) fn not_now(error: LinkError) -> Error {
    let mut told = Error::new(crate::Kind::Unavailable, crate::Reason::Busy, error.to_string());
    told.cause = Some(Box::new(error));
    told
}
