//! What the bodies of CSBS requests look like, for the OpenAPI document. The readers beside the handlers
//! decide; a body that these types allow and a reader refuses is a mistake here (schemathesis looks for it).
#![expect(dead_code, reason = "bodies are read by hand; these types describe them in the document")]

use serde_json::Value;
use utoipa::ToSchema;

use crate::http::openapi::schema::{
    ConsistencyGiven, DescriptionText, FlagGiven, ForeignId, Id, LimitGiven, NameOrEmpty, NameText,
    NoAgentGiven, PeriodCountGiven, ProviderId, RegionText, ResourceType, TagKey, TagValue, choices,
};

/// A tag of a new thing.
#[derive(ToSchema)]
pub(crate) struct TagRequest {
    key: TagKey,
    /// Empty when left out.
    value: Option<TagValue>,
}

/// The body of `addBackupTag` and `addPolicyTag`.
#[derive(ToSchema)]
pub(crate) struct TagGivenRequest {
    tag: TagGiven,
}

#[derive(ToSchema)]
struct TagGiven {
    key: TagKey,
    value: TagValue,
}

/// The body of `changeBackupTags` and `changePolicyTags`.
#[derive(ToSchema)]
pub(crate) struct TagBatchRequest {
    action: TagActionWord,
    #[schema(min_items = 1, max_items = 10)]
    tags: Vec<TagGiven>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum TagActionWord {
    Create,
    Delete,
}

/// The body of `searchTaggedBackups` and `searchTaggedPolicies`. What several keys ask for is asked together.
#[derive(ToSchema)]
pub(crate) struct TagSearchRequest {
    action: TagSearchWord,
    /// All of these.
    #[schema(min_items = 1, max_items = 10)]
    tags: Option<Vec<TagMatchRequest>>,
    /// At least one of these.
    #[schema(min_items = 1, max_items = 10)]
    tags_any: Option<Vec<TagMatchRequest>>,
    /// Not all of these.
    #[schema(min_items = 1, max_items = 10)]
    not_tags: Option<Vec<TagMatchRequest>>,
    /// None of these.
    #[schema(min_items = 1, max_items = 10)]
    not_tags_any: Option<Vec<TagMatchRequest>>,
    /// Part of the name, or the empty name.
    #[schema(min_items = 1, max_items = 1)]
    matches: Option<Vec<NameMatchRequest>>,
    /// A number as text, 1000 when left out. Not with the action `count`.
    #[schema(pattern = "^([1-9]\\d{0,2}|1000)$")]
    limit: Option<String>,
    /// A number as text. Not with the action `count`.
    #[schema(pattern = "^\\d{1,9}$")]
    offset: Option<String>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum TagSearchWord {
    Filter,
    Count,
}

/// A key with some values, one of which is enough; none mean any.
#[derive(ToSchema)]
struct TagMatchRequest {
    #[schema(max_length = 127, pattern = r"^[^\u0000\s][^\u0000]*$")]
    key: String,
    #[schema(max_items = 10)]
    values: Vec<String>,
}

#[derive(ToSchema)]
struct NameMatchRequest {
    key: NameMatchKey,
    #[schema(max_length = 255, pattern = r"^[^\u0000]*$")]
    value: String,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum NameMatchKey {
    ResourceName,
}

/// `extra_info` of a server that is to be backed up.
#[derive(ToSchema)]
struct ExtraInfoRequest {
    /// Volumes that the backup leaves out.
    exclude_volumes: Option<Vec<ForeignId>>,
}

/// The body of `createPolicy`.
#[derive(ToSchema)]
#[schema(example = policy_example)]
pub(crate) struct PolicyRequest {
    policy: NewPolicyBody,
}

#[derive(ToSchema)]
struct NewPolicyBody {
    /// Unique in the project.
    name: NameText,
    description: Option<DescriptionText>,
    provider_id: ProviderId,
    parameters: ParametersRequest,
    /// The servers, each in one policy at most.
    #[schema(max_items = 10_000)]
    resources: Vec<ResourceRequest>,
    /// When to back up and, if wanted, when to replicate: at most one of each.
    #[schema(min_items = 1, max_items = 2)]
    scheduled_operations: Vec<OperationRequest>,
    /// Copied onto the backups that the policy makes. Keys are unique.
    #[schema(min_items = 1, max_items = 10)]
    tags: Option<Vec<TagRequest>>,
}

#[derive(ToSchema)]
struct ParametersRequest {
    common: Option<CommonRequest>,
}

/// Kept and shown again, other keys included.
#[derive(ToSchema)]
struct CommonRequest {
    /// 0, 1 or 2. Kept, without effect.
    app_consistency: Option<ConsistencyGiven>,
}

#[derive(ToSchema)]
struct ResourceRequest {
    /// The server.
    id: ForeignId,
    #[schema(rename = "type")]
    resource_type: ResourceType,
    /// Kept and shown again.
    #[schema(max_length = 255, pattern = r"^[^\u0000]*$")]
    name: String,
    extra_info: Option<ExtraInfoRequest>,
}

choices! {
    /// A scheduled operation of a new policy.
    OperationRequest = BackupOperationRequest | ReplicationOperationRequest;
    /// The new definition of an operation, of its own type.
    pub(crate) DefinitionRequest = RetentionRequest | ReplicationDefinitionRequest;
}

/// Makes backups.
#[derive(ToSchema)]
struct BackupOperationRequest {
    name: Option<NameOrEmpty>,
    description: Option<DescriptionText>,
    /// Whether the schedule runs; it does when left out. Runs by hand are possible either way.
    enabled: Option<bool>,
    operation_type: BackupWord,
    operation_definition: RetentionRequest,
    trigger: TriggerRequest,
}

/// Replicates what the policy made and what is not replicated yet.
#[derive(ToSchema)]
struct ReplicationOperationRequest {
    name: Option<NameOrEmpty>,
    description: Option<DescriptionText>,
    /// Whether the schedule runs; it does when left out. Runs by hand are possible either way.
    enabled: Option<bool>,
    operation_type: ReplicationWord,
    operation_definition: ReplicationDefinitionRequest,
    trigger: TriggerRequest,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum BackupWord {
    Backup,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum ReplicationWord {
    Replication,
}

/// How long backups, or replicas, are kept. What one of several rules keeps is kept. Without any, for ever.
#[derive(ToSchema)]
struct RetentionRequest {
    /// How many of each server.
    max_backups: Option<LimitGiven>,
    /// For how many days.
    retention_duration_days: Option<LimitGiven>,
    /// For ever, whatever the other rules say.
    permanent: Option<FlagGiven>,
    /// The newest of each of so many days that have backups.
    day_backups: Option<PeriodCountGiven>,
    /// The newest of each of so many weeks that have backups.
    week_backups: Option<PeriodCountGiven>,
    /// The newest of each of so many months that have backups.
    month_backups: Option<PeriodCountGiven>,
    /// The newest of each of so many years that have backups.
    year_backups: Option<PeriodCountGiven>,
    /// Where days and weeks end. Mandatory with one of the four above.
    #[schema(pattern = r"^(UTC[+-](0\d|1[0-3]):[0-5]\d|)$", example = "UTC+08:00")]
    timezone: Option<String>,
}

/// Where replicas go, and how long they are kept there.
#[derive(ToSchema)]
struct ReplicationDefinitionRequest {
    #[serde(flatten)]
    retention: RetentionRequest,
    /// One of the destinations that `showCapabilities` names.
    destination_region: RegionText,
    /// A project there that has granted this one to bring replicas.
    destination_project_id: ForeignId,
    /// More connections at once. Changes the speed, never what is copied.
    enable_acceleration: Option<FlagGiven>,
}

#[derive(ToSchema)]
struct TriggerRequest {
    properties: TriggerPropertiesRequest,
}

#[derive(ToSchema)]
struct TriggerPropertiesRequest {
    /// An iCalendar text with RRULE lines of `FREQ` (`DAILY`, `WEEKLY`), `INTERVAL`, `BYDAY`, `BYHOUR` and `BYMINUTE`, in UTC. At most
    /// 24 runs a day, an hour apart at least.
    #[schema(
        max_length = 10_240,
        pattern = r"^BEGIN:VCALENDAR\r?\nBEGIN:VEVENT\r?\nRRULE:FREQ=(DAILY(;INTERVAL=([1-9]|[12]\d|30))?|WEEKLY;BYDAY=(MO|TU|WE|TH|FR|SA|SU));BYHOUR=(1?\d|2[0-3])(;BYMINUTE=[1-5]?\d)?\r?\nEND:VEVENT\r?\nEND:VCALENDAR(\r?\n)?$"
    )]
    pattern: String,
}

/// The body of `updatePolicy`. What is left out stays as it is.
#[derive(ToSchema)]
pub(crate) struct PolicyChangeRequest {
    policy: PolicyChangeBody,
}

#[derive(ToSchema)]
struct PolicyChangeBody {
    name: Option<NameText>,
    description: Option<DescriptionText>,
    parameters: Option<ParametersRequest>,
    /// The whole new set.
    #[schema(max_items = 10_000)]
    resources: Option<Vec<ResourceRequest>>,
    /// Those that change or come new.
    scheduled_operations: Option<Vec<OperationChangeRequest>>,
}

#[derive(ToSchema)]
struct OperationChangeRequest {
    /// Which one changes.
    id: Id,
    name: Option<NameOrEmpty>,
    description: Option<DescriptionText>,
    /// Whether the schedule runs.
    enabled: Option<bool>,
    /// Replaces the whole definition. An `operation_type` beside it must be the one that the operation has.
    operation_definition: Option<DefinitionRequest>,
    trigger: Option<TriggerRequest>,
}

/// The body of `protectServer`.
#[derive(ToSchema)]
#[schema(example = json!({ "protect": { "backup_name": "before-the-upgrade" } }))]
pub(crate) struct ProtectRequest {
    protect: ProtectBody,
}

#[derive(ToSchema)]
struct ProtectBody {
    /// `manualbk_` and four hex digits when left out.
    backup_name: Option<NameText>,
    description: Option<DescriptionText>,
    /// False reads the whole disk again. The first backup of a server is always full.
    #[schema(default = true)]
    incremental: Option<bool>,
    resource_type: Option<ResourceType>,
    #[schema(min_items = 1, max_items = 10)]
    tags: Option<Vec<TagRequest>>,
    extra_info: Option<ExtraInfoRequest>,
    /// 0 or 2: backups are taken without an agent in the server. 1, which insists on one, is refused.
    app_consistency: Option<NoAgentGiven>,
}

/// The body of `runPolicy`.
#[derive(ToSchema)]
pub(crate) struct RunRequest {
    checkpoint: RunBody,
}

#[derive(ToSchema)]
struct RunBody {
    /// The policy.
    plan_id: Id,
    parameters: Option<RunParameters>,
}

#[derive(ToSchema)]
struct RunParameters {
    /// Recorded; only the region's own schedule counts as a schedule.
    #[schema(default = false)]
    auto_trigger: Option<bool>,
    /// These servers of the policy instead of all.
    resources: Option<Vec<ForeignId>>,
}

/// The body of `replicatePolicy`.
#[derive(ToSchema)]
#[schema(example = json!({ "replication": {
    "policy_id": "2b1f8c3e-5f0d-4f0e-9a53-6f5f0a7f1d01",
    "auto_trigger": false,
    "destination_region": "eu-b",
    "destination_project_id": "99887766554433221100ffeeddccbbaa",
    "enable_acceleration": false,
} }))]
pub(crate) struct ReplicationRequest {
    replication: ReplicationRequestBody,
}

