//! The sending end of a copy: batches go out over one or more connections and are waited for.

use std::thread::{Scope, ScopedJoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::crash;
use crate::error::VaultError;
use crate::progress::{Progress, Step};
use crate::transfer::wire::BatchWriter;
use crate::transfer::{Acknowledged, Peer, PeerError};

/// Sends batches. At most two for each connection are in memory besides the one being filled.
pub(super) struct Outbox<'s> {
    way: Way<'s>,
    progress: &'s dyn Progress,
    pub(super) sent: Sent,
}

/// What went out, and how much of it for nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sent {
    pub(super) object_count: u64,
    pub(super) bytes: u64,
    pub(super) duplicate_bytes: u64,
}

enum Way<'s> {
    /// On the caller's thread.
    Inline(&'s dyn Peer),
    Threads {
        batches: Sender<BatchWriter>,
        answers: Receiver<Answer>,
        open_count: u64,
        handles: Vec<ScopedJoinHandle<'s, ()>>,
    },
}

/// What the peer said to a batch of so many object bytes.
struct Answer {
    object_bytes: u64,
    result: Result<Acknowledged, PeerError>,
}

impl<'s> Outbox<'s> {
    pub(super) fn inline(peer: &'s dyn Peer, progress: &'s dyn Progress) -> Outbox<'s> {
        Outbox { way: Way::Inline(peer), progress, sent: Sent::default() }
    }

    pub(super) fn threads<'e>(
        scope: &'s Scope<'s, 'e>,
        connections: usize,
        peer: &'s dyn Peer,
        progress: &'s dyn Progress,
    ) -> Outbox<'s> {
        let (batches, taken) = bounded::<BatchWriter>(connections);
        let (answer, answers) = unbounded();
        let plan = crash::scope();
        let connect = |_| {
            let (taken, answer, plan) = (taken.clone(), answer.clone(), plan.clone());
            scope.spawn(move || plan.run(|| send_all(peer, &taken, &answer)))
        };
        let handles = (0..connections).map(connect).collect();
        let way = Way::Threads { batches, answers, open_count: 0, handles };
        Outbox { way, progress, sent: Sent::default() }
    }

    /// Sends a batch, or hands it to a connection; waits while all of them are busy.
    pub(super) fn send(&mut self, batch: BatchWriter) -> Result<(), VaultError> {
        if batch.object_count() == 0 {
            return Ok(());
        }
        self.sent.object_count += u64::from(batch.object_count());
        self.sent.bytes += batch.object_bytes();
        match &mut self.way {
            Way::Inline(peer) => {
                let answer = deliver(*peer, batch);
                self.take(answer)
            }
            Way::Threads { batches, open_count, .. } => {
                *open_count += 1;
                // All connections gone: one of the answers says why.
                if batches.send(batch).is_err() { self.wait() } else { self.take_ready() }
            }
        }
    }

    /// Waits until everything sent so far is acknowledged.
    pub(super) fn wait(&mut self) -> Result<(), VaultError> {
        loop {
            let Way::Threads { answers, open_count, handles, .. } = &mut self.way else { return Ok(()) };
            if *open_count == 0 {
                return Ok(());
            }
            let Ok(answer) = answers.recv() else {
                // All connections ended without an answer: they died, unless there are none left to ask.
                for handle in handles.drain(..) {
                    if let Err(payload) = handle.join() {
                        std::panic::resume_unwind(payload);
                    }
                }
                return Err(VaultError::Stopped);
            };
            *open_count -= 1;
            self.take(answer)?;
        }
    }

    fn take_ready(&mut self) -> Result<(), VaultError> {
        while let Way::Threads { answers, open_count, .. } = &mut self.way {
            let Ok(answer) = answers.try_recv() else { break };
            *open_count -= 1;
            self.take(answer)?;
        }
        Ok(())
    }

    fn take(&mut self, answer: Answer) -> Result<(), VaultError> {
        let acknowledged =
            answer.result.map_err(|cause| VaultError::Peer { doing: "sending objects", cause })?;
        self.sent.duplicate_bytes += acknowledged.duplicate_bytes;
        self.progress.add(Step { logical_bytes: 0, moved_bytes: answer.object_bytes });
        Ok(())
    }
}

fn deliver(peer: &dyn Peer, batch: BatchWriter) -> Answer {
    let object_bytes = batch.object_bytes();
    Answer { object_bytes, result: peer.send(&batch.into_bytes()) }
}

fn send_all(peer: &dyn Peer, batches: &Receiver<BatchWriter>, answers: &Sender<Answer>) {
    for batch in batches {
        let answer = deliver(peer, batch);
        let is_over = answer.result.is_err();
        // After a failure nothing more goes out: the copy ends and begins anew.
        if answers.send(answer).is_err() || is_over {
            return;
        }
    }
}
