//! The definition of a scheduled operation as answers show it, for the OpenAPI document. The wire struct is
//! put together from parts that are left out as a whole, which the document cannot say of parts.
#![expect(dead_code, reason = "describes an answer in the document")]

use utoipa::ToSchema;

use crate::http::openapi::schema::{ForeignId, Id, ProviderId, RegionText};

/// How long backups, or replicas, are kept, and where replicas go.
#[derive(ToSchema)]
pub(super) struct DefinitionAnswer {
    /// How many of each server. -1 and 0 mean no limit.
    #[schema(minimum = -1, maximum = 99_999)]
    max_backups: i64,
    /// For how many days. -1 means no limit.
    #[schema(minimum = -1, maximum = 99_999)]
    retention_duration_days: i64,
    /// For ever, whatever the other rules say.
    permanent: bool,
    /// The newest of each of so many days that have backups. Absent when none of its kind was given.
    #[schema(maximum = 100, nullable = false)]
    day_backups: Option<u32>,
    /// The newest of each of so many weeks.
    #[schema(maximum = 100, nullable = false)]
    week_backups: Option<u32>,
    /// The newest of each of so many months.
    #[schema(maximum = 100, nullable = false)]
    month_backups: Option<u32>,
    /// The newest of each of so many years.
    #[schema(maximum = 100, nullable = false)]
    year_backups: Option<u32>,
    /// Where days and weeks end, such as `UTC+08:00`.
    #[schema(nullable = false)]
    timezone: Option<String>,
    /// Of a replication only.
    #[schema(nullable = false)]
    destination_region: Option<RegionText>,
    /// Of a replication only.
    #[schema(nullable = false)]
    destination_project_id: Option<ForeignId>,
    /// Of a replication only.
    #[schema(nullable = false)]
    enable_acceleration: Option<bool>,
    /// The policy.
    plan_id: Id,
    provider_id: ProviderId,
}
