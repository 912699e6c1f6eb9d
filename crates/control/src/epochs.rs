//! Epochs of a project's keys: beginning one, retiring one, destroying one; and the wraps that an epoch
//! has to have before anything is sealed under it.
//!
//! The bundle that holds a new epoch is stored first, its wraps second: a wrap of keys that nobody kept
//! would take the epoch's number for good. In between nothing is sealed under it, because whoever opens
//! a vault makes the missing wraps before. `docs/rfd/0007-keys.md`.

use model::ids::ProjectId;
use vault::card::Card;
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::{DomainId, Epoch, ManifestDigest, VaultId, from_hex};
use vault::keys::DomainKeys;
use vault::layout;
use vault::signed::key_id;
use vault::vault::Vault;
use vault::wrap::Role;

use crate::error::{Error, Reason};
use crate::vaults::{key_store, load_keys, store_keys, store_wraps};
use crate::{Control, Parts, blocking};

/// What became of an epoch that is no longer used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retired {
    /// Manifests in the vault that list it: what would die with it.
    pub manifest_count: u64,
}

/// The epochs of a project's own backups, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectEpochs {
    /// The project.
    pub project_id: ProjectId,
    /// The key domain.
    pub domain: DomainId,
    /// Every epoch whose keys are held, ascending; the last one is in use.
    pub epochs: Vec<Epoch>,
    /// Those that backups do not use again.
    pub retired: Vec<Epoch>,
}

impl Control {
    /// Begins a new epoch for a project's backups: everything sealed from now on is sealed under it.
    pub async fn begin_epoch(&self, project: &ProjectId) -> Result<Epoch, Error> {
        let (control, vault) = (self.clone(), self.own_vault(project).await?);
        let begun = blocking(move || {
            let parts = control.parts();
            let mut keys = load_keys(parts, vault.keys().domain())?;
            let epoch = keys.begin_epoch(parts.entropy.as_ref())?;
            store_keys(parts, &keys)?;
            crash_point!("key.epoch_begun");
            ensure_wraps(parts, vault.id(), &keys, &control.peers().cards())?;
            vault.set_keys(keys)?;
            Ok(epoch)
        });
        begun.await?.map_err(told)
    }

    /// Retires an epoch: backups neither use nor find again what it sealed. What is stored stays.
    pub async fn retire_epoch(&self, project: &ProjectId, epoch: Epoch) -> Result<Retired, Error> {
        let (control, vault) = (self.clone(), self.own_vault(project).await?);
        let retired = blocking(move || {
            let parts = control.parts();
            let mut keys = load_keys(parts, vault.keys().domain())?;
            if !keys.is_retired(epoch) {
                keys.retire_epoch(epoch)?;
                store_keys(parts, &keys)?;
                crash_point!("key.epoch_retired");
                vault.set_keys(keys)?;
            }
            manifests_listing(parts, &vault, epoch)
        });
        let manifest_count = retired.await?.map_err(told)?;
        Ok(Retired { manifest_count })
    }

    /// Destroys the keys of a retired epoch, here: its bundles and wraps. Refused while a manifest of the
    /// vault lists it. What a destination was given it keeps as long as it keeps the replicas.
    pub async fn destroy_epoch(&self, project: &ProjectId, epoch: Epoch) -> Result<(), Error> {
        let (control, vault) = (self.clone(), self.own_vault(project).await?);
        let destroyed = blocking(move || {
            let parts = control.parts();
            let mut keys = load_keys(parts, vault.keys().domain())?;
            if epoch == Epoch::NONE || epoch > keys.current_epoch() {
                return Err(VaultError::refused(format!("there is no epoch {epoch}")));
            }
            match manifests_listing(parts, &vault, epoch)? {
                0 => {}
                count => {
                    let why = format!(
                        "{count} backups in the store list epoch {epoch}; its keys die once these are deleted and collected"
                    );
                    return Err(VaultError::refused(why));
                }
            }
            if keys.epoch_keys(epoch).is_ok() {
                keys.forget_epoch(epoch)?;
                store_keys(parts, &keys)?;
                crash_point!("key.epoch_gone");
            }
            key_store(parts).remove_older(keys.domain())?;
            remove_wraps(parts, vault.id(), epoch)?;
            vault.set_keys(keys)
        });
        destroyed.await?.map_err(told)
    }

