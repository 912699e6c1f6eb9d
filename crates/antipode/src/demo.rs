//! `antipode demo`: the main job from end to end, on real disks, with a real loss of a region.
//!
//! The story is [`Story::tell`], top to bottom. Whatever differs from the source ends it, and the process ends
//! non-zero. [`disks`] makes and changes the disks, [`screen`] shows, [`figures`]
//! compares, [`receipts`] checks, [`steps`] and [`restored`] do.

pub mod disks;
mod figures;
mod receipts;
mod restored;
mod screen;
mod steps;

use std::path::PathBuf;

use clap::Args;

use self::screen::{Screen, mebibytes, table};
use self::steps::Story;
use crate::dev::failure::Failure;
use crate::dev::own_program;
use crate::dev::place::Place;

/// Peak memory that no `serve` process may reach.
const MEMORY_BYTES_MAX: u64 = 300 << 20;

/// `antipode demo`
#[derive(Clone, Debug, Args)]
pub struct DemoArgs {
    /// Folder for everything, must be empty or missing; a temporary one if left out
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Leave the folder when done
    #[arg(long)]
    pub keep: bool,
    /// The reader in Python that restores from a bare store
    #[arg(long, value_name = "FILE", default_value = "tools/antipode_restore.py")]
    pub reader: PathBuf,
    /// Python with the packages of tools/requirements.txt; ANTIPODE_PYTHON, else python3, if left out
    #[arg(long, value_name = "PROGRAM")]
    pub python: Option<PathBuf>,
}

impl DemoArgs {
    /// The Python to run the reader with. The environment says it because `make demo` prepares one.
    fn python(&self) -> PathBuf {
        let prepared = || std::env::var_os("ANTIPODE_PYTHON").map(PathBuf::from);
        self.python.clone().or_else(prepared).unwrap_or_else(|| PathBuf::from("python3"))
    }
}

/// Tells the story; an error is a promise that was not kept.
pub async fn run(args: DemoArgs) -> Result<(), Failure> {
    let folder = folder(&args)?;
    let place = Place::new(&folder)?;
    let told = tell(&args, place).await;
    if args.keep || told.is_err() {
        println!("\neverything is left in {}", folder.display());
    } else {
        std::fs::remove_dir_all(&folder).map_err(Failure::io("removing", &folder))?;
    }
    told
}

/// The folder of the demo, which must hold nothing yet.
fn folder(args: &DemoArgs) -> Result<PathBuf, Failure> {
    let temporary = || std::env::temp_dir().join(format!("antipode-demo-{}", std::process::id()));
    let folder = args.dir.clone().unwrap_or_else(temporary);
    if std::fs::read_dir(&folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Failure::other(format!(
            "{} is not empty; the demo begins with nothing",
            folder.display()
        )));
    }
    Ok(folder)
}

async fn tell(args: &DemoArgs, place: Place) -> Result<(), Failure> {
    let mut screen = Screen::new(12);
    println!("Antipode: back up in one region, replicate, lose the region, restore in the other.");
    println!("Everything lies in {}", place.folder().display());
    let mut story = Story::begin(place, own_program()?, &mut screen).await?;
    story.make_policy(&mut screen).await?;
    story.back_up("first backup", &mut screen).await?;
    story.replicate_through_a_kill(&mut screen).await?;
    story.change_disks(&mut screen)?;
    story.back_up("second backup", &mut screen).await?;
    story.replicate_the_change(&mut screen).await?;
    story.replicate_nothing(&mut screen).await?;
    story.check_receipts(&mut screen).await?;
    story.lose_the_source_region(&mut screen).await?;
    story.restore_and_compare(&mut screen).await?;
    story.restore_from_the_bare_store(args, &mut screen).await?;
    let memory = story.end().await;
    println!("\n{}", table(&story.rows));
    println!(
        "unique: distinct 4 KiB blocks that are not zero, before compression. stored: what the step added to the vault."
    );
    for (region, bytes) in &memory {
        println!("peak memory of serve in {region}: {}", mebibytes(*bytes));
    }
    println!("all disks came back identical, {:.0} seconds in all", screen.seconds());
    match memory.iter().find(|(_, bytes)| *bytes >= MEMORY_BYTES_MAX) {
        Some((region, bytes)) => Err(Failure::other(format!("serve in {region} took {}", mebibytes(*bytes)))),
        None => Ok(()),
    }
}
