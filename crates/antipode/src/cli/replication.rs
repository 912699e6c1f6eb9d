//! `antipode replication …`: one row is one record, one item on its way to one region.

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::Value;

use super::Context;
use super::checkpoint::judge;
use super::error::{Exit, Outcome};
use super::names::{policy_id, record_id};
use super::output::{Column, cell};
use super::session::Surface;
use super::wait::Progress;

pub(super) const COLUMNS: [Column; 7] = [
    ("ID", "id"),
    ("ITEM", "source_checkpoint_item_id"),
    ("TO REGION", "destination_region"),
    ("TO PROJECT", "destination_project_id"),
    ("STATUS", "status"),
    ("PERCENT", "extra_info.progress"),
    ("WHY", "extra_info.fail_reason"),
];
const BEGUN_COLUMNS: [Column; 2] = [("ITEM", "checkpoint_item_id"), ("RECORD", "replication_record_id")];
const DETAIL_COLUMNS: [Column; 14] = [
    ("ID", "id"),
    ("ITEM", "checkpoint_item_id"),
    ("TO REGION", "destination_region"),
    ("TO PROJECT", "destination_project_id"),
    ("STATE", "state"),
    ("PLANNED", "planned_bytes"),
    ("SENT", "sent_bytes"),
    ("SENT AGAIN", "resent_bytes"),
    ("WAS THERE", "skipped_bytes"),
    ("ATTEMPTS", "attempts"),
    ("PAUSED (UTC)", "paused_at"),
    ("WHY", "reason"),
    ("RECEIPT", "has_receipt"),
    ("CREATED (UTC)", "created_at"),
];

/// What can be done with replication records.
#[derive(Debug, Subcommand)]
pub enum ReplicationCommand {
    /// Show the records of the project, newest first
    List {
        /// Only those of this policy
        #[arg(long)]
        policy: Option<String>,
        /// Only those in this status: waiting_replicate, replicating, success, fail, skip
        #[arg(long)]
        status: Option<String>,
        /// Only those to this region
        #[arg(long, value_name = "REGION")]
        to: Option<String>,
    },
    /// Show one record, in bytes
    Show {
        /// The record, by id or beginning of the id
        record: String,
    },
    /// Stop records for a while: they keep their place and what has arrived
    Pause(Chosen),
    /// Let paused records go on
    Resume(Chosen),
    /// Take open records back, for good
    Cancel(Chosen),
    /// Order again what failed, was skipped, cancelled or lost
    Retry {
        /// Records, by id or beginning of the id
        #[arg(required = true)]
        records: Vec<String>,
    },
    /// Watch records until they have ended: those named, or all that are open
    Watch {
        /// Records, by id or beginning of the id
        records: Vec<String>,
    },
}

/// The records that are meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct Chosen {
    /// Records, by id or beginning of the id
    records: Vec<String>,
    /// All open records of this policy
    #[arg(long)]
    policy: Option<String>,
}

impl Chosen {
    async fn ids(&self, context: &Context) -> Outcome<Vec<String>> {
        match &self.policy {
            None => ids_of(context, &self.records).await,
            Some(policy) => {
                let filter = format!("&policy_id={}", policy_id(context, policy).await?);
                open_records(context, &filter).await
            }
        }
    }
}

impl ReplicationCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            ReplicationCommand::List { policy, status, to } => list(context, policy, status, to).await,
            ReplicationCommand::Show { record } => {
                let id = record_id(context, &record).await?;
                context.output.one(&read(context, &id).await?, &DETAIL_COLUMNS);
                Ok(())
            }
            ReplicationCommand::Pause(chosen) => say(context, "pause", &chosen.ids(context).await?).await,
            ReplicationCommand::Resume(chosen) => say(context, "resume", &chosen.ids(context).await?).await,
            ReplicationCommand::Cancel(chosen) => say(context, "cancel", &chosen.ids(context).await?).await,
            ReplicationCommand::Retry { records } => {
                say(context, "retry", &ids_of(context, &records).await?).await
            }
            ReplicationCommand::Watch { records } => {
                let mut ids = ids_of(context, &records).await?;
                if ids.is_empty() {
                    ids = open_records(context, "").await?;
                }
                watch(context, &ids).await
            }
        }
    }
}

async fn list(
    context: &Context,
    policy: Option<String>,
    status: Option<String>,
    to: Option<String>,
) -> Outcome<()> {
    let mut filters: Vec<String> = Vec::new();
    if let Some(policy) = policy {
        filters.push(format!("policy_id={}", policy_id(context, &policy).await?));
    }
    filters.extend(status.map(|word| format!("status={word}")));
    filters.extend(to.map(|region| format!("destination_region={region}")));
    let path = format!("/replication_records?{}", filters.join("&"));
    let rows = context.session.list(Surface::Csbs, path.trim_end_matches('?'), "replication_records").await?;
    context.output.list(&rows, &COLUMNS);
    Ok(())
}

