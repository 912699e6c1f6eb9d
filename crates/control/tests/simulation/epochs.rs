//! The story of the keys: back up, begin a new epoch, back up and replicate what lists both, retire the
//! first epoch, back up without it, make a new recovery key, delete what needs the first epoch, destroy it.
//! Killed once at each crash point of a key command, it comes to the same end: everything that is left
//! restores on both sides, by KEK and by kit, from the bare stores.

use std::collections::BTreeSet;

use model::checkpoint::ItemState;
use vault::crash::Plan;
use vault::ids::Epoch;
use vault::manifest::Manifest;
use vault::store::ObjectStore;

use crate::invariants::check_all;
use crate::links::Side;
use crate::steps::{delete, replicate_policies, run_policy, write_disks};
use crate::story::{begin, order};
use crate::world::World;

fn back_up_and_replicate(world: &mut World) {
    order(world, Side::A, run_policy);
    order(world, Side::A, replicate_policies);
}

fn begin_epoch(world: &mut World, side: Side) {
    let project = world.region(side).project.clone();
    world.run(side, "begins an epoch", async |control| control.begin_epoch(&project).await);
}

fn retire_first_epoch(world: &mut World, side: Side) {
    let project = world.region(side).project.clone();
    let retired =
        world.run(side, "retires an epoch", async |control| control.retire_epoch(&project, Epoch(1)).await);
    assert!(retired.is_none_or(|retired| retired.is_ok_and(|retired| retired.manifest_count > 0)));
}

fn wrap_for_recovery(world: &mut World, side: Side) {
    let public = world.region(side).keys.recovery.receiving_key().public();
    world.run(side, "wraps for the kit", async |control| control.wrap_for_recovery(&public).await);
}

fn destroy_first_epoch(world: &mut World, side: Side) -> Option<Result<(), control::Error>> {
    let project = world.region(side).project.clone();
    world.run(side, "destroys an epoch", async |control| control.destroy_epoch(&project, Epoch(1)).await)
}

/// The manifests that A made, by name, with the epochs they list.
fn manifests(world: &World) -> Vec<(String, Vec<Epoch>)> {
    let region = world.region(Side::A);
    let signers = region.keys.identity.signers();
    let read = |(name, bytes): (String, std::sync::Arc<Vec<u8>>)| {
        let manifest = name.ends_with(".manifest").then(|| Manifest::decode(&bytes, &signers).unwrap())?;
        Some((name, manifest.fields().epochs.clone()))
    };
    region.store.objects().into_iter().filter_map(read).collect()
}

fn tell(world: &mut World) {
    back_up_and_replicate(world);
    order(world, Side::A, begin_epoch);
    write_disks(world, Side::A);
    back_up_and_replicate(world);
    let several = manifests(world).iter().filter(|(_, epochs)| epochs.len() > 1).count();
    assert!(several > 0, "no backup lists two epochs");
    let old_items = world.items(Side::A, &[ItemState::Available]);
    order(world, Side::A, retire_first_epoch);
    back_up_and_replicate(world);
    let without = manifests(world).iter().filter(|(_, epochs)| !epochs.contains(&Epoch(1))).count();
    assert!(without >= 2, "a backup after the retirement lists the retired epoch");
    order(world, Side::A, wrap_for_recovery);

    let refused = destroy_first_epoch(world, Side::A).unwrap().unwrap_err();
    assert!(refused.message.contains("backups in the store list epoch 1"), "{refused}");
    for item in old_items {
        order(world, Side::A, |world, side| delete(world, side, &item));
    }
    // What collection does with them.
    for (name, epochs) in manifests(world) {
        if epochs.contains(&Epoch(1)) {
            world.region(Side::A).store.delete(&name).unwrap();
        }
    }
    order(world, Side::A, |world, side| {
        if let Some(done) = destroy_first_epoch(world, side) {
            done.unwrap();
        }
    });
    write_disks(world, Side::A);
    back_up_and_replicate(world);
}

/// The world after the story.
struct Lived {
    world: World,
    backups: usize,
    replicas: usize,
    /// The points of key commands that the source passed.
    reached: BTreeSet<&'static str>,
}

/// Lives through the story.
fn live(plan: Plan) -> Lived {
    let mut world = begin();
    world.arm(Side::A, plan);
    tell(&mut world);
    let reached = world.region(Side::A).reached().filter(|point| point.starts_with("key.")).collect();
    check_all(&mut world);
    let first_epoch =
        world.region(Side::A).store.objects().into_keys().filter(|name| name.contains("/00000001-"));
    assert_eq!(first_epoch.count(), 0, "wraps of the destroyed epoch");
    let count = |side| world.items(side, &[ItemState::Available]).len();
    let (backups, replicas) = (count(Side::A), count(Side::B));
    Lived { world, backups, replicas, reached }
}

#[test]
fn epochs_begin_and_end_and_a_crash_at_any_step_changes_nothing() {
    let Lived { backups, replicas, reached, .. } = live(Plan::record());
    assert!(backups == 4 && replicas == 8, "{backups} backups, {replicas} replicas");
    let wanted = [
        "key.epoch_begun",
        "key.epoch_gone",
        "key.epoch_retired",
        "key.epoch_wraps_gone",
        "key.kit_wraps_stored",
        "key.older_bundle_gone",
    ];
    assert_eq!(reached.iter().copied().collect::<Vec<_>>(), wanted);
    for point in wanted {
        for hit in [1, 2] {
            let Lived { world, .. } = live(Plan::at(point, hit));
            let deaths = world.wire.deaths();
            assert!(deaths.iter().all(|death| *death == (Side::A, point)), "{deaths:?}");
            let count = |side| world.items(side, &[ItemState::Available]).len();
            assert_eq!((count(Side::A), count(Side::B)), (backups, replicas), "killed at {point}");
        }
    }
}
