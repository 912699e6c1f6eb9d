//! Wraps: the keys of one epoch of a domain, sealed by HPKE for one recipient and signed by a region.
//!
//! A destination region gets a restorable wrap (it may open chunks) or a structure wrap (it may only
//! walk and verify); the offline recovery key gets a recovery wrap. Fields before the ciphertext are
//! bound to it, so a wrap cannot be passed off for another domain, epoch, role or recipient.

use std::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::card::RegionIdentity;
use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::{DomainId, Epoch, KeyId, RegionId};
use crate::keys::{DomainKeys, EpochKeys, Secret};
use crate::layout::WrapName;
use crate::seams::Entropy;
use crate::signed::{Envelope, SignedType, Signers, key_id};

const MAGIC: &[u8] = b"APW1";

/// Longest wrap that is read.
pub const WRAP_BYTES_MAX: u64 = 1024;

/// Whom a wrap is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Role {
    /// A destination region that may restore.
    Restorable = 1,
    /// A destination region that may only walk and verify.
    Structure = 2,
    /// The offline recovery key.
    Recovery = 3,
}

impl Role {
    /// The number in the format.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn from_number(number: u8) -> Option<Role> {
        [Role::Restorable, Role::Structure, Role::Recovery].into_iter().find(|role| role.number() == number)
    }
}

/// A private X25519 key that wraps are made for.
#[derive(Clone)]
pub struct ReceivingKey(<X25519HkdfSha256 as Kem>::PrivateKey);

impl ReceivingKey {
    /// A new key from the seam of chance.
    pub fn generate(entropy: &dyn Entropy) -> ReceivingKey {
        ReceivingKey::from_secret(&Secret::generate(entropy))
    }

    /// The key with these bytes.
    pub fn from_secret(secret: &Secret) -> ReceivingKey {
        let key = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret.expose());
        ReceivingKey(key.expect("any 32 bytes are an X25519 private key"))
    }

    /// The private bytes, for key files.
    pub(crate) fn secret(&self) -> Secret {
        Secret::new(self.0.to_bytes().into())
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        X25519HkdfSha256::sk_to_pk(&self.0).to_bytes().into()
    }

    /// The id of the public half.
    pub fn key_id(&self) -> KeyId {
        key_id(&self.public())
    }
}

impl fmt::Debug for ReceivingKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ReceivingKey(of {})", self.key_id())
    }
}

/// What a wrap says in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrapFields {
    /// The key domain.
    pub domain: DomainId,
    /// The epoch.
    pub epoch: Epoch,
    /// Whom it is for.
    pub role: Role,
    /// The region that made and signed it.
    pub source_region: RegionId,
    /// The key it signed with.
    pub signing_key: KeyId,
    /// The key that opens it.
    pub recipient: KeyId,
    /// The digest of the keys inside: the same keys give the same check in every wrap.
    pub key_check: [u8; 32],
}

/// A wrap whose signature was verified.
#[derive(Clone, Debug)]
pub struct Wrap {
    fields: WrapFields,
    info: Vec<u8>,
    encapsulated: [u8; 32],
    ciphertext: Vec<u8>,
}

/// The keys that were in a wrap.
#[derive(Clone, Debug)]
pub struct Unwrapped {
    domain: DomainId,
    epoch: Epoch,
    identity: Option<Secret>,
    keys: EpochKeys,
}

/// Which keys to wrap for whom.
#[derive(Clone, Copy, Debug)]
pub struct WrapOrder<'a> {
    /// The keys of the domain.
    pub keys: &'a DomainKeys,
    /// The epoch to wrap.
    pub epoch: Epoch,
    /// Whom it is for.
    pub role: Role,
    /// The recipient's public X25519 key.
    pub recipient: &'a [u8; 32],
}

