//! What manifests promise and refuse.

use super::*;
use crate::card::tests::region;
use crate::keys::{DomainKeys, EpochKeys};
use crate::seams::SeededEntropy;

fn body() -> ManifestBody {
    let volume = |volume_id: &str, size_bytes, root| ManifestVolume {
        volume_id: volume_id.to_owned(),
        shape: TreeShape::new(size_bytes, 16 << 20, 256).unwrap(),
        root: Address([root; 32]),
    };
    ManifestBody {
        item: ItemId([1; 16]),
        checkpoint: CheckpointId([2; 16]),
        resource_id: "server-1".to_owned(),
        project_id: "project-1".to_owned(),
        started_ms: 10,
        ended_ms: 20,
        volumes: vec![volume("system", 20 << 30, 5), volume("data", 4097, 6), volume("empty", 0, 0)],
    }
}

fn description() -> Description {
    let tag = |key: &str, value: &str| Tag { key: key.to_owned(), value: value.to_owned() };
    Description {
        resource_name: "web server".to_owned(),
        policy: Some(tag("policy-1", "daily")),
        addresses: vec!["10.0.0.7".to_owned()],
        tags: vec![tag("tier", "gold")],
        volumes: vec![DescribedVolume {
            volume_id: "system".to_owned(),
            is_bootable: true,
            ..DescribedVolume::default()
        }],
        document: "{}".to_owned(),
        ..Description::default()
    }
}

struct World {
    identity: RegionIdentity,
    keys: DomainKeys,
}

fn world() -> World {
    World { identity: region(1).1, keys: DomainKeys::generate(&SeededEntropy::new(2)) }
}

impl World {
    fn sign(&self, body: &ManifestBody, description: &Description) -> Result<Manifest, VaultError> {
        let draft = ManifestDraft {
            incarnation: Incarnation([3; 16]),
            sequence: 4,
            previous: ManifestDigest::ZERO,
            epochs: vec![],
            object_count: 7,
            stored_bytes: 8,
            body,
            description,
        };
        draft.sign(&self.identity, &self.keys)
    }

    fn decode(&self, bytes: &[u8]) -> Result<Manifest, VaultError> {
        Manifest::decode(bytes, &self.identity.signers())
    }
}

#[test]
fn a_manifest_comes_back_whole() {
    let world = world();
    let made = world.sign(&body(), &description()).unwrap();
    let read = world.decode(made.bytes()).unwrap();
    assert_eq!((read.fields(), read.digest()), (made.fields(), made.digest()));
    assert_eq!(read.fields().logical_bytes, (20 << 30) + 4097);
    assert_eq!(read.fields().epochs, [Epoch(1)]);
    let mut opener = Opener::new().unwrap();
    assert_eq!(read.body(&world.keys, &mut opener).unwrap(), body());
    assert_eq!(read.description(&world.keys, &mut opener).unwrap(), description());
}

#[test]
fn every_changed_or_missing_byte_is_refused() {
    let world = world();
    let made = world.sign(&body(), &description()).unwrap();
    for position in 0..made.bytes().len() {
        let mut damaged = made.bytes().to_vec();
        damaged[position] ^= 1;
        assert!(world.decode(&damaged).is_err(), "byte {position}");
        assert!(world.decode(&made.bytes()[..position]).is_err(), "{position} bytes");
    }
}

#[test]
fn a_stranger_s_manifest_is_refused() {
    let made = world().sign(&body(), &description()).unwrap();
    let result = Manifest::decode(made.bytes(), &region(2).1.signers());
    assert!(matches!(result, Err(VaultError::Refused { .. })));
}

