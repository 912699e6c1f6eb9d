//! Peers, invitations, heads and grants.

use catalog::{CatalogError, Conflict, Invitation, Peer, PeerHead};
use model::grant::{Grant, Mode};
use model::ids::RegionName;

use super::world::{World, at, destination, grant_id, other_project, project};

fn region(name: &str) -> RegionName {
    name.parse().unwrap()
}

pub(crate) fn peer(name: &str, n: u8) -> Peer {
    Peer {
        name: region(name),
        region_id: [n; 16],
        url: "https://127.0.0.1:1".to_owned(),
        card: vec![n],
        tls_key_hash: [n; 32],
        is_confirmed: false,
        pairing_code: "abcd efgh".to_owned(),
        paired_at: at(0),
        updated_at: at(0),
    }
}

pub(crate) fn grant(n: u8) -> Grant {
    Grant {
        id: grant_id(n),
        source_region: region("region-a"),
        source_project_id: project(),
        destination_region: destination().region,
        destination_project_id: destination().project_id,
        mode: Mode::Restorable,
        bytes_max: Some(1000),
        keep_days_min: 30,
        created_at: at(i64::from(n)),
        expires_at: Some(at(500)),
        revoked_at: None,
    }
}

pub(crate) async fn an_invitation_is_taken_once(world: &World) {
    let catalog = &world.catalog;
    let invitation = Invitation { secret_hash: [5; 32], region: region("region-b"), expires_at: at(10) };
    catalog.create_invitation(&invitation, at(0)).await.unwrap();
    assert_eq!(catalog.take_invitation([6; 32], at(1)).await.unwrap(), None);
    assert_eq!(catalog.take_invitation([5; 32], at(10)).await.unwrap(), None, "over");
    let mut running = Vec::new();
    for _ in 0..8 {
        let catalog = catalog.clone();
        running.push(tokio::spawn(async move { catalog.take_invitation([5; 32], at(9)).await.unwrap() }));
    }
    let mut taken = 0;
    for handle in running {
        taken += u32::from(handle.await.unwrap().is_some());
    }
    assert_eq!(taken, 1);
}

pub(crate) async fn a_peer_keeps_its_identity(world: &World) {
    let catalog = &world.catalog;
    let known = peer("region-b", 1);
    catalog.put_peer(&known).await.unwrap();
    assert_eq!(catalog.peer(&known.name).await.unwrap(), Some(known.clone()));
    assert_eq!(catalog.peer_by_tls_key([1; 32]).await.unwrap(), Some(known.clone()));
    assert_eq!(catalog.peer_by_tls_key([2; 32]).await.unwrap(), None);
    let impostor = catalog.put_peer(&peer("region-b", 2)).await;
    assert!(matches!(impostor, Err(CatalogError::Conflict(Conflict::NameTaken { .. }))));
    let renamed = catalog.put_peer(&peer("region-c", 1)).await;
    assert!(matches!(renamed, Err(CatalogError::Conflict(Conflict::IdTaken { .. }))));
    let thief = Peer { region_id: [9; 16], ..peer("region-c", 1) };
    let thief = catalog.put_peer(&thief).await;
    assert!(matches!(thief, Err(CatalogError::Conflict(Conflict::IdTaken { .. }))));
    catalog.confirm_peer(&known.name, at(3)).await.unwrap();
    catalog.put_peer(&Peer { tls_key_hash: [7; 32], card: vec![8], ..known.clone() }).await.unwrap();
    let renewed = catalog.peer_by_tls_key([7; 32]).await.unwrap().unwrap();
    assert!(renewed.is_confirmed, "once confirmed, a new card changes nothing");
    assert_eq!(renewed.card, [8]);
    assert_eq!(catalog.peers().await.unwrap(), [renewed]);
    catalog.remove_peer(&known.name).await.unwrap();
    assert!(matches!(catalog.remove_peer(&known.name).await, Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.confirm_peer(&known.name, at(4)).await, Err(CatalogError::NotFound { .. })));
}

pub(crate) async fn heads_only_move_forward(world: &World) {
    let catalog = &world.catalog;
    let from = region("region-b");
    assert_eq!(catalog.peer_head(&from).await.unwrap(), None);
    let head = |counter: u64| PeerHead { counter, head: vec![1, 2], received_at: at(5) };
    catalog.put_peer_head(&from, &head(5)).await.unwrap();
    for older in [4, 5] {
        let refused = catalog.put_peer_head(&from, &head(older)).await;
        assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::OlderHead))));
    }
    catalog.put_peer_head(&from, &head(6)).await.unwrap();
    assert_eq!(catalog.peer_head(&from).await.unwrap(), Some(head(6)));
}

pub(crate) async fn a_revoked_or_expired_grant_is_closed(world: &World) {
    let catalog = &world.catalog;
    let there = destination();
    catalog.create_grant(&grant(1)).await.unwrap();
    let again = catalog.create_grant(&grant(1)).await;
    assert!(matches!(again, Err(CatalogError::Conflict(Conflict::IdTaken { .. }))));
    assert_eq!(catalog.grant(grant_id(1)).await.unwrap(), grant(1));
    let foreign = catalog.revoke_grant(&other_project(), grant_id(1), at(5)).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { .. })));
    catalog.revoke_grant(&there.project_id, grant_id(1), at(5)).await.unwrap();
    catalog.revoke_grant(&there.project_id, grant_id(1), at(6)).await.unwrap();
    let revoked = catalog.grant(grant_id(1)).await.unwrap();
    assert_eq!(revoked.revoked_at, Some(at(5)), "the first word counts");
    assert_eq!(catalog.grants(&there.project_id).await.unwrap(), std::slice::from_ref(&revoked));
    assert_eq!(catalog.grants_to(&region("region-a")).await.unwrap(), std::slice::from_ref(&revoked));
    assert_eq!(catalog.grants_to(&region("region-c")).await.unwrap(), []);

    catalog.replace_remote_grants(&there.region, &[revoked, grant(2)]).await.unwrap();
    let found = catalog.remote_grant(&project(), &there, at(499)).await.unwrap();
    assert_eq!(found, Some(grant(2)));
    assert_eq!(catalog.remote_grant(&project(), &there, at(500)).await.unwrap(), None);
    assert_eq!(catalog.remote_grant(&other_project(), &there, at(1)).await.unwrap(), None);
    catalog.replace_remote_grants(&there.region, &[]).await.unwrap();
    assert_eq!(catalog.remote_grants().await.unwrap(), []);
}

pub(crate) async fn a_peer_speaks_for_itself_only(world: &World) {
    let catalog = &world.catalog;
    let there = destination();
    catalog.replace_remote_grants(&there.region, &[grant(1)]).await.unwrap();
    let stolen = catalog.replace_remote_grants(&region("region-c"), &[grant(2)]).await;
    stolen.unwrap();
    assert_eq!(catalog.remote_grants().await.unwrap(), [grant(1)], "a grant in another's name is dropped");
    let same_id = Grant { destination_region: region("region-c"), ..grant(1) };
    let refused = catalog.replace_remote_grants(&region("region-c"), &[same_id]).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::IdTaken { .. }))));
    assert_eq!(catalog.remote_grants().await.unwrap(), [grant(1)]);
}
