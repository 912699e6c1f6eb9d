//! The source side: find what the far end lacks, send it, children before parents.

use std::collections::HashSet;

use crate::error::VaultError;
use crate::ids::{Address, Kind, ManifestDigest};
use crate::object::address_of;
use crate::progress::{Progress, Step};
use crate::transfer::outbox::{Outbox, Sent};
use crate::transfer::wire::BatchWriter;
use crate::transfer::{ASKED_COUNT_MAX, Asked, BATCH_BYTES_MAX, Offer, Opened, Peer, PeerError};
use crate::vault::{Core, Vault};
use crate::walk::{Leaf, NodeAt, Tree, Visitor, walk};

/// Stored bytes of nodes that wait for their children to be acknowledged.
const WAITING_NODE_BYTES_MAX: usize = 4 << 20;
/// Stored bytes read from packs at once.
const FETCH_BYTES_MAX: u64 = 4 << 20;
/// Nodes remembered as sent, so that a subtree that occurs again is not asked for again.
const REMEMBERED_COUNT_MAX: usize = 1 << 18;

/// Most batches under way at once.
const CONNECTION_COUNT_MAX: u64 = 64;

/// What to copy, and how.
#[derive(Clone, Debug)]
pub struct CopyOrder {
    /// The item.
    pub manifest: ManifestDigest,
    /// Rises with every attempt.
    pub attempt: u64,
    /// Items that the far end has a receipt for and this vault still has, best base first.
    pub bases: Vec<ManifestDigest>,
    /// Wraps of the item's keys for the far end.
    pub wraps: Vec<Vec<u8>>,
    /// This region's cards.
    pub cards: Vec<Vec<u8>>,
    /// Batches under way at once, as far as the vault's memory allows (16 MiB each); vaults with one
    /// thread send one after the other.
    pub connections: u32,
}

/// A copy made; the far end holds everything, not all of it synced. Verify comes next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Copied {
    /// The receipt, when the item was published there before.
    pub receipt: Option<Vec<u8>>,
    /// The base that was walked against.
    pub base: Option<ManifestDigest>,
    /// True when an earlier attempt had left objects.
    pub is_resumed: bool,
    /// Objects the far end was asked about.
    pub asked_count: u64,
    /// Objects sent.
    pub sent_count: u64,
    /// Their stored bytes.
    pub sent_bytes: u64,
    /// Those of them that the far end had received before.
    pub resent_bytes: u64,
}

impl Vault {
    /// Copies what the far end lacks of an item. Afterwards the caller has the peer verify, and copies
    /// again when that finds something missing; then it has the peer publish.
    ///
    /// # Errors
    /// `Peer` when the far end failed, tells by [`PeerError::is_passing`] whether to try again;
    /// `Missing` or `Corrupt` when this vault cannot read what it should send.
    pub fn copy_item(
        &self,
        order: &CopyOrder,
        peer: &dyn Peer,
        progress: &dyn Progress,
    ) -> Result<Copied, VaultError> {
        let manifest = self.read_manifest(order.manifest)?;
        let offer = Offer {
            attempt: order.attempt,
            manifest: manifest.bytes().to_vec(),
            bases: order.bases.clone(),
            wraps: order.wraps.clone(),
            cards: order.cards.clone(),
        };
        let opened =
            peer.open(&offer).map_err(|cause| VaultError::Peer { doing: "offering an item", cause })?;
        let (base, is_resumed) = match opened {
            Opened::Complete { receipt } => {
                return Ok(Copied { receipt: Some(receipt), ..Copied::default() });
            }
            Opened::New { base } => (base, false),
            Opened::Resume { base } => (base, true),
        };
        if base.is_some_and(|base| !order.bases.contains(&base)) {
            return Err(peer_refused("it chose a base that was not offered"));
        }
        let trees = self.trees_of(&manifest)?;
        let base_trees = self.base_trees(base)?;
        let route = Route { trees: &trees, base_trees: &base_trees, peer, progress };
        let (sent, asked_count) = if self.core.settings.threads <= 1 {
            self.send_missing(&route, Outbox::inline(peer, progress))?
        } else {
            // Each connection has a batch under way and one waiting.
            let affordable = self.core.settings.memory_bytes_max / (2 * BATCH_BYTES_MAX as u64);
            let connections =
                u64::from(order.connections).min(affordable).clamp(1, CONNECTION_COUNT_MAX) as usize;
            std::thread::scope(|scope| {
                self.send_missing(&route, Outbox::threads(scope, connections, peer, progress))
            })?
        };
        Ok(Copied {
            receipt: None,
            base,
            is_resumed,
            asked_count,
            sent_count: sent.object_count,
            sent_bytes: sent.bytes,
            resent_bytes: sent.duplicate_bytes,
        })
    }

