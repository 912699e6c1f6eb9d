//! What holds for every answer: request ids, error bodies, forms of times and numbers.

use axum::http::Method;
use catalog::JobKind;
use serde_json::{Value, json};

use crate::support::{NOBODY, PROVIDER, World, policy_body};

#[tokio::test]
async fn every_answer_carries_a_request_id_of_its_own() {
    let world = World::apart().await;
    let nobody = world.a.nobody();
    let mut seen = std::collections::BTreeSet::new();
    for path in
        ["/", "/healthz", "/readyz", "/version", "/nowhere", "/v1/p/policies", "/identity/v3", "/identity/"]
    {
        let answer = nobody.get(path).await;
        let id = answer.header("x-openstack-request-id").unwrap_or_else(|| panic!("{path}")).to_owned();
        assert!(id.starts_with("req-") && id.len() == 40, "{id}");
        assert!(seen.insert(id), "{path}");
    }
}

#[tokio::test]
async fn what_does_not_exist_and_what_is_not_known_have_error_bodies() {
    let world = World::apart().await;
    world.a.admin.get("/v2/nowhere").await.refuses(404, "Antipode.0404", "");
    world.a.admin.get_v1("/nowhere").await.refuses(404, "Antipode.0404", "");
    let deleted = world.a.admin.send(Method::DELETE, &world.a.admin.v1("/policies"), None).await;
    deleted.refuses(405, "Antipode.0405", "");
    world.a.admin.get_v1("/policies/%ff").await.refuses(400, "CSBS.9001", "path");
    world.a.admin.get_v1("/policies/nonsense").await.refuses(400, "CSBS.9001", "policy_id");
    world.a.admin.get_v1(&format!("/policies/{NOBODY}")).await.refuses(404, "CSBS.3000", "plan not found");
    let item = world.a.admin.get_v1(&format!("/checkpoint_items/{NOBODY}")).await;
    item.refuses(404, "CSBS.3001", &format!("Checkpoint_item ({NOBODY}) is not found."));
    let record = world.a.admin.get_v1(&format!("/replication_records/{NOBODY}")).await;
    record.refuses(404, "CSBS.6040", "task not found");
}

#[tokio::test]
async fn who_calls_is_asked_before_what_is_wanted() {
    let world = World::apart().await;
    let body = json!({ "nonsense": true });
    world.a.nobody().post_v1("/policies", &body).await.refuses(401, "Antipode.0401", "token");
    let wrong = world.a.admin.with_token("wrong");
    wrong.get_v1("/policies").await.refuses(401, "Antipode.0401", "token");
    wrong.with_token(&"0".repeat(64)).get_v1("/policies").await.refuses(401, "Antipode.0401", "token");
    let stranger = world.a.stranger("other").await;
    stranger.get(&world.a.admin.v1("/policies")).await.refuses(403, "Antipode.0403", "");
    stranger.get("/v1/nowhere/policies").await.refuses(403, "Antipode.0403", "");
    let malformed = stranger.get("/v1/a%20b/policies").await;
    malformed.refuses(400, "CSBS.9001", "project_id");
}

#[tokio::test]
async fn discovery_and_health_need_no_token() {
    let world = World::apart().await;
    let nobody = world.a.nobody();
    let root = nobody.get("/").await;
    assert_eq!(root.status, 300);
    assert_eq!(root.body["versions"][0]["id"], "v1.0");
    assert_eq!(root.body["versions"][0]["status"], "CURRENT");
    assert_eq!(root.body["versions"][0]["links"][0]["href"], "http://eu-a.example:8780/v1/");
    assert_eq!((nobody.get("/healthz").await.status, nobody.get("/readyz").await.status), (200, 200));
    assert_eq!(nobody.get("/version").await.body["region"], "eu-a");
    for path in ["/identity", "/identity/"] {
        let versions = nobody.get(path).await;
        assert_eq!(versions.status, 300, "{path}");
        assert_eq!(versions.body["versions"]["values"][0]["status"], "stable");
    }
    for path in ["/identity/v3", "/identity/v3/"] {
        let version = nobody.get(path).await;
        assert_eq!((version.status, &version.body["version"]["id"]), (200, &json!("v3.14")), "{path}");
    }
}

#[tokio::test]
async fn a_region_whose_store_failed_to_sync_is_not_ready_and_shows_what_it_has() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let sound = world.a.back_up(&policy).await[0].clone();
    world.a.syncs.fail();
    let checkpoint = world.a.begin_backup(&policy).await;
    world.a.work_once(JobKind::Backup).await;
    let item = world.a.items_of(&checkpoint).await[0].clone();
    assert_ne!(world.a.item(&item).await["status"], "available", "nobody knows what the disk holds");
    let nobody = world.a.nobody();
    let ready = nobody.get("/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text("status").contains("since a sync failed: look at its disk"), "{}", ready.body);
    assert_eq!(nobody.get("/healthz").await.status, 200);
    assert_eq!(world.a.item(&sound).await["status"], "available");
}

