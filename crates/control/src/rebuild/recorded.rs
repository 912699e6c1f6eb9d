//! What the state objects of a store say in the end: of each subject the newest revision, of locks the
//! longest, of deletions whether they stand. Objects may come in any order.
//!
//! "Newest" is asked of no clock: lives of the catalog are ordered by their records, objects of one
//! life by their numbers.

use std::collections::BTreeMap;

use catalog::DeletedPolicy;
use model::ids::PolicyId;
use model::time::Timestamp;
use vault::ids::{Incarnation, ReplicaId};
use vault::state::{
    ArrivalRecord, DeletionRecord, GrantRecord, HoldRecord, LockMode, LockRecord, PolicyRecord,
    ProjectRecord, ServerRecord, StateObject, StateRecord, Subject, SubjectKind,
};

use crate::state::adoption;

/// The place of an object in the history of the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    generation: u32,
    incarnation: Incarnation,
    sequence: u64,
}

/// A subject, by kind and id.
pub(super) type SubjectKey = (SubjectKind, String);

/// The newest of several.
#[derive(Clone, Debug)]
struct Newest<T> {
    order: Order,
    value: T,
}

/// A lock as it stands: of several on one subject the latest end and the firmest mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lock {
    pub(super) mode: LockMode,
    pub(super) until_ms: u64,
}

/// Everything that the store's state objects say.
#[derive(Default)]
pub(super) struct Recorded {
    policies: BTreeMap<String, Newest<PolicyRecord>>,
    servers: BTreeMap<String, Newest<ServerRecord>>,
    grants: BTreeMap<[u8; 16], Newest<GrantRecord>>,
    projects: BTreeMap<String, Newest<ProjectRecord>>,
    deletions: BTreeMap<SubjectKey, Newest<DeletionRecord>>,
    holds: BTreeMap<SubjectKey, Newest<HoldRecord>>,
    locks: BTreeMap<SubjectKey, Lock>,
    arrivals: BTreeMap<ReplicaId, ArrivalRecord>,
}

impl Recorded {
    /// Takes one object in.
    pub(super) fn take(&mut self, generation: u32, object: StateObject) {
        let stamp = object.stamp;
        let order = Order { generation, incarnation: stamp.incarnation, sequence: stamp.sequence };
        match object.record {
            StateRecord::Policy(record) => {
                keep_newest(&mut self.policies, record.policy_id.clone(), order, record)
            }
            StateRecord::Server(record) => {
                keep_newest(&mut self.servers, record.server_id.clone(), order, record)
            }
            StateRecord::Grant(record) => keep_newest(&mut self.grants, record.grant.0, order, record),
            StateRecord::Project(record) => {
                keep_newest(&mut self.projects, record.project_id.clone(), order, record)
            }
            StateRecord::Deletion(record) => {
                keep_newest(&mut self.deletions, key_of(&record.subject), order, record)
            }
            StateRecord::Hold(record) => keep_newest(&mut self.holds, key_of(&record.subject), order, record),
            StateRecord::Lock(record) => self.take_lock(&record),
            StateRecord::Arrival(record) => self.take_arrival(record),
            StateRecord::Incarnation(_) => {}
        }
    }

    fn take_lock(&mut self, record: &LockRecord) {
        let taken = Lock { mode: record.mode, until_ms: record.until_ms };
        let lock = self.locks.entry(key_of(&record.subject)).or_insert(taken);
        lock.mode = lock.mode.max(taken.mode);
        lock.until_ms = lock.until_ms.max(taken.until_ms);
    }

    /// A publication that was asked for again wrote its arrival again: the first arrival counts, and the
    /// longest promise.
    fn take_arrival(&mut self, record: ArrivalRecord) {
        match self.arrivals.get_mut(&record.replica) {
            None => {
                self.arrivals.insert(record.replica, record);
            }
            Some(known) => {
                let keep_until_ms = known.keep_until_ms.max(record.keep_until_ms);
                if record.arrived_ms < known.arrived_ms {
                    *known = record;
                }
                known.keep_until_ms = keep_until_ms;
            }
        }
    }

