//! What can go wrong with the catalog, by what the caller can do about it.

use model::checkpoint::{IllegalItemMove, ItemState};
use model::ids::{CheckpointItemId, PolicyId, ResourceId};
use model::quota::Exceeded;
use model::replication::{IllegalPace, IllegalRecordMove, RecordState};

/// Why a transaction of the catalog did not happen. Nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// There is no such thing, or it belongs to somebody else.
    #[error("{what} {id} does not exist")]
    NotFound {
        /// The kind of thing.
        what: &'static str,
        /// Its id as given.
        id: String,
    },
    /// What the catalog holds forbids it now.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// The caller's lease was lost, taken over or its job is finished; stop working.
    #[error("the lease is no longer held")]
    Fenced,
    /// The database did not do its part; the same call may succeed later.
    #[error("the catalog did not answer while {doing}")]
    Unavailable {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A row holds something that this program never writes.
    #[error("the catalog holds something unreadable: {what}")]
    Corrupt {
        /// Which column, and while doing what.
        what: String,
    },
    /// A number is too large for the catalog.
    #[error("a number is too large while {doing}")]
    OutOfRange {
        /// What was being done.
        doing: &'static str,
    },
}

/// What forbids a transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// Another thing of its kind has this name.
    #[error("another {what} is named {name}")]
    NameTaken {
        /// The kind of thing.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// Another thing has this id.
    #[error("{what} {id} exists already")]
    IdTaken {
        /// The kind of thing.
        what: &'static str,
        /// The id.
        id: String,
    },
    /// Something else needs it.
    #[error("the {what} still owns {by}")]
    InUse {
        /// The kind of thing.
        what: &'static str,
        /// What it owns.
        by: &'static str,
    },
    /// There are as many as there may be.
    #[error("there are {most} {what} already, and may be no more")]
    TooMany {
        /// The kind of thing.
        what: &'static str,
        /// How many there may be.
        most: u64,
    },
    /// Nobody would be left who may run the region.
    #[error("no operator who can log in would be left")]
    LastOperator,
    /// The signature has ordered something before.
    #[error("the signature was used before")]
    SignatureUsed,
    /// The server is in a policy; a server is in one at most.
    #[error("server {server} is in policy {policy}")]
    ServerInPolicy {
        /// The server.
        server: ResourceId,
        /// The policy that has it.
        policy: PolicyId,
    },
    /// The project has as many policies as it may.
    #[error("a project may have {policies_max} policies")]
    TooManyPolicies {
        /// How many.
        policies_max: u32,
    },
    /// A run of the policy is going.
    #[error("a run of the policy is going")]
    PolicyRunning {
        /// Whether the scheduler started that run.
        auto_trigger: bool,
    },
    /// The policy was not deleted, so that nothing of it can be adopted.
    #[error("policy {policy} exists; only the backups of a deleted policy can be adopted")]
    PolicyExists {
        /// The policy.
        policy: PolicyId,
    },
    /// Another policy has its backups.
    #[error("policy {adopter} has adopted the backups of policy {policy}")]
    PolicyAdopted {
        /// The deleted policy.
        policy: PolicyId,
        /// Who has its backups.
        adopter: PolicyId,
    },
    /// The policy changed since the caller read it.
    #[error("the policy was changed by somebody else meanwhile")]
    PolicyChanged,
    /// It would carry more tags than it may.
    #[error("it would carry more than {} tags", model::text::TAGS_MAX)]
    TooManyTags,
    /// The item is in a state that forbids it.
    #[error("item {item} is {}", state.word())]
    ItemBusy {
        /// The item.
        item: CheckpointItemId,
        /// Where it is in its life.
        state: ItemState,
    },
    /// The item is being copied to another region.
    #[error("item {item} is being replicated")]
    ItemReplicating {
        /// The item.
        item: CheckpointItemId,
    },
    /// The item has a replica in that region.
    #[error("item {item} has a replica there already")]
    AlreadyReplicated {
        /// The item.
        item: CheckpointItemId,
    },
    /// The item is itself a replica and does not travel further.
    #[error("item {item} is a replica")]
    IsReplica {
        /// The item.
        item: CheckpointItemId,
    },
    /// A restore onto the server is going.
    #[error("a restore onto server {server} is going")]
    ServerRestoring {
        /// The server.
        server: ResourceId,
    },
    /// The item's drawing does not list the move.
    #[error(transparent)]
    IllegalItemMove(#[from] IllegalItemMove),
    /// The record's drawing does not list the move.
    #[error(transparent)]
    IllegalRecordMove(#[from] IllegalRecordMove),
    /// A record that has ended is neither paused nor resumed.
    #[error(transparent)]
    IllegalPace(#[from] IllegalPace),
    /// Only a record that ended without a replica can be ordered again.
    #[error("the replication is {}; what failed, was skipped, cancelled or lost can be retried", state.word())]
    NotRetried {
        /// Where it is in its life.
        state: RecordState,
    },
    /// The manifest offered as a base is not live in the vault.
    #[error("the base manifest is not live")]
    BaseNotLive,
    /// The operation has ended, or was never begun.
    #[error("the operation is not open")]
    OperationNotOpen,
    /// The pack is not in the state the call needs.
    #[error("pack {number} is not the operation's reserved pack")]
    PackNotReserved {
        /// Its number.
        number: u64,
    },
    /// The key domain is bound to another project or source.
    #[error("the key domain is bound to another owner")]
    DomainBound,
    /// One sequence number was shown with two manifests.
    #[error("one sequence number was shown with two manifests")]
    Fork,
    /// A newer attempt at the same transfer is under way.
    #[error("a newer attempt is under way")]
    OlderAttempt,
    /// The transfer is not open.
    #[error("the transfer is not open")]
    TransferNotOpen,
    /// The replica was here and has been deleted or expired.
    #[error("the replica was deleted here")]
    ReplicaGone,
    /// The manifest of an earlier replica is being removed; it can arrive again afterwards.
    #[error("the same replica is being removed here; it can arrive again within two hours")]
    ManifestGoing,
    /// Another replica of the same backup is here, or on its way.
    #[error("another replica of the same backup is here or on its way")]
    ReplicaReplaced,
    /// No grant accepts it now.
    #[error("no open grant accepts it")]
    GrantClosed,
    /// The grant's bytes are used up.
    #[error("the grant accepts {bytes_left} bytes more only")]
    OverQuota {
        /// What is left.
        bytes_left: u64,
    },
    /// The project holds as much as its quota lets it.
    #[error(transparent)]
    ProjectOverQuota(#[from] Exceeded),
    /// A head was issued since the receipt was prepared; prepare it again.
    #[error("a head was issued meanwhile")]
    HeadMoved,
    /// A head with this counter or a later one is known.
    #[error("a newer head is known")]
    OlderHead,
    /// The slot of a schedule has had its run.
    #[error("the slot has had its run")]
    SlotTaken,
    /// Expiry and collection are frozen.
    #[error("expiry and collection are frozen: {reason}")]
    Frozen {
        /// Why.
        reason: String,
    },
    /// Everything that writes is blocked.
    #[error("writes are blocked: {reason}")]
    Blocked {
        /// Why.
        reason: String,
    },
}

impl CatalogError {
    pub(crate) fn not_found(what: &'static str, id: impl std::fmt::Display) -> CatalogError {
        CatalogError::NotFound { what, id: id.to_string() }
    }

    pub(crate) fn unavailable(
        doing: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> CatalogError {
        CatalogError::Unavailable { doing, source: source.into() }
    }
}

impl From<IllegalItemMove> for CatalogError {
    fn from(illegal: IllegalItemMove) -> CatalogError {
        CatalogError::Conflict(illegal.into())
    }
}

impl From<IllegalPace> for CatalogError {
    fn from(illegal: IllegalPace) -> CatalogError {
        CatalogError::Conflict(illegal.into())
    }
}

impl From<IllegalRecordMove> for CatalogError {
    fn from(illegal: IllegalRecordMove) -> CatalogError {
        CatalogError::Conflict(illegal.into())
    }
}
