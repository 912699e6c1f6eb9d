//! Receipts of replicas, with what is needed to check them elsewhere.

use axum::Json;
use axum::extract::State;
use control::Control;
use control::peers::ShownReceipt;
use model::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;
use vault::ids::to_hex;

use crate::http::error::OwnError;
use crate::http::openapi::refusals::ReadRefusals;
use crate::http::openapi::schema::{ForeignId, Id, Moment, RegionText};
use crate::http::request::{LoggedIn, PathParams};

/// A destination's signed word that it holds a replica, and what it says.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceiptBody {
    /// The signed bytes, as hex.
    #[schema(pattern = "^([0-9a-f]{2})+$")]
    receipt: String,
    /// The card of the region that signed, itself signed by the region's root key, as hex.
    #[schema(pattern = "^([0-9a-f]{2})+$")]
    card: String,
    #[schema(value_type = Id)]
    replication_record_id: String,
    #[schema(value_type = Id)]
    checkpoint_item_id: String,
    #[schema(value_type = RegionText)]
    destination_region: String,
    /// From its root key: 32 hex digits.
    #[schema(pattern = "^[0-9a-f]{32}$")]
    destination_region_id: String,
    #[schema(value_type = ForeignId)]
    destination_project_id: String,
    /// The digest of the backup's manifest: 64 hex digits.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    manifest: String,
    /// Objects that the backup consists of there.
    object_count: u64,
    /// What they take in the store.
    stored_bytes: u64,
    /// What the destination did before it signed: `stored` it recomputed every address and missed nothing,
    /// `opened` it opened every chunk, `drilled` it restored the backup.
    #[schema(pattern = "^(stored|opened|drilled)$")]
    level: &'static str,
    /// What the destination can do with it: `restorable` or `sealed`.
    #[schema(pattern = "^(restorable|sealed)$")]
    mode: &'static str,
    #[schema(value_type = Moment)]
    published_at: String,
    /// It does not expire there before.
    #[schema(value_type = Moment)]
    keep_until: String,
}

/// `{"receipt": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReceiptAnswer {
    receipt: ReceiptBody,
}

impl From<ShownReceipt> for ReceiptBody {
    fn from(shown: ShownReceipt) -> ReceiptBody {
        let said = shown.checked.receipt;
        ReceiptBody {
            receipt: to_hex(&shown.file.receipt),
            card: to_hex(&shown.file.card),
            replication_record_id: shown.record.id.to_string(),
            checkpoint_item_id: shown.record.item_id.to_string(),
            destination_region: shown.record.destination.region.to_string(),
            destination_region_id: said.destination_region.to_string(),
            destination_project_id: said.destination_project,
            manifest: said.manifest.to_string(),
            object_count: said.object_count,
            stored_bytes: said.stored_bytes,
            level: said.level.word(),
            mode: said.mode.word(),
            published_at: Timestamp::from_millis(said.published_ms).wire(),
            keep_until: Timestamp::from_millis(said.keep_until_ms).wire(),
        }
    }
}

/// Shows the destination's receipt of a replica
///
/// With the card of the region that signed it, so that it can be checked without this region.
#[utoipa::path(
    get,
    path = "/replication_records/{replication_record_id}/receipt",
    operation_id = "showReceipt",
    tag = "replication",
    responses(
        (status = 200, description = "The receipt.", body = ReceiptAnswer),
        ReadRefusals
    )
)]
pub(crate) async fn show(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<Json<ReceiptAnswer>, OwnError> {
    let shown = control.show_receipt(&caller, path.id("replication_record_id")?).await?;
    Ok(Json(ReceiptAnswer { receipt: shown.into() }))
}
