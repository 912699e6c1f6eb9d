//! What was decided and does not stand in the store yet. The transaction that changes a policy, server,
//! grant or project, or ends the life of something, leaves a row here; control writes a state object for it and
//! takes the row out. A crash in between costs a second object that says the same, never a lost one.

use std::fmt::Display;

use model::grant::Grant;
use model::identity::Project;
use model::ids::{CheckpointItemId, PolicyId, ProjectId};
use model::policy::Policy;
use model::server::Server;
use model::time::Timestamp;

use crate::adoption::adopter_of;
use crate::engine::{Catalog, Tx};
use crate::error::CatalogError;
use crate::grants::read_grant;
use crate::identity::read_project;
use crate::page::PAGE_ROWS_MAX;
use crate::policies::read_policy;
use crate::servers::read_server;
use crate::value::{Row, values};

/// The kinds of things whose state is written to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateSubject {
    /// A policy.
    Policy,
    /// A registered server.
    Server,
    /// A grant made here.
    Grant,
    /// A checkpoint item made here.
    Item,
    /// A replica that arrived here.
    Replica,
    /// A project.
    Project,
}

impl StateSubject {
    const ALL: [StateSubject; 6] = [
        StateSubject::Policy,
        StateSubject::Server,
        StateSubject::Grant,
        StateSubject::Item,
        StateSubject::Replica,
        StateSubject::Project,
    ];

    fn word(self) -> &'static str {
        match self {
            StateSubject::Policy => "policy",
            StateSubject::Server => "server",
            StateSubject::Grant => "grant",
            StateSubject::Item => "item",
            StateSubject::Replica => "replica",
            StateSubject::Project => "project",
        }
    }

    fn from_word(word: &str) -> Option<StateSubject> {
        StateSubject::ALL.into_iter().find(|subject| subject.word() == word)
    }
}

/// Something decided that the store does not hold yet.
#[derive(Clone, Debug, PartialEq)]
pub struct UnwrittenState {
    /// What it is about.
    pub subject: StateSubject,
    /// Its id.
    pub id: String,
    /// The project that owns it.
    pub project_id: ProjectId,
    /// Rises with every change of the subject.
    pub revision: u64,
    /// What is true of it now.
    pub state: SubjectState,
}

/// What is true of a subject now.
#[derive(Clone, Debug, PartialEq)]
pub enum SubjectState {
    /// A policy as it is.
    Policy(Policy),
    /// A server as it is.
    Server(Server),
    /// A grant as it is, revoked or not.
    Grant(Grant),
    /// A project as it is.
    Project(Project),
    /// It is gone, or was and has come back.
    Gone {
        /// Since when.
        deleted_at: Timestamp,
        /// Until when it can be had back at least; the same moment for what cannot.
        purge_after: Timestamp,
        /// Whether it was had back.
        is_undone: bool,
        /// Whether retention did it.
        is_expiry: bool,
        /// Its manifest, for items and replicas that had one.
        manifest_digest: Option<[u8; 32]>,
        /// Who adopted its backups, for a policy.
        adopted_by: Option<PolicyId>,
    },
}

const DELETED: &str = "deleted";
const EXPIRED: &str = "expired";

impl Catalog {
    /// What the store does not hold yet, oldest first; at most `limit`.
    pub async fn unwritten_state(&self, limit: u32) -> Result<Vec<UnwrittenState>, CatalogError> {
        let mut tx = self.read("reading unwritten state").await?;
        let rows = tx
            .all(
                "SELECT subject_kind, subject_id, project_id, revision, deletion, deleted_at, purge_after, \
                 is_undone, manifest_digest FROM state_outbox WHERE deletion IS NULL OR deleted_at IS NOT NULL \
                 ORDER BY revision, subject_kind, subject_id LIMIT $1",
                values![limit.min(PAGE_ROWS_MAX)],
            )
            .await?;
        let mut unwritten = Vec::with_capacity(rows.len());
        for row in &rows {
            unwritten.push(unwritten_of_row(&mut tx, row).await?);
        }
        Ok(unwritten)
    }

    /// Notes that the store holds this state. What changed since stays unwritten.
    pub async fn note_state_written(&self, written: &UnwrittenState) -> Result<(), CatalogError> {
        let mut tx = self.write("noting written state").await?;
        tx.execute(
            "DELETE FROM state_outbox WHERE subject_kind = $1 AND subject_id = $2 AND revision = $3",
            values![written.subject.word(), &written.id, written.revision],
        )
        .await?;
        tx.commit().await
    }
}

/// Notes, in the transaction that makes or changes a subject, that the store does not know yet.
pub(crate) async fn note_change(
    tx: &mut Tx,
    subject: StateSubject,
    id: impl Display,
    project: &ProjectId,
    now: Timestamp,
) -> Result<(), CatalogError> {
    put(tx, subject, &id.to_string(), project, now, None, None).await
}

/// Notes, in the transaction that deletes a policy or server, that the store does not know yet.
pub(crate) async fn note_deletion(
    tx: &mut Tx,
    subject: StateSubject,
    id: impl Display,
    project: &ProjectId,
    now: Timestamp,
) -> Result<(), CatalogError> {
    put(tx, subject, &id.to_string(), project, now, Some(DELETED), Some(now)).await
}

