//! Receipts: a destination's signed word that it holds a replica, and what it did to be sure.

use crate::card::RegionIdentity;
use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::{DomainId, GrantId, Incarnation, KeyId, ManifestDigest, RegionId, ReplicaId};
use crate::keys::EPOCH_COUNT_MAX;
use crate::signed::{Envelope, SignedType, Signers};

const MAGIC: &[u8] = b"APC1";
const PROJECT_BYTES_MAX: u32 = 255;

/// Longest receipt that is read.
pub const RECEIPT_BYTES_MAX: u64 = 256 << 10;

/// What a destination can do with a domain it received. Fixed per (domain, destination).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Mode {
    /// It holds data keys and can restore.
    Restorable = 1,
    /// It holds the structure key only.
    Sealed = 2,
}

/// How far a holder has gone to be sure of an item. Each level includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// Every address was recomputed and the tree is complete.
    Stored = 1,
    /// Every chunk was opened.
    Opened = 2,
    /// The item was restored.
    Drilled = 3,
}

impl Mode {
    /// The number in the format.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The word for people and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Restorable => "restorable",
            Mode::Sealed => "sealed",
        }
    }

    /// The mode with this number.
    pub fn from_number(number: u8) -> Option<Mode> {
        [Mode::Restorable, Mode::Sealed].into_iter().find(|mode| mode.number() == number)
    }
}

impl Level {
    /// The number in the format.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The word for people and on the wire.
    pub fn word(self) -> &'static str {
        match self {
            Level::Stored => "stored",
            Level::Opened => "opened",
            Level::Drilled => "drilled",
        }
    }

    /// The level with this number.
    pub fn from_number(number: u8) -> Option<Level> {
        [Level::Stored, Level::Opened, Level::Drilled].into_iter().find(|level| level.number() == number)
    }
}

/// What a receipt says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The region the replica came from.
    pub source_region: RegionId,
    /// The region that holds it and signs.
    pub destination_region: RegionId,
    /// The life of the destination's catalog.
    pub incarnation: Incarnation,
    /// The key it is signed with.
    pub signing_key: KeyId,
    /// The grant it was accepted under.
    pub grant: GrantId,
    /// The project it belongs to at the destination.
    pub destination_project: String,
    /// Its id at the destination.
    pub replica: ReplicaId,
    /// Which replica of the same item this is there, from 1.
    pub generation: u32,
    /// The item's manifest.
    pub manifest: ManifestDigest,
    /// The key domain.
    pub domain: DomainId,
    /// What the destination can do with it.
    pub mode: Mode,
    /// How far the destination went before it signed.
    pub level: Level,
    /// The keys it holds for the item, one check for each epoch of the manifest.
    pub key_checks: Vec<[u8; 32]>,
    /// Objects reachable from the manifest.
    pub object_count: u64,
    /// Stored bytes of those objects.
    pub stored_bytes: u64,
    /// The destination will not expire it before, in milliseconds since 1970.
    pub keep_until_ms: u64,
    /// When it was published, in milliseconds since 1970.
    pub published_ms: u64,
    /// The first head that lists it.
    pub head_counter: u64,
}

impl Receipt {
    /// Encodes and signs it. The signer fills in region and key.
    ///
    /// # Errors
    /// `Refused` when a text or list is longer than the format allows.
    pub fn sign(&self, identity: &RegionIdentity) -> Result<Vec<u8>, VaultError> {
        if self.destination_project.len() > PROJECT_BYTES_MAX as usize
            || self.key_checks.len() > EPOCH_COUNT_MAX as usize
        {
            return Err(VaultError::refused("a receipt with too long a text or list"));
        }
        let mut encoder = Encoder::new();
        encoder
            .fixed(MAGIC)
            .fixed(&self.source_region.0)
            .fixed(&identity.region().0)
            .fixed(&self.incarnation.0);
        encoder.fixed(&identity.signing_key_id().0).fixed(&self.grant.0).string(&self.destination_project);
        encoder.fixed(&self.replica.0).u32(self.generation).fixed(&self.manifest.0).fixed(&self.domain.0);
        encoder.u8(self.mode.number()).u8(self.level.number());
        encoder.list(&self.key_checks, |encoder, check| {
            encoder.fixed(check);
        });
        encoder.u64(self.object_count).u64(self.stored_bytes).u64(self.keep_until_ms).u64(self.published_ms);
        encoder.u64(self.head_counter);
        let mut bytes = encoder.finish();
        identity.sign(SignedType::Receipt, &mut bytes);
        Ok(bytes)
    }