#[derive(ToSchema)]
struct ReplicationRequestBody {
    /// The policy whose backups are to be replicated.
    policy_id: Id,
    /// Recorded in the records; does not change which backups are taken.
    #[schema(default = false)]
    auto_trigger: Option<bool>,
    /// One of the destinations that `showCapabilities` names.
    destination_region: RegionText,
    /// A project there that has granted this one to bring replicas.
    destination_project_id: ForeignId,
    /// More connections at once. Changes the speed, never what is copied.
    #[schema(default = false)]
    enable_acceleration: Option<bool>,
}

/// The body of `replicateItem`.
#[derive(ToSchema)]
pub(crate) struct ItemReplicationRequest {
    replication: ItemReplicationRequestBody,
}

#[derive(ToSchema)]
struct ItemReplicationRequestBody {
    /// The name of the replica; that of the backup when left out.
    name: Option<NameText>,
    description: Option<DescriptionText>,
    /// One of the destinations that `showCapabilities` names.
    destination_region: RegionText,
    /// A project there that has granted this one to bring replicas.
    destination_project_id: ForeignId,
    /// More connections at once. Changes the speed, never what is copied.
    #[schema(default = false)]
    enable_acceleration: Option<bool>,
}

/// The body of `restoreItem`.
#[derive(ToSchema)]
pub(crate) struct RestoreRequest {
    restore: RestoreRequestBody,
}

