//! Access keys, their sealed secrets, and the signatures that were used.

use model::identity::{AccessKey, Proof, Role, TokenScope};
use model::ids::{AccessKeyId, ProjectId, UserId};
use model::time::Timestamp;

use super::tokens::{Holder, held};
use super::users::lock_user;
use crate::engine::Catalog;
use crate::error::{CatalogError, Conflict};
use crate::value::{Row, values};

const COLUMNS: &str = "id, user_id, project_id, description, sealed_secret, kek_number, created_at";

/// The most access keys of one user.
const KEYS_MAX: u64 = 100;

/// An access key about to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAccessKey {
    /// The key.
    pub key: AccessKey,
    /// Its secret, sealed.
    pub sealed_secret: Vec<u8>,
    /// Under which KEK.
    pub kek_number: u32,
}

/// An access key, its sealed secret, and what its holder may now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedAccessKey {
    /// Its secret, sealed.
    pub sealed_secret: Vec<u8>,
    /// Whom it makes its holder. The times are of no meaning.
    pub scope: TokenScope,
}

impl Catalog {
    /// Makes an access key. `TooMany` when the user has 100; `NotFound` when the project went meanwhile.
    pub async fn create_access_key(&self, new: &NewAccessKey) -> Result<(), CatalogError> {
        let mut tx = self.write("creating an access key").await?;
        let key = &new.key;
        lock_user(&mut tx, key.user_id).await?;
        let sql = "SELECT COUNT(*) AS key_count FROM access_keys WHERE user_id = $1";
        let row = tx.first(sql, values![key.user_id]).await?;
        if row.map_or(Ok(0), |row| row.count("key_count"))? >= KEYS_MAX {
            return Err(Conflict::TooMany { what: "access keys", most: KEYS_MAX }.into());
        }
        let inserted = tx
            .execute(
                "INSERT INTO access_keys (id, user_id, project_id, description, sealed_secret, kek_number, \
                 created_at) SELECT $1, $2, id, $4, $5, $6, $7 FROM projects WHERE id = $3 \
                 ON CONFLICT DO NOTHING",
                values![
                    &key.id,
                    key.user_id,
                    &key.project_id,
                    &key.description,
                    new.sealed_secret.as_slice(),
                    new.kek_number,
                    key.created_at
                ],
            )
            .await?;
        if inserted == 0 {
            return Err(CatalogError::not_found("project", &key.project_id));
        }
        tx.commit().await
    }

    /// A user's access keys in a project, oldest first.
    pub async fn access_keys(
        &self,
        user: UserId,
        project: &ProjectId,
    ) -> Result<Vec<AccessKey>, CatalogError> {
        let mut tx = self.read("listing access keys").await?;
        let sql = select("WHERE user_id = $1 AND project_id = $2 ORDER BY created_at, id");
        tx.all(sql, values![user, project]).await?.iter().map(key_of_row).collect()
    }

    /// One access key, of whomever it is.
    pub async fn access_key(&self, id: &AccessKeyId) -> Result<AccessKey, CatalogError> {
        let mut tx = self.read("reading an access key").await?;
        let row = tx.first(select("WHERE id = $1"), values![id]).await?;
        key_of_row(&row.ok_or_else(|| CatalogError::not_found("access key", id))?)
    }

    /// What is needed to check a signature with a key. Nothing if the key is unknown, its user or project is
    /// disabled, or the user has no role left in its project. Roles of the region do not come with a key.
    pub async fn sealed_access_key(&self, id: &AccessKeyId) -> Result<Option<SealedAccessKey>, CatalogError> {
        let mut tx = self.read("reading an access key").await?;
        let row = tx.first(select("WHERE id = $1"), values![id]).await?;
        let Some(row) = row else { return Ok(None) };
        let key = key_of_row(&row)?;
        let holder = Holder {
            user_id: key.user_id,
            project_id: Some(key.project_id),
            at_most: Some(&[Role::Reader, Role::Member, Role::Admin]),
        };
        let Some(held) = held(&mut tx, &holder).await? else { return Ok(None) };
        let scope = TokenScope { proof: Proof::Signature { id: key.id }, ..held };
        Ok(Some(SealedAccessKey { sealed_secret: row.blob("sealed_secret")?, scope }))
    }

    /// Deletes a user's access key.
    pub async fn delete_access_key(&self, user: UserId, id: &AccessKeyId) -> Result<(), CatalogError> {
        let mut tx = self.write("deleting an access key").await?;
        let sql = "DELETE FROM access_keys WHERE id = $1 AND user_id = $2";
        match tx.execute(sql, values![id, user]).await? {
            0 => Err(CatalogError::not_found("access key", id)),
            _ => tx.commit().await,
        }
    }

    /// Notes that a signature was used; `SignatureUsed` when it was before. The unique row decides between two
    /// who come at the same moment.
    pub async fn use_signature(
        &self,
        signature: [u8; 32],
        expires_at: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("noting a signature").await?;
        let sql =
            "INSERT INTO used_signatures (signature, expires_at) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        match tx.execute(sql, values![signature, expires_at]).await? {
            0 => Err(Conflict::SignatureUsed.into()),
            _ => tx.commit().await,
        }
    }

    /// Access keys whose secret is sealed under another KEK than that of the number, by id, the first hundred
    /// after `after`; an empty text is before all.
    pub async fn access_keys_of_other_keks(
        &self,
        kek_number: u32,
        after: &str,
    ) -> Result<Vec<(AccessKeyId, Vec<u8>)>, CatalogError> {
        let mut tx = self.read("looking for secrets under an earlier KEK").await?;
        let sql = select("WHERE kek_number <> $1 AND id > $2 ORDER BY id LIMIT 100");
        let rows = tx.all(sql, values![kek_number, after]).await?;
        rows.iter().map(|row| Ok((row.id("id")?, row.blob("sealed_secret")?))).collect()
    }

    /// Puts the same secret, sealed under another KEK, in the place of one.
    pub async fn seal_access_key_again(
        &self,
        id: &AccessKeyId,
        was_sealed: &[u8],
        sealed_secret: &[u8],
        kek_number: u32,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("sealing a secret again").await?;
        tx.execute(
            "UPDATE access_keys SET sealed_secret = $3, kek_number = $4 WHERE id = $1 AND sealed_secret = $2",
            values![id, was_sealed, sealed_secret, kek_number],
        )
        .await?;
        tx.commit().await
    }
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM access_keys {rest}"))
}

fn key_of_row(row: &Row) -> Result<AccessKey, CatalogError> {
    Ok(AccessKey {
        id: row.id("id")?,
        user_id: row.id("user_id")?,
        project_id: row.id("project_id")?,
        description: row.text("description")?,
        created_at: row.time("created_at")?,
    })
}
