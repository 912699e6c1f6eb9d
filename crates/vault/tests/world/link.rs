//! Two regions and a link between them that can be cut at any message.

use std::sync::{Arc, Mutex};

use vault::error::VaultError;
use vault::ids::{ManifestDigest, OperationId};
use vault::progress::NoProgress;
use vault::store::ObjectStore;
use vault::transfer::{
    Acknowledged, Asked, Copied, CopyOrder, Ingest, IngestOrder, IngestVerified, Offer, Opened, Peer,
    PeerError, Verification, Walked, wire,
};
use vault::vault::Vault;

use super::Region;

/// What befalls a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// It never arrives.
    Before,
    /// It is dealt with, but the answer is lost.
    After,
    /// It is dealt with; then the destination loses power.
    Kill,
}

/// The far end: a region with its process, reached through a link.
pub(crate) struct Link<'r> {
    destination: &'r Region,
    operation: OperationId,
    /// Where the destination's bytes lie.
    store: Arc<dyn ObjectStore>,
    state: Mutex<State>,
}

struct State {
    vault: Option<Vault>,
    ingest: Option<Ingest>,
    walked: Option<Walked>,
    message_count: u64,
    cut: Option<(u64, Cut)>,
    bytes_max: u64,
    object_bytes: u64,
    /// The answer to the next question about this object is a lie.
    hidden: Option<Asked>,
}

