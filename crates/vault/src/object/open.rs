//! Opening: stored bytes to plaintext, with every check in the order the format fixes.
//!
//! Nothing reaches the caller before the last check passed; the first that fails is the error.

use std::io::Cursor;

use aws_lc_rs::aead::Aad;
use zeroize::Zeroize;

use crate::error::VaultError;
use crate::ids::{DedupId, DomainId, Epoch, Kind};
use crate::keys::KeyRing;
use crate::object::payload::{self, Payload};
use crate::object::{Expected, HEADER_BYTES, Header, TAG_BYTES, address_of, aead, is_stored_len_lawful};

/// Opens objects one after the other. One for each thread.
pub struct Opener {
    zstd: zstd::bulk::Decompressor<'static>,
    /// The header's first half, then the decrypted payload: the bytes `s` covers, in one piece.
    scratch: Vec<u8>,
    /// Where chunks are opened only to be looked at, behind a byte for the mark of their id.
    plain: Vec<u8>,
}

impl Opener {
    /// An opener with its own codec context.
    ///
    /// # Errors
    /// `Unavailable` when memory for the codec is refused.
    pub fn new() -> Result<Opener, VaultError> {
        let zstd = zstd::bulk::Decompressor::new()
            .map_err(|cause| VaultError::Unavailable { doing: "making a decompressor", cause })?;
        Ok(Opener { zstd, scratch: Vec::new(), plain: Vec::new() })
    }

    /// Opens stored bytes into `out`, which is cleared first and stays empty on an error.
    ///
    /// # Errors
    /// `Corrupt` naming the first check that failed, `KeyMissing` when the key is not held here.
    pub fn open(
        &mut self,
        ring: &(impl KeyRing + ?Sized),
        expected: &Expected,
        stored: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), VaultError> {
        out.clear();
        self.open_behind(ring, expected, stored, out)
    }

    /// Opens stored bytes and appends the plaintext to `out`; on an error `out` is as it was before.
    ///
    /// # Errors
    /// As [`Opener::open`].
    pub fn open_behind(
        &mut self,
        ring: &(impl KeyRing + ?Sized),
        expected: &Expected,
        stored: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), VaultError> {
        let start = out.len();
        let opened = self.open_unguarded(ring, expected, stored, out);
        if opened.is_err() {
            out[start..].zeroize();
            out.truncate(start);
        }
        opened.map(|_| ())
    }

    /// Opens a chunk that was just sealed and tells the id of what came out, all of it computed anew from
    /// the stored bytes; the plaintext itself is not kept.
    ///
    /// # Errors
    /// As [`Opener::open`].
    pub(crate) fn open_to_id(
        &mut self,
        ring: &(impl KeyRing + ?Sized),
        expected: &Expected,
        stored: &[u8],
    ) -> Result<Option<DedupId>, VaultError> {
        let mut plain = std::mem::take(&mut self.plain);
        plain.clear();
        plain.push(0);
        let id = self.open_unguarded(ring, expected, stored, &mut plain);
        self.plain = plain;
        id
    }

    fn open_unguarded(
        &mut self,
        ring: &(impl KeyRing + ?Sized),
        expected: &Expected,
        stored: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<DedupId>, VaultError> {
        let corrupt = |why| VaultError::Corrupt { address: expected.address, why };
        let header = check_outside(expected, stored).map_err(corrupt)?;
        let keys = ring.object_keys(header.kind, header.domain, header.epoch)?;

        let sealed = &stored[HEADER_BYTES..stored.len() - TAG_BYTES];
        let covered_len = 32 + sealed.len();
        if self.scratch.len() < covered_len {
            self.scratch.resize(covered_len, 0);
        }
        let covered = &mut self.scratch[..covered_len];
        covered[..32].copy_from_slice(&stored[..32]);
        let (key, nonce) = aead(keys.enc(), &header.s);
        let aad = Aad::from(&stored[..HEADER_BYTES]);
        key.open_separate_gather(nonce, aad, sealed, &stored[stored.len() - TAG_BYTES..], &mut covered[32..])
            .map_err(|_| corrupt("the authentication tag does not match"))?;

        let covered = &self.scratch[..covered_len];
        let payload =
            payload::parse(header.kind, header.pad, expected.plain_len, &covered[32..]).map_err(corrupt)?;
        let start = out.len();
        decompress(&mut self.zstd, &header, &payload, out).map_err(corrupt)?;
        let Some(check) = expected.check else {
            return match *blake3::keyed_hash(keys.siv(), covered).as_bytes() == header.s {
                true => Ok(None),
                false => Err(corrupt("the synthetic value does not belong to the contents")),
            };
        };
        // The byte in front, where there is one, is lent for the mark that the id begins with.
        let id = match start.checked_sub(1) {
            Some(front) => ring.dedup_id_framed(&mut out[front..]),
            None => ring.dedup_id(out),
        };
        let id = id.ok_or(VaultError::KeyMissing { domain: header.domain, epoch: header.epoch })?;
        if id.check() != check {
            return Err(corrupt("the plaintext is not the one its leaf lists"));
        }
        Ok(Some(id))
    }
}

/// The checks that need no key.
fn check_outside(expected: &Expected, stored: &[u8]) -> Result<Header, &'static str> {
    if !is_stored_len_lawful(expected.kind, stored.len() as u64) {
        return Err("no object of this kind has that length");
    }
    if address_of(stored) != expected.address {
        return Err("the bytes have another address");
    }
    let header = Header::parse_fields(stored)?;
    if header.kind != expected.kind {
        return Err("it is of another kind");
    }
    if header.level != expected.level {
        return Err("it is of another level");
    }
    Ok(header)
}

/// Takes a payload apart as opening does once the tag has been found sound.
pub(crate) fn unpack_payload(kind: Kind, pad: u8, bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    let payload = payload::parse(kind, pad, None, bytes)?;
    let mut zstd = zstd::bulk::Decompressor::new().map_err(|_| "no memory for the codec")?;
    let header = Header { kind, level: 0, pad, domain: DomainId::ZERO, epoch: Epoch::NONE, s: [0; 32] };
    let mut out = Vec::new();
    decompress(&mut zstd, &header, &payload, &mut out)?;
    Ok(out)
}

fn decompress(
    zstd: &mut zstd::bulk::Decompressor<'static>,
    header: &Header,
    payload: &Payload<'_>,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    if !payload.is_compressed {
        out.extend_from_slice(payload.body);
        return Ok(());
    }
    payload::check_frame(header.kind, payload)?;
    let start = out.len();
    out.reserve(payload.plain_len as usize);
    // The room that was reserved may be longer, so the decompressor is told its end by the length below.
    let mut cursor = Cursor::new(&mut *out);
    cursor.set_position(start as u64);
    match zstd.decompress_to_buffer(payload.body, &mut cursor) {
        Ok(length) if length == payload.plain_len as usize => Ok(()),
        _ => Err("the body does not decompress to the stated length"),
    }
}
