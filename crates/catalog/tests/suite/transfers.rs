//! Incoming transfers, publishing and heads.

use catalog::{
    CatalogError, Conflict, JobKind, NewOperation, NewRegion, NewReplica, NewVault, OpenedTransfer,
    ReplicaState, TransferKey, TransferOffer, VaultSource,
};
use model::checkpoint::{Checkpoint, CheckpointItem, ItemState, Origin};
use model::grant::{Grant, Level, Mode};
use model::ids::{ProjectId, RegionName};

use super::peers::grant;
use super::world::{
    DOMAIN, INCARNATION, VAULT, World, at, checkpoint, checkpoint_id, destination, grant_id, item, item_id,
    manifest_of, operation_id, other_project, project, record_id,
};

fn source_region() -> RegionName {
    "region-a".parse().unwrap()
}

pub(super) fn here() -> ProjectId {
    destination().project_id
}

/// The destination region, with a vault and a grant.
pub(super) async fn prepare(world: &World) {
    let region = NewRegion { name: destination().region, region_id: [1; 16], incarnation: INCARNATION };
    world.catalog.init_region(&region, at(0)).await.unwrap();
    let source = VaultSource { region: source_region(), project_id: project() };
    let vault = NewVault { id: VAULT, domain: DOMAIN, project_id: here(), source: Some(source) };
    world.catalog.ensure_vault(&vault, at(0)).await.unwrap();
    world.catalog.create_grant(&grant(1)).await.unwrap();
}

fn key(n: u8) -> TransferKey {
    TransferKey {
        source_region: source_region(),
        source_item_id: item_id(n),
        destination_project_id: here(),
        generation: 1,
    }
}

pub(super) fn offer(n: u8, attempt: u64) -> TransferOffer {
    TransferOffer {
        key: key(n),
        attempt,
        source_project_id: project(),
        grant_id: grant_id(1),
        vault_id: VAULT,
        manifest_digest: manifest_of(item_id(n)),
        resource_tag: [3; 16],
        incarnation: [4; 16],
        sequence: u64::from(n),
        stored_bytes: 100,
        offered_bases: Vec::new(),
        operation_id: operation_id(n),
    }
}

fn replica_checkpoint(n: u8) -> Checkpoint {
    Checkpoint { id: checkpoint_id(n), project_id: here(), ..checkpoint(n, None) }
}

/// Item 1 offered once more after its replica was deleted.
pub(super) fn offer_again() -> TransferOffer {
    let mut again = offer(1, 9);
    again.key.generation = 2;
    again.operation_id = operation_id(50);
    again
}

/// What [`offer_again`] brings.
pub(super) fn reborn_replica() -> NewReplica {
    let mut reborn = new_replica(1, 9, 0);
    reborn.key.generation = 2;
    reborn.item.id = item_id(150);
    reborn.item.volumes.clear();
    reborn.item.operation_id = operation_id(50);
    if let Some(origin) = &mut reborn.item.origin {
        origin.generation = 2;
    }
    reborn
}

/// Item `n` of the source becomes item `100 + n` in checkpoint 200.
pub(super) fn new_replica(n: u8, attempt: u64, head_counter: u64) -> NewReplica {
    let checkpoint = replica_checkpoint(200);
    let origin = Origin {
        region: source_region(),
        project_id: project(),
        checkpoint_id: checkpoint_id(1),
        checkpoint_item_id: item_id(n),
        replication_record_id: record_id(1),
        arrived_at: at(10),
        keep_until: at(100),
        generation: 1,
    };
    let item = CheckpointItem {
        state: ItemState::Available,
        origin: Some(origin),
        manifest_digest: Some(manifest_of(item_id(n))),
        domain: Some(DOMAIN),
        operation_id: operation_id(n),
        protected_at: Some(at(5)),
        ..item(100 + n, &checkpoint, "s1")
    };
    NewReplica {
        key: key(n),
        attempt,
        source_project_id: project(),
        checkpoint,
        item,
        mode: Mode::Restorable,
        level: Level::Stored,
        stored_bytes: 100,
        receipt: vec![n, 1, 2],
        head_counter,
    }
}

