//! What ends tokens; application credentials, access keys and used signatures.

use catalog::{
    AssignmentFilter, CatalogError, Conflict, Grounds, NewAccessKey, NewToken, ProjectChange,
    StoredApplicationCredential, UserChange,
};
use model::identity::{AccessKey, ApplicationCredential, Proof, Role};
use model::ids::{AccessKeyId, ApplicationCredentialId};

use super::identity::{a_project, a_token, a_user, by_password, region};
use super::world::{World, at, bytes, other_project, project};

/// A region with a member of its one project.
async fn settle(world: &World) {
    let catalog = &world.catalog;
    catalog.init_region(&region(), at(0)).await.unwrap();
    catalog.create_project(&a_project(true)).await.unwrap();
    catalog.create_user(&a_user(1, true), "hash").await.unwrap();
    catalog.assign_role(a_user(1, true).id, Some(&project()), Role::Member).await.unwrap();
}

fn credential(n: u8) -> StoredApplicationCredential {
    let credential = ApplicationCredential {
        id: ApplicationCredentialId::from_bytes(bytes(n)),
        user_id: a_user(1, true).id,
        project_id: project(),
        name: format!("credential {n}"),
        description: "for a test".to_owned(),
        roles: vec![Role::Reader, Role::Member],
        is_unrestricted: false,
        expires_at: Some(at(50)),
        created_at: at(0),
    };
    StoredApplicationCredential { credential, secret_hash: "hash".to_owned() }
}

fn key(text: &str) -> NewAccessKey {
    let key = AccessKey {
        id: text.parse().unwrap(),
        user_id: a_user(1, true).id,
        project_id: project(),
        description: String::new(),
        created_at: at(0),
    };
    NewAccessKey { key, sealed_secret: vec![1, 2, 3], kek_number: 0 }
}

pub(crate) async fn a_project_goes_when_it_owns_nothing(world: &World) {
    let catalog = &world.catalog;
    settle(world).await;
    let change = ProjectChange { description: Some("new".to_owned()), ..ProjectChange::default() };
    let changed = catalog.update_project(&project(), &change, at(1)).await.unwrap();
    assert_eq!((changed.name.as_str(), changed.description.as_str()), ("alpha", "new"));
    let missing = catalog.update_project(&other_project(), &change, at(1)).await;
    assert!(matches!(missing, Err(CatalogError::NotFound { .. })));
    world.policy(1, &["s1"]).await;
    let refused = catalog.delete_project(&project(), at(2)).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::InUse { .. }))), "{refused:?}");
    world.damage("DELETE FROM policy_resources").await;
    world.damage("DELETE FROM scheduled_operations").await;
    world.damage("DELETE FROM policy_tags").await;
    world.damage("DELETE FROM policies").await;
    world.damage("DELETE FROM volumes").await;
    world.damage("DELETE FROM servers").await;
    catalog.insert_token(&a_token(7), &by_password()).await.unwrap();
    catalog.create_application_credential(&credential(1)).await.unwrap();
    catalog.create_access_key(&key("AK")).await.unwrap();
    let quota = format!("INSERT INTO project_quotas (project_id, updated_at) VALUES ('{}', 0)", project());
    world.damage(&quota).await;
    catalog.delete_project(&project(), at(3)).await.unwrap();
    assert!(catalog.projects(None).await.unwrap().is_empty());
    assert!(catalog.access_key(&"AK".parse().unwrap()).await.is_err());
    assert_eq!(catalog.role_assignments(&AssignmentFilter::default()).await.unwrap(), []);
}

pub(crate) async fn a_new_password_and_disabling_end_tokens(world: &World) {
    let catalog = &world.catalog;
    settle(world).await;
    let user = a_user(1, true).id;
    let enabled = |enabled| Some(enabled);
    let off = UserChange { enabled: enabled(false), ..UserChange::default() };
    let on = UserChange { enabled: enabled(true), ..UserChange::default() };
    catalog.insert_token(&a_token(7), &by_password()).await.unwrap();
    catalog.update_user(user, &off).await.unwrap();
    catalog.update_user(user, &on).await.unwrap();
    assert_eq!(catalog.token([7; 32], at(1)).await.unwrap(), None, "a token does not come back");
    catalog.insert_token(&a_token(7), &by_password()).await.unwrap();
    let shut = |enabled| ProjectChange { enabled: Some(enabled), ..ProjectChange::default() };
    catalog.update_project(&project(), &shut(false), at(1)).await.unwrap();
    catalog.update_project(&project(), &shut(true), at(1)).await.unwrap();
    assert_eq!(catalog.token([7; 32], at(1)).await.unwrap(), None, "a token does not come back");
    catalog.insert_token(&a_token(7), &by_password()).await.unwrap();
    let renamed = UserChange { name: Some("other".to_owned()), ..UserChange::default() };
    assert_eq!(catalog.update_user(user, &renamed).await.unwrap().name, "other");
    assert!(catalog.token([7; 32], at(1)).await.unwrap().is_some(), "a new name ends nothing");
    let password = UserChange { password_hash: Some("new hash".to_owned()), ..UserChange::default() };
    catalog.update_user(user, &password).await.unwrap();
    assert_eq!(catalog.token([7; 32], at(1)).await.unwrap(), None);
    catalog.create_user(&a_user(2, true), "hash").await.unwrap();
    let taken = UserChange { name: Some("user 2".to_owned()), ..UserChange::default() };
    let refused = catalog.update_user(user, &taken).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::NameTaken { .. }))));
    catalog.delete_user(user).await.unwrap();
    assert_eq!(catalog.users(None).await.unwrap(), [a_user(2, true)]);
}

