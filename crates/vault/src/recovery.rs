//! The recovery kit: a sheet of paper from which a region's backups can be read when all else is gone.
//!
//! It carries a seed, from which the recovery key follows, and the fingerprint of the region's root
//! key, so that a reader knows whose signatures to believe. Every epoch of every restorable domain is
//! also wrapped for the recovery key. The sheet is plain text, made to be printed and typed back: each
//! row carries a check of its own, and everything that is no row is ignored. `docs/format.md`,
//! "Recovery".

use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::ids::{from_hex, to_hex};
use crate::keys::Secret;
use crate::seams::Entropy;
use crate::signed::PublicKey;
use crate::wrap::ReceivingKey;

const ROW_BYTES: usize = 8;
const ROW_COUNT: usize = 4;

/// Longest sheet that is parsed.
pub const SHEET_BYTES_MAX: usize = 64 << 10;

/// The secret on the sheet.
#[derive(Clone, Debug)]
pub struct RecoverySeed(Secret);

impl RecoverySeed {
    /// A new seed from the seam of chance.
    pub fn generate(entropy: &dyn Entropy) -> RecoverySeed {
        RecoverySeed(Secret::generate(entropy))
    }

    /// The seed with these bytes.
    pub fn from_secret(secret: Secret) -> RecoverySeed {
        RecoverySeed(secret)
    }

    /// The key that opens recovery wraps. Its public half is what a running region keeps.
    pub fn receiving_key(&self) -> ReceivingKey {
        ReceivingKey::from_secret(&self.0.derive("antipode v1 recovery x25519"))
    }
}

/// What is on the sheet.
#[derive(Clone, Debug)]
pub struct RecoveryKit {
    seed: RecoverySeed,
    root_fingerprint: [u8; 32],
}

impl RecoveryKit {
    /// A kit for the region with this root key.
    pub fn new(seed: RecoverySeed, root_key: &PublicKey) -> RecoveryKit {
        RecoveryKit { seed, root_fingerprint: root_key.fingerprint() }
    }

    /// The seed.
    pub fn seed(&self) -> &RecoverySeed {
        &self.seed
    }

    /// The fingerprint of the region's root key.
    pub fn root_fingerprint(&self) -> &[u8; 32] {
        &self.root_fingerprint
    }

    /// The text to print and keep.
    pub fn render(&self, region_name: &str) -> Zeroizing<String> {
        let key_id = self.seed.receiving_key().key_id();
        let mut sheet = Zeroizing::new(String::with_capacity(4096));
        sheet.push_str("ANTIPODE RECOVERY KIT\n\n");
        sheet.push_str(&format!("Region        {}\n", region_name.escape_debug()));
        sheet.push_str(&format!("Recovery key  {key_id}\n\n"));
        sheet.push_str(
            "Whoever holds this sheet and the object store can read every backup of this region.\n",
        );
        sheet.push_str("Keep it apart from both, and where the loss of the building does not reach it.\n\n");
        sheet.push_str("Root fingerprint (public):\n");
        push_rows(&mut sheet, "root", &self.root_fingerprint);
        sheet.push_str("\nSeed (secret):\n");
        push_rows(&mut sheet, "seed", self.seed.0.expose());
        sheet
    }

    /// Reads a sheet back, as printed or as typed by hand: case, spacing and other lines do not matter.
    ///
    /// # Errors
    /// `BadFormat` naming the row that is missing, given twice, or does not match its check.
    pub fn parse(sheet: &str) -> Result<RecoveryKit, VaultError> {
        if sheet.len() > SHEET_BYTES_MAX {
            return Err(bad("it is far too long"));
        }
        let sheet = Zeroizing::new(sheet.to_ascii_lowercase());
        let root_fingerprint = parse_rows(&sheet, "root")?;
        let seed = parse_rows(&sheet, "seed")?;
        Ok(RecoveryKit { seed: RecoverySeed(Secret::new(*seed)), root_fingerprint: *root_fingerprint })
    }

    /// Proves that a sheet is the right one: it parses, belongs to this root key, and its seed gives the
    /// recovery key that wraps are made for.
    ///
    /// # Errors
    /// `BadFormat` as [`RecoveryKit::parse`], `Refused` when it is another region's or an older sheet.
    pub fn prove(sheet: &str, root_key: &PublicKey, recovery_key: &[u8; 32]) -> Result<(), VaultError> {
        let kit = RecoveryKit::parse(sheet)?;
        if kit.root_fingerprint != root_key.fingerprint() {
            return Err(VaultError::refused("the sheet belongs to another region"));
        }
        if kit.seed.receiving_key().public() != *recovery_key {
            return Err(VaultError::refused("the sheet holds another recovery key"));
        }
        Ok(())
    }
}

fn bad(why: impl Into<String>) -> VaultError {
    VaultError::bad_format("recovery kit", why)
}

/// The check of a row: it tells a mistyped row, and rows in the wrong place.
fn row_check(word: &str, number: u8, row: &[u8; ROW_BYTES]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("antipode v1 kit row");
    hasher.update(word.as_bytes()).update(&[number]).update(row);
    to_hex(&hasher.finalize().as_bytes()[..2])
}

