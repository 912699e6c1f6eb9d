//! The very calls that the Terraform provider of the origin cloud makes, in their order.

use serde_json::{Value, json};

use crate::support::{PROVIDER, World};

const PATTERN: &str = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=WEEKLY;BYDAY=TH;BYHOUR=12;BYMINUTE=27\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

/// What the provider sends to make a policy; the user left `max_backups` out, which it sends as 0.
fn new_policy(server: &str, tags: Value) -> Value {
    json!({ "policy": {
        "name": "backup-policy",
        "description": "",
        "provider_id": PROVIDER,
        "parameters": { "common": {} },
        "resources": [{ "id": server, "type": "OS::Nova::Server", "name": "resource4" }],
        "scheduled_operations": [{
            "name": "mybackup", "description": "My backup policy", "enabled": true,
            "operation_type": "backup",
            "operation_definition": { "max_backups": 0, "permanent": false },
            "trigger": { "properties": { "pattern": PATTERN } },
        }],
        "tags": tags,
    } })
}

/// The provider's update: the whole operation as it was read, with what the definition of a read holds and
/// without a type.
fn whole_update(read: &Value) -> Value {
    let operation = &read["scheduled_operations"][0];
    let definition = &operation["operation_definition"];
    json!({ "policy": {
        "name": "backup-policy-update",
        "description": read["description"],
        "resources": read["resources"],
        "scheduled_operations": [{
            "id": operation["id"], "name": operation["name"], "description": operation["description"],
            "enabled": operation["enabled"],
            "operation_definition": {
                "max_backups": definition["max_backups"], "permanent": definition["permanent"],
                "plan_id": definition["plan_id"], "provider_id": definition["provider_id"],
            },
            "trigger": { "properties": { "pattern": operation["trigger"]["properties"]["pattern"] } },
        }],
    } })
}

#[tokio::test]
async fn a_policy_lives_through_the_providers_own_calls() {
    let mut world = World::paired().await;
    let server = world.a.server("db1").await;
    let tags = json!([{ "key": "k1", "value": "v1" }]);
    let made = world.a.admin.post_v1("/policies", &new_policy(&server, tags)).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let id = made.text("policy.id");
    let path = format!("/policies/{id}");
    let read = world.a.admin.get_v1(&path).await.body["policy"].clone();
    assert_eq!(read["status"], "suspended", "it polls until it sees this, and takes nothing else");
    assert_eq!(read["scheduled_operations"][0]["operation_definition"]["max_backups"], 0);

    let update = whole_update(&read);
    let changed = world.a.admin.put_v1(&path, &update).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let after = world.a.admin.get_v1(&path).await.body["policy"].clone();
    assert_eq!((&after["status"], &after["name"]), (&json!("suspended"), &update["policy"]["name"]));
    assert_eq!(after["scheduled_operations"], read["scheduled_operations"], "what it sent back is the same");
    assert_eq!((&after["tags"], &after["resources"]), (&read["tags"], &read["resources"]));

    // 0 keeps everything: thirty weeks later nothing is gone.
    for _ in 0..3 {
        world.a.back_up(&id).await;
        world.clock.advance_seconds(10 * 7 * 86_400);
        world.next_day().await;
    }
    assert!(world.a.all_items().await.len() >= 3);

    // Tags of a policy cannot be changed: it deletes and makes anew, even while a run is going.
    let run = world.a.begin_backup(&id).await;
    world.replicate(&id).await;
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 200);
    assert_eq!(world.a.admin.get_v1(&path).await.status, 404, "gone at once");
    let other_tags = json!([{ "key": "k2", "value": "v2" }]);
    let again = world.a.admin.post_v1("/policies", &new_policy(&server, other_tags)).await;
    assert_eq!(again.status, 200, "{}", again.body);
    let new = again.text("policy.id");
    world.a.work().await;
    let finished = world.a.items_of(&run).await;
    assert_eq!(world.a.item(&finished[0]).await["status"], "available");

    let count = world.a.all_items().await.len();
    let adopt = format!("/antipode/v1/policies/{new}/adopt");
    let adopted = world.a.admin.post(&adopt, &json!({ "old_policy_id": id })).await;
    assert_eq!((adopted.status, &adopted.body["adoption"]["item_count"]), (200, &json!(count)));
    let selected = world.replicate(&new).await.selected();
    assert_eq!(selected.into_iter().map(|(item, _)| item).collect::<Vec<_>>(), finished);

    let path = format!("/policies/{new}");
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 200);
    assert_eq!(world.a.admin.get_v1(&path).await.status, 404);
    assert_eq!(world.a.all_items().await.len(), count, "backups survive the policy");
}

#[tokio::test]
async fn a_backup_lives_through_the_providers_own_calls() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let asked =
        json!({ "check_protectable": [{ "resource_id": server, "resource_type": "OS::Nova::Server" }] });
    let checked = world.a.admin.post_v1(&format!("/providers/{PROVIDER}/resources/action"), &asked).await;
    assert_eq!((checked.status, &checked.body["protectable"][0]["result"]), (200, &json!(true)));
    let protect = json!({ "protect": {
        "backup_name": "csbs-test", "description": "test-code", "resource_type": "OS::Nova::Server",
        "tags": [{ "key": "k", "value": "v" }],
    } });
    let path = format!("/providers/{PROVIDER}/resources/{server}/action");
    let begun = world.a.admin.post_v1(&path, &protect).await;
    assert_eq!(begun.status, 200, "{}", begun.body);
    let checkpoint = begun.text("checkpoint.id");
    let items = format!("/checkpoint_items?checkpoint_id={checkpoint}");
    let listed = world.a.admin.get_v1(&items).await;
    let item = listed.texts("checkpoint_items", "id").remove(0);
    let shown = format!("/checkpoint_items/{item}");
    let status = world.a.admin.get_v1(&shown).await.body["checkpoint_item"]["status"].clone();
    assert_eq!(status, "protecting", "nothing but this and available is taken");
    world.a.work().await;
    let read = world.a.admin.get_v1(&shown).await.body["checkpoint_item"].clone();
    assert_eq!(read["status"], "available");
    assert_eq!((&read["name"], &read["description"]), (&json!("csbs-test"), &json!("test-code")));

    let delete = format!("/providers/{PROVIDER}/checkpoints/{checkpoint}");
    assert_eq!(world.a.admin.delete_v1(&delete).await.status, 200);
    let going = world.a.admin.get_v1(&shown).await;
    assert_eq!((going.status, &going.body["checkpoint_item"]["status"]), (200, &json!("deleting")));
    let repeated = world.a.admin.delete_v1(&delete).await.status;
    assert!([400, 409].contains(&repeated), "{repeated}: both mean to it that the deletion goes on");
    world.a.work().await;
    assert_eq!(world.a.admin.get_v1(&shown).await.status, 404, "that ends it");
    assert_eq!(world.a.admin.get_v1(&format!("/checkpoint_items/{checkpoint}")).await.status, 404);
}
