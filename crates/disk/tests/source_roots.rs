//! What may not be opened: everything outside the roots, behind a link, of the service itself, or no disk at all.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

use std::fs::{File, create_dir};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use disk::{DiskError, Format, SizeRule, SourceRoots};

/// `root/disk.raw`, `root/inner/disk.raw`, `data/secret`, all beside each other.
struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World { folder: tempfile::tempdir().unwrap() };
        for folder in ["root", "root/inner", "data"] {
            create_dir(world.path(folder)).unwrap();
        }
        for file in ["root/disk.raw", "root/inner/disk.raw", "data/secret"] {
            File::create(world.path(file)).unwrap().set_len(4096).unwrap();
        }
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn roots(&self) -> SourceRoots {
        SourceRoots::new(vec![self.path("root")], vec![self.path("data")]).unwrap()
    }
}

/// Both ways of opening must refuse in the same way.
fn check_refused(roots: &SourceRoots, path: &Path, is_expected: impl Fn(&DiskError) -> bool) {
    let reading = roots.open_reader(path, Format::Raw).unwrap_err();
    let writing = roots.open_writer(path, Format::Raw, SizeRule::AtLeast(0)).unwrap_err();
    for error in [reading, writing] {
        assert!(is_expected(&error), "{}: {error:?}", path.display());
    }
}

#[test]
fn disks_under_a_root_are_opened() {
    let world = World::new();
    for name in ["root/disk.raw", "root/inner/disk.raw", "root/./inner//disk.raw"] {
        assert_eq!(world.roots().open_reader(&world.path(name), Format::Raw).unwrap().size_bytes(), 4096);
    }
}

#[test]
fn a_link_is_never_followed() {
    let world = World::new();
    symlink("disk.raw", world.path("root/inside")).unwrap();
    symlink(world.path("data/secret"), world.path("root/outside")).unwrap();
    symlink(world.path("data"), world.path("root/folder")).unwrap();
    symlink("../data", world.path("root/relative")).unwrap();
    symlink("nowhere", world.path("root/dangling")).unwrap();
    for name in ["inside", "outside", "folder/secret", "relative/secret", "dangling"] {
        check_refused(&world.roots(), &world.path("root").join(name), |error| {
            matches!(error, DiskError::Link { .. })
        });
    }
}

#[test]
fn a_disk_is_not_created_through_a_link() {
    let world = World::new();
    symlink(world.path("data/new"), world.path("root/new")).unwrap();
    symlink(world.path("data"), world.path("root/folder")).unwrap();
    for name in ["root/new", "root/folder/new"] {
        assert!(world.roots().open_writer(&world.path(name), Format::Raw, SizeRule::Create(1)).is_err());
    }
    assert!(!world.path("data/new").exists());
}

#[test]
fn a_root_behind_a_link_is_refused() {
    let world = World::new();
    symlink(world.path("root"), world.path("link")).unwrap();
    for root in ["link", "link/inner"] {
        assert!(matches!(SourceRoots::new(vec![world.path(root)], vec![]), Err(DiskError::Link { .. })));
    }
}

#[test]
fn a_root_replaced_by_a_link_still_means_the_old_directory() {
    let world = World::new();
    let roots = world.roots();
    std::fs::rename(world.path("root"), world.path("moved")).unwrap();
    symlink(world.path("data"), world.path("root")).unwrap();
    check_refused(&roots, &world.path("root/secret"), |error| matches!(error, DiskError::NotFound { .. }));
    roots.open_reader(&world.path("root/disk.raw"), Format::Raw).unwrap();
}

#[test]
fn steps_upwards_and_relative_paths_are_refused() {
    let world = World::new();
    let is_bad = |error: &DiskError| matches!(error, DiskError::BadPath { .. });
    check_refused(&world.roots(), &world.path("root/../data/secret"), is_bad);
    check_refused(&world.roots(), &world.path("root/inner/../disk.raw"), is_bad);
    check_refused(&world.roots(), Path::new("root/disk.raw"), is_bad);
    check_refused(&world.roots(), Path::new(""), is_bad);
    check_refused(&world.roots(), &world.path("root/disk.raw/more"), is_bad);
    for root in ["relative", "", "/tmp/.."] {
        assert!(
            matches!(SourceRoots::new(vec![root.into()], vec![]), Err(DiskError::BadPath { .. })),
            "{root}"
        );
    }
}

