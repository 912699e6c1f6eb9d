//! Servers and their volumes, as the region operator registered them.

use std::collections::BTreeSet;

use model::ids::{PolicyId, ProjectId, ResourceId, VolumeId};
use model::server::{Server, Volume, VolumeFormat};
use model::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::page::{List, Page, SortKey, Where, places};
use crate::state_outbox::{StateSubject, note_change, note_deletion};
use crate::value::{Row, Value, values};

/// How many servers one statement asks about.
const IDS_A_STATEMENT: usize = 500;

/// What servers can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSort {
    /// When they were registered.
    CreatedAt,
    /// Their name.
    Name,
    /// Their id.
    Id,
}

impl SortKey for ServerSort {
    const DEFAULT: ServerSort = ServerSort::CreatedAt;

    fn expression(self) -> &'static str {
        match self {
            ServerSort::CreatedAt => "created_at",
            ServerSort::Name => "name",
            ServerSort::Id => "id",
        }
    }

    fn is_text(self) -> bool {
        self != ServerSort::CreatedAt
    }
}

pub(crate) const SERVERS: List =
    List { columns: "id, project_id, name, created_at", table: "servers", what: "server" };

impl Catalog {
    /// Registers a server with all its volumes. `IdTaken` when the server, one of its volumes or one
    /// of their paths is registered already.
    pub async fn register_server(&self, server: &Server) -> Result<(), CatalogError> {
        let mut tx = self.write("registering a server").await?;
        insert_server(&mut tx, server).await?;
        let moment = server.created_at;
        note_change(&mut tx, StateSubject::Server, &server.id, &server.project_id, moment).await?;
        tx.commit().await
    }

    /// One server of a project.
    pub async fn server(&self, project: &ProjectId, id: &ResourceId) -> Result<Server, CatalogError> {
        let mut tx = self.read("reading a server").await?;
        let row = tx
            .first(
                "SELECT id, project_id, name, created_at FROM servers WHERE id = $1 AND project_id = $2",
                values![id, project],
            )
            .await?;
        with_volumes(&mut tx, &row.ok_or_else(|| CatalogError::not_found("server", id))?).await
    }

    /// The servers of a project.
    pub async fn servers(
        &self,
        project: &ProjectId,
        page: &Page<ServerSort>,
    ) -> Result<Vec<Server>, CatalogError> {
        let mut tx = self.read("listing servers").await?;
        let filter = Where::of("project_id", project);
        let rows = SERVERS.page(&mut tx, filter, page).await?;
        all_with_volumes(&mut tx, &rows).await
    }

    /// The servers of every project, for the operator.
    pub async fn all_servers(&self) -> Result<Vec<Server>, CatalogError> {
        let mut tx = self.read("listing servers").await?;
        let rows =
            tx.all("SELECT id, project_id, name, created_at FROM servers ORDER BY id", values![]).await?;
        all_with_volumes(&mut tx, &rows).await
    }

    /// Which of these servers a project has.
    pub async fn known_servers(
        &self,
        project: &ProjectId,
        ids: &[&ResourceId],
    ) -> Result<BTreeSet<ResourceId>, CatalogError> {
        let mut tx = self.read("looking for servers").await?;
        let mut known = BTreeSet::new();
        for some in ids.chunks(IDS_A_STATEMENT) {
            let sql =
                format!("SELECT id FROM servers WHERE project_id = $1 AND id IN ({})", places(2, some.len()));
            let mut bound = values![project];
            bound.extend(some.iter().map(|id| Value::from(*id)));
            // Safe: made of our own words and places; every value is bound.
            for row in tx.all(AssertSqlSafe(sql), bound).await? {
                known.insert(row.id("id")?);
            }
        }
        Ok(known)
    }

    /// The server that a volume belongs to, whatever the project.
    pub async fn server_of_volume(&self, volume: &VolumeId) -> Result<Option<Server>, CatalogError> {
        let mut tx = self.read("reading the server of a volume").await?;
        let row = tx
            .first(
                "SELECT id, project_id, name, created_at FROM servers \
                 WHERE id = (SELECT server_id FROM volumes WHERE id = $1)",
                values![volume],
            )
            .await?;
        match row {
            None => Ok(None),
            Some(row) => Ok(Some(with_volumes(&mut tx, &row).await?)),
        }
    }

    /// Notes the size that a volume was found to have.
    pub async fn record_volume_size(&self, volume: &VolumeId, size_bytes: u64) -> Result<(), CatalogError> {
        let mut tx = self.write("noting the size of a volume").await?;
        let touched = tx
            .execute("UPDATE volumes SET size_bytes = $1 WHERE id = $2", values![size_bytes, volume])
            .await?;
        if touched == 0 {
            return Err(CatalogError::not_found("volume", volume));
        }
        tx.commit().await
    }

