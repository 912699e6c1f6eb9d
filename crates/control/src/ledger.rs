//! The pack ledger of one vault, over the catalog. The vault calls it from blocking threads, so each
//! call waits for the catalog on the runtime that owns it.

use std::sync::Arc;

use catalog::{Catalog, CatalogError, Conflict, NewOperation, PackRow};
use model::ids::OperationId as CatalogOperationId;
use model::time::Timestamp;
use tokio::runtime::Handle;
use vault::ids::{ManifestDigest, OperationId, PackNumber, VaultId};
use vault::layout;
use vault::ledger::{LedgerError, LedgerPack, PackLedger, SealedPack};
use vault::seams::Clock;

/// [`PackLedger`] over the catalog's `vaults`, `packs`, `pins` and `operations`.
pub(crate) struct CatalogLedger {
    pub(crate) catalog: Catalog,
    pub(crate) vault_id: VaultId,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) runtime: Handle,
}

impl PackLedger for CatalogLedger {
    fn begin(&self, operation: OperationId, base: Option<ManifestDigest>) -> Result<(), LedgerError> {
        let base = base.map(|digest| digest.0);
        let row =
            NewOperation { id: operation_id(operation), vault_id: self.vault_id.0, base_manifest: base };
        let begun = self.catalog.begin_operation(&row, self.now());
        self.runtime.block_on(begun).map_err(|error| refused(error, PackNumber(0)))
    }

    fn reserve(&self, operation: OperationId) -> Result<PackNumber, LedgerError> {
        let reserved = self.runtime.block_on(self.catalog.reserve_pack(operation_id(operation)));
        reserved.map(PackNumber).map_err(|error| refused(error, PackNumber(0)))
    }

    fn seal(&self, operation: OperationId, sealed: &SealedPack) -> Result<u64, LedgerError> {
        let row = sealed_row(sealed);
        let done = self.runtime.block_on(self.catalog.seal_pack(operation_id(operation), &row));
        done.map_err(|error| refused(error, sealed.number))
    }

    fn pin(&self, operation: OperationId, packs: &[PackNumber]) -> Result<Vec<bool>, LedgerError> {
        let numbers: Vec<u64> = packs.iter().map(|pack| pack.0).collect();
        let pinned = self.runtime.block_on(self.catalog.pin_packs(operation_id(operation), &numbers));
        pinned.map_err(|error| refused(error, PackNumber(0)))
    }

    fn live_since(&self, commit_seq: u64, limit: u32) -> Result<Vec<LedgerPack>, LedgerError> {
        let rows = self.runtime.block_on(self.catalog.packs_since(self.vault_id.0, commit_seq, limit));
        let rows = rows.map_err(|error| refused(error, PackNumber(0)))?;
        Ok(rows.iter().map(|row| self.ledger_pack(row)).collect())
    }

    fn history_begins(&self) -> Result<u64, LedgerError> {
        let row = self.runtime.block_on(self.catalog.vault(self.vault_id.0));
        let row = row.map_err(|error| refused(error, PackNumber(0)))?;
        Ok(row.map_or(0, |row| row.history_seq))
    }

    fn packs_of(&self, operation: OperationId) -> Result<Vec<LedgerPack>, LedgerError> {
        let rows = self.runtime.block_on(self.catalog.packs_of_operation(operation_id(operation)));
        let rows = rows.map_err(|error| refused(error, PackNumber(0)))?;
        Ok(rows.iter().map(|row| self.ledger_pack(row)).collect())
    }
}

impl CatalogLedger {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.clock.now_ms())
    }

    fn ledger_pack(&self, row: &PackRow) -> LedgerPack {
        let number = PackNumber(row.pack.number);
        LedgerPack {
            number,
            name: layout::pack_name(self.vault_id, number, vault::ids::Incarnation(row.pack.incarnation)),
            bytes: row.pack.bytes,
            commit_seq: row.commit_seq,
            is_live: row.is_live,
        }
    }
}

/// A sealed pack as the catalog holds it.
pub(crate) fn sealed_row(sealed: &SealedPack) -> catalog::SealedPack {
    catalog::SealedPack {
        number: sealed.number.0,
        incarnation: sealed.incarnation.0,
        bytes: sealed.bytes,
        object_count: sealed.object_count,
        footer_digest: sealed.footer_digest,
    }
}

fn operation_id(operation: OperationId) -> CatalogOperationId {
    CatalogOperationId::from_bytes(operation.0)
}

fn refused(error: CatalogError, number: PackNumber) -> LedgerError {
    match error {
        CatalogError::Conflict(Conflict::BaseNotLive) => LedgerError::BaseNotLive,
        CatalogError::Conflict(Conflict::OperationNotOpen) => LedgerError::OperationClosed,
        CatalogError::Conflict(Conflict::PackNotReserved { .. }) => LedgerError::NotReserved { number },
        other => LedgerError::Unavailable(Box::new(other)),
    }
}