    /// Walks the trees and sends what differs and is missing; returns also how much was asked.
    fn send_missing(&self, route: &Route<'_>, mut outbox: Outbox<'_>) -> Result<(Sent, u64), VaultError> {
        let mut sender = Sender {
            core: &self.core,
            peer: route.peer,
            outbox: &mut outbox,
            progress: route.progress,
            batch: BatchWriter::new(),
            questions: Vec::new(),
            in_flight: HashSet::new(),
            waiting_nodes: Vec::new(),
            waiting_bytes: 0,
            remembered: HashSet::new(),
            asked_count: 0,
        };
        for (volume_id, tree) in route.trees {
            let base = route.base_trees.iter().find(|(id, _)| id == volume_id).map(|(_, tree)| tree);
            walk(&self.core, tree, base, &mut sender)?;
        }
        sender.settle()?;
        let asked_count = sender.asked_count;
        Ok((outbox.sent, asked_count))
    }

    /// The trees of the base. One that expired here since it was offered is no base any more: then
    /// everything is asked for.
    fn base_trees(&self, base: Option<ManifestDigest>) -> Result<Vec<(String, Tree)>, VaultError> {
        match base.map(|base| self.trees(base)) {
            None | Some(Err(VaultError::ManifestMissing { .. })) => Ok(Vec::new()),
            Some(trees) => trees,
        }
    }
}

/// What one copy works on.
struct Route<'a> {
    trees: &'a [(String, Tree)],
    base_trees: &'a [(String, Tree)],
    peer: &'a dyn Peer,
    progress: &'a dyn Progress,
}

fn peer_refused(why: &str) -> VaultError {
    VaultError::Peer { doing: "reading its answer", cause: PeerError::Refused { why: why.to_owned() } }
}

/// Walks the new tree and sends. Chunks are asked for and sent as they come; a node waits until its
/// children are acknowledged.
struct Sender<'a, 's> {
    core: &'a Core,
    peer: &'a dyn Peer,
    outbox: &'a mut Outbox<'s>,
    progress: &'a dyn Progress,
    batch: BatchWriter,
    /// Chunks not asked for yet, each once.
    questions: Vec<Asked>,
    /// Chunks asked for or sent since everything was acknowledged.
    in_flight: HashSet<Address>,
    waiting_nodes: Vec<(Asked, Vec<u8>)>,
    waiting_bytes: usize,
    remembered: HashSet<(Address, u8)>,
    asked_count: u64,
}

impl Visitor for Sender<'_, '_> {
    fn choose(&mut self, nodes: &[NodeAt]) -> Result<Vec<bool>, VaultError> {
        let asked =
            |node: &NodeAt| Asked { kind: Kind::Node, level: node.place.level, address: node.address };
        let is_new = |node: &&NodeAt| !self.remembered.contains(&(node.address, node.place.level));
        let questions: Vec<Asked> = nodes.iter().filter(is_new).map(asked).collect();
        let mut missing: HashSet<Address> = HashSet::new();
        for questions in questions.chunks(ASKED_COUNT_MAX) {
            let answers = self.ask(questions)?;
            let wanted = questions.iter().zip(answers).filter(|(_, is_missing)| *is_missing);
            missing.extend(wanted.map(|(asked, _)| asked.address));
        }
        // A subtree that occurs twice among the siblings is walked once.
        Ok(nodes.iter().map(|node| missing.remove(&node.address)).collect())
    }

