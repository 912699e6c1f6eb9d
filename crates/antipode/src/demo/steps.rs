//! The steps of the demo, as methods of one [`Story`]: from the disks to the replicas. What happens once the
//! source region is lost is told in [`super::restored`].

use std::path::{Path, PathBuf};

use super::disks::{Content, DiskPlan, MEBIBYTE, ServerPlan, change_blocks};
use super::figures::{sealed_bytes_of_mebibytes, unique_bytes};
use super::receipts::{check, signers};
use super::screen::{Row, Screen, mebibytes};
use crate::dev::failure::Failure;
use crate::dev::place::Place;
use crate::dev::region::{Item, ItemProgress, Queued, RecordProgress, await_until};
use crate::dev::setup::{KIT, Region, SetUp, set_up};

/// The servers of the demo and their three disks.
const SERVERS: [ServerPlan; 2] = [
    ServerPlan {
        name: "web1",
        disks: &[
            DiskPlan {
                name: "root",
                size_bytes: 512 * MEBIBYTE,
                content: Content::Ext4 { file_bytes: 288 * MEBIBYTE, skip_files: 0 },
            },
            DiskPlan {
                name: "files",
                size_bytes: 256 * MEBIBYTE,
                content: Content::Ext4 { file_bytes: 128 * MEBIBYTE, skip_files: 2_000 },
            },
        ],
    },
    ServerPlan {
        name: "db1",
        disks: &[DiskPlan {
            name: "database",
            size_bytes: 256 * MEBIBYTE,
            content: Content::Pages { written_bytes: 128 * MEBIBYTE },
        }],
    },
];

/// Servers of the other region that restores are written to: as many disks of the same sizes, empty.
const TARGETS: [ServerPlan; 2] = [
    ServerPlan {
        name: "web1",
        disks: &[
            DiskPlan { name: "root", size_bytes: 512 * MEBIBYTE, content: Content::Empty },
            DiskPlan { name: "files", size_bytes: 256 * MEBIBYTE, content: Content::Empty },
        ],
    },
    ServerPlan {
        name: "db1",
        disks: &[DiskPlan { name: "database", size_bytes: 256 * MEBIBYTE, content: Content::Empty }],
    },
];

const SOURCE: &str = "cn-north-1";
const DESTINATION: &str = "cn-east-2";
/// How many of a thousand blocks change between the backups.
const CHANGED_PER_MILLE: u64 = 15;
/// How long any one step may take.
const PATIENCE_SECONDS: u64 = 300;
/// What a killed destination may cost: per stream one unsynced pack and what was in flight.
const RESENT_BYTES_MAX: u64 = 2 * (64 + 8) * MEBIBYTE;

/// A changed piece of a disk.
struct Change {
    disk: PathBuf,
    mebibytes: Vec<u64>,
}

/// The story so far.
pub(super) struct Story {
    pub(super) place: Place,
    pub(super) source: Region,
    pub(super) destination: Region,
    /// The table that closes the demo.
    pub(super) rows: Vec<Row>,
    /// The items of the newest run.
    pub(super) items: Vec<Item>,
    policy_id: String,
    records: Vec<String>,
    changes: Vec<Change>,
}

/// What one replication came to.
#[derive(Clone, Copy, Default)]
struct Moved {
    planned_bytes: u64,
    sent_bytes: u64,
    resent_bytes: u64,
}

impl Moved {
    fn add(mut self, record: &RecordProgress) -> Moved {
        self.planned_bytes += record.planned_bytes;
        self.sent_bytes += record.sent_bytes;
        self.resent_bytes += record.resent_bytes;
        self
    }
}

impl Story {
    /// Makes the disks, starts the regions and pairs them.
    pub(super) async fn begin(place: Place, binary: PathBuf, screen: &mut Screen) -> Result<Story, Failure> {
        screen.step("two regions on this machine: keys, recovery kits, pairing, grants; two servers with three real disks");
        let order = SetUp {
            place: place.clone(),
            regions: [(SOURCE.to_owned(), &SERVERS), (DESTINATION.to_owned(), &TARGETS)],
            port_base: None,
            binary,
        };
        let [source, destination] = set_up(&order, &mut |line| screen.say(line)).await?;
        let (policy_id, records, changes) = (String::new(), Vec::new(), Vec::new());
        let story = Story {
            place,
            source,
            destination,
            rows: Vec::new(),
            items: Vec::new(),
            policy_id,
            records,
            changes,
        };
        for disk in story.disks() {
            let bytes = unique_bytes(&[&disk]).map_err(Failure::io("reading", &disk))?;
            screen.say(&format!("{}: {} of unique blocks", disk.display(), mebibytes(bytes)));
        }
        Ok(story)
    }

    /// Paths of all source disks.
    pub(super) fn disks(&self) -> Vec<PathBuf> {
        self.source
            .servers
            .iter()
            .flat_map(|server| &server.volumes)
            .map(|volume| PathBuf::from(&volume.path))
            .collect()
    }

