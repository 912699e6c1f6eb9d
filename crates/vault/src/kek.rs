//! The region's key-encrypting key, and the bundles of domain keys sealed under it.
//!
//! The KEK comes from a key file or from a passphrase ([`file`]), outside the data directory and the
//! store. Under it are sealed key bundles (kind 6, one revision of one domain's keys each), state
//! objects (kind 7) and the ring of the KEKs before it, so that what was sealed under those stays
//! readable. Losing it costs no backup as long as the recovery kit exists; leaking it opens every
//! domain of the region.

pub mod file;
pub(crate) mod ring;
mod small;

use std::collections::BTreeMap;

use crate::codec::{Decoder, Encoder, FORMAT_VERSION};
use crate::error::VaultError;
use crate::ids::{Address, DedupId, DomainId, Epoch, Kind};
use crate::keys::{DomainKeys, EPOCH_COUNT_MAX, EpochKeys, KeyRing, ObjectKeys, Secret};
use crate::layout;
use crate::object::{Expected, Opener, Sealed, Sealer};
use crate::seams::Entropy;

const BUNDLE_MAGIC: &[u8] = b"APB1";

/// A region's key-encrypting key, and what of its predecessors is known.
#[derive(Clone, Debug)]
pub struct Kek {
    number: u32,
    secret: Secret,
    /// By number, this one among them.
    keys: BTreeMap<u32, ObjectKeys>,
    /// The secrets of the others, for the ring.
    others: BTreeMap<u32, Secret>,
}

impl Kek {
    /// The first KEK of a region.
    pub fn new(secret: &Secret) -> Kek {
        Kek::numbered(0, secret)
    }

    /// A KEK by its number; the number stands in the header of everything sealed under it.
    pub fn numbered(number: u32, secret: &Secret) -> Kek {
        let keys = BTreeMap::from([(number, derive(number, secret))]);
        Kek { number, secret: secret.clone(), keys, others: BTreeMap::new() }
    }

    /// What stands in the place of a KEK that is lost: it has the highest number and opens nothing.
    pub fn lost(entropy: &dyn Entropy) -> Kek {
        Kek::numbered(u32::MAX, &Secret::generate(entropy))
    }

    /// Its number; 0 for a region's first.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Opens also what was sealed under another KEK of the region, and under those that one knows.
    ///
    /// # Errors
    /// `Refused` when two KEKs have one number.
    pub fn also_opens(&mut self, other: &Kek) -> Result<(), VaultError> {
        let theirs = other.others.iter().chain(std::iter::once((&other.number, &other.secret)));
        for (number, secret) in theirs {
            let known = if *number == self.number { Some(&self.secret) } else { self.others.get(number) };
            match known {
                Some(known) if known == secret => {}
                Some(_) => {
                    return Err(VaultError::refused(format!("there are two KEKs with number {number}")));
                }
                None => {
                    self.keys.insert(*number, derive(*number, secret));
                    self.others.insert(*number, secret.clone());
                }
            }
        }
        Ok(())
    }

    /// The numbers of the KEKs whose seals it opens, ascending, its own among them.
    pub fn opens(&self) -> impl Iterator<Item = u32> {
        self.keys.keys().copied()
    }

    /// The keys under which key bundles and state objects are sealed.
    pub fn sealing_keys(&self) -> &ObjectKeys {
        self.keys.get(&self.number).expect("its own keys were put in when it was made")
    }

    /// Seals all keys of a domain into one key bundle, appended to `out`. The revision is sealed with
    /// them, so that an older bundle put back under the newest name does not pass for it.
    ///
    /// # Errors
    /// None that sound keys could cause; see [`Sealer::seal`].
    pub fn seal_bundle(
        &self,
        keys: &DomainKeys,
        revision: u64,
        out: &mut Vec<u8>,
    ) -> Result<Sealed, VaultError> {
        let plaintext = zeroize::Zeroizing::new(encode_bundle(keys, revision));
        Sealer::new()?.seal(self.sealing_keys(), Kind::KeyBundle, 0, &plaintext, out)
    }

    /// Opens a key bundle found under `name`.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged or sealed under another KEK, `BadFormat` when it does not decode,
    /// `Refused` when the name is that of another domain or revision.
    pub fn open_bundle(&self, name: &str, stored: &[u8]) -> Result<DomainKeys, VaultError> {
        let address = Address(*blake3::hash(stored).as_bytes());
        let mut plaintext = zeroize::Zeroizing::new(Vec::new());
        Opener::new()?.open(self, &Expected::object(Kind::KeyBundle, address), stored, &mut plaintext)?;
        let (keys, revision) = decode_bundle(&plaintext)?;
        if layout::bundle_name(keys.domain(), revision) != name {
            return Err(VaultError::refused("a key bundle lies under another one's name"));
        }
        Ok(keys)
    }
}

