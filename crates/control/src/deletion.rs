//! The deletion worker: the item is shown no more, and quarantined. Until that has ended it can be had back
//! ([`crate::quarantine`]); then a collection purges its row and removes its manifest and, when nothing else
//! reaches them, its chunks ([`crate::collection`]).

use catalog::Job;
use model::ids::CheckpointItemId;
use tracing::info;
use vault::crash_point;

use crate::Control;
use crate::error::Error;

impl Control {
    /// Carries out one deletion job.
    pub(crate) async fn delete_item(&self, job: &Job) -> Result<(), Error> {
        let item_id = CheckpointItemId::from_bytes(job.lease.subject);
        let purge_after = self.now().plus_seconds(self.parts().collection.quarantine_seconds);
        self.catalog().finish_delete(&job.lease, item_id, purge_after, self.now()).await?;
        crash_point!("delete.item_gone");
        self.wakes().scheduler.notify_one();
        info!(item.id = %item_id, "deleted a checkpoint item");
        Ok(())
    }
}
