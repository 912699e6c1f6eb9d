//! Operations, packs and pins: what `vault::PackLedger` needs from a catalog (design §4). Pack numbers
//! only grow and are never given twice; every change of a pack's state takes the vault's next
//! `commit_seq`, which indexes follow.

use model::ids::OperationId;
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::region::require_unblocked;
use crate::value::{Row, values};
use crate::vaults::{VaultRow, lock_vault, next_commit_seq};

/// An operation about to write to a vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewOperation {
    /// Its id; begun again, it goes on.
    pub id: OperationId,
    /// The vault.
    pub vault_id: [u8; 16],
    /// The manifest whose objects it relies on, if any; it must be live.
    pub base_manifest: Option<[u8; 32]>,
}

/// A pack that is durable in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPack {
    /// Its reserved number.
    pub number: u64,
    /// The incarnation in its name.
    pub incarnation: [u8; 16],
    /// Its length.
    pub bytes: u64,
    /// How many objects it holds.
    pub object_count: u32,
    /// The digest of its footer.
    pub footer_digest: [u8; 32],
}

/// A sealed pack as the catalog holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackRow {
    /// What was sealed.
    pub pack: SealedPack,
    /// The vault's count when its state last changed.
    pub commit_seq: u64,
    /// Whether it may be relied on. Otherwise it is condemned, or deleted by now.
    pub is_live: bool,
}

macro_rules! pack_columns {
    () => {
        "number, incarnation, bytes, object_count, footer_digest, commit_seq, state"
    };
}

pub(crate) use pack_columns;

/// The most packs one answer lists.
pub const PACKS_MAX: u32 = 10_000;

impl Catalog {
    /// Begins an operation, or goes on with an open one and its new base. `BaseNotLive` when no live
    /// item of this vault has the base manifest; `OperationNotOpen` when it has ended.
    pub async fn begin_operation(
        &self,
        operation: &NewOperation,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("beginning an operation").await?;
        require_unblocked(&mut tx).await?;
        let vault = lock_vault(&mut tx, operation.vault_id).await?;
        begin_operation_in(&mut tx, &vault, operation, now).await?;
        tx.commit().await
    }

    /// Reserves the next pack number of an operation's vault.
    pub async fn reserve_pack(&self, operation: OperationId) -> Result<u64, CatalogError> {
        let mut tx = self.write("reserving a pack").await?;
        let vault = lock_vault_of(&mut tx, operation).await?;
        let number = vault.last_pack + 1;
        tx.execute("UPDATE vaults SET last_pack = $1 WHERE id = $2", values![number, vault.id]).await?;
        tx.execute(
            "INSERT INTO packs (vault_id, number, operation_id, state, incarnation, bytes, object_count, \
             commit_seq) VALUES ($1, $2, $3, 'reserved', (SELECT incarnation FROM region), 0, 0, 0)",
            values![vault.id, number, operation],
        )
        .await?;
        tx.commit().await?;
        Ok(number)
    }

    /// Makes a reserved pack live and answers its `commit_seq`. Sealing the same pack again answers
    /// the same number; sealing another one under its number is `PackNotReserved`.
    pub async fn seal_pack(&self, operation: OperationId, sealed: &SealedPack) -> Result<u64, CatalogError> {
        let mut tx = self.write("sealing a pack").await?;
        let vault = lock_vault_of(&mut tx, operation).await?;
        let row = tx
            .first(
                concat!(
                    "SELECT ",
                    pack_columns!(),
                    " FROM packs WHERE vault_id = $1 AND number = $2 AND operation_id = $3"
                ),
                values![vault.id, sealed.number, operation],
            )
            .await?;
        let row = row.ok_or(Conflict::PackNotReserved { number: sealed.number })?;
        if row.text("state")? != "reserved" {
            let known = pack_of_row(&row)?;
            let is_same = known.pack == *sealed && known.is_live;
            return if is_same {
                Ok(known.commit_seq)
            } else {
                Err(Conflict::PackNotReserved { number: sealed.number }.into())
            };
        }
        let commit_seq = next_commit_seq(&mut tx, vault.id).await?;
        tx.execute(
            "UPDATE packs SET state = 'live', incarnation = $1, bytes = $2, object_count = $3, \
             footer_digest = $4, commit_seq = $5 WHERE vault_id = $6 AND number = $7",
            values![
                sealed.incarnation,
                sealed.bytes,
                sealed.object_count,
                sealed.footer_digest,
                commit_seq,
                vault.id,
                sealed.number
            ],
        )
        .await?;
        tx.commit().await?;
        Ok(commit_seq)
    }

