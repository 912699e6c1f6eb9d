//! The grammar of a pattern: a small, documented part of iCalendar (RFC 5545).
//!
//! A text is one or more VEVENTs, in a VCALENDAR or bare; the first event counts, and in it
//! the RRULE lines. What could change when a run happens is either understood or refused, never
//! skipped; the few properties that only describe the event are skipped.

use super::{
    DAY_MINUTES, Days, GAP_MINUTES_MIN, HOUR_MINUTES, PATTERN_CHARACTERS_MAX, RULES_MAX, RUNS_A_DAY_MAX,
    Rule, Weekdays,
};

/// A pattern that is not supported or makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {why}")]
pub struct BadPattern {
    /// The refused part of the text, cut to 60 characters, or the name of what is missing.
    pub part: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl BadPattern {
    fn new(part: &str, why: &'static str) -> BadPattern {
        let printable = part.chars().map(|c| if c.is_control() { '?' } else { c });
        BadPattern { part: printable.take(60).collect(), why }
    }
}

/// Properties that say nothing about when a run happens.
const IGNORED_PROPERTIES: [&str; 6] = ["VERSION", "PRODID", "UID", "DTSTAMP", "SUMMARY", "DESCRIPTION"];

const WEEKDAYS: [&str; 7] = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];

/// The rules of a calendar text, checked one by one and together.
pub(super) fn rules(text: &str) -> Result<Vec<Rule>, BadPattern> {
    if text.chars().count() > PATTERN_CHARACTERS_MAX {
        return Err(BadPattern::new("pattern", "must have at most 10240 characters"));
    }
    let values = recurrence_values(&unfolded_lines(text))?;
    if values.is_empty() {
        return Err(BadPattern::new("RRULE", "the first VEVENT has no such line"));
    }
    if values.len() > RULES_MAX {
        return Err(BadPattern::new("RRULE", "at most 24 such lines are allowed"));
    }
    let rules = values.iter().map(|value| rule(value)).collect::<Result<Vec<_>, _>>()?;
    check_all_times_are_stated(&rules)?;
    check_gaps(&rules)?;
    Ok(rules)
}

/// The lines of a text whose line ends are CRLF, LF or CR, or the same as literal backslash escapes.
/// A line that starts with a space or a tab continues the one before, as iCalendar folds long lines.
fn unfolded_lines(text: &str) -> Vec<String> {
    let text = text.replace("\\r", "\r").replace("\\n", "\n");
    let mut lines: Vec<String> = Vec::new();
    for line in text.split(['\r', '\n']) {
        match (line.strip_prefix([' ', '\t']), lines.last_mut()) {
            (Some(rest), Some(folded)) => folded.push_str(rest),
            _ => lines.push(line.to_owned()),
        }
        // An empty line must not take part in folding, or CRLF would hide the line before.
        if lines.last().is_some_and(|line| line.trim().is_empty()) {
            lines.pop();
        }
    }
    lines
}

/// Where in the calendar a line stands.
#[derive(Clone, Copy, PartialEq)]
enum Place {
    /// Outside any event.
    Calendar,
    /// In the first event.
    FirstEvent,
    /// In a later event, which does not count.
    LaterEvent,
}

/// The values of the RRULE lines of the first event.
fn recurrence_values(lines: &[String]) -> Result<Vec<String>, BadPattern> {
    let mut place = Place::Calendar;
    let (mut calendar_begun, mut calendar_ended, mut event_seen) = (false, false, false);
    let mut values = Vec::new();
    for (position, line) in lines.iter().enumerate() {
        let upper = line.trim_end().to_ascii_uppercase();
        match (place, upper.as_str()) {
            _ if calendar_ended => return Err(BadPattern::new(line, "stands after END:VCALENDAR")),
            (Place::Calendar, "BEGIN:VCALENDAR") if position == 0 => calendar_begun = true,
            (Place::Calendar, "END:VCALENDAR") if calendar_begun => calendar_ended = true,
            (Place::Calendar, "BEGIN:VEVENT") => {
                place = if event_seen { Place::LaterEvent } else { Place::FirstEvent };
                event_seen = true;
            }
            (Place::FirstEvent | Place::LaterEvent, "END:VEVENT") => place = Place::Calendar,
            (Place::LaterEvent, other) if !other.starts_with("BEGIN:") && !other.starts_with("END:") => {}
            (Place::FirstEvent, other) if other.starts_with("RRULE:") => {
                values.push(other["RRULE:".len()..].to_owned());
            }
            (_, other) if is_ignored(other) => {}
            _ => return Err(BadPattern::new(line, "is not supported at this place of the calendar text")),
        }
    }
    if place != Place::Calendar {
        return Err(BadPattern::new("END:VEVENT", "is missing"));
    }
    if calendar_begun && !calendar_ended {
        return Err(BadPattern::new("END:VCALENDAR", "is missing"));
    }
    if !event_seen {
        return Err(BadPattern::new("BEGIN:VEVENT", "is missing"));
    }
    Ok(values)
}

