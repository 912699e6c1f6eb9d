//! What sealing promises and what opening refuses.

use proptest::prelude::*;

use super::*;
use crate::ids::{from_hex, to_hex};
use crate::keys::{DomainKeys, EpochKeys, KeyRing, Secret};

pub(crate) fn numbered<const N: usize>(first: u8) -> [u8; N] {
    std::array::from_fn(|index| first + index as u8)
}

/// The keys of the published vectors.
pub(crate) fn vector_keys() -> DomainKeys {
    let mut keys = DomainKeys::restorable(DomainId(numbered(0)), Secret::new(numbered(0)));
    let epoch = EpochKeys { data: Some(Secret::new(numbered(0x20))), structure: Secret::new(numbered(0x40)) };
    keys.add_epoch(Epoch(1), epoch).unwrap();
    keys
}

fn seal(keys: &DomainKeys, kind: Kind, level: u8, pad: u8, plaintext: &[u8]) -> (Sealed, Vec<u8>) {
    let mut stored = Vec::new();
    let mut sealer = Sealer::with_pad(pad).unwrap();
    let sealed = sealer.seal(keys.sealing_keys(kind).unwrap(), kind, level, plaintext, &mut stored).unwrap();
    (sealed, stored)
}

fn open(keys: &DomainKeys, expected: Expected, stored: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut out = vec![1, 2, 3];
    let opened = Opener::new().unwrap().open(keys, &expected, stored, &mut out);
    assert!(opened.is_ok() || out.is_empty(), "plaintext was released with an error");
    opened.map(|()| out)
}

fn why(result: Result<Vec<u8>, VaultError>) -> &'static str {
    match result {
        Err(VaultError::Corrupt { why, .. }) => why,
        other => panic!("not refused as corrupt: {other:?}"),
    }
}

/// Bytes no compressor shortens, so that the body stays raw.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

#[test]
fn the_first_vector_is_reproduced() {
    let keys = vector_keys();
    let mut stored = vec![0xee; 3];
    let object_keys = keys.sealing_keys(Kind::Chunk).unwrap();
    let body = [b'A'; 4096];
    let frozen =
        seal::Frozen { kind: Kind::Chunk, level: 0, is_compressed: false, plain_len: 4096, body: &body };
    let sealed = Sealer::new().unwrap().seal_frozen(object_keys, frozen, &mut stored);
    let stored = &stored[3..];
    let s = "04922679a5d96fc8f61135d7cb9860b6cbe12fe2bbc6d685209f2c2c8cedcd4b";
    assert_eq!(to_hex(&stored[32..64]), s);
    assert_eq!(
        to_hex(&key_and_nonce(object_keys.enc(), &from_hex(s).unwrap())[32..]),
        "eba89debf97530fbb1edb813"
    );
    assert_eq!(to_hex(&stored[stored.len() - 16..]), "4636aea21238e7962bd935a05138fa3c");
    assert_eq!((stored.len(), sealed.stored_len), (4185, 4185));
    let address = "911c2ceb83f185bc4d83f76beff50db8a05bebc1e25e7880322b0e40df1bb601";
    assert_eq!(sealed.address.to_string(), address);
    let check = keys.secrets().unwrap().dedup_id(&body).check();
    assert_eq!(open(&keys, Expected::chunk(sealed.address, 4096, check), stored).unwrap(), body);
}

#[test]
fn every_kind_level_and_padding_opens_again() {
    let keys = vector_keys();
    for kind in [Kind::Chunk, Kind::Node, Kind::ManifestBody, Kind::Description, Kind::DedupMap] {
        for pad in [0, 9, 12, 16] {
            for plaintext in [vec![7u8; 1], vec![7; 100_000], noise(503, 1), noise(70_000, 2)] {
                let (sealed, stored) = seal(&keys, kind, 0, pad, &plaintext);
                assert!(pad == 0 || (stored.len() - 80).is_multiple_of(1 << pad));
                assert_eq!(sealed.stored_len as usize, stored.len());
                assert_eq!(open(&keys, Expected::object(kind, sealed.address), &stored).unwrap(), plaintext);
            }
        }
    }
    for level in 0..=LEVEL_MAX {
        let (sealed, stored) = seal(&keys, Kind::Node, level, 0, b"node");
        assert_eq!(open(&keys, Expected::node(level, sealed.address), &stored).unwrap(), b"node");
    }
}

