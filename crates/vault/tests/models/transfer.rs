//! The transfer of one item to another region: two manifests that may expire, a link that loses requests and answers or
//! delivers them late, both sides killed, a destination that collects garbage and gives up.
//!
//! What is modelled, and the sentence of the design it stands for:
//!
//! | action | sentence |
//! |---|---|
//! | `Register` | the source registers the base it will compare with; checked live in that transaction |
//! | `Call(Open)` | *Open*: the destination answers new, resume or complete with the receipt; it pins and names one base that is live there, or none |
//! | `Call(Want)` | *Difference*: a node counts as present only if reachable from the base or completed in this transfer; a chunk when indexed and pinned. Children before parents, each once |
//! | `Call(Send)` | *Send*: the answer acknowledges; what is acknowledged may still lie in an unsynced pack, one for chunks and one for nodes |
//! | `Seal` | the destination packs and syncs, in any order |
//! | `Call(Publish)` | *Publish*: the new nodes walked, completeness proved, one transaction; then the receipt. What is missing is named instead, and sent again |
//! | `Expire…`, `Collect…` | retention and collection of either side at any time. Collection is one action, by the other model |
//! | `Restart…` | the source forgets its walk; the destination loses at most one unsynced pack per stream |
//! | `GiveUp` | the destination ends a transfer that it holds for abandoned |
//! | `Arrive` | a request that the source gave up on arrives late: a growing attempt number tells it from the newer ones |
//!
//! The new tree: root → {shared node → chunk 0, new node → chunk 1}. The base, live at both sides: base root → {shared
//! node}. The destination has chunk 1, and even the new node, from an item that may expire there; the node lies in one
//! pack with the shared node, so it can outlive its chunk.

use stateright::{Model, Property};

use super::{check_all_states, check_fault_is_found};

/// A set of objects, by bits.
type Set = u8;
/// A set of packs, by bits of their numbers.
type PackSet = u16;

const CHUNK_0: Set = 1;
const CHUNK_1: Set = 2;
const SHARED_NODE: Set = 4;
const NEW_NODE: Set = 8;
const ROOT: Set = 16;
const BASE_ROOT: Set = 32;

const CHUNKS: Set = CHUNK_0 | CHUNK_1;
const NEW_TREE: Set = CHUNKS | SHARED_NODE | NEW_NODE | ROOT;
const BASE_TREE: Set = CHUNK_0 | SHARED_NODE | BASE_ROOT;
const OTHER_TREE: Set = CHUNK_1 | NEW_NODE;
/// Children before parents.
const ORDER: [Set; 5] = [CHUNK_0, CHUNK_1, SHARED_NODE, NEW_NODE, ROOT];

/// A simpler rule that looks right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// The destination counts a node as present because its index knows it, and what is below it too.
    NodeBecauseIndexed,
    /// The destination looks at the base when it opens and pins it only when it publishes.
    DestinationPinsBaseLate,
    /// A chunk counts as present when indexed; nothing is pinned.
    ChunkNotPinned,
    /// What was acknowledged is taken for stored: publishing walks nothing.
    AcknowledgedIsStored,
    /// Publishing again makes another replica instead of answering with the same receipt.
    PublishTwice,
    /// The source believes that it is done once it has asked to publish.
    DoneWithoutReceipt,
    /// The source compares with a base that it has not registered.
    SourcePinsBaseLate,
    /// The destination takes a late request for one of now.
    LateRequestsTaken,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Request {
    Open { has_base: bool },
    Want(Set),
    Send(Set),
    Publish,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Opened {
        has_base: bool,
    },
    Complete {
        receipt: u8,
    },
    Present,
    Missing(Set),
    Acknowledged,
    /// The transfer is unknown, or a newer attempt is under way.
    Refused,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Works,
    /// The destination did it, the source does not hear.
    LosesAnswer,
    /// The source does not hear, and the request may arrive later, or never.
    HoldsRequest,
}

