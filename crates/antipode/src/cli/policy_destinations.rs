//! `antipode policy destination …` and `antipode policy replicate … --plan`

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use super::error::{CliError, Outcome};
use super::names::{policy_id, split_destination};
use super::output::{Column, Format, cell, print_json};
use super::session::Surface;

const COLUMNS: [Column; 4] = [
    ("REGION", "destination_region"),
    ("PROJECT", "destination_project_id"),
    ("SCHEDULED", "is_scheduled"),
    ("RPO (s)", "rpo_seconds"),
];
const PLAN_COLUMNS: [Column; 8] = [
    ("TO REGION", "destination_region"),
    ("TO PROJECT", "destination_project_id"),
    ("BACKUPS", "item_count"),
    ("TO MOVE", "expected_bytes"),
    ("SECONDS", "expected_seconds"),
    ("LEFT OUT", "left_out_text"),
    ("COUNTS AGAINST THE GRANT", "charged_bytes"),
    ("LEFT OF THE GRANT", "grant_bytes_left"),
];

/// What can be done with the destinations of a policy.
#[derive(Debug, Subcommand)]
pub enum DestinationCommand {
    /// Show the regions that a policy goes to or has a target for
    List {
        /// The policy, by id, beginning of the id, or name
        policy: String,
    },
    /// Set how old the newest replica of a server may become in a region
    Set {
        /// The policy, by id, beginning of the id, or name
        policy: String,
        /// The region
        #[arg(long, value_name = "REGION")]
        to: String,
        /// Such as 26h, 90m, 2d, 3600s, or none
        #[arg(long, value_name = "TIME")]
        rpo: String,
    },
}

impl DestinationCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            DestinationCommand::List { policy } => {
                let path = format!("/policies/{}/destinations", policy_id(context, &policy).await?);
                let answer = context.session.get(Surface::Own, &path).await?;
                let rows = answer["destinations"].as_array().cloned().unwrap_or_default();
                context.output.list(&rows.iter().map(with_id).collect::<Vec<Value>>(), &COLUMNS);
                Ok(())
            }
            DestinationCommand::Set { policy, to, rpo } => {
                let seconds = read_seconds(&rpo)?;
                let path = format!("/policies/{}/destinations/{to}", policy_id(context, &policy).await?);
                let body = json!({ "destination": { "rpo_seconds": seconds } });
                let answer = context.session.send(Method::PUT, Surface::Own, &path, Some(&body)).await?;
                context.output.one(&with_id(&answer.body["destination"]), &COLUMNS);
                Ok(())
            }
        }
    }
}

/// A destination is known by its region.
fn with_id(row: &Value) -> Value {
    let mut row = row.clone();
    row["id"] = row["destination_region"].clone();
    row
}

/// Seconds, or nothing for `none`.
fn read_seconds(text: &str) -> Outcome<Option<u64>> {
    if text == "none" {
        return Ok(None);
    }
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let unit_seconds = match unit {
        "" | "s" => Some(1),
        "m" => Some(60),
        "h" => Some(3600),
        "d" => Some(86_400),
        _ => None,
    };
    let seconds = number.parse::<u64>().ok().zip(unit_seconds).and_then(|(n, unit)| n.checked_mul(unit));
    let bad = || CliError::usage(format!("{text} is no time such as 26h, 90m, 2d, 3600s or none"));
    seconds.map(Some).ok_or_else(bad)
}

/// Shows what replicating a policy would come to now.
pub(super) async fn plan(context: &Context, policy: &str, to: &str) -> Outcome<()> {
    let id = policy_id(context, policy).await?;
    let (region, project) = split_destination(to)?;
    let query = format!("destination_region={region}&destination_project_id={project}");
    let path = format!("/policies/{id}/replication_plan?{query}");
    let mut answer = context.session.get(Surface::Own, &path).await?;
    let mut plan = answer["replication_plan"].take();
    let items = plan["checkpoint_items"].as_array().cloned().unwrap_or_default();
    match context.output.format {
        Format::Json => print_json(&plan),
        Format::Ids => {
            context.output.list(&items.into_iter().map(|id| json!({ "id": id })).collect::<Vec<_>>(), &[]);
        }
        Format::Table => {
            let left_out = plan["left_out"].as_array().map(Vec::as_slice).unwrap_or_default();
            let part = |row: &Value| format!("{}={}", cell(row, "reason_code"), cell(row, "item_count"));
            plan["left_out_text"] = Value::from(left_out.iter().map(part).collect::<Vec<_>>().join(", "));
            context.output.one(&plan, &PLAN_COLUMNS);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_number_with_a_unit() {
        for (text, seconds) in [
            ("none", None),
            ("0", Some(0)),
            ("90", Some(90)),
            ("90s", Some(90)),
            ("3m", Some(180)),
            ("26h", Some(93_600)),
            ("2d", Some(172_800)),
        ] {
            assert_eq!(read_seconds(text).unwrap(), seconds, "{text}");
        }
        for bad in ["", "h", "-1", "1w", "1.5h", "h1", "18446744073709551615d"] {
            assert!(read_seconds(bad).is_err(), "{bad}");
        }
    }
}
