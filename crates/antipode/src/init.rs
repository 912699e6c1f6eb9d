//! `antipode init`: makes a region. Keys, store, catalog, first user, recovery kit and configuration.
//!
//! The kit is the only way back when the keys are lost, so `init` does not end until it was read back
//! from wherever it was copied to, or waived by the region's name. Every step looks before it makes:
//! an `init` that was cut off is finished by calling it again.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use catalog::Catalog;
use clap::Args;
use control::region::{FirstUser, KeyFiles, ensure_row};
use model::ids::{ProjectId, RegionName};
use vault::card::RootKey;
use vault::ids::to_hex;
use vault::key_file::{create_key_file, load_key_file};
use vault::layout;
use vault::recovery::shares::Split;
use vault::recovery::{RecoveryKit, RecoverySeed};
use vault::store::LocalStore;
use vault::store::ObjectStore;

use crate::config::{Config, KekConfig};
use crate::key::{kek_plan, key_files, new_passphrase, read_kit, share_path, write_sheets};
use crate::peer::identity::TlsIdentity;
use crate::serve::{self, StartError};
use crate::world::{SystemClock, SystemEntropy};

/// The configuration file in a region's folder.
pub const CONFIG: &str = "antipode.toml";
/// The public half of the recovery key, in the keys folder.
pub(crate) const RECOVERY: &str = "recovery-public";

/// A region to be made.
#[derive(Clone, Debug)]
pub struct NewRegion {
    /// Where its configuration, data and keys go.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// Where the API listens.
    pub api_listen: SocketAddr,
    /// Where other regions reach it.
    pub peer_listen: SocketAddr,
    /// Where servers' disks may lie.
    pub source_roots: Vec<PathBuf>,
    /// The first operator.
    pub admin_name: String,
    /// A file that holds the operator's password.
    pub admin_password_file: PathBuf,
    /// Where the recovery kit is written.
    pub kit: PathBuf,
    /// How the kit is split into shares, if it is.
    pub kit_shares: Option<Split>,
    /// The file of the KEK's passphrase, when the KEK is to come from one.
    pub kek_passphrase_file: Option<PathBuf>,
}

/// A region that was made.
#[derive(Clone, Debug)]
pub struct Initialised {
    /// Its configuration.
    pub config: PathBuf,
    /// The first project, named as the region.
    pub project_id: ProjectId,
    /// Where its recovery kit lies.
    pub kit: PathBuf,
    /// The fingerprint of its root key.
    pub root_fingerprint: String,
}

/// `antipode init`
#[derive(Clone, Debug, Args)]
pub struct InitArgs {
    /// Folder for configuration, data and keys
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,
    /// Where the API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8780")]
    pub api_listen: SocketAddr,
    /// Where other regions reach this one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8781")]
    pub peer_listen: SocketAddr,
    /// Folder under which servers' disks lie; may be repeated
    #[arg(long = "source-root", value_name = "DIR")]
    pub source_roots: Vec<PathBuf>,
    /// Name of the first operator
    #[arg(long, value_name = "NAME", default_value = "admin")]
    pub admin: String,
    /// File that holds the operator's password
    #[arg(long, value_name = "FILE")]
    pub password_file: PathBuf,
    /// Derive the KEK from the passphrase in this file, which must stay readable for the region alone
    #[arg(long, value_name = "FILE")]
    pub kek_passphrase_file: Option<PathBuf>,
    /// Where to write the recovery kit; DIR/recovery-kit.txt when left out
    #[arg(long, value_name = "FILE")]
    pub kit: Option<PathBuf>,
    /// Split the kit: 3/5 makes five sheets, any three of which are the kit
    #[arg(long, value_name = "K/N")]
    pub kit_shares: Option<String>,
    /// A copy of the kit to read back, instead of being asked; for shares, repeated
    #[arg(long, value_name = "FILE")]
    pub kit_copy: Vec<PathBuf>,
    /// Go on without reading the kit back; the region's name
    #[arg(long, value_name = "NAME")]
    pub waive_kit: Option<String>,
}

