//! The 33 cases that the reference page of the core call implies but does not say
//! (`csbs-v1-api.md` §11), each decided as there and in design §6.

mod support;

use axum::body::Body;
use axum::http::Method;
use catalog::JobKind;
use serde_json::{Value, json};
use support::{DISK_BYTES, Fault, NOBODY, PROVIDER, World, policy_body, write_disk};

/// The path of the core call.
fn core() -> String {
    format!("/providers/{PROVIDER}/checkpoints/replicate")
}

#[tokio::test]
async fn case_01_an_unknown_destination_region_is_refused_by_name() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let answer = world.replicate_with(&policy, json!({ "destination_region": "eu-z" })).await;
    answer.refuses(400, "BackupService.1005", "destination_region");
    assert_eq!(world.record_count().await, 0);
}

#[tokio::test]
async fn case_02_the_own_region_is_no_destination() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let answer = world.replicate_with(&policy, json!({ "destination_region": "eu-a" })).await;
    answer.refuses(400, "BackupService.1005", "destination_region");
    assert_eq!(world.record_count().await, 0);
}

#[tokio::test]
async fn case_03_a_destination_project_without_a_grant_is_refused_whether_it_exists_or_not() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let existing = world.b.stranger("other").await.project_id;
    let of_existing = world.replicate_with(&policy, json!({ "destination_project_id": existing })).await;
    let of_missing = world.replicate_with(&policy, json!({ "destination_project_id": "nowhere" })).await;
    of_existing.refuses(400, "BackupService.1011", "destination_project_id");
    assert_eq!((of_existing.status, of_existing.body), (of_missing.status, of_missing.body));
    assert_eq!(world.record_count().await, 0);
}

#[tokio::test]
async fn case_04_a_policy_id_that_is_missing_malformed_or_unknown() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let missing = world.replicate_with(&policy, json!({ "policy_id": null })).await;
    missing.refuses(400, "CSBS.9001", "replication.policy_id");
    for bad in [json!("nonsense"), json!(""), json!(7), json!({}), json!(["x"]), json!("x".repeat(5000))] {
        let malformed = world.replicate_with(&policy, json!({ "policy_id": bad })).await;
        malformed.refuses(400, "CSBS.9001", "replication.policy_id");
    }
    let unknown = world.replicate_with(&policy, json!({ "policy_id": NOBODY })).await;
    unknown.refuses(404, "CSBS.3000", "plan not found");
    assert_eq!(world.record_count().await, 0);
}

#[tokio::test]
async fn case_05_the_policy_of_another_project_looks_absent() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let stranger = world.a.stranger("other").await;
    world.grant(&stranger.project_id).await;
    let foreign = stranger.post_v1(&core(), &world.order(&policy)).await;
    let absent = stranger.post_v1(&core(), &world.order(NOBODY)).await;
    foreign.refuses(404, "CSBS.3000", "plan not found");
    assert_eq!(foreign.body, absent.body);
    assert_eq!(world.record_count().await, 0);
}

#[tokio::test]
async fn case_06_another_provider_is_refused_before_anything_else() {
    let world = World::paired().await;
    let path = "/providers/c714180d-ea34-4b13-9a5e-577c7c416eec/checkpoints/replicate";
    let answer = world.a.admin.post_v1(path, &json!({ "nonsense": true })).await;
    answer.refuses(400, "CSBS.9001", "provider invalid");
}

#[tokio::test]
async fn case_07_a_policy_without_backups_answers_an_empty_list() {
    let world = World::paired().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    assert_eq!(world.replicate(&policy).await.selected(), []);
    let item = world.a.back_up(&policy).await.remove(0);
    assert_eq!(world.replicate(&policy).await.selected().len(), 1);
    world.a.work().await;
    let again = world.replicate(&policy).await;
    assert_eq!(again.selected(), []);
    assert_eq!(again.header("x-antipode-left-out"), Some("already-replicated=1"));
    assert_eq!(world.a.item(&item).await["extend_info"]["copy_status"], "success");
}

