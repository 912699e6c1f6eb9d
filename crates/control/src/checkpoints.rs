//! Checkpoints: ordering a backup of one server or of a whole policy, looking at the items, deleting
//! them. The order ends when rows and jobs are durable; [`crate::backup`] does the work.

use std::collections::HashMap;

use catalog::{RunSharing, Slot};
use model::checkpoint::{Checkpoint, CheckpointItem, ItemState, VolumeBackup};
use model::ids::{
    CheckpointId, CheckpointItemId, OperationId, PolicyId, ProjectId, ResourceId, VolumeBackupId, VolumeId,
};
use model::policy::{Policy, PolicyResource};
use model::replication::ReplicationRecord;
use model::server::Server;
use model::text::{Description, Name, Tag};

use crate::Control;
use crate::access::{Action, Caller};
use crate::changes::{EXTENTS_MAX, ServerChanges};
use crate::error::{Error, Reason};
use crate::page::{ItemFilter, ItemSort, Page, PageOf, found, page_of};

/// An order to back up one server.
#[derive(Clone, Debug)]
pub struct ProtectOrder {
    /// The server.
    pub resource_id: ResourceId,
    /// A name for the backup; one is made if there is none.
    pub name: Option<Name>,
    /// What people say about it.
    pub description: Option<Description>,
    /// Whether an incremental backup will do.
    pub incremental: bool,
    /// Tags.
    pub tags: Vec<Tag>,
    /// Disks to leave out.
    pub excluded_volumes: Vec<VolumeId>,
    /// What a change tracker says; without it everything is read.
    pub changes: Option<ServerChanges>,
}

/// An order to run a policy.
#[derive(Clone, Debug)]
pub struct RunOrder {
    /// The policy.
    pub policy_id: PolicyId,
    /// Whether the caller calls itself automatic; recorded in the answer's `created_by` only.
    pub auto_trigger: bool,
    /// Some of the policy's servers; nothing means all.
    pub resources: Option<Vec<ResourceId>>,
}

/// A run that was begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The run.
    pub checkpoint: Checkpoint,
    /// One item per server.
    pub items: Vec<CheckpointItem>,
}

/// An item with its replication records.
#[derive(Clone, Debug)]
pub struct ItemView {
    /// The item.
    pub item: CheckpointItem,
    /// Its records, oldest first.
    pub records: Vec<ReplicationRecord>,
}

impl Control {
    /// Orders a backup of one server.
    pub async fn protect(&self, caller: &Caller, order: ProtectOrder) -> Result<Begun, Error> {
        let project = caller.may(Action::Order)?;
        let server = found(self.catalog().server(project, &order.resource_id).await)?
            .ok_or_else(|| Error::refused(Reason::ServerNotFound, "server do not exist"))?;
        let checkpoint = Checkpoint {
            id: CheckpointId::from_entropy(self.entropy_bytes()),
            project_id: project.clone(),
            policy_id: None,
            plan_id: format!("fake_{}", self.new_uuid_text()),
            plan_name: format!("server protect plan for {}", server.id),
            auto_trigger: false,
            created_at: self.now(),
        };
        let mut item = self.new_item(&checkpoint, &server, &order.excluded_volumes, order.incremental)?;
        item.name = order.name.map_or(item.name, |name| name.as_str().to_owned());
        item.description = order.description;
        item.tags = order.tags;
        if let Some(changes) = order.changes {
            check_changes(&changes, &item)?;
            // Before the order is durable, so that no worker can miss it.
            self.changes().keep(item.id, changes);
        }
        self.begin(checkpoint, vec![item], RunSharing::Shared).await
    }

    /// Runs a policy now.
    pub async fn run_policy(&self, caller: &Caller, order: RunOrder) -> Result<Begun, Error> {
        let project = caller.may(Action::Order)?;
        let policy = self.policy_of(project, order.policy_id).await?;
        if let Some(stranger) =
            order.resources.iter().flatten().find(|id| policy.resources.iter().all(|r| r.id != **id))
        {
            return Err(Error::invalid("resources", format!("server {stranger} is not in the policy")));
        }
        let chosen = |resource: &&PolicyResource| {
            order.resources.as_ref().is_none_or(|ids| ids.contains(&resource.id))
        };
        let resources: Vec<PolicyResource> = policy.resources.iter().filter(chosen).cloned().collect();
        self.begin_policy_run(&policy, &resources, None).await
    }

