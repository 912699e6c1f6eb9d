//! What lies in packs and is sealed: headers, payloads, nodes, footers, dedup maps, and the plaintexts
//! of manifests and key bundles.

use super::{Target, fixture};
use crate::codec::Encoder;
use crate::ids::{Address, Check, CheckpointId, DedupId, Incarnation, ItemId, Kind, PackNumber};
use crate::kek::{decode_bundle, encode_bundle};
use crate::layout::{self, PackName};
use crate::manifest::{Description, ManifestBody, ManifestVolume};
use crate::object::{Expected, Header, Opener, Sealer, address_of, plain_bytes_max, unpack_payload};
use crate::pack::{FooterPlace, PackFooter, TRAILER_BYTES};
use crate::tree::{LeafEntry, NodePlace, TreeShape, encode_leaf};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "object-header", run: header, seeds: objects },
    Target { name: "object-payload", run: payload, seeds: payloads },
    Target { name: "object-open", run: open, seeds: objects },
    Target { name: "leaf", run: leaf, seeds: leaves },
    Target { name: "inner-node", run: inner, seeds: inners },
    Target { name: "pack-trailer", run: trailer, seeds: trailers },
    Target { name: "pack-footer", run: footer, seeds: footers },
    Target { name: "manifest-body", run: body, seeds: bodies },
    Target { name: "description", run: description, seeds: descriptions },
    Target { name: "key-bundle", run: bundle, seeds: bundles },
];

const KINDS: [Kind; 7] = [
    Kind::Chunk,
    Kind::Node,
    Kind::ManifestBody,
    Kind::Description,
    Kind::DedupMap,
    Kind::KeyBundle,
    Kind::RegionState,
];

fn header(bytes: &[u8]) {
    if let Ok(header) = Header::parse(bytes) {
        assert_eq!(header.first_half(), bytes[..32]);
        assert_eq!(header.s, bytes[32..64]);
    }
}

fn sealed(kind: Kind, level: u8, plaintext: &[u8]) -> Vec<u8> {
    let fixture = fixture();
    let keys = match kind {
        Kind::KeyBundle | Kind::RegionState => fixture.kek.sealing_keys(),
        _ => fixture.keys.sealing_keys(kind).expect("the domain is restorable"),
    };
    let mut stored = Vec::new();
    let sealed = Sealer::new().and_then(|mut sealer| sealer.seal(keys, kind, level, plaintext, &mut stored));
    sealed.expect("the plaintext is short");
    stored
}

fn objects() -> Vec<Vec<u8>> {
    let mut objects: Vec<Vec<u8>> = KINDS.iter().map(|kind| sealed(*kind, 0, b"plaintext")).collect();
    objects.push(sealed(Kind::Chunk, 0, &[b'A'; 4096]));
    objects.push(sealed(Kind::Node, 3, &[7; 200]));
    objects
}

/// As whatever kind and level it says it is, at the address it has: up to the tag, all of opening.
fn open(bytes: &[u8]) {
    let (Ok(header), fixture) = (Header::parse(bytes), fixture()) else { return };
    let mut expected = Expected::object(header.kind, address_of(bytes));
    expected.level = header.level;
    let (mut out, Ok(mut opener)) = (Vec::new(), Opener::new()) else { return };
    let opened = match header.kind {
        Kind::KeyBundle | Kind::RegionState => opener.open(&fixture.kek, &expected, bytes, &mut out),
        _ => opener.open(&fixture.keys, &expected, bytes, &mut out),
    };
    assert!(opened.is_ok() || out.is_empty(), "plaintext was released with an error");
}

/// The first byte says kind and padding; the rest is the payload behind the tag.
fn payload(bytes: &[u8]) {
    let Some((&first, payload)) = bytes.split_first() else { return };
    let kind = KINDS[usize::from(first) % KINDS.len()];
    let pad = [0, 9, 12, 16][usize::from(first >> 4) % 4];
    if let Ok(plaintext) = unpack_payload(kind, pad, payload) {
        assert!((1..=plain_bytes_max(kind) as usize).contains(&plaintext.len()));
    }
}

