//! Shares of a recovery seed: any `k` of `n` give it back, fewer tell nothing about it. Shamir's scheme,
//! byte by byte over GF(256) with the polynomial 0x11B. `docs/format.md`, "Recovery".

use std::fmt;

use zeroize::Zeroizing;

use super::{RecoverySeed, bad};
use crate::codec::{Decoder, Encoder};
use crate::error::VaultError;
use crate::ids::to_hex;
use crate::keys::Secret;
use crate::seams::Entropy;

const MAGIC: &[u8] = b"APR1";
const CHECK_BYTES: usize = 4;

/// Bytes of a share as it stands on a sheet.
pub(super) const SHARE_BYTES: usize = 4 + 16 + 3 + 32 + CHECK_BYTES;
/// Most shares of one set; more sheets than people who can keep them.
const SHARE_COUNT_MAX: u8 = 16;

/// How a seed is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    needed: u8,
    count: u8,
}

impl Split {
    /// `needed` of `count` shares give the seed back.
    ///
    /// # Errors
    /// `Refused` unless 2 ≤ `needed` ≤ `count` ≤ 16.
    pub fn new(needed: u8, count: u8) -> Result<Split, VaultError> {
        if !(2..=count).contains(&needed) || count > SHARE_COUNT_MAX {
            return Err(VaultError::refused(
                "a kit is split into at most 16 shares, of which at least 2 are needed",
            ));
        }
        Ok(Split { needed, count })
    }

    /// How many shares give the seed back.
    pub fn needed(self) -> u8 {
        self.needed
    }

    /// How many shares there are.
    pub fn count(self) -> u8 {
        self.count
    }
}

impl std::str::FromStr for Split {
    type Err = VaultError;

    /// Reads `3/5` or `3-of-5`.
    fn from_str(text: &str) -> Result<Split, VaultError> {
        let parts = text.split_once("-of-").or_else(|| text.split_once('/'));
        let parts = parts.and_then(|(needed, count)| Some((needed.parse().ok()?, count.parse().ok()?)));
        let (needed, count) =
            parts.ok_or_else(|| VaultError::refused("shares are told as 3/5: any 3 of 5"))?;
        Split::new(needed, count)
    }
}

/// One share of a seed.
#[derive(Clone, PartialEq, Eq)]
pub struct Share {
    set: [u8; 16],
    split: Split,
    x: u8,
    y: Secret,
}

impl Share {
    /// Splits a seed into shares of a new set.
    pub fn split(seed: &RecoverySeed, split: Split, entropy: &dyn Entropy) -> Vec<Share> {
        let mut set = [0; 16];
        entropy.fill(&mut set);
        // One polynomial a byte; the constant term is the secret.
        let mut terms = vec![seed.0.clone()];
        terms.extend((1..split.needed).map(|_| Secret::generate(entropy)));
        let share = |x| Share { set, split, x, y: value_at(&terms, x) };
        (1..=split.count).map(share).collect()
    }

    /// Joins shares of one set. All of them have to agree.
    ///
    /// # Errors
    /// `BadFormat` when there are too few, or of different sets, or when they contradict each other.
    pub fn join(shares: &[Share]) -> Result<RecoverySeed, VaultError> {
        let first = shares.first().ok_or_else(|| bad("there is no share"))?;
        if shares.iter().any(|share| (share.set, share.split) != (first.set, first.split)) {
            return Err(bad("the shares are of different sets"));
        }
        let mut different: Vec<&Share> = Vec::new();
        for share in shares {
            match different.iter().find(|known| known.x == share.x) {
                None => different.push(share),
                Some(known) if known.y == share.y => {}
                Some(_) => return Err(bad(format!("there are two shares {} that differ", share.x))),
            }
        }
        let needed = usize::from(first.split.needed);
        if different.len() < needed {
            let (have, need) = (different.len(), first.split.needed);
            return Err(bad(format!("{have} of the {need} shares that are needed")));
        }
        let (used, rest) = different.split_at(needed);
        if rest.iter().any(|share| interpolate(used, share.x) != share.y) {
            return Err(bad("the shares contradict each other"));
        }
        Ok(RecoverySeed(interpolate(used, 0)))
    }