async fn ids_of(context: &Context, records: &[String]) -> Outcome<Vec<String>> {
    let mut ids = Vec::with_capacity(records.len());
    for record in records {
        ids.push(record_id(context, record).await?);
    }
    Ok(ids)
}

/// Says one verb to each record, and shows what came of it. One that ended meanwhile does not keep the others
/// from hearing it.
async fn say(context: &Context, verb: &str, ids: &[String]) -> Outcome<()> {
    let (mut told, mut refusals) = (Vec::new(), Vec::new());
    for id in ids {
        let path = format!("/replication_records/{id}/{verb}");
        match context.session.send(Method::POST, Surface::Own, &path, None).await {
            Ok(mut answer) => told.push(answer.body["replication_record"].take()),
            Err(error) if ids.len() > 1 && matches!(error.exit, Exit::Conflict | Exit::NotFound) => {
                refusals.push(error.message);
            }
            Err(error) => return Err(error),
        }
    }
    context.output.list(&told, &DETAIL_COLUMNS);
    judge(ids.len(), refusals.len(), || refusals)
}

async fn open_records(context: &Context, filter: &str) -> Outcome<Vec<String>> {
    let path = format!("/replication_records?status=waiting_replicate&status=replicating{filter}");
    let rows = context.session.list(Surface::Csbs, &path, "replication_records").await?;
    Ok(rows.iter().map(|row| cell(row, "id")).collect())
}

async fn read(context: &Context, id: &str) -> Outcome<Value> {
    let mut answer = context.session.get(Surface::Own, &format!("/replication_records/{id}")).await?;
    Ok(answer["replication_record"].take())
}

/// Shows what a replication order began and, if wanted, waits for it.
pub(super) async fn began(
    context: &Context,
    begun: &Value,
    rows: &[Value],
    records: Vec<String>,
) -> Outcome<()> {
    use super::output::Format;
    match context.output.format {
        Format::Json if !context.patience.is_wanted => super::output::print_json(begun),
        Format::Ids => records.iter().for_each(super::output::print_line),
        Format::Table if rows.is_empty() => context.output.done("nothing to replicate"),
        Format::Table if !context.patience.is_wanted => context.output.list(rows, &BEGUN_COLUMNS),
        Format::Json | Format::Table => {}
    }
    if context.patience.is_wanted { watch(context, &records).await } else { Ok(()) }
}

/// Waits until every record has ended, then shows them.
async fn watch(context: &Context, ids: &[String]) -> Outcome<()> {
    let mut records: Vec<Value> = Vec::new();
    context
        .patience
        .follow("replication", async || {
            records.clear();
            for id in ids {
                records.push(read(context, id).await?);
            }
            Ok(progress(&records))
        })
        .await?;
    if context.output.format != super::output::Format::Ids {
        context.output.list(&records, &DETAIL_COLUMNS);
    }
    let failed: Vec<&Value> = records.iter().filter(|record| is_failed(record)).collect();
    judge(records.len(), failed.len(), || failed.iter().map(|record| cell(record, "reason")).collect())
}

fn is_open(record: &Value) -> bool {
    matches!(record["state"].as_str(), Some("waiting" | "copying" | "verifying" | "publishing"))
}

fn is_failed(record: &Value) -> bool {
    matches!(record["state"].as_str(), Some("failed" | "cancelled" | "lost"))
}

fn progress(records: &[Value]) -> Progress {
    let bytes = |key: &str| records.iter().filter_map(|record| record[key].as_u64()).sum();
    let open: Vec<&Value> = records.iter().filter(|record| is_open(record)).collect();
    let why = open.iter().map(|record| cell(record, "reason")).find(|reason| !reason.is_empty());
    let counted = format!("{} of {} items", records.len() - open.len(), records.len());
    Progress {
        message: why.map_or(counted.clone(), |why| format!("{counted}; waiting: {why}")),
        done_bytes: bytes("sent_bytes"),
        total_bytes: bytes("planned_bytes"),
        is_over: open.is_empty(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn watching_ends_when_every_record_has_ended() {
        let record =
            |state: &str, sent: u64| json!({ "state": state, "sent_bytes": sent, "planned_bytes": 10 });
        let open = progress(&[record("done", 10), record("copying", 3)]);
        assert_eq!((open.is_over, open.done_bytes, open.total_bytes), (false, 13, 20));
        assert!(progress(&[record("done", 10), record("skipped", 0)]).is_over);
        assert!(progress(&[]).is_over);
    }

    #[test]
    fn a_waiting_record_says_why() {
        let record = json!({ "state": "waiting", "reason": "region b does not answer" });
        assert!(progress(&[record]).message.contains("region b does not answer"));
    }
}
