//! What inherited clients send and expect beside the documented calls: Karbor's forms, and texts that come back as
//! they were sent.

use serde_json::{Value, json};

use crate::support::{PROVIDER, World, policy_body};

#[tokio::test]
async fn a_version_document_stands_at_the_root_and_at_the_version() {
    let world = World::apart().await;
    let nobody = world.a.nobody();
    let root = nobody.get("/").await;
    let link = json!({ "rel": "self", "href": "http://eu-a.example:8780/v1/" });
    let document = json!({ "versions": [{ "id": "v1.0", "status": "CURRENT", "links": [link] }] });
    assert_eq!((root.status, &root.body), (300, &document));
    for path in ["/v1", "/v1/"] {
        let version = nobody.get(path).await;
        assert_eq!((version.status, &version.body), (200, &document), "{path}");
    }
    nobody.get("/v2").await.refuses(404, "Antipode.0404", "");
}

#[tokio::test]
async fn a_policy_runs_by_the_body_that_inherited_clients_send() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let policy = world.a.policy("nightly", &[&server]).await;
    let path = format!("/providers/{PROVIDER}/checkpoints");
    for extra_info in [Value::Null, json!({ "incremental": true }), json!({})] {
        let body = json!({ "checkpoint": { "plan_id": policy, "extra-info": extra_info } });
        let begun = world.a.admin.post_v1(&path, &body).await;
        assert_eq!(begun.status, 200, "{}", begun.body);
        assert_eq!(begun.body["checkpoint"]["protection_plan"]["id"], json!(policy));
        assert_eq!(begun.body["checkpoint"]["extra_info"], r#"{"created_by": "manual"}"#);
        world.a.work().await;
    }
    let null = json!({ "checkpoint": { "plan_id": policy, "parameters": null } });
    assert_eq!(world.a.admin.post_v1(&path, &null).await.status, 200);
}

#[tokio::test]
async fn names_and_descriptions_of_every_lawful_character_come_back_byte_for_byte() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    let chinese = "\u{4E00}备份策略\u{9FA5}\u{F900}\u{FA2D}";
    let long = "界".repeat(255);
    let odd = (1..=0x7f_u8).map(char::from).filter(|c| !"<>".contains(*c)).collect::<String>();
    let wide = "\u{80}\u{a0}äöü ñ é e\u{301} Ω \u{200b}\u{202e}\u{feff} \u{1F468}\u{200D}\u{1F4BB} \u{10FFFF} %41 \\u0041 &lt; ' \" {}";
    let path = format!("/providers/{PROVIDER}/resources/{server}/action");
    for (name, description) in
        [(plain, odd.as_str()), (chinese, wide), (long.as_str(), "備".repeat(255).as_str())]
    {
        let body = json!({ "protect": { "backup_name": name, "description": description } });
        let begun = world.a.admin.post_v1(&path, &body).await;
        assert_eq!(begun.status, 200, "{}", begun.body);
        let item = world.a.item(&begun.text("checkpoint.id")).await;
        assert_eq!((&item["name"], &item["description"]), (&json!(name), &json!(description)));
        let mut policy = policy_body(name, &[]);
        policy["policy"]["description"] = json!(description);
        policy["policy"]["scheduled_operations"][0]["name"] = json!(name);
        policy["policy"]["scheduled_operations"][0]["description"] = json!(description);
        let id = world.a.admin.post_v1("/policies", &policy).await.text("policy.id");
        let shown = world.a.admin.get_v1(&format!("/policies/{id}")).await.body["policy"].clone();
        assert_eq!((&shown["name"], &shown["description"]), (&json!(name), &json!(description)));
        assert_eq!(shown["scheduled_operations"][0]["description"], json!(description));
        let query: String = name.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = world.a.admin.get_v1(&format!("/checkpoint_items?name={query}")).await;
        assert_eq!(found.texts("checkpoint_items", "name"), [name], "found by its own name");
    }
    for bad in ["", " ", "a b", "a.b", "é", "\u{3400}", "\u{9FA6}", "\u{FA2E}", "a\n", "<", &"x".repeat(256)]
    {
        let body = json!({ "protect": { "backup_name": bad } });
        world.a.admin.post_v1(&path, &body).await.refuses(400, "CSBS.9001", "protect.backup_name: ");
    }
}

