//! Operation logs and restores in Karbor's form.

use serde_json::{Value, json};

use crate::support::{Answer, NOBODY, PROVIDER, World};

/// (operation_type, status) of each log, newest first.
fn told(answer: &Answer) -> Vec<(String, String)> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let types = answer.texts("operation_logs", "operation_type");
    types.into_iter().zip(answer.texts("operation_logs", "status")).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(kind, status)| ((*kind).to_owned(), (*status).to_owned())).collect()
}

#[tokio::test]
async fn what_was_done_to_a_backup_is_logged_while_and_after_it_is_done() {
    let mut world = World::paired().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let checkpoint = world.a.begin_backup(&policy).await;
    let logs = "/operation_logs";
    assert_eq!(told(&world.a.admin.get_v1(logs).await), pairs(&[("protect", "running")]));
    world.a.work().await;
    let item = world.a.items_of(&checkpoint).await.remove(0);
    world.replicate(&policy).await;
    assert_eq!(
        told(&world.a.admin.get_v1(logs).await),
        pairs(&[("copy", "waiting"), ("protect", "success")])
    );
    world.a.work().await;
    let shown = world.a.admin.get(&format!("/antipode/v1/servers/{server}")).await;
    let volume = shown.body["server"]["volumes"][0]["id"].as_str().unwrap().to_owned();
    let backup = world.a.item(&item).await["extend_info"]["volume_backups"][0]["id"].clone();
    let order = json!({ "restore": {
        "checkpoint_id": checkpoint, "provider_id": PROVIDER,
        "parameters": { "checkpoint_item_id": item, "power_on": false,
            "targets": { "server_id": server, "volumes": [{ "backup_id": backup, "volume_id": volume }] } },
    } });
    let restore = world.a.admin.post_v1("/restores", &order).await.text("restore.id");
    world.a.work().await;
    world.a.admin.delete_v1(&format!("/providers/{PROVIDER}/checkpoints/{checkpoint}")).await;
    let during = world.a.admin.get_v1(logs).await;
    assert_eq!(told(&during)[0], ("delete".to_owned(), "running".to_owned()));
    world.a.work().await;
    let all = world.a.admin.get_v1(logs).await;
    let done = [("delete", "success"), ("restore", "success"), ("copy", "success"), ("protect", "success")];
    assert_eq!(told(&all), pairs(&done));
    for log in all.body["operation_logs"].as_array().unwrap() {
        assert_eq!((&log["checkpoint_id"], &log["provider_id"]), (&json!(checkpoint), &json!(PROVIDER)));
        assert!(log["ended_at"].as_str().unwrap() > log["started_at"].as_str().unwrap(), "{log}");
        assert_eq!((&log["error_info"], &log["scheduled_operation_id"]), (&Value::Null, &Value::Null));
        let more: Value = serde_json::from_str(log["extra_info"].as_str().unwrap()).unwrap();
        assert_eq!((&more["checkpoint_item_id"], &more["created_by"]), (&json!(item), &json!("manual")));
    }
    for (filter, count) in [
        (format!("checkpoint_id={checkpoint}"), 4),
        (format!("checkpoint_id={NOBODY}"), 0),
        (format!("plan_id={policy}"), 3),
        ("plan_id=fake_1".to_owned(), 0),
        (format!("restore_id={restore}"), 1),
        ("status=success".to_owned(), 4),
        ("status=failed&status=running".to_owned(), 0),
        ("operation_type=delete&operation_type=copy".to_owned(), 2),
        ("unknown=x&limit=3".to_owned(), 3),
    ] {
        let found = world.a.admin.get_v1(&format!("{logs}?{filter}")).await;
        assert_eq!(told(&found).len(), count, "{filter}");
    }
    for bad in
        ["checkpoint_id=x", "plan_id=x", "restore_id=x", "status=fine", "operation_type=verify", "sort=size"]
    {
        world.a.admin.get_v1(&format!("{logs}?{bad}")).await.refuses(400, "CSBS.9001", "");
    }
    let foreign = world.a.stranger("other").await;
    assert_eq!(foreign.get_v1(logs).await.body, json!({ "operation_logs": [] }));
    world.next_day().await;
    assert_eq!(told(&world.a.admin.get_v1(&format!("{logs}?checkpoint_id={checkpoint}")).await).len(), 4);
}

#[tokio::test]
async fn a_failure_is_logged_with_its_reason() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    world.fail_record(&record).await;
    std::fs::remove_file(world.a.disk("db1")).unwrap();
    world.a.back_up(&policy).await;
    let failed = world.a.admin.get_v1("/operation_logs?status=failed").await;
    assert_eq!(told(&failed), pairs(&[("protect", "failed"), ("copy", "failed")]));
    for log in failed.body["operation_logs"].as_array().unwrap() {
        assert!(log["error_info"].as_str().unwrap().len() > 10, "{log}");
    }
}

