//! What a change tracker says of a server's disks, on its way from the order of a backup to its run.
//!
//! It is kept in memory only and used at most once: a run that is repeated, by another process or after
//! a restart, reads everything, because what changed since the first try is in nobody's list. The vault
//! believes it only when the item it counts from is the base of the run and the disk kept its size.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use model::ids::{CheckpointItemId, VolumeId};

/// Orders whose lists are kept at a time; the oldest goes first, and its backup reads everything.
const ORDERS_MAX: usize = 64;
/// Extents kept of one order; one with more reads everything.
pub const EXTENTS_MAX: usize = 1 << 20;

/// What changed on the disks of a server since an earlier item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerChanges {
    /// The item since which changes were tracked.
    pub since: CheckpointItemId,
    /// The disks that were tracked. One that is not listed is read whole.
    pub volumes: Vec<VolumeChanges>,
}

/// What changed on one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeChanges {
    /// The disk.
    pub volume_id: VolumeId,
    /// Extents (offset, length in bytes) that were written or trimmed; none when nothing was.
    pub extents: Vec<(u64, u64)>,
}

/// Lists that wait for the run of their item.
#[derive(Default)]
pub(crate) struct WaitingChanges {
    waiting: Mutex<VecDeque<(CheckpointItemId, ServerChanges)>>,
}

impl WaitingChanges {
    pub(crate) fn keep(&self, item: CheckpointItemId, changes: ServerChanges) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= ORDERS_MAX {
            waiting.pop_front();
        }
        waiting.push_back((item, changes));
    }

    /// The list of an item; the next call finds none.
    pub(crate) fn take(&self, item: CheckpointItemId) -> Option<ServerChanges> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let found = waiting.iter().position(|(waiting_item, _)| *waiting_item == item)?;
        waiting.remove(found).map(|(_, changes)| changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u8) -> CheckpointItemId {
        CheckpointItemId::from_entropy([number; 16])
    }

    #[test]
    fn a_list_is_taken_once_and_the_oldest_gives_way() {
        let changes = ServerChanges { since: item(200), volumes: Vec::new() };
        let waiting = WaitingChanges::default();
        waiting.keep(item(1), changes.clone());
        assert_eq!(waiting.take(item(1)), Some(changes.clone()));
        assert_eq!(waiting.take(item(1)), None);
        (0..=ORDERS_MAX as u8).for_each(|number| waiting.keep(item(number), changes.clone()));
        assert_eq!((waiting.take(item(0)), waiting.take(item(1))), (None, Some(changes)));
    }
}
