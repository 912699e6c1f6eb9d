//! `antipode region …`: what stops this region, and pairing with others.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::Context;
use super::error::{CliError, Outcome};
use super::output::{Column, cell};
use super::session::Surface;

const COLUMNS: [Column; 5] = [
    ("REGION", "name"),
    ("URL", "url"),
    ("CONFIRMED", "is_confirmed"),
    ("BYTES A SECOND", "limit.bytes_per_second"),
    ("PAIRED (UTC)", "paired_at"),
];

const OWN_COLUMNS: [Column; 5] = [
    ("REGION", "name"),
    ("ID", "region_id"),
    ("INCARNATION", "incarnation"),
    ("BLOCKED", "blocked_reason"),
    ("FROZEN", "frozen_reason"),
];

/// What can be done with other regions.
#[derive(Debug, Subcommand)]
pub enum RegionCommand {
    /// Make a single-use invitation for another region's operator
    Invite {
        /// What the other region calls itself
        name: String,
    },
    /// Accept an invitation; shows the code that the inviting operator must type
    Accept {
        /// The one line that the other operator sent
        invitation: String,
    },
    /// Confirm a region that accepted our invitation, with the code that its operator reads out
    Confirm {
        /// The region's name
        name: String,
        /// The 20 characters
        code: String,
    },
    /// Limit how fast a region is sent to, from now on
    Limit {
        /// The region's name
        name: String,
        /// Bytes a second, such as 500KiB, 10MiB or 1048576; none for no limit
        rate: String,
    },
    /// Show the regions we are paired with
    List,
    /// Show this region: whether writing is blocked, or expiry and collection are frozen
    Show,
    /// Let expiry and collection go on after a rebuild
    Unfreeze {
        /// The region's name, to be sure
        name: String,
    },
}

impl RegionCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        let session = &context.session;
        match self {
            RegionCommand::Invite { name } => {
                let body = json!({ "region": name });
                let answer = session.post(Surface::Own, "/regions/invitations", &body).await?;
                context.output.value("invitation", &cell(&answer, "invitation"));
            }
            RegionCommand::Accept { invitation } => {
                let body = json!({ "invitation": invitation });
                let answer = session.post(Surface::Own, "/regions/accept", &body).await?;
                context.output.value("code", &cell(&answer, "code"));
            }
            RegionCommand::Confirm { name, code } => {
                let path = format!("/regions/{name}/confirm");
                session.post(Surface::Own, &path, &json!({ "code": code })).await?;
                context.output.done("confirmed");
            }
            RegionCommand::Limit { name, rate } => {
                let body = json!({ "limit": { "bytes_per_second": bytes_per_second(&rate)? } });
                let path = format!("/regions/{name}/limit");
                session.send(Method::PUT, Surface::Own, &path, Some(&body)).await?;
                context.output.done("limited");
            }
            RegionCommand::Show => {
                let answer = session.get(Surface::Own, "/region").await?;
                context.output.one(&answer["region"], &OWN_COLUMNS);
            }
            RegionCommand::Unfreeze { name } => {
                session.post(Surface::Own, "/region/unfreeze", &json!({ "name": name })).await?;
                context.output.done("expiry and collection go on");
            }
            RegionCommand::List => {
                context.output.list(&session.list(Surface::Own, "/regions", "regions").await?, &COLUMNS);
            }
        }
        Ok(())
    }
}

/// A rate as people write it; nothing for none.
fn bytes_per_second(text: &str) -> Outcome<Option<u64>> {
    if text == "none" {
        return Ok(None);
    }
    let bad = || CliError::usage(format!("{text} is no rate: 500KiB, 10MiB, 1GiB, 1048576 and none are"));
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit_bytes: u64 = match &text[digits.len()..] {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(bad()),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit_bytes));
    bytes.map(Some).ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_in_iec_units() {
        for (text, rate) in [
            ("none", Some(None)),
            ("1048576", Some(Some(1 << 20))),
            ("2048B", Some(Some(2048))),
            ("500KiB", Some(Some(500 << 10))),
            ("10MiB", Some(Some(10 << 20))),
            ("1GiB", Some(Some(1 << 30))),
            ("", None),
            ("MiB", None),
            ("10MB", None),
            ("-1", None),
            ("1.5MiB", None),
            ("99999999999999999999", None),
            ("17179869184GiB", None),
        ] {
            assert_eq!(bytes_per_second(text).ok(), rate, "{text}");
        }
    }
}