impl<'r> Link<'r> {
    pub(crate) fn new(destination: &'r Region, number: u8) -> Link<'r> {
        Link::over(destination, number, Arc::new(destination.store.clone()))
    }

    /// A link to a region whose bytes lie in another store than its own.
    pub(crate) fn over(destination: &'r Region, number: u8, store: Arc<dyn ObjectStore>) -> Link<'r> {
        let state = State {
            vault: None,
            ingest: None,
            walked: None,
            message_count: 0,
            cut: None,
            bytes_max: u64::MAX,
            object_bytes: 0,
            hidden: None,
        };
        Link { destination, operation: OperationId([number; 16]), store, state: Mutex::new(state) }
    }

    pub(crate) fn cut_at(&self, message: u64, cut: Cut) {
        self.state.lock().unwrap().cut = Some((message, cut));
    }

    pub(crate) fn is_cut_waiting(&self) -> bool {
        self.state.lock().unwrap().cut.is_some()
    }

    pub(crate) fn grant(&self, bytes_max: u64) {
        self.state.lock().unwrap().bytes_max = bytes_max;
    }

    pub(crate) fn hide(&self, asked: Asked) {
        self.state.lock().unwrap().hidden = Some(asked);
    }

    pub(crate) fn message_count(&self) -> u64 {
        self.state.lock().unwrap().message_count
    }

    /// Object bytes that reached the destination.
    pub(crate) fn object_bytes(&self) -> u64 {
        self.state.lock().unwrap().object_bytes
    }

    pub(crate) fn walked(&self) -> Option<Walked> {
        self.state.lock().unwrap().walked.clone()
    }

    /// The destination's process ends and comes back.
    pub(crate) fn restart(&self) {
        let mut state = self.state.lock().unwrap();
        state.ingest = None;
        state.vault = None;
    }

    fn message<T>(&self, deal: impl FnOnce(&mut State) -> Result<T, VaultError>) -> Result<T, PeerError> {
        let mut state = self.state.lock().unwrap();
        state.message_count += 1;
        let count = state.message_count;
        let cut = state.cut.take_if(|(at, _)| *at == count).map(|(_, cut)| cut);
        if cut == Some(Cut::Before) {
            return Err(PeerError::Unavailable("the link was cut".into()));
        }
        let answer = deal(&mut state);
        match cut {
            None => answer.map_err(as_peer_error),
            Some(cut) => {
                if cut == Cut::Kill {
                    self.destination.crash();
                    state.ingest = None;
                    state.vault = None;
                }
                Err(PeerError::Unavailable("the answer was lost".into()))
            }
        }
    }
}

fn as_peer_error(error: VaultError) -> PeerError {
    match error {
        VaultError::Full { .. } => PeerError::Full,
        error if error.is_passing() => PeerError::Unavailable(Box::new(error)),
        VaultError::Stopped => PeerError::Busy,
        error => PeerError::Refused { why: error.to_string() },
    }
}

impl State {
    fn ingest(&self) -> Result<&Ingest, VaultError> {
        // A restarted destination knows of no attempt: the source has to open it again.
        self.ingest.as_ref().ok_or(VaultError::Stopped)
    }
}

impl Peer for Link<'_> {
    fn open(&self, offer: &Offer) -> Result<Opened, PeerError> {
        // Through the wire and back.
        let offer = wire::decode_offer(&wire::encode_offer(offer)).unwrap();
        self.message(|state| {
            let vault =
                state.vault.get_or_insert_with(|| self.destination.open_over(self.store.clone())).clone();
            let digest = vault.check_manifest(&offer.manifest)?.digest();
            if self.destination.ledger.manifests().contains(&digest) {
                return Ok(Opened::Complete { receipt: b"receipt".to_vec() });
            }
            if let Some(ingest) = &state.ingest {
                return Ok(Opened::Resume { base: ingest.base() });
            }
            let order = IngestOrder {
                operation: self.operation,
                manifest: offer.manifest,
                bases: offer.bases,
                bytes_max: state.bytes_max,
            };
            let ingest = Ingest::open(&vault, &order)?;
            let (base, is_resumed) = (ingest.base(), ingest.is_resumed());
            state.ingest = Some(ingest);
            let opened = if is_resumed { Opened::Resume { base } } else { Opened::New { base } };
            Ok(wire::decode_opened(&wire::encode_opened(&opened)).unwrap())
        })
    }

    fn want(&self, asked: &[Asked]) -> Result<Vec<bool>, PeerError> {
        let asked = wire::decode_question(&wire::encode_question(asked)).unwrap();
        self.message(|state| {
            let mut missing = state.ingest()?.want(&asked)?;
            if let Some(position) =
                state.hidden.and_then(|hidden| asked.iter().position(|one| *one == hidden))
            {
                missing[position] = false;
                state.hidden = None;
            }
            Ok(wire::decode_answer(&wire::encode_answer(&missing), asked.len()).unwrap())
        })
    }

    fn send(&self, batch: &[u8]) -> Result<Acknowledged, PeerError> {
        self.message(|state| {
            let frames = wire::decode_batch(batch)?;
            state.object_bytes += frames.iter().map(|frame| frame.stored.len() as u64).sum::<u64>();
            let acknowledged = state.ingest()?.receive(batch)?;
            Ok(wire::decode_acknowledged(&wire::encode_acknowledged(&acknowledged)).unwrap())
        })
    }

    fn verify(&self) -> Result<Verification, PeerError> {
        self.message(|state| {
            let verification = match state.ingest()?.verify(&NoProgress)? {
                IngestVerified::Complete(walked) => {
                    state.walked = Some(walked);
                    Verification::Complete
                }
                IngestVerified::Missing(missing) => Verification::Missing(missing),
            };
            Ok(wire::decode_verification(&wire::encode_verification(&verification)).unwrap())
        })
    }

    fn publish(&self) -> Result<Vec<u8>, PeerError> {
        self.message(|state| {
            let walked = state.walked.take().ok_or(VaultError::Stopped)?;
            self.destination.ledger.publish(self.operation, walked.manifest);
            Ok(b"receipt".to_vec())
        })
    }
}

pub(crate) fn copy_order(manifest: ManifestDigest, bases: &[ManifestDigest]) -> CopyOrder {
    CopyOrder {
        manifest,
        attempt: 1,
        bases: bases.to_vec(),
        wraps: Vec::new(),
        cards: Vec::new(),
        connections: 3,
    }
}

/// Copies, verifies and publishes, again and again until it is done, as a worker does. Returns what
/// each attempt copied.
pub(crate) fn transfer(
    source: &Vault,
    order: &CopyOrder,
    link: &Link<'_>,
) -> Result<Vec<Copied>, VaultError> {
    let mut copies = Vec::new();
    for attempt in 1..=20 {
        let order = CopyOrder { attempt, ..order.clone() };
        match attempt_transfer(source, &order, link, &mut copies) {
            Ok(true) => return Ok(copies),
            Ok(false) => {}
            Err(error)
                if error.is_passing()
                    && !matches!(&error, VaultError::Peer { cause: PeerError::Full, .. }) => {}
            Err(error) => return Err(error),
        }
    }
    panic!("no end after twenty attempts");
}

/// Copies, verifies and publishes once. Returns whether the item is published.
pub(crate) fn transfer_once(source: &Vault, order: &CopyOrder, link: &Link<'_>) -> Result<bool, VaultError> {
    attempt_transfer(source, order, link, &mut Vec::new())
}

fn attempt_transfer(
    source: &Vault,
    order: &CopyOrder,
    link: &Link<'_>,
    copies: &mut Vec<Copied>,
) -> Result<bool, VaultError> {
    let copied = source.copy_item(order, link, &NoProgress)?;
    let is_published = copied.receipt.is_some();
    copies.push(copied);
    if is_published {
        return Ok(true);
    }
    let peer = |doing| move |cause| VaultError::Peer { doing, cause };
    match link.verify().map_err(peer("verifying"))? {
        Verification::Missing(_) => Ok(false),
        Verification::Complete => link.publish().map_err(peer("publishing")).map(|_| true),
    }
}
