//! Backing up one item: its volumes are read, cut, deduplicated, sealed and packed, and a signed
//! manifest is stored last.
//!
//! The order of durable effects is fixed: operation opened with its base → packs of chunks → packs
//! of nodes → manifest. The catalog row, which makes the item exist, is the caller's next step. A
//! run that is killed leaves packs that the next run of the same operation finds again through the
//! index; there is no other kind of resume. Nothing is filled in for what cannot be read.

mod pipeline;
mod segment;
mod source;
mod tree;

use std::io;
use std::sync::Arc;

use crate::crash_point;
use crate::error::VaultError;
use crate::ids::{CheckpointId, Epoch, ItemId, ManifestDigest, OperationId};
use crate::manifest::{Description, Manifest, ManifestBody, ManifestDraft, ManifestVolume};
use crate::operation::{Begun, Operation};
use crate::progress::Progress;
use crate::tree::{FAN_OUT, TreeShape};
use crate::vault::Vault;
use crate::walk::Tree;
use pipeline::{Trees, Work};
use source::Source;

/// A disk to be backed up. Calls come from one thread at a time.
pub trait VolumeReader: Send + Sync {
    /// Its size.
    fn size_bytes(&self) -> u64;

    /// The extents (offset, length) that may hold data; everything else reads as zeros. When in
    /// doubt, the whole disk.
    fn data_extents(&self) -> io::Result<Vec<(u64, u64)>>;

    /// Fills `buffer` with what lies at `offset`.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
}

/// A volume of the item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeSpec {
    /// Its id, unique in the item.
    pub volume_id: String,
    /// What changed since an earlier item, where change tracking is beyond doubt; none reads all.
    pub changed: Option<Changed>,
}

/// What change tracking says of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The item since which it has tracked. Used only when the ledger takes it as the base.
    pub since: ManifestDigest,
    /// Extents (offset, length) written since then. All other segments are kept unread.
    pub extents: Vec<(u64, u64)>,
}

/// What to back up as what.
#[derive(Clone, Debug)]
pub struct BackupOrder {
    /// The operation under which packs are made; the same for every run of this item.
    pub operation: OperationId,
    /// Earlier items of the resource, best first; the first that is live becomes the base.
    pub bases: Vec<ManifestDigest>,
    /// The item.
    pub item: ItemId,
    /// Its checkpoint.
    pub checkpoint: CheckpointId,
    /// The resource.
    pub resource_id: String,
    /// The project that owns it.
    pub project_id: String,
    /// Rises strictly per resource and incarnation.
    pub sequence: u64,
    /// The manifest of the resource's item before this one, zero for none.
    pub previous: ManifestDigest,
    /// What a restored server should look like.
    pub description: Description,
}

/// An item backed up: everything it names is durable and live in the ledger.
#[derive(Clone, Debug)]
pub struct BackedUp {
    /// The manifest, stored.
    pub manifest: Manifest,
    /// The base that was used.
    pub base: Option<ManifestDigest>,
    /// When reading began, as the manifest says: the moment whose data it holds.
    pub started_ms: u64,
    /// Bytes of all volumes.
    pub logical_bytes: u64,
    /// Nodes and chunks that the item names, as often as it names them.
    pub object_count: u64,
    /// Their stored bytes.
    pub stored_bytes: u64,
    /// Objects that the vault did not hold before.
    pub new_object_count: u64,
    /// Their stored bytes.
    pub new_stored_bytes: u64,
    /// Chunks that had to be compressed and sealed.
    pub new_chunk_count: u64,
}

