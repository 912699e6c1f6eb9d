//! Jobs: leased and fenced work. A job is enqueued only inside the transaction that causes it, so no
//! word is ever given without the work being noted.
//!
//! A worker claims a job with a lease. Every claim gets a fence larger than all fences before it, and
//! every write of a worker checks its fence in the same transaction: a worker that slept through its
//! lease is told [`CatalogError::Fenced`] once another one has taken over.

use model::ids::OperationId;
use model::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::page::{pair_places, places};
use crate::value::{Row, Value, values};

/// An id of whatever a job is about: 16 bytes, as all our own ids.
pub type Subject = [u8; 16];

/// What a job does to its subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum JobKind {
    /// Makes the backup of a checkpoint item.
    Backup,
    /// Moves a replication record forward.
    Replicate,
    /// Carries out a restore.
    Restore,
    /// Deletes a checkpoint item.
    Delete,
    /// Opens every chunk of a checkpoint item.
    Verify,
    /// Collects a vault.
    Collect,
}

impl JobKind {
    /// All kinds.
    pub const ALL: [JobKind; 6] = [
        JobKind::Backup,
        JobKind::Replicate,
        JobKind::Restore,
        JobKind::Delete,
        JobKind::Verify,
        JobKind::Collect,
    ];

    /// The word stored in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            JobKind::Backup => "backup",
            JobKind::Replicate => "replicate",
            JobKind::Restore => "restore",
            JobKind::Delete => "delete",
            JobKind::Verify => "verify",
            JobKind::Collect => "collect",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<JobKind> {
        JobKind::ALL.into_iter().find(|kind| kind.word() == word)
    }
}

/// A worker's time-limited claim on a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// What is done.
    pub kind: JobKind,
    /// To what: the bytes of an item, record or restore id.
    pub subject: Subject,
    /// Larger than every fence given before; a transfer shows it as its attempt.
    pub fence: u64,
    /// Until when nobody else may claim the job.
    pub until: Timestamp,
}

/// A job just claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The claim.
    pub lease: Lease,
    /// How often it was claimed, this time included.
    pub attempts: u32,
    /// When it was enqueued.
    pub created_at: Timestamp,
}

/// How a worker claims.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The kinds it can do.
    pub kinds: &'a [JobKind],
    /// Who it is, for people who look.
    pub owner: &'a str,
    /// How long nobody else may claim the job.
    pub lease_seconds: u32,
}

/// Why a job waits: shown to people, and never empty.
#[derive(Clone, Copy, Debug)]
pub struct Postponement<'a> {
    /// Not before this moment is it tried again.
    pub try_at: Timestamp,
    /// The reason as a code.
    pub reason_code: &'a str,
    /// The reason for a person, with the next step.
    pub reason: &'a str,
}

/// How often a claim is repeated when another worker took the very job it looked at.
const CLAIM_TRIES: usize = 16;

impl Catalog {
    /// Claims the job whose turn it is: the oldest moment first, then the highest priority. A job
    /// whose lease ran out is claimable like any other.
    pub async fn claim_job(&self, claim: &Claim<'_>, now: Timestamp) -> Result<Option<Job>, CatalogError> {
        if claim.kinds.is_empty() {
            return Ok(None);
        }
        for _ in 0..CLAIM_TRIES {
            let mut tx = self.write("claiming a job").await?;
            if let Some(job) = claim_in(&mut tx, claim, now).await? {
                tx.commit().await?;
                return Ok(Some(job));
            }
            // On PostgreSQL another worker may have claimed the row between our look and our
            // update; only an empty queue ends the search.
            let is_empty = !has_claimable(&mut tx, claim, now).await?;
            tx.commit().await?;
            if is_empty {
                break;
            }
        }
        Ok(None)
    }

