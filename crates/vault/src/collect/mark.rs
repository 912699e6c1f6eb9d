//! The marks: every address that a root reaches. The trees of all roots are walked together, level by level
//! from the top: the wanted addresses of a level are sorted, joined with the places that the footers gave, and
//! read in the order in which they lie. So each node is read once, however many items share it, and nothing
//! is looked up one by one.

use crate::codec::Decoder;
use crate::collect::weigh::{Listed, NODE_PLACE_BYTES, PACK_KEY_BYTES, pack_of_key};
use crate::collect::{CollectError, CollectSnapshot, Phase, Run};
use crate::error::VaultError;
use crate::ids::Address;
use crate::layout::PackName;
use crate::object::{Expected, Opener};
use crate::read::{GAP_BYTES_MAX, RUN_BYTES_MAX};
use crate::sort::{Sorted, Sorter};
use crate::store::StoreError;
use crate::vault::Vault;

/// The highest level of a tree.
const LEVEL_MAX: u8 = 6;
const LEAF_ENTRY_BYTES: usize = 52;
/// Pack, offset and length.
const PLACE_BYTES: usize = PACK_KEY_BYTES + 12;

/// Every address that lives, in order.
pub(super) struct Marks {
    pub(super) addresses: Sorted<32>,
}

/// A node to read: pack, offset, length, address.
type ReadRecord = [u8; NODE_PLACE_BYTES];

impl Run<'_> {
    pub(super) fn mark(
        &mut self,
        vault: &Vault,
        snapshot: &CollectSnapshot,
        listed: &Listed,
    ) -> Result<Marks, CollectError> {
        let tops = self.tops(vault, snapshot)?;
        let mut marked = Sorter::unique(&self.spill);
        let mut tops = tops.iter()?.peekable();
        let mut children = Sorter::<32>::unique(&self.spill).finish()?;
        let mut done_bytes = 0;
        for level in (0..=LEVEL_MAX).rev() {
            let mut wanted = Sorter::<32>::unique(&self.spill);
            for address in children.iter()? {
                wanted.push(address?)?;
            }
            let is_here = |top: &Result<[u8; 33], VaultError>| {
                top.as_ref().map_or(true, |top| top[0] == LEVEL_MAX - level)
            };
            while let Some(top) = tops.next_if(is_here) {
                wanted.push(*top?.last_chunk().expect("a top is a level and an address"))?;
            }
            let wanted = wanted.finish()?;
            let reads = self.places_of(&wanted, listed)?;
            let mut below = Sorter::unique(&self.spill);
            let mut reader = NodeReader { level, opener: Opener::new()?, plaintext: Vec::new() };
            let mut group: Vec<ReadRecord> = Vec::new();
            for read in reads.iter()? {
                let read = read?;
                if !belongs_to(&group, &read) {
                    done_bytes += reader.read(self, &group, &mut below, &mut marked)?;
                    self.at(Phase::Marking, done_bytes, listed.node_bytes);
                    self.require_going()?;
                    group.clear();
                }
                group.push(read);
            }
            done_bytes += reader.read(self, &group, &mut below, &mut marked)?;
            children = below.finish()?;
        }
        Ok(Marks { addresses: marked.finish()? })
    }

    /// The roots of all trees: how far below the highest level, and address.
    fn tops(&mut self, vault: &Vault, snapshot: &CollectSnapshot) -> Result<Sorted<33>, CollectError> {
        let mut tops = Sorter::unique(&self.spill);
        for digest in &snapshot.roots {
            self.require_going()?;
            let trees = vault.trees(*digest).map_err(|error| unreadable(format!("root {digest}"), error))?;
            for (_, tree) in trees.iter().filter(|(_, tree)| !tree.root.is_zero()) {
                let below = LEVEL_MAX.checked_sub(tree.shape.root_level());
                let below = below.ok_or_else(|| VaultError::bad_format("manifest", "a tree is too high"))?;
                let mut top = [0; 33];
                top[0] = below;
                top[1..].copy_from_slice(&tree.root.0);
                tops.push(top)?;
            }
        }
        self.collected.root_count = snapshot.roots.len() as u64;
        Ok(tops.finish()?)
    }

    /// Where the wanted nodes lie, in that order: each in the newest pack that holds it.
    fn places_of(
        &self,
        wanted: &Sorted<32>,
        listed: &Listed,
    ) -> Result<Sorted<NODE_PLACE_BYTES>, CollectError> {
        let mut reads = Sorter::new(&self.spill);
        let mut places = listed.nodes.iter()?;
        let mut next = places.next().transpose()?;
        for address in wanted.iter()? {
            let address = address?;
            while next.is_some_and(|place| place[..32] < address[..]) {
                next = places.next().transpose()?;
            }
            let mut newest = None;
            while next.is_some_and(|place| place[..32] == address) {
                newest = next;
                next = places.next().transpose()?;
            }
            let Some(place) = newest else {
                let address = Address(address);
                return Err(CollectError::unsafe_because(format!(
                    "node {address}, which a backup needs, lies in no live pack"
                )));
            };
            let mut read = [0; NODE_PLACE_BYTES];
            read[..PLACE_BYTES].copy_from_slice(&place[32..]);
            read[PLACE_BYTES..].copy_from_slice(&address);
            reads.push(read)?;
        }
        Ok(reads.finish()?)
    }
}

