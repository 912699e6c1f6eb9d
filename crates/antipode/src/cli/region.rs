//! `antipode region …`: pairing with other regions.

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::error::Outcome;
use super::output::{Column, cell};
use super::session::Surface;

const COLUMNS: [Column; 4] =
    [("REGION", "name"), ("URL", "url"), ("CONFIRMED", "is_confirmed"), ("PAIRED (UTC)", "paired_at")];

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
            RegionCommand::List => {
                context.output.list(&session.list(Surface::Own, "/regions", "regions").await?, &COLUMNS);
            }
        }
        Ok(())
    }
}
