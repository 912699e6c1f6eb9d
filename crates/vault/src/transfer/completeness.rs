//! Proof that an arrived item is complete: its tree is walked against the base, every new node is
//! opened, and everything it names is either below the base or held by this operation.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::error::VaultError;
use crate::ids::{Address, Kind, PackNumber};
use crate::manifest::Manifest;
use crate::object::{Expected, Opener};
use crate::operation::Operation;
use crate::progress::{Progress, Step};
use crate::transfer::{ASKED_COUNT_MAX, Asked};
use crate::tree::{LeafEntry, NodePlace};
use crate::vault::Vault;
use crate::walk::{Leaf, NodeAt, Tree, Visitor, walk};

/// What is to be proved complete.
pub(super) struct Item<'a> {
    pub(super) vault: &'a Vault,
    pub(super) manifest: &'a Manifest,
    pub(super) base: &'a [(String, Tree)],
}

/// The outcome.
pub(super) enum Completeness {
    Proved,
    Missing {
        /// At most [`ASKED_COUNT_MAX`], never empty.
        objects: Vec<Asked>,
        /// Nodes below which something is missing.
        unproved: HashSet<Address>,
    },
}

pub(super) fn check(
    item: &Item<'_>,
    operation: &Operation,
    received: &HashMap<Address, u8>,
    progress: &dyn Progress,
) -> Result<Completeness, VaultError> {
    let mut samples = BTreeMap::new();
    for (volume_id, tree) in item.vault.trees_of(item.manifest)? {
        if tree.root.is_zero() {
            continue;
        }
        let base = item.base.iter().find(|(id, _)| *id == volume_id).map(|(_, tree)| tree);
        let mut prover = Prover {
            operation,
            received,
            progress,
            fan_out: u64::from(tree.shape.fan_out()),
            missing: Vec::new(),
            gaps: Vec::new(),
            walked: HashMap::new(),
            samples: &mut samples,
        };
        let walked = walk(&item.vault.core, &tree, base, &mut prover);
        let lost = match walked {
            Ok(()) | Err(VaultError::Stopped) if !prover.missing.is_empty() => None,
            Ok(()) => continue,
            // A node that was received and cannot be read back is missing like one that never came.
            Err(VaultError::Missing { address }) => Some(address),
            Err(VaultError::Corrupt { address, .. }) if received.contains_key(&address) => Some(address),
            Err(error) => return Err(error),
        };
        return Ok(prover.into_missing(lost));
    }
    open_samples(item.vault, &samples)?;
    Ok(Completeness::Proved)
}

struct Prover<'a> {
    operation: &'a Operation,
    received: &'a HashMap<Address, u8>,
    progress: &'a dyn Progress,
    fan_out: u64,
    missing: Vec<Asked>,
    /// Places below which something is missing.
    gaps: Vec<NodePlace>,
    /// The nodes gone into.
    walked: HashMap<NodePlace, Address>,
    /// One chunk of each pack that this operation made.
    samples: &'a mut BTreeMap<PackNumber, LeafEntry>,
}

impl Prover<'_> {
    fn miss(&mut self, asked: Asked, place: NodePlace) -> Result<(), VaultError> {
        self.missing.push(asked);
        self.gaps.push(place);
        // Enough to be getting on with.
        if self.missing.len() >= ASKED_COUNT_MAX { Err(VaultError::Stopped) } else { Ok(()) }
    }

    fn into_missing(mut self, lost: Option<Address>) -> Completeness {
        let mut unproved: HashSet<Address> = self.missing.iter().map(|asked| asked.address).collect();
        if let Some(address) = lost {
            let place = self.walked.iter().find(|(_, walked)| **walked == address).map(|(place, _)| *place);
            let level = place.map_or(0, |place| place.level);
            self.missing.push(Asked { kind: Kind::Node, level, address });
            self.gaps.extend(place);
            unproved.insert(address);
        }
        for mut place in self.gaps {
            while let Some(address) = self.walked.get(&place) {
                unproved.insert(*address);
                place = NodePlace { level: place.level + 1, index: place.index / self.fan_out };
            }
        }
        self.missing.truncate(ASKED_COUNT_MAX);
        Completeness::Missing { objects: self.missing, unproved }
    }
}

impl Visitor for Prover<'_> {
    fn choose(&mut self, nodes: &[NodeAt]) -> Result<Vec<bool>, VaultError> {
        if self.progress.is_stopped() {
            self.missing.clear();
            return Err(VaultError::Stopped);
        }
        let mut chosen = Vec::with_capacity(nodes.len());
        for node in nodes {
            let level = node.place.level;
            let is_here = self.received.get(&node.address) == Some(&level);
            chosen.push(is_here);
            if is_here {
                self.walked.insert(node.place, node.address);
                continue;
            }
            let above = NodePlace { level: level + 1, index: node.place.index / self.fan_out };
            self.miss(Asked { kind: Kind::Node, level, address: node.address }, above)?;
        }
        Ok(chosen)
    }

    fn leaf(&mut self, leaf: &Leaf<'_>) -> Result<(), VaultError> {
        let in_base: HashSet<Address> = leaf.base_entries.iter().map(|entry| entry.address).collect();
        let is_new = |entry: &&LeafEntry| !entry.is_hole() && !in_base.contains(&entry.address);
        let entries: Vec<&LeafEntry> = leaf.entries.iter().filter(is_new).collect();
        let addresses: Vec<Address> = entries.iter().map(|entry| entry.address).collect();
        let held = self.operation.held_addresses(&addresses)?;
        let places = self.operation.core.index.places(&addresses)?;
        for ((entry, held), place) in entries.into_iter().zip(held).zip(places) {
            if held.is_none() {
                self.miss(Asked { kind: Kind::Chunk, level: 0, address: entry.address }, leaf.place)?;
            } else if let Some(place) = place.filter(|place| self.operation.is_own(place.pack)) {
                self.samples.entry(place.pack).or_insert(*entry);
            }
        }
        let logical_bytes = leaf.entries.iter().map(|entry| u64::from(entry.plain_len)).sum();
        self.progress.add(Step { logical_bytes, moved_bytes: 0 });
        Ok(())
    }

    fn after(&mut self, _node: NodeAt, _stored: &[u8]) -> Result<(), VaultError> {
        Ok(())
    }
}

/// Opens one chunk of each pack, where the keys allow it.
fn open_samples(vault: &Vault, samples: &BTreeMap<PackNumber, LeafEntry>) -> Result<(), VaultError> {
    let keys = vault.keys();
    if !keys.is_restorable() {
        return Ok(());
    }
    let (mut opener, mut plaintext) = (Opener::new()?, Vec::new());
    for entry in samples.values() {
        let stored = vault.core.fetch(Kind::Chunk, &[entry.address])?;
        let expected = Expected::chunk(entry.address, entry.plain_len, entry.check);
        opener.open(keys.as_ref(), &expected, stored[0].bytes(), &mut plaintext)?;
    }
    Ok(())
}