#[tokio::test]
async fn case_08_a_backup_that_is_not_available_is_skipped_and_taken_the_next_time() {
    let world = World::paired().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let checkpoint = world.a.begin_backup(&policy).await;
    let during = world.replicate(&policy).await;
    assert_eq!(during.selected(), []);
    assert_eq!(during.header("x-antipode-left-out"), Some("not-available=1"));
    world.a.work().await;
    let items = world.a.items_of(&checkpoint).await;
    let after = world.replicate(&policy).await;
    assert_eq!(after.selected().into_iter().map(|(item, _)| item).collect::<Vec<_>>(), items);
}

#[tokio::test]
async fn case_08_a_failed_or_deleted_backup_is_skipped() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let checkpoint = world.a.item(&item).await["checkpoint_id"].as_str().unwrap().to_owned();
    world.a.admin.delete_v1(&format!("/providers/{PROVIDER}/checkpoints/{checkpoint}")).await;
    assert_eq!(world.replicate(&policy).await.selected(), []);
    std::fs::remove_file(world.a.disk("db1")).unwrap();
    let failed = world.a.back_up(&policy).await.remove(0);
    assert_eq!(world.a.item(&failed).await["status"], "error");
    assert_eq!(world.replicate(&policy).await.selected(), []);
}

#[tokio::test]
async fn case_09_a_backup_on_its_way_is_left_out_and_refused_singly() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    assert_eq!(world.replicate(&policy).await.selected().len(), 1);
    let again = world.replicate(&policy).await;
    assert_eq!(again.selected(), []);
    assert_eq!(again.header("x-antipode-left-out"), Some("in-flight=1"));
    world.replicate_item(&item).await.refuses(400, "BackupService.1009", "");
    world.a.work().await;
    world.replicate_item(&item).await.refuses(400, "BackupService.1009", "");
    assert_eq!(world.record_count().await, 1);
}

#[tokio::test]
async fn case_10_a_second_call_while_the_first_is_on_its_way_queues_only_what_is_new() {
    let world = World::paired().await;
    let (policy, old) = world.backed_up().await;
    assert_eq!(world.replicate(&policy).await.selected()[0].0, old);
    let new = world.a.begin_backup(&policy).await;
    while world.a.work_once(JobKind::Backup).await {}
    let new = world.a.items_of(&new).await.remove(0);
    let second = world.replicate(&policy).await;
    assert_eq!(second.selected().iter().map(|(item, _)| item.as_str()).collect::<Vec<_>>(), [new]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn case_11_racing_calls_list_each_backup_once() {
    let world = World::paired().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await, world.a.server("db333").await];
    let policy = world.a.policy("nightly", &servers.each_ref().map(String::as_str)).await;
    let mut items = world.a.back_up(&policy).await;
    let calls = (0..8).map(|_| {
        let (admin, order) = (world.a.admin.clone(), world.order(&policy));
        tokio::spawn(async move { admin.post_v1(&core(), &order).await.selected() })
    });
    let mut union: Vec<String> = Vec::new();
    for call in calls.collect::<Vec<_>>() {
        union.extend(call.await.unwrap().into_iter().map(|(item, _)| item));
    }
    union.sort();
    items.sort();
    assert_eq!(union, items);
    assert_eq!(world.record_count().await, 3);
}

#[tokio::test]
async fn case_12_not_replicated_is_per_region_and_not_per_project() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    assert_eq!(world.replicate(&policy).await.selected().len(), 1);
    world.a.work().await;
    let other = world.b.stranger("other").await;
    let grant =
        json!({ "grant": { "source_region": "eu-a", "source_project_id": world.a.admin.project_id } });
    assert_eq!(other.post("/antipode/v1/grants", &grant).await.status, 201);
    world.clock.advance_seconds(60);
    world.a.control.keep_house().await.unwrap();
    let elsewhere =
        world.replicate_with(&policy, json!({ "destination_project_id": other.project_id })).await;
    assert_eq!(elsewhere.selected(), []);
    assert_eq!(elsewhere.header("x-antipode-left-out"), Some("already-replicated=1"));
}

