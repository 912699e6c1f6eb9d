//! `antipode checkpoint …`, and waiting for backups and deletions.

use std::collections::BTreeMap;

use clap::Subcommand;
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use super::error::{CliError, Exit, Outcome};
use super::item;
use super::output::{Column, cell};
use super::session::Surface;
use super::wait::Progress;

const COLUMNS: [Column; 4] =
    [("ID", "id"), ("CREATED (UTC)", "created_at"), ("STATUS", "status"), ("ITEMS", "item_count")];
const BEGUN_COLUMNS: [Column; 4] = [
    ("ID", "id"),
    ("STATUS", "status"),
    ("CREATED (UTC)", "created_at"),
    ("SERVERS", "protection_plan.resources"),
];

/// What can be done with checkpoints.
#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// Back up one server now
    Create {
        /// The server's id
        server: String,
        /// A name for the backup
        #[arg(long)]
        name: Option<String>,
        /// Read everything, whatever is known
        #[arg(long)]
        full: bool,
    },
    /// Show the checkpoints of the project
    List,
    /// Show the items of one checkpoint
    Show {
        /// The checkpoint's id
        id: String,
    },
    /// Delete a checkpoint, or some of its items
    Delete {
        /// The checkpoint's id
        id: String,
        /// Only this item (repeatable)
        #[arg(long = "item", value_name = "ID")]
        items: Vec<String>,
        /// Yes, I mean it
        #[arg(long)]
        yes: bool,
    },
}

impl CheckpointCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            CheckpointCommand::Create { server, name, full } => {
                let path = format!("/providers/{}/resources/{server}/action", model::policy::PROVIDER_ID);
                let body = json!({ "protect": { "backup_name": name, "incremental": !full } });
                let answer = context.session.post(Surface::Csbs, &path, &body).await?;
                began(context, &answer["checkpoint"]).await
            }
            CheckpointCommand::List => {
                let items = items_of(context, "").await?;
                context.output.list(&checkpoints_of(&items), &COLUMNS);
                Ok(())
            }
            CheckpointCommand::Show { id } => {
                let items = items_of(context, &format!("?checkpoint_id={id}")).await?;
                if items.is_empty() {
                    return Err(CliError::new(Exit::NotFound, format!("there is no checkpoint {id}")));
                }
                context.output.list(&items, &item::COLUMNS);
                Ok(())
            }
            CheckpointCommand::Delete { id, items, yes } => delete(context, &id, &items, yes).await,
        }
    }
}

async fn items_of(context: &Context, query: &str) -> Outcome<Vec<Value>> {
    context.session.list(Surface::Csbs, &format!("/checkpoint_items{query}"), "checkpoint_items").await
}

/// The API lists items; a checkpoint is those that share its id. Newest first, like the items.
fn checkpoints_of(items: &[Value]) -> Vec<Value> {
    let mut order: Vec<String> = Vec::new();
    let mut groups: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for item in items {
        let id = cell(item, "checkpoint_id");
        let group = groups.entry(id.clone()).or_default();
        if group.is_empty() {
            order.push(id);
        }
        group.push(item);
    }
    let row = |id: String| {
        let group = &groups[&id];
        let created_at = group.iter().map(|item| cell(item, "created_at")).min();
        json!({ "id": id, "created_at": created_at, "status": status_of(group), "item_count": group.len() })
    };
    order.into_iter().map(row).collect()
}

/// Any item at work: that work. All of one word: that word. Else mixed.
fn status_of(items: &[&Value]) -> String {
    let words: Vec<String> = items.iter().map(|item| cell(item, "status")).collect();
    let at_work = words.iter().find(|word| word.ends_with("ing"));
    match (at_work, words.first()) {
        (Some(word), _) => word.clone(),
        (None, Some(first)) if words.iter().all(|word| word == first) => first.clone(),
        _ => "mixed".to_owned(),
    }
}

