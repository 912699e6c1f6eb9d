//! Signatures: who said it, and that not a byte changed since.
//!
//! Everything signed is `unsigned bytes ‖ signature (64)`. The Ed25519 signature covers a label that
//! names the type and a digest of the unsigned bytes, so that nothing signed as one type passes as
//! another. Digests cover bytes as received, never a re-encoding. `docs/format.md`, "Signed things".
//!
//! A region is believed through [`Signers`]: pinned regions, their root-signed cards, and the working
//! keys those cards name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ed25519_dalek::Signer as _;

use crate::card::Card;
use crate::codec::Decoder;
use crate::error::VaultError;
use crate::ids::{KeyId, RegionId, to_hex};
use crate::keys::Secret;
use crate::seams::Entropy;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// What a signature is about. Part of what is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignedType {
    /// A checkpoint item's record.
    Manifest,
    /// Domain keys for one recipient.
    Wrap,
    /// A region's keys, by its root.
    Card,
    /// A destination's word that it holds a replica.
    Receipt,
    /// A destination's word on everything it holds for one source.
    Head,
    /// A region's own records: state, pins, vault properties.
    State,
}

impl SignedType {
    fn word(self) -> &'static str {
        match self {
            SignedType::Manifest => "manifest",
            SignedType::Wrap => "wrap",
            SignedType::Card => "card",
            SignedType::Receipt => "receipt",
            SignedType::Head => "head",
            SignedType::State => "state",
        }
    }

    /// The digest of unsigned bytes of this type.
    pub fn digest(self, unsigned: &[u8]) -> [u8; 32] {
        blake3::derive_key(&format!("antipode v1 digest {}", self.word()), unsigned)
    }

    fn message(self, digest: &[u8; 32]) -> Vec<u8> {
        let mut message = format!("antipode v1 sign {}", self.word()).into_bytes();
        message.push(0);
        message.extend_from_slice(digest);
        message
    }
}

/// A public Ed25519 key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The digest people compare. Its first half is the key id, and for a root key the region id.
    pub fn fingerprint(&self) -> [u8; 32] {
        fingerprint(&self.0)
    }

    /// The short name of the key.
    pub fn key_id(&self) -> KeyId {
        key_id(&self.0)
    }

    /// The region that has this key as its root.
    pub fn region_id(&self) -> RegionId {
        RegionId(self.key_id().0)
    }

    /// Checks a signature over unsigned bytes and returns their digest.
    ///
    /// # Errors
    /// `Refused` when it does not verify, is not canonical, or the key is of small order.
    pub fn verify(
        &self,
        signed_type: SignedType,
        unsigned: &[u8],
        signature: &[u8; 64],
    ) -> Result<[u8; 32], VaultError> {
        let digest = signed_type.digest(unsigned);
        let refused =
            || VaultError::refused(format!("the signature of a {} does not verify", signed_type.word()));
        let key = ed25519_dalek::VerifyingKey::from_bytes(&self.0).map_err(|_| refused())?;
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        key.verify_strict(&signed_type.message(&digest), &signature).map_err(|_| refused())?;
        Ok(digest)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({})", to_hex(&self.0))
    }
}

/// The fingerprint of any public key, signing or receiving.
pub fn fingerprint(public_key: &[u8; 32]) -> [u8; 32] {
    blake3::derive_key("antipode v1 key id", public_key)
}

/// The short name of any public key, signing or receiving.
pub fn key_id(public_key: &[u8; 32]) -> KeyId {
    let mut id = [0u8; 16];
    id.copy_from_slice(&fingerprint(public_key)[..16]);
    KeyId(id)
}

