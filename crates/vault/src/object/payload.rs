//! The payload of an object: codec, lengths, body, padding.
//!
//! `codec u8 (0 raw, 1 zstd) ‖ plain_len u32 ‖ body_len u32 ‖ body ‖ zeros to a multiple of 2^pad`.

use crate::ids::Kind;
use crate::object::plain_bytes_max;

/// Bytes in front of the body.
pub(super) const HEAD_BYTES: usize = 9;

pub(super) const CODEC_RAW: u8 = 0;
pub(super) const CODEC_ZSTD: u8 = 1;

/// Length of a payload with this body and padding.
pub(super) fn padded_len(body_len: usize, pad: u8) -> usize {
    let length = HEAD_BYTES + body_len;
    if pad == 0 { length } else { length.next_multiple_of(1 << pad) }
}

/// The bytes in front of the body.
pub(super) fn head(codec: u8, plain_len: u32, body_len: u32) -> [u8; HEAD_BYTES] {
    let mut head = [0u8; HEAD_BYTES];
    head[0] = codec;
    head[1..5].copy_from_slice(&plain_len.to_le_bytes());
    head[5..9].copy_from_slice(&body_len.to_le_bytes());
    head
}

/// A payload whose lengths and padding were found sound. The body is still compressed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Payload<'a> {
    pub(super) is_compressed: bool,
    pub(super) plain_len: u32,
    pub(super) body: &'a [u8],
}

/// Splits a payload and checks everything that can be checked without decompressing.
pub(super) fn parse(
    kind: Kind,
    pad: u8,
    plain_len: Option<u32>,
    payload: &[u8],
) -> Result<Payload<'_>, &'static str> {
    let (head, rest) = payload.split_first_chunk::<HEAD_BYTES>().ok_or("the payload is too short")?;
    let [codec, p0, p1, p2, p3, b0, b1, b2, b3] = *head;
    let parsed_len = u32::from_le_bytes([p0, p1, p2, p3]);
    let body_len = u32::from_le_bytes([b0, b1, b2, b3]) as usize;
    if body_len > rest.len() || padded_len(body_len, pad) != payload.len() {
        return Err("the payload has another length than it states");
    }
    let (body, padding) = rest.split_at(body_len);
    if padding.iter().any(|byte| *byte != 0) {
        return Err("the padding is not zero");
    }
    if parsed_len == 0
        || parsed_len > plain_bytes_max(kind)
        || plain_len.is_some_and(|known| known != parsed_len)
    {
        return Err("the plaintext has another length than expected");
    }
    let is_compressed = match codec {
        CODEC_RAW if body_len == parsed_len as usize => false,
        CODEC_RAW => return Err("a raw body has another length than the plaintext"),
        CODEC_ZSTD if body_len < parsed_len as usize => true,
        CODEC_ZSTD => return Err("a compressed body is not smaller than the plaintext"),
        _ => return Err("an unknown codec"),
    };
    Ok(Payload { is_compressed, plain_len: parsed_len, body })
}

/// Checks that a body is exactly one zstd frame without dictionary, of the window and the content
/// length allowed. The decompressor would accept more than that.
pub(super) fn check_frame(kind: Kind, payload: &Payload<'_>) -> Result<(), &'static str> {
    let body = payload.body;
    let Some((&[m0, m1, m2, m3, descriptor], rest)) = body.split_first_chunk::<5>() else {
        return Err("the body is too short for a zstd frame");
    };
    if [m0, m1, m2, m3] != [0x28, 0xb5, 0x2f, 0xfd] {
        return Err("the body is no zstd frame");
    }
    let is_single_segment = descriptor & 0x20 != 0;
    if descriptor & 0x18 != 0 || descriptor & 3 != 0 {
        return Err("the zstd frame uses a dictionary or reserved bits");
    }
    if !is_single_segment {
        let window = *rest.first().ok_or("the body is too short for a zstd frame")?;
        let base = 1u64 << (10 + (window >> 3));
        let window_bytes = base + (base >> 3) * u64::from(window & 7);
        if window_bytes > u64::from(plain_bytes_max(kind)) {
            return Err("the zstd frame asks for too large a window");
        }
    }
    match zstd::zstd_safe::get_frame_content_size(body) {
        Ok(None) => {}
        Ok(Some(content)) if content == u64::from(payload.plain_len) => {}
        _ => return Err("the zstd frame states another length than the payload"),
    }
    match zstd::zstd_safe::find_frame_compressed_size(body) {
        Ok(length) if length == body.len() => Ok(()),
        _ => Err("the body is not exactly one zstd frame"),
    }
}
