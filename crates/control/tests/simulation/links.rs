//! The link between the two regions: a plain call into the other region's `Control`, with a fate for each
//! message. The called region works under its own crash plan; when it dies while it answers, the caller
//! hears nothing more and the region is down until the world opens it again.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use control::Control;
use control::peers::messages::{Asking, LinkError, PeerAddress, PeerLinks, PeerReply, PeerRequest};
use control::workers::Timer;
use vault::crash::{self, Crash, Scope};

use crate::dice::Dice;

/// One of the two regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Side {
    A,
    B,
}

impl Side {
    pub(crate) const BOTH: [Side; 2] = [Side::A, Side::B];

    pub(crate) fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    pub(crate) fn index(self) -> usize {
        match self {
            Side::A => 0,
            Side::B => 1,
        }
    }

    /// The name of the region.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Side::A => "cn-north-1",
            Side::B => "cn-east-2",
        }
    }

    /// What stands for the hash of its TLS key.
    pub(crate) fn tls_key_hash(self) -> [u8; 32] {
        [0xa0 + self.index() as u8; 32]
    }
}

/// A region that runs.
#[derive(Clone)]
pub(crate) struct Process {
    pub(crate) control: Control,
    pub(crate) scope: Scope,
}

/// How often messages suffer what, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LinkFaults {
    /// Lost on the way there.
    pub(crate) cut_before: u64,
    /// Dealt with, but the answer is lost.
    pub(crate) cut_after: u64,
    /// Delivered twice; the caller hears the second answer.
    pub(crate) twice: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Delivered,
    CutBefore,
    CutAfter,
    Twice,
}

/// What travelled, and what befell it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) messages: u64,
    /// Bytes of objects that were sent, from either side.
    pub(crate) object_bytes: u64,
    pub(crate) faults: u64,
}

struct State {
    processes: [Option<Process>; 2],
    dice: Dice,
    faults: LinkFaults,
    traffic: Traffic,
    /// What happened, for the trace of the world.
    trace: Vec<String>,
    /// Where regions died.
    deaths: Vec<(Side, &'static str)>,
}

/// Both regions as they reach each other.
pub(crate) struct Wire {
    state: Mutex<State>,
}

impl Wire {
    pub(crate) fn new(seed: u64) -> Arc<Wire> {
        let state = State {
            processes: [None, None],
            dice: Dice::new(seed ^ 0x11),
            faults: LinkFaults::default(),
            traffic: Traffic::default(),
            trace: Vec::new(),
            deaths: Vec::new(),
        };
        Arc::new(Wire { state: Mutex::new(state) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn process(&self, side: Side) -> Option<Process> {
        self.lock().processes[side.index()].clone()
    }

    pub(crate) fn start(&self, side: Side, process: Process) {
        self.lock().processes[side.index()] = Some(process);
    }

    /// The region's process is gone.
    pub(crate) fn kill(&self, side: Side) {
        let killed = self.lock().processes[side.index()].take();
        drop(killed);
    }

    /// The region's process died at a crash point.
    pub(crate) fn die(&self, side: Side, point: &'static str) {
        self.lock().deaths.push((side, point));
        self.kill(side);
    }

    /// Where regions died so far.
    pub(crate) fn deaths(&self) -> Vec<(Side, &'static str)> {
        self.lock().deaths.clone()
    }

    pub(crate) fn set_faults(&self, faults: LinkFaults) {
        self.lock().faults = faults;
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.lock().traffic
    }

    pub(crate) fn take_trace(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().trace)
    }

    fn fate(&self, from: Side, request: &PeerRequest) -> Fate {
        let mut state = self.lock();
        let faults = state.faults;
        let roll = state.dice.below(100);
        let fate = match roll {
            roll if roll < faults.cut_before => Fate::CutBefore,
            roll if roll < faults.cut_before + faults.cut_after => Fate::CutAfter,
            roll if roll < faults.cut_before + faults.cut_after + faults.twice => Fate::Twice,
            _ => Fate::Delivered,
        };
        state.traffic.messages += 1;
        state.traffic.faults += u64::from(fate != Fate::Delivered);
        if let PeerRequest::Send { batch, .. } = request {
            state.traffic.object_bytes += batch.len() as u64;
        }
        state.trace.push(format!("{from:?} asks {}: {fate:?}", word(request)));
        fate
    }

    /// Has a region answer, under its own crash plan.
    async fn deliver(
        &self,
        from: Side,
        peer: &PeerAddress,
        request: PeerRequest,
    ) -> Result<PeerReply, LinkError> {
        let to = from.other();
        let process = self.process(to).ok_or_else(|| unreachable(peer, "the region is down"))?;
        let answering = process.control.answer(from.tls_key_hash(), request);
        match under(&process.scope, answering).await {
            Ok(answer) => answer.map_err(|(refusal, why)| LinkError::Refused { refusal, why }),
            Err(crash) => {
                self.lock().trace.push(format!("{to:?} dies at {} while it answers", crash.point));
                self.die(to, crash.point);
                Err(unreachable(peer, "the region died"))
            }
        }
    }
}

fn word(request: &PeerRequest) -> &'static str {
    match request {
        PeerRequest::Pair(_) => "pair",
        PeerRequest::Grants => "grants",
        PeerRequest::Head(_) => "head",
        PeerRequest::Open(_) => "open",
        PeerRequest::Want { .. } => "want",
        PeerRequest::Send { .. } => "send",
        PeerRequest::Verify { .. } => "verify",
        PeerRequest::Publish { .. } => "publish",
    }
}

fn unreachable(peer: &PeerAddress, why: &'static str) -> LinkError {
    LinkError::Unreachable { peer: peer.name.clone(), cause: why.into() }
}

/// One side's way to the other.
pub(crate) struct Links {
    pub(crate) from: Side,
    pub(crate) wire: Arc<Wire>,
}

impl PeerLinks for Links {
    fn ask<'a>(&'a self, peer: &'a PeerAddress, request: PeerRequest) -> Asking<'a> {
        Box::pin(async move {
            assert_eq!(peer.tls_key_hash, self.from.other().tls_key_hash(), "a request for another key");
            let fate = self.wire.fate(self.from, &request);
            if fate == Fate::CutBefore {
                return Err(unreachable(peer, "the link was cut"));
            }
            if fate == Fate::Twice {
                // The first answer is on nobody's mind any more.
                let _ = self.wire.deliver(self.from, peer, request.clone()).await;
            }
            let answer = self.wire.deliver(self.from, peer, request).await;
            if fate == Fate::CutAfter {
                return Err(unreachable(peer, "the answer was lost"));
            }
            answer
        })
    }
}

/// Runs a region's work under its crash plan; the crash that ended it, if one did.
pub(crate) async fn under<T>(scope: &Scope, work: impl Future<Output = T>) -> Result<T, Crash> {
    let mut work = Box::pin(work);
    let ended = std::future::poll_fn(|cx| {
        let polled = scope.run(|| crash::catch(|| work.as_mut().poll(cx)));
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(crash) => Poll::Ready(Err(crash)),
        }
    });
    let ended = ended.await;
    // What is left of a dead region must not die a second time, nor under the plan of its caller.
    Scope::default().run(|| drop(work));
    ended
}

/// Sleeps that never end: time moves between steps only.
pub(crate) struct NoTimer;

impl Timer for NoTimer {
    fn sleep(&self, _duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(std::future::pending())
    }
}
