//! `antipode key prove`, `kit` and `recover`: what the sheets on paper are for.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::region::newest_card;
use serde_json::json;
use vault::card::RegionIdentity;
use vault::crash_point;
use vault::ids::DomainId;
use vault::key_file::create_key_file;
use vault::key_store::KeyStore;
use vault::keys::DomainKeys;
use vault::recovery::shares::Split;
use vault::recovery::wraps::{Believed, Proof, keys_from_wraps, vaults_of};
use vault::recovery::{RecoveryKit, RecoverySeed, SHEET_BYTES_MAX};
use vault::store::{LocalStore, ObjectStore};
use vault::wrap::ReceivingKey;
use zeroize::Zeroizing;

use super::command::Told;
use super::sheet::write_sheets;
use super::{kek_plan, key_files, open_control};
use crate::config::Config;
use crate::init::{RECOVERY, recovery_key};
use crate::serve::StartError;
use crate::world::SystemEntropy;

/// Reads sheets, whole or shares of one set, and joins them.
pub(crate) fn read_kit(sheets: &[PathBuf]) -> Result<RecoveryKit, StartError> {
    let mut texts: Vec<Zeroizing<String>> = Vec::new();
    for path in sheets {
        let metadata =
            fs::metadata(path).map_err(|cause| StartError::io("reading the sheet", path, cause))?;
        if metadata.len() > SHEET_BYTES_MAX as u64 {
            return Err(StartError::Refused(format!("{} is no sheet: it is far too long", path.display())));
        }
        let text = fs::read_to_string(path);
        texts.push(Zeroizing::new(text.map_err(|cause| StartError::io("reading the sheet", path, cause))?));
    }
    Ok(RecoveryKit::assemble(texts.iter().map(|text| text.as_str()))?)
}

fn store_of(config: &Config) -> Result<Arc<LocalStore>, StartError> {
    Ok(Arc::new(LocalStore::open(&config.storage.store_dir())?))
}

/// Proves what a kit opens. Needs the store only; the keys folder is looked at when it is there.
pub(super) fn prove(config: &Config, sheets: &[PathBuf]) -> Result<Told, StartError> {
    let kit = read_kit(sheets)?;
    // Where the root key is at hand; else the store's cards have to know the region.
    if key_files(config)?.root_fingerprint().is_ok_and(|root| root != *kit.root_fingerprint()) {
        return Err(StartError::Refused("the kit belongs to another region".into()));
    }
    let proof = kit.prove_store(store_of(config)?.as_ref())?;
    let is_current = match recovery_key(&config.storage.keys_dir) {
        Ok(public) => Some(kit.seed().receiving_key().public() == public),
        Err(_) => None,
    };
    let told = told_proof(&proof, is_current);
    let is_short = proof.vaults.iter().any(|vault| !vault.is_sealed && !vault.shut.is_empty());
    match (is_short, is_current) {
        (true, _) => Err(StartError::Refused(format!("{}\nthe kit does not open everything", told.sentence))),
        (_, Some(false)) => Err(StartError::Refused(format!(
            "{}\nthe kit opens what is there, but new keys are wrapped for a newer kit: use that one",
            told.sentence
        ))),
        _ => Ok(told),
    }
}

fn told_proof(proof: &Proof, is_current: Option<bool>) -> Told {
    let region = &proof.region;
    let mut sentence = format!("the kit belongs to region {} ({})", region.name, region.region);
    for vault in &proof.vaults {
        let epochs: Vec<String> = vault.epochs.iter().map(|epoch| epoch.to_string()).collect();
        let line = if vault.is_sealed {
            format!("sealed here; {} replicas open at their origin only", vault.shut.len())
        } else {
            let shut = vault.shut.len();
            format!("epochs {} open; {} backups readable, {shut} not", epochs.join(", "), vault.opened_count)
        };
        sentence.push_str(&format!("\n  vault {}  {line}", vault.vault));
    }
    for (name, why) in &proof.refused {
        sentence.push_str(&format!("\n  not believed: {name}: {why}"));
    }
    let vaults: Vec<_> = proof
        .vaults
        .iter()
        .map(|vault| {
            json!({
                "vault": vault.vault.to_string(), "is_sealed": vault.is_sealed,
                "epochs": vault.epochs.iter().map(|epoch| epoch.0).collect::<Vec<_>>(),
                "readable": vault.opened_count, "not_readable": vault.shut.len(),
            })
        })
        .collect();
    let value = json!({
        "region": region.name, "region_id": region.region.to_string(), "is_current": is_current,
        "vaults": vaults, "refused": proof.refused.len(),
    });
    Told { sentence, value }
}

/// Where a kit goes, and how.
pub(super) struct NewKit<'a> {
    /// The file, or what the files of the shares are named after.
    pub(super) out: &'a Path,
    /// Shares instead of one sheet.
    pub(super) split: Option<Split>,
    /// Sheets whose seed is kept; none makes a new recovery key.
    pub(super) from: &'a [PathBuf],
}

