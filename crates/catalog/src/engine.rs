//! The database under the catalog: opening it, migrating it, and the transactions that every method
//! is made of. SQLite and PostgreSQL run the same statements; only what stands in this file and in
//! `migrations/` knows which of the two it is.
//!
//! Writers of SQLite take turns in memory before they ask the file for its lock, because its own
//! waiting is neither fair nor patient. On PostgreSQL writers run side by side under READ COMMITTED:
//! a method that reads before it writes first updates the row it decides on ("locks" it), and all
//! methods lock in one order: region, jobs, policies, deleted policies, quotas, grants, transfers, checkpoints, items, records,
//! restores, vaults, operations, packs, state outbox; rows of one table by rising id.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sqlx::any::{Any, AnyPoolOptions};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyPool, Executor as _, SqlSafeStr, Transaction};
use tokio::sync::{Mutex, OwnedMutexGuard};

use crate::error::CatalogError;
use crate::value::{Row, Value};

/// Connections to the database; more callers than this wait for one another.
const CONNECTIONS_MAX: u32 = 10;
/// How long a caller waits for a connection before it hears that the catalog is unavailable.
const CONNECTION_WAIT: Duration = Duration::from_secs(30);
/// What makes a commit of SQLite survive a power cut, and other processes bearable.
const SQLITE_SETTINGS: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; \
    PRAGMA busy_timeout = 30000; PRAGMA foreign_keys = ON;";

/// The metadata of one region. Clones share the database.
#[derive(Clone)]
pub struct Catalog {
    pool: AnyPool,
    engine: Engine,
    /// Held by the one writer of SQLite.
    turn: Arc<Mutex<()>>,
    /// Every statement that ran, for tests that count them and look at their plans.
    #[cfg(test)]
    pub(crate) statements: Statements,
}

#[cfg(test)]
pub(crate) type Statements = Arc<std::sync::Mutex<Vec<(String, Vec<Value>)>>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

/// Migrations in the order of their numbers: number, name, SQLite text, PostgreSQL text.
const MIGRATIONS: [(i64, &str, &str, &str); 7] = [
    (
        1,
        "first",
        include_str!("../migrations/sqlite/0001_first.sql"),
        include_str!("../migrations/postgres/0001_first.sql"),
    ),
    (
        2,
        "identity",
        include_str!("../migrations/sqlite/0002_identity.sql"),
        include_str!("../migrations/postgres/0002_identity.sql"),
    ),
    (
        3,
        "quotas and operation logs",
        include_str!("../migrations/sqlite/0003_quotas_and_operation_logs.sql"),
        include_str!("../migrations/postgres/0003_quotas_and_operation_logs.sql"),
    ),
    (
        4,
        "policies",
        include_str!("../migrations/sqlite/0004_policies.sql"),
        include_str!("../migrations/postgres/0004_policies.sql"),
    ),
    (
        5,
        "long lists",
        include_str!("../migrations/sqlite/0005_long_lists.sql"),
        include_str!("../migrations/postgres/0005_long_lists.sql"),
    ),
    (
        6,
        "sight",
        include_str!("../migrations/sqlite/0006_sight.sql"),
        include_str!("../migrations/postgres/0006_sight.sql"),
    ),
    (
        7,
        "verbs and limits",
        include_str!("../migrations/sqlite/0007_verbs_and_limits.sql"),
        include_str!("../migrations/postgres/0007_verbs_and_limits.sql"),
    ),
];

