//! `antipode item …`

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use super::error::{CliError, Outcome};
use super::names::{choose, item_id, policy_id, split_destination};
use super::output::{Column, Format, cell, print_json, print_line};
use super::replication;
use super::session::Surface;

pub(super) const COLUMNS: [Column; 7] = [
    ("ID", "id"),
    ("SERVER", "extend_info.resource_name"),
    ("NAME", "name"),
    ("CREATED (UTC)", "created_at"),
    ("STATUS", "status"),
    ("KIND", "extend_info.image_type"),
    ("REPLICATION", "extend_info.copy_status"),
];
const DETAIL_COLUMNS: [Column; 14] = [
    ("ID", "id"),
    ("CHECKPOINT", "checkpoint_id"),
    ("SERVER", "extend_info.resource_name"),
    ("SERVER ID", "resource_id"),
    ("NAME", "name"),
    ("DESCRIPTION", "description"),
    ("CREATED (UTC)", "created_at"),
    ("DATA OF (UTC)", "protected_at"),
    ("EXPIRES (UTC)", "expired_at"),
    ("STATUS", "status"),
    ("KIND", "extend_info.image_type"),
    ("COPIED FROM", "extend_info.copy_from"),
    ("REPLICATION", "extend_info.copy_status"),
    ("FAILURE", "extend_info.fail_reason"),
];
const DELETED_COLUMNS: [Column; 6] = [
    ("ID", "id"),
    ("SERVER", "resource_name"),
    ("NAME", "name"),
    ("CREATED (UTC)", "created_at"),
    ("DELETED (UTC)", "deleted_at"),
    ("KEPT UNTIL (UTC)", "purge_after"),
];
const VOLUME_COLUMNS: [Column; 5] = [
    ("BACKUP ID", "id"),
    ("VOLUME", "source_volume_name"),
    ("VOLUME ID", "source_volume_id"),
    ("SIZE (MiB)", "size"),
    ("BOOTABLE", "bootable"),
];

const EXPLAIN_COLUMNS: [Column; 8] = [
    ("REGION", "destination_region"),
    ("STATE", "state"),
    ("CODE", "reason_code"),
    ("WHY", "sentence"),
    ("NEXT STEP", "next_step"),
    ("DETAILS", "reason"),
    ("LEVEL", "level"),
    ("EVIDENCE OF (UTC)", "evidence_at"),
];

/// What can be done with items.
#[derive(Debug, Subcommand)]
pub enum ItemCommand {
    /// Show the items of the project, newest first
    List {
        /// Only those of this policy
        #[arg(long)]
        policy: Option<String>,
        /// Only those of this server
        #[arg(long, value_name = "ID")]
        server: Option<String>,
        /// Only those in this status (repeatable)
        #[arg(long)]
        status: Vec<String>,
        /// Those that were deleted or expired and can still be had back, soonest end first
        #[arg(long, conflicts_with_all = ["policy", "server", "status"])]
        deleted: bool,
    },
    /// Show one item and its disks
    Show {
        /// The item: id, beginning of the id, name, or server@time
        item: String,
    },
    /// Delete one item
    Delete {
        /// The item: id, beginning of the id, name, or server@time
        item: String,
        /// Yes, I mean it
        #[arg(long)]
        yes: bool,
    },
    /// Have a deleted or expired item back
    Undelete {
        /// The item: id, beginning of the id, or name, as `item list --deleted` shows it
        item: String,
    },
    /// Say why an item is, or is not, in other regions, and what to do
    Explain {
        /// The item: id, beginning of the id, name, or server@time; the whole id of a deleted one
        item: String,
        /// This region only
        #[arg(long, value_name = "REGION")]
        to: Option<String>,
    },
    /// Make a replica of one item in another region
    Replicate {
        /// The item: id, beginning of the id, name, or server@time
        item: String,
        /// Where to
        #[arg(long, value_name = "REGION/PROJECT_ID")]
        to: String,
        /// A name for the replica
        #[arg(long)]
        name: Option<String>,
        /// More streams
        #[arg(long)]
        accelerate: bool,
    },
}

