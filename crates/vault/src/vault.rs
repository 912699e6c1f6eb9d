//! A vault: one key domain's objects in one region, with what is needed to read and write them.
//!
//! [`Vault`] is a handle over a shared core; cloning it is cheap. What it does is told elsewhere:
//! [`crate::backup`] fills it, [`crate::restore`] reads it back, [`crate::transfer`] moves items
//! between two of them. Here it is opened, and its index follows the ledger.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::card::RegionIdentity;
use crate::cut::CutParameters;
use crate::error::VaultError;
use crate::ids::{Epoch, Incarnation, Kind, ManifestDigest, PackNumber, VaultId};
use crate::index::{Index, IndexIdentity, IndexSettings, IndexedObject, IndexedPack};
use crate::keys::DomainKeys;
use crate::layout::{self, PackName};
use crate::ledger::{LedgerPack, PackLedger};
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestVolume};
use crate::object::{HEADER_BYTES, Header, Opener};
use crate::pack::{ReadFooter, read_footer_of};
use crate::seams::Clock;
use crate::signed::Signers;
use crate::store::{ObjectStore, StoreError};
use crate::walk::Tree;

/// Packs that one question to the ledger returns.
const FOLLOW_LIMIT: u32 = 256;

/// Limits of a vault. Peak memory of one backup, restore or arrival is at most `memory_bytes_max`
/// plus `index.cache_bytes` plus eight times `index.gather_bytes`, plus 100 bytes for each object
/// in packs being filled and ended; but never less than 4 MiB of buffers for each thread.
#[derive(Clone, Copy, Debug)]
pub struct VaultSettings {
    /// Threads that cut, compress, seal and open. With 1 everything happens on the caller's thread
    /// in a fixed order.
    pub threads: u32,
    /// Bytes of volumes and of sealed objects in flight in one operation.
    pub memory_bytes_max: u64,
    /// A pack is ended once it holds so many bytes.
    pub pack_bytes_target: u64,
    /// A pack is ended once it holds so many objects.
    pub pack_object_count_max: u32,
    /// Every chunk that was sealed is opened again, and its id computed anew, before it leaves memory. Without
    /// it a fault of memory or processor while sealing is found by verification at the earliest.
    pub opens_before_storing: bool,
    /// Limits of the index.
    pub index: IndexSettings,
}

impl Default for VaultSettings {
    fn default() -> VaultSettings {
        VaultSettings {
            threads: std::thread::available_parallelism().map_or(2, |count| count.get() as u32).max(2),
            memory_bytes_max: 96 << 20,
            pack_bytes_target: 32 << 20,
            pack_object_count_max: 65_536,
            opens_before_storing: true,
            index: IndexSettings::default(),
        }
    }
}

/// What a vault is made of.
pub struct VaultParts {
    /// Its name in the object store.
    pub id: VaultId,
    /// Where its bytes lie.
    pub store: Arc<dyn ObjectStore>,
    /// The catalog's view of its packs.
    pub ledger: Arc<dyn PackLedger>,
    /// A folder of its own on local disk for the index; created when absent, and its contents may
    /// be deleted at any time while the vault is closed.
    pub index_folder: PathBuf,
    /// The keys of its domain.
    pub keys: DomainKeys,
    /// How it cuts disks. Fixed for the life of a primary vault; replicas do not cut.
    pub cut: CutParameters,
    /// Who signs manifests made here; none in vaults that only receive.
    pub identity: Option<Arc<RegionIdentity>>,
    /// Whose manifests are believed.
    pub signers: Signers,
    /// The present life of the region's catalog.
    pub incarnation: Incarnation,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Limits.
    pub settings: VaultSettings,
}

/// One key domain's vault in one region. Clones share everything.
#[derive(Clone)]
pub struct Vault {
    pub(crate) core: Arc<Core>,
}

