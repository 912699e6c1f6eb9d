//! How a refusal looks on the wire. This is the only file that knows status codes, error codes and
//! the `{error_code, error_msg}` body (`csbs-v1-api.md` §6).
//!
//! Deviations from the documented table, on purpose (design §8): bad input and busy states never
//! answer 5xx, so these codes keep their number and text under another status:
//!
//! | code | documented | here |
//! |---|---|---|
//! | CSBS.1001, CSBS.6030 (policy is running) | 500 | 409 |
//! | CSBS.6023 (data disk onto system disk) | 500 | 400 |
//! | CSBS.6032 (nothing to back up) | 500 | 400 |
//! | CSBS.9998 (try again later) | 500 | 503 |
//! | BackupService.1005 (destination region) | 500 in one edition | 400 |
//!
//! CSBS.2004 (item in plan executing) cannot occur here, because a policy can be changed and deleted while it
//! runs: the run has its items and finishes without the policy.
//!
//! What the origin leaves to a gateway (401, 403, unknown routes) carries codes `Antipode.0nnn`
//! whose last three digits are the status.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use control::error::{Error, Kind, Reason};
use serde_json::json;

/// The code of a parameter that was refused.
const PARAMETER: &str = "CSBS.9001";

/// A refusal, ready for the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

/// One line of the table: how a broken rule looks on the wire.
struct Line {
    status: StatusCode,
    code: &'static str,
    /// The documented text, filled in; empty where the documents have none of use.
    text: String,
}

impl ApiError {
    /// A parameter that must be mended; `field` is its path as the wire names it.
    pub(crate) fn malformed(field: &str, why: impl std::fmt::Display) -> ApiError {
        ApiError { status: StatusCode::BAD_REQUEST, code: PARAMETER, message: format!("{field}: {why}") }
    }

    /// A provider id that is not ours.
    pub(crate) fn provider_invalid() -> ApiError {
        ApiError::malformed("provider_id", "provider invalid")
    }

    /// A body that names more tags than one thing may carry.
    pub(crate) fn too_many_tags() -> ApiError {
        ApiError::from(Error::new(Kind::Invalid, Reason::TooManyTags, ""))
    }

    /// A path that leads nowhere.
    pub(crate) fn no_route() -> ApiError {
        ApiError {
            status: StatusCode::NOT_FOUND,
            code: "Antipode.0404",
            message: "there is nothing at this path".to_owned(),
        }
    }

    /// A path that knows other methods only.
    pub(crate) fn no_method() -> ApiError {
        ApiError {
            status: StatusCode::METHOD_NOT_ALLOWED,
            code: "Antipode.0405",
            message: "this path does not know the method".to_owned(),
        }
    }

    /// A body that did not arrive in time.
    pub(crate) fn too_slow() -> ApiError {
        ApiError {
            status: StatusCode::REQUEST_TIMEOUT,
            code: "Antipode.0408",
            message: "body: did not arrive in time".to_owned(),
        }
    }

