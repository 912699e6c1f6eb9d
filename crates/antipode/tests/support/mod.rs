//! A world for route tests: two real regions, `eu-a` and `eu-b`, each over SQLite and a local store in
//! its own folder, paired through the API and linked by plain calls. Requests go through the router,
//! no socket. Nothing runs by itself: a test says when the workers work.

#![allow(dead_code, reason = "each test program uses its own part of the world")]
#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

pub(crate) mod client;

use std::collections::HashMap;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use antipode::http::{self, Limits, Site};
use axum::Router;
use axum::http::Method;
use catalog::{Catalog, JobKind};
use control::lost_keys::{KeyTroubles, LostKey};
use control::peers::messages::{Asking, LinkError, PeerAddress, PeerLinks, PeerRequest, Refusal};
use control::policies::PolicyLimits;
use control::region::{FirstUser, KeyFiles, ensure_row};
use control::workers::{Round, Timer};
use control::{Control, Parts};
use model::ids::RegionName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::Semaphore;
use vault::kek::Kek;
use vault::recovery::RecoverySeed;
use vault::seams::{Clock, SeededEntropy};
use vault::store::{LocalStore, Medium, MediumCall};
use vault::vault::VaultSettings;

pub(crate) use client::{Answer, Client, policy_body};

/// The provider of servers.
pub(crate) const PROVIDER: &str = "fc4d5750-22e7-4798-8a46-f48f62c4c1da";
/// A well-formed id that names nothing.
pub(crate) const NOBODY: &str = "00000000-0000-4000-8000-000000000000";
/// Bytes of every test disk.
pub(crate) const DISK_BYTES: usize = 256 * 1024;

/// The password of everybody.
pub(crate) const PASSWORD: &str = "correct horse battery";
/// 2026-11-23T01:02:03 UTC.
const START_MS: u64 = 1_795_395_723_000;

/// Shows a later millisecond each time, so that nothing is ever made at the same moment.
pub(crate) struct TickingClock(AtomicU64);

impl TickingClock {
    /// Moves on by whole seconds.
    pub(crate) fn advance_seconds(&self, seconds: u64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for TickingClock {
    fn now_ms(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// A store's file system whose syncs can be made to fail.
#[derive(Default)]
pub(crate) struct Syncs {
    fail: AtomicBool,
}

impl Syncs {
    /// From now on every sync fails.
    pub(crate) fn fail(&self) {
        self.fail.store(true, Ordering::SeqCst);
    }
}

impl Medium for Syncs {
    fn call(&self, call: MediumCall, _: &Path) -> std::io::Result<()> {
        match call {
            MediumCall::Sync if self.fail.load(Ordering::SeqCst) => Err(std::io::ErrorKind::Other.into()),
            _ => Ok(()),
        }
    }
}

/// Route tests never sleep, unless one wants to look at what waits: then a sleep lasts a moment.
struct Naps(Arc<Links>);

impl Timer for Naps {
    #[expect(clippy::disallowed_methods, reason = "a test that looks at what waits must let it wait")]
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        if self.0.sleeps.load(Ordering::SeqCst) {
            return Box::pin(tokio::time::sleep(Duration::from_millis(1)));
        }
        Box::pin(std::future::ready(()))
    }
}

/// What is wrong with the link between the regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing gets through.
    Down,
    /// Transfers can be opened, but nothing after that gets through.
    DownAfterOpen,
    /// The far end refuses to open a transfer, for good.
    RefusesToOpen,
}

/// Requests that a test can hold on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// Batches.
    Sends,
    /// The question whether anything is missing.
    Verifies,
    /// The order to publish.
    Publishes,
}

/// Holds requests of one kind until the test lets them through, one by one.
pub(crate) struct Gate {
    held: Held,
    reached: Semaphore,
    let_through: Semaphore,
}

impl Gate {
    fn holds(&self, request: &PeerRequest) -> bool {
        matches!(
            (self.held, request),
            (Held::Sends, PeerRequest::Send { .. })
                | (Held::Verifies, PeerRequest::Verify { .. })
                | (Held::Publishes, PeerRequest::Publish { .. })
        )
    }

