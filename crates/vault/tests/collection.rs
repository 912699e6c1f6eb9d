//! Collection of a real vault over a simulated store: nothing that an item or an open operation needs goes,
//! everything else does, killed anywhere, beside anything.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use vault::backup::VolumeReader;
use vault::collect::{CollectError, CollectOrder, CollectProgress, CollectSettings, Collected, Phase, Stage};
use vault::crash::{POINTS, Plan, arm, catch};
use vault::error::VaultError;
use vault::ids::{Incarnation, ManifestDigest, OperationId, PackNumber, VaultId};
use vault::layout;
use vault::ledger::{MemoryCollector, PackLedger};
use vault::progress::NoProgress;
use vault::restore::VerifyLevel;
use vault::store::{ObjectStore, SimulatedFault};
use vault::vault::Vault;
use world::link::{Link, copy_order, transfer};
use world::{Disk, Region, back_up, check_item, noise, order, restore};

fn collector(region: &Region) -> MemoryCollector {
    MemoryCollector::claim(&region.ledger, Incarnation([1; 16]))
}

fn settings() -> CollectSettings {
    CollectSettings { sort_bytes: 4 << 10, batch_packs_max: 2, ..CollectSettings::default() }
}

fn collect_as(region: &Region, vault: &Vault, settings: CollectSettings) -> Result<Collected, CollectError> {
    let folder = tempfile::tempdir().unwrap();
    let order = CollectOrder { spill_folder: folder.path().join("spill"), settings };
    vault.collect(&order, &collector(region), &NoProgress)
}

fn collect(region: &Region, vault: &Vault) -> Collected {
    collect_as(region, vault, settings()).unwrap()
}

fn pack_names(region: &Region) -> BTreeSet<String> {
    region.store.list(&layout::packs_prefix(region.vault_id)).unwrap().into_iter().collect()
}

fn pack_bytes(region: &Region) -> u64 {
    pack_names(region).iter().map(|name| region.store.size(name).unwrap()).sum()
}

/// Backups of one disk that changes a little each time.
struct Story {
    region: Region,
    disk: Disk,
    items: BTreeMap<ManifestDigest, Disk>,
    newest: Option<ManifestDigest>,
    number: u8,
}

impl Story {
    fn new(seed: u64) -> Story {
        Story {
            region: Region::new(1),
            disk: Disk::random(300 << 10, seed),
            items: BTreeMap::new(),
            newest: None,
            number: 0,
        }
    }

    fn change(&mut self, seed: u64) {
        let offset = (seed * 37 % 68) << 12;
        self.disk.put(offset, &noise(seed, 20 << 10));
    }

    fn back_up(&mut self, vault: &Vault) -> ManifestDigest {
        self.number += 1;
        let bases: Vec<ManifestDigest> = self.newest.into_iter().collect();
        let done = back_up(&self.region, vault, &order(self.number, &bases), &[&self.disk]).unwrap();
        let digest = done.manifest.digest();
        self.items.insert(digest, self.disk.copy());
        self.newest = Some(digest);
        digest
    }

    fn expire(&mut self, digest: ManifestDigest) {
        self.region.ledger.expire(digest);
        self.items.remove(&digest);
        if self.newest == Some(digest) {
            self.newest = None;
        }
    }

    fn check(&self, when: &str) {
        for (digest, disk) in &self.items {
            check_item(&self.region, *digest, disk, when);
        }
    }
}

/// Three generations, of which the first two have expired; much of their packs lives on.
fn three_generations() -> Story {
    let mut story = Story::new(3);
    let vault = story.region.open();
    for generation in 0..3 {
        for change in 0..8 {
            story.change(generation * 8 + change);
        }
        story.back_up(&vault);
    }
    let newest = story.newest.unwrap();
    let older: Vec<ManifestDigest> = story.items.keys().copied().filter(|digest| *digest != newest).collect();
    for digest in older {
        story.expire(digest);
    }
    story
}

