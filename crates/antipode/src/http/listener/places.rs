//! The places of the listener: how many connections there may be, what each waits for, and which gives
//! way to a new one when all places are taken.
//!
//! A place is given up only by a connection that waits for its client: for the head of a request (idle,
//! or sending it slowly), for more of a body, or for the client to read an answer. Whoever waits for us
//! keeps the place. Of those that may go, one goes from the address that holds most places, so that a
//! crowd from one address disturbs nobody else; of its connections first one that never asked anything,
//! then one between two requests, then one in the middle of something; and of these the one that has
//! waited longest.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;
use tokio::time::Instant;

/// What a connection waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WaitsFor {
    /// The client: the head of its next request.
    Head,
    /// The client: the next piece of a body.
    Body,
    /// The client: to read what it was answered.
    Reader,
    /// Us.
    Us,
}

/// All places.
pub(super) struct Places {
    most: usize,
    state: Mutex<State>,
    /// Told when a place is free or may be given up.
    changed: Notify,
}

#[derive(Default)]
struct State {
    held: HashMap<u64, Held>,
    last_number: u64,
}

struct Held {
    address: IpAddr,
    waits: WaitsFor,
    since: Instant,
    has_asked: bool,
    leave: Arc<Notify>,
}

/// One connection's place, free again when dropped.
pub(super) struct Place {
    places: Arc<Places>,
    number: u64,
    leave: Arc<Notify>,
}

impl Places {
    pub(super) fn new(most: usize) -> Arc<Places> {
        Arc::new(Places { most: most.max(1), state: Mutex::default(), changed: Notify::new() })
    }

    /// A place for a new connection, at once or as soon as one is free or given up.
    pub(super) async fn take(self: &Arc<Places>, address: IpAddr) -> Place {
        loop {
            // Registered before looking, so that no change is missed.
            let changed = self.changed.notified();
            if let Some(place) = self.try_take(address) {
                return place;
            }
            changed.await;
        }
    }

    fn try_take(self: &Arc<Places>, address: IpAddr) -> Option<Place> {
        let mut state = self.state();
        if state.held.len() >= self.most {
            let number = state.first_to_go()?;
            let gone = state.held.remove(&number)?;
            tracing::debug!(address = %gone.address, waits = ?gone.waits, "a connection gave way to a new one");
            gone.leave.notify_one();
        }
        state.last_number += 1;
        let (number, leave) = (state.last_number, Arc::new(Notify::new()));
        let held = Held {
            address,
            waits: WaitsFor::Head,
            since: Instant::now(),
            has_asked: false,
            leave: leave.clone(),
        };
        state.held.insert(number, held);
        Some(Place { places: self.clone(), number, leave })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds this")
    }
}

impl State {
    fn first_to_go(&self) -> Option<u64> {
        let mut crowds: HashMap<IpAddr, usize> = HashMap::new();
        for held in self.held.values() {
            *crowds.entry(held.address).or_default() += 1;
        }
        let rank = |held: &Held| {
            let turn = match held.waits {
                WaitsFor::Head if !held.has_asked => 0,
                WaitsFor::Head => 1,
                WaitsFor::Body | WaitsFor::Reader => 2,
                WaitsFor::Us => return None,
            };
            Some((Reverse(crowds[&held.address]), turn, held.since))
        };
        let may_go = self.held.iter().filter_map(|(number, held)| rank(held).map(|rank| (rank, *number)));
        may_go.min().map(|(_, number)| number)
    }
}

impl Place {
    /// Ends when the connection has to give way.
    pub(super) async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }

    /// Notes what the connection waits for from now on.
    pub(super) fn note(&self, waits: WaitsFor) {
        let mut state = self.places.state();
        let Some(held) = state.held.get_mut(&self.number) else { return };
        if held.waits == waits {
            return;
        }
        held.waits = waits;
        held.since = Instant::now();
        held.has_asked |= waits == WaitsFor::Us;
        let is_full = state.held.len() >= self.places.most;
        if is_full && waits != WaitsFor::Us {
            self.places.changed.notify_one();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.state().held.remove(&self.number);
        self.places.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn has_to_leave(place: &Place) -> bool {
        !place.places.state().held.contains_key(&place.number)
    }

    #[tokio::test]
    async fn the_first_to_go_is_of_the_largest_crowd_then_idle_then_oldest() {
        let places = Places::new(6);
        let mut crowd = Vec::new();
        for _ in 0..4 {
            crowd.push(places.take(address(1)).await);
        }
        let other = places.take(address(2)).await;
        let third = places.take(address(3)).await;
        crowd[0].note(WaitsFor::Us);
        crowd[1].note(WaitsFor::Us);
        crowd[1].note(WaitsFor::Head);
        crowd[2].note(WaitsFor::Body);
        let order = [3, 1, 2];
        let mut newer = Vec::new();
        for (step, gone) in order.into_iter().enumerate() {
            newer.push(places.take(address(10 + u8::try_from(step).unwrap())).await);
            assert!(has_to_leave(&crowd[gone]), "step {step}");
            assert_eq!(crowd.iter().filter(|place| has_to_leave(place)).count(), step + 1);
        }
        assert!(!has_to_leave(&crowd[0]) && !has_to_leave(&other) && !has_to_leave(&third));
    }

    #[tokio::test]
    async fn who_waits_for_us_keeps_the_place_and_a_new_one_waits() {
        let places = Places::new(1);
        let busy = places.take(address(1)).await;
        busy.note(WaitsFor::Us);
        assert!(places.try_take(address(2)).is_none());
        let waiting = tokio::spawn({
            let places = places.clone();
            async move { places.take(address(2)).await }
        });
        tokio::task::yield_now().await;
        busy.note(WaitsFor::Head);
        let newer = waiting.await.unwrap();
        assert!(has_to_leave(&busy) && !has_to_leave(&newer));
        drop(busy);
        assert_eq!(places.state().held.len(), 1, "leaving late frees nobody else's place");
        drop(newer);
        assert_eq!(places.state().held.len(), 0);
    }
}
