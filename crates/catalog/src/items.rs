//! Checkpoint items as rows: reading one, reading many, filters and order.

use std::collections::HashMap;

use model::checkpoint::{CheckpointItem, Failure, ItemState, Origin, VolumeBackup};
use model::ids::{CheckpointId, CheckpointItemId, PolicyId, ProjectId, ResourceId};
use model::text::Tag;
use model::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::page::{List, Page, SortKey, Where, places};
use crate::policies::description_of;
use crate::tags::{Tagged, insert_tags, tag_of_row};
use crate::value::{Row, Value, values};

/// Which items are wanted. Empty lists and missing values let everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemFilter {
    /// In one of these states. Deleted ones show only when asked for.
    pub states: Vec<ItemState>,
    /// Of one of these servers.
    pub resource_ids: Vec<ResourceId>,
    /// Made by a run of one of these policies.
    pub policy_ids: Vec<PolicyId>,
    /// In one of these checkpoints.
    pub checkpoint_ids: Vec<CheckpointId>,
    /// The name contains one of these, letter case aside.
    pub name_contains: Vec<String>,
    /// The server's name contains one of these, letter case aside.
    pub resource_name_contains: Vec<String>,
    /// Ordered at this moment or later.
    pub start_time: Option<Timestamp>,
    /// Ordered at this moment or earlier.
    pub end_time: Option<Timestamp>,
    /// Of one of these kinds.
    pub image_types: Vec<ImageType>,
    /// Whoever owns them; for the operator of the region.
    pub of_all_projects: bool,
    /// Nothing at all is wanted: a filter on something that this region never has.
    pub matches_nothing: bool,
}

/// What an item is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageType {
    /// A backup made in this region.
    Backup,
    /// A replica of a backup made in another region.
    Replication,
}

/// What items can be ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemSort {
    /// When they were ordered.
    CreatedAt,
    /// When they last changed.
    UpdatedAt,
    /// Their name.
    Name,
    /// The word of their state.
    State,
    /// The moment whose data they hold; those without one count as oldest.
    ProtectedAt,
    /// Their id.
    Id,
}

impl SortKey for ItemSort {
    const DEFAULT: ItemSort = ItemSort::CreatedAt;

    fn expression(self) -> &'static str {
        match self {
            ItemSort::CreatedAt => "created_at",
            ItemSort::UpdatedAt => "updated_at",
            ItemSort::Name => "name",
            ItemSort::State => "state",
            ItemSort::ProtectedAt => "COALESCE(protected_at, 0)",
            ItemSort::Id => "id",
        }
    }

    fn is_text(self) -> bool {
        matches!(self, ItemSort::Name | ItemSort::State | ItemSort::Id)
    }
}

macro_rules! item_columns {
    () => {
        "id, checkpoint_id, project_id, policy_id, resource_id, resource_name, name, description, state, \
         auto_trigger, incremental, progress_percent, progress_bytes, logical_bytes, added_bytes, \
         manifest_digest, domain, operation_id, sequence, origin_region, origin_project_id, \
         origin_checkpoint_id, origin_item_id, origin_record_id, origin_arrived_at, origin_keep_until, \
         origin_generation, created_at, updated_at, protected_at, finished_at, expired_at, \
         failure_operation, failure_code, failure_reason"
    };
}
pub(crate) use item_columns;

pub(crate) const ITEMS: List =
    List { columns: item_columns!(), table: "checkpoint_items", what: "checkpoint item" };

/// How many items one statement asks about.
const IDS_A_STATEMENT: usize = 500;

