//! Where a KEK comes from: a key file that holds it, or a passphrase and a key file that holds what
//! argon2id needs besides. Passphrases come from a private file or a terminal, never from arguments or
//! the environment.

use std::fmt;
use std::path::Path;

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::kek::Kek;
use crate::key_file::{self, create_key_file, key_file_label, load_key_file};
use crate::keys::{Secret, derive};
use crate::seams::Entropy;

/// The words in the key files.
const FILE_LABEL: &str = "kek";
const NUMBERED_LABEL: &str = "kek-numbered";
const PASSPHRASE_LABEL: &str = "kek-passphrase";

const SALT_BYTES: usize = 16;
const CHECK_BYTES: usize = 16;
const PASSPHRASE_FILE_BYTES: usize = SALT_BYTES + 4 * 4 + CHECK_BYTES;
const PASSPHRASE_CHARACTERS_MIN: usize = 12;
const PASSPHRASE_BYTES_MAX: usize = 1000;
/// Limits on what a key file may ask for: 4 GiB, so that a damaged one cannot eat the machine.
const MEMORY_KIB_MAX: u32 = 4 << 20;
const PASSES_MAX: u32 = 64;
const LANES_MAX: u32 = 64;

/// How a KEK is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KekKind {
    /// In its key file.
    File,
    /// In somebody's head; the key file holds salt and cost.
    Passphrase,
}

/// A passphrase that a KEK is derived from.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Takes a passphrase over.
    ///
    /// # Errors
    /// `Refused` when it has fewer than 12 characters or more than 1000 bytes.
    pub fn new(text: Zeroizing<String>) -> Result<Passphrase, VaultError> {
        if text.chars().count() < PASSPHRASE_CHARACTERS_MIN || text.len() > PASSPHRASE_BYTES_MAX {
            return Err(VaultError::refused(
                "a passphrase has at least 12 characters and at most 1000 bytes",
            ));
        }
        Ok(Passphrase(text))
    }

    /// Reads the first line of a file that only its owner can read.
    ///
    /// # Errors
    /// `KeyFile`, or `Refused` as [`Passphrase::new`].
    pub fn read(path: &Path) -> Result<Passphrase, VaultError> {
        let text = key_file::read_private(path)?;
        Passphrase::new(Zeroizing::new(text.lines().next().unwrap_or_default().to_owned()))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Passphrase(..)")
    }
}

/// What deriving a KEK from a passphrase costs (argon2id, version 0x13).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PassphraseCost {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl PassphraseCost {
    /// The second choice of RFC 9106: 64 MiB, three passes, four lanes.
    pub const DEFAULT: PassphraseCost = PassphraseCost { memory_kib: 64 << 10, passes: 3, lanes: 4 };
}

/// How a new KEK is to be kept.
#[derive(Clone, Copy, Debug)]
pub enum NewKek<'a> {
    /// In its key file.
    File,
    /// Derived from a passphrase.
    Passphrase {
        /// The passphrase.
        passphrase: &'a Passphrase,
        /// What deriving it costs.
        cost: PassphraseCost,
    },
}

impl Kek {
    /// Makes a region's first key and its file, which must not exist. Durable when this returns.
    ///
    /// # Errors
    /// `KeyFile`.
    pub fn create(path: &Path, entropy: &dyn Entropy) -> Result<Kek, VaultError> {
        Kek::create_new(path, 0, &NewKek::File, entropy)
    }

