//! What the catalog knows about replicas: for explain, for coverage, for a plan.

use catalog::{
    Catalog, CatalogError, CoverageScope, JobKind, Page, PeerHead, RecordChange, ServerCoverage,
    StoredReplica, TransferProgress,
};
use model::checkpoint::ItemState;
use model::coverage::{Covering, judge};
use model::evidence::{HeadSeen, Witness};
use model::explain::{Code, Schedule, explain};
use model::grant::{Grant, Level};
use model::ids::{CheckpointItemId, RegionName, ReplicationRecordId, ScheduledOperationId, TriggerId};
use model::policy::{OperationDefinition, Policy, ScheduledOperation, Trigger};
use model::replication::RecordEvent;
use model::retention::Retention;

use super::peers::grant;
use super::replication::replicate;
use super::world::{
    World, at, bytes, checkpoint_id, destination, grant_id, item_id, other_project, policy_id, project,
    server,
};

/// Lets the next replication go through at a moment.
async fn finish_next(world: &World, head_counter: u64, seconds: i64) -> ReplicationRecordId {
    let job = world.claim(JobKind::Replicate, at(seconds)).await.unwrap();
    let id = ReplicationRecordId::from_bytes(job.lease.subject);
    let change = RecordChange::default();
    let catalog = &world.catalog;
    catalog.move_record(&job.lease, id, RecordEvent::Claimed, &change, at(seconds)).await.unwrap();
    let stored = StoredReplica {
        receipt: vec![1],
        head_counter,
        destination_checkpoint_id: checkpoint_id(200),
        destination_item_id: CheckpointItemId::from_bytes(id.bytes()),
        level: Level::Stored,
        progress: TransferProgress { sent_bytes: 100, ..TransferProgress::default() },
    };
    catalog.finish_replication(&job.lease, id, &stored, at(seconds + 2)).await.unwrap();
    id
}

/// A peer's head that is stored, and compared with the records a second later.
async fn compare_head(catalog: &Catalog, counter: u64, seconds: i64) {
    let region = destination().region;
    let head = PeerHead { counter, head: vec![1], received_at: at(seconds) };
    catalog.put_peer_head(&region, &head).await.unwrap();
    let seen = HeadSeen { counter, asked_at: at(seconds + 1) };
    catalog.note_head_compared(&region, &seen).await.unwrap();
}

async fn covered(catalog: &Catalog) -> Vec<ServerCoverage> {
    catalog.coverage(CoverageScope::Project(&project()), &Page::first()).await.unwrap()
}

/// The one region of the one server that is called so.
async fn covering(catalog: &Catalog, name: &str) -> Covering {
    let rows = covered(catalog).await;
    let row = rows.iter().find(|row| row.server_id.as_str() == name).unwrap();
    let [(region, covering)] = row.regions.as_slice() else { panic!("{row:?}") };
    assert_eq!(*region, destination().region);
    *covering
}

/// A policy over registered servers that replicates by a schedule.
async fn scheduled(world: &World, servers: &[&str]) -> Policy {
    for id in servers {
        let disk = format!("{id}-disk");
        world.catalog.register_server(&server(id, &[&disk])).await.unwrap();
    }
    let mut policy = super::world::policy(1, servers);
    let backup = &policy.operations[0];
    let replication = ScheduledOperation {
        id: ScheduledOperationId::from_bytes(bytes(90)),
        definition: OperationDefinition::Replication {
            retention: Retention::default(),
            destination_region: destination().region,
            destination_project_id: destination().project_id,
            enable_acceleration: false,
        },
        trigger: Trigger { id: TriggerId::from_bytes(bytes(90)), ..backup.trigger.clone() },
        ..backup.clone()
    };
    policy.operations.push(replication);
    world.catalog.create_policy(&policy, None).await.unwrap();
    policy
}

pub(crate) async fn a_target_is_set_changed_and_taken_away(world: &World) {
    let catalog = &world.catalog;
    let policy = scheduled(world, &["s1"]).await;
    let known = async || catalog.policy_destinations(&project(), policy_id(1)).await;
    let target = async |region: &str, seconds| {
        let region: RegionName = region.parse().unwrap();
        catalog.set_destination_target(&project(), policy_id(1), (&region, seconds), at(5)).await.unwrap();
    };
    let told = async || {
        let known = known().await.unwrap();
        known.iter().map(|one| (one.region.to_string(), one.rpo_seconds)).collect::<Vec<_>>()
    };
    let (b, c) = ("region-b".to_owned(), "region-c".to_owned());
    assert_eq!(told().await, [(b.clone(), None)]);
    target("region-c", Some(60)).await;
    target("region-b", Some(3600)).await;
    target("region-b", Some(7200)).await;
    assert_eq!(told().await, [(b.clone(), Some(7200)), (c, Some(60))]);
    assert!(known().await.unwrap()[0].operation.as_ref().unwrap().enabled);
    target("region-c", None).await;
    target("region-c", None).await;
    assert_eq!(told().await, [(b.clone(), Some(7200))]);

    // The target stays when the policy is changed, and goes with it.
    let mut changed = policy.clone();
    changed.operations.truncate(1);
    catalog.update_policy(&changed, policy.updated_at).await.unwrap();
    assert_eq!(told().await, [(b, Some(7200))]);
    let foreign = catalog.policy_destinations(&other_project(), policy_id(1)).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { what: "policy", .. })));
    let region = destination().region;
    let foreign =
        catalog.set_destination_target(&other_project(), policy_id(1), (&region, Some(1)), at(6)).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { what: "policy", .. })));
    catalog.delete_policy(&project(), policy_id(1), at(7)).await.unwrap();
    assert!(known().await.is_err());
}

