//! The notation of the stored format: little-endian integers, counted bytes, lists and options.
//!
//! An [`Encoder`] only appends. A [`Decoder`] takes bytes from anywhere: it never panics, never
//! allocates more than the bytes it was given could fill, and [`Decoder::finish`] refuses leftovers,
//! so that one meaning has one encoding.

use crate::error::VaultError;

/// The version of everything stored: the store as a whole, signed things, bodies, bundles. Readers
/// of this version refuse every other, naming both.
pub const FORMAT_VERSION: u16 = 1;

/// Appends fields to a buffer.
#[derive(Debug, Default)]
pub struct Encoder {
    bytes: Vec<u8>,
}

impl Encoder {
    /// An empty buffer.
    pub fn new() -> Encoder {
        Encoder::default()
    }

    /// An empty buffer with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Encoder {
        Encoder { bytes: Vec::with_capacity(capacity) }
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Encoder {
        self.bytes.push(value);
        self
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self, value: u16) -> &mut Encoder {
        self.fixed(&value.to_le_bytes())
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self, value: u32) -> &mut Encoder {
        self.fixed(&value.to_le_bytes())
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self, value: u64) -> &mut Encoder {
        self.fixed(&value.to_le_bytes())
    }

    /// A truth value: 0 or 1 in one byte.
    pub fn bool(&mut self, value: bool) -> &mut Encoder {
        self.u8(u8::from(value))
    }

    /// Bytes whose length both sides know.
    pub fn fixed(&mut self, bytes: &[u8]) -> &mut Encoder {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Bytes behind their length as u32.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Encoder {
        self.count(bytes.len());
        self.fixed(bytes)
    }

    /// A string as counted UTF-8.
    pub fn string(&mut self, text: &str) -> &mut Encoder {
        self.bytes(text.as_bytes())
    }

    /// A count as u32, in front of so many items.
    pub fn count(&mut self, count: usize) -> &mut Encoder {
        self.u32(u32::try_from(count).expect("every list of the format is bounded far below 2^32"))
    }

    /// A list: its count, then each item by `encode`.
    pub fn list<T>(&mut self, items: &[T], mut encode: impl FnMut(&mut Encoder, &T)) -> &mut Encoder {
        self.count(items.len());
        for item in items {
            encode(self, item);
        }
        self
    }

    /// An option: 0, or 1 and the value by `encode`.
    pub fn option<T>(&mut self, value: Option<&T>, encode: impl FnOnce(&mut Encoder, &T)) -> &mut Encoder
    where
        T: ?Sized,
    {
        self.bool(value.is_some());
        if let Some(value) = value {
            encode(self, value);
        }
        self
    }

    /// What was appended so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes
    }

