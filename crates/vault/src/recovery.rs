//! The recovery kit: a sheet of paper from which a region's backups can be read when all else is gone.
//!
//! It carries a seed, from which the recovery key follows, and the fingerprint of the region's root
//! key, so that a reader knows whose signatures to believe. Every epoch of every restorable domain is
//! also wrapped for the recovery key. The sheet is plain text, made to be printed and typed back: each
//! row carries a check of its own, and everything that is no row is ignored. The same can be scanned:
//! one line of text, for a QR code. Instead of the seed, sheets may carry shares of it ([`shares`]).
//! `docs/format.md`, "Recovery".

pub mod shares;
pub mod wraps;

use zeroize::Zeroizing;

use self::shares::{SHARE_BYTES, Share, Split};
use crate::error::VaultError;
use crate::ids::{KeyId, from_hex, to_hex};
use crate::keys::Secret;
use crate::seams::Entropy;
use crate::signed::PublicKey;
use crate::wrap::ReceivingKey;

const ROW_BYTES: usize = 8;
/// How the text of a QR code begins.
const KIT_TEXT: &str = "ANTIPODE KIT 1";
const SHARE_TEXT: &str = "ANTIPODE SHARE 1";
const TEXT_CHECK_BYTES: usize = 4;

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

    /// Shares of this kit, each a sheet of its own.
    pub fn split(&self, split: Split, entropy: &dyn Entropy) -> Vec<KitShare> {
        let shares = Share::split(&self.seed, split, entropy).into_iter();
        let key_id = self.seed.receiving_key().key_id();
        shares
            .map(|share| KitShare { share, root_fingerprint: self.root_fingerprint, key_id: Some(key_id) })
            .collect()
    }

    /// Joins what was typed or scanned from one whole sheet, or from enough sheets with shares.
    ///
    /// # Errors
    /// `BadFormat` naming what is missing, mistyped or does not belong together.
    pub fn assemble<'a>(sheets: impl IntoIterator<Item = &'a str>) -> Result<RecoveryKit, VaultError> {
        let (mut shares, mut root) = (Vec::new(), None);
        for text in sheets {
            let share = match Sheet::parse(text)? {
                Sheet::Whole(kit) => return Ok(kit),
                Sheet::Share(share) => share,
            };
            if root.is_some_and(|root| root != share.root_fingerprint) {
                return Err(bad("the sheets belong to different regions"));
            }
            root = Some(share.root_fingerprint);
            shares.push(share.share);
        }
        let root_fingerprint = root.ok_or_else(|| bad("there is no sheet"))?;
        Ok(RecoveryKit { seed: Share::join(&shares)?, root_fingerprint })
    }

    /// The text of the sheet's QR code.
    pub fn text(&self) -> Zeroizing<String> {
        text_of(KIT_TEXT, &self.root_fingerprint, self.seed.0.expose())
    }

    /// The text to print and keep.
    pub fn render(&self, region_name: &str) -> Zeroizing<String> {
        let key_id = self.seed.receiving_key().key_id();
        let mut sheet = head("ANTIPODE RECOVERY KIT", region_name, Some(key_id));
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
        if !has_rows(&sheet, "seed")
            && let Some((root_fingerprint, seed)) = parse_text::<32>(KIT_TEXT, &sheet)?
        {
            return Ok(RecoveryKit { seed: RecoverySeed(Secret::new(*seed)), root_fingerprint });
        }
        let root_fingerprint = parse_rows::<32>(&sheet, "root")?;
        let seed = parse_rows::<32>(&sheet, "seed")?;
        Ok(RecoveryKit { seed: RecoverySeed(Secret::new(*seed)), root_fingerprint: *root_fingerprint })
    }

    /// Proves that a sheet is the right one: it parses, belongs to this root key, and its seed gives the
    /// recovery key that wraps are made for.
    ///
    /// # Errors
    /// `BadFormat` as [`RecoveryKit::parse`], `Refused` when it is another region's or an older sheet.
    pub fn prove(sheet: &str, root_key: &PublicKey, recovery_key: &[u8; 32]) -> Result<(), VaultError> {
        RecoveryKit::parse(sheet)?.belongs_to(root_key, recovery_key)
    }

    /// Proves that this is the kit of the region with this root key, for this recovery key.
    ///
    /// # Errors
    /// `Refused` when it is another region's or an older one.
    pub fn belongs_to(&self, root_key: &PublicKey, recovery_key: &[u8; 32]) -> Result<(), VaultError> {
        let kit = self;
        if kit.root_fingerprint != root_key.fingerprint() {
            return Err(VaultError::refused("the sheet belongs to another region"));
        }
        if kit.seed.receiving_key().public() != *recovery_key {
            return Err(VaultError::refused("the sheet holds another recovery key"));
        }
        Ok(())
    }
}

