//! Access keys: pairs of an id and a secret with which programs sign requests, each for one project.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use model::identity::AccessKey;
use serde::Serialize;
use utoipa::ToSchema;

use super::requests::AccessKeyRequest;
use crate::http::error::{OwnError, under};
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Id, Moment};
use crate::http::reader::Object;
use crate::http::request::{Body, LoggedIn, PathParams};

/// One access key. The secret is there in the answer that makes it, and never again.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessKeyBody)]
pub(crate) struct CredentialBody {
    #[schema(value_type = ForeignId)]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    secret: Option<String>,
    #[schema(value_type = Id)]
    user_id: String,
    #[schema(value_type = ForeignId)]
    project_id: String,
    description: String,
    #[schema(value_type = Moment)]
    created_at: String,
}

/// `{"credential": …}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessKeyAnswer)]
pub(crate) struct CredentialAnswer {
    credential: CredentialBody,
}

/// `{"credentials": …}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AccessKeysAnswer)]
pub(crate) struct CredentialsAnswer {
    credentials: Vec<CredentialBody>,
}

impl CredentialBody {
    fn new(key: AccessKey, secret: Option<String>) -> CredentialBody {
        CredentialBody {
            id: key.id.to_string(),
            secret,
            user_id: key.user_id.to_string(),
            project_id: key.project_id.to_string(),
            description: key.description,
            created_at: key.created_at.wire(),
        }
    }
}

/// Makes an access key of the caller in the project of the token
///
/// Its secret is shown this once.
#[utoipa::path(
    post,
    path = "/credentials",
    operation_id = "createAccessKey",
    tag = "credentials",
    request_body = AccessKeyRequest,
    responses(
        (status = 201, description = "The access key with its secret.", body = CredentialAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    Body(body): Body,
) -> Result<(StatusCode, Json<CredentialAnswer>), OwnError> {
    let description = Object::wrapped(&body, "credential")?.field("description");
    let description = description.optional(|field| Ok(field.text()?.to_owned()))?.unwrap_or_default();
    let (key, secret) = control.create_access_key(&caller, description).await.map_err(under("credential"))?;
    Ok((StatusCode::CREATED, Json(CredentialAnswer { credential: CredentialBody::new(key, Some(secret)) })))
}

/// Lists the caller's access keys in the project of the token
#[utoipa::path(
    get,
    path = "/credentials",
    operation_id = "listAccessKeys",
    tag = "credentials",
    responses(
        (status = 200, description = "All of them.", body = CredentialsAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
) -> Result<Json<CredentialsAnswer>, OwnError> {
    let keys = control.access_keys(&caller).await?;
    Ok(Json(CredentialsAnswer {
        credentials: keys.into_iter().map(|key| CredentialBody::new(key, None)).collect(),
    }))
}

/// Shows an access key of the caller
#[utoipa::path(
    get,
    path = "/credentials/{access_key_id}",
    operation_id = "showAccessKey",
    tag = "credentials",
    responses(
        (status = 200, description = "The access key.", body = CredentialAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<CredentialAnswer>, OwnError> {
    let key = control.access_key(&caller, &path.id("access_key_id")?).await?;
    Ok(Json(CredentialAnswer { credential: CredentialBody::new(key, None) }))
}

/// Deletes an access key of the caller
#[utoipa::path(
    delete,
    path = "/credentials/{access_key_id}",
    operation_id = "deleteAccessKey",
    tag = "credentials",
    responses(
        (status = 204, description = "It is gone; what it signs from now on is refused."),
        WriteRefusals
    )
)]
pub(crate) async fn delete(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<StatusCode, OwnError> {
    control.delete_access_key(&caller, &path.id("access_key_id")?).await?;
    Ok(StatusCode::NO_CONTENT)
}
