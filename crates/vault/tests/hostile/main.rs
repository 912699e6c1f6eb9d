//! A hostile medium: whatever happens to whichever stored bytes is noticed, and never restored as
//! something else.
//!
//! A case is a seed. It picks a type of object, a kind of damage and a place, and changes a whole
//! store accordingly; a part of a pack counts as a type of its own. Then
//!
//! - whatever reads the object by itself must refuse it, unless its meaning did not change (the prose
//!   of a recovery kit);
//! - every item of every vault is restored with an index from before the damage, with one rebuilt from
//!   the damaged store, and without catalog and KEK from the recovery kit: each volume comes back bit
//!   for bit, or with an error;
//! - nothing panics, and memory stays bounded.
//!
//! `ANTIPODE_HOSTILE_CASES` and `ANTIPODE_HOSTILE_FIRST_SEED` choose the cases (`make hostile-long`).
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod damage;
mod medium;
mod readers;
mod table;
#[path = "../world/mod.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use damage::{Case, Target};
use medium::Medium;
use readers::Readers;
use table::Table;
use vault::store::ObjectStore;
use vault::vault::Vault;
use world::bare;
use world::whole::{Whole, WholeItem};

const CASES: u64 = 5_000;
/// Address space that the whole run may add to what the process has when it begins.
const MEMORY_BYTES_MAX: u64 = 2 << 30;

/// What a case came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Verdict {
    /// Its reader refused it; else its meaning was the same as before.
    is_reported: bool,
    restored: u64,
    refused: u64,
}

/// The sound store with everything that reads it, and another region's, for foreign objects.
struct Arena {
    whole: Whole,
    foreign: Medium,
    medium: Arc<Medium>,
    readers: Readers,
    targets: Vec<Target>,
    foreign_targets: Vec<Target>,
    /// One for each vault, opened before any damage, their indexes filled.
    warm: Vec<Vault>,
}

impl Arena {
    fn new() -> Arena {
        let (whole, other) = (Whole::new(1, 160 << 10), Whole::new(2, 160 << 10));
        let medium = Arc::new(Medium::of(&whole));
        let foreign = Medium::of(&other);
        let (targets, foreign_targets) = (damage::targets(&medium), damage::targets(&foreign));
        let readers = Readers::new(&whole, &medium);
        let mut arena = Arena { whole, foreign, medium, readers, targets, foreign_targets, warm: Vec::new() };
        arena.warm = arena.vaults();
        for vault in &arena.warm {
            assert!(vault.refresh_index().unwrap() > 0);
        }
        arena
    }

    /// The vaults over the medium as it is now, their indexes empty.
    fn vaults(&self) -> Vec<Vault> {
        let regions = [&self.whole.region, &self.whole.second, &self.whole.replicas];
        regions.map(|region| region.open_over(self.medium.clone() as Arc<dyn ObjectStore>)).into()
    }

    /// Damages, reads, repairs.
    fn run(&self, seed: u64) -> (Case, Verdict) {
        let case = Case::new(seed, self);
        for (name, bytes) in &case.changes {
            self.medium.set(name, bytes.clone());
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| self.judge(&case)));
        self.medium.heal();
        match outcome {
            Ok(Ok(verdict)) => (case, verdict),
            Ok(Err(why)) => panic!("seed {seed}: {case}: {why}"),
            Err(_) => panic!("seed {seed}: {case}: something panicked"),
        }
    }

    fn judge(&self, case: &Case) -> Result<Verdict, String> {
        let mut verdict = Verdict { is_reported: true, ..Verdict::default() };
        for (name, bytes) in &case.changes {
            match self.readers.read(name, bytes.as_deref()) {
                Err(_) => {}
                Ok(meaning) if meaning == self.readers.meaning(name) && damage::has_prose(name) => {
                    verdict.is_reported = false;
                }
                Ok(_) => return Err(format!("{name} was changed, and nobody noticed")),
            }
        }
        if case.changes.iter().any(|(name, _)| damage::is_in_store(name)) {
            self.restore_everything(case, &mut verdict)?;
        }
        Ok(verdict)
    }

    fn restore_everything(&self, case: &Case, verdict: &mut Verdict) -> Result<(), String> {
        let is_of_pack = case.changes.iter().any(|(name, _)| name.ends_with(".pack"));
        let rebuilt = if is_of_pack { self.vaults() } else { Vec::new() };
        for vault in self.warm.iter().chain(&rebuilt) {
            let is_near = |(name, _): &(String, _)| damage::is_of_vault(name, vault.id());
            if !case.changes.iter().any(is_near) {
                continue;
            }
            for item in self.whole.items.iter().filter(|item| item.vault == vault.id()) {
                check(item, bare::restore_item(vault, item.manifest), verdict)?;
            }
        }
        // The third road sees packs as the second does; one in eight is enough there.
        if is_of_pack && !case.seed.is_multiple_of(8) {
            return Ok(());
        }
        let store = self.medium.clone() as Arc<dyn ObjectStore>;
        let Ok(mut found) = bare::restore_all(&store, &self.whole.kit) else {
            verdict.refused += self.whole.items.len() as u64;
            return Ok(());
        };
        for item in &self.whole.items {
            match found.remove(&item.manifest) {
                Some(outcome) => check(item, Ok(outcome), verdict)?,
                None => verdict.refused += 1,
            }
        }
        match found.keys().next() {
            Some(digest) => Err(format!("{digest} was restored, and nobody ever stored it")),
            None => Ok(()),
        }
    }
}

