//! Filling packs: objects go into the open pack of their stream, full packs are ended, synced and
//! made live, and the index learns of them.
//!
//! Two streams: chunks, and nodes, so that walking trees reads node packs only. A node pack is
//! never made live before every chunk pack that was begun earlier; so a node that the ledger knows
//! has its children, and a crash leaves litter, never a dangling reference.
//!
//! Ending a pack (footer, sync, ledger, index) runs beside the filling of the next one, unless the
//! packer is inline: then everything happens on the caller's thread, in a fixed order.

use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded, select};

use crate::crash;
use crate::crash_point;
use crate::error::VaultError;
use crate::ids::{Address, DedupId, Epoch, Kind, PackNumber};
use crate::index::{IndexedObject, IndexedPack};
use crate::layout::PackName;
use crate::ledger::SealedPack;
use crate::operation::Operation;
use crate::pack::{OBJECT_COUNT_MAX, PackFooter};
use crate::store::{Put, StoreWriter};

/// Packs that wait for their sync while the next ones are filled.
const ENDING_PACKS_MAX: usize = 2;

/// Sealed objects on their way into a pack, one after the other in one buffer.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    pub(crate) objects: Vec<BatchObject>,
}

impl Batch {
    /// The same buffers with nothing in them.
    pub(crate) fn emptied(mut self) -> Batch {
        self.bytes.clear();
        self.objects.clear();
        self
    }
}

/// One object of a [`Batch`].
#[derive(Clone, Copy)]
pub(crate) struct BatchObject {
    pub(crate) kind: Kind,
    pub(crate) address: Address,
    pub(crate) stored_len: u32,
    /// The id of its plaintext, where this vault made the chunk.
    pub(crate) id: Option<DedupId>,
}

struct OpenPack {
    name: PackName,
    store_name: String,
    writer: Box<dyn StoreWriter>,
    footer: PackFooter,
    ids: Vec<Option<DedupId>>,
}

/// Fills packs for one operation. Dropping it without [`Packer::flush`] forgets the open packs.
pub(crate) struct Packer {
    operation: Arc<Operation>,
    chunks: Option<OpenPack>,
    nodes: Option<OpenPack>,
    ender: Ender,
}

enum Ender {
    Inline,
    Thread {
        orders: Option<Sender<Order>>,
        thread: Option<JoinHandle<Result<(), VaultError>>>,
        /// Closes when the thread ends, however it ends. Orders that it did not take stay in their
        /// channel, and so does the answer that somebody may wait for.
        life: Receiver<()>,
    },
}

enum Order {
    End(Box<OpenPack>),
    /// Answered once everything before it is done.
    Wait(Sender<()>),
}

impl Packer {
    /// A packer whose packs are ended by a thread of its own.
    pub(crate) fn new(operation: Arc<Operation>) -> Packer {
        let (orders, received) = bounded(ENDING_PACKS_MAX);
        let scope = crash::scope();
        let worker = operation.clone();
        let (alive, life) = bounded(0);
        let thread = std::thread::spawn(move || {
            let _alive: Sender<()> = alive;
            scope.run(|| end_packs(&worker, &received))
        });
        let ender = Ender::Thread { orders: Some(orders), thread: Some(thread), life };
        Packer { operation, chunks: None, nodes: None, ender }
    }

    /// A packer that does everything on the caller's thread.
    pub(crate) fn inline(operation: Arc<Operation>) -> Packer {
        Packer { operation, chunks: None, nodes: None, ender: Ender::Inline }
    }

    /// Appends the objects that no open pack of this operation holds yet. Neighbours go out in one write.
    pub(crate) fn add(&mut self, batch: &Batch) -> Result<(), VaultError> {
        let (mut run_start, mut run_first, mut start) = (0, 0, 0);
        for (index, object) in batch.objects.iter().enumerate() {
            let end = start + object.stored_len as usize;
            let is_claimed = self.operation.claim(object.address, object.stored_len);
            let is_other_stream = index > run_first && batch.objects[run_first].kind != object.kind;
            if !is_claimed || is_other_stream {
                self.append(&batch.objects[run_first..index], &batch.bytes[run_start..start])?;
                (run_first, run_start) = if is_claimed { (index, start) } else { (index + 1, end) };
            }
            start = end;
        }
        self.append(&batch.objects[run_first..], &batch.bytes[run_start..start])
    }

    /// Appends objects of one stream that lie one behind the other; ends packs as they become full.
    fn append(&mut self, mut objects: &[BatchObject], mut stored: &[u8]) -> Result<(), VaultError> {
        let settings = &self.operation.core.settings;
        let bytes_target = settings.pack_bytes_target;
        let count_max = settings.pack_object_count_max.min(OBJECT_COUNT_MAX) as usize;
        while let Some(first) = objects.first() {
            let kind = first.kind;
            let stream = if kind == Kind::Node { &mut self.nodes } else { &mut self.chunks };
            let pack = match stream {
                Some(pack) => pack,
                None => stream.insert(begin_pack(&self.operation)?),
            };
            let (mut taken, mut length, mut is_full) = (0, 0, false);
            while taken < objects.len() && !is_full {
                let object = &objects[taken];
                pack.footer.push(object.kind, object.stored_len, object.address, object.id);
                pack.ids.push(object.id);
                (taken, length) = (taken + 1, length + object.stored_len as usize);
                is_full = pack.footer.object_bytes() >= bytes_target || pack.ids.len() >= count_max;
            }
            let written = pack.writer.append(&stored[..length]);
            written.map_err(|error| error.while_doing("writing a pack"))?;
            (objects, stored) = (&objects[taken..], &stored[length..]);
            if is_full {
                // Chunks first, also when it is the nodes that are full.
                self.end_chunks()?;
                if kind == Kind::Node {
                    self.end_nodes()?;
                }
            }
        }
        Ok(())
    }

