//! Collection: freeing what no item needs any more, beside backups, replications and restores.
//!
//! One run, in this order: manifests whose quarantine has ended, packs that an earlier run condemned, a
//! snapshot of the roots; then the marks ([`mark`]), the packs weighed against them ([`weigh`]), dead packs
//! condemned and deleted ([`sweep`]), pins of ended operations released, and packs of which little lives
//! rewritten ([`rewrite`]). What a run finds out it keeps nowhere: killed anywhere, the next one begins anew.
//! `docs/rfd/0004-collection.md` says what was refused, `tests/models/collection.rs` is the model.
//!
//! Nothing is condemned unless every root could be walked to its chunks and every marked object was found.

mod ledger;
mod mark;
mod rewrite;
mod sweep;
mod weigh;

pub use ledger::{CollectLedger, CollectPack, CollectSnapshot, CondemnedPack};

use std::path::PathBuf;
use std::sync::Arc;

use crate::crash_point;
use crate::error::VaultError;
use crate::ledger::LedgerError;
use crate::sort::Spill;
use crate::store::StoreError;
use crate::vault::{Core, Vault};
use mark::Marks;

/// How a vault is collected.
#[derive(Clone, Debug)]
pub struct CollectOrder {
    /// A folder of its own on local disk for sorting; removed at the start and the end.
    pub spill_folder: PathBuf,
    /// Limits and thresholds.
    pub settings: CollectSettings,
}

/// Limits of one run. Memory stays below four times `sort_bytes` plus 16 MiB, plus one footer (45 bytes an
/// object) and 32 bytes for each root; on a full disk 256 MiB more.
#[derive(Clone, Copy, Debug)]
pub struct CollectSettings {
    /// Bytes of one sort buffer.
    pub sort_bytes: usize,
    /// A pack is rewritten when less than this share of its objects' bytes lives, in percent; 0 rewrites nothing.
    pub rewrite_below_percent: u8,
    /// Bytes that one run copies at most; the packs with the least in them come first.
    pub rewrite_bytes_max: u64,
    /// Packs that one run rewrites at most.
    pub rewrite_packs_max: u32,
    /// Packs condemned in one transaction.
    pub batch_packs_max: u32,
}

impl Default for CollectSettings {
    fn default() -> CollectSettings {
        CollectSettings {
            sort_bytes: 8 << 20,
            rewrite_below_percent: 50,
            rewrite_bytes_max: 8 << 30,
            rewrite_packs_max: 2048,
            batch_packs_max: 256,
        }
    }
}

/// What a run is busy with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Removing what was condemned before.
    #[default]
    Tidying,
    /// Reading the footers of all live packs.
    Listing,
    /// Walking the trees of all roots.
    Marking,
    /// Counting what lives in each pack.
    Weighing,
    /// Condemning and deleting dead packs.
    Sweeping,
    /// Rewriting packs of which little lives.
    Rewriting,
}

impl Phase {
    /// The word for people and for the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Phase::Tidying => "tidying",
            Phase::Listing => "listing",
            Phase::Marking => "marking",
            Phase::Weighing => "weighing",
            Phase::Sweeping => "sweeping",
            Phase::Rewriting => "rewriting",
        }
    }
}

/// How far a run is in its phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stage {
    /// The phase.
    pub phase: Phase,
    /// Bytes of it dealt with.
    pub done_bytes: u64,
    /// Bytes of it in all, as far as is known.
    pub total_bytes: u64,
}

/// The caller's side of a run.
pub trait CollectProgress: Send + Sync {
    /// Takes a report. Must return at once.
    fn at(&self, stage: Stage);

    /// True once the run should end; it then returns [`VaultError::Stopped`] soon.
    fn is_stopped(&self) -> bool;
}

impl CollectProgress for crate::progress::NoProgress {
    fn at(&self, _stage: Stage) {}

