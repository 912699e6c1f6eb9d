//! The tree of a volume: leaves that list chunks, inner nodes that list nodes.
//!
//! A disk is a fixed grid of segments; the leaf of a segment lists its chunks and holes, inner nodes
//! list 256 children, and the depth is the smallest that covers the disk. A zero address stands for
//! a subtree of zeros. Two checkpoints of one disk share every subtree that did not change.
//!
//! Decoding takes bytes from anywhere and the place where they claim to lie: a node whose lists do
//! not fit that place is refused before anything below it is fetched.

use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::{Address, Check};
use crate::object::{CHUNK_BYTES_MAX, LEVEL_MAX};

/// Children of an inner node in new vaults.
pub const FAN_OUT: u16 = 256;

/// Bytes of a leaf entry.
const ENTRY_BYTES: usize = 52;

/// Smallest segment a tree may state. Together with the entry size it bounds a leaf.
const SEGMENT_BYTES_MIN: u32 = 4096;
const SEGMENT_BYTES_MAX: u32 = 32 << 20;
const FAN_OUT_MAX: u16 = 4096;

/// One line of a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeafEntry {
    /// Bytes of the disk it stands for.
    pub plain_len: u32,
    /// The chunk, or zero for a hole.
    pub address: Address,
    /// The first half of the chunk's dedup id, or zero for a hole.
    pub check: Check,
}

impl LeafEntry {
    /// An entry for zeros.
    pub fn hole(plain_len: u32) -> LeafEntry {
        LeafEntry { plain_len, address: Address::ZERO, check: Check::ZERO }
    }

    /// True for zeros.
    pub fn is_hole(&self) -> bool {
        self.address.is_zero()
    }
}

/// The shape of a volume's tree, which follows from three numbers alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TreeShape {
    size_bytes: u64,
    segment_bytes: u32,
    fan_out: u16,
}

