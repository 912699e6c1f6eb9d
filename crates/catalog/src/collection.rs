//! Collection: what a collector of a vault needs, each call one transaction that begins with its lease. A
//! collector that was overtaken is [`CatalogError::Fenced`]. Row first, then manifest, then packs.
//!
//! Packs are judged by operations *at the snapshot*: a pin counts unless its operation had ended by then, and
//! so does the maker of a pack. An operation that sealed, was missed by the snapshot and publishes before the
//! condemning loses nothing that way (`vault/tests/models/collection.rs`).

mod manifests;

use model::ids::OperationId;
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::jobs::{JobKind, Lease, NewJob, check_lease_on, end_job, enqueue, subject_text};
use crate::packs::{PACKS_MAX, end_operation_if_open};
use crate::region::{require_unblocked, require_unfrozen};
use crate::value::{Row, values};
use crate::vaults::{VaultRow, lock_vault, next_commit_seq};

/// How long after its deletion the same manifest may not arrive again: longer than any collector sleeps
/// between its last look at its lease and its delete.
pub(crate) const MANIFEST_REST_SECONDS: i64 = 3600;

/// The roots of a vault at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectionBegun {
    /// The vault's count: what came later is not judged.
    pub commit_seq: u64,
    /// The manifests of items that are not purged, and the bases of open operations.
    pub roots: Vec<[u8; 32]>,
}

/// A pack that was live at the snapshot of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectablePack {
    /// Its number.
    pub number: u64,
    /// The incarnation in its name.
    pub incarnation: [u8; 16],
    /// Its length.
    pub bytes: u64,
    /// Whether nobody relies on it but for what is marked.
    pub is_free: bool,
}

/// A pack that the store need not hold any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoomedPack {
    /// Its number.
    pub number: u64,
    /// The incarnation in its name; none in a catalog without a region.
    pub incarnation: Option<[u8; 16]>,
    /// Its length; 0 when it was never sealed.
    pub bytes: u64,
}

/// How far a collection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectionProgress<'a> {
    /// What it is busy with.
    pub phase: &'a str,
    /// Bytes of that phase dealt with.
    pub done_bytes: u64,
    /// Bytes of that phase in all; 0 while unknown.
    pub total_bytes: u64,
}

/// What a collection came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectionEnd {
    /// Bytes that live, each object counted once.
    pub live_bytes: u64,
    /// Packs taken away.
    pub deleted_pack_count: u64,
    /// Their bytes.
    pub deleted_bytes: u64,
    /// Bytes copied into new packs.
    pub rewritten_bytes: u64,
    /// Why work is left for the next run, if some is.
    pub reason: Option<String>,
}

/// The newest collection of a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collection {
    /// The vault.
    pub vault_id: [u8; 16],
    /// What it is or was last busy with; `done` when it came to its end.
    pub phase: String,
    /// Bytes of that phase dealt with.
    pub done_bytes: u64,
    /// Bytes of that phase in all; 0 while unknown.
    pub total_bytes: u64,
    /// When it began.
    pub begun_at: Timestamp,
    /// When its phase began.
    pub phase_begun_at: Timestamp,
    /// When it last told of itself.
    pub updated_at: Timestamp,
    /// When the newest that came to its end did.
    pub finished_at: Option<Timestamp>,
    /// What that one came to.
    pub end: CollectionEnd,
}

macro_rules! collection_columns {
    () => {
        "vault_id, phase, done_bytes, total_bytes, begun_at, phase_begun_at, updated_at, finished_at, \
         live_bytes, deleted_pack_count, deleted_bytes, rewritten_bytes, reason"
    };
}

/// A pack of `packs` that nobody relies on, given the snapshot as `$3`.
macro_rules! is_free {
    () => {
        "EXISTS (SELECT 1 FROM operations maker WHERE maker.id = packs.operation_id AND maker.is_open = 0 \
         AND maker.ended_commit_seq <= $3) AND NOT EXISTS (SELECT 1 FROM pins \
         JOIN operations pinner ON pinner.id = pins.operation_id WHERE pins.vault_id = packs.vault_id \
         AND pins.number = packs.number AND (pinner.is_open = 1 OR pinner.ended_commit_seq > $3))"
    };
}

