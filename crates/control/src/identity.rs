//! Who somebody is: log-ins and tokens here; projects, users, roles, application credentials and access keys
//! beside it.
//!
//! A token is 32 random bytes; the catalog holds its hash only, and reads what it stands for on each use.
//! Passwords and secrets of application credentials are hashed with argon2id on a blocking thread, a few at
//! a time. An unknown user costs the same hash as a wrong password.

mod access_keys;
mod application_credentials;
mod elsewhere;
mod passwords;
mod projects;
mod roles;
mod users;

pub use access_keys::{DATE_SECONDS_MAX, SignedText, SigningKey};
pub use application_credentials::NewApplicationCredential;
pub use catalog::{AssignmentFilter, ProjectChange, RoleAssignment};
pub use elsewhere::{ForeignToken, IdentityElsewhere, LookingUp, NoAnswer};

pub(crate) use access_keys::seal_access_keys_again;
pub(crate) use elsewhere::Elsewhere;
pub(crate) use passwords::PasswordChecks;
pub use users::UserUpdate;

use catalog::{CatalogError, Grounds, NewToken};
use model::identity::{Project, Proof, TokenScope, User};
use model::ids::{ApplicationCredentialId, ProjectId, UserId};
use model::time::Timestamp;
use vault::ids::{from_hex, to_hex};
use vault::keys::Secret;

use crate::Control;
use crate::access::Caller;
use crate::error::{Error, Reason};
use crate::page::found;

/// How long a token lives, in seconds.
pub const TOKEN_SECONDS: i64 = 3600;
/// Names of users, projects and credentials, in characters.
const NAME_CHARACTERS_MAX: usize = 64;
/// Descriptions and addresses, in characters.
const TEXT_CHARACTERS_MAX: usize = 255;

/// How somebody proves who they are, and for what.
pub enum Login {
    /// By password.
    Password {
        /// Who.
        user: LoginUser,
        /// The password.
        password: String,
        /// For what.
        scope: LoginScope,
    },
    /// By a token that is still valid; the new one ends when the old one does.
    Token {
        /// The token.
        token: String,
        /// For what.
        scope: LoginScope,
    },
    /// By an application credential, which is good for one project.
    ApplicationCredential {
        /// Which.
        credential: LoginCredential,
        /// Its secret.
        secret: String,
        /// For what: nothing, or its project.
        scope: LoginScope,
    },
}

/// How a user is named at log-in.
#[derive(Clone, Debug)]
pub enum LoginUser {
    /// By name, in the one domain.
    Name(String),
    /// By id.
    Id(UserId),
}

/// How an application credential is named at log-in.
#[derive(Clone, Debug)]
pub enum LoginCredential {
    /// By id.
    Id(ApplicationCredentialId),
    /// By the name that its user gave it.
    Name {
        /// The user.
        user: LoginUser,
        /// The name.
        name: String,
    },
}

/// What a token is to be good for.
#[derive(Clone, Debug)]
pub enum LoginScope {
    /// Nothing was said: the user's default project, if there is one that opens, else no project.
    Unsaid,
    /// Only for asking which projects there are; and for operators, for the region.
    Unscoped,
    /// For a project, by id.
    ProjectId(ProjectId),
    /// For a project, by name in the one domain.
    ProjectName(String),
}

/// Somebody who has shown a password, token or secret.
struct Proved {
    user: User,
    proof: Proof,
    grounds: Grounds,
    /// The only project it is good for.
    bound_to: Option<ProjectId>,
    /// It ends then at the latest.
    ends_at: Option<Timestamp>,
}

