//! The restore worker: every disk of an item onto its volume, synced, and only then a `success`. Killed
//! anywhere, the restore runs again from its start: writing the same bytes twice does no harm.

use std::path::Path;
use std::sync::Arc;

use catalog::{Job, Lease};
use disk::SizeRule;
use model::checkpoint::{CheckpointItem, Failure};
use model::ids::RestoreId;
use model::restore::{Restore, RestoreState};
use model::server::Server;
use tracing::{info, warn};
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::ManifestDigest;
use vault::vault::Vault;

use crate::error::{Error, Kind};
use crate::leases::LeaseProgress;
use crate::page::found;
use crate::servers::disk_format;
use crate::volumes::TargetVolume;
use crate::{Control, blocking};

/// One disk of the item and where it goes.
struct Pair {
    source_volume_id: String,
    target: TargetVolume,
}

impl Control {
    /// Carries out one restore job.
    pub(crate) async fn restore_item(&self, job: &Job) -> Result<(), Error> {
        let lease = &job.lease;
        let id = RestoreId::from_bytes(lease.subject);
        let known = found(self.catalog().restore_by_id(id).await)?;
        if known.is_none_or(|restore| restore.state != RestoreState::InProgress) {
            return Ok(self.catalog().finish_job(lease, self.now()).await?);
        }
        let restore = self.catalog().start_restore(lease, id, self.now()).await?;
        let item = self.catalog().item_by_id(restore.item_id).await?;
        let done = match self.prepare(&restore, &item).await? {
            Ok((vault, digest, pairs)) => self.write_volumes(lease, &restore, vault, digest, pairs).await?,
            Err(reason) => Err(reason),
        };
        crash_point!("restore.written");
        match done {
            Ok(()) => {
                self.catalog().finish_restore(lease, id, Ok(()), self.now()).await?;
                crash_point!("restore.done");
                info!(restore.id = %id, item.id = %item.id, "restored onto server {}", restore.target_server_id);
                Ok(())
            }
            Err(Trouble::Stopped) => Ok(()),
            Err(Trouble::Later(reason)) => {
                warn!(restore.id = %id, reason, "a restore waits");
                self.try_later(job, "store", &reason).await
            }
            Err(Trouble::Never(reason)) => {
                warn!(restore.id = %id, reason, "a restore failed");
                let failure = Failure { operation: "restore".into(), code: "CSBS.9999".into(), reason };
                Ok(self.catalog().finish_restore(lease, id, Err(&failure), self.now()).await?)
            }
        }
    }

    /// Opens vault and target disks. The inner error is for a person.
    async fn prepare(
        &self,
        restore: &Restore,
        item: &CheckpointItem,
    ) -> Result<Result<(Vault, ManifestDigest, Vec<Pair>), Trouble>, Error> {
        let (Some(digest), Some(domain)) = (item.manifest_digest, item.domain) else {
            return Ok(Err(Trouble::Never("the backup has no manifest".into())));
        };
        let server = self.catalog().server(&restore.project_id, &restore.target_server_id).await;
        let Some(server) = found(server)? else {
            return Ok(Err(Trouble::Never("the target server is no longer registered".into())));
        };
        let vault = match self.vault_of_domain(domain, &item.project_id).await {
            Ok(vault) => vault,
            // Its keys are lost or damaged: waiting does not bring them back.
            Err(error) if error.kind == Kind::Internal => {
                let cause = error.cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default();
                return Ok(Err(Trouble::Never(format!("the vault does not open{cause}"))));
            }
            Err(error) => return Err(error),
        };
        let (restore, item, roots) = (restore.clone(), item.clone(), self.roots());
        let opened = blocking(move || open_targets(&restore, &item, &server, &roots)).await?;
        Ok(opened.map(|pairs| (vault, ManifestDigest(digest), pairs)))
    }

    async fn write_volumes(
        &self,
        lease: &Lease,
        restore: &Restore,
        vault: Vault,
        digest: ManifestDigest,
        pairs: Vec<Pair>,
    ) -> Result<Result<(), Trouble>, Error> {
        let progress = LeaseProgress::new();
        let note = async |progress: Arc<LeaseProgress>| {
            self.catalog()
                .record_restore_progress(lease, restore.id, progress.logical_bytes(), self.now())
                .await
        };
        let counting = progress.clone();
        let work = move || {
            for pair in &pairs {
                vault.restore_volume(digest, &pair.source_volume_id, &pair.target, counting.as_ref())?;
            }
            Ok(())
        };
        let done: Result<(), VaultError> = self.under_lease(lease, &progress, note, work).await?;
        Ok(done.map_err(Trouble::from))
    }
}

/// Why a restore did not come to its end.
enum Trouble {
    Stopped,
    Later(String),
    Never(String),
}

impl From<VaultError> for Trouble {
    fn from(error: VaultError) -> Trouble {
        let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
        match error {
            VaultError::Stopped => Trouble::Stopped,
            error if error.is_passing() => {
                Trouble::Later(format!("{error}{cause}; the restore goes on by itself when this is mended"))
            }
            error => Trouble::Never(format!("{error}{cause}")),
        }
    }
}

fn open_targets(
    restore: &Restore,
    item: &CheckpointItem,
    server: &Server,
    roots: &disk::SourceRoots,
) -> Result<Vec<Pair>, Trouble> {
    let mut pairs = Vec::with_capacity(restore.volumes.len());
    for mapping in &restore.volumes {
        let backup = item.volumes.iter().find(|backup| backup.id == mapping.backup_id);
        let volume = server.volumes.iter().find(|volume| volume.id == mapping.volume_id);
        let (Some(backup), Some(volume)) = (backup, volume) else {
            return Err(Trouble::Never(format!("volume {} is no longer registered", mapping.volume_id)));
        };
        let rule = SizeRule::AtLeast(backup.size_bytes);
        let target = roots
            .open_writer(Path::new(&volume.path), disk_format(volume.format), rule)
            .map_err(|error| Trouble::Never(format!("volume {} cannot be written: {error}", volume.id)))?;
        pairs.push(Pair { source_volume_id: backup.volume_id.to_string(), target: TargetVolume(target) });
    }
    Ok(pairs)
}
