//! A receipt that can be checked anywhere: the signed receipt and the card of the region that signed it, in
//! one file. Whoever knows the region's root key by another way, from its recovery kit or from pairing, needs
//! nothing else: no network, no catalog, and no word of whoever hands the file over.

use crate::card::{CARD_BYTES_MAX, Card};
use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::receipt::{RECEIPT_BYTES_MAX, Receipt};
use crate::signed::Signers;

const MAGIC: &[u8] = b"APF1";
const WHAT: &str = "receipt file";

/// Longest receipt file that is read.
pub const RECEIPT_FILE_BYTES_MAX: u64 = RECEIPT_BYTES_MAX + CARD_BYTES_MAX + 16;

/// A receipt with what is needed to check it. Not checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptFile {
    /// The card of the region that signed the receipt, signed by its root key.
    pub card: Vec<u8>,
    /// The receipt.
    pub receipt: Vec<u8>,
}

/// A receipt whose signatures hold, from the pinned root key down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedReceipt {
    /// What the destination called itself when it signed.
    pub region_name: String,
    /// What it said.
    pub receipt: Receipt,
}

impl ReceiptFile {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.fixed(MAGIC).bytes(&self.card).bytes(&self.receipt);
        encoder.finish()
    }

    /// Reads a file. Every byte of it counts: nothing is skipped and nothing may follow.
    ///
    /// # Errors
    /// `BadFormat`.
    pub fn decode(bytes: &[u8]) -> Result<ReceiptFile, VaultError> {
        let mut decoder = Decoder::new(WHAT, bytes);
        decoder.expect(MAGIC, "another magic")?;
        let file = ReceiptFile {
            card: decoder.bytes(CARD_BYTES_MAX as u32)?.to_vec(),
            receipt: decoder.bytes(RECEIPT_BYTES_MAX as u32)?.to_vec(),
        };
        decoder.finish()?;
        Ok(file)
    }

    /// Checks the receipt against a region's root key, or the fingerprint of that key as recovery kits show it.
    ///
    /// # Errors
    /// `BadFormat`; `Refused` when the card is another region's, when a signature fails, or when the receipt
    /// was signed with a key that the card does not name.
    pub fn check(&self, pinned: &[u8; 32]) -> Result<CheckedReceipt, VaultError> {
        let card = Card::decode(&self.card)?;
        let root_key = card.root_key();
        if root_key.0 != *pinned && root_key.fingerprint() != *pinned {
            return Err(VaultError::refused("the card belongs to another region than the key"));
        }
        let mut signers = Signers::new();
        signers.trust_region(card.region());
        signers.add_card(&card);
        let receipt = Receipt::decode(&self.receipt, &signers)?;
        Ok(CheckedReceipt { region_name: card.fields().name.clone(), receipt })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::card::tests::region;
    use crate::receipt::tests::receipt;

    #[test]
    fn a_receipt_file_is_checked_with_the_root_key_and_every_flipped_bit_is_found() {
        let (root, identity) = region(1);
        let signed = receipt(&identity).sign(&identity).unwrap();
        let file = ReceiptFile { card: identity.card().bytes().to_vec(), receipt: signed };
        let bytes = file.encode();
        assert!(bytes.len() as u64 <= RECEIPT_FILE_BYTES_MAX);
        let check = |bytes: &[u8], pinned: &[u8; 32]| {
            ReceiptFile::decode(bytes).and_then(|file| file.check(pinned)).map(|checked| checked.receipt)
        };
        let pinned = root.public();
        assert_eq!(check(&bytes, &pinned.0).unwrap(), receipt(&identity));
        assert_eq!(check(&bytes, &pinned.fingerprint()).unwrap(), receipt(&identity));
        for position in 0..bytes.len() {
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[position] ^= 1 << bit;
                assert!(check(&damaged, &pinned.0).is_err(), "byte {position}, bit {bit}");
            }
            assert!(check(&bytes[..position], &pinned.0).is_err(), "cut at {position}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert!(check(&longer, &pinned.0).is_err(), "something follows");
    }

    #[test]
    fn neither_another_key_nor_another_card_vouches_for_a_receipt() {
        let ((root, identity), (other_root, other)) = (region(1), region(2));
        let signed = receipt(&identity).sign(&identity).unwrap();
        let own = ReceiptFile { card: identity.card().bytes().to_vec(), receipt: signed.clone() };
        assert!(own.check(&other_root.public().0).is_err());
        let foreign = ReceiptFile { card: other.card().bytes().to_vec(), receipt: signed };
        for pinned in [root.public(), other_root.public()] {
            assert!(foreign.check(&pinned.0).is_err());
        }
    }
}
