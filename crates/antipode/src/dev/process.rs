//! One `antipode serve` as a child of this process: started, waited for, stopped, killed with -9.
//!
//! A child never outlives its [`ServeProcess`]: dropping it kills the child by its process id. Nor does it
//! outlive this process: it ends when its standard input does, and the kernel closes that for a killed parent.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use control::workers::Timer;

use crate::world::SystemTimer;

/// How often a stopping child is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// How many looks a stopping child gets: 20 seconds in all, longer than running requests may take.
const LOOKS_MAX: u32 = 1000;
/// How much of a log is shown when a child ended early.
const LOG_TAIL_LINES: usize = 12;

/// What to start, and where its files lie.
#[derive(Clone, Debug)]
pub struct ServeFiles {
    /// The `antipode` program.
    pub binary: PathBuf,
    /// The region's configuration.
    pub config: PathBuf,
    /// Where its standard error goes; appended to.
    pub log: PathBuf,
    /// Where the child writes its process id once it has its data folder to itself.
    pub lock: PathBuf,
}

/// A running, stopped or killed `antipode serve`.
#[derive(Debug)]
pub struct ServeProcess {
    files: ServeFiles,
    child: Option<Child>,
    peak_memory_bytes: u64,
}

impl ServeProcess {
    /// Starts the process; it is not ready yet.
    pub fn start(files: ServeFiles) -> io::Result<ServeProcess> {
        let mut process = ServeProcess { files, child: None, peak_memory_bytes: 0 };
        process.start_again()?;
        Ok(process)
    }

    /// Starts it again after [`ServeProcess::stop`] or [`ServeProcess::kill`].
    pub fn start_again(&mut self) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(&self.files.log)?;
        let child = Command::new(&self.files.binary)
            .args(["serve", "--ends-with-stdin", "--config"])
            .arg(&self.files.config)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal goes to a whole group: in a group of its own the child is stopped by us.
            .process_group(0)
            .spawn()?;
        self.child = Some(child);
        Ok(())
    }

    /// True once this child, and not one that a killed parent left dying, has the data folder to itself.
    pub fn has_lock(&self) -> bool {
        let holder = fs::read_to_string(&self.files.lock).unwrap_or_default();
        self.child.as_ref().is_some_and(|child| holder.trim() == child.id().to_string())
    }

    /// The most memory the process, or one of its earlier lives, ever held: the kernel's high-water mark.
    pub fn peak_memory_bytes(&mut self) -> u64 {
        if let Some(child) = &self.child {
            self.peak_memory_bytes = self.peak_memory_bytes.max(high_water_mark(child.id()).unwrap_or(0));
        }
        self.peak_memory_bytes
    }

    /// How the process ended, if it did so by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// The last lines of the log, for a person.
    pub fn log_tail(&self) -> String {
        let text = fs::read_to_string(&self.files.log).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n")
    }

    /// Ends the process with SIGKILL: no destructor, no flush, no goodbye.
    pub fn kill(&mut self) {
        self.peak_memory_bytes();
        if let Some(mut child) = self.child.take() {
            // Both fail only for a child that is gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Asks the process to end and waits; one that does not end in time is killed. True when it ended
    /// well by itself.
    pub async fn stop(&mut self) -> bool {
        self.peak_memory_bytes();
        let Some(child) = &mut self.child else { return true };
        send_signal("TERM", child.id());
        for _ in 0..LOOKS_MAX {
            if let Ok(Some(status)) = child.try_wait() {
                self.child = None;
                return status.success();
            }
            SystemTimer.sleep(LOOK_AGAIN).await;
        }
        self.kill();
        false
    }
}

impl Drop for ServeProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal by way of the shell, whose `kill` is built in: the standard library only knows SIGKILL.
fn send_signal(signal: &str, pid: u32) {
    let script = format!("kill -{signal} {pid}");
    // Fails only for a process that is gone already. In a group of its own, it outlives what ends ours.
    let _ = Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).process_group(0).status();
}

fn high_water_mark(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kibibytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kibibytes * 1024)
}

/// Makes the folder of a file and an empty file that only its owner can read.
pub(super) fn create_private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stand_in(folder: &Path, script: &str) -> ServeFiles {
        use std::os::unix::fs::PermissionsExt;
        let binary = folder.join("antipode");
        fs::write(&binary, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o700)).unwrap();
        ServeFiles {
            binary,
            config: folder.join("antipode.toml"),
            log: folder.join("serve.log"),
            lock: folder.join("lock"),
        }
    }

    fn is_alive(pid: u32) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn a_dropped_server_is_killed_by_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let process = ServeProcess::start(stand_in(folder.path(), "exec tail -f /dev/null")).unwrap();
        let pid = process.child.as_ref().unwrap().id();
        assert!(is_alive(pid));
        drop(process);
        assert!(!is_alive(pid));
    }

    #[tokio::test]
    async fn stopping_asks_first() {
        let folder = tempfile::tempdir().unwrap();
        let polite = "trap 'echo goodbye; exit 0' TERM; while :; do tail -f /dev/null & wait $!; done";
        let mut process = ServeProcess::start(stand_in(folder.path(), polite)).unwrap();
        while process.peak_memory_bytes() == 0 {}
        // The shell may not have set its trap yet; then it ends by the signal, which is the other lawful end.
        let ended_well = process.stop().await;
        assert_eq!(ended_well, process.log_tail() == "goodbye");
    }
}
