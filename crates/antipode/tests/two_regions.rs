//! End to end: real disks, two daemons on loopback that are the built binary, a region lost, bytes compared.
//! And the bad luck around it: a peer that is down, a grant that is missing, a disk that cannot be read, a
//! start of `antipode dev` that was killed in the middle.

#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use antipode::demo::disks::{Content, DiskPlan, MEBIBYTE, ServerPlan, change_blocks, first_difference};
use antipode::dev::api::ApiFailure;
use antipode::dev::failure::Failure;
use antipode::dev::place::{Description, Place};
use antipode::dev::region::{Item, RecordProgress, Server, await_until};
use antipode::dev::setup::{Region, SetUp, set_up};
use antipode::world::SystemTimer;
use control::workers::Timer;
use serde_json::{Value, json};

/// Longer than any backoff, much longer than any work here.
const PATIENCE_SECONDS: u64 = 120;

const PAGES: Content = Content::Pages { written_bytes: 10 * MEBIBYTE };
const FILES: Content = Content::Ext4 { file_bytes: 12 * MEBIBYTE, skip_files: 50 };

/// Two servers, three disks.
const SERVERS: [ServerPlan; 2] = [
    ServerPlan {
        name: "web",
        disks: &[
            DiskPlan { name: "root", size_bytes: 48 * MEBIBYTE, content: FILES },
            DiskPlan { name: "data", size_bytes: 24 * MEBIBYTE, content: PAGES },
        ],
    },
    ServerPlan { name: "db", disks: &[DiskPlan { name: "root", size_bytes: 20 * MEBIBYTE, content: PAGES }] },
];
/// Servers of the same shape, empty.
const TARGETS: [ServerPlan; 2] = [
    ServerPlan {
        name: "web",
        disks: &[
            DiskPlan { name: "root", size_bytes: 48 * MEBIBYTE, content: Content::Empty },
            DiskPlan { name: "data", size_bytes: 24 * MEBIBYTE, content: Content::Empty },
        ],
    },
    ServerPlan {
        name: "db",
        disks: &[DiskPlan { name: "root", size_bytes: 20 * MEBIBYTE, content: Content::Empty }],
    },
];

/// Two paired regions and a policy over the servers of the first.
struct World {
    a: Region,
    b: Region,
    policy_id: String,
    place: Place,
    _folder: tempfile::TempDir,
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
        let [a, b] = explained(set_up(&order, &mut |line| println!("{line}")).await);
        let policy_id = a.member.create_policy("nightly", &a.servers).await.unwrap();
        World { a, b, policy_id, place, _folder: folder }
    }

    /// Runs the policy; answers its items when all of them have ended, well or badly.
    async fn back_up(&self) -> Vec<Item> {
        let checkpoint_id = self.a.member.run_policy(&self.policy_id).await.unwrap();
        let query = format!("checkpoint_id={checkpoint_id}");
        let look = async || {
            let items = self.a.member.items(&query).await?;
            let is_over = items.iter().all(|item| matches!(item.status.as_str(), "available" | "error"));
            Ok(if is_over { Ok(items) } else { Err("protecting".to_owned()) })
        };
        explained(await_until("the backup", PATIENCE_SECONDS, look).await)
    }

    async fn replicate(&self) -> Result<Vec<String>, ApiFailure> {
        let queued = self.a.member.replicate_policy(&self.policy_id, &self.b.as_destination()).await?;
        Ok(queued.into_iter().map(|one| one.replication_record_id).collect())
    }

    /// Waits until a record is as wanted.
    async fn await_record(
        &self,
        id: &str,
        awaited: &str,
        is_so: impl Fn(&RecordProgress) -> bool,
    ) -> RecordProgress {
        let look = async || {
            let record = self.a.member.record_progress(id).await?;
            Ok(if is_so(&record) { Ok(record) } else { Err(format!("{record:?}")) })
        };
        explained(await_until(awaited, PATIENCE_SECONDS, look).await)
    }

    async fn await_done(&self, ids: &[String]) -> Vec<RecordProgress> {
        let mut records = Vec::new();
        for id in ids {
            records.push(self.await_record(id, "the end of a record", |record| record.is_final()).await);
        }
        let is_done = |record: &RecordProgress| record.state == "done" && record.receipt.is_some();
        assert!(records.iter().all(is_done), "{records:?}");
        records
    }

    /// Restores the newest replica of every server in the second region and compares all disks.
    async fn restore_and_compare(&self) {
        let replicas = self.b.member.items("image_type=replication").await.unwrap();
        for source in &self.a.servers {
            // Newest first.
            let replica = replicas.iter().find(|item| item.resource_id == source.id).unwrap();
            let target = self.b.servers.iter().find(|server| server.name == source.name).unwrap();
            self.restore(replica, target).await;
            for volume in &source.volumes {
                let restored = target.volumes.iter().find(|other| other.name == volume.name).unwrap();
                let difference =
                    first_difference(Path::new(&volume.path), Path::new(&restored.path)).unwrap();
                assert_eq!(difference, None, "{} of {}", volume.name, source.name);
            }
        }
    }

    async fn restore(&self, replica: &Item, target: &Server) {
        let volume =
            |name: &str| target.volumes.iter().find(|volume| volume.name == name).unwrap().id.clone();
        let backups = replica.extend_info.volume_backups.iter();
        let mapping = backups.map(|backup| (backup.id.clone(), volume(&backup.source_volume_name))).collect();
        let id = self.b.member.restore(replica, &target.id, &mapping).await.unwrap();
        let look = async || {
            let restore = self.b.member.restore_progress(&id).await?;
            match restore.status.as_str() {
                "success" => Ok(Ok(())),
                "fail" => Err(Failure::other(restore.reason)),
                other => Ok(Err(other.to_owned())),
            }
        };
        explained(await_until("the restore", PATIENCE_SECONDS, look).await);
    }

    /// The first region is lost with all it has, keys included.
    async fn lose_the_first_region(&mut self) {
        assert!(self.a.process.stop().await, "{}", self.a.process.log_tail());
        std::fs::remove_dir_all(self.place.region(&self.a.name)).unwrap();
    }
}

