//! What goes into a vault comes out again, whatever the disk, and costs what changed.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use std::collections::BTreeSet;
use std::io;
use std::sync::Barrier;

use proptest::prelude::*;
use vault::backup::{Changed, VolumeReader, VolumeSpec};
use vault::error::VaultError;
use vault::ids::ManifestDigest;
use vault::progress::{NoProgress, Progress, Step};
use vault::restore::VerifyLevel;
use vault::store::{ObjectStore, SimulatedFault};
use world::{Disk, Region, back_up, noise, order, restore, settings, spec};

fn check_identity(region: &Region, disks: &[&Disk]) -> ManifestDigest {
    let vault = region.open();
    let backed_up = back_up(region, &vault, &order(1, &[]), disks).unwrap();
    let manifest = backed_up.manifest.digest();
    for (index, disk) in disks.iter().enumerate() {
        let restored = restore(&vault, manifest, index, disk.size()).unwrap();
        assert!(restored.bytes() == disk.bytes(), "disk {index} came back different");
        assert!(restored.is_synced());
    }
    let verified = vault.verify_item(manifest, VerifyLevel::Opened, &NoProgress).unwrap();
    assert_eq!(verified, vault.verify_item(manifest, VerifyLevel::Stored, &NoProgress).unwrap());
    assert_eq!(verified.logical_bytes, backed_up.logical_bytes);
    manifest
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn any_sparse_disk_comes_back_as_it_was(
        seed in any::<u64>(), blocks in 0u64..400, tail in prop_oneof![Just(0u64), 1u64..4096], threads in 1u32..4,
    ) {
        let mut region = Region::new(1);
        region.settings = settings(threads);
        check_identity(&region, &[&Disk::random(blocks * 4096 + tail, seed)]);
    }
}

#[test]
fn disks_without_bytes_or_without_data_come_back() {
    check_identity(
        &Region::new(1),
        &[&Disk::empty(0), &Disk::empty(1), &Disk::empty(100 << 20), &Disk::filled(5000, 0)],
    );
}

#[test]
fn a_deep_tree_comes_back_from_many_threads() {
    let mut region = Region::new(1);
    region.settings = settings(4);
    check_identity(&region, &[&Disk::random(20 << 20, 7), &Disk::random(3 << 20, 8)]);
}

#[test]
fn one_thread_gives_the_same_bytes_every_time_and_many_the_same_objects() {
    let disk = Disk::random(4 << 20, 3);
    let objects = |threads| {
        let mut region = Region::new(1);
        region.settings = settings(threads);
        back_up(&region, &region.open(), &order(1, &[]), &[&disk]).unwrap();
        region.store.objects()
    };
    let first = objects(1);
    assert!(first == objects(1));
    let manifests = |objects: &std::collections::BTreeMap<String, _>| -> Vec<String> {
        objects.keys().filter(|name| name.ends_with(".manifest")).cloned().collect()
    };
    assert_eq!(manifests(&first), manifests(&objects(3)), "the root depends on the number of threads");
}

#[test]
fn a_second_backup_stores_what_changed() {
    let region = Region::new(1);
    let vault = region.open();
    let disk = Disk::random(12 << 20, 5);
    let first = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap();
    let same = back_up(&region, &vault, &order(2, &[first.manifest.digest()]), &[&disk]).unwrap();
    assert_eq!((same.new_object_count, same.new_stored_bytes, same.new_chunk_count), (0, 0, 0));
    assert_eq!((same.object_count, same.stored_bytes), (first.object_count, first.stored_bytes));
    disk.put(5 << 20, &noise(99, 4096));
    let third = back_up(&region, &vault, &order(3, &[same.manifest.digest()]), &[&disk]).unwrap();
    assert!(third.new_chunk_count <= 3, "{} chunks for one block", third.new_chunk_count);
    // The changed leaf, its parents and the chunks.
    assert!(third.new_stored_bytes < 80 << 10, "{} bytes for one block", third.new_stored_bytes);
    let restored = restore(&vault, third.manifest.digest(), 0, disk.size()).unwrap();
    assert!(restored.bytes() == disk.bytes());
}

