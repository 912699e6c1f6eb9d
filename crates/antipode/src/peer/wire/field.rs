//! The fields that several messages share.

use std::str::FromStr;

use control::peers::messages::TransferKey;
use model::grant::{Grant, Mode};
use model::ids::{GrantId, OperationId, ProjectId, RegionName};
use model::time::Timestamp;
use vault::codec::{Decoder, Encoder};
use vault::error::VaultError;
use vault::ids::{Address, Kind, ManifestDigest};
use vault::object::LEVEL_MAX;
use vault::transfer::Asked;

/// The longest id or name of ours, in bytes.
pub(super) const NAME_BYTES_MAX: u32 = 64;
/// The longest free text, in bytes.
pub(super) const TEXT_BYTES_MAX: u32 = 4096;
/// The longest signed statement other than a manifest, in bytes.
pub(super) const SIGNED_BYTES_MAX: u32 = 256 << 10;
/// One object in a list of asked ones: kind, level, address.
pub(super) const ASKED_BYTES: usize = 34;
/// The shortest encoding of a grant.
pub(super) const GRANT_BYTES_MIN: usize = 16 + 4 * 5 + 1 + 1 + 4 + 8 + 1 + 1;

pub(super) fn read_id<T>(decoder: &mut Decoder<'_>, from_bytes: fn([u8; 16]) -> T) -> Result<T, VaultError> {
    decoder.fixed().map(from_bytes)
}

/// A text that parses as a `T`.
pub(super) fn read_name<T: FromStr>(decoder: &mut Decoder<'_>) -> Result<T, VaultError> {
    let text = decoder.string(NAME_BYTES_MAX)?;
    text.parse().map_err(|_| decoder.bad("a name or id is not well formed"))
}

pub(super) fn read_text(decoder: &mut Decoder<'_>) -> Result<String, VaultError> {
    decoder.string(TEXT_BYTES_MAX)
}

pub(super) fn read_signed(decoder: &mut Decoder<'_>) -> Result<Vec<u8>, VaultError> {
    decoder.bytes(SIGNED_BYTES_MAX).map(<[u8]>::to_vec)
}

pub(super) fn read_digest(decoder: &mut Decoder<'_>) -> Result<ManifestDigest, VaultError> {
    decoder.fixed().map(ManifestDigest)
}

pub(super) fn write_moment(encoder: &mut Encoder, moment: Timestamp) {
    encoder.fixed(&moment.micros().to_le_bytes());
}

pub(super) fn read_moment(decoder: &mut Decoder<'_>) -> Result<Timestamp, VaultError> {
    let micros = i64::from_le_bytes(decoder.fixed()?);
    let moment = Timestamp::from_micros(micros);
    if moment.micros() == micros { Ok(moment) } else { Err(decoder.bad("a moment outside 1970 to 9999")) }
}

pub(super) fn write_transfer(encoder: &mut Encoder, transfer: TransferKey) {
    encoder.fixed(&transfer.operation_id.bytes()).u64(transfer.attempt);
}

pub(super) fn read_transfer(decoder: &mut Decoder<'_>) -> Result<TransferKey, VaultError> {
    let operation_id = read_id(decoder, OperationId::from_bytes)?;
    Ok(TransferKey { operation_id, attempt: decoder.u64()? })
}

pub(super) fn write_asked(encoder: &mut Encoder, asked: &Asked) {
    encoder.u8(asked.kind.number()).u8(asked.level).fixed(asked.address.as_bytes());
}

/// Only chunks and nodes travel.
pub(super) fn read_asked(decoder: &mut Decoder<'_>) -> Result<Asked, VaultError> {
    let (number, level, address) = (decoder.u8()?, decoder.u8()?, Address(decoder.fixed()?));
    match Kind::from_number(number) {
        Some(kind @ Kind::Chunk) if level == 0 => Ok(Asked { kind, level, address }),
        Some(kind @ Kind::Node) if level <= LEVEL_MAX => Ok(Asked { kind, level, address }),
        _ => Err(decoder.bad(format!("an object of kind {number} and level {level} does not travel"))),
    }
}

pub(super) fn write_grant(encoder: &mut Encoder, grant: &Grant) {
    encoder.fixed(&grant.id.bytes());
    encoder.string(grant.source_region.as_str()).string(grant.source_project_id.as_str());
    encoder.string(grant.destination_region.as_str()).string(grant.destination_project_id.as_str());
    encoder.u8(match grant.mode {
        Mode::Restorable => 1,
        Mode::Sealed => 2,
    });
    encoder.option(grant.bytes_max.as_ref(), |encoder, bytes_max| {
        encoder.u64(*bytes_max);
    });
    encoder.u32(grant.keep_days_min);
    write_moment(encoder, grant.created_at);
    encoder.option(grant.expires_at.as_ref(), |encoder, moment| write_moment(encoder, *moment));
    encoder.option(grant.revoked_at.as_ref(), |encoder, moment| write_moment(encoder, *moment));
}

pub(super) fn read_grant(decoder: &mut Decoder<'_>) -> Result<Grant, VaultError> {
    Ok(Grant {
        id: read_id(decoder, GrantId::from_bytes)?,
        source_region: read_name::<RegionName>(decoder)?,
        source_project_id: read_name::<ProjectId>(decoder)?,
        destination_region: read_name(decoder)?,
        destination_project_id: read_name(decoder)?,
        mode: match decoder.u8()? {
            1 => Mode::Restorable,
            2 => Mode::Sealed,
            number => return Err(decoder.bad(format!("mode {number} is unknown"))),
        },
        bytes_max: decoder.option(Decoder::u64)?,
        keep_days_min: decoder.u32()?,
        created_at: read_moment(decoder)?,
        expires_at: decoder.option(read_moment)?,
        revoked_at: decoder.option(read_moment)?,
    })
}
