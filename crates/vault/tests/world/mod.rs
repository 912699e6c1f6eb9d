//! A region in memory for tests: a store and a ledger that survive the vault above them, and disks.
#![allow(dead_code, reason = "each test binary uses a part of this")]
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

pub(crate) mod bare;
pub(crate) mod link;
pub(crate) mod whole;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use vault::backup::{BackedUp, BackupOrder, VolumeReader, VolumeSpec};
use vault::card::{CardFields, RegionIdentity, RootKey, WorkingKeys};
use vault::cut::CutParameters;
use vault::error::VaultError;
use vault::ids::{CheckpointId, Incarnation, ItemId, ManifestDigest, OperationId, VaultId};
use vault::index::IndexSettings;
use vault::keys::{DomainKeys, Secret};
use vault::ledger::MemoryLedger;
use vault::manifest::Description;
use vault::progress::NoProgress;
use vault::restore::{VerifyLevel, VolumeWriter};
use vault::seams::{Entropy, FixedClock, SeededEntropy};
use vault::signed::Signers;
use vault::store::{ObjectStore, SimulatedStore};
use vault::vault::{Vault, VaultParts, VaultSettings};

/// Small segments and chunks, so that small disks have deep trees.
pub(crate) const CUT: CutParameters = CutParameters {
    chunk_bytes_min: 4 << 10,
    chunk_bytes_max: 16 << 10,
    segment_bytes: 32 << 10,
    average_bits: 1,
    ..CutParameters::DEFAULT
};

pub(crate) fn settings(threads: u32) -> VaultSettings {
    VaultSettings {
        threads,
        memory_bytes_max: 1 << 20,
        pack_bytes_target: 64 << 10,
        pack_object_count_max: 1000,
        opens_before_storing: true,
        index: IndexSettings { is_in_memory: true, ..IndexSettings::default() },
    }
}

pub(crate) struct Region {
    pub(crate) store: SimulatedStore,
    pub(crate) ledger: MemoryLedger,
    pub(crate) keys: DomainKeys,
    pub(crate) identity: Arc<RegionIdentity>,
    pub(crate) signers: Signers,
    pub(crate) vault_id: VaultId,
    pub(crate) settings: VaultSettings,
    pub(crate) cut: CutParameters,
    pub(crate) clock: Arc<FixedClock>,
    index: TempDir,
    seed: u64,
}

pub(crate) fn identity(seed: u64) -> RegionIdentity {
    let entropy = SeededEntropy::new(seed);
    let keys = WorkingKeys::generate(&entropy);
    let fields = CardFields {
        name: format!("region-{seed}"),
        signing_key: keys.signing_key(),
        receiving_key: keys.receiving_key(),
        tls_key_hash: [0; 32],
        serial: 1,
        valid_from_ms: 0,
        valid_to_ms: u64::MAX,
        next_root_key: None,
    };
    let card = RootKey::from_secret(&Secret::generate(&entropy)).sign_card(&fields).unwrap();
    RegionIdentity::new(keys, card).unwrap()
}

impl Region {
    /// A region with a primary vault.
    pub(crate) fn new(seed: u64) -> Region {
        let keys = DomainKeys::generate(&SeededEntropy::new(seed));
        let vault_id = VaultId(keys.domain().0);
        Region::with_keys(seed, keys, vault_id)
    }

    /// A region that holds a replica vault of `origin`'s domain.
    pub(crate) fn replica_of(origin: &Region, seed: u64, keys: DomainKeys) -> Region {
        let mut region = Region::with_keys(seed, keys, VaultId([seed as u8; 16]));
        region.signers = origin.identity.signers();
        region
    }

    fn with_keys(seed: u64, keys: DomainKeys, vault_id: VaultId) -> Region {
        let identity = Arc::new(identity(seed));
        Region {
            store: SimulatedStore::new(seed),
            ledger: MemoryLedger::new(vault_id),
            keys,
            signers: identity.signers(),
            identity,
            vault_id,
            settings: settings(1),
            cut: CUT,
            clock: Arc::new(FixedClock::new(1_000)),
            index: tempfile::tempdir().unwrap(),
            seed,
        }
    }

    /// Opens the vault, as a process does when it starts.
    pub(crate) fn open(&self) -> Vault {
        self.open_over(Arc::new(self.store.clone()))
    }

