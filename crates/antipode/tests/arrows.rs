//! The shape of the workspace, checked: which crate may know which (`style.md` §1), which room a
//! third-party crate lives in, one crypto provider in the tree, and how long a file may be.
//!
//! Who adds a dependency gives it a room in [`ROOMS`]; who thinks an arrow is missing changes the
//! design first.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

/// Every arrow that may be drawn between our crates.
const ARROWS: &[(&str, &[&str])] = &[
    ("antipode", &["control", "catalog", "model", "vault", "disk"]),
    ("control", &["catalog", "model", "vault", "disk"]),
    ("catalog", &["model"]),
    ("vault", &[]),
    ("disk", &[]),
    ("model", &[]),
];

/// Third-party crates and the only crates of ours that may use them outside tests.
const ROOMS: &[(&[&str], &[&str])] = &[
    (&["antipode", "control", "catalog", "model", "vault", "disk"], &["thiserror"]),
    (&["antipode", "control", "catalog", "vault", "disk"], &["tracing"]),
    (&["antipode", "control", "catalog", "model"], &["uuid", "chrono"]),
    (&["antipode", "control", "catalog"], &["tokio"]),
    (&["antipode", "control"], &["getrandom"]),
    (&["antipode"], &["axum", "tower", "hyper", "hyper-util", "http-body-util", "reqwest"]),
    (&["antipode"], &["rustls", "tokio-rustls", "rcgen"]),
    (&["antipode"], &["serde", "serde_json", "toml", "utoipa", "utoipa-axum"]),
    (&["antipode"], &["clap", "indicatif", "comfy-table", "tracing-subscriber"]),
    (&["antipode"], &["qrcode", "rpassword"]),
    (&["control", "vault"], &["argon2"]),
    (&["catalog"], &["sqlx"]),
    (&["vault"], &["blake3", "zstd", "aws-lc-rs", "ed25519-dalek", "hpke"]),
    (&["antipode", "vault"], &["zeroize"]),
    (&["vault"], &["fjall", "crossbeam-channel"]),
    (&["disk"], &["rustix"]),
];

/// Crates that must not be in what we build at all: a second crypto provider or TLS stack.
const BANNED: &[&str] = &["ring", "openssl", "openssl-sys", "native-tls"];

/// The longest Rust file, in lines.
const LINES_MAX: usize = 700;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn workspace() -> Metadata {
    let manifest = repository().join("Cargo.toml");
    MetadataCommand::new().manifest_path(manifest).no_deps().exec().unwrap()
}

/// Dependencies of `package` on our own crates (all kinds) and on others (outside tests).
fn broken_rules(package: &Package) -> Vec<String> {
    let arrows: BTreeMap<_, _> = ARROWS.iter().copied().collect();
    let Some(allowed) = arrows.get(package.name.as_str()) else {
        return vec![format!("{} is no crate of the design", package.name)];
    };
    let mut broken = Vec::new();
    for dependency in &package.dependencies {
        let (from, to) = (package.name.as_str(), dependency.name.as_str());
        if arrows.contains_key(to) {
            if !allowed.contains(&to) {
                broken.push(format!("{from} must not know {to}"));
            }
        } else if dependency.kind != DependencyKind::Development && !has_room(from, to) {
            broken.push(format!("{to} is not allowed in {from}: its room is {:?}", room_of(to)));
        }
    }
    broken
}

fn room_of(third_party: &str) -> Option<&'static [&'static str]> {
    ROOMS.iter().find(|(_, crates)| crates.contains(&third_party)).map(|(room, _)| *room)
}

fn has_room(ours: &str, third_party: &str) -> bool {
    room_of(third_party).is_some_and(|room| room.contains(&ours))
}

#[test]
fn crates_know_only_what_the_design_lets_them_know() {
    let broken: Vec<_> = workspace().workspace_packages().into_iter().flat_map(broken_rules).collect();
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn a_wrong_arrow_and_a_crate_outside_its_room_are_noticed() {
    let metadata = workspace();
    let mut vault = metadata.workspace_packages().into_iter().find(|p| p.name == "vault").unwrap().clone();
    assert_eq!(broken_rules(&vault), Vec::<String>::new());
    let mut wrong = vault.dependencies.iter().find(|d| d.name == "blake3").unwrap().clone();
    for name in ["model", "sqlx", "a-crate-nobody-heard-of"] {
        wrong.name = name.to_owned();
        vault.dependencies.push(wrong.clone());
    }
    assert_eq!(broken_rules(&vault).len(), 3);
    wrong.kind = DependencyKind::Development;
    wrong.name = "antipode".to_owned();
    vault.dependencies = vec![wrong];
    assert_eq!(broken_rules(&vault), ["vault must not know antipode"], "tests are no way around an arrow");
}

#[test]
fn what_we_build_has_one_crypto_provider_and_one_tls_stack() {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--offline", "--edges", "normal,build", "--prefix", "none"])
        .current_dir(repository())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"aws-lc-rs"), "cargo tree printed something else");
    for banned in BANNED {
        assert!(!names.contains(banned), "{banned} came into the tree");
    }
}

fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn no_file_is_longer_than_a_reader_can_hold() {
    let mut files = Vec::new();
    rust_files(&repository().join("crates"), &mut files);
    assert!(files.len() > 20, "only {} files found", files.len());
    let lines = |path: &PathBuf| std::fs::read_to_string(path).unwrap().lines().count();
    let too_long: Vec<_> =
        files.iter().map(|path| (path, lines(path))).filter(|(_, count)| *count > LINES_MAX).collect();
    assert!(too_long.is_empty(), "over {LINES_MAX} lines: {too_long:#?}");
}
