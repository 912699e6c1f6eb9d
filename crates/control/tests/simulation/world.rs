//! The world: two regions, the link between them, time, and the harness's own ledger of what was
//! acknowledged and of what every item must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{ItemFilter, JobKind, Page};
use control::servers::{NewServer, NewVolume};
use control::workers::Round;
use control::{Control, Kind};
use model::checkpoint::{CheckpointItem, ItemState};
use model::ids::{CheckpointItemId, PolicyId, ReplicationRecordId, ResourceId, RestoreId, VolumeId};
use model::restore::{Restore, RestoreState};
use model::server::VolumeFormat;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vault::crash::Plan;
use vault::layout;
use vault::store::SimulatedFault;

use crate::dice::Dice;
use crate::disks::{Disk, Image};
use crate::links::{LinkFaults, Side, Wire, under};
use crate::region::{COLLECT_EVERY_SECONDS, QUARANTINE_SECONDS, Region, fast_folder, runtime};
use crate::replacing::Replaced;

/// Rounds until a world without faults must be idle. A round is a minute of its time.
const IDLE_ROUNDS_MAX: u32 = 240;

/// Collections until nothing is left to take away.
const DRAIN_ROUNDS_MAX: u32 = 20;

/// The contents of an item's volumes.
pub(crate) type Images = BTreeMap<VolumeId, Image>;

/// What the harness knows because it was told, or saw.
#[derive(Default)]
pub(crate) struct Ledger {
    /// What each item held when it became available.
    pub(crate) images: BTreeMap<CheckpointItemId, Images>,
    /// Items that were acknowledged, by the region that made them.
    pub(crate) items: BTreeMap<CheckpointItemId, Side>,
    /// Records that were acknowledged.
    pub(crate) records: BTreeMap<ReplicationRecordId, Side>,
    /// Restores that were acknowledged and have not ended.
    pub(crate) restores: BTreeMap<RestoreId, Side>,
    /// Restores that ended well, with what their disks held then checked.
    pub(crate) restored_count: u64,
    /// Items whose deletion was ordered, or may have been.
    pub(crate) deleted: BTreeSet<CheckpointItemId>,
    /// Items that were had back from quarantine, or may have been.
    pub(crate) maybe_back: BTreeSet<CheckpointItemId>,
    /// Policies, and whether their retention may drop items.
    pub(crate) policies: BTreeMap<PolicyId, (Side, bool)>,
    /// Policies whose replacement was begun and has not ended.
    pub(crate) replaced: Vec<Replaced>,
}

/// How often what happened.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) steps: u64,
    pub(crate) crashes: u64,
    pub(crate) link_faults: u64,
    pub(crate) store_faults: u64,
    pub(crate) images_checked: u64,
}

pub(crate) struct World {
    pub(crate) regions: [Region; 2],
    pub(crate) wire: Arc<Wire>,
    pub(crate) dice: Dice,
    /// Decides when policies are replaced; nothing where they never are. Of its own, so that the seeds that
    /// failed once still live the same lives.
    pub(crate) replacing_dice: Option<Dice>,
    pub(crate) ledger: Ledger,
    pub(crate) counts: Counts,
    /// The plan of the next process of each region.
    pub(crate) next_plan: [Plan; 2],
    /// Crash points that were reached in any process of this world.
    pub(crate) reached: BTreeSet<&'static str>,
    pub(crate) runtime: Runtime,
    trace: blake3::Hasher,
    is_traced: bool,
    _folder: TempDir,
}

impl World {
    /// Two paired regions without servers.
    pub(crate) fn seeded(seed: u64) -> World {
        let (runtime, folder, wire) = (runtime(), fast_folder(), Wire::new(seed));
        let regions = Side::BOTH.map(|side| Region::begin(&runtime, &wire, side, folder.path(), seed));
        World {
            regions,
            wire,
            dice: Dice::new(seed),
            // Not in the seeds that are named cases: 153 and 1004.
            replacing_dice: (seed % 5 < 3).then(|| Dice::new(!seed)),
            ledger: Ledger::default(),
            counts: Counts::default(),
            next_plan: [Plan::record(), Plan::record()],
            reached: BTreeSet::new(),
            runtime,
            trace: blake3::Hasher::new(),
            is_traced: std::env::var_os("ANTIPODE_SIMULATION_TRACE").is_some(),
            _folder: folder,
        }
    }

