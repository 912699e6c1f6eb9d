//! The steps of the demo after the loss: the source region erased, every disk restored in the other, once
//! through the API and once by a reader that knows nothing but the documented format.

use std::path::{Path, PathBuf};
use std::process::Command;

use vault::seams::Clock;

use super::DemoArgs;
use super::disks::first_difference;
use super::screen::{Row, Screen, mebibytes, seconds_since};
use super::steps::Story;
use crate::dev::failure::Failure;
use crate::dev::region::{Item, Server, VolumeBackup, await_until};
use crate::dev::setup::KIT;
use crate::world::SystemClock;

/// How long one restore may take.
const PATIENCE_SECONDS: u64 = 300;

/// One disk that came back, beside the one it must equal.
pub(super) struct Pair {
    pub(super) source: PathBuf,
    pub(super) restored: PathBuf,
}

impl Story {
    /// Stops the source region and erases all it has.
    pub(super) async fn lose_the_source_region(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        let name = self.source.name.clone();
        screen.step(&format!("{name} is lost: stopped, its folder with store, catalog and keys erased"));
        self.source.process.stop().await;
        let folder = self.place.region(&name);
        std::fs::remove_dir_all(&folder).map_err(Failure::io("erasing", &folder))?;
        screen.say(&format!("{} is gone", folder.display()));
        Ok(())
    }

    /// Restores the newest replica of each server onto registered volumes and compares every byte.
    pub(super) async fn restore_and_compare(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.step(&format!("every disk is restored in {} and compared", self.destination.name));
        let (mut logical, mut seconds) = (0, 0.0);
        for source in &self.source.servers {
            let replica = self.newest_replica(source).await?;
            let target = self.target_of(source)?;
            let pairs = pair_disks(source, target, &replica)?;
            let mapping = pairs.iter().map(|(backup, volume, _)| (backup.clone(), volume.clone())).collect();
            let restore_id = self.destination.member.restore(&replica, &target.id, &mapping).await?;
            let mut progress = screen.progress("restoring", 0);
            let look = async || {
                let restore = self.destination.member.restore_progress(&restore_id).await?;
                progress.show(restore.done_bytes, restore.total_bytes);
                match restore.status.as_str() {
                    "success" => Ok(Ok(restore.total_bytes)),
                    "fail" => Err(Failure::other(format!(
                        "the restore of {} failed: {}",
                        source.name, restore.reason
                    ))),
                    other => Ok(Err(other.to_owned())),
                }
            };
            logical += await_until("the restore", PATIENCE_SECONDS, look).await?;
            seconds += progress.finish();
            for (_, _, pair) in &pairs {
                compare(pair, screen)?;
            }
        }
        let step = "restore in the other region".to_owned();
        self.rows.push(Row { step, logical_bytes: Some(logical), seconds, ..Row::default() });
        Ok(())
    }

    /// The replica of a server's item of the newest run.
    pub(super) async fn newest_replica(&self, source: &Server) -> Result<Item, Failure> {
        let wanted =
            self.items.iter().find(|item| item.resource_id == source.id).map(|item| item.id.as_str());
        let replicas = self.destination.member.items("image_type=replication").await?;
        let is_wanted = |item: &Item| {
            let came_from = |source: &str| {
                item.replication_records.iter().any(|record| record.source_checkpoint_item_id == source)
            };
            item.status == "available" && wanted.is_some_and(came_from)
        };
        let found = replicas.into_iter().find(is_wanted);
        found.ok_or_else(|| {
            Failure::other(format!("{} has no replica of {}", self.destination.name, source.name))
        })
    }

    fn target_of(&self, source: &Server) -> Result<&Server, Failure> {
        let found = self.destination.servers.iter().find(|server| server.name == source.name);
        found.ok_or_else(|| Failure::other(format!("no server to restore {} to", source.name)))
    }

