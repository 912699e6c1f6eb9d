//! A backup that builds on an earlier one names exactly what a backup of the whole would name, and reads
//! no more than it has to.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use proptest::prelude::*;
use vault::backup::{BackedUp, Changed, VolumeReader, VolumeSpec};
use vault::cut::CutParameters;
use vault::error::VaultError;
use vault::ids::{Address, ManifestDigest};
use vault::object::Opener;
use vault::progress::NoProgress;
use vault::store::ObjectStore;
use vault::vault::Vault;
use world::{Disk, Region, back_up, noise, order, restore, settings};

/// Room for several chunks and holes in a segment.
const CUT: CutParameters = CutParameters {
    chunk_bytes_min: 8 << 10,
    chunk_bytes_max: 64 << 10,
    segment_bytes: 512 << 10,
    average_bits: 1,
    ..CutParameters::DEFAULT
};

fn region(threads: u32) -> Region {
    let mut region = Region::new(1);
    (region.settings, region.cut) = (settings(threads), CUT);
    region
}

fn root(region: &Region, backed_up: &BackedUp) -> Address {
    backed_up.manifest.body(&region.keys, &mut Opener::new().unwrap()).unwrap().volumes[0].root
}

/// A backup of one disk of which everything outside `extents` is known to be as in `since`.
fn back_up_tracked(
    vault: &Vault,
    number: u8,
    base: ManifestDigest,
    disk: &Disk,
    extents: &[(u64, u64)],
) -> Result<BackedUp, VaultError> {
    let changed = Some(Changed { since: base, extents: extents.to_vec() });
    let spec = VolumeSpec { volume_id: "disk-0".to_owned(), changed };
    vault.backup(&order(number, &[base]), &[(spec, disk as &dyn VolumeReader)], &NoProgress)
}

/// What is written where: nothing but zeros, noise, or what lay elsewhere.
fn change(disk: &Disk, (offset, length, kind, seed): (u64, u64, u8, u64)) -> Option<(u64, u64)> {
    let offset = offset % disk.size();
    let length = length.min(disk.size() - offset);
    let bytes = match kind {
        0 => vec![0; length as usize],
        1 => noise(seed, length as usize),
        _ => {
            let from = ((seed % disk.size()) as usize / 4096 * 4096).min((disk.size() - length) as usize);
            disk.bytes()[from..from + length as usize].to_vec()
        }
    };
    disk.put(offset, &bytes);
    (length > 0).then_some((offset, length))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn every_way_to_the_same_disk_gives_the_same_tree(
        seed in any::<u64>(),
        blocks in 1u64..600,
        tail in prop_oneof![Just(0u64), 1u64..4096],
        changes in proptest::collection::vec((any::<u64>(), 1u64..150_000, 0u8..3, any::<u64>()), 0..6),
        is_aligned in any::<bool>(),
        threads in 1u32..4,
    ) {
        let region = region(threads);
        let vault = region.open();
        let disk = Disk::random(blocks * 4096 + tail, seed);
        let base = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
        let align = |offset: u64| if is_aligned { offset / 4096 * 4096 } else { offset };
        let changed = changes.into_iter().map(|(offset, length, kind, seed)| {
            change(&disk, (align(offset % disk.size()), length, kind, seed))
        });
        let extents: Vec<(u64, u64)> = changed.flatten().collect();
        let whole = back_up(&region, &vault, &order(2, &[]), &[&disk]).unwrap();
        let read = back_up(&region, &vault, &order(3, &[base]), &[&disk]).unwrap();
        let tracked = back_up_tracked(&vault, 4, base, &disk, &extents).unwrap();
        for (way, backed_up) in [("read", &read), ("tracked", &tracked)] {
            prop_assert_eq!(root(&region, backed_up), root(&region, &whole), "{}", way);
            let counts = |item: &BackedUp| (item.object_count, item.stored_bytes);
            prop_assert_eq!(counts(backed_up), counts(&whole), "{}", way);
            prop_assert_eq!(backed_up.new_object_count, 0, "{}", way);
        }
        let restored = restore(&vault, tracked.manifest.digest(), 0, disk.size()).unwrap();
        prop_assert!(restored.bytes() == disk.bytes());
    }
}

#[test]
fn changes_that_are_not_on_the_volume_are_refused() {
    let region = region(1);
    let vault = region.open();
    let disk = Disk::random(1 << 20, 3);
    let base = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    for extent in [(1 << 20, 1), ((1 << 20) - 1, 2), (0, 0), (u64::MAX, 2), (0, u64::MAX)] {
        let refused = back_up_tracked(&vault, 2, base, &disk, &[(0, 4096), extent]);
        assert!(matches!(refused, Err(VaultError::Refused { .. })), "{extent:?}");
    }
}

#[test]
fn a_disk_of_another_size_is_read_whole_whatever_tracking_says() {
    let region = region(1);
    let vault = region.open();
    let disk = Disk::random(2 << 20, 4);
    let base = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    for (number, size) in [(2, 3 << 20), (3, 1 << 20)] {
        let resized = disk.grown(size);
        resized.put(12_345, &noise(1, 5000));
        let backed_up = back_up_tracked(&vault, number, base, &resized, &[]).unwrap();
        let restored = restore(&vault, backed_up.manifest.digest(), 0, size).unwrap();
        assert!(restored.bytes() == resized.bytes(), "{size} bytes");
    }
}

/// Loses all packs of chunks. They come first; the nodes stay.
fn lose_chunks(region: &Region, vault: &Vault) {
    let packs = region.ledger.packs();
    for pack in &packs[..packs.len() - 1] {
        region.ledger.condemn(pack.number);
        region.store.delete(&pack.name).unwrap();
    }
    vault.refresh_index().unwrap();
}

#[test]
fn a_base_that_turns_out_damaged_makes_a_tracked_backup_read_everything() {
    for threads in [1, 3] {
        let region = region(threads);
        let vault = region.open();
        let disk = Disk::random(2 << 20, 6);
        let base = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
        lose_chunks(&region, &vault);
        let extents: Vec<(u64, u64)> = (0..4).map(|piece| (piece << 19, 200_000)).collect();
        extents.iter().for_each(|(offset, length)| disk.put(*offset, &noise(*offset, *length as usize)));
        let again = back_up_tracked(&vault, 2, base, &disk, &extents).unwrap();
        let restored = restore(&vault, again.manifest.digest(), 0, disk.size()).unwrap();
        assert!(restored.bytes() == disk.bytes(), "{threads} threads");
    }
}

#[test]
fn what_the_base_lost_is_stored_again_when_all_is_read() {
    let region = region(2);
    let vault = region.open();
    let disk = Disk::random(2 << 20, 5);
    let base = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap();
    lose_chunks(&region, &vault);
    let again = back_up(&region, &vault, &order(2, &[base.manifest.digest()]), &[&disk]).unwrap();
    assert!(again.new_chunk_count > 0);
    assert_eq!(again.stored_bytes, base.stored_bytes);
    assert!(restore(&vault, again.manifest.digest(), 0, disk.size()).unwrap().bytes() == disk.bytes());
}
