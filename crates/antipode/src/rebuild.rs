//! `antipode rebuild --from-store`: a lost catalog again, from the object store and the keys folder
//! (`docs/rfd/0005-rebuild-from-the-store.md`). The new catalog is filled beside its place and moved
//! there as the last step; a rebuild that died is begun again from nothing.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use catalog::Catalog;
use clap::Args;
use control::rebuild::{RebuildProgress, RebuildWatch, Rebuilt};
use control::region::FirstUser;
use tokio::task::spawn_blocking;
use vault::card::RootKey;
use vault::crash_point;
use vault::ids::Incarnation;
use vault::seams::Clock;
use vault::store::{LocalStore, ObjectStore};

use crate::cli::{ProgressDisplay, ProgressShown};
use crate::config::Config;
use crate::serve::{self, StartError};
use crate::world::{SystemClock, SystemEntropy};

/// The catalog while it is being filled, in the data folder.
const UNFINISHED: &str = "catalog.rebuilding.db";
/// The catalog, in the data folder.
const CATALOG: &str = "catalog.db";
/// What SQLite keeps beside a file that is in use.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// How often progress is shown, in milliseconds.
const SHOW_EVERY_MS: u64 = 200;
/// How many objects that were left out, or notes, are printed.
const LINES_MAX: usize = 50;

/// `antipode rebuild`
#[derive(Clone, Debug, Args)]
pub struct RebuildArgs {
    /// Read everything from the object store; there is no other source
    #[arg(long, required = true)]
    pub from_store: bool,
    /// The region's configuration
    #[arg(long, value_name = "FILE", default_value = "antipode.toml")]
    pub config: PathBuf,
    /// Name of the operator to make: users are not in the store
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub admin: String,
    /// File that holds the operator's password
    #[arg(long, value_name = "FILE")]
    pub password_file: PathBuf,
}

/// Runs `antipode rebuild`.
pub async fn run(args: RebuildArgs, is_json: bool) -> Result<(), StartError> {
    let config = Config::read(&args.config)?;
    let password = fs::read_to_string(&args.password_file)
        .map_err(|cause| StartError::io("reading the password", &args.password_file, cause))?;
    let first = FirstUser { name: args.admin, password: password.trim_end_matches('\n').to_owned() };
    let watch = Arc::new(Screen::new());
    let rebuilt = rebuild(&config, first, watch.clone()).await;
    watch.end();
    tell(&rebuilt?, &config, is_json)
        .map_err(|cause| StartError::io("writing to the terminal", Path::new("-"), cause))
}

/// Rebuilds the catalog of a region that is not being served.
///
/// # Errors
/// `Refused` when a catalog is there, another process serves the region, or the catalog is no file.
pub async fn rebuild(
    config: &Config,
    first: FirstUser,
    watch: Arc<dyn RebuildWatch>,
) -> Result<Rebuilt, StartError> {
    if config.storage.catalog_url_file.is_some() {
        let why = "the catalog is in PostgreSQL, and only a catalog in a file can be rebuilt yet; take \
                   catalog_url_file out of the configuration to rebuild into a file";
        return Err(StartError::Refused(why.into()));
    }
    let _lock = serve::lock_data(config).await?;
    let data = &config.storage.data_dir;
    refuse_a_catalog(data)?;
    let (unfinished, place) = (data.join(UNFINISHED), data.join(CATALOG));
    remove_file_and_companions(&unfinished)?;

    let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::open(&config.storage.store_dir())?);
    let root = RootKey::load(&config.storage.keys_dir.join("root"))?;
    let catalog = Catalog::open_file(&unfinished).await?;
    let life = serve::Life { region: root.region_id(), incarnation: Incarnation::generate(&SystemEntropy) };
    let (control, _) = serve::control_over(config, catalog.clone(), store, life).await?;
    serve::require_keys(&control)?;
    let rebuilt = control.rebuild_from_store(watch).await?;
    control.ensure_first_user(first).await?;
    drop(control);
    catalog.close().await;

    let (from, to) = (unfinished.clone(), place.clone());
    let moved = spawn_blocking(move || move_into_place(&from, &to)).await;
    moved.map_err(|error| StartError::Refused(format!("moving the catalog: {error}")))??;
    crash_point!("rebuild.moved");
    Ok(rebuilt)
}

fn refuse_a_catalog(data: &Path) -> Result<(), StartError> {
    for suffix in [""].iter().chain(&COMPANIONS) {
        let path = data.join(format!("{CATALOG}{suffix}"));
        if path.symlink_metadata().is_ok() {
            return Err(StartError::Refused(format!(
                "{} is there, and a rebuild never replaces a catalog; if it is the damaged or rolled-back one, \
                 move it and its companions (-wal, -shm) to another folder first",
                path.display()
            )));
        }
    }
    Ok(())
}

