//! Restores, the story: may they, does every disk of the item have a volume that is large enough,
//! write it down, wake. A restore takes all disks of an item or none; [`worker`] does the writing.

mod worker;

use catalog::{CatalogError, Conflict};
use model::checkpoint::{CheckpointItem, ItemState, VolumeBackup};
use model::ids::{CheckpointId, CheckpointItemId, ProjectId, ResourceId, RestoreId, VolumeBackupId};
use model::restore::{Restore, RestoreState, RestoreVolume};
use model::server::{Server, Volume};

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::lost_keys::LostKey;
use crate::page::{Page, PageOf, RestoreSort, found, found_or, page_of};

/// An order to restore one item.
#[derive(Clone, Debug)]
pub struct RestoreOrder {
    /// The item's checkpoint.
    pub checkpoint_id: CheckpointId,
    /// The item.
    pub item_id: CheckpointItemId,
    /// The server that receives the data.
    pub target_server_id: ResourceId,
    /// Which disk goes where.
    pub volumes: Vec<RestoreVolume>,
    /// Whether to start the server afterwards.
    pub power_on: bool,
    /// `restore_target` as given.
    pub restore_target: Option<String>,
}

impl Control {
    /// Orders a restore.
    pub async fn restore(&self, caller: &Caller, order: RestoreOrder) -> Result<Restore, Error> {
        let project = caller.may(Action::Restore)?;
        let item = self.item_of(project, order.item_id).await?;
        if item.checkpoint_id != order.checkpoint_id {
            let (checkpoint, item) = (order.checkpoint_id.to_string(), order.item_id);
            let message = format!("checkpoint {checkpoint} has no item {item}");
            return Err(Error::not_found(Reason::ItemNotFound { item: checkpoint }, message));
        }
        let (server, volumes) =
            self.require_restorable(project, &item, &order.target_server_id, order.volumes).await?;
        let restore = Restore {
            id: RestoreId::from_entropy(self.entropy_bytes()),
            project_id: project.clone(),
            checkpoint_id: item.checkpoint_id,
            item_id: item.id,
            target_server_id: server.id,
            volumes,
            power_on: order.power_on,
            restore_target: order.restore_target,
            state: RestoreState::InProgress,
            reason: String::new(),
            total_bytes: item.volumes.iter().map(|volume| volume.size_bytes).sum(),
            done_bytes: 0,
            created_at: self.now(),
            updated_at: self.now(),
        };
        self.catalog().order_restore(&restore).await.map_err(not_available)?;
        self.wakes().restorer.notify_one();
        Ok(restore)
    }

    /// Whether an item can be restored so now: the server that receives it, and which disk goes where.
    pub(crate) async fn require_restorable(
        &self,
        project: &ProjectId,
        item: &CheckpointItem,
        server: &ResourceId,
        volumes: Vec<RestoreVolume>,
    ) -> Result<(Server, Vec<RestoreVolume>), Error> {
        if item.origin.is_none() && self.troubles().lacks(LostKey::Kek) {
            return Err(self.troubles().refusal());
        }
        if item.state != ItemState::Available {
            let message = format!("checkpoint item {} is {}", item.id, item.state.word());
            return Err(Error::refused(Reason::ItemNotAvailable, message));
        }
        let server = found(self.catalog().server(project, server).await)?
            .ok_or_else(|| Error::refused(Reason::ServerNotFound, "server do not exist").at("server_id"))?;
        let volumes: Vec<_> = volumes.into_iter().map(|volume| disk_of_item(item, volume)).collect();
        check_mapping(item, &server, &volumes)?;
        Ok((server, volumes))
    }

    /// One restore of the caller's project.
    pub async fn restore_by_id(&self, caller: &Caller, id: RestoreId) -> Result<Restore, Error> {
        let project = caller.may(Action::Read)?;
        let restore = self.catalog().restore(project, id).await;
        found_or(restore, Reason::RestoreNotFound, &format!("restore ({id}) is not found"))
    }

