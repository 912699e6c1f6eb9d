//! Quotas of projects: anybody of the project sees them, the operator sets them.

use axum::Json;
use axum::extract::State;
use control::Control;
use model::quota::{Quota, QuotaChange, Usage};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::QuotasRequest;
use crate::http::csbs::project::{QuotaBody, UNLIMITED};
use crate::http::error::{OwnError, under};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::ForeignId;
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams};

/// `{"quotas": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectQuotasAnswer {
    quotas: ProjectQuotas,
}

#[derive(Debug, Serialize, ToSchema)]
struct ProjectQuotas {
    #[schema(value_type = ForeignId)]
    project_id: String,
    resources: [QuotaBody; 2],
}

impl ProjectQuotasAnswer {
    fn new(path: &PathParams, (quota, usage): &(Quota, Usage)) -> Reading<ProjectQuotasAnswer> {
        let project_id = path.text("project_id")?.to_owned();
        Ok(ProjectQuotasAnswer {
            quotas: ProjectQuotas { project_id, resources: QuotaBody::both(quota, usage) },
        })
    }
}

/// The change in a body; a key that is left out changes nothing.
fn read_change(body: &Value) -> Reading<QuotaChange> {
    let quotas = Object::wrapped(body, "quotas")?;
    Ok(QuotaChange {
        backups_max: quotas.field("backups").optional(|field| read_max(&field))?,
        capacity_gib_max: quotas.field("backup_capacity").optional(|field| read_max(&field))?,
    })
}

/// A number of things, or no limit.
fn read_max(field: &Field<'_>) -> Reading<Option<u64>> {
    let number = field.integer()?;
    if number == UNLIMITED {
        return Ok(None);
    }
    let max = u64::try_from(number).map_err(|_| field.refused("must be -1 (no limit), 0 or more"))?;
    Ok(Some(max))
}

/// Shows what a project may hold, and what it does
///
/// For the project's own people and for the operator.
#[utoipa::path(
    get,
    path = "/quotas/{project_id}",
    operation_id = "showProjectQuotas",
    tag = "project",
    responses(
        (status = 200, description = "The quotas of backups made here.", body = ProjectQuotasAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<ProjectQuotasAnswer>, OwnError> {
    let quota = control.quota_of(&caller, &path.id("project_id")?).await?;
    Ok(Json(ProjectQuotasAnswer::new(&path, &quota)?))
}

/// Sets what a project may hold
///
/// For the operator. A quota may be less than what is there: nothing is dropped, and nothing new begins.
#[utoipa::path(
    put,
    path = "/quotas/{project_id}",
    operation_id = "setProjectQuotas",
    tag = "project",
    request_body = QuotasRequest,
    responses(
        (status = 200, description = "The quotas after the change.", body = ProjectQuotasAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn set(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
    Body(body): Body,
) -> Result<Json<ProjectQuotasAnswer>, OwnError> {
    let change = read_change(&body)?;
    let quota = control.set_quota(&caller, &path.id("project_id")?, change).await.map_err(under("quotas"))?;
    Ok(Json(ProjectQuotasAnswer::new(&path, &quota)?))
}