    /// The finished bytes.
    pub fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

/// Takes fields from the front of bytes that nobody vouches for.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    what: &'static str,
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    /// Reads `bytes` as a `what`, the noun used in errors.
    pub fn new(what: &'static str, bytes: &'a [u8]) -> Decoder<'a> {
        Decoder { what, rest: bytes }
    }

    /// An error about what is being decoded.
    pub fn bad(&self, why: impl Into<String>) -> VaultError {
        VaultError::bad_format(self.what, why)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes.
    ///
    /// # Errors
    /// `BadFormat` when fewer are left; so for every method below.
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], VaultError> {
        let Some((taken, rest)) = self.rest.split_at_checked(length) else {
            return Err(self.bad("it ends too early"));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A fixed number of bytes.
    pub fn fixed<const N: usize>(&mut self) -> Result<[u8; N], VaultError> {
        let mut bytes = [0u8; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, VaultError> {
        self.fixed::<1>().map(|[byte]| byte)
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Result<u16, VaultError> {
        self.fixed().map(u16::from_le_bytes)
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Result<u32, VaultError> {
        self.fixed().map(u32::from_le_bytes)
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Result<u64, VaultError> {
        self.fixed().map(u64::from_le_bytes)
    }

    /// A truth value; any byte but 0 and 1 is refused.
    pub fn bool(&mut self) -> Result<bool, VaultError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.bad("a truth value is neither 0 nor 1")),
        }
    }

    /// Counted bytes, at most `length_max` of them.
    pub fn bytes(&mut self, length_max: u32) -> Result<&'a [u8], VaultError> {
        let length = self.u32()?;
        if length > length_max {
            return Err(self.bad(format!("a field of {length} bytes, {length_max} are allowed")));
        }
        self.take(length as usize)
    }

    /// A counted string of at most `length_max` bytes.
    pub fn string(&mut self, length_max: u32) -> Result<String, VaultError> {
        let bytes = self.bytes(length_max)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.bad("a string is not UTF-8")),
        }
    }

    /// The count in front of a list: at most `count_max`, and no more than the rest could hold at
    /// `item_bytes_min` each, so that a forged count reserves no memory.
    pub fn count(&mut self, count_max: u32, item_bytes_min: usize) -> Result<usize, VaultError> {
        let count = self.u32()?;
        let fits =
            (count as usize).checked_mul(item_bytes_min.max(1)).is_some_and(|bytes| bytes <= self.rest.len());
        if count > count_max || !fits {
            return Err(self.bad(format!("a list of {count} items")));
        }
        Ok(count as usize)
    }

    /// A list, each item read by `decode`. Bounds as for [`Decoder::count`].
    pub fn list<T>(
        &mut self,
        count_max: u32,
        item_bytes_min: usize,
        mut decode: impl FnMut(&mut Decoder<'a>) -> Result<T, VaultError>,
    ) -> Result<Vec<T>, VaultError> {
        let count = self.count(count_max, item_bytes_min)?;
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(decode(self)?);
        }
        Ok(items)
    }

    /// An option, its value read by `decode`.
    pub fn option<T>(
        &mut self,
        decode: impl FnOnce(&mut Decoder<'a>) -> Result<T, VaultError>,
    ) -> Result<Option<T>, VaultError> {
        if self.bool()? { decode(self).map(Some) } else { Ok(None) }
    }

    /// Refuses a magic or any other constant that differs.
    pub fn expect(&mut self, constant: &[u8], why: &'static str) -> Result<(), VaultError> {
        if self.take(constant.len())? == constant { Ok(()) } else { Err(self.bad(why)) }
    }

    /// The format version, which has to be [`FORMAT_VERSION`].
    pub fn format_version(&mut self) -> Result<(), VaultError> {
        match self.u16()? {
            FORMAT_VERSION => Ok(()),
            other => Err(VaultError::other_version(self.what, other)),
        }
    }

    /// Ends the decoding; bytes left over are refused.
    pub fn finish(self) -> Result<(), VaultError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(self.bad(format!("{} bytes too many", self.rest.len())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sample() -> Vec<u8> {
        let mut encoder = Encoder::new();
        encoder.u8(7).u16(0x1234).u32(5).u64(u64::MAX).bool(true).bytes(b"ab").string("ä");
        encoder.list(&[1u32, 2], |encoder, item| {
            encoder.u32(*item);
        });
        encoder.option(Some(&9u8), |encoder, value| {
            encoder.u8(*value);
        });
        encoder.option(None::<&u8>, |_, _| ());
        encoder.finish()
    }

    fn read(bytes: &[u8]) -> Result<(), VaultError> {
        let mut decoder = Decoder::new("sample", bytes);
        decoder.expect(&[7], "magic")?;
        assert_eq!((decoder.u16()?, decoder.u32()?, decoder.u64()?), (0x1234, 5, u64::MAX));
        assert!(decoder.bool()?);
        assert_eq!((decoder.bytes(2)?, decoder.string(2)?), (&b"ab"[..], "ä".to_owned()));
        assert_eq!(decoder.list(2, 4, Decoder::u32)?, [1, 2]);
        assert_eq!((decoder.option(Decoder::u8)?, decoder.option(Decoder::u8)?), (Some(9), None));
        decoder.finish()
    }

    #[test]
    fn what_was_encoded_is_decoded() {
        read(&sample()).unwrap();
    }

    #[test]
    fn every_truncation_and_any_leftover_is_refused() {
        let bytes = sample();
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length} bytes were enough");
        }
        assert!(read(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn another_format_version_is_refused_by_its_number() {
        assert!(Decoder::new("thing", &FORMAT_VERSION.to_le_bytes()).format_version().is_ok());
        for other in [FORMAT_VERSION - 1, FORMAT_VERSION + 1, u16::MAX] {
            let error = Decoder::new("thing", &other.to_le_bytes()).format_version().unwrap_err().to_string();
            assert!(error.contains(&format!("version {other}")), "{error}");
            assert!(error.contains(&format!("version {FORMAT_VERSION}")), "{error}");
        }
    }

    #[test]
    fn a_forged_count_or_length_is_refused_before_memory_is_taken() {
        let forged = u32::MAX.to_le_bytes();
        assert!(Decoder::new("list", &forged).list(u32::MAX, 1, Decoder::u8).is_err());
        assert!(Decoder::new("list", &forged).list(u32::MAX, 0, |_| Ok(())).is_err());
        assert!(Decoder::new("bytes", &forged).bytes(u32::MAX).is_err());
        assert!(Decoder::new("bytes", &[3, 0, 0, 0, 1, 2, 3]).bytes(2).is_err());
        assert!(Decoder::new("list", &[2, 0, 0, 0, 1, 2]).list(1, 1, Decoder::u8).is_err());
    }

    #[test]
    fn truth_values_and_strings_have_one_spelling() {
        assert!(Decoder::new("bool", &[2]).bool().is_err());
        assert!(Decoder::new("string", &[1, 0, 0, 0, 0xff]).string(9).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic_a_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut decoder = Decoder::new("noise", &bytes);
            while decoder.remaining() > 0 {
                let ok = decoder.bytes(16).is_ok() | decoder.option(Decoder::u16).is_ok() | decoder.list(9, 2, Decoder::u16).is_ok();
                if !ok { break; }
            }
        }
    }
}
