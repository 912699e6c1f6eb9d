//! Crash points: named places, one at every durable effect, where a test can make the process die.
//!
//! `crash_point!("name")` costs one relaxed load while nothing is armed. Armed, it records that the
//! place was reached and, when the [`Plan`] says so, dies there: by unwinding with a [`Crash`] (a
//! simulation catches it with [`catch`] and restarts its world) or by aborting the process (kill
//! loops over the binary). A dead world stays dead: after the first death every further point in
//! the same scope dies as well, so that no thread does anything durable after "the kill".
//!
//! A plan armed with [`arm`] holds for the calling thread and for threads that entered its
//! [`Scope`]; tests in one process do not disturb each other. [`arm_process`] holds for all.
//! Every name is listed in [`POINTS`]; a test compares the list with the sources of all crates.

mod points;

pub use points::POINTS;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// Marks a durable effect; see the module text. The name is `room.effect.before|after`.
#[macro_export]
macro_rules! crash_point {
    ($name:literal) => {
        if $crate::crash::is_armed() {
            $crate::crash::reach($name);
        }
    };
}

/// What a thread unwinds with when a plan makes it die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The point where it happened.
    pub point: &'static str,
}

/// When to die, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    when: When,
    is_abort: bool,
}

#[derive(Clone, Debug)]
enum When {
    Never,
    Named { name: String, hit: u64 },
    Any { hit: u64 },
}

impl Plan {
    /// Never dies, only collects which points were reached.
    pub fn record() -> Plan {
        Plan { when: When::Never, is_abort: false }
    }

    /// Dies at the `hit`-th time (from 1) that the point `name` is reached.
    pub fn at(name: &str, hit: u64) -> Plan {
        Plan { when: When::Named { name: name.to_owned(), hit }, is_abort: false }
    }

    /// Dies at the `hit`-th point (from 1), whatever its name.
    pub fn at_hit(hit: u64) -> Plan {
        Plan { when: When::Any { hit }, is_abort: false }
    }

    /// The same plan, dying by `abort`: no destructor runs, as after SIGKILL.
    pub fn aborting(self) -> Plan {
        Plan { is_abort: true, ..self }
    }
}

#[derive(Debug)]
struct Armory {
    plan: Plan,
    hit_count: AtomicU64,
    is_dead: AtomicBool,
    reached: Mutex<BTreeMap<&'static str, u64>>,
}

impl Armory {
    fn new(plan: Plan) -> Arc<Armory> {
        let armory = Armory {
            plan,
            hit_count: AtomicU64::new(0),
            is_dead: AtomicBool::new(false),
            reached: Mutex::new(BTreeMap::new()),
        };
        Arc::new(armory)
    }

    fn reach(&self, name: &'static str) {
        if self.is_dead.load(Ordering::SeqCst) {
            self.die(name);
        }
        let hit = self.hit_count.fetch_add(1, Ordering::SeqCst) + 1;
        let named_hit = {
            let mut reached = self.reached.lock().unwrap_or_else(PoisonError::into_inner);
            let count = reached.entry(name).or_insert(0);
            *count += 1;
            *count
        };
        let is_time = match &self.plan.when {
            When::Never => false,
            When::Named { name: wanted, hit } => wanted == name && *hit == named_hit,
            When::Any { hit: wanted } => *wanted == hit,
        };
        if is_time {
            self.is_dead.store(true, Ordering::SeqCst);
            self.die(name);
        }
    }

    fn die(&self, point: &'static str) -> ! {
        if self.plan.is_abort {
            std::process::abort();
        }
        resume_unwind(Box::new(Crash { point }))
    }
}

static ARMED_COUNT: AtomicUsize = AtomicUsize::new(0);
static PROCESS: OnceLock<Arc<Armory>> = OnceLock::new();

thread_local! {
    static THREAD: RefCell<Option<Arc<Armory>>> = const { RefCell::new(None) };
}

/// True while any plan is armed anywhere in the process. For [`crash_point!`] only.
#[inline]
pub fn is_armed() -> bool {
    ARMED_COUNT.load(Ordering::Relaxed) != 0
}

/// Notes that a point was reached and dies if it is time. For [`crash_point!`] only.
#[cold]
pub fn reach(name: &'static str) {
    // A destructor that runs during an unwinding must not die a second time: that would abort.
    if std::thread::panicking() {
        return;
    }
    let own = THREAD.with(|thread| thread.borrow().clone());
    if let Some(armory) = own.as_ref().or(PROCESS.get()) {
        armory.reach(name);
    }
}

/// Keeps a plan armed for this thread; dropping it disarms.
#[derive(Debug)]
pub struct Armed {
    armory: Arc<Armory>,
    before: Option<Arc<Armory>>,
}

impl Armed {
    /// The plan, to be handed to whatever works under it; needed where one thread runs two worlds.
    pub fn scope(&self) -> Scope {
        Scope(Some(self.armory.clone()))
    }

    /// How often each point was reached so far.
    pub fn reached(&self) -> BTreeMap<&'static str, u64> {
        self.armory.reached.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many points were reached so far.
    pub fn hit_count(&self) -> u64 {
        self.armory.hit_count.load(Ordering::SeqCst)
    }

