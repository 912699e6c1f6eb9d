//! The catalog: everything a region knows besides the bytes of its vault, in SQLite or PostgreSQL.
//!
//! Methods of [`Catalog`] are whole transactions named after the story they belong to; each file is
//! one story. Nothing here holds a transaction across anything but SQL, knows a vault, a disk or
//! HTTP, or reads a clock: callers bring the moment and the ids.
//!
//! Start with `checkpoints.rs` and `replication.rs`; `engine.rs` says how transactions keep out of
//! each other's way on both engines.
#![forbid(unsafe_code)]

mod adoption;
mod backups;
mod checkpoints;
mod collection;
mod coverage;
mod deletion;
mod destinations;
mod engine;
mod error;
mod explain;
mod forecast;
mod grants;
mod held_back;
mod holdings;
mod identity;
mod items;
mod jobs;
mod operation_logs;
mod packs;
mod page;
mod peers;
#[cfg(test)]
mod plans;
mod policies;
mod publishing;
mod quarantine;
mod quotas;
mod rebuild;
mod records;
mod region;
mod replicas;
mod replication;
mod restores;
mod retention;
mod schedule;
mod servers;
mod state_outbox;
mod tags;
mod transfers;
mod value;
mod vaults;
mod verification;

pub use adoption::{Adopted, DeletedPolicy};
pub use backups::{ItemProgress, SequenceScope, StoredItem};
pub use checkpoints::RunSharing;
pub use collection::{
    CollectablePack, Collection, CollectionBegun, CollectionEnd, CollectionProgress, DoomedPack,
};
pub use coverage::{CoverageScope, ServerCoverage};
pub use destinations::{DestinationOperation, PolicyDestination};
pub use engine::Catalog;
pub use error::{CatalogError, Conflict};
pub use explain::ExplainFacts;
pub use forecast::ForecastFacts;
pub use holdings::DoneRecord;
pub use identity::{
    AssignmentFilter, Grounds, NewAccessKey, NewToken, ProjectChange, RoleAssignment, SealedAccessKey,
    StoredApplicationCredential, UserChange,
};
pub use items::{ImageType, ItemFilter, ItemSort};
pub use jobs::{Claim, Job, JobKind, Lease, Postponement, Subject};
pub use operation_logs::{OperationLogFilter, OperationLogSort};
pub use packs::{NewOperation, PACKS_MAX, PackRow, SealedPack};
pub use page::{Direction, PAGE_ROWS_MAX, Page, Sort};
pub use peers::{Invitation, Peer, PeerHead, PeerLimit};
pub use policies::{PolicyFilter, PolicySort};
pub use publishing::{NewReplica, PublishedReplica};
pub use quarantine::QuarantinedItem;
pub use rebuild::{RebuiltItem, RebuiltQuarantine, RebuiltRegion, RebuiltReplica, RebuiltVault};
pub use records::{RecordChange, RecordFilter, RecordSort, StoredReplica, TransferProgress};
pub use region::{NewRegion, Region};
pub use replicas::{HeadIssue, Replica, ReplicaState};
pub use replication::{ItemReplicationOrder, NewRecords, RetryOrder};
pub use restores::RestoreSort;
pub use schedule::{OPERATIONS_MAX, PlannedOperation, Slot};
pub use servers::ServerSort;
pub use state_outbox::{StateSubject, SubjectState, UnwrittenState};
pub use tags::{TagFamily, TagFilter, TagMatch, TagToRemove, Tagged, ValueMatch};
pub use transfers::{OpenedTransfer, TransferKey, TransferOffer, TransferRow};
pub use vaults::{NewVault, VaultKind, VaultRow, VaultSource};
pub use verification::{PackToVerify, VerificationCoverage, VerificationMode};