fn remove_file_and_companions(path: &Path) -> Result<(), StartError> {
    for suffix in [""].iter().chain(&COMPANIONS) {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match fs::remove_file(&name) {
            Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => {
                let doing = "removing what a rebuild that died has left";
                return Err(StartError::io(doing, Path::new(&name), cause));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The file is whole once SQLite has closed it: what it kept beside it is merged and gone.
fn move_into_place(unfinished: &Path, place: &Path) -> Result<(), StartError> {
    let mut wal = unfinished.as_os_str().to_owned();
    wal.push(COMPANIONS[0]);
    if fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0) {
        return Err(StartError::Refused(format!("{} was not closed as a whole", unfinished.display())));
    }
    let moved = || {
        File::open(unfinished)?.sync_all()?;
        // Linking never replaces anything, whatever came there meanwhile.
        fs::hard_link(unfinished, place)?;
        fs::remove_file(unfinished)?;
        File::open(place.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    moved().map_err(|cause| StartError::io("moving the catalog to", place, cause))
}

/// Shows progress a few times a second.
struct Screen {
    shown: Mutex<(ProgressDisplay, u64, &'static str)>,
}

impl Screen {
    fn new() -> Screen {
        Screen { shown: Mutex::new((ProgressDisplay::new("rebuild"), 0, "")) }
    }

    fn end(&self) {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).0.end();
    }
}

impl RebuildWatch for Screen {
    fn tell(&self, progress: RebuildProgress) {
        let now_ms = SystemClock.now_ms();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (display, at_ms, doing) = &mut *shown;
        let is_due = now_ms.abs_diff(*at_ms) >= SHOW_EVERY_MS;
        if *doing == progress.doing && !is_due && progress.done < progress.total {
            return;
        }
        (*at_ms, *doing) = (now_ms, progress.doing);
        display.show(&ProgressShown {
            message: format!("{}: {} of {}", progress.doing, progress.done, progress.total),
            done_bytes: progress.done_bytes,
            total_bytes: progress.total_bytes,
            is_over: false,
        });
    }
}

fn tell(rebuilt: &Rebuilt, config: &Config, is_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    if is_json {
        let left_out: Vec<_> = rebuilt
            .left_out
            .iter()
            .map(|left_out| serde_json::json!({ "name": left_out.name, "why": left_out.why }))
            .collect();
        return writeln!(
            out,
            "{}",
            serde_json::json!({
                "generation": rebuilt.generation, "projects": rebuilt.project_count,
                "servers": rebuilt.server_count, "policies": rebuilt.policy_count,
                "grants": rebuilt.grant_count, "peers": rebuilt.peer_count, "vaults": rebuilt.vault_count,
                "packs": rebuilt.pack_count, "pack_bytes": rebuilt.pack_bytes, "items": rebuilt.item_count,
                "replicas": rebuilt.replica_count, "incomplete": rebuilt.incomplete_count,
                "deleted": rebuilt.deleted_count, "left_out": left_out, "notes": rebuilt.notes,
            })
        );
    }
    writeln!(
        out,
        "the catalog of {} is rebuilt, life {}\n  projects  {:>8}\n  servers   {:>8}\n  policies  {:>8}\n  \
         packs     {:>8}  {:.1} MiB\n  backups   {:>8}\n  replicas  {:>8}\n  incomplete{:>8}\n  deleted   {:>8}  \
         and staying so: antipode item list --deleted shows those that can be had back",
        config.region.name,
        rebuilt.generation,
        rebuilt.project_count,
        rebuilt.server_count,
        rebuilt.policy_count,
        rebuilt.pack_count,
        rebuilt.pack_bytes as f64 / 1_048_576.0,
        rebuilt.item_count,
        rebuilt.replica_count,
        rebuilt.incomplete_count,
        rebuilt.deleted_count,
    )?;
    for note in rebuilt.notes.iter().take(LINES_MAX) {
        writeln!(out, "  note: {note}")?;
    }
    for left_out in rebuilt.left_out.iter().take(LINES_MAX) {
        writeln!(out, "  left out: {}: {}", left_out.name, left_out.why)?;
    }
    for (count, what) in [(rebuilt.notes.len(), "notes"), (rebuilt.left_out.len(), "objects left out")] {
        if count > LINES_MAX {
            writeln!(out, "  … {count} {what} in all; --json shows them")?;
        }
    }
    writeln!(
        out,
        "not brought back, by intent:\n  users     one operator was made; make the others and give them their roles\n  \
         grants    {} came back revoked; admins of the projects grant again\n  peers     {} came back without power; pair \
         again: antipode region invite NAME\n  expiry and collection are frozen; look at what came back, then:\n    \
         antipode region unfreeze {}",
        rebuilt.grant_count, rebuilt.peer_count, config.region.name
    )
}
