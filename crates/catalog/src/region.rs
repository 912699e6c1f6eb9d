//! The one row about this region itself: its name and identity, its counters, and whether writes
//! are blocked or frozen.

use model::ids::RegionName;
use model::time::Timestamp;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::value::{Row, values};

/// This region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name.
    pub name: RegionName,
    /// The id derived from its root key.
    pub region_id: [u8; 16],
    /// The present life of its catalog.
    pub incarnation: [u8; 16],
    /// The number of the last state object.
    pub state_sequence: u64,
    /// The counter of the last head issued.
    pub head_counter: u64,
    /// Why nothing may be written; nothing when all is well.
    pub blocked_reason: Option<String>,
    /// Why nothing expires and nothing is collected; nothing when both go on.
    pub frozen_reason: Option<String>,
    /// When it was initialised.
    pub created_at: Timestamp,
}

/// What a new region is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewRegion {
    /// Its name.
    pub name: RegionName,
    /// The id derived from its root key.
    pub region_id: [u8; 16],
    /// Its first incarnation.
    pub incarnation: [u8; 16],
}

impl Catalog {
    /// Writes the region's row. A catalog holds one region, for ever: `IdTaken` the second time.
    pub async fn init_region(&self, region: &NewRegion, now: Timestamp) -> Result<(), CatalogError> {
        let mut tx = self.write("initialising the region").await?;
        let inserted = tx
            .execute(
                "INSERT INTO region (only_row, name, region_id, incarnation, state_sequence, head_counter, \
                 created_at) VALUES (1, $1, $2, $3, 0, 0, $4) ON CONFLICT DO NOTHING",
                values![&region.name, region.region_id, region.incarnation, now],
            )
            .await?;
        if inserted == 0 {
            return Err(Conflict::IdTaken { what: "region", id: region.name.to_string() }.into());
        }
        tx.commit().await
    }

    /// The region, or nothing before [`Catalog::init_region`].
    pub async fn region(&self) -> Result<Option<Region>, CatalogError> {
        let mut tx = self.read("reading the region").await?;
        let row = tx
            .first(
                "SELECT name, region_id, incarnation, state_sequence, head_counter, blocked_reason, \
                 frozen_reason, created_at FROM region",
                values![],
            )
            .await?;
        row.as_ref().map(region_of_row).transpose()
    }

    /// The next number for a state object; never given twice in one incarnation.
    pub async fn take_state_sequence(&self) -> Result<u64, CatalogError> {
        let mut tx = self.write("numbering a state object").await?;
        let row = tx
            .first(
                "UPDATE region SET state_sequence = state_sequence + 1 RETURNING state_sequence",
                values![],
            )
            .await?;
        let sequence = row.ok_or(no_region())?.count("state_sequence")?;
        tx.commit().await?;
        Ok(sequence)
    }

    /// The next head counter. [`Catalog::issue_head`] takes it together with what the head lists.
    pub async fn bump_head_counter(&self) -> Result<u64, CatalogError> {
        let mut tx = self.write("numbering a head").await?;
        let counter = take_head_counter(&mut tx).await?;
        tx.commit().await?;
        Ok(counter)
    }

    /// Notes why nothing may be written any more; control asks [`Catalog::region`] before it writes.
    pub async fn block_writes(&self, reason: &str) -> Result<(), CatalogError> {
        self.set_blocked(Some(reason)).await
    }

    /// Lets writes go on.
    pub async fn unblock_writes(&self) -> Result<(), CatalogError> {
        self.set_blocked(None).await
    }

    /// Begins a new incarnation, after a rebuild.
    pub async fn set_incarnation(&self, incarnation: [u8; 16]) -> Result<(), CatalogError> {
        let mut tx = self.write("taking a new incarnation").await?;
        let touched = tx.execute("UPDATE region SET incarnation = $1", values![incarnation]).await?;
        if touched == 0 {
            return Err(no_region());
        }
        tx.commit().await
    }

    /// Lets expiry and collection go on after a rebuild. A second time changes nothing.
    pub async fn unfreeze(&self) -> Result<(), CatalogError> {
        let mut tx = self.write("lifting the freeze").await?;
        let touched = tx.execute("UPDATE region SET frozen_reason = NULL", values![]).await?;
        if touched == 0 {
            return Err(no_region());
        }
        tx.commit().await
    }

    async fn set_blocked(&self, reason: Option<&str>) -> Result<(), CatalogError> {
        let mut tx = self.write("blocking or unblocking writes").await?;
        let touched = tx.execute("UPDATE region SET blocked_reason = $1", values![reason]).await?;
        if touched == 0 {
            return Err(no_region());
        }
        tx.commit().await
    }
}

/// The next head counter, inside the transaction that lists what the head says.
pub(crate) async fn take_head_counter(tx: &mut Tx) -> Result<u64, CatalogError> {
    let row = tx
        .first("UPDATE region SET head_counter = head_counter + 1 RETURNING head_counter", values![])
        .await?;
    row.ok_or(no_region())?.count("head_counter")
}

/// Refuses to go on while writes are blocked. Whatever adds or removes backups begins with this.
pub(crate) async fn require_unblocked(tx: &mut Tx) -> Result<(), CatalogError> {
    let row = tx.first("SELECT blocked_reason FROM region", values![]).await?;
    match row.map(|row| row.optional_text("blocked_reason")).transpose()?.flatten() {
        None => Ok(()),
        Some(reason) => Err(Conflict::Blocked { reason }.into()),
    }
}

/// Refuses to go on while expiry and collection are frozen. Whatever lets backups go without anybody
/// ordering it begins with this.
pub(crate) async fn require_unfrozen(tx: &mut Tx) -> Result<(), CatalogError> {
    let row = tx.first("SELECT frozen_reason FROM region", values![]).await?;
    match row.map(|row| row.optional_text("frozen_reason")).transpose()?.flatten() {
        None => Ok(()),
        Some(reason) => Err(Conflict::Frozen { reason }.into()),
    }
}

pub(crate) fn no_region() -> CatalogError {
    CatalogError::not_found("region", "of this catalog")
}

fn region_of_row(row: &Row) -> Result<Region, CatalogError> {
    Ok(Region {
        name: row.id("name")?,
        region_id: row.bytes("region_id")?,
        incarnation: row.bytes("incarnation")?,
        state_sequence: row.count("state_sequence")?,
        head_counter: row.count("head_counter")?,
        blocked_reason: row.optional_text("blocked_reason")?,
        frozen_reason: row.optional_text("frozen_reason")?,
        created_at: row.time("created_at")?,
    })
}