    /// Makes a new key with this number and its file, which must not exist. Durable when this returns.
    ///
    /// # Errors
    /// `KeyFile`; `Refused` for a cost that argon2id does not know.
    pub fn create_new(
        path: &Path,
        number: u32,
        new: &NewKek<'_>,
        entropy: &dyn Entropy,
    ) -> Result<Kek, VaultError> {
        let secret = match new {
            NewKek::Passphrase { passphrase, cost } => {
                let mut salt = [0u8; SALT_BYTES];
                entropy.fill(&mut salt);
                let secret = derive_secret(passphrase, &salt, *cost)?;
                let mut bytes = Vec::with_capacity(PASSPHRASE_FILE_BYTES);
                bytes.extend_from_slice(&salt);
                for part in [number, cost.memory_kib, cost.passes, cost.lanes] {
                    bytes.extend_from_slice(&part.to_le_bytes());
                }
                bytes.extend_from_slice(&check_of(&secret));
                create_key_file(path, PASSPHRASE_LABEL, &bytes)?;
                secret
            }
            NewKek::File => {
                let secret = Secret::generate(entropy);
                if number == 0 {
                    create_key_file(path, FILE_LABEL, secret.expose())?;
                } else {
                    let bytes = Zeroizing::new([&number.to_le_bytes()[..], secret.expose()].concat());
                    create_key_file(path, NUMBERED_LABEL, &bytes)?;
                }
                secret
            }
        };
        Ok(Kek::numbered(number, &secret))
    }

    /// Reads the key from its file; for one that needs no passphrase.
    ///
    /// # Errors
    /// As [`Kek::load_with`].
    pub fn load(path: &Path) -> Result<Kek, VaultError> {
        Kek::load_with(path, None)
    }

    /// Reads the key from its file, with the passphrase where it takes one.
    ///
    /// # Errors
    /// `KeyFile` when the file is missing, damaged, or open to others than its owner, and when the
    /// passphrase is missing or another one.
    pub fn load_with(path: &Path, passphrase: Option<&Passphrase>) -> Result<Kek, VaultError> {
        match key_file_label(path)?.as_str() {
            PASSPHRASE_LABEL => load_derived(path, passphrase),
            NUMBERED_LABEL => {
                let bytes = load_key_file::<36>(path, NUMBERED_LABEL)?;
                let (number, secret) = bytes.split_at(4);
                Ok(Kek::numbered(u32_at(number, 0), &Secret::new(taken(secret))))
            }
            _ => Ok(Kek::new(&Secret::new(*load_key_file::<32>(path, FILE_LABEL)?))),
        }
    }

    /// How the KEK of a key file is kept, and what deriving it costs if it comes from a passphrase.
    ///
    /// # Errors
    /// `KeyFile`.
    pub fn kind_of(path: &Path) -> Result<(KekKind, Option<PassphraseCost>), VaultError> {
        if key_file_label(path)? != PASSPHRASE_LABEL {
            return Ok((KekKind::File, None));
        }
        let bytes = load_key_file::<PASSPHRASE_FILE_BYTES>(path, PASSPHRASE_LABEL)?;
        Ok((KekKind::Passphrase, Some(cost_of(&bytes[..]))))
    }
}

fn load_derived(path: &Path, passphrase: Option<&Passphrase>) -> Result<Kek, VaultError> {
    let bytes = load_key_file::<PASSPHRASE_FILE_BYTES>(path, PASSPHRASE_LABEL)?;
    let passphrase = passphrase.ok_or_else(|| {
        key_file::failed(path, "it takes a passphrase: name its file in keys.passphrase_file, or type it")
    })?;
    let secret = derive_secret(passphrase, &bytes[..SALT_BYTES], cost_of(&bytes[..]))?;
    if check_of(&secret)[..] != bytes[PASSPHRASE_FILE_BYTES - CHECK_BYTES..] {
        return Err(key_file::failed(path, "the passphrase is another one"));
    }
    Ok(Kek::numbered(u32_at(&bytes[..], SALT_BYTES), &secret))
}

fn cost_of(bytes: &[u8]) -> PassphraseCost {
    let at = |index: usize| u32_at(bytes, SALT_BYTES + 4 * index);
    PassphraseCost { memory_kib: at(1), passes: at(2), lanes: at(3) }
}

