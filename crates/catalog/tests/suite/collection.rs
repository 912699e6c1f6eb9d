//! Collection and quarantine.

use catalog::{
    CatalogError, CollectionEnd, CollectionProgress, Conflict, JobKind, NewOperation, ReplicaState,
    SubjectState,
};
use model::checkpoint::ItemState;
use model::ids::CheckpointItemId;

use super::transfers::{deliver, here, offer, offer_again, prepare, reborn_replica};
use super::world::{
    VAULT, World, at, checkpoint_id, item_id, manifest_of, operation_id, other_project, project,
};

const NOTHING: [u64; 0] = [];

async fn begin(world: &World, n: u8) -> model::ids::OperationId {
    world.primary_vault(&project()).await;
    let operation = NewOperation { id: operation_id(n), vault_id: VAULT, base_manifest: None };
    world.catalog.begin_operation(&operation, at(0)).await.unwrap();
    operation.id
}

async fn seq(world: &World) -> u64 {
    world.catalog.vault(VAULT).await.unwrap().unwrap().commit_seq
}

pub(crate) async fn a_pack_is_judged_by_who_was_open_at_the_snapshot(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await;
    let pack = world.seal_one(maker).await;
    let lease = world.collect_lease(VAULT).await;
    let begun = catalog.begin_collection(&lease, VAULT, operation_id(200), at(1)).await.unwrap();
    // It ends after the snapshot: its publication may have been missed.
    catalog.end_operation(maker).await.unwrap();
    let listed = catalog.collectable_packs(VAULT, begun.commit_seq, 0, 10).await.unwrap();
    assert_eq!(listed.iter().map(|row| (row.number, row.is_free)).collect::<Vec<_>>(), [(pack, false)]);
    let condemned = catalog.condemn_packs(&lease, VAULT, &[pack], begun.commit_seq).await.unwrap();
    assert_eq!(condemned, NOTHING);
    catalog.finish_collection(&lease, VAULT, &CollectionEnd::default(), at(2)).await.unwrap();

    let lease = world.collect_lease(VAULT).await;
    let begun = catalog.begin_collection(&lease, VAULT, operation_id(201), at(3)).await.unwrap();
    let listed = catalog.collectable_packs(VAULT, begun.commit_seq, 0, 10).await.unwrap();
    assert!(listed[0].is_free);
    assert_eq!(catalog.collectable_packs(VAULT, begun.commit_seq, pack, 10).await.unwrap(), []);
    // Somebody pins it between the listing and the condemning.
    let reader = begin(world, 2).await;
    assert_eq!(catalog.pin_packs(reader, &[pack]).await.unwrap(), [true]);
    let condemned = catalog.condemn_packs(&lease, VAULT, &[pack], begun.commit_seq).await.unwrap();
    assert_eq!(condemned, NOTHING);
    catalog.end_operation(reader).await.unwrap();
    let condemned = catalog.condemn_packs(&lease, VAULT, &[pack], begun.commit_seq).await.unwrap();
    assert_eq!(condemned, NOTHING, "the pin outlives its operation");
    catalog.finish_collection(&lease, VAULT, &CollectionEnd::default(), at(4)).await.unwrap();

    let lease = world.collect_lease(VAULT).await;
    let begun = catalog.begin_collection(&lease, VAULT, operation_id(202), at(5)).await.unwrap();
    let condemned = catalog.condemn_packs(&lease, VAULT, &[pack], begun.commit_seq).await.unwrap();
    assert_eq!(condemned, [pack], "a pin of an operation that ended before the snapshot counts no more");
}

pub(crate) async fn no_pack_goes_when_one_was_set_aside_since_the_snapshot(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await;
    let (older, newer) = (world.seal_one(maker).await, world.seal_one(maker).await);
    catalog.end_operation(maker).await.unwrap();
    let lease = world.collect_lease(VAULT).await;
    let begun = catalog.begin_collection(&lease, VAULT, operation_id(200), at(1)).await.unwrap();
    catalog.set_pack_aside(VAULT, newer).await.unwrap();
    let condemned = catalog.condemn_packs(&lease, VAULT, &[older], begun.commit_seq).await.unwrap();
    assert_eq!(condemned, NOTHING, "it may hold the last copy of what is damaged");
    catalog.finish_collection(&lease, VAULT, &CollectionEnd::default(), at(2)).await.unwrap();
    let lease = world.collect_lease(VAULT).await;
    let begun = catalog.begin_collection(&lease, VAULT, operation_id(201), at(3)).await.unwrap();
    let condemned = catalog.condemn_packs(&lease, VAULT, &[older], begun.commit_seq).await.unwrap();
    assert_eq!(condemned, [older], "a run that has seen what is left may");
}

