//! Vaults, operations, packs and pins.

use catalog::{CatalogError, Conflict, NewOperation, NewVault, SealedPack, VaultSource};

use super::world::{
    DOMAIN, VAULT, World, at, item_id, manifest_of, operation_id, other_project, project, sealed,
};

async fn begin(world: &World, n: u8) -> NewOperation {
    world.primary_vault(&project()).await;
    let operation = NewOperation { id: operation_id(n), vault_id: VAULT, base_manifest: None };
    world.catalog.begin_operation(&operation, at(0)).await.unwrap();
    operation
}

pub(crate) async fn a_project_has_one_primary_vault(world: &World) {
    let catalog = &world.catalog;
    assert_eq!(catalog.vault_of_project(&project()).await.unwrap(), None);
    let mut running = Vec::new();
    for n in 1..=8 {
        let catalog = catalog.clone();
        let vault = NewVault { id: [n; 16], domain: [n; 16], project_id: project(), source: None };
        running.push(tokio::spawn(async move { catalog.ensure_vault(&vault, at(1)).await.unwrap().id }));
    }
    let mut ids = Vec::new();
    for handle in running {
        ids.push(handle.await.unwrap());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "everybody works in the same one");
    assert_eq!(catalog.vault_of_project(&project()).await.unwrap().unwrap().id, ids[0]);
    let same_id = NewVault { id: ids[0], domain: [0x99; 16], project_id: other_project(), source: None };
    let refused = catalog.ensure_vault(&same_id, at(2)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::DomainBound))));
    assert_eq!(catalog.vaults().await.unwrap().len(), 1);
}

pub(crate) async fn a_replica_vault_is_bound_to_its_source(world: &World) {
    let catalog = &world.catalog;
    let source = VaultSource { region: "region-b".parse().unwrap(), project_id: "there".parse().unwrap() };
    let vault = NewVault { id: VAULT, domain: DOMAIN, project_id: project(), source: Some(source.clone()) };
    let made = catalog.ensure_vault(&vault, at(1)).await.unwrap();
    assert_eq!(catalog.ensure_vault(&vault, at(2)).await.unwrap(), made);
    assert_eq!(catalog.vault_of_domain(DOMAIN, &project()).await.unwrap(), Some(made));
    assert_eq!(catalog.vault_of_domain(DOMAIN, &other_project()).await.unwrap(), None);
    let elsewhere = VaultSource { region: "region-c".parse().unwrap(), ..source.clone() };
    for refused in [
        NewVault { source: Some(elsewhere), ..vault.clone() },
        NewVault { domain: [1; 16], ..vault.clone() },
        NewVault { id: [2; 16], ..vault.clone() },
        NewVault { project_id: other_project(), ..vault.clone() },
    ] {
        let result = catalog.ensure_vault(&refused, at(3)).await;
        assert!(matches!(result, Err(CatalogError::Conflict(Conflict::DomainBound))), "{refused:?}");
    }
    let primary = NewVault { id: [4; 16], domain: [4; 16], project_id: project(), source: None };
    catalog.ensure_vault(&primary, at(4)).await.unwrap();
    for domain in [[4; 16], [5; 16]] {
        let in_its_place = NewVault { id: [4; 16], domain, ..vault.clone() };
        let result = catalog.ensure_vault(&in_its_place, at(5)).await;
        assert!(matches!(result, Err(CatalogError::Conflict(Conflict::DomainBound))), "{in_its_place:?}");
    }
    let second = NewVault { id: [3; 16], project_id: other_project(), ..vault };
    catalog.ensure_vault(&second, at(6)).await.unwrap();
}