/// Writes a kit again, or makes one with a new recovery key and wraps every epoch for it.
pub(super) async fn make_kit(config: &Config, new: &NewKit<'_>) -> Result<Told, StartError> {
    let control = open_control(config).await?;
    let (name, root) = (control.region_name().to_string(), *control.identity().card().root_key());
    let keys_dir = &config.storage.keys_dir;
    let kit = if new.from.is_empty() {
        RecoveryKit::new(RecoverySeed::generate(&SystemEntropy), &root)
    } else {
        let kit = read_kit(new.from)?;
        kit.belongs_to(&root, &recovery_key(keys_dir)?)?;
        kit
    };
    let files = write_sheets(&kit, &name, new.out, new.split, &SystemEntropy)?;
    let is_new = new.from.is_empty();
    if is_new {
        let public = kit.seed().receiving_key().public();
        control.wrap_for_recovery(&public).await?;
        let next = keys_dir.join(format!("{RECOVERY}-next"));
        match fs::remove_file(&next) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                return Err(StartError::io("replacing an unfinished key", &next, cause));
            }
            _ => {}
        }
        create_key_file(&next, RECOVERY, &public)?;
        let path = keys_dir.join(RECOVERY);
        let renamed = fs::rename(&next, &path).and_then(|()| fs::File::open(keys_dir)?.sync_all());
        renamed.map_err(|cause| StartError::io("replacing the recovery key", &path, cause))?;
        crash_point!("key.kit_switched");
    }
    let shown: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    let mut sentence =
        format!("the kit is in\n  {}\nPrint it, prove the print, remove the files.", shown.join("\n  "));
    if is_new {
        sentence.push_str(
            "\nEarlier kits open what was stored until now, and nothing that comes under a new epoch.",
        );
    }
    let value = json!({ "files": shown, "is_new_key": is_new });
    Ok(Told { sentence, value })
}

/// Makes a new KEK for the keys that the kit and the region's own receiving key open.
pub(super) fn recover(config: &Config, sheets: &[PathBuf]) -> Result<Told, StartError> {
    let (files, store) = (key_files(config)?, store_of(config)?);
    let kit = if sheets.is_empty() { None } else { Some(read_kit(sheets)?) };
    let public = config.storage.keys_dir.join(RECOVERY);
    let is_usable = files.open_kek(store.as_ref()).is_ok_and(|kek| {
        let keys = KeyStore { store: store.as_ref(), kek: &kek };
        keys.domains().is_ok_and(|domains| domains.keys().all(|domain| keys.newest(*domain).is_ok()))
    });
    if is_usable && let Some(kit) = kit.as_ref().filter(|_| !public.exists()) {
        let own =
            newest_card(store.as_ref(), Believed::read(store.as_ref(), kit.root_fingerprint())?.region)?;
        files.open_identity(store.as_ref(), own.region())?;
        create_key_file(&public, RECOVERY, &kit.seed().receiving_key().public())?;
        let sentence = "the recovery key's public half is back".to_owned();
        return Ok(Told { sentence, value: json!({ "recovery_public": true }) });
    }
    if is_usable {
        return Err(StartError::Refused(
            "the KEK opens every key in the store: there is nothing to recover".into(),
        ));
    }
    let fingerprint = match &kit {
        Some(kit) => *kit.root_fingerprint(),
        None => files.root_fingerprint()?,
    };
    let believed = Believed::read(store.as_ref(), &fingerprint)?;
    let identity = files.open_identity(store.as_ref(), believed.region).ok();
    let (found, lost) = found_keys(store.as_ref(), &believed, kit.as_ref(), identity.as_ref())?;
    if found.is_empty() && !lost.is_empty() {
        return Err(StartError::Refused(
            "neither the sheets nor the working keys open any key in the store".into(),
        ));
    }
    let found: Vec<DomainKeys> = found.into_values().collect();
    let rotated = files.recover_kek(store.as_ref(), &found, &kek_plan(config), &SystemEntropy)?;
    if let Some(kit) = kit.filter(|_| !public.exists()) {
        create_key_file(&public, RECOVERY, &kit.seed().receiving_key().public())?;
    }
    let mut sentence = format!("KEK {} is in use, over the keys of {} domains", rotated.number, found.len());
    for vault in &lost {
        sentence.push_str(&format!("\nthe keys of vault {vault} were not found: its items stay shut"));
    }
    sentence.push_str(
        "\nWhat the store tells of policies, servers and grants from before stays under the lost KEK: keep \
         copies of the catalog.\nEpochs that were retired count as in use: retire them again.",
    );
    let value = json!({ "number": rotated.number, "domains": found.len(), "vaults_lost": lost });
    Ok(Told { sentence, value })
}

type Found = (BTreeMap<DomainId, DomainKeys>, Vec<String>);

/// The keys of every domain that can be opened, and the vaults of which none could.
fn found_keys(
    store: &dyn ObjectStore,
    believed: &Believed,
    kit: Option<&RecoveryKit>,
    identity: Option<&RegionIdentity>,
) -> Result<Found, StartError> {
    let recovery = kit.map(|kit| kit.seed().receiving_key());
    let own = identity.map(|identity| identity.receiving_key());
    let openers: Vec<&ReceivingKey> = recovery.iter().chain(own).collect();
    let (mut found, mut lost) = (BTreeMap::<DomainId, DomainKeys>::new(), Vec::new());
    for vault in vaults_of(store)? {
        let (keys, _) = keys_from_wraps(store, vault, &openers, &believed.signers)?;
        let Some(keys) = keys else {
            lost.push(vault.to_string());
            continue;
        };
        let rank = |keys: &DomainKeys| (keys.is_restorable(), keys.epochs().count());
        match found.get(&keys.domain()) {
            Some(known) if rank(known) >= rank(&keys) => {}
            _ => {
                found.insert(keys.domain(), keys);
            }
        }
    }
    Ok((found, lost))
}
