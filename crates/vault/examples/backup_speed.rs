//! Backs up a disk image twice and restores it, and prints where the time goes.
//!
//! `cargo run --example backup_speed -- IMAGE [THREADS [FOLDER]]`
//!
//! The vault is made in a fresh folder under FOLDER (the system's temporary folder by default) and
//! removed afterwards. Figures are of this machine at this moment; compare them only with others
//! of the same run.
#![expect(clippy::disallowed_methods, reason = "this measures real time")]
#![expect(clippy::unwrap_used, reason = "an example may stop at the first surprise")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use vault::backup::{BackupOrder, VolumeReader, VolumeSpec};
use vault::card::{CardFields, RegionIdentity, RootKey, WorkingKeys};
use vault::cut::CutParameters;
use vault::ids::{CheckpointId, Incarnation, ItemId, ManifestDigest, OperationId, VaultId};
use vault::keys::{DomainKeys, Secret};
use vault::ledger::MemoryLedger;
use vault::manifest::Description;
use vault::progress::NoProgress;
use vault::restore::{VerifyLevel, VolumeWriter};
use vault::seams::{FixedClock, SeededEntropy};
use vault::store::LocalStore;
use vault::vault::{Vault, VaultParts, VaultSettings};

struct Image {
    file: File,
    size_bytes: u64,
}

impl VolumeReader for Image {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn data_extents(&self) -> io::Result<Vec<(u64, u64)>> {
        Ok(vec![(0, self.size_bytes)])
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(buffer, offset)
    }
}

impl VolumeWriter for Image {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn punch_hole(&self, _offset: u64, _length: u64) -> io::Result<()> {
        // The file is new: what is not written is a hole.
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

fn identity(entropy: &SeededEntropy) -> RegionIdentity {
    let keys = WorkingKeys::generate(entropy);
    let fields = CardFields {
        name: "here".to_owned(),
        signing_key: keys.signing_key(),
        receiving_key: keys.receiving_key(),
        tls_key_hash: [0; 32],
        serial: 1,
        valid_from_ms: 0,
        valid_to_ms: u64::MAX,
        next_root_key: None,
    };
    let card = RootKey::from_secret(&Secret::generate(entropy)).sign_card(&fields).unwrap();
    RegionIdentity::new(keys, card).unwrap()
}

fn open_vault(folder: &Path, threads: Option<u32>) -> Vault {
    let entropy = SeededEntropy::new(1);
    let keys = DomainKeys::generate(&entropy);
    let id = VaultId(keys.domain().0);
    let identity = Arc::new(identity(&entropy));
    let mut settings = VaultSettings::default();
    settings.threads = threads.unwrap_or(settings.threads);
    Vault::open(VaultParts {
        id,
        store: Arc::new(LocalStore::open(&folder.join("store")).unwrap()),
        ledger: Arc::new(MemoryLedger::new(id)),
        index_folder: folder.join("index"),
        keys,
        cut: CutParameters::DEFAULT,
        signers: identity.signers(),
        identity: Some(identity),
        incarnation: Incarnation([1; 16]),
        clock: Arc::new(FixedClock::new(0)),
        settings,
    })
    .unwrap()
}

fn order(number: u8, bases: Vec<ManifestDigest>) -> BackupOrder {
    BackupOrder {
        operation: OperationId([number; 16]),
        bases,
        item: ItemId([number; 16]),
        checkpoint: CheckpointId([number; 16]),
        resource_id: "image".to_owned(),
        project_id: "speed".to_owned(),
        sequence: u64::from(number),
        previous: ManifestDigest::ZERO,
        description: Description::default(),
    }
}

/// The most memory this process ever had, in MiB.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

fn timed<T>(what: &str, bytes: u64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let value = work();
    let seconds = start.elapsed().as_secs_f64();
    let mib = bytes as f64 / f64::from(1 << 20);
    println!("{what:<28} {seconds:8.2} s {:8.0} MiB/s   peak {} MiB", mib / seconds, peak_mib());
    value
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let image = PathBuf::from(arguments.next().expect("usage: backup_speed IMAGE [THREADS [FOLDER]]"));
    let threads = arguments.next().map(|threads| threads.parse().unwrap());
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).unwrap();

    let file = File::open(&image).unwrap();
    let size_bytes = file.metadata().unwrap().len();
    let disk = Image { file, size_bytes };
    let vault = open_vault(folder.path(), threads);
    let back_up = |order: BackupOrder| {
        let spec = VolumeSpec { volume_id: "disk".to_owned(), changed: None };
        vault.backup(&order, &[(spec, &disk)], &NoProgress).unwrap()
    };
    let first = timed("first backup", size_bytes, || back_up(order(1, Vec::new())));
    println!(
        "  {} MiB stored in {} objects, {} chunks sealed",
        first.new_stored_bytes >> 20,
        first.new_object_count,
        first.new_chunk_count
    );
    let second = timed("the same again", size_bytes, || back_up(order(2, Vec::new())));
    println!("  {} objects new", second.new_object_count);
    let manifest = first.manifest.digest();
    timed("verify, opened", size_bytes, || {
        vault.verify_item(manifest, VerifyLevel::Opened, &NoProgress).unwrap()
    });
    timed("restore", size_bytes, || {
        let file = File::create(folder.path().join("restored")).unwrap();
        file.set_len(size_bytes).unwrap();
        vault.restore_volume(manifest, "disk", &Image { file, size_bytes }, &NoProgress).unwrap()
    });
}
