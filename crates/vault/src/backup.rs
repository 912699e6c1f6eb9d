//! Backing up one item: its volumes are read, cut, deduplicated, sealed and packed, and a signed
//! manifest is stored last.
//!
//! The order of durable effects is fixed: operation opened with its base → packs of chunks → packs
//! of nodes → manifest. The catalog row, which makes the item exist, is the caller's next step. A
//! run that is killed leaves packs that the next run of the same operation finds again through the
//! index; there is no other kind of resume. Nothing is filled in for what cannot be read.

mod base;
mod pipeline;
mod segment;
mod source;
mod tree;
mod window;

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
use base::Count;
use pipeline::{Trees, Work};
use segment::is_usable;
use source::Source;

/// A disk to be backed up. Calls come from many threads, each of which reads its own part onwards.
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
    /// Extents (offset, length) written since then, trimmed ones too; in any order. What they do not touch
    /// is kept unread. They lie inside the volume, or the backup is refused. When the volume has
    /// another size than in the base, all of it is read.
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
        let Ran { operation, base, base_epochs, trees: Trees { trees, totals } } =
            match self.run(order, volumes, progress, true) {
                Err(error @ (VaultError::Missing { .. } | VaultError::Corrupt { .. }))
                    if volumes.iter().any(|(spec, _)| spec.changed.is_some()) =>
                {
                    // The base is damaged, so nothing may be kept unread because of it.
                    tracing::warn!(%error, "the base of a backup is damaged; everything is read");
                    self.run(order, volumes, progress, false)?
                }
                ran => ran?,
            };

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
            epochs: totals.epochs.iter().copied().chain(base_epochs).collect(),
            object_count: totals.object_count(),
            stored_bytes: totals.stored_bytes(),
            body: &body,
            description: &order.description,
        };
        let manifest = draft.sign(identity, &core.keys())?;
        self.store_manifest(&manifest)?;
        Ok(BackedUp {
            base,
            started_ms,
            logical_bytes: body.logical_bytes(),
            object_count: totals.object_count(),
            stored_bytes: totals.stored_bytes(),
            new_object_count: operation.added_count(),
            new_stored_bytes: operation.added_bytes(),
            new_chunk_count: totals.new_chunk_count,
            manifest,
        })
    }

    /// Opens the operation and stores everything below the manifest. A second run takes up the operation
    /// anew: what the first had on its way into packs is forgotten with it.
    fn run(
        &self,
        order: &BackupOrder,
        volumes: &[(VolumeSpec, &dyn VolumeReader)],
        progress: &dyn Progress,
        believes_tracking: bool,
    ) -> Result<Ran, VaultError> {
        let bases = self.bases_without_retired_epochs(&order.bases)?;
        let Begun { operation, base, .. } = Operation::begin(&self.core, order.operation, bases.into_iter())?;
        let planned = self.plan(&operation, base, volumes, progress, believes_tracking)?;
        let trees = planned.work.run()?;
        Ok(Ran { operation, base, base_epochs: planned.base_epochs, trees })
    }

    /// Decides what of the base may be built on, and what may be kept unread. `believes_tracking`: false
    /// when something spoke against the base.
    fn plan<'a>(
        &self,
        operation: &Arc<Operation>,
        base: Option<ManifestDigest>,
        volumes: &'a [(VolumeSpec, &'a dyn VolumeReader)],
        progress: &'a dyn Progress,
        believes_tracking: bool,
    ) -> Result<PlannedWork<'a>, VaultError> {
        let base = match base {
            Some(base) => self.readable_base(base)?,
            None => None,
        };
        let mut sources = Vec::new();
        for (spec, reader) in volumes {
            let shape = TreeShape::new(reader.size_bytes(), self.core.cut.segment_bytes, FAN_OUT)?;
            let trees = base.iter().flat_map(|base| &base.trees);
            // Segments of another grid or size mean something else.
            let tree = trees.filter(|(id, tree)| *id == spec.volume_id && tree.shape == shape);
            let tree = tree.map(|(_, tree)| *tree).next();
            let since = spec.changed.as_ref().map(|changed| changed.since);
            let is_tracked =
                believes_tracking && since.is_some() && since == base.as_ref().map(|base| base.digest);
            sources.push(Source::new(spec, shape, *reader, tree, is_tracked)?);
        }
        let is_tracked = !sources.is_empty() && sources.iter().all(Source::is_tracked);
        let is_same_item = base.as_ref().is_some_and(|base| base.trees.len() == sources.len());
        let base_count = base.as_ref().filter(|_| is_tracked && is_same_item).map(|base| base.count);
        let is_built_on = sources.iter().any(|source| source.base.is_some());
        let base_epochs = base.filter(|_| is_built_on).map(|base| base.epochs).unwrap_or_default();
        let work = Work { operation: operation.clone(), sources, base_count, progress };
        Ok(PlannedWork { work, base_epochs })
    }

    /// What can be built on; none when the manifest is damaged, or names chunks that cannot be opened.
    fn readable_base(&self, digest: ManifestDigest) -> Result<Option<Base>, VaultError> {
        let read = self.read_manifest(digest).and_then(|manifest| Ok((self.trees_of(&manifest)?, manifest)));
        let (trees, manifest) = match read {
            Ok(read) => read,
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "the base of a backup is damaged; everything is read");
                return Ok(None);
            }
        };
        let fields = manifest.fields();
        let keys = self.core.keys();
        if !fields.epochs.iter().all(|epoch| is_usable(&keys, *epoch)) {
            return Ok(None);
        }
        let count = Count { objects: fields.object_count, bytes: fields.stored_bytes };
        Ok(Some(Base { digest, trees, count, epochs: fields.epochs.clone() }))
    }

    /// The bases of which all can be kept: one that lists a retired epoch would carry it on.
    fn bases_without_retired_epochs(
        &self,
        bases: &[ManifestDigest],
    ) -> Result<Vec<ManifestDigest>, VaultError> {
        let keys = self.core.keys();
        if keys.retired_epochs().next().is_none() {
            return Ok(bases.to_vec());
        }
        let mut kept = Vec::new();
        for &base in bases {
            match self.read_manifest(base) {
                Ok(manifest) if manifest.fields().epochs.iter().any(|epoch| keys.is_retired(*epoch)) => {}
                Ok(_) => kept.push(base),
                Err(VaultError::ManifestMissing { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(kept)
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

/// An earlier item that is a root of the operation.
struct Base {
    digest: ManifestDigest,
    trees: Vec<(String, Tree)>,
    count: Count,
    epochs: Vec<Epoch>,
}

struct PlannedWork<'a> {
    work: Work<'a>,
    /// What kept segments may be sealed under.
    base_epochs: Vec<Epoch>,
}

/// Everything below the manifest, stored.
struct Ran {
    operation: Arc<Operation>,
    base: Option<ManifestDigest>,
    base_epochs: Vec<Epoch>,
    trees: Trees,
}