#[test]
fn what_no_item_needs_goes_and_the_rest_restores() {
    let story = three_generations();
    let before = pack_bytes(&story.region);
    let vault = story.region.open();
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    let first = collect_as(&story.region, &vault, all).unwrap();
    assert_eq!(first.manifest_count, 2);
    assert_eq!(first.root_count, 1);
    story.check("after the first run");
    let second = collect_as(&story.region, &vault, all).unwrap();
    story.check("after the second run");
    let after = pack_bytes(&story.region);
    assert!(after < before, "{after} of {before} bytes are left");
    // Footers and trailers are all that is left beside what lives.
    assert!(after < second.live_bytes + second.live_bytes / 10, "{after} for {} live", second.live_bytes);
    assert!(first.rewritten_pack_count + second.rewritten_pack_count > 0);
    let third = collect_as(&story.region, &vault, all).unwrap();
    assert_eq!((third.deleted_pack_count, third.manifest_count), (0, 0), "nothing is left to do");
    assert_eq!(third.live_bytes, second.live_bytes);
}

#[test]
fn a_vault_without_items_becomes_empty() {
    let mut story = three_generations();
    let newest = story.newest.unwrap();
    story.expire(newest);
    let vault = story.region.open();
    collect(&story.region, &vault);
    assert_eq!(pack_names(&story.region), BTreeSet::new());
    let manifests = story.region.store.list(&layout::manifests_prefix(story.region.vault_id)).unwrap();
    assert_eq!(manifests, Vec::<String>::new());
    story.back_up(&vault);
    story.check("a backup after everything went");
}

#[test]
fn a_run_killed_at_any_point_is_followed_by_one_that_ends_the_work() {
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    let whole = three_generations();
    for _ in 0..3 {
        collect_as(&whole.region, &whole.region.open(), all).unwrap();
    }
    let wanted = pack_bytes(&whole.region);
    for hit in 1.. {
        let story = three_generations();
        let armed = arm(Plan::at_hit(hit));
        let died = catch(|| {
            let vault = story.region.open();
            collect_as(&story.region, &vault, all).map(|_| ()).unwrap();
        });
        drop(armed);
        let Err(crash) = died else {
            assert!(hit > 15, "only {hit} points were passed");
            return;
        };
        let when = format!("killed at hit {hit}, {}", crash.point);
        story.region.crash();
        story.check(&when);
        for _ in 0..3 {
            collect_as(&story.region, &story.region.open(), all).unwrap();
        }
        story.check(&format!("{when}, then collected"));
        let left = pack_bytes(&story.region);
        // Which packs are joined depends on where the run died; what lives does not.
        assert!(left < wanted + wanted / 20, "{when}: {left} bytes are left, {wanted} without a kill");
    }
}

/// Does something the first time that a phase is reported.
struct Meanwhile<F: Fn() + Send + Sync> {
    phase: Phase,
    has_happened: Mutex<bool>,
    happens: F,
}

impl<F: Fn() + Send + Sync> Meanwhile<F> {
    fn new(phase: Phase, happens: F) -> Meanwhile<F> {
        Meanwhile { phase, has_happened: Mutex::new(false), happens }
    }
}

impl<F: Fn() + Send + Sync> CollectProgress for Meanwhile<F> {
    fn at(&self, stage: Stage) {
        let mut has_happened = self.has_happened.lock().unwrap();
        if stage.phase >= self.phase && !*has_happened {
            *has_happened = true;
            drop(has_happened);
            (self.happens)();
        }
    }

    fn is_stopped(&self) -> bool {
        false
    }
}

const PHASES: [Phase; 6] =
    [Phase::Tidying, Phase::Listing, Phase::Marking, Phase::Weighing, Phase::Sweeping, Phase::Rewriting];