/// One sheet of a kit that was split.
#[derive(Clone, Debug)]
pub struct KitShare {
    share: Share,
    root_fingerprint: [u8; 32],
    key_id: Option<KeyId>,
}

impl KitShare {
    /// The share.
    pub fn share(&self) -> &Share {
        &self.share
    }

    /// The text of the sheet's QR code.
    pub fn text(&self) -> Zeroizing<String> {
        text_of(SHARE_TEXT, &self.root_fingerprint, &self.share.encode())
    }

    /// The text to print and keep.
    pub fn render(&self, region_name: &str) -> Zeroizing<String> {
        let (number, split) = (self.share.number(), self.share.of());
        let title = format!("ANTIPODE RECOVERY KIT, SHARE {number} OF {}", split.count());
        let mut sheet = head(&title, region_name, self.key_id);
        sheet.push_str(&format!(
            "Any {} of these {} sheets and the object store give every backup of this region;\n",
            split.needed(),
            split.count()
        ));
        sheet.push_str("fewer tell nothing. Keep them with different people, in different places.\n\n");
        sheet.push_str("Root fingerprint (public):\n");
        push_rows(&mut sheet, "root", &self.root_fingerprint);
        sheet.push_str("\nShare (secret):\n");
        push_rows(&mut sheet, "share", &self.share.encode());
        sheet
    }
}

/// A sheet as it was read back.
#[derive(Clone, Debug)]
pub enum Sheet {
    /// The whole kit.
    Whole(RecoveryKit),
    /// A share of it.
    Share(KitShare),
}

impl Sheet {
    /// Reads a sheet of either kind.
    ///
    /// # Errors
    /// `BadFormat` as [`RecoveryKit::parse`].
    pub fn parse(sheet: &str) -> Result<Sheet, VaultError> {
        if sheet.len() > SHEET_BYTES_MAX {
            return Err(bad("it is far too long"));
        }
        let text = Zeroizing::new(sheet.to_ascii_lowercase());
        let (root_fingerprint, bytes) = if has_rows(&text, "share") {
            (*parse_rows::<32>(&text, "root")?, parse_rows::<SHARE_BYTES>(&text, "share")?)
        } else {
            let scanned = if has_rows(&text, "seed") { None } else { parse_text(SHARE_TEXT, &text)? };
            match scanned {
                Some(scanned) => scanned,
                None => return RecoveryKit::parse(sheet).map(Sheet::Whole),
            }
        };
        Ok(Sheet::Share(KitShare { share: Share::decode(&bytes[..])?, root_fingerprint, key_id: None }))
    }
}

fn head(title: &str, region_name: &str, key_id: Option<KeyId>) -> Zeroizing<String> {
    let mut sheet = Zeroizing::new(String::with_capacity(16 << 10));
    sheet.push_str(&format!("{title}\n\nRegion        {}\n", region_name.escape_debug()));
    if let Some(key_id) = key_id {
        sheet.push_str(&format!("Recovery key  {key_id}\n"));
    }
    sheet.push('\n');
    sheet
}

fn bad(why: impl Into<String>) -> VaultError {
    VaultError::bad_format("recovery kit", why)
}

