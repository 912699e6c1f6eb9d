//! A checkpoint item as JSON (`csbs-v1-api.md` §3.1–3.4).

use std::collections::BTreeMap;

use model::checkpoint::{CheckpointItem, Failure, ItemState, Origin, VolumeBackup};
use model::ids::RegionName;
use model::policy::RESOURCE_TYPE;
use model::replication::{RecordState, ReplicationRecord};
use model::time::SECOND_MICROS;
use serde::Serialize;
use utoipa::ToSchema;

use super::TagBody;
use super::records::{RecordBody, RecordExtraInfo};
use crate::http::openapi::schema::{
    DescriptionText, ForeignId, Id, ImageTypeWord, ItemStatus, Moment, MomentOrEmpty, RegionText,
    ResourceType,
};

/// One item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ItemBody<'a> {
    #[schema(value_type = Id)]
    id: String,
    /// The run that made it.
    #[schema(value_type = Id)]
    checkpoint_id: String,
    /// As it was given; else `manualbk_` or `autobk_` and four hex digits.
    name: &'a str,
    /// Empty when none was given.
    #[schema(value_type = DescriptionText)]
    description: &'a str,
    #[schema(value_type = ItemStatus)]
    status: &'static str,
    /// The server.
    #[schema(value_type = ForeignId)]
    resource_id: &'a str,
    #[schema(value_type = ResourceType)]
    resource_type: &'static str,
    #[schema(value_type = Moment)]
    created_at: String,
    #[schema(value_type = Moment)]
    updated_at: String,
    /// The moment that its data are of; null until it is known.
    #[schema(value_type = Option<Moment>)]
    protected_at: Option<String>,
    /// When retention will drop it, if that is known.
    #[schema(value_type = Option<Moment>)]
    expired_at: Option<String>,
    tags: Vec<TagBody<'a>>,
    backup_data: BackupData,
    extend_info: ExtendInfo<'a>,
    /// Where it was replicated to; of a replica, the one that brought it.
    replication_records: Vec<RecordBody>,
}

/// What the origin knows about the server's flavour. We know none of it, but its decoders want the
/// keys and the types.
#[derive(Debug, Serialize, ToSchema)]
struct BackupData {
    /// Always empty.
    #[serde(rename = "__openstack_region_name")]
    region_name: &'static str,
    /// Always `QEMU`.
    cloudservicetype: &'static str,
    /// Always 0.
    disk: u32,
    /// Always empty.
    imagetype: &'static str,
    /// Always 0.
    ram: u32,
    /// Always 0.
    vcpus: u32,
    /// Always empty.
    eip: &'static str,
    /// Always empty.
    private_ip: &'static str,
}

const BACKUP_DATA: BackupData = BackupData {
    region_name: "",
    cloudservicetype: "QEMU",
    disk: 0,
    imagetype: "",
    ram: 0,
    vcpus: 0,
    eip: "",
    private_ip: "",
};

/// Everything else about an item. Sizes are MiB, speeds kB/s, ratios percent: whole numbers all.
#[derive(Debug, Serialize, ToSchema)]
struct ExtendInfo<'a> {
    /// Made by the schedule.
    auto_trigger: bool,
    /// Read and stored only what changed since the one before.
    incremental: bool,
    /// In percent.
    #[schema(maximum = 100)]
    progress: u8,
    /// In MiB.
    size: u64,
    /// In kB/s, over the whole run.
    average_speed: u64,
    /// Percent of the bytes that did not have to be stored.
    #[schema(maximum = 100)]
    space_saving_ratio: u64,
    #[schema(value_type = ImageTypeWord)]
    image_type: &'static str,
    /// One word for all destinations.
    #[schema(pattern = "^(na|waiting_copy|copying|success|fail)$")]
    copy_status: &'static str,
    /// Of a replica, the region it came from.
    #[schema(value_type = Option<RegionText>)]
    copy_from: Option<&'a str>,
    fail_code: FailCode<'a>,
    /// What failed, empty when all is well.
    fail_op: &'a str,
    /// Why, with the code; empty when all is well.
    fail_reason: String,
    /// Always empty: there are no zones.
    resource_az: &'static str,
    /// The server's name.
    resource_name: &'a str,
    #[schema(value_type = ResourceType)]
    resource_type: &'static str,
    #[schema(value_type = MomentOrEmpty)]
    finished_at: String,
    /// The operation that made it.
    #[schema(value_type = Id)]
    taskid: String,
    /// Always `QEMU`.
    hypervisor_type: &'static str,
    /// `backup` when it can be restored onto disks, else `na`.
    #[schema(pattern = "^(backup|na)$")]
    supported_restore_mode: &'static str,
    /// Always false.
    support_lld: bool,
    /// Always empty.
    #[schema(value_type = Vec<Object>)]
    os_images_data: [(); 0],
    /// One for each disk.
    volume_backups: Vec<VolumeBackupBody<'a>>,
}

