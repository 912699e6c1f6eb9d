//! Incoming transfers: opening, going on, giving up. Publishing is in `publishing.rs`.
//!
//! A transfer is known by its source item, not by its record or its worker. An attempt carries the
//! fence of the source's lease: once a newer attempt was seen, an older one can neither go on nor
//! publish, however late its requests come in.

use model::grant::Grant;
use model::ids::{CheckpointItemId, GrantId, OperationId, ProjectId, RegionName};
use model::time::Timestamp;

use crate::collection::MANIFEST_REST_SECONDS;
use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::grants::{lock_grant, replica_bytes, reserved_bytes};
use crate::packs::{NewOperation, begin_operation_in, end_operation_if_open, is_live_base};
use crate::region::require_unblocked;
use crate::replicas::{Replica, replica_of_key};
use crate::value::{Row, Value, values};
use crate::vaults::{VaultSource, lock_vault};

/// What a transfer is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferKey {
    /// The peer that sends, as its TLS key proved.
    pub source_region: RegionName,
    /// The item there.
    pub source_item_id: CheckpointItemId,
    /// The project here.
    pub destination_project_id: ProjectId,
    /// Which incarnation of the replica.
    pub generation: u32,
}

impl TransferKey {
    pub(crate) fn values(&self) -> Vec<Value> {
        values![&self.source_region, self.source_item_id, &self.destination_project_id, self.generation]
    }
}

/// A source's wish to send an item, after its manifest was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferOffer {
    /// What it is known by.
    pub key: TransferKey,
    /// The fence of the source's lease.
    pub attempt: u64,
    /// The project at the source, as the grant names it.
    pub source_project_id: ProjectId,
    /// The grant it refers to.
    pub grant_id: GrantId,
    /// The replica vault here, made by [`Catalog::ensure_vault`].
    pub vault_id: [u8; 16],
    /// The signed manifest.
    pub manifest_digest: [u8; 32],
    /// The manifest's resource tag.
    pub resource_tag: [u8; 16],
    /// The manifest's incarnation.
    pub incarnation: [u8; 16],
    /// The manifest's sequence.
    pub sequence: u64,
    /// The manifest's stored bytes; reserved against the grant.
    pub stored_bytes: u64,
    /// Manifests that the source proposes as a base, best first.
    pub offered_bases: Vec<[u8; 32]>,
    /// A fresh id for the operation, in case the transfer is new.
    pub operation_id: OperationId,
}

/// The answer to an offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenedTransfer {
    /// Nothing of it is here yet.
    New {
        /// The operation that writes.
        operation_id: OperationId,
        /// The base both sides walk against, if any.
        base: Option<[u8; 32]>,
    },
    /// An earlier attempt left something.
    Resume {
        /// The operation that goes on.
        operation_id: OperationId,
        /// The base both sides walk against, if any.
        base: Option<[u8; 32]>,
    },
    /// The replica is here already.
    Complete {
        /// Its item.
        item_id: CheckpointItemId,
        /// The receipt that was given for it.
        receipt: Vec<u8>,
    },
}

/// A transfer as the catalog holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransferRow {
    /// What it is known by.
    pub key: TransferKey,
    /// The signed manifest.
    pub manifest_digest: [u8; 32],
    /// The replica vault here.
    pub vault_id: [u8; 16],
    /// The grant it goes under.
    pub grant_id: GrantId,
    /// The newest attempt seen.
    pub attempt: u64,
    /// The operation that writes.
    pub operation_id: OperationId,
    /// Bytes reserved against the grant.
    pub reserved_bytes: u64,
    /// Whether it goes on; otherwise it was published or given up.
    pub is_open: bool,
    /// When it was first opened.
    pub opened_at: Timestamp,
    /// When it was last opened.
    pub updated_at: Timestamp,
}

macro_rules! transfer_columns {
    () => {
        "source_region, source_item_id, destination_project_id, generation, manifest_digest, vault_id, \
         grant_id, attempt, operation_id, reserved_bytes, is_open, opened_at, updated_at"
    };
}

macro_rules! of_key {
    () => {
        " WHERE source_region = $1 AND source_item_id = $2 AND destination_project_id = $3 AND generation = $4"
    };
}

