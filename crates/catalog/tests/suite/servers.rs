//! Servers, and pages of any list.

use catalog::{CatalogError, Conflict, Direction, Page, ServerSort, Sort};
use model::server::Server;

use super::world::{World, at, other_project, project, server};

pub(crate) async fn a_server_comes_back_whole_and_only_to_its_project(world: &World) {
    let catalog = &world.catalog;
    let registered = server("s1", &["v2", "v1"]);
    catalog.register_server(&registered).await.unwrap();
    assert_eq!(catalog.server(&project(), &registered.id).await.unwrap(), registered);
    let found = catalog.server_of_volume(&"v1".parse().unwrap()).await.unwrap();
    assert_eq!(found, Some(registered.clone()));
    assert_eq!(catalog.server_of_volume(&"v3".parse().unwrap()).await.unwrap(), None);
    assert!(matches!(
        catalog.server(&other_project(), &registered.id).await,
        Err(CatalogError::NotFound { what: "server", .. })
    ));
    assert_eq!(catalog.all_servers().await.unwrap(), std::slice::from_ref(&registered));
    catalog.record_volume_size(&"v1".parse().unwrap(), 5).await.unwrap();
    let read = catalog.server(&project(), &registered.id).await.unwrap();
    assert_eq!(read.volumes[1].size_bytes, 5);
}

pub(crate) async fn a_half_registered_server_leaves_nothing(world: &World) {
    let catalog = &world.catalog;
    catalog.register_server(&server("s1", &["v1"])).await.unwrap();
    let again = catalog.register_server(&server("s1", &["v9"])).await;
    assert!(matches!(again, Err(CatalogError::Conflict(Conflict::IdTaken { what: "server", .. }))));
    let shared = catalog.register_server(&server("s2", &["v2", "v1"])).await;
    assert!(matches!(shared, Err(CatalogError::Conflict(Conflict::IdTaken { what: "volume", .. }))));
    let mut same_path = server("s3", &["v3"]);
    same_path.volumes[0].path = "/disks/v1.raw".to_owned();
    let same_path = catalog.register_server(&same_path).await;
    assert!(matches!(same_path, Err(CatalogError::Conflict(Conflict::IdTaken { what: "volume path", .. }))));
    assert_eq!(catalog.all_servers().await.unwrap().len(), 1);
    assert_eq!(catalog.server_of_volume(&"v2".parse().unwrap()).await.unwrap(), None);
}

pub(crate) async fn a_server_in_a_policy_stays(world: &World) {
    let catalog = &world.catalog;
    let registered = server("s1", &["v1"]);
    catalog.register_server(&registered).await.unwrap();
    let policy = world.policy(1, &["s1"]).await;
    let refused = catalog.remove_server(&registered.id, at(90)).await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Conflict(Conflict::ServerInPolicy { policy: id, .. }) if *id == policy.id)
    );
    catalog.delete_policy(&project(), policy.id, at(90)).await.unwrap();
    catalog.remove_server(&registered.id, at(90)).await.unwrap();
    assert!(matches!(
        catalog.remove_server(&registered.id, at(90)).await,
        Err(CatalogError::NotFound { .. })
    ));
    catalog.register_server(&registered).await.unwrap();
}

pub(crate) async fn pages_follow_markers_in_any_order(world: &World) {
    let catalog = &world.catalog;
    for n in 0..7 {
        // Equal moments and names make the id decide.
        let made = Server {
            name: format!("name {}", n % 2),
            created_at: at(n / 3),
            ..server(&format!("s{n}"), &[&format!("v{n}")])
        };
        catalog.register_server(&made).await.unwrap();
    }
    use Direction::{Ascending, Descending};
    use ServerSort::{CreatedAt, Id, Name};
    let orders: Vec<Vec<(ServerSort, Direction)>> = vec![
        vec![],
        vec![(CreatedAt, Ascending)],
        vec![(Name, Descending)],
        vec![(Name, Ascending), (CreatedAt, Descending)],
        vec![(Id, Ascending)],
    ];
    for order in orders {
        let sort: Vec<_> =
            order.iter().map(|(key, direction)| Sort { key: *key, direction: *direction }).collect();
        let whole = Page { sort: sort.clone(), ..Page::first() };
        let whole = catalog.servers(&project(), &whole).await.unwrap();
        assert_eq!(whole.len(), 7);
        let mut walked: Vec<Server> = Vec::new();
        loop {
            let marker = walked.last().map(|server| server.id.to_string());
            let page = Page { limit: 2, offset: 0, marker, sort: sort.clone() };
            let page = catalog.servers(&project(), &page).await.unwrap();
            if page.is_empty() {
                break;
            }
            walked.extend(page);
        }
        assert_eq!(walked, whole, "{order:?}");
        let page = Page { limit: 2, offset: 3, marker: Some(whole[0].id.to_string()), sort };
        assert_eq!(catalog.servers(&project(), &page).await.unwrap(), whole[4..6]);
    }
    let newest = catalog.servers(&project(), &Page::first()).await.unwrap();
    assert_eq!(newest[0].id.as_str(), "s6");
    let unknown = Page { marker: Some("nobody".to_owned()), ..Page::first() };
    assert!(matches!(catalog.servers(&project(), &unknown).await, Err(CatalogError::NotFound { .. })));
    assert_eq!(catalog.servers(&other_project(), &Page::first()).await.unwrap(), []);
}
