//! The backup pipeline: segments in, trees out, with everything sealed on its way into packs.
//!
//! planner → workers (read, cut, id, known?, compress, seal, open again) → packer, and the leaf entries
//! of each segment back to the caller, who puts them in order and seals the nodes. A worker reads its
//! segment itself, a window at a time, so that bytes are still in its core's cache at each step, and no
//! segment lies in memory as a whole. Every queue is bounded, and a segment's permit returns only when
//! its leaf is in the tree, so one slow segment holds back the planner instead of filling memory. With
//! one thread the same steps run one after the other on the caller's thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::backup::base::Count;
use crate::backup::segment::{BATCH_BYTES, SegmentDone, SegmentJob, SegmentWorker};
use crate::backup::source::{Source, Wanted};
use crate::backup::tree::{Totals, TreeWriter};
use crate::crash;
use crate::error::VaultError;
use crate::operation::Operation;
use crate::packer::{Batch, Packer};
use crate::progress::{Progress, Step};
use crate::walk::Tree;

/// What the pipeline works on.
pub(super) struct Work<'a> {
    pub(super) operation: Arc<Operation>,
    pub(super) sources: Vec<Source<'a>>,
    /// What the base came to, when all of its volumes are tracked: only the difference is counted then.
    pub(super) base_count: Option<Count>,
    pub(super) progress: &'a dyn Progress,
}

/// What came of it: everything named is live in the ledger.
pub(super) struct Trees {
    pub(super) trees: Vec<Tree>,
    pub(super) totals: Totals,
}

/// A segment's way through the workers.
enum Outcome {
    Hole,
    Kept,
    Done(SegmentDone),
    /// A stage has failed; why, it tells when it is joined.
    Failed,
}

/// Segments that the planner may be ahead of the tree, for each worker: enough that none waits for the
/// slowest. A segment under way costs its entries, some 20 KiB; the bytes lie in the workers' windows.
const SEGMENTS_AHEAD: usize = 8;

impl<'a> Work<'a> {
    pub(super) fn run(&self) -> Result<Trees, VaultError> {
        let is_idle = self.base_count.is_some() && self.sources.iter().all(Source::is_unchanged);
        match self.operation.core.settings.threads {
            0 | 1 => self.run_inline(),
            _ if is_idle => self.run_inline(),
            threads => self.run_parallel(threads as usize),
        }
    }

    fn run_inline(&self) -> Result<Trees, VaultError> {
        let mut packer = Packer::inline(self.operation.clone());
        let mut worker = SegmentWorker::new(&self.operation)?;
        let mut segments = self.segments();
        let mut trees = TreeWriter::new(&self.operation, self.base_count)?;
        let trees = self.assemble(&mut trees, |nodes| {
            if let Some(nodes) = nodes {
                packer.add(&nodes)?;
                return Ok(None);
            }
            let Some((wanted, job)) = segments.next() else { return Err(VaultError::Stopped) };
            match wanted {
                Wanted::Hole => Ok(Some(Outcome::Hole)),
                Wanted::Kept => Ok(Some(Outcome::Kept)),
                Wanted::Data => {
                    let mut emit = |batch: Batch| packer.add(&batch).map(|()| batch.emptied());
                    Ok(Some(Outcome::Done(worker.process(job, &mut emit)?)))
                }
            }
        })?;
        packer.flush()?;
        Ok(trees)
    }

    /// The tree of a source that needs no look at its segments.
    fn unchanged_tree(&self, source: &Source<'a>) -> Option<Tree> {
        source.base.filter(|_| self.base_count.is_some() && source.is_unchanged())
    }