impl ItemCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            ItemCommand::List { deleted: true, .. } => {
                context.output.list(&deleted_items(context).await?, &DELETED_COLUMNS);
                Ok(())
            }
            ItemCommand::List { policy, server, status, .. } => list(context, policy, server, &status).await,
            ItemCommand::Show { item } => {
                show(context, &read(context, &item).await?);
                Ok(())
            }
            ItemCommand::Delete { item, yes } => delete(context, &item, yes).await,
            ItemCommand::Undelete { item } => {
                let id = choose(&deleted_items(context).await?, &item, "deleted item")?;
                let path = format!("/quarantine/{id}/undelete");
                context.session.post(Surface::Own, &path, &Value::Null).await?;
                context.output.done("back");
                Ok(())
            }
            ItemCommand::Explain { item, to } => explain(context, &item, to.as_deref()).await,
            ItemCommand::Replicate { item, to, name, accelerate } => {
                let id = item_id(context, &item).await?;
                let (region, project) = split_destination(&to)?;
                let path =
                    format!("/providers/{}/checkpoint_items/{id}/replicate", model::policy::PROVIDER_ID);
                let body = json!({ "replication": {
                    "destination_region": region,
                    "destination_project_id": project,
                    "name": name,
                    "enable_acceleration": accelerate,
                } });
                let answer = context.session.post(Surface::Csbs, &path, &body).await?;
                let begun = &answer["replication"];
                let record = cell(begun, "replication_record_id");
                replication::began(context, begun, std::slice::from_ref(begun), vec![record]).await
            }
        }
    }
}

async fn deleted_items(context: &Context) -> Outcome<Vec<Value>> {
    context.session.list(Surface::Own, "/quarantine", "quarantined_items").await
}

async fn list(
    context: &Context,
    policy: Option<String>,
    server: Option<String>,
    status: &[String],
) -> Outcome<()> {
    let mut filters: Vec<String> = status.iter().map(|word| format!("status={word}")).collect();
    if let Some(policy) = policy {
        filters.push(format!("policy_id={}", policy_id(context, &policy).await?));
    }
    filters.extend(server.map(|id| format!("resource_id={id}")));
    let path = format!("/checkpoint_items?{}", filters.join("&"));
    let path = path.trim_end_matches('?');
    context.output.list(&context.session.list(Surface::Csbs, path, "checkpoint_items").await?, &COLUMNS);
    Ok(())
}

/// One item, named as people name it.
pub(super) async fn read(context: &Context, item: &str) -> Outcome<Value> {
    let id = item_id(context, item).await?;
    let mut answer = context.session.get(Surface::Csbs, &format!("/checkpoint_items/{id}")).await?;
    Ok(answer["checkpoint_item"].take())
}

async fn explain(context: &Context, item: &str, to: Option<&str>) -> Outcome<()> {
    let id = item_id(context, item).await?;
    let query = to.map(|region| format!("?destination_region={region}")).unwrap_or_default();
    let path = format!("/checkpoint_items/{id}/explain{query}");
    let answer = context.session.get(Surface::Own, &path).await?;
    let explanation = &answer["explanation"];
    let rows = explanation["destinations"].as_array().map(Vec::as_slice).unwrap_or_default();
    match context.output.format {
        Format::Json => print_json(explanation),
        Format::Ids => rows.iter().for_each(|row| print_line(cell(row, "reason_code"))),
        Format::Table if rows.is_empty() => context.output.done("there is no region that it could go to"),
        Format::Table => context.output.list(rows, &EXPLAIN_COLUMNS),
    }
    Ok(())
}

fn show(context: &Context, item: &Value) {
    context.output.one(item, &DETAIL_COLUMNS);
    if context.output.format == Format::Table {
        let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
        context.output.list(&rows(&item["extend_info"]["volume_backups"]), &VOLUME_COLUMNS);
        let records = rows(&item["replication_records"]);
        if !records.is_empty() {
            context.output.list(&records, &replication::COLUMNS);
        }
    }
}

async fn delete(context: &Context, item: &str, yes: bool) -> Outcome<()> {
    let found = read(context, item).await?;
    let (id, checkpoint_id) = (cell(&found, "id"), cell(&found, "checkpoint_id"));
    if !yes {
        return Err(CliError::usage(format!("deleting item {id} needs --yes")));
    }
    let provider = model::policy::PROVIDER_ID;
    let path = format!("/providers/{provider}/checkpoints/{checkpoint_id}?checkpoint_items={id}");
    context.session.send(Method::DELETE, Surface::Csbs, &path, None).await?;
    context.output.done("being deleted");
    Ok(())
}
