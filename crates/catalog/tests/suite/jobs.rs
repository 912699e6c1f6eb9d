//! Jobs, leases and fences.

use std::collections::BTreeSet;

use catalog::{CatalogError, Claim, JobKind, Postponement};
use model::checkpoint::{Failure, ItemState};
use model::ids::CheckpointItemId;

use super::world::{World, at, checkpoint, item, item_id, project};

async fn enqueue(world: &World, n: u8) {
    let run = checkpoint(n, None);
    world.catalog.begin_checkpoint(&run, &[item(n, &run, "s1")], catalog::RunSharing::Shared).await.unwrap();
}

pub(crate) async fn jobs_are_claimed_by_moment_then_priority(world: &World) {
    let catalog = &world.catalog;
    for n in [3, 1, 2] {
        enqueue(world, n).await;
    }
    world.damage("UPDATE jobs SET priority = 5 WHERE subject LIKE '%03'").await;
    world.damage("UPDATE jobs SET run_at = (SELECT MAX(run_at) FROM jobs) WHERE subject LIKE '%02'").await;
    assert_eq!(world.claim(JobKind::Restore, at(9)).await, None);
    assert_eq!(catalog.next_job_at(&[JobKind::Backup]).await.unwrap(), Some(at(1)));
    assert_eq!(catalog.next_job_at(&[JobKind::Restore]).await.unwrap(), None);
    assert_eq!(world.claim(JobKind::Backup, at(0)).await, None, "not yet");
    let mut order = Vec::new();
    while let Some(job) = world.claim(JobKind::Backup, at(9)).await {
        assert_eq!((job.attempts, job.lease.until), (1, at(69)));
        order.push(CheckpointItemId::from_bytes(job.lease.subject));
    }
    assert_eq!(order, [item_id(1), item_id(3), item_id(2)]);
    assert_eq!(catalog.next_job_at(&[JobKind::Backup]).await.unwrap(), Some(at(69)), "the end of the leases");
    let none = Claim { kinds: &[], owner: "w", lease_seconds: 1 };
    assert_eq!(catalog.claim_job(&none, at(99)).await.unwrap(), None);
}

pub(crate) async fn a_stolen_lease_is_fenced_everywhere(world: &World) {
    let catalog = &world.catalog;
    enqueue(world, 1).await;
    let slow = world.claim(JobKind::Backup, at(1)).await.unwrap().lease;
    assert_eq!(world.claim(JobKind::Backup, at(60)).await, None, "still held");
    let extended = catalog.extend_lease(&slow, at(100)).await.unwrap();
    assert_eq!(extended.until, at(100));
    assert_eq!(world.claim(JobKind::Backup, at(99)).await, None, "still held");
    // Late, but nobody took over: no harm done.
    catalog.start_backup(&slow, item_id(1), at(101)).await.unwrap();
    let quick = world.claim(JobKind::Backup, at(100)).await.unwrap();
    assert_eq!(quick.attempts, 2);
    assert!(quick.lease.fence > slow.fence);

    let failure = Failure { operation: "backup".to_owned(), code: "x".to_owned(), reason: "y".to_owned() };
    let progress = catalog::ItemProgress { percent: 99, bytes: 1, logical_bytes: 1 };
    let postponement = Postponement { try_at: at(500), reason_code: "a", reason: "b" };
    let refusals = [
        catalog.start_backup(&slow, item_id(1), at(101)).await.map(drop),
        catalog.record_item_progress(&slow, item_id(1), &progress, at(101)).await,
        catalog.fail_backup(&slow, item_id(1), &failure, at(101)).await,
        catalog.postpone_job(&slow, &postponement, at(101)).await,
        catalog.extend_lease(&slow, at(500)).await.map(drop),
        catalog.finish_job(&slow, at(101)).await,
    ];
    for refusal in refusals {
        assert!(matches!(refusal, Err(CatalogError::Fenced)), "{refusal:?}");
    }
    let read = catalog.item(&project(), item_id(1)).await.unwrap();
    assert_eq!((read.state, read.progress_percent), (ItemState::Protecting, 0));
    world.finish_backup(&quick.lease, at(102)).await;
    assert!(matches!(catalog.finish_job(&quick.lease, at(103)).await, Err(CatalogError::Fenced)));
}

