//! Tables for the grammar, and properties against a reference that looks at every single minute.

use chrono::{Datelike, Timelike};
use proptest::prelude::*;

use super::*;
use crate::time::DAY_MICROS;

fn event(rules: &str) -> String {
    format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{rules}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// Monday, 2026-11-23.
fn start() -> Timestamp {
    at("2026-11-23T01:02:03.000456")
}

fn next_runs(text: &str, count: usize) -> Vec<String> {
    let pattern = Pattern::parse(text).unwrap();
    assert_eq!(pattern.as_str(), text);
    let mut after = start();
    let mut runs = Vec::new();
    for _ in 0..count {
        after = pattern.next_after(start(), after).unwrap();
        runs.push(after.utc().format("%a %d %H:%M").to_string());
    }
    runs
}

#[test]
fn what_is_not_supported_is_refused_and_named() {
    let cases = [
        ("", "BEGIN:VEVENT"),
        ("nonsense", "nonsense"),
        ("RRULE:FREQ=DAILY", "RRULE:FREQ=DAILY"),
        ("BEGIN:VEVENT\nEND:VEVENT", "RRULE"),
        ("BEGIN:VEVENT\nRRULE:FREQ=DAILY", "END:VEVENT"),
        ("BEGIN:VCALENDAR\nBEGIN:VEVENT\nRRULE:FREQ=DAILY\nEND:VEVENT", "END:VCALENDAR"),
        ("BEGIN:VCALENDAR\nEND:VCALENDAR\nBEGIN:VEVENT\nRRULE:FREQ=DAILY\nEND:VEVENT", "BEGIN:VEVENT"),
        ("BEGIN:VEVENT\nBEGIN:VALARM\nRRULE:FREQ=DAILY\nEND:VALARM\nEND:VEVENT", "BEGIN:VALARM"),
    ];
    for (text, part) in cases {
        assert_eq!(Pattern::parse(text).unwrap_err().part, part, "{text}");
    }
    let cases = [
        ("RRULE:", "RRULE"),
        ("RRULE:;", "RRULE"),
        ("RRULE:FREQ=DAILY;;BYHOUR=1", "RRULE"),
        ("RRULE:BYHOUR=1", "FREQ"),
        ("RRULE:FREQ=HOURLY", "FREQ=HOURLY"),
        ("RRULE:FREQ=MONTHLY;BYHOUR=1", "FREQ=MONTHLY"),
        ("RRULE:FREQ", "FREQ"),
        ("RRULE:FREQ=DAILY;FREQ=WEEKLY", "FREQ=WEEKLY"),
        ("RRULE:FREQ=DAILY;INTERVAL=0", "INTERVAL=0"),
        ("RRULE:FREQ=DAILY;INTERVAL=31", "INTERVAL=31"),
        ("RRULE:FREQ=DAILY;INTERVAL=-1", "INTERVAL=-1"),
        ("RRULE:FREQ=WEEKLY;INTERVAL=2", "INTERVAL"),
        ("RRULE:FREQ=DAILY;INTERVAL=2;BYDAY=MO", "INTERVAL"),
        ("RRULE:FREQ=WEEKLY;BYDAY=", "BYDAY="),
        ("RRULE:FREQ=WEEKLY;BYDAY=1MO", "BYDAY=1MO"),
        ("RRULE:FREQ=WEEKLY;BYDAY=MO,XX", "BYDAY=MO,XX"),
        ("RRULE:FREQ=DAILY;BYHOUR=24", "BYHOUR=24"),
        ("RRULE:FREQ=DAILY;BYHOUR=1,", "BYHOUR=1,"),
        ("RRULE:FREQ=DAILY;BYHOUR=+1", "BYHOUR=+1"),
        ("RRULE:FREQ=DAILY;BYHOUR=001", "BYHOUR=001"),
        ("RRULE:FREQ=DAILY;BYMINUTE=60", "BYMINUTE=60"),
        ("RRULE:FREQ=DAILY;BYSECOND=0", "BYSECOND=0"),
        ("RRULE:FREQ=DAILY;COUNT=3", "COUNT=3"),
        ("RRULE:FREQ=DAILY;UNTIL=20270101T000000Z", "UNTIL=20270101T000000Z"),
        ("RRULE;X=1:FREQ=DAILY", "RRULE;X=1:FREQ=DAILY"),
        ("DTSTART:20260101T000000Z\nRRULE:FREQ=DAILY", "DTSTART:20260101T000000Z"),
        ("EXDATE:20260101T000000Z\nRRULE:FREQ=DAILY", "EXDATE:20260101T000000Z"),
        // Too many, or too close: in one rule, over midnight, between rules, over Sunday's midnight.
        ("RRULE:FREQ=DAILY;BYHOUR=1,2,3,4,5,6,7,8,9,10,11,12,13;BYMINUTE=0,1", "BYHOUR, BYMINUTE"),
        ("RRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=0,59", "BYHOUR, BYMINUTE"),
        ("RRULE:FREQ=DAILY;BYMINUTE=0,30", "BYHOUR, BYMINUTE"),
        ("RRULE:FREQ=DAILY;BYHOUR=0,23;BYMINUTE=0,59", "BYHOUR, BYMINUTE"),
        ("RRULE:FREQ=DAILY;BYHOUR=23;BYMINUTE=30\nRRULE:FREQ=DAILY;BYHOUR=0;BYMINUTE=15", "BYHOUR, BYMINUTE"),
        ("RRULE:FREQ=DAILY;BYHOUR=0;BYMINUTE=15\nRRULE:FREQ=DAILY;BYHOUR=23;BYMINUTE=30", "BYHOUR, BYMINUTE"),
        (
            "RRULE:FREQ=WEEKLY;BYDAY=SU;BYHOUR=23;BYMINUTE=30\nRRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=0;BYMINUTE=15",
            "BYHOUR, BYMINUTE",
        ),
        (
            "RRULE:FREQ=DAILY;INTERVAL=2;BYHOUR=23;BYMINUTE=30\nRRULE:FREQ=DAILY;INTERVAL=3;BYHOUR=0;BYMINUTE=15",
            "BYHOUR, BYMINUTE",
        ),
        ("RRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=0\nRRULE:FREQ=DAILY", "BYHOUR, BYMINUTE"),
    ];
    for (rules, part) in cases {
        let error = Pattern::parse(&event(rules)).unwrap_err();
        assert_eq!(error.part, part, "{rules}: {error}");
        assert!(error.to_string().starts_with(part));
    }
}

#[test]
fn a_hostile_text_is_refused_before_it_costs_anything() {
    let rule = "RRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=0";
    assert!(Pattern::parse(&event(&[rule; RULES_MAX].join("\n"))).is_ok());
    assert_eq!(Pattern::parse(&event(&[rule; RULES_MAX + 1].join("\n"))).unwrap_err().part, "RRULE");
    let filled = |characters: usize| {
        let text = event("SUMMARY:é\r\nRRULE:FREQ=DAILY");
        let missing = characters - text.chars().count();
        text.replace('é', &"é".repeat(missing + 1))
    };
    assert!(Pattern::parse(&filled(PATTERN_CHARACTERS_MAX)).is_ok());
    assert_eq!(Pattern::parse(&filled(PATTERN_CHARACTERS_MAX + 1)).unwrap_err().part, "pattern");
    let error = Pattern::parse(&event(&format!("\u{7}{}", "x".repeat(200)))).unwrap_err();
    assert_eq!(error.part.chars().count(), 60);
    assert!(error.part.starts_with("?xx"));
}

#[test]
fn one_rule_in_every_dress_means_the_same() {
    let texts = [
        event("RRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=1,13;BYMINUTE=30"),
        event("RRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=1,13;BYMINUTE=30").replace("\r\n", "\n"),
        event("RRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=1,13;BYMINUTE=30").replace("\r\n", "\\r\\n"),
        event("RRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=1,13;BYMINUTE=30").replace("\r\n", "\\n"),
        event(
            "UID:7\r\nDTSTAMP:20260101T000000Z\r\nRRULE:BYMINUTE=30;BYHOUR=13,01,1;BYDAY=WE,\r\n MO;FREQ=WEEKLY",
        ),
        event(
            "RRULE:FREQ=WEEKLY;BYDAY=MO;BYHOUR=1,13;BYMINUTE=30\nRRULE:FREQ=WEEKLY;BYDAY=WE;BYHOUR=1,13;BYMINUTE=30",
        ),
        "BEGIN:VEVENT\nrrule:freq=daily;interval=1;byday=MO,WE;byhour=1,13;byminute=30;\nEND:VEVENT"
            .to_owned(),
        "BEGIN:VEVENT\nRRULE:FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=1,13;BYMINUTE=30\nEND:VEVENT\n\
         BEGIN:VEVENT\nRRULE:FREQ=YEARLY\nEND:VEVENT\n"
            .to_owned(),
    ];
    for text in texts {
        let expected = ["Mon 23 01:30", "Mon 23 13:30", "Wed 25 01:30", "Wed 25 13:30", "Mon 30 01:30"];
        assert_eq!(next_runs(&text, 5), expected, "{text}");
    }
}

#[test]
fn what_a_rule_leaves_out_comes_from_the_start_time() {
    let weekly = "BEGIN:VEVENT\nRRULE:FREQ=WEEKLY;INTERVAL=1;\nEND:VEVENT";
    assert_eq!(next_runs(weekly, 2), ["Mon 30 01:02", "Mon 07 01:02"]);
    assert_eq!(next_runs(&event("RRULE:FREQ=DAILY"), 2), ["Tue 24 01:02", "Wed 25 01:02"]);
    assert_eq!(next_runs(&event("RRULE:FREQ=DAILY;BYMINUTE=5"), 2), ["Mon 23 01:05", "Tue 24 01:05"]);
    assert_eq!(next_runs(&event("RRULE:FREQ=DAILY;BYHOUR=0,4"), 2), ["Mon 23 04:02", "Tue 24 00:02"]);
}

#[test]
fn an_interval_counts_days_from_the_start_even_when_the_first_was_too_early() {
    let text = event("RRULE:FREQ=DAILY;INTERVAL=3;BYHOUR=0;BYMINUTE=0");
    assert_eq!(next_runs(&text, 3), ["Thu 26 00:00", "Sun 29 00:00", "Wed 02 00:00"]);
    let pattern = Pattern::parse(&text).unwrap();
    let a_century_later = start().plus_days(36_525);
    let run = pattern.next_after(start(), a_century_later).unwrap();
    assert!(run > a_century_later && run <= a_century_later.plus_days(3));
}

#[test]
fn a_full_day_of_hourly_runs_is_allowed() {
    let hours: Vec<String> = (0..24).map(|hour| hour.to_string()).collect();
    let text = event(&format!("RRULE:FREQ=DAILY;BYHOUR={};BYMINUTE=59", hours.join(",")));
    assert_eq!(next_runs(&text, 24).last().unwrap(), "Tue 24 00:59");
}

#[test]
fn no_run_lies_before_the_start_or_beyond_the_last_printable_moment() {
    let pattern = Pattern::parse(&event("RRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=2")).unwrap();
    let zero = Timestamp::from_micros(0);
    assert_eq!(pattern.next_after(start(), zero), Some(at("2026-11-24T01:02:00")));
    assert_eq!(pattern.next_after(at("2026-11-23T01:02:00"), zero), Some(at("2026-11-23T01:02:00")));
    assert_eq!(pattern.missed(start(), zero, start()), None);
    let end = Timestamp::from_micros(i64::MAX);
    assert_eq!(pattern.next_after(start(), end), None);
    assert!(pattern.missed(start(), zero, end).is_some());
}

#[test]
fn slept_through_runs_are_made_good_once() {
    let pattern = Pattern::parse(&event("RRULE:FREQ=DAILY;BYHOUR=0,12;BYMINUTE=0")).unwrap();
    let missed = |last_seen: &str, now: &str| pattern.missed(start(), at(last_seen), at(now));
    assert_eq!(
        missed("2026-11-23T12:00:00", "2026-12-01T13:00:00"),
        Some(at("2026-12-01T12:00:00")),
        "the newest of many"
    );
    assert_eq!(missed("2026-12-01T12:00:00", "2026-12-01T13:00:00"), None, "seen already");
    assert_eq!(missed("2026-12-01T11:59:59", "2026-12-01T12:00:00"), Some(at("2026-12-01T12:00:00")));
    assert_eq!(missed("2026-12-01T13:00:00", "2026-11-25T00:00:00"), None, "the clock went back");
}

/// One rule as a test makes it up; what is nothing is left out of the text.
#[derive(Clone, Debug)]
struct MadeRule {
    is_weekly: bool,
    interval: Option<i64>,
    weekdays: Option<Vec<usize>>,
    hours: Option<Vec<u32>>,
    minutes: Option<Vec<u32>>,
}

impl MadeRule {
    fn text(&self) -> String {
        let mut text = format!("RRULE:FREQ={}", if self.is_weekly { "WEEKLY" } else { "DAILY" });
        let list = |name: &str, values: &[u32]| {
            let values: Vec<String> = values.iter().map(u32::to_string).collect();
            format!(";{name}={}", values.join(","))
        };
        if let Some(interval) = self.interval {
            text += &format!(";INTERVAL={interval}");
        }
        if let Some(weekdays) = &self.weekdays {
            let names = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"];
            let names: Vec<&str> = weekdays.iter().map(|weekday| names[*weekday]).collect();
            text += &format!(";BYDAY={}", names.join(","));
        }
        text += &self.hours.as_deref().map(|hours| list("BYHOUR", hours)).unwrap_or_default();
        text += &self.minutes.as_deref().map(|minutes| list("BYMINUTE", minutes)).unwrap_or_default();
        text
    }

    /// The meaning, asked of one minute and nothing else.
    fn runs_at(&self, start: Timestamp, minute: Timestamp) -> bool {
        let (origin, moment) = (start.utc(), minute.utc());
        let weekday = moment.weekday().num_days_from_monday() as usize;
        let days = minute.micros() / DAY_MICROS - start.micros() / DAY_MICROS;
        let is_day = match (&self.weekdays, self.is_weekly) {
            (Some(weekdays), _) => weekdays.contains(&weekday),
            (None, true) => moment.weekday() == origin.weekday(),
            (None, false) => days % self.interval.unwrap_or(1) == 0,
        };
        let hour_is = |hours: &Vec<u32>| hours.contains(&moment.hour());
        let minute_is = |minutes: &Vec<u32>| minutes.contains(&moment.minute());
        minute >= start
            && is_day
            && self.hours.as_ref().map_or(moment.hour() == origin.hour(), hour_is)
            && self.minutes.as_ref().map_or(moment.minute() == origin.minute(), minute_is)
    }
}

/// Every run of the first `days` days, found by looking at each minute.
fn reference_runs(rules: &[MadeRule], start: Timestamp, days: i64) -> Vec<Timestamp> {
    let first_minute = start.micros() / MINUTE_MICROS;
    (first_minute..first_minute + days * DAY_MINUTES)
        .map(|minute| Timestamp::from_micros(minute * MINUTE_MICROS))
        .filter(|minute| rules.iter().any(|rule| rule.runs_at(start, *minute)))
        .collect()
}

fn made_rule() -> impl Strategy<Value = MadeRule> {
    let hours = proptest::collection::vec(0u32..24, 1..4);
    let minutes = prop_oneof![4 => proptest::collection::vec(0u32..60, 1..2), 1 => proptest::collection::vec(0u32..60, 1..3)];
    let weekdays = proptest::option::of(proptest::collection::vec(0usize..7, 1..4));
    let parts = (any::<bool>(), 1i64..=30, weekdays, proptest::option::weighted(0.8, hours));
    (parts, proptest::option::weighted(0.8, minutes)).prop_map(
        |((is_weekly, interval, weekdays, hours), minutes)| {
            let interval = (!is_weekly && weekdays.is_none()).then_some(interval);
            MadeRule { is_weekly, interval, weekdays, hours, minutes }
        },
    )
}

fn made_start() -> impl Strategy<Value = Timestamp> {
    // 2026 and 2027, to the microsecond or at a full minute.
    prop_oneof![
        (1_767_225_600_000_000i64..1_830_297_600_000_000).prop_map(Timestamp::from_micros),
        (29_453_760i64..30_504_960).prop_map(|minute| Timestamp::from_micros(minute * MINUTE_MICROS)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn runs_are_those_that_a_look_at_every_minute_finds(
        rules in proptest::collection::vec(made_rule(), 1..4),
        start in made_start(),
        ask_micros in 0i64..40 * DAY_MICROS,
        sleep_micros in 0i64..9 * DAY_MICROS,
    ) {
        let text = event(&rules.iter().map(MadeRule::text).collect::<Vec<_>>().join("\r\n"));
        let Ok(pattern) = Pattern::parse(&text) else { return Ok(()) };
        let runs = reference_runs(&rules, start, 75);
        let mut found = Vec::new();
        let mut after = Timestamp::from_micros(0);
        while let Some(run) = pattern.next_after(start, after).filter(|run| *run < start.plus_days(70)) {
            found.push(run);
            after = run;
        }
        let expected: Vec<_> = runs.iter().copied().filter(|run| *run < start.plus_days(70)).collect();
        prop_assert_eq!(&found, &expected, "{}", text);
        prop_assert!(runs.windows(2).all(|pair| pair[1].micros() - pair[0].micros() >= 60 * MINUTE_MICROS));

        let asked = start.plus_micros(ask_micros - DAY_MICROS);
        prop_assert_eq!(pattern.next_after(start, asked), runs.iter().copied().find(|run| *run > asked));
        let seen = asked.plus_micros(-sleep_micros);
        let newest = runs.iter().copied().rfind(|run| *run > seen && *run <= asked);
        prop_assert_eq!(pattern.missed(start, seen, asked), newest);
    }

    #[test]
    fn one_rule_is_refused_only_when_two_of_its_runs_are_too_close(rule in made_rule(), start in made_start()) {
        let runs = reference_runs(std::slice::from_ref(&rule), start, 63);
        let is_too_close = runs.windows(2).any(|pair| pair[1].micros() - pair[0].micros() < 60 * MINUTE_MICROS);
        prop_assert_eq!(Pattern::parse(&event(&rule.text())).is_err(), is_too_close, "{}", rule.text());
    }

    #[test]
    fn no_text_whatever_makes_the_parser_panic(text in "(BEGIN:VEVENT\n)?(RRULE:)?[A-Z=;,0-9:\\\\\r\n é]{0,80}(\nEND:VEVENT)?") {
        if let Ok(pattern) = Pattern::parse(&text) {
            prop_assert_eq!(pattern.as_str(), text);
        }
    }
}
