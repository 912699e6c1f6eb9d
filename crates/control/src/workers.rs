//! The workers' loops. Each worker is level-triggered: a wake carries no data, each round reads what
//! the catalog says, takes a lease, does one step, records the event. A timer wakes it too, so that a
//! lost wake costs delay and nothing else. First try, retry and restart are one road.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use catalog::{CatalogError, Claim, Job, JobKind, Postponement};
use model::time::Timestamp;
use tokio::sync::{Notify, watch};
use tracing::{error, warn};

use crate::Control;
use crate::error::Error;
use crate::verification::VerificationPlan;

/// How long a claimed job is safe from other workers, in seconds. Long work extends it.
pub const LEASE_SECONDS: u32 = 30;
/// How often an idle worker looks by itself.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Waiting after the n-th failure: doubled from this up to [`BACKOFF_SECONDS_MAX`].
const BACKOFF_SECONDS: i64 = 1;
/// The longest wait after a failure, in seconds.
const BACKOFF_SECONDS_MAX: i64 = 60;

/// One notifier per worker.
#[derive(Default)]
pub struct Wakes {
    /// Backups.
    pub backup: Notify,
    /// Outgoing replication records.
    pub replicator: Notify,
    /// Restores.
    pub restorer: Notify,
    /// Deletions.
    pub deleter: Notify,
    /// Opening every chunk of a replica that arrived.
    pub verifier: Notify,
    /// Collections.
    pub collector: Notify,
    /// Verifying packs.
    pub packs: Notify,
    /// Schedules, retention, heads.
    pub scheduler: Notify,
    /// Leases that somebody took away: whoever works under one looks at once.
    pub fenced: Notify,
}

/// What one round of a worker came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    /// It did a step; there may be more.
    Worked,
    /// There was nothing to do.
    Idle,
}

