//! A region loses its catalog and gets it back from its store: equal to the lost one in everything that
//! a rebuild promises, whatever else lies in the store, and wherever an earlier rebuild died.

use catalog::{Catalog, ItemFilter, PACKS_MAX, PAGE_ROWS_MAX, Page};
use control::rebuild::Rebuilt;
use model::checkpoint::{CheckpointItem, ItemState};
use model::grant::Grant;
use model::identity::Project;
use model::ids::{CheckpointItemId, OperationId, PolicyId, RegionName};
use model::policy::Policy;
use model::server::Server;
use model::time::Timestamp;
use vault::crash::Plan;
use vault::layout;
use vault::state::{StateObject, StateStamp};
use vault::store::ObjectStore;

use crate::invariants::{check_backups, check_replicas};
use crate::links::Side;
use crate::region::{grant_from, region_name};
use crate::steps::{delete, replicate_policies, run_policy, write_disks};
use crate::story::{begin, tell};
use crate::world::World;

/// The crash points that these tests reach.
pub(crate) const POINTS: [&str; 3] =
    ["rebuild.life_recorded", "rebuild.state_written", "rebuild.vault_written"];

/// Everything that a rebuild promises to bring back, with what it does not promise made alike.
#[derive(Debug, PartialEq)]
struct Promised {
    projects: Vec<Project>,
    servers: Vec<Server>,
    policies: Vec<Policy>,
    /// Id, milliseconds of the deletion, and who adopted the backups.
    deleted_policies: Vec<(PolicyId, u64, Option<PolicyId>)>,
    grants: Vec<Grant>,
    peers: Vec<(RegionName, [u8; 16], Vec<u8>)>,
    items: Vec<CheckpointItem>,
    /// Item, manifest, and the milliseconds of its deletion and of the end of its quarantine.
    quarantined: Vec<(CheckpointItemId, Option<[u8; 32]>, u64, u64)>,
    replicas: Vec<catalog::Replica>,
    vaults: Vec<(catalog::NewVault, Vec<catalog::SealedPack>)>,
}

fn promised(world: &World, side: Side) -> Promised {
    let region = world.region(side);
    world.runtime.block_on(read_promised(&region.catalog, side, &region.project))
}

async fn read_promised(catalog: &Catalog, side: Side, project: &model::ids::ProjectId) -> Promised {
    let filter = ItemFilter { states: vec![ItemState::Available], ..ItemFilter::default() };
    let mut items = catalog.items(project, &filter, &Page::first()).await.unwrap();
    items.iter_mut().for_each(forget_what_is_not_promised);
    items.sort_by_key(|item| item.id);
    let quarantined = catalog.quarantined_items(project, None, PAGE_ROWS_MAX).await.unwrap();
    let mut quarantined: Vec<_> = quarantined
        .into_iter()
        .map(|one| (one.item.id, one.item.manifest_digest, one.deleted_at.millis(), one.purge_after.millis()))
        .collect();
    quarantined.sort_unstable();
    let mut replicas = catalog.replicas_for_head(&region_name(side.other())).await.unwrap();
    for replica in &mut replicas {
        // Signed anew, and proved anew.
        replica.receipt.clear();
        replica.level = model::grant::Level::Stored;
    }
    let mut grants = catalog.grants(project).await.unwrap();
    grants.iter_mut().for_each(|grant| grant.revoked_at = None);
    let peers = catalog.peers().await.unwrap();
    let deleted_policies = catalog.deleted_policies(project).await.unwrap();
    let mut vaults = Vec::new();
    for row in catalog.vaults().await.unwrap() {
        let packs = catalog.packs_since(row.id, 0, PACKS_MAX).await.unwrap();
        let mut live: Vec<_> = packs.into_iter().filter(|pack| pack.is_live).map(|pack| pack.pack).collect();
        // Names carry the first bytes of the incarnation only.
        live.iter_mut().for_each(|pack| pack.incarnation[4..].fill(0));
        live.sort_by_key(|pack| pack.number);
        let (id, domain, project_id, source) = (row.id, row.domain, row.project_id, row.source);
        vaults.push((catalog::NewVault { id, domain, project_id, source }, live));
    }
    vaults.sort_by_key(|(vault, _)| vault.id);
    Promised {
        projects: catalog.projects(None).await.unwrap(),
        servers: catalog.all_servers().await.unwrap(),
        policies: catalog.all_policies().await.unwrap(),
        deleted_policies: deleted_policies
            .into_iter()
            .map(|deleted| (deleted.id, deleted.deleted_at.millis(), deleted.adopted_by))
            .collect(),
        grants,
        peers: peers.into_iter().map(|peer| (peer.name, peer.region_id, peer.card)).collect(),
        items,
        quarantined,
        replicas,
        vaults,
    }
}

fn forget_what_is_not_promised(item: &mut CheckpointItem) {
    item.operation_id = OperationId::from_bytes([0; 16]);
    item.updated_at = Timestamp::from_micros(0);
    if !item.is_replica() {
        item.finished_at = None;
        item.added_bytes = 0;
    }
}