/// Runs `antipode init` for the region of `--region`.
pub async fn run(args: InitArgs, region: Option<String>) -> Result<(), StartError> {
    let region =
        region.ok_or_else(|| StartError::Refused("init needs --region NAME, such as cn-north-1".into()))?;
    let kit = args.kit.clone().unwrap_or_else(|| args.dir.join("recovery-kit.txt"));
    let made = init_region(NewRegion {
        folder: args.dir.clone(),
        name: region.clone(),
        api_listen: args.api_listen,
        peer_listen: args.peer_listen,
        source_roots: args.source_roots.clone(),
        admin_name: args.admin.clone(),
        admin_password_file: args.password_file.clone(),
        kit,
        kit_shares: args.kit_shares.as_ref().map(|shares| shares.parse()).transpose()?,
        kek_passphrase_file: absolute(args.kek_passphrase_file.as_deref())?,
    })
    .await?;
    let mut out = std::io::stdout();
    let told = writeln!(
        out,
        "region {} is made\n  configuration     {}\n  first project     {}\n  root fingerprint  {}\n  recovery kit      {}\n\n\
         The kit alone, with the object store, restores every backup when all keys are lost.\n\
         Copy it to where the loss of this building does not reach it, then remove it from this machine.",
        region,
        made.config.display(),
        made.project_id,
        made.root_fingerprint,
        made.kit.display()
    );
    told.map_err(|cause| StartError::io("writing to the terminal", Path::new("-"), cause))?;
    prove_kit(&args, &region, &made)
}

/// The configuration's own relative paths count from its folder, those of a command from where it was given.
fn absolute(path: Option<&Path>) -> Result<Option<PathBuf>, StartError> {
    let absolute = path.map(|path| {
        std::path::absolute(path).map_err(|cause| StartError::io("reading the passphrase", path, cause))
    });
    absolute.transpose()
}

/// Ends only when a copy of the kit was read back, or the kit was waived by the region's name.
fn prove_kit(args: &InitArgs, region: &str, made: &Initialised) -> Result<(), StartError> {
    let config = Config::read(&made.config)?;
    if let Some(name) = &args.waive_kit {
        return if name == region {
            Ok(())
        } else {
            Err(StartError::Refused(format!("--waive-kit takes the region's name, {region}")))
        };
    }
    if !args.kit_copy.is_empty() {
        return prove_copy(&config, &args.kit_copy);
    }
    let mut lines = std::io::stdin().lock().lines();
    loop {
        println!("\nPath of the copy to read back, or paths of enough shares (or: waive {region}):");
        let line = match lines.next() {
            Some(Ok(line)) => line.trim().to_owned(),
            _ => {
                let why = "the recovery kit was not read back; call init again with --kit-copy FILE or --waive-kit NAME";
                return Err(StartError::Refused(why.into()));
            }
        };
        if line == format!("waive {region}") {
            return Ok(());
        }
        let paths: Vec<PathBuf> = match Path::new(&line).exists() {
            true => vec![PathBuf::from(&line)],
            false => line.split_whitespace().map(PathBuf::from).collect(),
        };
        match prove_copy(&config, &paths) {
            Ok(()) => {
                println!("the copy is good");
                return Ok(());
            }
            Err(error) => println!("{error}"),
        }
    }
}

fn prove_copy(config: &Config, copies: &[PathBuf]) -> Result<(), StartError> {
    let root = RootKey::load(&config.storage.keys_dir.join("root"))?;
    let recovery_key = recovery_key(&config.storage.keys_dir)?;
    Ok(read_kit(copies)?.belongs_to(&root.public(), &recovery_key)?)
}

