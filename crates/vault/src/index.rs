//! The index: where each object lies, and which address a known plaintext has.
//!
//! It is a cache on local disk, derived from the footers of the packs that the ledger lists, and it
//! follows the ledger by `commit_seq`. Losing it costs a rebuild and nothing else; so does finding
//! the index of another vault, incarnation or version in its place. Nobody deletes because of what
//! it says, and a hit counts only once the ledger has pinned the pack. Which packs are live is kept
//! beside the entries: an entry that points into a condemned pack is as good as absent.
//!
//! Memory is bounded by [`IndexSettings`] plus one bit for each pack; disk by about 130 bytes for
//! each chunk that this vault made and 60 for each other object.

mod live;
mod rows;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use crate::error::VaultError;
use crate::ids::{Address, DedupId, DomainId, Epoch, Incarnation, Kind, PackNumber, VaultId};
use live::LiveSet;
use rows::{PackRow, decode_known, decode_place, encode_known, encode_place};

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
    /// Rows gathered in memory before they are written out; up to eight times this is in use.
    pub gather_bytes: u64,
}

impl Default for IndexSettings {
    fn default() -> IndexSettings {
        IndexSettings { cache_bytes: 16 << 20, gather_bytes: 4 << 20 }
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
    folder: PathBuf,
    database: Database,
    meta: Keyspace,
    packs: Keyspace,
    objects: Keyspace,
    /// Further copies of objects that lie in more than one pack: address ‖ pack → place.
    copies: Keyspace,
    known: Keyspace,
    live: RwLock<LiveSet>,
    /// Held while rows are read in order to be changed.
    writing: Mutex<()>,
}

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
    /// empty one, whose watermark is 0.
    ///
    /// # Errors
    /// [`VaultError::Index`] when another process has it open, or the disk fails.
    pub fn open(
        folder: &Path,
        identity: &IndexIdentity,
        settings: &IndexSettings,
    ) -> Result<Index, VaultError> {
        match Index::open_found(folder, settings) {
            Ok(index) if index.is_of(identity)? => return Ok(index),
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
        let index = Index::open_found(folder, settings).map_err(failed("creating it"))?;
        index.meta.insert(IDENTITY, encode_identity(identity)).map_err(failed("creating it"))?;
        Ok(index)
    }

    fn open_found(folder: &Path, settings: &IndexSettings) -> fjall::Result<Index> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let builder = Database::builder(folder).cache_size(settings.cache_bytes).worker_threads(1);
        let database: Database = builder.max_journaling_size(64 << 20).max_cached_files(Some(128)).open()?;
        let keyspace = |name: &str| {
            let options = || KeyspaceCreateOptions::default().max_memtable_size(settings.gather_bytes);
            database.keyspace(name, options)
        };
        let packs = keyspace("packs")?;
        let mut live = LiveSet::default();
        for row in packs.iter() {
            let (number, row) = row.into_inner()?;
            let Some(number) = rows::decode_number(&number) else { continue };
            live.set(number, PackRow::decode(&row).is_some_and(|row| row.is_live));
        }
        Ok(Index {
            folder: folder.to_path_buf(),
            meta: keyspace("meta")?,
            packs,
            objects: keyspace("objects")?,
            copies: keyspace("copies")?,
            known: keyspace("known")?,
            live: RwLock::new(live),
            writing: Mutex::new(()),
            database,
        })
    }

    fn is_of(&self, identity: &IndexIdentity) -> Result<bool, VaultError> {
        let found = self.meta.get(IDENTITY).map_err(failed("reading its identity"))?;
        Ok(found.is_some_and(|found| *found == *encode_identity(identity)))
    }

    /// The folder it lies in.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The position in the ledger's history up to which this index has followed.
    pub fn watermark(&self) -> Result<u64, VaultError> {
        let found = self.meta.get(WATERMARK).map_err(failed("reading its watermark"))?;
        Ok(found.and_then(|bytes| Some(u64::from_be_bytes(bytes.as_ref().try_into().ok()?))).unwrap_or(0))
    }

