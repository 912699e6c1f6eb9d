//! Manifests on their way out. A row of `condemned_manifests` says that no item needs one any more, now or
//! later; it stays for some time after the file is gone, because the name of a replica's manifest comes back
//! when the same replica is ordered again.

use model::ids::CheckpointItemId;
use model::time::Timestamp;

use super::MANIFEST_REST_SECONDS;
use crate::deletion::empty_item;
use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::jobs::{JobKind, Lease, check_lease_on};
use crate::region::{require_unblocked, require_unfrozen};
use crate::value::values;
use crate::vaults::{VaultRow, lock_vault};

impl Catalog {
    /// Purges items whose quarantine has ended, at most `limit`, and answers manifests that may be deleted
    /// from the store, purged now or before. An item whose manifest is the base of an open operation, or is
    /// arriving again, waits for the next collection.
    pub async fn condemn_manifests(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        limit: u32,
        now: Timestamp,
    ) -> Result<Vec<[u8; 32]>, CatalogError> {
        let mut tx = self.write("condemning manifests").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        require_unblocked(&mut tx).await?;
        require_unfrozen(&mut tx).await?;
        let due = lock_due_items(&mut tx, vault, limit, now).await?;
        let vault = lock_vault(&mut tx, vault).await?;
        for (item, manifest) in due {
            if is_needed(&mut tx, &vault, manifest).await? {
                continue;
            }
            tx.execute("UPDATE checkpoint_items SET purged_at = $1 WHERE id = $2", values![now, item])
                .await?;
            empty_item(&mut tx, item).await?;
            if !has_other_item(&mut tx, &vault, manifest).await? {
                condemn_manifest(&mut tx, &vault, manifest).await?;
            }
        }
        let rows = tx
            .all(
                "SELECT manifest_digest FROM condemned_manifests WHERE vault_id = $1 AND deleted_at IS NULL \
                 ORDER BY manifest_digest LIMIT $2",
                values![vault.id, limit],
            )
            .await?;
        let condemned = rows.iter().map(|row| row.bytes("manifest_digest")).collect::<Result<_, _>>()?;
        tx.commit().await?;
        Ok(condemned)
    }

    /// Condemns those of these manifests that no item has and none will: the item of the body was made here and
    /// its backup has ended, or a transfer of the manifest was opened here and is over. Answers them. One that
    /// fits neither may belong to a life that this catalog does not know, and stays.
    pub async fn condemn_stray_manifests(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        manifests: &[([u8; 32], CheckpointItemId)],
    ) -> Result<Vec<[u8; 32]>, CatalogError> {
        let mut tx = self.write("condemning stray manifests").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        require_unblocked(&mut tx).await?;
        require_unfrozen(&mut tx).await?;
        let vault = lock_vault(&mut tx, vault).await?;
        let mut condemned = Vec::new();
        for (manifest, item) in manifests {
            if is_needed(&mut tx, &vault, *manifest).await?
                || has_other_item(&mut tx, &vault, *manifest).await?
                || !is_over(&mut tx, &vault, *manifest, *item).await?
            {
                continue;
            }
            condemn_manifest(&mut tx, &vault, *manifest).await?;
            condemned.push(*manifest);
        }
        tx.commit().await?;
        Ok(condemned)
    }

    /// Notes that manifests are gone from the store. Notes of long ago are dropped.
    pub async fn note_manifests_deleted(
        &self,
        lease: &Lease,
        vault: [u8; 16],
        manifests: &[[u8; 32]],
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting deleted manifests").await?;
        check_lease_on(&mut tx, lease, JobKind::Collect, vault).await?;
        let vault = lock_vault(&mut tx, vault).await?;
        for manifest in manifests {
            tx.execute(
                "UPDATE condemned_manifests SET deleted_at = $1 WHERE vault_id = $2 AND manifest_digest = $3",
                values![now, vault.id, *manifest],
            )
            .await?;
        }
        tx.execute(
            "DELETE FROM condemned_manifests WHERE vault_id = $1 AND deleted_at <= $2",
            values![vault.id, now.plus_seconds(-MANIFEST_REST_SECONDS)],
        )
        .await?;
        tx.commit().await
    }
}

