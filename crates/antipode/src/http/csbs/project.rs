//! What holds for a project as a whole: its quotas, and two calls that consoles make
//! (`csbs-v1-api.md` §5.8, §5.13 and the call without a documented body, `protection_capabilities`).

use axum::Json;
use axum::extract::State;
use control::Control;
use model::policy::RESOURCE_TYPE;
use model::quota::{Quota, QuotaKind, Usage};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::error::ApiError;
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::openapi::schema::{ForeignId, ResourceType};
use crate::http::request::{InProject, PathParams};

/// What stands for "no limit" on the wire.
pub(crate) const UNLIMITED: i64 = -1;

/// The answer of `GET /quotas`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuotasAnswer {
    quotas: QuotasBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct QuotasBody {
    resources: [QuotaBody; 2],
}

/// One quota.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuotaBody {
    /// `backup_capacity`, what the backups take in the store, or `backups`, how many there are.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Units of 2^30 bytes, begun ones counting whole; absent for a plain number.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    unit: Option<&'static str>,
    /// The most there may be; -1 is no limit.
    #[schema(minimum = -1)]
    quota: i64,
    used: u64,
}

impl QuotaBody {
    /// The quotas of one project, in the documented order.
    pub(crate) fn both(quota: &Quota, usage: &Usage) -> [QuotaBody; 2] {
        let wire = |max: Option<u64>| max.map_or(UNLIMITED, |max| i64::try_from(max).unwrap_or(i64::MAX));
        [
            QuotaBody {
                kind: QuotaKind::BackupCapacity.word(),
                unit: Some("GB"),
                quota: wire(quota.capacity_gib_max),
                used: usage.capacity_gib(),
            },
            QuotaBody {
                kind: QuotaKind::Backups.word(),
                unit: None,
                quota: wire(quota.backups_max),
                used: usage.backups,
            },
        ]
    }
}

/// The answer of `GET /protect_config`: there is no dedicated storage here, for nobody.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProtectConfigAnswer {
    protect_config: ProtectConfigBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct ProtectConfigBody {
    #[schema(value_type = ForeignId)]
    id: String,
    #[schema(value_type = ForeignId)]
    project_id: String,
    /// Whether the project has dedicated storage.
    dec_enable: bool,
    dec_capacity: u64,
    dec_used_capacity: u64,
}

/// The answer of `GET /protection_capabilities`. Its documented form is unknown; this says what is true.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProtectionCapabilitiesAnswer {
    protection_capabilities: [ProtectionCapability; 1],
}

#[derive(Debug, Serialize, ToSchema)]
struct ProtectionCapability {
    #[schema(value_type = ResourceType)]
    resource_type: &'static str,
    /// Whether guests can be asked to flush their applications: there is no agent.
    app_consistency: bool,
}

/// Shows what the project may hold, and what it does
#[utoipa::path(
    get,
    path = "/quotas",
    operation_id = "listQuotas",
    tag = "project",
    responses(
        (status = 200, description = "The quotas of backups made here.", body = QuotasAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn quotas(
    State(control): State<Control>,
    InProject(caller): InProject,
) -> Result<Json<QuotasAnswer>, ApiError> {
    let (quota, usage) = control.quota(&caller).await?;
    Ok(Json(QuotasAnswer { quotas: QuotasBody { resources: QuotaBody::both(&quota, &usage) } }))
}

/// Shows that there is no dedicated storage
#[utoipa::path(
    get,
    path = "/protect_config",
    operation_id = "showProtectConfig",
    tag = "project",
    responses(
        (status = 200, description = "The same for every project.", body = ProtectConfigAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn protect_config(
    InProject(caller): InProject,
    path: PathParams,
) -> Result<Json<ProtectConfigAnswer>, ApiError> {
    caller.may_look()?;
    let id = path.text("project_id")?.to_owned();
    let protect_config = ProtectConfigBody {
        project_id: id.clone(),
        id,
        dec_enable: false,
        dec_capacity: 0,
        dec_used_capacity: 0,
    };
    Ok(Json(ProtectConfigAnswer { protect_config }))
}

/// Shows what can be backed up, and how
#[utoipa::path(
    get,
    path = "/protection_capabilities",
    operation_id = "showProtection",
    tag = "project",
    responses(
        (status = 200, description = "The one type of resource.", body = ProtectionCapabilitiesAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn protection_capabilities(
    InProject(caller): InProject,
) -> Result<Json<ProtectionCapabilitiesAnswer>, ApiError> {
    caller.may_look()?;
    let capability = ProtectionCapability { resource_type: RESOURCE_TYPE, app_consistency: false };
    Ok(Json(ProtectionCapabilitiesAnswer { protection_capabilities: [capability] }))
}
