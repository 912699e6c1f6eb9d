//! Rebuild: a region's catalog from its bare store and its keys, when the catalog is lost or was rolled
//! back (`docs/rfd/0005-rebuild-from-the-store.md`).
//!
//! It fills an empty catalog that nobody serves yet, in a new life: projects, servers, policies from the
//! newest revision of their state objects; packs from their footers; items from manifests, deleted ones
//! in the quarantine that their deletion gave them. What gives power over data does not come back by itself:
//! users not at all, grants revoked, peers unconfirmed. Expiry and collection stay frozen until an operator
//! lifts that by name.

mod held;
mod recorded;
mod rows;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{CatalogError, Conflict, RebuiltRegion};
use model::grant::Grant;
use model::identity::Project;
use model::ids::{ProjectId, RegionName};
use model::time::Timestamp;
use tracing::info;
use vault::crash_point;
use vault::error::VaultError;
use vault::ids::RegionId;
use vault::rebuild::{BareStore, Believed, FoundVault, LeftOut, Lives};
use vault::state::{IncarnationRecord, StateRecord};

use crate::access::{Action, Caller};
use crate::error::Error;
use crate::peers::Peer;
use crate::state::json::BadDocument;
use crate::state::reading;
use crate::{Control, blocking};
use recorded::Recorded;

/// Why expiry and collection wait after a rebuild.
const FROZEN: &str = "the catalog was rebuilt from the store; look at what came back, then lift this by the \
                      region's name";

/// How far a rebuild is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RebuildProgress {
    /// What is going on, in a few words.
    pub doing: &'static str,
    /// Objects dealt with.
    pub done: u64,
    /// Of so many.
    pub total: u64,
    /// Bytes that these stand for; 0 where bytes say nothing.
    pub done_bytes: u64,
    /// Of so many.
    pub total_bytes: u64,
}

/// Whoever waits for a rebuild.
pub trait RebuildWatch: Send + Sync {
    /// Takes a report, from any thread. Must return at once.
    fn tell(&self, progress: RebuildProgress);
}

/// What a rebuild brought back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rebuilt {
    /// Which life of the catalog this is; the first rebuild makes life 1.
    pub generation: u32,
    /// Projects, those included of which only the id is known.
    pub project_count: u64,
    /// Servers.
    pub server_count: u64,
    /// Policies.
    pub policy_count: u64,
    /// Grants, all revoked.
    pub grant_count: u64,
    /// Peers, all unconfirmed.
    pub peer_count: u64,
    /// Vaults.
    pub vault_count: u64,
    /// Packs.
    pub pack_count: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Backups made here, incomplete ones included.
    pub item_count: u64,
    /// Replicas, incomplete ones included.
    pub replica_count: u64,
    /// Items and replicas of which the store lacks something.
    pub incomplete_count: u64,
    /// Deleted items and replicas that were not purged: they stay deleted and can be had back.
    pub deleted_count: u64,
    /// Objects that were found and not used.
    pub left_out: Vec<LeftOut>,
    /// What a person should know besides.
    pub notes: Vec<String>,
}

/// What the store told before anything was written.
struct Found {
    believed: Believed,
    recorded: Recorded,
    lives: Lives,
    vaults: Vec<FoundVault>,
    names: BTreeMap<RegionId, RegionName>,
}

impl Control {
    /// Fills the region's empty catalog from its store. The caller makes it the region's catalog
    /// afterwards; one that died half-way is thrown away.
    ///
    /// # Errors
    /// `Unavailable` when store or catalog do not answer: nothing is concluded from that. `Conflict`
    /// when the catalog holds a region already.
    pub async fn rebuild_from_store(&self, watch: Arc<dyn RebuildWatch>) -> Result<Rebuilt, Error> {
        let mut rebuilt = Rebuilt::default();
        let found = self.read_bare_store(watch.clone(), &mut rebuilt).await?;
        rebuilt.generation = found.lives.next_generation();
        self.begin_life().await?;
        self.rebuild_peers(&found, &mut rebuilt).await?;
        self.rebuild_projects(&found, &mut rebuilt).await?;
        let mut owners = self.rebuild_servers(&found, &mut rebuilt).await?;
        owners.extend(self.rebuild_policies(&found, &mut rebuilt).await?);
        self.rebuild_deleted_policies(&found).await?;
        owners.extend(self.rebuild_grants(&found, &mut rebuilt).await?);
        crash_point!("rebuild.state_written");
        let found = Arc::new(found);
        for number in 0..found.vaults.len() {
            owners.extend(self.rebuild_vault(&found, number, &watch, &mut rebuilt).await?);
            crash_point!("rebuild.vault_written");
        }
        self.rebuild_nameless_projects(owners, &mut rebuilt).await?;
        note_protected(&found.recorded, self.now(), &mut rebuilt);
        let life = IncarnationRecord { generation: rebuilt.generation, predecessors: found.lives.all() };
        self.write_state(StateRecord::Incarnation(life)).await?;
        crash_point!("rebuild.life_recorded");
        info!(
            item_count = rebuilt.item_count,
            replica_count = rebuilt.replica_count,
            left_out_count = rebuilt.left_out.len(),
            "the catalog is rebuilt"
        );
        Ok(rebuilt)
    }

