//! SHA-256 and HMAC-SHA256, for protocols of others that ask for them. Nothing of ours is addressed or
//! sealed with them.

use aws_lc_rs::{digest, hmac};

/// The SHA-256 digest of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    digest.as_ref().try_into().expect("a SHA-256 digest has 32 bytes")
}

/// Whether a tag is the HMAC-SHA256 of a message under a key. Takes the same time whatever differs.
pub fn is_hmac_sha256(key: &[u8], message: &[u8], tag: &[u8]) -> bool {
    hmac::verify(&hmac::Key::new(hmac::HMAC_SHA256, key), message, tag).is_ok()
}

/// The HMAC-SHA256 of a message under a key.
pub fn hmac_sha256(key: &[u8], message: &[u8]) -> [u8; 32] {
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
    tag.as_ref().try_into().expect("an HMAC-SHA256 has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::to_hex;

    #[test]
    fn the_vectors_of_the_standards_come_out() {
        // FIPS 180-4, "abc"; RFC 4231, test case 2.
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(to_hex(&sha256(b"abc")), abc);
        let tag = hmac_sha256(b"Jefe", b"what do ya want for nothing?");
        assert_eq!(to_hex(&tag), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
        assert!(is_hmac_sha256(b"Jefe", b"what do ya want for nothing?", &tag));
        assert!(!is_hmac_sha256(b"Jefe", b"what do ya want for nothing!", &tag));
        assert!(!is_hmac_sha256(b"Jefe", b"what do ya want for nothing?", &tag[..31]));
    }
}