    fn leaf(&mut self, leaf: &Leaf<'_>) -> Result<(), VaultError> {
        if self.progress.is_stopped() {
            return Err(VaultError::Stopped);
        }
        let in_base: HashSet<Address> = leaf.base_entries.iter().map(|entry| entry.address).collect();
        for entry in leaf.entries {
            let address = entry.address;
            if entry.is_hole() || in_base.contains(&address) || !self.in_flight.insert(address) {
                continue;
            }
            self.questions.push(Asked { kind: Kind::Chunk, level: 0, address });
            if self.questions.len() >= ASKED_COUNT_MAX {
                self.send_chunks()?;
            }
        }
        let logical_bytes = leaf.entries.iter().map(|entry| u64::from(entry.plain_len)).sum();
        self.progress.add(Step { logical_bytes, moved_bytes: 0 });
        Ok(())
    }

    fn after(&mut self, node: NodeAt, stored: &[u8]) -> Result<(), VaultError> {
        if self.remembered.len() >= REMEMBERED_COUNT_MAX {
            self.remembered.clear();
        }
        self.remembered.insert((node.address, node.place.level));
        let asked = Asked { kind: Kind::Node, level: node.place.level, address: node.address };
        self.waiting_nodes.push((asked, stored.to_vec()));
        self.waiting_bytes += stored.len();
        if self.waiting_bytes >= WAITING_NODE_BYTES_MAX { self.settle() } else { Ok(()) }
    }
}

impl Sender<'_, '_> {
    fn ask(&mut self, questions: &[Asked]) -> Result<Vec<bool>, VaultError> {
        if questions.is_empty() {
            return Ok(Vec::new());
        }
        self.asked_count += questions.len() as u64;
        let answers = self.peer.want(questions);
        let answers = answers.map_err(|cause| VaultError::Peer { doing: "asking what is missing", cause })?;
        if answers.len() != questions.len() {
            return Err(peer_refused("it answered another number of questions"));
        }
        Ok(answers)
    }

    /// Asks for the chunks gathered and sends the missing ones, in the order they lie in the packs.
    fn send_chunks(&mut self) -> Result<(), VaultError> {
        let questions = std::mem::take(&mut self.questions);
        let answers = self.ask(&questions)?;
        let wanted = questions.iter().zip(answers).filter(|(_, is_missing)| *is_missing);
        let wanted: Vec<Address> = wanted.map(|(asked, _)| asked.address).collect();
        let places = self.core.locate(Kind::Chunk, &wanted)?;
        let mut lying: Vec<_> = places.into_iter().zip(wanted).collect();
        lying.sort_unstable();
        let mut start = 0;
        while start < lying.len() {
            let (mut end, mut bytes) = (start, 0);
            while end < lying.len() && (end == start || bytes < FETCH_BYTES_MAX) {
                bytes += u64::from(lying[end].0.stored_len);
                end += 1;
            }
            let addresses: Vec<Address> = lying[start..end].iter().map(|(_, address)| *address).collect();
            for (address, stored) in addresses.iter().zip(self.core.fetch(Kind::Chunk, &addresses)?) {
                // The far end would refuse it and blame the link; we know better where it went bad.
                if address_of(stored.bytes()) != *address {
                    return Err(VaultError::Corrupt {
                        address: *address,
                        why: "the bytes have another address",
                    });
                }
                self.push(Asked { kind: Kind::Chunk, level: 0, address: *address }, stored.bytes())?;
            }
            start = end;
        }
        Ok(())
    }

    fn push(&mut self, asked: Asked, stored: &[u8]) -> Result<(), VaultError> {
        if !self.batch.has_room(stored.len()) {
            self.outbox.send(std::mem::take(&mut self.batch))?;
        }
        self.batch.push(asked, stored);
        Ok(())
    }

    /// Sends everything gathered: chunks, then, once they are acknowledged, the nodes above them.
    fn settle(&mut self) -> Result<(), VaultError> {
        self.send_chunks()?;
        self.outbox.send(std::mem::take(&mut self.batch))?;
        self.outbox.wait()?;
        // A batch of nodes may overtake another on a second connection, so each is waited for.
        for (asked, stored) in std::mem::take(&mut self.waiting_nodes) {
            if !self.batch.has_room(stored.len()) {
                self.outbox.send(std::mem::take(&mut self.batch))?;
                self.outbox.wait()?;
            }
            self.batch.push(asked, &stored);
        }
        self.outbox.send(std::mem::take(&mut self.batch))?;
        self.outbox.wait()?;
        self.waiting_bytes = 0;
        self.in_flight.clear();
        Ok(())
    }
}
