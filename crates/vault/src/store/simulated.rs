//! An object store in memory that fails on order, for tests and simulations.
//!
//! It shares its state between clones, so a test can kill the vault above it, call
//! [`SimulatedStore::crash`] and open a new vault over what would have survived. It remembers every
//! content that a name was ever bound to and panics when a second one appears (invariant I-5).

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{ObjectStore, Put, StoreError, StoreWriter, check_name};
use crate::seams::{Entropy, SeededEntropy};

/// What a call is made to suffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimulatedFault {
    /// It fails and has no effect.
    Unavailable,
    /// It takes effect, but the caller is told that the store did not answer.
    Unanswered,
    /// There is no space left; reads and deletes are not touched by this.
    Full,
    /// It succeeds, but of the bytes that it read or appended one is another. Other calls are not touched.
    Altered,
}

/// The store; clones share one state.
#[derive(Clone)]
pub struct SimulatedStore {
    state: Arc<Mutex<State>>,
}

struct State {
    entropy: SeededEntropy,
    objects: BTreeMap<String, Arc<Vec<u8>>>,
    /// Every name that was ever bound, with the digest of its bytes.
    history: BTreeMap<String, blake3::Hash>,
    /// Bindings in the order they were acknowledged since the last crash.
    recent: Vec<String>,
    life: u64,
    call_count: u64,
    fault_at: Option<(u64, SimulatedFault)>,
    is_unavailable: bool,
    bytes_max: u64,
    lying_count: usize,
}

impl SimulatedStore {
    /// An empty store whose faults follow from `seed`.
    pub fn new(seed: u64) -> SimulatedStore {
        let state = State {
            entropy: SeededEntropy::new(seed),
            objects: BTreeMap::new(),
            history: BTreeMap::new(),
            recent: Vec::new(),
            life: 0,
            call_count: 0,
            fault_at: None,
            is_unavailable: false,
            bytes_max: u64::MAX,
            lying_count: 0,
        };
        SimulatedStore { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine loses power: unfinished writes are gone and their writers dead. When the disk
    /// lies about syncs, the newest bindings are lost or torn as well.
    pub fn crash(&self) {
        let mut state = self.lock();
        state.life += 1;
        let recent = std::mem::take(&mut state.recent);
        let lying_count = state.lying_count;
        for name in recent.into_iter().rev().take(lying_count) {
            let mut dice = [0u8; 8];
            state.entropy.fill(&mut dice);
            let dice = u64::from_le_bytes(dice);
            let Some(bytes) = state.objects.remove(&name) else { continue };
            if dice % 2 == 0 && !bytes.is_empty() {
                let kept = (dice >> 1) as usize % bytes.len();
                state.objects.insert(name, Arc::new(bytes[..kept].to_vec()));
            }
        }
    }

    /// From now on the newest `count` bindings before a crash are not really durable.
    pub fn lie_about_syncs(&self, count: usize) {
        self.lock().lying_count = count;
    }

    /// Takes all calls down, or up again.
    pub fn set_unavailable(&self, is_unavailable: bool) {
        self.lock().is_unavailable = is_unavailable;
    }

    /// Limits the space; writes beyond it are [`StoreError::Full`].
    pub fn set_bytes_max(&self, bytes_max: u64) {
        self.lock().bytes_max = bytes_max;
    }

    /// Lets the `nth` call from now (from 1) suffer `fault`, once.
    pub fn fail_call(&self, nth: u64, fault: SimulatedFault) {
        let mut state = self.lock();
        state.fault_at = Some((state.call_count + nth, fault));
    }

    /// How many calls were made so far.
    pub fn call_count(&self) -> u64 {
        self.lock().call_count
    }

    /// True while a fault ordered by [`SimulatedStore::fail_call`] has not struck yet.
    pub fn is_fault_waiting(&self) -> bool {
        self.lock().fault_at.is_some()
    }

    /// Changes stored bytes behind everybody's back, as a failing disk would.
    ///
    /// # Panics
    /// When nothing is bound to `name`.
    pub fn tamper(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let bytes = state.objects.get_mut(name).expect("a test tampers with what is stored");
        change(Arc::make_mut(bytes));
    }

    /// Removes an object behind everybody's back.
    pub fn lose(&self, name: &str) {
        self.lock().objects.remove(name);
    }

    /// Everything stored, by name.
    pub fn objects(&self) -> BTreeMap<String, Arc<Vec<u8>>> {
        self.lock().objects.clone()
    }

    fn read<T>(
        &self,
        name: &str,
        read: impl FnOnce(&[u8], &Call) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        check_name(name)?;
        let mut state = self.lock();
        let call = state.call()?;
        let bytes =
            state.objects.get(name).ok_or_else(|| StoreError::NotFound { name: name.to_owned() })?.clone();
        drop(state);
        let read = read(&bytes, &call)?;
        call.answer().map(|()| read)
    }
}

/// A call that will take effect; whether the caller hears of it is another matter.
struct Call {
    is_answered: bool,
    is_altered: bool,
}

impl Call {
    fn bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let middle = bytes.len() / 2;
        if let Some(byte) = bytes.get_mut(middle).filter(|_| self.is_altered) {
            *byte ^= 1;
        }
        bytes
    }

    fn answer(self) -> Result<(), StoreError> {
        match self.is_answered {
            true => Ok(()),
            false => Err(unavailable()),
        }
    }
}

fn unavailable() -> StoreError {
    StoreError::Unavailable { cause: io::Error::new(io::ErrorKind::TimedOut, "simulated fault") }
}

impl State {
    fn call(&mut self) -> Result<Call, StoreError> {
        self.call_count += 1;
        let fault = self.fault_at.take_if(|(at, _)| *at <= self.call_count);
        match fault {
            _ if self.is_unavailable => Err(unavailable()),
            Some((_, SimulatedFault::Unavailable)) => Err(unavailable()),
            Some((_, SimulatedFault::Full)) => Err(StoreError::Full),
            Some((_, SimulatedFault::Unanswered)) => Ok(Call { is_answered: false, is_altered: false }),
            Some((_, SimulatedFault::Altered)) => Ok(Call { is_answered: true, is_altered: true }),
            None => Ok(Call { is_answered: true, is_altered: false }),
        }
    }

