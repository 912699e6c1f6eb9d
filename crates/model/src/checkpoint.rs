//! Checkpoints and their items: one run, and one server inside it.

use crate::ids::{
    CheckpointId, CheckpointItemId, OperationId, PolicyId, ProjectId, RegionName, ReplicationRecordId,
    ResourceId, VolumeBackupId, VolumeId,
};
use crate::text::{Description, Tag};
use crate::time::Timestamp;

/// The life of a checkpoint item.
///
/// ```text
/// waiting_protect ─► protecting ─► available ─► waiting_delete ─► deleting ─► deleted
///        │               │          │     ▲          ▲
///        └───────────────┴► error ──│─────│──────────┘
///                                   ▼     │
///                          waiting_restore ─► restoring
/// ```
///
/// A deleted item may become available again for as long as its quarantine lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemState {
    /// Queued for its backup.
    WaitingProtect,
    /// Being backed up, or (for a replica) being received.
    Protecting,
    /// Durable, complete and restorable.
    Available,
    /// Queued for a restore.
    WaitingRestore,
    /// Being restored.
    Restoring,
    /// The backup failed, and is only good for deletion; or something of it is damaged, and can be healed.
    Error,
    /// Queued for deletion.
    WaitingDelete,
    /// Being deleted.
    Deleting,
    /// Gone; a GET answers 404.
    Deleted,
}

/// What happens to a checkpoint item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemEvent {
    /// A worker took up the backup.
    BackupClaimed,
    /// Manifest and catalog row are durable.
    BackupStored,
    /// The backup cannot be made.
    BackupFailed,
    /// Somebody ordered a restore.
    RestoreOrdered,
    /// A worker took up the restore.
    RestoreClaimed,
    /// The restore came to its end, good or bad.
    RestoreEnded,
    /// Somebody, or retention, ordered the deletion.
    DeleteOrdered,
    /// Something of it was found damaged or missing.
    DamageFound,
    /// Everything of it is there and sound again.
    DamageHealed,
    /// A worker took up the deletion.
    DeleteClaimed,
    /// It is shown no more, and quarantined.
    DeleteDone,
    /// Somebody took the deletion back while the quarantine lasted.
    DeletionUndone,
}

/// A move that the drawing does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an item that is {state:?} cannot take the event {event:?}")]
pub struct IllegalItemMove {
    /// The state it is in.
    pub state: ItemState,
    /// What was to happen.
    pub event: ItemEvent,
}

impl ItemState {
    /// The only function that moves an item.
    pub fn on(self, event: ItemEvent) -> Result<ItemState, IllegalItemMove> {
        use ItemEvent as E;
        use ItemState as S;
        match (self, event) {
            (S::WaitingProtect | S::Protecting, E::BackupClaimed) => Ok(S::Protecting),
            (S::Protecting, E::BackupStored) => Ok(S::Available),
            (S::WaitingProtect | S::Protecting, E::BackupFailed) => Ok(S::Error),
            (S::Available, E::RestoreOrdered) => Ok(S::WaitingRestore),
            (S::WaitingRestore | S::Restoring, E::RestoreClaimed) => Ok(S::Restoring),
            (S::WaitingRestore | S::Restoring, E::RestoreEnded) => Ok(S::Available),
            (S::Available | S::Error, E::DeleteOrdered) => Ok(S::Deleting),
            (S::Available, E::DamageFound) => Ok(S::Error),
            (S::Error, E::DamageHealed) => Ok(S::Available),
            (S::WaitingDelete | S::Deleting, E::DeleteClaimed) => Ok(S::Deleting),
            (S::Deleting, E::DeleteDone) => Ok(S::Deleted),
            (S::Deleted, E::DeletionUndone) => Ok(S::Available),
            (state, event) => Err(IllegalItemMove { state, event }),
        }
    }

    /// The wire word, also stored in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            ItemState::WaitingProtect => "waiting_protect",
            ItemState::Protecting => "protecting",
            ItemState::Available => "available",
            ItemState::WaitingRestore => "waiting_restore",
            ItemState::Restoring => "restoring",
            ItemState::Error => "error",
            ItemState::WaitingDelete => "waiting_delete",
            ItemState::Deleting => "deleting",
            ItemState::Deleted => "deleted",
        }
    }

    /// All states, in the order of the drawing.
    pub const ALL: [ItemState; 9] = [
        ItemState::WaitingProtect,
        ItemState::Protecting,
        ItemState::Available,
        ItemState::WaitingRestore,
        ItemState::Restoring,
        ItemState::Error,
        ItemState::WaitingDelete,
        ItemState::Deleting,
        ItemState::Deleted,
    ];

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<ItemState> {
        ItemState::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// What a checkpoint is, taken over its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CheckpointState {
    /// An item is still being backed up.
    Protecting,
    /// An item can be restored, and none is being made or deleted.
    Available,
    /// An item is being deleted, and none is being made.
    Deleting,
    /// No item came to anything.
    Error,
}

impl CheckpointState {
    /// The state over the states of the items.
    pub fn over(items: &[ItemState]) -> CheckpointState {
        use ItemState as S;
        let any = |wanted: &[S]| items.iter().any(|state| wanted.contains(state));
        if any(&[S::WaitingProtect, S::Protecting]) {
            CheckpointState::Protecting
        } else if any(&[S::WaitingDelete, S::Deleting]) {
            CheckpointState::Deleting
        } else if any(&[S::Available, S::WaitingRestore, S::Restoring]) {
            CheckpointState::Available
        } else {
            CheckpointState::Error
        }
    }

    /// The wire word.
    pub fn word(self) -> &'static str {
        match self {
            CheckpointState::Protecting => "protecting",
            CheckpointState::Available => "available",
            CheckpointState::Deleting => "deleting",
            CheckpointState::Error => "error",
        }
    }
}