fn collect_beside(story: &Story, progress: &dyn CollectProgress) -> Result<Collected, CollectError> {
    let folder = tempfile::tempdir().unwrap();
    let settings = CollectSettings { rewrite_below_percent: 100, ..settings() };
    let order = CollectOrder { spill_folder: folder.path().join("spill"), settings };
    story.region.open().collect(&order, &collector(&story.region), progress)
}

#[test]
fn a_backup_beside_a_run_loses_nothing_in_any_phase() {
    for phase in PHASES {
        let mut story = three_generations();
        // Data of an expired item comes back: what the run is about to take away.
        let again = Disk::random(300 << 10, 3);
        let region = &story.region;
        let made = Mutex::new(None);
        let progress = Meanwhile::new(phase, || {
            let vault = region.open();
            let done = back_up(region, &vault, &order(90, &[]), &[&again]).unwrap();
            *made.lock().unwrap() = Some(done.manifest.digest());
        });
        collect_beside(&story, &progress).unwrap();
        let Some(digest) = made.into_inner().unwrap() else {
            assert_eq!(phase, Phase::Rewriting, "every run comes to {phase:?}");
            continue;
        };
        story.items.insert(digest, again);
        story.check(&format!("a backup beside {phase:?}"));
        for _ in 0..2 {
            collect(&story.region, &story.region.open());
        }
        story.check(&format!("a backup beside {phase:?}, then collected"));
    }
}

#[test]
fn what_an_open_operation_leans_on_stays_until_it_has_ended() {
    let mut story = three_generations();
    let newest = story.newest.unwrap();
    let operation = OperationId([77; 16]);
    story.region.ledger.begin(operation, Some(newest)).unwrap();
    let disk = story.items[&newest].copy();
    story.expire(newest);
    collect(&story.region, &story.region.open());
    let done = collect(&story.region, &story.region.open());
    assert_eq!(done.root_count, 1, "the base of an open operation is a root");
    check_item(&story.region, newest, &disk, "the base of an open operation");
    story.region.ledger.end(operation);
    collect(&story.region, &story.region.open());
    assert_eq!(pack_names(&story.region), BTreeSet::new());
}

#[test]
fn a_pinned_pack_stays_until_a_run_that_follows_the_end_of_its_operation() {
    let story = three_generations();
    let region = &story.region;
    let operation = OperationId([77; 16]);
    region.ledger.begin(operation, None).unwrap();
    let all: Vec<PackNumber> = region.ledger.packs().iter().map(|pack| pack.number).collect();
    assert!(region.ledger.pin(operation, &all).unwrap().iter().all(|is_pinned| *is_pinned));
    let before = pack_names(region);
    let progress = Meanwhile::new(Phase::Marking, || region.ledger.end(operation));
    let done = collect_beside(&story, &progress).unwrap();
    assert_eq!(done.deleted_pack_count, 0, "it ended after the snapshot");
    assert_eq!(done.rewritten_pack_count, 0, "what cannot go is not copied");
    assert!(pack_names(region) == before);
    assert_eq!(region.ledger.pins_of(operation).len(), all.len());
    let done = collect_beside(&story, &NoProgress).unwrap();
    assert_eq!(region.ledger.pins_of(operation), []);
    assert!(done.deleted_pack_count > 0);
    story.check("pins released");
}

#[test]
fn a_run_whose_lease_was_taken_over_condemns_nothing() {
    for phase in PHASES {
        let story = three_generations();
        let region = &story.region;
        let after = Mutex::new(BTreeSet::new());
        let progress = Meanwhile::new(phase, || {
            // The next run takes over, and somebody relies on what the first one judged.
            let _newer = collector(region);
            *after.lock().unwrap() = pack_names(region);
        });
        let overtaken = collect_beside(&story, &progress);
        let after = after.into_inner().unwrap();
        if after.is_empty() {
            assert_eq!(phase, Phase::Rewriting);
            continue;
        }
        assert!(
            matches!(overtaken, Err(CollectError::Vault(VaultError::Stopped))),
            "{phase:?}: {overtaken:?}"
        );
        assert!(pack_names(region) == after, "{phase:?}: it went on deleting");
        story.check(&format!("overtaken in {phase:?}"));
    }
}

