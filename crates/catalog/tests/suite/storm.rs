//! Everybody at once: callers and workers do what they please, then the books must balance. What one
//! caller does comes from a printed seed; who comes first is the engine's own chance.

use catalog::{
    Catalog, CatalogError, ItemReplicationOrder, JobKind, NewRecords, Postponement, RecordChange, RetryOrder,
    RunSharing, StoredReplica, TransferProgress,
};
use model::ids::{CheckpointItemId, ReplicationRecordId};
use model::policy::Policy;
use model::replication::{RecordEvent, plan};
use sqlx::Row as _;

use super::world::{World, at, bytes, checkpoint_id, destination, grant_id, item, item_id, order, project};

const CALLERS: u8 = 8;
const ACTIONS: u32 = 40;
const SEED: u64 = 0x5eed_0001;

/// A small repeatable generator (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct Caller {
    catalog: Catalog,
    policy: Policy,
    number: u8,
    serial: u16,
    chance: Chance,
}

impl Caller {
    fn fresh(&mut self) -> [u8; 16] {
        self.serial += 1;
        let mut fresh = bytes(0);
        fresh[0] = 0xf0;
        fresh[1] = self.number;
        fresh[2..4].copy_from_slice(&self.serial.to_be_bytes());
        fresh
    }

    fn item(&mut self) -> CheckpointItemId {
        let run = 1 + self.chance.below(4);
        item_id(u8::try_from(run * 10 + self.chance.below(4)).unwrap())
    }

    async fn act(&mut self) -> Result<(), CatalogError> {
        let now = at(1000);
        let why = RecordChange { reason_code: "storm".to_owned(), reason: "storm".to_owned() };
        match self.chance.below(8) {
            0 => {
                let ledger = self.catalog.replication_ledger(self.policy.id, &destination().region).await?;
                let plan = plan(&order(&self.policy), &ledger);
                let record_ids =
                    plan.selected.iter().map(|_| ReplicationRecordId::from_bytes(self.fresh())).collect();
                let new = NewRecords {
                    record_ids,
                    grant_id: grant_id(1),
                    by_scheduler: true,
                    keep_days: None,
                    slot: None,
                };
                self.catalog.begin_replication(&plan, &new, now).await.map(drop)
            }
            1 => {
                let order = ItemReplicationOrder {
                    source_project_id: project(),
                    item_id: self.item(),
                    destination: destination(),
                    grant_id: grant_id(1),
                    record_id: ReplicationRecordId::from_bytes(self.fresh()),
                    auto_trigger: false,
                    enable_acceleration: false,
                    replica_name: None,
                    replica_description: None,
                    keep_days: None,
                };
                self.catalog.begin_item_replication(&order, now).await.map(drop)
            }
            2 => {
                let run = u8::try_from(1 + self.chance.below(4)).unwrap();
                let items = [self.item()];
                let items = if self.chance.below(4) == 0 { None } else { Some(items.as_slice()) };
                self.catalog.order_delete(&project(), checkpoint_id(run), items, now).await.map(drop)
            }
            3 => {
                let items = [self.item(), self.item(), self.item()];
                self.catalog.order_expiry(&items, now).await.map(drop)
            }
            4 => {
                let item = self.item();
                let records = self.catalog.records_of_items(&[item]).await?;
                match records.last() {
                    Some(record) => self.say(record.id, &why).await,
                    None => Ok(()),
                }
            }
            5 => {
                let done = self.catalog.done_records(&destination().region).await?;
                let ids: Vec<_> = done.iter().take(2).map(|done| done.id).collect();
                self.catalog.mark_lost(&ids, now).await.map(drop)
            }
            _ => self.work(&why).await,
        }
    }

    /// Says one of the verbs to a record.
    async fn say(&mut self, record: ReplicationRecordId, why: &RecordChange) -> Result<(), CatalogError> {
        let (project, now) = (project(), at(1000));
        match self.chance.below(4) {
            0 => self.catalog.cancel_replication(&project, record, why, now).await,
            1 => self.catalog.pause_replication(&project, record, why, now).await,
            2 => self.catalog.resume_replication(&project, record, now).await,
            _ => {
                let record_id = ReplicationRecordId::from_bytes(self.fresh());
                let order = RetryOrder { ended_id: record, record_id, grant_id: grant_id(1) };
                self.catalog.retry_replication(&project, &order, now).await.map(drop)
            }
        }
    }

