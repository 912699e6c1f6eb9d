//! The configuration: one TOML file, read once into [`Config`]. Unknown keys are refused, every
//! default stands in [`EXAMPLE`] (a test compares the two), and secrets are paths to files, never
//! values. Nothing deeper in the program reads the environment.

mod identity;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use model::ids::{BadId, RegionName, ResourceId, VolumeId};
use model::server::VolumeFormat;
use serde::Deserialize;
use vault::kek::file::PassphraseCost;

pub use self::identity::{Identity, Roles};

/// The commented configuration that `antipode init` writes: every key with its default. The keys
/// without a default (`region.name`, `storage.data_dir`, `storage.keys_dir`) carry examples.
pub const EXAMPLE: &str = include_str!("config_example.toml");

/// The file in the data folder that the serving process holds locked.
pub const LOCK_FILE: &str = "lock";

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        cause: std::io::Error,
    },
    /// The file is not the TOML we know: a wrong type, an unknown key, a bad value.
    #[error("the configuration {path} is not valid: {reason}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong and where.
        reason: String,
    },
}

/// Everything `antipode serve` is told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which region this is.
    pub region: Region,
    /// Where it keeps its things.
    pub storage: Storage,
    /// How its KEK is kept.
    #[serde(default)]
    pub keys: Keys,
    /// Who says who callers are.
    #[serde(default)]
    pub identity: Identity,
    /// The listener of the API.
    #[serde(default)]
    pub api: Api,
    /// The listener for other regions.
    #[serde(default)]
    pub peer: Peer,
    /// Where servers' disks may lie.
    #[serde(default)]
    pub sources: Sources,
    /// How much work at once.
    #[serde(default)]
    pub work: Work,
    /// How long deleted backups can be had back, and when space is freed.
    #[serde(default)]
    pub keep: Keep,
    /// What the policies of a project may come to.
    #[serde(default)]
    pub policies: Policies,
    /// The log on standard error.
    #[serde(default)]
    pub log: Log,
    /// Servers to register at the start, if the catalog does not know them yet.
    #[serde(default)]
    pub servers: Vec<Server>,
}

/// `[[servers]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Its id; may be the id of an existing cloud.
    #[serde(deserialize_with = "parsed")]
    pub id: ResourceId,
    /// The name of the project that owns it.
    pub project: String,
    /// What people call it.
    pub name: String,
    /// Its disks.
    pub volumes: Vec<Volume>,
}

/// `[[servers.volumes]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Volume {
    /// Its id; may be the id of an existing cloud.
    #[serde(deserialize_with = "parsed")]
    pub id: VolumeId,
    /// What people call it.
    pub name: String,
    /// The file or device; under one of `sources.roots`.
    pub path: String,
    /// How the bytes lie there: `raw`.
    #[serde(deserialize_with = "volume_format")]
    pub format: VolumeFormat,
    /// Whether the server boots from it.
    #[serde(default)]
    pub bootable: bool,
}

/// `[region]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Region {
    /// The name that peers and clients know this region by.
    #[serde(deserialize_with = "parsed")]
    pub name: RegionName,
}

/// `[storage]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Catalog, index and spool of this process.
    pub data_dir: PathBuf,
    /// Keys. Must lie outside `data_dir` and the store.
    pub keys_dir: PathBuf,
    /// The object store; `data_dir/store` when left out.
    #[serde(default)]
    pub store_dir: Option<PathBuf>,
    /// A file that holds the URL of a PostgreSQL catalog; SQLite in `data_dir` when left out.
    #[serde(default)]
    pub catalog_url_file: Option<PathBuf>,
}

impl Storage {
    /// The folder of the object store.
    pub fn store_dir(&self) -> PathBuf {
        self.store_dir.clone().unwrap_or_else(|| self.data_dir.join("store"))
    }

    /// The file that the serving process holds locked and writes its process id to.
    pub fn lock_file(&self) -> PathBuf {
        self.data_dir.join(LOCK_FILE)
    }
}

