//! Packs: files that hold many objects and end in a footer that lists them.
//!
//! `objects ‖ footer ‖ trailer (44)`. The footer has a clear part that needs no key (kind, place and
//! address of each object), and, in the vault that made the chunks, a sealed part with their dedup
//! ids, bound to the pack's name and to the clear part. An index is rebuilt from footers alone, and
//! takes dedup ids from sealed parts only: a forged clear part can hide objects, never redirect a
//! duplicate. Decoding trusts nothing: entries lie inside the file, in order, without overlap.

use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::{Address, DedupId, Kind};
use crate::keys::{KeyRing, ObjectKeys};
use crate::layout::PackName;
use crate::object::{Expected, Opener, Sealer, address_of, is_stored_len_lawful};
use crate::store::{ObjectStore, StoreError};

/// Bytes of the trailer, the last of every pack.
pub const TRAILER_BYTES: usize = 44;
/// Most objects in a pack. Their dedup ids fit into one object of kind 5.
pub const OBJECT_COUNT_MAX: u32 = 400_000;
/// Longest footer that is read.
pub const FOOTER_BYTES_MAX: u64 = 64 << 20;

const TRAILER_MAGIC: &[u8; 4] = b"APK1";
const ENTRY_BYTES: usize = 45;

/// One object in a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackEntry {
    /// What it holds.
    pub kind: Kind,
    /// Its first byte in the pack.
    pub offset: u64,
    /// Its length in bytes.
    pub stored_len: u32,
    /// Its address.
    pub address: Address,
}

impl PackEntry {
    /// The first byte after it.
    pub fn end(&self) -> u64 {
        self.offset + u64::from(self.stored_len)
    }
}

/// The end of a pack as bytes, and what the catalog remembers of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackEnd {
    /// Footer and trailer: what follows the last object.
    pub bytes: Vec<u8>,
    /// BLAKE3 of the footer.
    pub footer_digest: [u8; 32],
}

/// Collects what a pack's footer will say while objects are appended to it.
#[derive(Debug, Default)]
pub struct PackFooter {
    entries: Vec<PackEntry>,
    ids: Vec<DedupId>,
    end: u64,
}

impl PackFooter {
    /// The footer of a pack without objects.
    pub fn new() -> PackFooter {
        PackFooter::default()
    }

    /// Notes an object that was appended behind the ones before. `id` is the dedup id of a chunk made
    /// in this vault; a pack lists the ids of all its chunks or of none.
    ///
    /// # Panics
    /// When the pack already holds [`OBJECT_COUNT_MAX`] objects.
    pub fn push(&mut self, kind: Kind, stored_len: u32, address: Address, id: Option<DedupId>) -> PackEntry {
        assert!(self.entries.len() < OBJECT_COUNT_MAX as usize, "a pack was filled past its limit");
        let entry = PackEntry { kind, offset: self.end, stored_len, address };
        self.end = entry.end();
        self.entries.push(entry);
        self.ids.extend(id);
        entry
    }

    /// The objects so far.
    pub fn entries(&self) -> &[PackEntry] {
        &self.entries
    }

    /// Bytes of the objects so far.
    pub fn object_bytes(&self) -> u64 {
        self.end
    }

