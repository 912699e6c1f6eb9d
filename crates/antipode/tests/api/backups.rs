//! Backups: protect, run a policy, list, count, show, delete.

use serde_json::{Value, json};

use crate::support::{NOBODY, PROVIDER, World, policy_body};

fn protect_path(server: &str) -> String {
    format!("/providers/{PROVIDER}/resources/{server}/action")
}

#[tokio::test]
async fn a_bad_order_to_protect_is_refused_and_changes_nothing() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    for (body, code, named) in [
        (json!({}), "CSBS.9001", "protect: is missing"),
        (json!({ "protect": { "backup_name": "a b" } }), "CSBS.9001", "protect.backup_name: "),
        (json!({ "protect": { "description": ">" } }), "CSBS.9001", "protect.description: "),
        (json!({ "protect": { "incremental": "yes" } }), "CSBS.9001", "protect.incremental: "),
        (json!({ "protect": { "tags": [] } }), "CSBS.9001", "protect.tags: "),
        (json!({ "protect": { "app_consistency": 5 } }), "CSBS.9001", "protect.app_consistency: "),
        (json!({ "protect": { "resource_type": "OS::Cinder::Volume" } }), "CSBS.6003", "OS::Cinder::Volume"),
    ] {
        world.a.admin.post_v1(&protect_path(&server), &body).await.refuses(400, code, named);
    }
    let good = json!({ "protect": {} });
    world.a.admin.post_v1(&protect_path("nothing"), &good).await.refuses(
        400,
        "CSBS.6000",
        "server do not exist",
    );
    world.a.admin.post_v1(&protect_path("a%2Fb"), &good).await.refuses(400, "CSBS.9001", "resource_id");
    let foreign = world.a.stranger("other").await.post_v1(&protect_path(&server), &good).await;
    foreign.refuses(400, "CSBS.6000", "server do not exist");
    let other_provider = format!("/providers/{NOBODY}/resources/{server}/action");
    world.a.admin.post_v1(&other_provider, &good).await.refuses(400, "CSBS.9001", "provider invalid");
    assert_eq!(world.a.admin.get_v1("/checkpoint_items/count").await.body, json!({ "count": 0 }));
}

#[tokio::test]
async fn a_protected_server_is_listed_at_once_and_available_in_the_end() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let body = json!({ "protect": {
        "backup_name": "before-upgrade", "description": "by hand", "tags": [{ "key": "a", "value": "b" }],
    } });
    let begun = world.a.admin.post_v1(&protect_path(&server), &body).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let checkpoint = begun.text("checkpoint.id");
    assert_eq!(begun.body["checkpoint"]["status"], "protecting");
    assert!(begun.text("checkpoint.protection_plan.id").starts_with("fake_"));
    let items = world.a.items_of(&checkpoint).await;
    let item = world.a.item(&items[0]).await;
    assert_eq!((&item["status"], &item["name"]), (&json!("protecting"), &json!("before-upgrade")));
    assert_eq!(item["extend_info"]["finished_at"], "");
    world.a.work().await;
    let item = world.a.item(&items[0]).await;
    assert_eq!(item["status"], "available");
    assert_eq!(item["extend_info"]["progress"], 100);
    assert_eq!(item["extend_info"]["fail_code"], json!({}));
    assert_eq!(item["tags"], json!([{ "key": "a", "value": "b" }]));
    assert_eq!(
        world.a.item(&checkpoint).await,
        item,
        "clients use the checkpoint's id where the item's belongs"
    );
}

#[tokio::test]
async fn an_unreadable_disk_makes_an_error_that_says_why() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    std::fs::remove_file(world.a.disk("db1")).unwrap();
    let item = world.a.back_up(&policy).await.remove(0);
    let item = world.a.item(&item).await;
    assert_eq!(item["status"], "error");
    let info = &item["extend_info"];
    assert_eq!(info["fail_op"], "backup");
    assert!(info["fail_code"]["Code"].as_str().unwrap().parse::<u32>().is_ok(), "{info}");
    assert!(info["fail_reason"].as_str().unwrap().starts_with("CSBS."), "{info}");
}

