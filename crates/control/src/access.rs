//! Who may do what: one table. A [`Caller`] is made by [`crate::Control`] only, so holding one means that a
//! token or a signature was verified; its project is the only project it can name.
//!
//! Other regions do not stand in the table: a peer is known by its TLS key on a listener of its own, and no
//! credential it has opens anything here.

use model::identity::{Project, Proof, Role, TokenScope, User};
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
    /// Look at the region: its state, peers, vaults, and the servers of all projects.
    Watch,
    /// Run the region, as far as nothing has to be sealed or signed for it.
    Operate,
    /// Change the region in ways that have to be sealed or signed: servers and peers.
    ChangeRegion,
    /// Look at all projects, users and roles.
    ReadIdentity,
    /// Change projects, users and roles.
    ChangeIdentity,
}

/// Where an action happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Project,
    Region,
}

/// One line of the table: the action, where it happens, and for each role whether it allows it.
type Line = (Action, Place, [bool; Role::ALL.len()]);

/// Who may do what. Nothing else in the program decides it. Besides, whoever is logged in may look at
/// themselves, at their projects and at the catalogue, and end their own tokens.
const TABLE: [Line; 11] = {
    use Action::*;
    use Place::*;
    const Y: bool = true;
    const N: bool = false;
    [
        //                        reader member admin service operator
        (Read, Project, [Y, Y, Y, Y, N]),
        (Order, Project, [N, Y, Y, N, N]),
        (Restore, Project, [N, Y, Y, N, N]),
        (Replicate, Project, [N, Y, Y, N, N]),
        (ChangePolicies, Project, [N, Y, Y, N, N]),
        (ChangeGrants, Project, [N, N, Y, N, N]),
        (Watch, Region, [N, N, N, Y, Y]),
        (Operate, Region, [N, N, N, N, Y]),
        (ChangeRegion, Region, [N, N, N, N, Y]),
        (ReadIdentity, Region, [N, N, N, N, Y]),
        (ChangeIdentity, Region, [N, N, N, N, Y]),
    ]
};

impl Action {
    /// Every action, in the order of the table.
    pub fn all() -> impl Iterator<Item = Action> {
        TABLE.iter().map(|(action, ..)| *action)
    }

    /// Whether a role allows it.
    pub fn is_allowed_to(self, role: Role) -> bool {
        let column = Role::ALL.iter().position(|known| *known == role);
        column.is_some_and(|column| self.line().2[column])
    }

    fn line(self) -> &'static Line {
        TABLE.iter().find(|(action, ..)| *action == self).expect("a test finds every action in the table")
    }

    /// The weakest role that allows it.
    fn least_role(self) -> Role {
        let role = Role::ALL.into_iter().find(|role| self.is_allowed_to(*role));
        role.expect("a test finds a role for every action in the table")
    }
}

/// Somebody whose token or signature was verified.
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
        self.require(action, Place::Project)?;
        Ok(&project.id)
    }

    /// Passes when a role allows the action, which happens outside any project.
    pub(crate) fn may_in_region(&self, action: Action) -> Result<(), Error> {
        self.require(action, Place::Region)
    }

    /// Passes whoever may look at things of the project, for answers that need no catalog.
    pub fn may_look(&self) -> Result<(), Error> {
        self.may(Action::Read).map(drop)
    }

    /// Passes operators of the region only, and only while the region has the keys that changes need.
    pub(crate) fn must_operate_to_change(&self) -> Result<(), Error> {
        self.may_in_region(Action::ChangeRegion)
    }

    /// Passes operators of the region only.
    pub(crate) fn must_operate(&self) -> Result<(), Error> {
        self.may_in_region(Action::Operate)
    }

    /// Passes a caller who may make and delete credentials of their own: a person, or a program that was
    /// given this right by name.
    pub(crate) fn may_manage_credentials(&self) -> Result<(), Error> {
        if self.scope.proof.may_manage_credentials() {
            return Ok(());
        }
        Err(Error::forbidden("a restricted credential makes and deletes no credentials and no passwords"))
    }

    /// Whether a token for another project can be had with this one.
    pub(crate) fn may_rescope(&self) -> bool {
        matches!(self.scope.proof, Proof::Password { .. })
    }

    fn require(&self, action: Action, place: Place) -> Result<(), Error> {
        debug_assert_eq!(action.line().1, place, "{action:?} happens elsewhere");
        if self.scope.roles.iter().any(|role| action.is_allowed_to(*role)) {
            return self.troubles.allow(action);
        }
        let place = if place == Place::Project { " in the project" } else { "" };
        Err(Error::forbidden(format!("this needs the role {}{place}", action.least_role().word())))
    }
}

#[cfg(test)]
mod tests {
    use model::ids::UserId;
    use model::time::Timestamp;

    use super::*;

    fn caller(roles: &[Role], project: Option<&str>) -> Caller {
        let moment = Timestamp::from_micros(0);
        let user = User {
            id: UserId::from_entropy([1; 16]),
            name: "u".into(),
            description: String::new(),
            email: String::new(),
            default_project: None,
            enabled: true,
            created_at: moment,
        };
        let project = project.map(|id| Project {
            id: id.parse().unwrap(),
            name: id.into(),
            description: String::new(),
            enabled: true,
            created_at: moment,
        });
        let scope = TokenScope {
            user,
            project,
            roles: roles.to_vec(),
            proof: Proof::Password { by_token: false },
            issued_at: moment,
            expires_at: moment.plus_seconds(3600),
        };
        Caller::new(scope, KeyTroubles::default())
    }

    #[test]
    fn every_action_has_one_line_and_somebody_who_may() {
        use Action::*;
        // A new action does not compile here until it is listed, and fails until it has a line.
        let list = |action: Action| match action {
            Read | Order | Restore | Replicate | ChangePolicies | ChangeGrants => Place::Project,
            Watch | Operate | ChangeRegion | ReadIdentity | ChangeIdentity => Place::Region,
        };
        for (action, place, _) in TABLE {
            assert_eq!(list(action), place, "{action:?}");
            assert_eq!(TABLE.iter().filter(|(other, ..)| *other == action).count(), 1, "{action:?}");
            assert!(action.is_allowed_to(action.least_role()));
        }
        assert_eq!(Action::all().count(), 11);
    }

    #[test]
    fn a_role_opens_what_its_column_says_and_nothing_else() {
        for (action, place, columns) in TABLE {
            for (role, is_allowed) in Role::ALL.into_iter().zip(columns) {
                let caller = caller(&[role], Some("p"));
                let passes = match place {
                    Place::Project => caller.may(action).is_ok(),
                    Place::Region => caller.may_in_region(action).is_ok(),
                };
                assert_eq!(passes, is_allowed, "{role:?} {action:?}");
            }
        }
        let service = |action: Action| action.is_allowed_to(Role::Service);
        assert_eq!(
            Action::all().filter(|action| service(*action)).collect::<Vec<_>>(),
            [Action::Read, Action::Watch]
        );
    }

    #[test]
    fn what_happens_in_a_project_needs_a_token_for_one() {
        assert!(caller(&[Role::Admin], None).may(Action::Read).is_err());
        assert!(caller(&[Role::Operator], None).must_operate().is_ok());
    }

    #[test]
    fn a_path_may_name_the_tokens_project_only() {
        let caller = caller(&[Role::Admin], Some("p"));
        assert!(caller.require_project(&"p".parse().unwrap()).is_ok());
        assert!(caller.require_project(&"q".parse().unwrap()).is_err());
    }
}
