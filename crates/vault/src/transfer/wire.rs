//! The messages of a transfer as bytes. One notation for all of them: that of the stored format.
//!
//! Each begins with four bytes that name message and version; a reader refuses what it does not
//! know, uses every byte, and reserves no memory that the message itself does not fill.

use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::{Address, Kind, ManifestDigest};
use crate::manifest::MANIFEST_BYTES_MAX;
use crate::object::{LEVEL_MAX, is_stored_len_lawful, stored_bytes_max};
use crate::receipt::RECEIPT_BYTES_MAX;
use crate::transfer::{
    ASKED_COUNT_MAX, Acknowledged, Asked, BATCH_BYTES_MAX, OFFERED_COUNT_MAX, Offer, Opened, Verification,
};

const BATCH_MAGIC: &[u8] = b"APB0";
const QUESTION_MAGIC: &[u8] = b"APQ0";
const ANSWER_MAGIC: &[u8] = b"APA0";
const OFFER_MAGIC: &[u8] = b"APO0";
const OPENED_MAGIC: &[u8] = b"APN0";
const ACKNOWLEDGED_MAGIC: &[u8] = b"APK0";
const VERIFICATION_MAGIC: &[u8] = b"APV0";

/// Bytes in front of each object of a batch.
const FRAME_BYTES: usize = 1 + 1 + 32 + 4;
/// Longest wrap or card in an offer.
const SMALL_BYTES_MAX: u32 = 4096;

/// Longest offer: a manifest, and as many small parts as are allowed.
pub const OFFER_BYTES_MAX: u64 = MANIFEST_BYTES_MAX + (1 << 20) + 2 * (OFFERED_COUNT_MAX as u64) * 4100;
/// Longest of all other messages.
pub const MESSAGE_BYTES_MAX: u64 = BATCH_BYTES_MAX as u64;

/// An object in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is said to be.
    pub asked: Asked,
    /// Its stored bytes.
    pub stored: &'a [u8],
}

/// Gathers objects for one message.
#[derive(Debug, Default)]
pub struct BatchWriter {
    bytes: Vec<u8>,
    object_count: u32,
    object_bytes: u64,
}

impl BatchWriter {
    /// An empty batch.
    pub fn new() -> BatchWriter {
        BatchWriter::default()
    }

    /// True when an object of this length still fits.
    pub fn has_room(&self, stored_len: usize) -> bool {
        self.bytes.len().max(BATCH_MAGIC.len()) + FRAME_BYTES + stored_len <= BATCH_BYTES_MAX
    }

    /// Adds an object, for which there must be room.
    pub fn push(&mut self, asked: Asked, stored: &[u8]) {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(BATCH_MAGIC);
        }
        self.bytes.extend_from_slice(&[asked.kind.number(), asked.level]);
        self.bytes.extend_from_slice(&asked.address.0);
        self.bytes.extend_from_slice(&(stored.len() as u32).to_le_bytes());
        self.bytes.extend_from_slice(stored);
        self.object_count += 1;
        self.object_bytes += stored.len() as u64;
    }

    /// How many objects are in it.
    pub fn object_count(&self) -> u32 {
        self.object_count
    }

    /// Their stored bytes.
    pub fn object_bytes(&self) -> u64 {
        self.object_bytes
    }

    /// The message.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads the frames of a batch. The bytes inside are not looked at.
///
/// # Errors
/// `BadFormat` for a batch that is empty, too long, cut short, or holds what does not travel.
pub fn decode_batch(bytes: &[u8]) -> Result<Vec<Frame<'_>>, VaultError> {
    let mut decoder = Decoder::new("batch", bytes);
    if bytes.len() > BATCH_BYTES_MAX {
        return Err(decoder.bad("it is too long"));
    }
    decoder.expect(BATCH_MAGIC, "another message or version")?;
    let mut frames = Vec::new();
    while decoder.remaining() > 0 {
        let asked = decode_asked(&mut decoder)?;
        let stored = decoder.bytes(stored_bytes_max(asked.kind))?;
        if !is_stored_len_lawful(asked.kind, stored.len() as u64) {
            return Err(decoder.bad("an object has an unlawful length"));
        }
        frames.push(Frame { asked, stored });
    }
    if frames.is_empty() {
        return Err(decoder.bad("it is empty"));
    }
    Ok(frames)
}

