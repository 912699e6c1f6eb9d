//! Our own surface: servers, grants, regions, progress.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{NOBODY, PROVIDER, World, write_disk};

const SERVERS: &str = "/antipode/v1/servers";
const GRANTS: &str = "/antipode/v1/grants";

#[tokio::test]
async fn a_bad_server_is_refused_and_not_registered() {
    let world = World::apart().await;
    let path = world.a.disk("good");
    write_disk(&path, 4096, 1);
    let outside = tempfile::NamedTempFile::new().unwrap();
    let volume = json!({ "name": "root", "path": path, "format": "raw" });
    let server = |changes: Value| {
        let mut server = json!({ "name": "x", "project_id": world.a.admin.project_id, "volumes": [volume] });
        for (key, value) in changes.as_object().unwrap() {
            server[key] = value.clone();
        }
        json!({ "server": server })
    };
    let of_volume = |changes: Value| {
        let mut volume = volume.clone();
        for (key, value) in changes.as_object().unwrap() {
            volume[key] = value.clone();
        }
        server(json!({ "volumes": [volume] }))
    };
    for (body, named) in [
        (json!({}), "server: is missing"),
        (server(json!({ "name": "" })), "server.name: "),
        (server(json!({ "name": null })), "server.name: is missing"),
        (server(json!({ "id": "a/b" })), "server.id: "),
        (server(json!({ "project_id": "nowhere" })), "server.project_id: "),
        (server(json!({ "volumes": [] })), "server.volumes: "),
        (of_volume(json!({ "format": "vmdk" })), "server.volumes[0].format: "),
        (of_volume(json!({ "format": null })), "server.volumes[0].format: is missing"),
        (of_volume(json!({ "bootable": "yes" })), "server.volumes[0].bootable: "),
        (of_volume(json!({ "path": outside.path() })), "server.volumes[0].path: "),
        (of_volume(json!({ "path": world.a.disk("missing") })), "server.volumes[0].path: "),
        (of_volume(json!({ "path": "" })), "server.volumes[0].path: "),
    ] {
        world.a.admin.post(SERVERS, &body).await.refuses(400, "CSBS.9001", named);
    }
    assert_eq!(world.a.admin.get(SERVERS).await.body, json!({ "servers": [] }));
}

#[tokio::test]
async fn a_server_keeps_its_own_ids_and_hides_its_paths_from_members() {
    let world = World::apart().await;
    let path = world.a.disk("db1");
    write_disk(&path, 4096, 1);
    let volume = json!({ "id": "vol-1", "name": "root", "path": path, "format": "raw", "bootable": true });
    let body = json!({ "server": {
        "id": "i-0123", "name": "db1", "project_id": world.a.admin.project_id, "volumes": [volume],
    } });
    let made = world.a.admin.post(SERVERS, &body).await;
    assert_eq!((made.status, made.text("server.id")), (201, "i-0123".to_owned()));
    assert_eq!(made.body["server"]["volumes"][0]["path"], json!(path));
    assert_eq!(made.body["server"]["volumes"][0]["size_bytes"], 4096);
    world.a.admin.post(SERVERS, &body).await.refuses(409, "Antipode.0409", "i-0123");
    let reader = world.a.user("reader", "reader").await;
    let shown = reader.get(&format!("{SERVERS}/i-0123")).await;
    assert_eq!((shown.status, shown.body["server"]["volumes"][0].get("path")), (200, None));
    assert_eq!(reader.get(SERVERS).await.texts("servers", "id"), ["i-0123"]);
    assert_eq!(reader.get(&format!("{SERVERS}?all=true")).await.status, 403);
    let all = world.a.admin.get(&format!("{SERVERS}?all=true")).await;
    assert_eq!(all.body["servers"][0]["volumes"][0]["path"], json!(path));
    world.a.stranger("other").await.get(&format!("{SERVERS}/i-0123")).await.refuses(404, "CSBS.6000", "");
    world.a.admin.get(&format!("{SERVERS}/nothing")).await.refuses(404, "CSBS.6000", "");

    let policy = world.a.policy("nightly", &["i-0123"]).await;
    let bound = world.a.admin.send(Method::DELETE, &format!("{SERVERS}/i-0123"), None).await;
    assert_eq!(bound.status, 409, "{}", bound.body);
    world.a.admin.delete_v1(&format!("/policies/{policy}")).await;
    let removed = world.a.admin.send(Method::DELETE, &format!("{SERVERS}/i-0123"), None).await;
    assert_eq!(removed.status, 200, "{}", removed.body);
    assert_eq!(world.a.admin.get(&format!("{SERVERS}/i-0123")).await.status, 404);
}

