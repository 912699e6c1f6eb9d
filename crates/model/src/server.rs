//! What is protected: servers and their volumes, registered by the region operator only.

use crate::ids::{ProjectId, ResourceId, VolumeId};
use crate::time::Timestamp;

/// How the bytes of a volume lie in its file or device. Always stated, never probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeFormat {
    /// The bytes of the disk as they are: a raw image file or a block device.
    Raw,
}

impl VolumeFormat {
    /// The word used in configuration, catalog and wire.
    pub fn word(self) -> &'static str {
        match self {
            VolumeFormat::Raw => "raw",
        }
    }

    /// The format of a word.
    pub fn from_word(word: &str) -> Option<VolumeFormat> {
        (word == "raw").then_some(VolumeFormat::Raw)
    }
}

/// One disk of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Volume {
    /// Its id, unique in the region; may be the id of an existing cloud.
    pub id: VolumeId,
    /// What people call it.
    pub name: String,
    /// Where its bytes are; under a configured source root. Never shown to project members.
    pub path: String,
    /// How its bytes lie there.
    pub format: VolumeFormat,
    /// Its size when it was registered or last read.
    pub size_bytes: u64,
    /// Whether the server boots from it.
    pub bootable: bool,
}

/// A protected server. One project owns it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its id, unique in the region; may be the id of an existing cloud.
    pub id: ResourceId,
    /// The owning project.
    pub project_id: ProjectId,
    /// What people call it.
    pub name: String,
    /// Its disks, in the order of registration.
    pub volumes: Vec<Volume>,
    /// When it was registered.
    pub created_at: Timestamp,
}
