//! Verification and damage: which pack was looked at when, packs that are set aside because something in
//! them is damaged, and the items that lack something because of it.
//!
//! A damaged pack is neither live nor condemned: nobody may rely on it, and nobody deletes it.

use model::checkpoint::{CheckpointItem, Failure, ItemEvent};
use model::ids::{CheckpointItemId, ProjectId};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::items::{item_columns, lock_item, whole_items};
use crate::packs::{PackRow, pack_columns, pack_of_row};
use crate::value::{Row, values};
use crate::vaults::{lock_vault, next_commit_seq};

/// How far a verification goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerificationMode {
    /// Presence, length and footer.
    Quick,
    /// Every byte.
    Deep,
}

/// A pack whose turn it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackToVerify {
    /// Its vault.
    pub vault_id: [u8; 16],
    /// What was sealed.
    pub pack: PackRow,
}

/// How well the packs of a vault are known to be sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationCoverage {
    /// The vault.
    pub vault_id: [u8; 16],
    /// The project that owns it.
    pub project_id: ProjectId,
    /// Its live packs.
    pub pack_count: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Packs that are set aside.
    pub damaged_count: u64,
    /// Live packs that were never read whole since they were sealed.
    pub never_read_count: u64,
    /// Every other live pack was read whole at this moment or later.
    pub oldest_read_at: Option<Timestamp>,
}

impl Catalog {
    /// The live pack that was looked at longest ago, or never, if that was before a moment.
    pub async fn next_pack_to_verify(
        &self,
        mode: VerificationMode,
        before: Timestamp,
    ) -> Result<Option<PackToVerify>, CatalogError> {
        let mut tx = self.read("looking for a pack to verify").await?;
        let sql = match mode {
            VerificationMode::Quick => concat!(
                "SELECT vault_id, ",
                pack_columns!(),
                " FROM packs WHERE state = 'live' AND COALESCE(quick_verified_at, 0) < $1 \
                 ORDER BY COALESCE(quick_verified_at, 0), vault_id, number LIMIT 1"
            ),
            VerificationMode::Deep => concat!(
                "SELECT vault_id, ",
                pack_columns!(),
                " FROM packs WHERE state = 'live' AND COALESCE(deep_verified_at, 0) < $1 \
                 ORDER BY COALESCE(deep_verified_at, 0), vault_id, number LIMIT 1"
            ),
        };
        let row = tx.first(sql, values![before]).await?;
        row.map(|row| Ok(PackToVerify { vault_id: row.bytes("vault_id")?, pack: pack_of_row(&row)? }))
            .transpose()
    }

    /// Notes that a pack was found sound.
    pub async fn note_pack_verified(
        &self,
        vault: [u8; 16],
        number: u64,
        mode: VerificationMode,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting a verified pack").await?;
        tx.execute(
            "UPDATE packs SET quick_verified_at = $1 WHERE vault_id = $2 AND number = $3",
            values![now, vault, number],
        )
        .await?;
        if mode == VerificationMode::Deep {
            tx.execute(
                "UPDATE packs SET deep_verified_at = $1 WHERE vault_id = $2 AND number = $3",
                values![now, vault, number],
            )
            .await?;
        }
        tx.commit().await
    }

    /// Whether a pack may be relied on now: a collection may have taken it away meanwhile.
    pub async fn is_pack_live(&self, vault: [u8; 16], number: u64) -> Result<bool, CatalogError> {
        let mut tx = self.read("reading the state of a pack").await?;
        let row = tx
            .first(
                "SELECT number FROM packs WHERE vault_id = $1 AND number = $2 AND state = 'live'",
                values![vault, number],
            )
            .await?;
        Ok(row.is_some())
    }

    /// Sets a live pack aside, so that nobody relies on it and nobody deletes it. A second time changes
    /// nothing, nor does it for one that is condemned.
    pub async fn set_pack_aside(&self, vault: [u8; 16], number: u64) -> Result<(), CatalogError> {
        let mut tx = self.write("setting a damaged pack aside").await?;
        lock_vault(&mut tx, vault).await?;
        let live = tx
            .first(
                "SELECT number FROM packs WHERE vault_id = $1 AND number = $2 AND state = 'live'",
                values![vault, number],
            )
            .await?;
        if live.is_some() {
            let commit_seq = next_commit_seq(&mut tx, vault).await?;
            tx.execute(
                "UPDATE packs SET state = 'damaged', commit_seq = $1, quick_verified_at = NULL \
                 WHERE vault_id = $2 AND number = $3",
                values![commit_seq, vault, number],
            )
            .await?;
        }
        tx.commit().await
    }

    /// Packs that were set aside and whose vault was not looked at since, so that its items may still say
    /// that they are available.
    pub async fn packs_to_follow_up(&self) -> Result<Vec<([u8; 16], u64)>, CatalogError> {
        let mut tx = self.read("looking for packs set aside").await?;
        let rows = tx
            .all(
                "SELECT vault_id, number FROM packs WHERE state = 'damaged' AND quick_verified_at IS NULL \
                 ORDER BY vault_id, number LIMIT 1000",
                values![],
            )
            .await?;
        rows.iter().map(|row| Ok((row.bytes("vault_id")?, row.count("number")?))).collect()
    }

