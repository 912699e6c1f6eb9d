//! Manifests: the signed record of one checkpoint item, written last and read first.
//!
//! The clear part tells a holder without keys what it needs to account for the item; the body, under
//! the structure key, names its volumes and their roots; the description, under the data key, says
//! what a restored server should look like. A manifest is named by the digest of its unsigned bytes.

use crate::card::RegionIdentity;
use crate::codec::{Decoder, Encoder, FORMAT_VERSION};
use crate::error::VaultError;
use crate::ids::{
    Address, CheckpointId, DomainId, Epoch, Incarnation, ItemId, KeyId, Kind, ManifestDigest, RegionId,
    ResourceTag,
};
use crate::keys::{DomainKeys, EPOCH_COUNT_MAX, KeyRing};
use crate::object::{Expected, Header, Opener, Sealer, address_of, stored_bytes_max};
use crate::signed::{Envelope, SignedType, Signers};
use crate::tree::TreeShape;

mod description;

pub use description::{DescribedVolume, Description, Tag};

const MAGIC: &[u8] = b"APM1";
const ID_BYTES_MAX: u32 = 255;
const VOLUME_COUNT_MAX: u32 = 4096;

/// Longest manifest that is read.
pub const MANIFEST_BYTES_MAX: u64 = 36 << 20;

/// What a manifest says in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFields {
    /// The region that made the item and signed this.
    pub source_region: RegionId,
    /// The life of its catalog.
    pub incarnation: Incarnation,
    /// The key it signed with.
    pub signing_key: KeyId,
    /// The key domain of the item.
    pub domain: DomainId,
    /// Stands for the resource.
    pub resource_tag: ResourceTag,
    /// Rises strictly per (domain, resource, incarnation). Gaps are lawful.
    pub sequence: u64,
    /// The manifest before this one of the same resource, zero for none.
    pub previous: ManifestDigest,
    /// Every epoch under which anything reachable from here is sealed, ascending, never empty. Body
    /// and description are sealed under the last.
    pub epochs: Vec<Epoch>,
    /// Bytes of all volumes.
    pub logical_bytes: u64,
    /// How many different objects are reachable from here.
    pub object_count: u64,
    /// Stored bytes of those objects.
    pub stored_bytes: u64,
}

/// The volumes of an item, for whoever may walk it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestBody {
    /// The item.
    pub item: ItemId,
    /// The checkpoint it belongs to.
    pub checkpoint: CheckpointId,
    /// The resource that was backed up.
    pub resource_id: String,
    /// The project that owns it.
    pub project_id: String,
    /// When reading began, in milliseconds since 1970.
    pub started_ms: u64,
    /// When reading ended, in milliseconds since 1970.
    pub ended_ms: u64,
    /// The volumes, in the order of the server.
    pub volumes: Vec<ManifestVolume>,
}

/// One volume of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestVolume {
    /// The volume's id.
    pub volume_id: String,
    /// Size and grid, from which the shape of the tree follows.
    pub shape: TreeShape,
    /// The root of the tree, zero when the volume holds only zeros.
    pub root: Address,
}

/// A manifest whose signature was verified.
#[derive(Clone, Debug)]
pub struct Manifest {
    fields: ManifestFields,
    digest: ManifestDigest,
    body: Vec<u8>,
    description: Vec<u8>,
    bytes: Vec<u8>,
}

/// Everything a new manifest needs besides keys and signer.
#[derive(Clone, Debug)]
pub struct ManifestDraft<'a> {
    /// The life of the catalog.
    pub incarnation: Incarnation,
    /// See [`ManifestFields::sequence`].
    pub sequence: u64,
    /// See [`ManifestFields::previous`].
    pub previous: ManifestDigest,
    /// See [`ManifestFields::epochs`]. The current epoch is added.
    pub epochs: Vec<Epoch>,
    /// See [`ManifestFields::object_count`].
    pub object_count: u64,
    /// See [`ManifestFields::stored_bytes`].
    pub stored_bytes: u64,
    /// The body.
    pub body: &'a ManifestBody,
    /// The description.
    pub description: &'a Description,
}

