//! Quotas: measured, set by the operator, enforced without dropping anything; and the calls of consoles beside.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, NOBODY, PROVIDER, Region, World};

fn expected(capacity: i64, capacity_used: u64, backups: i64, backups_used: u64) -> Value {
    json!([
        { "type": "backup_capacity", "unit": "GB", "quota": capacity, "used": capacity_used },
        { "type": "backups", "quota": backups, "used": backups_used },
    ])
}

async fn set(region: &Region, project: &str, quotas: Value) -> Answer {
    let path = format!("/antipode/v1/quotas/{project}");
    region.admin.send(Method::PUT, &path, Some(&json!({ "quotas": quotas }))).await
}

async fn protect(region: &Region, server: &str) -> Answer {
    let path = format!("/providers/{PROVIDER}/resources/{server}/action");
    region.admin.post_v1(&path, &json!({ "protect": {} })).await
}

#[tokio::test]
async fn what_a_project_holds_is_measured_and_unlimited_until_the_operator_says_otherwise() {
    let world = World::paired().await;
    let empty = world.a.admin.get_v1("/quotas").await;
    assert_eq!(
        (empty.status, empty.body),
        (200, json!({ "quotas": { "resources": expected(-1, 0, -1, 0) } }))
    );
    let (policy, _) = world.backed_up().await;
    let held = world.a.admin.get_v1("/quotas").await;
    assert_eq!(held.body["quotas"]["resources"], expected(-1, 1, -1, 1));
    world.replicate(&policy).await;
    world.a.work().await;
    let there = world.b.admin.get_v1("/quotas").await;
    assert_eq!(there.body["quotas"]["resources"], expected(-1, 0, -1, 0), "replicas come under their grants");
    let stranger = world.a.stranger("other").await;
    assert_eq!(stranger.get_v1("/quotas").await.body["quotas"]["resources"], expected(-1, 0, -1, 0));
}

#[tokio::test]
async fn a_full_quota_refuses_what_is_new_and_drops_nothing() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let project = world.a.admin.project_id.clone();
    let first = world.a.back_up(&policy).await.remove(0);
    let answer = set(&world.a, &project, json!({ "backups": 1 })).await;
    assert_eq!((answer.status, &answer.body["quotas"]["resources"]), (200, &expected(-1, 1, 1, 1)));
    assert_eq!(world.a.admin.get_v1("/quotas").await.body["quotas"]["resources"], expected(-1, 1, 1, 1));
    let run = json!({ "checkpoint": { "plan_id": policy, "parameters": {} } });
    let refused = world.a.admin.post_v1(&format!("/providers/{PROVIDER}/checkpoints"), &run).await;
    refused.refuses(400, "CSBS.9006", "Quota exceeded for resources: backups");
    protect(&world.a, &server).await.refuses(400, "CSBS.9006", "Quota exceeded for resources: backups");
    let check =
        json!({ "check_protectable": [{ "resource_id": server, "resource_type": "OS::Nova::Server" }] });
    let checked = world.a.admin.post_v1(&format!("/providers/{PROVIDER}/resources/action"), &check).await;
    assert_eq!(checked.body["protectable"][0]["error_code"], "CSBS.9006");
    assert_eq!(world.a.all_items().await, [first.as_str()]);

    set(&world.a, &project, json!({ "backups": -1, "backup_capacity": 1 })).await;
    assert_eq!(protect(&world.a, &server).await.status, 200, "there is room in the first GiB");
    world.a.work().await;
    set(&world.a, &project, json!({ "backup_capacity": 0 })).await;
    protect(&world.a, &server).await.refuses(400, "CSBS.9006", "backup_capacity");
    assert_eq!(world.a.all_items().await.len(), 2);

    set(&world.a, &project, json!({ "backup_capacity": -1, "backups": 2 })).await;
    let checkpoint = world.a.item(&first).await["checkpoint_id"].as_str().unwrap().to_owned();
    protect(&world.a, &server).await.refuses(400, "CSBS.9006", "backups");
    world.a.admin.delete_v1(&format!("/providers/{PROVIDER}/checkpoints/{checkpoint}")).await;
    world.a.work().await;
    assert_eq!(protect(&world.a, &server).await.status, 200, "a deletion makes room");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_orders_do_not_pass_a_quota() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    set(&world.a, &world.a.admin.project_id.clone(), json!({ "backups": 3 })).await;
    let path = format!("/providers/{PROVIDER}/resources/{server}/action");
    let calls = (0..8).map(|_| {
        let (admin, path) = (world.a.admin.clone(), path.clone());
        tokio::spawn(async move { admin.post_v1(&path, &json!({ "protect": {} })).await.status })
    });
    let mut begun = 0;
    for call in calls.collect::<Vec<_>>() {
        begun += usize::from(call.await.unwrap() == 200);
    }
    assert_eq!((begun, world.a.all_items().await.len()), (3, 3));
}

