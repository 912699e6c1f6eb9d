//! Replication, the story of the core call: may they, what exists, what to do, write it down, wake.
//!
//! The answer is oldest first and final: every record in it is durable, and the union of the answers
//! of racing calls lists each item once. The copying happens in [`worker`].

mod circuits;
mod verbs;
pub mod worker;

use std::collections::BTreeMap;

use catalog::{CatalogError, Conflict, NewRecords, Slot};
use model::grant::Grant;
use model::ids::{CheckpointItemId, GrantId, ProjectId, RegionName, ReplicationRecordId};
use model::policy::Policy;
use model::replication::{self, Destination, LeftOut, ReplicationOrder, ReplicationRecord};
use model::text::{Description, Name};

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::{Page, PageOf, RecordFilter, RecordSort, found, found_or, page_of};

pub(crate) use self::circuits::Circuits;

/// What a replication order began.
#[derive(Clone, Debug)]
pub struct Replication {
    /// The order it answers.
    pub order: ReplicationOrder,
    /// This region.
    pub source_region: RegionName,
    /// The records written, oldest item first.
    pub selected: Vec<(CheckpointItemId, ReplicationRecordId)>,
    /// How many items were left out, by reason.
    pub left_out: BTreeMap<LeftOut, u64>,
}

impl Replication {
    /// Whether the order was full, so that asking again selects more.
    pub fn has_more(&self) -> bool {
        self.left_out.contains_key(&LeftOut::OrderFull)
    }
}

/// Who orders the replication of a policy.
enum OrderedBy {
    /// Somebody who called.
    Caller,
    /// Our own scheduler, for the slot that this order claims, or for one that is claimed already.
    Scheduler { slot: Option<Slot> },
}

/// An order to replicate one item.
#[derive(Clone, Debug)]
pub struct ItemReplicationOrder {
    /// The item.
    pub item_id: CheckpointItemId,
    /// Where to.
    pub destination: Destination,
    /// More streams; never other content.
    pub enable_acceleration: bool,
    /// Name wished for the replica.
    pub name: Option<Name>,
    /// Description wished for the replica.
    pub description: Option<Description>,
}

impl Control {
    /// Makes replicas, in another region, of every backup of a policy that has not been replicated yet.
    pub async fn replicate_policy(
        &self,
        caller: &Caller,
        order: ReplicationOrder,
    ) -> Result<Replication, Error> {
        let project = caller.may(Action::Replicate)?;
        let policy = self.policy_of(project, order.policy_id).await?;
        self.begin_policy_replication(&policy, order, OrderedBy::Caller).await
    }

    /// Makes a replica of one item. Unlike a policy's run, it may do so again after the replica was deleted.
    pub async fn replicate_item(
        &self,
        caller: &Caller,
        order: ItemReplicationOrder,
    ) -> Result<(ReplicationRecordId, RegionName), Error> {
        let project = caller.may(Action::Replicate)?;
        let item = self.item_of(project, order.item_id).await?;
        if item.is_replica() {
            return Err(Error::refused(Reason::ReplicaOfReplica, "a replica cannot be replicated"));
        }
        let grant_id = self.require_grant(project, &order.destination).await?;
        let policy = match item.policy_id {
            Some(id) => found(self.catalog().policy(project, id).await)?,
            None => None,
        };
        let keep_days = policy.and_then(|policy| policy.keep_days_wished(&order.destination));
        let id = ReplicationRecordId::from_entropy(self.entropy_bytes());
        let order = catalog::ItemReplicationOrder {
            source_project_id: project.clone(),
            item_id: item.id,
            destination: order.destination,
            grant_id,
            record_id: id,
            auto_trigger: false,
            enable_acceleration: order.enable_acceleration,
            replica_name: order.name.map(|name| name.as_str().to_owned()),
            replica_description: order.description.map(|description| description.as_str().to_owned()),
            keep_days,
        };
        self.catalog().begin_item_replication(&order, self.now()).await.map_err(already_replicated)?;
        self.wakes().replicator.notify_one();
        Ok((id, self.region_name().clone()))
    }

    /// This region and the regions that it may replicate to.
    pub fn replication_destinations(&self, caller: &Caller) -> Result<(RegionName, Vec<RegionName>), Error> {
        caller.may(Action::Read)?;
        Ok((self.region_name().clone(), self.peers().names()))
    }

    /// The replication records of the caller's project.
    pub async fn records(
        &self,
        caller: &Caller,
        filter: &RecordFilter,
        page: &Page<RecordSort>,
    ) -> Result<PageOf<ReplicationRecord>, Error> {
        let project = caller.may(Action::Read)?;
        page_of(page, async |page| self.catalog().records(project, filter, &page).await).await
    }