    /// Opens the vault over another store than the region's own.
    pub(crate) fn open_over(&self, store: Arc<dyn ObjectStore>) -> Vault {
        Vault::open(VaultParts {
            id: self.vault_id,
            store,
            ledger: Arc::new(self.ledger.clone()),
            index_folder: self.index.path().join("index"),
            keys: self.keys.clone(),
            cut: self.cut,
            identity: Some(self.identity.clone()),
            signers: self.signers.clone(),
            incarnation: Incarnation([self.seed as u8; 16]),
            clock: self.clock.clone(),
            settings: self.settings,
        })
        .unwrap()
    }

    /// The machine loses power.
    pub(crate) fn crash(&self) {
        self.store.crash();
    }

    /// From the next open on the index lies on a disk, where a process that dies leaves what it wrote.
    pub(crate) fn keep_index_on_disk(&mut self) {
        self.settings.index.is_in_memory = false;
    }

    pub(crate) fn lose_index(&self) {
        let _ = std::fs::remove_dir_all(self.index.path().join("index"));
    }
}

pub(crate) fn order(number: u8, bases: &[ManifestDigest]) -> BackupOrder {
    BackupOrder {
        operation: OperationId([number; 16]),
        bases: bases.to_vec(),
        item: ItemId([number; 16]),
        checkpoint: CheckpointId([number; 16]),
        resource_id: "server-1".to_owned(),
        project_id: "project-1".to_owned(),
        sequence: u64::from(number),
        previous: bases.first().copied().unwrap_or(ManifestDigest::ZERO),
        description: Description { resource_name: "a server".to_owned(), ..Description::default() },
    }
}

pub(crate) fn spec(id: &str) -> VolumeSpec {
    VolumeSpec { volume_id: id.to_owned(), changed: None }
}

/// Backs up disks named `disk-0`, `disk-1`, … and publishes the item.
pub(crate) fn back_up(
    region: &Region,
    vault: &Vault,
    order: &BackupOrder,
    disks: &[&Disk],
) -> Result<BackedUp, VaultError> {
    let specs: Vec<VolumeSpec> = (0..disks.len()).map(|index| spec(&format!("disk-{index}"))).collect();
    let volumes: Vec<(VolumeSpec, &dyn VolumeReader)> =
        specs.into_iter().zip(disks).map(|(spec, disk)| (spec, *disk as &dyn VolumeReader)).collect();
    let backed_up = vault.backup(order, &volumes, &NoProgress)?;
    region.ledger.publish(order.operation, backed_up.manifest.digest());
    Ok(backed_up)
}

/// Restores a volume to a fresh disk full of old data.
pub(crate) fn restore(
    vault: &Vault,
    manifest: ManifestDigest,
    index: usize,
    size: u64,
) -> Result<Disk, VaultError> {
    let disk = Disk::filled(size, 0xee);
    vault.restore_volume(manifest, &format!("disk-{index}"), &disk, &NoProgress)?;
    Ok(disk)
}

/// The item is whole, and its first disk comes back byte for byte.
pub(crate) fn check_item(region: &Region, manifest: ManifestDigest, disk: &Disk, when: &str) {
    let vault = region.open();
    vault
        .verify_item(manifest, VerifyLevel::Opened, &NoProgress)
        .unwrap_or_else(|error| panic!("{when}: {error}"));
    let restored = restore(&vault, manifest, 0, disk.size()).unwrap();
    assert!(restored.bytes() == disk.bytes(), "{when}: other bytes came back");
}

const BLOCK: u64 = 4096;

/// A sparse disk in memory.
#[derive(Clone)]
pub(crate) struct Disk {
    size: u64,
    state: Arc<Mutex<DiskState>>,
}

#[derive(Clone, Default)]
struct DiskState {
    blocks: BTreeMap<u64, Vec<u8>>,
    /// Blocks whose reading fails.
    bad: Vec<u64>,
    written_bytes: u64,
    is_synced: bool,
}

impl Disk {
    pub(crate) fn empty(size: u64) -> Disk {
        Disk { size, state: Arc::default() }
    }

    pub(crate) fn filled(size: u64, byte: u8) -> Disk {
        let disk = Disk::empty(size);
        for offset in (0..size).step_by(BLOCK as usize) {
            disk.put(offset, &vec![byte; BLOCK.min(size - offset) as usize]);
        }
        disk
    }

