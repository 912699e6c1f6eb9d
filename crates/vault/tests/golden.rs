//! Stores of every released format, kept under `golden/` for ever: each is read whole and every disk in
//! it restored, by this crate and by the Python reader; and a newer store is refused.
//!
//! A store was made by `ANTIPODE_WRITE_GOLDEN=1 cargo test -p vault --test golden`, which writes that of
//! the present version if it is absent; all of it follows from a fixed seed. Released ones are never made
//! anew: what a later release writes differs, what it reads must not.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};
use vault::card::Card;
use vault::codec::FORMAT_VERSION;
use vault::ids::{ManifestDigest, RegionId, VaultId, from_hex};
use vault::kek::Kek;
use vault::key_file::create_key_file;
use vault::layout;
use vault::manifest::Manifest;
use vault::properties::VaultProperties;
use vault::recovery::RecoveryKit;
use vault::signed::Signers;
use vault::state::StateObject;
use vault::store::{LocalStore, ObjectStore};
use vault::stored::{check_format, read_card, read_pin};
use world::bare::restore_all;
use world::whole::Whole;

const SEED: u64 = 7;
const DISK_BYTES: u64 = 64 << 10;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Writes the golden store of this version.
fn write(folder: &Path) {
    let whole = Whole::new(SEED, DISK_BYTES);
    for (name, bytes) in whole.region.store.objects() {
        let path = folder.join("store").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes.as_slice()).unwrap();
    }
    fs::write(folder.join("kit.txt"), whole.kit.render("golden").as_bytes()).unwrap();
    create_key_file(&folder.join("kek"), "kek", whole.kek_secret.expose()).unwrap();
    let item = |item: &world::whole::WholeItem| {
        let digest = |disk: &Vec<u8>| blake3::hash(disk).to_hex().to_string();
        let disks: Vec<String> = item.disks.iter().map(digest).collect();
        json!({ "manifest": item.manifest.to_string(), "disks": disks })
    };
    let items: Vec<Value> = whole.items.iter().map(item).collect();
    let index = json!({ "region": whole.region.identity.region().to_string(), "items": items });
    fs::write(folder.join("items.json"), format!("{index:#}\n")).unwrap();
}

/// A golden store, copied so that nothing is written beside the kept one.
struct Golden {
    copy: tempfile::TempDir,
    region: RegionId,
    items: Vec<(ManifestDigest, Vec<String>)>,
}

impl Golden {
    fn open(version: &str) -> Golden {
        let (kept, copy) = (golden().join(version), tempfile::tempdir().unwrap());
        copy_folder(&kept, copy.path());
        fs::set_permissions(copy.path().join("kek"), PermissionsExt::from_mode(0o600)).unwrap();
        let index: Value =
            serde_json::from_str(&fs::read_to_string(kept.join("items.json")).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let item = |item: &Value| {
            let disks = item["disks"].as_array().unwrap().iter().map(text).collect();
            (text(&item["manifest"]).parse().unwrap(), disks)
        };
        let items = index["items"].as_array().unwrap().iter().map(item).collect();
        let region = RegionId(from_hex(index["region"].as_str().unwrap()).unwrap());
        Golden { copy, region, items }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.copy.path().join(name)
    }

    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(LocalStore::open(&self.path("store")).unwrap())
    }

    fn kit(&self) -> RecoveryKit {
        RecoveryKit::parse(&fs::read_to_string(self.path("kit.txt")).unwrap()).unwrap()
    }

