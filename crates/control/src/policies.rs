//! Policies: made, changed and deleted. Updates merge operations by id and never drop unnamed ones;
//! a definition that is given replaces the old one, so that a limit can be switched off.

use model::ids::{PolicyId, ProjectId, ResourceId, ScheduledOperationId, TriggerId};
use model::policy::{OperationDefinition, Policy, PolicyResource, ScheduledOperation, Trigger};
use model::schedule::Pattern;
use model::text::{Description, Name, Tag};
use model::time::Timestamp;

use crate::Control;
use crate::access::{Action, Caller};
use crate::error::{Error, Reason};
use crate::page::{Page, PageOf, PolicyFilter, PolicySort, found, found_or, page_of};

/// The most servers one policy may name.
const RESOURCES_MAX: usize = 10_000;

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
    /// Which one. May be left out where the policy has one operation of the definition's type.
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
        self.catalog().create_policy(&policy).await?;
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

    /// Changes a policy. Two changes at once: the second is told to read again.
    pub async fn update_policy(
        &self,
        caller: &Caller,
        id: PolicyId,
        change: PolicyChange,
    ) -> Result<Policy, Error> {
        let project = caller.may(Action::ChangePolicies)?;
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
            let field = format!("scheduled_operations[{position}]");
            self.change_operation(&mut policy, operation).map_err(|error| error.at(field))?;
        }
        self.check_operations(&policy.operations)?;
        policy.updated_at = self.now();
        policy.updated_at = self.catalog().update_policy(&policy, seen).await?;
        self.wakes().scheduler.notify_one();
        Ok(policy)
    }

    /// Deletes a policy. Its backups stay, its open replication records finish.
    pub async fn delete_policy(&self, caller: &Caller, id: PolicyId) -> Result<(), Error> {
        let project = caller.may(Action::ChangePolicies)?;
        self.policy_of(project, id).await?;
        self.catalog().delete_policy(project, id, self.now()).await?;
        self.wakes().scheduler.notify_one();
        Ok(())
    }

    pub(crate) async fn policy_of(&self, project: &ProjectId, id: PolicyId) -> Result<Policy, Error> {
        found_or(self.catalog().policy(project, id).await, Reason::PolicyNotFound, "plan not found")
    }

    async fn check_resources(&self, project: &ProjectId, resources: &[PolicyResource]) -> Result<(), Error> {
        if resources.len() > RESOURCES_MAX {
            return Err(Error::invalid("resources", "names too many servers"));
        }
        let mut seen: Vec<&ResourceId> = Vec::with_capacity(resources.len());
        for (position, resource) in resources.iter().enumerate() {
            let field = format!("resources[{position}].id");
            if found(self.catalog().server(project, &resource.id).await)?.is_none() {
                return Err(Error::refused(Reason::ServerNotFound, "server do not exist").at(field));
            }
            seen.push(&resource.id);
        }
        seen.sort();
        if seen.windows(2).any(|pair| pair[0] == pair[1]) {
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
            if definition.operation_type() != operation.definition.operation_type() {
                return Err(Error::invalid("operation_type", "the type of an operation cannot change"));
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