#[tokio::test]
async fn a_region_that_may_not_write_says_so_and_shows_what_it_has() {
    let world = World::apart().await;
    let (policy, item) = world.backed_up().await;
    let catalog = world.a.catalog().await;
    catalog.block_writes("a test says so").await.unwrap();
    let run = json!({ "checkpoint": { "plan_id": policy, "parameters": {} } });
    let path = format!("/providers/{PROVIDER}/checkpoints");
    let refused = world.a.admin.post_v1(&path, &run).await;
    refused.refuses(503, "CSBS.9998", "a test says so");
    let check = json!({ "check_protectable": [] });
    let checked = world.a.admin.post_v1(&format!("/providers/{PROVIDER}/resources/action"), &check).await;
    checked.refuses(503, "CSBS.9998", "a test says so");
    assert_eq!(world.a.all_items().await, [item]);
    catalog.unblock_writes().await.unwrap();
    assert_eq!(world.a.admin.post_v1(&path, &run).await.status, 200);
}

/// Every number is an integer, and every time has the one form that clients parse.
fn check_forms(path: &str, value: &Value) {
    match value {
        Value::Number(number) => assert!(!number.is_f64(), "{path} is {number}"),
        Value::String(text) if path.ends_with("_at") && !text.is_empty() => {
            assert_eq!(text.len(), 26, "{path} is {text}");
            assert!(text.as_bytes()[10] == b'T' && text.as_bytes()[19] == b'.', "{path} is {text}");
        }
        Value::Array(members) => {
            members
                .iter()
                .enumerate()
                .for_each(|(index, member)| check_forms(&format!("{path}[{index}]"), member));
        }
        Value::Object(map) => {
            map.iter().for_each(|(key, member)| check_forms(&format!("{path}.{key}"), member))
        }
        _ => {}
    }
}

#[tokio::test]
async fn what_succeeds_answers_200() {
    let world = World::paired().await;
    let admin = &world.a.admin;
    let server = world.a.server("db1").await;
    let made = admin.post_v1("/policies", &policy_body("nightly", &[&server])).await;
    let policy = made.text("policy.id");
    let provider = format!("/providers/{PROVIDER}");
    let run = json!({ "checkpoint": { "plan_id": policy, "parameters": {} } });
    let ran = admin.post_v1(&format!("{provider}/checkpoints"), &run).await;
    let protect = format!("{provider}/resources/{server}/action");
    let protected = admin.post_v1(&protect, &json!({ "protect": {} })).await;
    let check =
        json!({ "check_protectable": [{ "resource_id": server, "resource_type": "OS::Nova::Server" }] });
    let checked = admin.post_v1(&format!("{provider}/resources/action"), &check).await;
    world.a.work().await;
    let replicated = world.replicate(&policy).await;
    let item = world.a.item(&protected.text("checkpoint.id")).await;
    let alone = world.replicate_item(item["id"].as_str().unwrap()).await;
    world.a.work().await;
    let shown = admin.get(&format!("/antipode/v1/servers/{server}")).await;
    let volume = &shown.body["server"]["volumes"][0]["id"];
    let volumes =
        json!([{ "backup_id": item["extend_info"]["volume_backups"][0]["id"], "volume_id": volume }]);
    let restore = json!({ "restore": {
        "checkpoint_id": item["checkpoint_id"], "provider_id": PROVIDER,
        "parameters": { "checkpoint_item_id": item["id"], "power_on": false,
            "targets": { "server_id": server, "volumes": volumes } },
    } });
    let restored = admin.post_v1("/restores", &restore).await;
    world.a.work().await;
    let deleted =
        admin.delete_v1(&format!("{provider}/checkpoints/{}", protected.text("checkpoint.id"))).await;
    world.a.work().await;
    let logs = admin.get_v1("/operation_logs").await;
    let log = logs.texts("operation_logs", "id").remove(0);
    let forgotten = admin.delete_v1(&format!("/operation_logs/{log}")).await;
    let changed = admin.put_v1(&format!("/policies/{policy}"), &json!({ "policy": {} })).await;
    let gone = admin.delete_v1(&format!("/policies/{policy}")).await;
    let answers = [
        made, ran, protected, checked, replicated, alone, shown, restored, deleted, logs, forgotten, changed,
        gone,
    ];
    for answer in answers {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn numbers_are_integers_and_times_have_one_form() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    world.replicate(&policy).await;
    world.a.work().await;
    for path in [
        "/policies".to_owned(),
        format!("/policies/{policy}"),
        "/checkpoint_items".to_owned(),
        format!("/checkpoint_items/{item}"),
        "/checkpoint_items/count".to_owned(),
        "/replication_records".to_owned(),
        "/replication_capabilities".to_owned(),
        "/quotas".to_owned(),
        "/operation_logs".to_owned(),
        "/providers".to_owned(),
        "/protect_config".to_owned(),
        "/protection_capabilities".to_owned(),
    ] {
        let answer = world.a.admin.get_v1(&path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        check_forms(&path, &answer.body);
    }
    let policy = world.a.admin.get_v1(&format!("/policies/{policy}")).await;
    let start = &policy.body["policy"]["scheduled_operations"][0]["trigger"]["properties"]["start_time"];
    assert_eq!(start.as_str().unwrap().len(), 19);
    assert_eq!(start.as_str().unwrap().as_bytes()[10], b' ');
}