#[derive(ToSchema)]
struct RestoreRequestBody {
    checkpoint_id: Id,
    provider_id: ProviderId,
    parameters: RestoreParametersRequest,
    /// Kept and shown again.
    #[schema(max_length = 255, pattern = r"^[^\u0000]*$")]
    restore_target: Option<String>,
}

#[derive(ToSchema)]
struct RestoreParametersRequest {
    /// The backup to restore.
    checkpoint_item_id: Id,
    /// Kept and shown again; servers are started by whoever runs them.
    power_on: bool,
    targets: RestoreTargetsRequest,
}

#[derive(ToSchema)]
struct RestoreTargetsRequest {
    /// The server to restore to, the same or another one.
    server_id: ForeignId,
    resource_type: Option<ResourceType>,
    /// Every volume of the backup, each onto a volume of the server.
    volumes: Vec<RestoreVolumeRequest>,
}

#[derive(ToSchema)]
struct RestoreVolumeRequest {
    /// The id of one of the backup's `volume_backups`.
    backup_id: Id,
    /// The volume that is overwritten.
    volume_id: ForeignId,
}

/// The body of `checkResources`: one question or the other.
#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum ChecksRequest {
    CheckProtectable(Vec<CheckedResource>),
    CheckRestorable(Vec<CheckedRestore>),
}