    /// Runs of noise, text-like data and holes; everything follows from the seed.
    pub(crate) fn random(size: u64, seed: u64) -> Disk {
        let disk = Disk::empty(size);
        let entropy = SeededEntropy::new(seed);
        let mut dice = [0u8; 8];
        let mut offset = 0;
        while offset < size {
            entropy.fill(&mut dice);
            let length = (u64::from(dice[0] % 24) + 1) * BLOCK;
            let length = length.min(size - offset);
            match dice[1] % 4 {
                0 => {}
                1 => disk.put(offset, &vec![dice[2]; length as usize]),
                2 => {
                    let mut bytes = vec![0; length as usize];
                    entropy.fill(&mut bytes);
                    disk.put(offset, &bytes);
                }
                _ => {
                    // Blocks of a small alphabet: many of them occur again elsewhere.
                    for at in (0..length).step_by(BLOCK as usize) {
                        entropy.fill(&mut dice);
                        let piece = noise(u64::from(dice[3] % 16), BLOCK.min(length - at) as usize);
                        disk.put(offset + at, &piece);
                    }
                }
            }
            offset += length;
        }
        disk
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn put(&self, offset: u64, bytes: &[u8]) {
        let mut state = self.state.lock().unwrap();
        let mut at = 0;
        while at < bytes.len() {
            let position = offset + at as u64;
            let (block, inside) = (position / BLOCK, (position % BLOCK) as usize);
            let length = (BLOCK as usize - inside).min(bytes.len() - at);
            let content = state.blocks.entry(block).or_insert_with(|| vec![0; BLOCK as usize]);
            content[inside..inside + length].copy_from_slice(&bytes[at..at + length]);
            at += length;
        }
    }

    /// A disk of its own with the same contents.
    pub(crate) fn copy(&self) -> Disk {
        Disk { size: self.size, state: Arc::new(Mutex::new(self.state.lock().unwrap().clone())) }
    }

    pub(crate) fn grown(&self, size: u64) -> Disk {
        Disk { size, ..self.copy() }
    }

    pub(crate) fn fail_block(&self, block: u64) {
        self.state.lock().unwrap().bad.push(block);
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.size as usize];
        for (block, content) in &self.state.lock().unwrap().blocks {
            let start = (block * BLOCK) as usize;
            // A disk that shrank keeps blocks beyond its end.
            let start = start.min(bytes.len());
            let length = content.len().min(bytes.len() - start);
            bytes[start..start + length].copy_from_slice(&content[..length]);
        }
        bytes
    }

    pub(crate) fn written_bytes(&self) -> u64 {
        self.state.lock().unwrap().written_bytes
    }

    pub(crate) fn is_synced(&self) -> bool {
        self.state.lock().unwrap().is_synced
    }
}

pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    SeededEntropy::new(seed).fill(&mut bytes);
    bytes
}

impl VolumeReader for Disk {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn data_extents(&self) -> io::Result<Vec<(u64, u64)>> {
        let state = self.state.lock().unwrap();
        Ok(state.blocks.keys().chain(&state.bad).map(|block| (block * BLOCK, BLOCK)).collect())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.state.lock().unwrap();
        assert!(offset + buffer.len() as u64 <= self.size, "read beyond the end");
        let mut at = 0;
        while at < buffer.len() {
            let position = offset + at as u64;
            let (block, inside) = (position / BLOCK, (position % BLOCK) as usize);
            let length = (BLOCK as usize - inside).min(buffer.len() - at);
            if state.bad.contains(&block) {
                return Err(io::Error::from_raw_os_error(5));
            }
            match state.blocks.get(&block) {
                Some(content) => buffer[at..at + length].copy_from_slice(&content[inside..inside + length]),
                None => buffer[at..at + length].fill(0),
            }
            at += length;
        }
        Ok(())
    }
}

impl VolumeWriter for Disk {
    fn size_bytes(&self) -> u64 {
        self.size
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        assert!(offset + bytes.len() as u64 <= self.size, "write beyond the end");
        self.put(offset, bytes);
        self.state.lock().unwrap().written_bytes += bytes.len() as u64;
        Ok(())
    }

    fn punch_hole(&self, offset: u64, length: u64) -> io::Result<()> {
        assert!(offset + length <= self.size, "hole beyond the end");
        let mut state = self.state.lock().unwrap();
        let (mut at, end) = (offset, offset + length);
        while at < end {
            let (block, inside) = (at / BLOCK, at % BLOCK);
            let piece = (BLOCK - inside).min(end - at);
            if piece == BLOCK {
                state.blocks.remove(&block);
            } else if let Some(content) = state.blocks.get_mut(&block) {
                content[inside as usize..(inside + piece) as usize].fill(0);
            }
            at += piece;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.state.lock().unwrap().is_synced = true;
        Ok(())
    }
}