impl Catalog {
    /// Opens a transfer, or goes on with it. In this order: the replica is or was here
    /// (`Complete`, `Fork`); the grant (`GrantClosed`); two digests under one number (`Fork`); a newer
    /// attempt (`OlderAttempt`); the grant's bytes (`OverQuota`). The base named is live and
    /// stays readable until the operation ends; an earlier base is kept while it can be.
    pub async fn open_transfer(
        &self,
        offer: &TransferOffer,
        now: Timestamp,
    ) -> Result<OpenedTransfer, CatalogError> {
        let mut tx = self.write("opening a transfer").await?;
        require_unblocked(&mut tx).await?;
        if let Some(replica) = replica_of_key(&mut tx, &offer.key).await? {
            return complete(replica, offer);
        }
        let grant = require_grant(&mut tx, offer.grant_id, &offer.key, &offer.source_project_id, now).await?;
        let known = lock_transfer(&mut tx, &offer.key).await?;
        note_manifest(&mut tx, offer, now).await?;
        if let Some(known) = &known {
            if known.manifest_digest != offer.manifest_digest {
                return Err(Conflict::Fork.into());
            }
            if known.attempt > offer.attempt {
                return Err(Conflict::OlderAttempt.into());
            }
        }
        let own = known.as_ref().filter(|known| known.is_open && known.grant_id == offer.grant_id);
        let used = replica_bytes(&mut tx, offer.grant_id).await?
            + reserved_bytes(&mut tx, offer.grant_id)
                .await?
                .saturating_sub(own.map_or(0, |own| own.reserved_bytes));
        require_bytes(grant.bytes_max, used, offer.stored_bytes)?;

        let resumed = known.filter(|known| known.is_open && known.vault_id == offer.vault_id);
        let operation_id = resumed.as_ref().map_or(offer.operation_id, |known| known.operation_id);
        let base = begin_transfer_operation(&mut tx, offer, operation_id, now).await?;
        store_transfer(&mut tx, offer, operation_id, now).await?;
        tx.commit().await?;
        Ok(match resumed {
            Some(_) => OpenedTransfer::Resume { operation_id, base },
            None => OpenedTransfer::New { operation_id, base },
        })
    }

    /// A transfer, open or not.
    pub async fn transfer(&self, key: &TransferKey) -> Result<Option<TransferRow>, CatalogError> {
        let mut tx = self.read("reading a transfer").await?;
        let row = tx
            .first(concat!("SELECT ", transfer_columns!(), " FROM transfers", of_key!()), key.values())
            .await?;
        row.as_ref().map(transfer_of_row).transpose()
    }

    /// The transfer that an operation writes for, if it does.
    pub async fn transfer_of_operation(
        &self,
        operation: OperationId,
    ) -> Result<Option<TransferRow>, CatalogError> {
        let mut tx = self.read("reading a transfer").await?;
        let row = tx
            .first(
                concat!("SELECT ", transfer_columns!(), " FROM transfers WHERE operation_id = $1"),
                values![operation],
            )
            .await?;
        row.as_ref().map(transfer_of_row).transpose()
    }

    /// Gives up a transfer at the word of its newest attempt: its operation ends and its reservation
    /// is free. What was stored is collected later.
    pub async fn close_transfer(
        &self,
        key: &TransferKey,
        attempt: u64,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("closing a transfer").await?;
        let transfer = lock_open_transfer(&mut tx, key, attempt).await?;
        close_row(&mut tx, key, now).await?;
        end_operation_if_open(&mut tx, transfer.operation_id).await?;
        tx.commit().await
    }

    /// Notes that an open transfer still moves, so that nobody takes it for abandoned.
    pub async fn touch_transfer(
        &self,
        key: &TransferKey,
        attempt: u64,
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("touching a transfer").await?;
        lock_open_transfer(&mut tx, key, attempt).await?;
        let mut values = key.values();
        values.push(Value::from(now));
        tx.execute(concat!("UPDATE transfers SET updated_at = $5", of_key!()), values).await?;
        tx.commit().await
    }

