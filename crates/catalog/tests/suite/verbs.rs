//! What people say to replication records: pause, resume, cancel, retry; and what the engine itself refuses.

use catalog::{CatalogError, Conflict, JobKind, PeerLimit, Postponement, RecordChange, RetryOrder};
use model::ids::{RegionName, ReplicationRecordId};
use model::rate::ByteRate;
use model::replication::{RecordEvent, RecordState};

use super::peers::peer;
use super::replication::{finish, item_order, replicate};
use super::world::{
    World, at, checkpoint_id, destination, grant_id, item_id, other_project, project, record_id,
};

fn why() -> RecordChange {
    RecordChange { reason_code: "by-hand".to_owned(), reason: "somebody said so".to_owned() }
}

fn retry_of(ended_id: ReplicationRecordId, n: u8) -> RetryOrder {
    RetryOrder { ended_id, record_id: record_id(n), grant_id: grant_id(2) }
}

/// A policy with one backup whose record waits.
async fn one_record(world: &World) -> ReplicationRecordId {
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    replicate(world, &policy, 1).await[0].1
}

pub(crate) async fn a_paused_record_is_nobodys_and_keeps_its_place(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    world.run(&policy, 2).await;
    let begun = replicate(world, &policy, 1).await;
    let (older, newest) = (begun[0].1, begun[1].1);
    let lease = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    assert_eq!(lease.subject, newest.bytes(), "the newest goes first");
    let none = RecordChange::default();
    catalog.move_record(&lease, newest, RecordEvent::Claimed, &none, at(1001)).await.unwrap();
    catalog.pause_replication(&project(), newest, &why(), at(1002)).await.unwrap();
    catalog.pause_replication(&project(), newest, &why(), at(1003)).await.unwrap();
    let paused = catalog.record_by_id(newest).await.unwrap();
    assert_eq!((paused.state, paused.is_current), (RecordState::Copying, true), "it keeps its state");
    assert_eq!((paused.paused_at, paused.reason_code.as_str()), (Some(at(1002)), "by-hand"));
    for fenced in [
        catalog.extend_lease(&lease, at(1100)).await.map(drop),
        catalog.move_record(&lease, newest, RecordEvent::ObjectsStored, &none, at(1003)).await.map(drop),
        catalog.record_transfer_progress(&lease, newest, &Default::default(), at(1003)).await,
    ] {
        assert!(matches!(fenced, Err(CatalogError::Fenced)), "whoever works on it stops: {fenced:?}");
    }
    assert_eq!(replicate(world, &policy, 2).await, [], "it is not ordered twice");
    let next = world.claim(JobKind::Replicate, at(1004)).await.unwrap().lease;
    assert_eq!(next.subject, older.bytes());
    assert!(world.claim(JobKind::Replicate, at(1005)).await.is_none(), "nobody takes up what is paused");
    let busy = catalog.order_delete(&project(), checkpoint_id(2), None, at(1005)).await;
    assert!(matches!(busy, Err(CatalogError::Conflict(Conflict::ItemReplicating { .. }))));

    let wait = Postponement { try_at: at(1005), reason_code: "x", reason: "x" };
    catalog.postpone_job(&next, &wait, at(1005)).await.unwrap();
    catalog.resume_replication(&project(), newest, at(1006)).await.unwrap();
    catalog.resume_replication(&project(), newest, at(1007)).await.unwrap();
    let resumed = catalog.record_by_id(newest).await.unwrap();
    assert_eq!((resumed.paused_at, resumed.reason_code.as_str()), (None, ""));
    let stale = catalog.extend_lease(&lease, at(1100)).await;
    assert!(matches!(stale, Err(CatalogError::Fenced)), "the earlier worker stays fenced");
    let again = world.claim(JobKind::Replicate, at(1008)).await.unwrap().lease;
    assert_eq!(again.subject, newest.bytes(), "its place is the one it had");
    assert!(again.fence > lease.fence);
}

