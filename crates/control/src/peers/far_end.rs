//! The far end of one outgoing transfer, as the vault's copying sees it: each call becomes one request
//! to the peer, made from the vault's thread and waited for on the runtime that owns the links.

use std::sync::{Arc, Mutex, PoisonError};

use model::ids::RegionName;
use tokio::runtime::Handle;
use vault::progress::Progress;
use vault::transfer::{Acknowledged, Asked, Offer, Opened, PeerError, Verification};

use super::Peer;
use super::limits::{Seams, Turn};
use super::messages::{
    LinkError, OpenRequest, Opened as OpenedThere, PeerLinks, PeerReply, PeerRequest, Refusal, TransferKey,
};
use crate::Control;
use crate::leases::LeaseProgress;

/// One transfer at its far end.
pub(crate) struct FarEnd {
    control: Control,
    links: Arc<dyn PeerLinks>,
    peer: Peer,
    runtime: Handle,
    /// Everything an offer needs besides what the vault puts into it.
    open: OpenRequest,
    key: Mutex<Option<TransferKey>>,
    /// What the peer refused last; [`PeerError`] keeps the sentence only.
    refusal: Mutex<Option<Refusal>>,
    /// Whether the transfer may go on, while a batch waits for its turn.
    progress: Mutex<Option<Arc<LeaseProgress>>>,
    /// What the peer said at publication that the transfer had added there.
    kept_bytes: Mutex<Option<u64>>,
}

impl FarEnd {
    /// The far end of a transfer to a peer. To be made on the runtime that owns the links.
    pub(crate) fn new(control: &Control, peer: &Peer, open: OpenRequest) -> FarEnd {
        FarEnd {
            control: control.clone(),
            links: control.parts().links.clone(),
            peer: peer.clone(),
            runtime: Handle::current(),
            open,
            key: Mutex::new(None),
            refusal: Mutex::new(None),
            progress: Mutex::new(None),
            kept_bytes: Mutex::new(None),
        }
    }

    /// The region behind it.
    pub(crate) fn region(&self) -> &RegionName {
        &self.peer.name
    }

    /// From now on the transfer goes on only as long as this progress is not stopped.
    pub(crate) fn watch(&self, progress: &Arc<LeaseProgress>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.clone());
    }

    /// The kind of the last refusal, once.
    pub(crate) fn take_refusal(&self) -> Option<Refusal> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Stored bytes that the transfer added there, once it is published.
    pub(crate) fn kept_bytes(&self) -> Option<u64> {
        *self.kept_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, request: PeerRequest) -> Result<PeerReply, PeerError> {
        let address = self.peer.address();
        let asked = self.runtime.block_on(async {
            let asked = self.links.ask(&address, request).await;
            self.control.note_whether_answered(&self.peer.name, &asked).await;
            asked
        });
        asked.map_err(|error| match error {
            LinkError::Unreachable { .. } => PeerError::Unavailable(Box::new(error)),
            LinkError::Refused { refusal, why } => {
                *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
                match refusal {
                    Refusal::Full => PeerError::Full,
                    Refusal::NotOpen | Refusal::Overtaken | Refusal::Unavailable => PeerError::Busy,
                    _ => PeerError::Refused { why },
                }
            }
        })
    }

    /// Waits until the peer's limit lets so many bytes through; not at all once the transfer was stopped. The lease is kept meanwhile, by others.
    fn wait_for_turn(&self, bytes: usize) -> Result<(), PeerError> {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_stopped = || progress.as_ref().is_some_and(|progress| progress.is_stopped());
        if is_stopped() {
            return Err(PeerError::Busy);
        }
        let parts = self.control.parts();
        let seams = Seams { clock: parts.clock.as_ref(), timer: parts.timer.as_ref() };
        let limits = self.control.send_limits();
        match self.runtime.block_on(limits.wait_for_turn(&self.peer.name, bytes, seams, is_stopped)) {
            Turn::Come => Ok(()),
            Turn::GivenUp => Err(PeerError::Busy),
        }
    }

    fn key(&self) -> Result<TransferKey, PeerError> {
        let key = *self.key.lock().unwrap_or_else(PoisonError::into_inner);
        key.ok_or(PeerError::Busy)
    }

    fn confused(&self) -> PeerError {
        PeerError::Refused { why: format!("region {} answered out of turn", self.peer.name) }
    }

    fn opened(&self, opened: OpenedThere, attempt: u64) -> Opened {
        let mut key = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        match opened {
            OpenedThere::New { operation_id, base } => {
                *key = Some(TransferKey { operation_id, attempt });
                Opened::New { base }
            }
            OpenedThere::Resume { operation_id, base } => {
                *key = Some(TransferKey { operation_id, attempt });
                Opened::Resume { base }
            }
            OpenedThere::Complete { receipt } => Opened::Complete { receipt },
        }
    }
}

impl vault::transfer::Peer for FarEnd {
    fn open(&self, offer: &Offer) -> Result<Opened, PeerError> {
        let request = OpenRequest {
            attempt: offer.attempt,
            manifest: offer.manifest.clone(),
            bases: offer.bases.clone(),
            wraps: offer.wraps.clone(),
            card: offer.cards.first().cloned().unwrap_or_default(),
            ..self.open.clone()
        };
        match self.ask(PeerRequest::Open(Box::new(request)))? {
            PeerReply::Opened(opened) => Ok(self.opened(opened, offer.attempt)),
            _ => Err(self.confused()),
        }
    }

    fn want(&self, asked: &[Asked]) -> Result<Vec<bool>, PeerError> {
        match self.ask(PeerRequest::Want { transfer: self.key()?, asked: asked.to_vec() })? {
            PeerReply::Wanted(missing) if missing.len() == asked.len() => Ok(missing),
            _ => Err(self.confused()),
        }
    }

    fn send(&self, batch: &[u8]) -> Result<Acknowledged, PeerError> {
        self.wait_for_turn(batch.len())?;
        match self.ask(PeerRequest::Send { transfer: self.key()?, batch: batch.to_vec() })? {
            PeerReply::Acknowledged(acknowledged) => Ok(acknowledged),
            _ => Err(self.confused()),
        }
    }

    fn verify(&self) -> Result<Verification, PeerError> {
        match self.ask(PeerRequest::Verify { transfer: self.key()? })? {
            PeerReply::Verified(missing) if missing.is_empty() => Ok(Verification::Complete),
            PeerReply::Verified(missing) => Ok(Verification::Missing(missing)),
            _ => Err(self.confused()),
        }
    }

    fn publish(&self) -> Result<Vec<u8>, PeerError> {
        match self.ask(PeerRequest::Publish { transfer: self.key()? })? {
            PeerReply::Published { receipt, kept_bytes } => {
                *self.kept_bytes.lock().unwrap_or_else(PoisonError::into_inner) = Some(kept_bytes);
                Ok(receipt)
            }
            _ => Err(self.confused()),
        }
    }
}
