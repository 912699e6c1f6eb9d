//! One world of two regions, that are the built binary over real disks, and what must be true of it after
//! anything has struck: every backup is available and restores to the very bytes it was made from, each has
//! exactly one replica which restores to the same, and what was sent twice is within what the design allows.
//! What strikes is a [`Blow`]; after it nobody helps.

#![allow(dead_code, reason = "each test program uses its own part of the world")]
#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

mod collection;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use antipode::demo::disks::{Content, DiskPlan, MEBIBYTE, Numbers, ServerPlan, change_blocks};
use antipode::dev::api::{ApiFailure, RegionApi};
use antipode::dev::failure::Failure;
use antipode::dev::place::Place;
use antipode::dev::process::ServeProcess;
use antipode::dev::region::{Item, Server, await_until};
use antipode::dev::setup::{Region, SetUp, set_up};
use antipode::world::{SystemClock, SystemEntropy, SystemTimer};
use control::workers::Timer;
use model::policy::PROVIDER_ID;
use serde_json::Value;
use tempfile::TempDir;
use vault::seams::{Clock, Entropy};

use collection::{await_collected, order_collections, pack_bytes, set_keep};

/// Longer than any backoff after a strike, much longer than any work here.
const PATIENCE_SECONDS: u64 = 120;
/// What one strike may cost (design §6): one unsynced pack and the frames in flight for each stream; two items
/// move at once.
const RESENT_BYTES_PER_KILL: u64 = 2 * (32 + 8 + 8) * MEBIBYTE;
/// The first guess of how long a phase takes, until one was measured.
const GUESS_MS: u64 = 400;

const fn disk(name: &'static str, mebibytes: u64, written: u64) -> DiskPlan {
    let content = Content::Pages { written_bytes: written * MEBIBYTE };
    DiskPlan { name, size_bytes: mebibytes * MEBIBYTE, content }
}

const fn empty(name: &'static str, mebibytes: u64) -> DiskPlan {
    DiskPlan { name, size_bytes: mebibytes * MEBIBYTE, content: Content::Empty }
}

/// Source servers, and servers of the same shape that the source region restores to.
const SOURCE: [ServerPlan; 4] = [
    ServerPlan { name: "one", disks: &[disk("root", 24, 12), disk("data", 8, 6)] },
    ServerPlan { name: "two", disks: &[disk("root", 16, 10)] },
    ServerPlan { name: "one-target", disks: &[empty("root", 24), empty("data", 8)] },
    ServerPlan { name: "two-target", disks: &[empty("root", 16)] },
];
const DESTINATION: [ServerPlan; 2] = [
    ServerPlan { name: "one-target", disks: &[empty("root", 24), empty("data", 8)] },
    ServerPlan { name: "two-target", disks: &[empty("root", 16)] },
];

/// What strikes a region's process.
pub(crate) trait Blow: Send + Sync {
    /// Prepares what lies under a region; its process is stopped.
    fn lay_ground(&self, _region: &str) -> Result<(), Failure> {
        Ok(())
    }

    /// Strikes the process of the named region; it is dead afterwards.
    fn strike(&self, region: &str, process: &mut ServeProcess) -> Result<(), Failure>;

    /// Gives the region back what its process needs to be started again.
    fn mend(&self, _region: &str) -> Result<(), Failure> {
        Ok(())
    }
}

/// Where in a round the blow falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Backup,
    Replication,
    Publish,
    RestoreAtSource,
    RestoreAtDestination,
    Deletion,
    Collection,
}

/// How many of the phases at the end of `PHASES` need checkpoints that are deleted.
const PHASES_AFTER_DELETION: usize = 3;
/// The phases that are drawn from.
const PHASES: [Phase; 11] = [
    Phase::Backup,
    Phase::Backup,
    Phase::Replication,
    Phase::Replication,
    Phase::Publish,
    Phase::Publish,
    Phase::RestoreAtSource,
    Phase::RestoreAtDestination,
    Phase::Deletion,
    Phase::Collection,
    Phase::Collection,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Victim {
    Source,
    Destination,
    Both,
}

/// One blow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Strike {
    phase: Phase,
    victim: Victim,
    /// A place between the beginning of the phase (0) and a little after its usual end (1000).
    moment: u64,
}

