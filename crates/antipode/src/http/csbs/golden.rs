//! The canonical bodies (`golden/*.json`) against what the wire structs make of model values. A body
//! that differs by one key, type or form fails here; clients would fail later and elsewhere.

use std::collections::BTreeMap;

use control::checkpoints::Begun;
use control::replication::Replication;
use model::checkpoint::{Checkpoint, CheckpointItem, ItemState, VolumeBackup};
use model::ids::{GrantId, RegionName};
use model::policy::{OperationDefinition, Policy, PolicyResource, ScheduledOperation, Trigger};
use model::replication::{Destination, LeftOut, RecordState, ReplicationOrder, ReplicationRecord};
use model::retention::{Retention, RetentionFields};
use model::schedule::Pattern;
use model::text::{Description, Name};
use model::time::Timestamp;
use serde_json::{Value, json};

use super::checkpoints::CheckpointAnswer;
use super::item_body::ItemBody;
use super::policy_body::{PolicyBody, read_new_policy, read_policy_change};
use super::replication::{ReplicationAnswer, left_out};

const POLICY: &str = include_str!("golden/policy.json");
const ITEM: &str = include_str!("golden/checkpoint_item.json");
const PROTECT: &str = include_str!("golden/protect.json");
const REPLICATION: &str = include_str!("golden/replication.json");
const REPLICATION_EMPTY: &str = include_str!("golden/replication_empty.json");

const PROJECT: &str = "4f1d2c7a9b0e4d6f8a1b2c3d4e5f6071";
const FAR_PROJECT: &str = "99887766554433221100ffeeddccbbaa";
const POLICY_ID: &str = "2b1f8c3e-5f0d-4f0e-9a53-6f5f0a7f1d01";
const SERVER: &str = "7d0b7c52-2f7e-4f39-8a52-93e1c62b5a10";
const CHECKPOINT_ID: &str = "c0ffee00-1111-4222-8333-444455556666";
const ITEM_ID: &str = "5e3c2a10-7b54-4c9e-9d11-0a0b0c0d0e01";
const RECORD_ID: &str = "6f55d79b-0000-4d3d-b4fb-a63e3070ea12";

