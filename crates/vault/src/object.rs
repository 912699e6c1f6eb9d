//! Objects: how plaintext becomes stored bytes that anyone can check and only key holders can read.
//!
//! `stored = header (64) ‖ AES-256-GCM(payload) ‖ tag (16)`, addressed by BLAKE3 of all of it. Sealing
//! is deterministic: key and nonce follow from a keyed digest `s` of the clear header and the
//! *compressed* payload, so equal inputs give equal bytes and a (key, nonce) pair never covers two
//! contents. Exact bytes, limits and the order of checks: `docs/format.md`, "Objects".
//!
//! [`Sealer`] and [`Opener`] keep their codec contexts and buffers; make one for each thread.

use crate::error::VaultError;
use crate::ids::{Address, Check, DomainId, Epoch, Kind};

mod open;
mod payload;
mod seal;

pub use open::Opener;
pub(crate) use open::unpack_payload;
#[cfg(test)]
pub(crate) use seal::Frozen;
pub use seal::{Sealed, Sealer};

/// Bytes of the clear header.
pub const HEADER_BYTES: usize = 64;
/// Bytes of the authentication tag.
pub const TAG_BYTES: usize = 16;
/// Longest plaintext of a chunk or a node.
pub const CHUNK_BYTES_MAX: u32 = 1 << 20;
/// Longest plaintext of every other kind.
pub const OTHER_BYTES_MAX: u32 = 16 << 20;
/// Highest level of a node; leaves are at level 0.
pub const LEVEL_MAX: u8 = 6;

const MAGIC: [u8; 4] = *b"APO1";
const SUITE: u8 = 1;
const PAD_MIN: u8 = 9;
const PAD_MAX: u8 = 16;

/// The address of stored bytes.
pub fn address_of(stored: &[u8]) -> Address {
    Address(*blake3::hash(stored).as_bytes())
}

/// Longest plaintext of a kind in bytes.
pub fn plain_bytes_max(kind: Kind) -> u32 {
    match kind {
        Kind::Chunk | Kind::Node => CHUNK_BYTES_MAX,
        _ => OTHER_BYTES_MAX,
    }
}

/// Longest stored object of a kind in bytes, with the coarsest padding.
pub fn stored_bytes_max(kind: Kind) -> u32 {
    let payload = (payload::HEAD_BYTES as u32 + plain_bytes_max(kind)).next_multiple_of(1 << PAD_MAX);
    payload + (HEADER_BYTES + TAG_BYTES) as u32
}

/// Shortest stored object in bytes: one byte of plaintext, unpadded.
pub const STORED_BYTES_MIN: u32 = (HEADER_BYTES + payload::HEAD_BYTES + 1 + TAG_BYTES) as u32;

/// True when an object of this kind may have this stored length. Checked before anything is read.
pub fn is_stored_len_lawful(kind: Kind, stored_len: u64) -> bool {
    (u64::from(STORED_BYTES_MIN)..=u64::from(stored_bytes_max(kind))).contains(&stored_len)
}

/// The clear header of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the object holds.
    pub kind: Kind,
    /// A node's height above the leaves, else 0.
    pub level: u8,
    /// The payload is padded to a multiple of 2^pad bytes; 0 means unpadded.
    pub pad: u8,
    /// The key domain; zero under a region's key.
    pub domain: DomainId,
    /// The epoch whose key seals it; zero where there are none.
    pub epoch: Epoch,
    /// The synthetic value.
    pub s: [u8; 32],
}

impl Header {
    /// Parses and checks the header of stored bytes. Needs no key: whoever only passes objects on uses
    /// it to refuse foreign domains and kinds.
    ///
    /// # Errors
    /// `BadFormat` naming the field that is wrong.
    pub fn parse(stored: &[u8]) -> Result<Header, VaultError> {
        Header::parse_fields(stored).map_err(|why| VaultError::bad_format("object header", why))
    }