impl Strike {
    fn draw(numbers: &mut Numbers, is_deleting: bool) -> Strike {
        let phases = if is_deleting { &PHASES[..] } else { &PHASES[..PHASES.len() - PHASES_AFTER_DELETION] };
        let phase = phases[numbers.below(phases.len() as u64) as usize];
        let either = [Victim::Source, Victim::Destination, Victim::Both][numbers.below(3) as usize];
        let victim = match phase {
            Phase::Backup | Phase::RestoreAtSource => Victim::Source,
            Phase::RestoreAtDestination => Victim::Destination,
            Phase::Replication | Phase::Publish | Phase::Deletion | Phase::Collection => either,
        };
        Strike { phase, victim, moment: numbers.below(1000) }
    }
}

/// What every disk of an item held when it was made: by volume name.
type Contents = BTreeMap<String, u64>;

pub(crate) struct World {
    blow: Box<dyn Blow>,
    source: Region,
    destination: Region,
    source_api: Arc<RegionApi>,
    destination_api: Arc<RegionApi>,
    policy_id: String,
    /// How many of the newest checkpoints are kept; all when nothing is said.
    checkpoints_kept: Option<usize>,
    /// The runs whose items are known, oldest first.
    checkpoints: VecDeque<String>,
    /// By item at the source.
    contents: BTreeMap<String, Contents>,
    /// How long each phase took when it was undisturbed last.
    usual_ms: BTreeMap<&'static str, u64>,
    resent_bytes: u64,
    sent_bytes: u64,
}

/// A digest of a whole disk, good enough to tell two disks of a test apart.
fn digest(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(&std::fs::read(path).unwrap());
    hasher.finish()
}

fn contents_of(server: &Server) -> Contents {
    server.volumes.iter().map(|volume| (volume.name.clone(), digest(Path::new(&volume.path)))).collect()
}

fn check(is_so: bool, text: impl FnOnce() -> String) -> Result<(), Failure> {
    if is_so { Ok(()) } else { Err(Failure::other(text())) }
}

/// A lost answer is no failure here: what became of the order is found out afterwards.
fn or_lost<T>(answer: Result<T, ApiFailure>) -> Result<Option<T>, Failure> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(failure) if failure.is_passing() => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// Waits until any of the source's newest records is about to be published.
async fn await_publishing(api: &RegionApi, limit_ms: u64) {
    let begun_ms = SystemClock.now_ms();
    while SystemClock.now_ms() - begun_ms < limit_ms {
        let answer = api.get::<Value>("/v1/{project}/replication_records?status=replicating").await;
        for record in answer.iter().flat_map(|answer| answer["replication_records"].as_array()).flatten() {
            let Some(id) = record["id"].as_str() else { continue };
            let seen = api.record_progress(id).await;
            if seen.is_ok_and(|record| matches!(record.state.as_str(), "verifying" | "publishing")) {
                return;
            }
        }
        SystemTimer.sleep(Duration::from_millis(1)).await;
    }
}

/// Deletes checkpoints, if a lost order did not, and waits until their items are gone.
async fn await_deleted(
    api: &RegionApi,
    checkpoints: &BTreeSet<String>,
    items: &[String],
) -> Result<(), Failure> {
    let look = async || {
        for item in items {
            match api.item(item).await {
                Err(failure) if failure.status() == Some(404) => {}
                Err(failure) => return Err(failure.into()),
                Ok(item) if item.status == "deleting" => return Ok(Err(item.status)),
                Ok(item) => {
                    for checkpoint in checkpoints {
                        let path =
                            format!("/v1/{{project}}/providers/{PROVIDER_ID}/checkpoints/{checkpoint}");
                        api.delete(&path).await?;
                    }
                    return Ok(Err(item.status));
                }
            }
        }
        Ok(Ok(()))
    };
    await_until("the deletion", PATIENCE_SECONDS, look).await
}