    pub(crate) fn region(&self, side: Side) -> &Region {
        &self.regions[side.index()]
    }

    pub(crate) fn region_mut(&mut self, side: Side) -> &mut Region {
        &mut self.regions[side.index()]
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&mut self, line: &str) {
        if self.is_traced {
            eprintln!("{line}");
        }
        self.trace.update(line.as_bytes()).update(b"\n");
    }

    /// A digest of everything that happened and of what both stores hold. Of state objects the names only:
    /// those of servers hold the paths of this world's own temporary folder.
    pub(crate) fn trace_hash(&self) -> blake3::Hash {
        let mut hasher = self.trace.clone();
        for region in &self.regions {
            for (name, bytes) in region.store.objects() {
                hasher.update(name.as_bytes());
                if !name.starts_with(layout::STATE_PREFIX) {
                    hasher.update(blake3::hash(&bytes).as_bytes());
                }
            }
        }
        hasher.finalize()
    }

    /// Has a region do something; nothing when it is down or dies of it. An internal error fails the
    /// seed: nothing that the world does to a region is one.
    pub(crate) fn run<T>(
        &mut self,
        side: Side,
        what: &str,
        work: impl AsyncFnOnce(Control) -> Result<T, control::Error>,
    ) -> Option<Result<T, control::Error>> {
        let process = self.wire.process(side)?;
        let ran = self.runtime.block_on(under(&process.scope, work(process.control.clone())));
        drop(process);
        for line in self.wire.take_trace() {
            self.note(&format!("    {line}"));
        }
        let outcome = match ran {
            Err(crash) => {
                self.note(&format!("{side:?} {what}: dies at {}", crash.point));
                self.wire.die(side, crash.point);
                None
            }
            Ok(Err(error)) => {
                self.note(&format!("{side:?} {what}: {error}"));
                assert!(error.kind != Kind::Internal, "{side:?} {what}: {error}: {:?}", error.cause);
                Some(Err(error))
            }
            Ok(Ok(value)) => {
                self.note(&format!("{side:?} {what}: done"));
                Some(Ok(value))
            }
        };
        for other in Side::BOTH {
            if self.wire.process(other).is_none() {
                self.bury(other);
            }
        }
        self.observe();
        outcome
    }

    /// Keeps what a dead process has reached.
    fn bury(&mut self, side: Side) {
        let index = side.index();
        let reached: Vec<&'static str> = self.regions[index].reached().collect();
        self.reached.extend(reached);
    }

    /// The power of a region goes between two steps.
    pub(crate) fn cut_power(&mut self, side: Side) {
        self.note(&format!("{side:?} loses power"));
        self.wire.kill(side);
        self.bury(side);
    }

    /// Starts a region that is down.
    pub(crate) fn reopen(&mut self, side: Side) {
        if self.wire.process(side).is_some() {
            return;
        }
        self.counts.crashes += 1;
        let plan = std::mem::replace(&mut self.next_plan[side.index()], Plan::record());
        self.note(&format!("{side:?} starts again"));
        self.regions[side.index()].reopen(&self.runtime, &self.wire, plan);
    }

    /// Gives the running process of a region another crash plan.
    pub(crate) fn arm(&mut self, side: Side, plan: Plan) {
        self.bury(side);
        self.regions[side.index()].arm(&self.wire, plan);
    }

    /// Moves both clocks.
    pub(crate) fn pass_seconds(&mut self, seconds: u64) {
        for region in &self.regions {
            region.clock.advance_ms(seconds * 1000);
        }
    }

