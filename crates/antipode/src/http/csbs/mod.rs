//! The CSBS v1 surface: wire structs and handlers, one file a noun. Nothing is decided here; JSON
//! becomes an order for `control`, and an answer becomes JSON that obeys `csbs-v1-api.md` §1.

pub(crate) mod backup_tags;
pub(crate) mod checkpoints;
pub(crate) mod checks;
mod definition;
mod examples;
#[cfg(test)]
mod golden;
mod item_body;
pub(crate) mod items;
pub(crate) mod operation_logs;
pub(crate) mod policies;
pub(crate) mod policy_body;
pub(crate) mod policy_tags;
pub(crate) mod project;
pub(crate) mod providers;
pub(crate) mod records;
pub(crate) mod replication;
pub(crate) mod requests;
pub(crate) mod restores;
mod tag_search;
mod tags;

use model::text::Tag;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::openapi::schema::{TagKey, TagValue};

/// A tag as the wire shows it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TagBody<'a> {
    #[schema(value_type = TagKey)]
    key: &'a str,
    #[schema(value_type = TagValue)]
    value: &'a str,
}

impl<'a> TagBody<'a> {
    /// The tags of one thing.
    pub(crate) fn list(tags: &'a [Tag]) -> Vec<TagBody<'a>> {
        tags.iter().map(|tag| TagBody { key: &tag.key, value: &tag.value }).collect()
    }
}

/// `{}`: the answer of a call that has nothing to say.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Nothing {}
