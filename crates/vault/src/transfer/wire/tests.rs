use super::*;
use proptest::prelude::*;

fn asked(kind: Kind, level: u8, byte: u8) -> Asked {
    Asked { kind, level, address: Address([byte; 32]) }
}

/// Reads back what was written, and refuses every truncation and any byte too many.
fn check<T: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    value: &T,
    decode: impl Fn(&[u8]) -> Result<T, VaultError>,
) {
    assert_eq!(&decode(bytes).unwrap(), value);
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "{length} bytes were enough for {value:?}");
    }
    assert!(decode(&[bytes, &[0]].concat()).is_err(), "{value:?} with a byte too many");
    let mut other = bytes.to_vec();
    other[3] ^= 1;
    assert!(decode(&other).is_err(), "{value:?} of another version");
}

#[test]
fn every_message_comes_back_and_nothing_shorter_or_longer_does() {
    let list = vec![asked(Kind::Chunk, 0, 1), asked(Kind::Node, 0, 2), asked(Kind::Node, 6, 3)];
    check(&encode_question(&list), &list, decode_question);
    for missing in [vec![], vec![true], vec![true, false, true, false, false, false, false, true, true]] {
        check(&encode_answer(&missing), &missing, |bytes| decode_answer(bytes, missing.len()));
    }
    let offer = Offer {
        attempt: 7,
        manifest: vec![1; 100],
        bases: vec![ManifestDigest([1; 32])],
        wraps: vec![vec![2; 10], vec![]],
        cards: vec![vec![3; 5]],
    };
    check(&encode_offer(&offer), &offer, decode_offer);
    let base = Some(ManifestDigest([9; 32]));
    for opened in [
        Opened::New { base: None },
        Opened::New { base },
        Opened::Resume { base },
        Opened::Complete { receipt: vec![4; 9] },
    ] {
        check(&encode_opened(&opened), &opened, decode_opened);
    }
    let acknowledged =
        Acknowledged { stored_count: 1, stored_bytes: 2, duplicate_count: 3, duplicate_bytes: u64::MAX };
    check(&encode_acknowledged(&acknowledged), &acknowledged, decode_acknowledged);
    for verification in [Verification::Complete, Verification::Missing(list)] {
        check(&encode_verification(&verification), &verification, decode_verification);
    }
}

#[test]
fn an_answer_to_another_question_or_with_spare_bits_is_refused() {
    let bytes = encode_answer(&[true, true]);
    assert!(decode_answer(&bytes, 3).is_err());
    let mut spare = bytes;
    *spare.last_mut().unwrap() |= 4;
    assert!(decode_answer(&spare, 2).is_err());
}

fn batch(objects: &[(Asked, usize)]) -> Vec<u8> {
    let mut writer = BatchWriter::new();
    for (asked, length) in objects {
        writer.push(*asked, &vec![asked.address.0[0]; *length]);
    }
    writer.into_bytes()
}

#[test]
fn a_batch_comes_back_frame_by_frame() {
    let objects = [(asked(Kind::Chunk, 0, 1), 200), (asked(Kind::Node, 2, 2), 300)];
    let bytes = batch(&objects);
    let frames = decode_batch(&bytes).unwrap();
    assert_eq!(frames.len(), 2);
    assert_eq!((frames[1].asked, frames[1].stored), (objects[1].0, &[2; 300][..]));
    for length in 0..bytes.len() {
        let is_whole = length == 4 + 38 + 200;
        assert_eq!(decode_batch(&bytes[..length]).is_ok(), is_whole, "{length} bytes");
    }
}

#[test]
fn objects_that_do_not_travel_are_refused() {
    for (kind, level, length) in [
        (Kind::Chunk, 1, 200),
        (Kind::Node, 7, 200),
        (Kind::ManifestBody, 0, 200),
        (Kind::KeyBundle, 0, 200),
        (Kind::Chunk, 0, 10),
        (Kind::Chunk, 0, 2 << 20),
    ] {
        let bytes = batch(&[(asked(kind, level, 1), length)]);
        assert!(decode_batch(&bytes).is_err(), "{kind:?} at level {level} of {length} bytes");
    }
}

#[test]
fn a_batch_is_never_longer_than_allowed() {
    let mut writer = BatchWriter::new();
    while writer.has_room(1 << 20) {
        writer.push(asked(Kind::Chunk, 0, 1), &vec![0; 1 << 20]);
    }
    assert_eq!((writer.object_count(), writer.object_bytes()), (7, 7 << 20));
    let bytes = writer.into_bytes();
    assert!(bytes.len() <= BATCH_BYTES_MAX && decode_batch(&bytes).is_ok());
    let eight = vec![(asked(Kind::Chunk, 0, 1), 1 << 20); 8];
    assert!(decode_batch(&batch(&eight)).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic_a_reader(magic in 0usize..7, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let magics = [BATCH_MAGIC, QUESTION_MAGIC, ANSWER_MAGIC, OFFER_MAGIC, OPENED_MAGIC, ACKNOWLEDGED_MAGIC, VERIFICATION_MAGIC];
        let bytes = [magics[magic], &bytes].concat();
        let _ = decode_batch(&bytes);
        let _ = decode_question(&bytes);
        let _ = decode_answer(&bytes, bytes.len());
        let _ = decode_offer(&bytes);
        let _ = decode_opened(&bytes);
        let _ = decode_acknowledged(&bytes);
        let _ = decode_verification(&bytes);
    }
}
