//! A catalog with the helpers that cases tell their stories with. Ids and moments come from small
//! numbers, so that a failure reads well.

use catalog::{
    Catalog, Claim, Job, JobKind, Lease, NewOperation, NewVault, RunSharing, SealedPack, SequenceScope,
    StoredItem,
};
use model::checkpoint::{Checkpoint, CheckpointItem, ItemState, VolumeBackup};
use model::ids::{
    CheckpointId, CheckpointItemId, GrantId, OperationId, PolicyId, ProjectId, ReplicationRecordId,
    ScheduledOperationId, TriggerId, VolumeBackupId,
};
use model::policy::{OperationDefinition, Policy, PolicyResource, ScheduledOperation, Trigger};
use model::replication::{Destination, ReplicationOrder};
use model::retention::Retention;
use model::schedule::Pattern;
use model::server::{Server, Volume, VolumeFormat};
use model::text::{Description, Name, Tag};
use model::time::Timestamp;
use sqlx::AnyPool;

/// A catalog under test.
pub(crate) struct World {
    pub(crate) catalog: Catalog,
    /// The same database without the catalog, for damage.
    pub(crate) raw: AnyPool,
    /// Where SQLite has its file; PostgreSQL has none of ours.
    folder: Option<tempfile::TempDir>,
}

pub(crate) const INCARNATION: [u8; 16] = [0x11; 16];
pub(crate) const DOMAIN: [u8; 16] = [0xd0; 16];
pub(crate) const VAULT: [u8; 16] = [0xa0; 16];

impl World {
    pub(crate) async fn sqlite() -> World {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("catalog.db");
        let url = format!("sqlite://{}?mode=rwc", path.display());
        World::open(&url, Some(folder)).await
    }

    pub(crate) async fn open(url: &str, folder: Option<tempfile::TempDir>) -> World {
        let catalog = Catalog::open(url).await.unwrap();
        let raw = AnyPool::connect(url).await.unwrap();
        World { catalog, raw, folder }
    }

    /// Whether PostgreSQL is under test, for the few statements whose literals differ.
    pub(crate) fn is_postgres(&self) -> bool {
        self.folder.is_none()
    }

    /// Writes a policy over these servers of the project.
    pub(crate) async fn policy(&self, n: u8, servers: &[&str]) -> Policy {
        let policy = policy(n, servers);
        self.catalog.create_policy(&policy, None).await.unwrap();
        policy
    }

    /// Begins a run of a policy over all its servers; item n of the run has the id `10 * run + n`.
    pub(crate) async fn begin_run(&self, policy: &Policy, run: u8) -> Vec<CheckpointItem> {
        let checkpoint = checkpoint(run, Some(policy));
        let items: Vec<_> = (0..)
            .zip(&policy.resources)
            .map(|(n, resource)| item(run * 10 + n, &checkpoint, resource.id.as_str()))
            .collect();
        self.catalog.begin_checkpoint(&checkpoint, &items, RunSharing::Shared).await.unwrap();
        items
    }

    /// Runs a policy to its end: every item becomes available.
    pub(crate) async fn run(&self, policy: &Policy, run: u8) -> Vec<CheckpointItem> {
        let items = self.begin_run(policy, run).await;
        self.finish_backups(at(i64::from(run))).await;
        let mut done = Vec::new();
        for item in items {
            done.push(self.catalog.item_by_id(item.id).await.unwrap());
        }
        done
    }

    /// Carries out every backup job there is.
    pub(crate) async fn finish_backups(&self, now: Timestamp) {
        while let Some(job) = self.claim(JobKind::Backup, now).await {
            self.finish_backup(&job.lease, now).await;
        }
    }