pub(crate) async fn a_resumed_record_is_tried_at_once(world: &World) {
    let catalog = &world.catalog;
    let record = one_record(world).await;
    let lease = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    let wait = Postponement { try_at: at(5000), reason_code: "peer-down", reason: "region-b is down" };
    catalog.postpone_job(&lease, &wait, at(1002)).await.unwrap();
    catalog.pause_replication(&project(), record, &why(), at(1003)).await.unwrap();
    assert!(world.claim(JobKind::Replicate, at(6000)).await.is_none());
    catalog.resume_replication(&project(), record, at(1004)).await.unwrap();
    let job = world.claim(JobKind::Replicate, at(1004)).await.unwrap();
    assert_eq!((job.lease.subject, job.attempts), (record.bytes(), 1), "what it waited for is forgotten");
}

pub(crate) async fn only_open_records_of_the_project_are_paused_and_resumed(world: &World) {
    let catalog = &world.catalog;
    let record = one_record(world).await;
    for absent in [
        catalog.pause_replication(&other_project(), record, &why(), at(1)).await,
        catalog.resume_replication(&other_project(), record, at(1)).await,
        catalog.pause_replication(&project(), record_id(99), &why(), at(1)).await,
        catalog.retry_replication(&other_project(), &retry_of(record, 2), at(1)).await.map(drop),
    ] {
        assert!(matches!(absent, Err(CatalogError::NotFound { what: "replication record", .. })));
    }
    assert_eq!(catalog.record_by_id(record).await.unwrap().paused_at, None);
    finish(world, record).await;
    for ended in [
        catalog.pause_replication(&project(), record, &why(), at(3000)).await,
        catalog.resume_replication(&project(), record, at(3000)).await,
    ] {
        assert!(matches!(ended, Err(CatalogError::Conflict(Conflict::IllegalPace(_)))), "{ended:?}");
    }
    assert!(world.claim(JobKind::Replicate, at(9000)).await.is_none());
}

pub(crate) async fn the_end_of_a_paused_record_ends_its_pause(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    let begun = replicate(world, &policy, 1).await;
    for (_, record) in &begun {
        catalog.pause_replication(&project(), *record, &why(), at(1001)).await.unwrap();
    }
    catalog.cancel_replication(&project(), begun[0].1, &why(), at(1002)).await.unwrap();
    let cancelled = catalog.record_by_id(begun[0].1).await.unwrap();
    assert_eq!((cancelled.state, cancelled.paused_at), (RecordState::Cancelled, None));
    catalog.order_delete(&project(), checkpoint_id(1), None, at(1003)).await.unwrap();
    let skipped = catalog.record_by_id(begun[1].1).await.unwrap();
    assert_eq!((skipped.state, skipped.paused_at), (RecordState::Skipped, None), "it only waited");
    assert!(world.claim(JobKind::Replicate, at(9000)).await.is_none());
}

pub(crate) async fn what_ended_without_a_replica_is_retried_as_it_was_ordered(world: &World) {
    let catalog = &world.catalog;
    let record = one_record(world).await;
    let open = catalog.retry_replication(&project(), &retry_of(record, 2), at(1001)).await;
    assert!(matches!(
        open,
        Err(CatalogError::Conflict(Conflict::NotRetried { state: RecordState::Waiting }))
    ));
    catalog.cancel_replication(&project(), record, &why(), at(1002)).await.unwrap();
    let second = catalog.retry_replication(&project(), &retry_of(record, 2), at(1003)).await.unwrap();
    assert_eq!(second, record_id(2));
    let (ended, new) =
        (catalog.record_by_id(record).await.unwrap(), catalog.record_by_id(second).await.unwrap());
    assert_eq!((ended.state, ended.is_current), (RecordState::Cancelled, false));
    assert_eq!((new.state, new.is_current, new.generation), (RecordState::Waiting, true, 1));
    assert_eq!((new.policy_id, new.keep_days), (ended.policy_id, ended.keep_days));
    assert_eq!((new.by_scheduler, new.grant_id), (ended.by_scheduler, grant_id(2)));
    assert!(new.policy_id.is_some());
    finish(world, second).await;
    let there = catalog.retry_replication(&project(), &retry_of(record, 3), at(3000)).await;
    assert!(matches!(there, Err(CatalogError::Conflict(Conflict::AlreadyReplicated { .. }))));
    let done = catalog.retry_replication(&project(), &retry_of(second, 3), at(3000)).await;
    assert!(matches!(done, Err(CatalogError::Conflict(Conflict::NotRetried { state: RecordState::Done }))));
    catalog.mark_lost(&[second], at(3001)).await.unwrap();
    catalog.retry_replication(&project(), &retry_of(second, 3), at(3002)).await.unwrap();
    assert_eq!(catalog.record_by_id(record_id(3)).await.unwrap().generation, 1, "the same replica again");
}