impl KeyRing for Kek {
    fn object_keys(&self, kind: Kind, domain: DomainId, epoch: Epoch) -> Result<&ObjectKeys, VaultError> {
        let is_ours = matches!(kind, Kind::KeyBundle | Kind::RegionState) && domain.is_zero();
        let missing = VaultError::KeyMissing { domain, epoch };
        if is_ours {
            self.keys.get(&epoch.0).ok_or(VaultError::KekMissing { number: epoch.0 })
        } else {
            Err(missing)
        }
    }

    fn dedup_id(&self, _plaintext: &[u8]) -> Option<DedupId> {
        None
    }
}

/// The plaintext of a key bundle.
pub(crate) fn encode_bundle(keys: &DomainKeys, revision: u64) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.fixed(BUNDLE_MAGIC).u16(FORMAT_VERSION).fixed(keys.domain().as_bytes()).u64(revision);
    encoder.option(keys.secrets().ok(), |encoder, secrets| {
        encoder.fixed(secrets.identity().expose());
    });
    let epochs: Vec<_> = keys.epochs().collect();
    encoder.list(&epochs, |encoder, (epoch, keys)| {
        encoder.u32(epoch.0);
        encoder.option(keys.data.as_ref(), |encoder, data| {
            encoder.fixed(data.expose());
        });
        encoder.fixed(keys.structure.expose());
    });
    // Only where there are any: a bundle without them ends here.
    let retired: Vec<_> = keys.retired_epochs().collect();
    if !retired.is_empty() {
        encoder.list(&retired, |encoder, epoch| {
            encoder.u32(epoch.0);
        });
    }
    encoder.finish()
}

fn derive(number: u32, secret: &Secret) -> ObjectKeys {
    ObjectKeys::derive("region", secret, DomainId::ZERO, Epoch(number))
}

