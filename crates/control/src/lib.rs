//! Control: one method per use case, and the workers that carry orders out.
//!
//! A request ends when its decision is durable in the catalog; workers do the rest one step at a time
//! and may die anywhere. `control` cannot speak HTTP or SQL, because it has neither: it asks `catalog`
//! for whole transactions, `model` for decisions, `vault` and `disk` for bytes.
//!
//! Read [`replication`] first: it is the story of the product's core call. Then
//! [`replication::worker`], which moves each record forward, and [`arrivals`], the far end.
#![forbid(unsafe_code)]

pub mod access;
pub mod arrivals;
mod backup;
pub mod changes;
pub mod checkpoints;
pub mod checks;
pub mod collection;
pub mod coverage;
mod deletion;
pub mod destinations;
pub mod epochs;
pub mod error;
mod expiry;
pub mod explain;
pub mod forecast;
pub mod identity;
mod leases;
mod ledger;
pub mod lost_keys;
pub mod operation_logs;
pub mod page;
pub mod peers;
pub mod policies;
pub mod preview;
pub mod quarantine;
pub mod quotas;
pub mod rebuild;
pub mod region;
pub mod replication;
pub mod restores;
mod rollback;
mod schedule;
pub mod servers;
mod state;
pub mod tags;
mod vaults;
pub mod verification;
mod volumes;
pub mod workers;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use catalog::Catalog;
use model::ids::RegionName;
use model::time::Timestamp;
use tokio::task::{JoinError, JoinHandle};
use vault::card::RegionIdentity;
use vault::ids::Incarnation;
use vault::kek::Kek;
use vault::seams::{Clock, Entropy};
use vault::store::{ObjectStore, StoreError};
use vault::vault::VaultSettings;

pub use access::{Action, Caller};
pub use error::{Error, Kind, Reason};

use crate::collection::CollectionRules;
use crate::lost_keys::{KeyTroubles, LostKey};
use crate::peers::PeerTable;
use crate::peers::messages::PeerLinks;
use crate::policies::PolicyLimits;
use crate::vaults::Vaults;
use crate::workers::{Timer, Wakes};

/// One region at work. Clones share everything.
#[derive(Clone)]
pub struct Control {
    inner: Arc<Inner>,
}

/// What a region is made of: the seams and the opened stores.
pub struct Parts {
    /// The region's name.
    pub name: RegionName,
    /// Its catalog.
    pub catalog: Catalog,
    /// The object store under all its vaults.
    pub store: Arc<dyn ObjectStore>,
    /// Its keys and card.
    pub identity: Arc<RegionIdentity>,
    /// The key that seals its bundles and state.
    pub kek: Arc<Kek>,
    /// The public half of its offline recovery key.
    pub recovery_key: [u8; 32],
    /// This life of its catalog.
    pub incarnation: Incarnation,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
    /// Sleeps.
    pub timer: Arc<dyn Timer>,
    /// The way to its peers.
    pub links: Arc<dyn PeerLinks>,
    /// How peers reach this region; stands in invitations.
    pub peer_url: String,
    /// Where disks may lie.
    pub source_roots: Arc<disk::SourceRoots>,
    /// Where the derived indexes live.
    pub index_dir: PathBuf,
    /// Threads and memory of the vault pipelines.
    pub vault_settings: VaultSettings,
    /// How long deleted items can be had back, and when vaults are collected.
    pub collection: CollectionRules,
    /// What the policies of one project may come to.
    pub policy_limits: PolicyLimits,
}

struct Inner {
    parts: Parts,
    vaults: Vaults,
    peers: PeerTable,
    arrivals: arrivals::OpenTransfers,
    wakes: Wakes,
    turns: peers::Turns,
    send_limits: peers::SendLimits,
    circuits: replication::Circuits,
    looks: expiry::Looks,
    changes: changes::WaitingChanges,
    troubles: KeyTroubles,
    password_checks: identity::PasswordChecks,
    elsewhere: OnceLock<identity::Elsewhere>,
}

impl Control {
    /// A region over its parts; reads which peers there are, and blocks writing when the store holds what
    /// only a later catalog than this one can have numbered.
    ///
    /// # Errors
    /// `Unavailable` while catalog or store do not answer.
    pub async fn open(parts: Parts) -> Result<Control, Error> {
        Control::open_without(parts, KeyTroubles::default()).await
    }

