//! The keys a start finds. Each that cannot be used becomes a trouble that is told; its place is taken by
//! something that opens and signs nothing.

use std::path::Path;

use control::lost_keys::{KeyTrouble, KeyTroubles, LostKey};
use control::region::{KeyFiles, newest_card};
use vault::card::RegionIdentity;
use vault::ids::RegionId;
use vault::kek::Kek;
use vault::key_store::KeyStore;
use vault::store::ObjectStore;

use super::key_files;
use crate::config::Config;
use crate::init::recovery_key;
use crate::peer::identity::TlsIdentity;
use crate::serve::StartError;
use crate::world::SystemEntropy;

/// The keys of a region at its start.
pub(crate) struct HeldKeys {
    /// Opens the keys of every domain.
    pub(crate) kek: Kek,
    /// Signs.
    pub(crate) identity: RegionIdentity,
    /// New keys are wrapped for it.
    pub(crate) recovery_key: [u8; 32],
    /// The link to other regions.
    pub(crate) tls: Option<TlsIdentity>,
    /// What is missing.
    pub(crate) troubles: KeyTroubles,
}

impl HeldKeys {
    /// Loads what can be loaded.
    ///
    /// # Errors
    /// Only what has nothing to do with a missing key: the store does not answer, or has no card.
    pub(crate) fn load(
        config: &Config,
        store: &dyn ObjectStore,
        region: RegionId,
    ) -> Result<HeldKeys, StartError> {
        let mut troubles = Vec::new();
        let mut lost = |key, why: &dyn std::error::Error| {
            let why = with_causes(why);
            troubles.push(KeyTrouble { key, why });
        };
        let kek = key_files(config).and_then(|files| checked_kek(&files, store));
        let kek = match kek {
            Ok(kek) => kek,
            Err(StartError::Vault(error)) if error.is_passing() => return Err(error.into()),
            Err(error) => {
                lost(LostKey::Kek, &error);
                Kek::lost(&SystemEntropy)
            }
        };
        let card = newest_card(store, region)?;
        let files = KeyFiles::new(&config.storage.keys_dir);
        let identity = match files.open_identity(store, region) {
            Ok(identity) => identity,
            Err(error) => {
                lost(LostKey::Working, &error);
                RegionIdentity::without_keys(card, &SystemEntropy)
            }
        };
        let recovery_key = match recovery_key(&config.storage.keys_dir) {
            Ok(key) => key,
            Err(error) => {
                lost(LostKey::Recovery, &error);
                [0; 32]
            }
        };
        let tls = match tls_of_card(&config.storage.keys_dir, &identity) {
            Ok(tls) => Some(tls),
            Err(error) => {
                lost(LostKey::Tls, &error);
                None
            }
        };
        Ok(HeldKeys { kek, identity, recovery_key, tls, troubles: KeyTroubles::new(troubles) })
    }
}

/// The KEK, once it opened the keys of a domain: a KEK of another region is as good as none.
fn checked_kek(files: &KeyFiles, store: &dyn ObjectStore) -> Result<Kek, StartError> {
    let kek = files.open_kek(store)?;
    match (KeyStore { store, kek: &kek }).is_of_this_store()? {
        true => Ok(kek),
        false => Err(StartError::Refused(
            "it opens none of the keys in the store, so it is not the KEK of this region".into(),
        )),
    }
}

fn tls_of_card(keys_dir: &Path, identity: &RegionIdentity) -> Result<TlsIdentity, StartError> {
    let tls = TlsIdentity::load(keys_dir)?;
    match tls.tls_key_hash() == identity.card().fields().tls_key_hash {
        true => Ok(tls),
        false => Err(StartError::Refused("it is not the one on the region's card".into())),
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        // Some causes repeat what stands around them.
        if !text.ends_with(&inner.to_string()) {
            text.push_str(&format!(": {inner}"));
        }
        cause = inner.source();
    }
    text
}
