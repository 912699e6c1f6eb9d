//! Retention and schedules against the reference model: whole histories, one day at a time, from seeds. A
//! failure prints the seed; what it found becomes a named case below.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod reference;

use std::collections::{BTreeMap, BTreeSet};

use model::ids::CheckpointItemId;
use model::retention::{Candidate, Retention, RetentionFields, expired, judge};
use model::schedule::Pattern;
use model::time::{SECOND_MICROS, Timestamp};
use proptest::prelude::*;
use reference::{Backup, DAY, HOUR, MINUTE, Rule, Rules, calendar, keepers, runs};

/// 2027-11-20: years, leap day and weeks that belong to another year lie ahead.
const FIRST_DAY: i64 = 21_142;

/// Made-up numbers that follow from a seed (an xorshift generator).
struct Dice(u64);

impl Dice {
    fn below(&mut self, count: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as i64 % count
    }

    fn percent(&mut self, chance: i64) -> bool {
        self.below(100) < chance
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as i64) as usize]
    }

    /// Some of the numbers below a limit, each once, ascending, at least one.
    fn some_below(&mut self, limit: i64, most: i64) -> Vec<i64> {
        let count = 1 + self.below(most);
        let numbers: BTreeSet<i64> = (0..count).map(|_| self.below(limit)).collect();
        numbers.into_iter().collect()
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * SECOND_MICROS)
}

fn id(name: u32) -> CheckpointItemId {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&name.to_be_bytes());
    CheckpointItemId::from_bytes(bytes)
}

fn candidate(backup: &Backup) -> Candidate {
    Candidate {
        id: id(backup.name),
        protected_at: at(backup.made),
        arrival: None,
        auto_trigger: backup.is_automatic,
        is_available: true,
        is_held: false,
    }
}

fn retention(rules: &Rules) -> Retention {
    let sign = if rules.zone < 0 { '-' } else { '+' };
    let (hours, minutes) = (rules.zone.abs() / HOUR, rules.zone.abs() % HOUR / MINUTE);
    Retention::new(RetentionFields {
        permanent: rules.permanent,
        max_backups: rules.max_backups,
        duration_days: rules.duration_days,
        day_backups: rules.day_backups,
        week_backups: rules.week_backups,
        month_backups: rules.month_backups,
        year_backups: rules.year_backups,
        timezone: Some(format!("UTC{sign}{hours:02}:{minutes:02}")),
    })
    .unwrap()
}

fn rules(dice: &mut Dice) -> Rules {
    Rules {
        permanent: dice.percent(3),
        max_backups: dice.pick(&[-1, 0, 1, 2, 3, 7, 14]),
        duration_days: dice.pick(&[-1, 0, 0, 1, 2, 9, 40]),
        day_backups: dice.pick(&[0, 0, 1, 3, 7]),
        week_backups: dice.pick(&[0, 0, 1, 4]),
        month_backups: dice.pick(&[0, 0, 1, 3, 12]),
        year_backups: dice.pick(&[0, 0, 1, 2]),
        zone: dice.pick(&[0, HOUR, 8 * HOUR, 14 * HOUR, -3 * HOUR - 30 * MINUTE, -14 * HOUR]),
    }
}

