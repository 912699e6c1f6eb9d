//! The roles that there are, and who has which. Roles cannot be made: `docs/identity.md` has the table of
//! what each allows.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::identity::{AssignmentFilter, RoleAssignment};
use model::identity::Role;
use model::ids::UserId;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::{ListLinks, SelfLink, absent, known_id};
use crate::http::Site;
use crate::http::error::{ApiError, IdentityError};
use crate::http::openapi::parameters::{AssignmentFilters, NameFilter};
use crate::http::openapi::refusals::{IdentityReadRefusals, IdentityWriteRefusals};
use crate::http::openapi::schema::RoleWord;
use crate::http::request::{LoggedIn, PathParams, Query};

/// One role.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoleBody {
    #[schema(value_type = RoleWord)]
    id: &'static str,
    #[schema(value_type = RoleWord)]
    name: &'static str,
    domain_id: Option<String>,
    description: &'static str,
    options: super::projects::Nothing,
    links: SelfLink,
}

/// `{"role": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RoleAnswer {
    role: RoleBody,
}

/// `{"roles": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RolesAnswer {
    roles: Vec<RoleBody>,
    links: ListLinks,
}

/// `{"role_assignments": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AssignmentsAnswer {
    #[schema(value_type = Vec<Object>)]
    role_assignments: Vec<Value>,
    links: ListLinks,
}

impl RoleBody {
    fn new(role: Role, site: &Site) -> RoleBody {
        RoleBody {
            id: role.word(),
            name: role.word(),
            domain_id: None,
            description: describe(role),
            options: super::projects::Nothing {},
            links: SelfLink::new(&site.api_url, format_args!("roles/{}", role.word())),
        }
    }
}

fn describe(role: Role) -> &'static str {
    match role {
        Role::Reader => "reads in its project",
        Role::Member => "reads, backs up, replicates and restores in its project",
        Role::Admin => "does everything in its project",
        Role::Service => "reads in every project and looks at the region",
        Role::Operator => "runs the region",
    }
}