fn unreadable(what: String, error: VaultError) -> CollectError {
    match error {
        error if error.is_passing() => error.into(),
        VaultError::Stopped => VaultError::Stopped.into(),
        error => CollectError::Unsafe {
            why: format!("{what} cannot be read: {error}"),
            cause: Some(Box::new(error)),
        },
    }
}

struct ReadPlace {
    pack: PackName,
    offset: u64,
    length: u64,
    address: Address,
}

impl ReadPlace {
    fn of(record: &ReadRecord) -> ReadPlace {
        let (pack, rest) = record.split_at(PACK_KEY_BYTES);
        let (place, address) = rest.split_at(12);
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(place);
        // Offset and length side by side: the length is the lower four bytes.
        let place = u128::from_be_bytes(wide);
        ReadPlace {
            pack: pack_of_key(pack),
            offset: (place >> 32) as u64,
            length: place as u32 as u64,
            address: Address(address.try_into().expect("thirty-two bytes are left")),
        }
    }
}

/// Whether one read takes this node along with the group.
fn belongs_to(group: &[ReadRecord], read: &ReadRecord) -> bool {
    let (Some(first), Some(last)) = (group.first(), group.last()) else { return true };
    let (first, last, next) = (ReadPlace::of(first), ReadPlace::of(last), ReadPlace::of(read));
    next.pack == first.pack
        && next.offset <= last.offset + last.length + GAP_BYTES_MAX
        && next.offset + next.length - first.offset <= RUN_BYTES_MAX
}

/// Reads nodes of one level.
struct NodeReader {
    level: u8,
    opener: Opener,
    plaintext: Vec<u8>,
}

impl NodeReader {
    /// Reads nodes that lie close together; marks them, and what they list. Answers their stored bytes.
    fn read(
        &mut self,
        run: &Run<'_>,
        group: &[ReadRecord],
        below: &mut Sorter<32>,
        marked: &mut Sorter<32>,
    ) -> Result<u64, CollectError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(0) };
        let (first, last) = (ReadPlace::of(first), ReadPlace::of(last));
        let name = run.core.pack_store_name(first.pack);
        let length = last.offset + last.length - first.offset;
        let bytes = match run.core.store.get_range(&name, first.offset, length) {
            Ok(bytes) => bytes,
            Err(StoreError::NotFound { .. } | StoreError::TooShort { .. }) => {
                let why = format!("pack {name}, which holds nodes that backups need, is not all there");
                return Err(CollectError::unsafe_because(why));
            }
            Err(error) => return Err(error.while_doing("reading nodes").into()),
        };
        let keys = run.core.keys();
        let mut node_bytes = 0;
        for place in group.iter().map(ReadPlace::of) {
            let from = (place.offset - first.offset) as usize;
            let stored = &bytes[from..from + place.length as usize];
            let expected = Expected::node(self.level, place.address);
            self.opener
                .open(keys.as_ref(), &expected, stored, &mut self.plaintext)
                .map_err(|error| unreadable(format!("node {}", place.address), error))?;
            marked.push(place.address.0)?;
            let sink = if self.level == 0 { &mut *marked } else { &mut *below };
            list_children(self.level, &self.plaintext, sink)
                .map_err(|error| unreadable(format!("node {}", place.address), error))?;
            node_bytes += place.length;
        }
        Ok(node_bytes)
    }
}

/// What a node points at. Whoever made it checked that it fits its place.
fn list_children(level: u8, plaintext: &[u8], sink: &mut Sorter<32>) -> Result<(), VaultError> {
    let mut decoder = Decoder::new("node", plaintext);
    let entry_bytes = if level == 0 { LEAF_ENTRY_BYTES } else { 32 };
    let count = decoder.count(u32::MAX, entry_bytes)?;
    for _ in 0..count {
        if level == 0 {
            decoder.u32()?;
        }
        let address: [u8; 32] = decoder.fixed()?;
        if level == 0 {
            decoder.take(16)?;
        }
        if address != [0; 32] {
            sink.push(address)?;
        }
    }
    decoder.finish()
}
