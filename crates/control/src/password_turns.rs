//! Turns at hashing passwords. One hash costs some 40 ms of a core and 19 MiB, so that whoever can connect
//! could take all cores and all memory from everybody else by trying to log in.
//!
//! At most half of the cores hash at once. Whoever comes meanwhile waits, but no more than so many from one
//! address and so many in all; the next ones are told to come again. Wrong passwords slow down the address
//! that tried them, for the user it tried them on, and nobody else: each doubles the wait before the next
//! try, a right one ends it. Nobody is ever locked out: an attacker could lock out others by that.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use model::time::Timestamp;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Error, Kind, Reason};

/// The most that wait for a turn: from one address, and in all.
const WAITING_FROM_AN_ADDRESS_MAX: u32 = 32;
const WAITING_MAX: u32 = 256;
/// The wait after the first wrong password, doubled by each further one up to the longest.
const FIRST_WAIT_MICROS: i64 = 100_000;
const WAIT_MICROS_MAX: i64 = 2_000_000;
/// Whoever would have to wait longer is told to come again.
const PATIENCE_MICROS: i64 = 10_000_000;
/// The most pairs of address and user that are remembered. Beyond them the ones whose wait is over are forgotten,
/// and if that is not enough, all.
const GUESSERS_MAX: usize = 10_000;

/// Who tries a password: from where, and for whom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Guesser {
    /// The address of the connection; nothing when the call came by none.
    pub(crate) address: Option<IpAddr>,
    /// The user as the caller named it, known or not.
    pub(crate) user: String,
}

/// The turns of one region.
pub(crate) struct PasswordTurns {
    hashing: Arc<Semaphore>,
    lines: Mutex<Lines>,
}

#[derive(Default)]
struct Lines {
    waiting: HashMap<Option<IpAddr>, u32>,
    waiting_count: u32,
    guesses: HashMap<Guesser, Guesses>,
}

#[derive(Clone, Copy, Default)]
struct Guesses {
    wrong_count: u32,
    next_at: i64,
}

/// A place in the line, and then the turn itself.
pub(crate) struct Turn<'a> {
    turns: &'a PasswordTurns,
    guesser: Guesser,
    /// How long to wait before [`Turn::begin`].
    pub(crate) wait: Duration,
}

/// A turn that has come. Hashing ends with it.
pub(crate) struct Hashing {
    _permit: OwnedSemaphorePermit,
}

impl Default for PasswordTurns {
    fn default() -> PasswordTurns {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        PasswordTurns { hashing: Arc::new(Semaphore::new((cores / 2).max(1))), lines: Mutex::default() }
    }
}

impl PasswordTurns {
    /// A place in the line, or a refusal that says when to come again.
    pub(crate) fn line_up(&self, guesser: Guesser, now: Timestamp) -> Result<Turn<'_>, Error> {
        let mut lines = self.lines();
        let now = now.micros();
        let guesses = lines.guesses.get(&guesser).copied().unwrap_or_default();
        let begin_at = guesses.next_at.max(now);
        let wait_micros = begin_at - now;
        let from_here = lines.waiting.get(&guesser.address).copied().unwrap_or(0);
        if wait_micros > PATIENCE_MICROS {
            return Err(busy("too many wrong passwords were tried for this user from this address"));
        }
        if from_here >= WAITING_FROM_AN_ADDRESS_MAX || lines.waiting_count >= WAITING_MAX {
            return Err(busy("too many log-ins are waiting"));
        }
        *lines.waiting.entry(guesser.address).or_default() += 1;
        lines.waiting_count += 1;
        if guesses.wrong_count > 0 {
            // Those who come at once wait one after the other.
            let next_at = begin_at + wait_after(guesses.wrong_count);
            lines.guesses.insert(guesser.clone(), Guesses { next_at, ..guesses });
        }
        let wait = Duration::from_micros(u64::try_from(wait_micros).unwrap_or(0));
        Ok(Turn { turns: self, guesser, wait })
    }

    /// Notes what came of a try.
    pub(crate) fn note(&self, guesser: Guesser, was_right: bool, now: Timestamp) {
        let mut lines = self.lines();
        if was_right {
            lines.guesses.remove(&guesser);
            return;
        }
        if lines.guesses.len() >= GUESSERS_MAX {
            lines.guesses.retain(|_, guesses| guesses.next_at > now.micros());
            if lines.guesses.len() >= GUESSERS_MAX {
                lines.guesses.clear();
            }
        }
        let guesses = lines.guesses.entry(guesser).or_default();
        guesses.wrong_count = guesses.wrong_count.saturating_add(1);
        guesses.next_at = guesses.next_at.max(now.micros() + wait_after(guesses.wrong_count));
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().expect("nothing panics while it holds this")
    }
}

