//! The canonical bodies against what a real world answers: the same keys at every place, and values of the same
//! types. `src/http/csbs/golden.rs` holds the same files against the wire structs.

use serde_json::{Value, json};

use crate::support::{PROVIDER, Region, World};

const POLICY: &str = include_str!("../../src/http/csbs/golden/policy.json");
const ITEM: &str = include_str!("../../src/http/csbs/golden/checkpoint_item.json");
const PROTECT: &str = include_str!("../../src/http/csbs/golden/protect.json");
const REPLICATION: &str = include_str!("../../src/http/csbs/golden/replication.json");
const REPLICATION_EMPTY: &str = include_str!("../../src/http/csbs/golden/replication_empty.json");

/// What stands at every place, by the names of the types; a number that is no integer has a type of its own.
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

#[track_caller]
fn check(answer: &Value, golden: &str) {
    let golden: Value = serde_json::from_str(golden).unwrap();
    assert_eq!(shape(answer), shape(&golden));
}

/// The golden policy as an order of this region, whose own ids it takes.
async fn order_of_policy(world: &World, server: &str) -> Value {
    let mut order: Value = serde_json::from_str(POLICY).unwrap();
    let policy = &mut order["policy"];
    policy["tags"] = Value::Null;
    policy["resources"][0]["id"] = json!(server);
    policy["scheduled_operations"][1]["operation_definition"]["destination_project_id"] =
        json!(world.b.admin.project_id);
    order
}

async fn run(region: &Region, policy: &str) -> String {
    let items = region.back_up(policy).await;
    assert_eq!(items.len(), 1);
    items[0].clone()
}

#[tokio::test]
async fn a_policy_a_replicated_backup_and_both_orders_look_as_their_golden_bodies() {
    let world = World::paired().await;
    let server = world.a.server("db1").await;
    let made = world.a.admin.post_v1("/policies", &order_of_policy(&world, &server).await).await;
    check(&made.body, POLICY);
    let policy = made.text("policy.id");
    let shown = world.a.admin.get_v1(&format!("/policies/{policy}")).await;
    assert_eq!(shown.body, made.body);
    let mut change = made.body.clone();
    change["policy"]["description"] = json!("now with a description");
    let changed = world.a.admin.put_v1(&format!("/policies/{policy}"), &change).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    check(&changed.body, POLICY);

    check(&world.replicate(&policy).await.body, REPLICATION_EMPTY);
    let item = run(&world.a, &policy).await;
    run(&world.a, &policy).await;
    let order = world.replicate(&policy).await;
    check(&order.body, REPLICATION);
    world.a.work().await;
    let item = world.a.admin.get_v1(&format!("/checkpoint_items/{item}")).await;
    check(&item.body, ITEM);
    let listed = world.a.admin.get_v1("/checkpoint_items?sort=created_at:asc").await;
    assert_eq!(
        listed.body["checkpoint_items"][0], item.body["checkpoint_item"],
        "one body in lists and alone"
    );
    let record = item.body["checkpoint_item"]["replication_records"][0].clone();
    let alone =
        world.a.admin.get_v1(&format!("/replication_records/{}", record["id"].as_str().unwrap())).await;
    assert_eq!(alone.body["replication_record"], record);
}

#[tokio::test]
async fn protecting_a_server_looks_as_its_golden_body() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let path = format!("/providers/{PROVIDER}/resources/{server}/action");
    let begun = world.a.admin.post_v1(&path, &json!({ "protect": {} })).await;
    check(&begun.body, PROTECT);
    let plan = &begun.body["checkpoint"]["protection_plan"];
    assert_eq!(plan["name"], json!(format!("server protect plan for {server}")));
    assert_eq!(
        plan["resources"][0],
        json!({ "id": server, "type": "OS::Nova::Server", "name": "db1", "extra_info": "{}" })
    );
}
