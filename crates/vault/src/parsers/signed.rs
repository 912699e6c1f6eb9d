//! Signed things. The ids of the fixed region are put where the signer's stand, then it signs.

use super::{Target, fixture};
use crate::card::{Card, Pin};
use crate::codec::Encoder;
use crate::head::{Head, HeadEntry, HeadOrder, ReplicaState, encode_entries, entries_digest};
use crate::ids::{DomainId, Epoch, GrantId, Incarnation, ManifestDigest, RegionId, ReplicaId, VaultId};
use crate::manifest::{Description, Manifest, ManifestBody, ManifestDraft};
use crate::object::Opener;
use crate::properties::VaultProperties;
use crate::receipt::{Level, Mode, Receipt};
use crate::signed::{SIGNATURE_BYTES, SignedType};
use crate::state::{StateObject, StateRecord, StateStamp};
use crate::wrap::{Role, Wrap, WrapOrder};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "manifest", run: manifest, seeds: manifests },
    Target { name: "wrap", run: wrap, seeds: wraps },
    Target { name: "card", run: card, seeds: cards },
    Target { name: "pin", run: pin, seeds: pins },
    Target { name: "properties", run: properties, seeds: all_properties },
    Target { name: "receipt", run: receipt, seeds: receipts },
    Target { name: "head", run: head, seeds: heads },
    Target { name: "head-entries", run: entries, seeds: all_entries },
    Target { name: "state-object", run: state, seeds: states },
    Target { name: "state-record", run: record, seeds: records },
];

/// Puts the ids of region and signing key where they belong and signs.
fn signed(signed_type: SignedType, bytes: &[u8], region_at: usize, key_at: usize) -> Vec<u8> {
    let identity = &fixture().identity;
    let mut bytes = bytes.to_vec();
    put(&mut bytes, region_at, &identity.region().0);
    put(&mut bytes, key_at, &identity.signing_key_id().0);
    identity.sign(signed_type, &mut bytes);
    bytes
}

fn put(bytes: &mut [u8], at: usize, part: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + part.len()) {
        place.copy_from_slice(part);
    }
}

/// Seeds are unsigned; a target signs them again.
fn unsigned(mut signed: Vec<u8>) -> Vec<u8> {
    signed.truncate(signed.len() - SIGNATURE_BYTES);
    signed
}

fn manifest(bytes: &[u8]) {
    let bytes = signed(SignedType::Manifest, bytes, 6, 38);
    let Ok(manifest) = Manifest::decode(&bytes, &fixture().identity.signers()) else { return };
    let mut encoder = Encoder::new();
    manifest.fields().encode(&mut encoder);
    assert!(bytes.starts_with(encoder.as_slice()));
    let Ok(mut opener) = Opener::new() else { return };
    let _ = manifest.body(&fixture().keys, &mut opener);
    let _ = manifest.description(&fixture().keys, &mut opener);
}

fn manifests() -> Vec<Vec<u8>> {
    let body = ManifestBody {
        item: crate::ids::ItemId([1; 16]),
        checkpoint: crate::ids::CheckpointId([2; 16]),
        resource_id: "server".to_owned(),
        project_id: "project".to_owned(),
        started_ms: 1,
        ended_ms: 2,
        volumes: Vec::new(),
    };
    let draft = ManifestDraft {
        incarnation: Incarnation([3; 16]),
        sequence: 4,
        previous: ManifestDigest::ZERO,
        epochs: Vec::new(),
        object_count: 5,
        stored_bytes: 6,
        body: &body,
        description: &Description::default(),
    };
    let manifest = draft.sign(&fixture().identity, &fixture().keys).expect("the texts are short");
    vec![unsigned(manifest.bytes().to_vec())]
}

fn wrap(bytes: &[u8]) {
    let bytes = signed(SignedType::Wrap, bytes, 25, 41);
    let Ok(wrap) = Wrap::decode(&bytes, &fixture().identity.signers()) else { return };
    assert!(bytes.starts_with(&crate::wrap::encode_fields(wrap.fields())));
    let _ = wrap.open(fixture().identity.receiving_key());
    // What a holder of the right key would find inside: any bytes, if the sender is mad.
    let _ = wrap.decode_keys(&bytes[..bytes.len().min(96)]);
    let _ = wrap.decode_keys(&bytes[..bytes.len().min(32)]);
}