    /// Claims a job and does something with it, or walks away.
    async fn work(&mut self, why: &RecordChange) -> Result<(), CatalogError> {
        let kinds = [JobKind::Replicate, JobKind::Delete];
        let claim = catalog::Claim { kinds: &kinds, owner: "storm", lease_seconds: 0 };
        let Some(job) = self.catalog.claim_job(&claim, at(1000)).await? else { return Ok(()) };
        let (lease, now) = (job.lease, at(1000));
        if lease.kind == JobKind::Delete {
            return self
                .catalog
                .finish_delete(&lease, CheckpointItemId::from_bytes(lease.subject), now, now)
                .await;
        }
        let record = ReplicationRecordId::from_bytes(lease.subject);
        self.catalog.move_record(&lease, record, RecordEvent::Claimed, &RecordChange::default(), now).await?;
        match self.chance.below(4) {
            0 => {
                let wait = Postponement { try_at: now, reason_code: "storm", reason: "storm" };
                self.catalog.postpone_job(&lease, &wait, now).await
            }
            1 => self.catalog.move_record(&lease, record, RecordEvent::GaveUp, why, now).await.map(drop),
            2 => Ok(()),
            _ => {
                let stored = StoredReplica {
                    receipt: vec![1],
                    head_counter: 1,
                    destination_checkpoint_id: checkpoint_id(1),
                    destination_item_id: CheckpointItemId::from_bytes(self.fresh()),
                    level: model::grant::Level::Stored,
                    progress: TransferProgress::default(),
                };
                self.catalog.finish_replication(&lease, record, &stored, now).await
            }
        }
    }
}

pub(crate) async fn a_storm_of_callers_and_workers_leaves_the_books_in_order(world: &World) {
    println!("seed {SEED:#x}");
    let policy = world.policy(1, &["s0", "s1", "s2", "s3"]).await;
    for run in 1..=4 {
        world.run(&policy, run).await;
    }
    let mut running = Vec::new();
    for number in 1..=CALLERS {
        let chance = Chance(SEED.wrapping_mul(u64::from(number)));
        let (catalog, policy) = (world.catalog.clone(), policy.clone());
        let mut caller = Caller { catalog, policy, number, serial: 0, chance };
        running.push(tokio::spawn(async move {
            for _ in 0..ACTIONS {
                match caller.act().await {
                    Ok(())
                    | Err(CatalogError::Conflict(_) | CatalogError::NotFound { .. } | CatalogError::Fenced) =>
                        {}
                    Err(error) => panic!("caller {number}: {error:?}"),
                }
            }
        }));
    }
    for handle in running {
        handle.await.unwrap();
    }
    check_the_books(world).await;
    // And life goes on.
    let run = super::world::checkpoint(9, Some(&policy));
    world.catalog.begin_checkpoint(&run, &[item(90, &run, "s0")], RunSharing::Exclusive).await.unwrap();
}

async fn check_the_books(world: &World) {
    for (rule, sql) in [
        (
            "an open record that is not paused has an open job",
            "SELECT COUNT(*) AS wrong FROM replication_records r WHERE r.paused_at IS NULL AND r.state IN \
             ('waiting', 'copying', 'verifying', 'publishing') AND NOT EXISTS (SELECT 1 FROM jobs j \
             WHERE j.kind = 'replicate' AND j.subject = r.id AND j.is_open = 1)",
        ),
        (
            "a job that is open has an open record that is not paused",
            "SELECT COUNT(*) AS wrong FROM jobs j JOIN replication_records r ON r.id = j.subject \
             WHERE j.kind = 'replicate' AND j.is_open = 1 \
             AND (r.state NOT IN ('waiting', 'copying', 'verifying', 'publishing') OR r.paused_at IS NOT NULL)",
        ),
        (
            "one current record an item and region",
            "SELECT COUNT(*) AS wrong FROM (SELECT checkpoint_item_id FROM replication_records \
             WHERE is_current = 1 GROUP BY checkpoint_item_id, destination_region HAVING COUNT(*) > 1) AS twice",
        ),
        (
            "current means open or done",
            "SELECT COUNT(*) AS wrong FROM replication_records WHERE is_current <> \
             CASE WHEN state IN ('waiting', 'copying', 'verifying', 'publishing', 'done') THEN 1 ELSE 0 END",
        ),
        (
            "nothing deleted is being copied",
            "SELECT COUNT(*) AS wrong FROM replication_records r JOIN checkpoint_items i \
             ON i.id = r.checkpoint_item_id WHERE i.state IN ('deleting', 'deleted') \
             AND r.state IN ('waiting', 'copying', 'verifying', 'publishing')",
        ),
        (
            "a deleting item has its job",
            "SELECT COUNT(*) AS wrong FROM checkpoint_items i WHERE i.state = 'deleting' AND NOT EXISTS \
             (SELECT 1 FROM jobs j WHERE j.kind = 'delete' AND j.subject = i.id AND j.is_open = 1)",
        ),
        (
            "a checkpoint is deleted exactly when its items are",
            "SELECT COUNT(*) AS wrong FROM checkpoints c WHERE (c.deleted_at IS NULL) = NOT EXISTS \
             (SELECT 1 FROM checkpoint_items i WHERE i.checkpoint_id = c.id AND i.state <> 'deleted')",
        ),
    ] {
        let row = sqlx::query(sql).fetch_one(&world.raw).await.unwrap();
        assert_eq!(row.get::<i64, _>("wrong"), 0, "{rule} (seed {SEED:#x})");
    }
}