#[tokio::test]
async fn a_policy_runs_once_at_a_time_over_its_own_servers() {
    let world = World::apart().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &[&servers[0], &servers[1]]).await;
    let empty = world.a.policy("empty", &[]).await;
    let path = format!("/providers/{PROVIDER}/checkpoints");
    let run = |plan: &str, parameters: Value| json!({ "checkpoint": { "plan_id": plan, "parameters": parameters } });
    for (body, status, code, named) in [
        (json!({ "checkpoint": {} }), 400, "CSBS.9001", "checkpoint.plan_id: is missing"),
        (run("nonsense", json!({})), 400, "CSBS.9001", "checkpoint.plan_id: "),
        (run(NOBODY, json!({})), 404, "CSBS.3000", "plan not found"),
        (
            run(&policy, json!({ "auto_trigger": 1 })),
            400,
            "CSBS.9001",
            "checkpoint.parameters.auto_trigger: ",
        ),
        (run(&policy, json!({ "resources": "x" })), 400, "CSBS.9001", "checkpoint.parameters.resources: "),
        (
            run(&policy, json!({ "resources": ["other"] })),
            400,
            "CSBS.9001",
            "checkpoint.parameters.resources: ",
        ),
        (run(&empty, json!({})), 400, "CSBS.6032", "plan has no resource backup"),
    ] {
        world.a.admin.post_v1(&path, &body).await.refuses(status, code, named);
    }
    let one = run(&policy, json!({ "resources": [servers[1]] }));
    let begun = world.a.admin.post_v1(&path, &one).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    assert_eq!(begun.body["checkpoint"]["protection_plan"]["resources"][0]["id"], json!(servers[1]));
    assert_eq!(begun.body["checkpoint"]["extra_info"], r#"{"created_by": "manual"}"#);
    world.a.admin.post_v1(&path, &one).await.refuses(409, "CSBS.1001", "The policy is executing backup");
    world.a.admin.delete_v1(&format!("/policies/{policy}")).await;
    world.a.work().await;
    assert_eq!(world.a.admin.get_v1("/checkpoint_items/count").await.body, json!({ "count": 1 }));
}

#[tokio::test]
async fn a_run_of_the_schedule_excludes_one_by_hand() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let mut body = policy_body("nightly", &[&server]);
    body["policy"]["scheduled_operations"][0]["enabled"] = json!(true);
    let policy = world.a.admin.post_v1("/policies", &body).await.text("policy.id");
    world.a.control.keep_house().await.unwrap();
    world.clock.advance_seconds(86_400);
    world.a.control.keep_house().await.unwrap();
    let admin = world.a.admin.relog("admin", Some("eu-a")).await;
    let run = json!({ "checkpoint": { "plan_id": policy, "parameters": {} } });
    let path = format!("/providers/{PROVIDER}/checkpoints");
    admin.post_v1(&path, &run).await.refuses(409, "CSBS.6030", "auto plan executing");
    world.a.work().await;
    assert_eq!(admin.post_v1(&path, &run).await.status, 200);
}

#[tokio::test]
async fn some_items_of_a_run_go_by_a_list_and_a_bad_list_takes_none() {
    let world = World::apart().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await, world.a.server("db333").await];
    let policy = world.a.policy("nightly", &servers.each_ref().map(String::as_str)).await;
    for joint in [",", "&checkpoint_items=", ",,%20"] {
        let checkpoint = world.a.begin_backup(&policy).await;
        world.a.work().await;
        let items = world.a.items_of(&checkpoint).await;
        let path = format!("/providers/{PROVIDER}/checkpoints/{checkpoint}?checkpoint_items=");
        let other = world.a.admin.delete_v1(&format!("{path}{}{joint}{NOBODY}", items[0])).await;
        if joint == ",,%20" {
            other.refuses(400, "CSBS.9001", "checkpoint_items");
            continue;
        }
        other.refuses(404, "CSBS.3001", NOBODY);
        assert_eq!(world.a.items_of(&checkpoint).await.len(), 3, "all or none");
        let twice =
            world.a.admin.delete_v1(&format!("{path}{}{joint}{}{joint}{0}", items[0], items[1])).await;
        assert_eq!((twice.status, twice.body), (200, json!({})));
        world.a.work().await;
        assert_eq!(world.a.items_of(&checkpoint).await, [items[2].as_str()]);
    }
}

