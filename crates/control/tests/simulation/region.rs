//! One region of the simulation: what survives its process (store, catalog, keys, disks), and the
//! template from which every seed begins: two regions, paired, with grants both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use catalog::Catalog;
use control::collection::CollectionRules;
use control::identity::{Login, LoginScope, LoginUser};
use control::peers::NewGrant;
use control::policies::PolicyLimits;
use control::rebuild::{RebuildProgress, RebuildWatch, Rebuilt};
use control::region::{FirstUser, KeyFiles, ensure_row};
use control::{Caller, Control, Parts};
use disk::SourceRoots;
use model::grant::Mode;
use model::ids::{ProjectId, RegionName};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use vault::card::RegionIdentity;
use vault::collect::CollectSettings;
use vault::crash::{self, Armed, Plan};
use vault::ids::Incarnation;
use vault::index::IndexSettings;
use vault::kek::Kek;
use vault::keys::Secret;
use vault::recovery::RecoverySeed;
use vault::seams::{FixedClock, SeededEntropy};
use vault::store::{ObjectStore, SimulatedStore};
use vault::vault::VaultSettings;

use crate::disks::Disks;
use crate::links::{Links, NoTimer, Process, Side, Wire, under};

/// 2026-11-23, a Monday: when every world begins.
pub(crate) const BEGIN_MS: u64 = 1_795_392_000_000;
const PASSWORD: &str = "correct horse";
/// How often a vault is collected at most.
pub(crate) const COLLECT_EVERY_SECONDS: i64 = 600;
/// How long a deleted item can be had back.
pub(crate) const QUARANTINE_SECONDS: i64 = 3600;

/// Everything of a region that a crash leaves.
pub(crate) struct Region {
    pub(crate) side: Side,
    pub(crate) store: SimulatedStore,
    pub(crate) catalog: Catalog,
    pub(crate) clock: Arc<FixedClock>,
    pub(crate) keys: Keys,
    pub(crate) project: ProjectId,
    pub(crate) caller: Caller,
    pub(crate) disks: Disks,
    pub(crate) folder: PathBuf,
    entropy: Arc<SeededEntropy>,
    roots: Arc<SourceRoots>,
    incarnation: Incarnation,
    armed: Armed,
}

/// The keys of a region; its folder of key files is gone once they are read.
#[derive(Clone)]
pub(crate) struct Keys {
    pub(crate) identity: Arc<RegionIdentity>,
    pub(crate) kek: Arc<Kek>,
    pub(crate) recovery: RecoverySeed,
}

/// One region as every world begins with it.
struct Beginning {
    keys: Keys,
    catalog: Vec<u8>,
    objects: BTreeMap<String, Arc<Vec<u8>>>,
    token: String,
    project: ProjectId,
}

/// Two paired regions, made once for each test program.
pub(crate) struct Template {
    beginnings: [Beginning; 2],
    /// The crash points that were reached while they were made.
    pub(crate) reached: BTreeSet<&'static str>,
}

/// A folder in memory where there is one: a thousand commits are synced here for nothing otherwise.
pub(crate) fn fast_folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

pub(crate) fn region_name(side: Side) -> RegionName {
    side.name().parse().unwrap()
}

impl Region {
    /// A region's part of the template, brought to life under `folder`.
    pub(crate) fn begin(runtime: &Runtime, wire: &Arc<Wire>, side: Side, folder: &Path, seed: u64) -> Region {
        let beginning = &template().beginnings[side.index()];
        let folder = folder.join(side.name());
        std::fs::create_dir_all(folder.join("disks")).unwrap();
        std::fs::write(folder.join("catalog.db"), &beginning.catalog).unwrap();
        let store = SimulatedStore::new(seed ^ side.index() as u64);
        for (name, bytes) in &beginning.objects {
            store.put_if_absent(name, bytes).unwrap();
        }
        let catalog = runtime.block_on(Catalog::open_file(&folder.join("catalog.db"))).unwrap();
        let incarnation = Incarnation(runtime.block_on(catalog.region()).unwrap().unwrap().incarnation);
        let entropy = Arc::new(SeededEntropy::new(seed.wrapping_mul(4) + side.index() as u64));
        let raw = Raw {
            side,
            store,
            catalog,
            clock: Arc::new(FixedClock::new(BEGIN_MS)),
            keys: beginning.keys.clone(),
            entropy,
            roots: Arc::new(SourceRoots::new(vec![folder.join("disks")], Vec::new()).unwrap()),
            incarnation,
        };
        let control = runtime.block_on(Control::open(raw.parts(wire))).unwrap();
        let caller = runtime.block_on(control.authenticate(&beginning.token)).unwrap();
        let armed = crash::arm(Plan::record());
        wire.start(side, Process { control, scope: armed.scope() });
        Region {
            side,
            project: beginning.project.clone(),
            caller,
            disks: Disks::new(),
            folder,
            armed,
            store: raw.store,
            catalog: raw.catalog,
            clock: raw.clock,
            keys: raw.keys,
            entropy: raw.entropy,
            roots: raw.roots,
            incarnation: raw.incarnation,
        }
    }

