//! Replication: which items a call selects, and the life of the record of each.
//!
//! [`plan`] is the product's core in one pure function: all items of the policy that are available,
//! were made here, and have no current record for that destination region (design §6).

use std::collections::BTreeMap;

use crate::checkpoint::ItemState;
use crate::ids::{
    CheckpointId, CheckpointItemId, GrantId, PolicyId, ProjectId, RegionName, ReplicationRecordId,
};
use crate::time::Timestamp;

/// The durable life of one item going to one destination region.
///
/// ```text
/// waiting ─► copying ─► verifying ─► publishing ─► done ─► lost
///    │          │ ◄──────────┤            │
///    ├──────────┴────────────┴────────────┴──────► failed, cancelled
///    └──► skipped
/// ```
///
/// A restart finds a record in any state and goes on from there: every step may run twice. Trouble
/// that may pass is no state; the record stays where it is and notes when to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordState {
    /// Queued; nothing moved yet.
    Waiting,
    /// Objects are being moved.
    Copying,
    /// The destination is proving that nothing is missing.
    Verifying,
    /// The destination is making the replica visible.
    Publishing,
    /// The destination's signed receipt is stored here.
    Done,
    /// Given up; ordering again makes a new record.
    Failed,
    /// Turned out to be unnecessary or impossible before it began.
    Skipped,
    /// Taken back by a person.
    Cancelled,
    /// Was done, but the destination lost the replica; selected again.
    Lost,
}

/// What happens to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordEvent {
    /// A worker took it up.
    Claimed,
    /// Every object the difference named was acknowledged.
    ObjectsStored,
    /// The destination walked the tree and misses nothing.
    TreeComplete,
    /// The destination walked the tree and misses something.
    ObjectsMissing,
    /// The receipt is verified and stored.
    ReceiptStored,
    /// A recent head of the destination no longer lists the replica, and nobody there dropped it.
    MissingFromHead,
    /// Source gone, replica already there, or expired before its turn.
    NotNeeded,
    /// A person took it back.
    Cancelled,
    /// No repetition can help.
    GaveUp,
}

/// A move that the drawing does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record that is {state:?} cannot take the event {event:?}")]
pub struct IllegalRecordMove {
    /// The state it is in.
    pub state: RecordState,
    /// What was to happen.
    pub event: RecordEvent,
}

impl RecordState {
    /// The only function that moves a record.
    pub fn on(self, event: RecordEvent) -> Result<RecordState, IllegalRecordMove> {
        use RecordEvent as E;
        use RecordState as S;
        match (self, event) {
            (S::Waiting | S::Copying, E::Claimed) => Ok(S::Copying),
            (S::Verifying, E::Claimed) => Ok(S::Verifying),
            (S::Publishing, E::Claimed) => Ok(S::Publishing),
            (S::Waiting, E::NotNeeded) => Ok(S::Skipped),
            (S::Copying, E::ObjectsStored) => Ok(S::Verifying),
            (S::Verifying, E::TreeComplete) => Ok(S::Publishing),
            (S::Verifying | S::Publishing, E::ObjectsMissing) => Ok(S::Copying),
            (S::Copying | S::Verifying | S::Publishing, E::ReceiptStored) => Ok(S::Done),
            (S::Done, E::MissingFromHead) => Ok(S::Lost),
            (state, E::Cancelled) if !state.is_final() => Ok(S::Cancelled),
            (state, E::GaveUp) if !state.is_final() => Ok(S::Failed),
            (state, event) => Err(IllegalRecordMove { state, event }),
        }
    }

    /// Whether nothing but a loss can move it any more.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            RecordState::Done
                | RecordState::Failed
                | RecordState::Skipped
                | RecordState::Cancelled
                | RecordState::Lost
        )
    }

    /// Whether a record in this state keeps its item from being selected again.
    pub fn is_current(self) -> bool {
        !self.is_final() || self == RecordState::Done
    }

    /// Whether the same can be ordered once more: it ended, and not with a replica there.
    pub fn may_be_retried(self) -> bool {
        self.is_final() && self != RecordState::Done
    }

    /// The word stored in the catalog and shown by our own API.
    pub fn word(self) -> &'static str {
        match self {
            RecordState::Waiting => "waiting",
            RecordState::Copying => "copying",
            RecordState::Verifying => "verifying",
            RecordState::Publishing => "publishing",
            RecordState::Done => "done",
            RecordState::Failed => "failed",
            RecordState::Skipped => "skipped",
            RecordState::Cancelled => "cancelled",
            RecordState::Lost => "lost",
        }
    }

    /// All states, in the order of the drawing.
    pub const ALL: [RecordState; 9] = [
        RecordState::Waiting,
        RecordState::Copying,
        RecordState::Verifying,
        RecordState::Publishing,
        RecordState::Done,
        RecordState::Failed,
        RecordState::Skipped,
        RecordState::Cancelled,
        RecordState::Lost,
    ];

    /// The state of a word.
    pub fn from_word(word: &str) -> Option<RecordState> {
        RecordState::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// Whether an open record moves. A flag beside its state, because a paused record keeps its place in the
/// queue and what has arrived at the far end.
///
/// ```text
/// going ◄──► paused     the end of a record ends its pause
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pace {
    /// Workers take it up when its turn comes.
    Going,
    /// No worker takes it up, and whoever works on it stops.
    Paused,
}

/// What happens to the pace of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceEvent {
    /// A person stopped it for a while.
    Paused,
    /// A person let it go on.
    Resumed,
}

