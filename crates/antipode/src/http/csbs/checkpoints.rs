//! Checkpoints on the wire: ordering a backup of one server, running a policy, deleting
//! (`csbs-v1-api.md` §5.1, §5.4, §5.6).

use axum::Json;
use axum::extract::State;
use control::Control;
use control::checkpoints::{Begun, ProtectOrder, RunOrder};
use model::checkpoint::CheckpointItem;
use model::ids::ResourceId;
use model::policy::RESOURCE_TYPE;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::Nothing;
use super::policy_body::read_excluded_volumes;
use super::requests::{ProtectRequest, RunRequest};
use crate::http::error::{ApiError, under};
use crate::http::openapi::parameters::DeletionFilter;
use crate::http::openapi::refusals::WriteRefusals;
use crate::http::openapi::schema::{ForeignId, Id, Moment, ResourceType};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{Body, InProject, PathParams, Provider, Query, check_resource_type};

/// The answer of both calls that begin a checkpoint.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = super::examples::protect)]
pub(crate) struct CheckpointAnswer {
    checkpoint: CheckpointBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct CheckpointBody {
    #[schema(value_type = Id)]
    id: String,
    /// Always `protecting`: it has just begun.
    #[schema(pattern = "^protecting$")]
    status: &'static str,
    #[schema(value_type = Moment)]
    created_at: String,
    #[schema(value_type = ForeignId)]
    project_id: String,
    /// Always null.
    resource_graph: Option<String>,
    /// Text that holds JSON, or null for a backup made directly on a server.
    extra_info: Option<&'static str>,
    protection_plan: ProtectionPlan,
}

#[derive(Debug, Serialize, ToSchema)]
struct ProtectionPlan {
    /// The policy; `fake_` and a UUID for a backup made directly on a server.
    id: String,
    /// The name of the policy, or a sentence for a backup made directly on a server.
    name: String,
    /// The servers that are backed up.
    resources: Vec<PlanResource>,
}

#[derive(Debug, Serialize, ToSchema)]
struct PlanResource {
    #[schema(value_type = ForeignId)]
    id: String,
    #[serde(rename = "type")]
    #[schema(value_type = ResourceType)]
    resource_type: &'static str,
    /// The server's name.
    name: String,
    /// Here, and only here, a text that holds JSON.
    extra_info: &'static str,
}

impl From<Begun> for CheckpointAnswer {
    fn from(begun: Begun) -> CheckpointAnswer {
        let Begun { checkpoint, items } = begun;
        let by_policy = checkpoint.policy_id.is_some().then_some(r#"{"created_by": "manual"}"#);
        CheckpointAnswer {
            checkpoint: CheckpointBody {
                id: checkpoint.id.to_string(),
                status: "protecting",
                created_at: checkpoint.created_at.wire(),
                project_id: checkpoint.project_id.to_string(),
                resource_graph: None,
                extra_info: by_policy,
                protection_plan: ProtectionPlan {
                    id: checkpoint.plan_id,
                    name: checkpoint.plan_name,
                    resources: items.into_iter().map(PlanResource::from).collect(),
                },
            },
        }
    }
}

impl From<CheckpointItem> for PlanResource {
    fn from(item: CheckpointItem) -> PlanResource {
        PlanResource {
            id: item.resource_id.to_string(),
            resource_type: RESOURCE_TYPE,
            name: item.resource_name,
            extra_info: "{}",
        }
    }
}

/// 0 asks for nothing, 2 for whatever can be had: both get what there is, and our own surface says what that
/// is. 1 takes nothing less than an agent in the guest, and there is none.
fn check_app_consistency(field: &Field<'_>) -> Reading<()> {
    match field.integer()? {
        0 | 2 => Ok(()),
        1 => {
            Err(field
                .refused("1 needs an agent in the server, which this region has not; 0 and 2 do without"))
        }
        _ => Err(field.refused("must be 0, 1 or 2")),
    }
}

/// The order in the body of `resources/{resource_id}/action`.
fn read_protect(body: &Value, resource_id: ResourceId) -> Reading<ProtectOrder> {
    let protect = Object::wrapped(body, "protect")?;
    let resource_type = protect.field("resource_type");
    if resource_type.is_given() {
        check_resource_type(&resource_type, resource_id.as_str())?;
    }
    protect.field("app_consistency").optional(|field| check_app_consistency(&field))?;
    let excluded_volumes = match protect.field("extra_info").optional(Field::object)? {
        Some(extra_info) => read_excluded_volumes(&extra_info)?,
        None => Vec::new(),
    };
    Ok(ProtectOrder {
        resource_id,
        name: protect.field("backup_name").optional(|field| field.name())?,
        description: protect.field("description").optional(|field| field.description())?,
        incremental: protect.field("incremental").optional(|field| field.boolean())?.unwrap_or(true),
        tags: protect.field("tags").optional(Field::tags)?.unwrap_or_default(),
        excluded_volumes,
        changes: None,
    })
}

/// The order in the body of `POST /providers/{provider_id}/checkpoints`. `parameters` may be missing:
/// inherited clients send none.
fn read_run(body: &Value) -> Reading<RunOrder> {
    let checkpoint = Object::wrapped(body, "checkpoint")?;
    let parameters = checkpoint.field("parameters").optional(Field::object)?;
    let parameter = |name: &str| parameters.as_ref().map(|parameters| parameters.field(name));
    let auto_trigger = match parameter("auto_trigger") {
        Some(field) => field.optional(|field| field.boolean())?,
        None => None,
    };
    let resources = match parameter("resources") {
        Some(field) => field.optional(Field::list)?,
        None => None,
    };
    let resources = resources.map(|ids| ids.iter().map(Field::id).collect::<Result<_, _>>()).transpose()?;
    Ok(RunOrder {
        policy_id: checkpoint.field("plan_id").id()?,
        auto_trigger: auto_trigger.unwrap_or(false),
        resources,
    })
}

/// Backs up one server now
///
/// The answer comes at once; the backup goes on. Its item can be listed by the id of the checkpoint.
#[utoipa::path(
    post,
    path = "/providers/{provider_id}/resources/{resource_id}/action",
    operation_id = "protectServer",
    tag = "backups",
    request_body = ProtectRequest,
    responses(
        (status = 200, description = "The checkpoint that was begun.", body = CheckpointAnswer, links(
            ("items" = (operation_id = "listItems", parameters(("checkpoint_id" = "$response.body#/checkpoint/id")))),
            ("count" = (operation_id = "countItems", parameters(("checkpoint_id" = "$response.body#/checkpoint/id")))),
            ("delete" = (operation_id = "deleteItems", parameters(("checkpoint_id" = "$response.body#/checkpoint/id"))))
        )),
        WriteRefusals
    )
)]
pub(crate) async fn protect(
    State(control): State<Control>,
    InProject(caller): InProject,
    _: Provider,
    path: PathParams,
    Body(body): Body,
) -> Result<Json<CheckpointAnswer>, ApiError> {
    let order = read_protect(&body, path.id("resource_id")?)?;
    let begun = control.protect(&caller, order).await.map_err(under("protect"))?;
    Ok(Json(begun.into()))
}