#[tokio::test]
async fn case_13_a_failed_replica_is_taken_again_under_a_new_record() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let first = world.replicate(&policy).await.selected().remove(0);
    world.fail_record(&first.1).await;
    let second = world.replicate(&policy).await.selected().remove(0);
    assert_eq!(second.0, item);
    assert_ne!(second.1, first.1);
    world.a.work().await;
    assert_eq!(world.record(&first.1).await["status"], "fail");
    assert_eq!(world.record(&second.1).await["status"], "success");
    assert_eq!(world.a.item(&item).await["extend_info"]["copy_status"], "success");
}

#[tokio::test]
async fn case_14_a_deleted_replica_comes_back_by_hand_only() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    world.replicate(&policy).await;
    world.a.work().await;
    world.delete_replica(&item).await;
    assert_eq!(world.replicate(&policy).await.selected(), []);
    let by_hand = world.replicate_item(&item).await;
    assert_eq!(by_hand.status, 200, "{}", by_hand.body);
    world.a.work().await;
    assert_eq!(world.record(&by_hand.text("replication.replication_record_id")).await["status"], "success");
}

#[tokio::test]
async fn case_15_the_record_outlives_its_source_and_copying_holds_the_source() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let checkpoint = world.a.item(&item).await["checkpoint_id"].as_str().unwrap().to_owned();
    let path = format!("/providers/{PROVIDER}/checkpoints/{checkpoint}");
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    world.begin_copying(&record).await;
    world.a.admin.delete_v1(&path).await.refuses(400, "CSBS.2003", "");
    assert_eq!(world.a.item(&item).await["status"], "available");
    world.links.set_fault(None);
    world.clock.advance_seconds(120);
    world.a.work().await;
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 200);
    world.a.work().await;
    assert_eq!(world.a.admin.get_v1(&format!("/checkpoint_items/{item}")).await.status, 404);
    let kept = world.record(&record).await;
    assert_eq!((&kept["status"], &kept["source_checkpoint_item_id"]), (&json!("success"), &json!(item)));
    let replica = kept["destination_checkpoint_item_id"].as_str().unwrap();
    assert_eq!(world.b.item(replica).await["status"], "available");
}

#[tokio::test]
async fn case_16_a_replica_is_never_replicated() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    world.a.work().await;
    let replica = world.record(&record).await["destination_checkpoint_item_id"].as_str().unwrap().to_owned();
    let body = json!({ "replication": { "destination_region": "eu-a", "destination_project_id": "p" } });
    let path = format!("/providers/{PROVIDER}/checkpoint_items/{replica}/replicate");
    world.b.admin.post_v1(&path, &body).await.refuses(400, "BackupService.1002", "");
}

#[tokio::test]
async fn case_17_only_runs_of_the_policy_count_and_servers_since_unbound_stay() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let server = world.a.item(&item).await["resource_id"].as_str().unwrap().to_owned();
    let path = format!("/providers/{PROVIDER}/resources/{server}/action");
    assert_eq!(world.a.admin.post_v1(&path, &json!({ "protect": {} })).await.status, 200);
    world.a.work().await;
    let unbound = json!({ "policy": { "resources": [] } });
    assert_eq!(world.a.admin.put_v1(&format!("/policies/{policy}"), &unbound).await.status, 200);
    let selected = world.replicate(&policy).await.selected();
    assert_eq!(selected.iter().map(|(item, _)| item.as_str()).collect::<Vec<_>>(), [item]);
}

#[tokio::test]
async fn case_17_a_policy_made_again_has_no_history() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let server = world.a.item(&item).await["resource_id"].as_str().unwrap().to_owned();
    assert_eq!(world.a.admin.delete_v1(&format!("/policies/{policy}")).await.status, 200);
    let again = world.a.policy("nightly", &[&server]).await;
    assert_ne!(again, policy);
    assert_eq!(world.replicate(&again).await.selected(), []);
}

