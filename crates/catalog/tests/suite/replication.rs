//! Replication orders and the life of records.

use std::collections::BTreeMap;

use catalog::{
    CatalogError, Conflict, ItemReplicationOrder, JobKind, NewRecords, Page, Postponement, RecordChange,
    RecordFilter, StoredReplica, TransferProgress,
};
use model::grant::Level;
use model::ids::{CheckpointItemId, ReplicationRecordId};
use model::policy::Policy;
use model::replication::{
    Destination, ITEMS_AN_ORDER_MAX, LeftOut, RecordEvent, RecordState, ReplicationPlan, plan,
};

use super::world::{
    World, at, bytes, checkpoint_id, destination, grant_id, item_id, manifest_of, order, other_project,
    project, record_id,
};

pub(crate) async fn planned(world: &World, policy: &Policy) -> ReplicationPlan {
    let ledger = world.catalog.replication_ledger(policy.id, &destination().region).await.unwrap();
    plan(&order(policy), &ledger)
}

pub(crate) fn new_records(plan: &ReplicationPlan, call: u8) -> NewRecords {
    let id = |n: usize| {
        let mut id = bytes(u8::try_from(n).unwrap());
        id[0] = call;
        ReplicationRecordId::from_bytes(id)
    };
    NewRecords {
        record_ids: (0..plan.selected.len()).map(id).collect(),
        grant_id: grant_id(1),
        by_scheduler: false,
        keep_days: Some(40),
        slot: None,
    }
}

pub(crate) async fn replicate(
    world: &World,
    policy: &Policy,
    call: u8,
) -> Vec<(CheckpointItemId, ReplicationRecordId)> {
    let plan = planned(world, policy).await;
    world.catalog.begin_replication(&plan, &new_records(&plan, call), at(1000)).await.unwrap()
}

pub(crate) fn item_order(record: u8) -> ItemReplicationOrder {
    ItemReplicationOrder {
        source_project_id: project(),
        item_id: item_id(10),
        destination: destination(),
        grant_id: grant_id(1),
        record_id: record_id(record),
        auto_trigger: false,
        enable_acceleration: true,
        replica_name: Some("copy".to_owned()),
        replica_description: None,
        keep_days: Some(50),
    }
}

pub(crate) fn stored() -> StoredReplica {
    StoredReplica {
        receipt: vec![1, 2, 3],
        head_counter: 7,
        destination_checkpoint_id: checkpoint_id(200),
        destination_item_id: item_id(200),
        level: Level::Stored,
        progress: TransferProgress { sent_bytes: 5, resent_bytes: 1, skipped_bytes: 2, planned_bytes: 5 },
    }
}

pub(crate) async fn finish(world: &World, record: ReplicationRecordId) {
    let job = world.claim(JobKind::Replicate, at(2000)).await.unwrap();
    assert_eq!(job.lease.subject, record.bytes());
    let change = RecordChange::default();
    world.catalog.move_record(&job.lease, record, RecordEvent::Claimed, &change, at(2000)).await.unwrap();
    world.catalog.finish_replication(&job.lease, record, &stored(), at(2001)).await.unwrap();
}

