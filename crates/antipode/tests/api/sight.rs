//! Seeing replication: explain, coverage and plan say what is so in each scenario, and change nothing.

use axum::http::Method;
use catalog::JobKind;
use serde_json::{Value, json};

use crate::support::{Answer, Client, Fault, NOBODY, PROVIDER, World, policy_body, write_disk};

const HOUR: u64 = 3600;

fn explain_path(item: &str) -> String {
    format!("/antipode/v1/checkpoint_items/{item}/explain")
}

/// What is said of an item and the one region there is.
async fn explained(world: &World, item: &str) -> Value {
    let answer = world.a.admin.get(&explain_path(item)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let rows = answer.body["explanation"]["destinations"].as_array().unwrap().clone();
    assert_eq!((rows.len(), &rows[0]["destination_region"]), (1, &json!("eu-b")), "{rows:?}");
    rows[0].clone()
}

/// The state and the code of an item in the one region there is.
async fn told(world: &World, item: &str) -> (String, String) {
    let row = explained(world, item).await;
    let text = |key: &str| row[key].as_str().unwrap().to_owned();
    (text("state"), text("reason_code"))
}

fn says(state: &str, code: &str) -> (String, String) {
    (state.to_owned(), code.to_owned())
}

/// Every server in every region, one row each, with the name of the server.
async fn covered_by(client: &Client, query: &str) -> Vec<Value> {
    let answer = client.get(&format!("/antipode/v1/coverage{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let mut rows = Vec::new();
    for server in answer.body["coverage"].as_array().unwrap() {
        for destination in server["destinations"].as_array().unwrap() {
            let mut row = destination.clone();
            row["name"] = server["name"].clone();
            rows.push(row);
        }
    }
    rows
}

/// How the one server stands in the one region.
async fn covered(world: &World) -> Value {
    let rows = covered_by(&world.a.admin, "").await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].clone()
}

async fn set_target(world: &World, policy: &str, seconds: Value) -> Answer {
    let path = format!("/antipode/v1/policies/{policy}/destinations/eu-b");
    let body = json!({ "destination": { "rpo_seconds": seconds } });
    world.a.admin.send(Method::PUT, &path, Some(&body)).await
}

/// Lets time pass and the regions look after each other; the admin logs in again.
async fn pass(world: &mut World, seconds: u64) {
    world.clock.advance_seconds(seconds);
    world.a.control.keep_house().await.unwrap();
    world.a.admin = world.a.admin.relog("admin", Some("eu-a")).await;
}

/// A policy that replicates by a schedule, which is on or off.
async fn replicating_policy(world: &World, servers: &[&str], enabled: Value) -> String {
    let mut body = policy_body("nightly", servers);
    let operations = body["policy"]["scheduled_operations"].as_array_mut().unwrap();
    let mut replication = operations[0].clone();
    replication["name"] = json!("nightly-replication");
    replication["enabled"] = enabled;
    replication["operation_type"] = json!("replication");
    replication["operation_definition"] = json!({
        "destination_region": "eu-b", "destination_project_id": world.b.admin.project_id,
    });
    operations.push(replication);
    let made = world.a.admin.post_v1("/policies", &body).await;
    assert_eq!(made.status, 200, "{}", made.body);
    made.text("policy.id")
}

#[tokio::test]
async fn a_replica_is_explained_from_its_order_to_its_last_evidence() {
    let mut world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    assert_eq!(told(&world, &item).await, says("missing", "not-a-destination"));
    world.replicate(&policy).await;
    assert_eq!(told(&world, &item).await, says("waiting", "queued"));
    world.a.work().await;
    let row = explained(&world, &item).await;
    assert_eq!(row["reason_code"], "replicated");
    assert_eq!(
        (&row["has_receipt"], &row["level"], &row["evidence"]),
        (&json!(true), &json!("stored"), &json!("receipt"))
    );
    assert_eq!(row["destination_project_id"], json!(world.b.admin.project_id));
    let replica = row["replica_id"].as_str().unwrap();
    assert_eq!(world.b.admin.get_v1(&format!("/checkpoint_items/{replica}")).await.status, 200);

    pass(&mut world, 600).await;
    let row = explained(&world, &item).await;
    assert_eq!((&row["reason_code"], &row["evidence"]), (&json!("replicated"), &json!("head")));
    let listed_at = row["evidence_at"].clone();

    // The region falls silent: what it said counts for half an hour, and no longer.
    world.links.set_fault(Some(Fault::Down));
    pass(&mut world, 1500).await;
    assert_eq!(told(&world, &item).await, says("replicated", "replicated"));
    pass(&mut world, 400).await;
    let row = explained(&world, &item).await;
    assert_eq!((&row["reason_code"], &row["evidence_at"]), (&json!("replicated-unproven"), &listed_at));
    assert!(row["next_step"].as_str().unwrap().contains("region list"), "{row}");
    world.links.set_fault(None);
    pass(&mut world, 400).await;
    assert_eq!(told(&world, &item).await, says("replicated", "replicated"));
}

#[tokio::test]
async fn a_peer_that_is_down_and_a_grant_that_is_revoked_are_named() {
    let mut world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    world.replicate(&policy).await;
    world.links.set_fault(Some(Fault::Down));
    assert!(world.a.work_once(JobKind::Replicate).await);
    let row = explained(&world, &item).await;
    assert_eq!((&row["state"], &row["reason_code"]), (&json!("waiting"), &json!("peer-unreachable")));
    assert!(row["reason"].as_str().unwrap().contains("eu-b"), "{row}");
    assert!(row["try_at"].is_string());

    world.links.set_fault(None);
    let grant = world.b.admin.get("/antipode/v1/grants").await.texts("grants", "id").remove(0);
    let revoked = world.b.admin.send(Method::DELETE, &format!("/antipode/v1/grants/{grant}"), None).await;
    assert_eq!(revoked.status, 200);
    pass(&mut world, 600).await;
    assert!(world.a.work_once(JobKind::Replicate).await);
    assert_eq!(told(&world, &item).await, says("waiting", "no-grant"));

    // Without an order, a region that takes nothing is told about when it is asked for.
    let other = world.a.back_up(&policy).await.remove(0);
    let answer = world.a.admin.get(&explain_path(&other)).await;
    assert_eq!(answer.body["explanation"]["destinations"], json!([]));
    let asked = world.a.admin.get(&format!("{}?destination_region=eu-b", explain_path(&other))).await;
    assert_eq!(asked.body["explanation"]["destinations"][0]["reason_code"], "no-grant");
}

#[tokio::test]
async fn what_nobody_ordered_is_told_apart() {
    let world = World::paired().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = replicating_policy(&world, &[&servers[0]], json!(false)).await;
    let item = world.a.back_up(&policy).await.remove(0);
    assert_eq!(told(&world, &item).await, says("missing", "schedule-off"));
    let shown = world.a.admin.get_v1(&format!("/policies/{policy}")).await;
    let operation = shown.body["policy"]["scheduled_operations"][1]["id"].clone();
    let change = json!({ "policy": { "scheduled_operations": [{ "id": operation, "enabled": true }] } });
    assert_eq!(world.a.admin.put_v1(&format!("/policies/{policy}"), &change).await.status, 200);
    assert_eq!(told(&world, &item).await, says("missing", "not-ordered"));

    let by_hand = json!({ "backup": {} });
    let path = format!("/antipode/v1/servers/{}/backups", servers[1]);
    let begun = world.a.admin.post(&path, &by_hand).await;
    assert_eq!(begun.status, 202, "{}", begun.body);
    let items = world.a.all_items().await;
    let hand = items.iter().find(|one| **one != item).unwrap();
    assert_eq!(told(&world, hand).await, says("missing", "not-available"));
    world.a.work().await;
    assert_eq!(told(&world, hand).await, says("missing", "not-of-a-policy"));
}

#[tokio::test]
async fn what_expired_or_was_deleted_before_its_turn_is_told_of_a_backup_that_is_gone() {
    let world = World::paired().await;
    let (policy, first) = world.backed_up().await;
    world.replicate(&policy).await;
    let (catalog, now) = (world.a.catalog().await, world.a.control.now());
    let ordered = catalog.order_expiry(&[first.parse().unwrap()], now).await.unwrap();
    assert_eq!(ordered.len(), 1);
    let second = world.a.back_up(&policy).await.remove(0);
    assert_eq!(world.a.admin.get_v1(&format!("/checkpoint_items/{first}")).await.status, 404, "it expired");
    let row = explained(&world, &first).await;
    assert_eq!((&row["state"], &row["reason_code"]), (&json!("missing"), &json!("skipped-expired")));

    world.replicate(&policy).await;
    let checkpoint = world.a.item(&second).await["checkpoint_id"].as_str().unwrap().to_owned();
    let deleted = world.a.admin.delete_v1(&format!("/providers/{PROVIDER}/checkpoints/{checkpoint}")).await;
    assert_eq!(deleted.status, 200, "{}", deleted.body);
    assert_eq!(told(&world, &second).await, says("missing", "skipped-deleted"));
}

#[tokio::test]
async fn a_replica_that_is_deleted_or_lost_there_is_missing() {
    let mut world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    world.replicate(&policy).await;
    world.a.work().await;
    set_target(&world, &policy, json!(48 * HOUR)).await;
    assert_eq!(covered(&world).await["verdict"], "met");
    world.delete_replica(&item).await;
    assert_eq!(told(&world, &item).await, says("missing", "deleted-there"));
    let row = covered(&world).await;
    assert_eq!((&row["newest_replica_id"], &row["verdict"]), (&Value::Null, &json!("at-risk")));

    let second = world.a.back_up(&policy).await.remove(0);
    world.replicate(&policy).await;
    world.a.work().await;
    let row = covered(&world).await;
    assert_eq!((&row["newest_replica_id"], &row["verdict"]), (&json!(second), &json!("met")));
    let catalog = world.a.catalog().await;
    let record = explained(&world, &second).await["replication_record_id"].as_str().unwrap().to_owned();
    let now = model::time::Timestamp::from_micros(0);
    assert_eq!(catalog.mark_lost(&[record.parse().unwrap()], now).await.unwrap(), 1);
    assert_eq!(told(&world, &second).await, says("missing", "lost"));
    assert_eq!(covered(&world).await["newest_replica_id"], Value::Null);
    // The next call replaces it.
    pass(&mut world, 60).await;
    world.replicate(&policy).await;
    world.a.work().await;
    assert_eq!(told(&world, &second).await, says("replicated", "replicated"));
    assert_eq!(covered(&world).await["newest_replica_id"], json!(second));
}

#[tokio::test]
async fn a_replica_itself_is_not_replicated_and_a_failed_one_says_why() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    world.fail_record(&record).await;
    assert_eq!(told(&world, &item).await, says("missing", "fork"));
    world.replicate(&policy).await;
    world.a.work().await;
    let replica = explained(&world, &item).await["replica_id"].as_str().unwrap().to_owned();
    let asked = world.b.admin.get(&format!("{}?destination_region=eu-a", explain_path(&replica))).await;
    assert_eq!(asked.body["explanation"]["destinations"][0]["reason_code"], "is-a-replica");
}

#[tokio::test]
async fn a_verdict_follows_age_and_evidence_whatever_the_jobs_say() {
    let mut world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    assert!(covered_by(&world.a.admin, "").await.is_empty(), "nobody said where it should be");
    assert_eq!(set_target(&world, &policy, json!(10 * HOUR)).await.status, 200);
    let row = covered(&world).await;
    assert_eq!((&row["verdict"], &row["rpo_seconds"]), (&json!("at-risk"), &json!(10 * HOUR)));
    assert_eq!((&row["lag_seconds"], &row["newest_replica_at"]), (&Value::Null, &Value::Null));
    assert!(row["owed_bytes"].as_u64().unwrap() > 200_000, "{row}");

    world.replicate(&policy).await;
    world.a.work().await;
    let row = covered(&world).await;
    assert_eq!(
        (&row["verdict"], &row["lag_seconds"], &row["owed_bytes"]),
        (&json!("met"), &json!(0), &json!(0))
    );
    assert_eq!(row["level"], "stored");

    // A newer backup that is not there: lag and what is owed, while the target is still met.
    pass(&mut world, HOUR).await;
    write_disk(&world.a.disk("db1"), crate::support::DISK_BYTES, 99);
    world.a.back_up(&policy).await;
    let row = covered(&world).await;
    assert_eq!(row["verdict"], "met");
    let lag = row["lag_seconds"].as_u64().unwrap();
    assert!((HOUR..HOUR + 60).contains(&lag), "{row}");
    assert!(row["owed_bytes"].as_u64().unwrap() > 200_000, "{row}");
    pass(&mut world, 7 * HOUR).await;
    assert_eq!(covered(&world).await["verdict"], "at-risk");

    // Silence is no proof, and an old replica is too old, whatever was said of it.
    world.links.set_fault(Some(Fault::Down));
    pass(&mut world, HOUR).await;
    let row = covered(&world).await;
    assert_eq!(row["verdict"], "unproven");
    let evidence_at = model::time::Timestamp::parse(row["evidence_at"].as_str().unwrap()).unwrap();
    assert_eq!(row["since"], evidence_at.plus_seconds(1800).wire());
    assert!((HOUR..HOUR + 60).contains(&row["evidence_age_seconds"].as_u64().unwrap()));
    pass(&mut world, 2 * HOUR).await;
    let row = covered(&world).await;
    assert_eq!(row["verdict"], "breached");
    let replica_at = model::time::Timestamp::parse(row["newest_replica_at"].as_str().unwrap()).unwrap();
    assert_eq!(row["since"], replica_at.plus_seconds(10 * 3600).wire());

    world.links.set_fault(None);
    pass(&mut world, 600).await;
    world.replicate(&policy).await;
    world.a.work().await;
    let row = covered(&world).await;
    // The data are ten hours old, however young the replica is.
    assert_eq!((&row["verdict"], &row["lag_seconds"]), (&json!("breached"), &json!(0)), "{row}");
    world.a.back_up(&policy).await;
    world.replicate(&policy).await;
    world.a.work().await;
    assert_eq!(covered(&world).await["verdict"], "met");
    assert_eq!(set_target(&world, &policy, Value::Null).await.status, 200);
    let row = covered(&world).await;
    assert_eq!(
        (&row["verdict"], &row["since"], &row["rpo_seconds"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn each_project_sees_its_servers_and_the_operator_all() {
    let world = World::paired().await;
    let (policy, _) = world.backed_up().await;
    set_target(&world, &policy, json!(HOUR)).await;
    let stranger = world.a.stranger("other").await;
    let server = world.a.server_of(&stranger.project_id, "foreign", 64 * 1024).await;
    let made = stranger.post_v1("/policies", &policy_body("theirs", &[&server])).await;
    let theirs = made.text("policy.id");
    let path = format!("/antipode/v1/policies/{theirs}/destinations/eu-b");
    let body = json!({ "destination": { "rpo_seconds": 60 } });
    assert_eq!(stranger.send(Method::PUT, &path, Some(&body)).await.status, 200);
    let names = |rows: &[Value]| rows.iter().map(|row| row["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&covered_by(&world.a.admin, "").await), ["db1"]);
    assert_eq!(names(&covered_by(&stranger, "").await), ["foreign"]);
    let mut all = names(&covered_by(&world.a.admin, "?all_tenants=true").await);
    all.sort_by_key(ToString::to_string);
    assert_eq!(all, ["db1", "foreign"]);
    assert_eq!(stranger.get("/antipode/v1/coverage?all_tenants=true").await.status, 403);

    let first = world.a.admin.get("/antipode/v1/coverage?all_tenants=true&limit=1").await;
    let link = first.body["coverage_links"][0]["href"].as_str().unwrap();
    let next = world.a.admin.get(link.strip_prefix("http://eu-a.example:8780").unwrap()).await;
    assert_eq!((first.texts("coverage", "id").len(), next.texts("coverage", "id").len()), (1, 1));
    assert!(next.body.get("coverage_links").is_none());
}

#[tokio::test]
async fn what_is_somebody_elses_looks_like_what_is_not_there() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let stranger = world.a.stranger("other").await;
    let place = format!("destination_region=eu-b&destination_project_id={}", world.b.admin.project_id);
    for (own, absent) in [
        (explain_path(&item), explain_path(NOBODY)),
        (
            format!("/antipode/v1/policies/{policy}/destinations"),
            format!("/antipode/v1/policies/{NOBODY}/destinations"),
        ),
        (
            format!("/antipode/v1/policies/{policy}/destinations/eu-b"),
            format!("/antipode/v1/policies/{NOBODY}/destinations/eu-b"),
        ),
        (
            format!("/antipode/v1/policies/{policy}/replication_plan?{place}"),
            format!("/antipode/v1/policies/{NOBODY}/replication_plan?{place}"),
        ),
    ] {
        assert_eq!(world.a.admin.get(&own).await.status, 200, "{own}");
        let (foreign, absent) = (stranger.get(&own).await, stranger.get(&absent).await);
        assert_eq!((foreign.status, absent.status), (404, 404), "{own}");
        let text = |answer: &Answer, id: &str| answer.body.to_string().replace(id, "ID");
        let id = if own.contains(&item) { &item } else { &policy };
        assert_eq!(text(&foreign, id), text(&absent, NOBODY), "{own}");
    }
    let path = format!("/antipode/v1/policies/{policy}/destinations/eu-b");
    let body = json!({ "destination": { "rpo_seconds": 60 } });
    assert_eq!(stranger.send(Method::PUT, &path, Some(&body)).await.status, 404);
    let known = world.a.admin.get(&path).await;
    assert_eq!(known.body["destination"]["rpo_seconds"], Value::Null);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_by_name() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let (explain, plan) = (explain_path(&item), format!("/antipode/v1/policies/{policy}/replication_plan"));
    for (path, code, named) in [
        (explain_path("nonsense"), "CSBS.9001", "checkpoint_item_id"),
        (format!("{explain}?destination_region=a%20b"), "CSBS.9001", "destination_region"),
        (format!("{explain}?destination_region=eu-z"), "BackupService.1005", "destination_region"),
        (format!("{explain}?destination_region=eu-a"), "BackupService.1005", "destination_region"),
        ("/antipode/v1/coverage?all_tenants=perhaps".to_owned(), "CSBS.9001", "all_tenants"),
        ("/antipode/v1/coverage?limit=0".to_owned(), "CSBS.9001", "limit"),
        ("/antipode/v1/coverage?marker=nothing".to_owned(), "CSBS.9001", "marker"),
        ("/antipode/v1/coverage?sort=name".to_owned(), "CSBS.9001", "sort"),
        (plan.clone(), "CSBS.9001", "destination_region: is missing"),
        (format!("{plan}?destination_region=eu-b"), "CSBS.9001", "destination_project_id: is missing"),
        (
            format!("{plan}?destination_region=eu-z&destination_project_id=x"),
            "BackupService.1005",
            "destination_region",
        ),
        (
            format!("{plan}?destination_region=eu-b&destination_project_id=x"),
            "BackupService.1011",
            "destination_project_id",
        ),
    ] {
        world.a.admin.get(&path).await.refuses(400, code, named);
    }
    for bad in [json!(-1), json!(0), json!(1.5), json!("60"), json!(4_000_000_000_u64), json!([])] {
        set_target(&world, &policy, bad).await.refuses(400, "CSBS.9001", "destination.rpo_seconds");
    }
    let body = json!({ "destination": { "rpo_seconds": 60 } });
    for (region, code) in
        [("eu-z", "BackupService.1005"), ("eu-a", "BackupService.1005"), ("a%20b", "CSBS.9001")]
    {
        let path = format!("/antipode/v1/policies/{policy}/destinations/{region}");
        world.a.admin.send(Method::PUT, &path, Some(&body)).await.refuses(400, code, "region_name");
    }
    let path = format!("/antipode/v1/policies/{policy}/destinations/eu-b");
    world.a.admin.send(Method::PUT, &path, Some(&json!({}))).await.refuses(
        400,
        "CSBS.9001",
        "destination: is missing",
    );
    let absent = world.a.admin.get(&format!("/antipode/v1/policies/{policy}/destinations/eu-z")).await;
    assert_eq!(absent.status, 404);
}

#[tokio::test]
async fn a_target_stays_with_the_policy() {
    let world = World::paired().await;
    let server = world.a.server("db1").await;
    let policy = replicating_policy(&world, &[&server], json!(true)).await;
    let path = format!("/antipode/v1/policies/{policy}/destinations");
    let answer = set_target(&world, &policy, json!(3600)).await;
    let expected = json!({
        "policy_id": policy, "destination_region": "eu-b", "destination_project_id": world.b.admin.project_id,
        "is_scheduled": true, "rpo_seconds": 3600,
    });
    assert_eq!(answer.body["destination"], expected);
    assert_eq!(world.a.admin.get(&format!("{path}/eu-b")).await.body["destination"], expected);
    assert_eq!(world.a.admin.get(&path).await.body["destinations"], json!([expected]));
    let renamed = json!({ "policy": { "name": "hourly" } });
    assert_eq!(world.a.admin.put_v1(&format!("/policies/{policy}"), &renamed).await.status, 200);
    assert_eq!(world.a.admin.get(&path).await.body["destinations"], json!([expected]));
    let reader = world.a.user("reader", "reader").await;
    let body = json!({ "destination": { "rpo_seconds": 60 } });
    assert_eq!(reader.get(&path).await.status, 200);
    assert_eq!(reader.send(Method::PUT, &format!("{path}/eu-b"), Some(&body)).await.status, 403);
}

#[tokio::test]
async fn a_plan_is_what_the_call_then_does_and_changes_nothing() {
    let world = World::paired().await;
    let servers = [world.a.server("db1").await, world.a.server("db22").await];
    let policy = world.a.policy("nightly", &[&servers[0], &servers[1]]).await;
    let place = format!("destination_region=eu-b&destination_project_id={}", world.b.admin.project_id);
    let path = format!("/antipode/v1/policies/{policy}/replication_plan?{place}");
    let ask = async || {
        let answer = world.a.admin.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["replication_plan"].clone()
    };
    assert_eq!(ask().await["item_count"], 0);
    for seed in 0..3 {
        world.a.back_up(&policy).await;
        write_disk(&world.a.disk("db1"), crate::support::DISK_BYTES, 50 + seed);
        world.clock.advance_seconds(60);
    }
    let before = rows_of_the_catalog(&world).await;
    let plan = ask().await;
    assert_eq!(rows_of_the_catalog(&world).await, before, "a plan changes nothing");
    assert_eq!((&plan["item_count"], &plan["left_out"]), (&json!(6), &json!([])));
    assert_eq!((&plan["expected_seconds"], &plan["grant_bytes_left"]), (&Value::Null, &Value::Null));

    let (items, records): (Vec<String>, Vec<String>) =
        world.replicate(&policy).await.selected().into_iter().unzip();
    assert_eq!(json!(items), plan["checkpoint_items"]);
    world.a.work().await;
    let mut planned = 0;
    for record in records {
        let shown = world.a.admin.get(&format!("/antipode/v1/replication_records/{record}")).await;
        planned += shown.body["replication_record"]["planned_bytes"].as_u64().unwrap();
    }
    assert_eq!(plan["expected_bytes"], json!(planned), "the very estimate of the worker");

    world.a.back_up(&policy).await;
    let plan = ask().await;
    assert_eq!(
        (&plan["item_count"], &plan["left_out"]),
        (&json!(2), &json!([{ "reason_code": "already-replicated", "item_count": 6 }]))
    );
    assert!(plan["expected_seconds"].is_u64(), "{plan}");
}

/// Everything that a replication would write.
async fn rows_of_the_catalog(world: &World) -> (Vec<Value>, u64) {
    let catalog = world.a.catalog().await;
    let mut rows = Vec::new();
    for item in world.a.all_items().await {
        rows.push(world.a.item(&item).await);
    }
    (rows, catalog.open_job_count(JobKind::Replicate).await.unwrap())
}
