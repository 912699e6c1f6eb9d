//! Policies: bad input first, then the life of one.

use control::policies::PolicyLimits;
use serde_json::{Value, json};

use crate::support::{NOBODY, PROVIDER, World, policy_body};

/// Changes the value at a path such as `policy.resources.0.id`; null takes it out.
fn with(mut body: Value, path: &str, value: Value) -> Value {
    let (parents, last) = path.rsplit_once('.').unwrap();
    let pointer = format!("/{}", parents.replace('.', "/"));
    let parent = body.pointer_mut(&pointer).unwrap();
    match (value, last.parse::<usize>()) {
        (Value::Null, _) => drop(parent.as_object_mut().unwrap().remove(last)),
        (value, Ok(index)) => parent[index] = value,
        (value, Err(_)) => parent[last] = value,
    }
    body
}

#[tokio::test]
async fn a_bad_policy_is_refused_by_field_and_changes_nothing() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let good = policy_body("nightly", &[&server]);
    let operation = "policy.scheduled_operations.0";
    let definition = format!("{operation}.operation_definition");
    let cases = [
        ("policy.name", Value::Null, "policy.name: is missing"),
        ("policy.name", json!(""), "policy.name: must be 1 to 255"),
        ("policy.name", json!("a b"), "policy.name: may hold"),
        ("policy.name", json!("x".repeat(256)), "policy.name: must be 1 to 255"),
        ("policy.name", json!(7), "policy.name: must be a string"),
        ("policy.description", json!("<b>"), "policy.description: may not hold"),
        ("policy.description", json!("x".repeat(256)), "policy.description: must be at most"),
        ("policy.description", json!("a\u{0}b"), "policy.description: may not hold a NUL"),
        ("policy.provider_id", Value::Null, "policy.provider_id: is missing"),
        ("policy.provider_id", json!(NOBODY), "policy.provider_id: provider invalid"),
        ("policy.parameters", Value::Null, "policy.parameters: is missing"),
        ("policy.parameters", json!([]), "policy.parameters: must be an object"),
        ("policy.parameters.common", json!("x"), "policy.parameters.common: must be an object"),
        (
            "policy.parameters.common",
            json!({ "app_consistency": 3 }),
            "common.app_consistency: must be 0, 1 or 2",
        ),
        ("policy.resources", Value::Null, "policy.resources: is missing"),
        ("policy.resources", json!({}), "policy.resources: must be a list"),
        ("policy.resources.0.id", json!("a/b"), "policy.resources[0].id: "),
        ("policy.resources.0.name", Value::Null, "policy.resources[0].name: is missing"),
        ("policy.resources.0.type", Value::Null, "policy.resources[0].type: is missing"),
        ("policy.resources.0.extra_info", json!("{}"), "policy.resources[0].extra_info: must be an object"),
        ("policy.scheduled_operations", Value::Null, "policy.scheduled_operations: is missing"),
        ("policy.scheduled_operations", json!([]), "policy.scheduled_operations: must hold at least"),
        ("policy.scheduled_operations.0.enabled", json!("yes"), "[0].enabled: must be true or false"),
        ("policy.scheduled_operations.0.operation_type", json!("copy"), "[0].operation_type: must be backup"),
        ("policy.scheduled_operations.0.trigger", Value::Null, "[0].trigger: is missing"),
        ("policy.scheduled_operations.0.trigger.properties.pattern", json!("x"), "properties.pattern: "),
        (
            "policy.scheduled_operations.0.operation_definition",
            Value::Null,
            "operation_definition: is missing",
        ),
        ("policy.tags", json!([]), "policy.tags: must hold 1 to 10"),
        ("policy.tags", json!([{ "key": "a b", "value": "" }]), "policy.tags[0]: tag key"),
    ];
    for (path, value, named) in cases {
        let answer = world.a.admin.post_v1("/policies", &with(good.clone(), path, value)).await;
        answer.refuses(400, "CSBS.9001", named);
    }
    for (key, value, named) in [
        ("max_backups", json!(-2), "max_backups: must be -1"),
        ("max_backups", json!(1.5), "max_backups: must be a whole number"),
        ("max_backups", json!("many"), "max_backups: must be a whole number"),
        ("retention_duration_days", json!(100_000), "retention_duration_days: must be -1"),
        ("permanent", json!("perhaps"), "permanent: must be true or false"),
        ("day_backups", json!(101), "day_backups: must be a number from 0 to 100"),
        ("week_backups", json!(-1), "week_backups: must be 0 to 100"),
        ("month_backups", json!(3), "timezone: must be given"),
        ("timezone", json!("Europe/Berlin"), "timezone: must have the form"),
    ] {
        let body = with(good.clone(), &format!("{definition}.{key}"), value);
        world.a.admin.post_v1("/policies", &body).await.refuses(400, "CSBS.9001", named);
    }
    let of_volume = with(good.clone(), "policy.resources.0.type", json!("OS::Cinder::Volume"));
    world.a.admin.post_v1("/policies", &of_volume).await.refuses(400, "CSBS.6003", "OS::Cinder::Volume");
    let missing = with(good, "policy.resources.0.id", json!("nothing"));
    world.a.admin.post_v1("/policies", &missing).await.refuses(400, "CSBS.6000", "server do not exist");
    assert_eq!(world.a.admin.get_v1("/policies").await.body, json!({ "policies": [] }));
}