fn golden(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn id<T: std::str::FromStr<Err = model::ids::BadId>>(text: &str) -> T {
    text.parse().unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn here() -> RegionName {
    id("eu-a")
}

fn trigger(trigger_id: &str, rule: &str) -> Trigger {
    let text = format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:{rule}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n");
    Trigger {
        id: id(trigger_id),
        pattern: Pattern::parse(&text).unwrap(),
        start_time: at("2026-11-23T01:02:03.000456"),
    }
}

fn policy() -> Policy {
    let backup = RetentionFields {
        max_backups: 14,
        duration_days: -1,
        day_backups: 7,
        week_backups: 4,
        month_backups: 12,
        timezone: Some("UTC+01:00".into()),
        ..RetentionFields::default()
    };
    let replicas = RetentionFields { max_backups: 30, duration_days: -1, ..RetentionFields::default() };
    let operation = |number: &str, name: &str, definition, trigger| ScheduledOperation {
        id: id(&format!("0c7ad2c6-8c2e-4a0f-b1e6-3fb7a3c0d{number}")),
        name: name.into(),
        description: Description::default(),
        enabled: true,
        definition,
        trigger,
    };
    let backup = OperationDefinition::Backup { retention: Retention::new(backup).unwrap() };
    let replication = OperationDefinition::Replication {
        retention: Retention::new(replicas).unwrap(),
        destination_region: id("eu-b"),
        destination_project_id: id(FAR_PROJECT),
        enable_acceleration: false,
    };
    let nightly = trigger("a4b5c6d7-0001-4a00-8b00-000000000001", "FREQ=DAILY;BYHOUR=1;BYMINUTE=30");
    let later = trigger("a4b5c6d7-0002-4a00-8b00-000000000002", "FREQ=DAILY;BYHOUR=4;BYMINUTE=0");
    Policy {
        id: id(POLICY_ID),
        project_id: id(PROJECT),
        name: Name::new("nightly").unwrap(),
        description: Description::default(),
        parameters: "{}".into(),
        resources: vec![PolicyResource {
            id: id(SERVER),
            name: "db1".into(),
            extra_info: Some("{}".into()),
            excluded_volumes: vec![],
        }],
        operations: vec![
            operation("111", "nightly-backup", backup, nightly),
            operation("222", "nightly-copy", replication, later),
        ],
        tags: vec![],
        created_at: at("2026-11-23T01:02:03.000456"),
        updated_at: at("2026-11-23T01:02:03.000456"),
    }
}

fn item() -> CheckpointItem {
    CheckpointItem {
        id: id(ITEM_ID),
        checkpoint_id: id(CHECKPOINT_ID),
        project_id: id(PROJECT),
        policy_id: Some(id(POLICY_ID)),
        resource_id: id(SERVER),
        resource_name: "db1".into(),
        name: "autobk_3fa9".into(),
        description: Some(Description::default()),
        state: ItemState::Available,
        auto_trigger: true,
        incremental: true,
        progress_percent: 100,
        progress_bytes: 5 << 30,
        logical_bytes: 5 << 30,
        added_bytes: 5 << 30,
        manifest_digest: None,
        domain: None,
        operation_id: id("0d0f7f0e-2192-4e11-9f23-0242ac110007"),
        sequence: 1,
        origin: None,
        created_at: at("2026-11-23T01:30:00.104233"),
        updated_at: at("2026-11-23T04:07:41.550012"),
        protected_at: Some(at("2026-11-23T01:30:02.000000")),
        finished_at: Some(at("2026-11-23T01:41:13.720800")),
        expired_at: None,
        failure: None,
        volumes: vec![VolumeBackup {
            id: id("bd1f0000-aaaa-4bbb-8ccc-000000000001"),
            volume_id: id("ab0c0000-aaaa-4bbb-8ccc-000000000009"),
            volume_name: "db1-root".into(),
            size_bytes: 5 << 30,
            bootable: true,
        }],
        tags: vec![],
    }
}

fn record() -> ReplicationRecord {
    ReplicationRecord {
        id: id(RECORD_ID),
        item_id: id(ITEM_ID),
        checkpoint_id: id(CHECKPOINT_ID),
        source_project_id: id(PROJECT),
        destination: Destination { region: id("eu-b"), project_id: id(FAR_PROJECT) },
        policy_id: Some(id(POLICY_ID)),
        grant_id: GrantId::from_entropy([1; 16]),
        state: RecordState::Done,
        is_current: true,
        auto_trigger: true,
        by_scheduler: true,
        enable_acceleration: false,
        generation: 1,
        replica_name: None,
        replica_description: None,
        keep_days: None,
        sent_bytes: 10,
        resent_bytes: 0,
        skipped_bytes: 0,
        planned_bytes: 10,
        attempts: 1,
        try_at: at("2026-11-23T04:00:00.000912"),
        paused_at: None,
        reason_code: String::new(),
        reason: String::new(),
        destination_checkpoint_id: Some(id("d0d0cafe-1111-4222-8333-444455556666")),
        destination_item_id: Some(id("77aa55cc-7b54-4c9e-9d11-0a0b0c0d0e01")),
        receipt: Some(vec![1]),
        created_at: at("2026-11-23T04:00:00.000912"),
        updated_at: at("2026-11-23T04:07:41.550012"),
    }
}

/// A shown policy as an order for a new one: a supplied list of tags may not be empty.
fn order_of(mut shown: Value) -> Value {
    shown["policy"]["tags"] = Value::Null;
    shown
}

/// What stands at every place of a body, with values replaced by the names of their types. A number
/// that is no integer has a type of its own, which no golden body holds.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => json!("null"),
        Value::Bool(_) => json!("boolean"),
        Value::Number(number) if number.is_f64() => json!("float"),
        Value::Number(_) => json!("integer"),
        Value::String(_) => json!("string"),
        Value::Array(members) => members.iter().map(shape).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), shape(value))).collect(),
    }
}

