//! `antipode vault …`: looking after the stored bytes by hand, while nobody serves the region. A region
//! that is served verifies by itself, as its configuration says.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::Catalog;
use clap::{Args, Subcommand};
use control::Control;
use control::verification::{HealedItems, VerifiedPack, vault_name};
use serde_json::json;
use vault::heal::{ObjectSource, StoreSource};
use vault::ids::DomainId;
use vault::store::{LocalStore, ObjectStore};
use vault::verify::VerifyMode;

use crate::cli::{ProgressDisplay, ProgressShown, ServedVaultCommand};
use crate::config::Config;
use crate::serve::{self, StartError};

/// What can be done with vaults.
#[derive(Debug, Subcommand)]
pub enum VaultCommand {
    /// Verify the packs of all vaults, set damaged ones aside, and heal what can be healed
    Verify(VerifyArgs),
    /// What a served region does.
    #[command(flatten)]
    Served(ServedVaultCommand),
}

/// `antipode vault verify`
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The region's configuration
    #[arg(long, value_name = "FILE", default_value = "antipode.toml")]
    pub config: PathBuf,
    /// Read every byte, recompute every address, open what can be opened; else presence, length and footer
    #[arg(long)]
    pub deep: bool,
    /// Pass over packs that were verified within so many days; a run that was stopped goes on like that
    #[arg(long, value_name = "DAYS", default_value_t = 0)]
    pub within: u32,
    /// Another store (a folder) to take missing objects from; may be repeated
    #[arg(long = "heal-from", value_name = "DIR")]
    pub heal_from: Vec<PathBuf>,
    /// At most so many MiB are read in a second; 0 for as fast as the disk goes
    #[arg(long, value_name = "MIB", default_value_t = 0)]
    pub rate: u64,
}

/// What a run came to.
#[derive(Default)]
struct Outcome {
    pack_count: u64,
    pack_bytes: u64,
    read_bytes: u64,
    damaged: Vec<VerifiedPack>,
    healed: HealedItems,
}

/// Runs `antipode vault verify`. True when everything is whole.
pub async fn verify_region(args: VerifyArgs, is_json: bool) -> Result<bool, StartError> {
    let config = Config::read(&args.config)?;
    let _lock = serve::lock_data(&config).await?;
    let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::open(&config.storage.store_dir())?);
    let catalog = Catalog::open(&serve::catalog_url(&config)?).await?;
    let (control, _) = serve::open_control(&config, catalog.clone(), store).await?;
    serve::require_keys(&control)?;
    let mut outcome = verify(&control, &args).await?;
    heal(&control, &config, &args, &mut outcome).await?;
    let told = tell(&control, &outcome, is_json).await?;
    catalog.close().await;
    Ok(told)
}

async fn verify(control: &Control, args: &VerifyArgs) -> Result<Outcome, StartError> {
    let mode = if args.deep { VerifyMode::Deep } else { VerifyMode::Quick };
    // A moment after the last pack that was verified before: all of them, unless some may be passed over.
    let before = control.now().plus_days(-i64::from(args.within));
    let rate = if args.rate == 0 { u64::MAX } else { args.rate.saturating_mul(1 << 20) };
    let coverage = control.coverage_of_verification().await?;
    let (total, total_bytes) = coverage
        .iter()
        .fold((0, 0), |(packs, bytes), vault| (packs + vault.pack_count, bytes + vault.pack_bytes));
    let mut display = ProgressDisplay::new("verify");
    let mut outcome = Outcome::default();
    while let Some(pack) = control.verify_next_pack(mode, before, rate).await? {
        outcome.pack_count += 1;
        outcome.pack_bytes += pack.pack_bytes;
        outcome.read_bytes += pack.read_bytes;
        if pack.damage.is_some() {
            outcome.damaged.push(pack);
        }
        display.show(&ProgressShown {
            message: format!("{} of {total} packs, {} damaged", outcome.pack_count, outcome.damaged.len()),
            done_bytes: outcome.pack_bytes,
            total_bytes,
            is_over: false,
        });
    }
    display.end();
    Ok(outcome)
}