fn is_ignored(line: &str) -> bool {
    let name = line.split([':', ';']).next().unwrap_or_default();
    IGNORED_PROPERTIES.contains(&name) && line.contains(':')
}

/// One part `name=value` of each kind that a rule may hold.
#[derive(Default)]
struct Parts {
    frequency: Option<Frequency>,
    interval: Option<i64>,
    weekdays: Option<Weekdays>,
    hours: Option<Vec<i64>>,
    minutes: Option<Vec<i64>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Frequency {
    Daily,
    Weekly,
}

/// The rule of one RRULE line, in upper case and without its name.
fn rule(value: &str) -> Result<Rule, BadPattern> {
    let mut parts = Parts::default();
    let value = value.strip_suffix(';').unwrap_or(value);
    for part in value.split(';') {
        if part.is_empty() {
            return Err(BadPattern::new("RRULE", "holds an empty part"));
        }
        let (name, list) =
            part.split_once('=').ok_or_else(|| BadPattern::new(part, "a part of RRULE is NAME=value"))?;
        let is_first = match name {
            "FREQ" => parts.frequency.replace(frequency(part, list)?).is_none(),
            "INTERVAL" => parts.interval.replace(interval(part, list)?).is_none(),
            "BYDAY" => parts.weekdays.replace(weekdays(part, list)?).is_none(),
            "BYHOUR" => parts.hours.replace(HOURS.numbers(part, list)?).is_none(),
            "BYMINUTE" => parts.minutes.replace(MINUTES.numbers(part, list)?).is_none(),
            _ => {
                let why = "only FREQ, INTERVAL, BYDAY, BYHOUR and BYMINUTE are supported";
                return Err(BadPattern::new(part, why));
            }
        };
        if !is_first {
            return Err(BadPattern::new(part, "is given twice in one RRULE"));
        }
    }
    let days = days(&parts)?;
    let runs_a_day = parts.hours.as_ref().map_or(1, Vec::len) * parts.minutes.as_ref().map_or(1, Vec::len);
    if runs_a_day > RUNS_A_DAY_MAX {
        return Err(BadPattern::new("BYHOUR, BYMINUTE", "at most 24 runs a day are allowed"));
    }
    Ok(Rule { days, hours: parts.hours, minutes: parts.minutes })
}

fn frequency(part: &str, value: &str) -> Result<Frequency, BadPattern> {
    match value {
        "DAILY" => Ok(Frequency::Daily),
        "WEEKLY" => Ok(Frequency::Weekly),
        _ => Err(BadPattern::new(part, "must be DAILY or WEEKLY")),
    }
}

fn interval(part: &str, value: &str) -> Result<i64, BadPattern> {
    match number(value) {
        Some(days @ 1..=30) => Ok(days),
        _ => Err(BadPattern::new(part, "must be a number from 1 to 30")),
    }
}

fn weekdays(part: &str, list: &str) -> Result<Weekdays, BadPattern> {
    let mut weekdays = Weekdays::default();
    for name in list.split(',') {
        let weekday = (0u8..).zip(WEEKDAYS).find(|(_, known)| *known == name);
        let (weekday, _) = weekday
            .ok_or_else(|| BadPattern::new(part, "must be a list of MO, TU, WE, TH, FR, SA and SU"))?;
        weekdays = weekdays.with(weekday);
    }
    Ok(weekdays)
}

/// What a list of numbers may hold.
struct NumberList {
    max: i64,
    why: &'static str,
}

const HOURS: NumberList = NumberList { max: 23, why: "must be a list of numbers from 0 to 23" };
const MINUTES: NumberList = NumberList { max: 59, why: "must be a list of numbers from 0 to 59" };

impl NumberList {
    /// The numbers of a list, sorted, each once.
    fn numbers(&self, part: &str, list: &str) -> Result<Vec<i64>, BadPattern> {
        let mut numbers = Vec::new();
        for text in list.split(',') {
            let number = number(text).filter(|number| *number <= self.max);
            numbers.push(number.ok_or_else(|| BadPattern::new(part, self.why))?);
        }
        numbers.sort_unstable();
        numbers.dedup();
        Ok(numbers)
    }
}

/// One or two digits.
fn number(text: &str) -> Option<i64> {
    let is_plain = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok())?
}

