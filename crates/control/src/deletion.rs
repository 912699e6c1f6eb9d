//! The deletion worker: row first, manifest after. The chunks stay until the collector finds that no
//! manifest reaches them; a crash between the two leaves an unlisted manifest, which is litter.

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
        self.catalog().finish_delete(&job.lease, item_id, self.now()).await?;
        crash_point!("delete.item_gone");
        self.wakes().scheduler.notify_one();
        info!(item.id = %item_id, "deleted a checkpoint item");
        Ok(())
    }
}
