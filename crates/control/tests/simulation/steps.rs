//! What a seed does to the world: orders, work, writes, time, and the faults that this seed knows.

use catalog::JobKind;
use control::checkpoints::{Begun, ProtectOrder, RunOrder};
use control::policies::{NewOperation, NewPolicy};
use control::replication::ItemReplicationOrder;
use control::restores::RestoreOrder;
use model::checkpoint::{CheckpointItem, ItemState};
use model::ids::{CheckpointItemId, PolicyId};
use model::policy::{OperationDefinition, PolicyResource};
use model::replication::{Destination, ReplicationOrder};
use model::restore::RestoreVolume;
use model::retention::{Retention, RetentionFields};
use model::schedule::Pattern;
use model::text::{Description, Name};
use vault::crash::Plan;
use vault::store::SimulatedFault;

use crate::links::{LinkFaults, Side};
use crate::region::region_name;
use crate::replacing::replace_policies;
use crate::world::World;

/// The servers of each region, the same on both sides so that replicas find disks of their size.
pub(crate) const SERVERS: [&str; 2] = ["web", "db"];
const STEPS: std::ops::Range<u64> = 40..80;

/// Which kinds of trouble a seed knows, and how much of each.
#[derive(Clone, Copy, Debug)]
struct Weather {
    link: LinkFaults,
    has_crashes: bool,
    has_power_cuts: bool,
    has_store_faults: bool,
    has_full_stores: bool,
}

/// Sets a world up as its seed wants it and lets it run through its steps; faults are still on.
pub(crate) fn live(world: &mut World) {
    let weather = weather(world);
    world.note(&format!("{weather:?}"));
    build(world);
    world.wire.set_faults(weather.link);
    let count = STEPS.start + world.dice.below(STEPS.end - STEPS.start);
    for _ in 0..count {
        let side = if world.dice.percent(70) { Side::A } else { Side::B };
        step(world, side, &weather);
        world.counts.steps += 1;
        if world.replacing_dice.as_mut().is_some_and(|dice| dice.percent(6)) {
            replace_policies(world, side);
        }
    }
}

fn weather(world: &mut World) -> Weather {
    let dice = &mut world.dice;
    let mut rate = |chance, most| if dice.percent(chance) { dice.below(most) } else { 0 };
    let link = LinkFaults { cut_before: rate(50, 25), cut_after: rate(50, 25), twice: rate(50, 30) };
    Weather {
        link,
        has_crashes: dice.percent(70),
        has_power_cuts: dice.percent(40),
        has_store_faults: dice.percent(40),
        has_full_stores: dice.percent(15),
    }
}

/// Servers on both sides and a policy over each side's servers.
fn build(world: &mut World) {
    let (kib, mib) = (1 << 10, 1 << 20);
    let small = (200 * kib + world.dice.below(600) * kib).next_multiple_of(512);
    let odd = 256 * kib + 512 * (1 + world.dice.below(7));
    // Two segments, most of it a hole.
    let wide = if world.dice.percent(30) { 17 * mib } else { 512 * kib };
    for side in Side::BOTH {
        world.register(side, SERVERS[0], &[(small, small)]);
        world.register(side, SERVERS[1], &[(wide, 300 * kib), (odd, odd / 2)]);
        let wants_schedule = world.dice.percent(40);
        let retention = match world.dice.below(3) {
            0 => RetentionFields { max_backups: 2, ..RetentionFields::default() },
            1 => RetentionFields { duration_days: 1, ..RetentionFields::default() },
            _ => RetentionFields { permanent: true, ..RetentionFields::default() },
        };
        create_policy(world, side, &SERVERS, retention, wants_schedule);
    }
}

