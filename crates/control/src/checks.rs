//! Asking before ordering: could this server be backed up, could this backup be restored onto that server? The
//! answers go by the same rules as the orders themselves, change nothing, and hold for this moment.

use catalog::Conflict;
use model::ids::{CheckpointItemId, ProjectId, ResourceId};
use model::policy::RESOURCE_TYPE;
use model::quota::Exceeded;
use model::restore::RestoreVolume;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Kind, Reason};
use crate::page::found;

/// The most questions that one call may ask.
pub const QUESTIONS_MAX: usize = 1000;
/// How much of a caller's text comes back in a refusal, in characters.
const ECHO_CHARACTERS: usize = 80;

/// A thing that a question is about.
#[derive(Clone, Debug)]
pub struct ResourceNamed {
    /// Its id.
    pub id: ResourceId,
    /// What it is, as the caller says.
    pub resource_type: String,
}

/// Whether a backup could be restored.
#[derive(Clone, Debug)]
pub struct RestoreQuestion {
    /// The backup.
    pub item_id: CheckpointItemId,
    /// What is to receive it.
    pub target: ResourceNamed,
    /// Which disk goes where.
    pub volumes: Vec<RestoreVolume>,
}

/// What a question is answered.
#[derive(Debug)]
pub enum Verdict {
    /// It can be done; sometimes there is something to know before.
    Yes(Option<Error>),
    /// It would be refused so.
    No(Error),
}

impl Control {
    /// Whether these servers could be backed up, one answer each, in order.
    pub async fn check_protectable(
        &self,
        caller: &Caller,
        resources: &[ResourceNamed],
    ) -> Result<Vec<Verdict>, Error> {
        let project = caller.may(Action::Read)?;
        require_few(resources.len())?;
        self.refuse_when_blocked().await?;
        let (quota, usage) = self.catalog().quota(project).await?;
        let room = quota.allow(&usage, 1);
        let mut verdicts = Vec::with_capacity(resources.len());
        for resource in resources {
            verdicts.push(match self.require_protectable(project, resource, room).await {
                Ok(()) => Verdict::Yes(self.policy_note(project, &resource.id).await?),
                Err(error) => refusal(error)?,
            });
        }
        Ok(verdicts)
    }

    /// Whether these backups could be restored so, one answer each, in order.
    pub async fn check_restorable(
        &self,
        caller: &Caller,
        questions: Vec<RestoreQuestion>,
    ) -> Result<Vec<Verdict>, Error> {
        let project = caller.may(Action::Read)?;
        require_few(questions.len())?;
        let mut verdicts = Vec::with_capacity(questions.len());
        for question in questions {
            verdicts.push(match self.may_restore(project, question).await {
                Ok(()) => Verdict::Yes(None),
                Err(error) => refusal(error)?,
            });
        }
        Ok(verdicts)
    }

    async fn require_protectable(
        &self,
        project: &ProjectId,
        resource: &ResourceNamed,
        room: Result<(), Exceeded>,
    ) -> Result<(), Error> {
        if resource.resource_type != RESOURCE_TYPE {
            let (resource, resource_type) = echo(resource);
            return Err(Error::refused(Reason::ResourceTypeUnsupported { resource, resource_type }, ""));
        }
        let server = found(self.catalog().server(project, &resource.id).await)?
            .ok_or_else(|| Error::refused(Reason::ServerNotFound, "server do not exist"))?;
        if server.volumes.is_empty() {
            return Err(Error::refused(Reason::NoVolumes { server: server.id.to_string() }, ""));
        }
        room.map_err(|exceeded| Error::from(Conflict::from(exceeded)))
    }

    /// A server of a policy can be backed up by hand as well; whoever is about to bind it should know.
    async fn policy_note(&self, project: &ProjectId, server: &ResourceId) -> Result<Option<Error>, Error> {
        let policy = self.catalog().policy_of_server(project, server).await?;
        let note = |id| {
            let reason = Reason::ServerInPolicy { server: server.to_string() };
            Error::refused(reason, format!("policy {id} has it; it can be backed up by hand as well"))
        };
        Ok(policy.map(|policy| note(policy.id)))
    }

    async fn may_restore(&self, project: &ProjectId, question: RestoreQuestion) -> Result<(), Error> {
        let RestoreQuestion { item_id, target, volumes } = question;
        if target.resource_type != RESOURCE_TYPE {
            let (resource, resource_type) = echo(&target);
            return Err(Error::refused(Reason::TargetTypeUnsupported { resource, resource_type }, ""));
        }
        let item = self.item_of(project, item_id).await?;
        let (server, _) = self.require_restorable(project, &item, &target.id, volumes).await?;
        if self.catalog().is_restoring(&server.id).await? {
            return Err(Error::conflict(Reason::TargetRestoring, ""));
        }
        Ok(())
    }
}

fn require_few(count: usize) -> Result<(), Error> {
    if count > QUESTIONS_MAX {
        return Err(Error::invalid("body", format!("asks about more than {QUESTIONS_MAX} things")));
    }
    Ok(())
}

/// A refusal is an answer; a fault of ours, or something that does not answer, is none.
fn refusal(error: Error) -> Result<Verdict, Error> {
    match error.kind {
        Kind::Invalid | Kind::NotFound | Kind::Conflict | Kind::OverQuota => Ok(Verdict::No(error)),
        Kind::Unauthenticated | Kind::Forbidden | Kind::Unavailable | Kind::Internal => Err(error),
    }
}

fn echo(resource: &ResourceNamed) -> (String, String) {
    (resource.id.to_string(), resource.resource_type.chars().take(ECHO_CHARACTERS).collect())
}