impl Turn<'_> {
    /// Waits for one of the cores that may hash.
    pub(crate) async fn begin(self) -> Hashing {
        let permit = self.turns.hashing.clone().acquire_owned().await;
        Hashing { _permit: permit.expect("the semaphore is never closed") }
    }
}

impl Drop for Turn<'_> {
    /// Whoever hashes, or goes away, waits no more.
    fn drop(&mut self) {
        let mut lines = self.turns.lines();
        lines.waiting_count -= 1;
        if let Some(count) = lines.waiting.get_mut(&self.guesser.address) {
            *count -= 1;
            if *count == 0 {
                lines.waiting.remove(&self.guesser.address);
            }
        }
    }
}

fn wait_after(wrong_count: u32) -> i64 {
    let doublings = wrong_count.saturating_sub(1).min(16);
    (FIRST_WAIT_MICROS << doublings).min(WAIT_MICROS_MAX)
}

fn busy(why: &str) -> Error {
    Error::new(Kind::Unavailable, Reason::Busy, format!("{why}; try again in a moment"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guesser(address: u8, user: &str) -> Guesser {
        Guesser { address: Some(IpAddr::from([192, 0, 2, address])), user: user.to_owned() }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_micros(millis * 1000)
    }

    #[test]
    fn a_flood_from_one_address_waits_and_others_do_not_wait_for_it() {
        let turns = PasswordTurns::default();
        let flood: Vec<_> = (0..WAITING_FROM_AN_ADDRESS_MAX)
            .map(|n| turns.line_up(guesser(1, &n.to_string()), at(0)).unwrap())
            .collect();
        let refused = turns.line_up(guesser(1, "one more"), at(0)).err().unwrap();
        assert_eq!((refused.kind, refused.reason), (Kind::Unavailable, Reason::Busy));
        assert_eq!(turns.line_up(guesser(2, "honest"), at(0)).unwrap().wait, Duration::ZERO);
        drop(flood);
        assert!(turns.lines().waiting.is_empty() && turns.lines().waiting_count == 0);
        assert!(turns.line_up(guesser(1, "one more"), at(0)).is_ok());
    }

    #[test]
    fn the_line_is_bounded_whatever_the_addresses() {
        let turns = PasswordTurns::default();
        let all: Vec<_> = (0..WAITING_MAX)
            .map(|n| turns.line_up(guesser(u8::try_from(n / 2).unwrap(), "u"), at(0)).unwrap())
            .collect();
        assert!(turns.line_up(guesser(255, "u"), at(0)).is_err());
        drop(all);
    }

    #[test]
    fn wrong_passwords_slow_down_who_tried_them_and_nobody_else() {
        let turns = PasswordTurns::default();
        let mut waits = Vec::new();
        for n in 0..8 {
            let now = at(n * 100_000);
            turns.note(guesser(1, "alice"), false, now);
            waits.push(turns.line_up(guesser(1, "alice"), now).unwrap().wait.as_millis());
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000, 2000], "bounded: never locked out");
        let now = at(7 * 100_000);
        assert_eq!(turns.line_up(guesser(2, "alice"), now).unwrap().wait, Duration::ZERO, "from elsewhere");
        assert_eq!(turns.line_up(guesser(1, "bob"), now).unwrap().wait, Duration::ZERO, "for another user");
        turns.note(guesser(1, "alice"), true, now);
        assert_eq!(
            turns.line_up(guesser(1, "alice"), now).unwrap().wait,
            Duration::ZERO,
            "a right one ends it"
        );
    }

    #[test]
    fn tries_at_once_wait_one_after_the_other_and_the_rest_is_told_to_come_again() {
        let turns = PasswordTurns::default();
        for _ in 0..10 {
            turns.note(guesser(1, "alice"), false, at(0));
        }
        let waits: Vec<u128> = std::iter::from_fn(|| turns.line_up(guesser(1, "alice"), at(0)).ok())
            .map(|turn| turn.wait.as_millis())
            .take(100)
            .collect();
        assert_eq!(waits, [2000, 4000, 6000, 8000, 10_000]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let turns = PasswordTurns::default();
        for n in 0..GUESSERS_MAX * 3 {
            turns.note(guesser(1, &n.to_string()), false, at(0));
        }
        assert!(turns.lines().guesses.len() <= GUESSERS_MAX);
    }

    #[tokio::test]
    async fn no_more_hash_at_once_than_half_of_the_cores() {
        let turns = PasswordTurns::default();
        let places = turns.hashing.available_permits();
        let mut hashing = Vec::new();
        for _ in 0..places {
            hashing.push(turns.line_up(guesser(1, "u"), at(0)).unwrap().begin().await);
        }
        let one_more = turns.line_up(guesser(1, "u"), at(0)).unwrap().begin();
        let mut one_more = std::pin::pin!(one_more);
        assert!(tokio::time::timeout(Duration::from_millis(1), one_more.as_mut()).await.is_err());
        hashing.pop();
        one_more.await;
    }
}