    /// Pins packs for an operation: true for each that is live, and from then on kept from
    /// condemnation; false for each that is not and must not be relied on.
    pub async fn pin_packs(
        &self,
        operation: OperationId,
        numbers: &[u64],
    ) -> Result<Vec<bool>, CatalogError> {
        let mut tx = self.write("pinning packs").await?;
        let vault = lock_vault_of(&mut tx, operation).await?;
        let mut pinned = Vec::with_capacity(numbers.len());
        for number in numbers {
            let live = tx
                .first(
                    "SELECT number FROM packs WHERE vault_id = $1 AND number = $2 AND state = 'live'",
                    values![vault.id, *number],
                )
                .await?;
            if live.is_some() {
                tx.execute(
                    "INSERT INTO pins (operation_id, vault_id, number) VALUES ($1, $2, $3) \
                     ON CONFLICT DO NOTHING",
                    values![operation, vault.id, *number],
                )
                .await?;
            }
            pinned.push(live.is_some());
        }
        tx.commit().await?;
        Ok(pinned)
    }

    /// The packs of a vault whose state changed after `commit_seq`, in that order; at most `limit`
    /// and at most [`PACKS_MAX`]. No two packs share a number of the count.
    pub async fn packs_since(
        &self,
        vault: [u8; 16],
        commit_seq: u64,
        limit: u32,
    ) -> Result<Vec<PackRow>, CatalogError> {
        let mut tx = self.read("following the packs of a vault").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    pack_columns!(),
                    " FROM packs WHERE vault_id = $1 AND commit_seq > $2 ORDER BY commit_seq LIMIT $3"
                ),
                values![vault, commit_seq, limit.min(PACKS_MAX)],
            )
            .await?;
        rows.iter().map(pack_of_row).collect()
    }

    /// The sealed packs of an operation, by number, for going on after a restart.
    pub async fn packs_of_operation(&self, operation: OperationId) -> Result<Vec<PackRow>, CatalogError> {
        let mut tx = self.read("reading the packs of an operation").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    pack_columns!(),
                    " FROM packs WHERE operation_id = $1 AND commit_seq > 0 ORDER BY number"
                ),
                values![operation],
            )
            .await?;
        rows.iter().map(pack_of_row).collect()
    }

    /// Ends an operation that came to nothing; a second time changes nothing. Its pins stay until
    /// [`Catalog::release_pins`] after a mark that follows.
    pub async fn end_operation(&self, operation: OperationId) -> Result<(), CatalogError> {
        let mut tx = self.write("ending an operation").await?;
        end_operation_if_open(&mut tx, operation).await?;
        tx.commit().await
    }

    /// Ends the open operations that no backup, transfer or collection will take up again: healings and copies
    /// that died with their process, whose packs would otherwise stay for ever. Answers how many. For the start
    /// of a process; one that is still at work elsewhere is refused its next step and begins anew. While writing
    /// is blocked nothing is ended.
    pub async fn end_forgotten_operations(&self) -> Result<u64, CatalogError> {
        let mut tx = self.write("ending forgotten operations").await?;
        match require_unblocked(&mut tx).await {
            Err(CatalogError::Conflict(Conflict::Blocked { .. })) => return Ok(0),
            unblocked => unblocked?,
        }
        let rows = tx
            .all(
                "SELECT id FROM operations WHERE is_open = 1 \
                 AND id NOT IN (SELECT operation_id FROM checkpoint_items \
                 WHERE state IN ('waiting_protect', 'protecting')) \
                 AND id NOT IN (SELECT operation_id FROM transfers WHERE is_open = 1) \
                 AND id NOT IN (SELECT operation_id FROM collections WHERE operation_id IS NOT NULL) \
                 ORDER BY id",
                values![],
            )
            .await?;
        for row in &rows {
            end_operation_if_open(&mut tx, row.id("id")?).await?;
        }
        tx.commit().await?;
        Ok(rows.len() as u64)
    }
}

