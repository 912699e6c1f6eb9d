//! How fast this process sends to each peer. One bucket for each limited peer, shared by all transfers to it:
//! a batch takes its turn when every byte ordered before it, and its own, has been earned.
//!
//! The limit stands in the catalog and is read anew with the peers, so that a change reaches every process;
//! the one that was asked for it follows at once. Nobody holds a lease longer for waiting here: the lease is
//! kept beside it, and whoever loses it stops waiting.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use catalog::PeerLimit;
use model::ids::RegionName;
use model::rate::ByteRate;
use vault::seams::Clock;

use super::messages::BATCH_BYTES_MAX;
use crate::Control;
use crate::access::Caller;
use crate::error::Error;
use crate::workers::Timer;

/// How long a waiting batch sleeps before it looks again whether the limit, or its lease, has changed.
const LOOK_EVERY_MS: u64 = 100;
/// Earnings are counted in thousandths of bytes, so that a millisecond earns a whole number.
const THOUSANDTHS: u128 = 1000;

/// The buckets of all limited peers.
#[derive(Default)]
pub(crate) struct SendLimits {
    buckets: Mutex<Buckets>,
}

#[derive(Default)]
struct Buckets {
    of_peers: HashMap<RegionName, Bucket>,
    serial: u64,
}

/// What came of waiting for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The batch may go.
    Come,
    /// Whoever waited was told to stop.
    GivenUp,
}

/// The seams that waiting needs.
pub(crate) struct Seams<'a> {
    pub(crate) clock: &'a dyn Clock,
    pub(crate) timer: &'a dyn Timer,
}

/// A place in the queue of a bucket: the earnings at which it is reached.
#[derive(Clone, Copy)]
struct Ticket {
    serial: u64,
    at: u128,
    order: u128,
}

struct Bucket {
    /// Names the bucket: a ticket for an earlier one lets through.
    serial: u64,
    rate: u64,
    earned: u128,
    ordered: u128,
    looked_at_ms: u64,
}

impl Bucket {
    /// Earns what time brings. A clock that goes backwards brings nothing; what nobody ordered is kept up to
    /// one second or one batch, because a sender cannot order while a batch is on its way.
    fn earn(&mut self, now_ms: u64) {
        let elapsed_ms = now_ms.saturating_sub(self.looked_at_ms);
        self.looked_at_ms = now_ms;
        let kept_max = u128::from(self.rate).max(BATCH_BYTES_MAX as u128) * THOUSANDTHS;
        let earned = self.earned + u128::from(self.rate) * u128::from(elapsed_ms);
        self.earned = earned.min(self.ordered + kept_max);
    }

    /// How long a ticket has to wait at this rate, in milliseconds; 0 when its turn has come.
    fn wait_ms(&self, ticket: &Ticket) -> u64 {
        let missing = ticket.at.saturating_sub(self.earned);
        u64::try_from(missing.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX)
    }
}

impl Buckets {
    fn of_ticket(&mut self, region: &RegionName, ticket: &Ticket) -> Option<&mut Bucket> {
        self.of_peers.get_mut(region).filter(|bucket| bucket.serial == ticket.serial)
    }
}

impl SendLimits {
    /// Follows the limits that the catalog holds: new ones begin with nothing earned, changed ones count from
    /// now on, and whoever waits for one that is gone goes on.
    pub(crate) fn follow(&self, limits: &[PeerLimit], now_ms: u64) {
        let mut guard = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = &mut *guard;
        buckets.of_peers.retain(|region, _| limits.iter().any(|limit| limit.region == *region));
        for limit in limits {
            let serial = buckets.serial + 1;
            let bucket = buckets.of_peers.entry(limit.region.clone()).or_insert_with(|| {
                buckets.serial = serial;
                Bucket {
                    serial,
                    rate: limit.rate.bytes_per_second(),
                    earned: 0,
                    ordered: 0,
                    looked_at_ms: now_ms,
                }
            });
            bucket.earn(now_ms);
            bucket.rate = limit.rate.bytes_per_second();
        }
    }

    /// The limit of a peer, if it has one.
    pub(crate) fn of(&self, region: &RegionName) -> Option<ByteRate> {
        let buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.of_peers.get(region).and_then(|bucket| ByteRate::new(bucket.rate).ok())
    }

    /// Waits until so many bytes may go to a peer, or until whoever waits is told to stop.
    pub(crate) async fn wait_for_turn(
        &self,
        region: &RegionName,
        bytes: usize,
        seams: Seams<'_>,
        is_stopped: impl Fn() -> bool,
    ) -> Turn {
        let Some(ticket) = self.order(region, bytes, seams.clock.now_ms()) else { return Turn::Come };
        loop {
            let wait_ms = self.wait_ms(region, &ticket, seams.clock.now_ms());
            if wait_ms == 0 {
                return Turn::Come;
            }
            if is_stopped() {
                self.give_up(region, &ticket);
                return Turn::GivenUp;
            }
            seams.timer.sleep(Duration::from_millis(wait_ms.min(LOOK_EVERY_MS))).await;
        }
    }

    fn order(&self, region: &RegionName, bytes: usize, now_ms: u64) -> Option<Ticket> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.of_peers.get_mut(region)?;
        bucket.earn(now_ms);
        let order = bytes as u128 * THOUSANDTHS;
        bucket.ordered += order;
        Some(Ticket { serial: bucket.serial, at: bucket.ordered, order })
    }

    fn wait_ms(&self, region: &RegionName, ticket: &Ticket, now_ms: u64) -> u64 {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.of_ticket(region, ticket).map_or(0, |bucket| {
            bucket.earn(now_ms);
            bucket.wait_ms(ticket)
        })
    }

    /// What was ordered and not sent is earned for those who wait behind.
    fn give_up(&self, region: &RegionName, ticket: &Ticket) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.of_ticket(region, ticket) {
            bucket.earned += ticket.order;
        }
    }
}

impl Control {
    /// Limits how fast a peer is sent to, from now on; nothing is no limit.
    pub async fn limit_peer(
        &self,
        caller: &Caller,
        region: &RegionName,
        limit: Option<ByteRate>,
    ) -> Result<(), Error> {
        caller.must_operate()?;
        self.catalog().put_peer_limit(region, limit, self.now()).await?;
        self.follow_limits().await
    }

    /// Reads the limits again, after a change here or in another process.
    pub(crate) async fn follow_limits(&self) -> Result<(), Error> {
        let limits = self.catalog().peer_limits().await?;
        self.send_limits().follow(&limits, self.parts().clock.now_ms());
        Ok(())
    }

    /// How fast a peer may be sent to, if that is limited.
    pub(crate) fn limit_of(&self, region: &RegionName) -> Option<ByteRate> {
        self.send_limits().of(region)
    }
}

#[cfg(test)]
#[path = "limits/tests.rs"]
mod tests;
