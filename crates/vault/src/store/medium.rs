//! The calls a store in a directory makes to its file system, so that a test can let one of them fail.
//!
//! A failure is injected before the call, which then does not take place; of a write, half does.

use std::io;
use std::path::Path;

/// A call to the file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MediumCall {
    /// A private file is created under `.unfinished/`.
    Create,
    /// Bytes are appended to it.
    Write,
    /// It is synced.
    Sync,
    /// It is linked to its name.
    Link,
    /// A directory is created.
    MakeDirectory,
    /// A directory is synced.
    SyncDirectory,
    /// A stored file is opened and read, or its size asked for.
    Read,
    /// Directories are listed.
    List,
    /// A stored file is unlinked.
    Remove,
}

impl MediumCall {
    /// Every kind of call.
    pub const ALL: [MediumCall; 9] = [
        MediumCall::Create,
        MediumCall::Write,
        MediumCall::Sync,
        MediumCall::Link,
        MediumCall::MakeDirectory,
        MediumCall::SyncDirectory,
        MediumCall::Read,
        MediumCall::List,
        MediumCall::Remove,
    ];
}

/// Says of each call whether it fails, and how. Comes from many threads.
pub trait Medium: Send + Sync {
    /// About to make this call on this path.
    fn call(&self, call: MediumCall, path: &Path) -> io::Result<()>;
}

/// The file system as it is.
pub(super) struct Real;

impl Medium for Real {
    fn call(&self, _call: MediumCall, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}
