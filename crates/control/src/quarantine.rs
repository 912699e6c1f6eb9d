//! Quarantine: what was deleted or expired in a project and can still be had back. Listing and taking back are
//! for the project's own people; the end of the quarantine is the collector's.

pub use catalog::QuarantinedItem;
use model::checkpoint::CheckpointItem;
use model::ids::CheckpointItemId;
use tracing::info;
use vault::crash_point;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::{PageOf, found_or};

/// The most items that one answer lists.
const QUARANTINED_MAX: u32 = 200;

impl Control {
    /// A page of the deleted items of the caller's project that can be had back, soonest end first, behind
    /// `after`.
    pub async fn quarantined_items(
        &self,
        caller: &Caller,
        after: Option<CheckpointItemId>,
    ) -> Result<PageOf<QuarantinedItem>, Error> {
        let project = caller.may(Action::Read)?;
        let listed = self.catalog().quarantined_items(project, after, QUARANTINED_MAX + 1).await;
        let mut rows = match listed {
            Err(catalog::CatalogError::NotFound { .. }) if after.is_some() => {
                return Err(Error::invalid("marker", "names nothing in this list"));
            }
            listed => listed?,
        };
        let has_more = rows.len() > QUARANTINED_MAX as usize;
        rows.truncate(QUARANTINED_MAX as usize);
        Ok(PageOf { rows, has_more })
    }

    /// Takes the deletion of an item back. It is available again, and retention leaves it alone.
    pub async fn undo_deletion(
        &self,
        caller: &Caller,
        item: CheckpointItemId,
    ) -> Result<CheckpointItem, Error> {
        let project = caller.may(Action::Order)?;
        let back = self.catalog().undo_deletion(project, item, self.now()).await;
        let reason = Reason::ItemNotFound { item: item.to_string() };
        let back = found_or(back, reason, &format!("Checkpoint_item ({item}) is not in quarantine."))?;
        crash_point!("quarantine.undone");
        self.wakes().scheduler.notify_one();
        info!(item.id = %item, "took the deletion of a checkpoint item back");
        Ok(back)
    }
}
