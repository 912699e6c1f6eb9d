//! Coverage: whether a server could be had back in another region, and how much of it would be missing.
//!
//! [`judge`] looks at one server in one region, by what is live now. `docs/replication.md` says the same for people.

use crate::evidence::Evidence;
use crate::grant::Level;
use crate::ids::CheckpointItemId;
use crate::time::{SECOND_MICROS, Timestamp};

/// The longest target: ten years, so that every moment stays one.
pub const RPO_SECONDS_MAX: u32 = 10 * 366 * 86_400;

/// How much of the target may pass before the server is at risk, in percent.
const AT_RISK_PERCENT: i64 = 75;

/// The newest backup of a server that is available here and was made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewestBackup {
    /// The item.
    pub item_id: CheckpointItemId,
    /// The moment whose data it holds.
    pub protected_at: Timestamp,
    /// All bytes of it, new to the vault or not; of an item of an earlier release the size of its disks.
    pub stored_bytes: u64,
}

/// The newest replica of a server that is in a region as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewestReplica {
    /// The item here that it is a replica of; it may be gone here.
    pub item_id: CheckpointItemId,
    /// The moment whose data it holds.
    pub protected_at: Timestamp,
    /// What is proved of it there.
    pub level: Level,
    /// What says that it is there.
    pub evidence: Evidence,
    /// What the backups made after that moment added to the vault here.
    pub newer_bytes: u64,
}

/// One server in one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covering {
    /// When the server was registered: from then on there is something to lose.
    pub registered_at: Timestamp,
    /// Its newest backup, if it has one.
    pub backup: Option<NewestBackup>,
    /// Its newest replica there, if it has one.
    pub replica: Option<NewestReplica>,
    /// How old the newest replica may become, if somebody said so.
    pub rpo_seconds: Option<u32>,
}

/// What is said about a server in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// The newest replica is younger than the target.
    Met,
    /// It is, but the greater part of the target has passed.
    AtRisk,
    /// It is older than the target, or there is none and the target has passed since the server was registered.
    Breached,
    /// The region has not said for too long that the newest replica is there.
    Unproven,
}

impl Verdict {
    /// All verdicts, the best first.
    pub const ALL: [Verdict; 4] = [Verdict::Met, Verdict::AtRisk, Verdict::Unproven, Verdict::Breached];

    /// The word shown by our own API.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Met => "met",
            Verdict::AtRisk => "at-risk",
            Verdict::Breached => "breached",
            Verdict::Unproven => "unproven",
        }
    }

    /// Whether a check fails over it.
    pub fn is_alarming(self) -> bool {
        matches!(self, Verdict::Breached | Verdict::Unproven)
    }
}

/// How a server stands in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The verdict; nothing when there is no target and nothing is unproven.
    pub verdict: Option<Verdict>,
    /// Since when it is so; nothing without a verdict.
    pub since: Option<Timestamp>,
    /// Seconds between the data of the newest replica and those of the newest backup; 0 when no backup is newer, nothing
    /// when either is missing.
    pub lag_seconds: Option<u64>,
    /// What would have to be moved for the newest backup to be there, at most.
    pub owed_bytes: u64,
}

/// Judges one server in one region. Breached wins over unproven: an old replica is too old, there or not.
pub fn judge(covering: &Covering, now: Timestamp) -> Judgement {
    let verdict = verdict(covering, now);
    Judgement {
        verdict: verdict.map(|(verdict, _)| verdict),
        since: verdict.map(|(_, since)| since),
        lag_seconds: lag_seconds(covering),
        owed_bytes: owed_bytes(covering),
    }
}

fn verdict(covering: &Covering, now: Timestamp) -> Option<(Verdict, Timestamp)> {
    let counted_from = covering.replica.map_or(covering.registered_at, |replica| replica.protected_at);
    let rpo_seconds = covering.rpo_seconds.map(i64::from);
    if let Some(rpo_seconds) = rpo_seconds
        && now > counted_from.plus_seconds(rpo_seconds)
    {
        return Some((Verdict::Breached, counted_from.plus_seconds(rpo_seconds)));
    }
    let old = covering.replica.filter(|replica| !replica.evidence.is_recent(now));
    if let Some(replica) = old {
        return Some((Verdict::Unproven, replica.evidence.ends_at()));
    }
    let risk_at = counted_from.plus_seconds(rpo_seconds? * AT_RISK_PERCENT / 100);
    Some(match covering.replica {
        None => (Verdict::AtRisk, counted_from),
        Some(_) if now > risk_at => (Verdict::AtRisk, risk_at),
        Some(_) => (Verdict::Met, counted_from),
    })
}

