//! Acceptance grants: those made here, and the cache of those that other regions made to us.

use model::grant::{Grant, Mode};
use model::ids::{GrantId, ProjectId, RegionName};
use model::replication::Destination;
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::state_outbox::{StateSubject, note_change};
use crate::value::{Row, Value, values};

macro_rules! grant_columns {
    () => {
        "id, source_region, source_project_id, destination_region, destination_project_id, mode, \
         bytes_max, keep_days_min, created_at, expires_at, revoked_at"
    };
}

impl Catalog {
    /// Stores a grant made by a project of this region.
    pub async fn create_grant(&self, grant: &Grant) -> Result<(), CatalogError> {
        let mut tx = self.write("creating a grant").await?;
        insert_grant(&mut tx, grant).await?;
        let project = &grant.destination_project_id;
        note_change(&mut tx, StateSubject::Grant, grant.id, project, grant.created_at).await?;
        tx.commit().await
    }

    /// The grants that a project made, newest first.
    pub async fn grants(&self, project: &ProjectId) -> Result<Vec<Grant>, CatalogError> {
        let mut tx = self.read("listing grants").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    grant_columns!(),
                    " FROM grants WHERE destination_project_id = $1 ORDER BY created_at DESC, id"
                ),
                values![project],
            )
            .await?;
        rows.iter().map(grant_of_row).collect()
    }

    /// One grant made here.
    pub async fn grant(&self, id: GrantId) -> Result<Grant, CatalogError> {
        let mut tx = self.read("reading a grant").await?;
        read_grant(&mut tx, id).await?.ok_or_else(|| CatalogError::not_found("grant", id))
    }

    /// Takes a grant of a project back; a second time changes nothing. Nothing new arrives under it,
    /// what arrived stays.
    pub async fn revoke_grant(
        &self,
        project: &ProjectId,
        id: GrantId,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("revoking a grant").await?;
        let grant = lock_grant(&mut tx, id).await?.filter(|grant| grant.destination_project_id == *project);
        let grant = grant.ok_or_else(|| CatalogError::not_found("grant", id))?;
        if grant.revoked_at.is_some() {
            return Ok(());
        }
        tx.execute("UPDATE grants SET revoked_at = $1 WHERE id = $2", values![now, id]).await?;
        let moment = now.max(grant.created_at.plus_micros(1));
        note_change(&mut tx, StateSubject::Grant, id, project, moment).await?;
        tx.commit().await
    }

    /// The grants made here to a peer, revoked ones too: what the peer is told.
    pub async fn grants_to(&self, peer: &RegionName) -> Result<Vec<Grant>, CatalogError> {
        let mut tx = self.read("listing the grants to a peer").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    grant_columns!(),
                    " FROM grants WHERE source_region = $1 ORDER BY created_at, id"
                ),
                values![peer],
            )
            .await?;
        rows.iter().map(grant_of_row).collect()
    }

    /// Bytes that count against a grant: its live replicas and what open transfers have reserved.
    pub async fn grant_used_bytes(&self, id: GrantId) -> Result<u64, CatalogError> {
        let mut tx = self.read("adding up the use of a grant").await?;
        Ok(replica_bytes(&mut tx, id).await?.saturating_add(reserved_bytes(&mut tx, id).await?))
    }

    /// Replaces what we know of the grants that a region made to us. Grants that name another
    /// destination region are refused, so that no peer speaks for another.
    pub async fn replace_remote_grants(
        &self,
        region: &RegionName,
        grants: &[Grant],
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("caching the grants of a peer").await?;
        tx.execute("DELETE FROM remote_grants WHERE destination_region = $1", values![region]).await?;
        for grant in grants.iter().filter(|grant| grant.destination_region == *region) {
            let inserted = tx
                .execute(
                    concat!(
                        "INSERT INTO remote_grants (",
                        grant_columns!(),
                        ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING"
                    ),
                    grant_values(grant),
                )
                .await?;
            if inserted == 0 {
                return Err(Conflict::IdTaken { what: "grant", id: grant.id.to_string() }.into());
            }
        }
        tx.commit().await
    }

    /// The open grant under which a project may send to a destination, the newest if there are more.
    pub async fn remote_grant(
        &self,
        source_project: &ProjectId,
        destination: &Destination,
        now: Timestamp,
    ) -> Result<Option<Grant>, CatalogError> {
        let mut tx = self.read("looking for a grant").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    grant_columns!(),
                    " FROM remote_grants WHERE source_project_id = $1 AND destination_region = $2 \
                     AND destination_project_id = $3 ORDER BY created_at DESC, id"
                ),
                values![source_project, &destination.region, &destination.project_id],
            )
            .await?;
        let grants = rows.iter().map(grant_of_row).collect::<Result<Vec<_>, _>>()?;
        Ok(grants.into_iter().find(|grant| grant.is_open(now)))
    }

    /// All cached grants of other regions to this one.
    pub async fn remote_grants(&self) -> Result<Vec<Grant>, CatalogError> {
        let mut tx = self.read("listing the grants of peers").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    grant_columns!(),
                    " FROM remote_grants ORDER BY destination_region, created_at, id"
                ),
                values![],
            )
            .await?;
        rows.iter().map(grant_of_row).collect()
    }
}