#[tokio::test]
async fn case_18_a_disabled_policy_can_be_replicated_by_hand() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let shown = world.a.admin.get_v1(&format!("/policies/{policy}")).await;
    assert_eq!(shown.body["policy"]["scheduled_operations"][0]["enabled"], false);
    assert_eq!(world.replicate(&policy).await.selected().len(), 1);
}

#[tokio::test]
async fn case_19_a_deleted_policy_is_gone_but_its_backups_can_go_one_by_one() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    assert_eq!(world.a.admin.delete_v1(&format!("/policies/{policy}")).await.status, 200);
    world.replicate(&policy).await.refuses(404, "CSBS.3000", "plan not found");
    let single = world.replicate_item(&item).await;
    assert_eq!(single.status, 200, "{}", single.body);
    assert_eq!(single.body["replication"]["checkpoint_item_id"], item);
}

#[tokio::test]
async fn case_20_the_answer_is_oldest_first_and_whole() {
    let world = World::paired().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let mut made = Vec::new();
    for _ in 0..4 {
        made.extend(world.a.back_up(&policy).await);
    }
    let selected = world.replicate(&policy).await.selected();
    assert_eq!(selected.into_iter().map(|(item, _)| item).collect::<Vec<_>>(), made);
}

#[tokio::test]
async fn case_21_auto_trigger_is_recorded_and_must_be_a_boolean() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    for bad in [json!("true"), json!(1), json!([])] {
        let answer = world.replicate_with(&policy, json!({ "auto_trigger": bad })).await;
        answer.refuses(400, "CSBS.9001", "replication.auto_trigger");
    }
    let answer = world.replicate_with(&policy, json!({ "auto_trigger": true })).await;
    let (_, record) = answer.selected().remove(0);
    assert_eq!(world.record(&record).await["extra_info"]["auto_trigger"], true);
    assert!(answer.body["replication"].get("auto_trigger").is_none());
}

#[tokio::test]
async fn case_22_enable_acceleration_is_accepted_and_never_changes_the_result() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let bad = world.replicate_with(&policy, json!({ "enable_acceleration": "yes" })).await;
    bad.refuses(400, "CSBS.9001", "replication.enable_acceleration");
    let answer = world.replicate_with(&policy, json!({ "enable_acceleration": true })).await;
    assert_eq!(answer.selected().len(), 1);
    assert!(answer.body["replication"].get("enable_acceleration").is_none());
    world.a.work().await;
    assert_eq!(world.record(&answer.selected()[0].1).await["status"], "success");
}

#[tokio::test]
async fn case_23_a_full_destination_is_no_matter_of_the_call_but_of_each_record() {
    let world = World::apart().await;
    world.pair().await;
    let (policy, _) = world.backed_up().await;
    let small = json!({ "grant": {
        "source_region": "eu-a", "source_project_id": world.a.admin.project_id, "bytes_max": 1000,
    } });
    assert_eq!(world.b.admin.post("/antipode/v1/grants", &small).await.status, 201);
    world.a.control.keep_house().await.unwrap();
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    while world.a.work_once(JobKind::Replicate).await {}
    let waiting = world.record(&record).await;
    assert_ne!(waiting["status"], "success");
    assert_ne!(waiting["extra_info"]["fail_reason"], "", "{waiting}");
}

#[tokio::test]
async fn case_24_an_unreachable_destination_is_waited_for() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    world.links.set_fault(Some(Fault::Down));
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    while world.a.work_once(JobKind::Replicate).await {}
    let waiting = world.record(&record).await;
    assert!(["waiting_replicate", "replicating"].contains(&waiting["status"].as_str().unwrap()), "{waiting}");
    assert_ne!(waiting["extra_info"]["fail_reason"], "", "{waiting}");
    assert_eq!(waiting["extra_info"]["fail_code"], "", "{waiting}");
    world.links.set_fault(None);
    world.clock.advance_seconds(120);
    world.a.work().await;
    assert_eq!(world.record(&record).await["status"], "success");
}

