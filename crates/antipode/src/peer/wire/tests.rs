//! Every message survives its encoding; nothing else is accepted.

use super::field::ASKED_BYTES;
use super::*;
use control::peers::messages::{HeadRequest, OpenRequest, Opened, PairRequest, TransferKey};
use model::grant::{Grant, Mode};
use model::ids::{CheckpointId, CheckpointItemId, GrantId, OperationId, ReplicationRecordId};
use model::time::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use vault::ids::{Address, Incarnation, Kind, ManifestDigest};
use vault::object::LEVEL_MAX;
use vault::transfer::{Acknowledged, Asked};

type Bytes16 = [u8; 16];

fn name() -> impl Strategy<Value = String> {
    "[a-z0-9][a-zA-Z0-9_-]{0,63}"
}

fn blob(bytes_max: usize) -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=bytes_max)
}

fn moment() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_micros)
}

fn digest() -> impl Strategy<Value = ManifestDigest> {
    any::<[u8; 32]>().prop_map(ManifestDigest)
}

fn operation() -> impl Strategy<Value = OperationId> {
    any::<Bytes16>().prop_map(OperationId::from_bytes)
}

fn transfer() -> impl Strategy<Value = TransferKey> {
    (operation(), any::<u64>()).prop_map(|(operation_id, attempt)| TransferKey { operation_id, attempt })
}

fn asked() -> impl Strategy<Value = Vec<Asked>> {
    let one = (any::<[u8; 32]>(), any::<bool>(), 0..=LEVEL_MAX);
    let one = one.prop_map(|(address, is_chunk, level)| match is_chunk {
        true => Asked { kind: Kind::Chunk, level: 0, address: Address(address) },
        false => Asked { kind: Kind::Node, level, address: Address(address) },
    });
    vec(one, 0..40)
}

fn open() -> impl Strategy<Value = OpenRequest> {
    let ids = any::<[Bytes16; 4]>();
    let numbers = (any::<u64>(), any::<u32>(), any::<bool>(), option::of(any::<u32>()));
    let blobs = (blob(300), vec(digest(), 0..5), vec(blob(50), 0..5), blob(90));
    let texts = (name(), name(), option::of(".{0,80}"), option::of(".{0,80}"));
    (ids, numbers, blobs, texts).prop_map(|(ids, numbers, blobs, texts)| OpenRequest {
        record_id: ReplicationRecordId::from_bytes(ids[0]),
        attempt: numbers.0,
        generation: numbers.1,
        grant_id: GrantId::from_bytes(ids[1]),
        source_project_id: texts.0.parse().unwrap(),
        destination_project_id: texts.1.parse().unwrap(),
        source_checkpoint_id: CheckpointId::from_bytes(ids[2]),
        source_item_id: CheckpointItemId::from_bytes(ids[3]),
        manifest: blobs.0,
        bases: blobs.1,
        wraps: blobs.2,
        card: blobs.3,
        replica_name: texts.2,
        replica_description: texts.3,
        by_scheduler: numbers.2,
        keep_days: numbers.3,
    })
}

fn pair() -> impl Strategy<Value = PairRequest> {
    (any::<[u8; 32]>(), name(), ".{0,80}", blob(300)).prop_map(|(secret, name, url, card)| PairRequest {
        secret,
        name: name.parse().unwrap(),
        url,
        card,
    })
}

fn head() -> impl Strategy<Value = HeadRequest> {
    let incarnation = option::of(any::<Bytes16>().prop_map(Incarnation));
    (incarnation, any::<u64>())
        .prop_map(|(seen_incarnation, seen_counter)| HeadRequest { seen_incarnation, seen_counter })
}

fn request() -> impl Strategy<Value = PeerRequest> {
    prop_oneof![
        pair().prop_map(PeerRequest::Pair),
        Just(PeerRequest::Grants),
        head().prop_map(PeerRequest::Head),
        open().prop_map(|open| PeerRequest::Open(Box::new(open))),
        (transfer(), asked()).prop_map(|(transfer, asked)| PeerRequest::Want { transfer, asked }),
        (transfer(), blob(500)).prop_map(|(transfer, batch)| PeerRequest::Send { transfer, batch }),
        transfer().prop_map(|transfer| PeerRequest::Verify { transfer }),
        transfer().prop_map(|transfer| PeerRequest::Publish { transfer }),
    ]
}