/// Notes, in the transaction in which a policy adopts the backups of a deleted one, that the store does not
/// know yet. It stands with the deleted one, of which nothing else can change any more.
pub(crate) async fn note_adoption(
    tx: &mut Tx,
    old: PolicyId,
    project: &ProjectId,
    deleted_at: Timestamp,
    now: Timestamp,
) -> Result<(), CatalogError> {
    put(tx, StateSubject::Policy, &old.to_string(), project, now, Some(DELETED), Some(deleted_at)).await
}

/// Remembers who orders the end of an item. Nothing is written before [`note_item_gone`].
pub(crate) async fn note_item_ordered(
    tx: &mut Tx,
    item: CheckpointItemId,
    is_replica: bool,
    project: &ProjectId,
    is_expiry: bool,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let subject = if is_replica { StateSubject::Replica } else { StateSubject::Item };
    let word = if is_expiry { EXPIRED } else { DELETED };
    put(tx, subject, &item.to_string(), project, now, Some(word), None).await
}

/// Notes, in the transaction that ends an item, that the store does not know yet.
pub(crate) async fn note_item_gone(
    tx: &mut Tx,
    item: CheckpointItemId,
    purge_after: Timestamp,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let touched = tx
        .execute(
            "UPDATE state_outbox SET deleted_at = $1, purge_after = $3, is_undone = 0, \
             manifest_digest = (SELECT manifest_digest FROM checkpoint_items WHERE id = $2) \
             WHERE subject_kind IN ('item', 'replica') AND subject_id = $2",
            values![now, item, purge_after],
        )
        .await?;
    if touched == 0 {
        return Err(CatalogError::Corrupt { what: format!("the deletion of item {item} was never ordered") });
    }
    Ok(())
}

/// Notes, in the transaction that takes the deletion of an item back, that the store does not know yet.
pub(crate) async fn note_item_back(
    tx: &mut Tx,
    item: CheckpointItemId,
    is_replica: bool,
    project: &ProjectId,
    deleted_at: Timestamp,
    now: Timestamp,
) -> Result<(), CatalogError> {
    note_item_ordered(tx, item, is_replica, project, false, now).await?;
    tx.execute(
        "UPDATE state_outbox SET deleted_at = $1, purge_after = $2, is_undone = 1, \
         manifest_digest = (SELECT manifest_digest FROM checkpoint_items WHERE id = $3) \
         WHERE subject_kind IN ('item', 'replica') AND subject_id = $3",
        values![deleted_at, now, item],
    )
    .await?;
    Ok(())
}

async fn put(
    tx: &mut Tx,
    subject: StateSubject,
    id: &str,
    project: &ProjectId,
    now: Timestamp,
    deletion: Option<&str>,
    deleted_at: Option<Timestamp>,
) -> Result<(), CatalogError> {
    // The revision rises even when clocks stand still, so that a writer of the older one is found out.
    tx.execute(
        "INSERT INTO state_outbox (subject_kind, subject_id, project_id, revision, deletion, deleted_at, \
         is_undone) VALUES ($1, $2, $3, $4, $5, $6, 0) ON CONFLICT (subject_kind, subject_id) DO UPDATE SET \
         project_id = excluded.project_id, deletion = excluded.deletion, deleted_at = excluded.deleted_at, \
         purge_after = NULL, is_undone = 0, \
         revision = CASE WHEN excluded.revision > state_outbox.revision THEN excluded.revision \
         ELSE state_outbox.revision + 1 END",
        values![subject.word(), id, project, now, deletion, deleted_at],
    )
    .await?;
    Ok(())
}

async fn unwritten_of_row(tx: &mut Tx, row: &Row) -> Result<UnwrittenState, CatalogError> {
    let subject = row.word("subject_kind", StateSubject::from_word)?;
    let state = match row.optional_text("deletion")?.as_deref() {
        None => current_state(tx, row, subject).await?,
        Some(word @ (DELETED | EXPIRED)) => SubjectState::Gone {
            deleted_at: row.time("deleted_at")?,
            purge_after: row.optional_time("purge_after")?.map_or_else(|| row.time("deleted_at"), Ok)?,
            is_undone: row.flag("is_undone")?,
            is_expiry: word == EXPIRED,
            manifest_digest: row.optional_bytes("manifest_digest")?,
            adopted_by: match subject {
                StateSubject::Policy => adopter_of(tx, row.id("subject_id")?).await?,
                _ => None,
            },
        },
        Some(_) => return Err(row.corrupt("deletion")),
    };
    Ok(UnwrittenState {
        subject,
        id: row.text("subject_id")?,
        project_id: row.id("project_id")?,
        revision: row.count("revision")?,
        state,
    })
}

async fn current_state(tx: &mut Tx, row: &Row, subject: StateSubject) -> Result<SubjectState, CatalogError> {
    let state = match subject {
        StateSubject::Policy => read_policy(tx, row.id("subject_id")?).await?.map(SubjectState::Policy),
        StateSubject::Server => read_server(tx, &row.id("subject_id")?).await?.map(SubjectState::Server),
        StateSubject::Grant => read_grant(tx, row.id("subject_id")?).await?.map(SubjectState::Grant),
        StateSubject::Project => read_project(tx, &row.id("subject_id")?).await?.map(SubjectState::Project),
        StateSubject::Item | StateSubject::Replica => None,
    };
    state.ok_or_else(|| row.corrupt("subject_id"))
}
