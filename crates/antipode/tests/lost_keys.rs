//! What is lost, what still restores, and by which command: each row of the table in the README, done to
//! two real regions that are the built binary. And the epochs and KEKs of a region that lost nothing.
//!
//! `ANTIPODE_PYTHON` names a Python 3.11 with the packages of `tools/requirements.txt`; else `python3`.

#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use antipode::demo::disks::{Content, DiskPlan, MEBIBYTE, ServerPlan, change_blocks, first_difference};
use antipode::dev::api::ApiFailure;
use antipode::dev::failure::Failure;
use antipode::dev::place::Place;
use antipode::dev::region::{Item, Server, await_until};
use antipode::dev::setup::{KIT, Region, SetUp, set_up};
use serde_json::Value;

const PATIENCE_SECONDS: u64 = 120;
const PAGES: Content = Content::Pages { written_bytes: 3 * MEBIBYTE };
const SERVERS: [ServerPlan; 1] = [ServerPlan {
    name: "db",
    disks: &[DiskPlan { name: "root", size_bytes: 6 * MEBIBYTE, content: PAGES }],
}];
const TARGETS: [ServerPlan; 2] = [
    ServerPlan {
        name: "db",
        disks: &[DiskPlan { name: "root", size_bytes: 6 * MEBIBYTE, content: Content::Empty }],
    },
    ServerPlan { name: "own", disks: &[DiskPlan { name: "root", size_bytes: 6 * MEBIBYTE, content: PAGES }] },
];

/// Two paired regions. The first backed up `db` and replicated it; the second backed up `own`.
struct World {
    a: Region,
    b: Region,
    place: Place,
    /// The policies over `db` and over `own`.
    policies: [String; 2],
    /// Both regions as they were, their processes stopped.
    kept: PathBuf,
    /// What the disks of `db` and `own` held.
    wanted: [PathBuf; 2],
    _folder: tempfile::TempDir,
}

fn explained<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{}", failure.explain()))
}

