//! What the stories ask of a region: servers, policies, runs, replications, restores. Each function is one
//! call of the public API, or one call repeated until something has happened.

use std::time::Duration;

use control::workers::Timer;
use model::policy::{PROVIDER_ID, RESOURCE_TYPE};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use vault::seams::Clock;

use super::api::{ApiFailure, RegionApi};
use super::failure::Failure;
use crate::world::{SystemClock, SystemTimer};

/// How often a story looks whether something has happened.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A protected server as the region lists it; `dev.json` uses the same words.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Server {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its disks.
    pub volumes: Vec<Volume>,
}

/// One disk of a server.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Volume {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Where it lies; only the operator is told.
    #[serde(default)]
    pub path: String,
    /// Its format.
    pub format: String,
    /// Its size.
    pub size_bytes: u64,
    /// Whether the server starts from it.
    pub bootable: bool,
}

/// A disk to register.
#[derive(Clone, Debug)]
pub struct NewVolume {
    /// Its name.
    pub name: String,
    /// Where it lies.
    pub path: String,
    /// Whether the server starts from it.
    pub bootable: bool,
}

/// How far a checkpoint item is.
#[derive(Clone, Debug, Deserialize)]
pub struct ItemProgress {
    /// Its id.
    pub id: String,
    /// The run it belongs to.
    pub checkpoint_id: String,
    /// The server's name.
    pub resource_name: String,
    /// Where it is in its life.
    pub status: String,
    /// Bytes read so far.
    pub progress_bytes: u64,
    /// Bytes of its disks.
    pub logical_bytes: u64,
    /// Bytes it added to the vault.
    pub added_bytes: u64,
    /// Why it failed; empty when all is well.
    pub fail_reason: String,
}

/// How far a replication record is.
#[derive(Clone, Debug, Deserialize)]
pub struct RecordProgress {
    /// Its id.
    pub id: String,
    /// The item that goes.
    pub checkpoint_item_id: String,
    /// Where it is in its life.
    pub state: String,
    /// Bytes expected to be sent, once known.
    pub planned_bytes: u64,
    /// Bytes acknowledged by the destination.
    pub sent_bytes: u64,
    /// Bytes that had to be sent again.
    pub resent_bytes: u64,
    /// Why it waits or ended, as a code.
    pub reason_code: String,
    /// The same for a person.
    pub reason: String,
    /// The destination's signed receipt, as hex, once it is stored.
    pub receipt: Option<String>,
}

impl RecordProgress {
    /// True when nothing will move it by itself any more.
    pub fn is_final(&self) -> bool {
        matches!(self.state.as_str(), "done" | "failed" | "skipped" | "cancelled" | "lost")
    }
}

/// How far a restore is.
#[derive(Clone, Debug, Deserialize)]
pub struct RestoreProgress {
    /// Its id.
    pub id: String,
    /// `in_progress`, `success` or `fail`.
    pub status: String,
    /// Bytes to write, holes included.
    pub total_bytes: u64,
    /// Bytes written so far.
    pub done_bytes: u64,
    /// Why it failed; empty when all is well.
    pub reason: String,
}

/// A checkpoint item as clients see it.
#[derive(Clone, Debug, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// The run it belongs to.
    pub checkpoint_id: String,
    /// Where it is in its life.
    pub status: String,
    /// The server.
    pub resource_id: String,
    /// Everything else.
    pub extend_info: ItemDetails,
    /// The records that replicate it, or that brought it.
    pub replication_records: Vec<ItemRecord>,
}

/// The part of an item that stories look at.
#[derive(Clone, Debug, Deserialize)]
pub struct ItemDetails {
    /// `backup` or `replication`.
    pub image_type: String,
    /// Why it failed; empty when all is well.
    pub fail_reason: String,
    /// Its disks.
    pub volume_backups: Vec<VolumeBackup>,
}

/// One disk inside an item.
#[derive(Clone, Debug, Deserialize)]
pub struct VolumeBackup {
    /// What a restore names.
    pub id: String,
    /// The disk it was made from.
    pub source_volume_id: String,
    /// That disk's name.
    pub source_volume_name: String,
}

