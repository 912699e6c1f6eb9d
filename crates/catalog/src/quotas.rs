//! Quotas: how much a project may hold, and how much it does. What it holds is measured where it stands, never
//! counted along, so that no crash and no collection can make the figure wrong.

use model::ids::ProjectId;
use model::quota::{Quota, QuotaChange, Usage};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::value::{Row, values};

impl Catalog {
    /// What a project may hold and what it holds, at one moment.
    pub async fn quota(&self, project: &ProjectId) -> Result<(Quota, Usage), CatalogError> {
        let mut tx = self.read("reading the quota of a project").await?;
        let row = tx
            .first(
                "SELECT backups_max, capacity_gib_max FROM project_quotas WHERE project_id = $1",
                values![project],
            )
            .await?;
        let quota = row.as_ref().map(quota_of_row).transpose()?.unwrap_or_default();
        Ok((quota, usage(&mut tx, project).await?))
    }

    /// Changes what a project may hold, whatever it holds now, and answers both. `NotFound` for a project that
    /// is none.
    pub async fn change_quota(
        &self,
        project: &ProjectId,
        change: &QuotaChange,
        now: Timestamp,
    ) -> Result<(Quota, Usage), CatalogError> {
        let mut tx = self.write("setting the quota of a project").await?;
        let known = tx.first("SELECT id FROM projects WHERE id = $1", values![project]).await?;
        known.ok_or_else(|| CatalogError::not_found("project", project))?;
        tx.execute(
            "INSERT INTO project_quotas (project_id, updated_at) VALUES ($1, $2) ON CONFLICT DO NOTHING",
            values![project, now],
        )
        .await?;
        let quota = lock_quota(&mut tx, project).await?.changed(change);
        tx.execute(
            "UPDATE project_quotas SET backups_max = $1, capacity_gib_max = $2, updated_at = $3 \
             WHERE project_id = $4",
            values![quota.backups_max, quota.capacity_gib_max, now, project],
        )
        .await?;
        let usage = usage(&mut tx, project).await?;
        tx.commit().await?;
        Ok((quota, usage))
    }
}

/// Refuses so many backups more when the project may not hold them. Projects with a quota take turns here until
/// the transaction ends; without one nothing is measured.
pub(crate) async fn require_quota(
    tx: &mut Tx,
    project: &ProjectId,
    new_backups: u64,
) -> Result<(), CatalogError> {
    let quota = lock_quota(tx, project).await?;
    if quota == Quota::default() {
        return Ok(());
    }
    let usage = usage(tx, project).await?;
    quota.allow(&usage, new_backups).map_err(|exceeded| Conflict::from(exceeded).into())
}

/// Keeps everybody else from beginning a backup in a project with a quota, or from changing it, until the
/// transaction ends.
async fn lock_quota(tx: &mut Tx, project: &ProjectId) -> Result<Quota, CatalogError> {
    let row = tx
        .first(
            "UPDATE project_quotas SET project_id = project_id WHERE project_id = $1 \
             RETURNING backups_max, capacity_gib_max",
            values![project],
        )
        .await?;
    Ok(row.as_ref().map(quota_of_row).transpose()?.unwrap_or_default())
}

async fn usage(tx: &mut Tx, project: &ProjectId) -> Result<Usage, CatalogError> {
    let backups = tx
        .first(
            "SELECT COUNT(*) AS backup_count FROM checkpoint_items WHERE project_id = $1 \
             AND origin_region IS NULL AND state <> 'deleted'",
            values![project],
        )
        .await?;
    let stored = tx
        .first(
            "SELECT CAST(COALESCE(SUM(p.bytes), 0) AS BIGINT) AS stored_bytes FROM vaults v \
             JOIN packs p ON p.vault_id = v.id WHERE v.project_id = $1 AND v.kind = 'primary' \
             AND p.state <> 'deleted'",
            values![project],
        )
        .await?;
    Ok(Usage {
        backups: backups.map_or(Ok(0), |row| row.count("backup_count"))?,
        stored_bytes: stored.map_or(Ok(0), |row| row.count("stored_bytes"))?,
    })
}

fn quota_of_row(row: &Row) -> Result<Quota, CatalogError> {
    Ok(Quota {
        backups_max: row.optional_count("backups_max")?,
        capacity_gib_max: row.optional_count("capacity_gib_max")?,
    })
}
