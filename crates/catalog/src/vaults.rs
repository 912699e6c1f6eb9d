//! Vaults: which exist, whose they are, and the one row of each that publishing, pinning and
//! condemning update first, so that these happen one after the other on every engine (design §4).
//! What is written to them is in `packs.rs`.

use model::ids::{ProjectId, RegionName};
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::value::{Row, values};

/// What a vault holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultKind {
    /// Backups made here.
    Primary,
    /// Replicas of another region's backups.
    Replica,
}

impl VaultKind {
    /// The word stored in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            VaultKind::Primary => "primary",
            VaultKind::Replica => "replica",
        }
    }

    /// The kind of a word.
    pub fn from_word(word: &str) -> Option<VaultKind> {
        [VaultKind::Primary, VaultKind::Replica].into_iter().find(|kind| kind.word() == word)
    }
}

/// The source of a replica vault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultSource {
    /// The region that sends.
    pub region: RegionName,
    /// The project there.
    pub project_id: ProjectId,
}

/// A vault to exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewVault {
    /// Its id, also the name of its folder in the store.
    pub id: [u8; 16],
    /// The key domain.
    pub domain: [u8; 16],
    /// The project here that owns it.
    pub project_id: ProjectId,
    /// Where its replicas come from; nothing for a primary vault.
    pub source: Option<VaultSource>,
}

impl NewVault {
    fn kind(&self) -> VaultKind {
        if self.source.is_some() { VaultKind::Replica } else { VaultKind::Primary }
    }
}

/// A vault as the catalog holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultRow {
    /// Its id.
    pub id: [u8; 16],
    /// The key domain.
    pub domain: [u8; 16],
    /// What it holds.
    pub kind: VaultKind,
    /// The project here that owns it.
    pub project_id: ProjectId,
    /// Where its replicas come from; nothing for a primary vault.
    pub source: Option<VaultSource>,
    /// Counts every publication, end of operation and condemnation.
    pub commit_seq: u64,
    /// The last pack number given.
    pub last_pack: u64,
    /// Rows of deleted packs are gone when their last change came no later than this count.
    pub history_seq: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

macro_rules! vault_columns {
    () => {
        "id, domain, kind, project_id, source_region, source_project_id, commit_seq, last_pack, \
         history_seq, created_at"
    };
}

impl Catalog {
    /// Makes a vault exist and answers it. A project has one primary vault: when there is one already
    /// that one is the answer, whatever its id. `DomainBound` when the domain or the id belongs to
    /// another owner or source.
    pub async fn ensure_vault(&self, vault: &NewVault, now: Timestamp) -> Result<VaultRow, CatalogError> {
        let mut tx = self.write("making a vault exist").await?;
        insert_vault(&mut tx, vault, 0, 0, now).await?;
        let found = match vault.kind() {
            VaultKind::Primary => primary_vault(&mut tx, &vault.project_id).await?,
            VaultKind::Replica => read_vault(&mut tx, vault.id).await?,
        };
        let found = found.ok_or(Conflict::DomainBound)?;
        let is_same = found.domain == vault.domain
            && found.project_id == vault.project_id
            && found.source == vault.source;
        if vault.kind() == VaultKind::Replica && !is_same {
            return Err(Conflict::DomainBound.into());
        }
        tx.commit().await?;
        Ok(found)
    }

    /// One vault.
    pub async fn vault(&self, id: [u8; 16]) -> Result<Option<VaultRow>, CatalogError> {
        let mut tx = self.read("reading a vault").await?;
        read_vault(&mut tx, id).await
    }

    /// The vault that holds a project's items of a domain.
    pub async fn vault_of_domain(
        &self,
        domain: [u8; 16],
        project: &ProjectId,
    ) -> Result<Option<VaultRow>, CatalogError> {
        let mut tx = self.read("reading a vault").await?;
        let row = tx
            .first(
                concat!("SELECT ", vault_columns!(), " FROM vaults WHERE domain = $1 AND project_id = $2"),
                values![domain, project],
            )
            .await?;
        row.as_ref().map(vault_of_row).transpose()
    }