#[tokio::test]
async fn calendars_come_back_byte_for_byte_whatever_ends_their_lines() {
    let world = World::apart().await;
    let crlf = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=1,13;BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let patterns = [
        crlf.to_owned(),
        crlf.replace("\r\n", "\n"),
        crlf.trim_end().to_owned(),
        crlf.replace("\r\n", "\\r\\n"),
        "BEGIN:VEVENT\nRRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=0;\nEND:VEVENT".to_owned(),
        crlf.replace("BEGIN:VEVENT\r\n", "VERSION:2.0\r\nSUMMARY:\u{5907}\u{4EFD}\r\nBEGIN:VEVENT\r\n"),
    ];
    for (number, pattern) in patterns.iter().enumerate() {
        let mut body = policy_body(&format!("p{number}"), &[]);
        let trigger = &mut body["policy"]["scheduled_operations"][0]["trigger"];
        trigger["properties"]["pattern"] = json!(pattern);
        let made = world.a.admin.post_v1("/policies", &body).await;
        assert_eq!(made.status, 200, "{pattern:?}: {}", made.body);
        let shown = world.a.admin.get_v1(&format!("/policies/{}", made.text("policy.id"))).await;
        let properties = &shown.body["policy"]["scheduled_operations"][0]["trigger"]["properties"];
        assert_eq!(properties["pattern"], json!(pattern));
        assert_eq!(properties["format"], "ical");
    }
}

#[tokio::test]
async fn what_a_backup_was_asked_for_is_what_it_shows() {
    let world = World::apart().await;
    let server = world.a.server("db1").await;
    let path = format!("/providers/{PROVIDER}/resources/{server}/action");
    let protect = async |protect: Value| {
        let begun = world.a.admin.post_v1(&path, &json!({ "protect": protect })).await;
        assert_eq!(begun.status, 200, "{}", begun.body);
        world.a.work().await;
        world.a.item(&begun.text("checkpoint.id")).await
    };
    let first = protect(json!({})).await;
    assert_eq!(first["extend_info"]["incremental"], false, "the first backup of a server is a full one");
    let second = protect(json!({ "incremental": true, "tags": [{ "key": "a", "value": " b " }] })).await;
    assert_eq!(second["extend_info"]["incremental"], true);
    assert_eq!(second["tags"], json!([{ "key": "a", "value": "b" }]));
    let full =
        protect(json!({ "incremental": false, "app_consistency": 2, "resource_type": "OS::Nova::Server" }))
            .await;
    assert_eq!(full["extend_info"]["incremental"], false);
    assert_eq!(full["extend_info"]["volume_backups"][0]["incremental"], false);
    let told =
        world.a.admin.get(&format!("/antipode/v1/checkpoint_items/{}", full["id"].as_str().unwrap())).await;
    assert_eq!(told.body["checkpoint_item"]["consistency"], "none", "the outcome is a field");
    for (body, named) in [
        (json!({ "app_consistency": 1 }), "protect.app_consistency: 1 needs an agent"),
        (json!({ "app_consistency": 3 }), "protect.app_consistency: must be 0, 1 or 2"),
        (json!({ "app_consistency": "0" }), "protect.app_consistency: must be a whole number"),
        (json!({ "extra_info": { "exclude_volumes": "x" } }), "protect.extra_info.exclude_volumes: "),
        (json!({ "extra_info": [] }), "protect.extra_info: must be an object"),
        (json!({ "tags": [{ "key": "a" }, { "key": "a" }] }), "protect.tags: "),
    ] {
        let refused = world.a.admin.post_v1(&path, &json!({ "protect": body })).await;
        refused.refuses(400, "CSBS.9001", named);
    }
    assert_eq!(world.a.all_items().await.len(), 3);
}
