//! What people say to replication records, the receipts that records end with, and the limits of the links.

use std::sync::atomic::Ordering;

use axum::http::Method;
use catalog::{JobKind, TransferKey};
use control::lost_keys::KeyTroubles;
use control::workers::Round;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use vault::ids::to_hex;
use vault::receipt_file::ReceiptFile;

use crate::support::{Answer, Client, DISK_BYTES, Fault, Held, NOBODY, World};

/// Bytes of a disk that goes in several batches.
const LARGE_BYTES: usize = 20 << 20;

fn path(record: &str, verb: &str) -> String {
    format!("/antipode/v1/replication_records/{record}/{verb}")
}

async fn say(client: &Client, verb: &str, record: &str) -> Answer {
    client.send(Method::POST, &path(record, verb), None).await
}

/// A world, its policy and item, and a record that waits.
async fn waiting() -> (World, String, String, String) {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    (world, policy, item, record)
}

async fn shown(world: &World, record: &str) -> Value {
    let answer = world.a.admin.get(&format!("/antipode/v1/replication_records/{record}")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["replication_record"].clone()
}

async fn state(world: &World, record: &str) -> String {
    shown(world, record).await["state"].as_str().unwrap().to_owned()
}

/// Lets the replicator of the source do one round by itself.
fn work_aside(world: &World) -> JoinHandle<Round> {
    let control = world.a.control.clone();
    tokio::spawn(async move { control.work_once(JobKind::Replicate).await.unwrap() })
}

#[tokio::test]
async fn a_paused_record_waits_until_it_is_resumed() {
    let (world, policy, item, record) = waiting().await;
    let paused = say(&world.a.admin, "pause", &record).await;
    assert_eq!((paused.status, paused.text("replication_record.state")), (200, "waiting".into()));
    let since = paused.text("replication_record.paused_at");
    let again = say(&world.a.admin, "pause", &record).await;
    assert_eq!((again.status, again.text("replication_record.paused_at")), (200, since));
    let on_the_wire = world.record(&record).await;
    assert_eq!(on_the_wire["status"], "waiting_replicate", "clients of CSBS know no other word");
    assert!(on_the_wire["extra_info"]["fail_reason"].as_str().unwrap().contains("paused"), "{on_the_wire}");
    world.a.work().await;
    world.clock.advance_seconds(600);
    world.a.control.keep_house().await.unwrap();
    world.a.work().await;
    assert_eq!((state(&world, &record).await.as_str(), world.links.batch_count()), ("waiting", 0));
    assert_eq!(world.replicate(&policy).await.selected(), [], "it is not ordered twice");
    assert_eq!(world.replicate_item(&item).await.status, 400);
    for _ in 0..2 {
        let resumed = say(&world.a.admin, "resume", &record).await;
        assert_eq!(resumed.status, 200, "{}", resumed.body);
        assert_eq!(resumed.body["replication_record"]["paused_at"], Value::Null);
    }
    world.a.work().await;
    assert_eq!(state(&world, &record).await, "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_paused_while_it_copies_sends_nothing_more_and_goes_on_from_there() {
    let world = World::paired().await;
    let server = world.a.server_of(&world.a.admin.project_id, "large", LARGE_BYTES).await;
    let policy = world.a.policy("nightly", &[&server]).await;
    world.a.back_up(&policy).await;
    let (_, record) = world.replicate(&policy).await.selected().remove(0);
    let gate = world.links.hold(Held::Sends);
    let working = work_aside(&world);
    gate.reached().await;
    let paused = say(&world.a.admin, "pause", &record).await;
    assert_eq!((paused.status, paused.text("replication_record.state")), (200, "copying".into()));
    assert_eq!(world.record(&record).await["status"], "replicating");
    // The worker looks after its lease all the time; it has seen by then that the lease is gone.
    for _ in 0..50 {
        shown(&world, &record).await;
    }
    world.links.hold_nothing();
    gate.let_one_through();
    working.await.unwrap();
    let sent = world.links.batch_count();
    assert_eq!(sent, 1, "the batch that was on its way, and none after it");
    world.a.work().await;
    assert_eq!((world.links.batch_count(), state(&world, &record).await.as_str()), (sent, "copying"));

    assert_eq!(say(&world.a.admin, "resume", &record).await.status, 200);
    world.a.work().await;
    let done = shown(&world, &record).await;
    assert_eq!((&done["state"], &done["resent_bytes"]), (&json!("done"), &json!(0)), "{done}");
    assert!(world.links.batch_count() > sent);
    assert!(done["sent_bytes"].as_u64().unwrap() < (LARGE_BYTES + LARGE_BYTES / 10) as u64, "{done}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_cancelled_while_it_is_verified_stays_cancelled() {
    let (world, policy, _, record) = waiting().await;
    let gate = world.links.hold(Held::Verifies);
    let working = work_aside(&world);
    gate.reached().await;
    assert_eq!(state(&world, &record).await, "verifying");
    let cancelled = say(&world.a.admin, "cancel", &record).await;
    assert_eq!((cancelled.status, cancelled.text("replication_record.state")), (200, "cancelled".into()));
    world.links.hold_nothing();
    gate.let_one_through();
    working.await.unwrap();
    world.a.work().await;
    let ended = shown(&world, &record).await;
    assert_eq!((&ended["state"], &ended["has_receipt"]), (&json!("cancelled"), &json!(false)));
    assert_eq!(world.record(&record).await["status"], "fail");
    assert_eq!(world.b.all_items().await, Vec::<String>::new(), "nothing was published");
    let before = world.links.batch_count();
    let (_, second) = world.replicate(&policy).await.selected().remove(0);
    world.a.work().await;
    assert_eq!(state(&world, &second).await, "done");
    assert_eq!(world.links.batch_count(), before, "what had arrived was not sent again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_cancelled_while_it_is_published_has_one_replica_when_it_is_retried() {
    let (world, _, _, record) = waiting().await;
    let gate = world.links.hold(Held::Publishes);
    let working = work_aside(&world);
    gate.reached().await;
    assert_eq!(say(&world.a.admin, "cancel", &record).await.status, 200);
    world.links.hold_nothing();
    gate.let_one_through();
    working.await.unwrap();
    assert_eq!(state(&world, &record).await, "cancelled", "the receipt came too late for it");
    let retried = say(&world.a.admin, "retry", &record).await;
    assert_eq!(retried.status, 201, "{}", retried.body);
    let second = retried.text("replication_record.id");
    assert_ne!(second, record);
    world.a.work().await;
    assert_eq!(state(&world, &second).await, "done");
    assert_eq!((state(&world, &record).await.as_str(), world.b.all_items().await.len()), ("cancelled", 1));
}

#[tokio::test]
async fn a_cancelled_record_lets_its_backup_be_deleted() {
    let (world, _, item, record) = waiting().await;
    world.begin_copying(&record).await;
    let checkpoint = world.a.item(&item).await["checkpoint_id"].as_str().unwrap().to_owned();
    let path = format!("/providers/{}/checkpoints/{checkpoint}", crate::support::PROVIDER);
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 400, "it is being copied");
    assert_eq!(say(&world.a.admin, "pause", &record).await.status, 200);
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 400, "a pause does not change that");
    assert_eq!(say(&world.a.admin, "cancel", &record).await.status, 200);
    assert_eq!(world.a.admin.delete_v1(&path).await.status, 200);
    world.a.work().await;
    let gone = say(&world.a.admin, "retry", &record).await;
    gone.refuses(409, "Antipode.0409", "the backup is gone");
}

#[tokio::test]
async fn verbs_that_do_not_fit_are_refused_and_change_nothing() {
    let (world, _, _, record) = waiting().await;
    let admin = &world.a.admin;
    say(admin, "retry", &record).await.refuses(409, "Antipode.0409", "the replication is waiting");
    assert_eq!(say(admin, "cancel", &record).await.status, 200);
    for (verb, why) in
        [("cancel", "cancelled"), ("pause", "cannot be paused"), ("resume", "cannot be resumed")]
    {
        say(admin, verb, &record).await.refuses(409, "Antipode.0409", why);
    }
    let second = say(admin, "retry", &record).await.text("replication_record.id");
    let twice = say(admin, "retry", &record).await;
    assert_eq!(twice.status, 409, "it is on its way: {}", twice.body);
    world.a.work().await;
    for (verb, why) in
        [("cancel", "is done"), ("pause", "is done"), ("resume", "is done"), ("retry", "is done")]
    {
        say(admin, verb, &second).await.refuses(409, "Antipode.0409", why);
    }
    assert_eq!(say(admin, "retry", &record).await.status, 409, "it is there");
    assert_eq!((world.record_count().await, state(&world, &second).await.as_str()), (2, "done"));
}

#[tokio::test]
async fn what_failed_is_retried_when_a_grant_accepts_it() {
    let (world, _, _, record) = waiting().await;
    world.fail_record(&record).await;
    let retried = say(&world.a.admin, "retry", &record).await;
    assert_eq!((retried.status, retried.text("replication_record.state")), (201, "waiting".into()));
    let second = retried.text("replication_record.id");
    assert_eq!(world.record(&second).await["plan_id"], world.record(&record).await["plan_id"]);
    world.fail_record(&second).await;
    let grants = world.b.admin.get("/antipode/v1/grants").await.texts("grants", "id");
    let grant = format!("/antipode/v1/grants/{}", grants[0]);
    assert_eq!(world.b.admin.send(Method::DELETE, &grant, None).await.status, 200);
    world.clock.advance_seconds(60);
    world.a.control.keep_house().await.unwrap();
    let refused = say(&world.a.admin, "retry", &second).await;
    refused.refuses(400, "BackupService.1011", "destination_project_id");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_retries_at_once_begin_one_replication() {
    let (world, _, _, record) = waiting().await;
    assert_eq!(say(&world.a.admin, "cancel", &record).await.status, 200);
    let mut running = Vec::new();
    for _ in 0..10 {
        let (client, record) = (world.a.admin.clone(), record.clone());
        running.push(tokio::spawn(async move { say(&client, "retry", &record).await.status }));
    }
    let mut statuses = Vec::new();
    for handle in running {
        statuses.push(handle.await.unwrap());
    }
    statuses.sort();
    assert_eq!(statuses, [&[201][..], &[409; 9]].concat());
    assert_eq!(world.record_count().await, 2);
}

#[tokio::test]
async fn verbs_are_for_members_of_the_project() {
    let (world, _, _, record) = waiting().await;
    let reader = world.a.user("reader", "reader").await;
    let stranger = world.a.stranger("other").await;
    for verb in ["pause", "resume", "cancel", "retry"] {
        assert_eq!(say(&reader, verb, &record).await.status, 403, "{verb}");
        assert_eq!(say(&stranger, verb, &record).await.status, 404, "{verb}");
        assert_eq!(say(&world.a.admin, verb, NOBODY).await.status, 404, "{verb}");
        assert_eq!(say(&world.a.admin, verb, "x").await.status, 400, "{verb}");
    }
    assert_eq!(state(&world, &record).await, "waiting");
}

#[tokio::test]
async fn an_arrival_that_nobody_goes_on_with_is_given_up_after_a_week() {
    let (world, _, item, record) = waiting().await;
    world.begin_copying(&record).await;
    assert_eq!(say(&world.a.admin, "cancel", &record).await.status, 200);
    let key = TransferKey {
        source_region: "eu-a".parse().unwrap(),
        source_item_id: item.parse().unwrap(),
        destination_project_id: world.b.admin.project_id.parse().unwrap(),
        generation: 1,
    };
    let is_open = async || world.b.catalog().await.transfer(&key).await.unwrap().unwrap().is_open;
    for (days, expected) in [(0, true), (6, true), (2, false)] {
        world.clock.advance_seconds(days * 86_400);
        world.b.control.keep_house().await.unwrap();
        assert_eq!(is_open().await, expected, "{days} days later");
    }
    // Whoever comes back later opens it again.
    world.links.set_fault(None);
    let admin = world.a.admin.relog("admin", Some("eu-a")).await;
    let second = say(&admin, "retry", &record).await.text("replication_record.id");
    world.a.work().await;
    let done = admin.get(&format!("/antipode/v1/replication_records/{second}")).await;
    assert_eq!(done.text("replication_record.state"), "done", "{}", done.body);
}

fn bytes_of(hex: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(pair).collect()
}

#[tokio::test]
async fn a_receipt_proves_a_replica_to_whoever_knows_the_root_key() {
    let (world, _, item, record) = waiting().await;
    let none = world.a.admin.get(&path(&record, "receipt")).await;
    none.refuses(404, "Antipode.0404", "the replication is waiting");
    world.a.work().await;
    let reader = world.a.user("reader", "reader").await;
    let answer = reader.get(&path(&record, "receipt")).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.text("receipt.checkpoint_item_id"), item);
    assert_eq!(
        (answer.text("receipt.level"), answer.text("receipt.mode")),
        ("stored".into(), "restorable".into())
    );
    let parts = ["card", "receipt"].map(|key| bytes_of(&answer.text(&format!("receipt.{key}"))));
    let [card, receipt] = parts;
    let bytes = ReceiptFile { card, receipt }.encode();
    let root_key = *world.b.control.identity().card().root_key();
    let checked = ReceiptFile::decode(&bytes).unwrap().check(&root_key.0).unwrap();
    assert_eq!(checked.region_name, "eu-b");
    assert_eq!(to_hex(&checked.receipt.manifest.0), answer.text("receipt.manifest"));
    assert_eq!(json!(checked.receipt.object_count), answer.body["receipt"]["object_count"]);
    assert!(checked.receipt.stored_bytes >= DISK_BYTES as u64);
    for position in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[position] ^= 0x20;
        let found = ReceiptFile::decode(&damaged).and_then(|file| file.check(&root_key.0));
        assert!(found.is_err(), "byte {position}");
    }
    let own_key = world.a.control.identity().card().root_key();
    assert!(ReceiptFile::decode(&bytes).unwrap().check(&own_key.0).is_err());
    assert_eq!(world.a.stranger("other").await.get(&path(&record, "receipt")).await.status, 404);
}

const LIMIT: &str = "/antipode/v1/regions/eu-b/limit";

fn limit(bytes_per_second: impl Into<Value>) -> Value {
    json!({ "limit": { "bytes_per_second": bytes_per_second.into() } })
}

#[tokio::test]
async fn a_limit_is_the_operators_and_shown_with_the_region() {
    let world = World::paired().await;
    let admin = &world.a.admin;
    let set = async |body: &Value| admin.send(Method::PUT, LIMIT, Some(body)).await;
    for (body, named) in [
        (json!({}), "limit: is missing"),
        (limit("fast"), "limit.bytes_per_second: "),
        (limit(0), "limit.bytes_per_second: "),
        (limit(1023), "limit.bytes_per_second: "),
        (limit(-1), "limit.bytes_per_second: "),
        (limit(1.5), "limit.bytes_per_second: "),
    ] {
        set(&body).await.refuses(400, "CSBS.9001", named);
    }
    let listed = async || admin.get("/antipode/v1/regions").await.body["regions"][0]["limit"].clone();
    assert_eq!(listed().await, json!({ "bytes_per_second": null }));
    for value in [json!(1024), json!(10_485_760), json!(null)] {
        let answer = set(&limit(value.clone())).await;
        assert_eq!((answer.status, &answer.body), (200, &limit(value.clone())));
        assert_eq!(listed().await["bytes_per_second"], value);
    }
    let unknown = admin.send(Method::PUT, "/antipode/v1/regions/eu-z/limit", Some(&limit(2048))).await;
    assert_eq!(unknown.status, 404, "{}", unknown.body);
    let member = world.a.user("member", "member").await;
    assert_eq!(member.send(Method::PUT, LIMIT, Some(&limit(2048))).await.status, 403);
}

#[tokio::test]
async fn a_limit_outlives_the_process() {
    let World { a, links, clock, b: _b } = World::paired().await;
    assert_eq!(a.admin.send(Method::PUT, LIMIT, Some(&limit(4096))).await.status, 200);
    let a = a.restart((&links, &clock), KeyTroubles::default()).await;
    let regions = a.admin.get("/antipode/v1/regions").await;
    assert_eq!(regions.body["regions"][0]["limit"], json!({ "bytes_per_second": 4096 }));
}

/// How many milliseconds of the world's clock a replication of one disk takes under a limit.
async fn milliseconds_under(bytes_per_second: Value) -> u64 {
    use vault::seams::Clock;
    let (world, _, _, record) = waiting().await;
    let answer = world.a.admin.send(Method::PUT, LIMIT, Some(&limit(bytes_per_second))).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let begun_ms = world.clock.now_ms();
    assert!(world.a.work_once(JobKind::Replicate).await);
    assert_eq!(state(&world, &record).await, "done");
    world.clock.now_ms() - begun_ms
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_replication_takes_its_time() {
    // Each look at this clock is a millisecond; 256 KiB at 64 KiB a second are four seconds of them.
    assert!(milliseconds_under(json!(64 << 10)).await >= 4000);
    assert!(milliseconds_under(json!(null)).await < 4000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_waits_for_the_limit_is_stopped_by_a_pause_and_freed_by_a_change() {
    let (world, _, _, record) = waiting().await;
    // A sleep lasts a moment and a look at the clock is a millisecond: 256 KiB at 1 KiB a second take minutes.
    world.links.sleeps.store(true, Ordering::SeqCst);
    let set = async |value: Value| {
        assert_eq!(world.a.admin.send(Method::PUT, LIMIT, Some(&limit(value))).await.status, 200);
    };
    set(json!(1024)).await;
    let working = work_aside(&world);
    while state(&world, &record).await != "copying" {}
    assert_eq!(say(&world.a.admin, "pause", &record).await.status, 200);
    working.await.unwrap();
    assert_eq!(world.links.batch_count(), 0, "it gave up its turn");
    assert_eq!(say(&world.a.admin, "resume", &record).await.status, 200);
    let working = work_aside(&world);
    set(json!(null)).await;
    working.await.unwrap();
    assert_eq!(state(&world, &record).await, "done");
}

#[tokio::test]
async fn a_silent_region_is_asked_by_one_record_for_all() {
    let world = World::paired().await;
    let mut servers = Vec::new();
    for n in 0..8 {
        servers.push(world.a.server(&format!("s{n}")).await);
    }
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    let policy = world.a.policy("nightly", &servers).await;
    world.a.back_up(&policy).await;
    world.links.set_fault(Some(Fault::Down));
    assert_eq!(world.replicate(&policy).await.selected().len(), 8);
    world.a.work().await;
    assert_eq!(world.links.silence_count(), 3, "three tries tell enough");
    let records = world.a.admin.get_v1("/replication_records").await;
    let reasons: Vec<_> = records.body["replication_records"].as_array().unwrap().clone();
    let says_why =
        |record: &Value| record["extra_info"]["fail_reason"].as_str().unwrap().contains("does not answer");
    assert!(reasons.iter().all(says_why), "{reasons:?}");
    for asked in 4..8 {
        world.clock.advance_seconds(61);
        world.a.work().await;
        assert_eq!(world.links.silence_count(), asked, "one try for all of them");
    }
    world.links.set_fault(None);
    world.clock.advance_seconds(61);
    world.a.work().await;
    let done = world.a.admin.get_v1("/replication_records?status=success").await;
    assert_eq!(done.body["count"], 8, "the first answer lets all of them go on");
}
