//! Projects, users and roles of the embedded identity service.

use crate::ids::{ProjectId, UserId};
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
    /// May run the region: servers, peers, users, projects. Held outside any project.
    Operator,
}

impl Role {
    /// The word on the wire and in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Role::Reader => "reader",
            Role::Member => "member",
            Role::Admin => "admin",
            Role::Operator => "operator",
        }
    }

    /// The role of a word.
    pub fn from_word(word: &str) -> Option<Role> {
        [Role::Reader, Role::Member, Role::Admin, Role::Operator].into_iter().find(|role| role.word() == word)
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
    /// Whether the user may log in.
    pub enabled: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A token that was found valid: who calls, for which project, with which roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenScope {
    /// The user.
    pub user: User,
    /// The project, or nothing for an unscoped token.
    pub project: Option<Project>,
    /// The roles the user has in that project; `Operator` whatever the project.
    pub roles: Vec<Role>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}
