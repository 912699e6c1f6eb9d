//! Providers in Karbor's form (`csbs-v1-api.md` §8): there is one, and it protects servers.

use axum::Json;
use model::policy::PROVIDER_ID;
use serde::Serialize;
use utoipa::ToSchema;

use super::Nothing;
use crate::http::error::ApiError;
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::openapi::schema::ProviderId;
use crate::http::request::{InProject, Provider};

/// The answer of `GET /providers`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProvidersAnswer {
    providers: [ProviderBody; 1],
}

/// The answer of `GET /providers/{provider_id}`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProviderAnswer {
    provider: ProviderBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct ProviderBody {
    #[schema(value_type = ProviderId)]
    id: &'static str,
    name: &'static str,
    description: &'static str,
    extended_info_schema: Schemas,
}

/// Forms that a client may show to a person; nothing has to be asked.
#[derive(Debug, Serialize, ToSchema)]
struct Schemas {
    options_schema: Nothing,
    restore_schema: Nothing,
    saved_info_schema: Nothing,
}

const SERVERS: ProviderBody = ProviderBody {
    id: PROVIDER_ID,
    name: "servers",
    description: "Whole servers with all their disks.",
    extended_info_schema: Schemas {
        options_schema: Nothing {},
        restore_schema: Nothing {},
        saved_info_schema: Nothing {},
    },
};

/// Lists the one provider, in Karbor's form
#[utoipa::path(
    get,
    path = "/providers",
    operation_id = "listProviders",
    tag = "project",
    responses(
        (status = 200, description = "The provider.", body = ProvidersAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn list(InProject(caller): InProject) -> Result<Json<ProvidersAnswer>, ApiError> {
    caller.may_look()?;
    Ok(Json(ProvidersAnswer { providers: [SERVERS] }))
}

/// Shows the provider, in Karbor's form
#[utoipa::path(
    get,
    path = "/providers/{provider_id}",
    operation_id = "showProvider",
    tag = "project",
    responses(
        (status = 200, description = "The provider.", body = ProviderAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    InProject(caller): InProject,
    _: Provider,
) -> Result<Json<ProviderAnswer>, ApiError> {
    caller.may_look()?;
    Ok(Json(ProviderAnswer { provider: SERVERS }))
}
