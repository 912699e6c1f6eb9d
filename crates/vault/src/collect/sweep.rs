//! Taking away: manifests whose quarantine has ended, packs condemned by whichever run, dead packs of this
//! one. Always in this order: condemned in a transaction, deleted from the store, noted as deleted. A run that
//! dies in between leaves the rest to the next one's tidying.

use crate::collect::weigh::Weighed;
use crate::collect::{CollectError, CollectSnapshot, Phase, Run, delete, ledger_failed};
use crate::crash_point;
use crate::error::VaultError;
use crate::ids::{ManifestDigest, PackNumber};
use crate::layout::{self, PackName};
use crate::object::Opener;
use crate::vault::Vault;

/// Manifests and packs deleted before they are noted.
const DELETED_AT_ONCE: u32 = 100;
/// Pack numbers that begin with the same digits, and so are listed together.
const WINDOW: u64 = 1 << 16;

impl Run<'_> {
    /// What is condemned goes before anything else: it needs no room and frees some.
    pub(super) fn tidy(&mut self) -> Result<(), CollectError> {
        self.at(Phase::Tidying, 0, 0);
        self.delete_manifests()?;
        self.delete_condemned()
    }

    fn delete_manifests(&mut self) -> Result<(), CollectError> {
        loop {
            self.require_going()?;
            let gone = self.ledger.condemn_manifests(DELETED_AT_ONCE);
            let gone = gone.map_err(ledger_failed("condemning manifests"))?;
            crash_point!("collect.manifests_condemned.after");
            if gone.is_empty() {
                return Ok(());
            }
            for digest in &gone {
                delete(self.core, &self.core.manifest_store_name(*digest), "deleting a manifest")?;
                crash_point!("collect.manifest_deleted.after");
            }
            let noted = self.ledger.note_manifests_deleted(&gone);
            noted.map_err(ledger_failed("noting deleted manifests"))?;
            self.collected.manifest_count += gone.len() as u64;
        }
    }

    /// The manifests that the store holds, before the roots are read.
    pub(super) fn held_manifests(&self) -> Result<Vec<ManifestDigest>, CollectError> {
        let prefix = layout::manifests_prefix(self.core.id);
        let mut held = Vec::new();
        for digit in "0123456789abcdef".chars() {
            self.require_going()?;
            let names = self.core.store.list(&format!("{prefix}{digit}"));
            let names = names.map_err(|error| error.while_doing("listing manifests"))?;
            let digest = |name: &String| {
                name.strip_prefix(&prefix)?.strip_suffix(".manifest")?.parse::<ManifestDigest>().ok()
            };
            held.extend(names.iter().filter_map(digest));
        }
        Ok(held)
    }

    /// Manifests without an item: a backup that was killed behind its manifest and run again left one. They go
    /// before their packs do, so that no manifest ever dangles. One that the ledger cannot place stays, and is
    /// a root: it may be of a life that the catalog does not know.
    pub(super) fn settle_strays(
        &mut self,
        vault: &Vault,
        held: &[ManifestDigest],
        snapshot: &mut CollectSnapshot,
    ) -> Result<(), CollectError> {
        snapshot.roots.sort_unstable();
        let strays: Vec<ManifestDigest> =
            held.iter().filter(|digest| snapshot.roots.binary_search(digest).is_err()).copied().collect();
        for some in strays.chunks(DELETED_AT_ONCE as usize) {
            self.require_going()?;
            let mut readable = Vec::with_capacity(some.len());
            for digest in some {
                let body = vault
                    .read_manifest(*digest)
                    .and_then(|manifest| manifest.body(self.core.keys().as_ref(), &mut Opener::new()?));
                match body {
                    Ok(body) => readable.push((*digest, body.item)),
                    Err(error) if error.is_passing() => return Err(error.into()),
                    // Nobody restores from it either.
                    Err(error) => tracing::warn!(%digest, %error, "a manifest without an item is damaged"),
                }
            }
            let condemned = self.ledger.condemn_strays(&readable);
            let condemned = condemned.map_err(ledger_failed("condemning stray manifests"))?;
            crash_point!("collect.strays_condemned.after");
            let is_left = |digest: &ManifestDigest| !condemned.contains(digest);
            snapshot.roots.extend(readable.iter().map(|(digest, _)| *digest).filter(is_left));
        }
        if strays.is_empty() { Ok(()) } else { self.delete_manifests() }
    }

    /// Deletes every condemned pack. The index follows first, so that readers here look elsewhere.
    pub(super) fn delete_condemned(&mut self) -> Result<(), CollectError> {
        self.core.refresh_index()?;
        loop {
            self.require_going()?;
            let condemned = self.ledger.condemned(DELETED_AT_ONCE);
            let condemned = condemned.map_err(ledger_failed("listing condemned packs"))?;
            if condemned.is_empty() {
                return Ok(());
            }
            for pack in &condemned {
                delete(self.core, &self.core.pack_store_name(pack.name), "deleting a pack")?;
                crash_point!("collect.pack_deleted.after");
                self.collected.deleted_pack_count += u64::from(pack.bytes > 0);
                self.collected.deleted_bytes += pack.bytes;
            }
            let numbers: Vec<PackNumber> = condemned.iter().map(|pack| pack.name.number).collect();
            let noted = self.ledger.note_deleted(&numbers);
            noted.map_err(ledger_failed("noting deleted packs"))?;
            crash_point!("collect.packs_noted.after");
        }
    }

    /// Condemns and deletes packs in which nothing lives, and those that were never sealed.
    pub(super) fn sweep(
        &mut self,
        snapshot: &CollectSnapshot,
        weighed: &Weighed,
    ) -> Result<(), CollectError> {
        let limit = self.settings.batch_packs_max.max(1);
        while self.unsealed(snapshot, limit)? > 0 {
            self.delete_condemned()?;
        }
        let mut batch = Vec::new();
        let mut done_bytes = 0;
        for weight in weighed.iter()? {
            let weight = weight?;
            if weight.live_count > 0 || !weight.is_free {
                continue;
            }
            batch.push(weight.pack.number);
            done_bytes += weight.bytes;
            if batch.len() >= limit as usize {
                self.condemn(snapshot, &batch)?;
                self.delete_condemned()?;
                self.at(Phase::Sweeping, done_bytes, weighed.dead_bytes);
                batch.clear();
            }
        }
        self.condemn(snapshot, &batch)?;
        self.delete_condemned()
    }

    fn unsealed(&self, snapshot: &CollectSnapshot, limit: u32) -> Result<u64, VaultError> {
        self.require_going()?;
        let condemned = self.ledger.condemn_unsealed(snapshot.commit_seq, limit);
        let condemned = condemned.map_err(ledger_failed("condemning packs that were never sealed"))?;
        crash_point!("collect.unsealed_condemned.after");
        Ok(condemned)
    }

    /// Condemns a batch in one transaction; the ledger leaves out what somebody relies on by now.
    pub(super) fn condemn(
        &self,
        snapshot: &CollectSnapshot,
        batch: &[PackNumber],
    ) -> Result<Vec<PackNumber>, VaultError> {
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.require_going()?;
        let condemned = self.ledger.condemn(snapshot.commit_seq, batch);
        let condemned = condemned.map_err(ledger_failed("condemning packs"))?;
        crash_point!("collect.condemned.after");
        tracing::info!(pack_count = condemned.len(), "condemned packs");
        Ok(condemned)
    }

    /// Looks at what the store itself lists. A number above the allocator means that the catalog is older than
    /// the store. A pack without a row was deleted before and put there again by a writer that had slept: it
    /// goes again.
    pub(super) fn look_for_stray_packs(&mut self, snapshot: &CollectSnapshot) -> Result<(), CollectError> {
        let prefix = layout::packs_prefix(self.core.id);
        let mut window = 0u64;
        loop {
            self.require_going()?;
            // All numbers of one window share the first twelve of their sixteen digits.
            let shared = format!("{prefix}{window:012x}");
            let names = self.core.store.list(&shared);
            let names = names.map_err(|error| error.while_doing("listing packs"))?;
            let packs: Vec<PackName> = names
                .iter()
                .filter_map(|name| PackName::parse(name.rsplit('/').next().unwrap_or_default()).ok())
                .collect();
            let numbers: Vec<PackNumber> = packs.iter().map(|pack| pack.number).collect();
            let (known, last) = self.ledger.known(&numbers).map_err(ledger_failed("looking up packs"))?;
            if let Some(above) = numbers.iter().find(|number| **number > last) {
                return Err(CollectError::unsafe_because(format!(
                    "the store holds pack {above} of vault {}, and the catalog has given numbers up to {last} \
                     only: it is older than the store; rebuild it",
                    self.core.id
                )));
            }
            for (pack, is_known) in packs.iter().zip(known) {
                if !is_known && PackName::new(pack.number, self.core.incarnation) == *pack {
                    let name = self.core.pack_store_name(*pack);
                    tracing::warn!(pack = %name, commit_seq = snapshot.commit_seq, "deleting a stray pack");
                    delete(self.core, &name, "deleting a stray pack")?;
                    crash_point!("collect.stray_deleted.after");
                }
            }
            window += 1;
            if window > last.0 / WINDOW + 1 {
                return Ok(());
            }
        }
    }
}
