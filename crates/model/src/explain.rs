//! Explain: why an item is, or is not, in another region. For each destination one state, one code of a closed list, and one
//! next step; [`explain`] decides, from facts that the catalog gathered at one moment.
//!
//! The words of the codes are a promise to scripts. `docs/replication.md` lists them, and a test compares.

use crate::checkpoint::ItemState;
use crate::evidence::{Evidence, HeadSeen, ReceiptSeen};
use crate::grant::Level;
use crate::ids::{CheckpointItemId, PolicyId, ProjectId, RegionName, ReplicationRecordId};
use crate::replication::RecordState;
use crate::time::Timestamp;

/// How an item stands in a region, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Presence {
    /// The destination signed for it, and nothing says that it is gone.
    Replicated,
    /// It is being moved.
    Moving,
    /// It is to be moved, and goes on by itself.
    Waiting,
    /// It is not there, and will not be before somebody does something.
    Missing,
}

impl Presence {
    /// The word shown by our own API.
    pub fn word(self) -> &'static str {
        match self {
            Presence::Replicated => "replicated",
            Presence::Moving => "moving",
            Presence::Waiting => "waiting",
            Presence::Missing => "missing",
        }
    }
}

/// Makes the closed list: each code with its word, a sentence, and one next step.
macro_rules! codes {
    ($($code:ident $word:literal $sentence:literal $next_step:literal;)*) => {
        /// Why an item stands as it does. The list is closed: what fits nowhere else is `Internal` or `Failed`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $sentence] $code,)*
        }

        impl Code {
            /// All codes, in the order of the documentation.
            pub const ALL: [Code; [$($word),*].len()] = [$(Code::$code),*];

            /// The word, which scripts rest on.
            pub fn word(self) -> &'static str {
                match self { $(Code::$code => $word),* }
            }

            /// What it means.
            pub fn sentence(self) -> &'static str {
                match self { $(Code::$code => $sentence),* }
            }

            /// What to do.
            pub fn next_step(self) -> &'static str {
                match self { $(Code::$code => $next_step),* }
            }
        }
    };
}