impl Catalog {
    /// One item of a project. The id of a checkpoint with a single item stands for that item.
    pub async fn item(
        &self,
        project: &ProjectId,
        id: CheckpointItemId,
    ) -> Result<CheckpointItem, CatalogError> {
        let mut tx = self.read("reading a checkpoint item").await?;
        let item = read_item(&mut tx, id).await?;
        if let Some(item) = item.filter(|item| item.project_id == *project) {
            return Ok(item);
        }
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    item_columns!(),
                    " FROM checkpoint_items WHERE checkpoint_id = $1 AND project_id = $2 \
                     AND state <> 'deleted' LIMIT 2"
                ),
                values![id, project],
            )
            .await?;
        match rows.as_slice() {
            [_] => {
                let mut items = whole_items(&mut tx, &rows).await?;
                items.pop().ok_or_else(|| CatalogError::not_found("checkpoint item", id))
            }
            _ => Err(CatalogError::not_found("checkpoint item", id)),
        }
    }

    /// One item of any project, for workers. Deleted ones are not found.
    pub async fn item_by_id(&self, id: CheckpointItemId) -> Result<CheckpointItem, CatalogError> {
        let mut tx = self.read("reading a checkpoint item").await?;
        read_item(&mut tx, id).await?.ok_or_else(|| CatalogError::not_found("checkpoint item", id))
    }

    /// The items of a project, or of all projects if the filter says so.
    pub async fn items(
        &self,
        project: &ProjectId,
        filter: &ItemFilter,
        page: &Page<ItemSort>,
    ) -> Result<Vec<CheckpointItem>, CatalogError> {
        let mut tx = self.read("listing checkpoint items").await?;
        let rows = ITEMS.page(&mut tx, terms_of(project, filter), page).await?;
        whole_items(&mut tx, &rows).await
    }

    /// How many items of a project, or of all, the filter lets through.
    pub async fn count_items(&self, project: &ProjectId, filter: &ItemFilter) -> Result<u64, CatalogError> {
        let mut tx = self.read("counting checkpoint items").await?;
        ITEMS.count(&mut tx, terms_of(project, filter)).await
    }

    /// Some items by their ids, in no order; those that do not exist are left out.
    pub async fn items_of(&self, ids: &[CheckpointItemId]) -> Result<Vec<CheckpointItem>, CatalogError> {
        let mut tx = self.read("reading checkpoint items").await?;
        let mut items = Vec::with_capacity(ids.len());
        for some in ids.chunks(IDS_A_STATEMENT) {
            let sql = format!(
                concat!("SELECT ", item_columns!(), " FROM checkpoint_items WHERE id IN ({})"),
                places(1, some.len())
            );
            // Safe: made of our own words and places; every value is bound.
            let rows = tx.all(AssertSqlSafe(sql), some.iter().map(Value::from).collect()).await?;
            items.extend(whole_items(&mut tx, &rows).await?);
        }
        Ok(items)
    }

    /// The newest live backup of a server made here: the base of the next one.
    pub async fn newest_available_item(
        &self,
        project: &ProjectId,
        resource: &ResourceId,
    ) -> Result<Option<CheckpointItem>, CatalogError> {
        let mut tx = self.read("looking for the newest backup of a server").await?;
        let rows = tx
            .all(
                concat!(
                    "SELECT ",
                    item_columns!(),
                    " FROM checkpoint_items WHERE project_id = $1 AND resource_id = $2 \
                     AND origin_region IS NULL AND manifest_digest IS NOT NULL \
                     AND state IN ('available', 'waiting_restore', 'restoring') \
                     ORDER BY protected_at DESC, sequence DESC LIMIT 1"
                ),
                values![project, resource],
            )
            .await?;
        Ok(whole_items(&mut tx, &rows).await?.pop())
    }
}

fn terms_of(project: &ProjectId, filter: &ItemFilter) -> Where {
    let mut terms = if filter.of_all_projects { Where::new() } else { Where::of("project_id", project) };
    if !filter.states.contains(&ItemState::Deleted) {
        // In these very words: the indexes of live items are partial.
        terms.term("state <> 'deleted'");
    }
    terms.any_of("state", filter.states.iter().map(|state| state.word()));
    terms.any_of("resource_id", &filter.resource_ids);
    terms.any_of("policy_id", &filter.policy_ids);
    terms.any_of("checkpoint_id", &filter.checkpoint_ids);
    terms.contains_any("name", &filter.name_contains);
    terms.contains_any("resource_name", &filter.resource_name_contains);
    if let Some(moment) = filter.start_time {
        terms.compare("created_at >=", moment);
    }
    if let Some(moment) = filter.end_time {
        terms.compare("created_at <=", moment);
    }
    let wants = |kind| filter.image_types.is_empty() || filter.image_types.contains(&kind);
    match (wants(ImageType::Backup), wants(ImageType::Replication)) {
        (true, false) => terms.term("origin_region IS NULL"),
        (false, true) => terms.term("origin_region IS NOT NULL"),
        _ => {}
    }
    if filter.matches_nothing {
        terms.term("1 = 0");
    }
    terms
}

/// An item of any project, unless it is deleted.
pub(crate) async fn read_item(
    tx: &mut Tx,
    id: CheckpointItemId,
) -> Result<Option<CheckpointItem>, CatalogError> {
    let rows = tx
        .all(
            concat!(
                "SELECT ",
                item_columns!(),
                " FROM checkpoint_items WHERE id = $1 AND state <> 'deleted'"
            ),
            values![id],
        )
        .await?;
    Ok(whole_items(tx, &rows).await?.pop())
}