impl World {
    /// Two regions in a folder, their grounds laid, with a policy over two servers.
    pub(crate) async fn begin(
        folder: &Path,
        blow: Box<dyn Blow>,
        checkpoints_kept: Option<usize>,
    ) -> Result<World, Failure> {
        let order = SetUp {
            place: Place::new(folder)?,
            regions: [("north".to_owned(), &SOURCE), ("south".to_owned(), &DESTINATION)],
            port_base: None,
            binary: PathBuf::from(env!("CARGO_BIN_EXE_antipode")),
        };
        let [mut source, mut destination] = set_up(&order, &mut |line| println!("{line}")).await?;
        for region in [&mut source, &mut destination] {
            region.process.stop().await;
            set_keep(&folder.join(&region.name).join("antipode.toml"))?;
            blow.lay_ground(&region.name)?;
            region.start_again().await?;
        }
        let policy_id = source.member.create_policy("all", &source.servers[..2]).await?;
        Ok(World {
            blow,
            source_api: Arc::new(source.member_api()),
            destination_api: Arc::new(destination.member_api()),
            source,
            destination,
            policy_id,
            checkpoints_kept,
            checkpoints: VecDeque::new(),
            contents: BTreeMap::new(),
            usual_ms: BTreeMap::new(),
            resent_bytes: 0,
            sent_bytes: 0,
        })
    }

    /// One round: change, back up, replicate, restore on both sides, with one strike somewhere.
    pub(crate) async fn round(&mut self, numbers: &mut Numbers) -> Result<Strike, Failure> {
        let strike = Strike::draw(numbers, self.checkpoints_kept.is_some());
        for server in &self.source.servers[..2] {
            for volume in &server.volumes {
                let path = Path::new(&volume.path);
                change_blocks(path, 20 + numbers.below(200), numbers.next())
                    .map_err(Failure::io("changing", path))?;
            }
        }
        let items = self.back_up(strike).await?;
        self.replicate(&items, strike).await?;
        let newest = &items[numbers.below(items.len() as u64) as usize];
        let any = self.contents.keys().nth(numbers.below(self.contents.len() as u64) as usize).cloned();
        self.restore_at_source(any.as_deref().unwrap_or(&newest.id), strike).await?;
        self.restore_at_destination(&newest.id, strike).await?;
        while self.checkpoints_kept.is_some_and(|kept| kept < self.checkpoints.len()) {
            self.delete_oldest(strike).await?;
        }
        if self.checkpoints_kept.is_some() {
            self.collect(strike).await?;
        }
        self.audit().await?;
        Ok(strike)
    }

    /// Deletes the oldest checkpoint on both sides, the replicas first.
    async fn delete_oldest(&mut self, strike: Strike) -> Result<(), Failure> {
        let Some(checkpoint_id) = self.checkpoints.pop_front() else { return Ok(()) };
        let strike = (strike.phase == Phase::Deletion).then_some(strike);
        let items = self.source_api.items(&format!("checkpoint_id={checkpoint_id}")).await?;
        let replicas = items.iter().flat_map(|item| &item.replication_records);
        let replicas: Vec<_> =
            replicas.filter_map(|record| record.destination_checkpoint_item_id.clone()).collect();
        let mut there = BTreeSet::new();
        for replica in &replicas {
            there.insert(self.destination_api.item(replica).await?.checkpoint_id);
        }
        let begun_ms = SystemClock.now_ms();
        let (source, destination) = (self.source_api.clone(), self.destination_api.clone());
        let path = |id: &str| format!("/v1/{{project}}/providers/{PROVIDER_ID}/checkpoints/{id}");
        let order = async {
            for checkpoint in &there {
                destination.delete(&path(checkpoint)).await?;
            }
            source.delete(&path(&checkpoint_id)).await
        };
        self.under_fire(strike, "deletion", order).await?;
        for item in &items {
            self.contents.remove(&item.id);
        }
        let ids = items.into_iter().map(|item| item.id);
        await_deleted(&self.destination_api, &there, &replicas).await?;
        await_deleted(&self.source_api, &BTreeSet::from([checkpoint_id.clone()]), &ids.collect::<Vec<_>>())
            .await?;
        self.note_usual("deletion", strike, begun_ms);
        Ok(())
    }