/// What the source process knows; all of it is gone after a kill.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Walk {
    /// The base agreed on, once the destination has answered.
    agreed: Option<bool>,
    /// Objects that the destination has, as far as the source heard.
    settled: Set,
    /// Objects that the destination said it lacks.
    wanted: Set,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Source {
    is_base_live: bool,
    /// The base's root can still be read.
    is_base_stored: bool,
    /// The operation of this record, with its base. None: not registered yet.
    operation: Option<bool>,
    attempt: u8,
    walk: Option<Walk>,
    /// The record is done, with this receipt.
    receipt: Option<u8>,
    has_missed_an_object: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Transfer {
    attempt: u8,
    has_base: bool,
    pins: PackSet,
    /// Packs that this operation made.
    packs: PackSet,
    /// Received, acknowledged, not synced: one pack for chunks, one for nodes.
    unsynced: Set,
    /// What was acknowledged, and what was found in the index: only a faulty destination believes these.
    acknowledged: Set,
    indexed: Set,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Destination {
    /// Content of each pack; 0 once it was collected.
    packs: Vec<Set>,
    is_base_live: bool,
    is_other_live: bool,
    transfer: Option<Transfer>,
    replicas: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    source: Source,
    destination: Destination,
    late: Option<(u8, Request)>,
    troubles_left: Troubles,
}

/// How much bad luck one world may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Troubles {
    lost_answers: u8,
    held_requests: u8,
    source_kills: u8,
    destination_kills: u8,
    give_ups: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Register,
    Call(Request, Link),
    Arrive,
    RestartSource,
    RestartDestination,
    SealChunks,
    SealNodes,
    GiveUp,
    ExpireBaseAtSource,
    CollectAtSource,
    ExpireBaseAtDestination,
    ExpireOther,
    CollectAtDestination,
}

struct Replication {
    fault: Fault,
    troubles: Troubles,
}

impl Source {
    /// What a walk has to settle: the tree without what is reachable from the agreed base.
    fn next_request(&self) -> Request {
        let Some(walk) = &self.walk else { return Request::Open { has_base: self.operation == Some(true) } };
        let Some(has_base) = walk.agreed else {
            return Request::Open { has_base: self.operation == Some(true) };
        };
        let unsettled = difference(has_base) & !walk.settled;
        if let Some(object) = ORDER.into_iter().find(|object| walk.wanted & object != 0) {
            return Request::Send(object);
        }
        match ORDER.into_iter().find(|object| unsettled & object != 0) {
            Some(object) => Request::Want(object),
            None => Request::Publish,
        }
    }

    fn hear(&mut self, request: Request, answer: Answer) {
        let walk = self.walk.get_or_insert(Walk { agreed: None, settled: 0, wanted: 0 });
        match (request, answer) {
            (_, Answer::Opened { has_base }) => {
                // Comparing the trees reads the root of the base.
                self.has_missed_an_object |= has_base && !self.is_base_stored;
                walk.agreed = Some(has_base);
            }
            (_, Answer::Complete { receipt }) => self.receipt = Some(receipt),
            (Request::Want(object), Answer::Present) => walk.settled |= object,
            (Request::Send(object), Answer::Acknowledged) => {
                walk.settled |= object;
                walk.wanted &= !object;
            }
            (_, Answer::Missing(objects)) => {
                walk.settled &= !objects;
                walk.wanted |= objects;
            }
            // Refused, or an answer to nothing that was asked: open again.
            _ => self.walk = None,
        }
    }
}

fn difference(has_base: bool) -> Set {
    if has_base { NEW_TREE & !BASE_TREE } else { NEW_TREE }
}

impl Destination {
    fn stored(&self) -> Set {
        self.packs.iter().fold(0, |all, pack| all | pack)
    }

    fn packs_with(&self, object: Set) -> PackSet {
        let holding = self.packs.iter().enumerate().filter(|(_, pack)| *pack & object != 0);
        holding.fold(0, |all, (number, _)| all | 1 << number)
    }

    /// What the transfer made and synced.
    fn made(&self, transfer: &Transfer) -> Set {
        let own = self.packs.iter().enumerate().filter(|(number, _)| transfer.packs & 1 << number != 0);
        own.fold(0, |all, (_, pack)| all | pack)
    }

    fn seal(&mut self, objects: Set) {
        let Some(transfer) = &mut self.transfer else { return };
        let sealed = transfer.unsynced & objects;
        if sealed != 0 {
            transfer.unsynced &= !objects;
            transfer.packs |= 1 << self.packs.len();
            self.packs.push(sealed);
        }
    }

    /// Objects that keep their packs: of live manifests and of the open transfer's base.
    fn marked(&self, fault: Fault) -> Set {
        let has_base = self.transfer.as_ref().is_some_and(|transfer| transfer.has_base);
        let is_base_root = self.is_base_live || has_base && fault != Fault::DestinationPinsBaseLate;
        let base = if is_base_root { BASE_TREE } else { 0 };
        let other = if self.is_other_live { OTHER_TREE } else { 0 };
        let replica = if self.replicas > 0 { NEW_TREE } else { 0 };
        base | other | replica
    }

    /// One collection from snapshot to deletion. Of duplicates the copy in the newest pack is kept.
    fn collect(&mut self, fault: Fault) {
        let marked = self.marked(fault);
        let held = self.transfer.as_ref().map_or(0, |transfer| transfer.pins | transfer.packs);
        let mut kept: Set = 0;
        for number in (0..self.packs.len()).rev() {
            let needed = self.packs[number] & marked & !kept;
            if needed == 0 && held & 1 << number == 0 {
                self.packs[number] = 0;
            }
            kept |= self.packs[number];
        }
    }
}

impl Replication {
    fn handle(&self, destination: &mut Destination, attempt: u8, request: Request) -> Answer {
        if let Request::Open { has_base } = request {
            return self.open(destination, attempt, has_base);
        }
        let Some(transfer) = &destination.transfer else {
            return self.without_transfer(destination, request);
        };
        if transfer.attempt != attempt && self.fault != Fault::LateRequestsTaken {
            return Answer::Refused;
        }
        match request {
            Request::Want(object) => self.want(destination, object),
            Request::Send(object) => send(destination, object),
            _ => self.publish(destination),
        }
    }

    fn open(&self, destination: &mut Destination, attempt: u8, is_base_offered: bool) -> Answer {
        if destination.replicas > 0 && self.fault != Fault::PublishTwice {
            return Answer::Complete { receipt: destination.replicas };
        }
        let is_late_taken = self.fault == Fault::LateRequestsTaken;
        if destination.transfer.as_ref().is_some_and(|transfer| transfer.attempt > attempt) && !is_late_taken
        {
            return Answer::Refused;
        }
        let can_use_base = is_base_offered && destination.is_base_live;
        let new = Transfer {
            attempt,
            has_base: can_use_base,
            pins: 0,
            packs: 0,
            unsynced: 0,
            acknowledged: 0,
            indexed: 0,
        };
        let transfer = destination.transfer.get_or_insert(new);
        transfer.attempt = transfer.attempt.max(attempt);
        // A base that the operation holds already stays a root, also when it expired since.
        transfer.has_base = is_base_offered && (transfer.has_base || can_use_base);
        Answer::Opened { has_base: transfer.has_base }
    }

    /// A request for a transfer that is over: published, or given up.
    fn without_transfer(&self, destination: &mut Destination, request: Request) -> Answer {
        match request {
            Request::Publish if destination.replicas > 0 && self.fault == Fault::PublishTwice => {
                destination.replicas += 1;
                Answer::Complete { receipt: destination.replicas }
            }
            Request::Publish if destination.replicas > 0 => {
                Answer::Complete { receipt: destination.replicas }
            }
            _ => Answer::Refused,
        }
    }

    fn want(&self, destination: &mut Destination, object: Set) -> Answer {
        let indexed = destination.packs_with(object);
        let Some(transfer) = &destination.transfer else { return Answer::Refused };
        let own = destination.made(transfer) | transfer.unsynced;
        let is_present = match object & CHUNKS != 0 {
            _ if own & object != 0 => true,
            true => indexed != 0,
            false => indexed != 0 && self.fault == Fault::NodeBecauseIndexed,
        };
        let Some(transfer) = &mut destination.transfer else { return Answer::Refused };
        if !is_present {
            return Answer::Missing(object);
        }
        if own & object == 0 {
            transfer.indexed |= object;
            if self.fault != Fault::ChunkNotPinned {
                transfer.pins |= 1 << indexed.trailing_zeros();
            }
        }
        Answer::Present
    }

    fn publish(&self, destination: &mut Destination) -> Answer {
        destination.seal(CHUNKS);
        destination.seal(!CHUNKS);
        let Some(transfer) = &destination.transfer else { return Answer::Refused };
        let missing = self.walk(destination, transfer);
        if missing != 0 {
            return Answer::Missing(missing);
        }
        destination.replicas += 1;
        destination.transfer = None;
        Answer::Complete { receipt: destination.replicas }
    }

    /// What the new tree still lacks, seen from its root; below a node that counts as present nothing is looked at.
    fn walk(&self, destination: &Destination, transfer: &Transfer) -> Set {
        let made = destination.made(transfer);
        let pinned =
            destination.packs.iter().enumerate().filter(|(number, _)| transfer.pins & 1 << number != 0);
        let from_pinned = pinned.fold(0, |all, (_, pack)| all | pack) & CHUNKS;
        let present = match self.fault {
            Fault::AcknowledgedIsStored => made | from_pinned | transfer.acknowledged,
            Fault::ChunkNotPinned => made | transfer.indexed,
            _ => made | from_pinned,
        };
        let mut missing = NEW_TREE & !present;
        if transfer.has_base {
            missing &= !BASE_TREE;
        }
        if self.fault == Fault::NodeBecauseIndexed && transfer.indexed & NEW_NODE != 0 {
            missing &= !OTHER_TREE;
        }
        missing
    }

    fn call(&self, world: &mut World, request: Request, link: Link) {
        if matches!(request, Request::Open { .. }) {
            world.source.attempt += 1;
        }
        if request == Request::Publish && self.fault == Fault::DoneWithoutReceipt {
            world.source.receipt = Some(1);
        }
        let attempt = world.source.attempt;
        match link {
            Link::Works => {
                let answer = self.handle(&mut world.destination, attempt, request);
                world.source.hear(request, answer);
            }
            Link::LosesAnswer => {
                world.troubles_left.lost_answers -= 1;
                self.handle(&mut world.destination, attempt, request);
                // Not knowing what happened, the source opens again.
                world.source.walk = None;
            }
            Link::HoldsRequest => {
                world.troubles_left.held_requests -= 1;
                world.late = Some((attempt, request));
                world.source.walk = None;
            }
        }
    }
}

/// Takes an object once; a repetition is acknowledged and stored no second time.
fn send(destination: &mut Destination, object: Set) -> Answer {
    let Some(transfer) = &destination.transfer else { return Answer::Refused };
    let is_new = (destination.made(transfer) | transfer.unsynced) & object == 0;
    let Some(transfer) = &mut destination.transfer else { return Answer::Refused };
    if is_new {
        transfer.unsynced |= object;
    }
    transfer.acknowledged |= object;
    Answer::Acknowledged
}

impl Model for Replication {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            source: Source {
                is_base_live: true,
                is_base_stored: true,
                operation: None,
                attempt: 0,
                walk: None,
                receipt: None,
                has_missed_an_object: false,
            },
            destination: Destination {
                packs: vec![CHUNK_0, CHUNK_1, BASE_ROOT | SHARED_NODE | NEW_NODE],
                is_base_live: true,
                is_other_live: true,
                transfer: None,
                replicas: 0,
            },
            late: None,
            troubles_left: self.troubles,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let left = world.troubles_left;
        let source = &world.source;
        if source.receipt.is_none() {
            if source.operation.is_none() {
                actions.push(Action::Register);
            } else {
                let request = source.next_request();
                actions.push(Action::Call(request, Link::Works));
                if left.lost_answers > 0 {
                    actions.push(Action::Call(request, Link::LosesAnswer));
                }
                if left.held_requests > 0 && world.late.is_none() {
                    actions.push(Action::Call(request, Link::HoldsRequest));
                }
            }
            if left.source_kills > 0 && source.walk.is_some() {
                actions.push(Action::RestartSource);
            }
        }
        if world.late.is_some() {
            actions.push(Action::Arrive);
        }
        if let Some(transfer) = &world.destination.transfer {
            let seals = [(CHUNKS, Action::SealChunks), (!CHUNKS, Action::SealNodes)];
            actions.extend(
                seals.into_iter().filter(|(kind, _)| transfer.unsynced & kind != 0).map(|(_, seal)| seal),
            );
            if left.destination_kills > 0 && transfer.unsynced != 0 {
                actions.push(Action::RestartDestination);
            }
            if left.give_ups > 0 {
                actions.push(Action::GiveUp);
            }
        }
        actions.extend([
            Action::ExpireBaseAtSource,
            Action::CollectAtSource,
            Action::ExpireBaseAtDestination,
            Action::ExpireOther,
            Action::CollectAtDestination,
        ]);
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        let source = &mut world.source;
        let destination = &mut world.destination;
        match action {
            Action::Register => source.operation = Some(source.is_base_live),
            Action::Call(request, link) => self.call(&mut world, request, link),
            Action::Arrive => {
                let (attempt, request) = world.late.take()?;
                self.handle(&mut world.destination, attempt, request);
            }
            Action::RestartSource => {
                world.troubles_left.source_kills -= 1;
                source.walk = None;
                // The next process chooses its base anew, which replaces the first.
                source.operation = None;
            }
            Action::RestartDestination => {
                world.troubles_left.destination_kills -= 1;
                destination.transfer.as_mut()?.unsynced = 0;
            }
            Action::SealChunks => destination.seal(CHUNKS),
            Action::SealNodes => destination.seal(!CHUNKS),
            Action::GiveUp => {
                world.troubles_left.give_ups -= 1;
                destination.transfer = None;
            }
            Action::ExpireBaseAtSource => source.is_base_live = false,
            Action::CollectAtSource => {
                let is_root = source.operation == Some(true) && source.receipt.is_none();
                let is_registered = is_root && self.fault != Fault::SourcePinsBaseLate;
                source.is_base_stored &= source.is_base_live || is_registered;
            }
            Action::ExpireBaseAtDestination => destination.is_base_live = false,
            Action::ExpireOther => destination.is_other_live = false,
            Action::CollectAtDestination => destination.collect(self.fault),
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(REPLICA_COMPLETE, |_, world: &World| {
                world.destination.replicas == 0 || NEW_TREE & !world.destination.stored() == 0
            }),
            Property::always(ONE_REPLICA, |_, world: &World| world.destination.replicas <= 1),
            Property::always(DONE_IS_EVIDENCE, |_, world: &World| {
                world.source.receipt.is_none_or(|receipt| receipt == world.destination.replicas)
            }),
            Property::always(SOURCE_READS, |_, world: &World| !world.source.has_missed_an_object),
            Property::always(AGREED, |_, world: &World| {
                let agreed = world.source.walk.as_ref().and_then(|walk| walk.agreed);
                match (&world.destination.transfer, agreed) {
                    (Some(transfer), Some(has_base)) if transfer.attempt == world.source.attempt => {
                        transfer.has_base == has_base
                    }
                    _ => true,
                }
            }),
            Property::always(REACHES_ITS_END, |model: &Replication, world: &World| {
                // The source never waits for anyone but the link, so a world in which nothing can happen is done.
                world.source.receipt.is_some() || {
                    let mut actions = Vec::new();
                    model.actions(world, &mut actions);
                    actions.into_iter().any(|action| model.next_state(world, action).is_some())
                }
            }),
            Property::sometimes("done although both bases expired and were collected", |_, world: &World| {
                let bases = world.source.is_base_stored || world.destination.stored() & BASE_ROOT != 0;
                world.source.receipt.is_some() && !bases
            }),
            Property::sometimes(
                "done, and only what the destination lacked was moved",
                |_, world: &World| {
                    let moved = world.destination.packs[3..].iter().fold(0, |all, pack| all | pack);
                    world.source.receipt.is_some() && moved == NEW_NODE | ROOT
                },
            ),
            Property::sometimes("published, but the source does not know yet", |_, world: &World| {
                world.destination.replicas > 0 && world.source.receipt.is_none()
            }),
        ]
    }
}

