//! A region on its own, with an admin who is logged in. It can be stopped and started again.

use std::fs;
use std::future::{Future, ready};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, JobKind};
use control::checkpoints::ProtectOrder;
use control::collection::CollectionRules;
use control::identity::{Login, LoginScope, LoginUser};
use control::peers::messages::{Asking, LinkError, PeerAddress, PeerLinks, PeerRequest};
use control::policies::PolicyLimits;
use control::region::{FirstUser, KeyFiles, ensure_row};
use control::servers::{NewServer, NewVolume};
use control::workers::Timer;
use control::{Caller, Control, Error, Parts};
use disk::SourceRoots;
use model::checkpoint::CheckpointItem;
use model::ids::ProjectId;
use model::server::{Server, VolumeFormat};
use tempfile::TempDir;
use vault::card::RegionIdentity;
use vault::index::IndexSettings;
use vault::kek::Kek;
use vault::recovery::RecoverySeed;
use vault::seams::{Entropy, FixedClock, SeededEntropy};
use vault::state::{STATE_BYTES_MAX, StateObject, StateRecord};
use vault::store::{ObjectStore, SimulatedStore};
use vault::{layout, vault::VaultSettings};

/// 2026-11-23, a Monday.
pub(crate) const NOW_MS: u64 = 1_795_392_000_000;
const PASSWORD: &str = "correct horse";
const DISK_BYTES: usize = 1 << 20;

struct Nobody;

impl PeerLinks for Nobody {
    fn ask<'a>(&'a self, peer: &'a PeerAddress, _: PeerRequest) -> Asking<'a> {
        Box::pin(ready(Err(LinkError::Unreachable { peer: peer.name.clone(), cause: "alone".into() })))
    }
}

impl Timer for Nobody {
    fn sleep(&self, _: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(ready(()))
    }
}

/// What of a region stays when its process ends.
pub(crate) struct Region {
    folder: TempDir,
    pub(crate) store: SimulatedStore,
    identity: Arc<RegionIdentity>,
    kek: Arc<Kek>,
    clock: Arc<FixedClock>,
    entropy: Arc<SeededEntropy>,
}

/// A region's process.
pub(crate) struct Running {
    pub(crate) control: Control,
    pub(crate) catalog: Catalog,
    pub(crate) caller: Caller,
    pub(crate) project: ProjectId,
}

