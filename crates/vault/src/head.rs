//! Heads: a destination's signed word, every few minutes, on all it holds for one source.
//!
//! The head itself is small; the entries it vouches for by digest travel beside it. A source that
//! misses a replica in a newer head than its receipt knows that the destination lost it.

use crate::card::RegionIdentity;
use crate::codec::{Decoder, Encoder, FORMAT_VERSION};
use crate::error::VaultError;
use crate::ids::{Incarnation, KeyId, ManifestDigest, RegionId, ReplicaId};
use crate::receipt::{Level, decode_level};
use crate::signed::{Envelope, SignedType, Signers};

const MAGIC: &[u8] = b"APH1";
const ENTRY_COUNT_MAX: u32 = 10_000_000;
const ENTRY_BYTES: usize = 58;

/// Longest head that is read.
pub const HEAD_BYTES_MAX: u64 = 1024;

/// What became of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ReplicaState {
    /// It is there.
    Live = 1,
    /// Its retention ended at the destination.
    Expired = 2,
    /// Somebody there deleted it.
    Deleted = 3,
    /// Checks found it damaged; it protects nothing until healed.
    Damaged = 4,
}

impl ReplicaState {
    /// The number in the format.
    pub fn number(self) -> u8 {
        self as u8
    }

    fn from_number(number: u8) -> Option<ReplicaState> {
        use ReplicaState::{Damaged, Deleted, Expired, Live};
        [Live, Expired, Deleted, Damaged].into_iter().find(|state| state.number() == number)
    }
}

/// One replica in a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadEntry {
    /// The replica.
    pub replica: ReplicaId,
    /// Its manifest.
    pub manifest: ManifestDigest,
    /// What became of it.
    pub state: ReplicaState,
    /// How well it is known to be sound.
    pub level: Level,
    /// It will not expire before, in milliseconds since 1970.
    pub keep_until_ms: u64,
}

/// The signed part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The region the replicas came from.
    pub source_region: RegionId,
    /// The region that holds them and signs.
    pub destination_region: RegionId,
    /// The life of the destination's catalog.
    pub incarnation: Incarnation,
    /// The key it is signed with.
    pub signing_key: KeyId,
    /// Rises with every head of this pair of regions.
    pub counter: u64,
    /// When it was made, in milliseconds since 1970.
    pub time_ms: u64,
    /// How many entries it vouches for.
    pub entry_count: u64,
    /// Digest of the encoded entries.
    pub entries_digest: [u8; 32],
}

/// What a new head needs besides its signer.
#[derive(Clone, Copy, Debug)]
pub struct HeadOrder {
    /// The region it is for.
    pub source_region: RegionId,
    /// The life of the destination's catalog.
    pub incarnation: Incarnation,
    /// See [`Head::counter`].
    pub counter: u64,
    /// Now, in milliseconds since 1970.
    pub time_ms: u64,
}

/// A signed head with the entries it vouches for, both as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// The head.
    pub head: Vec<u8>,
    /// The entries.
    pub entries: Vec<u8>,
}

impl Head {
    /// Signs a head over the entries, which are sorted by replica here.
    ///
    /// # Errors
    /// `Refused` when a replica is listed twice or there are too many.
    pub fn sign(
        identity: &RegionIdentity,
        order: &HeadOrder,
        mut entries: Vec<HeadEntry>,
    ) -> Result<SignedHead, VaultError> {
        entries.sort_unstable_by_key(|entry| entry.replica);
        let is_strict = entries.is_sorted_by(|left, right| left.replica < right.replica);
        if !is_strict || entries.len() > ENTRY_COUNT_MAX as usize {
            return Err(VaultError::refused("a head lists each replica once, and not too many"));
        }
        let encoded = encode_entries(&entries);
        let mut encoder = Encoder::new();
        encoder.fixed(MAGIC).u16(FORMAT_VERSION).fixed(&order.source_region.0).fixed(&identity.region().0);
        encoder
            .fixed(&order.incarnation.0)
            .fixed(&identity.signing_key_id().0)
            .u64(order.counter)
            .u64(order.time_ms);
        encoder.u64(entries.len() as u64).fixed(&entries_digest(&encoded));
        let mut head = encoder.finish();
        identity.sign(SignedType::Head, &mut head);
        Ok(SignedHead { head, entries: encoded })
    }

    /// Reads a head signed by a believed region.
    ///
    /// # Errors
    /// `BadFormat`, or `Refused` when its signer is not believed or the signature fails.
    pub fn decode(bytes: &[u8], signers: &Signers) -> Result<Head, VaultError> {
        let envelope = Envelope::split(SignedType::Head, bytes)?;
        let mut decoder = envelope.decoder();
        decoder.expect(MAGIC, "another magic")?;
        decoder.format_version()?;
        let head = Head {
            source_region: RegionId(decoder.fixed()?),
            destination_region: RegionId(decoder.fixed()?),
            incarnation: Incarnation(decoder.fixed()?),
            signing_key: KeyId(decoder.fixed()?),
            counter: decoder.u64()?,
            time_ms: decoder.u64()?,
            entry_count: decoder.u64()?,
            entries_digest: decoder.fixed()?,
        };
        decoder.finish()?;
        signers.verify(&envelope, head.destination_region, head.signing_key)?;
        Ok(head)
    }

