//! One vault of a bare store: its packs, its manifests, and which of them are items that live on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use catalog::{NewVault, RebuiltItem, RebuiltQuarantine, RebuiltVault, Replica, VaultSource};
use model::ids::{OperationId, ProjectId};
use model::time::Timestamp;
use vault::error::VaultError;
use vault::ids::{ItemId, ManifestDigest, VaultId};
use vault::keys::DomainKeys;
use vault::layout::{self, PackName};
use vault::manifest::{MANIFEST_BYTES_MAX, Manifest, ManifestFields};
use vault::progress::NoProgress;
use vault::rebuild::{BareStore, FoundVault, LeftOut};
use vault::state::{ArrivalRecord, SubjectKind};
use vault::store::StoreError;
use vault::vault::Vault;

use super::{Found, RebuildProgress, RebuildWatch, Rebuilt, kept};
use crate::arrivals::publish::{Contents, contents_of};
use crate::error::Error;
use crate::ledger::sealed_row;
use crate::vaults::load_keys;
use crate::{Control, Parts, blocking};

/// Items written in one transaction.
const BATCH: usize = 100;

/// An item whose manifest the store holds.
pub(super) struct HeldItem {
    pub(super) digest: ManifestDigest,
    pub(super) fields: ManifestFields,
    pub(super) contents: Contents,
    /// How it arrived, for a replica.
    pub(super) arrival: Option<ArrivalRecord>,
    /// Its quarantine, when it was deleted or expired.
    pub(super) quarantine: Option<RebuiltQuarantine>,
}

/// What a vault of the store holds.
struct HeldVault {
    rebuilt: RebuiltVault,
    items: Vec<HeldItem>,
    /// Arrivals that were deleted or expired since.
    gone: Vec<ArrivalRecord>,
}

impl Control {
    /// Brings one vault back with everything in it. Answers the projects that own it.
    pub(super) async fn rebuild_vault(
        &self,
        found: &Arc<Found>,
        number: usize,
        watch: &Arc<dyn RebuildWatch>,
        rebuilt: &mut Rebuilt,
    ) -> Result<BTreeSet<ProjectId>, Error> {
        let (control, reading, told) = (self.clone(), found.clone(), watch.clone());
        let (held, left_out) = blocking(move || {
            let mut left_out = Vec::new();
            let operation_id = OperationId::from_entropy(control.entropy_bytes());
            let reader = VaultReader {
                parts: control.parts(),
                found: &reading,
                vault: &reading.vaults[number],
                watch: told.as_ref(),
            };
            let held = reader.read(operation_id, &mut left_out)?;
            Ok::<_, VaultError>((held, left_out))
        })
        .await??;
        rebuilt.left_out.extend(left_out);
        let Some(held) = held else { return Ok(BTreeSet::new()) };
        let what = format!("vault {}", VaultId(held.rebuilt.vault.id));
        let written = self.catalog().rebuild_vault(&held.rebuilt, self.now()).await;
        if !kept(written, &what, &mut rebuilt.notes)? {
            return Ok(BTreeSet::new());
        }
        rebuilt.vault_count += 1;
        rebuilt.pack_count += held.rebuilt.packs.len() as u64;
        rebuilt.pack_bytes += held.rebuilt.packs.iter().map(|pack| pack.bytes).sum::<u64>();
        let project = held.rebuilt.vault.project_id.clone();
        let tombstones = self.tombstones(&held, found, &mut rebuilt.notes);
        self.catalog().rebuild_tombstones(&tombstones).await?;
        self.rebuild_items_of(held, found, watch, rebuilt).await?;
        Ok(BTreeSet::from([project]))
    }