    /// Stops the other region too and has the same disks restored by a program that shares no line with us.
    pub(super) async fn restore_from_the_bare_store(
        &mut self,
        args: &DemoArgs,
        screen: &mut Screen,
    ) -> Result<(), Failure> {
        let name = self.destination.name.clone();
        screen.step(&format!("the same disks from the bare store of {name}, by {}", args.reader.display()));
        self.destination.process.stop().await;
        let store = self.destination.config.storage.store_dir();
        let kit = self.place.region(&name).join(KIT);
        let folder = self.place.folder().join("from-the-bare-store");
        std::fs::create_dir_all(&folder).map_err(Failure::io("making the folder", &folder))?;
        let begun_ms = SystemClock.now_ms();
        for (server, item) in
            self.source.servers.iter().flat_map(|server| self.items.iter().map(move |item| (server, item)))
        {
            for volume in server.volumes.iter().filter(|_| item.resource_id == server.id) {
                let restored = folder.join(format!("{}-{}.raw", server.name, volume.name));
                let mut reader = Command::new(args.python());
                reader.arg(&args.reader).arg("restore").arg("--store").arg(&store).arg("--kit").arg(&kit);
                reader.args(["--item", &item.id, "--volume", &volume.id]).arg("--output").arg(&restored);
                let ended = reader.output().map_err(Failure::io("running", &args.python()))?;
                if !ended.status.success() {
                    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
                    return Err(Failure::other(format!("{}: {said}", args.reader.display())));
                }
                compare(&Pair { source: PathBuf::from(&volume.path), restored }, screen)?;
            }
        }
        let step = "restore by the Python reader".to_owned();
        self.rows.push(Row { step, seconds: seconds_since(begun_ms), ..Row::default() });
        Ok(())
    }

    /// Ends both processes; answers the most memory each ever took.
    pub(super) async fn end(&mut self) -> Vec<(String, u64)> {
        let mut memory = Vec::new();
        for region in [&mut self.source, &mut self.destination] {
            region.process.stop().await;
            memory.push((region.name.clone(), region.process.peak_memory_bytes()));
        }
        memory
    }
}

/// For each disk of the replica: its backup id, the volume it goes to, and both paths.
fn pair_disks(
    source: &Server,
    target: &Server,
    replica: &Item,
) -> Result<Vec<(String, String, Pair)>, Failure> {
    let pair = |backup: &VolumeBackup| {
        let from = source.volumes.iter().find(|volume| volume.id == backup.source_volume_id);
        let to = from.and_then(|from| target.volumes.iter().find(|volume| volume.name == from.name));
        let missing = || Failure::other(format!("no volume to restore {} to", backup.source_volume_name));
        let (from, to) = from.zip(to).ok_or_else(missing)?;
        let pair = Pair { source: PathBuf::from(&from.path), restored: PathBuf::from(&to.path) };
        Ok((backup.id.clone(), to.id.clone(), pair))
    };
    let pairs: Vec<_> =
        replica.extend_info.volume_backups.iter().map(pair).collect::<Result<_, Failure>>()?;
    if pairs.len() == source.volumes.len() {
        return Ok(pairs);
    }
    Err(Failure::other(format!("the replica of {} has {} disks", source.name, pairs.len())))
}

/// Compares two disks byte by byte.
pub(super) fn compare(pair: &Pair, screen: &Screen) -> Result<(), Failure> {
    let difference =
        first_difference(&pair.source, &pair.restored).map_err(Failure::io("comparing", &pair.restored))?;
    match difference {
        Some(offset) => Err(Failure::other(format!("{} differs at byte {offset}", pair.restored.display()))),
        None => {
            let bytes = std::fs::metadata(&pair.restored).map_or(0, |metadata| metadata.len());
            screen.say(&format!("{} identical, {}", short(&pair.restored), mebibytes(bytes)));
            Ok(())
        }
    }
}

/// The last three parts of a path.
fn short(path: &Path) -> String {
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts[parts.len().saturating_sub(3)..].join("/")
}
