//! Arrivals that nobody goes on with: the source cancelled them, lost them, or is gone. They hold an open
//! operation, which keeps what they stored from being collected, and a reservation against their grant, so
//! they are given up after a while. A source that comes back later opens the transfer again; what was not
//! collected meanwhile it need not send again.

use std::sync::Arc;

use tracing::info;

use super::{Arrival, catalog_key, let_go};
use crate::Control;
use crate::error::{Error, Kind, Reason};

/// How long an arrival may stand still, in seconds: a pause over a week's end and its Monday costs nothing.
const ABANDONED_SECONDS: i64 = 7 * 24 * 3600;
/// How often an arrival that moves is noted as moving, in seconds.
const TOUCH_SECONDS: i64 = 3600;

impl Control {
    /// Gives up the arrivals that have stood still for [`ABANDONED_SECONDS`]; nothing while writing is blocked.
    pub(crate) async fn give_up_abandoned_arrivals(&self) -> Result<(), Error> {
        if self.catalog().region().await?.is_some_and(|region| region.blocked_reason.is_some()) {
            return Ok(());
        }
        let now = self.now();
        let before = now.plus_seconds(-ABANDONED_SECONDS);
        let closed = self.catalog().close_transfers_untouched_since(before, now).await?;
        if closed.is_empty() {
            return Ok(());
        }
        info!(arrival_count = closed.len(), "gave up arrivals that nobody went on with");
        let open: Vec<Arc<Arrival>> = closed
            .into_iter()
            .filter_map(|operation_id| self.open_transfers().forget(operation_id))
            .collect();
        let_go(open).await.map_err(|(_, why)| Error::new(Kind::Unavailable, Reason::Busy, why))
    }

    /// Notes, once in a while, that an arrival moves. One that was given up just now is refused with the next pack
    /// that it fills, and opened again.
    pub(super) async fn note_moving(&self, arrival: &Arrival) {
        let now = self.now();
        if !arrival.is_touch_due(now, TOUCH_SECONDS) {
            return;
        }
        let key = catalog_key(&arrival.peer, &arrival.grant, &arrival.request);
        if let Err(error) = self.catalog().touch_transfer(&key, arrival.attempt, now).await {
            tracing::debug!(%error, "an arrival could not be noted as moving");
        }
    }
}