    fn bind(&mut self, name: &str, bytes: Vec<u8>) -> Result<Put, StoreError> {
        if self.objects.contains_key(name) {
            return Ok(Put::Exists);
        }
        let used: u64 = self.objects.values().map(|bytes| bytes.len() as u64).sum();
        if used + bytes.len() as u64 > self.bytes_max {
            return Err(StoreError::Full);
        }
        let digest = blake3::hash(&bytes);
        let first = *self.history.entry(name.to_owned()).or_insert(digest);
        assert_eq!(first, digest, "{name} was bound to two contents");
        self.objects.insert(name.to_owned(), Arc::new(bytes));
        self.recent.push(name.to_owned());
        Ok(Put::Created)
    }
}

impl ObjectStore for SimulatedStore {
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put, StoreError> {
        check_name(name)?;
        let mut state = self.lock();
        let call = state.call()?;
        let put = state.bind(name, bytes.to_vec())?;
        call.answer().map(|()| put)
    }

    fn begin(&self, name: &str) -> Result<Box<dyn StoreWriter>, StoreError> {
        check_name(name)?;
        let mut state = self.lock();
        state.call()?.answer()?;
        let life = state.life;
        drop(state);
        Ok(Box::new(SimulatedWriter { store: self.clone(), name: name.to_owned(), bytes: Vec::new(), life }))
    }

    fn get(&self, name: &str, bytes_max: u64) -> Result<Vec<u8>, StoreError> {
        self.read(name, |bytes, call| match bytes.len() as u64 > bytes_max {
            true => Err(StoreError::TooLong { name: name.to_owned(), bytes_max }),
            false => Ok(call.bytes(bytes)),
        })
    }

    fn get_range(&self, name: &str, offset: u64, length: u64) -> Result<Vec<u8>, StoreError> {
        self.read(name, |bytes, call| {
            let end = offset.checked_add(length).filter(|&end| end <= bytes.len() as u64);
            let end = end.ok_or_else(|| StoreError::TooShort { name: name.to_owned() })?;
            Ok(call.bytes(&bytes[offset as usize..end as usize]))
        })
    }

    fn size(&self, name: &str) -> Result<u64, StoreError> {
        self.read(name, |bytes, _| Ok(bytes.len() as u64))
    }

