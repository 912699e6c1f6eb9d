//! The counts of a run, by type of object and kind of damage.

use std::collections::BTreeMap;
use std::fmt;

use crate::Verdict;
use crate::damage::{Case, Class, Kind};

#[derive(Clone, Default)]
pub(crate) struct Table {
    cases: BTreeMap<(Class, Kind), u64>,
    totals: BTreeMap<Class, Totals>,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    cases: u64,
    reported: u64,
    unchanged: u64,
    restored: u64,
    refused: u64,
}

impl Table {
    pub(crate) fn add(&mut self, case: &Case, verdict: Verdict) {
        *self.cases.entry((case.class, case.kind)).or_default() += 1;
        self.totals.entry(case.class).or_default().add(Totals {
            cases: 1,
            reported: u64::from(verdict.is_reported),
            unchanged: u64::from(!verdict.is_reported),
            restored: verdict.restored,
            refused: verdict.refused,
        });
    }

    pub(crate) fn merge(&mut self, other: Table) {
        for (key, count) in other.cases {
            *self.cases.entry(key).or_default() += count;
        }
        for (class, totals) in other.totals {
            self.totals.entry(class).or_default().add(totals);
        }
    }

    /// A long enough run meets every lawful pair; a shorter one proves nothing about the rest.
    pub(crate) fn require_all_kinds(&self) {
        let cases: u64 = self.cases.values().sum();
        for (class, kind) in Case::pairs() {
            let count = self.cases.get(&(class, kind)).copied().unwrap_or(0);
            assert!(count > 0 || cases < 2_000, "{class} was never {kind}");
        }
    }
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.cases += other.cases;
        self.reported += other.reported;
        self.unchanged += other.unchanged;
        self.restored += other.restored;
        self.refused += other.refused;
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:<16}", "cases")?;
        for kind in Kind::ALL {
            write!(out, "{:>10}", kind.to_string())?;
        }
        writeln!(out, "{:>10}", "all")?;
        for (class, totals) in &self.totals {
            write!(out, "{:<16}", class.to_string())?;
            for kind in Kind::ALL {
                match self.cases.get(&(*class, kind)) {
                    Some(count) => write!(out, "{count:>10}")?,
                    None => write!(out, "{:>10}", "")?,
                }
            }
            writeln!(out, "{:>10}", totals.cases)?;
        }
        writeln!(out)?;
        let head = ["cases", "reported", "same", "unnoticed", "restored", "refused", "wrong"];
        writeln!(out, "{:<16}{}", "outcome", head.map(|word| format!("{word:>10}")).concat())?;
        let mut sum = Totals::default();
        for (class, totals) in &self.totals {
            line(out, &class.to_string(), totals)?;
            sum.add(*totals);
        }
        line(out, "all", &sum)
    }
}

/// Nothing unnoticed and nothing wrong gets as far as this table: either ends the run.
fn line(out: &mut fmt::Formatter<'_>, name: &str, totals: &Totals) -> fmt::Result {
    let Totals { cases, reported, unchanged, restored, refused } = totals;
    writeln!(
        out,
        "{name:<16}{cases:>10}{reported:>10}{unchanged:>10}{:>10}{restored:>10}{refused:>10}{:>10}",
        0, 0
    )
}