/// Deleted items of a vault whose quarantine has ended, kept from being had back until the transaction ends.
async fn lock_due_items(
    tx: &mut Tx,
    vault: [u8; 16],
    limit: u32,
    now: Timestamp,
) -> Result<Vec<(CheckpointItemId, [u8; 32])>, CatalogError> {
    let rows = tx
        .all(
            "SELECT i.id AS id FROM checkpoint_items i JOIN vaults v ON v.domain = i.domain \
             AND v.project_id = i.project_id WHERE v.id = $1 AND i.state = 'deleted' \
             AND i.purged_at IS NULL AND i.purge_after <= $2 ORDER BY i.id LIMIT $3",
            values![vault, now, limit],
        )
        .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in &rows {
        let item: CheckpointItemId = row.id("id")?;
        let locked = tx
            .first(
                "UPDATE checkpoint_items SET state = state WHERE id = $1 AND state = 'deleted' \
                 AND purged_at IS NULL AND manifest_digest IS NOT NULL RETURNING manifest_digest",
                values![item],
            )
            .await?;
        if let Some(locked) = locked {
            due.push((item, locked.bytes("manifest_digest")?));
        }
    }
    Ok(due)
}

/// Whether an open operation leans on a manifest, or it is arriving again.
async fn is_needed(tx: &mut Tx, vault: &VaultRow, manifest: [u8; 32]) -> Result<bool, CatalogError> {
    let base = tx
        .first(
            "SELECT id FROM operations WHERE vault_id = $1 AND is_open = 1 AND base_manifest = $2 LIMIT 1",
            values![vault.id, manifest],
        )
        .await?;
    let transfer = tx
        .first(
            "SELECT operation_id FROM transfers WHERE vault_id = $1 AND is_open = 1 AND manifest_digest = $2 \
             LIMIT 1",
            values![vault.id, manifest],
        )
        .await?;
    Ok(base.is_some() || transfer.is_some())
}

async fn condemn_manifest(tx: &mut Tx, vault: &VaultRow, manifest: [u8; 32]) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT INTO condemned_manifests (vault_id, manifest_digest, deleted_at) VALUES ($1, $2, NULL) \
         ON CONFLICT (vault_id, manifest_digest) DO UPDATE SET deleted_at = NULL",
        values![vault.id, manifest],
    )
    .await?;
    Ok(())
}

/// Whether a manifest without an item was left by a backup or a transfer that is over.
async fn is_over(
    tx: &mut Tx,
    vault: &VaultRow,
    manifest: [u8; 32],
    item: CheckpointItemId,
) -> Result<bool, CatalogError> {
    let backup = tx
        .first(
            "SELECT id FROM checkpoint_items WHERE id = $1 AND project_id = $2 \
             AND state NOT IN ('waiting_protect', 'protecting')",
            values![item, &vault.project_id],
        )
        .await?;
    let transfer = tx
        .first(
            "SELECT operation_id FROM transfers WHERE vault_id = $1 AND manifest_digest = $2 \
             AND is_open = 0 LIMIT 1",
            values![vault.id, manifest],
        )
        .await?;
    Ok(backup.is_some() || transfer.is_some())
}

/// Whether another item that is not purged has the same manifest: a replica that arrived twice.
async fn has_other_item(tx: &mut Tx, vault: &VaultRow, manifest: [u8; 32]) -> Result<bool, CatalogError> {
    let other = tx
        .first(
            "SELECT id FROM checkpoint_items WHERE domain = $1 AND project_id = $2 AND manifest_digest = $3 \
             AND (state <> 'deleted' OR purged_at IS NULL) LIMIT 1",
            values![vault.domain, &vault.project_id, manifest],
        )
        .await?;
    Ok(other.is_some())
}