pub(crate) async fn a_retry_needs_room_and_a_readable_item(world: &World) {
    let catalog = &world.catalog;
    let record = one_record(world).await;
    catalog.cancel_replication(&project(), record, &why(), at(1002)).await.unwrap();
    catalog.begin_item_replication(&item_order(5), at(1003)).await.unwrap();
    let taken = catalog.retry_replication(&project(), &retry_of(record, 2), at(1004)).await;
    assert!(matches!(taken, Err(CatalogError::Conflict(Conflict::ItemReplicating { .. }))));
    catalog.cancel_replication(&project(), record_id(5), &why(), at(1005)).await.unwrap();
    catalog.order_delete(&project(), checkpoint_id(1), Some(&[item_id(10)]), at(1006)).await.unwrap();
    let going = catalog.retry_replication(&project(), &retry_of(record, 2), at(1007)).await;
    assert!(matches!(going, Err(CatalogError::Conflict(Conflict::ItemBusy { .. }))));
    let job = world.claim(JobKind::Delete, at(1008)).await.unwrap();
    catalog.finish_delete(&job.lease, item_id(10), at(9000), at(1009)).await.unwrap();
    let gone = catalog.retry_replication(&project(), &retry_of(record, 2), at(1010)).await;
    assert!(matches!(gone, Err(CatalogError::NotFound { what: "checkpoint item", .. })));
}