#[derive(ToSchema)]
pub(crate) struct CheckedResource {
    resource_id: ForeignId,
    #[schema(max_length = 255, pattern = r"^[^\u0000]*$", examples("OS::Nova::Server"))]
    resource_type: String,
}

#[derive(ToSchema)]
pub(crate) struct CheckedRestore {
    /// The backup.
    checkpoint_item_id: Id,
    target: CheckedTarget,
}

#[derive(ToSchema)]
struct CheckedTarget {
    /// The server that is to receive it.
    resource_id: ForeignId,
    #[schema(max_length = 255, pattern = r"^[^\u0000]*$", examples("OS::Nova::Server"))]
    resource_type: String,
    /// Every volume of the backup, each onto a volume of the server.
    volumes: Vec<RestoreVolumeRequest>,
}

/// The policy of the canonical answer, as one would ask for it.
fn policy_example() -> Value {
    let mut example = super::examples::policy();
    let policy = example["policy"].as_object_mut().expect("the example is a policy");
    for key in ["id", "status", "project_id", "created_at", "tags"] {
        policy.remove(key);
    }
    let operations = policy["scheduled_operations"].as_array_mut().expect("it has scheduled operations");
    for operation in operations {
        let pattern = operation["trigger"]["properties"]["pattern"].take();
        operation["trigger"] = serde_json::json!({ "properties": { "pattern": pattern } });
        for key in ["id", "trigger_id"] {
            operation.as_object_mut().expect("operations are objects").remove(key);
        }
    }
    example
}
