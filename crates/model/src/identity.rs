//! Projects, users and roles of the embedded identity service.

use crate::ids::{AccessKeyId, ApplicationCredentialId, ProjectId, UserId};
use crate::time::Timestamp;

/// What a user may do in a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// May read.
    Reader,
    /// May read, order backups, replications and restores, and change policies.
    Member,
    /// May do everything inside the project, grants included.
    Admin,
    /// May read in every project and look at the region, and change nothing: for monitoring and reports. Held
    /// outside any project.
    Service,
    /// May run the region: servers, peers, users, projects. Held outside any project.
    Operator,
}

impl Role {
    /// Every role, the weakest first.
    pub const ALL: [Role; 5] = [Role::Reader, Role::Member, Role::Admin, Role::Service, Role::Operator];

    /// The word on the wire and in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Member => "member",
            Role::Admin => "admin",
            Role::Service => "service",
            Role::Operator => "operator",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Whether it is held outside any project, and then counts in each of them.
    pub fn is_of_region(self) -> bool {
        matches!(self, Role::Service | Role::Operator)
    }
}

/// The id of the one identity domain there is (Keystone's default).
pub const DOMAIN_ID: &str = "default";
/// Its name.
pub const DOMAIN_NAME: &str = "Default";

/// A project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// Its id.
    pub id: ProjectId,
    /// Its name, unique in the region.
    pub name: String,
    /// What people wrote about it.
    pub description: String,
    /// Whether it may be used.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The name, unique in the region.
    pub name: String,
    /// What people wrote about the user.
    pub description: String,
    /// An address that is only shown.
    pub email: String,
    /// The project of a log-in that names none.
    pub default_project: Option<ProjectId>,
    /// Whether the user may log in.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A name and a secret with which a program logs in as a user, to one project, with some of the user's roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationCredential {
    /// Its id.
    pub id: ApplicationCredentialId,
    /// Whose it is.
    pub user_id: UserId,
    /// The project it is good for.
    pub project_id: ProjectId,
    /// Its name, unique among the user's.
    pub name: String,
    /// What people wrote about it.
    pub description: String,
    /// The roles it was given. It has those of them that its user still has.
    pub roles: Vec<Role>,
    /// Whether its tokens may make and delete credentials. Hardly ever wanted.
    pub is_unrestricted: bool,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A key pair with which requests are signed, in the name of a user in one project. The secret is elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessKey {
    /// The public half: names the pair in each signed request.
    pub id: AccessKeyId,
    /// Whose it is.
    pub user_id: UserId,
    /// The project it is good for.
    pub project_id: ProjectId,
    /// What people wrote about it.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How a caller proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token from a password, or from a token that came from one.
    Password {
        /// Whether it came by way of another token.
        by_token: bool,
    },
    /// A token from an application credential, or from a token that came from one.
    ApplicationCredential {
        /// The credential.
        id: ApplicationCredentialId,
        /// Its name.
        name: String,
        /// Whether it may make and delete credentials.
        is_unrestricted: bool,
        /// Whether it came by way of another token.
        by_token: bool,
    },
    /// A signature with an access key.
    Signature {
        /// The key.
        id: AccessKeyId,
    },
    /// A token of an identity service elsewhere.
    Elsewhere,
}

impl Proof {
    /// Whether it may make and delete credentials: nothing that a program holds mints more, unless that
    /// was wanted.
    pub fn may_manage_credentials(&self) -> bool {
        match self {
            Proof::Password { .. } => true,
            Proof::ApplicationCredential { is_unrestricted, .. } => *is_unrestricted,
            Proof::Signature { .. } | Proof::Elsewhere => false,
        }
    }
}

/// A caller that was found valid: who calls, for which project, with which roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenScope {
    /// The user.
    pub user: User,
    /// The project, or nothing for an unscoped token.
    pub project: Option<Project>,
    /// The roles the user has in that project; those of the region whatever the project.
    pub roles: Vec<Role>,
    /// How it was proved.
    pub proof: Proof,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_a_word_of_its_own() {
        for role in Role::ALL {
            assert_eq!(Role::from_word(role.word()), Some(role));
        }
        assert_eq!(Role::from_word("king"), None);
    }

    #[test]
    fn what_a_program_holds_mints_nothing() {
        let credential = |is_unrestricted| Proof::ApplicationCredential {
            id: ApplicationCredentialId::from_entropy([1; 16]),
            name: "ci".to_owned(),
            is_unrestricted,
            by_token: false,
        };
        assert!(Proof::Password { by_token: true }.may_manage_credentials());
        assert!(credential(true).may_manage_credentials());
        let key = "AAAAAAAAAAAAAAAAAAAA".parse().unwrap();
        for proof in [credential(false), Proof::Signature { id: key }, Proof::Elsewhere] {
            assert!(!proof.may_manage_credentials(), "{proof:?}");
        }
    }
}
