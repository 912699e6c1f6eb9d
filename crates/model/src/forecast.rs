//! Forecasts: how much a replication would move, and for how long, by the estimate that the worker itself makes when it
//! takes up a record.

use std::collections::BTreeSet;

use crate::ids::{CheckpointItemId, ResourceId};
use crate::time::Timestamp;

/// An item that would be moved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedItem {
    /// The item.
    pub item_id: CheckpointItemId,
    /// Its server.
    pub resource_id: ResourceId,
    /// When it was ordered.
    pub created_at: Timestamp,
    /// What it added to the vault here.
    pub added_bytes: u64,
    /// All bytes of it; of an item of an earlier release the size of its disks.
    pub stored_bytes: u64,
}

/// How fast finished records went to a region.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MeasuredRate {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Microseconds from the beginning of each record to its receipt, added up.
    pub micros: u64,
}

/// How many bytes would be moved. The newest item of each server goes first: in full where the region holds nothing of
/// the server, against what it holds otherwise; the others follow against that one.
pub fn expected_bytes(items: &[PlannedItem], servers_there: &BTreeSet<ResourceId>) -> u64 {
    let mut newest_first: Vec<&PlannedItem> = items.iter().collect();
    newest_first.sort_by_key(|item| std::cmp::Reverse((item.created_at, item.item_id)));
    let mut with_base: BTreeSet<&ResourceId> = servers_there.iter().collect();
    let mut bytes = 0;
    for item in newest_first {
        let has_base = !with_base.insert(&item.resource_id);
        bytes += if has_base { item.added_bytes } else { item.stored_bytes };
    }
    bytes
}

/// How long so many bytes would take; nothing when nothing was measured.
pub fn expected_seconds(bytes: u64, rate: MeasuredRate) -> Option<u64> {
    if rate.sent_bytes == 0 || rate.micros == 0 {
        return None;
    }
    let micros = u128::from(bytes) * u128::from(rate.micros) / u128::from(rate.sent_bytes);
    u64::try_from(micros.div_ceil(1_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(n: u8, server: &str) -> PlannedItem {
        PlannedItem {
            item_id: CheckpointItemId::from_entropy([n; 16]),
            resource_id: server.parse().unwrap(),
            created_at: Timestamp::from_micros(i64::from(n)),
            added_bytes: u64::from(n),
            stored_bytes: 1000,
        }
    }

    #[test]
    fn the_newest_of_a_server_goes_in_full_unless_something_of_it_is_there() {
        let items = [item(1, "s1"), item(3, "s1"), item(2, "s1"), item(5, "s2"), item(6, "s2")];
        let there = |servers: &[&str]| servers.iter().map(|server| server.parse().unwrap()).collect();
        assert_eq!(expected_bytes(&items, &there(&[])), 1000 + 2 + 1 + 1000 + 5);
        assert_eq!(expected_bytes(&items, &there(&["s1"])), 3 + 2 + 1 + 1000 + 5);
        assert_eq!(expected_bytes(&items, &there(&["s1", "s2", "s3"])), 3 + 2 + 1 + 6 + 5);
        assert_eq!(expected_bytes(&[], &there(&[])), 0);
    }

    #[test]
    fn seconds_follow_what_was_measured() {
        let rate = MeasuredRate { sent_bytes: 100, micros: 2_000_000 };
        for (bytes, seconds) in [(0, 0), (1, 1), (100, 2), (101, 3), (1000, 20)] {
            assert_eq!(expected_seconds(bytes, rate), Some(seconds), "{bytes}");
        }
        assert_eq!(expected_seconds(100, MeasuredRate::default()), None);
        assert_eq!(expected_seconds(u64::MAX, MeasuredRate { sent_bytes: 1, micros: u64::MAX }), None);
    }
}