    /// Starts a new process over what survived, under a new crash plan. The old one must be gone.
    pub(crate) fn reopen(&mut self, runtime: &Runtime, wire: &Arc<Wire>, plan: Plan) {
        self.store.crash();
        runtime.block_on(self.catalog.release_leases()).unwrap();
        self.armed = crash::arm(plan);
        // A store that does not answer at the start is met by starting again.
        let open = || runtime.block_on(Control::open(self.raw().parts(wire)));
        let control = open().or_else(|_| open()).unwrap();
        wire.start(self.side, Process { control, scope: self.armed.scope() });
    }

    /// The catalog is lost, and is rebuilt from the store by a process with this crash plan. Nothing when
    /// it dies of that: the region is then down and has no catalog.
    pub(crate) fn rebuild(
        &mut self,
        runtime: &Runtime,
        wire: &Arc<Wire>,
        plan: Plan,
    ) -> Option<Result<Rebuilt, control::Error>> {
        wire.kill(self.side);
        self.store.crash();
        let mut raw = self.raw();
        raw.incarnation = Incarnation::generate(self.entropy.as_ref());
        let file = self.folder.join(format!("catalog-{}.db", raw.incarnation));
        raw.catalog = runtime.block_on(Catalog::open_file(&file)).unwrap();
        self.armed = crash::arm(plan);
        let scope = self.armed.scope();
        let control = runtime.block_on(Control::open(raw.parts(wire))).unwrap();
        let rebuilding = control.rebuild_from_store(Arc::new(NoWatch));
        let rebuilt = match runtime.block_on(under(&scope, rebuilding)) {
            Err(_) => return None,
            Ok(Err(error)) => return Some(Err(error)),
            Ok(Ok(rebuilt)) => rebuilt,
        };
        let (project, _, caller) = runtime.block_on(first_caller(&control));
        assert_eq!(project, self.project, "the first project is found by its name");
        (self.catalog, self.incarnation, self.caller) = (raw.catalog, raw.incarnation, caller);
        wire.start(self.side, Process { control, scope });
        Some(Ok(rebuilt))
    }

    /// The plan of the process that runs now changes; the process goes on.
    pub(crate) fn arm(&mut self, wire: &Wire, plan: Plan) {
        if let Some(process) = wire.process(self.side) {
            self.armed = crash::arm(plan);
            wire.start(self.side, Process { control: process.control, scope: self.armed.scope() });
        }
    }

    pub(crate) fn reached(&self) -> impl Iterator<Item = &'static str> {
        self.armed.reached().into_keys()
    }

    fn raw(&self) -> Raw {
        Raw {
            side: self.side,
            store: self.store.clone(),
            catalog: self.catalog.clone(),
            clock: self.clock.clone(),
            keys: self.keys.clone(),
            entropy: self.entropy.clone(),
            roots: self.roots.clone(),
            incarnation: self.incarnation,
        }
    }
}

/// Nobody waits for a rebuild here.
struct NoWatch;

impl RebuildWatch for NoWatch {
    fn tell(&self, _progress: RebuildProgress) {}
}

/// What a `Control` is opened over.
struct Raw {
    side: Side,
    store: SimulatedStore,
    catalog: Catalog,
    clock: Arc<FixedClock>,
    keys: Keys,
    entropy: Arc<SeededEntropy>,
    roots: Arc<SourceRoots>,
    incarnation: Incarnation,
}

