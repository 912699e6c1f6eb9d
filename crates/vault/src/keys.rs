//! The keys of a key domain: what opens its chunks, what walks its trees, and what finds duplicates.
//!
//! A domain has one identity secret (`DK_id`) and, for each epoch, a data key and a structure key.
//! Objects are never sealed under those directly: each class of object has a pair of keys derived
//! from them, kept here ready for use. A *sealed* domain holds structure keys only; it can be walked,
//! verified and collected, and no chunk of it can be opened. `docs/format.md`, "Keys".
//!
//! Keys leave memory when dropped and never show in `Debug`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::VaultError;
use crate::ids::{DedupId, DomainId, Epoch, Kind, ResourceTag};
use crate::seams::Entropy;

/// How many epochs a domain may have; one a day lasts for eleven years.
pub const EPOCH_COUNT_MAX: u32 = 4096;

/// D(label, bytes) of the format: a digest that no other label can give.
pub fn derive(label: &str, bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key(label, bytes)
}

/// 32 secret bytes.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Secret([u8; 32]);

impl Secret {
    /// Takes the bytes over.
    pub fn new(bytes: [u8; 32]) -> Secret {
        Secret(bytes)
    }

    /// A new secret from the seam of chance.
    pub fn generate(entropy: &dyn Entropy) -> Secret {
        let mut secret = Secret([0; 32]);
        entropy.fill(&mut secret.0);
        secret
    }

    /// A secret derived from this one under a label used nowhere else.
    pub fn derive(&self, label: &str) -> Secret {
        Secret(blake3::derive_key(label, &self.0))
    }

    /// The bytes themselves, for sealing and wrapping only.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

/// The keys of one class of objects in one (domain, epoch), ready to seal and open.
#[derive(Clone, Debug)]
pub struct ObjectKeys {
    domain: DomainId,
    epoch: Epoch,
    enc: Secret,
    siv: Secret,
}

impl ObjectKeys {
    /// Derives the keys of a class (`"data"`, `"structure"`, `"local"`, `"region"`) from its master.
    pub(crate) fn derive(class: &str, master: &Secret, domain: DomainId, epoch: Epoch) -> ObjectKeys {
        ObjectKeys {
            domain,
            epoch,
            enc: master.derive(&format!("antipode v1 {class} enc")),
            siv: master.derive(&format!("antipode v1 {class} siv")),
        }
    }

    /// The domain written into the header.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// The epoch written into the header.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    pub(crate) fn enc(&self) -> &[u8; 32] {
        self.enc.expose()
    }

    pub(crate) fn siv(&self) -> &[u8; 32] {
        self.siv.expose()
    }
}

/// Whoever can tell the keys for an object from its header.
pub trait KeyRing {
    /// The keys of this kind in this domain and epoch.
    ///
    /// # Errors
    /// `KeyMissing` when they are not held here.
    fn object_keys(&self, kind: Kind, domain: DomainId, epoch: Epoch) -> Result<&ObjectKeys, VaultError>;

    /// The dedup id of a chunk, where the secret for it is held.
    fn dedup_id(&self, plaintext: &[u8]) -> Option<DedupId>;

    /// As [`DomainSecrets::dedup_id_framed`], where the secret for it is held.
    fn dedup_id_framed(&self, framed: &mut [u8]) -> Option<DedupId> {
        self.dedup_id(&framed[1..])
    }
}

/// The identity secret of a domain and what is derived from it. It never reaches a sealed destination.
#[derive(Clone)]
pub struct DomainSecrets {
    identity: Secret,
    id_key: Secret,
    cut_key: Secret,
    tag_key: Secret,
    local: ObjectKeys,
}

impl DomainSecrets {
    fn new(domain: DomainId, identity: Secret) -> DomainSecrets {
        DomainSecrets {
            id_key: identity.derive("antipode v1 domain dedup id"),
            cut_key: identity.derive("antipode v1 domain cut"),
            tag_key: identity.derive("antipode v1 domain resource tag"),
            local: ObjectKeys::derive("local", &identity, domain, Epoch::NONE),
            identity,
        }
    }

    /// `DK_id` itself, for bundles and wraps.
    pub fn identity(&self) -> &Secret {
        &self.identity
    }

    /// The key of the cut hash.
    pub fn cut_key(&self) -> &[u8; 32] {
        self.cut_key.expose()
    }

    /// The id by which this vault recognises a chunk with the same plaintext.
    pub fn dedup_id(&self, plaintext: &[u8]) -> DedupId {
        let mut hasher = blake3::Hasher::new_keyed(self.id_key.expose());
        hasher.update(&[0x01]).update(plaintext);
        DedupId(*hasher.finalize().as_bytes())
    }

