//! Operation logs: what the things themselves say, and that one can be taken off the list.

use catalog::{JobKind, OperationLogFilter, Page};
use model::operation_log::{OperationLog, OperationStatus, OperationType};

use super::replication::replicate;
use super::world::{World, at, checkpoint_id, item_id, other_project, project};

async fn logs(world: &World, filter: OperationLogFilter) -> Vec<OperationLog> {
    let logs = world.catalog.operation_logs(&project(), &filter, &Page::first()).await.unwrap();
    assert!(logs.is_sorted_by(|a, b| a.started_at >= b.started_at), "newest first");
    logs
}

async fn told(world: &World) -> Vec<(OperationType, OperationStatus)> {
    let logs = logs(world, OperationLogFilter::default()).await;
    logs.iter().map(|log| (log.operation_type, log.status)).collect()
}

pub(crate) async fn logs_say_what_was_done_and_what_came_of_it(world: &World) {
    use OperationStatus::{Running, Success, Waiting};
    use OperationType::{Copy, Delete, Protect};
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.begin_run(&policy, 1).await;
    assert_eq!(told(world).await, [(Protect, Running)]);
    world.finish_backups(at(2)).await;
    replicate(world, &policy, 1).await;
    assert_eq!(told(world).await, [(Copy, Waiting), (Protect, Success)]);
    let copy = logs(world, OperationLogFilter::default()).await.remove(0);
    assert_eq!((copy.policy_id, copy.item_id, copy.ended_at), (Some(policy.id), item_id(10), None));
    let going = catalog.order_delete(&project(), checkpoint_id(1), None, at(1005)).await.unwrap();
    assert_eq!(going, [item_id(10)]);
    assert_eq!(told(world).await[0], (Delete, Running));
    let job = world.claim(JobKind::Delete, at(1006)).await.unwrap();
    catalog.finish_delete(&job.lease, item_id(10), at(1009), at(1006)).await.unwrap();
    let delete = logs(world, OperationLogFilter::default()).await.remove(0);
    assert_eq!((delete.operation_type, delete.status), (Delete, Success));
    assert_eq!((delete.started_at, delete.ended_at), (at(1005), Some(at(1006))));
    assert_eq!(delete.item_id, item_id(10));
    assert_ne!(delete.id.bytes(), item_id(10).bytes(), "the backup has a log of that id");

    let of = |types: &[OperationType]| OperationLogFilter {
        operation_types: types.to_vec(),
        ..OperationLogFilter::default()
    };
    assert_eq!(logs(world, of(&[Delete, Protect])).await.len(), 2);
    let failed =
        OperationLogFilter { statuses: vec![OperationStatus::Failed], ..OperationLogFilter::default() };
    assert_eq!(logs(world, failed).await, []);
    let nothing = OperationLogFilter { matches_nothing: true, ..OperationLogFilter::default() };
    assert_eq!(logs(world, nothing).await, []);
    let everything = OperationLogFilter::default();
    assert_eq!(catalog.operation_logs(&other_project(), &everything, &Page::first()).await.unwrap(), []);
    assert!(catalog.operation_log(&other_project(), delete.id).await.is_err());
    assert_eq!(catalog.operation_log(&project(), delete.id).await.unwrap(), delete);
    let marker = Page { marker: Some(delete.id.to_string()), ..Page::first() };
    let later = catalog.operation_logs(&project(), &OperationLogFilter::default(), &marker).await.unwrap();
    assert_eq!(later.len(), 2);

    catalog.hide_operation_log(&project(), delete.id, at(1007)).await.unwrap();
    catalog.hide_operation_log(&project(), delete.id, at(1008)).await.unwrap();
    assert_eq!(told(world).await.len(), 2);
    assert!(catalog.operation_log(&project(), delete.id).await.is_err());
}
