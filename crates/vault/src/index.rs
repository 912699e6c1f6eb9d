//! The index: where each object lies, and which address a known plaintext has.
//!
//! It is a cache on local disk, derived from the footers of the packs that the ledger lists, and it
//! follows the ledger by `commit_seq`. Losing it costs a rebuild and nothing else; so does finding
//! the index of another vault, incarnation or version in its place. Nobody deletes because of what
//! it says, and a hit counts only once the ledger has pinned the pack. Which packs are live is kept
//! beside the entries: an entry that points into a condemned pack is as good as absent.
//!
//! Memory is bounded by [`IndexSettings`] plus one bit for each pack; disk by about 160 bytes for
//! each chunk that this vault made and 60 for each other object.

mod build;
mod live;
mod rows;
mod tables;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::error::VaultError;
use crate::ids::{Address, DedupId, DomainId, Epoch, Incarnation, Kind, PackNumber, VaultId};
use live::LiveSet;
use rows::{PackRow, decode_known, decode_place, encode_known, encode_place};
use tables::{Rows, Table, Tables};

pub use build::IndexBuild;

/// Whose index this is. Anything else found in its folder is thrown away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexIdentity {
    /// The vault.
    pub vault: VaultId,
    /// Its key domain.
    pub domain: DomainId,
    /// The life of the region's catalog: after a rebuild positions in the history start anew.
    pub incarnation: Incarnation,
}

/// Limits of one index.
#[derive(Clone, Copy, Debug)]
pub struct IndexSettings {
    /// Blocks kept in memory.
    pub cache_bytes: u64,
    /// Rows gathered in memory before they are written out; up to ten times this is in use.
    pub gather_bytes: u64,
    /// Keeps the index in memory only, without bound: for simulations.
    pub is_in_memory: bool,
}

impl Default for IndexSettings {
    fn default() -> IndexSettings {
        IndexSettings { cache_bytes: 16 << 20, gather_bytes: 8 << 20, is_in_memory: false }
    }
}

/// Where an object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The pack.
    pub pack: PackNumber,
    /// Its first byte in the pack.
    pub offset: u64,
    /// Its length as stored.
    pub stored_len: u32,
    /// What it holds.
    pub kind: Kind,
}

/// A plaintext that this vault has sealed before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The object that holds it.
    pub address: Address,
    /// The pack to pin before relying on it.
    pub pack: PackNumber,
    /// Its length as stored.
    pub stored_len: u32,
    /// The epoch it is sealed under.
    pub epoch: Epoch,
}

/// One object of a pack, to be indexed.
#[derive(Clone, Copy, Debug)]
pub struct IndexedObject {
    /// Its address.
    pub address: Address,
    /// Its kind.
    pub kind: Kind,
    /// Its first byte in the pack.
    pub offset: u64,
    /// Its length as stored.
    pub stored_len: u32,
    /// The id of its plaintext, where this vault made the chunk.
    pub id: Option<DedupId>,
}

/// A pack, to be indexed.
#[derive(Clone, Debug)]
pub struct IndexedPack {
    /// Its number.
    pub number: PackNumber,
    /// Its name in the object store.
    pub name: String,
    /// The epoch of its chunks.
    pub epoch: Epoch,
    /// Its objects.
    pub objects: Vec<IndexedObject>,
}

/// The index of one vault. Calls may come from many threads.
pub struct Index {
    tables: Tables,
    folder: PathBuf,
    gather_bytes: u64,
    live: RwLock<LiveSet>,
    /// Names looked up before: a disk that aged is spread over many packs. At most [`NAMES_MAX`].
    names: RwLock<HashMap<PackNumber, Arc<str>>>,
    /// Held while rows are read in order to be changed.
    writing: Mutex<()>,
}

/// Names of packs kept in memory; about 150 bytes each.
const NAMES_MAX: usize = 4096;
const WATERMARK: &[u8] = b"watermark";
const IDENTITY: &[u8] = b"identity";
/// Part of the identity: raise it and every index is rebuilt.
const VERSION: u8 = 1;

fn failed<E>(doing: &'static str) -> impl FnOnce(E) -> VaultError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |cause| VaultError::Index { doing, cause: Box::new(cause) }
}

