//! Heads: each region signs, for each peer, what it still holds of the peer's replicas. Exchanged every
//! five minutes; a replica that the destination lost turns its record `lost`, one that it deleted or
//! expired by its own will leaves the record `done`.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use catalog::DoneRecord;
use model::evidence::HeadSeen;
use model::grant::Level as ModelLevel;
use model::ids::RegionName;
use model::time::Timestamp;
use tracing::{debug, info, warn};
use vault::crash_point;
use vault::head::{Head, HeadEntry, HeadOrder, ReplicaState};
use vault::ids::{ManifestDigest, ReplicaId};
use vault::receipt::Level;

use super::Peer;
use super::grants::not_now;
use super::messages::{HeadRequest, PeerReply, PeerRequest, Refusal};
use crate::Control;
use crate::error::Error;
use crate::region::signers_of;

/// How often heads are exchanged, in seconds.
pub(crate) const HEAD_SECONDS: i64 = 300;
/// How often grants are asked for, in seconds.
pub(crate) const GRANT_SECONDS: i64 = 30;

/// When each peer was last looked after, by this process.
#[derive(Default)]
pub(crate) struct Turns {
    last: Mutex<HashMap<RegionName, Turn>>,
}

#[derive(Clone, Copy, Default)]
struct Turn {
    grants_at: Option<Timestamp>,
    head_at: Option<Timestamp>,
    refreshed_at: Option<Timestamp>,
}

/// What is due for a peer.
struct Due {
    grants: bool,
    head: bool,
}

impl Turns {
    fn due(&self, region: &RegionName, now: Timestamp) -> Due {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = last.get(region).copied().unwrap_or_default();
        let is_due =
            |at: Option<Timestamp>, seconds| at.is_none_or(|at| now >= at.plus_seconds(seconds) || now < at);
        Due { grants: is_due(turn.grants_at, GRANT_SECONDS), head: is_due(turn.head_at, HEAD_SECONDS) }
    }

    /// True at most once a second for each region.
    pub(super) fn may_refresh(&self, region: &RegionName, now: Timestamp) -> bool {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = last.entry(region.clone()).or_default();
        let may = turn.refreshed_at.is_none_or(|at| now >= at.plus_seconds(1) || now < at);
        if may {
            turn.refreshed_at = Some(now);
        }
        may
    }

    fn note(&self, region: &RegionName, change: impl FnOnce(&mut Turn)) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        change(last.entry(region.clone()).or_default());
    }
}

impl Control {
    /// Looks after every confirmed peer whose turn it is. One that does not answer is left for the
    /// next round; the others are not held up.
    pub(crate) async fn look_at_peers(&self) -> Result<(), Error> {
        self.peers().reload(self.catalog()).await?;
        self.follow_limits().await?;
        for peer in self.peers().all().into_iter().filter(|peer| peer.is_confirmed) {
            let turn = self.turns().due(&peer.name, self.now());
            let outcome = async {
                if turn.grants {
                    self.fetch_grants(&peer).await?;
                    self.turns().note(&peer.name, |turn| turn.grants_at = Some(self.now()));
                }
                if turn.head {
                    self.compare_head(&peer).await?;
                    self.turns().note(&peer.name, |turn| turn.head_at = Some(self.now()));
                }
                Ok::<(), Error>(())
            };
            if let Err(error) = outcome.await {
                debug!(region = %peer.name, %error, "a peer does not answer now");
            }
        }
        Ok(())
    }

    /// Fetches a peer's head and compares it with our records.
    pub async fn compare_head(&self, peer: &Peer) -> Result<(), Error> {
        // As evidence it is as old as the question: nothing says how long the answer was on its way.
        let asked_at = self.now();
        let seen = self.catalog().peer_head(&peer.name).await?;
        let signers = signers_of(self.identity(), std::slice::from_ref(&peer.card));
        let seen_head = seen.as_ref().and_then(|seen| Head::decode(&seen.head, &signers).ok());
        let request = HeadRequest {
            seen_incarnation: seen_head.as_ref().map(|head| head.incarnation),
            seen_counter: seen_head.as_ref().map_or(0, |head| head.counter),
        };
        let reply = self.ask(peer, PeerRequest::Head(request)).await.map_err(not_now)?;
        let PeerReply::Head { head: bytes, entries } = reply else {
            return Err(Error::internal("to read a head", "the peer answered out of turn"));
        };
        let head = Head::decode(&bytes, &signers)?;
        let is_ours =
            head.source_region == self.identity().region() && head.destination_region == peer.card.region();
        if !is_ours {
            return Err(Error::internal("to read a head", "it speaks of other regions"));
        }
        let entries = head.entries(&entries)?;
        let row = catalog::PeerHead { counter: head.counter, head: bytes, received_at: self.now() };
        self.catalog().put_peer_head(&peer.name, &row).await?;
        crash_point!("head.stored");
        self.note_losses(peer, &head, &entries).await?;
        let seen = HeadSeen { counter: head.counter, asked_at };
        Ok(self.catalog().note_head_compared(&peer.name, &seen).await?)
    }

