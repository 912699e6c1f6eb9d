//! Arrivals: the far end of replication. A peer is known by its TLS key; what it may do stands in a
//! grant that a project here made. It can add and publish, nothing else.
//!
//! Opening checks in this order: peer, grant, manifest signed by that very peer, domain bound to
//! (peer, source project), keys, quota. Publishing writes the arrival into the store, signs the
//! receipt, and makes the replica visible in one transaction.

mod abandoned;
mod keys;
pub(crate) mod publish;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use catalog::{CatalogError, Conflict, NewVault, OpenedTransfer, TransferOffer, VaultSource};
use model::grant::Grant;
use model::ids::{OperationId, RegionName};
use model::time::Timestamp;
use tracing::info;
use vault::card::Card;
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::ManifestDigest;
use vault::layout::replica_vault_id;
use vault::manifest::Manifest;
use vault::progress::NoProgress;
use vault::transfer::{Ingest, IngestOrder, IngestVerified, Walked};

use crate::error::Error;
use crate::page::found;
use crate::peers::Peer;
use crate::peers::messages::{OpenRequest, Opened, PeerReply, PeerRequest, Refusal, TransferKey};
use crate::region::signers_of;
use crate::{Control, blocking};

/// An answer to a peer: what it asked for, or the kind of no and a sentence.
pub type Answer = Result<PeerReply, (Refusal, String)>;

/// The most transfers that one process keeps open. Each holds one pack being filled.
const OPEN_TRANSFERS_MAX: usize = 16;

/// How many answers to a publishing one process remembers, for peers that did not hear theirs.
const PUBLISHED_MAX: usize = 64;

/// The transfers that are open in this process. Forgetting one costs an opening, nothing else.
#[derive(Default)]
pub(crate) struct OpenTransfers {
    open: Mutex<HashMap<OperationId, Arc<Arrival>>>,
    published: Mutex<VecDeque<Published>>,
}

/// What a peer was told of a publishing.
struct Published {
    key: TransferKey,
    region: RegionName,
    answer: PeerReply,
}

/// One item on its way in.
pub(crate) struct Arrival {
    attempt: u64,
    peer: Peer,
    request: OpenRequest,
    grant: Grant,
    manifest: Manifest,
    ingest: Ingest,
    walked: Mutex<Option<Walked>>,
    /// When the catalog last heard that it moves.
    touched_at: Mutex<Timestamp>,
}

impl Arrival {
    /// Whether the catalog should hear again that it moves; true once in so many seconds.
    fn is_touch_due(&self, now: Timestamp, seconds: i64) -> bool {
        let mut touched_at = self.touched_at.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = now >= touched_at.plus_seconds(seconds) || now < *touched_at;
        if is_due {
            *touched_at = now;
        }
        is_due
    }
}

impl OpenTransfers {
    /// Keeps a transfer open; answers the one that had to make way.
    fn keep(&self, operation_id: OperationId, arrival: Arrival) -> Option<Arc<Arrival>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = open.iter().min_by_key(|(_, arrival)| arrival.attempt).map(|(id, _)| *id);
        let evicted = oldest.filter(|_| open.len() >= OPEN_TRANSFERS_MAX).and_then(|id| open.remove(&id));
        let replaced = open.insert(operation_id, Arc::new(arrival));
        evicted.or(replaced)
    }

    /// The transfer, if it is open here under this attempt.
    fn get(&self, key: TransferKey, peer: &Peer) -> Result<Arc<Arrival>, (Refusal, String)> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get(&key.operation_id) {
            Some(arrival) if arrival.peer.name != peer.name => Err(not_open()),
            Some(arrival) if arrival.attempt == key.attempt => Ok(arrival.clone()),
            Some(arrival) if arrival.attempt > key.attempt => {
                Err((Refusal::Overtaken, "a newer attempt at this item is under way".into()))
            }
            _ => Err(not_open()),
        }
    }

    fn forget(&self, operation_id: OperationId) -> Option<Arc<Arrival>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&operation_id)
    }

    /// Remembers what a peer is told of a publishing, because it may ask again.
    fn note_published(&self, key: TransferKey, peer: &Peer, answer: PeerReply) {
        let mut published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        if published.len() >= PUBLISHED_MAX {
            published.pop_front();
        }
        published.push_back(Published { key, region: peer.name.clone(), answer });
    }

    /// What a peer was told of this publishing before.
    fn published(&self, key: TransferKey, peer: &Peer) -> Option<PeerReply> {
        let published = self.published.lock().unwrap_or_else(PoisonError::into_inner);
        let told = published.iter().find(|told| told.key == key && told.region == peer.name);
        told.map(|told| told.answer.clone())
    }
}

