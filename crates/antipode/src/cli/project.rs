//! `antipode project …`

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::Context;
use super::error::Outcome;
use super::names::identity_id;
use super::output::Column;
use super::session::Surface;

const COLUMNS: [Column; 4] =
    [("ID", "id"), ("NAME", "name"), ("ENABLED", "enabled"), ("DESCRIPTION", "description")];

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
        /// What people should know about it
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Show the projects: all of them, or with --mine those you may use
    List {
        /// Only those you may use
        #[arg(long)]
        mine: bool,
    },
    /// Show one project
    Show {
        /// The project, by name or id
        #[arg(value_name = "PROJECT")]
        which: String,
    },
    /// Change a project; disabling it ends its tokens
    Set {
        /// The project, by name or id
        #[arg(value_name = "PROJECT")]
        which: String,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// What people should know about it
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
        /// Let it be used again
        #[arg(long, conflicts_with = "disable")]
        enable: bool,
        /// Let nobody use it; its schedules go on
        #[arg(long)]
        disable: bool,
    },
    /// Delete a project that owns nothing
    Delete {
        /// The project, by name or id
        #[arg(value_name = "PROJECT")]
        which: String,
    },
}

impl ProjectCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        let session = &context.session;
        let path = async |project: &str| {
            Ok(format!("/projects/{}", identity_id(context, "projects", project).await?))
        };
        match self {
            ProjectCommand::Create { name, id, description } => {
                let body = json!({ "project": { "name": name, "id": id, "description": description } });
                let answer = session.post(Surface::Identity, "/projects", &body).await?;
                context.output.one(&answer["project"], &COLUMNS);
            }
            ProjectCommand::List { mine } => {
                let path = if mine { "/auth/projects" } else { "/projects" };
                let rows = session.list(Surface::Identity, path, "projects").await?;
                context.output.list(&rows, &COLUMNS);
            }
            ProjectCommand::Show { which } => {
                let answer = session.get(Surface::Identity, &path(&which).await?).await?;
                context.output.one(&answer["project"], &COLUMNS);
            }
            ProjectCommand::Set { which, name, description, enable, disable } => {
                let enabled = (enable || disable).then_some(enable);
                let change = json!({ "name": name, "description": description, "enabled": enabled });
                let body = json!({ "project": change });
                let path = path(&which).await?;
                let answer = session.send(Method::PATCH, Surface::Identity, &path, Some(&body)).await?;
                context.output.one(&answer.body["project"], &COLUMNS);
            }
            ProjectCommand::Delete { which } => {
                session.send(Method::DELETE, Surface::Identity, &path(&which).await?, None).await?;
                context.output.done("deleted");
            }
        }
        Ok(())
    }
}