pub(crate) async fn coverage_follows_the_newest_that_is_live(world: &World) {
    let catalog = &world.catalog;
    let policy = scheduled(world, &["s1", "s2"]).await;
    catalog.register_server(&server("s3", &["s3-disk"])).await.unwrap();
    let region = destination().region;
    catalog.set_destination_target(&project(), policy.id, (&region, Some(100)), at(0)).await.unwrap();
    let empty = covering(catalog, "s1").await;
    assert_eq!((empty.backup, empty.replica, empty.rpo_seconds), (None, None, Some(100)));
    assert!(covered(catalog).await[2].regions.is_empty(), "nobody said where s3 should be");

    world.run(&policy, 1).await;
    world.run(&policy, 2).await;
    let owed = covering(catalog, "s1").await;
    assert_eq!(owed.backup.unwrap().protected_at, at(2));
    assert_eq!(judge(&owed, at(10)).owed_bytes, 3072, "all of the newest");

    replicate(world, &policy, 1).await;
    for _ in 0..4 {
        finish_next(world, 7, 2000).await;
    }
    world.run(&policy, 3).await;
    world.run(&policy, 4).await;
    let behind = covering(catalog, "s2").await;
    let replica = behind.replica.unwrap();
    assert_eq!((replica.item_id, replica.protected_at, replica.level), (item_id(21), at(2), Level::Stored));
    assert_eq!((replica.evidence.witness, replica.evidence.at), (Witness::Receipt, at(2002)));
    let judged = judge(&behind, at(2002));
    assert_eq!((judged.lag_seconds, judged.owed_bytes), (Some(2), 2048), "two backups of 1024 bytes each");

    compare_head(catalog, 8, 2300).await;
    let evidence = covering(catalog, "s2").await.replica.unwrap().evidence;
    assert_eq!((evidence.witness, evidence.at), (Witness::Head, at(2301)));

    // What the newest head says of it counts; one that is gone or lost is no longer the newest.
    let done = catalog.done_records(&region).await.unwrap();
    let of = |item| done.iter().find(|record| record.item_id == item).unwrap().id;
    catalog.note_replica_levels(&[(of(item_id(21)), Level::Opened)]).await.unwrap();
    assert_eq!(covering(catalog, "s2").await.replica.unwrap().level, Level::Opened);
    catalog.note_replicas_gone(&[of(item_id(21))], at(2400)).await.unwrap();
    assert_eq!(covering(catalog, "s2").await.replica.unwrap().item_id, item_id(11));
    catalog.note_replicas_back(&[of(item_id(21))]).await.unwrap();
    assert_eq!(covering(catalog, "s2").await.replica.unwrap().item_id, item_id(21));
    catalog.mark_lost(&[of(item_id(21)), of(item_id(11))], at(2400)).await.unwrap();
    assert_eq!(covering(catalog, "s2").await.replica, None);

    // The newest backup here goes: its replica counts all the same.
    for n in [1, 2, 3, 4] {
        catalog.order_delete(&project(), checkpoint_id(n), None, at(2500)).await.unwrap();
    }
    let left = covering(catalog, "s1").await;
    assert_eq!((left.backup, left.replica.unwrap().item_id), (None, item_id(20)));
    assert_eq!(judge(&left, at(2500)).owed_bytes, 0);
}

pub(crate) async fn coverage_comes_in_pages_and_shows_no_foreign_server(world: &World) {
    let catalog = &world.catalog;
    scheduled(world, &["s1", "s2", "s3"]).await;
    let mut foreign = server("t1", &["t1-disk"]);
    foreign.project_id = other_project();
    catalog.register_server(&foreign).await.unwrap();
    let ids =
        |rows: &[ServerCoverage]| rows.iter().map(|row| row.server_id.to_string()).collect::<Vec<String>>();
    assert_eq!(ids(&covered(catalog).await), ["s1", "s2", "s3"]);
    let own = project();
    for (scope, expected) in [
        (CoverageScope::Project(&own), vec!["s1", "s2", "s3"]),
        (CoverageScope::Region, vec!["s1", "s2", "s3", "t1"]),
    ] {
        let mut page = Page { limit: 2, ..Page::first() };
        let mut seen = Vec::new();
        loop {
            let rows = catalog.coverage(scope, &page).await.unwrap();
            seen.extend(ids(&rows));
            let Some(last) = rows.last() else { break };
            page.marker = Some(last.server_id.to_string());
        }
        assert_eq!(seen, expected);
    }
    let page = Page { marker: Some("t1".to_owned()), ..Page::first() };
    let stray = catalog.coverage(CoverageScope::Project(&own), &page).await;
    assert!(matches!(stray, Err(CatalogError::NotFound { what: "server", .. })));
}

