//! Parameters in the OpenAPI document: those of paths, known by name, so that no handler repeats them, and
//! the queries of lists. They describe; `http/request.rs` and `http/page.rs` read.
#![expect(dead_code, reason = "queries are read by hand; these types describe them in the document")]

use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::{RefOr, Required, Schema};
use utoipa::{IntoParams, PartialSchema};

use super::schema::{
    ForeignId, Id, ImageTypeWord, ItemStatus, MomentGiven, OperationStatusWord, OperationTypeWord, PageLimit,
    ProjectRoleWord, ProviderId, RecordStatus, RegionRoleWord, RegionText, RoleWord, TagKey, TextGiven,
    VaultIdText,
};

/// Every parameter that a path may have: its schema and what it is.
fn known(name: &str, path: &str) -> Option<(RefOr<Schema>, &'static str)> {
    Some(match name {
        "project_id" => (ForeignId::schema(), "The project that the token is scoped to."),
        "policy_id" => (Id::schema(), "The policy."),
        "provider_id" => (ProviderId::schema(), "The one provider there is."),
        "resource_id" => (ForeignId::schema(), "The server."),
        "server_id" => (ForeignId::schema(), "The server."),
        "checkpoint_id" => (Id::schema(), "The checkpoint: one run of a policy or one manual backup."),
        "checkpoint_item_id" => (
            Id::schema(),
            "The backup of one server. The id of a checkpoint that holds one backup works as well where a backup is \
             read, because known clients send it.",
        ),
        "replication_record_id" => (Id::schema(), "The replication record."),
        "restore_id" => (Id::schema(), "The restore."),
        "operation_log_id" => (Id::schema(), "The operation log."),
        "grant_id" => (Id::schema(), "The grant."),
        "vault_id" => (VaultIdText::schema(), "The vault."),
        "region_name" => (RegionText::schema(), "The region."),
        "key" => (TagKey::schema(), "The key of the tag."),
        "user_id" => (Id::schema(), "The user."),
        "role" if path.contains("/system/") => {
            (RegionRoleWord::schema(), "A role that is held in the region.")
        }
        "role" if path.contains("/projects/") => (ProjectRoleWord::schema(), "A role in the project."),
        "role" => (RoleWord::schema(), "The role."),
        "domain_id" => (ForeignId::schema(), "The domain; there is `default` only."),
        "service_id" => (ForeignId::schema(), "The service."),
        "endpoint_id" => (ForeignId::schema(), "The endpoint."),
        "application_credential_id" => (Id::schema(), "The application credential."),
        "access_key_id" => (ForeignId::schema(), "The access key."),
        _ => return None,
    })
}

/// The parameters of a path, in their order.
pub(super) fn of_path(path: &str) -> Vec<RefOr<Parameter>> {
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameter = |name: &str| {
        let (schema, about) = known(name, path)
            .unwrap_or_else(|| panic!("say in openapi/parameters.rs what {{{name}}} of {path} is"));
        ParameterBuilder::new()
            .name(name)
            .parameter_in(ParameterIn::Path)
            .required(Required::True)
            .description(Some(about))
            .schema(Some(schema))
            .build()
            .into()
    };
    names.map(parameter).collect()
}

/// Which page of a list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// How many rows at most. More than 1000 means 1000.
    #[param(required = false, value_type = PageLimit)]
    limit: u64,
    /// How many rows to leave out, counted from the beginning or from the marker.
    #[param(required = false, maximum = 4_294_967_295_u64, default = 0)]
    offset: u64,
    /// The id of the last row of the page before.
    #[param(required = false)]
    marker: Id,
}

/// At which moment to look.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PreviewMoment {
    /// Now, when left out.
    #[param(required = false)]
    at: MomentGiven,
}

/// To which region.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DestinationFilter {
    /// This region only; every one when left out.
    #[param(required = false)]
    destination_region: RegionText,
}

/// Whose servers to look at.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct CoverageFilter {
    /// Those of every project, for those who watch the region, instead of those of the token's project.
    #[param(required = false)]
    all_tenants: bool,
}

/// Where a replication that is only thought of would go.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PlanDestination {
    /// The region.
    destination_region: RegionText,
    /// The project there.
    destination_project_id: ForeignId,
}

