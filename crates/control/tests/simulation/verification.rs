//! Damage in a region's store is found by its own verification, shown on the items that lack something,
//! and healed from the other region's store; killed on the way, it comes to the same end.

use std::path::Path;
use std::sync::Arc;

use catalog::PACKS_MAX;
use control::verification::{HealedItems, VerifiedPack};
use model::checkpoint::ItemState;
use vault::crash::Plan;
use vault::heal::{ObjectSource, StoreSource};
use vault::ids::{DomainId, Incarnation, PackNumber, VaultId};
use vault::layout;
use vault::store::{ObjectStore, SimulatedStore};
use vault::verify::VerifyMode;

use crate::invariants::{check_backups, check_replicas};
use crate::links::Side;
use crate::rebuild::{rebuild, unfreeze};
use crate::region::fast_folder;
use crate::steps::collect;
use crate::story::{begin, tell};
use crate::world::World;

fn with_a_past() -> World {
    let mut world = begin();
    tell(&mut world);
    world.run_until_idle();
    world
}

/// Verifies every pack of a region once. What was done before a death is in the catalog.
fn verify_all(world: &mut World, side: Side, mode: VerifyMode) -> Vec<VerifiedPack> {
    let before = world.region(side).clock.clone();
    let before =
        model::time::Timestamp::from_millis(vault::seams::Clock::now_ms(before.as_ref())).plus_seconds(1);
    world.pass_seconds(2);
    let mut verified = Vec::new();
    loop {
        world.reopen(side);
        let step = world.run(side, "verifies a pack", async |control| {
            control.verify_next_pack(mode, before, u64::MAX).await
        });
        match step {
            None => {}
            Some(step) => match step.unwrap() {
                Some(pack) => verified.push(pack),
                None => return verified,
            },
        }
    }
}

fn vault_of(world: &World, side: Side) -> [u8; 16] {
    let vaults = world.runtime.block_on(world.region(side).catalog.vaults()).unwrap();
    vaults.iter().find(|vault| vault.source.is_none()).unwrap().id
}

fn heal_from_the_other(world: &mut World, side: Side, folder: &Path) -> HealedItems {
    let vault_id = vault_of(world, side);
    let store = Arc::new(world.region(side.other()).store.clone());
    // The domain of a vault of backups has its id.
    heal(world, side, vault_id, StoreSource::open(store, DomainId(vault_id), folder).unwrap())
}

fn heal(world: &mut World, side: Side, vault_id: [u8; 16], source: StoreSource) -> HealedItems {
    let sources: [Arc<dyn ObjectSource>; 1] = [Arc::new(source)];
    loop {
        world.reopen(side);
        let healed = world.run(side, "heals", async |control| control.heal_items(vault_id, &sources).await);
        if let Some(healed) = healed {
            return healed.unwrap();
        }
    }
}

/// Damages the lowest pack of the backups of A, which all later ones share.
fn damage(world: &World) {
    let store = &world.region(Side::A).store;
    let pack = store.objects().into_keys().find(|name| name.contains("/packs/")).unwrap();
    store.tamper(&pack, |bytes| bytes[100] ^= 1);
}

/// I-27: one bit that changes in any live pack is found, and healed from whoever has the same bytes.
pub(crate) fn check_healed(world: &mut World) {
    let side = *world.dice.pick(&Side::BOTH).unwrap();
    let (region, mut live) = (world.region(side), Vec::new());
    for vault in world.runtime.block_on(region.catalog.vaults()).unwrap() {
        let packs = world.runtime.block_on(region.catalog.packs_since(vault.id, 0, PACKS_MAX)).unwrap();
        let packs = packs.into_iter().filter(|pack| pack.is_live).map(|pack| pack.pack);
        live.extend(packs.map(|pack| {
            let (number, incarnation) = (PackNumber(pack.number), Incarnation(pack.incarnation));
            (vault.id, vault.domain, layout::pack_name(VaultId(vault.id), number, incarnation))
        }));
    }
    let Some((vault_id, domain, name)) = world.dice.pick(&live).cloned() else { return };
    let (store, sound) = (world.region(side).store.clone(), SimulatedStore::new(0));
    for (name, bytes) in store.objects() {
        sound.put_if_absent(&name, &bytes).unwrap();
    }
    let bit = world.dice.below(8 * store.size(&name).unwrap());
    world.note(&format!("bit {bit} of {name} changes on {side:?}"));
    store.tamper(&name, |bytes| bytes[(bit / 8) as usize] ^= 1 << (bit % 8));
    let available = world.items(side, &[ItemState::Available]).len();
    let verified = verify_all(world, side, VerifyMode::Deep);
    let damaged = verified.iter().filter(|pack| pack.damage.is_some()).count();
    assert_eq!(damaged, 1, "I-27: bit {bit} of {name}: {verified:?}");
    let folder = fast_folder();
    let source = StoreSource::open(Arc::new(sound), DomainId(domain), &folder.path().join("index")).unwrap();
    let healed = heal(world, side, vault_id, source);
    assert!(healed.damaged.is_empty(), "I-27: {healed:?}");
    assert_eq!(world.items(side, &[ItemState::Available]).len(), available, "I-27: bit {bit} of {name}");
    check_backups(world, side);
    check_replicas(world, side);
}

