//! Users: their administration, and what a user does for themselves.

use catalog::UserChange;
use model::identity::{Project, User};
use model::ids::{ProjectId, UserId};

use super::{check_identity_name, check_text};
use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::{found, found_or};

/// What is to be changed of a user; what is left out stays.
#[derive(Clone, Debug, Default)]
pub struct UserUpdate {
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
    /// Another password.
    pub password: Option<String>,
}

impl Control {
    /// All users of the region, or the one of a name.
    pub async fn users(&self, caller: &Caller, name: Option<&str>) -> Result<Vec<User>, Error> {
        caller.may_in_region(Action::ReadIdentity)?;
        Ok(self.catalog().users(name).await?)
    }

    /// One user: the caller, or anybody for those who may read all. Foreign and absent look the same.
    pub async fn user(&self, caller: &Caller, id: UserId) -> Result<User, Error> {
        let missing = "there is no such user";
        if id != caller.user().id && caller.may_in_region(Action::ReadIdentity).is_err() {
            return Err(Error::not_found(Reason::NotFound, missing));
        }
        found_or(self.catalog().user(id).await, Reason::NotFound, missing)
    }

    /// Makes a user. A name and a password must be there.
    pub async fn create_user(&self, caller: &Caller, new: UserUpdate) -> Result<User, Error> {
        caller.may_in_region(Action::ChangeIdentity)?;
        self.check_user(&new).await?;
        let UserUpdate { name, description, email, default_project, enabled, password } = new;
        let password = password.ok_or_else(|| Error::invalid("password", "is missing"))?;
        let user = User {
            id: UserId::from_entropy(self.entropy_bytes()),
            name: name.ok_or_else(|| Error::invalid("name", "is missing"))?,
            description: description.unwrap_or_default(),
            email: email.unwrap_or_default(),
            default_project,
            enabled: enabled.unwrap_or(true),
            created_at: self.now(),
        };
        self.add_user(user, password).await
    }

    /// Changes a user. Another password, and disabling, end the user's tokens.
    pub async fn update_user(&self, caller: &Caller, id: UserId, update: UserUpdate) -> Result<User, Error> {
        caller.may_in_region(Action::ChangeIdentity)?;
        self.check_user(&update).await?;
        let password_hash = match update.password {
            Some(password) => Some(self.hash_secret("password", password).await?),
            None => None,
        };
        let UserUpdate { name, description, email, default_project, enabled, .. } = update;
        let change = UserChange { name, description, email, default_project, enabled, password_hash };
        Ok(self.catalog().update_user(id, &change).await?)
    }

    /// Deletes a user.
    pub async fn delete_user(&self, caller: &Caller, id: UserId) -> Result<(), Error> {
        caller.may_in_region(Action::ChangeIdentity)?;
        Ok(self.catalog().delete_user(id).await?)
    }

    /// Changes the caller's own password, and ends all of the caller's tokens. A program with a credential
    /// cannot do so.
    pub async fn change_own_password(
        &self,
        caller: &Caller,
        id: UserId,
        old: String,
        new: String,
    ) -> Result<(), Error> {
        if id != caller.user().id {
            return Err(Error::forbidden("a password is changed by its own user"));
        }
        caller.may_manage_credentials()?;
        let (_, hash) = self.catalog().user_with_hash(id).await?;
        if !self.is_secret(old, Some(hash)).await? {
            return Err(Error::unauthenticated());
        }
        let password_hash = Some(self.hash_secret("password", new).await?);
        self.catalog().update_user(id, &UserChange { password_hash, ..UserChange::default() }).await?;
        Ok(())
    }

    /// The projects of a user: the caller, or anybody for those who may read all.
    pub async fn projects_of_user(&self, caller: &Caller, id: UserId) -> Result<Vec<Project>, Error> {
        if id == caller.user().id {
            return self.projects_of(caller).await;
        }
        self.user(caller, id).await?;
        Ok(self.catalog().projects_of(id).await?)
    }

    /// Makes a user without asking who wants it: for `init` and for [`Control::create_user`].
    pub(crate) async fn add_user(&self, user: User, password: String) -> Result<User, Error> {
        check_identity_name("name", &user.name)?;
        let hash = self.hash_secret("password", password).await?;
        self.catalog().create_user(&user, &hash).await?;
        Ok(user)
    }

    async fn check_user(&self, update: &UserUpdate) -> Result<(), Error> {
        update.name.as_ref().map_or(Ok(()), |name| check_identity_name("name", name))?;
        update.description.as_ref().map_or(Ok(()), |text| check_text("description", text))?;
        update.email.as_ref().map_or(Ok(()), |text| check_text("email", text))?;
        if let Some(project) = &update.default_project
            && found(self.catalog().project(project).await)?.is_none()
        {
            return Err(Error::invalid("default_project_id", "names no project"));
        }
        Ok(())
    }
}
