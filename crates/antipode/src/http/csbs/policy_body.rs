//! A policy as JSON, in both directions (`csbs-v1-api.md` §5.3). The answers put the backup operation
//! first and use numbers and booleans, the one mixture that every known client decodes.

use control::policies::{NewOperation, NewPolicy, OperationChange, PolicyChange};
use model::ids::VolumeId;
use model::policy::{
    OperationDefinition, PROVIDER_ID, Policy, PolicyResource, RESOURCE_TYPE, ScheduledOperation, Trigger,
};
use model::retention::{PERIODS_MAX, Retention, RetentionFields};
use model::schedule::Pattern;
use serde::Serialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::TagBody;
use super::definition::DefinitionAnswer;
use crate::http::openapi::schema::{
    DescriptionText, ForeignId, Id, Moment, NameOrEmpty, NameText, ProviderId, ResourceType,
};
use crate::http::reader::{Field, Object, Reading};
use crate::http::request::{check_provider, check_resource_type};

/// The most characters of a free text such as a server's name.
const FREE_TEXT_CHARACTERS_MAX: usize = 255;

/// One policy.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PolicyBody<'a> {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = NameText)]
    name: &'a str,
    #[schema(value_type = DescriptionText)]
    description: &'a str,
    /// Always `suspended`: clients poll for it; whether a schedule runs stands in `enabled`.
    #[schema(pattern = "^suspended$")]
    status: &'static str,
    #[schema(value_type = ForeignId)]
    project_id: &'a str,
    #[schema(value_type = ProviderId)]
    provider_id: &'static str,
    #[schema(value_type = Moment)]
    created_at: String,
    parameters: Parameters,
    tags: Vec<TagBody<'a>>,
    /// The servers it backs up.
    resources: Vec<ResourceBody<'a>>,
    /// The backup operation first, then the replication, if there is one.
    scheduled_operations: Vec<OperationBody<'a>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Parameters {
    /// As it was given.
    #[schema(value_type = Object)]
    common: Value,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyResourceBody)]
struct ResourceBody<'a> {
    #[schema(value_type = ForeignId)]
    id: &'a str,
    #[serde(rename = "type")]
    #[schema(value_type = ResourceType)]
    resource_type: &'static str,
    /// As it was given; the server may be called otherwise.
    name: &'a str,
    /// As it was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Object, nullable = false)]
    extra_info: Option<Value>,
}

#[derive(Debug, Serialize, ToSchema)]
struct OperationBody<'a> {
    #[schema(value_type = Id)]
    id: String,
    #[schema(value_type = NameOrEmpty)]
    name: &'a str,
    #[schema(value_type = DescriptionText)]
    description: &'a str,
    /// Whether the schedule runs.
    enabled: bool,
    /// `backup` or `replication`.
    #[schema(pattern = "^(backup|replication)$")]
    operation_type: &'static str,
    #[schema(value_type = DefinitionAnswer)]
    operation_definition: DefinitionBody<'a>,
    #[schema(value_type = Id)]
    trigger_id: String,
    trigger: TriggerBody<'a>,
}

#[derive(Debug, Serialize)]
struct DefinitionBody<'a> {
    max_backups: i64,
    retention_duration_days: i64,
    permanent: bool,
    #[serde(flatten)]
    calendar: Option<CalendarBody<'a>>,
    #[serde(flatten)]
    destination: Option<DestinationBody<'a>>,
    plan_id: String,
    provider_id: &'static str,
}

/// Shown only where one of them was given: older clients do not know them.
#[derive(Debug, Serialize)]
struct CalendarBody<'a> {
    day_backups: u32,
    week_backups: u32,
    month_backups: u32,
    year_backups: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    timezone: Option<&'a str>,
}

#[derive(Debug, Serialize)]
struct DestinationBody<'a> {
    destination_region: &'a str,
    destination_project_id: &'a str,
    enable_acceleration: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct TriggerBody<'a> {
    #[schema(value_type = Id)]
    id: String,
    /// Always `default`.
    name: &'static str,
    /// Always `time`.
    #[serde(rename = "type")]
    trigger_type: &'static str,
    properties: TriggerProperties<'a>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TriggerProperties<'a> {
    /// Always `ical`.
    format: &'static str,
    /// When the trigger was made, in UTC. What the pattern leaves out is taken from it.
    #[schema(pattern = r"^\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}$")]
    start_time: String,
    /// As it was given.
    pattern: &'a str,
}

