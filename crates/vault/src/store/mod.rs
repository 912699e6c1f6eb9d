//! The dumb byte store under a vault: a directory or a bucket, names to bytes, write once.
//!
//! A store promises three things and no more: what a call acknowledged is durable, a name is bound
//! at most once, and nothing appears under its name before it is whole. It knows no keys, no packs
//! and no meaning. [`LocalStore`] is a directory, [`SimulatedStore`] a world of faults for tests;
//! every implementation passes [`conformance::check`].

pub mod conformance;
mod local;
mod medium;
mod simulated;

pub use local::LocalStore;
pub use medium::{Medium, MediumCall};
pub use simulated::{SimulatedFault, SimulatedStore};

use std::io;

use crate::error::VaultError;

/// Longest name in bytes.
pub const NAME_BYTES_MAX: usize = 200;

/// A write-once store of named byte strings.
///
/// Names are `/`-separated parts of `[a-z0-9._-]`; a part does not start with a dot. All calls may
/// come from many threads at once.
pub trait ObjectStore: Send + Sync {
    /// Binds `name` to `bytes` unless it is bound already; durable when it returns, for both answers.
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put, StoreError> {
        let mut writer = self.begin(name)?;
        writer.append(bytes)?;
        writer.finish()
    }

    /// Starts a write in pieces. Nothing is visible under `name` before [`StoreWriter::finish`].
    fn begin(&self, name: &str) -> Result<Box<dyn StoreWriter>, StoreError>;

    /// All bytes of `name`; [`StoreError::TooLong`] when there are more than `bytes_max`.
    fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, StoreError>;

    /// Exactly `length` bytes from `offset`; [`StoreError::TooShort`] when the object ends before.
    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, StoreError>;

    /// How many bytes `name` has.
    fn size(&self, name: &str) -> Result<u64, StoreError>;

    /// The names that start with `prefix`, in byte order. Never proof that a name is absent.
    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError>;

    /// Some of what [`ObjectStore::list`] lists, from a place in its order on. A bucket answers this with one
    /// request, a directory without looking into folders that lie before the place.
    fn list_part(&self, part: &ListPart) -> Result<Vec<String>, StoreError> {
        let names = self.list(part.prefix)?.into_iter();
        Ok(names.filter(|name| name.as_str() > part.after).take(part.count_max).collect())
    }

    /// Removes `name` durably; also fine when it is not there. The name must never be used again.
    fn delete(&self, name: &str) -> Result<(), StoreError>;

    /// Whether this store still takes writes: [`StoreError::Broken`] once it does not, until it is opened again.
    /// Asks nobody.
    fn require_writable(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Which names to list.
#[derive(Clone, Copy, Debug)]
pub struct ListPart<'a> {
    /// What they start with.
    pub prefix: &'a str,
    /// What they come after, in byte order; need not be a name itself.
    pub after: &'a str,
    /// How many to list at most.
    pub count_max: usize,
}

/// A write under way. Dropping it forgets what was appended.
pub trait StoreWriter: Send {
    /// Adds bytes at the end. After an error the write is lost and every further call fails.
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError>;

    /// Makes the whole durable, then binds the name, durably, unless it is bound already.
    fn finish(self: Box<Self>) -> Result<Put, StoreError>;
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The name is now bound to these bytes.
    Created,
    /// The name was bound before; what it holds was not looked at.
    Exists,
}

/// A failed call of an object store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing is bound to the name.
    #[error("{name} is not in the store")]
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// The object is longer than the caller is willing to hold.
    #[error("{name} has more than {bytes_max} bytes")]
    TooLong {
        /// The name asked for.
        name: String,
        /// The caller's limit.
        bytes_max: u64,
    },
    /// The object ends before the extent that was asked for.
    #[error("{name} is too short")]
    TooShort {
        /// The name asked for.
        name: String,
    },
    /// A name that breaks the rules of [`ObjectStore`].
    #[error("bad object name {name:?}")]
    BadName {
        /// The name given.
        name: String,
    },
    /// No space or quota is left. Nothing was bound.
    #[error("the store is full")]
    Full,
    /// A sync failed, so nobody knows what the disk holds: this store takes no more writes until it
    /// is opened again and what was written since the last good sync has been verified.
    #[error("the store takes no writes since a sync failed")]
    Broken,
    /// The store did not answer; whether a write took effect is unknown.
    #[error("the store did not answer")]
    Unavailable {
        /// What the system reported.
        #[source]
        cause: io::Error,
    },
}

impl StoreError {
    /// Sorts a system error: out of space and quota are [`StoreError::Full`].
    pub fn of_io(cause: io::Error) -> StoreError {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Full,
            _ => StoreError::Unavailable { cause },
        }
    }

    /// The same trouble as the vault tells it. Callers that know what a missing name means for them
    /// handle [`StoreError::NotFound`] first.
    pub fn while_doing(self, doing: &'static str) -> VaultError {
        match self {
            StoreError::Full => VaultError::Full { doing },
            StoreError::Unavailable { cause } => VaultError::Unavailable { doing, cause },
            StoreError::NotFound { .. } => {
                VaultError::Unavailable { doing, cause: io::Error::new(io::ErrorKind::NotFound, self) }
            }
            other => VaultError::Unavailable { doing, cause: io::Error::other(other) },
        }
    }
}

/// Refuses names that are not as [`ObjectStore`] wants them.
pub(crate) fn check_name(name: &str) -> Result<(), StoreError> {
    let is_good_part = |part: &str| {
        let is_plain =
            part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
        is_plain && !part.is_empty() && !part.starts_with('.')
    };
    if name.len() > NAME_BYTES_MAX || !name.split('/').all(is_good_part) {
        return Err(StoreError::BadName { name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_store_are_refused() {
        let long = "a".repeat(NAME_BYTES_MAX + 1);
        for name in ["", "/a", "a/", "a//b", "..", "a/../b", ".hidden", "A", "ä", "a b", "a\0", "a\\b", &long]
        {
            assert!(matches!(check_name(name), Err(StoreError::BadName { .. })), "{name:?}");
        }
        for name in ["format", "a/b-c_d.e", "vaults/00ff/packs/0000000000000001-00aabbcc.pack"] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }
}