/// A world with a past, whose state all stands in its stores.
fn with_a_past() -> World {
    let mut world = begin();
    tell(&mut world);
    world.run_until_idle();
    world
}

pub(crate) fn rebuild(world: &mut World, side: Side) -> Rebuilt {
    let World { regions, wire, runtime, .. } = world;
    let rebuilt = regions[side.index()].rebuild(runtime, wire, Plan::record());
    rebuilt.expect("no crash was planned").unwrap()
}

/// The lost region invites, the other accepts, the lost one confirms; then it grants again.
fn pair_again(world: &mut World, lost: Side) {
    let other = lost.other();
    let callers = Side::BOTH.map(|side| world.region(side).caller.clone());
    let line = world.run(lost, "invites", async |control| {
        control.invite(&callers[lost.index()], &region_name(other)).await
    });
    let line = line.unwrap().unwrap();
    let accepted = world.run(other, "accepts", async |control| {
        control.accept_invitation(&callers[other.index()], &line).await
    });
    let code = accepted.unwrap().unwrap().code;
    let confirmed = world.run(lost, "confirms", async |control| {
        control.confirm_peer(&callers[lost.index()], &region_name(other), &code).await
    });
    confirmed.unwrap().unwrap();
    let grant = grant_from(other, &world.region(other).project);
    let granted =
        world.run(lost, "grants", async |control| control.create_grant(&callers[lost.index()], grant).await);
    granted.unwrap().unwrap();
}

/// I-7: a region that loses its catalog gets back all that a rebuild promises, from its store alone.
pub(crate) fn check_rebuilt(world: &mut World) {
    for side in Side::BOTH {
        let lost = promised(world, side);
        let rebuilt = rebuild(world, side);
        assert_eq!(promised(world, side), lost, "I-7: {side:?}");
        assert_eq!(rebuilt.incomplete_count, 0, "I-7: {rebuilt:?}");
        check_backups(world, side);
        check_replicas(world, side);
    }
}

#[test]
fn a_rebuilt_catalog_equals_the_lost_one_and_its_region_goes_on() {
    let mut world = with_a_past();
    for side in Side::BOTH {
        let item = world.items(side, &[ItemState::Available]).pop().unwrap();
        delete(&mut world, side, &item);
        world.run_until_idle();
        world.keep_house(side);
        let lost = promised(&world, side);
        assert!(!lost.quarantined.is_empty(), "{side:?}");
        assert!(!lost.items.is_empty() && !lost.vaults.is_empty() && !lost.servers.is_empty(), "{side:?}");
        let rebuilt = rebuild(&mut world, side);
        assert_eq!(promised(&world, side), lost, "{side:?}");
        assert_eq!((rebuilt.generation, rebuilt.incomplete_count), (1, 0), "{rebuilt:?}");
        assert!(rebuilt.deleted_count > 0 && rebuilt.left_out.is_empty(), "{rebuilt:?}");
        check_powerless(&mut world, side);
        check_backups(&mut world, side);
        check_replicas(&mut world, side);
        pair_again(&mut world, side);
        world.run_until_idle();
        // A second loss finds the first rebuild's life in the store, and what happened in it.
        let lost = promised(&world, side);
        assert_eq!(rebuild(&mut world, side).generation, 2);
        assert_eq!(promised(&world, side).items, lost.items, "{side:?}, rebuilt twice");
        pair_again(&mut world, side);
        world.run_until_idle();
    }
    check_goes_on(&mut world);
}

/// Nothing expires, no peer is let in, no grant is open, and nobody but the named operator is there.
fn check_powerless(world: &mut World, side: Side) {
    let before = world.items(side, &[]).len();
    world.pass_seconds(400 * 86_400);
    world.keep_house(side);
    assert_eq!(world.items(side, &[ItemState::Available]).len(), before, "nothing may expire while frozen");
    let region = world.region(side);
    let (caller, project) = (region.caller.clone(), region.project.clone());
    let peers = world.runtime.block_on(region.catalog.peers()).unwrap();
    assert!(peers.iter().all(|peer| !peer.is_confirmed), "{peers:?}");
    let grants = world.runtime.block_on(region.catalog.grants(&project)).unwrap();
    assert!(grants.iter().all(|grant| grant.revoked_at.is_some()), "{grants:?}");
    assert_eq!(world.runtime.block_on(region.catalog.users(None)).unwrap().len(), 1);
    let wrong = world.run(side, "unfreezes another region", async |control| {
        control.lift_freeze(&caller, region_name(side.other()).as_str()).await
    });
    assert!(wrong.unwrap().is_err(), "the freeze is lifted by the region's own name only");
}