pub(super) async fn deliver(world: &World, n: u8) {
    world.catalog.open_transfer(&offer(n, 1), at(9)).await.unwrap();
    let counter = world.catalog.region().await.unwrap().unwrap().head_counter;
    world.catalog.publish_replica(&new_replica(n, 1, counter), at(10)).await.unwrap();
}

pub(crate) async fn a_transfer_opens_resumes_and_completes(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    deliver(world, 1).await;
    let bases = vec![[9; 32], manifest_of(item_id(1))];
    let with_bases = |attempt| TransferOffer { offered_bases: bases.clone(), ..offer(2, attempt) };
    let opened = catalog.open_transfer(&with_bases(5), at(20)).await.unwrap();
    let base = Some(manifest_of(item_id(1)));
    assert_eq!(opened, OpenedTransfer::New { operation_id: operation_id(2), base });
    let pack = world.seal_one(operation_id(2)).await;
    let later = TransferOffer { operation_id: operation_id(77), ..with_bases(6) };
    let opened = catalog.open_transfer(&later, at(21)).await.unwrap();
    assert_eq!(opened, OpenedTransfer::Resume { operation_id: operation_id(2), base });
    assert_eq!(catalog.packs_of_operation(operation_id(2)).await.unwrap()[0].pack.number, pack);
    let row = catalog.transfer(&key(2)).await.unwrap().unwrap();
    assert_eq!((row.attempt, row.is_open, row.reserved_bytes), (6, true, 100));
    assert_eq!(catalog.transfer_of_operation(operation_id(2)).await.unwrap(), Some(row));
    assert_eq!(catalog.transfer_of_operation(operation_id(77)).await.unwrap(), None);

    catalog.publish_replica(&new_replica(2, 6, 0), at(22)).await.unwrap();
    let opened = catalog.open_transfer(&with_bases(7), at(23)).await.unwrap();
    assert_eq!(opened, OpenedTransfer::Complete { item_id: item_id(102), receipt: vec![2, 1, 2] });
    let items = catalog.items_of_checkpoint(&here(), checkpoint_id(200)).await.unwrap();
    assert_eq!(items.len(), 2, "one checkpoint here for one checkpoint there");
    assert!(items.iter().all(CheckpointItem::is_replica));
    assert_eq!(catalog.open_job_count(JobKind::Verify).await.unwrap(), 2);
}

pub(crate) async fn refusals_come_in_order_and_change_nothing(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    deliver(world, 1).await;
    let stranger = TransferKey { source_region: "region-x".parse().unwrap(), ..key(2) };
    let outsider = TransferKey { destination_project_id: other_project(), ..key(2) };
    let forged = [8; 32];
    let cases = vec![
        (TransferOffer { manifest_digest: forged, ..offer(1, 9) }, Conflict::Fork),
        (TransferOffer { manifest_digest: forged, sequence: 1, ..offer(2, 9) }, Conflict::Fork),
        (TransferOffer { grant_id: grant_id(9), ..offer(2, 9) }, Conflict::GrantClosed),
        (TransferOffer { key: stranger, ..offer(2, 9) }, Conflict::GrantClosed),
        (TransferOffer { key: outsider, ..offer(2, 9) }, Conflict::GrantClosed),
        (TransferOffer { source_project_id: other_project(), ..offer(2, 9) }, Conflict::GrantClosed),
        (TransferOffer { stored_bytes: 901, ..offer(2, 9) }, Conflict::OverQuota { bytes_left: 900 }),
    ];
    for (offer, expected) in cases {
        let refused = catalog.open_transfer(&offer, at(20)).await;
        assert!(matches!(&refused, Err(CatalogError::Conflict(found)) if *found == expected), "{refused:?}");
    }
    let late = catalog.open_transfer(&offer(2, 9), at(500)).await;
    assert!(matches!(late, Err(CatalogError::Conflict(Conflict::GrantClosed))), "expired");
    assert_eq!(catalog.transfer(&key(2)).await.unwrap(), None);

    let stranger_vault = NewVault {
        id: [0x77; 16],
        domain: [0x78; 16],
        project_id: other_project(),
        source: Some(VaultSource { region: source_region(), project_id: project() }),
    };
    catalog.ensure_vault(&stranger_vault, at(1)).await.unwrap();
    let wrong_vault = TransferOffer { vault_id: [0x77; 16], ..offer(2, 9) };
    let refused = catalog.open_transfer(&wrong_vault, at(20)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::DomainBound))));
    catalog.revoke_grant(&here(), grant_id(1), at(30)).await.unwrap();
    let refused = catalog.open_transfer(&offer(2, 9), at(31)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::GrantClosed))));
    let complete = catalog.open_transfer(&offer(1, 9), at(31)).await.unwrap();
    assert!(matches!(complete, OpenedTransfer::Complete { .. }), "what arrived stays, and says so");
}