/// Lives through some dozen days. Each has a few backups and maybe none; at its end both models are asked,
/// say the same of every backup, and what they let go is gone the next day.
fn live_through(seed: u64) {
    let mut dice = Dice(seed | 1);
    let (rules, days) = (rules(&mut dice), 30 + dice.below(60));
    let retention = retention(&rules);
    let first_day = FIRST_DAY + dice.below(800);
    // Some live day by day, some see a day a week or a month.
    let step = dice.pick(&[1, 1, 1, 7, 30]);
    let calendar = calendar(first_day + days * step + 2);
    // The model goes back over the days that there can be backups of, and no further.
    let around = (first_day - 2) as usize;
    let mut backups: Vec<Backup> = Vec::new();
    let mut names = 0u32..;
    for day in (0..days).map(|day| first_day + day * step) {
        let mut made: BTreeMap<i64, bool> = BTreeMap::new();
        for _ in 0..dice.pick(&[0, 1, 1, 1, 2, 4]) {
            // Near the ends of days as often as elsewhere.
            let second = dice.pick(&[0, 1, DAY - 1, 12 * HOUR, 23 * HOUR, HOUR]) + dice.below(2);
            made.insert(day * DAY + second.min(DAY - 1), dice.percent(85));
        }
        for (made, is_automatic) in made {
            backups.push(Backup { name: names.next().unwrap(), made, is_automatic });
        }
        let now = (day + 1) * DAY + dice.pick(&[0, 1, HOUR]);
        let expected = keepers(&rules, &backups, now, &calendar[around..]);
        check_day(seed, &retention, &backups, now, &expected);
        backups.retain(|backup| !expected[&backup.name].is_empty());
    }
}

fn check_day(
    seed: u64,
    retention: &Retention,
    backups: &[Backup],
    now: i64,
    expected: &BTreeMap<u32, BTreeSet<&'static str>>,
) {
    let candidates: Vec<Candidate> = backups.iter().map(candidate).collect();
    let verdicts = judge(retention, &candidates, at(now));
    assert_eq!(verdicts.len(), backups.len(), "seed {seed}");
    for (backup, verdict) in backups.iter().zip(&verdicts) {
        assert_eq!(verdict.id, id(backup.name), "seed {seed}: oldest first");
        let words: BTreeSet<&str> = verdict.kept_by.iter().map(|kept_by| kept_by.word()).collect();
        assert_eq!(words, expected[&backup.name], "seed {seed}: backup {backup:?} on {}", at(now));
    }
    let gone: Vec<_> = expected.iter().filter(|(_, by)| by.is_empty()).map(|(name, _)| id(*name)).collect();
    assert_eq!(expired(retention, &candidates, at(now)), gone, "seed {seed}: on {}", at(now));
    for verdict in &verdicts {
        let Some(moment) = verdict.expires_at.filter(|moment| *moment > at(now)) else { continue };
        let just_before = expired(retention, &candidates, moment.plus_micros(-1));
        assert!(!just_before.contains(&verdict.id), "seed {seed}: too early");
        assert!(expired(retention, &candidates, moment).contains(&verdict.id), "seed {seed}: too late");
    }
    let never = |verdict: &&model::retention::Verdict| verdict.expires_at.is_none();
    let in_a_century = expired(retention, &candidates, at(now).plus_days(36_525));
    let stays = verdicts.iter().filter(never).all(|verdict| !in_a_century.contains(&verdict.id));
    assert!(stays, "seed {seed}: what never goes goes in a century");
}

/// A rule of a trigger.
fn made_rule(dice: &mut Dice) -> Rule {
    let is_weekly = dice.percent(40);
    let weekdays = if dice.percent(40) { dice.some_below(7, 4) } else { Vec::new() };
    let interval = if is_weekly || !weekdays.is_empty() { 1 } else { 1 + dice.below(30) };
    let minutes = if dice.percent(80) { vec![dice.below(60)] } else { dice.some_below(60, 2) };
    Rule { is_weekly, interval, weekdays, hours: dice.some_below(24, 3), minutes }
}

/// The text of some rules in one of the forms that clients send.
fn dressed(dice: &mut Dice, rules: &[Rule]) -> String {
    let lines: Vec<String> = rules.iter().map(Rule::line).collect();
    match dice.below(4) {
        0 => format!(
            "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n",
            lines.join("\r\n")
        ),
        1 => format!(
            "BEGIN:VCALENDAR\\r\\nBEGIN:VEVENT\\r\\n{}\\r\\nEND:VEVENT\\r\\nEND:VCALENDAR\\r\\n",
            lines.join("\\r\\n")
        ),
        2 => format!("BEGIN:VEVENT\n{};\nEND:VEVENT", lines.join(";\n")),
        _ => format!("BEGIN:VEVENT\\n{}\\nEND:VEVENT\\n", lines.join("\\n")).to_ascii_lowercase(),
    }
}