fn is_unsafe(result: &Result<Collected, CollectError>) -> bool {
    matches!(result, Err(CollectError::Unsafe { .. }))
}

#[test]
fn a_run_that_misses_anything_condemns_nothing() {
    // Every pack, one after the other, is lost, cut or changed in the middle of its objects.
    let packs: Vec<String> = pack_names(&three_generations().region).into_iter().collect();
    let mut refused = 0;
    for pack in &packs {
        for damage in 0..3 {
            let story = three_generations();
            let before = pack_names(&story.region);
            match damage {
                0 => story.region.store.lose(pack),
                1 => story.region.store.tamper(pack, |bytes| bytes.truncate(bytes.len() / 2)),
                _ => story.region.store.tamper(pack, |bytes| bytes[40] ^= 1),
            }
            let done = collect_as(&story.region, &story.region.open(), settings());
            if !is_unsafe(&done) {
                // Nothing that lives was in it, or only its footer matters to a run that rewrites nothing of it.
                continue;
            }
            refused += 1;
            let after = pack_names(&story.region);
            assert!(
                before.iter().all(|name| after.contains(name) || name == pack),
                "{pack}, damage {damage}"
            );
        }
    }
    assert!(refused > packs.len(), "only {refused} damages were noticed");
}

#[test]
fn a_lost_or_forged_root_stops_the_run() {
    for damage in 0..2 {
        let story = three_generations();
        let before = pack_names(&story.region);
        let name = layout::manifest_name(story.region.vault_id, story.newest.unwrap());
        match damage {
            0 => story.region.store.lose(&name),
            _ => story.region.store.tamper(&name, |bytes| bytes[100] ^= 1),
        }
        let done = collect_as(&story.region, &story.region.open(), settings());
        assert!(is_unsafe(&done), "{done:?}");
        assert!(pack_names(&story.region) == before);
    }
}

#[test]
fn a_store_that_knows_higher_numbers_than_the_catalog_is_not_collected() {
    let story = three_generations();
    let before = pack_names(&story.region);
    let number = PackNumber(story.region.ledger.packs().len() as u64 + 50);
    let name = layout::pack_name(story.region.vault_id, number, Incarnation([1; 16]));
    story.region.store.put_if_absent(&name, b"of a life that the catalog forgot").unwrap();
    let done = collect_as(&story.region, &story.region.open(), settings());
    assert!(is_unsafe(&done), "{done:?}");
    assert!(before.is_subset(&pack_names(&story.region)));
}

#[test]
fn a_pack_that_comes_back_after_its_deletion_goes_again() {
    let story = three_generations();
    let before = pack_names(&story.region);
    collect(&story.region, &story.region.open());
    let gone = before.difference(&pack_names(&story.region)).next().unwrap().clone();
    // Another life's pack of the same number is none of ours.
    let (foreign, _) = gone.rsplit_once('-').unwrap();
    let foreign = format!("{foreign}-ffffffff.pack");
    // The simulated store remembers contents, so a store of its own plays the part.
    story.region.store.put_if_absent(&foreign, b"foreign").unwrap();
    let objects = three_generations().region.store.objects();
    story.region.store.put_if_absent(&gone, &objects[&gone]).unwrap();
    collect(&story.region, &story.region.open());
    let left = pack_names(&story.region);
    assert!(!left.contains(&gone) && left.contains(&foreign));
    story.check("after a stray went");
}

