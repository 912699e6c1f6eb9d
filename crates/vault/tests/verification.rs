//! Damage of every kind: found by the mode that can find it, taken out of use without losing what is
//! sound, made good by the next backup or by another vault, and always the same bytes come back.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use std::sync::Arc;

use vault::crash::{Plan, arm, catch};
use vault::error::VaultError;
use vault::heal::{DamageLedger, ObjectSource, Quarantined, StoreSource};
use vault::ids::{Incarnation, Kind, ManifestDigest, PackNumber};
use vault::layout::PackName;
use vault::ledger::{LedgerError, MemoryLedger, SealedPack};
use vault::pack::{PackEntry, read_footer_of};
use vault::progress::NoProgress;
use vault::restore::VerifyLevel;
use vault::vault::Vault;
use vault::verify::{Findings, NoPace, Pace, VerifyMode};
use world::link::{Link, copy_order, transfer};
use world::{Disk, Region, back_up, order, restore};

const SIZE: u64 = 700 << 10;

/// Takes packs out of use as the catalog does.
struct Damage(MemoryLedger);

impl DamageLedger for Damage {
    fn quarantine(&self, pack: PackNumber) -> Result<(), LedgerError> {
        self.0.condemn(pack);
        Ok(())
    }
}

/// A region with one item, and what its packs were when they were sealed.
struct Story {
    region: Region,
    disk: Disk,
    manifest: ManifestDigest,
    packs: Vec<SealedPack>,
}