/// Reads the plaintext of a key bundle: the keys and the revision.
pub(crate) fn decode_bundle(plaintext: &[u8]) -> Result<(DomainKeys, u64), VaultError> {
    let secret = |decoder: &mut Decoder<'_>| decoder.fixed().map(Secret::new);
    let mut decoder = Decoder::new("key bundle", plaintext);
    decoder.expect(BUNDLE_MAGIC, "another magic")?;
    decoder.format_version()?;
    let (domain, revision) = (DomainId(decoder.fixed()?), decoder.u64()?);
    let mut keys = match decoder.option(secret)? {
        Some(identity) => DomainKeys::restorable(domain, identity),
        None => DomainKeys::sealed(domain),
    };
    for _ in 0..decoder.count(EPOCH_COUNT_MAX, 37)? {
        let epoch = Epoch(decoder.u32()?);
        if epoch <= keys.current_epoch() {
            return Err(decoder.bad("epochs do not ascend"));
        }
        let data = decoder.option(secret)?;
        let structure = secret(&mut decoder)?;
        keys.add_epoch(epoch, EpochKeys { data, structure })?;
    }
    if decoder.remaining() > 0 {
        let retired = decoder.list(EPOCH_COUNT_MAX, 4, |decoder| decoder.u32().map(Epoch))?;
        if retired.is_empty() || !retired.is_sorted_by(|left, right| left < right) {
            return Err(decoder.bad("retired epochs do not ascend"));
        }
        retired.into_iter().try_for_each(|epoch| keys.retire_epoch(epoch))?;
    }
    decoder.finish()?;
    Ok((keys, revision))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::SeededEntropy;

    fn bundle(kek: &Kek, keys: &DomainKeys) -> Vec<u8> {
        let mut stored = Vec::new();
        kek.seal_bundle(keys, 3, &mut stored).unwrap();
        stored
    }

    fn open(kek: &Kek, keys: &DomainKeys, stored: &[u8]) -> Result<DomainKeys, VaultError> {
        kek.open_bundle(&layout::bundle_name(keys.domain(), 3), stored)
    }

    fn assert_same(left: &DomainKeys, right: &DomainKeys) {
        assert_eq!(left.domain(), right.domain());
        let identity = |keys: &DomainKeys| keys.secrets().ok().map(|secrets| secrets.identity().clone());
        assert_eq!(identity(left), identity(right));
        let epochs = |keys: &DomainKeys| -> Vec<_> {
            keys.epochs().map(|(epoch, keys)| (epoch, keys.data.clone(), keys.structure.clone())).collect()
        };
        assert_eq!(epochs(left), epochs(right));
    }

    #[test]
    fn a_bundle_gives_back_every_key() {
        let entropy = SeededEntropy::new(1);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        let kek = Kek::create(&path, &entropy).unwrap();
        let mut keys = DomainKeys::generate(&entropy);
        keys.begin_epoch(&entropy).unwrap();
        let stored = bundle(&kek, &keys);
        assert_same(&open(&Kek::load(&path).unwrap(), &keys, &stored).unwrap(), &keys);

        let mut sealed = DomainKeys::sealed(keys.domain());
        let structure = keys.epoch_keys(Epoch(1)).unwrap().structure.clone();
        sealed.add_epoch(Epoch(1), EpochKeys { data: None, structure }).unwrap();
        assert_same(&open(&kek, &sealed, &bundle(&kek, &sealed)).unwrap(), &sealed);
    }

    #[test]
    fn another_kek_and_every_damaged_byte_are_refused() {
        let entropy = SeededEntropy::new(2);
        let kek = Kek::new(&Secret::generate(&entropy));
        let keys = DomainKeys::generate(&entropy);
        let stored = bundle(&kek, &keys);
        assert!(open(&Kek::new(&Secret::generate(&entropy)), &keys, &stored).is_err());
        for position in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[position] ^= 0x40;
            assert!(open(&kek, &keys, &damaged).is_err(), "byte {position}");
            assert!(open(&kek, &keys, &stored[..position]).is_err(), "{position} bytes");
        }
    }

    #[test]
    fn a_bundle_under_the_name_of_another_revision_or_domain_is_refused() {
        let entropy = SeededEntropy::new(3);
        let kek = Kek::new(&Secret::generate(&entropy));
        let (keys, others) = (DomainKeys::generate(&entropy), DomainKeys::generate(&entropy));
        let stored = bundle(&kek, &keys);
        assert!(open(&kek, &keys, &stored).is_ok());
        for name in [layout::bundle_name(keys.domain(), 4), layout::bundle_name(others.domain(), 3)] {
            assert!(matches!(kek.open_bundle(&name, &stored), Err(VaultError::Refused { .. })), "{name}");
        }
    }

    #[test]
    fn a_bundle_remembers_which_epochs_are_retired() {
        let entropy = SeededEntropy::new(4);
        let kek = Kek::new(&Secret::generate(&entropy));
        let mut keys = DomainKeys::generate(&entropy);
        let before = bundle(&kek, &keys);
        keys.begin_epoch(&entropy).unwrap();
        keys.retire_epoch(Epoch(1)).unwrap();
        let opened = open(&kek, &keys, &bundle(&kek, &keys)).unwrap();
        assert!(opened.is_retired(Epoch(1)) && !opened.is_retired(Epoch(2)));
        assert!(!open(&kek, &keys, &before).unwrap().is_retired(Epoch(1)));
        for forged in [&[0u32][..], &[1, 2, 2], &[1, 9], &[1, 2], &[2, 1, 1]] {
            // count, then epochs: empty, doubled, unknown, current, doubled.
            let mut encoder = Encoder::new();
            encoder.fixed(BUNDLE_MAGIC).u16(FORMAT_VERSION).fixed(&[1; 16]).u64(1).bool(false).count(2);
            for epoch in 1..=2 {
                encoder.u32(epoch).bool(false).fixed(&[2; 32]);
            }
            for number in forged {
                encoder.u32(*number);
            }
            assert!(decode_bundle(encoder.as_slice()).is_err(), "{forged:?}");
        }
    }

    #[test]
    fn a_kek_opens_what_its_predecessors_sealed_and_seals_under_its_own_number() {
        let entropy = SeededEntropy::new(5);
        let old = Kek::new(&Secret::generate(&entropy));
        let mut new = Kek::numbered(1, &Secret::generate(&entropy));
        let keys = DomainKeys::generate(&entropy);
        let stored = bundle(&old, &keys);
        assert!(matches!(open(&new, &keys, &stored), Err(VaultError::KekMissing { number: 0 })));
        new.also_opens(&old).unwrap();
        assert_same(&open(&new, &keys, &stored).unwrap(), &keys);
        assert!(matches!(open(&old, &keys, &bundle(&new, &keys)), Err(VaultError::KekMissing { number: 1 })));
        assert_eq!(new.opens().collect::<Vec<_>>(), [0, 1]);
        let another = Kek::numbered(0, &Secret::generate(&entropy));
        assert!(matches!(new.also_opens(&another), Err(VaultError::Refused { .. })));
        assert!(!format!("{new:?}").contains(&crate::ids::to_hex(new.secret.expose())));
    }

    #[test]
    fn a_bundle_whose_epochs_do_not_ascend_is_refused() {
        let mut encoder = Encoder::new();
        encoder.fixed(BUNDLE_MAGIC).u16(FORMAT_VERSION).fixed(&[1; 16]).u64(1).bool(false).count(2);
        for _ in 0..2 {
            encoder.u32(1).bool(false).fixed(&[2; 32]);
        }
        assert!(decode_bundle(encoder.as_slice()).is_err());
    }
}
