//! The published test vectors: made here from fixed inputs, compared with the files that are checked in,
//! and read back from those files. Other implementations read the same files.
//!
//! With `ANTIPODE_WRITE_VECTORS=1` in the environment the tests write the files instead. A file that
//! changes means that the format changed.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::card::tests::region;
use crate::card::{Card, Pin, RegionIdentity};
use crate::error::VaultError;
use crate::head::{Head, HeadEntry, HeadOrder, ReplicaState};
use crate::ids::{
    Address, Check, CheckpointId, DedupId, DomainId, Epoch, Incarnation, ItemId, Kind, ManifestDigest,
    PackNumber, RegionId, ReplicaId, VaultId, to_hex,
};
use crate::kek::Kek;
use crate::keys::{DomainKeys, KeyRing, ObjectKeys, Secret};
use crate::layout::{PackName, bundle_name, wrap_name};
use crate::manifest::{Description, Manifest, ManifestBody, ManifestDraft, ManifestVolume};
use crate::object::tests::{forge, header, numbered, vector_keys};
use crate::object::{Expected, Frozen, Header, Opener, Sealer, address_of};
use crate::pack::{FooterPlace, PackFooter, TRAILER_BYTES};
use crate::properties::VaultProperties;
use crate::receipt::{Level, Receipt};
use crate::recovery::{RecoveryKit, RecoverySeed};
use crate::seams::SeededEntropy;
use crate::signed::SignedType;
use crate::state::{StateObject, StateStamp};
use crate::tree::{LeafEntry, TreeShape, encode_leaf};
use crate::wrap::{Role, Wrap, WrapOrder};

/// 4096 × "A" as one zstd frame, made once by zstd 1.5.7 at level 1.
const FROZEN_FRAME: &str = "28b52ffd60000f4d00001041410100fbf70116";

/// Compares with the file of this name, or writes it. `frozen` names the fields that hold compressed
/// parts: they are only read back, because another version of the compressor may make other bytes.
fn settle(name: &str, made: Value, frozen: &[&str]) -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    if std::env::var_os("ANTIPODE_WRITE_VECTORS").is_some() {
        std::fs::write(&path, format!("{made:#}\n")).unwrap();
    }
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut expected = made;
    for field in frozen {
        *expected.pointer_mut(field).unwrap() = kept.pointer(field).unwrap().clone();
    }
    assert!(kept == expected, "{name} is no longer what the code makes: the stored format changed");
    kept
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    let nibble = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    digits.chunks(2).map(|pair| nibble(pair[0]) << 4 | nibble(pair[1])).collect()
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap()
}

fn kek() -> Kek {
    Kek::new(&Secret::new(numbered(0x60)))
}

fn keys_json() -> Value {
    json!({
        "DK_id": to_hex(&numbered::<32>(0)), "DK_1": to_hex(&numbered::<32>(0x20)), "SK_1": to_hex(&numbered::<32>(0x40)),
        "KEK": to_hex(&numbered::<32>(0x60)), "domain": to_hex(&numbered::<16>(0)), "epoch": 1,
    })
}

fn keys_of(kind: Kind) -> ObjectKeys {
    match kind {
        Kind::KeyBundle | Kind::RegionState => kek().sealing_keys().clone(),
        _ => vector_keys().sealing_keys(kind).unwrap().clone(),
    }
}

struct ObjectVector {
    name: &'static str,
    kind: Kind,
    level: u8,
    pad: u8,
    is_compressed: bool,
    plaintext: Vec<u8>,
    body: Vec<u8>,
}

fn raw(name: &'static str, kind: Kind, level: u8, pad: u8, plaintext: &[u8]) -> ObjectVector {
    let (plaintext, body) = (plaintext.to_vec(), plaintext.to_vec());
    ObjectVector { name, kind, level, pad, is_compressed: false, plaintext, body }
}

