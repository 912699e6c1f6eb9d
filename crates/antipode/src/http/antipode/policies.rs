//! What the inherited policy calls have no words for: adopting the backups of a deleted policy, and seeing
//! what retention would do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use control::Control;
use control::policies::Adopted;
use control::preview::{JudgedItem, PreviewOrder, RetentionPreview};
use model::ids::PolicyId;
use model::retention::Retention;
use model::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::{AdoptionRequest, PreviewRequest};
use crate::http::Site;
use crate::http::csbs::policy_body::read_retention;
use crate::http::error::{ApiError, OwnError, under};
use crate::http::openapi::parameters::{PageQuery, PreviewMoment};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, ItemStatus, Moment};
use crate::http::page::{Links, read_page};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams, Query};

/// `{"adoption": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AdoptionAnswer {
    adoption: AdoptionBody,
}

/// What moved from one policy to the other; nothing the second time.
#[derive(Debug, Serialize, ToSchema)]
struct AdoptionBody {
    #[schema(value_type = Id)]
    policy_id: String,
    #[schema(value_type = Id)]
    old_policy_id: String,
    item_count: u64,
    record_count: u64,
}

/// `{"retention_preview": …, "items": […]}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PreviewAnswer {
    retention_preview: PreviewBody,
    items: Vec<JudgedBody>,
    /// Only while there is more.
    #[serde(skip_serializing_if = "Links::is_empty")]
    items_links: Links,
}

#[derive(Debug, Serialize, ToSchema)]
struct PreviewBody {
    #[schema(value_type = Id)]
    policy_id: String,
    #[schema(value_type = Moment)]
    at: String,
    kept_count: u64,
    expired_count: u64,
    /// Why nothing goes in truth, if expiry is frozen.
    frozen_reason: Option<String>,
}

/// One backup.
#[derive(Debug, Serialize, ToSchema)]
struct JudgedBody {
    #[schema(value_type = Id)]
    id: String,
    name: String,
    #[schema(value_type = ForeignId)]
    resource_id: String,
    resource_name: String,
    #[schema(value_type = ItemStatus)]
    status: &'static str,
    #[schema(value_type = Option<Moment>)]
    protected_at: Option<String>,
    auto_trigger: bool,
    /// `kept` or `expired`
    outcome: &'static str,
    /// Every rule and fact that keeps it.
    kept_by: Vec<&'static str>,
    /// When it goes if nothing else happens; null for never.
    #[schema(value_type = Option<Moment>)]
    expires_at: Option<String>,
}

impl From<JudgedItem> for JudgedBody {
    fn from(JudgedItem { item, verdict }: JudgedItem) -> JudgedBody {
        JudgedBody {
            id: item.id.to_string(),
            name: item.name,
            resource_id: item.resource_id.to_string(),
            resource_name: item.resource_name,
            status: item.state.word(),
            protected_at: item.protected_at.map(Timestamp::wire),
            auto_trigger: item.auto_trigger,
            outcome: if verdict.is_expired() { "expired" } else { "kept" },
            kept_by: verdict.kept_by.iter().map(|kept_by| kept_by.word()).collect(),
            expires_at: verdict.expires_at.map(Timestamp::wire),
        }
    }
}

impl PreviewAnswer {
    fn new(preview: RetentionPreview, query: &Query, site: &Site) -> PreviewAnswer {
        let items_links = Links::next(&preview.items, |one| one.item.id.to_string(), query, &site.api_url);
        PreviewAnswer {
            retention_preview: PreviewBody {
                policy_id: preview.policy_id.to_string(),
                at: preview.at.wire(),
                kept_count: preview.kept_count,
                expired_count: preview.expired_count,
                frozen_reason: preview.frozen_reason,
            },
            items: preview.items.rows.into_iter().map(JudgedBody::from).collect(),
            items_links,
        }
    }
}