    /// Carries out one backup under its lease.
    pub(crate) async fn finish_backup(&self, lease: &Lease, now: Timestamp) -> StoredItem {
        let id = CheckpointItemId::from_bytes(lease.subject);
        let item = self.catalog.start_backup(lease, id, now).await.unwrap();
        self.primary_vault(&item.project_id).await;
        let operation = NewOperation { id: item.operation_id, vault_id: VAULT, base_manifest: None };
        self.catalog.begin_operation(&operation, now).await.unwrap();
        self.seal_one(item.operation_id).await;
        let scope = SequenceScope { domain: DOMAIN, incarnation: INCARNATION };
        let sequence = self.catalog.take_item_sequence(lease, id, &scope).await.unwrap();
        let stored = StoredItem {
            manifest_digest: manifest_of(id),
            domain: DOMAIN,
            sequence,
            incremental: false,
            logical_bytes: 4096,
            added_bytes: 1024,
            stored_bytes: 3072,
            protected_at: now,
            volume_sizes: item.volumes.iter().map(|volume| (volume.id, 4096)).collect(),
        };
        self.catalog.finish_backup(lease, id, &stored, now).await.unwrap();
        stored
    }

    pub(crate) async fn primary_vault(&self, project: &ProjectId) {
        let vault = NewVault { id: VAULT, domain: DOMAIN, project_id: project.clone(), source: None };
        self.catalog.ensure_vault(&vault, at(0)).await.unwrap();
    }

    /// Reserves and seals one pack for an operation, and answers its number.
    pub(crate) async fn seal_one(&self, operation: OperationId) -> u64 {
        let number = self.catalog.reserve_pack(operation).await.unwrap();
        self.catalog.seal_pack(operation, &sealed(number)).await.unwrap();
        number
    }

    pub(crate) async fn claim(&self, kind: JobKind, now: Timestamp) -> Option<Job> {
        let claim = Claim { kinds: &[kind], owner: "worker", lease_seconds: 60 };
        self.catalog.claim_job(&claim, now).await.unwrap()
    }

    /// Orders the collection of a vault and claims it.
    pub(crate) async fn collect_lease(&self, vault: [u8; 16]) -> catalog::Lease {
        self.catalog.order_collection(vault, at(0)).await.unwrap();
        // Whoever claimed before is overtaken.
        self.catalog.release_leases().await.unwrap();
        let job = self.claim(JobKind::Collect, at(10_000)).await.unwrap();
        assert_eq!(job.lease.subject, vault);
        job.lease
    }

    /// Damages the database behind the catalog's back.
    pub(crate) async fn damage(&self, sql: &str) {
        sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).execute(&self.raw).await.unwrap();
    }
}

pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_800_000_000_000_000).plus_seconds(seconds)
}

pub(crate) fn project() -> ProjectId {
    "project-a".parse().unwrap()
}

pub(crate) fn other_project() -> ProjectId {
    "project-b".parse().unwrap()
}

pub(crate) fn bytes(n: u8) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[15] = n;
    bytes
}

pub(crate) fn item_id(n: u8) -> CheckpointItemId {
    CheckpointItemId::from_bytes(bytes(n))
}

pub(crate) fn checkpoint_id(n: u8) -> CheckpointId {
    CheckpointId::from_bytes(bytes(n))
}

pub(crate) fn policy_id(n: u8) -> PolicyId {
    PolicyId::from_bytes(bytes(n))
}

pub(crate) fn record_id(n: u8) -> ReplicationRecordId {
    ReplicationRecordId::from_bytes(bytes(n))
}

pub(crate) fn operation_id(n: u8) -> OperationId {
    OperationId::from_bytes(bytes(n))
}

pub(crate) fn grant_id(n: u8) -> GrantId {
    GrantId::from_bytes(bytes(n))
}

pub(crate) fn manifest_of(item: CheckpointItemId) -> [u8; 32] {
    let mut digest = [0xee; 32];
    digest[..16].copy_from_slice(&item.bytes());
    digest
}

pub(crate) fn sealed(number: u64) -> SealedPack {
    SealedPack {
        number,
        incarnation: INCARNATION,
        bytes: 1 << 20,
        object_count: 32,
        footer_digest: [u8::try_from(number % 251).unwrap(); 32],
    }
}

