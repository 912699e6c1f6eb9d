//! What a kit is good for: the wraps of a store that it opens, believing nobody but the region whose
//! root fingerprint stands on the sheet. Needs no catalog, no KEK and no key of the running region.

use std::collections::{BTreeMap, BTreeSet};

use super::RecoveryKit;
use crate::card::{Card, Pin};
use crate::error::VaultError;
use crate::ids::{Epoch, ManifestDigest, RegionId, VaultId, from_hex};
use crate::keys::DomainKeys;
use crate::layout;
use crate::manifest::{MANIFEST_BYTES_MAX, Manifest};
use crate::properties::VaultProperties;
use crate::receipt::Mode;
use crate::signed::{Signers, fingerprint};
use crate::store::{ObjectStore, StoreError};
use crate::stored::{read_card, read_pin, read_wrap};
use crate::wrap::{ReceivingKey, Role, WRAP_BYTES_MAX, Wrap};

const CARD_BYTES_MAX: u64 = 64 << 10;
const PROPERTIES_BYTES_MAX: u64 = 4096;

/// An object that was found and not believed, and why.
pub type Refused = (String, String);

/// A region by its root fingerprint, and whose signatures its store gives reason to believe.
#[derive(Clone, Debug)]
pub struct Believed {
    /// Its name, from its newest card.
    pub name: String,
    /// Its id.
    pub region: RegionId,
    /// Its newest card.
    pub card: Card,
    /// It, and the regions that it pinned. It goes no further.
    pub signers: Signers,
}

impl Believed {
    /// Reads the cards and pins of a store.
    ///
    /// # Errors
    /// `Unavailable`; `Refused` when the store has no card with this root fingerprint.
    pub fn read(store: &dyn ObjectStore, root_fingerprint: &[u8; 32]) -> Result<Believed, VaultError> {
        let cards: Vec<Card> = read_all(store, layout::CARDS_PREFIX, read_card)?.0;
        let is_own = |card: &&Card| fingerprint(&card.root_key().0) == *root_fingerprint;
        let newest = cards.iter().filter(is_own).max_by_key(|card| card.fields().serial);
        let newest = newest.ok_or_else(|| {
            VaultError::refused("the store has no card of the region that the sheet belongs to")
        })?;
        let mut signers = Signers::new();
        signers.trust_region(newest.region());
        for card in cards.iter().filter(is_own) {
            signers.add_card(card);
        }
        let (pins, _) = read_all(store, layout::PINS_PREFIX, |name, bytes| read_pin(name, bytes, &signers))?;
        let pins: Vec<Pin> = pins;
        for pin in pins.iter().filter(|pin| pin.region == newest.region()) {
            signers.trust_region(pin.peer());
            for card in cards.iter().filter(|card| *card.root_key() == pin.peer_root_key) {
                signers.add_card(card);
            }
        }
        Ok(Believed {
            name: newest.fields().name.clone(),
            region: newest.region(),
            card: newest.clone(),
            signers,
        })
    }
}

/// The keys of a vault, from the wraps in its folder that one of these keys opens. Restorable wraps
/// count before structure wraps. None when there is no such wrap; what does not open is told.
///
/// # Errors
/// `Unavailable`; `Refused` when wraps contradict each other.
pub fn keys_from_wraps(
    store: &dyn ObjectStore,
    vault: VaultId,
    openers: &[&ReceivingKey],
    signers: &Signers,
) -> Result<(Option<DomainKeys>, Vec<Refused>), VaultError> {
    let mut keys: Option<DomainKeys> = None;
    let ours = |name: &str| openers.iter().any(|key| name.contains(&format!("-{}-", key.key_id())));
    let (mut wraps, mut refused) = read_all(store, &layout::wraps_prefix(vault), |name, bytes| {
        if ours(name) { read_wrap(vault, name, bytes, signers).map(Some) } else { Ok(None) }
    })?;
    wraps.sort_by_key(|wrap: &Option<Wrap>| wrap.as_ref().map(|wrap| wrap.fields().role == Role::Structure));
    for wrap in wraps.into_iter().flatten() {
        let name = layout::wrap_name(vault, &wrap.name());
        let Some(key) = openers.iter().find(|key| key.key_id() == wrap.fields().recipient) else { continue };
        let opened = wrap.open(key).and_then(|opened| match &mut keys {
            None => opened.into_domain_keys().map(|opened| keys = Some(opened)),
            // Structure keys add nothing to keys that open chunks.
            Some(keys) if keys.is_restorable() && wrap.fields().role == Role::Structure => Ok(()),
            Some(keys) => opened.add_to(keys),
        });
        if let Err(error) = opened {
            refused.push((name, error.to_string()));
        }
    }
    Ok((keys, refused))
}

