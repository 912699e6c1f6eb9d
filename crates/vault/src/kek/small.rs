//! Small secrets of a region that lie outside the store, such as the secrets of access keys in its catalog.
//! They are sealed under the KEK by itself, for the one place they lie in: AES-256-GCM under a key derived
//! from the KEK, with a random nonce and the place as associated data.
//!
//! Bytes: the number of the KEK (4, little endian), the nonce (12), the ciphertext and its tag (16).

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroizing;

use crate::error::VaultError;
use crate::kek::Kek;
use crate::keys::Secret;
use crate::seams::Entropy;

const NUMBER_BYTES: usize = 4;
const NONCE_BYTES: usize = 12;
const LABEL: &str = "antipode v1 region small secret";

impl Kek {
    /// Seals a small secret for a place; it opens there only.
    pub fn seal_secret(&self, place: &str, secret: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let mut sealed = Zeroizing::new(secret.to_vec());
        aead(&self.secret)
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut *sealed,
            )
            .expect("a short secret is within the limits of the cipher");
        [&self.number.to_le_bytes()[..], &nonce, &sealed].concat()
    }

    /// Opens a small secret that was sealed for a place, by this KEK or one before it.
    ///
    /// # Errors
    /// `KekMissing` when a KEK sealed it that is not known here, `Refused` when it was damaged or sealed for
    /// another place.
    pub fn open_secret(&self, place: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
        let refused = || VaultError::refused("a sealed secret is damaged, or belongs to another place");
        let (number, rest) = sealed.split_first_chunk::<NUMBER_BYTES>().ok_or_else(refused)?;
        let (nonce, body) = rest.split_first_chunk::<NONCE_BYTES>().ok_or_else(refused)?;
        let number = u32::from_le_bytes(*number);
        let secret = if number == self.number { Some(&self.secret) } else { self.others.get(&number) };
        let secret = secret.ok_or(VaultError::KekMissing { number })?;
        let mut opened = Zeroizing::new(body.to_vec());
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = aead(secret)
            .open_in_place(nonce, Aad::from(place.as_bytes()), &mut opened)
            .map_err(|_| refused())?
            .len();
        opened.truncate(length);
        Ok(opened)
    }
}

fn aead(secret: &Secret) -> LessSafeKey {
    let key = secret.derive(LABEL);
    let key = UnboundKey::new(&AES_256_GCM, key.expose()).expect("a secret is as long as a key");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::SeededEntropy;

    #[test]
    fn a_small_secret_opens_in_its_place_under_its_kek_and_later_ones_only() {
        let entropy = SeededEntropy::new(1);
        let old = Kek::new(&Secret::generate(&entropy));
        let mut new = Kek::numbered(1, &Secret::generate(&entropy));
        let sealed = old.seal_secret("access key A", b"secret", &entropy);
        assert_eq!(*old.open_secret("access key A", &sealed).unwrap(), b"secret");
        assert!(old.open_secret("access key B", &sealed).is_err());
        assert!(matches!(
            new.open_secret("access key A", &sealed),
            Err(VaultError::KekMissing { number: 0 })
        ));
        new.also_opens(&old).unwrap();
        assert_eq!(*new.open_secret("access key A", &sealed).unwrap(), b"secret");
        assert_ne!(old.seal_secret("access key A", b"secret", &entropy), sealed, "each has its own nonce");
        assert!(!sealed.windows(6).any(|bytes| bytes == b"secret"));
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_refused() {
        let entropy = SeededEntropy::new(2);
        let kek = Kek::new(&Secret::generate(&entropy));
        let sealed = kek.seal_secret("p", b"secret", &entropy);
        for position in 0..sealed.len() {
            let mut damaged = sealed.clone();
            damaged[position] ^= 1;
            assert!(kek.open_secret("p", &damaged).is_err(), "byte {position}");
            assert!(kek.open_secret("p", &sealed[..position]).is_err(), "{position} bytes");
        }
    }
}