fn object_vectors() -> Vec<ObjectVector> {
    let zeros = LeafEntry::hole(12 << 20);
    let entry = LeafEntry { plain_len: 4 << 20, address: Address([0xaa; 32]), check: Check([0xbb; 16]) };
    let inner = [&2u32.to_le_bytes()[..], &[0xcc; 32], &[0; 32]].concat();
    let frame = bytes(&json!(FROZEN_FRAME));
    vec![
        raw("the first vector", Kind::Chunk, 0, 0, &[b'A'; 4096]),
        raw("a chunk padded to 512 bytes", Kind::Chunk, 0, 9, &[b'A'; 4096]),
        ObjectVector {
            is_compressed: true,
            body: frame,
            ..raw("a chunk as a zstd frame", Kind::Chunk, 0, 0, &[b'A'; 4096])
        },
        raw("a chunk of one byte", Kind::Chunk, 0, 0, b"A"),
        raw("a leaf", Kind::Node, 0, 0, &encode_leaf(&[entry, zeros]).unwrap()),
        raw("an inner node", Kind::Node, 1, 0, &inner),
        raw("a manifest body", Kind::ManifestBody, 0, 0, b"body"),
        raw("a description", Kind::Description, 0, 0, b"description"),
        raw("a dedup map", Kind::DedupMap, 0, 0, b"dedup map"),
        raw("a key bundle", Kind::KeyBundle, 0, 0, b"key bundle"),
        raw("a state object", Kind::RegionState, 0, 0, b"state"),
    ]
}

fn object_json(vector: &ObjectVector) -> Value {
    let keys = keys_of(vector.kind);
    let frozen = Frozen {
        kind: vector.kind,
        level: vector.level,
        is_compressed: vector.is_compressed,
        plain_len: vector.plaintext.len(),
        body: &vector.body,
    };
    let mut stored = Vec::new();
    let sealed = Sealer::with_pad(vector.pad).unwrap().seal_frozen(&keys, frozen, &mut stored);
    let is_chunk = vector.kind == Kind::Chunk;
    let id = is_chunk.then(|| to_hex(&vector_keys().secrets().unwrap().dedup_id(&vector.plaintext).0));
    json!({
        "name": vector.name, "kind": vector.kind.number(), "level": vector.level, "pad": vector.pad,
        "codec": u8::from(vector.is_compressed), "plaintext": to_hex(&vector.plaintext), "body": to_hex(&vector.body),
        "id": id, "s": to_hex(&stored[32..64]), "stored": to_hex(&stored), "address": sealed.address.to_string(),
    })
}

/// Opens as a vector tells; for kinds under the region's key by the KEK.
fn open(kind: Kind, expected: &Expected, stored: &[u8]) -> Result<Vec<u8>, VaultError> {
    let (keys, kek) = (vector_keys(), kek());
    let mut out = Vec::new();
    let mut opener = Opener::new()?;
    match kind {
        Kind::KeyBundle | Kind::RegionState => opener.open(&kek, expected, stored, &mut out)?,
        _ => opener.open(&keys, expected, stored, &mut out)?,
    }
    Ok(out)
}

#[test]
fn objects_are_sealed_and_opened_as_published() {
    let made: Vec<Value> = object_vectors().iter().map(object_json).collect();
    let kept = settle("objects.json", json!({ "keys": keys_json(), "objects": made }), &[]);
    for vector in kept["objects"].as_array().unwrap() {
        let kind = Kind::from_number(vector["kind"].as_u64().unwrap() as u8).unwrap();
        let mut expected = Expected::object(kind, Address(array(&vector["address"])));
        expected.level = vector["level"].as_u64().unwrap() as u8;
        let plaintext = bytes(&vector["plaintext"]);
        expected.plain_len = Some(plaintext.len() as u32);
        expected.check = vector["id"].is_string().then(|| DedupId(array(&vector["id"])).check());
        assert_eq!(
            open(kind, &expected, &bytes(&vector["stored"])).unwrap(),
            plaintext,
            "{}",
            vector["name"]
        );
    }
    assert_eq!(
        kept["objects"][0]["address"],
        "911c2ceb83f185bc4d83f76beff50db8a05bebc1e25e7880322b0e40df1bb601"
    );
}

