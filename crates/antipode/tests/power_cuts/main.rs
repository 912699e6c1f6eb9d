//! Cuts the power under the built binary at random moments, again and again: each region lies on a file
//! system of its own (ext4, xfs) on a loop device, and the file system's shutdown call drops whatever was not
//! synced, as a power cut does. Then the process is killed, the file system mounted again, and the region
//! started. What must be true afterwards is in `audited_world`; here everything that was acknowledged is
//! restored after each cut, and old checkpoints are deleted all the time.
//!
//! `ANTIPODE_POWER_ROUNDS` says how many cuts (60 if it is not set), `ANTIPODE_POWER_SEED` repeats the choices
//! of a run that failed. Needs root, for loop devices; without it there is nothing to be seen, and it says so.

#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

#[path = "../audited_world/mod.rs"]
mod audited_world;

use std::path::{Path, PathBuf};
use std::process::Command;

use antipode::demo::disks::MEBIBYTE;
use antipode::dev::failure::Failure;
use antipode::dev::process::ServeProcess;
use audited_world::{Blow, Run, World};

/// Large enough for xfs, which refuses less than 300 MB, and for a world that keeps few checkpoints.
const FILE_SYSTEM_BYTES: u64 = 640 * MEBIBYTE;
/// Checkpoints kept on each side.
const CHECKPOINTS_KEPT: usize = 3;
/// Set in the process that has a mount namespace of its own: what it mounts ends with it.
const INSIDE: &str = "ANTIPODE_POWER_INSIDE";

/// Drops all that was not synced (`EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`, both 0x8004587d, with the flag for
/// "no log flush"). By Python, because this workspace allows no unsafe code and that is what an ioctl is.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys\n\
    fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587D, struct.pack('I', 2))";

/// Power cuts below the regions of a folder.
struct PowerCut {
    folder: PathBuf,
}

impl PowerCut {
    fn image(&self, region: &str) -> PathBuf {
        self.folder.join(format!("{region}.image"))
    }

    fn mount(&self, region: &str) -> Result<(), Failure> {
        let (image, point) = (self.image(region), self.folder.join(region));
        run("mount", &["-o", "loop"], &[&image, &point])
    }
}

impl Blow for PowerCut {
    fn lay_ground(&self, region: &str) -> Result<(), Failure> {
        let (image, point) = (self.image(region), self.folder.join(region));
        let aside = self.folder.join(format!("{region}.aside"));
        let file = std::fs::File::create(&image).map_err(Failure::io("making", &image))?;
        file.set_len(FILE_SYSTEM_BYTES).map_err(Failure::io("sizing", &image))?;
        let kind = if region == "north" { "mkfs.ext4" } else { "mkfs.xfs" };
        run(kind, &["-q"], &[&image])?;
        std::fs::rename(&point, &aside).map_err(Failure::io("moving", &point))?;
        std::fs::create_dir(&point).map_err(Failure::io("making", &point))?;
        self.mount(region)?;
        run("cp", &["-a"], &[&aside.join("."), &point])?;
        run("sync", &["-f"], &[&point])
    }

    fn strike(&self, region: &str, process: &mut ServeProcess) -> Result<(), Failure> {
        run("python3", &["-c", SHUT_DOWN], &[&self.folder.join(region)])?;
        process.kill();
        Ok(())
    }

    fn mend(&self, region: &str) -> Result<(), Failure> {
        run("umount", &[], &[&self.folder.join(region)])?;
        self.mount(region)
    }
}

/// Runs a program to its good end.
fn run(program: &str, options: &[&str], paths: &[&Path]) -> Result<(), Failure> {
    let output = Command::new(program).args(options).args(paths).output();
    let output = output.map_err(Failure::io("running", Path::new(program)))?;
    if output.status.success() {
        return Ok(());
    }
    Err(Failure::other(format!("{program} {paths:?}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// Whether this process may have a mount namespace of its own and mount a loop device in it.
fn may_mount() -> bool {
    let may = Command::new("unshare").args(["--mount", "losetup", "--find"]).output();
    may.is_ok_and(|output| output.status.success())
}

#[test]
fn what_was_acknowledged_outlives_every_power_cut() {
    if std::env::var_os(INSIDE).is_some() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        return runtime.block_on(cut_the_power());
    }
    if !may_mount() {
        println!("not root, or no loop devices: no power was cut");
        return;
    }
    let mut inside = Command::new("unshare");
    inside.args(["--mount", "--"]).arg(std::env::current_exe().unwrap());
    inside.args(["--exact", "--nocapture", "what_was_acknowledged_outlives_every_power_cut"]);
    assert!(inside.env(INSIDE, "1").status().unwrap().success(), "see above");
}

async fn cut_the_power() {
    let run = Run { audits_each_round: true, ..Run::named("POWER", 60) };
    let folder = tempfile::tempdir().unwrap();
    let blow = Box::new(PowerCut { folder: folder.path().to_owned() });
    let world = World::begin(folder.path(), blow, Some(CHECKPOINTS_KEPT)).await;
    let world = world.unwrap_or_else(|failure| panic!("{}", failure.explain()));
    run.tell(folder, world).await;
}
