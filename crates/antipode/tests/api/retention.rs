//! The preview of retention: what it says is what expiry then does, and what the reference model says.

use std::collections::{BTreeMap, BTreeSet};

use model::time::{SECOND_MICROS, Timestamp};
use serde_json::{Value, json};

use crate::support::{NOBODY, World, policy_body};

#[path = "../../../model/tests/reference/mod.rs"]
#[expect(dead_code, reason = "the schedules of the model are for the tests of its own crate")]
mod reference;

use reference::{Backup, DAY, Date, HOUR, Rules, calendar, keepers};

/// A policy that backs a server up at 01:30 every day and keeps what a definition says.
async fn nightly(world: &World, definition: &Value) -> String {
    let server = world.a.server("db1").await;
    let mut body = policy_body("nightly", &[&server]);
    body["policy"]["scheduled_operations"][0]["enabled"] = json!(true);
    body["policy"]["scheduled_operations"][0]["operation_definition"] = definition.clone();
    let made = world.a.admin.post_v1("/policies", &body).await;
    assert_eq!(made.status, 200, "{}", made.body);
    made.text("policy.id")
}

fn path(policy: &str) -> String {
    format!("/antipode/v1/policies/{policy}/retention_preview")
}

/// What the preview says of each backup: the rules that keep it.
fn kept_by(answer: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let rows = answer["items"].as_array().unwrap_or_else(|| panic!("{answer}"));
    let words = |row: &Value| {
        let words = row["kept_by"].as_array().unwrap().iter();
        words.map(|word| word.as_str().unwrap().to_owned()).collect()
    };
    rows.iter().map(|row| (row["id"].as_str().unwrap().to_owned(), words(row))).collect()
}

fn expired(answer: &Value) -> BTreeSet<String> {
    kept_by(answer).into_iter().filter(|(_, by)| by.is_empty()).map(|(id, _)| id).collect()
}

/// The same of the reference model, from what the API shows of the backups.
async fn by_the_model(world: &World, rules: &Rules, now: Timestamp) -> BTreeMap<String, BTreeSet<String>> {
    let listed = world.a.admin.get_v1("/checkpoint_items?status=available").await;
    let rows = listed.body["checkpoint_items"].as_array().unwrap();
    let second = |text: &Value| Timestamp::parse(text.as_str().unwrap()).unwrap().micros() / SECOND_MICROS;
    let backups: Vec<Backup> = (0u32..)
        .zip(rows)
        .map(|(name, row)| Backup {
            name,
            made: second(&row["protected_at"]),
            is_automatic: row["extend_info"]["auto_trigger"].as_bool().unwrap(),
        })
        .collect();
    let today = now.micros() / SECOND_MICROS / DAY;
    let days: Vec<Date> = calendar(today + 2).split_off((today - 100) as usize);
    let kept = keepers(rules, &backups, now.micros() / SECOND_MICROS, &days);
    let id = |name: u32| rows[name as usize]["id"].as_str().unwrap().to_owned();
    let words = |by: BTreeSet<&str>| by.into_iter().map(str::to_owned).collect();
    kept.into_iter().map(|(name, by)| (id(name), words(by))).collect()
}

#[tokio::test]
async fn expiry_does_what_the_preview_and_the_reference_model_say() {
    let mut world = World::apart().await;
    let definition = json!({
        "max_backups": 3, "retention_duration_days": "20", "week_backups": 2, "day_backups": 5,
        "timezone": "UTC-08:00",
    });
    let rules = Rules {
        max_backups: 3,
        duration_days: 20,
        week_backups: 2,
        day_backups: 5,
        zone: -8 * HOUR,
        ..Rules::default()
    };
    let policy = nightly(&world, &definition).await;
    let mut seen_words = BTreeSet::new();
    let mut gone_count = 0;
    for day in 0..24 {
        if day % 5 == 2 {
            world.a.back_up(&policy).await;
        }
        // The run of the night, without the round of expiry that follows it.
        world.clock.advance_seconds(86_400);
        world.a.admin = world.a.admin.relog("admin", Some("eu-a")).await;
        world.a.control.keep_house().await.unwrap();
        world.a.work().await;
        let preview = world.a.admin.get(&path(&policy)).await;
        assert_eq!(preview.status, 200, "{}", preview.body);
        let before: BTreeSet<String> = world.a.all_items().await.into_iter().collect();
        let at = Timestamp::parse(&preview.text("retention_preview.at")).unwrap();
        let told = kept_by(&preview.body);
        assert_eq!(told, by_the_model(&world, &rules, at).await, "day {day}");
        seen_words.extend(told.into_values().flatten());
        assert_eq!(before, world.a.all_items().await.into_iter().collect(), "a preview changes nothing");

        world.a.control.keep_house().await.unwrap();
        world.a.work().await;
        let after: BTreeSet<String> = world.a.all_items().await.into_iter().collect();
        let gone: BTreeSet<String> = before.difference(&after).cloned().collect();
        assert_eq!(gone, expired(&preview.body), "day {day}");
        assert_eq!(preview.body["retention_preview"]["expired_count"], json!(gone.len()));
        gone_count += gone.len();
    }
    let words = ["age", "day", "last", "made-by-hand", "newest", "week"].map(str::to_owned);
    assert_eq!(seen_words, BTreeSet::from(words));
    assert!(gone_count > 10, "{gone_count}");
}