pub(crate) async fn an_older_attempt_can_do_nothing(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    catalog.open_transfer(&offer(1, 5), at(1)).await.unwrap();
    catalog.open_transfer(&offer(1, 8), at(2)).await.unwrap();
    for refused in [
        catalog.open_transfer(&offer(1, 7), at(3)).await.map(drop),
        catalog.publish_replica(&new_replica(1, 5, 0), at(3)).await.map(drop),
        catalog.close_transfer(&key(1), 5, at(3)).await,
    ] {
        assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::OlderAttempt))), "{refused:?}");
    }
    assert!(matches!(catalog.item_by_id(item_id(101)).await, Err(CatalogError::NotFound { .. })));
    catalog.publish_replica(&new_replica(1, 8, 0), at(4)).await.unwrap();
}

pub(crate) async fn publishing_is_all_or_nothing(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    let unopened = catalog.publish_replica(&new_replica(1, 1, 0), at(1)).await;
    assert!(matches!(unopened, Err(CatalogError::Conflict(Conflict::TransferNotOpen))));
    catalog.open_transfer(&offer(1, 1), at(1)).await.unwrap();
    let good = new_replica(1, 1, 0);
    let mut unfinished = good.clone();
    unfinished.item.state = ItemState::Protecting;
    let mut other_manifest = good.clone();
    other_manifest.item.manifest_digest = Some([8; 32]);
    let mut other_domain = good.clone();
    other_domain.item.domain = Some([8; 16]);
    let mut other_origin = good.clone();
    if let Some(origin) = &mut other_origin.item.origin {
        origin.checkpoint_item_id = item_id(2);
    }
    let mut too_large = good.clone();
    too_large.stored_bytes = 1001;
    let cases = [
        (unfinished, Conflict::ItemBusy { item: item_id(101), state: ItemState::Protecting }),
        (other_manifest, Conflict::Fork),
        (other_domain, Conflict::DomainBound),
        (other_origin, Conflict::TransferNotOpen),
        (too_large, Conflict::OverQuota { bytes_left: 1000 }),
    ];
    for (new, expected) in cases {
        let refused = catalog.publish_replica(&new, at(2)).await;
        assert!(matches!(&refused, Err(CatalogError::Conflict(found)) if *found == expected), "{refused:?}");
        assert!(matches!(
            catalog.checkpoint(&here(), checkpoint_id(200)).await,
            Err(CatalogError::NotFound { .. })
        ));
        assert!(catalog.transfer(&key(1)).await.unwrap().unwrap().is_open);
    }
    let first = catalog.publish_replica(&good, at(3)).await.unwrap();
    let again = NewReplica { receipt: vec![99], head_counter: 55, ..good };
    assert_eq!(catalog.publish_replica(&again, at(4)).await.unwrap(), first, "the first receipt counts");
    assert_eq!(catalog.item(&here(), item_id(101)).await.unwrap(), again.item);
    let replica = catalog.replica(item_id(101)).await.unwrap().unwrap();
    assert_eq!(
        (replica.state, replica.level, replica.keep_until),
        (ReplicaState::Live, Level::Stored, at(100))
    );
    assert!(catalog.reserve_pack(operation_id(1)).await.is_err(), "its operation has ended");
    let lease = world.claim(JobKind::Verify, at(5)).await.unwrap().lease;
    catalog.finish_verification(&lease, item_id(101), Level::Opened, at(6)).await.unwrap();
    assert_eq!(catalog.replica(item_id(101)).await.unwrap().unwrap().level, Level::Opened);
}

