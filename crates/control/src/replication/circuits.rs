//! The circuits to other regions, as this process finds them. A region that stays silent is asked by one record
//! for all: the others are held back in one transaction, instead of each trying, failing and waiting by itself.
//!
//! What is here may be forgotten at any time: a process that starts asks again and learns it anew.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use catalog::{Job, Postponement};
use model::ids::RegionName;
use model::time::Timestamp;
use tracing::{info, warn};

use crate::Control;
use crate::error::Error;
use crate::workers::LEASE_SECONDS;

/// After so many silences in a row a circuit opens.
const SILENCES_MAX: u32 = 3;
/// Why records are held back.
pub(super) const UNREACHABLE: &str = "peer-unreachable";

/// ```text
/// closed ──silences──► open ──its moment──► open, one record asks
///    ▲                  ▲ └──────────silent again─────────┘
///    └──────answered────┴──────────────────────────────────
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Circuit {
    /// The region answers, or has not been silent often enough.
    Closed { silences: u32 },
    /// Nobody asks before this moment; then the first who comes asks for all.
    Open { silences: u32, until: Timestamp },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// Somebody wants to ask.
    Wanted { now: Timestamp },
    /// Nothing came back; whoever asks next should wait until then.
    Silent { until: Timestamp },
    /// The region said something.
    Answered,
}

impl Circuit {
    /// The only function that moves a circuit.
    fn on(self, event: Event) -> Circuit {
        match (self, event) {
            (Circuit::Open { silences, until }, Event::Wanted { now }) if now >= until => {
                // Whoever asks now may die meanwhile; then another one asks when its lease is over.
                Circuit::Open { silences, until: now.plus_seconds(LEASE_SECONDS.into()) }
            }
            (circuit, Event::Wanted { .. }) => circuit,
            (_, Event::Answered) => Circuit::Closed { silences: 0 },
            (Circuit::Closed { silences }, Event::Silent { .. }) if silences + 1 < SILENCES_MAX => {
                Circuit::Closed { silences: silences + 1 }
            }
            (circuit, Event::Silent { until }) => {
                Circuit::Open { silences: circuit.silences().saturating_add(1), until }
            }
        }
    }

    fn silences(self) -> u32 {
        match self {
            Circuit::Closed { silences } | Circuit::Open { silences, .. } => silences,
        }
    }
}

/// Every circuit of this process.
#[derive(Default)]
pub(crate) struct Circuits {
    of_regions: Mutex<HashMap<RegionName, Circuit>>,
}

/// Whether a record may ask its region now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Admission {
    Go,
    Wait { until: Timestamp },
}

impl Circuits {
    fn admit(&self, region: &RegionName, now: Timestamp) -> Admission {
        let mut circuits = self.lock();
        let Some(circuit) = circuits.get_mut(region) else { return Admission::Go };
        let before = *circuit;
        *circuit = before.on(Event::Wanted { now });
        match *circuit {
            Circuit::Open { until, .. } if *circuit == before => Admission::Wait { until },
            _ => Admission::Go,
        }
    }

    /// Notes a silence; answers until when nobody asks, if the circuit is open now.
    fn note_silence(&self, region: &RegionName, until: impl FnOnce(u32) -> Timestamp) -> Option<Timestamp> {
        let mut circuits = self.lock();
        let circuit = circuits.entry(region.clone()).or_insert(Circuit::Closed { silences: 0 });
        *circuit = circuit.on(Event::Silent { until: until(circuit.silences() + 1) });
        match *circuit {
            Circuit::Open { until, .. } => Some(until),
            Circuit::Closed { .. } => None,
        }
    }