impl Raw {
    fn parts(&self, wire: &Arc<Wire>) -> Parts {
        Parts {
            name: region_name(self.side),
            catalog: self.catalog.clone(),
            store: Arc::new(self.store.clone()),
            identity: self.keys.identity.clone(),
            kek: self.keys.kek.clone(),
            recovery_key: self.keys.recovery.receiving_key().public(),
            incarnation: self.incarnation,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            timer: Arc::new(NoTimer),
            links: Arc::new(Links { from: self.side, wire: wire.clone() }),
            peer_url: format!("https://{}.example:8781", self.side.name()),
            source_roots: self.roots.clone(),
            index_dir: PathBuf::from("/nonexistent"),
            vault_settings: settings(),
            collection: collection_rules(),
            policy_limits: PolicyLimits::default(),
        }
    }
}

/// One thread, small packs, the index in memory: small disks still make many packs.
pub(crate) fn settings() -> VaultSettings {
    VaultSettings {
        threads: 1,
        memory_bytes_max: 64 << 20,
        pack_bytes_target: 192 << 10,
        pack_object_count_max: 1000,
        opens_before_storing: true,
        index: IndexSettings { is_in_memory: true, ..IndexSettings::default() },
    }
}

/// A short quarantine, runs as often as there is anything to do, small batches, every torn pack rewritten.
pub(crate) fn collection_rules() -> CollectionRules {
    let limits = CollectSettings {
        sort_bytes: 1 << 20,
        rewrite_below_percent: 70,
        batch_packs_max: 2,
        ..CollectSettings::default()
    };
    CollectionRules { quarantine_seconds: QUARANTINE_SECONDS, every_seconds: COLLECT_EVERY_SECONDS, limits }
}

pub(crate) fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(|| Nursery::new(7).grow())
}

/// Two regions that are not paired yet.
pub(crate) struct Nursery {
    pub(crate) runtime: Runtime,
    pub(crate) wire: Arc<Wire>,
    folder: TempDir,
    raws: [Raw; 2],
    pub(crate) armed: [Armed; 2],
    tokens: [String; 2],
    pub(crate) callers: [Caller; 2],
    projects: [ProjectId; 2],
}

impl Nursery {
    pub(crate) fn new(seed: u64) -> Nursery {
        let (runtime, wire, folder) = (runtime(), Wire::new(seed), fast_folder());
        let raws = Side::BOTH.map(|side| make(&runtime, folder.path(), side, seed));
        let armed = Side::BOTH.map(|_| crash::arm(Plan::record()));
        let (mut tokens, mut callers, mut projects) = (Vec::new(), Vec::new(), Vec::new());
        for side in Side::BOTH {
            let control = runtime.block_on(Control::open(raws[side.index()].parts(&wire))).unwrap();
            let (project, token, caller) = runtime.block_on(first_caller(&control));
            projects.push(project);
            tokens.push(token);
            callers.push(caller);
            wire.start(side, Process { control, scope: armed[side.index()].scope() });
        }
        let (tokens, callers, projects) =
            (tokens.try_into().unwrap(), array(callers), projects.try_into().unwrap());
        Nursery { runtime, wire, folder, raws, armed, tokens, callers, projects }
    }

    /// Invitation, answer, characters. False when a region died on the way.
    pub(crate) fn pair(&self) -> bool {
        let [host, guest] = Side::BOTH;
        let callers = &self.callers;
        let line = self.run(host, async |control| {
            control.invite(&callers[host.index()], &region_name(guest)).await.unwrap()
        });
        let Some(line) = line else { return false };
        let accepted =
            self.run(guest, async |control| control.accept_invitation(&callers[guest.index()], &line).await);
        let Some(Ok(accepted)) = accepted else { return false };
        let confirmed = self.run(host, async |control| {
            control.confirm_peer(&callers[host.index()], &region_name(guest), &accepted.code).await
        });
        matches!(confirmed, Some(Ok(())))
    }