impl Catalog {
    /// Begins a collection: ends the operation of the one before, opens its own, and lists the roots. Rows of
    /// packs that were deleted before the last run ended go: whoever follows has seen them, or begins anew.
    pub async fn begin_collection(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        operation: OperationId,
        now: Timestamp,
    ) -> Result<CollectionBegun, CatalogError> {
        let mut tx = self.write("beginning a collection").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        require_unblocked(&mut tx).await?;
        require_unfrozen(&mut tx).await?;
        lock_vault(&mut tx, vault).await?;
        let before = tx
            .first("SELECT operation_id, finished_seq FROM collections WHERE vault_id = $1", values![vault])
            .await?;
        if let Some(before) = &before {
            if let Some(earlier) = before.optional_id("operation_id")? {
                end_operation_if_open(&mut tx, earlier).await?;
            }
            drop_tombstones(&mut tx, vault, before.count("finished_seq")?).await?;
        }
        let vault = lock_vault(&mut tx, vault).await?;
        let roots = roots_of(&mut tx, &vault).await?;
        tx.execute(
            "INSERT INTO operations (id, vault_id, base_manifest, is_open, begun_at) \
             VALUES ($1, $2, NULL, 1, $3)",
            values![operation, vault.id, now],
        )
        .await?;
        tx.execute(
            "INSERT INTO collections (vault_id, operation_id, phase, done_bytes, total_bytes, begun_at, \
             phase_begun_at, updated_at, finished_at, finished_seq, live_bytes, deleted_pack_count, \
             deleted_bytes, rewritten_bytes, reason) VALUES ($1, $2, 'listing', 0, 0, $3, $3, $3, NULL, 0, \
             0, 0, 0, 0, '') ON CONFLICT (vault_id) DO UPDATE SET operation_id = excluded.operation_id, \
             phase = 'listing', done_bytes = 0, total_bytes = 0, begun_at = excluded.begun_at, \
             phase_begun_at = excluded.begun_at, updated_at = excluded.begun_at",
            values![vault.id, operation, now],
        )
        .await?;
        tx.commit().await?;
        Ok(CollectionBegun { commit_seq: vault.commit_seq, roots })
    }

