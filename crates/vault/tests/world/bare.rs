//! Restoring from a bare store and a recovery kit, as `docs/format.md` tells in "Recovery": no catalog,
//! no KEK, no index. What cannot be read is left out, and whatever needed it fails.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use vault::card::Card;
use vault::cut::CutParameters;
use vault::error::VaultError;
use vault::ids::{Incarnation, ManifestDigest, OperationId, PackNumber, RegionId, VaultId, from_hex};
use vault::keys::DomainKeys;
use vault::layout::{self, PackName};
use vault::ledger::{LedgerError, LedgerPack, PackLedger, SealedPack};
use vault::object::Opener;
use vault::recovery::RecoveryKit;
use vault::seams::FixedClock;
use vault::signed::Signers;
use vault::store::ObjectStore;
use vault::stored::{FORMAT_BYTES_MAX, check_format, read_card, read_pin, read_wrap};
use vault::vault::{Vault, VaultParts};
use vault::wrap::{ReceivingKey, WRAP_BYTES_MAX};

use super::{restore, settings};

const SMALL_BYTES_MAX: u64 = 1024;

/// What came of an item: its volumes in order, each restored or not.
pub(crate) type Outcome = Vec<Result<Vec<u8>, VaultError>>;

/// Restores every item that the kit opens.
pub(crate) fn restore_all(
    store: &Arc<dyn ObjectStore>,
    kit: &RecoveryKit,
) -> Result<BTreeMap<ManifestDigest, Outcome>, VaultError> {
    check_format(&get(store, layout::FORMAT_NAME, FORMAT_BYTES_MAX)?)?;
    let mut own = [0; 16];
    own.copy_from_slice(&kit.root_fingerprint()[..16]);
    let signers = believed(store, RegionId(own));
    let key = kit.seed().receiving_key();
    let mut items = BTreeMap::new();
    for id in vaults(store) {
        let Some(keys) = keys_of(store, id, &signers, &key) else { continue };
        let vault = open(store, id, keys, &signers)?;
        for name in list(store, &layout::manifests_prefix(id)) {
            let digest = name.rsplit('/').next().and_then(|name| name.strip_suffix(".manifest"));
            let Some(Ok(digest)) = digest.map(str::parse::<ManifestDigest>) else { continue };
            if let Ok(outcome) = restore_item(&vault, digest) {
                items.insert(digest, outcome);
            }
        }
    }
    Ok(items)
}

/// Every volume of an item, named `disk-0`, `disk-1`, … by the tests.
pub(crate) fn restore_item(vault: &Vault, digest: ManifestDigest) -> Result<Outcome, VaultError> {
    let manifest = vault.read_manifest(digest)?;
    let body = manifest.body(&vault.keys(), &mut Opener::new()?)?;
    manifest.description(vault.keys().as_ref(), &mut Opener::new()?)?;
    let sizes = body.volumes.iter().map(|volume| volume.shape.size_bytes());
    let restored = sizes.enumerate().map(|(index, size)| restore(vault, digest, index, size));
    Ok(restored.map(|disk| disk.map(|disk| disk.bytes())).collect())
}

/// The region itself, and the peers it pinned.
fn believed(store: &Arc<dyn ObjectStore>, own: RegionId) -> Signers {
    let cards: Vec<Card> = list(store, layout::CARDS_PREFIX)
        .iter()
        .filter_map(|name| read_card(name, &get(store, name, SMALL_BYTES_MAX).ok()?).ok())
        .collect();
    let mut signers = Signers::new();
    signers.trust_region(own);
    for card in &cards {
        signers.add_card(card);
    }
    let mut believed = signers.clone();
    for name in list(store, layout::PINS_PREFIX) {
        let Ok(bytes) = get(store, &name, SMALL_BYTES_MAX) else { continue };
        match read_pin(&name, &bytes, &signers) {
            Ok(pin) if pin.region == own => believed.trust_region(pin.peer()),
            _ => {}
        }
    }
    for card in &cards {
        believed.add_card(card);
    }
    believed
}