pub(crate) async fn pack_numbers_are_never_given_twice(world: &World) {
    let catalog = &world.catalog;
    let operation = begin(world, 1).await.id;
    let mut running = Vec::new();
    for _ in 0..20 {
        let catalog = catalog.clone();
        running.push(tokio::spawn(async move { catalog.reserve_pack(operation).await.unwrap() }));
    }
    let mut numbers = Vec::new();
    for handle in running {
        numbers.push(handle.await.unwrap());
    }
    numbers.sort();
    assert_eq!(numbers, (1..=20).collect::<Vec<u64>>());
    assert_eq!(catalog.packs_since(VAULT, 0, 100).await.unwrap(), [], "reserved is not live");
    assert_eq!(catalog.seal_pack(operation, &sealed(7)).await.unwrap(), 1);
    assert_eq!(catalog.seal_pack(operation, &sealed(7)).await.unwrap(), 1, "once more, the same");
    let other = SealedPack { footer_digest: [9; 32], ..sealed(7) };
    for (number, pack) in [(7, other), (21, sealed(21))] {
        let refused = catalog.seal_pack(operation, &pack).await;
        assert!(
            matches!(refused, Err(CatalogError::Conflict(Conflict::PackNotReserved { number: n })) if n == number)
        );
    }
    let stranger = begin(world, 2).await.id;
    let refused = catalog.seal_pack(stranger, &sealed(8)).await;
    assert!(
        matches!(refused, Err(CatalogError::Conflict(Conflict::PackNotReserved { .. }))),
        "another's number"
    );
    catalog.end_operation(operation).await.unwrap();
    catalog.end_operation(operation).await.unwrap();
    let late = catalog.seal_pack(operation, &sealed(8)).await;
    assert!(matches!(late, Err(CatalogError::Conflict(Conflict::OperationNotOpen))));
    assert_eq!(catalog.vault(VAULT).await.unwrap().unwrap().last_pack, 20);
    let packs = catalog.packs_of_operation(operation).await.unwrap();
    assert_eq!(
        packs.iter().map(|row| (row.pack.clone(), row.is_live)).collect::<Vec<_>>(),
        [(sealed(7), true)]
    );
}

pub(crate) async fn a_base_must_be_live(world: &World) {
    let catalog = &world.catalog;
    let policy = world.policy(1, &["s1"]).await;
    let base = world.run(&policy, 1).await[0].manifest_digest;
    assert_eq!(base, Some(manifest_of(item_id(10))));
    let operation = NewOperation { id: operation_id(90), vault_id: VAULT, base_manifest: base };
    catalog.begin_operation(&operation, at(1)).await.unwrap();
    catalog.begin_operation(&operation, at(2)).await.unwrap();
    let (_, roots) = catalog.collection_roots(VAULT).await.unwrap();
    assert_eq!(roots, [manifest_of(item_id(10))]);
    let unknown = NewOperation { base_manifest: Some([7; 32]), ..operation.clone() };
    let refused = catalog.begin_operation(&unknown, at(3)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::BaseNotLive))));
    catalog.order_expiry(&[item_id(10)], at(4)).await.unwrap();
    let late = NewOperation { id: operation_id(91), ..operation.clone() };
    let refused = catalog.begin_operation(&late, at(5)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::BaseNotLive))), "on its way out");
    let job = world.claim(catalog::JobKind::Delete, at(5)).await.unwrap();
    catalog.finish_delete(&job.lease, item_id(10), at(60), at(6)).await.unwrap();
    let lease = world.collect_lease(VAULT).await;
    let gone = catalog.condemn_manifests(&lease, VAULT, 10, at(60)).await.unwrap();
    assert_eq!(gone, Vec::<[u8; 32]>::new(), "an open operation still leans on it");
    let (_, roots) = catalog.collection_roots(VAULT).await.unwrap();
    assert_eq!(roots, [manifest_of(item_id(10))]);
    catalog.end_operation(operation.id).await.unwrap();
    let gone = catalog.condemn_manifests(&lease, VAULT, 10, at(60)).await.unwrap();
    assert_eq!(gone, [manifest_of(item_id(10))]);
    assert_eq!(catalog.collection_roots(VAULT).await.unwrap().1, Vec::<[u8; 32]>::new());
    let ended = NewOperation { base_manifest: None, ..operation };
    let refused = catalog.begin_operation(&ended, at(7)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::OperationNotOpen))));
}