    /// The same id of `framed[1..]`, whose first byte is lent for the mark in front of the plaintext and is
    /// given back. Hashing both as one piece keeps the hash on its fastest path: behind a single byte
    /// the pieces it works on in parallel are short.
    ///
    /// # Panics
    /// When `framed` is empty.
    pub fn dedup_id_framed(&self, framed: &mut [u8]) -> DedupId {
        let lent = std::mem::replace(&mut framed[0], 0x01);
        let id = DedupId(*blake3::keyed_hash(self.id_key.expose(), framed).as_bytes());
        framed[0] = lent;
        id
    }

    /// The dedup id of a chunk made from the digests of its blocks: the other candidate of the sweep
    /// (`cut.rs`), kept for measurements. Suite 1 does not use it.
    pub fn dedup_id_of_blocks(&self, digests: &[[u8; 32]]) -> DedupId {
        let mut hasher = blake3::Hasher::new_keyed(self.id_key.expose());
        hasher.update(&[0x02]).update(digests.as_flattened());
        DedupId(*hasher.finalize().as_bytes())
    }

    /// The keyed digest that stands for a resource in clear places.
    pub fn resource_tag(&self, resource_id: &str) -> ResourceTag {
        let digest = blake3::keyed_hash(self.tag_key.expose(), resource_id.as_bytes());
        let mut tag = [0u8; 16];
        tag.copy_from_slice(&digest.as_bytes()[..16]);
        ResourceTag(tag)
    }
}

impl fmt::Debug for DomainSecrets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DomainSecrets(..)")
    }
}

/// The keys of one epoch. Without a data key, chunks stay shut.
#[derive(Clone, Debug)]
pub struct EpochKeys {
    /// `DK_e`, in restorable domains.
    pub data: Option<Secret>,
    /// `SK_e`.
    pub structure: Secret,
}

#[derive(Clone, Debug)]
struct ReadyEpoch {
    keys: EpochKeys,
    data: Option<ObjectKeys>,
    structure: ObjectKeys,
}

/// All keys of one domain that this region holds.
#[derive(Clone, Debug)]
pub struct DomainKeys {
    domain: DomainId,
    secrets: Option<DomainSecrets>,
    epochs: BTreeMap<Epoch, ReadyEpoch>,
    retired: BTreeSet<Epoch>,
}

impl DomainKeys {
    /// A new restorable domain with a first epoch.
    pub fn generate(entropy: &dyn Entropy) -> DomainKeys {
        let mut keys = DomainKeys::restorable(DomainId::generate(entropy), Secret::generate(entropy));
        keys.begin_epoch(entropy).expect("a domain without epochs has room for one");
        keys
    }

    /// A restorable domain, still without epochs.
    pub fn restorable(domain: DomainId, identity: Secret) -> DomainKeys {
        DomainKeys { secrets: Some(DomainSecrets::new(domain, identity)), ..DomainKeys::sealed(domain) }
    }

    /// A sealed domain, still without epochs: it will only ever hold structure keys.
    pub fn sealed(domain: DomainId) -> DomainKeys {
        DomainKeys { domain, secrets: None, epochs: BTreeMap::new(), retired: BTreeSet::new() }
    }

    /// The domain.
    pub fn domain(&self) -> DomainId {
        self.domain
    }

    /// True when chunks can be opened here.
    pub fn is_restorable(&self) -> bool {
        self.secrets.is_some()
    }

    /// The identity secret and its derivatives.
    ///
    /// # Errors
    /// `KeyMissing` in a sealed domain.
    pub fn secrets(&self) -> Result<&DomainSecrets, VaultError> {
        self.secrets.as_ref().ok_or(VaultError::KeyMissing { domain: self.domain, epoch: Epoch::NONE })
    }

    /// The newest epoch, under which new objects are sealed; `Epoch::NONE` before the first.
    pub fn current_epoch(&self) -> Epoch {
        self.epochs.keys().next_back().copied().unwrap_or(Epoch::NONE)
    }

    /// Every epoch with its keys, oldest first.
    pub fn epochs(&self) -> impl Iterator<Item = (Epoch, &EpochKeys)> {
        self.epochs.iter().map(|(epoch, ready)| (*epoch, &ready.keys))
    }

    /// The keys of one epoch, for wrapping.
    ///
    /// # Errors
    /// `KeyMissing`.
    pub fn epoch_keys(&self, epoch: Epoch) -> Result<&EpochKeys, VaultError> {
        self.epochs.get(&epoch).map(|ready| &ready.keys).ok_or(self.missing(epoch))
    }

