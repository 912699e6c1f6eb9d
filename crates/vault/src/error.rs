//! What can go wrong in a vault, sorted by what the caller can do about it.
//!
//! The seams have errors of their own ([`crate::store::StoreError`], [`crate::ledger::LedgerError`],
//! [`crate::transfer::PeerError`]); they arrive here with what was being done.

use std::io;

use crate::ids::{Address, DomainId, Epoch, ManifestDigest};

/// A failed operation of the vault.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The vault does not hold this object: fetch it from a peer, or the item is lost.
    #[error("object {address} is not in the vault")]
    Missing {
        /// The object asked for.
        address: Address,
    },
    /// The vault does not hold this manifest.
    #[error("manifest {digest} is not in the vault")]
    ManifestMissing {
        /// The manifest asked for.
        digest: ManifestDigest,
    },
    /// The bytes under this address are not the ones that were stored: fetch them from a peer.
    #[error("the bytes stored for {address} are damaged: {why}")]
    Corrupt {
        /// The object that was read.
        address: Address,
        /// The first check that failed.
        why: &'static str,
    },
    /// Bytes do not follow the format (damage, or a newer version): never guessed at.
    #[error("bad {what}: {why}")]
    BadFormat {
        /// What was being decoded.
        what: &'static str,
        /// The rule that is broken.
        why: String,
    },
    /// The object store did not answer: try again later.
    #[error("object store did not answer while {doing}")]
    Unavailable {
        /// The step under way.
        doing: &'static str,
        /// What the system reported.
        #[source]
        cause: io::Error,
    },
    /// No space is left: free some, then try again.
    #[error("object store is full while {doing}")]
    Full {
        /// The step under way.
        doing: &'static str,
    },
    /// The request is not allowed or makes no sense: it will not get better by repeating.
    #[error("refused: {why}")]
    Refused {
        /// Why.
        why: String,
    },
    /// The disk being backed up could not be read; nothing was filled in for it.
    #[error("volume {volume_id} cannot be read at {offset} for {length} bytes")]
    SourceRead {
        /// The volume.
        volume_id: String,
        /// First byte of the extent.
        offset: u64,
        /// Length of the extent in bytes.
        length: u64,
        /// What the source reported.
        #[source]
        cause: io::Error,
    },
    /// The disk being restored to could not be written.
    #[error("the restored volume cannot be written at {offset} for {length} bytes")]
    DestinationWrite {
        /// First byte of the extent.
        offset: u64,
        /// Length of the extent in bytes.
        length: u64,
        /// What the destination reported.
        #[source]
        cause: io::Error,
    },
    /// The key that would open this is not held here (sealed mode, or a lost key).
    #[error("no key for domain {domain} epoch {epoch}")]
    KeyMissing {
        /// The key domain.
        domain: DomainId,
        /// The epoch.
        epoch: Epoch,
    },
    /// The KEK that sealed this is not held here; an operator must put it back, or recover.
    #[error("it is sealed under KEK {number}, which this region does not hold")]
    KekMissing {
        /// The number of the KEK.
        number: u32,
    },
    /// A file that holds a key cannot be used; an operator must look at it.
    #[error("key file {path}: {why}")]
    KeyFile {
        /// Where it lies.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// One sequence number with two contents: a fork that a person must look at.
    #[error("forked: {what}")]
    Forked {
        /// What has two histories.
        what: String,
    },
    /// The catalog's pack ledger failed: try again later.
    #[error("pack ledger failed while {doing}")]
    Ledger {
        /// The step under way.
        doing: &'static str,
        /// What it reported.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The far end of a transfer failed or said no; the cause tells which.
    #[error("peer failed while {doing}")]
    Peer {
        /// The step under way.
        doing: &'static str,
        /// What it reported.
        #[source]
        cause: crate::transfer::PeerError,
    },
    /// The local index failed; it can be deleted and is then rebuilt.
    #[error("index failed while {doing}")]
    Index {
        /// The step under way.
        doing: &'static str,
        /// What it reported.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The caller's stop token was set. What was synced is found again by the next run.
    #[error("stopped by request")]
    Stopped,
}

impl VaultError {
    /// A [`VaultError::BadFormat`].
    pub fn bad_format(what: &'static str, why: impl Into<String>) -> VaultError {
        VaultError::BadFormat { what, why: why.into() }
    }

    /// A [`VaultError::BadFormat`] about something written in another version of the format.
    pub fn other_version(what: &'static str, version: impl std::fmt::Display) -> VaultError {
        let own = crate::codec::FORMAT_VERSION;
        let why = format!("it is of format version {version}; this program reads version {own}");
        VaultError::BadFormat { what, why }
    }

    /// A [`VaultError::Refused`].
    pub fn refused(why: impl Into<String>) -> VaultError {
        VaultError::Refused { why: why.into() }
    }

    /// True when the same call may succeed later without anybody changing anything.
    pub fn is_passing(&self) -> bool {
        match self {
            VaultError::Unavailable { .. } | VaultError::Ledger { .. } | VaultError::Full { .. } => true,
            VaultError::Peer { cause, .. } => cause.is_passing(),
            _ => false,
        }
    }
}
