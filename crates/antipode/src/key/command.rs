//! The commands under `antipode key`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, Subcommand};
use control::region::{KekFile, Rotated};
use model::ids::ProjectId;
use serde_json::{Value, json};
use vault::ids::Epoch;
use vault::kek::file::KekKind;
use vault::recovery::shares::Split;
use vault::store::{LocalStore, ObjectStore};

use super::kit::{self, NewKit};
use super::{kek_plan, key_files, new_passphrase, open_control};
use crate::cli::Global;
use crate::config::Config;
use crate::serve::{StartError, lock_data};
use crate::world::SystemEntropy;

/// `antipode key`
#[derive(Clone, Debug, Args)]
pub struct KeyArgs {
    /// The region's configuration
    #[arg(long, value_name = "FILE", default_value = "antipode.toml", global = true)]
    config: PathBuf,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum KeyCommand {
    /// Which keys there are, and what is wrong with them
    Show,
    /// Make a new KEK and seal every project's keys under it; or go on with a rotation that was cut off
    Rotate {
        /// File with the passphrase of the new KEK, where the configuration wants one; else it is asked for
        #[arg(long, value_name = "FILE")]
        new_passphrase_file: Option<PathBuf>,
    },
    /// Begin a new epoch: what is backed up from now on is sealed under new keys
    NewEpoch,
    /// Stop using an epoch of a project's keys, or remove a KEK that was rotated away
    Retire(RetireArgs),
    /// Read a recovery kit back, whole or from shares, and prove that it opens what the store holds
    Prove {
        /// The sheets: copies, or what was typed or scanned from them
        #[arg(required = true, value_name = "SHEET")]
        sheets: Vec<PathBuf>,
    },
    /// Make a recovery kit with a new key, or write the same kit again
    Kit {
        /// Where the sheet goes; shares get a number in their names
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Split it: 3/5 makes five sheets, any three of which are the kit
        #[arg(long, value_name = "K/N")]
        shares: Option<String>,
        /// Sheets of the present kit, to write it again instead of making a new key; may be repeated
        #[arg(long, value_name = "SHEET")]
        from: Vec<PathBuf>,
    },
    /// The KEK is lost: make a new one over the keys that the kit and the working keys open
    Recover {
        /// The sheets of the kit; without them only keys that came from other regions are found
        #[arg(value_name = "SHEET")]
        sheets: Vec<PathBuf>,
    },
}

#[derive(Clone, Debug, Args)]
struct RetireArgs {
    /// The epoch: backups do not use again what it sealed
    #[arg(required_unless_present = "kek")]
    epoch: Option<u32>,
    /// The number of a KEK that is no longer in use: what it sealed is removed, and its file
    #[arg(long, value_name = "NUMBER", conflicts_with = "epoch")]
    kek: Option<u32>,
    /// Destroy the epoch's keys as well; refused while a backup in the store needs them
    #[arg(long, requires = "epoch")]
    destroy: bool,
}

/// What a command says when it is done: a sentence for people, the same for programs.
pub(super) struct Told {
    pub(super) sentence: String,
    pub(super) value: Value,
}

/// Runs `antipode key`.
pub async fn run(args: KeyArgs, global: Global) -> Result<(), StartError> {
    let config = Config::read(&args.config)?;
    // Proving reads only, and may run beside the region.
    let is_reading = matches!(args.command, KeyCommand::Prove { .. });
    let _lock = if is_reading { None } else { Some(lock_data(&config).await?) };
    let told = match args.command {
        KeyCommand::Prove { sheets } => kit::prove(&config, &sheets)?,
        KeyCommand::Kit { out, shares, from } => {
            let split = shares.map(|shares| shares.parse::<Split>()).transpose()?;
            kit::make_kit(&config, &NewKit { out: &out, split, from: &from }).await?
        }
        KeyCommand::Recover { sheets } => kit::recover(&config, &sheets)?,
        KeyCommand::Show => show(&config).await?,
        KeyCommand::Rotate { new_passphrase_file } => rotate(&config, new_passphrase_file)?,
        KeyCommand::NewEpoch => begin_epochs(&config, global.project.as_deref()).await?,
        KeyCommand::Retire(RetireArgs { kek: Some(number), .. }) => retire_kek(&config, number)?,
        KeyCommand::Retire(RetireArgs { epoch, destroy, .. }) => {
            let epoch = Epoch(epoch.unwrap_or_default());
            retire_epoch(&config, global.project.as_deref(), epoch, destroy).await?
        }
    };
    match global.json {
        true => println!("{:#}", told.value),
        false => println!("{}", told.sentence),
    }
    Ok(())
}

fn store_of(config: &Config) -> Result<Arc<dyn ObjectStore>, StartError> {
    Ok(Arc::new(LocalStore::open(&config.storage.store_dir())?))
}

async fn show(config: &Config) -> Result<Told, StartError> {
    let files = key_files(config)?;
    let keks = files.kek_files();
    let mut sentence = String::from("KEK files:");
    for file in &keks {
        sentence.push_str(&format!("\n  {}", line_of(file)));
    }
    let projects = match open_control(config).await {
        Ok(control) => control.project_epochs().await?,
        Err(error) => {
            sentence.push_str(&format!("\nthe epochs cannot be read: {error}"));
            Vec::new()
        }
    };
    if !projects.is_empty() {
        sentence.push_str("\nEpochs of each project's keys:");
    }
    for project in &projects {
        let one = |epoch: &Epoch| match project.retired.contains(epoch) {
            true => format!("{epoch} (retired)"),
            false => epoch.to_string(),
        };
        let epochs: Vec<String> = project.epochs.iter().map(one).collect();
        sentence.push_str(&format!("\n  project {}  {}", project.project_id, epochs.join(", ")));
    }
    let numbers = |epochs: &[Epoch]| epochs.iter().map(|epoch| epoch.0).collect::<Vec<_>>();
    let value = json!({
        "keks": keks.iter().map(|file| json!({
            "file": file.name, "number": file.number, "trouble": file.trouble,
            "kind": file.kind.map(|(kind, _)| word_of(kind)),
        })).collect::<Vec<_>>(),
        "projects": projects.iter().map(|project| json!({
            "project_id": project.project_id.to_string(), "domain": project.domain.to_string(),
            "epochs": numbers(&project.epochs), "retired": numbers(&project.retired),
        })).collect::<Vec<_>>(),
    });
    Ok(Told { sentence, value })
}

fn line_of(file: &KekFile) -> String {
    let number = file.number.map_or("?".to_owned(), |number| number.to_string());
    let kind = match file.kind {
        Some((kind, Some(cost))) => format!(
            "{} (argon2id, {} KiB, {} passes, {} lanes)",
            word_of(kind),
            cost.memory_kib,
            cost.passes,
            cost.lanes
        ),
        Some((kind, None)) => word_of(kind).to_owned(),
        None => "unusable".to_owned(),
    };
    let trouble = file.trouble.as_ref().map(|trouble| format!("  {trouble}")).unwrap_or_default();
    format!("{}  number {number}, {kind}{trouble}", file.name)
}

fn word_of(kind: KekKind) -> &'static str {
    match kind {
        KekKind::File => "file",
        KekKind::Passphrase => "passphrase",
    }
}