fn payload(codec: u8, plain_len: u32, body: &[u8]) -> Vec<u8> {
    [&[codec][..], &plain_len.to_le_bytes(), &(body.len() as u32).to_le_bytes(), body].concat()
}

/// One object for every step of opening that must fail there and nowhere else.
fn refusals() -> Vec<(u8, &'static str, Expected, Vec<u8>)> {
    let keys = vector_keys();
    let sound = forge(&keys, header(&keys, 0), &payload(0, 4, b"text"), None);
    let expect =
        |stored: &[u8]| Expected { plain_len: Some(4), ..Expected::object(Kind::Chunk, address_of(stored)) };
    let plain = |step, name, stored: Vec<u8>| (step, name, expect(&stored), stored);
    let changed = |step, name, position: usize, value: u8| {
        let mut stored = sound.clone();
        stored[position] = value;
        plain(step, name, stored)
    };
    let forged =
        |step, name, header: Header, payload: &[u8]| plain(step, name, forge(&keys, header, payload, None));
    let frame = bytes(&json!(FROZEN_FRAME));
    let compressed = |step, name, plain_len: u32, body: &[u8]| {
        let stored = forge(&keys, header(&keys, 0), &payload(1, plain_len, body), None);
        (step, name, Expected { plain_len: Some(plain_len), ..expect(&stored) }, stored)
    };
    let mut padded = payload(0, 4, b"text");
    padded.resize(512, 0);
    padded[511] = 1;
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 11 << 3, 0x09, 0x00, 0x00, b'x'];
    let text_check = keys.secrets().unwrap().dedup_id(b"text").check();
    let other_s = forge(&keys, header(&keys, 0), &payload(0, 4, b"text"), Some([9; 32]));
    vec![
        plain(1, "too short", sound[..89].to_vec()),
        (2, "another address", Expected { address: Address([1; 32]), ..expect(&sound) }, sound.clone()),
        changed(3, "another magic", 3, b'2'),
        changed(3, "another suite", 4, 2),
        changed(3, "another kind", 5, 4),
        changed(3, "a level on a chunk", 6, 1),
        changed(3, "an unlawful padding", 7, 8),
        changed(3, "reserved bytes", 31, 1),
        changed(4, "an unknown domain", 8, 0xff),
        changed(4, "an unknown epoch", 24, 2),
        changed(5, "a changed payload", 64, !sound[64]),
        changed(5, "another padding than was sealed", 7, 9),
        forged(6, "an unknown codec", header(&keys, 0), &payload(2, 4, b"text")),
        forged(
            6,
            "a body that is longer than stated",
            header(&keys, 0),
            &[&payload(0, 4, b"text")[..], b"x"].concat(),
        ),
        forged(6, "padding that is not zero", header(&keys, 9), &padded),
        forged(6, "a raw body of another length", header(&keys, 0), &payload(0, 4, b"tex")),
        forged(6, "another plain length", header(&keys, 0), &payload(0, 5, b"texts")),
        compressed(6, "a compressed body that is not smaller", frame.len() as u32, &frame),
        compressed(7, "no frame", 4096, b"not a zstd frame"),
        compressed(7, "a frame of another length", 4097, &frame),
        compressed(7, "two frames", 8192, &[&frame[..], &frame].concat()),
        compressed(7, "a window above 1 MiB", 11, &window),
        (8, "another check", Expected { check: Some(Check([1; 16])), ..expect(&sound) }, sound.clone()),
        (8, "another synthetic value", expect(&other_s), other_s.clone()),
        (0, "not refused, for comparison", Expected { check: Some(text_check), ..expect(&sound) }, sound),
    ]
}

