//! Runs, backups and lists of items.

use catalog::{
    CatalogError, Conflict, ImageType, ItemFilter, ItemProgress, ItemSort, JobKind, NewOperation, Page,
    RunSharing, SequenceScope, Sort,
};
use model::checkpoint::{CheckpointState, Failure, ItemState};

use super::world::{
    DOMAIN, INCARNATION, VAULT, World, at, checkpoint, checkpoint_id, item, item_id, manifest_of,
    other_project, policy_id, project,
};

fn failure() -> Failure {
    Failure {
        operation: "backup".to_owned(),
        code: "CSBS.9999".to_owned(),
        reason: "disk unreadable".to_owned(),
    }
}

pub(crate) async fn a_run_is_written_with_its_jobs_or_not_at_all(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    let run = checkpoint(1, Some(&policy));
    let first = item(1, &run, "s1");
    let taken = [first.clone(), item(1, &run, "s2")];
    let refused = catalog.begin_checkpoint(&run, &taken, RunSharing::Shared).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::IdTaken { .. }))));
    assert!(matches!(catalog.checkpoint(&project(), run.id).await, Err(CatalogError::NotFound { .. })));
    assert_eq!(catalog.open_job_count(JobKind::Backup).await.unwrap(), 0);

    let items = [first.clone(), item(2, &run, "s2")];
    catalog.begin_checkpoint(&run, &items, RunSharing::Shared).await.unwrap();
    assert_eq!(catalog.checkpoint(&project(), run.id).await.unwrap(), run);
    assert_eq!(catalog.item(&project(), first.id).await.unwrap(), first);
    assert_eq!(catalog.items_of_checkpoint(&project(), run.id).await.unwrap(), items);
    assert_eq!(catalog.open_job_count(JobKind::Backup).await.unwrap(), 2);
    assert_eq!(catalog.checkpoint_state(&project(), run.id).await.unwrap(), CheckpointState::Protecting);
    assert!(matches!(catalog.checkpoint(&other_project(), run.id).await, Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.item(&other_project(), first.id).await, Err(CatalogError::NotFound { .. })));

    let mut orphan = checkpoint(2, Some(&policy));
    orphan.policy_id = Some(policy_id(9));
    let refused = catalog.begin_checkpoint(&orphan, &[], RunSharing::Shared).await;
    assert!(matches!(refused, Err(CatalogError::NotFound { what: "policy", .. })));
    let finished =
        [model::checkpoint::CheckpointItem { state: ItemState::Available, ..item(3, &orphan, "s1") }];
    let refused = catalog.begin_checkpoint(&checkpoint(3, None), &finished, RunSharing::Shared).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::ItemBusy { .. }))));
}

pub(crate) async fn an_exclusive_run_excludes_and_says_whom(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    let mut automatic = checkpoint(1, Some(&policy));
    automatic.auto_trigger = true;
    catalog.begin_checkpoint(&automatic, &[item(1, &automatic, "s1")], RunSharing::Exclusive).await.unwrap();
    let manual = checkpoint(2, Some(&policy));
    let begin = || catalog.begin_checkpoint(&manual, &[], RunSharing::Exclusive);
    let refused = begin().await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::PolicyRunning { auto_trigger: true }))));
    let beside = checkpoint(3, Some(&policy));
    catalog.begin_checkpoint(&beside, &[], RunSharing::Shared).await.unwrap();
    world.finish_backups(at(1)).await;
    begin().await.unwrap();
}

pub(crate) async fn a_backup_becomes_available_with_its_evidence(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    world.begin_run(&policy, 1).await;
    let id = item_id(10);
    let job = world.claim(JobKind::Backup, at(1)).await.unwrap();
    let progress = ItemProgress { percent: 40, bytes: 1600, logical_bytes: 4096 };
    catalog.record_item_progress(&job.lease, id, &progress, at(2)).await.unwrap();
    let half = catalog.item(&project(), id).await.unwrap();
    assert_eq!((half.progress_percent, half.progress_bytes, half.updated_at), (40, 1600, at(2)));
    assert_eq!(catalog.newest_available_item(&project(), &half.resource_id).await.unwrap(), None);

    let stored = world.finish_backup(&job.lease, at(3)).await;
    let done = catalog.item(&project(), id).await.unwrap();
    assert_eq!(done.state, ItemState::Available);
    assert_eq!(done.manifest_digest, Some(stored.manifest_digest));
    assert_eq!((done.domain, done.sequence, done.progress_percent), (Some(DOMAIN), 1, 100));
    assert_eq!((done.protected_at, done.finished_at), (Some(at(3)), Some(at(3))));
    assert_eq!(done.volumes[0].size_bytes, 4096);
    assert_eq!(catalog.open_job_count(JobKind::Backup).await.unwrap(), 0);
    assert!(matches!(
        catalog.reserve_pack(done.operation_id).await,
        Err(CatalogError::Conflict(Conflict::OperationNotOpen))
    ));
    let vault = catalog.vault(VAULT).await.unwrap().unwrap();
    assert_eq!(vault.commit_seq, 2, "one pack sealed, one operation ended");
    let again = catalog.finish_backup(&job.lease, id, &stored, at(4)).await;
    assert!(matches!(again, Err(CatalogError::Fenced)));

    let second = world.run(&policy, 5).await;
    let newest = catalog.newest_available_item(&project(), &done.resource_id).await.unwrap().unwrap();
    assert_eq!(newest, second[0]);
    assert_eq!(newest.sequence, 2);
    assert_eq!(catalog.newest_available_item(&other_project(), &done.resource_id).await.unwrap(), None);
}