/// Sleeps, so that the simulation can own them.
pub trait Timer: Send + Sync {
    /// Ends after a while.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// How many workers of each kind run in one process, and how they verify.
#[derive(Clone, Copy, Debug)]
pub struct WorkerCounts {
    /// Backups at a time; each uses all cores.
    pub backup: u16,
    /// Outgoing transfers at a time.
    pub replicate: u16,
    /// Restores at a time.
    pub restore: u16,
    /// How stored bytes are verified.
    pub verification: VerificationPlan,
}

impl Default for WorkerCounts {
    fn default() -> WorkerCounts {
        WorkerCounts { backup: 1, replicate: 2, restore: 1, verification: VerificationPlan::default() }
    }
}

/// The running workers of one process. Dropping it does not stop them: [`Workers::stop`] does.
pub struct Workers {
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Workers {
    /// Starts the workers that have the keys for their work.
    pub fn start(control: &Control, counts: WorkerCounts) -> Workers {
        let (stop, stopped) = watch::channel(false);
        let plan = [
            (JobKind::Backup, counts.backup),
            (JobKind::Replicate, counts.replicate),
            (JobKind::Restore, counts.restore),
            (JobKind::Delete, 1),
            (JobKind::Verify, 1),
            (JobKind::Collect, 1),
        ];
        let mut tasks = Vec::new();
        let troubles = control.troubles();
        for (kind, count) in plan {
            let has_keys =
                if kind == JobKind::Restore { troubles.may_restore() } else { troubles.may_write() };
            let count = if has_keys { count } else { 0 };
            for _ in 0..count {
                let look = Look { control: control.clone(), stopped: stopped.clone() };
                tasks.push(tokio::spawn(look.run(Task::Jobs(kind))));
            }
        }
        if troubles.may_write() {
            for task in [Task::House, Task::Verification(counts.verification)] {
                let look = Look { control: control.clone(), stopped: stopped.clone() };
                tasks.push(tokio::spawn(look.run(task)));
            }
        }
        Workers { stop, tasks }
    }

    /// Asks all workers to end after their step, and waits for them.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            if let Err(failure) = task.await {
                error!(%failure, "a worker ended badly");
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Task {
    Jobs(JobKind),
    House,
    Verification(VerificationPlan),
}

struct Look {
    control: Control,
    stopped: watch::Receiver<bool>,
}

impl Look {
    async fn run(mut self, task: Task) {
        while !*self.stopped.borrow() {
            let round = match task {
                Task::Jobs(kind) => self.control.work_once(kind).await,
                Task::House => self.control.keep_house().await,
                Task::Verification(plan) => self
                    .control
                    .verify_by_plan(&plan)
                    .await
                    .map(|has_worked| if has_worked { Round::Worked } else { Round::Idle }),
            };
            if let Err(failure) = &round {
                warn!(failure = %failure, cause = ?failure.cause, "a worker's round failed; it is tried again");
            }
            if matches!(round, Ok(Round::Worked)) {
                continue;
            }
            let control = self.control.clone();
            let wake = match task {
                Task::Jobs(kind) => control.wakes().of(kind),
                Task::House => &control.wakes().scheduler,
                Task::Verification(_) => &control.wakes().packs,
            };
            tokio::select! {
                () = wake.notified() => {}
                () = control.parts().timer.sleep(LOOK_EVERY) => {}
                _ = self.stopped.changed() => {}
            }
        }
    }
}

impl Wakes {
    fn of(&self, kind: JobKind) -> &Notify {
        match kind {
            JobKind::Backup => &self.backup,
            JobKind::Replicate => &self.replicator,
            JobKind::Restore => &self.restorer,
            JobKind::Delete => &self.deleter,
            JobKind::Verify => &self.verifier,
            JobKind::Collect => &self.collector,
        }
    }
}

impl Control {
    /// One round of one kind of job: claim, step, record. The simulation calls this directly.
    pub async fn work_once(&self, kind: JobKind) -> Result<Round, Error> {
        let owner = self.region_name().as_str();
        let claim = Claim { kinds: &[kind], owner, lease_seconds: LEASE_SECONDS };
        let Some(job) = self.catalog().claim_job(&claim, self.now()).await? else {
            return Ok(Round::Idle);
        };
        let ended = match kind {
            JobKind::Backup => self.back_up(&job).await,
            JobKind::Replicate => self.replicate(&job).await,
            JobKind::Restore => self.restore_item(&job).await,
            JobKind::Delete => self.delete_item(&job).await,
            JobKind::Verify => self.verify_replica(&job).await,
            JobKind::Collect => self.collect_vault(&job).await,
        };
        match ended {
            Ok(()) => Ok(Round::Worked),
            Err(error) if error.is_lease_lost() => Ok(Round::Worked),
            Err(error) => {
                self.try_later(&job, "internal", &error.to_string()).await?;
                Err(error)
            }
        }
    }

    /// Puts a job back with growing delay and a stated reason.
    pub(crate) async fn try_later(&self, job: &Job, reason_code: &str, reason: &str) -> Result<(), Error> {
        let try_at = self.backoff(job.attempts);
        let postponement = Postponement { try_at, reason_code, reason };
        match self.catalog().postpone_job(&job.lease, &postponement, self.now()).await {
            Err(CatalogError::Fenced) => Ok(()),
            other => Ok(other?),
        }
    }

    /// When to try again after so many failures.
    pub(crate) fn backoff(&self, attempts: u32) -> Timestamp {
        let doublings = attempts.saturating_sub(1).min(10);
        let seconds = (BACKOFF_SECONDS << doublings).min(BACKOFF_SECONDS_MAX);
        self.now().plus_seconds(seconds)
    }

    /// One round of everything that a timer drives: state objects, schedules, retention, collections,
    /// abandoned arrivals, heads, grants.
    pub async fn keep_house(&self) -> Result<Round, Error> {
        // State that cannot be written now is told at the end: schedules do not wait for it.
        let written = self.write_unwritten_state().await;
        self.run_due_operations().await?;
        self.expire_items().await?;
        self.order_due_collections().await?;
        self.give_up_abandoned_arrivals().await?;
        self.look_at_peers().await?;
        self.forget_expired_tokens().await?;
        written?;
        Ok(Round::Idle)
    }
}
