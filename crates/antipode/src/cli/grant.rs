//! `antipode grant …`: a destination project's consent to replicas.

use clap::{Subcommand, ValueEnum};
use reqwest::Method;
use serde_json::json;

use super::Context;
use super::error::Outcome;
use super::names::split_destination;
use super::output::Column;
use super::session::Surface;

const COLUMNS: [Column; 8] = [
    ("ID", "id"),
    ("FROM REGION", "source_region"),
    ("FROM PROJECT", "source_project_id"),
    ("MODE", "mode"),
    ("AT MOST", "bytes_max"),
    ("KEEP DAYS", "keep_days_min"),
    ("EXPIRES (UTC)", "expires_at"),
    ("REVOKED (UTC)", "revoked_at"),
];

/// What this region may know of what it stores.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum GrantMode {
    /// It can open and restore
    Restorable,
    /// It can verify and expire, not open
    Sealed,
}

/// What can be done with grants.
#[derive(Debug, Subcommand)]
pub enum GrantCommand {
    /// Accept replicas from a project of another region into this project (admin)
    Create {
        /// Who may send
        #[arg(long, value_name = "REGION/PROJECT_ID")]
        from: String,
        /// What this region may know of it
        #[arg(long, value_enum, default_value_t = GrantMode::Restorable)]
        mode: GrantMode,
        /// The most stored bytes to accept
        #[arg(long, value_name = "BYTES")]
        max_bytes: Option<u64>,
        /// Nothing that arrives expires before so many days
        #[arg(long, value_name = "DAYS")]
        keep_min: Option<u32>,
        /// When the grant ends by itself, such as 2027-01-31T00:00:00 (UTC)
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// Show the grants of this project
    List,
    /// Let nothing arrive under a grant any more; what arrived stays (admin)
    Revoke {
        /// The grant's id
        id: String,
    },
}

impl GrantCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            GrantCommand::Create { from, mode, max_bytes, keep_min, expires } => {
                let (region, project) = split_destination(&from)?;
                let mode = match mode {
                    GrantMode::Restorable => "restorable",
                    GrantMode::Sealed => "sealed",
                };
                let body = json!({ "grant": {
                    "source_region": region,
                    "source_project_id": project,
                    "mode": mode,
                    "bytes_max": max_bytes,
                    "keep_days_min": keep_min,
                    "expires_at": expires,
                } });
                let answer = context.session.post(Surface::Own, "/grants", &body).await?;
                context.output.one(&answer["grant"], &COLUMNS);
            }
            GrantCommand::List => {
                context
                    .output
                    .list(&context.session.list(Surface::Own, "/grants", "grants").await?, &COLUMNS);
            }
            GrantCommand::Revoke { id } => {
                context.session.send(Method::DELETE, Surface::Own, &format!("/grants/{id}"), None).await?;
                context.output.done("revoked");
            }
        }
        Ok(())
    }
}
