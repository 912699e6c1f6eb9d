//! Pairing two regions: the one-line invitation, and the short code that both sides show.
//!
//! The invitation says whom to expect: name, URL, root key and TLS key. Its secret lets one region
//! answer, once. The code binds both root keys and the secret, so that a person who compares twenty
//! characters has compared everything.

use std::fmt;
use std::str::FromStr;

use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::to_hex;
use crate::keys::Secret;
use crate::signed::PublicKey;

/// What every invitation begins with.
const PREFIX: &str = "antipode-invitation-1-";
/// Longest invitation that is read, in characters.
const CHARACTERS_MAX: usize = 4096;
/// Letters and digits of a code: none looks like another.
const ALPHABET: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// An invitation to pair. Whoever holds it can answer it once.
#[derive(Clone)]
pub struct Invitation {
    /// The inviting region's name.
    pub name: String,
    /// Where its peer listener is.
    pub url: String,
    /// Its root key.
    pub root_key: PublicKey,
    /// The digest of its TLS key.
    pub tls_key_hash: [u8; 32],
    /// The single-use secret.
    pub secret: [u8; 32],
}

impl fmt::Debug for Invitation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Invitation")
            .field("name", &self.name)
            .field("url", &self.url)
            .finish_non_exhaustive()
    }
}

impl Invitation {
    /// The line to hand over. It is as secret as a password until it is answered.
    pub fn to_line(&self) -> String {
        let mut encoder = Encoder::new();
        encoder.string(&self.name).string(&self.url).fixed(&self.root_key.0);
        encoder.fixed(&self.tls_key_hash).fixed(&self.secret);
        let bytes = encoder.finish();
        let digest = blake3::hash(&bytes);
        format!("{PREFIX}{}{}", to_hex(&bytes), to_hex(&digest.as_bytes()[..4]))
    }
}

impl FromStr for Invitation {
    type Err = VaultError;

    fn from_str(line: &str) -> Result<Invitation, VaultError> {
        let bad = |why: &str| VaultError::bad_format("invitation", why);
        let line = line.trim();
        let digits = line.strip_prefix(PREFIX).ok_or_else(|| bad("it begins otherwise"))?;
        if digits.len() > CHARACTERS_MAX || digits.len() % 2 != 0 {
            return Err(bad("another length"));
        }
        let digit = |byte: u8| char::from(byte).to_digit(16).map(|value| value as u8);
        let bytes: Option<Vec<u8>> =
            digits.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
        let bytes = bytes.ok_or_else(|| bad("it holds other characters"))?;
        let (fields, check) =
            bytes.split_at_checked(bytes.len().wrapping_sub(4)).ok_or_else(|| bad("too short"))?;
        if blake3::hash(fields).as_bytes()[..4] != *check {
            return Err(bad("it was cut or mistyped"));
        }
        let mut decoder = Decoder::new("invitation", fields);
        let invitation = Invitation {
            name: decoder.string(64)?,
            url: decoder.string(512)?,
            root_key: PublicKey(decoder.fixed()?),
            tls_key_hash: decoder.fixed()?,
            secret: decoder.fixed()?,
        };
        decoder.finish()?;
        Ok(invitation)
    }
}

/// The digest under which an inviting region remembers a secret.
pub fn secret_hash(secret: &[u8; 32]) -> [u8; 32] {
    *Secret::new(*secret).derive("antipode v1 invitation secret").expose()
}

/// The code that both sides show: 20 characters in four groups.
pub fn pairing_code(inviting: &PublicKey, accepting: &PublicKey, secret: &[u8; 32]) -> String {
    let mut encoder = Encoder::new();
    encoder.fixed(&inviting.0).fixed(&accepting.0).fixed(secret);
    let digest = blake3::derive_key("antipode v1 pairing code", encoder.as_slice());
    let mut code = String::with_capacity(23);
    for (index, byte) in digest[..20].iter().enumerate() {
        if index > 0 && index % 5 == 0 {
            code.push('-');
        }
        code.push(char::from(ALPHABET[usize::from(byte & 31)]));
    }
    code
}

/// Whether a person typed the code; groups, spaces and letter case do not matter.
pub fn is_code(typed: &str, code: &str) -> bool {
    let plain = |text: &str| -> String {
        text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
    };
    plain(typed) == plain(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invitation() -> Invitation {
        Invitation {
            name: "cn-north-1".into(),
            url: "https://127.0.0.1:8781".into(),
            root_key: PublicKey([1; 32]),
            tls_key_hash: [2; 32],
            secret: [3; 32],
        }
    }

    #[test]
    fn an_invitation_survives_the_trip_on_one_line() {
        let line = invitation().to_line();
        assert!(!line.contains(char::is_whitespace));
        let parsed: Invitation = format!(" {line}\n").parse().unwrap();
        assert_eq!((parsed.name.as_str(), parsed.secret), ("cn-north-1", [3; 32]));
    }

    #[test]
    fn a_cut_or_mistyped_invitation_is_refused() {
        let line = invitation().to_line();
        for length in 0..line.len() {
            assert!(line[..length].parse::<Invitation>().is_err(), "{length}");
        }
        let mistyped = format!("{}0", &line[..line.len() - 1]);
        assert!(mistyped == line || mistyped.parse::<Invitation>().is_err());
        assert!("antipode-invitation-1-é".parse::<Invitation>().is_err());
    }

    #[test]
    fn a_secret_is_never_printed() {
        assert!(!format!("{:?}", invitation()).contains('3'));
    }

    #[test]
    fn both_sides_show_one_code_and_a_changed_root_shows_another() {
        let (a, b) = (PublicKey([1; 32]), PublicKey([2; 32]));
        let code = pairing_code(&a, &b, &[3; 32]);
        assert_eq!(code.len(), 23);
        assert!(is_code(&code.to_lowercase().replace('-', " "), &code));
        assert!(!is_code("", &code));
        assert_ne!(code, pairing_code(&a, &PublicKey([4; 32]), &[3; 32]));
        assert_ne!(code, pairing_code(&b, &a, &[3; 32]));
    }
}
