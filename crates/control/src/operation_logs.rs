//! Operation logs: what was done in the caller's project, read from the things themselves.

use model::ids::OperationLogId;
use model::operation_log::OperationLog;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::{OperationLogFilter, OperationLogSort, Page, PageOf, found_or, page_of};

impl Control {
    /// The operation logs of the caller's project.
    pub async fn operation_logs(
        &self,
        caller: &Caller,
        filter: &OperationLogFilter,
        page: &Page<OperationLogSort>,
    ) -> Result<PageOf<OperationLog>, Error> {
        let project = caller.may(Action::Read)?;
        page_of(page, async |page| self.catalog().operation_logs(project, filter, &page).await).await
    }

    /// One operation log.
    pub async fn operation_log(&self, caller: &Caller, id: OperationLogId) -> Result<OperationLog, Error> {
        let project = caller.may(Action::Read)?;
        let log = self.catalog().operation_log(project, id).await;
        found_or(log, Reason::OperationLogNotFound, &format!("operation log ({id}) is not found"))
    }

    /// Takes the log of an operation that has ended off the list.
    pub async fn delete_operation_log(&self, caller: &Caller, id: OperationLogId) -> Result<(), Error> {
        let project = caller.may(Action::Order)?;
        let log = self.operation_log(caller, id).await?;
        if !log.status.is_final() {
            let message = format!("the operation is {}; its log can go when it has ended", log.status.word());
            return Err(Error::refused(Reason::ItemBusy, message));
        }
        Ok(self.catalog().hide_operation_log(project, id, self.now()).await?)
    }
}
