//! Our own surface, `/antipode/v1`: servers, backups by change tracking, grants, regions, coverage, and progress in bytes,
//! which the inherited bodies have no room for. Same error body; the status follows the kind of the error.

pub(crate) mod backups;
pub(crate) mod coverage;
pub(crate) mod credentials;
pub(crate) mod destinations;
pub(crate) mod explain;
pub(crate) mod grants;
pub(crate) mod limits;
pub(crate) mod policies;
pub(crate) mod progress;
pub(crate) mod quarantine;
pub(crate) mod quotas;
pub(crate) mod receipts;
pub(crate) mod regions;
mod requests;
pub(crate) mod servers;
pub(crate) mod vaults;
pub(crate) mod verbs;