fn encode_asked(encoder: &mut Encoder, asked: &Asked) {
    encoder.u8(asked.kind.number()).u8(asked.level).fixed(&asked.address.0);
}

fn decode_asked(decoder: &mut Decoder<'_>) -> Result<Asked, VaultError> {
    let (kind, level, address) = (decoder.u8()?, decoder.u8()?, Address(decoder.fixed()?));
    match Kind::from_number(kind) {
        Some(kind @ Kind::Chunk) if level == 0 => Ok(Asked { kind, level, address }),
        Some(kind @ Kind::Node) if level <= LEVEL_MAX => Ok(Asked { kind, level, address }),
        _ => Err(decoder.bad("a kind or level that does not travel")),
    }
}

fn decode_asked_list(decoder: &mut Decoder<'_>) -> Result<Vec<Asked>, VaultError> {
    decoder.list(ASKED_COUNT_MAX as u32, 34, decode_asked)
}

/// A question: which of these are missing?
pub fn encode_question(asked: &[Asked]) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(8 + 34 * asked.len());
    encoder.fixed(QUESTION_MAGIC).list(asked, encode_asked);
    encoder.finish()
}

/// Reads a question.
///
/// # Errors
/// `BadFormat`; so for all readers below.
pub fn decode_question(bytes: &[u8]) -> Result<Vec<Asked>, VaultError> {
    let mut decoder = Decoder::new("question", bytes);
    decoder.expect(QUESTION_MAGIC, "another message or version")?;
    let asked = decode_asked_list(&mut decoder)?;
    decoder.finish()?;
    Ok(asked)
}

/// The answer to a question: one bit for each object, set when it is missing.
pub fn encode_answer(missing: &[bool]) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.fixed(ANSWER_MAGIC).count(missing.len());
    for bits in missing.chunks(8) {
        encoder.u8(bits
            .iter()
            .enumerate()
            .fold(0, |byte, (bit, &is_missing)| byte | u8::from(is_missing) << bit));
    }
    encoder.finish()
}

/// Reads the answer to a question of `asked_count` objects.
pub fn decode_answer(bytes: &[u8], asked_count: usize) -> Result<Vec<bool>, VaultError> {
    let mut decoder = Decoder::new("answer", bytes);
    decoder.expect(ANSWER_MAGIC, "another message or version")?;
    if decoder.u32()? as usize != asked_count {
        return Err(decoder.bad("it answers another question"));
    }
    let bits = decoder.take(asked_count.div_ceil(8))?;
    let is_spare_zero =
        bits.last().is_none_or(|last| asked_count.is_multiple_of(8) || last >> (asked_count % 8) == 0);
    if !is_spare_zero {
        return Err(decoder.bad("it has more bits than were asked for"));
    }
    decoder.finish()?;
    Ok((0..asked_count).map(|index| bits[index / 8] >> (index % 8) & 1 == 1).collect())
}

/// An offer.
pub fn encode_offer(offer: &Offer) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.fixed(OFFER_MAGIC).u64(offer.attempt).bytes(&offer.manifest);
    encoder.list(&offer.bases, |encoder, base| {
        encoder.fixed(&base.0);
    });
    for parts in [&offer.wraps, &offer.cards] {
        encoder.list(parts, |encoder, part| {
            encoder.bytes(part);
        });
    }
    encoder.finish()
}

