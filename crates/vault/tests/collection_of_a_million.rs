//! A vault of a million chunks, made of footers and nodes alone, collected in bounded memory. What is in
//! memory is counted, not timed.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use vault::collect::{CollectOrder, CollectSettings};
use vault::ids::{Address, Check, CheckpointId, Incarnation, ItemId, Kind, ManifestDigest, OperationId};
use vault::layout;
use vault::ledger::{MemoryCollector, PackLedger, SealedPack};
use vault::manifest::{Description, ManifestBody, ManifestDraft, ManifestVolume};
use vault::object::Sealer;
use vault::pack::PackFooter;
use vault::progress::NoProgress;
use vault::store::ObjectStore;
use vault::tree::{LeafEntry, TreeBuilder, TreeShape, encode_leaf};
use world::Region;

const CHUNKS: u64 = 1_000_000;
const CHUNKS_A_PACK: u64 = 20_000;
/// The shortest object there is.
const STORED_BYTES: u32 = 90;
const SEGMENT_BYTES: u32 = 16 << 20;
const CHUNK_BYTES: u32 = 64 << 10;
const LIVE_ONE_IN: u64 = 4;
const INCARNATION: Incarnation = Incarnation([1; 16]);
const MAKER: OperationId = OperationId([9; 16]);

/// Spread over all addresses, as digests are.
fn address(chunk: u64) -> Address {
    Address(*blake3::hash(&chunk.to_be_bytes()).as_bytes())
}

/// Whether the item needs a chunk. Every other pack is alive in part, the rest is dead.
fn is_live(chunk: u64) -> bool {
    (chunk / CHUNKS_A_PACK).is_multiple_of(2) && chunk.is_multiple_of(LIVE_ONE_IN / 2)
}

fn put_pack(region: &Region, footer: &PackFooter, objects: Vec<u8>) {
    let number = region.ledger.reserve(MAKER).unwrap();
    let end = footer.finish(None).unwrap();
    let mut bytes = objects;
    bytes.extend_from_slice(&end.bytes);
    let name = layout::pack_name(region.vault_id, number, INCARNATION);
    region.store.put_if_absent(&name, &bytes).unwrap();
    let sealed = SealedPack {
        number,
        incarnation: INCARNATION,
        bytes: bytes.len() as u64,
        object_count: footer.entries().len() as u32,
        footer_digest: end.footer_digest,
    };
    region.ledger.seal(MAKER, &sealed).unwrap();
}

/// Packs of chunks without contents.
fn put_chunks(region: &Region) {
    for first in (0..CHUNKS).step_by(CHUNKS_A_PACK as usize) {
        let mut footer = PackFooter::new();
        for chunk in first..first + CHUNKS_A_PACK {
            footer.push(Kind::Chunk, STORED_BYTES, address(chunk), None);
        }
        put_pack(region, &footer, vec![0; CHUNKS_A_PACK as usize * STORED_BYTES as usize]);
    }
}

/// The tree over the live chunks, and the manifest of the one item.
fn put_item(region: &Region) -> ManifestDigest {
    let live: Vec<u64> = (0..CHUNKS).filter(|chunk| is_live(*chunk)).collect();
    let shape = TreeShape::new(live.len() as u64 * u64::from(CHUNK_BYTES), SEGMENT_BYTES, 256).unwrap();
    let keys = region.keys.clone();
    let (mut footer, mut objects, mut sealer) = (PackFooter::new(), Vec::new(), Sealer::new().unwrap());
    let mut seal = |level: u8, plaintext: &[u8]| {
        let mut stored = Vec::new();
        let address =
            sealer.seal(keys.sealing_keys(Kind::Node)?, Kind::Node, level, plaintext, &mut stored)?.address;
        footer.push(Kind::Node, stored.len() as u32, address, None);
        objects.extend_from_slice(&stored);
        Ok(address)
    };
    let mut tree = TreeBuilder::new(shape);
    for segment in live.chunks((SEGMENT_BYTES / CHUNK_BYTES) as usize) {
        let entry = |chunk: &u64| LeafEntry {
            plain_len: CHUNK_BYTES,
            address: address(*chunk),
            check: Check([1; 16]),
        };
        let entries: Vec<LeafEntry> = segment.iter().map(entry).collect();
        let leaf = seal(0, &encode_leaf(&entries).unwrap()).unwrap();
        tree.push(leaf, &mut seal).unwrap();
    }
    let root = tree.finish(&mut seal).unwrap();
    put_pack(region, &footer, objects);
    let body = ManifestBody {
        item: ItemId([1; 16]),
        checkpoint: CheckpointId([1; 16]),
        resource_id: "server-1".to_owned(),
        project_id: "project-1".to_owned(),
        started_ms: 1,
        ended_ms: 2,
        volumes: vec![ManifestVolume { volume_id: "disk-0".to_owned(), shape, root }],
    };
    let draft = ManifestDraft {
        incarnation: INCARNATION,
        sequence: 1,
        previous: ManifestDigest::ZERO,
        epochs: Vec::new(),
        object_count: 1,
        stored_bytes: 1,
        body: &body,
        description: &Description::default(),
    };
    let manifest = draft.sign(&region.identity, &region.keys).unwrap();
    let name = layout::manifest_name(region.vault_id, manifest.digest());
    region.store.put_if_absent(&name, manifest.bytes()).unwrap();
    manifest.digest()
}

#[test]
fn a_million_chunks_are_collected_in_bounded_memory() {
    let region = Region::new(1);
    region.ledger.begin(MAKER, None).unwrap();
    put_chunks(&region);
    let digest = put_item(&region);
    region.ledger.publish(MAKER, digest);
    let packs_before = region.store.list(&layout::packs_prefix(region.vault_id)).unwrap().len() as u64;

    let folder = tempfile::tempdir().unwrap();
    let sort_bytes = 1 << 20;
    let settings = CollectSettings { sort_bytes, rewrite_below_percent: 0, ..CollectSettings::default() };
    let order = CollectOrder { spill_folder: folder.path().join("spill"), settings };
    let collector = MemoryCollector::claim(&region.ledger, INCARNATION);
    let done = region.open().collect(&order, &collector, &NoProgress).unwrap();

    let live = (0..CHUNKS).filter(|chunk| is_live(*chunk)).count() as u64;
    assert!(done.live_object_count > live, "{} of {live} chunks and their nodes", done.live_object_count);
    assert_eq!(done.deleted_pack_count, CHUNKS / CHUNKS_A_PACK / 2, "every other pack is dead");
    let packs_after = region.store.list(&layout::packs_prefix(region.vault_id)).unwrap().len() as u64;
    assert_eq!(packs_before - packs_after, done.deleted_pack_count);
    println!(
        "{CHUNKS} chunks: {} KiB of records in memory at most, {} MiB spilled",
        done.sort_memory_bytes_most >> 10,
        done.spilled_bytes >> 20
    );
    let bound = 4 * sort_bytes as u64 + (16 << 20);
    assert!(done.sort_memory_bytes_most <= bound, "{} of {bound}", done.sort_memory_bytes_most);
    assert!(done.spilled_bytes > 40 << 20, "the records did not fit into memory");
}
