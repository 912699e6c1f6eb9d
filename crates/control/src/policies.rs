//! Policies: made, changed and deleted. Updates merge operations by id and never drop unnamed ones;
//! a definition that is given replaces the old one, so that a limit can be switched off.

pub use catalog::Adopted;
use model::ids::{PolicyId, ProjectId, ResourceId, ScheduledOperationId, TriggerId};
use model::policy::{OperationDefinition, Policy, PolicyResource, ScheduledOperation, Trigger};
use model::schedule::Pattern;
use model::text::{Description, Name, Tag};
use model::time::Timestamp;
use vault::crash_point;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::{Page, PageOf, PolicyFilter, PolicySort, found_or, page_of};

/// The most servers one policy may name.
const RESOURCES_MAX: usize = 10_000;

/// How often a change is made anew from what somebody else changed meanwhile.
const UPDATE_TRIES: u32 = 8;

/// The limits of the origin. They are off unless an operator sets them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicyLimits {
    /// The most policies of one project.
    pub policies_max: Option<u32>,
    /// The most servers of one policy.
    pub servers_max: Option<u32>,
}

/// A policy to be made.
#[derive(Clone, Debug)]
pub struct NewPolicy {
    /// Its name.
    pub name: Name,
    /// What people say about it.
    pub description: Description,
    /// JSON text of `parameters.common`.
    pub parameters: String,
    /// What it protects.
    pub resources: Vec<PolicyResource>,
    /// When it does what.
    pub operations: Vec<NewOperation>,
    /// Tags.
    pub tags: Vec<Tag>,
}

/// A scheduled operation to be made.
#[derive(Clone, Debug)]
pub struct NewOperation {
    /// Its name; may be empty.
    pub name: String,
    /// What people say about it.
    pub description: Description,
    /// Whether the schedule runs.
    pub enabled: bool,
    /// What it does.
    pub definition: OperationDefinition,
    /// When.
    pub pattern: Pattern,
}

/// What an update changes; nothing means: leave as it is.
#[derive(Clone, Debug, Default)]
pub struct PolicyChange {
    /// A new name.
    pub name: Option<Name>,
    /// A new description.
    pub description: Option<Description>,
    /// New parameters.
    pub parameters: Option<String>,
    /// The full new set of servers.
    pub resources: Option<Vec<PolicyResource>>,
    /// Operations to change.
    pub operations: Vec<OperationChange>,
}

/// What an update changes in one operation.
#[derive(Clone, Debug, Default)]
pub struct OperationChange {
    /// Which one; mandatory, and still an option so that its absence is refused by name.
    pub id: Option<ScheduledOperationId>,
    /// A new name.
    pub name: Option<String>,
    /// A new description.
    pub description: Option<Description>,
    /// Switch the schedule on or off.
    pub enabled: Option<bool>,
    /// A new definition of the same type.
    pub definition: Option<OperationDefinition>,
    /// A new calendar; renews the start time.
    pub pattern: Option<Pattern>,
}

impl Control {
    /// Makes a policy.
    pub async fn create_policy(&self, caller: &Caller, new: NewPolicy) -> Result<Policy, Error> {
        let project = caller.may(Action::ChangePolicies)?;
        let now = self.now();
        self.check_resources(project, &new.resources).await?;
        let operations =
            new.operations.into_iter().map(|operation| self.new_operation(operation, now)).collect();
        let policy = Policy {
            id: PolicyId::from_entropy(self.entropy_bytes()),
            project_id: project.clone(),
            name: new.name,
            description: new.description,
            parameters: new.parameters,
            resources: new.resources,
            operations: backup_first(operations),
            tags: new.tags,
            created_at: now,
            updated_at: now,
        };
        self.check_operations(&policy.operations)?;
        self.catalog().create_policy(&policy, self.parts().policy_limits.policies_max).await?;
        self.wakes().scheduler.notify_one();
        Ok(policy)
    }

    /// One policy.
    pub async fn policy(&self, caller: &Caller, id: PolicyId) -> Result<Policy, Error> {
        let project = caller.may(Action::Read)?;
        self.policy_of(project, id).await
    }

    /// The policies of the caller's project.
    pub async fn policies(
        &self,
        caller: &Caller,
        filter: &PolicyFilter,
        page: &Page<PolicySort>,
    ) -> Result<PageOf<Policy>, Error> {
        let project = caller.may(Action::Read)?;
        page_of(page, async |page| self.catalog().policies(project, filter, &page).await).await
    }

    /// Changes a policy. Of two changes at once the second is made from what the first one left.
    pub async fn update_policy(
        &self,
        caller: &Caller,
        id: PolicyId,
        change: PolicyChange,
    ) -> Result<Policy, Error> {
        let project = caller.may(Action::ChangePolicies)?;
        for _ in 1..UPDATE_TRIES {
            match self.update_policy_once(project, id, change.clone()).await {
                Err(error) if error.reason == Reason::PolicyChanged => {}
                done => return done,
            }
        }
        self.update_policy_once(project, id, change).await
    }

