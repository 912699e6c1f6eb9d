//! Damage in a region's store is found by its own verification, shown on the items that lack something,
//! and healed from the other region's store; killed on the way, it comes to the same end.

use std::path::Path;
use std::sync::Arc;

use control::verification::{HealedItems, VerifiedPack};
use model::checkpoint::ItemState;
use vault::crash::Plan;
use vault::heal::{ObjectSource, StoreSource};
use vault::store::ObjectStore;
use vault::verify::VerifyMode;

use crate::invariants::check_backups;
use crate::links::Side;
use crate::region::fast_folder;
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
    let store: Arc<dyn ObjectStore> = Arc::new(world.region(side.other()).store.clone());
    let source = StoreSource::open(store, vault::ids::DomainId(vault_id), folder).unwrap();
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
        check_backups(&mut world, Side::A);
    }
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