    /// Reads a receipt signed by a believed region.
    ///
    /// # Errors
    /// `BadFormat`, or `Refused` when its signer is not believed or the signature fails.
    pub fn decode(bytes: &[u8], signers: &Signers) -> Result<Receipt, VaultError> {
        let envelope = Envelope::split(SignedType::Receipt, bytes)?;
        let mut decoder = envelope.decoder();
        decoder.expect(MAGIC, "another magic")?;
        let receipt = Receipt {
            source_region: RegionId(decoder.fixed()?),
            destination_region: RegionId(decoder.fixed()?),
            incarnation: Incarnation(decoder.fixed()?),
            signing_key: KeyId(decoder.fixed()?),
            grant: GrantId(decoder.fixed()?),
            destination_project: decoder.string(PROJECT_BYTES_MAX)?,
            replica: ReplicaId(decoder.fixed()?),
            generation: decoder.u32()?,
            manifest: ManifestDigest(decoder.fixed()?),
            domain: DomainId(decoder.fixed()?),
            mode: decode_mode(&mut decoder)?,
            level: decode_level(&mut decoder)?,
            key_checks: decoder.list(EPOCH_COUNT_MAX, 32, Decoder::fixed)?,
            object_count: decoder.u64()?,
            stored_bytes: decoder.u64()?,
            keep_until_ms: decoder.u64()?,
            published_ms: decoder.u64()?,
            head_counter: decoder.u64()?,
        };
        decoder.finish()?;
        signers.verify(&envelope, receipt.destination_region, receipt.signing_key)?;
        Ok(receipt)
    }
}

/// Reads a mode.
pub(crate) fn decode_mode(decoder: &mut Decoder<'_>) -> Result<Mode, VaultError> {
    let number = decoder.u8()?;
    Mode::from_number(number).ok_or_else(|| decoder.bad(format!("unknown mode {number}")))
}

/// Reads a level.
pub(crate) fn decode_level(decoder: &mut Decoder<'_>) -> Result<Level, VaultError> {
    let number = decoder.u8()?;
    Level::from_number(number).ok_or_else(|| decoder.bad(format!("unknown level {number}")))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::card::tests::region;

    pub(crate) fn receipt(identity: &RegionIdentity) -> Receipt {
        Receipt {
            source_region: RegionId([1; 16]),
            destination_region: identity.region(),
            incarnation: Incarnation([2; 16]),
            signing_key: identity.signing_key_id(),
            grant: GrantId([3; 16]),
            destination_project: "project".to_owned(),
            replica: ReplicaId([4; 16]),
            generation: 1,
            manifest: ManifestDigest([5; 32]),
            domain: DomainId([6; 16]),
            mode: Mode::Restorable,
            level: Level::Stored,
            key_checks: vec![[7; 32], [8; 32]],
            object_count: 9,
            stored_bytes: 10,
            keep_until_ms: 11,
            published_ms: 12,
            head_counter: 13,
        }
    }

    #[test]
    fn a_receipt_comes_back_and_every_changed_byte_is_refused() {
        let (_, identity) = region(1);
        let bytes = receipt(&identity).sign(&identity).unwrap();
        assert_eq!(Receipt::decode(&bytes, &identity.signers()).unwrap(), receipt(&identity));
        for position in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[position] ^= 1;
            assert!(Receipt::decode(&damaged, &identity.signers()).is_err(), "byte {position}");
            assert!(Receipt::decode(&bytes[..position], &identity.signers()).is_err());
        }
        assert!(Receipt::decode(&bytes, &region(2).1.signers()).is_err());
    }

    #[test]
    fn unknown_modes_and_levels_are_refused_even_when_signed() {
        let (_, identity) = region(1);
        let bytes = receipt(&identity).sign(&identity).unwrap();
        let mode_at = 4 + 5 * 16 + 4 + 7 + 16 + 4 + 32 + 16;
        for (position, value) in [(mode_at, 0), (mode_at, 3), (mode_at + 1, 0), (mode_at + 1, 4)] {
            let mut changed = bytes[..bytes.len() - 64].to_vec();
            changed[position] = value;
            identity.sign(SignedType::Receipt, &mut changed);
            assert!(Receipt::decode(&changed, &identity.signers()).is_err(), "{position} {value}");
        }
    }

    #[test]
    fn what_no_reader_would_accept_is_not_signed() {
        let (_, identity) = region(1);
        let long = Receipt { destination_project: "x".repeat(256), ..receipt(&identity) };
        assert!(long.sign(&identity).is_err());
    }
}
