//! Deletion and expiry.

use catalog::{CatalogError, Conflict, ItemFilter, JobKind, RecordChange};
use model::checkpoint::{CheckpointState, ItemState};
use model::replication::{RecordEvent, RecordState};

use super::replication::replicate;
use super::world::{World, at, checkpoint_id, item_id, other_project, project};

pub(crate) async fn deletion_takes_all_items_or_none(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.begin_run(&policy, 1).await;
    let job = world.claim(JobKind::Backup, at(1)).await.unwrap();
    world.finish_backup(&job.lease, at(1)).await;
    let refused = catalog.order_delete(&project(), checkpoint_id(1), None, at(2)).await;
    assert!(
        matches!(&refused, Err(CatalogError::Conflict(Conflict::ItemBusy { item, state: ItemState::Protecting })) if *item == item_id(11)),
        "{refused:?}"
    );
    assert_eq!(catalog.item_by_id(item_id(10)).await.unwrap().state, ItemState::Available);
    assert_eq!(catalog.open_job_count(JobKind::Delete).await.unwrap(), 0);
    for (project, checkpoint, items) in [
        (other_project(), 1, None),
        (project(), 9, None),
        (project(), 1, Some(vec![item_id(10), item_id(77)])),
    ] {
        let missing =
            catalog.order_delete(&project, checkpoint_id(checkpoint), items.as_deref(), at(2)).await;
        assert!(matches!(missing, Err(CatalogError::NotFound { .. })), "{missing:?}");
    }
    world.finish_backups(at(3)).await;
    let ordered = catalog.order_delete(&project(), checkpoint_id(1), None, at(4)).await.unwrap();
    assert_eq!(ordered, [item_id(10), item_id(11)]);
    assert_eq!(
        catalog.checkpoint_state(&project(), checkpoint_id(1)).await.unwrap(),
        CheckpointState::Deleting
    );
    assert_eq!(catalog.open_job_count(JobKind::Delete).await.unwrap(), 2);
}

pub(crate) async fn a_waiting_record_is_skipped_and_a_copying_one_protects(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    let begun = replicate(world, &policy, 1).await;
    let copying = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    let (busy, busy_record) = *begun.iter().find(|(_, record)| record.bytes() == copying.subject).unwrap();
    let (idle, idle_record) = *begun.iter().find(|(_, record)| record.bytes() != copying.subject).unwrap();
    // The other one is claimed too, but its record did not move yet.
    let claimed = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    let none = RecordChange::default();
    catalog.move_record(&copying, busy_record, RecordEvent::Claimed, &none, at(1001)).await.unwrap();
    let refused = catalog.order_delete(&project(), checkpoint_id(1), None, at(1002)).await;
    assert!(
        matches!(&refused, Err(CatalogError::Conflict(Conflict::ItemReplicating { item })) if *item == busy),
        "{refused:?}"
    );
    assert_eq!(catalog.record_by_id(idle_record).await.unwrap().state, RecordState::Waiting);

    catalog.order_delete(&project(), checkpoint_id(1), Some(&[idle]), at(1003)).await.unwrap();
    let skipped = catalog.record_by_id(idle_record).await.unwrap();
    assert_eq!((skipped.state, skipped.is_current), (RecordState::Skipped, false));
    assert_eq!(skipped.reason_code, "item-deleted");
    let late = catalog.move_record(&claimed, idle_record, RecordEvent::Claimed, &none, at(1004)).await;
    assert!(matches!(late, Err(CatalogError::Fenced)), "{late:?}");
    let candidates = catalog.retention_candidates(policy.id).await.unwrap();
    let held = candidates.values().flatten().filter(|candidate| candidate.is_held);
    let held: Vec<_> = held.map(|candidate| candidate.id).collect();
    assert_eq!(held, [busy]);
}

