//! A failing disk: every call that a store makes to its file system fails once, one after the other, in
//! turn with an input/output error and with a full disk, while items are backed up, arrive, are
//! restored. After each failure nothing acknowledged is lost, the error names the store and not the
//! disk that was read or written, no sync is tried again, and the next run succeeds.
#![expect(clippy::unwrap_used, reason = "tests may unwrap")]

mod world;

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;
use vault::error::VaultError;
use vault::ids::ManifestDigest;
use vault::progress::NoProgress;
use vault::restore::VerifyLevel;
use vault::store::{LocalStore, Medium, MediumCall, ObjectStore, SimulatedFault};
use vault::transfer::PeerError;
use vault::vault::Vault;
use world::link::{Link, copy_order, transfer};
use world::{Disk, Region, back_up, noise, order, restore, settings};

/// Lets one call fail, and remembers every sync after a sync that failed.
#[derive(Default)]
struct Failing {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    plan: Option<Plan>,
    count: u64,
    failed: Option<(MediumCall, PathBuf)>,
    syncs_after_failure: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    call: MediumCall,
    nth: u64,
    kind: ErrorKind,
}

impl Failing {
    fn arm(&self, plan: Plan) {
        *self.state.lock().unwrap() = State { plan: Some(plan), ..State::default() };
    }

    /// The call that failed, if one did.
    fn disarm(&self) -> Option<MediumCall> {
        let mut state = self.state.lock().unwrap();
        let syncs = std::mem::take(&mut state.syncs_after_failure);
        assert!(syncs.is_empty(), "synced after a sync had failed: {syncs:?}");
        std::mem::take(&mut *state).failed.map(|(call, _)| call)
    }
}

fn is_sync(call: MediumCall) -> bool {
    matches!(call, MediumCall::Sync | MediumCall::SyncDirectory)
}

impl Medium for Failing {
    fn call(&self, call: MediumCall, path: &Path) -> std::io::Result<()> {
        let mut state = self.state.lock().unwrap();
        let Some(plan) = state.plan else { return Ok(()) };
        if let Some((failed, at)) = &state.failed {
            let is_spoiled = is_sync(*failed) && (plan.kind != ErrorKind::StorageFull || at == path);
            if is_spoiled && is_sync(call) {
                state.syncs_after_failure.push(path.to_owned());
            }
            return Ok(());
        }
        state.count += u64::from(plan.call == call);
        if plan.call != call || state.count != plan.nth {
            return Ok(());
        }
        state.failed = Some((call, path.to_owned()));
        Err(Error::from(plan.kind))
    }
}

/// A folder in memory where there is one: these tests sync a great deal.
fn folder() -> TempDir {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { tempfile::tempdir_in(shared) } else { tempfile::tempdir() }.unwrap()
}

/// A region whose store is a directory on a failing medium.
struct Place {
    region: Region,
    folder: TempDir,
    medium: Arc<Failing>,
}

impl Place {
    fn new(region: Region) -> Place {
        Place { region, folder: folder(), medium: Arc::new(Failing::default()) }
    }

    /// A process begins: the store is opened anew.
    fn store(&self) -> Arc<dyn ObjectStore> {
        Arc::new(LocalStore::open_over(self.folder.path(), self.medium.clone()).unwrap())
    }

    fn open(&self) -> Vault {
        self.region.open_over(self.store())
    }

    fn check_item(&self, manifest: ManifestDigest, disk: &Disk, when: &str) {
        let vault = self.open();
        let verified = vault.verify_item(manifest, VerifyLevel::Opened, &NoProgress);
        verified.unwrap_or_else(|error| panic!("{when}: {error}"));
        let restored = restore(&vault, manifest, 0, disk.size()).unwrap();
        assert!(restored.bytes() == disk.bytes(), "{when}: other bytes came back");
    }

    /// Every manifest that the store holds can be restored, acknowledged or not.
    fn check_no_dangling(&self, when: &str) {
        let vault = self.open();
        for name in self.store().list("").unwrap() {
            let Some(name) = name.strip_suffix(".manifest") else { continue };
            let digest: ManifestDigest = name.rsplit('/').next().unwrap().parse().unwrap();
            let verified = vault.verify_item(digest, VerifyLevel::Opened, &NoProgress);
            assert!(verified.is_ok(), "{when}: {digest}: {verified:?}");
        }
    }
}

const KINDS: [ErrorKind; 2] = [ErrorKind::Other, ErrorKind::StorageFull];

/// Runs a story for every n until it makes fewer calls of a kind; returns how many failures there were.
fn each_failure(call: MediumCall, kind: ErrorKind, mut story: impl FnMut(Plan) -> bool) -> u64 {
    for nth in 1.. {
        if !story(Plan { call, nth, kind }) {
            return nth - 1;
        }
    }
    0
}