/// A policy over some servers of a side. With a schedule it backs up and replicates each hour by itself.
pub(crate) fn create_policy(
    world: &mut World,
    side: Side,
    servers: &[&str],
    fields: RetentionFields,
    wants_schedule: bool,
) -> PolicyId {
    let may_expire = !fields.permanent;
    let retention = Retention::new(fields).unwrap();
    let (caller, destination) = (world.region(side).caller.clone(), destination(world, side));
    let operation = |definition, rule: &str| NewOperation {
        name: String::new(),
        description: Description::default(),
        enabled: wants_schedule,
        definition,
        pattern: Pattern::parse(&calendar(rule)).unwrap(),
    };
    let backup = OperationDefinition::Backup { retention: retention.clone() };
    let replication = OperationDefinition::Replication {
        retention,
        destination_region: destination.region,
        destination_project_id: destination.project_id,
        enable_acceleration: false,
    };
    let resource = |id: &&str| PolicyResource {
        id: World::resource(id),
        name: (*id).to_owned(),
        extra_info: None,
        excluded_volumes: Vec::new(),
    };
    let new = NewPolicy {
        name: Name::new("all").unwrap(),
        description: Description::default(),
        parameters: "{}".to_owned(),
        resources: servers.iter().map(resource).collect(),
        operations: vec![
            operation(backup, "RRULE:FREQ=DAILY;INTERVAL=1;BYHOUR=1;BYMINUTE=0"),
            operation(replication, "RRULE:FREQ=DAILY;INTERVAL=1;BYHOUR=3;BYMINUTE=0"),
        ],
        tags: Vec::new(),
    };
    let made = world.run(side, "creates a policy", async |control| control.create_policy(&caller, new).await);
    let policy = made.expect("worlds begin healthy").unwrap();
    world.ledger.policies.insert(policy.id, (side, may_expire));
    policy.id
}

fn calendar(rule: &str) -> String {
    format!("BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n{rule}\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n")
}

fn destination(world: &World, side: Side) -> Destination {
    let other = side.other();
    Destination { region: region_name(other), project_id: world.region(other).project.clone() }
}

fn step(world: &mut World, side: Side, weather: &Weather) {
    match world.dice.below(100) {
        0..8 => run_policy(world, side),
        8..11 => protect(world, side),
        11..19 => write_disks(world, side),
        19..27 => world.keep_house(side),
        27..35 => replicate_policies(world, side),
        35..38 => replicate_item(world, side),
        38..41 => delete_item(world, side),
        41..45 => restore_item(world, side),
        45..51 => jump(world),
        51..58 => trouble(world, side, weather),
        58..64 => world.reopen(side),
        64..67 => undelete(world, side),
        67..70 => collect(world, side),
        _ => work(world, side),
    }
}

fn work(world: &mut World, side: Side) {
    let kinds = [
        JobKind::Backup,
        JobKind::Backup,
        JobKind::Replicate,
        JobKind::Replicate,
        JobKind::Replicate,
        JobKind::Restore,
        JobKind::Delete,
        JobKind::Verify,
        JobKind::Collect,
        JobKind::Collect,
    ];
    let kind = *world.dice.pick(&kinds).unwrap();
    world.work(side, kind);
}

fn policies_of(world: &World, side: Side) -> Vec<PolicyId> {
    world.ledger.policies.iter().filter(|(_, (of, _))| *of == side).map(|(id, _)| *id).collect()
}

/// Orders a run of every policy of a side.
pub(crate) fn run_policy(world: &mut World, side: Side) {
    let caller = world.region(side).caller.clone();
    for policy_id in policies_of(world, side) {
        let order = RunOrder { policy_id, auto_trigger: false, resources: None };
        let begun =
            world.run(side, "runs a policy", async |control| control.run_policy(&caller, order).await);
        note_items(world, side, begun);
    }
}

fn note_items(world: &mut World, side: Side, begun: Option<Result<Begun, control::Error>>) {
    if let Some(Ok(begun)) = begun {
        world.ledger.items.extend(begun.items.iter().map(|item| (item.id, side)));
    }
}