fn derive_secret(passphrase: &Passphrase, salt: &[u8], cost: PassphraseCost) -> Result<Secret, VaultError> {
    let unusable = |why: String| VaultError::refused(format!("the cost of the passphrase: {why}"));
    if cost.memory_kib > MEMORY_KIB_MAX || cost.passes > PASSES_MAX || cost.lanes > LANES_MAX {
        return Err(unusable("it is too high".into()));
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32));
    let params = params.map_err(|error| unusable(error.to_string()))?;
    let mut bytes = Zeroizing::new([0u8; 32]);
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.0.as_bytes(), salt, &mut bytes[..])
        .map_err(|error| unusable(error.to_string()))?;
    Ok(Secret::new(*bytes))
}

/// Tells a wrong passphrase from a right one. Any sealed object would tell it as well.
fn check_of(secret: &Secret) -> [u8; CHECK_BYTES] {
    taken(&derive("antipode v1 kek check", secret.expose())[..CHECK_BYTES])
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(taken(&bytes[offset..offset + 4]))
}

fn taken<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cut the slice to this length")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::seams::SeededEntropy;

    const CHEAP: PassphraseCost = PassphraseCost { memory_kib: 64, passes: 1, lanes: 2 };

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    #[test]
    fn every_kind_comes_back_with_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let entropy = SeededEntropy::new(1);
        let horse = passphrase("correct horse battery");
        let derived = NewKek::Passphrase { passphrase: &horse, cost: CHEAP };
        for (name, number, new, kind) in [
            ("a", 0, NewKek::File, KekKind::File),
            ("b", 7, NewKek::File, KekKind::File),
            ("c", 0, derived, KekKind::Passphrase),
            ("d", 9, derived, KekKind::Passphrase),
        ] {
            let path = folder.path().join(name);
            let made = Kek::create_new(&path, number, &new, &entropy).unwrap();
            let loaded = Kek::load_with(&path, Some(&horse)).unwrap();
            assert_eq!((loaded.number(), &loaded.secret), (number, &made.secret), "{name}");
            assert_eq!(Kek::kind_of(&path).unwrap().0, kind);
            assert!(Kek::create_new(&path, number, &new, &entropy).is_err(), "{name} is never replaced");
        }
        assert_eq!(Kek::kind_of(&folder.path().join("d")).unwrap().1, Some(CHEAP));
    }

    #[test]
    fn another_passphrase_or_none_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kek");
        let horse = passphrase("correct horse battery");
        let new = NewKek::Passphrase { passphrase: &horse, cost: CHEAP };
        Kek::create_new(&path, 0, &new, &SeededEntropy::new(2)).unwrap();
        let why =
            |passphrase: Option<&Passphrase>| Kek::load_with(&path, passphrase).unwrap_err().to_string();
        assert!(why(None).contains("takes a passphrase"));
        assert!(why(Some(&passphrase("correct horse staple"))).contains("another one"));
        assert!(Passphrase::new(Zeroizing::new("short".into())).is_err());
        assert_eq!(format!("{horse:?}"), "Passphrase(..)");
    }

    #[test]
    fn a_cost_that_would_eat_the_machine_is_refused() {
        let horse = passphrase("correct horse battery");
        for cost in [
            PassphraseCost { memory_kib: MEMORY_KIB_MAX + 1, ..CHEAP },
            PassphraseCost { passes: PASSES_MAX + 1, ..CHEAP },
            PassphraseCost { lanes: LANES_MAX + 1, ..CHEAP },
            PassphraseCost { memory_kib: 1, ..CHEAP },
            PassphraseCost { passes: 0, ..CHEAP },
        ] {
            assert!(derive_secret(&horse, &[1; 16], cost).is_err(), "{cost:?}");
        }
    }

    #[test]
    fn a_passphrase_is_read_from_a_private_file_only() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("passphrase");
        fs::write(&path, "correct horse battery\nand more\n").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(Passphrase::read(&path).is_err());
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(Passphrase::read(&path).unwrap(), passphrase("correct horse battery"));
    }
}
