//! Killed at any crash point, a run is simply run again: nothing acknowledged is lost, nothing dangles.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use std::collections::BTreeMap;

use vault::backup::BackedUp;
use vault::crash::{Armed, POINTS, Plan, arm, catch};
use vault::ids::ManifestDigest;
use vault::progress::NoProgress;
use vault::restore::VerifyLevel;
use vault::store::{LocalStore, ObjectStore};
use world::link::{Link, copy_order, transfer};
use world::{Disk, Region, back_up, check_item, order, settings};

/// Every manifest that the store holds names only what is there, acknowledged or not.
fn check_no_dangling(region: &Region, when: &str) {
    let vault = region.open();
    for name in region.store.list("").unwrap() {
        let Some(name) = name.strip_suffix(".manifest") else { continue };
        let digest: ManifestDigest = name.rsplit('/').next().unwrap().parse().unwrap();
        let verified = vault.verify_item(digest, VerifyLevel::Opened, &NoProgress);
        assert!(verified.is_ok(), "{when}: {digest}: {verified:?}");
    }
}

/// Two items, the second on the first as its base.
fn back_up_twice(region: &Region, disks: &[Disk; 2]) -> [BackedUp; 2] {
    let vault = region.open();
    let first = back_up(region, &vault, &order(1, &[]), &[&disks[0]]).unwrap();
    let second = back_up(region, &vault, &order(2, &[first.manifest.digest()]), &[&disks[1]]).unwrap();
    [first, second]
}

fn two_disks() -> [Disk; 2] {
    let first = Disk::random(600 << 10, 1);
    let second = first.copy();
    second.put(100 << 10, &world::noise(9, 40 << 10));
    [first, second]
}

#[test]
fn a_backup_killed_at_any_point_is_run_again_to_the_same_end() {
    let disks = two_disks();
    for hit in 1.. {
        let region = Region::new(1);
        let vault = region.open();
        let first = back_up(&region, &vault, &order(1, &[]), &[&disks[0]]).unwrap().manifest.digest();
        drop(vault);
        let armed = arm(Plan::at_hit(hit));
        let died = catch(|| {
            let vault = region.open();
            back_up(&region, &vault, &order(2, &[first]), &[&disks[1]]).map(|_| ())
        });
        drop(armed);
        let Err(crash) = died else {
            assert!(hit > 10, "only {hit} points were passed");
            return;
        };
        let when = format!("killed at hit {hit}, {}", crash.point);
        region.crash();
        check_item(&region, first, &disks[0], &when);
        check_no_dangling(&region, &when);
        let vault = region.open();
        let second = back_up(&region, &vault, &order(2, &[first]), &[&disks[1]]).unwrap();
        drop(vault);
        check_item(&region, second.manifest.digest(), &disks[1], &when);
        check_item(&region, first, &disks[0], &when);
    }
}

#[test]
fn packs_synced_before_a_kill_are_found_again() {
    let disk = Disk::random(2 << 20, 4);
    let whole = Region::new(1);
    let all = back_up(&whole, &whole.open(), &order(1, &[]), &[&disk]).unwrap().new_stored_bytes;
    let region = Region::new(1);
    let armed = arm(Plan::at("manifest.put.before", 1));
    catch(|| back_up(&region, &region.open(), &order(1, &[]), &[&disk]).map(|_| ())).unwrap_err();
    drop(armed);
    region.crash();
    let again = back_up(&region, &region.open(), &order(1, &[]), &[&disk]).unwrap();
    assert!(all > 500 << 10 && again.new_stored_bytes == 0, "{} of {all} again", again.new_stored_bytes);
}

#[test]
fn a_backup_with_many_threads_dies_cleanly_at_any_point() {
    let disk = Disk::random(1 << 20, 5);
    for point in POINTS.iter().filter(|name| is_of_vault(name)) {
        for hit in [1, 3] {
            let mut region = Region::new(1);
            region.settings = settings(3);
            let armed = arm(Plan::at(point, hit));
            let died = catch(|| back_up(&region, &region.open(), &order(1, &[]), &[&disk]).map(|_| ()));
            let when = format!("killed at hit {hit} of {point}");
            assert_eq!(died.is_err(), armed.is_dead(), "{when}: {died:?}");
            drop(armed);
            region.crash();
            if died.is_ok() {
                continue;
            }
            check_no_dangling(&region, &when);
            let again = back_up(&region, &region.open(), &order(1, &[]), &[&disk]).unwrap();
            check_item(&region, again.manifest.digest(), &disk, &when);
        }
    }
}