/// A change of pace that the drawing does not list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replication is {} and cannot be {}", .state.word(), .event.word())]
pub struct IllegalPace {
    /// The state the record is in.
    pub state: RecordState,
    /// What was to happen.
    pub event: PaceEvent,
}

impl PaceEvent {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            PaceEvent::Paused => "paused",
            PaceEvent::Resumed => "resumed",
        }
    }
}

impl Pace {
    /// The only function that changes a pace. Saying the same twice is no mistake: the second caller may not
    /// have heard the first answer.
    pub fn on(self, event: PaceEvent, state: RecordState) -> Result<Pace, IllegalPace> {
        match (self, event) {
            (_, event) if state.is_final() => Err(IllegalPace { state, event }),
            (Pace::Going | Pace::Paused, PaceEvent::Paused) => Ok(Pace::Paused),
            (Pace::Going | Pace::Paused, PaceEvent::Resumed) => Ok(Pace::Going),
        }
    }
}

/// Where replicas go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    /// The region, by its configured name.
    pub region: RegionName,
    /// The project there.
    pub project_id: ProjectId,
}

/// An order to replicate all of a policy that is not replicated yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationOrder {
    /// The caller's project, which owns the policy.
    pub source_project_id: ProjectId,
    /// The policy whose items are meant.
    pub policy_id: PolicyId,
    /// Where to.
    pub destination: Destination,
    /// Whether the caller calls itself automatic; recorded, not believed.
    pub auto_trigger: bool,
    /// More streams; never other content.
    pub enable_acceleration: bool,
}

/// The most items that one order selects. What is left over is told in its answer and selected by asking again, so
/// that an answer, its one transaction and the memory of both are bounded whatever a policy has piled up.
pub const ITEMS_AN_ORDER_MAX: usize = 10_000;

/// How an item of a policy stands, for one destination region: all that decides whether it is selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Where it is in its life.
    pub state: ItemState,
    /// Whether it is itself a replica.
    pub is_replica: bool,
    /// The state of its current record for the destination region, if it has one.
    pub current_record: Option<RecordState>,
}

/// One item of a policy, as a ledger lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEntry {
    /// The item.
    pub item_id: CheckpointItemId,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// How it stands.
    pub standing: Standing,
}

/// What the catalog knows about the items of a policy, for one destination region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Items that may be selected: the oldest of them, at least [`ITEMS_AN_ORDER_MAX`] if there are so many.
    /// Others may be among them.
    pub oldest: Vec<LedgerEntry>,
    /// How many items there are in all, by how they stand.
    pub counts: Vec<(Standing, u64)>,
}

/// Why an item was left out of a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LeftOut {
    /// It is not available (being made, restored, deleted, or failed).
    NotAvailable,
    /// It was made in another region.
    IsReplica,
    /// A record for that region is open.
    InFlight,
    /// A replica is there.
    AlreadyReplicated,
    /// The order is full; asking again selects it.
    OrderFull,
}

impl LeftOut {
    /// The reason code shown in the response header and in `explain`.
    pub fn word(self) -> &'static str {
        match self {
            LeftOut::NotAvailable => "not-available",
            LeftOut::IsReplica => "is-replica",
            LeftOut::InFlight => "in-flight",
            LeftOut::AlreadyReplicated => "already-replicated",
            LeftOut::OrderFull => "order-full",
        }
    }
}

/// What a replication will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicationPlan {
    /// The order it answers.
    pub order: ReplicationOrder,
    /// Items to write records for, oldest first; at most [`ITEMS_AN_ORDER_MAX`].
    pub selected: Vec<CheckpointItemId>,
    /// How many items were left out, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// Decides which items of a policy an order selects. Oldest first, ties broken by id.
