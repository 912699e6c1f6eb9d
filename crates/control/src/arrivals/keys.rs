//! The papers of a transfer: wraps of the domain's keys. The source makes them for the destination and
//! sends its recovery wraps along; the destination opens its own, keeps all of them beside the packs,
//! and wraps what it may open for its own recovery key, so that its kit alone restores.

use catalog::VaultRow;
use model::grant::{Grant, Mode};
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::{DomainId, ManifestDigest, VaultId};
use vault::keys::DomainKeys;
use vault::layout;
use vault::manifest::{Manifest, ManifestFields};
use vault::properties::VaultProperties;
use vault::signed::Signers;
use vault::vault::Vault;
use vault::wrap::{Role, Wrap};

use crate::error::Error;
use crate::peers::Peer;
use crate::peers::messages::{OpenRequest, Refusal};
use crate::region::signers_of;
use crate::vaults::{load_keys, store_keys, store_wraps};
use crate::{Control, Parts, blocking};

/// Longest wrap that is read from the store.
const WRAP_BYTES_MAX: u64 = 4096;

impl Control {
    /// What goes with an item: its signed fields, and wraps of its keys for the destination and for our
    /// own recovery key.
    pub(crate) async fn papers_of(
        &self,
        vault: &Vault,
        manifest: ManifestDigest,
        peer: &Peer,
        mode: Mode,
    ) -> Result<(ManifestFields, Vec<Vec<u8>>), Error> {
        let (control, vault, recipient) = (self.clone(), vault.clone(), peer.card.fields().receiving_key);
        let papers = blocking(move || {
            let fields = vault.read_manifest(manifest)?.fields().clone();
            let keys = vault.keys();
            let role = role_of(mode);
            let mut wraps = store_wraps(control.parts(), vault.id(), &keys, role, &recipient)?;
            let recovery = &control.parts().recovery_key;
            wraps.extend(store_wraps(control.parts(), vault.id(), &keys, Role::Recovery, recovery)?);
            let signers = control.identity().signers();
            wraps.retain(|bytes| {
                Wrap::decode(bytes, &signers).is_ok_and(|wrap| fields.epochs.contains(&wrap.fields().epoch))
            });
            Ok::<_, VaultError>((fields, wraps))
        })
        .await??;
        Ok(papers)
    }

    /// Takes in the keys that come with an offer: every epoch of the manifest must have a wrap for us.
    pub(super) async fn take_keys(
        &self,
        peer: &Peer,
        grant: &Grant,
        row: &VaultRow,
        manifest: &Manifest,
        request: &OpenRequest,
    ) -> Result<(), (Refusal, String)> {
        let control = self.clone();
        let (peer, mode, vault_id) = (peer.clone(), grant.mode, VaultId(row.id));
        let (manifest, wraps) = (manifest.clone(), request.wraps.clone());
        let done = blocking(move || {
            let papers = Papers {
                parts: control.parts(),
                signers: signers_of(control.identity(), std::slice::from_ref(&peer.card)),
                vault_id,
                mode,
            };
            papers.take(&peer, &manifest, &wraps)
        })
        .await;
        match done {
            Ok(Ok(Some(keys))) => {
                if let Some(vault) = self.opened_vault(vault_id) {
                    vault.set_keys(keys).map_err(|error| (Refusal::WrongWrap, error.to_string()))?;
                }
                Ok(())
            }
            Ok(Ok(None)) => Ok(()),
            Ok(Err(error)) if error.is_passing() => Err((Refusal::Unavailable, error.to_string())),
            Ok(Err(error)) => Err((Refusal::WrongWrap, error.to_string())),
            Err(error) => Err((Refusal::Unavailable, error.to_string())),
        }
    }
}

fn role_of(mode: Mode) -> Role {
    match mode {
        Mode::Restorable => Role::Restorable,
        Mode::Sealed => Role::Structure,
    }
}

/// The papers of one replica vault.
struct Papers<'a> {
    parts: &'a Parts,
    signers: Signers,
    vault_id: VaultId,
    mode: Mode,
}

