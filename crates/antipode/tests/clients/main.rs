//! Real clients against two running regions: each script beside this file logs in with one client, in the
//! version of `tools/requirements.txt`, and tells a whole story; schemathesis tries what no client would.
//!
//! `ANTIPODE_PYTHON` names a Python 3.11 with the packages of `tools/requirements.txt`; else `python3`.
//! `ANTIPODE_SCHEMATHESIS_SECONDS` and `ANTIPODE_SCHEMATHESIS_SEED` make that run longer, or repeat one.

#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

use std::path::{Path, PathBuf};
use std::process::Stdio;

use antipode::demo::disks::{Content, DiskPlan, MEBIBYTE, ServerPlan};
use antipode::dev::place::Place;
use antipode::dev::setup::{Region, SetUp, describe, set_up};

const SERVERS: [ServerPlan; 1] = [ServerPlan {
    name: "web",
    disks: &[
        DiskPlan { name: "root", size_bytes: 4 * MEBIBYTE, content: PAGES },
        DiskPlan { name: "data", size_bytes: 2 * MEBIBYTE, content: PAGES },
    ],
}];
const PAGES: Content = Content::Pages { written_bytes: MEBIBYTE };

/// Two paired regions, and the file that says how to use them.
struct World {
    regions: [Region; 2],
    place: Place,
    _folder: tempfile::TempDir,
}

impl World {
    async fn begin() -> World {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        let order = SetUp {
            place: place.clone(),
            regions: [("cn-north-1".to_owned(), &SERVERS), ("cn-east-2".to_owned(), &SERVERS)],
            port_base: None,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_antipode")),
        };
        let regions = set_up(&order, &mut |line| println!("{line}")).await;
        let regions = regions.unwrap_or_else(|failure| panic!("{}", failure.explain()));
        describe(&regions).write(&place).unwrap();
        World { regions, place, _folder: folder }
    }

    /// Runs one of the scripts and expects it to end well.
    async fn hears(&self, script: &str) {
        let python = std::env::var_os("ANTIPODE_PYTHON").unwrap_or_else(|| "python3".into());
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients");
        let mut command = tokio::process::Command::new(python);
        command
            .arg(folder.join(script))
            .arg(self.place.description())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        // Scripts leave no compiled files beside themselves, and clients ask no proxy the way to this machine.
        command
            .current_dir(self.place.folder())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("NO_PROXY", "127.0.0.1");
        let status = command.status().await.unwrap();
        let log = |region: &Region| format!("{}:\n{}", region.name, region.process.log_tail());
        assert!(status.success(), "{script}: {status}\n{}", self.regions.iter().map(log).collect::<String>());
    }
}

#[tokio::test]
async fn keystoneauth_tells_its_story() {
    World::begin().await.hears("with_keystoneauth.py").await;
}

#[tokio::test]
async fn openstacksdk_tells_its_story() {
    World::begin().await.hears("with_openstacksdk.py").await;
}

#[tokio::test]
async fn otcextensions_tells_its_story() {
    World::begin().await.hears("with_otcextensions.py").await;
}

#[tokio::test]
async fn karborclient_tells_its_story() {
    World::begin().await.hears("with_karborclient.py").await;
}

#[tokio::test]
async fn the_core_of_the_origins_sdk_tells_its_story_with_signed_requests() {
    World::begin().await.hears("with_huaweicloudsdkcore.py").await;
}

#[tokio::test]
async fn the_openstack_command_tells_its_story() {
    World::begin().await.hears("with_openstack_command.py").await;
}

#[tokio::test]
async fn schemathesis_finds_no_server_error_and_nothing_that_the_document_does_not_say() {
    World::begin().await.hears("with_schemathesis.py").await;
}