    fn list(&self, prefix: &str) -> Result<Vec<String>, StoreError> {
        let mut state = self.lock();
        state.call()?.answer()?;
        let from = state.objects.range(prefix.to_owned()..);
        Ok(from.map(|(name, _)| name.clone()).take_while(|name| name.starts_with(prefix)).collect())
    }

    fn delete(&self, name: &str) -> Result<(), StoreError> {
        check_name(name)?;
        let mut state = self.lock();
        let call = state.call()?;
        state.objects.remove(name);
        call.answer()
    }
}

struct SimulatedWriter {
    store: SimulatedStore,
    name: String,
    bytes: Vec<u8>,
    life: u64,
}

impl SimulatedWriter {
    /// A writer from before a crash belongs to a process that is no more.
    fn require_alive(&self, state: &State) -> Result<(), StoreError> {
        match self.life == state.life {
            true => Ok(()),
            false => Err(StoreError::Broken),
        }
    }
}

impl StoreWriter for SimulatedWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        let mut state = self.store.lock();
        self.require_alive(&state)?;
        let call = state.call()?;
        if bytes.len() as u64 > state.bytes_max {
            return Err(StoreError::Full);
        }
        drop(state);
        self.bytes.extend_from_slice(&call.bytes(bytes));
        call.answer()?;
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Put, StoreError> {
        let mut state = self.store.lock();
        self.require_alive(&state)?;
        let call = state.call()?;
        let bytes = self.bytes.clone();
        let put = state.bind(&self.name, bytes)?;
        call.answer().map(|()| put)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance;

    #[test]
    fn a_simulated_store_passes_the_conformance_suite() {
        conformance::check(|| {
            (Box::new(SimulatedStore::new(1)) as Box<dyn ObjectStore>, Box::new(()) as Box<dyn std::any::Any>)
        });
    }

    #[test]
    fn a_crash_forgets_unfinished_writes_and_kills_their_writers() {
        let store = SimulatedStore::new(1);
        let mut writer = store.begin("a").unwrap();
        writer.append(b"x").unwrap();
        store.put_if_absent("b", b"kept").unwrap();
        store.crash();
        assert!(matches!(writer.append(b"y"), Err(StoreError::Broken)));
        assert!(matches!(writer.finish(), Err(StoreError::Broken)));
        assert_eq!(store.list("").unwrap(), ["b"]);
    }

    #[test]
    fn a_lying_disk_loses_or_tears_what_it_acknowledged_last() {
        for seed in 0..20 {
            let store = SimulatedStore::new(seed);
            store.lie_about_syncs(1);
            store.put_if_absent("old", b"0123456789").unwrap();
            store.put_if_absent("new", b"0123456789").unwrap();
            store.crash();
            assert_eq!(store.get("old", 10).unwrap().len(), 10);
            assert!(store.get("new", 10).map_or(true, |bytes| bytes.len() < 10), "seed {seed}");
        }
    }

    #[test]
    fn ordered_faults_strike_once_and_where_they_should() {
        let store = SimulatedStore::new(1);
        store.fail_call(2, SimulatedFault::Unavailable);
        store.put_if_absent("a", b"x").unwrap();
        assert!(matches!(store.put_if_absent("b", b"x"), Err(StoreError::Unavailable { .. })));
        assert!(!store.is_fault_waiting());
        assert_eq!(store.list("").unwrap(), ["a"]);
        store.fail_call(1, SimulatedFault::Unanswered);
        assert!(matches!(store.put_if_absent("b", b"x"), Err(StoreError::Unavailable { .. })));
        assert_eq!(store.put_if_absent("b", b"x").unwrap(), Put::Exists);
        store.fail_call(1, SimulatedFault::Altered);
        assert_eq!(store.get("a", 1).unwrap(), b"y");
        store.set_bytes_max(2);
        assert!(matches!(store.put_if_absent("c", b"x"), Err(StoreError::Full)));
        assert_eq!(store.get("a", 1).unwrap(), b"x");
        store.set_unavailable(true);
        assert!(matches!(store.get("a", 1), Err(StoreError::Unavailable { .. })));
    }

    #[test]
    #[should_panic(expected = "a was bound to two contents")]
    fn a_name_bound_to_two_contents_is_an_outrage() {
        let store = SimulatedStore::new(1);
        store.put_if_absent("a", b"x").unwrap();
        store.delete("a").unwrap();
        store.put_if_absent("a", b"y").unwrap();
    }
}