/// The trouble is the store's, and it may pass.
fn check_error(error: &VaultError, plan: Plan) {
    let is_right = match (plan.call, plan.kind) {
        (_, ErrorKind::Other) | (MediumCall::SyncDirectory, _) => {
            matches!(error, VaultError::Unavailable { .. })
        }
        _ => matches!(error, VaultError::Full { .. }),
    };
    assert!(is_right && error.is_passing(), "{plan:?}: {error:?}");
}

fn two_disks() -> [Disk; 2] {
    let first = Disk::random(400 << 10, 1);
    let second = first.copy();
    second.put(100 << 10, &noise(9, 120 << 10));
    [first, second]
}

fn back_up_on_a_failing_medium(threads: u32) {
    let disks = two_disks();
    for call in MediumCall::ALL {
        for kind in KINDS {
            let count = each_failure(call, kind, |plan| {
                let mut place = Place::new(Region::new(1));
                place.region.settings = settings(threads);
                let vault = place.open();
                let first = back_up(&place.region, &vault, &order(1, &[]), &[&disks[0]]).unwrap();
                let first = first.manifest.digest();
                place.medium.arm(plan);
                let second = back_up(&place.region, &vault, &order(2, &[first]), &[&disks[1]]);
                let is_failed = place.medium.disarm().is_some();
                let when = format!("{plan:?}");
                match &second {
                    Ok(_) => assert!(!is_failed, "{when}: success was claimed"),
                    Err(error) => check_error(error, plan),
                }
                place.check_item(first, &disks[0], &when);
                place.check_no_dangling(&when);
                // The same process goes on, unless a sync failed: then the next one does.
                let goes_on = !is_sync(plan.call)
                    || (plan.call, plan.kind) == (MediumCall::Sync, ErrorKind::StorageFull);
                let vault = if goes_on { vault } else { place.open() };
                if is_failed {
                    let again = back_up(&place.region, &vault, &order(2, &[first]), &[&disks[1]]).unwrap();
                    place.check_item(again.manifest.digest(), &disks[1], &when);
                    place.check_item(first, &disks[0], &when);
                }
                is_failed
            });
            let without = [MediumCall::Remove, MediumCall::MakeDirectory, MediumCall::Read];
            check_count(call, count, "a backup", &without);
        }
    }
}

/// A kind of call that never came would prove nothing.
fn check_count(call: MediumCall, count: u64, story: &str, without: &[MediumCall]) {
    println!("{story}: {count} failures of {call:?}");
    assert!(count > 0 || without.contains(&call) || call == MediumCall::List, "{story} makes no {call:?}");
}

#[test]
fn a_backup_survives_every_failing_call() {
    back_up_on_a_failing_medium(1);
}

#[test]
fn a_backup_on_many_threads_survives_every_failing_call() {
    back_up_on_a_failing_medium(3);
}

#[test]
fn an_arrival_survives_every_failing_call() {
    let disks = two_disks();
    let source = Region::new(1);
    let vault = source.open();
    let first = back_up(&source, &vault, &order(1, &[]), &[&disks[0]]).unwrap().manifest.digest();
    let second = back_up(&source, &vault, &order(2, &[first]), &[&disks[1]]).unwrap().manifest.digest();
    for call in MediumCall::ALL {
        for kind in KINDS {
            let count = each_failure(call, kind, |plan| {
                let place = Place::new(Region::replica_of(&source, 2, source.keys.clone()));
                let link = || Link::over(&place.region, 1, place.store());
                transfer(&vault, &copy_order(first, &[]), &link()).unwrap();
                let second_link = Link::over(&place.region, 2, place.store());
                place.medium.arm(plan);
                // Passing trouble is tried again, but not a broken store: only a new process gets over that.
                let arrived = world::link::transfer_once(&vault, &copy_order(second, &[first]), &second_link);
                let is_failed = place.medium.disarm().is_some();
                let when = format!("{plan:?}");
                if let Err(error) = &arrived {
                    let is_right = matches!(
                        error,
                        VaultError::Peer {
                            cause: PeerError::Unavailable(_) | PeerError::Full | PeerError::Busy,
                            ..
                        }
                    );
                    assert!(is_right, "{when}: {error:?}");
                }
                place.check_item(first, &disks[0], &when);
                place.check_no_dangling(&when);
                let again = Link::over(&place.region, 2, place.store());
                transfer(&vault, &copy_order(second, &[first]), &again).unwrap();
                place.check_item(second, &disks[1], &when);
                is_failed
            });
            check_count(call, count, "an arrival", &[MediumCall::Remove, MediumCall::MakeDirectory]);
        }
    }
}