    fn python(&self, arguments: &[&str]) -> std::process::Output {
        let python = std::env::var_os("ANTIPODE_PYTHON").unwrap_or_else(|| "python3".into());
        let tool = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/antipode_restore.py");
        Command::new(python)
            .arg(tool)
            .args(arguments)
            .arg("--store")
            .arg(self.path("store"))
            .arg("--kit")
            .arg(self.path("kit.txt"))
            .output()
            .unwrap()
    }
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_folder(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// The versions that are kept; that of this program is among them.
fn versions() -> Vec<String> {
    let own = golden().join(format!("v{FORMAT_VERSION}"));
    if std::env::var_os("ANTIPODE_WRITE_GOLDEN").is_some() && !own.exists() {
        // Several tests may come here at once: the first whole one counts.
        let made = tempfile::tempdir_in(golden().parent().unwrap()).unwrap();
        write(&made.path().join("store"));
        fs::create_dir_all(golden()).unwrap();
        let _ = fs::rename(made.path().join("store"), &own);
    }
    assert!(own.is_dir(), "the golden store of version {FORMAT_VERSION} is missing");
    let names =
        fs::read_dir(golden()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

#[test]
fn every_disk_of_every_released_store_is_restored() {
    for version in versions() {
        let golden = Golden::open(&version);
        let mut restored = restore_all(&golden.store(), &golden.kit()).unwrap();
        for (manifest, disks) in &golden.items {
            let volumes = restored.remove(manifest).unwrap_or_else(|| panic!("{version}: {manifest}"));
            let digest = |volume: Result<Vec<u8>, _>| blake3::hash(&volume.unwrap()).to_hex().to_string();
            let volumes: Vec<String> = volumes.into_iter().map(digest).collect();
            assert_eq!(&volumes, disks, "{version}: {manifest}");
        }
        assert!(restored.is_empty() && !golden.items.is_empty(), "{version}");
    }
}

#[test]
fn everything_else_in_every_released_store_is_read() {
    for version in versions() {
        let golden = Golden::open(&version);
        let (store, kek) = (golden.store(), Kek::load(&golden.path("kek")).unwrap());
        let get = |name: &str| store.get(name, 1 << 26).unwrap();
        let mut signers = Signers::new();
        signers.trust_region(golden.region);
        let cards: Vec<Card> =
            store.list("cards/").unwrap().iter().map(|name| read_card(name, &get(name)).unwrap()).collect();
        cards.iter().for_each(|card| {
            signers.add_card(card);
        });
        let mut counts = [0; 5];
        for name in store.list("").unwrap() {
            let bytes = get(&name);
            match name.split('/').next().unwrap() {
                "format" => check_format(&bytes).unwrap(),
                "cards" => counts[0] += 1,
                "pins" => {
                    signers.trust_region(read_pin(&name, &bytes, &signers).unwrap().peer());
                    counts[1] += 1;
                }
                "keys" => {
                    kek.open_bundle(&name, &bytes).unwrap();
                    counts[2] += 1;
                }
                "state" => {
                    StateObject::open(&name, &bytes, &kek, golden.region, &signers).unwrap();
                    counts[3] += 1;
                }
                _ if name.ends_with("/properties") => {
                    let vault = VaultId(from_hex(name.split('/').nth(1).unwrap()).unwrap());
                    VaultProperties::decode(&bytes, vault, golden.region, &signers).unwrap();
                    counts[4] += 1;
                }
                _ => {}
            }
        }
        assert!(counts.iter().all(|count| *count > 0), "{version}: {counts:?}");
    }
}

#[test]
fn the_python_reader_restores_every_released_store() {
    for version in versions() {
        let golden = Golden::open(&version);
        for (manifest, disks) in &golden.items {
            for (index, digest) in disks.iter().enumerate() {
                let (item, volume) = (manifest.to_string(), format!("disk-{index}"));
                let output = golden.path(&format!("{item}-{index}"));
                let arguments = ["restore", "--item", &item, "--volume", &volume, "--output"];
                let arguments = [&arguments[..], &[output.to_str().unwrap()]].concat();
                let said = golden.python(&arguments);
                assert!(said.status.success(), "{version}: {}", String::from_utf8_lossy(&said.stderr));
                assert_eq!(&blake3::hash(&fs::read(output).unwrap()).to_hex().to_string(), digest);
            }
        }
    }
}

/// A clear word: both versions by number.
fn assert_names_both(said: &str) {
    for version in [FORMAT_VERSION, FORMAT_VERSION + 1] {
        assert!(said.contains(&format!("version {version}")), "{said}");
    }
}

#[test]
fn a_newer_store_is_refused_naming_both_versions() {
    versions();
    let golden = Golden::open(&format!("v{FORMAT_VERSION}"));
    let newer = format!("antipode store {}\n", FORMAT_VERSION + 1);
    fs::set_permissions(golden.path("store/format"), PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(golden.path("store/format"), &newer).unwrap();
    let refused = restore_all(&golden.store(), &golden.kit()).map(|_| ()).unwrap_err();
    assert_names_both(&refused.to_string());
    let said = golden.python(&["list"]);
    let words = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && words.contains(newer.trim()) && words.contains("version 1"), "{words}");
}

/// The version is looked at before the signature: whatever a newer program signed, this is what is said.
#[test]
fn newer_manifests_properties_cards_and_pins_are_refused_naming_both_versions() {
    versions();
    let golden = Golden::open(&format!("v{FORMAT_VERSION}"));
    let (store, signers) = (golden.store(), Signers::new());
    let newer = |prefix: &str, suffix: &str| {
        let names = store.list(prefix).unwrap();
        let name = names.iter().find(|name| name.ends_with(suffix)).unwrap();
        let mut bytes = store.get(name, 1 << 26).unwrap();
        bytes[4..6].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
        (name.clone(), bytes)
    };
    let (_, manifest) = newer(layout::VAULTS_PREFIX, ".manifest");
    assert_names_both(&Manifest::decode(&manifest, &signers).unwrap_err().to_string());
    let (_, properties) = newer(layout::VAULTS_PREFIX, "/properties");
    let refused = VaultProperties::decode(&properties, VaultId([0; 16]), golden.region, &signers);
    assert_names_both(&refused.unwrap_err().to_string());
    let (name, card) = newer(layout::CARDS_PREFIX, ".card");
    assert_names_both(&read_card(&name, &card).unwrap_err().to_string());
    let (name, pin) = newer(layout::PINS_PREFIX, ".pin");
    assert_names_both(&read_pin(&name, &pin, &signers).unwrap_err().to_string());
}