    /// All segments that have to be looked at, in order, and what each needs.
    fn segments(&self) -> impl Iterator<Item = (Wanted, SegmentJob<'_, 'a>)> + '_ {
        let sources = self.sources.iter().enumerate();
        let sources = sources.filter(|(_, source)| self.unchanged_tree(source).is_none());
        let counts_all = self.base_count.is_none();
        sources.flat_map(move |(source_index, source)| {
            (0..source.shape.segment_count()).map(move |segment_index| {
                let job = SegmentJob { source, source_index, segment_index, counts_all };
                (source.wanted(segment_index), job)
            })
        })
    }

    /// Puts segments in order into trees. `exchange` is given sealed nodes to pack, or else asked for
    /// the next segment's outcome.
    fn assemble(
        &self,
        writer: &mut TreeWriter,
        mut exchange: impl FnMut(Option<Batch>) -> Result<Option<Outcome>, VaultError>,
    ) -> Result<Trees, VaultError> {
        let mut trees = Vec::new();
        for source in &self.sources {
            if let Some(tree) = self.unchanged_tree(source) {
                self.progress.add(Step { logical_bytes: source.shape.size_bytes(), moved_bytes: 0 });
                trees.push(tree);
                continue;
            }
            writer.begin(source.shape, source.base)?;
            for index in 0..source.shape.segment_count() {
                if self.progress.is_stopped() {
                    return Err(VaultError::Stopped);
                }
                let before = self.operation.added_bytes();
                match exchange(None)? {
                    Some(Outcome::Done(done)) => writer.segment(Some(done))?,
                    Some(Outcome::Kept) => writer.kept_segment()?,
                    Some(Outcome::Hole) => writer.segment(None)?,
                    Some(Outcome::Failed) | None => return Err(VaultError::Stopped),
                }
                if let Some(nodes) = writer.take_batch(false) {
                    exchange(Some(nodes))?;
                }
                let moved_bytes = self.operation.added_bytes() - before;
                self.progress.add(Step { logical_bytes: source.extent(index).1, moved_bytes });
            }
            trees.push(writer.end()?);
        }
        if let Some(nodes) = writer.take_batch(true) {
            exchange(Some(nodes))?;
        }
        Ok(Trees { trees, totals: std::mem::take(&mut writer.totals) })
    }

    fn run_parallel(&self, threads: usize) -> Result<Trees, VaultError> {
        let in_flight = SEGMENTS_AHEAD * threads;
        let (permits, permits_taken) = bounded::<()>(in_flight);
        for _ in 0..in_flight {
            permits.send(()).expect("the queue has room for every permit");
        }
        let (jobs, jobs_taken) = bounded::<(u64, SegmentJob<'_, 'a>)>(in_flight);
        // Bounded by the permits.
        let (outcomes, outcomes_taken) = unbounded::<(u64, Outcome)>();
        let (batches, batches_taken) = bounded::<Batch>(self.batches_in_flight(threads));
        let (spares, spares_taken) = bounded::<Batch>(2 * threads);
        std::thread::scope(|scope| {
            let planner = Planner { work: self, permits: permits_taken, jobs, outcomes: outcomes.clone() };
            let mut stages = Stages { handles: Vec::new(), plan: crash::scope(), outcomes: outcomes.clone() };
            stages.spawn(scope, move || planner.run());
            for _ in 0..threads {
                let (jobs, outcomes) = (jobs_taken.clone(), outcomes.clone());
                let (batches, spares) = (batches.clone(), spares_taken.clone());
                stages.spawn(scope, move || self.work_segments(&jobs, &outcomes, &batches, &spares));
            }
            drop((jobs_taken, outcomes, spares_taken));
            let operation = self.operation.clone();
            stages.spawn(scope, move || pack_batches(operation, &batches_taken, &spares));
            let trees = self.collect(outcomes_taken, permits, batches);
            stages.join(trees)
        })
    }

    /// Takes the outcomes as they come, hands them on in order. Owns its ends of the queues: when it
    /// returns, for whatever reason, every other stage runs dry and ends.
    fn collect(
        &self,
        outcomes: Receiver<(u64, Outcome)>,
        permits: Sender<()>,
        batches: Sender<Batch>,
    ) -> Result<Trees, VaultError> {
        let mut early: BTreeMap<u64, Outcome> = BTreeMap::new();
        let mut next = 0;
        let mut writer = TreeWriter::new(&self.operation, self.base_count)?;
        self.assemble(&mut writer, |nodes| {
            if let Some(nodes) = nodes {
                return batches.send(nodes).map(|()| None).map_err(|_| VaultError::Stopped);
            }
            let outcome = loop {
                if let Some(outcome) = early.remove(&next) {
                    break outcome;
                }
                match outcomes.recv() {
                    Ok((_, Outcome::Failed)) | Err(_) => return Err(VaultError::Stopped),
                    Ok((ordinal, outcome)) => early.insert(ordinal, outcome),
                };
            };
            next += 1;
            // The reader may be through already.
            let _ = permits.try_send(());
            Ok(Some(outcome))
        })
    }

    /// Batches between workers and packer: enough to bridge the wait for a pack's number.
    fn batches_in_flight(&self, threads: usize) -> usize {
        let affordable = self.operation.core.settings.memory_bytes_max / (4 * BATCH_BYTES as u64);
        usize::try_from(affordable).unwrap_or(usize::MAX).clamp(2, 4 * threads)
    }

    fn work_segments(
        &self,
        jobs: &Receiver<(u64, SegmentJob<'_, 'a>)>,
        outcomes: &Sender<(u64, Outcome)>,
        batches: &Sender<Batch>,
        spares: &Receiver<Batch>,
    ) -> Result<(), VaultError> {
        let mut worker = SegmentWorker::new(&self.operation)?;
        let mut emit = |batch| {
            batches.send(batch).map_err(|_| VaultError::Stopped)?;
            Ok(spares.try_recv().unwrap_or_default())
        };
        for (ordinal, job) in jobs {
            let done = worker.process(job, &mut emit)?;
            outcomes.send((ordinal, Outcome::Done(done))).map_err(|_| VaultError::Stopped)?;
        }
        Ok(())
    }
}