pub fn plan(order: &ReplicationOrder, ledger: &Ledger) -> ReplicationPlan {
    let is_selectable = |entry: &&LedgerEntry| reason_to_leave_out(&entry.standing).is_none();
    let mut entries: Vec<&LedgerEntry> = ledger.oldest.iter().filter(is_selectable).collect();
    entries.sort_by_key(|entry| (entry.created_at, entry.item_id));
    entries.truncate(ITEMS_AN_ORDER_MAX);
    let selected: Vec<CheckpointItemId> = entries.iter().map(|entry| entry.item_id).collect();
    let mut left_out: BTreeMap<LeftOut, u64> = BTreeMap::new();
    let mut selectable_count = 0;
    for (standing, count) in &ledger.counts {
        match reason_to_leave_out(standing) {
            Some(reason) => *left_out.entry(reason).or_default() += count,
            None => selectable_count += count,
        }
    }
    let too_many = selectable_count.saturating_sub(selected.len() as u64);
    if too_many > 0 {
        left_out.insert(LeftOut::OrderFull, too_many);
    }
    ReplicationPlan { order: order.clone(), selected, left_out }
}

/// Why an item that stands like this would not be selected, or nothing if it would.
pub fn reason_to_leave_out(standing: &Standing) -> Option<LeftOut> {
    if standing.is_replica {
        return Some(LeftOut::IsReplica);
    }
    match standing.current_record {
        Some(RecordState::Done) => return Some(LeftOut::AlreadyReplicated),
        Some(state) if state.is_current() => return Some(LeftOut::InFlight),
        _ => {}
    }
    (standing.state != ItemState::Available).then_some(LeftOut::NotAvailable)
}