pub(crate) async fn explaining_gathers_every_region_at_one_moment(world: &World) {
    let catalog = &world.catalog;
    let policy = scheduled(world, &["s1"]).await;
    world.run(&policy, 1).await;
    let region = destination().region;
    let facts = async |asked: Option<&RegionName>, moment| {
        catalog.explain_facts(&project(), item_id(10), asked, at(moment)).await.unwrap()
    };
    let told = facts(None, 10).await;
    assert_eq!((told.item.state, told.item.policy_id), (ItemState::Available, Some(policy.id)));
    let [there] = told.destinations.as_slice() else { panic!("{told:?}") };
    assert_eq!((there.schedule, there.is_paired, there.has_grant), (Schedule::On, false, false));
    assert_eq!(explain(&told.item, there, at(10)).code, Code::NotPaired);

    let elsewhere = Grant { destination_region: "region-c".parse().unwrap(), ..grant(2) };
    catalog.replace_remote_grants(&region, &[grant(1)]).await.unwrap();
    catalog
        .replace_remote_grants(&elsewhere.destination_region, std::slice::from_ref(&elsewhere))
        .await
        .unwrap();
    let told = facts(None, 10).await;
    let regions: Vec<_> = told.destinations.iter().map(|one| (one.region.as_str(), one.has_grant)).collect();
    assert_eq!(regions, [("region-b", true), ("region-c", true)]);
    let told = facts(None, 500).await;
    let regions: Vec<_> = told.destinations.iter().map(|one| (one.region.as_str(), one.has_grant)).collect();
    assert_eq!(regions, [("region-b", false)], "grants have ended");

    replicate(world, &policy, 1).await;
    let record = finish_next(world, 7, 2000).await;
    compare_head(catalog, 8, 2300).await;
    let told = facts(None, 2310).await;
    let known = told.destinations[0].record.as_ref().unwrap();
    assert_eq!((known.id, known.level), (record, Some(Level::Stored)));
    let explained = explain(&told.item, &told.destinations[0], at(2310));
    assert_eq!(explained.code, Code::Replicated);
    assert_eq!(explained.evidence.unwrap().at, at(2301));

    // A head that came but was not compared is no evidence, and an older one changes nothing.
    let head = PeerHead { counter: 9, head: vec![1], received_at: at(9000) };
    catalog.put_peer_head(&region, &head).await.unwrap();
    let old = HeadSeen { counter: 8, asked_at: at(9000) };
    catalog.note_head_compared(&region, &old).await.unwrap();
    let late = facts(None, 9000).await;
    let explained = explain(&late.item, &late.destinations[0], at(9000));
    assert_eq!((explained.code, explained.evidence.unwrap().at), (Code::ReplicatedUnproven, at(2301)));

    // Deleted here, and explained all the same; for its own project only.
    catalog.order_delete(&project(), checkpoint_id(1), None, at(2400)).await.unwrap();
    assert_eq!(facts(None, 2400).await.item.state, ItemState::Deleting);
    let foreign = catalog.explain_facts(&other_project(), item_id(10), None, at(1)).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { what: "checkpoint item", .. })));
}

pub(crate) async fn a_forecast_knows_bases_rates_and_the_grant(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    let items = [item_id(10), item_id(11)];
    let ask = async |items: &[CheckpointItemId]| {
        catalog.forecast_facts(&project(), items, &destination(), grant_id(1)).await.unwrap()
    };
    let facts = ask(&items).await;
    let bytes: Vec<_> = facts.items.iter().map(|item| (item.added_bytes, item.stored_bytes)).collect();
    assert_eq!(bytes, [(1024, 3072), (1024, 3072)]);
    assert!(facts.servers_there.is_empty());
    assert_eq!((facts.rate.sent_bytes, facts.grant_used_bytes), (0, Some(0)));

    replicate(world, &policy, 1).await;
    finish_next(world, 7, 2000).await;
    let facts = ask(&items).await;
    assert_eq!(facts.servers_there.len(), 1);
    assert_eq!((facts.rate.sent_bytes, facts.rate.micros), (100, 2_000_000));
    assert_eq!(facts.grant_used_bytes, Some(3072));
    world.damage("UPDATE checkpoint_items SET stored_bytes = NULL").await;
    let facts = ask(&items).await;
    assert_eq!((facts.items[0].stored_bytes, facts.grant_used_bytes), (4096, None), "of an earlier release");
    assert!(ask(&[]).await.items.is_empty());
}