    /// True once the plan has killed something.
    pub fn is_dead(&self) -> bool {
        self.armory.is_dead.load(Ordering::SeqCst)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        THREAD.with(|thread| *thread.borrow_mut() = self.before.take());
        ARMED_COUNT.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Arms `plan` for this thread and for threads that enter its [`scope`].
pub fn arm(plan: Plan) -> Armed {
    let armory = Armory::new(plan);
    let before = THREAD.with(|thread| thread.borrow_mut().replace(armory.clone()));
    ARMED_COUNT.fetch_add(1, Ordering::SeqCst);
    Armed { armory, before }
}

/// Arms `plan` for the whole process until it ends; for the binary. A second call changes nothing.
pub fn arm_process(plan: Plan) {
    if PROCESS.set(Armory::new(plan)).is_ok() {
        ARMED_COUNT.fetch_add(1, Ordering::SeqCst);
    }
}

/// The plan of one thread, to be handed to another that works for it.
#[derive(Clone, Debug, Default)]
pub struct Scope(Option<Arc<Armory>>);

/// The plan that holds for this thread. Cheap; take it before spawning.
pub fn scope() -> Scope {
    if !is_armed() {
        return Scope(None);
    }
    Scope(THREAD.with(|thread| thread.borrow().clone()))
}

impl Scope {
    /// Runs `work` on this thread under the plan of the thread that made the scope.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let _restore = Restore(THREAD.with(|thread| thread.replace(self.0.clone())));
        work()
    }
}

struct Restore(Option<Arc<Armory>>);

impl Drop for Restore {
    fn drop(&mut self) {
        THREAD.with(|thread| *thread.borrow_mut() = self.0.take());
    }
}

/// Runs `work` and returns the crash that ended it, if one did. Other panics pass through.
pub fn catch<T>(work: impl FnOnce() -> T) -> Result<T, Crash> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(value) => Ok(value),
        Err(payload) => match payload.downcast::<Crash>() {
            Ok(crash) => Err(*crash),
            Err(payload) => resume_unwind(payload),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn three_points() {
        reach("test.one");
        reach("test.two");
        reach("test.one");
    }

    #[test]
    fn a_plan_dies_at_the_named_hit_and_stays_dead() {
        let armed = arm(Plan::at("test.one", 2));
        assert_eq!(catch(three_points), Err(Crash { point: "test.one" }));
        assert!(armed.is_dead());
        assert_eq!(catch(|| reach("test.other")), Err(Crash { point: "test.other" }));
        drop(armed);
        assert_eq!(catch(three_points), Ok(()));
    }

    #[test]
    fn a_plan_dies_at_any_nth_point_until_a_run_has_no_more() {
        let mut deaths = Vec::new();
        for hit in 1.. {
            let _armed = arm(Plan::at_hit(hit));
            match catch(three_points) {
                Ok(()) => break,
                Err(crash) => deaths.push(crash.point),
            }
        }
        assert_eq!(deaths, ["test.one", "test.two", "test.one"]);
    }

    #[test]
    fn recording_counts_also_what_other_threads_of_the_scope_reach() {
        let armed = arm(Plan::record());
        three_points();
        let scope = scope();
        let worker = std::thread::spawn(move || scope.run(three_points));
        worker.join().unwrap();
        std::thread::spawn(three_points).join().unwrap();
        assert_eq!(armed.reached().into_iter().collect::<Vec<_>>(), [("test.one", 4), ("test.two", 2)]);
        assert_eq!(armed.hit_count(), 6);
    }

    #[test]
    fn destructors_of_an_unwinding_world_pass_points_unharmed() {
        struct Tidy;
        impl Drop for Tidy {
            fn drop(&mut self) {
                reach("test.drop");
            }
        }
        let _armed = arm(Plan::at("test.one", 1));
        let died = catch(|| {
            let _tidy = Tidy;
            three_points();
        });
        assert_eq!(died, Err(Crash { point: "test.one" }));
    }

    #[test]
    fn other_panics_are_not_swallowed() {
        let passed = catch_unwind(|| catch(|| resume_unwind(Box::new("other"))));
        assert!(passed.is_err());
    }

    fn source_files(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                source_files(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }

    #[test]
    fn every_point_in_the_sources_is_listed_once_and_every_listed_one_exists() {
        let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf();
        let mut files = Vec::new();
        for name in ["vault", "control", "antipode"] {
            source_files(&crates.join(name).join("src"), &mut files);
        }
        let mut used = Vec::new();
        for file in files.iter().filter(|file| !file.ends_with("src/crash.rs")) {
            let text = std::fs::read_to_string(file).unwrap();
            for after in text.split("crash_point!(\"").skip(1) {
                used.push(after.split('"').next().unwrap().to_owned());
            }
        }
        used.sort();
        let mut listed: Vec<String> = POINTS.iter().map(|&name| name.to_owned()).collect();
        listed.sort();
        assert_eq!(used, listed, "sources on the left, crash/points.rs on the right");
        let count = listed.len();
        listed.dedup();
        assert_eq!(listed.len(), count, "a name is used twice");
    }
}
