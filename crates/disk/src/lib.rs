//! Reading and writing the disks of servers: raw files and block devices, sparse in both directions.
//!
//! The crate knows no other room. It promises:
//! - A disk is opened only under the configured source roots, without following any link, and never inside a
//!   directory that the service keeps for itself ([`SourceRoots`]).
//! - The format is what the caller states; content is never probed for it ([`Format`]).
//! - Nothing is made up: a byte that could not be read is an error that names its place, a disk that became shorter
//!   is an error, and a failed sync is never tried again ([`DiskReader`], [`DiskWriter`]).
//!
//! Start with `roots.rs`, then `reader.rs` and `writer.rs`. There is no unsafe code here: a block device is zeroed
//! through `fallocate`, which the kernel offers for devices too.

#![forbid(unsafe_code)]

mod direct;
mod error;
mod format;
mod open;
mod reader;
mod roots;
mod writer;

pub use error::DiskError;
pub use format::{Format, SizeRule};
pub use reader::{DataExtent, DiskReader};
pub use roots::SourceRoots;
pub use writer::DiskWriter;
