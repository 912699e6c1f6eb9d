//! All leaves of a tree, handled in parallel: fetch, check, open.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::crash;
use crate::cut::is_zero;
use crate::error::VaultError;
use crate::ids::{Address, Kind};
use crate::index::Place;
use crate::keys::DomainKeys;
use crate::object::{Expected, Header, Opener, address_of};
use crate::progress::Progress;
use crate::tree::LeafEntry;
use crate::vault::Core;
use crate::walk::{Leaf, NodeAt, Tree, Visitor, walk};

/// Stored bytes fetched at once.
const GROUP_BYTES_MAX: u64 = 4 << 20;
/// Plain bytes handed on at once: few enough to be still in a core's own cache.
const RUN_BYTES: usize = 1 << 20;

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
/// run of holes between them. With one thread in order, else from `threads` of them.
pub(super) fn each_leaf(
    core: &Arc<Core>,
    tree: &Tree,
    progress: &dyn Progress,
    threads: usize,
    handle: Handle<'_>,
) -> Result<(), VaultError> {
    if threads <= 1 {
        let mut reader = LeafReader::new(core)?;
        let mut sink = |job: LeafJob| handle(&mut reader, &job);
        return walk_disk(core, tree, progress, &mut sink);
    }
    let each = 2 * GROUP_BYTES_MAX + 2 * RUN_BYTES as u64;
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
    run: Run,
}

/// Entries fetched together: of those that name a chunk, address and place.
struct Group<'e> {
    entries: &'e [LeafEntry],
    addresses: Vec<Address>,
    places: Vec<Place>,
}

/// Plain bytes that lie together on the disk, until they are handed on.
struct Run {
    offset: u64,
    /// A spare byte, which opening a chunk behind it needs, then the bytes.
    bytes: Vec<u8>,
}

impl LeafReader {
    fn new(core: &Arc<Core>) -> Result<LeafReader, VaultError> {
        Ok(LeafReader { core: core.clone(), keys: core.keys(), opener: Opener::new()?, run: Run::new() })
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
        self.run.begin_at(job.offset);
        for group in self.groups(&job.entries)? {
            let mut stored = self.core.fetch_from(&group.places, &group.addresses)?.into_iter();
            for entry in group.entries {
                if entry.is_hole() {
                    self.run.end_with_hole(u64::from(entry.plain_len), take)?;
                    continue;
                }
                let stored = stored.next().expect("every chunk of the group was fetched");
                let expected = Expected::chunk(entry.address, entry.plain_len, entry.check);
                let start = self.run.bytes.len();
                let (keys, run) = (self.keys.as_ref(), &mut self.run.bytes);
                self.opener.open_behind(keys, &expected, stored.bytes(), run)?;
                stored_bytes += stored.bytes().len() as u64;
                if is_zero(&self.run.bytes[start..]) {
                    self.run.bytes.truncate(start);
                    self.run.end_with_hole(u64::from(entry.plain_len), take)?;
                } else if self.run.bytes.len() > RUN_BYTES {
                    self.run.end(take)?;
                }
            }
        }
        self.run.end(take)?;
        Ok(stored_bytes)
    }

    /// Checks that all chunks of a leaf are stored as what they should be; returns their bytes.
    pub(super) fn check_addresses(&mut self, job: &LeafJob) -> Result<u64, VaultError> {
        let mut bytes = 0;
        for group in self.groups(&job.entries)? {
            let stored = self.core.fetch_from(&group.places, &group.addresses)?;
            for (address, stored) in group.addresses.iter().zip(stored) {
                check_stored(&self.keys, *address, stored.bytes())?;
                bytes += stored.bytes().len() as u64;
            }
        }
        Ok(bytes)
    }

    /// Splits entries so that the stored bytes of each group are bounded.
    fn groups<'e>(&self, entries: &'e [LeafEntry]) -> Result<Vec<Group<'e>>, VaultError> {
        let addresses: Vec<Address> =
            entries.iter().filter(|entry| !entry.is_hole()).map(|entry| entry.address).collect();
        let mut places = self.core.locate(Kind::Chunk, &addresses)?.into_iter();
        let (mut groups, mut start, mut bytes) = (Vec::new(), 0, 0);
        let (mut group_addresses, mut group_places) = (Vec::new(), Vec::new());
        for (index, entry) in entries.iter().enumerate() {
            let Some(place) = (!entry.is_hole()).then(|| places.next()).flatten() else { continue };
            if bytes + u64::from(place.stored_len) > GROUP_BYTES_MAX && index > start {
                groups.push(Group {
                    entries: &entries[start..index],
                    addresses: std::mem::take(&mut group_addresses),
                    places: std::mem::take(&mut group_places),
                });
                (start, bytes) = (index, 0);
            }
            bytes += u64::from(place.stored_len);
            group_addresses.push(entry.address);
            group_places.push(place);
        }
        groups.push(Group { entries: &entries[start..], addresses: group_addresses, places: group_places });
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
    fn new() -> Run {
        Run { offset: 0, bytes: vec![0] }
    }

    fn begin_at(&mut self, offset: u64) {
        self.offset = offset;
        self.bytes.truncate(1);
    }

    fn end(&mut self, take: &mut dyn FnMut(Part<'_>) -> Result<(), VaultError>) -> Result<(), VaultError> {
        let bytes = &self.bytes[1..];
        if bytes.is_empty() {
            return Ok(());
        }
        take(Part::Data { offset: self.offset, bytes })?;
        self.offset += bytes.len() as u64;
        self.bytes.truncate(1);
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
