//! The rows of items that a store still holds: what the manifest says, what the document in its
//! description or arrival adds, and, where neither says anything, the plainest value that is true.

use std::collections::BTreeMap;

use catalog::{NewVault, RebuiltItem, RebuiltReplica, Replica, ReplicaState};
use model::checkpoint::{Checkpoint, CheckpointItem, Failure, ItemState, Origin, VolumeBackup};
use model::grant::{Level, Mode};
use model::ids::{
    CheckpointId, CheckpointItemId, GrantId, OperationId, PolicyId, ProjectId, RegionName, VolumeBackupId,
};
use model::text::Description;
use model::time::Timestamp;
use vault::error::VaultError;
use vault::ids::RegionId;
use vault::presence::Absent;
use vault::receipt::Receipt;
use vault::state::{ArrivalRecord, SubjectKind};

use super::Found;
use super::held::HeldItem;
use super::recorded::Recorded;
use crate::Control;
use crate::peers::{replica_checkpoint_id, replica_id};
use crate::state::json::{BadDocument, Json};
use crate::state::reading::moment;

/// The names of the peers that the store tells of.
type Names = BTreeMap<RegionId, RegionName>;

impl Control {
    /// The rows of one item; none, when what the store says of it contradicts itself.
    pub(super) fn item_rows(
        &self,
        vault: &NewVault,
        held: &HeldItem,
        absent: &Absent,
        found: &Found,
    ) -> Result<Option<RebuiltItem>, VaultError> {
        let failure = failure_of(absent);
        match &held.arrival {
            None => Ok(Some(self.own_rows(vault, held, failure, &found.recorded))),
            Some(arrival) => self.replica_item_rows(vault, held, arrival, failure, &found.names),
        }
    }

    fn own_rows(
        &self,
        vault: &NewVault,
        held: &HeldItem,
        failure: Option<Failure>,
        recorded: &Recorded,
    ) -> RebuiltItem {
        let contents = &held.contents;
        let document = Json::parse(&contents.document).unwrap_or(Json::Null);
        let made_by: Option<PolicyId> = contents.policy_id.as_ref().and_then(|id| id.parse().ok());
        let policy_id = made_by.map(|policy| recorded.keeper_of(policy));
        let checkpoint_id = CheckpointId::from_bytes(contents.checkpoint.0);
        let text = |name: &str| document.optional_text(name).ok().flatten().map(str::to_owned);
        let plan_id = match policy_id {
            Some(policy) => policy.to_string(),
            None => text("plan_id").unwrap_or_else(|| format!("fake_{checkpoint_id}")),
        };
        let checkpoint = Checkpoint {
            id: checkpoint_id,
            project_id: vault.project_id.clone(),
            policy_id,
            plan_name: text("plan_name").unwrap_or_else(|| plan_id.clone()),
            plan_id,
            auto_trigger: document.truth("auto_trigger").unwrap_or(false),
            created_at: moment(&document, "created_at").unwrap_or(contents.protected_at),
        };
        let mut item = self.bare_item(vault, held, failure, &document);
        item.id = CheckpointItemId::from_bytes(contents.item.0);
        item.checkpoint_id = checkpoint_id;
        item.policy_id = policy_id;
        item.name = contents.checkpoint_name.clone();
        item.auto_trigger = checkpoint.auto_trigger;
        item.created_at = checkpoint.created_at;
        item.incremental = !held.fields.previous.is_zero();
        item.updated_at = contents.read_until;
        item.finished_at = Some(contents.read_until);
        RebuiltItem { checkpoint, item, quarantine: held.quarantine, replica: None }
    }