/// Which policies to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PolicyFilters {
    /// Exactly this name.
    #[param(required = false)]
    name: TextGiven,
    /// Keys with their directions, the first deciding first, such as `created_at:asc,id`. Keys: `created_at`, `updated_at`, `name`, `id`, `status`. `desc` where no
    /// direction is given, `created_at:desc` when the whole is left out.
    #[param(
        required = false,
        max_length = 255,
        pattern = "^(created_at|updated_at|name|id|status)(:(asc|desc))?(,(created_at|updated_at|name|id|status)(:(asc|desc))?)*$"
    )]
    sort: String,
}

/// Which backups to list or to count. A parameter that is repeated asks for any of its values; empty ones ask
/// for nothing.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ItemFilters {
    /// In one of these states.
    #[param(required = false)]
    status: Vec<ItemStatus>,
    /// Of one of these servers.
    #[param(required = false)]
    resource_id: Vec<ForeignId>,
    /// Made under one of these policies.
    #[param(required = false)]
    policy_id: Vec<Id>,
    /// Made in one of these runs.
    #[param(required = false)]
    checkpoint_id: Vec<Id>,
    /// Names that hold one of these texts.
    #[param(required = false)]
    name: Vec<TextGiven>,
    /// Of servers whose names hold one of these texts.
    #[param(required = false)]
    resource_name: Vec<TextGiven>,
    /// Of this type; only servers are ever backed up.
    #[param(required = false)]
    resource_type: Vec<TextGiven>,
    /// Made here, or brought from another region.
    #[param(required = false)]
    image_type: Vec<ImageTypeWord>,
    /// Of every project of the region. Means something to its operator only.
    #[param(required = false)]
    all_tenants: bool,
    /// Not before this moment.
    #[param(required = false)]
    start_time: MomentGiven,
    /// Not after this moment.
    #[param(required = false)]
    end_time: MomentGiven,
}

/// In which order to list backups.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ItemOrder {
    /// Keys with their directions, the first deciding first, such as `created_at:asc,id`. Keys: `created_at`, `updated_at`, `name`, `status`, `protected_at`, `id`. `desc` where no
    /// direction is given, `created_at:desc` when the whole is left out.
    #[param(
        required = false,
        max_length = 255,
        pattern = "^(created_at|updated_at|name|status|protected_at|id)(:(asc|desc))?(,(created_at|updated_at|name|status|protected_at|id)(:(asc|desc))?)*$"
    )]
    sort: String,
}

/// In which order to list restores.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RestoreOrder {
    /// Keys with their directions, the first deciding first, such as `created_at:asc,id`. Keys: `created_at`, `id`. `desc` where no
    /// direction is given, `created_at:desc` when the whole is left out.
    #[param(
        required = false,
        max_length = 255,
        pattern = "^(created_at|id)(:(asc|desc))?(,(created_at|id)(:(asc|desc))?)*$"
    )]
    sort: String,
}

/// Which replication records to list. A parameter that is repeated asks for any of its values.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct RecordFilters {
    /// Exactly these.
    #[param(required = false)]
    id: Vec<Id>,
    /// In one of these states.
    #[param(required = false)]
    status: Vec<RecordStatus>,
    /// Of one of these backups.
    #[param(required = false)]
    source_checkpoint_item_id: Vec<Id>,
    /// Of the backups of one of these runs.
    #[param(required = false)]
    source_checkpoint_id: Vec<Id>,
    /// Of the backups of one of these policies. `plan_id` means the same.
    #[param(required = false)]
    policy_id: Vec<Id>,
    /// To one of these regions.
    #[param(required = false)]
    destination_region: Vec<RegionText>,
    /// To one of these projects.
    #[param(required = false)]
    destination_project_id: Vec<ForeignId>,
    /// Ordered not before this moment.
    #[param(required = false)]
    start_time: MomentGiven,
    /// Ordered not after this moment.
    #[param(required = false)]
    end_time: MomentGiven,
    /// Keys with their directions, the first deciding first, such as `created_at:asc,id`. Keys: `created_at`, `updated_at`, `status`, `id`. `desc` where no
    /// direction is given, `created_at:desc` when the whole is left out.
    #[param(
        required = false,
        max_length = 255,
        pattern = "^(created_at|updated_at|status|id)(:(asc|desc))?(,(created_at|updated_at|status|id)(:(asc|desc))?)*$"
    )]
    sort: String,
}

