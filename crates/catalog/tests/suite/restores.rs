//! Restores.

use catalog::{CatalogError, Conflict, JobKind, Page};
use model::checkpoint::{Failure, ItemState};
use model::ids::{RestoreId, VolumeBackupId};
use model::restore::{Restore, RestoreState, RestoreVolume};

use super::world::{World, at, bytes, checkpoint_id, item_id, other_project, project, server};

fn restore(n: u8, item: u8, target: &str) -> Restore {
    Restore {
        id: RestoreId::from_bytes(bytes(n)),
        project_id: project(),
        checkpoint_id: checkpoint_id(item / 10),
        item_id: item_id(item),
        target_server_id: target.parse().unwrap(),
        volumes: vec![RestoreVolume {
            backup_id: VolumeBackupId::from_bytes(bytes(item)),
            volume_id: "v1".parse().unwrap(),
        }],
        power_on: true,
        restore_target: Some("here".to_owned()),
        state: RestoreState::InProgress,
        reason: String::new(),
        total_bytes: 4096,
        done_bytes: 0,
        created_at: at(50),
        updated_at: at(50),
    }
}

pub(crate) async fn a_restore_uses_the_item_and_gives_it_back(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    let ordered = restore(1, 10, "s1");
    catalog.order_restore(&ordered).await.unwrap();
    assert_eq!(catalog.restore(&project(), ordered.id).await.unwrap(), ordered);
    assert!(matches!(
        catalog.restore(&other_project(), ordered.id).await,
        Err(CatalogError::NotFound { .. })
    ));
    assert_eq!(catalog.item_by_id(item_id(10)).await.unwrap().state, ItemState::WaitingRestore);
    let busy = catalog.order_delete(&project(), checkpoint_id(1), None, at(51)).await;
    assert!(matches!(busy, Err(CatalogError::Conflict(Conflict::ItemBusy { .. }))));

    let lease = world.claim(JobKind::Restore, at(51)).await.unwrap().lease;
    assert_eq!(catalog.start_restore(&lease, ordered.id, at(52)).await.unwrap(), ordered);
    catalog.record_restore_progress(&lease, ordered.id, 100, at(53)).await.unwrap();
    // Killed and taken up again.
    let lease = world.claim(JobKind::Restore, at(500)).await.unwrap().lease;
    assert_eq!(catalog.start_restore(&lease, ordered.id, at(500)).await.unwrap().done_bytes, 100);
    assert_eq!(catalog.item_by_id(item_id(10)).await.unwrap().state, ItemState::Restoring);
    catalog.finish_restore(&lease, ordered.id, Ok(()), at(501)).await.unwrap();
    let done = catalog.restore(&project(), ordered.id).await.unwrap();
    assert_eq!((done.state, done.done_bytes, done.reason.as_str()), (RestoreState::Success, 4096, ""));
    assert_eq!(catalog.item_by_id(item_id(10)).await.unwrap().state, ItemState::Available);
    assert_eq!(catalog.restores(&project(), &Page::first()).await.unwrap(), [done]);
    let again = catalog.finish_restore(&lease, ordered.id, Ok(()), at(502)).await;
    assert!(matches!(again, Err(CatalogError::Fenced)));
}

pub(crate) async fn one_restore_a_server_at_a_time(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    catalog.register_server(&server("s9", &["v9"])).await.unwrap();
    catalog.order_restore(&restore(1, 10, "s9")).await.unwrap();
    let same_item = catalog.order_restore(&restore(2, 10, "s1")).await;
    assert!(matches!(
        same_item,
        Err(CatalogError::Conflict(Conflict::ItemBusy { state: ItemState::WaitingRestore, .. }))
    ));
    let same_server = catalog.order_restore(&restore(2, 11, "s9")).await;
    assert!(matches!(same_server, Err(CatalogError::Conflict(Conflict::ServerRestoring { .. }))));
    assert_eq!(catalog.item_by_id(item_id(11)).await.unwrap().state, ItemState::Available, "nothing changed");
    let removed = catalog.remove_server(&"s9".parse().unwrap(), at(90)).await;
    assert!(matches!(removed, Err(CatalogError::Conflict(Conflict::ServerRestoring { .. }))));
    let foreign = Restore { project_id: other_project(), ..restore(3, 11, "s2") };
    assert!(matches!(catalog.order_restore(&foreign).await, Err(CatalogError::NotFound { .. })));
    let confused = Restore { checkpoint_id: checkpoint_id(7), ..restore(3, 11, "s2") };
    assert!(matches!(catalog.order_restore(&confused).await, Err(CatalogError::NotFound { .. })));
}

pub(crate) async fn a_failed_restore_leaves_the_item_available(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.run(&policy, 1).await;
    let ordered = restore(1, 10, "s1");
    catalog.order_restore(&ordered).await.unwrap();
    let lease = world.claim(JobKind::Restore, at(51)).await.unwrap().lease;
    let failure = Failure {
        operation: "restore".to_owned(),
        code: "CSBS.9999".to_owned(),
        reason: "disk full".to_owned(),
    };
    let unstarted = catalog.finish_restore(&lease, ordered.id, Err(&failure), at(52)).await;
    unstarted.unwrap();
    let failed = catalog.restore(&project(), ordered.id).await.unwrap();
    assert_eq!((failed.state, failed.reason.as_str()), (RestoreState::Fail, "disk full"));
    let item = catalog.item_by_id(item_id(10)).await.unwrap();
    assert_eq!((item.state, item.failure), (ItemState::Available, Some(failure)));
    catalog.order_restore(&restore(2, 10, "s1")).await.unwrap();
}