impl Control {
    /// Makes a token. Every refusal looks the same, whether user, password, secret or project is wrong.
    pub async fn log_in(&self, login: Login) -> Result<(String, TokenScope), Error> {
        let (proved, scope) = match login {
            Login::Password { user, password, scope } => (self.prove_password(user, password).await?, scope),
            Login::Token { token, scope } => (self.prove_token(&token).await?, scope),
            Login::ApplicationCredential { credential, secret, scope } => {
                (self.prove_credential(credential, secret).await?, scope)
            }
        };
        let project = self.project_of_scope(&scope, &proved).await?;
        let now = self.now();
        let fresh_end = now.plus_seconds(TOKEN_SECONDS);
        let expires_at = proved.ends_at.map_or(fresh_end, |end| end.min(fresh_end));
        let token = Secret::generate(self.entropy());
        let (application_credential_id, by_token) = match &proved.proof {
            Proof::ApplicationCredential { id, by_token, .. } => (Some(*id), *by_token),
            Proof::Password { by_token } => (None, *by_token),
            Proof::Signature { .. } | Proof::Elsewhere => return Err(Error::unauthenticated()),
        };
        let row = NewToken {
            token_hash: token_hash(&token),
            user_id: proved.user.id,
            project_id: project.map(|project| project.id),
            application_credential_id,
            by_token,
            issued_at: now,
            expires_at,
        };
        let stored = self.catalog().insert_token(&row, &proved.grounds).await;
        stored.map_err(gone_meanwhile)?;
        let scope = self.catalog().token(row.token_hash, now).await?.ok_or_else(Error::unauthenticated)?;
        Ok((to_hex(token.expose()), scope))
    }

    /// Finds out who calls with a token.
    pub async fn authenticate(&self, token: &str) -> Result<Caller, Error> {
        if let Some(elsewhere) = self.elsewhere_cell().get() {
            return self.authenticate_elsewhere(elsewhere, token).await;
        }
        let hash = parse_token(token)?;
        let scope = self.catalog().token(hash, self.now()).await?.ok_or_else(Error::unauthenticated)?;
        Ok(Caller::new(scope, self.troubles().clone()))
    }

    /// What a token says; a caller may ask about a token of their own, an operator about any.
    pub async fn token_scope(&self, caller: &Caller, subject: &str) -> Result<TokenScope, Error> {
        let missing = || Error::not_found(Reason::NotFound, "the token is not valid");
        let hash = parse_token(subject).map_err(|_| missing())?;
        let scope = self.catalog().token(hash, self.now()).await?.ok_or_else(missing)?;
        if scope.user.id != caller.user().id {
            caller.must_operate().map_err(|_| missing())?;
        }
        Ok(scope)
    }

    /// Ends a token at once; a caller may end their own, an operator any.
    pub async fn revoke_token(&self, caller: &Caller, subject: &str) -> Result<(), Error> {
        self.token_scope(caller, subject).await?;
        self.catalog().revoke_token(parse_token(subject)?).await?;
        Ok(())
    }

    /// Forgets a bounded number of tokens and signatures that are over.
    pub(crate) async fn forget_expired_tokens(&self) -> Result<(), Error> {
        self.catalog().purge_expired_tokens(self.now()).await?;
        Ok(())
    }

    async fn prove_password(&self, user: LoginUser, password: String) -> Result<Proved, Error> {
        let known = self.user_of_login(&user).await?;
        let hash = known.as_ref().map(|(_, hash)| hash.clone());
        let is_right = self.is_secret(password, hash).await?;
        match known {
            Some((user, hash)) if is_right && user.enabled => Ok(Proved {
                user,
                proof: Proof::Password { by_token: false },
                grounds: Grounds::PasswordHash(hash),
                bound_to: None,
                ends_at: None,
            }),
            _ => Err(Error::unauthenticated()),
        }
    }

    async fn prove_token(&self, token: &str) -> Result<Proved, Error> {
        let digest = parse_token(token)?;
        let earlier = self.catalog().token(digest, self.now()).await?.ok_or_else(Error::unauthenticated)?;
        let (proof, bound_to) = match earlier.proof {
            Proof::ApplicationCredential { id, name, is_unrestricted, .. } => {
                let proof = Proof::ApplicationCredential { id, name, is_unrestricted, by_token: true };
                (proof, earlier.project.map(|project| project.id))
            }
            _ => (Proof::Password { by_token: true }, None),
        };
        let grounds = Grounds::Token(digest);
        Ok(Proved { user: earlier.user, proof, grounds, bound_to, ends_at: Some(earlier.expires_at) })
    }