fn grant() -> impl Strategy<Value = Grant> {
    let names = (name(), name(), name(), name());
    let numbers = (any::<Bytes16>(), any::<bool>(), option::of(any::<u64>()), any::<u32>());
    let moments = (moment(), option::of(moment()), option::of(moment()));
    (names, numbers, moments).prop_map(|(names, numbers, moments)| Grant {
        id: GrantId::from_bytes(numbers.0),
        source_region: names.0.parse().unwrap(),
        source_project_id: names.1.parse().unwrap(),
        destination_region: names.2.parse().unwrap(),
        destination_project_id: names.3.parse().unwrap(),
        mode: if numbers.1 { Mode::Restorable } else { Mode::Sealed },
        bytes_max: numbers.2,
        keep_days_min: numbers.3,
        created_at: moments.0,
        expires_at: moments.1,
        revoked_at: moments.2,
    })
}

fn acknowledged() -> impl Strategy<Value = Acknowledged> {
    (any::<[u32; 2]>(), any::<[u64; 2]>()).prop_map(|(counts, bytes)| Acknowledged {
        stored_count: counts[0],
        stored_bytes: bytes[0],
        duplicate_count: counts[1],
        duplicate_bytes: bytes[1],
    })
}

fn opened() -> impl Strategy<Value = Opened> {
    prop_oneof![
        (operation(), option::of(digest()))
            .prop_map(|(operation_id, base)| Opened::New { operation_id, base }),
        (operation(), option::of(digest()))
            .prop_map(|(operation_id, base)| Opened::Resume { operation_id, base }),
        blob(300).prop_map(|receipt| Opened::Complete { receipt }),
    ]
}

fn reply() -> impl Strategy<Value = PeerReply> {
    prop_oneof![
        blob(300).prop_map(|card| PeerReply::Paired { card }),
        vec(grant(), 0..5).prop_map(PeerReply::Grants),
        (blob(300), blob(600)).prop_map(|(head, entries)| PeerReply::Head { head, entries }),
        opened().prop_map(PeerReply::Opened),
        vec(any::<bool>(), 0..99).prop_map(PeerReply::Wanted),
        acknowledged().prop_map(PeerReply::Acknowledged),
        asked().prop_map(PeerReply::Verified),
        (blob(300), any::<u64>())
            .prop_map(|(receipt, kept_bytes)| PeerReply::Published { receipt, kept_bytes }),
    ]
}

/// What a request says, the parts that its own debug text keeps secret included.
fn said(request: &PeerRequest) -> String {
    match request {
        PeerRequest::Pair(pair) => format!("{pair:?} {:?} {} {:?}", pair.secret, pair.url, pair.card),
        other => format!("{other:?}"),
    }
}

