//! Application credentials: what programs log in with.

use model::identity::{ApplicationCredential, Role};
use model::ids::{ApplicationCredentialId, UserId};

use super::users::lock_user;
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::value::{Row, values};

const COLUMNS: &str =
    "id, user_id, project_id, name, description, secret_hash, roles, unrestricted, expires_at, created_at";

/// The most application credentials of one user.
const CREDENTIALS_MAX: u64 = 200;

/// An application credential and the hash of its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredApplicationCredential {
    /// The credential.
    pub credential: ApplicationCredential,
    /// The hash of its secret.
    pub secret_hash: String,
}

impl Catalog {
    /// Makes an application credential. `NameTaken`; `TooMany` when the user has 200.
    pub async fn create_application_credential(
        &self,
        new: &StoredApplicationCredential,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("creating an application credential").await?;
        let credential = &new.credential;
        lock_user(&mut tx, credential.user_id).await?;
        let sql = "SELECT COUNT(*) AS credential_count FROM application_credentials WHERE user_id = $1";
        let row = tx.first(sql, values![credential.user_id]).await?;
        let count = row.map_or(Ok(0), |row| row.count("credential_count"))?;
        if count >= CREDENTIALS_MAX {
            let what = "application credentials";
            return Err(Conflict::TooMany { what, most: CREDENTIALS_MAX }.into());
        }
        let roles: Vec<&str> = credential.roles.iter().map(|role| role.word()).collect();
        let inserted = tx
            .execute(
                "INSERT INTO application_credentials (id, user_id, project_id, name, description, secret_hash, \
                 roles, unrestricted, expires_at, created_at) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
                values![
                    credential.id,
                    credential.user_id,
                    &credential.project_id,
                    &credential.name,
                    &credential.description,
                    &new.secret_hash,
                    roles.join(" "),
                    credential.is_unrestricted,
                    credential.expires_at,
                    credential.created_at
                ],
            )
            .await?;
        if inserted == 0 {
            let name = credential.name.clone();
            return Err(Conflict::NameTaken { what: "application credential", name }.into());
        }
        tx.commit().await
    }

    /// One application credential, of whomever it is.
    pub async fn application_credential(
        &self,
        id: ApplicationCredentialId,
    ) -> Result<StoredApplicationCredential, CatalogError> {
        let mut tx = self.read("reading an application credential").await?;
        let found = read_application_credential(&mut tx, id).await?;
        found.ok_or_else(|| CatalogError::not_found("application credential", id))
    }

    /// The application credential of a name, of one user.
    pub async fn application_credential_by_name(
        &self,
        user: UserId,
        name: &str,
    ) -> Result<StoredApplicationCredential, CatalogError> {
        let mut tx = self.read("reading an application credential").await?;
        let row = tx.first(select("WHERE user_id = $1 AND name = $2"), values![user, name]).await?;
        let row = row.ok_or_else(|| CatalogError::not_found("application credential", name))?;
        credential_of_row(&row)
    }

    /// A user's application credentials, by name; or the one of a name.
    pub async fn application_credentials(
        &self,
        user: UserId,
        name: Option<&str>,
    ) -> Result<Vec<ApplicationCredential>, CatalogError> {
        let mut tx = self.read("listing application credentials").await?;
        let sql = select("WHERE user_id = $1 AND ($2 IS NULL OR name = $2) ORDER BY name");
        let rows = tx.all(sql, values![user, name]).await?;
        rows.iter().map(|row| Ok(credential_of_row(row)?.credential)).collect()
    }

    /// Deletes a user's application credential and ends its tokens.
    pub async fn delete_application_credential(
        &self,
        user: UserId,
        id: ApplicationCredentialId,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("deleting an application credential").await?;
        lock_user(&mut tx, user).await?;
        let sql = "SELECT id FROM application_credentials WHERE id = $1 AND user_id = $2";
        let known = tx.first(sql, values![id, user]).await?;
        known.ok_or_else(|| CatalogError::not_found("application credential", id))?;
        tx.execute("DELETE FROM tokens WHERE application_credential_id = $1", values![id]).await?;
        tx.execute("DELETE FROM application_credentials WHERE id = $1", values![id]).await?;
        tx.commit().await
    }
}

/// One application credential, of whomever it is.
pub(super) async fn read_application_credential(
    tx: &mut Tx,
    id: ApplicationCredentialId,
) -> Result<Option<StoredApplicationCredential>, CatalogError> {
    let row = tx.first(select("WHERE id = $1"), values![id]).await?;
    row.as_ref().map(credential_of_row).transpose()
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM application_credentials {rest}"))
}

fn credential_of_row(row: &Row) -> Result<StoredApplicationCredential, CatalogError> {
    let roles = row.text("roles")?;
    let roles = roles.split(' ').map(|word| Role::from_word(word).ok_or_else(|| row.corrupt("roles")));
    let credential = ApplicationCredential {
        id: row.id("id")?,
        user_id: row.id("user_id")?,
        project_id: row.id("project_id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        roles: roles.collect::<Result<_, _>>()?,
        is_unrestricted: row.flag("unrestricted")?,
        expires_at: row.optional_time("expires_at")?,
        created_at: row.time("created_at")?,
    };
    Ok(StoredApplicationCredential { credential, secret_hash: row.text("secret_hash")? })
}
