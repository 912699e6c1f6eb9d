//! What people say to replication records: pause, resume, cancel, retry.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use control::Control;

use super::progress::RecordProgressAnswer;
use crate::http::error::OwnError;
use crate::http::openapi::refusals::WriteRefusals;
use crate::http::request::{LoggedIn, PathParams};

/// What every verb answers.
type Told = Result<Json<RecordProgressAnswer>, OwnError>;

/// Stops a replication for a while
///
/// It keeps its place and what has arrived; nothing is sent until it is resumed. One that is paused already stays so.
#[utoipa::path(
    post,
    path = "/replication_records/{replication_record_id}/pause",
    operation_id = "pauseRecord",
    tag = "replication",
    responses(
        (status = 200, description = "The record, paused.", body = RecordProgressAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn pause(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Told {
    let record = control.pause_record(&caller, path.id("replication_record_id")?).await?;
    Ok(Json(RecordProgressAnswer::from(record)))
}

/// Lets a paused replication go on
///
/// At once, and at the place that it had. One that is not paused stays as it is.
#[utoipa::path(
    post,
    path = "/replication_records/{replication_record_id}/resume",
    operation_id = "resumeRecord",
    tag = "replication",
    responses(
        (status = 200, description = "The record, no longer paused.", body = RecordProgressAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn resume(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Told {
    let record = control.resume_record(&caller, path.id("replication_record_id")?).await?;
    Ok(Json(RecordProgressAnswer::from(record)))
}

/// Takes an open replication back
///
/// For good: the backup can be deleted, or ordered to the same region again.
#[utoipa::path(
    post,
    path = "/replication_records/{replication_record_id}/cancel",
    operation_id = "cancelRecord",
    tag = "replication",
    responses(
        (status = 200, description = "The record, cancelled.", body = RecordProgressAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn cancel(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Told {
    let record = control.cancel_record(&caller, path.id("replication_record_id")?).await?;
    Ok(Json(RecordProgressAnswer::from(record)))
}

/// Orders a replication again that ended without a replica
///
/// For what failed, was skipped, cancelled or lost, as long as the backup is available.
#[utoipa::path(
    post,
    path = "/replication_records/{replication_record_id}/retry",
    operation_id = "retryRecord",
    tag = "replication",
    responses(
        (status = 201, description = "The new record.", body = RecordProgressAnswer),
        WriteRefusals
    )
)]
pub(crate) async fn retry(
    State(control): State<Control>,
    LoggedIn(caller): LoggedIn,
    path: PathParams,
) -> Result<(StatusCode, Json<RecordProgressAnswer>), OwnError> {
    let record = control.retry_record(&caller, path.id("replication_record_id")?).await?;
    Ok((StatusCode::CREATED, Json(RecordProgressAnswer::from(record))))
}