codes! {
    Replicated "replicated"
        "the replica is there: the region signed for it, and its newest word is recent"
        "nothing to do";
    ReplicatedUnproven "replicated-unproven"
        "the region signed for the replica, but has not said for too long that it is still there"
        "see why the region does not answer: antipode region list";

    Copying "copying"
        "its objects are being moved"
        "nothing to do; antipode replication watch shows how far it is";
    Verifying "verifying"
        "everything was moved, and the region proves that nothing is missing"
        "nothing to do";
    Publishing "publishing"
        "the region makes the replica visible"
        "nothing to do";

    Queued "queued"
        "it is queued and had no turn yet; the newest backup of each server goes first"
        "nothing to do";
    PeerUnreachable "peer-unreachable"
        "the region does not answer; it is tried again by itself"
        "see that the region runs and that its peer address can be reached";
    PeerBusy "peer-busy"
        "the region could not take it now; it is tried again by itself"
        "nothing to do, unless it stays so: then look at the log of the region";
    NotPaired "not-paired"
        "the region is not paired with this one, or is not confirmed"
        "an operator pairs the regions: antipode region invite";
    CardExpired "card-expired"
        "the signed card of the region has ended"
        "the operator of the region renews its card";
    NoGrant "no-grant"
        "no grant of a project there accepts replicas of this project"
        "an admin of the project there makes one: antipode grant create";
    DestinationFull "destination-full"
        "the bytes of the grant are used up, or the store there is full"
        "the admin there frees space or makes a larger grant";
    WrongDomain "wrong-domain"
        "the region holds these keys for another project or region"
        "its operator looks at the vaults there: antipode vault list";
    WrongWrap "wrong-wrap"
        "the region could not open the keys that were sent for it"
        "its operator looks for a lost recovery or region key";
    Refused "refused"
        "the region refused the request as malformed"
        "run the same release in both regions";
    Transfer "transfer"
        "the link or the store failed while it was moved; it is tried again by itself"
        "nothing to do, unless it stays so: then look at the reason";
    ObjectsMissing "objects-missing"
        "the region goes on missing objects after they were sent; it is tried again by itself"
        "nothing to do, unless it stays so: then verify the vaults of both regions";
    ReceiptRefused "receipt-refused"
        "the receipt of the region is not sound; it is tried again by itself"
        "see that the region was paired with the right keys";
    Internal "internal"
        "something failed here that has no code of its own; it is tried again by itself"
        "look at the reason and at the log of this region";

    NotOrdered "not-ordered"
        "nobody ordered it yet; the next scheduled run does"
        "wait for the schedule, or order it: antipode policy replicate";
    ScheduleOff "schedule-off"
        "the policy goes there by a schedule that is switched off"
        "switch the replication schedule on, or order it: antipode policy replicate";
    NotADestination "not-a-destination"
        "its policy does not go there by itself"
        "order it: antipode policy replicate, or give the policy a replication schedule";
    NotOfAPolicy "not-of-a-policy"
        "no policy made it, or its policy is deleted, so no policy replicates it"
        "order it: antipode item replicate, or let a policy adopt it";
    NotAvailable "not-available"
        "the backup is not available: it is being made or deleted, is deleted, or failed"
        "see its status: antipode item show";
    IsAReplica "is-a-replica"
        "it is a replica itself, and replicas are not replicated"
        "replicate from the region that made it";
    WritesBlocked "writes-blocked"
        "this region writes nothing now, so nothing can be ordered"
        "its operator looks at antipode region list and rebuilds the catalog";
    DeletedThere "deleted-there"
        "somebody there, or the retention there, deleted the replica"
        "order it by hand if it is wanted: antipode item replicate";
    Lost "lost"
        "the region lost the replica"
        "the next run of the policy replaces it; or order it: antipode item replicate";
    SkippedExpired "skipped-expired"
        "expired, never replicated: the backup was gone before its turn"
        "replicate more often, or keep backups for longer";
    SkippedDeleted "skipped-deleted"
        "the backup was deleted before its turn"
        "nothing to do";
    Skipped "skipped"
        "it turned out not to be needed"
        "order it by hand if it is wanted: antipode item replicate";
    Cancelled "cancelled"
        "somebody took the order back"
        "order it again: antipode policy replicate";
    Fork "fork"
        "the region has another backup under the same number: two catalogs have written to one vault"
        "the operator of this region finds out which catalog is the right one";
    SourceDamaged "source-damaged"
        "the backup is damaged here"
        "verify it, and back up again";
    NoManifest "no-manifest"
        "the backup has no manifest"
        "back up again";
    SourceGone "source-gone"
        "the backup was gone while it was being moved"
        "nothing to do";
    Failed "failed"
        "it was given up"
        "look at the reason, then order it again: antipode policy replicate";
}

impl Code {
    /// The code of a word.
    pub fn from_word(word: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.word() == word)
    }
}

/// What is known of the item itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ItemFacts {
    /// Where it is in its life.
    pub state: ItemState,
    /// Whether it was made in another region.
    pub is_replica: bool,
    /// The policy that made it, as long as there is one.
    pub policy_id: Option<PolicyId>,
    /// Whether this region writes nothing now.
    pub is_blocked: bool,
}

/// Whether the item's policy goes to a region by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// It does.
    On,
    /// It would, if its schedule were switched on.
    Off,
    /// It does not.
    Absent,
}

/// What is known of the item's newest record for a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFacts {
    /// The record.
    pub id: ReplicationRecordId,
    /// Where it is in its life.
    pub state: RecordState,
    /// Why it waits or ended, as the worker noted it; empty when all is well.
    pub reason_code: String,
    /// The same for a person.
    pub reason: String,
    /// Not before this moment is it tried again.
    pub try_at: Timestamp,
    /// Bytes expected to be sent, once known.
    pub planned_bytes: u64,
    /// Bytes sent so far.
    pub sent_bytes: u64,
    /// The receipt, once there is one.
    pub receipt: Option<ReceiptSeen>,
    /// What was proved of the replica, once there is one.
    pub level: Option<Level>,
    /// The replica there, once there is one.
    pub replica_id: Option<CheckpointItemId>,
    /// Since when it is known that somebody there deleted the replica.
    pub gone_at: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// What is known of an item and one region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationFacts {
    /// The region.
    pub region: RegionName,
    /// The project there: the record's, else the policy's, else that of the newest grant.
    pub project_id: Option<ProjectId>,
    /// Whether it is paired and confirmed.
    pub is_paired: bool,
    /// Whether a project there accepts replicas of the item's project now.
    pub has_grant: bool,
    /// Whether the item's policy goes there by itself.
    pub schedule: Schedule,
    /// The newest record, if there is one.
    pub record: Option<RecordFacts>,
    /// The newest head of the region that was compared with our records.
    pub head: Option<HeadSeen>,
}