/// Lets go of transfers on a thread that may wait: each waits for the pack that it is writing.
async fn let_go(arrivals: impl IntoIterator<Item = Arc<Arrival>>) -> Result<(), (Refusal, String)> {
    let arrivals: Vec<_> = arrivals.into_iter().collect();
    if arrivals.is_empty() {
        return Ok(());
    }
    on_thread(move || {
        drop(arrivals);
        Ok(())
    })
    .await
}

fn not_open() -> (Refusal, String) {
    (Refusal::NotOpen, "the transfer is not open here; open it again".into())
}

impl Control {
    /// Answers a request that came over mutual TLS with a client key of this hash.
    pub async fn answer(&self, tls_key_hash: [u8; 32], request: PeerRequest) -> Answer {
        if let PeerRequest::Pair(request) = request {
            return self.answer_invitation(tls_key_hash, request).await;
        }
        let peer = self.peer_of_key(tls_key_hash).await?;
        match request {
            PeerRequest::Pair(_) => Err((Refusal::Malformed, "a peer does not pair twice".into())),
            PeerRequest::Grants => {
                let grants = self.catalog().grants_to(&peer.name).await.map_err(unavailable)?;
                Ok(PeerReply::Grants(grants))
            }
            PeerRequest::Head(request) => self.answer_head(&peer, request).await,
            PeerRequest::Open(request) => self.open_arrival(&peer, *request).await,
            PeerRequest::Want { transfer, asked } => {
                let arrival = self.open_transfers().get(transfer, &peer)?;
                let missing = on_thread(move || arrival.ingest.want(&asked)).await?;
                Ok(PeerReply::Wanted(missing))
            }
            PeerRequest::Send { transfer, batch } => {
                let arrival = self.open_transfers().get(transfer, &peer)?;
                self.note_moving(&arrival).await;
                let acknowledged = on_thread(move || arrival.ingest.receive(&batch)).await?;
                crash_point!("arrival.batch_received");
                Ok(PeerReply::Acknowledged(acknowledged))
            }
            PeerRequest::Verify { transfer } => self.verify_arrival(&peer, transfer).await,
            PeerRequest::Publish { transfer } => self.publish_arrival(&peer, transfer).await,
        }
    }

    /// Lets the TLS key of a confirmed peer in, before anything that it sends is read.
    ///
    /// # Errors
    /// `NotPaired` for any other key; `Unavailable` while that cannot be found out.
    pub async fn admit_peer(&self, tls_key_hash: [u8; 32]) -> Result<(), (Refusal, String)> {
        self.peer_of_key(tls_key_hash).await.map(|_| ())
    }

    /// The confirmed peer of a TLS key, while its card is valid.
    async fn peer_of_key(&self, tls_key_hash: [u8; 32]) -> Result<Peer, (Refusal, String)> {
        let peer = self.known_peer(tls_key_hash).await?;
        match peer.expiry_at(self.now()) {
            None => Ok(peer),
            Some(why) => Err((Refusal::NotPaired, why)),
        }
    }