/// A record inside an item.
#[derive(Clone, Debug, Deserialize)]
pub struct ItemRecord {
    /// Its id.
    pub id: String,
    /// Its wire status.
    pub status: String,
    /// The item at the source.
    pub source_checkpoint_item_id: String,
    /// The replica, once it exists.
    pub destination_checkpoint_item_id: Option<String>,
}

/// One item that a replicate call queued.
#[derive(Clone, Debug, Deserialize)]
pub struct Queued {
    /// The item.
    pub checkpoint_item_id: String,
    /// Its record.
    pub replication_record_id: String,
}

/// Where replicas go.
#[derive(Clone, Debug)]
pub struct Destination {
    /// The region.
    pub region: String,
    /// The project there.
    pub project_id: String,
}

/// What is restored where: volume backup id, target volume id.
pub type VolumeMapping = Vec<(String, String)>;

/// Takes the value of the one key that wraps an answer.
fn unwrap<T: serde::de::DeserializeOwned>(mut answer: Value, key: &str) -> Result<T, ApiFailure> {
    let call = format!("reading {key:?} of an answer");
    serde_json::from_value(answer[key].take())
        .map_err(|error| ApiFailure::Unexpected { call, why: error.to_string() })
}

impl RegionApi {
    async fn fetch<T: serde::de::DeserializeOwned>(&self, path: &str, key: &str) -> Result<T, ApiFailure> {
        unwrap(self.get(path).await?, key)
    }

    /// All servers of the region with their paths; for operators.
    pub async fn all_servers(&self) -> Result<Vec<Server>, ApiFailure> {
        self.fetch("/antipode/v1/servers?all=true", "servers").await
    }

    /// Registers a server of a project; for operators.
    pub async fn register_server(
        &self,
        project_id: &str,
        name: &str,
        volumes: &[NewVolume],
    ) -> Result<Server, ApiFailure> {
        let volume = |new: &NewVolume| json!({ "name": new.name, "path": new.path, "format": "raw", "bootable": new.bootable });
        let volumes: Vec<_> = volumes.iter().map(volume).collect();
        let body = json!({ "server": { "project_id": project_id, "name": name, "volumes": volumes } });
        unwrap(self.post("/antipode/v1/servers", &body).await?, "server")
    }