    /// Encodes footer and trailer. `seal` gives the sealed part: the local keys of the vault that made
    /// the chunks, and the pack's name. Without it, or without chunks, there is none.
    ///
    /// # Errors
    /// `Refused` when some chunks have a dedup id and others have none.
    pub fn finish(&self, seal: Option<(&ObjectKeys, PackName)>) -> Result<PackEnd, VaultError> {
        let chunk_count = self.entries.iter().filter(|entry| entry.kind == Kind::Chunk).count();
        let sealed = match seal {
            Some((keys, name)) if chunk_count > 0 => {
                if self.ids.len() != chunk_count {
                    return Err(VaultError::refused("a pack with dedup ids for some of its chunks only"));
                }
                Some(self.seal_map(keys, name)?)
            }
            _ => None,
        };
        let mut encoder = self.clear();
        encoder.option(sealed.as_deref(), |encoder, sealed| {
            encoder.bytes(sealed);
        });
        let mut bytes = encoder.finish();
        let footer_digest = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&self.end.to_le_bytes());
        bytes.extend_from_slice(&footer_digest);
        bytes.extend_from_slice(TRAILER_MAGIC);
        Ok(PackEnd { bytes, footer_digest })
    }

    fn clear(&self) -> Encoder {
        let mut encoder = Encoder::with_capacity(64 + self.entries.len() * (ENTRY_BYTES + 32));
        encoder.list(&self.entries, |encoder, entry| {
            encoder.u8(entry.kind.number()).u64(entry.offset).u32(entry.stored_len).fixed(&entry.address.0);
        });
        encoder
    }

    fn seal_map(&self, keys: &ObjectKeys, name: PackName) -> Result<Vec<u8>, VaultError> {
        let clear_digest = blake3::hash(self.clear().as_slice());
        let mut map = Encoder::with_capacity(128 + 32 * self.ids.len());
        map.string(&name.file_name()).fixed(clear_digest.as_bytes());
        map.list(&self.ids, |map, id| {
            map.fixed(&id.0);
        });
        let plaintext = zeroize::Zeroizing::new(map.finish());
        let mut sealed = Vec::new();
        Sealer::new()?.seal(keys, Kind::DedupMap, 0, &plaintext, &mut sealed)?;
        Ok(sealed)
    }
}

/// Where a pack's footer lies, read from its trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FooterPlace {
    /// First byte of the footer: the end of the objects.
    pub offset: u64,
    /// Length of the footer in bytes.
    pub length: u64,
    /// BLAKE3 of the footer.
    pub digest: [u8; 32],
}

impl FooterPlace {
    /// Reads the trailer: the last [`TRAILER_BYTES`] of a pack of `pack_bytes`.
    ///
    /// # Errors
    /// `BadFormat` when it is no trailer or points outside the pack.
    pub fn parse(trailer: &[u8], pack_bytes: u64) -> Result<FooterPlace, VaultError> {
        let mut decoder = Decoder::new("pack trailer", trailer);
        let offset = decoder.u64()?;
        let digest = decoder.fixed()?;
        decoder.expect(TRAILER_MAGIC, "another magic")?;
        let length = pack_bytes.checked_sub(TRAILER_BYTES as u64).and_then(|end| end.checked_sub(offset));
        let Some(length) = length.filter(|length| (5..=FOOTER_BYTES_MAX).contains(length)) else {
            return Err(decoder.bad("the footer lies outside the pack"));
        };
        decoder.finish()?;
        Ok(FooterPlace { offset, length, digest })
    }

    /// Decodes the footer, the bytes this place names.
    ///
    /// # Errors
    /// `BadFormat` when the bytes are not the ones the trailer vouches for, or break a rule.
    pub fn decode(&self, footer: &[u8]) -> Result<ReadFooter, VaultError> {
        let mut decoder = Decoder::new("pack footer", footer);
        if footer.len() as u64 != self.length || *blake3::hash(footer).as_bytes() != self.digest {
            return Err(decoder.bad("the bytes have another digest"));
        }
        let entries = decoder.list(OBJECT_COUNT_MAX, ENTRY_BYTES, decode_entry)?;
        let mut end = 0u64;
        for entry in &entries {
            if entry.offset < end
                || entry.offset > self.offset
                || self.offset - entry.offset < u64::from(entry.stored_len)
            {
                return Err(decoder.bad("an object overlaps another or lies outside the pack"));
            }
            end = entry.end();
        }
        let clear_len = footer.len() - decoder.remaining();
        let sealed = decoder.option(|decoder| decoder.bytes(FOOTER_BYTES_MAX as u32).map(<[u8]>::to_vec))?;
        decoder.finish()?;
        let clear_digest = *blake3::hash(&footer[..clear_len]).as_bytes();
        Ok(ReadFooter { entries, clear_digest, sealed })
    }
}