    async fn rebuild_items_of(
        &self,
        held: HeldVault,
        found: &Arc<Found>,
        watch: &Arc<dyn RebuildWatch>,
        rebuilt: &mut Rebuilt,
    ) -> Result<(), Error> {
        let row = self.catalog().vault(held.rebuilt.vault.id).await?;
        let row = row.ok_or_else(|| Error::internal("to rebuild a vault", "its row is missing"))?;
        let vault = self.open_vault(row).await?;
        let (control, found, watch) = (self.clone(), found.clone(), watch.clone());
        let rows = blocking(move || control.prove_items(&vault, held, &found, watch.as_ref())).await??;
        for row in &rows {
            match row.item.is_replica() {
                _ if row.quarantine.is_some() => rebuilt.deleted_count += 1,
                true => rebuilt.replica_count += 1,
                false => rebuilt.item_count += 1,
            }
            if let Some(failure) = &row.item.failure {
                rebuilt.incomplete_count += 1;
                rebuilt.notes.push(format!("item {}: {}", row.item.id, failure.reason));
            }
        }
        for batch in rows.chunks(BATCH) {
            self.catalog().rebuild_items(batch, self.now()).await?;
        }
        Ok(())
    }

    /// Looks whether every object of every item is there, and makes their rows, oldest first.
    fn prove_items(
        &self,
        vault: &Vault,
        held: HeldVault,
        found: &Found,
        watch: &dyn RebuildWatch,
    ) -> Result<Vec<RebuiltItem>, VaultError> {
        let packs = held.rebuilt.packs.len() as u64;
        watch.tell(RebuildProgress { doing: "indexing packs", total: packs, ..Default::default() });
        vault.refresh_index()?;
        let HeldVault { rebuilt, mut items, .. } = held;
        items.sort_by_key(|item| {
            (item.contents.resource_id.clone(), item.contents.protected_at, item.fields.sequence)
        });
        let total_bytes = items.iter().map(|item| item.fields.logical_bytes).sum();
        let mut progress = RebuildProgress {
            doing: "looking for every object of every item",
            total: items.len() as u64,
            total_bytes,
            ..Default::default()
        };
        let mut rows = Vec::with_capacity(items.len());
        let mut complete: Option<(model::ids::ResourceId, ManifestDigest)> = None;
        for item in &items {
            let base = complete.as_ref().filter(|(resource, _)| *resource == item.contents.resource_id);
            let manifest = vault.read_manifest(item.digest)?;
            let absent = vault.look_for_objects(&manifest, base.map(|(_, digest)| *digest), &NoProgress)?;
            if absent.is_nothing() {
                complete = Some((item.contents.resource_id.clone(), item.digest));
            }
            rows.extend(self.item_rows(&rebuilt.vault, item, &absent, found)?);
            progress.done += 1;
            progress.done_bytes += item.fields.logical_bytes;
            watch.tell(progress);
        }
        rows.sort_by_key(|row| (row.item.created_at, row.item.id));
        Ok(rows)
    }

    fn tombstones(&self, held: &HeldVault, found: &Found, notes: &mut Vec<String>) -> Vec<Replica> {
        let mut tombstones = Vec::with_capacity(held.gone.len());
        for arrival in &held.gone {
            match self.tombstone_row(&held.rebuilt.vault, arrival, &found.recorded, &found.names) {
                Ok(row) => tombstones.push(row),
                Err(why) => {
                    notes.push(format!("the deletion of replica {} was left out: {why}", arrival.replica))
                }
            }
        }
        tombstones
    }
}

/// Reads one vault of a bare store.
struct VaultReader<'a> {
    parts: &'a Parts,
    found: &'a Found,
    vault: &'a FoundVault,
    watch: &'a dyn RebuildWatch,
}