#[test]
fn packs_that_were_never_sealed_go_once_their_operation_has_ended() {
    let story = three_generations();
    let region = &story.region;
    let operation = OperationId([88; 16]);
    region.ledger.begin(operation, None).unwrap();
    let number = region.ledger.reserve(operation).unwrap();
    let name = layout::pack_name(region.vault_id, number, Incarnation([1; 16]));
    region.store.put_if_absent(&name, b"synced, and then the power went").unwrap();
    collect(region, &region.open());
    assert!(pack_names(region).contains(&name), "its operation may still seal it");
    region.ledger.end(operation);
    collect(region, &region.open());
    assert!(!pack_names(region).contains(&name));
}

#[test]
fn a_full_store_is_freed_first_and_rewritten_when_there_is_room() {
    let mut story = three_generations();
    let vault = story.region.open();
    // A whole item of its own, so that whole packs die.
    let other = Disk::random(600 << 10, 99);
    let done = back_up(&story.region, &vault, &order(60, &[]), &[&other]).unwrap();
    let digest = done.manifest.digest();
    story.region.ledger.expire(digest);
    let used: u64 = story.region.store.objects().values().map(|bytes| bytes.len() as u64).sum();
    story.region.store.set_bytes_max(used);
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    let before = pack_bytes(&story.region);
    let done = collect_as(&story.region, &vault, all).unwrap();
    assert!(done.deleted_bytes > 300 << 10, "{done:?}");
    assert!(pack_bytes(&story.region) < before);
    story.check("on a full store");
    // No byte of room: whatever is left to rewrite waits, and says so.
    story.change(500);
    story.region.store.set_bytes_max(u64::MAX);
    let newest = story.newest.unwrap();
    story.back_up(&vault);
    story.expire(newest);
    story.region.store.set_bytes_max(0);
    let done = collect_as(&story.region, &vault, all).unwrap();
    assert!(done.rewriting_waits.is_some_and(|reason| reason.contains("room")));
    story.check("without any room");
    story.region.store.set_bytes_max(u64::MAX);
    let done = collect_as(&story.region, &vault, all).unwrap();
    assert!(done.rewriting_waits.is_none() && done.rewritten_pack_count > 0, "{:?}", done.rewriting_waits);
    story.check("with room again");
}

#[test]
fn a_store_that_fails_at_any_call_loses_nothing() {
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    for fault in [SimulatedFault::Unavailable, SimulatedFault::Unanswered, SimulatedFault::Full] {
        for nth in (1..).step_by(if fault == SimulatedFault::Unanswered { 1 } else { 3 }) {
            let story = three_generations();
            let vault = story.region.open();
            story.region.store.fail_call(nth, fault);
            let done = collect_as(&story.region, &vault, all);
            let has_struck = !story.region.store.is_fault_waiting();
            story.region.store.fail_call(1 << 40, SimulatedFault::Unavailable);
            assert!(!is_unsafe(&done), "call {nth}, {fault:?}: passing trouble is no damage: {done:?}");
            if !has_struck {
                assert!(nth > 20);
                break;
            }
            story.check(&format!("call {nth} suffered {fault:?}"));
            collect_as(&story.region, &story.region.open(), all).unwrap();
            story.check(&format!("call {nth} suffered {fault:?}, then collected"));
        }
    }
}

#[test]
fn a_store_that_alters_a_byte_in_any_call_loses_nothing() {
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    for nth in 1.. {
        let story = three_generations();
        let vault = story.region.open();
        story.region.store.fail_call(nth, SimulatedFault::Altered);
        let done = collect_as(&story.region, &vault, all);
        if story.region.store.is_fault_waiting() {
            assert!(nth > 20 && done.unwrap().rewritten_pack_count > 0);
            break;
        }
        story.check(&format!("call {nth} was altered"));
        collect_as(&story.region, &story.region.open(), all).unwrap();
        story.check(&format!("call {nth} was altered, then collected"));
    }
}

