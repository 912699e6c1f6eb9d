//! Clients that are broken, slow, greedy or hostile, over a real socket: each gets a clear answer or is
//! cut off in bounded time, nothing changes, and others are served meanwhile.
#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod bodies;
mod heads;
mod pages;
mod sockets;
mod target;
