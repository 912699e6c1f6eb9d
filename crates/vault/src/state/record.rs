//! The records a state object can hold, field by field.

use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::{DomainId, GrantId, ManifestDigest, RegionId, ReplicaId};
use crate::receipt::{Level, Mode, RECEIPT_BYTES_MAX, decode_level, decode_mode};
use crate::state::region_record::{IncarnationRecord, ProjectRecord};

const TEXT_BYTES_MAX: u32 = 4096;
const DOCUMENT_BYTES_MAX: u32 = 3 << 20;
const LIST_COUNT_MAX: u32 = 4096;

/// One thing that was decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateRecord {
    /// A revision of a policy.
    Policy(PolicyRecord),
    /// A revision of a registered server.
    Server(ServerRecord),
    /// A revision of an acceptance grant.
    Grant(GrantRecord),
    /// A lock on an item or replica.
    Lock(LockRecord),
    /// A legal hold set or lifted.
    Hold(HoldRecord),
    /// A replica that arrived.
    Arrival(ArrivalRecord),
    /// Something that must not come back.
    Deletion(DeletionRecord),
    /// A project, so that what it owns finds its owner again.
    Project(ProjectRecord),
    /// A new life of the catalog.
    Incarnation(IncarnationRecord),
}

/// A revision of a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyRecord {
    /// Its id.
    pub policy_id: String,
    /// The project that owns it.
    pub project_id: String,
    /// Rises with every change.
    pub revision: u64,
    /// Its name.
    pub name: String,
    /// Whether it runs.
    pub is_enabled: bool,
    /// Resources, operations and retention, as JSON.
    pub document: String,
}

/// A revision of a registered server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerRecord {
    /// Its id.
    pub server_id: String,
    /// The project that owns it.
    pub project_id: String,
    /// Rises with every change.
    pub revision: u64,
    /// Its name.
    pub name: String,
    /// Its disks.
    pub volumes: Vec<VolumeRecord>,
    /// Everything else, as JSON.
    pub document: String,
}

/// A disk of a registered server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumeRecord {
    /// Its id.
    pub volume_id: String,
    /// Its name.
    pub name: String,
    /// Where it is read: a path under the source roots, or another address.
    pub location: String,
    /// The stated format.
    pub format: String,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// True for the disk the server boots from.
    pub is_bootable: bool,
}

/// A revision of an acceptance grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    /// Its id.
    pub grant: GrantId,
    /// Rises with every change.
    pub revision: u64,
    /// The project here that accepts.
    pub destination_project: String,
    /// Whose replicas are accepted.
    pub source_region: RegionId,
    /// The project there.
    pub source_project: String,
    /// In which modes.
    pub modes: Vec<Mode>,
    /// Up to how many stored bytes; `u64::MAX` for no limit.
    pub bytes_max: u64,
    /// Nothing expires sooner after arrival, in milliseconds.
    pub retention_min_ms: u64,
    /// From when it holds, in milliseconds since 1970.
    pub valid_from_ms: u64,
    /// Until when it holds, in milliseconds since 1970.
    pub valid_to_ms: u64,
    /// True once it was revoked.
    pub is_revoked: bool,
    /// Everything else, as JSON.
    pub document: String,
}

/// What a lock, hold or deletion is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// What kind of thing.
    pub kind: SubjectKind,
    /// Its id.
    pub id: String,
    /// The project that owns it.
    pub project_id: String,
    /// The manifest, for items and replicas; else zero.
    pub manifest: ManifestDigest,
}

/// The kinds of things a record can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum SubjectKind {
    /// A checkpoint item made here.
    Item = 1,
    /// A replica that arrived here.
    Replica = 2,
    /// A policy.
    Policy = 3,
    /// A registered server.
    Server = 4,
    /// An acceptance grant.
    Grant = 5,
    /// A whole checkpoint.
    Checkpoint = 6,
    /// A project.
    Project = 7,
}

/// How firmly something is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum LockMode {
    /// A special role may still delete.
    Governance = 1,
    /// Nobody may delete before the time.
    Compliance = 2,
}

/// A lock. A rebuild takes the latest time and the firmest mode of all locks on a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockRecord {
    /// What is locked.
    pub subject: Subject,
    /// How firmly.
    pub mode: LockMode,
    /// Until when, in milliseconds since 1970.
    pub until_ms: u64,
    /// Who set it.
    pub set_by: String,
}