    /// Lets expiry and collection go on. Asks for the region's name, because what the store did not tell
    /// is for a person to notice first.
    pub async fn lift_freeze(&self, caller: &Caller, region: &str) -> Result<(), Error> {
        caller.must_operate()?;
        if region != self.region_name().as_str() {
            return Err(Error::invalid("name", format!("type the region's name, {}", self.region_name())));
        }
        self.catalog().unfreeze().await?;
        self.wakes().scheduler.notify_one();
        Ok(())
    }

    /// What this region is and what stops it, for those who watch it.
    pub async fn region_state(&self, caller: &Caller) -> Result<catalog::Region, Error> {
        caller.may_in_region(Action::Watch)?;
        let region = self.catalog().region().await?;
        region.ok_or_else(|| Error::internal("to read the region", "its row is missing"))
    }

    async fn read_bare_store(
        &self,
        watch: Arc<dyn RebuildWatch>,
        rebuilt: &mut Rebuilt,
    ) -> Result<Found, Error> {
        let control = self.clone();
        let read = blocking(move || {
            let parts = control.parts();
            let bare = BareStore { store: parts.store.as_ref(), identity: &parts.identity, kek: &parts.kek };
            let mut left_out = Vec::new();
            let believed = bare.believed(&mut left_out)?;
            let mut recorded = Recorded::default();
            let mut told = |done, total| {
                watch.tell(RebuildProgress {
                    doing: "reading state objects",
                    done,
                    total,
                    ..Default::default()
                })
            };
            let mut take = |generation, object| recorded.take(generation, object);
            let lives = bare.read_state(&believed.own, &mut left_out, &mut told, &mut take)?;
            let vaults = bare.vaults(&believed.own, &mut left_out)?;
            let mut names = BTreeMap::new();
            for peer in &believed.peers {
                match peer.card.fields().name.parse::<RegionName>() {
                    Ok(name) => {
                        names.insert(peer.card.region(), name);
                    }
                    Err(error) => {
                        left_out.push(LeftOut::new(format!("card of {}", peer.card.region()), error))
                    }
                }
            }
            Ok::<_, VaultError>((Found { believed, recorded, lives, vaults, names }, left_out))
        })
        .await??;
        rebuilt.left_out.extend(read.1);
        Ok(read.0)
    }

    /// Writes the region's row. No head that an earlier life showed can have a counter as high as the
    /// milliseconds of the clock, one head being given in minutes.
    async fn begin_life(&self) -> Result<(), Error> {
        let region = RebuiltRegion {
            name: self.region_name().clone(),
            region_id: self.identity().region().0,
            incarnation: self.parts().incarnation.0,
            head_counter: self.parts().clock.now_ms(),
            frozen_reason: FROZEN.to_owned(),
        };
        Ok(self.catalog().rebuild_region(&region, self.now()).await?)
    }

    /// Peers come back without power and without an address: their signatures on replicas are believed,
    /// they themselves are not let in until the two operators have paired again.
    async fn rebuild_peers(&self, found: &Found, rebuilt: &mut Rebuilt) -> Result<(), Error> {
        for pinned in &found.believed.peers {
            let Some(name) = found.names.get(&pinned.card.region()) else { continue };
            let peer = Peer {
                name: name.clone(),
                url: String::new(),
                card: pinned.card.clone(),
                is_confirmed: false,
                pairing_code: String::new(),
                paired_at: Timestamp::from_millis(pinned.pinned_at_ms),
            };
            let put = self.catalog().put_peer(&peer.row(self.now())).await;
            if kept(put, &format!("region {name}"), &mut rebuilt.notes)? {
                rebuilt.peer_count += 1;
            }
        }
        self.peers().reload(self.catalog()).await
    }

    async fn rebuild_projects(&self, found: &Found, rebuilt: &mut Rebuilt) -> Result<(), Error> {
        for record in found.recorded.projects() {
            let what = format!("project {}", record.project_id);
            let Some(project) = understood(reading::project_of(record), &what, &mut rebuilt.notes) else {
                continue;
            };
            if kept(self.catalog().rebuild_project(&project).await, &what, &mut rebuilt.notes)? {
                rebuilt.project_count += 1;
            }
        }
        Ok(())
    }

