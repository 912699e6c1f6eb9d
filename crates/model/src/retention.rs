//! Retention: how long results are kept, and which of them go now.
//!
//! [`judge`] is pure and looks at the items of one server under one operation; [`expired`] is what it lets go.
//! It promises, for any history: nothing that is held, in use, not available or inside its promised time goes; the newest
//! available item never goes; what goes at one moment would go at any later one.

#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use chrono::Datelike;

use crate::ids::CheckpointItemId;
use crate::time::Timestamp;

/// The highest limit by count or by days.
pub const LIMIT_MAX: i64 = 99_999;
/// The most days, weeks, months or years of which one backup each is kept.
pub const PERIODS_MAX: u32 = 100;

/// How long results are kept, as given. Every field is optional on the wire; the default keeps all.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RetentionFields {
    /// Keep for ever, whatever the other fields say.
    pub permanent: bool,
    /// Keep at most this many automatic backups of a server; 0 and -1 mean no limit.
    pub max_backups: i64,
    /// Keep this many days; 0 and -1 mean no limit.
    pub duration_days: i64,
    /// Keep in addition one automatic backup of each of the last so many days that have any.
    pub day_backups: u32,
    /// The same for weeks, which begin on Monday.
    pub week_backups: u32,
    /// The same for months.
    pub month_backups: u32,
    /// The same for years.
    pub year_backups: u32,
    /// The zone in which days, weeks, months and years begin, as `UTC+08:00`. Mandatory as soon as
    /// one of the four is not 0.
    pub timezone: Option<String>,
}

/// [`RetentionFields`] that were found to be in range. The default keeps everything.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Retention {
    fields: RetentionFields,
    zone_offset_seconds: i64,
}

/// A field of a retention that is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {why}")]
pub struct BadRetention {
    /// The field, by its name on the wire.
    pub field: &'static str,
    /// The broken rule, as a sentence about the field.
    pub why: &'static str,
}

impl Retention {
    /// Checks the ranges of `csbs-v1-api.md` §5.3.
    pub fn new(fields: RetentionFields) -> Result<Retention, BadRetention> {
        let limits = [("max_backups", fields.max_backups), ("retention_duration_days", fields.duration_days)];
        for (field, limit) in limits {
            if !(-1..=LIMIT_MAX).contains(&limit) {
                return Err(BadRetention { field, why: "must be -1 or a number from 0 to 99999" });
            }
        }
        let periods = [
            ("day_backups", fields.day_backups),
            ("week_backups", fields.week_backups),
            ("month_backups", fields.month_backups),
            ("year_backups", fields.year_backups),
        ];
        for (field, count) in periods {
            if count > PERIODS_MAX {
                return Err(BadRetention { field, why: "must be a number from 0 to 100" });
            }
        }
        let needs_zone = periods.iter().any(|(_, count)| *count > 0);
        let zone_offset_seconds = match &fields.timezone {
            Some(zone) => parse_zone(zone).ok_or(BadRetention {
                field: "timezone",
                why: "must have the form UTC+08:00, from UTC-14:00 to UTC+14:00",
            })?,
            None if needs_zone => {
                let why = "must be given with day_backups, week_backups, month_backups or year_backups";
                return Err(BadRetention { field: "timezone", why });
            }
            None => 0,
        };
        Ok(Retention { fields, zone_offset_seconds })
    }

    /// The fields as given.
    pub fn fields(&self) -> &RetentionFields {
        &self.fields
    }

    /// For how many days a replica is to be kept at least, when the fields say that in days: a wish that can
    /// be sent along with it. A limit by count is none, because only the destination knows what it holds.
    pub fn days_wished(&self) -> Option<u32> {
        let days = if self.fields.permanent { LIMIT_MAX } else { self.fields.duration_days };
        u32::try_from(days).ok().filter(|days| *days > 0)
    }

    /// Whether nothing ever goes by it, whatever there is.
    pub fn keeps_everything(&self) -> bool {
        self.fields.permanent || (self.count_max().is_none() && self.fields.duration_days <= 0)
    }

    /// The limit by count, if there is one.
    fn count_max(&self) -> Option<usize> {
        usize::try_from(self.fields.max_backups).ok().filter(|count| *count > 0)
    }
}

/// The offset of `UTC±HH:MM` in seconds.
fn parse_zone(text: &str) -> Option<i64> {
    let (sign, clock) = match text.strip_prefix("UTC")?.split_at_checked(1)? {
        ("+", clock) => (1, clock),
        ("-", clock) => (-1, clock),
        _ => return None,
    };
    let (hours, minutes) = clock.split_once(':')?;
    let two_digits = |digits: &str| -> Option<i64> {
        let is_plain = digits.len() == 2 && digits.bytes().all(|byte| byte.is_ascii_digit());
        is_plain.then(|| digits.parse().ok())?
    };
    let (hours, minutes) = (two_digits(hours)?, two_digits(minutes)?);
    let offset_minutes = hours * 60 + minutes;
    (minutes < 60 && offset_minutes <= 14 * 60).then_some(sign * offset_minutes * 60)
}