pub(crate) async fn a_failed_backup_says_why_and_ends_its_operation(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.begin_run(&policy, 1).await;
    world.primary_vault(&project()).await;
    for n in 0..2 {
        let job = world.claim(JobKind::Backup, at(1)).await.unwrap();
        let id = model::ids::CheckpointItemId::from_bytes(job.lease.subject);
        let operation = catalog.start_backup(&job.lease, id, at(1)).await.unwrap().operation_id;
        // The first fails before its operation began, the second after.
        if n == 1 {
            let operation = NewOperation { id: operation, vault_id: VAULT, base_manifest: None };
            catalog.begin_operation(&operation, at(1)).await.unwrap();
        }
        catalog.fail_backup(&job.lease, id, &failure(), at(2)).await.unwrap();
        let failed = catalog.item(&project(), id).await.unwrap();
        assert_eq!((failed.state, failed.failure), (ItemState::Error, Some(failure())));
        assert!(catalog.reserve_pack(operation).await.is_err());
    }
    assert_eq!(catalog.checkpoint_state(&project(), checkpoint_id(1)).await.unwrap(), CheckpointState::Error);
}

pub(crate) async fn sequences_are_never_given_twice(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.begin_run(&policy, 1).await;
    let first = world.claim(JobKind::Backup, at(1)).await.unwrap().lease;
    let second = world.claim(JobKind::Backup, at(1)).await.unwrap().lease;
    let scope = SequenceScope { domain: DOMAIN, incarnation: INCARNATION };
    let item_of = |lease: &catalog::Lease| model::ids::CheckpointItemId::from_bytes(lease.subject);
    let mut given = Vec::new();
    for _ in 0..3 {
        given.push(catalog.take_item_sequence(&first, item_of(&first), &scope).await.unwrap());
    }
    assert_eq!(given, [1, 2, 3], "a repeated attempt signs under a new number");
    assert_eq!(
        catalog.take_item_sequence(&second, item_of(&second), &scope).await.unwrap(),
        1,
        "another server"
    );
    let reborn = SequenceScope { incarnation: [0x22; 16], ..scope };
    assert_eq!(catalog.take_item_sequence(&first, item_of(&first), &reborn).await.unwrap(), 1);
}

