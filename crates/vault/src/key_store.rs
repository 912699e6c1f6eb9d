//! The keys that lie in a store: bundles of domain keys, one revision after the other, rings of KEKs, and
//! what changing a KEK does to them.
//!
//! The newest bundle of a domain counts. Which KEK sealed it stands in its header, so bundles under the
//! old and the new KEK lie beside each other while a rotation is under way, and each opens.
//! `docs/rfd/0007-keys.md` says what a crash leaves.

use std::collections::{BTreeMap, BTreeSet};

use crate::crash_point;
use crate::error::VaultError;
use crate::ids::DomainId;
use crate::kek::Kek;
use crate::kek::ring::RING_BYTES_MAX;
use crate::keys::DomainKeys;
use crate::layout;
use crate::object::Header;
use crate::store::{ObjectStore, Put, StoreError};

/// Largest key bundle that is read.
const BUNDLE_BYTES_MAX: u64 = 17 << 20;

/// The bundles of a store, opened and sealed with a KEK.
#[derive(Clone, Copy)]
pub struct KeyStore<'a> {
    /// The objects.
    pub store: &'a dyn ObjectStore,
    /// The KEK.
    pub kek: &'a Kek,
}

/// What sealing all bundles under another KEK came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Domains in the store.
    pub domain_count: u64,
    /// Those whose newest bundle was under another KEK before.
    pub sealed_count: u64,
}

