//! Preview of retention: what the rules of a policy, or rules that are not saved yet, say of each of its
//! backups now or at a later moment. It asks the very function that expiry asks, and changes nothing.

use std::collections::HashMap;

use model::checkpoint::CheckpointItem;
use model::ids::{CheckpointItemId, PolicyId};
use model::policy::Policy;
use model::retention::{self, Retention, Verdict};
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
        let verdicts = self.judge_items(&policy, &retention, at).await?;
        let expired_count = verdicts.iter().filter(|verdict| verdict.is_expired()).count() as u64;
        let region = self.catalog().region().await?;
        Ok(RetentionPreview {
            policy_id: policy.id,
            at,
            kept_count: verdicts.len() as u64 - expired_count,
            expired_count,
            frozen_reason: region.and_then(|region| region.frozen_reason),
            items: self.with_items(cut(verdicts, &order.page)?).await?,
        })
    }

    /// What some rules say of every backup of a policy at a moment: server by server, oldest first.
    pub(crate) async fn judge_items(
        &self,
        policy: &Policy,
        retention: &Retention,
        at: Timestamp,
    ) -> Result<Vec<Verdict>, Error> {
        let by_server = self.catalog().retention_candidates(policy.id).await?;
        Ok(by_server.values().flat_map(|items| retention::judge(retention, items, at)).collect())
    }

    /// A page of verdicts with the backups they are about. One that went meanwhile is left out.
    async fn with_items(&self, page: PageOf<Verdict>) -> Result<PageOf<JudgedItem>, Error> {
        let ids: Vec<CheckpointItemId> = page.rows.iter().map(|verdict| verdict.id).collect();
        let items = self.catalog().items_of(&ids).await?;
        let mut items: HashMap<CheckpointItemId, CheckpointItem> =
            items.into_iter().map(|item| (item.id, item)).collect();
        let with_item = |verdict: Verdict| Some(JudgedItem { item: items.remove(&verdict.id)?, verdict });
        Ok(PageOf { rows: page.rows.into_iter().filter_map(with_item).collect(), has_more: page.has_more })
    }
}

/// The rules of a policy; without a backup operation it keeps everything.
fn retention_of(policy: &Policy) -> Retention {
    let operation = policy.backup_operation();
    operation.map_or_else(Retention::default, |operation| operation.definition.retention().clone())
}

/// The part of the whole that a page asks for.
fn cut(mut verdicts: Vec<Verdict>, page: &Page<()>) -> Result<PageOf<Verdict>, Error> {
    if let Some(marker) = &page.marker {
        let last = verdicts.iter().position(|verdict| verdict.id.to_string() == *marker);
        let last = last.ok_or_else(|| Error::invalid("marker", "names nothing in this list"))?;
        verdicts.drain(..=last);
    }
    let offset = usize::try_from(page.offset).unwrap_or(usize::MAX);
    let mut rows: Vec<Verdict> = verdicts.into_iter().skip(offset).collect();
    let has_more = rows.len() > page.limit as usize;
    rows.truncate(page.limit as usize);
    Ok(PageOf { rows, has_more })
}
