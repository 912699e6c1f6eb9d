//! Kills the built binary with -9 at random moments, again and again, in one world of two regions: during
//! backups, replications, publishing, restores, deletions and collections. What must be true afterwards is in
//! `audited_world`.
//!
//! `ANTIPODE_KILL_ROUNDS` says how many rounds (20 if it is not set), `ANTIPODE_KILL_SEED` repeats the
//! choices of a run that failed; the moments themselves depend on the machine.

#[path = "../audited_world/mod.rs"]
mod audited_world;

use antipode::dev::failure::Failure;
use antipode::dev::process::ServeProcess;
use audited_world::{Blow, Run, World};

/// Checkpoints kept on each side.
const CHECKPOINTS_KEPT: usize = 8;

/// SIGKILL, and nothing else.
struct Kill;

impl Blow for Kill {
    fn strike(&self, _region: &str, process: &mut ServeProcess) -> Result<(), Failure> {
        process.kill();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_everything_reaches_its_end_without_a_human() {
    let run = Run::named("KILL", 20);
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path(), Box::new(Kill), Some(CHECKPOINTS_KEPT)).await;
    let world = world.unwrap_or_else(|failure| panic!("{}", failure.explain()));
    run.tell(folder, world).await;
}
