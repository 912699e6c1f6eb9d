//! Sealing: plaintext to stored bytes, in one buffer and without a copy beyond the compressor's.

use std::io::Cursor;

use aws_lc_rs::aead::Aad;

use crate::error::VaultError;
use crate::ids::{Address, Kind};
use crate::keys::ObjectKeys;
use crate::object::{
    HEADER_BYTES, Header, LEVEL_MAX, TAG_BYTES, address_of, aead, is_pad_lawful, payload, plain_bytes_max,
};

/// zstd's fastest regular level: the bound of the backup pipeline.
const ZSTD_LEVEL: i32 = 1;

/// Where a sealed object went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its address.
    pub address: Address,
    /// How many bytes were appended.
    pub stored_len: u32,
}

/// Seals objects one after the other. One for each thread.
pub struct Sealer {
    zstd: zstd::bulk::Compressor<'static>,
    pad: u8,
}

impl Sealer {
    /// A sealer that does not pad.
    ///
    /// # Errors
    /// `Unavailable` when memory for the codec is refused.
    pub fn new() -> Result<Sealer, VaultError> {
        Sealer::with_pad(0)
    }

    /// A sealer that pads payloads to multiples of 2^`pad` bytes (9 to 16; 0 for none).
    ///
    /// # Errors
    /// `Refused` for another padding; as [`Sealer::new`].
    pub fn with_pad(pad: u8) -> Result<Sealer, VaultError> {
        if !is_pad_lawful(pad) {
            return Err(VaultError::refused("padding is 0 or 9 to 16"));
        }
        let zstd = zstd::bulk::Compressor::new(ZSTD_LEVEL)
            .map_err(|cause| VaultError::Unavailable { doing: "making a compressor", cause })?;
        Ok(Sealer { zstd, pad })
    }