    /// The number of this share.
    pub fn number(&self) -> u8 {
        self.x
    }

    /// How its seed was split.
    pub fn of(&self) -> Split {
        self.split
    }

    pub(super) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut encoder = Encoder::with_capacity(SHARE_BYTES);
        encoder.fixed(MAGIC).fixed(&self.set).u8(self.split.needed).u8(self.split.count).u8(self.x);
        encoder.fixed(self.y.expose());
        let mut bytes = Zeroizing::new(encoder.finish());
        let check = *blake3::hash(&bytes).as_bytes();
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Share, VaultError> {
        let Some((clear, check)) = bytes.split_last_chunk::<CHECK_BYTES>() else {
            return Err(bad("a share is too short"));
        };
        if blake3::hash(clear).as_bytes()[..CHECK_BYTES] != check[..] {
            return Err(bad("the check of a share does not match"));
        }
        let mut decoder = Decoder::new("share of a recovery kit", clear);
        decoder.expect(MAGIC, "another magic")?;
        let set = decoder.fixed()?;
        let (needed, count, x) = (decoder.u8()?, decoder.u8()?, decoder.u8()?);
        let y = Secret::new(decoder.fixed()?);
        let split = Split::new(needed, count).map_err(|error| decoder.bad(error.to_string()))?;
        if !(1..=count).contains(&x) {
            return Err(decoder.bad("its number is not one of its set"));
        }
        decoder.finish()?;
        Ok(Share { set, split, x, y })
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Share({} of set {})", self.x, to_hex(&self.set))
    }
}

/// The polynomials with these coefficients, lowest first, at `x`.
fn value_at(terms: &[Secret], x: u8) -> Secret {
    let mut bytes = Zeroizing::new([0u8; 32]);
    for term in terms.iter().rev() {
        for (byte, coefficient) in bytes.iter_mut().zip(term.expose()) {
            *byte = multiply(*byte, x) ^ coefficient;
        }
    }
    Secret::new(*bytes)
}

/// The value at `x` of the polynomials through these points (Lagrange).
fn interpolate(points: &[&Share], x: u8) -> Secret {
    let mut bytes = Zeroizing::new([0u8; 32]);
    for point in points {
        let mut weight = 1;
        for other in points.iter().filter(|other| other.x != point.x) {
            weight = multiply(weight, multiply(x ^ other.x, inverse(point.x ^ other.x)));
        }
        for (byte, y) in bytes.iter_mut().zip(point.y.expose()) {
            *byte ^= multiply(weight, *y);
        }
    }
    Secret::new(*bytes)
}

/// The product in GF(256); takes the same steps for all factors.
fn multiply(left: u8, right: u8) -> u8 {
    let (mut left, mut product) = (left, 0u8);
    for bit in 0..8 {
        product ^= left & 0u8.wrapping_sub((right >> bit) & 1);
        left = (left << 1) ^ (0x1b & 0u8.wrapping_sub(left >> 7));
    }
    product
}

