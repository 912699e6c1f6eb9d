//! Quarantine: deleted and expired items of the caller's project that can still be had back.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::quarantine::QuarantinedItem;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Site;
use crate::http::error::OwnError;
use crate::http::openapi::parameters::MarkerQuery;
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, ItemStatus, Moment};
use crate::http::page::Links;
use crate::http::request::{LoggedIn, PathParams, Query};

/// One deleted item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantinedBody {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = Id)]
    checkpoint_id: String,
    name: String,
    #[schema(value_type = ForeignId)]
    resource_id: String,
    resource_name: String,
    /// Whether it came from another region.
    is_replica: bool,
    /// The size of its disks.
    logical_bytes: u64,
    #[schema(value_type = Moment)]
    created_at: String,
    #[schema(value_type = Moment)]
    deleted_at: String,
    /// It can be had back until then for certain, and afterwards until a collection has purged it.
    #[schema(value_type = Moment)]
    purge_after: String,
}

/// `{"quarantined_items": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuarantinedAnswer {
    quarantined_items: Vec<QuarantinedBody>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    quarantined_items_links: Links,
}

/// The item that is back.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = UndeletedBody)]
pub(crate) struct BackBody {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = Id)]
    checkpoint_id: String,
    name: String,
    #[schema(value_type = ItemStatus)]
    status: &'static str,
}

/// `{"checkpoint_item": …}`
#[derive(Debug, Serialize, ToSchema)]
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

/// Lists deleted and expired backups that can still be had back
#[utoipa::path(
    get,
    path = "/quarantine",
    operation_id = "listQuarantine",
    tag = "quarantine",
    params(MarkerQuery),
    responses(
        (status = 200, description = "A page of them, the soonest end first.", body = QuarantinedAnswer, links(
            ("undelete" = (operation_id = "undeleteItem", parameters(("checkpoint_item_id" = "$response.body#/quarantined_items/0/id"))))
        )),
        ReadRefusals
    )
)]
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

/// Takes a backup out of quarantine
#[utoipa::path(
    post,
    path = "/quarantine/{checkpoint_item_id}/undelete",
    operation_id = "undeleteItem",
    tag = "quarantine",
    responses(
        (status = 200, description = "The backup that is back.", body = BackAnswer),
        WriteRefusals
    )
)]
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