fn story() -> Story {
    let (region, disk) = (Region::new(1), Disk::random(SIZE, 1));
    let vault = region.open();
    let manifest = back_up(&region, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    drop(vault);
    let packs = sealed_packs(&region);
    assert!(packs.len() > 2, "{packs:?}");
    Story { region, disk, manifest, packs }
}

fn sealed_packs(region: &Region) -> Vec<SealedPack> {
    let sealed = |pack: vault::ledger::LedgerPack| {
        let (place, footer) = read_footer_of(&region.store, &pack.name, pack.bytes).unwrap();
        let file_name = PackName::parse(pack.name.rsplit('/').next().unwrap()).unwrap();
        let mut incarnation = [0; 16];
        incarnation[..4].copy_from_slice(&file_name.incarnation);
        SealedPack {
            number: pack.number,
            incarnation: Incarnation(incarnation),
            bytes: pack.bytes,
            object_count: footer.entries.len() as u32,
            footer_digest: place.digest,
        }
    };
    region.ledger.packs().into_iter().filter(|pack| pack.is_live).map(sealed).collect()
}

fn name_of(region: &Region, pack: &SealedPack) -> String {
    PackName::new(pack.number, pack.incarnation).store_name(region.vault_id)
}

fn entries(region: &Region, pack: &SealedPack) -> Vec<PackEntry> {
    read_footer_of(&region.store, &name_of(region, pack), pack.bytes).unwrap().1.entries
}

fn verify(vault: &Vault, pack: &SealedPack, mode: VerifyMode) -> Findings {
    vault.verify_pack(pack, mode, &NoPace, &NoProgress).unwrap()
}

fn flip(region: &Region, pack: &SealedPack, at: u64) {
    region.store.tamper(&name_of(region, pack), |bytes| bytes[at as usize] ^= 1);
}

fn check_restores(region: &Region, manifest: ManifestDigest, disk: &Disk, when: &str) {
    let vault = region.open();
    vault
        .verify_item(manifest, VerifyLevel::Opened, &NoProgress)
        .unwrap_or_else(|error| panic!("{when}: {error}"));
    assert!(restore(&vault, manifest, 0, disk.size()).unwrap().bytes() == disk.bytes(), "{when}");
}

#[test]
fn a_sound_vault_is_found_sound_by_both_modes_and_read_whole() {
    let story = story();
    let vault = story.region.open();
    for pack in &story.packs {
        assert_eq!(verify(&vault, pack, VerifyMode::Quick).read_bytes, 0);
        let deep = verify(&vault, pack, VerifyMode::Deep);
        let object_bytes: u64 =
            entries(&story.region, pack).iter().map(|entry| u64::from(entry.stored_len)).sum();
        assert!(deep.is_sound() && deep.read_bytes == object_bytes, "{deep:?}");
        assert_eq!(deep.object_count, u64::from(pack.object_count));
    }
}

#[test]
fn a_flip_anywhere_in_an_object_is_found_by_the_deep_mode_and_names_the_object() {
    for number in 0..story().packs.len() {
        let story = story();
        let pack = &story.packs[number];
        let entry = entries(&story.region, pack)[0];
        flip(&story.region, pack, entry.offset + u64::from(entry.stored_len) / 2);
        let vault = story.region.open();
        assert!(verify(&vault, pack, VerifyMode::Quick).is_sound(), "nothing is read that could tell");
        let found = verify(&vault, pack, VerifyMode::Deep);
        assert_eq!(found.bad.len(), 1, "{found:?}");
        assert_eq!((found.bad[0].address, found.bad[0].kind), (entry.address, entry.kind));
    }
}

#[test]
fn a_missing_short_or_other_pack_is_found_by_the_quick_mode() {
    let story = story();
    let vault = story.region.open();
    let [first, second, third, ..] = story.packs.as_slice() else { panic!("{:?}", story.packs) };
    story.region.store.lose(&name_of(&story.region, first));
    story.region.store.tamper(&name_of(&story.region, second), |bytes| {
        bytes.truncate(bytes.len() / 2);
    });
    flip(&story.region, third, third.bytes - 60);
    for (pack, word) in [(first, "does not hold"), (second, "instead of"), (third, "digest")] {
        for mode in [VerifyMode::Quick, VerifyMode::Deep] {
            let fault = verify(&vault, pack, mode).fault.unwrap_or_default();
            assert!(fault.contains(word), "{fault:?}");
        }
    }
}

#[test]
fn a_store_that_does_not_answer_is_not_damage() {
    let story = story();
    let vault = story.region.open();
    story.region.store.set_unavailable(true);
    for mode in [VerifyMode::Quick, VerifyMode::Deep] {
        let verified = vault.verify_pack(&story.packs[0], mode, &NoPace, &NoProgress);
        assert!(matches!(verified, Err(VaultError::Unavailable { .. })), "{verified:?}");
    }
}

#[test]
fn verification_asks_its_pace_before_it_reads() {
    struct Counted(std::sync::atomic::AtomicU64);
    impl Pace for Counted {
        fn spend(&self, bytes: u64) {
            self.0.fetch_add(bytes, std::sync::atomic::Ordering::SeqCst);
        }
    }
    let story = story();
    let counted = Counted(Default::default());
    let found =
        story.region.open().verify_pack(&story.packs[0], VerifyMode::Deep, &counted, &NoProgress).unwrap();
    assert_eq!(counted.0.into_inner(), found.read_bytes);
}

/// One way of damaging one pack of a story.
#[derive(Clone, Copy, Debug)]
enum Harm {
    Flip,
    Truncate,
    Lose,
}

fn harm(story: &Story, pack: &SealedPack, harm: Harm) {
    let name = name_of(&story.region, pack);
    match harm {
        Harm::Flip => flip(&story.region, pack, entries(&story.region, pack)[1].offset + 70),
        Harm::Truncate => story.region.store.tamper(&name, |bytes| bytes.truncate(bytes.len() - 1)),
        Harm::Lose => story.region.store.lose(&name),
    }
}

/// Verifies everything and takes out of use what is damaged, as a region does it.
fn quarantine_all(region: &Region, vault: &Vault, packs: &[SealedPack], number: u8) -> Vec<Quarantined> {
    let ledger = Damage(region.ledger.clone());
    let mut quarantined = Vec::new();
    for (index, pack) in packs.iter().enumerate() {
        if region.ledger.packs().iter().any(|known| known.number == pack.number && !known.is_live) {
            continue;
        }
        if !verify(vault, pack, VerifyMode::Deep).is_sound() {
            let operation = order(number + index as u8, &[]).operation;
            quarantined.push(vault.quarantine_pack(pack, operation, &ledger).unwrap());
            region.ledger.end(operation);
        }
    }
    quarantined
}

#[test]
fn a_bad_object_is_stored_again_by_the_next_backup() {
    let story = story();
    let chunks = story.packs.iter().find(|pack| entries(&story.region, pack)[0].kind == Kind::Chunk).unwrap();
    harm(&story, chunks, Harm::Flip);
    let vault = story.region.open();
    let quarantined = quarantine_all(&story.region, &vault, &story.packs, 10);
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].lost.len(), 1, "{quarantined:?}");
    assert_eq!(quarantined[0].copied_count, u64::from(chunks.object_count) - 1);
    let missing = restore(&vault, story.manifest, 0, SIZE);
    assert!(matches!(missing, Err(VaultError::Missing { .. })), "{:?}", missing.err());
    // The damaged item is no base for anything; the index knows the chunk no more, so it comes again.
    let again = back_up(&story.region, &vault, &order(2, &[]), &[&story.disk]).unwrap();
    assert!(again.new_stored_bytes > 0 && again.new_stored_bytes < 100 << 10, "{}", again.new_stored_bytes);
    drop(vault);
    check_restores(&story.region, again.manifest.digest(), &story.disk, "backed up again");
    check_restores(&story.region, story.manifest, &story.disk, "healed by the backup");
}

