//! Exhaustive models of the two protocols on which no backup may be lost: collection beside backups (`collection.rs`),
//! and the transfer of an item to another region (`transfer.rs`). Design §4 "Collection" and §6 "The transfer".
//!
//! A model checks the idea, not the code: every durable transaction of the design is one action, everything else may
//! happen in any order between them. The tests beside the code check that the code is the idea. Each model also knows
//! simpler rules that look right (`Fault`), and a test demands that the checker finds what each of them breaks; so the
//! properties are known to be able to fail.

mod collection;
mod transfer;

use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// Walks every reachable state: no property may be broken, and everything that shall be possible must have happened.
fn check_all_states<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let checker = model.checker().spawn_bfs().join();
    println!("{name}: {} states, depth {}", checker.unique_state_count(), checker.max_depth());
    checker.assert_properties();
}

/// Demands a counterexample to `property` from a model with a fault, and prints the shortest one.
fn check_fault_is_found<M>(name: &str, property: &'static str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync,
    M::Action: Clone + Debug + PartialEq,
{
    let wanted = HasDiscoveries::AnyOf([property].into());
    let checker = model.checker().finish_when(wanted).spawn_bfs().join();
    let path = checker.discovery(property);
    let actions = path.unwrap_or_else(|| panic!("{name}: nothing breaks {property:?}")).into_actions();
    println!("{name}: after {} states, {} steps: {actions:?}", checker.unique_state_count(), actions.len());
}