impl Wrap {
    /// Makes and signs a wrap.
    ///
    /// # Errors
    /// `KeyMissing` when the keys are not held here, `Refused` when the recipient's key is unusable.
    pub fn seal(
        identity: &RegionIdentity,
        order: &WrapOrder<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Vec<u8>, VaultError> {
        let WrapOrder { keys, epoch, role, recipient } = *order;
        let plaintext = plaintext(keys, epoch, role)?;
        let fields = WrapFields {
            domain: keys.domain(),
            epoch,
            role,
            source_region: identity.region(),
            signing_key: identity.signing_key_id(),
            recipient: key_id(recipient),
            key_check: key_check(&plaintext),
        };
        let clear = encode_fields(&fields);
        let unusable = |_| VaultError::refused("the recipient's key cannot be used");
        let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(recipient).map_err(unusable)?;
        let (encapsulated, ciphertext) =
            hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &recipient,
                &info(&clear),
                &plaintext,
                b"",
                &mut EntropyRng(entropy),
            )
            .map_err(unusable)?;
        let mut encoder = Encoder::new();
        encoder.fixed(&clear).fixed(&encapsulated.to_bytes()).bytes(&ciphertext);
        let mut bytes = encoder.finish();
        identity.sign(SignedType::Wrap, &mut bytes);
        Ok(bytes)
    }

    /// Reads a wrap signed by a believed region.
    ///
    /// # Errors
    /// `BadFormat`, or `Refused` when its signer is not believed or the signature fails.
    pub fn decode(bytes: &[u8], signers: &Signers) -> Result<Wrap, VaultError> {
        let envelope = Envelope::split(SignedType::Wrap, bytes)?;
        let mut decoder = envelope.decoder();
        let fields = decode_fields(&mut decoder)?;
        let clear = &envelope.unsigned[..envelope.unsigned.len() - decoder.remaining()];
        let encapsulated = decoder.fixed()?;
        let ciphertext = decoder.bytes(WRAP_BYTES_MAX as u32)?.to_vec();
        decoder.finish()?;
        signers.verify(&envelope, fields.source_region, fields.signing_key)?;
        Ok(Wrap { fields, info: info(clear), encapsulated, ciphertext })
    }

    /// What it says in clear.
    pub fn fields(&self) -> &WrapFields {
        &self.fields
    }

    /// What it is stored under.
    pub fn name(&self) -> WrapName {
        let WrapFields { domain, epoch, role, recipient, key_check, .. } = self.fields;
        WrapName { domain, epoch, role: role.number(), recipient, key_check }
    }

    /// Opens it.
    ///
    /// # Errors
    /// `Refused` when it was made for another key, does not open, or holds other keys than it states.
    pub fn open(&self, key: &ReceivingKey) -> Result<Unwrapped, VaultError> {
        if key.key_id() != self.fields.recipient {
            return Err(VaultError::refused("the wrap is for another recipient"));
        }
        let refused = |_| VaultError::refused("the wrap does not open");
        let encapsulated =
            <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&self.encapsulated).map_err(refused)?;
        let plaintext = Zeroizing::new(
            hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
                &OpModeR::Base,
                &key.0,
                &encapsulated,
                &self.info,
                &self.ciphertext,
                b"",
            )
            .map_err(refused)?,
        );
        if key_check(&plaintext) != self.fields.key_check {
            return Err(VaultError::refused("the wrap holds other keys than it states"));
        }
        self.decode_keys(&plaintext)
    }

    pub(crate) fn decode_keys(&self, plaintext: &[u8]) -> Result<Unwrapped, VaultError> {
        let mut decoder = Decoder::new("wrapped keys", plaintext);
        let mut secret = || decoder.fixed().map(Secret::new);
        let (identity, data) = match self.fields.role {
            Role::Restorable | Role::Recovery => (Some(secret()?), Some(secret()?)),
            Role::Structure => (None, None),
        };
        let structure = secret()?;
        decoder.finish()?;
        let (domain, epoch) = (self.fields.domain, self.fields.epoch);
        Ok(Unwrapped { domain, epoch, identity, keys: EpochKeys { data, structure } })
    }
}

impl Unwrapped {
    /// The keys of the domain with only this epoch.
    ///
    /// # Errors
    /// As [`DomainKeys::add_epoch`].
    pub fn into_domain_keys(self) -> Result<DomainKeys, VaultError> {
        let mut keys = match &self.identity {
            Some(identity) => DomainKeys::restorable(self.domain, identity.clone()),
            None => DomainKeys::sealed(self.domain),
        };
        keys.add_epoch(self.epoch, self.keys)?;
        Ok(keys)
    }

