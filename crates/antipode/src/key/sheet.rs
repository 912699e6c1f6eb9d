//! The sheets of a recovery kit as they are printed: the rows to type, the same as a QR code, and the
//! commands that take them. One sheet, or one for each share.

use std::path::{Path, PathBuf};

use qrcode::render::unicode::Dense1x2;
use qrcode::{EcLevel, QrCode};
use vault::recovery::RecoveryKit;
use vault::recovery::shares::Split;
use vault::seams::Entropy;
use zeroize::Zeroizing;

use crate::init::write_private;
use crate::serve::StartError;

const COMMANDS: &str = "\
Prove it now and then, from a copy or typed in (whole sheet, rows only, or the text of the QR code):
  antipode key prove SHEET [SHEET ...]
The region's KEK is lost:     antipode key recover SHEET [SHEET ...]
The whole region is lost, and a copy of its object store is there:
  python3 antipode_restore.py list    --store STORE --kit SHEET [SHEET ...]
  python3 antipode_restore.py restore --store STORE --kit SHEET [SHEET ...] --item ID --volume ID --output FILE
";

/// Writes a kit to `path`; split, one sheet a share beside it. Answers the files, in order.
///
/// # Errors
/// `Io` when a file is there already or cannot be written.
pub(crate) fn write_sheets(
    kit: &RecoveryKit,
    region: &str,
    path: &Path,
    split: Option<Split>,
    entropy: &dyn Entropy,
) -> Result<Vec<PathBuf>, StartError> {
    let Some(split) = split else {
        write_private(path, sheet(&kit.render(region), &kit.text())?.as_bytes())?;
        return Ok(vec![path.to_owned()]);
    };
    let mut paths = Vec::new();
    for share in kit.split(split, entropy) {
        let path = share_path(path, share.share().number());
        write_private(&path, sheet(&share.render(region), &share.text())?.as_bytes())?;
        paths.push(path);
    }
    Ok(paths)
}

/// Where the sheet of a share goes: `kit.txt` becomes `kit-share-2.txt`.
pub(crate) fn share_path(path: &Path, number: u8) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-share-{number}.{}", extension.to_string_lossy()),
        None => format!("{stem}-share-{number}"),
    };
    path.with_file_name(name)
}

fn sheet(rows: &str, text: &str) -> Result<Zeroizing<String>, StartError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::M);
    let code = code.map_err(|error| StartError::Refused(format!("the QR code cannot be made: {error}")))?;
    let drawn = Zeroizing::new(code.render::<Dense1x2>().quiet_zone(true).build());
    let mut sheet = Zeroizing::new(String::with_capacity(32 << 10));
    for part in [rows, "\nThe same as a QR code, and the text it holds:\n\n", &drawn, "\n"] {
        sheet.push_str(part);
    }
    for line in text.as_bytes().chunks(72) {
        sheet.push_str(&format!("{}\n", String::from_utf8_lossy(line)));
    }
    sheet.push('\n');
    sheet.push_str(COMMANDS);
    Ok(sheet)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use vault::card::RootKey;
    use vault::keys::Secret;
    use vault::recovery::RecoverySeed;
    use vault::seams::SeededEntropy;

    use super::*;

    fn kit() -> (RecoveryKit, RootKey) {
        let entropy = SeededEntropy::new(1);
        let root = RootKey::from_secret(&Secret::generate(&entropy));
        (RecoveryKit::new(RecoverySeed::generate(&entropy), &root.public()), root)
    }

    #[test]
    fn a_sheet_fits_on_a_page_and_is_read_back_whole_or_by_its_code_alone() {
        let (kit, root) = kit();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kit.txt");
        let files = write_sheets(&kit, "eu-a", &path, None, &SeededEntropy::new(2)).unwrap();
        assert_eq!(files, std::slice::from_ref(&path));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        let sheet = std::fs::read_to_string(&path).unwrap();
        assert!(sheet.lines().count() <= 66, "{} lines", sheet.lines().count());
        assert!(sheet.lines().all(|line| line.chars().count() <= 120), "{sheet}");
        let recovery = kit.seed().receiving_key().public();
        RecoveryKit::prove(&sheet, &root.public(), &recovery).unwrap();
        let from_code = &sheet[sheet.find("ANTIPODE KIT 1").unwrap()..];
        RecoveryKit::prove(from_code, &root.public(), &recovery).unwrap();
        assert!(write_sheets(&kit, "eu-a", &path, None, &SeededEntropy::new(2)).is_err(), "never replaced");
    }

    #[test]
    fn shares_lie_beside_each_other_and_any_three_are_the_kit() {
        let (kit, root) = kit();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kit.txt");
        let split = Some(Split::new(3, 5).unwrap());
        let files = write_sheets(&kit, "eu-a", &path, split, &SeededEntropy::new(2)).unwrap();
        assert_eq!(files[4], folder.path().join("kit-share-5.txt"));
        let read: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
        assert!(read.iter().all(|sheet| sheet.lines().count() <= 66));
        let three = [&read[0], &read[3], &read[4]].map(String::as_str);
        let joined = RecoveryKit::assemble(three).unwrap();
        joined.belongs_to(&root.public(), &kit.seed().receiving_key().public()).unwrap();
        assert!(RecoveryKit::assemble(three[..2].iter().copied()).is_err());
    }

    #[test]
    fn the_code_is_drawn_with_half_blocks_and_holds_the_text() {
        let (kit, _) = kit();
        let text = kit.text();
        let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::M).unwrap();
        let drawn = sheet(&kit.render("x"), &text).unwrap();
        let rows = drawn.lines().filter(|line| line.contains(['█', '▀', '▄'])).count();
        // Two modules a character, a quiet zone of four around; blank rows do not count.
        assert!(rows >= code.width().div_ceil(2) && rows <= code.width().div_ceil(2) + 4, "{rows}");
    }
}