/// A legal hold set or lifted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRecord {
    /// What is held.
    pub subject: Subject,
    /// True when it was set, false when it was lifted.
    pub is_held: bool,
    /// Who did it.
    pub set_by: String,
    /// Why.
    pub reason: String,
}

/// A replica that arrived. Written before its receipt is given out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArrivalRecord {
    /// Its id here.
    pub replica: ReplicaId,
    /// Which replica of the same item this is, from 1.
    pub generation: u32,
    /// Where it came from.
    pub source_region: RegionId,
    /// The project there.
    pub source_project: String,
    /// The project here.
    pub destination_project: String,
    /// The grant it was accepted under.
    pub grant: GrantId,
    /// Its manifest.
    pub manifest: ManifestDigest,
    /// Its key domain.
    pub domain: DomainId,
    /// What can be done with it here.
    pub mode: Mode,
    /// How well it is known to be sound.
    pub level: Level,
    /// When it arrived, in milliseconds since 1970.
    pub arrived_ms: u64,
    /// It does not expire before, in milliseconds since 1970.
    pub keep_until_ms: u64,
    /// The receipt, where it was already made; else empty.
    pub receipt: Vec<u8>,
    /// Everything else, as JSON.
    pub document: String,
}

/// Something was deleted or expired and must not be resurrected by a rebuild.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeletionRecord {
    /// What.
    pub subject: Subject,
    /// When, in milliseconds since 1970.
    pub deleted_ms: u64,
    /// Until when it can be taken back, in milliseconds since 1970.
    pub purge_after_ms: u64,
    /// True when retention did it, false when somebody did.
    pub is_expiry: bool,
    /// True when a deletion in quarantine was taken back: the subject is live again.
    pub is_undone: bool,
    /// Who did it.
    pub deleted_by: String,
    /// Why.
    pub reason: String,
}

impl StateRecord {
    /// The number of the record's type in the format.
    pub fn number(&self) -> u8 {
        match self {
            StateRecord::Policy(_) => 1,
            StateRecord::Server(_) => 2,
            StateRecord::Grant(_) => 3,
            StateRecord::Lock(_) => 4,
            StateRecord::Hold(_) => 5,
            StateRecord::Arrival(record) if record.document.is_empty() => 6,
            StateRecord::Arrival(_) => 10,
            StateRecord::Deletion(_) => 7,
            StateRecord::Project(_) => 8,
            StateRecord::Incarnation(_) => 9,
        }
    }

    pub(crate) fn encode(&self) -> Result<Vec<u8>, VaultError> {
        let mut encoder = Encoder::new();
        match self {
            StateRecord::Policy(record) => record.encode(&mut encoder),
            StateRecord::Server(record) => record.encode(&mut encoder),
            StateRecord::Grant(record) => record.encode(&mut encoder),
            StateRecord::Lock(record) => record.encode(&mut encoder),
            StateRecord::Hold(record) => record.encode(&mut encoder),
            StateRecord::Arrival(record) => record.encode(&mut encoder),
            StateRecord::Deletion(record) => record.encode(&mut encoder),
            StateRecord::Project(record) => record.encode(&mut encoder),
            StateRecord::Incarnation(record) => record.encode(&mut encoder),
        }
        let body = encoder.finish();
        // What is written must be readable when everything else is lost, so it is read back at once.
        match StateRecord::decode(self.number(), &body) {
            Ok(read) if read == *self => Ok(body),
            _ => Err(VaultError::refused("a text or list of a state record is too long")),
        }
    }

    pub(crate) fn decode(number: u8, body: &[u8]) -> Result<StateRecord, VaultError> {
        let mut decoder = Decoder::new("state record", body);
        let record = match number {
            1 => StateRecord::Policy(PolicyRecord::decode(&mut decoder)?),
            2 => StateRecord::Server(ServerRecord::decode(&mut decoder)?),
            3 => StateRecord::Grant(GrantRecord::decode(&mut decoder)?),
            4 => StateRecord::Lock(LockRecord::decode(&mut decoder)?),
            5 => StateRecord::Hold(HoldRecord::decode(&mut decoder)?),
            6 => StateRecord::Arrival(ArrivalRecord::decode(&mut decoder, HasDocument::No)?),
            10 => StateRecord::Arrival(ArrivalRecord::decode(&mut decoder, HasDocument::Yes)?),
            7 => StateRecord::Deletion(DeletionRecord::decode(&mut decoder)?),
            8 => StateRecord::Project(ProjectRecord::decode(&mut decoder)?),
            9 => StateRecord::Incarnation(IncarnationRecord::decode(&mut decoder)?),
            _ => return Err(decoder.bad(format!("unknown type {number}"))),
        };
        decoder.finish()?;
        Ok(record)
    }
}