pub(crate) async fn a_pinned_pack_is_not_condemned_and_a_condemned_one_not_pinned(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await.id;
    let lease = world.collect_lease(VAULT).await;
    let packs = [world.seal_one(maker).await, world.seal_one(maker).await, world.seal_one(maker).await];
    let seq = |world: &World| {
        let catalog = world.catalog.clone();
        async move { catalog.vault(VAULT).await.unwrap().unwrap().commit_seq }
    };
    let all = catalog.condemn_packs(&lease, VAULT, &packs, seq(world).await).await.unwrap();
    assert_eq!(all, Vec::<u64>::new(), "their operation is open");
    let old_snapshot = seq(world).await;
    catalog.end_operation(maker).await.unwrap();
    let reader = begin(world, 2).await.id;
    assert_eq!(catalog.pin_packs(reader, &[packs[1], 999]).await.unwrap(), [true, false]);
    let condemned = catalog.condemn_packs(&lease, VAULT, &packs, old_snapshot).await.unwrap();
    assert_eq!(condemned, Vec::<u64>::new(), "their maker ended after that snapshot");
    let condemned = catalog.condemn_packs(&lease, VAULT, &packs, seq(world).await).await.unwrap();
    assert_eq!(condemned, [packs[0], packs[2]], "the second is pinned");
    assert_eq!(catalog.pin_packs(reader, &packs).await.unwrap(), [false, true, false]);
    let late = catalog.pin_packs(maker, &packs).await;
    assert!(matches!(late, Err(CatalogError::Conflict(Conflict::OperationNotOpen))));
}

pub(crate) async fn pins_outlive_their_operation_until_released(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await.id;
    let lease = world.collect_lease(VAULT).await;
    let pack = world.seal_one(maker).await;
    catalog.end_operation(maker).await.unwrap();
    let reader = begin(world, 2).await.id;
    catalog.pin_packs(reader, &[pack]).await.unwrap();
    let (before, _) = catalog.collection_roots(VAULT).await.unwrap();
    catalog.end_operation(reader).await.unwrap();
    let (after, _) = catalog.collection_roots(VAULT).await.unwrap();
    assert_eq!(catalog.condemn_packs(&lease, VAULT, &[pack], before).await.unwrap(), Vec::<u64>::new());
    assert_eq!(
        catalog.release_pins(&lease, VAULT, before).await.unwrap(),
        0,
        "that mark began before the end"
    );
    assert_eq!(catalog.release_pins(&lease, VAULT, after).await.unwrap(), 1);
    assert_eq!(catalog.condemn_packs(&lease, VAULT, &[pack], after).await.unwrap(), [pack]);
}

pub(crate) async fn followers_see_every_change_once(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await.id;
    let lease = world.collect_lease(VAULT).await;
    for _ in 0..5 {
        world.seal_one(maker).await;
    }
    catalog.end_operation(maker).await.unwrap();
    catalog.condemn_packs(&lease, VAULT, &[2, 4], 100).await.unwrap();
    let mut seen = Vec::new();
    let mut position = 0;
    loop {
        let some = catalog.packs_since(VAULT, position, 1).await.unwrap();
        let Some(row) = some.first() else { break };
        assert!(row.commit_seq > position);
        position = row.commit_seq;
        seen.push((row.pack.number, row.is_live));
    }
    assert_eq!(seen, [(1, true), (3, true), (5, true), (2, false), (4, false)]);
    assert_eq!(catalog.packs_since([9; 16], 0, 10).await.unwrap(), []);
}

pub(crate) async fn pin_and_condemn_at_once_never_both_win(world: &World) {
    let catalog = &world.catalog;
    let maker = begin(world, 1).await.id;
    let lease = world.collect_lease(VAULT).await;
    let mut packs = Vec::new();
    for _ in 0..20 {
        packs.push(world.seal_one(maker).await);
    }
    catalog.end_operation(maker).await.unwrap();
    let reader = begin(world, 2).await.id;
    for pack in packs {
        let (pinning, condemning) = (catalog.clone(), catalog.clone());
        let pin = tokio::spawn(async move { pinning.pin_packs(reader, &[pack]).await.unwrap()[0] });
        let condemn =
            tokio::spawn(
                async move { condemning.condemn_packs(&lease, VAULT, &[pack], 1000).await.unwrap() },
            );
        let (is_pinned, condemned) = (pin.await.unwrap(), condemn.await.unwrap());
        assert_ne!(is_pinned, condemned.contains(&pack), "pack {pack}: exactly one of the two");
    }
}
