//! Schedules: when a scheduled operation runs.
//!
//! A [`Pattern`] keeps the calendar text of a trigger byte for byte and knows its meaning: runs at
//! full minutes in UTC, never two within an hour. `parse` holds the grammar; this file answers the
//! two questions of a scheduler, "when next?" and "what did I sleep through?", with work that is
//! bounded by the number of rules, however far apart two runs or two questions are.

mod parse;
#[cfg(test)]
mod tests;

use crate::time::{SECOND_MICROS, Timestamp};

pub use parse::BadPattern;

/// The most characters a pattern may have.
pub const PATTERN_CHARACTERS_MAX: usize = 10_240;
/// The most RRULE lines a pattern may have.
pub const RULES_MAX: usize = 24;
/// The most runs a day.
pub const RUNS_A_DAY_MAX: usize = 24;
/// The least time between two runs.
pub const GAP_MINUTES_MIN: i64 = 60;

const MINUTE_MICROS: i64 = 60 * SECOND_MICROS;
const DAY_MINUTES: i64 = 24 * 60;
const HOUR_MINUTES: i64 = 60;

/// A trigger pattern: the calendar text byte for byte, and its meaning.
///
/// Hours and minutes that the text leaves out are those of the trigger's start time, and so is the
/// weekday of `FREQ=WEEKLY` without BYDAY. That is why every question names the start time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    rules: Vec<Rule>,
}

impl Pattern {
    /// Checks a calendar text and keeps it. The error names the refused part.
    pub fn parse(text: &str) -> Result<Pattern, BadPattern> {
        Ok(Pattern { text: text.to_owned(), rules: parse::rules(text)? })
    }

    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The first run later than `after` and not before `start_time`, the making of the trigger.
    /// Nothing when it would lie beyond the last moment we can print.
    pub fn next_after(&self, start_time: Timestamp, after: Timestamp) -> Option<Timestamp> {
        let start = Start::of(start_time);
        let earliest = start.minute.max(minute_of(after) + 1);
        let minute = self.rules.iter().map(|rule| rule.first_from(start, earliest)).min()?;
        let micros = minute * MINUTE_MICROS;
        let moment = Timestamp::from_micros(micros);
        (moment.micros() == micros).then_some(moment)
    }

    /// The newest run later than `last_seen` and not later than `now`: the one run that makes good
    /// for all that were slept through. Nothing when none was due.
    pub fn missed(&self, start_time: Timestamp, last_seen: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let start = Start::of(start_time);
        let latest = minute_of(now);
        let minute = self.rules.iter().filter_map(|rule| rule.last_until(start, latest)).max()?;
        let moment = Timestamp::from_micros(minute * MINUTE_MICROS);
        (moment > last_seen).then_some(moment)
    }
}

/// One RRULE line.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    days: Days,
    /// BYHOUR, ascending and unique; nothing means the hour of the start time.
    hours: Option<Vec<i64>>,
    /// BYMINUTE, ascending and unique; nothing means the minute of the start time.
    minutes: Option<Vec<i64>>,
}

/// The days on which a rule runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Days {
    /// The day of the start time and every so many days after it; never 0.
    Every(i64),
    /// Named weekdays; never empty.
    On(Weekdays),
}

/// A set of weekdays, Monday in the lowest of seven bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Weekdays(u8);

impl Weekdays {
    fn with(self, weekday: u8) -> Weekdays {
        Weekdays(self.0 | 1 << weekday)
    }

    fn holds_day(self, day: i64) -> bool {
        // 1970-01-01, day 0, was a Thursday.
        self.0 >> (day + 3).rem_euclid(7) & 1 == 1
    }

    fn meets(self, other: Weekdays) -> bool {
        self.0 & other.0 != 0
    }

    fn moved_to_next_day(self) -> Weekdays {
        Weekdays((self.0 << 1 | self.0 >> 6) & 0x7f)
    }
}

/// What a rule needs to know of the start time.
#[derive(Clone, Copy, Debug)]
struct Start {
    /// The first full minute at or after it, since 1970: no run before.
    minute: i64,
    /// Its day since 1970, from which `INTERVAL` counts.
    day: i64,
    hour_of_day: i64,
    minute_of_hour: i64,
}

