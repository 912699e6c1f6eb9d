//! The TLS key of a region: made once, kept in the key directory, known to peers by its hash.
//!
//! The certificate around the key says nothing. Peers compare the hash of the public key with the
//! one that a root-signed card vouches for; validity, next key and revocation are the card's. The
//! certificate is therefore made anew from the key at every start, under an empty name and without
//! an end (RFC 5280 §4.1.2.5 reserves the last second of the year 9999 for that), so that no
//! certificate ever expires in front of a working key.

use std::fmt;
use std::path::{Path, PathBuf};

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ED25519, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use vault::error::VaultError;
use vault::ids::tls_key_hash;
use vault::key_file::{create_key_file, load_key_file};
use vault::seams::Entropy;

/// The name of the key file in the key directory, and its label.
const KEY_NAME: &str = "tls";

/// RFC 8410: everything of a PKCS#8 Ed25519 private key that precedes the 32 secret bytes.
const PKCS8_START: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// A TLS key that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsIdentityError {
    /// The key file is missing, damaged, open to others, or already there.
    #[error(transparent)]
    KeyFile(#[from] VaultError),
    /// No certificate can be made from the key.
    #[error("the TLS key in {path} makes no certificate")]
    Certificate {
        /// The key file.
        path: PathBuf,
        /// What the certificate maker reported.
        #[source]
        cause: rcgen::Error,
    },
}

/// A region's TLS key with a certificate around it.
pub struct TlsIdentity {
    certificate: CertificateDer<'static>,
    key: PrivatePkcs8KeyDer<'static>,
    tls_key_hash: [u8; 32],
}

impl TlsIdentity {
    /// Makes a key and stores it, readable by its owner only, as `tls` in `keys_dir`. Durable when
    /// this returns.
    ///
    /// # Errors
    /// `KeyFile` when there is one already or it cannot be written.
    pub fn create(keys_dir: &Path, entropy: &dyn Entropy) -> Result<TlsIdentity, TlsIdentityError> {
        let mut secret = [0u8; 32];
        entropy.fill(&mut secret);
        create_key_file(&keys_dir.join(KEY_NAME), KEY_NAME, &secret)?;
        TlsIdentity::load(keys_dir)
    }

    /// Loads the key that [`TlsIdentity::create`] stored in `keys_dir`.
    ///
    /// # Errors
    /// `KeyFile` when it is missing, damaged or readable by others.
    pub fn load(keys_dir: &Path) -> Result<TlsIdentity, TlsIdentityError> {
        let path = keys_dir.join(KEY_NAME);
        let secret = load_key_file::<32>(&path, KEY_NAME)?;
        TlsIdentity::around(&secret).map_err(|cause| TlsIdentityError::Certificate { path, cause })
    }

    /// BLAKE3 of the public key (SubjectPublicKeyInfo, DER): by this, peers know the region.
    pub fn tls_key_hash(&self) -> [u8; 32] {
        self.tls_key_hash
    }

    pub(super) fn certificate(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    pub(super) fn key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(self.key.clone_key())
    }

    fn around(secret: &[u8; 32]) -> Result<TlsIdentity, rcgen::Error> {
        let key = PrivatePkcs8KeyDer::from([&PKCS8_START[..], &secret[..]].concat());
        let pair = KeyPair::from_pkcs8_der_and_sign_algo(&key, &PKCS_ED25519)?;
        let mut params = CertificateParams::new([])?;
        params.distinguished_name = DistinguishedName::new();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        let certificate = params.self_signed(&pair)?.der().clone();
        let tls_key_hash = tls_key_hash(&pair.subject_public_key_info());
        Ok(TlsIdentity { certificate, key, tls_key_hash })
    }
}

impl Clone for TlsIdentity {
    fn clone(&self) -> TlsIdentity {
        TlsIdentity {
            certificate: self.certificate.clone(),
            key: self.key.clone_key(),
            tls_key_hash: self.tls_key_hash,
        }
    }
}

impl fmt::Debug for TlsIdentity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use vault::seams::SeededEntropy;

    #[test]
    fn a_key_keeps_its_hash_over_restarts_and_is_never_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let entropy = SeededEntropy::new(1);
        let created = TlsIdentity::create(directory.path(), &entropy).unwrap();
        let loaded = TlsIdentity::load(directory.path()).unwrap();
        assert_eq!(created.tls_key_hash(), loaded.tls_key_hash());
        assert!(TlsIdentity::create(directory.path(), &entropy).is_err());
        assert_eq!(TlsIdentity::load(directory.path()).unwrap().tls_key_hash(), created.tls_key_hash());
    }

    #[test]
    fn two_regions_have_two_hashes() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let entropy = SeededEntropy::new(2);
        let one = TlsIdentity::create(one.path(), &entropy).unwrap();
        let other = TlsIdentity::create(other.path(), &entropy).unwrap();
        assert_ne!(one.tls_key_hash(), other.tls_key_hash());
    }

    #[test]
    fn a_missing_damaged_or_readable_key_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        assert!(TlsIdentity::load(directory.path()).is_err());
        TlsIdentity::create(directory.path(), &SeededEntropy::new(3)).unwrap();
        let path = directory.path().join(KEY_NAME);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(TlsIdentity::load(directory.path()).is_err());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, "antipode tls 1 00").unwrap();
        assert!(TlsIdentity::load(directory.path()).is_err());
    }

    #[test]
    fn a_printed_identity_shows_no_key() {
        let directory = tempfile::tempdir().unwrap();
        let identity = TlsIdentity::create(directory.path(), &SeededEntropy::new(4)).unwrap();
        assert_eq!(format!("{identity:?}"), "TlsIdentity { .. }");
    }
}
