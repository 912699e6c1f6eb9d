//! Quarantine: deleted and expired items of the caller's project that can still be had back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::quarantine::QuarantinedItem;
use serde::Serialize;

use crate::http::Site;
use crate::http::error::OwnError;
use crate::http::page::Links;
use crate::http::request::{LoggedIn, PathParams, Query};

/// One deleted item.
#[derive(Debug, Serialize)]
pub(crate) struct QuarantinedBody {
    id: String,
    checkpoint_id: String,
    name: String,
    resource_id: String,
    resource_name: String,
    is_replica: bool,
    logical_bytes: u64,
    created_at: String,
    deleted_at: String,
    /// It can be had back until then for certain, and afterwards until a collection has purged it.
    purge_after: String,
}

/// `{"quarantined_items": …}`
#[derive(Debug, Serialize)]
pub(crate) struct QuarantinedAnswer {
    quarantined_items: Vec<QuarantinedBody>,
    #[serde(skip_serializing_if = "Links::is_empty")]
    quarantined_items_links: Links,
}

/// The item that is back.
#[derive(Debug, Serialize)]
pub(crate) struct BackBody {
    id: String,
    checkpoint_id: String,
    name: String,
    status: &'static str,
}

/// `{"checkpoint_item": …}`
#[derive(Debug, Serialize)]
pub(crate) struct BackAnswer {
    checkpoint_item: BackBody,
}

impl From<QuarantinedItem> for QuarantinedBody {
    fn from(QuarantinedItem { item, deleted_at, purge_after }: QuarantinedItem) -> QuarantinedBody {
        QuarantinedBody {
            id: item.id.to_string(),
            checkpoint_id: item.checkpoint_id.to_string(),
            resource_id: item.resource_id.to_string(),
            is_replica: item.is_replica(),
            name: item.name,
            resource_name: item.resource_name,
            logical_bytes: item.logical_bytes,
            created_at: item.created_at.wire(),
            deleted_at: deleted_at.wire(),
            purge_after: purge_after.wire(),
        }
    }
}

/// `GET /antipode/v1/quarantine?marker=…`: soonest end first
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    LoggedIn(caller): LoggedIn,
    query: Query,
) -> Result<Json<QuarantinedAnswer>, OwnError> {
    let after = query.last("marker").map(|text| text.parse()).transpose();
    let after = after.map_err(|_| control::Error::invalid("marker", "must be the id of an item"))?;
    let found = control.quarantined_items(&caller, after).await?;
    let quarantined_items_links = Links::next(&found, |one| one.item.id.to_string(), &query, &site.api_url);
    let quarantined_items = found.rows.into_iter().map(QuarantinedBody::from).collect();
    Ok(Json(QuarantinedAnswer { quarantined_items, quarantined_items_links }))
}

/// `POST /antipode/v1/quarantine/{checkpoint_item_id}/undelete`
pub(crate) async fn undelete(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<BackAnswer>, OwnError> {
    let item = control.undo_deletion(&caller, path.id("checkpoint_item_id")?).await?;
    let checkpoint_item = BackBody {
        id: item.id.to_string(),
        checkpoint_id: item.checkpoint_id.to_string(),
        name: item.name,
        status: item.state.word(),
    };
    Ok(Json(BackAnswer { checkpoint_item }))
}
