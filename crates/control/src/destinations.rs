//! Destinations of policies: where a policy goes, and how old the newest replica of a server may become there.

pub use catalog::PolicyDestination;
use model::coverage::RPO_SECONDS_MAX;
use model::ids::{PolicyId, ProjectId, RegionName};

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::found_or;

impl Control {
    /// The destinations of a policy, by region.
    pub async fn policy_destinations(
        &self,
        caller: &Caller,
        policy: PolicyId,
    ) -> Result<Vec<PolicyDestination>, Error> {
        let project = caller.may(Action::Read)?;
        self.destinations_of(project, policy).await
    }

    /// One destination of a policy: a region that it goes to, has a target for, or could go to.
    pub async fn policy_destination(
        &self,
        caller: &Caller,
        policy: PolicyId,
        region: RegionName,
    ) -> Result<PolicyDestination, Error> {
        let known = self.policy_destinations(caller, policy).await?;
        match known.into_iter().find(|known| known.region == region) {
            Some(known) => Ok(known),
            None if self.peers().is_known(&region) => {
                Ok(PolicyDestination { region, rpo_seconds: None, operation: None })
            }
            None => Err(Error::not_found(Reason::NotFound, "the policy has no such destination")),
        }
    }

    /// Sets, or takes away, how old the newest replica of a server of the policy may become in a region.
    pub async fn set_policy_destination(
        &self,
        caller: &Caller,
        policy: PolicyId,
        (region, rpo_seconds): (RegionName, Option<u32>),
    ) -> Result<PolicyDestination, Error> {
        let project = caller.may(Action::ChangePolicies)?;
        self.policy_of(project, policy).await?;
        if rpo_seconds.is_some_and(|seconds| seconds == 0 || seconds > RPO_SECONDS_MAX) {
            let why = format!("must be null or 1 to {RPO_SECONDS_MAX}");
            return Err(Error::invalid("destination.rpo_seconds", why));
        }
        if rpo_seconds.is_some() {
            self.require_destination(&region).map_err(|error| error.at("region_name"))?;
        }
        let target = (&region, rpo_seconds);
        self.catalog().set_destination_target(project, policy, target, self.now()).await?;
        let known =
            self.destinations_of(project, policy).await?.into_iter().find(|known| known.region == region);
        Ok(known.unwrap_or(PolicyDestination { region, rpo_seconds: None, operation: None }))
    }

    async fn destinations_of(
        &self,
        project: &ProjectId,
        policy: PolicyId,
    ) -> Result<Vec<PolicyDestination>, Error> {
        let found = self.catalog().policy_destinations(project, policy).await;
        found_or(found, Reason::PolicyNotFound, "plan not found")
    }
}
