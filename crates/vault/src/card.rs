//! Region cards: a region's root key vouches for its name and its working keys.
//!
//! The root key signs cards and nothing else, and can lie offline between them. A region is known by
//! the fingerprint of its root key. A [`Pin`] is one region's word that another region's root key was
//! checked (pairing did that), so that whoever trusts the first can also read what the second signed.

use std::path::Path;

use crate::codec::{Decoder, Encoder, FORMAT_VERSION};
use crate::error::VaultError;
use crate::ids::{KeyId, RegionId};
use crate::key_file::{create_key_file, load_key_file};
use crate::keys::Secret;
use crate::seams::Entropy;
use crate::signed::{Envelope, PublicKey, SignedType, Signers, SigningKey};
use crate::wrap::ReceivingKey;

const CARD_MAGIC: &[u8] = b"APD1";
const PIN_MAGIC: &[u8] = b"APP1";
const NAME_BYTES_MAX: u32 = 64;
const ROOT_LABEL: &str = "region-root";
const KEYS_LABEL: &str = "region-keys";

/// Longest card or pin that is read.
pub const CARD_BYTES_MAX: u64 = 1024;

/// What a card says, next to the root key itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardFields {
    /// The region's name, as operators write it.
    pub name: String,
    /// The key that signs manifests, wraps, receipts, heads and state.
    pub signing_key: PublicKey,
    /// The X25519 key that wraps for this region are made for.
    pub receiving_key: [u8; 32],
    /// SHA-256 of the public key (DER SubjectPublicKeyInfo) of its TLS certificate on the peer link.
    pub tls_key_hash: [u8; 32],
    /// Rises with every card of a region; the highest counts.
    pub serial: u64,
    /// From when peers accept it, in milliseconds since 1970.
    pub valid_from_ms: u64,
    /// Until when peers accept it, in milliseconds since 1970.
    pub valid_to_ms: u64,
    /// The root key that will follow, announced beforehand.
    pub next_root_key: Option<PublicKey>,
}

/// A card whose signature by its own root key was checked. Whether that root is the right one is for
/// the caller to know: by [`Signers::trust_region`], a pin or a fingerprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Card {
    root_key: PublicKey,
    fields: CardFields,
    bytes: Vec<u8>,
}

impl CardFields {
    /// What holds of every card, written or read.
    fn check(&self) -> Result<(), VaultError> {
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX as usize {
            return Err(VaultError::refused("a region's name has 1 to 64 bytes"));
        }
        if self.valid_from_ms >= self.valid_to_ms {
            return Err(VaultError::refused("a card that is never valid"));
        }
        Ok(())
    }
}

impl Card {
    /// Reads a card and checks it against the root key it carries.
    ///
    /// # Errors
    /// `BadFormat`, or `Refused` when the signature does not verify or the region id is not the root's.
    pub fn decode(bytes: &[u8]) -> Result<Card, VaultError> {
        let envelope = Envelope::split(SignedType::Card, bytes)?;
        let mut decoder = envelope.decoder();
        decoder.expect(CARD_MAGIC, "another magic")?;
        decoder.format_version()?;
        let region = RegionId(decoder.fixed()?);
        let root_key = PublicKey(decoder.fixed()?);
        if region != root_key.region_id() {
            return Err(VaultError::refused("a card names a region that its root key does not have"));
        }
        envelope.verify(&root_key)?;
        let fields = CardFields {
            name: decoder.string(NAME_BYTES_MAX)?,
            signing_key: PublicKey(decoder.fixed()?),
            receiving_key: decoder.fixed()?,
            tls_key_hash: decoder.fixed()?,
            serial: decoder.u64()?,
            valid_from_ms: decoder.u64()?,
            valid_to_ms: decoder.u64()?,
            next_root_key: decoder.option(|decoder| decoder.fixed().map(PublicKey))?,
        };
        decoder.finish()?;
        fields.check()?;
        Ok(Card { root_key, fields, bytes: bytes.to_vec() })
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.root_key.region_id()
    }