    /// The same refusal under the status that its kind has, for our own surface: there a thing that
    /// is missing is 404 even where CSBS answers 400.
    fn by_kind(error: Error) -> ApiError {
        let status = status_of(error.kind);
        ApiError { status, ..ApiError::from(error) }
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> ApiError {
        report(&error);
        let line = line_of(&error);
        let message = message(&line.text, &error.message, error.field.as_deref());
        ApiError { status: line.status, code: line.code, message }
    }
}

/// The documented text first, because people look for it; then what we know more, then the field.
fn message(documented: &str, detail: &str, field: Option<&str>) -> String {
    let bare = |text: &str| text.trim_end_matches('.').to_owned();
    let is_told = detail.is_empty() || bare(detail) == bare(documented);
    match (documented.is_empty(), is_told, field) {
        (true, _, None) => detail.to_owned(),
        (true, _, Some(field)) => format!("{field}: {detail}"),
        (false, true, None) => documented.to_owned(),
        (false, true, Some(field)) => format!("{} ({field})", bare(documented)),
        (false, false, None) => format!("{}: {detail}", bare(documented)),
        (false, false, Some(field)) => format!("{}: {detail} ({field})", bare(documented)),
    }
}

/// Puts the fields that `control` names under the part of the body that they stand in.
pub(crate) fn under(part: &'static str) -> impl Fn(Error) -> ApiError {
    move |mut error| {
        error.field = error.field.map(|field| format!("{part}.{field}"));
        ApiError::from(error)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = json!({ "error_code": self.code, "error_msg": self.message });
        (self.status, Json(body)).into_response()
    }
}

/// A refusal on our own surface, `/antipode/v1`: the same body, the status of the kind.
#[derive(Debug)]
pub(crate) struct OwnError(ApiError);

impl From<Error> for OwnError {
    fn from(error: Error) -> OwnError {
        OwnError(ApiError::by_kind(error))
    }
}

impl From<ApiError> for OwnError {
    fn from(error: ApiError) -> OwnError {
        OwnError(error)
    }
}

impl IntoResponse for OwnError {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

/// A refusal on the identity surface: Keystone's form, which its clients print.
#[derive(Debug)]
pub(crate) struct IdentityError(ApiError);

impl From<Error> for IdentityError {
    fn from(error: Error) -> IdentityError {
        IdentityError(ApiError::by_kind(error))
    }
}

impl From<ApiError> for IdentityError {
    fn from(error: ApiError) -> IdentityError {
        IdentityError(error)
    }
}

impl IntoResponse for IdentityError {
    fn into_response(self) -> Response {
        let ApiError { status, code, message } = self.0;
        let title = status.canonical_reason().unwrap_or("Error");
        let error = json!({ "code": status.as_u16(), "title": title, "message": message });
        (status, Json(json!({ "error": error, "error_code": code, "error_msg": message }))).into_response()
    }
}

/// Logs an error once, here where it stops being passed on: as an error when it is our own fault, as a warning
/// when something we need does not answer. What a caller did wrong is the caller's to read.
fn report(error: &Error) {
    let mut causes = String::new();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        causes.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    match error.kind {
        Kind::Internal => tracing::error!("request failed: {}{causes}", error.message),
        Kind::Unavailable => tracing::warn!("request refused: {}{causes}", error.message),
        kind => tracing::debug!(?kind, "request refused: {}{causes}", error.message),
    }
}

fn status_of(kind: Kind) -> StatusCode {
    match kind {
        Kind::Invalid | Kind::OverQuota => StatusCode::BAD_REQUEST,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn line(status: u16, code: &'static str, text: impl Into<String>) -> Line {
    let status = StatusCode::from_u16(status).expect("every status in the table is a status");
    Line { status, code, text: text.into() }
}

/// The table, part one: requests, policies, servers and items.
fn line_of(error: &Error) -> Line {
    match &error.reason {
        Reason::Malformed => line(400, PARAMETER, ""),
        Reason::ProviderInvalid => line(400, PARAMETER, "provider invalid"),
        Reason::NotLoggedIn => line(401, "Antipode.0401", ""),
        Reason::NoRole | Reason::WrongProject => line(403, "Antipode.0403", ""),
        Reason::PolicyNotFound => line(404, "CSBS.3000", "plan not found"),
        Reason::PolicyNameTaken => line(400, "CSBS.9007", "duplicate service name"),
        Reason::PolicyRunning { auto_trigger: false } => {
            line(409, "CSBS.1001", "The policy is executing backup.")
        }
        Reason::PolicyRunning { auto_trigger: true } => line(409, "CSBS.6030", "auto plan executing"),
        Reason::PolicyHasNothingToBackUp => line(400, "CSBS.6032", "plan has no resource backup"),
        Reason::TooManyPolicies => line(400, "CSBS.0001", "Service over limit"),
        Reason::ServerInPolicy { server } => {
            line(400, "CSBS.6004", format!("Server ({server}) is already in service."))
        }
        Reason::ServerNotFound => line(400, "CSBS.6000", "server do not exist"),
        Reason::ResourceTypeUnsupported { resource, resource_type } => {
            let text = format!("Resource ({resource}) type ({resource_type}) is not support protection.");
            line(400, "CSBS.6003", text)
        }
        Reason::NoVolumes { server } => {
            line(400, "CSBS.6007", format!("No volume attached to the server ({server}) for protect."))
        }
        Reason::ItemNotFound { item } => {
            line(404, "CSBS.3001", format!("Checkpoint_item ({item}) is not found."))
        }
        Reason::ItemBusy => line(400, "CSBS.2003", "item in executing"),
        Reason::ItemNotAvailable => line(400, "CSBS.4000", "checkpoint item not available"),
        Reason::QuotaExceeded { what } => {
            line(400, "CSBS.9006", format!("Quota exceeded for resources: {what}"))
        }
        Reason::WritesBlocked | Reason::Busy => line(503, "CSBS.9998", "System not support"),
        Reason::Internal => line(500, "CSBS.9999", ""),
        _ => line_of_restores_and_replication(error),
    }
}

/// The table, part two.
fn line_of_restores_and_replication(error: &Error) -> Line {
    match &error.reason {
        Reason::TargetRestoring => line(400, "CSBS.6015", "The server is restoring."),
        Reason::TargetVolumeNotFound { volumes } => {
            line(400, "CSBS.6014", format!("Volume(s) ({volumes}) not found in target server."))
        }
        Reason::TargetHasNoVolumes { server } => {
            line(400, "CSBS.6020", format!("No volume attached to the server ({server}) for restore."))
        }
        Reason::BackupNotInItem { backups, item } => {
            line(400, "CSBS.6017", format!("Can not find backup(s) ({backups}) in checkpoint item ({item})."))
        }
        Reason::PartialRestore { backups } => {
            let text =
                format!("Not assign backup(s) ({backups}) to volume(s), partial restore is not supported.");
            line(400, "CSBS.6018", text)
        }
        Reason::DataOntoSystemVolume { server } => {
            let text = format!("Can not restore data volume to system volume. server id is ({server}).");
            line(400, "CSBS.6023", text)
        }
        Reason::TargetTooSmall { volume, volume_bytes, backup, backup_bytes } => {
            let text = format!(
                "Target volume ({volume}) size ({volume_bytes}) small than volume backup ({backup}) size \
                 ({backup_bytes})."
            );
            line(400, "CSBS.6024", text)
        }
        Reason::TooManyTags => {
            let text = format!("request tags exceed the max allowed count: {}.", model::text::TAGS_MAX);
            line(400, "CSBS.7000", text)
        }
        Reason::TagNotFound => line(404, "CSBS.7001", "The backup tag does not exist."),
        Reason::DestinationRegionUnknown => {
            line(400, "BackupService.1005", "The destination region does not support replication.")
        }
        Reason::DestinationProjectRefuses => {
            line(400, "BackupService.1011", "The destination project does not support replication.")
        }
        Reason::ReplicaOfReplica => line(400, "BackupService.1002", "A replica cannot be replicated."),
        Reason::AlreadyReplicated => {
            let text = "The backup is being replicated, or has been replicated, to the destination region.";
            line(400, "BackupService.1009", text)
        }
        Reason::RecordNotFound | Reason::RestoreNotFound => line(404, "CSBS.6040", "task not found"),
        Reason::IdTaken => line(409, "Antipode.0409", ""),
        Reason::InvitationRefused => line(400, "Antipode.0400", ""),
        _ => line(status_of(error.kind).as_u16(), code_of(error.kind), ""),
    }
}

/// The code of a rule without a line of its own.
fn code_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Invalid => PARAMETER,
        Kind::Unauthenticated => "Antipode.0401",
        Kind::Forbidden => "Antipode.0403",
        Kind::NotFound => "Antipode.0404",
        Kind::Conflict => "Antipode.0409",
        Kind::OverQuota => "CSBS.9006",
        Kind::Unavailable => "CSBS.9998",
        Kind::Internal => "CSBS.9999",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: Error, status: u16, code: &str, message: &str) {
        let error = ApiError::from(error);
        assert_eq!((error.status.as_u16(), error.code, error.message.as_str()), (status, code, message));
    }

    #[test]
    fn a_broken_rule_has_its_documented_code_text_and_field() {
        check(Error::invalid("policy.name", "is missing"), 400, "CSBS.9001", "policy.name: is missing");
        let missing = Error::not_found(Reason::PolicyNotFound, "no policy x in this project");
        check(missing, 404, "CSBS.3000", "plan not found: no policy x in this project");
        let missing =
            Error::not_found(Reason::ItemNotFound { item: "x".into() }, "Checkpoint_item (x) is not found");
        check(missing, 404, "CSBS.3001", "Checkpoint_item (x) is not found.");
        let unknown = Error::refused(Reason::DestinationRegionUnknown, "no peer eu-z")
            .at("replication.destination_region");
        let text = "The destination region does not support replication: no peer eu-z \
                    (replication.destination_region)";
        check(unknown, 400, "BackupService.1005", text);
    }

    #[test]
    fn busy_states_and_bad_input_never_answer_500() {
        let reasons = [
            Reason::PolicyRunning { auto_trigger: true },
            Reason::PolicyRunning { auto_trigger: false },
            Reason::PolicyHasNothingToBackUp,
            Reason::DataOntoSystemVolume { server: "s".into() },
            Reason::PolicyChanged,
            Reason::ItemBusy,
        ];
        for reason in reasons {
            let error = ApiError::from(Error::conflict(reason.clone(), ""));
            assert!(error.status.is_client_error(), "{reason:?}");
        }
    }

    #[test]
    fn the_cause_of_a_fault_stays_inside() {
        let error = ApiError::from(Error::internal("reading the catalog", "secret detail"));
        assert_eq!(error.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!error.message.contains("secret"), "{}", error.message);
    }

    #[test]
    fn our_own_surface_answers_by_kind() {
        let error = ApiError::by_kind(Error::not_found(Reason::ServerNotFound, "no server s"));
        assert_eq!((error.status, error.code), (StatusCode::NOT_FOUND, "CSBS.6000"));
    }
}
