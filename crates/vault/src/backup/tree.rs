//! From leaf entries, in the order of the disk, to sealed nodes and a root.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::backup::base::Count;
use crate::backup::segment::{BATCH_BYTES, SegmentDone};
use crate::error::VaultError;
use crate::ids::{Address, Epoch, Kind};
use crate::keys::DomainKeys;
use crate::object::{Expected, Opener, Sealer};
use crate::operation::Operation;
use crate::packer::{Batch, BatchObject};
use crate::tree::{TreeBuilder, TreeShape, encode_leaf};
use crate::walk::{LeafFinder, Tree};

/// What the trees of an item come to.
#[derive(Clone, Debug, Default)]
pub(super) struct Totals {
    /// Nodes and chunks that the trees name, each as often as it is named, and their stored bytes.
    pub(super) named: Count,
    /// What to take off again: the part of the base that the trees do not name any more.
    pub(super) dropped: Count,
    pub(super) new_chunk_count: u64,
    pub(super) epochs: BTreeSet<Epoch>,
}

impl Totals {
    pub(super) fn object_count(&self) -> u64 {
        self.named.objects.saturating_sub(self.dropped.objects)
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        self.named.bytes.saturating_sub(self.dropped.bytes)
    }
}

/// Seals the nodes of one volume after another.
pub(super) struct TreeWriter {
    nodes: NodeSealer,
    builder: Option<TreeBuilder>,
    shape: Option<TreeShape>,
    leaf_index: u64,
    base: Option<LeafFinder>,
    /// False while what the base came to is known, and only the difference is counted.
    counts_all: bool,
    pub(super) totals: Totals,
}

struct NodeSealer {
    operation: Arc<Operation>,
    keys: Arc<DomainKeys>,
    sealer: Sealer,
    opener: Opener,
    batch: Batch,
    opened: Vec<u8>,
    count: Count,
}

impl TreeWriter {
    /// A writer of all trees of an item. `base_count`: what the base came to, when every volume of it is
    /// built on and only the difference is to be counted.
    pub(super) fn new(
        operation: &Arc<Operation>,
        base_count: Option<Count>,
    ) -> Result<TreeWriter, VaultError> {
        let nodes = NodeSealer {
            operation: operation.clone(),
            keys: operation.core.keys(),
            sealer: Sealer::new()?,
            opener: Opener::new()?,
            batch: Batch::default(),
            opened: Vec::new(),
            count: Count::default(),
        };
        let mut totals = Totals { named: base_count.unwrap_or_default(), ..Totals::default() };
        totals.epochs.insert(nodes.keys.current_epoch());
        Ok(TreeWriter {
            nodes,
            builder: None,
            shape: None,
            leaf_index: 0,
            base: None,
            counts_all: base_count.is_none(),
            totals,
        })
    }

    /// Begins a volume; `base` is its tree in the base, if it may be built on.
    pub(super) fn begin(&mut self, shape: TreeShape, base: Option<Tree>) -> Result<(), VaultError> {
        self.builder = Some(TreeBuilder::new(shape));
        self.shape = Some(shape);
        self.leaf_index = 0;
        self.base = match base {
            Some(base) => Some(LeafFinder::new(&self.nodes.operation.core, base)?),
            None => None,
        };
        Ok(())
    }

    /// Takes the next segment's entries; none for a segment that holds nothing.
    pub(super) fn segment(&mut self, done: Option<SegmentDone>) -> Result<(), VaultError> {
        let done = done.unwrap_or_default();
        self.totals.named.add_all(done.named);
        self.totals.dropped.add_all(done.dropped);
        self.totals.new_chunk_count += done.new_chunk_count;
        self.totals.epochs.extend(done.epochs);
        if let Some(leaf) = done.kept_leaf {
            return self.push(leaf);
        }
        let leaf = match encode_leaf(&done.entries) {
            Some(plaintext) => self.nodes.seal(0, &plaintext)?,
            None => Address::ZERO,
        };
        self.push(leaf)
    }

    /// Takes the next segment from the base as it is there.
    pub(super) fn kept_segment(&mut self) -> Result<(), VaultError> {
        let Some(finder) = &mut self.base else {
            return Err(VaultError::refused("a segment was kept without a base"));
        };
        if !self.counts_all {
            let address = finder.address(self.leaf_index)?;
            return self.push(address);
        }
        let leaf = finder.leaf(self.leaf_index)?;
        if leaf.address.is_zero() {
            return self.push(Address::ZERO);
        }
        let chunks: Vec<Address> =
            leaf.entries.iter().filter(|entry| !entry.is_hole()).map(|entry| entry.address).collect();
        let places = self.nodes.operation.core.locate(Kind::Chunk, &chunks)?;
        places.iter().for_each(|place| self.totals.named.add(place.stored_len));
        self.totals.named.add(leaf.stored_len);
        self.push(leaf.address)
    }

    fn push(&mut self, leaf: Address) -> Result<(), VaultError> {
        self.leaf_index += 1;
        let nodes = &mut self.nodes;
        let builder = self.builder.as_mut().expect("a volume was begun before its segments come");
        builder.push(leaf, &mut |level, plaintext| nodes.seal(level, plaintext))
    }

    /// Ends the volume; returns its tree.
    pub(super) fn end(&mut self) -> Result<Tree, VaultError> {
        let nodes = &mut self.nodes;
        let builder = self.builder.take().expect("a volume is begun before it ends");
        let root = builder.finish(&mut |level, plaintext| nodes.seal(level, plaintext))?;
        self.totals.named.add_all(std::mem::take(&mut nodes.count));
        if let Some(finder) = self.base.as_mut().filter(|_| !self.counts_all) {
            let lengths = finder.inner_stored_lens()?;
            lengths.into_iter().for_each(|length| self.totals.dropped.add(length));
        }
        Ok(Tree { shape: self.shape.take().expect("a volume that began has a shape"), root })
    }

    /// Sealed nodes for the packer, once enough are gathered, or all of them.
    pub(super) fn take_batch(&mut self, is_last: bool) -> Option<Batch> {
        let batch = &mut self.nodes.batch;
        let is_due = batch.bytes.len() >= BATCH_BYTES || (is_last && !batch.objects.is_empty());
        is_due.then(|| std::mem::take(batch))
    }
}

impl NodeSealer {
    /// Seals a node unless the vault holds it for this operation. Its children were held before.
    fn seal(&mut self, level: u8, plaintext: &[u8]) -> Result<Address, VaultError> {
        let keys = self.keys.sealing_keys(Kind::Node)?;
        let start = self.batch.bytes.len();
        let sealed = self.sealer.seal(keys, Kind::Node, level, plaintext, &mut self.batch.bytes)?;
        let (address, stored_len) = (sealed.address, sealed.stored_len);
        self.count.add(stored_len);
        if self.operation.held_addresses(&[address])?[0].is_some() {
            self.batch.bytes.truncate(start);
            return Ok(address);
        }
        let stored = &self.batch.bytes[start..];
        self.opener.open(self.keys.as_ref(), &Expected::node(level, address), stored, &mut self.opened)?;
        if self.opened != plaintext {
            return Err(VaultError::Corrupt { address, why: "a node changed in memory while it was sealed" });
        }
        self.batch.objects.push(BatchObject { kind: Kind::Node, address, stored_len, id: None });
        Ok(address)
    }
}