#[test]
fn objects_are_refused_as_published() {
    let made: Vec<Value> = refusals()
        .into_iter()
        .map(|(step, name, expected, stored)| {
            json!({
                "step": step, "name": name, "kind": 1, "level": 0, "address": expected.address.to_string(),
                "plain_len": expected.plain_len, "check": expected.check.map(|check| to_hex(&check.0)), "stored": to_hex(&stored),
            })
        })
        .collect();
    let kept = settle("refusals.json", json!({ "keys": keys_json(), "objects": made }), &[]);
    for vector in kept["objects"].as_array().unwrap() {
        let mut expected = Expected::object(Kind::Chunk, Address(array(&vector["address"])));
        expected.plain_len = Some(vector["plain_len"].as_u64().unwrap() as u32);
        expected.check = vector["check"].is_string().then(|| Check(array(&vector["check"])));
        let opened = open(Kind::Chunk, &expected, &bytes(&vector["stored"]));
        let step = vector["step"].as_u64().unwrap();
        match &opened {
            Ok(plaintext) => assert!(step == 0 && plaintext == b"text", "{} was accepted", vector["name"]),
            Err(VaultError::KeyMissing { .. }) => assert_eq!(step, 4),
            Err(VaultError::Corrupt { .. }) => {
                assert!((1..=8).contains(&step) && step != 4, "{}", vector["name"])
            }
            Err(error) => panic!("{}: {error}", vector["name"]),
        }
    }
}

struct Signed {
    source: RegionIdentity,
    destination: RegionIdentity,
    keys: DomainKeys,
    kit: RecoveryKit,
}

fn signed() -> Signed {
    let ((root, source), (_, destination)) = (region(1), region(2));
    let kit = RecoveryKit::new(RecoverySeed::from_secret(Secret::new(numbered(0x80))), &root.public());
    Signed { source, destination, keys: vector_keys(), kit }
}

fn manifest(world: &Signed) -> Manifest {
    let volume = ManifestVolume {
        volume_id: "volume-1".to_owned(),
        shape: TreeShape::new((40 << 30) + 512, 16 << 20, 256).unwrap(),
        root: Address([0xdd; 32]),
    };
    let body = ManifestBody {
        item: ItemId(numbered(1)),
        checkpoint: CheckpointId(numbered(2)),
        resource_id: "server-1".to_owned(),
        project_id: "project-1".to_owned(),
        started_ms: 1_700_000_000_000,
        ended_ms: 1_700_000_060_000,
        volumes: vec![volume],
    };
    // Short and without patterns, so that both parts stay raw whatever the compressor.
    let description = Description { resource_name: "web".to_owned(), ..Description::default() };
    let draft = ManifestDraft {
        incarnation: Incarnation(numbered(3)),
        sequence: 7,
        previous: ManifestDigest([0xee; 32]),
        epochs: vec![],
        object_count: 11,
        stored_bytes: 13,
        body: &body,
        description: &description,
    };
    draft.sign(&world.source, &world.keys).unwrap()
}

fn head_json(world: &Signed) -> Value {
    let entry = HeadEntry {
        replica: ReplicaId(numbered(4)),
        manifest: ManifestDigest([5; 32]),
        state: ReplicaState::Live,
        level: Level::Opened,
        keep_until_ms: 6,
    };
    let (source_region, incarnation) = (world.source.region(), Incarnation(numbered(3)));
    let order = HeadOrder { source_region, incarnation, counter: 8, time_ms: 9 };
    let signed = Head::sign(&world.destination, &order, vec![entry]).unwrap();
    json!({ "bytes": to_hex(&signed.head), "entries": to_hex(&signed.entries), "counter": 8, "time_ms": 9 })
}

