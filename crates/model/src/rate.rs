//! Rates: how many bytes a second something may move.

/// A limit in bytes a second. Never so low that one batch would take days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteRate(u64);

/// The lowest limit there is, in bytes a second.
pub const BYTES_PER_SECOND_MIN: u64 = 1 << 10;
/// The highest limit there is, in bytes a second.
pub const BYTES_PER_SECOND_MAX: u64 = 1 << 50;

/// A number that is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a limit is {BYTES_PER_SECOND_MIN} to {BYTES_PER_SECOND_MAX} bytes a second")]
pub struct BadRate;

impl ByteRate {
    /// The limit of so many bytes a second.
    pub fn new(bytes_per_second: u64) -> Result<ByteRate, BadRate> {
        let is_limit = (BYTES_PER_SECOND_MIN..=BYTES_PER_SECOND_MAX).contains(&bytes_per_second);
        if is_limit { Ok(ByteRate(bytes_per_second)) } else { Err(BadRate) }
    }

    /// Bytes a second.
    pub fn bytes_per_second(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_lets_something_through_and_is_a_number_that_can_be_reckoned_with() {
        for (bytes, is_limit) in [
            (0, false),
            (BYTES_PER_SECOND_MIN - 1, false),
            (BYTES_PER_SECOND_MIN, true),
            (BYTES_PER_SECOND_MAX, true),
            (BYTES_PER_SECOND_MAX + 1, false),
            (u64::MAX, false),
        ] {
            assert_eq!(ByteRate::new(bytes).is_ok(), is_limit, "{bytes}");
        }
    }
}