impl PolicyRecord {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.string(&self.policy_id).string(&self.project_id).u64(self.revision).string(&self.name);
        encoder.bool(self.is_enabled).string(&self.document);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<PolicyRecord, VaultError> {
        Ok(PolicyRecord {
            policy_id: text(decoder)?,
            project_id: text(decoder)?,
            revision: decoder.u64()?,
            name: text(decoder)?,
            is_enabled: decoder.bool()?,
            document: decoder.string(DOCUMENT_BYTES_MAX)?,
        })
    }
}

impl ServerRecord {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.string(&self.server_id).string(&self.project_id).u64(self.revision).string(&self.name);
        encoder.list(&self.volumes, |encoder, volume| {
            encoder
                .string(&volume.volume_id)
                .string(&volume.name)
                .string(&volume.location)
                .string(&volume.format);
            encoder.u64(volume.size_bytes).bool(volume.is_bootable);
        });
        encoder.string(&self.document);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<ServerRecord, VaultError> {
        Ok(ServerRecord {
            server_id: text(decoder)?,
            project_id: text(decoder)?,
            revision: decoder.u64()?,
            name: text(decoder)?,
            volumes: decoder.list(LIST_COUNT_MAX, 25, |decoder| {
                Ok(VolumeRecord {
                    volume_id: text(decoder)?,
                    name: text(decoder)?,
                    location: text(decoder)?,
                    format: text(decoder)?,
                    size_bytes: decoder.u64()?,
                    is_bootable: decoder.bool()?,
                })
            })?,
            document: decoder.string(DOCUMENT_BYTES_MAX)?,
        })
    }
}

impl GrantRecord {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.fixed(&self.grant.0).u64(self.revision).string(&self.destination_project);
        encoder.fixed(&self.source_region.0).string(&self.source_project);
        encoder.list(&self.modes, |encoder, mode| {
            encoder.u8(mode.number());
        });
        encoder.u64(self.bytes_max).u64(self.retention_min_ms).u64(self.valid_from_ms).u64(self.valid_to_ms);
        encoder.bool(self.is_revoked).string(&self.document);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<GrantRecord, VaultError> {
        Ok(GrantRecord {
            grant: GrantId(decoder.fixed()?),
            revision: decoder.u64()?,
            destination_project: text(decoder)?,
            source_region: RegionId(decoder.fixed()?),
            source_project: text(decoder)?,
            modes: decoder.list(2, 1, decode_mode)?,
            bytes_max: decoder.u64()?,
            retention_min_ms: decoder.u64()?,
            valid_from_ms: decoder.u64()?,
            valid_to_ms: decoder.u64()?,
            is_revoked: decoder.bool()?,
            document: decoder.string(DOCUMENT_BYTES_MAX)?,
        })
    }
}

impl Subject {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.u8(self.kind as u8).string(&self.id).string(&self.project_id).fixed(&self.manifest.0);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<Subject, VaultError> {
        use SubjectKind::{Checkpoint, Grant, Item, Policy, Project, Replica, Server};
        let number = decoder.u8()?;
        let kinds = [Item, Replica, Policy, Server, Grant, Checkpoint, Project];
        let kind = kinds.into_iter().find(|kind| *kind as u8 == number);
        let kind = kind.ok_or_else(|| decoder.bad(format!("unknown subject {number}")))?;
        let (id, project_id) = (text(decoder)?, text(decoder)?);
        Ok(Subject { kind, id, project_id, manifest: ManifestDigest(decoder.fixed()?) })
    }
}

