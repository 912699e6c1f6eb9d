//! Who may do what. A [`Caller`] is made by [`crate::Control::authenticate`] only, so holding one
//! means that a token was verified; its project is the only project it can name.

use model::identity::{Project, Role, TokenScope, User};
use model::ids::ProjectId;

use crate::error::{Error, Kind, Reason};
use crate::lost_keys::KeyTroubles;

/// What a caller wants to do, as the access table knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Look at things of the project.
    Read,
    /// Order a backup or a deletion.
    Order,
    /// Order a restore.
    Restore,
    /// Order a replication.
    Replicate,
    /// Create, change or delete policies.
    ChangePolicies,
    /// Make or take back acceptance grants.
    ChangeGrants,
}

impl Action {
    /// The least role that allows it inside a project.
    fn least_role(self) -> Role {
        match self {
            Action::Read => Role::Reader,
            Action::Order | Action::Restore | Action::Replicate | Action::ChangePolicies => Role::Member,
            Action::ChangeGrants => Role::Admin,
        }
    }
}

/// Somebody whose token was verified.
#[derive(Clone, Debug)]
pub struct Caller {
    scope: TokenScope,
    /// What the region cannot do for anybody now.
    troubles: KeyTroubles,
}

impl Caller {
    pub(crate) fn new(scope: TokenScope, troubles: KeyTroubles) -> Caller {
        Caller { scope, troubles }
    }

    /// The user.
    pub fn user(&self) -> &User {
        &self.scope.user
    }

    /// The token's project, if it has one.
    pub fn project(&self) -> Option<&Project> {
        self.scope.project.as_ref()
    }

    /// What the token says.
    pub fn scope(&self) -> &TokenScope {
        &self.scope
    }

    /// Refuses a path that names another project than the token's.
    pub fn require_project(&self, named: &ProjectId) -> Result<(), Error> {
        match self.project() {
            Some(project) if project.id == *named => Ok(()),
            _ => Err(Error::new(
                Kind::Forbidden,
                Reason::WrongProject,
                "the token is not scoped to this project",
            )),
        }
    }

    /// The caller's project, if a role there allows the action.
    pub(crate) fn may(&self, action: Action) -> Result<&ProjectId, Error> {
        let project =
            self.project().ok_or_else(|| Error::forbidden("the token is not scoped to a project"))?;
        let is_allowed =
            self.scope.roles.iter().any(|role| *role != Role::Operator && *role >= action.least_role());
        if is_allowed {
            self.troubles.allow(action)?;
            return Ok(&project.id);
        }
        Err(Error::forbidden(format!("this needs the role {} in the project", action.least_role().word())))
    }

    /// Passes whoever may look at things of the project, for answers that need no catalog.
    pub fn may_look(&self) -> Result<(), Error> {
        self.may(Action::Read).map(drop)
    }

    /// Passes operators of the region only, and only while the region has the keys that changes need.
    pub(crate) fn must_operate_to_change(&self) -> Result<(), Error> {
        self.must_operate()?;
        self.troubles.allow(Action::Order)
    }

    /// Passes operators of the region only.
    pub(crate) fn must_operate(&self) -> Result<(), Error> {
        if self.scope.roles.contains(&Role::Operator) {
            return Ok(());
        }
        Err(Error::forbidden("this needs the role operator"))
    }
}

#[cfg(test)]
mod tests {
    use model::ids::UserId;
    use model::time::Timestamp;

    use super::*;

    fn caller(roles: &[Role], project: Option<&str>) -> Caller {
        let moment = Timestamp::from_micros(0);
        let user =
            User { id: UserId::from_entropy([1; 16]), name: "u".into(), enabled: true, created_at: moment };
        let project = project.map(|id| Project {
            id: id.parse().unwrap(),
            name: id.into(),
            enabled: true,
            created_at: moment,
        });
        let scope = TokenScope {
            user,
            project,
            roles: roles.to_vec(),
            issued_at: moment,
            expires_at: moment.plus_seconds(3600),
        };
        Caller::new(scope, KeyTroubles::default())
    }

    #[test]
    fn the_access_table_is_role_by_action() {
        use Action::*;
        let all = [Read, Order, Restore, Replicate, ChangePolicies, ChangeGrants];
        let allowed = |role| all.map(|action| caller(&[role], Some("p")).may(action).is_ok());
        assert_eq!(allowed(Role::Reader), [true, false, false, false, false, false]);
        assert_eq!(allowed(Role::Member), [true, true, true, true, true, false]);
        assert_eq!(allowed(Role::Admin), [true; 6]);
        assert_eq!(allowed(Role::Operator), [false; 6]);
    }

    #[test]
    fn operating_the_region_needs_the_operator_role_and_nothing_else_does() {
        assert!(caller(&[Role::Admin], Some("p")).must_operate().is_err());
        assert!(caller(&[Role::Operator], None).must_operate().is_ok());
        assert!(caller(&[Role::Admin], None).may(Action::Read).is_err());
    }

    #[test]
    fn a_path_may_name_the_tokens_project_only() {
        let caller = caller(&[Role::Admin], Some("p"));
        assert!(caller.require_project(&"p".parse().unwrap()).is_ok());
        assert!(caller.require_project(&"q".parse().unwrap()).is_err());
    }
}