    /// Adds the epoch to keys of the same domain already held.
    ///
    /// # Errors
    /// `Refused` for another domain, another identity secret or mode, or an epoch known with other keys.
    pub fn add_to(self, keys: &mut DomainKeys) -> Result<(), VaultError> {
        let held = keys.secrets().ok().map(|secrets| secrets.identity());
        if self.domain != keys.domain() || self.identity.as_ref() != held {
            return Err(VaultError::refused("the wrap belongs to another domain or another mode"));
        }
        keys.add_epoch(self.epoch, self.keys)
    }
}

fn plaintext(keys: &DomainKeys, epoch: Epoch, role: Role) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let epoch_keys = keys.epoch_keys(epoch)?;
    let mut plaintext = Zeroizing::new(Vec::with_capacity(96));
    if role != Role::Structure {
        let data = epoch_keys.data.as_ref().ok_or(VaultError::KeyMissing { domain: keys.domain(), epoch })?;
        plaintext.extend_from_slice(keys.secrets()?.identity().expose());
        plaintext.extend_from_slice(data.expose());
    }
    plaintext.extend_from_slice(epoch_keys.structure.expose());
    Ok(plaintext)
}

fn key_check(plaintext: &[u8]) -> [u8; 32] {
    blake3::derive_key("antipode v1 key check", plaintext)
}

fn info(clear: &[u8]) -> Vec<u8> {
    [b"antipode v1 wrap\0", clear].concat()
}

pub(crate) fn encode_fields(fields: &WrapFields) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.fixed(MAGIC).fixed(&fields.domain.0).u32(fields.epoch.0).u8(fields.role.number());
    encoder.fixed(&fields.source_region.0).fixed(&fields.signing_key.0).fixed(&fields.recipient.0);
    encoder.fixed(&fields.key_check);
    encoder.finish()
}

fn decode_fields(decoder: &mut Decoder<'_>) -> Result<WrapFields, VaultError> {
    decoder.expect(MAGIC, "another magic")?;
    let (domain, epoch, role) = (DomainId(decoder.fixed()?), Epoch(decoder.u32()?), decoder.u8()?);
    let Some(role) = Role::from_number(role) else { return Err(decoder.bad("an unknown role")) };
    if epoch == Epoch::NONE {
        return Err(decoder.bad("epochs begin at 1"));
    }
    Ok(WrapFields {
        domain,
        epoch,
        role,
        source_region: RegionId(decoder.fixed()?),
        signing_key: KeyId(decoder.fixed()?),
        recipient: KeyId(decoder.fixed()?),
        key_check: decoder.fixed()?,
    })
}

/// Lets the HPKE crate draw its ephemeral key from our seam of chance.
struct EntropyRng<'a>(&'a dyn Entropy);