#[test]
fn paths_outside_every_root_are_refused() {
    let world = World::new();
    let is_outside = |error: &DiskError| matches!(error, DiskError::OutsideRoots { .. });
    check_refused(&world.roots(), &world.path("data/secret"), is_outside);
    check_refused(&world.roots(), &world.path("root-not/disk.raw"), is_outside);
    let no_roots = SourceRoots::new(vec![], vec![]).unwrap();
    check_refused(&no_roots, &world.path("root/disk.raw"), is_outside);
}

#[test]
fn the_directories_of_the_service_are_refused() {
    let world = World::new();
    let is_forbidden = |error: &DiskError| matches!(error, DiskError::Forbidden { .. });
    let roots = SourceRoots::new(vec![world.path("root")], vec![world.path("root/inner")]).unwrap();
    check_refused(&roots, &world.path("root/inner/disk.raw"), is_forbidden);
    roots.open_reader(&world.path("root/disk.raw"), Format::Raw).unwrap();
    for (root, forbidden) in [("root", "root"), ("root/inner", "root"), ("root", "")] {
        let roots = SourceRoots::new(vec![world.path(root)], vec![world.path(forbidden)]);
        assert!(is_forbidden(&roots.unwrap_err()), "{root} in {forbidden}");
    }
}

#[test]
fn a_directory_of_the_service_is_recognised_under_another_name() {
    let world = World::new();
    symlink(world.path("root/inner"), world.path("data-link")).unwrap();
    let roots = SourceRoots::new(vec![world.path("root")], vec![world.path("data-link")]).unwrap();
    check_refused(&roots, &world.path("root/inner/disk.raw"), |error| {
        matches!(error, DiskError::Forbidden { .. })
    });
    std::fs::rename(world.path("root/inner"), world.path("root/renamed")).unwrap();
    check_refused(&roots, &world.path("root/renamed/disk.raw"), |error| {
        matches!(error, DiskError::Forbidden { .. })
    });
}

#[test]
fn a_forbidden_directory_that_cannot_be_recognised_is_an_error() {
    let world = World::new();
    let make = |forbidden: &str| SourceRoots::new(vec![world.path("root")], vec![world.path(forbidden)]);
    assert!(matches!(make("nothing"), Err(DiskError::Unavailable { .. })));
    assert!(matches!(make("data/secret"), Err(DiskError::BadPath { .. })));
}

#[test]
fn what_is_no_disk_is_refused_by_its_kind() {
    let world = World::new();
    assert!(Command::new("mkfifo").arg(world.path("root/fifo")).status().unwrap().success());
    let _socket = UnixListener::bind(world.path("root/socket")).unwrap();
    for (name, expected) in
        [("fifo", "fifo"), ("socket", "socket"), ("inner", "directory"), ("", "directory")]
    {
        let is_kind =
            |error: &DiskError| matches!(error, DiskError::NotADisk { kind, .. } if *kind == expected);
        check_refused(&world.roots(), &world.path("root").join(name), is_kind);
    }
    let devices = SourceRoots::new(vec!["/dev".into()], vec![]).unwrap();
    check_refused(&devices, Path::new("/dev/zero"), |error| {
        matches!(error, DiskError::NotADisk { kind: "character device", .. })
    });
}

#[test]
fn what_does_not_exist_is_not_found() {
    let world = World::new();
    let is_missing = |error: &DiskError| matches!(error, DiskError::NotFound { .. });
    check_refused(&world.roots(), &world.path("root/none.raw"), is_missing);
    check_refused(&world.roots(), &world.path("root/none/disk.raw"), is_missing);
    assert!(is_missing(&SourceRoots::new(vec![world.path("none")], vec![]).unwrap_err()));
}

#[test]
fn errors_keep_their_meaning_as_io_errors() {
    let world = World::new();
    let error = world.roots().open_reader(&world.path("root/none.raw"), Format::Raw).unwrap_err();
    let text = error.to_string();
    let io_error = std::io::Error::from(error);
    assert_eq!(io_error.kind(), std::io::ErrorKind::NotFound);
    assert_eq!(io_error.to_string(), text);
}