pub(crate) fn destination() -> Destination {
    Destination { region: "region-b".parse().unwrap(), project_id: "project-there".parse().unwrap() }
}

pub(crate) fn order(policy: &Policy) -> ReplicationOrder {
    ReplicationOrder {
        source_project_id: policy.project_id.clone(),
        policy_id: policy.id,
        destination: destination(),
        auto_trigger: false,
        enable_acceleration: false,
    }
}

pub(crate) fn server(id: &str, volumes: &[&str]) -> Server {
    let volumes = volumes.iter().map(|volume| Volume {
        id: volume.parse().unwrap(),
        name: format!("disk {volume}"),
        path: format!("/disks/{volume}.raw"),
        format: VolumeFormat::Raw,
        size_bytes: 1 << 30,
        bootable: true,
    });
    Server {
        id: id.parse().unwrap(),
        project_id: project(),
        name: format!("server {id}"),
        volumes: volumes.collect(),
        created_at: at(0),
    }
}

pub(crate) fn policy(n: u8, servers: &[&str]) -> Policy {
    let pattern = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=DAILY;BYHOUR=2;BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    let resources = servers.iter().map(|server| PolicyResource {
        id: server.parse().unwrap(),
        name: format!("as sent: {server}"),
        extra_info: None,
        excluded_volumes: Vec::new(),
    });
    Policy {
        id: policy_id(n),
        project_id: project(),
        name: Name::new(&format!("policy-{n}")).unwrap(),
        description: Description::new("nightly").unwrap(),
        parameters: "{}".to_owned(),
        resources: resources.collect(),
        operations: vec![ScheduledOperation {
            id: ScheduledOperationId::from_bytes(bytes(n)),
            name: "nightly".to_owned(),
            description: Description::default(),
            enabled: true,
            definition: OperationDefinition::Backup { retention: Retention::default() },
            trigger: Trigger {
                id: TriggerId::from_bytes(bytes(n)),
                pattern: Pattern::parse(pattern).unwrap(),
                start_time: at(0),
            },
        }],
        tags: vec![Tag::new("team", "storage").unwrap()],
        created_at: at(i64::from(n)),
        updated_at: at(i64::from(n)),
    }
}

pub(crate) fn checkpoint(n: u8, policy: Option<&Policy>) -> Checkpoint {
    Checkpoint {
        id: checkpoint_id(n),
        project_id: project(),
        policy_id: policy.map(|policy| policy.id),
        plan_id: policy.map_or("fake_1".to_owned(), |policy| policy.id.to_string()),
        plan_name: "plan".to_owned(),
        auto_trigger: false,
        created_at: at(i64::from(n)),
    }
}

pub(crate) fn item(n: u8, checkpoint: &Checkpoint, server: &str) -> CheckpointItem {
    CheckpointItem {
        id: item_id(n),
        checkpoint_id: checkpoint.id,
        project_id: checkpoint.project_id.clone(),
        policy_id: checkpoint.policy_id,
        resource_id: server.parse().unwrap(),
        resource_name: format!("server {server}"),
        name: format!("manualbk_{n:04}"),
        description: None,
        state: ItemState::Protecting,
        auto_trigger: checkpoint.auto_trigger,
        incremental: false,
        progress_percent: 0,
        progress_bytes: 0,
        logical_bytes: 0,
        added_bytes: 0,
        manifest_digest: None,
        domain: None,
        operation_id: operation_id(n),
        sequence: 0,
        origin: None,
        created_at: checkpoint.created_at,
        updated_at: checkpoint.created_at,
        protected_at: None,
        finished_at: None,
        expired_at: None,
        failure: None,
        volumes: vec![VolumeBackup {
            id: VolumeBackupId::from_bytes(bytes(n)),
            volume_id: format!("{server}-disk").parse().unwrap(),
            volume_name: "root".to_owned(),
            size_bytes: 0,
            bootable: true,
        }],
        tags: vec![Tag::new("team", "storage").unwrap(), Tag::new("tier", "").unwrap()],
    }
}
