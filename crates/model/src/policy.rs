//! Policies: which resources, when (scheduled operations), how long kept.

use crate::ids::{PolicyId, ProjectId, RegionName, ResourceId, ScheduledOperationId, TriggerId, VolumeId};
use crate::replication::Destination;
use crate::retention::Retention;
use crate::schedule::Pattern;
use crate::text::{Description, Name, Tag};
use crate::time::Timestamp;

/// The id of the one provider there is: backups of servers (`csbs-v1-api.md` §2).
pub const PROVIDER_ID: &str = "fc4d5750-22e7-4798-8a46-f48f62c4c1da";

/// The one resource type there is.
pub const RESOURCE_TYPE: &str = "OS::Nova::Server";

/// A policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// Its id.
    pub id: PolicyId,
    /// The owning project.
    pub project_id: ProjectId,
    /// Its name, unique in the project.
    pub name: Name,
    /// What people say about it.
    pub description: Description,
    /// `parameters.common` as it was given: JSON text of an object, never interpreted but for
    /// `app_consistency`.
    pub parameters: String,
    /// What it protects.
    pub resources: Vec<PolicyResource>,
    /// When it does what. At most one backup and one replication operation; backup first.
    pub operations: Vec<ScheduledOperation>,
    /// Tags, copied onto the backups that it makes.
    pub tags: Vec<Tag>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

impl Policy {
    /// The backup operation, if it has one.
    pub fn backup_operation(&self) -> Option<&ScheduledOperation> {
        self.operations
            .iter()
            .find(|operation| matches!(operation.definition, OperationDefinition::Backup { .. }))
    }

    /// For how many days replicas in this destination are to be kept at least, if an operation says so.
    pub fn keep_days_wished(&self, destination: &Destination) -> Option<u32> {
        let wish = |operation: &ScheduledOperation| match &operation.definition {
            OperationDefinition::Replication {
                retention,
                destination_region,
                destination_project_id,
                ..
            } => {
                let is_meant = *destination_region == destination.region
                    && *destination_project_id == destination.project_id;
                retention.days_wished().filter(|_| is_meant)
            }
            OperationDefinition::Backup { .. } => None,
        };
        self.operations.iter().filter_map(wish).max()
    }

    /// The replication operation, if it has one.
    pub fn replication_operation(&self) -> Option<&ScheduledOperation> {
        self.operations
            .iter()
            .find(|operation| matches!(operation.definition, OperationDefinition::Replication { .. }))
    }
}

/// One resource of a policy, stored as the client sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyResource {
    /// The server.
    pub id: ResourceId,
    /// The name the client gave; not looked up.
    pub name: String,
    /// `extra_info` as it was given: JSON text of an object, if any.
    pub extra_info: Option<String>,
    /// Disks that `extra_info.exclude_volumes` leaves out.
    pub excluded_volumes: Vec<VolumeId>,
}

/// One scheduled operation of a policy.
#[derive(Clone, Debug, PartialEq)]
pub struct ScheduledOperation {
    /// Its id.
    pub id: ScheduledOperationId,
    /// Its name; may be empty.
    pub name: String,
    /// What people say about it.
    pub description: Description,
    /// Whether the schedule runs. Manual runs stay allowed.
    pub enabled: bool,
    /// What it does and how long the results are kept.
    pub definition: OperationDefinition,
    /// When it does it.
    pub trigger: Trigger,
}

/// What a scheduled operation does.
#[derive(Clone, Debug, PartialEq)]
pub enum OperationDefinition {
    /// Makes a checkpoint over the policy's resources.
    Backup {
        /// How long its checkpoint items are kept.
        retention: Retention,
    },
    /// Replicates the policy's items to another region.
    Replication {
        /// How long the replicas are kept, as a wish: the destination can only keep longer.
        retention: Retention,
        /// Where to.
        destination_region: RegionName,
        /// Into which project there.
        destination_project_id: ProjectId,
        /// More streams; never other content.
        enable_acceleration: bool,
    },
}

impl OperationDefinition {
    /// The wire word of the type.
    pub fn operation_type(&self) -> &'static str {
        match self {
            OperationDefinition::Backup { .. } => "backup",
            OperationDefinition::Replication { .. } => "replication",
        }
    }

    /// The retention of either kind.
    pub fn retention(&self) -> &Retention {
        match self {
            OperationDefinition::Backup { retention }
            | OperationDefinition::Replication { retention, .. } => retention,
        }
    }
}

/// When a scheduled operation runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Its id.
    pub id: TriggerId,
    /// The calendar text, byte for byte as given, and its parsed meaning.
    pub pattern: Pattern,
    /// From when it counts: the making of the trigger.
    pub start_time: Timestamp,
}