    /// Notes that the items of a vault were looked at after a pack was set aside.
    pub async fn note_pack_followed_up(
        &self,
        vault: [u8; 16],
        number: u64,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting that a vault was looked at").await?;
        tx.execute(
            "UPDATE packs SET quick_verified_at = $1 WHERE vault_id = $2 AND number = $3 AND state = 'damaged'",
            values![now, vault, number],
        )
        .await?;
        tx.commit().await
    }

    /// How well every vault is known to be sound.
    pub async fn verification_coverage(&self) -> Result<Vec<VerificationCoverage>, CatalogError> {
        let mut tx = self.read("adding up what was verified").await?;
        let rows = tx
            .all(
                "SELECT v.id AS vault_id, v.project_id AS project_id, \
                 CAST(COALESCE(SUM(CASE WHEN p.state = 'live' THEN 1 ELSE 0 END), 0) AS BIGINT) AS pack_count, \
                 CAST(COALESCE(SUM(CASE WHEN p.state = 'live' THEN p.bytes ELSE 0 END), 0) AS BIGINT) AS pack_bytes, \
                 CAST(COALESCE(SUM(CASE WHEN p.state = 'damaged' THEN 1 ELSE 0 END), 0) AS BIGINT) AS damaged_count, \
                 CAST(COALESCE(SUM(CASE WHEN p.state = 'live' AND p.deep_verified_at IS NULL THEN 1 ELSE 0 END), 0) \
                 AS BIGINT) AS never_read_count, \
                 MIN(CASE WHEN p.state = 'live' THEN p.deep_verified_at END) AS oldest_read_at \
                 FROM vaults v LEFT JOIN packs p ON p.vault_id = v.id \
                 GROUP BY v.id, v.project_id, v.created_at ORDER BY v.created_at, v.id",
                values![],
            )
            .await?;
        rows.iter().map(coverage_of_row).collect()
    }

    /// The items of a vault that must be whole: those that are available, and those that damage took that
    /// from. Of each server together, oldest first, so that one is the base of the next.
    pub async fn items_to_look_at(&self, vault: [u8; 16]) -> Result<Vec<CheckpointItem>, CatalogError> {
        let mut tx = self.read("listing the items of a vault").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    item_columns!(),
                    " FROM checkpoint_items WHERE manifest_digest IS NOT NULL \
                     AND domain = (SELECT domain FROM vaults WHERE id = $1) \
                     AND project_id = (SELECT project_id FROM vaults WHERE id = $1) \
                     AND (state = 'available' OR (state = 'error' AND failure_operation IN ('verify', 'rebuild'))) \
                     ORDER BY resource_id, protected_at, sequence, id"
                ),
                values![vault],
            )
            .await?;
        whole_items(&mut tx, &rows).await
    }

    /// Notes that an item lacks something. An item that is being restored or deleted is left alone; true
    /// when it was available until now.
    pub async fn note_item_damaged(
        &self,
        item: CheckpointItemId,
        failure: &Failure,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.move_damaged(item, ItemEvent::DamageFound, Some(failure), now).await
    }

    /// Notes that an item lacks nothing any more; true when it did until now.
    pub async fn note_item_healed(
        &self,
        item: CheckpointItemId,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        self.move_damaged(item, ItemEvent::DamageHealed, None, now).await
    }

    async fn move_damaged(
        &self,
        item: CheckpointItemId,
        event: ItemEvent,
        failure: Option<&Failure>,
        now: Timestamp,
    ) -> Result<bool, CatalogError> {
        let mut tx = self.write("noting damage of an item, or its end").await?;
        let locked = match lock_item(&mut tx, item).await {
            Ok(locked) => locked,
            Err(CatalogError::NotFound { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let Ok(state) = locked.state.on(event) else { return Ok(false) };
        if failure.is_none() && !is_damage(&mut tx, item).await? {
            return Ok(false);
        }
        tx.execute(
            "UPDATE checkpoint_items SET state = $1, failure_operation = $2, failure_code = $3, \
             failure_reason = $4, updated_at = $5 WHERE id = $6",
            values![
                state.word(),
                failure.map(|failure| failure.operation.as_str()),
                failure.map(|failure| failure.code.as_str()),
                failure.map(|failure| failure.reason.as_str()),
                now,
                item
            ],
        )
        .await?;
        tx.commit().await?;
        Ok(true)
    }
}

/// An item may also be in error because its backup failed; nothing heals that.
async fn is_damage(tx: &mut Tx, item: CheckpointItemId) -> Result<bool, CatalogError> {
    let row = tx
        .first(
            "SELECT id FROM checkpoint_items WHERE id = $1 AND manifest_digest IS NOT NULL \
             AND failure_operation IN ('verify', 'rebuild')",
            values![item],
        )
        .await?;
    Ok(row.is_some())
}

fn coverage_of_row(row: &Row) -> Result<VerificationCoverage, CatalogError> {
    Ok(VerificationCoverage {
        vault_id: row.bytes("vault_id")?,
        project_id: row.id("project_id")?,
        pack_count: row.count("pack_count")?,
        pack_bytes: row.count("pack_bytes")?,
        damaged_count: row.count("damaged_count")?,
        never_read_count: row.count("never_read_count")?,
        oldest_read_at: row.optional_time("oldest_read_at")?,
    })
}
