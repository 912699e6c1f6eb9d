//! Small objects of a store, read together with the names they lie under.
//!
//! A signature tells who wrote an object, not that it is the one that was asked for: an older or
//! another object, sound in itself, may have been put in its place. Every reader of a store
//! therefore hands in the name as well. Manifests, properties, key bundles and state objects have
//! readers of their own that do the same.

use crate::card::{Card, Pin};
use crate::error::VaultError;
use crate::ids::VaultId;
use crate::layout;
use crate::signed::Signers;
use crate::wrap::Wrap;

/// Longest `format` that is read.
pub const FORMAT_BYTES_MAX: u64 = 64;

/// Checks what lies under [`layout::FORMAT_NAME`]. Nothing else of a store is to be read or written
/// before.
///
/// # Errors
/// `BadFormat`, naming both versions, for a store of another version than this program reads.
pub fn check_format(content: &[u8]) -> Result<(), VaultError> {
    if content == layout::FORMAT_CONTENT {
        return Ok(());
    }
    let version = content.strip_prefix(b"antipode store ").and_then(|rest| rest.strip_suffix(b"\n"));
    let version = version.and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u32>().ok());
    Err(match version {
        Some(version) => VaultError::other_version("store", version),
        None => VaultError::bad_format("store", "its file \"format\" is not ours, or damaged"),
    })
}

/// Reads a card found under `name`.
///
/// # Errors
/// As [`Card::decode`]; `Refused` when the name is that of another region or serial.
pub fn read_card(name: &str, bytes: &[u8]) -> Result<Card, VaultError> {
    let card = Card::decode(bytes)?;
    require_name("card", name, &layout::card_name(card.region(), card.fields().serial))?;
    Ok(card)
}

/// Reads a pin found under `name`.
///
/// # Errors
/// As [`Pin::decode`]; `Refused` when the name is that of another peer.
pub fn read_pin(name: &str, bytes: &[u8], signers: &Signers) -> Result<Pin, VaultError> {
    let pin = Pin::decode(bytes, signers)?;
    require_name("pin", name, &layout::pin_name(pin.peer()))?;
    Ok(pin)
}

/// Reads a wrap of `vault` found under `name`.
///
/// # Errors
/// As [`Wrap::decode`]; `Refused` when the name is that of another wrap.
pub fn read_wrap(vault: VaultId, name: &str, bytes: &[u8], signers: &Signers) -> Result<Wrap, VaultError> {
    let wrap = Wrap::decode(bytes, signers)?;
    require_name("wrap", name, &layout::wrap_name(vault, &wrap.name()))?;
    Ok(wrap)
}

fn require_name(what: &str, name: &str, own: &str) -> Result<(), VaultError> {
    match name == own {
        true => Ok(()),
        false => Err(VaultError::refused(format!("a {what} lies under another one's name"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::tests::region;
    use crate::codec::FORMAT_VERSION;

    #[test]
    fn a_store_of_another_version_is_refused_naming_both() {
        check_format(layout::FORMAT_CONTENT).unwrap();
        assert_eq!(layout::FORMAT_CONTENT, format!("antipode store {FORMAT_VERSION}\n").as_bytes());
        for other in [FORMAT_VERSION - 1, FORMAT_VERSION + 1, 999] {
            let content = format!("antipode store {other}\n");
            let said = check_format(content.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(&format!("version {other};")), "{said}");
            assert!(said.ends_with(&format!("version {FORMAT_VERSION}")), "{said}");
        }
        for content in
            [&b""[..], b"antipode store 1", b"antipode store 1\n\n", b"antipode store x\n", b"\xff"]
        {
            let said = check_format(content).unwrap_err().to_string();
            assert!(said.contains("not ours"), "{said}");
        }
    }

    #[test]
    fn cards_and_pins_are_refused_under_other_names() {
        let ((_, ours), (_, peer)) = (region(1), region(2));
        let card = ours.card();
        read_card(&layout::card_name(card.region(), card.fields().serial), card.bytes()).unwrap();
        let later = layout::card_name(card.region(), card.fields().serial + 1);
        let theirs = layout::card_name(peer.region(), card.fields().serial);
        assert!(read_card(&later, card.bytes()).is_err() && read_card(&theirs, card.bytes()).is_err());
        let pin = Pin::sign(&ours, peer.card(), 5);
        read_pin(&layout::pin_name(peer.region()), &pin, &ours.signers()).unwrap();
        assert!(read_pin(&layout::pin_name(ours.region()), &pin, &ours.signers()).is_err());
    }
}
