//! The cases, by story.

pub(crate) mod adoption;
pub(crate) mod checkpoints;
pub(crate) mod collection;
pub(crate) mod corruption;
pub(crate) mod credentials;
pub(crate) mod deletion;
pub(crate) mod identity;
pub(crate) mod jobs;
pub(crate) mod operation_logs;
pub(crate) mod peers;
pub(crate) mod policies;
pub(crate) mod postgres;
pub(crate) mod quotas;
pub(crate) mod replication;
pub(crate) mod restores;
pub(crate) mod servers;
pub(crate) mod sight;
pub(crate) mod state_outbox;
pub(crate) mod storm;
pub(crate) mod tags;
pub(crate) mod transfers;
pub(crate) mod vaults;
pub(crate) mod verbs;
pub(crate) mod world;
