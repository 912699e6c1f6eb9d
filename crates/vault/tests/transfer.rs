//! An item arrives whole, whatever happens on the way, and moves only what is missing.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use vault::error::VaultError;
use vault::ids::{Address, DomainId, Epoch, Kind, ManifestDigest};
use vault::keys::{DomainKeys, EpochKeys};
use vault::object::Sealer;
use vault::progress::NoProgress;
use vault::receipt::{Level, Mode};
use vault::restore::VerifyLevel;
use vault::store::{ObjectStore, SimulatedFault};
use vault::transfer::wire::{BatchWriter, decode_batch};
use vault::transfer::{Asked, Ingest, IngestOrder, IngestVerified, PeerError};
use vault::vault::Vault;
use world::link::{Cut, Link, copy_order, transfer};
use world::{Disk, Region, back_up, noise, order, restore, settings};

const SIZE: u64 = 2 << 20;

struct Story {
    source: Region,
    vault: Vault,
    disk: Disk,
    manifest: ManifestDigest,
}

/// A source region with one item.
fn story(disk: Disk) -> Story {
    let source = Region::new(1);
    let vault = source.open();
    let manifest = back_up(&source, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
    Story { source, vault, disk, manifest }
}

fn destination(story: &Story) -> Region {
    Region::replica_of(&story.source, 2, story.source.keys.clone())
}

fn check_replica(destination: &Region, manifest: ManifestDigest, disk: &Disk) {
    let vault = destination.open();
    vault.verify_item(manifest, VerifyLevel::Opened, &NoProgress).unwrap();
    let restored = restore(&vault, manifest, 0, disk.size()).unwrap();
    assert!(restored.bytes() == disk.bytes(), "the replica restores to something else");
}

#[test]
fn a_replica_restores_with_the_source_gone() {
    for threads in [1, 3] {
        let mut story = story(Disk::random(6 << 20, 1));
        story.source.settings = settings(threads);
        drop(story.vault);
        story.vault = story.source.open();
        let mut destination = destination(&story);
        destination.settings = settings(threads);
        let link = Link::new(&destination, 1);
        let copies = transfer(&story.vault, &copy_order(story.manifest, &[]), &link).unwrap();
        assert_eq!((copies.len(), copies[0].resent_bytes), (1, 0));
        assert_eq!(copies[0].sent_bytes, link.object_bytes());
        drop(link);
        let manifest = story.manifest;
        let disk = story.disk.copy();
        drop(story);
        check_replica(&destination, manifest, &disk);
        let objects = destination.store.objects();
        assert!(objects.keys().any(|name| name.ends_with(&format!("{manifest}.manifest"))));
    }
}

#[test]
fn a_replica_says_what_was_checked_and_what_it_holds() {
    let story = story(Disk::random(SIZE, 2));
    let destination = destination(&story);
    let vault = destination.open();
    let manifest = story.vault.read_manifest(story.manifest).unwrap();
    let walked = ingest_all(&story, &vault, 9);
    assert_eq!((walked.manifest, walked.domain), (story.manifest, story.source.keys.domain()));
    assert_eq!((walked.mode, walked.level), (Mode::Restorable, Level::Stored));
    assert_eq!(
        (walked.object_count, walked.stored_bytes),
        (manifest.fields().object_count, manifest.fields().stored_bytes)
    );
    assert!(walked.new_stored_bytes > 0 && walked.new_stored_bytes <= walked.stored_bytes);
}

/// Takes everything of the story in by hand.
fn ingest_all(story: &Story, vault: &Vault, number: u8) -> vault::transfer::Walked {
    let link = Recorder::default();
    story.vault.copy_item(&copy_order(story.manifest, &[]), &link, &NoProgress).unwrap();
    let ingest = open_ingest(story, vault, number);
    for batch in link.batches.into_inner().unwrap() {
        ingest.receive(&batch).unwrap();
    }
    match ingest.verify(&NoProgress).unwrap() {
        IngestVerified::Complete(walked) => walked,
        IngestVerified::Missing(missing) => panic!("{missing:?}"),
    }
}

fn open_ingest(story: &Story, vault: &Vault, number: u8) -> Ingest {
    let manifest = story.vault.read_manifest(story.manifest).unwrap().bytes().to_vec();
    let operation = order(number, &[]).operation;
    Ingest::open(vault, &IngestOrder { operation, manifest, bases: Vec::new(), bytes_max: u64::MAX }).unwrap()
}

/// A peer that wants everything and keeps the batches.
#[derive(Default)]
struct Recorder {
    batches: std::sync::Mutex<Vec<Vec<u8>>>,
}

impl vault::transfer::Peer for Recorder {
    fn open(&self, _: &vault::transfer::Offer) -> Result<vault::transfer::Opened, PeerError> {
        Ok(vault::transfer::Opened::New { base: None })
    }

    fn want(&self, asked: &[Asked]) -> Result<Vec<bool>, PeerError> {
        Ok(vec![true; asked.len()])
    }

    fn send(&self, batch: &[u8]) -> Result<vault::transfer::Acknowledged, PeerError> {
        self.batches.lock().unwrap().push(batch.to_vec());
        Ok(vault::transfer::Acknowledged::default())
    }

    fn verify(&self) -> Result<vault::transfer::Verification, PeerError> {
        Err(PeerError::Busy)
    }

    fn publish(&self) -> Result<Vec<u8>, PeerError> {
        Err(PeerError::Busy)
    }
}

#[test]
fn nodes_come_after_all_their_children() {
    let story = story(Disk::random(12 << 20, 3));
    let recorder = Recorder::default();
    story.vault.copy_item(&copy_order(story.manifest, &[]), &recorder, &NoProgress).unwrap();
    let batches = recorder.batches.into_inner().unwrap();
    let frames: Vec<Asked> =
        batches.iter().flat_map(|batch| decode_batch(batch).unwrap()).map(|frame| frame.asked).collect();
    let positions: std::collections::HashMap<Address, usize> =
        frames.iter().enumerate().map(|(position, asked)| (asked.address, position)).collect();
    assert_eq!(positions.len(), frames.len(), "something was sent twice");
    let levels: Vec<u8> =
        frames.iter().filter(|asked| asked.kind == Kind::Node).map(|asked| asked.level).collect();
    assert!(levels.contains(&1) && levels.last() == levels.iter().max(), "{levels:?}");
    assert_eq!(frames[0].kind, Kind::Chunk);
}

#[test]
fn a_link_cut_at_any_message_costs_no_more_than_that_message() {
    for cut in [Cut::Before, Cut::After] {
        for message in 1.. {
            let story = story(Disk::random(SIZE, 4));
            let destination = destination(&story);
            let link = Link::new(&destination, 1);
            link.cut_at(message, cut);
            let copies = transfer(&story.vault, &copy_order(story.manifest, &[]), &link).unwrap();
            let unique = Recorder::default();
            story.vault.copy_item(&copy_order(story.manifest, &[]), &unique, &NoProgress).unwrap();
            assert_eq!(copies.iter().map(|copied| copied.resent_bytes).sum::<u64>(), 0, "{cut:?} {message}");
            let received = link.object_bytes();
            let was_cut = !link.is_cut_waiting();
            drop(link);
            check_replica(&destination, story.manifest, &story.disk);
            let again = Link::new(&destination, 2);
            let copies = transfer(&story.vault, &copy_order(story.manifest, &[]), &again).unwrap();
            assert!(copies[0].receipt.is_some() && again.object_bytes() == 0, "{cut:?} {message}");
            if !was_cut {
                let sent: usize = unique
                    .batches
                    .into_inner()
                    .unwrap()
                    .iter()
                    .flat_map(|batch| decode_batch(batch).unwrap())
                    .map(|frame| frame.stored.len())
                    .sum();
                assert_eq!(received, sent as u64);
                break;
            }
        }
    }
}

#[test]
fn a_destination_killed_after_any_message_continues_from_its_synced_packs() {
    for message in 1.. {
        let story = story(Disk::random(SIZE, 5));
        let destination = destination(&story);
        let link = Link::new(&destination, 1);
        link.cut_at(message, Cut::Kill);
        transfer(&story.vault, &copy_order(story.manifest, &[]), &link).unwrap();
        let was_cut = !link.is_cut_waiting();
        drop(link);
        check_replica(&destination, story.manifest, &story.disk);
        if !was_cut {
            break;
        }
    }
}

#[test]
fn cuts_and_kills_with_many_threads_and_connections_end_in_the_same_replica() {
    let mut story = story(Disk::random(4 << 20, 21));
    story.source.settings = settings(3);
    drop(story.vault);
    story.vault = story.source.open();
    for cut in [Cut::Before, Cut::After, Cut::Kill] {
        for message in 1.. {
            let mut destination = destination(&story);
            destination.settings = settings(3);
            let link = Link::new(&destination, 1);
            link.cut_at(message, cut);
            transfer(&story.vault, &copy_order(story.manifest, &[]), &link).unwrap();
            let was_cut = !link.is_cut_waiting();
            drop(link);
            check_replica(&destination, story.manifest, &story.disk);
            if !was_cut {
                break;
            }
        }
    }
}

#[test]
fn every_failing_store_call_of_the_destination_passes() {
    let story = story(Disk::random(1 << 20, 22));
    for fault in [SimulatedFault::Unavailable, SimulatedFault::Full, SimulatedFault::Unanswered] {
        for call in (1..).step_by(3) {
            let destination = destination(&story);
            let link = Link::new(&destination, 1);
            destination.store.fail_call(call, fault);
            let mut outcome = transfer(&story.vault, &copy_order(story.manifest, &[]), &link);
            let struck = !destination.store.is_fault_waiting();
            if let Err(error) = &outcome {
                assert!(error.is_passing(), "{fault:?} at call {call}: {error:?}");
                link.restart();
                outcome = transfer(&story.vault, &copy_order(story.manifest, &[]), &link);
            }
            outcome.unwrap_or_else(|error| panic!("{fault:?} at call {call}, the second time: {error:?}"));
            drop(link);
            if !struck {
                break;
            }
            check_replica(&destination, story.manifest, &story.disk);
        }
    }
}

#[test]
fn a_destination_that_is_killed_again_and_again_loses_only_unsynced_packs() {
    let story = story(Disk::random(4 << 20, 6));
    let mut destination = destination(&story);
    destination.settings.pack_bytes_target = 32 << 10;
    let link = Link::new(&destination, 1);
    // Open, two questions about nodes, one about chunks; the fifth message brings the chunks.
    for _ in 0..3 {
        link.cut_at(link.message_count() + 5, Cut::Kill);
        let _ = story.vault.copy_item(&copy_order(story.manifest, &[]), &link, &NoProgress);
    }
    let first = link.object_bytes();
    transfer(&story.vault, &copy_order(story.manifest, &[]), &link).unwrap();
    assert!(link.object_bytes() - first < 200 << 10, "{} bytes again", link.object_bytes() - first);
    drop(link);
    check_replica(&destination, story.manifest, &story.disk);
}

#[test]
fn the_same_contents_move_nothing_a_second_time() {
    let story = story(Disk::random(SIZE, 7));
    let destination = destination(&story);
    let link = Link::new(&destination, 1);
    transfer(&story.vault, &copy_order(story.manifest, &[]), &link).unwrap();
    let same = back_up(&story.source, &story.vault, &order(2, &[story.manifest]), &[&story.disk]).unwrap();
    drop(link);
    let link = Link::new(&destination, 2);
    let copies =
        transfer(&story.vault, &copy_order(same.manifest.digest(), &[story.manifest]), &link).unwrap();
    assert_eq!((copies[0].base, copies[0].sent_count, link.object_bytes()), (Some(story.manifest), 0, 0));
    assert_eq!(copies[0].asked_count, 0, "an equal root needs no question");
    drop(link);
    check_replica(&destination, same.manifest.digest(), &story.disk);
}

#[test]
fn a_second_item_moves_what_changed() {
    let story = story(Disk::random(10 << 20, 8));
    let destination = destination(&story);
    transfer(&story.vault, &copy_order(story.manifest, &[]), &Link::new(&destination, 1)).unwrap();
    let grown = story.disk.grown(11 << 20);
    grown.put(7 << 20, &noise(1, 4096));
    check_change(&story, &destination, &grown, 20);
}

#[test]
fn trees_of_other_depth_are_compared_place_by_place() {
    // 256 segments of 32 KiB make one inner node: 8 MiB is the border between two and three levels.
    for (before, after) in
        [(4 << 20, 12 << 20), (12 << 20, 4 << 20), (32 << 10, 12 << 20), (12 << 20, 32 << 10)]
    {
        let story = story(Disk::random(before, 23));
        let destination = destination(&story);
        transfer(&story.vault, &copy_order(story.manifest, &[]), &Link::new(&destination, 1)).unwrap();
        check_change(&story, &destination, &story.disk.grown(after), 40);
    }
}

/// Backs up and transfers what became of the disk; what moves is what the source had to store.
fn check_change(story: &Story, destination: &Region, grown: &Disk, asked_max: u64) {
    let second = back_up(&story.source, &story.vault, &order(2, &[story.manifest]), &[grown]).unwrap();
    let link = Link::new(destination, 2);
    let copies =
        transfer(&story.vault, &copy_order(second.manifest.digest(), &[story.manifest]), &link).unwrap();
    assert_eq!(copies[0].sent_bytes, second.new_stored_bytes);
    assert!(copies[0].asked_count < asked_max, "{} questions", copies[0].asked_count);
    drop(link);
    check_replica(destination, second.manifest.digest(), grown);
}

/// Transfers a second item after `spoil` did something to the base; returns the object bytes moved.
fn with_spoilt_base(spoil: impl FnOnce(&Story, &Region)) -> u64 {
    let story = story(Disk::random(4 << 20, 9));
    let destination = destination(&story);
    transfer(&story.vault, &copy_order(story.manifest, &[]), &Link::new(&destination, 1)).unwrap();
    story.disk.put(1 << 20, &noise(1, 4096));
    let second = back_up(&story.source, &story.vault, &order(2, &[]), &[&story.disk]).unwrap();
    spoil(&story, &destination);
    let link = Link::new(&destination, 2);
    transfer(&story.vault, &copy_order(second.manifest.digest(), &[story.manifest]), &link).unwrap();
    let moved = link.object_bytes();
    drop(link);
    check_replica(&destination, second.manifest.digest(), &story.disk);
    moved
}

#[test]
fn a_base_that_expired_on_either_side_costs_questions_and_nodes_but_no_chunks() {
    let with_base = with_spoilt_base(|_, _| ());
    let at_destination = with_spoilt_base(|story, destination| destination.ledger.expire(story.manifest));
    let at_source = with_spoilt_base(|story, _| {
        let name = format!("{}.manifest", story.manifest);
        let objects = story.source.store.objects();
        let name = objects.keys().find(|found| found.ends_with(&name)).unwrap();
        story.source.store.delete(name).unwrap();
    });
    let lost_there = with_spoilt_base(|story, destination| {
        let name = format!("{}.manifest", story.manifest);
        let objects = destination.store.objects();
        destination.store.lose(objects.keys().find(|found| found.ends_with(&name)).unwrap());
    });
    for moved in [at_destination, at_source, lost_there] {
        assert!(with_base < moved && moved < with_base + (120 << 10), "{with_base} {moved}");
    }
}

#[test]
fn chunks_whose_packs_were_condemned_are_sent_again() {
    let story = story(Disk::random(SIZE, 10));
    let destination = destination(&story);
    let link = Link::new(&destination, 1);
    transfer(&story.vault, &copy_order(story.manifest, &[]), &link).unwrap();
    let first = link.object_bytes();
    destination.ledger.expire(story.manifest);
    for pack in destination.ledger.packs() {
        destination.ledger.condemn(pack.number);
        destination.store.delete(&pack.name).unwrap();
    }
    drop(link);
    let link = Link::new(&destination, 2);
    transfer(&story.vault, &copy_order(story.manifest, &[story.manifest]), &link).unwrap();
    assert_eq!(link.object_bytes(), first);
    drop(link);
    check_replica(&destination, story.manifest, &story.disk);
}

#[test]
fn what_a_source_left_out_is_found_by_the_proof_and_sent() {
    let story = story(Disk::random(12 << 20, 11));
    let recorder = Recorder::default();
    story.vault.copy_item(&copy_order(story.manifest, &[]), &recorder, &NoProgress).unwrap();
    let batches = recorder.batches.into_inner().unwrap();
    let frames: Vec<Asked> =
        batches.iter().flat_map(|batch| decode_batch(batch).unwrap()).map(|frame| frame.asked).collect();
    let nodes = || frames.iter().filter(|asked| asked.kind == Kind::Node);
    let some = [
        frames[0],
        frames[frames.len() / 3],
        *nodes().next().unwrap(),
        *nodes().find(|asked| asked.level == 1).unwrap(),
        *nodes().next_back().unwrap(),
    ];
    for hidden in some {
        let destination = destination(&story);
        let link = Link::new(&destination, 1);
        link.hide(hidden);
        let copies = transfer(&story.vault, &copy_order(story.manifest, &[]), &link).unwrap();
        assert!(copies.len() > 1, "the proof did not miss {hidden:?}");
        drop(link);
        check_replica(&destination, story.manifest, &story.disk);
    }
}

#[test]
fn a_received_node_that_cannot_be_read_back_is_asked_for_again() {
    let story = story(Disk::random(SIZE, 12));
    let destination = destination(&story);
    let vault = destination.open();
    let recorder = Recorder::default();
    story.vault.copy_item(&copy_order(story.manifest, &[]), &recorder, &NoProgress).unwrap();
    let batches = recorder.batches.into_inner().unwrap();
    {
        let ingest = open_ingest(&story, &vault, 1);
        batches.iter().for_each(|batch| assert!(ingest.receive(batch).is_ok()));
        assert!(matches!(ingest.verify(&NoProgress).unwrap(), IngestVerified::Complete(_)));
    }
    // Before the item is published, the disk loses what it had acknowledged: the pack of nodes.
    let node = batches
        .iter()
        .flat_map(|batch| decode_batch(batch).unwrap())
        .find(|frame| frame.asked.kind == Kind::Node);
    let node = node.unwrap();
    let packs = destination.store.objects();
    let holds = |bytes: &[u8]| bytes.windows(64).any(|window| window == &node.stored[..64]);
    let pack = packs.iter().find(|(name, bytes)| name.ends_with(".pack") && holds(bytes)).unwrap().0;
    let ingest = open_ingest(&story, &vault, 1);
    assert!(ingest.is_resumed());
    destination.store.tamper(pack, |bytes| bytes[100] ^= 1);
    let IngestVerified::Missing(missing) = ingest.verify(&NoProgress).unwrap() else {
        panic!("damage was missed")
    };
    assert!(missing.iter().all(|asked| asked.kind == Kind::Node));
    assert!(ingest.want(&missing).unwrap().iter().all(|is_missing| *is_missing));
}

#[test]
fn a_sealed_destination_stores_and_proves_without_data_keys() {
    let story = story(Disk::random(SIZE, 13));
    let mut keys = DomainKeys::sealed(story.source.keys.domain());
    for (epoch, epoch_keys) in story.source.keys.epochs() {
        keys.add_epoch(epoch, EpochKeys { data: None, structure: epoch_keys.structure.clone() }).unwrap();
    }
    let destination = Region::replica_of(&story.source, 2, keys);
    let link = Link::new(&destination, 1);
    let copied = story.vault.copy_item(&copy_order(story.manifest, &[]), &link, &NoProgress).unwrap();
    assert!(copied.sent_count > 0);
    assert!(matches!(vault::transfer::Peer::verify(&link), Ok(vault::transfer::Verification::Complete)));
    assert_eq!(link.walked().unwrap().mode, Mode::Sealed);
    drop(link);
    let vault = destination.open();
    vault.verify_item(story.manifest, VerifyLevel::Stored, &NoProgress).unwrap();
    assert!(matches!(restore(&vault, story.manifest, 0, SIZE), Err(VaultError::KeyMissing { .. })));
}

#[test]
fn an_epoch_without_keys_at_the_destination_is_not_published() {
    let mut story = story(Disk::random(SIZE, 14));
    let old_keys = story.source.keys.clone();
    let entropy = vault::seams::SeededEntropy::new(5);
    story.source.keys.begin_epoch(&entropy).unwrap();
    story.vault.set_keys(story.source.keys.clone()).unwrap();
    story.disk.put(0, &noise(3, 9000));
    let second = back_up(&story.source, &story.vault, &order(2, &[]), &[&story.disk]).unwrap();
    assert_eq!(second.manifest.fields().epochs, [Epoch(1), Epoch(2)]);
    let destination = Region::replica_of(&story.source, 2, old_keys);
    let link = Link::new(&destination, 1);
    let outcome = transfer(&story.vault, &copy_order(second.manifest.digest(), &[]), &link);
    assert!(matches!(outcome, Err(VaultError::Peer { cause: PeerError::Refused { .. }, .. })));
    assert!(destination.store.objects().keys().all(|name| !name.ends_with(".manifest")));
}

#[test]
fn a_grant_that_is_used_up_ends_the_transfer_as_full() {
    let story = story(Disk::random(SIZE, 15));
    let destination = destination(&story);
    let link = Link::new(&destination, 1);
    link.grant(100 << 10);
    let outcome = transfer(&story.vault, &copy_order(story.manifest, &[]), &link);
    assert!(matches!(outcome, Err(VaultError::Peer { cause: PeerError::Full, .. })));
}

#[test]
fn a_grant_is_not_renewed_by_a_new_attempt() {
    let story = story(Disk::random(SIZE, 15));
    let manifest = story.vault.read_manifest(story.manifest).unwrap();
    let destination = destination(&story);
    let link = Link::new(&destination, 1);
    link.grant(manifest.fields().stored_bytes / 2);
    for _ in 0..5 {
        let outcome = story.vault.copy_item(&copy_order(story.manifest, &[]), &link, &NoProgress);
        assert!(matches!(outcome, Err(VaultError::Peer { cause: PeerError::Full, .. })));
        link.restart();
    }
    let packs = destination.ledger.packs();
    let kept: u64 = packs.iter().map(|pack| pack.bytes).sum();
    assert!(
        kept <= manifest.fields().stored_bytes / 2 + 4096 * packs.len() as u64,
        "{kept} bytes were taken in"
    );
}

#[test]
fn damage_at_the_source_is_told_there_and_never_sent() {
    let story = story(Disk::random(SIZE, 16));
    let destination = destination(&story);
    let objects = story.source.store.objects();
    for name in objects.keys().filter(|name| name.ends_with(".pack")) {
        story.source.store.tamper(name, |bytes| {
            let at = bytes.len() / 3;
            bytes[at] ^= 1;
        });
    }
    let outcome = transfer(&story.vault, &copy_order(story.manifest, &[]), &Link::new(&destination, 1));
    assert!(matches!(outcome, Err(VaultError::Corrupt { .. })));
}

#[test]
fn hostile_batches_are_refused_whole() {
    let story = story(Disk::random(SIZE, 17));
    let destination = destination(&story);
    let vault = destination.open();
    let ingest = open_ingest(&story, &vault, 1);
    let mut sealer = Sealer::new().unwrap();
    let mut seal = |keys: &DomainKeys, kind: Kind, level: u8| {
        let mut stored = Vec::new();
        let sealed =
            sealer.seal(keys.sealing_keys(kind).unwrap(), kind, level, &[7; 500], &mut stored).unwrap();
        (Asked { kind, level, address: sealed.address }, stored)
    };
    let keys = &story.source.keys;
    let good = seal(keys, Kind::Chunk, 0);
    let (node, node_bytes) = seal(keys, Kind::Node, 2);
    let mut later = keys.clone();
    later.begin_epoch(&vault::seams::SeededEntropy::new(1)).unwrap();
    let foreign = DomainKeys::generate(&vault::seams::SeededEntropy::new(77));
    assert_ne!(foreign.domain(), DomainId::ZERO);
    let body = seal(keys, Kind::ManifestBody, 0);
    let mut flipped = good.1.clone();
    flipped[80] ^= 1;
    let as_other = |asked: Asked, kind, level| Asked { kind, level, ..asked };
    let hostile = [
        ("bytes of another address", (good.0, flipped)),
        ("a chunk of another domain", seal(&foreign, Kind::Chunk, 0)),
        ("an epoch that is not listed", seal(&later, Kind::Chunk, 0)),
        ("a node sent as a chunk", (as_other(node, Kind::Chunk, 0), node_bytes.clone())),
        ("a node of another level", (as_other(node, Kind::Node, 1), node_bytes.clone())),
        ("a body sent as a chunk", (as_other(body.0, Kind::Chunk, 0), body.1.clone())),
        ("a kind that does not travel", body),
    ];
    let batch = |objects: &[&(Asked, Vec<u8>)]| {
        let mut batch = BatchWriter::new();
        objects.iter().for_each(|(asked, stored)| batch.push(*asked, stored));
        batch.into_bytes()
    };
    for (what, object) in &hostile {
        let outcome = ingest.receive(&batch(&[&good, object]));
        assert!(
            matches!(outcome, Err(VaultError::Refused { .. } | VaultError::BadFormat { .. })),
            "{what}: {outcome:?}"
        );
        assert_eq!(ingest.want(&[good.0]).unwrap(), [true], "{what}: a part of the batch was taken");
    }
    let sound = batch(&[&good, &(node, node_bytes)]);
    for length in 0..sound.len() {
        if let Ok(acknowledged) = ingest.receive(&sound[..length]) {
            assert_eq!(acknowledged.stored_count, 1, "only a cut between objects leaves a batch");
        }
    }
    let acknowledged = ingest.receive(&sound).unwrap();
    assert_eq!((acknowledged.stored_count, acknowledged.duplicate_count), (1, 1));
    assert!(ingest.receive(&vec![0; 9 << 20]).is_err());
    assert!(ingest.want(&vec![good.0; 10_000]).is_err());
    assert!(matches!(ingest.verify(&NoProgress).unwrap(), IngestVerified::Missing(_)));
}

#[test]
fn a_manifest_of_a_stranger_or_of_another_domain_opens_nothing() {
    let story = story(Disk::random(SIZE, 18));
    let manifest = story.vault.read_manifest(story.manifest).unwrap().bytes().to_vec();
    let order = IngestOrder { operation: order(1, &[]).operation, manifest, bases: Vec::new(), bytes_max: 0 };
    let mut stranger = destination(&story);
    stranger.signers = world::identity(99).signers();
    assert!(matches!(Ingest::open(&stranger.open(), &order), Err(VaultError::Refused { .. })));
    let mut other = Region::new(3);
    other.signers = story.source.identity.signers();
    assert!(matches!(Ingest::open(&other.open(), &order), Err(VaultError::Refused { .. })));
}