    /// Notes an answer; true when the circuit was open.
    fn note_answer(&self, region: &RegionName) -> bool {
        let mut circuits = self.lock();
        let Some(circuit) = circuits.get_mut(region) else { return false };
        let before = *circuit;
        *circuit = before.on(Event::Answered);
        matches!(before, Circuit::Open { .. })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<RegionName, Circuit>> {
        self.of_regions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Control {
    /// Holds a job back when its region is known to be silent; true when it was.
    pub(super) async fn is_held_back(&self, job: &Job, region: &RegionName) -> Result<bool, Error> {
        match self.circuits().admit(region, self.now()) {
            Admission::Go => Ok(false),
            Admission::Wait { until } => self.hold_back(job, region, until).await.map(|()| true),
        }
    }

    /// A region was silent: this job waits, and all others to the region with it once that has happened
    /// often enough.
    pub(super) async fn note_silence(
        &self,
        job: &Job,
        region: &RegionName,
        reason: &str,
    ) -> Result<(), Error> {
        match self.circuits().note_silence(region, |silences| self.backoff(silences)) {
            None => self.try_later(job, UNREACHABLE, reason).await,
            Some(until) => {
                warn!(%region, %until, "a region stays silent; one record will ask for all");
                self.hold_back(job, region, until).await
            }
        }
    }

    /// A region said something: whoever was held back goes on.
    pub(crate) async fn note_answer(&self, region: &RegionName) -> Result<(), Error> {
        if !self.circuits().note_answer(region) {
            return Ok(());
        }
        let freed = self.catalog().hasten_replications(region, UNREACHABLE, self.now()).await?;
        info!(%region, freed, "a region answers again");
        self.wakes().replicator.notify_waiters();
        Ok(())
    }

    async fn hold_back(&self, job: &Job, region: &RegionName, until: Timestamp) -> Result<(), Error> {
        let reason = format!("region {region} does not answer; one replication asks again for all of them");
        let postponement = Postponement { try_at: until, reason_code: UNREACHABLE, reason: &reason };
        match self.catalog().postpone_job(&job.lease, &postponement, self.now()).await {
            Err(catalog::CatalogError::Fenced) => {}
            other => other?,
        }
        self.catalog().hold_back_replications(region, &postponement, self.now()).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_micros(0).plus_seconds(seconds)
    }

    #[test]
    fn a_circuit_moves_as_drawn() {
        let closed = |silences| Circuit::Closed { silences };
        let open = |silences, until| Circuit::Open { silences, until: at(until) };
        let lease: i64 = LEASE_SECONDS.into();
        for (before, event, after) in [
            (closed(0), Event::Silent { until: at(1) }, closed(1)),
            (closed(1), Event::Silent { until: at(2) }, closed(2)),
            (closed(2), Event::Silent { until: at(4) }, open(3, 4)),
            (closed(2), Event::Answered, closed(0)),
            (closed(2), Event::Wanted { now: at(9) }, closed(2)),
            (open(3, 4), Event::Wanted { now: at(3) }, open(3, 4)),
            (open(3, 4), Event::Wanted { now: at(4) }, open(3, 4 + lease)),
            (open(3, 34), Event::Silent { until: at(12) }, open(4, 12)),
            (open(u32::MAX, 34), Event::Silent { until: at(60) }, open(u32::MAX, 60)),
            (open(3, 34), Event::Answered, closed(0)),
        ] {
            assert_eq!(before.on(event), after, "{before:?} {event:?}");
        }
    }

    #[test]
    fn one_record_asks_for_all() {
        let circuits = Circuits::default();
        let region: RegionName = "eu-b".parse().unwrap();
        let silent = |now: i64| circuits.note_silence(&region, |silences| at(now + i64::from(silences)));
        assert_eq!((silent(0), silent(0), silent(0)), (None, None, Some(at(3))));
        assert_eq!(circuits.admit(&region, at(2)), Admission::Wait { until: at(3) });
        assert_eq!(circuits.admit(&region, at(3)), Admission::Go);
        let lease: i64 = LEASE_SECONDS.into();
        assert_eq!(circuits.admit(&region, at(3)), Admission::Wait { until: at(3 + lease) }, "one is enough");
        assert_eq!(silent(4), Some(at(8)));
        assert_eq!(circuits.admit(&region, at(8)), Admission::Go);
        assert!(circuits.note_answer(&region));
        assert!(!circuits.note_answer(&region));
        assert_eq!(circuits.admit(&region, at(8)), Admission::Go);
        assert_eq!(circuits.admit(&"eu-c".parse().unwrap(), at(0)), Admission::Go);
    }
}
