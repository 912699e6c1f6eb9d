//! `antipode policy …`

use clap::{Args, Subcommand};
use model::replication::LeftOut;
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use super::error::{CliError, Outcome};
use super::names::{policy_id, server_id, split_destination};
use super::output::{Column, at, cell};
use super::policy_destinations::{DestinationCommand, plan};
use super::policy_fields::{Keep, Schedule};
use super::policy_retention::{RetentionCommand, adopt};
use super::replication;
use super::session::Surface;
use super::{checkpoint, output::Format};

const COLUMNS: [Column; 4] =
    [("ID", "id"), ("NAME", "name"), ("SERVERS", "resources"), ("OPERATIONS", "scheduled_operations")];
const OPERATION_COLUMNS: [Column; 7] = [
    ("OPERATION", "operation_type"),
    ("ENABLED", "enabled"),
    ("KEEP LAST", "operation_definition.max_backups"),
    ("KEEP DAYS", "operation_definition.retention_duration_days"),
    ("TO REGION", "operation_definition.destination_region"),
    ("TO PROJECT", "operation_definition.destination_project_id"),
    ("WHEN (UTC)", "rules"),
];

/// What can be done with policies.
#[derive(Debug, Subcommand)]
pub enum PolicyCommand {
    /// Make a policy
    Create(CreatePolicy),
    /// Show the policies of the project
    List,
    /// Show one policy
    Show {
        /// The policy, by id, beginning of the id, or name
        policy: String,
    },
    /// Change a policy; what is not named stays as it is
    Update(UpdatePolicy),
    /// Delete a policy; its backups stay
    Delete {
        /// The policy, by id, beginning of the id, or name
        policy: String,
        /// Yes, I mean it
        #[arg(long)]
        yes: bool,
    },
    /// How long backups are kept
    #[command(subcommand)]
    Retention(RetentionCommand),
    /// Take over the backups of a deleted policy
    Adopt {
        /// The policy, by id, beginning of the id, or name
        policy: String,
        /// The id of the deleted policy
        old_id: String,
    },
    /// Back up the policy's servers now
    Run {
        /// The policy, by id, beginning of the id, or name
        policy: String,
        /// Only this server (repeatable)
        #[arg(long = "server", value_name = "SERVER")]
        servers: Vec<String>,
    },
    /// Make replicas, in another region, of every backup of the policy that has none there yet
    Replicate {
        /// The policy, by id, beginning of the id, or name
        policy: String,
        /// Where to
        #[arg(long, value_name = "REGION/PROJECT_ID")]
        to: String,
        /// More streams
        #[arg(long)]
        accelerate: bool,
        /// Only show what it would do now, how much it would move and for how long
        #[arg(long)]
        plan: bool,
    },
    /// Where the policy goes, and how old the newest replicas may become there
    #[command(subcommand)]
    Destination(DestinationCommand),
}

/// A policy to be made.
#[derive(Debug, Args)]
pub struct CreatePolicy {
    /// Its name
    name: String,
    /// What it is for
    #[arg(long, default_value = "")]
    description: String,
    /// A server that it protects (repeatable)
    #[arg(long = "server", value_name = "SERVER")]
    servers: Vec<String>,
    #[command(flatten)]
    schedule: Schedule,
    #[command(flatten)]
    keep: Keep,
    /// Replicate to this region and project on a schedule
    #[arg(long, value_name = "REGION/PROJECT_ID", requires = "replicate_at")]
    replicate_to: Option<String>,
    /// When to replicate, such as FREQ=DAILY;BYHOUR=4;BYMINUTE=0
    #[arg(long, value_name = "RRULE", requires = "replicate_to")]
    replicate_at: Option<String>,
}

/// What is to change in a policy.
#[derive(Debug, Args)]
pub struct UpdatePolicy {
    /// The policy, by id, beginning of the id, or name
    policy: String,
    /// A new name
    #[arg(long)]
    name: Option<String>,
    /// A new description
    #[arg(long)]
    description: Option<String>,
    /// Protect this server too (repeatable)
    #[arg(long = "add-server", value_name = "SERVER")]
    add_servers: Vec<String>,
    /// Protect this server no longer (repeatable)
    #[arg(long = "remove-server", value_name = "SERVER")]
    remove_servers: Vec<String>,
    /// Switch the backup schedule on
    #[arg(long, conflicts_with = "disable")]
    enable: bool,
    /// Switch the backup schedule off; it can still be run by hand
    #[arg(long)]
    disable: bool,
    #[command(flatten)]
    schedule: Schedule,
    #[command(flatten)]
    keep: Keep,
}