fn days(parts: &Parts) -> Result<Days, BadPattern> {
    let interval = parts.interval.unwrap_or(1);
    match (parts.frequency, parts.weekdays) {
        (None, _) => Err(BadPattern::new("FREQ", "is missing in RRULE")),
        (Some(Frequency::Weekly), _) if interval != 1 => {
            Err(BadPattern::new("INTERVAL", "must be 1 with FREQ=WEEKLY"))
        }
        // Such a rule may run rarely or, started on the wrong weekday, never.
        (Some(Frequency::Daily), Some(_)) if interval != 1 => {
            Err(BadPattern::new("INTERVAL", "must be 1 where BYDAY is given"))
        }
        (_, Some(weekdays)) => Ok(Days::On(weekdays)),
        (Some(Frequency::Daily), None) => Ok(Days::Every(interval)),
        (Some(Frequency::Weekly), None) => Ok(Days::Every(7)),
    }
}

/// With several rules the distance between their runs must not hang on the moment at which the
/// trigger was made: the same text must not be good at noon and bad at one.
fn check_all_times_are_stated(rules: &[Rule]) -> Result<(), BadPattern> {
    let is_open = |rule: &Rule| rule.hours.is_none() || rule.minutes.is_none();
    if rules.len() > 1 && rules.iter().any(is_open) {
        let why = "must be given in each of several RRULE lines";
        return Err(BadPattern::new("BYHOUR, BYMINUTE", why));
    }
    Ok(())
}

/// Any two runs are the same run or at least an hour apart, also across midnight. That leaves room
/// for at most 24 runs a day, whatever the number of rules.
fn check_gaps(rules: &[Rule]) -> Result<(), BadPattern> {
    for (position, rule) in rules.iter().enumerate() {
        for other in &rules[position..] {
            let is_too_close = |earlier: i64, later: i64| {
                let gap = later - earlier;
                let on_one_day =
                    rule.days.can_share_a_day(other.days) && (1..GAP_MINUTES_MIN).contains(&gap.abs());
                let over_midnight =
                    rule.days.can_come_before(other.days) && DAY_MINUTES + gap < GAP_MINUTES_MIN;
                let back_over_midnight =
                    other.days.can_come_before(rule.days) && DAY_MINUTES - gap < GAP_MINUTES_MIN;
                on_one_day || over_midnight || back_over_midnight
            };
            let later_times = stated_times(other);
            for earlier in stated_times(rule) {
                if later_times.iter().any(|later| is_too_close(earlier, *later)) {
                    let why = "two runs must be at least one hour apart, also across midnight";
                    return Err(BadPattern::new("BYHOUR, BYMINUTE", why));
                }
            }
        }
    }
    Ok(())
}

/// The minutes of the day of a rule; what it leaves to the start time stands at 0, which changes no
/// distance inside a rule.
fn stated_times(rule: &Rule) -> Vec<i64> {
    let hours = rule.hours.as_deref().unwrap_or(&[0]);
    let minutes = rule.minutes.as_deref().unwrap_or(&[0]);
    hours.iter().flat_map(|hour| minutes.iter().map(move |minute| hour * HOUR_MINUTES + minute)).collect()
}
