//! Asking before ordering: what would be refused is answered with 200 and the code of the refusal.

use serde_json::{Value, json};

use crate::support::{Answer, NOBODY, PROVIDER, Region, World};

const SERVER: &str = "OS::Nova::Server";

fn path() -> String {
    format!("/providers/{PROVIDER}/resources/action")
}

async fn volume_of(region: &Region, server: &str) -> String {
    let answer = region.admin.get(&format!("/antipode/v1/servers/{server}")).await;
    answer.body["server"]["volumes"][0]["id"].as_str().unwrap().to_owned()
}

fn server(id: &str) -> Value {
    json!({ "resource_id": id, "resource_type": SERVER })
}

/// (result, code) of each answer, in order; code and text come together or not at all.
fn verdicts(answer: &Answer, key: &str) -> Vec<(bool, String)> {
    assert_eq!(answer.status, 200, "{}", answer.body);
    let rows = answer.body[key].as_array().unwrap().iter();
    let verdict = |row: &Value| {
        let code = row["error_code"].as_str().unwrap().to_owned();
        assert_eq!(code.is_empty(), row["error_msg"] == "", "{row}");
        (row["result"].as_bool().unwrap(), code)
    };
    rows.map(verdict).collect()
}

#[tokio::test]
async fn each_server_is_answered_in_order_and_a_refusal_is_an_answer() {
    let world = World::apart().await;
    let (free, bound) = (world.a.server("db1").await, world.a.server("db22").await);
    world.a.policy("nightly", &[&bound]).await;
    let stranger = world.a.stranger("other").await;
    let theirs = world.a.server_of(&stranger.project_id, "theirs", 4096).await;
    let disk = json!({ "resource_id": free, "resource_type": "OS::Cinder::Volume" });
    let body = json!({ "check_protectable": [
        server("nothing"), server(&free), disk, server(&theirs), server(&bound), server(&free),
    ] });
    let answer = world.a.admin.post_v1(&path(), &body).await;
    let expected = [
        (false, "CSBS.6000"),
        (true, ""),
        (false, "CSBS.6003"),
        (false, "CSBS.6000"),
        (true, "CSBS.6004"),
        (true, ""),
    ];
    let expected: Vec<(bool, String)> =
        expected.into_iter().map(|(result, code)| (result, code.to_owned())).collect();
    assert_eq!(verdicts(&answer, "protectable"), expected);
    let rows = &answer.body["protectable"];
    assert_eq!(
        (&rows[2]["resource_id"], &rows[2]["resource_type"]),
        (&json!(free), &json!("OS::Cinder::Volume"))
    );
    assert_eq!(rows[0]["error_msg"], rows[3]["error_msg"], "foreign and absent look the same");
    assert!(answer.body.get("restorable").is_none());
    let nothing = world.a.admin.post_v1(&path(), &json!({ "check_protectable": [] })).await;
    assert_eq!((nothing.status, nothing.body), (200, json!({ "protectable": [] })));
}

#[tokio::test]
async fn a_body_with_both_questions_or_none_is_refused_by_field() {
    let world = World::apart().await;
    let both = json!({ "check_protectable": [], "check_restorable": [] });
    let target = |changes: Value| {
        let mut target = json!({ "resource_id": "s", "resource_type": SERVER, "volumes": [] });
        for (key, value) in changes.as_object().unwrap() {
            target[key] = value.clone();
        }
        json!({ "check_restorable": [{ "checkpoint_item_id": NOBODY, "target": target }] })
    };
    for (body, named) in [
        (both, "body: must hold either check_protectable or check_restorable"),
        (json!({}), "body: must hold either"),
        (json!({ "protect": {} }), "body: must hold either"),
        (json!({ "check_protectable": null }), "body: must hold either"),
        (json!({ "check_protectable": {} }), "check_protectable: must be a list"),
        (json!({ "check_protectable": [7] }), "check_protectable[0]: must be an object"),
        (json!({ "check_protectable": [{}] }), "check_protectable[0].resource_id: is missing"),
        (
            json!({ "check_protectable": [{ "resource_id": "x" }] }),
            "check_protectable[0].resource_type: is missing",
        ),
        (json!({ "check_protectable": [server("a"), server("a/b")] }), "check_protectable[1].resource_id: "),
        (json!({ "check_restorable": [{}] }), "check_restorable[0].target: is missing"),
        (target(json!({ "resource_id": null })), "check_restorable[0].target.resource_id: is missing"),
        (target(json!({ "volumes": null })), "check_restorable[0].target.volumes: is missing"),
        (target(json!({ "volumes": [{}] })), "check_restorable[0].target.volumes[0].backup_id: is missing"),
        (
            target(json!({ "volumes": [{ "backup_id": "x", "volume_id": "v" }] })),
            "check_restorable[0].target.volumes[0].backup_id: ",
        ),
        (json!({ "check_protectable": vec![server("s"); 1001] }), "body: asks about more than 1000 things"),
    ] {
        world.a.admin.post_v1(&path(), &body).await.refuses(400, "CSBS.9001", named);
    }
    let elsewhere = format!("/providers/{NOBODY}/resources/action");
    let asked = json!({ "check_protectable": [] });
    world.a.admin.post_v1(&elsewhere, &asked).await.refuses(400, "CSBS.9001", "provider invalid");
}