    /// Policies that were not deleted, newest first.
    pub(super) fn policies(&self) -> Vec<&PolicyRecord> {
        self.standing(&self.policies, |id| (SubjectKind::Policy, id.clone()))
    }

    /// What is left of every policy that was deleted.
    pub(super) fn deleted_policies(&self) -> Vec<DeletedPolicy> {
        let of = |(key, newest): (&SubjectKey, &Newest<DeletionRecord>)| {
            let (SubjectKind::Policy, id) = key else { return None };
            let deletion = &newest.value;
            Some(DeletedPolicy {
                id: id.parse().ok()?,
                project_id: deletion.subject.project_id.parse().ok()?,
                deleted_at: Timestamp::from_millis(deletion.deleted_ms),
                adopted_by: adoption::adopter_in(&deletion.reason),
            })
        };
        self.deletions.iter().filter(|(_, newest)| !newest.value.is_undone).filter_map(of).collect()
    }

    /// The policy that has the backups made by this one: itself, or the last of those that adopted them.
    pub(super) fn keeper_of(&self, policy: PolicyId) -> PolicyId {
        let mut keeper = policy;
        // Nobody adopts twice, so that the longest chain is as long as there are deletions.
        for _ in 0..self.deletions.len() {
            let deletion = self.deletion(&(SubjectKind::Policy, keeper.to_string()));
            match deletion.and_then(|deletion| adoption::adopter_in(&deletion.reason)) {
                Some(adopter) => keeper = adopter,
                None => break,
            }
        }
        keeper
    }

    /// Servers that were not removed, newest first.
    pub(super) fn servers(&self) -> Vec<&ServerRecord> {
        self.standing(&self.servers, |id| (SubjectKind::Server, id.clone()))
    }

    /// Projects that were not deleted, newest first.
    pub(super) fn projects(&self) -> Vec<&ProjectRecord> {
        self.standing(&self.projects, |id| (SubjectKind::Project, id.clone()))
    }

    /// Grants, revoked or not.
    pub(super) fn grants(&self) -> impl Iterator<Item = &GrantRecord> {
        self.grants.values().map(|newest| &newest.value)
    }

    /// Every replica that ever arrived, gone or not.
    pub(super) fn arrivals(&self) -> impl Iterator<Item = &ArrivalRecord> {
        self.arrivals.values()
    }

    /// The deletion of a subject, unless it was taken back.
    pub(super) fn deletion(&self, key: &SubjectKey) -> Option<&DeletionRecord> {
        self.deletions.get(key).map(|newest| &newest.value).filter(|deletion| !deletion.is_undone)
    }

    /// Subjects that are locked beyond this moment, or held.
    pub(super) fn protected(&self, now_ms: u64) -> BTreeMap<SubjectKey, (Option<Lock>, bool)> {
        let mut protected: BTreeMap<SubjectKey, (Option<Lock>, bool)> = BTreeMap::new();
        for (key, lock) in self.locks.iter().filter(|(_, lock)| lock.until_ms > now_ms) {
            protected.entry(key.clone()).or_default().0 = Some(*lock);
        }
        for (key, _) in self.holds.iter().filter(|(_, hold)| hold.value.is_held) {
            protected.entry(key.clone()).or_default().1 = true;
        }
        protected
    }

    fn standing<'a, K, T>(
        &'a self,
        all: &'a BTreeMap<K, Newest<T>>,
        subject: impl Fn(&K) -> SubjectKey,
    ) -> Vec<&'a T> {
        let is_gone = |id: &K, newest: &Newest<T>| {
            let deletion = self.deletions.get(&subject(id));
            deletion.is_some_and(|deletion| !deletion.value.is_undone && deletion.order > newest.order)
        };
        let mut standing: Vec<&Newest<T>> =
            all.iter().filter(|(id, newest)| !is_gone(id, newest)).map(|(_, newest)| newest).collect();
        standing.sort_by_key(|newest| std::cmp::Reverse(newest.order));
        standing.into_iter().map(|newest| &newest.value).collect()
    }
}

