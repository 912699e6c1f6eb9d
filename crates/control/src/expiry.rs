//! Expiry: which backups retention drops, decided by [`model::retention`], per policy and server. An
//! item that is being copied or restored waits; one whose replication never began is dropped and its
//! record says "expired, never replicated".

use std::collections::BTreeMap;

use catalog::RetentionItem;
use model::ids::{CheckpointItemId, ResourceId};
use model::policy::Policy;
use model::retention::{self, Candidate};
use tracing::info;
use vault::crash_point;

use crate::Control;
use crate::error::Error;

impl Control {
    /// Orders the deletion of everything that retention drops now; nothing while that is frozen.
    pub(crate) async fn expire_items(&self) -> Result<(), Error> {
        if self.catalog().region().await?.is_some_and(|region| region.frozen_reason.is_some()) {
            return Ok(());
        }
        for policy in self.catalog().all_policies().await? {
            self.expire_items_of(&policy).await?;
        }
        Ok(())
    }

    async fn expire_items_of(&self, policy: &Policy) -> Result<(), Error> {
        let Some(operation) = policy.backup_operation() else { return Ok(()) };
        let mut by_server: BTreeMap<ResourceId, Vec<Candidate>> = BTreeMap::new();
        for RetentionItem { item, is_in_use } in self.catalog().items_for_retention(policy.id).await? {
            by_server.entry(item.resource_id.clone()).or_default().push(Candidate::of(&item, is_in_use));
        }
        let now = self.now();
        let retention = operation.definition.retention();
        let expired: Vec<CheckpointItemId> =
            by_server.values().flat_map(|items| retention::expired(retention, items, now)).collect();
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