#[test]
fn rewriting_keeps_dedup_ids_and_readers_with_an_old_index_find_the_copies() {
    let mut story = three_generations();
    let reader = story.region.open();
    reader.refresh_index().unwrap();
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    let done = collect_as(&story.region, &story.region.open(), all).unwrap();
    assert!(done.rewritten_pack_count > 0);
    let newest = story.newest.unwrap();
    let restored = restore(&reader, newest, 0, story.disk.size()).unwrap();
    assert!(restored.bytes() == story.disk.bytes(), "a reader whose index is old");
    story.region.lose_index();
    let vault = story.region.open();
    let again = back_up(&story.region, &vault, &order(91, &[]), &[&story.disk]).unwrap();
    assert_eq!(again.new_stored_bytes, 0, "every chunk is known by the ids in the rewritten packs");
    story.items.insert(again.manifest.digest(), story.disk.copy());
    story.check("after a backup onto rewritten packs");
}

#[test]
fn an_index_that_followed_long_ago_learns_what_the_ledger_has_forgotten() {
    let story = three_generations();
    let reader = story.region.open();
    reader.refresh_index().unwrap();
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    collect_as(&story.region, &story.region.open(), all).unwrap();
    story.region.ledger.forget_deleted();
    assert!(reader.refresh_index().unwrap() > 0);
    let restored = restore(&reader, story.newest.unwrap(), 0, story.disk.size()).unwrap();
    assert!(restored.bytes() == story.disk.bytes());
    let again = back_up(&story.region, &reader, &order(92, &[]), &[&story.disk]).unwrap();
    assert_eq!(again.new_stored_bytes, 0, "it knows where everything lies now");
}

#[test]
fn a_manifest_that_a_killed_backup_left_goes_before_its_packs() {
    let mut story = Story::new(5);
    let armed = arm(Plan::at("manifest.put.after", 1));
    let killed = order(1, &[]);
    catch(|| back_up(&story.region, &story.region.open(), &killed, &[&story.disk]).map(|_| ())).unwrap_err();
    drop(armed);
    story.region.crash();
    let manifests = |region: &Region| region.store.list(&layout::manifests_prefix(region.vault_id)).unwrap();
    assert_eq!(manifests(&story.region).len(), 1);
    let done = collect(&story.region, &story.region.open());
    assert_eq!((done.root_count, manifests(&story.region).len()), (1, 1), "its backup may still publish it");
    // It is given up; its packs are garbage from then on.
    story.region.ledger.end(killed.operation);
    story.number = 1;
    let armed = arm(Plan::record());
    collect(&story.region, &story.region.open());
    assert!(armed.reached().contains_key("collect.strays_condemned.after"));
    drop(armed);
    assert_eq!(manifests(&story.region), Vec::<String>::new());
    assert_eq!(pack_names(&story.region), BTreeSet::new());
}

#[test]
fn a_sealed_replica_is_collected_with_structure_keys_only() {
    let story = three_generations();
    let source = story.region.open();
    let newest = story.newest.unwrap();
    let mut sealed = vault::keys::DomainKeys::sealed(story.region.keys.domain());
    for (epoch, keys) in story.region.keys.epochs() {
        let keys = vault::keys::EpochKeys { data: None, structure: keys.structure.clone() };
        sealed.add_epoch(epoch, keys).unwrap();
    }
    let destination = Region::replica_of(&story.region, 2, sealed);
    transfer(&source, &copy_order(newest, &[]), &Link::new(&destination, 1)).unwrap();
    let other = Disk::random(300 << 10, 41);
    let second = back_up(&story.region, &source, &order(61, &[]), &[&other]).unwrap().manifest.digest();
    transfer(&source, &copy_order(second, &[]), &Link::new(&destination, 2)).unwrap();
    destination.ledger.expire(newest);
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    let collector = MemoryCollector::claim(&destination.ledger, Incarnation([2; 16]));
    let folder = tempfile::tempdir().unwrap();
    let order = CollectOrder { spill_folder: folder.path().join("spill"), settings: all };
    let vault = destination.open();
    let done = vault.collect(&order, &collector, &NoProgress).unwrap();
    assert!(done.deleted_pack_count > 0);
    vault.verify_item(second, VerifyLevel::Stored, &NoProgress).unwrap();
    assert!(vault.verify_item(newest, VerifyLevel::Stored, &NoProgress).is_err(), "it is gone");
}

