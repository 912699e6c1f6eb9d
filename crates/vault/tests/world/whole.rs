//! A region's whole store: every type of object that a store holds, most of them in several versions,
//! in three vaults: two of the region's own and one of replicas from a peer. All follows from a seed.

use std::sync::Arc;

use vault::card::{Card, CardFields, Pin, RegionIdentity, RootKey, WorkingKeys};
use vault::head::{Head, HeadEntry, HeadOrder, ReplicaState};
use vault::ids::{Epoch, GrantId, Incarnation, ManifestDigest, ReplicaId, VaultId};
use vault::kek::Kek;
use vault::keys::Secret;
use vault::layout;
use vault::properties::VaultProperties;
use vault::receipt::{Level, Mode, Receipt};
use vault::recovery::{RecoveryKit, RecoverySeed};
use vault::seams::SeededEntropy;
use vault::signed::Signers;
use vault::state::{
    ArrivalRecord, DeletionRecord, GrantRecord, HoldRecord, LockMode, LockRecord, PolicyRecord, ServerRecord,
    StateObject, StateRecord, StateStamp, Subject, SubjectKind, VolumeRecord,
};
use vault::store::ObjectStore;
use vault::wrap::{Role, Wrap, WrapOrder};

use super::link::{Link, copy_order, transfer};
use super::{Disk, Region, back_up, identity, noise, order};

pub(crate) struct Whole {
    /// The region with its first vault; its store holds all three.
    pub(crate) region: Region,
    pub(crate) second: Region,
    pub(crate) replicas: Region,
    pub(crate) root: RootKey,
    pub(crate) kek_secret: Secret,
    pub(crate) kek: Kek,
    pub(crate) kit: RecoveryKit,
    /// Both cards of the region and the peer's.
    pub(crate) signers: Signers,
    pub(crate) items: Vec<WholeItem>,
    /// What the peer sent: receipts and heads, older first.
    pub(crate) receipts: Vec<Vec<u8>>,
    pub(crate) heads: Vec<(Vec<u8>, Vec<u8>)>,
    entropy: SeededEntropy,
}

pub(crate) struct WholeItem {
    pub(crate) vault: VaultId,
    pub(crate) manifest: ManifestDigest,
    pub(crate) disks: Vec<Vec<u8>>,
}

pub(crate) const INCARNATION: Incarnation = Incarnation([0x1c; 16]);

impl Whole {
    /// `disk_bytes` is the size of the larger disks; the store becomes about three times as large.
    pub(crate) fn new(seed: u64, disk_bytes: u64) -> Whole {
        let seeds = [10, 11, 12, 13].map(|number| seed * 100 + number);
        let entropy = SeededEntropy::new(seeds[0] + 50);
        let region = Region::new(seeds[0]);
        let mut second = Region::new(seeds[1]);
        let peer = Region::new(seeds[2]);
        let project = "project-2";
        let replica_vault = layout::replica_vault_id(peer.keys.domain(), peer.identity.region(), project);
        let mut replicas = Region::with_keys(seeds[3], peer.keys.clone(), replica_vault);
        second.store = region.store.clone();
        replicas.store = region.store.clone();
        let root = root_key(seeds[0]);
        let kek_secret = Secret::generate(&entropy);
        let mut whole = Whole {
            kek: Kek::new(&kek_secret),
            kit: RecoveryKit::new(RecoverySeed::generate(&entropy), &root.public()),
            signers: region.identity.signers(),
            items: Vec::new(),
            receipts: Vec::new(),
            heads: Vec::new(),
            region,
            second,
            replicas,
            root,
            kek_secret,
            entropy,
        };
        whole.fill(&peer, disk_bytes);
        whole
    }

