//! The CSBS v1 surface: wire structs and handlers, one file a noun. Nothing is decided here; JSON
//! becomes an order for `control`, and an answer becomes JSON that obeys `csbs-v1-api.md` §1.

pub(crate) mod checkpoints;
#[cfg(test)]
mod golden;
mod item_body;
pub(crate) mod items;
pub(crate) mod policies;
mod policy_body;
pub(crate) mod records;
pub(crate) mod replication;
pub(crate) mod restores;

use model::text::Tag;
use serde::Serialize;

/// A tag as the wire shows it.
#[derive(Debug, Serialize)]
pub(crate) struct TagBody<'a> {
    key: &'a str,
    value: &'a str,
}

impl<'a> TagBody<'a> {
    /// The tags of one thing.
    pub(crate) fn list(tags: &'a [Tag]) -> Vec<TagBody<'a>> {
        tags.iter().map(|tag| TagBody { key: &tag.key, value: &tag.value }).collect()
    }
}

/// `{}`: the answer of a call that has nothing to say.
#[derive(Debug, Serialize)]
pub(crate) struct Nothing {}