impl Start {
    fn of(start_time: Timestamp) -> Start {
        let minute = minute_of(start_time);
        let is_full_minute = start_time.micros() % MINUTE_MICROS == 0;
        Start {
            minute: if is_full_minute { minute } else { minute + 1 },
            day: minute / DAY_MINUTES,
            hour_of_day: minute % DAY_MINUTES / HOUR_MINUTES,
            minute_of_hour: minute % HOUR_MINUTES,
        }
    }
}

impl Rule {
    /// Its first run at or after the minute `earliest`, which is not before the start.
    fn first_from(&self, start: Start, earliest: i64) -> i64 {
        let times = self.times_of_day(start);
        let first = times.first().copied().unwrap_or(0);
        let earliest_day = earliest.div_euclid(DAY_MINUTES);
        let day = self.days.first_from(start.day, earliest_day);
        times
            .into_iter()
            .map(|time| day * DAY_MINUTES + time)
            .find(|minute| *minute >= earliest)
            .unwrap_or_else(|| self.days.first_from(start.day, day + 1) * DAY_MINUTES + first)
    }

    /// Its last run at or before the minute `latest`, if there was one since the start.
    fn last_until(&self, start: Start, latest: i64) -> Option<i64> {
        let times = self.times_of_day(start);
        let last = times.last().copied()?;
        let latest_day = latest.div_euclid(DAY_MINUTES);
        let day = self.days.last_until(start.day, latest_day)?;
        times
            .into_iter()
            .rev()
            .map(|time| day * DAY_MINUTES + time)
            .find(|minute| *minute <= latest)
            .or_else(|| Some(self.days.last_until(start.day, day - 1)? * DAY_MINUTES + last))
            .filter(|minute| *minute >= start.minute)
    }

    /// The minutes of the day at which it runs, ascending; never empty, never more than
    /// [`RUNS_A_DAY_MAX`].
    fn times_of_day(&self, start: Start) -> Vec<i64> {
        let (hour, minute) = ([start.hour_of_day], [start.minute_of_hour]);
        let hours = self.hours.as_deref().unwrap_or(&hour);
        let minutes = self.minutes.as_deref().unwrap_or(&minute);
        hours.iter().flat_map(|hour| minutes.iter().map(move |minute| hour * HOUR_MINUTES + minute)).collect()
    }
}

impl Days {
    /// The first running day at or after `day`, which is not before `start_day`.
    fn first_from(self, start_day: i64, day: i64) -> i64 {
        match self {
            Days::Every(interval) => day + (start_day - day).rem_euclid(interval),
            Days::On(weekdays) => {
                (day..day + 7).find(|day| weekdays.holds_day(*day)).expect("a set of weekdays is never empty")
            }
        }
    }

    /// The last running day at or before `day` and not before `start_day`.
    fn last_until(self, start_day: i64, day: i64) -> Option<i64> {
        let last = match self {
            Days::Every(interval) => day - (day - start_day).rem_euclid(interval),
            Days::On(weekdays) => (day - 6..=day)
                .rfind(|day| weekdays.holds_day(*day))
                .expect("a set of weekdays is never empty"),
        };
        (last >= start_day).then_some(last)
    }

    /// Whether some start time puts both on one day.
    fn can_share_a_day(self, other: Days) -> bool {
        match (self, other) {
            (Days::On(these), Days::On(those)) => these.meets(those),
            _ => true,
        }
    }

    /// Whether some start time puts `other` on the day after one of these.
    fn can_come_before(self, other: Days) -> bool {
        match (self, other) {
            (Days::On(these), Days::On(those)) => these.moved_to_next_day().meets(those),
            // Multiples of two numbers are neighbours somewhere exactly when they share no divisor.
            (Days::Every(interval), Days::Every(other)) => greatest_common_divisor(interval, other) == 1,
            _ => true,
        }
    }
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The full minute since 1970 at or before a moment.
fn minute_of(moment: Timestamp) -> i64 {
    moment.micros().div_euclid(MINUTE_MICROS)
}