/// The check of a row: it tells a mistyped row, and rows in the wrong place.
fn row_check(word: &str, number: u8, row: &[u8]) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("antipode v1 kit row");
    hasher.update(word.as_bytes()).update(&[number]).update(row);
    to_hex(&hasher.finalize().as_bytes()[..2])
}

fn push_rows(sheet: &mut String, word: &str, bytes: &[u8]) {
    for (number, row) in (1u8..).zip(bytes.chunks(ROW_BYTES)) {
        sheet.push_str(&format!("  {word} {number}  "));
        for group in row.chunks(2) {
            let digits = Zeroizing::new(to_hex(group));
            sheet.push(' ');
            sheet.push_str(&digits);
        }
        sheet.push_str(&format!("   check {}\n", row_check(word, number, row)));
    }
}

fn has_rows(sheet: &str, word: &str) -> bool {
    sheet.lines().any(|line| row_of(line, word, 1, ROW_BYTES).is_some())
}

fn parse_rows<const N: usize>(sheet: &str, word: &str) -> Result<Zeroizing<[u8; N]>, VaultError> {
    let mut bytes = Zeroizing::new([0u8; N]);
    for (number, place) in (1u8..).zip(bytes.chunks_mut(ROW_BYTES)) {
        let mut found = sheet.lines().filter_map(|line| row_of(line, word, number, place.len()));
        let (Some(row), None) = (found.next(), found.next()) else {
            return Err(bad(format!("row \"{word} {number}\" must be there once")));
        };
        let row = row.ok_or_else(|| bad(format!("row \"{word} {number}\" is mistyped")))?;
        place.copy_from_slice(&row);
    }
    Ok(bytes)
}

/// `None` for another line, `Some(None)` for the wanted row with a mistake in it.
fn row_of(line: &str, word: &str, number: u8, length: usize) -> Option<Option<Zeroizing<Vec<u8>>>> {
    let mut words = line.split_whitespace();
    if words.next()? != word || words.next()? != number.to_string() {
        return None;
    }
    let rest: Zeroizing<String> = Zeroizing::new(words.collect());
    let read = || {
        let (digits, check) = rest.split_once("check")?;
        let row = bytes_of(digits)?;
        (row.len() == length && row_check(word, number, &row) == check).then_some(row)
    };
    Some(read())
}

fn bytes_of(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let pair = |pair: &[u8]| from_hex::<1>(std::str::from_utf8(pair).ok()?).ok().map(|[byte]| byte);
    digits.as_bytes().chunks(2).map(pair).collect::<Option<Vec<u8>>>().map(Zeroizing::new)
}

/// One line for a QR code, in its alphanumeric mode: words, root fingerprint, secret, check.
fn text_of(start: &str, root_fingerprint: &[u8; 32], secret: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(256));
    text.push_str(&format!("{start} {} ", to_hex(root_fingerprint).to_ascii_uppercase()));
    text.push_str(&Zeroizing::new(to_hex(secret)).to_ascii_uppercase());
    let check = text_check(start, root_fingerprint, secret);
    text.push_str(&format!(" {}", to_hex(&check).to_ascii_uppercase()));
    text
}

fn text_check(start: &str, root_fingerprint: &[u8; 32], secret: &[u8]) -> [u8; TEXT_CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("antipode v1 kit text");
    hasher.update(start.as_bytes()).update(root_fingerprint).update(secret);
    let mut check = [0; TEXT_CHECK_BYTES];
    check.copy_from_slice(&hasher.finalize().as_bytes()[..TEXT_CHECK_BYTES]);
    check
}

/// What stands in the text of a QR code, if there is one; it may be broken into several lines.
type Scanned<const N: usize> = ([u8; 32], Zeroizing<[u8; N]>);

