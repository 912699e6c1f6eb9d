//! Verification, scheduled and by hand: pack after pack, the one looked at longest ago first, so that it
//! goes on wherever it was stopped and can say when everything was last read. What is damaged is set
//! aside with what is sound of it copied; items that lack something say so; other vaults heal them.

use std::sync::Arc;
use std::time::Duration;

use catalog::{PackToVerify, VerificationCoverage, VerificationMode};
use model::checkpoint::{CheckpointItem, Failure};
use model::ids::{CheckpointItemId, OperationId};
use model::time::Timestamp;
use tokio::runtime::Handle;
use tracing::{error, info, warn};
use vault::crash_point;
use vault::error::VaultError;
use vault::heal::{DamageLedger, ObjectSource};
use vault::ids::{DomainId, Incarnation, ManifestDigest, PackNumber, VaultId};
use vault::ledger::{LedgerError, SealedPack};
use vault::progress::NoProgress;
use vault::vault::Vault;
use vault::verify::{Findings, Pace, VerifyMode};

use crate::error::Error;
use crate::{Control, blocking};

/// How verification is scheduled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerificationPlan {
    /// Every pack is read whole within so many days; 0 for never.
    pub deep_days: u32,
    /// Every pack is looked at within so many days; 0 for never.
    pub quick_days: u32,
    /// At most so many bytes are read in a second.
    pub bytes_per_second: u64,
}

impl Default for VerificationPlan {
    fn default() -> VerificationPlan {
        VerificationPlan { deep_days: 30, quick_days: 1, bytes_per_second: 32 << 20 }
    }
}

/// What one step of verification came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedPack {
    /// The vault.
    pub vault_id: [u8; 16],
    /// The pack.
    pub number: u64,
    /// Its length.
    pub pack_bytes: u64,
    /// Bytes read.
    pub read_bytes: u64,
    /// What was found, for a person; nothing when it is sound.
    pub damage: Option<String>,
}

/// What healing came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealedItems {
    /// Items that were looked at.
    pub item_count: u64,
    /// Items that are whole again.
    pub healed: Vec<CheckpointItemId>,
    /// Items that lack something.
    pub damaged: Vec<CheckpointItemId>,
    /// Objects that were brought.
    pub brought_count: u64,
    /// Their bytes.
    pub brought_bytes: u64,
}

/// Holds a verification to its bytes a second, on the timer of the region.
struct PaceBySecond {
    control: Control,
    runtime: Handle,
    bytes_per_second: u64,
}

impl Pace for PaceBySecond {
    fn spend(&self, bytes: u64) {
        let millis = bytes.saturating_mul(1000) / self.bytes_per_second.max(1);
        if millis == 0 {
            return;
        }
        let sleep = self.control.parts().timer.sleep(Duration::from_millis(millis));
        self.runtime.block_on(sleep);
    }
}

/// The catalog as the vault needs it for a damaged pack.
struct CatalogDamage {
    control: Control,
    vault_id: [u8; 16],
    runtime: Handle,
}

impl DamageLedger for CatalogDamage {
    fn quarantine(&self, pack: PackNumber) -> Result<(), LedgerError> {
        let aside = self.control.catalog().set_pack_aside(self.vault_id, pack.0);
        self.runtime.block_on(aside).map_err(|error| LedgerError::Unavailable(Box::new(error)))
    }
}