    /// Reads the entries this head vouches for, sorted by replica.
    ///
    /// # Errors
    /// `BadFormat` when they are not the ones it signed.
    pub fn entries(&self, bytes: &[u8]) -> Result<Vec<HeadEntry>, VaultError> {
        let mut decoder = Decoder::new("head entries", bytes);
        if entries_digest(bytes) != self.entries_digest {
            return Err(decoder.bad("the head vouches for others"));
        }
        let entries = decoder.list(ENTRY_COUNT_MAX, ENTRY_BYTES, decode_entry)?;
        let is_strict = entries.is_sorted_by(|left, right| left.replica < right.replica);
        if !is_strict || entries.len() as u64 != self.entry_count {
            return Err(decoder.bad("they are not sorted, or of another number"));
        }
        decoder.finish()?;
        Ok(entries)
    }
}

pub(crate) fn entries_digest(bytes: &[u8]) -> [u8; 32] {
    blake3::derive_key("antipode v1 digest head entries", bytes)
}

pub(crate) fn encode_entries(entries: &[HeadEntry]) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(4 + entries.len() * ENTRY_BYTES);
    encoder.list(entries, |encoder, entry| {
        encoder.fixed(&entry.replica.0).fixed(&entry.manifest.0).u8(entry.state.number());
        encoder.u8(entry.level.number()).u64(entry.keep_until_ms);
    });
    encoder.finish()
}

fn decode_entry(decoder: &mut Decoder<'_>) -> Result<HeadEntry, VaultError> {
    let (replica, manifest) = (ReplicaId(decoder.fixed()?), ManifestDigest(decoder.fixed()?));
    let number = decoder.u8()?;
    let state =
        ReplicaState::from_number(number).ok_or_else(|| decoder.bad(format!("unknown state {number}")))?;
    Ok(HeadEntry { replica, manifest, state, level: decode_level(decoder)?, keep_until_ms: decoder.u64()? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::tests::region;

    fn entry(replica: u8) -> HeadEntry {
        HeadEntry {
            replica: ReplicaId([replica; 16]),
            manifest: ManifestDigest([9; 32]),
            state: ReplicaState::Live,
            level: Level::Opened,
            keep_until_ms: 5,
        }
    }

    fn order() -> HeadOrder {
        HeadOrder {
            source_region: RegionId([1; 16]),
            incarnation: Incarnation([2; 16]),
            counter: 3,
            time_ms: 4,
        }
    }

    #[test]
    fn a_head_vouches_for_its_sorted_entries() {
        let (_, identity) = region(1);
        let signed = Head::sign(&identity, &order(), vec![entry(3), entry(1), entry(2)]).unwrap();
        let head = Head::decode(&signed.head, &identity.signers()).unwrap();
        assert_eq!((head.counter, head.time_ms, head.entry_count), (3, 4, 3));
        assert_eq!(head.entries(&signed.entries).unwrap(), [entry(1), entry(2), entry(3)]);
        let empty = Head::sign(&identity, &order(), vec![]).unwrap();
        assert_eq!(
            Head::decode(&empty.head, &identity.signers()).unwrap().entries(&empty.entries).unwrap(),
            []
        );
    }

    #[test]
    fn every_changed_byte_of_head_or_entries_is_refused() {
        let (_, identity) = region(1);
        let signed = Head::sign(&identity, &order(), vec![entry(1), entry(2)]).unwrap();
        let head = Head::decode(&signed.head, &identity.signers()).unwrap();
        for position in 0..signed.head.len() {
            let mut damaged = signed.head.clone();
            damaged[position] ^= 1;
            assert!(Head::decode(&damaged, &identity.signers()).is_err(), "byte {position}");
        }
        for position in 0..signed.entries.len() {
            let mut damaged = signed.entries.clone();
            damaged[position] ^= 1;
            assert!(head.entries(&damaged).is_err(), "byte {position}");
        }
        assert!(Head::decode(&signed.head, &region(2).1.signers()).is_err());
    }

    #[test]
    fn a_replica_listed_twice_is_refused_on_both_sides() {
        let (_, identity) = region(1);
        assert!(Head::sign(&identity, &order(), vec![entry(1), entry(1)]).is_err());
        let encoded = encode_entries(&[entry(2), entry(1)]);
        let signed = Head::sign(&identity, &order(), vec![]).unwrap();
        let mut head = Head::decode(&signed.head, &identity.signers()).unwrap();
        (head.entry_count, head.entries_digest) = (2, entries_digest(&encoded));
        assert!(head.entries(&encoded).is_err());
    }
}
