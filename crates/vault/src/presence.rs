//! Whether a vault holds everything that an item needs: the nodes of its trees are opened, every chunk
//! that a leaf names is looked up. No chunk is read, so it costs metadata only; and against an item that
//! was found complete before, only what differs.

use crate::error::VaultError;
use crate::ids::{Address, Kind, ManifestDigest};
use crate::manifest::Manifest;
use crate::progress::{Progress, Step};
use crate::tree::LeafEntry;
use crate::vault::Vault;
use crate::walk::{Leaf, NodeAt, Tree, Visitor, walk};

/// What a vault lacks of an item.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absent {
    /// How many objects were found missing or damaged. What hangs below a node is not counted.
    pub object_count: u64,
    /// The first of them.
    pub first: Option<Address>,
    /// The first [`LISTED_COUNT_MAX`] of them.
    pub listed: Vec<(Kind, Address)>,
}

/// The most objects that one look names.
pub const LISTED_COUNT_MAX: usize = 8192;

impl Absent {
    /// True when the item is complete.
    pub fn is_nothing(&self) -> bool {
        self.object_count == 0
    }

    fn note(&mut self, kind: Kind, address: Address) {
        self.object_count += 1;
        self.first.get_or_insert(address);
        if self.listed.len() < LISTED_COUNT_MAX {
            self.listed.push((kind, address));
        }
    }
}

impl Vault {
    /// Looks for everything that an item needs. Subtrees that `complete`, an item found complete before,
    /// has at the same place are not looked at again.
    ///
    /// # Errors
    /// `KeyMissing` without the structure key; otherwise only when store, index or ledger fail.
    pub fn look_for_objects(
        &self,
        manifest: &Manifest,
        complete: Option<ManifestDigest>,
        progress: &dyn Progress,
    ) -> Result<Absent, VaultError> {
        let bases = match complete {
            Some(digest) => self.trees(digest)?,
            None => Vec::new(),
        };
        let mut absent = Absent::default();
        for (volume_id, tree) in self.trees_of(manifest)? {
            if tree.root.is_zero() {
                continue;
            }
            let base = bases.iter().find(|(id, _)| *id == volume_id).map(|(_, base)| base);
            self.look_in_tree(&tree, base, &mut absent, progress)?;
        }
        Ok(absent)
    }

    fn look_in_tree(
        &self,
        tree: &Tree,
        base: Option<&Tree>,
        absent: &mut Absent,
        progress: &dyn Progress,
    ) -> Result<(), VaultError> {
        let mut looker = Looker { vault: self, absent, progress };
        match walk(&self.core, tree, base, &mut looker) {
            // A node that cannot be read ends the walk of its tree.
            Err(VaultError::Missing { address } | VaultError::Corrupt { address, .. }) => {
                absent.note(Kind::Node, address);
                Ok(())
            }
            other => other,
        }
    }
}

struct Looker<'a> {
    vault: &'a Vault,
    absent: &'a mut Absent,
    progress: &'a dyn Progress,
}

impl Visitor for Looker<'_> {
    fn choose(&mut self, nodes: &[NodeAt]) -> Result<Vec<bool>, VaultError> {
        if self.progress.is_stopped() {
            return Err(VaultError::Stopped);
        }
        Ok(vec![true; nodes.len()])
    }

    fn leaf(&mut self, leaf: &Leaf<'_>) -> Result<(), VaultError> {
        let entries: Vec<&LeafEntry> = leaf.entries.iter().filter(|entry| !entry.is_hole()).collect();
        let addresses: Vec<Address> = entries.iter().map(|entry| entry.address).collect();
        for (address, place) in addresses.iter().zip(self.vault.core.index.places(&addresses)?) {
            if place.is_none() {
                self.absent.note(Kind::Chunk, *address);
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
