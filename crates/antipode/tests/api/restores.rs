//! Restores: what is refused, and that disks come back.

use serde_json::{Value, json};

use crate::support::{DISK_BYTES, NOBODY, PROVIDER, World, write_disk};

/// The order to restore an item onto the first disk of a server.
fn order(item: &Value, server: &str, backup: &str, volume: &str) -> Value {
    json!({ "restore": {
        "checkpoint_id": item["checkpoint_id"],
        "provider_id": PROVIDER,
        "parameters": {
            "checkpoint_item_id": item["id"],
            "power_on": false,
            "targets": { "server_id": server, "volumes": [{ "backup_id": backup, "volume_id": volume }] },
        },
    } })
}

fn backup_of(item: &Value) -> String {
    item["extend_info"]["volume_backups"][0]["id"].as_str().unwrap().to_owned()
}

async fn volume_of(world: &World, server: &str) -> String {
    let answer = world.a.admin.get(&format!("/antipode/v1/servers/{server}")).await;
    answer.body["server"]["volumes"][0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_bad_restore_is_refused_by_its_own_code_and_changes_nothing() {
    let world = World::apart().await;
    let (policy, item) = world.backed_up().await;
    let item = world.a.item(&item).await;
    let (server, backup) = (item["resource_id"].as_str().unwrap().to_owned(), backup_of(&item));
    let volume = volume_of(&world, &server).await;
    let small = world.a.server_of(&world.a.admin.project_id, "small", DISK_BYTES / 2).await;
    let small_volume = volume_of(&world, &small).await;
    let good = order(&item, &server, &backup, &volume);
    let foreign = world.a.stranger("other").await;
    let theirs = world.a.server_of(&foreign.project_id, "theirs", DISK_BYTES).await;
    for (body, status, code, named) in [
        (json!({}), 400, "CSBS.9001", "restore: is missing"),
        (order(&item, &server, NOBODY, &volume), 400, "CSBS.6017", NOBODY),
        (order(&item, &server, &backup, "other"), 400, "CSBS.6014", "other"),
        (order(&item, "nothing", &backup, &volume), 400, "CSBS.6000", "server_id"),
        (order(&item, &theirs, &backup, &volume), 400, "CSBS.6000", "server_id"),
        (order(&item, &small, &backup, &small_volume), 400, "CSBS.6024", &small_volume),
        (order(&item, &server, "x", &volume), 400, "CSBS.9001", "targets.volumes[0].backup_id: "),
    ] {
        world.a.admin.post_v1("/restores", &body).await.refuses(status, code, named);
    }
    for (pointer, value, status, code, named) in [
        ("/restore/provider_id", json!(NOBODY), 400, "CSBS.9001", "restore.provider_id: provider invalid"),
        ("/restore/checkpoint_id", json!(NOBODY), 404, "CSBS.3001", "has no item"),
        ("/restore/parameters/checkpoint_item_id", json!(NOBODY), 404, "CSBS.3001", NOBODY),
        ("/restore/parameters/power_on", json!("no"), 400, "CSBS.9001", "restore.parameters.power_on: "),
        ("/restore/parameters/targets/volumes", json!([]), 400, "CSBS.6018", &backup),
        ("/restore/parameters/targets", json!([]), 400, "CSBS.9001", "restore.parameters.targets: "),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        world.a.admin.post_v1("/restores", &body).await.refuses(status, code, named);
    }
    let mut machine = good.clone();
    machine["restore"]["parameters"]["targets"]["resource_type"] = json!("OS::Ironic::BareMetalServer");
    world.a.admin.post_v1("/restores", &machine).await.refuses(
        400,
        "CSBS.6013",
        "OS::Ironic::BareMetalServer",
    );
    foreign.post_v1("/restores", &good).await.refuses(404, "CSBS.3001", "");
    assert_eq!(world.a.admin.get("/antipode/v1/restores").await.body, json!({ "restores": [] }));
    let running = world.a.begin_backup(&policy).await;
    let running = world.a.item(&running).await;
    let early = order(&running, &server, &backup_of(&running), &volume);
    world.a.admin.post_v1("/restores", &early).await.refuses(400, "CSBS.4000", "protecting");
}

#[tokio::test]
async fn a_server_is_restored_once_at_a_time() {
    let world = World::apart().await;
    let (policy, first) = world.backed_up().await;
    let second = world.a.back_up(&policy).await.remove(0);
    let (first, second) = (world.a.item(&first).await, world.a.item(&second).await);
    let server = first["resource_id"].as_str().unwrap();
    let volume = volume_of(&world, server).await;
    let body = order(&first, server, &backup_of(&first), &volume);
    assert_eq!(world.a.admin.post_v1("/restores", &body).await.status, 200);
    let busy = order(&second, server, &backup_of(&second), &volume);
    let refused = world.a.admin.post_v1("/restores", &busy).await;
    refused.refuses(400, "CSBS.6015", "The server is restoring");
    assert_eq!(world.a.item(second["id"].as_str().unwrap()).await["status"], "available");
    world.a.admin.post_v1("/restores", &body).await.refuses(400, "CSBS.4000", "waiting_restore");
    world.a.work().await;
    assert_eq!(world.a.admin.post_v1("/restores", &busy).await.status, 200);
}

#[tokio::test]
async fn a_data_disk_is_not_restored_onto_a_system_disk() {
    let world = World::apart().await;
    let volume = |name: &str, bootable: bool| {
        let path = world.a.disk(name);
        write_disk(&path, DISK_BYTES, 7);
        json!({ "name": name, "path": path, "format": "raw", "bootable": bootable })
    };
    let body = json!({ "server": {
        "name": "two", "project_id": world.a.admin.project_id,
        "volumes": [volume("system", true), volume("data", false)],
    } });
    let server = world.a.admin.post("/antipode/v1/servers", &body).await;
    let volumes = server.body["server"]["volumes"].clone();
    let server = server.text("server.id");
    let policy = world.a.policy("nightly", &[&server]).await;
    let item = world.a.back_up(&policy).await.remove(0);
    let item = world.a.item(&item).await;
    let backups = item["extend_info"]["volume_backups"].clone();
    let mut crossed = order(&item, &server, "", "");
    let pair = |backup: usize, volume: usize| json!({ "backup_id": backups[backup]["id"], "volume_id": volumes[volume]["id"] });
    crossed["restore"]["parameters"]["targets"]["volumes"] = json!([pair(0, 1), pair(1, 0)]);
    world.a.admin.post_v1("/restores", &crossed).await.refuses(400, "CSBS.6023", &server);
    let mut partial = crossed.clone();
    partial["restore"]["parameters"]["targets"]["volumes"] = json!([pair(0, 0)]);
    let left_out = backups[1]["id"].as_str().unwrap();
    world.a.admin.post_v1("/restores", &partial).await.refuses(400, "CSBS.6018", left_out);
    let mut twice = crossed.clone();
    twice["restore"]["parameters"]["targets"]["volumes"] = json!([pair(0, 0), pair(1, 0)]);
    world.a.admin.post_v1("/restores", &twice).await.refuses(400, "CSBS.9001", "volumes");
    let mut by_item = crossed.clone();
    by_item["restore"]["parameters"]["targets"]["volumes"][0]["backup_id"] = item["id"].clone();
    let refused = world.a.admin.post_v1("/restores", &by_item).await;
    refused.refuses(400, "CSBS.6017", item["id"].as_str().unwrap());
}

#[tokio::test]
async fn a_restored_disk_is_the_disk_that_was_backed_up() {
    let world = World::apart().await;
    let (_, item) = world.backed_up().await;
    let item = world.a.item(&item).await;
    let server = item["resource_id"].as_str().unwrap().to_owned();
    let before = std::fs::read(world.a.disk("db1")).unwrap();
    write_disk(&world.a.disk("db1"), DISK_BYTES, 99);
    let volume = volume_of(&world, &server).await;
    let body = order(&item, &server, &backup_of(&item), &volume);
    let ordered = world.a.admin.post_v1("/restores", &body).await;
    assert_eq!(ordered.status, 200, "{}", ordered.body);
    let restore = &ordered.body["restore"];
    assert_eq!((&restore["status"], &restore["restore_target"]), (&json!("in_progress"), &Value::Null));
    assert_eq!(restore["parameters"], body["restore"]["parameters"]);
    assert!(restore["resources_status"].is_object() && restore["resources_reason"] == json!({}));
    let again = world.a.admin.post_v1("/restores", &body).await;
    assert_eq!(again.status, 400, "{}", again.body);
    world.a.work().await;
    assert!(std::fs::read(world.a.disk("db1")).unwrap() == before, "the disk differs");
    let path = format!("/antipode/v1/restores/{}", ordered.text("restore.id"));
    let ended = world.a.admin.get(&path).await;
    assert_eq!(ended.body["restore"]["status"], "success", "{}", ended.body);
    assert_eq!(ended.body["restore"]["done_bytes"], ended.body["restore"]["total_bytes"]);
    assert_eq!(world.a.item(item["id"].as_str().unwrap()).await["status"], "available");
    assert_eq!(world.a.admin.get("/antipode/v1/restores").await.texts("restores", "id").len(), 1);
    world.a.stranger("other").await.get(&path).await.refuses(404, "CSBS.6040", "task not found");
}

#[tokio::test]
async fn a_replica_is_restored_in_its_own_region() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    world.a.work().await;
    let replica = world.record(&record).await["destination_checkpoint_item_id"].as_str().unwrap().to_owned();
    let replica = world.b.item(&replica).await;
    let server = world.b.server("spare").await;
    let volume = world.b.admin.get(&format!("/antipode/v1/servers/{server}")).await;
    let volume = volume.body["server"]["volumes"][0]["id"].as_str().unwrap().to_owned();
    let body = order(&replica, &server, &backup_of(&replica), &volume);
    let ordered = world.b.admin.post_v1("/restores", &body).await;
    assert_eq!(ordered.status, 200, "{}", ordered.body);
    world.b.work().await;
    let restored = std::fs::read(world.b.disk("spare")).unwrap();
    assert!(
        restored == std::fs::read(world.a.disk("db1")).unwrap(),
        "the restored disk differs from the source"
    );
}
