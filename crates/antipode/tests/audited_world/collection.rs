//! Collections in an audited world: ordered on both sides, awaited, and what they leave.

use std::path::Path;

use antipode::dev::api::{ApiFailure, RegionApi};
use antipode::dev::failure::Failure;
use antipode::dev::region::await_until;
use model::time::Timestamp;
use serde_json::Value;

use super::PATIENCE_SECONDS;

/// Deleted backups are collected at once, and packs rewritten as soon as a tenth of them is not needed.
const KEEP: &str = "\n[keep]\nquarantine_days = 0\nrewrite_below_percent = 90\n";

/// Has a region that is not running free what no backup needs as soon as it is told.
pub(super) fn set_keep(config: &Path) -> Result<(), Failure> {
    let text = std::fs::read_to_string(config).map_err(Failure::io("reading", config))?;
    std::fs::write(config, text + KEEP).map_err(Failure::io("writing", config))
}

/// Orders the collection of every vault of a region.
pub(super) async fn order_collections(operator: &RegionApi) -> Result<(), ApiFailure> {
    let answer: Value = operator.get("/antipode/v1/vaults").await?;
    for vault in answer["vaults"].as_array().into_iter().flatten() {
        let path = format!("/antipode/v1/vaults/{}/collect", vault["id"].as_str().unwrap_or_default());
        let _: Value = operator.post(&path, &Value::Null).await?;
    }
    Ok(())
}

/// Waits until each vault of a region has a collection behind it that ended after `since_ms`.
pub(super) async fn await_collected(operator: &RegionApi, since_ms: u64) -> Result<(), Failure> {
    let since = Timestamp::from_millis(since_ms).wire();
    let look = async || {
        let answer: Value = operator.get("/antipode/v1/vaults").await?;
        for vault in answer["vaults"].as_array().into_iter().flatten() {
            let collection = &vault["collection"];
            let is_over =
                collection["phase"] == "done" && *since <= *collection["finished_at"].as_str().unwrap_or("");
            if !is_over {
                return Ok(Err(collection.to_string()));
            }
        }
        Ok(Ok(()))
    };
    await_until("the collection", PATIENCE_SECONDS, look).await
}

/// The bytes of all packs below a folder.
pub(super) fn pack_bytes(folder: &Path) -> Result<u64, Failure> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).map_err(Failure::io("listing", folder))? {
        let entry = entry.map_err(Failure::io("listing", folder))?;
        let (path, about) = (entry.path(), entry.metadata().map_err(Failure::io("looking at", folder))?);
        if about.is_dir() {
            bytes += pack_bytes(&path)?;
        } else if path.extension().is_some_and(|extension| extension == "pack") {
            bytes += about.len();
        }
    }
    Ok(bytes)
}
