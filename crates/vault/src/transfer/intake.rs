//! One run of an arrival: the packs being filled, and the nodes received so far.
//!
//! When its packer fails, an intake is over: objects that were acknowledged may not have reached a
//! pack, so nothing it remembers can be relied on. The next one begins with what is durable.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::error::VaultError;
use crate::ids::{Address, Kind};
use crate::object::Header;
use crate::operation::Operation;
use crate::pack::PackEntry;
use crate::packer::{Batch, Packer};
use crate::read::RUN_BYTES_MAX;
use crate::store::StoreError;
use crate::transfer::Asked;

pub(super) struct Intake {
    pub(super) operation: Arc<Operation>,
    /// Stored bytes of the objects that earlier runs left.
    pub(super) earlier_bytes: u64,
    taken_bytes: AtomicU64,
    /// None once it failed.
    packer: Mutex<Option<Packer>>,
    /// Nodes that the operation received, with their levels.
    nodes: Mutex<HashMap<Address, u8>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Intake {
    pub(super) fn begin(operation: Arc<Operation>) -> Result<Intake, VaultError> {
        let (nodes, earlier_bytes) = received_before(&operation)?;
        let is_inline = operation.core.settings.threads <= 1;
        let packer =
            if is_inline { Packer::inline(operation.clone()) } else { Packer::new(operation.clone()) };
        Ok(Intake {
            operation,
            earlier_bytes,
            taken_bytes: AtomicU64::new(earlier_bytes),
            packer: Mutex::new(Some(packer)),
            nodes: Mutex::new(nodes),
        })
    }

    /// Counts bytes against what was granted to all runs together.
    pub(super) fn spend(&self, bytes: u64, bytes_max: u64) -> Result<(), VaultError> {
        let before = self.taken_bytes.fetch_add(bytes, Ordering::SeqCst);
        if before.saturating_add(bytes) > bytes_max {
            self.taken_bytes.fetch_sub(bytes, Ordering::SeqCst);
            return Err(VaultError::Full { doing: "taking in an arrival" });
        }
        Ok(())
    }

    /// Packs objects. After an error this intake takes nothing any more.
    pub(super) fn add(&self, batch: &Batch) -> Result<(), VaultError> {
        self.pack(|packer| packer.add(batch))
    }

    /// Makes everything added so far durable and live. After an error as for [`Intake::add`].
    pub(super) fn flush(&self) -> Result<(), VaultError> {
        self.pack(Packer::flush)
    }

    fn pack(&self, work: impl FnOnce(&mut Packer) -> Result<(), VaultError>) -> Result<(), VaultError> {
        let mut slot = lock(&self.packer);
        // Taken out while it works: a panic on the way must not leave half a packer behind.
        let Some(mut packer) = slot.take() else {
            let cause = std::io::Error::other("an earlier call of this arrival failed");
            return Err(VaultError::Unavailable { doing: "packing an arrival", cause });
        };
        work(&mut packer)?;
        *slot = Some(packer);
        Ok(())
    }

    pub(super) fn has_node(&self, address: Address, level: u8) -> bool {
        lock(&self.nodes).get(&address) == Some(&level)
    }

    pub(super) fn nodes(&self) -> HashMap<Address, u8> {
        lock(&self.nodes).clone()
    }

    pub(super) fn note_nodes(&self, received: impl Iterator<Item = Asked>) {
        let nodes = received.filter(|asked| asked.kind == Kind::Node);
        lock(&self.nodes).extend(nodes.map(|asked| (asked.address, asked.level)));
    }

    pub(super) fn forget_nodes(&self, unproved: &HashSet<Address>) {
        lock(&self.nodes).retain(|address, _| !unproved.contains(address));
    }
}

/// The nodes in packs that earlier attempts sealed, and the stored bytes of all objects there. A node
/// pack is sealed only after the chunk packs begun before it, so whatever was acknowledged below such
/// a node is here.
fn received_before(operation: &Operation) -> Result<(HashMap<Address, u8>, u64), VaultError> {
    let core = &operation.core;
    let packs = core.ledger.packs_of(operation.id).map_err(|error| error.while_doing("listing own packs"))?;
    let mut nodes = HashMap::new();
    let mut stored_bytes = 0;
    for pack in packs {
        let footer = match core.read_footer(&pack.name, pack.bytes) {
            Ok(footer) => footer,
            // A damaged pack holds nothing; what was in it is sent again.
            Err(VaultError::BadFormat { .. }) => continue,
            Err(error) => return Err(error),
        };
        stored_bytes += footer.entries.iter().map(|entry| u64::from(entry.stored_len)).sum::<u64>();
        let is_node = |entry: &&PackEntry| entry.kind == Kind::Node;
        let entries: Vec<&PackEntry> = footer.entries.iter().filter(is_node).collect();
        let mut rest = &entries[..];
        while let Some(first) = rest.first() {
            let near = rest.iter().take_while(|entry| entry.end() - first.offset <= RUN_BYTES_MAX).count();
            let (group, behind) = rest.split_at(near.max(1));
            rest = behind;
            let end = group.last().map_or(first.end(), |last| last.end());
            let bytes = match core.store.get_range(&pack.name, first.offset, end - first.offset) {
                Ok(bytes) => bytes,
                // What cannot be read never came.
                Err(StoreError::NotFound { .. } | StoreError::TooShort { .. }) => break,
                Err(error) => return Err(error.while_doing("reading received nodes")),
            };
            for entry in group {
                let stored = &bytes[(entry.offset - first.offset) as usize..];
                if let Ok(header) = Header::parse(stored) {
                    nodes.insert(entry.address, header.level);
                }
            }
        }
    }
    Ok((nodes, stored_bytes))
}