    fn replica_item_rows(
        &self,
        vault: &NewVault,
        held: &HeldItem,
        arrival: &ArrivalRecord,
        failure: Option<Failure>,
        names: &Names,
    ) -> Result<Option<RebuiltItem>, VaultError> {
        let Some(region) = names.get(&arrival.source_region) else { return Ok(None) };
        let contents = &held.contents;
        let source_item = CheckpointItemId::from_bytes(contents.item.0);
        let source_checkpoint = CheckpointId::from_bytes(contents.checkpoint.0);
        let id = CheckpointItemId::from_bytes(arrival.replica.0);
        let Ok(source_project) = arrival.source_project.parse::<ProjectId>() else { return Ok(None) };
        if replica_id(arrival.source_region, source_item, &vault.project_id, arrival.generation) != id {
            return Ok(None);
        }
        let document = Json::parse(&arrival.document).unwrap_or(Json::Null);
        let checkpoint_id =
            replica_checkpoint_id(arrival.source_region, source_checkpoint, &vault.project_id);
        let arrived_at = Timestamp::from_millis(arrival.arrived_ms);
        let auto_trigger = document.truth("auto_trigger").unwrap_or(false);
        let checkpoint = Checkpoint {
            id: checkpoint_id,
            project_id: vault.project_id.clone(),
            policy_id: None,
            plan_id: format!("fake_{checkpoint_id}"),
            plan_name: format!("replicas from {region}"),
            auto_trigger,
            created_at: arrived_at,
        };
        let mut item = self.bare_item(vault, held, failure, &document);
        item.id = id;
        item.checkpoint_id = checkpoint_id;
        let name = document.optional_text("name").ok().flatten().map(str::to_owned);
        item.name = name.unwrap_or_else(|| format!("rep_from_{source_item}"));
        item.auto_trigger = auto_trigger;
        item.created_at = arrived_at;
        item.updated_at = arrived_at;
        item.finished_at = Some(arrived_at);
        item.added_bytes = document.number("added_bytes").unwrap_or(0);
        item.progress_bytes = item.added_bytes;
        item.origin = Some(Origin {
            region: region.clone(),
            project_id: source_project,
            checkpoint_id: source_checkpoint,
            checkpoint_item_id: source_item,
            replication_record_id: document
                .id("record_id")
                .unwrap_or(model::ids::ReplicationRecordId::from_bytes([0; 16])),
            arrived_at,
            keep_until: Timestamp::from_millis(arrival.keep_until_ms),
            generation: arrival.generation,
        });
        // Without its row no head lists the replica: its source learns that it is lost and sends the rest.
        let replica = match item.state {
            ItemState::Available => {
                let sizes = (held.fields.object_count, held.fields.stored_bytes);
                let row = self.replica_row(vault, arrival, region, source_item, sizes)?;
                Some(RebuiltReplica {
                    row,
                    resource_tag: held.fields.resource_tag.0,
                    source_incarnation: held.fields.incarnation.0,
                })
            }
            _ => None,
        };
        Ok(Some(RebuiltItem { checkpoint, item, quarantine: held.quarantine, replica }))
    }

    /// What is alike in backups and replicas.
    fn bare_item(
        &self,
        vault: &NewVault,
        held: &HeldItem,
        failure: Option<Failure>,
        document: &Json,
    ) -> CheckpointItem {
        let contents = &held.contents;
        let description = document.optional_text("description").ok().flatten();
        CheckpointItem {
            id: CheckpointItemId::from_bytes([0; 16]),
            checkpoint_id: CheckpointId::from_bytes([0; 16]),
            project_id: vault.project_id.clone(),
            policy_id: None,
            resource_id: contents.resource_id.clone(),
            resource_name: contents.resource_name.clone(),
            name: String::new(),
            description: description.and_then(|text| Description::new(text).ok()),
            state: match (&held.quarantine, &failure) {
                (Some(_), _) => ItemState::Deleted,
                (None, Some(_)) => ItemState::Error,
                (None, None) => ItemState::Available,
            },
            auto_trigger: false,
            incremental: false,
            progress_percent: 100,
            progress_bytes: contents.logical_bytes,
            logical_bytes: contents.logical_bytes,
            added_bytes: 0,
            manifest_digest: Some(held.digest.0),
            domain: Some(vault.domain),
            operation_id: OperationId::from_entropy(self.entropy_bytes()),
            sequence: held.fields.sequence,
            origin: None,
            created_at: contents.protected_at,
            updated_at: contents.protected_at,
            protected_at: Some(contents.protected_at),
            finished_at: None,
            expired_at: None,
            failure,
            volumes: contents.volumes.iter().map(|volume| self.volume_row(volume, document)).collect(),
            tags: contents.tags.clone(),
        }
    }