#[test]
fn volumes_and_places_share_chunks() {
    let region = Region::new(1);
    let vault = region.open();
    let disk = Disk::empty(2 << 20);
    disk.put(0, &noise(1, 1 << 20));
    let first = back_up(&region, &vault, &order(1, &[]), &[&disk, &disk.copy()]).unwrap();
    assert!(first.new_stored_bytes < 1_200_000, "{}", first.new_stored_bytes);
    // Moved by whole blocks: other segments, the same chunks.
    let moved = Disk::empty(2 << 20);
    moved.put(3 * 4096, &noise(1, 1 << 20));
    let second = back_up(&region, &vault, &order(2, &[]), &[&moved]).unwrap();
    assert!(second.new_stored_bytes < 700_000, "{}", second.new_stored_bytes);
}

/// Counts what is read, and claims changes.
struct Tracked<'d> {
    disk: &'d Disk,
    read_bytes: std::sync::atomic::AtomicU64,
}

impl VolumeReader for Tracked<'_> {
    fn size_bytes(&self) -> u64 {
        self.disk.size()
    }

    fn data_extents(&self) -> io::Result<Vec<(u64, u64)>> {
        Ok(vec![(0, self.disk.size())])
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_bytes.fetch_add(buffer.len() as u64, std::sync::atomic::Ordering::SeqCst);
        self.disk.read_at(offset, buffer)
    }
}

#[test]
fn tracked_changes_are_all_that_is_read_and_the_item_is_the_same() {
    for threads in [1, 3] {
        let mut region = Region::new(1);
        region.settings = settings(threads);
        let vault = region.open();
        let disk = Disk::random(12 << 20, 6);
        let first = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap();
        let base = first.manifest.digest();
        disk.put(3 << 20, &noise(5, 9000));
        let full = back_up(&region, &vault, &order(2, &[base]), &[&disk]).unwrap();
        let tracked = |since| {
            let reader = Tracked { disk: &disk, read_bytes: Default::default() };
            let changed = Some(Changed { since, extents: vec![(3 << 20, 9000)] });
            let spec = VolumeSpec { volume_id: "disk-0".to_owned(), changed };
            let backed_up = vault.backup(&order(3, &[base]), &[(spec, &reader)], &NoProgress).unwrap();
            (backed_up, reader.read_bytes.into_inner())
        };
        let (kept, read_bytes) = tracked(base);
        assert!(read_bytes <= 32 << 10, "{read_bytes}");
        assert_eq!((kept.object_count, kept.stored_bytes), (full.object_count, full.stored_bytes));
        let restored = restore(&vault, kept.manifest.digest(), 0, disk.size()).unwrap();
        assert!(restored.bytes() == disk.bytes());
        let (doubtful, read_bytes) = tracked(full.manifest.digest());
        assert!(read_bytes >= disk.size(), "changes since another item were believed");
        assert_eq!(doubtful.stored_bytes, full.stored_bytes);
    }
}

#[test]
fn grown_and_shrunk_disks_come_back() {
    let region = Region::new(1);
    let vault = region.open();
    let disk = Disk::random(8 << 20, 9);
    let first = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap();
    let grown = disk.grown(9 << 20);
    grown.put((9 << 20) - 5000, &noise(3, 5000));
    let second = back_up(&region, &vault, &order(2, &[first.manifest.digest()]), &[&grown]).unwrap();
    assert!(restore(&vault, second.manifest.digest(), 0, 9 << 20).unwrap().bytes() == grown.bytes());
    let too_small = restore(&vault, second.manifest.digest(), 0, 8 << 20);
    assert!(matches!(too_small, Err(VaultError::Refused { .. })));
    let unknown =
        vault.restore_volume(second.manifest.digest(), "disk-9", &Disk::empty(9 << 20), &NoProgress);
    assert!(matches!(unknown, Err(VaultError::Refused { .. })));
}

#[test]
fn an_unreadable_block_ends_the_backup_with_its_place_and_no_manifest() {
    for threads in [1, 3] {
        let mut region = Region::new(1);
        region.settings = settings(threads);
        let vault = region.open();
        let disk = Disk::random(4 << 20, 2);
        disk.fail_block(700);
        disk.fail_block(701);
        let Err(VaultError::SourceRead { volume_id, offset, length, .. }) =
            back_up(&region, &vault, &order(1, &[]), &[&disk])
        else {
            panic!("the error was lost");
        };
        assert_eq!((volume_id.as_str(), offset, length), ("disk-0", 700 * 4096, 2 * 4096));
        assert!(region.store.objects().keys().all(|name| !name.ends_with(".manifest")));
    }
}