/// Reads the end of a pack of `pack_bytes`: where its footer lies, and what that lists.
///
/// # Errors
/// `BadFormat` when the store does not hold the pack, or not all of it, or its end breaks a rule.
pub fn read_footer_of(
    store: &dyn ObjectStore,
    name: &str,
    pack_bytes: u64,
) -> Result<(FooterPlace, ReadFooter), VaultError> {
    let read = |offset, length| match store.get_range(name, offset, length) {
        Ok(bytes) => Ok(bytes),
        Err(StoreError::NotFound { .. } | StoreError::TooShort { .. }) => {
            Err(VaultError::bad_format("pack", "the store does not hold all of it"))
        }
        Err(error) => Err(error.while_doing("reading a footer")),
    };
    let trailer_bytes = TRAILER_BYTES as u64;
    let Some(trailer_offset) = pack_bytes.checked_sub(trailer_bytes) else {
        return Err(VaultError::bad_format("pack", "it is shorter than a trailer"));
    };
    let place = FooterPlace::parse(&read(trailer_offset, trailer_bytes)?, pack_bytes)?;
    let footer = place.decode(&read(place.offset, place.length)?)?;
    Ok((place, footer))
}

/// A footer read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadFooter {
    /// The objects, in the order they lie.
    pub entries: Vec<PackEntry>,
    clear_digest: [u8; 32],
    sealed: Option<Vec<u8>>,
}

impl ReadFooter {
    /// The dedup ids of the chunks, in their order, or `None` when the pack has no sealed part.
    ///
    /// # Errors
    /// `KeyMissing` in a sealed domain; `Corrupt` or `BadFormat` when the sealed part was made for
    /// another pack or another list.
    pub fn dedup_ids(
        &self,
        ring: &(impl KeyRing + ?Sized),
        opener: &mut Opener,
        name: PackName,
    ) -> Result<Option<Vec<DedupId>>, VaultError> {
        let Some(sealed) = &self.sealed else { return Ok(None) };
        let mut plaintext = zeroize::Zeroizing::new(Vec::new());
        opener.open(ring, &Expected::object(Kind::DedupMap, address_of(sealed)), sealed, &mut plaintext)?;
        let mut decoder = Decoder::new("dedup map", &plaintext);
        if decoder.string(64)? != name.file_name() || decoder.fixed::<32>()? != self.clear_digest {
            return Err(decoder.bad("it belongs to another pack"));
        }
        let ids = decoder.list(OBJECT_COUNT_MAX, 32, |decoder| decoder.fixed().map(DedupId))?;
        if ids.len() != self.entries.iter().filter(|entry| entry.kind == Kind::Chunk).count() {
            return Err(decoder.bad("it lists another number of chunks"));
        }
        decoder.finish()?;
        Ok(Some(ids))
    }
}