/// A deleted item whose quarantine ends at 1000.
async fn deleted_item(world: &World) -> CheckpointItemId {
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    let item = item_id(10);
    world.catalog.order_delete(&project(), checkpoint_id(1), None, at(4)).await.unwrap();
    let job = world.claim(JobKind::Delete, at(5)).await.unwrap();
    world.catalog.finish_delete(&job.lease, item, at(1000), at(6)).await.unwrap();
    item
}

pub(crate) async fn a_deleted_item_is_a_root_until_its_quarantine_has_ended(world: &World) {
    let catalog = &world.catalog;
    let item = deleted_item(world).await;
    let manifest = manifest_of(item);
    assert!(matches!(catalog.item(&project(), item).await, Err(CatalogError::NotFound { .. })));
    let lease = world.collect_lease(VAULT).await;
    assert_eq!(catalog.condemn_manifests(&lease, VAULT, 10, at(999)).await.unwrap(), Vec::<[u8; 32]>::new());
    let begun = catalog.begin_collection(&lease, VAULT, operation_id(200), at(999)).await.unwrap();
    assert_eq!(begun.roots, [manifest]);
    assert_eq!(catalog.condemn_manifests(&lease, VAULT, 10, at(1000)).await.unwrap(), [manifest]);
    assert_eq!(catalog.condemn_manifests(&lease, VAULT, 10, at(1000)).await.unwrap(), [manifest], "still");
    assert_eq!(catalog.collection_roots(VAULT).await.unwrap().1, Vec::<[u8; 32]>::new());
    catalog.note_manifests_deleted(&lease, VAULT, &[manifest], at(1001)).await.unwrap();
    let left = catalog.condemn_manifests(&lease, VAULT, 10, at(1002)).await.unwrap();
    assert_eq!(left, Vec::<[u8; 32]>::new());
    let late = catalog.undo_deletion(&project(), item, at(1003)).await;
    assert!(matches!(late, Err(CatalogError::NotFound { .. })), "{late:?}");
    assert_eq!(catalog.quarantined_items(&project(), None, 10).await.unwrap(), []);
}

pub(crate) async fn a_deletion_can_be_undone_until_it_is_purged(world: &World) {
    let catalog = &world.catalog;
    let item = deleted_item(world).await;
    let listed = catalog.quarantined_items(&project(), None, 10).await.unwrap();
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].item.id, listed[0].deleted_at, listed[0].purge_after), (item, at(6), at(1000)));
    assert_eq!(listed[0].item.volumes.len(), 1, "it is whole");
    assert_eq!(catalog.quarantined_items(&project(), Some(item), 10).await.unwrap(), []);
    assert_eq!(catalog.quarantined_items(&other_project(), None, 10).await.unwrap(), []);
    let foreign = catalog.undo_deletion(&other_project(), item, at(7)).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { .. })), "{foreign:?}");
    let back = catalog.undo_deletion(&project(), item, at(7)).await.unwrap();
    assert_eq!((back.state, back.volumes.len(), back.tags.len()), (ItemState::Available, 1, 2));
    assert_eq!(catalog.item(&project(), item).await.unwrap(), back);
    catalog.checkpoint(&project(), checkpoint_id(1)).await.unwrap();
    let again = catalog.undo_deletion(&project(), item, at(8)).await;
    assert!(matches!(again, Err(CatalogError::NotFound { .. })), "{again:?}");
    let unwritten = catalog.unwritten_state(100).await.unwrap();
    let told = unwritten.iter().find(|state| state.id == item.to_string()).unwrap();
    assert!(
        matches!(told.state, SubjectState::Gone { is_undone: true, deleted_at, .. } if deleted_at == at(6))
    );
    let candidates = catalog.retention_candidates(super::world::policy_id(1)).await.unwrap();
    assert!(candidates.is_empty(), "retention leaves it to people");
    let lease = world.collect_lease(VAULT).await;
    let gone = catalog.condemn_manifests(&lease, VAULT, 10, at(5000)).await.unwrap();
    assert_eq!(gone, Vec::<[u8; 32]>::new());
    // Deleted once more, it is quarantined once more.
    catalog.order_delete(&project(), checkpoint_id(1), None, at(5001)).await.unwrap();
    let job = world.claim(JobKind::Delete, at(5002)).await.unwrap();
    catalog.finish_delete(&job.lease, item, at(6000), at(5003)).await.unwrap();
    assert_eq!(catalog.quarantined_items(&project(), None, 10).await.unwrap()[0].purge_after, at(6000));
}