fn explained<T>(result: Result<T, Failure>) -> T {
    result.unwrap_or_else(|failure| panic!("{}", failure.explain()))
}

#[tokio::test]
async fn a_region_is_lost_and_every_disk_comes_back_in_the_other() {
    let mut world = World::begin().await;
    let items = world.back_up().await;
    assert!(items.len() == 2 && items.iter().all(|item| item.status == "available"), "{items:?}");
    let first = world.await_done(&world.replicate().await.unwrap()).await;
    for volume in world.a.servers.iter().flat_map(|server| &server.volumes) {
        change_blocks(Path::new(&volume.path), 15, 5).unwrap();
    }
    world.back_up().await;
    let second = world.await_done(&world.replicate().await.unwrap()).await;
    let sent = |records: &[RecordProgress]| records.iter().map(|record| record.sent_bytes).sum::<u64>();
    assert!(
        sent(&second) > 0 && sent(&second) * 4 < sent(&first),
        "{} after {}",
        sent(&second),
        sent(&first)
    );
    assert_eq!(world.replicate().await.unwrap(), Vec::<String>::new(), "nothing is left to replicate");

    world.lose_the_first_region().await;
    world.restore_and_compare().await;
}

#[tokio::test]
async fn a_peer_that_is_down_delays_a_replication_with_a_reason_and_nothing_else() {
    let mut world = World::begin().await;
    world.back_up().await;
    world.b.process.kill();
    let records = world.replicate().await.unwrap();
    assert_eq!(records.len(), 2, "the call does not need the destination");
    let waiting =
        world.await_record(&records[0], "a stated reason", |record| !record.reason.is_empty()).await;
    assert!(!waiting.is_final() && !waiting.reason_code.is_empty(), "{waiting:?}");
    assert_eq!(world.replicate().await.unwrap(), Vec::<String>::new(), "the records stay the current ones");
    assert_eq!(world.a.member.items("").await.unwrap().len(), 2, "reads go on");
    explained(world.b.start_again().await);
    world.await_done(&records).await;
    world.restore_and_compare().await;
}

