//! Working under a lease: while a blocking operation runs, its lease is extended and its progress
//! recorded; when the lease is gone, the operation is told to stop and nothing more is written.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use catalog::{CatalogError, Lease};
use tracing::warn;
use vault::progress::{Progress, Step};

use crate::error::Error;
use crate::workers::LEASE_SECONDS;
use crate::{Control, joined, start_blocking};

/// How often progress is recorded and the lease looked after.
const TICK: Duration = Duration::from_millis(500);

/// What a vault operation has done so far; written by its threads, read by the task that keeps its lease.
#[derive(Default)]
pub(crate) struct LeaseProgress {
    logical_bytes: AtomicU64,
    moved_bytes: AtomicU64,
    is_stopped: AtomicBool,
}

impl LeaseProgress {
    pub(crate) fn new() -> Arc<LeaseProgress> {
        Arc::new(LeaseProgress::default())
    }

    /// Bytes of volumes dealt with, holes included.
    pub(crate) fn logical_bytes(&self) -> u64 {
        self.logical_bytes.load(Ordering::Relaxed)
    }

    /// Stored bytes written, read or sent.
    pub(crate) fn moved_bytes(&self) -> u64 {
        self.moved_bytes.load(Ordering::Relaxed)
    }

    fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }
}

impl Progress for LeaseProgress {
    fn add(&self, step: Step) {
        self.logical_bytes.fetch_add(step.logical_bytes, Ordering::Relaxed);
        self.moved_bytes.fetch_add(step.moved_bytes, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.is_stopped.load(Ordering::Relaxed)
    }
}

impl Control {
    /// Runs blocking work under a lease. `note` records the progress; it is called twice a second.
    pub(crate) async fn under_lease<T, Work, Note, Noting>(
        &self,
        lease: &Lease,
        progress: &Arc<LeaseProgress>,
        note: Note,
        work: Work,
    ) -> Result<T, Error>
    where
        T: Send + 'static,
        Work: FnOnce() -> T + Send + 'static,
        Note: Fn(Arc<LeaseProgress>) -> Noting,
        Noting: Future<Output = Result<(), CatalogError>>,
    {
        let mut running = start_blocking(work);
        loop {
            tokio::select! {
                done = &mut running => return joined(done),
                () = self.parts().timer.sleep(TICK) => {}
                () = self.wakes().fenced.notified() => {}
            }
            self.keep_lease(lease, progress, &note).await;
        }
    }

    async fn keep_lease<Note, Noting>(&self, lease: &Lease, progress: &Arc<LeaseProgress>, note: &Note)
    where
        Note: Fn(Arc<LeaseProgress>) -> Noting,
        Noting: Future<Output = Result<(), CatalogError>>,
    {
        let extended =
            self.catalog().extend_lease(lease, self.now().plus_seconds(LEASE_SECONDS.into())).await;
        let noted = match extended {
            Ok(_) => note(progress.clone()).await,
            Err(error) => Err(error),
        };
        match noted {
            Ok(()) => {}
            Err(CatalogError::Fenced) => progress.stop(),
            Err(error) => warn!(%error, "a lease could not be kept; it is tried again"),
        }
    }
}