    fn end_chunks(&mut self) -> Result<(), VaultError> {
        let pack = self.chunks.take();
        self.end(pack)
    }

    fn end_nodes(&mut self) -> Result<(), VaultError> {
        let pack = self.nodes.take();
        self.end(pack)
    }

    fn end(&mut self, pack: Option<OpenPack>) -> Result<(), VaultError> {
        let Some(pack) = pack else { return Ok(()) };
        match &mut self.ender {
            Ender::Inline => end_pack(&self.operation, pack),
            Ender::Thread { .. } => self.order(Order::End(Box::new(pack))),
        }
    }

    /// Ends all open packs and waits until each is live and in the index.
    pub(crate) fn flush(&mut self) -> Result<(), VaultError> {
        self.end_chunks()?;
        self.end_nodes()?;
        let Ender::Thread { life, .. } = &self.ender else { return Ok(()) };
        let life = life.clone();
        let (done, wait) = bounded(1);
        self.order(Order::Wait(done))?;
        let is_done = select! {
            recv(wait) -> answer => answer.is_ok(),
            recv(life) -> _ => wait.try_recv().is_ok(),
        };
        if is_done { Ok(()) } else { self.failure() }
    }

    fn order(&mut self, order: Order) -> Result<(), VaultError> {
        let Ender::Thread { orders: Some(orders), .. } = &self.ender else { return Err(VaultError::Stopped) };
        if orders.send(order).is_err() { self.failure() } else { Ok(()) }
    }

    /// Why the thread ended before its time.
    fn failure(&mut self) -> Result<(), VaultError> {
        let Ender::Thread { orders, thread, .. } = &mut self.ender else { return Err(VaultError::Stopped) };
        *orders = None;
        match thread.take().map(JoinHandle::join) {
            Some(Ok(Err(error))) => Err(error),
            Some(Err(payload)) => std::panic::resume_unwind(payload),
            Some(Ok(Ok(()))) | None => Err(VaultError::Stopped),
        }
    }
}

impl Drop for Packer {
    fn drop(&mut self) {
        if let Ender::Thread { orders, thread, .. } = &mut self.ender {
            *orders = None;
            // What it would report concerns packs that nobody asked to keep.
            let _ = thread.take().map(JoinHandle::join);
        }
    }
}

fn end_packs(operation: &Operation, orders: &Receiver<Order>) -> Result<(), VaultError> {
    for order in orders {
        match order {
            Order::End(pack) => end_pack(operation, *pack)?,
            Order::Wait(done) => {
                let _ = done.send(());
            }
        }
    }
    Ok(())
}

fn begin_pack(operation: &Operation) -> Result<OpenPack, VaultError> {
    let core = &operation.core;
    let number = core.ledger.reserve(operation.id).map_err(|error| error.while_doing("reserving a pack"))?;
    crash_point!("pack.reserve.after");
    let name = PackName::new(number, core.incarnation);
    let store_name = core.pack_store_name(name);
    let writer = core.store.begin(&store_name).map_err(|error| error.while_doing("beginning a pack"))?;
    Ok(OpenPack { name, store_name, writer, footer: PackFooter::new(), ids: Vec::new() })
}

/// Footer, sync, ledger, index: in this order, each durable before the next.
fn end_pack(operation: &Operation, pack: OpenPack) -> Result<(), VaultError> {
    let core = &operation.core;
    let OpenPack { name, store_name, mut writer, footer, ids } = pack;
    let keys = core.keys();
    let local = keys.sealing_keys(Kind::DedupMap).ok().filter(|_| ids.iter().any(Option::is_some));
    let end = footer.finish(local.map(|keys| (keys, name)))?;
    writer.append(&end.bytes).map_err(|error| error.while_doing("writing a footer"))?;
    crash_point!("pack.finish.before");
    match writer.finish().map_err(|error| error.while_doing("syncing a pack"))? {
        Put::Created => {}
        Put::Exists => {
            return Err(VaultError::Forked {
                what: format!("pack {store_name} exists before it was written"),
            });
        }
    }
    crash_point!("pack.finish.after");
    let sealed = SealedPack {
        number: name.number,
        incarnation: core.incarnation,
        bytes: footer.object_bytes() + end.bytes.len() as u64,
        object_count: footer.entries().len() as u32,
        footer_digest: end.footer_digest,
    };
    core.ledger.seal(operation.id, &sealed).map_err(|error| error.while_doing("sealing a pack"))?;
    crash_point!("pack.seal.after");
    operation.note_own(name.number);
    let epoch = if local.is_some() { keys.current_epoch() } else { Epoch::NONE };
    core.index.add(&indexed(name.number, store_name, epoch, &footer, &ids))?;
    crash_point!("pack.index.after");
    operation.forget_pending(footer.entries().iter().zip(&ids).map(|(entry, id)| (entry.address, *id)));
    tracing::debug!(pack = %name.number, bytes = sealed.bytes, objects = sealed.object_count, "sealed a pack");
    Ok(())
}

fn indexed(
    number: PackNumber,
    name: String,
    epoch: Epoch,
    footer: &PackFooter,
    ids: &[Option<DedupId>],
) -> IndexedPack {
    let objects = footer.entries().iter().zip(ids).map(|(entry, id)| IndexedObject {
        address: entry.address,
        kind: entry.kind,
        offset: entry.offset,
        stored_len: entry.stored_len,
        id: *id,
    });
    IndexedPack { number, name, epoch, objects: objects.collect() }
}