/// Inserts a grant made here.
pub(crate) async fn insert_grant(tx: &mut Tx, grant: &Grant) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            concat!(
                "INSERT INTO grants (",
                grant_columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT DO NOTHING"
            ),
            grant_values(grant),
        )
        .await?;
    if inserted == 0 {
        return Err(Conflict::IdTaken { what: "grant", id: grant.id.to_string() }.into());
    }
    Ok(())
}

/// Reads a grant made here and keeps it from being revoked, and others from using its bytes, until the
/// transaction ends.
pub(crate) async fn lock_grant(tx: &mut Tx, id: GrantId) -> Result<Option<Grant>, CatalogError> {
    tx.execute("UPDATE grants SET mode = mode WHERE id = $1", values![id]).await?;
    read_grant(tx, id).await
}

/// A grant made here, of any project.
pub(crate) async fn read_grant(tx: &mut Tx, id: GrantId) -> Result<Option<Grant>, CatalogError> {
    let row =
        tx.first(concat!("SELECT ", grant_columns!(), " FROM grants WHERE id = $1"), values![id]).await?;
    row.as_ref().map(grant_of_row).transpose()
}

/// Stored bytes of the replicas that a grant let in and that are still here.
pub(crate) async fn replica_bytes(tx: &mut Tx, id: GrantId) -> Result<u64, CatalogError> {
    let row = tx
        .first(
            "SELECT CAST(COALESCE(SUM(stored_bytes), 0) AS BIGINT) AS sum_bytes FROM replicas \
             WHERE grant_id = $1 AND state NOT IN ('deleted', 'expired')",
            values![id],
        )
        .await?;
    row.map_or(Ok(0), |row| row.count("sum_bytes"))
}

/// Bytes that open transfers have reserved under a grant.
pub(crate) async fn reserved_bytes(tx: &mut Tx, id: GrantId) -> Result<u64, CatalogError> {
    let row = tx
        .first(
            "SELECT CAST(COALESCE(SUM(reserved_bytes), 0) AS BIGINT) AS sum_bytes FROM transfers \
             WHERE grant_id = $1 AND is_open = 1",
            values![id],
        )
        .await?;
    row.map_or(Ok(0), |row| row.count("sum_bytes"))
}

/// The open grants of other regions to a project, the newest first.
pub(crate) async fn grants_of_source(
    tx: &mut Tx,
    source_project: &ProjectId,
    now: Timestamp,
) -> Result<Vec<Grant>, CatalogError> {
    let rows = tx
        .all(
            concat!(
                "SELECT ",
                grant_columns!(),
                " FROM remote_grants WHERE source_project_id = $1 ORDER BY created_at DESC, id"
            ),
            values![source_project],
        )
        .await?;
    let grants = rows.iter().map(grant_of_row).collect::<Result<Vec<_>, _>>()?;
    Ok(grants.into_iter().filter(|grant| grant.is_open(now)).collect())
}

fn grant_values(grant: &Grant) -> Vec<Value> {
    values![
        grant.id,
        &grant.source_region,
        &grant.source_project_id,
        &grant.destination_region,
        &grant.destination_project_id,
        grant.mode.word(),
        grant.bytes_max,
        grant.keep_days_min,
        grant.created_at,
        grant.expires_at,
        grant.revoked_at
    ]
}

fn grant_of_row(row: &Row) -> Result<Grant, CatalogError> {
    Ok(Grant {
        id: row.id("id")?,
        source_region: row.id("source_region")?,
        source_project_id: row.id("source_project_id")?,
        destination_region: row.id("destination_region")?,
        destination_project_id: row.id("destination_project_id")?,
        mode: row.word("mode", Mode::from_word)?,
        bytes_max: row.optional_count("bytes_max")?,
        keep_days_min: row.small("keep_days_min")?,
        created_at: row.time("created_at")?,
        expires_at: row.optional_time("expires_at")?,
        revoked_at: row.optional_time("revoked_at")?,
    })
}