fn payloads() -> Vec<Vec<u8>> {
    let raw = |first: u8, codec: u8, plain_len: u32, body: &[u8], zeros: usize| {
        let mut payload = Encoder::new();
        payload.u8(first).u8(codec).u32(plain_len).bytes(body).fixed(&vec![0; zeros]);
        payload.finish()
    };
    let mut payloads = vec![raw(0, 0, 4, b"text", 0), raw(0x10, 0, 4, b"text", 512 - 13)];
    if let Ok(frame) = zstd::bulk::compress(&[b'A'; 4096], 1) {
        payloads.push(raw(0, 1, 4096, &frame, 0));
        payloads.push(raw(0x21, 1, 4096, &frame, 4096 - 9 - frame.len()));
    }
    payloads
}

/// A tree of three levels whose last segment is odd.
fn shape() -> TreeShape {
    TreeShape::new(9 * 4096 * 8 + 5000, 8 * 4096, 4).expect("a lawful shape")
}

/// The first byte says which leaf.
fn leaf(bytes: &[u8]) {
    let Some((&first, plaintext)) = bytes.split_first() else { return };
    let place = NodePlace { level: 0, index: u64::from(first) % shape().segment_count() };
    if let Ok(entries) = shape().decode_leaf(place, plaintext) {
        let encoded = encode_leaf(&entries).expect("a leaf that was accepted holds a chunk");
        assert_eq!(encoded, plaintext);
        let (_, length) = shape().extent(place);
        assert_eq!(entries.iter().map(|entry| u64::from(entry.plain_len)).sum::<u64>(), length);
    }
}

fn leaves() -> Vec<Vec<u8>> {
    let chunk = |plain_len| LeafEntry { plain_len, address: Address([5; 32]), check: Check([6; 16]) };
    let lists = [
        (0, vec![chunk(8 * 4096)]),
        (1, vec![chunk(4096), LeafEntry::hole(4096), chunk(6 * 4096)]),
        (9, vec![chunk(5000)]),
    ];
    let encode = |(first, entries): &(u8, Vec<LeafEntry>)| {
        [&[*first][..], &encode_leaf(entries).expect("it holds a chunk")].concat()
    };
    lists.iter().map(encode).collect()
}

/// The first byte says which node.
fn inner(bytes: &[u8]) {
    let Some((&first, plaintext)) = bytes.split_first() else { return };
    let level = 1 + first % shape().root_level();
    let place = NodePlace { level, index: u64::from(first >> 4) % shape().node_count(level) };
    if let Ok(children) = shape().decode_inner(place, plaintext) {
        let mut encoder = Encoder::new();
        encoder.list(&children, |encoder, (_, address)| {
            encoder.fixed(&address.0);
        });
        assert_eq!(encoder.as_slice(), plaintext);
    }
}

fn inners() -> Vec<Vec<u8>> {
    [(0u8, 4u32), (0x20, 2), (1, 3)].map(|(first, count)| node(first, count)).into()
}

fn node(first: u8, count: u32) -> Vec<u8> {
    let mut encoder = Encoder::new();
    encoder.u8(first).u32(count);
    for child in 0..count {
        encoder.fixed(&[child as u8; 32]);
    }
    encoder.finish()
}

/// The end of a pack, of which the first eight bytes say how long it is.
fn trailer(bytes: &[u8]) {
    let Some((length, trailer)) = bytes.split_first_chunk::<8>() else { return };
    let length = u64::from_le_bytes(*length);
    if let Ok(place) = FooterPlace::parse(trailer, length) {
        assert_eq!(place.offset + place.length + TRAILER_BYTES as u64, length);
    }
}

fn pack_end() -> (u64, Vec<u8>) {
    let mut footer = PackFooter::new();
    footer.push(Kind::Chunk, 1000, Address([1; 32]), Some(DedupId([11; 32])));
    footer.push(Kind::Node, 200, Address([2; 32]), None);
    let keys = fixture().keys.sealing_keys(Kind::DedupMap).expect("the domain is restorable");
    let end = footer.finish(Some((keys, pack_name()))).expect("every chunk has an id");
    (footer.object_bytes(), end.bytes)
}

