//! All leaves of a tree, handled in parallel: fetch, check, open.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::crash;
use crate::cut::is_zero;
use crate::error::VaultError;
use crate::ids::{Address, Kind};
use crate::keys::DomainKeys;
use crate::object::{Expected, Header, Opener, address_of};
use crate::progress::Progress;
use crate::restore::chunk_addresses;
use crate::tree::LeafEntry;
use crate::vault::Core;
use crate::walk::{Leaf, NodeAt, Tree, Visitor, walk};

/// Stored bytes fetched at once, and plain bytes handed on at once.
const GROUP_BYTES_MAX: u64 = 4 << 20;

/// A segment to be read, or a run of segments that hold nothing (no entries).
pub(super) struct LeafJob {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) entries: Vec<LeafEntry>,
}

/// A part of a volume, opened.
pub(super) enum Part<'a> {
    Data { offset: u64, bytes: &'a [u8] },
    Hole { offset: u64, length: u64 },
}

type Handle<'h> = &'h (dyn Fn(&mut LeafReader, &LeafJob) -> Result<(), VaultError> + Sync);

/// Calls `handle` for the whole disk under `tree`, piece by piece: once for each leaf and for each
/// run of holes between them. With one thread in order, else from several threads.
pub(super) fn each_leaf(
    core: &Arc<Core>,
    tree: &Tree,
    progress: &dyn Progress,
    handle: Handle<'_>,
) -> Result<(), VaultError> {
    let threads = core.settings.threads as usize;
    if threads <= 1 {
        let mut reader = LeafReader::new(core)?;
        let mut sink = |job: LeafJob| handle(&mut reader, &job);
        return walk_disk(core, tree, progress, &mut sink);
    }
    let each = 3 * u64::from(tree.shape.segment_bytes());
    let workers = (core.settings.memory_bytes_max / each).clamp(1, threads as u64);
    // A job is small: its bytes are fetched by the worker that takes it.
    let (jobs, jobs_taken) = bounded::<LeafJob>(2 * threads);
    let plan = crash::scope();
    std::thread::scope(|scope| {
        let mut handles = Vec::new();
        for _ in 0..workers {
            let (jobs_taken, plan) = (jobs_taken.clone(), plan.clone());
            handles.push(scope.spawn(move || plan.run(|| handle_jobs(core, &jobs_taken, handle))));
        }
        drop(jobs_taken);
        let walked = send_jobs(core, tree, progress, jobs);
        let mut failure = None;
        for worker in handles {
            match worker.join() {
                Ok(Ok(())) => {}
                Ok(Err(error)) => failure = failure.or(Some(error)),
                Err(payload) => std::panic::resume_unwind(payload),
            }
        }
        // When all workers are gone, the walk only knows that nobody takes its jobs.
        match (walked, failure) {
            (Err(VaultError::Stopped), Some(error)) | (Ok(()), Some(error)) => Err(error),
            (walked, _) => walked,
        }
    })
}

fn send_jobs(
    core: &Arc<Core>,
    tree: &Tree,
    progress: &dyn Progress,
    jobs: Sender<LeafJob>,
) -> Result<(), VaultError> {
    walk_disk(core, tree, progress, &mut |job| jobs.send(job).map_err(|_| VaultError::Stopped))
}

fn handle_jobs(core: &Arc<Core>, jobs: &Receiver<LeafJob>, handle: Handle<'_>) -> Result<(), VaultError> {
    let mut reader = LeafReader::new(core)?;
    jobs.iter().try_for_each(|job| handle(&mut reader, &job))
}

type Sink<'s> = &'s mut dyn FnMut(LeafJob) -> Result<(), VaultError>;

fn walk_disk(core: &Core, tree: &Tree, progress: &dyn Progress, sink: Sink<'_>) -> Result<(), VaultError> {
    let mut visitor = DiskVisitor { tree, progress, sink, done: 0 };
    if !tree.root.is_zero() {
        walk(core, tree, None, &mut visitor)?;
    }
    visitor.hole_until(tree.shape.size_bytes())
}

struct DiskVisitor<'a, 's> {
    tree: &'a Tree,
    progress: &'a dyn Progress,
    sink: Sink<'s>,
    /// Everything before this offset was handed on.
    done: u64,
}

impl DiskVisitor<'_, '_> {
    fn hole_until(&mut self, offset: u64) -> Result<(), VaultError> {
        let (start, length) = (self.done, offset - self.done);
        self.done = offset;
        if length == 0 {
            return Ok(());
        }
        (self.sink)(LeafJob { offset: start, length, entries: Vec::new() })
    }
}

impl Visitor for DiskVisitor<'_, '_> {
    fn choose(&mut self, nodes: &[NodeAt]) -> Result<Vec<bool>, VaultError> {
        Ok(vec![true; nodes.len()])
    }

    fn leaf(&mut self, leaf: &Leaf<'_>) -> Result<(), VaultError> {
        if self.progress.is_stopped() {
            return Err(VaultError::Stopped);
        }
        let (offset, length) = self.tree.shape.extent(leaf.place);
        self.hole_until(offset)?;
        self.done = offset + length;
        (self.sink)(LeafJob { offset, length, entries: leaf.entries.to_vec() })
    }