fn wraps() -> Vec<Vec<u8>> {
    let (keys, identity) = (&fixture().keys, &fixture().identity);
    let recipient = &identity.receiving_key().public();
    let seal = |role| {
        let order = WrapOrder { keys, epoch: Epoch(1), role, recipient };
        let sealed = Wrap::seal(identity, &order, &crate::seams::SeededEntropy::new(1));
        unsigned(sealed.expect("the domain has this epoch"))
    };
    [Role::Restorable, Role::Structure, Role::Recovery].map(seal).into()
}

fn card(bytes: &[u8]) {
    let (root, signing) = (&fixture().root, &fixture().root_signing);
    let mut bytes = bytes.to_vec();
    put(&mut bytes, 6, &root.region_id().0);
    put(&mut bytes, 22, &root.public().0);
    signing.sign(SignedType::Card, &mut bytes);
    if let Ok(card) = Card::decode(&bytes) {
        let again = root.sign_card(card.fields()).expect("what was read can be written");
        assert_eq!(again.bytes(), bytes);
    }
}

fn cards() -> Vec<Vec<u8>> {
    let fixture = fixture();
    let mut fields = fixture.identity.card().fields().clone();
    fields.next_root_key = Some(fixture.root.public());
    let next = fixture.root.sign_card(&fields).expect("the name is short");
    [fixture.identity.card(), &next].map(|card| unsigned(card.bytes().to_vec())).into()
}

fn pin(bytes: &[u8]) {
    let bytes = signed(SignedType::State, bytes, 6, 22);
    let _ = Pin::decode(&bytes, &fixture().identity.signers());
}

fn pins() -> Vec<Vec<u8>> {
    let identity = &fixture().identity;
    vec![unsigned(Pin::sign(identity, identity.card(), 5))]
}

fn properties(bytes: &[u8]) {
    let identity = &fixture().identity;
    let bytes = signed(SignedType::State, bytes, 6, 22);
    let (vault, signers) = (VaultId([8; 16]), identity.signers());
    if let Ok(properties) = VaultProperties::decode(&bytes, vault, identity.region(), &signers) {
        assert_eq!(properties.sign(identity).expect("what was read can be written"), bytes);
    }
}

fn all_properties() -> Vec<Vec<u8>> {
    let identity = &fixture().identity;
    let domain = DomainId([9; 16]);
    let properties = VaultProperties::replica(VaultId([8; 16]), domain, identity.region(), Mode::Sealed, 5);
    vec![unsigned(properties.sign(identity).expect("the default cut is lawful"))]
}

fn receipt(bytes: &[u8]) {
    let identity = &fixture().identity;
    let bytes = signed(SignedType::Receipt, bytes, 20, 52);
    if let Ok(receipt) = Receipt::decode(&bytes, &identity.signers()) {
        assert_eq!(receipt.sign(identity).expect("what was read can be written"), bytes);
    }
}

fn receipts() -> Vec<Vec<u8>> {
    let identity = &fixture().identity;
    let receipt = Receipt {
        source_region: RegionId([1; 16]),
        destination_region: identity.region(),
        incarnation: Incarnation([2; 16]),
        signing_key: identity.signing_key_id(),
        grant: GrantId([3; 16]),
        destination_project: "project".to_owned(),
        replica: ReplicaId([4; 16]),
        generation: 1,
        manifest: ManifestDigest([5; 32]),
        domain: DomainId([6; 16]),
        mode: Mode::Restorable,
        level: Level::Opened,
        key_checks: vec![[7; 32], [8; 32]],
        object_count: 1,
        stored_bytes: 2,
        keep_until_ms: 3,
        published_ms: 4,
        head_counter: 5,
    };
    vec![unsigned(receipt.sign(identity).expect("the texts are short"))]
}

fn head(bytes: &[u8]) {
    let bytes = signed(SignedType::Head, bytes, 22, 54);
    let _ = Head::decode(&bytes, &fixture().identity.signers());
}

fn sample_head(entries: Vec<HeadEntry>) -> crate::head::SignedHead {
    let order = HeadOrder {
        source_region: RegionId([1; 16]),
        incarnation: Incarnation([2; 16]),
        counter: 3,
        time_ms: 4,
    };
    Head::sign(&fixture().identity, &order, entries).expect("each replica is listed once")
}