impl Control {
    /// Verifies the pack whose turn it is, if it was last looked at before `before`; nothing when every
    /// pack was looked at since.
    pub async fn verify_next_pack(
        &self,
        mode: VerifyMode,
        before: Timestamp,
        bytes_per_second: u64,
    ) -> Result<Option<VerifiedPack>, Error> {
        self.follow_up().await?;
        let row_mode = match mode {
            VerifyMode::Quick => VerificationMode::Quick,
            VerifyMode::Deep => VerificationMode::Deep,
        };
        let Some(turn) = self.catalog().next_pack_to_verify(row_mode, before).await? else { return Ok(None) };
        let row = self.catalog().vault(turn.vault_id).await?;
        let row = row.ok_or_else(|| Error::internal("to verify a pack", "its vault is missing"))?;
        let vault = self.open_vault(row).await?;
        let pack = sealed(&turn);
        let pace = PaceBySecond { control: self.clone(), runtime: Handle::current(), bytes_per_second };
        let (reading, looked_at) = (vault.clone(), pack.clone());
        let verify = move || reading.verify_pack(&looked_at, mode, &pace, &NoProgress);
        let findings = blocking(verify).await??;
        let mut verified = VerifiedPack {
            vault_id: turn.vault_id,
            number: pack.number.0,
            pack_bytes: pack.bytes,
            read_bytes: findings.read_bytes,
            damage: None,
        };
        if findings.is_sound() {
            self.catalog().note_pack_verified(turn.vault_id, pack.number.0, row_mode, self.now()).await?;
            return Ok(Some(verified));
        }
        if !self.catalog().is_pack_live(turn.vault_id, pack.number.0).await? {
            return Ok(Some(verified));
        }
        let damage = describe(&findings);
        error!(pack = %pack.number, damage, "a pack is damaged; what is sound of it is copied");
        self.set_aside(&vault, turn.vault_id, pack).await?;
        crash_point!("verify.set_aside");
        self.follow_up().await?;
        verified.damage = Some(damage);
        Ok(Some(verified))
    }