#[test]
fn a_policy_looks_as_its_golden_body() {
    let policy = policy();
    assert_eq!(json!({ "policy": PolicyBody::from(&policy) }), golden(POLICY));
}

#[test]
fn a_policy_read_back_is_the_policy_that_was_shown() {
    let (policy, body) = (policy(), order_of(golden(POLICY)));
    let new = read_new_policy(&body).unwrap();
    assert_eq!((new.name, new.resources, new.parameters), (policy.name, policy.resources, policy.parameters));
    for (new, shown) in new.operations.iter().zip(&policy.operations) {
        assert_eq!(new.definition, shown.definition);
        assert_eq!(new.pattern.as_str(), shown.trigger.pattern.as_str());
    }
    let change = read_policy_change(&body).unwrap();
    assert_eq!(change.operations[1].id, Some(policy.operations[1].id));
    assert_eq!(change.operations[1].definition.as_ref(), Some(&policy.operations[1].definition));
}

#[test]
fn limits_may_come_as_texts_or_numbers() {
    let mut body = order_of(golden(POLICY));
    let definition = &mut body["policy"]["scheduled_operations"][0]["operation_definition"];
    for (key, text) in [
        ("max_backups", "14"),
        ("retention_duration_days", "-1"),
        ("permanent", "False"),
        ("day_backups", "7"),
    ] {
        definition[key] = json!(text);
    }
    let new = read_new_policy(&body).unwrap();
    assert_eq!(new.operations[0].definition, policy().operations[0].definition);
}

#[test]
fn calendar_limits_are_shown_only_where_they_were_given() {
    let policy = policy();
    let body = json!(PolicyBody::from(&policy));
    assert!(body["scheduled_operations"][1]["operation_definition"].get("day_backups").is_none());
}

#[test]
fn an_item_has_the_keys_and_types_of_its_golden_body() {
    let (item, records) = (item(), [record()]);
    let body = json!({ "checkpoint_item": ItemBody::new(&item, &records, &here()) });
    let golden = golden(ITEM);
    assert_eq!(shape(&body), shape(&golden));
    for key in ["id", "created_at", "protected_at", "name", "status", "tags", "replication_records"] {
        assert_eq!(body["checkpoint_item"][key], golden["checkpoint_item"][key], "{key}");
    }
    let extend_info = |body: &Value, key: &str| body["checkpoint_item"]["extend_info"][key].clone();
    for key in [
        "size",
        "image_type",
        "copy_status",
        "copy_from",
        "fail_code",
        "finished_at",
        "supported_restore_mode",
    ] {
        assert_eq!(extend_info(&body, key), extend_info(&golden, key), "{key}");
    }
}

#[test]
fn a_failed_item_gives_digits_and_the_whole_code_where_each_is_wanted() {
    let failure = model::checkpoint::Failure {
        operation: "backup".into(),
        code: "CSBS.9999".into(),
        reason: "disk root cannot be read".into(),
    };
    let item = CheckpointItem { state: ItemState::Error, failure: Some(failure), ..item() };
    let body = json!(ItemBody::new(&item, &[], &here()));
    let info = &body["extend_info"];
    assert_eq!(info["fail_code"], json!({ "Code": "9999", "Description": "disk root cannot be read" }));
    assert_eq!(info["fail_reason"], "CSBS.9999: disk root cannot be read");
    assert_eq!((&info["fail_op"], &info["supported_restore_mode"]), (&json!("backup"), &json!("na")));
}

