//! Making a region: its keys, its store, its catalog row, its first users; and opening the keys again.
//!
//! Every step looks before it makes, so that an `init` that was cut off is finished by the next one.
//! Keys lie in their own folder, outside the data directory and the store.

use std::path::{Path, PathBuf};

use catalog::{Catalog, NewRegion};
use model::identity::{Project, Role, User};
use model::ids::{ProjectId, RegionName, UserId};
use vault::card::{Card, CardFields, RegionIdentity, RootKey, WorkingKeys};
use vault::error::VaultError;
use vault::ids::{Incarnation, RegionId, to_hex};
use vault::kek::Kek;
use vault::kek::file::{KekKind, NewKek, Passphrase};
use vault::layout;
use vault::seams::{Clock, Entropy};
use vault::signed::Signers;
use vault::store::{ObjectStore, StoreError};
use vault::stored::{FORMAT_BYTES_MAX, check_format, read_card};

use crate::Control;
use crate::error::Error;

mod kek_files;

use kek_files::KEK;
pub use kek_files::{KekFile, KekPlan, Rotated};

/// Largest card that is read.
const CARD_BYTES_MAX: u64 = 64 << 10;
/// How long a card is valid: ten years, renewed by an operator; identity never depends on it alone.
const CARD_VALID_MS: u64 = 3650 * 86_400_000;

/// The key files of a region.
pub struct KeyFiles {
    folder: PathBuf,
    passphrase: Option<Passphrase>,
    plan: KekPlan,
}

/// The keys that a running region holds.
pub struct RegionKeys {
    /// Seals key bundles and state.
    pub kek: Kek,
    /// Signs, and opens wraps made for this region.
    pub identity: RegionIdentity,
}

impl KeyFiles {
    /// The key files in a folder.
    pub fn new(folder: &Path) -> KeyFiles {
        KeyFiles { folder: folder.to_owned(), passphrase: None, plan: KekPlan::default() }
    }

    /// The same files, with the passphrase that the KEK comes from.
    pub fn with_passphrase(self, passphrase: Option<Passphrase>) -> KeyFiles {
        KeyFiles { passphrase, ..self }
    }

