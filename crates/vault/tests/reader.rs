//! The Python reader restores what this crate wrote, from the bare store and a recovery kit, and refuses
//! what it must. It shares no code with the crate, so what both agree on is what `docs/format.md` says.
//!
//! `ANTIPODE_PYTHON` names a Python 3.11 with the packages of `tools/requirements.txt`; else `python3`.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use vault::backup::{BackupOrder, VolumeReader, VolumeSpec};
use vault::card::{CardFields, Pin, RegionIdentity, RootKey, WorkingKeys};
use vault::cut::CutParameters;
use vault::ids::{CheckpointId, Incarnation, ItemId, ManifestDigest, OperationId, VaultId};
use vault::index::IndexSettings;
use vault::keys::{DomainKeys, Secret};
use vault::layout;
use vault::ledger::MemoryLedger;
use vault::manifest::{Description, Manifest};
use vault::progress::NoProgress;
use vault::recovery::{RecoveryKit, RecoverySeed};
use vault::seams::{FixedClock, SeededEntropy};
use vault::store::{LocalStore, ObjectStore};
use vault::vault::{Vault, VaultParts, VaultSettings};
use vault::wrap::{Role, Wrap, WrapOrder};

const SEGMENT: u64 = 32 << 10;

/// Small segments, so that small disks have deep trees.
const CUT: CutParameters = CutParameters {
    chunk_bytes_min: 4 << 10,
    chunk_bytes_max: 16 << 10,
    segment_bytes: SEGMENT as u32,
    average_bits: 1,
    ..CutParameters::DEFAULT
};

struct Disk(Vec<u8>);

impl VolumeReader for Disk {
    fn size_bytes(&self) -> u64 {
        self.0.len() as u64
    }

