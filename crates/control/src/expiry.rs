//! Expiry: which backups retention drops, decided by [`model::retention`], per policy and server. An
//! item that is being copied or restored waits; one whose replication never began is dropped and its
//! record says "expired, never replicated". [`crate::preview`] shows beforehand what goes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

use model::ids::{CheckpointItemId, PolicyId};
use model::policy::Policy;
use model::time::Timestamp;
use tracing::info;
use vault::crash_point;

use crate::Control;
use crate::error::Error;

/// How long nothing is looked at that did not change, in seconds. Time drops items too, and so does the end of
/// whatever kept one; neither is in a hurry.
const LOOK_AGAIN_SECONDS: i64 = 60;

/// When each policy was looked at last, and what there was to see. Looking costs what a policy has made, and
/// deciding is to cost what changed.
#[derive(Default)]
pub(crate) struct Looks {
    last: Mutex<HashMap<PolicyId, (Seen, Timestamp)>>,
}

/// What retention decides by, as far as it changes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    policy_changed_at: Timestamp,
    items_changed_at: Option<Timestamp>,
}

impl Looks {
    fn is_due(&self, policy: PolicyId, seen: Seen, now: Timestamp) -> bool {
        let last = self.last().get(&policy).copied();
        last.is_none_or(|(before, at)| {
            before != seen || now >= at.plus_seconds(LOOK_AGAIN_SECONDS) || now < at
        })
    }

    fn note(&self, policy: PolicyId, seen: Seen, now: Timestamp) {
        let mut last = self.last();
        // Policies come and go; those that are gone are no longer looked at.
        last.retain(|_, (_, at)| now < at.plus_seconds(2 * LOOK_AGAIN_SECONDS));
        last.insert(policy, (seen, now));
    }

    fn last(&self) -> MutexGuard<'_, HashMap<PolicyId, (Seen, Timestamp)>> {
        self.last.lock().expect("nothing panics while it holds this")
    }
}

impl Control {
    /// Orders the deletion of everything that retention drops now; nothing while that is frozen.
    pub(crate) async fn expire_items(&self) -> Result<(), Error> {
        if self.catalog().region().await?.is_some_and(|region| region.frozen_reason.is_some()) {
            return Ok(());
        }
        for policy in self.catalog().all_policies().await? {
            let seen = Seen {
                policy_changed_at: policy.updated_at,
                items_changed_at: self.catalog().items_changed_at(policy.id).await?,
            };
            if self.looks().is_due(policy.id, seen, self.now()) {
                self.expire_items_of(&policy).await?;
                self.looks().note(policy.id, seen, self.now());
            }
        }
        Ok(())
    }

    async fn expire_items_of(&self, policy: &Policy) -> Result<(), Error> {
        let Some(operation) = policy.backup_operation() else { return Ok(()) };
        let (retention, now) = (operation.definition.retention(), self.now());
        if retention.keeps_everything() {
            return Ok(());
        }
        let judged = self.judge_items(policy, retention, now).await?;
        let expired: Vec<CheckpointItemId> =
            judged.iter().filter(|verdict| verdict.is_expired()).map(|verdict| verdict.id).collect();
        if expired.is_empty() {
            return Ok(());
        }
        let ordered = self.catalog().order_expiry(&expired, now).await?;
        crash_point!("expiry.ordered");
        if !ordered.is_empty() {
            info!(policy.id = %policy.id, item_count = ordered.len(), "retention drops items");
            self.wakes().deleter.notify_one();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_looked_at_when_something_changed_and_now_and_then() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let looks = Looks::default();
        let policy = PolicyId::from_bytes([1; 16]);
        let seen = Seen { policy_changed_at: at(1), items_changed_at: None };
        assert!(looks.is_due(policy, seen, at(10)), "after a start");
        looks.note(policy, seen, at(10));
        assert!(!looks.is_due(policy, seen, at(12)));
        assert!(looks.is_due(policy, Seen { policy_changed_at: at(11), ..seen }, at(12)));
        assert!(looks.is_due(policy, Seen { items_changed_at: Some(at(11)), ..seen }, at(12)));
        assert!(looks.is_due(policy, seen, at(70)), "time drops items too");
        assert!(looks.is_due(policy, seen, at(9)), "a clock that was set back");
        assert!(looks.is_due(PolicyId::from_bytes([2; 16]), seen, at(12)));
        for other in 0..200 {
            looks.note(PolicyId::from_bytes([other; 16]), seen, at(1000 * i64::from(other)));
        }
        assert_eq!(looks.last().len(), 1, "what is not looked at any more is forgotten");
    }
}