/// Everything that a destination holds is recognised without a byte; what is new moves as ever.
fn check_goes_on(world: &mut World) {
    let before = world.wire.traffic().object_bytes;
    replicate_policies(world, Side::A);
    world.run_until_idle();
    assert_eq!(world.wire.traffic().object_bytes, before, "what is there was sent again");
    write_disks(world, Side::A);
    run_policy(world, Side::A);
    world.run_until_idle();
    replicate_policies(world, Side::A);
    world.run_until_idle();
    assert!(world.wire.traffic().object_bytes > before, "a new backup is replicated");
    for side in Side::BOTH {
        check_backups(world, side);
        check_replicas(world, side);
        unfreeze(world, side);
        let region = world.runtime.block_on(world.region(side).catalog.region()).unwrap().unwrap();
        assert_eq!(region.frozen_reason, None);
    }
}

pub(crate) fn unfreeze(world: &mut World, side: Side) {
    let (caller, name) = (world.region(side).caller.clone(), region_name(side));
    let lifted =
        world.run(side, "unfreezes", async |control| control.lift_freeze(&caller, name.as_str()).await);
    lifted.unwrap().unwrap();
}

#[test]
fn a_rebuild_that_died_anywhere_is_begun_again_from_nothing() {
    let mut world = with_a_past();
    for side in Side::BOTH {
        let lost = promised(&world, side);
        for point in POINTS {
            let World { regions, wire, runtime, .. } = &mut world;
            let died = regions[side.index()].rebuild(runtime, wire, Plan::at(point, 1));
            assert!(died.is_none(), "{side:?} reaches {point}");
        }
        let rebuilt = rebuild(&mut world, side);
        assert_eq!(promised(&world, side), lost, "{side:?}");
        assert_eq!(rebuilt.generation, 2, "the record of the life that died is known");
    }
}

#[test]
fn foreign_forged_stale_and_damaged_state_is_left_out_and_told() {
    let mut world = with_a_past();
    let lost = promised(&world, Side::A);
    let stranger = world.region(Side::B).store.objects();
    let (ours, theirs) = (world.region(Side::A), world.region(Side::B));
    let states: Vec<(String, Vec<u8>)> = ours
        .store
        .objects()
        .into_iter()
        .filter(|(name, _)| name.starts_with(layout::STATE_PREFIX))
        .map(|(name, bytes)| (name, bytes.to_vec()))
        .collect();
    let mut planted = Vec::new();
    let mut plant = |name: String, bytes: &[u8]| {
        ours.store.put_if_absent(&name, bytes).unwrap();
        planted.push(name);
    };
    // Of another region, as it lies there.
    let (name, bytes) = stranger.iter().find(|(name, _)| name.starts_with(layout::STATE_PREFIX)).unwrap();
    plant(name.clone(), bytes);
    for (number, (name, stored)) in states.iter().enumerate() {
        let signers = ours.keys.identity.signers();
        let kek = &ours.keys.kek;
        let object = StateObject::open(name, stored, kek, ours.keys.identity.region(), &signers).unwrap();
        let later = StateStamp { sequence: 10_000 + number as u64, ..object.stamp };
        // Stale: an older revision under a newer name.
        plant(later.name(), stored);
        // Forged: sealed under the right key, said to be ours, signed by somebody else.
        let later = StateStamp { sequence: 20_000 + number as u64, ..object.stamp };
        let mut sealed = Vec::new();
        StateObject { stamp: later, record: object.record }
            .seal(&theirs.keys.identity, kek, &mut sealed)
            .unwrap();
        plant(later.name(), &sealed);
        // Damaged.
        let later = StateStamp { sequence: 30_000 + number as u64, ..later };
        let mut damaged = stored.clone();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        plant(later.name(), &damaged);
    }
    plant("cards/00000000000000000000000000000000/00000001.card".to_owned(), b"no card");
    let rebuilt = rebuild(&mut world, Side::A);
    assert_eq!(promised(&world, Side::A), lost);
    let mut told: Vec<String> = rebuilt.left_out.iter().map(|left_out| left_out.name.clone()).collect();
    told.sort();
    planted.sort();
    assert_eq!(told, planted, "{:?}", rebuilt.left_out);
}

#[test]
fn an_item_whose_pack_is_gone_is_not_available_and_says_why() {
    let mut world = with_a_past();
    let lost = promised(&world, Side::A);
    let store = world.region(Side::A).store.clone();
    // The lowest pack holds the nodes and chunks that all later items share.
    let pack = store.objects().into_keys().find(|name| name.contains("/packs/")).unwrap();
    store.delete(&pack).unwrap();
    let rebuilt = rebuild(&mut world, Side::A);
    assert!(rebuilt.incomplete_count > 0, "{rebuilt:?}");
    let errors = world.items(Side::A, &[ItemState::Error]);
    assert_eq!(errors.len() as u64, rebuilt.incomplete_count);
    for item in &errors {
        let failure = item.failure.as_ref().unwrap();
        assert!(failure.operation == "rebuild" && failure.reason.contains("lacks"), "{failure:?}");
    }
    let available = promised(&world, Side::A).items.len();
    assert_eq!(available + errors.len(), lost.items.len());
    check_backups(&mut world, Side::A);
}
