//! Adoption: a policy takes over what a deleted one left.

use catalog::{
    Adopted, CatalogError, Conflict, ItemFilter, NewRecords, Page, RecordFilter, StateSubject, SubjectState,
};
use model::ids::{PolicyId, ReplicationRecordId};
use model::policy::Policy;
use model::replication::plan;

use super::world::{
    World, at, bytes, checkpoint_id, destination, grant_id, item_id, order, other_project, policy_id, project,
};

/// Policy 1 with two runs over two servers, deleted; policy 2 in its place.
async fn replaced(world: &World) -> (Policy, Policy) {
    let old = world.policy(1, &["s1", "s2"]).await;
    world.run(&old, 1).await;
    world.run(&old, 2).await;
    world.catalog.delete_policy(&project(), old.id, at(50)).await.unwrap();
    let new = world.policy(2, &["s1", "s2"]).await;
    (old, new)
}

async fn adopt(world: &World, policy: PolicyId, old: PolicyId) -> Result<Adopted, CatalogError> {
    world.catalog.adopt_policy(&project(), policy, old, at(60)).await
}

async fn items_of(world: &World, policy: PolicyId) -> usize {
    let filter = ItemFilter { policy_ids: vec![policy], ..ItemFilter::default() };
    world.catalog.items(&project(), &filter, &Page::first()).await.unwrap().len()
}

/// Orders the replication of a policy; answers how many records that made.
async fn replicate(world: &World, policy: &Policy, first_record: u8) -> usize {
    let region = destination().region;
    let ledger = world.catalog.replication_ledger(policy.id, &region).await.unwrap();
    let plan = plan(&order(policy), &ledger);
    let record_ids = (first_record..).zip(&plan.selected);
    let record_ids = record_ids.map(|(n, _)| ReplicationRecordId::from_bytes(bytes(n))).collect();
    let new =
        NewRecords { record_ids, grant_id: grant_id(1), by_scheduler: false, keep_days: None, slot: None };
    world.catalog.begin_replication(&plan, &new, at(55)).await.unwrap().len()
}

pub(crate) async fn a_policy_adopts_the_backups_of_a_deleted_one(world: &World) {
    let (old, new) = replaced(world).await;
    assert_eq!((items_of(world, old.id).await, items_of(world, new.id).await), (4, 0));
    assert_eq!(adopt(world, new.id, old.id).await.unwrap(), Adopted { item_count: 4, record_count: 0 });
    assert_eq!((items_of(world, old.id).await, items_of(world, new.id).await), (0, 4));
    let run = world.catalog.checkpoint(&project(), checkpoint_id(1)).await.unwrap();
    assert_eq!((run.policy_id, run.plan_id), (Some(new.id), new.id.to_string()));
    assert_eq!(world.catalog.retention_candidates(new.id).await.unwrap().values().flatten().count(), 4);
    assert_eq!(adopt(world, new.id, old.id).await.unwrap(), Adopted::default(), "once more changes nothing");
    let deleted = world.catalog.deleted_policies(&project()).await.unwrap();
    assert_eq!(deleted[0].adopted_by, Some(new.id));
}

pub(crate) async fn an_adoption_is_refused_where_nothing_can_be_adopted(world: &World) {
    let (old, new) = replaced(world).await;
    let there = world.policy(3, &[]).await;
    for exists in [there.id, new.id] {
        let refused = adopt(world, new.id, exists).await;
        assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::PolicyExists { .. }))), "{refused:?}");
    }
    for refused in [
        adopt(world, new.id, policy_id(9)).await,
        adopt(world, policy_id(9), old.id).await,
        adopt(world, old.id, old.id).await,
        world.catalog.adopt_policy(&other_project(), new.id, old.id, at(60)).await,
    ] {
        assert!(matches!(refused, Err(CatalogError::NotFound { what: "policy", .. })), "{refused:?}");
    }
    let foreign = Policy { project_id: other_project(), ..super::world::policy(4, &[]) };
    world.catalog.create_policy(&foreign, None).await.unwrap();
    let refused = adopt(world, new.id, foreign.id).await;
    assert!(matches!(refused, Err(CatalogError::NotFound { .. })), "{refused:?}");
    world.catalog.delete_policy(&other_project(), foreign.id, at(50)).await.unwrap();
    let refused = adopt(world, new.id, foreign.id).await;
    assert!(matches!(refused, Err(CatalogError::NotFound { .. })), "{refused:?}");
    adopt(world, new.id, old.id).await.unwrap();
    let refused = adopt(world, there.id, old.id).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::PolicyAdopted { .. }))), "{refused:?}");
    assert_eq!(items_of(world, new.id).await, 4);
}

