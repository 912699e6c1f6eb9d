//! What can go wrong in a use case, told so that the caller knows what to do. No status codes and
//! no wire codes here: `antipode/src/http/error.rs` is the only file that knows those.

use catalog::{CatalogError, Conflict};
use model::ids::BadId;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Mend the request.
    Invalid,
    /// Log in again.
    Unauthenticated,
    /// Ask for a role.
    Forbidden,
    /// It does not exist, or is somebody else's.
    NotFound,
    /// Wait, or change something else first.
    Conflict,
    /// Free something, or ask for more.
    OverQuota,
    /// Try again later.
    Unavailable,
    /// Nothing; an operator must look.
    Internal,
}

/// Which rule was broken. Each has one line in the table of wire codes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the sentences; the table of wire codes gives the texts")]
pub enum Reason {
    // requests
    Malformed,
    ProviderInvalid,
    NotLoggedIn,
    NoRole,
    WrongProject,
    // policies
    PolicyNotFound,
    PolicyNameTaken,
    PolicyRunning { auto_trigger: bool },
    PolicyChanged,
    PolicyExists,
    PolicyAdopted,
    PolicyHasNothingToBackUp,
    TooManyPolicies,
    ServerInPolicy { server: String },
    // servers
    ServerNotFound,
    ResourceTypeUnsupported { resource: String, resource_type: String },
    NoVolumes { server: String },
    IdTaken,
    InUse,
    // checkpoint items
    ItemNotFound { item: String },
    ItemBusy,
    ItemNotAvailable,
    // tags
    TooManyTags,
    TagNotFound,
    // restores
    RestoreNotFound,
    TargetTypeUnsupported { resource: String, resource_type: String },
    TargetRestoring,
    TargetVolumeNotFound { volumes: String },
    BackupNotInItem { backups: String, item: String },
    PartialRestore { backups: String },
    DataOntoSystemVolume { server: String },
    TargetTooSmall { volume: String, volume_bytes: u64, backup: String, backup_bytes: u64 },
    // replication
    DestinationRegionUnknown,
    DestinationProjectRefuses,
    ReplicaOfReplica,
    AlreadyReplicated,
    RecordNotFound,
    RecordRefuses,
    OperationLogNotFound,
    // peers and grants
    PeerNotFound,
    GrantNotFound,
    InvitationRefused,
    // the rest
    NotFound,
    QuotaExceeded { what: String },
    WritesBlocked,
    LeaseLost,
    Busy,
    Internal,
}

/// Why a use case did not happen. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What the caller can do about it.
    pub kind: Kind,
    /// Which rule was broken.
    pub reason: Reason,
    /// The offending field of the request, as the wire names it.
    pub field: Option<String>,
    /// A sentence for a person, without secrets.
    pub message: String,
    /// The cause, for the log only.
    #[source]
    pub cause: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of a kind.
    pub fn new(kind: Kind, reason: Reason, message: impl Into<String>) -> Error {
        Error { kind, reason, field: None, message: message.into(), cause: None }
    }

    /// A request that must be mended, and the field to mend.
    pub fn invalid(field: impl Into<String>, message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, Reason::Malformed, message).at(field)
    }

    /// A request refused by a rule that has its own code.
    pub fn refused(reason: Reason, message: impl Into<String>) -> Error {
        Error::new(Kind::Invalid, reason, message)
    }

    /// Something that is not there, or is somebody else's: the two look the same.
    pub fn not_found(reason: Reason, message: impl Into<String>) -> Error {
        Error::new(Kind::NotFound, reason, message)
    }

    /// Something that is in the way now.
    pub fn conflict(reason: Reason, message: impl Into<String>) -> Error {
        Error::new(Kind::Conflict, reason, message)
    }

    /// A caller without the needed role.
    pub fn forbidden(message: impl Into<String>) -> Error {
        Error::new(Kind::Forbidden, Reason::NoRole, message)
    }

    /// A caller who must log in again.
    pub fn unauthenticated() -> Error {
        Error::new(
            Kind::Unauthenticated,
            Reason::NotLoggedIn,
            "the token is missing, wrong, expired or revoked",
        )
    }

    /// A fault of ours; the cause goes to the log, the caller reads the message.
    pub fn internal(
        doing: impl Into<String>,
        cause: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Error {
        let mut error = Error::new(Kind::Internal, Reason::Internal, format!("failed {}", doing.into()));
        error.cause = Some(cause.into());
        error
    }

    /// The same error, naming the offending field.
    pub fn at(mut self, field: impl Into<String>) -> Error {
        self.field = Some(field.into());
        self
    }
}

impl From<BadId> for Error {
    fn from(bad: BadId) -> Error {
        Error::invalid(bad.what, bad.to_string())
    }
}

