//! Moving the missing part of one item to another region.
//!
//! The source pushes to an append-only far end, the [`Peer`]: it offers the signed manifest, walks
//! the new tree against a base that both sides hold, asks what is missing below what differs, sends
//! the stored bytes exactly as they lie in its packs, children before parents, and has completeness
//! proved at the end. Nothing is listed, and nothing is believed: the destination ([`Ingest`])
//! recomputes every address from the buffer that it writes. Every message may be lost, repeated or
//! answered twice; asking again is how a transfer continues, and there is one road for the first try
//! and the tenth. What the messages look like as bytes is in [`wire`].

mod completeness;
mod ingest;
mod intake;
mod outbox;
mod source;
pub mod wire;

pub use ingest::{Ingest, IngestOrder, IngestVerified, Walked};
pub use source::{Copied, CopyOrder};

use crate::ids::{Address, Kind, ManifestDigest};

/// Longest batch of objects in one message, framing included.
pub const BATCH_BYTES_MAX: usize = 8 << 20;
/// Most objects asked for in one message, or named as missing in one answer.
pub const ASKED_COUNT_MAX: usize = 8192;
/// Most bases, wraps or cards in an offer.
pub const OFFERED_COUNT_MAX: usize = 4096;

/// The far end of one transfer. In production HTTP, in tests another vault.
pub trait Peer: Send + Sync {
    /// Offers an item; the answer says where to begin.
    fn open(&self, offer: &Offer) -> Result<Opened, PeerError>;

    /// Asks which of these objects to send: `true` means missing there. At most [`ASKED_COUNT_MAX`].
    fn want(&self, asked: &[Asked]) -> Result<Vec<bool>, PeerError>;

    /// Sends objects as [`wire::BatchWriter`] frames them. Comes from several threads when a copy has
    /// several connections.
    fn send(&self, batch: &[u8]) -> Result<Acknowledged, PeerError>;

    /// Has the far end sync, walk the tree and prove that nothing is missing.
    fn verify(&self) -> Result<Verification, PeerError>;

    /// Has the far end publish the item; the answer is its signed receipt.
    fn publish(&self) -> Result<Vec<u8>, PeerError>;
}

/// What a source offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// Rises with every attempt at this item; the far end refuses lower ones.
    pub attempt: u64,
    /// The signed manifest.
    pub manifest: Vec<u8>,
    /// Items that the far end has a receipt for, best base first.
    pub bases: Vec<ManifestDigest>,
    /// Wraps of the item's keys for the far end.
    pub wraps: Vec<Vec<u8>>,
    /// The source's cards, so that the signatures can be verified.
    pub cards: Vec<Vec<u8>>,
}

/// Where a transfer begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// Nothing of it was received before.
    New {
        /// The base to walk against, pinned there until the transfer ends.
        base: Option<ManifestDigest>,
    },
    /// An earlier attempt left objects, which count.
    Resume {
        /// As above.
        base: Option<ManifestDigest>,
    },
    /// It is published already.
    Complete {
        /// The signed receipt.
        receipt: Vec<u8>,
    },
}

/// An object by which a question or an answer names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Asked {
    /// Chunk or node.
    pub kind: Kind,
    /// A node's level, else 0.
    pub level: u8,
    /// Its address.
    pub address: Address,
}

/// The answer to a batch: everything in it was received, checked and taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Acknowledged {
    /// Objects that were new.
    pub stored_count: u32,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// Objects that were there already, sent for nothing.
    pub duplicate_count: u32,
    /// Their stored bytes.
    pub duplicate_bytes: u64,
}

/// The answer to [`Peer::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Everything is durable, addressed and reachable; the item may be published.
    Complete,
    /// Some of what is missing, never empty. Copying again sends it.
    Missing(Vec<Asked>),
}

/// What the far end of a transfer answered instead of doing as asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It could not be reached, or the answer was lost: try again.
    #[error("the peer did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It has no space or quota left: try again later.
    #[error("the peer is full")]
    Full,
    /// It is busy with this item, or has forgotten the attempt: open it again later.
    #[error("the peer is busy with this item")]
    Busy,
    /// It will not take this, however often we ask.
    #[error("the peer refused: {why}")]
    Refused {
        /// What it said.
        why: String,
    },
}

impl PeerError {
    /// True when the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        !matches!(self, PeerError::Refused { .. })
    }
}
