//! An index from nothing, for a vault of any size: rows are sorted outside memory and written once, in order,
//! where adding pack by pack would rewrite each of them again and again. What it comes to is the same.
//!
//! Packs count only when everything before them is durable: a build that died leaves an index whose
//! watermark is 0, and the next open throws it away.

use std::sync::{MutexGuard, PoisonError};

use super::rows::{self, PackRow, encode_known, encode_place};
use super::tables::{Row, Rows, Table};
use super::{Index, IndexedPack, Known, Place, failed};
use crate::codec::{Decoder, Encoder};
use crate::crash_point;
use crate::error::VaultError;
use crate::ids::{Address, DedupId, Epoch, Kind, PackNumber};
use crate::sort::{Sorted, Sorter, Spill};

/// Address, pack, offset, stored length, kind: sorted, the newest place of an address comes last.
const PLACE_BYTES: usize = 32 + 8 + 8 + 4 + 1;
/// Id, pack, address, stored length, epoch: sorted, the first pack that held a plaintext comes first.
const KNOWN_BYTES: usize = 32 + 8 + 32 + 4 + 4;
/// Rows of packs written at once.
const PACK_ROWS_MAX: usize = 1000;

/// Packs on their way into an empty index. Nothing is found in it before [`IndexBuild::finish`]. Memory: eight
/// times `gather_bytes`, and about 120 bytes for each pack.
pub struct IndexBuild<'a> {
    index: &'a Index,
    _writing: MutexGuard<'a, ()>,
    places: Sorter<PLACE_BYTES>,
    known: Sorter<KNOWN_BYTES>,
    packs: Vec<(PackNumber, PackRow)>,
}

impl Index {
    /// Begins to fill an index that holds nothing yet; nothing is returned for one that does.
    ///
    /// # Errors
    /// `Unavailable` when the spill folder beside the index cannot be emptied; `Index`.
    pub fn begin_build(&self) -> Result<Option<IndexBuild<'_>>, VaultError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.holds_nothing()? {
            return Ok(None);
        }
        let buffer_bytes = usize::try_from(4 * self.gather_bytes).unwrap_or(usize::MAX);
        let spill = Spill::new(&self.folder.with_extension("sorting"), buffer_bytes)?;
        let (places, known) = (Sorter::new(&spill), Sorter::new(&spill));
        Ok(Some(IndexBuild { index: self, _writing, places, known, packs: Vec::new() }))
    }

    pub(super) fn holds_nothing(&self) -> Result<bool, VaultError> {
        let mut is_empty = true;
        for table in [Table::Packs, Table::Objects, Table::Copies, Table::Known] {
            let mut take = |_: &[u8], _: &[u8]| {
                is_empty = false;
                true
            };
            self.tables.scan(table, &[], &mut take).map_err(failed("looking whether it is empty"))?;
        }
        Ok(is_empty)
    }
}

impl IndexBuild<'_> {
    /// Adds a live pack with all its objects.
    pub fn add(&mut self, pack: &IndexedPack) -> Result<(), VaultError> {
        for object in &pack.objects {
            let mut encoder = Encoder::with_capacity(PLACE_BYTES);
            encoder.fixed(&object.address.0).u64(pack.number.0).u64(object.offset);
            encoder.u32(object.stored_len).u8(object.kind.number());
            self.places.push(record(&encoder))?;
            let Some(id) = object.id else { continue };
            let mut encoder = Encoder::with_capacity(KNOWN_BYTES);
            encoder.fixed(&id.0).u64(pack.number.0).fixed(&object.address.0);
            encoder.u32(object.stored_len).u32(pack.epoch.0);
            self.known.push(record(&encoder))?;
        }
        self.packs.push((pack.number, PackRow { name: pack.name.clone(), is_live: true }));
        Ok(())
    }

    /// Notes that a pack is condemned.
    pub fn condemn(&mut self, number: PackNumber) {
        self.packs.push((number, PackRow { name: String::new(), is_live: false }));
    }

    /// Writes everything, and notes that the ledger was followed up to `commit_seq`. Durable when it returns.
    ///
    /// # Errors
    /// `Full` and `Unavailable` of the spill folder; `Index`. Nothing is found in the index then, and it can
    /// be filled pack by pack.
    pub fn finish(self, commit_seq: u64) -> Result<(), VaultError> {
        let (index, tables) = (self.index, &self.index.tables);
        let places = self.places.finish()?;
        let fill = |table, mut rows: Filling<'_>| {
            tables.fill(table, &mut rows)?;
            crash_point!("index.table_filled");
            Ok::<_, VaultError>(())
        };
        fill(Table::Objects, newest_places(&places)?)?;
        fill(Table::Copies, older_places(&places)?)?;
        drop(places);
        let known = self.known.finish()?;
        fill(Table::Known, first_known(&known)?)?;
        drop(known);
        for packs in self.packs.chunks(PACK_ROWS_MAX) {
            let mut rows = Rows::default();
            for (number, row) in packs {
                rows.put(Table::Packs, number.0.to_be_bytes(), row.encode());
            }
            tables.write(rows).map_err(failed("writing its packs"))?;
            crash_point!("index.packs_written");
        }
        index.set_watermark(commit_seq)?;
        let mut live = index.live.write().unwrap_or_else(PoisonError::into_inner);
        for (number, row) in &self.packs {
            live.set(*number, row.is_live);
        }
        Ok(())
    }
}