#[tokio::test]
async fn a_grant_is_made_shown_and_taken_back() {
    let world = World::paired().await;
    let admin = &world.b.admin;
    for (grant, named) in [
        (json!({}), "grant.source_region: is missing"),
        (json!({ "source_region": "eu-z", "source_project_id": "p" }), "grant.source_region: "),
        (json!({ "source_region": "eu-a" }), "grant.source_project_id: is missing"),
        (json!({ "source_region": "eu-a", "source_project_id": "p", "mode": "open" }), "grant.mode: "),
        (json!({ "source_region": "eu-a", "source_project_id": "p", "bytes_max": 0 }), "grant.bytes_max: "),
        (json!({ "source_region": "eu-a", "source_project_id": "p", "bytes_max": 1.5 }), "grant.bytes_max: "),
        (
            json!({ "source_region": "eu-a", "source_project_id": "p", "keep_days_min": -1 }),
            "grant.keep_days_min: ",
        ),
        (
            json!({ "source_region": "eu-a", "source_project_id": "p", "keep_days_min": 40_000 }),
            "grant.keep_days_min: ",
        ),
        (
            json!({ "source_region": "eu-a", "source_project_id": "p", "expires_at": "soon" }),
            "grant.expires_at: ",
        ),
    ] {
        admin.post(GRANTS, &json!({ "grant": grant })).await.refuses(400, "CSBS.9001", named);
    }
    let grants = admin.get(GRANTS).await.body["grants"].clone();
    let grant = &grants[0];
    assert_eq!((&grant["mode"], &grant["keep_days_min"]), (&json!("restorable"), &json!(30)));
    assert_eq!((&grant["bytes_max"], &grant["revoked_at"]), (&Value::Null, &Value::Null));
    let path = format!("{GRANTS}/{}", grant["id"].as_str().unwrap());
    assert_eq!(world.b.stranger("other").await.send(Method::DELETE, &path, None).await.status, 404);
    assert_eq!(admin.send(Method::DELETE, &format!("{GRANTS}/{NOBODY}"), None).await.status, 404);
    assert_eq!(admin.send(Method::DELETE, &path, None).await.status, 200);
    assert_ne!(admin.get(GRANTS).await.body["grants"][0]["revoked_at"], Value::Null);
    let (policy, _) = world.backed_up().await;
    world.clock.advance_seconds(60);
    world.a.control.keep_house().await.unwrap();
    world.replicate(&policy).await.refuses(400, "BackupService.1011", "destination_project_id");
}

#[tokio::test]
async fn pairing_needs_the_line_once_and_the_right_code() {
    let world = World::apart().await;
    let (a, b) = (&world.a.admin, &world.b.admin);
    let invite = "/antipode/v1/regions/invitations";
    a.post(invite, &json!({})).await.refuses(400, "CSBS.9001", "region: is missing");
    a.post(invite, &json!({ "region": ".." })).await.refuses(400, "CSBS.9001", "region: ");
    assert_eq!(a.post(invite, &json!({ "region": "eu-a" })).await.status, 400);
    let accept = "/antipode/v1/regions/accept";
    b.post(accept, &json!({ "invitation": "nonsense" })).await.refuses(400, "CSBS.9001", "invitation");
    let line = a.post(invite, &json!({ "region": "eu-b" })).await.text("invitation");
    assert!(!line.contains('\n'));
    let accepted = b.post(accept, &json!({ "invitation": line })).await;
    assert_eq!((accepted.status, accepted.text("region")), (200, "eu-a".to_owned()));
    b.post(accept, &json!({ "invitation": line })).await.refuses(400, "Antipode.0400", "invitation");
    let before = a.get("/antipode/v1/regions").await;
    assert_eq!(before.body["regions"][0]["is_confirmed"], false);
    assert_eq!(
        a.get_v1("/replication_capabilities").await.body["regions"][0]["replication_destinations"],
        json!([])
    );
    let confirm = "/antipode/v1/regions/eu-b/confirm";
    a.post(confirm, &json!({ "code": "AAAAAAAAAAAAAAAAAAAA" })).await.refuses(400, "CSBS.9001", "code");
    assert_eq!(a.post("/antipode/v1/regions/eu-z/confirm", &json!({ "code": "x" })).await.status, 404);
    assert_eq!(a.post(confirm, &json!({ "code": accepted.text("code") })).await.status, 200);
    assert_eq!(a.get("/antipode/v1/regions").await.body["regions"][0]["is_confirmed"], true);
    let capabilities = a.get_v1("/replication_capabilities").await;
    assert_eq!(
        capabilities.body,
        json!({ "regions": [{ "name": "eu-a", "replication_destinations": ["eu-b"] }] })
    );
}