async fn heal(
    control: &Control,
    config: &Config,
    args: &VerifyArgs,
    outcome: &mut Outcome,
) -> Result<(), StartError> {
    let folder = config.storage.data_dir.join("heal-index");
    for vault in control.coverage_of_verification().await? {
        let mut sources: Vec<Arc<dyn ObjectSource>> = Vec::new();
        let domain = control.domain_of_vault(vault.vault_id).await?;
        for (number, path) in args.heal_from.iter().enumerate() {
            remove_folder(&folder.join(number.to_string()))?;
            sources.push(open_source(path.clone(), domain, folder.join(number.to_string())).await?);
        }
        let healed = control.heal_items(vault.vault_id, &sources).await?;
        outcome.healed.item_count += healed.item_count;
        outcome.healed.brought_count += healed.brought_count;
        outcome.healed.brought_bytes += healed.brought_bytes;
        outcome.healed.healed.extend(healed.healed);
        outcome.healed.damaged.extend(healed.damaged);
    }
    remove_folder(&folder)
}

async fn open_source(
    path: PathBuf,
    domain: DomainId,
    index: PathBuf,
) -> Result<Arc<dyn ObjectSource>, StartError> {
    if !path.join(vault::layout::FORMAT_NAME).is_file() {
        return Err(StartError::Refused(format!("{} is not an object store of ours", path.display())));
    }
    let opened = tokio::task::spawn_blocking(move || {
        let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::open(&path)?);
        Ok::<_, StartError>(StoreSource::open(store, domain, &index)?)
    });
    let opened = opened.await.map_err(|error| StartError::Refused(format!("opening a store: {error}")))?;
    Ok(Arc::new(opened?))
}

fn remove_folder(path: &Path) -> Result<(), StartError> {
    match fs::remove_dir_all(path) {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
            Err(StartError::io("removing the index of another store", path, cause))
        }
        _ => Ok(()),
    }
}

async fn tell(control: &Control, outcome: &Outcome, is_json: bool) -> Result<bool, StartError> {
    let coverage = control.coverage_of_verification().await?;
    let healed = &outcome.healed;
    let is_whole = healed.damaged.is_empty();
    let mut lines = Vec::new();
    if is_json {
        let vaults: Vec<_> = coverage
            .iter()
            .map(|vault| {
                json!({
                    "vault": vault_name(vault.vault_id), "project_id": vault.project_id.as_str(),
                    "packs": vault.pack_count, "bytes": vault.pack_bytes, "set_aside": vault.damaged_count,
                    "never_read": vault.never_read_count,
                    "oldest_read_at": vault.oldest_read_at.map(|moment| moment.wire()),
                })
            })
            .collect();
        let ids =
            |ids: &[model::ids::CheckpointItemId]| ids.iter().map(ToString::to_string).collect::<Vec<_>>();
        lines.push(
            json!({
                "packs": outcome.pack_count, "read_bytes": outcome.read_bytes,
                "damaged_packs": outcome.damaged.len(), "brought_objects": healed.brought_count,
                "healed_items": ids(&healed.healed), "damaged_items": ids(&healed.damaged), "vaults": vaults,
            })
            .to_string(),
        );
    } else {
        lines.push(format!("{} packs verified, {} bytes read", outcome.pack_count, outcome.read_bytes));
        for pack in &outcome.damaged {
            let damage = pack.damage.as_deref().unwrap_or_default();
            lines.push(format!(
                "  damaged: pack {} of vault {}: {damage}",
                pack.number,
                vault_name(pack.vault_id)
            ));
        }
        if healed.brought_count > 0 {
            lines.push(format!("{} objects brought, {} bytes", healed.brought_count, healed.brought_bytes));
        }
        lines.extend(healed.healed.iter().map(|item| format!("  whole again: item {item}")));
        lines.extend(
            healed
                .damaged
                .iter()
                .map(|item| format!("  damaged: item {item}; antipode item show {item} says what to do")),
        );
        for vault in &coverage {
            let read = match (vault.never_read_count, vault.oldest_read_at) {
                (0, Some(moment)) => format!("every pack read since {moment}"),
                (never, _) => format!("{never} packs never read since they were sealed"),
            };
            lines.push(format!("vault {}: {} packs, {read}", vault_name(vault.vault_id), vault.pack_count));
        }
    }
    let written = writeln!(std::io::stdout(), "{}", lines.join("\n"));
    written.map_err(|cause| StartError::io("writing to the terminal", Path::new("-"), cause))?;
    Ok(is_whole)
}