/// Right bytes or an error.
fn check(
    item: &WholeItem,
    outcome: Result<bare::Outcome, vault::error::VaultError>,
    verdict: &mut Verdict,
) -> Result<(), String> {
    let Ok(volumes) = outcome else {
        verdict.refused += 1;
        return Ok(());
    };
    if volumes.len() != item.disks.len() {
        return Err(format!("{} came back with {} volumes", item.manifest, volumes.len()));
    }
    for (index, (volume, disk)) in volumes.into_iter().zip(&item.disks).enumerate() {
        match volume {
            Ok(bytes) if bytes == *disk => verdict.restored += 1,
            Ok(_) => return Err(format!("volume {index} of {} came back wrong", item.manifest)),
            Err(_) => verdict.refused += 1,
        }
    }
    Ok(())
}

#[test]
fn no_damage_goes_unnoticed_or_is_restored() {
    let number = |name: &str, default| {
        std::env::var(name).map_or(default, |text| text.parse().expect("a number of cases or a seed"))
    };
    let cases = number("ANTIPODE_HOSTILE_CASES", CASES);
    let first = number("ANTIPODE_HOSTILE_FIRST_SEED", 0);
    let memory_before = peak_memory_bytes();
    let mut table = Table::default();
    let halves = [first..first + cases / 2, first + cases / 2..first + cases];
    let tables = std::thread::scope(|scope| {
        let run = |seeds: std::ops::Range<u64>| {
            scope.spawn(move || {
                let (arena, mut table) = (Arena::new(), Table::default());
                for seed in seeds {
                    let (case, verdict) = arena.run(seed);
                    table.add(&case, verdict);
                }
                table
            })
        };
        halves.map(run).map(|half| half.join())
    });
    for half in tables {
        table.merge(half.unwrap_or_else(|payload| std::panic::resume_unwind(payload)));
    }
    println!("{table}");
    table.require_all_kinds();
    let memory = peak_memory_bytes() - memory_before;
    println!("address space added: {} MiB", memory >> 20);
    assert!(memory < MEMORY_BYTES_MAX, "{memory} bytes of address space were taken");
}

#[test]
fn the_sound_store_is_read_and_restored_on_every_road() {
    let arena = Arena::new();
    for name in arena.medium.names() {
        let bytes = arena.medium.bytes(&name).unwrap();
        arena.readers.read(&name, Some(&bytes)).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let mut verdict = Verdict::default();
    for vault in arena.warm.iter().chain(&arena.vaults()) {
        for item in arena.whole.items.iter().filter(|item| item.vault == vault.id()) {
            check(item, bare::restore_item(vault, item.manifest), &mut verdict).unwrap();
        }
    }
    let store = arena.medium.clone() as Arc<dyn ObjectStore>;
    let mut found = bare::restore_all(&store, &arena.whole.kit).unwrap();
    for item in &arena.whole.items {
        check(item, Ok(found.remove(&item.manifest).unwrap()), &mut verdict).unwrap();
    }
    assert_eq!((verdict.restored, verdict.refused, found.len()), (3 * 7, 0, 0));
}

/// The most address space this process ever had; zero where the system does not tell.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