pub(crate) async fn verbs_at_once_leave_one_current_record(world: &World) {
    let catalog = &world.catalog;
    let record = one_record(world).await;
    catalog.cancel_replication(&project(), record, &why(), at(1002)).await.unwrap();
    let mut running = Vec::new();
    for n in 1..=10 {
        let catalog = catalog.clone();
        running.push(tokio::spawn(async move {
            catalog.retry_replication(&project(), &retry_of(record, n), at(1003)).await
        }));
    }
    let mut begun = 0;
    for handle in running {
        match handle.await.unwrap() {
            Ok(_) => begun += 1,
            Err(CatalogError::Conflict(Conflict::ItemReplicating { .. })) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    assert_eq!(begun, 1);
    assert_eq!(catalog.open_job_count(JobKind::Replicate).await.unwrap(), 1);
}

pub(crate) async fn records_to_a_silent_region_are_held_back_and_let_go_together(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2", "s3", "s4"]).await;
    world.run(&policy, 1).await;
    let begun = replicate(world, &policy, 1).await;
    let working = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    let open: Vec<_> = begun.iter().map(|(_, id)| *id).filter(|id| id.bytes() != working.subject).collect();
    catalog.pause_replication(&project(), open[0], &why(), at(1002)).await.unwrap();
    let wait = Postponement { try_at: at(1050), reason_code: "silent", reason: "region-b is silent" };
    let elsewhere = catalog.hold_back_replications(&"region-z".parse().unwrap(), &wait, at(1003)).await;
    assert_eq!(elsewhere.unwrap(), 0);
    let region = destination().region;
    assert_eq!(catalog.hold_back_replications(&region, &wait, at(1003)).await.unwrap(), 2);
    assert_eq!(
        catalog.hold_back_replications(&region, &wait, at(1003)).await.unwrap(),
        0,
        "they wait already"
    );
    for (id, code) in [(open[0], "by-hand"), (open[1], "silent"), (open[2], "silent")] {
        assert_eq!(catalog.record_by_id(id).await.unwrap().reason_code, code);
    }
    let until = at(2000);
    catalog.extend_lease(&working, until).await.unwrap();
    assert!(world.claim(JobKind::Replicate, at(1049)).await.is_none());
    assert_eq!(catalog.hasten_replications(&region, "another", at(1010)).await.unwrap(), 0);
    assert_eq!(catalog.hasten_replications(&region, "silent", at(1010)).await.unwrap(), 2);
    for _ in 0..2 {
        world.claim(JobKind::Replicate, at(1010)).await.unwrap();
    }
    assert!(world.claim(JobKind::Replicate, at(1010)).await.is_none(), "the paused one stays");
}

pub(crate) async fn a_record_without_a_receipt_is_never_done(world: &World) {
    let record = one_record(world).await;
    let by_hand = async |sql: &'static str| {
        sqlx::query(sql).bind(record.to_string()).execute(&world.raw).await.map(|done| done.rows_affected())
    };
    by_hand("UPDATE replication_records SET state = 'done' WHERE id = $1").await.unwrap_err();
    let empty = "UPDATE replication_records SET state = 'done', receipt = '' WHERE id = $1";
    by_hand(empty).await.unwrap_err();
    finish(world, record).await;
    by_hand("UPDATE replication_records SET receipt = NULL WHERE id = $1").await.unwrap_err();
    by_hand("UPDATE replication_records SET paused_at = 1 WHERE id = $1").await.unwrap_err();
    let copied = "INSERT INTO replication_records (id, checkpoint_item_id, checkpoint_id, source_project_id, \
         destination_region, destination_project_id, grant_id, state, is_current, auto_trigger, by_scheduler, \
         enable_acceleration, generation, sent_bytes, resent_bytes, skipped_bytes, planned_bytes, attempts, \
         try_at, reason_code, reason, created_at, updated_at) SELECT 'another', checkpoint_item_id, \
         checkpoint_id, source_project_id, destination_region, destination_project_id, grant_id, state, 0, 0, 0, \
         0, 1, 0, 0, 0, 0, 0, 0, '', '', 0, 0 FROM replication_records WHERE id = $1";
    by_hand(copied).await.unwrap_err();
    let kept = world.catalog.record_by_id(record).await.unwrap();
    assert_eq!((kept.state, kept.receipt.is_some()), (RecordState::Done, true));
}

pub(crate) async fn a_limit_is_kept_changed_and_taken_away(world: &World) {
    let catalog = &world.catalog;
    let name: RegionName = destination().region;
    let rate = |kibibytes: u64| ByteRate::new(kibibytes << 10).unwrap();
    let unknown = catalog.put_peer_limit(&name, Some(rate(5)), at(1)).await;
    assert!(matches!(unknown, Err(CatalogError::NotFound { what: "peer", .. })));
    catalog.put_peer(&peer(name.as_str(), 1)).await.unwrap();
    assert_eq!(catalog.peer_limits().await.unwrap(), []);
    for kibibytes in [5, 7] {
        catalog.put_peer_limit(&name, Some(rate(kibibytes)), at(2)).await.unwrap();
        let limit = PeerLimit { region: name.clone(), rate: rate(kibibytes) };
        assert_eq!(catalog.peer_limits().await.unwrap(), [limit]);
    }
    catalog.put_peer_limit(&name, None, at(3)).await.unwrap();
    catalog.put_peer_limit(&name, None, at(4)).await.unwrap();
    assert_eq!(catalog.peer_limits().await.unwrap(), []);
    catalog.put_peer_limit(&name, Some(rate(9)), at(5)).await.unwrap();
    catalog.remove_peer(&name).await.unwrap();
    assert_eq!(catalog.peer_limits().await.unwrap(), [], "it goes with the peer");
}
