//! The JSON texts inside state records: what a record has no field of its own for. Moments are
//! microseconds since 1970, as in the catalog. Text that clients gave as JSON is carried as a string,
//! byte for byte.

use std::fmt::{Display, Write};

use model::checkpoint::{Checkpoint, CheckpointItem, VolumeBackup};
use model::grant::Grant;
use model::identity::Project;
use model::policy::{OperationDefinition, Policy, PolicyResource, ScheduledOperation};
use model::retention::Retention;
use model::server::Server;
use model::text::Tag;

/// Everything of a policy besides the fields of its record.
pub(super) fn of_policy(policy: &Policy) -> String {
    Object::new()
        .text("description", policy.description.as_str())
        .text("parameters_json", &policy.parameters)
        .raw("resources", list(&policy.resources, of_resource))
        .raw("operations", list(&policy.operations, of_operation))
        .raw("tags", list(&policy.tags, of_tag))
        .raw("created_at", policy.created_at.micros())
        .raw("updated_at", policy.updated_at.micros())
        .end()
}

/// Everything of a server besides the fields of its record.
pub(super) fn of_server(server: &Server) -> String {
    Object::new().raw("created_at", server.created_at.micros()).end()
}

/// Everything of a grant besides the fields of its record.
pub(super) fn of_grant(grant: &Grant) -> String {
    let object = Object::new()
        .text("source_region", grant.source_region.as_str())
        .text("destination_region", grant.destination_region.as_str())
        .raw("keep_days_min", grant.keep_days_min)
        .raw("created_at", grant.created_at.micros());
    let object = object.optional("expires_at", grant.expires_at.map(|moment| moment.micros()));
    object.optional("revoked_at", grant.revoked_at.map(|moment| moment.micros())).end()
}

/// Everything of a project besides the fields of its record.
pub(super) fn of_project(project: &Project) -> String {
    let object = Object::new().raw("created_at", project.created_at.micros());
    match project.description.as_str() {
        "" => object.end(),
        description => object.text("description", description).end(),
    }
}

/// What the catalog knows of a backup and its manifest has no field for; it travels in the description.
pub(crate) fn of_item(item: &CheckpointItem, checkpoint: &Checkpoint) -> String {
    let object = Object::new()
        .text("plan_id", &checkpoint.plan_id)
        .text("plan_name", &checkpoint.plan_name)
        .raw("auto_trigger", item.auto_trigger)
        .raw("created_at", item.created_at.micros());
    let object = match &item.description {
        Some(description) => object.text("description", description.as_str()),
        None => object,
    };
    object.raw("volumes", list(&item.volumes, of_volume_backup)).end()
}

/// What the catalog knows of a replica and neither its manifest nor its arrival has a field for. The
/// sizes stand here so that they outlive the manifest.
pub(crate) fn of_arrival(item: &CheckpointItem, object_count: u64, stored_bytes: u64) -> String {
    let origin = item.origin.as_ref().expect("replica rows are made with their origin");
    let object = Object::new()
        .text("item_id", &origin.checkpoint_item_id.to_string())
        .text("checkpoint_id", &origin.checkpoint_id.to_string())
        .text("record_id", &origin.replication_record_id.to_string())
        .text("name", &item.name)
        .raw("auto_trigger", item.auto_trigger)
        .raw("added_bytes", item.added_bytes)
        .raw("object_count", object_count)
        .raw("stored_bytes", stored_bytes);
    let object = match &item.description {
        Some(description) => object.text("description", description.as_str()),
        None => object,
    };
    object.raw("volumes", list(&item.volumes, of_volume_backup)).end()
}

fn of_volume_backup(volume: &VolumeBackup) -> String {
    Object::new()
        .text("id", &volume.id.to_string())
        .text("volume_id", volume.volume_id.as_str())
        .text("volume_name", &volume.volume_name)
        .raw("bootable", volume.bootable)
        .end()
}

