//! Records about the region itself: its projects, and the lives of its catalog.

use super::record::text;
use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::Incarnation;

const DOCUMENT_BYTES_MAX: u32 = 64 << 10;
/// Most earlier lives that one record lists.
const PREDECESSOR_COUNT_MAX: u32 = 4096;

/// A revision of a project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectRecord {
    /// Its id.
    pub project_id: String,
    /// Rises with every change.
    pub revision: u64,
    /// Its name.
    pub name: String,
    /// Whether anybody may log in to it.
    pub is_enabled: bool,
    /// Everything else, as JSON.
    pub document: String,
}

/// A new life of the catalog, the first state object of that life. Numbers of state objects order
/// them within one life only; this record orders the lives, without trusting a clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IncarnationRecord {
    /// One more than that of any life before. A life without such a record has generation 0.
    pub generation: u32,
    /// The lives that were found in the store, each with the highest number seen of it.
    pub predecessors: Vec<(Incarnation, u64)>,
}

impl ProjectRecord {
    pub(super) fn encode(&self, encoder: &mut Encoder) {
        encoder.string(&self.project_id).u64(self.revision).string(&self.name);
        encoder.bool(self.is_enabled).string(&self.document);
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<ProjectRecord, VaultError> {
        Ok(ProjectRecord {
            project_id: text(decoder)?,
            revision: decoder.u64()?,
            name: text(decoder)?,
            is_enabled: decoder.bool()?,
            document: decoder.string(DOCUMENT_BYTES_MAX)?,
        })
    }
}

impl IncarnationRecord {
    pub(super) fn encode(&self, encoder: &mut Encoder) {
        encoder.u32(self.generation);
        encoder.list(&self.predecessors, |encoder, (incarnation, sequence)| {
            encoder.fixed(&incarnation.0).u64(*sequence);
        });
    }

    pub(super) fn decode(decoder: &mut Decoder<'_>) -> Result<IncarnationRecord, VaultError> {
        Ok(IncarnationRecord {
            generation: decoder.u32()?,
            predecessors: decoder.list(PREDECESSOR_COUNT_MAX, 24, |decoder| {
                Ok((Incarnation(decoder.fixed()?), decoder.u64()?))
            })?,
        })
    }
}