/// Runs a policy now
///
/// Backs up the servers of the policy, or those of them that are named. A policy whose schedule is switched off can be run.
#[utoipa::path(
    post,
    path = "/providers/{provider_id}/checkpoints",
    operation_id = "runPolicy",
    tag = "backups",
    request_body = RunRequest,
    responses(
        (status = 200, description = "The checkpoint that was begun.", body = CheckpointAnswer, links(
            ("items" = (operation_id = "listItems", parameters(("checkpoint_id" = "$response.body#/checkpoint/id")))),
            ("count" = (operation_id = "countItems", parameters(("checkpoint_id" = "$response.body#/checkpoint/id")))),
            ("delete" = (operation_id = "deleteItems", parameters(("checkpoint_id" = "$response.body#/checkpoint/id"))))
        )),
        WriteRefusals
    )
)]
pub(crate) async fn run_policy(
    State(control): State<Control>,
    InProject(caller): InProject,
    _: Provider,
    Body(body): Body,
) -> Result<Json<CheckpointAnswer>, ApiError> {
    let order = read_run(&body)?;
    let begun = control.run_policy(&caller, order).await.map_err(under("checkpoint.parameters"))?;
    Ok(Json(begun.into()))
}

/// Deletes the backups of a checkpoint, or some of them
///
/// They are not listed any more, but can be had back while they are in quarantine.
#[utoipa::path(
    delete,
    path = "/providers/{provider_id}/checkpoints/{checkpoint_id}",
    operation_id = "deleteItems",
    tag = "backups",
    params(DeletionFilter),
    responses(
        (status = 200, description = "They leave the lists.", body = Nothing),
        WriteRefusals
    )
)]
pub(crate) async fn delete(
    State(control): State<Control>,
    InProject(caller): InProject,
    _: Provider,
    path: PathParams,
    query: Query,
) -> Result<Json<Nothing>, ApiError> {
    let items = query.ids("checkpoint_items")?;
    control.delete_items(&caller, path.id("checkpoint_id")?, items.as_deref()).await?;
    Ok(Json(Nothing {}))
}