impl Error {
    /// Whether a worker's lease is gone: it stops without a word, another one goes on.
    pub(crate) fn is_lease_lost(&self) -> bool {
        self.reason == Reason::LeaseLost
    }
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Error {
        match error {
            CatalogError::Conflict(conflict) => Error::from(conflict),
            CatalogError::NotFound { what, ref id } => {
                let message = format!("{what} ({id}) is not found");
                let reason = match what {
                    "policy" => Reason::PolicyNotFound,
                    "server" => Reason::ServerNotFound,
                    "item" | "checkpoint item" | "checkpoint" => Reason::ItemNotFound { item: id.clone() },
                    "record" | "replication record" => Reason::RecordNotFound,
                    "grant" => Reason::GrantNotFound,
                    _ => Reason::NotFound,
                };
                Error::not_found(reason, message)
            }
            CatalogError::Fenced => {
                Error::new(Kind::Conflict, Reason::LeaseLost, "another worker has taken over")
            }
            CatalogError::OutOfRange { doing } => {
                Error::new(Kind::Invalid, Reason::Malformed, format!("a number is too large while {doing}"))
            }
            error @ CatalogError::Unavailable { .. } => {
                let mut told =
                    Error::new(Kind::Unavailable, Reason::Busy, "the catalog does not answer now; try again");
                told.cause = Some(Box::new(error));
                told
            }
            error @ CatalogError::Corrupt { .. } => Error::internal("to read the catalog", error),
        }
    }
}

impl From<Conflict> for Error {
    fn from(conflict: Conflict) -> Error {
        let message = conflict.to_string();
        let reason = match &conflict {
            Conflict::NameTaken { what: "policy", .. } => Reason::PolicyNameTaken,
            Conflict::NameTaken { .. } | Conflict::IdTaken { .. } => Reason::IdTaken,
            Conflict::InUse { .. } | Conflict::LastOperator => Reason::InUse,
            Conflict::TooMany { .. } => Reason::QuotaExceeded { what: message.clone() },
            Conflict::SignatureUsed => Reason::NotLoggedIn,
            Conflict::ServerInPolicy { server, .. } => Reason::ServerInPolicy { server: server.to_string() },
            Conflict::PolicyRunning { auto_trigger } => Reason::PolicyRunning { auto_trigger: *auto_trigger },
            Conflict::TooManyPolicies { .. } => Reason::TooManyPolicies,
            Conflict::PolicyChanged => Reason::PolicyChanged,
            Conflict::PolicyExists { .. } => Reason::PolicyExists,
            Conflict::PolicyAdopted { .. } => Reason::PolicyAdopted,
            Conflict::TooManyTags => Reason::TooManyTags,
            Conflict::ItemBusy { .. } | Conflict::ItemReplicating { .. } => Reason::ItemBusy,
            Conflict::IllegalItemMove(_) | Conflict::IllegalRecordMove(_) => Reason::ItemBusy,
            Conflict::IllegalPace(_) | Conflict::NotRetried { .. } => Reason::RecordRefuses,
            Conflict::AlreadyReplicated { .. } => Reason::AlreadyReplicated,
            Conflict::IsReplica { .. } => Reason::ReplicaOfReplica,
            Conflict::ServerRestoring { .. } => Reason::TargetRestoring,
            Conflict::GrantClosed => Reason::DestinationProjectRefuses,
            Conflict::OverQuota { bytes_left } => {
                Reason::QuotaExceeded { what: format!("{bytes_left} bytes left") }
            }
            Conflict::ProjectOverQuota(exceeded) => {
                Reason::QuotaExceeded { what: exceeded.kind.word().to_owned() }
            }
            Conflict::Blocked { .. } => Reason::WritesBlocked,
            Conflict::BaseNotLive
            | Conflict::OperationNotOpen
            | Conflict::PackNotReserved { .. }
            | Conflict::DomainBound
            | Conflict::Fork
            | Conflict::OlderAttempt
            | Conflict::TransferNotOpen
            | Conflict::ReplicaGone
            | Conflict::ManifestGoing
            | Conflict::ReplicaReplaced
            | Conflict::HeadMoved
            | Conflict::SlotTaken
            | Conflict::OlderHead
            | Conflict::Frozen { .. } => Reason::Busy,
        };
        let kind = match reason {
            Reason::WritesBlocked => Kind::Unavailable,
            Reason::QuotaExceeded { .. } => Kind::OverQuota,
            Reason::NotLoggedIn => Kind::Unauthenticated,
            _ => Kind::Conflict,
        };
        let mut error = Error::new(kind, reason, message);
        error.cause = Some(Box::new(conflict));
        error
    }
}

impl From<vault::error::VaultError> for Error {
    fn from(error: vault::error::VaultError) -> Error {
        if error.is_passing() {
            let mut told = Error::new(Kind::Unavailable, Reason::Busy, error.to_string());
            told.cause = Some(Box::new(error));
            return told;
        }
        Error::internal("in the vault", error)
    }
}