impl AdoptionAnswer {
    fn new(policy_id: PolicyId, old_policy_id: PolicyId, adopted: &Adopted) -> AdoptionAnswer {
        AdoptionAnswer {
            adoption: AdoptionBody {
                policy_id: policy_id.to_string(),
                old_policy_id: old_policy_id.to_string(),
                item_count: adopted.item_count,
                record_count: adopted.record_count,
            },
        }
    }
}

/// The rules and the moment in the body of a preview; either may be missing.
fn read_preview(body: &Value) -> Reading<(Option<Retention>, Option<Timestamp>)> {
    let preview = Object::wrapped(body, "retention_preview")?;
    let definition = preview.field("operation_definition").optional(Field::object)?;
    let retention = definition.as_ref().map(read_retention).transpose()?;
    let at = preview.field("at");
    let moment = at.clone().optional(|field| field.text())?;
    Ok((retention, moment.map(|text| read_moment(text, |why| at.refused(why))).transpose()?))
}

fn read_moment(text: &str, refused: impl Fn(&str) -> ApiError) -> Reading<Timestamp> {
    Timestamp::parse(text).ok_or_else(|| refused("must be a time such as 2026-11-23T01:02:03"))
}

/// Gives a policy the backups of a deleted one
///
/// The retention of the policy applies to them from now on, and what has a replica is not replicated again. Doing it again moves
/// nothing.
#[utoipa::path(
    post,
    path = "/policies/{policy_id}/adopt",
    operation_id = "adoptPolicy",
    tag = "policies",
    request_body = AdoptionRequest,
    responses((status = 200, description = "What moved.", body = AdoptionAnswer), WriteRefusals)
)]
pub(crate) async fn adopt(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    Body(body): Body,
) -> Result<Json<AdoptionAnswer>, OwnError> {
    let (id, old) = (path.id("policy_id")?, Object::body(&body)?.field("old_policy_id").id()?);
    let adopted = control.adopt_policy(&caller, id, old).await?;
    Ok(Json(AdoptionAnswer::new(id, old, &adopted)))
}

/// Shows what retention does with the backups of a policy
///
/// Server by server, the oldest first. Nothing is changed.
#[utoipa::path(
    get,
    path = "/policies/{policy_id}/retention_preview",
    operation_id = "previewRetention",
    tag = "policies",
    params(PreviewMoment, PageQuery),
    responses((status = 200, description = "What keeps each backup, or when it goes.", body = PreviewAnswer), ReadRefusals)
)]
pub(crate) async fn preview_retention(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    query: Query,
) -> Result<Json<PreviewAnswer>, OwnError> {
    let at = query.last("at").map(|text| read_moment(text, |why| ApiError::malformed("at", why)));
    let page = read_page(&query, &[])?;
    let order = PreviewOrder { policy_id: path.id("policy_id")?, retention: None, at: at.transpose()?, page };
    let preview = control.preview_retention(&caller, order).await?;
    Ok(Json(PreviewAnswer::new(preview, &query, &site)))
}

/// Shows what other rules would do with the backups of a policy
///
/// The rules are not saved, and nothing is changed.
#[utoipa::path(
    post,
    path = "/policies/{policy_id}/retention_preview",
    operation_id = "previewOtherRetention",
    tag = "policies",
    params(PageQuery),
    request_body = PreviewRequest,
    responses((status = 200, description = "What keeps each backup, or when it goes.", body = PreviewAnswer), ReadRefusals)
)]
pub(crate) async fn preview_other_retention(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    query: Query,
    Body(body): Body,
) -> Result<Json<PreviewAnswer>, OwnError> {
    let (retention, at) = read_preview(&body)?;
    let page = read_page(&query, &[])?;
    let order = PreviewOrder { policy_id: path.id("policy_id")?, retention, at, page };
    let preview = control.preview_retention(&caller, order).await.map_err(under("retention_preview"))?;
    Ok(Json(PreviewAnswer::new(preview, &query, &site)))
}