    fn run<T>(&self, side: Side, work: impl AsyncFnOnce(Control) -> T) -> Option<T> {
        let process = self.wire.process(side)?;
        let ran = self.runtime.block_on(under(&process.scope, work(process.control.clone())));
        if ran.is_err() {
            self.wire.kill(side);
        }
        ran.ok()
    }

    /// Kills and starts one region, from here on without a crash.
    pub(crate) fn reopen(&mut self, side: Side, plan: Plan) {
        self.wire.kill(side);
        let raw = &self.raws[side.index()];
        raw.store.crash();
        self.armed[side.index()] = crash::arm(plan);
        let control = self.runtime.block_on(Control::open(raw.parts(&self.wire))).unwrap();
        let scope = self.armed[side.index()].scope();
        self.wire.start(side, Process { control, scope });
    }

    fn grow(self) -> Template {
        assert!(self.pair(), "two healthy regions can be paired");
        for side in Side::BOTH {
            let other = side.other();
            let grant = grant_from(other, &self.projects[other.index()]);
            let made = self.run(side, async |control| {
                control.create_grant(&self.callers[side.index()], grant).await.unwrap()
            });
            assert!(made.is_some());
        }
        let reached = self.armed.iter().flat_map(|armed| armed.reached().into_keys()).collect();
        let mut beginnings = Vec::new();
        for (raw, (token, project)) in self.raws.into_iter().zip(self.tokens.into_iter().zip(self.projects)) {
            self.wire.kill(raw.side);
            self.runtime.block_on(raw.catalog.close());
            let file = self.folder.path().join(raw.side.name()).join("catalog.db");
            let catalog = std::fs::read(file).unwrap();
            beginnings.push(Beginning {
                keys: raw.keys,
                catalog,
                objects: raw.store.objects(),
                token,
                project,
            });
        }
        Template { beginnings: array(beginnings), reached }
    }
}

/// Consent to replicas from a project of that side.
pub(crate) fn grant_from(side: Side, project: &ProjectId) -> NewGrant {
    NewGrant {
        source_region: region_name(side),
        source_project_id: project.clone(),
        mode: Mode::Restorable,
        bytes_max: None,
        keep_days_min: None,
        expires_at: None,
    }
}

fn array<T>(pair: Vec<T>) -> [T; 2] {
    match pair.try_into() {
        Ok(array) => array,
        Err(_) => unreachable!("there are two sides"),
    }
}

fn make(runtime: &Runtime, folder: &Path, side: Side, seed: u64) -> Raw {
    let folder = folder.join(side.name());
    for name in ["keys", "disks"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    let store = SimulatedStore::new(seed);
    let clock = Arc::new(FixedClock::new(BEGIN_MS));
    let entropy = Arc::new(SeededEntropy::new(seed.wrapping_mul(1000) + side.index() as u64));
    let files = KeyFiles::new(&folder.join("keys"));
    let name = region_name(side);
    let made = files.ensure(&store, &name, side.tls_key_hash(), clock.as_ref(), entropy.as_ref()).unwrap();
    let catalog = runtime.block_on(Catalog::open_file(&folder.join("catalog.db"))).unwrap();
    let row = ensure_row(&catalog, &name, made.identity.region(), clock.as_ref(), entropy.as_ref());
    let incarnation = runtime.block_on(row).unwrap();
    let recovery = RecoverySeed::from_secret(Secret::generate(entropy.as_ref()));
    let keys = Keys { identity: Arc::new(made.identity), kek: Arc::new(made.kek), recovery };
    let roots = Arc::new(SourceRoots::new(vec![folder.join("disks")], Vec::new()).unwrap());
    Raw { side, store, catalog, clock, keys, entropy, roots, incarnation }
}

async fn first_caller(control: &Control) -> (ProjectId, String, Caller) {
    let first = FirstUser { name: "admin".to_owned(), password: PASSWORD.to_owned() };
    let (project, _) = control.ensure_first_user(first).await.unwrap();
    let login = Login::Password {
        user: LoginUser::Name("admin".to_owned()),
        password: PASSWORD.to_owned(),
        scope: LoginScope::ProjectId(project.clone()),
    };
    let (token, _) = control.log_in(login).await.unwrap();
    let caller = control.authenticate(&token).await.unwrap();
    (project, token, caller)
}
