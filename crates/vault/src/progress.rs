//! How a long call tells what it has done, and learns that it should end.

/// What was done since the last report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Bytes of volumes dealt with, holes included.
    pub logical_bytes: u64,
    /// Stored bytes written (backup), read (restore, verify) or sent (transfer).
    pub moved_bytes: u64,
}

/// The caller's side of a long call. Reports come from any thread.
pub trait Progress: Send + Sync {
    /// Takes a report. Must return at once.
    fn add(&self, step: Step);

    /// True once the call should end; it then returns [`crate::error::VaultError::Stopped`] soon.
    fn is_stopped(&self) -> bool;
}

/// Nobody looks and nobody stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn add(&self, _step: Step) {}

    fn is_stopped(&self) -> bool {
        false
    }
}