/// Which operation logs to list. A parameter that is repeated asks for any of its values.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct OperationLogFilters {
    /// About the backups of one of these runs.
    #[param(required = false)]
    checkpoint_id: Vec<Id>,
    /// Caused by one of these policies, or about its backups. `policy_id` means the same.
    #[param(required = false)]
    plan_id: Vec<Id>,
    /// Of one of these restores.
    #[param(required = false)]
    restore_id: Vec<Id>,
    /// Of one of these statuses.
    #[param(required = false)]
    status: Vec<OperationStatusWord>,
    /// Of one of these types.
    #[param(required = false)]
    operation_type: Vec<OperationTypeWord>,
    /// Keys with their directions, the first deciding first, such as `started_at:asc,id`. Keys: `started_at`, `created_at` (the same), `id`. `desc`
    /// where no direction is given, `started_at:desc` when the whole is left out.
    #[param(
        required = false,
        max_length = 255,
        pattern = "^(started_at|created_at|id)(:(asc|desc))?(,(started_at|created_at|id)(:(asc|desc))?)*$"
    )]
    sort: String,
}

/// Which backups of a checkpoint to delete.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeletionFilter {
    /// These backups only, repeated or parted by commas; all of the checkpoint when left out.
    #[param(required = false)]
    checkpoint_items: Vec<Id>,
}

/// Which servers to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ServerFilters {
    /// All of the region, with their paths, instead of those of the token's project. For the operator.
    #[param(required = false)]
    all: bool,
    /// Keys with their directions, the first deciding first, such as `created_at:asc,id`. Keys: `created_at`, `name`, `id`. `desc` where no
    /// direction is given, `created_at:desc` when the whole is left out.
    #[param(
        required = false,
        max_length = 255,
        pattern = "^(created_at|name|id)(:(asc|desc))?(,(created_at|name|id)(:(asc|desc))?)*$"
    )]
    sort: String,
}

/// Which page of servers. With `all` there is only one.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ServerPage {
    /// How many rows at most. More than 1000 means 1000.
    #[param(required = false, value_type = PageLimit)]
    limit: u64,
    /// How many rows to leave out, counted from the beginning or from the marker.
    #[param(required = false, maximum = 4_294_967_295_u64, default = 0)]
    offset: u64,
    /// The id of the last server of the page before.
    #[param(required = false)]
    marker: ForeignId,
}

/// Where a list without other parameters goes on.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct MarkerQuery {
    /// The id of the last row of the page before.
    #[param(required = false)]
    marker: Id,
}

/// Which project or user to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct IdentityFilters {
    /// Exactly this name.
    #[param(required = false)]
    name: TextGiven,
    /// Those that may be used, or those that may not.
    #[param(required = false)]
    enabled: bool,
    /// Of this domain; there is `default` only.
    #[param(required = false)]
    domain_id: TextGiven,
}

/// Which of a list by its name.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct NameFilter {
    /// Exactly this name.
    #[param(required = false)]
    name: TextGiven,
}

/// Which services to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ServiceFilters {
    /// Exactly this name.
    #[param(required = false)]
    name: TextGiven,
    /// Exactly this type.
    #[param(required = false, rename = "type")]
    service_type: TextGiven,
}

/// Which endpoints to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndpointFilters {
    /// Of this service.
    #[param(required = false)]
    service_id: TextGiven,
    /// Of this interface; there is `public` only.
    #[param(required = false)]
    interface: TextGiven,
    /// In this region.
    #[param(required = false)]
    region_id: TextGiven,
}

/// Which role assignments to list.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct AssignmentFilters {
    /// Of this user; one's own needs no role.
    #[param(required = false, rename = "user.id")]
    user_id: Id,
    /// In this project.
    #[param(required = false, rename = "scope.project.id")]
    scope_project_id: ForeignId,
    /// In the region itself, whatever the value.
    #[param(required = false, rename = "scope.system")]
    scope_system: TextGiven,
    /// Of this role.
    #[param(required = false, rename = "role.id")]
    role_id: RoleWord,
    /// With names beside the ids; `0` for without.
    #[param(required = false)]
    include_names: TextGiven,
}

/// The token that an operation is about.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct SubjectToken {
    /// The token to look at or to end.
    #[param(rename = "X-Subject-Token", pattern = "^[0-9a-f]{64}$")]
    x_subject_token: String,
}
