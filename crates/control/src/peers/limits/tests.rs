use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use vault::seams::FixedClock;

use super::*;

const MIB: u64 = 1 << 20;

/// A world of its own time: a sleep moves the clock and nothing else does.
struct SleepingClock(Arc<FixedClock>);

impl Timer for SleepingClock {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let clock = self.0.clone();
        Box::pin(async move { clock.advance_ms(u64::try_from(duration.as_millis()).unwrap()) })
    }
}

struct World {
    limits: SendLimits,
    clock: Arc<FixedClock>,
    timer: SleepingClock,
    region: RegionName,
}

impl World {
    fn limited_to(bytes_per_second: u64) -> World {
        let clock = Arc::new(FixedClock::new(1_000_000));
        let world = World {
            limits: SendLimits::default(),
            timer: SleepingClock(clock.clone()),
            clock,
            region: "eu-b".parse().unwrap(),
        };
        world.limit(Some(bytes_per_second));
        world
    }

    fn limit(&self, bytes_per_second: Option<u64>) {
        let limit = |bytes| PeerLimit { region: self.region.clone(), rate: ByteRate::new(bytes).unwrap() };
        let limits: Vec<_> = bytes_per_second.map(limit).into_iter().collect();
        self.limits.follow(&limits, self.clock.now_ms());
    }

    async fn send(&self, bytes: u64) -> Turn {
        self.send_until(bytes, || false).await
    }

    async fn send_until(&self, bytes: u64, is_stopped: impl Fn() -> bool) -> Turn {
        let seams = Seams { clock: self.clock.as_ref(), timer: &self.timer };
        let bytes = usize::try_from(bytes).unwrap();
        self.limits.wait_for_turn(&self.region, bytes, seams, is_stopped).await
    }
}

/// Sends batches that each need a while on the wire; answers the rate that comes of it.
async fn measured(world: &World, batch_bytes: u64, batch_count: u64, wire_ms: u64) -> u64 {
    let begun_ms = world.clock.now_ms();
    for _ in 0..batch_count {
        assert_eq!(world.send(batch_bytes).await, Turn::Come);
        world.clock.advance_ms(wire_ms);
    }
    batch_bytes * batch_count * 1000 / (world.clock.now_ms() - begun_ms)
}

#[tokio::test]
async fn a_long_transfer_goes_as_fast_as_the_limit_and_no_faster() {
    for (rate, batch_bytes, wire_ms) in [
        (100 << 10, 8 * MIB, 300),
        (MIB, 8 * MIB, 800),
        (9 * MIB, 8 * MIB, 800),
        (50 * MIB, 8 * MIB, 20),
        (1000 * MIB, 8 * MIB, 7),
        (MIB, 3000, 0),
        (10 * MIB, 300_001, 1),
    ] {
        let world = World::limited_to(rate);
        let reached = measured(&world, batch_bytes, 2000, wire_ms).await;
        let percent = reached * 100 / rate;
        assert!((95..=105).contains(&percent), "{reached} of {rate} with {batch_bytes} a batch");
    }
}

#[tokio::test]
async fn all_transfers_to_a_peer_share_its_limit_and_another_peer_has_none() {
    let world = Arc::new(World::limited_to(10 * MIB));
    let sent = Arc::new(AtomicU64::new(0));
    let begun_ms = world.clock.now_ms();
    let mut transfers = Vec::new();
    for _ in 0..4 {
        let (world, sent) = (world.clone(), sent.clone());
        transfers.push(tokio::spawn(async move {
            for _ in 0..100 {
                assert_eq!(world.send(MIB).await, Turn::Come);
                sent.fetch_add(MIB, Ordering::SeqCst);
                tokio::task::yield_now().await;
            }
        }));
    }
    for transfer in transfers {
        transfer.await.unwrap();
    }
    // The clock of this test adds up the sleeps of all, so that it can be late, never early.
    let elapsed_ms = world.clock.now_ms() - begun_ms;
    assert!(sent.load(Ordering::SeqCst) * 1000 / elapsed_ms <= 10 * MIB * 105 / 100);
    let before_ms = world.clock.now_ms();
    let seams = Seams { clock: world.clock.as_ref(), timer: &world.timer };
    let other = "eu-c".parse().unwrap();
    assert_eq!(world.limits.wait_for_turn(&other, 1 << 30, seams, || false).await, Turn::Come);
    assert_eq!(world.clock.now_ms(), before_ms);
}

/// Changes the limit at the first sleep of a batch; answers how long the batch then waited.
async fn waited_after(change: Option<u64>) -> u64 {
    let world = World::limited_to(100 << 10);
    let is_changed = AtomicBool::new(false);
    let begun_ms = world.clock.now_ms();
    let come = world.send_until(8 * MIB, || {
        if !is_changed.swap(true, Ordering::SeqCst) {
            world.limit(change);
        }
        false
    });
    assert_eq!(come.await, Turn::Come);
    world.clock.now_ms() - begun_ms
}

#[tokio::test]
async fn a_change_takes_effect_on_the_batch_that_waits() {
    assert!(waited_after(Some(100 << 10)).await > 80_000, "8 MiB at 100 KiB/s take 82 s");
    assert!((799..=1000).contains(&waited_after(Some(10 * MIB)).await));
    assert!(waited_after(None).await <= LOOK_EVERY_MS);
    assert!(waited_after(Some(50 << 10)).await > 160_000, "a lower one too");
    let world = World::limited_to(MIB);
    assert!(measured(&world, MIB, 20, 0).await <= MIB);
    world.limit(None);
    let before_ms = world.clock.now_ms();
    world.send(100 * MIB).await;
    assert_eq!(world.clock.now_ms(), before_ms);
    world.limit(Some(2 * MIB));
    let reached = measured(&world, MIB, 100, 0).await;
    assert!((2 * MIB * 95 / 100..=2 * MIB).contains(&reached), "{reached}");
}

#[tokio::test]
async fn whoever_is_stopped_waits_no_longer_and_costs_the_others_nothing() {
    let world = World::limited_to(100 << 10);
    let begun_ms = world.clock.now_ms();
    let looks = AtomicU64::new(0);
    let given_up = world.send_until(8 * MIB, || looks.fetch_add(1, Ordering::SeqCst) == 2).await;
    assert_eq!(given_up, Turn::GivenUp);
    assert!(world.clock.now_ms() - begun_ms <= 2 * LOOK_EVERY_MS);
    assert_eq!(world.send(10 << 10).await, Turn::Come);
    assert!(world.clock.now_ms() - begun_ms <= 3 * LOOK_EVERY_MS);
}

#[tokio::test]
async fn a_clock_that_jumps_gives_away_a_batch_at_most() {
    let world = World::limited_to(MIB);
    world.clock.advance_ms(1_000_000_000);
    let reached_ms = |world: &World, from: u64| world.clock.now_ms() - from;
    let from = world.clock.now_ms();
    world.send(8 * MIB).await;
    assert_eq!(reached_ms(&world, from), 0);
    world.send(8 * MIB).await;
    assert_eq!(reached_ms(&world, from), 8000);
    world.clock.set_ms(5);
    world.send(8 * MIB).await;
    assert_eq!(world.clock.now_ms(), 8005, "backwards brings nothing and costs nothing");
}
