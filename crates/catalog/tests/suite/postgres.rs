//! A private PostgreSQL for one test: its own folder, a socket in it and no port, gone at the end.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use catalog::Catalog;
use sqlx::AnyPool;

use super::world::World;

const BINARIES: &str = "/usr/lib/postgresql/15/bin";
const TEMPLATE: &str = "template_catalog";

pub(crate) struct Server {
    folder: tempfile::TempDir,
    user: Option<(u32, u32)>,
    admin: AnyPool,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let is_installed = Path::new(BINARIES).join("initdb").exists();
        assert!(
            is_installed,
            "PostgreSQL 15 is not installed in {BINARIES}; install the package postgresql-15"
        );
        let folder = tempfile::tempdir().unwrap();
        let user = user_for_postgres();
        if let Some((uid, gid)) = user {
            chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        let data = folder.path().join("data");
        run(
            user,
            "initdb",
            &["-D", text(&data), "-A", "trust", "-U", "catalog", "-E", "UTF8", "--locale=C", "-N"],
        );
        let options = format!(
            "-c listen_addresses= -c unix_socket_directories={} -c fsync=off -c max_connections=200",
            folder.path().display()
        );
        let log = folder.path().join("log");
        run(user, "pg_ctl", &["-D", text(&data), "-l", text(&log), "-o", &options, "-w", "start"]);
        let admin_url = url_of(folder.path(), "postgres");
        sqlx::any::install_default_drivers();
        let admin = AnyPool::connect(&admin_url).await.unwrap();
        let server = Server { folder, user, admin };
        server.create(TEMPLATE, "template1").await;
        Catalog::open(&url_of(server.folder.path(), TEMPLATE)).await.unwrap().close().await;
        server
    }

    /// A world with a database of its own.
    pub(crate) async fn world(&self, name: &str) -> World {
        // Names of databases have 63 bytes at most; cases may share a beginning.
        let short: String = name.chars().take(40).collect();
        let database = format!("{short}_{}", name.len());
        self.create(&database, TEMPLATE).await;
        World::open(&url_of(self.folder.path(), &database), None).await
    }

    async fn create(&self, database: &str, template: &str) {
        let sql = format!("CREATE DATABASE {database} TEMPLATE {template}");
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&self.admin).await.unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let data = self.folder.path().join("data");
        let stopped =
            command(self.user, "pg_ctl", &["-D", text(&data), "-m", "immediate", "-w", "stop"]).status();
        if !stopped.is_ok_and(|status| status.success()) {
            eprintln!("the PostgreSQL in {} did not stop", data.display());
        }
    }
}

fn url_of(folder: &Path, database: &str) -> String {
    let host = text(folder).replace('/', "%2F");
    format!("postgres://catalog@{host}/{database}")
}

/// PostgreSQL refuses to run as root; then its own user runs it.
fn user_for_postgres() -> Option<(u32, u32)> {
    let own = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata("/proc/self").unwrap());
    if own != 0 {
        return None;
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with("postgres:")).expect("a user named postgres");
    let fields: Vec<&str> = line.split(':').collect();
    Some((fields[2].parse().unwrap(), fields[3].parse().unwrap()))
}

fn command(user: Option<(u32, u32)>, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(PathBuf::from(BINARIES).join(program));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

fn run(user: Option<(u32, u32)>, program: &str, arguments: &[&str]) {
    let status = command(user, program, arguments).status().unwrap();
    assert!(status.success(), "{program} {arguments:?} ended with {status}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
