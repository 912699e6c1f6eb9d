//! Records that wait for one region: held back and let go together, in one transaction each, however many
//! there are.

use model::ids::RegionName;
use model::time::Timestamp;

use crate::engine::Catalog;
use crate::error::CatalogError;
use crate::jobs::{JobKind, Postponement};
use crate::value::values;

/// The open records to the region in `$1`.
macro_rules! open_to_region {
    () => {
        "SELECT id FROM replication_records WHERE destination_region = $1 \
         AND state IN ('waiting', 'copying', 'verifying', 'publishing') AND paused_at IS NULL"
    };
}

impl Catalog {
    /// Postpones every record to a region that nobody works on and whose turn would come earlier. Answers how many.
    pub async fn hold_back_replications(
        &self,
        region: &RegionName,
        postponement: &Postponement<'_>,
        now: Timestamp,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.write("holding replications back").await?;
        let values = || {
            values![
                region,
                JobKind::Replicate.word(),
                postponement.try_at,
                postponement.reason_code,
                postponement.reason,
                now
            ]
        };
        let held = tx
            .execute(
                concat!(
                    "UPDATE jobs SET run_at = $3, reason_code = $4, reason = $5, updated_at = $6 \
                     WHERE kind = $2 AND is_open = 1 AND lease_owner IS NULL AND run_at < $3 AND subject IN (",
                    open_to_region!(),
                    ")"
                ),
                values(),
            )
            .await?;
        if held > 0 {
            tx.execute(
                concat!(
                    "UPDATE replication_records SET try_at = $3, reason_code = $4, reason = $5, updated_at = $6 \
                     WHERE id IN (",
                    open_to_region!(),
                    ") AND id IN (SELECT subject FROM jobs WHERE kind = $2 AND is_open = 1 AND lease_owner IS NULL \
                     AND run_at = $3)"
                ),
                values(),
            )
            .await?;
        }
        tx.commit().await?;
        Ok(held)
    }

    /// Makes every record to a region due now that waits for this reason. Answers how many.
    pub async fn hasten_replications(
        &self,
        region: &RegionName,
        reason_code: &str,
        now: Timestamp,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.write("letting replications go on").await?;
        let freed = tx
            .execute(
                concat!(
                    "UPDATE jobs SET run_at = $3, updated_at = $3 WHERE kind = $2 AND is_open = 1 AND run_at > $3 \
                     AND lease_owner IS NULL AND reason_code = $4 AND subject IN (",
                    open_to_region!(),
                    ")"
                ),
                values![region, JobKind::Replicate.word(), now, reason_code],
            )
            .await?;
        tx.commit().await?;
        Ok(freed)
    }
}