fn pack_name() -> PackName {
    PackName::new(PackNumber(5), Incarnation([7; 16]))
}

fn trailers() -> Vec<Vec<u8>> {
    let (object_bytes, end) = pack_end();
    let length = object_bytes + end.len() as u64;
    vec![[&length.to_le_bytes()[..], &end[end.len() - TRAILER_BYTES..]].concat()]
}

/// A footer behind objects of as many bytes as the first four say, under its own digest.
fn footer(bytes: &[u8]) {
    let Some((offset, footer)) = bytes.split_first_chunk::<4>() else { return };
    let offset = u64::from(u32::from_le_bytes(*offset));
    let digest = *blake3::hash(footer).as_bytes();
    let place = FooterPlace { offset, length: footer.len() as u64, digest };
    let Ok(read) = place.decode(footer) else { return };
    assert!(read.entries.iter().all(|entry| entry.end() <= offset));
    if let Ok(mut opener) = Opener::new() {
        let ids = read.dedup_ids(&fixture().keys, &mut opener, pack_name());
        assert!(ids.is_err() || read.entries.len() <= footer.len());
    }
}

fn footers() -> Vec<Vec<u8>> {
    let (object_bytes, end) = pack_end();
    let footer = &end[..end.len() - TRAILER_BYTES];
    vec![[&(object_bytes as u32).to_le_bytes()[..], footer].concat()]
}

fn body(bytes: &[u8]) {
    if let Ok(body) = ManifestBody::decode(bytes) {
        assert_eq!(body.encode().expect("what was read can be written"), bytes);
    }
}

fn bodies() -> Vec<Vec<u8>> {
    let volume = |id: &str, size| ManifestVolume {
        volume_id: id.to_owned(),
        shape: TreeShape::new(size, 16 << 20, 256).expect("a lawful shape"),
        root: Address([4; 32]),
    };
    let body = ManifestBody {
        item: ItemId([1; 16]),
        checkpoint: CheckpointId([2; 16]),
        resource_id: "server".to_owned(),
        project_id: "project".to_owned(),
        started_ms: 1,
        ended_ms: 2,
        volumes: vec![volume("a", 0), volume("b", (40 << 30) + 1)],
    };
    vec![body.encode().expect("the texts are short")]
}

fn description(bytes: &[u8]) {
    if let Ok(description) = Description::decode(bytes) {
        assert_eq!(description.encode().expect("what was read can be written"), bytes);
    }
}

fn descriptions() -> Vec<Vec<u8>> {
    use crate::manifest::{DescribedVolume, Tag};
    let tag = || Tag { key: "k".to_owned(), value: "v".to_owned() };
    let volume = DescribedVolume {
        volume_id: "a".to_owned(),
        name: "system".to_owned(),
        format: "raw".to_owned(),
        is_bootable: true,
    };
    let full = Description {
        resource_name: "web".to_owned(),
        policy: Some(tag()),
        addresses: vec!["10.0.0.1".to_owned()],
        tags: vec![tag(), tag()],
        volumes: vec![volume],
        document: "{}".to_owned(),
        ..Description::default()
    };
    [Description::default(), full].map(|one| one.encode().expect("the texts are short")).into()
}

fn bundle(bytes: &[u8]) {
    if let Ok((keys, revision)) = decode_bundle(bytes) {
        assert_eq!(encode_bundle(&keys, revision), bytes);
        assert!(
            layout::bundle_revision(keys.domain(), &layout::bundle_name(keys.domain(), revision)).is_some()
        );
    }
}

fn bundles() -> Vec<Vec<u8>> {
    let sealed = crate::keys::DomainKeys::sealed(fixture().keys.domain());
    vec![encode_bundle(&fixture().keys, 1), encode_bundle(&sealed, u64::MAX)]
}