pub(crate) async fn a_call_selects_once_and_then_nothing(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    world.run(&policy, 2).await;
    world.begin_run(&policy, 3).await;
    let begun = replicate(world, &policy, 1).await;
    let items: Vec<_> = begun.iter().map(|(item, _)| *item).collect();
    assert_eq!(items, [item_id(10), item_id(11), item_id(20), item_id(21)], "oldest first");
    let record = catalog.record(&project(), begun[0].1).await.unwrap();
    assert_eq!((record.state, record.is_current, record.generation), (RecordState::Waiting, true, 1));
    assert_eq!((record.item_id, record.checkpoint_id), (item_id(10), checkpoint_id(1)));
    assert_eq!((record.policy_id, record.grant_id), (Some(policy.id), grant_id(1)));
    assert_eq!(record.keep_days, Some(40), "the wish travels with the record");
    assert_eq!(catalog.open_job_count(JobKind::Replicate).await.unwrap(), 4);
    assert_eq!(replicate(world, &policy, 2).await, []);
    assert_eq!(catalog.open_job_count(JobKind::Replicate).await.unwrap(), 4);
    let foreign = catalog.record(&other_project(), begun[0].1).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { .. })));

    let plan = planned(world, &policy).await;
    world.finish_backups(at(3)).await;
    catalog.delete_policy(&project(), policy.id, at(90)).await.unwrap();
    let gone = catalog.begin_replication(&plan, &new_records(&plan, 3), at(1000)).await;
    assert!(matches!(gone, Err(CatalogError::NotFound { what: "policy", .. })));
    assert_eq!(catalog.open_job_count(JobKind::Replicate).await.unwrap(), 4, "open records finish");
}

/// Writes so many available items of a policy, the first the oldest.
async fn many_items(world: &World, policy: &Policy, count: usize) {
    let item = world.run(policy, 1).await[0].id;
    let sql = "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $1) \
               INSERT INTO checkpoint_items (id, checkpoint_id, project_id, policy_id, resource_id, resource_name, \
               name, state, auto_trigger, incremental, progress_percent, progress_bytes, logical_bytes, added_bytes, \
               operation_id, sequence, created_at, updated_at) \
               SELECT '00000000-0000-4000-8000-' || CAST(200000000000 - n AS TEXT), i.checkpoint_id, i.project_id, \
               i.policy_id, i.resource_id, i.resource_name, i.name, 'available', 0, 0, 100, 0, 0, 0, \
               i.operation_id, n, i.created_at + n, i.created_at + n \
               FROM numbers CROSS JOIN checkpoint_items i WHERE i.id = $2";
    let count = i64::try_from(count).unwrap();
    sqlx::query(sql).bind(count).bind(item.to_string()).execute(&world.raw).await.unwrap();
}

pub(crate) async fn a_full_order_is_gone_on_with_by_asking_again(world: &World) {
    let policy = world.policy(1, &["s1"]).await;
    many_items(world, &policy, ITEMS_AN_ORDER_MAX + 500).await;
    // Retention reads them some at a time, and misses none on the way.
    let candidates = world.catalog.retention_candidates(policy.id).await.unwrap();
    let mut seen: Vec<_> = candidates.values().flatten().map(|candidate| candidate.id).collect();
    assert_eq!(seen.len(), ITEMS_AN_ORDER_MAX + 501);
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), ITEMS_AN_ORDER_MAX + 501, "each once");
    let mut listed = Vec::new();
    for (call, (expected, left)) in (1..).zip([(ITEMS_AN_ORDER_MAX, 501), (501, 0), (0, 0)]) {
        let plan = planned(world, &policy).await;
        assert_eq!(plan.left_out.get(&LeftOut::OrderFull).copied().unwrap_or(0), left);
        let ids = (0..plan.selected.len()).map(|n| {
            let mut id = bytes(call);
            id[..8].copy_from_slice(&n.to_be_bytes());
            ReplicationRecordId::from_bytes(id)
        });
        let new = NewRecords {
            record_ids: ids.collect(),
            grant_id: grant_id(1),
            by_scheduler: false,
            keep_days: None,
            slot: None,
        };
        let begun = world.catalog.begin_replication(&plan, &new, at(1000)).await.unwrap();
        assert_eq!(begun.len(), expected, "call {call}");
        listed.extend(begun.into_iter().map(|(item, _)| item));
    }
    // The ids fall as the moments rise: oldest first is the other way round.
    assert_eq!(listed[0], item_id(10));
    assert!(listed[1..].is_sorted_by(|one, next| one > next), "each once, oldest first");
}

