//! Checkpoint items: list, count, show (`csbs-v1-api.md` §5.5).

use std::str::FromStr;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use control::Control;
use control::checkpoints::ItemView;
use control::page::{ImageType, ItemFilter, ItemSort, PageOf};
use model::checkpoint::ItemState;
use model::ids::{BadId, RegionName};
use model::policy::RESOURCE_TYPE;
use model::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::item_body::ItemBody;
use crate::http::Site;
use crate::http::error::ApiError;
use crate::http::openapi::parameters::{ItemFilters, ItemOrder, PageQuery};
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::page::{Links, read_page};
use crate::http::request::{InProject, PathParams, Query};

/// The words that the list can be sorted by.
const SORT_KEYS: [(&str, ItemSort); 6] = [
    ("created_at", ItemSort::CreatedAt),
    ("updated_at", ItemSort::UpdatedAt),
    ("name", ItemSort::Name),
    ("status", ItemSort::State),
    ("protected_at", ItemSort::ProtectedAt),
    ("id", ItemSort::Id),
];

/// The most values of a filter that looks into texts: each is a comparison of its own with every row.
const TEXTS_MAX: usize = 100;

/// The prefix of the plan ids of backups made directly on a server.
const FAKE_PLAN: &str = "fake_";

/// Whether an id is that of a plan that no policy has.
pub(super) fn is_fake_plan(id: &str) -> bool {
    id.starts_with(FAKE_PLAN)
}

/// The answer of `GET /checkpoint_items/{checkpoint_item_id}`.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = super::examples::item)]
struct ItemAnswer<'a> {
    checkpoint_item: ItemBody<'a>,
}

/// The answer of `GET /checkpoint_items`.
#[derive(Debug, Serialize, ToSchema)]
struct ItemsAnswer<'a> {
    checkpoint_items: Vec<ItemBody<'a>>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    checkpoint_items_links: Links,
}

/// The answer of `GET /checkpoint_items/count`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CountAnswer {
    count: u64,
}

fn body<'a>(view: &'a ItemView, here: &RegionName) -> ItemBody<'a> {
    ItemBody::new(&view.item, &view.records, here)
}

impl ItemsAnswer<'_> {
    fn response(found: &PageOf<ItemView>, here: &RegionName, query: &Query, site: &Site) -> Response {
        let checkpoint_items = found.rows.iter().map(|view| body(view, here)).collect();
        let checkpoint_items_links =
            Links::next(found, |view| view.item.id.to_string(), query, &site.api_url);
        Json(ItemsAnswer { checkpoint_items, checkpoint_items_links }).into_response()
    }
}

/// The filter that a query asks for; list and count understand the same one.
fn read_filter(query: &Query) -> Result<ItemFilter, ApiError> {
    let policy_ids = read_ids(query.all("policy_id").filter(|id| !is_fake_plan(id)), "policy_id")?;
    let wants_fake_plans_only = policy_ids.is_empty() && query.all("policy_id").next().is_some();
    Ok(ItemFilter {
        states: read_states(query)?,
        resource_ids: read_ids(query.all("resource_id"), "resource_id")?,
        matches_nothing: wants_what_never_is(query)? || wants_fake_plans_only,
        policy_ids,
        checkpoint_ids: read_ids(query.all("checkpoint_id"), "checkpoint_id")?,
        name_contains: read_texts(query, "name")?,
        resource_name_contains: read_texts(query, "resource_name")?,
        start_time: read_time(query, "start_time")?,
        end_time: read_time(query, "end_time")?,
        image_types: read_image_types(query)?,
        of_all_projects: query.boolean("all_tenants")?.unwrap_or(false),
    })
}

/// Other resource types, zones, addresses and dedicated storage do not exist here.
fn wants_what_never_is(query: &Query) -> Result<bool, ApiError> {
    let is_other_type = query.last("resource_type").is_some()
        && !query.all("resource_type").any(|word| word == RESOURCE_TYPE);
    let is_elsewhere = query.last("az").is_some() || query.last("ip").is_some();
    Ok(is_other_type || is_elsewhere || query.boolean("dec")?.unwrap_or(false))
}

