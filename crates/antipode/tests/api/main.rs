//! Route tests: status, body and stored effect of every route, through the router, no socket.
#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod adoption;
mod backups;
mod command_line;
mod identity;
mod openapi;
mod own;
mod policies;
mod restores;
mod retention;
mod tags;
mod terraform;
mod wire;