    /// Collects every vault on both sides.
    async fn collect(&mut self, strike: Strike) -> Result<(), Failure> {
        let strike = (strike.phase == Phase::Collection).then_some(strike);
        let begun_ms = SystemClock.now_ms();
        let operators = [self.source.operator_api(), self.destination.operator_api()];
        let order = async {
            for operator in &operators {
                order_collections(operator).await?;
            }
            Ok(())
        };
        if self.under_fire(strike, "collection", order).await?.is_none() {
            for operator in &operators {
                order_collections(operator).await?;
            }
        }
        for operator in &operators {
            await_collected(operator, begun_ms).await?;
        }
        self.note_usual("collection", strike, begun_ms);
        Ok(())
    }

    /// After a last collection the stores hold little that no backup needs.
    async fn check_space(&mut self) -> Result<(), Failure> {
        let nothing = Strike { phase: Phase::Backup, victim: Victim::Source, moment: 0 };
        self.collect(nothing).await?;
        for region in [&self.source, &self.destination] {
            let answer: Value = region.operator.get("/antipode/v1/vaults").await?;
            let vaults = answer["vaults"].as_array().into_iter().flatten();
            let live = vaults.filter_map(|vault| vault["collection"]["live_bytes"].as_u64()).sum::<u64>();
            let stored = pack_bytes(&region.config.storage.store_dir().join("vaults"))?;
            println!("{}: {} KiB needed of {} KiB in packs", region.name, live / 1024, stored / 1024);
            check(stored <= live + live / 2 + MEBIBYTE, || format!("{stored} bytes in packs, {live} live"))?;
        }
        Ok(())
    }

    /// Gives an order while, if it is the strike's turn, processes are killed; then starts them again.
    async fn under_fire<T>(
        &mut self,
        strike: Option<Strike>,
        phase: &'static str,
        order: impl Future<Output = Result<T, ApiFailure>>,
    ) -> Result<Option<T>, Failure> {
        let Some(strike) = strike else { return or_lost(order.await) };
        let usual_ms = self.usual_ms.get(phase).copied().unwrap_or(GUESS_MS);
        let api = self.source_api.clone();
        let (source, destination) = (&mut self.source, &mut self.destination);
        let mut victims = Vec::new();
        if strike.victim != Victim::Destination {
            victims.push((source.name.clone(), &mut source.process));
        }
        if strike.victim != Victim::Source {
            victims.push((destination.name.clone(), &mut destination.process));
        }
        let blow = &self.blow;
        let falling = async {
            if strike.phase == Phase::Publish {
                await_publishing(&api, usual_ms * 3 + 1000).await;
                SystemTimer.sleep(Duration::from_millis(strike.moment / 50)).await;
            } else {
                SystemTimer.sleep(Duration::from_millis(usual_ms * strike.moment / 900)).await;
            }
            victims.iter_mut().try_for_each(|(region, process)| blow.strike(region, process))
        };
        let (answer, fallen) = tokio::join!(order, falling);
        fallen?;
        if strike.victim != Victim::Destination {
            self.blow.mend(&self.source.name)?;
            self.source.start_again().await?;
        }
        if strike.victim != Victim::Source {
            self.blow.mend(&self.destination.name)?;
            self.destination.start_again().await?;
        }
        or_lost(answer)
    }

    fn note_usual(&mut self, phase: &'static str, strike: Option<Strike>, begun_ms: u64) {
        if strike.is_none() {
            self.usual_ms.insert(phase, SystemClock.now_ms() - begun_ms);
        }
    }

