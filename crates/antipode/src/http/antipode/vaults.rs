//! Vaults and their collection, for the operator.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;
use control::collection::VaultView;
use serde::Serialize;
use utoipa::ToSchema;
use vault::ids::VaultId;

use crate::http::csbs::Nothing;
use crate::http::error::OwnError;
use crate::http::openapi::refusals::{ReadRefusals, WriteRefusals};
use crate::http::openapi::schema::{ForeignId, Moment, RegionText, VaultIdText};
use crate::http::request::{LoggedIn, PathParams};

/// The newest collection of a vault.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CollectionBody {
    /// What it is busy with; `done` when it came to its end.
    phase: String,
    /// How far the phase is.
    done_bytes: u64,
    /// What the phase has to go through.
    total_bytes: u64,
    /// Until the end of the phase, at the rate so far; null while nobody can tell.
    seconds_left: Option<u64>,
    #[schema(value_type = Moment)]
    begun_at: String,
    #[schema(value_type = Option<Moment>)]
    finished_at: Option<String>,
    /// What is needed.
    live_bytes: u64,
    /// How many packs were deleted.
    deleted_pack_count: u64,
    /// What was freed.
    deleted_bytes: u64,
    /// What was moved out of packs that were mostly dead.
    rewritten_bytes: u64,
    /// Why work is left for the next one.
    reason: Option<String>,
}

/// One vault.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VaultBody {
    #[schema(value_type = VaultIdText)]
    id: String,
    #[schema(value_type = ForeignId)]
    project_id: String,
    /// `primary` for backups made here, `replica` for replicas.
    #[schema(pattern = "^(primary|replica)$")]
    kind: &'static str,
    /// Of a replica vault.
    #[schema(value_type = Option<RegionText>)]
    source_region: Option<String>,
    #[schema(value_type = Moment)]
    created_at: String,
    /// The newest, if there was one.
    collection: Option<CollectionBody>,
}

/// `{"vaults": …}`
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VaultsAnswer {
    vaults: Vec<VaultBody>,
}

impl From<VaultView> for VaultBody {
    fn from(view: VaultView) -> VaultBody {
        let seconds_left = view.seconds_left();
        let collection = view.collection.map(|collection| CollectionBody {
            phase: collection.phase,
            done_bytes: collection.done_bytes,
            total_bytes: collection.total_bytes,
            seconds_left,
            begun_at: collection.begun_at.wire(),
            finished_at: collection.finished_at.map(|moment| moment.wire()),
            live_bytes: collection.end.live_bytes,
            deleted_pack_count: collection.end.deleted_pack_count,
            deleted_bytes: collection.end.deleted_bytes,
            rewritten_bytes: collection.end.rewritten_bytes,
            reason: collection.end.reason,
        });
        VaultBody {
            id: VaultId(view.vault.id).to_string(),
            project_id: view.vault.project_id.to_string(),
            kind: view.vault.kind.word(),
            source_region: view.vault.source.map(|source| source.region.to_string()),
            created_at: view.vault.created_at.wire(),
            collection,
        }
    }
}

/// Lists the vaults of the region and how far their collections are
#[utoipa::path(
    get,
    path = "/vaults",
    operation_id = "listVaults",
    tag = "regions",
    responses(
        (status = 200, description = "All of them.", body = VaultsAnswer, links(
            ("collect" = (operation_id = "collectVault", parameters(("vault_id" = "$response.body#/vaults/0/id"))))
        )),
        ReadRefusals
    )
)]
pub(crate) async fn list(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
) -> Result<Json<VaultsAnswer>, OwnError> {
    let vaults = control.vault_views(&caller).await?;
    Ok(Json(VaultsAnswer { vaults: vaults.into_iter().map(VaultBody::from).collect() }))
}

/// Collects a vault now, instead of when it is due
#[utoipa::path(
    post,
    path = "/vaults/{vault_id}/collect",
    operation_id = "collectVault",
    tag = "regions",
    responses(
        (status = 202, description = "It begins.", body = Nothing),
        WriteRefusals
    )
)]
pub(crate) async fn collect(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<(StatusCode, Json<Nothing>), OwnError> {
    let missing = || control::Error::invalid("vault_id", "must be the id of a vault");
    let vault: VaultId = path.text("vault_id")?.parse().map_err(|_| missing())?;
    control.order_collection(&caller, vault).await?;
    Ok((StatusCode::ACCEPTED, Json(Nothing {})))
}
