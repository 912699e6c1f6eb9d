//! What a person can say to a replication record: pause, resume, cancel, retry.
//!
//! Each is one transaction; whoever works on the record is fenced by it and stops before its next batch. What
//! has arrived at the far end stays there: a record that is resumed or ordered again goes on with it, and
//! what nobody comes back for the destination gives up by itself ([`crate::arrivals`]).

use catalog::{CatalogError, Conflict, RecordChange, RetryOrder};
use model::ids::ReplicationRecordId;
use model::replication::ReplicationRecord;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};

impl Control {
    /// Stops a record for a while. It keeps its place, and nothing is sent until it is resumed.
    pub async fn pause_record(
        &self,
        caller: &Caller,
        id: ReplicationRecordId,
    ) -> Result<ReplicationRecord, Error> {
        let project = caller.may(Action::Replicate)?;
        let change = why("paused", "paused by hand; it goes on when it is resumed");
        let paused = self.catalog().pause_replication(project, id, &change, self.now()).await;
        paused.map_err(refused)?;
        self.wakes().fenced.notify_waiters();
        self.record(caller, id).await
    }

    /// Lets a paused record go on, at its old place and at once.
    pub async fn resume_record(
        &self,
        caller: &Caller,
        id: ReplicationRecordId,
    ) -> Result<ReplicationRecord, Error> {
        let project = caller.may(Action::Replicate)?;
        self.catalog().resume_replication(project, id, self.now()).await.map_err(refused)?;
        self.wakes().replicator.notify_one();
        self.record(caller, id).await
    }

    /// Takes an open record back, for good. Its item can be ordered again, and deleted.
    pub async fn cancel_record(
        &self,
        caller: &Caller,
        id: ReplicationRecordId,
    ) -> Result<ReplicationRecord, Error> {
        let project = caller.may(Action::Replicate)?;
        let change = why("cancelled", "cancelled by hand; retry it, or order the replication again");
        let cancelled = self.catalog().cancel_replication(project, id, &change, self.now()).await;
        cancelled.map_err(refused)?;
        self.wakes().fenced.notify_waiters();
        self.record(caller, id).await
    }

    /// Orders again what failed, was skipped, cancelled or lost. Answers the new record.
    pub async fn retry_record(
        &self,
        caller: &Caller,
        id: ReplicationRecordId,
    ) -> Result<ReplicationRecord, Error> {
        let project = caller.may(Action::Replicate)?;
        let ended = self.record(caller, id).await?;
        if !ended.state.may_be_retried() {
            return Err(Conflict::NotRetried { state: ended.state }.into());
        }
        let grant_id = self.require_grant(project, &ended.destination).await?;
        let record_id = ReplicationRecordId::from_entropy(self.entropy_bytes());
        let order = RetryOrder { ended_id: id, record_id, grant_id };
        self.catalog().retry_replication(project, &order, self.now()).await.map_err(refused)?;
        self.wakes().replicator.notify_one();
        self.record(caller, record_id).await
    }
}

fn why(code: &str, reason: &str) -> RecordChange {
    RecordChange { reason_code: code.to_owned(), reason: reason.to_owned() }
}

/// A verb that does not fit the record, told so that a person knows what the record is.
fn refused(error: CatalogError) -> Error {
    match error {
        CatalogError::Conflict(Conflict::IllegalRecordMove(illegal)) => Error::conflict(
            Reason::RecordRefuses,
            format!("the replication is {} and cannot be cancelled", illegal.state.word()),
        ),
        CatalogError::NotFound { what: "checkpoint item", .. } => {
            Error::conflict(Reason::RecordRefuses, "the backup is gone; there is nothing to replicate")
        }
        CatalogError::NotFound { what: "replication record", id } => {
            Error::not_found(Reason::RecordNotFound, format!("replication record ({id}) is not found"))
        }
        other => other.into(),
    }
}