#[test]
fn sealing_is_deterministic_and_appends() {
    let keys = vector_keys();
    let (first, stored) = seal(&keys, Kind::Chunk, 0, 0, b"some text some text some text");
    let mut sealer = Sealer::new().unwrap();
    let mut out = b"before".to_vec();
    sealer.seal_chunk(keys.sealing_keys(Kind::Chunk).unwrap(), &noise(9000, 3), &mut out).unwrap();
    let start = out.len();
    let second = sealer
        .seal_chunk(keys.sealing_keys(Kind::Chunk).unwrap(), b"some text some text some text", &mut out)
        .unwrap();
    assert_eq!((second, &out[start..]), (first, &stored[..]));
    assert!(out.starts_with(b"before"));
}

#[test]
fn the_longest_plaintext_fits_and_one_byte_more_is_refused() {
    let keys = vector_keys();
    let longest = noise(CHUNK_BYTES_MAX as usize, 4);
    let (sealed, stored) = seal(&keys, Kind::Chunk, 0, 16, &longest);
    assert_eq!(stored.len() as u32, stored_bytes_max(Kind::Chunk));
    assert_eq!(open(&keys, Expected::object(Kind::Chunk, sealed.address), &stored).unwrap(), longest);
    let mut out = Vec::new();
    let mut refuse = |kind, level, plaintext: &[u8]| {
        let keys = keys.sealing_keys(kind).unwrap();
        assert!(matches!(
            Sealer::new().unwrap().seal(keys, kind, level, plaintext, &mut out),
            Err(VaultError::Refused { .. })
        ));
        assert!(out.is_empty());
    };
    refuse(Kind::Chunk, 0, &noise(CHUNK_BYTES_MAX as usize + 1, 4));
    refuse(Kind::Chunk, 0, b"");
    refuse(Kind::Chunk, 1, b"x");
    refuse(Kind::Node, LEVEL_MAX + 1, b"x");
    assert!(Sealer::with_pad(8).is_err() && Sealer::with_pad(17).is_err());
}

#[test]
fn every_changed_or_missing_byte_is_refused() {
    let keys = vector_keys();
    let (sealed, stored) = seal(&keys, Kind::Chunk, 0, 0, b"a secret a secret a secret a secret");
    for position in 0..stored.len() {
        let mut damaged = stored.clone();
        damaged[position] ^= 0x10;
        why(open(&keys, Expected::object(Kind::Chunk, sealed.address), &damaged));
        // Under its own new address the damage must still be found, by the tag or before it.
        let result = open(&keys, Expected::object(Kind::Chunk, address_of(&damaged)), &damaged);
        assert!(result.is_err(), "byte {position}");
        let cut = &stored[..position];
        assert!(open(&keys, Expected::object(Kind::Chunk, address_of(cut)), cut).is_err());
    }
}

/// An object with sound keys and tag around any payload and header: what only a key holder can forge.
pub(crate) fn forge(keys: &DomainKeys, header: Header, payload: &[u8], s: Option<[u8; 32]>) -> Vec<u8> {
    let object_keys = keys.object_keys(header.kind, keys.domain(), Epoch(1)).unwrap();
    let mut covered = header.first_half().to_vec();
    covered.extend_from_slice(payload);
    let s = s.unwrap_or(*blake3::keyed_hash(object_keys.siv(), &covered).as_bytes());
    let mut stored = [header.first_half(), s].concat();
    let (key, nonce) = aead(object_keys.enc(), &s);
    let mut sealed = payload.to_vec();
    let tag =
        key.seal_in_place_separate_tag(nonce, aws_lc_rs::aead::Aad::from(&stored[..]), &mut sealed).unwrap();
    stored.extend_from_slice(&sealed);
    stored.extend_from_slice(tag.as_ref());
    stored
}

