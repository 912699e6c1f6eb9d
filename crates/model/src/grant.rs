//! Acceptance grants: a destination project's consent to replicas from one source project (design §6,
//! Trust). Made in the destination project by its admin; the source caches those made to it.

use crate::ids::{GrantId, ProjectId, RegionName};
use crate::time::Timestamp;

/// How much a destination may know of what it stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Mode {
    /// It holds the data keys: it can open and restore.
    Restorable,
    /// It holds the structure key only: it can verify completeness, expire and collect.
    Sealed,
}

impl Mode {
    /// The word on the wire and in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Mode::Restorable => "restorable",
            Mode::Sealed => "sealed",
        }
    }

    /// The mode of a word.
    pub fn from_word(word: &str) -> Option<Mode> {
        [Mode::Restorable, Mode::Sealed].into_iter().find(|mode| mode.word() == word)
    }
}

/// What is proved about a stored item; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// Addresses recomputed, nothing missing.
    Stored,
    /// Every chunk opened.
    Opened,
    /// Restored and compared.
    Drilled,
}

impl Level {
    /// The word on the wire and in the catalog.
    pub fn word(self) -> &'static str {
        match self {
            Level::Stored => "stored",
            Level::Opened => "opened",
            Level::Drilled => "drilled",
        }
    }

    /// The level of a word.
    pub fn from_word(word: &str) -> Option<Level> {
        [Level::Stored, Level::Opened, Level::Drilled].into_iter().find(|level| level.word() == word)
    }
}

/// The default of [`Grant::keep_days_min`].
pub const KEEP_DAYS_MIN_DEFAULT: u32 = 30;

/// Consent of a destination project to replicas from one source project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its id.
    pub id: GrantId,
    /// The region that may send.
    pub source_region: RegionName,
    /// The project there.
    pub source_project_id: ProjectId,
    /// The region that accepts: the one that made the grant.
    pub destination_region: RegionName,
    /// The project that accepts.
    pub destination_project_id: ProjectId,
    /// What the destination may know.
    pub mode: Mode,
    /// The most stored bytes it accepts; nothing means no limit.
    pub bytes_max: Option<u64>,
    /// Nothing that arrives expires before this many days.
    pub keep_days_min: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself, if it does.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back, if it was.
    pub revoked_at: Option<Timestamp>,
}

impl Grant {
    /// Whether replicas may arrive under it now.
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}