fn copy_folder(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

impl World {
    async fn begin() -> World {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        let order = SetUp {
            place: place.clone(),
            regions: [("north".to_owned(), &SERVERS), ("south".to_owned(), &TARGETS)],
            port_base: None,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_antipode")),
        };
        let [a, b] = explained(set_up(&order, &mut |_| {}).await);
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).unwrap();
        let wanted = ["db", "own"].map(|name| kept.join(format!("{name}.wanted")));
        let policy = a.member.create_policy("nightly", &a.servers).await.unwrap();
        let own: Vec<Server> = b.servers.iter().filter(|server| server.name == "own").cloned().collect();
        let policies = [policy, b.member.create_policy("own", &own).await.unwrap()];
        let mut world = World { a, b, place, policies, kept, wanted, _folder: folder };
        back_up(&world.a, &world.policies[0]).await;
        back_up(&world.b, &world.policies[1]).await;
        world.replicate().await;
        for (server, wanted) in [world.a.servers[0].clone(), own[0].clone()].iter().zip(&world.wanted) {
            fs::copy(&server.volumes[0].path, wanted).unwrap();
        }
        world.stop().await;
        for name in ["north", "south"] {
            copy_folder(&world.place.region(name), &world.kept.join(name));
        }
        world
    }

    async fn stop(&mut self) {
        for region in [&mut self.a, &mut self.b] {
            assert!(region.process.stop().await, "{}", region.process.log_tail());
        }
    }

    /// Both regions as they were, disks empty, nothing running.
    async fn reset(&mut self) {
        self.stop().await;
        for name in ["north", "south"] {
            let folder = self.place.region(name);
            if folder.exists() {
                fs::remove_dir_all(&folder).unwrap();
            }
            copy_folder(&self.kept.join(name), &folder);
        }
        for server in self.a.servers.iter().chain(&self.b.servers) {
            let disk = fs::OpenOptions::new().write(true).open(&server.volumes[0].path).unwrap();
            disk.set_len(0).unwrap();
            disk.set_len(6 * MEBIBYTE).unwrap();
        }
    }

    async fn replicate(&self) {
        let queued = self.a.member.replicate_policy(&self.policies[0], &self.b.as_destination()).await;
        let queued = queued.unwrap();
        assert!(!queued.is_empty());
        for one in queued {
            let look = async || {
                let record = self.a.member.record_progress(&one.replication_record_id).await?;
                Ok(if record.state == "done" { Ok(()) } else { Err(format!("{record:?}")) })
            };
            explained(await_until("a replication", PATIENCE_SECONDS, look).await);
        }
    }

    fn key(&self, region: &str, name: &str) -> PathBuf {
        self.place.region(region).join("keys").join(name)
    }

    fn lose(&self, region: &str, names: &[&str]) {
        names.iter().for_each(|name| fs::remove_file(self.key(region, name)).unwrap());
    }

    /// The id of `db` in A, or of `own` in B: of the server that was backed up.
    fn resource(&self, server: &str) -> String {
        let region = if server == "db" { &self.a } else { &self.b };
        region.servers.iter().find(|one| one.name == server).unwrap().id.clone()
    }

    fn kit(&self, region: &str) -> String {
        self.kept.join(region).join(KIT).display().to_string()
    }

    /// `antipode key …` in a region.
    fn keys(&self, region: &str, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_antipode"))
            .arg("key")
            .args(arguments)
            .arg("--config")
            .arg(self.place.region(region).join("antipode.toml"))
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    fn must(&self, region: &str, arguments: &[&str]) -> String {
        let output = self.keys(region, arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "key {arguments:?} in {region}: {said}");
        said
    }

    fn must_refuse(&self, region: &str, arguments: &[&str], word: &str) {
        let output = self.keys(region, arguments);
        let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
        assert!(!output.status.success() && said.contains(word), "key {arguments:?} in {region}: {said}");
    }

    /// Starts a region, restores the newest item of a server there and compares.
    async fn must_restore(&mut self, side: Side, server: &str) {
        let resource = self.resource(server);
        let region = self.start(side).await;
        let item = newest(region, &resource).await;
        let target = region.servers.iter().find(|one| one.name == server).unwrap().clone();
        explained(restore(region, &item, &target).await);
        let wanted = &self.wanted[usize::from(server == "own")];
        let difference = first_difference(wanted, Path::new(&target.volumes[0].path)).unwrap();
        assert_eq!(difference, None, "{server} in {side:?}");
        self.stop().await;
    }

    async fn must_not_restore(&mut self, side: Side, server: &str) {
        let resource = self.resource(server);
        let region = self.start(side).await;
        let item = newest(region, &resource).await;
        let target = region.servers.iter().find(|one| one.name == server).unwrap().clone();
        let failure = restore(region, &item, &target).await.expect_err("its keys are lost");
        assert!(!failure.explain().is_empty());
        self.stop().await;
    }

    async fn start(&mut self, side: Side) -> &mut Region {
        let region = match side {
            Side::A => &mut self.a,
            Side::B => &mut self.b,
        };
        explained(region.start_again().await);
        region
    }

    /// The Python reader, on a bare store.
    fn read_bare(&self, store_of: &str, kits: &[&str], wanted: &Path) {
        let reader = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tools/antipode_restore.py");
        let python = std::env::var_os("ANTIPODE_PYTHON").unwrap_or_else(|| "python3".into());
        let store = self.place.region(store_of).join("data/store");
        let run = |arguments: &[&str]| {
            let mut command = Command::new(&python);
            command.arg(&reader).args(arguments).arg("--store").arg(&store).arg("--kit").args(kits);
            let output = command.output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
            output.stdout
        };
        let listed: Value = serde_json::from_slice(&run(&["list"])).unwrap();
        let items = listed.as_array().or_else(|| listed["items"].as_array()).unwrap();
        let restored = items.iter().any(|item| {
            let (item_id, volume) =
                (item["item"].as_str().unwrap(), item["volumes"][0]["id"].as_str().unwrap());
            let output = self.kept.join("from-the-bare-store");
            let _ = fs::remove_file(&output);
            run(&["restore", "--item", item_id, "--volume", volume, "--output", output.to_str().unwrap()]);
            first_difference(wanted, &output).unwrap().is_none()
        });
        assert!(restored, "{listed:#}");
    }
}

#[derive(Clone, Copy, Debug)]
enum Side {
    A,
    B,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

async fn back_up(region: &Region, policy: &str) -> Vec<Item> {
    let checkpoint = region.member.run_policy(policy).await.unwrap();
    let query = format!("checkpoint_id={checkpoint}");
    let look = async || {
        let items = region.member.items(&query).await?;
        let is_over = items.iter().all(|item| item.status == "available");
        Ok(if is_over { Ok(items) } else { Err(format!("{items:?}")) })
    };
    explained(await_until("the backup", PATIENCE_SECONDS, look).await)
}

/// The newest item of a server; lists begin with the newest.
async fn newest(region: &Region, resource: &str) -> Item {
    let mut items = region.member.items("").await.unwrap();
    items.extend(region.member.items("image_type=replication").await.unwrap());
    items.into_iter().find(|item| item.resource_id == resource).unwrap()
}

async fn restore(region: &Region, item: &Item, target: &Server) -> Result<(), Failure> {
    let backups = item.extend_info.volume_backups.iter();
    let mapping = backups.map(|backup| (backup.id.clone(), target.volumes[0].id.clone())).collect();
    let id = region.member.restore(item, &target.id, &mapping).await.map_err(told)?;
    let look = async || {
        let restore = region.member.restore_progress(&id).await?;
        match restore.status.as_str() {
            "success" => Ok(Ok(())),
            "fail" => Err(Failure::other(restore.reason)),
            other => Ok(Err(other.to_owned())),
        }
    };
    await_until("the restore", PATIENCE_SECONDS, look).await
}

fn told(failure: ApiFailure) -> Failure {
    Failure::other(format!("{failure:?}"))
}

#[tokio::test]
async fn what_is_lost_and_what_still_restores() {
    let mut world = World::begin().await;
    let (kit_a, kit_b) = (world.kit("north"), world.kit("south"));

    // The KEK of A: the replica restores in B; A recovers with its kit.
    world.reset().await;
    world.lose("north", &["kek"]);
    world.must_not_restore(Side::A, "db").await;
    world.must_restore(Side::B, "db").await;
    world.must("north", &["recover", &kit_a]);
    world.must_restore(Side::A, "db").await;
    world.must_refuse("north", &["recover", &kit_a], "nothing to recover");

    // The KEK of A and its kit: the replica restores in B, nothing in A.
    world.reset().await;
    world.lose("north", &["kek"]);
    world.must_refuse("north", &["recover"], "open any key");
    world.must_refuse("north", &["recover", &kit_b], "");
    world.must_restore(Side::B, "db").await;

    // The KEK of B: replicas restore at once, B's own after recovery with B's kit.
    world.reset().await;
    world.lose("south", &["kek"]);
    world.must_restore(Side::B, "db").await;
    world.must_not_restore(Side::B, "own").await;
    world.must("south", &["recover", &kit_b]);
    world.must_restore(Side::B, "own").await;

    // The KEKs of both: each recovers with its kit.
    world.reset().await;
    world.lose("north", &["kek"]);
    world.lose("south", &["kek"]);
    world.must("north", &["recover", &kit_a]);
    world.must("south", &["recover", &kit_b]);
    world.must_restore(Side::A, "db").await;
    world.must_restore(Side::B, "own").await;

    // The KEKs of both and both kits: replicas restore in B by its working keys, for good after recovery.
    world.reset().await;
    world.lose("north", &["kek"]);
    world.lose("south", &["kek"]);
    world.must("south", &["recover"]);
    world.must_restore(Side::B, "db").await;
    world.must_not_restore(Side::B, "own").await;

    // All keys of A and its store: B restores. All keys of both: the kits read the bare stores.
    world.reset().await;
    fs::remove_dir_all(world.place.region("north")).unwrap();
    fs::remove_dir_all(world.place.region("south").join("keys")).unwrap();
    world.read_bare("south", &[&kit_a], &world.wanted[0]);
    world.read_bare("south", &[&kit_b], &world.wanted[0]);
    world.read_bare("south", &[&kit_b], &world.wanted[1]);

    // The kit of A: nothing is lost, and a new one is made, in shares this time.
    world.reset().await;
    world.must("north", &["prove", &kit_a]);
    let out = world.kept.join("new-kit.txt").display().to_string();
    world.must("north", &["kit", "--out", &out, "--shares", "3/5"]);
    let share = |number: u8| out.replace(".txt", &format!("-share-{number}.txt"));
    world.must("north", &["prove", &share(5), &share(2), &share(3)]);
    world.must_refuse("north", &["prove", &share(5), &share(2)], "2 of the 3");
    world.must_refuse("north", &["prove", &kit_a], "newer kit");
    world.must_refuse("north", &["prove", &kit_b], "another region");
    world.lose("north", &["kek"]);
    world.must("north", &["recover", &share(1), &share(4), &share(5)]);
    world.must_restore(Side::A, "db").await;
    fs::remove_dir_all(world.place.region("north").join("keys")).unwrap();
    world.read_bare("north", &[&share(2), &share(1), &share(4)], &world.wanted[0]);
}

#[tokio::test]
async fn a_region_starts_without_any_of_its_keys_and_says_what_it_cannot_do() {
    let mut world = World::begin().await;
    world.reset().await;
    for (lost, can_back_up, word) in [
        (&["kek"][..], false, "the KEK"),
        (&["working"][..], false, "the working keys"),
        (&["recovery-public"][..], false, "the recovery key"),
        (&["tls"][..], true, "the TLS key"),
        (&["kek", "working"][..], false, "the KEK and the working keys"),
        (&["kek", "working", "recovery-public", "tls", "root"][..], false, "the KEK"),
    ] {
        world.reset().await;
        world.lose("south", lost);
        let policy = world.policies[1].clone();
        let region = world.start(Side::B).await;
        let items = region.member.items("").await.unwrap();
        assert!(!items.is_empty(), "lists go on without {lost:?}");
        match can_back_up {
            true => drop(back_up(region, &policy).await),
            false => {
                let why = format!("{:?}", region.member.run_policy(&policy).await.unwrap_err());
                assert!(why.contains("503") && why.contains(word), "{lost:?}: {why}");
            }
        }
        let log = region.process.log_tail();
        for part in ["stopped: ", "going on: ", "next: put keys/"] {
            assert!(log.contains(part), "{lost:?}: {log}");
        }
        assert!(!log.contains("panicked"), "{log}");
    }
    // Somebody else's KEK is as good as none.
    world.reset().await;
    fs::copy(world.key("north", "kek"), world.key("south", "kek")).unwrap();
    let region = world.start(Side::B).await;
    assert!(
        region.process.log_tail().contains("not the KEK of this region"),
        "{}",
        region.process.log_tail()
    );
    world.must_refuse("south", &["new-epoch"], "another process");
    world.stop().await;
    world.must_refuse("south", &["new-epoch"], "not the KEK of this region");
}

#[tokio::test]
async fn epochs_and_keks_change_while_replication_goes_on() {
    let mut world = World::begin().await;
    world.reset().await;
    for (disk, wanted) in [(&world.a.servers[0], &world.wanted[0]), (&world.b.servers[1], &world.wanted[1])] {
        fs::copy(wanted, &disk.volumes[0].path).unwrap();
    }
    let said = world.must("north", &["new-epoch"]);
    assert!(said.contains("epoch 2"), "{said}");
    let said = world.must("north", &["rotate"]);
    assert!(said.contains("KEK 1 is in use"), "{said}");
    world.must("north", &["retire", "--kek", "0"]);
    world.must_refuse("north", &["retire", "2"], "current");
    let disk = world.a.servers[0].volumes[0].path.clone();
    change_blocks(Path::new(&disk), 30, 5).unwrap();
    fs::copy(&disk, &world.wanted[0]).unwrap();
    explained(world.a.start_again().await);
    explained(world.b.start_again().await);
    back_up(&world.a, &world.policies[0]).await;
    world.replicate().await;
    world.stop().await;
    world.must_restore(Side::B, "db").await;
    let said = world.must("north", &["retire", "1"]);
    assert!(said.contains("the 2 backups in the store that list it"), "{said}");
    world.must_refuse("north", &["retire", "1", "--destroy"], "2 backups in the store list epoch 1");
    let said = world.must("north", &["show"]);
    assert!(said.contains("1 (retired), 2"), "{said}");
    world.must("north", &["prove", &world.kit("north")]);
}

#[test]
fn a_region_lives_on_a_passphrase_and_a_kit_in_shares() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let private = |name: &str, content: &str| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (password, horse) =
        (private("password", "a long password"), private("horse", "correct horse battery\n"));
    let staple = private("staple", "battery staple correct\n");
    let home = folder.path().join("home");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_antipode"));
        let output = command.args(arguments).stdin(Stdio::null()).output().unwrap();
        (output.status.success(), format!("{}{}", text(&output.stdout), text(&output.stderr)))
    };
    let share = |number: u8| home.join(format!("recovery-kit-share-{number}.txt")).display().to_string();
    let init = |extra: &[&str]| {
        let home = home.to_str().unwrap();
        let mut line = vec!["init", "--region", "east", "--dir", home, "--password-file", &password];
        line.extend(["--kek-passphrase-file", &horse, "--kit-shares", "2/3"]);
        line.extend(extra);
        run(&line)
    };
    let (is_done, said) = init(&[]);
    assert!(!is_done && said.contains("was not read back"), "{said}");
    let (is_done, said) = init(&["--kit-copy", &share(2)]);
    assert!(!is_done && said.contains("1 of the 2 shares"), "{said}");
    let (is_done, said) = init(&["--kit-copy", &share(2), "--kit-copy", &share(3)]);
    assert!(is_done, "{said}");

    let config = home.join("antipode.toml");
    let key = |arguments: &[&str]| {
        let mut line = vec!["key"];
        line.extend(arguments);
        line.extend(["--config", config.to_str().unwrap()]);
        run(&line)
    };
    let (_, said) = key(&["show"]);
    assert!(said.contains("passphrase (argon2id, 65536 KiB, 3 passes, 4 lanes)"), "{said}");
    let (is_done, said) = key(&["rotate", "--new-passphrase-file", &staple]);
    assert!(is_done && said.contains("KEK 1 is in use"), "{said}");
    let (_, said) = key(&["show"]);
    assert!(said.contains("the passphrase is another one"), "{said}");
    let changed = fs::read_to_string(&config).unwrap().replace("horse", "staple");
    fs::write(&config, &changed).unwrap();
    let (is_done, said) = key(&["show"]);
    assert!(is_done && said.contains("kek  number 1, passphrase"), "{said}");
    let (is_done, said) = key(&["retire", "--kek", "0"]);
    assert!(is_done, "{said}");
    fs::write(&config, changed.replace("\"passphrase\"", "\"file\"")).unwrap();
    let (is_done, said) = key(&["rotate"]);
    assert!(is_done && said.contains("KEK 2 is in use"), "{said}");
    fs::remove_file(home.join("keys/kek")).unwrap();
    fs::remove_file(home.join("keys/kek-0001")).unwrap();
    let (is_done, said) = init(&["--waive-kit", "east"]);
    assert!(!is_done && said.contains("its KEK"), "{said}");
}
