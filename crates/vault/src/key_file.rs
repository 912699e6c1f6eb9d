//! Files that hold one secret each: a region's KEK, its root key and its working keys.
//!
//! One line of text, `antipode <label> 1 <hex> <check>`, the check being the first four bytes of
//! BLAKE3 of all that precedes it: a damaged key is noticed before anything is sealed under it. Such
//! files lie outside the data directory and the store, are readable by their owner only, and appear
//! under their name complete or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::{Zeroize, Zeroizing};

use crate::error::VaultError;
use crate::ids::to_hex;

/// Longest key file that is read.
const FILE_BYTES_MAX: u64 = 1024;

/// Writes a new key file, durable when this returns. `label` is a word that tells keys apart.
///
/// # Errors
/// `KeyFile` when the file exists (it is never replaced) or cannot be written.
pub fn create_key_file(path: &Path, label: &str, secret: &[u8]) -> Result<(), VaultError> {
    let line = Zeroizing::new(render(label, secret));
    write_new(path, line.as_bytes()).map_err(|cause| failed(path, cause.to_string()))
}

/// Reads a key file of exactly `N` secret bytes.
///
/// # Errors
/// `KeyFile` when it is missing, open to others than its owner, damaged, or holds another kind of key.
pub fn load_key_file<const N: usize>(path: &Path, label: &str) -> Result<Zeroizing<[u8; N]>, VaultError> {
    let text = read_private(path)?;
    parse(&text, label).map_err(|why| failed(path, why))
}

/// The secret in the text of a key file.
pub(crate) fn parse<const N: usize>(text: &str, label: &str) -> Result<Zeroizing<[u8; N]>, String> {
    let start = format!("antipode {label} 1 ");
    let Some(rest) = text.strip_prefix(&start) else {
        return Err(format!("it does not begin with \"{start}\""));
    };
    let digits = rest.get(..2 * N).unwrap_or_default();
    let mut secret = Zeroizing::new([0u8; N]);
    match crate::ids::from_hex::<N>(digits) {
        Ok(mut bytes) => {
            secret.copy_from_slice(&bytes);
            bytes.zeroize();
        }
        Err(_) => return Err(format!("it does not hold {N} bytes")),
    }
    if text != render(label, &secret[..]) {
        return Err("its check does not match: the file is damaged".to_owned());
    }
    Ok(secret)
}

/// The label of a key file: which kind of key it holds.
///
/// # Errors
/// `KeyFile` when it is missing, open to others than its owner, or no key file.
pub fn key_file_label(path: &Path) -> Result<String, VaultError> {
    let text = read_private(path)?;
    let mut words = text.split(' ');
    match (words.next(), words.next()) {
        (Some("antipode"), Some(label)) => Ok(label.to_owned()),
        _ => Err(failed(path, "it is no key file")),
    }
}

pub(crate) fn render(label: &str, secret: &[u8]) -> String {
    let start = format!("antipode {label} 1 {} ", to_hex(secret));
    let check = to_hex(&blake3::hash(start.as_bytes()).as_bytes()[..4]);
    format!("{start}{check}\n")
}

/// A key file that cannot be used, and why.
pub(crate) fn failed(path: &Path, why: impl Into<String>) -> VaultError {
    VaultError::KeyFile { path: path.display().to_string(), why: why.into() }
}

/// Writes beside the final name and links it there, so that a crash leaves no half of a key.
fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or(io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut beside = std::ffi::OsString::from(".new-");
    beside.push(name);
    let beside = directory.join(beside);
    match fs::remove_file(&beside) {
        Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    linked?;
    File::open(directory)?.sync_all()
}

/// Reads a short text that nobody but its owner may read.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<String>, VaultError> {
    let read = || -> io::Result<(fs::Metadata, Zeroizing<String>)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        file.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
        Ok((metadata, text))
    };
    let (metadata, text) = read().map_err(|cause| match cause.kind() {
        io::ErrorKind::NotFound => failed(path, "it is missing"),
        _ => failed(path, cause.to_string()),
    })?;
    let mode = metadata.permissions().mode() & 0o777;
    if !metadata.is_file() || mode & 0o077 != 0 {
        return Err(failed(path, format!("mode {mode:o} lets others read it; it must be 600 or 400")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(result: Result<impl Sized, VaultError>) -> String {
        match result {
            Err(VaultError::KeyFile { why, .. }) => why,
            Err(error) => panic!("another error: {error}"),
            Ok(_) => panic!("it was accepted"),
        }
    }

    #[test]
    fn a_key_comes_back_and_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        create_key_file(&path, "kek", &[7; 32]).unwrap();
        assert_eq!(*load_key_file::<32>(&path, "kek").unwrap(), [7; 32]);
        assert!(why(create_key_file(&path, "kek", &[8; 32])).contains("exists"));
        assert_eq!(*load_key_file::<32>(&path, "kek").unwrap(), [7; 32]);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_crash_before_the_link_is_repaired_by_trying_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        fs::write(directory.path().join(".new-kek"), b"half of").unwrap();
        create_key_file(&path, "kek", &[7; 32]).unwrap();
        assert_eq!(*load_key_file::<32>(&path, "kek").unwrap(), [7; 32]);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        create_key_file(&path, "kek", &[7; 32]).unwrap();
        for mode in [0o640, 0o604, 0o660, 0o601] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(why(load_key_file::<32>(&path, "kek")).contains("mode"), "{mode:o}");
        }
    }

    #[test]
    fn damage_anywhere_in_the_file_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kek");
        create_key_file(&path, "kek", &[7; 32]).unwrap();
        let sound = fs::read(&path).unwrap();
        for position in 0..sound.len() {
            let mut damaged = sound.clone();
            damaged[position] ^= 1;
            fs::write(&path, &damaged).unwrap();
            assert!(load_key_file::<32>(&path, "kek").is_err(), "byte {position}");
        }
        fs::write(&path, &sound[..sound.len() - 1]).unwrap();
        assert!(load_key_file::<32>(&path, "kek").is_err());
    }

    #[test]
    fn a_key_of_another_kind_or_length_and_a_missing_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("root");
        create_key_file(&path, "root", &[7; 32]).unwrap();
        assert!(why(load_key_file::<32>(&path, "kek")).contains("begin"));
        assert!(load_key_file::<16>(&path, "root").is_err());
        assert!(load_key_file::<64>(&path, "root").is_err());
        why(load_key_file::<32>(&directory.path().join("absent"), "kek"));
    }
}