/// One vault of the store, as a kit sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenVault {
    /// The vault.
    pub vault: VaultId,
    /// Whether it is sealed here: no kit of this region opens it, and none is meant to.
    pub is_sealed: bool,
    /// The epochs that the kit opens.
    pub epochs: Vec<Epoch>,
    /// Backups and replicas in the store of which it opens every epoch.
    pub opened_count: u64,
    /// Those of which it does not; in a vault that is sealed here, all.
    pub shut: Vec<ManifestDigest>,
}

/// What a kit was proved to open.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The region that it belongs to.
    pub region: Believed,
    /// Every vault in the store.
    pub vaults: Vec<ProvenVault>,
    /// Wraps, manifests and cards that were found and not believed.
    pub refused: Vec<Refused>,
}

impl RecoveryKit {
    /// Opens every wrap in a store that was made for this kit, and compares with what the manifests
    /// there need. Answers what opens, never a secret.
    ///
    /// # Errors
    /// `Unavailable`; `Refused` when the store knows nothing of the region on the sheet.
    pub fn prove_store(&self, store: &dyn ObjectStore) -> Result<Proof, VaultError> {
        let region = Believed::read(store, self.root_fingerprint())?;
        let key = self.seed().receiving_key();
        let mut proof = Proof { region, vaults: Vec::new(), refused: Vec::new() };
        for vault in vaults_of(store)? {
            let (keys, refused) = keys_from_wraps(store, vault, &[&key], &proof.region.signers)?;
            proof.refused.extend(refused);
            let epochs: BTreeSet<Epoch> =
                keys.iter().flat_map(|keys| keys.epochs().map(|(epoch, _)| epoch)).collect();
            let (manifests, refused) = read_all(store, &layout::manifests_prefix(vault), |_, bytes| {
                Manifest::decode(bytes, &proof.region.signers)
            })?;
            proof.refused.extend(refused);
            let (mut opened_count, mut shut) = (0, Vec::new());
            for manifest in manifests {
                match manifest.fields().epochs.iter().all(|epoch| epochs.contains(epoch)) {
                    true => opened_count += 1,
                    false => shut.push(manifest.digest()),
                }
            }
            proof.vaults.push(ProvenVault {
                vault,
                is_sealed: is_sealed(store, vault, &proof.region)?,
                epochs: epochs.into_iter().collect(),
                opened_count,
                shut,
            });
        }
        Ok(proof)
    }
}

/// Every vault that has anything in the store.
///
/// # Errors
/// `Unavailable`.
pub fn vaults_of(store: &dyn ObjectStore) -> Result<Vec<VaultId>, VaultError> {
    let names = store.list(layout::VAULTS_PREFIX).map_err(|error| error.while_doing("listing vaults"))?;
    let mut vaults = BTreeMap::new();
    for name in names {
        let id = name.strip_prefix(layout::VAULTS_PREFIX).and_then(|rest| rest.split_once('/'));
        if let Some(id) = id.and_then(|(id, _)| from_hex(id).ok()) {
            vaults.insert(id, VaultId(id));
        }
    }
    Ok(vaults.into_values().collect())
}

fn is_sealed(store: &dyn ObjectStore, vault: VaultId, region: &Believed) -> Result<bool, VaultError> {
    let bytes = match store.get(&layout::properties_name(vault), PROPERTIES_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(StoreError::NotFound { .. }) => return Ok(false),
        Err(error) => return Err(error.while_doing("reading the properties of a vault")),
    };
    let properties = VaultProperties::decode(&bytes, vault, region.region, &region.signers);
    Ok(properties.is_ok_and(|properties| properties.mode == Mode::Sealed))
}

/// Reads all objects under a prefix; those that are refused are told with their names.
fn read_all<T>(
    store: &dyn ObjectStore,
    prefix: &str,
    mut read: impl FnMut(&str, &[u8]) -> Result<T, VaultError>,
) -> Result<(Vec<T>, Vec<Refused>), VaultError> {
    let doing = "reading cards, wraps and manifests";
    let bytes_max = MANIFEST_BYTES_MAX.max(CARD_BYTES_MAX).max(WRAP_BYTES_MAX);
    let (mut found, mut refused) = (Vec::new(), Vec::new());
    for name in store.list(prefix).map_err(|error| error.while_doing(doing))? {
        let bytes = match store.get(&name, bytes_max) {
            Ok(bytes) => bytes,
            Err(error @ (StoreError::NotFound { .. } | StoreError::TooLong { .. })) => {
                refused.push((name, error.to_string()));
                continue;
            }
            Err(error) => return Err(error.while_doing(doing)),
        };
        match read(&name, &bytes) {
            Ok(value) => found.push(value),
            Err(error) => refused.push((name, error.to_string())),
        }
    }
    Ok((found, refused))
}
