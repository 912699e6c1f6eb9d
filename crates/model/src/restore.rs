//! Restores: one item onto registered volumes.

use crate::ids::{
    CheckpointId, CheckpointItemId, ProjectId, ResourceId, RestoreId, VolumeBackupId, VolumeId,
};
use crate::time::Timestamp;

/// The life of a restore: `in_progress ─► success | fail`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreState {
    /// Ordered or running.
    InProgress,
    /// Every volume is written and synced.
    Success,
    /// It ended early; the reason says why and which volumes are unfinished.
    Fail,
}

impl RestoreState {
    /// The wire word, also stored in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            RestoreState::InProgress => "in_progress",
            RestoreState::Success => "success",
            RestoreState::Fail => "fail",
        }
    }

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<RestoreState> {
        [RestoreState::InProgress, RestoreState::Success, RestoreState::Fail]
            .into_iter()
            .find(|s| s.word() == word)
    }
}

/// One volume backup and the volume it is written to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreVolume {
    /// What is restored.
    pub backup_id: VolumeBackupId,
    /// Where to.
    pub volume_id: VolumeId,
}

/// A restore of one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restore {
    /// Its id.
    pub id: RestoreId,
    /// The owning project.
    pub project_id: ProjectId,
    /// The checkpoint of the item.
    pub checkpoint_id: CheckpointId,
    /// The item.
    pub item_id: CheckpointItemId,
    /// The server that receives the data.
    pub target_server_id: ResourceId,
    /// Which disk goes where.
    pub volumes: Vec<RestoreVolume>,
    /// Whether to start the server afterwards, as asked.
    pub power_on: bool,
    /// `restore_target` as given.
    pub restore_target: Option<String>,
    /// Where it is in its life.
    pub state: RestoreState,
    /// Why it failed; empty when it did not.
    pub reason: String,
    /// Bytes of the disks in all.
    pub total_bytes: u64,
    /// Bytes written or skipped as holes so far.
    pub done_bytes: u64,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}
