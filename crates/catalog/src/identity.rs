//! Projects, users, roles and tokens of the embedded identity service. Tokens are kept as digests:
//! a stolen catalog opens no session.

use model::identity::{Project, Role, TokenScope, User};
use model::ids::{ProjectId, UserId};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::state_outbox::{StateSubject, note_change};
use crate::value::{Row, values};

/// A token about to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The digest of the token's text.
    pub token_hash: [u8; 32],
    /// Whose it is.
    pub user_id: UserId,
    /// The project it is scoped to, if any.
    pub project_id: Option<ProjectId>,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Catalog {
    /// Makes a project. `IdTaken` or `NameTaken` when there is one.
    pub async fn create_project(&self, project: &Project) -> Result<(), CatalogError> {
        let mut tx = self.write("creating a project").await?;
        insert_project(&mut tx, project).await?;
        note_change(&mut tx, StateSubject::Project, &project.id, &project.id, project.created_at).await?;
        tx.commit().await
    }

    /// All projects, by name.
    pub async fn projects(&self) -> Result<Vec<Project>, CatalogError> {
        let mut tx = self.read("listing projects").await?;
        let rows =
            tx.all("SELECT id, name, enabled, created_at FROM projects ORDER BY name", values![]).await?;
        rows.iter().map(project_of_row).collect()
    }

    /// One project.
    pub async fn project(&self, id: &ProjectId) -> Result<Project, CatalogError> {
        let mut tx = self.read("reading a project").await?;
        read_project(&mut tx, id).await?.ok_or_else(|| CatalogError::not_found("project", id))
    }

    /// The project of a name.
    pub async fn project_by_name(&self, name: &str) -> Result<Project, CatalogError> {
        let mut tx = self.read("reading a project").await?;
        let row = tx
            .first("SELECT id, name, enabled, created_at FROM projects WHERE name = $1", values![name])
            .await?;
        project_of_row(&row.ok_or_else(|| CatalogError::not_found("project", name))?)
    }

    /// Makes a user with the hash of a password. `IdTaken` or `NameTaken` when there is one.
    pub async fn create_user(&self, user: &User, password_hash: &str) -> Result<(), CatalogError> {
        let mut tx = self.write("creating a user").await?;
        let inserted = tx
            .execute(
                "INSERT INTO users (id, name, password_hash, enabled, created_at) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                values![user.id, &user.name, password_hash, user.enabled, user.created_at],
            )
            .await?;
        if inserted == 0 {
            let same = tx.first("SELECT id FROM users WHERE id = $1", values![user.id]).await?;
            return Err(taken("user", same.is_some(), &user.id.to_string(), &user.name).into());
        }
        tx.commit().await
    }

    /// The user of a name and the hash of its password, disabled ones too.
    pub async fn user_by_name(&self, name: &str) -> Result<(User, String), CatalogError> {
        let mut tx = self.read("reading a user").await?;
        let row = tx
            .first(
                "SELECT id, name, enabled, created_at, password_hash FROM users WHERE name = $1",
                values![name],
            )
            .await?;
        let row = row.ok_or_else(|| CatalogError::not_found("user", name))?;
        Ok((user_of_row(&row)?, row.text("password_hash")?))
    }

    /// The user of an id and the hash of its password, disabled ones too.
    pub async fn user_with_hash(&self, id: UserId) -> Result<(User, String), CatalogError> {
        let mut tx = self.read("reading a user").await?;
        let row = tx
            .first(
                "SELECT id, name, enabled, created_at, password_hash FROM users WHERE id = $1",
                values![id],
            )
            .await?;
        let row = row.ok_or_else(|| CatalogError::not_found("user", id))?;
        Ok((user_of_row(&row)?, row.text("password_hash")?))
    }

    /// One user.
    pub async fn user(&self, id: UserId) -> Result<User, CatalogError> {
        Ok(self.user_with_hash(id).await?.0)
    }

    /// All users, by name.
    pub async fn users(&self) -> Result<Vec<User>, CatalogError> {
        let mut tx = self.read("listing users").await?;
        let rows = tx.all("SELECT id, name, enabled, created_at FROM users ORDER BY name", values![]).await?;
        rows.iter().map(user_of_row).collect()
    }

    /// Gives a user a role in a project, or outside any. Giving it again changes nothing.
    pub async fn assign_role(
        &self,
        user: UserId,
        project: Option<&ProjectId>,
        role: Role,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("assigning a role").await?;
        let known = tx.first("SELECT id FROM users WHERE id = $1", values![user]).await?;
        known.ok_or_else(|| CatalogError::not_found("user", user))?;
        if let Some(project) = project {
            let known = tx.first("SELECT id FROM projects WHERE id = $1", values![project]).await?;
            known.ok_or_else(|| CatalogError::not_found("project", project))?;
        }
        tx.execute(
            "INSERT INTO role_assignments (user_id, project_id, role) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
            values![user, project_key(project), role.word()],
        )
        .await?;
        tx.commit().await
    }

    /// The roles a user has in a project (or outside any), `Operator` included whatever the project.
    pub async fn roles(&self, user: UserId, project: Option<&ProjectId>) -> Result<Vec<Role>, CatalogError> {
        let mut tx = self.read("reading roles").await?;
        roles_of(&mut tx, user, project).await
    }

    /// The enabled projects in which a user has a role, by name.
    pub async fn projects_of(&self, user: UserId) -> Result<Vec<Project>, CatalogError> {
        let mut tx = self.read("listing the projects of a user").await?;
        let rows = tx
            .all(
                "SELECT id, name, enabled, created_at FROM projects WHERE enabled = 1 AND id IN \
                 (SELECT project_id FROM role_assignments WHERE user_id = $1) ORDER BY name",
                values![user],
            )
            .await?;
        rows.iter().map(project_of_row).collect()
    }

    /// Stores a token.
    pub async fn insert_token(&self, token: &NewToken) -> Result<(), CatalogError> {
        let mut tx = self.write("storing a token").await?;
        let inserted = tx
            .execute(
                "INSERT INTO tokens (token_hash, user_id, project_id, issued_at, expires_at) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                values![
                    token.token_hash,
                    token.user_id,
                    token.project_id.as_ref(),
                    token.issued_at,
                    token.expires_at
                ],
            )
            .await?;
        if inserted == 0 {
            return Err(Conflict::IdTaken { what: "token", id: "by its digest".to_owned() }.into());
        }
        tx.commit().await
    }

    /// What a token stands for now. Nothing if it is unknown or over, or if its user or project is
    /// disabled.
    pub async fn token(
        &self,
        token_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<TokenScope>, CatalogError> {
        let mut tx = self.read("checking a token").await?;
        let token = tx
            .first(
                "SELECT user_id, project_id, issued_at, expires_at FROM tokens \
                 WHERE token_hash = $1 AND expires_at > $2",
                values![token_hash, now],
            )
            .await?;
        let Some(token) = token else { return Ok(None) };
        let user = tx
            .first(
                "SELECT id, name, enabled, created_at FROM users WHERE id = $1 AND enabled = 1",
                values![token.id::<UserId>("user_id")?],
            )
            .await?;
        let Some(user) = user else { return Ok(None) };
        let user = user_of_row(&user)?;
        let project = match token.optional_id::<ProjectId>("project_id")? {
            None => None,
            Some(id) => {
                let row = tx
                    .first(
                        "SELECT id, name, enabled, created_at FROM projects WHERE id = $1 AND enabled = 1",
                        values![&id],
                    )
                    .await?;
                let Some(row) = row else { return Ok(None) };
                Some(project_of_row(&row)?)
            }
        };
        let roles = roles_of(&mut tx, user.id, project.as_ref().map(|project| &project.id)).await?;
        Ok(Some(TokenScope {
            user,
            project,
            roles,
            issued_at: token.time("issued_at")?,
            expires_at: token.time("expires_at")?,
        }))
    }

    /// Ends a token; tells whether there was one.
    pub async fn revoke_token(&self, token_hash: [u8; 32]) -> Result<bool, CatalogError> {
        let mut tx = self.write("revoking a token").await?;
        let gone = tx.execute("DELETE FROM tokens WHERE token_hash = $1", values![token_hash]).await?;
        tx.commit().await?;
        Ok(gone > 0)
    }

    /// Forgets tokens that are over; tells how many.
    pub async fn purge_expired_tokens(&self, now: Timestamp) -> Result<u64, CatalogError> {
        let mut tx = self.write("forgetting expired tokens").await?;
        let gone = tx.execute("DELETE FROM tokens WHERE expires_at <= $1", values![now]).await?;
        tx.commit().await?;
        Ok(gone)
    }
}