    async fn rebuild_servers(
        &self,
        found: &Found,
        rebuilt: &mut Rebuilt,
    ) -> Result<BTreeSet<ProjectId>, Error> {
        let mut owners = BTreeSet::new();
        for record in found.recorded.servers() {
            let what = format!("server {}", record.server_id);
            let Some(server) = understood(reading::server_of(record), &what, &mut rebuilt.notes) else {
                continue;
            };
            if kept(self.catalog().rebuild_server(&server).await, &what, &mut rebuilt.notes)? {
                rebuilt.server_count += 1;
                owners.insert(server.project_id);
            }
        }
        Ok(owners)
    }

    /// Newest first: where two say that they protect one server, the older one was about to lose it.
    async fn rebuild_policies(
        &self,
        found: &Found,
        rebuilt: &mut Rebuilt,
    ) -> Result<BTreeSet<ProjectId>, Error> {
        let mut owners = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for record in found.recorded.policies() {
            let what = format!("policy {}", record.policy_id);
            let Some(mut policy) = understood(reading::policy_of(record), &what, &mut rebuilt.notes) else {
                continue;
            };
            policy.resources.retain(|resource| taken.insert(resource.id.clone()));
            if kept(self.catalog().rebuild_policy(&policy).await, &what, &mut rebuilt.notes)? {
                rebuilt.policy_count += 1;
                owners.insert(policy.project_id);
            }
        }
        Ok(owners)
    }

    /// Deleted policies leave their ids, with who adopted their backups.
    async fn rebuild_deleted_policies(&self, found: &Found) -> Result<(), Error> {
        for deleted in found.recorded.deleted_policies() {
            self.catalog().rebuild_deleted_policy(&deleted).await?;
        }
        Ok(())
    }

    /// Grants come back revoked: what arrived under them keeps its papers, nothing new arrives until the
    /// project's admin grants it again.
    async fn rebuild_grants(
        &self,
        found: &Found,
        rebuilt: &mut Rebuilt,
    ) -> Result<BTreeSet<ProjectId>, Error> {
        let mut owners = BTreeSet::new();
        for record in found.recorded.grants() {
            let what = format!("grant {}", model::ids::GrantId::from_bytes(record.grant.0));
            let Some(grant) = understood(reading::grant_of(record), &what, &mut rebuilt.notes) else {
                continue;
            };
            let grant = Grant { revoked_at: Some(grant.revoked_at.unwrap_or(self.now())), ..grant };
            if kept(self.catalog().rebuild_grant(&grant).await, &what, &mut rebuilt.notes)? {
                rebuilt.grant_count += 1;
                owners.insert(grant.destination_project_id);
            }
        }
        Ok(owners)
    }

    /// A project that owns something and left no record gets its id as its name.
    async fn rebuild_nameless_projects(
        &self,
        owners: BTreeSet<ProjectId>,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), Error> {
        for id in owners {
            if crate::page::found(self.catalog().project(&id).await)?.is_some() {
                continue;
            }
            let name = id.to_string();
            let description = String::new();
            let project = Project { id, name, description, enabled: true, created_at: self.now() };
            let what = format!("project {}", project.id);
            if kept(self.catalog().rebuild_project(&project).await, &what, &mut rebuilt.notes)? {
                rebuilt.project_count += 1;
                rebuilt.notes.push(format!("{what}: its name is not in the store; it is named by its id"));
            }
        }
        Ok(())
    }
}

/// What a record means; one that cannot be understood is told and left out.
fn understood<T>(read: Result<T, BadDocument>, what: &str, notes: &mut Vec<String>) -> Option<T> {
    match read {
        Ok(value) => Some(value),
        Err(error) => {
            notes.push(format!("{what} was left out: {error}"));
            None
        }
    }
}

/// Whether a row was written. A conflict with a newer one is told; trouble with the catalog ends the
/// rebuild.
fn kept(written: Result<(), CatalogError>, what: &str, notes: &mut Vec<String>) -> Result<bool, Error> {
    match written {
        Ok(()) => Ok(true),
        Err(CatalogError::Conflict(conflict @ Conflict::Blocked { .. })) => Err(conflict.into()),
        Err(CatalogError::Conflict(conflict)) => {
            notes.push(format!("{what} was left out: {conflict}"));
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

/// This version keeps no locks and holds in its catalog: what the store says of them is told, and the
/// freeze protects it meanwhile.
fn note_protected(recorded: &Recorded, now: Timestamp, rebuilt: &mut Rebuilt) {
    for ((kind, id), (lock, is_held)) in recorded.protected(now.millis()) {
        if let Some(lock) = lock {
            let until = Timestamp::from_millis(lock.until_ms);
            rebuilt
                .notes
                .push(format!("{kind:?} {id} is locked ({:?}) until {until}: keep the freeze", lock.mode));
        }
        if is_held {
            rebuilt.notes.push(format!("{kind:?} {id} is under a legal hold: keep the freeze"));
        }
    }
}