pub(crate) async fn a_token_whose_grounds_went_is_not_stored(world: &World) {
    let catalog = &world.catalog;
    settle(world).await;
    catalog.insert_token(&a_token(7), &by_password()).await.unwrap();
    catalog.insert_token(&a_token(8), &Grounds::Token([7; 32])).await.unwrap();
    catalog.revoke_token([7; 32]).await.unwrap();
    let by_credential =
        NewToken { application_credential_id: Some(credential(1).credential.id), ..a_token(9) };
    for (token, grounds) in [
        (a_token(9), Grounds::PasswordHash("old hash".to_owned())),
        (a_token(9), Grounds::Token([7; 32])),
        (by_credential, Grounds::ApplicationCredential),
    ] {
        let refused = catalog.insert_token(&token, &grounds).await;
        assert!(matches!(refused, Err(CatalogError::NotFound { .. })), "{grounds:?}");
    }
}

pub(crate) async fn a_role_that_is_taken_is_gone_and_the_last_operator_stays(world: &World) {
    let catalog = &world.catalog;
    settle(world).await;
    let user = a_user(1, true).id;
    catalog.insert_token(&a_token(7), &by_password()).await.unwrap();
    catalog.assign_role(user, None, Role::Operator).await.unwrap();
    let all = catalog.role_assignments(&AssignmentFilter::default()).await.unwrap();
    assert_eq!(all.iter().map(|one| one.role).collect::<Vec<_>>(), [Role::Operator, Role::Member]);
    let of_region = AssignmentFilter { is_of_region: true, ..AssignmentFilter::default() };
    assert_eq!(catalog.role_assignments(&of_region).await.unwrap().len(), 1);
    let is_last = |refused: Result<(), CatalogError>| {
        assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::LastOperator))), "{refused:?}");
    };
    is_last(catalog.unassign_role(user, None, Role::Operator).await);
    is_last(catalog.delete_user(user).await);
    let off = UserChange { enabled: Some(false), ..UserChange::default() };
    is_last(catalog.update_user(user, &off).await.map(drop));
    catalog.create_user(&a_user(2, true), "hash").await.unwrap();
    catalog.assign_role(a_user(2, true).id, None, Role::Operator).await.unwrap();
    catalog.unassign_role(user, None, Role::Operator).await.unwrap();
    catalog.unassign_role(user, Some(&project()), Role::Member).await.unwrap();
    assert_eq!(catalog.token([7; 32], at(1)).await.unwrap(), None, "no role is left");
    let again = catalog.unassign_role(user, Some(&project()), Role::Member).await;
    assert!(matches!(again, Err(CatalogError::NotFound { .. })));
}

pub(crate) async fn an_application_credential_has_what_its_user_still_has(world: &World) {
    let catalog = &world.catalog;
    settle(world).await;
    let stored = credential(1);
    let (user, id) = (stored.credential.user_id, stored.credential.id);
    catalog.create_application_credential(&stored).await.unwrap();
    assert_eq!(catalog.application_credential(id).await.unwrap(), stored);
    assert_eq!(catalog.application_credential_by_name(user, "credential 1").await.unwrap(), stored);
    assert_eq!(catalog.application_credentials(user, Some("x")).await.unwrap(), []);
    let mut same_name = credential(2);
    same_name.credential.name = stored.credential.name.clone();
    let refused = catalog.create_application_credential(&same_name).await;
    assert!(matches!(refused, Err(CatalogError::Conflict(Conflict::NameTaken { .. }))));
    let token = NewToken { application_credential_id: Some(id), ..a_token(7) };
    catalog.insert_token(&token, &Grounds::ApplicationCredential).await.unwrap();
    let scope = catalog.token([7; 32], at(1)).await.unwrap().unwrap();
    assert_eq!(scope.roles, [Role::Member], "the reader's role was never the user's");
    assert!(matches!(scope.proof, Proof::ApplicationCredential { is_unrestricted: false, .. }));
    catalog.assign_role(user, Some(&project()), Role::Admin).await.unwrap();
    assert_eq!(catalog.token([7; 32], at(1)).await.unwrap().unwrap().roles, [Role::Member]);
    assert_eq!(catalog.token([7; 32], at(50)).await.unwrap(), None, "the credential is over");
    catalog.unassign_role(user, Some(&project()), Role::Member).await.unwrap();
    assert_eq!(catalog.token([7; 32], at(1)).await.unwrap(), None);
    catalog.assign_role(user, Some(&project()), Role::Member).await.unwrap();
    let foreign = catalog.delete_application_credential(a_user(2, true).id, id).await;
    assert!(matches!(foreign, Err(CatalogError::NotFound { .. })));
    catalog.delete_application_credential(user, id).await.unwrap();
    assert_eq!(catalog.token([7; 32], at(1)).await.unwrap(), None);
}