impl<'a> From<&'a Policy> for PolicyBody<'a> {
    fn from(policy: &'a Policy) -> PolicyBody<'a> {
        PolicyBody {
            id: policy.id.to_string(),
            name: policy.name.as_str(),
            description: policy.description.as_str(),
            status: "suspended",
            project_id: policy.project_id.as_str(),
            provider_id: PROVIDER_ID,
            created_at: policy.created_at.wire(),
            parameters: Parameters { common: stored_object(&policy.parameters) },
            tags: TagBody::list(&policy.tags),
            resources: policy.resources.iter().map(ResourceBody::from).collect(),
            scheduled_operations: policy
                .operations
                .iter()
                .map(|operation| OperationBody::new(operation, policy))
                .collect(),
        }
    }
}

impl<'a> From<&'a PolicyResource> for ResourceBody<'a> {
    fn from(resource: &'a PolicyResource) -> ResourceBody<'a> {
        ResourceBody {
            id: resource.id.as_str(),
            resource_type: RESOURCE_TYPE,
            name: &resource.name,
            extra_info: resource.extra_info.as_deref().map(stored_object),
        }
    }
}

impl<'a> OperationBody<'a> {
    fn new(operation: &'a ScheduledOperation, policy: &Policy) -> OperationBody<'a> {
        OperationBody {
            id: operation.id.to_string(),
            name: &operation.name,
            description: operation.description.as_str(),
            enabled: operation.enabled,
            operation_type: operation.definition.operation_type(),
            operation_definition: DefinitionBody::new(&operation.definition, policy),
            trigger_id: operation.trigger.id.to_string(),
            trigger: TriggerBody::from(&operation.trigger),
        }
    }
}

impl<'a> DefinitionBody<'a> {
    fn new(definition: &'a OperationDefinition, policy: &Policy) -> DefinitionBody<'a> {
        let retention = definition.retention().fields();
        DefinitionBody {
            max_backups: retention.max_backups,
            retention_duration_days: retention.duration_days,
            permanent: retention.permanent,
            calendar: CalendarBody::given(retention),
            destination: DestinationBody::of(definition),
            plan_id: policy.id.to_string(),
            provider_id: PROVIDER_ID,
        }
    }
}

impl<'a> CalendarBody<'a> {
    fn given(retention: &'a RetentionFields) -> Option<CalendarBody<'a>> {
        let RetentionFields { day_backups, week_backups, month_backups, year_backups, .. } = *retention;
        let is_given = retention.timezone.is_some()
            || [day_backups, week_backups, month_backups, year_backups].iter().any(|count| *count > 0);
        let timezone = retention.timezone.as_deref();
        is_given.then_some(CalendarBody { day_backups, week_backups, month_backups, year_backups, timezone })
    }
}

impl<'a> DestinationBody<'a> {
    fn of(definition: &'a OperationDefinition) -> Option<DestinationBody<'a>> {
        match definition {
            OperationDefinition::Backup { .. } => None,
            OperationDefinition::Replication {
                destination_region,
                destination_project_id,
                enable_acceleration,
                ..
            } => Some(DestinationBody {
                destination_region: destination_region.as_str(),
                destination_project_id: destination_project_id.as_str(),
                enable_acceleration: *enable_acceleration,
            }),
        }
    }
}

impl<'a> From<&'a Trigger> for TriggerBody<'a> {
    fn from(trigger: &'a Trigger) -> TriggerBody<'a> {
        TriggerBody {
            id: trigger.id.to_string(),
            name: "default",
            trigger_type: "time",
            properties: TriggerProperties {
                format: "ical",
                start_time: trigger.start_time.wire_start_time(),
                pattern: trigger.pattern.as_str(),
            },
        }
    }
}

/// JSON text of an object that we stored; shown as an object whatever became of it.
fn stored_object(text: &str) -> Value {
    let parsed = serde_json::from_str(text).ok().filter(Value::is_object);
    parsed.unwrap_or_else(|| Value::Object(Map::new()))
}

/// The policy that the body of a creation asks for.
pub(crate) fn read_new_policy(body: &Value) -> Reading<NewPolicy> {
    let policy = Object::wrapped(body, "policy")?;
    check_provider(&policy.field("provider_id"))?;
    let operations = policy.field("scheduled_operations");
    let place = operations.clone();
    let operations: Vec<NewOperation> =
        operations.list()?.into_iter().map(read_operation).collect::<Result<_, _>>()?;
    if operations.is_empty() {
        return Err(place.refused("must hold at least one operation"));
    }
    Ok(NewPolicy {
        name: policy.field("name").name()?,
        description: policy.field("description").optional(|field| field.description())?.unwrap_or_default(),
        parameters: read_parameters(policy.field("parameters"))?,
        resources: read_resources(policy.field("resources"))?,
        operations,
        tags: policy.field("tags").optional(Field::tags)?.unwrap_or_default(),
    })
}

/// The change that the body of an update asks for. What is not given stays as it is.
pub(crate) fn read_policy_change(body: &Value) -> Reading<PolicyChange> {
    let policy = Object::wrapped(body, "policy")?;
    let operations = policy.field("scheduled_operations").optional(Field::list)?.unwrap_or_default();
    Ok(PolicyChange {
        name: policy.field("name").optional(|field| field.name())?,
        description: policy.field("description").optional(|field| field.description())?,
        parameters: policy.field("parameters").optional(read_parameters)?,
        resources: policy.field("resources").optional(read_resources)?,
        operations: operations.into_iter().map(read_operation_change).collect::<Result<_, _>>()?,
    })
}

/// JSON text of `parameters.common`, of which only `app_consistency` is looked at.
fn read_parameters(field: Field<'_>) -> Reading<String> {
    let common = field.object()?.field("common");
    let Some(given) = common.optional(Ok)? else { return Ok("{}".to_owned()) };
    let text = given.value()?.to_string();
    let app_consistency = given.object()?.field("app_consistency");
    if app_consistency.is_given() && !(0..=2).contains(&app_consistency.loose_integer()?) {
        return Err(app_consistency.refused("must be 0, 1 or 2"));
    }
    Ok(text)
}

fn read_resources(field: Field<'_>) -> Reading<Vec<PolicyResource>> {
    field.list()?.into_iter().map(read_resource).collect()
}

fn read_resource(field: Field<'_>) -> Reading<PolicyResource> {
    let resource = field.object()?;
    let id = resource.field("id");
    check_resource_type(&resource.field("type"), id.text()?)?;
    let extra_info = resource.field("extra_info").optional(Ok)?;
    let text = extra_info.as_ref().map(|info| info.value().map(Value::to_string)).transpose()?;
    let excluded_volumes = match extra_info {
        Some(info) => read_excluded_volumes(&info.object()?)?,
        None => Vec::new(),
    };
    Ok(PolicyResource {
        id: id.id()?,
        name: resource.field("name").text_up_to(FREE_TEXT_CHARACTERS_MAX)?.to_owned(),
        extra_info: text,
        excluded_volumes,
    })
}

/// `exclude_volumes` of an `extra_info`: disks that a backup leaves out.
pub(super) fn read_excluded_volumes(extra_info: &Object<'_>) -> Reading<Vec<VolumeId>> {
    let volumes = extra_info.field("exclude_volumes").optional(Field::list)?.unwrap_or_default();
    volumes.iter().map(Field::id).collect()
}

fn read_operation(field: Field<'_>) -> Reading<NewOperation> {
    let operation = field.object()?;
    let operation_type = read_operation_type(&operation.field("operation_type"))?;
    Ok(NewOperation {
        name: read_operation_name(operation.field("name"))?.unwrap_or_default(),
        description: operation
            .field("description")
            .optional(|field| field.description())?
            .unwrap_or_default(),
        enabled: operation.field("enabled").optional(|field| field.boolean())?.unwrap_or(true),
        definition: read_definition(&operation.field("operation_definition").object()?, operation_type)?,
        pattern: read_trigger(operation.field("trigger"))?,
    })
}

fn read_operation_change(field: Field<'_>) -> Reading<OperationChange> {
    let operation = field.object()?;
    let definition = operation.field("operation_definition").optional(Field::object)?;
    let stated = operation.field("operation_type").optional(|field| read_operation_type(&field))?;
    let definition = definition.map(|definition| {
        let operation_type = stated.unwrap_or_else(|| implied_operation_type(&definition));
        read_definition(&definition, operation_type)
    });
    Ok(OperationChange {
        id: operation.field("id").optional(|field| field.id())?,
        name: read_operation_name(operation.field("name"))?,
        description: operation.field("description").optional(|field| field.description())?,
        enabled: operation.field("enabled").optional(|field| field.boolean())?,
        definition: definition.transpose()?,
        pattern: operation.field("trigger").optional(read_trigger)?,
    })
}

#[derive(Clone, Copy)]
enum OperationType {
    Backup,
    Replication,
}

fn read_operation_type(field: &Field<'_>) -> Reading<OperationType> {
    match field.text()? {
        "backup" => Ok(OperationType::Backup),
        "replication" => Ok(OperationType::Replication),
        _ => Err(field.refused("must be backup or replication")),
    }
}

/// Only a replication names a destination.
fn implied_operation_type(definition: &Object<'_>) -> OperationType {
    if definition.field("destination_region").is_given() {
        OperationType::Replication
    } else {
        OperationType::Backup
    }
}

/// Some clients send `""` where they mean that there is no name.
fn read_operation_name(field: Field<'_>) -> Reading<Option<String>> {
    let name = |field: Field<'_>| match field.text()? {
        "" => Ok(String::new()),
        _ => field.name().map(|name| name.as_str().to_owned()),
    };
    field.optional(name)
}

fn read_trigger(field: Field<'_>) -> Reading<Pattern> {
    let pattern = field.object()?.field("properties").object()?.field("pattern");
    Pattern::parse(pattern.text()?).map_err(|bad| pattern.refused(bad))
}

fn read_definition(definition: &Object<'_>, operation_type: OperationType) -> Reading<OperationDefinition> {
    let retention = read_retention(definition)?;
    Ok(match operation_type {
        OperationType::Backup => OperationDefinition::Backup { retention },
        OperationType::Replication => OperationDefinition::Replication {
            retention,
            destination_region: definition.field("destination_region").id()?,
            destination_project_id: definition.field("destination_project_id").id()?,
            enable_acceleration: definition
                .field("enable_acceleration")
                .optional(|field| field.loose_boolean())?
                .unwrap_or(false),
        },
    })
}

/// The retention in the definition of an operation.
pub(crate) fn read_retention(definition: &Object<'_>) -> Reading<Retention> {
    let timezone = definition.field("timezone").optional(|field| field.text())?;
    let fields = RetentionFields {
        permanent: definition.field("permanent").optional(|field| field.loose_boolean())?.unwrap_or(false),
        max_backups: read_limit(definition.field("max_backups"))?,
        duration_days: read_limit(definition.field("retention_duration_days"))?,
        day_backups: read_period_count(definition.field("day_backups"))?,
        week_backups: read_period_count(definition.field("week_backups"))?,
        month_backups: read_period_count(definition.field("month_backups"))?,
        year_backups: read_period_count(definition.field("year_backups"))?,
        timezone: timezone.filter(|zone| !zone.is_empty()).map(str::to_owned),
    };
    Retention::new(fields).map_err(|bad| definition.field(bad.field).refused(bad.why))
}

/// -1 when left out: no limit. 0 means no limit as well, but comes back as it was given.
fn read_limit(field: Field<'_>) -> Reading<i64> {
    Ok(field.optional(|field| field.loose_integer())?.unwrap_or(-1))
}

/// 0 when left out. What does not fit the type is far out of range.
fn read_period_count(field: Field<'_>) -> Reading<u32> {
    let count = field.clone().optional(|field| field.loose_integer())?.unwrap_or(0);
    u32::try_from(count).map_err(|_| field.refused(format!("must be 0 to {PERIODS_MAX}")))
}
