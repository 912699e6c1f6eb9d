//! `antipode serve`: one region at work. Opens keys, store, catalog and listeners, starts the workers,
//! and ends cleanly when asked to. All wiring is here; no rule is.

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use catalog::{Catalog, CatalogError};
use clap::Args;
use control::collection::CollectionRules;
use control::peers::messages::PeerLinks;
use control::policies::PolicyLimits;
use control::servers::{NewServer, NewVolume};
use control::verification::VerificationPlan;
use control::workers::{Timer, WorkerCounts, Workers};
use control::{Control, Parts};
use disk::{DiskError, SourceRoots};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{error, info};
use vault::collect::CollectSettings;
use vault::error::VaultError;
use vault::ids::{Incarnation, RegionId};
use vault::store::{LocalStore, ObjectStore, StoreError};
use vault::vault::VaultSettings;

use crate::config::{Config, ConfigError, LogFormat};
use crate::http::listener::ConnectionLimits;
use crate::http::{self, Limits, Site};
use crate::key::HeldKeys;
use crate::keystone::Keystone;
use crate::open_files::connections_within_limit;
use crate::peer::client::{ClientLimits, NoLinks, PeerClient};
use crate::peer::identity::{TlsIdentity, TlsIdentityError};
use crate::peer::listener::{self, ListenerError, ListenerLimits};
use crate::world::{SystemClock, SystemEntropy, SystemTimer};

/// `antipode serve`
#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// The region's configuration
    #[arg(long, value_name = "FILE", default_value = "antipode.toml")]
    pub config: PathBuf,
    /// End at once, as if killed, when standard input ends: for a parent that must not be outlived
    #[arg(long, hide = true)]
    pub ends_with_stdin: bool,
}