#[tokio::test]
async fn names_and_servers_are_taken_once() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    world.a.policy("nightly", &[&server]).await;
    let again = world.a.admin.post_v1("/policies", &policy_body("nightly", &[])).await;
    again.refuses(400, "CSBS.9007", "duplicate service name");
    let bound = world.a.admin.post_v1("/policies", &policy_body("other", &[&server])).await;
    bound.refuses(400, "CSBS.6004", &format!("Server ({server}) is already in service"));
    let mut twice = policy_body("twice", &[]);
    let operation = twice["policy"]["scheduled_operations"][0].clone();
    twice["policy"]["scheduled_operations"].as_array_mut().unwrap().push(operation);
    world.a.admin.post_v1("/policies", &twice).await.refuses(400, "CSBS.9001", "scheduled_operations");
    let stranger = world.a.stranger("other").await;
    assert_eq!(stranger.post_v1("/policies", &policy_body("nightly", &[])).await.status, 200);
    let foreign = stranger.post_v1("/policies", &policy_body("thief", &[&server])).await;
    foreign.refuses(400, "CSBS.6000", "server do not exist");
}

#[tokio::test]
async fn a_policy_is_made_shown_changed_and_gone() {
    let world = World::apart().await;
    let (one, two) = (world.a.server("db1").await, world.a.server("db22").await);
    let mut body = policy_body("nightly", &[&one]);
    body["policy"]["surprise"] = json!({ "ignored": true });
    body["policy"]["description"] = Value::Null;
    body["policy"]["tags"] = json!([{ "key": " tier ", "value": "gold" }]);
    let made = world.a.admin.post_v1("/policies", &body).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let policy = &made.body["policy"];
    assert_eq!((&policy["status"], &policy["provider_id"]), (&json!("suspended"), &json!(PROVIDER)));
    assert_eq!(policy["tags"], json!([{ "key": "tier", "value": "gold" }]));
    assert_eq!(policy["project_id"], json!(world.a.admin.project_id));
    let path = format!("/policies/{}", policy["id"].as_str().unwrap());
    assert_eq!(world.a.admin.get_v1(&path).await.body, made.body);

    let change = json!({ "policy": {
        "name": "weekly",
        "parameters": { "common": { "app_consistency": "1" } },
        "resources": [{ "id": two, "type": "OS::Nova::Server", "name": "db22" }],
    } });
    let changed = world.a.admin.put_v1(&path, &change).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_eq!(changed.body["policy"]["name"], "weekly");
    assert_eq!(changed.body["policy"]["resources"][0]["id"], json!(two));
    assert_eq!(changed.body["policy"]["parameters"]["common"]["app_consistency"], "1");
    assert_eq!(changed.body["policy"]["scheduled_operations"], policy["scheduled_operations"]);
    assert_eq!(world.a.admin.get_v1(&path).await.body, changed.body);

    let deleted = world.a.admin.delete_v1(&path).await;
    assert_eq!((deleted.status, deleted.body), (200, json!({})));
    world.a.admin.get_v1(&path).await.refuses(404, "CSBS.3000", "plan not found");
    world.a.admin.delete_v1(&path).await.refuses(404, "CSBS.3000", "plan not found");
    world.a.admin.put_v1(&path, &change).await.refuses(404, "CSBS.3000", "plan not found");
}