fn push_rows(sheet: &mut String, word: &str, bytes: &[u8; 32]) {
    let (rows, _) = bytes.as_chunks::<ROW_BYTES>();
    for (number, row) in (1u8..).zip(rows) {
        sheet.push_str(&format!("  {word} {number}  "));
        for group in row.chunks(2) {
            let digits = Zeroizing::new(to_hex(group));
            sheet.push(' ');
            sheet.push_str(&digits);
        }
        sheet.push_str(&format!("   check {}\n", row_check(word, number, row)));
    }
}

fn parse_rows(sheet: &str, word: &str) -> Result<Zeroizing<[u8; 32]>, VaultError> {
    let mut bytes = Zeroizing::new([0u8; 32]);
    for number in 1..=ROW_COUNT as u8 {
        let mut found = sheet.lines().filter_map(|line| row_of(line, word, number));
        let (Some(row), None) = (found.next(), found.next()) else {
            return Err(bad(format!("row \"{word} {number}\" must be there once")));
        };
        let row = row.ok_or_else(|| bad(format!("row \"{word} {number}\" is mistyped")))?;
        bytes[(usize::from(number) - 1) * ROW_BYTES..][..ROW_BYTES].copy_from_slice(&row[..]);
    }
    Ok(bytes)
}

/// `None` for another line, `Some(None)` for the wanted row with a mistake in it.
fn row_of(line: &str, word: &str, number: u8) -> Option<Option<Zeroizing<[u8; ROW_BYTES]>>> {
    let mut words = line.split_whitespace();
    if words.next()? != word || words.next()? != number.to_string() {
        return None;
    }
    let rest: Zeroizing<String> = Zeroizing::new(words.collect());
    let read = || {
        let (digits, check) = rest.split_once("check")?;
        let row = Zeroizing::new(from_hex::<ROW_BYTES>(digits).ok()?);
        (row_check(word, number, &row) == check).then_some(row)
    };
    Some(read())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::tests::region;
    use crate::seams::SeededEntropy;

    fn kit() -> (RecoveryKit, PublicKey) {
        let (root, _) = region(1);
        (RecoveryKit::new(RecoverySeed::generate(&SeededEntropy::new(4)), &root.public()), root.public())
    }

    #[test]
    fn a_sheet_proves_itself() {
        let (kit, root) = kit();
        let sheet = kit.render("cn-north-1");
        RecoveryKit::prove(&sheet, &root, &kit.seed().receiving_key().public()).unwrap();
        let parsed = RecoveryKit::parse(&sheet).unwrap();
        assert_eq!(parsed.root_fingerprint(), kit.root_fingerprint());
        assert_eq!(parsed.seed().receiving_key().key_id(), kit.seed().receiving_key().key_id());
    }

    #[test]
    fn a_sheet_may_be_typed_in_capitals_without_groups_or_prose() {
        let (kit, _) = kit();
        let rows: Vec<String> = kit
            .render("x")
            .lines()
            .filter(|line| line.contains("check"))
            .map(|line| line.to_uppercase().replacen(' ', "\t", 3))
            .collect();
        let reversed: Vec<String> = rows.into_iter().rev().collect();
        let parsed = RecoveryKit::parse(&reversed.join("\r\n")).unwrap();
        assert_eq!(parsed.seed().receiving_key().public(), kit.seed().receiving_key().public());
    }

    #[test]
    fn every_mistyped_digit_is_noticed_and_its_row_named() {
        let (kit, _) = kit();
        let sheet = kit.render("x").to_string();
        for (start, line) in
            sheet.lines().map(|line| (line.as_ptr() as usize - sheet.as_ptr() as usize, line))
        {
            if !line.contains("check") {
                continue;
            }
            let name: Vec<&str> = line.split_whitespace().take(2).collect();
            for (at, _) in line.char_indices().filter(|(at, digit)| *at > 9 && digit.is_ascii_hexdigit()) {
                let mut typed = sheet.clone().into_bytes();
                typed[start + at] = if typed[start + at] == b'0' { b'1' } else { b'0' };
                let error = RecoveryKit::parse(&String::from_utf8(typed).unwrap()).unwrap_err();
                assert!(error.to_string().contains(&name.join(" ")), "{error}");
            }
        }
    }

    #[test]
    fn missing_doubled_and_swapped_rows_are_refused() {
        let (kit, _) = kit();
        let sheet = kit.render("x").to_string();
        let row = sheet.lines().find(|line| line.contains("seed 2")).unwrap();
        assert!(RecoveryKit::parse(&sheet.replace(row, "")).is_err());
        assert!(RecoveryKit::parse(&format!("{sheet}\n{row}")).is_err());
        assert!(
            RecoveryKit::parse(
                &sheet.replace("seed 2", "seed 9").replace("seed 3", "seed 2").replace("seed 9", "seed 3")
            )
            .is_err()
        );
        assert!(RecoveryKit::parse(&" ".repeat(SHEET_BYTES_MAX + 1)).is_err());
        assert!(RecoveryKit::parse("").is_err());
    }

    #[test]
    fn a_sheet_of_another_region_or_an_older_one_proves_nothing() {
        let (kit, root) = kit();
        let sheet = kit.render("x");
        let (stranger, _) = region(2);
        let recovery = kit.seed().receiving_key().public();
        assert!(RecoveryKit::prove(&sheet, &stranger.public(), &recovery).is_err());
        assert!(RecoveryKit::prove(&sheet, &root, &[1; 32]).is_err());
    }

    #[test]
    fn debug_shows_no_seed() {
        let (kit, _) = kit();
        assert!(!format!("{kit:?}").contains(&to_hex(kit.seed.0.expose())));
    }
}