/// Makes a region, or finishes making it.
pub async fn init_region(new: NewRegion) -> Result<Initialised, StartError> {
    let name: RegionName =
        new.name.parse().map_err(|error: model::ids::BadId| StartError::Refused(error.to_string()))?;
    make_private_folder(&new.folder)?;
    let path = new.folder.join(CONFIG);
    if !path.exists() {
        write_private(&path, config_text(&new).as_bytes())?;
    }
    let config = Config::read(&path)?;
    if config.region.name != name {
        return Err(StartError::Refused(format!(
            "{} is the configuration of another region",
            path.display()
        )));
    }
    for folder in [&config.storage.data_dir, &config.storage.keys_dir, &config.storage.store_dir()] {
        make_private_folder(folder)?;
    }
    let keys_dir = config.storage.keys_dir.clone();
    let store = Arc::new(LocalStore::open(&config.storage.store_dir())?);
    let is_new = store.list(layout::CARDS_PREFIX)?.is_empty();
    let tls = match TlsIdentity::load(&keys_dir) {
        Ok(tls) => tls,
        // The card of a region that was made before names the key that is lost: another one is no help.
        Err(_) if is_new && !keys_dir.join("tls").exists() => TlsIdentity::create(&keys_dir, &SystemEntropy)?,
        Err(error) => return Err(error.into()),
    };
    let keys = new_key_files(&config)?;
    let made = keys.ensure(store.as_ref(), &name, tls.tls_key_hash(), &SystemClock, &SystemEntropy)?;
    make_kit(&keys_dir, &name, &new.kit, new.kit_shares)?;
    let catalog = Catalog::open(&serve::catalog_url(&config)?).await?;
    let region_id = made.identity.region();
    ensure_row(&catalog, &name, region_id, &SystemClock, &SystemEntropy).await?;
    let password = fs::read_to_string(&new.admin_password_file)
        .map_err(|cause| StartError::io("reading the password", &new.admin_password_file, cause))?;
    let (control, _) = serve::open_control(&config, catalog, store as Arc<dyn ObjectStore>).await?;
    serve::require_keys(&control)?;
    let first = FirstUser { name: new.admin_name, password: password.trim_end_matches('\n').to_owned() };
    let (project_id, _) = control.ensure_first_user(first).await?;
    let root_fingerprint = to_hex(&made.identity.card().root_key().fingerprint());
    Ok(Initialised { config: path, project_id, kit: new.kit, root_fingerprint })
}

/// The key files; where a first KEK is to come from a passphrase, with it.
fn new_key_files(config: &Config) -> Result<KeyFiles, StartError> {
    let is_new = !config.storage.keys_dir.join("kek").exists();
    if !is_new || config.keys.kek == KekConfig::File {
        return key_files(config);
    }
    let passphrase = new_passphrase(config.keys.passphrase_file.as_deref())?;
    Ok(KeyFiles::new(&config.storage.keys_dir).with_plan(kek_plan(config)).with_passphrase(passphrase))
}

/// Writes kit and public key, kit first: a public key without its kit would be a lie.
fn make_kit(keys_dir: &Path, name: &RegionName, kit: &Path, split: Option<Split>) -> Result<(), StartError> {
    if keys_dir.join(RECOVERY).exists() {
        return Ok(());
    }
    let root = RootKey::load(&keys_dir.join("root"))?;
    let seed = RecoverySeed::generate(&SystemEntropy);
    let public = seed.receiving_key().public();
    let shares = (1..=split.map_or(0, Split::count)).map(|number| share_path(kit, number));
    for unfinished in shares.chain([kit.to_owned()]).filter(|path| path.exists()) {
        fs::remove_file(&unfinished)
            .map_err(|cause| StartError::io("replacing an unfinished kit", &unfinished, cause))?;
    }
    write_sheets(&RecoveryKit::new(seed, &root.public()), name.as_str(), kit, split, &SystemEntropy)?;
    create_key_file(&keys_dir.join(RECOVERY), RECOVERY, &public)?;
    Ok(())
}

/// The public half of the recovery key.
pub(crate) fn recovery_key(keys_dir: &Path) -> Result<[u8; 32], StartError> {
    Ok(*load_key_file::<32>(&keys_dir.join(RECOVERY), RECOVERY)?)
}

fn config_text(new: &NewRegion) -> String {
    let roots: Vec<String> =
        new.source_roots.iter().map(|root| format!("{:?}", root.display().to_string())).collect();
    let keys = match &new.kek_passphrase_file {
        None => String::new(),
        Some(file) => {
            format!("[keys]\nkek = \"passphrase\"\npassphrase_file = {:?}\n\n", file.display().to_string())
        }
    };
    format!(
        "[region]\nname = {:?}\n\n[storage]\ndata_dir = \"data\"\nkeys_dir = \"keys\"\n\n{keys}\
         [api]\nlisten = \"{}\"\n\n[peer]\nlisten = \"{}\"\n\n[sources]\nroots = [{}]\n",
        new.name,
        new.api_listen,
        new.peer_listen,
        roots.join(", ")
    )
}

fn make_private_folder(path: &Path) -> Result<(), StartError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|cause| StartError::io("making a folder", path, cause))
}

/// Writes a new file that only its owner can read, durable when this returns.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), StartError> {
    let written = || {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    written().map_err(|cause| StartError::io("writing", path, cause))
}