fn keys_of(
    store: &Arc<dyn ObjectStore>,
    vault: VaultId,
    signers: &Signers,
    key: &ReceivingKey,
) -> Option<DomainKeys> {
    let mut keys: Option<DomainKeys> = None;
    for name in list(store, &layout::wraps_prefix(vault)) {
        let Ok(bytes) = get(store, &name, WRAP_BYTES_MAX) else { continue };
        let Ok(wrap) = read_wrap(vault, &name, &bytes, signers) else { continue };
        let Ok(unwrapped) = wrap.open(key) else { continue };
        match &mut keys {
            None => keys = unwrapped.into_domain_keys().ok(),
            Some(keys) => unwrapped.add_to(keys).unwrap_or_default(),
        }
    }
    keys
}

fn open(
    store: &Arc<dyn ObjectStore>,
    id: VaultId,
    keys: DomainKeys,
    signers: &Signers,
) -> Result<Vault, VaultError> {
    Vault::open(VaultParts {
        id,
        store: store.clone(),
        ledger: Arc::new(BareLedger::of(store, id)),
        index_folder: PathBuf::from("/nonexistent"),
        keys,
        cut: CutParameters::DEFAULT,
        identity: None,
        signers: signers.clone(),
        incarnation: Incarnation([0; 16]),
        clock: Arc::new(FixedClock::new(0)),
        settings: settings(1),
    })
}

/// The vaults that names in the store speak of.
fn vaults(store: &Arc<dyn ObjectStore>) -> Vec<VaultId> {
    let names = list(store, layout::VAULTS_PREFIX);
    let id = |name: &String| {
        let (id, _) = name.strip_prefix(layout::VAULTS_PREFIX)?.split_once('/')?;
        from_hex(id).ok().map(VaultId)
    };
    let mut ids: Vec<VaultId> = names.iter().filter_map(id).collect();
    ids.dedup();
    ids
}

fn list(store: &Arc<dyn ObjectStore>, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap_or_default()
}

fn get(store: &Arc<dyn ObjectStore>, name: &str, bytes_max: u64) -> Result<Vec<u8>, VaultError> {
    store.get(name, bytes_max).map_err(|error| error.while_doing("reading a bare store"))
}

/// Every pack that the store holds, taken for live.
struct BareLedger {
    packs: Vec<LedgerPack>,
}

impl BareLedger {
    fn of(store: &Arc<dyn ObjectStore>, vault: VaultId) -> BareLedger {
        let mut packs = Vec::new();
        for name in list(store, &layout::packs_prefix(vault)) {
            let file_name = name.rsplit('/').next().unwrap_or_default();
            let (Ok(parsed), Ok(bytes)) = (PackName::parse(file_name), store.size(&name)) else { continue };
            let commit_seq = packs.len() as u64 + 1;
            packs.push(LedgerPack { number: parsed.number, name, bytes, commit_seq, is_live: true });
        }
        BareLedger { packs }
    }
}

impl PackLedger for BareLedger {
    fn begin(&self, _operation: OperationId, _base: Option<ManifestDigest>) -> Result<(), LedgerError> {
        Err(LedgerError::OperationClosed)
    }

    fn reserve(&self, _operation: OperationId) -> Result<PackNumber, LedgerError> {
        Err(LedgerError::OperationClosed)
    }

    fn seal(&self, _operation: OperationId, _sealed: &SealedPack) -> Result<u64, LedgerError> {
        Err(LedgerError::OperationClosed)
    }

    fn pin(&self, _operation: OperationId, _packs: &[PackNumber]) -> Result<Vec<bool>, LedgerError> {
        Err(LedgerError::OperationClosed)
    }

    fn live_since(&self, commit_seq: u64, limit: u32) -> Result<Vec<LedgerPack>, LedgerError> {
        let later = self.packs.iter().filter(|pack| pack.commit_seq > commit_seq);
        Ok(later.take(limit as usize).cloned().collect())
    }

    fn packs_of(&self, _operation: OperationId) -> Result<Vec<LedgerPack>, LedgerError> {
        Ok(Vec::new())
    }
}