impl Index {
    /// Opens the index in `folder`. One that is absent, damaged or of another identity becomes an
    /// empty one, whose watermark is 0; so does one in memory, which leaves the folder alone.
    ///
    /// # Errors
    /// [`VaultError::Index`] when another process has it open, or the disk fails.
    pub fn open(
        folder: &Path,
        identity: &IndexIdentity,
        settings: &IndexSettings,
    ) -> Result<Index, VaultError> {
        if settings.is_in_memory {
            return Index::over(Tables::in_memory(), folder, settings).map_err(failed("creating it"));
        }
        let over = |tables| Index::over(tables, folder, settings);
        match Tables::open(folder, settings).and_then(over) {
            Ok(index) if index.is_of(identity)? && !index.is_unfinished()? => return Ok(index),
            Ok(index) => drop(index),
            Err(fjall::Error::Locked) => return Err(failed("opening it")(fjall::Error::Locked)),
            Err(cause) => {
                tracing::warn!(folder = %folder.display(), %cause, "the index is damaged and will be rebuilt")
            }
        }
        match fs::remove_dir_all(folder) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed("removing it")(cause));
            }
            _ => {}
        }
        let index = Tables::open(folder, settings).and_then(over).map_err(failed("creating it"))?;
        index.put(Table::Meta, IDENTITY, encode_identity(identity), "creating it")?;
        Ok(index)
    }

    fn over(tables: Tables, folder: &Path, settings: &IndexSettings) -> fjall::Result<Index> {
        let mut live = LiveSet::default();
        tables.scan(Table::Packs, &[], &mut |number, row| {
            if let Some(number) = rows::decode_number(number) {
                live.set(number, PackRow::decode(row).is_some_and(|row| row.is_live));
            }
            false
        })?;
        Ok(Index {
            tables,
            folder: folder.to_path_buf(),
            gather_bytes: settings.gather_bytes,
            live: RwLock::new(live),
            names: RwLock::default(),
            writing: Mutex::new(()),
        })
    }

    fn get(&self, table: Table, key: &[u8], doing: &'static str) -> Result<Option<Vec<u8>>, VaultError> {
        self.tables.get(table, key).map_err(failed(doing))
    }

    fn put(&self, table: Table, key: &[u8], value: Vec<u8>, doing: &'static str) -> Result<(), VaultError> {
        let mut rows = Rows::default();
        rows.put(table, key, value);
        self.tables.write(rows).map_err(failed(doing))
    }

    fn is_of(&self, identity: &IndexIdentity) -> Result<bool, VaultError> {
        let found = self.get(Table::Meta, IDENTITY, "reading its identity")?;
        Ok(found.is_some_and(|found| found == encode_identity(identity)))
    }

    /// True when a build died in the middle: it left rows and no pack that they lie in.
    fn is_unfinished(&self) -> Result<bool, VaultError> {
        Ok(self.watermark()? == 0 && self.live_packs().is_empty() && !self.holds_nothing()?)
    }

    /// The position in the ledger's history up to which this index has followed.
    pub fn watermark(&self) -> Result<u64, VaultError> {
        let found = self.get(Table::Meta, WATERMARK, "reading its watermark")?;
        Ok(found.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?))).unwrap_or(0))
    }

    /// Notes that everything up to `commit_seq` was applied.
    pub fn set_watermark(&self, commit_seq: u64) -> Result<(), VaultError> {
        self.put(Table::Meta, WATERMARK, commit_seq.to_be_bytes().to_vec(), "writing its watermark")
    }

    /// True when this pack was added or condemned before.
    pub fn has_pack(&self, number: PackNumber) -> Result<bool, VaultError> {
        Ok(self.get(Table::Packs, &number.0.to_be_bytes(), "looking up a pack")?.is_some())
    }

    /// The name of a live pack in the object store.
    pub fn pack_name(&self, number: PackNumber) -> Result<Option<Arc<str>>, VaultError> {
        // A name is given once and for ever; whether its pack is live is asked each time.
        if self.is_live(number)
            && let Some(name) = self.names.read().unwrap_or_else(PoisonError::into_inner).get(&number)
        {
            return Ok(Some(name.clone()));
        }
        let row = self.get(Table::Packs, &number.0.to_be_bytes(), "looking up a pack")?;
        let row = row.and_then(|row| PackRow::decode(&row)).filter(|row| row.is_live);
        let Some(name) = row.map(|row| Arc::from(row.name)) else { return Ok(None) };
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= NAMES_MAX {
            names.clear();
        }
        names.insert(number, Arc::clone(&name));
        Ok(Some(name))
    }

    /// True while the ledger was last seen to list the pack as live.
    pub fn is_live(&self, number: PackNumber) -> bool {
        self.live.read().unwrap_or_else(PoisonError::into_inner).contains(number)
    }

    /// The packs that count as live here.
    pub(crate) fn live_packs(&self) -> Vec<PackNumber> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).numbers()
    }

    /// Adds a live pack with all its objects, in one step. Adding it twice changes nothing.
    pub fn add(&self, pack: &IndexedPack) -> Result<(), VaultError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let doing = "adding a pack";
        let mut added = Rows::default();
        for object in &pack.objects {
            let place = Place {
                pack: pack.number,
                offset: object.offset,
                stored_len: object.stored_len,
                kind: object.kind,
            };
            let before = self.get(Table::Objects, &object.address.0, doing)?;
            let mut newest = place;
            match before.and_then(|row| decode_place(&row)) {
                Some(before) if before.pack != pack.number && self.is_live(before.pack) => {
                    // The newest copy is read: an older one may be why there is another.
                    newest = before.max(place);
                    let older = before.min(place);
                    let key = rows::copy_key(object.address, older.pack);
                    added.put(Table::Copies, key, encode_place(&older));
                }
                _ => {}
            }
            added.put(Table::Objects, object.address.0, encode_place(&newest));
            let Some(id) = object.id else { continue };
            let before = self.get(Table::Known, &id.0, doing)?;
            if before.and_then(|row| decode_known(&row)).is_some_and(|before| self.is_live(before.pack)) {
                continue;
            }
            let known = Known {
                address: object.address,
                pack: pack.number,
                stored_len: object.stored_len,
                epoch: pack.epoch,
            };
            added.put(Table::Known, id.0, encode_known(&known));
        }
        let row = PackRow { name: pack.name.clone(), is_live: true };
        added.put(Table::Packs, pack.number.0.to_be_bytes(), row.encode());
        self.tables.write(added).map_err(failed(doing))?;
        self.live.write().unwrap_or_else(PoisonError::into_inner).set(pack.number, true);
        Ok(())
    }

    /// Notes that a pack is condemned: nothing in it is found any more.
    pub fn condemn(&self, number: PackNumber) -> Result<(), VaultError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let row = PackRow { name: String::new(), is_live: false };
        self.put(Table::Packs, &number.0.to_be_bytes(), row.encode(), "condemning a pack")?;
        self.live.write().unwrap_or_else(PoisonError::into_inner).set(number, false);
        Ok(())
    }

    /// Where these objects lie, in the order asked.
    pub fn places(&self, addresses: &[Address]) -> Result<Vec<Option<Place>>, VaultError> {
        addresses.iter().map(|&address| self.place(address)).collect()
    }

    /// Where an object lies, in a live pack.
    pub fn place(&self, address: Address) -> Result<Option<Place>, VaultError> {
        let doing = "looking up an object";
        let row = self.get(Table::Objects, &address.0, doing)?;
        let Some(first) = row.and_then(|row| decode_place(&row)) else { return Ok(None) };
        if self.is_live(first.pack) {
            return Ok(Some(first));
        }
        let mut found = None;
        let mut take = |_: &[u8], row: &[u8]| {
            found = decode_place(row).filter(|place| self.is_live(place.pack));
            found.is_some()
        };
        self.tables.scan(Table::Copies, &address.0, &mut take).map_err(failed(doing))?;
        Ok(found)
    }

    /// What is known of these plaintexts, in the order asked.
    pub fn known(&self, ids: &[DedupId]) -> Result<Vec<Option<Known>>, VaultError> {
        ids.iter().map(|&id| self.known_one(id)).collect()
    }

    fn known_one(&self, id: DedupId) -> Result<Option<Known>, VaultError> {
        let row = self.get(Table::Known, &id.0, "looking up a plaintext")?;
        let Some(known) = row.and_then(|row| decode_known(&row)) else { return Ok(None) };
        if self.is_live(known.pack) {
            return Ok(Some(known));
        }
        Ok(self.place(known.address)?.map(|place| Known { pack: place.pack, ..known }))
    }
}

fn encode_identity(identity: &IndexIdentity) -> Vec<u8> {
    [&[VERSION][..], &identity.vault.0, &identity.domain.0, &identity.incarnation.0].concat()
}

#[cfg(test)]
mod tests;
