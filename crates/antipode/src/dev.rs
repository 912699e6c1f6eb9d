//! `antipode dev`: two regions on this machine, ready for use, in the foreground until Ctrl-C. A quick start,
//! a test bed, and an emulator for whoever develops against the API.
//!
//! [`setup`] makes the regions ready and can be repeated; [`process`] owns the two `serve` processes;
//! [`api`] and [`region`] speak the public API. The demo and the end-to-end tests use the same parts.

pub mod api;
pub mod failure;
pub mod place;
pub mod process;
pub mod region;
pub mod setup;

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use self::failure::Failure;
use self::place::Place;
use self::setup::{Region, SetUp};
use crate::demo::disks::{Content, DiskPlan, MEBIBYTE, ServerPlan};

/// How often the processes are looked at while nothing else happens.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// `antipode dev`
#[derive(Clone, Debug, Args)]
pub struct DevArgs {
    /// Folder for everything; made if missing, continued with if not
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Names of the two regions
    #[arg(long, value_name = "A,B", value_delimiter = ',', default_value = "cn-north-1,cn-east-2")]
    pub regions: Vec<String>,
    /// First of the four ports in a row to listen on; free ones if left out
    #[arg(long, value_name = "N")]
    pub port_base: Option<u16>,
}

/// The demo servers of each region: small, real disks.
const SERVERS: [ServerPlan; 2] = [
    ServerPlan {
        name: "web1",
        disks: &[DiskPlan {
            name: "root",
            size_bytes: 96 * MEBIBYTE,
            content: Content::Ext4 { file_bytes: 32 * MEBIBYTE, skip_files: 0 },
        }],
    },
    ServerPlan {
        name: "db1",
        disks: &[
            DiskPlan {
                name: "root",
                size_bytes: 96 * MEBIBYTE,
                content: Content::Ext4 { file_bytes: 32 * MEBIBYTE, skip_files: 200 },
            },
            DiskPlan {
                name: "data",
                size_bytes: 64 * MEBIBYTE,
                content: Content::Pages { written_bytes: 24 * MEBIBYTE },
            },
        ],
    },
];

/// Sets up both regions, prints one JSON line when they are ready, and stays until Ctrl-C. `is_quiet` leaves
/// out everything on standard error but errors.
pub async fn run(args: DevArgs, is_quiet: bool) -> Result<(), Failure> {
    let [a, b]: [String; 2] =
        args.regions.try_into().map_err(|_| Failure::other("--regions takes two names, such as a,b"))?;
    let order = SetUp {
        place: Place::new(&args.dir)?,
        regions: [(a, &SERVERS), (b, &SERVERS)],
        port_base: args.port_base,
        binary: own_program()?,
    };
    let mut say = |line: &str| {
        if !is_quiet {
            eprintln!("{line}");
        }
    };
    let mut end = Box::pin(await_end()?);
    let mut regions = tokio::select! {
        ready = setup::set_up(&order, &mut say) => ready?,
        () = &mut end => return Ok(()),
    };
    let description = setup::describe(&regions);
    description.write(&order.place)?;
    say(&format!("ready; {} says how to use it; Ctrl-C ends it", order.place.description().display()));
    println!("{}", description.line());
    std::io::stdout().flush().map_err(|cause| Failure::Io { doing: "printing".to_owned(), cause })?;
    let watched = tokio::select! {
        failure = watch(&mut regions) => Err(failure),
        () = &mut end => Ok(()),
    };
    say("stopping");
    for region in &mut regions {
        region.process.stop().await;
    }
    watched
}

/// This very program, from which the regions are started.
pub(crate) fn own_program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|cause| Failure::Io { doing: "finding this program".to_owned(), cause })
}

/// A future that ends at Ctrl-C or when the process is asked to end. The handlers stand when this returns.
fn await_end() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let no_handler = |cause| Failure::Io { doing: "listening for signals".to_owned(), cause };
    let mut interrupt = signal(SignalKind::interrupt()).map_err(no_handler)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(no_handler)?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => (),
            _ = terminate.recv() => (),
        }
    })
}

/// Answers only when a region ended by itself.
async fn watch(regions: &mut [Region; 2]) -> Failure {
    let mut ticks = tokio::time::interval(LOOK_AGAIN);
    loop {
        ticks.tick().await;
        for region in regions.iter_mut() {
            if let Some(status) = region.process.ended() {
                let log_tail = region.process.log_tail();
                return Failure::Ended { region: region.name.clone(), status: status.to_string(), log_tail };
            }
        }
    }
}
