//! This region and others: what stops it; invite, accept, confirm, list. All of it is the operator's.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::peers::{Accepted, Peer};
use model::ids::RegionName;
use serde::Serialize;
use vault::ids::to_hex;

use crate::http::csbs::Nothing;
use crate::http::error::OwnError;
use crate::http::reader::Object;
use crate::http::request::{Body, LoggedIn, PathParams};

/// This region.
#[derive(Debug, Serialize)]
pub(crate) struct OwnRegionBody {
    name: String,
    region_id: String,
    incarnation: String,
    blocked_reason: Option<String>,
    frozen_reason: Option<String>,
}

/// `{"region": …}`
#[derive(Debug, Serialize)]
pub(crate) struct OwnRegionAnswer {
    region: OwnRegionBody,
}

/// One region that we are paired with.
#[derive(Debug, Serialize)]
pub(crate) struct RegionBody {
    name: String,
    url: String,
    is_confirmed: bool,
    paired_at: String,
}

/// `{"regions": …}`
#[derive(Debug, Serialize)]
pub(crate) struct RegionsAnswer {
    regions: Vec<RegionBody>,
}

/// One line, good for one region and once.
#[derive(Debug, Serialize)]
pub(crate) struct InvitationAnswer {
    invitation: String,
}

/// Who invited us, and the characters that its operator must type.
#[derive(Debug, Serialize)]
pub(crate) struct AcceptedAnswer {
    region: String,
    code: String,
}

impl From<Peer> for RegionBody {
    fn from(peer: Peer) -> RegionBody {
        RegionBody {
            name: peer.name.to_string(),
            url: peer.url,
            is_confirmed: peer.is_confirmed,
            paired_at: peer.paired_at.wire(),
        }
    }
}

impl From<Accepted> for AcceptedAnswer {
    fn from(accepted: Accepted) -> AcceptedAnswer {
        AcceptedAnswer { region: accepted.region.to_string(), code: accepted.code }
    }
}

/// `GET /antipode/v1/region`
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

/// `POST /antipode/v1/region/unfreeze`
pub(crate) async fn unfreeze(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<Json<Nothing>, OwnError> {
    control.lift_freeze(&caller, Object::body(&body)?.field("name").text()?).await?;
    Ok(Json(Nothing {}))
}

/// `POST /antipode/v1/regions/invitations`
pub(crate) async fn invite(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<(StatusCode, Json<InvitationAnswer>), OwnError> {
    let name: RegionName = Object::body(&body)?.field("region").id()?;
    let invitation = control.invite(&caller, &name).await?;
    Ok((StatusCode::CREATED, Json(InvitationAnswer { invitation })))
}

/// `POST /antipode/v1/regions/accept`
pub(crate) async fn accept(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<Json<AcceptedAnswer>, OwnError> {
    let line = Object::body(&body)?.field("invitation").text()?;
    Ok(Json(control.accept_invitation(&caller, line).await?.into()))
}

/// `POST /antipode/v1/regions/{region_name}/confirm`
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

/// `GET /antipode/v1/regions`
pub(crate) async fn list(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
) -> Result<Json<RegionsAnswer>, OwnError> {
    let regions = control.all_peers(&caller)?.into_iter().map(RegionBody::from).collect();
    Ok(Json(RegionsAnswer { regions }))
}