/// When a replica arrived, and what was promised for it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// When it arrived, by our clock.
    pub arrived_at: Timestamp,
    /// Nothing expires it before this moment.
    pub keep_until: Timestamp,
}

/// What retention looks at in one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The item.
    pub id: CheckpointItemId,
    /// The moment whose data it holds; for a replica as its source signed it.
    pub protected_at: Timestamp,
    /// For replicas only.
    pub arrival: Option<Arrival>,
    /// Whether our own scheduler made it. Limits by count look at such items only.
    pub auto_trigger: bool,
    /// Whether it is complete and idle. Others neither count nor go.
    pub is_available: bool,
    /// Whether a person, a lock or running work keeps it. It counts, but does not go.
    pub is_held: bool,
}

impl Candidate {
    /// The moment that counts: a source cannot make its replicas look newer than their arrival.
    pub fn moment(&self) -> Timestamp {
        self.arrival.map_or(self.protected_at, |arrival| self.protected_at.min(arrival.arrived_at))
    }

    /// Sorts the newest first. Of equally new replicas the one that was here first comes first.
    fn newest_first(&self) -> (Reverse<Timestamp>, Option<Timestamp>, CheckpointItemId) {
        (Reverse(self.moment()), self.arrived_at(), self.id)
    }

    /// Sorts the items of one day, week, month or year, the one to keep first: the newest backup made
    /// here, but the earliest arrival of replicas, so that a source that was taken over cannot push
    /// out a good replica by sending another one for the same period.
    fn first_of_period(&self) -> (Option<Timestamp>, Reverse<Timestamp>, CheckpointItemId) {
        (self.arrived_at(), Reverse(self.moment()), self.id)
    }

    fn arrived_at(&self) -> Option<Timestamp> {
        self.arrival.map(|arrival| arrival.arrived_at)
    }
}

/// A rule or a fact that keeps an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum KeptBy {
    /// Everything is kept for ever.
    Permanent,
    /// There is no limit by count and none by age.
    NoLimit,
    /// It is one of the newest so many automatic ones, and not too old.
    Last,
    /// It was not made by the scheduler, so that the limit by count does not look at it.
    MadeByHand,
    /// It is not too old, and not one too many.
    Age,
    /// It stands for its day.
    Day,
    /// It stands for its week.
    Week,
    /// It stands for its month.
    Month,
    /// It stands for its year.
    Year,
    /// It is the newest available one of the server.
    Newest,
    /// Somebody, or running work, needs it.
    Held,
    /// The grant it came under promised so.
    Promised,
    /// It is not available: it neither counts nor goes.
    NotAvailable,
}

impl KeptBy {
    /// The word for outsiders.
    pub fn word(self) -> &'static str {
        match self {
            KeptBy::Permanent => "permanent",
            KeptBy::NoLimit => "no-limit",
            KeptBy::Last => "last",
            KeptBy::MadeByHand => "made-by-hand",
            KeptBy::Age => "age",
            KeptBy::Day => "day",
            KeptBy::Week => "week",
            KeptBy::Month => "month",
            KeptBy::Year => "year",
            KeptBy::Newest => "newest",
            KeptBy::Held => "held",
            KeptBy::Promised => "promised",
            KeptBy::NotAvailable => "not-available",
        }
    }
}

/// What retention says of one item at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The item.
    pub id: CheckpointItemId,
    /// Everything that keeps it; nothing for one that goes now.
    pub kept_by: Vec<KeptBy>,
    /// When it goes if no backup is made and nothing is taken away until then: now, at a later moment, or never.
    pub expires_at: Option<Timestamp>,
}

impl Verdict {
    /// Whether the item goes now.
    pub fn is_expired(&self) -> bool {
        self.kept_by.is_empty()
    }
}

/// The items that retention drops now, oldest first, out of all items of one server under one
/// operation.
///
/// An available item goes when there are `max_backups` newer automatic ones (and it is automatic
/// itself), or when it is `duration_days` old, unless the rules for days, weeks, months and years
/// keep it, or it is the newest one, or [`Candidate`] says that it must stay.
pub fn expired(retention: &Retention, candidates: &[Candidate], now: Timestamp) -> Vec<CheckpointItemId> {
    judge(retention, candidates, now).iter().filter(|verdict| verdict.is_expired()).map(|v| v.id).collect()
}

/// What retention says of every item of one server under one operation, oldest first.
pub fn judge(retention: &Retention, candidates: &[Candidate], now: Timestamp) -> Vec<Verdict> {
    let mut newest_first: Vec<&Candidate> = candidates.iter().collect();
    newest_first.sort_by_key(|item| item.newest_first());
    let available = || newest_first.iter().copied().filter(|item| item.is_available);
    let automatic: Vec<&Candidate> = available().filter(|item| item.auto_trigger).collect();
    let count_max = retention.count_max().unwrap_or(automatic.len());
    let bench = Bench {
        retention,
        now,
        newest: available().next().map(|item| item.id),
        surplus: automatic.iter().skip(count_max).map(|item| item.id).collect(),
        periods: kept_by_periods(retention, &automatic),
    };
    newest_first.iter().rev().map(|item| bench.verdict(item)).collect()
}

