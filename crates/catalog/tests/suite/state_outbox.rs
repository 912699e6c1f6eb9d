//! What waits to be written to the store.

use catalog::{CatalogError, JobKind, StateSubject, SubjectState, UnwrittenState};
use model::policy::Policy;
use model::text::Name;

use super::peers::grant;
use super::world::{World, at, item_id, manifest_of, policy, project, server};

async fn unwritten(world: &World) -> Vec<UnwrittenState> {
    world.catalog.unwritten_state(100).await.unwrap()
}

async fn write_all(world: &World) {
    for state in unwritten(world).await {
        world.catalog.note_state_written(&state).await.unwrap();
    }
    assert_eq!(unwritten(world).await, []);
}

pub(crate) async fn what_changes_waits_until_its_newest_revision_is_written(world: &World) {
    let catalog = &world.catalog;
    let refused = Policy { name: Name::new("policy-1").unwrap(), ..policy(2, &["s9"]) };
    let first = world.policy(1, &["s1"]).await;
    assert!(catalog.create_policy(&refused, None).await.is_err());
    let older = unwritten(world).await;
    assert_eq!(older.len(), 1, "a refused change leaves nothing");
    assert_eq!((older[0].subject, &older[0].id), (StateSubject::Policy, &first.id.to_string()));
    assert_eq!(older[0].state, SubjectState::Policy(first.clone()));

    let renamed = Policy { name: Name::new("renamed").unwrap(), ..first.clone() };
    let updated_at = catalog.update_policy(&renamed, first.updated_at).await.unwrap();
    catalog.note_state_written(&older[0]).await.unwrap();
    let newer = unwritten(world).await;
    assert_eq!(newer.len(), 1, "the newer revision still waits");
    assert!(newer[0].revision > older[0].revision);
    assert_eq!(newer[0].state, SubjectState::Policy(Policy { updated_at, ..renamed }));

    // The clock stands still, or went back: the deletion is newer all the same.
    catalog.delete_policy(&project(), first.id, at(0)).await.unwrap();
    catalog.note_state_written(&newer[0]).await.unwrap();
    let gone = unwritten(world).await;
    assert!(gone[0].revision > newer[0].revision);
    assert_eq!(gone[0].project_id, project());
    let expected = SubjectState::Gone {
        deleted_at: at(0),
        purge_after: at(0),
        is_undone: false,
        is_expiry: false,
        manifest_digest: None,
        adopted_by: None,
    };
    assert_eq!(gone[0].state, expected);
    write_all(world).await;
}

pub(crate) async fn servers_and_grants_wait_too(world: &World) {
    let catalog = &world.catalog;
    let registered = server("s1", &["v1", "v2"]);
    catalog.register_server(&registered).await.unwrap();
    catalog.create_grant(&grant(1)).await.unwrap();
    let states: Vec<_> = unwritten(world).await.into_iter().map(|state| state.state).collect();
    assert_eq!(states, [SubjectState::Server(registered.clone()), SubjectState::Grant(grant(1))]);
    assert_eq!(catalog.unwritten_state(1).await.unwrap().len(), 1);
    write_all(world).await;

    let project = grant(1).destination_project_id;
    catalog.revoke_grant(&project, grant(1).id, at(5)).await.unwrap();
    catalog.remove_server(&registered.id, at(6)).await.unwrap();
    let states: Vec<_> = unwritten(world).await.into_iter().map(|state| state.state).collect();
    let mut revoked = grant(1);
    revoked.revoked_at = Some(at(5));
    let gone = SubjectState::Gone {
        deleted_at: at(6),
        purge_after: at(6),
        is_undone: false,
        is_expiry: false,
        manifest_digest: None,
        adopted_by: None,
    };
    assert_eq!(states, [SubjectState::Grant(revoked), gone]);
    write_all(world).await;
    catalog.revoke_grant(&project, grant(1).id, at(7)).await.unwrap();
    assert_eq!(unwritten(world).await, [], "revoking again changes nothing");

    catalog.register_server(&registered).await.unwrap();
    catalog.remove_server(&registered.id, at(8)).await.unwrap();
    catalog.register_server(&registered).await.unwrap();
    assert_eq!(unwritten(world).await[0].state, SubjectState::Server(registered), "it is back");
}

pub(crate) async fn an_item_that_is_gone_says_by_whom(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    write_all(world).await;
    let (expired, deleted) = (item_id(10), item_id(11));
    assert_eq!(catalog.order_expiry(&[expired], at(20)).await.unwrap(), [expired]);
    catalog.order_delete(&project(), super::world::checkpoint_id(1), Some(&[deleted]), at(21)).await.unwrap();
    assert_eq!(unwritten(world).await, [], "ordered is not gone");
    while let Some(job) = world.claim(JobKind::Delete, at(30)).await {
        let item = model::ids::CheckpointItemId::from_bytes(job.lease.subject);
        catalog.finish_delete(&job.lease, item, at(31), at(31)).await.unwrap();
    }
    let mut gone = unwritten(world).await;
    gone.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(gone.len(), 2);
    for (state, (item, is_expiry)) in gone.iter().zip([(expired, true), (deleted, false)]) {
        let manifest_digest = Some(manifest_of(item));
        let gone = SubjectState::Gone {
            deleted_at: at(31),
            purge_after: at(31),
            is_undone: false,
            is_expiry,
            manifest_digest,
            adopted_by: None,
        };
        assert_eq!((state.subject, &state.id), (StateSubject::Item, &item.to_string()));
        assert_eq!(state.state, gone);
    }
    world.damage("UPDATE state_outbox SET deletion = 'forgotten'").await;
    assert!(matches!(catalog.unwritten_state(9).await, Err(CatalogError::Corrupt { .. })));
    world.damage("UPDATE state_outbox SET deletion = NULL").await;
    assert!(matches!(catalog.unwritten_state(9).await, Err(CatalogError::Corrupt { .. })));
}