    /// The confirmed peer of a TLS key; looks into the catalog once before it says no, because another
    /// process may have confirmed it.
    async fn known_peer(&self, tls_key_hash: [u8; 32]) -> Result<Peer, (Refusal, String)> {
        if let Some(peer) = self.peers().by_tls_key(tls_key_hash) {
            return Ok(peer);
        }
        self.peers()
            .reload(self.catalog())
            .await
            .map_err(|error| (Refusal::Unavailable, error.to_string()))?;
        self.peers().by_tls_key(tls_key_hash).ok_or_else(|| {
            (
                Refusal::NotPaired,
                format!("region {} knows no confirmed peer with this TLS key", self.region_name()),
            )
        })
    }

    async fn open_arrival(&self, peer: &Peer, request: OpenRequest) -> Answer {
        self.refuse_when_blocked().await.map_err(|error| (Refusal::Unavailable, error.to_string()))?;
        let grant = self.grant_for(peer, &request).await?;
        let manifest = self.manifest_of(peer, &request)?;
        let fields = manifest.fields().clone();
        let project = grant.destination_project_id.clone();
        let new = NewVault {
            id: replica_vault_id(fields.domain, peer.card.region(), project.as_str()).0,
            domain: fields.domain.0,
            project_id: project,
            source: Some(VaultSource {
                region: peer.name.clone(),
                project_id: request.source_project_id.clone(),
            }),
        };
        let row = self.catalog().ensure_vault(&new, self.now()).await.map_err(refused)?;
        self.take_keys(peer, &grant, &row, &manifest, &request).await?;
        crash_point!("arrival.keys_stored");
        let offer = TransferOffer {
            key: catalog_key(peer, &grant, &request),
            attempt: request.attempt,
            source_project_id: request.source_project_id.clone(),
            grant_id: grant.id,
            vault_id: row.id,
            manifest_digest: manifest.digest().0,
            resource_tag: fields.resource_tag.0,
            incarnation: fields.incarnation.0,
            sequence: fields.sequence,
            stored_bytes: fields.stored_bytes,
            offered_bases: request.bases.iter().map(|base| base.0).collect(),
            operation_id: OperationId::from_entropy(self.entropy_bytes()),
        };
        let opened = self.catalog().open_transfer(&offer, self.now()).await.map_err(refused)?;
        crash_point!("arrival.opened");
        let (operation_id, base, is_new) = match opened {
            OpenedTransfer::Complete { receipt, .. } => {
                return Ok(PeerReply::Opened(Opened::Complete { receipt }));
            }
            OpenedTransfer::New { operation_id, base } => (operation_id, base, true),
            OpenedTransfer::Resume { operation_id, base } => (operation_id, base, false),
        };
        let vault = self.open_vault(row).await.map_err(|error| (Refusal::Unavailable, error.to_string()))?;
        let order = IngestOrder {
            operation: vault::ids::OperationId(operation_id.bytes()),
            manifest: request.manifest.clone(),
            bases: base.map(ManifestDigest).into_iter().collect(),
            bytes_max: fields.stored_bytes,
        };
        let_go(self.open_transfers().forget(operation_id)).await?;
        let ingest = on_thread(move || Ingest::open(&vault, &order)).await?;
        let base = ingest.base();
        let attempt = request.attempt;
        info!(region = %peer.name, operation.id = %operation_id, attempt, is_new, "an item arrives");
        let arrival = Arrival {
            attempt,
            peer: peer.clone(),
            request,
            grant,
            manifest,
            ingest,
            walked: Mutex::default(),
            touched_at: Mutex::new(self.now()),
        };
        let_go(self.open_transfers().keep(operation_id, arrival)).await?;
        let opened =
            if is_new { Opened::New { operation_id, base } } else { Opened::Resume { operation_id, base } };
        Ok(PeerReply::Opened(opened))
    }

    /// The open grant that covers an offer. All refusals look the same.
    async fn grant_for(&self, peer: &Peer, request: &OpenRequest) -> Result<Grant, (Refusal, String)> {
        let grant = found(self.catalog().grant(request.grant_id).await)
            .map_err(|error| (Refusal::Unavailable, error.to_string()))?;
        let covers = |grant: &Grant| {
            grant.source_region == peer.name
                && grant.source_project_id == request.source_project_id
                && grant.destination_project_id == request.destination_project_id
                && grant.is_open(self.now())
        };
        grant.filter(covers).ok_or_else(no_grant)
    }