    async fn update_policy_once(
        &self,
        project: &ProjectId,
        id: PolicyId,
        change: PolicyChange,
    ) -> Result<Policy, Error> {
        let mut policy = self.policy_of(project, id).await?;
        let seen = policy.updated_at;
        if let Some(resources) = change.resources {
            self.check_resources(project, &resources).await?;
            policy.resources = resources;
        }
        policy.name = change.name.unwrap_or(policy.name);
        policy.description = change.description.unwrap_or(policy.description);
        policy.parameters = change.parameters.unwrap_or(policy.parameters);
        for (position, operation) in change.operations.into_iter().enumerate() {
            self.change_operation(&mut policy, operation).map_err(|mut error| {
                let part = error.field.take().unwrap_or_default();
                error.at(format!("scheduled_operations[{position}].{part}"))
            })?;
        }
        self.check_operations(&policy.operations)?;
        policy.updated_at = self.now();
        policy.updated_at = self.catalog().update_policy(&policy, seen).await?;
        self.wakes().scheduler.notify_one();
        Ok(policy)
    }

    /// Deletes a policy. Its backups stay until somebody deletes them or another policy adopts them: no
    /// retention governs them any more. A run that is going on and its open replication records finish.
    pub async fn delete_policy(&self, caller: &Caller, id: PolicyId) -> Result<(), Error> {
        let project = caller.may(Action::ChangePolicies)?;
        self.policy_of(project, id).await?;
        self.catalog().delete_policy(project, id, self.now()).await?;
        crash_point!("policy.deleted");
        self.wakes().scheduler.notify_one();
        Ok(())
    }

    /// Gives a policy the backups of a deleted one of the same project: from now on its retention applies to
    /// them, and what was replicated is not replicated again. Doing it again changes nothing.
    pub async fn adopt_policy(&self, caller: &Caller, id: PolicyId, old: PolicyId) -> Result<Adopted, Error> {
        let project = caller.may(Action::ChangePolicies)?;
        let adopted = self.catalog().adopt_policy(project, id, old, self.now()).await?;
        crash_point!("policy.adopted");
        self.wakes().scheduler.notify_one();
        Ok(adopted)
    }

    pub(crate) async fn policy_of(&self, project: &ProjectId, id: PolicyId) -> Result<Policy, Error> {
        found_or(self.catalog().policy(project, id).await, Reason::PolicyNotFound, "plan not found")
    }

    async fn check_resources(&self, project: &ProjectId, resources: &[PolicyResource]) -> Result<(), Error> {
        let servers_max = self.parts().policy_limits.servers_max;
        let servers_max = servers_max.map_or(RESOURCES_MAX, |most| RESOURCES_MAX.min(most as usize));
        if resources.len() > servers_max {
            return Err(Error::invalid("resources", format!("names more than {servers_max} servers")));
        }
        let mut named: Vec<&ResourceId> = resources.iter().map(|resource| &resource.id).collect();
        let known = self.catalog().known_servers(project, &named).await?;
        if let Some(position) = named.iter().position(|id| !known.contains(*id)) {
            let field = format!("resources[{position}].id");
            return Err(Error::refused(Reason::ServerNotFound, "server do not exist").at(field));
        }
        named.sort();
        if named.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Error::invalid("resources", "names one server twice"));
        }
        Ok(())
    }

    fn check_operations(&self, operations: &[ScheduledOperation]) -> Result<(), Error> {
        let count = |word: &str| operations.iter().filter(|o| o.definition.operation_type() == word).count();
        if count("backup") > 1 || count("replication") > 1 {
            return Err(Error::invalid(
                "scheduled_operations",
                "holds at most one backup and one replication operation",
            ));
        }
        for operation in operations {
            if let OperationDefinition::Replication { destination_region, .. } = &operation.definition {
                self.require_destination(destination_region)?;
            }
        }
        Ok(())
    }

    fn new_operation(&self, new: NewOperation, now: Timestamp) -> ScheduledOperation {
        ScheduledOperation {
            id: ScheduledOperationId::from_entropy(self.entropy_bytes()),
            name: new.name,
            description: new.description,
            enabled: new.enabled,
            definition: new.definition,
            trigger: Trigger {
                id: TriggerId::from_entropy(self.entropy_bytes()),
                pattern: new.pattern,
                start_time: now,
            },
        }
    }

    fn change_operation(&self, policy: &mut Policy, change: OperationChange) -> Result<(), Error> {
        let now = self.now();
        let id = change.id.ok_or_else(|| Error::invalid("id", "each scheduled operation needs its id"))?;
        let operation = policy
            .operations
            .iter_mut()
            .find(|operation| operation.id == id)
            .ok_or_else(|| Error::invalid("id", "the policy has no such scheduled operation"))?;
        if let Some(definition) = change.definition {
            let (old, new) = (operation.definition.operation_type(), definition.operation_type());
            if old != new {
                let why = format!("is that of a {new}, and the operation is a {old}; its type cannot change");
                return Err(Error::invalid("operation_definition", why));
            }
            operation.definition = definition;
        }
        operation.name = change.name.unwrap_or_else(|| operation.name.clone());
        operation.description = change.description.unwrap_or_else(|| operation.description.clone());
        operation.enabled = change.enabled.unwrap_or(operation.enabled);
        if let Some(pattern) = change.pattern
            && pattern != operation.trigger.pattern
        {
            operation.trigger.pattern = pattern;
            operation.trigger.start_time = now;
        }
        Ok(())
    }
}

/// Clients written for one operation read the first: it is the backup.
fn backup_first(mut operations: Vec<ScheduledOperation>) -> Vec<ScheduledOperation> {
    operations.sort_by_key(|operation| !matches!(operation.definition, OperationDefinition::Backup { .. }));
    operations
}
