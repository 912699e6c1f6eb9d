//! One suite for every disk source. A new source is done when `suite::check` passes on it.
//!
//! The block device is a loop device, which needs root and the loop driver; where they are missing the suite says so
//! and is left out for the device only.

#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod suite;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use disk::SourceRoots;
use suite::Disk;

struct RawFile {
    folder: tempfile::TempDir,
    size_bytes: u64,
}

impl Disk for RawFile {
    fn roots(&self) -> SourceRoots {
        SourceRoots::new(vec![self.folder.path().to_owned()], vec![]).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("disk.raw")
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

fn raw_file(size_bytes: u64) -> RawFile {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("disk.raw")).unwrap().set_len(size_bytes).unwrap();
    RawFile { folder, size_bytes }
}

/// A block device over a file of its own, taken down when dropped.
struct LoopDevice {
    _folder: tempfile::TempDir,
    path: PathBuf,
    size_bytes: u64,
}

impl LoopDevice {
    fn new(size_bytes: u64) -> Result<LoopDevice, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("under-the-device");
        File::create(&file).unwrap().set_len(size_bytes).unwrap();
        let output = Command::new("losetup").args(["--find", "--show"]).arg(&file).output();
        let output = output.map_err(|error| format!("losetup cannot be run: {error}"))?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        let path = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
        Ok(LoopDevice { _folder: folder, path, size_bytes })
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.path).status();
    }
}

impl Disk for LoopDevice {
    fn roots(&self) -> SourceRoots {
        SourceRoots::new(vec![PathBuf::from("/dev")], vec![]).unwrap()
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// True if the loop driver works here; says why not otherwise.
fn has_loop_devices() -> bool {
    match LoopDevice::new(1 << 20) {
        Ok(_) => true,
        Err(why) => {
            eprintln!("left out: the suite on a block device, because no loop device can be made: {why}");
            false
        }
    }
}

#[test]
fn a_raw_file_is_a_disk() {
    suite::check(&|size_bytes| Box::new(raw_file(size_bytes)));
}

#[test]
fn a_block_device_is_a_disk() {
    if has_loop_devices() {
        suite::check(&|size_bytes| Box::new(LoopDevice::new(size_bytes).unwrap()));
    }
}

#[test]
fn a_mounted_block_device_is_not_written() {
    if !has_loop_devices() {
        return;
    }
    let device = LoopDevice::new(16 << 20).unwrap();
    let run = |program: &str, arguments: &[&Path]| Command::new(program).args(arguments).output().unwrap();
    let mount_point = tempfile::tempdir().unwrap();
    let made = run("mkfs.ext4", &["-q".as_ref(), &device.path]);
    let mounted = run("mount", &[&device.path, mount_point.path()]);
    if !made.status.success() || !mounted.status.success() {
        eprintln!(
            "left out: no file system can be mounted here: {}",
            String::from_utf8_lossy(&mounted.stderr)
        );
        return;
    }
    let opened =
        device.roots().open_writer(&device.path, disk::Format::Raw, disk::SizeRule::Exactly(16 << 20));
    run("umount", &[mount_point.path()]);
    assert!(matches!(opened, Err(disk::DiskError::InUse { .. })), "{opened:?}");
}