/// `{}` when all is well. `Code` is a text of digits, the one form that every decoder takes.
#[derive(Debug, Serialize, ToSchema)]
struct FailCode<'a> {
    /// Digits of the code.
    #[serde(rename = "Code", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    code: Option<&'a str>,
    /// What went wrong.
    #[serde(rename = "Description", skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<&'a str>,
}

/// One disk of an item.
#[derive(Debug, Serialize, ToSchema)]
struct VolumeBackupBody<'a> {
    /// What a restore names as `backup_id`.
    #[schema(value_type = Id)]
    id: String,
    /// The backup's name and that of the disk.
    name: String,
    #[schema(value_type = ItemStatus)]
    status: &'static str,
    /// Whether the server starts from it.
    bootable: bool,
    /// As of the whole backup.
    incremental: bool,
    #[schema(value_type = ImageTypeWord)]
    image_type: &'static str,
    /// In MiB.
    size: u64,
    /// The disk.
    #[schema(value_type = ForeignId)]
    source_volume_id: &'a str,
    /// In GiB, rounded up.
    source_volume_size: u64,
    /// The name of the disk.
    source_volume_name: &'a str,
    /// Always empty.
    snapshot_id: &'static str,
    /// In kB/s.
    average_speed: u64,
    /// In percent.
    #[schema(maximum = 100)]
    space_saving_ratio: u64,
}

impl<'a> ItemBody<'a> {
    /// An item of the region `here` with the records that replicate it, in any order.
    pub(crate) fn new(item: &'a CheckpointItem, records: &[ReplicationRecord], here: &RegionName) -> Self {
        ItemBody {
            id: item.id.to_string(),
            checkpoint_id: item.checkpoint_id.to_string(),
            name: &item.name,
            description: item.description.as_ref().map_or("", |description| description.as_str()),
            status: item.state.word(),
            resource_id: item.resource_id.as_str(),
            resource_type: RESOURCE_TYPE,
            created_at: item.created_at.wire(),
            updated_at: item.updated_at.wire(),
            protected_at: item.protected_at.map(|moment| moment.wire()),
            expired_at: item.expired_at.map(|moment| moment.wire()),
            tags: TagBody::list(&item.tags),
            backup_data: BACKUP_DATA,
            extend_info: ExtendInfo::new(item, records),
            replication_records: match &item.origin {
                Some(origin) => vec![arrival_record(item, origin, here)],
                None => records.iter().map(|record| RecordBody::new(record, here)).collect(),
            },
        }
    }
}

