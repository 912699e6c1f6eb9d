//! Two simulated regions from one seed: virtual time, stores that forget what was not synced, links that
//! cut, lose answers and repeat themselves, processes that die at any crash point. After each seed the
//! faults stop, the world runs until it is idle, and the invariants are checked.
//!
//! `ANTIPODE_SIMULATION_SEEDS` says how many seeds run (200 by default), `ANTIPODE_SIMULATION_FIRST_SEED`
//! where they begin, and `ANTIPODE_SIMULATION_TRACE` has every step printed.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod bare;
mod dice;
mod disks;
mod epochs;
mod invariants;
mod links;
mod rebuild;
mod region;
mod replacing;
mod seeds;
mod steps;
mod story;
mod verification;
mod wishes;
mod world;
