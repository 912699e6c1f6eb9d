//! Backs up a disk image and its next generation, restores it, and prints how long each step takes: the
//! vault alone, for profiles. `bench/compare.py` measures the whole service.
//!
//! `cargo run --release --example backup_speed -- IMAGE NEXT_IMAGE [EXTENTS [THREADS [FOLDER]]]`
//!
//! EXTENTS lists what changed between the two, offset and length a line (`bench/dataset.sh` makes it; `-`
//! for none). With the variable NOT_OPENED set, chunks are stored without being opened again.
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

use vault::backup::{BackupOrder, Changed, VolumeReader, VolumeSpec};
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
    data: Vec<(u64, u64)>,
}

impl Image {
    fn of(file: File, size_bytes: u64) -> Image {
        Image { file, size_bytes, data: Vec::new() }
    }

    fn open(path: &Path) -> Image {
        let file = File::open(path).unwrap();
        let size_bytes = file.metadata().unwrap().len();
        // Holes by the allocation of pieces of 1 MiB would need a system call that std has not; zeros are
        // found by looking, which costs a little more than the service needs.
        Image { data: vec![(0, size_bytes)], ..Image::of(file, size_bytes) }
    }
}

impl VolumeReader for Image {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn data_extents(&self) -> io::Result<Vec<(u64, u64)>> {
        Ok(self.data.clone())
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

fn open_vault(folder: &Path, threads: Option<u32>) -> (Vault, MemoryLedger) {
    let entropy = SeededEntropy::new(1);
    let keys = DomainKeys::generate(&entropy);
    let id = VaultId(keys.domain().0);
    let identity = Arc::new(identity(&entropy));
    let mut settings = VaultSettings::default();
    settings.threads = threads.unwrap_or(settings.threads);
    settings.opens_before_storing = std::env::var_os("NOT_OPENED").is_none();
    let ledger = MemoryLedger::new(id);
    let vault = Vault::open(VaultParts {
        id,
        store: Arc::new(LocalStore::open(&folder.join("store")).unwrap()),
        ledger: Arc::new(ledger.clone()),
        index_folder: folder.join("index"),
        keys,
        cut: CutParameters::DEFAULT,
        signers: identity.signers(),
        identity: Some(identity),
        incarnation: Incarnation([1; 16]),
        clock: Arc::new(FixedClock::new(0)),
        settings,
    });
    (vault.unwrap(), ledger)
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

/// Seconds of processor time of this process: in its own code, in the kernel.
fn processor_seconds() -> (f64, f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    // The kernel counts in hundredths of a second, on every machine that Rust's std runs on.
    let seconds =
        |index: usize| fields.get(index).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0) / 100.0;
    (seconds(11), seconds(12))
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (user, system) = processor_seconds();
    let start = Instant::now();
    let value = work();
    let seconds = start.elapsed().as_secs_f64();
    let (user_now, system_now) = processor_seconds();
    println!(
        "{what:<28} {seconds:8.3} s   processor {:6.2} s + {:5.2} s in the kernel   peak {} MiB",
        user_now - user,
        system_now - system,
        peak_mib()
    );
    value
}

fn read_extents(path: &str) -> Option<Vec<(u64, u64)>> {
    let text = (path != "-").then(|| std::fs::read_to_string(path).unwrap())?;
    let extent = |line: &str| {
        let (offset, length) = line.split_once(' ').unwrap();
        (offset.parse().unwrap(), length.parse().unwrap())
    };
    Some(text.lines().map(extent).collect())
}

fn main() {
    let usage = "usage: backup_speed IMAGE NEXT_IMAGE [EXTENTS [THREADS [FOLDER]]]";
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [image, next, ..] = arguments.as_slice() else { panic!("{usage}") };
    let extents = arguments.get(2).and_then(|path| read_extents(path));
    let threads = arguments.get(3).map(|threads| threads.parse().unwrap());
    let parent = arguments.get(4).map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::tempdir_in(parent).unwrap();
    let (vault, ledger) = open_vault(folder.path(), threads);
    let (first, next) = (Image::open(Path::new(image)), Image::open(Path::new(next)));
    let size_bytes = first.size_bytes;
    let back_up = |what: &str, disk: &Image, order: BackupOrder, extents: Option<Vec<(u64, u64)>>| {
        let since = order.bases.first().copied();
        let changed = extents.and_then(|extents| Some(Changed { since: since?, extents }));
        let spec = VolumeSpec { volume_id: "disk".to_owned(), changed };
        let backed_up = timed(what, || vault.backup(&order, &[(spec, disk)], &NoProgress).unwrap());
        let (bytes, chunks) = (backed_up.new_stored_bytes, backed_up.new_chunk_count);
        println!("  {:.1} MiB stored, {chunks} chunks sealed", bytes as f64 / f64::from(1 << 20));
        ledger.publish(order.operation, backed_up.manifest.digest());
        backed_up.manifest.digest()
    };
    let base = back_up("first backup", &first, order(1, Vec::new()), None);
    if let Some(extents) = extents {
        back_up("next, changed extents known", &next, order(2, vec![base]), Some(extents));
    } else {
        back_up("next, whole read", &next, order(2, vec![base]), None);
    }
    let last = back_up("next once more, whole read", &next, order(3, vec![base]), None);
    back_up("nothing changed, known", &next, order(4, vec![last]), Some(Vec::new()));
    timed("verify, opened", || vault.verify_item(last, VerifyLevel::Opened, &NoProgress).unwrap());
    timed("restore", || {
        let file = File::create(folder.path().join("restored")).unwrap();
        file.set_len(size_bytes).unwrap();
        vault.restore_volume(last, "disk", &Image::of(file, size_bytes), &NoProgress).unwrap()
    });
}