    pub(super) async fn make_policy(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.step("a policy over both servers");
        self.policy_id = self.source.member.create_policy("nightly", &self.source.servers).await?;
        screen.say(&format!("policy {}", self.policy_id));
        Ok(())
    }

    /// Runs the policy and waits until both items are durable.
    pub(super) async fn back_up(&mut self, name: &str, screen: &mut Screen) -> Result<(), Failure> {
        screen.step(&format!("{name}: the policy runs in {SOURCE}"));
        let checkpoint_id = self.source.member.run_policy(&self.policy_id).await?;
        let query = format!("checkpoint_id={checkpoint_id}");
        let ids: Vec<_> = self.source.member.items(&query).await?.into_iter().map(|item| item.id).collect();
        let mut progress = screen.progress("reading", 0);
        let look = async || {
            let items = self.items_progress(&ids).await?;
            progress.show(sum(&items, |item| item.progress_bytes), sum(&items, |item| item.logical_bytes));
            if let Some(failed) = items.iter().find(|item| item.status == "error") {
                return Err(Failure::other(format!("{}: {}", failed.resource_name, failed.fail_reason)));
            }
            let is_over = items.iter().all(|item| item.status == "available");
            Ok(if is_over { Ok(items) } else { Err("still reading".to_owned()) })
        };
        let items = await_until(name, PATIENCE_SECONDS, look).await?;
        let seconds = progress.finish();
        self.items = self.source.member.items(&query).await?;
        let disks = self.disks();
        let paths: Vec<_> = disks.iter().map(PathBuf::as_path).collect();
        let unique = unique_bytes(&paths).map_err(Failure::io("reading", self.place.folder()))?;
        let (logical, stored) =
            (sum(&items, |item| item.logical_bytes), sum(&items, |item| item.added_bytes));
        screen.say(&format!(
            "{} items available, {} added to the vault in {seconds:.1} s",
            items.len(),
            mebibytes(stored)
        ));
        self.rows.push(Row {
            step: name.to_owned(),
            logical_bytes: Some(logical),
            unique_bytes: Some(unique),
            stored_bytes: Some(stored),
            seconds,
            ..Row::default()
        });
        Ok(())
    }

    async fn items_progress(&self, ids: &[String]) -> Result<Vec<ItemProgress>, Failure> {
        let mut items = Vec::new();
        for id in ids {
            items.push(self.source.member.item_progress(id).await?);
        }
        Ok(items)
    }

    /// The first replication: the destination is killed half way and started again.
    pub(super) async fn replicate_through_a_kill(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.step(&format!("replicate to {DESTINATION}; half way its process is killed with -9"));
        let queued = self.replicate(2).await?;
        let expected = self.rows.last().and_then(|row| row.stored_bytes).unwrap_or(0);
        let mut progress = screen.progress("copying", expected);
        let store = self.destination.config.storage.store_dir();
        let until_half = async || {
            let (records, moved) = self.records(&queued).await?;
            let total = moved.planned_bytes.max(expected);
            // The records are written twice a second, and a fast disk takes half of it in less.
            let arrived = moved.sent_bytes.max(bytes_below(&store));
            progress.show(arrived, total);
            if records.iter().all(RecordProgress::is_final) {
                return Err(Failure::other("the replication was over before half of it was seen"));
            }
            Ok(if arrived * 2 >= total { Ok(arrived) } else { Err(format!("{arrived} bytes arrived")) })
        };
        let half = await_until("half of the replication", PATIENCE_SECONDS, until_half).await?;
        self.destination.process.kill();
        screen.say(&format!("killed {DESTINATION} with -9 when {} had arrived", mebibytes(half)));
        self.destination.start_again().await?;
        screen.say(&format!("{DESTINATION} is back; nobody resumes anything by hand"));
        let moved = self.follow(&queued, &mut progress, expected).await?;
        let seconds = progress.finish();
        screen.say(&format!(
            "{} sent, of which {} for the second time, {seconds:.1} s with the restart",
            mebibytes(moved.sent_bytes),
            mebibytes(moved.resent_bytes)
        ));
        self.push_replication("first replication, killed half way", moved, seconds);
        if moved.resent_bytes > RESENT_BYTES_MAX {
            return Err(Failure::other(format!(
                "{} bytes were sent twice, more than promised",
                moved.resent_bytes
            )));
        }
        Ok(())
    }

    /// Overwrites blocks of every disk in place.
    pub(super) fn change_disks(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.step("1.5 % of the blocks of every disk are overwritten in place");
        for (index, disk) in self.disks().into_iter().enumerate() {
            let seed = 1000 + index as u64;
            let changed =
                change_blocks(&disk, CHANGED_PER_MILLE, seed).map_err(Failure::io("changing", &disk))?;
            screen.say(&format!(
                "{}: {} blocks in {} pieces of 1 MiB",
                disk.display(),
                changed.block_count,
                changed.mebibytes.len()
            ));
            self.changes.push(Change { disk, mebibytes: changed.mebibytes });
        }
        Ok(())
    }