    /// A region that runs without some of its keys: their places in the parts hold something that opens
    /// and signs nothing.
    pub async fn open_without(parts: Parts, troubles: KeyTroubles) -> Result<Control, Error> {
        rollback::stop_writing_when_rolled_back(&parts).await?;
        let ended_count = parts.catalog.end_forgotten_operations().await?;
        if ended_count > 0 {
            tracing::info!(ended_count, "ended operations that died with an earlier process");
        }
        if !troubles.lacks(LostKey::Kek) {
            identity::seal_access_keys_again(&parts).await?;
        }
        let peers = PeerTable::load(&parts.catalog).await?;
        let inner = Inner {
            vaults: Vaults::default(),
            peers,
            arrivals: arrivals::OpenTransfers::default(),
            wakes: Wakes::default(),
            turns: peers::Turns::default(),
            send_limits: peers::SendLimits::default(),
            circuits: replication::Circuits::default(),
            looks: expiry::Looks::default(),
            changes: changes::WaitingChanges::default(),
            troubles,
            password_checks: identity::PasswordChecks::default(),
            elsewhere: OnceLock::new(),
            parts,
        };
        let control = Control { inner: Arc::new(inner) };
        control.follow_limits().await?;
        Ok(control)
    }

    /// The region's name.
    pub fn region_name(&self) -> &RegionName {
        &self.inner.parts.name
    }

    /// The region's keys and card.
    pub fn identity(&self) -> &Arc<RegionIdentity> {
        &self.inner.parts.identity
    }

    /// The keys it runs without.
    pub fn troubles(&self) -> &KeyTroubles {
        &self.inner.troubles
    }

    /// Why the store takes no more writes until the process starts again, if it does not.
    pub fn store_trouble(&self) -> Option<StoreError> {
        self.inner.parts.store.require_writable().err()
    }

    /// Passes when the catalog answers.
    pub async fn ask_catalog(&self) -> Result<(), Error> {
        self.catalog().region().await?;
        Ok(())
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.inner.parts.catalog
    }

    pub(crate) fn vaults(&self) -> &Vaults {
        &self.inner.vaults
    }

    pub(crate) fn peers(&self) -> &PeerTable {
        &self.inner.peers
    }

    pub(crate) fn wakes(&self) -> &Wakes {
        &self.inner.wakes
    }

    pub(crate) fn turns(&self) -> &peers::Turns {
        &self.inner.turns
    }

    pub(crate) fn send_limits(&self) -> &peers::SendLimits {
        &self.inner.send_limits
    }

    pub(crate) fn circuits(&self) -> &replication::Circuits {
        &self.inner.circuits
    }

    pub(crate) fn looks(&self) -> &expiry::Looks {
        &self.inner.looks
    }

    pub(crate) fn changes(&self) -> &changes::WaitingChanges {
        &self.inner.changes
    }

    pub(crate) fn password_checks(&self) -> &identity::PasswordChecks {
        &self.inner.password_checks
    }

    pub(crate) fn elsewhere_cell(&self) -> &OnceLock<identity::Elsewhere> {
        &self.inner.elsewhere
    }

    pub(crate) fn open_transfers(&self) -> &arrivals::OpenTransfers {
        &self.inner.arrivals
    }

    pub(crate) fn roots(&self) -> Arc<disk::SourceRoots> {
        self.inner.parts.source_roots.clone()
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        self.inner.parts.entropy.as_ref()
    }

    pub(crate) fn entropy_bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.entropy().fill(&mut bytes);
        bytes
    }

    pub(crate) fn new_uuid_text(&self) -> String {
        model::ids::JobId::from_entropy(self.entropy_bytes()).to_string()
    }

    /// Now, by the region's clock.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.inner.parts.clock.now_ms())
    }
}

/// Runs blocking work (disk, vault, password hashes) on a thread of its own.
pub(crate) async fn blocking<T, F>(work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    joined(start_blocking(work).await)
}

/// Starts blocking work on a thread of its own, under the crash plan of whoever starts it.
pub(crate) fn start_blocking<T, F>(work: F) -> JoinHandle<T>
where
    T: Send + 'static,
    F: FnOnce() -> T + Send + 'static,
{
    let plan = vault::crash::scope();
    tokio::task::spawn_blocking(move || plan.run(work))
}

/// What a thread came to. Its death at a crash point is the death of whoever waits for it: nothing
/// durable may follow. Any other panic is a fault of ours.
pub(crate) fn joined<T>(done: Result<T, JoinError>) -> Result<T, Error> {
    let failure = match done {
        Ok(value) => return Ok(value),
        Err(failure) => failure,
    };
    match failure.try_into_panic() {
        Ok(payload) if payload.is::<vault::crash::Crash>() => std::panic::resume_unwind(payload),
        Ok(_) => Err(Error::internal("a worker thread", "it panicked")),
        Err(failure) => Err(Error::internal("a worker thread", failure)),
    }
}
