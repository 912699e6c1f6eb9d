//! Plan: what the replicate call would order now, how much it would move and for how long. Asks the very functions that
//! the call asks, and writes nothing.

use std::collections::BTreeMap;

use model::forecast;
use model::grant::Grant;
use model::ids::{CheckpointItemId, PolicyId};
use model::replication::{self, Destination, LeftOut, ReplicationOrder};

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::Error;

/// What the replicate call would do.
#[derive(Clone, Debug)]
pub struct Forecast {
    /// The call.
    pub order: ReplicationOrder,
    /// The items that it would order, oldest first.
    pub selected: Vec<CheckpointItemId>,
    /// How many items it would leave out, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
    /// Bytes that would be moved, by the estimate that the worker makes.
    pub expected_bytes: u64,
    /// How long that would take at the rate of the last records to the region; nothing when none was measured.
    pub expected_seconds: Option<u64>,
    /// What the replicas would count against the grant.
    pub charged_bytes: u64,
    /// What is left of the grant now; nothing when it has no limit, or what it holds is not known here.
    pub grant_bytes_left: Option<u64>,
}

impl Control {
    /// What the replicate call would order now. Refused as the call would be.
    pub async fn plan_replication(
        &self,
        caller: &Caller,
        policy_id: PolicyId,
        destination: Destination,
    ) -> Result<Forecast, Error> {
        let project = caller.may(Action::Read)?;
        self.policy_of(project, policy_id).await?;
        let order = ReplicationOrder {
            source_project_id: project.clone(),
            policy_id,
            destination,
            auto_trigger: false,
            enable_acceleration: false,
        };
        let grant = self.grant_in_hand(project, &order.destination).await?;
        let region = &order.destination.region;
        let ledger = self.catalog().replication_ledger(order.policy_id, region).await?;
        let plan = replication::plan(&order, &ledger);
        let facts =
            self.catalog().forecast_facts(project, &plan.selected, &order.destination, grant.id).await?;
        let expected_bytes = forecast::expected_bytes(&facts.items, &facts.servers_there);
        Ok(Forecast {
            order: plan.order,
            selected: plan.selected,
            left_out: plan.left_out,
            expected_bytes,
            expected_seconds: forecast::expected_seconds(expected_bytes, facts.rate),
            charged_bytes: facts.items.iter().map(|item| item.stored_bytes).sum(),
            grant_bytes_left: bytes_left(&grant, facts.grant_used_bytes),
        })
    }
}

fn bytes_left(grant: &Grant, used_bytes: Option<u64>) -> Option<u64> {
    Some(grant.bytes_max?.saturating_sub(used_bytes?))
}
