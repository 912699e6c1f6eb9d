//! The names of things in a vault: addresses, digests, ids and kinds as types that cannot be mixed up.
//!
//! All of them are plain values with a fixed length. They print and parse as lower-case
//! hexadecimal, except [`DedupId`], which never leaves its own vault and prints as nothing.

use std::fmt;
use std::str::FromStr;

use crate::error::VaultError;
use crate::seams::Entropy;

/// Writes bytes as lower-case hexadecimal.
fn write_hex(formatter: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
}

/// The text form of bytes: two lower-case hexadecimal digits each.
pub fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]))
        .collect()
}

/// Parses exactly `N` bytes of lower-case hexadecimal, the form [`to_hex`] writes.
///
/// # Errors
/// `BadFormat` for any other length or character, upper case included: a name has one spelling.
pub fn from_hex<const N: usize>(text: &str) -> Result<[u8; N], VaultError> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return Err(VaultError::bad_format("hexadecimal id", "another length"));
    }
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(VaultError::bad_format("hexadecimal id", "a character outside 0-9 a-f")),
    };
    let mut bytes = [0u8; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = value(pair[0])? << 4 | value(pair[1])?;
    }
    Ok(bytes)
}

/// The name by which peers know a region's TLS key: BLAKE3 of its SubjectPublicKeyInfo in DER.
pub fn tls_key_hash(subject_public_key_info: &[u8]) -> [u8; 32] {
    *blake3::hash(subject_public_key_info).as_bytes()
}

macro_rules! id_type {
    ($(#[$meta:meta])* $name:ident, $length:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; $length]);

        impl $name {
            /// All bytes zero: "none" wherever the format allows it.
            pub const ZERO: $name = $name([0; $length]);

            /// True when all bytes are zero.
            pub fn is_zero(&self) -> bool {
                *self == $name::ZERO
            }

            /// The bytes.
            pub fn as_bytes(&self) -> &[u8; $length] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(formatter, &self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(concat!(stringify!($name), "("))?;
                write_hex(formatter, &self.0)?;
                formatter.write_str(")")
            }
        }

        impl FromStr for $name {
            type Err = VaultError;

            fn from_str(text: &str) -> Result<$name, VaultError> {
                from_hex(text).map($name)
            }
        }
    };
}

macro_rules! random_id {
    ($($name:ident),*) => { $(
        impl $name {
            /// A new id from the seam of chance.
            pub fn generate(entropy: &dyn Entropy) -> $name {
                let mut bytes = [0u8; 16];
                entropy.fill(&mut bytes);
                $name(bytes)
            }
        }
    )* };
}

id_type!(/** The BLAKE3 digest of an object's stored bytes. Zero stands for a hole in a tree. */ Address, 32);
id_type!(/** The digest of a signed manifest, before its signature. */ ManifestDigest, 32);
id_type!(/** A key domain: the line that deduplication and keys never cross. */ DomainId, 16);
id_type!(/** A vault: the domain in its home region, another name for each replica of it. */ VaultId, 16);
id_type!(/** A region: the first half of its root fingerprint. */ RegionId, 16);
id_type!(/** A public key, signing or receiving: the first half of its fingerprint. */ KeyId, 16);
id_type!(/** One life of a region's catalog; a rebuild takes a new one. */ Incarnation, 16);
id_type!(/** One backup, transfer or other writer of packs. */ OperationId, 16);
id_type!(/** A checkpoint item. */ ItemId, 16);
id_type!(/** A checkpoint. */ CheckpointId, 16);
id_type!(/** A keyed digest of a resource id: equal for equal resources, says nothing else. */ ResourceTag, 16);
id_type!(/** An acceptance grant at a destination. */ GrantId, 16);
id_type!(/** A replica in its destination region. */ ReplicaId, 16);
random_id!(DomainId, Incarnation, OperationId, ItemId, CheckpointId, GrantId, ReplicaId);

/// The keyed digest of a chunk's plaintext, by which a vault recognises what it already holds.
/// It would confirm guesses about contents, so it is never printed and never sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DedupId(pub [u8; 32]);

impl DedupId {
    /// The first half, which a leaf stores next to the address.
    pub fn check(&self) -> Check {
        let mut check = [0u8; 16];
        check.copy_from_slice(&self.0[..16]);
        Check(check)
    }
}

impl fmt::Debug for DedupId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("DedupId(..)")
    }
}

/// The first 16 bytes of a [`DedupId`], kept in the leaf that points at a chunk. Never printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Check(pub [u8; 16]);

impl Check {
    /// The check of a hole.
    pub const ZERO: Check = Check([0; 16]);
}

impl fmt::Debug for Check {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Check(..)")
    }
}

/// The number a catalog reserved for a pack: ever growing, never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackNumber(pub u64);

impl fmt::Display for PackNumber {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// A generation of a domain's keys, from 1. Zero stands where a kind of object knows no epochs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u32);

impl Epoch {
    /// For objects under the local or the region key.
    pub const NONE: Epoch = Epoch(0);
    /// The epoch a domain begins with.
    pub const FIRST: Epoch = Epoch(1);

    /// The epoch after this one.
    pub fn next(self) -> Epoch {
        Epoch(self.0.saturating_add(1))
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.0)
    }
}

/// What an object holds. The number is part of the format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A piece of a disk.
    Chunk = 1,
    /// A list of addresses.
    Node = 2,
    /// What a manifest says to those who may walk the item.
    ManifestBody = 3,
    /// What a manifest says to those who may read the item.
    Description = 4,
    /// The dedup ids of a pack's chunks.
    DedupMap = 5,
    /// Domain keys under a region's key.
    KeyBundle = 6,
    /// One revision of a region's state.
    RegionState = 7,
}

impl Kind {
    /// All kinds, in the order of their numbers.
    pub const ALL: [Kind; 7] = [
        Kind::Chunk,
        Kind::Node,
        Kind::ManifestBody,
        Kind::Description,
        Kind::DedupMap,
        Kind::KeyBundle,
        Kind::RegionState,
    ];

    /// The kind with this number, if there is one.
    pub fn from_number(number: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The number in the format.
    pub fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_prints_as_hexadecimal_and_parses_back() {
        let id = DomainId(std::array::from_fn(|index| (index * 17) as u8));
        assert_eq!(id.to_string(), "00112233445566778899aabbccddeeff");
        assert_eq!(id.to_string().parse::<DomainId>().unwrap(), id);
        assert_eq!(to_hex(&id.0), id.to_string());
    }

    #[test]
    fn an_id_has_one_spelling() {
        for text in [
            "",
            "00",
            "00112233445566778899AABBCCDDEEFF",
            "00112233445566778899aabbccddeef",
            "zz112233445566778899aabbccddeeff",
        ] {
            assert!(text.parse::<DomainId>().is_err(), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_dedup_id_is_never_printed() {
        assert_eq!(format!("{:?} {:?}", DedupId([7; 32]), Check([7; 16])), "DedupId(..) Check(..)");
    }

    #[test]
    fn kinds_keep_their_numbers_and_unknown_ones_are_refused() {
        let numbers: Vec<u8> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!((Kind::from_number(0), Kind::from_number(8)), (None, None));
    }
}