pub(crate) async fn an_access_key_opens_while_its_user_has_a_role(world: &World) {
    let catalog = &world.catalog;
    settle(world).await;
    let (user, id): (_, AccessKeyId) = (a_user(1, true).id, "AK".parse().unwrap());
    catalog.create_access_key(&key("AK")).await.unwrap();
    let mut elsewhere = key("AL");
    elsewhere.key.project_id = other_project();
    assert!(matches!(catalog.create_access_key(&elsewhere).await, Err(CatalogError::NotFound { .. })));
    assert_eq!(catalog.access_keys(user, &project()).await.unwrap(), [key("AK").key]);
    assert_eq!(catalog.access_keys(user, &other_project()).await.unwrap(), []);
    catalog.assign_role(user, None, Role::Operator).await.unwrap();
    let found = catalog.sealed_access_key(&id).await.unwrap().unwrap();
    assert_eq!((found.scope.roles, found.sealed_secret), (vec![Role::Member], vec![1, 2, 3]));
    for sql in ["UPDATE users SET enabled = 0", "UPDATE users SET enabled = 1"] {
        world.damage(sql).await;
        assert_eq!(catalog.sealed_access_key(&id).await.unwrap().is_some(), sql.ends_with('1'), "{sql}");
    }
    catalog.unassign_role(user, Some(&project()), Role::Member).await.unwrap();
    assert_eq!(catalog.sealed_access_key(&id).await.unwrap(), None);
    assert!(catalog.delete_access_key(a_user(2, true).id, &id).await.is_err());
    catalog.delete_access_key(user, &id).await.unwrap();
    assert!(catalog.access_key(&id).await.is_err());
}

pub(crate) async fn a_signature_is_used_once_even_by_two_at_the_same_moment(world: &World) {
    let mut running = Vec::new();
    for _ in 0..8 {
        let catalog = world.catalog.clone();
        running.push(tokio::spawn(async move { catalog.use_signature([7; 32], at(10)).await }));
    }
    let mut accepted = 0;
    for handle in running {
        match handle.await.unwrap() {
            Ok(()) => accepted += 1,
            Err(refused) => {
                assert!(matches!(refused, CatalogError::Conflict(Conflict::SignatureUsed)), "{refused:?}");
            }
        }
    }
    assert_eq!(accepted, 1);
    assert_eq!(world.catalog.purge_expired_tokens(at(9)).await.unwrap(), 0);
    assert_eq!(world.catalog.purge_expired_tokens(at(10)).await.unwrap(), 1);
}

pub(crate) async fn secrets_are_sealed_again_once(world: &World) {
    let catalog = &world.catalog;
    settle(world).await;
    let id: AccessKeyId = "AK".parse().unwrap();
    catalog.create_access_key(&key("AK")).await.unwrap();
    assert_eq!(catalog.access_keys_of_other_keks(0, "").await.unwrap(), []);
    let old = catalog.access_keys_of_other_keks(1, "").await.unwrap();
    assert_eq!(old, [(id.clone(), vec![1, 2, 3])]);
    catalog.seal_access_key_again(&id, &[1, 2, 3], &[9], 1).await.unwrap();
    catalog.seal_access_key_again(&id, &[1, 2, 3], &[8], 2).await.unwrap();
    assert_eq!(catalog.sealed_access_key(&id).await.unwrap().unwrap().sealed_secret, [9]);
    assert_eq!(catalog.access_keys_of_other_keks(1, "").await.unwrap(), []);
}

pub(crate) async fn cleaning_takes_out_a_bounded_number(world: &World) {
    let (catalog, end) = (&world.catalog, at(5).micros());
    for group in 0..3u32 {
        let rows: Vec<String> = (0..500u32)
            .map(|n| match world.is_postgres() {
                true => format!("('\\x{:064x}', {end})", group * 500 + n),
                false => format!("(X'{:064x}', {end})", group * 500 + n),
            })
            .collect();
        let sql = format!("INSERT INTO used_signatures (signature, expires_at) VALUES {}", rows.join(", "));
        world.damage(&sql).await;
    }
    assert_eq!(catalog.purge_expired_tokens(at(10)).await.unwrap(), 1000);
    assert_eq!(catalog.purge_expired_tokens(at(10)).await.unwrap(), 500);
    assert_eq!(catalog.purge_expired_tokens(at(10)).await.unwrap(), 0);
}
