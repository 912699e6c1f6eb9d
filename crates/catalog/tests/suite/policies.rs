//! Policies and their schedules.

use catalog::{CatalogError, Conflict, Page, PolicyFilter, Slot};
use model::checkpoint::{CheckpointItem, ItemState};
use model::ids::ScheduledOperationId;
use model::policy::{OperationDefinition, Policy};
use model::retention::{Retention, RetentionFields};
use model::text::Name;

use super::world::{World, at, bytes, checkpoint, item, other_project, policy, policy_id, project};

pub(crate) async fn a_policy_comes_back_as_it_was_given(world: &World) {
    let catalog = &world.catalog;
    let mut given = policy(1, &["s2", "s1"]);
    given.resources[0].extra_info = Some(r#"{ "exclude_volumes" : ["v9","v8"] }"#.to_owned());
    given.resources[0].excluded_volumes = vec!["v9".parse().unwrap(), "v8".parse().unwrap()];
    given.parameters = "{\"common\":{\"ä\":1}}".to_owned();
    let fields = RetentionFields {
        max_backups: -1,
        duration_days: 14,
        day_backups: 7,
        timezone: Some("UTC+08:00".to_owned()),
        ..RetentionFields::default()
    };
    let mut second = given.operations[0].clone();
    second.id = ScheduledOperationId::from_bytes(bytes(99));
    second.enabled = false;
    second.definition = OperationDefinition::Replication {
        retention: Retention::new(fields).unwrap(),
        destination_region: "region-b".parse().unwrap(),
        destination_project_id: "project-there".parse().unwrap(),
        enable_acceleration: true,
    };
    given.operations.push(second);
    catalog.create_policy(&given, None).await.unwrap();
    assert_eq!(catalog.policy(&project(), given.id).await.unwrap(), given);
    assert_eq!(catalog.all_policies().await.unwrap(), std::slice::from_ref(&given));
    let found = catalog.policy_of_server(&project(), &"s1".parse().unwrap()).await.unwrap();
    assert_eq!(found, Some(given.clone()));
    assert_eq!(catalog.policy_of_server(&other_project(), &"s1".parse().unwrap()).await.unwrap(), None);
    assert!(matches!(catalog.policy(&other_project(), given.id).await, Err(CatalogError::NotFound { .. })));

    catalog.create_policy(&policy(2, &["s3"]), None).await.unwrap();
    let filter = PolicyFilter { name: Some("policy-1".to_owned()) };
    assert_eq!(catalog.policies(&project(), &filter, &Page::first()).await.unwrap(), [given]);
    let all = catalog.policies(&project(), &PolicyFilter::default(), &Page::first()).await.unwrap();
    assert_eq!(all.iter().map(|policy| policy.id).collect::<Vec<_>>(), [policy_id(2), policy_id(1)]);
}

pub(crate) async fn a_server_is_in_one_policy_at_most(world: &World) {
    let catalog = &world.catalog;
    world.policy(1, &["s1", "s2"]).await;
    let second = policy(2, &["s3", "s2"]);
    let refused = catalog.create_policy(&second, None).await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Conflict(Conflict::ServerInPolicy { server, policy })
            if server.as_str() == "s2" && *policy == policy_id(1)),
        "{refused:?}"
    );
    assert!(matches!(catalog.policy(&project(), second.id).await, Err(CatalogError::NotFound { .. })));
    let same_name = Policy { name: Name::new("policy-1").unwrap(), ..policy(3, &["s3"]) };
    assert!(matches!(
        catalog.create_policy(&same_name, None).await,
        Err(CatalogError::Conflict(Conflict::NameTaken { .. }))
    ));
    let same_id = Policy { name: Name::new("other").unwrap(), ..policy(1, &["s3"]) };
    assert!(matches!(
        catalog.create_policy(&same_id, None).await,
        Err(CatalogError::Conflict(Conflict::IdTaken { what: "policy", .. }))
    ));
    catalog.create_policy(&policy(4, &["s3"]), None).await.unwrap();
}