#[test]
fn copy_status_is_one_word_for_all_destinations() {
    use RecordState::{Copying, Done, Failed, Lost, Publishing, Skipped, Waiting};
    let word = |states: &[(&str, RecordState, bool)]| {
        let records: Vec<ReplicationRecord> = states
            .iter()
            .enumerate()
            .map(|(number, (region, state, is_current))| ReplicationRecord {
                destination: Destination { region: id(region), project_id: id(FAR_PROJECT) },
                state: *state,
                is_current: *is_current,
                created_at: Timestamp::from_micros(number as i64),
                ..record()
            })
            .collect();
        json!(ItemBody::new(&item(), &records, &here()))["extend_info"]["copy_status"].clone()
    };
    assert_eq!(word(&[]), "na");
    assert_eq!(word(&[("b", Waiting, true)]), "waiting_copy");
    assert_eq!(word(&[("b", Publishing, true)]), "copying");
    assert_eq!(word(&[("b", Failed, false), ("b", Done, true)]), "success");
    assert_eq!(word(&[("b", Done, true), ("c", Failed, false)]), "fail");
    assert_eq!(word(&[("b", Done, true), ("c", Copying, true), ("d", Failed, false)]), "copying");
    assert_eq!(word(&[("b", Lost, false)]), "fail");
    assert_eq!(word(&[("b", Done, true), ("b", Skipped, false)]), "success");
}

#[test]
fn a_record_is_complete_only_with_its_receipt() {
    let percent = |state, sent_bytes| {
        let record = ReplicationRecord { state, sent_bytes, ..record() };
        json!(super::records::RecordBody::new(&record, &here()))["extra_info"]["progress"].clone()
    };
    assert_eq!(percent(RecordState::Copying, 5), 50);
    assert_eq!(percent(RecordState::Publishing, 10), 99);
    assert_eq!(percent(RecordState::Done, 10), 100);
}

#[test]
fn protecting_a_server_answers_as_its_golden_body() {
    let created_at = at("2026-11-23T09:00:00.000001");
    let checkpoint = Checkpoint {
        id: id(CHECKPOINT_ID),
        project_id: id(PROJECT),
        policy_id: None,
        plan_id: "fake_3d4c5b6a-0000-4000-8000-000000000001".into(),
        plan_name: format!("server protect plan for {SERVER}"),
        auto_trigger: false,
        created_at,
    };
    let by_hand = Begun { checkpoint: checkpoint.clone(), items: vec![item()] };
    assert_eq!(json!(CheckpointAnswer::from(by_hand)), golden(PROTECT));
    let by_policy =
        Begun { checkpoint: Checkpoint { policy_id: Some(id(POLICY_ID)), ..checkpoint }, items: vec![] };
    let body = json!(CheckpointAnswer::from(by_policy));
    assert_eq!(body["checkpoint"]["extra_info"], r#"{"created_by": "manual"}"#);
}

#[test]
fn the_core_call_answers_as_its_golden_bodies() {
    let order = ReplicationOrder {
        source_project_id: id(PROJECT),
        policy_id: id(POLICY_ID),
        destination: Destination { region: id("eu-b"), project_id: id(FAR_PROJECT) },
        auto_trigger: true,
        enable_acceleration: true,
    };
    let selected = vec![
        (id(ITEM_ID), id(RECORD_ID)),
        (id("5e3c2a10-7b54-4c9e-9d11-0a0b0c0d0e02"), id("6f55d79b-0000-4d3d-b4fb-a63e3070ea13")),
    ];
    let begun = Replication { order, source_region: here(), selected, left_out: BTreeMap::new() };
    assert_eq!(json!(ReplicationAnswer::from(&begun)), golden(REPLICATION));
    let nothing = Replication { selected: vec![], ..begun };
    assert_eq!(json!(ReplicationAnswer::from(&nothing)), golden(REPLICATION_EMPTY));
}

#[test]
fn what_was_left_out_is_counted_by_reason() {
    let counts = BTreeMap::from([(LeftOut::InFlight, 1), (LeftOut::NotAvailable, 2)]);
    assert_eq!(left_out(&counts).unwrap(), "not-available=2, in-flight=1");
    let full = BTreeMap::from([(LeftOut::OrderFull, 90_000)]);
    assert_eq!(left_out(&full).unwrap(), "order-full=90000", "asking again selects them");
    assert_eq!(left_out(&BTreeMap::new()), None);
}