#[test]
fn a_lost_index_is_rebuilt_and_finds_chunks_and_duplicates() {
    let region = Region::new(1);
    let disk = Disk::random(6 << 20, 4);
    let first = back_up(&region, &region.open(), &order(1, &[]), &[&disk]).unwrap();
    region.lose_index();
    let vault = region.open();
    assert!(restore(&vault, first.manifest.digest(), 0, disk.size()).unwrap().bytes() == disk.bytes());
    drop(vault);
    region.lose_index();
    let vault = region.open();
    assert!(vault.refresh_index().unwrap() > 0);
    let second = back_up(&region, &vault, &order(2, &[]), &[&disk]).unwrap();
    assert_eq!(second.new_object_count, 0);
}

/// A replication failed for good after a power cut: two items looked an object up in the index that had lost its
/// end, one of them followed the ledger, and the other, finding nothing left to follow, never looked again.
#[test]
fn many_readers_of_an_index_that_lags_find_everything() {
    let region = Region::new(1);
    let disk = Disk::random(1 << 20, 4);
    let item = back_up(&region, &region.open(), &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    for _ in 0..50 {
        let vault = region.open();
        let begin = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    begin.wait();
                    assert!(restore(&vault, item, 0, disk.size()).unwrap().bytes() == disk.bytes());
                });
            }
        });
    }
}

#[test]
fn a_lost_index_of_many_packs_is_built_at_one_go_and_finds_everything() {
    let mut region = Region::new(1);
    region.keep_index_on_disk();
    let disk = Disk::random(64 << 20, 4);
    let item = back_up(&region, &region.open(), &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    let pack_count = region.ledger.packs().len();
    assert!(pack_count > 256, "{pack_count} packs are followed one by one");
    region.lose_index();
    let vault = region.open();
    assert_eq!(vault.refresh_index().unwrap(), pack_count as u64);
    assert_eq!(vault.refresh_index().unwrap(), 0);
    assert!(restore(&vault, item, 0, disk.size()).unwrap().bytes() == disk.bytes());
    let again = back_up(&region, &vault, &order(2, &[]), &[&disk]).unwrap();
    assert_eq!(again.new_object_count, 0, "every plaintext is known again");
}

#[test]
fn chunks_in_condemned_packs_are_stored_again() {
    let region = Region::new(1);
    let disk = Disk::random(6 << 20, 4);
    let vault = region.open();
    let first = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap();
    // The collector frees everything behind the back of this process: its index still knows it all.
    for pack in region.ledger.packs() {
        region.ledger.condemn(pack.number);
        region.store.delete(&pack.name).unwrap();
    }
    let second = back_up(&region, &vault, &order(2, &[]), &[&disk]).unwrap();
    assert_eq!(second.new_object_count, first.new_object_count);
    assert!(restore(&vault, second.manifest.digest(), 0, disk.size()).unwrap().bytes() == disk.bytes());
}

#[test]
fn a_pack_condemned_between_look_up_and_pin_is_a_miss() {
    let region = Region::new(1);
    let disk = Disk::random(2 << 20, 4);
    let vault = region.open();
    back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap();
    let relied_on: BTreeSet<_> = region.ledger.packs().into_iter().map(|pack| pack.number).collect();
    back_up(&region, &vault, &order(2, &[]), &[&disk]).unwrap();
    let pinned: BTreeSet<_> = region.ledger.pins_of(order(2, &[]).operation).into_iter().collect();
    assert_eq!(pinned, relied_on, "every pack relied on is pinned");
}

#[test]
fn damage_of_any_pack_is_an_error_and_never_wrong_bytes() {
    let region = Region::new(1);
    let disk = Disk::random(2 << 20, 11);
    let vault = region.open();
    let manifest = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    let names: Vec<String> =
        region.store.objects().into_keys().filter(|name| name.ends_with(".pack")).collect();
    for (round, name) in names.iter().enumerate() {
        let position = |length: usize| (round * 7919) % (length - 8192);
        region.store.tamper(name, |bytes| {
            let at = position(bytes.len());
            bytes[at] ^= 0x10;
        });
        let outcome = vault.verify_item(manifest, VerifyLevel::Stored, &NoProgress);
        assert!(matches!(outcome, Err(VaultError::Corrupt { .. })), "{name}: {outcome:?}");
        let outcome = restore(&vault, manifest, 0, disk.size()).map(|_| ());
        assert!(matches!(outcome, Err(VaultError::Corrupt { .. })), "{name}: {outcome:?}");
        region.store.tamper(name, |bytes| {
            let at = position(bytes.len());
            bytes[at] ^= 0x10;
        });
    }
    restore(&vault, manifest, 0, disk.size()).unwrap();
    region.store.lose(&names[0]);
    assert!(matches!(restore(&vault, manifest, 0, disk.size()), Err(VaultError::Missing { .. })));
}

#[test]
fn every_failing_store_call_ends_the_backup_cleanly_and_the_next_run_succeeds() {
    let disk = Disk::random(1 << 20, 12);
    for fault in [SimulatedFault::Unavailable, SimulatedFault::Full, SimulatedFault::Unanswered] {
        for call in (1..).step_by(3) {
            let region = Region::new(1);
            let vault = region.open();
            region.store.fail_call(call, fault);
            let outcome = back_up(&region, &vault, &order(1, &[]), &[&disk]);
            if region.store.is_fault_waiting() {
                outcome.unwrap();
                break;
            }
            let error = outcome.map(|_| ()).unwrap_err();
            assert!(error.is_passing(), "{fault:?} at call {call}: {error:?}");
            let again = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap();
            let restored = restore(&vault, again.manifest.digest(), 0, disk.size()).unwrap();
            assert!(restored.bytes() == disk.bytes(), "{fault:?} at call {call}");
        }
    }
}

/// Stops after so many bytes.
struct StopAfter(std::sync::atomic::AtomicU64, u64);

impl Progress for StopAfter {
    fn add(&self, step: Step) {
        self.0.fetch_add(step.logical_bytes, std::sync::atomic::Ordering::SeqCst);
    }

    fn is_stopped(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::SeqCst) >= self.1
    }
}