    fn fill(&mut self, peer: &Region, disk_bytes: u64) {
        self.put(layout::FORMAT_NAME, layout::FORMAT_CONTENT);
        let card = self.region.identity.card().clone();
        self.put_card(&card);
        self.put_card(peer.identity.card());
        let pin = Pin::sign(&self.region.identity, peer.identity.card(), 5);
        self.put(&layout::pin_name(peer.identity.region()), &pin);
        self.own_items(disk_bytes, peer);
        self.renew();
        self.second_epoch(disk_bytes, peer);
        self.second_vault(disk_bytes, peer);
        self.receive(peer, disk_bytes);
        self.states();
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.region.store.put_if_absent(name, bytes).unwrap();
    }

    fn put_card(&self, card: &Card) {
        self.put(&layout::card_name(card.region(), card.fields().serial), card.bytes());
    }

    /// Two items of one disk, the second a few changes later.
    fn own_items(&mut self, disk_bytes: u64, peer: &Region) {
        let seed = self.region.seed;
        let disk = Disk::random(disk_bytes, seed);
        let vault = self.region.open();
        let first = back_up(&self.region, &vault, &order(1, &[]), &[&disk]).unwrap().manifest.digest();
        self.keep(self.region.vault_id, first, &[&disk]);
        disk.put(disk_bytes / 2 + 100, &noise(seed + 1, 20_000));
        let second = back_up(&self.region, &vault, &order(2, &[first]), &[&disk]).unwrap().manifest.digest();
        self.keep(self.region.vault_id, second, &[&disk]);
        self.put_vault(&self.region, Mode::Restorable, 1, &peer.identity);
    }

    /// New working keys on a second card.
    fn renew(&mut self) {
        let keys = WorkingKeys::generate(&self.entropy);
        let old = self.region.identity.card().fields().clone();
        let (signing_key, receiving_key) = (keys.signing_key(), keys.receiving_key());
        let fields = CardFields { signing_key, receiving_key, serial: 2, ..old };
        let card = self.root.sign_card(&fields).unwrap();
        self.put_card(&card);
        self.signers.add_card(&card);
        let identity = Arc::new(RegionIdentity::new(keys, card).unwrap());
        self.region.identity = identity.clone();
        self.second.identity = identity.clone();
        self.replicas.identity = identity;
        for region in [&mut self.region, &mut self.second] {
            region.signers = self.signers.clone();
        }
    }

    /// An item of two disks, most of it under a new epoch.
    fn second_epoch(&mut self, disk_bytes: u64, peer: &Region) {
        self.region.keys.begin_epoch(&self.entropy).unwrap();
        let disks =
            [Disk::random(disk_bytes / 2, self.region.seed + 2), Disk::random(50_000, self.region.seed + 3)];
        let disks: Vec<&Disk> = disks.iter().collect();
        let vault = self.region.open();
        let third = back_up(&self.region, &vault, &order(3, &[]), &disks).unwrap().manifest.digest();
        self.keep(self.region.vault_id, third, &disks);
        self.put_vault(&self.region, Mode::Restorable, 2, &peer.identity);
    }

    fn second_vault(&mut self, disk_bytes: u64, peer: &Region) {
        let disk = Disk::random(disk_bytes / 2, self.second.seed);
        let vault = self.second.open();
        let item = back_up(&self.second, &vault, &order(4, &[]), &[&disk]).unwrap().manifest.digest();
        self.keep(self.second.vault_id, item, &[&disk]);
        self.put_vault(&self.second, Mode::Restorable, 1, &peer.identity);
    }

    /// Two items of the peer arrive.
    fn receive(&mut self, peer: &Region, disk_bytes: u64) {
        self.signers.trust_region(peer.identity.region());
        self.signers.add_card(peer.identity.card());
        self.replicas.signers = peer.identity.signers();
        let disk = Disk::random(disk_bytes / 2, peer.seed);
        let vault = peer.open();
        let mut base = None;
        for number in [5, 6] {
            let bases = base.as_slice();
            let item = back_up(peer, &vault, &order(number, bases), &[&disk]).unwrap().manifest.digest();
            transfer(&vault, &copy_order(item, bases), &Link::new(&self.replicas, number)).unwrap();
            self.keep(self.replicas.vault_id, item, &[&disk]);
            self.hear(peer, item, number);
            disk.put(10_000, &noise(peer.seed + 9, 9_000));
            base = Some(item);
        }
        self.put_vault(&self.replicas, Mode::Restorable, 1, &peer.identity);
    }