fn lag_seconds(covering: &Covering) -> Option<u64> {
    let (backup, replica) = (covering.backup?, covering.replica?);
    let micros = backup.protected_at.micros() - replica.protected_at.micros();
    Some(u64::try_from(micros / SECOND_MICROS).unwrap_or(0))
}

/// Without a replica all of the newest backup; with one, what was added since, but never more than all of it.
fn owed_bytes(covering: &Covering) -> u64 {
    match (covering.backup, covering.replica) {
        (None, _) => 0,
        (Some(backup), None) => backup.stored_bytes,
        (Some(backup), Some(replica)) => replica.newer_bytes.min(backup.stored_bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{EVIDENCE_SECONDS_MAX, Witness};

    const NOW: i64 = 1_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0).plus_seconds(seconds)
    }

    fn backup(protected_at: i64) -> Option<NewestBackup> {
        let item_id = CheckpointItemId::from_entropy([1; 16]);
        Some(NewestBackup { item_id, protected_at: at(protected_at), stored_bytes: 1000 })
    }

    /// A replica of so many seconds ago, which was last listed so many seconds ago.
    fn replica(age: i64, evidence_age: i64) -> Option<NewestReplica> {
        Some(NewestReplica {
            item_id: CheckpointItemId::from_entropy([1; 16]),
            protected_at: at(NOW - age),
            level: Level::Stored,
            evidence: Evidence { witness: Witness::Head, at: at(NOW - evidence_age) },
            newer_bytes: 30,
        })
    }

    #[test]
    fn verdicts_follow_the_age_of_the_replica_and_of_its_evidence() {
        use Verdict::{AtRisk, Breached, Met, Unproven};
        let stale = EVIDENCE_SECONDS_MAX + 1;
        let cases = [
            ("young", replica(10, 5), Some(100), Some((Met, NOW - 10))),
            ("at three quarters", replica(75, 5), Some(100), Some((Met, NOW - 75))),
            ("beyond", replica(76, 5), Some(100), Some((AtRisk, NOW - 1))),
            ("at the target", replica(100, 5), Some(100), Some((AtRisk, NOW - 25))),
            ("too old", replica(101, 5), Some(100), Some((Breached, NOW - 1))),
            ("last evidence", replica(10, stale - 1), Some(100), Some((Met, NOW - 10))),
            ("no evidence", replica(10, stale), Some(100), Some((Unproven, NOW - 1))),
            ("neither", replica(101, stale), Some(100), Some((Breached, NOW - 1))),
            ("none yet", None, Some(1000), Some((AtRisk, NOW - 1000))),
            ("none for too long", None, Some(999), Some((Breached, NOW - 1))),
            ("target of nothing", replica(1, 1), Some(0), Some((Breached, NOW - 1))),
            ("no target", replica(10, 5), None, None),
            ("no target and no evidence", replica(10, stale), None, Some((Unproven, NOW - 1))),
            ("nothing", None, None, None),
        ];
        for (name, replica, rpo_seconds, expected) in cases {
            let covering =
                Covering { registered_at: at(NOW - 1000), backup: backup(NOW - 5), replica, rpo_seconds };
            let judged = judge(&covering, at(NOW));
            assert_eq!(judged.verdict, expected.map(|(verdict, _)| verdict), "{name}");
            assert_eq!(judged.since, expected.map(|(_, since)| at(since)), "{name}");
        }
    }

    #[test]
    fn lag_is_between_the_data_and_owed_is_what_was_added_since() {
        let cases = [
            ("no backup", None, replica(10, 5), (None, 0)),
            ("no replica", backup(NOW), None, (None, 1000)),
            ("behind", backup(NOW), replica(10, 5), (Some(10), 30)),
            ("the same", backup(NOW - 10), replica(10, 5), (Some(0), 30)),
            ("the newest backup is gone here", backup(NOW - 50), replica(10, 5), (Some(0), 30)),
        ];
        for (name, backup, replica, expected) in cases {
            let covering = Covering { registered_at: at(0), backup, replica, rpo_seconds: None };
            let judged = judge(&covering, at(NOW));
            assert_eq!((judged.lag_seconds, judged.owed_bytes), expected, "{name}");
        }
        let much = NewestReplica { newer_bytes: 5000, ..replica(10, 5).unwrap() };
        let covering =
            Covering { registered_at: at(0), backup: backup(NOW), replica: Some(much), rpo_seconds: None };
        assert_eq!(judge(&covering, at(NOW)).owed_bytes, 1000, "never more than all of it");
    }

    #[test]
    fn a_check_fails_over_what_is_breached_or_unproven() {
        let alarming: Vec<_> = Verdict::ALL.into_iter().filter(|verdict| verdict.is_alarming()).collect();
        assert_eq!(alarming, [Verdict::Unproven, Verdict::Breached]);
    }
}
