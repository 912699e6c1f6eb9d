//! The nouns and rules of Antipode as pure values: ids, policies, schedules, retention, the lives of
//! checkpoint items and replication records. `model` cannot fail to reach a network, a clock or a
//! disk because it has none; every rule here is a function that a table can test.
//!
//! Start with [`checkpoint`] and [`replication`]; they tell the product's story.
#![forbid(unsafe_code)]

pub mod checkpoint;
pub mod coverage;
pub mod evidence;
pub mod explain;
pub mod forecast;
pub mod grant;
pub mod identity;
pub mod ids;
pub mod operation_log;
pub mod policy;
pub mod quota;
pub mod rate;
pub mod replication;
pub mod restore;
pub mod retention;
pub mod schedule;
pub mod server;
pub mod text;
pub mod time;
