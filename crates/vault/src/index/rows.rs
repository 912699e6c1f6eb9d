//! The rows of the index. Local and derived, so a row that does not decode counts as absent.

use super::{Known, Place};
use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::{Address, Epoch, Kind, PackNumber};
use crate::store::NAME_BYTES_MAX;

pub(super) struct PackRow {
    pub(super) name: String,
    pub(super) is_live: bool,
}

impl PackRow {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.bool(self.is_live).string(&self.name);
        encoder.finish()
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<PackRow> {
        decode(bytes, |decoder| {
            let is_live = decoder.bool()?;
            Ok(PackRow { is_live, name: decoder.string(NAME_BYTES_MAX as u32)? })
        })
    }
}

fn decode<T>(bytes: &[u8], read: impl FnOnce(&mut Decoder<'_>) -> Result<T, VaultError>) -> Option<T> {
    let mut decoder = Decoder::new("index row", bytes);
    let row = read(&mut decoder).ok()?;
    decoder.finish().ok()?;
    Some(row)
}

pub(super) fn decode_number(key: &[u8]) -> Option<PackNumber> {
    Some(PackNumber(u64::from_be_bytes(key.try_into().ok()?)))
}

pub(super) fn copy_key(address: Address, number: PackNumber) -> Vec<u8> {
    [&address.0[..], &number.0.to_be_bytes()].concat()
}

pub(super) fn encode_place(place: &Place) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(21);
    encoder.u64(place.pack.0).u64(place.offset).u32(place.stored_len).u8(place.kind.number());
    encoder.finish()
}

pub(super) fn decode_place(bytes: &[u8]) -> Option<Place> {
    decode(bytes, |decoder| {
        let (pack, offset) = (PackNumber(decoder.u64()?), decoder.u64()?);
        let (stored_len, kind) = (decoder.u32()?, decoder.u8()?);
        let kind = Kind::from_number(kind).ok_or_else(|| decoder.bad("an unknown kind"))?;
        Ok(Place { pack, offset, stored_len, kind })
    })
}

pub(super) fn encode_known(known: &Known) -> Vec<u8> {
    let mut encoder = Encoder::with_capacity(48);
    encoder.fixed(&known.address.0).u64(known.pack.0).u32(known.stored_len).u32(known.epoch.0);
    encoder.finish()
}

pub(super) fn decode_known(bytes: &[u8]) -> Option<Known> {
    decode(bytes, |decoder| {
        let (address, pack) = (Address(decoder.fixed()?), PackNumber(decoder.u64()?));
        Ok(Known { address, pack, stored_len: decoder.u32()?, epoch: Epoch(decoder.u32()?) })
    })
}
