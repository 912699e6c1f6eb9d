//! Acceptance grants: which projects of other regions may bring replicas into the caller's project.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::peers::NewGrant;
use model::grant::{Grant, Mode};
use model::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::GrantRequest;
use crate::http::csbs::Nothing;
use crate::http::error::{OwnError, under};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, ModeWord, Moment, RegionText};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams};

/// One grant.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantBody {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = RegionText)]
    source_region: String,
    #[schema(value_type = ForeignId)]
    source_project_id: String,
    /// This region.
    #[schema(value_type = RegionText)]
    destination_region: String,
    #[schema(value_type = ForeignId)]
    destination_project_id: String,
    #[schema(value_type = ModeWord)]
    mode: &'static str,
    /// How many bytes its replicas may occupy; null for no limit.
    bytes_max: Option<u64>,
    /// For how many days a replica is kept at least.
    keep_days_min: u32,
    #[schema(value_type = Moment)]
    created_at: String,
    #[schema(value_type = Option<Moment>)]
    expires_at: Option<String>,
    #[schema(value_type = Option<Moment>)]
    revoked_at: Option<String>,
}

/// `{"grant": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantAnswer {
    grant: GrantBody,
}

/// `{"grants": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct GrantsAnswer {
    grants: Vec<GrantBody>,
}

impl From<Grant> for GrantBody {
    fn from(grant: Grant) -> GrantBody {
        GrantBody {
            id: grant.id.to_string(),
            source_region: grant.source_region.to_string(),
            source_project_id: grant.source_project_id.to_string(),
            destination_region: grant.destination_region.to_string(),
            destination_project_id: grant.destination_project_id.to_string(),
            mode: grant.mode.word(),
            bytes_max: grant.bytes_max,
            keep_days_min: grant.keep_days_min,
            created_at: grant.created_at.wire(),
            expires_at: grant.expires_at.map(|moment| moment.wire()),
            revoked_at: grant.revoked_at.map(|moment| moment.wire()),
        }
    }
}

/// The grant that a body asks for.
fn read_grant(body: &Value) -> Reading<NewGrant> {
    let grant = Object::wrapped(body, "grant")?;
    Ok(NewGrant {
        source_region: grant.field("source_region").id()?,
        source_project_id: grant.field("source_project_id").id()?,
        mode: grant.field("mode").optional(|field| read_mode(&field))?.unwrap_or(Mode::Restorable),
        bytes_max: grant.field("bytes_max").optional(|field| read_bytes(&field))?,
        keep_days_min: grant.field("keep_days_min").optional(|field| read_days(&field))?,
        expires_at: grant.field("expires_at").optional(|field| read_moment(&field))?,
    })
}

fn read_mode(field: &Field<'_>) -> Reading<Mode> {
    Mode::from_word(field.text()?).ok_or_else(|| field.refused("must be restorable or sealed"))
}

fn read_days(field: &Field<'_>) -> Reading<u32> {
    u32::try_from(field.integer()?).map_err(|_| field.refused("must be 0 or a positive whole number"))
}

fn read_bytes(field: &Field<'_>) -> Reading<u64> {
    let bytes = u64::try_from(field.integer()?).ok().filter(|bytes| *bytes > 0);
    bytes.ok_or_else(|| field.refused("must be a positive whole number"))
}

fn read_moment(field: &Field<'_>) -> Reading<Timestamp> {
    Timestamp::parse(field.text()?).ok_or_else(|| field.refused("must be a time such as 2026-11-23T01:02:03"))
}

/// Lets a project of another region bring replicas into the token's project
#[utoipa::path(
    post,
    path = "/grants",
    operation_id = "createGrant",
    tag = "grants",
    request_body = GrantRequest,
    responses(
        (status = 201, description = "The grant.", body = GrantAnswer, links(
            ("revoke" = (operation_id = "revokeGrant", parameters(("grant_id" = "$response.body#/grant/id"))))
        )),
        WriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<(StatusCode, Json<GrantAnswer>), OwnError> {
    let new = read_grant(&body)?;
    let grant = control.create_grant(&caller, new).await.map_err(under("grant"))?;
    Ok((StatusCode::CREATED, Json(GrantAnswer { grant: grant.into() })))
}

/// Lists the grants of the token's project
#[utoipa::path(
    get,
    path = "/grants",
    operation_id = "listGrants",
    tag = "grants",
    responses(
        (status = 200, description = "All of them.", body = GrantsAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
) -> Result<Json<GrantsAnswer>, OwnError> {
    let grants = control.grants(&caller).await?;
    Ok(Json(GrantsAnswer { grants: grants.into_iter().map(GrantBody::from).collect() }))
}

/// Revokes a grant: nothing arrives under it any more; what arrived stays
#[utoipa::path(
    delete,
    path = "/grants/{grant_id}",
    operation_id = "revokeGrant",
    tag = "grants",
    responses(
        (status = 200, description = "It is revoked.", body = Nothing),
        WriteRefusals
    )
)]
pub(crate) async fn revoke(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<Nothing>, OwnError> {
    control.revoke_grant(&caller, path.id("grant_id")?).await?;
    Ok(Json(Nothing {}))
}