    /// The common part of a caller's order and the scheduler's, which has a slot. Servers that are gone are
    /// left out.
    pub(crate) async fn begin_policy_run(
        &self,
        policy: &Policy,
        resources: &[PolicyResource],
        slot: Option<Slot>,
    ) -> Result<Begun, Error> {
        let checkpoint = Checkpoint {
            id: CheckpointId::from_entropy(self.entropy_bytes()),
            project_id: policy.project_id.clone(),
            policy_id: Some(policy.id),
            plan_id: policy.id.to_string(),
            plan_name: policy.name.as_str().to_owned(),
            auto_trigger: slot.is_some(),
            created_at: self.now(),
        };
        let mut items = Vec::with_capacity(resources.len());
        for resource in resources {
            let server = self.catalog().server(&policy.project_id, &resource.id).await;
            let Some(server) = found(server)? else { continue };
            let Ok(mut item) = self.new_item(&checkpoint, &server, &resource.excluded_volumes, true) else {
                continue;
            };
            item.tags = policy.tags.clone();
            items.push(item);
        }
        if items.is_empty() {
            return Err(Error::refused(Reason::PolicyHasNothingToBackUp, "plan has no resource backup"));
        }
        let Some(slot) = slot else { return self.begin(checkpoint, items, RunSharing::Exclusive).await };
        self.refuse_when_blocked().await?;
        self.catalog().begin_scheduled_checkpoint(&checkpoint, &items, &slot).await?;
        self.wakes().backup.notify_one();
        Ok(Begun { checkpoint, items })
    }

    /// The items of the caller's project; of all projects if the filter says so and the caller operates the
    /// region. To anybody else that wish means nothing.
    pub async fn items(
        &self,
        caller: &Caller,
        mut filter: ItemFilter,
        page: &Page<ItemSort>,
    ) -> Result<PageOf<ItemView>, Error> {
        let project = caller.may(Action::Read)?;
        filter.of_all_projects &= caller.must_operate().is_ok();
        let found = page_of(page, async |page| self.catalog().items(project, &filter, &page).await).await?;
        Ok(PageOf { rows: self.with_records(found.rows).await?, has_more: found.has_more })
    }

    /// Items with the records that replicate them.
    pub(crate) async fn with_records(&self, items: Vec<CheckpointItem>) -> Result<Vec<ItemView>, Error> {
        let ids: Vec<CheckpointItemId> = items.iter().map(|item| item.id).collect();
        let mut records: HashMap<CheckpointItemId, Vec<ReplicationRecord>> = HashMap::new();
        for record in self.catalog().records_of_items(&ids).await? {
            records.entry(record.item_id).or_default().push(record);
        }
        let view =
            |item: CheckpointItem| ItemView { records: records.remove(&item.id).unwrap_or_default(), item };
        Ok(items.into_iter().map(view).collect())
    }

    /// One item. The id of a checkpoint with one item stands for that item, as real clients use it.
    pub async fn item(&self, caller: &Caller, id: CheckpointItemId) -> Result<ItemView, Error> {
        let project = caller.may(Action::Read)?;
        let item = self.item_of(project, id).await?;
        let records = self.catalog().records_of_items(&[item.id]).await?;
        Ok(ItemView { item, records })
    }

    /// How many items match.
    pub async fn count_items(&self, caller: &Caller, mut filter: ItemFilter) -> Result<u64, Error> {
        let project = caller.may(Action::Read)?;
        filter.of_all_projects &= caller.must_operate().is_ok();
        Ok(self.catalog().count_items(project, &filter).await?)
    }

    /// Orders the deletion of a checkpoint, or of some of its items.
    pub async fn delete_items(
        &self,
        caller: &Caller,
        checkpoint_id: CheckpointId,
        items: Option<&[CheckpointItemId]>,
    ) -> Result<(), Error> {
        let project = caller.may(Action::Order)?;
        self.catalog().order_delete(project, checkpoint_id, items, self.now()).await?;
        self.wakes().deleter.notify_one();
        Ok(())
    }

