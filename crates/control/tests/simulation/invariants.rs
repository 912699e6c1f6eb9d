//! What must hold once a world is healed and idle. The numbers are those of the list of invariants:
//! I-1 and I-2 (everything restores), I-3 (nothing acknowledged is lost), I-9 (one of each), I-10
//! (replicating again reaches a fixed point), I-11 (records and replicas agree).

use std::collections::{BTreeMap, BTreeSet};

use catalog::{Page, RecordFilter, Replica, ReplicaState};
use model::checkpoint::{CheckpointItem, ItemState};
use model::ids::{CheckpointItemId, ProjectId};
use model::replication::{RecordState, ReplicationRecord};
use vault::codec::Encoder;
use vault::ids::{DomainId, Incarnation, ManifestDigest, PackNumber, RegionId, VaultId};
use vault::keys::derive;
use vault::layout;
use vault::receipt::Receipt;
use vault::vault::Vault;

use crate::bare::{BareStore, restore_images};
use crate::links::Side;
use crate::region::region_name;
use crate::replacing::check_replaced;
use crate::steps::replicate_policy;
use crate::world::World;

/// Heals the world, runs it until it is idle, and checks everything.
///
/// # Panics
/// When an invariant is broken; the message begins with its number.
pub(crate) fn check_all(world: &mut World) {
    world.heal();
    for side in Side::BOTH {
        check_replaced(world, side);
    }
    world.run_until_idle();
    world.drain();
    check_fixed_point(world);
    world.drain();
    for side in Side::BOTH {
        check_space(world, side);
        check_acknowledged(world, side);
        check_records(world, side);
        check_backups(world, side);
        check_replicas(world, side);
    }
    assert!(world.ledger.restores.is_empty(), "I-3: restores have not ended: {:?}", world.ledger.restores);
}

/// I-10: one more order may find something to do; the order after that finds nothing and moves nothing.
fn check_fixed_point(world: &mut World) {
    let policies: Vec<_> = world.ledger.policies.iter().map(|(id, (side, _))| (*id, *side)).collect();
    for (id, side) in &policies {
        replicate_policy(world, *side, *id).expect("I-10: a healed region takes orders");
    }
    // What that brought makes a collection due; no time passes until it is over.
    world.run_until_idle();
    world.run_until_idle();
    let before = world.wire.traffic();
    let packs = |world: &World| Side::BOTH.map(|side| pack_names(world, side));
    let packs_before = packs(world);
    for (id, side) in &policies {
        let again = replicate_policy(world, *side, *id).expect("I-10: a healed region takes orders");
        assert_eq!(again, 0, "I-10: the order after the last one made records on {side:?}");
    }
    world.run_until_idle();
    assert_eq!(world.wire.traffic().object_bytes, before.object_bytes, "I-10: bytes moved for nothing");
    assert_eq!(packs(world), packs_before, "I-10: packs were made for nothing");
}

fn pack_names(world: &World, side: Side) -> BTreeSet<String> {
    let objects = world.region(side).store.objects();
    objects.into_keys().filter(|name| name.contains("/packs/")).collect()
}

/// I-17: with every quarantine over and nothing going, the store holds what the items need and little more:
/// the packs and manifests of the catalog, and of each pack most lives.
fn check_space(world: &World, side: Side) {
    let region = world.region(side);
    let ask = &world.runtime;
    let collections = ask.block_on(region.catalog.collections()).unwrap();
    for row in ask.block_on(region.catalog.vaults()).unwrap() {
        let is_open = ask.block_on(region.catalog.open_operation_count(row.id)).unwrap() > 0;
        let packs = ask.block_on(region.catalog.packs_since(row.id, 0, 10_000)).unwrap();
        let id = VaultId(row.id);
        let live: BTreeSet<String> = packs
            .iter()
            .filter(|pack| pack.is_live)
            .map(|pack| {
                let incarnation = Incarnation(pack.pack.incarnation);
                layout::pack_name(id, PackNumber(pack.pack.number), incarnation)
            })
            .collect();
        let (_, roots) = ask.block_on(region.catalog.collection_roots(row.id)).unwrap();
        let manifests: BTreeSet<String> =
            roots.iter().map(|digest| layout::manifest_name(id, ManifestDigest(*digest))).collect();
        let objects = region.store.objects();
        let under = |prefix: String| -> BTreeSet<String> {
            objects.keys().filter(|name| name.starts_with(&prefix)).cloned().collect()
        };
        let (held_packs, held_manifests) =
            (under(layout::packs_prefix(id)), under(layout::manifests_prefix(id)));
        assert!(live.is_subset(&held_packs), "I-4: the store of {side:?} lost packs");
        assert!(manifests.is_subset(&held_manifests), "I-4: the store of {side:?} lost manifests");
        if is_open {
            // An operation that nobody goes on with keeps what it made until somebody gives it up.
            continue;
        }
        assert_eq!(held_packs, live, "I-17: packs of {side:?} that nobody knows");
        assert_eq!(held_manifests, manifests, "I-17: manifests of {side:?} that no item has");
        let Some(collection) = collections.iter().find(|collection| collection.vault_id == row.id) else {
            continue;
        };
        let held_bytes: u64 = held_packs.iter().map(|name| objects[name].len() as u64).sum();
        let live_bytes = collection.end.live_bytes;
        assert!(
            held_bytes <= 2 * live_bytes + (16 << 10),
            "I-17: {side:?} holds {held_bytes} bytes for {live_bytes} that live"
        );
    }
}