/// A private Ed25519 key.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key from the seam of chance.
    pub fn generate(entropy: &dyn Entropy) -> SigningKey {
        SigningKey::from_secret(&Secret::generate(entropy))
    }

    /// The key with this seed.
    pub fn from_secret(secret: &Secret) -> SigningKey {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(secret.expose()))
    }

    /// The seed, for key files.
    pub(crate) fn secret(&self) -> Secret {
        Secret::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Appends a signature to unsigned bytes. Returns the digest that was signed.
    pub fn sign(&self, signed_type: SignedType, bytes: &mut Vec<u8>) -> [u8; 32] {
        let digest = signed_type.digest(bytes);
        let signature = self.0.sign(&signed_type.message(&digest));
        bytes.extend_from_slice(&signature.to_bytes());
        digest
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey(of {})", self.public().key_id())
    }
}

/// Signed bytes split at the signature; not yet verified.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// What was signed.
    pub unsigned: &'a [u8],
    signed_type: SignedType,
    signature: &'a [u8; 64],
}

impl<'a> Envelope<'a> {
    /// Splits signed bytes.
    ///
    /// # Errors
    /// `BadFormat` when they are too short to hold a signature.
    pub fn split(signed_type: SignedType, bytes: &'a [u8]) -> Result<Envelope<'a>, VaultError> {
        match bytes.split_last_chunk::<SIGNATURE_BYTES>() {
            Some((unsigned, signature)) => Ok(Envelope { unsigned, signed_type, signature }),
            None => Err(VaultError::bad_format(signed_type.word(), "it is too short for a signature")),
        }
    }

    /// A decoder over the unsigned bytes.
    pub fn decoder(&self) -> Decoder<'a> {
        Decoder::new(self.signed_type.word(), self.unsigned)
    }

    /// Verifies with a known key and returns the digest.
    ///
    /// # Errors
    /// As [`PublicKey::verify`].
    pub fn verify(&self, key: &PublicKey) -> Result<[u8; 32], VaultError> {
        key.verify(self.signed_type, self.unsigned, self.signature)
    }
}

/// Whose signatures are believed: regions by their root, and the working keys on their cards.
#[derive(Clone, Debug, Default)]
pub struct Signers {
    regions: BTreeSet<RegionId>,
    keys: BTreeMap<(RegionId, KeyId), PublicKey>,
}

impl Signers {
    /// Believes nobody.
    pub fn new() -> Signers {
        Signers::default()
    }

    /// Believes a region: its own, one paired with, or one pinned by hand.
    pub fn trust_region(&mut self, region: RegionId) {
        self.regions.insert(region);
    }

    /// Learns the working key of a believed region. Cards of others are left out, and `false` returned.
    ///
    /// A card's validity is about live connections. What was signed under it stays signed: a manifest
    /// does not go bad when a certificate runs out.
    pub fn add_card(&mut self, card: &Card) -> bool {
        let is_trusted = self.regions.contains(&card.region());
        if is_trusted {
            self.keys.insert((card.region(), card.fields().signing_key.key_id()), card.fields().signing_key);
        }
        is_trusted
    }

    /// True when the region is believed.
    pub fn trusts(&self, region: RegionId) -> bool {
        self.regions.contains(&region)
    }

