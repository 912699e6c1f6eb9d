//! What can go wrong with a disk, told apart by what the caller can do about it.

use std::io;
use std::path::PathBuf;

/// Every error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiskError {
    /// The configuration or the registered path has to change.
    #[error("path {path} {why}")]
    BadPath {
        /// The path as given.
        path: PathBuf,
        /// What is wrong with it, to be read after the path.
        why: &'static str,
    },
    /// The path lies under none of the configured source roots.
    #[error("{path} is under none of the source roots")]
    OutsideRoots {
        /// The path as given.
        path: PathBuf,
    },
    /// A symbolic link stands on the way to the disk, or is the disk. Register what it points at.
    #[error("{path} goes through a symbolic link")]
    Link {
        /// The path as given.
        path: PathBuf,
    },
    /// The path leads into a directory that the service keeps for itself.
    #[error("{path} lies inside {forbidden}, which holds the service's own files")]
    Forbidden {
        /// The path as given.
        path: PathBuf,
        /// The directory of the service that it leads into.
        forbidden: PathBuf,
    },
    /// The path leads to something that is no disk.
    #[error("{path} is a {kind}, not a regular file or block device")]
    NotADisk {
        /// The path as given.
        path: PathBuf,
        /// What it is instead.
        kind: &'static str,
    },
    /// Nothing stands at the path, or a directory on the way is missing.
    #[error("{path} does not exist")]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// A disk was to be created where something stands already.
    #[error("{path} exists already")]
    Exists {
        /// The path as given.
        path: PathBuf,
    },
    /// Someone else writes the disk, or has it mounted. May pass.
    #[error("{path} is in use by someone else")]
    InUse {
        /// The path as given.
        path: PathBuf,
    },
    /// The disk has another size than the caller requires.
    #[error("{path} has {size_bytes} bytes where {wanted_bytes} are needed")]
    WrongSize {
        /// The path as given.
        path: PathBuf,
        /// The size found.
        size_bytes: u64,
        /// The size asked for by the [`SizeRule`](crate::SizeRule).
        wanted_bytes: u64,
    },
    /// The disk became shorter while it was read: what was read so far describes no disk that ever existed.
    #[error("the disk shrank from {size_bytes} bytes to {size_now_bytes} while it was read")]
    Shrank {
        /// The size when the disk was opened.
        size_bytes: u64,
        /// Where it ends now.
        size_now_bytes: u64,
    },
    /// The caller asked for bytes outside the disk.
    #[error("{length} bytes at {offset} do not lie on a disk of {size_bytes} bytes")]
    OutOfBounds {
        /// First byte asked for.
        offset: u64,
        /// Number of bytes asked for.
        length: u64,
        /// Size of the disk.
        size_bytes: u64,
    },
    /// These bytes cannot be read; the rest of the disk may well be.
    #[error("cannot read {length} bytes at {offset}")]
    Read {
        /// First byte that could not be read.
        offset: u64,
        /// How many bytes from there are in doubt.
        length: u64,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// These bytes were not written, nor anything of the same call behind them.
    #[error("cannot write {length} bytes at {offset}")]
    Write {
        /// First byte that was not written.
        offset: u64,
        /// How many bytes were still to be written.
        length: u64,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// There is no room for these bytes. May pass, when someone makes room.
    #[error("no room to write {length} bytes at {offset}")]
    Full {
        /// First byte that was not written.
        offset: u64,
        /// How many bytes were still to be written.
        length: u64,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The disk could not be synced. Everything since it was opened has to be written again through a new writer: the
    /// system may have dropped the pages, and a second sync would succeed without them.
    #[error("the disk could not be synced")]
    Sync {
        /// What the system said, or that an earlier sync of this writer failed.
        #[source]
        cause: io::Error,
    },
    /// The system refused something else.
    #[error("cannot {doing} {path}")]
    Unavailable {
        /// What was tried, to be read before the path.
        doing: &'static str,
        /// The path as given.
        path: PathBuf,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// For callers whose seams speak `io::Error`; the whole error stays inside as the source.
impl From<DiskError> for io::Error {
    fn from(error: DiskError) -> io::Error {
        let kind = match &error {
            DiskError::NotFound { .. } => io::ErrorKind::NotFound,
            DiskError::Exists { .. } => io::ErrorKind::AlreadyExists,
            DiskError::InUse { .. } => io::ErrorKind::ResourceBusy,
            DiskError::Shrank { .. } => io::ErrorKind::UnexpectedEof,
            DiskError::Full { .. } => io::ErrorKind::StorageFull,
            DiskError::BadPath { .. } | DiskError::OutOfBounds { .. } | DiskError::WrongSize { .. } => {
                io::ErrorKind::InvalidInput
            }
            DiskError::OutsideRoots { .. }
            | DiskError::Link { .. }
            | DiskError::Forbidden { .. }
            | DiskError::NotADisk { .. } => io::ErrorKind::PermissionDenied,
            DiskError::Read { cause, .. }
            | DiskError::Write { cause, .. }
            | DiskError::Sync { cause }
            | DiskError::Unavailable { cause, .. } => cause.kind(),
        };
        io::Error::new(kind, error)
    }
}