#[tokio::test]
async fn progress_is_told_in_bytes() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    let path = format!("/antipode/v1/replication_records/{record}");
    assert_eq!(world.a.admin.get(&path).await.text("replication_record.state"), "waiting");
    world.a.work().await;
    let done = world.a.admin.get(&path).await.body["replication_record"].clone();
    assert_eq!((&done["state"], &done["has_receipt"]), (&json!("done"), &json!(true)));
    assert!(done["sent_bytes"].as_u64().unwrap() > 0);
    let item_path = format!("/antipode/v1/checkpoint_items/{item}");
    let shown = world.a.admin.get(&item_path).await.body["checkpoint_item"].clone();
    assert_eq!(shown["progress_bytes"], shown["logical_bytes"]);
    let foreign = world.a.stranger("other").await;
    assert_eq!((foreign.get(&path).await.status, foreign.get(&item_path).await.status), (404, 404));
}

#[tokio::test]
async fn records_are_listed_filtered_and_counted() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    for (filter, count) in [
        (String::new(), 1),
        (format!("id={record}"), 1),
        (format!("id={NOBODY}"), 0),
        ("status=waiting_replicate".into(), 1),
        ("status=success&status=replicating".into(), 0),
        (format!("source_checkpoint_item_id={item}"), 1),
        ("destination_region=eu-b".into(), 1),
        ("destination_region=eu-c".into(), 0),
        (format!("plan_id={policy}"), 1),
        (format!("policy_id={NOBODY}"), 0),
        ("end_time=2026-01-01T00:00:00".into(), 0),
    ] {
        let answer = world.a.admin.get_v1(&format!("/replication_records?{filter}")).await;
        let listed = answer.texts("replication_records", "id").len();
        assert_eq!((listed, &answer.body["count"]), (count, &json!(count)), "{filter}");
    }
    for bad in ["id=x", "status=done", "destination_region=a/b", "start_time=x", "sort=size", "limit=0"] {
        world.a.admin.get_v1(&format!("/replication_records?{bad}")).await.refuses(400, "CSBS.9001", "");
    }
    let foreign = world.a.stranger("other").await;
    foreign.get_v1(&format!("/replication_records/{record}")).await.refuses(
        404,
        "CSBS.6040",
        "task not found",
    );
    assert_eq!(foreign.get_v1("/replication_records").await.body["count"], 0);
}

#[tokio::test]
async fn a_deleted_backup_comes_back_from_quarantine_to_its_own_project_only() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let item = world.a.back_up(&policy).await[0].clone();
    let checkpoint = world.a.item(&item).await["checkpoint_id"].as_str().unwrap().to_owned();
    let quarantine = "/antipode/v1/quarantine";
    let undelete = format!("{quarantine}/{item}/undelete");
    assert_eq!(world.a.admin.post(&undelete, &json!({})).await.status, 404, "it is not deleted");
    let path = format!("/providers/{PROVIDER}/checkpoints/{checkpoint}");
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 200);
    world.a.work().await;
    assert_eq!(world.a.admin.get_v1("/checkpoint_items/count").await.body, json!({ "count": 0 }));
    let listed = world.a.admin.get(quarantine).await;
    assert_eq!(listed.body["quarantined_items"][0]["id"], json!(item));
    assert_eq!(world.a.admin.get(&format!("{quarantine}?marker=x")).await.status, 400);
    let stranger = world.a.stranger("other").await;
    assert_eq!(stranger.get(quarantine).await.body, json!({ "quarantined_items": [] }));
    assert_eq!(stranger.post(&undelete, &json!({})).await.status, 404, "somebody else's");
    let back = world.a.admin.post(&undelete, &json!({})).await;
    assert_eq!((back.status, &back.body["checkpoint_item"]["status"]), (200, &json!("available")));
    assert_eq!(world.a.item(&item).await["status"], "available");
    assert_eq!(world.a.admin.post(&undelete, &json!({})).await.status, 404, "it is back already");
    let vaults = world.a.admin.get("/antipode/v1/vaults").await;
    let vault = vaults.body["vaults"][0]["id"].as_str().unwrap().to_owned();
    let ordered = world.a.admin.post(&format!("/antipode/v1/vaults/{vault}/collect"), &json!({})).await;
    assert_eq!(ordered.status, 202);
}