impl TreeShape {
    /// The shape of a volume of `size_bytes`.
    ///
    /// # Errors
    /// `BadFormat` for numbers outside the limits, or a disk too large for six levels.
    pub fn new(size_bytes: u64, segment_bytes: u32, fan_out: u16) -> Result<TreeShape, VaultError> {
        let bad = |why| Err(VaultError::bad_format("tree shape", why));
        if !segment_bytes.is_power_of_two()
            || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes)
        {
            return bad("a segment is a power of two from 4 KiB to 32 MiB");
        }
        if !(2..=FAN_OUT_MAX).contains(&fan_out) {
            return bad("a node has 2 to 4096 children");
        }
        let shape = TreeShape { size_bytes, segment_bytes, fan_out };
        if shape.node_count(LEVEL_MAX) > 1 {
            return bad("the volume is too large for its segments and children");
        }
        Ok(shape)
    }

    /// Bytes of the volume.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Bytes of a segment of the grid.
    pub fn segment_bytes(&self) -> u32 {
        self.segment_bytes
    }

    /// Most children of an inner node.
    pub fn fan_out(&self) -> u16 {
        self.fan_out
    }

    /// How many segments the volume has, the last one perhaps short.
    pub fn segment_count(&self) -> u64 {
        self.size_bytes.div_ceil(u64::from(self.segment_bytes))
    }

    /// How many nodes the grid has at a level, holes included.
    pub fn node_count(&self, level: u8) -> u64 {
        (0..level).fold(self.segment_count(), |count, _| count.div_ceil(u64::from(self.fan_out)))
    }

    /// The level of the root: the lowest with one node.
    pub fn root_level(&self) -> u8 {
        (0..LEVEL_MAX).find(|level| self.node_count(*level) <= 1).unwrap_or(LEVEL_MAX)
    }

    /// The root's place.
    pub fn root(&self) -> NodePlace {
        NodePlace { level: self.root_level(), index: 0 }
    }

    /// The part of the disk under a node: offset and length in bytes.
    pub fn extent(&self, place: NodePlace) -> (u64, u64) {
        let segments = (0..place.level).fold(1u64, |count, _| count.saturating_mul(u64::from(self.fan_out)));
        let span = segments.saturating_mul(u64::from(self.segment_bytes));
        let offset = place.index.saturating_mul(span).min(self.size_bytes);
        (offset, span.min(self.size_bytes - offset))
    }

    /// The places of an inner node's children, in order.
    pub fn children(&self, place: NodePlace) -> impl Iterator<Item = NodePlace> + use<> {
        let level = place.level.saturating_sub(1);
        let first = place.index.saturating_mul(u64::from(self.fan_out));
        let end = first.saturating_add(u64::from(self.fan_out)).min(self.node_count(level));
        let end = if place.level == 0 { first } else { end };
        (first..end).map(move |index| NodePlace { level, index })
    }

    /// Decodes a leaf that stands at `place`.
    ///
    /// # Errors
    /// `BadFormat` when it is not the canonical leaf of a segment of that length.
    pub fn decode_leaf(&self, place: NodePlace, plaintext: &[u8]) -> Result<Vec<LeafEntry>, VaultError> {
        let (_, segment_len) = self.extent(place);
        let mut decoder = Decoder::new("leaf", plaintext);
        let entries = decoder.list(u32::MAX, ENTRY_BYTES, |decoder| {
            let plain_len = decoder.u32()?;
            Ok(LeafEntry { plain_len, address: Address(decoder.fixed()?), check: Check(decoder.fixed()?) })
        })?;
        let mut covered = 0u64;
        for entry in &entries {
            covered += u64::from(entry.plain_len);
            let is_lawful =
                if entry.is_hole() { entry.check == Check::ZERO } else { entry.plain_len <= CHUNK_BYTES_MAX };
            if entry.plain_len == 0 || covered > segment_len || !is_lawful {
                return Err(decoder.bad("an entry is empty, too long, or a hole with a check"));
            }
        }
        if covered != segment_len || entries.iter().all(LeafEntry::is_hole) {
            return Err(decoder.bad("the entries do not cover the segment, or hold nothing but zeros"));
        }
        decoder.finish()?;
        Ok(entries)
    }

    /// Decodes an inner node that stands at `place`: its children with their places, holes included.
    ///
    /// # Errors
    /// `BadFormat` when it does not list exactly the children of that place, or lists only holes.
    pub fn decode_inner(
        &self,
        place: NodePlace,
        plaintext: &[u8],
    ) -> Result<Vec<(NodePlace, Address)>, VaultError> {
        let mut decoder = Decoder::new("inner node", plaintext);
        let addresses = decoder.list(u32::from(self.fan_out), 32, |decoder| decoder.fixed().map(Address))?;
        let places: Vec<NodePlace> = self.children(place).collect();
        if places.len() != addresses.len() {
            return Err(decoder.bad("it lists another number of children than its place has"));
        }
        if addresses.iter().all(Address::is_zero) {
            return Err(decoder.bad("it holds nothing but zeros"));
        }
        decoder.finish()?;
        Ok(places.into_iter().zip(addresses).collect())
    }
}

/// Where a node stands: its level, and its position among all nodes of that level. Positions do not
/// move when a disk grows, so trees of different depth are compared place by place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodePlace {
    /// Height above the leaves.
    pub level: u8,
    /// Position from the start of the disk.
    pub index: u64,
}

/// Encodes a leaf into `out`, which is cleared first. `None` when it holds only zeros: the segment is
/// then a hole and nothing is stored for it.
pub fn encode_leaf(entries: &[LeafEntry]) -> Option<Vec<u8>> {
    if entries.iter().all(LeafEntry::is_hole) {
        return None;
    }
    let mut encoder = Encoder::with_capacity(4 + entries.len() * ENTRY_BYTES);
    encoder.list(entries, |encoder, entry| {
        encoder.u32(entry.plain_len).fixed(&entry.address.0).fixed(&entry.check.0);
    });
    Some(encoder.finish())
}