#[tokio::test]
async fn logs_come_in_pages_and_one_by_one() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    for _ in 0..3 {
        world.a.back_up(&policy).await;
    }
    let first = world.a.admin.get_v1("/operation_logs?limit=2&sort=started_at:asc").await;
    let href = first.body["operation_logs_links"][0]["href"].as_str().unwrap();
    let second = world.a.admin.get(href.strip_prefix("http://eu-a.example:8780").unwrap()).await;
    assert!(second.body.get("operation_logs_links").is_none());
    let mut ids = first.texts("operation_logs", "id");
    ids.extend(second.texts("operation_logs", "id"));
    ids.reverse();
    assert_eq!(ids, world.a.admin.get_v1("/operation_logs").await.texts("operation_logs", "id"));
    let one = world.a.admin.get_v1(&format!("/operation_logs/{}", ids[0])).await;
    assert_eq!(one.body["operation_log"]["id"], json!(ids[0]));
    world.a.admin.get_v1(&format!("/operation_logs?marker={NOBODY}")).await.refuses(
        400,
        "CSBS.9001",
        "marker",
    );
    let foreign = world.a.stranger("other").await;
    for client in [&foreign, &world.a.admin] {
        let id = if client.project_id == foreign.project_id { ids[0].as_str() } else { NOBODY };
        client.get_v1(&format!("/operation_logs/{id}")).await.refuses(404, "CSBS.6040", "task not found");
        client.delete_v1(&format!("/operation_logs/{id}")).await.refuses(404, "CSBS.6040", "task not found");
    }
    world.a.admin.get_v1("/operation_logs/x").await.refuses(400, "CSBS.9001", "operation_log_id");
}

#[tokio::test]
async fn a_log_can_go_when_its_operation_has_ended_and_takes_nothing_with_it() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let checkpoint = world.a.begin_backup(&policy).await;
    let log = world.a.admin.get_v1("/operation_logs").await.texts("operation_logs", "id").remove(0);
    let path = format!("/operation_logs/{log}");
    world.a.admin.delete_v1(&path).await.refuses(400, "CSBS.2003", "running");
    world.a.work().await;
    let reader = world.a.user("reader", "reader").await;
    assert_eq!(reader.delete_v1(&path).await.status, 403);
    let deleted = world.a.admin.delete_v1(&path).await;
    assert_eq!((deleted.status, deleted.body), (200, json!({})));
    world.a.admin.get_v1(&path).await.refuses(404, "CSBS.6040", "task not found");
    world.a.admin.delete_v1(&path).await.refuses(404, "CSBS.6040", "task not found");
    assert_eq!(world.a.admin.get_v1("/operation_logs").await.body, json!({ "operation_logs": [] }));
    assert_eq!(world.a.items_of(&checkpoint).await.len(), 1, "the backup is still there");
    world.a.admin.delete_v1(&format!("/providers/{PROVIDER}/checkpoints/{checkpoint}")).await;
    world.a.work().await;
    let after = world.a.admin.get_v1("/operation_logs").await;
    assert_eq!(told(&after), pairs(&[("delete", "success")]), "a later operation is logged again");
}

#[tokio::test]
async fn restores_are_listed_and_shown_as_they_were_ordered() {
    let world = World::apart().await;
    let (_, item) = world.backed_up().await;
    let item = world.a.item(&item).await;
    let server = item["resource_id"].as_str().unwrap();
    let shown = world.a.admin.get(&format!("/antipode/v1/servers/{server}")).await;
    let volume = &shown.body["server"]["volumes"][0]["id"];
    let volumes =
        json!([{ "backup_id": item["extend_info"]["volume_backups"][0]["id"], "volume_id": volume }]);
    let order = json!({ "restore": {
        "checkpoint_id": item["checkpoint_id"], "provider_id": PROVIDER, "restore_auth": null,
        "restore_target": null,
        "parameters": { "checkpoint_item_id": item["id"], "power_on": true,
            "targets": { "server_id": server, "volumes": volumes } },
    } });
    let ordered = world.a.admin.post_v1("/restores", &order).await;
    let id = ordered.text("restore.id");
    let running = world.a.admin.get_v1(&format!("/restores/{id}")).await;
    assert_eq!((running.status, &running.body), (200, &ordered.body));
    let resource = format!("OS::Nova::Server#{server}");
    assert_eq!(running.body["restore"]["resources_status"], json!({ resource.as_str(): "restoring" }));
    world.a.work().await;
    let listed = world.a.admin.get_v1("/restores?sort=created_at:asc").await;
    assert_eq!(listed.texts("restores", "status"), ["success"]);
    assert_eq!(listed.body["restores"][0]["resources_status"], json!({ resource.as_str(): "available" }));
    let foreign = world.a.stranger("other").await;
    assert_eq!(foreign.get_v1("/restores").await.body, json!({ "restores": [] }));
    foreign.get_v1(&format!("/restores/{id}")).await.refuses(404, "CSBS.6040", "task not found");
}