    async fn prove_credential(&self, named: LoginCredential, secret: String) -> Result<Proved, Error> {
        let known = match named {
            LoginCredential::Id(id) => found(self.catalog().application_credential(id).await)?,
            LoginCredential::Name { user, name } => match self.user_of_login(&user).await? {
                Some((user, _)) => {
                    found(self.catalog().application_credential_by_name(user.id, &name).await)?
                }
                None => None,
            },
        };
        let hash = known.as_ref().map(|known| known.secret_hash.clone());
        let is_right = self.is_secret(secret, hash).await?;
        let credential = known.filter(|_| is_right).ok_or_else(Error::unauthenticated)?.credential;
        if credential.expires_at.is_some_and(|end| end <= self.now()) {
            return Err(Error::unauthenticated());
        }
        let user = found(self.catalog().user(credential.user_id).await)?;
        Ok(Proved {
            user: user.filter(|user| user.enabled).ok_or_else(Error::unauthenticated)?,
            proof: Proof::ApplicationCredential {
                id: credential.id,
                name: credential.name,
                is_unrestricted: credential.is_unrestricted,
                by_token: false,
            },
            grounds: Grounds::ApplicationCredential,
            bound_to: Some(credential.project_id),
            ends_at: credential.expires_at,
        })
    }

    async fn user_of_login(&self, user: &LoginUser) -> Result<Option<(User, String)>, Error> {
        match user {
            LoginUser::Name(name) => found(self.catalog().user_by_name(name).await),
            LoginUser::Id(id) => found(self.catalog().user_with_hash(*id).await),
        }
    }

    /// The project that somebody wants and may have. A credential never leaves its own.
    async fn project_of_scope(&self, scope: &LoginScope, proved: &Proved) -> Result<Option<Project>, Error> {
        let wanted = match scope {
            LoginScope::Unsaid => match proved.bound_to.as_ref().or(proved.user.default_project.as_ref()) {
                Some(id) => found(self.catalog().project(id).await)?,
                None => None,
            },
            LoginScope::Unscoped => None,
            LoginScope::ProjectId(id) => {
                Some(found(self.catalog().project(id).await)?.ok_or_else(Error::unauthenticated)?)
            }
            LoginScope::ProjectName(name) => {
                Some(found(self.catalog().project_by_name(name).await)?.ok_or_else(Error::unauthenticated)?)
            }
        };
        if proved.bound_to.is_some() && wanted.as_ref().map(|project| &project.id) != proved.bound_to.as_ref()
        {
            return Err(Error::unauthenticated());
        }
        let Some(project) = wanted else { return Ok(None) };
        let opens =
            project.enabled && !self.catalog().roles(proved.user.id, Some(&project.id)).await?.is_empty();
        match (opens, scope, &proved.bound_to) {
            (true, ..) => Ok(Some(project)),
            // A default project that does not open makes a token without one, as Keystone does.
            (false, LoginScope::Unsaid, None) => Ok(None),
            (false, ..) => Err(Error::unauthenticated()),
        }
    }
}

/// A log-in whose grounds went while it was under way is a wrong one.
fn gone_meanwhile(error: CatalogError) -> Error {
    match error {
        CatalogError::NotFound { .. } => Error::unauthenticated(),
        error => error.into(),
    }
}

fn check_identity_name(field: &str, name: &str) -> Result<(), Error> {
    let fits =
        (1..=NAME_CHARACTERS_MAX).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Error::invalid(field, "must be 1 to 64 printable characters")) }
}

fn check_text(field: &str, text: &str) -> Result<(), Error> {
    match text.chars().count() <= TEXT_CHARACTERS_MAX {
        true => Ok(()),
        false => Err(Error::invalid(field, "must be at most 255 characters long")),
    }
}

fn parse_token(token: &str) -> Result<[u8; 32], Error> {
    let bytes = from_hex::<32>(token).map_err(|_| Error::unauthenticated())?;
    Ok(token_hash(&Secret::new(bytes)))
}

fn token_hash(token: &Secret) -> [u8; 32] {
    *token.derive("antipode v1 token hash").expose()
}