/// `[keys]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keys {
    /// How a new KEK is kept, by `init` and by `key rotate`. One that is there stays as it is.
    pub kek: KekConfig,
    /// A private file with the passphrase of the KEK; asked for at a terminal when left out.
    pub passphrase_file: Option<PathBuf>,
    /// Memory that deriving a KEK from a passphrase takes, in KiB.
    pub passphrase_memory_kib: u32,
    /// Passes over it.
    pub passphrase_passes: u32,
    /// Lanes.
    pub passphrase_lanes: u32,
}

impl Default for Keys {
    fn default() -> Keys {
        let PassphraseCost { memory_kib, passes, lanes } = PassphraseCost::DEFAULT;
        Keys {
            kek: KekConfig::File,
            passphrase_file: None,
            passphrase_memory_kib: memory_kib,
            passphrase_passes: passes,
            passphrase_lanes: lanes,
        }
    }
}

/// How a KEK is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KekConfig {
    /// In a file of the keys folder.
    File,
    /// Derived from a passphrase.
    Passphrase,
}

/// `[api]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Api {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How clients reach it, without a trailing slash; `http://` and the address listened on when
    /// left out. It stands in the service catalogue and in `next` links.
    pub url: Option<String>,
    /// The most connections at once. Beyond them one that waits for its client gives way to a new one.
    pub connections_max: u32,
    /// How long a client may take for the head of a request, or leave a connection idle.
    pub header_timeout_seconds: u64,
    /// How long a client may take for the body of a request.
    pub body_timeout_seconds: u64,
    /// How long a client may leave an answer unread.
    pub reader_timeout_seconds: u64,
    /// The largest body of a request.
    pub body_bytes_max: u64,
    /// How long running requests may take to end once the process was asked to stop.
    pub shutdown_seconds: u64,
}

impl Default for Api {
    fn default() -> Api {
        Api {
            listen: SocketAddr::from(([127, 0, 0, 1], 8780)),
            url: None,
            connections_max: 1024,
            header_timeout_seconds: 15,
            body_timeout_seconds: 30,
            reader_timeout_seconds: 30,
            body_bytes_max: 1024 * 1024,
            shutdown_seconds: 10,
        }
    }
}

/// `[peer]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Peer {
    /// Where to listen for other regions.
    pub listen: SocketAddr,
    /// How other regions reach it; stands in invitations. `https://` and the address listened on
    /// when left out.
    pub url: Option<String>,
    /// The most connections at once.
    pub connections_max: u32,
}

impl Default for Peer {
    fn default() -> Peer {
        Peer { listen: SocketAddr::from(([127, 0, 0, 1], 8781)), url: None, connections_max: 256 }
    }
}

/// `[sources]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sources {
    /// Folders under which volumes may lie. A volume elsewhere cannot be registered or opened.
    pub roots: Vec<PathBuf>,
}

/// `[work]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Work {
    /// Backups that run at once; each uses all cores.
    pub backups_max: u32,
    /// Restores that run at once.
    pub restores_max: u32,
    /// Replication records that move at once.
    pub replications_max: u32,
    /// Threads that compress and seal; 0 means one a core.
    pub seal_threads: u32,
    /// Whether every chunk is opened again, and its id computed anew, before it is stored.
    pub opens_before_storing: bool,
    /// Every pack is read whole within so many days; 0 for never.
    pub verify_deep_days: u32,
    /// Every pack is looked at within so many days; 0 for never.
    pub verify_quick_days: u32,
    /// At most so many MiB are read in a second to verify.
    pub verify_mib_per_second: u32,
}

impl Default for Work {
    fn default() -> Work {
        Work {
            backups_max: 1,
            restores_max: 1,
            replications_max: 2,
            seal_threads: 0,
            opens_before_storing: true,
            verify_deep_days: 30,
            verify_quick_days: 1,
            verify_mib_per_second: 32,
        }
    }
}

/// `[keep]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Keep {
    /// Days for which a deleted or expired backup can be had back.
    pub quarantine_days: u32,
    /// A vault is collected by itself at most this often.
    pub collect_every_hours: u32,
    /// A pack is rewritten when less than this share of it is needed, in percent; 0 means never.
    pub rewrite_below_percent: u8,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { quarantine_days: 7, collect_every_hours: 24, rewrite_below_percent: 50 }
    }
}