fn keep_newest<K: Ord, T>(all: &mut BTreeMap<K, Newest<T>>, key: K, order: Order, value: T) {
    match all.get(&key) {
        Some(known) if known.order >= order => {}
        _ => {
            all.insert(key, Newest { order, value });
        }
    }
}

fn key_of(subject: &Subject) -> SubjectKey {
    (subject.kind, subject.id.clone())
}

#[cfg(test)]
mod tests {
    use vault::ids::{DomainId, GrantId, ManifestDigest, RegionId};
    use vault::receipt::{Level, Mode};
    use vault::state::StateStamp;

    use super::*;

    fn subject(kind: SubjectKind) -> Subject {
        Subject { kind, id: "x".into(), project_id: "p".into(), manifest: ManifestDigest::ZERO }
    }

    fn policy(name: &str) -> StateRecord {
        StateRecord::Policy(PolicyRecord {
            policy_id: "x".into(),
            project_id: "p".into(),
            revision: 1,
            name: name.into(),
            is_enabled: true,
            document: String::new(),
        })
    }

    fn deletion(kind: SubjectKind, is_undone: bool) -> StateRecord {
        StateRecord::Deletion(DeletionRecord {
            subject: subject(kind),
            deleted_ms: 1,
            purge_after_ms: 1,
            is_expiry: false,
            is_undone,
            deleted_by: String::new(),
            reason: String::new(),
        })
    }

    fn lock(mode: LockMode, until_ms: u64) -> StateRecord {
        StateRecord::Lock(LockRecord {
            subject: subject(SubjectKind::Item),
            mode,
            until_ms,
            set_by: String::new(),
        })
    }

    fn hold(is_held: bool) -> StateRecord {
        StateRecord::Hold(HoldRecord {
            subject: subject(SubjectKind::Item),
            is_held,
            set_by: String::new(),
            reason: String::new(),
        })
    }

    fn arrival(arrived_ms: u64, keep_until_ms: u64) -> StateRecord {
        StateRecord::Arrival(ArrivalRecord {
            replica: ReplicaId([1; 16]),
            generation: 1,
            source_region: RegionId([2; 16]),
            source_project: "p".into(),
            destination_project: "q".into(),
            grant: GrantId([3; 16]),
            manifest: ManifestDigest([4; 32]),
            domain: DomainId([5; 16]),
            mode: Mode::Restorable,
            level: Level::Stored,
            arrived_ms,
            keep_until_ms,
            receipt: Vec::new(),
            document: String::new(),
        })
    }

    /// Folds objects given as (generation, sequence, time, record), forwards and backwards.
    fn folded(objects: &[(u32, u64, u64, StateRecord)]) -> [Recorded; 2] {
        let fold = |objects: &mut dyn Iterator<Item = &(u32, u64, u64, StateRecord)>| {
            let mut recorded = Recorded::default();
            for (generation, sequence, time_ms, record) in objects {
                let incarnation = Incarnation([*generation as u8 + 1; 16]);
                let stamp = StateStamp { incarnation, sequence: *sequence, time_ms: *time_ms };
                recorded.take(*generation, StateObject { stamp, record: record.clone() });
            }
            recorded
        };
        [fold(&mut objects.iter()), fold(&mut objects.iter().rev())]
    }

    #[test]
    fn the_newest_revision_counts_whatever_the_clocks_said() {
        let objects =
            [(0, 9, 900, policy("old life")), (1, 2, 100, policy("first")), (1, 3, 50, policy("second"))];
        for recorded in folded(&objects) {
            assert_eq!(recorded.policies()[0].name, "second");
        }
    }

