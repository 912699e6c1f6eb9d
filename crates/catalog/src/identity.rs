//! Projects of the embedded identity service; users, roles and what people log in with beside it. Tokens and
//! secrets are kept as digests, or sealed: a stolen catalog opens no session.

mod access_keys;
mod application_credentials;
mod roles;
mod tokens;
mod users;

pub use access_keys::{NewAccessKey, SealedAccessKey};
pub use application_credentials::StoredApplicationCredential;
pub use roles::{AssignmentFilter, RoleAssignment};
pub use tokens::{Grounds, NewToken};
pub use users::UserChange;

use model::identity::Project;
use model::ids::ProjectId;
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::state_outbox::{StateSubject, note_change, note_deletion};
use crate::value::{Row, values};

const COLUMNS: &str = "id, name, description, enabled, created_at";

/// What is to be changed of a project; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProjectChange {
    /// Its name.
    pub name: Option<String>,
    /// What people write about it.
    pub description: Option<String>,
    /// Whether it may be used.
    pub enabled: Option<bool>,
}

impl Catalog {
    /// Makes a project. `IdTaken` or `NameTaken` when there is one.
    pub async fn create_project(&self, project: &Project) -> Result<(), CatalogError> {
        let mut tx = self.write("creating a project").await?;
        insert_project(&mut tx, project).await?;
        note_change(&mut tx, StateSubject::Project, &project.id, &project.id, project.created_at).await?;
        tx.commit().await
    }

    /// All projects, by name; or the one of a name.
    pub async fn projects(&self, name: Option<&str>) -> Result<Vec<Project>, CatalogError> {
        let mut tx = self.read("listing projects").await?;
        let sql = select("WHERE $1 IS NULL OR name = $1 ORDER BY name");
        tx.all(sql, values![name]).await?.iter().map(project_of_row).collect()
    }

    /// One project.
    pub async fn project(&self, id: &ProjectId) -> Result<Project, CatalogError> {
        let mut tx = self.read("reading a project").await?;
        read_project(&mut tx, id).await?.ok_or_else(|| CatalogError::not_found("project", id))
    }

    /// The project of a name.
    pub async fn project_by_name(&self, name: &str) -> Result<Project, CatalogError> {
        let found = self.projects(Some(name)).await?.pop();
        found.ok_or_else(|| CatalogError::not_found("project", name))
    }

    /// Changes a project and tells what it is then. `NameTaken`. Disabling it ends its tokens.
    pub async fn update_project(
        &self,
        id: &ProjectId,
        change: &ProjectChange,
        now: Timestamp,
    ) -> Result<Project, CatalogError> {
        let mut tx = self.write("changing a project").await?;
        lock_project(&mut tx, id).await?;
        if let Some(name) = &change.name {
            let other = "SELECT id FROM projects WHERE name = $1 AND id <> $2";
            if tx.first(other, values![name, id]).await?.is_some() {
                return Err(Conflict::NameTaken { what: "project", name: name.clone() }.into());
            }
        }
        tx.execute(
            "UPDATE projects SET name = COALESCE($2, name), description = COALESCE($3, description), \
             enabled = COALESCE($4, enabled) WHERE id = $1",
            values![id, &change.name, &change.description, change.enabled.map(i64::from)],
        )
        .await?;
        if change.enabled == Some(false) {
            tx.execute("DELETE FROM tokens WHERE project_id = $1", values![id]).await?;
        }
        note_change(&mut tx, StateSubject::Project, id, id, now).await?;
        let project = read_project(&mut tx, id).await?;
        tx.commit().await?;
        project.ok_or_else(|| CatalogError::not_found("project", id))
    }

    /// Deletes a project that owns nothing, with its roles, credentials and tokens. `InUse` while it owns
    /// something.
    pub async fn delete_project(&self, id: &ProjectId, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("deleting a project").await?;
        lock_project(&mut tx, id).await?;
        for (things, sql) in [
            ("servers", "SELECT id FROM servers WHERE project_id = $1 LIMIT 1"),
            ("policies", "SELECT id FROM policies WHERE project_id = $1 LIMIT 1"),
            ("backups", "SELECT id FROM checkpoint_items WHERE project_id = $1 LIMIT 1"),
            ("a vault", "SELECT id FROM vaults WHERE project_id = $1 LIMIT 1"),
            ("grants", "SELECT id FROM grants WHERE destination_project_id = $1 LIMIT 1"),
        ] {
            if tx.first(sql, values![id]).await?.is_some() {
                return Err(Conflict::InUse { what: "project", by: things }.into());
            }
        }
        for sql in [
            "DELETE FROM tokens WHERE project_id = $1",
            "DELETE FROM application_credentials WHERE project_id = $1",
            "DELETE FROM access_keys WHERE project_id = $1",
            "DELETE FROM role_assignments WHERE project_id = $1",
            "DELETE FROM project_quotas WHERE project_id = $1",
            "UPDATE users SET default_project_id = NULL WHERE default_project_id = $1",
            "DELETE FROM projects WHERE id = $1",
        ] {
            tx.execute(sql, values![id]).await?;
        }
        note_deletion(&mut tx, StateSubject::Project, id, id, now).await?;
        tx.commit().await
    }
}

/// Inserts a project. `IdTaken` or `NameTaken` when there is one.
pub(crate) async fn insert_project(tx: &mut Tx, project: &Project) -> Result<(), CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO projects (id, name, description, enabled, created_at) \
             VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            values![&project.id, &project.name, &project.description, project.enabled, project.created_at],
        )
        .await?;
    if inserted == 0 {
        let same = tx.first("SELECT id FROM projects WHERE id = $1", values![&project.id]).await?;
        return Err(taken("project", same.is_some(), &project.id.to_string(), &project.name).into());
    }
    Ok(())
}

/// A project.
pub(crate) async fn read_project(tx: &mut Tx, id: &ProjectId) -> Result<Option<Project>, CatalogError> {
    let row = tx.first(select("WHERE id = $1"), values![id]).await?;
    row.as_ref().map(project_of_row).transpose()
}

/// Keeps others from changing or leaving the project in this transaction.
async fn lock_project(tx: &mut Tx, id: &ProjectId) -> Result<(), CatalogError> {
    match tx.execute("UPDATE projects SET name = name WHERE id = $1", values![id]).await? {
        0 => Err(CatalogError::not_found("project", id)),
        _ => Ok(()),
    }
}

fn select(rest: &str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("SELECT {COLUMNS} FROM projects {rest}"))
}

fn taken(what: &'static str, by_id: bool, id: &str, name: &str) -> Conflict {
    if by_id {
        Conflict::IdTaken { what, id: id.to_owned() }
    } else {
        Conflict::NameTaken { what, name: name.to_owned() }
    }
}

fn project_of_row(row: &Row) -> Result<Project, CatalogError> {
    Ok(Project {
        id: row.id("id")?,
        name: row.text("name")?,
        description: row.text("description")?,
        enabled: row.flag("enabled")?,
        created_at: row.time("created_at")?,
    })
}
