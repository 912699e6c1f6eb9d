//! Rewriting packs of which little lives: the living objects are copied as they are stored into new packs,
//! and the old ones condemned once the new one is live. The live set is conserved exactly: what is copied is
//! compared with what lives, and every object of the new pack is read back before anything goes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::collect::mark::Marks;
use crate::collect::weigh::{Listed, PACK_KEY_BYTES, PackKey, Weighed, key_of_pack, number_at, pack_of_key};
use crate::collect::{CollectError, CollectSnapshot, Phase, Run, ledger_failed};
use crate::crash_point;
use crate::error::VaultError;
use crate::ids::{Address, DedupId, Epoch, Kind, PackNumber};
use crate::index::{IndexedObject, IndexedPack};
use crate::layout::PackName;
use crate::ledger::SealedPack;
use crate::object::{Opener, address_of};
use crate::pack::{OBJECT_COUNT_MAX, PackEntry, PackFooter};
use crate::progress::NoProgress;
use crate::read::{GAP_BYTES_MAX, RUN_BYTES_MAX};
use crate::sort::Sorter;
use crate::store::{Put, StoreError, StoreWriter};
use crate::verify::{NoPace, VerifyMode};

/// What must not be mixed in one pack: nodes and chunks, and, because the index knows one epoch a pack, chunks
/// whose dedup ids belong to several epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Class {
    is_nodes: bool,
    /// The epoch of the dedup ids; none where there are none.
    epoch: Option<Epoch>,
}

/// A pack that is to be replaced.
struct OldPack {
    name: PackName,
    class: Class,
    /// What lives in it, with the dedup ids of chunks made here.
    living: Vec<(PackEntry, Option<DedupId>)>,
}

/// A pack being filled.
struct NewPack {
    class: Class,
    name: PackName,
    store_name: String,
    writer: Box<dyn StoreWriter>,
    footer: PackFooter,
    ids: Vec<Option<DedupId>>,
    replaces: Vec<PackNumber>,
}

/// Share, pack, live bytes, bytes.
const CANDIDATE_BYTES: usize = 4 + PACK_KEY_BYTES + 16;

/// A pack that this run rewrites.
struct Chosen {
    live_bytes: u64,
    bytes: u64,
}

/// Why one pack could not be copied, where the run goes on without it.
enum Trouble {
    /// The old pack is damaged.
    Damaged(VaultError),
    /// The store has no room.
    Full,
    Other(CollectError),
}

impl<E: Into<CollectError>> From<E> for Trouble {
    fn from(error: E) -> Trouble {
        match error.into() {
            CollectError::Vault(VaultError::Full { .. }) => Trouble::Full,
            other => Trouble::Other(other),
        }
    }
}

