//! A vault's properties: the numbers that must not change while it lives.
//!
//! Written once, in clear, signed by the region that owns the store. A reader needs none of them to
//! restore (manifests and objects carry what it takes); a writer refuses to go on with others, since
//! a changed cut would find no duplicates.

use crate::card::RegionIdentity;
use crate::codec::{Decoder, Encoder, FORMAT_VERSION};
use crate::cut::{CutParameters, Sample};
use crate::error::VaultError;
use crate::ids::{DomainId, KeyId, RegionId, VaultId};
use crate::receipt::{Mode, decode_mode};
use crate::signed::{Envelope, SignedType, Signers};
use crate::tree::{FAN_OUT, TreeShape};

const MAGIC: &[u8] = b"APV1";
const SUITE: u8 = 1;

/// Longest properties that are read.
pub const PROPERTIES_BYTES_MAX: u64 = 1024;

/// What a vault is and how it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VaultProperties {
    /// The vault: the name it lies under.
    pub vault: VaultId,
    /// The key domain.
    pub domain: DomainId,
    /// The region whose items it holds: the owner's own in a primary vault, a peer in a replica vault.
    pub source_region: RegionId,
    /// Whether its chunks can be opened here.
    pub mode: Mode,
    /// Payloads are padded to multiples of 2^pad bytes; 0 for none.
    pub pad: u8,
    /// How disks are cut. In a replica vault nothing is cut, and this says nothing.
    pub cut: CutParameters,
    /// Most children of an inner node.
    pub fan_out: u16,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: u64,
}

impl VaultProperties {
    /// The properties of a new primary vault, with the default cut.
    pub fn primary(domain: DomainId, region: RegionId, created_ms: u64) -> VaultProperties {
        let (vault, mode, cut) = (VaultId(domain.0), Mode::Restorable, CutParameters::DEFAULT);
        VaultProperties {
            vault,
            domain,
            source_region: region,
            mode,
            pad: 0,
            cut,
            fan_out: FAN_OUT,
            created_ms,
        }
    }

    /// The properties of a new vault for replicas from `source_region`; see [`crate::layout::replica_vault_id`].
    pub fn replica(
        vault: VaultId,
        domain: DomainId,
        source_region: RegionId,
        mode: Mode,
        created_ms: u64,
    ) -> VaultProperties {
        VaultProperties { vault, mode, ..VaultProperties::primary(domain, source_region, created_ms) }
    }

    /// Encodes and signs them.
    ///
    /// # Errors
    /// `BadFormat` when they break a rule.
    pub fn sign(&self, identity: &RegionIdentity) -> Result<Vec<u8>, VaultError> {
        self.check()?;
        let cut = &self.cut;
        let (piece_count, piece_bytes) = match cut.sample {
            Sample::Whole => (0, 0),
            Sample::Pieces { piece_count, piece_bytes } => (piece_count, piece_bytes),
        };
        let mut encoder = Encoder::new();
        encoder
            .fixed(MAGIC)
            .u16(FORMAT_VERSION)
            .fixed(&identity.region().0)
            .fixed(&identity.signing_key_id().0);
        encoder
            .fixed(&self.vault.0)
            .fixed(&self.domain.0)
            .fixed(&self.source_region.0)
            .u8(self.mode.number())
            .u8(SUITE)
            .u8(self.pad);
        encoder.u32(cut.block_bytes).u32(cut.chunk_bytes_min).u8(cut.average_bits).u32(cut.chunk_bytes_max);
        encoder
            .u32(cut.segment_bytes)
            .u8(piece_count)
            .u16(piece_bytes)
            .u16(self.fan_out)
            .u64(self.created_ms);
        let mut bytes = encoder.finish();
        identity.sign(SignedType::State, &mut bytes);
        Ok(bytes)
    }

