//! How much a project may hold of backups made in its region. A full quota refuses what is new; it never
//! drops anything. Replicas are no part of it: what may arrive is for the acceptance grants to say.

/// Bytes in the unit that the wire calls GB.
const GIBIBYTE: u64 = 1 << 30;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum QuotaKind {
    /// Bytes that the project's vault takes in the object store.
    BackupCapacity,
    /// Checkpoint items made here that are not deleted.
    Backups,
}

impl QuotaKind {
    /// The wire word.
    pub fn word(self) -> &'static str {
        match self {
            QuotaKind::BackupCapacity => "backup_capacity",
            QuotaKind::Backups => "backups",
        }
    }
}

/// What a project may hold. Nothing means as much as there is room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// The most backups.
    pub backups_max: Option<u64>,
    /// The most that they may take in the store, in units of 2^30 bytes.
    pub capacity_gib_max: Option<u64>,
}

/// What to change of a quota: nothing leaves a limit as it is, an inner nothing takes it away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaChange {
    /// The most backups.
    pub backups_max: Option<Option<u64>>,
    /// The most that they may take in the store, in units of 2^30 bytes.
    pub capacity_gib_max: Option<Option<u64>>,
}

/// What a project holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Backups made here that are not deleted.
    pub backups: u64,
    /// Bytes of the packs of the project's own vault.
    pub stored_bytes: u64,
}

/// Which quota is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the project has {used} of at most {max} ({})", kind.word())]
pub struct Exceeded {
    /// Of what.
    pub kind: QuotaKind,
    /// How much there is.
    pub used: u64,
    /// How much there may be.
    pub max: u64,
}

impl Usage {
    /// What the backups take in the store, in units of 2^30 bytes, rounded up.
    pub fn capacity_gib(&self) -> u64 {
        self.stored_bytes.div_ceil(GIBIBYTE)
    }
}

impl Quota {
    /// The quota after a change.
    pub fn changed(self, change: &QuotaChange) -> Quota {
        Quota {
            backups_max: change.backups_max.unwrap_or(self.backups_max),
            capacity_gib_max: change.capacity_gib_max.unwrap_or(self.capacity_gib_max),
        }
    }

    /// Whether so many backups more are too many. How much a backup adds to the store is known only when it
    /// is made, so the capacity refuses once it is used up: running backups may pass it, no further one begins.
    pub fn allow(&self, usage: &Usage, new_backups: u64) -> Result<(), Exceeded> {
        if let Some(max) = self.backups_max
            && usage.backups.saturating_add(new_backups) > max
        {
            return Err(Exceeded { kind: QuotaKind::Backups, used: usage.backups, max });
        }
        if let Some(max) = self.capacity_gib_max
            && usage.stored_bytes >= max.saturating_mul(GIBIBYTE)
        {
            return Err(Exceeded { kind: QuotaKind::BackupCapacity, used: usage.capacity_gib(), max });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_refuses_what_is_new_once_it_is_full() {
        let check = |backups_max, capacity_gib_max, backups, stored_bytes, new, expected| {
            let quota = Quota { backups_max, capacity_gib_max };
            let refused = quota.allow(&Usage { backups, stored_bytes }, new).err();
            assert_eq!(
                refused.map(|exceeded| exceeded.kind),
                expected,
                "{quota:?} {backups} {stored_bytes} {new}"
            );
        };
        let (backups, capacity) = (Some(QuotaKind::Backups), Some(QuotaKind::BackupCapacity));
        check(None, None, u64::MAX, u64::MAX, 9, None);
        check(Some(3), None, 2, 0, 1, None);
        check(Some(3), None, 2, 0, 2, backups);
        check(Some(3), None, 9, 0, 1, backups);
        check(Some(0), None, 0, 0, 1, backups);
        check(Some(0), None, 0, 0, 0, None);
        check(Some(3), None, u64::MAX, 0, 1, backups);
        check(None, Some(2), 0, 2 * GIBIBYTE - 1, 1, None);
        check(None, Some(2), 0, 2 * GIBIBYTE, 1, capacity);
        check(None, Some(0), 0, 0, 1, capacity);
        check(None, Some(u64::MAX), 0, 1 << 60, 1, None);
    }

    #[test]
    fn a_begun_unit_counts_as_a_whole_one() {
        for (stored_bytes, gib) in [(0, 0), (1, 1), (GIBIBYTE, 1), (GIBIBYTE + 1, 2)] {
            assert_eq!(Usage { stored_bytes, ..Usage::default() }.capacity_gib(), gib);
        }
    }
}