pub(crate) async fn a_change_over_an_unseen_change_is_refused(world: &World) {
    let catalog = &world.catalog;
    let seen = world.policy(1, &["s1"]).await;
    world.policy(2, &["s2"]).await;
    let mut mine = seen.clone();
    mine.resources.clear();
    let stored = catalog.update_policy(&mine, seen.updated_at).await.unwrap();
    assert!(stored > seen.updated_at, "even when the clock stands still");
    let refused = catalog.update_policy(&mine, seen.updated_at).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::PolicyChanged))));
    let taken = Policy { name: Name::new("policy-2").unwrap(), ..mine.clone() };
    let refused = catalog.update_policy(&taken, stored).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::NameTaken { .. }))));
    let stolen = Policy { resources: policy(2, &["s2"]).resources, ..mine.clone() };
    let refused = catalog.update_policy(&stolen, stored).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::ServerInPolicy { .. }))));
    let read = catalog.policy(&project(), seen.id).await.unwrap();
    assert_eq!(read, Policy { updated_at: stored, ..mine });
}

pub(crate) async fn a_policy_is_deleted_while_it_runs_and_the_run_finishes(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.begin_run(&policy, 1).await;
    assert!(matches!(
        catalog.delete_policy(&other_project(), policy.id, at(90)).await,
        Err(CatalogError::NotFound { .. })
    ));
    catalog.delete_policy(&project(), policy.id, at(90)).await.unwrap();
    assert!(matches!(
        catalog.delete_policy(&project(), policy.id, at(91)).await,
        Err(CatalogError::NotFound { .. })
    ));
    assert_eq!(catalog.due_operations(at(1_000_000), 10).await.unwrap(), [], "its schedule is gone");
    world.policy(2, &["s1"]).await;
    world.finish_backups(at(95)).await;
    let item = catalog.item_by_id(super::world::item_id(10)).await.unwrap();
    assert_eq!((item.state, item.policy_id), (ItemState::Available, Some(policy.id)));
    let deleted = catalog.deleted_policies(&project()).await.unwrap();
    assert_eq!(deleted.iter().map(|deleted| deleted.id).collect::<Vec<_>>(), [policy.id]);
    assert_eq!(catalog.deleted_policies(&other_project()).await.unwrap(), []);
}

pub(crate) async fn a_project_has_no_more_policies_than_it_may(world: &World) {
    let catalog = &world.catalog;
    catalog.create_policy(&policy(1, &[]), Some(2)).await.unwrap();
    catalog.create_policy(&policy(2, &[]), Some(2)).await.unwrap();
    let refused = catalog.create_policy(&policy(3, &[]), Some(2)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::TooManyPolicies { policies_max: 2 }))));
    let elsewhere = Policy { project_id: other_project(), ..policy(3, &[]) };
    catalog.create_policy(&elsewhere, Some(2)).await.unwrap();
    catalog.delete_policy(&project(), policy_id(1), at(9)).await.unwrap();
    catalog.create_policy(&policy(4, &[]), Some(2)).await.unwrap();
}

pub(crate) async fn a_page_of_policies_comes_back_whole(world: &World) {
    let catalog = &world.catalog;
    let mut given = Vec::new();
    for n in 1..=5u8 {
        let mut policy = policy(n, &[&format!("s{n}"), &format!("t{n}")]);
        policy.resources[1].excluded_volumes = vec![format!("v{n}").parse().unwrap()];
        policy.tags.push(model::text::Tag::new("number", &n.to_string()).unwrap());
        catalog.create_policy(&policy, None).await.unwrap();
        given.insert(0, policy);
    }
    let listed = catalog.policies(&project(), &PolicyFilter::default(), &Page::first()).await.unwrap();
    assert_eq!(listed, given);
    let known = catalog.known_servers(&project(), &[&"s1".parse().unwrap()]).await.unwrap();
    assert!(known.is_empty(), "none of them is registered");
    world.damage("DELETE FROM policy_resources WHERE resource_id = 't3'").await;
    let broken = catalog.policies(&project(), &PolicyFilter::default(), &Page::first()).await;
    assert!(matches!(broken, Err(CatalogError::Corrupt { .. })), "{broken:?}");
}