#[tokio::test]
async fn lists_and_counts_filter_alike() {
    let world = World::apart().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &[&servers[0], &servers[1]]).await;
    let items = world.a.back_up(&policy).await;
    let body = json!({ "protect": { "backup_name": "by_hand" } });
    world.a.admin.post_v1(&protect_path(&servers[0]), &body).await;
    let checkpoint = world.a.item(&items[0]).await["checkpoint_id"].as_str().unwrap().to_owned();
    for (filter, count) in [
        (String::new(), 3),
        ("status=available".into(), 2),
        ("status=available&status=protecting".into(), 3),
        ("status=error".into(), 0),
        (format!("resource_id={}", servers[0]), 2),
        (format!("policy_id={policy}"), 2),
        ("policy_id=fake_0".into(), 0),
        (format!("checkpoint_id={checkpoint}"), 2),
        ("name=Hand".into(), 1),
        ("name=%25".into(), 0),
        ("name=_".into(), 3),
        ("resource_name=22".into(), 1),
        ("resource_type=OS::Nova::Server&resource_type=OS::Ironic::BareMetalServer".into(), 3),
        ("resource_type=OS::Ironic::BareMetalServer".into(), 0),
        ("image_type=backup".into(), 3),
        ("image_type=replication".into(), 0),
        ("start_time=2026-11-23T00:00:00&end_time=2026-11-24T00:00:00.000000".into(), 3),
        ("end_time=2026-11-22T00:00:00Z".into(), 0),
        ("all_tenants=true&unknown=x".into(), 3),
    ] {
        let list = world.a.admin.get_v1(&format!("/checkpoint_items?{filter}")).await;
        assert_eq!(list.texts("checkpoint_items", "id").len(), count, "{filter}");
        let counted = world.a.admin.get_v1(&format!("/checkpoint_items/count?{filter}")).await;
        assert_eq!(counted.body, json!({ "count": count }), "{filter}");
    }
    for (filter, named) in [
        ("status=fine", "status"),
        ("resource_id=a/b", "resource_id"),
        ("policy_id=x", "policy_id"),
        ("checkpoint_id=x", "checkpoint_id"),
        ("start_time=yesterday", "start_time"),
        ("image_type=x", "image_type"),
        ("dec=perhaps", "dec"),
    ] {
        for path in ["/checkpoint_items", "/checkpoint_items/count"] {
            world.a.admin.get_v1(&format!("{path}?{filter}")).await.refuses(400, "CSBS.9001", named);
        }
    }
    let foreign = world.a.stranger("other").await;
    assert_eq!(foreign.get_v1("/checkpoint_items").await.body, json!({ "checkpoint_items": [] }));
    let hidden = foreign.get_v1(&format!("/checkpoint_items/{}", items[0])).await;
    hidden.refuses(404, "CSBS.3001", &items[0]);
}

#[tokio::test]
async fn items_come_in_pages_with_links() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    for _ in 0..3 {
        world.a.back_up(&policy).await;
    }
    let first = world.a.admin.get_v1("/checkpoint_items?limit=2&sort=created_at:asc").await;
    let href = first.body["checkpoint_items_links"][0]["href"].as_str().unwrap();
    let second = world.a.admin.get(href.strip_prefix("http://eu-a.example:8780").unwrap()).await;
    assert!(second.body.get("checkpoint_items_links").is_none());
    let mut all = first.texts("checkpoint_items", "id");
    all.extend(second.texts("checkpoint_items", "id"));
    assert_eq!(all, world.a.all_items().await);
}

