//! Filling an empty catalog from what a store told: the rows of a region, written once each, with
//! nothing queued for the store again. Only a rebuild calls this, before anybody serves the catalog;
//! one that died is begun anew on another empty catalog.

use model::checkpoint::{Checkpoint, CheckpointItem};
use model::grant::Grant;
use model::identity::Project;
use model::ids::{OperationId, RegionName};
use model::policy::Policy;
use model::server::Server;
use model::time::Timestamp;

use crate::adoption::{DeletedPolicy, insert_deleted};
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::grants::insert_grant;
use crate::identity::insert_project;
use crate::items::insert_item;
use crate::jobs::{JobKind, NewJob, enqueue};
use crate::packs::SealedPack;
use crate::policies::insert_policy;
use crate::publishing::insert_replica_checkpoint;
use crate::replicas::{Replica, insert_replica};
use crate::servers::insert_server;
use crate::value::values;
use crate::vaults::{NewVault, insert_vault};

/// The region as its new life begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltRegion {
    /// Its name.
    pub name: RegionName,
    /// The id derived from its root key.
    pub region_id: [u8; 16],
    /// The new life of the catalog.
    pub incarnation: [u8; 16],
    /// Heads count on from here: above every counter that an earlier life can have shown.
    pub head_counter: u64,
    /// Why expiry and collection wait.
    pub frozen_reason: String,
}

/// A vault with the packs that the store holds of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltVault {
    /// What it is.
    pub vault: NewVault,
    /// Stands for everybody who made its packs; it has ended.
    pub operation_id: OperationId,
    /// Numbers are given from the next one on.
    pub last_pack: u64,
    /// When it was made.
    pub created_at: Timestamp,
    /// Its packs, by number.
    pub packs: Vec<SealedPack>,
}

/// An item.
#[derive(Clone, Debug, PartialEq)]
pub struct RebuiltItem {
    /// The run it belongs to; written with the first of its items.
    pub checkpoint: Checkpoint,
    /// The item.
    pub item: CheckpointItem,
    /// Its quarantine, for one that is deleted.
    pub quarantine: Option<RebuiltQuarantine>,
    /// What it is as a replica, if it is one.
    pub replica: Option<RebuiltReplica>,
}

/// How long a deleted item can be had back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RebuiltQuarantine {
    /// When it was deleted or expired.
    pub deleted_at: Timestamp,
    /// Until when it can be had back for certain.
    pub purge_after: Timestamp,
}

/// What the catalog remembers of a replica besides its item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RebuiltReplica {
    /// Its row.
    pub row: Replica,
    /// The resource tag and incarnation of its manifest, whose sequence no other manifest may take.
    pub resource_tag: [u8; 16],
    /// See above.
    pub source_incarnation: [u8; 16],
}

impl Catalog {
    /// Writes the region's row, frozen. `IdTaken` when the catalog has one.
    pub async fn rebuild_region(&self, region: &RebuiltRegion, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding the region").await?;
        let inserted = tx
            .execute(
                "INSERT INTO region (only_row, name, region_id, incarnation, state_sequence, head_counter, \
                 frozen_reason, created_at) VALUES (1, $1, $2, $3, 0, $4, $5, $6) ON CONFLICT DO NOTHING",
                values![
                    &region.name,
                    region.region_id,
                    region.incarnation,
                    region.head_counter,
                    &region.frozen_reason,
                    now
                ],
            )
            .await?;
        if inserted == 0 {
            return Err(Conflict::IdTaken { what: "region", id: region.name.to_string() }.into());
        }
        tx.commit().await
    }