    /// The primary vault of a project, if it has one yet.
    pub async fn vault_of_project(&self, project: &ProjectId) -> Result<Option<VaultRow>, CatalogError> {
        let mut tx = self.read("reading a vault").await?;
        primary_vault(&mut tx, project).await
    }

    /// All vaults, oldest first.
    pub async fn vaults(&self) -> Result<Vec<VaultRow>, CatalogError> {
        let mut tx = self.read("listing vaults").await?;
        let rows = tx
            .all(concat!("SELECT ", vault_columns!(), " FROM vaults ORDER BY created_at, id"), values![])
            .await?;
        rows.iter().map(vault_of_row).collect()
    }
}

/// Inserts a vault that has counted so far; false when its id, domain or place is taken.
pub(crate) async fn insert_vault(
    tx: &mut Tx,
    vault: &NewVault,
    commit_seq: u64,
    last_pack: u64,
    created_at: Timestamp,
) -> Result<bool, CatalogError> {
    let inserted = tx
        .execute(
            "INSERT INTO vaults (id, domain, kind, project_id, source_region, source_project_id, \
             commit_seq, last_pack, history_seq, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, $9) \
             ON CONFLICT DO NOTHING",
            values![
                vault.id,
                vault.domain,
                vault.kind().word(),
                &vault.project_id,
                vault.source.as_ref().map(|source| &source.region),
                vault.source.as_ref().map(|source| &source.project_id),
                commit_seq,
                last_pack,
                created_at
            ],
        )
        .await?;
    Ok(inserted > 0)
}

/// Reads a vault and keeps everybody else from publishing, pinning and condemning in it.
pub(crate) async fn lock_vault(tx: &mut Tx, id: [u8; 16]) -> Result<VaultRow, CatalogError> {
    tx.execute("UPDATE vaults SET commit_seq = commit_seq WHERE id = $1", values![id]).await?;
    read_vault(tx, id).await?.ok_or_else(|| CatalogError::not_found("vault", "of that id"))
}

/// Counts one more change of a vault.
pub(crate) async fn next_commit_seq(tx: &mut Tx, vault: [u8; 16]) -> Result<u64, CatalogError> {
    let row = tx
        .first(
            "UPDATE vaults SET commit_seq = commit_seq + 1 WHERE id = $1 RETURNING commit_seq",
            values![vault],
        )
        .await?;
    row.ok_or_else(|| CatalogError::not_found("vault", "of that id"))?.count("commit_seq")
}

async fn read_vault(tx: &mut Tx, id: [u8; 16]) -> Result<Option<VaultRow>, CatalogError> {
    let row =
        tx.first(concat!("SELECT ", vault_columns!(), " FROM vaults WHERE id = $1"), values![id]).await?;
    row.as_ref().map(vault_of_row).transpose()
}

async fn primary_vault(tx: &mut Tx, project: &ProjectId) -> Result<Option<VaultRow>, CatalogError> {
    let row = tx
        .first(
            concat!("SELECT ", vault_columns!(), " FROM vaults WHERE project_id = $1 AND kind = 'primary'"),
            values![project],
        )
        .await?;
    row.as_ref().map(vault_of_row).transpose()
}

fn vault_of_row(row: &Row) -> Result<VaultRow, CatalogError> {
    let kind = row.word("kind", VaultKind::from_word)?;
    let source = match kind {
        VaultKind::Primary => None,
        VaultKind::Replica => {
            Some(VaultSource { region: row.id("source_region")?, project_id: row.id("source_project_id")? })
        }
    };
    Ok(VaultRow {
        id: row.bytes("id")?,
        domain: row.bytes("domain")?,
        kind,
        project_id: row.id("project_id")?,
        source,
        commit_seq: row.count("commit_seq")?,
        last_pack: row.count("last_pack")?,
        history_seq: row.count("history_seq")?,
        created_at: row.time("created_at")?,
    })
}