    /// Forgets a server and its volumes. Refused while a policy names it or a restore writes to it;
    /// its backups stay.
    pub async fn remove_server(&self, id: &ResourceId, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("removing a server").await?;
        let known = tx
            .first("UPDATE servers SET name = name WHERE id = $1 RETURNING project_id", values![id])
            .await?;
        let known = known.ok_or_else(|| CatalogError::not_found("server", id))?;
        let project: ProjectId = known.id("project_id")?;
        if let Some(policy) = policy_of_server_row(&mut tx, id).await? {
            return Err(Conflict::ServerInPolicy { server: id.clone(), policy }.into());
        }
        let restore = tx
            .first(
                "SELECT id FROM restores WHERE target_server_id = $1 AND state = 'in_progress'",
                values![id],
            )
            .await?;
        if restore.is_some() {
            return Err(Conflict::ServerRestoring { server: id.clone() }.into());
        }
        tx.execute("DELETE FROM volumes WHERE server_id = $1", values![id]).await?;
        tx.execute("DELETE FROM servers WHERE id = $1", values![id]).await?;
        note_deletion(&mut tx, StateSubject::Server, id, &project, now).await?;
        tx.commit().await
    }
}

/// Inserts a server with its volumes.
pub(crate) async fn insert_server(tx: &mut Tx, server: &Server) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO servers (id, project_id, name, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
            values![&server.id, &server.project_id, &server.name, server.created_at],
        )
        .await?;
    if inserted == 0 {
        return Err(Conflict::IdTaken { what: "server", id: server.id.to_string() }.into());
    }
    for (position, volume) in server.volumes.iter().enumerate() {
        insert_volume(tx, &server.id, position, volume).await?;
    }
    Ok(())
}

/// A server of any project.
pub(crate) async fn read_server(tx: &mut Tx, id: &ResourceId) -> Result<Option<Server>, CatalogError> {
    let row =
        tx.first("SELECT id, project_id, name, created_at FROM servers WHERE id = $1", values![id]).await?;
    match row {
        None => Ok(None),
        Some(row) => Ok(Some(with_volumes(tx, &row).await?)),
    }
}

/// The policy that names a server, if one does.
pub(crate) async fn policy_of_server_row(
    tx: &mut Tx,
    server: &ResourceId,
) -> Result<Option<PolicyId>, CatalogError> {
    let row =
        tx.first("SELECT policy_id FROM policy_resources WHERE resource_id = $1", values![server]).await?;
    row.map(|row| row.id("policy_id")).transpose()
}

async fn insert_volume(
    tx: &mut Tx,
    server: &ResourceId,
    position: usize,
    volume: &Volume,
) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO volumes (id, server_id, position, name, path, format, size_bytes, bootable) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
            values![
                &volume.id,
                server,
                position,
                &volume.name,
                &volume.path,
                volume.format.word(),
                volume.size_bytes,
                volume.bootable
            ],
        )
        .await?;
    if inserted == 1 {
        return Ok(());
    }
    let same = tx.first("SELECT id FROM volumes WHERE id = $1", values![&volume.id]).await?;
    let conflict = match same {
        Some(_) => Conflict::IdTaken { what: "volume", id: volume.id.to_string() },
        None => Conflict::IdTaken { what: "volume path", id: volume.path.clone() },
    };
    Err(conflict.into())
}

async fn all_with_volumes(tx: &mut Tx, rows: &[Row]) -> Result<Vec<Server>, CatalogError> {
    let mut servers = Vec::with_capacity(rows.len());
    for row in rows {
        servers.push(with_volumes(tx, row).await?);
    }
    Ok(servers)
}

async fn with_volumes(tx: &mut Tx, row: &Row) -> Result<Server, CatalogError> {
    let id: ResourceId = row.id("id")?;
    let volumes = tx
        .all(
            "SELECT id, name, path, format, size_bytes, bootable FROM volumes \
             WHERE server_id = $1 ORDER BY position",
            values![&id],
        )
        .await?;
    Ok(Server {
        id,
        project_id: row.id("project_id")?,
        name: row.text("name")?,
        volumes: volumes.iter().map(volume_of_row).collect::<Result<_, _>>()?,
        created_at: row.time("created_at")?,
    })
}

fn volume_of_row(row: &Row) -> Result<Volume, CatalogError> {
    Ok(Volume {
        id: row.id("id")?,
        name: row.text("name")?,
        path: row.text("path")?,
        format: row.word("format", VolumeFormat::from_word)?,
        size_bytes: row.count("size_bytes")?,
        bootable: row.flag("bootable")?,
    })
}