#[tokio::test]
async fn quotas_are_set_by_the_operator_and_seen_by_the_project() {
    let world = World::apart().await;
    let project = world.a.admin.project_id.clone();
    for (quotas, named) in [
        (json!({ "backups": -2 }), "quotas.backups: "),
        (json!({ "backups": "7" }), "quotas.backups: must be a whole number"),
        (json!({ "backup_capacity": 1.5 }), "quotas.backup_capacity: must be a whole number"),
        (json!({ "backup_capacity": 1i64 << 50 }), "quotas.backup_capacity: must be at most"),
        (json!({ "backup_capacity": i64::MAX }), "quotas.backup_capacity: must be a whole number"),
        (json!([]), "quotas: must be an object"),
    ] {
        set(&world.a, &project, quotas).await.refuses(400, "CSBS.9001", named);
    }
    set(&world.a, "nowhere", json!({ "backups": 1 })).await.refuses(404, "Antipode.0404", "nowhere");
    world.a.admin.get("/antipode/v1/quotas/nowhere").await.refuses(404, "Antipode.0404", "nowhere");
    world.a.admin.get("/antipode/v1/quotas/a%20b").await.refuses(400, "CSBS.9001", "project_id");
    let reader = world.a.user("reader", "reader").await;
    let path = format!("/antipode/v1/quotas/{project}");
    let seen = reader.get(&path).await;
    assert_eq!(
        seen.body,
        json!({ "quotas": { "project_id": project, "resources": expected(-1, 0, -1, 0) } })
    );
    let body = json!({ "quotas": { "backups": 9 } });
    reader.send(Method::PUT, &path, Some(&body)).await.refuses(403, "Antipode.0403", "operator");
    let stranger = world.a.stranger("other").await;
    let (foreign, absent) = (stranger.get(&path).await, stranger.get("/antipode/v1/quotas/nowhere").await);
    foreign.refuses(403, "Antipode.0403", "operator");
    assert_eq!(foreign.body, absent.body, "foreign and absent look the same");
    assert_eq!(
        set(&world.a, &stranger.project_id, json!({})).await.status,
        200,
        "nothing to change is no fault"
    );
}

#[tokio::test]
async fn there_is_one_provider_and_no_dedicated_storage() {
    let world = World::apart().await;
    let admin = &world.a.admin;
    let listed = admin.get_v1("/providers").await;
    assert_eq!(listed.texts("providers", "id"), [PROVIDER]);
    let shown = admin.get_v1(&format!("/providers/{PROVIDER}")).await;
    assert_eq!(shown.body["provider"], listed.body["providers"][0]);
    assert!(shown.body["provider"]["extended_info_schema"]["options_schema"].is_object());
    admin.get_v1(&format!("/providers/{NOBODY}")).await.refuses(400, "CSBS.9001", "provider invalid");
    let config = admin.get_v1("/protect_config?dec_project_id=x").await;
    let id = &admin.project_id;
    let nothing =
        json!({ "id": id, "project_id": id, "dec_enable": false, "dec_capacity": 0, "dec_used_capacity": 0 });
    assert_eq!((config.status, &config.body["protect_config"]), (200, &nothing));
    let capabilities = admin.get_v1("/protection_capabilities").await;
    let servers = json!([{ "resource_type": "OS::Nova::Server", "app_consistency": false }]);
    assert_eq!((capabilities.status, &capabilities.body["protection_capabilities"]), (200, &servers));
}