    fn parse_fields(stored: &[u8]) -> Result<Header, &'static str> {
        let header: &[u8; HEADER_BYTES] = stored.first_chunk().ok_or("it is shorter than a header")?;
        if header[..4] != MAGIC {
            return Err("another magic");
        }
        if header[4] != SUITE {
            return Err("an unknown suite");
        }
        let kind = Kind::from_number(header[5]).ok_or("an unknown kind")?;
        let (level, pad) = (header[6], header[7]);
        if level > LEVEL_MAX || (level > 0 && kind != Kind::Node) {
            return Err("an unlawful level");
        }
        if !is_pad_lawful(pad) {
            return Err("an unlawful padding");
        }
        if header[28..32] != [0; 4] {
            return Err("reserved bytes are not zero");
        }
        let mut parsed = Header { kind, level, pad, domain: DomainId::ZERO, epoch: Epoch::NONE, s: [0; 32] };
        parsed.domain.0.copy_from_slice(&header[8..24]);
        parsed.epoch = Epoch(u32::from_le_bytes([header[24], header[25], header[26], header[27]]));
        parsed.s.copy_from_slice(&header[32..]);
        Ok(parsed)
    }

    /// The first half, which `s` covers.
    pub(crate) fn first_half(&self) -> [u8; 32] {
        let mut half = [0u8; 32];
        half[..4].copy_from_slice(&MAGIC);
        half[4..8].copy_from_slice(&[SUITE, self.kind.number(), self.level, self.pad]);
        half[8..24].copy_from_slice(&self.domain.0);
        half[24..28].copy_from_slice(&self.epoch.0.to_le_bytes());
        half
    }
}

/// What the reader of an object knows about it beforehand; anything else is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    /// The kind.
    pub kind: Kind,
    /// A node's level, else 0.
    pub level: u8,
    /// The address.
    pub address: Address,
    /// The length of the plaintext, where a leaf states it.
    pub plain_len: Option<u32>,
    /// The check of a chunk, where a leaf states it.
    pub check: Option<Check>,
}

impl Expected {
    /// An object known by kind and address only.
    pub fn object(kind: Kind, address: Address) -> Expected {
        Expected { kind, level: 0, address, plain_len: None, check: None }
    }

    /// A node of a tree.
    pub fn node(level: u8, address: Address) -> Expected {
        Expected { level, ..Expected::object(Kind::Node, address) }
    }

    /// A chunk as its leaf lists it.
    pub fn chunk(address: Address, plain_len: u32, check: Check) -> Expected {
        Expected { plain_len: Some(plain_len), check: Some(check), ..Expected::object(Kind::Chunk, address) }
    }
}

fn is_pad_lawful(pad: u8) -> bool {
    pad == 0 || (PAD_MIN..=PAD_MAX).contains(&pad)
}

/// The AEAD key and nonce that belong to a synthetic value.
fn key_and_nonce(enc: &[u8; 32], s: &[u8; 32]) -> zeroize::Zeroizing<[u8; 44]> {
    let mut both = zeroize::Zeroizing::new([0u8; 44]);
    blake3::Hasher::new_keyed(enc).update(s).finalize_xof().fill(&mut both[..]);
    both
}

/// An AES-256-GCM key for one object, with its nonce.
fn aead(enc: &[u8; 32], s: &[u8; 32]) -> (aws_lc_rs::aead::LessSafeKey, aws_lc_rs::aead::Nonce) {
    use aws_lc_rs::aead::{AES_256_GCM, LessSafeKey, Nonce, UnboundKey};
    let both = key_and_nonce(enc, s);
    let key = UnboundKey::new(&AES_256_GCM, &both[..32]).expect("the key is 32 bytes long");
    let nonce = Nonce::try_assume_unique_for_key(&both[32..]).expect("the nonce is 12 bytes long");
    (LessSafeKey::new(key), nonce)
}

#[cfg(test)]
pub(crate) mod tests;