fn rotate(config: &Config, new_passphrase_file: Option<PathBuf>) -> Result<Told, StartError> {
    let (files, plan) = (key_files(config)?, kek_plan(config));
    let passphrase = match plan.kind {
        KekKind::File => None,
        KekKind::Passphrase => new_passphrase(new_passphrase_file.as_deref())?,
    };
    let store = store_of(config)?;
    let rotated = files.rotate_kek(store.as_ref(), &plan, passphrase.as_ref(), &SystemEntropy)?;
    Ok(told_rotated(&rotated))
}

fn told_rotated(rotated: &Rotated) -> Told {
    let Rotated { old_number, number, rewrapped } = *rotated;
    let old = old_number.unwrap_or_default();
    let sentence = format!(
        "KEK {number} is in use; the keys of {} projects lie under it.\n\
         KEK {old} stays in its file. Copy keys/kek to where you keep such copies, start the region, then:\n  \
         antipode key retire --kek {old}",
        rewrapped.domain_count
    );
    let value = json!({
        "number": number, "old_number": old_number,
        "domains": rewrapped.domain_count, "sealed_again": rewrapped.sealed_count,
    });
    Told { sentence, value }
}

fn retire_kek(config: &Config, number: u32) -> Result<Told, StartError> {
    let removed = key_files(config)?.retire_kek(store_of(config)?.as_ref(), number)?;
    let sentence = format!("KEK {number} is gone, and {removed} bundles that only it or later ones opened");
    Ok(Told { sentence, value: json!({ "number": number, "bundles_removed": removed }) })
}