/// What must be known of all items to judge one.
struct Bench<'a> {
    retention: &'a Retention,
    now: Timestamp,
    /// The newest available item.
    newest: Option<CheckpointItemId>,
    /// Automatic items that are too many.
    surplus: BTreeSet<CheckpointItemId>,
    /// Items that stand for a day, week, month or year.
    periods: BTreeMap<CheckpointItemId, Vec<KeptBy>>,
}

impl Bench<'_> {
    fn verdict(&self, item: &Candidate) -> Verdict {
        let mut kept_by = self.kept_by_rules(item);
        let is_kept_for_good = self.is_kept_for_good(item);
        if item.is_held {
            kept_by.push(KeptBy::Held);
        }
        let promise = item.arrival.map(|arrival| arrival.keep_until).filter(|end| self.now < *end);
        if promise.is_some() {
            kept_by.push(KeptBy::Promised);
        }
        let expires_at = match (is_kept_for_good, self.falls_at(item)) {
            (false, Some(moment)) => Some(moment.max(promise.unwrap_or(moment)).max(self.now)),
            _ => None,
        };
        Verdict { id: item.id, kept_by, expires_at }
    }

    /// Whether no passing of time takes it.
    fn is_kept_for_good(&self, item: &Candidate) -> bool {
        self.retention.fields.permanent
            || !item.is_available
            || item.is_held
            || self.newest == Some(item.id)
            || self.periods.contains_key(&item.id)
    }

    /// When the limits by count and by age take it, the rules for periods aside: they may have done so before.
    fn falls_at(&self, item: &Candidate) -> Option<Timestamp> {
        let days = self.retention.fields.duration_days;
        if self.surplus.contains(&item.id) {
            return Some(self.now);
        }
        (days > 0).then(|| item.moment().plus_days(days))
    }

    fn kept_by_rules(&self, item: &Candidate) -> Vec<KeptBy> {
        let fields = &self.retention.fields;
        if !item.is_available {
            return vec![KeptBy::NotAvailable];
        }
        if fields.permanent {
            return vec![KeptBy::Permanent];
        }
        let mut kept_by = Vec::new();
        let has_fallen = self.falls_at(item).is_some_and(|moment| moment <= self.now);
        if !has_fallen {
            match (self.retention.count_max(), item.auto_trigger) {
                (Some(_), true) => kept_by.push(KeptBy::Last),
                (Some(_), false) => kept_by.push(KeptBy::MadeByHand),
                (None, _) if fields.duration_days <= 0 => kept_by.push(KeptBy::NoLimit),
                (None, _) => {}
            }
            if fields.duration_days > 0 {
                kept_by.push(KeptBy::Age);
            }
        }
        kept_by.extend(self.periods.get(&item.id).into_iter().flatten());
        if self.newest == Some(item.id) {
            kept_by.push(KeptBy::Newest);
        }
        kept_by
    }
}

/// The items kept because they stand for one of the last days, weeks, months or years, and for which.
fn kept_by_periods(
    retention: &Retention,
    automatic: &[&Candidate],
) -> BTreeMap<CheckpointItemId, Vec<KeptBy>> {
    let fields = &retention.fields;
    let periods = [
        (fields.day_backups, Period::Day, KeptBy::Day),
        (fields.week_backups, Period::Week, KeptBy::Week),
        (fields.month_backups, Period::Month, KeptBy::Month),
        (fields.year_backups, Period::Year, KeptBy::Year),
    ];
    let mut kept: BTreeMap<CheckpointItemId, Vec<KeptBy>> = BTreeMap::new();
    for (count, period, kept_by) in periods {
        let mut first_of: BTreeMap<(i32, u32), &Candidate> = BTreeMap::new();
        for item in automatic {
            let zoned = item.moment().plus_seconds(retention.zone_offset_seconds);
            let first = first_of.entry(period.holding(zoned)).or_insert(item);
            if item.first_of_period() < first.first_of_period() {
                *first = item;
            }
        }
        for item in first_of.values().rev().take(count as usize) {
            kept.entry(item.id).or_default().push(kept_by);
        }
    }
    kept
}

/// A run of days of which one backup is kept.
#[derive(Clone, Copy)]
enum Period {
    Day,
    Week,
    Month,
    Year,
}

impl Period {
    /// The period that holds a moment, as year and number in the year; later ones are greater.
    fn holding(self, zoned: Timestamp) -> (i32, u32) {
        let moment = zoned.utc();
        match self {
            Period::Day => (moment.year(), moment.ordinal()),
            Period::Week => (moment.iso_week().year(), moment.iso_week().week()),
            Period::Month => (moment.year(), moment.month()),
            Period::Year => (moment.year(), 0),
        }
    }
}