impl Region {
    pub(crate) fn new() -> Region {
        let folder = tempfile::tempdir().unwrap();
        for name in ["keys", "disks"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        let (store, entropy) = (SimulatedStore::new(1), Arc::new(SeededEntropy::new(1)));
        let clock = Arc::new(FixedClock::new(NOW_MS));
        let files = KeyFiles::new(&folder.path().join("keys"));
        let name = "eu-a".parse().unwrap();
        let keys = files.ensure(&store, &name, [1; 32], clock.as_ref(), entropy.as_ref()).unwrap();
        let (identity, kek) = (Arc::new(keys.identity), Arc::new(keys.kek));
        Region { folder, store, identity, kek, clock, entropy }
    }

    pub(crate) async fn start(&self) -> Running {
        let name = "eu-a".parse().unwrap();
        let catalog = Catalog::open_file(&self.catalog_file()).await.unwrap();
        let (clock, entropy) = (self.clock.as_ref(), self.entropy.as_ref());
        let incarnation = ensure_row(&catalog, &name, self.identity.region(), clock, entropy).await.unwrap();
        let parts = Parts {
            name,
            catalog: catalog.clone(),
            store: Arc::new(self.store.clone()),
            identity: self.identity.clone(),
            kek: self.kek.clone(),
            recovery_key: RecoverySeed::generate(entropy).receiving_key().public(),
            incarnation,
            clock: self.clock.clone(),
            entropy: self.entropy.clone(),
            timer: Arc::new(Nobody),
            links: Arc::new(Nobody),
            peer_url: "https://eu-a.example:8781".to_owned(),
            source_roots: Arc::new(SourceRoots::new(vec![self.disks()], Vec::new()).unwrap()),
            index_dir: self.folder.path().join("index"),
            vault_settings: VaultSettings {
                threads: 1,
                index: IndexSettings { is_in_memory: true, ..IndexSettings::default() },
                ..VaultSettings::default()
            },
            collection: CollectionRules::default(),
            policy_limits: PolicyLimits::default(),
        };
        let control = Control::open(parts).await.unwrap();
        let first = FirstUser { name: "admin".to_owned(), password: PASSWORD.to_owned() };
        let (project, _) = control.ensure_first_user(first).await.unwrap();
        let login = Login::Password {
            user: LoginUser::Name("admin".to_owned()),
            password: PASSWORD.to_owned(),
            scope: LoginScope::ProjectId(project.clone()),
        };
        let (token, _) = control.log_in(login).await.unwrap();
        let caller = control.authenticate(&token).await.unwrap();
        Running { control, catalog, caller, project }
    }

    pub(crate) fn disks(&self) -> PathBuf {
        self.folder.path().join("disks")
    }

    /// Fills a disk with other bytes.
    pub(crate) fn write_disk(&self, seed: u64) -> Vec<u8> {
        let mut bytes = vec![0; DISK_BYTES];
        SeededEntropy::new(seed).fill(&mut bytes);
        fs::write(self.disks().join("root.img"), &bytes).unwrap();
        bytes
    }

    fn catalog_file(&self) -> PathBuf {
        self.folder.path().join("catalog.db")
    }

    /// The catalog of a region that is stopped.
    pub(crate) fn copy_catalog(&self) -> Vec<u8> {
        fs::read(self.catalog_file()).unwrap()
    }

    /// Puts an older catalog in the place of the present one.
    pub(crate) fn roll_back(&self, catalog: &[u8]) {
        for rest in ["catalog.db-wal", "catalog.db-shm"] {
            let _ = fs::remove_file(self.folder.path().join(rest));
        }
        fs::write(self.catalog_file(), catalog).unwrap();
    }

    /// Every state object in the store, in the order of their numbers.
    pub(crate) fn state_records(&self) -> Vec<StateRecord> {
        let (region, signers) = (self.identity.region(), self.identity.signers());
        let open = |name: &String| {
            let stored = self.store.get(name, STATE_BYTES_MAX).unwrap();
            StateObject::open(name, &stored, &self.kek, region, &signers).unwrap().record
        };
        self.store.list(layout::STATE_PREFIX).unwrap().iter().map(open).collect()
    }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.catalog.close().await;
    }

    /// Registers the server that owns the disk.
    pub(crate) async fn register(&self, region: &Region) -> Server {
        let volume = NewVolume {
            id: None,
            name: "root".to_owned(),
            path: region.disks().join("root.img").to_str().unwrap().to_owned(),
            format: VolumeFormat::Raw,
            bootable: true,
        };
        let new = NewServer {
            id: None,
            project_id: self.project.clone(),
            name: "db1".to_owned(),
            volumes: vec![volume],
        };
        self.control.register_server(&self.caller, new).await.unwrap()
    }

    /// Orders a backup and lets it end.
    pub(crate) async fn back_up(&self, server: &Server) -> Result<CheckpointItem, Error> {
        let order = ProtectOrder {
            resource_id: server.id.clone(),
            name: None,
            description: None,
            incremental: false,
            tags: Vec::new(),
            excluded_volumes: Vec::new(),
            changes: None,
        };
        let begun = self.control.protect(&self.caller, order).await?;
        self.control.work_once(JobKind::Backup).await?;
        Ok(self.control.item(&self.caller, begun.items[0].id).await?.item)
    }

    /// Why writing is blocked, if it is.
    pub(crate) async fn blocked(&self) -> Option<String> {
        self.catalog.region().await.unwrap().unwrap().blocked_reason
    }
}