    /// Lengthens a lease; the answer replaces the old one.
    pub async fn extend_lease(&self, lease: &Lease, until: Timestamp) -> Result<Lease, CatalogError> {
        let mut tx = self.write("extending a lease").await?;
        check_lease(&mut tx, lease).await?;
        tx.execute(
            "UPDATE jobs SET lease_until = $1 WHERE kind = $2 AND subject = $3",
            values![until, lease.kind.word(), subject_text(lease.subject)],
        )
        .await?;
        tx.commit().await?;
        Ok(Lease { until, ..*lease })
    }

    /// Gives a job back until `try_at`, with the reason. A replication record notes them too.
    pub async fn postpone_job(
        &self,
        lease: &Lease,
        postponement: &Postponement<'_>,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("postponing a job").await?;
        check_lease(&mut tx, lease).await?;
        let subject = subject_text(lease.subject);
        tx.execute(
            "UPDATE jobs SET run_at = $1, reason_code = $2, reason = $3, lease_owner = NULL, lease_until = 0, \
             updated_at = $4 WHERE kind = $5 AND subject = $6",
            values![
                postponement.try_at,
                postponement.reason_code,
                postponement.reason,
                now,
                lease.kind.word(),
                subject.clone()
            ],
        )
        .await?;
        if lease.kind == JobKind::Replicate {
            tx.execute(
                "UPDATE replication_records SET try_at = $1, reason_code = $2, reason = $3, updated_at = $4 \
                 WHERE id = $5",
                values![postponement.try_at, postponement.reason_code, postponement.reason, now, subject],
            )
            .await?;
        }
        tx.commit().await
    }

    /// Frees every claimed job at once: for a process that knows itself to be the only one, after the
    /// one before it was killed. Fences go on growing, so a claimant that still lives is refused.
    pub async fn release_leases(&self) -> Result<u64, CatalogError> {
        let mut tx = self.write("releasing leases").await?;
        let freed = tx
            .execute(
                "UPDATE jobs SET lease_owner = NULL, lease_until = 0, fence = fence + 1 \
                 WHERE is_open = 1 AND lease_owner IS NOT NULL",
                values![],
            )
            .await?;
        tx.commit().await?;
        Ok(freed)
    }

    /// Makes every waiting job of these kinds due now, for example when a peer came back.
    pub async fn hasten_jobs(&self, kinds: &[JobKind], now: Timestamp) -> Result<u64, CatalogError> {
        let mut tx = self.write("hastening jobs").await?;
        let mut touched = 0;
        for kind in kinds {
            touched += tx
                .execute(
                    "UPDATE jobs SET run_at = $1 WHERE kind = $2 AND is_open = 1 AND run_at > $1 \
                     AND lease_owner IS NULL",
                    values![now, kind.word()],
                )
                .await?;
        }
        tx.commit().await?;
        Ok(touched)
    }

    /// Ends a job that has no other effect on the catalog.
    pub async fn finish_job(&self, lease: &Lease, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("finishing a job").await?;
        check_lease(&mut tx, lease).await?;
        end_job(&mut tx, lease.kind, lease.subject, now).await?;
        tx.commit().await
    }

    /// When the next job of these kinds can be claimed: its moment, or the end of its lease.
    pub async fn next_job_at(&self, kinds: &[JobKind]) -> Result<Option<Timestamp>, CatalogError> {
        if kinds.is_empty() {
            return Ok(None);
        }
        let mut tx = self.read("looking for the next job").await?;
        let sql = format!(
            "SELECT MIN(CASE WHEN lease_until > run_at THEN lease_until ELSE run_at END) AS next_at \
             FROM jobs WHERE is_open = 1 AND kind IN ({})",
            places(1, kinds.len())
        );
        // Safe: made of our own words and places; every value is bound.
        let row = tx.first(AssertSqlSafe(sql), kind_values(kinds)).await?;
        row.map_or(Ok(None), |row| row.optional_time("next_at"))
    }