    /// Seals a chunk and appends the stored bytes to `out`.
    ///
    /// # Errors
    /// As [`Sealer::seal`].
    pub fn seal_chunk(
        &mut self,
        keys: &ObjectKeys,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Sealed, VaultError> {
        self.seal(keys, Kind::Chunk, 0, plaintext, out)
    }

    /// Seals an object and appends the stored bytes to `out`.
    ///
    /// # Errors
    /// `Refused` when the plaintext is empty or longer than its kind allows, or the level is unlawful;
    /// `out` is then unchanged.
    pub fn seal(
        &mut self,
        keys: &ObjectKeys,
        kind: Kind,
        level: u8,
        plaintext: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Sealed, VaultError> {
        self.check(kind, level, plaintext)?;
        let start = out.len();
        let body_start = start + HEADER_BYTES + payload::HEAD_BYTES;
        out.resize(body_start, 0);
        let codec = self.append_body(plaintext, out);
        Ok(finish(keys, Body { kind, level, pad: self.pad, codec, plain_len: plaintext.len() }, start, out))
    }

    /// Seals an object around a body that was made elsewhere: a zstd frame, or the plaintext itself. For
    /// test vectors, whose bytes must not depend on the version of a compressor. Nothing is checked.
    #[cfg(test)]
    pub(crate) fn seal_frozen(&self, keys: &ObjectKeys, frozen: Frozen<'_>, out: &mut Vec<u8>) -> Sealed {
        let start = out.len();
        out.resize(start + HEADER_BYTES + payload::HEAD_BYTES, 0);
        out.extend_from_slice(frozen.body);
        let codec = if frozen.is_compressed { payload::CODEC_ZSTD } else { payload::CODEC_RAW };
        let (kind, level, plain_len) = (frozen.kind, frozen.level, frozen.plain_len);
        finish(keys, Body { kind, level, pad: self.pad, codec, plain_len }, start, out)
    }

    fn check(&self, kind: Kind, level: u8, plaintext: &[u8]) -> Result<(), VaultError> {
        if plaintext.is_empty() || plaintext.len() > plain_bytes_max(kind) as usize {
            return Err(VaultError::refused(format!("{} bytes are no lawful {kind:?}", plaintext.len())));
        }
        if level > LEVEL_MAX || (level > 0 && kind != Kind::Node) {
            return Err(VaultError::refused(format!("level {level} is not lawful for a {kind:?}")));
        }
        Ok(())
    }

    /// Appends the compressed plaintext, or the plaintext itself where that is no longer.
    fn append_body(&mut self, plaintext: &[u8], out: &mut Vec<u8>) -> u8 {
        let body_start = out.len();
        if !looks_random(plaintext) {
            out.reserve(zstd::zstd_safe::compress_bound(plaintext.len()));
            let mut cursor = Cursor::new(&mut *out);
            cursor.set_position(body_start as u64);
            // A failed compression is no failure of sealing: the body then stays raw.
            let written = self.zstd.compress_to_buffer(plaintext, &mut cursor);
            if written.is_ok_and(|length| length < plaintext.len()) {
                return payload::CODEC_ZSTD;
            }
        }
        out.truncate(body_start);
        out.extend_from_slice(plaintext);
        payload::CODEC_RAW
    }
}

/// An object with a body from elsewhere.
#[cfg(test)]
pub(crate) struct Frozen<'a> {
    pub(crate) kind: Kind,
    pub(crate) level: u8,
    pub(crate) is_compressed: bool,
    pub(crate) plain_len: usize,
    pub(crate) body: &'a [u8],
}

/// What is known of an object whose body is already in place.
struct Body {
    kind: Kind,
    level: u8,
    pad: u8,
    codec: u8,
    plain_len: usize,
}

/// Turns `out[start..]`, which holds the body behind room for header and payload head, into an object.
fn finish(keys: &ObjectKeys, body: Body, start: usize, out: &mut Vec<u8>) -> Sealed {
    let payload_start = start + HEADER_BYTES;
    let body_len = out.len() - payload_start - payload::HEAD_BYTES;
    let head = payload::head(body.codec, body.plain_len as u32, body_len as u32);
    out[payload_start..][..payload::HEAD_BYTES].copy_from_slice(&head);
    out.resize(payload_start + payload::padded_len(body_len, body.pad), 0);

    let header = Header {
        kind: body.kind,
        level: body.level,
        pad: body.pad,
        domain: keys.domain(),
        epoch: keys.epoch(),
        s: [0; 32],
    };
    // The half that `s` covers is put where `s` will lie, directly before the payload, so that both are
    // hashed as one piece: BLAKE3 loses its vector lanes on pieces that begin off a 1 KiB border.
    let first_half = header.first_half();
    out[start + 32..payload_start].copy_from_slice(&first_half);
    let s = *blake3::keyed_hash(keys.siv(), &out[start + 32..]).as_bytes();
    out[start..start + 32].copy_from_slice(&first_half);
    out[start + 32..payload_start].copy_from_slice(&s);

    let (key, nonce) = aead(keys.enc(), &s);
    let (front, payload) = out.split_at_mut(payload_start);
    let tag = key
        .seal_in_place_separate_tag(nonce, Aad::from(&front[start..]), payload)
        .expect("AES-256-GCM seals any payload below 64 GiB");
    debug_assert_eq!(tag.as_ref().len(), TAG_BYTES);
    out.extend_from_slice(tag.as_ref());
    Sealed { address: address_of(&out[start..]), stored_len: (out.len() - start) as u32 }
}

/// True when the bytes are spread so evenly that compressing them is not worth the time: the sum of
/// squared byte counts of a sample lies near that of chance. Encrypted and well-packed data does.
fn looks_random(plaintext: &[u8]) -> bool {
    const PIECES: usize = 8;
    const PIECE_BYTES: usize = 512;
    const SAMPLE: u64 = (PIECES * PIECE_BYTES) as u64;
    // Chance gives SAMPLE + SAMPLE² / 256 with a deviation of 0.5 %; deflated data stays within 3 %.
    const LIMIT: u64 = (SAMPLE + SAMPLE * SAMPLE / 256) * 103 / 100;
    if plaintext.len() < PIECES * PIECE_BYTES {
        return false;
    }
    let mut counts = [0u16; 256];
    let step = (plaintext.len() - PIECE_BYTES) / (PIECES - 1);
    for piece in 0..PIECES {
        for byte in &plaintext[piece * step..][..PIECE_BYTES] {
            counts[usize::from(*byte)] += 1;
        }
    }
    counts.iter().map(|count| u64::from(*count) * u64::from(*count)).sum::<u64>() < LIMIT
}