    /// A volume with the id that clients know it by.
    fn volume_row(&self, volume: &VolumeBackup, document: &Json) -> VolumeBackup {
        let listed = document.list("volumes").unwrap_or_default();
        let known = listed.iter().find(|json| json.text("volume_id") == Ok(volume.volume_id.as_str()));
        let read = |json: &Json| -> Result<VolumeBackup, BadDocument> {
            Ok(VolumeBackup {
                id: json.id("id")?,
                volume_id: volume.volume_id.clone(),
                volume_name: json.text("volume_name")?.to_owned(),
                size_bytes: volume.size_bytes,
                bootable: json.truth("bootable")?,
            })
        };
        known.and_then(|json| read(json).ok()).unwrap_or_else(|| VolumeBackup {
            id: VolumeBackupId::from_entropy(self.entropy_bytes()),
            ..volume.clone()
        })
    }

    /// The tombstone of a replica that was deleted or expired here.
    pub(super) fn tombstone_row(
        &self,
        vault: &NewVault,
        arrival: &ArrivalRecord,
        recorded: &Recorded,
        names: &Names,
    ) -> Result<Replica, String> {
        let region =
            names.get(&arrival.source_region).ok_or("its source region is not known here any more")?;
        let id = CheckpointItemId::from_bytes(arrival.replica.0);
        let deletion = recorded.deletion(&(SubjectKind::Replica, id.to_string()));
        let deletion = deletion.ok_or("it was taken back")?;
        let read = || -> Result<(CheckpointItemId, u64, u64), BadDocument> {
            let document = Json::parse(&arrival.document)?;
            let (objects, bytes) = (document.number("object_count")?, document.number("stored_bytes")?);
            Ok((document.id("item_id")?, objects, bytes))
        };
        let (source_item, object_count, stored_bytes) = read().map_err(|error| error.to_string())?;
        let row = self.replica_row(vault, arrival, region, source_item, (object_count, stored_bytes));
        let state = if deletion.is_expiry { ReplicaState::Expired } else { ReplicaState::Deleted };
        Ok(Replica {
            state,
            ended_at: Some(Timestamp::from_millis(deletion.deleted_ms)),
            ..row.map_err(|error| error.to_string())?
        })
    }

    /// A replica's row with a receipt of this life. Its level begins again at `stored`.
    fn replica_row(
        &self,
        vault: &NewVault,
        arrival: &ArrivalRecord,
        region: &RegionName,
        source_item: CheckpointItemId,
        (object_count, stored_bytes): (u64, u64),
    ) -> Result<Replica, VaultError> {
        let receipt = Receipt {
            source_region: arrival.source_region,
            destination_region: self.identity().region(),
            incarnation: self.parts().incarnation,
            signing_key: self.identity().signing_key_id(),
            grant: arrival.grant,
            destination_project: arrival.destination_project.clone(),
            replica: arrival.replica,
            generation: arrival.generation,
            manifest: arrival.manifest,
            domain: arrival.domain,
            mode: arrival.mode,
            level: vault::receipt::Level::Stored,
            key_checks: Vec::new(),
            object_count,
            stored_bytes,
            keep_until_ms: arrival.keep_until_ms,
            published_ms: arrival.arrived_ms,
            // Below the first head of this life, which lists every replica that came back.
            head_counter: 0,
        };
        Ok(Replica {
            item_id: CheckpointItemId::from_bytes(arrival.replica.0),
            source_region: region.clone(),
            source_item_id: source_item,
            destination_project_id: vault.project_id.clone(),
            generation: arrival.generation,
            manifest_digest: arrival.manifest.0,
            vault_id: vault.id,
            grant_id: GrantId::from_bytes(arrival.grant.0),
            mode: match arrival.mode {
                vault::receipt::Mode::Restorable => Mode::Restorable,
                vault::receipt::Mode::Sealed => Mode::Sealed,
            },
            level: Level::Stored,
            state: ReplicaState::Live,
            stored_bytes,
            keep_until: Timestamp::from_millis(arrival.keep_until_ms),
            receipt: receipt.sign(self.identity())?,
            published_at: Timestamp::from_millis(arrival.arrived_ms),
            ended_at: None,
        })
    }
}

/// Status is evidence: an item of which the store lacks something is not available.
fn failure_of(absent: &Absent) -> Option<Failure> {
    let first = absent.first?;
    let reason = format!(
        "the store lacks at least {} of its objects, the first is {first}; bring the missing packs back, or \
         heal the vault from another one, and verify it",
        absent.object_count
    );
    Some(Failure { operation: "rebuild".to_owned(), code: "CSBS.9999".to_owned(), reason })
}