fn of_resource(resource: &PolicyResource) -> String {
    let object = Object::new().text("id", resource.id.as_str()).text("name", &resource.name);
    let object = match &resource.extra_info {
        Some(given) => object.text("extra_info_json", given),
        None => object,
    };
    object.raw("excluded_volumes", list(&resource.excluded_volumes, |id| quoted(id.as_str()))).end()
}

fn of_operation(operation: &ScheduledOperation) -> String {
    let object = Object::new()
        .text("id", &operation.id.to_string())
        .text("name", &operation.name)
        .text("description", operation.description.as_str())
        .raw("enabled", operation.enabled)
        .text("operation_type", operation.definition.operation_type())
        .raw("retention", of_retention(operation.definition.retention()));
    let object = match &operation.definition {
        OperationDefinition::Backup { .. } => object,
        OperationDefinition::Replication {
            destination_region,
            destination_project_id,
            enable_acceleration,
            ..
        } => object
            .text("destination_region", destination_region.as_str())
            .text("destination_project_id", destination_project_id.as_str())
            .raw("enable_acceleration", enable_acceleration),
    };
    let trigger = Object::new()
        .text("id", &operation.trigger.id.to_string())
        .text("pattern", operation.trigger.pattern.as_str())
        .raw("start_time", operation.trigger.start_time.micros());
    object.raw("trigger", trigger.end()).end()
}

fn of_retention(retention: &Retention) -> String {
    let fields = retention.fields();
    let object = Object::new()
        .raw("permanent", fields.permanent)
        .raw("max_backups", fields.max_backups)
        .raw("duration_days", fields.duration_days)
        .raw("day_backups", fields.day_backups)
        .raw("week_backups", fields.week_backups)
        .raw("month_backups", fields.month_backups)
        .raw("year_backups", fields.year_backups);
    match &fields.timezone {
        Some(zone) => object.text("timezone", zone).end(),
        None => object.end(),
    }
}

fn of_tag(tag: &Tag) -> String {
    Object::new().text("key", &tag.key).text("value", &tag.value).end()
}

/// An object, field by field.
struct Object(String);

impl Object {
    fn new() -> Object {
        Object("{".to_owned())
    }

    fn text(self, name: &str, value: &str) -> Object {
        self.raw(name, quoted(value))
    }

    /// A number, a truth value, or JSON that was made here.
    fn raw(mut self, name: &str, value: impl Display) -> Object {
        let comma = if self.0.len() > 1 { "," } else { "" };
        write!(self.0, "{comma}\"{name}\":{value}").expect("writing into a string cannot fail");
        self
    }

    fn optional(self, name: &str, value: Option<impl Display>) -> Object {
        match value {
            Some(value) => self.raw(name, value),
            None => self,
        }
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn list<T>(members: &[T], of_member: impl Fn(&T) -> String) -> String {
    format!("[{}]", members.iter().map(of_member).collect::<Vec<_>>().join(","))
}

/// A string of JSON.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control < ' ' => {
                write!(quoted, "\\u{:04x}", u32::from(control)).expect("writing into a string cannot fail");
            }
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_breaks_out_of_its_quotes() {
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted(r#"{"a":"b\c"}"#), r#""{\"a\":\"b\\c\"}""#);
        assert_eq!(quoted("a\r\n\tb"), r#""a\r\n\tb""#);
        assert_eq!(quoted("\0\u{1f}\u{7f}"), "\"\\u0000\\u001f\u{7f}\"");
        assert_eq!(quoted("Käse 🧀 \u{2028}"), "\"Käse 🧀 \u{2028}\"");
    }

    #[test]
    fn objects_and_lists_are_joined_by_commas() {
        let object = Object::new().text("a", "x").raw("b", true).optional("c", None::<u8>).raw("d", 7);
        assert_eq!(object.end(), r#"{"a":"x","b":true,"d":7}"#);
        assert_eq!(Object::new().end(), "{}");
        assert_eq!(list(&[1, 2], ToString::to_string), "[1,2]");
        assert_eq!(list(&[] as &[u8], ToString::to_string), "[]");
    }
}
