//! The directed story: back up, replicate, change, back up and replicate again, restore on both sides, let
//! a schedule run and retention drop, delete. Killed once at each crash point that it reaches, on each
//! side, it comes to the same end.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use model::checkpoint::ItemState;
use model::retention::RetentionFields;
use vault::crash::{POINTS, Plan};

use crate::invariants::check_all;
use crate::links::Side;
use crate::region::{Nursery, template};
use crate::replacing::replace_policies;
use crate::steps::{
    SERVERS, create_policy, delete, have_back, replicate_policies, restore, run_policy, write_disks,
};
use crate::world::World;

const HOUR_SECONDS: u64 = 3_600;

/// Points that are reached by other tests: the local store's, by `vault/tests/crashes.rs`; healing's, by
/// `vault/tests/verification.rs`; the move of a rebuilt catalog, by `antipode/tests/rebuild.rs`.
const ELSEWHERE: [&str; 9] = [
    "heal.brought",
    "heal.copied",
    "heal.quarantined",
    "rebuild.moved",
    "store.delete.unlinked",
    "store.finish.durable",
    "store.finish.linked",
    "store.finish.synced",
    "store.finish.written",
];

/// Points of the making of a pair, which every world has behind it: the test at the end of this file
/// dies there.
const PAIRING: [&str; 1] = ["pairing.card_stored"];

/// How a story ended: backups in A, replicas in B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct End {
    backups: usize,
    replicas: usize,
    restores: u64,
}

pub(crate) fn begin() -> World {
    let mut world = World::seeded(41);
    world.pass_seconds(12 * HOUR_SECONDS);
    for side in Side::BOTH {
        world.register(side, SERVERS[0], &[(600 << 10, 500 << 10)]);
        world.register(side, SERVERS[1], &[(17 << 20, 200 << 10), (256 << 10, 100 << 10)]);
    }
    let retention = RetentionFields { duration_days: 2, ..RetentionFields::default() };
    create_policy(&mut world, Side::A, &SERVERS, retention, true);
    world
}

/// Gives an order, again if the region died of it. None of these orders is cut in the middle.
pub(crate) fn order(world: &mut World, side: Side, give: impl Fn(&mut World, Side)) {
    let deaths_before = world.wire.deaths().len();
    give(world, side);
    if world.wire.deaths().len() > deaths_before {
        world.reopen(side);
        give(world, side);
    }
    world.run_until_idle();
}

pub(crate) fn tell(world: &mut World) {
    order(world, Side::A, run_policy);
    order(world, Side::A, replicate_policies);
    write_disks(world, Side::A);
    order(world, Side::A, run_policy);
    order(world, Side::A, replicate_policies);
    for side in Side::BOTH {
        let items = world.items(side, &[ItemState::Available]);
        order(world, side, |world, side| restore(world, side, &items[0]));
    }
    // The schedule backs up in the night and replicates two hours later; then the first items are too
    // old. No moment is near a limit, so that an hour lost to a crash decides nothing.
    for hours in [24, 36] {
        world.pass_seconds(hours * HOUR_SECONDS);
        world.run_until_idle();
    }
    let items = world.items(Side::A, &[ItemState::Available]);
    order(world, Side::A, |world, side| delete(world, side, &items[0]));
    let replicas = world.items(Side::B, &[ItemState::Available]);
    order(world, Side::B, |world, side| delete(world, side, &replicas[0]));
    // Had back, and deleted for good: its quarantine ends, and a collection takes it away.
    order(world, Side::A, |world, side| have_back(world, side, items[0].id, false));
    order(world, Side::A, |world, side| delete(world, side, &items[0]));
    // A tool replaces the policy while it runs: the run finishes, and the new policy has its backups.
    order(world, Side::A, |world, side| {
        run_policy(world, side);
        replace_policies(world, side);
    });
    order(world, Side::A, replicate_policies);
    world.drain();
}

fn end(world: &mut World) -> End {
    check_all(world);
    let count = |side| world.items(side, &[ItemState::Available]).len();
    End { backups: count(Side::A), replicas: count(Side::B), restores: world.ledger.restored_count }
}

/// The story without a crash: its end, and which points each side reached.
fn untroubled() -> (End, BTreeSet<(Side, &'static str)>) {
    let mut world = begin();
    for side in Side::BOTH {
        world.arm(side, Plan::record());
    }
    tell(&mut world);
    let reached =
        Side::BOTH.into_iter().flat_map(|side| world.region(side).reached().map(move |point| (side, point)));
    let reached = reached.collect();
    (end(&mut world), reached)
}

#[test]
fn every_crash_point_is_reached() {
    let (end, reached) = untroubled();
    assert!(end.backups > 0 && end.replicas > 0 && end.restores == 2, "{end:?}");
    // Key commands run while nothing else does; `epochs.rs` and `src/region/kek_files` kill them.
    let mut missed: BTreeSet<&str> =
        POINTS.iter().copied().filter(|name| !name.starts_with("key.")).collect();
    for (_, point) in reached {
        missed.remove(point);
    }
    for point in template()
        .reached
        .iter()
        .chain(&ELSEWHERE)
        .chain(&crate::rebuild::POINTS)
        .chain(&["verify.set_aside"])
    {
        missed.remove(point);
    }
    // Those of the vault's collection are all reached by `vault/tests/collection.rs`, and many here; those of an
    // index built at one go, which takes more packs than a story has, by `vault/tests/crashes.rs`.
    missed.retain(|point| !point.starts_with("collect.") && !point.starts_with("index."));
    assert!(missed.is_empty(), "crash points that no story reaches: {missed:?}");
}

#[test]
fn a_crash_at_any_crash_point_changes_nothing_in_the_end() {
    let (wanted, reached) = untroubled();
    let queue: Mutex<Vec<(Side, &'static str)>> = Mutex::new(reached.into_iter().collect());
    let failed = Mutex::new(BTreeSet::new());
    let work = || {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some((side, point)) = next else { return };
            if catch_unwind(AssertUnwindSafe(|| check_crash(side, point, wanted))).is_err() {
                eprintln!("the crash of {side:?} at {point} did harm");
                failed.lock().unwrap_or_else(PoisonError::into_inner).insert((side, point));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    assert!(failed.is_empty(), "crashes that did harm: {failed:?}");
}

fn check_crash(side: Side, point: &'static str, wanted: End) {
    let mut world = begin();
    world.arm(side, Plan::at(point, 1));
    tell(&mut world);
    assert_eq!(world.wire.deaths(), [(side, point)], "it died once, where it should");
    let end = end(&mut world);
    assert_eq!(end, wanted, "{side:?} died at {point}");
}

#[test]
fn a_pairing_that_was_cut_off_is_made_by_inviting_again() {
    for side in Side::BOTH {
        for point in PAIRING {
            let mut nursery = Nursery::new(9);
            nursery.reopen(side, Plan::at(point, 1));
            assert!(!nursery.pair(), "{side:?} dies at {point}");
            assert!(nursery.armed[side.index()].is_dead());
            nursery.reopen(side, Plan::record());
            assert!(nursery.pair(), "{side:?} had died at {point}");
        }
    }
}