pub(crate) fn header(keys: &DomainKeys, pad: u8) -> Header {
    Header { kind: Kind::Chunk, level: 0, pad, domain: keys.domain(), epoch: Epoch(1), s: [0; 32] }
}

#[test]
fn a_forged_payload_is_refused_even_with_the_keys() {
    let keys = vector_keys();
    let frame = zstd::bulk::compress(&[b'z'; 100], 1).unwrap();
    let parts = |codec, plain_len, body_len: usize, body: &[u8]| {
        [&payload::head(codec, plain_len, body_len as u32)[..], body].concat()
    };
    let check = |pad, payload: Vec<u8>, expected_why: &str| {
        let stored = forge(&keys, header(&keys, pad), &payload, None);
        let expected =
            Expected { plain_len: Some(100), ..Expected::object(Kind::Chunk, address_of(&stored)) };
        assert_eq!(why(open(&keys, expected, &stored)), expected_why);
    };
    let raw = [b'z'; 100];
    check(0, parts(2, 100, 100, &raw), "an unknown codec");
    check(0, parts(0, 100, 99, &raw), "the payload has another length than it states");
    check(0, parts(0, 100, 101, &raw), "the payload has another length than it states");
    check(0, parts(0, 100, 99, &raw[..99]), "a raw body has another length than the plaintext");
    check(0, parts(0, 99, 99, &raw[..99]), "the plaintext has another length than expected");
    check(0, parts(1, 100, 100, &raw), "a compressed body is not smaller than the plaintext");
    check(0, parts(1, 100, 20, &raw[..20]), "the body is no zstd frame");
    check(9, parts(0, 100, 100, &raw), "the payload has another length than it states");
    let mut padded = parts(0, 100, 100, &raw);
    padded.resize(511, 0);
    padded.push(1);
    check(9, padded, "the padding is not zero");
    let twice = [&frame[..], &frame[..]].concat();
    check(0, parts(1, 100, twice.len(), &twice), "the body is not exactly one zstd frame");
    let other = zstd::bulk::compress(&[b'z'; 101], 1).unwrap();
    check(0, parts(1, 100, other.len(), &other), "the zstd frame states another length than the payload");
    let mut reserved = frame.clone();
    reserved[4] |= 0x08;
    check(0, parts(1, 100, reserved.len(), &reserved), "the zstd frame uses a dictionary or reserved bits");
    let mut broken = frame.clone();
    *broken.last_mut().unwrap() ^= 0xff;
    let stored = forge(&keys, header(&keys, 0), &parts(1, 100, broken.len(), &broken), None);
    let _ = open(&keys, Expected::object(Kind::Chunk, address_of(&stored)), &stored);
}

#[test]
fn a_large_window_is_refused() {
    let keys = vector_keys();
    // Frame without single segment, window descriptor for 2 MiB, one raw last block of 1 byte.
    let body = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 11 << 3, 0x09, 0x00, 0x00, b'x'];
    let payload = [&payload::head(1, 11, body.len() as u32)[..], &body].concat();
    let stored = forge(&keys, header(&keys, 0), &payload, None);
    let result = open(&keys, Expected::object(Kind::Chunk, address_of(&stored)), &stored);
    assert_eq!(why(result), "the zstd frame asks for too large a window");
}

#[test]
fn a_foreign_synthetic_value_is_refused_where_no_check_speaks() {
    let keys = vector_keys();
    let plaintext = b"plain";
    let payload = [&payload::head(0, 5, 5)[..], plaintext].concat();
    let stored = forge(&keys, header(&keys, 0), &payload, Some([9; 32]));
    let address = address_of(&stored);
    let result = open(&keys, Expected::object(Kind::Chunk, address), &stored);
    assert_eq!(why(result), "the synthetic value does not belong to the contents");
    let check = keys.secrets().unwrap().dedup_id(plaintext).check();
    assert!(open(&keys, Expected::chunk(address, 5, check), &stored).is_ok());
}

