//! `antipode user …`

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use super::error::Outcome;
use super::names::identity_id;
use super::output::Column;
use super::session::{Surface, read_secret};

const COLUMNS: [Column; 4] =
    [("ID", "id"), ("NAME", "name"), ("ENABLED", "enabled"), ("DESCRIPTION", "description")];

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
        /// What people should know about the user
        #[arg(long, value_name = "TEXT")]
        description: Option<String>,
    },
    /// Show the users
    List,
    /// Show one user
    Show {
        /// The user, by name or id
        user: String,
    },
    /// Change a user; another password, and disabling, end the user's tokens
    Set(SetArgs),
    /// Delete a user with all roles and credentials
    Delete {
        /// The user, by name or id
        user: String,
    },
    /// Give a user a role: in a project, or operator or service in the region
    Assign(RoleArgs),
    /// Take a role from a user
    Unassign(RoleArgs),
}

/// `antipode user set`
#[derive(Debug, Args)]
pub struct SetArgs {
    /// The user, by name or id
    user: String,
    /// Another name
    #[arg(long)]
    name: Option<String>,
    /// What people should know about the user
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// File whose first line is another password
    #[arg(long, value_name = "FILE")]
    new_password_file: Option<PathBuf>,
    /// Let the user log in again
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Let the user log in no more
    #[arg(long)]
    disable: bool,
}

/// `antipode user assign` and `unassign`
#[derive(Debug, Args)]
pub struct RoleArgs {
    /// The user, by name or id
    user: String,
    /// reader, member, admin, service or operator
    role: String,
    /// The project, by name or id; left out for service and operator
    #[arg(long = "in", value_name = "PROJECT")]
    in_project: Option<String>,
}

impl UserCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        let session = &context.session;
        let path = async |user: &str| Ok(format!("/users/{}", identity_id(context, "users", user).await?));
        match self {
            UserCommand::Create { name, new_password_file, description } => {
                let password = read_secret(&new_password_file)?;
                let user = json!({ "name": name, "password": password, "description": description });
                let answer = session.post(Surface::Identity, "/users", &json!({ "user": user })).await?;
                context.output.one(&answer["user"], &COLUMNS);
            }
            UserCommand::List => {
                let rows = session.list(Surface::Identity, "/users", "users").await?;
                context.output.list(&rows, &COLUMNS);
            }
            UserCommand::Show { user } => {
                let answer = session.get(Surface::Identity, &path(&user).await?).await?;
                context.output.one(&answer["user"], &COLUMNS);
            }
            UserCommand::Set(args) => {
                let path = path(&args.user).await?;
                let body = json!({ "user": args.change()? });
                let answer = session.send(Method::PATCH, Surface::Identity, &path, Some(&body)).await?;
                context.output.one(&answer.body["user"], &COLUMNS);
            }
            UserCommand::Delete { user } => {
                session.send(Method::DELETE, Surface::Identity, &path(&user).await?, None).await?;
                context.output.done("deleted");
            }
            UserCommand::Assign(args) => {
                session.send(Method::PUT, Surface::Identity, &args.path(context).await?, None).await?;
                context.output.done("assigned");
            }
            UserCommand::Unassign(args) => {
                session.send(Method::DELETE, Surface::Identity, &args.path(context).await?, None).await?;
                context.output.done("unassigned");
            }
        }
        Ok(())
    }
}

impl SetArgs {
    fn change(&self) -> Outcome<Value> {
        let password = self.new_password_file.as_deref().map(read_secret).transpose()?;
        let enabled = (self.enable || self.disable).then_some(self.enable);
        Ok(json!({
            "name": self.name, "description": self.description, "password": password, "enabled": enabled,
        }))
    }
}

impl RoleArgs {
    async fn path(&self, context: &Context) -> Outcome<String> {
        let (user_id, role) = (identity_id(context, "users", &self.user).await?, &self.role);
        Ok(match &self.in_project {
            Some(project) => {
                let project_id = identity_id(context, "projects", project).await?;
                format!("/projects/{project_id}/users/{user_id}/roles/{role}")
            }
            None => format!("/system/users/{user_id}/roles/{role}"),
        })
    }
}