    /// The packs behind `after` that were live at the snapshot, by number, at most `limit` and [`PACKS_MAX`].
    pub async fn collectable_packs(
        &self,
        vault: [u8; 16],
        snapshot: u64,
        after: u64,
        limit: u32,
    ) -> Result<Vec<CollectablePack>, CatalogError> {
        let mut tx = self.read("listing packs to collect").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT number, incarnation, bytes, CASE WHEN ",
                    is_free!(),
                    " THEN 1 ELSE 0 END AS is_free FROM packs WHERE vault_id = $1 AND number > $2 \
                     AND commit_seq <= $3 AND state = 'live' ORDER BY number LIMIT $4"
                ),
                values![vault, after, snapshot, limit.min(PACKS_MAX)],
            )
            .await?;
        let pack = |row: &Row| {
            Ok(CollectablePack {
                number: row.count("number")?,
                incarnation: row.bytes("incarnation")?,
                bytes: row.count("bytes")?,
                is_free: row.flag("is_free")?,
            })
        };
        rows.iter().map(pack).collect()
    }

    /// Condemns those of the packs that nobody relies on: live, sealed no later than the snapshot, made by an
    /// operation that had ended by then, pinned by none that had not. Answers them. None go when a pack was set
    /// aside since the snapshot: what was damaged in it may have its only other copy in one of them.
    pub async fn condemn_packs(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        numbers: &[u64],
        snapshot: u64,
    ) -> Result<Vec<u64>, CatalogError> {
        let mut tx = self.write("condemning packs").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        require_unblocked(&mut tx).await?;
        require_unfrozen(&mut tx).await?;
        let vault = lock_vault(&mut tx, vault).await?;
        let mut condemned = Vec::new();
        for number in numbers {
            let free = tx
                .first(
                    concat!(
                        "SELECT number FROM packs WHERE vault_id = $1 AND number = $2 AND state = 'live' \
                         AND commit_seq <= $3 AND NOT EXISTS (SELECT 1 FROM packs aside WHERE \
                         aside.vault_id = $1 AND aside.state = 'damaged' AND aside.commit_seq > $3) AND ",
                        is_free!()
                    ),
                    values![vault.id, *number, snapshot],
                )
                .await?;
            if free.is_none() {
                continue;
            }
            let commit_seq = next_commit_seq(&mut tx, vault.id).await?;
            tx.execute(
                "UPDATE packs SET state = 'condemned', commit_seq = $1 WHERE vault_id = $2 AND number = $3",
                values![commit_seq, vault.id, *number],
            )
            .await?;
            condemned.push(*number);
        }
        tx.commit().await?;
        Ok(condemned)
    }

    /// Condemns packs that were reserved by operations that had ended by the snapshot and never sealed, at
    /// most `limit`. Nobody followed them, so they take no position.
    pub async fn condemn_unsealed_packs(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        snapshot: u64,
        limit: u32,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.write("condemning packs that were never sealed").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        require_unblocked(&mut tx).await?;
        require_unfrozen(&mut tx).await?;
        let vault = lock_vault(&mut tx, vault).await?;
        let condemned = tx
            .execute(
                "UPDATE packs SET state = 'condemned' WHERE vault_id = $1 AND number IN (SELECT p.number \
                 FROM packs p JOIN operations maker ON maker.id = p.operation_id WHERE p.vault_id = $1 \
                 AND p.state = 'reserved' AND maker.is_open = 0 AND maker.ended_commit_seq <= $2 \
                 ORDER BY p.number LIMIT $3)",
                values![vault.id, snapshot, limit],
            )
            .await?;
        tx.commit().await?;
        Ok(condemned)
    }

    /// Condemned packs that the store may still hold, by number, at most `limit`.
    pub async fn condemned_packs(
        &self,
        vault: [u8; 16],
        limit: u32,
    ) -> Result<Vec<DoomedPack>, CatalogError> {
        let mut tx = self.read("listing condemned packs").await?;
        let rows = tx
            .all(
                "SELECT number, incarnation, bytes FROM packs WHERE vault_id = $1 AND state = 'condemned' \
                 ORDER BY number LIMIT $2",
                values![vault, limit.min(PACKS_MAX)],
            )
            .await?;
        let pack = |row: &Row| {
            Ok(DoomedPack {
                number: row.count("number")?,
                incarnation: row.optional_bytes("incarnation")?,
                bytes: row.count("bytes")?,
            })
        };
        rows.iter().map(pack).collect()
    }

    /// Notes that condemned packs are gone from the store. Those that were never sealed leave no row.
    pub async fn note_packs_deleted(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        numbers: &[u64],
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting deleted packs").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        let vault = lock_vault(&mut tx, vault).await?;
        for number in numbers {
            let of_pack = values![vault.id, *number];
            tx.execute("DELETE FROM pins WHERE vault_id = $1 AND number = $2", of_pack.clone()).await?;
            tx.execute(
                "DELETE FROM packs WHERE vault_id = $1 AND number = $2 AND state = 'condemned' \
                 AND commit_seq = 0",
                of_pack.clone(),
            )
            .await?;
            tx.execute(
                "UPDATE packs SET state = 'deleted' WHERE vault_id = $1 AND number = $2 \
                 AND state = 'condemned'",
                of_pack,
            )
            .await?;
        }
        tx.commit().await
    }

    /// Which of these numbers stand for packs that may be in the store, and the last number that was given.
    pub async fn known_packs(
        &self,
        vault: [u8; 16],
        numbers: &[u64],
    ) -> Result<(Vec<bool>, u64), CatalogError> {
        let mut tx = self.read("looking up packs").await?;
        let row = tx.first("SELECT last_pack FROM vaults WHERE id = $1", values![vault]).await?;
        let row = row.ok_or_else(|| CatalogError::not_found("vault", "of that id"))?;
        let last_pack = row.count("last_pack")?;
        let (Some(low), Some(high)) = (numbers.iter().min(), numbers.iter().max()) else {
            return Ok((Vec::new(), last_pack));
        };
        // A number of the store may be larger than any integer of the database.
        let (low, high) = ((*low).min(last_pack), (*high).min(last_pack));
        let rows = tx
            .all(
                "SELECT number FROM packs WHERE vault_id = $1 AND number >= $2 AND number <= $3 \
                 AND state <> 'deleted'",
                values![vault, low, high],
            )
            .await?;
        let known = rows.iter().map(|row| row.count("number")).collect::<Result<Vec<u64>, _>>()?;
        let known: std::collections::HashSet<u64> = known.into_iter().collect();
        Ok((numbers.iter().map(|number| known.contains(number)).collect(), last_pack))
    }

    /// Drops the pins of operations that ended no later than the snapshot of a mark that is now over.
    pub async fn release_pins(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        snapshot: u64,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.write("releasing pins").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        let vault = lock_vault(&mut tx, vault).await?;
        let released = tx
            .execute(
                "DELETE FROM pins WHERE vault_id = $1 AND operation_id IN (SELECT id FROM operations \
                 WHERE vault_id = $1 AND is_open = 0 AND ended_commit_seq <= $2)",
                values![vault.id, snapshot],
            )
            .await?;
        tx.commit().await?;
        Ok(released)
    }

    /// Notes how far a collection is.
    pub async fn record_collection_progress(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        progress: &CollectionProgress<'_>,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting the progress of a collection").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        tx.execute(
            "UPDATE collections SET phase_begun_at = CASE WHEN phase = $2 THEN phase_begun_at ELSE $5 END, \
             phase = $2, done_bytes = $3, total_bytes = $4, updated_at = $5 WHERE vault_id = $1",
            values![vault, progress.phase, progress.done_bytes, progress.total_bytes, now],
        )
        .await?;
        tx.commit().await
    }

    /// Ends a collection and its job.
    pub async fn finish_collection(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        end: &CollectionEnd,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("finishing a collection").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        lock_vault(&mut tx, vault).await?;
        let row =
            tx.first("SELECT operation_id FROM collections WHERE vault_id = $1", values![vault]).await?;
        if let Some(operation) = row.map(|row| row.optional_id("operation_id")).transpose()?.flatten() {
            end_operation_if_open(&mut tx, operation).await?;
        }
        let seq = lock_vault(&mut tx, vault).await?.commit_seq;
        // With work left, the vault counts as changed.
        let finished_seq = if end.reason.is_none() { seq } else { 0 };
        tx.execute(
            "UPDATE collections SET operation_id = NULL, phase = 'done', finished_at = $2, updated_at = $2, \
             finished_seq = $3, live_bytes = $4, deleted_pack_count = $5, deleted_bytes = $6, \
             rewritten_bytes = $7, reason = $8 WHERE vault_id = $1",
            values![
                vault,
                now,
                finished_seq,
                end.live_bytes,
                end.deleted_pack_count,
                end.deleted_bytes,
                end.rewritten_bytes,
                end.reason.as_deref().unwrap_or("")
            ],
        )
        .await?;
        end_job(&mut tx, JobKind::Collect, vault, now).await?;
        tx.commit().await
    }

    /// Orders the collection of every vault that is due: some quarantine has ended, or the vault changed
    /// since its last collection, and that one ended (or the vault was made) `every_seconds` ago. Answers how
    /// many; none while collection is frozen.
    pub async fn order_due_collections(
        &self,
        every_seconds: i64,
        now: Timestamp,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.read("looking for vaults to collect").await?;
        let rows = tx
            .all(
                "SELECT v.id AS id FROM vaults v LEFT JOIN collections c ON c.vault_id = v.id \
                 WHERE COALESCE(c.finished_at, c.begun_at, v.created_at) <= $1 \
                 AND ((v.commit_seq > 0 AND (c.vault_id IS NULL OR c.finished_seq <> v.commit_seq)) \
                 OR EXISTS (SELECT 1 FROM checkpoint_items i WHERE i.domain = v.domain \
                 AND i.project_id = v.project_id AND i.state = 'deleted' AND i.purged_at IS NULL \
                 AND i.purge_after <= $2)) \
                 AND NOT EXISTS (SELECT 1 FROM region WHERE frozen_reason IS NOT NULL) ORDER BY v.id",
                values![now.plus_seconds(-every_seconds), now],
            )
            .await?;
        drop(tx);
        let due: Vec<[u8; 16]> = rows.iter().map(|row| row.bytes("id")).collect::<Result<_, _>>()?;
        if due.is_empty() {
            return Ok(0);
        }
        let mut tx = self.write("ordering collections that are due").await?;
        for vault in &due {
            let job = NewJob { kind: JobKind::Collect, subject: *vault, priority: 0 };
            enqueue(&mut tx, &job, now).await?;
        }
        tx.commit().await?;
        Ok(due.len() as u64)
    }

    /// Orders the collection of a vault now. `Frozen` after a rebuild, until that is lifted.
    pub async fn order_collection(&self, vault: [u8; 16], now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("ordering a collection").await?;
        require_unfrozen(&mut tx).await?;
        let row = tx.first("SELECT id FROM vaults WHERE id = $1", values![vault]).await?;
        row.ok_or_else(|| CatalogError::not_found("vault", subject_text(vault)))?;
        enqueue(&mut tx, &NewJob { kind: JobKind::Collect, subject: vault, priority: 0 }, now).await?;
        // One that waits for another try does so now.
        tx.execute(
            "UPDATE jobs SET run_at = $1 WHERE kind = 'collect' AND subject = $2 AND is_open = 1 \
             AND run_at > $1 AND lease_owner IS NULL",
            values![now, subject_text(vault)],
        )
        .await?;
        tx.commit().await
    }

    /// How many operations of a vault are open: until they have ended, what they made stays.
    pub async fn open_operation_count(&self, vault: [u8; 16]) -> Result<u64, CatalogError> {
        let mut tx = self.read("counting open operations").await?;
        let row = tx
            .first(
                "SELECT COUNT(*) AS open_count FROM operations WHERE vault_id = $1 AND is_open = 1",
                values![vault],
            )
            .await?;
        row.map_or(Ok(0), |row| row.count("open_count"))
    }

    /// The newest collection of each vault that was ever collected.
    pub async fn collections(&self) -> Result<Vec<Collection>, CatalogError> {
        let mut tx = self.read("reading collections").await?;
        let rows = tx
            .all(concat!("SELECT ", collection_columns!(), " FROM collections ORDER BY vault_id"), values![])
            .await?;
        rows.iter().map(collection_of_row).collect()
    }

    /// The manifests that must stay readable now, with the `commit_seq` at which they were listed.
    pub async fn collection_roots(&self, vault: [u8; 16]) -> Result<(u64, Vec<[u8; 32]>), CatalogError> {
        let mut tx = self.write("listing the roots of a vault").await?;
        let vault = lock_vault(&mut tx, vault).await?;
        let roots = roots_of(&mut tx, &vault).await?;
        tx.commit().await?;
        Ok((vault.commit_seq, roots))
    }
}