/// Shows a run that was begun and, if wanted, waits for its items.
pub(super) async fn began(context: &Context, checkpoint: &Value) -> Outcome<()> {
    let id = cell(checkpoint, "id");
    if !context.patience.is_wanted {
        context.output.one(checkpoint, &BEGUN_COLUMNS);
        return Ok(());
    }
    let query = format!("?checkpoint_id={id}");
    context
        .patience
        .follow("backup", async || backup_progress(context, &items_of(context, &query).await?).await)
        .await?;
    let items = items_of(context, &query).await?;
    context.output.list(&items, &item::COLUMNS);
    let failed: Vec<&Value> = items.iter().filter(|item| item["status"] != "available").collect();
    judge(items.len(), failed.len(), || {
        failed.iter().map(|item| cell(item, "extend_info.fail_reason")).collect()
    })
}

/// Success, part of it, or none of it.
pub(super) fn judge(all: usize, failed: usize, reasons: impl FnOnce() -> Vec<String>) -> Outcome<()> {
    if failed == 0 {
        return Ok(());
    }
    let exit = if failed < all { Exit::PartlyDone } else { Exit::Failed };
    Err(CliError::new(exit, format!("{failed} of {all} did not succeed: {}", reasons().join("; "))))
}

async fn backup_progress(context: &Context, items: &[Value]) -> Outcome<Progress> {
    let mut progress = Progress { is_over: true, ..Progress::default() };
    let mut at_work = 0;
    for item in items {
        let path = format!("/checkpoint_items/{}", cell(item, "id"));
        let answer = context.session.get(Surface::Own, &path).await?;
        let item = &answer["checkpoint_item"];
        let is_at_work = matches!(item["status"].as_str(), Some("protecting" | "waiting_protect"));
        let total_bytes = item["logical_bytes"].as_u64().unwrap_or(0);
        let done_bytes = item["progress_bytes"].as_u64().unwrap_or(0);
        progress.total_bytes += total_bytes;
        progress.done_bytes += if is_at_work { done_bytes } else { total_bytes };
        at_work += usize::from(is_at_work);
    }
    progress.is_over = at_work == 0;
    progress.message = format!("{} of {} servers backed up", items.len() - at_work, items.len());
    Ok(progress)
}

async fn delete(context: &Context, id: &str, items: &[String], yes: bool) -> Outcome<()> {
    if !yes {
        return Err(CliError::usage(format!("deleting backups of checkpoint {id} needs --yes")));
    }
    let query =
        if items.is_empty() { String::new() } else { format!("?checkpoint_items={}", items.join(",")) };
    let path = format!("/providers/{}/checkpoints/{id}{query}", model::policy::PROVIDER_ID);
    context.session.send(Method::DELETE, Surface::Csbs, &path, None).await?;
    if context.patience.is_wanted {
        let ask = async || deletion_progress(context, id, items).await;
        context.patience.follow("deletion", ask).await?;
    }
    context.output.done(if context.patience.is_wanted { "deleted" } else { "being deleted" });
    Ok(())
}

async fn deletion_progress(context: &Context, id: &str, items: &[String]) -> Outcome<Progress> {
    let left = items_of(context, &format!("?checkpoint_id={id}")).await?;
    let is_meant = |item: &&Value| items.is_empty() || items.iter().any(|id| item["id"] == id.as_str());
    let left: Vec<&Value> = left.iter().filter(is_meant).collect();
    if let Some(failed) = left.iter().find(|item| item["status"] == "error") {
        let reason = cell(failed, "extend_info.fail_reason");
        return Err(CliError::failed(format!("item {} was not deleted: {reason}", cell(failed, "id"))));
    }
    Ok(Progress { message: format!("{} left", left.len()), is_over: left.is_empty(), ..Progress::default() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkpoints_are_gathered_from_their_items() {
        let item = |checkpoint: &str, status: &str| json!({ "checkpoint_id": checkpoint, "status": status });
        let items =
            [item("b", "available"), item("a", "available"), item("b", "protecting"), item("a", "error")];
        let rows = checkpoints_of(&items);
        let shown: Vec<_> = rows.iter().map(|row| (cell(row, "id"), cell(row, "status"))).collect();
        assert_eq!(shown, [("b".into(), "protecting".into()), ("a".into(), "mixed".into())]);
    }

    #[test]
    fn partly_done_has_its_own_exit_code() {
        assert!(judge(2, 0, Vec::new).is_ok());
        assert_eq!(judge(2, 1, Vec::new).unwrap_err().exit, Exit::PartlyDone);
        assert_eq!(judge(2, 2, Vec::new).unwrap_err().exit, Exit::Failed);
    }
}
