//! Projects: those a caller may use, and their administration.

use catalog::ProjectChange;
use model::identity::{Project, Role};
use model::ids::ProjectId;
use vault::ids::to_hex;

use super::{check_identity_name, check_text};
use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::found;

impl Control {
    /// The projects that a caller may have a token for.
    pub async fn projects_of(&self, caller: &Caller) -> Result<Vec<Project>, Error> {
        if let (false, Some(project)) = (caller.may_rescope(), caller.project()) {
            return Ok(vec![project.clone()]);
        }
        if caller.scope().roles.contains(&Role::Service) {
            let projects = self.catalog().projects(None).await?;
            return Ok(projects.into_iter().filter(|project| project.enabled).collect());
        }
        Ok(self.catalog().projects_of(caller.user().id).await?)
    }

    /// All projects of the region, or the one of a name.
    pub async fn projects(&self, caller: &Caller, name: Option<&str>) -> Result<Vec<Project>, Error> {
        caller.may_in_region(Action::ReadIdentity)?;
        Ok(self.catalog().projects(name).await?)
    }

    /// One project: anybody's who may read all, else only one that the caller may use. Foreign and absent look
    /// the same.
    pub async fn project(&self, caller: &Caller, id: &ProjectId) -> Result<Project, Error> {
        let missing = || Error::not_found(Reason::NotFound, "there is no such project");
        if caller.may_in_region(Action::ReadIdentity).is_ok() {
            return found(self.catalog().project(id).await)?.ok_or_else(missing);
        }
        let own = self.projects_of(caller).await?;
        own.into_iter().find(|project| project.id == *id).ok_or_else(missing)
    }

    /// Makes a project; its id may be that of an existing cloud.
    pub async fn create_project(
        &self,
        caller: &Caller,
        new: &ProjectChange,
        id: Option<ProjectId>,
    ) -> Result<Project, Error> {
        caller.may_in_region(Action::ChangeIdentity)?;
        check_project(new)?;
        let id = match id {
            Some(id) => id,
            None => to_hex(&self.entropy_bytes::<16>()).parse()?,
        };
        let project = Project {
            id,
            name: new.name.clone().ok_or_else(|| Error::invalid("name", "is missing"))?,
            description: new.description.clone().unwrap_or_default(),
            enabled: new.enabled.unwrap_or(true),
            created_at: self.now(),
        };
        self.catalog().create_project(&project).await?;
        Ok(project)
    }

    /// Changes a project. Disabling it ends its tokens.
    pub async fn update_project(
        &self,
        caller: &Caller,
        id: &ProjectId,
        change: &ProjectChange,
    ) -> Result<Project, Error> {
        caller.may_in_region(Action::ChangeIdentity)?;
        check_project(change)?;
        Ok(self.catalog().update_project(id, change, self.now()).await?)
    }

    /// Deletes a project that owns nothing.
    pub async fn delete_project(&self, caller: &Caller, id: &ProjectId) -> Result<(), Error> {
        caller.may_in_region(Action::ChangeIdentity)?;
        Ok(self.catalog().delete_project(id, self.now()).await?)
    }
}

fn check_project(change: &ProjectChange) -> Result<(), Error> {
    change.name.as_ref().map_or(Ok(()), |name| check_identity_name("name", name))?;
    change.description.as_ref().map_or(Ok(()), |text| check_text("description", text))
}