#[test]
fn reading_to_restore_and_to_send_survives_every_failing_read() {
    let disks = two_disks();
    let place = Place::new(Region::new(1));
    let first =
        back_up(&place.region, &place.open(), &order(1, &[]), &[&disks[0]]).unwrap().manifest.digest();
    for call in [MediumCall::Read, MediumCall::List] {
        let count = each_failure(call, ErrorKind::Other, |plan| {
            // A new process: its index follows the ledger through the failing reads too.
            let vault = place.open();
            place.medium.arm(plan);
            let restored = restore(&vault, first, 0, disks[0].size());
            let is_failed = place.medium.disarm().is_some();
            match &restored {
                Ok(disk) => assert!(!is_failed && disk.bytes() == disks[0].bytes(), "{plan:?}"),
                Err(error) => check_error(error, plan),
            }
            let restored = restore(&vault, first, 0, disks[0].size()).unwrap();
            assert!(restored.bytes() == disks[0].bytes(), "{plan:?}: the next restore");
            is_failed
        });
        check_count(call, count, "a restore", &[]);
        let count = each_failure(call, ErrorKind::Other, |plan| {
            let vault = place.open();
            let destination = Region::replica_of(&place.region, 2, place.region.keys.clone());
            place.medium.arm(plan);
            let sent =
                world::link::transfer_once(&vault, &copy_order(first, &[]), &Link::new(&destination, 1));
            let is_failed = place.medium.disarm().is_some();
            match &sent {
                Ok(_) => assert!(!is_failed, "{plan:?}: success was claimed"),
                Err(error) => check_error(error, plan),
            }
            transfer(&vault, &copy_order(first, &[]), &Link::new(&destination, 1)).unwrap();
            let replica = restore(&destination.open(), first, 0, disks[0].size()).unwrap();
            assert!(replica.bytes() == disks[0].bytes(), "{plan:?}: the replica");
            is_failed
        });
        check_count(call, count, "a copy", &[]);
    }
}

#[test]
fn deleting_survives_every_failing_call() {
    for call in [MediumCall::Remove, MediumCall::SyncDirectory] {
        for kind in KINDS {
            let count = each_failure(call, kind, |plan| {
                let place = Place::new(Region::new(1));
                let store = place.store();
                for name in ["a/1", "a/2", "b/1"] {
                    store.put_if_absent(name, b"x").unwrap();
                }
                place.medium.arm(plan);
                let deleted = store.delete("a/1").and_then(|()| store.delete("a/2"));
                let is_failed = place.medium.disarm().is_some();
                assert_eq!(deleted.is_err(), is_failed, "{plan:?}");
                let store = place.store();
                assert_eq!(store.get("b/1", 9).unwrap(), b"x");
                for name in ["a/1", "a/2"] {
                    store.delete(name).unwrap();
                }
                assert_eq!(store.list("").unwrap(), ["b/1"]);
                is_failed
            });
            check_count(call, count, "deleting", &[]);
        }
    }
}

/// The simulated store has faults that a file system has not: a call may take effect unheard.
#[test]
fn every_call_of_a_simulated_store_may_fail_in_every_story() {
    let disk = Disk::random(300 << 10, 3);
    for fault in [SimulatedFault::Unavailable, SimulatedFault::Unanswered, SimulatedFault::Full] {
        for nth in 1.. {
            let (source, when) = (Region::new(1), format!("{fault:?} at call {nth}"));
            let vault = source.open();
            let item = back_up(&source, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
            let destination = Region::replica_of(&source, 2, source.keys.clone());
            source.store.fail_call(nth, fault);
            destination.store.fail_call(nth, fault);
            let sent =
                world::link::transfer_once(&vault, &copy_order(item, &[]), &Link::new(&destination, 1));
            let restored = restore(&vault, item, 0, disk.size()).map(|_| ());
            for error in [sent.map(|_| ()), restored].into_iter().filter_map(Result::err) {
                assert!(error.is_passing(), "{when}: {error:?}");
            }
            let is_over = source.store.is_fault_waiting() && destination.store.is_fault_waiting();
            // What is left of the plan must not strike below.
            for store in [&source.store, &destination.store] {
                while store.is_fault_waiting() {
                    let _ = store.list("none");
                }
            }
            transfer(&vault, &copy_order(item, &[]), &Link::new(&destination, 1)).unwrap();
            for vault in [&vault, &destination.open()] {
                assert!(restore(vault, item, 0, disk.size()).unwrap().bytes() == disk.bytes(), "{when}");
            }
            if is_over {
                println!("{fault:?}: {} failures", nth - 1);
                assert!(nth > 10, "{fault:?}: only {nth} calls");
                break;
            }
        }
    }
}
