//! A vault opened from nothing but the objects of a store and one key: what is left when catalog,
//! index and the other region are gone.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use model::ids::VolumeId;
use vault::card::{Card, Pin};
use vault::cut::CutParameters;
use vault::ids::{DomainId, Incarnation, ManifestDigest, OperationId, PackNumber, RegionId, VaultId};
use vault::kek::Kek;
use vault::keys::DomainKeys;
use vault::layout::{self, PackName};
use vault::ledger::{LedgerError, LedgerPack, PackLedger, SealedPack};
use vault::object::Opener;
use vault::progress::NoProgress;
use vault::recovery::RecoverySeed;
use vault::seams::FixedClock;
use vault::signed::Signers;
use vault::state::{ArrivalRecord, STATE_BYTES_MAX, StateObject, StateRecord};
use vault::store::{ObjectStore, SimulatedStore};
use vault::vault::{Vault, VaultParts};
use vault::wrap::Wrap;

use crate::disks::{Image, MemoryDisk};
use crate::region::settings;

const BYTES_MAX: u64 = 1 << 20;

/// The objects of one region, whose id somebody remembers.
pub(crate) struct BareStore {
    store: SimulatedStore,
    region: RegionId,
    signers: Signers,
}

/// Every whole pack that the store holds, taken for live.
struct BareLedger {
    packs: Vec<LedgerPack>,
}

impl BareStore {
    /// A copy of the objects; calls and faults of the original do not touch it.
    pub(crate) fn of(original: &SimulatedStore, region: RegionId) -> BareStore {
        let store = SimulatedStore::new(0);
        for (name, bytes) in original.objects() {
            store.put_if_absent(&name, &bytes).unwrap();
        }
        let cards: Vec<Card> = names(&store, layout::CARDS_PREFIX)
            .iter()
            .map(|name| Card::decode(&store.get(name, BYTES_MAX).unwrap()).unwrap())
            .collect();
        let mut signers = Signers::new();
        signers.trust_region(region);
        add_cards(&mut signers, &cards);
        for name in names(&store, layout::PINS_PREFIX) {
            let pin = Pin::decode(&store.get(&name, BYTES_MAX).unwrap(), &signers).unwrap();
            signers.trust_region(pin.peer());
        }
        add_cards(&mut signers, &cards);
        BareStore { store, region, signers }
    }

    /// The keys of a domain, from its newest bundle.
    pub(crate) fn keys_by_kek(&self, domain: DomainId, kek: &Kek) -> DomainKeys {
        let newest = names(&self.store, &layout::bundles_prefix(domain)).pop();
        let newest = newest.unwrap_or_else(|| panic!("the store has no keys of domain {domain}"));
        kek.open_bundle(&newest, &self.store.get(&newest, 1 << 24).unwrap()).unwrap()
    }

    /// The keys of a vault, from the wraps for the offline recovery key.
    pub(crate) fn keys_by_recovery(&self, vault: VaultId, seed: &RecoverySeed) -> DomainKeys {
        let key = seed.receiving_key();
        let mut keys: Option<DomainKeys> = None;
        for name in names(&self.store, &layout::wraps_prefix(vault)) {
            let wrap = Wrap::decode(&self.store.get(&name, BYTES_MAX).unwrap(), &self.signers).unwrap();
            if wrap.fields().recipient != key.key_id() {
                continue;
            }
            let unwrapped = wrap.open(&key).unwrap();
            match &mut keys {
                None => keys = Some(unwrapped.into_domain_keys().unwrap()),
                Some(keys) => unwrapped.add_to(keys).unwrap(),
            }
        }
        keys.unwrap_or_else(|| panic!("vault {vault} has no wrap for the recovery key"))
    }

    pub(crate) fn open(&self, id: VaultId, keys: DomainKeys) -> Vault {
        let vault = Vault::open(VaultParts {
            id,
            store: Arc::new(self.store.clone()),
            ledger: Arc::new(BareLedger::of(&self.store, id)),
            index_folder: PathBuf::from("/nonexistent"),
            keys,
            cut: CutParameters::DEFAULT,
            identity: None,
            signers: self.signers.clone(),
            incarnation: Incarnation([0; 16]),
            clock: Arc::new(FixedClock::new(0)),
            settings: settings(),
        });
        let vault = vault.unwrap();
        vault.refresh_index().unwrap();
        vault
    }

    /// The arrivals that the store itself tells of, by manifest.
    pub(crate) fn arrivals(&self, kek: &Kek) -> BTreeMap<ManifestDigest, ArrivalRecord> {
        let mut arrivals = BTreeMap::new();
        for name in names(&self.store, layout::STATE_PREFIX) {
            let stored = self.store.get(&name, STATE_BYTES_MAX).unwrap();
            let object = StateObject::open(&name, &stored, kek, self.region, &self.signers).unwrap();
            if let StateRecord::Arrival(arrival) = object.record {
                arrivals.insert(arrival.manifest, arrival);
            }
        }
        arrivals
    }
}

/// Restores every volume of an item into memory.
pub(crate) fn restore_images(vault: &Vault, digest: ManifestDigest) -> BTreeMap<VolumeId, Image> {
    let manifest = vault.read_manifest(digest).unwrap();
    let body = manifest.body(vault.keys().as_ref(), &mut Opener::new().unwrap()).unwrap();
    let mut images = BTreeMap::new();
    for volume in &body.volumes {
        let disk = MemoryDisk::new(volume.shape.size_bytes());
        let restored = vault.restore_volume(digest, &volume.volume_id, &disk, &NoProgress);
        restored.unwrap_or_else(|error| panic!("{digest} {}: {error}", volume.volume_id));
        images.insert(volume.volume_id.parse().unwrap(), disk.image());
    }
    images
}

/// Learns the keys of the cards of believed regions; other cards are no harm.
fn add_cards(signers: &mut Signers, cards: &[Card]) {
    for card in cards {
        signers.add_card(card);
    }
}

fn names(store: &SimulatedStore, prefix: &str) -> Vec<String> {
    store.list(prefix).unwrap()
}

impl BareLedger {
    fn of(store: &SimulatedStore, vault: VaultId) -> BareLedger {
        let mut packs = Vec::new();
        for name in names(store, &layout::packs_prefix(vault)) {
            let file_name = name.rsplit('/').next().unwrap_or_default();
            let number = PackName::parse(file_name).unwrap().number;
            let (bytes, commit_seq) = (store.size(&name).unwrap(), packs.len() as u64 + 1);
            packs.push(LedgerPack { number, name, bytes, commit_seq, is_live: true });
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
        Ok(self
            .packs
            .iter()
            .filter(|pack| pack.commit_seq > commit_seq)
            .take(limit as usize)
            .cloned()
            .collect())
    }

    fn packs_of(&self, _operation: OperationId) -> Result<Vec<LedgerPack>, LedgerError> {
        Ok(Vec::new())
    }
}