#[test]
fn a_transfer_killed_at_any_point_is_run_again_to_the_same_end() {
    let disks = two_disks();
    let source = Region::new(1);
    let items = back_up_twice(&source, &disks);
    let digests = items.map(|item| item.manifest.digest());
    for hit in 1.. {
        let destination = Region::replica_of(&source, 2, source.keys.clone());
        let vault = source.open();
        let armed = arm(Plan::at_hit(hit));
        let died = catch(|| {
            transfer(&vault, &copy_order(digests[0], &[]), &Link::new(&destination, 1)).unwrap();
            transfer(&vault, &copy_order(digests[1], &[digests[0]]), &Link::new(&destination, 2)).unwrap();
        });
        drop(armed);
        let Err(crash) = died else {
            assert!(hit > 10, "only {hit} points were passed");
            return;
        };
        let when = format!("killed at hit {hit}, {}", crash.point);
        destination.crash();
        check_no_dangling(&destination, &when);
        for (index, number) in [(0, 1), (1, 2)] {
            let link = Link::new(&destination, number);
            let bases = &digests[..index];
            transfer(&vault, &copy_order(digests[index], bases), &link).unwrap();
            drop(link);
            check_item(&destination, digests[index], &disks[index], &when);
        }
    }
}

#[test]
fn a_transfer_with_many_threads_dies_cleanly_at_any_point() {
    let disk = Disk::random(1 << 20, 6);
    let mut source = Region::new(1);
    let digest = back_up(&source, &source.open(), &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    source.settings = settings(3);
    let vault = source.open();
    for point in POINTS.iter().filter(|name| is_of_vault(name)) {
        for hit in [1, 2] {
            let mut destination = Region::replica_of(&source, 2, source.keys.clone());
            destination.settings = settings(3);
            let armed = arm(Plan::at(point, hit));
            let died =
                catch(|| transfer(&vault, &copy_order(digest, &[]), &Link::new(&destination, 1)).map(|_| ()));
            let when = format!("killed at hit {hit} of {point}");
            assert_eq!(died.is_err(), armed.is_dead(), "{when}: {died:?}");
            drop(armed);
            destination.crash();
            check_no_dangling(&destination, &when);
            if died.is_ok() {
                continue;
            }
            transfer(&vault, &copy_order(digest, &[]), &Link::new(&destination, 1)).unwrap();
            check_item(&destination, digest, &disk, &when);
        }
    }
}

#[test]
fn an_index_whose_build_dies_at_any_point_is_built_again() {
    let mut region = Region::new(1);
    region.keep_index_on_disk();
    let disk = Disk::random(64 << 20, 7);
    let digest = back_up(&region, &region.open(), &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    let pack_count = region.ledger.packs().len() as u64;
    assert!(pack_count > 256, "{pack_count} packs are followed one by one");
    for hit in 1.. {
        region.lose_index();
        let armed = arm(Plan::at_hit(hit));
        let died = catch(|| region.open().refresh_index());
        drop(armed);
        let Err(crash) = died else {
            assert!(hit > 4, "only {hit} points were passed");
            return;
        };
        let when = format!("killed at hit {hit}, {}", crash.point);
        assert!(crash.point.starts_with("index."), "{when}");
        let vault = region.open();
        // Once rows of packs are durable, so is all that they vouch for, and those packs are not looked at again.
        let looked_at = vault.refresh_index().unwrap();
        assert!(looked_at == pack_count || crash.point == "index.packs_written", "{when}: {looked_at} packs");
        drop(vault);
        check_item(&region, digest, &disk, &when);
        let again = back_up(&region, &region.open(), &order(1 + hit as u8, &[]), &[&disk]).unwrap();
        assert_eq!(again.new_object_count, 0, "{when}: every plaintext is known again");
    }
}

fn is_of_vault(name: &str) -> bool {
    ["manifest.", "operation.", "pack.", "store."].iter().any(|prefix| name.starts_with(prefix))
}

#[test]
fn every_crash_point_of_the_vault_is_reached_by_these_stories() {
    let mut reached: BTreeMap<&str, u64> = BTreeMap::new();
    let mut record = |story: &dyn Fn()| {
        let armed: Armed = arm(Plan::record());
        story();
        reached.extend(armed.reached());
    };
    let disks = two_disks();
    let source = Region::new(1);
    record(&|| drop(back_up_twice(&source, &disks)));
    // Without a base everything is found through the index, and pinned.
    record(&|| drop(back_up(&source, &source.open(), &order(3, &[]), &[&disks[1]]).unwrap()));
    record(&|| {
        let folder = tempfile::tempdir().unwrap();
        let store = LocalStore::open(folder.path()).unwrap();
        store.put_if_absent("a", b"x").unwrap();
        store.delete("a").unwrap();
    });
    let missed: Vec<&&str> =
        POINTS.iter().filter(|name| is_of_vault(name) && !reached.contains_key(**name)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}