/// One record as the catalog holds it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplicationRecord {
    /// Its id: the handle for polling.
    pub id: ReplicationRecordId,
    /// The item that goes.
    pub item_id: CheckpointItemId,
    /// The item's checkpoint.
    pub checkpoint_id: CheckpointId,
    /// The item's project.
    pub source_project_id: ProjectId,
    /// Where it goes.
    pub destination: Destination,
    /// The policy whose replication caused it, if one did.
    pub policy_id: Option<PolicyId>,
    /// The grant it travels under.
    pub grant_id: GrantId,
    /// Where it is in its life.
    pub state: RecordState,
    /// Whether it is the current one for its item and region.
    pub is_current: bool,
    /// Whether the order called itself automatic.
    pub auto_trigger: bool,
    /// Whether our own scheduler made it: only then retention counts the replica.
    pub by_scheduler: bool,
    /// More streams.
    pub enable_acceleration: bool,
    /// Which incarnation of the replica: grows when it is ordered again after a deletion.
    pub generation: u32,
    /// Name wished for the replica, if any.
    pub replica_name: Option<String>,
    /// Description wished for the replica, if any.
    pub replica_description: Option<String>,
    /// Days for which the source wishes the replica to be kept at least; the destination keeps it no shorter
    /// than its grant says.
    pub keep_days: Option<u32>,
    /// Bytes acknowledged by the destination so far.
    pub sent_bytes: u64,
    /// Bytes that had been sent before and were sent again.
    pub resent_bytes: u64,
    /// Bytes that the destination already had and were not sent.
    pub skipped_bytes: u64,
    /// Bytes expected to be sent in all, once known.
    pub planned_bytes: u64,
    /// How often a worker took it up.
    pub attempts: u32,
    /// Not before this moment is it tried again.
    pub try_at: Timestamp,
    /// Since when it is paused, if it is.
    pub paused_at: Option<Timestamp>,
    /// Why it waits or ended, as a code; empty when all is well.
    pub reason_code: String,
    /// The same for a person, with the next step.
    pub reason: String,
    /// The replica's checkpoint there, once it exists.
    pub destination_checkpoint_id: Option<CheckpointId>,
    /// The replica there, once it exists.
    pub destination_item_id: Option<CheckpointItemId>,
    /// The destination's signed receipt, once it exists.
    pub receipt: Option<Vec<u8>>,
    /// When it was queued.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> ReplicationOrder {
        ReplicationOrder {
            source_project_id: "p".parse().unwrap(),
            policy_id: PolicyId::from_entropy([1; 16]),
            destination: Destination { region: "b".parse().unwrap(), project_id: "q".parse().unwrap() },
            auto_trigger: false,
            enable_acceleration: false,
        }
    }

    fn entry(n: u8, state: ItemState, current_record: Option<RecordState>) -> LedgerEntry {
        LedgerEntry {
            item_id: CheckpointItemId::from_entropy([n; 16]),
            created_at: Timestamp::from_micros(100 - i64::from(n)),
            standing: Standing { state, is_replica: false, current_record },
        }
    }

    fn ledger(oldest: Vec<LedgerEntry>) -> Ledger {
        let counts = oldest.iter().map(|entry| (entry.standing, 1)).collect();
        Ledger { oldest, counts }
    }

    #[test]
    fn a_call_selects_what_is_available_made_here_and_not_replicated_oldest_first() {
        let mut replica = entry(8, ItemState::Available, None);
        replica.standing.is_replica = true;
        let ledger = ledger(vec![
            entry(1, ItemState::Available, None),
            entry(2, ItemState::Available, Some(RecordState::Failed)),
            entry(3, ItemState::Available, Some(RecordState::Lost)),
            entry(4, ItemState::Available, Some(RecordState::Done)),
            entry(5, ItemState::Available, Some(RecordState::Copying)),
            entry(6, ItemState::Protecting, None),
            entry(7, ItemState::Error, None),
            replica,
        ]);
        let planned = plan(&order(), &ledger);
        let id = |n: u8| CheckpointItemId::from_entropy([n; 16]);
        assert_eq!(planned.selected, vec![id(3), id(2), id(1)]);
        let left_out = [
            (LeftOut::NotAvailable, 2),
            (LeftOut::IsReplica, 1),
            (LeftOut::InFlight, 1),
            (LeftOut::AlreadyReplicated, 1),
        ];
        assert_eq!(planned.left_out, BTreeMap::from(left_out));
    }

    #[test]
    fn a_full_order_takes_the_oldest_and_says_how_many_are_left() {
        let numbered = |n: u32| {
            let mut id = [0; 16];
            id[..4].copy_from_slice(&n.to_be_bytes());
            let created_at = Timestamp::from_micros(1_000_000 - i64::from(n));
            let item_id = CheckpointItemId::from_bytes(id);
            LedgerEntry { item_id, created_at, ..entry(1, ItemState::Available, None) }
        };
        let most = u32::try_from(ITEMS_AN_ORDER_MAX).unwrap();
        let planned = plan(&order(), &ledger((0..most + 3).map(numbered).collect()));
        assert_eq!(planned.selected.len(), ITEMS_AN_ORDER_MAX);
        assert_eq!(planned.selected[0], numbered(most + 2).item_id, "the oldest");
        assert_eq!(planned.left_out, BTreeMap::from([(LeftOut::OrderFull, 3)]));
        let planned = plan(&order(), &ledger((0..most).map(numbered).collect()));
        assert_eq!((planned.selected.len(), planned.left_out.len()), (ITEMS_AN_ORDER_MAX, 0));
    }

    #[test]
    fn every_restoring_or_deleting_item_is_skipped() {
        for state in ItemState::ALL {
            let planned = plan(&order(), &ledger(vec![entry(1, state, None)]));
            assert_eq!(planned.selected.is_empty(), state != ItemState::Available, "{state:?}");
        }
    }

    #[test]
    fn a_final_record_moves_only_from_done_to_lost() {
        use RecordEvent::*;
        let events = [
            Claimed,
            ObjectsStored,
            TreeComplete,
            ObjectsMissing,
            ReceiptStored,
            MissingFromHead,
            NotNeeded,
            Cancelled,
            GaveUp,
        ];
        for state in RecordState::ALL.into_iter().filter(|state| state.is_final()) {
            for event in events {
                let moved = state.on(event);
                let is_loss = state == RecordState::Done && event == MissingFromHead;
                assert_eq!(moved.is_ok(), is_loss, "{state:?} {event:?}");
            }
        }
    }

    #[test]
    fn only_open_and_done_records_are_current() {
        let current: Vec<_> = RecordState::ALL.into_iter().filter(|state| state.is_current()).collect();
        assert_eq!(
            current,
            [
                RecordState::Waiting,
                RecordState::Copying,
                RecordState::Verifying,
                RecordState::Publishing,
                RecordState::Done
            ]
        );
    }

    #[test]
    fn an_open_record_is_paused_and_resumed_and_an_ended_one_neither() {
        for state in RecordState::ALL {
            for (pace, event, next) in [
                (Pace::Going, PaceEvent::Paused, Pace::Paused),
                (Pace::Paused, PaceEvent::Paused, Pace::Paused),
                (Pace::Paused, PaceEvent::Resumed, Pace::Going),
                (Pace::Going, PaceEvent::Resumed, Pace::Going),
            ] {
                let expected = (!state.is_final()).then_some(next);
                assert_eq!(pace.on(event, state).ok(), expected, "{state:?} {pace:?} {event:?}");
            }
        }
    }

    #[test]
    fn what_ended_without_a_replica_may_be_retried() {
        let retried: Vec<_> = RecordState::ALL.into_iter().filter(|state| state.may_be_retried()).collect();
        let expected = [RecordState::Failed, RecordState::Skipped, RecordState::Cancelled, RecordState::Lost];
        assert_eq!(retried, expected);
        assert!(retried.iter().all(|state| !state.is_current()), "their item has room for a new record");
    }
}