pub(crate) struct Core {
    pub(crate) id: VaultId,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) ledger: Arc<dyn PackLedger>,
    pub(crate) index: Index,
    keys: RwLock<Arc<DomainKeys>>,
    pub(crate) cut: CutParameters,
    pub(crate) identity: Option<Arc<RegionIdentity>>,
    signers: RwLock<Arc<Signers>>,
    pub(crate) incarnation: Incarnation,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: VaultSettings,
    /// Held while the index follows the ledger.
    following: Mutex<()>,
}

impl Vault {
    /// Opens a vault. Its index is opened with it but does not follow the ledger yet: operations do
    /// that when they begin, or [`Vault::refresh_index`] does.
    ///
    /// # Errors
    /// `Refused` for cut parameters that are not lawful, `Index` when the folder is in use.
    pub fn open(parts: VaultParts) -> Result<Vault, VaultError> {
        parts.cut.check()?;
        let domain = parts.keys.domain();
        let identity = IndexIdentity { vault: parts.id, domain, incarnation: parts.incarnation };
        let index = Index::open(&parts.index_folder, &identity, &parts.settings.index)?;
        let core = Core {
            id: parts.id,
            store: parts.store,
            ledger: parts.ledger,
            index,
            keys: RwLock::new(Arc::new(parts.keys)),
            cut: parts.cut,
            identity: parts.identity,
            signers: RwLock::new(Arc::new(parts.signers)),
            incarnation: parts.incarnation,
            clock: parts.clock,
            settings: parts.settings,
            following: Mutex::new(()),
        };
        Ok(Vault { core: Arc::new(core) })
    }

    /// Its name in the object store.
    pub fn id(&self) -> VaultId {
        self.core.id
    }

    /// The keys it works with now.
    pub fn keys(&self) -> Arc<DomainKeys> {
        self.core.keys()
    }

    /// Works with these keys from now on: a new epoch began, or a wrap brought one.
    ///
    /// # Errors
    /// `Refused` for keys of another domain.
    pub fn set_keys(&self, keys: DomainKeys) -> Result<(), VaultError> {
        if keys.domain() != self.core.keys().domain() {
            return Err(VaultError::refused("a vault keeps its key domain"));
        }
        *self.core.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    /// Believes these signers from now on: a peer was paired with, or sent a new card.
    pub fn set_signers(&self, signers: Signers) {
        *self.core.signers.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(signers);
    }

    /// Reads a manifest and verifies its signature, name and domain.
    ///
    /// # Errors
    /// `ManifestMissing`; `BadFormat` or `Refused` when it is not what its name says, or its signer is
    /// not believed.
    pub fn read_manifest(&self, digest: ManifestDigest) -> Result<Manifest, VaultError> {
        let name = self.core.manifest_store_name(digest);
        let bytes = match self.core.store.get(&name, MANIFEST_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. }) => return Err(VaultError::ManifestMissing { digest }),
            Err(error) => return Err(error.while_doing("reading a manifest")),
        };
        let manifest = self.check_manifest(&bytes)?;
        if manifest.digest() != digest {
            return Err(VaultError::bad_format("manifest", "it lies under the name of another"));
        }
        Ok(manifest)
    }

    /// Verifies the signature and domain of manifest bytes from anywhere.
    ///
    /// # Errors
    /// `BadFormat`, or `Refused` for another domain or a signer who is not believed.
    pub fn check_manifest(&self, bytes: &[u8]) -> Result<Manifest, VaultError> {
        let signers = self.core.signers.read().unwrap_or_else(PoisonError::into_inner).clone();
        let manifest = Manifest::decode(bytes, &signers)?;
        if manifest.fields().domain != self.core.keys().domain() {
            return Err(VaultError::refused("the manifest belongs to another key domain"));
        }
        Ok(manifest)
    }

    /// The trees of an item's volumes.
    pub(crate) fn trees(&self, manifest: ManifestDigest) -> Result<Vec<(String, Tree)>, VaultError> {
        self.trees_of(&self.read_manifest(manifest)?)
    }

    pub(crate) fn trees_of(&self, manifest: &Manifest) -> Result<Vec<(String, Tree)>, VaultError> {
        let body = manifest.body(&self.core.keys(), &mut Opener::new()?)?;
        let tree =
            |volume: ManifestVolume| (volume.volume_id, Tree { shape: volume.shape, root: volume.root });
        Ok(body.volumes.into_iter().map(tree).collect())
    }

    /// Brings the index up to date with the ledger, from nothing when it was lost. Returns how many
    /// packs it took in.
    pub fn refresh_index(&self) -> Result<u64, VaultError> {
        self.core.refresh_index()
    }
}