    fn is_stopped(&self) -> bool {
        false
    }
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Manifests removed from the store.
    pub manifest_count: u64,
    /// The roots that were walked.
    pub root_count: u64,
    /// Different objects that live.
    pub live_object_count: u64,
    /// Stored bytes of those objects, each counted once.
    pub live_bytes: u64,
    /// Packs removed from the store, and their bytes.
    pub deleted_pack_count: u64,
    /// See `deleted_pack_count`.
    pub deleted_bytes: u64,
    /// Packs whose live part was copied.
    pub rewritten_pack_count: u64,
    /// Bytes copied for that.
    pub rewritten_bytes: u64,
    /// Live packs whose footer cannot be read: left alone, for verification to mend.
    pub unreadable_pack_count: u64,
    /// Pins of ended operations released.
    pub released_pin_count: u64,
    /// Why packs that should have been rewritten were not.
    pub rewriting_waits: Option<String>,
    /// The most bytes of records in memory at once, and the bytes written to spill files.
    pub sort_memory_bytes_most: u64,
    /// See `sort_memory_bytes_most`.
    pub spilled_bytes: u64,
}

/// Why a run condemned nothing more.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// Something that a root needs is missing or damaged, or the store holds what the catalog does not know:
    /// nothing was condemned. Verify and mend the vault, then collect.
    #[error("nothing was condemned: {why}")]
    Unsafe {
        /// What is wrong, with names.
        why: String,
        /// The error behind it, where there is one.
        #[source]
        cause: Option<Box<VaultError>>,
    },
    /// Anything else; passing trouble is tried again.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

impl CollectError {
    fn unsafe_because(why: impl Into<String>) -> CollectError {
        CollectError::Unsafe { why: why.into(), cause: None }
    }
}

/// A failed call of the ledger: a run that was fenced off ends as one that was stopped.
fn ledger_failed(doing: &'static str) -> impl FnOnce(LedgerError) -> VaultError {
    move |error| match error {
        LedgerError::OperationClosed => VaultError::Stopped,
        error => error.while_doing(doing),
    }
}

/// What all steps of one run share.
struct Run<'a> {
    core: &'a Arc<Core>,
    ledger: &'a dyn CollectLedger,
    progress: &'a dyn CollectProgress,
    settings: CollectSettings,
    spill: Arc<Spill>,
    collected: Collected,
}

impl Run<'_> {
    fn require_going(&self) -> Result<(), VaultError> {
        if self.progress.is_stopped() { Err(VaultError::Stopped) } else { Ok(()) }
    }

    fn at(&self, phase: Phase, done_bytes: u64, total_bytes: u64) {
        self.progress.at(Stage { phase, done_bytes, total_bytes });
    }
}

impl Vault {
    /// Collects the vault once, under whatever lease the ledger checks.
    ///
    /// # Errors
    /// [`CollectError::Unsafe`] when nothing may be condemned; `Stopped` when the progress said so or another
    /// run took over; otherwise whatever failed. The next run begins anew in each case.
    pub fn collect(
        &self,
        order: &CollectOrder,
        ledger: &dyn CollectLedger,
        progress: &dyn CollectProgress,
    ) -> Result<Collected, CollectError> {
        let spill = Spill::new(&order.spill_folder, order.settings.sort_bytes)?;
        let mut run = Run {
            core: &self.core,
            ledger,
            progress,
            settings: order.settings,
            spill,
            collected: Collected::default(),
        };
        run.tidy()?;
        let held = run.held_manifests()?;
        let mut snapshot = ledger.snapshot().map_err(ledger_failed("reading the roots"))?;
        crash_point!("collect.begun.after");
        run.settle_strays(self, &held, &mut snapshot)?;
        run.look_for_stray_packs(&snapshot)?;
        let listed = run.list_packs(&snapshot)?;
        let marks: Marks = run.mark(self, &snapshot, &listed)?;
        let weighed = run.weigh(&listed, &marks)?;
        run.sweep(&snapshot, &weighed)?;
        let released = ledger.release_pins(snapshot.commit_seq).map_err(ledger_failed("releasing pins"))?;
        run.collected.released_pin_count = released;
        crash_point!("collect.pins_released.after");
        run.rewrite(&snapshot, &listed, &marks, &weighed)?;
        run.collected.sort_memory_bytes_most = run.spill.memory_bytes_most();
        run.collected.spilled_bytes = run.spill.spilled_bytes();
        Ok(run.collected)
    }
}

/// A delete that finds nothing has done its work before.
fn delete(core: &Core, name: &str, doing: &'static str) -> Result<(), VaultError> {
    match core.store.delete(name) {
        Ok(()) | Err(StoreError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error.while_doing(doing)),
    }
}
