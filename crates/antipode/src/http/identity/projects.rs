//! Projects: those a caller may use, and their administration by the operator.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::identity::ProjectChange;
use model::identity::{DOMAIN_ID, Project};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::requests::{ProjectChangeRequest, ProjectRequest};
use super::{ListLinks, SelfLink, check_domain_id, known_id, optional_text};
use crate::http::Site;
use crate::http::error::{ApiError, IdentityError, under};
use crate::http::openapi::parameters::IdentityFilters;
use crate::http::openapi::refusals::{IdentityReadRefusals, IdentityWriteRefusals};
use crate::http::openapi::schema::ForeignId;
use crate::http::reader::{Object, Reading};
use crate::http::request::{Body, LoggedIn, PathParams, Query};

/// One project.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectBody {
    #[schema(value_type = ForeignId)]
    id: String,
    name: String,
    /// Always `default`.
    domain_id: &'static str,
    parent_id: &'static str,
    /// Whether it may be used.
    enabled: bool,
    is_domain: bool,
    description: String,
    options: Nothing,
    tags: [String; 0],
    links: SelfLink,
}

/// `{}`
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IdentityOptions)]
pub(crate) struct Nothing {}

/// `{"project": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectAnswer {
    project: ProjectBody,
}

/// `{"projects": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectsAnswer {
    projects: Vec<ProjectBody>,
    links: ListLinks,
}

impl ProjectBody {
    fn new(project: Project, site: &Site) -> ProjectBody {
        ProjectBody {
            links: SelfLink::new(&site.api_url, format_args!("projects/{}", project.id)),
            id: project.id.to_string(),
            name: project.name,
            domain_id: DOMAIN_ID,
            parent_id: DOMAIN_ID,
            enabled: project.enabled,
            is_domain: false,
            description: project.description,
            options: Nothing {},
            tags: [],
        }
    }
}

impl ProjectsAnswer {
    /// A list, with what the query leaves of it.
    pub(super) fn new(
        projects: Vec<Project>,
        query: &Query,
        site: &Site,
    ) -> Result<ProjectsAnswer, ApiError> {
        let enabled = query.boolean("enabled")?;
        let is_domain = query.boolean("is_domain")? == Some(true);
        let is_ours = query.last("domain_id").is_none_or(|id| id == DOMAIN_ID) && !is_domain;
        let is_wanted = |project: &Project| {
            is_ours
                && enabled.is_none_or(|enabled| enabled == project.enabled)
                && query.last("name").is_none_or(|name| name == project.name)
        };
        let projects = projects.into_iter().filter(is_wanted).map(|one| ProjectBody::new(one, site));
        let links = ListLinks::new(&site.api_url, "projects");
        Ok(ProjectsAnswer { projects: projects.collect(), links })
    }
}

/// Lists the projects that the caller may use
#[utoipa::path(
    get,
    path = "/auth/projects",
    operation_id = "listMyProjects",
    tag = "identity",
    params(IdentityFilters),
    responses(
        (status = 200, description = "All of them.", body = ProjectsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn mine(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    query: Result<Query, ApiError>,
) -> Result<Json<ProjectsAnswer>, IdentityError> {
    let projects = control.projects_of(&caller?.0).await?;
    Ok(Json(ProjectsAnswer::new(projects, &query?, &site)?))
}

/// Lists all projects, for the operator
#[utoipa::path(
    get,
    path = "/projects",
    operation_id = "listProjects",
    tag = "identity",
    params(IdentityFilters),
    responses(
        (status = 200, description = "All of them.", body = ProjectsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    query: Result<Query, ApiError>,
) -> Result<Json<ProjectsAnswer>, IdentityError> {
    let (LoggedIn(caller), query) = (caller?, query?);
    let projects = control.projects(&caller, query.last("name")).await?;
    Ok(Json(ProjectsAnswer::new(projects, &query, &site)?))
}

/// Shows a project
#[utoipa::path(
    get,
    path = "/projects/{project_id}",
    operation_id = "showProject",
    tag = "identity",
    responses(
        (status = 200, description = "The project.", body = ProjectAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<ProjectAnswer>, IdentityError> {
    let project = control.project(&caller?.0, &known_id(&path, "project_id")?).await?;
    Ok(Json(ProjectAnswer { project: ProjectBody::new(project, &site) }))
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
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    body: Result<Body, ApiError>,
) -> Result<(StatusCode, Json<ProjectAnswer>), IdentityError> {
    let (LoggedIn(caller), Body(body)) = (caller?, body?);
    let new = read_change(&body)?;
    let id = Object::wrapped(&body, "project")?.field("id").optional(|field| field.id())?;
    let project = control.create_project(&caller, &new, id).await.map_err(under("project"))?;
    Ok((StatusCode::CREATED, Json(ProjectAnswer { project: ProjectBody::new(project, &site) })))
}

/// Changes a project, for the operator
///
/// Disabling it ends its tokens.
#[utoipa::path(
    patch,
    path = "/projects/{project_id}",
    operation_id = "updateProject",
    tag = "identity",
    request_body = ProjectChangeRequest,
    responses(
        (status = 200, description = "The project as it is now.", body = ProjectAnswer),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn update(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
    body: Result<Body, ApiError>,
) -> Result<Json<ProjectAnswer>, IdentityError> {
    let (LoggedIn(caller), Body(body)) = (caller?, body?);
    let (id, change) = (known_id(&path, "project_id")?, read_change(&body)?);
    let project = control.update_project(&caller, &id, &change).await.map_err(under("project"))?;
    Ok(Json(ProjectAnswer { project: ProjectBody::new(project, &site) }))
}

/// Deletes a project that owns nothing, for the operator
#[utoipa::path(
    delete,
    path = "/projects/{project_id}",
    operation_id = "deleteProject",
    tag = "identity",
    responses(
        (status = 204, description = "It is gone."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn delete(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    control.delete_project(&caller?.0, &known_id(&path, "project_id")?).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn read_change(body: &Value) -> Reading<ProjectChange> {
    let project = Object::wrapped(body, "project")?;
    check_domain_id(project.field("domain_id"))?;
    check_domain_id(project.field("parent_id"))?;
    if project.field("is_domain").optional(|field| field.boolean())? == Some(true) {
        return Err(project.field("is_domain").refused("there is one domain only, default"));
    }
    Ok(ProjectChange {
        name: optional_text(project.field("name"))?,
        description: optional_text(project.field("description"))?,
        enabled: project.field("enabled").optional(|field| field.boolean())?,
    })
}
