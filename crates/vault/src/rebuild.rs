//! Reading a bare store: what a rebuild finds when nothing but objects and the region's keys is left.
//!
//! It believes one region's signature, its own, and those that its own pins vouch for. What does not
//! open, verify or lie under its own name is left out and told ([`LeftOut`]); it never stops the rest.
//! A store that does not answer does: absence is never inferred from an error. `docs/rfd/0005`.

use std::collections::BTreeMap;

use crate::card::{CARD_BYTES_MAX, Card, Pin, RegionIdentity};
use crate::error::VaultError;
use crate::ids::{Incarnation, RegionId, VaultId, from_hex};
use crate::kek::Kek;
use crate::layout::{self, PackName};
use crate::ledger::SealedPack;
use crate::pack::read_footer_of;
use crate::properties::{PROPERTIES_BYTES_MAX, VaultProperties};
use crate::signed::Signers;
use crate::state::{STATE_BYTES_MAX, StateObject, StateRecord};
use crate::store::{ObjectStore, StoreError};

/// An object that was found and not used, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name in the store.
    pub name: String,
    /// Why, for a person.
    pub why: String,
}

impl LeftOut {
    /// Notes an object and what was wrong with it.
    pub fn new(name: impl Into<String>, why: impl ToString) -> LeftOut {
        LeftOut { name: name.into(), why: why.to_string() }
    }
}

/// A region that ours vouched for when they were paired.
#[derive(Clone, Debug)]
pub struct PinnedPeer {
    /// Its newest card.
    pub card: Card,
    /// When they were paired, in milliseconds since 1970.
    pub pinned_at_ms: u64,
}

/// Whose signatures the store gives reason to believe.
#[derive(Clone, Debug)]
pub struct Believed {
    /// Our own region alone: who may have written state and properties.
    pub own: Signers,
    /// Our own region and those it pinned: who may have signed manifests.
    pub all: Signers,
    /// The pinned regions, by id.
    pub peers: Vec<PinnedPeer>,
}

/// A region's bare store.
pub struct BareStore<'a> {
    /// The objects.
    pub store: &'a dyn ObjectStore,
    /// The region whose store it is: its root key is the one that is pinned.
    pub identity: &'a RegionIdentity,
    /// The key that seals its state.
    pub kek: &'a Kek,
}

/// The lives of the catalog that left state objects, each with its generation and its highest number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lives {
    lives: BTreeMap<Incarnation, (u32, u64)>,
}

impl Lives {
    /// The generation of a life; 0 for one without a record.
    pub fn generation(&self, incarnation: Incarnation) -> u32 {
        self.lives.get(&incarnation).map_or(0, |(generation, _)| *generation)
    }

    /// The generation of the next life.
    pub fn next_generation(&self) -> u32 {
        self.lives.values().map(|(generation, _)| generation.saturating_add(1)).max().unwrap_or(1)
    }

    /// Every life and the highest number seen of it, by id.
    pub fn all(&self) -> Vec<(Incarnation, u64)> {
        self.lives.iter().map(|(incarnation, (_, sequence))| (*incarnation, *sequence)).collect()
    }

    fn note(&mut self, object: &StateObject) {
        let life = self.lives.entry(object.stamp.incarnation).or_default();
        life.1 = life.1.max(object.stamp.sequence);
        if let StateRecord::Incarnation(record) = &object.record {
            life.0 = life.0.max(record.generation);
        }
    }
}

/// One vault of the store, by what its owner signed about it.
#[derive(Clone, Debug)]
pub struct FoundVault {
    /// What it is.
    pub properties: VaultProperties,
    /// The names of its packs.
    pub packs: Vec<String>,
    /// The names of its manifests.
    pub manifests: Vec<String>,
}