    /// One replication record.
    pub async fn record(&self, caller: &Caller, id: ReplicationRecordId) -> Result<ReplicationRecord, Error> {
        let project = caller.may(Action::Read)?;
        let record = self.catalog().record(project, id).await;
        found_or(record, Reason::RecordNotFound, &format!("replication record ({id}) is not found"))
    }

    /// How many replication records match.
    pub async fn count_records(&self, caller: &Caller, filter: &RecordFilter) -> Result<u64, Error> {
        let project = caller.may(Action::Read)?;
        Ok(self.catalog().count_records(project, filter).await?)
    }

    /// A scheduled run: orders until nothing is left over. Answers how many items it concerns. The claim of
    /// the slot is durable with the first order; what a crash keeps from being ordered, the next run orders.
    pub(crate) async fn begin_scheduled_replication(
        &self,
        policy: &Policy,
        order: &ReplicationOrder,
        slot: Slot,
    ) -> Result<usize, Error> {
        let mut by = OrderedBy::Scheduler { slot: Some(slot) };
        let mut item_count = 0;
        loop {
            let begun = self.begin_policy_replication(policy, order.clone(), by).await?;
            item_count += begun.selected.len();
            if !begun.has_more() || begun.selected.is_empty() {
                return Ok(item_count);
            }
            by = OrderedBy::Scheduler { slot: None };
        }
    }

    /// The common part of a caller's order and the scheduler's.
    async fn begin_policy_replication(
        &self,
        policy: &Policy,
        order: ReplicationOrder,
        by: OrderedBy,
    ) -> Result<Replication, Error> {
        let grant_id = self.require_grant(&order.source_project_id, &order.destination).await?;
        let ledger = self.catalog().replication_ledger(order.policy_id, &order.destination.region).await?;
        let plan = replication::plan(&order, &ledger);
        let record_ids: Vec<ReplicationRecordId> =
            plan.selected.iter().map(|_| ReplicationRecordId::from_entropy(self.entropy_bytes())).collect();
        let keep_days = policy.keep_days_wished(&order.destination);
        let (by_scheduler, slot) = match by {
            OrderedBy::Caller => (false, None),
            OrderedBy::Scheduler { slot } => (true, slot),
        };
        let new = NewRecords { record_ids, grant_id, by_scheduler, keep_days, slot };
        let selected = self.catalog().begin_replication(&plan, &new, self.now()).await?;
        self.wakes().replicator.notify_one();
        Ok(Replication {
            order,
            source_region: self.region_name().clone(),
            selected,
            left_out: plan.left_out,
        })
    }

    /// Refuses an unknown region and our own, by name; the name is the only address a caller can give.
    pub(crate) fn require_destination(&self, region: &RegionName) -> Result<(), Error> {
        if region == self.region_name() || !self.peers().is_known(region) {
            let message = "replication_capabilities lists the regions that do";
            return Err(Error::refused(Reason::DestinationRegionUnknown, message).at("destination_region"));
        }
        Ok(())
    }

    /// The grant a replica would travel under. The refusal is the same whether the project exists or not.
    async fn require_grant(&self, project: &ProjectId, destination: &Destination) -> Result<GrantId, Error> {
        self.require_destination(&destination.region)?;
        let mut grant = self.catalog().remote_grant(project, destination, self.now()).await?;
        if grant.is_none() {
            // It may have been made a moment ago: ask once, and go by what is known if the peer is down.
            self.refresh_grants(&destination.region).await;
            grant = self.catalog().remote_grant(project, destination, self.now()).await?;
        }
        grant.map(|grant| grant.id).ok_or_else(no_grant)
    }

    /// The same for a caller who only asks: what is known here, and nothing is fetched or remembered.
    pub(crate) async fn grant_in_hand(
        &self,
        project: &ProjectId,
        destination: &Destination,
    ) -> Result<Grant, Error> {
        self.require_destination(&destination.region)?;
        self.catalog().remote_grant(project, destination, self.now()).await?.ok_or_else(no_grant)
    }
}

fn no_grant() -> Error {
    let message = "its admin must make an acceptance grant for this region and project there";
    Error::refused(Reason::DestinationProjectRefuses, message).at("destination_project_id")
}

/// To whoever orders one more replica, one that is on its way is as much there as one that arrived.
fn already_replicated(error: CatalogError) -> Error {
    match error {
        CatalogError::Conflict(Conflict::ItemReplicating { item }) => {
            Error::from(CatalogError::Conflict(Conflict::AlreadyReplicated { item }))
        }
        other => other.into(),
    }
}