async fn drop_replica(world: &World, item: CheckpointItemId) {
    world.catalog.order_delete(&here(), checkpoint_id(200), Some(&[item]), at(200)).await.unwrap();
    let job = world.claim(JobKind::Delete, at(201)).await.unwrap();
    world.catalog.finish_delete(&job.lease, item, at(1000), at(202)).await.unwrap();
}

pub(crate) async fn a_replica_that_came_again_is_not_had_back(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    deliver(world, 1).await;
    drop_replica(world, item_id(101)).await;
    let back = catalog.undo_deletion(&here(), item_id(101), at(300)).await.unwrap();
    assert_eq!(back.state, ItemState::Available);
    assert_eq!(catalog.replica(item_id(101)).await.unwrap().unwrap().state, ReplicaState::Live);

    drop_replica(world, item_id(101)).await;
    catalog.open_transfer(&offer_again(), at(400)).await.unwrap();
    let refused = catalog.undo_deletion(&here(), item_id(101), at(401)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::ReplicaReplaced))), "{refused:?}");
    catalog.publish_replica(&reborn_replica(), at(402)).await.unwrap();
    let refused = catalog.undo_deletion(&here(), item_id(101), at(403)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::ReplicaReplaced))), "{refused:?}");
    // The two have one manifest: it stays while one of them needs it.
    let lease = world.collect_lease(VAULT).await;
    let gone = catalog.condemn_manifests(&lease, VAULT, 10, at(5000)).await.unwrap();
    assert_eq!(gone, Vec::<[u8; 32]>::new());
    assert_eq!(catalog.collection_roots(VAULT).await.unwrap().1, [manifest_of(item_id(1))]);
}

pub(crate) async fn every_call_of_an_overtaken_collector_is_fenced(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await;
    let pack = world.seal_one(maker).await;
    catalog.end_operation(maker).await.unwrap();
    let old = world.collect_lease(VAULT).await;
    let begun = catalog.begin_collection(&old, VAULT, operation_id(200), at(1)).await.unwrap();
    let number = catalog.reserve_pack(operation_id(200)).await.unwrap();
    let new = world.collect_lease(VAULT).await;
    catalog.begin_collection(&new, VAULT, operation_id(201), at(2)).await.unwrap();
    let late = catalog.seal_pack(operation_id(200), &super::world::sealed(number)).await;
    assert!(matches!(late, Err(CatalogError::Conflict(Conflict::OperationNotOpen))), "{late:?}");
    let snapshot = begun.commit_seq;
    let progress = CollectionProgress { phase: "marking", done_bytes: 1, total_bytes: 2 };
    let refusals = [
        catalog.condemn_manifests(&old, VAULT, 1, at(3)).await.map(drop),
        catalog.condemn_stray_manifests(&old, VAULT, &[]).await.map(drop),
        catalog.note_manifests_deleted(&old, VAULT, &[], at(3)).await,
        catalog.begin_collection(&old, VAULT, operation_id(202), at(3)).await.map(drop),
        catalog.condemn_packs(&old, VAULT, &[pack], snapshot).await.map(drop),
        catalog.condemn_unsealed_packs(&old, VAULT, snapshot, 10).await.map(drop),
        catalog.note_packs_deleted(&old, VAULT, &[pack]).await,
        catalog.release_pins(&old, VAULT, snapshot).await.map(drop),
        catalog.record_collection_progress(&old, VAULT, &progress, at(3)).await,
        catalog.finish_collection(&old, VAULT, &CollectionEnd::default(), at(3)).await,
    ];
    for refused in refusals {
        assert!(matches!(refused, Err(CatalogError::Fenced)), "{refused:?}");
    }
    let other = catalog::Lease { subject: [9; 16], ..new };
    let refused = catalog.condemn_packs(&other, VAULT, &[pack], 100).await;
    assert!(matches!(refused, Err(CatalogError::Fenced)), "a lease on another vault");
    catalog.record_collection_progress(&new, VAULT, &progress, at(4)).await.unwrap();
    let [now] = catalog.collections().await.unwrap().try_into().unwrap();
    assert_eq!((now.phase.as_str(), now.done_bytes, now.total_bytes), ("marking", 1, 2));
    assert_eq!((now.begun_at, now.phase_begun_at, now.finished_at), (at(2), at(4), None));
}

