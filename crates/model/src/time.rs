//! Moments, as microseconds since 1970 in UTC. The catalog stores the number; the wire shows one of
//! the two texts that CSBS clients parse (`csbs-v1-api.md` §1, rules 2 and 3).

use std::fmt;

use chrono::{DateTime, NaiveDateTime, Utc};

/// A moment in UTC, in microseconds since 1970-01-01.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// Microseconds in a second.
pub const SECOND_MICROS: i64 = 1_000_000;
/// Microseconds in a day.
pub const DAY_MICROS: i64 = 86_400 * SECOND_MICROS;

/// The last moment we can print: 9999-12-31. Later ones are clamped to it.
const MICROS_MAX: i64 = 253_402_300_799 * SECOND_MICROS;

impl Timestamp {
    /// A moment from microseconds since 1970; clamped to the years 1970 to 9999.
    pub fn from_micros(micros: i64) -> Timestamp {
        Timestamp(micros.clamp(0, MICROS_MAX))
    }

    /// A moment from milliseconds since 1970.
    pub fn from_millis(millis: u64) -> Timestamp {
        Timestamp::from_micros(i64::try_from(millis).unwrap_or(i64::MAX / 1000).saturating_mul(1000))
    }

    /// Microseconds since 1970.
    pub fn micros(self) -> i64 {
        self.0
    }

    /// Milliseconds since 1970, as signed formats carry it.
    pub fn millis(self) -> u64 {
        u64::try_from(self.0 / 1000).expect("clamped to be positive")
    }

    /// This moment moved by `micros`, clamped to the years 1970 to 9999.
    pub fn plus_micros(self, micros: i64) -> Timestamp {
        Timestamp::from_micros(self.0.saturating_add(micros))
    }

    /// This moment moved by whole seconds.
    pub fn plus_seconds(self, seconds: i64) -> Timestamp {
        self.plus_micros(seconds.saturating_mul(SECOND_MICROS))
    }

    /// This moment moved by whole days.
    pub fn plus_days(self, days: i64) -> Timestamp {
        self.plus_micros(days.saturating_mul(DAY_MICROS))
    }

    /// The calendar view, in UTC.
    pub fn utc(self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.0).expect("clamped to years chrono can hold")
    }

    /// `2026-11-23T01:02:03.000456`: the form of every CSBS time but one.
    pub fn wire(self) -> String {
        self.utc().format("%Y-%m-%dT%H:%M:%S%.6f").to_string()
    }

    /// `2026-11-23 01:02:03`: the form of a trigger's `start_time`.
    pub fn wire_start_time(self) -> String {
        self.utc().format("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// Parses `YYYY-MM-DDTHH:MM:SS`, with or without a fraction and a trailing `Z`.
    pub fn parse(text: &str) -> Option<Timestamp> {
        let text = text.strip_suffix('Z').unwrap_or(text);
        let parsed = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
        let micros = parsed.and_utc().timestamp_micros();
        (0..=MICROS_MAX).contains(&micros).then_some(Timestamp(micros))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wire())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wire())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wire_times_carry_microseconds_and_no_zone() {
        let moment = Timestamp::from_micros(1_795_395_723_000_456);
        assert_eq!(moment.wire(), "2026-11-23T01:02:03.000456");
        assert_eq!(moment.wire_start_time(), "2026-11-23 01:02:03");
        assert_eq!(Timestamp::parse(&moment.wire()), Some(moment));
        assert_eq!(Timestamp::parse("2026-11-23T01:02:03.000456Z"), Some(moment));
    }

    #[test]
    fn nonsense_is_no_time() {
        for bad in
            ["", "now", "2026-13-01T00:00:00", "1969-12-31T23:59:59", "2026-11-23", "99999-01-01T00:00:00"]
        {
            assert_eq!(Timestamp::parse(bad), None, "{bad}");
        }
    }
}
