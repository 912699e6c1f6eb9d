//! `antipode credential …`: access keys, with which programs sign requests.

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::Context;
use super::error::Outcome;
use super::output::Column;
use super::session::Surface;

const COLUMNS: [Column; 4] = [
    ("ACCESS KEY", "id"),
    ("PROJECT", "project_id"),
    ("DESCRIPTION", "description"),
    ("MADE (UTC)", "created_at"),
];
const NEW_COLUMNS: [Column; 4] =
    [("ACCESS KEY", "id"), ("SECRET", "secret"), ("PROJECT", "project_id"), ("DESCRIPTION", "description")];

/// What can be done with access keys.
#[derive(Debug, Subcommand)]
pub enum CredentialCommand {
    /// Make an access key; its secret is shown this once
    Create {
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Show your access keys in this project
    List,
    /// Show one access key
    Show {
        /// The access key
        access_key: String,
    },
    /// Delete an access key; what it signed from now on is refused
    Delete {
        /// The access key
        access_key: String,
    },
}

impl CredentialCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        let session = &context.session;
        match self {
            CredentialCommand::Create { description } => {
                let body = json!({ "credential": { "description": description } });
                let answer = session.post(Surface::Own, "/credentials", &body).await?;
                context.output.one(&answer["credential"], &NEW_COLUMNS);
            }
            CredentialCommand::List => {
                let rows = session.list(Surface::Own, "/credentials", "credentials").await?;
                context.output.list(&rows, &COLUMNS);
            }
            CredentialCommand::Show { access_key } => {
                let answer = session.get(Surface::Own, &format!("/credentials/{access_key}")).await?;
                context.output.one(&answer["credential"], &COLUMNS);
            }
            CredentialCommand::Delete { access_key } => {
                let path = format!("/credentials/{access_key}");
                session.send(Method::DELETE, Surface::Own, &path, None).await?;
                context.output.done("deleted");
            }
        }
        Ok(())
    }
}
