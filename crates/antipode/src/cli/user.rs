//! `antipode user …`

use std::path::PathBuf;

use clap::Subcommand;
use reqwest::Method;
use serde_json::json;

use super::Context;
use super::error::{CliError, Exit, Outcome};
use super::output::{Column, cell};
use super::session::{Surface, read_secret};

const COLUMNS: [Column; 3] = [("ID", "id"), ("NAME", "name"), ("ENABLED", "enabled")];

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user
    Create {
        /// The name
        name: String,
        /// File whose first line is the new user's password
        #[arg(long, value_name = "FILE")]
        new_password_file: PathBuf,
    },
    /// Show the users
    List,
    /// Give a user a role: in a project, or operator in the region
    Assign {
        /// The user, by name or id
        user: String,
        /// reader, member, admin or operator
        role: String,
        /// The project, by name or id; left out for operator
        #[arg(long = "in", value_name = "PROJECT")]
        project: Option<String>,
    },
}

impl UserCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            UserCommand::Create { name, new_password_file } => {
                let password = read_secret(&new_password_file)?;
                let body = json!({ "user": { "name": name, "password": password } });
                let answer = context.session.post(Surface::Identity, "/users", &body).await?;
                context.output.one(&answer["user"], &COLUMNS);
            }
            UserCommand::List => {
                let rows = context.session.list(Surface::Identity, "/users", "users").await?;
                context.output.list(&rows, &COLUMNS);
            }
            UserCommand::Assign { user, role, project } => assign(context, &user, &role, project).await?,
        }
        Ok(())
    }
}

async fn assign(context: &Context, user: &str, role: &str, project: Option<String>) -> Outcome<()> {
    let user_id = id_of(context, "users", user).await?;
    let path = match project {
        Some(project) => {
            let project_id = id_of(context, "projects", &project).await?;
            format!("/projects/{project_id}/users/{user_id}/roles/{role}")
        }
        None => format!("/system/users/{user_id}/roles/{role}"),
    };
    context.session.send(Method::PUT, Surface::Identity, &path, None).await?;
    context.output.done("assigned");
    Ok(())
}

/// The id of a user or project that is named by name or id.
async fn id_of(context: &Context, key: &str, text: &str) -> Outcome<String> {
    let rows = context.session.list(Surface::Identity, &format!("/{key}"), key).await?;
    let found =
        rows.iter().find(|row| row["id"] == text).or_else(|| rows.iter().find(|row| row["name"] == text));
    let missing = || CliError::new(Exit::NotFound, format!("{text} is not among the {key}"));
    found.map(|row| cell(row, "id")).ok_or_else(missing)
}