pub(crate) async fn packs_go_through_condemned_and_deleted_to_nothing(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await;
    let packs = [world.seal_one(maker).await, world.seal_one(maker).await];
    catalog.end_operation(maker).await.unwrap();
    let lease = world.collect_lease(VAULT).await;
    let begun = catalog.begin_collection(&lease, VAULT, operation_id(200), at(1)).await.unwrap();
    catalog.condemn_packs(&lease, VAULT, &packs[..1], begun.commit_seq).await.unwrap();
    let doomed = catalog.condemned_packs(VAULT, 10).await.unwrap();
    assert_eq!(
        doomed.iter().map(|pack| (pack.number, pack.bytes)).collect::<Vec<_>>(),
        [(packs[0], 1 << 20)]
    );
    let all = [packs[0], packs[1], 99, u64::MAX];
    assert_eq!(catalog.known_packs(VAULT, &all).await.unwrap(), (vec![true, true, false, false], 2));
    catalog.note_packs_deleted(&lease, VAULT, &packs[..1]).await.unwrap();
    catalog.note_packs_deleted(&lease, VAULT, &packs).await.unwrap();
    assert_eq!(catalog.condemned_packs(VAULT, 10).await.unwrap(), []);
    assert_eq!(catalog.known_packs(VAULT, &packs).await.unwrap().0, [false, true], "a live one stays");
    let end = CollectionEnd { deleted_bytes: 1 << 20, ..CollectionEnd::default() };
    catalog.finish_collection(&lease, VAULT, &end, at(2)).await.unwrap();
    let followed = catalog.packs_since(VAULT, 0, 10).await.unwrap();
    assert_eq!(
        followed.iter().map(|row| (row.pack.number, row.is_live)).collect::<Vec<_>>(),
        [(packs[1], true), (packs[0], false)]
    );
    assert_eq!(catalog.vault(VAULT).await.unwrap().unwrap().history_seq, 0);
    let lease = world.collect_lease(VAULT).await;
    catalog.begin_collection(&lease, VAULT, operation_id(201), at(3)).await.unwrap();
    assert_eq!(catalog.packs_since(VAULT, 0, 10).await.unwrap().len(), 1, "its tombstone is gone");
    assert!(catalog.vault(VAULT).await.unwrap().unwrap().history_seq > 0);
}

pub(crate) async fn packs_that_were_never_sealed_are_condemned_and_forgotten(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await;
    let other = begin(world, 2).await;
    let left = catalog.reserve_pack(maker).await.unwrap();
    let open = catalog.reserve_pack(other).await.unwrap();
    catalog.end_operation(maker).await.unwrap();
    let lease = world.collect_lease(VAULT).await;
    assert_eq!(catalog.condemn_unsealed_packs(&lease, VAULT, 0, 10).await.unwrap(), 0, "an old snapshot");
    let snapshot = seq(world).await;
    assert_eq!(catalog.condemn_unsealed_packs(&lease, VAULT, snapshot, 10).await.unwrap(), 1);
    assert_eq!(catalog.condemned_packs(VAULT, 10).await.unwrap()[0].number, left);
    assert_eq!(catalog.packs_since(VAULT, 0, 10).await.unwrap(), [], "nobody ever followed it");
    catalog.note_packs_deleted(&lease, VAULT, &[left]).await.unwrap();
    assert_eq!(catalog.known_packs(VAULT, &[left, open]).await.unwrap(), (vec![false, true], 2));
    catalog.seal_pack(other, &super::world::sealed(open)).await.unwrap();
}