    async fn back_up(&mut self, strike: Strike) -> Result<Vec<Item>, Failure> {
        let strike = (strike.phase == Phase::Backup).then_some(strike);
        let contents: BTreeMap<String, Contents> =
            self.source.servers[..2].iter().map(|server| (server.id.clone(), contents_of(server))).collect();
        let begun_ms = SystemClock.now_ms();
        let (api, policy_id) = (self.source_api.clone(), self.policy_id.clone());
        self.under_fire(strike, "backup", async { api.run_policy(&policy_id).await }).await?;
        let mut new = self.new_items().await?;
        if new.is_empty() {
            api.run_policy(&policy_id).await?;
            new = self.new_items().await?;
        }
        check(new.len() == 2, || format!("one run made {} items", new.len()))?;
        let query = format!("checkpoint_id={}", new[0].checkpoint_id);
        let look = async || {
            let items = api.items(&query).await?;
            if let Some(failed) = items.iter().find(|item| item.status == "error") {
                return Err(Failure::other(format!(
                    "backup {} failed: {}",
                    failed.id, failed.extend_info.fail_reason
                )));
            }
            let open = items.iter().find(|item| item.status != "available").map(|item| item.status.clone());
            Ok(open.map_or(Ok(items), Err))
        };
        let items = await_until("the backup", PATIENCE_SECONDS, look).await?;
        self.note_usual("backup", strike, begun_ms);
        for item in &items {
            self.contents.insert(item.id.clone(), contents[&item.resource_id].clone());
        }
        self.checkpoints.push_back(items[0].checkpoint_id.clone());
        Ok(items)
    }

    /// Items that no earlier round knows.
    async fn new_items(&self) -> Result<Vec<Item>, Failure> {
        let items = self.source_api.items("limit=10").await?;
        Ok(items.into_iter().filter(|item| !self.contents.contains_key(&item.id)).collect())
    }

    async fn replicate(&mut self, items: &[Item], strike: Strike) -> Result<(), Failure> {
        let strike = matches!(strike.phase, Phase::Replication | Phase::Publish).then_some(strike);
        let begun_ms = SystemClock.now_ms();
        let (api, policy_id) = (self.source_api.clone(), self.policy_id.clone());
        let to = self.destination.as_destination();
        let order = async { api.replicate_policy(&policy_id, &to).await };
        let first = self.under_fire(strike, "replication", order).await?.unwrap_or_default();
        let second = api.replicate_policy(&policy_id, &to).await?;
        let listed: Vec<_> = first.iter().chain(&second).map(|queued| &queued.checkpoint_item_id).collect();
        let distinct: BTreeSet<_> = listed.iter().collect();
        check(listed.len() == distinct.len(), || format!("two calls listed an item twice: {listed:?}"))?;
        let query = format!("checkpoint_id={}", items[0].checkpoint_id);
        let look = async || {
            let items = api.items(&query).await?;
            let statuses =
                items.iter().flat_map(|item| &item.replication_records).map(|record| record.status.as_str());
            let statuses: Vec<_> = statuses.collect();
            if let Some(bad) = statuses.iter().find(|status| matches!(**status, "fail" | "skip")) {
                return Err(Failure::other(format!("a record ended as {bad}")));
            }
            let is_over = statuses.len() == 2 && statuses.iter().all(|status| *status == "success");
            Ok(if is_over { Ok(items) } else { Err(statuses.join(", ")) })
        };
        let items = await_until("the replication", PATIENCE_SECONDS, look).await?;
        self.note_usual("replication", strike, begun_ms);
        self.count_bytes(&items, strike).await
    }

    /// What was sent twice is stated, and is within what the strike may cost.
    async fn count_bytes(&mut self, items: &[Item], strike: Option<Strike>) -> Result<(), Failure> {
        let mut resent_bytes = 0;
        for record in items.iter().flat_map(|item| &item.replication_records) {
            let record = self.source_api.record_progress(&record.id).await?;
            check(record.state == "done" && record.receipt.is_some(), || {
                format!("record {} has no receipt", record.id)
            })?;
            resent_bytes += record.resent_bytes;
            self.sent_bytes += record.sent_bytes;
        }
        self.resent_bytes += resent_bytes;
        let allowed = match strike.map(|strike| strike.victim) {
            None => 0,
            Some(Victim::Both) => 2 * RESENT_BYTES_PER_KILL,
            Some(_) => RESENT_BYTES_PER_KILL,
        };
        check(resent_bytes <= allowed, || {
            format!("{resent_bytes} bytes were sent twice, {allowed} are allowed")
        })
    }