fn parse_text<const N: usize>(start: &str, sheet: &str) -> Result<Option<Scanned<N>>, VaultError> {
    let Some((_, rest)) = sheet.split_once(&start.to_ascii_lowercase()) else { return Ok(None) };
    let length = 32 + N + TEXT_CHECK_BYTES;
    let digits = rest.chars().filter(|digit| !digit.is_whitespace()).take(2 * length);
    let digits: Zeroizing<String> = Zeroizing::new(digits.collect());
    let mistyped = || bad("the text of the QR code is mistyped or cut off");
    let bytes = bytes_of(&digits).filter(|bytes| bytes.len() == length).ok_or_else(mistyped)?;
    let (root, rest) = bytes.split_at(32);
    let (secret, check) = rest.split_at(N);
    let (mut fingerprint, mut copy) = ([0; 32], Zeroizing::new([0; N]));
    fingerprint.copy_from_slice(root);
    copy.copy_from_slice(secret);
    match text_check(start, &fingerprint, secret)[..] == *check {
        true => Ok(Some((fingerprint, copy))),
        false => Err(mistyped()),
    }
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
    fn the_text_of_the_qr_code_is_the_same_kit() {
        let (kit, root) = kit();
        let text = kit.text();
        let is_alphanumeric =
            |letter: char| letter.is_ascii_digit() || letter.is_ascii_uppercase() || letter == ' ';
        assert!(text.chars().all(is_alphanumeric) && text.starts_with("ANTIPODE KIT 1 "));
        let recovery = kit.seed().receiving_key().public();
        let broken = text.as_bytes().chunks(40).map(|line| String::from_utf8(line.to_vec()).unwrap());
        let broken = broken.collect::<Vec<_>>().join("\n   ");
        for typed in [text.to_string(), text.to_lowercase(), format!("scanned:\n{}\n", *text), broken] {
            RecoveryKit::prove(&typed, &root, &recovery).unwrap_or_else(|error| panic!("{typed}: {error}"));
        }
        for (at, _) in text.char_indices().skip("ANTIPODE KIT 1 ".len()).filter(|(_, letter)| *letter != ' ')
        {
            let mut typed = text.as_bytes().to_vec();
            typed[at] = if typed[at] == b'0' { b'1' } else { b'0' };
            assert!(RecoveryKit::parse(&String::from_utf8(typed).unwrap()).is_err(), "digit {at}");
        }
        assert!(RecoveryKit::parse(&text[..text.len() - 1]).is_err());
    }

    #[test]
    fn three_of_five_sheets_are_the_kit_again() {
        let (kit, root) = kit();
        let recovery = kit.seed().receiving_key().public();
        let shares = kit.split(Split::new(3, 5).unwrap(), &SeededEntropy::new(6));
        let sheets: Vec<String> = shares.iter().map(|share| share.render("eu-a").to_string()).collect();
        let seed = to_hex(kit.seed.0.expose()).to_ascii_uppercase();
        assert!(shares.iter().all(|share| !share.text().contains(&seed)));
        let mixed = [sheets[4].as_str(), &shares[1].text(), sheets[2].as_str()];
        let joined = RecoveryKit::assemble(mixed).unwrap();
        joined.belongs_to(&root, &recovery).unwrap();
        assert!(RecoveryKit::assemble(mixed[..2].iter().copied()).is_err());
        assert!(RecoveryKit::assemble([kit.render("x").as_str()]).is_ok());
        assert!(RecoveryKit::assemble([]).is_err());
        let (stranger, _) = region(2);
        let other = RecoveryKit { root_fingerprint: stranger.public().fingerprint(), ..kit.clone() };
        let other = other.split(Split::new(3, 5).unwrap(), &SeededEntropy::new(6));
        let foreign = [sheets[0].as_str(), sheets[1].as_str(), &other[2].text()];
        assert!(RecoveryKit::assemble(foreign).is_err(), "a sheet of another region");
        for line in sheets[0].lines().filter(|line| line.contains("check")) {
            let row = line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            let (rest, last) = line.split_at(line.len() - 1);
            let typed = format!("{rest}{}", if last == "0" { '1' } else { '0' });
            let error = Sheet::parse(&sheets[0].replace(line, &typed)).unwrap_err();
            assert!(error.to_string().contains(&row), "{row}: {error}");
        }
    }

    #[test]
    fn debug_shows_no_seed() {
        let (kit, _) = kit();
        assert!(!format!("{kit:?}").contains(&to_hex(kit.seed.0.expose())));
    }
}