const REPLICA_COMPLETE: &str = "every object of a replica is stored";
const ONE_REPLICA: &str = "an item has one replica";
const DONE_IS_EVIDENCE: &str = "a record that is done has the receipt of the replica";
const SOURCE_READS: &str = "the source can read everything that it compares";
const AGREED: &str = "both sides of an attempt mean the same base";
const REACHES_ITS_END: &str = "a world that stands still is done";

fn replication(fault: Fault, troubles: Troubles) -> Replication {
    Replication { fault, troubles }
}

#[test]
fn a_transfer_over_a_bad_link_is_complete_once_and_done() {
    let troubles = Troubles { lost_answers: 2, held_requests: 1, ..Troubles::default() };
    check_all_states("transfer over a bad link", replication(Fault::None, troubles));
}

#[test]
fn a_transfer_with_kills_on_both_sides_is_complete_once_and_done() {
    let troubles = Troubles { lost_answers: 1, source_kills: 1, destination_kills: 2, ..Troubles::default() };
    check_all_states("transfer with kills", replication(Fault::None, troubles));
}

#[test]
fn a_transfer_that_was_given_up_is_complete_once_and_done() {
    let troubles = Troubles { held_requests: 1, give_ups: 1, ..Troubles::default() };
    check_all_states("transfer given up", replication(Fault::None, troubles));
}

#[test]
fn a_transfer_with_a_simpler_rule_breaks_a_promise() {
    let troubles =
        Troubles { lost_answers: 1, held_requests: 1, source_kills: 1, destination_kills: 1, give_ups: 0 };
    let faults = [
        (Fault::NodeBecauseIndexed, REPLICA_COMPLETE),
        (Fault::DestinationPinsBaseLate, REPLICA_COMPLETE),
        (Fault::ChunkNotPinned, REPLICA_COMPLETE),
        (Fault::AcknowledgedIsStored, REPLICA_COMPLETE),
        (Fault::PublishTwice, ONE_REPLICA),
        (Fault::DoneWithoutReceipt, DONE_IS_EVIDENCE),
        (Fault::SourcePinsBaseLate, SOURCE_READS),
        (Fault::LateRequestsTaken, AGREED),
    ];
    for (fault, property) in faults {
        check_fault_is_found(&format!("transfer, {fault:?}"), property, replication(fault, troubles));
    }
}
