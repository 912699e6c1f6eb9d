//! Moving the missing part of one item to another region.

/// What the far end of a transfer answered instead of doing as asked.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// It could not be reached, or the answer was lost: try again.
    #[error("the peer did not answer")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It has no space or quota left: try again later.
    #[error("the peer is full")]
    Full,
    /// It is busy with this record in another attempt: try again later.
    #[error("the peer is busy with this item")]
    Busy,
    /// It will not take this, however often we ask.
    #[error("the peer refused: {why}")]
    Refused {
        /// What it said.
        why: String,
    },
}

impl PeerError {
    /// True when the same call may succeed later.
    pub fn is_passing(&self) -> bool {
        !matches!(self, PeerError::Refused { .. })
    }
}