impl Core {
    pub(crate) fn keys(&self) -> Arc<DomainKeys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn pack_store_name(&self, name: PackName) -> String {
        name.store_name(self.id)
    }

    /// Follows the ledger to its end; returns how many packs were added or condemned.
    pub(crate) fn refresh_index(&self) -> Result<u64, VaultError> {
        let _following = self.following.lock().unwrap_or_else(PoisonError::into_inner);
        let mut opener = Opener::new()?;
        let mut count = 0;
        let doing = "following the ledger";
        let mut watermark = self.index.watermark()?;
        let begins = self.ledger.history_begins().map_err(|error| error.while_doing(doing))?;
        if watermark == 0 {
            (watermark, count) = self.build_index(&mut opener)?;
        } else if watermark < begins {
            count += self.drop_forgotten_packs()?;
        }
        loop {
            let packs =
                self.ledger.live_since(watermark, FOLLOW_LIMIT).map_err(|error| error.while_doing(doing))?;
            let Some(last) = packs.last() else { return Ok(count) };
            let next = last.commit_seq;
            for pack in &packs {
                count += u64::from(self.follow(pack, &mut opener)?);
            }
            if next <= watermark {
                return Err(VaultError::bad_format("ledger answer", "positions do not rise"));
            }
            watermark = next;
            self.index.set_watermark(watermark)?;
        }
    }

    /// Fills an empty index of a vault that has many packs at one go. Returns the position it came to, and how
    /// many packs it took in; nothing of both where following pack by pack will do.
    fn build_index(&self, opener: &mut Opener) -> Result<(u64, u64), VaultError> {
        let doing = "following the ledger";
        let mut packs = self.ledger.live_since(0, FOLLOW_LIMIT).map_err(|error| error.while_doing(doing))?;
        if packs.len() < FOLLOW_LIMIT as usize {
            return Ok((0, 0));
        }
        let Some(mut build) = self.index.begin_build()? else { return Ok((0, 0)) };
        let (mut position, mut count) = (0, 0);
        while let Some(last) = packs.last().filter(|last| last.commit_seq > position) {
            position = last.commit_seq;
            count += packs.len() as u64;
            for pack in &packs {
                if !pack.is_live {
                    build.condemn(pack.number);
                } else if let Some(indexed) = self.read_sound_pack(pack, opener)? {
                    build.add(&indexed)?;
                }
            }
            tracing::info!(vault = %self.id, pack_count = count, "building the index");
            let next = self.ledger.live_since(position, FOLLOW_LIMIT);
            packs = next.map_err(|error| error.while_doing(doing))?;
        }
        build.finish(position)?;
        tracing::info!(vault = %self.id, pack_count = count, "the index is built");
        Ok((position, count))
    }

    /// Condemns packs that the ledger has forgotten since the index last followed it.
    fn drop_forgotten_packs(&self) -> Result<u64, VaultError> {
        let mut forgotten: HashSet<PackNumber> = self.index.live_packs().into_iter().collect();
        let mut position = 0;
        loop {
            let packs = self.ledger.live_since(position, FOLLOW_LIMIT);
            let packs = packs.map_err(|error| error.while_doing("following the ledger"))?;
            let Some(last) = packs.last().filter(|last| last.commit_seq > position) else { break };
            position = last.commit_seq;
            for pack in packs.iter().filter(|pack| pack.is_live) {
                forgotten.remove(&pack.number);
            }
        }
        for number in &forgotten {
            self.index.condemn(*number)?;
        }
        Ok(forgotten.len() as u64)
    }

