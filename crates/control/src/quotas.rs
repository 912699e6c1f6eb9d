//! Quotas: what a project may hold of backups made here. The operator sets them; orders are refused when one is
//! full (`catalog/src/quotas.rs`), and nothing is dropped to make room.

use model::ids::ProjectId;
use model::quota::{Quota, QuotaChange, Usage};

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::found_or;

/// The most that a quota can say: every number on the wire fits a signed 64-bit integer.
const MAX: u64 = i64::MAX.unsigned_abs() >> 30;

impl Control {
    /// What the caller's project may hold, and what it does.
    pub async fn quota(&self, caller: &Caller) -> Result<(Quota, Usage), Error> {
        let project = caller.may(Action::Read)?;
        Ok(self.catalog().quota(project).await?)
    }

    /// The same of any project, for the operator of the region and for the project's own people.
    pub async fn quota_of(&self, caller: &Caller, project: &ProjectId) -> Result<(Quota, Usage), Error> {
        if caller.project().is_some_and(|own| own.id == *project) {
            return self.quota(caller).await;
        }
        caller.must_operate()?;
        let known = self.catalog().project(project).await;
        found_or(known, Reason::NotFound, &format!("there is no project {project}"))?;
        Ok(self.catalog().quota(project).await?)
    }

    /// Sets what a project may hold. It may be less than it holds now: then nothing new begins.
    pub async fn set_quota(
        &self,
        caller: &Caller,
        project: &ProjectId,
        change: QuotaChange,
    ) -> Result<(Quota, Usage), Error> {
        caller.must_operate()?;
        check_size("backups", change.backups_max)?;
        check_size("backup_capacity", change.capacity_gib_max)?;
        let changed = self.catalog().change_quota(project, &change, self.now()).await;
        found_or(changed, Reason::NotFound, &format!("there is no project {project}"))
    }
}

fn check_size(field: &str, max: Option<Option<u64>>) -> Result<(), Error> {
    match max.flatten() {
        Some(max) if max > MAX => Err(Error::invalid(field, format!("must be at most {MAX}, or -1"))),
        _ => Ok(()),
    }
}
