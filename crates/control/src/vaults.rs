//! Opening vaults: which key domain holds a project's backups, or a peer's replicas, and with which keys.
//!
//! A new primary vault is made durable in this order: key bundle, wrap for the offline recovery key,
//! properties, catalog row. A crash in between leaves an unused domain in the store, which is litter.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use catalog::{NewVault, VaultRow};
use model::ids::ProjectId;
use tokio::runtime::Handle;
use vault::crash_point;
use vault::cut::CutParameters;
use vault::error::VaultError;
use vault::ids::{DomainId, VaultId};
use vault::key_store::KeyStore;
use vault::keys::DomainKeys;
use vault::layout;
use vault::properties::VaultProperties;
use vault::recovery::wraps::keys_from_wraps;
use vault::signed::Signers;
use vault::vault::{Vault, VaultParts};
use vault::wrap::{Role, Wrap, WrapOrder};

use crate::epochs::ensure_wraps;
use crate::error::Error;
use crate::ledger::CatalogLedger;
use crate::lost_keys::LostKey;
use crate::region::signers_of;
use crate::{Control, Parts, blocking};

/// The vaults that are open in this process.
#[derive(Default)]
pub(crate) struct Vaults {
    open: Mutex<HashMap<VaultId, Vault>>,
}

impl Vaults {
    fn lock(&self) -> MutexGuard<'_, HashMap<VaultId, Vault>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// The vault of the backups of a project, made when the project has none yet.
    pub(crate) async fn vault_of_project(&self, project: &ProjectId) -> Result<Vault, Error> {
        let row = match self.catalog().vault_of_project(project).await? {
            Some(row) => row,
            None => self.make_vault(project).await?,
        };
        self.open_vault(row).await
    }

    /// The vault that holds an item, be it a backup or a replica.
    pub(crate) async fn vault_of_domain(
        &self,
        domain: [u8; 16],
        project: &ProjectId,
    ) -> Result<Vault, Error> {
        let row = self.catalog().vault_of_domain(domain, project).await?;
        let row =
            row.ok_or_else(|| Error::internal("to find a vault", "no vault holds the item's domain"))?;
        self.open_vault(row).await
    }

    /// Opens a vault, or gives the one that is open.
    pub(crate) async fn open_vault(&self, row: VaultRow) -> Result<Vault, Error> {
        let control = self.clone();
        let runtime = Handle::current();
        blocking(move || {
            let mut open = control.vaults().lock();
            if let Some(vault) = open.get(&VaultId(row.id)) {
                return Ok(vault.clone());
            }
            let vault = {
                let peers = control.peers().cards();
                let signers = signers_of(control.identity(), &peers);
                let troubles = control.troubles();
                let keys = match troubles.lacks(LostKey::Kek) {
                    false => load_keys(control.parts(), DomainId(row.domain))?,
                    true => keys_wrapped_for_us(control.parts(), VaultId(row.id), &signers)?,
                };
                let vault = open_from_store(control.parts(), &row, keys, signers, runtime)?;
                if row.source.is_none() && troubles.may_write() {
                    ensure_wraps(control.parts(), vault.id(), &vault.keys(), &peers)?;
                }
                vault
            };
            open.insert(vault.id(), vault.clone());
            Ok(vault)
        })
        .await?
        .map_err(|error: VaultError| Error::from(error))
    }

    /// A vault, if it is open in this process.
    pub(crate) fn opened_vault(&self, id: VaultId) -> Option<Vault> {
        self.vaults().lock().get(&id).cloned()
    }

    async fn make_vault(&self, project: &ProjectId) -> Result<VaultRow, Error> {
        let control = self.clone();
        let domain = blocking(move || make_domain(control.parts())).await??;
        let new = NewVault { id: domain.0, domain: domain.0, project_id: project.clone(), source: None };
        let row = self.catalog().ensure_vault(&new, self.now()).await?;
        crash_point!("vault.made");
        Ok(row)
    }
}