    /// How many jobs of a kind are open.
    pub async fn open_job_count(&self, kind: JobKind) -> Result<u64, CatalogError> {
        let mut tx = self.read("counting jobs").await?;
        let row = tx
            .first(
                "SELECT COUNT(*) AS job_count FROM jobs WHERE is_open = 1 AND kind = $1",
                values![kind.word()],
            )
            .await?;
        row.map_or(Ok(0), |row| row.count("job_count"))
    }
}

/// A job to enqueue.
pub(crate) struct NewJob {
    pub(crate) kind: JobKind,
    pub(crate) subject: Subject,
    pub(crate) priority: i64,
}

/// Notes work in the transaction that causes it. A finished job of the same subject begins anew with
/// its fence kept; an open one stays as it is.
pub(crate) async fn enqueue(tx: &mut Tx, job: &NewJob, now: Timestamp) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT INTO jobs (kind, subject, is_open, run_at, priority, attempts, fence, lease_owner, \
         lease_until, reason_code, reason, created_at, updated_at) \
         VALUES ($1, $2, 1, $3, $4, 0, 0, NULL, 0, '', '', $3, $3) \
         ON CONFLICT (kind, subject) DO UPDATE SET is_open = 1, run_at = excluded.run_at, \
         priority = excluded.priority, attempts = 0, lease_owner = NULL, lease_until = 0, reason_code = '', \
         reason = '', created_at = excluded.created_at, updated_at = excluded.updated_at \
         WHERE jobs.is_open = 0",
        values![job.kind.word(), subject_text(job.subject), now, job.priority],
    )
    .await?;
    Ok(())
}

/// Notes work on many fresh subjects, each with its priority, in one statement.
pub(crate) async fn enqueue_fresh(
    tx: &mut Tx,
    kind: JobKind,
    subjects: &[(Subject, i64)],
    now: Timestamp,
) -> Result<(), CatalogError> {
    let mut values = values![now, kind.word()];
    let sql = format!(
        "WITH fresh (subject, priority) AS (VALUES {}) \
         INSERT INTO jobs (kind, subject, is_open, run_at, priority, attempts, fence, lease_owner, \
         lease_until, reason_code, reason, created_at, updated_at) \
         SELECT $2, f.subject, 1, $1, f.priority, 0, 0, NULL, 0, '', '', $1, $1 FROM fresh f",
        pair_places(values.len() + 1, subjects.len())
    );
    for (subject, priority) in subjects {
        values.extend(values![subject_text(*subject), *priority]);
    }
    // Safe: made of our own words and places; every value is bound.
    tx.execute(AssertSqlSafe(sql), values).await?;
    Ok(())
}

/// Proves that the lease is still held and keeps it from being taken until the transaction ends.
/// Every transaction of a worker begins with this.
pub(crate) async fn check_lease(tx: &mut Tx, lease: &Lease) -> Result<(), CatalogError> {
    let held = tx
        .execute(
            "UPDATE jobs SET fence = fence WHERE kind = $1 AND subject = $2 AND fence = $3 AND is_open = 1 \
             AND lease_owner IS NOT NULL",
            values![lease.kind.word(), subject_text(lease.subject), lease.fence],
        )
        .await?;
    if held == 1 { Ok(()) } else { Err(CatalogError::Fenced) }
}

/// Checks the lease and that it is a lease on this very subject: a worker cannot finish one thing
/// under the lease of another.
pub(crate) async fn check_lease_on(
    tx: &mut Tx,
    lease: &Lease,
    kind: JobKind,
    subject: Subject,
) -> Result<(), CatalogError> {
    if lease.kind != kind || lease.subject != subject {
        return Err(CatalogError::Fenced);
    }
    check_lease(tx, lease).await
}

/// Keeps a job from being claimed or worked on until the transaction ends.
pub(crate) async fn lock_job(tx: &mut Tx, kind: JobKind, subject: Subject) -> Result<(), CatalogError> {
    tx.execute(
        "UPDATE jobs SET fence = fence WHERE kind = $1 AND subject = $2",
        values![kind.word(), subject_text(subject)],
    )
    .await?;
    Ok(())
}