    /// The root key that signed it.
    pub fn root_key(&self) -> &PublicKey {
        &self.root_key
    }

    /// What it says.
    pub fn fields(&self) -> &CardFields {
        &self.fields
    }

    /// The signed bytes, as they are stored and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// True when peers accept it at this time.
    pub fn is_valid_at(&self, now_ms: u64) -> bool {
        (self.fields.valid_from_ms..self.fields.valid_to_ms).contains(&now_ms)
    }
}

/// A region's root key.
#[derive(Clone, Debug)]
pub struct RootKey(SigningKey);

impl RootKey {
    /// Makes a new root key and its file, which must not exist.
    ///
    /// # Errors
    /// `KeyFile`.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<RootKey, VaultError> {
        let key = SigningKey::generate(entropy);
        create_key_file(path, ROOT_LABEL, key.secret().expose())?;
        Ok(RootKey(key))
    }

    /// Reads a root key from its file.
    ///
    /// # Errors
    /// `KeyFile`.
    pub fn load(path: &Path) -> Result<RootKey, VaultError> {
        let secret = load_key_file::<32>(path, ROOT_LABEL)?;
        Ok(RootKey::from_secret(&Secret::new(*secret)))
    }

    /// The root key with this seed; for key sources other than a file.
    pub fn from_secret(secret: &Secret) -> RootKey {
        RootKey(SigningKey::from_secret(secret))
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.0.public()
    }

    /// The region that has this root.
    pub fn region_id(&self) -> RegionId {
        self.public().region_id()
    }

    /// Signs a card.
    ///
    /// # Errors
    /// `Refused` when the name is too long or the validity is empty.
    pub fn sign_card(&self, fields: &CardFields) -> Result<Card, VaultError> {
        fields.check()?;
        let mut encoder = Encoder::new();
        encoder.fixed(CARD_MAGIC).u16(FORMAT_VERSION).fixed(&self.region_id().0).fixed(&self.public().0);
        encoder.string(&fields.name).fixed(&fields.signing_key.0).fixed(&fields.receiving_key);
        encoder
            .fixed(&fields.tls_key_hash)
            .u64(fields.serial)
            .u64(fields.valid_from_ms)
            .u64(fields.valid_to_ms);
        encoder.option(fields.next_root_key.as_ref(), |encoder, key| {
            encoder.fixed(&key.0);
        });
        let mut bytes = encoder.finish();
        self.0.sign(SignedType::Card, &mut bytes);
        Ok(Card { root_key: self.public(), fields: fields.clone(), bytes })
    }
}

/// The private keys a running region works with.
#[derive(Clone, Debug)]
pub struct WorkingKeys {
    signing: SigningKey,
    receiving: ReceivingKey,
}

impl WorkingKeys {
    /// New keys from the seam of chance, kept nowhere.
    pub fn generate(entropy: &dyn Entropy) -> WorkingKeys {
        WorkingKeys { signing: SigningKey::generate(entropy), receiving: ReceivingKey::generate(entropy) }
    }

    /// Makes new working keys and their file, which must not exist.
    ///
    /// # Errors
    /// `KeyFile`.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<WorkingKeys, VaultError> {
        let keys = WorkingKeys::generate(entropy);
        let secrets = [*keys.signing.secret().expose(), *keys.receiving.secret().expose()];
        create_key_file(path, KEYS_LABEL, zeroize::Zeroizing::new(secrets).as_flattened())?;
        Ok(keys)
    }

    /// Reads working keys from their file.
    ///
    /// # Errors
    /// `KeyFile`.
    pub fn load(path: &Path) -> Result<WorkingKeys, VaultError> {
        let secrets = load_key_file::<64>(path, KEYS_LABEL)?;
        let (halves, _) = secrets.as_chunks::<32>();
        Ok(WorkingKeys {
            signing: SigningKey::from_secret(&Secret::new(halves[0])),
            receiving: ReceivingKey::from_secret(&Secret::new(halves[1])),
        })
    }

    /// The public signing key, for a card.
    pub fn signing_key(&self) -> PublicKey {
        self.signing.public()
    }

    /// The public receiving key, for a card.
    pub fn receiving_key(&self) -> [u8; 32] {
        self.receiving.public()
    }
}