pub(crate) async fn fifty_calls_at_once_list_every_item_once(world: &World) {
    let policy = world.policy(1, &["s1", "s2", "s3", "s4"]).await;
    for run in 1..=5 {
        world.run(&policy, run).await;
    }
    let plan = planned(world, &policy).await;
    assert_eq!(plan.selected.len(), 20);
    let mut running = Vec::new();
    for call in 1..=50 {
        let (catalog, plan) = (world.catalog.clone(), plan.clone());
        running.push(tokio::spawn(async move {
            let new = new_records(&plan, call);
            catalog.begin_replication(&plan, &new, at(1000)).await.unwrap()
        }));
    }
    let mut listed: BTreeMap<CheckpointItemId, u32> = BTreeMap::new();
    for handle in running {
        for (item, _) in handle.await.unwrap() {
            *listed.entry(item).or_default() += 1;
        }
    }
    assert_eq!(listed.len(), 20);
    assert!(listed.values().all(|count| *count == 1), "{listed:?}");
    assert_eq!(world.catalog.open_job_count(JobKind::Replicate).await.unwrap(), 20);
    let records = world.catalog.count_records(&project(), &RecordFilter::default()).await.unwrap();
    assert_eq!(records, 20);
}

pub(crate) async fn items_that_changed_meanwhile_are_left_out(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2", "s3"]).await;
    world.run(&policy, 1).await;
    let plan = planned(world, &policy).await;
    catalog.order_delete(&project(), checkpoint_id(1), Some(&[item_id(10)]), at(5)).await.unwrap();
    catalog
        .begin_item_replication(&ItemReplicationOrder { item_id: item_id(11), ..item_order(1) }, at(5))
        .await
        .unwrap();
    let begun = catalog.begin_replication(&plan, &new_records(&plan, 1), at(6)).await.unwrap();
    assert_eq!(begun.iter().map(|(item, _)| *item).collect::<Vec<_>>(), [item_id(12)]);
    assert_eq!(catalog.record(&project(), record_id(1)).await.unwrap().keep_days, Some(50));
}

pub(crate) async fn the_newest_of_each_server_goes_first(world: &World) {
    let policy = world.policy(1, &["s1", "s2"]).await;
    for run in 1..=3 {
        world.run(&policy, run).await;
    }
    let begun: BTreeMap<_, _> =
        replicate(world, &policy, 1).await.into_iter().map(|(item, record)| (record.bytes(), item)).collect();
    let mut order = Vec::new();
    while let Some(job) = world.claim(JobKind::Replicate, at(2000)).await {
        order.push(begun[&job.lease.subject]);
    }
    for (turn, run) in [3, 2, 1].into_iter().enumerate() {
        let mut pair = order[turn * 2..turn * 2 + 2].to_vec();
        pair.sort();
        assert_eq!(pair, [item_id(run * 10), item_id(run * 10 + 1)], "{order:?}");
    }
}

