//! The region's row, projects, users, roles and tokens.

use catalog::{CatalogError, Conflict, Grounds, NewRegion, NewToken};
use model::identity::{Project, Role, User};
use model::ids::UserId;

use super::world::{World, at, bytes, other_project, project};

pub(super) fn region() -> NewRegion {
    NewRegion { name: "region-a".parse().unwrap(), region_id: [1; 16], incarnation: [2; 16] }
}

pub(super) fn a_project(enabled: bool) -> Project {
    Project {
        id: project(),
        name: "alpha".to_owned(),
        description: String::new(),
        enabled,
        created_at: at(0),
    }
}

pub(super) fn a_user(n: u8, enabled: bool) -> User {
    User {
        id: UserId::from_bytes(bytes(n)),
        name: format!("user {n}"),
        description: String::new(),
        email: String::new(),
        default_project: None,
        enabled,
        created_at: at(0),
    }
}

pub(super) fn by_password() -> Grounds {
    Grounds::PasswordHash("hash".to_owned())
}

pub(super) fn a_token(n: u8) -> NewToken {
    NewToken {
        token_hash: [n; 32],
        user_id: UserId::from_bytes(bytes(1)),
        project_id: Some(project()),
        application_credential_id: None,
        by_token: false,
        issued_at: at(0),
        expires_at: at(100),
    }
}

pub(crate) async fn a_region_is_initialised_once(world: &World) {
    let catalog = &world.catalog;
    assert_eq!(catalog.region().await.unwrap(), None);
    assert!(matches!(catalog.take_state_sequence().await, Err(CatalogError::NotFound { .. })));
    catalog.init_region(&region(), at(5)).await.unwrap();
    let again = catalog.init_region(&NewRegion { incarnation: [9; 16], ..region() }, at(6)).await;
    assert!(matches!(again, Err(CatalogError::Conflict(Conflict::IdTaken { what: "region", .. }))));
    let read = catalog.region().await.unwrap().unwrap();
    assert_eq!((read.incarnation, read.created_at), ([2; 16], at(5)));
    catalog.set_incarnation([3; 16]).await.unwrap();
    assert_eq!(catalog.region().await.unwrap().unwrap().incarnation, [3; 16]);
}

pub(crate) async fn counters_only_grow(world: &World) {
    let catalog = &world.catalog;
    catalog.init_region(&region(), at(0)).await.unwrap();
    let mut taken = Vec::new();
    let mut running = Vec::new();
    for _ in 0..20 {
        let catalog = catalog.clone();
        running.push(tokio::spawn(async move { catalog.take_state_sequence().await.unwrap() }));
    }
    for handle in running {
        taken.push(handle.await.unwrap());
    }
    taken.sort();
    assert_eq!(taken, (1..=20).collect::<Vec<u64>>());
    assert_eq!(catalog.bump_head_counter().await.unwrap(), 1);
    assert_eq!(catalog.bump_head_counter().await.unwrap(), 2);
}

pub(crate) async fn blocked_writes_are_refused_until_unblocked(world: &World) {
    let catalog = &world.catalog;
    catalog.init_region(&region(), at(0)).await.unwrap();
    let policy = world.policy(1, &["s1"]).await;
    catalog.block_writes("rolled back").await.unwrap();
    let checkpoint = super::world::checkpoint(1, Some(&policy));
    let begin = || catalog.begin_checkpoint(&checkpoint, &[], catalog::RunSharing::Shared);
    let refused = begin().await.unwrap_err();
    assert!(
        matches!(&refused, CatalogError::Conflict(Conflict::Blocked { reason }) if reason == "rolled back"),
        "{refused:?}"
    );
    catalog.unblock_writes().await.unwrap();
    begin().await.unwrap();
}

