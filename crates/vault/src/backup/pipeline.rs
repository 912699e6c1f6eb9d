//! The backup pipeline: segments in, trees out, with everything sealed on its way into packs.
//!
//! reader → workers (cut, id, known?, compress, seal, open again) → packer, and the leaf entries of
//! each segment back to the caller, who puts them in order and seals the nodes. Every queue is
//! bounded, and a segment's permit returns only when its leaf is in the tree, so one slow segment
//! holds back the reader instead of filling memory. With one thread the same steps run one after
//! the other on the caller's thread.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::backup::segment::{SegmentDone, SegmentWorker};
use crate::backup::source::{Segment, Segments, Source};
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
    /// For each source its tree in the base, where segments may be kept.
    pub(super) bases: Vec<Option<Tree>>,
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

impl Work<'_> {
    pub(super) fn run(&self) -> Result<Trees, VaultError> {
        match self.operation.core.settings.threads {
            0 | 1 => self.run_inline(),
            threads => self.run_parallel(threads as usize),
        }
    }

    fn run_inline(&self) -> Result<Trees, VaultError> {
        let mut packer = Packer::inline(self.operation.clone());
        let mut worker = SegmentWorker::new(&self.operation)?;
        let mut segments = Segments::new(&self.sources);
        let mut spare = Vec::new();
        let mut trees = TreeWriter::new(&self.operation)?;
        let trees = self.assemble(&mut trees, |nodes| {
            if let Some(nodes) = nodes {
                packer.add(&nodes)?;
                return Ok(None);
            }
            let segment = segments.next(&mut || Some(std::mem::take(&mut spare)))?;
            let Some(segment) = segment else { return Err(VaultError::Stopped) };
            let Segment::Data(bytes) = segment else { return Ok(Some(passed(&segment))) };
            let done = worker.process(&bytes, &mut |batch| packer.add(&batch))?;
            spare = bytes;
            Ok(Some(Outcome::Done(done)))
        })?;
        packer.flush()?;
        Ok(trees)
    }

    /// Puts segments in order into trees. `exchange` is given sealed nodes to pack, or else asked for
    /// the next segment's outcome.
    fn assemble(
        &self,
        writer: &mut TreeWriter,
        mut exchange: impl FnMut(Option<Batch>) -> Result<Option<Outcome>, VaultError>,
    ) -> Result<Trees, VaultError> {
        let mut trees = Vec::new();
        for (source, base) in self.sources.iter().zip(&self.bases) {
            writer.begin(source.shape, *base)?;
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
                let place = crate::tree::NodePlace { level: 0, index };
                let moved_bytes = self.operation.added_bytes() - before;
                self.progress.add(Step { logical_bytes: source.shape.extent(place).1, moved_bytes });
            }
            trees.push(writer.end()?);
        }
        if let Some(nodes) = writer.take_batch(true) {
            exchange(Some(nodes))?;
        }
        Ok(Trees { trees, totals: std::mem::take(&mut writer.totals) })
    }

    fn run_parallel(&self, threads: usize) -> Result<Trees, VaultError> {
        let in_flight = self.segments_in_flight(threads);
        let (permits, permits_taken) = bounded::<()>(in_flight);
        for _ in 0..in_flight {
            permits.send(()).expect("the queue has room for every permit");
        }
        let (jobs, jobs_taken) = bounded::<(u64, Segment)>(in_flight);
        // Both are bounded by the permits.
        let (spares, spares_taken) = unbounded::<Vec<u8>>();
        let (outcomes, outcomes_taken) = unbounded::<(u64, Outcome)>();
        let (batches, batches_taken) = bounded::<Batch>(threads);
        std::thread::scope(|scope| {
            let reader_outcomes = outcomes.clone();
            let reader = Reader {
                work: self,
                permits: permits_taken,
                spares: spares_taken,
                jobs,
                outcomes: reader_outcomes,
            };
            let mut stages = Stages { handles: Vec::new(), plan: crash::scope(), outcomes: outcomes.clone() };
            stages.spawn(scope, move || reader.run());
            for _ in 0..threads {
                let (jobs, outcomes) = (jobs_taken.clone(), outcomes.clone());
                let (batches, spares) = (batches.clone(), spares.clone());
                stages.spawn(scope, move || self.work_segments(&jobs, &outcomes, &batches, &spares));
            }
            drop((jobs_taken, outcomes, spares));
            let operation = self.operation.clone();
            stages.spawn(scope, move || pack_batches(operation, &batches_taken));
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
        let mut writer = TreeWriter::new(&self.operation)?;
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

    /// Segments between reader and tree. A segment costs its bytes, and about as many sealed.
    fn segments_in_flight(&self, threads: usize) -> usize {
        let core = &self.operation.core;
        let each = 2 * u64::from(core.cut.segment_bytes);
        let affordable = (core.settings.memory_bytes_max / each) as usize;
        affordable.clamp(2, 4 * threads)
    }

    fn work_segments(
        &self,
        jobs: &Receiver<(u64, Segment)>,
        outcomes: &Sender<(u64, Outcome)>,
        batches: &Sender<Batch>,
        spares: &Sender<Vec<u8>>,
    ) -> Result<(), VaultError> {
        let mut worker = SegmentWorker::new(&self.operation)?;
        for (ordinal, segment) in jobs {
            let outcome = match segment {
                Segment::Data(bytes) => {
                    let mut emit = |batch| batches.send(batch).map_err(|_| VaultError::Stopped);
                    let done = worker.process(&bytes, &mut emit)?;
                    let _ = spares.send(bytes);
                    Outcome::Done(done)
                }
                other => passed(&other),
            };
            outcomes.send((ordinal, outcome)).map_err(|_| VaultError::Stopped)?;
        }
        Ok(())
    }
}

fn passed(segment: &Segment) -> Outcome {
    if matches!(segment, Segment::Kept) { Outcome::Kept } else { Outcome::Hole }
}

/// The stage that reads the volumes.
struct Reader<'w, 'a> {
    work: &'w Work<'a>,
    permits: Receiver<()>,
    spares: Receiver<Vec<u8>>,
    jobs: Sender<(u64, Segment)>,
    outcomes: Sender<(u64, Outcome)>,
}

impl Reader<'_, '_> {
    fn run(self) -> Result<(), VaultError> {
        let mut segments = Segments::new(&self.work.sources);
        for ordinal in 0.. {
            // No permit comes any more when the collector is gone.
            if self.permits.recv().is_err() {
                return Ok(());
            }
            let mut spare = || Some(self.spares.try_recv().unwrap_or_default());
            match segments.next(&mut spare)? {
                None => return Ok(()),
                Some(data @ Segment::Data(_)) => {
                    self.jobs.send((ordinal, data)).map_err(|_| VaultError::Stopped)?
                }
                Some(other) => {
                    self.outcomes.send((ordinal, passed(&other))).map_err(|_| VaultError::Stopped)?;
                }
            }
        }
        Ok(())
    }
}

fn pack_batches(operation: Arc<Operation>, batches: &Receiver<Batch>) -> Result<(), VaultError> {
    let mut packer = Packer::new(operation);
    for batch in batches {
        packer.add(&batch)?;
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