    fn data_extents(&self) -> std::io::Result<Vec<(u64, u64)>> {
        Ok(if self.0.is_empty() { vec![] } else { vec![(0, self.0.len() as u64)] })
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> std::io::Result<()> {
        buffer.copy_from_slice(&self.0[offset as usize..][..buffer.len()]);
        Ok(())
    }
}

/// A region with a store in a directory, and its recovery kit beside it.
struct Region {
    folder: tempfile::TempDir,
    store: LocalStore,
    identity: Arc<RegionIdentity>,
    kit: RecoveryKit,
    entropy: SeededEntropy,
}

impl Region {
    fn new(seed: u64) -> Region {
        let folder = tempfile::tempdir().unwrap();
        let entropy = SeededEntropy::new(seed);
        let root = RootKey::from_secret(&Secret::generate(&entropy));
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
        let identity = RegionIdentity::new(keys, root.sign_card(&fields).unwrap()).unwrap();
        let kit = RecoveryKit::new(RecoverySeed::generate(&entropy), &root.public());
        fs::write(folder.path().join("kit"), kit.render("a region").as_bytes()).unwrap();
        let store = LocalStore::open(&folder.path().join("store")).unwrap();
        let region = Region { folder, store, identity: Arc::new(identity), kit, entropy };
        region.put(layout::FORMAT_NAME, layout::FORMAT_CONTENT);
        region.put(&layout::card_name(region.identity.region(), 1), region.identity.card().bytes());
        region
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.store.put_if_absent(name, bytes).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Wraps every epoch for a recovery key.
    fn wrap(&self, vault: VaultId, keys: &DomainKeys, kit: &RecoveryKit) {
        let recipient = &kit.seed().receiving_key().public();
        for (epoch, _) in keys.epochs() {
            let order = WrapOrder { keys, epoch, role: Role::Recovery, recipient };
            let bytes = Wrap::seal(&self.identity, &order, &self.entropy).unwrap();
            let wrap = Wrap::decode(&bytes, &self.identity.signers()).unwrap();
            self.put(&layout::wrap_name(vault, &wrap.name()), &bytes);
        }
    }

    /// Backs up disks named `disk-0`, `disk-1`, …
    fn back_up(&self, keys: &DomainKeys, number: u8, disks: &[&Disk]) -> Manifest {
        let index = tempfile::tempdir().unwrap();
        let vault = Vault::open(VaultParts {
            id: VaultId(keys.domain().0),
            store: Arc::new(self.store.clone()),
            ledger: Arc::new(MemoryLedger::new(VaultId(keys.domain().0))),
            index_folder: index.path().join("index"),
            keys: keys.clone(),
            cut: CUT,
            identity: Some(self.identity.clone()),
            signers: self.identity.signers(),
            incarnation: Incarnation([number; 16]),
            clock: Arc::new(FixedClock::new(1_700_000_000_000)),
            settings: VaultSettings {
                threads: 2,
                memory_bytes_max: 4 << 20,
                pack_bytes_target: 64 << 10,
                pack_object_count_max: 1000,
                opens_before_storing: true,
                index: IndexSettings { is_in_memory: true, ..IndexSettings::default() },
            },
        })
        .unwrap();
        let order = BackupOrder {
            operation: OperationId([number; 16]),
            bases: vec![],
            item: ItemId([number; 16]),
            checkpoint: CheckpointId([number; 16]),
            resource_id: "server-1".to_owned(),
            project_id: "project-1".to_owned(),
            sequence: u64::from(number),
            previous: ManifestDigest::ZERO,
            description: Description { resource_name: "web".to_owned(), ..Description::default() },
        };
        let volumes: Vec<(VolumeSpec, &dyn VolumeReader)> = disks
            .iter()
            .enumerate()
            .map(|(index, disk)| {
                let spec = VolumeSpec { volume_id: format!("disk-{index}"), changed: None };
                (spec, *disk as &dyn VolumeReader)
            })
            .collect();
        vault.backup(&order, &volumes, &NoProgress).unwrap().manifest
    }

    /// Takes over a vault as a finished transfer leaves it: packs and manifests under another name.
    fn receive(&self, source: &Region, keys: &DomainKeys) -> VaultId {
        let vault = layout::replica_vault_id(keys.domain(), source.identity.region(), "project-2");
        let (theirs, ours) = (layout::vault_prefix(VaultId(keys.domain().0)), layout::vault_prefix(vault));
        for name in source.store.list(&theirs).unwrap() {
            if name.ends_with(".pack") || name.ends_with(".manifest") {
                self.put(&name.replace(&theirs, &ours), &source.store.get(&name, u64::MAX).unwrap());
            }
        }
        let card = source.identity.card();
        self.put(&layout::card_name(card.region(), 1), card.bytes());
        self.put(&layout::pin_name(card.region()), &Pin::sign(&self.identity, card, 5));
        vault
    }

    fn restore(&self, kit: &Path, item: u8, volume: &str, output: &Path) -> Output {
        let item = item_text(item);
        let arguments = ["--item", &item, "--volume", volume, "--output", output.to_str().unwrap()];
        self.read(kit, "restore", &arguments)
    }

    fn read(&self, kit: &Path, command: &str, arguments: &[&str]) -> Output {
        let store = self.path("store");
        python()
            .arg(tool())
            .args([command, "--store", store.to_str().unwrap(), "--kit", kit.to_str().unwrap()])
            .args(arguments)
            .output()
            .unwrap()
    }
}

fn item_text(number: u8) -> String {
    let digits = format!("{number:02x}");
    [4, 2, 2, 2, 6].map(|count| digits.repeat(count)).join("-")
}

fn python() -> Command {
    Command::new(std::env::var_os("ANTIPODE_PYTHON").unwrap_or_else(|| "python3".into()))
}

fn tool() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/antipode_restore.py")
}

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Text, noise, holes and an odd end; large enough for three levels with 256 children.
fn large_disk() -> Disk {
    let mut bytes = vec![0u8; 9 * 257 * 1024 * 4 + 700];
    for (index, piece) in bytes.chunks_mut(100_000).enumerate() {
        match index % 5 {
            0 => piece.copy_from_slice(&noise(piece.len(), index as u64)),
            1 => piece.iter_mut().enumerate().for_each(|(at, byte)| *byte = b"some text "[at % 10]),
            _ => {}
        }
    }
    Disk(bytes)
}

fn keys() -> DomainKeys {
    let entropy = SeededEntropy::new(77);
    let mut keys = DomainKeys::generate(&entropy);
    keys.begin_epoch(&entropy).unwrap();
    keys
}

#[track_caller]
fn assert_restored(output: &Output, path: &Path, disk: &Disk) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(fs::read(path).unwrap() == disk.0, "other bytes");
}

#[track_caller]
fn assert_refused(output: &Output, path: &Path, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains(why), "{said}");
    assert!(!path.exists(), "a refused restore left a file");
}

#[test]
fn a_region_s_own_disks_come_back_from_the_bare_store() {
    let (region, keys) = (Region::new(1), keys());
    let disks = [large_disk(), Disk(noise(5000, 9)), Disk(vec![0; 1 << 20]), Disk(vec![])];
    region.back_up(&keys, 7, &disks.each_ref());
    region.wrap(VaultId(keys.domain().0), &keys, &region.kit);

    let listed = region.read(&region.path("kit"), "list", &[]);
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed: serde_json::Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed[0]["item"], item_text(7).as_str());
    assert_eq!(listed[0]["resource_name"], "web");
    assert_eq!(listed[0]["volumes"][0]["size_bytes"], disks[0].0.len());

    for (index, disk) in disks.iter().enumerate() {
        let path = region.path(&format!("restored-{index}"));
        assert_restored(
            &region.restore(&region.path("kit"), 7, &format!("disk-{index}"), &path),
            &path,
            disk,
        );
    }
    let sparse = fs::metadata(region.path("restored-0")).unwrap();
    assert!(sparse.blocks() * 512 < sparse.len() * 3 / 4, "holes were written");
}

