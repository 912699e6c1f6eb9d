//! `antipode quota …`

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Map, Value, json};

use super::Context;
use super::error::{CliError, Outcome};
use super::names::choose;
use super::output::Column;
use super::session::Surface;

const COLUMNS: [Column; 4] = [("TYPE", "type"), ("UNIT", "unit"), ("QUOTA", "quota"), ("USED", "used")];

/// What can be done with quotas.
#[derive(Debug, Subcommand)]
pub enum QuotaCommand {
    /// Show what a project may hold of backups made here, and what it does; -1 is no limit
    Show {
        /// The project, by id, beginning of the id, or name (operator); your own if left out
        #[arg(value_name = "PROJECT")]
        owner: Option<String>,
    },
    /// Set what a project may hold (operator)
    Set(SetQuota),
}

/// What is to change of a quota.
#[derive(Debug, Args)]
pub struct SetQuota {
    /// The project, by id, beginning of the id, or name
    #[arg(value_name = "PROJECT")]
    owner: String,
    /// The most backups; -1 for no limit
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    backups: Option<i64>,
    /// The most that they may take in the store, in GiB; -1 for no limit
    #[arg(long, value_name = "GIB", allow_negative_numbers = true)]
    capacity: Option<i64>,
}

impl QuotaCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        let answer = match self {
            QuotaCommand::Show { owner: None } => context.session.get(Surface::Csbs, "/quotas").await?,
            QuotaCommand::Show { owner: Some(project) } => {
                context.session.get(Surface::Own, &path_of(context, &project).await?).await?
            }
            QuotaCommand::Set(change) => change.send(context).await?,
        };
        let rows = answer["quotas"]["resources"].as_array().cloned().unwrap_or_default();
        context.output.list(&rows, &COLUMNS);
        Ok(())
    }
}

impl SetQuota {
    async fn send(&self, context: &Context) -> Outcome<Value> {
        let mut quotas = Map::new();
        for (key, max) in [("backups", self.backups), ("backup_capacity", self.capacity)] {
            if let Some(max) = max {
                quotas.insert(key.to_owned(), json!(max));
            }
        }
        if quotas.is_empty() {
            return Err(CliError::usage("nothing to set: --backups, --capacity or both"));
        }
        let path = path_of(context, &self.owner).await?;
        let body = json!({ "quotas": quotas });
        Ok(context.session.send(Method::PUT, Surface::Own, &path, Some(&body)).await?.body)
    }
}

async fn path_of(context: &Context, project: &str) -> Outcome<String> {
    let projects = context.session.list(Surface::Identity, "/projects", "projects").await?;
    Ok(format!("/quotas/{}", choose(&projects, project, "project")?))
}