impl hpke::rand_core::TryRng for EntropyRng<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0u8; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0u8; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl hpke::rand_core::TryCryptoRng for EntropyRng<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::tests::region;
    use crate::seams::SeededEntropy;

    struct World {
        identity: RegionIdentity,
        keys: DomainKeys,
        recipient: ReceivingKey,
        entropy: SeededEntropy,
    }

    fn world() -> World {
        let entropy = SeededEntropy::new(5);
        let keys = DomainKeys::generate(&entropy);
        World { identity: region(1).1, keys, recipient: ReceivingKey::generate(&entropy), entropy }
    }

    impl World {
        fn seal(&self, role: Role) -> Vec<u8> {
            let recipient = &self.recipient.public();
            let order = WrapOrder { keys: &self.keys, epoch: Epoch(1), role, recipient };
            Wrap::seal(&self.identity, &order, &self.entropy).unwrap()
        }

        fn decode(&self, bytes: &[u8]) -> Result<Wrap, VaultError> {
            Wrap::decode(bytes, &self.identity.signers())
        }
    }

    #[test]
    fn each_role_gives_the_keys_it_may() {
        let world = world();
        for role in [Role::Restorable, Role::Recovery, Role::Structure] {
            let wrap = world.decode(&world.seal(role)).unwrap();
            let keys = wrap.open(&world.recipient).unwrap().into_domain_keys().unwrap();
            let (given, held) =
                (keys.epoch_keys(Epoch(1)).unwrap(), world.keys.epoch_keys(Epoch(1)).unwrap());
            assert_eq!(given.structure, held.structure);
            assert_eq!(keys.is_restorable(), role != Role::Structure);
            assert_eq!(given.data.is_some(), role != Role::Structure);
            if role != Role::Structure {
                assert_eq!(given.data, held.data);
                assert_eq!(keys.secrets().unwrap().identity(), world.keys.secrets().unwrap().identity());
            }
        }
    }

    #[test]
    fn the_key_check_names_the_keys_not_the_wrap() {
        let world = world();
        let check = |role| world.decode(&world.seal(role)).unwrap().fields().key_check;
        assert_eq!(check(Role::Restorable), check(Role::Recovery));
        assert_ne!(check(Role::Restorable), check(Role::Structure));
        assert_ne!(world.seal(Role::Restorable), world.seal(Role::Restorable));
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let world = world();
        let bytes = world.seal(Role::Restorable);
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert!(world.decode(&damaged).is_err(), "byte {position}");
            assert!(world.decode(&bytes[..position]).is_err());
        }
    }

    #[test]
    fn a_wrap_signed_again_for_another_place_does_not_open() {
        let world = world();
        let bytes = world.seal(Role::Restorable);
        let unsigned = &bytes[..bytes.len() - 64];
        // domain, epoch, role, key check, encapsulated key, ciphertext
        for position in [4, 20, 24, 73, 110, unsigned.len() - 1] {
            let mut moved = unsigned.to_vec();
            moved[position] ^= 2;
            world.identity.sign(SignedType::Wrap, &mut moved);
            let opened = world.decode(&moved).and_then(|wrap| wrap.open(&world.recipient));
            assert!(opened.is_err(), "byte {position}");
        }
    }

    #[test]
    fn strangers_neither_sign_nor_open() {
        let world = world();
        let bytes = world.seal(Role::Restorable);
        assert!(Wrap::decode(&bytes, &region(2).1.signers()).is_err());
        let stranger = ReceivingKey::generate(&world.entropy);
        assert!(world.decode(&bytes).unwrap().open(&stranger).is_err());
    }

    #[test]
    fn a_sealed_holder_cannot_make_restorable_wraps() {
        let mut world = world();
        world.keys = world
            .decode(&world.seal(Role::Structure))
            .unwrap()
            .open(&world.recipient)
            .unwrap()
            .into_domain_keys()
            .unwrap();
        let recipient = &world.recipient.public();
        let order = WrapOrder { keys: &world.keys, epoch: Epoch(1), role: Role::Restorable, recipient };
        assert!(matches!(
            Wrap::seal(&world.identity, &order, &world.entropy),
            Err(VaultError::KeyMissing { .. })
        ));
        let order = WrapOrder { epoch: Epoch(2), role: Role::Structure, ..order };
        assert!(matches!(
            Wrap::seal(&world.identity, &order, &world.entropy),
            Err(VaultError::KeyMissing { .. })
        ));
        assert_eq!(world.decode(&world.seal(Role::Structure)).unwrap().name().role, 2);
    }

    #[test]
    fn epochs_join_only_their_own_domain_and_mode() {
        let world = world();
        let unwrap = |role| world.decode(&world.seal(role)).unwrap().open(&world.recipient).unwrap();
        let mut keys = unwrap(Role::Restorable).into_domain_keys().unwrap();
        unwrap(Role::Recovery).add_to(&mut keys).unwrap();
        assert!(unwrap(Role::Structure).add_to(&mut keys).is_err());
        let mut other = DomainKeys::generate(&world.entropy);
        assert!(unwrap(Role::Restorable).add_to(&mut other).is_err());
    }
}