fn wrap_json(world: &Signed, role: Role) -> Value {
    let recipient = &world.kit.seed().receiving_key().public();
    let order = WrapOrder { keys: &world.keys, epoch: Epoch(1), role, recipient };
    let bytes = Wrap::seal(&world.source, &order, &SeededEntropy::new(9)).unwrap();
    let wrap = Wrap::decode(&bytes, &world.source.signers()).unwrap();
    json!({
        "bytes": to_hex(&bytes), "role": role.number(), "recipient": wrap.fields().recipient.to_string(),
        "key_check": to_hex(&wrap.fields().key_check), "name": wrap_name(VaultId(world.keys.domain().0), &wrap.name()),
    })
}

fn signed_json(world: &Signed) -> Value {
    let manifest = manifest(world);
    let digest =
        |signed_type: SignedType, bytes: &[u8]| to_hex(&signed_type.digest(&bytes[..bytes.len() - 64]));
    let card = world.source.card();
    let pin = Pin::sign(&world.destination, card, 10);
    let receipt = crate::receipt::tests::receipt(&world.destination).sign(&world.destination).unwrap();
    let properties = VaultProperties::primary(world.keys.domain(), world.source.region(), 12);
    let properties = properties.sign(&world.source).unwrap();
    json!({
        "keys": keys_json(),
        "recovery_seed": to_hex(&numbered::<32>(0x80)),
        "recovery_key_id": world.kit.seed().receiving_key().key_id().to_string(),
        "kit": world.kit.render("cn-north-1").as_str(),
        "root_fingerprint": to_hex(world.kit.root_fingerprint()),
        "region": card.region().to_string(),
        "card": { "bytes": to_hex(card.bytes()), "digest": digest(SignedType::Card, card.bytes()) },
        "destination_card": { "bytes": to_hex(world.destination.card().bytes()) },
        "pin": { "bytes": to_hex(&pin), "digest": digest(SignedType::State, &pin) },
        "properties": { "bytes": to_hex(&properties), "digest": digest(SignedType::State, &properties) },
        "manifest": {
            "bytes": to_hex(manifest.bytes()), "digest": manifest.digest().to_string(),
            "item": ItemId(numbered(1)).to_string(), "resource_id": "server-1", "resource_name": "web",
            "resource_tag": manifest.fields().resource_tag.to_string(), "volume_id": "volume-1",
            "size_bytes": (40u64 << 30) + 512, "root_level": 2, "root": Address([0xdd; 32]).to_string(),
        },
        "wraps": [wrap_json(world, Role::Restorable), wrap_json(world, Role::Structure), wrap_json(world, Role::Recovery)],
        "receipt": { "bytes": to_hex(&receipt), "digest": digest(SignedType::Receipt, &receipt) },
        "head": head_json(world),
    })
}

#[test]
fn signed_things_are_made_and_read_as_published() {
    let world = signed();
    let kept = settle("signed.json", signed_json(&world), &["/manifest", "/wraps"]);
    let (ours, theirs) = (world.source.signers(), world.destination.signers());
    let field = |path: &str| bytes(kept.pointer(path).unwrap());
    assert_eq!(&Card::decode(&field("/card/bytes")).unwrap(), world.source.card());
    assert_eq!(Pin::decode(&field("/pin/bytes"), &theirs).unwrap().peer(), world.source.region());
    let properties = VaultProperties::decode(
        &field("/properties/bytes"),
        VaultId(world.keys.domain().0),
        world.source.region(),
        &ours,
    );
    assert_eq!(properties.unwrap().created_ms, 12);
    let read = Manifest::decode(&field("/manifest/bytes"), &ours).unwrap();
    let body = read.body(&world.keys, &mut Opener::new().unwrap()).unwrap();
    assert_eq!((body.resource_id.as_str(), body.volumes[0].shape.root_level()), ("server-1", 2));
    for position in 0..3 {
        let wrap = Wrap::decode(&field(&format!("/wraps/{position}/bytes")), &ours).unwrap();
        let keys = wrap.open(&world.kit.seed().receiving_key()).unwrap().into_domain_keys().unwrap();
        let structure = &keys.epoch_keys(Epoch(1)).unwrap().structure;
        assert_eq!(structure, &world.keys.epoch_keys(Epoch(1)).unwrap().structure);
    }
    assert_eq!(Receipt::decode(&field("/receipt/bytes"), &theirs).unwrap().head_counter, 13);
    let head = Head::decode(&field("/head/bytes"), &theirs).unwrap();
    assert_eq!(head.entries(&field("/head/entries")).unwrap().len(), 1);
    let parsed = RecoveryKit::parse(kept["kit"].as_str().unwrap()).unwrap();
    assert_eq!(to_hex(parsed.root_fingerprint()), kept["root_fingerprint"]);
}

