//! Rotations and recoveries killed at every step: at each moment every domain opens with the files that
//! lie there, and the next call ends what was begun.

use std::collections::BTreeSet;

use tempfile::TempDir;
use vault::crash::{Plan, arm, catch};
use vault::ids::{Incarnation, to_hex};
use vault::seams::SeededEntropy;
use vault::state::{StateObject, StateStamp};
use vault::store::SimulatedStore;
use zeroize::Zeroizing;

use super::*;

const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 1 };

struct World {
    folder: TempDir,
    store: SimulatedStore,
    entropy: SeededEntropy,
    domains: Vec<DomainKeys>,
    passphrase: Option<Passphrase>,
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

impl World {
    fn new(kind: KekKind) -> World {
        let entropy = SeededEntropy::new(3);
        let mut world = World {
            folder: tempfile::tempdir().unwrap(),
            store: SimulatedStore::new(1),
            domains: (0..3).map(|_| DomainKeys::generate(&entropy)).collect(),
            entropy,
            passphrase: None,
        };
        let horse = passphrase("correct horse battery");
        let new = match kind {
            KekKind::File => NewKek::File,
            KekKind::Passphrase => NewKek::Passphrase { passphrase: &horse, cost: CHEAP },
        };
        let kek = Kek::create_new(&world.folder.path().join(KEK), 0, &new, &world.entropy).unwrap();
        let keys = KeyStore { store: &world.store, kek: &kek };
        world.domains.iter().try_for_each(|domain| keys.keep(domain)).unwrap();
        world.passphrase = (kind == KekKind::Passphrase).then_some(horse);
        world
    }

    fn files(&self) -> KeyFiles {
        KeyFiles::new(self.folder.path()).with_passphrase(self.passphrase.clone())
    }

    fn rotate(&self) -> Result<Rotated, VaultError> {
        self.files().rotate_kek(&self.store, &KekPlan::default(), None, &self.entropy)
    }