#[tokio::test]
async fn each_restore_is_answered_by_the_rule_that_would_refuse_it() {
    let world = World::apart().await;
    let (policy, item) = world.backed_up().await;
    let item = world.a.item(&item).await;
    let (id, source) = (item["id"].as_str().unwrap(), item["resource_id"].as_str().unwrap());
    let backup = item["extend_info"]["volume_backups"][0]["id"].as_str().unwrap();
    let volume = volume_of(&world.a, source).await;
    let small = world.a.server_of(&world.a.admin.project_id, "small", 4096).await;
    let small_volume = volume_of(&world.a, &small).await;
    let running = world.a.begin_backup(&policy).await;
    let question = |item: &str, resource_type: &str, server: &str, backup: &str, volume: &str| {
        json!({ "checkpoint_item_id": item, "target": {
            "resource_id": server, "resource_type": resource_type,
            "volumes": [{ "backup_id": backup, "volume_id": volume }],
        } })
    };
    let mut partial = question(id, SERVER, source, backup, &volume);
    partial["target"]["volumes"] = json!([]);
    let cases = [
        (question(id, SERVER, source, backup, &volume), true, ""),
        (question(NOBODY, SERVER, source, backup, &volume), false, "CSBS.3001"),
        (question(&running, SERVER, source, backup, &volume), false, "CSBS.4000"),
        (question(id, "OS::Ironic::BareMetalServer", source, backup, &volume), false, "CSBS.6013"),
        (question(id, SERVER, "nothing", backup, &volume), false, "CSBS.6000"),
        (question(id, SERVER, source, NOBODY, &volume), false, "CSBS.6017"),
        (question(id, SERVER, source, backup, "other"), false, "CSBS.6014"),
        (question(id, SERVER, &small, backup, &small_volume), false, "CSBS.6024"),
        (partial, false, "CSBS.6018"),
    ];
    let questions: Vec<Value> = cases.iter().map(|(question, _, _)| question.clone()).collect();
    let answer = world.a.admin.post_v1(&path(), &json!({ "check_restorable": questions })).await;
    let expected: Vec<(bool, String)> =
        cases.iter().map(|(_, result, code)| (*result, (*code).to_owned())).collect();
    assert_eq!(verdicts(&answer, "restorable"), expected);
    let foreign = world.a.stranger("other").await;
    let body = json!({ "check_restorable": [cases[0].0] });
    assert_eq!(
        verdicts(&foreign.post_v1(&path(), &body).await, "restorable"),
        [(false, "CSBS.3001".to_owned())]
    );
    assert_eq!(
        world.a.admin.get_v1("/restores").await.body,
        json!({ "restores": [] }),
        "asking orders nothing"
    );
}

#[tokio::test]
async fn a_one_item_checkpoint_stands_for_its_item_and_the_item_for_its_one_disk() {
    let world = World::apart().await;
    let server_id = world.a.server("db1").await;
    let protect = format!("/providers/{PROVIDER}/resources/{server_id}/action");
    let checkpoint = world.a.admin.post_v1(&protect, &json!({ "protect": {} })).await.text("checkpoint.id");
    assert_eq!(world.a.item(&checkpoint).await["status"], "protecting", "polled by the checkpoint's id");
    world.a.work().await;
    let item = world.a.item(&checkpoint).await;
    let id = item["id"].as_str().unwrap();
    assert_eq!((&item["status"], &item["checkpoint_id"]), (&json!("available"), &json!(checkpoint)));
    let volume = volume_of(&world.a, &server_id).await;
    let target = json!({
        "resource_id": server_id, "resource_type": SERVER,
        "volumes": [{ "backup_id": id, "volume_id": volume }],
    });
    let body = json!({ "check_restorable": [{ "checkpoint_item_id": checkpoint, "target": target }] });
    let answer = world.a.admin.post_v1(&path(), &body).await;
    assert_eq!(verdicts(&answer, "restorable"), [(true, String::new())]);
    let order = json!({ "restore": {
        "checkpoint_id": checkpoint, "provider_id": PROVIDER,
        "parameters": { "checkpoint_item_id": checkpoint, "power_on": false,
            "targets": { "server_id": server_id, "volumes": target["volumes"] } },
    } });
    let restore = world.a.admin.post_v1("/restores", &order).await;
    assert_eq!(restore.status, 200, "{}", restore.body);
    assert_eq!(restore.body["restore"]["parameters"]["checkpoint_item_id"], json!(id));
    world.a.work().await;
    let delete = format!("/providers/{PROVIDER}/checkpoints/{checkpoint}");
    assert_eq!(world.a.admin.delete_v1(&delete).await.status, 200);
    world.a.work().await;
    for gone in [id, &checkpoint] {
        world.a.admin.get_v1(&format!("/checkpoint_items/{gone}")).await.refuses(404, "CSBS.3001", gone);
    }
}

#[tokio::test]
async fn the_checkpoint_of_two_items_stands_for_neither() {
    let world = World::apart().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &servers.each_ref().map(String::as_str)).await;
    let checkpoint = world.a.begin_backup(&policy).await;
    let answer = world.a.admin.get_v1(&format!("/checkpoint_items/{checkpoint}")).await;
    answer.refuses(404, "CSBS.3001", &checkpoint);
}