    /// Gives up transfers that nobody opened or touched since `before`, so that neither their operations nor
    /// their reservations stay for ever. Answers the operations that ended with them.
    pub async fn close_transfers_untouched_since(
        &self,
        before: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<OperationId>, CatalogError> {
        let stale = {
            let mut tx = self.read("looking for abandoned transfers").await?;
            let rows = tx
                .all(
                    concat!(
                        "SELECT ",
                        transfer_columns!(),
                        " FROM transfers WHERE is_open = 1 AND updated_at < $1 ORDER BY updated_at"
                    ),
                    values![before],
                )
                .await?;
            rows.iter().map(transfer_of_row).collect::<Result<Vec<_>, _>>()?
        };
        let mut closed = Vec::new();
        for transfer in stale {
            match self.close_transfer(&transfer.key, transfer.attempt, now).await {
                Ok(()) => closed.push(transfer.operation_id),
                // Somebody went on with it meanwhile.
                Err(CatalogError::Conflict(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(closed)
    }
}

fn complete(replica: Replica, offer: &TransferOffer) -> Result<OpenedTransfer, CatalogError> {
    if replica.manifest_digest != offer.manifest_digest {
        return Err(Conflict::Fork.into());
    }
    // Gone or not: its receipt was given. A source that never heard it would order the item for ever;
    // one that hears it learns from the next head that the replica was dropped.
    Ok(OpenedTransfer::Complete { item_id: replica.item_id, receipt: replica.receipt })
}

/// Locks a grant and proves that it lets this source into this project now.
pub(crate) async fn require_grant(
    tx: &mut Tx,
    id: GrantId,
    key: &TransferKey,
    source_project: &ProjectId,
    now: Timestamp,
) -> Result<Grant, CatalogError> {
    let grant = lock_grant(tx, id).await?.filter(|grant| {
        grant.is_open(now)
            && grant.source_region == key.source_region
            && grant.source_project_id == *source_project
            && grant.destination_project_id == key.destination_project_id
    });
    grant.ok_or_else(|| Conflict::GrantClosed.into())
}

/// Proves that a grant with `used` bytes taken has room for `wanted` more.
pub(crate) fn require_bytes(bytes_max: Option<u64>, used: u64, wanted: u64) -> Result<(), CatalogError> {
    let Some(bytes_max) = bytes_max else { return Ok(()) };
    let bytes_left = bytes_max.saturating_sub(used);
    if wanted > bytes_left { Err(Conflict::OverQuota { bytes_left }.into()) } else { Ok(()) }
}

/// Notes which manifest a sequence number was shown with, and refuses another one, or a vault that is
/// bound to somebody else.
async fn note_manifest(tx: &mut Tx, offer: &TransferOffer, now: Timestamp) -> Result<(), CatalogError> {
    let vault = lock_vault(tx, offer.vault_id).await?;
    let source =
        VaultSource { region: offer.key.source_region.clone(), project_id: offer.source_project_id.clone() };
    if vault.project_id != offer.key.destination_project_id || vault.source != Some(source) {
        return Err(Conflict::DomainBound.into());
    }
    let domain = vault.domain;
    require_manifest_may_come(tx, offer, now).await?;
    tx.execute(
        "INSERT INTO seen_manifests (domain, resource_tag, incarnation, sequence, manifest_digest) \
         VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
        values![domain, offer.resource_tag, offer.incarnation, offer.sequence, offer.manifest_digest],
    )
    .await?;
    let row = tx
        .first(
            "SELECT manifest_digest FROM seen_manifests WHERE domain = $1 AND resource_tag = $2 \
             AND incarnation = $3 AND sequence = $4",
            values![domain, offer.resource_tag, offer.incarnation, offer.sequence],
        )
        .await?;
    let seen = row.map(|row| row.bytes::<32>("manifest_digest")).transpose()?;
    if seen == Some(offer.manifest_digest) { Ok(()) } else { Err(Conflict::Fork.into()) }
}

/// The name of a manifest comes back when the same replica is ordered again. A collector that is deleting the
/// earlier one must not meet it: it stays away until the file has been gone for a while.
async fn require_manifest_may_come(
    tx: &mut Tx,
    offer: &TransferOffer,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let gone_long = now.plus_seconds(-MANIFEST_REST_SECONDS);
    tx.execute(
        "DELETE FROM condemned_manifests WHERE vault_id = $1 AND manifest_digest = $2 AND deleted_at <= $3",
        values![offer.vault_id, offer.manifest_digest, gone_long],
    )
    .await?;
    let going = tx
        .first(
            "SELECT manifest_digest FROM condemned_manifests WHERE vault_id = $1 AND manifest_digest = $2",
            values![offer.vault_id, offer.manifest_digest],
        )
        .await?;
    if going.is_some() { Err(Conflict::ManifestGoing.into()) } else { Ok(()) }
}

/// Begins or resumes the operation of a transfer and names its base.
async fn begin_transfer_operation(
    tx: &mut Tx,
    offer: &TransferOffer,
    operation_id: OperationId,
    now: Timestamp,
) -> Result<Option<[u8; 32]>, CatalogError> {
    let vault = lock_vault(tx, offer.vault_id).await?;
    let before =
        tx.first("SELECT base_manifest FROM operations WHERE id = $1", values![operation_id]).await?;
    let before = before.map(|row| row.optional_bytes::<32>("base_manifest")).transpose()?.flatten();
    // What earlier attempts stored may lean on the earlier base, so that one comes first.
    let kept = before.filter(|base| offer.offered_bases.contains(base));
    let mut base_manifest = None;
    for candidate in kept.iter().chain(&offer.offered_bases) {
        if is_live_base(tx, &vault, *candidate).await? {
            base_manifest = Some(*candidate);
            break;
        }
    }
    let operation = NewOperation { id: operation_id, vault_id: offer.vault_id, base_manifest };
    begin_operation_in(tx, &vault, &operation, now).await?;
    Ok(base_manifest)
}

async fn store_transfer(
    tx: &mut Tx,
    offer: &TransferOffer,
    operation_id: OperationId,
    now: Timestamp,
) -> Result<(), CatalogError> {
    let mut values = offer.key.values();
    values.extend(values![
        offer.manifest_digest,
        offer.vault_id,
        offer.grant_id,
        offer.attempt,
        operation_id,
        offer.stored_bytes,
        now
    ]);
    let touched = tx
        .execute(
            concat!(
                "INSERT INTO transfers (",
                transfer_columns!(),
                ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $11) \
             ON CONFLICT (source_region, source_item_id, destination_project_id, generation) DO UPDATE SET \
             vault_id = excluded.vault_id, grant_id = excluded.grant_id, attempt = excluded.attempt, \
             operation_id = excluded.operation_id, reserved_bytes = excluded.reserved_bytes, is_open = 1, \
             updated_at = excluded.updated_at WHERE transfers.attempt <= excluded.attempt \
             AND (transfers.is_open = 0 OR transfers.operation_id = excluded.operation_id)"
            ),
            values,
        )
        .await?;
    // Nothing is touched when somebody else opened the same transfer just now.
    if touched == 0 { Err(Conflict::OlderAttempt.into()) } else { Ok(()) }
}

/// Reads a transfer and keeps everybody else from opening, closing or publishing it.
async fn lock_transfer(tx: &mut Tx, key: &TransferKey) -> Result<Option<TransferRow>, CatalogError> {
    tx.execute(concat!("UPDATE transfers SET attempt = attempt", of_key!()), key.values()).await?;
    let row =
        tx.first(concat!("SELECT ", transfer_columns!(), " FROM transfers", of_key!()), key.values()).await?;
    row.as_ref().map(transfer_of_row).transpose()
}

/// Locks a transfer and proves that it is open and the attempt its newest.
pub(crate) async fn lock_open_transfer(
    tx: &mut Tx,
    key: &TransferKey,
    attempt: u64,
) -> Result<TransferRow, CatalogError> {
    let transfer = lock_transfer(tx, key).await?.filter(|transfer| transfer.is_open);
    let transfer = transfer.ok_or(Conflict::TransferNotOpen)?;
    if transfer.attempt != attempt {
        return Err(Conflict::OlderAttempt.into());
    }
    Ok(transfer)
}

/// Marks a transfer as over.
pub(crate) async fn close_row(tx: &mut Tx, key: &TransferKey, now: Timestamp) -> Result<(), CatalogError> {
    let mut values = key.values();
    values.push(Value::from(now));
    tx.execute(concat!("UPDATE transfers SET is_open = 0, updated_at = $5", of_key!()), values).await?;
    Ok(())
}

fn transfer_of_row(row: &Row) -> Result<TransferRow, CatalogError> {
    Ok(TransferRow {
        key: TransferKey {
            source_region: row.id("source_region")?,
            source_item_id: row.id("source_item_id")?,
            destination_project_id: row.id("destination_project_id")?,
            generation: row.small("generation")?,
        },
        manifest_digest: row.bytes("manifest_digest")?,
        vault_id: row.bytes("vault_id")?,
        grant_id: row.id("grant_id")?,
        attempt: row.count("attempt")?,
        operation_id: row.id("operation_id")?,
        reserved_bytes: row.count("reserved_bytes")?,
        is_open: row.flag("is_open")?,
        opened_at: row.time("opened_at")?,
        updated_at: row.time("updated_at")?,
    })
}