    /// The peer's words on an item: not what a store holds, but what a region hears and keeps.
    fn hear(&mut self, peer: &Region, manifest: ManifestDigest, number: u8) {
        let receipt = Receipt {
            source_region: self.region.identity.region(),
            destination_region: peer.identity.region(),
            incarnation: INCARNATION,
            signing_key: peer.identity.signing_key_id(),
            grant: GrantId([3; 16]),
            destination_project: "project-2".to_owned(),
            replica: ReplicaId([number; 16]),
            generation: 1,
            manifest,
            domain: peer.keys.domain(),
            mode: Mode::Restorable,
            level: Level::Stored,
            key_checks: vec![[number; 32]],
            object_count: 7,
            stored_bytes: 8,
            keep_until_ms: 9,
            published_ms: 10,
            head_counter: u64::from(number),
        };
        self.receipts.push(receipt.sign(&peer.identity).unwrap());
        let entry = |byte: u8| HeadEntry {
            replica: ReplicaId([byte; 16]),
            manifest: ManifestDigest([byte; 32]),
            state: ReplicaState::Live,
            level: Level::Opened,
            keep_until_ms: 5,
        };
        let source_region = self.region.identity.region();
        let order =
            HeadOrder { source_region, incarnation: INCARNATION, counter: u64::from(number), time_ms: 9 };
        let head = Head::sign(&peer.identity, &order, (1..=number).map(entry).collect()).unwrap();
        self.heads.push((head.head, head.entries));
    }

    fn keep(&mut self, vault: VaultId, manifest: ManifestDigest, disks: &[&Disk]) {
        let disks = disks.iter().map(|disk| disk.bytes()).collect();
        self.items.push(WholeItem { vault, manifest, disks });
    }

    /// Properties, key bundle and wraps of a vault.
    fn put_vault(&self, region: &Region, mode: Mode, revision: u64, peer: &RegionIdentity) {
        let (id, domain, identity) = (region.vault_id, region.keys.domain(), &self.region.identity);
        let source = if id.0 == domain.0 { identity.region() } else { peer.region() };
        let properties =
            VaultProperties { cut: region.cut, ..VaultProperties::replica(id, domain, source, mode, 7) };
        self.put(&layout::properties_name(id), &properties.sign(identity).unwrap());
        let mut bundle = Vec::new();
        self.kek.seal_bundle(&region.keys, revision, &mut bundle).unwrap();
        self.put(&layout::bundle_name(domain, revision), &bundle);
        let recovery = self.kit.seed().receiving_key().public();
        for (epoch, _) in region.keys.epochs() {
            self.put_wrap(region, epoch, Role::Recovery, &recovery);
            self.put_wrap(region, epoch, Role::Structure, &peer.receiving_key().public());
        }
    }

    fn put_wrap(&self, region: &Region, epoch: Epoch, role: Role, recipient: &[u8; 32]) {
        let order = WrapOrder { keys: &region.keys, epoch, role, recipient };
        let bytes = Wrap::seal(&self.region.identity, &order, &self.entropy).unwrap();
        let wrap = Wrap::decode(&bytes, &self.region.identity.signers()).unwrap();
        self.put(&layout::wrap_name(region.vault_id, &wrap.name()), &bytes);
    }

