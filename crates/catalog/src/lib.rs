//! The catalog: everything a region knows besides the bytes of its vault, in SQLite or PostgreSQL.
//!
//! Methods of [`Catalog`] are whole transactions named after the story they belong to; each file is
//! one story. Nothing here holds a transaction across anything but SQL, knows a vault, a disk or
//! HTTP, or reads a clock: callers bring the moment and the ids.
//!
//! Start with `checkpoints.rs` and `replication.rs`; `engine.rs` says how transactions keep out of
//! each other's way on both engines.
#![forbid(unsafe_code)]

mod engine;
mod error;
mod identity;
mod region;
mod value;

pub use engine::Catalog;
pub use error::{CatalogError, Conflict};
pub use region::{NewRegion, Region};