fn protect(world: &mut World, side: Side) {
    let caller = world.region(side).caller.clone();
    let server = *world.dice.pick(&SERVERS).unwrap();
    let order = ProtectOrder {
        resource_id: World::resource(server),
        name: None,
        description: None,
        incremental: true,
        tags: Vec::new(),
        excluded_volumes: Vec::new(),
        changes: None,
    };
    let begun = world.run(side, "protects a server", async |control| control.protect(&caller, order).await);
    note_items(world, side, begun);
}

/// Changes some disks of a side.
pub(crate) fn write_disks(world: &mut World, side: Side) {
    let World { regions, dice, .. } = world;
    for disk in regions[side.index()].disks.values_mut().flat_map(|disks| disks.values_mut()) {
        if dice.percent(60) {
            disk.write(dice);
        }
    }
    world.note(&format!("{side:?} has its disks written"));
}

/// Orders the replication of every policy of a side; answers how many records that made.
pub(crate) fn replicate_policies(world: &mut World, side: Side) {
    for policy_id in policies_of(world, side) {
        replicate_policy(world, side, policy_id);
    }
}

/// The core call; answers how many records it made, or nothing when it was refused or not heard.
pub(crate) fn replicate_policy(world: &mut World, side: Side, policy_id: PolicyId) -> Option<usize> {
    let region = world.region(side);
    let caller = region.caller.clone();
    let order = ReplicationOrder {
        source_project_id: region.project.clone(),
        policy_id,
        destination: destination(world, side),
        auto_trigger: false,
        enable_acceleration: false,
    };
    let begun = world
        .run(side, "replicates a policy", async |control| control.replicate_policy(&caller, order).await);
    let begun = begun?.ok()?;
    world.ledger.records.extend(begun.selected.iter().map(|(_, record)| (*record, side)));
    Some(begun.selected.len())
}

fn pick_item(world: &mut World, side: Side) -> Option<CheckpointItem> {
    let items = world.items(side, &[ItemState::Available]);
    world.dice.pick(&items).cloned()
}

fn replicate_item(world: &mut World, side: Side) {
    let Some(item) = pick_item(world, side) else { return };
    let caller = world.region(side).caller.clone();
    let order = ItemReplicationOrder {
        item_id: item.id,
        destination: destination(world, side),
        enable_acceleration: false,
        name: None,
        description: None,
    };
    let begun =
        world.run(side, "replicates an item", async |control| control.replicate_item(&caller, order).await);
    if let Some(Ok((record, _))) = begun {
        assert!(!item.is_replica(), "a replica was replicated");
        world.ledger.records.insert(record, side);
    }
}

/// Orders the deletion of some item of a side, be it a backup or a replica.
fn delete_item(world: &mut World, side: Side) {
    if let Some(item) = pick_item(world, side) {
        delete(world, side, &item);
    }
}

/// Orders a deletion. One that was not heard may have been taken all the same.
pub(crate) fn delete(world: &mut World, side: Side, item: &CheckpointItem) {
    let caller = world.region(side).caller.clone();
    let (checkpoint, items) = (item.checkpoint_id, [item.id]);
    let is_up = world.wire.process(side).is_some();
    let ordered = world.run(side, "deletes an item", async |control| {
        control.delete_items(&caller, checkpoint, Some(&items)).await
    });
    if is_up && !matches!(ordered, Some(Err(_))) {
        world.ledger.deleted.insert(item.id);
        if matches!(ordered, Some(Ok(()))) {
            world.ledger.maybe_back.remove(&item.id);
        }
    }
}

/// Has some deleted item of a side back.
fn undelete(world: &mut World, side: Side) {
    let region = world.region(side);
    let listed = region.catalog.quarantined_items(&region.project, None, 50);
    let listed = world.runtime.block_on(listed).unwrap();
    if let Some(quarantined) = world.dice.pick(&listed).cloned() {
        have_back(world, side, quarantined.item.id, quarantined.item.is_replica());
    }
}

