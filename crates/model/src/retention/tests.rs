//! Tables for the ranges and the rules, and properties over made-up histories.

use proptest::prelude::*;

use super::*;
use crate::time::DAY_MICROS;

fn id(n: u8) -> CheckpointItemId {
    CheckpointItemId::from_entropy([n; 16])
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn made_here(n: u8, protected_at: &str) -> Candidate {
    Candidate {
        id: id(n),
        protected_at: at(protected_at),
        arrival: None,
        auto_trigger: true,
        is_available: true,
        is_held: false,
    }
}

fn replica(n: u8, protected_at: &str, arrived_at: &str, keep_until: &str) -> Candidate {
    let arrival = Arrival { arrived_at: at(arrived_at), keep_until: at(keep_until) };
    Candidate { arrival: Some(arrival), ..made_here(n, protected_at) }
}

/// The numbers of the items that go.
fn check(fields: RetentionFields, candidates: &[Candidate], now: &str, expected: &[u8]) {
    let retention = Retention::new(fields.clone()).unwrap();
    let expected: Vec<_> = expected.iter().map(|n| id(*n)).collect();
    assert_eq!(expired(&retention, candidates, at(now)), expected, "{fields:?}");
    let backwards: Vec<_> = candidates.iter().rev().copied().collect();
    assert_eq!(expired(&retention, &backwards, at(now)), expected, "the order of the rows decides nothing");
}

fn count(max_backups: i64) -> RetentionFields {
    RetentionFields { max_backups, ..RetentionFields::default() }
}

fn days(duration_days: i64) -> RetentionFields {
    RetentionFields { duration_days, ..RetentionFields::default() }
}

fn zone(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// One backup a day at noon, item 1 on 1 November 2026, a Sunday.
fn daily(last: u8) -> Vec<Candidate> {
    (1..=last).map(|n| made_here(n, &format!("2026-11-{n:02}T12:00:00"))).collect()
}

#[test]
fn what_is_out_of_range_is_refused_and_named() {
    let default = RetentionFields::default;
    let cases = [
        (count(-2), "max_backups"),
        (count(100_000), "max_backups"),
        (days(-2), "retention_duration_days"),
        (days(100_000), "retention_duration_days"),
        (RetentionFields { day_backups: 101, timezone: zone("UTC+00:00"), ..default() }, "day_backups"),
        (RetentionFields { week_backups: 101, ..default() }, "week_backups"),
        (RetentionFields { month_backups: 101, ..default() }, "month_backups"),
        (RetentionFields { year_backups: u32::MAX, ..default() }, "year_backups"),
        (RetentionFields { year_backups: 1, ..default() }, "timezone"),
    ];
    for (fields, field) in cases {
        let error = Retention::new(fields).unwrap_err();
        assert_eq!(error.field, field);
        assert!(error.to_string().starts_with(field));
    }
    let bad_zones = [
        "",
        "UTC",
        "UTC+8",
        "UTC+8:00",
        "UTC 08:00",
        "UTC+08:60",
        "UTC+14:01",
        "UTC-15:00",
        "utc+08:00",
        "UTC+0800",
        "UTC+08:00 ",
        "UTC++8:00",
        "UTC−08:00",
        "GMT+08:00",
        "Europe/Berlin",
        "é",
    ];
    for bad in bad_zones {
        let fields = RetentionFields { timezone: zone(bad), ..default() };
        assert_eq!(Retention::new(fields).unwrap_err().field, "timezone", "{bad}");
    }
}

#[test]
fn what_is_in_range_comes_back_as_given() {
    for fields in [count(-1), count(0), count(99_999), days(-1), days(0), days(99_999)] {
        assert_eq!(Retention::new(fields.clone()).unwrap().fields(), &fields);
    }
    let zones = [("UTC+08:00", 28_800), ("UTC-03:30", -12_600), ("UTC+00:00", 0), ("UTC+14:00", 50_400)];
    for (text, seconds) in zones {
        let fields = RetentionFields { day_backups: 100, timezone: zone(text), ..RetentionFields::default() };
        assert_eq!(Retention::new(fields).unwrap().zone_offset_seconds, seconds);
    }
}

#[test]
fn no_limit_keeps_everything() {
    for fields in [RetentionFields::default(), count(-1), count(0), days(-1), days(0)] {
        check(fields, &daily(9), "2999-01-01T00:00:00", &[]);
    }
    let permanent = RetentionFields { permanent: true, max_backups: 1, duration_days: 1, ..count(1) };
    check(permanent, &daily(9), "2999-01-01T00:00:00", &[]);
}

#[test]
fn what_keeps_everything_says_so() {
    for fields in [RetentionFields::default(), RetentionFields { permanent: true, ..count(1) }, days(-1)] {
        assert!(Retention::new(fields).unwrap().keeps_everything());
    }
    for fields in [count(1), days(1)] {
        assert!(!Retention::new(fields).unwrap().keeps_everything());
    }
}

#[test]
fn a_count_keeps_the_newest_automatic_ones_and_no_manual_one_goes_by_it() {
    check(count(3), &daily(5), "2026-11-05T13:00:00", &[1, 2]);
    check(count(9), &daily(5), "2026-11-05T13:00:00", &[]);
    let mut items = daily(5);
    items[0].auto_trigger = false;
    items[3].auto_trigger = false;
    check(count(3), &items, "2026-11-05T13:00:00", &[]);
    check(count(2), &items, "2026-11-05T13:00:00", &[2]);
}

#[test]
fn what_is_not_available_neither_counts_nor_goes() {
    let mut items = daily(5);
    items[4].is_available = false;
    items[0].is_available = false;
    check(count(2), &items, "2026-11-05T13:00:00", &[2]);
    check(days(1), &items, "2027-01-01T00:00:00", &[2, 3]);
}

#[test]
fn what_is_held_counts_but_does_not_go() {
    let mut items = daily(5);
    items[1].is_held = true;
    items[4].is_held = true;
    check(count(2), &items, "2026-11-05T13:00:00", &[1, 3]);
    check(days(1), &items, "2027-01-01T00:00:00", &[1, 3, 4]);
}

#[test]
fn an_age_is_reached_to_the_microsecond_and_the_newest_stays() {
    check(days(2), &daily(4), "2026-11-03T11:59:59.999999", &[]);
    check(days(2), &daily(4), "2026-11-03T12:00:00", &[1]);
    check(days(2), &daily(4), "2026-12-31T00:00:00", &[1, 2, 3]);
    check(count(1), &daily(1), "2026-12-31T00:00:00", &[]);
    let mut items = daily(3);
    items[0].auto_trigger = false;
    check(days(2), &items, "2026-11-04T12:00:00", &[1, 2]);
}

#[test]
fn both_limits_apply_together() {
    let fields = |max_backups, duration_days| RetentionFields { max_backups, duration_days, ..count(0) };
    check(fields(3, 30), &daily(5), "2026-11-05T13:00:00", &[1, 2]);
    check(fields(4, 2), &daily(5), "2026-11-05T13:00:00", &[1, 2, 3]);
}

#[test]
fn days_weeks_months_and_years_are_kept_in_addition() {
    let now = "2026-11-20T13:00:00";
    let with = |change: fn(&mut RetentionFields)| {
        let mut fields = RetentionFields { timezone: zone("UTC+00:00"), ..count(2) };
        change(&mut fields);
        fields
    };
    check(with(|f| f.day_backups = 3), &daily(6), now, &[1, 2, 3]);
    check(with(|f| f.day_backups = 2), &daily(6), now, &[1, 2, 3, 4]);
    // Weeks begin on Monday: the 1st is the Sunday of its week, the 8th and 15th are the next ones.
    check(with(|f| f.week_backups = 3), &daily(18), now, &[1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 16]);
    let months = ["2025-12-31T12:00:00", "2026-09-01T12:00:00", "2026-09-30T12:00:00", "2026-11-01T12:00:00"];
    let mut items: Vec<_> = (1..).zip(months).map(|(n, month)| made_here(n, month)).collect();
    items.push(made_here(5, "2026-11-02T12:00:00"));
    items.push(made_here(6, "2026-11-03T12:00:00"));
    check(with(|f| f.month_backups = 2), &items, now, &[1, 2, 4]);
    check(with(|f| f.year_backups = 2), &items, now, &[2, 3, 4]);
    check(with(|f| f.duration_days = 1), &items, now, &[1, 2, 3, 4, 5]);
    let both = with(|f| {
        f.duration_days = 1;
        f.month_backups = 3;
    });
    check(both, &items, now, &[2, 4, 5]);
}

#[test]
fn only_periods_that_have_backups_count() {
    let items = [1, 5, 9].map(|n| made_here(n, &format!("2026-0{n}-10T12:00:00")));
    let fields = RetentionFields { month_backups: 2, timezone: zone("UTC+00:00"), ..count(1) };
    check(fields, &items, "2026-12-01T00:00:00", &[1]);
}

#[test]
fn the_zone_moves_the_borders_of_a_day() {
    let items = [
        made_here(1, "2026-11-01T22:00:00"),
        made_here(2, "2026-11-01T23:30:00"),
        made_here(3, "2026-11-02T01:00:00"),
        made_here(4, "2026-11-03T12:00:00"),
    ];
    let in_zone = |text: &str| RetentionFields { day_backups: 9, timezone: zone(text), ..count(1) };
    check(in_zone("UTC+00:00"), &items, "2026-11-04T00:00:00", &[1]);
    check(in_zone("UTC+01:00"), &items, "2026-11-04T00:00:00", &[2]);
    check(in_zone("UTC-02:00"), &items, "2026-11-04T00:00:00", &[1, 2]);
}

#[test]
fn the_first_week_of_a_year_may_begin_in_the_old_one() {
    // 2025-12-29 is a Monday and begins the first week of 2026.
    let items = [
        made_here(1, "2025-12-28T12:00:00"),
        made_here(2, "2025-12-29T12:00:00"),
        made_here(3, "2026-01-04T12:00:00"),
        made_here(4, "2026-01-05T12:00:00"),
    ];
    let fields = RetentionFields { week_backups: 3, timezone: zone("UTC+00:00"), ..count(1) };
    check(fields, &items, "2026-02-01T00:00:00", &[2]);
}

#[test]
fn a_replica_stays_for_the_promised_time_whatever_arrives() {
    let arrived = "2026-11-10T00:00:00";
    let items = [
        replica(1, "2026-11-01T12:00:00", arrived, "2026-12-10T00:00:00"),
        replica(2, "2026-11-02T12:00:00", arrived, "2026-12-10T00:00:00"),
        replica(3, "2026-11-03T12:00:00", arrived, "2026-12-11T00:00:00"),
        replica(4, "2026-11-04T12:00:00", arrived, "2026-12-10T00:00:00"),
    ];
    check(count(1), &items, "2026-12-09T23:59:59", &[]);
    check(count(1), &items, "2026-12-10T00:00:00", &[1, 2]);
    check(days(1), &items, "2026-12-11T00:00:00", &[1, 2, 3]);
}

#[test]
fn a_source_cannot_date_its_replicas_into_the_future() {
    let past = "2026-11-01T00:00:00";
    let items = [
        replica(1, "2026-11-01T12:00:00", "2026-11-01T13:00:00", past),
        replica(2, "2126-01-01T00:00:00", "2026-11-02T13:00:00", past),
        replica(3, "2026-11-03T12:00:00", "2026-11-03T13:00:00", past),
    ];
    check(count(1), &items, "2026-11-04T00:00:00", &[1, 2]);
}

#[test]
fn a_later_arrival_does_not_push_out_the_replica_of_a_period() {
    let past = "2026-11-01T00:00:00";
    let items = [
        replica(1, "2026-11-01T12:00:00", "2026-11-01T13:00:00", past),
        replica(2, "2026-11-01T23:00:00", "2026-11-01T23:30:00", past),
        replica(3, "2026-11-03T12:00:00", "2026-11-03T13:00:00", past),
    ];
    let fields = RetentionFields { day_backups: 2, timezone: zone("UTC+00:00"), ..count(1) };
    check(fields.clone(), &items, "2026-11-04T00:00:00", &[2]);
    let made_here = items.map(|item| Candidate { arrival: None, ..item });
    check(fields, &made_here, "2026-11-04T00:00:00", &[1]);
}

fn fields() -> impl Strategy<Value = RetentionFields> {
    let limits = (proptest::bool::weighted(0.05), -1i64..6, -1i64..40);
    let periods = (0u32..4, 0u32..4, 0u32..3, 0u32..3);
    (limits, periods, -14i64..=14).prop_map(|((permanent, max_backups, duration_days), periods, hours)| {
        let (day_backups, week_backups, month_backups, year_backups) = periods;
        let sign = if hours < 0 { '-' } else { '+' };
        let timezone = Some(format!("UTC{sign}{:02}:00", hours.abs()));
        RetentionFields {
            permanent,
            max_backups,
            duration_days,
            day_backups,
            week_backups,
            month_backups,
            year_backups,
            timezone,
        }
    })
}

/// A history of up to 40 items over some 500 days, all made here or all replicas.
fn history() -> impl Strategy<Value = Vec<Candidate>> {
    let item = (0i64..500 * 24, 0i64..48, 0i64..60, any::<bool>(), 0u8..10, 0u8..10);
    (any::<bool>(), proptest::collection::vec(item, 0..40)).prop_map(|(are_replicas, items)| {
        let base = at("2025-06-01T00:00:00");
        let hour = DAY_MICROS / 24;
        let numbered = (1u8..).zip(items);
        let made = numbered.map(|(n, (hours, late, keep_days, auto_trigger, broken, held))| {
            let protected_at = base.plus_micros(hours * hour);
            let arrived_at = protected_at.plus_micros((late - 8) * hour);
            let arrival = Arrival { arrived_at, keep_until: arrived_at.plus_days(keep_days) };
            Candidate {
                id: id(n),
                protected_at,
                arrival: are_replicas.then_some(arrival),
                auto_trigger,
                is_available: broken > 0,
                is_held: held == 0,
            }
        });
        made.collect()
    })
}

/// The rules said again, item by item and without sorting anything.
fn is_expired(item: &Candidate, fields: &RetentionFields, all: &[Candidate], now: Timestamp) -> bool {
    let is_better = |a: &Candidate, b: &Candidate| {
        let by_arrival = || a.arrived_at().cmp(&b.arrived_at()).then(a.id.cmp(&b.id));
        b.moment().cmp(&a.moment()).then_with(by_arrival).is_lt()
    };
    let available = || all.iter().filter(|other| other.is_available);
    let newer = available().filter(|other| is_better(other, item)).count();
    let newer_automatic = available().filter(|other| other.auto_trigger && is_better(other, item)).count();
    let is_surplus =
        item.auto_trigger && fields.max_backups > 0 && newer_automatic as i64 >= fields.max_backups;
    let is_old = fields.duration_days > 0
        && now.micros() - item.moment().micros() >= fields.duration_days * DAY_MICROS;
    let must_stay = !item.is_available
        || item.is_held
        || newer == 0
        || item.arrival.is_some_and(|arrival| now < arrival.keep_until);
    (is_surplus || is_old) && !must_stay && !fields.permanent && !stands_for_a_period(item, fields, all)
}

fn stands_for_a_period(item: &Candidate, fields: &RetentionFields, all: &[Candidate]) -> bool {
    let hours: i64 = fields.timezone.as_ref().unwrap()[3..6].parse().unwrap();
    let local = |candidate: &Candidate| candidate.moment().plus_seconds(hours * 3600).utc().date_naive();
    let formats = [
        (fields.day_backups, "%Y-%m-%d"),
        (fields.week_backups, "%G-%V"),
        (fields.month_backups, "%Y-%m"),
        (fields.year_backups, "%Y"),
    ];
    let counted = || all.iter().filter(|other| other.is_available && other.auto_trigger);
    item.auto_trigger
        && formats.iter().any(|(count, format)| {
            let period = |candidate: &Candidate| local(candidate).format(format).to_string();
            let later: BTreeSet<String> =
                counted().map(period).filter(|other| *other > period(item)).collect();
            let is_beaten =
                counted().filter(|other| period(other) == period(item)).any(|other| match item.arrival {
                    Some(_) => {
                        (other.arrived_at(), Reverse(other.moment()), other.id)
                            < (item.arrived_at(), Reverse(item.moment()), item.id)
                    }
                    None => (Reverse(other.moment()), other.id) < (Reverse(item.moment()), item.id),
                });
            later.len() < *count as usize && !is_beaten
        })
}

proptest! {
    #[test]
    fn retention_promises_hold_for_any_history(
        fields in fields(),
        items in history(),
        hours in 0i64..700 * 24,
        later_hours in 0i64..100 * 24,
    ) {
        let retention = Retention::new(fields.clone()).unwrap();
        let now = at("2025-06-01T00:00:00").plus_seconds(hours * 3600);
        let gone = expired(&retention, &items, now);

        let expected: BTreeSet<_> =
            items.iter().filter(|item| is_expired(item, &fields, &items, now)).map(|item| item.id).collect();
        prop_assert_eq!(gone.iter().copied().collect::<BTreeSet<_>>(), expected, "the rules said again agree");

        prop_assert!(gone.is_empty() || !retention.keeps_everything());
        let is_gone = |item: &&Candidate| gone.contains(&item.id);
        for item in items.iter().filter(is_gone) {
            prop_assert!(item.is_available && !item.is_held);
            prop_assert!(item.arrival.is_none_or(|arrival| arrival.keep_until <= now));
        }
        let available: Vec<_> = items.iter().filter(|item| item.is_available).collect();
        let newest = available.iter().map(|item| item.moment()).max();
        let left = available.iter().filter(|item| !is_gone(item)).map(|item| item.moment()).max();
        prop_assert_eq!(left, newest, "the newest never goes");

        let rest: Vec<_> = items.iter().filter(|item| !is_gone(item)).copied().collect();
        prop_assert_eq!(expired(&retention, &rest, now), vec![], "asking again drops nothing more");

        let later = expired(&retention, &items, now.plus_seconds(later_hours * 3600));
        prop_assert!(gone.iter().all(|id| later.contains(id)), "time only adds");

        let looser = RetentionFields {
            max_backups: if fields.max_backups > 0 { fields.max_backups + 1 } else { fields.max_backups },
            duration_days: if fields.duration_days > 0 { fields.duration_days + 3 } else { fields.duration_days },
            day_backups: fields.day_backups + 1,
            week_backups: fields.week_backups + 1,
            month_backups: fields.month_backups + 1,
            year_backups: fields.year_backups + 1,
            ..fields.clone()
        };
        let looser = expired(&Retention::new(looser).unwrap(), &items, now);
        prop_assert!(looser.iter().all(|id| gone.contains(id)), "a looser rule drops no more");
    }

    #[test]
    fn holding_one_item_costs_no_other(fields in fields(), items in history(), pick in any::<prop::sample::Index>()) {
        prop_assume!(!items.is_empty());
        let retention = Retention::new(fields).unwrap();
        let now = at("2027-01-01T00:00:00");
        let picked = pick.index(items.len());
        let mut held = items.clone();
        held[picked].is_held = true;
        let mut expected = expired(&retention, &items, now);
        expected.retain(|id| *id != items[picked].id);
        prop_assert_eq!(expired(&retention, &held, now), expected);
    }
}