/// Another region that holds the item as a replica.
fn replica(story: &Story) -> Region {
    let destination = Region::replica_of(&story.region, 2, story.region.keys.clone());
    let vault = story.region.open();
    let link = Link::new(&destination, 9);
    transfer(&vault, &copy_order(story.manifest, &[]), &link).unwrap();
    drop(link);
    destination
}

#[test]
fn every_kind_of_damage_is_healed_from_a_vault_that_has_the_same_addresses() {
    for number in 0..story().packs.len() {
        for how in [Harm::Flip, Harm::Truncate, Harm::Lose] {
            let when = format!("pack {number}, {how:?}");
            let story = story();
            let replica = replica(&story);
            let kept = story.region.store.objects().len();
            harm(&story, &story.packs[number], how);
            let vault = story.region.open();
            assert_eq!(quarantine_all(&story.region, &vault, &story.packs, 10).len(), 1, "{when}");
            heal(&story, &vault, &replica.open(), 50, &when);
            drop(vault);
            check_restores(&story.region, story.manifest, &story.disk, &when);
            let lost = usize::from(matches!(how, Harm::Lose));
            assert!(story.region.store.objects().len() >= kept - lost, "{when}: something was deleted");
        }
    }
}

#[test]
fn a_bare_store_of_the_same_domain_heals_and_one_of_another_domain_does_not() {
    let story = story();
    let replica = replica(&story);
    let stranger = Region::new(3);
    back_up(&stranger, &stranger.open(), &order(1, &[]), &[&Disk::random(SIZE, 9)]).unwrap();
    harm(&story, &story.packs[0], Harm::Lose);
    let vault = story.region.open();
    quarantine_all(&story.region, &vault, &story.packs, 10);
    let folder = tempfile::tempdir().unwrap();
    let open = |region: &Region, name: &str| {
        let domain = story.region.keys.domain();
        StoreSource::open(Arc::new(region.store.clone()), domain, &folder.path().join(name)).unwrap()
    };
    assert_eq!(open(&stranger, "stranger").pack_count(), 0);
    let source = open(&replica, "replica");
    assert!(source.pack_count() > 0);
    heal(&story, &vault, &source, 50, "from a bare store");
    drop(vault);
    check_restores(&story.region, story.manifest, &story.disk, "from a bare store");
}

fn heal(story: &Story, vault: &Vault, source: &dyn ObjectSource, number: u8, when: &str) {
    let manifest = vault.read_manifest(story.manifest).unwrap();
    let operation = order(number, &[]).operation;
    let healed = vault.heal_item(&manifest, operation, &[source], &NoProgress).unwrap();
    assert_eq!(healed.absent_count, 0, "{when}: {healed:?}");
    story.region.ledger.end(operation);
}

#[test]
fn a_source_that_lies_or_has_nothing_heals_nothing() {
    struct Liar;
    impl ObjectSource for Liar {
        fn object(&self, _: Kind, _: vault::ids::Address) -> Result<Option<Vec<u8>>, VaultError> {
            Ok(Some(vec![7; 200]))
        }
    }
    let story = story();
    harm(&story, &story.packs[0], Harm::Lose);
    let vault = story.region.open();
    quarantine_all(&story.region, &vault, &story.packs, 10);
    let manifest = vault.read_manifest(story.manifest).unwrap();
    let empty = Region::replica_of(&story.region, 2, story.region.keys.clone()).open();
    let sources: [&dyn ObjectSource; 2] = [&Liar, &empty];
    let healed = vault.heal_item(&manifest, order(50, &[]).operation, &sources, &NoProgress).unwrap();
    assert!(healed.brought_count == 0 && healed.absent_count > 0, "{healed:?}");
    assert!(restore(&vault, story.manifest, 0, SIZE).is_err());
}

#[test]
fn killed_anywhere_quarantine_and_healing_come_to_the_same_end() {
    for how in [Harm::Flip, Harm::Lose] {
        for hit in 1.. {
            let story = story();
            let replica = replica(&story);
            harm(&story, &story.packs[0], how);
            let armed = arm(Plan::at_hit(hit));
            let died = catch(|| {
                let vault = story.region.open();
                quarantine_all(&story.region, &vault, &story.packs, 10);
                heal(&story, &vault, &replica.open(), 50, "killed");
            });
            drop(armed);
            let Err(crash) = died else {
                assert!(hit > 8, "only {hit} points were passed");
                break;
            };
            let when = format!("{how:?}, killed at hit {hit}, {}", crash.point);
            story.region.crash();
            let vault = story.region.open();
            quarantine_all(&story.region, &vault, &story.packs, 100);
            heal(&story, &vault, &replica.open(), 150, &when);
            drop(vault);
            check_restores(&story.region, story.manifest, &story.disk, &when);
        }
    }
}
