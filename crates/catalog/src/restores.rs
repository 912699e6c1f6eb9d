//! Restores: one item onto registered volumes, one restore a server at a time.

use model::checkpoint::{Failure, ItemEvent};
use model::ids::{ProjectId, ResourceId, RestoreId};
use model::restore::{Restore, RestoreState, RestoreVolume};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::items::{lock_item, store_item_state};
use crate::jobs::{JobKind, Lease, NewJob, check_lease_on, end_job, enqueue};
use crate::page::{List, Page, SortKey, Where};
use crate::value::{Row, values};

/// What restores can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestoreSort {
    /// When they were ordered.
    CreatedAt,
    /// Their id.
    Id,
}

impl SortKey for RestoreSort {
    const DEFAULT: RestoreSort = RestoreSort::CreatedAt;

    fn expression(self) -> &'static str {
        match self {
            RestoreSort::CreatedAt => "created_at",
            RestoreSort::Id => "id",
        }
    }

    fn is_text(self) -> bool {
        self == RestoreSort::Id
    }
}

macro_rules! restore_columns {
    () => {
        "id, project_id, checkpoint_id, item_id, target_server_id, power_on, restore_target, state, \
         reason, total_bytes, done_bytes, created_at, updated_at"
    };
}

const RESTORES: List = List { columns: restore_columns!(), table: "restores", what: "restore" };

impl Catalog {
    /// Orders a restore: the item waits for it, and its job is enqueued. `ItemBusy` unless the item
    /// is available; `ServerRestoring` while another restore writes to the server.
    pub async fn order_restore(&self, restore: &Restore) -> Result<(), CatalogError> {
        let mut tx = self.write("ordering a restore").await?;
        let item = lock_item(&mut tx, restore.item_id).await?;
        if item.project_id != restore.project_id || item.checkpoint_id != restore.checkpoint_id {
            return Err(CatalogError::not_found("checkpoint item", restore.item_id));
        }
        let Ok(state) = item.state.on(ItemEvent::RestoreOrdered) else {
            return Err(Conflict::ItemBusy { item: restore.item_id, state: item.state }.into());
        };
        store_item_state(&mut tx, restore.item_id, state, restore.created_at).await?;
        insert_restore(&mut tx, restore).await?;
        let job = NewJob { kind: JobKind::Restore, subject: restore.id.bytes(), priority: 0 };
        enqueue(&mut tx, &job, restore.created_at).await?;
        tx.commit().await
    }

    /// One restore of a project.
    pub async fn restore(&self, project: &ProjectId, id: RestoreId) -> Result<Restore, CatalogError> {
        let restore = self.restore_by_id(id).await?;
        if restore.project_id == *project { Ok(restore) } else { Err(CatalogError::not_found("restore", id)) }
    }

    /// One restore of any project, for workers.
    pub async fn restore_by_id(&self, id: RestoreId) -> Result<Restore, CatalogError> {
        let mut tx = self.read("reading a restore").await?;
        read_restore(&mut tx, id).await
    }

    /// The restores of a project.
    pub async fn restores(
        &self,
        project: &ProjectId,
        page: &Page<RestoreSort>,
    ) -> Result<Vec<Restore>, CatalogError> {
        let mut tx = self.read("listing restores").await?;
        let filter = Where::of("project_id", project);
        let rows = RESTORES.page(&mut tx, filter, page).await?;
        let mut restores = Vec::with_capacity(rows.len());
        for row in &rows {
            restores.push(whole_restore(&mut tx, row).await?);
        }
        Ok(restores)
    }

    /// Whether a restore writes to a server now.
    pub async fn is_restoring(&self, server: &ResourceId) -> Result<bool, CatalogError> {
        let mut tx = self.read("looking for a restore onto a server").await?;
        let row = tx
            .first(
                "SELECT id FROM restores WHERE target_server_id = $1 AND state = 'in_progress'",
                values![server],
            )
            .await?;
        Ok(row.is_some())
    }

    /// Takes up a restore, for the first time or again, and reads it.
    pub async fn start_restore(
        &self,
        lease: &Lease,
        id: RestoreId,
        now: Timestamp,
    ) -> Result<Restore, CatalogError> {
        let mut tx = self.write("starting a restore").await?;
        check_lease_on(&mut tx, lease, JobKind::Restore, id.bytes()).await?;
        let restore = read_restore(&mut tx, id).await?;
        let state = lock_item(&mut tx, restore.item_id).await?.state.on(ItemEvent::RestoreClaimed)?;
        store_item_state(&mut tx, restore.item_id, state, now).await?;
        tx.commit().await?;
        Ok(restore)
    }