/// I-3: every item and record that a caller was told of is there, in the same or a later state.
fn check_acknowledged(world: &World, side: Side) {
    let items: BTreeMap<CheckpointItemId, CheckpointItem> =
        world.items(side, &[]).into_iter().map(|item| (item.id, item)).collect();
    let expiring: BTreeSet<_> =
        world.ledger.policies.iter().filter(|(_, (_, may_expire))| *may_expire).map(|(id, _)| *id).collect();
    for (id, _) in world.ledger.items.iter().filter(|(_, of)| **of == side) {
        match items.get(id) {
            Some(item) => assert_eq!(item.state, ItemState::Available, "I-3: item {id}: {:?}", item.failure),
            None => assert!(
                world.ledger.deleted.contains(id) || !expiring.is_empty(),
                "I-3: item {id} is gone and nobody ordered it"
            ),
        }
    }
    let undead: Vec<_> = world
        .ledger
        .deleted
        .iter()
        .filter(|id| items.contains_key(id) && !world.ledger.maybe_back.contains(id))
        .collect();
    assert!(undead.is_empty(), "I-3: items were deleted and are there: {undead:?}");
    let known: BTreeSet<_> = records(world, side).iter().map(|record| record.id).collect();
    for (id, _) in world.ledger.records.iter().filter(|(_, of)| **of == side) {
        assert!(known.contains(id), "I-3: record {id} is gone");
    }
}

pub(crate) fn records(world: &World, side: Side) -> Vec<ReplicationRecord> {
    let region = world.region(side);
    let (filter, page) = (RecordFilter::default(), Page::first());
    world.runtime.block_on(region.catalog.records(&region.project, &filter, &page)).unwrap()
}

fn replicas(world: &World, side: Side) -> BTreeMap<CheckpointItemId, Replica> {
    let from = region_name(side.other());
    let replicas = world.runtime.block_on(world.region(side).catalog.replicas_for_head(&from)).unwrap();
    replicas.into_iter().map(|replica| (replica.item_id, replica)).collect()
}

/// I-9 and I-11: one current record for each item, each done one with its replica and receipt there,
/// and no replica there without such a record.
fn check_records(world: &World, side: Side) {
    let replicas = replicas(world, side.other());
    let mut current: BTreeSet<CheckpointItemId> = BTreeSet::new();
    let mut told: BTreeSet<CheckpointItemId> = BTreeSet::new();
    for record in records(world, side) {
        assert!(
            record.state.is_final(),
            "I-25: record {} is {:?}: {}",
            record.id,
            record.state,
            record.reason
        );
        if record.is_current {
            assert!(current.insert(record.item_id), "I-9: item {} has two current records", record.item_id);
        }
        match record.state {
            RecordState::Done => {
                told.insert(check_done(world, side, &record, &replicas));
            }
            RecordState::Skipped | RecordState::Failed => check_given_up(world, side, &record),
            state => panic!("I-11: record {} is {state:?} in a world without losses", record.id),
        }
    }
    let mut live: BTreeSet<CheckpointItemId> = BTreeSet::new();
    for replica in replicas.values().filter(|replica| replica.state == ReplicaState::Live) {
        assert!(live.insert(replica.source_item_id), "I-9: item {} has two replicas", replica.source_item_id);
        assert!(told.contains(&replica.item_id), "I-11: no record knows the replica {}", replica.item_id);
    }
}

/// A record that ended without a replica: only because its backup or its replica was dropped.
fn check_given_up(world: &World, side: Side, record: &ReplicationRecord) {
    let is_gone = world.items(side, &[]).iter().all(|item| item.id != record.item_id);
    let is_dropped_there = record.reason_code == "deleted-there";
    // It was deleted, and had back: then a newer record counts.
    let is_overtaken = record.reason_code == "item-deleted" && !record.is_current;
    assert!(
        is_gone || is_dropped_there || is_overtaken,
        "I-11: record {} is {:?}: {}: {}",
        record.id,
        record.state,
        record.reason_code,
        record.reason
    );
}