/// Takes a deletion back. An answer that was not heard may have been given all the same.
pub(crate) fn have_back(world: &mut World, side: Side, id: CheckpointItemId, is_replica: bool) {
    let caller = world.region(side).caller.clone();
    if world.wire.process(side).is_none() {
        return;
    }
    let back = world
        .run(side, "has an item back", async |control| control.undo_deletion(&caller, id).await.map(|_| ()));
    match back {
        Some(Err(_)) => {}
        // A replica may yet make way for one that its source orders again.
        Some(Ok(())) if !is_replica => {
            world.ledger.deleted.remove(&id);
        }
        _ => {
            world.ledger.maybe_back.insert(id);
        }
    }
}

/// Orders the collection of every vault of a side.
pub(crate) fn collect(world: &mut World, side: Side) {
    let region = world.region(side);
    let vaults = world.runtime.block_on(region.catalog.vaults()).unwrap();
    let now = model::time::Timestamp::from_millis(vault::seams::Clock::now_ms(region.clock.as_ref()));
    for vault in vaults {
        let ordered = world.region(side).catalog.order_collection(vault.id, now);
        world.runtime.block_on(ordered).unwrap();
    }
    world.note(&format!("{side:?} has its vaults collected"));
}

fn restore_item(world: &mut World, side: Side) {
    if let Some(item) = pick_item(world, side) {
        restore(world, side, &item);
    }
}

/// Orders the restore of an item onto the server of its name on this side.
pub(crate) fn restore(world: &mut World, side: Side, item: &CheckpointItem) {
    let caller = world.region(side).caller.clone();
    let pairs = item
        .volumes
        .iter()
        .map(|volume| RestoreVolume { backup_id: volume.id, volume_id: volume.volume_id.clone() });
    let order = RestoreOrder {
        checkpoint_id: item.checkpoint_id,
        item_id: item.id,
        target_server_id: item.resource_id.clone(),
        volumes: pairs.collect(),
        power_on: false,
        restore_target: None,
    };
    let begun = world.run(side, "restores an item", async |control| control.restore(&caller, order).await);
    if let Some(Ok(restore)) = begun {
        world.ledger.restores.insert(restore.id, side);
    }
}

fn jump(world: &mut World) {
    let seconds = [1, 2, 31, 61, 301, 3_600, 90_000];
    let seconds = *world.dice.pick(&seconds).unwrap();
    // Now and then the clocks of the regions go apart.
    if world.dice.percent(25) {
        let side = Side::BOTH[world.dice.below(2) as usize];
        world.region(side).clock.advance_ms(seconds * 1000);
    } else {
        world.pass_seconds(seconds);
    }
    world.note(&format!("{seconds} seconds pass"));
}

/// One of the troubles that this seed knows; none when it knows none.
fn trouble(world: &mut World, side: Side, weather: &Weather) {
    let side = if world.dice.percent(40) { side.other() } else { side };
    match world.dice.below(5) {
        0 | 1 if weather.has_crashes => {
            let hit = 1 + world.dice.below(40);
            world.note(&format!("{side:?} will die at its crash point {hit}"));
            if world.wire.process(side).is_some() {
                world.arm(side, Plan::at_hit(hit));
            }
        }
        2 if weather.has_power_cuts => world.cut_power(side),
        3 if weather.has_store_faults => {
            let faults = [SimulatedFault::Unavailable, SimulatedFault::Unanswered, SimulatedFault::Full];
            let (nth, fault) = (1 + world.dice.below(60), *world.dice.pick(&faults).unwrap());
            world.note(&format!("{side:?}: store call {nth} suffers {fault:?}"));
            world.region(side).store.fail_call(nth, fault);
            world.counts.store_faults += 1;
        }
        4 if weather.has_full_stores => {
            let used: u64 = world.region(side).store.objects().values().map(|bytes| bytes.len() as u64).sum();
            let is_full = world.dice.percent(50);
            world.region(side).store.set_bytes_max(if is_full { used + 20_000 } else { u64::MAX });
            world.note(&format!("{side:?}: the store is full: {is_full}"));
            world.counts.store_faults += 1;
        }
        _ => {}
    }
}