#[tokio::test]
async fn an_update_merges_operations_by_id_and_replaces_definitions() {
    let world = World::paired().await;
    let mut body = policy_body("nightly", &[]);
    let mut copy = body["policy"]["scheduled_operations"][0].clone();
    copy["operation_type"] = json!("replication");
    copy["operation_definition"] = json!({ "destination_region": "eu-b", "destination_project_id": "p" });
    body["policy"]["scheduled_operations"] = json!([copy, body["policy"]["scheduled_operations"][0]]);
    let made = world.a.admin.post_v1("/policies", &body).await;
    assert_eq!(made.status, 200, "{}", made.body);
    let operations = &made.body["policy"]["scheduled_operations"];
    assert_eq!(operations[0]["operation_type"], "backup", "clients read the first one");
    assert_eq!(operations[1]["operation_definition"]["destination_region"], "eu-b");
    let path = format!("/policies/{}", made.text("policy.id"));

    let only = json!({ "policy": { "scheduled_operations": [{
        "id": operations[0]["id"], "operation_definition": { "retention_duration_days": "7" },
    }] } });
    let changed = world.a.admin.put_v1(&path, &only).await;
    assert_eq!(changed.status, 200, "{}", changed.body);
    let after = &changed.body["policy"]["scheduled_operations"];
    assert_eq!(after[0]["operation_definition"]["retention_duration_days"], 7);
    assert_eq!(after[0]["operation_definition"]["max_backups"], -1, "the old limit can be switched off");
    assert_eq!(after[1], operations[1]);

    let nothing = world.a.admin.put_v1(&path, &json!({ "policy": {} })).await;
    assert_eq!((nothing.status, &nothing.body), (200, &changed.body));
    for (operation, named) in [
        (json!({ "id": NOBODY }), "policy.scheduled_operations[0]"),
        (json!({ "enabled": true }), "policy.scheduled_operations[0]"),
        (json!({ "id": "x" }), "policy.scheduled_operations[0].id"),
        (
            json!({ "id": operations[0]["id"], "operation_type": "replication",
            "operation_definition": { "destination_region": "eu-b", "destination_project_id": "p" } }),
            "policy.scheduled_operations[0]",
        ),
    ] {
        let change = json!({ "policy": { "scheduled_operations": [operation] } });
        world.a.admin.put_v1(&path, &change).await.refuses(400, "CSBS.9001", named);
    }
    assert_eq!(world.a.admin.get_v1(&path).await.body, changed.body);
}

#[tokio::test]
async fn a_replication_operation_needs_a_region_we_are_paired_with() {
    let world = World::apart().await;
    let mut body = policy_body("nightly", &[]);
    let operation = &mut body["policy"]["scheduled_operations"][0];
    operation["operation_type"] = json!("replication");
    let missing = world.a.admin.post_v1("/policies", &body).await;
    missing.refuses(400, "CSBS.9001", "operation_definition.destination_region: is missing");
    let operation = &mut body["policy"]["scheduled_operations"][0];
    operation["operation_definition"] =
        json!({ "destination_region": "eu-b", "destination_project_id": "p" });
    let unknown = world.a.admin.post_v1("/policies", &body).await;
    unknown.refuses(400, "BackupService.1005", "");
}

