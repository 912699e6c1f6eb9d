//! retention
/// How long results are kept.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Retention {
    /// Keep for ever.
    pub permanent: bool,
    /// Keep at most this many.
    pub max_backups: i64,
    /// Keep this many days.
    pub duration_days: i64,
    /// Newest of each of the last N days.
    pub day_backups: u32,
    /// Weeks.
    pub week_backups: u32,
    /// Months.
    pub month_backups: u32,
    /// Years.
    pub year_backups: u32,
    /// Zone of the borders, `UTC+08:00`.
    pub timezone: Option<String>,
}
