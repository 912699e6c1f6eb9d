//! The messages of a transfer.

use super::Target;
use crate::ids::{Address, Kind, ManifestDigest};
use crate::object::LEVEL_MAX;
use crate::transfer::wire::{self, BatchWriter};
use crate::transfer::{Acknowledged, Asked, Offer, Opened, Verification};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "batch", run: batch, seeds: batches },
    Target { name: "question", run: question, seeds: questions },
    Target { name: "answer", run: answer, seeds: answers },
    Target { name: "offer", run: offer, seeds: offers },
    Target { name: "opened", run: opened, seeds: all_opened },
    Target { name: "acknowledged", run: acknowledged, seeds: all_acknowledged },
    Target { name: "verification", run: verification, seeds: verifications },
];

fn asked() -> Vec<Asked> {
    let node = |level| Asked { kind: Kind::Node, level, address: Address([level; 32]) };
    vec![Asked { kind: Kind::Chunk, level: 0, address: Address([9; 32]) }, node(0), node(LEVEL_MAX)]
}

fn batch(bytes: &[u8]) {
    let Ok(frames) = wire::decode_batch(bytes) else { return };
    let mut writer = BatchWriter::new();
    for frame in frames {
        assert!(writer.has_room(frame.stored.len()));
        writer.push(frame.asked, frame.stored);
    }
    assert_eq!(writer.into_bytes(), bytes);
}

fn batches() -> Vec<Vec<u8>> {
    let mut writer = BatchWriter::new();
    for asked in asked() {
        writer.push(asked, &[3; 120]);
    }
    vec![writer.into_bytes()]
}

fn question(bytes: &[u8]) {
    if let Ok(asked) = wire::decode_question(bytes) {
        assert_eq!(wire::encode_question(&asked), bytes);
    }
}

fn questions() -> Vec<Vec<u8>> {
    vec![wire::encode_question(&asked()), wire::encode_question(&[])]
}

/// The first byte says how many objects were asked about.
fn answer(bytes: &[u8]) {
    let Some((&count, answer)) = bytes.split_first() else { return };
    if let Ok(missing) = wire::decode_answer(answer, usize::from(count)) {
        assert_eq!(wire::encode_answer(&missing), answer);
    }
}

fn answers() -> Vec<Vec<u8>> {
    let answer = |missing: &[bool]| [&[missing.len() as u8][..], &wire::encode_answer(missing)].concat();
    vec![answer(&[]), answer(&[true, false, true]), answer(&[true; 17])]
}

fn offer(bytes: &[u8]) {
    if let Ok(offer) = wire::decode_offer(bytes) {
        assert_eq!(wire::encode_offer(&offer), bytes);
    }
}

fn offers() -> Vec<Vec<u8>> {
    let offer = Offer {
        attempt: 1,
        manifest: vec![2; 50],
        bases: vec![ManifestDigest([3; 32])],
        wraps: vec![vec![4; 9], Vec::new()],
        cards: vec![vec![5; 7]],
    };
    vec![wire::encode_offer(&offer), wire::encode_offer(&Offer::default())]
}

fn opened(bytes: &[u8]) {
    if let Ok(opened) = wire::decode_opened(bytes) {
        assert_eq!(wire::encode_opened(&opened), bytes);
    }
}

fn all_opened() -> Vec<Vec<u8>> {
    let base = Some(ManifestDigest([1; 32]));
    let all = [Opened::New { base: None }, Opened::Resume { base }, Opened::Complete { receipt: vec![2; 8] }];
    all.iter().map(wire::encode_opened).collect()
}

fn acknowledged(bytes: &[u8]) {
    if let Ok(acknowledged) = wire::decode_acknowledged(bytes) {
        assert_eq!(wire::encode_acknowledged(&acknowledged), bytes);
    }
}

fn all_acknowledged() -> Vec<Vec<u8>> {
    vec![wire::encode_acknowledged(&Acknowledged::default())]
}

fn verification(bytes: &[u8]) {
    if let Ok(verification) = wire::decode_verification(bytes) {
        assert_eq!(wire::encode_verification(&verification), bytes);
    }
}

fn verifications() -> Vec<Vec<u8>> {
    vec![
        wire::encode_verification(&Verification::Complete),
        wire::encode_verification(&Verification::Missing(asked())),
    ]
}