fn decode_entry(decoder: &mut Decoder<'_>) -> Result<PackEntry, VaultError> {
    let kind = Kind::from_number(decoder.u8()?);
    let (offset, stored_len, address) = (decoder.u64()?, decoder.u32()?, Address(decoder.fixed()?));
    match kind {
        Some(kind @ (Kind::Chunk | Kind::Node)) if is_stored_len_lawful(kind, u64::from(stored_len)) => {
            Ok(PackEntry { kind, offset, stored_len, address })
        }
        Some(Kind::Chunk | Kind::Node) => Err(decoder.bad("an object has an unlawful length")),
        _ => Err(decoder.bad("a kind that does not lie in packs")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{Incarnation, PackNumber};
    use crate::keys::DomainKeys;
    use crate::seams::SeededEntropy;

    fn name(number: u64) -> PackName {
        PackName::new(PackNumber(number), Incarnation([7; 16]))
    }

    fn keys() -> DomainKeys {
        DomainKeys::generate(&SeededEntropy::new(1))
    }

    fn footer() -> PackFooter {
        let mut footer = PackFooter::new();
        footer.push(Kind::Chunk, 1000, Address([1; 32]), Some(DedupId([11; 32])));
        footer.push(Kind::Node, 200, Address([2; 32]), None);
        footer.push(Kind::Chunk, 90, Address([3; 32]), Some(DedupId([13; 32])));
        footer
    }

    fn place(end: &PackEnd, object_bytes: u64) -> Result<FooterPlace, VaultError> {
        let trailer = &end.bytes[end.bytes.len() - TRAILER_BYTES..];
        FooterPlace::parse(trailer, object_bytes + end.bytes.len() as u64)
    }

    fn read(end: &PackEnd, object_bytes: u64) -> Result<ReadFooter, VaultError> {
        place(end, object_bytes)?.decode(&end.bytes[..end.bytes.len() - TRAILER_BYTES])
    }

    fn ids(read: &ReadFooter, keys: &DomainKeys, name: PackName) -> Result<Option<Vec<DedupId>>, VaultError> {
        read.dedup_ids(keys, &mut Opener::new().unwrap(), name)
    }

    #[test]
    fn a_footer_is_read_back_from_the_end() {
        let (keys, footer) = (keys(), footer());
        let local = keys.sealing_keys(Kind::DedupMap).unwrap();
        let end = footer.finish(Some((local, name(5)))).unwrap();
        let read = read(&end, footer.object_bytes()).unwrap();
        assert_eq!(read.entries, footer.entries());
        assert_eq!(read.entries[2].offset, 1200);
        assert_eq!(ids(&read, &keys, name(5)).unwrap().unwrap(), [DedupId([11; 32]), DedupId([13; 32])]);
        assert_eq!(place(&end, 1290).unwrap().digest, end.footer_digest);
    }

    #[test]
    fn a_replica_has_no_dedup_ids() {
        let mut footer = PackFooter::new();
        footer.push(Kind::Chunk, 1000, Address([1; 32]), None);
        let read = read(&footer.finish(None).unwrap(), 1000).unwrap();
        assert_eq!(ids(&read, &keys(), name(1)).unwrap(), None);
        assert!(footer.finish(Some((keys().sealing_keys(Kind::DedupMap).unwrap(), name(1)))).is_err());
    }

    #[test]
    fn a_sealed_part_serves_its_own_pack_only() {
        let (keys, footer) = (keys(), footer());
        let local = keys.sealing_keys(Kind::DedupMap).unwrap();
        let sound = read(&footer.finish(Some((local, name(5)))).unwrap(), 1290).unwrap();
        assert!(ids(&sound, &keys, name(6)).is_err());
        assert!(ids(&sound, &DomainKeys::generate(&SeededEntropy::new(2)), name(5)).is_err());
        let mut swapped = sound.clone();
        swapped.clear_digest[0] ^= 1;
        assert!(ids(&swapped, &keys, name(5)).is_err());
        let mut damaged = sound;
        damaged.sealed.as_mut().unwrap()[100] ^= 1;
        assert!(ids(&damaged, &keys, name(5)).is_err());
    }

    #[test]
    fn every_changed_byte_and_every_other_length_is_refused() {
        let footer = footer();
        let end = footer.finish(None).unwrap();
        for position in 0..end.bytes.len() {
            let mut damaged = end.clone();
            damaged.bytes[position] ^= 1;
            assert!(read(&damaged, 1290).is_err(), "byte {position}");
        }
        for object_bytes in [0, 1289, 1291, u64::MAX / 2] {
            assert!(read(&end, object_bytes).is_err(), "{object_bytes}");
        }
        assert!(FooterPlace::parse(&end.bytes[end.bytes.len() - TRAILER_BYTES..], 10).is_err());
        assert!(FooterPlace::parse(&[], 10).is_err());
    }

    /// A footer with a sound digest around any list.
    fn forged(object_bytes: u64, entries: &[(u8, u64, u32)]) -> Result<ReadFooter, VaultError> {
        let mut encoder = Encoder::new();
        encoder.list(entries, |encoder, (kind, offset, stored_len)| {
            encoder.u8(*kind).u64(*offset).u32(*stored_len).fixed(&[9; 32]);
        });
        encoder.u8(0);
        let footer = encoder.finish();
        let digest = *blake3::hash(&footer).as_bytes();
        FooterPlace { offset: object_bytes, length: footer.len() as u64, digest }.decode(&footer)
    }

    #[test]
    fn entries_outside_the_pack_overlapping_or_of_other_kinds_are_refused() {
        assert!(forged(1000, &[(1, 0, 500), (2, 500, 500)]).is_ok());
        assert!(forged(1000, &[]).is_ok());
        for entries in [
            &[(1, 0, 1001)][..],
            &[(1, 1000, 100)],
            &[(1, u64::MAX, 100)],
            &[(1, 0, 500), (1, 499, 100)],
            &[(1, 500, 100), (1, 0, 100)],
            &[(0, 0, 100)],
            &[(3, 0, 100)],
            &[(6, 0, 100)],
            &[(8, 0, 100)],
            &[(1, 0, 5)],
        ] {
            assert!(forged(1000, entries).is_err(), "{entries:?}");
        }
        assert!(forged(1 << 30, &[(1, 0, 2 << 20)]).is_err());
    }
}