fn sample_entries() -> Vec<HeadEntry> {
    let entry = |byte, state| HeadEntry {
        replica: ReplicaId([byte; 16]),
        manifest: ManifestDigest([byte; 32]),
        state,
        level: Level::Stored,
        keep_until_ms: 5,
    };
    vec![entry(1, ReplicaState::Live), entry(2, ReplicaState::Deleted), entry(3, ReplicaState::Damaged)]
}

fn heads() -> Vec<Vec<u8>> {
    vec![unsigned(sample_head(sample_entries()).head)]
}

/// Entries under a head that vouches for them, with the count of the first four bytes.
fn entries(bytes: &[u8]) {
    let Ok(mut head) = Head::decode(&sample_head(Vec::new()).head, &fixture().identity.signers()) else {
        return;
    };
    head.entries_digest = entries_digest(bytes);
    head.entry_count = bytes.first_chunk().map_or(0, |count| u64::from(u32::from_le_bytes(*count)));
    if let Ok(entries) = head.entries(bytes) {
        assert_eq!(encode_entries(&entries), bytes);
    }
}

fn all_entries() -> Vec<Vec<u8>> {
    vec![encode_entries(&sample_entries()), encode_entries(&[])]
}

fn state(bytes: &[u8]) {
    let fixture = fixture();
    let plaintext = signed(SignedType::State, bytes, 6, 22);
    let (region, signers) = (fixture.identity.region(), fixture.identity.signers());
    let _ = StateObject::decode(&plaintext, region, &signers);
}

fn states() -> Vec<Vec<u8>> {
    let fixture = fixture();
    let stamp = StateStamp { incarnation: Incarnation([1; 16]), sequence: 2, time_ms: 3 };
    let encode = |record: StateRecord| {
        let object = StateObject { stamp, record };
        unsigned(object.encode(&fixture.identity).expect("the texts are short"))
    };
    let record = |bytes: Vec<u8>| StateRecord::decode(bytes[0], &bytes[1..]).expect("the sample is sound");
    records().into_iter().map(|bytes| encode(record(bytes))).collect()
}

/// The first byte says the type.
fn record(bytes: &[u8]) {
    let Some((&number, body)) = bytes.split_first() else { return };
    if let Ok(record) = StateRecord::decode(number, body) {
        assert_eq!(record.number(), number);
        assert_eq!(record.encode().expect("what was read can be written"), body);
    }
}

fn records() -> Vec<Vec<u8>> {
    let sample = |number: u8, fill: fn(&mut Encoder)| {
        let mut encoder = Encoder::new();
        encoder.u8(number);
        fill(&mut encoder);
        encoder.finish()
    };
    vec![
        sample(1, |e| {
            e.string("policy").string("project").u64(1).string("daily").bool(true).string("{}");
        }),
        sample(2, |e| {
            e.string("server").string("project").u64(1).string("web").count(1);
            e.string("disk")
                .string("system")
                .string("system.raw")
                .string("raw")
                .u64(9)
                .bool(true)
                .string("{}");
        }),
        sample(3, |e| {
            e.fixed(&[2; 16]).u64(1).string("theirs").fixed(&[3; 16]).string("ours").count(2).u8(1).u8(2);
            e.u64(9).u64(8).u64(1).u64(2).bool(false).string("");
        }),
        sample(4, |e| {
            subject(e).u8(2).u64(9).string("admin");
        }),
        sample(5, |e| {
            subject(e).bool(true).string("legal").string("case 7");
        }),
        sample(6, |e| {
            e.fixed(&[4; 16]).u32(1).fixed(&[3; 16]).string("ours").string("theirs").fixed(&[2; 16]);
            e.fixed(&[5; 32]).fixed(&[6; 16]).u8(2).u8(1).u64(7).u64(8).bytes(&[9; 30]);
        }),
        sample(7, |e| {
            subject(e).u64(1).u64(2).bool(true).bool(false).string("retention").string("old");
        }),
    ]
}

fn subject(encoder: &mut Encoder) -> &mut Encoder {
    encoder.u8(1).string("item-1").string("project-1").fixed(&[4; 32])
}