    /// The restores of the caller's project.
    pub async fn restores(
        &self,
        caller: &Caller,
        page: &Page<RestoreSort>,
    ) -> Result<PageOf<Restore>, Error> {
        let project = caller.may(Action::Read)?;
        page_of(page, async |page| self.catalog().restores(project, &page).await).await
    }
}

/// Clients give an item's id where the id of its disk belongs: it stands for the disk, if there is one only.
fn disk_of_item(item: &CheckpointItem, mapped: RestoreVolume) -> RestoreVolume {
    match item.volumes.as_slice() {
        [only] if mapped.backup_id.bytes() == item.id.bytes() => {
            RestoreVolume { backup_id: only.id, ..mapped }
        }
        _ => mapped,
    }
}

/// To whoever orders a restore, an item that stopped being available a moment ago is not available.
fn not_available(error: CatalogError) -> Error {
    match error {
        CatalogError::Conflict(conflict @ Conflict::ItemBusy { .. }) => {
            Error::refused(Reason::ItemNotAvailable, conflict.to_string())
        }
        other => other.into(),
    }
}

/// All disks of the item, each onto a disk of the target that is large enough, no disk twice.
fn check_mapping(item: &CheckpointItem, server: &Server, mapping: &[RestoreVolume]) -> Result<(), Error> {
    let backup_of = |id: VolumeBackupId| item.volumes.iter().find(|volume| volume.id == id);
    let unknown: Vec<String> = mapping
        .iter()
        .filter(|m| backup_of(m.backup_id).is_none())
        .map(|m| m.backup_id.to_string())
        .collect();
    if !unknown.is_empty() {
        let (backups, item) = (unknown.join(", "), item.id.to_string());
        let message = format!("Can not find backup(s) ({backups}) in checkpoint item ({item}).");
        return Err(Error::refused(Reason::BackupNotInItem { backups, item }, message).at("volumes"));
    }
    let left_out: Vec<String> = item
        .volumes
        .iter()
        .filter(|volume| mapping.iter().all(|m| m.backup_id != volume.id))
        .map(|volume| volume.id.to_string())
        .collect();
    if !left_out.is_empty() {
        let backups = left_out.join(", ");
        let message =
            format!("Not assign backup(s) ({backups}) to volume(s), partial restore is not supported.");
        return Err(Error::refused(Reason::PartialRestore { backups }, message).at("volumes"));
    }
    for (position, pair) in mapping.iter().enumerate() {
        let is_twice = mapping[..position]
            .iter()
            .any(|m| m.volume_id == pair.volume_id || m.backup_id == pair.backup_id);
        if is_twice {
            return Err(Error::invalid("volumes", "names one volume or backup twice"));
        }
        let volume = server.volumes.iter().find(|volume| volume.id == pair.volume_id).ok_or_else(|| {
            let volumes = pair.volume_id.to_string();
            let message = format!("Volume(s) ({volumes}) not found in target server.");
            Error::refused(Reason::TargetVolumeNotFound { volumes }, message).at("volumes")
        })?;
        check_pair(backup_of(pair.backup_id).expect("unknown ones were refused above"), volume, server)?;
    }
    Ok(())
}

fn check_pair(backup: &VolumeBackup, volume: &Volume, server: &Server) -> Result<(), Error> {
    if volume.bootable && !backup.bootable {
        let server = server.id.to_string();
        let message = format!("Can not restore data volume to system volume. server id is ({server}).");
        return Err(Error::refused(Reason::DataOntoSystemVolume { server }, message).at("volumes"));
    }
    if volume.size_bytes < backup.size_bytes {
        let reason = Reason::TargetTooSmall {
            volume: volume.id.to_string(),
            volume_bytes: volume.size_bytes,
            backup: backup.id.to_string(),
            backup_bytes: backup.size_bytes,
        };
        let message = format!(
            "Target volume ({}) size ({}) small than volume backup ({}) size ({}).",
            volume.id, volume.size_bytes, backup.id, backup.size_bytes
        );
        return Err(Error::refused(reason, message).at("volumes"));
    }
    Ok(())
}