    /// Notes how far a restore is.
    pub async fn record_restore_progress(
        &self,
        lease: &Lease,
        id: RestoreId,
        done_bytes: u64,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting the progress of a restore").await?;
        check_lease_on(&mut tx, lease, JobKind::Restore, id.bytes()).await?;
        tx.execute(
            "UPDATE restores SET done_bytes = $1, updated_at = $2 WHERE id = $3",
            values![done_bytes, now, id],
        )
        .await?;
        tx.commit().await
    }

    /// Ends a restore, well or not: the item is available again, and notes the failure if there was
    /// one.
    pub async fn finish_restore(
        &self,
        lease: &Lease,
        id: RestoreId,
        outcome: Result<(), &Failure>,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("finishing a restore").await?;
        check_lease_on(&mut tx, lease, JobKind::Restore, id.bytes()).await?;
        let restore = read_restore(&mut tx, id).await?;
        let state = lock_item(&mut tx, restore.item_id).await?.state.on(ItemEvent::RestoreEnded)?;
        store_item_state(&mut tx, restore.item_id, state, now).await?;
        let failure = outcome.err();
        tx.execute(
            "UPDATE checkpoint_items SET failure_operation = $1, failure_code = $2, failure_reason = $3 \
             WHERE id = $4",
            values![
                failure.map(|failure| failure.operation.as_str()),
                failure.map(|failure| failure.code.as_str()),
                failure.map(|failure| failure.reason.as_str()),
                restore.item_id
            ],
        )
        .await?;
        let ended = if failure.is_none() { RestoreState::Success } else { RestoreState::Fail };
        let done_bytes = if failure.is_none() { restore.total_bytes } else { restore.done_bytes };
        tx.execute(
            "UPDATE restores SET state = $1, reason = $2, done_bytes = $3, updated_at = $4 WHERE id = $5",
            values![ended.word(), failure.map_or("", |failure| &failure.reason), done_bytes, now, id],
        )
        .await?;
        end_job(&mut tx, JobKind::Restore, id.bytes(), now).await?;
        tx.commit().await
    }
}

async fn insert_restore(tx: &mut Tx, restore: &Restore) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            concat!(
                "INSERT INTO restores (",
                restore_columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING"
            ),
            values![
                restore.id,
                &restore.project_id,
                restore.checkpoint_id,
                restore.item_id,
                &restore.target_server_id,
                restore.power_on,
                &restore.restore_target,
                RestoreState::InProgress.word(),
                "",
                restore.total_bytes,
                0_u64,
                restore.created_at,
                restore.created_at
            ],
        )
        .await?;
    if inserted == 0 {
        let same = tx.first("SELECT id FROM restores WHERE id = $1", values![restore.id]).await?;
        return Err(match same {
            Some(_) => Conflict::IdTaken { what: "restore", id: restore.id.to_string() },
            None => Conflict::ServerRestoring { server: restore.target_server_id.clone() },
        }
        .into());
    }
    for (position, volume) in restore.volumes.iter().enumerate() {
        tx.execute(
            "INSERT INTO restore_volumes (restore_id, position, backup_id, volume_id) \
             VALUES ($1, $2, $3, $4)",
            values![restore.id, position, volume.backup_id, &volume.volume_id],
        )
        .await?;
    }
    Ok(())
}

async fn read_restore(tx: &mut Tx, id: RestoreId) -> Result<Restore, CatalogError> {
    let row =
        tx.first(concat!("SELECT ", restore_columns!(), " FROM restores WHERE id = $1"), values![id]).await?;
    whole_restore(tx, &row.ok_or_else(|| CatalogError::not_found("restore", id))?).await
}

async fn whole_restore(tx: &mut Tx, row: &Row) -> Result<Restore, CatalogError> {
    let id: RestoreId = row.id("id")?;
    let volumes = tx
        .all(
            "SELECT backup_id, volume_id FROM restore_volumes WHERE restore_id = $1 ORDER BY position",
            values![id],
        )
        .await?;
    let volume = |row: &Row| {
        Ok::<_, CatalogError>(RestoreVolume {
            backup_id: row.id("backup_id")?,
            volume_id: row.id("volume_id")?,
        })
    };
    Ok(Restore {
        id,
        project_id: row.id("project_id")?,
        checkpoint_id: row.id("checkpoint_id")?,
        item_id: row.id("item_id")?,
        target_server_id: row.id("target_server_id")?,
        volumes: volumes.iter().map(volume).collect::<Result<_, _>>()?,
        power_on: row.flag("power_on")?,
        restore_target: row.optional_text("restore_target")?,
        state: row.word("state", RestoreState::from_word)?,
        reason: row.text("reason")?,
        total_bytes: row.count("total_bytes")?,
        done_bytes: row.count("done_bytes")?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
    })
}
