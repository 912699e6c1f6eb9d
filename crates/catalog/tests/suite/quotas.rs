//! Quotas: measured at the moment of an order, and never passed by racing ones.

use catalog::{CatalogError, Conflict, JobKind, RunSharing};
use model::identity::Project;
use model::ids::{CheckpointId, CheckpointItemId, OperationId, VolumeBackupId};
use model::quota::{Quota, QuotaChange, QuotaKind};

use super::world::{World, at, checkpoint, checkpoint_id, item, item_id, other_project, project};

fn named() -> Project {
    Project {
        id: project(),
        name: "a".to_owned(),
        description: String::new(),
        enabled: true,
        created_at: at(0),
    }
}

async fn limit(world: &World, backups: Option<u64>, capacity: Option<u64>) {
    let change = QuotaChange { backups_max: Some(backups), capacity_gib_max: Some(capacity) };
    world.catalog.change_quota(&project(), &change, at(0)).await.unwrap();
}

async fn begin(world: &World, n: u8) -> Result<(), CatalogError> {
    let run = checkpoint(n, None);
    world.catalog.begin_checkpoint(&run, &[item(n, &run, "s1")], RunSharing::Shared).await
}

fn exceeded(result: Result<(), CatalogError>) -> Option<QuotaKind> {
    match result {
        Ok(()) => None,
        Err(CatalogError::Conflict(Conflict::ProjectOverQuota(exceeded))) => Some(exceeded.kind),
        Err(error) => panic!("{error:?}"),
    }
}

pub(crate) async fn a_quota_counts_what_is_there_and_refuses_whole_orders(world: &World) {
    let catalog = &world.catalog;
    let missing = catalog.change_quota(&"nowhere".parse().unwrap(), &QuotaChange::default(), at(0)).await;
    assert!(matches!(missing, Err(CatalogError::NotFound { what: "project", .. })));
    catalog.create_project(&named()).await.unwrap();
    assert_eq!(catalog.quota(&project()).await.unwrap().0, Quota::default());
    assert_eq!(exceeded(begin(world, 1).await), None);
    world.finish_backups(at(1)).await;
    let (_, usage) = catalog.quota(&project()).await.unwrap();
    assert_eq!((usage.backups, usage.stored_bytes), (1, 1 << 20));
    assert_eq!(catalog.quota(&other_project()).await.unwrap().1.backups, 0);

    limit(world, Some(2), None).await;
    let run = checkpoint(9, None);
    let two = [item(90, &run, "s1"), item(91, &run, "s2")];
    let refused = catalog.begin_checkpoint(&run, &two, RunSharing::Shared).await;
    assert_eq!(exceeded(refused), Some(QuotaKind::Backups));
    assert!(catalog.checkpoint(&project(), checkpoint_id(9)).await.is_err(), "nothing of it was written");
    assert_eq!(exceeded(begin(world, 2).await), None);
    assert_eq!(exceeded(begin(world, 3).await), Some(QuotaKind::Backups));
    catalog.order_delete(&project(), checkpoint_id(1), None, at(2)).await.unwrap();
    assert_eq!(exceeded(begin(world, 3).await), Some(QuotaKind::Backups), "it is going, not gone");
    let job = world.claim(JobKind::Delete, at(3)).await.unwrap();
    catalog.finish_delete(&job.lease, item_id(1), at(9), at(3)).await.unwrap();
    assert_eq!(exceeded(begin(world, 3).await), None);

    limit(world, None, Some(0)).await;
    assert_eq!(exceeded(begin(world, 4).await), Some(QuotaKind::BackupCapacity));
    limit(world, None, Some(1)).await;
    assert_eq!(exceeded(begin(world, 4).await), None);
    let kept = QuotaChange { backups_max: Some(Some(7)), capacity_gib_max: None };
    let (quota, _) = catalog.change_quota(&project(), &kept, at(4)).await.unwrap();
    assert_eq!(quota, Quota { backups_max: Some(7), capacity_gib_max: Some(1) });
}

pub(crate) async fn orders_at_once_stay_within_the_quota(world: &World) {
    world.catalog.create_project(&named()).await.unwrap();
    limit(world, Some(5), None).await;
    let orders = (0..20_u8).map(|n| {
        let catalog = world.catalog.clone();
        let mut run = checkpoint(n, None);
        run.id = CheckpointId::from_entropy([n; 16]);
        let mut wanted = item(n, &run, "s1");
        wanted.id = CheckpointItemId::from_entropy([n; 16]);
        wanted.operation_id = OperationId::from_entropy([n; 16]);
        wanted.volumes[0].id = VolumeBackupId::from_entropy([n; 16]);
        tokio::spawn(async move { catalog.begin_checkpoint(&run, &[wanted], RunSharing::Shared).await })
    });
    let mut begun = 0;
    for order in orders.collect::<Vec<_>>() {
        begun += usize::from(exceeded(order.await.unwrap()).is_none());
    }
    assert_eq!((begun, world.catalog.quota(&project()).await.unwrap().1.backups), (5, 5));
}