#[test]
fn a_replica_comes_back_with_the_kit_of_either_region() {
    let (source, destination, keys, disk) = (Region::new(1), Region::new(2), keys(), large_disk());
    source.back_up(&keys, 7, &[&disk]);
    let vault = destination.receive(&source, &keys);
    destination.wrap(vault, &keys, &destination.kit);
    for name in ["own", "theirs"] {
        let kit = if name == "own" { destination.path("kit") } else { source.path("kit") };
        let path = destination.path(name);
        let restored = destination.restore(&kit, 7, "disk-0", &path);
        if name == "theirs" {
            assert_refused(&restored, &path, "no item");
            source.wrap(vault, &keys, &source.kit);
            for wrap in source.store.list(&layout::wraps_prefix(vault)).unwrap() {
                destination.put(&wrap, &source.store.get(&wrap, u64::MAX).unwrap());
            }
            let path = destination.path("theirs again");
            assert_restored(&destination.restore(&kit, 7, "disk-0", &path), &path, &disk);
        } else {
            assert_restored(&restored, &path, &disk);
        }
    }
}

#[test]
fn a_replica_of_a_region_that_is_not_pinned_is_refused() {
    let (source, destination, keys) = (Region::new(1), Region::new(2), keys());
    source.back_up(&keys, 7, &[&Disk(noise(50_000, 1))]);
    let vault = destination.receive(&source, &keys);
    destination.wrap(vault, &keys, &destination.kit);
    let pin = destination.path("store").join(layout::pin_name(source.identity.region()));
    let (path, kit) = (destination.path("out"), destination.path("kit"));

    // A stranger's pin counts for nothing, even when its own card lies in the store.
    let stranger = Region::new(3);
    destination.put(&layout::card_name(stranger.identity.region(), 1), stranger.identity.card().bytes());
    overwrite(&pin, &Pin::sign(&stranger.identity, source.identity.card(), 5));
    assert_refused(&destination.restore(&kit, 7, "disk-0", &path), &path, "no item");
    fs::remove_file(&pin).unwrap();
    assert_refused(&destination.restore(&kit, 7, "disk-0", &path), &path, "no item");
}

fn overwrite(path: &Path, bytes: &[u8]) {
    fs::remove_file(path).unwrap();
    fs::write(path, bytes).unwrap();
}

/// Changes one byte of a file.
fn damage(path: &Path, position: u64) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 1], position).unwrap();
}

#[test]
fn damage_anywhere_is_refused() {
    let (region, keys) = (Region::new(1), keys());
    let manifest = region.back_up(&keys, 7, &[&Disk(noise(50_000, 1))]);
    let vault = VaultId(keys.domain().0);
    region.wrap(vault, &keys, &region.kit);
    let (store, kit) = (region.path("store"), region.path("kit"));
    let first = |prefix: &str| store.join(&region.store.list(prefix).unwrap()[0]);
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let pack = first(&layout::packs_prefix(vault));
    let manifest = store.join(layout::manifest_name(vault, manifest.digest()));
    let wraps = region.store.list(&layout::wraps_prefix(vault)).unwrap();
    let wrap = store.join(wraps.last().unwrap());
    let card = first(layout::CARDS_PREFIX);
    let cases = [
        (&pack, 100, "another address"),
        (&pack, size(&pack) - 60, "in no pack"),
        (&pack, size(&pack) - 1, "in no pack"),
        (&manifest, 60, "no item"),
        (&manifest, size(&manifest) - 1, "no item"),
        (&wrap, 100, "signature does not verify"),
        (&card, 100, "signature does not verify"),
        (&kit, 600, "kit: row"),
    ];
    for (number, (path, position, why)) in cases.into_iter().enumerate() {
        let output = region.path(&format!("out-{number}"));
        damage(path, position);
        assert_refused(&region.restore(&kit, 7, "disk-0", &output), &output, why);
        damage(path, position);
        assert!(region.restore(&kit, 7, "disk-0", &output).status.success(), "case {number} was not undone");
    }
}

#[test]
fn another_kit_item_volume_or_an_existing_file_is_refused() {
    let (region, keys) = (Region::new(1), keys());
    region.back_up(&keys, 7, &[&Disk(noise(50_000, 1))]);
    region.wrap(VaultId(keys.domain().0), &keys, &region.kit);
    let (kit, path) = (region.path("kit"), region.path("out"));
    assert_refused(&region.restore(&Region::new(2).path("kit"), 7, "disk-0", &path), &path, "no card");
    assert_refused(&region.restore(&kit, 8, "disk-0", &path), &path, "no item");
    assert_refused(&region.restore(&kit, 7, "disk-1", &path), &path, "no volume");
    fs::write(&path, b"precious").unwrap();
    assert!(!region.restore(&kit, 7, "disk-0", &path).status.success());
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn the_reader_agrees_with_every_vector() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reader/vectors.py");
    let output = python().arg(script).arg(tool()).arg(vectors).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