    /// Reads the properties of `vault`, signed by `region`, the owner of the store.
    ///
    /// # Errors
    /// `BadFormat`, or `Refused` when another region signed, the signature fails, or they are another vault's.
    pub fn decode(
        bytes: &[u8],
        vault: VaultId,
        region: RegionId,
        signers: &Signers,
    ) -> Result<VaultProperties, VaultError> {
        let envelope = Envelope::split(SignedType::State, bytes)?;
        let mut decoder = Decoder::new("vault properties", envelope.unsigned);
        decoder.expect(MAGIC, "another magic")?;
        decoder.format_version()?;
        if RegionId(decoder.fixed()?) != region {
            return Err(VaultError::refused("the vault's properties were signed by another region"));
        }
        signers.verify(&envelope, region, KeyId(decoder.fixed()?))?;
        if VaultId(decoder.fixed()?) != vault {
            return Err(VaultError::refused("the properties of another vault"));
        }
        let (domain, source_region) = (DomainId(decoder.fixed()?), RegionId(decoder.fixed()?));
        let mode = decode_mode(&mut decoder)?;
        decoder.expect(&[SUITE], "an unknown suite")?;
        let pad = decoder.u8()?;
        let cut = decode_cut(&mut decoder)?;
        let (fan_out, created_ms) = (decoder.u16()?, decoder.u64()?);
        decoder.finish()?;
        let properties =
            VaultProperties { vault, domain, source_region, mode, pad, cut, fan_out, created_ms };
        properties.check()?;
        Ok(properties)
    }

    fn check(&self) -> Result<(), VaultError> {
        self.cut.check()?;
        TreeShape::new(0, self.cut.segment_bytes, self.fan_out)?;
        match self.pad {
            0 | 9..=16 => Ok(()),
            _ => Err(VaultError::bad_format("vault properties", "an unlawful padding")),
        }
    }
}

fn decode_cut(decoder: &mut Decoder<'_>) -> Result<CutParameters, VaultError> {
    Ok(CutParameters {
        block_bytes: decoder.u32()?,
        chunk_bytes_min: decoder.u32()?,
        average_bits: decoder.u8()?,
        chunk_bytes_max: decoder.u32()?,
        segment_bytes: decoder.u32()?,
        sample: match (decoder.u8()?, decoder.u16()?) {
            (0, 0) => Sample::Whole,
            (piece_count, piece_bytes) => Sample::Pieces { piece_count, piece_bytes },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::tests::region;

    #[test]
    fn properties_come_back_and_every_changed_byte_is_refused() {
        let (_, identity) = region(1);
        let domain = DomainId([4; 16]);
        let whole = CutParameters { sample: Sample::Whole, ..CutParameters::DEFAULT };
        for properties in [
            VaultProperties::primary(domain, identity.region(), 5),
            VaultProperties {
                cut: whole,
                pad: 12,
                ..VaultProperties::replica(VaultId([8; 16]), domain, RegionId([9; 16]), Mode::Sealed, 5)
            },
        ] {
            let bytes = properties.sign(&identity).unwrap();
            let decode = |bytes: &[u8]| {
                VaultProperties::decode(bytes, properties.vault, identity.region(), &identity.signers())
            };
            assert_eq!(decode(&bytes).unwrap(), properties);
            for position in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1;
                assert!(decode(&damaged).is_err(), "byte {position}");
            }
        }
    }

    #[test]
    fn properties_of_another_region_and_unlawful_ones_are_refused() {
        let ((_, ours), (_, peer)) = (region(1), region(2));
        let properties = VaultProperties::primary(DomainId([4; 16]), ours.region(), 5);
        let bytes = properties.sign(&peer).unwrap();
        let mut signers = ours.signers();
        signers.trust_region(peer.region());
        signers.add_card(peer.card());
        assert!(VaultProperties::decode(&bytes, properties.vault, ours.region(), &signers).is_err());
        let own = properties.sign(&ours).unwrap();
        assert!(VaultProperties::decode(&own, VaultId([1; 16]), ours.region(), &signers).is_err());
        assert!(VaultProperties { pad: 8, ..properties }.sign(&ours).is_err());
        assert!(VaultProperties { fan_out: 1, ..properties }.sign(&ours).is_err());
        let cut = CutParameters { block_bytes: 3, ..CutParameters::DEFAULT };
        assert!(VaultProperties { cut, ..properties }.sign(&ours).is_err());
    }
}