/// Reads an offer.
pub fn decode_offer(bytes: &[u8]) -> Result<Offer, VaultError> {
    let mut decoder = Decoder::new("offer", bytes);
    decoder.expect(OFFER_MAGIC, "another message or version")?;
    let count_max = OFFERED_COUNT_MAX as u32;
    let small = |decoder: &mut Decoder<'_>| decoder.bytes(SMALL_BYTES_MAX).map(<[u8]>::to_vec);
    let offer = Offer {
        attempt: decoder.u64()?,
        manifest: decoder.bytes(MANIFEST_BYTES_MAX as u32)?.to_vec(),
        bases: decoder.list(count_max, 32, |decoder| decoder.fixed().map(ManifestDigest))?,
        wraps: decoder.list(count_max, 4, small)?,
        cards: decoder.list(count_max, 4, small)?,
    };
    decoder.finish()?;
    Ok(offer)
}

/// The answer to an offer.
pub fn encode_opened(opened: &Opened) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.fixed(OPENED_MAGIC);
    let (number, base) = match opened {
        Opened::New { base } => (1, base),
        Opened::Resume { base } => (2, base),
        Opened::Complete { receipt } => {
            encoder.u8(3).bytes(receipt);
            return encoder.finish();
        }
    };
    encoder.u8(number).option(base.as_ref(), |encoder, base| {
        encoder.fixed(&base.0);
    });
    encoder.finish()
}

/// Reads the answer to an offer.
pub fn decode_opened(bytes: &[u8]) -> Result<Opened, VaultError> {
    let mut decoder = Decoder::new("answer to an offer", bytes);
    decoder.expect(OPENED_MAGIC, "another message or version")?;
    let base = |decoder: &mut Decoder<'_>| decoder.option(|decoder| decoder.fixed().map(ManifestDigest));
    let opened = match decoder.u8()? {
        1 => Opened::New { base: base(&mut decoder)? },
        2 => Opened::Resume { base: base(&mut decoder)? },
        3 => Opened::Complete { receipt: decoder.bytes(RECEIPT_BYTES_MAX as u32)?.to_vec() },
        _ => return Err(decoder.bad("an unknown answer")),
    };
    decoder.finish()?;
    Ok(opened)
}

/// The answer to a batch.
pub fn encode_acknowledged(acknowledged: &Acknowledged) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.fixed(ACKNOWLEDGED_MAGIC).u32(acknowledged.stored_count).u64(acknowledged.stored_bytes);
    encoder.u32(acknowledged.duplicate_count).u64(acknowledged.duplicate_bytes);
    encoder.finish()
}

/// Reads the answer to a batch.
pub fn decode_acknowledged(bytes: &[u8]) -> Result<Acknowledged, VaultError> {
    let mut decoder = Decoder::new("answer to a batch", bytes);
    decoder.expect(ACKNOWLEDGED_MAGIC, "another message or version")?;
    let acknowledged = Acknowledged {
        stored_count: decoder.u32()?,
        stored_bytes: decoder.u64()?,
        duplicate_count: decoder.u32()?,
        duplicate_bytes: decoder.u64()?,
    };
    decoder.finish()?;
    Ok(acknowledged)
}

/// The answer to a request to verify.
pub fn encode_verification(verification: &Verification) -> Vec<u8> {
    let mut encoder = Encoder::new();
    let missing: &[Asked] = match verification {
        Verification::Complete => &[],
        Verification::Missing(missing) => missing,
    };
    encoder.fixed(VERIFICATION_MAGIC).list(missing, encode_asked);
    encoder.finish()
}

/// Reads the answer to a request to verify.
pub fn decode_verification(bytes: &[u8]) -> Result<Verification, VaultError> {
    let mut decoder = Decoder::new("verification", bytes);
    decoder.expect(VERIFICATION_MAGIC, "another message or version")?;
    let missing = decode_asked_list(&mut decoder)?;
    decoder.finish()?;
    Ok(if missing.is_empty() { Verification::Complete } else { Verification::Missing(missing) })
}

#[cfg(test)]
mod tests;