#[test]
fn packs_end_as_published() {
    let keys = vector_keys();
    let name = PackName::new(PackNumber(0x2a), Incarnation(numbered(3)));
    let (mut pack, mut footer) = (Vec::new(), PackFooter::new());
    for vector in object_vectors().iter().filter(|vector| matches!(vector.kind, Kind::Chunk | Kind::Node)) {
        let stored = bytes(&object_json(vector)["stored"]);
        let id = (vector.kind == Kind::Chunk).then(|| keys.secrets().unwrap().dedup_id(&vector.plaintext));
        footer.push(vector.kind, stored.len() as u32, address_of(&stored), id);
        pack.extend_from_slice(&stored);
    }
    let end = footer.finish(Some((keys.sealing_keys(Kind::DedupMap).unwrap(), name))).unwrap();
    pack.extend_from_slice(&end.bytes);
    let made = json!({
        "keys": keys_json(), "file_name": name.file_name(), "pack": to_hex(&pack),
        "footer_offset": footer.object_bytes(), "footer_digest": to_hex(&end.footer_digest), "object_count": footer.entries().len(),
    });
    let kept = settle("pack.json", made, &["/pack", "/footer_digest"]);

    let pack = bytes(&kept["pack"]);
    let place = FooterPlace::parse(&pack[pack.len() - TRAILER_BYTES..], pack.len() as u64).unwrap();
    let read = place.decode(&pack[place.offset as usize..][..place.length as usize]).unwrap();
    assert_eq!(read.entries, footer.entries());
    assert_eq!(read.dedup_ids(&keys, &mut Opener::new().unwrap(), name).unwrap().unwrap().len(), 4);
}

#[test]
fn state_objects_and_bundles_are_read_as_published() {
    let world = signed();
    let record = crate::state::samples().remove(0);
    let stamp = StateStamp { incarnation: Incarnation(numbered(3)), sequence: 14, time_ms: 15 };
    let mut state = Vec::new();
    StateObject { stamp, record: record.clone() }.seal(&world.source, &kek(), &mut state).unwrap();
    let mut bundle = Vec::new();
    kek().seal_bundle(&world.keys, 1, &mut bundle).unwrap();
    let made = json!({
        "keys": keys_json(), "region": world.source.region().to_string(), "state_name": stamp.name(),
        "state": to_hex(&state), "bundle": to_hex(&bundle),
    });
    let kept = settle("region.json", made, &["/state", "/bundle"]);
    let region = RegionId(array(&kept["region"]));
    let signers = world.source.signers();
    let name = kept["state_name"].as_str().unwrap();
    let opened = StateObject::open(name, &bytes(&kept["state"]), &kek(), region, &signers).unwrap();
    assert_eq!(opened, StateObject { stamp, record });
    let keys = kek().open_bundle(&bundle_name(world.keys.domain(), 1), &bytes(&kept["bundle"])).unwrap();
    assert_eq!(keys.domain(), DomainId(numbered(0)));
    assert!(keys.object_keys(Kind::Chunk, keys.domain(), Epoch(1)).is_ok());
}