proptest! {
    #[test]
    fn every_request_survives_its_encoding_and_no_piece_of_it_does(request in request()) {
        let (route, bytes) = (Route::of_request(&request), encode_request(&request));
        prop_assert!(bytes.len() as u64 <= route.request_bytes_max());
        let decoded = decode_request(route, &bytes).unwrap();
        prop_assert_eq!(said(&decoded), said(&request));
        prop_assert_eq!(encode_request(&decoded), bytes.clone());
        // The batch of a `Send` is all that follows, its objects have lengths and addresses of their own.
        let whole = if route == Route::Send { 24 } else { bytes.len() };
        for length in 0..whole {
            prop_assert!(decode_request(route, &bytes[..length]).is_err(), "{length} bytes were enough");
        }
        if route != Route::Send {
            prop_assert!(decode_request(route, &[&bytes[..], &[0]].concat()).is_err());
        }
    }

    #[test]
    fn every_reply_survives_its_encoding_and_no_piece_of_it_does(reply in reply()) {
        let (route, bytes) = (Route::of_reply(&reply), encode_reply(&reply));
        let decoded = decode_reply(route, &bytes).unwrap();
        prop_assert_eq!(format!("{decoded:?}"), format!("{reply:?}"));
        for length in 0..bytes.len() {
            prop_assert!(decode_reply(route, &bytes[..length]).is_err(), "{length} bytes were enough");
        }
        prop_assert!(decode_reply(route, &[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn noise_is_never_a_reason_to_panic(bytes in blob(400)) {
        for route in Route::ALL {
            let _ = decode_request(route, &bytes);
            let _ = decode_reply(route, &bytes);
        }
        let _ = decode_refusal(&bytes);
    }

    #[test]
    fn a_flipped_bit_gives_an_error_or_another_lawful_message(reply in reply(), at in any::<usize>(), bit in 0u8..8) {
        let (route, mut bytes) = (Route::of_reply(&reply), encode_reply(&reply));
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        if let Ok(other) = decode_reply(route, &bytes) {
            prop_assert_eq!(encode_reply(&other), bytes);
        }
    }
}

#[test]
fn refusals_keep_kind_and_sentence_and_long_sentences_are_cut_at_a_letter() {
    for refusal in REFUSALS {
        let bytes = encode_refusal(refusal, "no open grant");
        assert_eq!(decode_refusal(&bytes).unwrap(), (refusal, "no open grant".to_owned()));
        for length in 0..bytes.len() {
            assert!(decode_refusal(&bytes[..length]).is_err());
        }
    }
    let long = format!("{}ä", "x".repeat(WHY_BYTES_MAX - 1));
    let bytes = encode_refusal(Refusal::Full, &long);
    assert!(bytes.len() as u64 <= REFUSAL_BYTES_MAX);
    assert_eq!(decode_refusal(&bytes).unwrap().1.len(), WHY_BYTES_MAX - 1);
    assert!(decode_refusal(&[0, 0, 0, 0, 0]).is_err());
    assert!(decode_refusal(&[13, 0, 0, 0, 0]).is_err());
}

#[test]
fn the_longest_lists_and_batches_fit_their_route_and_one_more_does_not() {
    let transfer = TransferKey { operation_id: OperationId::from_bytes([1; 16]), attempt: 1 };
    let one = Asked { address: Address([7; 32]), kind: Kind::Chunk, level: 0 };
    let encoded = |count: usize| {
        let asked = (0..count).map(|_| Asked { address: one.address, kind: one.kind, level: one.level });
        encode_request(&PeerRequest::Want { transfer, asked: asked.collect() })
    };
    let longest = encoded(ASKED_MAX);
    assert_eq!(longest.len(), 24 + 4 + ASKED_MAX * ASKED_BYTES);
    assert!(longest.len() as u64 <= Route::Want.request_bytes_max());
    assert!(decode_request(Route::Want, &longest).is_ok());
    assert!(decode_request(Route::Want, &encoded(ASKED_MAX + 1)).is_err());
    for (kind, level) in [(Kind::Chunk, 1), (Kind::Node, LEVEL_MAX + 1), (Kind::KeyBundle, 0)] {
        let asked = vec![Asked { kind, level, address: one.address }];
        let bytes = encode_request(&PeerRequest::Want { transfer, asked });
        assert!(decode_request(Route::Want, &bytes).is_err(), "{kind:?} of level {level} travelled");
    }

    let batch = |length| encode_request(&PeerRequest::Send { transfer, batch: vec![0; length] });
    assert!(batch(BATCH_BYTES_MAX).len() as u64 <= Route::Send.request_bytes_max());
    assert!(decode_request(Route::Send, &batch(BATCH_BYTES_MAX)).is_ok());
    assert!(decode_request(Route::Send, &batch(BATCH_BYTES_MAX + 1)).is_err());
}

#[test]
fn names_that_could_be_paths_and_moments_outside_the_calendar_are_refused() {
    let pair =
        PairRequest { secret: [1; 32], name: "region".parse().unwrap(), url: String::new(), card: vec![] };
    let mut bytes = encode_request(&PeerRequest::Pair(pair));
    bytes[36..42].copy_from_slice(b"../../");
    assert!(decode_request(Route::Pair, &bytes).is_err());
}

#[test]
fn every_route_has_its_own_path() {
    for route in Route::ALL {
        assert_eq!(Route::from_path(route.path()), Some(route));
    }
    assert_eq!(Route::from_path("/peer/v1/"), None);
    assert_eq!(Route::from_path("/peer/v1/send/"), None);
}