async fn begin_epochs(config: &Config, project: Option<&str>) -> Result<Told, StartError> {
    let control = open_control(config).await?;
    let projects = match project {
        Some(project) => vec![project_id(&control, project).await?],
        None => control.project_epochs().await?.into_iter().map(|one| one.project_id).collect(),
    };
    let mut begun = Vec::new();
    for project in projects {
        begun.push((control.begin_epoch(&project).await?, project));
    }
    let lines: Vec<String> =
        begun.iter().map(|(epoch, project)| format!("project {project}: epoch {epoch} begins")).collect();
    let value =
        begun.iter().map(|(epoch, project)| json!({ "project_id": project.to_string(), "epoch": epoch.0 }));
    let value = Value::from(value.collect::<Vec<_>>());
    let sentence = if lines.is_empty() { "no project has backups yet".to_owned() } else { lines.join("\n") };
    Ok(Told { sentence, value })
}

async fn retire_epoch(
    config: &Config,
    project: Option<&str>,
    epoch: Epoch,
    destroy: bool,
) -> Result<Told, StartError> {
    let control = open_control(config).await?;
    let project = match project {
        Some(project) => project_id(&control, project).await?,
        None => {
            let mut all = control.project_epochs().await?;
            match (all.pop(), all.is_empty()) {
                (Some(only), true) => only.project_id,
                _ => {
                    return Err(StartError::Refused(
                        "several projects have epochs; say --project NAME".into(),
                    ));
                }
            }
        }
    };
    let is_there = control
        .project_epochs()
        .await?
        .iter()
        .any(|one| one.project_id == project && one.epochs.contains(&epoch));
    let count = match is_there || !destroy {
        true => control.retire_epoch(&project, epoch).await?.manifest_count,
        // Destroyed before, and cut off: what is left of it goes now.
        false => 0,
    };
    if destroy {
        control.destroy_epoch(&project, epoch).await?;
        let sentence =
            format!("the keys of epoch {epoch} are destroyed here; destinations keep what they were given");
        return Ok(Told { sentence, value: json!({ "epoch": epoch.0, "destroyed": true }) });
    }
    let rest = match count {
        0 => "nothing needs its keys: --destroy removes them".to_owned(),
        count => format!("its keys stay for the {count} backups in the store that list it"),
    };
    let sentence = format!("epoch {epoch} is retired: backups do not use again what it sealed; {rest}");
    Ok(Told { sentence, value: json!({ "epoch": epoch.0, "destroyed": false, "backups": count }) })
}

async fn project_id(control: &control::Control, project: &str) -> Result<ProjectId, StartError> {
    if let Some(id) = control.project_named(project).await? {
        return Ok(id);
    }
    let unknown = || StartError::Refused(format!("there is no project {project}"));
    project.parse().map_err(|_| unknown())
}