    fn follow(&self, pack: &LedgerPack, opener: &mut Opener) -> Result<bool, VaultError> {
        if !pack.is_live {
            self.index.condemn(pack.number)?;
            return Ok(true);
        }
        if self.index.has_pack(pack.number)? {
            return Ok(false);
        }
        match self.read_sound_pack(pack, opener)? {
            Some(indexed) => self.index.add(&indexed).map(|()| true),
            None => Ok(false),
        }
    }

    /// What a pack's footer lists; nothing when it is damaged: one such pack must not take the vault down, and
    /// what lies in it counts as missing.
    fn read_sound_pack(
        &self,
        pack: &LedgerPack,
        opener: &mut Opener,
    ) -> Result<Option<IndexedPack>, VaultError> {
        match self.read_pack(pack, opener) {
            Ok(indexed) => Ok(Some(indexed)),
            Err(error @ (VaultError::BadFormat { .. } | VaultError::Corrupt { .. })) => {
                tracing::error!(pack = %pack.name, %error, "a live pack is damaged");
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What a pack's footer lists, with the dedup ids where this vault can read them.
    fn read_pack(&self, pack: &LedgerPack, opener: &mut Opener) -> Result<IndexedPack, VaultError> {
        let footer = self.read_footer(&pack.name, pack.bytes)?;
        let file_name = pack.name.rsplit('/').next().unwrap_or_default();
        let ids = match footer.dedup_ids(self.keys().as_ref(), opener, PackName::parse(file_name)?) {
            Ok(ids) => ids,
            Err(VaultError::KeyMissing { .. }) => None,
            Err(error @ (VaultError::BadFormat { .. } | VaultError::Corrupt { .. })) => {
                // Without its ids a pack serves restores as before; only duplicates are not found.
                tracing::error!(pack = %pack.name, %error, "the dedup ids of a pack are damaged");
                None
            }
            Err(error) => return Err(error),
        };
        let epoch = match ids {
            Some(_) => self.epoch_of(&pack.name, &footer)?,
            None => Epoch::NONE,
        };
        let mut ids = ids.into_iter().flatten();
        let objects = footer.entries.iter().map(|entry| IndexedObject {
            address: entry.address,
            kind: entry.kind,
            offset: entry.offset,
            stored_len: entry.stored_len,
            id: if entry.kind == Kind::Chunk { ids.next() } else { None },
        });
        Ok(IndexedPack { number: pack.number, name: pack.name.clone(), epoch, objects: objects.collect() })
    }

    /// The footer of a pack. A pack that the ledger lists and the store has not is damaged.
    pub(crate) fn read_footer(&self, name: &str, pack_bytes: u64) -> Result<ReadFooter, VaultError> {
        Ok(read_footer_of(self.store.as_ref(), name, pack_bytes)?.1)
    }

    /// The epoch of the chunks of a pack made here: every pack is filled under one.
    pub(crate) fn epoch_of(&self, name: &str, footer: &ReadFooter) -> Result<Epoch, VaultError> {
        let Some(first) = footer.entries.iter().find(|entry| entry.kind == Kind::Chunk) else {
            return Ok(Epoch::NONE);
        };
        let header = self.store.get_range(name, first.offset, HEADER_BYTES as u64);
        Ok(Header::parse(&header.map_err(|error| error.while_doing("reading a chunk's header"))?)?.epoch)
    }

    pub(crate) fn manifest_store_name(&self, digest: ManifestDigest) -> String {
        layout::manifest_name(self.id, digest)
    }
}