#[tokio::test]
async fn case_25_every_listed_record_exists() {
    let world = World::paired().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &servers.each_ref().map(String::as_str)).await;
    world.a.back_up(&policy).await;
    let selected = world.replicate(&policy).await.selected();
    assert_eq!(selected.len(), 2);
    for (item, record) in &selected {
        assert_eq!(world.record(record).await["source_checkpoint_item_id"], json!(item));
    }
    assert_eq!(world.record_count().await, 2);
}

#[tokio::test]
async fn case_26_a_record_whose_source_is_deleted_before_its_turn_is_skipped() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    let checkpoint = world.a.item(&item).await["checkpoint_id"].as_str().unwrap().to_owned();
    let deleted = world.a.admin.delete_v1(&format!("/providers/{PROVIDER}/checkpoints/{checkpoint}")).await;
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    world.a.work().await;
    let record = world.record(&record).await;
    assert_eq!(record["status"], "skip");
    assert_eq!(record["destination_checkpoint_item_id"], Value::Null);
}

#[tokio::test]
async fn case_27_retention_waits_for_what_is_being_copied() {
    let mut world = World::paired().await;
    let server = world.a.server("db1").await;
    let mut body = policy_body("nightly", &[&server]);
    let operation = &mut body["policy"]["scheduled_operations"][0];
    operation["enabled"] = json!(true);
    operation["operation_definition"]["max_backups"] = json!(1);
    let policy = world.a.admin.post_v1("/policies", &body).await.text("policy.id");
    world.a.control.keep_house().await.unwrap();
    world.next_day().await;
    let first = world.a.all_items().await.remove(0);
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    world.begin_copying(&record).await;
    world.next_day().await;
    assert_eq!(world.a.all_items().await.len(), 2);
    assert_eq!(world.a.item(&first).await["status"], "available", "expired while it was being copied");
    world.links.set_fault(None);
    world.next_day().await;
    assert_eq!(world.record(&record).await["status"], "success");
    world.next_day().await;
    assert_eq!(world.a.admin.get_v1(&format!("/checkpoint_items/{first}")).await.status, 404);
}

#[tokio::test]
async fn case_28_a_single_call_may_name_the_replica_and_tags_travel() {
    let world = World::paired().await;
    let server = world.a.server("db1").await;
    let mut body = policy_body("nightly", &[&server]);
    body["policy"]["tags"] = json!([{ "key": "tier", "value": "gold" }]);
    let policy = world.a.admin.post_v1("/policies", &body).await.text("policy.id");
    let item = world.a.back_up(&policy).await.remove(0);
    let order = json!({ "replication": {
        "name": "copy-of-db1",
        "description": "kept far away",
        "destination_region": "eu-b",
        "destination_project_id": world.b.admin.project_id,
    } });
    let path = format!("/providers/{PROVIDER}/checkpoint_items/{item}/replicate");
    let record = world.a.admin.post_v1(&path, &order).await.text("replication.replication_record_id");
    world.a.work().await;
    let replica = world.record(&record).await["destination_checkpoint_item_id"].as_str().unwrap().to_owned();
    let replica = world.b.item(&replica).await;
    assert_eq!(replica["name"], "copy-of-db1");
    assert_eq!(replica["description"], "kept far away");
    assert_eq!(replica["tags"], json!([{ "key": "tier", "value": "gold" }]));
    assert_eq!(replica["protected_at"], world.a.item(&item).await["protected_at"]);
    assert!(replica["created_at"].as_str() > world.a.item(&item).await["created_at"].as_str());
}

