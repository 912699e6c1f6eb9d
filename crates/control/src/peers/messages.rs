//! What one region asks another. The same values travel over mutual TLS in production and by plain
//! call in the simulation; how they look on the wire is `antipode/src/peer/wire.rs`.

use std::future::Future;
use std::pin::Pin;

use model::grant::Grant;
use model::ids::{
    CheckpointId, CheckpointItemId, GrantId, OperationId, ProjectId, RegionName, ReplicationRecordId,
};
use vault::ids::{Incarnation, ManifestDigest};
use vault::transfer::{Acknowledged, Asked};

/// One request to a peer.
#[derive(Clone, Debug)]
pub enum PeerRequest {
    /// Accept an invitation. The only request of a region that is not paired yet.
    Pair(PairRequest),
    /// Which grants do you hold for my projects?
    Grants,
    /// Which of my replicas do you hold?
    Head(HeadRequest),
    /// I want to bring you one item.
    Open(Box<OpenRequest>),
    /// Which of these objects do you miss? Answers come in the same order.
    Want {
        /// The open transfer.
        transfer: TransferKey,
        /// Objects, children before parents; at most [`ASKED_MAX`].
        asked: Vec<Asked>,
    },
    /// Here are objects, framed as the vault frames them; at most [`BATCH_BYTES_MAX`].
    Send {
        /// The open transfer.
        transfer: TransferKey,
        /// The frames.
        batch: Vec<u8>,
    },
    /// Make what I sent durable, walk the tree, tell me what is missing.
    Verify {
        /// The open transfer.
        transfer: TransferKey,
    },
    /// Make the replica visible and sign for it.
    Publish {
        /// The open transfer.
        transfer: TransferKey,
    },
}

/// The most objects in one `Want`.
pub const ASKED_MAX: usize = vault::transfer::ASKED_COUNT_MAX;
/// The most bytes in one `Send`.
pub const BATCH_BYTES_MAX: usize = vault::transfer::BATCH_BYTES_MAX;

/// Names an open transfer and the attempt that opened it: a lower attempt is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TransferKey {
    /// The destination's operation.
    pub operation_id: OperationId,
    /// The source's lease number.
    pub attempt: u64,
}

/// A region that answers an invitation.
#[derive(Clone)]
pub struct PairRequest {
    /// The single-use secret of the invitation.
    pub secret: [u8; 32],
    /// What the answering region calls itself.
    pub name: RegionName,
    /// Where its peer listener is.
    pub url: String,
    /// Its root-signed card.
    pub card: Vec<u8>,
}

impl std::fmt::Debug for PairRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PairRequest")
            .field("name", &self.name)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

/// What the asking region remembers of our last head, so that we notice our own rollback.
#[derive(Clone, Copy, Debug)]
pub struct HeadRequest {
    /// The incarnation of our last head that it saw; nothing if it saw none.
    pub seen_incarnation: Option<Incarnation>,
    /// The counter of that head.
    pub seen_counter: u64,
}

/// One item on offer.
#[derive(Clone, Debug)]
pub struct OpenRequest {
    /// The source's record.
    pub record_id: ReplicationRecordId,
    /// The source's lease number: a lower one is refused.
    pub attempt: u64,
    /// Which incarnation of the replica.
    pub generation: u32,
    /// The grant it travels under.
    pub grant_id: GrantId,
    /// The project it comes from.
    pub source_project_id: ProjectId,
    /// The project it goes to.
    pub destination_project_id: ProjectId,
    /// The checkpoint it belongs to there.
    pub source_checkpoint_id: CheckpointId,
    /// The item there.
    pub source_item_id: CheckpointItemId,
    /// The signed manifest.
    pub manifest: Vec<u8>,
    /// Manifests that the source can still walk, newest first; one of them may be named as base.
    pub bases: Vec<ManifestDigest>,
    /// Wraps of every epoch the manifest lists, for the destination and for the source's recovery key.
    pub wraps: Vec<Vec<u8>>,
    /// The source's root-signed card.
    pub card: Vec<u8>,
    /// Name wished for the replica.
    pub replica_name: Option<String>,
    /// Description wished for the replica.
    pub replica_description: Option<String>,
    /// Whether the source's scheduler made the record.
    pub by_scheduler: bool,
    /// Days the source wishes it kept; can only lengthen. Nothing: no wish.
    pub keep_days: Option<u32>,
}