#[test]
fn another_kind_level_length_check_domain_or_epoch_is_refused() {
    let keys = vector_keys();
    let (sealed, stored) = seal(&keys, Kind::Node, 1, 0, b"node");
    let expected = Expected::node(1, sealed.address);
    assert_eq!(why(open(&keys, Expected::node(0, sealed.address), &stored)), "it is of another level");
    let as_chunk = Expected { kind: Kind::Chunk, ..expected };
    assert_eq!(why(open(&keys, as_chunk, &stored)), "it is of another kind");
    let longer = Expected { plain_len: Some(5), ..expected };
    assert_eq!(why(open(&keys, longer, &stored)), "the plaintext has another length than expected");
    let (sealed, stored) = seal(&keys, Kind::Chunk, 0, 0, b"chunk");
    let wrong = Expected::chunk(sealed.address, 5, Check([1; 16]));
    assert_eq!(why(open(&keys, wrong, &stored)), "the plaintext is not the one its leaf lists");

    let stranger = DomainKeys::generate(&crate::seams::SeededEntropy::new(1));
    let result = open(&stranger, Expected::object(Kind::Chunk, sealed.address), &stored);
    assert!(matches!(result, Err(VaultError::KeyMissing { .. })));
    let mut sealed_only = DomainKeys::sealed(keys.domain());
    sealed_only
        .add_epoch(Epoch(1), EpochKeys { data: None, structure: Secret::new(numbered(0x40)) })
        .unwrap();
    let result = open(&sealed_only, Expected::object(Kind::Chunk, sealed.address), &stored);
    assert!(matches!(result, Err(VaultError::KeyMissing { epoch: Epoch(1), .. })));
}

#[test]
fn unlawful_headers_are_named() {
    let (_, stored) = seal(&vector_keys(), Kind::Chunk, 0, 0, b"chunk");
    assert_eq!(Header::parse(&stored).unwrap().kind, Kind::Chunk);
    let check = |position: usize, value: u8, expected: &str| {
        let mut damaged = stored.clone();
        damaged[position] = value;
        let Err(VaultError::BadFormat { why, .. }) = Header::parse(&damaged) else { panic!("{expected}") };
        assert_eq!(why, expected);
    };
    check(0, b'X', "another magic");
    check(4, 2, "an unknown suite");
    check(5, 0, "an unknown kind");
    check(5, 8, "an unknown kind");
    check(6, 1, "an unlawful level");
    check(7, 8, "an unlawful padding");
    check(7, 17, "an unlawful padding");
    check(28, 1, "reserved bytes are not zero");
    assert!(Header::parse(&stored[..63]).is_err());
}

proptest! {
    #[test]
    fn any_plaintext_comes_back(plaintext in proptest::collection::vec(0u8..4, 1..6000), pad in prop_oneof![Just(0u8), 9u8..=16]) {
        let keys = vector_keys();
        let (sealed, stored) = seal(&keys, Kind::Chunk, 0, pad, &plaintext);
        let check = keys.secrets().unwrap().dedup_id(&plaintext).check();
        let expected = Expected::chunk(sealed.address, plaintext.len() as u32, check);
        prop_assert_eq!(open(&keys, expected, &stored).unwrap(), plaintext);
    }

    #[test]
    fn noise_is_refused_without_a_panic(mut stored in proptest::collection::vec(any::<u8>(), 0..300), lawful in any::<bool>()) {
        if lawful && stored.len() >= 32 {
            stored[..32].copy_from_slice(&header(&vector_keys(), 0).first_half());
        }
        let expected = Expected::object(Kind::Chunk, address_of(&stored));
        prop_assert!(open(&vector_keys(), expected, &stored).is_err());
    }
}