    /// Writes a project; conflicts as of [`Catalog::create_project`].
    pub async fn rebuild_project(&self, project: &Project) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding a project").await?;
        insert_project(&mut tx, project).await?;
        tx.commit().await
    }

    /// Writes a server; conflicts as of [`Catalog::register_server`].
    pub async fn rebuild_server(&self, server: &Server) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding a server").await?;
        insert_server(&mut tx, server).await?;
        tx.commit().await
    }

    /// Writes a policy; conflicts as of [`Catalog::create_policy`].
    pub async fn rebuild_policy(&self, policy: &Policy) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding a policy").await?;
        insert_policy(&mut tx, policy).await?;
        tx.commit().await
    }

    /// Writes what is left of a deleted policy.
    pub async fn rebuild_deleted_policy(&self, deleted: &DeletedPolicy) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding a deleted policy").await?;
        insert_deleted(&mut tx, deleted).await?;
        tx.commit().await
    }

    /// Writes a grant as it is given: a rebuild gives revoked ones only.
    pub async fn rebuild_grant(&self, grant: &Grant) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding a grant").await?;
        insert_grant(&mut tx, grant).await?;
        tx.commit().await
    }

    /// Writes a vault and its packs, all live. `DomainBound` when another vault has its place.
    pub async fn rebuild_vault(&self, rebuilt: &RebuiltVault, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding a vault").await?;
        let vault = &rebuilt.vault;
        // One count for each pack, and one for the end of the operation that stands for their makers.
        let commit_seq = rebuilt.packs.len() as u64 + 1;
        if !insert_vault(&mut tx, vault, commit_seq, rebuilt.last_pack, rebuilt.created_at).await? {
            return Err(Conflict::DomainBound.into());
        }
        tx.execute(
            "INSERT INTO operations (id, vault_id, base_manifest, is_open, ended_commit_seq, begun_at) \
             VALUES ($1, $2, NULL, 0, $3, $4)",
            values![rebuilt.operation_id, vault.id, commit_seq, now],
        )
        .await?;
        for (position, pack) in rebuilt.packs.iter().enumerate() {
            insert_pack(&mut tx, rebuilt, pack, position as u64 + 1).await?;
        }
        tx.commit().await
    }

    /// Writes items, all of them or none. `IdTaken` for one that is there.
    pub async fn rebuild_items(&self, items: &[RebuiltItem], now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding items").await?;
        for rebuilt in items {
            insert_replica_checkpoint(&mut tx, &rebuilt.checkpoint).await?;
            if !insert_item(&mut tx, &rebuilt.item).await? {
                let id = rebuilt.item.id.to_string();
                return Err(Conflict::IdTaken { what: "checkpoint item", id }.into());
            }
            note_quarantine(&mut tx, rebuilt).await?;
            let Some(replica) = &rebuilt.replica else { continue };
            insert_replica(&mut tx, &replica.row).await?;
            note_manifest(&mut tx, &rebuilt.item, replica).await?;
            let job = NewJob { kind: JobKind::Verify, subject: rebuilt.item.id.bytes(), priority: 0 };
            enqueue(&mut tx, &job, now).await?;
        }
        tx.commit().await
    }

    /// Writes the rows of replicas that are gone, so that heads go on saying how they ended.
    pub async fn rebuild_tombstones(&self, replicas: &[Replica]) -> Result<(), CatalogError> {
        let mut tx = self.write("rebuilding tombstones").await?;
        for replica in replicas {
            insert_replica(&mut tx, replica).await?;
        }
        tx.commit().await
    }
}

async fn insert_pack(
    tx: &mut Tx,
    rebuilt: &RebuiltVault,
    pack: &SealedPack,
    commit_seq: u64,
) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT INTO packs (vault_id, number, operation_id, state, incarnation, bytes, object_count, \
         footer_digest, commit_seq) VALUES ($1, $2, $3, 'live', $4, $5, $6, $7, $8)",
        values![
            rebuilt.vault.id,
            pack.number,
            rebuilt.operation_id,
            pack.incarnation,
            pack.bytes,
            pack.object_count,
            pack.footer_digest,
            commit_seq
        ],
    )
    .await?;
    Ok(())
}

/// Notes the quarantine of an item, if there is one, and whether anything of its checkpoint is left.
async fn note_quarantine(tx: &mut Tx, rebuilt: &RebuiltItem) -> Result<(), CatalogError> {
    let deleted_at = rebuilt.quarantine.map(|quarantine| quarantine.deleted_at);
    let purge_after = rebuilt.quarantine.map(|quarantine| quarantine.purge_after);
    tx.execute(
        "UPDATE checkpoint_items SET deleted_at = $1, purge_after = $2 WHERE id = $3",
        values![deleted_at, purge_after, rebuilt.item.id],
    )
    .await?;
    tx.execute(
        "UPDATE checkpoints SET deleted_at = CASE WHEN EXISTS (SELECT 1 FROM checkpoint_items \
         WHERE checkpoint_id = $2 AND state <> 'deleted') THEN NULL ELSE $1 END WHERE id = $2",
        values![deleted_at, rebuilt.checkpoint.id],
    )
    .await?;
    Ok(())
}

async fn note_manifest(
    tx: &mut Tx,
    item: &CheckpointItem,
    replica: &RebuiltReplica,
) -> Result<(), CatalogError> {
    tx.execute(
        "INSERT INTO seen_manifests (domain, resource_tag, incarnation, sequence, manifest_digest) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        values![
            item.domain,
            replica.resource_tag,
            replica.source_incarnation,
            item.sequence,
            replica.row.manifest_digest
        ],
    )
    .await?;
    Ok(())
}
