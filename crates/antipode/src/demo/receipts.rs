//! Checks receipts as an auditor would: with the fingerprint of the destination's root key, which stands on its
//! recovery kit, its public cards, and nothing that the source says.

use std::path::{Path, PathBuf};

use vault::card::Card;
use vault::ids::from_hex;
use vault::receipt::{RECEIPT_BYTES_MAX, Receipt};
use vault::recovery::RecoveryKit;
use vault::signed::Signers;

use super::screen::mebibytes;
use crate::dev::failure::Failure;
use crate::dev::region::RecordProgress;

/// Those who may sign for the region whose root fingerprint stands on the kit.
pub(super) fn signers(store: &Path, kit: &Path) -> Result<Signers, Failure> {
    let sheet = std::fs::read_to_string(kit).map_err(Failure::io("reading", kit))?;
    let kit = RecoveryKit::parse(&sheet).map_err(|error| Failure::other(error.to_string()))?;
    let mut signers = Signers::new();
    for path in files(&store.join("cards"))? {
        let bytes = std::fs::read(&path).map_err(Failure::io("reading", &path))?;
        let card = Card::decode(&bytes).map_err(|error| Failure::other(error.to_string()))?;
        if card.root_key().fingerprint() == *kit.root_fingerprint() {
            signers.trust_region(card.region());
            signers.add_card(&card);
        }
    }
    Ok(signers)
}

/// All files below a folder.
fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Failure::io("listing", folder))? {
        let path = entry.map_err(Failure::io("listing", folder))?.path();
        if path.is_dir() { found.extend(files(&path)?) } else { found.push(path) }
    }
    Ok(found)
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pair = |start: usize| hex.get(start..start + 2).and_then(|pair| from_hex::<1>(pair).ok());
    (0..hex.len()).step_by(2).map(|start| pair(start).map(|[byte]| byte)).collect()
}

/// Checks the receipt of a record; answers what it says.
pub(super) fn check(record: &RecordProgress, signers: &Signers) -> Result<String, Failure> {
    let refused = |why: String| Failure::other(format!("record {}: {why}", record.id));
    let text = record.receipt.as_deref().filter(|text| text.len() as u64 <= 2 * RECEIPT_BYTES_MAX);
    let text = text.ok_or_else(|| refused(format!("is {} without a receipt", record.state)))?;
    let bytes = bytes_of(text).ok_or_else(|| refused("the receipt is not hex".to_owned()))?;
    let receipt = Receipt::decode(&bytes, signers).map_err(|error| refused(error.to_string()))?;
    if record.state != "done" || !signers.trusts(receipt.destination_region) {
        return Err(refused(format!("is {} with a receipt of another region", record.state)));
    }
    let manifest = receipt.manifest.to_string();
    Ok(format!(
        "signed: manifest {}…, {} objects, {}, level {:?}",
        manifest.get(..16).unwrap_or(&manifest),
        receipt.object_count,
        mebibytes(receipt.stored_bytes),
        receipt.level
    ))
}