/// Where a replica came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The region that made the backup.
    pub region: RegionName,
    /// The project there.
    pub project_id: ProjectId,
    /// The checkpoint there.
    pub checkpoint_id: CheckpointId,
    /// The item there.
    pub checkpoint_item_id: CheckpointItemId,
    /// The record there that brought it here.
    pub replication_record_id: ReplicationRecordId,
    /// When it arrived, by our clock.
    pub arrived_at: Timestamp,
    /// Nothing expires it here before this moment.
    pub keep_until: Timestamp,
    /// Which incarnation of the same replica: grows when it is ordered again after a deletion.
    pub generation: u32,
}

/// One run of a policy, or one manual backup, over all its resources.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Its id.
    pub id: CheckpointId,
    /// The owning project.
    pub project_id: ProjectId,
    /// The policy that ran, or nothing for a backup ordered on a server directly.
    pub policy_id: Option<PolicyId>,
    /// The `protection_plan.id` shown: the policy's, or `fake_…`.
    pub plan_id: String,
    /// The `protection_plan.name` shown.
    pub plan_name: String,
    /// Whether the scheduler started it.
    pub auto_trigger: bool,
    /// When it was ordered.
    pub created_at: Timestamp,
}

/// One server inside a checkpoint: what is restored or replicated.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointItem {
    /// Its id.
    pub id: CheckpointItemId,
    /// The run it belongs to.
    pub checkpoint_id: CheckpointId,
    /// The owning project.
    pub project_id: ProjectId,
    /// The policy whose run made it, if one did. For replicas: nothing.
    pub policy_id: Option<PolicyId>,
    /// The server.
    pub resource_id: ResourceId,
    /// The server's name when it was backed up.
    pub resource_name: String,
    /// The backup's name.
    pub name: String,
    /// What people say about it; nothing when never set.
    pub description: Option<Description>,
    /// Where it is in its life.
    pub state: ItemState,
    /// Whether the scheduler started it.
    pub auto_trigger: bool,
    /// Whether an incremental backup was asked for and possible.
    pub incremental: bool,
    /// Done so far, 0 to 100.
    pub progress_percent: u8,
    /// Done so far, in bytes read (backup) or stored (replica).
    pub progress_bytes: u64,
    /// Bytes of the server's disks, once known.
    pub logical_bytes: u64,
    /// Bytes that this item added to the vault.
    pub added_bytes: u64,
    /// The signed manifest, once it exists.
    pub manifest_digest: Option<[u8; 32]>,
    /// The vault domain that holds it, once known.
    pub domain: Option<[u8; 16]>,
    /// The operation that wrote it.
    pub operation_id: OperationId,
    /// Sequence in (domain, resource, incarnation).
    pub sequence: u64,
    /// Where it came from; nothing for a backup made here.
    pub origin: Option<Origin>,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// The moment whose data it holds.
    pub protected_at: Option<Timestamp>,
    /// When it became available or failed.
    pub finished_at: Option<Timestamp>,
    /// When retention will drop it, if that is decided.
    pub expired_at: Option<Timestamp>,
    /// What failed, why and with which code.
    pub failure: Option<Failure>,
    /// Its disks.
    pub volumes: Vec<VolumeBackup>,
    /// Tags.
    pub tags: Vec<Tag>,
}

impl CheckpointItem {
    /// Whether it is a replica of a backup made in another region.
    pub fn is_replica(&self) -> bool {
        self.origin.is_some()
    }
}

/// Why an item or its last restore or deletion failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// `backup`, `restore` or `delete`.
    pub operation: String,
    /// A CSBS code such as `CSBS.9999`.
    pub code: String,
    /// English text for a person: the reason and the next step.
    pub reason: String,
}

/// The backup of one disk inside an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeBackup {
    /// Its id: `backup_id` in restore mappings.
    pub id: VolumeBackupId,
    /// The disk that was read.
    pub volume_id: VolumeId,
    /// The disk's name then.
    pub volume_name: String,
    /// The disk's size then.
    pub size_bytes: u64,
    /// Whether the server boots from it.
    pub bootable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_moves_as_drawn_and_no_other_way() {
        use ItemEvent::*;
        let events = [
            BackupClaimed,
            BackupStored,
            BackupFailed,
            RestoreOrdered,
            RestoreClaimed,
            RestoreEnded,
            DeleteOrdered,
            DamageFound,
            DamageHealed,
            DeleteClaimed,
            DeleteDone,
            DeletionUndone,
        ];
        let legal: usize = ItemState::ALL
            .iter()
            .map(|state| events.iter().filter(|event| state.on(**event).is_ok()).count())
            .sum();
        assert_eq!(legal, 18);
        assert!(ItemState::Deleted.on(BackupClaimed).is_err());
        assert!(ItemState::Error.on(RestoreOrdered).is_err());
        assert!(ItemState::Protecting.on(DeleteOrdered).is_err());
    }

    #[test]
    fn a_checkpoint_is_what_its_items_are() {
        use ItemState::*;
        for (items, expected) in [
            (vec![Available, Protecting, Error], CheckpointState::Protecting),
            (vec![Available, Deleting, Error], CheckpointState::Deleting),
            (vec![Restoring, Error], CheckpointState::Available),
            (vec![Error, Error], CheckpointState::Error),
            (vec![], CheckpointState::Error),
        ] {
            assert_eq!(CheckpointState::over(&items), expected, "{items:?}");
        }
    }

    #[test]
    fn words_and_states_are_one_to_one() {
        for state in ItemState::ALL {
            assert_eq!(ItemState::from_word(state.word()), Some(state));
        }
        assert_eq!(ItemState::from_word("fine"), None);
    }
}