    /// Registers a server with disks of these sizes (whole, of which data).
    pub(crate) fn register(&mut self, side: Side, server: &str, sizes: &[(u64, u64)]) {
        let folder = self.region(side).folder.join("disks");
        let mut disks = BTreeMap::new();
        let mut volumes = Vec::new();
        for (number, (size_bytes, data_bytes)) in sizes.iter().enumerate() {
            let id = format!("{server}-vol-{number}");
            let path = folder.join(format!("{id}.raw"));
            disks.insert(id.clone(), Disk::create(&path, *size_bytes, *data_bytes, &mut self.dice));
            volumes.push(NewVolume {
                id: Some(id.parse().unwrap()),
                name: id,
                path: path.to_str().unwrap().to_owned(),
                format: VolumeFormat::Raw,
                bootable: number == 0,
            });
        }
        self.region_mut(side).disks.insert(server.to_owned(), disks);
        let (caller, project_id) = (self.region(side).caller.clone(), self.region(side).project.clone());
        let new =
            NewServer { id: Some(server.parse().unwrap()), project_id, name: server.to_owned(), volumes };
        let registered =
            self.run(side, "registers a server", async |control| control.register_server(&caller, new).await);
        registered.expect("worlds begin healthy").unwrap();
    }

    /// One round of one kind of work.
    pub(crate) fn work(&mut self, side: Side, kind: JobKind) -> bool {
        let what = format!("works on {}", kind.word());
        let worked = self.run(side, &what, async |control| control.work_once(kind).await);
        if kind == JobKind::Restore {
            self.look_at_disks(side);
            self.check_restores(side);
        }
        matches!(worked, Some(Ok(Round::Worked)))
    }

    pub(crate) fn keep_house(&mut self, side: Side) {
        self.run(side, "keeps house", async |control| control.keep_house().await);
    }

    fn look_at_disks(&mut self, side: Side) {
        for disk in self.region_mut(side).disks.values_mut().flat_map(BTreeMap::values_mut) {
            disk.look();
        }
    }

    /// The items of a region's project in some states, oldest first; all when none is given.
    pub(crate) fn items(&self, side: Side, states: &[ItemState]) -> Vec<CheckpointItem> {
        let region = self.region(side);
        let filter = ItemFilter { states: states.to_vec(), ..ItemFilter::default() };
        let mut items =
            self.runtime.block_on(region.catalog.items(&region.project, &filter, &Page::first())).unwrap();
        items.sort_by_key(|item| (item.created_at, item.resource_id.clone(), item.id));
        items
    }

    /// Notes what every item holds that has become available. Disks change between steps only, so they
    /// hold now what the item was made of.
    fn observe(&mut self) {
        for side in Side::BOTH {
            for item in self.items(side, &[ItemState::Available, ItemState::WaitingRestore]) {
                if item.is_replica() || self.ledger.images.contains_key(&item.id) {
                    continue;
                }
                let disks = &self.region(side).disks[item.resource_id.as_str()];
                let image = |id: &VolumeId| disks[id.as_str()].image();
                let images = item.volumes.iter().map(|v| (v.volume_id.clone(), image(&v.volume_id)));
                let images = images.collect();
                self.ledger.images.insert(item.id, images);
            }
        }
    }

    /// What an item must hold, be it a backup or a replica of one.
    pub(crate) fn images_of(&self, item: &CheckpointItem) -> &Images {
        let id = item.origin.as_ref().map_or(item.id, |origin| origin.checkpoint_item_id);
        self.ledger.images.get(&id).unwrap_or_else(|| panic!("item {id} is available and was never made"))
    }

    /// A restore that says success has written what the item held.
    fn check_restores(&mut self, side: Side) {
        let open: Vec<RestoreId> =
            self.ledger.restores.iter().filter(|(_, of)| **of == side).map(|(id, _)| *id).collect();
        for id in open {
            let restore = self.runtime.block_on(self.region(side).catalog.restore_by_id(id)).unwrap();
            match restore.state {
                RestoreState::InProgress => continue,
                RestoreState::Fail => panic!("restore {id} failed: {}", restore.reason),
                RestoreState::Success => self.check_restored(side, &restore),
            }
            self.ledger.restores.remove(&id);
            self.ledger.restored_count += 1;
        }
    }

