//! How a command ends: the exit codes that scripts rest on, and what a person reads.

use serde_json::Value;

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Anything that has no code of its own.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// Some of what was asked was done.
    PartlyDone = 3,
    /// It does not exist, or is somebody else's.
    NotFound = 4,
    /// Not logged in, or a role is missing.
    Denied = 5,
    /// Something is in the way now.
    Conflict = 6,
    /// A check looked, and found what it looks for.
    Alarm = 7,
}

/// Why a command did not do what was asked.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CliError {
    /// How the process ends.
    pub exit: Exit,
    /// What a person reads.
    pub message: String,
    /// Whether asking again may help: the region did not answer.
    pub may_pass: bool,
}

/// What every command answers.
pub(crate) type Outcome<T> = Result<T, CliError>;

/// Refusals that mean "not now", although their status is 400 for old clients.
const BUSY_CODES: [&str; 6] =
    ["CSBS.1001", "CSBS.2003", "CSBS.2004", "CSBS.6015", "CSBS.6030", "BackupService.1009"];

impl CliError {
    /// An error with a code of its own.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> CliError {
        CliError { exit, message: message.into(), may_pass: false }
    }

    /// A command line that cannot be meant.
    pub(crate) fn usage(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Usage, message)
    }

    /// Anything else.
    pub(crate) fn failed(message: impl Into<String>) -> CliError {
        CliError::new(Exit::Failed, message)
    }

    /// A refusal by the API.
    pub(crate) fn refused(status: u16, body: &Value) -> CliError {
        let code = body["error_code"].as_str().unwrap_or_default();
        let message = match body["error_msg"].as_str() {
            Some(message) => format!("{message} [{code}]"),
            None => format!("the server answered {status}"),
        };
        CliError::new(exit_of(status, code), message)
    }
}

fn exit_of(status: u16, code: &str) -> Exit {
    match status {
        401 | 403 => Exit::Denied,
        404 => Exit::NotFound,
        409 => Exit::Conflict,
        _ if BUSY_CODES.contains(&code) => Exit::Conflict,
        _ => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scripts_can_tell_refusals_apart() {
        let exit = |status, code: &str| CliError::refused(status, &json!({ "error_code": code })).exit;
        assert_eq!(exit(401, "Antipode.0401"), Exit::Denied);
        assert_eq!(exit(403, "Antipode.0403"), Exit::Denied);
        assert_eq!(exit(404, "CSBS.3000"), Exit::NotFound);
        assert_eq!(exit(409, "CSBS.1001"), Exit::Conflict);
        assert_eq!(exit(400, "CSBS.2003"), Exit::Conflict);
        assert_eq!(exit(400, "CSBS.9001"), Exit::Failed);
        assert_eq!(exit(500, "CSBS.9999"), Exit::Failed);
    }
}