    /// Waits until a request has come to the gate.
    pub(crate) async fn reached(&self) {
        self.reached.acquire().await.unwrap().forget();
    }

    /// Lets one request through.
    pub(crate) fn let_one_through(&self) {
        self.let_through.add_permits(1);
    }
}

/// The link between the regions of one world: a plain call.
#[derive(Default)]
pub(crate) struct Links {
    /// Whether sleeps of the regions last a moment.
    pub(crate) sleeps: AtomicBool,
    gate: Mutex<Option<Arc<Gate>>>,
    batches: AtomicU64,
    silences: AtomicU64,
    regions: Mutex<HashMap<RegionName, Control>>,
    fault: Mutex<Option<Fault>>,
}

impl Links {
    /// Breaks or mends the link.
    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        *self.fault.lock().unwrap() = fault;
    }

    /// From now on requests of this kind wait for the test.
    pub(crate) fn hold(&self, held: Held) -> Arc<Gate> {
        let gate = Gate { held, reached: Semaphore::new(0), let_through: Semaphore::new(0) };
        self.gate.lock().unwrap().insert(Arc::new(gate)).clone()
    }

    /// From now on nothing waits; what waits already has to be let through.
    pub(crate) fn hold_nothing(&self) {
        *self.gate.lock().unwrap() = None;
    }

    /// How many batches went through.
    pub(crate) fn batch_count(&self) -> u64 {
        self.batches.load(Ordering::SeqCst)
    }

    /// How many requests were not answered.
    pub(crate) fn silence_count(&self) -> u64 {
        self.silences.load(Ordering::SeqCst)
    }