    /// Wraps every epoch that can be opened here for a new recovery key: of own backups, and of replicas
    /// that came restorable. Called again for the same key, it makes what is missing.
    pub async fn wrap_for_recovery(&self, recovery_key: &[u8; 32]) -> Result<(), Error> {
        let rows = self.catalog().vaults().await?;
        let (control, recovery_key) = (self.clone(), *recovery_key);
        let wrapped = blocking(move || {
            for row in rows {
                let keys = load_keys(control.parts(), DomainId(row.domain))?;
                if keys.is_restorable() {
                    store_wraps(control.parts(), VaultId(row.id), &keys, Role::Recovery, &recovery_key)?;
                    crash_point!("key.kit_wraps_stored");
                }
            }
            Ok(())
        });
        wrapped.await?.map_err(told)
    }

    /// The epochs of every project that has backups.
    pub async fn project_epochs(&self) -> Result<Vec<ProjectEpochs>, Error> {
        let rows = self.catalog().vaults().await?;
        let control = self.clone();
        let read = blocking(move || {
            let own = rows.into_iter().filter(|row| row.source.is_none());
            let read = own.map(|row| {
                let keys = load_keys(control.parts(), DomainId(row.domain))?;
                Ok(ProjectEpochs {
                    project_id: row.project_id,
                    domain: keys.domain(),
                    epochs: keys.epochs().map(|(epoch, _)| epoch).collect(),
                    retired: keys.retired_epochs().collect(),
                })
            });
            read.collect::<Result<Vec<_>, VaultError>>()
        });
        read.await?.map_err(told)
    }

    async fn own_vault(&self, project: &ProjectId) -> Result<Vault, Error> {
        let row = self.catalog().vault_of_project(project).await?;
        let nothing = || Error::not_found(Reason::NotFound, format!("project {project} has no backups yet"));
        self.open_vault(row.ok_or_else(nothing)?).await
    }
}

/// A refusal is for the operator who asked.
fn told(error: VaultError) -> Error {
    match error {
        VaultError::Refused { why } => Error::conflict(Reason::Busy, why),
        error => Error::from(error),
    }
}

/// Makes the wraps of the newest epoch that are missing: for the recovery key, and for each peer that has
/// wraps of an earlier one. Nothing is sealed under an epoch before this was done.
pub(crate) fn ensure_wraps(
    parts: &Parts,
    vault: VaultId,
    keys: &DomainKeys,
    peers: &[Card],
) -> Result<(), VaultError> {
    let names = parts.store.list(&layout::wraps_prefix(vault));
    let names = names.map_err(|error| error.while_doing("looking for wraps"))?;
    let mut recipients = vec![(Role::Recovery, parts.recovery_key)];
    for card in peers {
        let recipient = card.fields().receiving_key;
        for role in [Role::Restorable, Role::Structure] {
            let part = format!("-{}-{}-", role.number(), key_id(&recipient));
            if names.iter().any(|name| name.contains(&part)) {
                recipients.push((role, recipient));
            }
        }
    }
    for (role, recipient) in recipients {
        let wanted = layout::wrap_prefix(vault, keys.current_epoch(), role.number(), key_id(&recipient));
        if !names.iter().any(|name| name.starts_with(&wanted)) {
            store_wraps(parts, vault, keys, role, &recipient)?;
        }
    }
    Ok(())
}

/// How many manifests in the store list an epoch: deleted ones count until they are collected.
fn manifests_listing(parts: &Parts, vault: &Vault, epoch: Epoch) -> Result<u64, VaultError> {
    let prefix = layout::manifests_prefix(vault.id());
    let names = parts.store.list(&prefix).map_err(|error| error.while_doing("listing manifests"))?;
    let mut count = 0;
    for name in names {
        let digest = name.strip_prefix(&prefix).and_then(|name| name.strip_suffix(".manifest"));
        let Some(digest) = digest.and_then(|digest| from_hex(digest).ok()) else { continue };
        match vault.read_manifest(ManifestDigest(digest)) {
            Ok(manifest) => count += u64::from(manifest.fields().epochs.contains(&epoch)),
            // Collected in the meantime.
            Err(VaultError::ManifestMissing { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

fn remove_wraps(parts: &Parts, vault: VaultId, epoch: Epoch) -> Result<(), VaultError> {
    let doing = "removing the wraps of an epoch";
    let prefix = format!("{}{:08}-", layout::wraps_prefix(vault), epoch.0);
    for name in parts.store.list(&prefix).map_err(|error| error.while_doing(doing))? {
        parts.store.delete(&name).map_err(|error| error.while_doing(doing))?;
        crash_point!("key.epoch_wraps_gone");
    }
    Ok(())
}