/// How long a starting process waits for one that is ending to leave the data folder, in looks of 50 ms.
const LOCK_LOOKS_MAX: u32 = 100;
const LOCK_LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Why a region could not be made or started.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant says its sentence")]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Refused(String),
    #[error("{doing} {path}")]
    Io {
        doing: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("opening the catalog")]
    Catalog(#[from] CatalogError),
    #[error("opening the object store")]
    Store(#[from] StoreError),
    #[error(transparent)]
    Vault(#[from] VaultError),
    #[error("opening the TLS key")]
    Tls(#[from] TlsIdentityError),
    #[error("opening the source roots")]
    Roots(#[from] DiskError),
    #[error(transparent)]
    Control(#[from] control::Error),
    #[error("listening for peers")]
    Peers(#[from] ListenerError),
}

impl StartError {
    /// Trouble with a file.
    pub(crate) fn io(doing: &'static str, path: &Path, cause: io::Error) -> StartError {
        StartError::Io { doing, path: path.to_owned(), cause }
    }
}

/// Serves a region until SIGTERM or SIGINT.
pub async fn run(config: Config) -> Result<(), StartError> {
    start_log(&config);
    crate::peer::install_crypto_provider();
    let _lock = lock_data(&config).await?;
    let store: Arc<dyn ObjectStore> = Arc::new(LocalStore::open(&config.storage.store_dir())?);
    let catalog = Catalog::open(&catalog_url(&config)?).await?;
    if config.storage.catalog_url_file.is_none() {
        // The lock says that no other process works on this catalog: what a killed one had claimed is free.
        catalog.release_leases().await?;
    }
    let (control, tls) = open_control(&config, catalog.clone(), store).await?;
    for trouble in control.troubles().iter() {
        error!("{trouble}");
    }
    if let Some(keystone) = Keystone::of(&config.identity)? {
        control.ask_elsewhere(Arc::new(keystone));
    }
    if control.troubles().may_write() {
        register_servers(&control, &config).await?;
    }
    let api = bind(config.api.listen).await?;
    // Peers bring what has to be sealed and signed.
    let answering = match tls.filter(|_| control.troubles().may_write()) {
        Some(tls) => Some((bind(config.peer.listen).await?, tls)),
        None => None,
    };
    let workers = Workers::start(&control, worker_counts(&config));
    info!(region = %config.region.name, api = %config.api.listen, peer = %config.peer.listen, "serving");

    let (stopping, stopped) = watch::channel(false);
    let site = Site {
        api_url: config.api.url.clone().unwrap_or_else(|| format!("http://{}", config.api.listen)),
        limits: Limits {
            body_bytes_max: config.api.body_bytes_max,
            body_timeout_seconds: config.api.body_timeout_seconds,
        },
        entropy: Arc::new(SystemEntropy),
    };
    let limits = ConnectionLimits {
        connections_max: connections_within_limit(config.api.connections_max, config.peer.connections_max),
        header_timeout: Duration::from_secs(config.api.header_timeout_seconds),
        reader_timeout: Duration::from_secs(config.api.reader_timeout_seconds),
        shutdown: Duration::from_secs(config.api.shutdown_seconds),
    };
    let serving = tokio::spawn(http::listener::serve(
        api,
        http::router(control.clone(), site),
        limits,
        stopped.clone(),
    ));
    let answering = answering.map(|(peers, tls)| {
        tokio::spawn(answer_peers(peers, tls, Arc::new(control.clone()), peer_limits(&config), stopped))
    });
    wait_for_signal().await?;
    info!("stopping");
    stopping.send_replace(true);
    workers.stop().await;
    let _ = serving.await;
    if let Some(answering) = answering
        && let Ok(ended) = answering.await
    {
        ended?;
    }
    catalog.close().await;
    Ok(())
}

fn peer_limits(config: &Config) -> ListenerLimits {
    ListenerLimits {
        connections: config.peer.connections_max as usize,
        stop: Duration::from_secs(config.api.shutdown_seconds),
        ..ListenerLimits::default()
    }
}

async fn answer_peers(
    peers: TcpListener,
    tls: TlsIdentity,
    service: Arc<Control>,
    limits: ListenerLimits,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), ListenerError> {
    let stop = async move {
        let _ = stopped.wait_for(|is_stopping| *is_stopping).await;
    };
    listener::serve(peers, &tls, service, limits, stop).await
}

/// Refuses to go on without a key that changes need.
pub(crate) fn require_keys(control: &Control) -> Result<(), StartError> {
    match control.troubles().iter().next() {
        Some(trouble) if !control.troubles().may_write() => Err(StartError::Refused(trouble.to_string())),
        _ => Ok(()),
    }
}

/// The region's control over opened stores, with the keys that can be used. Also used by `init`, before
/// anybody listens.
pub(crate) async fn open_control(
    config: &Config,
    catalog: Catalog,
    store: Arc<dyn ObjectStore>,
) -> Result<(Control, Option<TlsIdentity>), StartError> {
    let row = catalog.region().await?;
    let row =
        row.ok_or_else(|| StartError::Refused("the region was not made yet; call antipode init, or, when its catalog was lost, antipode rebuild --from-store".into()))?;
    if row.name != config.region.name {
        return Err(StartError::Refused(format!("the catalog belongs to region {}", row.name)));
    }
    let life = Life { region: RegionId(row.region_id), incarnation: Incarnation(row.incarnation) };
    control_over(config, catalog, store, life).await
}

/// A region, and which life of its catalog this is.
pub(crate) struct Life {
    pub(crate) region: RegionId,
    pub(crate) incarnation: Incarnation,
}

/// The region's control over a catalog that nobody has to have filled yet, with the keys that can be used.
pub(crate) async fn control_over(
    config: &Config,
    catalog: Catalog,
    store: Arc<dyn ObjectStore>,
    life: Life,
) -> Result<(Control, Option<TlsIdentity>), StartError> {
    let keys = HeldKeys::load(config, store.as_ref(), life.region)?;
    let links: Arc<dyn PeerLinks> = match &keys.tls {
        Some(tls) => Arc::new(PeerClient::new(tls, ClientLimits::default())),
        None => Arc::new(NoLinks),
    };
    let forbidden =
        vec![config.storage.data_dir.clone(), config.storage.keys_dir.clone(), config.storage.store_dir()];
    let parts = Parts {
        name: config.region.name.clone(),
        catalog,
        store,
        identity: Arc::new(keys.identity),
        kek: Arc::new(keys.kek),
        recovery_key: keys.recovery_key,
        incarnation: life.incarnation,
        clock: Arc::new(SystemClock),
        entropy: Arc::new(SystemEntropy),
        timer: Arc::new(SystemTimer),
        links,
        peer_url: config.peer.url.clone().unwrap_or_else(|| format!("https://{}", config.peer.listen)),
        source_roots: Arc::new(SourceRoots::new(config.sources.roots.clone(), forbidden)?),
        index_dir: config.storage.data_dir.join("index"),
        vault_settings: vault_settings(config),
        collection: collection_rules(config),
        policy_limits: PolicyLimits {
            policies_max: most(config.policies.count_max),
            servers_max: most(config.policies.servers_max),
        },
    };
    Ok((Control::open_without(parts, keys.troubles).await?, keys.tls))
}

/// A limit of the configuration: 0 means none.
fn most(count: u32) -> Option<u32> {
    (count > 0).then_some(count)
}

/// Registers the servers that the configuration lists and the catalog does not know.
async fn register_servers(control: &Control, config: &Config) -> Result<(), StartError> {
    for server in &config.servers {
        let missing =
            || StartError::Refused(format!("server {}: there is no project {}", server.id, server.project));
        let volume = |volume: &crate::config::Volume| NewVolume {
            id: Some(volume.id.clone()),
            name: volume.name.clone(),
            path: volume.path.clone(),
            format: volume.format,
            bootable: volume.bootable,
        };
        let new = NewServer {
            id: Some(server.id.clone()),
            project_id: control.project_named(&server.project).await?.ok_or_else(missing)?,
            name: server.name.clone(),
            volumes: server.volumes.iter().map(volume).collect(),
        };
        control.ensure_server(new).await?;
    }
    Ok(())
}

/// Where the catalog is: a file's secret URL, or SQLite in the data folder.
pub(crate) fn catalog_url(config: &Config) -> Result<String, StartError> {
    match &config.storage.catalog_url_file {
        Some(path) => {
            let url = std::fs::read_to_string(path);
            Ok(url.map_err(|cause| StartError::io("reading", path, cause))?.trim().to_owned())
        }
        None => {
            let path = config.storage.data_dir.join("catalog.db");
            let path = path.to_str().ok_or_else(|| StartError::Refused("data_dir is not UTF-8".into()))?;
            Ok(format!("sqlite://{path}"))
        }
    }
}

fn collection_rules(config: &Config) -> CollectionRules {
    let defaults = CollectionRules::default();
    let limits =
        CollectSettings { rewrite_below_percent: config.keep.rewrite_below_percent, ..defaults.limits };
    CollectionRules {
        quarantine_seconds: i64::from(config.keep.quarantine_days) * 86_400,
        every_seconds: i64::from(config.keep.collect_every_hours) * 3600,
        limits,
    }
}

fn vault_settings(config: &Config) -> VaultSettings {
    let defaults =
        VaultSettings { opens_before_storing: config.work.opens_before_storing, ..VaultSettings::default() };
    match config.work.seal_threads {
        0 => defaults,
        threads => VaultSettings { threads: threads.max(2), ..defaults },
    }
}

fn worker_counts(config: &Config) -> WorkerCounts {
    let count = |max: u32| u16::try_from(max).unwrap_or(u16::MAX);
    WorkerCounts {
        backup: count(config.work.backups_max),
        replicate: count(config.work.replications_max),
        restore: count(config.work.restores_max),
        verification: VerificationPlan {
            deep_days: config.work.verify_deep_days,
            quick_days: config.work.verify_quick_days,
            bytes_per_second: u64::from(config.work.verify_mib_per_second) << 20,
        },
    }
}

/// One process per data folder. The lock file names the process, for whoever wonders.
pub(crate) async fn lock_data(config: &Config) -> Result<File, StartError> {
    let path = config.storage.lock_file();
    let open = File::options().create(true).truncate(false).write(true).open(&path);
    let mut file = open.map_err(|cause| StartError::io("opening", &path, cause))?;
    for _ in 0..LOCK_LOOKS_MAX {
        match file.try_lock() {
            Ok(()) => {
                let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
                written.map_err(|cause| StartError::io("writing", &path, cause))?;
                return Ok(file);
            }
            Err(TryLockError::WouldBlock) => SystemTimer.sleep(LOCK_LOOK_AGAIN).await,
            Err(TryLockError::Error(cause)) => return Err(StartError::io("locking", &path, cause)),
        }
    }
    let holder = std::fs::read_to_string(&path).unwrap_or_default();
    Err(StartError::Refused(format!(
        "another process ({holder}) serves {}",
        config.storage.data_dir.display()
    )))
}

/// Ends this process without any goodbye as soon as standard input ends.
pub fn end_with_stdin() {
    std::thread::spawn(|| {
        // An unreadable input is an ended one.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(1);
    });
}

async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, StartError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|cause| StartError::io("listening on", Path::new(&address.to_string()), cause))
}

async fn wait_for_signal() -> Result<(), StartError> {
    let doing = "waiting for signals";
    let failed = |cause| StartError::io(doing, Path::new("-"), cause);
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn start_log(config: &Config) {
    let filter = tracing_subscriber::EnvFilter::try_new(&config.log.level)
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match config.log.format {
        LogFormat::Text => builder.with_ansi(false).try_init(),
        LogFormat::Json => builder.json().try_init(),
    };
    // A log that another part of the process started is as good.
    drop(started);
}