    async fn restore_at_source(&mut self, item_id: &str, strike: Strike) -> Result<(), Failure> {
        let strike = (strike.phase == Phase::RestoreAtSource).then_some(strike);
        let item = self.source_api.item(item_id).await?;
        let (api, servers) = (self.source_api.clone(), self.source.servers.clone());
        self.restore(&api, &servers, &item, item_id, ("restore at the source", strike)).await
    }

    async fn restore_at_destination(&mut self, source_item_id: &str, strike: Strike) -> Result<(), Failure> {
        let strike = (strike.phase == Phase::RestoreAtDestination).then_some(strike);
        let item = self.source_api.item(source_item_id).await?;
        let replica = item.replication_records[0].destination_checkpoint_item_id.clone();
        let replica = replica.ok_or_else(|| Failure::other("a record that succeeded names no replica"))?;
        let replica = self.destination_api.item(&replica).await?;
        let (api, servers) = (self.destination_api.clone(), self.destination.servers.clone());
        self.restore(&api, &servers, &replica, source_item_id, ("restore at the destination", strike)).await
    }

    /// Restores an item onto the empty server of its shape and compares it with what was backed up.
    async fn restore(
        &mut self,
        api: &RegionApi,
        servers: &[Server],
        item: &Item,
        source_item_id: &str,
        (phase, strike): (&'static str, Option<Strike>),
    ) -> Result<(), Failure> {
        let volume_count = item.extend_info.volume_backups.len();
        let fits =
            |server: &&Server| server.name.ends_with("-target") && server.volumes.len() == volume_count;
        let target = servers.iter().find(fits).ok_or_else(|| Failure::other("no server to restore to"))?;
        let volume = |name: &str| {
            target.volumes.iter().find(|volume| volume.name == name).map(|volume| volume.id.clone())
        };
        let backups = item.extend_info.volume_backups.iter();
        let mapping = backups
            .filter_map(|backup| Some((backup.id.clone(), volume(&backup.source_volume_name)?)))
            .collect();
        let known: BTreeSet<_> = api.restores().await?.into_iter().map(|restore| restore.id).collect();
        let begun_ms = SystemClock.now_ms();
        self.under_fire(strike, phase, async { api.restore(item, &target.id, &mapping).await }).await?;
        let mut new: Vec<_> = api.restores().await?.into_iter().map(|restore| restore.id).collect();
        new.retain(|id| !known.contains(id));
        if new.is_empty() {
            new.push(api.restore(item, &target.id, &mapping).await?);
        }
        check(new.len() == 1, || format!("one order made {} restores", new.len()))?;
        let look = async || {
            let restore = api.restore_progress(&new[0]).await?;
            match restore.status.as_str() {
                "success" => Ok(Ok(())),
                "fail" => Err(Failure::other(format!("{phase}: {}", restore.reason))),
                other => Ok(Err(other.to_owned())),
            }
        };
        await_until(phase, PATIENCE_SECONDS, look).await?;
        self.note_usual(phase, strike, begun_ms);
        let (wanted, found) = (&self.contents[source_item_id], contents_of(target));
        check(*wanted == found, || {
            format!("{phase} of {source_item_id} gave other bytes: {wanted:?} became {found:?}")
        })
    }

    /// Everything is at its end: each item is available and has one record and one replica.
    async fn audit(&self) -> Result<(), Failure> {
        let items = self.source_api.items("").await?;
        let ids: BTreeSet<_> = items.iter().map(|item| item.id.as_str()).collect();
        check(ids.len() == self.contents.len(), || {
            format!("{} items of {}", ids.len(), self.contents.len())
        })?;
        for item in &items {
            check(item.status == "available", || format!("item {} is {}", item.id, item.status))?;
            let statuses: Vec<_> =
                item.replication_records.iter().map(|record| record.status.as_str()).collect();
            check(statuses == ["success"], || format!("item {} has records {statuses:?}", item.id))?;
        }
        let replicas = self.destination_api.items("image_type=replication").await?;
        let is_available = |item: &Item| item.status == "available";
        check(replicas.iter().all(is_available), || "a replica is not available".to_owned())?;
        let sources: Vec<_> = replicas
            .iter()
            .flat_map(|replica| &replica.replication_records)
            .map(|record| record.source_checkpoint_item_id.as_str())
            .collect();
        let distinct: BTreeSet<_> = sources.iter().copied().collect();
        check(replicas.len() == ids.len() && sources.len() == replicas.len() && distinct == ids, || {
            format!("{} items have {} replicas of {} of them", ids.len(), replicas.len(), distinct.len())
        })
    }

    /// Restores every item and every replica once more.
    pub(crate) async fn audit_all(&mut self) -> Result<(), Failure> {
        let nothing = Strike { phase: Phase::Backup, victim: Victim::Source, moment: 0 };
        let ids: Vec<_> = self.contents.keys().cloned().collect();
        for id in &ids {
            self.restore_at_source(id, nothing).await?;
            self.restore_at_destination(id, nothing).await?;
        }
        println!("all {} items and their replicas restored identical", ids.len());
        Ok(())
    }
}

/// What a run of rounds is told.
pub(crate) struct Run {
    pub(crate) rounds: u64,
    pub(crate) seed: u64,
    /// Restore everything after each round, not only at the end.
    pub(crate) audits_each_round: bool,
}

impl Run {
    /// Rounds and seed from the environment, `ANTIPODE_{name}_ROUNDS` and `ANTIPODE_{name}_SEED`, or
    /// `rounds` and a seed drawn now.
    pub(crate) fn named(name: &str, rounds: u64) -> Run {
        let mut chance = [0; 4];
        SystemEntropy.fill(&mut chance);
        let seed_name = format!("ANTIPODE_{name}_SEED");
        let seed = number(&seed_name).unwrap_or_else(|| u32::from_le_bytes(chance).into());
        let rounds = number(&format!("ANTIPODE_{name}_ROUNDS")).unwrap_or(rounds);
        println!("{rounds} rounds; repeat the choices with {seed_name}={seed}");
        Run { rounds, seed, audits_each_round: false }
    }

