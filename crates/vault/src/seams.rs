//! The two things a vault may not take from the world on its own: time and chance.
//!
//! Production hands in the real clock and the operating system's randomness; a simulation hands in
//! doubles, and a whole run then repeats from a seed. Nothing is lost when the clock is wrong, since it
//! only stamps. Chance makes ids and keys and the ephemeral halves of wraps, never a nonce or an
//! address: sealing is deterministic.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

/// Tells the time.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970-01-01 UTC. May jump, freeze or go backwards.
    fn now_ms(&self) -> u64;
}

/// Gives random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes`; unpredictable in production, a function of the seed in tests.
    fn fill(&self, bytes: &mut [u8]);
}

/// A clock that stands still until a test moves it.
#[derive(Debug, Default)]
pub struct FixedClock {
    now_ms: AtomicU64,
}

impl FixedClock {
    /// A clock that shows `now_ms`.
    pub fn new(now_ms: u64) -> FixedClock {
        FixedClock { now_ms: AtomicU64::new(now_ms) }
    }

    /// Shows `now_ms` from here on.
    pub fn set_ms(&self, now_ms: u64) {
        self.now_ms.store(now_ms, Ordering::SeqCst);
    }

    /// Moves forward by `by_ms`.
    pub fn advance_ms(&self, by_ms: u64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now_ms(&self) -> u64 {
        self.now_ms.load(Ordering::SeqCst)
    }
}

/// Bytes that follow from a seed: the extended output of BLAKE3, read on and on. For tests.
pub struct SeededEntropy {
    stream: Mutex<blake3::OutputReader>,
}

impl SeededEntropy {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> SeededEntropy {
        let mut hasher = blake3::Hasher::new_derive_key("antipode test entropy");
        hasher.update(&seed.to_le_bytes());
        SeededEntropy { stream: Mutex::new(hasher.finalize_xof()) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.stream.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_stream_and_another_seed_another() {
        let read = |seed| {
            let entropy = SeededEntropy::new(seed);
            let mut bytes = [0u8; 100];
            entropy.fill(&mut bytes[..7]);
            entropy.fill(&mut bytes[7..]);
            bytes
        };
        assert_eq!(read(1), read(1));
        assert_ne!(read(1), read(2));
    }

    #[test]
    fn a_fixed_clock_moves_only_by_hand() {
        let clock = FixedClock::new(5);
        assert_eq!((clock.now_ms(), clock.now_ms()), (5, 5));
        clock.advance_ms(2);
        assert_eq!(clock.now_ms(), 7);
        clock.set_ms(1);
        assert_eq!(clock.now_ms(), 1);
    }
}