impl KeyStore<'_> {
    /// The newest keys of a domain; none when the store has no bundle of it.
    ///
    /// # Errors
    /// `Unavailable`; `KekMissing`, `Corrupt`, `BadFormat` or `Refused` when the bundle does not open.
    pub fn newest(&self, domain: DomainId) -> Result<Option<DomainKeys>, VaultError> {
        let Some(revision) = self.revisions(domain)?.last().copied() else { return Ok(None) };
        let (name, stored) = self.read(domain, revision)?;
        self.kek.open_bundle(&name, &stored).map(Some)
    }

    /// Keeps keys as the next bundle of their domain. Never overwrites: a bundle is written once.
    ///
    /// # Errors
    /// `Unavailable`, `Full`; `Refused` when another process stored other keys at the same moment.
    pub fn keep(&self, keys: &DomainKeys) -> Result<(), VaultError> {
        let revision = self.revisions(keys.domain())?.last().map_or(1, |revision| revision + 1);
        let mut sealed = Vec::new();
        self.kek.seal_bundle(keys, revision, &mut sealed)?;
        self.put(&layout::bundle_name(keys.domain(), revision), &sealed)
    }

    /// Every domain that has a bundle, with its revisions, ascending.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn domains(&self) -> Result<BTreeMap<DomainId, BTreeSet<u64>>, VaultError> {
        let mut domains: BTreeMap<DomainId, BTreeSet<u64>> = BTreeMap::new();
        for name in self.list(layout::KEYS_PREFIX)? {
            if let Some((domain, revision)) = layout::bundle_of_name(&name) {
                domains.entry(domain).or_default().insert(revision);
            }
        }
        Ok(domains)
    }

    /// Keeps the ring of the KEK: those before it, sealed under it.
    ///
    /// # Errors
    /// `Unavailable`, `Full`; `Refused` when the store has another ring of that number.
    pub fn keep_ring(&self) -> Result<(), VaultError> {
        let mut sealed = Vec::new();
        self.kek.seal_ring(&mut sealed)?;
        self.put(&layout::ring_name(self.kek.number()), &sealed)
    }

    /// Seals the newest keys of every domain again that are not under this KEK yet.
    ///
    /// # Errors
    /// As [`KeyStore::newest`] and [`KeyStore::keep`]. What was sealed before stays.
    pub fn seal_all_again(&self) -> Result<Rewrapped, VaultError> {
        let mut done = Rewrapped::default();
        for domain in self.domains()?.into_keys() {
            done.domain_count += 1;
            done.sealed_count += u64::from(self.seal_again(domain)?);
        }
        Ok(done)
    }

    /// Seals the newest keys of a domain again if they are not under this KEK yet; true when it did.
    ///
    /// # Errors
    /// As [`KeyStore::newest`] and [`KeyStore::keep`].
    pub fn seal_again(&self, domain: DomainId) -> Result<bool, VaultError> {
        match self.newest_with_number(domain)? {
            Some((keys, number)) if number != self.kek.number() => {
                self.keep(&keys)?;
                crash_point!("key.rotate.bundle_stored");
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// True when this KEK opens the keys of any domain, or the store has none: it is this store's.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn is_of_this_store(&self) -> Result<bool, VaultError> {
        let domains = self.domains()?;
        for domain in domains.keys() {
            match self.newest(*domain) {
                Ok(_) => return Ok(true),
                Err(error) if error.is_passing() => return Err(error),
                Err(_) => {}
            }
        }
        Ok(domains.is_empty())
    }

    /// Proves that this KEK alone opens the newest keys of every domain.
    ///
    /// # Errors
    /// `Refused` when one is under another KEK, else as [`KeyStore::newest`].
    pub fn require_all_under_this_kek(&self) -> Result<(), VaultError> {
        for domain in self.domains()?.into_keys() {
            let number = self.newest_with_number(domain)?.map(|(_, number)| number);
            if number.is_some_and(|number| number != self.kek.number()) {
                return Err(VaultError::refused(format!(
                    "the keys of domain {domain} are under another KEK"
                )));
            }
        }
        Ok(())
    }

    /// Removes all bundles of a domain but the newest, which has to open. Returns how many went.
    ///
    /// # Errors
    /// As [`KeyStore::newest`].
    pub fn remove_older(&self, domain: DomainId) -> Result<u64, VaultError> {
        let revisions = self.revisions(domain)?;
        let Some(newest) = revisions.last().copied() else { return Ok(0) };
        let (name, stored) = self.read(domain, newest)?;
        self.kek.open_bundle(&name, &stored)?;
        let mut count = 0;
        for revision in revisions.into_iter().filter(|revision| *revision < newest) {
            let gone = self.store.delete(&layout::bundle_name(domain, revision));
            gone.map_err(|error| error.while_doing("removing an old key bundle"))?;
            crash_point!("key.older_bundle_gone");
            count += 1;
        }
        Ok(count)
    }

    /// The highest number of any KEK that the store shows traces of; none in a store without keys.
    ///
    /// # Errors
    /// `Unavailable`, `BadFormat`.
    pub fn highest_kek_number(&self) -> Result<Option<u32>, VaultError> {
        let rings = self.list(layout::KEYS_PREFIX)?;
        let mut highest = rings.iter().filter_map(|name| layout::ring_of_name(name)).max();
        for (domain, revisions) in self.domains()? {
            let Some(newest) = revisions.last() else { continue };
            let (_, stored) = self.read(domain, *newest)?;
            // A damaged bundle names no KEK.
            highest = highest.max(Header::parse(&stored).ok().map(|header| header.epoch.0));
        }
        Ok(highest)
    }

    fn newest_with_number(&self, domain: DomainId) -> Result<Option<(DomainKeys, u32)>, VaultError> {
        let Some(revision) = self.revisions(domain)?.last().copied() else { return Ok(None) };
        let (name, stored) = self.read(domain, revision)?;
        let number = Header::parse(&stored)?.epoch.0;
        Ok(Some((self.kek.open_bundle(&name, &stored)?, number)))
    }

    fn revisions(&self, domain: DomainId) -> Result<BTreeSet<u64>, VaultError> {
        let names = self.list(&layout::bundles_prefix(domain))?;
        Ok(names.iter().filter_map(|name| layout::bundle_revision(domain, name)).collect())
    }

    fn read(&self, domain: DomainId, revision: u64) -> Result<(String, Vec<u8>), VaultError> {
        let name = layout::bundle_name(domain, revision);
        let stored = self.store.get(&name, BUNDLE_BYTES_MAX);
        let stored = stored.map_err(|error| error.while_doing("loading the keys of a vault"))?;
        Ok((name, stored))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, VaultError> {
        self.store.list(prefix).map_err(|error| error.while_doing("looking for keys"))
    }

    /// Sealing is deterministic: the same keys are the same bytes, whoever stored them.
    fn put(&self, name: &str, sealed: &[u8]) -> Result<(), VaultError> {
        let doing = "storing keys";
        match self.store.put_if_absent(name, sealed).map_err(|error| error.while_doing(doing))? {
            Put::Created => Ok(()),
            Put::Exists => {
                let stored = self.store.get(name, BUNDLE_BYTES_MAX);
                match stored.map_err(|error| error.while_doing(doing))? == sealed {
                    true => Ok(()),
                    false => Err(VaultError::refused("other keys were stored at the same moment")),
                }
            }
        }
    }
}

/// Reads the ring of a KEK, if the store has it: the KEK then opens also what those before it sealed.
/// True when there was one.
///
/// # Errors
/// `Unavailable`; as [`Kek::open_ring`] when the ring does not open, as it does when the KEK is wrong.
pub fn read_ring(store: &dyn ObjectStore, kek: &mut Kek) -> Result<bool, VaultError> {
    let name = layout::ring_name(kek.number());
    match store.get(&name, RING_BYTES_MAX) {
        Ok(stored) => kek.open_ring(&name, &stored).map(|()| true),
        Err(StoreError::NotFound { .. }) => Ok(false),
        Err(error) => Err(error.while_doing("reading the ring of KEKs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::keys::Secret;
    use crate::seams::SeededEntropy;
    use crate::store::SimulatedStore;

    struct World {
        store: SimulatedStore,
        entropy: SeededEntropy,
    }

    impl World {
        fn new() -> World {
            World { store: SimulatedStore::new(1), entropy: SeededEntropy::new(1) }
        }

        fn kek(&self, number: u32) -> Kek {
            Kek::numbered(number, &Secret::generate(&self.entropy))
        }

        fn keys<'a>(&'a self, kek: &'a Kek) -> KeyStore<'a> {
            KeyStore { store: &self.store, kek }
        }
    }

    #[test]
    fn the_newest_revision_counts_and_older_ones_can_go() {
        let world = World::new();
        let kek = world.kek(0);
        let keys = world.keys(&kek);
        let mut domain = DomainKeys::generate(&world.entropy);
        assert!(keys.newest(domain.domain()).unwrap().is_none());
        keys.keep(&domain).unwrap();
        domain.begin_epoch(&world.entropy).unwrap();
        keys.keep(&domain).unwrap();
        assert_eq!(keys.newest(domain.domain()).unwrap().unwrap().current_epoch(), Epoch(2));
        assert_eq!(keys.domains().unwrap()[&domain.domain()], BTreeSet::from([1, 2]));
        assert_eq!(keys.remove_older(domain.domain()).unwrap(), 1);
        assert_eq!(keys.newest(domain.domain()).unwrap().unwrap().current_epoch(), Epoch(2));
        domain.begin_epoch(&world.entropy).unwrap();
        keys.keep(&domain).unwrap();
        assert_eq!(keys.domains().unwrap()[&domain.domain()], BTreeSet::from([2, 3]), "no name comes back");
        let stranger = world.kek(0);
        assert!(world.keys(&stranger).remove_older(domain.domain()).is_err(), "only who opens the newest");
    }

    #[test]
    fn all_domains_come_under_a_new_kek_once() {
        let world = World::new();
        let old = world.kek(0);
        let domains: Vec<DomainKeys> = (0..3).map(|_| DomainKeys::generate(&world.entropy)).collect();
        domains.iter().try_for_each(|keys| world.keys(&old).keep(keys)).unwrap();
        let mut new = world.kek(1);
        let alone = new.clone();
        assert!(world.keys(&new).seal_all_again().is_err(), "who does not know the old KEK seals nothing");
        new.also_opens(&old).unwrap();
        assert!(world.keys(&new).require_all_under_this_kek().is_err());
        world.keys(&new).keep_ring().unwrap();
        world.keys(&new).keep_ring().unwrap();
        let done = Rewrapped { domain_count: 3, sealed_count: 3 };
        assert_eq!(world.keys(&new).seal_all_again().unwrap(), done);
        assert_eq!(world.keys(&new).seal_all_again().unwrap(), Rewrapped { sealed_count: 0, ..done });
        world.keys(&alone).require_all_under_this_kek().unwrap();
        assert_eq!(world.keys(&alone).highest_kek_number().unwrap(), Some(1));
        let mut found = alone.clone();
        read_ring(&world.store, &mut found).unwrap();
        assert_eq!(found.opens().collect::<Vec<_>>(), [0, 1]);
        let other = world.kek(1);
        assert!(world.keys(&other).keep_ring().is_err(), "another ring under the same number");
        assert!(read_ring(&world.store, &mut other.clone()).is_err());
    }
}