pub(crate) async fn names_and_ids_are_taken_once(world: &World) {
    let catalog = &world.catalog;
    catalog.create_project(&a_project(true)).await.unwrap();
    let same_id = Project { name: "beta".to_owned(), ..a_project(true) };
    let same_name = Project { id: other_project(), ..a_project(true) };
    assert!(matches!(
        catalog.create_project(&same_id).await,
        Err(CatalogError::Conflict(Conflict::IdTaken { what: "project", .. }))
    ));
    assert!(matches!(
        catalog.create_project(&same_name).await,
        Err(CatalogError::Conflict(Conflict::NameTaken { what: "project", .. }))
    ));
    catalog.create_user(&a_user(1, true), "hash").await.unwrap();
    let same_name = User { name: a_user(1, true).name, ..a_user(2, true) };
    assert!(matches!(
        catalog.create_user(&same_name, "hash").await,
        Err(CatalogError::Conflict(Conflict::NameTaken { what: "user", .. }))
    ));
    assert_eq!(catalog.user_by_name("user 1").await.unwrap(), (a_user(1, true), "hash".to_owned()));
    assert_eq!(catalog.project_by_name("alpha").await.unwrap(), a_project(true));
    assert_eq!(catalog.projects(None).await.unwrap(), [a_project(true)]);
    assert_eq!(catalog.users(None).await.unwrap(), [a_user(1, true)]);
    assert!(matches!(catalog.user_by_name("USER 1").await, Err(CatalogError::NotFound { .. })));
    assert!(matches!(catalog.project(&other_project()).await, Err(CatalogError::NotFound { .. })));
}

pub(crate) async fn a_token_opens_only_what_is_enabled(world: &World) {
    let catalog = &world.catalog;
    catalog.create_project(&a_project(true)).await.unwrap();
    catalog.create_user(&a_user(1, true), "hash").await.unwrap();
    catalog.assign_role(a_user(1, true).id, Some(&project()), Role::Member).await.unwrap();
    catalog.insert_token(&a_token(7), &by_password()).await.unwrap();
    let scope = catalog.token([7; 32], at(99)).await.unwrap().unwrap();
    assert_eq!((scope.user.id, scope.roles), (a_user(1, true).id, vec![Role::Member]));
    assert_eq!(scope.project, Some(a_project(true)));
    assert_eq!(catalog.token([8; 32], at(1)).await.unwrap(), None);
    assert_eq!(catalog.token([7; 32], at(100)).await.unwrap(), None);
    for sql in
        ["UPDATE users SET enabled = 0", "UPDATE users SET enabled = 1", "UPDATE projects SET enabled = 0"]
    {
        world.damage(sql).await;
        let is_open = catalog.token([7; 32], at(1)).await.unwrap().is_some();
        assert_eq!(is_open, sql == "UPDATE users SET enabled = 1", "{sql}");
    }
    world.damage("UPDATE projects SET enabled = 1").await;
    assert!(catalog.revoke_token([7; 32]).await.unwrap());
    assert!(!catalog.revoke_token([7; 32]).await.unwrap());
    assert_eq!(catalog.token([7; 32], at(1)).await.unwrap(), None);
    catalog.insert_token(&a_token(9), &by_password()).await.unwrap();
    assert_eq!(catalog.purge_expired_tokens(at(99)).await.unwrap(), 0);
    assert_eq!(catalog.purge_expired_tokens(at(100)).await.unwrap(), 1);
}

pub(crate) async fn an_operator_is_one_in_every_project(world: &World) {
    let catalog = &world.catalog;
    let user = a_user(1, true);
    catalog.create_project(&a_project(true)).await.unwrap();
    catalog.create_user(&user, "hash").await.unwrap();
    assert!(matches!(
        catalog.assign_role(user.id, Some(&other_project()), Role::Admin).await,
        Err(CatalogError::NotFound { what: "project", .. })
    ));
    catalog.assign_role(user.id, None, Role::Operator).await.unwrap();
    assert_eq!(catalog.roles(user.id, Some(&project())).await.unwrap(), [Role::Operator]);
    assert_eq!(catalog.projects_of(user.id).await.unwrap(), []);
    catalog.assign_role(user.id, Some(&project()), Role::Reader).await.unwrap();
    catalog.assign_role(user.id, Some(&project()), Role::Reader).await.unwrap();
    assert_eq!(catalog.roles(user.id, Some(&project())).await.unwrap(), [Role::Reader, Role::Operator]);
    assert_eq!(catalog.roles(user.id, None).await.unwrap(), [Role::Operator]);
    assert_eq!(catalog.projects_of(user.id).await.unwrap(), [a_project(true)]);
}
