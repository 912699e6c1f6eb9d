//! Walking a volume's tree, alone or against that of a base that is known to be complete.
//!
//! Trees are compared place by place: a node with the address of its counterpart needs no visit, so
//! a walk costs what changed. Positions do not move when a disk grows or shrinks; trees over another
//! grid are not compared at all. What is fetched is bounded before it is fetched.

use std::sync::Arc;

use crate::error::VaultError;
use crate::ids::{Address, Kind};
use crate::keys::DomainKeys;
use crate::object::{Expected, Opener};
use crate::tree::{LeafEntry, NodePlace, TreeShape};
use crate::vault::Core;

/// Bytes of stored nodes fetched at once on each level.
const GROUP_BYTES_MAX: u64 = 4 << 20;

/// A volume's tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) shape: TreeShape,
    /// Zero when the volume holds only zeros.
    pub(crate) root: Address,
}

/// A node that differs from its counterpart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeAt {
    pub(crate) place: NodePlace,
    pub(crate) address: Address,
}

/// What a walk meets. Holes and nodes equal to their counterpart are not met.
pub(crate) trait Visitor {
    /// Says which of these siblings the walk goes into.
    fn choose(&mut self, nodes: &[NodeAt]) -> Result<Vec<bool>, VaultError>;
    /// A leaf, with the entries of its counterpart (none when there is no such leaf).
    fn leaf(&mut self, leaf: &Leaf<'_>) -> Result<(), VaultError>;
    /// A node, after everything under it; with its bytes as stored.
    fn after(&mut self, node: NodeAt, stored: &[u8]) -> Result<(), VaultError>;
}

/// A leaf that a walk meets.
pub(crate) struct Leaf<'a> {
    pub(crate) place: NodePlace,
    pub(crate) entries: &'a [LeafEntry],
    pub(crate) base_entries: &'a [LeafEntry],
}

/// What stands at a place in the base.
#[derive(Clone, Copy)]
enum Counterpart {
    Absent,
    /// The whole base lies under this place, its root deeper down.
    Above,
    Node(Address),
}

/// Walks `tree`; subtrees that `base` has at the same place are left out.
pub(crate) fn walk(
    core: &Core,
    tree: &Tree,
    base: Option<&Tree>,
    visitor: &mut dyn Visitor,
) -> Result<(), VaultError> {
    let comparable = |base: &&Tree| {
        let same_grid = base.shape.segment_bytes() == tree.shape.segment_bytes();
        same_grid && base.shape.fan_out() == tree.shape.fan_out() && !base.root.is_zero()
    };
    let mut walker = Walker {
        core,
        keys: core.keys(),
        opener: Opener::new()?,
        shape: tree.shape,
        base: base.filter(comparable).copied(),
        visitor,
    };
    let root = NodeAt { place: tree.shape.root(), address: tree.root };
    let counterpart = walker.root_counterpart()?;
    walker.siblings(&[(root, counterpart)])
}

struct Walker<'a> {
    core: &'a Core,
    keys: Arc<DomainKeys>,
    opener: Opener,
    shape: TreeShape,
    base: Option<Tree>,
    visitor: &'a mut dyn Visitor,
}