pub(crate) async fn a_chain_of_adoptions_ends_with_the_last(world: &World) {
    let (old, new) = replaced(world).await;
    adopt(world, new.id, old.id).await.unwrap();
    world.catalog.delete_policy(&project(), new.id, at(61)).await.unwrap();
    let last = world.policy(3, &["s1"]).await;
    assert_eq!(adopt(world, last.id, new.id).await.unwrap().item_count, 4);
    assert_eq!(items_of(world, last.id).await, 4);
    let refused = adopt(world, last.id, old.id).await;
    assert!(
        matches!(refused, Err(CatalogError::Conflict(Conflict::PolicyAdopted { adopter, .. })) if adopter == new.id)
    );
}

pub(crate) async fn what_is_replicated_is_not_replicated_again_after_an_adoption(world: &World) {
    let old = world.policy(1, &["s1", "s2"]).await;
    world.run(&old, 1).await;
    assert_eq!(replicate(world, &old, 1).await, 2);
    world.catalog.delete_policy(&project(), old.id, at(50)).await.unwrap();
    let new = world.policy(2, &["s1", "s2"]).await;
    assert_eq!(adopt(world, new.id, old.id).await.unwrap(), Adopted { item_count: 2, record_count: 2 });
    assert_eq!(replicate(world, &new, 11).await, 0);
    world.run(&new, 2).await;
    assert_eq!(replicate(world, &new, 21).await, 2);
    let filter = RecordFilter { policy_ids: vec![new.id], ..RecordFilter::default() };
    assert_eq!(world.catalog.count_records(&project(), &filter).await.unwrap(), 4);
}

pub(crate) async fn adopting_and_deleting_at_once_leave_no_record_of_a_deleted_item(world: &World) {
    let (old, new) = replaced(world).await;
    let (deleting, adopting) = (world.catalog.clone(), world.catalog.clone());
    let deleted = tokio::spawn(async move { deleting.order_expiry(&[item_id(10)], at(60)).await });
    let adopted =
        tokio::spawn(async move { adopting.adopt_policy(&project(), new.id, old.id, at(60)).await });
    assert_eq!(adopted.await.unwrap().unwrap().item_count, 4);
    assert_eq!(deleted.await.unwrap().unwrap(), [item_id(10)]);
    let new = world.catalog.policy(&project(), new.id).await.unwrap();
    assert_eq!(replicate(world, &new, 1).await, 3, "the one that goes is left out");
}

pub(crate) async fn an_adoption_waits_to_be_written(world: &World) {
    let (old, new) = replaced(world).await;
    for state in world.catalog.unwritten_state(50).await.unwrap() {
        world.catalog.note_state_written(&state).await.unwrap();
    }
    adopt(world, new.id, old.id).await.unwrap();
    // Even when the adopter is gone before it could be told of.
    world.catalog.delete_policy(&project(), new.id, at(61)).await.unwrap();
    let unwritten = world.catalog.unwritten_state(50).await.unwrap();
    let of_old = unwritten.iter().find(|state| state.id == old.id.to_string()).unwrap();
    assert_eq!(of_old.subject, StateSubject::Policy);
    assert!(
        matches!(&of_old.state, SubjectState::Gone { adopted_by: Some(adopter), deleted_at, .. }
            if *adopter == new.id && *deleted_at == at(50)),
        "{of_old:?}"
    );
}