    /// Every domain opens, with the keys it had.
    fn check(&self, when: &str) {
        let kek = self.files().open_kek(&self.store).unwrap_or_else(|error| panic!("{when}: {error}"));
        for domain in &self.domains {
            let keys = KeyStore { store: &self.store, kek: &kek }.newest(domain.domain());
            let keys = keys.unwrap_or_else(|error| panic!("{when}: {error}")).unwrap();
            assert_eq!(keys.current_epoch(), domain.current_epoch(), "{when}");
            let secrets = |keys: &DomainKeys| keys.secrets().unwrap().identity().clone();
            assert!(secrets(&keys) == secrets(domain), "{when}");
        }
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_rotation_leaves_the_old_kek_until_it_is_retired() {
    let world = World::new(KekKind::File);
    let rotated = world.rotate().unwrap();
    assert_eq!((rotated.old_number, rotated.number, rotated.rewrapped.sealed_count), (Some(0), 1, 3));
    assert_eq!(world.names(), set(&["kek", "kek-0000"]));
    world.check("after the rotation");
    assert!(world.files().retire_kek(&world.store, 1).is_err(), "the one in use");
    assert!(world.files().retire_kek(&world.store, 7).is_err(), "one that never was");
    assert_eq!(world.files().retire_kek(&world.store, 0).unwrap(), 3);
    assert_eq!(world.names(), set(&["kek"]));
    world.check("after the old one was retired");
    assert_eq!(world.files().open_kek(&world.store).unwrap().opens().collect::<Vec<_>>(), [0, 1]);
    world.rotate().unwrap();
    world.check("after another rotation");
    assert_eq!(world.files().open_kek(&world.store).unwrap().opens().collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn a_rotation_and_a_retirement_killed_anywhere_are_ended_by_the_next_call() {
    let mut points = BTreeSet::new();
    for hit in 1.. {
        let world = World::new(KekKind::File);
        let armed = arm(Plan::at_hit(hit));
        let died = catch(|| {
            world.rotate().unwrap();
            world.files().retire_kek(&world.store, 0).unwrap();
        });
        drop(armed);
        world.store.crash();
        let Err(crash) = died else { break };
        points.insert(crash.point);
        world.check(crash.point);
        // What runs between the kill and the next call may store keys as well.
        let kek = world.files().open_kek(&world.store).unwrap();
        KeyStore { store: &world.store, kek: &kek }.keep(&world.domains[0]).unwrap();
        world.rotate().unwrap();
        let number = world.files().open_kek(&world.store).unwrap().number();
        for old in 0..number {
            world.files().retire_kek(&world.store, old).unwrap();
        }
        assert_eq!(world.names(), set(&["kek"]), "{}", crash.point);
        world.check(crash.point);
    }
    let wanted = [
        "key.older_bundle_gone",
        "key.retire.file_gone",
        "key.rotate.bundle_stored",
        "key.rotate.next_made",
        "key.rotate.old_kept",
        "key.rotate.ring_stored",
        "key.rotate.switched",
    ];
    assert_eq!(points.into_iter().collect::<Vec<_>>(), wanted);
}

#[test]
fn a_kek_goes_from_file_to_passphrase_to_another_passphrase_and_back() {
    let mut world = World::new(KekKind::File);
    let derived = KekPlan { kind: KekKind::Passphrase, cost: CHEAP };
    let staple = passphrase("battery staple correct");
    let missing = world.files().rotate_kek(&world.store, &derived, None, &world.entropy);
    assert!(matches!(missing, Err(VaultError::Refused { .. })));
    for next in ["correct horse battery", "battery staple correct"] {
        let next = passphrase(next);
        world.files().rotate_kek(&world.store, &derived, Some(&next), &world.entropy).unwrap();
        world.passphrase = Some(next);
        world.check("under a passphrase");
        assert!(world.files().needs_passphrase());
    }
    assert_eq!(world.passphrase, Some(staple));
    world.rotate().unwrap();
    world.passphrase = None;
    world.check("back in a file");
    assert!(!world.files().needs_passphrase());
}

#[test]
fn either_passphrase_opens_while_one_is_changed_for_another() {
    for point in ["key.rotate.ring_stored", "key.rotate.bundle_stored", "key.rotate.old_kept"] {
        let mut world = World::new(KekKind::Passphrase);
        let derived = KekPlan { kind: KekKind::Passphrase, cost: CHEAP };
        let next = passphrase("battery staple correct");
        let rotate =
            |world: &World| world.files().rotate_kek(&world.store, &derived, Some(&next), &world.entropy);
        let armed = arm(Plan::at(point, 1));
        assert!(catch(|| rotate(&world).map(drop)).is_err());
        drop(armed);
        let wrong =
            world.files().rotate_kek(&world.store, &derived, world.passphrase.as_ref(), &world.entropy);
        assert!(wrong.is_err(), "another passphrase than the one it was begun with");
        let old = world.passphrase.replace(next.clone());
        world.check(point);
        world.passphrase = old;
        rotate(&world).unwrap();
        world.passphrase = Some(next.clone());
        world.check(point);
    }
}

#[test]
fn state_that_was_sealed_before_stays_readable() {
    let world = World::new(KekKind::File);
    let old = world.files().open_kek(&world.store).unwrap();
    let identity = crate::region::tests::identity(&world.entropy);
    let stamp = StateStamp { incarnation: Incarnation([5; 16]), sequence: 1, time_ms: 7 };
    let record = crate::region::tests::record();
    let mut stored = Vec::new();
    StateObject { stamp, record }.seal(&identity, &old, &mut stored).unwrap();
    world.rotate().unwrap();
    world.files().retire_kek(&world.store, 0).unwrap();
    let new = world.files().open_kek(&world.store).unwrap();
    let opened = StateObject::open(&stamp.name(), &stored, &new, identity.region(), &identity.signers());
    assert_eq!(opened.unwrap().stamp, stamp);
}

#[test]
fn a_lost_kek_is_followed_by_a_new_one_for_the_keys_that_were_found() {
    for lost in [true, false] {
        let mut points = BTreeSet::new();
        for hit in 1.. {
            let world = World::new(KekKind::File);
            let path = world.folder.path().join(KEK);
            fs::remove_file(&path).unwrap();
            if !lost {
                Kek::create(&path, &world.entropy).unwrap();
            }
            let plan = KekPlan::default();
            let recover =
                || world.files().recover_kek(&world.store, &world.domains, &plan, &world.entropy).unwrap();
            let armed = arm(Plan::at_hit(hit));
            let died = catch(recover).map(|_| ());
            drop(armed);
            world.store.crash();
            let is_over = died.is_ok();
            if let Err(crash) = died {
                points.insert(crash.point);
                if crash.point != "key.rotate.switched" {
                    recover();
                }
            }
            world.check("after the recovery");
            let wanted: &[&str] = if lost { &["kek"] } else { &["kek", "kek-set-aside-0"] };
            assert_eq!(world.names(), set(wanted));
            if is_over {
                break;
            }
        }
        let wanted = ["key.recover.bundle_stored", "key.rotate.next_made", "key.rotate.switched"];
        assert_eq!(points.into_iter().collect::<Vec<_>>(), wanted);
    }
}

#[test]
fn files_are_shown_without_what_is_in_them() {
    let world = World::new(KekKind::Passphrase);
    let shown = format!("{:?}", world.files().kek_files());
    assert!(shown.contains("Passphrase") && shown.contains("memory_kib: 64"), "{shown}");
    let stranger = KeyFiles::new(world.folder.path());
    assert!(stranger.kek_files()[0].trouble.as_ref().unwrap().contains("takes a passphrase"));
    let secret = fs::read_to_string(world.folder.path().join(KEK)).unwrap();
    assert!(!shown.contains(secret.split(' ').nth(3).unwrap()));
    assert!(!shown.contains(&to_hex(b"correct horse battery")));
}
