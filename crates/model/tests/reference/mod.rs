//! The reference model of retention and schedules: the rules of `docs/schedules-and-retention.md` said once
//! more, slowly, one day at a time and with a calendar of its own that only ever counts to the next day. It
//! shares no code with what it judges.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) const MINUTE: i64 = 60;
pub(crate) const HOUR: i64 = 60 * MINUTE;
pub(crate) const DAY: i64 = 24 * HOUR;

/// Rules of retention, as a policy gives them; 0 or less is no limit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) permanent: bool,
    pub(crate) max_backups: i64,
    pub(crate) duration_days: i64,
    pub(crate) day_backups: u32,
    pub(crate) week_backups: u32,
    pub(crate) month_backups: u32,
    pub(crate) year_backups: u32,
    /// The distance of the zone from UTC, in seconds.
    pub(crate) zone: i64,
}

/// A backup that is available and needed by nobody, as the rules see it. Moments are seconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    pub(crate) name: u32,
    pub(crate) made: i64,
    pub(crate) is_automatic: bool,
}

/// A day of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Date {
    /// Days since 1970-01-01.
    pub(crate) number: i64,
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    /// Monday is 0.
    pub(crate) weekday: i64,
    /// Weeks that have begun since the Monday before 1970.
    pub(crate) week: i64,
}

/// Every day from 1970 on, counted one by one.
pub(crate) fn calendar(days: i64) -> Vec<Date> {
    // 1970-01-01 was a Thursday.
    let mut date = Date { number: 0, year: 1970, month: 1, day: 1, weekday: 3, week: 0 };
    let mut calendar = Vec::new();
    while date.number < days {
        calendar.push(date);
        date.number += 1;
        date.day += 1;
        date.weekday += 1;
        if date.weekday == 7 {
            date.weekday = 0;
            date.week += 1;
        }
        let is_leap = date.year % 4 == 0 && (date.year % 100 != 0 || date.year % 400 == 0);
        let last = match date.month {
            2 if is_leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if date.day > last {
            date.day = 1;
            date.month += 1;
        }
        if date.month > 12 {
            date.month = 1;
            date.year += 1;
        }
    }
    calendar
}

/// What keeps each backup of one server at a moment; those that are kept by nothing go. Backups come in any
/// order, no two of the same moment.
pub(crate) fn keepers(
    rules: &Rules,
    backups: &[Backup],
    now: i64,
    calendar: &[Date],
) -> BTreeMap<u32, BTreeSet<&'static str>> {
    let mut keepers: BTreeMap<u32, BTreeSet<&'static str>> =
        backups.iter().map(|backup| (backup.name, BTreeSet::new())).collect();
    let mut keep = |name: u32, word| {
        keepers.get_mut(&name).unwrap().insert(word);
    };
    if rules.permanent {
        backups.iter().for_each(|backup| keep(backup.name, "permanent"));
        return keepers;
    }
    for backup in backups {
        let newer = |automatic_only: bool| {
            let is_newer =
                |other: &&Backup| other.made > backup.made && (other.is_automatic || !automatic_only);
            backups.iter().filter(is_newer).count() as i64
        };
        if newer(false) == 0 {
            keep(backup.name, "newest");
        }
        let is_one_too_many =
            rules.max_backups > 0 && backup.is_automatic && newer(true) >= rules.max_backups;
        let is_too_old = rules.duration_days > 0 && now - backup.made >= rules.duration_days * DAY;
        if is_one_too_many || is_too_old {
            continue;
        }
        if rules.max_backups > 0 {
            keep(backup.name, if backup.is_automatic { "last" } else { "made-by-hand" });
        }
        if rules.duration_days > 0 {
            keep(backup.name, "age");
        }
        if rules.max_backups <= 0 && rules.duration_days <= 0 {
            keep(backup.name, "no-limit");
        }
    }
    type PeriodOf = fn(&Date) -> (i64, i64);
    let periods: [(&'static str, u32, PeriodOf); 4] = [
        ("day", rules.day_backups, |date| (date.number, 0)),
        ("week", rules.week_backups, |date| (date.week, 0)),
        ("month", rules.month_backups, |date| (date.year, date.month)),
        ("year", rules.year_backups, |date| (date.year, 0)),
    ];
    for (word, wanted, period_of) in periods {
        for name in of_the_last_periods(backups, wanted, rules.zone, calendar, period_of) {
            keep(name, word);
        }
    }
    keepers
}

/// Goes back day by day and takes the newest automatic backup of each of the last so many periods that have
/// one.
fn of_the_last_periods(
    backups: &[Backup],
    wanted: u32,
    zone: i64,
    calendar: &[Date],
    period_of: fn(&Date) -> (i64, i64),
) -> Vec<u32> {
    let mut newest_of: BTreeMap<i64, &Backup> = BTreeMap::new();
    for backup in backups.iter().filter(|backup| backup.is_automatic) {
        let newest = newest_of.entry((backup.made + zone).div_euclid(DAY)).or_insert(backup);
        if backup.made > newest.made {
            *newest = backup;
        }
    }
    let mut taken: Vec<((i64, i64), u32)> = Vec::new();
    for date in calendar.iter().rev() {
        let Some(newest) = newest_of.get(&date.number) else { continue };
        let period = period_of(date);
        if taken.last().is_some_and(|(last, _)| *last == period) {
            // A later day of the same period has one.
            continue;
        }
        if taken.len() == wanted as usize {
            break;
        }
        taken.push((period, newest.name));
    }
    taken.into_iter().map(|(_, name)| name).collect()
}

/// One rule of a schedule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) is_weekly: bool,
    /// Every so many days; daily rules without weekdays only.
    pub(crate) interval: i64,
    /// Monday is 0; empty: left out.
    pub(crate) weekdays: Vec<i64>,
    pub(crate) hours: Vec<i64>,
    pub(crate) minutes: Vec<i64>,
}