impl ManifestDraft<'_> {
    /// Seals body and description under the current epoch and signs the whole.
    ///
    /// # Errors
    /// `Refused` when a text or list is longer than the format allows; `KeyMissing` without data keys.
    pub fn sign(&self, identity: &RegionIdentity, keys: &DomainKeys) -> Result<Manifest, VaultError> {
        let mut epochs = self.epochs.clone();
        epochs.push(keys.current_epoch());
        epochs.sort_unstable();
        epochs.dedup();
        let mut sealer = Sealer::new()?;
        let mut seal = |kind, plaintext: Vec<u8>| -> Result<Vec<u8>, VaultError> {
            let mut stored = Vec::new();
            sealer.seal(keys.sealing_keys(kind)?, kind, 0, &plaintext, &mut stored)?;
            Ok(stored)
        };
        let body = seal(Kind::ManifestBody, self.body.encode()?)?;
        let description = seal(Kind::Description, self.description.encode()?)?;
        let fields = ManifestFields {
            source_region: identity.region(),
            incarnation: self.incarnation,
            signing_key: identity.signing_key_id(),
            domain: keys.domain(),
            resource_tag: keys.secrets()?.resource_tag(&self.body.resource_id),
            sequence: self.sequence,
            previous: self.previous,
            epochs,
            logical_bytes: self.body.logical_bytes(),
            object_count: self.object_count,
            stored_bytes: self.stored_bytes,
        };
        let mut encoder = Encoder::new();
        fields.encode(&mut encoder);
        encoder.bytes(&body).bytes(&description);
        let mut bytes = encoder.finish();
        let digest = ManifestDigest(identity.sign(SignedType::Manifest, &mut bytes));
        Ok(Manifest { fields, digest, body, description, bytes })
    }
}

impl Manifest {
    /// Reads a manifest signed by a believed region.
    ///
    /// # Errors
    /// `BadFormat`, or `Refused` when its signer is not believed or the signature fails.
    pub fn decode(bytes: &[u8], signers: &Signers) -> Result<Manifest, VaultError> {
        let envelope = Envelope::split(SignedType::Manifest, bytes)?;
        let mut decoder = envelope.decoder();
        let fields = ManifestFields::decode(&mut decoder)?;
        let last = fields.epochs.last().copied().unwrap_or(Epoch::NONE);
        let mut sealed = |kind| -> Result<Vec<u8>, VaultError> {
            let stored = decoder.bytes(stored_bytes_max(kind))?;
            let header = Header::parse(stored)?;
            if header.kind != kind || header.domain != fields.domain || header.epoch != last {
                return Err(decoder.bad("a sealed part is of another kind, domain or epoch"));
            }
            Ok(stored.to_vec())
        };
        let (body, description) = (sealed(Kind::ManifestBody)?, sealed(Kind::Description)?);
        decoder.finish()?;
        let digest = ManifestDigest(signers.verify(&envelope, fields.source_region, fields.signing_key)?);
        Ok(Manifest { fields, digest, body, description, bytes: bytes.to_vec() })
    }

    /// What it says in clear.
    pub fn fields(&self) -> &ManifestFields {
        &self.fields
    }

    /// Its name.
    pub fn digest(&self) -> ManifestDigest {
        self.digest
    }

    /// The signed bytes, as they are stored and sent.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Opens the body.
    ///
    /// # Errors
    /// `KeyMissing` without the structure key; `Corrupt` or `BadFormat` when it does not open, does not
    /// decode, or contradicts the clear part.
    pub fn body(&self, keys: &DomainKeys, opener: &mut Opener) -> Result<ManifestBody, VaultError> {
        let plaintext = open(keys, opener, Kind::ManifestBody, &self.body)?;
        let body = ManifestBody::decode(&plaintext)?;
        let bad = |why| Err(VaultError::bad_format("manifest body", why));
        if body.logical_bytes() != self.fields.logical_bytes {
            return bad("the volumes have another size than the manifest states");
        }
        match keys.secrets() {
            Ok(secrets) if secrets.resource_tag(&body.resource_id) != self.fields.resource_tag => {
                bad("the resource is not the one of the manifest's tag")
            }
            _ => Ok(body),
        }
    }

    /// Opens the description.
    ///
    /// # Errors
    /// `KeyMissing` without the data key; `Corrupt` or `BadFormat` as for the body.
    pub fn description(&self, ring: &impl KeyRing, opener: &mut Opener) -> Result<Description, VaultError> {
        Description::decode(&open(ring, opener, Kind::Description, &self.description)?)
    }
}