    async fn note_losses(&self, peer: &Peer, head: &Head, entries: &[HeadEntry]) -> Result<(), Error> {
        let listed: HashMap<ReplicaId, &HeadEntry> =
            entries.iter().map(|entry| (entry.replica, entry)).collect();
        let (mut lost, mut gone, mut back) = (Vec::new(), Vec::new(), Vec::new());
        let mut levels = Vec::new();
        for record in self.catalog().done_records(&peer.name).await? {
            let entry = listed.get(&ReplicaId(record.destination_item_id.bytes()));
            let level = entry.map(|entry| model_level_of(entry.level)).filter(|level| *level != record.level);
            levels.extend(level.map(|level| (record.id, level)));
            match entry.map(|entry| entry.state) {
                Some(ReplicaState::Live) if record.is_gone => back.push(record.id),
                Some(ReplicaState::Live) => {}
                Some(ReplicaState::Expired | ReplicaState::Deleted) => gone.push(record.id),
                Some(ReplicaState::Damaged) => lost.push(record.id),
                None if is_older_than(&record, head) => lost.push(record.id),
                None => {}
            }
        }
        if !levels.is_empty() {
            self.catalog().note_replica_levels(&levels).await?;
        }
        if !gone.is_empty() {
            self.catalog().note_replicas_gone(&gone, self.now()).await?;
        }
        if !back.is_empty() {
            // Somebody there took a deletion back.
            self.catalog().note_replicas_back(&back).await?;
        }
        if !lost.is_empty() {
            let lost_count = self.catalog().mark_lost(&lost, self.now()).await?;
            warn!(region = %peer.name, lost_count, "the destination lost replicas; their items are selected again");
        }
        crash_point!("head.compared");
        Ok(())
    }

    /// The far end: what we hold of the peer's replicas, signed. A peer that has seen a later head of
    /// ours than we remember tells us that our catalog was rolled back: writing stops.
    pub(crate) async fn answer_head(
        &self,
        peer: &Peer,
        request: HeadRequest,
    ) -> Result<PeerReply, (Refusal, String)> {
        let unavailable = |error: Error| (Refusal::Unavailable, error.to_string());
        let incarnation = self.parts().incarnation;
        let issue = self.catalog().issue_head(&peer.name).await.map_err(|error| unavailable(error.into()))?;
        let is_rolled_back =
            request.seen_incarnation == Some(incarnation) && request.seen_counter >= issue.counter;
        if is_rolled_back {
            let reason = format!(
                "region {} has seen a later head of ours than the catalog knows: the catalog was rolled back; \
                 rebuild it from the store",
                peer.name
            );
            warn!(region = %peer.name, "the catalog was rolled back; writing stops");
            self.catalog().block_writes(&reason).await.map_err(|error| unavailable(error.into()))?;
        }
        let order = HeadOrder {
            source_region: peer.card.region(),
            incarnation,
            counter: issue.counter,
            time_ms: self.now().millis(),
        };
        let entries = issue.replicas.iter().map(head_entry).collect();
        let signed =
            Head::sign(self.identity(), &order, entries).map_err(|error| unavailable(error.into()))?;
        info!(region = %peer.name, counter = issue.counter, replica_count = issue.replicas.len(), "signed a head");
        Ok(PeerReply::Head { head: signed.head, entries: signed.entries })
    }
}

/// A replica is in every head whose counter is larger than the one in its receipt; in another
/// incarnation of the destination every receipt is older.
fn is_older_than(record: &DoneRecord, head: &Head) -> bool {
    record.head_counter < head.counter
}

fn head_entry(replica: &catalog::Replica) -> HeadEntry {
    let state = match replica.state {
        catalog::ReplicaState::Live => ReplicaState::Live,
        catalog::ReplicaState::Expiring | catalog::ReplicaState::Expired => ReplicaState::Expired,
        catalog::ReplicaState::Deleting | catalog::ReplicaState::Deleted => ReplicaState::Deleted,
    };
    HeadEntry {
        replica: ReplicaId(replica.item_id.bytes()),
        manifest: ManifestDigest(replica.manifest_digest),
        state,
        level: level_of(replica.level),
        keep_until_ms: replica.keep_until.millis(),
    }
}

pub(crate) fn level_of(level: ModelLevel) -> Level {
    match level {
        ModelLevel::Stored => Level::Stored,
        ModelLevel::Opened => Level::Opened,
        ModelLevel::Drilled => Level::Drilled,
    }
}

pub(crate) fn model_level_of(level: Level) -> ModelLevel {
    match level {
        Level::Stored => ModelLevel::Stored,
        Level::Opened => ModelLevel::Opened,
        Level::Drilled => ModelLevel::Drilled,
    }
}
