//! The vault: a region's encrypted, deduplicated, write-once store for one key domain.
#![forbid(unsafe_code)]

pub mod backup;
pub mod card;
pub mod codec;
pub mod collect;
pub mod crash;
pub mod cut;
pub mod error;
pub mod head;
pub mod heal;
pub mod ids;
pub mod index;
pub mod kek;
pub mod key_file;
pub mod key_store;
pub mod keyed_hash;
pub mod keys;
pub mod layout;
pub mod ledger;
pub mod manifest;
pub mod object;
mod operation;
pub mod pack;
mod packer;
pub mod pairing;
pub mod parsers;
pub mod presence;
pub mod progress;
pub mod properties;
mod read;
pub mod rebuild;
pub mod receipt;
pub mod receipt_file;
pub mod recovery;
pub mod restore;
pub mod seams;
pub mod signed;
mod sort;
pub mod state;
pub mod store;
pub mod stored;
pub mod transfer;
pub mod tree;
pub mod vault;
pub mod verify;
mod walk;
pub mod wrap;

#[cfg(test)]
mod vectors;