pub(crate) async fn only_what_nothing_takes_up_again_is_forgotten(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    let policy = world.policy(1, &["s1"]).await;
    let running = world.begin_run(&policy, 1).await[0].operation_id;
    let lease = world.collect_lease(VAULT).await;
    catalog.open_transfer(&offer(1, 1), at(2)).await.unwrap();
    catalog.begin_collection(&lease, VAULT, operation_id(200), at(1)).await.unwrap();
    for id in [running, operation_id(90)] {
        let operation = NewOperation { id, vault_id: VAULT, base_manifest: None };
        catalog.begin_operation(&operation, at(2)).await.unwrap();
    }
    let open = catalog.open_operation_count(VAULT).await.unwrap();
    catalog.block_writes("rolled back").await.unwrap();
    assert_eq!(catalog.end_forgotten_operations().await.unwrap(), 0, "a rolled-back catalog is left alone");
    catalog.unblock_writes().await.unwrap();
    assert_eq!(catalog.end_forgotten_operations().await.unwrap(), 1);
    assert_eq!(catalog.end_forgotten_operations().await.unwrap(), 0);
    assert_eq!(catalog.open_operation_count(VAULT).await.unwrap(), open - 1);
    catalog.reserve_pack(running).await.unwrap();
    catalog.reserve_pack(operation_id(200)).await.unwrap();
    catalog.reserve_pack(operation_id(1)).await.unwrap();
    let refused = catalog.reserve_pack(operation_id(90)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::OperationNotOpen))), "{refused:?}");
}

pub(crate) async fn a_head_cannot_overtake_a_receipt(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    catalog.open_transfer(&offer(1, 1), at(1)).await.unwrap();
    let signed = new_replica(1, 1, 0);
    let head = catalog.issue_head(&source_region()).await.unwrap();
    assert_eq!((head.counter, head.replicas.len()), (1, 0));
    let overtaken = catalog.publish_replica(&signed, at(2)).await;
    assert!(
        matches!(overtaken, Err(CatalogError::Conflict(Conflict::HeadMoved))),
        "that head did not list it"
    );
    catalog.publish_replica(&NewReplica { head_counter: 1, ..signed }, at(3)).await.unwrap();
    let head = catalog.issue_head(&source_region()).await.unwrap();
    assert_eq!((head.counter, head.replicas.len()), (2, 1));
    assert_eq!(catalog.replicas_for_head(&source_region()).await.unwrap(), head.replicas);
    assert_eq!(catalog.issue_head(&"region-x".parse().unwrap()).await.unwrap().replicas, []);
}

pub(crate) async fn a_deleted_replica_leaves_a_tombstone(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    deliver(world, 1).await;
    deliver(world, 2).await;
    assert_eq!(catalog.order_expiry(&[item_id(101)], at(99)).await.unwrap(), [], "promised until 100");
    assert_eq!(catalog.order_expiry(&[item_id(101)], at(100)).await.unwrap(), [item_id(101)]);
    catalog.order_delete(&here(), checkpoint_id(200), Some(&[item_id(102)]), at(100)).await.unwrap();
    let states =
        |replicas: Vec<catalog::Replica>| replicas.iter().map(|replica| replica.state).collect::<Vec<_>>();
    let listed = catalog.replicas_for_head(&source_region()).await.unwrap();
    assert_eq!(states(listed), [ReplicaState::Expiring, ReplicaState::Deleting]);
    while let Some(job) = world.claim(JobKind::Delete, at(101)).await {
        let item = model::ids::CheckpointItemId::from_bytes(job.lease.subject);
        catalog.finish_delete(&job.lease, item, at(101), at(101)).await.unwrap();
    }
    let listed = catalog.replicas_for_head(&source_region()).await.unwrap();
    assert_eq!(states(listed), [ReplicaState::Expired, ReplicaState::Deleted]);
    assert!(matches!(
        catalog.checkpoint(&here(), checkpoint_id(200)).await,
        Err(CatalogError::NotFound { .. })
    ));
    // A source that never heard of the receipt hears of it now; the head tells that the replica is gone.
    let late = catalog.open_transfer(&offer(1, 9), at(102)).await.unwrap();
    assert!(matches!(late, OpenedTransfer::Complete { item_id: id, .. } if id == item_id(101)));

    catalog.open_transfer(&offer_again(), at(103)).await.unwrap();
    catalog.publish_replica(&reborn_replica(), at(104)).await.unwrap();
    catalog.checkpoint(&here(), checkpoint_id(200)).await.unwrap();
}