impl BareStore<'_> {
    /// Finds out whom to believe: our own root key, what its cards name, and what those keys pinned. It
    /// goes no further.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn believed(&self, left_out: &mut Vec<LeftOut>) -> Result<Believed, VaultError> {
        let doing = "reading cards and pins";
        let region = self.identity.region();
        let mut own = self.identity.signers();
        let mut cards = Vec::new();
        for name in self.list(layout::CARDS_PREFIX, doing)? {
            let bytes = self.get(&name, CARD_BYTES_MAX, doing)?;
            match bytes.and_then(|bytes| Card::decode(&bytes).map_err(|error| LeftOut::new(&name, error))) {
                Ok(card) if card.region() != region => cards.push((name, card)),
                Ok(card) if card.root_key() == self.identity.card().root_key() => {
                    own.add_card(&card);
                }
                Ok(_) => left_out.push(LeftOut::new(name, "another root key under our region's id")),
                Err(error) => left_out.push(error),
            }
        }
        let mut pins: BTreeMap<RegionId, Pin> = BTreeMap::new();
        for name in self.list(layout::PINS_PREFIX, doing)? {
            let bytes = self.get(&name, CARD_BYTES_MAX, doing)?;
            match bytes
                .and_then(|bytes| Pin::decode(&bytes, &own).map_err(|error| LeftOut::new(&name, error)))
            {
                Ok(pin) => {
                    pins.insert(pin.peer(), pin);
                }
                Err(error) => left_out.push(error),
            }
        }
        let mut all = own.clone();
        let mut newest: BTreeMap<RegionId, PinnedPeer> = BTreeMap::new();
        for (name, card) in cards {
            let Some(pin) = pins.get(&card.region()).filter(|pin| pin.peer_root_key == *card.root_key())
            else {
                left_out.push(LeftOut::new(name, "our region never vouched for this one"));
                continue;
            };
            all.trust_region(card.region());
            all.add_card(&card);
            let serial = card.fields().serial;
            if newest.get(&card.region()).is_none_or(|peer| peer.card.fields().serial < serial) {
                newest.insert(card.region(), PinnedPeer { card, pinned_at_ms: pin.pinned_at_ms });
            }
        }
        Ok(Believed { own, all, peers: newest.into_values().collect() })
    }

    /// Reads every state object that this region signed; `take` gets each with the generation of its
    /// life. `told` hears how many of how many are read.
    ///
    /// # Errors
    /// `Unavailable`; `Refused` when there are state objects and the KEK opens none of them.
    pub fn read_state(
        &self,
        signers: &Signers,
        left_out: &mut Vec<LeftOut>,
        told: &mut dyn FnMut(u64, u64),
        take: &mut dyn FnMut(u32, StateObject),
    ) -> Result<Lives, VaultError> {
        let doing = "reading state objects";
        let names = self.list(layout::STATE_PREFIX, doing)?;
        let mut lives = Lives::default();
        // A life's record is its first object, so the lives are known before the rest is read.
        for name in names.iter().filter(|name| name.ends_with("-0000000000000001.state")) {
            if let Ok(object) = self.open_state(name, signers)? {
                lives.note(&object);
            }
        }
        let mut opened = 0u64;
        for (done, name) in names.iter().enumerate() {
            match self.open_state(name, signers)? {
                Ok(object) => {
                    lives.note(&object);
                    opened += 1;
                    take(lives.generation(object.stamp.incarnation), object);
                }
                Err(error) => left_out.push(error),
            }
            told(done as u64 + 1, names.len() as u64);
        }
        if opened == 0 && !names.is_empty() {
            return Err(VaultError::refused(
                "the KEK in the keys folder opens none of the store's state objects: it belongs to another \
                 region or to an earlier time; put the right one in its place",
            ));
        }
        Ok(lives)
    }

    fn open_state(&self, name: &str, signers: &Signers) -> Result<Result<StateObject, LeftOut>, VaultError> {
        let stored = match self.get(name, STATE_BYTES_MAX, "reading a state object")? {
            Ok(stored) => stored,
            Err(left_out) => return Ok(Err(left_out)),
        };
        let opened = StateObject::open(name, &stored, self.kek, self.identity.region(), signers);
        Ok(opened.map_err(|error| LeftOut::new(name, error)))
    }

    /// Every vault that this region signed for, with the names of its packs and manifests.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn vaults(
        &self,
        signers: &Signers,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Vec<FoundVault>, VaultError> {
        let doing = "listing vaults";
        let mut ids: Vec<VaultId> = Vec::new();
        let names = self.list(layout::VAULTS_PREFIX, doing)?;
        for name in &names {
            let id = name.strip_prefix(layout::VAULTS_PREFIX).and_then(|rest| rest.split('/').next());
            match id.and_then(|id| from_hex::<16>(id).ok()).map(VaultId) {
                Some(id) if ids.last() != Some(&id) => ids.push(id),
                Some(_) => {}
                None => left_out.push(LeftOut::new(name, "not in the folder of a vault")),
            }
        }
        let mut found = Vec::with_capacity(ids.len());
        for vault in ids {
            let name = layout::properties_name(vault);
            let bytes = self.get(&name, PROPERTIES_BYTES_MAX, doing)?;
            let read = bytes.and_then(|bytes| {
                VaultProperties::decode(&bytes, vault, self.identity.region(), signers)
                    .map_err(|error| LeftOut::new(&name, error))
            });
            let properties = match read {
                Ok(properties) => properties,
                Err(error) => {
                    left_out.push(error);
                    continue;
                }
            };
            let under = |prefix: String| names.iter().filter(move |name| name.starts_with(&prefix)).cloned();
            found.push(FoundVault {
                properties,
                packs: under(layout::packs_prefix(vault)).collect(),
                manifests: under(layout::manifests_prefix(vault)).collect(),
            });
        }
        Ok(found)
    }

    /// Reads the end of a pack. The objects before it are not looked at: their digests are their names,
    /// and whoever reads one checks it.
    ///
    /// # Errors
    /// `Unavailable`. The inner error says why the pack cannot be used.
    pub fn inspect_pack(&self, name: &str) -> Result<Result<SealedPack, LeftOut>, VaultError> {
        let file_name = name.rsplit('/').next().unwrap_or_default();
        let pack = match PackName::parse(file_name) {
            Ok(pack) => pack,
            Err(error) => return Ok(Err(LeftOut::new(name, error))),
        };
        let bytes = match self.store.size(name) {
            Ok(bytes) => bytes,
            Err(error @ StoreError::NotFound { .. }) => return Ok(Err(LeftOut::new(name, error))),
            Err(error) => return Err(error.while_doing("reading the size of a pack")),
        };
        match read_footer_of(self.store, name, bytes) {
            Ok((place, footer)) => Ok(Ok(SealedPack {
                number: pack.number,
                incarnation: padded(pack.incarnation),
                bytes,
                object_count: u32::try_from(footer.entries.len()).expect("a footer lists fewer objects"),
                footer_digest: place.digest,
            })),
            Err(error @ VaultError::BadFormat { .. }) => Ok(Err(LeftOut::new(name, error))),
            Err(error) => Err(error),
        }
    }

    fn list(&self, prefix: &str, doing: &'static str) -> Result<Vec<String>, VaultError> {
        self.store.list(prefix).map_err(|error| error.while_doing(doing))
    }

    /// The inner error is about this object alone.
    fn get(
        &self,
        name: &str,
        bytes_max: u64,
        doing: &'static str,
    ) -> Result<Result<Vec<u8>, LeftOut>, VaultError> {
        match self.store.get(name, bytes_max) {
            Ok(bytes) => Ok(Ok(bytes)),
            Err(
                error @ (StoreError::NotFound { .. }
                | StoreError::TooLong { .. }
                | StoreError::TooShort { .. }
                | StoreError::BadName { .. }),
            ) => Ok(Err(LeftOut::new(name, error))),
            Err(error) => Err(error.while_doing(doing)),
        }
    }
}

/// An incarnation of which a pack's name tells the first bytes only: enough to give the name again.
fn padded(start: [u8; 4]) -> Incarnation {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&start);
    Incarnation(bytes)
}