/// The stage that says what each segment needs.
struct Planner<'w, 'a> {
    work: &'w Work<'a>,
    permits: Receiver<()>,
    jobs: Sender<(u64, SegmentJob<'w, 'a>)>,
    outcomes: Sender<(u64, Outcome)>,
}

impl Planner<'_, '_> {
    fn run(self) -> Result<(), VaultError> {
        for (ordinal, (wanted, job)) in (0..).zip(self.work.segments()) {
            // No permit comes any more when the collector is gone.
            if self.permits.recv().is_err() {
                return Ok(());
            }
            let passed = match wanted {
                Wanted::Data => {
                    self.jobs.send((ordinal, job)).map_err(|_| VaultError::Stopped)?;
                    continue;
                }
                Wanted::Hole => Outcome::Hole,
                Wanted::Kept => Outcome::Kept,
            };
            self.outcomes.send((ordinal, passed)).map_err(|_| VaultError::Stopped)?;
        }
        Ok(())
    }
}

fn pack_batches(
    operation: Arc<Operation>,
    batches: &Receiver<Batch>,
    spares: &Sender<Batch>,
) -> Result<(), VaultError> {
    let mut packer = Packer::new(operation);
    for batch in batches {
        packer.add(&batch)?;
        // One too many is let go.
        let _ = spares.try_send(batch.emptied());
    }
    packer.flush()
}

/// The stages under way, owned until they are joined.
struct Stages<'s> {
    handles: Vec<ScopedJoinHandle<'s, Result<(), VaultError>>>,
    plan: crash::Scope,
    outcomes: Sender<(u64, Outcome)>,
}

/// Tells the collector when a stage ends otherwise than well, by error or by panic: it would wait for
/// an outcome that never comes.
struct Notice {
    outcomes: Sender<(u64, Outcome)>,
    is_well: bool,
}

impl Drop for Notice {
    fn drop(&mut self) {
        if !self.is_well {
            let _ = self.outcomes.send((u64::MAX, Outcome::Failed));
        }
    }
}

impl<'s> Stages<'s> {
    fn spawn<'e>(
        &mut self,
        scope: &'s Scope<'s, 'e>,
        stage: impl FnOnce() -> Result<(), VaultError> + Send + 's,
    ) {
        let plan = self.plan.clone();
        let notice = Notice { outcomes: self.outcomes.clone(), is_well: false };
        self.handles.push(scope.spawn(move || {
            // Moved as a whole, so that it is dropped here and nowhere earlier.
            let mut notice = notice;
            let ended = plan.run(stage);
            notice.is_well = ended.is_ok();
            ended
        }));
    }

    /// Waits for all stages. What went wrong in one of them comes before [`VaultError::Stopped`], which
    /// the others report because that one is gone; a panic goes on.
    fn join(self, collected: Result<Trees, VaultError>) -> Result<Trees, VaultError> {
        let mut failure = None;
        let mut panic = None;
        for handle in self.handles {
            match handle.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) if failure.is_none() || matches!(failure, Some(VaultError::Stopped)) => {
                    failure = Some(error);
                }
                Ok(Err(_)) => {}
                Err(payload) => panic = Some(payload),
            }
        }
        if let Some(payload) = panic {
            std::panic::resume_unwind(payload);
        }
        match (collected, failure) {
            (Err(VaultError::Stopped), Some(error)) => Err(error),
            (Err(error), _) | (Ok(_), Some(error)) => Err(error),
            (Ok(trees), None) => Ok(trees),
        }
    }
}
