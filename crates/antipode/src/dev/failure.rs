//! Why a story of two regions did not come to its end, for a person at a terminal.

use std::io;
use std::path::Path;

use super::api::ApiFailure;

/// Why a story stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A file or a program did not do what was asked.
    #[error("{doing}")]
    Io {
        /// What was tried.
        doing: String,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// A region refused or did not answer.
    #[error(transparent)]
    Api(#[from] ApiFailure),
    /// A region could not be made.
    #[error("making the region {region}")]
    Init {
        /// Which.
        region: String,
        /// Why not.
        #[source]
        cause: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A server process ended by itself.
    #[error("{region} ended by itself ({status}); its log ends with:\n{log_tail}")]
    Ended {
        /// Which region.
        region: String,
        /// How.
        status: String,
        /// The end of its log.
        log_tail: String,
    },
    /// Something did not happen in time.
    #[error("{awaited} did not happen within {seconds} seconds; last seen: {last_seen}")]
    Late {
        /// What.
        awaited: String,
        /// The limit.
        seconds: u64,
        /// What was there instead.
        last_seen: String,
    },
    /// Anything else that a person has to know.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// For `map_err`: what was done with a path.
    pub fn io(doing: &str, path: &Path) -> impl FnOnce(io::Error) -> Failure {
        let doing = format!("{doing} {}", path.display());
        move |cause| Failure::Io { doing, cause }
    }

    /// Something that only words describe.
    pub fn other(text: impl Into<String>) -> Failure {
        Failure::Other(text.into())
    }

    /// The message and all causes, in one line each.
    pub fn explain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(reason) = cause {
            text.push_str("\n  because: ");
            text.push_str(&reason.to_string());
            cause = reason.source();
        }
        text
    }
}