#[test]
fn a_sealed_holder_reads_the_body_and_not_the_description() {
    let world = world();
    let made = world.sign(&body(), &description()).unwrap();
    let mut sealed = DomainKeys::sealed(world.keys.domain());
    let structure = world.keys.epoch_keys(Epoch(1)).unwrap().structure.clone();
    sealed.add_epoch(Epoch(1), EpochKeys { data: None, structure }).unwrap();
    let mut opener = Opener::new().unwrap();
    assert_eq!(made.body(&sealed, &mut opener).unwrap(), body());
    assert!(matches!(made.description(&sealed, &mut opener), Err(VaultError::KeyMissing { .. })));
}

#[test]
fn parts_of_another_item_are_refused_even_when_signed() {
    let world = world();
    let mut other = body();
    other.resource_id = "server-2".to_owned();
    let (made, foreign) =
        (world.sign(&body(), &description()).unwrap(), world.sign(&other, &description()).unwrap());
    let resigned = |body: &[u8], description: &[u8], change: fn(&mut ManifestFields)| {
        let mut fields = made.fields().clone();
        change(&mut fields);
        let mut encoder = Encoder::new();
        fields.encode(&mut encoder);
        encoder.bytes(body).bytes(description);
        let mut bytes = encoder.finish();
        world.identity.sign(SignedType::Manifest, &mut bytes);
        world.decode(&bytes)
    };
    let mut opener = Opener::new().unwrap();
    assert!(resigned(&made.body, &made.description, |_| ()).unwrap().body(&world.keys, &mut opener).is_ok());
    assert!(
        resigned(&foreign.body, &made.description, |_| ()).unwrap().body(&world.keys, &mut opener).is_err()
    );
    let larger = resigned(&made.body, &made.description, |fields| fields.logical_bytes += 1);
    assert!(larger.unwrap().body(&world.keys, &mut opener).is_err());
    assert!(resigned(&made.description, &made.body, |_| ()).is_err());
    assert!(resigned(&made.body, &made.description, |fields| fields.epochs = vec![]).is_err());
    assert!(
        resigned(&made.body, &made.description, |fields| fields.epochs = vec![Epoch(1), Epoch(1)]).is_err()
    );
    assert!(
        resigned(&made.body, &made.description, |fields| fields.epochs = vec![Epoch(1), Epoch(2)]).is_err()
    );
    assert!(resigned(&made.body, &made.description, |fields| fields.domain = DomainId::ZERO).is_err());
}

#[test]
fn what_no_reader_would_accept_is_not_signed() {
    let world = world();
    let refuse = |body: ManifestBody, description: Description| {
        assert!(matches!(world.sign(&body, &description), Err(VaultError::Refused { .. })));
    };
    refuse(ManifestBody { resource_id: "x".repeat(256), ..body() }, description());
    refuse(
        ManifestBody { volumes: vec![body().volumes[0].clone(), body().volumes[0].clone()], ..body() },
        description(),
    );
    refuse(body(), Description { resource_name: "x".repeat(1025), ..description() });
    refuse(body(), Description { addresses: vec![String::new(); 4097], ..description() });
    refuse(
        body(),
        Description { tags: vec![Tag { key: "x".repeat(1025), value: String::new() }], ..description() },
    );
    refuse(body(), Description { document: "x".repeat(1025 << 10), ..description() });
}

#[test]
fn a_body_with_another_depth_or_a_volume_twice_is_refused() {
    let mut encoded = body().encode().unwrap();
    ManifestBody::decode(&encoded).unwrap();
    let level_at = encoded.len() - 33;
    encoded[level_at] = 1;
    assert!(ManifestBody::decode(&encoded).is_err());
    let mut encoder = Encoder::new();
    encoder
        .u16(FORMAT_VERSION)
        .fixed(&[1; 16])
        .fixed(&[2; 16])
        .string("r")
        .string("p")
        .u64(0)
        .u64(0)
        .count(2);
    for _ in 0..2 {
        encoder.string("same").u64(1).u32(4096).u16(2).u8(0).fixed(&[0; 32]);
    }
    assert!(ManifestBody::decode(encoder.as_slice()).is_err());
}
