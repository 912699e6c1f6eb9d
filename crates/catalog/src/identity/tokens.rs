//! Tokens, kept as digests, and what each stands for at the moment it is used. Nothing here is cached: a
//! user, project, role or credential that was taken away is gone for the next request.

use model::identity::{ApplicationCredential, Proof, Role, TokenScope};
use model::ids::{ApplicationCredentialId, ProjectId, UserId};
use model::time::Timestamp;

use super::application_credentials::read_application_credential;
use super::read_project;
use super::roles::roles_of;
use super::users::{enabled_user, lock_user};
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::value::values;

/// The most rows that one cleaning takes out.
const CLEANED_ROWS_MAX: i64 = 1000;

/// Why somebody gets a token. It must still be so when the token is stored: a password that changes while
/// it is checked opens nothing afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// The password of this hash.
    PasswordHash(String),
    /// The token of this digest.
    Token([u8; 32]),
    /// The application credential that the new token names.
    ApplicationCredential,
}

/// A token about to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// The digest of the token's text.
    pub token_hash: [u8; 32],
    /// Whose it is.
    pub user_id: UserId,
    /// The project it is scoped to, if any.
    pub project_id: Option<ProjectId>,
    /// The application credential it came from, if any.
    pub application_credential_id: Option<ApplicationCredentialId>,
    /// Whether it came from another token.
    pub by_token: bool,
    /// When it was issued.
    pub issued_at: Timestamp,
    /// When it ends.
    pub expires_at: Timestamp,
}

impl Catalog {
    /// Stores a token; `NotFound` when its grounds are gone.
    pub async fn insert_token(&self, token: &NewToken, grounds: &Grounds) -> Result<(), CatalogError> {
        let mut tx = self.write("storing a token").await?;
        lock_user(&mut tx, token.user_id).await?;
        let user = token.user_id;
        let standing = match grounds {
            Grounds::PasswordHash(hash) => {
                let sql = "SELECT id FROM users WHERE id = $1 AND password_hash = $2";
                tx.first(sql, values![user, hash]).await?
            }
            Grounds::Token(digest) => {
                let sql = "SELECT user_id FROM tokens WHERE user_id = $1 AND token_hash = $2";
                tx.first(sql, values![user, *digest]).await?
            }
            Grounds::ApplicationCredential => {
                let sql = "SELECT id FROM application_credentials WHERE user_id = $1 AND id = $2";
                tx.first(sql, values![user, token.application_credential_id]).await?
            }
        };
        standing.ok_or_else(|| CatalogError::not_found("log-in", user))?;
        let inserted = tx
            .execute(
                "INSERT INTO tokens (token_hash, user_id, project_id, application_credential_id, by_token, \
                 issued_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
                values![
                    token.token_hash,
                    token.user_id,
                    token.project_id.as_ref(),
                    token.application_credential_id,
                    token.by_token,
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

    /// What a token stands for now. Nothing if it is unknown or over, if its user or project is disabled, if
    /// the user has no role left in its project, or if the credential it came from is gone.
    pub async fn token(
        &self,
        token_hash: [u8; 32],
        now: Timestamp,
    ) -> Result<Option<TokenScope>, CatalogError> {
        let mut tx = self.read("checking a token").await?;
        let token = tx
            .first(
                "SELECT user_id, project_id, application_credential_id, by_token, issued_at, expires_at \
                 FROM tokens WHERE token_hash = $1 AND expires_at > $2",
                values![token_hash, now],
            )
            .await?;
        let Some(token) = token else { return Ok(None) };
        let by_token = token.flag("by_token")?;
        let credential = match token.optional_id("application_credential_id")? {
            None => None,
            Some(id) => match read_application_credential(&mut tx, id).await? {
                Some(found) if found.credential.expires_at.is_none_or(|end| end > now) => {
                    Some(found.credential)
                }
                _ => return Ok(None),
            },
        };
        let holder = Holder {
            user_id: token.id("user_id")?,
            project_id: token.optional_id("project_id")?,
            at_most: credential.as_ref().map(|credential| credential.roles.as_slice()),
        };
        let Some(held) = held(&mut tx, &holder).await? else { return Ok(None) };
        let proof = proof_of(credential, by_token);
        let (issued_at, expires_at) = (token.time("issued_at")?, token.time("expires_at")?);
        Ok(Some(TokenScope { proof, issued_at, expires_at, ..held }))
    }

    /// Ends a token; tells whether there was one.
    pub async fn revoke_token(&self, token_hash: [u8; 32]) -> Result<bool, CatalogError> {
        let mut tx = self.write("revoking a token").await?;
        let gone = tx.execute("DELETE FROM tokens WHERE token_hash = $1", values![token_hash]).await?;
        tx.commit().await?;
        Ok(gone > 0)
    }

    /// Forgets tokens and used signatures that are over, at most a thousand of each; tells how many.
    pub async fn purge_expired_tokens(&self, now: Timestamp) -> Result<u64, CatalogError> {
        let over = "SELECT token_hash FROM tokens WHERE expires_at <= $1 LIMIT 1";
        let used = "SELECT signature FROM used_signatures WHERE expires_at <= $1 LIMIT 1";
        let mut tx = self.read("looking for expired tokens").await?;
        let is_idle =
            tx.first(over, values![now]).await?.is_none() && tx.first(used, values![now]).await?.is_none();
        drop(tx);
        if is_idle {
            return Ok(0);
        }
        let mut tx = self.write("forgetting expired tokens").await?;
        let mut gone = 0;
        for sql in [
            "DELETE FROM tokens WHERE token_hash IN \
             (SELECT token_hash FROM tokens WHERE expires_at <= $1 LIMIT $2)",
            "DELETE FROM used_signatures WHERE signature IN \
             (SELECT signature FROM used_signatures WHERE expires_at <= $1 LIMIT $2)",
        ] {
            gone += tx.execute(sql, values![now, CLEANED_ROWS_MAX]).await?;
        }
        tx.commit().await?;
        Ok(gone)
    }
}

/// Somebody who acts for a user.
pub(super) struct Holder<'a> {
    pub(super) user_id: UserId,
    pub(super) project_id: Option<ProjectId>,
    /// The most roles it has; all of the user's when nothing is said.
    pub(super) at_most: Option<&'a [Role]>,
}

/// What a holder may now, with a proof and times that the caller fills in; nothing when it is over.
pub(super) async fn held(tx: &mut Tx, holder: &Holder<'_>) -> Result<Option<TokenScope>, CatalogError> {
    let Some(user) = enabled_user(tx, holder.user_id).await? else { return Ok(None) };
    let project = match &holder.project_id {
        None => None,
        Some(id) => match read_project(tx, id).await? {
            Some(project) if project.enabled => Some(project),
            _ => return Ok(None),
        },
    };
    let mut roles = roles_of(tx, user.id, holder.project_id.as_ref()).await?;
    if let Some(at_most) = holder.at_most {
        roles.retain(|role| at_most.contains(role));
    }
    if project.is_some() && roles.is_empty() {
        return Ok(None);
    }
    let never = Timestamp::from_micros(0);
    let proof = Proof::Password { by_token: false };
    Ok(Some(TokenScope { user, project, roles, proof, issued_at: never, expires_at: never }))
}

/// How a token that came from a credential, or from a password, was proved.
fn proof_of(credential: Option<ApplicationCredential>, by_token: bool) -> Proof {
    match credential {
        None => Proof::Password { by_token },
        Some(ApplicationCredential { id, name, is_unrestricted, .. }) => {
            Proof::ApplicationCredential { id, name, is_unrestricted, by_token }
        }
    }
}