/// Builds a tree from the bottom: takes the leaves in order and hands out inner nodes as they fill.
#[derive(Debug)]
pub struct TreeBuilder {
    shape: TreeShape,
    /// Children not yet in a node, for each level above the leaves; index 0 collects leaves.
    open: Vec<Vec<Address>>,
    leaf_count: u64,
}

impl TreeBuilder {
    /// A builder for a volume of this shape.
    pub fn new(shape: TreeShape) -> TreeBuilder {
        TreeBuilder { shape, open: vec![Vec::new(); usize::from(shape.root_level())], leaf_count: 0 }
    }

    /// Takes the address of the next segment's leaf, zero for a hole. `store` is called with the level
    /// and plaintext of every inner node that became full and returns its address.
    ///
    /// # Errors
    /// Only those of `store`.
    ///
    /// # Panics
    /// When more leaves are pushed than the volume has segments.
    pub fn push(
        &mut self,
        leaf: Address,
        store: &mut impl FnMut(u8, &[u8]) -> Result<Address, VaultError>,
    ) -> Result<(), VaultError> {
        assert!(self.leaf_count < self.shape.segment_count(), "more leaves than segments");
        self.leaf_count += 1;
        if let Some(first) = self.open.first_mut() {
            first.push(leaf);
            return self.close_full(store);
        }
        // A disk of one segment: its leaf is the root, remembered where a parent's list would be.
        self.open.push(vec![leaf]);
        Ok(())
    }

    /// Stores what is still open and returns the root, zero when the volume holds only zeros.
    ///
    /// # Errors
    /// Only those of `store`.
    ///
    /// # Panics
    /// When leaves are missing.
    pub fn finish(
        mut self,
        store: &mut impl FnMut(u8, &[u8]) -> Result<Address, VaultError>,
    ) -> Result<Address, VaultError> {
        assert!(self.leaf_count == self.shape.segment_count(), "leaves are missing");
        let root_level = usize::from(self.shape.root_level());
        if root_level == 0 {
            return Ok(self.open.first().and_then(|only| only.first()).copied().unwrap_or(Address::ZERO));
        }
        let mut carried = None;
        for level in 0..root_level {
            let mut children = std::mem::take(&mut self.open[level]);
            children.extend(carried.take());
            if !children.is_empty() {
                carried = Some(store_inner(level as u8 + 1, &children, store)?);
            }
        }
        Ok(carried.expect("a volume with more than one segment has a root"))
    }

    fn close_full(
        &mut self,
        store: &mut impl FnMut(u8, &[u8]) -> Result<Address, VaultError>,
    ) -> Result<(), VaultError> {
        // The topmost list is left to `finish`, which makes the root from it.
        for level in 0..self.open.len() - 1 {
            if self.open[level].len() < usize::from(self.shape.fan_out) {
                break;
            }
            let children = std::mem::take(&mut self.open[level]);
            let address = store_inner(level as u8 + 1, &children, store)?;
            self.open[level + 1].push(address);
        }
        Ok(())
    }
}