    /// The same files; a first KEK is made like this.
    pub fn with_plan(self, plan: KekPlan) -> KeyFiles {
        KeyFiles { plan, ..self }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Makes the keys that are missing, and the region's card if it has none.
    pub fn ensure(
        &self,
        store: &dyn ObjectStore,
        name: &RegionName,
        tls_key_hash: [u8; 32],
        clock: &dyn Clock,
        entropy: &dyn Entropy,
    ) -> Result<RegionKeys, VaultError> {
        self.refuse_to_replace(store)?;
        if !self.path(KEK).exists() {
            let new = match (self.plan.kind, &self.passphrase) {
                (KekKind::Passphrase, Some(passphrase)) => {
                    NewKek::Passphrase { passphrase, cost: self.plan.cost }
                }
                (KekKind::Passphrase, None) => {
                    return Err(VaultError::refused("a KEK from a passphrase needs the passphrase"));
                }
                (KekKind::File, _) => NewKek::File,
            };
            Kek::create_new(&self.path(KEK), 0, &new, entropy)?;
        }
        if !self.path("root").exists() {
            RootKey::create(&self.path("root"), entropy)?;
        }
        if !self.path("working").exists() {
            WorkingKeys::create(&self.path("working"), entropy)?;
        }
        let doing = "laying out the store";
        let format = store.put_if_absent(layout::FORMAT_NAME, layout::FORMAT_CONTENT);
        format.map_err(|error| error.while_doing(doing))?;
        require_format(store)?;
        let root = RootKey::load(&self.path("root"))?;
        let keys = WorkingKeys::load(&self.path("working"))?;
        let card_name = layout::card_name(root.region_id(), 1);
        let now_ms = clock.now_ms();
        let card = root.sign_card(&CardFields {
            name: name.to_string(),
            signing_key: keys.signing_key(),
            receiving_key: keys.receiving_key(),
            tls_key_hash,
            serial: 1,
            valid_from_ms: now_ms,
            valid_to_ms: now_ms + CARD_VALID_MS,
            next_root_key: None,
        })?;
        match store.get(&card_name, CARD_BYTES_MAX) {
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => {
                store.put_if_absent(&card_name, card.bytes()).map_err(|error| error.while_doing(doing))?;
            }
            Err(error) => return Err(error.while_doing(doing)),
        }
        self.open(store, root.region_id())
    }

    /// A key that is missing where the store has what it made is lost, not to be made: a new one in its
    /// place would hide that.
    fn refuse_to_replace(&self, store: &dyn ObjectStore) -> Result<(), VaultError> {
        let doing = "looking for an earlier region";
        let lost = |what: &str, next: &str| {
            let why =
                format!("the store belongs to a region that was made before, and {what} is missing: {next}");
            Err(VaultError::refused(why))
        };
        let has_keys = !store.list(layout::KEYS_PREFIX).map_err(|error| error.while_doing(doing))?.is_empty();
        if has_keys && !self.path(KEK).exists() {
            return lost("its KEK", "put keys/kek back, or call antipode key recover");
        }
        let has_card =
            !store.list(layout::CARDS_PREFIX).map_err(|error| error.while_doing(doing))?.is_empty();
        for name in ["root", "working"] {
            if has_card && !self.path(name).exists() {
                return lost(&format!("keys/{name}"), "put it back; a new one would be another region's");
            }
        }
        Ok(())
    }

    /// Opens the keys of a region that was made before.
    pub fn open(&self, store: &dyn ObjectStore, region: RegionId) -> Result<RegionKeys, VaultError> {
        require_format(store)?;
        let kek = self.open_kek(store)?;
        Ok(RegionKeys { kek, identity: self.open_identity(store, region)? })
    }

    /// Opens the working keys alone.
    pub fn open_identity(
        &self,
        store: &dyn ObjectStore,
        region: RegionId,
    ) -> Result<RegionIdentity, VaultError> {
        let keys = WorkingKeys::load(&self.path("working"))?;
        RegionIdentity::new(keys, newest_card(store, region)?)
    }

    /// The fingerprint of the region's root key.
    pub fn root_fingerprint(&self) -> Result<[u8; 32], VaultError> {
        Ok(RootKey::load(&self.path("root"))?.public().fingerprint())
    }
}

/// Refuses a store of another format version before anything else of it is read or written.
pub fn require_format(store: &dyn ObjectStore) -> Result<(), VaultError> {
    match store.get(layout::FORMAT_NAME, FORMAT_BYTES_MAX) {
        Ok(content) => check_format(&content),
        Err(StoreError::NotFound { .. }) => Err(VaultError::refused("the store has no file \"format\"")),
        Err(StoreError::TooLong { .. }) => check_format(b""),
        Err(error) => Err(error.while_doing("reading the version of the store")),
    }
}

/// The newest card of a region that the store holds.
pub fn newest_card(store: &dyn ObjectStore, region: RegionId) -> Result<Card, VaultError> {
    let doing = "reading the region's card";
    let prefix = format!("{}{region}/", layout::CARDS_PREFIX);
    let mut names = store.list(&prefix).map_err(|error| error.while_doing(doing))?;
    names.sort();
    let name = names
        .last()
        .ok_or_else(|| VaultError::refused(format!("the store has no card of region {region}")))?;
    let card = read_card(name, &store.get(name, CARD_BYTES_MAX).map_err(|error| error.while_doing(doing))?)?;
    if card.region() != region {
        return Err(VaultError::refused("a card lies under another region's name"));
    }
    Ok(card)
}

/// Signers that this region believes: itself, and its peers by the cards the store holds.
pub(crate) fn signers_of(identity: &RegionIdentity, peers: &[Card]) -> Signers {
    let mut signers = identity.signers();
    for card in peers {
        signers.trust_region(card.region());
        signers.add_card(card);
    }
    signers
}

/// Writes the region's catalog row, if there is none; answers its incarnation.
pub async fn ensure_row(
    catalog: &Catalog,
    name: &RegionName,
    region_id: RegionId,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Incarnation, Error> {
    let now = model::time::Timestamp::from_millis(clock.now_ms());
    if catalog.region().await?.is_none() {
        let incarnation = Incarnation::generate(entropy).0;
        let region = NewRegion { name: name.clone(), region_id: region_id.0, incarnation };
        catalog.init_region(&region, now).await?;
    }
    let row = catalog.region().await?;
    let row = row.ok_or_else(|| Error::internal("to read the region", "its row is missing"))?;
    if row.name != *name || row.region_id != region_id.0 {
        return Err(Error::invalid("region.name", "the catalog belongs to another region"));
    }
    Ok(Incarnation(row.incarnation))
}

/// The first people of a region: an operator who is also admin of the first project.
pub struct FirstUser {
    /// The operator's name.
    pub name: String,
    /// The operator's password.
    pub password: String,
}

impl Control {
    /// Makes the first project, named as the region, and its admin, if there are none.
    pub async fn ensure_first_user(&self, first: FirstUser) -> Result<(ProjectId, UserId), Error> {
        let name = self.region_name().as_str();
        let project = match crate::page::found(self.catalog().project_by_name(name).await)? {
            Some(project) => project,
            None => {
                let id = to_hex(&self.entropy_bytes::<16>()).parse()?;
                let project = Project {
                    id,
                    name: name.to_owned(),
                    description: String::new(),
                    enabled: true,
                    created_at: self.now(),
                };
                self.catalog().create_project(&project).await?;
                project
            }
        };
        let user = match crate::page::found(self.catalog().user_by_name(&first.name).await)? {
            Some((user, _)) => user,
            None => {
                let user = User {
                    id: UserId::from_entropy(self.entropy_bytes()),
                    name: first.name,
                    description: String::new(),
                    email: String::new(),
                    default_project: None,
                    enabled: true,
                    created_at: self.now(),
                };
                self.add_user(user, first.password).await?
            }
        };
        self.catalog().assign_role(user.id, None, Role::Operator).await?;
        self.catalog().assign_role(user.id, Some(&project.id), Role::Admin).await?;
        Ok((project.id, user.id))
    }

    /// Refuses to write while the catalog is known to be older than the world around it.
    pub(crate) async fn refuse_when_blocked(&self) -> Result<(), Error> {
        let region = self.catalog().region().await?;
        match region.and_then(|region| region.blocked_reason) {
            None => Ok(()),
            Some(reason) => Err(Error::new(
                crate::Kind::Unavailable,
                crate::Reason::WritesBlocked,
                format!("writing is blocked: {reason}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use vault::card::CardFields;
    use vault::keys::Secret;
    use vault::seams::{FixedClock, SeededEntropy};
    use vault::state::{PolicyRecord, StateRecord};
    use vault::store::SimulatedStore;

    use super::*;

    /// A region with fresh keys.
    pub(super) fn identity(entropy: &SeededEntropy) -> RegionIdentity {
        let root = RootKey::from_secret(&Secret::generate(entropy));
        let keys = WorkingKeys::generate(entropy);
        let fields = CardFields {
            name: "a".to_owned(),
            signing_key: keys.signing_key(),
            receiving_key: keys.receiving_key(),
            tls_key_hash: [0; 32],
            serial: 1,
            valid_from_ms: 0,
            valid_to_ms: u64::MAX,
            next_root_key: None,
        };
        RegionIdentity::new(keys, root.sign_card(&fields).unwrap()).unwrap()
    }

    /// Something to keep in a state object.
    pub(super) fn record() -> StateRecord {
        StateRecord::Policy(PolicyRecord {
            policy_id: "p".to_owned(),
            project_id: "q".to_owned(),
            revision: 1,
            name: "nightly".to_owned(),
            is_enabled: true,
            document: "{}".to_owned(),
        })
    }

    #[test]
    fn a_lost_key_is_never_replaced_by_making_the_region_again() {
        let folder = tempfile::tempdir().unwrap();
        let (store, entropy, clock) = (SimulatedStore::new(1), SeededEntropy::new(1), FixedClock::new(1));
        let files = KeyFiles::new(folder.path());
        let ensure = || files.ensure(&store, &"a".parse().unwrap(), [1; 32], &clock, &entropy).map(drop);
        ensure().unwrap();
        ensure().unwrap();
        let keys = vault::keys::DomainKeys::generate(&entropy);
        let kek = files.open_kek(&store).unwrap();
        vault::key_store::KeyStore { store: &store, kek: &kek }.keep(&keys).unwrap();
        for (name, word) in
            [("kek", "antipode key recover"), ("root", "keys/root"), ("working", "keys/working")]
        {
            let (path, aside) = (folder.path().join(name), folder.path().join("aside"));
            std::fs::rename(&path, &aside).unwrap();
            let why = ensure().unwrap_err().to_string();
            assert!(why.contains(word), "{why}");
            assert!(!path.exists(), "{name} was made anew");
            std::fs::rename(&aside, &path).unwrap();
            ensure().unwrap();
        }
    }
}