/// `[policies]`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Policies {
    /// The most policies of one project; 0 means no limit.
    pub count_max: u32,
    /// The most servers of one policy; 0 means no limit.
    pub servers_max: u32,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or directives such as `info,control=debug`.
    pub level: String,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Log {
        Log { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Config {
    /// Reads and checks a configuration file. Relative paths count from the file's own folder.
    pub fn read(path: &Path) -> Result<Config, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|cause| ConfigError::Unreadable { path: path.to_owned(), cause })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        Config::parse(&text, folder).map_err(|reason| ConfigError::Invalid { path: path.to_owned(), reason })
    }

    /// Parses a configuration text whose relative paths count from `folder`. The error says what is
    /// wrong and where.
    pub fn parse(text: &str, folder: &Path) -> Result<Config, String> {
        let mut config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.anchor(folder);
        config.check()?;
        Ok(config)
    }

    fn anchor(&mut self, folder: &Path) {
        let storage = &mut self.storage;
        let optional = storage.store_dir.iter_mut().chain(storage.catalog_url_file.iter_mut());
        let optional = optional.chain(self.keys.passphrase_file.iter_mut()).chain(self.identity.paths());
        let plain = [&mut storage.data_dir, &mut storage.keys_dir].into_iter();
        for path in plain.chain(optional).chain(self.sources.roots.iter_mut()) {
            *path = folder.join(path.as_path());
        }
    }

    fn check(&self) -> Result<(), String> {
        let storage = &self.storage;
        for (name, other) in [("storage.data_dir", &storage.data_dir), ("the store", &storage.store_dir())] {
            if storage.keys_dir.starts_with(other) || other.starts_with(&storage.keys_dir) {
                return Err(format!("storage.keys_dir and {name} must not contain one another"));
            }
        }
        for root in &self.sources.roots {
            for (name, own) in
                [("storage.data_dir", &storage.data_dir), ("storage.keys_dir", &storage.keys_dir)]
            {
                if root.starts_with(own) {
                    return Err(format!("sources.roots: {} lies inside {name}", root.display()));
                }
            }
        }
        for (name, url) in [("api.url", &self.api.url), ("peer.url", &self.peer.url)] {
            if url.as_ref().is_some_and(|url| !is_base_url(url)) {
                return Err(format!("{name} must be http:// or https://, a host, and no trailing slash"));
            }
        }
        self.identity.check()?;
        self.check_limits()
    }

    fn check_limits(&self) -> Result<(), String> {
        let limits = [
            ("api.connections_max", u64::from(self.api.connections_max)),
            ("api.header_timeout_seconds", self.api.header_timeout_seconds),
            ("api.body_timeout_seconds", self.api.body_timeout_seconds),
            ("api.reader_timeout_seconds", self.api.reader_timeout_seconds),
            ("api.body_bytes_max", self.api.body_bytes_max),
            ("peer.connections_max", u64::from(self.peer.connections_max)),
            ("keep.collect_every_hours", u64::from(self.keep.collect_every_hours)),
            ("work.backups_max", u64::from(self.work.backups_max)),
            ("work.restores_max", u64::from(self.work.restores_max)),
            ("work.replications_max", u64::from(self.work.replications_max)),
        ];
        match limits.iter().find(|(_, limit)| *limit == 0) {
            Some((name, _)) => Err(format!("{name} must be at least 1")),
            None if self.keep.rewrite_below_percent > 100 => {
                Err("keep.rewrite_below_percent must be at most 100".to_owned())
            }
            None => Ok(()),
        }
    }
}

fn is_base_url(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/') && !rest.contains(['?', '#', ' ']))
}

fn parsed<'de, T, D>(deserializer: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err = BadId>,
    D: serde::Deserializer<'de>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}