fn store_inner(
    level: u8,
    children: &[Address],
    store: &mut impl FnMut(u8, &[u8]) -> Result<Address, VaultError>,
) -> Result<Address, VaultError> {
    if children.iter().all(Address::is_zero) {
        return Ok(Address::ZERO);
    }
    let mut encoder = Encoder::with_capacity(4 + 32 * children.len());
    encoder.list(children, |encoder, child| {
        encoder.fixed(&child.0);
    });
    store(level, encoder.as_slice())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SEGMENT: u32 = 16 << 20;

    fn shape(segments: u64, fan_out: u16) -> TreeShape {
        TreeShape::new(segments * u64::from(SEGMENT), SEGMENT, fan_out).unwrap()
    }

    fn leaf_address(index: u64) -> Address {
        let mut bytes = [0u8; 32];
        bytes[..8].copy_from_slice(&(index + 1).to_le_bytes());
        Address(bytes)
    }

    struct Built {
        root: Address,
        nodes: HashMap<Address, (u8, Vec<u8>)>,
    }

    fn build(shape: TreeShape, mut leaf: impl FnMut(u64) -> Address) -> Built {
        let mut nodes = HashMap::new();
        let mut store = |level: u8, plaintext: &[u8]| {
            let address = Address(*blake3::hash(&[&[level], plaintext].concat()).as_bytes());
            nodes.insert(address, (level, plaintext.to_vec()));
            Ok(address)
        };
        let mut builder = TreeBuilder::new(shape);
        for index in 0..shape.segment_count() {
            builder.push(leaf(index), &mut store).unwrap();
        }
        let root = builder.finish(&mut store).unwrap();
        Built { root, nodes }
    }

    /// The leaves below a node, holes as zero, read back through the decoders.
    fn leaves(shape: TreeShape, built: &Built, place: NodePlace, address: Address) -> Vec<Address> {
        if place.level == 0 {
            return vec![address];
        }
        if address.is_zero() {
            return shape
                .children(place)
                .flat_map(|child| leaves(shape, built, child, Address::ZERO))
                .collect();
        }
        let (level, plaintext) = &built.nodes[&address];
        assert_eq!(*level, place.level);
        let children = shape.decode_inner(place, plaintext).unwrap();
        children.into_iter().flat_map(|(child, address)| leaves(shape, built, child, address)).collect()
    }

    #[test]
    fn depth_is_minimal_and_every_leaf_is_found_again() {
        for fan_out in [2, 3, 16] {
            for segments in [0, 1, 2, 3, 4, 5, 8, 9, 15, 16, 17, 31, 33] {
                let shape = shape(segments, fan_out);
                let built = build(shape, leaf_address);
                let found = leaves(shape, &built, shape.root(), built.root);
                let expected: Vec<Address> = (0..segments).map(leaf_address).collect();
                assert_eq!(
                    found[..segments as usize],
                    expected[..],
                    "{segments} segments, {fan_out} children"
                );
                assert!(shape.node_count(shape.root_level()) <= 1);
                assert!(shape.root_level() == 0 || shape.node_count(shape.root_level() - 1) > 1);
            }
        }
    }

    #[test]
    fn subtrees_of_zeros_are_not_stored() {
        let shape = shape(64, 4);
        assert_eq!(build(shape, |_| Address::ZERO).root, Address::ZERO);
        let built = build(shape, |index| if index == 37 { leaf_address(37) } else { Address::ZERO });
        assert_eq!(built.nodes.len(), 3);
        let found = leaves(shape, &built, shape.root(), built.root);
        assert_eq!(found.iter().filter(|address| !address.is_zero()).count(), 1);
        assert_eq!(found[37], leaf_address(37));
    }

    #[test]
    fn a_grown_disk_keeps_its_full_subtrees() {
        let (small, large) = (build(shape(16, 4), leaf_address), build(shape(17, 4), leaf_address));
        assert!(small.nodes.keys().all(|address| large.nodes.contains_key(address)));
    }

    #[test]
    fn extents_of_children_tile_their_parent() {
        let size = 33 * u64::from(SEGMENT) + 12345;
        let shape = TreeShape::new(size, SEGMENT, 4).unwrap();
        let mut places = vec![shape.root()];
        while let Some(place) = places.pop() {
            let (offset, length) = shape.extent(place);
            let children: Vec<NodePlace> = shape.children(place).collect();
            assert_eq!(children.is_empty(), place.level == 0);
            let end = children.iter().fold(offset, |at, child| {
                let (offset, length) = shape.extent(*child);
                assert_eq!(offset, at);
                at + length
            });
            assert!(place.level == 0 || end == offset + length);
            places.extend(children);
        }
        assert_eq!(shape.extent(shape.root()), (0, size));
        assert_eq!(shape.extent(NodePlace { level: 0, index: 33 }), (33 * u64::from(SEGMENT), 12345));
        assert_eq!(shape.extent(NodePlace { level: LEVEL_MAX, index: u64::MAX }), (size, 0));
    }

    #[test]
    fn unlawful_shapes_are_refused() {
        for (size, segment, fan_out) in [
            (1, 0, 256),
            (1, 4097, 256),
            (1, 64 << 20, 256),
            (1, 4096, 1),
            (1, 4096, 5000),
            (u64::MAX, 4096, 2),
        ] {
            assert!(TreeShape::new(size, segment, fan_out).is_err(), "{size} {segment} {fan_out}");
        }
        assert_eq!(TreeShape::new(1 << 62, SEGMENT, FAN_OUT).unwrap().root_level(), 5);
    }

    fn entry(plain_len: u32) -> LeafEntry {
        LeafEntry { plain_len, address: Address([1; 32]), check: Check([2; 16]) }
    }

    fn plain(entries: &[LeafEntry]) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.list(entries, |encoder, entry| {
            encoder.u32(entry.plain_len).fixed(&entry.address.0).fixed(&entry.check.0);
        });
        encoder.finish()
    }

    #[test]
    fn a_leaf_comes_back_and_a_leaf_of_zeros_is_none() {
        let shape = TreeShape::new(u64::from(SEGMENT) + 5000, SEGMENT, FAN_OUT).unwrap();
        let entries = [entry(4096), LeafEntry::hole(904)];
        let plaintext = encode_leaf(&entries).unwrap();
        assert_eq!(plaintext, plain(&entries));
        assert_eq!(shape.decode_leaf(NodePlace { level: 0, index: 1 }, &plaintext).unwrap(), entries);
        assert!(shape.decode_leaf(NodePlace { level: 0, index: 0 }, &plaintext).is_err());
        assert!(shape.decode_leaf(NodePlace { level: 0, index: 2 }, &plaintext).is_err());
        assert_eq!(encode_leaf(&[LeafEntry::hole(5)]), None);
    }

    #[test]
    fn a_leaf_that_does_not_fit_its_place_is_refused() {
        let shape = TreeShape::new(2 << 20, SEGMENT, FAN_OUT).unwrap();
        let mib = CHUNK_BYTES_MAX;
        let check_on_hole = LeafEntry { check: Check([1; 16]), ..LeafEntry::hole(mib) };
        for entries in [
            &[][..],
            &[entry(mib)],
            &[entry(mib), entry(mib), entry(1)],
            &[entry(mib), entry(mib), entry(0)],
            &[entry(2 * mib)],
            &[entry(mib), check_on_hole],
            &[LeafEntry::hole(2 * mib)],
            &[entry(u32::MAX), entry(u32::MAX)],
        ] {
            assert!(shape.decode_leaf(shape.root(), &plain(entries)).is_err(), "{entries:?}");
        }
        let sound = plain(&[entry(mib), LeafEntry::hole(mib)]);
        shape.decode_leaf(shape.root(), &sound).unwrap();
        assert!(shape.decode_leaf(shape.root(), &[&sound[..], &[0]].concat()).is_err());
        assert!(shape.decode_leaf(shape.root(), &sound[..sound.len() - 1]).is_err());
        assert!(shape.decode_leaf(shape.root(), &u32::MAX.to_le_bytes()).is_err());
    }

    #[test]
    fn an_inner_node_that_does_not_fit_its_place_is_refused() {
        let shape = shape(5, 4);
        let encode = |addresses: &[Address]| {
            let mut encoder = Encoder::new();
            encoder.list(addresses, |encoder, address| {
                encoder.fixed(&address.0);
            });
            encoder.finish()
        };
        let (full, short) = (NodePlace { level: 1, index: 0 }, NodePlace { level: 1, index: 1 });
        let one = leaf_address(0);
        assert!(
            shape.decode_inner(full, &encode(&[one; 4])).is_ok()
                && shape.decode_inner(short, &encode(&[one])).is_ok()
        );
        for (place, addresses) in [
            (full, &[one; 3][..]),
            (full, &[one; 5]),
            (short, &[one; 2]),
            (full, &[Address::ZERO; 4]),
            (short, &[]),
        ] {
            assert!(shape.decode_inner(place, &encode(addresses)).is_err(), "{place:?} {addresses:?}");
        }
        assert!(shape.decode_inner(NodePlace { level: 0, index: 0 }, &encode(&[one])).is_err());
    }
}