pub(crate) async fn a_record_lives_as_drawn(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    let record = replicate(world, &policy, 1).await[0].1;
    let lease = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    let none = RecordChange::default();
    let early = catalog.move_record(&lease, record, RecordEvent::TreeComplete, &none, at(1001)).await;
    assert!(matches!(early, Err(CatalogError::Conflict(Conflict::IllegalRecordMove(_)))));
    let early = catalog.finish_replication(&lease, record, &stored(), at(1001)).await;
    assert!(matches!(early, Err(CatalogError::Conflict(Conflict::IllegalRecordMove(_)))));
    for (event, expected) in [
        (RecordEvent::Claimed, RecordState::Copying),
        (RecordEvent::ObjectsStored, RecordState::Verifying),
        (RecordEvent::ObjectsMissing, RecordState::Copying),
        (RecordEvent::ObjectsStored, RecordState::Verifying),
        (RecordEvent::TreeComplete, RecordState::Publishing),
    ] {
        let state = catalog.move_record(&lease, record, event, &none, at(1002)).await.unwrap();
        assert_eq!(state, expected);
    }
    let forged = catalog.move_record(&lease, record, RecordEvent::ReceiptStored, &none, at(1002)).await;
    assert!(
        matches!(forged, Err(CatalogError::Conflict(Conflict::IllegalRecordMove(_)))),
        "no receipt, not done"
    );
    let progress = TransferProgress { sent_bytes: 3, resent_bytes: 0, skipped_bytes: 1, planned_bytes: 9 };
    catalog.record_transfer_progress(&lease, record, &progress, at(1003)).await.unwrap();
    let wait =
        Postponement { try_at: at(1100), reason_code: "peer-down", reason: "region-b does not answer" };
    catalog.postpone_job(&lease, &wait, at(1004)).await.unwrap();
    let read = catalog.record_by_id(record).await.unwrap();
    assert_eq!((read.state, read.sent_bytes, read.planned_bytes), (RecordState::Publishing, 3, 9));
    assert_eq!((read.reason_code.as_str(), read.try_at, read.attempts), ("peer-down", at(1100), 1));
    let fenced = catalog.record_transfer_progress(&lease, record, &progress, at(1100)).await;
    assert!(matches!(fenced, Err(CatalogError::Fenced)));

    let again = world.claim(JobKind::Replicate, at(1100)).await.unwrap().lease;
    catalog.finish_replication(&again, record, &stored(), at(1101)).await.unwrap();
    let done = catalog.record_by_id(record).await.unwrap();
    assert_eq!((done.state, done.is_current, done.sent_bytes), (RecordState::Done, true, 5));
    assert_eq!((done.receipt, done.destination_item_id), (Some(vec![1, 2, 3]), Some(item_id(200))));
    assert_eq!(done.reason_code, "");
    assert_eq!(catalog.open_job_count(JobKind::Replicate).await.unwrap(), 0);
}

pub(crate) async fn a_lost_replica_is_selected_again(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    let record = replicate(world, &policy, 1).await[0].1;
    assert_eq!(catalog.mark_lost(&[record], at(1)).await.unwrap(), 0, "not done, not lost");
    finish(world, record).await;
    let done = catalog.done_records(&destination().region).await.unwrap();
    assert_eq!(done.len(), 1);
    assert_eq!((done[0].id, done[0].destination_item_id, done[0].head_counter), (record, item_id(200), 7));
    assert_eq!(catalog.done_records(&"region-c".parse().unwrap()).await.unwrap(), []);
    assert_eq!(catalog.mark_lost(&[record, record], at(3000)).await.unwrap(), 1);
    assert_eq!(catalog.record_by_id(record).await.unwrap().state, RecordState::Lost);
    let second = replicate(world, &policy, 2).await;
    assert_eq!(second.len(), 1);
    let second = catalog.record_by_id(second[0].1).await.unwrap();
    assert_eq!(second.generation, 1, "the same replica, sent again");
    assert_eq!(catalog.records_of_items(&[item_id(10)]).await.unwrap().len(), 2);
}

pub(crate) async fn a_manual_order_after_deletion_raises_the_generation(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    assert_eq!(catalog.begin_item_replication(&item_order(1), at(5)).await.unwrap(), record_id(1));
    let refused = catalog.begin_item_replication(&item_order(2), at(5)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::ItemReplicating { .. }))));
    finish(world, record_id(1)).await;
    let refused = catalog.begin_item_replication(&item_order(2), at(6)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::AlreadyReplicated { .. }))));
    catalog.note_replicas_gone(&[record_id(1)], at(7)).await.unwrap();
    assert!(catalog.done_records(&destination().region).await.unwrap()[0].is_gone);
    assert_eq!(replicate(world, &policy, 9).await, [], "a policy run skips what was deleted there");
    catalog.begin_item_replication(&item_order(3), at(8)).await.unwrap();
    let third = catalog.record_by_id(record_id(3)).await.unwrap();
    assert_eq!((third.generation, third.replica_name.as_deref()), (2, Some("copy")));
    let first = catalog.record_by_id(record_id(1)).await.unwrap();
    assert_eq!((first.state, first.is_current), (RecordState::Done, false));
    let foreign = ItemReplicationOrder { source_project_id: other_project(), ..item_order(4) };
    let foreign = catalog.begin_item_replication(&foreign, at(9)).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { .. })));
}