    /// Notes that everything up to `commit_seq` was applied.
    pub fn set_watermark(&self, commit_seq: u64) -> Result<(), VaultError> {
        self.meta.insert(WATERMARK, commit_seq.to_be_bytes()).map_err(failed("writing its watermark"))
    }

    /// True when this pack was added or condemned before.
    pub fn has_pack(&self, number: PackNumber) -> Result<bool, VaultError> {
        self.packs.contains_key(number.0.to_be_bytes()).map_err(failed("looking up a pack"))
    }

    /// The name of a live pack in the object store.
    pub fn pack_name(&self, number: PackNumber) -> Result<Option<String>, VaultError> {
        let row = self.packs.get(number.0.to_be_bytes()).map_err(failed("looking up a pack"))?;
        Ok(row.and_then(|row| PackRow::decode(&row)).filter(|row| row.is_live).map(|row| row.name))
    }

    /// True while the ledger was last seen to list the pack as live.
    pub fn is_live(&self, number: PackNumber) -> bool {
        self.live.read().unwrap_or_else(PoisonError::into_inner).contains(number)
    }

    /// Adds a live pack with all its objects, in one step. Adding it twice changes nothing.
    pub fn add(&self, pack: &IndexedPack) -> Result<(), VaultError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let doing = "adding a pack";
        let mut batch = self.database.batch();
        for object in &pack.objects {
            let place = Place {
                pack: pack.number,
                offset: object.offset,
                stored_len: object.stored_len,
                kind: object.kind,
            };
            let before = self.objects.get(object.address.0).map_err(failed(doing))?;
            match before.and_then(|row| decode_place(&row)) {
                Some(before) if before.pack != pack.number && self.is_live(before.pack) => {
                    let key = rows::copy_key(object.address, pack.number);
                    batch.insert(&self.copies, key, encode_place(&place));
                }
                _ => batch.insert(&self.objects, object.address.0, encode_place(&place)),
            }
            let Some(id) = object.id else { continue };
            let before = self.known.get(id.0).map_err(failed(doing))?;
            if before.and_then(|row| decode_known(&row)).is_some_and(|before| self.is_live(before.pack)) {
                continue;
            }
            let known = Known {
                address: object.address,
                pack: pack.number,
                stored_len: object.stored_len,
                epoch: pack.epoch,
            };
            batch.insert(&self.known, id.0, encode_known(&known));
        }
        let row = PackRow { name: pack.name.clone(), is_live: true };
        batch.insert(&self.packs, pack.number.0.to_be_bytes(), row.encode());
        batch.commit().map_err(failed(doing))?;
        self.live.write().unwrap_or_else(PoisonError::into_inner).set(pack.number, true);
        Ok(())
    }

    /// Notes that a pack is condemned: nothing in it is found any more.
    pub fn condemn(&self, number: PackNumber) -> Result<(), VaultError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let row = PackRow { name: String::new(), is_live: false };
        self.packs.insert(number.0.to_be_bytes(), row.encode()).map_err(failed("condemning a pack"))?;
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
        let row = self.objects.get(address.0).map_err(failed(doing))?;
        let Some(first) = row.and_then(|row| decode_place(&row)) else { return Ok(None) };
        if self.is_live(first.pack) {
            return Ok(Some(first));
        }
        for row in self.copies.prefix(address.0) {
            let row = row.value().map_err(failed(doing))?;
            if let Some(place) = decode_place(&row).filter(|place| self.is_live(place.pack)) {
                return Ok(Some(place));
            }
        }
        Ok(None)
    }

    /// What is known of these plaintexts, in the order asked.
    pub fn known(&self, ids: &[DedupId]) -> Result<Vec<Option<Known>>, VaultError> {
        ids.iter().map(|&id| self.known_one(id)).collect()
    }

    fn known_one(&self, id: DedupId) -> Result<Option<Known>, VaultError> {
        let row = self.known.get(id.0).map_err(failed("looking up a plaintext"))?;
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