/// Lists the roles that there are
#[utoipa::path(
    get,
    path = "/roles",
    operation_id = "listRoles",
    tag = "identity",
    params(NameFilter),
    responses(
        (status = 200, description = "All of them.", body = RolesAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn list(
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    query: Result<Query, ApiError>,
) -> Result<Json<RolesAnswer>, IdentityError> {
    caller?;
    let query = query?;
    let roles =
        Role::ALL.into_iter().filter(|role| query.last("name").is_none_or(|name| name == role.word()));
    let roles = roles.map(|role| RoleBody::new(role, &site)).collect();
    Ok(Json(RolesAnswer { roles, links: ListLinks::new(&site.api_url, "roles") }))
}

/// Shows a role
#[utoipa::path(
    get,
    path = "/roles/{role}",
    operation_id = "showRole",
    tag = "identity",
    responses(
        (status = 200, description = "The role.", body = RoleAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn show(
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<RoleAnswer>, IdentityError> {
    caller?;
    let role = Role::from_word(path.text("role")?).ok_or_else(absent)?;
    Ok(Json(RoleAnswer { role: RoleBody::new(role, &site) }))
}

/// Lists who has which role where
#[utoipa::path(
    get,
    path = "/role_assignments",
    operation_id = "listRoleAssignments",
    tag = "identity",
    params(AssignmentFilters),
    responses(
        (status = 200, description = "All of them.", body = AssignmentsAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn assignments(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    query: Result<Query, ApiError>,
) -> Result<Json<AssignmentsAnswer>, IdentityError> {
    let (LoggedIn(caller), query) = (caller?, query?);
    let filter = AssignmentFilter {
        user_id: query.parsed("user.id", "the id of a user")?,
        project_id: query.parsed("scope.project.id", "the id of a project")?,
        is_of_region: query.last("scope.system").is_some(),
        role: query.last("role.id").map(read_role).transpose()?,
    };
    let found = control.role_assignments(&caller, &filter).await?;
    let has_names = query.pairs().iter().any(|(name, value)| name == "include_names" && value != "0");
    let role_assignments = found.iter().map(|one| assignment_body(one, has_names, &site)).collect();
    Ok(Json(AssignmentsAnswer { role_assignments, links: ListLinks::new(&site.api_url, "role_assignments") }))
}

/// Lists the roles of a user in a project
#[utoipa::path(
    get,
    path = "/projects/{project_id}/users/{user_id}/roles",
    operation_id = "listRolesInProject",
    tag = "identity",
    responses(
        (status = 200, description = "All of them.", body = RolesAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn in_project(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<RolesAnswer>, IdentityError> {
    roles_of(&control, &site, caller?, place_in_project(&path)?).await
}

/// Lists the roles of a user in the region
#[utoipa::path(
    get,
    path = "/system/users/{user_id}/roles",
    operation_id = "listRolesInRegion",
    tag = "identity",
    responses(
        (status = 200, description = "All of them.", body = RolesAnswer),
        IdentityReadRefusals
    )
)]
pub(crate) async fn in_region(
    State(control): State<Control>,
    State(site): State<Arc<Site>>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<Json<RolesAnswer>, IdentityError> {
    roles_of(&control, &site, caller?, place_in_region(&path)?).await
}

/// Gives a user a role in a project
#[utoipa::path(
    put,
    path = "/projects/{project_id}/users/{user_id}/roles/{role}",
    operation_id = "assignRole",
    tag = "identity",
    responses(
        (status = 204, description = "The user has it."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn assign(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    let project = known_id(&path, "project_id")?;
    control.assign_role(&caller?.0, user(&path)?, Some(&project), role(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a user a role in the region itself
#[utoipa::path(
    put,
    path = "/system/users/{user_id}/roles/{role}",
    operation_id = "assignRegionRole",
    tag = "identity",
    responses(
        (status = 204, description = "The user has it."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn assign_in_region(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    control.assign_role(&caller?.0, user(&path)?, None, role(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a role in a project from a user
#[utoipa::path(
    delete,
    path = "/projects/{project_id}/users/{user_id}/roles/{role}",
    operation_id = "unassignRole",
    tag = "identity",
    responses(
        (status = 204, description = "The user does not have it any more."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn unassign(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    let project = known_id(&path, "project_id")?;
    control.unassign_role(&caller?.0, user(&path)?, Some(&project), role(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a role in the region itself from a user
#[utoipa::path(
    delete,
    path = "/system/users/{user_id}/roles/{role}",
    operation_id = "unassignRegionRole",
    tag = "identity",
    responses(
        (status = 204, description = "The user does not have it any more."),
        IdentityWriteRefusals
    )
)]
pub(crate) async fn unassign_in_region(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    control.unassign_role(&caller?.0, user(&path)?, None, role(&path)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells whether a user has a role in a project
#[utoipa::path(
    get,
    path = "/projects/{project_id}/users/{user_id}/roles/{role}",
    operation_id = "checkRole",
    tag = "identity",
    responses(
        (status = 204, description = "The user has it."),
        IdentityReadRefusals
    )
)]
pub(crate) async fn check(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    let filter = AssignmentFilter { role: Some(role(&path)?), ..place_in_project(&path)? };
    control.require_assignment(&caller?.0, &filter).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Tells whether a user has a role in the region itself
#[utoipa::path(
    get,
    path = "/system/users/{user_id}/roles/{role}",
    operation_id = "checkRegionRole",
    tag = "identity",
    responses(
        (status = 204, description = "The user has it."),
        IdentityReadRefusals
    )
)]
pub(crate) async fn check_in_region(
    State(control): State<Control>,
    caller: Result<LoggedIn, ApiError>,
    path: PathParams,
) -> Result<StatusCode, IdentityError> {
    let filter = AssignmentFilter { role: Some(role(&path)?), ..place_in_region(&path)? };
    control.require_assignment(&caller?.0, &filter).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn roles_of(
    control: &Control,
    site: &Site,
    caller: LoggedIn,
    filter: AssignmentFilter,
) -> Result<Json<RolesAnswer>, IdentityError> {
    let found = control.role_assignments(&caller.0, &filter).await?;
    let roles = found.iter().map(|one| RoleBody::new(one.role, site)).collect();
    Ok(Json(RolesAnswer { roles, links: ListLinks::new(&site.api_url, "roles") }))
}

fn place_in_project(path: &PathParams) -> Result<AssignmentFilter, ApiError> {
    let project_id = Some(known_id(path, "project_id")?);
    Ok(AssignmentFilter { user_id: Some(user(path)?), project_id, ..AssignmentFilter::default() })
}

fn place_in_region(path: &PathParams) -> Result<AssignmentFilter, ApiError> {
    Ok(AssignmentFilter { user_id: Some(user(path)?), is_of_region: true, ..AssignmentFilter::default() })
}

fn user(path: &PathParams) -> Result<UserId, ApiError> {
    known_id(path, "user_id")
}

fn role(path: &PathParams) -> Result<Role, ApiError> {
    read_role(path.text("role")?)
}

fn read_role(word: &str) -> Result<Role, ApiError> {
    let words = "must be reader, member, admin, service or operator";
    Role::from_word(word).ok_or_else(|| ApiError::malformed("role", words))
}

fn assignment_body(one: &RoleAssignment, has_names: bool, site: &Site) -> Value {
    let domain = json!({ "id": super::DOMAIN.id, "name": super::DOMAIN.name });
    let named = |id: &str, name: &str| match has_names {
        true => json!({ "id": id, "name": name, "domain": domain }),
        false => json!({ "id": id }),
    };
    let (user_id, word) = (one.user_id.to_string(), one.role.word());
    let (scope, place) = match &one.project {
        Some((id, name)) => (json!({ "project": named(id.as_str(), name) }), format!("projects/{id}")),
        None => (json!({ "system": { "all": true } }), "system".to_owned()),
    };
    let role = if has_names { json!({ "id": word, "name": word }) } else { json!({ "id": word }) };
    let link = SelfLink::new(&site.api_url, format_args!("{place}/users/{user_id}/roles/{word}"));
    json!({
        "role": role, "user": named(&user_id, &one.user_name), "scope": scope,
        "links": { "assignment": link.href },
    })
}