#[tokio::test]
async fn case_29_a_replica_shows_where_it_came_from() {
    let world = World::paired().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &servers.each_ref().map(String::as_str)).await;
    let items = world.a.back_up(&policy).await;
    let selected = world.replicate(&policy).await.selected();
    world.a.work().await;
    let mut checkpoints = Vec::new();
    for (item, record) in selected {
        let id = world.record(&record).await["destination_checkpoint_item_id"].as_str().unwrap().to_owned();
        let replica = world.b.item(&id).await;
        assert!(!items.contains(&id));
        assert_eq!(replica["extend_info"]["copy_from"], "eu-a");
        assert_eq!(replica["extend_info"]["image_type"], "replication");
        assert_eq!(replica["replication_records"][0]["id"], json!(record));
        assert_eq!(replica["replication_records"][0]["source_checkpoint_item_id"], json!(item));
        checkpoints.push(replica["checkpoint_id"].clone());
    }
    assert_eq!(checkpoints[0], checkpoints[1], "replicas of one run share one checkpoint");
}

#[tokio::test]
async fn case_30_unknown_keys_in_the_body_are_ignored() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let answer =
        world.replicate_with(&policy, json!({ "surprise": { "deep": [1, 2] }, "vault_id": "x" })).await;
    assert_eq!(answer.selected().len(), 1);
}

#[tokio::test]
async fn case_31_a_body_of_the_wrong_shape_is_refused_and_named() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let admin = &world.a.admin;
    for (body, named) in [
        (json!({}), "replication: is missing"),
        (json!({ "replicate": {} }), "replication: is missing"),
        (json!({ "replication": [] }), "replication: must be an object"),
        (json!({ "replication": null }), "replication: is missing"),
        (json!([]), "body: must be a JSON object"),
        (json!("text"), "body: must be a JSON object"),
        (json!({ "replication": { "policy_id": policy } }), "replication.destination_region: is missing"),
    ] {
        admin.post_v1(&core(), &body).await.refuses(400, "CSBS.9001", named);
    }
    for changes in [json!({ "destination_region": 7 }), json!({ "destination_project_id": ["x"] })] {
        let key = changes.as_object().unwrap().keys().next().unwrap().clone();
        let answer = world.replicate_with(&policy, changes).await;
        answer.refuses(400, "CSBS.9001", &format!("replication.{key}: must be a string"));
    }
    let json = "application/json";
    let whole = world.order(&policy).to_string();
    for (content_type, text, named) in [
        (json, String::new(), "body: is empty"),
        (json, "{".to_owned(), "body: is not valid JSON"),
        (json, format!("{}{}", "[".repeat(5000), "]".repeat(5000)), "body: is not valid JSON"),
        (json, "\u{0}\u{1}".to_owned(), "body: is not valid JSON"),
        (json, format!("{{\"x\": \"{}\"}}", "y".repeat(100_000)), "body: is larger than"),
        ("text/plain", whole.clone(), "Content-Type: must be application/json"),
        ("application/x-www-form-urlencoded", whole, "Content-Type: must be application/json"),
    ] {
        let request = admin.request(Method::POST, &admin.v1(&core())).header("Content-Type", content_type);
        let answer = admin.raw(request.body(Body::from(text)).unwrap()).await;
        answer.refuses(400, "CSBS.9001", named);
    }
    assert_eq!(world.record_count().await, 0);
}

#[tokio::test]
async fn case_32_a_region_without_destinations_refuses() {
    let world = World::apart().await;
    let (policy, _) = world.backed_up().await;
    let capabilities = world.a.admin.get_v1("/replication_capabilities").await;
    assert_eq!(capabilities.body, json!({ "regions": [{ "name": "eu-a", "replication_destinations": [] }] }));
    world.replicate(&policy).await.refuses(400, "BackupService.1005", "destination_region");
}

#[tokio::test]
async fn case_33_a_record_is_a_fresh_handle_made_when_it_is_queued() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    let queued = world.record(&record).await;
    assert_eq!(queued["status"], "waiting_replicate");
    world.clock.advance_seconds(1000);
    world.a.work().await;
    let ended = world.record(&record).await;
    assert_eq!(ended["status"], "success");
    assert_eq!(ended["created_at"], queued["created_at"]);
    write_disk(&world.a.disk("db1"), DISK_BYTES, 77);
    world.a.back_up(&policy).await;
    let (_, next) = world.replicate(&policy).await.selected().remove(0);
    assert_ne!(next, record);
}