impl ManifestFields {
    pub(crate) fn encode(&self, encoder: &mut Encoder) {
        encoder.fixed(MAGIC).u16(FORMAT_VERSION).fixed(&self.source_region.0).fixed(&self.incarnation.0);
        encoder.fixed(&self.signing_key.0).fixed(&self.domain.0).fixed(&self.resource_tag.0);
        encoder.u64(self.sequence).fixed(&self.previous.0);
        encoder.list(&self.epochs, |encoder, epoch| {
            encoder.u32(epoch.0);
        });
        encoder.u64(self.logical_bytes).u64(self.object_count).u64(self.stored_bytes);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<ManifestFields, VaultError> {
        decoder.expect(MAGIC, "another magic")?;
        decoder.format_version()?;
        let fields = ManifestFields {
            source_region: RegionId(decoder.fixed()?),
            incarnation: Incarnation(decoder.fixed()?),
            signing_key: KeyId(decoder.fixed()?),
            domain: DomainId(decoder.fixed()?),
            resource_tag: ResourceTag(decoder.fixed()?),
            sequence: decoder.u64()?,
            previous: ManifestDigest(decoder.fixed()?),
            epochs: decoder.list(EPOCH_COUNT_MAX, 4, |decoder| decoder.u32().map(Epoch))?,
            logical_bytes: decoder.u64()?,
            object_count: decoder.u64()?,
            stored_bytes: decoder.u64()?,
        };
        let is_ascending = fields.epochs.is_sorted_by(|left, right| left < right);
        if fields.epochs.first().is_none_or(|first| *first == Epoch::NONE) || !is_ascending {
            return Err(decoder.bad("the epochs do not ascend from 1"));
        }
        Ok(fields)
    }
}

impl ManifestBody {
    /// Bytes of all volumes.
    pub fn logical_bytes(&self) -> u64 {
        self.volumes.iter().fold(0, |sum, volume| sum.saturating_add(volume.shape.size_bytes()))
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, VaultError> {
        check_text("resource id", &self.resource_id, ID_BYTES_MAX)?;
        check_text("project id", &self.project_id, ID_BYTES_MAX)?;
        if self.volumes.len() > VOLUME_COUNT_MAX as usize {
            return Err(VaultError::refused("an item has more volumes than a manifest holds"));
        }
        for (position, volume) in self.volumes.iter().enumerate() {
            check_text("volume id", &volume.volume_id, ID_BYTES_MAX)?;
            if self.volumes[..position].iter().any(|other| other.volume_id == volume.volume_id) {
                return Err(VaultError::refused("a volume is listed twice"));
            }
        }
        let mut encoder = Encoder::new();
        encoder.u16(FORMAT_VERSION).fixed(&self.item.0).fixed(&self.checkpoint.0);
        encoder.string(&self.resource_id).string(&self.project_id).u64(self.started_ms).u64(self.ended_ms);
        encoder.list(&self.volumes, |encoder, volume| {
            let shape = &volume.shape;
            encoder.string(&volume.volume_id).u64(shape.size_bytes()).u32(shape.segment_bytes());
            encoder.u16(shape.fan_out()).u8(shape.root_level()).fixed(&volume.root.0);
        });
        Ok(encoder.finish())
    }

    pub(crate) fn decode(plaintext: &[u8]) -> Result<ManifestBody, VaultError> {
        let mut decoder = Decoder::new("manifest body", plaintext);
        decoder.format_version()?;
        let body = ManifestBody {
            item: ItemId(decoder.fixed()?),
            checkpoint: CheckpointId(decoder.fixed()?),
            resource_id: decoder.string(ID_BYTES_MAX)?,
            project_id: decoder.string(ID_BYTES_MAX)?,
            started_ms: decoder.u64()?,
            ended_ms: decoder.u64()?,
            volumes: decoder.list(VOLUME_COUNT_MAX, 51, decode_volume)?,
        };
        for (position, volume) in body.volumes.iter().enumerate() {
            if body.volumes[..position].iter().any(|other| other.volume_id == volume.volume_id) {
                return Err(decoder.bad("a volume is listed twice"));
            }
        }
        decoder.finish()?;
        Ok(body)
    }
}

fn decode_volume(decoder: &mut Decoder<'_>) -> Result<ManifestVolume, VaultError> {
    let volume_id = decoder.string(ID_BYTES_MAX)?;
    let shape = TreeShape::new(decoder.u64()?, decoder.u32()?, decoder.u16()?)?;
    if decoder.u8()? != shape.root_level() {
        return Err(decoder.bad("a tree is not of minimal depth"));
    }
    Ok(ManifestVolume { volume_id, shape, root: Address(decoder.fixed()?) })
}

fn open(ring: &impl KeyRing, opener: &mut Opener, kind: Kind, stored: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut plaintext = Vec::new();
    opener.open(ring, &Expected::object(kind, address_of(stored)), stored, &mut plaintext)?;
    Ok(plaintext)
}

/// Refuses texts that no reader would accept back.
fn check_text(what: &str, text: &str, bytes_max: u32) -> Result<(), VaultError> {
    if text.len() <= bytes_max as usize {
        Ok(())
    } else {
        Err(VaultError::refused(format!("a {what} is too long")))
    }
}

#[cfg(test)]
mod tests;