/// Why an item is, or is not, in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// In one word.
    pub presence: Presence,
    /// Why.
    pub code: Code,
    /// What says that the replica is there, if it is.
    pub evidence: Option<Evidence>,
}

/// Decides. What a record says comes first, then what keeps the item from having one.
pub fn explain(item: &ItemFacts, destination: &DestinationFacts, now: Timestamp) -> Explanation {
    match &destination.record {
        Some(record) => of_record(record, destination.head.as_ref(), now),
        None => without_evidence(Presence::Missing, of_nothing(item, destination)),
    }
}

fn of_record(record: &RecordFacts, head: Option<&HeadSeen>, now: Timestamp) -> Explanation {
    match record.state {
        RecordState::Done => of_replica(record, head, now),
        RecordState::Waiting | RecordState::Copying | RecordState::Verifying | RecordState::Publishing => {
            of_open(record)
        }
        RecordState::Failed => without_evidence(Presence::Missing, known_or(record, Code::Failed)),
        RecordState::Cancelled => without_evidence(Presence::Missing, Code::Cancelled),
        RecordState::Lost => without_evidence(Presence::Missing, Code::Lost),
        RecordState::Skipped => {
            let code = match record.reason_code.as_str() {
                "expired" => Code::SkippedExpired,
                "item-deleted" => Code::SkippedDeleted,
                _ => Code::Skipped,
            };
            without_evidence(Presence::Missing, code)
        }
    }
}

fn of_replica(record: &RecordFacts, head: Option<&HeadSeen>, now: Timestamp) -> Explanation {
    if record.gone_at.is_some() {
        return without_evidence(Presence::Missing, Code::DeletedThere);
    }
    let evidence = record.receipt.map(|receipt| Evidence::of(&receipt, head));
    let is_recent = evidence.is_some_and(|evidence| evidence.is_recent(now));
    let code = if is_recent { Code::Replicated } else { Code::ReplicatedUnproven };
    Explanation { presence: Presence::Replicated, code, evidence }
}

/// An open record that notes a reason waits, whatever its state; one that notes none is where its state says.
fn of_open(record: &RecordFacts) -> Explanation {
    if !record.reason_code.is_empty() {
        return without_evidence(Presence::Waiting, known_or(record, Code::Internal));
    }
    match record.state {
        RecordState::Copying => without_evidence(Presence::Moving, Code::Copying),
        RecordState::Verifying => without_evidence(Presence::Moving, Code::Verifying),
        RecordState::Publishing => without_evidence(Presence::Moving, Code::Publishing),
        _ => without_evidence(Presence::Waiting, Code::Queued),
    }
}

/// Why there is no record. What would refuse an order comes before whether anybody gives one.
fn of_nothing(item: &ItemFacts, destination: &DestinationFacts) -> Code {
    if item.is_replica {
        return Code::IsAReplica;
    }
    if item.state != ItemState::Available {
        return Code::NotAvailable;
    }
    if !destination.is_paired {
        return Code::NotPaired;
    }
    if !destination.has_grant {
        return Code::NoGrant;
    }
    if item.is_blocked {
        return Code::WritesBlocked;
    }
    match (item.policy_id, destination.schedule) {
        (None, _) => Code::NotOfAPolicy,
        (Some(_), Schedule::On) => Code::NotOrdered,
        (Some(_), Schedule::Off) => Code::ScheduleOff,
        (Some(_), Schedule::Absent) => Code::NotADestination,
    }
}

/// The code of the word that a record notes, if it is one that records note.
fn known_or(record: &RecordFacts, otherwise: Code) -> Code {
    Code::from_word(&record.reason_code).unwrap_or(otherwise)
}

fn without_evidence(presence: Presence, code: Code) -> Explanation {
    Explanation { presence, code, evidence: None }
}

#[cfg(test)]
mod tests;