/// A region as it acts: its working keys and the card that says they are its own.
#[derive(Clone, Debug)]
pub struct RegionIdentity {
    keys: WorkingKeys,
    card: Card,
}

impl RegionIdentity {
    /// Joins keys and card.
    ///
    /// # Errors
    /// `Refused` when the card names other keys.
    pub fn new(keys: WorkingKeys, card: Card) -> Result<RegionIdentity, VaultError> {
        let is_own = card.fields.signing_key == keys.signing_key()
            && card.fields.receiving_key == keys.receiving_key();
        if is_own {
            Ok(RegionIdentity { keys, card })
        } else {
            Err(VaultError::refused("the card names other keys"))
        }
    }

    /// A region whose working keys are lost: its place is taken by keys that no card names, so that nothing
    /// it might sign is believed by anybody, and no wrap opens.
    pub fn without_keys(card: Card, entropy: &dyn Entropy) -> RegionIdentity {
        RegionIdentity { keys: WorkingKeys::generate(entropy), card }
    }

    /// The region.
    pub fn region(&self) -> RegionId {
        self.card.region()
    }

    /// Its card.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The id of the key it signs with.
    pub fn signing_key_id(&self) -> KeyId {
        self.keys.signing_key().key_id()
    }

    /// The key that opens wraps made for this region.
    pub fn receiving_key(&self) -> &ReceivingKey {
        &self.keys.receiving
    }

    /// Appends a signature; see [`SigningKey::sign`].
    pub fn sign(&self, signed_type: SignedType, bytes: &mut Vec<u8>) -> [u8; 32] {
        self.keys.signing.sign(signed_type, bytes)
    }

    /// A set of believed signers that holds this region alone.
    pub fn signers(&self) -> Signers {
        let mut signers = Signers::new();
        signers.trust_region(self.region());
        signers.add_card(&self.card);
        signers
    }
}

/// One region's word that another region has this root key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pin {
    /// The region that vouches.
    pub region: RegionId,
    /// The peer's root key.
    pub peer_root_key: PublicKey,
    /// The peer's name when it was paired.
    pub peer_name: String,
    /// When, in milliseconds since 1970.
    pub pinned_at_ms: u64,
}

impl Pin {
    /// Vouches for the root key of a peer's card.
    pub fn sign(identity: &RegionIdentity, peer: &Card, pinned_at_ms: u64) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder
            .fixed(PIN_MAGIC)
            .u16(FORMAT_VERSION)
            .fixed(&identity.region().0)
            .fixed(&identity.signing_key_id().0);
        encoder.fixed(&peer.region().0).fixed(&peer.root_key().0).string(&peer.fields.name).u64(pinned_at_ms);
        let mut bytes = encoder.finish();
        identity.sign(SignedType::State, &mut bytes);
        bytes
    }

    /// Reads a pin made by a believed region.
    ///
    /// # Errors
    /// `BadFormat`, or `Refused` when its signer is not believed or the peer's id is not its root's.
    pub fn decode(bytes: &[u8], signers: &Signers) -> Result<Pin, VaultError> {
        let envelope = Envelope::split(SignedType::State, bytes)?;
        let mut decoder = envelope.decoder();
        decoder.expect(PIN_MAGIC, "another magic")?;
        decoder.format_version()?;
        let region = RegionId(decoder.fixed()?);
        signers.verify(&envelope, region, KeyId(decoder.fixed()?))?;
        let peer = RegionId(decoder.fixed()?);
        let peer_root_key = PublicKey(decoder.fixed()?);
        if peer != peer_root_key.region_id() {
            return Err(VaultError::refused("a pin names a region that its root key does not have"));
        }
        let pin = Pin {
            region,
            peer_root_key,
            peer_name: decode_name(&mut decoder)?,
            pinned_at_ms: decoder.u64()?,
        };
        decoder.finish()?;
        Ok(pin)
    }

    /// The peer.
    pub fn peer(&self) -> RegionId {
        self.peer_root_key.region_id()
    }
}