    /// The second replication: only the change moves.
    pub(super) async fn replicate_the_change(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.step("replicate again: only the change moves");
        let queued = self.replicate(2).await?;
        let expected = self.rows.last().and_then(|row| row.stored_bytes).unwrap_or(0);
        let mut progress = screen.progress("copying", expected);
        let moved = self.follow(&queued, &mut progress, expected).await?;
        let seconds = progress.finish();
        self.push_replication("second replication", moved, seconds);
        let mut fixed = 0;
        for change in &self.changes {
            let sealed = sealed_bytes_of_mebibytes(&change.disk, &change.mebibytes);
            fixed += sealed.map_err(Failure::io("sealing pieces of", &change.disk))?;
        }
        screen.say(&format!("{} sent in {seconds:.1} s", mebibytes(moved.sent_bytes)));
        screen.say(&format!(
            "fixed pieces of 1 MiB, compressed and sealed alike, would have sent {} ({:.1} times as much)",
            mebibytes(fixed),
            fixed as f64 / moved.sent_bytes.max(1) as f64
        ));
        if moved.sent_bytes * 3 >= fixed {
            return Err(Failure::other(
                "the second replication sent more than a third of what fixed pieces would have",
            ));
        }
        Ok(())
    }

    /// The call once more, with nothing new.
    pub(super) async fn replicate_nothing(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.step("the same call once more: nothing is left to do");
        self.replicate(0).await?;
        screen.say("the call answered an empty list; 0 B of objects moved");
        let nothing = Moved::default();
        self.push_replication("the call once more", nothing, 0.0);
        Ok(())
    }

    /// Every record is done, and its receipt is checked against the destination's root key, the one that its
    /// operator has on paper.
    pub(super) async fn check_receipts(&mut self, screen: &mut Screen) -> Result<(), Failure> {
        screen.step(&format!("receipts of {DESTINATION}, held by {SOURCE}"));
        let kit = self.place.region(DESTINATION).join(KIT);
        let signers = signers(&self.destination.config.storage.store_dir(), &kit)?;
        for id in &self.records {
            let record = self.source.member.record_progress(id).await?;
            let line = check(&record, &signers)?;
            screen.say(&line);
        }
        Ok(())
    }

    /// The core call, which must queue so many items.
    async fn replicate(&mut self, item_count: usize) -> Result<Vec<Queued>, Failure> {
        let to = self.destination.as_destination();
        let queued = self.source.member.replicate_policy(&self.policy_id, &to).await?;
        if queued.len() != item_count {
            return Err(Failure::other(format!(
                "{} items were queued instead of {item_count}",
                queued.len()
            )));
        }
        self.records.extend(queued.iter().map(|one| one.replication_record_id.clone()));
        Ok(queued)
    }

    async fn records(&self, queued: &[Queued]) -> Result<(Vec<RecordProgress>, Moved), Failure> {
        let mut records = Vec::new();
        for one in queued {
            records.push(self.source.member.record_progress(&one.replication_record_id).await?);
        }
        let moved = records.iter().fold(Moved::default(), Moved::add);
        Ok((records, moved))
    }

    /// Waits until every record is done.
    async fn follow(
        &self,
        queued: &[Queued],
        progress: &mut super::screen::Progress,
        expected_bytes: u64,
    ) -> Result<Moved, Failure> {
        let look = async || {
            let (records, moved) = self.records(queued).await?;
            progress.show(moved.sent_bytes, moved.planned_bytes.max(expected_bytes));
            let is_bad = |record: &&RecordProgress| record.is_final() && record.state != "done";
            if let Some(record) = records.iter().find(is_bad) {
                return Err(Failure::other(format!(
                    "record {} is {}: {}",
                    record.id, record.state, record.reason
                )));
            }
            let open = records.iter().find(|record| !record.is_final());
            Ok(open.map_or(Ok(moved), |record| Err(format!("{} {}", record.state, record.reason))))
        };
        await_until("the end of the replication", PATIENCE_SECONDS, look).await
    }

    fn push_replication(&mut self, name: &str, moved: Moved, seconds: f64) {
        self.rows.push(Row {
            step: name.to_owned(),
            sent_bytes: Some(moved.sent_bytes),
            resent_bytes: Some(moved.resent_bytes),
            seconds,
            ..Row::default()
        });
    }
}

/// Bytes of all files below a folder, as far as they can be seen at the moment.
fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    });
    bytes.sum()
}

fn sum(items: &[ItemProgress], figure: impl Fn(&ItemProgress) -> u64) -> u64 {
    items.iter().map(figure).sum()
}
