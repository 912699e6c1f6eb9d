//! What a restored server should look like: the part of a manifest under the data key.

use crate::codec::{Decoder, Encoder, FORMAT_VERSION};
use crate::error::VaultError;
use crate::manifest::check_text;

const TEXT_BYTES_MAX: u32 = 1024;
const DOCUMENT_BYTES_MAX: u32 = 1 << 20;
const LIST_COUNT_MAX: u32 = 4096;

/// Names and surroundings of a backed-up resource. Nothing in here is needed to restore its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The resource's name.
    pub resource_name: String,
    /// The project's name.
    pub project_name: String,
    /// The checkpoint's name.
    pub checkpoint_name: String,
    /// The policy that made it, if one did: id and name.
    pub policy: Option<Tag>,
    /// How the server boots: `bios`, `uefi` or empty.
    pub firmware: String,
    /// Its network addresses.
    pub addresses: Vec<String>,
    /// Its tags, in the order they were given.
    pub tags: Vec<Tag>,
    /// Names of its volumes.
    pub volumes: Vec<DescribedVolume>,
    /// Everything else that the provider wants back on restore, as JSON.
    pub document: String,
}

/// A key with a value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tag {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// What a volume was called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DescribedVolume {
    /// Its id, as in the body.
    pub volume_id: String,
    /// Its name.
    pub name: String,
    /// The device or file format it had, such as `raw` or `qcow2`.
    pub format: String,
    /// True for the volume the server boots from.
    pub is_bootable: bool,
}

impl Description {
    pub(crate) fn encode(&self) -> Result<Vec<u8>, VaultError> {
        self.check()?;
        let mut encoder = Encoder::new();
        encoder.u16(FORMAT_VERSION).string(&self.resource_name).string(&self.project_name);
        encoder.string(&self.checkpoint_name).option(self.policy.as_ref(), encode_tag).string(&self.firmware);
        encoder.list(&self.addresses, |encoder, address| {
            encoder.string(address);
        });
        encoder.list(&self.tags, encode_tag);
        encoder.list(&self.volumes, |encoder, volume| {
            encoder
                .string(&volume.volume_id)
                .string(&volume.name)
                .string(&volume.format)
                .bool(volume.is_bootable);
        });
        encoder.string(&self.document);
        Ok(encoder.finish())
    }

    pub(crate) fn decode(plaintext: &[u8]) -> Result<Description, VaultError> {
        let mut decoder = Decoder::new("manifest description", plaintext);
        decoder.format_version()?;
        let description = Description {
            resource_name: text(&mut decoder)?,
            project_name: text(&mut decoder)?,
            checkpoint_name: text(&mut decoder)?,
            policy: decoder.option(decode_tag)?,
            firmware: text(&mut decoder)?,
            addresses: decoder.list(LIST_COUNT_MAX, 4, text)?,
            tags: decoder.list(LIST_COUNT_MAX, 8, decode_tag)?,
            volumes: decoder.list(LIST_COUNT_MAX, 13, |decoder| {
                let (volume_id, name, format) = (text(decoder)?, text(decoder)?, text(decoder)?);
                Ok(DescribedVolume { volume_id, name, format, is_bootable: decoder.bool()? })
            })?,
            document: decoder.string(DOCUMENT_BYTES_MAX)?,
        };
        decoder.finish()?;
        Ok(description)
    }

    fn check(&self) -> Result<(), VaultError> {
        let counts = [self.addresses.len(), self.tags.len(), self.volumes.len()];
        if counts.iter().any(|count| *count > LIST_COUNT_MAX as usize) {
            return Err(VaultError::refused("a list in a description is too long"));
        }
        check_text("document", &self.document, DOCUMENT_BYTES_MAX)?;
        let pairs = self.policy.iter().chain(&self.tags).flat_map(|tag| [&tag.key, &tag.value]);
        let volumes =
            self.volumes.iter().flat_map(|volume| [&volume.volume_id, &volume.name, &volume.format]);
        [&self.resource_name, &self.project_name, &self.checkpoint_name, &self.firmware]
            .into_iter()
            .chain(&self.addresses)
            .chain(pairs)
            .chain(volumes)
            .try_for_each(|text| check_text("description text", text, TEXT_BYTES_MAX))
    }
}

fn text(decoder: &mut Decoder<'_>) -> Result<String, VaultError> {
    decoder.string(TEXT_BYTES_MAX)
}

fn encode_tag(encoder: &mut Encoder, tag: &Tag) {
    encoder.string(&tag.key).string(&tag.value);
}

fn decode_tag(decoder: &mut Decoder<'_>) -> Result<Tag, VaultError> {
    Ok(Tag { key: text(decoder)?, value: text(decoder)? })
}