#[tokio::test]
async fn other_rules_and_other_moments_can_be_tried_without_saving_them() {
    let mut world = World::apart().await;
    let policy = nightly(&world, &json!({})).await;
    for _ in 0..5 {
        world.next_day().await;
    }
    let items = world.a.all_items().await;
    let newest = items.len() - 1;
    assert!(newest >= 3, "{items:?}");
    let ask =
        async |body: Value| world.a.admin.post(&path(&policy), &json!({ "retention_preview": body })).await;
    let saved = ask(json!({})).await.body;
    assert_eq!(saved["retention_preview"]["expired_count"], 0);
    assert_eq!(saved["items"][0]["kept_by"], json!(["no-limit"]));
    assert_eq!(saved["items"][0]["expires_at"], Value::Null);
    let two = ask(json!({ "operation_definition": { "max_backups": 2 } })).await.body;
    assert_eq!(expired(&two), items[..newest - 1].iter().cloned().collect());
    let outcomes = (&two["items"][0]["outcome"], &two["items"][newest]["outcome"]);
    assert_eq!(outcomes, (&json!("expired"), &json!("kept")));

    let days = json!({ "retention_duration_days": 10 });
    let now = ask(json!({ "operation_definition": days })).await.body;
    assert!(expired(&now).is_empty());
    let end = now["items"][0]["expires_at"].as_str().unwrap().to_owned();
    let made = world.a.item(&items[0]).await["protected_at"].as_str().unwrap().to_owned();
    assert_eq!(Timestamp::parse(&end).unwrap(), Timestamp::parse(&made).unwrap().plus_days(10));
    let then = ask(json!({ "operation_definition": days, "at": end })).await.body;
    assert_eq!(expired(&then), BTreeSet::from([items[0].clone()]));
    let saved = world.a.admin.get(&format!("{}?at=2126-01-01T00:00:00", path(&policy))).await.body;
    assert!(expired(&saved).is_empty(), "the policy itself keeps everything");
    world.next_day().await;
    assert_eq!(world.a.all_items().await.len(), items.len() + 1, "nothing of this was saved");
}

#[tokio::test]
async fn a_preview_comes_in_pages_and_refuses_what_makes_no_sense() {
    let world = World::apart().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &[&servers[0], &servers[1]]).await;
    for _ in 0..2 {
        world.a.back_up(&policy).await;
    }
    let first = world.a.admin.get(&format!("{}?limit=3", path(&policy))).await;
    let mut ids = first.texts("items", "id");
    assert_eq!((ids.len(), &first.body["retention_preview"]["kept_count"]), (3, &json!(4)));
    let link = first.body["items_links"][0]["href"].as_str().unwrap();
    let next = world.a.admin.get(link.strip_prefix("http://eu-a.example:8780").unwrap()).await;
    ids.extend(next.texts("items", "id"));
    assert!(next.body.get("items_links").is_none());
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 4);

    for (query, named) in
        [("at=yesterday", "at: must be a time"), ("marker=x", "marker"), ("limit=0", "limit")]
    {
        let answer = world.a.admin.get(&format!("{}?{query}", path(&policy))).await;
        answer.refuses(400, "CSBS.9001", named);
    }
    for (body, named) in [
        (json!({}), "retention_preview: is missing"),
        (json!({ "retention_preview": { "at": "x" } }), "retention_preview.at: must be a time"),
        (
            json!({ "retention_preview": { "operation_definition": { "day_backups": 1 } } }),
            "retention_preview.operation_definition.timezone: must be given",
        ),
        (
            json!({ "retention_preview": { "operation_definition": { "max_backups": -2 } } }),
            "retention_preview.operation_definition.max_backups: must be",
        ),
    ] {
        world.a.admin.post(&path(&policy), &body).await.refuses(400, "CSBS.9001", named);
    }
    let stranger = world.a.stranger("other").await;
    let absent = stranger.get(&path(NOBODY)).await;
    absent.refuses(404, "CSBS.3000", "plan not found");
    assert_eq!(stranger.get(&path(&policy)).await.body, absent.body);
}
