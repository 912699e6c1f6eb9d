//! Projects: those a caller may use, and their administration by the operator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use model::identity::{DOMAIN_ID, Project};
use serde::Serialize;
use utoipa::ToSchema;

use super::requests::ProjectRequest;
use crate::http::error::{ApiError, IdentityError, under};
use crate::http::openapi::refusals::{IdentityReadRefusals, IdentityWriteRefusals};
use crate::http::openapi::schema::ForeignId;
use crate::http::reader::Object;
use crate::http::request::{Body, LoggedIn};

/// One project.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectBody {
    #[schema(value_type = ForeignId)]
    id: String,
    name: String,
    /// Always `default`.
    domain_id: &'static str,
    /// Whether it may be used.
    enabled: bool,
    /// Always false.
    is_domain: bool,
    /// Always empty.
    description: &'static str,
}

/// `{"project": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectAnswer {
    project: ProjectBody,
}

/// `{"projects": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectsAnswer {
    projects: Vec<ProjectBody>,
}

impl From<Project> for ProjectBody {
    fn from(project: Project) -> ProjectBody {
        ProjectBody {
            id: project.id.to_string(),
            name: project.name,
            domain_id: DOMAIN_ID,
            enabled: project.enabled,
            is_domain: false,
            description: "",
        }
    }
}

impl From<Vec<Project>> for ProjectsAnswer {
    fn from(projects: Vec<Project>) -> ProjectsAnswer {
        ProjectsAnswer { projects: projects.into_iter().map(ProjectBody::from).collect() }
    }
}

/// Lists the projects that the caller may use
#[utoipa::path(
    get,
    path = "/auth/projects",
    operation_id = "listMyProjects",
    tag = "identity",
    responses(
        (status = 200, description = "All of them.", body = ProjectsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn mine(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
) -> Result<Json<ProjectsAnswer>, IdentityError> {
    Ok(Json(control.projects_of(&caller?.0).await?.into()))
}

/// Lists all projects, for the operator
#[utoipa::path(
    get,
    path = "/projects",
    operation_id = "listProjects",
    tag = "identity",
    responses(
        (status = 200, description = "All of them.", body = ProjectsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
) -> Result<Json<ProjectsAnswer>, IdentityError> {
    Ok(Json(control.projects(&caller?.0).await?.into()))
}

/// Makes a project, for the operator
///
/// Besides Keystone's keys it takes an `id`, so that a project of an existing cloud keeps its own.
#[utoipa::path(
    post,
    path = "/projects",
    operation_id = "createProject",
    tag = "identity",
    request_body = ProjectRequest,
    responses(
        (status = 201, description = "The project.", body = ProjectAnswer),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn create(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    body: Result<Body, ApiError>,
) -> Result<(StatusCode, Json<ProjectAnswer>), IdentityError> {
    let (LoggedIn(caller), Body(body)) = (caller?, body?);
    let new = Object::wrapped(&body, "project")?;
    let id = new.field("id").optional(|field| field.id())?;
    let project =
        control.create_project(&caller, new.field("name").text()?, id).await.map_err(under("project"))?;
    Ok((StatusCode::CREATED, Json(ProjectAnswer { project: project.into() })))
}