    fn check_restored(&self, side: Side, restore: &Restore) {
        let item = self.runtime.block_on(self.region(side).catalog.item_by_id(restore.item_id)).unwrap();
        let images = self.images_of(&item);
        for mapping in &restore.volumes {
            let backup = item.volumes.iter().find(|volume| volume.id == mapping.backup_id).unwrap();
            let disk =
                &self.region(side).disks[restore.target_server_id.as_str()][mapping.volume_id.as_str()];
            let wanted = images[&backup.volume_id];
            assert_eq!(disk.image(), wanted, "restore {} of {} gave other bytes", restore.id, item.id);
        }
    }

    /// Ends all faults, starts what is down.
    pub(crate) fn heal(&mut self) {
        self.note("everything is mended");
        self.wire.set_faults(LinkFaults::default());
        for side in Side::BOTH {
            let region = &self.regions[side.index()];
            region.store.set_unavailable(false);
            region.store.set_bytes_max(u64::MAX);
            // No world makes so many calls: a fault that has not struck yet never will.
            region.store.fail_call(1 << 40, SimulatedFault::Unavailable);
            self.arm(side, Plan::record());
            self.next_plan[side.index()] = Plan::record();
            self.reopen(side);
        }
    }

    /// Works on both sides until nothing is left to do.
    ///
    /// # Panics
    /// When that takes hours of the world's time (I-25).
    pub(crate) fn run_until_idle(&mut self) {
        for _ in 0..IDLE_ROUNDS_MAX {
            for side in Side::BOTH {
                self.reopen(side);
                self.keep_house(side);
                self.reopen(side);
                for kind in JobKind::ALL {
                    while self.work(side, kind) {
                        for side in Side::BOTH {
                            self.reopen(side);
                        }
                    }
                }
            }
            if self.open_jobs().is_empty() {
                return;
            }
            self.pass_seconds(60);
        }
        panic!("I-25: still not idle after {IDLE_ROUNDS_MAX} minutes: {:?}", self.open_jobs());
    }

    /// Lets every quarantine end and collects until there is nothing left to take away.
    ///
    /// # Panics
    /// When collections go on finding something.
    pub(crate) fn drain(&mut self) {
        let held = |world: &World| {
            Side::BOTH.map(|side| world.region(side).store.objects().into_keys().collect::<BTreeSet<_>>())
        };
        let names = |objects: [BTreeSet<String>; 2]| {
            objects.map(|names| {
                names.into_iter().filter(|name| name.starts_with("vaults/")).collect::<BTreeSet<_>>()
            })
        };
        self.pass_seconds(QUARANTINE_SECONDS as u64);
        for _ in 0..DRAIN_ROUNDS_MAX {
            let before = names(held(self));
            self.pass_seconds(COLLECT_EVERY_SECONDS as u64 + 1);
            self.run_until_idle();
            self.run_until_idle();
            if names(held(self)) == before {
                return;
            }
        }
        panic!("I-17: collections find something for ever");
    }

    fn open_jobs(&self) -> Vec<(Side, JobKind, u64)> {
        let mut open = Vec::new();
        for side in Side::BOTH {
            for kind in JobKind::ALL {
                let count = self.runtime.block_on(self.region(side).catalog.open_job_count(kind)).unwrap();
                if count > 0 {
                    open.push((side, kind, count));
                }
            }
        }
        open
    }

    pub(crate) fn resource(server: &str) -> ResourceId {
        server.parse().unwrap()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        // A process holds the wire and the wire holds the process.
        for side in Side::BOTH {
            self.wire.kill(side);
        }
    }
}

impl Counts {
    pub(crate) fn add(&mut self, other: &Counts) {
        self.steps += other.steps;
        self.crashes += other.crashes;
        self.link_faults += other.link_faults;
        self.store_faults += other.store_faults;
        self.images_checked += other.images_checked;
    }
}
