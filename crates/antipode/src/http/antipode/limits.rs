//! How fast this region sends to another one. The operator's.

use axum::Json;
use axum::extract::State;
use control::Control;
use model::ids::RegionName;
use model::rate::ByteRate;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::LimitRequest;
use crate::http::error::OwnError;
use crate::http::openapi::refusals::WriteRefusals;
use crate::http::reader::{Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams};

/// How fast a region is sent to.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitBody {
    /// For all transfers to it together; null when there is no limit.
    #[schema(minimum = 1024, maximum = 1_125_899_906_842_624_i64)]
    bytes_per_second: Option<u64>,
}

/// `{"limit": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LimitAnswer {
    limit: LimitBody,
}

impl From<Option<ByteRate>> for LimitBody {
    fn from(limit: Option<ByteRate>) -> LimitBody {
        LimitBody { bytes_per_second: limit.map(ByteRate::bytes_per_second) }
    }
}

/// The limit in a body; nothing when it is null.
fn read_limit(body: &Value) -> Reading<Option<ByteRate>> {
    let field = Object::wrapped(body, "limit")?.field("bytes_per_second");
    field.optional(|field| {
        let rate = u64::try_from(field.integer()?).ok().and_then(|bytes| ByteRate::new(bytes).ok());
        rate.ok_or_else(|| field.refused(model::rate::BadRate))
    })
}

/// Limits how fast another region is sent to
///
/// From now on, for all transfers together, those included that are under way.
#[utoipa::path(
    put,
    path = "/regions/{region_name}/limit",
    operation_id = "limitRegion",
    tag = "regions",
    request_body = LimitRequest,
    responses(
        (status = 200, description = "The limit after the change.", body = LimitAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn set(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    Body(body): Body,
) -> Result<Json<LimitAnswer>, OwnError> {
    let (name, limit): (RegionName, _) = (path.id("region_name")?, read_limit(&body)?);
    control.limit_peer(&caller, &name, limit).await?;
    Ok(Json(LimitAnswer { limit: limit.into() }))
}
