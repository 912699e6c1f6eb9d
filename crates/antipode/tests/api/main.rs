//! Route tests: status, body and stored effect of every route, through the router, no socket.
#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod access;
mod adoption;
mod backups;
mod checks;
mod command_line;
mod conformance;
mod credentials;
mod foreign;
mod golden;
mod identity;
mod identity_admin;
mod lists;
mod natives;
mod openapi;
mod operation_logs;
mod own;
mod policies;
mod quotas;
mod restores;
mod retention;
mod sight;
mod signatures;
mod tags;
mod terraform;
mod verbs;
mod wire;
