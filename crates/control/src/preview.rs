//! Preview of retention: what the rules of a policy, or rules that are not saved yet, say of each of its
//! backups now or at a later moment. It asks the very function that expiry asks, and changes nothing.

use std::collections::BTreeMap;

use catalog::RetentionItem;
use model::checkpoint::CheckpointItem;
use model::ids::{CheckpointItemId, PolicyId, ResourceId};
use model::policy::Policy;
use model::retention::{self, Candidate, Retention, Verdict};
use model::time::Timestamp;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::Error;
use crate::page::{Page, PageOf};

/// What a preview is asked for.
#[derive(Clone, Debug)]
pub struct PreviewOrder {
    /// The policy.
    pub policy_id: PolicyId,
    /// Other rules than those of the policy.
    pub retention: Option<Retention>,
    /// Another moment than now.
    pub at: Option<Timestamp>,
    /// Which part of the answer; it has one order only.
    pub page: Page<()>,
}

/// What the rules say.
#[derive(Clone, Debug)]
pub struct RetentionPreview {
    /// The policy.
    pub policy_id: PolicyId,
    /// The moment.
    pub at: Timestamp,
    /// How many backups stay.
    pub kept_count: u64,
    /// How many go.
    pub expired_count: u64,
    /// Why nothing goes in truth, if expiry is frozen.
    pub frozen_reason: Option<String>,
    /// One page of them: server by server, oldest first.
    pub items: PageOf<JudgedItem>,
}

/// A backup and what the rules say of it.
#[derive(Clone, Debug)]
pub struct JudgedItem {
    /// The backup.
    pub item: CheckpointItem,
    /// What the rules say.
    pub verdict: Verdict,
}

impl Control {
    /// What retention would do with the backups of a policy.
    pub async fn preview_retention(
        &self,
        caller: &Caller,
        order: PreviewOrder,
    ) -> Result<RetentionPreview, Error> {
        let project = caller.may(Action::Read)?;
        let policy = self.policy_of(project, order.policy_id).await?;
        let at = order.at.unwrap_or(self.now());
        let retention = order.retention.unwrap_or_else(|| retention_of(&policy));
        let judged = self.judge_items(&policy, &retention, at).await?;
        let expired = judged.iter().filter(|one| one.verdict.is_expired()).count();
        let region = self.catalog().region().await?;
        Ok(RetentionPreview {
            policy_id: policy.id,
            at,
            kept_count: (judged.len() - expired) as u64,
            expired_count: expired as u64,
            frozen_reason: region.and_then(|region| region.frozen_reason),
            items: cut(judged, &order.page)?,
        })
    }

    /// What some rules say of every backup of a policy at a moment: server by server, oldest first.
    pub(crate) async fn judge_items(
        &self,
        policy: &Policy,
        retention: &Retention,
        at: Timestamp,
    ) -> Result<Vec<JudgedItem>, Error> {
        let mut by_server: BTreeMap<ResourceId, Vec<Candidate>> = BTreeMap::new();
        let mut items: BTreeMap<CheckpointItemId, CheckpointItem> = BTreeMap::new();
        for RetentionItem { item, is_in_use } in self.catalog().items_for_retention(policy.id).await? {
            let of_server = by_server.entry(item.resource_id.clone()).or_default();
            of_server.push(Candidate::of(&item, is_in_use));
            items.insert(item.id, item);
        }
        let verdicts = by_server.values().flat_map(|items| retention::judge(retention, items, at));
        let judged =
            verdicts.filter_map(|verdict| items.remove(&verdict.id).map(|item| JudgedItem { item, verdict }));
        Ok(judged.collect())
    }
}

/// The rules of a policy; without a backup operation it keeps everything.
fn retention_of(policy: &Policy) -> Retention {
    let operation = policy.backup_operation();
    operation.map_or_else(Retention::default, |operation| operation.definition.retention().clone())
}

/// The part of the whole that a page asks for.
fn cut(mut judged: Vec<JudgedItem>, page: &Page<()>) -> Result<PageOf<JudgedItem>, Error> {
    if let Some(marker) = &page.marker {
        let last = judged.iter().position(|one| one.item.id.to_string() == *marker);
        let last = last.ok_or_else(|| Error::invalid("marker", "names nothing in this list"))?;
        judged.drain(..=last);
    }
    let offset = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let mut rows: Vec<JudgedItem> = judged.into_iter().skip(offset).collect();
    let has_more = rows.len() > page.limit as usize;
    rows.truncate(page.limit as usize);
    Ok(PageOf { rows, has_more })
}