impl<'a> ExtendInfo<'a> {
    fn new(item: &'a CheckpointItem, records: &[ReplicationRecord]) -> ExtendInfo<'a> {
        ExtendInfo {
            auto_trigger: item.auto_trigger,
            incremental: item.incremental,
            progress: if item.finished_at.is_some() { 100 } else { item.progress_percent },
            size: item.volumes.iter().map(|volume| mebibytes(volume.size_bytes)).sum(),
            average_speed: average_speed(item),
            space_saving_ratio: space_saving_ratio(item),
            image_type: image_type(item),
            copy_status: copy_status(records),
            copy_from: item.origin.as_ref().map(|origin| origin.region.as_str()),
            fail_code: FailCode::new(item.failure.as_ref()),
            fail_op: item.failure.as_ref().map_or("", |failure| &failure.operation),
            fail_reason: item.failure.as_ref().map_or_else(String::new, fail_reason),
            resource_az: "",
            resource_name: &item.resource_name,
            resource_type: RESOURCE_TYPE,
            finished_at: item.finished_at.map_or_else(String::new, |moment| moment.wire()),
            taskid: item.operation_id.to_string(),
            hypervisor_type: "QEMU",
            supported_restore_mode: restore_mode(item.state),
            support_lld: false,
            os_images_data: [],
            volume_backups: item.volumes.iter().map(|volume| VolumeBackupBody::new(volume, item)).collect(),
        }
    }
}

impl<'a> FailCode<'a> {
    fn new(failure: Option<&'a Failure>) -> FailCode<'a> {
        let digits = |failure: &'a Failure| failure.code.rsplit('.').next().unwrap_or_default();
        FailCode { code: failure.map(digits), description: failure.map(|failure| failure.reason.as_str()) }
    }
}

impl<'a> VolumeBackupBody<'a> {
    fn new(volume: &'a VolumeBackup, item: &CheckpointItem) -> VolumeBackupBody<'a> {
        VolumeBackupBody {
            id: volume.id.to_string(),
            name: format!("{}_{}", item.name, volume.volume_name),
            status: item.state.word(),
            bootable: volume.bootable,
            incremental: item.incremental,
            image_type: image_type(item),
            size: mebibytes(volume.size_bytes),
            source_volume_id: volume.volume_id.as_str(),
            source_volume_size: volume.size_bytes.div_ceil(1 << 30),
            source_volume_name: &volume.volume_name,
            snapshot_id: "",
            average_speed: average_speed(item),
            space_saving_ratio: space_saving_ratio(item),
        }
    }
}

/// A replica shows the record that brought it, as its source shows it.
fn arrival_record(item: &CheckpointItem, origin: &Origin, here: &RegionName) -> RecordBody {
    let is_here = item.finished_at.is_some() && item.state != ItemState::Error;
    RecordBody {
        id: origin.replication_record_id.to_string(),
        status: if is_here { "success" } else { "replicating" },
        plan_id: None,
        created_at: origin.arrived_at.wire(),
        source_region: origin.region.to_string(),
        source_project_id: origin.project_id.to_string(),
        source_checkpoint_id: origin.checkpoint_id.to_string(),
        source_checkpoint_item_id: origin.checkpoint_item_id.to_string(),
        destination_region: here.to_string(),
        destination_project_id: item.project_id.to_string(),
        destination_checkpoint_id: Some(item.checkpoint_id.to_string()),
        destination_checkpoint_item_id: Some(item.id.to_string()),
        extra_info: RecordExtraInfo {
            auto_trigger: item.auto_trigger,
            progress: if is_here { 100 } else { item.progress_percent },
            fail_code: String::new(),
            fail_reason: String::new(),
        },
    }
}

fn image_type(item: &CheckpointItem) -> &'static str {
    if item.is_replica() { "replication" } else { "backup" }
}

fn fail_reason(failure: &Failure) -> String {
    format!("{}: {}", failure.code, failure.reason)
}

/// `na` unless the item can be restored onto disks.
fn restore_mode(state: ItemState) -> &'static str {
    match state {
        ItemState::Available | ItemState::WaitingRestore | ItemState::Restoring => "backup",
        _ => "na",
    }
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}

/// kB/s over the whole run; 0 until it ended.
fn average_speed(item: &CheckpointItem) -> u64 {
    let Some(finished_at) = item.finished_at else { return 0 };
    let micros = finished_at.micros().saturating_sub(item.created_at.micros());
    let micros = u128::try_from(micros).unwrap_or(0).max(1);
    let second = u128::from(SECOND_MICROS.unsigned_abs());
    let speed = u128::from(item.logical_bytes) * second / 1000 / micros;
    u64::try_from(speed).unwrap_or(u64::MAX).min(i64::MAX.unsigned_abs())
}

/// Percent of the disks' bytes that did not have to be stored; 0 until it is known.
fn space_saving_ratio(item: &CheckpointItem) -> u64 {
    if item.finished_at.is_none() || item.logical_bytes == 0 {
        return 0;
    }
    let saved = u128::from(item.logical_bytes.saturating_sub(item.added_bytes));
    u64::try_from(saved * 100 / u128::from(item.logical_bytes)).expect("at most 100")
}

/// One word for all destinations: the newest record of each region counts, and of those
/// copying beats waiting beats failed beats success (`csbs-v1-api.md` §4).
fn copy_status(records: &[ReplicationRecord]) -> &'static str {
    let mut newest: BTreeMap<&RegionName, &ReplicationRecord> = BTreeMap::new();
    for record in records.iter().filter(|record| record.state != RecordState::Skipped) {
        let place = newest.entry(&record.destination.region).or_insert(record);
        if (record.is_current, record.created_at) > (place.is_current, place.created_at) {
            *place = record;
        }
    }
    let rank = |record: &&ReplicationRecord| match record.state {
        RecordState::Copying | RecordState::Verifying | RecordState::Publishing => (4, "copying"),
        RecordState::Waiting => (3, "waiting_copy"),
        RecordState::Failed | RecordState::Cancelled | RecordState::Lost => (2, "fail"),
        RecordState::Done => (1, "success"),
        RecordState::Skipped => (0, "na"),
    };
    newest.values().map(rank).max().map_or("na", |(_, word)| word)
}