impl Catalog {
    /// Opens the catalog at `url` (`sqlite:///path/catalog.db` or `postgres://…`), creates a missing
    /// SQLite file, and brings its tables up to date.
    pub async fn open(url: &str) -> Result<Catalog, CatalogError> {
        let doing = "opening the catalog";
        let (engine, url) = match url.split_once(':').map(|(scheme, _)| scheme) {
            Some("sqlite") if url.contains('?') => (Engine::Sqlite, url.to_owned()),
            Some("sqlite") => (Engine::Sqlite, format!("{url}?mode=rwc")),
            Some("postgres" | "postgresql") => (Engine::Postgres, url.to_owned()),
            _ => {
                return Err(CatalogError::unavailable(doing, "the URL must begin with sqlite: or postgres:"));
            }
        };
        sqlx::any::install_default_drivers();
        let options = AnyPoolOptions::new().max_connections(CONNECTIONS_MAX).acquire_timeout(CONNECTION_WAIT);
        let options = match engine {
            Engine::Postgres => options,
            Engine::Sqlite => options.after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(SQLITE_SETTINGS).await?;
                    Ok(())
                })
            }),
        };
        let pool = options.connect(&url).await.map_err(|error| CatalogError::unavailable(doing, error))?;
        let catalog = Catalog {
            pool,
            engine,
            turn: Arc::default(),
            #[cfg(test)]
            statements: Statements::default(),
        };
        catalog.migrate().await?;
        Ok(catalog)
    }

    /// Opens the SQLite catalog in the file `path`, creating it if it is missing.
    pub async fn open_file(path: &Path) -> Result<Catalog, CatalogError> {
        let text = path.to_str().ok_or_else(|| {
            CatalogError::unavailable("opening the catalog", "the path of the catalog is not UTF-8")
        })?;
        let escaped = text.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        Catalog::open(&format!("sqlite://{escaped}?mode=rwc")).await
    }

    /// Waits until every transaction is over and closes the connections. Later calls fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn migrate(&self) -> Result<(), CatalogError> {
        let migrations = MIGRATIONS.map(|(number, name, sqlite, postgres)| {
            let text = if self.engine == Engine::Sqlite { sqlite } else { postgres };
            Migration::new(number, name.into(), MigrationType::Simple, text.into_sql_str(), false)
        });
        let _turn = self.turn.lock().await;
        Migrator::with_migrations(migrations.to_vec())
            .run(&self.pool)
            .await
            .map_err(|error| CatalogError::unavailable("migrating the catalog", error))
    }

    /// Begins a transaction that writes. `doing` completes "the catalog did not answer while …".
    pub(crate) async fn write(&self, doing: &'static str) -> Result<Tx, CatalogError> {
        let (turn, begin) = match self.engine {
            Engine::Sqlite => (Some(Arc::clone(&self.turn).lock_owned().await), "BEGIN IMMEDIATE"),
            Engine::Postgres => (None, "BEGIN ISOLATION LEVEL READ COMMITTED"),
        };
        let begun = self.pool.begin_with(begin).await;
        let inner = begun.map_err(|error| CatalogError::unavailable(doing, error))?;
        Ok(self.tx(inner, turn, doing))
    }

    /// Begins a transaction that only reads and sees one moment of the catalog.
    pub(crate) async fn read(&self, doing: &'static str) -> Result<Tx, CatalogError> {
        let begin = match self.engine {
            Engine::Sqlite => "BEGIN",
            Engine::Postgres => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
        };
        let begun = self.pool.begin_with(begin).await;
        let inner = begun.map_err(|error| CatalogError::unavailable(doing, error))?;
        Ok(self.tx(inner, None, doing))
    }

    fn tx(
        &self,
        inner: Transaction<'static, Any>,
        turn: Option<OwnedMutexGuard<()>>,
        doing: &'static str,
    ) -> Tx {
        Tx {
            inner,
            _turn: turn,
            doing,
            #[cfg(test)]
            statements: self.statements.clone(),
        }
    }
}

/// One transaction. Dropped without [`Tx::commit`] it never happened.
pub(crate) struct Tx {
    // The order matters: the transaction is rolled back before the next writer gets its turn.
    inner: Transaction<'static, Any>,
    _turn: Option<OwnedMutexGuard<()>>,
    doing: &'static str,
    #[cfg(test)]
    statements: Statements,
}