    #[test]
    fn a_deletion_stands_until_it_is_taken_back_or_the_subject_is_made_again() {
        let gone = |objects: &[_]| folded(objects).map(|recorded| recorded.policies().is_empty());
        let deleted = deletion(SubjectKind::Policy, false);
        let undone = deletion(SubjectKind::Policy, true);
        assert_eq!(gone(&[(0, 1, 0, policy("a")), (0, 2, 0, deleted.clone())]), [true; 2]);
        let taken_back = [(0, 1, 0, policy("a")), (0, 2, 0, deleted.clone()), (0, 3, 0, undone)];
        assert_eq!(gone(&taken_back), [false; 2]);
        let made_again = [(0, 1, 0, policy("a")), (0, 2, 0, deleted.clone()), (1, 1, 0, policy("b"))];
        assert_eq!(gone(&made_again), [false; 2]);
        let other_kind = [(0, 1, 0, policy("a")), (0, 2, 0, deletion(SubjectKind::Server, false))];
        assert_eq!(gone(&other_kind), [false; 2]);
    }

    #[test]
    fn backups_are_found_with_the_last_of_those_that_adopted_them() {
        let ids = [1, 2, 3].map(|n| PolicyId::from_entropy([n; 16]));
        let gone = |id: PolicyId, reason: String| {
            let StateRecord::Deletion(record) = deletion(SubjectKind::Policy, false) else { unreachable!() };
            let subject = Subject { id: id.to_string(), ..record.subject };
            StateRecord::Deletion(DeletionRecord { subject, reason, ..record })
        };
        let chain = [
            (0, 1, 0, gone(ids[0], String::new())),
            (0, 2, 0, gone(ids[0], adoption::reason_of(ids[1]))),
            (0, 3, 0, gone(ids[1], adoption::reason_of(ids[2]))),
        ];
        for recorded in folded(&chain) {
            assert_eq!(ids.map(|id| recorded.keeper_of(id)), [ids[2]; 3]);
            let adopters: Vec<_> = recorded
                .deleted_policies()
                .into_iter()
                .map(|deleted| (deleted.id, deleted.adopted_by))
                .collect();
            assert_eq!(adopters, [(ids[0], Some(ids[1])), (ids[1], Some(ids[2]))]);
        }
        let ring = [
            (0, 1, 0, gone(ids[0], adoption::reason_of(ids[1]))),
            (0, 2, 0, gone(ids[1], adoption::reason_of(ids[0]))),
        ];
        for recorded in folded(&ring) {
            assert!(ids[..2].contains(&recorded.keeper_of(ids[0])), "a ring that nobody made ends as well");
        }
    }

    #[test]
    fn locks_take_the_maximum_and_holds_the_newest_word() {
        let objects = [
            (0, 1, 0, lock(LockMode::Compliance, 10)),
            (0, 2, 0, lock(LockMode::Governance, 30)),
            (1, 1, 0, lock(LockMode::Governance, 20)),
            (0, 3, 0, hold(true)),
        ];
        for recorded in folded(&objects) {
            let key = (SubjectKind::Item, "x".to_owned());
            let expected = Lock { mode: LockMode::Compliance, until_ms: 30 };
            assert_eq!(recorded.protected(29)[&key], (Some(expected), true));
            assert_eq!(recorded.protected(30)[&key], (None, true));
        }
        for recorded in folded(&[(0, 1, 0, hold(true)), (0, 2, 0, hold(false))]) {
            assert!(recorded.protected(0).is_empty());
        }
    }

    #[test]
    fn a_replica_arrived_when_it_first_did_and_keeps_its_longest_promise() {
        for recorded in
            folded(&[(0, 1, 0, arrival(7, 100)), (0, 2, 0, arrival(9, 90)), (1, 1, 0, arrival(8, 110))])
        {
            let arrivals: Vec<_> =
                recorded.arrivals().map(|arrival| (arrival.arrived_ms, arrival.keep_until_ms)).collect();
            assert_eq!(arrivals, [(7, 110)]);
        }
    }
}