    /// Verifies what names its signer by region and key id, and returns the digest.
    ///
    /// # Errors
    /// `Refused` when the region is not believed, has no card with that key, or the signature fails.
    pub fn verify(
        &self,
        envelope: &Envelope<'_>,
        region: RegionId,
        signing_key: KeyId,
    ) -> Result<[u8; 32], VaultError> {
        match self.keys.get(&(region, signing_key)) {
            Some(key) => envelope.verify(key),
            None => Err(VaultError::refused(format!(
                "no trusted card of region {region} names key {signing_key}"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::SeededEntropy;

    fn signed(signed_type: SignedType, text: &[u8]) -> (SigningKey, Vec<u8>) {
        let key = SigningKey::generate(&SeededEntropy::new(1));
        let mut bytes = text.to_vec();
        let digest = key.sign(signed_type, &mut bytes);
        assert_eq!(digest, signed_type.digest(text));
        (key, bytes)
    }

    #[test]
    fn a_signature_verifies_and_gives_the_digest() {
        let (key, bytes) = signed(SignedType::Head, b"text");
        let envelope = Envelope::split(SignedType::Head, &bytes).unwrap();
        assert_eq!(envelope.unsigned, b"text");
        assert_eq!(envelope.verify(&key.public()).unwrap(), SignedType::Head.digest(b"text"));
    }

    #[test]
    fn every_changed_byte_another_type_and_another_key_are_refused() {
        let (key, bytes) = signed(SignedType::Head, b"text");
        let verify = |signed_type, bytes: &[u8], key: PublicKey| {
            Envelope::split(signed_type, bytes).and_then(|envelope| envelope.verify(&key))
        };
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert!(verify(SignedType::Head, &damaged, key.public()).is_err(), "byte {position}");
        }
        assert!(verify(SignedType::Receipt, &bytes, key.public()).is_err());
        assert!(verify(SignedType::Head, &bytes[1..], key.public()).is_err());
        assert!(verify(SignedType::Head, &bytes[..63], key.public()).is_err());
        let other = SigningKey::generate(&SeededEntropy::new(2)).public();
        assert!(verify(SignedType::Head, &bytes, other).is_err());
    }

    #[test]
    fn small_order_keys_and_non_canonical_signatures_are_refused() {
        let (key, bytes) = signed(SignedType::Head, b"text");
        // The neutral element signs everything with R = itself and S = 0, if one lets it.
        let mut neutral = [0u8; 32];
        neutral[0] = 1;
        let mut forged = [0u8; 64];
        forged[0] = 1;
        assert!(PublicKey(neutral).verify(SignedType::Head, b"text", &forged).is_err());
        // S + group order is the same number, spelled twice.
        let order: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let mut respelled = bytes.clone();
        let at = respelled.len() - 32;
        let mut carry = 0u16;
        for (byte, add) in respelled[at..].iter_mut().zip(order) {
            carry += u16::from(*byte) + u16::from(add);
            *byte = carry as u8;
            carry >>= 8;
        }
        assert_ne!(respelled, bytes);
        let envelope = Envelope::split(SignedType::Head, &respelled).unwrap();
        assert!(envelope.verify(&key.public()).is_err());
    }

    #[test]
    fn debug_shows_no_private_key() {
        let key = SigningKey::generate(&SeededEntropy::new(1));
        assert!(!format!("{key:?}").contains(&to_hex(key.secret().expose())));
    }

    proptest::proptest! {
        /// A believed signer may have gone mad: what it signs is still read as bytes from anywhere.
        #[test]
        fn noise_under_a_sound_signature_is_refused_without_a_panic(
            magic in proptest::sample::select(vec!["APM1", "APW1", "APC1", "APH1", "APP1", "APV1", "APD1"]),
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400),
        ) {
            let (root, identity) = crate::card::tests::region(1);
            let signers = identity.signers();
            let owner = [&identity.region().0[..], &identity.signing_key_id().0].concat();
            let signed = |signed_type, prefix: &[u8]| {
                let mut bytes = [magic.as_bytes(), prefix, &noise].concat();
                identity.sign(signed_type, &mut bytes);
                bytes
            };
            let version = crate::codec::FORMAT_VERSION.to_le_bytes();
            let stated = [&version[..], &owner[..]].concat();
            let _ = crate::manifest::Manifest::decode(&signed(SignedType::Manifest, &version), &signers);
            let _ = crate::wrap::Wrap::decode(&signed(SignedType::Wrap, &[]), &signers);
            let _ = crate::receipt::Receipt::decode(&signed(SignedType::Receipt, &[]), &signers);
            let _ = crate::head::Head::decode(&signed(SignedType::Head, &version), &signers);
            let state = signed(SignedType::State, &stated);
            let _ = crate::card::Pin::decode(&state, &signers);
            let vault = crate::ids::VaultId([0; 16]);
            let _ = crate::properties::VaultProperties::decode(&state, vault, identity.region(), &signers);
            let root_prefix = [&version[..], &root.region_id().0[..], &root.public().0].concat();
            let _ = Card::decode(&signed(SignedType::Card, &root_prefix));
        }
    }
}