/// Inserts a project. `IdTaken` or `NameTaken` when there is one.
pub(crate) async fn insert_project(tx: &mut Tx, project: &Project) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO projects (id, name, enabled, created_at) VALUES ($1, $2, $3, $4) \
             ON CONFLICT DO NOTHING",
            values![&project.id, &project.name, project.enabled, project.created_at],
        )
        .await?;
    if inserted == 0 {
        let same = tx.first("SELECT id FROM projects WHERE id = $1", values![&project.id]).await?;
        return Err(taken("project", same.is_some(), &project.id.to_string(), &project.name).into());
    }
    Ok(())
}

/// A project.
pub(crate) async fn read_project(tx: &mut Tx, id: &ProjectId) -> Result<Option<Project>, CatalogError> {
    let row =
        tx.first("SELECT id, name, enabled, created_at FROM projects WHERE id = $1", values![id]).await?;
    row.as_ref().map(project_of_row).transpose()
}

async fn roles_of(tx: &mut Tx, user: UserId, project: Option<&ProjectId>) -> Result<Vec<Role>, CatalogError> {
    let rows = tx
        .all(
            "SELECT DISTINCT role FROM role_assignments WHERE user_id = $1 \
             AND (project_id = $2 OR role = 'operator')",
            values![user, project_key(project)],
        )
        .await?;
    let mut roles =
        rows.iter().map(|row| row.word("role", Role::from_word)).collect::<Result<Vec<_>, _>>()?;
    roles.sort();
    Ok(roles)
}

fn project_key(project: Option<&ProjectId>) -> &str {
    project.map_or("", ProjectId::as_str)
}

fn taken(what: &'static str, by_id: bool, id: &str, name: &str) -> Conflict {
    if by_id {
        Conflict::IdTaken { what, id: id.to_owned() }
    } else {
        Conflict::NameTaken { what, name: name.to_owned() }
    }
}

fn project_of_row(row: &Row) -> Result<Project, CatalogError> {
    Ok(Project {
        id: row.id("id")?,
        name: row.text("name")?,
        enabled: row.flag("enabled")?,
        created_at: row.time("created_at")?,
    })
}

fn user_of_row(row: &Row) -> Result<User, CatalogError> {
    Ok(User {
        id: row.id("id")?,
        name: row.text("name")?,
        enabled: row.flag("enabled")?,
        created_at: row.time("created_at")?,
    })
}
