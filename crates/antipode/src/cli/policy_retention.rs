//! `antipode policy retention …` and `antipode policy adopt`

use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::{Value, json};

use super::Context;
use super::error::Outcome;
use super::names::policy_id;
use super::output::{Column, at};
use super::policy_fields::Keep;
use super::session::Surface;

const COLUMNS: [Column; 7] = [
    ("SERVER", "resource_name"),
    ("ID", "id"),
    ("NAME", "name"),
    ("DATA OF (UTC)", "protected_at"),
    ("OUTCOME", "outcome"),
    ("KEPT BY", "kept_by"),
    ("EXPIRES (UTC)", "expires_at"),
];
const ADOPTION_COLUMNS: [Column; 4] = [
    ("POLICY", "policy_id"),
    ("ADOPTED FROM", "old_policy_id"),
    ("BACKUPS", "item_count"),
    ("REPLICATION RECORDS", "record_count"),
];

/// What can be done with the retention of a policy.
#[derive(Debug, Subcommand)]
pub enum RetentionCommand {
    /// Show which backups the rules keep, by which rule, and when the others go; changes nothing
    Preview(PreviewRetention),
}

/// What to look at.
#[derive(Debug, Args)]
pub struct PreviewRetention {
    /// The policy, by id, beginning of the id, or name
    policy: String,
    /// At this moment instead of now
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    #[command(flatten)]
    keep: Keep,
}

impl RetentionCommand {
    pub(super) async fn run(self, context: &Context) -> Outcome<()> {
        match self {
            RetentionCommand::Preview(preview) => preview.run(context).await,
        }
    }
}

impl PreviewRetention {
    async fn run(self, context: &Context) -> Outcome<()> {
        let id = policy_id(context, &self.policy).await?;
        let mut preview = json!({ "at": self.at });
        if self.keep.is_given() {
            preview["operation_definition"] = self.keep.definition(&definition_of(context, &id).await?);
        }
        let path = format!("/policies/{id}/retention_preview");
        let body = json!({ "retention_preview": preview });
        let rows = context.session.list_by(Method::POST, Surface::Own, &path, Some(&body), "items").await?;
        context.output.list(&rows, &COLUMNS);
        Ok(())
    }
}

/// The rules that the policy has now, for those that are not named.
async fn definition_of(context: &Context, id: &str) -> Outcome<Value> {
    let answer = context.session.get(Surface::Csbs, &format!("/policies/{id}")).await?;
    let operations = at(&answer, "policy.scheduled_operations").as_array().cloned().unwrap_or_default();
    let mut backups = operations.into_iter().filter(|operation| operation["operation_type"] == "backup");
    Ok(backups.next().map_or(Value::Null, |mut operation| operation["operation_definition"].take()))
}

/// Gives a policy the backups of a deleted one.
pub(super) async fn adopt(context: &Context, policy: &str, old: &str) -> Outcome<()> {
    let id = policy_id(context, policy).await?;
    let path = format!("/policies/{id}/adopt");
    let answer = context.session.post(Surface::Own, &path, &json!({ "old_policy_id": old })).await?;
    context.output.one(&answer["adoption"], &ADOPTION_COLUMNS);
    Ok(())
}
