//! The tables under the index: sorted bytes to bytes, on disk or, for simulations, in memory.
//!
//! Writes are atomic over all tables. On disk they may be lost by a power cut, but only from the end:
//! the watermark is written with the rows it vouches for, so a shortened history is followed again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};

use fjall::compaction::Leveled;
use fjall::config::{BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry, PartitioningPolicy};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};

use super::{IndexSettings, failed};
use crate::error::VaultError;

/// One table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    /// Identity and watermark.
    Meta,
    /// Pack number → name, liveness.
    Packs,
    /// Address → place.
    Objects,
    /// Address ‖ pack number → place, for objects that lie in more than one pack.
    Copies,
    /// Dedup id → address and place.
    Known,
}

const NAMES: [&str; 5] = ["meta", "packs", "objects", "copies", "known"];

/// Rows to be written together.
#[derive(Default)]
pub(super) struct Rows {
    rows: Vec<(Table, Vec<u8>, Vec<u8>)>,
}

impl Rows {
    pub(super) fn put(&mut self, table: Table, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) {
        self.rows.push((table, key.into(), value.into()));
    }
}

/// Key and value.
pub(super) type Row = (Vec<u8>, Vec<u8>);

type MemoryTable = BTreeMap<Vec<u8>, Vec<u8>>;

pub(super) enum Tables {
    Disk { database: Database, keyspaces: Vec<Keyspace> },
    Memory(RwLock<[MemoryTable; NAMES.len()]>),
}

/// Keys are random and most look-ups miss: so every filter is cut into pieces of which one is read, and the
/// first level is small enough that merging into it does not rewrite it ten times over.
fn options(settings: &IndexSettings) -> KeyspaceCreateOptions {
    let levels = Leveled::default().with_table_target_size(2 * settings.gather_bytes);
    KeyspaceCreateOptions::default()
        .max_memtable_size(settings.gather_bytes)
        .compaction_strategy(Arc::new(levels))
        .filter_block_partitioning_policy(PartitioningPolicy::all(true))
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0))))
}

impl Tables {
    /// Tables that are gone with the process.
    pub(super) fn in_memory() -> Tables {
        Tables::Memory(RwLock::default())
    }

    /// Tables in a folder, which is created when absent.
    pub(super) fn open(folder: &Path, settings: &IndexSettings) -> fjall::Result<Tables> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        // Two threads: rows are written out while tables are merged, or writers wait for a merge.
        let builder = Database::builder(folder).cache_size(settings.cache_bytes).worker_threads(2);
        let database: Database = builder.max_journaling_size(64 << 20).max_cached_files(Some(128)).open()?;
        let keyspace = |name: &&str| database.keyspace(name, || options(settings));
        let keyspaces = NAMES.iter().map(keyspace).collect::<fjall::Result<Vec<Keyspace>>>()?;
        Ok(Tables::Disk { database, keyspaces })
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> fjall::Result<Option<Vec<u8>>> {
        match self {
            Tables::Disk { keyspaces, .. } => Ok(keyspaces[table as usize].get(key)?.map(|row| row.to_vec())),
            Tables::Memory(tables) => {
                let tables = tables.read().unwrap_or_else(PoisonError::into_inner);
                Ok(tables[table as usize].get(key).cloned())
            }
        }
    }

    /// Hands on the rows whose keys begin with `prefix`, in order, until `take` says it has enough.
    pub(super) fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        take: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> fjall::Result<()> {
        match self {
            Tables::Disk { keyspaces, .. } => {
                for row in keyspaces[table as usize].prefix(prefix) {
                    let (key, value) = row.into_inner()?;
                    if take(&key, &value) {
                        break;
                    }
                }
            }
            Tables::Memory(tables) => {
                let tables = tables.read().unwrap_or_else(PoisonError::into_inner);
                let from = tables[table as usize].range(prefix.to_vec()..);
                let _ =
                    from.take_while(|(key, _)| key.starts_with(prefix)).any(|(key, value)| take(key, value));
            }
        }
        Ok(())
    }

    /// Writes all rows or none.
    pub(super) fn write(&self, rows: Rows) -> fjall::Result<()> {
        match self {
            Tables::Disk { database, keyspaces } => {
                let mut batch = database.batch();
                for (table, key, value) in rows.rows {
                    batch.insert(&keyspaces[table as usize], key, value);
                }
                batch.commit()
            }
            Tables::Memory(tables) => {
                let mut tables = tables.write().unwrap_or_else(PoisonError::into_inner);
                for (table, key, value) in rows.rows {
                    tables[table as usize].insert(key, value);
                }
                Ok(())
            }
        }
    }

    /// Writes rows in rising order of their keys into an empty table, past memory. Durable when it returns.
    pub(super) fn fill(
        &self,
        table: Table,
        rows: &mut dyn Iterator<Item = Result<Row, VaultError>>,
    ) -> Result<(), VaultError> {
        let doing = "filling it";
        match self {
            Tables::Disk { keyspaces, .. } => {
                let mut ingestion = keyspaces[table as usize].start_ingestion().map_err(failed(doing))?;
                for row in rows {
                    let (key, value) = row?;
                    ingestion.write(key, value).map_err(failed(doing))?;
                }
                ingestion.finish().map_err(failed(doing))
            }
            Tables::Memory(tables) => {
                let mut tables = tables.write().unwrap_or_else(PoisonError::into_inner);
                for row in rows {
                    let (key, value) = row?;
                    tables[table as usize].insert(key, value);
                }
                Ok(())
            }
        }
    }
}