    /// One scheduled step: quick before deep, because it finds a lost pack at once. False when nothing was
    /// due.
    pub async fn verify_by_plan(&self, plan: &VerificationPlan) -> Result<bool, Error> {
        for (mode, days) in [(VerifyMode::Quick, plan.quick_days), (VerifyMode::Deep, plan.deep_days)] {
            if days == 0 {
                continue;
            }
            let before = self.now().plus_days(-i64::from(days));
            if self.verify_next_pack(mode, before, plan.bytes_per_second).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The key domain of a vault.
    pub async fn domain_of_vault(&self, vault_id: [u8; 16]) -> Result<DomainId, Error> {
        let row = self.catalog().vault(vault_id).await?;
        let row = row.ok_or_else(|| Error::internal("to read a vault", "it is missing"))?;
        Ok(DomainId(row.domain))
    }

    /// How well every vault is known to be sound.
    pub async fn coverage_of_verification(&self) -> Result<Vec<VerificationCoverage>, Error> {
        Ok(self.catalog().verification_coverage().await?)
    }

    /// Has the items of a vault say what they lack since a pack was set aside, also when the process that
    /// did it died before.
    async fn follow_up(&self) -> Result<(), Error> {
        for (vault_id, number) in self.catalog().packs_to_follow_up().await? {
            self.heal_items(vault_id, &[]).await?;
            self.catalog().note_pack_followed_up(vault_id, number, self.now()).await?;
        }
        Ok(())
    }

    async fn set_aside(&self, vault: &Vault, vault_id: [u8; 16], pack: SealedPack) -> Result<(), Error> {
        let operation = OperationId::from_entropy(self.entropy_bytes());
        let ledger = CatalogDamage { control: self.clone(), vault_id, runtime: Handle::current() };
        let vault = vault.clone();
        let aside = move || vault.quarantine_pack(&pack, vault::ids::OperationId(operation.bytes()), &ledger);
        let set_aside = blocking(aside).await?;
        self.catalog().end_operation(operation).await?;
        set_aside?;
        Ok(())
    }

    /// Looks at every item of a vault and brings what it lacks from the sources; with none it only finds
    /// out which items lack something. Items say what was found.
    pub async fn heal_items(
        &self,
        vault_id: [u8; 16],
        sources: &[Arc<dyn ObjectSource>],
    ) -> Result<HealedItems, Error> {
        let row = self.catalog().vault(vault_id).await?;
        let row = row.ok_or_else(|| Error::internal("to heal a vault", "it is missing"))?;
        let vault = self.open_vault(row).await?;
        let mut healed = HealedItems::default();
        let mut complete: Option<(model::ids::ResourceId, ManifestDigest)> = None;
        for item in self.catalog().items_to_look_at(vault_id).await? {
            let Some(digest) = item.manifest_digest.map(ManifestDigest) else { continue };
            let base = complete.as_ref().filter(|(resource, _)| *resource == item.resource_id);
            let base = base.map(|(_, digest)| *digest);
            healed.item_count += 1;
            let absent = self.heal_one(&vault, digest, base, sources, &mut healed).await?;
            match absent {
                None => {
                    complete = Some((item.resource_id.clone(), digest));
                    if self.catalog().note_item_healed(item.id, self.now()).await? {
                        info!(item.id = %item.id, "an item is whole again");
                        healed.healed.push(item.id);
                    }
                }
                Some(reason) => self.note_damage(&item, reason, &mut healed).await?,
            }
        }
        Ok(healed)
    }

    async fn note_damage(
        &self,
        item: &CheckpointItem,
        reason: String,
        healed: &mut HealedItems,
    ) -> Result<(), Error> {
        let failure = Failure { operation: "verify".to_owned(), code: "CSBS.9999".to_owned(), reason };
        if self.catalog().note_item_damaged(item.id, &failure, self.now()).await? {
            warn!(item.id = %item.id, reason = failure.reason, "an item is damaged");
        }
        healed.damaged.push(item.id);
        Ok(())
    }

    /// Why the item is not whole, if it is not.
    async fn heal_one(
        &self,
        vault: &Vault,
        digest: ManifestDigest,
        base: Option<ManifestDigest>,
        sources: &[Arc<dyn ObjectSource>],
        healed: &mut HealedItems,
    ) -> Result<Option<String>, Error> {
        let looking = vault.clone();
        let looked = blocking(move || {
            let manifest = looking.read_manifest(digest)?;
            let absent = looking.look_for_objects(&manifest, base, &NoProgress)?;
            Ok::<_, VaultError>((manifest, absent))
        })
        .await?;
        let (manifest, absent) = match looked {
            Ok(looked) => looked,
            Err(error) if error.is_passing() => return Err(error.into()),
            Err(error) => return Ok(Some(format!("{error}; restore it from a replica, or back up again"))),
        };
        if absent.is_nothing() {
            return Ok(None);
        }
        let operation = OperationId::from_entropy(self.entropy_bytes());
        let (healing, sources) = (vault.clone(), sources.to_vec());
        let brought = blocking(move || {
            let sources: Vec<&dyn ObjectSource> = sources.iter().map(|source| source.as_ref()).collect();
            let operation = vault::ids::OperationId(operation.bytes());
            healing.heal_item(&manifest, operation, &sources, &NoProgress)
        })
        .await?;
        self.catalog().end_operation(operation).await?;
        let brought = brought?;
        healed.brought_count += brought.brought_count;
        healed.brought_bytes += brought.brought_bytes;
        let Some(first) = brought.first_absent else { return Ok(None) };
        Ok(Some(format!(
            "at least {} of its objects are damaged or missing, the first is {first}; heal it from another vault \
             (antipode vault verify --heal-from), or back up again",
            brought.absent_count
        )))
    }
}

fn sealed(turn: &PackToVerify) -> SealedPack {
    let pack = &turn.pack.pack;
    SealedPack {
        number: PackNumber(pack.number),
        incarnation: Incarnation(pack.incarnation),
        bytes: pack.bytes,
        object_count: pack.object_count,
        footer_digest: pack.footer_digest,
    }
}

fn describe(findings: &Findings) -> String {
    match (&findings.fault, findings.bad.first()) {
        (Some(fault), _) => fault.clone(),
        (None, Some(first)) => format!(
            "{} of its {} objects are damaged, the first is {}: {}",
            findings.bad.len(),
            findings.object_count,
            first.address,
            first.why
        ),
        (None, None) => String::new(),
    }
}

/// A vault's id as people see it.
pub fn vault_name(id: [u8; 16]) -> String {
    VaultId(id).to_string()
}