pub(crate) async fn a_cancelled_record_fences_its_worker(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    let record = replicate(world, &policy, 1).await[0].1;
    let lease = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    let why = RecordChange { reason_code: "cancelled".to_owned(), reason: "by hand".to_owned() };
    let foreign = catalog.cancel_replication(&other_project(), record, &why, at(1002)).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { .. })));
    catalog.cancel_replication(&project(), record, &why, at(1002)).await.unwrap();
    let none = RecordChange::default();
    let late = catalog.move_record(&lease, record, RecordEvent::Claimed, &none, at(1003)).await;
    assert!(matches!(late, Err(CatalogError::Fenced)));
    let again = catalog.cancel_replication(&project(), record, &why, at(1004)).await;
    assert!(matches!(again, Err(CatalogError::Conflict(Conflict::IllegalRecordMove(_)))));
    assert_eq!(replicate(world, &policy, 2).await.len(), 1, "selected again");
    let lease = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    let second = ReplicationRecordId::from_bytes(lease.subject);
    let given_up = catalog.move_record(&lease, second, RecordEvent::GaveUp, &why, at(1005)).await.unwrap();
    assert_eq!(given_up, RecordState::Failed);
    assert_eq!(catalog.open_job_count(JobKind::Replicate).await.unwrap(), 0);
}

pub(crate) async fn records_filter_and_count(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    let begun = replicate(world, &policy, 1).await;
    let all = RecordFilter::default;
    for (filter, expected) in [
        (all(), 2),
        (RecordFilter { ids: vec![begun[0].1], ..all() }, 1),
        (RecordFilter { states: vec![RecordState::Done], ..all() }, 0),
        (RecordFilter { item_ids: vec![begun[1].0], ..all() }, 1),
        (RecordFilter { checkpoint_ids: vec![checkpoint_id(1)], policy_ids: vec![policy.id], ..all() }, 2),
        (RecordFilter { destination_regions: vec!["region-c".parse().unwrap()], ..all() }, 0),
        (RecordFilter { destination_project_ids: vec![destination().project_id], ..all() }, 2),
        (RecordFilter { start_time: Some(at(1001)), ..all() }, 0),
        (RecordFilter { end_time: Some(at(1000)), ..all() }, 2),
        (RecordFilter { matches_nothing: true, ..all() }, 0),
    ] {
        let listed = catalog.records(&project(), &filter, &Page::first()).await.unwrap();
        assert_eq!(listed.len() as u64, expected, "{filter:?}");
        assert_eq!(catalog.count_records(&project(), &filter).await.unwrap(), expected, "{filter:?}");
    }
}

pub(crate) async fn a_base_is_offered_only_while_the_destination_holds_it(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    let there = destination();
    let held = || catalog.replicated_manifests(&policy.resources[0].id, &there, 10);
    let record = replicate(world, &policy, 1).await[0].1;
    assert_eq!(held().await.unwrap(), Vec::<[u8; 32]>::new(), "waiting is not held");
    finish(world, record).await;
    assert_eq!(held().await.unwrap(), [manifest_of(item_id(10))]);
    let elsewhere = Destination { project_id: project(), ..destination() };
    let other = catalog.replicated_manifests(&policy.resources[0].id, &elsewhere, 10).await.unwrap();
    assert_eq!(other, Vec::<[u8; 32]>::new(), "another project's vault");
    catalog.note_replicas_gone(&[record], at(3000)).await.unwrap();
    assert_eq!(held().await.unwrap(), Vec::<[u8; 32]>::new(), "deleted there");
}