impl VaultReader<'_> {
    /// Nothing for a vault that nothing live belongs to: an unused domain, or one without its keys.
    fn read(
        &self,
        operation_id: OperationId,
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Option<HeldVault>, VaultError> {
        let properties = &self.vault.properties;
        let name = layout::vault_prefix(properties.vault);
        let keys = match load_keys(self.parts, properties.domain) {
            Ok(keys) => keys,
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                left_out.push(LeftOut::new(name, format!("the keys of its domain: {error}")));
                return Ok(None);
            }
        };
        let is_own = properties.source_region == self.parts.identity.region();
        let arrivals = if is_own { Vec::new() } else { self.arrivals() };
        let items = self.items(&keys, is_own, &arrivals, left_out)?;
        let Some(vault) = self.owner(is_own, &items, &arrivals, left_out) else { return Ok(None) };
        let gone = arrivals.into_iter().filter(|arrival| self.is_gone(arrival)).cloned().collect();
        let rebuilt = RebuiltVault {
            vault,
            operation_id,
            last_pack: self.vault.packs.iter().filter_map(|name| number_of(name)).max().unwrap_or(0),
            created_at: Timestamp::from_millis(properties.created_ms),
            packs: self.packs(left_out)?,
        };
        Ok(Some(HeldVault { rebuilt, items, gone }))
    }

    /// Every arrival into this vault, of whatever became of it.
    fn arrivals(&self) -> Vec<&ArrivalRecord> {
        let properties = &self.vault.properties;
        let is_here = |arrival: &&ArrivalRecord| {
            let project = &arrival.destination_project;
            layout::replica_vault_id(arrival.domain, arrival.source_region, project) == properties.vault
        };
        self.found.recorded.arrivals().filter(is_here).collect()
    }

    fn is_gone(&self, arrival: &ArrivalRecord) -> bool {
        self.quarantine(SubjectKind::Replica, arrival.replica.0).is_some()
    }

    /// The quarantine of an item or a replica, if it was deleted.
    fn quarantine(&self, kind: SubjectKind, item: [u8; 16]) -> Option<RebuiltQuarantine> {
        let id = model::ids::CheckpointItemId::from_bytes(item).to_string();
        self.found.recorded.deletion(&(kind, id)).map(|deletion| RebuiltQuarantine {
            deleted_at: Timestamp::from_millis(deletion.deleted_ms),
            purge_after: Timestamp::from_millis(deletion.purge_after_ms),
        })
    }

    /// The items whose manifests are here, deleted ones as well: until it is purged, a manifest is kept.
    fn items(
        &self,
        keys: &DomainKeys,
        is_own: bool,
        arrivals: &[&ArrivalRecord],
        left_out: &mut Vec<LeftOut>,
    ) -> Result<Vec<HeldItem>, VaultError> {
        // One manifest may have arrived, gone, and arrived again.
        let (gone, live): (Vec<&ArrivalRecord>, Vec<_>) =
            arrivals.iter().partition(|arrival| self.is_gone(arrival));
        let by_manifest = |arrivals: Vec<&ArrivalRecord>| -> BTreeMap<ManifestDigest, ArrivalRecord> {
            arrivals.into_iter().map(|arrival| (arrival.manifest, arrival.clone())).collect()
        };
        let (gone, live) = (by_manifest(gone), by_manifest(live));
        let mut newest: BTreeMap<ItemId, HeldItem> = BTreeMap::new();
        let mut replicas = Vec::new();
        for (done, name) in self.vault.manifests.iter().enumerate() {
            let (done, total) = (done as u64 + 1, self.vault.manifests.len() as u64);
            self.watch.tell(RebuildProgress {
                doing: "reading manifests",
                done,
                total,
                ..Default::default()
            });
            let manifest = match self.manifest(name)? {
                Ok(manifest) => manifest,
                Err(error) => {
                    left_out.push(error);
                    continue;
                }
            };
            let digest = manifest.digest();
            let arrival = live.get(&digest).or_else(|| gone.get(&digest)).cloned();
            if !is_own && arrival.is_none() {
                left_out.push(LeftOut::new(name, "it never arrived as a whole"));
                continue;
            }
            let held = match contents_of(&manifest, keys) {
                Ok(contents) => HeldItem {
                    digest,
                    fields: manifest.fields().clone(),
                    quarantine: match &arrival {
                        Some(arrival) => self.quarantine(SubjectKind::Replica, arrival.replica.0),
                        None => self.quarantine(SubjectKind::Item, contents.item.0),
                    },
                    contents,
                    arrival,
                },
                Err(error) => {
                    left_out.push(LeftOut::new(name, error));
                    continue;
                }
            };
            match is_own {
                true => self.keep_newest(&mut newest, held),
                false => replicas.push(held),
            }
        }
        replicas.extend(newest.into_values());
        Ok(replicas)
    }

    /// A backup that was cut off after its manifest was stored has another one: the last one counts.
    fn keep_newest(&self, newest: &mut BTreeMap<ItemId, HeldItem>, held: HeldItem) {
        let order = |held: &HeldItem| {
            let incarnation = held.fields.incarnation;
            (self.found.lives.generation(incarnation), incarnation, held.fields.sequence, held.digest)
        };
        match newest.get(&held.contents.item) {
            Some(known) if order(known) >= order(&held) => {}
            _ => {
                newest.insert(held.contents.item, held);
            }
        }
    }

    fn manifest(&self, name: &str) -> Result<Result<Manifest, LeftOut>, VaultError> {
        let bytes = match self.parts.store.get(name, MANIFEST_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error @ (StoreError::NotFound { .. } | StoreError::TooLong { .. })) => {
                return Ok(Err(LeftOut::new(name, error)));
            }
            Err(error) => return Err(error.while_doing("reading a manifest")),
        };
        let properties = &self.vault.properties;
        Ok(match Manifest::decode(&bytes, &self.found.believed.all) {
            Err(error) => Err(LeftOut::new(name, error)),
            Ok(manifest) if layout::manifest_name(properties.vault, manifest.digest()) != name => {
                Err(LeftOut::new(name, "it lies under the name of another"))
            }
            Ok(manifest)
                if manifest.fields().domain != properties.domain
                    || manifest.fields().source_region != properties.source_region =>
            {
                Err(LeftOut::new(name, "it belongs to another region or key domain"))
            }
            Ok(manifest) => Ok(manifest),
        })
    }

    /// Whose vault it is. The properties of a primary vault do not say; the newest of its backups does.
    fn owner(
        &self,
        is_own: bool,
        items: &[HeldItem],
        arrivals: &[&ArrivalRecord],
        left_out: &mut Vec<LeftOut>,
    ) -> Option<NewVault> {
        let properties = &self.vault.properties;
        let name = layout::vault_prefix(properties.vault);
        let new = |project_id, source| NewVault {
            id: properties.vault.0,
            domain: properties.domain.0,
            project_id,
            source,
        };
        if is_own {
            let newest = items.iter().max_by_key(|item| item.contents.protected_at);
            let project = newest.and_then(|item| item.contents.project_id.parse().ok());
            if project.is_none() && !self.vault.packs.is_empty() {
                left_out.push(LeftOut::new(
                    name,
                    "no backup in it says whose it is; its packs stay where they are",
                ));
            }
            return project.map(|project| new(project, None));
        }
        let arrival = arrivals.first()?;
        let region = self.found.names.get(&properties.source_region).cloned();
        let source = VaultSource { region: region?, project_id: arrival.source_project.parse().ok()? };
        Some(new(arrival.destination_project.parse().ok()?, Some(source)))
    }

    fn packs(&self, left_out: &mut Vec<LeftOut>) -> Result<Vec<catalog::SealedPack>, VaultError> {
        let parts = self.parts;
        let bare = BareStore { store: parts.store.as_ref(), identity: &parts.identity, kek: &parts.kek };
        let total = self.vault.packs.len() as u64;
        let mut progress =
            RebuildProgress { doing: "reading the ends of packs", total, ..Default::default() };
        let mut packs: BTreeMap<u64, catalog::SealedPack> = BTreeMap::new();
        for name in &self.vault.packs {
            match bare.inspect_pack(name)? {
                Ok(pack) if packs.contains_key(&pack.number.0) => {
                    left_out.push(LeftOut::new(name, "another pack has its number"));
                }
                Ok(pack) => {
                    progress.done_bytes += pack.bytes;
                    packs.insert(pack.number.0, sealed_row(&pack));
                }
                Err(error) => left_out.push(error),
            }
            progress.done += 1;
            self.watch.tell(progress);
        }
        Ok(packs.into_values().collect())
    }
}

fn number_of(name: &str) -> Option<u64> {
    PackName::parse(name.rsplit('/').next()?).ok().map(|pack| pack.number.0)
}
