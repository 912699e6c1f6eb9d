//! Logging in, tokens, and the administration of projects, users and roles.
//!
//! A token is 32 random bytes; the catalog holds its hash only. Passwords are hashed with argon2id on a
//! blocking thread. An unknown user costs the same hash as a wrong password.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use catalog::NewToken;
use model::identity::{Project, Role, TokenScope, User};
use model::ids::{ProjectId, UserId};
use vault::ids::{from_hex, to_hex};
use vault::keys::Secret;

use crate::access::Caller;
use crate::error::{Error, Kind, Reason};
use crate::page::found;
use crate::{Control, blocking};

/// How long a token lives, in seconds.
pub const TOKEN_SECONDS: i64 = 3600;
/// Passwords, in bytes: enough for any person, little enough for the hash.
const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=128;

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
}

/// How a user is named at log-in.
#[derive(Clone, Debug)]
pub enum LoginUser {
    /// By name, in the one domain.
    Name(String),
    /// By id.
    Id(UserId),
}

/// What a token is to be good for.
#[derive(Clone, Debug)]
pub enum LoginScope {
    /// Only for asking which projects there are; and for operators, for the region.
    Unscoped,
    /// For a project, by id.
    ProjectId(ProjectId),
    /// For a project, by name in the one domain.
    ProjectName(String),
}

impl Control {
    /// Makes a token. Every refusal looks the same, whether user, password or project is wrong.
    pub async fn log_in(&self, login: Login) -> Result<(String, TokenScope), Error> {
        let (user, scope, ends_at) = match login {
            Login::Password { user, password, scope } => {
                (self.check_password(user, password).await?, scope, None)
            }
            Login::Token { token, scope } => {
                let earlier = self.authenticate(&token).await?.scope().clone();
                (earlier.user, scope, Some(earlier.expires_at))
            }
        };
        let project = self.project_of_scope(&scope).await?;
        let roles = self.catalog().roles(user.id, project.as_ref().map(|project| &project.id)).await?;
        let may_scope = project.as_ref().is_none_or(|project| project.enabled)
            && (project.is_none() || !roles.is_empty());
        if !may_scope {
            return Err(Error::unauthenticated());
        }
        let now = self.now();
        let fresh_end = now.plus_seconds(TOKEN_SECONDS);
        let expires_at = ends_at.map_or(fresh_end, |end| end.min(fresh_end));
        let token = Secret::generate(self.entropy());
        let row = NewToken {
            token_hash: token_hash(&token),
            user_id: user.id,
            project_id: project.as_ref().map(|project| project.id.clone()),
            issued_at: now,
            expires_at,
        };
        self.catalog().insert_token(&row).await?;
        let scope = TokenScope { user, project, roles, issued_at: now, expires_at };
        Ok((to_hex(token.expose()), scope))
    }