impl PolicyCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            PolicyCommand::Create(create) => create.run(context).await,
            PolicyCommand::List => {
                let rows = context.session.list(Surface::Csbs, "/policies", "policies").await?;
                context.output.list(&rows, &COLUMNS);
                Ok(())
            }
            PolicyCommand::Show { policy } => {
                let path = format!("/policies/{}", policy_id(context, &policy).await?);
                show(context, &context.session.get(Surface::Csbs, &path).await?["policy"]);
                Ok(())
            }
            PolicyCommand::Update(update) => update.run(context).await,
            PolicyCommand::Delete { policy, yes } => delete(context, &policy, yes).await,
            PolicyCommand::Retention(command) => command.run(context).await,
            PolicyCommand::Adopt { policy, old_id } => adopt(context, &policy, &old_id).await,
            PolicyCommand::Run { policy, servers } => run_now(context, &policy, &servers).await,
            PolicyCommand::Destination(command) => command.run(context).await,
            PolicyCommand::Replicate { policy, to, plan: true, .. } => plan(context, &policy, &to).await,
            PolicyCommand::Replicate { policy, to, accelerate, .. } => {
                replicate(context, &policy, &to, accelerate).await
            }
        }
    }
}

impl CreatePolicy {
    async fn run(self, context: &Context) -> Outcome<()> {
        let mut resources = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            resources.push(resource(context, server).await?);
        }
        let mut operations = vec![json!({
            "name": format!("{}-backup", self.name),
            "enabled": self.schedule.is_given(),
            "operation_type": "backup",
            "operation_definition": self.keep.definition(&json!({})),
            "trigger": self.schedule.trigger_or_nightly(),
        })];
        if let (Some(to), Some(at)) = (&self.replicate_to, &self.replicate_at) {
            let (region, project) = split_destination(to)?;
            operations.push(json!({
                "name": format!("{}-replication", self.name),
                "enabled": true,
                "operation_type": "replication",
                "operation_definition": { "destination_region": region, "destination_project_id": project },
                "trigger": Schedule::trigger(at),
            }));
        }
        let policy = json!({
            "name": self.name,
            "description": self.description,
            "provider_id": model::policy::PROVIDER_ID,
            "parameters": { "common": {} },
            "resources": resources,
            "scheduled_operations": operations,
        });
        let answer = context.session.post(Surface::Csbs, "/policies", &json!({ "policy": policy })).await?;
        show(context, &answer["policy"]);
        Ok(())
    }
}

impl UpdatePolicy {
    async fn run(self, context: &Context) -> Outcome<()> {
        let path = format!("/policies/{}", policy_id(context, &self.policy).await?);
        let before = context.session.get(Surface::Csbs, &path).await?;
        let before = &before["policy"];
        let mut change = json!({ "name": self.name, "description": self.description });
        if !self.add_servers.is_empty() || !self.remove_servers.is_empty() {
            change["resources"] = self.resources(context, before).await?;
        }
        if let Some(operation) = self.operation(before)? {
            change["scheduled_operations"] = json!([operation]);
        }
        let body = json!({ "policy": change });
        let answer = context.session.send(Method::PUT, Surface::Csbs, &path, Some(&body)).await?;
        show(context, &answer.body["policy"]);
        Ok(())
    }