    /// The manifest, when the region behind the TLS key signed it. A newer card of that region counts.
    fn manifest_of(&self, peer: &Peer, request: &OpenRequest) -> Result<Manifest, (Refusal, String)> {
        let wrong = |why: String| (Refusal::WrongDomain, why);
        let card = Card::decode(&request.card).map_err(|error| wrong(error.to_string()))?;
        let is_same = card.region() == peer.card.region()
            && card.fields().tls_key_hash == peer.card.fields().tls_key_hash;
        if !is_same {
            return Err(wrong("the card is not the peer's".into()));
        }
        let signers = signers_of(self.identity(), &[card]);
        let manifest =
            Manifest::decode(&request.manifest, &signers).map_err(|error| wrong(error.to_string()))?;
        if manifest.fields().source_region != peer.card.region() {
            return Err(wrong("the manifest was made by another region than the peer".into()));
        }
        Ok(manifest)
    }

    async fn verify_arrival(&self, peer: &Peer, key: TransferKey) -> Answer {
        let arrival = self.open_transfers().get(key, peer)?;
        let verified = on_thread(move || {
            let verified = arrival.ingest.verify(&NoProgress)?;
            if let IngestVerified::Complete(walked) = &verified {
                *arrival.walked.lock().unwrap_or_else(PoisonError::into_inner) = Some(walked.clone());
            }
            Ok(verified)
        })
        .await?;
        crash_point!("arrival.verified");
        match verified {
            IngestVerified::Complete(_) => Ok(PeerReply::Verified(Vec::new())),
            IngestVerified::Missing(missing) => Ok(PeerReply::Verified(missing)),
        }
    }
}

fn no_grant() -> (Refusal, String) {
    (Refusal::NoGrant, "no open acceptance grant covers this".into())
}

fn catalog_key(peer: &Peer, grant: &Grant, request: &OpenRequest) -> catalog::TransferKey {
    catalog::TransferKey {
        source_region: peer.name.clone(),
        source_item_id: request.source_item_id,
        destination_project_id: grant.destination_project_id.clone(),
        generation: request.generation,
    }
}

/// Runs vault work on a thread of its own and tells its errors as a peer hears them.
async fn on_thread<T, Work>(work: Work) -> Result<T, (Refusal, String)>
where
    T: Send + 'static,
    Work: FnOnce() -> Result<T, VaultError> + Send + 'static,
{
    let done = blocking(work).await.map_err(|error: Error| (Refusal::Unavailable, error.to_string()))?;
    done.map_err(vault_refused)
}

fn vault_refused(error: VaultError) -> (Refusal, String) {
    let refusal = match &error {
        VaultError::Full { .. } => Refusal::Full,
        VaultError::Forked { .. } => Refusal::Fork,
        VaultError::KeyMissing { .. } => Refusal::WrongWrap,
        error if error.is_passing() => Refusal::Unavailable,
        _ => Refusal::Malformed,
    };
    (refusal, error.to_string())
}

fn unavailable(error: CatalogError) -> (Refusal, String) {
    (Refusal::Unavailable, error.to_string())
}

fn refused(error: CatalogError) -> (Refusal, String) {
    match error {
        CatalogError::Conflict(conflict) => {
            let refusal = match &conflict {
                Conflict::GrantClosed => return no_grant(),
                Conflict::OverQuota { .. } => Refusal::Full,
                Conflict::Fork => Refusal::Fork,
                Conflict::OlderAttempt => Refusal::Overtaken,
                Conflict::DomainBound => Refusal::WrongDomain,
                Conflict::TransferNotOpen => Refusal::NotOpen,
                Conflict::ReplicaGone => Refusal::Gone,
                _ => Refusal::Unavailable,
            };
            (refusal, conflict.to_string())
        }
        CatalogError::NotFound { what: "grant", .. } => no_grant(),
        error => unavailable(error),
    }
}