    /// Makes a policy over servers whose schedule is off; answers its id.
    pub async fn create_policy(&self, name: &str, servers: &[Server]) -> Result<String, ApiFailure> {
        let resource =
            |server: &Server| json!({ "id": server.id, "type": RESOURCE_TYPE, "name": server.name });
        let resources: Vec<_> = servers.iter().map(resource).collect();
        let pattern = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
        let operation = json!({
            "name": "nightly", "enabled": false, "operation_type": "backup",
            "operation_definition": { "max_backups": -1, "retention_duration_days": -1, "permanent": true },
            "trigger": { "properties": { "pattern": pattern } },
        });
        let body = json!({ "policy": {
            "name": name, "provider_id": PROVIDER_ID, "parameters": { "common": {} },
            "resources": resources, "scheduled_operations": [operation],
        } });
        let policy: Value = unwrap(self.post("/v1/{project}/policies", &body).await?, "policy")?;
        Ok(policy["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Runs a policy over all its servers; answers the checkpoint's id.
    pub async fn run_policy(&self, policy_id: &str) -> Result<String, ApiFailure> {
        let path = format!("/v1/{{project}}/providers/{PROVIDER_ID}/checkpoints");
        let body = json!({ "checkpoint": { "plan_id": policy_id, "parameters": { "auto_trigger": false } } });
        let checkpoint: Value = unwrap(self.post(&path, &body).await?, "checkpoint")?;
        Ok(checkpoint["id"].as_str().unwrap_or_default().to_owned())
    }

    /// All items that match a query such as `checkpoint_id=…`.
    pub async fn items(&self, query: &str) -> Result<Vec<Item>, ApiFailure> {
        self.fetch(&format!("/v1/{{project}}/checkpoint_items?{query}"), "checkpoint_items").await
    }

    /// One item.
    pub async fn item(&self, id: &str) -> Result<Item, ApiFailure> {
        self.fetch(&format!("/v1/{{project}}/checkpoint_items/{id}"), "checkpoint_item").await
    }

    /// How far an item is, in bytes.
    pub async fn item_progress(&self, id: &str) -> Result<ItemProgress, ApiFailure> {
        self.fetch(&format!("/antipode/v1/checkpoint_items/{id}"), "checkpoint_item").await
    }

    /// How far a record is, in bytes.
    pub async fn record_progress(&self, id: &str) -> Result<RecordProgress, ApiFailure> {
        self.fetch(&format!("/antipode/v1/replication_records/{id}"), "replication_record").await
    }

    /// How far a restore is, in bytes.
    pub async fn restore_progress(&self, id: &str) -> Result<RestoreProgress, ApiFailure> {
        self.fetch(&format!("/antipode/v1/restores/{id}"), "restore").await
    }

    /// The core call: replicate what the policy made and what is not there yet.
    pub async fn replicate_policy(
        &self,
        policy_id: &str,
        to: &Destination,
    ) -> Result<Vec<Queued>, ApiFailure> {
        let path = format!("/v1/{{project}}/providers/{PROVIDER_ID}/checkpoints/replicate");
        let body = json!({ "replication": {
            "policy_id": policy_id, "destination_region": to.region, "destination_project_id": to.project_id,
        } });
        let mut answer: Value = self.post(&path, &body).await?;
        unwrap(answer["replication"].take(), "checkpoint_items")
    }

    /// Restores one item onto registered volumes of a server; answers the restore's id.
    pub async fn restore(
        &self,
        item: &Item,
        server_id: &str,
        volumes: &VolumeMapping,
    ) -> Result<String, ApiFailure> {
        let volume =
            |(backup, volume): &(String, String)| json!({ "backup_id": backup, "volume_id": volume });
        let volumes: Vec<_> = volumes.iter().map(volume).collect();
        let body = json!({ "restore": {
            "checkpoint_id": item.checkpoint_id, "provider_id": PROVIDER_ID,
            "parameters": {
                "checkpoint_item_id": item.id, "power_on": false,
                "targets": { "server_id": server_id, "volumes": volumes },
            },
        } });
        let restore: Value = unwrap(self.post("/v1/{project}/restores", &body).await?, "restore")?;
        Ok(restore["id"].as_str().unwrap_or_default().to_owned())
    }

    /// The restores of the project, newest first.
    pub async fn restores(&self) -> Result<Vec<RestoreProgress>, ApiFailure> {
        self.fetch("/antipode/v1/restores", "restores").await
    }

    /// Waits until the region says that it is ready.
    pub async fn await_ready(&self, seconds: u64) -> Result<(), Failure> {
        let awaited = format!("readiness of {}", self.base_url());
        let look = async || Ok(if self.is_ready().await { Ok(()) } else { Err("not ready".to_owned()) });
        await_until(&awaited, seconds, look).await
    }
}

/// The value of the wire's pair of project and domain, for `dev.json`.
pub const DOMAIN_NAME: &str = model::identity::DOMAIN_NAME;

/// Looks again and again until `look` answers `Ok(Ok(value))`; `Ok(Err(text))` says what was seen instead.
/// A region that does not answer at the moment is looked at again: it may be starting.
pub async fn await_until<T>(
    awaited: &str,
    seconds: u64,
    mut look: impl AsyncFnMut() -> Result<Result<T, String>, Failure>,
) -> Result<T, Failure> {
    let begun_ms = SystemClock.now_ms();
    loop {
        let seen = match look().await {
            Err(Failure::Api(failure)) if failure.is_passing() => Err(failure.to_string()),
            other => other?,
        };
        let last_seen = match seen {
            Ok(value) => return Ok(value),
            Err(last_seen) => last_seen,
        };
        if SystemClock.now_ms().saturating_sub(begun_ms) > seconds * 1000 {
            return Err(Failure::Late { awaited: awaited.to_owned(), seconds, last_seen });
        }
        SystemTimer.sleep(LOOK_AGAIN).await;
    }
}