    async fn pass(&self, request: &PeerRequest) {
        let gate = self.gate.lock().unwrap().clone().filter(|gate| gate.holds(request));
        if let Some(gate) = gate {
            gate.reached.add_permits(1);
            gate.let_through.acquire().await.unwrap().forget();
        }
        if matches!(request, PeerRequest::Send { .. }) {
            self.batches.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn check(&self, peer: &PeerAddress, request: &PeerRequest) -> Result<(), LinkError> {
        let is_opening = matches!(request, PeerRequest::Open(_));
        match *self.fault.lock().unwrap() {
            Some(Fault::RefusesToOpen) if is_opening => {
                Err(LinkError::Refused { refusal: Refusal::Fork, why: "the test says no".into() })
            }
            Some(Fault::Down) => Err(unreachable(peer)),
            Some(Fault::DownAfterOpen) if !is_opening => Err(unreachable(peer)),
            _ => Ok(()),
        }
    }
}

fn unreachable(peer: &PeerAddress) -> LinkError {
    LinkError::Unreachable { peer: peer.name.clone(), cause: "the link is down".into() }
}

/// One region's end of the link.
struct End {
    links: Arc<Links>,
    tls_key_hash: [u8; 32],
}

impl PeerLinks for End {
    fn ask<'a>(&'a self, peer: &'a PeerAddress, request: PeerRequest) -> Asking<'a> {
        Box::pin(async move {
            self.links.check(peer, &request).inspect_err(|error| {
                let is_silence = matches!(error, LinkError::Unreachable { .. });
                self.links.silences.fetch_add(u64::from(is_silence), Ordering::SeqCst);
            })?;
            self.links.pass(&request).await;
            let far = self.links.regions.lock().unwrap().get(&peer.name).cloned();
            let far = far.ok_or_else(|| unreachable(peer))?;
            let answer = far.answer(self.tls_key_hash, request).await;
            answer.map_err(|(refusal, why)| LinkError::Refused { refusal, why })
        })
    }
}

/// One region of the world.
pub(crate) struct Region {
    /// Its name.
    pub(crate) name: String,
    /// Its control.
    pub(crate) control: Control,
    /// Its operator, who is also admin of its first project.
    pub(crate) admin: Client,
    /// The syncs of its store.
    pub(crate) syncs: Arc<Syncs>,
    router: Router,
    folder: TempDir,
    life: Life,
}

/// Which start of a region this is, and without which keys.
struct Life {
    seed: u64,
    number: u64,
    troubles: KeyTroubles,
    policy_limits: PolicyLimits,
}

impl Region {
    async fn new(
        name: &str,
        seed: u64,
        links: &Arc<Links>,
        clock: &Arc<TickingClock>,
        policy_limits: PolicyLimits,
    ) -> Region {
        let life = Life { seed, number: 0, troubles: KeyTroubles::default(), policy_limits };
        Region::open(tempfile::tempdir().unwrap(), name, life, links, clock).await
    }

    /// The same region after its process ended, with the keys that lie in its folder, or without some.
    pub(crate) async fn restart(
        self,
        world: (&Arc<Links>, &Arc<TickingClock>),
        troubles: KeyTroubles,
    ) -> Region {
        let Region { name, folder, life, .. } = self;
        let life = Life { number: life.number + 1, troubles, ..life };
        Region::open(folder, &name, life, world.0, world.1).await
    }

    /// Its keys and its store, for what an operator does to them while nobody serves it.
    pub(crate) fn keys_and_store(&self) -> (KeyFiles, LocalStore) {
        let store = LocalStore::open(&self.store_dir()).unwrap();
        (KeyFiles::new(&self.folder.path().join("keys")), store)
    }

    /// Where its store lies.
    pub(crate) fn store_dir(&self) -> std::path::PathBuf {
        self.folder.path().join("store")
    }

    async fn open(
        folder: TempDir,
        name: &str,
        life: Life,
        links: &Arc<Links>,
        clock: &Arc<TickingClock>,
    ) -> Region {
        let place = |part: &str| {
            let path = folder.path().join(part);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let seed = life.seed;
        // Each life has chance of its own, or it would make the ids of the life before once more.
        let entropy = Arc::new(SeededEntropy::new(seed + 1000 * life.number));
        let region: RegionName = name.parse().unwrap();
        let syncs = Arc::new(Syncs::default());
        let store = Arc::new(LocalStore::open_over(&place("store"), syncs.clone()).unwrap());
        let tls_key_hash = [u8::try_from(seed).unwrap(); 32];
        let keys = KeyFiles::new(&place("keys"));
        let keys =
            keys.ensure(store.as_ref(), &region, tls_key_hash, clock.as_ref(), entropy.as_ref()).unwrap();
        let url = format!("sqlite://{}", place("data").join("catalog.db").display());
        let catalog = Catalog::open(&url).await.unwrap();
        let region_id = keys.identity.region();
        let incarnation =
            ensure_row(&catalog, &region, region_id, clock.as_ref(), entropy.as_ref()).await.unwrap();
        let forbidden = vec![place("data"), place("keys"), place("store")];
        let parts = Parts {
            name: region.clone(),
            catalog,
            store,
            identity: Arc::new(keys.identity),
            kek: Arc::new(if life.troubles.lacks(LostKey::Kek) {
                Kek::lost(entropy.as_ref())
            } else {
                keys.kek
            }),
            recovery_key: RecoverySeed::generate(entropy.as_ref()).receiving_key().public(),
            incarnation,
            clock: clock.clone(),
            entropy: entropy.clone(),
            timer: Arc::new(Naps(links.clone())),
            links: Arc::new(End { links: links.clone(), tls_key_hash }),
            peer_url: format!("https://{name}.example:8781"),
            source_roots: Arc::new(disk::SourceRoots::new(vec![place("disks")], forbidden).unwrap()),
            index_dir: place("index"),
            vault_settings: VaultSettings { threads: 1, ..VaultSettings::default() },
            collection: control::collection::CollectionRules::default(),
            policy_limits: life.policy_limits,
        };
        let control = Control::open_without(parts, life.troubles.clone()).await.unwrap();
        let first = FirstUser { name: "admin".into(), password: PASSWORD.into() };
        control.ensure_first_user(first).await.unwrap();
        links.regions.lock().unwrap().insert(region, control.clone());
        let site = Site {
            api_url: format!("http://{name}.example:8780"),
            limits: Limits { body_bytes_max: 64 * 1024, body_timeout_seconds: 5 },
            entropy,
        };
        let router = http::router(control.clone(), site);
        let admin = Client::log_in(&router, "admin", Some(name)).await;
        Region { name: name.to_owned(), control, admin, syncs, router, folder, life }
    }

    /// A caller without a token.
    pub(crate) fn nobody(&self) -> Client {
        Client { router: self.router.clone(), token: None, project_id: self.admin.project_id.clone() }
    }

    /// Makes a user with one role in the first project, and logs in.
    pub(crate) async fn user(&self, name: &str, role: &str) -> Client {
        self.user_in(name, role, &self.admin.project_id, &self.name).await
    }

    /// Makes a project with a user who is its admin, and logs in.
    pub(crate) async fn stranger(&self, project: &str) -> Client {
        let answer =
            self.admin.post("/identity/v3/projects", &json!({ "project": { "name": project } })).await;
        let id = answer.text("project.id");
        self.user_in(&format!("{project}-admin"), "admin", &id, project).await
    }

    async fn user_in(&self, name: &str, role: &str, project_id: &str, project: &str) -> Client {
        let body = json!({ "user": { "name": name, "password": PASSWORD } });
        let user_id = self.admin.post("/identity/v3/users", &body).await.text("user.id");
        let path = format!("/identity/v3/projects/{project_id}/users/{user_id}/roles/{role}");
        assert_eq!(self.admin.send(Method::PUT, &path, None).await.status, 204);
        Client::log_in(&self.router, name, Some(project)).await
    }

    /// Registers a server of the first project with one disk of random-looking bytes.
    pub(crate) async fn server(&self, name: &str) -> String {
        self.server_of(&self.admin.project_id, name, DISK_BYTES).await
    }

    /// Registers a server of a project with one disk of so many bytes.
    pub(crate) async fn server_of(&self, project_id: &str, name: &str, bytes: usize) -> String {
        let path = self.disk(name);
        write_disk(&path, bytes, name.len() as u8);
        let volume = json!({ "name": "root", "path": path, "format": "raw", "bootable": true });
        let body = json!({ "server": { "name": name, "project_id": project_id, "volumes": [volume] } });
        let answer = self.admin.post("/antipode/v1/servers", &body).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.text("server.id")
    }

    /// The catalog under the region, beside its control.
    pub(crate) async fn catalog(&self) -> Catalog {
        Catalog::open_file(&self.folder.path().join("data").join("catalog.db")).await.unwrap()
    }

    /// Where the disk of a server lies.
    pub(crate) fn disk(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join("disks").join(format!("{name}.img"))
    }

    /// Lets the workers work until none finds anything to do.
    pub(crate) async fn work(&self) {
        let kinds = [JobKind::Backup, JobKind::Delete, JobKind::Restore, JobKind::Replicate, JobKind::Verify];
        loop {
            let mut has_worked = false;
            for kind in kinds {
                has_worked |= self.work_once(kind).await;
            }
            if !has_worked {
                return;
            }
        }
    }

    /// One round of one kind of work; whether there was any.
    pub(crate) async fn work_once(&self, kind: JobKind) -> bool {
        matches!(self.control.work_once(kind).await, Ok(Round::Worked))
    }

    /// Makes a policy over servers, with a nightly backup that is switched off.
    pub(crate) async fn policy(&self, name: &str, servers: &[&str]) -> String {
        let answer = self.admin.post_v1("/policies", &policy_body(name, servers)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.text("policy.id")
    }

    /// Runs a policy and lets the backups end; the ids of the items, oldest first.
    pub(crate) async fn back_up(&self, policy: &str) -> Vec<String> {
        let checkpoint = self.begin_backup(policy).await;
        self.work().await;
        self.items_of(&checkpoint).await
    }

    /// Runs a policy; the id of the checkpoint.
    pub(crate) async fn begin_backup(&self, policy: &str) -> String {
        let body = json!({ "checkpoint": { "plan_id": policy, "parameters": {} } });
        let answer = self.admin.post_v1(&format!("/providers/{PROVIDER}/checkpoints"), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.text("checkpoint.id")
    }

    /// The ids of a checkpoint's items, oldest first.
    pub(crate) async fn items_of(&self, checkpoint: &str) -> Vec<String> {
        let path = format!("/checkpoint_items?checkpoint_id={checkpoint}&sort=created_at:asc,id:asc");
        self.admin.get_v1(&path).await.texts("checkpoint_items", "id")
    }

    /// The ids of all items, oldest first.
    pub(crate) async fn all_items(&self) -> Vec<String> {
        self.admin.get_v1("/checkpoint_items?sort=created_at:asc").await.texts("checkpoint_items", "id")
    }

    /// One item as the API shows it.
    pub(crate) async fn item(&self, id: &str) -> Value {
        let answer = self.admin.get_v1(&format!("/checkpoint_items/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["checkpoint_item"].clone()
    }
}

/// Two paired regions; replicas of the first project of `a` may come into the first project of `b`.
pub(crate) struct World {
    /// The source.
    pub(crate) a: Region,
    /// The destination.
    pub(crate) b: Region,
    /// The link between them.
    pub(crate) links: Arc<Links>,
    /// The clock of both.
    pub(crate) clock: Arc<TickingClock>,
}

impl World {
    /// Two regions that know and trust each other.
    pub(crate) async fn paired() -> World {
        let world = World::apart().await;
        world.pair().await;
        world.grant(&world.a.admin.project_id).await;
        world
    }

    /// Two regions that have never heard of each other.
    pub(crate) async fn apart() -> World {
        World::apart_within(PolicyLimits::default()).await
    }

    /// The same with limits for policies.
    pub(crate) async fn apart_within(limits: PolicyLimits) -> World {
        let links = Arc::new(Links::default());
        let clock = Arc::new(TickingClock(AtomicU64::new(START_MS)));
        let a = Region::new("eu-a", 1, &links, &clock, limits).await;
        let b = Region::new("eu-b", 2, &links, &clock, limits).await;
        World { a, b, links, clock }
    }

    /// Invitation, acceptance, confirmation: all through the API.
    pub(crate) async fn pair(&self) {
        let invited =
            self.a.admin.post("/antipode/v1/regions/invitations", &json!({ "region": "eu-b" })).await;
        let line = json!({ "invitation": invited.text("invitation") });
        let accepted = self.b.admin.post("/antipode/v1/regions/accept", &line).await;
        assert_eq!(accepted.status, 200, "{}", accepted.body);
        let code = json!({ "code": accepted.text("code") });
        let confirmed = self.a.admin.post("/antipode/v1/regions/eu-b/confirm", &code).await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.body);
    }

    /// Accepts replicas of a project of `a` into the first project of `b`.
    pub(crate) async fn grant(&self, source_project: &str) -> String {
        let grant = json!({ "grant": { "source_region": "eu-a", "source_project_id": source_project } });
        let answer = self.b.admin.post("/antipode/v1/grants", &grant).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        self.clock.advance_seconds(60);
        self.a.control.keep_house().await.unwrap();
        answer.text("grant.id")
    }

    /// The body of the core call, to the first project of `b`.
    pub(crate) fn order(&self, policy: &str) -> Value {
        json!({ "replication": {
            "policy_id": policy,
            "destination_region": "eu-b",
            "destination_project_id": self.b.admin.project_id,
        } })
    }

    /// The core call; its answer.
    pub(crate) async fn replicate(&self, policy: &str) -> Answer {
        self.a
            .admin
            .post_v1(&format!("/providers/{PROVIDER}/checkpoints/replicate"), &self.order(policy))
            .await
    }

    /// The core call with some keys of its body changed; null takes one out.
    pub(crate) async fn replicate_with(&self, policy: &str, changes: Value) -> Answer {
        let mut order = self.order(policy);
        for (key, value) in changes.as_object().unwrap() {
            match value {
                Value::Null => drop(order["replication"].as_object_mut().unwrap().remove(key)),
                value => order["replication"][key] = value.clone(),
            }
        }
        self.a.admin.post_v1(&format!("/providers/{PROVIDER}/checkpoints/replicate"), &order).await
    }

    /// The single call; its answer.
    pub(crate) async fn replicate_item(&self, item: &str) -> Answer {
        let body = json!({ "replication": {
            "destination_region": "eu-b",
            "destination_project_id": self.b.admin.project_id,
        } });
        self.a.admin.post_v1(&format!("/providers/{PROVIDER}/checkpoint_items/{item}/replicate"), &body).await
    }

    /// Goes on to the same time of the next day, keeps house at the source and lets it work; the admin
    /// of the source logs in again, because a token does not live for a day.
    pub(crate) async fn next_day(&mut self) {
        self.clock.advance_seconds(86_400);
        self.a.control.keep_house().await.unwrap();
        self.a.work().await;
        self.a.control.keep_house().await.unwrap();
        self.a.work().await;
        self.a.admin = self.a.admin.relog("admin", Some("eu-a")).await;
    }

    /// Lets a record begin to copy, and cuts the link there.
    pub(crate) async fn begin_copying(&self, record: &str) {
        self.links.set_fault(Some(Fault::DownAfterOpen));
        assert!(self.a.work_once(JobKind::Replicate).await);
        assert_eq!(self.record(record).await["status"], "replicating");
    }

    /// Makes a record fail for good.
    pub(crate) async fn fail_record(&self, record: &str) {
        self.links.set_fault(Some(Fault::RefusesToOpen));
        assert!(self.a.work_once(JobKind::Replicate).await);
        self.links.set_fault(None);
        assert_eq!(self.record(record).await["status"], "fail");
    }

    /// Deletes the replica of an item in its own region, and lets the source hear of it.
    pub(crate) async fn delete_replica(&self, item: &str) {
        let record = self.a.item(item).await["replication_records"][0].clone();
        let (checkpoint, replica) = ("destination_checkpoint_id", "destination_checkpoint_item_id");
        let path = format!("/providers/{PROVIDER}/checkpoints/{}", record[checkpoint].as_str().unwrap());
        let deleted = self.b.admin.delete_v1(&path).await;
        assert_eq!(deleted.status, 200, "{}", deleted.body);
        self.b.work().await;
        let path = format!("/checkpoint_items/{}", record[replica].as_str().unwrap());
        assert_eq!(self.b.admin.get_v1(&path).await.status, 404);
        self.clock.advance_seconds(600);
        self.a.control.keep_house().await.unwrap();
    }

    /// A policy of one server with one finished backup: the policy and the item.
    pub(crate) async fn backed_up(&self) -> (String, String) {
        let server = self.a.server("db1").await;
        let policy = self.a.policy("nightly", &[&server]).await;
        let items = self.a.back_up(&policy).await;
        (policy, items[0].clone())
    }

    /// The number of replication records of the first project of `a`.
    pub(crate) async fn record_count(&self) -> u64 {
        self.a.admin.get_v1("/replication_records").await.body["count"].as_u64().unwrap()
    }

    /// One replication record as the API shows it.
    pub(crate) async fn record(&self, id: &str) -> Value {
        let answer = self.a.admin.get_v1(&format!("/replication_records/{id}")).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body["replication_record"].clone()
    }
}

/// Bytes that look random and follow from a seed.
pub(crate) fn write_disk(path: &Path, bytes: usize, seed: u8) {
    let mut content = vec![0; bytes];
    vault::seams::Entropy::fill(&SeededEntropy::new(u64::from(seed)), &mut content);
    std::fs::write(path, content).unwrap();
}