impl LockRecord {
    fn encode(&self, encoder: &mut Encoder) {
        self.subject.encode(encoder);
        encoder.u8(self.mode as u8).u64(self.until_ms).string(&self.set_by);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<LockRecord, VaultError> {
        let subject = Subject::decode(decoder)?;
        let mode = match decoder.u8()? {
            1 => LockMode::Governance,
            2 => LockMode::Compliance,
            number => return Err(decoder.bad(format!("unknown lock {number}"))),
        };
        Ok(LockRecord { subject, mode, until_ms: decoder.u64()?, set_by: text(decoder)? })
    }
}

impl HoldRecord {
    fn encode(&self, encoder: &mut Encoder) {
        self.subject.encode(encoder);
        encoder.bool(self.is_held).string(&self.set_by).string(&self.reason);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<HoldRecord, VaultError> {
        let subject = Subject::decode(decoder)?;
        Ok(HoldRecord { subject, is_held: decoder.bool()?, set_by: text(decoder)?, reason: text(decoder)? })
    }
}

impl ArrivalRecord {
    fn encode(&self, encoder: &mut Encoder) {
        encoder.fixed(&self.replica.0).u32(self.generation).fixed(&self.source_region.0);
        encoder.string(&self.source_project).string(&self.destination_project).fixed(&self.grant.0);
        encoder.fixed(&self.manifest.0).fixed(&self.domain.0).u8(self.mode.number()).u8(self.level.number());
        encoder.u64(self.arrived_ms).u64(self.keep_until_ms).bytes(&self.receipt);
        if !self.document.is_empty() {
            encoder.string(&self.document);
        }
    }

    fn decode(decoder: &mut Decoder<'_>, has_document: HasDocument) -> Result<ArrivalRecord, VaultError> {
        let mut record = ArrivalRecord {
            replica: ReplicaId(decoder.fixed()?),
            generation: decoder.u32()?,
            source_region: RegionId(decoder.fixed()?),
            source_project: text(decoder)?,
            destination_project: text(decoder)?,
            grant: GrantId(decoder.fixed()?),
            manifest: ManifestDigest(decoder.fixed()?),
            domain: DomainId(decoder.fixed()?),
            mode: decode_mode(decoder)?,
            level: decode_level(decoder)?,
            arrived_ms: decoder.u64()?,
            keep_until_ms: decoder.u64()?,
            receipt: decoder.bytes(RECEIPT_BYTES_MAX as u32)?.to_vec(),
            document: String::new(),
        };
        if has_document == HasDocument::Yes {
            record.document = decoder.string(DOCUMENT_BYTES_MAX)?;
            if record.document.is_empty() {
                return Err(decoder.bad("an arrival of type 10 without its document"));
            }
        }
        Ok(record)
    }
}

/// Whether an arrival carries a document; those written before there was one are of a type of their own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HasDocument {
    Yes,
    No,
}

impl DeletionRecord {
    fn encode(&self, encoder: &mut Encoder) {
        self.subject.encode(encoder);
        encoder.u64(self.deleted_ms).u64(self.purge_after_ms).bool(self.is_expiry).bool(self.is_undone);
        encoder.string(&self.deleted_by).string(&self.reason);
    }

