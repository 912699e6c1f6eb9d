//! `antipode project …`

use clap::Subcommand;
use serde_json::json;

use super::Context;
use super::error::Outcome;
use super::output::Column;
use super::session::Surface;

const COLUMNS: [Column; 3] = [("ID", "id"), ("NAME", "name"), ("ENABLED", "enabled")];

/// What can be done with projects.
#[derive(Debug, Subcommand)]
pub enum ProjectCommand {
    /// Make a project
    Create {
        /// Its name
        name: String,
        /// Its id in an existing cloud; one is made if left out
        #[arg(long)]
        id: Option<String>,
    },
    /// Show the projects: all of them, or with --mine those you may use
    List {
        /// Only those you may use
        #[arg(long)]
        mine: bool,
    },
}

impl ProjectCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            ProjectCommand::Create { name, id } => {
                let body = json!({ "project": { "name": name, "id": id } });
                let answer = context.session.post(Surface::Identity, "/projects", &body).await?;
                context.output.one(&answer["project"], &COLUMNS);
            }
            ProjectCommand::List { mine } => {
                let path = if mine { "/auth/projects" } else { "/projects" };
                let rows = context.session.list(Surface::Identity, path, "projects").await?;
                context.output.list(&rows, &COLUMNS);
            }
        }
        Ok(())
    }
}