#[test]
fn a_sound_region_is_covered_by_age() {
    let mut world = with_a_past();
    let verified = verify_all(&mut world, Side::A, VerifyMode::Deep);
    assert!(!verified.is_empty() && verified.iter().all(|pack| pack.damage.is_none()), "{verified:?}");
    let again = verify_all(&mut world, Side::A, VerifyMode::Quick);
    assert_eq!(again.len(), verified.len());
    let coverage = world.run(Side::A, "adds up", async |control| control.coverage_of_verification().await);
    for vault in coverage.unwrap().unwrap() {
        assert_eq!((vault.never_read_count, vault.damaged_count), (0, 0), "{vault:?}");
        assert!(vault.pack_count == 0 || vault.oldest_read_at.is_some(), "{vault:?}");
    }
}

#[test]
fn damage_is_found_shown_and_healed_wherever_the_region_dies() {
    let points = ["heal.copied", "heal.quarantined", "verify.set_aside", "heal.brought", "pack.seal.after"];
    for point in [None].into_iter().chain(points.map(Some)) {
        let mut world = with_a_past();
        let available = world.items(Side::A, &[ItemState::Available]).len();
        damage(&world);
        if let Some(point) = point {
            world.arm(Side::A, Plan::at(point, 1));
        }
        let quick = verify_all(&mut world, Side::A, VerifyMode::Quick);
        assert!(quick.iter().all(|pack| pack.damage.is_none()), "{point:?}: {quick:?}");
        verify_all(&mut world, Side::A, VerifyMode::Deep);
        let folder = fast_folder();
        if point.is_none() {
            check_shown(&world, available);
        }
        let healed = heal_from_the_other(&mut world, Side::A, &folder.path().join("index"));
        assert!(healed.damaged.is_empty(), "{point:?}: {healed:?}");
        assert_eq!(world.items(Side::A, &[ItemState::Error]).len(), 0, "{point:?}");
        assert_eq!(world.items(Side::A, &[ItemState::Available]).len(), available, "{point:?}");
        let catalog = &world.region(Side::A).catalog;
        let open = world.runtime.block_on(catalog.open_operation_count(vault_of(&world, Side::A)));
        assert_eq!(open.unwrap(), 0, "{point:?}: an operation that died keeps its packs for ever");
        check_backups(&mut world, Side::A);
    }
}

#[test]
fn collection_after_a_rebuild_keeps_the_healed_copies() {
    let mut world = with_a_past();
    damage(&world);
    verify_all(&mut world, Side::A, VerifyMode::Deep);
    let folder = fast_folder();
    let healed = heal_from_the_other(&mut world, Side::A, &folder.path().join("index"));
    assert!(healed.damaged.is_empty(), "{healed:?}");
    // What a bare store says of the damaged pack is that it is there.
    rebuild(&mut world, Side::A);
    check_backups(&mut world, Side::A);
    unfreeze(&mut world, Side::A);
    collect(&mut world, Side::A);
    world.run_until_idle();
    check_backups(&mut world, Side::A);
    let again = verify_all(&mut world, Side::A, VerifyMode::Deep);
    assert!(again.iter().all(|pack| pack.damage.is_none()), "the damaged pack is gone: {again:?}");
}

fn check_shown(world: &World, available: usize) {
    let damaged = world.items(Side::A, &[ItemState::Error]);
    assert!(!damaged.is_empty());
    assert_eq!(damaged.len() + world.items(Side::A, &[ItemState::Available]).len(), available);
    for item in damaged {
        let failure = item.failure.unwrap();
        assert!(failure.operation == "verify" && failure.reason.contains("heal it"), "{failure:?}");
    }
}