    /// The full new set of servers, as the API wants it.
    async fn resources(&self, context: &Context, before: &Value) -> Outcome<Value> {
        let kept = before["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
        // By the names the policy itself lists: a server that is no longer registered can be removed too.
        let is_removed = |row: &&Value| {
            self.remove_servers
                .iter()
                .any(|given| row["id"] == given.as_str() || row["name"] == given.as_str())
        };
        let mut resources: Vec<Value> = kept.iter().filter(|row| !is_removed(row)).cloned().collect();
        for server in &self.add_servers {
            resources.push(resource(context, server).await?);
        }
        Ok(Value::from(resources))
    }

    /// What changes in the backup operation, if anything does.
    fn operation(&self, before: &Value) -> Outcome<Option<Value>> {
        let is_switched = self.enable || self.disable;
        if !is_switched && !self.schedule.is_given() && !self.keep.is_given() {
            return Ok(None);
        }
        let operations = before["scheduled_operations"].as_array().map(Vec::as_slice).unwrap_or_default();
        let backup = operations.iter().find(|operation| operation["operation_type"] == "backup");
        let backup = backup.ok_or_else(|| CliError::failed("the policy has no backup operation"))?;
        let mut change = json!({ "id": backup["id"], "operation_type": "backup" });
        if is_switched {
            change["enabled"] = Value::from(self.enable);
        }
        if self.schedule.is_given() {
            change["trigger"] = self.schedule.trigger_or_nightly();
        }
        if self.keep.is_given() {
            change["operation_definition"] = self.keep.definition(at(backup, "operation_definition"));
        }
        Ok(Some(change))
    }
}

fn show(context: &Context, policy: &Value) {
    context.output.one(policy, &COLUMNS);
    if context.output.format == Format::Table {
        let operations = policy["scheduled_operations"].as_array().map(Vec::as_slice).unwrap_or_default();
        let operations: Vec<Value> = operations.iter().map(with_rules).collect();
        context.output.list(&operations, &OPERATION_COLUMNS);
    }
}

/// The operation with the rules of its calendar, which are all that a person wants to see of it.
fn with_rules(operation: &Value) -> Value {
    let pattern = cell(operation, "trigger.properties.pattern");
    let rules: Vec<&str> = pattern.lines().filter_map(|line| line.trim().strip_prefix("RRULE:")).collect();
    let mut operation = operation.clone();
    operation["rules"] = Value::from(rules.join(", "));
    operation
}

/// A server as a policy names it.
async fn resource(context: &Context, server: &str) -> Outcome<Value> {
    let id = server_id(context, server).await?;
    let answer = context.session.get(Surface::Own, &format!("/servers/{id}")).await?;
    Ok(json!({ "id": id, "type": model::policy::RESOURCE_TYPE, "name": answer["server"]["name"] }))
}

async fn delete(context: &Context, policy: &str, yes: bool) -> Outcome<()> {
    let id = policy_id(context, policy).await?;
    if !yes {
        return Err(CliError::usage(format!("deleting policy {id} needs --yes; its backups stay")));
    }
    context.session.send(Method::DELETE, Surface::Csbs, &format!("/policies/{id}"), None).await?;
    context.output.done("deleted");
    Ok(())
}

async fn run_now(context: &Context, policy: &str, servers: &[String]) -> Outcome<()> {
    let id = policy_id(context, policy).await?;
    let mut parameters = json!({ "auto_trigger": false });
    if !servers.is_empty() {
        let mut ids = Vec::with_capacity(servers.len());
        for server in servers {
            ids.push(server_id(context, server).await?);
        }
        parameters["resources"] = json!(ids);
    }
    let path = format!("/providers/{}/checkpoints", model::policy::PROVIDER_ID);
    let body = json!({ "checkpoint": { "plan_id": id, "parameters": parameters } });
    let answer = context.session.post(Surface::Csbs, &path, &body).await?;
    checkpoint::began(context, &answer["checkpoint"]).await
}

async fn replicate(context: &Context, policy: &str, to: &str, accelerate: bool) -> Outcome<()> {
    let id = policy_id(context, policy).await?;
    let (region, project) = split_destination(to)?;
    let path = format!("/providers/{}/checkpoints/replicate", model::policy::PROVIDER_ID);
    let body = json!({ "replication": {
        "policy_id": id,
        "destination_region": region,
        "destination_project_id": project,
        "enable_acceleration": accelerate,
    } });
    let mut rows: Vec<Value> = Vec::new();
    // One order takes so many backups and no more; the rest is ordered by asking again.
    let mut begun = loop {
        let answer = context.session.send(Method::POST, Surface::Csbs, &path, Some(&body)).await?;
        let selected = at(&answer.body, "replication.checkpoint_items").as_array();
        let selected = selected.map(Vec::as_slice).unwrap_or_default();
        rows.extend_from_slice(selected);
        let left_out = answer.left_out.unwrap_or_default();
        if left_out.contains(LeftOut::OrderFull.word()) && !selected.is_empty() {
            continue;
        }
        if !left_out.is_empty() {
            eprintln!("left out: {left_out}");
        }
        break answer.body["replication"].clone();
    };
    begun["checkpoint_items"] = Value::from(rows.clone());
    let records: Vec<String> = rows.iter().map(|row| cell(row, "replication_record_id")).collect();
    replication::began(context, &begun, &rows, records).await
}
