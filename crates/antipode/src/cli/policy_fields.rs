//! The flags of a policy that say when and how long: schedule and retention.

use clap::Args;
use serde_json::{Value, json};

/// The schedule of a policy that was made without one; it is switched off.
const NIGHTLY: &str = "FREQ=DAILY;BYHOUR=1;BYMINUTE=0";

/// When backups are made.
#[derive(Debug, Args)]
pub(super) struct Schedule {
    /// When to back up, such as FREQ=DAILY;BYHOUR=1;BYMINUTE=30 (UTC)
    #[arg(long, value_name = "RRULE")]
    at: Option<String>,
}

/// How long backups are kept.
#[derive(Debug, Args)]
pub(super) struct Keep {
    /// Keep at most this many automatic backups of each server; -1 for all
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    keep_last: Option<i64>,
    /// Keep automatic backups for so many days; -1 for ever
    #[arg(long, value_name = "DAYS", allow_negative_numbers = true)]
    keep_days: Option<i64>,
    /// Keep besides the newest backup of each of so many days
    #[arg(long, value_name = "COUNT", requires = "timezone")]
    keep_daily: Option<u32>,
    /// Keep besides the newest backup of each of so many weeks
    #[arg(long, value_name = "COUNT", requires = "timezone")]
    keep_weekly: Option<u32>,
    /// Keep besides the newest backup of each of so many months
    #[arg(long, value_name = "COUNT", requires = "timezone")]
    keep_monthly: Option<u32>,
    /// Keep besides the newest backup of each of so many years
    #[arg(long, value_name = "COUNT", requires = "timezone")]
    keep_yearly: Option<u32>,
    /// Where days begin, such as UTC+01:00
    #[arg(long, value_name = "UTC±HH:MM")]
    timezone: Option<String>,
}

impl Schedule {
    pub(super) fn is_given(&self) -> bool {
        self.at.is_some()
    }

    pub(super) fn trigger_or_nightly(&self) -> Value {
        Schedule::trigger(self.at.as_deref().unwrap_or(NIGHTLY))
    }

    /// The trigger of one rule; a whole calendar text is taken as it is.
    pub(super) fn trigger(rule: &str) -> Value {
        let pattern = if rule.contains("BEGIN:") {
            rule.to_owned()
        } else {
            let rule = rule.strip_prefix("RRULE:").unwrap_or(rule);
            format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:{rule}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
        };
        json!({ "properties": { "pattern": pattern } })
    }
}

impl Keep {
    pub(super) fn is_given(&self) -> bool {
        self.keep_last.is_some() || self.keep_days.is_some() || self.timezone.is_some()
    }

    /// The whole new definition: a definition replaces the old one, so what is not named is carried over.
    pub(super) fn definition(&self, before: &Value) -> Value {
        let named = [
            ("max_backups", self.keep_last),
            ("retention_duration_days", self.keep_days),
            ("day_backups", self.keep_daily.map(i64::from)),
            ("week_backups", self.keep_weekly.map(i64::from)),
            ("month_backups", self.keep_monthly.map(i64::from)),
            ("year_backups", self.keep_yearly.map(i64::from)),
        ];
        let mut definition = json!({ "permanent": false });
        for (key, value) in named {
            definition[key] = value.map_or_else(|| before[key].clone(), Value::from);
        }
        definition["timezone"] =
            self.timezone.clone().map_or_else(|| before["timezone"].clone(), Value::from);
        definition
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Keep = Keep {
        keep_last: None,
        keep_days: None,
        keep_daily: None,
        keep_weekly: None,
        keep_monthly: None,
        keep_yearly: None,
        timezone: None,
    };

    #[test]
    fn a_definition_carries_over_what_is_not_named() {
        let before = json!({ "max_backups": 7, "retention_duration_days": 30 });
        let after = Keep { keep_last: Some(3), ..NONE }.definition(&before);
        assert_eq!((&after["max_backups"], &after["retention_duration_days"]), (&json!(3), &json!(30)));
        assert!(!NONE.is_given());
    }

    #[test]
    fn a_rule_becomes_a_calendar_and_a_calendar_stays_as_it_is() {
        let pattern =
            |rule: &str| Schedule::trigger(rule)["properties"]["pattern"].as_str().unwrap().to_owned();
        for rule in ["FREQ=DAILY;BYHOUR=1;BYMINUTE=0", "RRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=0"] {
            assert!(model::schedule::Pattern::parse(&pattern(rule)).is_ok(), "{rule}");
        }
        let whole = "BEGIN:VEVENT\nRRULE:FREQ=WEEKLY;INTERVAL=1;\nEND:VEVENT";
        assert_eq!(pattern(whole), whole);
        assert!(model::schedule::Pattern::parse(&pattern(NIGHTLY)).is_ok());
    }
}
