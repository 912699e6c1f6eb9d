//! Who has which role where.

use model::identity::{Project, Role};
use model::ids::{ProjectId, UserId};

use super::{project_of_row, select};
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::page::Where;
use crate::value::values;

/// A role that a user has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleAssignment {
    /// Who has it.
    pub user_id: UserId,
    /// The user's name.
    pub user_name: String,
    /// Where, or nothing for the region itself.
    pub project: Option<(ProjectId, String)>,
    /// The role.
    pub role: Role,
}

/// Which assignments are wanted; what is left out does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AssignmentFilter {
    /// Of this user.
    pub user_id: Option<UserId>,
    /// In this project.
    pub project_id: Option<ProjectId>,
    /// In the region itself.
    pub is_of_region: bool,
    /// Of this role.
    pub role: Option<Role>,
}

impl Catalog {
    /// Gives a user a role in a project, or outside any. Giving it again changes nothing.
    pub async fn assign_role(
        &self,
        user: UserId,
        project: Option<&ProjectId>,
        role: Role,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("assigning a role").await?;
        require_both(&mut tx, user, project).await?;
        tx.execute(
            "INSERT INTO role_assignments (user_id, project_id, role) VALUES ($1, $2, $3) \
             ON CONFLICT DO NOTHING",
            values![user, project_key(project), role.word()],
        )
        .await?;
        tx.commit().await
    }

    /// Takes a role away. `NotFound` when the user does not have it; `LastOperator`. Tokens lose it at once,
    /// and end when none is left, because every use of a token reads the roles.
    pub async fn unassign_role(
        &self,
        user: UserId,
        project: Option<&ProjectId>,
        role: Role,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("taking a role away").await?;
        require_both(&mut tx, user, project).await?;
        if role == Role::Operator {
            require_another_operator(&mut tx, user).await?;
        }
        let gone = tx
            .execute(
                "DELETE FROM role_assignments WHERE user_id = $1 AND project_id = $2 AND role = $3",
                values![user, project_key(project), role.word()],
            )
            .await?;
        if gone == 0 {
            return Err(CatalogError::not_found("role assignment", role.word()));
        }
        tx.commit().await
    }

    /// The roles a user has in a project (or outside any), those of the region whatever the project.
    pub async fn roles(&self, user: UserId, project: Option<&ProjectId>) -> Result<Vec<Role>, CatalogError> {
        let mut tx = self.read("reading roles").await?;
        roles_of(&mut tx, user, project).await
    }

    /// Assignments, by user, project and role.
    pub async fn role_assignments(
        &self,
        filter: &AssignmentFilter,
    ) -> Result<Vec<RoleAssignment>, CatalogError> {
        let mut tx = self.read("listing role assignments").await?;
        let mut wanted = Where::new();
        if let Some(user) = filter.user_id {
            wanted.compare("a.user_id =", user);
        }
        if let Some(project) = &filter.project_id {
            wanted.compare("a.project_id =", project);
        }
        if filter.is_of_region {
            wanted.term("a.project_id = ''");
        }
        if let Some(role) = filter.role {
            wanted.compare("a.role =", role.word());
        }
        let sql = format!(
            "SELECT a.user_id, u.name AS user_name, p.id AS project_id, p.name AS project_name, a.role \
             FROM role_assignments a JOIN users u ON u.id = a.user_id \
             LEFT JOIN projects p ON p.id = a.project_id {} ORDER BY u.name, a.project_id, a.role",
            wanted.clause()
        );
        let rows = tx.all(sqlx::AssertSqlSafe(sql), wanted.into_values()).await?;
        let assignment = |row: &crate::value::Row| {
            let project = match row.optional_id("project_id")? {
                Some(id) => Some((id, row.text("project_name")?)),
                None => None,
            };
            Ok(RoleAssignment {
                user_id: row.id("user_id")?,
                user_name: row.text("user_name")?,
                project,
                role: row.word("role", Role::from_word)?,
            })
        };
        rows.iter().map(assignment).collect()
    }

    /// The enabled projects in which a user has a role, by name.
    pub async fn projects_of(&self, user: UserId) -> Result<Vec<Project>, CatalogError> {
        let mut tx = self.read("listing the projects of a user").await?;
        let rows = tx
            .all(
                select(
                    "WHERE enabled = 1 AND id IN (SELECT project_id FROM role_assignments WHERE user_id = $1) \
                     ORDER BY name",
                ),
                values![user],
            )
            .await?;
        rows.iter().map(project_of_row).collect()
    }
}

pub(super) async fn roles_of(
    tx: &mut Tx,
    user: UserId,
    project: Option<&ProjectId>,
) -> Result<Vec<Role>, CatalogError> {
    let rows = tx
        .all(
            "SELECT DISTINCT role FROM role_assignments WHERE user_id = $1 AND project_id IN ($2, '')",
            values![user, project_key(project)],
        )
        .await?;
    let mut roles =
        rows.iter().map(|row| row.word("role", Role::from_word)).collect::<Result<Vec<_>, _>>()?;
    roles.sort();
    Ok(roles)
}

/// Refuses to take the last operator away who can log in. The region's row is locked, so that two who leave
/// at the same moment see each other.
pub(super) async fn require_another_operator(tx: &mut Tx, user: UserId) -> Result<(), CatalogError> {
    tx.execute("UPDATE region SET name = name", values![]).await?;
    let sql = "SELECT u.id FROM role_assignments a JOIN users u ON u.id = a.user_id \
               WHERE a.project_id = '' AND a.role = 'operator' AND u.enabled = 1";
    let operators = tx.all(sql, values![]).await?;
    let operators = operators.iter().map(|row| row.id("id")).collect::<Result<Vec<UserId>, _>>()?;
    match operators.as_slice() {
        [only] if *only == user => Err(Conflict::LastOperator.into()),
        _ => Ok(()),
    }
}

async fn require_both(tx: &mut Tx, user: UserId, project: Option<&ProjectId>) -> Result<(), CatalogError> {
    let known = tx.first("SELECT id FROM users WHERE id = $1", values![user]).await?;
    known.ok_or_else(|| CatalogError::not_found("user", user))?;
    if let Some(project) = project {
        let known = tx.first("SELECT id FROM projects WHERE id = $1", values![project]).await?;
        known.ok_or_else(|| CatalogError::not_found("project", project))?;
    }
    Ok(())
}

fn project_key(project: Option<&ProjectId>) -> &str {
    project.map_or("", ProjectId::as_str)
}