impl Vault {
    /// Backs up one item. With one thread in the settings everything runs on the caller's thread and
    /// follows from the inputs.
    ///
    /// # Errors
    /// `SourceRead` names the extent that could not be read; `Full`, `Unavailable` and `Ledger` may
    /// pass; `Refused` without an identity to sign with or for an unlawful order; `KeyMissing`
    /// without data keys.
    pub fn backup(
        &self,
        order: &BackupOrder,
        volumes: &[(VolumeSpec, &dyn VolumeReader)],
        progress: &dyn Progress,
    ) -> Result<BackedUp, VaultError> {
        let core = &self.core;
        let Some(identity) = &core.identity else {
            return Err(VaultError::refused("a vault without an identity makes no items"));
        };
        core.keys().secrets()?;
        let started_ms = core.clock.now_ms();
        let Begun { operation, base, .. } =
            Operation::begin(core, order.operation, order.bases.iter().copied())?;
        let work = self.work(&operation, base, volumes, progress)?;
        let Trees { trees, totals } = work.work.run()?;

        let listed = volumes.iter().zip(&trees).map(|((spec, _), tree)| ManifestVolume {
            volume_id: spec.volume_id.clone(),
            shape: tree.shape,
            root: tree.root,
        });
        let body = ManifestBody {
            item: order.item,
            checkpoint: order.checkpoint,
            resource_id: order.resource_id.clone(),
            project_id: order.project_id.clone(),
            started_ms,
            ended_ms: core.clock.now_ms(),
            volumes: listed.collect(),
        };
        let draft = ManifestDraft {
            incarnation: core.incarnation,
            sequence: order.sequence,
            previous: order.previous,
            epochs: totals.epochs.iter().copied().chain(work.kept_epochs).collect(),
            object_count: totals.object_count,
            stored_bytes: totals.stored_bytes,
            body: &body,
            description: &order.description,
        };
        let manifest = draft.sign(identity, &core.keys())?;
        self.store_manifest(&manifest)?;
        Ok(BackedUp {
            base,
            started_ms,
            logical_bytes: body.logical_bytes(),
            object_count: totals.object_count,
            stored_bytes: totals.stored_bytes,
            new_object_count: operation.added_count(),
            new_stored_bytes: operation.added_bytes(),
            new_chunk_count: totals.new_chunk_count,
            manifest,
        })
    }

    fn work<'a>(
        &self,
        operation: &Arc<Operation>,
        base: Option<ManifestDigest>,
        volumes: &'a [(VolumeSpec, &'a dyn VolumeReader)],
        progress: &'a dyn Progress,
    ) -> Result<PlannedWork<'a>, VaultError> {
        let is_tracked =
            |spec: &VolumeSpec| spec.changed.as_ref().is_some_and(|changed| Some(changed.since) == base);
        let mut base_trees: Vec<(String, Tree)> = Vec::new();
        let mut kept_epochs = Vec::new();
        if let Some(base) = base.filter(|_| volumes.iter().any(|(spec, _)| is_tracked(spec))) {
            kept_epochs = self.read_manifest(base)?.fields().epochs.clone();
            base_trees = self.trees(base)?;
        }
        let (mut sources, mut bases) = (Vec::new(), Vec::new());
        for (spec, reader) in volumes {
            let shape = TreeShape::new(reader.size_bytes(), self.core.cut.segment_bytes, FAN_OUT)?;
            let tree = base_trees.iter().find(|(id, _)| *id == spec.volume_id).map(|(_, tree)| *tree);
            // Segments of another grid or size mean something else: then everything is read.
            let tree = tree.filter(|tree| is_tracked(spec) && tree.shape == shape);
            sources.push(Source::new(spec, shape, *reader, tree.is_some())?);
            bases.push(tree);
        }
        let work = Work { operation: operation.clone(), sources, bases, progress };
        Ok(PlannedWork { work, kept_epochs })
    }

    /// Stores a manifest under its digest. What it names must be durable.
    pub(crate) fn store_manifest(&self, manifest: &Manifest) -> Result<(), VaultError> {
        let name = self.core.manifest_store_name(manifest.digest());
        crash_point!("manifest.put.before");
        let put = self.core.store.put_if_absent(&name, manifest.bytes());
        put.map_err(|error| error.while_doing("storing a manifest"))?;
        crash_point!("manifest.put.after");
        Ok(())
    }
}

struct PlannedWork<'a> {
    work: Work<'a>,
    /// What kept segments may be sealed under.
    kept_epochs: Vec<Epoch>,
}