impl Papers<'_> {
    /// Checks and keeps the wraps; answers the domain's keys when they grew.
    fn take(
        &self,
        peer: &Peer,
        manifest: &Manifest,
        wraps: &[Vec<u8>],
    ) -> Result<Option<DomainKeys>, VaultError> {
        let domain = manifest.fields().domain;
        let known = self.known_keys(domain)?;
        let is_known =
            |keys: &DomainKeys| manifest.fields().epochs.iter().all(|epoch| keys.epoch_keys(*epoch).is_ok());
        if known.as_ref().is_some_and(is_known) && self.has_properties()? {
            return Ok(None);
        }
        let mut keys = known;
        for bytes in wraps {
            let wrap = Wrap::decode(bytes, &self.signers)?;
            if wrap.fields().source_region != peer.card.region() || wrap.fields().domain != domain {
                return Err(VaultError::refused("a wrap of another region or domain"));
            }
            self.keep_wrap(&wrap, bytes)?;
            if wrap.fields().recipient == self.parts.identity.receiving_key().key_id() {
                keys = Some(self.open_wrap(&wrap, keys)?);
            }
        }
        let keys = keys.ok_or_else(|| VaultError::refused("no wrap for this region came with the item"))?;
        if let Some(missing) = manifest.fields().epochs.iter().find(|epoch| keys.epoch_keys(**epoch).is_err())
        {
            return Err(VaultError::refused(format!("no wrap for epoch {missing} came with the item")));
        }
        store_keys(self.parts, &keys)?;
        if self.mode == Mode::Restorable {
            store_wraps(self.parts, self.vault_id, &keys, Role::Recovery, &self.parts.recovery_key)?;
        }
        self.keep_properties(domain, peer)?;
        crash_point!("arrival.properties_stored");
        Ok(Some(keys))
    }

    fn known_keys(&self, domain: DomainId) -> Result<Option<DomainKeys>, VaultError> {
        let names = self.parts.store.list(&layout::bundles_prefix(domain));
        let names = names.map_err(|error| error.while_doing("looking for the keys of a domain"))?;
        if names.is_empty() { Ok(None) } else { load_keys(self.parts, domain).map(Some) }
    }

    fn open_wrap(&self, wrap: &Wrap, keys: Option<DomainKeys>) -> Result<DomainKeys, VaultError> {
        let is_agreed = wrap.fields().role == role_of(self.mode);
        if !is_agreed {
            return Err(VaultError::refused("the wrap is for another mode than the grant's"));
        }
        let unwrapped = wrap.open(self.parts.identity.receiving_key())?;
        match keys {
            None => unwrapped.into_domain_keys(),
            Some(keys) if keys.epoch_keys(wrap.fields().epoch).is_ok() => Ok(keys),
            Some(mut keys) => {
                unwrapped.add_to(&mut keys)?;
                Ok(keys)
            }
        }
    }

    /// Keeps a wrap once per (domain, epoch, role, recipient); another key check is refused, never
    /// replaced: it would be another key under the same number.
    fn keep_wrap(&self, wrap: &Wrap, bytes: &[u8]) -> Result<(), VaultError> {
        let doing = "keeping a wrap";
        let name = layout::wrap_name(self.vault_id, &wrap.name());
        let stem = name.rsplit_once('-').map_or(name.as_str(), |(stem, _)| stem);
        let names = self.parts.store.list(stem).map_err(|error| error.while_doing(doing))?;
        if let Some(other) = names.iter().find(|other| **other != name) {
            return Err(VaultError::Forked { what: format!("the key of {other} came with another check") });
        }
        if names.is_empty() {
            self.parts.store.put_if_absent(&name, bytes).map_err(|error| error.while_doing(doing))?;
        }
        Ok(())
    }

    fn has_properties(&self) -> Result<bool, VaultError> {
        match self.parts.store.get(&layout::properties_name(self.vault_id), WRAP_BYTES_MAX) {
            Ok(_) => Ok(true),
            Err(vault::store::StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.while_doing("reading the properties of a vault")),
        }
    }

    fn keep_properties(&self, domain: DomainId, peer: &Peer) -> Result<(), VaultError> {
        if self.has_properties()? {
            return Ok(());
        }
        let mode = match self.mode {
            Mode::Restorable => vault::receipt::Mode::Restorable,
            Mode::Sealed => vault::receipt::Mode::Sealed,
        };
        let now_ms = self.parts.clock.now_ms();
        let properties = VaultProperties::replica(self.vault_id, domain, peer.card.region(), mode, now_ms);
        let name = layout::properties_name(self.vault_id);
        let put = self.parts.store.put_if_absent(&name, &properties.sign(&self.parts.identity)?);
        put.map_err(|error| error.while_doing("storing the properties of a vault"))?;
        Ok(())
    }
}