#[tokio::test]
async fn without_a_grant_nothing_moves_and_a_new_one_is_enough() {
    let world = World::begin().await;
    world.back_up().await;
    let answer: Value = world.b.admin.get("/antipode/v1/grants").await.unwrap();
    for grant in answer["grants"].as_array().unwrap() {
        let id = grant["id"].as_str().unwrap();
        world.b.admin.delete(&format!("/antipode/v1/grants/{id}")).await.unwrap();
    }
    // The source may still know the grant that was taken back: then the records wait, else the call is refused.
    let records = match world.replicate().await {
        Ok(records) => {
            world.await_record(&records[0], "a stated reason", |record| !record.reason.is_empty()).await;
            records
        }
        Err(refused) => {
            assert_eq!(refused.status(), Some(400), "{refused}");
            assert!(refused.to_string().contains("BackupService.1011"), "{refused}");
            Vec::new()
        }
    };
    assert_eq!(world.b.member.items("").await.unwrap().len(), 0, "nothing arrived");
    let grant = json!({ "grant": {
        "source_region": world.a.name, "source_project_id": world.a.project_id, "mode": "restorable",
    } });
    let _: Value = world.b.admin.post("/antipode/v1/grants", &grant).await.unwrap();
    let look = async || match world.replicate().await {
        Ok(more) => Ok(Ok(more)),
        Err(refused) if refused.status() == Some(400) => Ok(Err(refused.to_string())),
        Err(other) => Err(other.into()),
    };
    let more = explained(await_until("the new grant", PATIENCE_SECONDS, look).await);
    let all: Vec<_> = records.into_iter().chain(more).collect();
    assert_eq!(all.len(), 2);
    world.await_done(&all).await;
    world.restore_and_compare().await;
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_fails_its_own_item_and_is_named() {
    let world = World::begin().await;
    let (bad, good) = (&world.a.servers[0], &world.a.servers[1]);
    let path = PathBuf::from(&bad.volumes[1].path);
    let aside = path.with_extension("aside");
    std::fs::rename(&path, &aside).unwrap();
    let items = world.back_up().await;
    let of = |server: &Server| items.iter().find(|item| item.resource_id == server.id).unwrap();
    assert_eq!((of(bad).status.as_str(), of(good).status.as_str()), ("error", "available"));
    let reason = &of(bad).extend_info.fail_reason;
    assert!(reason.contains(&bad.volumes[1].name) || reason.contains(&bad.volumes[1].id), "{reason}");
    let records = world.replicate().await.unwrap();
    assert_eq!(records.len(), 1, "what is not available does not travel");

    std::fs::rename(&aside, &path).unwrap();
    let items = world.back_up().await;
    assert!(items.iter().all(|item| item.status == "available"), "{items:?}");
    let more = world.replicate().await.unwrap();
    world.await_done(&[records, more].concat()).await;
    world.restore_and_compare().await;
}

/// Starts `antipode dev`.
fn dev(folder: &Path) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_antipode"));
    command.arg("dev").arg("--dir").arg(folder).args(["--regions", "north,south", "--json"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The line that `antipode dev` prints when it is ready.
fn ready_line(child: &mut Child) -> Description {
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap_or_else(|error| {
        let mut errors = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut errors).unwrap();
        panic!("{error}: {line}\n{errors}")
    })
}

#[tokio::test]
async fn dev_continues_with_what_is_there_after_kills_at_any_time_of_its_first_start() {
    let folder = tempfile::tempdir().unwrap();
    for milliseconds in [150, 700, 1500, 2500] {
        let mut child = dev(folder.path());
        SystemTimer.sleep(Duration::from_millis(milliseconds)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut child = dev(folder.path());
    let described = ready_line(&mut child);
    let written: Description =
        serde_json::from_slice(&std::fs::read(folder.path().join("dev.json")).unwrap()).unwrap();
    assert_eq!(described.line(), written.line());
    assert_eq!((described.regions.len(), described.servers.len()), (2, 4));
    assert!(described.regions[0].identity_url.ends_with("/identity/v3"));

    let status = Command::new("sh").args(["-c", &format!("kill -INT {}", child.id())]).status().unwrap();
    assert!(status.success());
    assert!(child.wait().unwrap().success(), "Ctrl-C is a good end");
    for region in &described.regions {
        let lock = File::open(folder.path().join(&region.name).join("data/lock")).unwrap();
        assert!(lock.try_lock().is_ok(), "{} still runs", region.name);
    }

    let mut again = dev(folder.path());
    let second = ready_line(&mut again);
    assert_eq!(second.line(), described.line(), "a second start changes nothing");
    Command::new("sh").args(["-c", &format!("kill -TERM {}", again.id())]).status().unwrap();
    assert!(again.wait().unwrap().success());
}