fn read_states(query: &Query) -> Result<Vec<ItemState>, ApiError> {
    let unknown = || ApiError::malformed("status", "is not a status of a backup");
    query.all("status").map(|word| ItemState::from_word(word).ok_or_else(unknown)).collect()
}

fn read_texts(query: &Query, name: &str) -> Result<Vec<String>, ApiError> {
    let texts: Vec<String> = query.all(name).map(str::to_owned).collect();
    if texts.len() > TEXTS_MAX {
        return Err(ApiError::malformed(name, format_args!("may be given at most {TEXTS_MAX} times")));
    }
    Ok(texts)
}

fn read_image_types(query: &Query) -> Result<Vec<ImageType>, ApiError> {
    let read = |word| match word {
        "backup" => Ok(ImageType::Backup),
        "replication" => Ok(ImageType::Replication),
        _ => Err(ApiError::malformed("image_type", "must be backup or replication")),
    };
    query.all("image_type").map(read).collect()
}

pub(super) fn read_ids<'a, T: FromStr<Err = BadId>>(
    texts: impl Iterator<Item = &'a str>,
    name: &str,
) -> Result<Vec<T>, ApiError> {
    texts.map(|text| text.parse().map_err(|bad| ApiError::malformed(name, bad))).collect()
}

pub(super) fn read_time(query: &Query, name: &str) -> Result<Option<Timestamp>, ApiError> {
    let bad = || ApiError::malformed(name, "must be a time such as 2026-11-23T01:02:03");
    query.last(name).map(|text| Timestamp::parse(text).ok_or_else(bad)).transpose()
}

/// Lists backups
#[utoipa::path(
    get,
    path = "/checkpoint_items",
    operation_id = "listItems",
    tag = "backups",
    params(ItemFilters, ItemOrder, PageQuery),
    responses(
        (status = 200, description = "A page of backups, the newest first.", body = ItemsAnswer, links(
            ("show" = (operation_id = "showItem", parameters(("checkpoint_item_id" = "$response.body#/checkpoint_items/0/id")))),
            ("replicate" = (operation_id = "replicateItem", parameters(("checkpoint_item_id" = "$response.body#/checkpoint_items/0/id")))),
            ("progress" = (operation_id = "showItemProgress", parameters(("checkpoint_item_id" = "$response.body#/checkpoint_items/0/id"))))
        )),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    InProject(caller): InProject,
    query: Query,
) -> Result<Response, ApiError> {
    let (filter, page) = (read_filter(&query)?, read_page(&query, &SORT_KEYS)?);
    let found = control.items(&caller, filter, &page).await?;
    Ok(ItemsAnswer::response(&found, control.region_name(), &query, &site))
}

/// Counts backups
#[utoipa::path(
    get,
    path = "/checkpoint_items/count",
    operation_id = "countItems",
    tag = "backups",
    params(ItemFilters),
    responses(
        (status = 200, description = "How many there are.", body = CountAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn count(
    State(control): State<Control>,
    InProject(caller): InProject,
    query: Query,
) -> Result<Json<CountAnswer>, ApiError> {
    let count = control.count_items(&caller, read_filter(&query)?).await?;
    Ok(Json(CountAnswer { count }))
}

/// Shows a backup
#[utoipa::path(
    get,
    path = "/checkpoint_items/{checkpoint_item_id}",
    operation_id = "showItem",
    tag = "backups",
    responses(
        (status = 200, description = "The backup.", body = ItemAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Response, ApiError> {
    let view = control.item(&caller, path.id("checkpoint_item_id")?).await?;
    Ok(Json(ItemAnswer { checkpoint_item: body(&view, control.region_name()) }).into_response())
}
