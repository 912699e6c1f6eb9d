//! The scheduler: due operations become runs, each slot once. Slots missed while the region was down
//! are caught up by one run, the newest.

use catalog::{PlannedOperation, Slot};
use model::policy::{OperationDefinition, Policy, ScheduledOperation};
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

    /// Runs the newest missed slot. The run and the claim of its slot become durable together: a crash loses
    /// no run and doubles none.
    async fn run_operation(&self, planned: &PlannedOperation) -> Result<(), Error> {
        let Some(operation) = operation_of(planned) else { return Ok(()) };
        let trigger = &operation.trigger;
        let last = self.catalog().last_slot(operation.id).await?.unwrap_or(trigger.start_time);
        let Some(at) = trigger.pattern.missed(trigger.start_time, last, self.now()) else { return Ok(()) };
        let slot = Slot { operation: operation.id, at };
        match self.begin_operation(&planned.policy, operation, slot).await {
            Ok(item_count) => {
                crash_point!("schedule.run_begun");
                let what = operation.definition.operation_type();
                info!(policy.id = %planned.policy.id, slot = %at, item_count, "ran a scheduled {what}");
                Ok(())
            }
            Err(error) if matches!(error.kind, Kind::Internal | Kind::Unavailable) => Err(error),
            Err(error) => {
                // Another process may have run it; then there is nothing to drop.
                if self.catalog().claim_slot(&slot, self.now()).await? {
                    let policy_id = planned.policy.id;
                    warn!(policy.id = %policy_id, slot = %at, %error, "a scheduled run was dropped; the next slot is taken");
                }
                Ok(())
            }
        }
    }

    /// Begins what an operation is for; answers how many items it concerns.
    async fn begin_operation(
        &self,
        policy: &Policy,
        operation: &ScheduledOperation,
        slot: Slot,
    ) -> Result<usize, Error> {
        match &operation.definition {
            OperationDefinition::Backup { .. } => {
                let begun = self.begin_policy_run(policy, &policy.resources, Some(slot)).await?;
                Ok(begun.items.len())
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
                self.begin_scheduled_replication(policy, &order, slot).await
            }
        }
    }
}

fn operation_of(planned: &PlannedOperation) -> Option<&ScheduledOperation> {
    planned.policy.operations.iter().find(|operation| operation.id == planned.operation_id)
}