    /// State objects of every type, the first two types in two revisions.
    fn states(&self) {
        for (sequence, record) in (1..).zip(records(&self.receipts[0])) {
            let stamp = StateStamp { incarnation: INCARNATION, sequence, time_ms: 1000 + sequence };
            let mut stored = Vec::new();
            StateObject { stamp, record }.seal(&self.region.identity, &self.kek, &mut stored).unwrap();
            self.put(&stamp.name(), &stored);
        }
    }

    /// The vault with this id, as a region.
    pub(crate) fn vault(&self, id: VaultId) -> &Region {
        let all = [&self.region, &self.second, &self.replicas];
        all.into_iter().find(|region| region.vault_id == id).unwrap()
    }
}

/// The root key of the region that [`identity`] makes of this seed.
fn root_key(seed: u64) -> RootKey {
    let entropy = SeededEntropy::new(seed);
    WorkingKeys::generate(&entropy);
    let root = RootKey::from_secret(&Secret::generate(&entropy));
    assert_eq!(root.region_id(), identity(seed).region());
    root
}

fn records(receipt: &[u8]) -> Vec<StateRecord> {
    let text = |text: &str| text.to_owned();
    let subject = Subject {
        kind: SubjectKind::Item,
        id: text("item-1"),
        project_id: text("project-1"),
        manifest: ManifestDigest([4; 32]),
    };
    let mut records = Vec::new();
    for revision in 1..=2 {
        records.push(StateRecord::Policy(PolicyRecord {
            policy_id: text("policy-1"),
            project_id: text("project-1"),
            revision,
            name: format!("daily {revision}"),
            is_enabled: revision == 1,
            document: text("{\"keep\": 7}"),
        }));
        records.push(StateRecord::Server(ServerRecord {
            server_id: text("server-1"),
            project_id: text("project-1"),
            revision,
            name: text("web"),
            volumes: vec![VolumeRecord {
                volume_id: text("disk-0"),
                name: text("system"),
                location: text("system.raw"),
                format: text("raw"),
                size_bytes: 1 << 30,
                is_bootable: true,
            }],
            document: text("{}"),
        }));
    }
    records.push(StateRecord::Grant(grant()));
    let (mode, set_by) = (LockMode::Compliance, text("admin"));
    records.push(StateRecord::Lock(LockRecord { subject: subject.clone(), mode, until_ms: 99, set_by }));
    let (set_by, reason) = (text("legal"), text("case 7"));
    records.push(StateRecord::Hold(HoldRecord { subject: subject.clone(), is_held: true, set_by, reason }));
    records.push(StateRecord::Arrival(arrival(receipt)));
    records.push(StateRecord::Deletion(DeletionRecord {
        subject,
        deleted_ms: 1,
        purge_after_ms: 2,
        is_expiry: true,
        is_undone: false,
        deleted_by: text("retention"),
        reason: text("older than 7 days"),
    }));
    records
}

fn grant() -> GrantRecord {
    GrantRecord {
        grant: GrantId([3; 16]),
        revision: 1,
        destination_project: "project-2".to_owned(),
        source_region: vault::ids::RegionId([4; 16]),
        source_project: "project-1".to_owned(),
        modes: vec![Mode::Restorable],
        bytes_max: 1 << 40,
        retention_min_ms: 30,
        valid_from_ms: 1,
        valid_to_ms: 2,
        is_revoked: false,
        document: String::new(),
    }
}

fn arrival(receipt: &[u8]) -> ArrivalRecord {
    ArrivalRecord {
        replica: ReplicaId([5; 16]),
        generation: 1,
        source_region: vault::ids::RegionId([4; 16]),
        source_project: "project-1".to_owned(),
        destination_project: "project-2".to_owned(),
        grant: GrantId([3; 16]),
        manifest: ManifestDigest([5; 32]),
        domain: vault::ids::DomainId([6; 16]),
        mode: Mode::Restorable,
        level: Level::Stored,
        arrived_ms: 7,
        keep_until_ms: 8,
        receipt: receipt.to_vec(),
        document: String::new(),
    }
}
