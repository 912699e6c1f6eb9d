//! `antipode coverage …`: one row is one server in one region.

use clap::{Args, Subcommand};
use model::coverage::Verdict;
use serde_json::Value;

use super::Context;
use super::error::{CliError, Exit, Outcome};
use super::output::{Column, Format};
use super::session::Surface;

const COLUMNS: [Column; 12] = [
    ("SERVER", "name"),
    ("POLICY", "policy_name"),
    ("REGION", "destination_region"),
    ("VERDICT", "verdict"),
    ("SINCE (UTC)", "since"),
    ("RPO", "rpo_text"),
    ("NEWEST BACKUP (UTC)", "newest_backup_at"),
    ("NEWEST REPLICA (UTC)", "newest_replica_at"),
    ("LEVEL", "level"),
    ("LAG", "lag_text"),
    ("OWED", "owed_bytes"),
    ("EVIDENCE AGE", "evidence_text"),
];

/// What can be done with coverage.
#[derive(Debug, Subcommand)]
pub enum CoverageCommand {
    /// Show how each server stands in each region
    Show(CoveredServers),
    /// Show what is breached or unproven, and end with 7 if anything is
    Check(CoveredServers),
}

/// Whose servers.
#[derive(Debug, Args)]
pub struct CoveredServers {
    /// Those of every project (operator)
    #[arg(long)]
    all_projects: bool,
}

impl CoverageCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            CoverageCommand::Show(servers) => {
                show(context, servers.rows(context).await?);
                Ok(())
            }
            CoverageCommand::Check(servers) => check(context, servers.rows(context).await?),
        }
    }
}

impl CoveredServers {
    async fn rows(&self, context: &Context) -> Outcome<Vec<Value>> {
        let path = if self.all_projects { "/coverage?all_tenants=true" } else { "/coverage" };
        let servers = context.session.list(Surface::Own, path, "coverage").await?;
        Ok(servers.iter().flat_map(rows_of).collect())
    }
}

fn check(context: &Context, rows: Vec<Value>) -> Outcome<()> {
    let row_count = rows.len();
    let alarming: Vec<Value> = rows.into_iter().filter(is_alarming).collect();
    if alarming.is_empty() {
        if context.output.format != Format::Table {
            show(context, alarming);
        }
        context.output.done(&format!("{row_count} looked at, nothing breached or unproven"));
        return Ok(());
    }
    let message = format!("{} of {row_count} are breached or unproven", alarming.len());
    show(context, alarming);
    Err(CliError::new(Exit::Alarm, message))
}

fn show(context: &Context, mut rows: Vec<Value>) {
    if context.output.format == Format::Table {
        for row in &mut rows {
            for (seconds, text) in [
                ("rpo_seconds", "rpo_text"),
                ("lag_seconds", "lag_text"),
                ("evidence_age_seconds", "evidence_text"),
            ] {
                row[text] = row[seconds].as_u64().map_or(Value::Null, |seconds| duration(seconds).into());
            }
            if row["verdict"].is_null() {
                row["verdict"] = Value::from("no target");
            }
        }
    }
    context.output.list(&rows, &COLUMNS);
}

/// One row for each region of a server, with what both say.
fn rows_of(server: &Value) -> Vec<Value> {
    let destinations = server["destinations"].as_array().map(Vec::as_slice).unwrap_or_default();
    let row = |destination: &Value| {
        let mut row = destination.clone();
        for key in ["id", "name", "project_id", "policy_id", "policy_name"] {
            row[key] = server[key].clone();
        }
        row
    };
    destinations.iter().map(row).collect()
}

fn is_alarming(row: &Value) -> bool {
    Verdict::ALL.iter().any(|verdict| verdict.is_alarming() && row["verdict"] == verdict.word())
}

/// The two largest units of a time, such as `1d 2h`.
fn duration(seconds: u64) -> String {
    let parts =
        [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(parts.len() - 1);
    let shown = parts[first..].iter().take(2).map(|(count, unit)| format!("{count}{unit}"));
    shown.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn times_are_shown_in_their_two_largest_units() {
        for (seconds, shown) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3661, "1h 1m"),
            (93_600, "1d 2h"),
            (86_400 * 400, "400d 0h"),
        ] {
            assert_eq!(duration(seconds), shown);
        }
    }

    #[test]
    fn a_row_is_a_server_in_a_region_and_alarms_by_its_verdict() {
        let destination = |verdict: Value| json!({ "destination_region": "b", "verdict": verdict });
        let verdicts = [json!("met"), json!("breached"), json!("at-risk"), json!("unproven"), Value::Null];
        let destinations: Vec<Value> = verdicts.into_iter().map(destination).collect();
        let rows = rows_of(&json!({ "id": "s1", "name": "db1", "destinations": destinations }));
        assert_eq!((rows.len(), &rows[0]["name"]), (5, &json!("db1")));
        let alarming: Vec<bool> = rows.iter().map(is_alarming).collect();
        assert_eq!(alarming, [false, true, false, true, false]);
    }
}