pub(crate) async fn lists_filter_count_and_hide_the_deleted(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1", "s2"]).await;
    world.run(&policy, 1).await;
    world.begin_run(&policy, 2).await;
    let mut manual = item(90, &checkpoint(9, None), "s3");
    manual.name = "100%_sure".to_owned();
    manual.resource_name = "Web".to_owned();
    catalog.begin_checkpoint(&checkpoint(9, None), &[manual], RunSharing::Shared).await.unwrap();
    catalog.order_delete(&project(), checkpoint_id(1), Some(&[item_id(10)]), at(3)).await.unwrap();
    let job = world.claim(JobKind::Delete, at(3)).await.unwrap();
    catalog.finish_delete(&job.lease, item_id(10), at(3), at(3)).await.unwrap();

    let everything = ItemFilter::default;
    let cases: Vec<(ItemFilter, Vec<u8>)> = vec![
        (everything(), vec![90, 21, 20, 11]),
        (ItemFilter { states: vec![ItemState::Available], ..everything() }, vec![11]),
        (ItemFilter { states: vec![ItemState::Deleted, ItemState::Available], ..everything() }, vec![11, 10]),
        (
            ItemFilter { resource_ids: vec!["s1".parse().unwrap(), "s3".parse().unwrap()], ..everything() },
            vec![90, 20],
        ),
        (ItemFilter { policy_ids: vec![policy.id], ..everything() }, vec![21, 20, 11]),
        (ItemFilter { policy_ids: vec![policy_id(7)], ..everything() }, vec![]),
        (
            ItemFilter { checkpoint_ids: vec![checkpoint_id(1), checkpoint_id(9)], ..everything() },
            vec![90, 11],
        ),
        (ItemFilter { name_contains: vec!["%_".to_owned()], ..everything() }, vec![90]),
        (
            ItemFilter { name_contains: vec!["BK_002".to_owned(), "nothing".to_owned()], ..everything() },
            vec![21, 20],
        ),
        (ItemFilter { resource_name_contains: vec!["we".to_owned()], ..everything() }, vec![90]),
        (ItemFilter { start_time: Some(at(2)), end_time: Some(at(2)), ..everything() }, vec![21, 20]),
        (ItemFilter { image_types: vec![ImageType::Backup], ..everything() }, vec![90, 21, 20, 11]),
        (ItemFilter { image_types: vec![ImageType::Replication], ..everything() }, vec![]),
        (
            ItemFilter { image_types: vec![ImageType::Replication, ImageType::Backup], ..everything() },
            vec![90, 21, 20, 11],
        ),
        (ItemFilter { matches_nothing: true, ..everything() }, vec![]),
    ];
    for (filter, expected) in cases {
        let found = catalog.items(&project(), &filter, &Page::first()).await.unwrap();
        let ids: Vec<_> = found.iter().map(|item| item.id).collect();
        assert_eq!(ids, expected.iter().map(|n| item_id(*n)).collect::<Vec<_>>(), "{filter:?}");
        assert_eq!(
            catalog.count_items(&project(), &filter).await.unwrap(),
            expected.len() as u64,
            "{filter:?}"
        );
    }
    assert_eq!(catalog.count_items(&other_project(), &everything()).await.unwrap(), 0);

    for key in [ItemSort::UpdatedAt, ItemSort::Name, ItemSort::State, ItemSort::ProtectedAt, ItemSort::Id] {
        for direction in [catalog::Direction::Ascending, catalog::Direction::Descending] {
            let sort = vec![Sort { key, direction }];
            let whole = Page { sort: sort.clone(), ..Page::first() };
            let whole = catalog.items(&project(), &everything(), &whole).await.unwrap();
            let page = Page { limit: 10, offset: 0, marker: Some(whole[1].id.to_string()), sort };
            assert_eq!(catalog.items(&project(), &everything(), &page).await.unwrap(), whole[2..], "{key:?}");
        }
    }
}

pub(crate) async fn a_checkpoint_of_one_item_stands_for_it(world: &World) {
    let catalog = &world.catalog;
    let single = checkpoint(100, None);
    catalog.begin_checkpoint(&single, &[item(1, &single, "s1")], RunSharing::Shared).await.unwrap();
    let pair = checkpoint(101, None);
    catalog
        .begin_checkpoint(&pair, &[item(2, &pair, "s1"), item(3, &pair, "s2")], RunSharing::Shared)
        .await
        .unwrap();
    assert_eq!(catalog.item(&project(), item_id(100)).await.unwrap().id, item_id(1));
    assert!(matches!(catalog.item(&project(), item_id(101)).await, Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.item(&other_project(), item_id(100)).await, Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.item_by_id(item_id(100)).await, Err(CatalogError::NotFound { .. })));
    assert_ne!(manifest_of(item_id(1)), manifest_of(item_id(2)));
}

pub(crate) async fn exclusive_runs_at_once_start_one(world: &World) {
    // Later rounds find open connections and really run side by side.
    for round in 1..=6 {
        let policy = world.policy(round, &[&format!("s{round}")]).await;
        let mut running = Vec::new();
        for n in 0..10 {
            let catalog = world.catalog.clone();
            let run = checkpoint(round * 20 + n, Some(&policy));
            running.push(tokio::spawn(async move {
                let items = [item(round * 20 + n, &run, "s1")];
                catalog.begin_checkpoint(&run, &items, RunSharing::Exclusive).await
            }));
        }
        let mut begun = 0;
        for handle in running {
            match handle.await.unwrap() {
                Ok(()) => begun += 1,
                Err(CatalogError::Conflict(Conflict::PolicyRunning { .. })) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(begun, 1, "round {round}");
    }
    assert_eq!(world.catalog.open_job_count(JobKind::Backup).await.unwrap(), 6);
}
