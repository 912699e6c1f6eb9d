//! State records back into what they were made of: the way of a rebuild. What no longer follows our
//! own rules is refused, and whoever rebuilds tells it.

use model::grant::{Grant, Mode};
use model::identity::Project;
use model::policy::{OperationDefinition, Policy, PolicyResource, ScheduledOperation, Trigger};
use model::retention::{Retention, RetentionFields};
use model::schedule::Pattern;
use model::server::{Server, Volume, VolumeFormat};
use model::text::{Description, Name, Tag};
use model::time::Timestamp;
use vault::state::{GrantRecord, PolicyRecord, ProjectRecord, ServerRecord, VolumeRecord};

use super::json::{BadDocument, Json};

/// The policy of a record.
pub(crate) fn policy_of(record: &PolicyRecord) -> Result<Policy, BadDocument> {
    let document = Json::parse(&record.document)?;
    Ok(Policy {
        id: parsed("id", &record.policy_id)?,
        project_id: parsed("project", &record.project_id)?,
        name: Name::new(&record.name).map_err(|_| bad("name"))?,
        description: description_of(&document)?,
        parameters: document.text("parameters_json")?.to_owned(),
        resources: document.list("resources")?.iter().map(resource_of).collect::<Result<_, _>>()?,
        operations: document.list("operations")?.iter().map(operation_of).collect::<Result<_, _>>()?,
        tags: document.list("tags")?.iter().map(tag_of).collect::<Result<_, _>>()?,
        created_at: moment(&document, "created_at")?,
        updated_at: moment(&document, "updated_at")?,
    })
}

/// The server of a record.
pub(crate) fn server_of(record: &ServerRecord) -> Result<Server, BadDocument> {
    let document = Json::parse(&record.document)?;
    Ok(Server {
        id: parsed("id", &record.server_id)?,
        project_id: parsed("project", &record.project_id)?,
        name: record.name.clone(),
        volumes: record.volumes.iter().map(volume_of).collect::<Result<_, _>>()?,
        created_at: moment(&document, "created_at")?,
    })
}

/// The project of a record.
pub(crate) fn project_of(record: &ProjectRecord) -> Result<Project, BadDocument> {
    let document = Json::parse(&record.document)?;
    Ok(Project {
        id: parsed("id", &record.project_id)?,
        name: record.name.clone(),
        description: document.optional_text("description")?.unwrap_or_default().to_owned(),
        enabled: record.is_enabled,
        created_at: moment(&document, "created_at")?,
    })
}

/// The grant of a record, as it was.
pub(crate) fn grant_of(record: &GrantRecord) -> Result<Grant, BadDocument> {
    let document = Json::parse(&record.document)?;
    let mode = match record.modes.as_slice() {
        [vault::receipt::Mode::Restorable] => Mode::Restorable,
        [vault::receipt::Mode::Sealed] => Mode::Sealed,
        _ => return Err(bad("modes")),
    };
    let optional_moment = |name| -> Result<Option<Timestamp>, BadDocument> {
        Ok(document.optional_number(name)?.map(Timestamp::from_micros))
    };
    Ok(Grant {
        id: model::ids::GrantId::from_bytes(record.grant.0),
        source_region: document.id("source_region")?,
        source_project_id: parsed("source project", &record.source_project)?,
        destination_region: document.id("destination_region")?,
        destination_project_id: parsed("destination project", &record.destination_project)?,
        mode,
        bytes_max: (record.bytes_max != u64::MAX).then_some(record.bytes_max),
        keep_days_min: document.number("keep_days_min")?,
        created_at: moment(&document, "created_at")?,
        expires_at: optional_moment("expires_at")?,
        revoked_at: optional_moment("revoked_at")?,
    })
}

fn volume_of(record: &VolumeRecord) -> Result<Volume, BadDocument> {
    Ok(Volume {
        id: parsed("volume", &record.volume_id)?,
        name: record.name.clone(),
        path: record.location.clone(),
        format: VolumeFormat::from_word(&record.format).ok_or_else(|| bad("format"))?,
        size_bytes: record.size_bytes,
        bootable: record.is_bootable,
    })
}

fn resource_of(json: &Json) -> Result<PolicyResource, BadDocument> {
    let excluded = json.list("excluded_volumes")?.iter().map(|volume| match volume {
        Json::Text(id) => parsed("volume", id),
        _ => Err(bad("volume")),
    });
    Ok(PolicyResource {
        id: json.id("id")?,
        name: json.text("name")?.to_owned(),
        extra_info: json.optional_text("extra_info_json")?.map(str::to_owned),
        excluded_volumes: excluded.collect::<Result<_, _>>()?,
    })
}

fn operation_of(json: &Json) -> Result<ScheduledOperation, BadDocument> {
    let retention = retention_of(json.object("retention")?)?;
    let definition = match json.text("operation_type")? {
        "backup" => OperationDefinition::Backup { retention },
        "replication" => OperationDefinition::Replication {
            retention,
            destination_region: json.id("destination_region")?,
            destination_project_id: json.id("destination_project_id")?,
            enable_acceleration: json.truth("enable_acceleration")?,
        },
        _ => return Err(bad("operation_type")),
    };
    let trigger = json.object("trigger")?;
    Ok(ScheduledOperation {
        id: json.id("id")?,
        name: json.text("name")?.to_owned(),
        description: description_of(json)?,
        enabled: json.truth("enabled")?,
        definition,
        trigger: Trigger {
            id: trigger.id("id")?,
            pattern: Pattern::parse(trigger.text("pattern")?).map_err(|_| bad("pattern"))?,
            start_time: moment(trigger, "start_time")?,
        },
    })
}

fn retention_of(json: &Json) -> Result<Retention, BadDocument> {
    let fields = RetentionFields {
        permanent: json.truth("permanent")?,
        max_backups: json.number("max_backups")?,
        duration_days: json.number("duration_days")?,
        day_backups: json.number("day_backups")?,
        week_backups: json.number("week_backups")?,
        month_backups: json.number("month_backups")?,
        year_backups: json.number("year_backups")?,
        timezone: json.optional_text("timezone")?.map(str::to_owned),
    };
    Retention::new(fields).map_err(|error| bad(error.field))
}

/// A tag as it was stored; no rule for new ones is asked of it.
pub(crate) fn tag_of(json: &Json) -> Result<Tag, BadDocument> {
    Ok(Tag { key: json.text("key")?.to_owned(), value: json.text("value")?.to_owned() })
}

fn description_of(json: &Json) -> Result<Description, BadDocument> {
    Description::new(json.text("description")?).map_err(|_| bad("description"))
}

/// A field that is a moment, in microseconds since 1970.
pub(crate) fn moment(json: &Json, name: &str) -> Result<Timestamp, BadDocument> {
    Ok(Timestamp::from_micros(json.number(name)?))
}

fn parsed<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, BadDocument> {
    text.parse().map_err(|_| bad(what))
}

fn bad(what: &str) -> BadDocument {
    BadDocument::new(format!("has another kind of {what}"))
}