#[tokio::test]
async fn texts_and_patterns_come_back_byte_for_byte() {
    let world = World::apart().await;
    for (number, pattern) in [
        "BEGIN:VEVENT\nRRULE:FREQ=WEEKLY;INTERVAL=1;\nEND:VEVENT",
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=WEEKLY;BYDAY=MO,TU;BYHOUR=1,13;BYMINUTE=5\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
    ]
    .into_iter()
    .enumerate()
    {
        let mut body = policy_body(&format!("备份_{number}"), &[]);
        body["policy"]["description"] = json!("  Täglich; \"quoted\" \\ \u{1F600}\n");
        body["policy"]["scheduled_operations"][0]["trigger"]["properties"]["pattern"] = json!(pattern);
        let made = world.a.admin.post_v1("/policies", &body).await;
        assert_eq!(made.status, 200, "{}", made.body);
        let shown = world.a.admin.get_v1(&format!("/policies/{}", made.text("policy.id"))).await;
        let policy = &shown.body["policy"];
        assert_eq!(policy["description"], body["policy"]["description"]);
        assert_eq!(policy["name"], body["policy"]["name"]);
        assert_eq!(policy["scheduled_operations"][0]["trigger"]["properties"]["pattern"], json!(pattern));
    }
}

#[tokio::test]
async fn lists_come_in_pages_that_cover_everything_once() {
    let world = World::apart().await;
    for name in ["a", "b", "c", "d", "e"] {
        world.a.policy(name, &[]).await;
    }
    let mut names = Vec::new();
    let mut next = Some(world.a.admin.v1("/policies?limit=2&sort=name:asc&ignored=%26"));
    while let Some(path) = next {
        let page = world.a.admin.get(&path).await;
        let again = world.a.admin.get(&path).await;
        assert_eq!(page.body, again.body, "clients fetch pages twice");
        names.extend(page.texts("policies", "name"));
        let link = page.body["policies_links"][0]["href"].as_str();
        next = link.map(|href| href.strip_prefix("http://eu-a.example:8780").unwrap().to_owned());
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let newest_first = world.a.admin.get_v1("/policies").await;
    assert_eq!(newest_first.texts("policies", "name"), ["e", "d", "c", "b", "a"]);
    assert!(newest_first.body.get("policies_links").is_none());
    let one = world.a.admin.get_v1("/policies?name=c").await;
    assert_eq!(one.texts("policies", "name"), ["c"]);
    assert_eq!(world.a.admin.get_v1("/policies?offset=4").await.texts("policies", "name"), ["a"]);
    for (query, named) in [
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("offset=-1", "offset"),
        ("sort=size", "sort"),
        (&format!("marker={NOBODY}"), "marker"),
        ("marker=nonsense", "marker"),
        ("name=%00", "name"),
    ] {
        world.a.admin.get_v1(&format!("/policies?{query}")).await.refuses(400, "CSBS.9001", named);
    }
}

#[tokio::test]
async fn the_limits_of_the_origin_hold_where_an_operator_sets_them() {
    let world = World::apart_within(PolicyLimits { policies_max: Some(2), servers_max: Some(1) }).await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let two = policy_body("two", &[&servers[0], &servers[1]]);
    let refused = world.a.admin.post_v1("/policies", &two).await;
    refused.refuses(400, "CSBS.9001", "policy.resources: names more than 1 servers");
    let first = world.a.policy("first", &[&servers[0]]).await;
    world.a.policy("second", &[]).await;
    let third = policy_body("third", &[]);
    world.a.admin.post_v1("/policies", &third).await.refuses(400, "CSBS.0001", "Service over limit");
    let change = json!({ "policy": { "resources": two["policy"]["resources"] } });
    let refused = world.a.admin.put_v1(&format!("/policies/{first}"), &change).await;
    refused.refuses(400, "CSBS.9001", "policy.resources: names more than 1 servers");
    let stranger = world.a.stranger("other").await;
    assert_eq!(stranger.post_v1("/policies", &third).await.status, 200, "each project counts for itself");
    world.a.admin.delete_v1(&format!("/policies/{first}")).await;
    assert_eq!(world.a.admin.post_v1("/policies", &third).await.status, 200);
}

#[tokio::test]
async fn another_pattern_renews_the_start_and_the_same_one_does_not() {
    let world = World::apart().await;
    let policy = world.a.policy("nightly", &[]).await;
    let path = format!("/policies/{policy}");
    let operation = async || {
        let shown = world.a.admin.get_v1(&path).await;
        shown.body["policy"]["scheduled_operations"][0].clone()
    };
    let made = operation().await;
    let pattern = made["trigger"]["properties"]["pattern"].as_str().unwrap().to_owned();
    let start = |operation: &Value| operation["trigger"]["properties"]["start_time"].clone();
    for (text, is_renewed) in [(pattern.clone(), false), (pattern.replace("BYHOUR=1", "BYHOUR=2"), true)] {
        world.clock.advance_seconds(100);
        let change = json!({ "policy": { "scheduled_operations": [{
            "id": made["id"], "enabled": true, "trigger": { "properties": { "pattern": text } },
        }] } });
        let changed = world.a.admin.put_v1(&path, &change).await;
        assert_eq!(changed.status, 200, "{}", changed.body);
        let after = operation().await;
        assert_eq!(start(&after) != start(&made), is_renewed, "{text:?}");
        assert_eq!(after["trigger"]["properties"]["pattern"], json!(text));
        assert_eq!((&after["trigger_id"], &after["enabled"]), (&made["trigger_id"], &json!(true)));
    }
}

#[tokio::test]
async fn a_definition_takes_its_whole_range_as_numbers_and_as_texts() {
    let world = World::apart().await;
    let ranges = [
        ("max_backups", [-1, 0, 1, 99_999].as_slice()),
        ("retention_duration_days", &[-1, 0, 1, 99_999]),
        ("day_backups", &[0, 1, 100]),
        ("week_backups", &[0, 1, 100]),
        ("month_backups", &[0, 1, 100]),
        ("year_backups", &[0, 1, 100]),
    ];
    let mut count = 0;
    for (key, numbers) in ranges {
        for number in numbers {
            for value in [json!(number), json!(number.to_string())] {
                count += 1;
                let mut body = policy_body(&format!("p{count}"), &[]);
                body["policy"]["scheduled_operations"][0]["operation_definition"] = json!({
                    key: value, "permanent": "False", "timezone": "UTC+08:00",
                    "plan_id": "ignored", "provider_id": "ignored",
                });
                let made = world.a.admin.post_v1("/policies", &body).await;
                assert_eq!(made.status, 200, "{key} {value}: {}", made.body);
                let definition = &made.body["policy"]["scheduled_operations"][0]["operation_definition"];
                assert_eq!((&definition[key], &definition["permanent"]), (&json!(number), &json!(false)));
                assert_eq!(definition["plan_id"], made.body["policy"]["id"]);
            }
        }
    }
    let listed = world.a.admin.get_v1("/policies?sort=name:asc&limit=7").await;
    assert_eq!(listed.texts("policies", "name").len(), 7);
}

#[tokio::test]
async fn two_updates_at_once_both_count() {
    let world = World::apart().await;
    let policy = world.a.policy("nightly", &[]).await;
    let path = format!("/policies/{policy}");
    let (name, text) = (json!({ "policy": { "name": "a" } }), json!({ "policy": { "description": "b" } }));
    let tag = json!({ "tag": { "key": "k", "value": "v" } });
    let tags = format!("/csbs_backup_policy/{policy}/tags");
    let (one, two, three) = tokio::join!(
        world.a.admin.put_v1(&path, &name),
        world.a.admin.put_v1(&path, &text),
        world.a.admin.post_v1(&tags, &tag)
    );
    assert_eq!((one.status, two.status, three.status), (200, 200, 204), "{} {}", one.body, two.body);
    let after = world.a.admin.get_v1(&path).await.body["policy"].clone();
    assert_eq!((&after["name"], &after["description"]), (&json!("a"), &json!("b")));
    assert_eq!(after["tags"][0]["key"], "k");
}

#[tokio::test]
async fn an_operation_keeps_its_type_and_says_so_by_field() {
    let world = World::paired().await;
    let made = world.a.admin.post_v1("/policies", &policy_body("nightly", &[])).await;
    let id = made.body["policy"]["scheduled_operations"][0]["id"].clone();
    let path = format!("/policies/{}", made.text("policy.id"));
    let replication = json!({ "destination_region": "eu-b", "destination_project_id": "p" });
    for (operation, named) in [
        (json!({ "id": id, "operation_definition": replication }), "[0].operation_definition: is that of a"),
        (
            json!({ "id": id, "operation_type": "replication", "operation_definition": replication }),
            "[0].operation_definition: is that of a replication, and the operation is a backup",
        ),
        (json!({ "id": id, "operation_type": "copy" }), "[0].operation_type: must be backup or replication"),
        (json!({ "id": id, "trigger": {} }), "[0].trigger.properties: is missing"),
        (json!({ "id": id, "trigger": { "properties": {} } }), "[0].trigger.properties.pattern: is missing"),
        (json!({ "id": NOBODY }), "[0].id: the policy has no such scheduled operation"),
        (json!({ "name": "x" }), "[0].id: each scheduled operation needs its id"),
    ] {
        let change = json!({ "policy": { "name": "other", "scheduled_operations": [operation] } });
        world.a.admin.put_v1(&path, &change).await.refuses(400, "CSBS.9001", named);
    }
    assert_eq!(world.a.admin.get_v1(&path).await.body, made.body);
    let parameters = json!({ "policy": { "parameters": { "common": { "app_consistency": 2 } } } });
    let changed = world.a.admin.put_v1(&path, &parameters).await;
    assert_eq!(changed.body["policy"]["parameters"], parameters["policy"]["parameters"]);
}

#[tokio::test]
async fn names_hold_chinese_characters_and_no_other_script() {
    let world = World::apart().await;
    let named = |name: &str| with(policy_body("n", &[]), "policy.name", json!(name));
    for good in ["备份策略", "一龥", "豈鶴", "a-备_1", &"备".repeat(255)] {
        let made = world.a.admin.post_v1("/policies", &named(good)).await;
        assert_eq!((made.status, &made.body["policy"]["name"]), (200, &json!(good)), "{}", made.body);
        let encoded: String = good.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = world.a.admin.get_v1(&format!("/policies?name={encoded}")).await;
        assert_eq!(found.texts("policies", "name"), [good]);
    }
    for bad in ["", "é", "ひ", "б", "備 份", "😀", &"备".repeat(256)] {
        let refused = world.a.admin.post_v1("/policies", &named(bad)).await;
        refused.refuses(400, "CSBS.9001", "policy.name");
    }
    assert_eq!(world.a.admin.get_v1("/policies?name=a").await.body, json!({ "policies": [] }), "exact");
    for key in ["created_at", "name", "id", "status", "updated_at"] {
        for direction in ["asc", "desc"] {
            let sorted = world.a.admin.get_v1(&format!("/policies?sort={key}:{direction}")).await;
            assert_eq!(sorted.texts("policies", "id").len(), 5, "{key}:{direction}");
        }
    }
}