fn open_from_store(
    parts: &Parts,
    row: &VaultRow,
    keys: DomainKeys,
    signers: Signers,
    runtime: Handle,
) -> Result<Vault, VaultError> {
    let id = VaultId(row.id);
    let ledger =
        CatalogLedger { catalog: parts.catalog.clone(), vault_id: id, clock: parts.clock.clone(), runtime };
    Vault::open(VaultParts {
        id,
        store: parts.store.clone(),
        ledger: Arc::new(ledger),
        index_folder: parts.index_dir.join(id.to_string()),
        keys,
        cut: CutParameters::DEFAULT,
        identity: Some(parts.identity.clone()),
        signers,
        incarnation: parts.incarnation,
        clock: parts.clock.clone(),
        settings: parts.vault_settings,
    })
}

/// The keys of a vault of replicas, without the KEK: from the wraps that its origin made for us.
fn keys_wrapped_for_us(parts: &Parts, vault: VaultId, signers: &Signers) -> Result<DomainKeys, VaultError> {
    let own = parts.identity.receiving_key();
    let (keys, _) = keys_from_wraps(parts.store.as_ref(), vault, &[own], signers)?;
    keys.ok_or_else(|| VaultError::refused("its keys lie under the KEK, which this region runs without"))
}

/// The keys of the region's store.
pub(crate) fn key_store(parts: &Parts) -> KeyStore<'_> {
    KeyStore { store: parts.store.as_ref(), kek: &parts.kek }
}

/// The newest key bundle of a domain.
pub(crate) fn load_keys(parts: &Parts, domain: DomainId) -> Result<DomainKeys, VaultError> {
    let keys = key_store(parts).newest(domain)?;
    keys.ok_or_else(|| VaultError::refused(format!("the store has no keys of domain {domain}")))
}

/// Keeps keys as the next bundle of their domain. Never overwrites: a bundle is written once.
pub(crate) fn store_keys(parts: &Parts, keys: &DomainKeys) -> Result<(), VaultError> {
    key_store(parts).keep(keys)?;
    crash_point!("vault.keys_stored");
    Ok(())
}

/// Wraps every epoch of a domain for one recipient and keeps the wraps in a vault's folder.
pub(crate) fn store_wraps(
    parts: &Parts,
    vault: VaultId,
    keys: &DomainKeys,
    role: Role,
    recipient: &[u8; 32],
) -> Result<Vec<Vec<u8>>, VaultError> {
    let doing = "storing the wraps of a vault";
    let mut wraps = Vec::new();
    for (epoch, _) in keys.epochs() {
        let order = WrapOrder { keys, epoch, role, recipient };
        let bytes = Wrap::seal(&parts.identity, &order, parts.entropy.as_ref())?;
        let wrap = Wrap::decode(&bytes, &parts.identity.signers())?;
        let name = layout::wrap_name(vault, &wrap.name());
        match parts.store.get(&name, bytes.len() as u64 * 2) {
            Ok(earlier) => wraps.push(earlier),
            Err(vault::store::StoreError::NotFound { .. }) => {
                parts.store.put_if_absent(&name, &bytes).map_err(|error| error.while_doing(doing))?;
                wraps.push(bytes);
            }
            Err(error) => return Err(error.while_doing(doing)),
        }
    }
    crash_point!("vault.wraps_stored");
    Ok(wraps)
}

fn make_domain(parts: &Parts) -> Result<DomainId, VaultError> {
    let keys = DomainKeys::generate(parts.entropy.as_ref());
    let domain = keys.domain();
    store_keys(parts, &keys)?;
    store_wraps(parts, VaultId(domain.0), &keys, Role::Recovery, &parts.recovery_key)?;
    let properties = VaultProperties::primary(domain, parts.identity.region(), parts.clock.now_ms());
    let properties = properties.sign(&parts.identity)?;
    let name = layout::properties_name(VaultId(domain.0));
    parts
        .store
        .put_if_absent(&name, &properties)
        .map_err(|error| error.while_doing("storing the properties"))?;
    crash_point!("vault.properties_stored");
    Ok(domain)
}