impl Walker<'_> {
    fn root_counterpart(&mut self) -> Result<Counterpart, VaultError> {
        let Some(base) = self.base else { return Ok(Counterpart::Absent) };
        let (root, mut at) = (self.shape.root(), NodeAt { place: base.shape.root(), address: base.root });
        if at.place.level < root.level {
            return Ok(Counterpart::Above);
        }
        while at.place.level > root.level {
            let Some(plaintext) = self.base_node(at)? else { return Ok(Counterpart::Absent) };
            let first = base.shape.decode_inner(at.place, &plaintext)?.first().copied();
            match first {
                Some((place, address)) if !address.is_zero() => at = NodeAt { place, address },
                _ => return Ok(Counterpart::Absent),
            }
        }
        Ok(Counterpart::Node(at.address))
    }

    /// A node of the base, or none when it is gone: the walk then compares with nothing there.
    fn base_node(&mut self, at: NodeAt) -> Result<Option<Vec<u8>>, VaultError> {
        let stored = match self.core.fetch(Kind::Node, &[at.address]) {
            Ok(stored) => stored,
            Err(VaultError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut plaintext = Vec::new();
        let expected = Expected::node(at.place.level, at.address);
        match self.opener.open(self.keys.as_ref(), &expected, stored[0].bytes(), &mut plaintext) {
            Ok(()) => Ok(Some(plaintext)),
            Err(VaultError::Corrupt { .. } | VaultError::KeyMissing { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn siblings(&mut self, siblings: &[(NodeAt, Counterpart)]) -> Result<(), VaultError> {
        let differs = |(node, counterpart): &&(NodeAt, Counterpart)| {
            let is_same = matches!(counterpart, Counterpart::Node(address) if *address == node.address);
            !node.address.is_zero() && !is_same
        };
        let differing: Vec<(NodeAt, Counterpart)> = siblings.iter().filter(differs).copied().collect();
        if differing.is_empty() {
            return Ok(());
        }
        let nodes: Vec<NodeAt> = differing.iter().map(|(node, _)| *node).collect();
        let is_chosen = self.visitor.choose(&nodes)?;
        let chosen =
            differing.into_iter().zip(is_chosen).filter_map(|(node, is_chosen)| is_chosen.then_some(node));
        let chosen: Vec<(NodeAt, Counterpart)> = chosen.collect();
        for group in self.groups(&chosen)? {
            let addresses: Vec<Address> = group.iter().map(|(node, _)| node.address).collect();
            let stored = self.core.fetch(Kind::Node, &addresses)?;
            for ((node, counterpart), stored) in group.iter().zip(stored) {
                self.visit(*node, *counterpart, stored.bytes())?;
            }
        }
        Ok(())
    }

    /// Splits siblings so that each group's stored bytes are bounded.
    fn groups<'n>(
        &self,
        nodes: &'n [(NodeAt, Counterpart)],
    ) -> Result<Vec<&'n [(NodeAt, Counterpart)]>, VaultError> {
        let addresses: Vec<Address> = nodes.iter().map(|(node, _)| node.address).collect();
        let places = self.core.locate(Kind::Node, &addresses)?;
        let (mut groups, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (index, place) in places.iter().enumerate() {
            if bytes + u64::from(place.stored_len) > GROUP_BYTES_MAX && index > start {
                groups.push(&nodes[start..index]);
                (start, bytes) = (index, 0);
            }
            bytes += u64::from(place.stored_len);
        }
        groups.push(&nodes[start..]);
        Ok(groups)
    }

    fn visit(&mut self, node: NodeAt, counterpart: Counterpart, stored: &[u8]) -> Result<(), VaultError> {
        let mut plaintext = Vec::new();
        let expected = Expected::node(node.place.level, node.address);
        self.opener.open(self.keys.as_ref(), &expected, stored, &mut plaintext)?;
        if node.place.level == 0 {
            let entries = self.shape.decode_leaf(node.place, &plaintext)?;
            let base_entries = self.base_leaf(node.place, counterpart)?;
            self.visitor.leaf(&Leaf { place: node.place, entries: &entries, base_entries: &base_entries })?;
        } else {
            let children = self.shape.decode_inner(node.place, &plaintext)?;
            drop(plaintext);
            let counterparts = self.child_counterparts(node.place, counterpart)?;
            let child = |(place, address): (NodePlace, Address)| {
                let counterpart = counterparts.iter().find(|(at, _)| *at == place).map(|(_, found)| *found);
                (NodeAt { place, address }, counterpart.unwrap_or(Counterpart::Absent))
            };
            let children: Vec<(NodeAt, Counterpart)> = children.into_iter().map(child).collect();
            self.siblings(&children)?;
        }
        self.visitor.after(node, stored)
    }

    fn base_leaf(
        &mut self,
        place: NodePlace,
        counterpart: Counterpart,
    ) -> Result<Vec<LeafEntry>, VaultError> {
        let (Some(base), Counterpart::Node(address)) = (self.base, counterpart) else {
            return Ok(Vec::new());
        };
        match self.base_node(NodeAt { place, address })? {
            Some(plaintext) => base.shape.decode_leaf(place, &plaintext),
            None => Ok(Vec::new()),
        }
    }

    fn child_counterparts(
        &mut self,
        place: NodePlace,
        counterpart: Counterpart,
    ) -> Result<Vec<(NodePlace, Counterpart)>, VaultError> {
        let Some(base) = self.base else { return Ok(Vec::new()) };
        match counterpart {
            Counterpart::Absent => Ok(Vec::new()),
            Counterpart::Above => {
                let first = NodePlace { level: place.level - 1, index: 0 };
                let is_root = first == base.shape.root();
                Ok(vec![(first, if is_root { Counterpart::Node(base.root) } else { Counterpart::Above })])
            }
            Counterpart::Node(address) => {
                let Some(plaintext) = self.base_node(NodeAt { place, address })? else {
                    return Ok(Vec::new());
                };
                let children = base.shape.decode_inner(place, &plaintext)?;
                let lying = children.into_iter().filter(|(_, address)| !address.is_zero());
                Ok(lying.map(|(place, address)| (place, Counterpart::Node(address))).collect())
            }
        }
    }
}

/// Finds the leaves of a tree one by one; the path to the last one is kept.
pub(crate) struct LeafFinder {
    core: Arc<Core>,
    keys: Arc<DomainKeys>,
    opener: Opener,
    tree: Tree,
    /// The inner nodes above the last leaf, the root first, with their children.
    path: Vec<(NodePlace, Vec<(NodePlace, Address)>)>,
}

/// A leaf found.
pub(crate) struct FoundLeaf {
    /// Zero, with no entries, when the segment is a hole.
    pub(crate) address: Address,
    pub(crate) entries: Vec<LeafEntry>,
    pub(crate) stored_len: u32,
}

impl LeafFinder {
    pub(crate) fn new(core: &Arc<Core>, tree: Tree) -> Result<LeafFinder, VaultError> {
        Ok(LeafFinder {
            core: core.clone(),
            keys: core.keys(),
            opener: Opener::new()?,
            tree,
            path: Vec::new(),
        })
    }

    /// The leaf of a segment.
    pub(crate) fn leaf(&mut self, segment_index: u64) -> Result<FoundLeaf, VaultError> {
        let address = self.address(segment_index)?;
        if address.is_zero() {
            return Ok(FoundLeaf { address, entries: Vec::new(), stored_len: 0 });
        }
        let place = NodePlace { level: 0, index: segment_index };
        let (plaintext, stored_len) = self.read(place, address)?;
        let entries = self.tree.shape.decode_leaf(place, &plaintext)?;
        Ok(FoundLeaf { address, entries, stored_len })
    }

    /// The address of the leaf of a segment, zero for a hole. Reads the nodes above it only.
    pub(crate) fn address(&mut self, segment_index: u64) -> Result<Address, VaultError> {
        let wanted = NodePlace { level: 0, index: segment_index };
        let (mut place, mut address) = (self.tree.shape.root(), self.tree.root);
        for depth in 0.. {
            if address.is_zero() || place.level == 0 {
                break;
            }
            if self.path.get(depth).is_none_or(|(at, _)| *at != place) {
                self.path.truncate(depth);
                let (plaintext, _) = self.read(place, address)?;
                self.path.push((place, self.tree.shape.decode_inner(place, &plaintext)?));
            }
            let child = self.path[depth].1.iter().find(|(child, _)| self.is_above(*child, wanted));
            let Some(&(child_place, child_address)) = child else {
                return Err(VaultError::refused("a segment outside the base"));
            };
            (place, address) = (child_place, child_address);
        }
        Ok(address)
    }

    /// The stored lengths of all nodes above the leaves.
    pub(crate) fn inner_stored_lens(&mut self) -> Result<Vec<u32>, VaultError> {
        let (mut lengths, mut open) = (Vec::new(), vec![(self.tree.shape.root(), self.tree.root)]);
        while let Some((place, address)) = open.pop() {
            if address.is_zero() || place.level == 0 {
                continue;
            }
            let (plaintext, stored_len) = self.read(place, address)?;
            lengths.push(stored_len);
            if place.level > 1 {
                open.extend(self.tree.shape.decode_inner(place, &plaintext)?);
            }
        }
        Ok(lengths)
    }

    fn is_above(&self, place: NodePlace, leaf: NodePlace) -> bool {
        let fan_out = u64::from(self.tree.shape.fan_out());
        (0..place.level).fold(leaf.index, |index, _| index / fan_out) == place.index
    }

    fn read(&mut self, place: NodePlace, address: Address) -> Result<(Vec<u8>, u32), VaultError> {
        let stored = self.core.fetch(Kind::Node, &[address])?;
        let stored = stored[0].bytes();
        let mut plaintext = Vec::new();
        let expected = Expected::node(place.level, address);
        self.opener.open(self.keys.as_ref(), &expected, stored, &mut plaintext)?;
        Ok((plaintext, stored.len() as u32))
    }
}
