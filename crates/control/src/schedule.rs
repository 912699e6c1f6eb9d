//! The scheduler: due operations become runs, each slot once. Slots missed while the region was down
//! are caught up by one run, the newest.

use catalog::PlannedOperation;
use model::policy::{OperationDefinition, ScheduledOperation};
use model::replication::{Destination, ReplicationOrder};
use tracing::{info, warn};
use vault::crash_point;

use crate::Control;
use crate::error::{Error, Kind};

/// Operations looked at in one round.
const OPERATIONS_A_ROUND: u32 = 100;

impl Control {
    /// Starts what is due, and plans what was not planned yet.
    pub(crate) async fn run_due_operations(&self) -> Result<(), Error> {
        for planned in self.catalog().unplanned_operations(OPERATIONS_A_ROUND).await? {
            self.plan_next(&planned).await?;
        }
        for planned in self.catalog().due_operations(self.now(), OPERATIONS_A_ROUND).await? {
            self.run_operation(&planned).await?;
            self.plan_next(&planned).await?;
        }
        Ok(())
    }

    async fn plan_next(&self, planned: &PlannedOperation) -> Result<(), Error> {
        let Some(operation) = operation_of(planned) else { return Ok(()) };
        let trigger = &operation.trigger;
        let next = trigger.pattern.next_after(trigger.start_time, self.now());
        self.catalog().set_next_run(operation.id, planned.policy.updated_at, next).await?;
        Ok(())
    }

    /// Claims the newest missed slot, then runs. A crash between the two loses this one run; the
    /// other order could run it twice.
    async fn run_operation(&self, planned: &PlannedOperation) -> Result<(), Error> {
        let Some(operation) = operation_of(planned) else { return Ok(()) };
        let trigger = &operation.trigger;
        let last = self.catalog().last_slot(operation.id).await?.unwrap_or(trigger.start_time);
        let Some(slot) = trigger.pattern.missed(trigger.start_time, last, self.now()) else { return Ok(()) };
        if !self.catalog().claim_slot(operation.id, slot, self.now()).await? {
            return Ok(());
        }
        crash_point!("schedule.slot_claimed");
        let policy = &planned.policy;
        let begun = match &operation.definition {
            OperationDefinition::Backup { .. } => {
                self.begin_policy_run(policy, &policy.resources, true).await.map(|begun| begun.items.len())
            }
            OperationDefinition::Replication {
                destination_region,
                destination_project_id,
                enable_acceleration,
                ..
            } => {
                let order = ReplicationOrder {
                    source_project_id: policy.project_id.clone(),
                    policy_id: policy.id,
                    destination: Destination {
                        region: destination_region.clone(),
                        project_id: destination_project_id.clone(),
                    },
                    auto_trigger: true,
                    enable_acceleration: *enable_acceleration,
                };
                self.begin_policy_replication(order, true).await.map(|begun| begun.selected.len())
            }
        };
        match begun {
            Ok(item_count) => {
                info!(policy.id = %policy.id, %slot, item_count, "ran a scheduled {}", operation.definition.operation_type());
                Ok(())
            }
            Err(error) if matches!(error.kind, Kind::Internal | Kind::Unavailable) => Err(error),
            Err(error) => {
                warn!(policy.id = %policy.id, %slot, %error, "a scheduled run was dropped; the next slot is taken");
                Ok(())
            }
        }
    }
}

fn operation_of(planned: &PlannedOperation) -> Option<&ScheduledOperation> {
    planned.policy.operations.iter().find(|operation| operation.id == planned.operation_id)
}
