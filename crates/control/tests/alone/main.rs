//! One region without peers, over a store in memory: what it keeps there beside the backups, and what it
//! does when its catalog is older than its store.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod region;
mod rollback;
mod servers;
mod state_objects;
