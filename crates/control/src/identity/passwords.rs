//! Passwords and the secrets of application credentials: hashing them, a few at a time.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Argon2, PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use crate::error::{Error, Kind, Reason};
use crate::{Control, blocking};

/// Passwords, in bytes: enough for any person, little enough for the hash.
pub(super) const PASSWORD_BYTES: std::ops::RangeInclusive<usize> = 8..=128;
/// Hashes computed at once: each takes 19 MiB and a core.
const CHECKS_MAX: usize = 4;

/// Keeps strangers who try passwords from taking all memory and cores.
pub(crate) struct PasswordChecks(Semaphore);

impl Default for PasswordChecks {
    fn default() -> PasswordChecks {
        PasswordChecks(Semaphore::new(CHECKS_MAX))
    }
}

impl Control {
    /// The hash of a new password or secret.
    pub(super) async fn hash_secret(&self, field: &str, secret: String) -> Result<String, Error> {
        if !PASSWORD_BYTES.contains(&secret.len()) {
            return Err(Error::invalid(field, "must be 8 to 128 bytes long"));
        }
        let salt = self.entropy_bytes::<16>();
        let _turn = self.password_checks().0.acquire().await;
        blocking(move || hash_password(&secret, &salt)).await?
    }

    /// Whether the hash is that of the secret. No hash costs as much as a wrong one.
    pub(super) async fn is_secret(&self, secret: String, hash: Option<String>) -> Result<bool, Error> {
        if secret.len() > *PASSWORD_BYTES.end() {
            return Ok(false);
        }
        let salt = self.entropy_bytes::<16>();
        let _turn = self.password_checks().0.acquire().await;
        blocking(move || match hash {
            Some(hash) => verify_password(&secret, &hash),
            None => hash_password(&secret, &salt).is_err(),
        })
        .await
    }
}

fn hash_password(password: &str, salt: &[u8]) -> Result<String, Error> {
    let hash: PasswordHash =
        Argon2::default().hash_password_with_salt(password.as_bytes(), salt).map_err(|error| {
            Error::new(Kind::Internal, Reason::Internal, format!("cannot hash the password: {error}"))
        })?;
    Ok(hash.to_string())
}

fn verify_password(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash)
        .is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}