fn decode_name(decoder: &mut Decoder<'_>) -> Result<String, VaultError> {
    decoder.string(NAME_BYTES_MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::seams::SeededEntropy;

    /// A region made from a seed.
    pub(crate) fn region(seed: u64) -> (RootKey, RegionIdentity) {
        let entropy = SeededEntropy::new(seed);
        let root = RootKey(SigningKey::generate(&entropy));
        let keys = WorkingKeys::generate(&entropy);
        let card = root.sign_card(&fields(&keys)).unwrap();
        (root, RegionIdentity::new(keys, card).unwrap())
    }

    fn fields(keys: &WorkingKeys) -> CardFields {
        CardFields {
            name: "cn-north-1".to_owned(),
            signing_key: keys.signing_key(),
            receiving_key: keys.receiving_key(),
            tls_key_hash: [3; 32],
            serial: 1,
            valid_from_ms: 1000,
            valid_to_ms: 2000,
            next_root_key: None,
        }
    }

    #[test]
    fn a_card_comes_back_and_every_changed_byte_is_refused() {
        let (_, identity) = region(1);
        let bytes = identity.card().bytes();
        assert_eq!(&Card::decode(bytes).unwrap(), identity.card());
        for position in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[position] ^= 1;
            assert!(Card::decode(&damaged).is_err(), "byte {position}");
            assert!(Card::decode(&bytes[..position]).is_err());
        }
    }

    #[test]
    fn a_card_is_valid_from_its_first_to_before_its_last_moment() {
        let (_, identity) = region(1);
        let card = identity.card();
        assert_eq!([999, 1000, 1999, 2000].map(|now| card.is_valid_at(now)), [false, true, true, false]);
    }

    #[test]
    fn cards_that_make_no_sense_are_not_signed() {
        let (root, identity) = region(1);
        let sound = identity.card().fields().clone();
        assert!(root.sign_card(&CardFields { name: String::new(), ..sound.clone() }).is_err());
        assert!(root.sign_card(&CardFields { name: "x".repeat(65), ..sound.clone() }).is_err());
        assert!(root.sign_card(&CardFields { valid_to_ms: 1000, ..sound }).is_err());
    }

    #[test]
    fn keys_and_card_must_belong_together() {
        let (_, identity) = region(1);
        assert!(
            RegionIdentity::new(WorkingKeys::generate(&SeededEntropy::new(9)), identity.card().clone())
                .is_err()
        );
    }

    #[test]
    fn keys_come_back_from_their_files() {
        let directory = tempfile::tempdir().unwrap();
        let entropy = SeededEntropy::new(1);
        let root = RootKey::create(&directory.path().join("root"), &entropy).unwrap();
        let keys = WorkingKeys::create(&directory.path().join("keys"), &entropy).unwrap();
        assert_eq!(RootKey::load(&directory.path().join("root")).unwrap().public(), root.public());
        let loaded = WorkingKeys::load(&directory.path().join("keys")).unwrap();
        assert_eq!(
            (loaded.signing_key(), loaded.receiving_key()),
            (keys.signing_key(), keys.receiving_key())
        );
        assert!(RootKey::load(&directory.path().join("keys")).is_err());
    }

    #[test]
    fn a_pin_lets_a_reader_believe_the_peer_of_a_pinned_region() {
        let ((_, ours), (_, peer)) = (region(1), region(2));
        let bytes = Pin::sign(&ours, peer.card(), 77);
        let mut signers = ours.signers();
        assert!(!signers.add_card(peer.card()));
        let pin = Pin::decode(&bytes, &signers).unwrap();
        assert_eq!((pin.peer(), pin.pinned_at_ms), (peer.region(), 77));
        signers.trust_region(pin.peer());
        assert!(signers.add_card(peer.card()));

        assert!(Pin::decode(&bytes, &peer.signers()).is_err());
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert!(Pin::decode(&damaged, &signers).is_err(), "byte {position}");
        }
    }
}