fn volume_format<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<VolumeFormat, D::Error> {
    let word = String::deserialize(deserializer)?;
    VolumeFormat::from_word(&word)
        .ok_or_else(|| serde::de::Error::custom(format!("unknown volume format {word:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = "[region]\nname = \"a\"\n[storage]\ndata_dir = \"data\"\nkeys_dir = \"keys\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(text, Path::new("/etc/antipode"))
    }

    #[test]
    fn the_example_writes_out_every_default() {
        let uncommented: String = EXAMPLE
            .lines()
            .map(|line| line.strip_prefix("#: ").unwrap_or(line))
            .filter(|line| !line.starts_with('#'))
            .map(|line| format!("{line}\n"))
            .collect();
        let shown = parse(&uncommented).unwrap();
        let least = parse(LEAST).unwrap();
        assert_eq!(shown.api, Api { url: shown.api.url.clone(), ..least.api });
        assert_eq!(shown.peer, Peer { url: shown.peer.url.clone(), ..least.peer });
        assert_eq!((shown.work, shown.log), (least.work, least.log));
        let passphrase_file = shown.keys.passphrase_file.clone();
        assert_eq!(shown.keys, Keys { passphrase_file, ..least.keys });
        assert_eq!((shown.keep, shown.policies), (least.keep, least.policies));
        let given = shown.identity.clone();
        let (keystone_url, ca_file, password_file) = (given.keystone_url, given.ca_file, given.password_file);
        assert_eq!(shown.identity, Identity { keystone_url, ca_file, password_file, ..least.identity });
    }

    #[test]
    fn unknown_keys_are_refused_by_name() {
        for (text, key) in [
            (format!("{LEAST}[apis]\n"), "apis"),
            (format!("{LEAST}[api]\nlisen = \"127.0.0.1:1\"\n"), "lisen"),
            (format!("{LEAST}password = \"x\"\n"), "password"),
        ] {
            let reason = parse(&text).unwrap_err();
            assert!(reason.contains(key), "{reason}");
        }
    }

    #[test]
    fn keys_may_not_lie_with_the_data_they_lock() {
        let text = "[region]\nname = \"a\"\n[storage]\ndata_dir = \"data\"\nkeys_dir = \"data/keys\"\n";
        assert!(parse(text).unwrap_err().contains("keys_dir"));
        let text = format!("{LEAST}[sources]\nroots = [\"data/disks\"]\n");
        assert!(parse(&text).unwrap_err().contains("sources.roots"));
    }

    #[test]
    fn servers_can_be_listed_and_a_bad_one_is_refused() {
        let server = "[[servers]]\nid = \"s1\"\nproject = \"a\"\nname = \"web\"\n[[servers.volumes]]\nid = \"v1\"\n\
                      name = \"root\"\npath = \"/srv/root.raw\"\nformat = \"raw\"\n";
        let config = parse(&format!("{LEAST}{server}")).unwrap();
        assert_eq!(config.servers[0].volumes[0].format, VolumeFormat::Raw);
        for (good, bad) in [("\"s1\"", "\"../s\""), ("\"raw\"", "\"qcow2\""), ("path", "paths")] {
            assert!(parse(&format!("{LEAST}{}", server.replace(good, bad))).is_err(), "{bad}");
        }
    }

    #[test]
    fn bad_values_are_refused() {
        for bad in [
            "[keep]\nrewrite_below_percent = 101\n",
            "[api]\nconnections_max = 0\n",
            "[api]\nurl = \"ftp://x\"\n",
            "[identity]\nkeystone_url = \"https://k/v3\"\n",
            "[identity]\nkeystone_url = \"k\"\npassword_file = \"p\"\n",
            "[identity.roles]\nking = [\"admin\"]\n",
            "[work]\nbackups_max = -1\n",
        ] {
            assert!(parse(&format!("{LEAST}{bad}")).is_err(), "{bad}");
        }
        assert!(parse(&LEAST.replace("\"a\"", "\"../a\"")).is_err());
    }

    #[test]
    fn relative_paths_count_from_the_folder_of_the_file() {
        let config = parse(LEAST).unwrap();
        assert_eq!(config.storage.data_dir, Path::new("/etc/antipode/data"));
        assert_eq!(config.storage.store_dir(), Path::new("/etc/antipode/data/store"));
    }
}
