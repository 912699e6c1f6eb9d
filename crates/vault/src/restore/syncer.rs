//! Syncing while the restore still writes, so that little is left to be waited for at its end.
//!
//! Left alone, the system begins to write out only when a tenth of the memory is dirty: a whole restore
//! would lie in memory until the last sync. The last sync, by the caller, is the one that counts.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::{Sender, bounded};

use crate::error::VaultError;

/// Bytes written between two syncs.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

/// Tells the syncing thread that there is something to sync.
pub(super) struct Syncer {
    unsynced_bytes: AtomicU64,
    orders: Option<Sender<()>>,
}

impl Syncer {
    /// Notes bytes written; returns at once.
    pub(super) fn note_written(&self, bytes: u64) {
        let Some(orders) = &self.orders else { return };
        if self.unsynced_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes < SYNC_EVERY_BYTES {
            return;
        }
        // A sync under way will be followed by another: then the order waits in the queue of one.
        if orders.try_send(()).is_ok() {
            self.unsynced_bytes.store(0, Ordering::Relaxed);
        }
    }
}

/// Runs `work` and beside it, on a thread of its own when `has_thread`, the syncs that it asks for. An
/// early sync that failed fails the whole.
pub(super) fn with_syncer(
    has_thread: bool,
    sync: &(dyn Fn() -> Result<(), VaultError> + Sync),
    work: impl FnOnce(&Syncer) -> Result<(), VaultError>,
) -> Result<(), VaultError> {
    if !has_thread {
        return work(&Syncer { unsynced_bytes: AtomicU64::new(0), orders: None });
    }
    let (orders, taken) = bounded::<()>(1);
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || taken.iter().try_for_each(|()| sync()));
        let worked = {
            let syncer = Syncer { unsynced_bytes: AtomicU64::new(0), orders: Some(orders) };
            work(&syncer)
        };
        let synced = thread.join().unwrap_or_else(|payload| std::panic::resume_unwind(payload));
        worked.and(synced)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn much_written_is_synced_early_and_a_failed_sync_is_told() {
        let count = AtomicU64::new(0);
        let fail_after = |limit: u64| {
            let sync = || match count.fetch_add(1, Ordering::SeqCst) {
                done if done < limit => Ok(()),
                _ => Err(VaultError::Stopped),
            };
            with_syncer(true, &sync, |syncer| {
                (0..10).for_each(|_| syncer.note_written(SYNC_EVERY_BYTES / 2));
                Ok(())
            })
        };
        fail_after(100).unwrap();
        assert!((1..=5).contains(&count.swap(0, Ordering::SeqCst)));
        assert!(fail_after(0).is_err());
    }

    #[test]
    fn one_thread_syncs_only_at_the_end() {
        let sync = || panic!("nobody asked for it");
        with_syncer(false, &sync, |syncer| {
            syncer.note_written(u64::MAX);
            Ok(())
        })
        .unwrap();
    }
}