#[test]
fn long_calls_stop_when_asked_and_report_all_bytes_otherwise() {
    for threads in [1, 3] {
        let mut region = Region::new(1);
        region.settings = settings(threads);
        let vault = region.open();
        let disk = Disk::random(4 << 20, 13);
        let volumes: [(VolumeSpec, &dyn VolumeReader); 1] = [(spec("disk-0"), &disk)];
        let stop = |after: u64| StopAfter(Default::default(), after);
        let stopped = vault.backup(&order(1, &[]), &volumes, &stop(1 << 20));
        assert!(matches!(stopped, Err(VaultError::Stopped)));
        let whole = stop(u64::MAX);
        let manifest = vault.backup(&order(1, &[]), &volumes, &whole).unwrap().manifest.digest();
        assert_eq!(whole.0.into_inner(), 4 << 20);
        let target = Disk::empty(4 << 20);
        let stopped = vault.restore_volume(manifest, "disk-0", &target, &stop(1 << 20));
        assert!(matches!(stopped, Err(VaultError::Stopped)));
        assert!(!target.is_synced());
        let whole = stop(u64::MAX);
        vault.restore_volume(manifest, "disk-0", &target, &whole).unwrap();
        assert_eq!(whole.0.into_inner(), 4 << 20);
        assert!(target.bytes() == disk.bytes());
    }
}

#[test]
fn a_vault_without_data_keys_makes_no_backups_but_checks_what_is_stored() {
    let origin = Region::new(1);
    let disk = Disk::random(1 << 20, 14);
    let manifest = back_up(&origin, &origin.open(), &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    let mut sealed = Region::new(1);
    let mut keys = vault::keys::DomainKeys::sealed(origin.keys.domain());
    for (epoch, epoch_keys) in origin.keys.epochs() {
        let structure = epoch_keys.structure.clone();
        keys.add_epoch(epoch, vault::keys::EpochKeys { data: None, structure }).unwrap();
    }
    (sealed.store, sealed.ledger, sealed.keys) = (origin.store.clone(), origin.ledger.clone(), keys);
    let vault = sealed.open();
    vault.verify_item(manifest, VerifyLevel::Stored, &NoProgress).unwrap();
    let opened = vault.verify_item(manifest, VerifyLevel::Opened, &NoProgress);
    assert!(matches!(opened, Err(VaultError::KeyMissing { .. })));
    let backup = back_up(&sealed, &vault, &order(2, &[]), &[&disk]);
    assert!(matches!(backup, Err(VaultError::KeyMissing { .. })));
}