/// A done record; answers the id of its replica.
fn check_done(
    world: &World,
    side: Side,
    record: &ReplicationRecord,
    replicas: &BTreeMap<CheckpointItemId, Replica>,
) -> CheckpointItemId {
    let id = record.id;
    let (source, destination) = (world.region(side), world.region(side.other()));
    let origin = source.keys.identity.region();
    let computed = replica_id(origin, record.item_id, &record.destination.project_id, record.generation);
    let item_id = record.destination_item_id.unwrap_or_else(|| panic!("I-11: record {id} names no replica"));
    assert_eq!(item_id, computed, "I-9: a replica has another id than its origin gives");
    let receipt = record.receipt.as_ref().unwrap_or_else(|| panic!("I-11: record {id} has no receipt"));
    let receipt = Receipt::decode(receipt, &destination.keys.identity.signers()).unwrap();
    let replica = replicas.get(&item_id).unwrap_or_else(|| panic!("I-11: {id} is done and not there"));
    assert_eq!(receipt.manifest.0, replica.manifest_digest, "I-11: receipt and replica name other manifests");
    assert_eq!(receipt.replica.0, item_id.bytes(), "I-11: the receipt is for another replica");
    let is_ordered = world.ledger.deleted.contains(&item_id);
    assert!(
        replica.state == ReplicaState::Live || is_ordered,
        "I-11: replica {item_id}: {:?}",
        replica.state
    );
    if let Some(item) = world.items(side, &[]).iter().find(|item| item.id == record.item_id) {
        assert_eq!(item.manifest_digest, Some(receipt.manifest.0), "I-11: {id} is of another manifest");
    }
    item_id
}

/// The id of a replica, computed as the format document says it and not by the code under test.
fn replica_id(
    origin: RegionId,
    item: CheckpointItemId,
    project: &ProjectId,
    generation: u32,
) -> CheckpointItemId {
    let mut encoder = Encoder::new();
    encoder.fixed(&origin.0).fixed(&item.bytes()).string(project.as_str()).u32(generation);
    let digest = derive("antipode v1 replica id", encoder.as_slice());
    CheckpointItemId::from_entropy(digest[..16].try_into().unwrap())
}

/// I-1: every backup restores from the region's own store to what its disks held.
pub(crate) fn check_backups(world: &mut World, side: Side) {
    let region = world.region(side);
    let bare = BareStore::of(&region.store, region.keys.identity.region());
    let kek = region.keys.kek.clone();
    let mut vaults: BTreeMap<DomainId, Vault> = BTreeMap::new();
    for item in world.items(side, &[ItemState::Available]).iter().filter(|item| !item.is_replica()) {
        let domain = DomainId(item.domain.unwrap());
        let vault = vaults
            .entry(domain)
            .or_insert_with(|| bare.open(VaultId(domain.0), bare.keys_by_kek(domain, &kek)));
        check_images(world, vault, item, "I-1");
        world.counts.images_checked += 1;
    }
}

/// I-2: every replica restores from the destination's store alone, with its KEK and with its recovery
/// key, and the store itself tells of its arrival.
pub(crate) fn check_replicas(world: &mut World, side: Side) {
    let region = world.region(side);
    let source = world.region(side.other()).keys.identity.region();
    let bare = BareStore::of(&region.store, region.keys.identity.region());
    let arrivals = bare.arrivals(&region.keys.kek);
    let (kek, recovery) = (region.keys.kek.clone(), region.keys.recovery.clone());
    let project = region.project.clone();
    let mut vaults: BTreeMap<DomainId, [Vault; 2]> = BTreeMap::new();
    for item in world.items(side, &[ItemState::Available]).iter().filter(|item| item.is_replica()) {
        let domain = DomainId(item.domain.unwrap());
        let digest = ManifestDigest(item.manifest_digest.unwrap());
        let arrival = arrivals.get(&digest).unwrap_or_else(|| panic!("I-2: the store knows no {}", item.id));
        assert_eq!(arrival.domain, domain, "I-2: the arrival of {} names another domain", item.id);
        let id = layout::replica_vault_id(domain, source, project.as_str());
        let both = vaults.entry(domain).or_insert_with(|| {
            [bare.keys_by_kek(domain, &kek), bare.keys_by_recovery(id, &recovery)]
                .map(|keys| bare.open(id, keys))
        });
        for vault in both {
            check_images(world, vault, item, "I-2");
            world.counts.images_checked += 1;
        }
    }
}

fn check_images(world: &World, vault: &Vault, item: &CheckpointItem, invariant: &str) {
    let images = restore_images(vault, ManifestDigest(item.manifest_digest.unwrap()));
    assert_eq!(&images, world.images_of(item), "{invariant}: item {} restores to something else", item.id);
}
