//! `antipode region …`: what stops this region, and pairing with others.

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::error::Outcome;
use super::output::{Column, cell};
use super::session::Surface;

const COLUMNS: [Column; 4] =
    [("REGION", "name"), ("URL", "url"), ("CONFIRMED", "is_confirmed"), ("PAIRED (UTC)", "paired_at")];

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
