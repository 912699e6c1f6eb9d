//! This region and others: what stops it; invite, accept, confirm, list. All of it is the operator's.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::peers::{Accepted, PeerView};
use model::ids::RegionName;
use serde::Serialize;
use utoipa::ToSchema;
use vault::ids::to_hex;

use super::limits::LimitBody;
use super::requests::{AcceptanceRequest, ConfirmationRequest, InvitationRequest, UnfreezeRequest};
use crate::http::csbs::Nothing;
use crate::http::error::OwnError;
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{Moment, RegionText};
use crate::http::reader::Object;
use crate::http::request::{Body, LoggedIn, PathParams};

/// This region.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnRegionBody {
    #[schema(value_type = RegionText)]
    name: String,
    /// From its root key: 32 hex digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    region_id: String,
    /// A new one after each rebuild: 32 hex digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    incarnation: String,
    /// Why it takes no writes, if it takes none.
    blocked_reason: Option<String>,
    /// Why nothing expires and nothing is collected, if so.
    frozen_reason: Option<String>,
}

/// `{"region": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OwnRegionAnswer {
    region: OwnRegionBody,
}

/// One region that we are paired with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegionBody {
    #[schema(value_type = RegionText)]
    name: String,
    /// Where its peers reach it.
    url: String,
    /// Whether its operator and ours agreed on the code. Powerless until then.
    is_confirmed: bool,
    limit: LimitBody,
    #[schema(value_type = Moment)]
    paired_at: String,
}

/// `{"regions": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RegionsAnswer {
    regions: Vec<RegionBody>,
}

/// One line, good for one region and once.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InvitationAnswer {
    invitation: String,
}

/// Who invited us, and the characters that its operator must type.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AcceptedAnswer {
    #[schema(value_type = RegionText)]
    region: String,
    /// Read it out to the other operator.
    code: String,
}

impl From<PeerView> for RegionBody {
    fn from(PeerView { peer, limit }: PeerView) -> RegionBody {
        RegionBody {
            name: peer.name.to_string(),
            url: peer.url,
            is_confirmed: peer.is_confirmed,
            limit: limit.into(),
            paired_at: peer.paired_at.wire(),
        }
    }
}

impl From<Accepted> for AcceptedAnswer {
    fn from(accepted: Accepted) -> AcceptedAnswer {
        AcceptedAnswer { region: accepted.region.to_string(), code: accepted.code }
    }
}

/// Shows this region and what stops it
#[utoipa::path(
    get,
    path = "/region",
    operation_id = "showRegion",
    tag = "regions",
    responses(
        (status = 200, description = "This region.", body = OwnRegionAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
) -> Result<Json<OwnRegionAnswer>, OwnError> {
    let region = control.region_state(&caller).await?;
    let region = OwnRegionBody {
        name: region.name.to_string(),
        region_id: to_hex(&region.region_id),
        incarnation: to_hex(&region.incarnation),
        blocked_reason: region.blocked_reason,
        frozen_reason: region.frozen_reason,
    };
    Ok(Json(OwnRegionAnswer { region }))
}

/// Lets a rebuilt region expire and collect again
#[utoipa::path(
    post,
    path = "/region/unfreeze",
    operation_id = "unfreezeRegion",
    tag = "regions",
    request_body = UnfreezeRequest,
    responses(
        (status = 200, description = "It may.", body = Nothing),
        WriteRefusals
    )
)]
pub(crate) async fn unfreeze(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<Json<Nothing>, OwnError> {
    control.lift_freeze(&caller, Object::body(&body)?.field("name").text()?).await?;
    Ok(Json(Nothing {}))
}

/// Invites another region to pair with this one
#[utoipa::path(
    post,
    path = "/regions/invitations",
    operation_id = "inviteRegion",
    tag = "regions",
    request_body = InvitationRequest,
    responses(
        (status = 201, description = "The invitation.", body = InvitationAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn invite(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<(StatusCode, Json<InvitationAnswer>), OwnError> {
    let name: RegionName = Object::body(&body)?.field("region").id()?;
    let invitation = control.invite(&caller, &name).await?;
    Ok((StatusCode::CREATED, Json(InvitationAnswer { invitation })))
}

/// Accepts the invitation of another region
#[utoipa::path(
    post,
    path = "/regions/accept",
    operation_id = "acceptInvitation",
    tag = "regions",
    request_body = AcceptanceRequest,
    responses(
        (status = 200, description = "Who invited us, and what its operator has to type.", body = AcceptedAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn accept(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<Json<AcceptedAnswer>, OwnError> {
    let line = Object::body(&body)?.field("invitation").text()?;
    Ok(Json(control.accept_invitation(&caller, line).await?.into()))
}

/// Confirms that the region which accepted our invitation is the one that was meant
#[utoipa::path(
    post,
    path = "/regions/{region_name}/confirm",
    operation_id = "confirmRegion",
    tag = "regions",
    request_body = ConfirmationRequest,
    responses(
        (status = 200, description = "The regions are paired.", body = Nothing),
        WriteRefusals
    )
)]
pub(crate) async fn confirm(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    Body(body): Body,
) -> Result<Json<Nothing>, OwnError> {
    let (name, code): (RegionName, _) = (path.id("region_name")?, Object::body(&body)?.field("code").text()?);
    control.confirm_peer(&caller, &name, code).await?;
    Ok(Json(Nothing {}))
}

/// Lists the regions that this one is paired with
#[utoipa::path(
    get,
    path = "/regions",
    operation_id = "listRegions",
    tag = "regions",
    responses(
        (status = 200, description = "All of them.", body = RegionsAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
) -> Result<Json<RegionsAnswer>, OwnError> {
    let regions = control.all_peers(&caller)?.into_iter().map(RegionBody::from).collect();
    Ok(Json(RegionsAnswer { regions }))
}
