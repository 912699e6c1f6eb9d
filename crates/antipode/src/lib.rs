//! The binary's inside: routes, command line, configuration and wiring. No business rules live
//! here; `http` turns JSON into orders for `control`, `cli` calls the same API as anyone else.
//!
//! Start with [`http`]: its route table is the table of contents. [`serve`] wires one region together.
#![forbid(unsafe_code)]

pub mod cli;
pub mod config;
pub mod demo;
pub mod dev;
pub mod http;
pub mod init;
pub mod key;
pub mod keystone;
mod open_files;
pub mod peer;
pub mod rebuild;
pub mod serve;
mod signing;
pub mod vault_command;
pub mod world;