/// The inverse in GF(256): the 254th power.
fn inverse(value: u8) -> u8 {
    (0..6).fold(multiply(value, value), |power, _| {
        let power = multiply(power, value);
        multiply(power, power)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seams::SeededEntropy;

    fn seed() -> RecoverySeed {
        RecoverySeed::from_secret(Secret::new(std::array::from_fn(|index| (index * 37 % 251) as u8)))
    }

    fn shares(needed: u8, count: u8, entropy: u64) -> Vec<Share> {
        Share::split(&seed(), Split::new(needed, count).unwrap(), &SeededEntropy::new(entropy))
    }

    fn same(joined: &RecoverySeed) -> bool {
        joined.0 == seed().0
    }

    #[test]
    fn the_field_is_the_one_of_the_format() {
        assert_eq!((multiply(0x57, 0x83), multiply(0x57, 0x13), multiply(0x53, 0xca)), (0xc1, 0xfe, 1));
        for value in 1..=255u8 {
            assert_eq!(multiply(value, inverse(value)), 1, "{value}");
        }
        assert_eq!(inverse(0), 0);
    }

    #[test]
    fn any_three_of_five_give_the_seed_and_two_give_another() {
        let all = shares(3, 5, 1);
        for mask in 0u32..32 {
            let some: Vec<Share> =
                (0..5).filter(|bit| mask >> bit & 1 == 1).map(|bit| all[bit].clone()).collect();
            assert_eq!(Share::join(&some).is_ok_and(|joined| same(&joined)), some.len() >= 3, "{mask:05b}");
        }
        let two: Vec<&Share> = all.iter().take(2).collect();
        assert!(interpolate(&two, 0) != seed().0);
        for (needed, count) in [(2, 2), (2, 16), (16, 16), (4, 7)] {
            let reversed: Vec<Share> = shares(needed, count, 2).into_iter().rev().collect();
            assert!(same(&Share::join(&reversed).unwrap()), "{needed} of {count}");
        }
    }

    #[test]
    fn every_share_of_a_missing_one_is_as_likely() {
        // With k - 1 shares known, every value of the last one gives another seed: nothing is ruled out.
        let all = shares(3, 5, 3);
        let seeds: std::collections::BTreeSet<u8> = (0..=255u8)
            .map(|guess| {
                let mut y = *all[4].y.expose();
                y[0] = guess;
                let forged = Share { y: Secret::new(y), ..all[4].clone() };
                interpolate(&[&all[0], &all[1], &forged], 0).expose()[0]
            })
            .collect();
        assert_eq!(seeds.len(), 256);
    }

    #[test]
    fn mixed_contradicting_and_repeated_shares_are_noticed() {
        let (one, other) = (shares(3, 5, 4), shares(3, 5, 5));
        let mixed = [one[0].clone(), one[1].clone(), other[2].clone()];
        assert!(Share::join(&mixed).unwrap_err().to_string().contains("different sets"));
        let wrong = Share { y: other[3].y.clone(), ..one[3].clone() };
        let four = [one[0].clone(), one[1].clone(), one[2].clone(), wrong.clone()];
        assert!(Share::join(&four).unwrap_err().to_string().contains("contradict"));
        assert!(Share::join(&[one[3].clone(), wrong]).unwrap_err().to_string().contains("differ"));
        let twice = [one[0].clone(), one[0].clone(), one[1].clone()];
        assert!(Share::join(&twice).unwrap_err().to_string().contains("2 of the 3"));
        assert!(Share::join(&[]).is_err());
    }

    #[test]
    fn a_share_is_written_as_the_format_says_and_every_damaged_byte_is_noticed() {
        let share = shares(3, 5, 6).remove(1);
        let bytes = share.encode();
        assert_eq!((bytes.len(), &bytes[..4], &bytes[20..23]), (SHARE_BYTES, &b"APR1"[..], &[3u8, 5, 2][..]));
        assert!(Share::decode(&bytes).unwrap() == share);
        for position in 0..bytes.len() {
            let mut damaged = bytes.to_vec();
            damaged[position] ^= 1;
            assert!(Share::decode(&damaged).is_err(), "byte {position}");
            assert!(Share::decode(&bytes[..position]).is_err());
        }
        for (at, value) in [(20, 1), (20, 6), (21, 17), (22, 0), (22, 6)] {
            let mut forged = bytes[..SHARE_BYTES - 4].to_vec();
            forged[at] = value;
            let check = *blake3::hash(&forged).as_bytes();
            forged.extend_from_slice(&check[..4]);
            assert!(Share::decode(&forged).is_err(), "byte {at} is {value}");
        }
    }

    #[test]
    fn a_split_is_told_in_words_and_has_bounds() {
        assert_eq!("3/5".parse::<Split>().unwrap(), Split::new(3, 5).unwrap());
        assert_eq!("2-of-2".parse::<Split>().unwrap(), Split::new(2, 2).unwrap());
        for bad in ["1/3", "0/0", "6/5", "2/17", "3", "a/b", "3/5/7", "300/400"] {
            assert!(bad.parse::<Split>().is_err(), "{bad}");
        }
        assert!(!format!("{:?}", shares(2, 2, 7)).contains("Secret"));
    }
}
