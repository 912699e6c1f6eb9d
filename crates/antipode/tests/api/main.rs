//! Route tests: status, body and stored effect of every route, through the router, no socket.

#[path = "../support/mod.rs"]
mod support;

mod access;
mod backups;
mod identity;
mod own;
mod policies;
mod restores;
mod wire;
