//! What the bodies of requests of our own surface look like, for the OpenAPI document. The readers beside the
//! handlers decide; a body that these types allow and a reader refuses is a mistake here.
#![expect(dead_code, reason = "bodies are read by hand; these types describe them in the document")]

use utoipa::ToSchema;

use crate::http::csbs::requests::{DefinitionRequest, TagRequest};
use crate::http::openapi::schema::{
    DescriptionText, ForeignId, Id, ModeWord, MomentGiven, NameText, RegionText, TextGiven,
};

/// The body of `registerServer`.
#[derive(ToSchema)]
pub(crate) struct ServerRequest {
    server: NewServerBody,
}

#[derive(ToSchema)]
struct NewServerBody {
    /// Keep the id that the server has elsewhere; a new one when left out.
    id: Option<ForeignId>,
    /// The project that owns it.
    project_id: ForeignId,
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,255}$")]
    name: String,
    #[schema(min_items = 1, max_items = 64)]
    volumes: Vec<NewVolumeBody>,
}

#[derive(ToSchema)]
struct NewVolumeBody {
    /// Keep the id that the volume has elsewhere; a new one when left out.
    id: Option<ForeignId>,
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    name: String,
    /// A file or block device below one of the region's `source_roots`.
    #[schema(max_length = 4096, pattern = r"^/[^\u0000]*$")]
    path: String,
    /// How the disk lies in the file. Stated, never guessed.
    format: VolumeFormatWord,
    /// Whether the server starts from it.
    #[schema(default = false)]
    bootable: Option<bool>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum VolumeFormatWord {
    Raw,
}

/// The body of `backUpServer`.
#[derive(ToSchema)]
pub(crate) struct BackupRequest {
    backup: BackupRequestBody,
}

#[derive(ToSchema)]
struct BackupRequestBody {
    name: Option<NameText>,
    description: Option<DescriptionText>,
    #[schema(min_items = 1, max_items = 10)]
    tags: Option<Vec<TagRequest>>,
    /// What changed since an earlier backup. In doubt everything is read.
    changes: Option<ChangesRequest>,
}

#[derive(ToSchema)]
struct ChangesRequest {
    /// The backup that the changes are counted from.
    since: Id,
    volumes: Vec<VolumeChangesRequest>,
}

#[derive(ToSchema)]
struct VolumeChangesRequest {
    /// The volume.
    id: ForeignId,
    /// What was written, possibly more.
    #[schema(max_items = 1_048_576)]
    extents: Vec<ExtentRequest>,
}

#[derive(ToSchema)]
struct ExtentRequest {
    /// In bytes from the beginning of the volume.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    offset: i64,
    /// In bytes.
    #[schema(minimum = 0, maximum = 9_007_199_254_740_992_i64)]
    length: i64,
}

/// The body of `createGrant`.
#[derive(ToSchema)]
pub(crate) struct GrantRequest {
    grant: GrantRequestBody,
}

#[derive(ToSchema)]
struct GrantRequestBody {
    /// A region that this one is paired with.
    source_region: RegionText,
    /// The project there.
    source_project_id: ForeignId,
    mode: Option<ModeWord>,
    /// How many bytes its replicas may occupy; no limit when left out.
    #[schema(minimum = 1, maximum = 9_007_199_254_740_992_i64)]
    bytes_max: Option<i64>,
    /// For how many days a replica is kept at least; 30 when left out.
    #[schema(minimum = 0, maximum = 36_500)]
    keep_days_min: Option<u32>,
    /// Nothing arrives after this moment.
    expires_at: Option<MomentGiven>,
}

/// The body of `unfreezeRegion`.
#[derive(ToSchema)]
pub(crate) struct UnfreezeRequest {
    /// This region's name, so that nobody does it to another by mistake.
    name: RegionText,
}

/// The body of `inviteRegion`.
#[derive(ToSchema)]
pub(crate) struct InvitationRequest {
    /// The name of the region that is invited.
    region: RegionText,
}

/// The body of `acceptInvitation`.
#[derive(ToSchema)]
pub(crate) struct AcceptanceRequest {
    /// The line that the other region's operator got.
    invitation: TextGiven,
}

/// The body of `confirmRegion`.
#[derive(ToSchema)]
pub(crate) struct ConfirmationRequest {
    /// The characters that the other region's operator reads out.
    code: TextGiven,
}

/// The body of `limitRegion`.
#[derive(ToSchema)]
pub(crate) struct LimitRequest {
    limit: LimitRequestBody,
}

#[derive(ToSchema)]
struct LimitRequestBody {
    /// For all transfers to the region together; no limit when it is null or left out.
    #[schema(minimum = 1024, maximum = 1_125_899_906_842_624_i64)]
    bytes_per_second: Option<i64>,
}

/// The body of `adoptPolicy`.
#[derive(ToSchema)]
pub(crate) struct AdoptionRequest {
    /// The deleted policy.
    old_policy_id: Id,
}

/// The body of `previewOtherRetention`.
#[derive(ToSchema)]
pub(crate) struct PreviewRequest {
    retention_preview: PreviewRequestBody,
}

#[derive(ToSchema)]
struct PreviewRequestBody {
    /// Now, when left out.
    at: Option<MomentGiven>,
    /// Rules that are not saved; those of the policy when left out.
    operation_definition: Option<DefinitionRequest>,
}

/// The body of `setDestination`.
#[derive(ToSchema)]
pub(crate) struct DestinationRequest {
    destination: DestinationTarget,
}

#[derive(ToSchema)]
struct DestinationTarget {
    /// In seconds; null or left out for none.
    #[schema(minimum = 1, maximum = 316_224_000)]
    rpo_seconds: Option<u32>,
}

/// The body of `setProjectQuotas`.
#[derive(ToSchema)]
pub(crate) struct QuotasRequest {
    quotas: QuotaLimits,
}

/// What is left out stays as it is; -1 is no limit.
#[derive(ToSchema)]
struct QuotaLimits {
    /// The most backups.
    #[schema(minimum = -1, maximum = 8_589_934_591_i64)]
    backups: Option<i64>,
    /// The most that they may take in the store, in units of 2^30 bytes.
    #[schema(minimum = -1, maximum = 8_589_934_591_i64)]
    backup_capacity: Option<i64>,
}

/// The body of `createAccessKey`.
#[derive(ToSchema)]
pub(crate) struct AccessKeyRequest {
    credential: NewAccessKeyBody,
}

#[derive(ToSchema)]
struct NewAccessKeyBody {
    /// What it is for.
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    description: Option<String>,
}