#[tokio::test]
async fn deleting_is_refused_while_it_cannot_be_and_ends_in_not_found() {
    let world = World::apart().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &[&servers[0], &servers[1]]).await;
    let checkpoint = world.a.begin_backup(&policy).await;
    let path = format!("/providers/{PROVIDER}/checkpoints/{checkpoint}");
    world.a.admin.delete_v1(&path).await.refuses(400, "CSBS.2003", "item in executing");
    world.a.work().await;
    let items = world.a.items_of(&checkpoint).await;
    for (query, status, code, named) in [
        ("?checkpoint_items=".to_owned(), 400, "CSBS.9001", "checkpoint_items"),
        ("?checkpoint_items=nonsense".to_owned(), 400, "CSBS.9001", "checkpoint_items"),
        (format!("?checkpoint_items={NOBODY}"), 404, "CSBS.3001", NOBODY),
    ] {
        world.a.admin.delete_v1(&format!("{path}{query}")).await.refuses(status, code, named);
    }
    let unknown = format!("/providers/{PROVIDER}/checkpoints/{NOBODY}");
    assert_eq!(world.a.admin.delete_v1(&unknown).await.status, 404);
    assert_eq!(world.a.stranger("other").await.delete_v1(&path).await.status, 404);
    assert_eq!(world.a.items_of(&checkpoint).await.len(), 2);

    let one = world.a.admin.delete_v1(&format!("{path}?checkpoint_items={}", items[0])).await;
    assert_eq!((one.status, one.body), (200, json!({})));
    assert_eq!(world.a.item(&items[0]).await["status"], "deleting");
    let repeated = world.a.admin.delete_v1(&format!("{path}?checkpoint_items={}", items[0])).await;
    repeated.refuses(400, "CSBS.2003", &items[0]);
    world.a.admin.delete_v1(&path).await.refuses(400, "CSBS.2003", &items[0]);
    world.a.work().await;
    world.a.admin.get_v1(&format!("/checkpoint_items/{}", items[0])).await.refuses(
        404,
        "CSBS.3001",
        &items[0],
    );
    assert_eq!(world.a.item(&items[1]).await["status"], "available");
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 200);
    world.a.work().await;
    world.a.admin.get_v1(&format!("/checkpoint_items/{checkpoint}")).await.refuses(
        404,
        "CSBS.3001",
        &checkpoint,
    );
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 404);
}

#[tokio::test]
async fn a_disk_can_be_left_out() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let volume = world.a.admin.get(&format!("/antipode/v1/servers/{server}")).await;
    let volume = volume.body["server"]["volumes"][0]["id"].as_str().unwrap().to_owned();
    let mut body = policy_body("nightly", &[&server]);
    body["policy"]["resources"][0]["extra_info"] = json!({ "exclude_volumes": [volume] });
    let made = world.a.admin.post_v1("/policies", &body).await;
    assert_eq!(made.body["policy"]["resources"][0]["extra_info"], json!({ "exclude_volumes": [volume] }));
    let run = json!({ "checkpoint": { "plan_id": made.text("policy.id"), "parameters": {} } });
    let nothing = world.a.admin.post_v1(&format!("/providers/{PROVIDER}/checkpoints"), &run).await;
    nothing.refuses(400, "CSBS.6032", "");
    let order = json!({ "protect": { "extra_info": { "exclude_volumes": [volume] } } });
    world.a.admin.post_v1(&protect_path(&server), &order).await.refuses(400, "CSBS.6007", &server);
}

#[tokio::test]
async fn a_backup_with_known_changes_adds_what_they_name_and_a_bad_list_is_refused() {
    let world = World::apart().await;
    let region = &world.a;
    let server = region.server("db1").await;
    let path = format!("/antipode/v1/servers/{server}/backups");
    let first = region.admin.post(&path, &json!({ "backup": { "name": "first" } })).await;
    assert_eq!(first.status, 202, "{}", first.body);
    region.work().await;
    let first = first.text("backup.checkpoint_item_id");
    assert_eq!(region.item(&first).await["status"], "available");

    let shown = region.admin.get(&format!("/antipode/v1/servers/{server}")).await;
    let volume = shown.body["server"]["volumes"][0]["id"].as_str().unwrap().to_owned();
    let order = |volume: &str, extents: Value| {
        let volumes = json!([{ "id": volume, "extents": extents }]);
        json!({ "backup": { "changes": { "since": first, "volumes": volumes } } })
    };
    let extent = |offset: i64, length: i64| json!([{ "offset": offset, "length": length }]);
    for (body, named) in [
        (order(&volume, extent(-1, 4096)), "offset"),
        (order(&volume, extent(0, 0)), "changes"),
        (order(&volume, extent(i64::MAX, 4096)), "changes"),
        (order("another", extent(0, 4096)), "changes"),
        (json!({ "backup": { "changes": { "volumes": [] } } }), "since"),
    ] {
        let refused = region.admin.post(&path, &body).await;
        assert!(
            refused.status == 400 && refused.body.to_string().contains(named),
            "{body}: {}",
            refused.body
        );
    }
    let same = region.admin.post(&path, &order(&volume, json!([]))).await;
    region.work().await;
    let shown = format!("/antipode/v1/checkpoint_items/{}", same.text("backup.checkpoint_item_id"));
    let item = region.admin.get(&shown).await.body["checkpoint_item"].clone();
    assert_eq!((&item["status"], &item["added_bytes"]), (&json!("available"), &json!(0)));
}