    /// Starts a new epoch with fresh keys; everything sealed from here on uses it.
    ///
    /// # Errors
    /// `Refused` when the domain has `EPOCH_COUNT_MAX` epochs, or is sealed (its origin makes epochs).
    pub fn begin_epoch(&mut self, entropy: &dyn Entropy) -> Result<Epoch, VaultError> {
        if self.secrets.is_none() {
            return Err(VaultError::refused("a sealed domain gets its epochs from its origin"));
        }
        let epoch = self.current_epoch().next();
        let keys = EpochKeys { data: Some(Secret::generate(entropy)), structure: Secret::generate(entropy) };
        self.add_epoch(epoch, keys)?;
        Ok(epoch)
    }

    /// Takes over an epoch from a bundle or a wrap. Adding the same keys again changes nothing.
    ///
    /// # Errors
    /// `Refused` when the epoch is known with other keys, its number is zero, there are too many, or a
    /// data key is missing in a restorable domain or present in a sealed one.
    pub fn add_epoch(&mut self, epoch: Epoch, keys: EpochKeys) -> Result<(), VaultError> {
        if let Some(known) = self.epochs.get(&epoch) {
            let is_same = known.keys.data == keys.data && known.keys.structure == keys.structure;
            return if is_same {
                Ok(())
            } else {
                Err(VaultError::refused("the epoch is known with other keys"))
            };
        }
        if keys.data.is_some() != self.secrets.is_some() {
            return Err(VaultError::refused("a domain is restorable or sealed, for all its epochs"));
        }
        if epoch == Epoch::NONE || self.epochs.len() >= EPOCH_COUNT_MAX as usize {
            return Err(VaultError::refused("no such epoch can be added"));
        }
        let derive = |class, master| ObjectKeys::derive(class, master, self.domain, epoch);
        let data = keys.data.as_ref().map(|master| derive("data", master));
        let structure = derive("structure", &keys.structure);
        self.epochs.insert(epoch, ReadyEpoch { keys, data, structure });
        Ok(())
    }

    /// Notes that an epoch's keys may be known to others: what they sealed stays readable, and is not
    /// found again by backups. Retiring it again changes nothing.
    ///
    /// # Errors
    /// `Refused` for the current epoch, or one that is not held.
    pub fn retire_epoch(&mut self, epoch: Epoch) -> Result<(), VaultError> {
        if epoch == self.current_epoch() {
            return Err(VaultError::refused(format!(
                "epoch {epoch} is the current one; begin a new one first"
            )));
        }
        self.epoch_keys(epoch).map_err(|_| VaultError::refused(format!("there is no epoch {epoch}")))?;
        self.retired.insert(epoch);
        Ok(())
    }

    /// Whether an epoch was retired.
    pub fn is_retired(&self, epoch: Epoch) -> bool {
        self.retired.contains(&epoch)
    }

    /// The retired epochs that are still held, ascending.
    pub fn retired_epochs(&self) -> impl Iterator<Item = Epoch> {
        self.retired.iter().copied()
    }

    /// Forgets the keys of a retired epoch. Nothing that was sealed under it opens any more.
    ///
    /// # Errors
    /// `Refused` when it was not retired.
    pub fn forget_epoch(&mut self, epoch: Epoch) -> Result<(), VaultError> {
        if !self.retired.remove(&epoch) {
            return Err(VaultError::refused(format!("epoch {epoch} was not retired")));
        }
        self.epochs.remove(&epoch);
        Ok(())
    }

    /// The keys under which a new object of this kind is sealed: those of the current epoch.
    ///
    /// # Errors
    /// `KeyMissing` when the kind belongs to a class whose key is not held here.
    pub fn sealing_keys(&self, kind: Kind) -> Result<&ObjectKeys, VaultError> {
        let epoch = if kind == Kind::DedupMap { Epoch::NONE } else { self.current_epoch() };
        self.object_keys(kind, self.domain, epoch)
    }

    fn missing(&self, epoch: Epoch) -> VaultError {
        VaultError::KeyMissing { domain: self.domain, epoch }
    }
}

impl KeyRing for DomainKeys {
    fn object_keys(&self, kind: Kind, domain: DomainId, epoch: Epoch) -> Result<&ObjectKeys, VaultError> {
        let missing = VaultError::KeyMissing { domain, epoch };
        if domain != self.domain {
            return Err(missing);
        }
        let ready = self.epochs.get(&epoch);
        let keys = match kind {
            Kind::Chunk | Kind::Description => ready.and_then(|ready| ready.data.as_ref()),
            Kind::Node | Kind::ManifestBody => ready.map(|ready| &ready.structure),
            Kind::DedupMap if epoch == Epoch::NONE => self.secrets.as_ref().map(|secrets| &secrets.local),
            Kind::DedupMap | Kind::KeyBundle | Kind::RegionState => None,
        };
        keys.ok_or(missing)
    }

    fn dedup_id(&self, plaintext: &[u8]) -> Option<DedupId> {
        self.secrets.as_ref().map(|secrets| secrets.dedup_id(plaintext))
    }