    pub(crate) async fn item_of(
        &self,
        project: &ProjectId,
        id: CheckpointItemId,
    ) -> Result<CheckpointItem, Error> {
        let missing = || {
            let reason = Reason::ItemNotFound { item: id.to_string() };
            Error::not_found(reason, format!("Checkpoint_item ({id}) is not found."))
        };
        found(self.catalog().item(project, id).await)?.ok_or_else(missing)
    }

    async fn begin(
        &self,
        checkpoint: Checkpoint,
        items: Vec<CheckpointItem>,
        sharing: RunSharing,
    ) -> Result<Begun, Error> {
        self.refuse_when_blocked().await?;
        self.catalog().begin_checkpoint(&checkpoint, &items, sharing).await?;
        self.wakes().backup.notify_one();
        Ok(Begun { checkpoint, items })
    }

    fn new_item(
        &self,
        checkpoint: &Checkpoint,
        server: &Server,
        excluded: &[VolumeId],
        incremental: bool,
    ) -> Result<CheckpointItem, Error> {
        let volumes: Vec<VolumeBackup> = server
            .volumes
            .iter()
            .filter(|volume| !excluded.contains(&volume.id))
            .map(|volume| VolumeBackup {
                id: VolumeBackupId::from_entropy(self.entropy_bytes()),
                volume_id: volume.id.clone(),
                volume_name: volume.name.clone(),
                size_bytes: volume.size_bytes,
                bootable: volume.bootable,
            })
            .collect();
        if volumes.is_empty() {
            let reason = Reason::NoVolumes { server: server.id.to_string() };
            let message = format!("No volume attached to the server ({}) for protect.", server.id);
            return Err(Error::refused(reason, message));
        }
        let prefix = if checkpoint.auto_trigger { "autobk" } else { "manualbk" };
        let suffix = vault::ids::to_hex(&self.entropy_bytes::<2>());
        Ok(CheckpointItem {
            id: CheckpointItemId::from_entropy(self.entropy_bytes()),
            checkpoint_id: checkpoint.id,
            project_id: checkpoint.project_id.clone(),
            policy_id: checkpoint.policy_id,
            resource_id: server.id.clone(),
            resource_name: server.name.clone(),
            name: format!("{prefix}_{suffix}"),
            description: None,
            state: ItemState::Protecting,
            auto_trigger: checkpoint.auto_trigger,
            incremental,
            progress_percent: 0,
            progress_bytes: 0,
            logical_bytes: volumes.iter().map(|volume| volume.size_bytes).sum(),
            added_bytes: 0,
            manifest_digest: None,
            domain: None,
            operation_id: OperationId::from_entropy(self.entropy_bytes()),
            sequence: 0,
            origin: None,
            created_at: checkpoint.created_at,
            updated_at: checkpoint.created_at,
            protected_at: None,
            finished_at: None,
            expired_at: None,
            failure: None,
            volumes,
            tags: Vec::new(),
        })
    }
}

/// Refuses lists that name what the item has not. Disks may have another size by the time they are read;
/// the vault looks at that.
fn check_changes(changes: &ServerChanges, item: &CheckpointItem) -> Result<(), Error> {
    let extent_count: usize = changes.volumes.iter().map(|volume| volume.extents.len()).sum();
    if extent_count > EXTENTS_MAX {
        return Err(Error::invalid("changes", format!("has more than {EXTENTS_MAX} extents")));
    }
    for (position, changed) in changes.volumes.iter().enumerate() {
        let id = &changed.volume_id;
        let Some(volume) = item.volumes.iter().find(|volume| volume.volume_id == *id) else {
            return Err(Error::invalid("changes", format!("names volume {id}, which is not backed up")));
        };
        if changes.volumes[..position].iter().any(|other| other.volume_id == *id) {
            return Err(Error::invalid("changes", format!("names volume {id} twice")));
        }
        let is_outside = |(offset, length): &(u64, u64)| {
            *length == 0 || offset.checked_add(*length).is_none_or(|end| end > volume.size_bytes)
        };
        if changed.extents.iter().any(is_outside) {
            return Err(Error::invalid("changes", format!("names an extent that is not on volume {id}")));
        }
    }
    Ok(())
}