#[test]
fn any_order_of_backups_expiries_kills_and_runs_keeps_every_item() {
    for seed in 0..40 {
        let mut story = Story::new(seed);
        let dice = noise(seed + 1000, 60);
        let mut killed_at = 0;
        for (step, die) in dice.iter().enumerate() {
            match die % 6 {
                0 | 1 => {
                    story.change(seed * 100 + step as u64);
                    if die & 64 == 0 {
                        story.newest = None;
                    }
                    let vault = story.region.open();
                    story.back_up(&vault);
                }
                2 | 3 => {
                    let oldest = story.items.keys().nth(usize::from(*die) % story.items.len().max(1));
                    if let Some(digest) = oldest.copied() {
                        story.expire(digest);
                    }
                }
                _ => {
                    let below = if die & 128 == 0 { 100 } else { 50 };
                    let settings = CollectSettings { rewrite_below_percent: below, ..settings() };
                    killed_at += 1;
                    let plan =
                        if die & 32 == 0 { Plan::at_hit(killed_at * 3 % 25 + 1) } else { Plan::record() };
                    let armed = arm(plan);
                    let died = catch(|| {
                        collect_as(&story.region, &story.region.open(), settings).map(|_| ()).unwrap();
                    });
                    drop(armed);
                    if died.is_err() {
                        story.region.crash();
                    }
                }
            }
        }
        story.check(&format!("seed {seed}"));
        for _ in 0..3 {
            collect(&story.region, &story.region.open());
        }
        story.check(&format!("seed {seed}, collected"));
        let done = collect(&story.region, &story.region.open());
        assert_eq!(done.deleted_bytes, 0, "seed {seed}: collected three times and not done");
        // At least half of each pack lives, or as much as is left is not worth a pack.
        let left = pack_bytes(&story.region);
        assert!(left <= 3 * done.live_bytes + (8 << 10), "seed {seed}: {left} for {}", done.live_bytes);
    }
}

#[test]
fn every_crash_point_of_collection_is_reached() {
    let armed = arm(Plan::record());
    let story = three_generations();
    let before = story.region.store.objects();
    let all = CollectSettings { rewrite_below_percent: 100, ..settings() };
    collect_as(&story.region, &story.region.open(), all).unwrap();
    let (gone, bytes) = before
        .iter()
        .find(|(name, _)| !pack_names(&story.region).contains(*name) && name.ends_with(".pack"))
        .unwrap();
    story.region.store.put_if_absent(gone, bytes).unwrap();
    collect_as(&story.region, &story.region.open(), all).unwrap();
    let killed = order(99, &[]);
    let vault = story.region.open();
    let other = Disk::random(20 << 10, 8);
    let unpublished =
        vault.backup(&killed, &[(world::spec("disk-0"), &other as &dyn VolumeReader)], &NoProgress);
    unpublished.unwrap();
    story.region.ledger.end(killed.operation);
    collect_as(&story.region, &vault, all).unwrap();
    let reached = armed.reached();
    let missed: Vec<&&str> =
        POINTS.iter().filter(|name| name.starts_with("collect.") && !reached.contains_key(**name)).collect();
    assert!(missed.is_empty(), "never reached: {missed:?}");
}

#[test]
fn a_run_of_another_vault_in_the_same_store_touches_nothing_here() {
    let story = three_generations();
    let other = VaultId([0xab; 16]);
    let name = layout::pack_name(other, PackNumber(1), Incarnation([1; 16]));
    story.region.store.put_if_absent(&name, b"another vault's").unwrap();
    collect(&story.region, &story.region.open());
    assert_eq!(story.region.store.get(&name, 100).unwrap(), b"another vault's");
}