fn check_schedule(seed: u64) {
    let mut dice = Dice(seed | 1);
    let rules: Vec<Rule> = (0..1 + dice.below(3)).map(|_| made_rule(&mut dice)).collect();
    let text = dressed(&mut dice, &rules);
    let is_too_close = two_are_too_close(&rules);
    let Ok(pattern) = Pattern::parse(&text) else {
        assert!(is_too_close, "seed {seed}: refused for nothing: {text}");
        return;
    };
    assert!(!is_too_close, "seed {seed}: two runs within an hour: {text}");
    assert_eq!(pattern.as_str(), text, "seed {seed}");
    let start_minute = (FIRST_DAY + dice.below(900)) * 24 * 60 + dice.below(24 * 60);
    let first_day = start_minute / (24 * 60);
    let expected = runs(&rules, start_minute, &calendar(first_day + 100)[first_day as usize..]);
    let start = at(start_minute * MINUTE);
    let mut after = at(0);
    for minute in &expected {
        after = pattern.next_after(start, after).unwrap();
        assert_eq!(after, at(minute * MINUTE), "seed {seed}: {text}");
    }
    let (seen, now) = (start.plus_days(dice.below(60)), start.plus_days(60 + dice.below(30)));
    let missed = expected.iter().map(|minute| at(minute * MINUTE)).rfind(|run| *run > seen && *run <= now);
    assert_eq!(pattern.missed(start, seen, now), missed, "seed {seed}: {text}");
}

/// Whether some day on which the trigger is made puts two different runs within an hour of each other: every
/// weekday is tried, for as long as the intervals take to come together again.
fn two_are_too_close(rules: &[Rule]) -> bool {
    let horizon: i64 = rules.iter().map(|rule| rule.interval).product::<i64>().min(900) + 9;
    let calendar = calendar(FIRST_DAY + 7 + horizon);
    (FIRST_DAY..FIRST_DAY + 7).any(|start| {
        let start = calendar[start as usize];
        let mut times: Vec<i64> = Vec::new();
        for date in &calendar[start.number as usize..] {
            let mut of_day = BTreeSet::new();
            for rule in rules.iter().filter(|rule| rule.runs_on(date, &start)) {
                let minutes = |hour: &i64| rule.minutes.iter().map(|m| hour * 60 + m).collect::<Vec<_>>();
                of_day.extend(rule.hours.iter().flat_map(minutes));
            }
            times.extend(of_day.into_iter().map(|minute| date.number * 24 * 60 + minute));
        }
        times.windows(2).any(|pair| pair[1] - pair[0] < 60)
    })
}

#[test]
fn the_calendar_of_the_model_is_the_one_on_the_wall() {
    let calendar = calendar(40_000);
    for number in [0, 59, 789, 11_016, 20_780, FIRST_DAY, 39_999] {
        let date = calendar[number as usize];
        let shown = format!("{:04}-{:02}-{:02}T00:00:00.000000", date.year, date.month, date.day);
        assert_eq!(at(number * DAY).wire(), shown);
    }
    // 2026-11-23 is a Monday: its week ends with the Sunday six days later.
    let week = |number: usize| calendar[number].week - calendar[20_780].week;
    assert_eq!((calendar[20_780].weekday, week(20_786), week(20_787)), (0, 0, 1));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn retention_and_the_reference_model_agree_on_every_day(seed in any::<u64>()) {
        live_through(seed);
    }

    #[test]
    fn schedules_and_the_reference_model_agree_on_every_run(seed in any::<u64>()) {
        check_schedule(seed);
    }
}