fn record<const N: usize>(encoder: &Encoder) -> [u8; N] {
    encoder.as_slice().try_into().expect("every field has a fixed length")
}

type Filling<'a> = Box<dyn Iterator<Item = Result<Row, VaultError>> + 'a>;

/// The place of each address in its newest pack: what is read.
fn newest_places(places: &Sorted<PLACE_BYTES>) -> Result<Filling<'_>, VaultError> {
    Ok(Box::new(with_next(places)?.filter_map(|pair| {
        let (address, place, next) = match pair.and_then(decode_pair) {
            Ok(decoded) => decoded,
            Err(error) => return Some(Err(error)),
        };
        let is_newest = next.is_none_or(|(next, _)| next != address);
        is_newest.then(|| Ok((address.0.to_vec(), encode_place(&place))))
    })))
}

/// Every other place of an address.
fn older_places(places: &Sorted<PLACE_BYTES>) -> Result<Filling<'_>, VaultError> {
    Ok(Box::new(with_next(places)?.filter_map(|pair| {
        let (address, place, next) = match pair.and_then(decode_pair) {
            Ok(decoded) => decoded,
            Err(error) => return Some(Err(error)),
        };
        let is_older = next.is_some_and(|(next, pack)| next == address && pack != place.pack);
        is_older.then(|| Ok((rows::copy_key(address, place.pack), encode_place(&place))))
    })))
}

/// Each plaintext with the address it got first.
fn first_known(known: &Sorted<KNOWN_BYTES>) -> Result<Filling<'_>, VaultError> {
    let mut last = None;
    Ok(Box::new(known.iter()?.filter_map(move |record| {
        let (id, known) = match record.and_then(|record| decode_known_record(&record)) {
            Ok(decoded) => decoded,
            Err(error) => return Some(Err(error)),
        };
        let is_first = last.replace(id) != Some(id);
        is_first.then(|| Ok((id.0.to_vec(), encode_known(&known))))
    })))
}

type Pair = ([u8; PLACE_BYTES], Option<[u8; PLACE_BYTES]>);

/// Each record with the one after it.
fn with_next(
    places: &Sorted<PLACE_BYTES>,
) -> Result<impl Iterator<Item = Result<Pair, VaultError>> + '_, VaultError> {
    let mut records = places.iter()?.peekable();
    Ok(std::iter::from_fn(move || {
        let record = match records.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        // A failure of the next record is told when its turn comes.
        let next = records.peek().and_then(|next| next.as_ref().ok()).copied();
        Some(Ok((record, next)))
    }))
}

type Decoded = (Address, Place, Option<(Address, PackNumber)>);

fn decode_pair((record, next): Pair) -> Result<Decoded, VaultError> {
    let (address, place) = decode_place_record(&record)?;
    let next = next.map(|next| decode_place_record(&next)).transpose()?;
    Ok((address, place, next.map(|(address, place)| (address, place.pack))))
}

fn decode_place_record(record: &[u8; PLACE_BYTES]) -> Result<(Address, Place), VaultError> {
    let mut decoder = Decoder::new("sorted place", record);
    let (address, pack, offset) = (Address(decoder.fixed()?), PackNumber(decoder.u64()?), decoder.u64()?);
    let (stored_len, kind) = (decoder.u32()?, decoder.u8()?);
    let kind = Kind::from_number(kind).ok_or_else(|| decoder.bad("an unknown kind"))?;
    Ok((address, Place { pack, offset, stored_len, kind }))
}

fn decode_known_record(record: &[u8; KNOWN_BYTES]) -> Result<(DedupId, Known), VaultError> {
    let mut decoder = Decoder::new("sorted plaintext", record);
    let (id, pack, address) =
        (DedupId(decoder.fixed()?), PackNumber(decoder.u64()?), Address(decoder.fixed()?));
    let (stored_len, epoch) = (decoder.u32()?, Epoch(decoder.u32()?));
    Ok((id, Known { address, pack, stored_len, epoch }))
}