/// What a transaction that decides about an item needs to know of it.
pub(crate) struct LockedItem {
    pub(crate) state: ItemState,
    pub(crate) checkpoint_id: CheckpointId,
    pub(crate) project_id: ProjectId,
    pub(crate) resource_id: ResourceId,
    pub(crate) operation_id: model::ids::OperationId,
    pub(crate) keep_until: Option<Timestamp>,
    pub(crate) is_replica: bool,
}

/// Keeps everybody else from changing an item until the transaction ends.
pub(crate) async fn lock_item(tx: &mut Tx, id: CheckpointItemId) -> Result<LockedItem, CatalogError> {
    let row = tx
        .first(
            "UPDATE checkpoint_items SET state = state WHERE id = $1 AND state <> 'deleted' \
             RETURNING state, checkpoint_id, project_id, resource_id, operation_id, origin_region, \
             origin_keep_until",
            values![id],
        )
        .await?;
    let row = row.ok_or_else(|| CatalogError::not_found("checkpoint item", id))?;
    Ok(LockedItem {
        state: row.word("state", ItemState::from_word)?,
        checkpoint_id: row.id("checkpoint_id")?,
        project_id: row.id("project_id")?,
        resource_id: row.id("resource_id")?,
        operation_id: row.id("operation_id")?,
        keep_until: row.optional_time("origin_keep_until")?,
        is_replica: row.optional_text("origin_region")?.is_some(),
    })
}

/// Writes the state that the item's own function gave.
pub(crate) async fn store_item_state(
    tx: &mut Tx,
    id: CheckpointItemId,
    state: ItemState,
    now: Timestamp,
) -> Result<(), CatalogError> {
    tx.execute(
        "UPDATE checkpoint_items SET state = $1, updated_at = $2 WHERE id = $3",
        values![state.word(), now, id],
    )
    .await?;
    Ok(())
}

/// Inserts an item with its volumes and tags. Tells whether its id was free.
pub(crate) async fn insert_item(tx: &mut Tx, item: &CheckpointItem) -> Result<bool, CatalogError> {
    let origin = item.origin.as_ref();
    let failure = item.failure.as_ref();
    let inserted = tx
        .execute(
            concat!(
                "INSERT INTO checkpoint_items (",
                item_columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, \
                 $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35) \
                 ON CONFLICT DO NOTHING"
            ),
            values![
                item.id,
                item.checkpoint_id,
                &item.project_id,
                item.policy_id,
                &item.resource_id,
                &item.resource_name,
                &item.name,
                item.description.as_ref().map(|text| text.as_str()),
                item.state.word(),
                item.auto_trigger,
                item.incremental,
                u32::from(item.progress_percent),
                item.progress_bytes,
                item.logical_bytes,
                item.added_bytes,
                item.manifest_digest,
                item.domain,
                item.operation_id,
                item.sequence,
                origin.map(|origin| &origin.region),
                origin.map(|origin| &origin.project_id),
                origin.map(|origin| origin.checkpoint_id),
                origin.map(|origin| origin.checkpoint_item_id),
                origin.map(|origin| origin.replication_record_id),
                origin.map(|origin| origin.arrived_at),
                origin.map(|origin| origin.keep_until),
                origin.map(|origin| origin.generation),
                item.created_at,
                item.updated_at,
                item.protected_at,
                item.finished_at,
                item.expired_at,
                failure.map(|failure| failure.operation.as_str()),
                failure.map(|failure| failure.code.as_str()),
                failure.map(|failure| failure.reason.as_str())
            ],
        )
        .await?;
    if inserted == 1 {
        insert_item_parts(tx, item).await?;
    }
    Ok(inserted == 1)
}

async fn insert_item_parts(tx: &mut Tx, item: &CheckpointItem) -> Result<(), CatalogError> {
    for (position, volume) in item.volumes.iter().enumerate() {
        tx.execute(
            "INSERT INTO volume_backups (id, item_id, position, volume_id, volume_name, size_bytes, \
             bootable) VALUES ($1, $2, $3, $4, $5, $6, $7)",
            values![
                volume.id,
                item.id,
                position,
                &volume.volume_id,
                &volume.volume_name,
                volume.size_bytes,
                volume.bootable
            ],
        )
        .await?;
    }
    insert_tags(tx, &Tagged::Item(item.id), &item.project_id, &item.tags).await
}

/// Items from their rows, with the volumes and tags of all of them in a few statements.
pub(crate) async fn whole_items(tx: &mut Tx, rows: &[Row]) -> Result<Vec<CheckpointItem>, CatalogError> {
    let mut items = rows.iter().map(item_of_row).collect::<Result<Vec<_>, _>>()?;
    for some in items.chunks_mut(IDS_A_STATEMENT) {
        let ids: Vec<Value> = some.iter().map(|item| Value::from(item.id)).collect();
        let mut volumes = volumes_of(tx, &ids).await?;
        let mut tags = tags_of(tx, &ids).await?;
        for item in some {
            item.volumes = volumes.remove(&item.id).unwrap_or_default();
            item.tags = tags.remove(&item.id).unwrap_or_default();
        }
    }
    Ok(items)
}

