//! `antipode rebuild --from-store` over a region's own folder: what it refuses, where it may die, and
//! that the built binary then serves what came back.
#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use antipode::config::Config;
use antipode::init::{NewRegion, init_region};
use antipode::rebuild::rebuild;
use control::rebuild::{RebuildProgress, RebuildWatch, Rebuilt};
use control::region::FirstUser;
use tokio::runtime::Runtime;
use vault::crash::{Plan, arm, catch};

const PASSWORD: &str = "correct horse battery";

struct NoWatch;

impl RebuildWatch for NoWatch {
    fn tell(&self, _progress: RebuildProgress) {}
}

struct World {
    config: Config,
    config_path: PathBuf,
    password: PathBuf,
    runtime: Runtime,
    folder: tempfile::TempDir,
}

fn world() -> World {
    antipode::peer::install_crypto_provider();
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    fs::write(&password, PASSWORD).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let new = NewRegion {
        folder: folder.path().join("region"),
        name: "eu-a".to_owned(),
        api_listen: "127.0.0.1:0".parse().unwrap(),
        peer_listen: "127.0.0.1:0".parse().unwrap(),
        source_roots: vec![folder.path().to_owned()],
        admin_name: "admin".to_owned(),
        admin_password_file: password.clone(),
        kit: folder.path().join("kit.txt"),
        kek_passphrase_file: None,
        kit_shares: None,
    };
    let made = runtime.block_on(init_region(new)).unwrap();
    let config = Config::read(&made.config).unwrap();
    World { config, config_path: made.config, password, runtime, folder }
}

impl World {
    fn catalog(&self) -> PathBuf {
        self.config.storage.data_dir.join("catalog.db")
    }

    fn lose_catalog(&self) {
        for suffix in ["", "-wal", "-shm"] {
            let mut name = self.catalog().into_os_string();
            name.push(suffix);
            let _ = fs::remove_file(Path::new(&name));
        }
    }

    fn rebuild(&self) -> Result<Rebuilt, String> {
        let first = FirstUser { name: "admin".to_owned(), password: PASSWORD.to_owned() };
        let rebuilt = self.runtime.block_on(rebuild(&self.config, first, Arc::new(NoWatch)));
        rebuilt.map_err(|error| error.to_string())
    }
}

#[test]
fn a_catalog_that_is_there_is_never_replaced() {
    let world = world();
    let before = fs::read(world.catalog()).unwrap();
    let refused = world.rebuild().unwrap_err();
    assert!(refused.contains("never replaces") && refused.contains("move it"), "{refused}");
    assert_eq!(fs::read(world.catalog()).unwrap(), before);
    world.lose_catalog();
    fs::write(world.config.storage.data_dir.join("catalog.db-wal"), b"what a crash left").unwrap();
    assert!(world.rebuild().is_err(), "companions of a lost catalog may hold its last changes");
}

#[test]
fn a_rebuild_that_died_leaves_no_catalog_and_the_next_one_begins_anew() {
    let world = world();
    world.lose_catalog();
    for point in ["rebuild.state_written", "rebuild.life_recorded"] {
        let armed = arm(Plan::at(point, 1));
        let died = catch(|| world.rebuild());
        drop(armed);
        assert_eq!(died.unwrap_err().point, point);
        assert!(!world.catalog().exists(), "{point}");
    }
    let armed = arm(Plan::at("rebuild.moved", 1));
    let died = catch(|| world.rebuild());
    drop(armed);
    assert_eq!(died.unwrap_err().point, "rebuild.moved");
    assert!(world.catalog().exists(), "what was moved into place is the catalog");
    assert!(world.rebuild().unwrap_err().contains("never replaces"));
    let left: Vec<_> = fs::read_dir(&world.config.storage.data_dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("rebuilding"))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[test]
fn the_command_rebuilds_and_says_what_it_did_not_bring_back() {
    let world = world();
    world.lose_catalog();
    let run = |extra: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_antipode"))
            .args(["rebuild", "--from-store", "--config"])
            .arg(&world.config_path)
            .arg("--password-file")
            .arg(&world.password)
            .args(extra)
            .current_dir(world.folder.path())
            .output()
            .unwrap()
    };
    let output = run(&[]);
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for word in ["life 1", "users", "revoked", "pair", "region unfreeze eu-a"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let again = run(&["--json"]);
    assert!(!again.status.success());
    assert!(String::from_utf8_lossy(&again.stderr).contains("never replaces"));
}