/// Begins or resumes an operation inside a transaction that has locked its vault.
pub(crate) async fn begin_operation_in(
    tx: &mut Tx,
    vault: &VaultRow,
    operation: &NewOperation,
    now: Timestamp,
) -> Result<(), CatalogError> {
    if let Some(base) = operation.base_manifest
        && !is_live_base(tx, vault, base).await?
    {
        return Err(Conflict::BaseNotLive.into());
    }
    let touched = tx
        .execute(
            "INSERT INTO operations (id, vault_id, base_manifest, is_open, begun_at) \
             VALUES ($1, $2, $3, 1, $4) ON CONFLICT (id) DO UPDATE SET base_manifest = excluded.base_manifest \
             WHERE operations.is_open = 1 AND operations.vault_id = excluded.vault_id",
            values![operation.id, vault.id, operation.base_manifest, now],
        )
        .await?;
    if touched == 0 { Err(Conflict::OperationNotOpen.into()) } else { Ok(()) }
}

/// Whether a live item of the vault has this manifest.
pub(crate) async fn is_live_base(
    tx: &mut Tx,
    vault: &VaultRow,
    manifest: [u8; 32],
) -> Result<bool, CatalogError> {
    let live = tx
        .first(
            "SELECT id FROM checkpoint_items WHERE domain = $1 AND project_id = $2 \
             AND manifest_digest = $3 AND state IN ('available', 'waiting_restore', 'restoring') LIMIT 1",
            values![vault.domain, &vault.project_id, manifest],
        )
        .await?;
    Ok(live.is_some())
}

/// Ends an open operation at its vault's next `commit_seq`, and answers the vault.
pub(crate) async fn end_operation_in(tx: &mut Tx, operation: OperationId) -> Result<VaultRow, CatalogError> {
    let vault = lock_vault_of(tx, operation).await?;
    let commit_seq = next_commit_seq(tx, vault.id).await?;
    tx.execute(
        "UPDATE operations SET is_open = 0, ended_commit_seq = $1 WHERE id = $2",
        values![commit_seq, operation],
    )
    .await?;
    Ok(vault)
}

/// Ends an operation if it was begun and is open.
pub(crate) async fn end_operation_if_open(tx: &mut Tx, operation: OperationId) -> Result<(), CatalogError> {
    match end_operation_in(tx, operation).await {
        Ok(_) | Err(CatalogError::Conflict(Conflict::OperationNotOpen)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Locks the vault of an open operation; `OperationNotOpen` when it has ended or never began.
async fn lock_vault_of(tx: &mut Tx, operation: OperationId) -> Result<VaultRow, CatalogError> {
    let row = tx.first("SELECT vault_id FROM operations WHERE id = $1", values![operation]).await?;
    let row = row.ok_or(Conflict::OperationNotOpen)?;
    let vault = lock_vault(tx, row.bytes("vault_id")?).await?;
    // Only now nobody else can end it.
    let open =
        tx.first("SELECT id FROM operations WHERE id = $1 AND is_open = 1", values![operation]).await?;
    open.ok_or(Conflict::OperationNotOpen)?;
    Ok(vault)
}

pub(crate) fn pack_of_row(row: &Row) -> Result<PackRow, CatalogError> {
    let is_live = match row.text("state")?.as_str() {
        "live" => true,
        "condemned" | "damaged" | "deleted" => false,
        _ => return Err(row.corrupt("state")),
    };
    Ok(PackRow {
        pack: SealedPack {
            number: row.count("number")?,
            incarnation: row.bytes("incarnation")?,
            bytes: row.count("bytes")?,
            object_count: row.small("object_count")?,
            footer_digest: row.bytes("footer_digest")?,
        },
        commit_seq: row.count("commit_seq")?,
        is_live,
    })
}