async fn roots_of(tx: &mut Tx, vault: &VaultRow) -> Result<Vec<[u8; 32]>, CatalogError> {
    let rows = tx
        .all(
            "SELECT manifest_digest AS digest FROM checkpoint_items WHERE domain = $1 AND project_id = $2 \
             AND manifest_digest IS NOT NULL AND (state <> 'deleted' OR purged_at IS NULL) \
             UNION SELECT base_manifest AS digest FROM operations WHERE vault_id = $3 AND is_open = 1 \
             AND base_manifest IS NOT NULL",
            values![vault.domain, &vault.project_id, vault.id],
        )
        .await?;
    rows.iter().map(|row| row.bytes("digest")).collect()
}

/// Drops the rows of packs that were deleted before `until`.
async fn drop_tombstones(tx: &mut Tx, vault: [u8; 16], until: u64) -> Result<(), CatalogError> {
    let dropped = tx
        .execute(
            "DELETE FROM packs WHERE vault_id = $1 AND state = 'deleted' AND commit_seq <= $2",
            values![vault, until],
        )
        .await?;
    if dropped > 0 {
        tx.execute(
            "UPDATE vaults SET history_seq = $1 WHERE id = $2 AND history_seq < $1",
            values![until, vault],
        )
        .await?;
    }
    Ok(())
}

fn collection_of_row(row: &Row) -> Result<Collection, CatalogError> {
    let reason = row.text("reason")?;
    Ok(Collection {
        vault_id: row.bytes("vault_id")?,
        phase: row.text("phase")?,
        done_bytes: row.count("done_bytes")?,
        total_bytes: row.count("total_bytes")?,
        begun_at: row.time("begun_at")?,
        phase_begun_at: row.time("phase_begun_at")?,
        updated_at: row.time("updated_at")?,
        finished_at: row.optional_time("finished_at")?,
        end: CollectionEnd {
            live_bytes: row.count("live_bytes")?,
            deleted_pack_count: row.count("deleted_pack_count")?,
            deleted_bytes: row.count("deleted_bytes")?,
            rewritten_bytes: row.count("rewritten_bytes")?,
            reason: Some(reason).filter(|reason| !reason.is_empty()),
        },
    })
}