    /// Finds out who calls. The only maker of [`Caller`].
    pub async fn authenticate(&self, token: &str) -> Result<Caller, Error> {
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

    /// The projects a caller has a role in.
    pub async fn projects_of(&self, caller: &Caller) -> Result<Vec<Project>, Error> {
        Ok(self.catalog().projects_of(caller.user().id).await?)
    }

    /// All projects of the region.
    pub async fn projects(&self, caller: &Caller) -> Result<Vec<Project>, Error> {
        caller.must_operate()?;
        Ok(self.catalog().projects().await?)
    }

    /// Makes a project; its id may be that of an existing cloud.
    pub async fn create_project(
        &self,
        caller: &Caller,
        name: &str,
        id: Option<ProjectId>,
    ) -> Result<Project, Error> {
        caller.must_operate()?;
        check_identity_name("name", name)?;
        let id = match id {
            Some(id) => id,
            None => to_hex(&self.entropy_bytes::<16>()).parse()?,
        };
        let project = Project { id, name: name.to_owned(), enabled: true, created_at: self.now() };
        self.catalog().create_project(&project).await?;
        Ok(project)
    }

    /// All users of the region.
    pub async fn users(&self, caller: &Caller) -> Result<Vec<User>, Error> {
        caller.must_operate()?;
        Ok(self.catalog().users().await?)
    }

    /// Makes a user.
    pub async fn create_user(&self, caller: &Caller, name: &str, password: String) -> Result<User, Error> {
        caller.must_operate()?;
        self.add_user(name, password).await
    }

    /// Gives a role in a project, or `operator` in the region.
    pub async fn assign_role(
        &self,
        caller: &Caller,
        user_id: UserId,
        project_id: Option<&ProjectId>,
        role: Role,
    ) -> Result<(), Error> {
        caller.must_operate()?;
        if project_id.is_none() != (role == Role::Operator) {
            return Err(Error::invalid(
                "role",
                "operator is given in the region, every other role in a project",
            ));
        }
        self.catalog().assign_role(user_id, project_id, role).await?;
        Ok(())
    }

    /// Makes a user without asking who wants it: for `init` and for [`Control::create_user`].
    pub(crate) async fn add_user(&self, name: &str, password: String) -> Result<User, Error> {
        check_identity_name("name", name)?;
        if !PASSWORD_BYTES.contains(&password.len()) {
            return Err(Error::invalid("password", "must be 8 to 128 bytes long"));
        }
        let salt = self.entropy_bytes::<16>();
        let hash = blocking(move || hash_password(&password, &salt)).await??;
        let id = UserId::from_entropy(self.entropy_bytes());
        let user = User { id, name: name.to_owned(), enabled: true, created_at: self.now() };
        self.catalog().create_user(&user, &hash).await?;
        Ok(user)
    }

    async fn check_password(&self, user: LoginUser, password: String) -> Result<User, Error> {
        let known = match &user {
            LoginUser::Name(name) => found(self.catalog().user_by_name(name).await)?,
            LoginUser::Id(id) => found(self.catalog().user_with_hash(*id).await)?,
        };
        let salt = self.entropy_bytes::<16>();
        let hash = known.as_ref().map(|(_, hash)| hash.clone());
        let is_right = blocking(move || match hash {
            Some(hash) => verify_password(&password, &hash),
            None => hash_password(&password, &salt).is_err(),
        })
        .await?;
        match known {
            Some((user, _)) if is_right && user.enabled => Ok(user),
            _ => Err(Error::unauthenticated()),
        }
    }

    async fn project_of_scope(&self, scope: &LoginScope) -> Result<Option<Project>, Error> {
        let found = match scope {
            LoginScope::Unscoped => return Ok(None),
            LoginScope::ProjectId(id) => found(self.catalog().project(id).await)?,
            LoginScope::ProjectName(name) => found(self.catalog().project_by_name(name).await)?,
        };
        found.map(Some).ok_or_else(Error::unauthenticated)
    }
}

fn check_identity_name(field: &str, name: &str) -> Result<(), Error> {
    let fits = (1..=64).contains(&name.chars().count()) && !name.chars().any(char::is_control);
    if fits { Ok(()) } else { Err(Error::invalid(field, "must be 1 to 64 printable characters")) }
}

fn parse_token(token: &str) -> Result<[u8; 32], Error> {
    let bytes = from_hex::<32>(token).map_err(|_| Error::unauthenticated())?;
    Ok(token_hash(&Secret::new(bytes)))
}

fn token_hash(token: &Secret) -> [u8; 32] {
    *token.derive("antipode v1 token hash").expose()
}

fn hash_password(password: &str, salt: &[u8]) -> Result<String, Error> {
    let hash: PasswordHash =
        Argon2::default().hash_password_with_salt(password.as_bytes(), salt).map_err(|error| {
            Error::new(Kind::Internal, Reason::Internal, format!("cannot hash the password: {error}"))
        })?;
    Ok(hash.to_string())
}

fn verify_password(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}
