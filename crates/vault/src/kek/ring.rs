//! The ring: the KEKs before this one, sealed under this one. State objects are never sealed again, so
//! whoever has the newest KEK must be able to open what the earlier ones sealed.

use crate::codec::{Decoder, Encoder, FORMAT_VERSION};
use crate::error::VaultError;
use crate::ids::{Address, Kind};
use crate::kek::Kek;
use crate::keys::Secret;
use crate::layout;
use crate::object::{Expected, Opener, Sealer};

const RING_MAGIC: &[u8] = b"APL1";
/// Most KEKs that a ring lists; one a month lasts for eighty years.
const KEK_COUNT_MAX: u32 = 1024;

/// Longest ring that is read.
pub(crate) const RING_BYTES_MAX: u64 = 64 << 10;

impl Kek {
    /// Seals the other KEKs it knows into its ring, appended to `out`. Its name is
    /// [`layout::ring_name`] of its number.
    ///
    /// # Errors
    /// `Refused` when it knows too many, or a later one than itself.
    pub fn seal_ring(&self, out: &mut Vec<u8>) -> Result<(), VaultError> {
        let is_newest = self.others.keys().all(|number| *number < self.number);
        if !is_newest || self.others.len() >= KEK_COUNT_MAX as usize {
            return Err(VaultError::refused("a ring holds earlier KEKs only, and not more than 1023"));
        }
        let mut encoder = Encoder::new();
        encoder.fixed(RING_MAGIC).u16(FORMAT_VERSION).u32(self.number);
        let others: Vec<_> = self.others.iter().collect();
        encoder.list(&others, |encoder, (number, secret)| {
            encoder.u32(**number).fixed(secret.expose());
        });
        let plaintext = zeroize::Zeroizing::new(encoder.finish());
        Sealer::new()?.seal(self.sealing_keys(), Kind::KeyBundle, 0, &plaintext, out).map(drop)
    }

    /// Reads its own ring, found under `name`, and opens from then on what the KEKs in it sealed.
    ///
    /// # Errors
    /// `Corrupt` when it is damaged or another KEK's with the same number, `KekMissing` when another one
    /// sealed it, `BadFormat` when it does not decode, `Refused` when it lies under another name.
    pub fn open_ring(&mut self, name: &str, stored: &[u8]) -> Result<(), VaultError> {
        let address = Address(*blake3::hash(stored).as_bytes());
        let mut plaintext = zeroize::Zeroizing::new(Vec::new());
        let alone = Kek::numbered(self.number, &self.secret);
        Opener::new()?.open(&alone, &Expected::object(Kind::KeyBundle, address), stored, &mut plaintext)?;
        let mut decoder = Decoder::new("ring of KEKs", &plaintext);
        decoder.expect(RING_MAGIC, "another magic")?;
        decoder.format_version()?;
        let number = decoder.u32()?;
        let earlier =
            decoder.list(KEK_COUNT_MAX, 36, |decoder| Ok((decoder.u32()?, Secret::new(decoder.fixed()?))))?;
        if earlier.iter().any(|(earlier, _)| *earlier >= number)
            || !earlier.is_sorted_by(|(left, _), (right, _)| left < right)
        {
            return Err(decoder.bad("its KEKs do not ascend, or one is not earlier"));
        }
        decoder.finish()?;
        if number != self.number || layout::ring_name(number) != name {
            return Err(VaultError::refused("a ring lies under another one's name"));
        }
        earlier.iter().try_for_each(|(number, secret)| self.also_opens(&Kek::numbered(*number, secret)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::SeededEntropy;

    fn keks() -> [Kek; 3] {
        let entropy = SeededEntropy::new(1);
        let kek = |number| Kek::numbered(number, &Secret::generate(&entropy));
        let [first, mut second, mut third] = [kek(0), kek(1), kek(4)];
        second.also_opens(&first).unwrap();
        third.also_opens(&second).unwrap();
        [first, second, third]
    }

    fn alone(kek: &Kek) -> Kek {
        Kek::numbered(kek.number(), &kek.secret)
    }

    #[test]
    fn the_newest_kek_alone_finds_all_earlier_ones_in_its_ring() {
        let [first, _, third] = keks();
        let mut ring = Vec::new();
        third.seal_ring(&mut ring).unwrap();
        let mut found = alone(&third);
        found.open_ring(&layout::ring_name(4), &ring).unwrap();
        assert_eq!(found.opens().collect::<Vec<_>>(), [0, 1, 4]);
        assert_eq!(found.others.get(&0), Some(&first.secret));
    }

    #[test]
    fn a_damaged_renamed_or_foreign_ring_is_refused() {
        let [first, second, third] = keks();
        let mut ring = Vec::new();
        second.seal_ring(&mut ring).unwrap();
        let name = layout::ring_name(1);
        for position in 0..ring.len() {
            let mut damaged = ring.clone();
            damaged[position] ^= 1;
            assert!(alone(&second).open_ring(&name, &damaged).is_err(), "byte {position}");
            assert!(alone(&second).open_ring(&name, &ring[..position]).is_err());
        }
        assert!(alone(&second).open_ring(&layout::ring_name(2), &ring).is_err());
        assert!(alone(&third).open_ring(&name, &ring).is_err());
        assert!(alone(&first).open_ring(&name, &ring).is_err());
        let mut earlier = alone(&first);
        earlier.also_opens(&second).unwrap();
        assert!(earlier.seal_ring(&mut Vec::new()).is_err(), "a ring of a later KEK");
    }
}