pub(crate) async fn the_last_item_takes_the_checkpoint(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    catalog.order_delete(&project(), checkpoint_id(1), Some(&[item_id(10)]), at(2)).await.unwrap();
    let again = catalog.order_delete(&project(), checkpoint_id(1), Some(&[item_id(10)]), at(2)).await;
    assert!(matches!(
        again,
        Err(CatalogError::Conflict(Conflict::ItemBusy { state: ItemState::Deleting, .. }))
    ));
    let job = world.claim(JobKind::Delete, at(3)).await.unwrap();
    catalog.finish_delete(&job.lease, item_id(10), at(3), at(3)).await.unwrap();
    assert!(matches!(catalog.item_by_id(item_id(10)).await, Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.item(&project(), item_id(10)).await, Err(CatalogError::NotFound { .. })));
    catalog.checkpoint(&project(), checkpoint_id(1)).await.unwrap();
    let gone = ItemFilter { states: vec![ItemState::Deleted], ..ItemFilter::default() };
    assert_eq!(catalog.count_items(&project(), &gone).await.unwrap(), 1);

    catalog.order_delete(&project(), checkpoint_id(1), None, at(4)).await.unwrap();
    let job = world.claim(JobKind::Delete, at(4)).await.unwrap();
    catalog.finish_delete(&job.lease, item_id(11), at(4), at(4)).await.unwrap();
    assert!(matches!(
        catalog.checkpoint(&project(), checkpoint_id(1)).await,
        Err(CatalogError::NotFound { .. })
    ));
    let again = catalog.finish_delete(&job.lease, item_id(11), at(5), at(5)).await;
    assert!(matches!(again, Err(CatalogError::Fenced)));
}

pub(crate) async fn expiry_keeps_promises_and_marks_the_unreplicated(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2", "s3"]).await;
    world.run(&policy, 1).await;
    world.begin_run(&policy, 2).await;
    let begun = replicate(world, &policy, 1).await;
    let copying = world.claim(JobKind::Replicate, at(1001)).await.unwrap().lease;
    let (busy, busy_record) = *begun.iter().find(|(_, record)| record.bytes() == copying.subject).unwrap();
    catalog
        .move_record(&copying, busy_record, RecordEvent::Claimed, &RecordChange::default(), at(1001))
        .await
        .unwrap();
    world
        .damage("UPDATE checkpoint_items SET origin_region = 'x', origin_keep_until = 9000000000000000 WHERE id LIKE '%0c'")
        .await;
    let wanted = [item_id(10), item_id(11), item_id(12), item_id(20), item_id(99), item_id(10)];
    let ordered = catalog.order_expiry(&wanted, at(1002)).await.unwrap();
    let expected: Vec<_> = [item_id(10), item_id(11)].into_iter().filter(|item| *item != busy).collect();
    assert_eq!(ordered, expected, "busy, promised, running and unknown ones stay");
    for (item, record) in begun {
        let record = catalog.record_by_id(record).await.unwrap();
        if ordered.contains(&item) {
            assert_eq!((record.state, record.reason_code.as_str()), (RecordState::Skipped, "expired"));
        } else {
            assert_ne!(record.state, RecordState::Skipped);
        }
    }
}

pub(crate) async fn two_last_items_deleted_at_once_take_the_checkpoint(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2", "s3", "s4", "s5", "s6"]).await;
    world.run(&policy, 1).await;
    catalog.order_delete(&project(), checkpoint_id(1), None, at(2)).await.unwrap();
    let mut running = Vec::new();
    while let Some(job) = world.claim(JobKind::Delete, at(3)).await {
        let catalog = catalog.clone();
        running.push(tokio::spawn(async move {
            let item = model::ids::CheckpointItemId::from_bytes(job.lease.subject);
            catalog.finish_delete(&job.lease, item, at(3), at(3)).await.unwrap();
        }));
    }
    assert_eq!(running.len(), 6);
    for handle in running {
        handle.await.unwrap();
    }
    assert!(matches!(
        catalog.checkpoint(&project(), checkpoint_id(1)).await,
        Err(CatalogError::NotFound { .. })
    ));
}