pub(crate) async fn a_manifest_that_goes_does_not_arrive_meanwhile(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    deliver(world, 1).await;
    drop_replica(world, item_id(101)).await;
    world.damage("UPDATE grants SET expires_at = NULL").await;
    let manifest = manifest_of(item_id(1));
    let mut again = offer(1, 9);
    again.key.generation = 2;
    again.operation_id = operation_id(50);
    // It is arriving: it may not go.
    catalog.open_transfer(&again, at(900)).await.unwrap();
    let lease = world.collect_lease(VAULT).await;
    let gone = catalog.condemn_manifests(&lease, VAULT, 10, at(2000)).await.unwrap();
    assert_eq!(gone, Vec::<[u8; 32]>::new());
    catalog.close_transfer(&again.key, 9, at(2001)).await.unwrap();
    // It is going: it may not arrive.
    let gone = catalog.condemn_manifests(&lease, VAULT, 10, at(2002)).await.unwrap();
    assert_eq!(gone, [manifest]);
    let later = catalog::TransferOffer { operation_id: operation_id(51), attempt: 10, ..again };
    let refused = catalog.open_transfer(&later, at(2003)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::ManifestGoing))), "{refused:?}");
    catalog.note_manifests_deleted(&lease, VAULT, &[manifest], at(2004)).await.unwrap();
    let refused = catalog.open_transfer(&later, at(2004 + 3599)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::ManifestGoing))), "{refused:?}");
    catalog.open_transfer(&later, at(2004 + 3600)).await.unwrap();
}

pub(crate) async fn stray_manifests_go_when_their_backup_is_over(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.begin_run(&policy, 1).await;
    let job = world.claim(JobKind::Backup, at(1)).await.unwrap();
    world.finish_backup(&job.lease, at(1)).await;
    let lease = world.collect_lease(VAULT).await;
    let (own, stray, running, unknown) = (manifest_of(item_id(10)), [1; 32], [2; 32], [3; 32]);
    let asked = [(own, item_id(10)), (stray, item_id(10)), (running, item_id(11)), (unknown, item_id(99))];
    let condemned = catalog.condemn_stray_manifests(&lease, VAULT, &asked).await.unwrap();
    assert_eq!(condemned, [stray], "one whose item is being backed up, or unknown, stays");
    assert_eq!(catalog.condemn_manifests(&lease, VAULT, 10, at(2)).await.unwrap(), [stray]);
}

pub(crate) async fn collections_are_due_when_something_changed(world: &World) {
    let catalog = &world.catalog;
    world.primary_vault(&project()).await;
    assert_eq!(catalog.order_due_collections(100, at(1)).await.unwrap(), 0, "an untouched vault");
    let maker = begin(world, 1).await;
    catalog.end_operation(maker).await.unwrap();
    assert_eq!(catalog.order_due_collections(100, at(99)).await.unwrap(), 0, "a new vault");
    assert_eq!(catalog.order_due_collections(100, at(100)).await.unwrap(), 1);
    assert_eq!(catalog.open_job_count(JobKind::Collect).await.unwrap(), 1);
    let lease = world.collect_lease(VAULT).await;
    catalog.begin_collection(&lease, VAULT, operation_id(200), at(3)).await.unwrap();
    catalog.finish_collection(&lease, VAULT, &CollectionEnd::default(), at(10)).await.unwrap();
    assert_eq!(catalog.order_due_collections(100, at(500)).await.unwrap(), 0, "nothing changed since");
    let maker = begin(world, 2).await;
    catalog.end_operation(maker).await.unwrap();
    assert_eq!(catalog.order_due_collections(100, at(109)).await.unwrap(), 0, "not so soon");
    assert_eq!(catalog.order_due_collections(100, at(110)).await.unwrap(), 1);
    let lease = world.collect_lease(VAULT).await;
    catalog.begin_collection(&lease, VAULT, operation_id(201), at(111)).await.unwrap();
    let end = CollectionEnd { reason: Some("no room".to_owned()), ..CollectionEnd::default() };
    catalog.finish_collection(&lease, VAULT, &end, at(112)).await.unwrap();
    assert_eq!(catalog.order_due_collections(100, at(212)).await.unwrap(), 1, "work was left");
    assert_eq!(catalog.collections().await.unwrap()[0].end, end);
    let missing = catalog.order_collection([9; 16], at(1)).await;
    assert!(matches!(missing, Err(CatalogError::NotFound { .. })));
}
