//! Users and the hashes of their passwords.

use model::identity::User;
use model::ids::{ProjectId, UserId};

use super::roles::require_another_operator;
use super::taken;
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::value::{Row, values};

const COLUMNS: &str = "id, name, description, email, default_project_id, enabled, created_at, password_hash";

/// What is to be changed of a user; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UserChange {
    /// The name.
    pub name: Option<String>,
    /// What people write about the user.
    pub description: Option<String>,
    /// An address that is only shown.
    pub email: Option<String>,
    /// The project of a log-in that names none.
    pub default_project: Option<ProjectId>,
    /// Whether the user may log in.
    pub enabled: Option<bool>,
    /// The hash of another password.
    pub password_hash: Option<String>,
}

impl Catalog {
    /// Makes a user with the hash of a password. `IdTaken` or `NameTaken` when there is one.
    pub async fn create_user(&self, user: &User, password_hash: &str) -> Result<(), CatalogError> {
        let mut tx = self.write("creating a user").await?;
        let inserted = tx
            .execute(
                "INSERT INTO users (id, name, description, email, default_project_id, password_hash, enabled, \
                 created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                values![
                    user.id,
                    &user.name,
                    &user.description,
                    &user.email,
                    user.default_project.as_ref(),
                    password_hash,
                    user.enabled,
                    user.created_at
                ],
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
        let row = tx.first(select("WHERE name = $1"), values![name]).await?;
        let row = row.ok_or_else(|| CatalogError::not_found("user", name))?;
        Ok((user_of_row(&row)?, row.text("password_hash")?))
    }

    /// The user of an id and the hash of its password, disabled ones too.
    pub async fn user_with_hash(&self, id: UserId) -> Result<(User, String), CatalogError> {
        let mut tx = self.read("reading a user").await?;
        let row = tx.first(select("WHERE id = $1"), values![id]).await?;
        let row = row.ok_or_else(|| CatalogError::not_found("user", id))?;
        Ok((user_of_row(&row)?, row.text("password_hash")?))
    }

    /// One user.
    pub async fn user(&self, id: UserId) -> Result<User, CatalogError> {
        Ok(self.user_with_hash(id).await?.0)
    }

    /// All users, by name; or the one of a name.
    pub async fn users(&self, name: Option<&str>) -> Result<Vec<User>, CatalogError> {
        let mut tx = self.read("listing users").await?;
        let rows = tx.all(select("WHERE $1 IS NULL OR name = $1 ORDER BY name"), values![name]).await?;
        rows.iter().map(user_of_row).collect()
    }

    /// Changes a user and tells what it is then. `NameTaken`, `LastOperator`. A new password, and disabling,
    /// end the user's tokens.
    pub async fn update_user(&self, id: UserId, change: &UserChange) -> Result<User, CatalogError> {
        let mut tx = self.write("changing a user").await?;
        lock_user(&mut tx, id).await?;
        if let Some(name) = &change.name {
            let other = "SELECT id FROM users WHERE name = $1 AND id <> $2";
            if tx.first(other, values![name, id]).await?.is_some() {
                return Err(Conflict::NameTaken { what: "user", name: name.clone() }.into());
            }
        }
        if change.enabled == Some(false) {
            require_another_operator(&mut tx, id).await?;
        }
        tx.execute(
            "UPDATE users SET name = COALESCE($2, name), description = COALESCE($3, description), \
             email = COALESCE($4, email), default_project_id = COALESCE($5, default_project_id), \
             enabled = COALESCE($6, enabled), password_hash = COALESCE($7, password_hash) WHERE id = $1",
            values![
                id,
                &change.name,
                &change.description,
                &change.email,
                change.default_project.as_ref(),
                change.enabled.map(i64::from),
                &change.password_hash
            ],
        )
        .await?;
        if change.enabled == Some(false) || change.password_hash.is_some() {
            tx.execute("DELETE FROM tokens WHERE user_id = $1", values![id]).await?;
        }
        let row = tx.first(select("WHERE id = $1"), values![id]).await?;
        let user = user_of_row(&row.ok_or_else(|| CatalogError::not_found("user", id))?)?;
        tx.commit().await?;
        Ok(user)
    }

    /// Deletes a user with all roles, credentials and tokens. `LastOperator`.
    pub async fn delete_user(&self, id: UserId) -> Result<(), CatalogError> {
        let mut tx = self.write("deleting a user").await?;
        lock_user(&mut tx, id).await?;
        require_another_operator(&mut tx, id).await?;
        for sql in [
            "DELETE FROM tokens WHERE user_id = $1",
            "DELETE FROM application_credentials WHERE user_id = $1",
            "DELETE FROM access_keys WHERE user_id = $1",
            "DELETE FROM role_assignments WHERE user_id = $1",
            "DELETE FROM users WHERE id = $1",
        ] {
            tx.execute(sql, values![id]).await?;
        }
        tx.commit().await
    }
}

/// A user that may log in.
pub(super) async fn enabled_user(tx: &mut Tx, id: UserId) -> Result<Option<User>, CatalogError> {
    let row = tx.first(select("WHERE id = $1 AND enabled = 1"), values![id]).await?;
    row.as_ref().map(user_of_row).transpose()
}

/// Keeps others from changing the user in this transaction.
pub(super) async fn lock_user(tx: &mut Tx, id: UserId) -> Result<(), CatalogError> {
    match tx.execute("UPDATE users SET name = name WHERE id = $1", values![id]).await? {
        0 => Err(CatalogError::not_found("user", id)),
        _ => Ok(()),
    }
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM users {rest}"))
}

fn user_of_row(row: &Row) -> Result<User, CatalogError> {
    Ok(User {
        id: row.id("id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        email: row.text("email")?,
        default_project: row.optional_id("default_project_id")?,
        enabled: row.flag("enabled")?,
        created_at: row.time("created_at")?,
    })
}
