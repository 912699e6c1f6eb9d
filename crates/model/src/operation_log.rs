//! What was done in a project, for people who look back. A log is a view of the thing itself: a backup, a
//! restore, a deletion, a replication record.

use crate::ids::{CheckpointId, CheckpointItemId, OperationLogId, PolicyId, RegionName, RestoreId};
use crate::time::Timestamp;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationType {
    /// A backup of one server.
    Protect,
    /// A restore.
    Restore,
    /// A deletion or an expiry.
    Delete,
    /// A replication to another region.
    Copy,
}

impl OperationType {
    /// All of them.
    pub const ALL: [OperationType; 4] =
        [OperationType::Protect, OperationType::Restore, OperationType::Delete, OperationType::Copy];

    /// The wire word.
    pub fn word(self) -> &'static str {
        match self {
            OperationType::Protect => "protect",
            OperationType::Restore => "restore",
            OperationType::Delete => "delete",
            OperationType::Copy => "copy",
        }
    }

    /// The type of a word.
    pub fn from_word(word: &str) -> Option<OperationType> {
        OperationType::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OperationStatus {
    /// It waits for its turn.
    Waiting,
    /// It is under way.
    Running,
    /// It did what was ordered.
    Success,
    /// It did not.
    Failed,
    /// It was not needed any more.
    Skipped,
}

impl OperationStatus {
    /// All of them.
    pub const ALL: [OperationStatus; 5] = [
        OperationStatus::Waiting,
        OperationStatus::Running,
        OperationStatus::Success,
        OperationStatus::Failed,
        OperationStatus::Skipped,
    ];

    /// The wire word.
    pub fn word(self) -> &'static str {
        match self {
            OperationStatus::Waiting => "waiting",
            OperationStatus::Running => "running",
            OperationStatus::Success => "success",
            OperationStatus::Failed => "failed",
            OperationStatus::Skipped => "skipped",
        }
    }

    /// The status of a word.
    pub fn from_word(word: &str) -> Option<OperationStatus> {
        OperationStatus::ALL.into_iter().find(|status| status.word() == word)
    }

    /// Whether nothing more comes of it.
    pub fn is_final(self) -> bool {
        !matches!(self, OperationStatus::Waiting | OperationStatus::Running)
    }
}

/// One thing that was done, or is being done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationLog {
    /// Its id.
    pub id: OperationLogId,
    /// What was done.
    pub operation_type: OperationType,
    /// What came of it.
    pub status: OperationStatus,
    /// The backup it was done to.
    pub item_id: CheckpointItemId,
    /// That backup's checkpoint.
    pub checkpoint_id: CheckpointId,
    /// The policy that caused it or made the backup, if one did.
    pub policy_id: Option<PolicyId>,
    /// The restore, if it is one.
    pub restore_id: Option<RestoreId>,
    /// The region that a replication goes to.
    pub destination_region: Option<RegionName>,
    /// Whether the scheduler began it.
    pub auto_trigger: bool,
    /// Why it failed or waits, as a code; empty when all is well.
    pub error_code: String,
    /// The same for a person.
    pub error_reason: String,
    /// When it was ordered.
    pub started_at: Timestamp,
    /// When it came to its end.
    pub ended_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_one_to_one() {
        for kind in OperationType::ALL {
            assert_eq!(OperationType::from_word(kind.word()), Some(kind));
        }
        for status in OperationStatus::ALL {
            assert_eq!(OperationStatus::from_word(status.word()), Some(status));
        }
        assert_eq!(OperationStatus::from_word("fine"), None);
    }
}