pub(crate) async fn fences_grow_over_all_jobs(world: &World) {
    let mut last = 0;
    for n in 1..=5 {
        enqueue(world, n).await;
        let job = world.claim(JobKind::Backup, at(100)).await.unwrap();
        assert!(job.lease.fence > last, "a new subject never starts below an old one");
        last = job.lease.fence;
        world.catalog.finish_job(&job.lease, at(100)).await.unwrap();
    }
}

pub(crate) async fn a_postponed_job_waits_and_says_why(world: &World) {
    let catalog = &world.catalog;
    enqueue(world, 1).await;
    let lease = world.claim(JobKind::Backup, at(1)).await.unwrap().lease;
    let postponement =
        Postponement { try_at: at(30), reason_code: "store-down", reason: "the store is down" };
    catalog.postpone_job(&lease, &postponement, at(2)).await.unwrap();
    assert_eq!(world.claim(JobKind::Backup, at(29)).await, None);
    assert_eq!(catalog.next_job_at(&[JobKind::Backup, JobKind::Delete]).await.unwrap(), Some(at(30)));
    assert_eq!(catalog.hasten_jobs(&[JobKind::Backup], at(10)).await.unwrap(), 1);
    let again = world.claim(JobKind::Backup, at(10)).await.unwrap();
    assert_eq!(again.attempts, 2);
    assert!(matches!(catalog.finish_job(&lease, at(11)).await, Err(CatalogError::Fenced)));
}

pub(crate) async fn every_job_is_claimed_once_by_racing_workers(world: &World) {
    for n in 1..=40 {
        enqueue(world, n).await;
    }
    let mut running = Vec::new();
    for worker in 0..8 {
        let catalog = world.catalog.clone();
        running.push(tokio::spawn(async move {
            let owner = format!("worker {worker}");
            let claim = Claim { kinds: &[JobKind::Backup], owner: &owner, lease_seconds: 60 };
            let mut mine = Vec::new();
            while let Some(job) = catalog.claim_job(&claim, at(100)).await.unwrap() {
                mine.push((job.lease.subject, job.lease.fence));
            }
            mine
        }));
    }
    let mut all = Vec::new();
    for handle in running {
        all.extend(handle.await.unwrap());
    }
    assert_eq!(all.len(), 40);
    assert_eq!(all.iter().map(|(subject, _)| *subject).collect::<BTreeSet<_>>().len(), 40);
}

pub(crate) async fn a_lease_on_one_thing_does_not_finish_another(world: &World) {
    let catalog = &world.catalog;
    enqueue(world, 1).await;
    enqueue(world, 2).await;
    let lease = world.claim(JobKind::Backup, at(100)).await.unwrap().lease;
    assert_eq!(lease.subject, item_id(1).bytes());
    let other = catalog.start_backup(&lease, item_id(2), at(100)).await;
    assert!(matches!(other, Err(CatalogError::Fenced)));
    assert!(matches!(
        catalog.finish_delete(&lease, item_id(1), at(100), at(100)).await,
        Err(CatalogError::Fenced)
    ));
}

pub(crate) async fn released_leases_are_claimable_and_fence_their_holders(world: &World) {
    let catalog = &world.catalog;
    enqueue(world, 1).await;
    enqueue(world, 2).await;
    let killed = world.claim(JobKind::Backup, at(5)).await.unwrap();
    assert_eq!(catalog.release_leases().await.unwrap(), 1, "only what was claimed");
    assert!(matches!(
        catalog.start_backup(&killed.lease, item_id(1), at(6)).await,
        Err(CatalogError::Fenced)
    ));
    let again = world.claim(JobKind::Backup, at(6)).await.unwrap();
    assert_eq!((again.lease.subject, again.attempts), (killed.lease.subject, 2));
    assert!(again.lease.fence > killed.lease.fence);
    assert!(matches!(catalog.extend_lease(&killed.lease, at(99)).await, Err(CatalogError::Fenced)));
    world.finish_backup(&again.lease, at(7)).await;
    assert_eq!(catalog.release_leases().await.unwrap(), 0, "a finished job is not freed");
}
