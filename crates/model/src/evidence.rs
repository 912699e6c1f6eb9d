//! Evidence that a replica is there: what its destination signed last, and how long that counts.
//!
//! A receipt says that the replica was there when it was given; each head that lists the replica says it again. Nothing
//! else does: a record that is `done` says what was once done.

use crate::time::Timestamp;

/// How old evidence may be. Heads are exchanged every 300 seconds, so this is six that did not come.
pub const EVIDENCE_SECONDS_MAX: i64 = 1800;

/// A receipt, as the source keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiptSeen {
    /// When it was stored here, by our clock.
    pub stored_at: Timestamp,
    /// Heads with a larger counter list the replica, or it is gone.
    pub head_counter: u64,
}

/// The newest head of a region that was compared with the records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadSeen {
    /// Its counter.
    pub counter: u64,
    /// When it was asked for, by our clock: it is no younger than that.
    pub asked_at: Timestamp,
}

/// What the destination signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The receipt of the replica.
    Receipt,
    /// A head that lists it.
    Head,
}

impl Witness {
    /// The word shown by our own API.
    pub fn word(self) -> &'static str {
        match self {
            Witness::Receipt => "receipt",
            Witness::Head => "head",
        }
    }
}

/// The newest evidence that a replica is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// What was signed.
    pub witness: Witness,
    /// How old it is at most: when the receipt was stored, or the head asked for, by our clock.
    pub at: Timestamp,
}

impl Evidence {
    /// The newest evidence for a replica whose record is done and not noted as gone. A head counts when it must list
    /// the replica and was asked for after the receipt was stored: then its silence would have made the record `lost`.
    pub fn of(receipt: &ReceiptSeen, head: Option<&HeadSeen>) -> Evidence {
        let listing =
            head.filter(|head| head.counter > receipt.head_counter && head.asked_at >= receipt.stored_at);
        match listing {
            Some(head) => Evidence { witness: Witness::Head, at: head.asked_at },
            None => Evidence { witness: Witness::Receipt, at: receipt.stored_at },
        }
    }

    /// Until when it counts.
    pub fn ends_at(self) -> Timestamp {
        self.at.plus_seconds(EVIDENCE_SECONDS_MAX)
    }

    /// Whether it still counts.
    pub fn is_recent(self, now: Timestamp) -> bool {
        now <= self.ends_at()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0).plus_seconds(seconds)
    }

    #[test]
    fn a_head_counts_when_it_must_list_the_replica_and_was_asked_for_after_the_receipt() {
        let receipt = ReceiptSeen { stored_at: at(100), head_counter: 7 };
        for (head, expected) in [
            (None, (Witness::Receipt, 100)),
            (Some((8, 400)), (Witness::Head, 400)),
            (Some((8, 100)), (Witness::Head, 100)),
            (Some((7, 400)), (Witness::Receipt, 100)),
            (Some((8, 99)), (Witness::Receipt, 100)),
        ] {
            let head = head.map(|(counter, moment)| HeadSeen { counter, asked_at: at(moment) });
            let evidence = Evidence::of(&receipt, head.as_ref());
            assert_eq!((evidence.witness, evidence.at), (expected.0, at(expected.1)), "{head:?}");
        }
    }

    #[test]
    fn evidence_counts_to_its_last_second() {
        let evidence = Evidence { witness: Witness::Head, at: at(100) };
        assert!(evidence.is_recent(at(100 + EVIDENCE_SECONDS_MAX)));
        assert!(!evidence.is_recent(at(101 + EVIDENCE_SECONDS_MAX)));
    }
}