    fn dedup_id_framed(&self, framed: &mut [u8]) -> Option<DedupId> {
        self.secrets.as_ref().map(|secrets| secrets.dedup_id_framed(framed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::to_hex;
    use crate::seams::SeededEntropy;

    fn numbered(first: u8) -> Secret {
        Secret::new(std::array::from_fn(|index| first + index as u8))
    }

    #[test]
    fn the_first_vector_derives_its_id_key_and_id() {
        let secrets = DomainSecrets::new(DomainId::ZERO, numbered(0));
        let id_key = "c6b75b70df25b4cc2f4f11df4e7587038202cb06e2b911d7b1c5e183c65ae899";
        let id = "736e782d5c34d327c50c6a925e89d62f47a9ae8c9144086926291133f8efe2e1";
        assert_eq!(to_hex(secrets.id_key.expose()), id_key);
        assert_eq!(to_hex(&secrets.dedup_id(&[b'A'; 4096]).0), id);
        let mut framed = [b'A'; 4097];
        framed[0] = 7;
        assert_eq!((to_hex(&secrets.dedup_id_framed(&mut framed).0), framed[0]), (id.to_owned(), 7));
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = DomainKeys::generate(&SeededEntropy::new(1));
        let shown = format!("{keys:?}");
        for secret in [keys.secrets().unwrap().identity(), &keys.epoch_keys(Epoch(1)).unwrap().structure] {
            assert!(!shown.contains(&to_hex(secret.expose())));
            assert!(!shown.contains(&format!("{:?}", secret.expose())));
        }
    }

    #[test]
    fn a_sealed_domain_walks_and_opens_nothing() {
        let mut keys = DomainKeys::sealed(DomainId([1; 16]));
        assert!(
            keys.add_epoch(Epoch(1), EpochKeys { data: Some(numbered(0)), structure: numbered(1) }).is_err()
        );
        keys.add_epoch(Epoch(1), EpochKeys { data: None, structure: numbered(1) }).unwrap();
        assert!(keys.sealing_keys(Kind::Node).is_ok() && keys.sealing_keys(Kind::ManifestBody).is_ok());
        for kind in [Kind::Chunk, Kind::Description, Kind::DedupMap, Kind::KeyBundle, Kind::RegionState] {
            assert!(matches!(keys.sealing_keys(kind), Err(VaultError::KeyMissing { .. })), "{kind:?}");
        }
        assert!(keys.secrets().is_err() && keys.dedup_id(b"x").is_none());
        assert!(keys.begin_epoch(&SeededEntropy::new(1)).is_err());
    }

    #[test]
    fn keys_are_found_by_kind_domain_and_epoch_only() {
        let entropy = SeededEntropy::new(2);
        let mut keys = DomainKeys::generate(&entropy);
        assert_eq!(keys.begin_epoch(&entropy).unwrap(), Epoch(2));
        assert_eq!(keys.sealing_keys(Kind::Chunk).unwrap().epoch(), Epoch(2));
        assert_eq!(keys.sealing_keys(Kind::DedupMap).unwrap().epoch(), Epoch::NONE);
        assert!(keys.object_keys(Kind::Chunk, keys.domain(), Epoch(1)).is_ok());
        assert!(keys.object_keys(Kind::Chunk, keys.domain(), Epoch(3)).is_err());
        assert!(keys.object_keys(Kind::Chunk, DomainId::ZERO, Epoch(1)).is_err());
        assert!(keys.object_keys(Kind::DedupMap, keys.domain(), Epoch(1)).is_err());
        assert!(keys.object_keys(Kind::KeyBundle, keys.domain(), Epoch(1)).is_err());
    }

    #[test]
    fn an_epoch_never_changes_its_keys() {
        let mut keys = DomainKeys::generate(&SeededEntropy::new(3));
        let first = keys.epoch_keys(Epoch(1)).unwrap().clone();
        keys.add_epoch(Epoch(1), first.clone()).unwrap();
        let other = EpochKeys { data: first.data.clone(), structure: numbered(9) };
        assert!(matches!(keys.add_epoch(Epoch(1), other), Err(VaultError::Refused { .. })));
        assert!(keys.add_epoch(Epoch::NONE, first).is_err());
    }

    #[test]
    fn a_resource_tag_tells_resources_apart_and_differs_between_domains() {
        let tag = |domain_secret, resource: &str| {
            DomainSecrets::new(DomainId::ZERO, numbered(domain_secret)).resource_tag(resource)
        };
        assert_eq!(tag(1, "server"), tag(1, "server"));
        assert_ne!(tag(1, "server"), tag(1, "serves"));
        assert_ne!(tag(1, "server"), tag(2, "server"));
    }
}
