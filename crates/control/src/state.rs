//! State objects: what people decided, kept in the store beside the backups, so that the store alone
//! rebuilds the region. The catalog says what is not written yet; a crash between the object and the
//! note costs a second object that says the same.
//!
//! Arrivals are not among them: they are written before their receipt, by [`crate::arrivals`].

use catalog::{StateSubject, SubjectState, UnwrittenState};
use model::grant::{Grant, Mode};
use model::identity::Project;
use model::ids::RegionName;
use model::policy::Policy;
use model::server::Server;
use tracing::error;
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::{GrantId, ManifestDigest, RegionId};
use vault::state::{
    DeletionRecord, GrantRecord, PolicyRecord, ProjectRecord, ServerRecord, StateObject, StateRecord,
    StateStamp, Subject, SubjectKind, VolumeRecord,
};

use crate::error::{Error, Kind};
use crate::{Control, blocking};

pub(crate) mod adoption;
pub(crate) mod document;
pub(crate) mod json;
pub(crate) mod reading;

/// How many are read from the catalog at a time.
const BATCH: u32 = 100;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Control {
    /// Writes what the catalog decided and the store does not hold yet. A record that cannot be written
    /// is told and left; a store that does not answer ends the round. While writing is blocked all of it
    /// waits: its next number may be taken in the store.
    pub(crate) async fn write_unwritten_state(&self) -> Result<(), Error> {
        if self.catalog().region().await?.is_some_and(|region| region.blocked_reason.is_some()) {
            return Ok(());
        }
        loop {
            let unwritten = self.catalog().unwritten_state(BATCH).await?;
            let mut are_all_written = true;
            for state in &unwritten {
                match self.write_state(self.record_of(state)).await {
                    Ok(()) => {
                        crash_point!("state.written");
                        self.catalog().note_state_written(state).await?;
                    }
                    Err(failure) if failure.kind == Kind::Unavailable => return Err(failure),
                    Err(failure) => {
                        let subject = &state.id;
                        error!(%subject, %failure, cause = ?failure.cause, "a state object cannot be written");
                        are_all_written = false;
                    }
                }
            }
            if !are_all_written || unwritten.len() < BATCH as usize {
                return Ok(());
            }
        }
    }

    /// Writes one state object under the next number.
    pub(crate) async fn write_state(&self, record: StateRecord) -> Result<(), Error> {
        let sequence = self.catalog().take_state_sequence().await?;
        let control = self.clone();
        blocking(move || {
            let parts = control.parts();
            let stamp =
                StateStamp { incarnation: parts.incarnation, sequence, time_ms: parts.clock.now_ms() };
            let mut sealed = Vec::new();
            StateObject { stamp, record }.seal(&parts.identity, &parts.kek, &mut sealed)?;
            let put = parts.store.put_if_absent(&stamp.name(), &sealed);
            put.map_err(|error| error.while_doing("storing a state object"))?;
            Ok::<(), VaultError>(())
        })
        .await??;
        Ok(())
    }

    fn record_of(&self, unwritten: &UnwrittenState) -> StateRecord {
        match &unwritten.state {
            SubjectState::Policy(policy) => policy_record(policy, unwritten.revision),
            SubjectState::Server(server) => server_record(server, unwritten.revision),
            SubjectState::Grant(grant) => {
                grant_record(grant, unwritten.revision, self.region_id(&grant.source_region))
            }
            SubjectState::Project(project) => project_record(project, unwritten.revision),
            SubjectState::Gone {
                deleted_at,
                purge_after,
                is_undone,
                is_expiry,
                manifest_digest,
                adopted_by,
            } => {
                let subject = Subject {
                    kind: subject_kind(unwritten.subject),
                    id: unwritten.id.clone(),
                    project_id: unwritten.project_id.to_string(),
                    manifest: ManifestDigest(manifest_digest.unwrap_or_default()),
                };
                StateRecord::Deletion(DeletionRecord {
                    subject,
                    deleted_ms: deleted_at.millis(),
                    purge_after_ms: purge_after.millis(),
                    is_expiry: *is_expiry,
                    is_undone: *is_undone,
                    deleted_by: String::new(),
                    reason: adopted_by.map_or_else(String::new, adoption::reason_of),
                })
            }
        }
    }

    /// The id on the card of a peer; zero for one that this region does not know (its name stands in
    /// the document).
    fn region_id(&self, name: &RegionName) -> RegionId {
        let peer = self.peers().all().into_iter().find(|peer| peer.name == *name);
        peer.map_or(RegionId([0; 16]), |peer| peer.card.region())
    }
}

/// The vault's word for a mode.
pub(crate) fn vault_mode(mode: Mode) -> vault::receipt::Mode {
    match mode {
        Mode::Restorable => vault::receipt::Mode::Restorable,
        Mode::Sealed => vault::receipt::Mode::Sealed,
    }
}

fn policy_record(policy: &Policy, revision: u64) -> StateRecord {
    StateRecord::Policy(PolicyRecord {
        policy_id: policy.id.to_string(),
        project_id: policy.project_id.to_string(),
        revision,
        name: policy.name.to_string(),
        is_enabled: policy.operations.iter().any(|operation| operation.enabled),
        document: document::of_policy(policy),
    })
}

fn server_record(server: &Server, revision: u64) -> StateRecord {
    let volumes = server.volumes.iter().map(|volume| VolumeRecord {
        volume_id: volume.id.to_string(),
        name: volume.name.clone(),
        location: volume.path.clone(),
        format: volume.format.word().to_owned(),
        size_bytes: volume.size_bytes,
        is_bootable: volume.bootable,
    });
    StateRecord::Server(ServerRecord {
        server_id: server.id.to_string(),
        project_id: server.project_id.to_string(),
        revision,
        name: server.name.clone(),
        volumes: volumes.collect(),
        document: document::of_server(server),
    })
}

fn grant_record(grant: &Grant, revision: u64, source_region: RegionId) -> StateRecord {
    StateRecord::Grant(GrantRecord {
        grant: GrantId(grant.id.bytes()),
        revision,
        destination_project: grant.destination_project_id.to_string(),
        source_region,
        source_project: grant.source_project_id.to_string(),
        modes: vec![vault_mode(grant.mode)],
        bytes_max: grant.bytes_max.unwrap_or(u64::MAX),
        retention_min_ms: u64::from(grant.keep_days_min) * DAY_MS,
        valid_from_ms: grant.created_at.millis(),
        valid_to_ms: grant.expires_at.map_or(u64::MAX, |end| end.millis()),
        is_revoked: grant.revoked_at.is_some(),
        document: document::of_grant(grant),
    })
}

fn project_record(project: &Project, revision: u64) -> StateRecord {
    StateRecord::Project(ProjectRecord {
        project_id: project.id.to_string(),
        revision,
        name: project.name.clone(),
        is_enabled: project.enabled,
        document: document::of_project(project),
    })
}

fn subject_kind(subject: StateSubject) -> SubjectKind {
    match subject {
        StateSubject::Policy => SubjectKind::Policy,
        StateSubject::Server => SubjectKind::Server,
        StateSubject::Grant => SubjectKind::Grant,
        StateSubject::Item => SubjectKind::Item,
        StateSubject::Replica => SubjectKind::Replica,
        StateSubject::Project => SubjectKind::Project,
    }
}