impl Run<'_> {
    /// Rewrites the packs of which the least lives, as far as the limits of one run go.
    pub(super) fn rewrite(
        &mut self,
        snapshot: &CollectSnapshot,
        listed: &Listed,
        marks: &Marks,
        weighed: &Weighed,
    ) -> Result<(), CollectError> {
        let chosen = self.choose(weighed)?;
        if chosen.is_empty() {
            return Ok(());
        }
        let total_bytes: u64 = chosen.values().map(|chosen| chosen.live_bytes).sum();
        let mut living = Sorter::<{ PACK_KEY_BYTES + 32 }>::new(&self.spill);
        self.each_living(listed, marks, &mut |pack, _, address| {
            if !chosen.contains_key(pack) {
                return Ok(());
            }
            let mut record = [0; PACK_KEY_BYTES + 32];
            record[..PACK_KEY_BYTES].copy_from_slice(pack);
            record[PACK_KEY_BYTES..].copy_from_slice(&address.0);
            living.push(record)
        })?;
        let living = living.finish()?;
        let mut living = living.iter()?.peekable();
        let mut filling: BTreeMap<Class, NewPack> = BTreeMap::new();
        while let Some(first) = living.peek() {
            let Ok(first) = first else { break };
            let mut key: PackKey = [0; PACK_KEY_BYTES];
            key.copy_from_slice(&first[..PACK_KEY_BYTES]);
            let is_here = |record: &Result<[u8; PACK_KEY_BYTES + 32], VaultError>| {
                record.as_ref().is_ok_and(|record| record[..PACK_KEY_BYTES] == key)
            };
            let mut addresses = BTreeSet::new();
            while let Some(record) = living.next_if(is_here) {
                let mut address = [0; 32];
                address.copy_from_slice(&record?[PACK_KEY_BYTES..]);
                addresses.insert(Address(address));
            }
            self.require_going()?;
            let bytes = chosen.get(&key).map_or(0, |chosen| chosen.bytes);
            match self.rewrite_one(snapshot, (pack_of_key(&key), bytes), &addresses, &mut filling) {
                Ok(()) => self.at(Phase::Rewriting, self.collected.rewritten_bytes, total_bytes),
                Err(Trouble::Other(error)) => return Err(error),
                Err(trouble) => match self.wait_or_go_on(&key, trouble, &mut filling) {
                    true => return Ok(()),
                    false => continue,
                },
            }
        }
        if let Some(failed) = living.next() {
            failed?;
        }
        for (_, pack) in std::mem::take(&mut filling) {
            match self.end_pack(snapshot, pack) {
                Ok(()) => {}
                Err(Trouble::Other(error)) => return Err(error),
                Err(_) => {
                    self.note_full();
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Answers whether rewriting has to wait for another run.
    fn wait_or_go_on(
        &mut self,
        key: &PackKey,
        trouble: Trouble,
        filling: &mut BTreeMap<Class, NewPack>,
    ) -> bool {
        match trouble {
            Trouble::Damaged(error) => {
                let pack = self.core.pack_store_name(pack_of_key(key));
                tracing::error!(%pack, %error, "a live pack is damaged; collection leaves it alone");
                self.collected.unreadable_pack_count += 1;
                // What was copied of it must not become live: the new packs are forgotten, the old ones stay.
                filling.clear();
                false
            }
            Trouble::Full | Trouble::Other(_) => {
                self.note_full();
                true
            }
        }
    }

    fn note_full(&mut self) {
        let reason = "the store has no room for a new pack; rewriting goes on when there is some";
        tracing::warn!(reason, "rewriting waits");
        self.collected.rewriting_waits = Some(reason.to_owned());
    }

    /// The packs to rewrite with the bytes that live in them: those with the smallest share first.
    fn choose(&mut self, weighed: &Weighed) -> Result<HashMap<PackKey, Chosen>, CollectError> {
        let below_percent = u64::from(self.settings.rewrite_below_percent);
        let mut candidates = Sorter::<CANDIDATE_BYTES>::new(&self.spill);
        for weight in weighed.iter()? {
            let weight = weight?;
            let is_torn =
                weight.live_bytes.saturating_mul(100) < weight.object_bytes.saturating_mul(below_percent);
            if weight.live_count == 0 || !weight.is_free || !is_torn {
                continue;
            }
            // In millionths, so that the order is by share.
            let share = u128::from(weight.live_bytes) * 1_000_000 / u128::from(weight.object_bytes.max(1));
            let share = u32::try_from(share).unwrap_or(u32::MAX);
            let mut record = [0; CANDIDATE_BYTES];
            record[..4].copy_from_slice(&share.to_be_bytes());
            record[4..4 + PACK_KEY_BYTES].copy_from_slice(&key_of_pack(weight.pack));
            record[4 + PACK_KEY_BYTES..12 + PACK_KEY_BYTES].copy_from_slice(&weight.live_bytes.to_be_bytes());
            record[12 + PACK_KEY_BYTES..].copy_from_slice(&weight.bytes.to_be_bytes());
            candidates.push(record)?;
        }
        let candidates = candidates.finish()?;
        let (mut chosen, mut bytes) = (HashMap::new(), 0u64);
        for record in candidates.iter()? {
            let record = record?;
            let mut key = [0; PACK_KEY_BYTES];
            key.copy_from_slice(&record[4..4 + PACK_KEY_BYTES]);
            let live_bytes = number_at(&record, 4 + PACK_KEY_BYTES);
            let whole_bytes = number_at(&record, 12 + PACK_KEY_BYTES);
            bytes = bytes.saturating_add(live_bytes);
            let is_too_much = bytes > self.settings.rewrite_bytes_max && !chosen.is_empty();
            if is_too_much || chosen.len() >= self.settings.rewrite_packs_max as usize {
                let reason = "this run has copied as much as it may; the next one goes on";
                self.collected.rewriting_waits = Some(reason.to_owned());
                break;
            }
            chosen.insert(key, Chosen { live_bytes, bytes: whole_bytes });
        }
        Ok(chosen)
    }

    fn rewrite_one(
        &mut self,
        snapshot: &CollectSnapshot,
        (name, bytes): (PackName, u64),
        living: &BTreeSet<Address>,
        filling: &mut BTreeMap<Class, NewPack>,
    ) -> Result<(), Trouble> {
        let old = self.old_pack(name, bytes, living)?;
        let has_no_room =
            |pack: &NewPack| pack.footer.entries().len() + old.living.len() > OBJECT_COUNT_MAX as usize;
        if let Some(full) = filling.get(&old.class).filter(|pack| has_no_room(pack)).map(|pack| pack.class)
            && let Some(pack) = filling.remove(&full)
        {
            self.end_pack(snapshot, pack)?;
        }
        let pack = match filling.entry(old.class) {
            Entry::Occupied(filling) => filling.into_mut(),
            Entry::Vacant(place) => place.insert(self.begin_pack(old.class)?),
        };
        self.copy(&old, pack)?;
        let settings = &self.core.settings;
        let count_max = settings.pack_object_count_max.min(OBJECT_COUNT_MAX) as usize;
        let is_full = pack.footer.object_bytes() >= settings.pack_bytes_target
            || pack.footer.entries().len() >= count_max;
        match if is_full { filling.remove(&old.class) } else { None } {
            Some(pack) => self.end_pack(snapshot, pack),
            None => Ok(()),
        }
    }

    /// Reads what lives in a pack, with the dedup ids that go with it.
    fn old_pack(&self, name: PackName, bytes: u64, living: &BTreeSet<Address>) -> Result<OldPack, Trouble> {
        let store_name = self.core.pack_store_name(name);
        let footer = self.core.read_footer(&store_name, bytes).map_err(damaged)?;
        let keys = self.core.keys();
        let ids = match footer.dedup_ids(keys.as_ref(), &mut Opener::new()?, name) {
            Ok(ids) => ids,
            Err(VaultError::KeyMissing { .. }) => None,
            Err(error) => return Err(damaged(error)),
        };
        let epoch = match &ids {
            Some(_) => Some(self.core.epoch_of(&store_name, &footer).map_err(damaged)?),
            None => None,
        };
        let mut ids = ids.map(Vec::into_iter);
        let mut found = BTreeSet::new();
        let mut chosen = Vec::new();
        for entry in &footer.entries {
            let id = match (&mut ids, entry.kind) {
                (Some(ids), Kind::Chunk) => ids.next(),
                _ => None,
            };
            if living.contains(&entry.address) && found.insert(entry.address) {
                chosen.push((*entry, id));
            }
        }
        if found != *living {
            let error = VaultError::bad_format("pack", "it holds other objects than when it was weighed");
            return Err(Trouble::Damaged(error));
        }
        let is_nodes = chosen.iter().all(|(entry, _)| entry.kind == Kind::Node);
        Ok(OldPack { name, class: Class { is_nodes, epoch }, living: chosen })
    }

    fn begin_pack(&self, class: Class) -> Result<NewPack, Trouble> {
        let number = self.ledger.reserve().map_err(ledger_failed("reserving a pack"))?;
        crash_point!("collect.rewrite_reserved.after");
        let name = PackName::new(number, self.core.incarnation);
        let store_name = self.core.pack_store_name(name);
        let writer = self.core.store.begin(&store_name);
        let writer = writer.map_err(|error| error.while_doing("beginning a pack"))?;
        let (footer, ids, replaces) = (PackFooter::new(), Vec::new(), Vec::new());
        Ok(NewPack { class, name, store_name, writer, footer, ids, replaces })
    }

    /// Copies what lives in an old pack, byte for byte, after a look at every address.
    fn copy(&mut self, old: &OldPack, pack: &mut NewPack) -> Result<(), Trouble> {
        let store_name = self.core.pack_store_name(old.name);
        let mut rest = &old.living[..];
        while let Some((first, _)) = rest.first() {
            self.require_going()?;
            let mut end = first.end();
            let is_near = |(entry, _): &&(PackEntry, Option<DedupId>)| {
                let is_near =
                    entry.offset <= end + GAP_BYTES_MAX && entry.end() - first.offset <= RUN_BYTES_MAX;
                end = end.max(entry.end());
                is_near
            };
            let count = rest.iter().take_while(is_near).count().max(1);
            let (group, behind) = rest.split_at(count);
            rest = behind;
            let length = group[count - 1].0.end() - first.offset;
            let bytes = self.core.store.get_range(&store_name, first.offset, length);
            let bytes = bytes.map_err(|error| damaged_or(error, "reading a pack"))?;
            for (entry, id) in group {
                let from = (entry.offset - first.offset) as usize;
                let stored = &bytes[from..from + entry.stored_len as usize];
                if address_of(stored) != entry.address {
                    let why = "the bytes have another address";
                    return Err(Trouble::Damaged(VaultError::Corrupt { address: entry.address, why }));
                }
                let appended = pack.writer.append(stored);
                appended.map_err(|error| error.while_doing("writing a pack"))?;
                pack.footer.push(entry.kind, entry.stored_len, entry.address, *id);
                pack.ids.push(*id);
            }
        }
        pack.replaces.push(old.name.number);
        Ok(())
    }

    /// Footer, sync, every object read back, ledger, index; then the old packs go.
    fn end_pack(&mut self, snapshot: &CollectSnapshot, pack: NewPack) -> Result<(), Trouble> {
        let core = self.core;
        let NewPack { class, name, store_name, mut writer, footer, ids, replaces } = pack;
        let keys = core.keys();
        let local = keys.sealing_keys(Kind::DedupMap).ok().filter(|_| class.epoch.is_some());
        let end = footer.finish(local.map(|keys| (keys, name)))?;
        writer.append(&end.bytes).map_err(|error| error.while_doing("writing a footer"))?;
        match writer.finish().map_err(|error| error.while_doing("syncing a pack"))? {
            Put::Created => {}
            Put::Exists => {
                let what = format!("pack {store_name} exists before it was written");
                return Err(Trouble::Other(VaultError::Forked { what }.into()));
            }
        }
        crash_point!("collect.rewrite_synced.after");
        let bytes = footer.object_bytes() + end.bytes.len() as u64;
        let sealed = SealedPack {
            number: name.number,
            incarnation: core.incarnation,
            bytes,
            object_count: footer.entries().len() as u32,
            footer_digest: end.footer_digest,
        };
        let read_back = core.verify_pack(&sealed, VerifyMode::Deep, &NoPace, &NoProgress)?;
        if !read_back.is_sound() {
            let why = format!("rewritten pack {store_name} does not hold what was copied: {read_back:?}");
            return Err(Trouble::Other(VaultError::bad_format("pack", why).into()));
        }
        self.ledger.seal(&sealed).map_err(ledger_failed("sealing a pack"))?;
        crash_point!("collect.rewrite_sealed.after");
        let objects = footer.entries().iter().zip(&ids).map(|(entry, id)| IndexedObject {
            address: entry.address,
            kind: entry.kind,
            offset: entry.offset,
            stored_len: entry.stored_len,
            id: *id,
        });
        let epoch = class.epoch.unwrap_or(Epoch::NONE);
        core.index.add(&IndexedPack {
            number: name.number,
            name: store_name,
            epoch,
            objects: objects.collect(),
        })?;
        self.collected.rewritten_pack_count += replaces.len() as u64;
        self.collected.rewritten_bytes += footer.object_bytes();
        self.condemn(snapshot, &replaces)?;
        self.delete_condemned()?;
        Ok(())
    }
}

/// Trouble with the bytes of one pack; anything else is passed on.
fn damaged(error: VaultError) -> Trouble {
    match error {
        VaultError::BadFormat { .. } | VaultError::Corrupt { .. } => Trouble::Damaged(error),
        error => error.into(),
    }
}

fn damaged_or(error: StoreError, doing: &'static str) -> Trouble {
    match error {
        StoreError::NotFound { .. } | StoreError::TooShort { .. } => {
            Trouble::Damaged(VaultError::bad_format("pack", "the store does not hold all of it"))
        }
        error => error.while_doing(doing).into(),
    }
}