    /// Runs a world until the end, or until something is wrong; then the test fails and the world is left.
    pub(crate) async fn tell(&self, folder: TempDir, mut world: World) {
        let Err(failure) = self.rounds_of(&mut world).await else { return };
        for region in [&mut world.source, &mut world.destination] {
            region.process.stop().await;
            println!("the log of {} ends with:\n{}", region.name, region.process.log_tail());
        }
        let left = folder.keep();
        panic!("seed {}: {}\nthe world is left in {}", self.seed, failure.explain(), left.display());
    }

    async fn rounds_of(&self, world: &mut World) -> Result<(), Failure> {
        let mut numbers = Numbers::seeded(self.seed);
        for round in 1..=self.rounds {
            let begun_ms = SystemClock.now_ms();
            let (sent, resent) = (world.sent_bytes, world.resent_bytes);
            let strike = world.round(&mut numbers).await?;
            println!(
                "round {round}: {:?} struck during {:?} at {}; {} KiB sent, {} KiB of it again; {} ms",
                strike.victim,
                strike.phase,
                strike.moment,
                (world.sent_bytes - sent) / 1024,
                (world.resent_bytes - resent) / 1024,
                SystemClock.now_ms() - begun_ms
            );
            if self.audits_each_round {
                world.audit_all().await?;
            }
        }
        world.audit_all().await?;
        if world.checkpoints_kept.is_some() {
            world.check_space().await?;
        }
        println!(
            "{} rounds; {} KiB sent, {} KiB of it again",
            self.rounds,
            world.sent_bytes / 1024,
            world.resent_bytes / 1024
        );
        Ok(())
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}