impl Rule {
    /// Whether it runs on a day, for a trigger that was made on another one.
    pub(crate) fn runs_on(&self, date: &Date, start: &Date) -> bool {
        if date.number < start.number {
            return false;
        }
        match (self.is_weekly, self.weekdays.is_empty()) {
            (_, false) => self.weekdays.contains(&date.weekday),
            (true, true) => date.weekday == start.weekday,
            (false, true) => (date.number - start.number) % self.interval == 0,
        }
    }

    /// The line of a calendar text that says so.
    pub(crate) fn line(&self) -> String {
        let list =
            |numbers: &[i64]| numbers.iter().map(|number| number.to_string()).collect::<Vec<_>>().join(",");
        let names = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
        let mut line = format!("RRULE:FREQ={}", if self.is_weekly { "WEEKLY" } else { "DAILY" });
        if self.interval > 1 {
            line += &format!(";INTERVAL={}", self.interval);
        }
        if !self.weekdays.is_empty() {
            let days: Vec<&str> = self.weekdays.iter().map(|weekday| names[*weekday as usize]).collect();
            line += &format!(";BYDAY={}", days.join(","));
        }
        line += &format!(";BYHOUR={};BYMINUTE={}", list(&self.hours), list(&self.minutes));
        line
    }
}

/// Every run of a trigger that was made at a minute of the first of these days, day by day and minute by
/// minute, in minutes since 1970.
pub(crate) fn runs(rules: &[Rule], start_minute: i64, days: &[Date]) -> Vec<i64> {
    let start = days[0];
    let mut runs = Vec::new();
    for date in days {
        for minute_of_day in 0..24 * 60 {
            let is_time = |rule: &Rule| {
                rule.hours.contains(&(minute_of_day / 60)) && rule.minutes.contains(&(minute_of_day % 60))
            };
            let minute = date.number * 24 * 60 + minute_of_day;
            if minute >= start_minute && rules.iter().any(|rule| rule.runs_on(date, &start) && is_time(rule))
            {
                runs.push(minute);
            }
        }
    }
    runs
}