pub(crate) async fn next_runs_survive_changes_of_other_things(world: &World) {
    let catalog = &world.catalog;
    let mut policy = world.policy(1, &["s1"]).await;
    let operation = policy.operations[0].id;
    let unplanned = catalog.unplanned_operations(10).await.unwrap();
    assert_eq!(unplanned.len(), 1);
    assert_eq!(unplanned[0].policy, policy);
    assert!(catalog.set_next_run(operation, policy.updated_at, Some(at(50))).await.unwrap());
    assert_eq!(catalog.unplanned_operations(10).await.unwrap(), []);
    assert_eq!(catalog.due_operations(at(49), 10).await.unwrap(), []);
    assert_eq!(catalog.next_operation_at().await.unwrap(), Some(at(50)));
    policy.name = Name::new("renamed").unwrap();
    policy.updated_at = catalog.update_policy(&policy, policy.updated_at).await.unwrap();
    let due = catalog.due_operations(at(50), 10).await.unwrap();
    assert_eq!((due[0].operation_id, due[0].next_run_at), (operation, Some(at(50))));
    assert_eq!(due[0].policy, policy);

    let seen = policy.updated_at;
    policy.operations[0].trigger.start_time = at(7);
    policy.updated_at = catalog.update_policy(&policy, policy.updated_at).await.unwrap();
    assert_eq!(catalog.due_operations(at(60), 10).await.unwrap(), [], "a new trigger is planned anew");
    assert!(
        !catalog.set_next_run(operation, seen, Some(at(51))).await.unwrap(),
        "computed from the old trigger"
    );
    assert!(catalog.set_next_run(operation, policy.updated_at, None).await.unwrap());
    assert_eq!(catalog.next_operation_at().await.unwrap(), None);
    assert_eq!(catalog.unplanned_operations(10).await.unwrap(), []);
    assert!(catalog.set_next_run(operation, policy.updated_at, Some(at(1))).await.unwrap());
    policy.operations[0].enabled = false;
    catalog.update_policy(&policy, policy.updated_at).await.unwrap();
    assert_eq!(catalog.due_operations(at(60), 10).await.unwrap(), [], "disabled");
}

pub(crate) async fn a_slot_runs_once(world: &World) {
    let operation = ScheduledOperationId::from_bytes(bytes(1));
    let mut running = Vec::new();
    for _ in 0..10 {
        let catalog = world.catalog.clone();
        let slot = Slot { operation, at: at(5) };
        running.push(tokio::spawn(async move { catalog.claim_slot(&slot, at(6)).await.unwrap() }));
    }
    let mut claims = 0;
    for handle in running {
        claims += u32::from(handle.await.unwrap());
    }
    assert_eq!(claims, 1);
    assert!(world.catalog.claim_slot(&Slot { operation, at: at(9) }, at(9)).await.unwrap());
    assert_eq!(world.catalog.last_slot(operation).await.unwrap(), Some(at(9)));
    let other = ScheduledOperationId::from_bytes(bytes(2));
    assert_eq!(world.catalog.last_slot(other).await.unwrap(), None);
}

pub(crate) async fn a_slot_is_claimed_if_and_only_if_its_run_begins(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    let slot = Slot { operation: policy.operations[0].id, at: at(5) };
    let run = checkpoint(1, Some(&policy));
    let finished = [CheckpointItem { state: ItemState::Available, ..item(1, &run, "s1") }];
    assert!(catalog.begin_scheduled_checkpoint(&run, &finished, &slot).await.is_err());
    assert_eq!(
        catalog.last_slot(slot.operation).await.unwrap(),
        None,
        "a run that did not begin claims none"
    );
    let items = [item(1, &run, "s1")];
    catalog.begin_scheduled_checkpoint(&run, &items, &slot).await.unwrap();
    assert_eq!(catalog.last_slot(slot.operation).await.unwrap(), Some(at(5)));
    let again = catalog.begin_scheduled_checkpoint(&checkpoint(2, None), &[], &slot).await;
    assert!(matches!(again, Err(CatalogError::Conflict(Conflict::SlotTaken))));
}