    fn decode(decoder: &mut Decoder<'_>) -> Result<DeletionRecord, VaultError> {
        Ok(DeletionRecord {
            subject: Subject::decode(decoder)?,
            deleted_ms: decoder.u64()?,
            purge_after_ms: decoder.u64()?,
            is_expiry: decoder.bool()?,
            is_undone: decoder.bool()?,
            deleted_by: text(decoder)?,
            reason: text(decoder)?,
        })
    }
}

pub(super) fn text(decoder: &mut Decoder<'_>) -> Result<String, VaultError> {
    decoder.string(TEXT_BYTES_MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::ids::Incarnation;

    fn subject() -> Subject {
        let (id, project_id) = ("item-1".to_owned(), "project-1".to_owned());
        Subject { kind: SubjectKind::Item, id, project_id, manifest: ManifestDigest([1; 32]) }
    }

    fn policy() -> PolicyRecord {
        PolicyRecord {
            policy_id: "policy-1".to_owned(),
            project_id: "project-1".to_owned(),
            revision: 3,
            name: "daily".to_owned(),
            is_enabled: true,
            document: "{}".to_owned(),
        }
    }

    fn server() -> ServerRecord {
        let volume = VolumeRecord {
            volume_id: "volume-1".to_owned(),
            name: "system".to_owned(),
            location: "/disks/system.raw".to_owned(),
            format: "raw".to_owned(),
            size_bytes: 1 << 30,
            is_bootable: true,
        };
        ServerRecord {
            server_id: "server-1".to_owned(),
            project_id: "project-1".to_owned(),
            revision: 1,
            name: "web".to_owned(),
            volumes: vec![volume],
            document: String::new(),
        }
    }

    fn grant() -> GrantRecord {
        GrantRecord {
            grant: GrantId([2; 16]),
            revision: 1,
            destination_project: "project-2".to_owned(),
            source_region: RegionId([3; 16]),
            source_project: "project-1".to_owned(),
            modes: vec![Mode::Restorable, Mode::Sealed],
            bytes_max: u64::MAX,
            retention_min_ms: 30,
            valid_from_ms: 1,
            valid_to_ms: 2,
            is_revoked: false,
            document: String::new(),
        }
    }

    fn arrival() -> ArrivalRecord {
        ArrivalRecord {
            replica: ReplicaId([4; 16]),
            generation: 1,
            source_region: RegionId([3; 16]),
            source_project: "project-1".to_owned(),
            destination_project: "project-2".to_owned(),
            grant: GrantId([2; 16]),
            manifest: ManifestDigest([5; 32]),
            domain: DomainId([6; 16]),
            mode: Mode::Sealed,
            level: Level::Stored,
            arrived_ms: 7,
            keep_until_ms: 8,
            receipt: vec![9; 300],
            document: "{}".to_owned(),
        }
    }

    /// One record of each type.
    pub(crate) fn samples() -> Vec<StateRecord> {
        let text = |text: &str| text.to_owned();
        let (lock_mode, subject) = (LockMode::Compliance, subject());
        let lock =
            LockRecord { subject: subject.clone(), mode: lock_mode, until_ms: 9, set_by: text("admin") };
        let hold = HoldRecord {
            subject: subject.clone(),
            is_held: true,
            set_by: text("legal"),
            reason: text("case 7"),
        };
        let deletion = DeletionRecord {
            subject,
            deleted_ms: 1,
            purge_after_ms: 2,
            is_expiry: true,
            is_undone: false,
            deleted_by: text("retention"),
            reason: text("older than 7 days"),
        };
        vec![
            StateRecord::Policy(policy()),
            StateRecord::Server(server()),
            StateRecord::Grant(grant()),
            StateRecord::Lock(lock),
            StateRecord::Hold(hold),
            StateRecord::Arrival(arrival()),
            StateRecord::Arrival(ArrivalRecord { document: String::new(), ..arrival() }),
            StateRecord::Deletion(deletion),
            StateRecord::Project(ProjectRecord {
                project_id: text("project-1"),
                revision: 1,
                name: text("north"),
                is_enabled: true,
                document: String::new(),
            }),
            StateRecord::Incarnation(IncarnationRecord {
                generation: 2,
                predecessors: vec![(Incarnation([7; 16]), 12), (Incarnation([8; 16]), 0)],
            }),
        ]
    }

    #[test]
    fn every_truncation_and_leftover_is_refused() {
        for record in samples() {
            let body = record.encode().unwrap();
            assert_eq!(StateRecord::decode(record.number(), &body).unwrap(), record);
            for length in 0..body.len() {
                assert!(StateRecord::decode(record.number(), &body[..length]).is_err());
            }
            assert!(StateRecord::decode(record.number(), &[&body[..], &[0]].concat()).is_err());
        }
        assert!(StateRecord::decode(0, &[]).is_err() && StateRecord::decode(11, &[]).is_err());
    }

    #[test]
    fn a_record_no_reader_would_accept_is_not_written() {
        let long = "x".repeat(TEXT_BYTES_MAX as usize + 1);
        assert!(StateRecord::Policy(PolicyRecord { name: long, ..policy() }).encode().is_err());
        let document = "x".repeat(DOCUMENT_BYTES_MAX as usize + 1);
        assert!(StateRecord::Server(ServerRecord { document, ..server() }).encode().is_err());
        let modes = vec![Mode::Sealed; 3];
        assert!(StateRecord::Grant(GrantRecord { modes, ..grant() }).encode().is_err());
    }

    #[test]
    fn unknown_numbers_inside_records_are_refused() {
        let lock = samples().remove(3).encode().unwrap();
        let mode_at = 1 + 4 + 6 + 4 + 9 + 32;
        for (position, value) in [(0, 0), (0, 8), (mode_at, 0), (mode_at, 3)] {
            let mut changed = lock.clone();
            changed[position] = value;
            assert!(StateRecord::decode(4, &changed).is_err(), "{position} {value}");
        }
    }
}