async fn volumes_of(
    tx: &mut Tx,
    ids: &[Value],
) -> Result<HashMap<CheckpointItemId, Vec<VolumeBackup>>, CatalogError> {
    let sql = format!(
        "SELECT id, item_id, volume_id, volume_name, size_bytes, bootable FROM volume_backups \
         WHERE item_id IN ({}) ORDER BY item_id, position",
        places(1, ids.len())
    );
    let mut volumes: HashMap<CheckpointItemId, Vec<VolumeBackup>> = HashMap::new();
    // Safe: made of our own words and places; every value is bound.
    for row in tx.all(AssertSqlSafe(sql), ids.to_vec()).await? {
        volumes.entry(row.id("item_id")?).or_default().push(VolumeBackup {
            id: row.id("id")?,
            volume_id: row.id("volume_id")?,
            volume_name: row.text("volume_name")?,
            size_bytes: row.count("size_bytes")?,
            bootable: row.flag("bootable")?,
        });
    }
    Ok(volumes)
}

async fn tags_of(tx: &mut Tx, ids: &[Value]) -> Result<HashMap<CheckpointItemId, Vec<Tag>>, CatalogError> {
    let sql = format!(
        "SELECT item_id, tag_key, tag_value FROM item_tags WHERE item_id IN ({}) ORDER BY item_id, position",
        places(1, ids.len())
    );
    let mut tags: HashMap<CheckpointItemId, Vec<Tag>> = HashMap::new();
    // Safe: made of our own words and places; every value is bound.
    for row in tx.all(AssertSqlSafe(sql), ids.to_vec()).await? {
        tags.entry(row.id("item_id")?).or_default().push(tag_of_row(&row)?);
    }
    Ok(tags)
}

fn item_of_row(row: &Row) -> Result<CheckpointItem, CatalogError> {
    let progress_percent: u8 = row.small("progress_percent")?;
    if progress_percent > 100 {
        return Err(row.corrupt("progress_percent"));
    }
    let description = match row.optional_text("description")? {
        None => None,
        Some(_) => Some(description_of(row, "description")?),
    };
    Ok(CheckpointItem {
        id: row.id("id")?,
        checkpoint_id: row.id("checkpoint_id")?,
        project_id: row.id("project_id")?,
        policy_id: row.optional_id("policy_id")?,
        resource_id: row.id("resource_id")?,
        resource_name: row.text("resource_name")?,
        name: row.text("name")?,
        description,
        state: row.word("state", ItemState::from_word)?,
        auto_trigger: row.flag("auto_trigger")?,
        incremental: row.flag("incremental")?,
        progress_percent,
        progress_bytes: row.count("progress_bytes")?,
        logical_bytes: row.count("logical_bytes")?,
        added_bytes: row.count("added_bytes")?,
        manifest_digest: row.optional_bytes("manifest_digest")?,
        domain: row.optional_bytes("domain")?,
        operation_id: row.id("operation_id")?,
        sequence: row.count("sequence")?,
        origin: origin_of_row(row)?,
        created_at: row.time("created_at")?,
        updated_at: row.time("updated_at")?,
        protected_at: row.optional_time("protected_at")?,
        finished_at: row.optional_time("finished_at")?,
        expired_at: row.optional_time("expired_at")?,
        failure: failure_of_row(row)?,
        volumes: Vec::new(),
        tags: Vec::new(),
    })
}

fn origin_of_row(row: &Row) -> Result<Option<Origin>, CatalogError> {
    let Some(region) = row.optional_id("origin_region")? else { return Ok(None) };
    Ok(Some(Origin {
        region,
        project_id: row.id("origin_project_id")?,
        checkpoint_id: row.id("origin_checkpoint_id")?,
        checkpoint_item_id: row.id("origin_item_id")?,
        replication_record_id: row.id("origin_record_id")?,
        arrived_at: row.time("origin_arrived_at")?,
        keep_until: row.time("origin_keep_until")?,
        generation: row.small("origin_generation")?,
    }))
}

fn failure_of_row(row: &Row) -> Result<Option<Failure>, CatalogError> {
    let Some(operation) = row.optional_text("failure_operation")? else { return Ok(None) };
    Ok(Some(Failure { operation, code: row.text("failure_code")?, reason: row.text("failure_reason")? }))
}