impl Tx {
    /// Runs a statement and tells how many rows it touched.
    pub(crate) async fn execute(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<u64, CatalogError> {
        let doing = self.doing;
        let done = self.bound(sql, values)?.execute(&mut *self.inner).await;
        Ok(done.map_err(|error| CatalogError::unavailable(doing, error))?.rows_affected())
    }

    /// Runs a statement and gives its first row, if there is one.
    pub(crate) async fn first(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<Option<Row>, CatalogError> {
        let doing = self.doing;
        let row = self.bound(sql, values)?.fetch_optional(&mut *self.inner).await;
        Ok(row.map_err(|error| CatalogError::unavailable(doing, error))?.map(|row| Row::new(row, doing)))
    }

    /// Runs a statement and gives all its rows.
    pub(crate) async fn all(
        &mut self,
        sql: impl SqlSafeStr,
        values: Vec<Value>,
    ) -> Result<Vec<Row>, CatalogError> {
        let doing = self.doing;
        let rows = self.bound(sql, values)?.fetch_all(&mut *self.inner).await;
        let rows = rows.map_err(|error| CatalogError::unavailable(doing, error))?;
        Ok(rows.into_iter().map(|row| Row::new(row, doing)).collect())
    }

    /// Makes everything done so far durable, all of it or nothing.
    pub(crate) async fn commit(self) -> Result<(), CatalogError> {
        let doing = self.doing;
        self.inner.commit().await.map_err(|error| CatalogError::unavailable(doing, error))
    }

    fn bound(&self, sql: impl SqlSafeStr, values: Vec<Value>) -> Result<Bound, CatalogError> {
        let sql = sql.into_sql_str();
        #[cfg(test)]
        self.statements
            .lock()
            .expect("no test panics while it holds them")
            .push((sql.as_str().to_owned(), values.clone()));
        let mut query = sqlx::query(sql);
        for value in values {
            query = match value {
                Value::Integer(number) => query.bind(number),
                Value::Text(text) => query.bind(text),
                Value::Blob(bytes) => query.bind(bytes),
                Value::TooLarge => return Err(CatalogError::OutOfRange { doing: self.doing }),
            };
        }
        Ok(query)
    }
}

type Bound = sqlx::query::Query<'static, Any, sqlx::any::AnyArguments>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::values;

    #[tokio::test]
    async fn a_commit_of_sqlite_is_synced_and_references_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open_file(&folder.path().join("catalog.db")).await.unwrap();
        let mut tx = catalog.read("looking at the settings").await.unwrap();
        for (pragma, expected) in [("synchronous", 2), ("foreign_keys", 1)] {
            let sql = format!("SELECT {pragma} AS setting FROM pragma_{pragma}");
            let row = tx.first(sqlx::AssertSqlSafe(sql), values![]).await.unwrap().unwrap();
            assert_eq!(row.integer("setting").unwrap(), expected, "{pragma}");
        }
        let row = tx.first("SELECT journal_mode FROM pragma_journal_mode", values![]).await.unwrap();
        assert_eq!(row.unwrap().text("journal_mode").unwrap(), "wal");
    }

    #[tokio::test]
    async fn a_dropped_transaction_never_happened_and_blocks_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = Catalog::open_file(&folder.path().join("catalog.db")).await.unwrap();
        let insert = "INSERT INTO projects (id, name, enabled, created_at) VALUES ($1, $1, 1, 0)";
        for round in 0..20 {
            let mut dropped = catalog.write("writing and forgetting").await.unwrap();
            dropped.execute(insert, values!["forgotten"]).await.unwrap();
            drop(dropped);
            let mut kept = catalog.write("writing").await.unwrap();
            kept.execute(insert, values![format!("kept {round}")]).await.unwrap();
            kept.commit().await.unwrap();
        }
        let mut tx = catalog.read("counting").await.unwrap();
        let row = tx.first("SELECT COUNT(*) AS project_count FROM projects", values![]).await.unwrap();
        assert_eq!(row.unwrap().count("project_count").unwrap(), 20);
    }
}
