//! Application credentials: a user makes them for programs, with roles that the user has in one project.

use catalog::StoredApplicationCredential;
use model::identity::{ApplicationCredential, Role};
use model::ids::{ApplicationCredentialId, UserId};
use model::time::Timestamp;
use vault::ids::to_hex;

use super::{check_identity_name, check_text};
use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::found;

/// An application credential to be made, in the project of the caller's token.
#[derive(Clone, Debug)]
pub struct NewApplicationCredential {
    /// Its name, unique among the user's.
    pub name: String,
    /// What people write about it.
    pub description: String,
    /// Its secret; one is made if left out.
    pub secret: Option<String>,
    /// Its roles; all that the caller has in the project if left out.
    pub roles: Option<Vec<Role>>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Whether its tokens may make and delete credentials.
    pub is_unrestricted: bool,
}

impl Control {
    /// Makes an application credential, and gives its secret this once. It is never wider than the caller's
    /// token: roles of the region do not go into it, and a credential makes none unless it is unrestricted.
    pub async fn create_application_credential(
        &self,
        caller: &Caller,
        user_id: UserId,
        new: NewApplicationCredential,
    ) -> Result<(ApplicationCredential, String), Error> {
        require_self(caller, user_id)?;
        caller.may_manage_credentials()?;
        let project =
            caller.project().ok_or_else(|| Error::forbidden("the token is not scoped to a project"))?;
        check_identity_name("name", &new.name)?;
        check_text("description", &new.description)?;
        let has = |role: &Role| !role.is_of_region() && caller.scope().roles.contains(role);
        let roles = match new.roles {
            Some(roles) => roles,
            None => caller.scope().roles.iter().copied().filter(has).collect(),
        };
        if roles.is_empty() || !roles.iter().all(has) {
            return Err(Error::invalid("roles", "must be roles that the token has in its project"));
        }
        if new.expires_at.is_some_and(|end| end <= self.now()) {
            return Err(Error::invalid("expires_at", "is over"));
        }
        let secret = new.secret.unwrap_or_else(|| to_hex(&self.entropy_bytes::<32>()));
        let secret_hash = self.hash_secret("secret", secret.clone()).await?;
        let credential = ApplicationCredential {
            id: ApplicationCredentialId::from_entropy(self.entropy_bytes()),
            user_id,
            project_id: project.id.clone(),
            name: new.name,
            description: new.description,
            roles,
            is_unrestricted: new.is_unrestricted,
            expires_at: new.expires_at,
            created_at: self.now(),
        };
        let stored = StoredApplicationCredential { credential, secret_hash };
        self.catalog().create_application_credential(&stored).await?;
        Ok((stored.credential, secret))
    }

    /// A user's application credentials, or the one of a name.
    pub async fn application_credentials(
        &self,
        caller: &Caller,
        user_id: UserId,
        name: Option<&str>,
    ) -> Result<Vec<ApplicationCredential>, Error> {
        require_self_or(caller, user_id, Action::ReadIdentity)?;
        Ok(self.catalog().application_credentials(user_id, name).await?)
    }

    /// One application credential of a user.
    pub async fn application_credential(
        &self,
        caller: &Caller,
        user_id: UserId,
        id: ApplicationCredentialId,
    ) -> Result<ApplicationCredential, Error> {
        require_self_or(caller, user_id, Action::ReadIdentity)?;
        let known = found(self.catalog().application_credential(id).await)?;
        let of_user = known.map(|known| known.credential).filter(|known| known.user_id == user_id);
        of_user.ok_or_else(|| Error::not_found(Reason::NotFound, "there is no such application credential"))
    }

    /// Deletes an application credential of a user, and ends its tokens.
    pub async fn delete_application_credential(
        &self,
        caller: &Caller,
        user_id: UserId,
        id: ApplicationCredentialId,
    ) -> Result<(), Error> {
        require_self_or(caller, user_id, Action::ChangeIdentity)?;
        caller.may_manage_credentials()?;
        Ok(self.catalog().delete_application_credential(user_id, id).await?)
    }
}

fn require_self(caller: &Caller, user_id: UserId) -> Result<(), Error> {
    match user_id == caller.user().id {
        true => Ok(()),
        false => Err(Error::forbidden("credentials are made by their own user")),
    }
}

fn require_self_or(caller: &Caller, user_id: UserId, action: Action) -> Result<(), Error> {
    if user_id == caller.user().id { Ok(()) } else { caller.may_in_region(action) }
}