/// Ends a job, held or not: whoever still works on it is fenced.
pub(crate) async fn end_job(
    tx: &mut Tx,
    kind: JobKind,
    subject: Subject,
    now: Timestamp,
) -> Result<(), CatalogError> {
    tx.execute(
        "UPDATE jobs SET is_open = 0, lease_owner = NULL, lease_until = 0, updated_at = $1 \
         WHERE kind = $2 AND subject = $3",
        values![now, kind.word(), subject_text(subject)],
    )
    .await?;
    Ok(())
}

/// Opens a job that was ended before its time, at its old place: a moment and a priority that had their turn
/// have it still. What it was postponed for is forgotten.
pub(crate) async fn reopen_job(
    tx: &mut Tx,
    kind: JobKind,
    subject: Subject,
    now: Timestamp,
) -> Result<(), CatalogError> {
    tx.execute(
        "UPDATE jobs SET is_open = 1, run_at = CASE WHEN run_at > $1 THEN $1 ELSE run_at END, attempts = 0, \
         lease_owner = NULL, lease_until = 0, reason_code = '', reason = '', updated_at = $1 \
         WHERE kind = $2 AND subject = $3 AND is_open = 0",
        values![now, kind.word(), subject_text(subject)],
    )
    .await?;
    Ok(())
}

pub(crate) fn subject_text(subject: Subject) -> String {
    OperationId::from_bytes(subject).to_string()
}

fn kind_values(kinds: &[JobKind]) -> Vec<Value> {
    kinds.iter().map(|kind| Value::from(kind.word())).collect()
}

async fn claim_in(tx: &mut Tx, claim: &Claim<'_>, now: Timestamp) -> Result<Option<Job>, CatalogError> {
    let until = now.plus_seconds(i64::from(claim.lease_seconds));
    let sql = format!(
        "UPDATE jobs SET lease_owner = $1, lease_until = $2, updated_at = $3, attempts = attempts + 1, \
         fence = (SELECT COALESCE(MAX(fence), 0) + 1 FROM jobs) \
         WHERE is_open = 1 AND lease_until <= $3 AND (kind, subject) = (\
         SELECT kind, subject FROM jobs WHERE is_open = 1 AND run_at <= $3 AND lease_until <= $3 \
         AND kind IN ({}) ORDER BY run_at, priority DESC, subject LIMIT 1) \
         RETURNING kind, subject, attempts, fence, lease_until, created_at",
        places(4, claim.kinds.len())
    );
    let mut values = values![claim.owner, until, now];
    values.extend(kind_values(claim.kinds));
    // Safe: made of our own words and places; every value is bound.
    let row = tx.first(AssertSqlSafe(sql), values).await?;
    row.as_ref().map(job_of_row).transpose()
}

async fn has_claimable(tx: &mut Tx, claim: &Claim<'_>, now: Timestamp) -> Result<bool, CatalogError> {
    let sql = format!(
        "SELECT subject FROM jobs WHERE is_open = 1 AND run_at <= $1 AND lease_until <= $1 \
         AND kind IN ({}) LIMIT 1",
        places(2, claim.kinds.len())
    );
    let mut values = values![now];
    values.extend(kind_values(claim.kinds));
    // Safe: made of our own words and places; every value is bound.
    Ok(tx.first(AssertSqlSafe(sql), values).await?.is_some())
}

fn job_of_row(row: &Row) -> Result<Job, CatalogError> {
    let subject: OperationId = row.id("subject")?;
    Ok(Job {
        lease: Lease {
            kind: row.word("kind", JobKind::from_word)?,
            subject: subject.bytes(),
            fence: row.count("fence")?,
            until: row.time("lease_until")?,
        },
        attempts: row.small("attempts")?,
        created_at: row.time("created_at")?,
    })
}