/// One answer of a peer, in the order of the requests.
#[derive(Clone, Debug)]
pub enum PeerReply {
    /// The inviting region's card.
    Paired {
        /// Root-signed.
        card: Vec<u8>,
    },
    /// Grants made to the asking region.
    Grants(Vec<Grant>),
    /// The signed head and what it covers.
    Head {
        /// The signed head.
        head: Vec<u8>,
        /// The replicas of the asking region, as the vault encodes them; the head vouches for the bytes.
        entries: Vec<u8>,
    },
    /// How the transfer begins.
    Opened(Opened),
    /// True where the object is missing.
    Wanted(Vec<bool>),
    /// What was stored of a batch.
    Acknowledged(Acknowledged),
    /// What is missing; empty when the tree is complete.
    Verified(Vec<Asked>),
    /// The signed receipt.
    Published {
        /// The receipt.
        receipt: Vec<u8>,
        /// Stored bytes that the transfer added there; what was sent beyond them was sent twice.
        kept_bytes: u64,
    },
}

/// How a transfer begins.
#[derive(Clone, Debug)]
pub enum Opened {
    /// Nothing was sent before.
    New {
        /// The destination's operation.
        operation_id: OperationId,
        /// The base that is live and pinned there, if one is.
        base: Option<ManifestDigest>,
    },
    /// An earlier attempt sent something.
    Resume {
        /// The destination's operation.
        operation_id: OperationId,
        /// The base that is live and pinned there, if one is.
        base: Option<ManifestDigest>,
    },
    /// The replica is there already.
    Complete {
        /// The receipt it was published with.
        receipt: Vec<u8>,
    },
}

/// Why a peer said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The TLS key belongs to no confirmed peer.
    NotPaired,
    /// No open grant covers this; also said when the project does not exist.
    NoGrant,
    /// The domain is bound to another peer or project, or the manifest to another signer.
    WrongDomain,
    /// A needed wrap is missing or cannot be opened.
    WrongWrap,
    /// One sequence number with two manifests.
    Fork,
    /// The grant's bytes or the store are used up.
    Full,
    /// A newer attempt has taken over.
    Overtaken,
    /// The transfer is not open here (any more): open it again.
    NotOpen,
    /// The replica was here and has been deleted or expired by its owner here.
    Gone,
    /// The store or catalog here is not writable now.
    Unavailable,
    /// The invitation is unknown, used or expired, or names disagree.
    InvitationRefused,
    /// The request makes no sense.
    Malformed,
}

/// A request that was not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The peer could not be reached, or its answer was lost.
    #[error("{peer} does not answer")]
    Unreachable {
        /// Who.
        peer: RegionName,
        /// What happened.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The peer said no.
    #[error("{why}")]
    Refused {
        /// The kind of no.
        refusal: Refusal,
        /// Its sentence.
        why: String,
    },
}

/// Where a peer is and by which key it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Its name in our configuration.
    pub name: RegionName,
    /// `https://host:port`, operator configuration only; redirects are not followed.
    pub url: String,
    /// BLAKE3 of the TLS public key (SubjectPublicKeyInfo, DER) it must show.
    pub tls_key_hash: [u8; 32],
}

/// An answer on its way.
pub type Asking<'a> = Pin<Box<dyn Future<Output = Result<PeerReply, LinkError>> + Send + 'a>>;

/// How requests reach peers: mutual TLS in production, a plain call in the simulation.
pub trait PeerLinks: Send + Sync {
    /// Asks one peer one thing.
    fn ask<'a>(&'a self, peer: &'a PeerAddress, request: PeerRequest) -> Asking<'a>;
}