pub(crate) async fn quota_counts_replicas_and_reservations(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    deliver(world, 1).await;
    let large = |n, attempt, stored_bytes| TransferOffer { stored_bytes, ..offer(n, attempt) };
    catalog.open_transfer(&large(2, 1, 600), at(20)).await.unwrap();
    assert_eq!(catalog.grant_used_bytes(grant_id(1)).await.unwrap(), 700);
    catalog.open_transfer(&large(2, 2, 600), at(21)).await.unwrap();
    assert_eq!(catalog.grant_used_bytes(grant_id(1)).await.unwrap(), 700, "a resumed one counts once");
    let refused = catalog.open_transfer(&large(3, 1, 301), at(22)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::OverQuota { bytes_left: 300 }))));
    assert_eq!(catalog.close_transfers_untouched_since(at(21), at(23)).await.unwrap(), []);
    let older = catalog.touch_transfer(&large(2, 1, 600).key, 1, at(22)).await;
    assert!(matches!(older, Err(CatalogError::Conflict(Conflict::OlderAttempt))));
    catalog.touch_transfer(&large(2, 2, 600).key, 2, at(22)).await.unwrap();
    assert_eq!(catalog.close_transfers_untouched_since(at(22), at(23)).await.unwrap(), [], "it still moves");
    let closed = catalog.close_transfers_untouched_since(at(23), at(24)).await.unwrap();
    assert_eq!(closed, [operation_id(2)]);
    let closed = catalog.touch_transfer(&large(2, 2, 600).key, 2, at(24)).await;
    assert!(matches!(closed, Err(CatalogError::Conflict(Conflict::TransferNotOpen))));
    assert_eq!(catalog.grant_used_bytes(grant_id(1)).await.unwrap(), 100);
    assert!(catalog.reserve_pack(operation_id(2)).await.is_err(), "given up");
    catalog.open_transfer(&large(3, 1, 301), at(24)).await.unwrap();
    let late = catalog.publish_replica(&new_replica(2, 2, 0), at(25)).await;
    assert!(matches!(late, Err(CatalogError::Conflict(Conflict::TransferNotOpen))));
    let reopened = TransferOffer { operation_id: operation_id(60), ..large(2, 3, 100) };
    let reopened = catalog.open_transfer(&reopened, at(26)).await.unwrap();
    assert_eq!(reopened, OpenedTransfer::New { operation_id: operation_id(60), base: None });
    let unlimited = Grant { id: grant_id(2), bytes_max: None, ..grant(2) };
    catalog.create_grant(&unlimited).await.unwrap();
    let huge = TransferOffer { grant_id: grant_id(2), ..large(4, 1, 1 << 60) };
    catalog.open_transfer(&huge, at(27)).await.unwrap();
}

pub(crate) async fn the_same_replica_published_by_ten_at_once_is_one(world: &World) {
    let catalog = &world.catalog;
    prepare(world).await;
    catalog.open_transfer(&offer(1, 1), at(1)).await.unwrap();
    let mut running = Vec::new();
    for n in 0..10 {
        let catalog = catalog.clone();
        let new = NewReplica { receipt: vec![n], ..new_replica(1, 1, 0) };
        running
            .push(tokio::spawn(async move { catalog.publish_replica(&new, at(2)).await.unwrap().receipt }));
    }
    let mut receipts = Vec::new();
    for handle in running {
        receipts.push(handle.await.unwrap());
    }
    receipts.dedup();
    assert_eq!(receipts.len(), 1, "everybody hears of one receipt");
    assert_eq!(catalog.replicas_for_head(&source_region()).await.unwrap().len(), 1);
}
