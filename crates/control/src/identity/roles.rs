//! Giving and taking roles.

use catalog::{AssignmentFilter, RoleAssignment};
use model::identity::Role;
use model::ids::{ProjectId, UserId};

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};

impl Control {
    /// Gives a role in a project, or one of the region.
    pub async fn assign_role(
        &self,
        caller: &Caller,
        user_id: UserId,
        project_id: Option<&ProjectId>,
        role: Role,
    ) -> Result<(), Error> {
        caller.may_in_region(Action::ChangeIdentity)?;
        check_place(project_id, role)?;
        self.catalog().assign_role(user_id, project_id, role).await?;
        Ok(())
    }

    /// Takes a role away.
    pub async fn unassign_role(
        &self,
        caller: &Caller,
        user_id: UserId,
        project_id: Option<&ProjectId>,
        role: Role,
    ) -> Result<(), Error> {
        caller.may_in_region(Action::ChangeIdentity)?;
        self.catalog().unassign_role(user_id, project_id, role).await?;
        Ok(())
    }

    /// Assignments: of the caller, or of anybody for those who may read all.
    pub async fn role_assignments(
        &self,
        caller: &Caller,
        filter: &AssignmentFilter,
    ) -> Result<Vec<RoleAssignment>, Error> {
        if filter.user_id != Some(caller.user().id) {
            caller.may_in_region(Action::ReadIdentity)?;
        }
        Ok(self.catalog().role_assignments(filter).await?)
    }

    /// Passes when a user has the role there.
    pub async fn require_assignment(&self, caller: &Caller, filter: &AssignmentFilter) -> Result<(), Error> {
        match self.role_assignments(caller, filter).await?.is_empty() {
            false => Ok(()),
            true => Err(Error::not_found(Reason::NotFound, "the user does not have the role there")),
        }
    }
}

fn check_place(project_id: Option<&ProjectId>, role: Role) -> Result<(), Error> {
    if project_id.is_none() == role.is_of_region() {
        return Ok(());
    }
    Err(Error::invalid("role", "operator and service are given in the region, every other role in a project"))
}