    fn after(&mut self, _node: NodeAt, _stored: &[u8]) -> Result<(), VaultError> {
        Ok(())
    }
}

/// Reads the chunks of leaves. One for each thread.
pub(super) struct LeafReader {
    core: Arc<Core>,
    keys: Arc<DomainKeys>,
    opener: Opener,
    opened: Vec<u8>,
}

/// Plain bytes that lie together on the disk, until they are handed on.
#[derive(Default)]
struct Run {
    offset: u64,
    bytes: Vec<u8>,
}

impl LeafReader {
    fn new(core: &Arc<Core>) -> Result<LeafReader, VaultError> {
        Ok(LeafReader { core: core.clone(), keys: core.keys(), opener: Opener::new()?, opened: Vec::new() })
    }

    /// Opens all chunks of a leaf and hands on what the disk holds, in order; zeros come as holes.
    /// Returns the stored bytes read.
    pub(super) fn open_parts(
        &mut self,
        job: &LeafJob,
        take: &mut dyn FnMut(Part<'_>) -> Result<(), VaultError>,
    ) -> Result<u64, VaultError> {
        if job.entries.is_empty() {
            take(Part::Hole { offset: job.offset, length: job.length })?;
            return Ok(0);
        }
        let mut stored_bytes = 0;
        let mut run = Run { offset: job.offset, ..Run::default() };
        for group in self.groups(&job.entries)? {
            let addresses: Vec<Address> =
                group.iter().filter(|entry| !entry.is_hole()).map(|entry| entry.address).collect();
            let mut stored = self.core.fetch(Kind::Chunk, &addresses)?.into_iter();
            for entry in group {
                if entry.is_hole() {
                    run.end_with_hole(u64::from(entry.plain_len), take)?;
                    continue;
                }
                let stored = stored.next().expect("every chunk of the group was fetched");
                let expected = Expected::chunk(entry.address, entry.plain_len, entry.check);
                self.opener.open(self.keys.as_ref(), &expected, stored.bytes(), &mut self.opened)?;
                stored_bytes += stored.bytes().len() as u64;
                if is_zero(&self.opened) {
                    run.end_with_hole(u64::from(entry.plain_len), take)?;
                } else {
                    run.push(&self.opened, take)?;
                }
            }
        }
        run.end(take)?;
        Ok(stored_bytes)
    }

    /// Checks that all chunks of a leaf are stored as what they should be; returns their bytes.
    pub(super) fn check_addresses(&mut self, job: &LeafJob) -> Result<u64, VaultError> {
        let mut bytes = 0;
        for group in self.groups(&job.entries)? {
            let group_job = LeafJob { offset: 0, length: 0, entries: group.to_vec() };
            let addresses = chunk_addresses(&group_job);
            for (address, stored) in addresses.iter().zip(self.core.fetch(Kind::Chunk, &addresses)?) {
                check_stored(&self.keys, *address, stored.bytes())?;
                bytes += stored.bytes().len() as u64;
            }
        }
        Ok(bytes)
    }

    /// Splits entries so that the stored bytes of each group are bounded.
    fn groups<'e>(&self, entries: &'e [LeafEntry]) -> Result<Vec<&'e [LeafEntry]>, VaultError> {
        let addresses: Vec<Address> =
            entries.iter().filter(|entry| !entry.is_hole()).map(|entry| entry.address).collect();
        let mut places = self.core.locate(Kind::Chunk, &addresses)?.into_iter();
        let (mut groups, mut start, mut bytes) = (Vec::new(), 0, 0);
        for (index, entry) in entries.iter().enumerate() {
            let stored_len =
                if entry.is_hole() { 0 } else { places.next().map_or(0, |place| place.stored_len) };
            if bytes + u64::from(stored_len) > GROUP_BYTES_MAX && index > start {
                groups.push(&entries[start..index]);
                (start, bytes) = (index, 0);
            }
            bytes += u64::from(stored_len);
        }
        groups.push(&entries[start..]);
        Ok(groups)
    }
}

/// What can be said of a stored chunk without the key that opens it.
fn check_stored(keys: &DomainKeys, address: Address, stored: &[u8]) -> Result<(), VaultError> {
    let corrupt = |why| VaultError::Corrupt { address, why };
    if address_of(stored) != address {
        return Err(corrupt("the bytes have another address"));
    }
    let header = Header::parse(stored).map_err(|_| corrupt("it has no lawful header"))?;
    if header.kind != Kind::Chunk || header.domain != keys.domain() {
        return Err(corrupt("it is of another kind or domain"));
    }
    Ok(())
}

impl Run {
    fn push(
        &mut self,
        bytes: &[u8],
        take: &mut dyn FnMut(Part<'_>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() as u64 >= GROUP_BYTES_MAX { self.end(take) } else { Ok(()) }
    }

    fn end(&mut self, take: &mut dyn FnMut(Part<'_>) -> Result<(), VaultError>) -> Result<(), VaultError> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        take(Part::Data { offset: self.offset, bytes: &self.bytes })?;
        self.offset += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }

    fn end_with_hole(
        &mut self,
        length: u64,
        take: &mut dyn FnMut(Part<'_>) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        self.end(take)?;
        take(Part::Hole { offset: self.offset, length })?;
        self.offset += length;
        Ok(())
    }
}
