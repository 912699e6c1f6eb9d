//! Policies replaced while they run, as a tool does that cannot change something in place: it deletes the
//! old one, makes another one just like it, and has that adopt the backups. A region may die after each of
//! these, and the tool begins again where it was.

use control::policies::{NewOperation, NewPolicy};
use control::{Kind, Reason};
use model::policy::Policy;

use crate::links::Side;
use crate::world::World;

/// A policy whose replacement was begun.
pub(crate) struct Replaced {
    side: Side,
    old: Policy,
    may_expire: bool,
}

/// Replaces the policies of a side, or goes on with that.
pub(crate) fn replace_policies(world: &mut World, side: Side) {
    if world.ledger.replaced.iter().all(|replaced| replaced.side != side) {
        for old in policies(world, side) {
            let may_expire = world.ledger.policies.get(&old.id).is_none_or(|(_, may_expire)| *may_expire);
            world.ledger.replaced.push(Replaced { side, old, may_expire });
        }
    }
    settle(world, side);
}

/// Goes on with the replacements of a side until they are done or the region dies of it.
pub(crate) fn settle(world: &mut World, side: Side) {
    while let Some(place) = world.ledger.replaced.iter().position(|replaced| replaced.side == side) {
        if replace(world, place).is_none() {
            return;
        }
        world.ledger.replaced.remove(place);
    }
}

/// All three steps, each as often as it takes. Nothing when one of them was refused for now or not heard.
fn replace(world: &mut World, place: usize) -> Option<()> {
    let Replaced { side, old, may_expire } = &world.ledger.replaced[place];
    let (side, old, may_expire) = (*side, old.clone(), *may_expire);
    let caller = world.region(side).caller.clone();
    let deleted =
        world.run(side, "deletes a policy", async |control| control.delete_policy(&caller, old.id).await)?;
    let is_gone = match &deleted {
        Ok(()) => true,
        Err(error) => error.reason == Reason::PolicyNotFound,
    };
    if !is_gone {
        return None;
    }
    if policies(world, side).is_empty() {
        let again = like(&old);
        world
            .run(side, "creates a policy", async |control| control.create_policy(&caller, again).await)?
            .ok()?;
    }
    let new = policies(world, side).pop()?;
    world.ledger.policies.retain(|_, (of, _)| *of != side);
    world.ledger.policies.insert(new.id, (side, may_expire));
    let adopted =
        world.run(side, "adopts", async |control| control.adopt_policy(&caller, new.id, old.id).await)?;
    match adopted {
        Ok(_) => Some(()),
        Err(error) => {
            assert_eq!(error.kind, Kind::Unavailable, "an adoption was refused: {error}");
            None
        }
    }
}

/// The policies of a side, as its catalog has them.
fn policies(world: &World, side: Side) -> Vec<Policy> {
    let region = world.region(side);
    let all = world.runtime.block_on(region.catalog.all_policies()).unwrap();
    all.into_iter().filter(|policy| policy.project_id == region.project).collect()
}

fn like(old: &Policy) -> NewPolicy {
    let operation = |operation: &model::policy::ScheduledOperation| NewOperation {
        name: operation.name.clone(),
        description: operation.description.clone(),
        enabled: operation.enabled,
        definition: operation.definition.clone(),
        pattern: operation.trigger.pattern.clone(),
    };
    NewPolicy {
        name: old.name.clone(),
        description: old.description.clone(),
        parameters: old.parameters.clone(),
        resources: old.resources.clone(),
        operations: old.operations.iter().map(operation).collect(),
        tags: old.tags.clone(),
    }
}

/// No replacement stays half done, and every backup of a policy is with the policy that there is.
///
/// # Panics
/// When a backup was left behind.
pub(crate) fn check_replaced(world: &mut World, side: Side) {
    settle(world, side);
    let open = world.ledger.replaced.iter().filter(|replaced| replaced.side == side).count();
    assert_eq!(open, 0, "a healed region takes orders");
    let present: Vec<_> = policies(world, side).into_iter().map(|policy| policy.id).collect();
    for item in world.items(side, &[]) {
        let is_left_behind = item.policy_id.is_some_and(|policy| !present.contains(&policy));
        assert!(!is_left_behind, "item {} is with policy {:?}, which is gone", item.id, item.policy_id);
    }
}

#[test]
fn backups_of_a_replaced_policy_stay_and_are_replicated_once() {
    let mut world = crate::story::begin();
    crate::steps::run_policy(&mut world, Side::A);
    world.run_until_idle();
    crate::steps::replicate_policies(&mut world, Side::A);
    // Both the records and a second run are open when the policy goes.
    crate::steps::write_disks(&mut world, Side::A);
    crate::steps::run_policy(&mut world, Side::A);
    replace_policies(&mut world, Side::A);
    world.run_until_idle();
    check_replaced(&mut world, Side::A);
    assert_eq!(world.items(Side::A, &[model::checkpoint::ItemState::Available]).len(), 4);
    let records = crate::invariants::records(&world, Side::A);
    assert!(records.len() == 2 && records.iter().all(|record| record.state.is_final()), "{records:?}");
    crate::invariants::check_all(&mut world);
}
