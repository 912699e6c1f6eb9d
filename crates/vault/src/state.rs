//! State objects: one small write-once object per revision of what a region decided.
//!
//! Checkpoints and replicas can be found again from manifests; what cannot is what people decided:
//! projects, policies, servers, grants, locks, holds, arrivals and deletions. Each revision is written as an
//! object of kind 7, signed and sealed under the region's KEK, so that the store alone rebuilds the
//! catalog. A rebuild believes its own region's signature only.
//!
//! Fields are generous: `document` carries, as JSON, whatever the owner of the record wants back.

use crate::card::RegionIdentity;
use crate::codec::{Decoder, Encoder, FORMAT_VERSION};
use crate::error::VaultError;
use crate::ids::{Incarnation, KeyId, Kind, RegionId};
use crate::kek::Kek;
use crate::layout;
use crate::object::{Expected, Opener, Sealed, Sealer, address_of};
use crate::signed::{Envelope, SignedType, Signers};

mod record;
mod region_record;

pub use record::{
    ArrivalRecord, DeletionRecord, GrantRecord, HoldRecord, LockMode, LockRecord, PolicyRecord, ServerRecord,
    StateRecord, Subject, SubjectKind, VolumeRecord,
};
pub use region_record::{IncarnationRecord, ProjectRecord};

#[cfg(test)]
pub(crate) use record::tests::samples;

const MAGIC: &[u8] = b"APS1";

/// Longest stored state object that is read.
pub const STATE_BYTES_MAX: u64 = 4 << 20;

/// When and by whom a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateStamp {
    /// The life of the catalog.
    pub incarnation: Incarnation,
    /// Rises with every state object of an incarnation.
    pub sequence: u64,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

impl StateStamp {
    /// The name in the store.
    pub fn name(&self) -> String {
        layout::state_name(self.incarnation, self.sequence)
    }
}

/// A state object that was opened and verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateObject {
    /// When and by whom.
    pub stamp: StateStamp,
    /// What was decided.
    pub record: StateRecord,
}

impl StateObject {
    /// Signs and seals it, appending the stored bytes to `out`.
    ///
    /// # Errors
    /// `Refused` when a text or list is longer than the format allows.
    pub fn seal(
        &self,
        identity: &RegionIdentity,
        kek: &Kek,
        out: &mut Vec<u8>,
    ) -> Result<Sealed, VaultError> {
        let plaintext = self.encode(identity)?;
        Sealer::new()?.seal(kek.sealing_keys(), Kind::RegionState, 0, &plaintext, out)
    }

    /// The signed plaintext.
    pub(crate) fn encode(&self, identity: &RegionIdentity) -> Result<Vec<u8>, VaultError> {
        let body = self.record.encode()?;
        let mut encoder = Encoder::with_capacity(body.len() + 256);
        encoder
            .fixed(MAGIC)
            .u16(FORMAT_VERSION)
            .fixed(&identity.region().0)
            .fixed(&identity.signing_key_id().0);
        encoder.fixed(&self.stamp.incarnation.0).u64(self.stamp.sequence).u64(self.stamp.time_ms);
        encoder.u8(self.record.number()).bytes(&body);
        let mut plaintext = encoder.finish();
        identity.sign(SignedType::State, &mut plaintext);
        Ok(plaintext)
    }

    /// Opens stored bytes found under `name`, written by `region` itself.
    ///
    /// # Errors
    /// `Corrupt` when they do not open, `Refused` when another region signed or the name is another
    /// one's, `BadFormat` when they do not decode.
    pub fn open(
        name: &str,
        stored: &[u8],
        kek: &Kek,
        region: RegionId,
        signers: &Signers,
    ) -> Result<StateObject, VaultError> {
        let mut plaintext = Vec::new();
        let expected = Expected::object(Kind::RegionState, address_of(stored));
        Opener::new()?.open(kek, &expected, stored, &mut plaintext)?;
        let object = StateObject::decode(&plaintext, region, signers)?;
        if object.stamp.name() != name {
            return Err(VaultError::refused("a state object lies under another one's name"));
        }
        Ok(object)
    }

    /// Reads the signed plaintext.
    pub(crate) fn decode(
        plaintext: &[u8],
        region: RegionId,
        signers: &Signers,
    ) -> Result<StateObject, VaultError> {
        let envelope = Envelope::split(SignedType::State, plaintext)?;
        let mut decoder = Decoder::new("state object", envelope.unsigned);
        decoder.expect(MAGIC, "another magic")?;
        decoder.format_version()?;
        if RegionId(decoder.fixed()?) != region {
            return Err(VaultError::refused("a state object of another region"));
        }
        signers.verify(&envelope, region, KeyId(decoder.fixed()?))?;
        let incarnation = Incarnation(decoder.fixed()?);
        let stamp = StateStamp { incarnation, sequence: decoder.u64()?, time_ms: decoder.u64()? };
        let number = decoder.u8()?;
        let record = StateRecord::decode(number, decoder.bytes(STATE_BYTES_MAX as u32)?)?;
        decoder.finish()?;
        Ok(StateObject { stamp, record })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::tests::region;
    use crate::keys::Secret;

    fn kek() -> Kek {
        Kek::new(&Secret::new([8; 32]))
    }

    fn stamp() -> StateStamp {
        StateStamp { incarnation: Incarnation([5; 16]), sequence: 6, time_ms: 7 }
    }

    fn seal(record: StateRecord) -> Vec<u8> {
        let mut stored = Vec::new();
        StateObject { stamp: stamp(), record }.seal(&region(1).1, &kek(), &mut stored).unwrap();
        stored
    }

    fn open(name: &str, stored: &[u8]) -> Result<StateObject, VaultError> {
        let (_, identity) = region(1);
        StateObject::open(name, stored, &kek(), identity.region(), &identity.signers())
    }

    #[test]
    fn every_record_comes_back() {
        for record in samples() {
            let opened = open(&stamp().name(), &seal(record.clone())).unwrap();
            assert_eq!(opened, StateObject { stamp: stamp(), record });
        }
    }

    #[test]
    fn another_name_kek_or_region_is_refused() {
        let stored = seal(samples().remove(0));
        let (_, identity) = region(1);
        let (name, ours) = (stamp().name(), identity.region());
        let other_name = StateStamp { sequence: 7, ..stamp() }.name();
        assert!(matches!(open(&other_name, &stored), Err(VaultError::Refused { .. })));
        let other_kek = Kek::new(&Secret::new([9; 32]));
        assert!(StateObject::open(&name, &stored, &other_kek, ours, &identity.signers()).is_err());
        let (_, peer) = region(2);
        assert!(StateObject::open(&name, &stored, &kek(), peer.region(), &peer.signers()).is_err());
        let mut signers = peer.signers();
        signers.trust_region(ours);
        assert!(StateObject::open(&name, &stored, &kek(), ours, &signers).is_err());
    }

    #[test]
    fn every_changed_byte_is_refused() {
        let stored = seal(samples().remove(0));
        for position in 0..stored.len() {
            let mut damaged = stored.clone();
            damaged[position] ^= 1;
            assert!(open(&stamp().name(), &damaged).is_err(), "byte {position}");
        }
    }
}
