//! Logging in and the operator's administration of projects, users and roles.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::client::login_body;
use crate::support::{Answer, Client, PASSWORD, World};

const TOKENS: &str = "/identity/v3/auth/tokens";

async fn about(client: &Client, method: Method, subject: &str) -> Answer {
    let request = client.request(method, TOKENS).header("X-Subject-Token", subject);
    client.raw(request.body(axum::body::Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_failed_login_looks_the_same() {
    let world = World::apart().await;
    let stranger = world.a.stranger("other").await;
    let nobody = world.a.nobody();
    let by_id = |id: &str| {
        let mut body = login_body("admin", PASSWORD, Some("eu-a"));
        body["auth"]["identity"]["password"]["user"] = json!({ "id": id, "password": PASSWORD });
        body
    };
    let mut other_domain = login_body("admin", PASSWORD, Some("eu-a"));
    other_domain["auth"]["identity"]["password"]["user"]["domain"]["name"] = json!("elsewhere");
    world.a.user("member", "member").await;
    let mut other_project = login_body("member", PASSWORD, None);
    other_project["auth"]["scope"] = json!({ "project": { "id": stranger.project_id } });
    let mut bad_project = other_project.clone();
    bad_project["auth"]["scope"]["project"]["id"] = json!("a/b");
    let mut bodies = vec![
        login_body("admin", "wrong", Some("eu-a")),
        login_body("nobody", PASSWORD, Some("eu-a")),
        login_body("admin", PASSWORD, Some("nowhere")),
        by_id("nonsense"),
        by_id("00000000-0000-4000-8000-000000000000"),
        other_domain,
        other_project,
        bad_project,
    ];
    bodies.push(json!({ "auth": { "identity": { "methods": ["token"], "token": { "id": "nonsense" } } } }));
    let first = nobody.post(TOKENS, &bodies[0]).await;
    assert_eq!((first.status, &first.body["error"]["code"]), (401, &json!(401)));
    assert_eq!(first.body["error"]["title"], "Unauthorized");
    for body in &bodies[1..] {
        let answer = nobody.post(TOKENS, body).await;
        assert_eq!((answer.status, &answer.body), (401, &first.body), "{body}");
    }
}

#[tokio::test]
async fn a_login_of_the_wrong_shape_names_its_field() {
    let world = World::apart().await;
    let good = login_body("admin", PASSWORD, Some("eu-a"));
    for (pointer, value, named) in [
        ("/auth", json!([]), "auth: must be an object"),
        ("/auth/identity", json!("x"), "auth.identity: must be an object"),
        ("/auth/identity/methods", json!([]), "auth.identity.methods: must hold one of"),
        ("/auth/identity/methods", json!(["totp"]), "auth.identity.methods: must hold one of"),
        ("/auth/identity/methods", json!(["password", "token"]), "auth.identity.methods: must hold one of"),
        ("/auth/identity/methods", json!([7]), "auth.identity.methods[0]: must be a string"),
        ("/auth/scope", json!({ "domain": { "id": "default" } }), "auth.scope.domain: tokens are for"),
        ("/auth/identity/methods", json!("password"), "auth.identity.methods: must be a list"),
        ("/auth/identity/password", json!(null), "auth.identity.password: is missing"),
        ("/auth/identity/password/user/name", json!(7), "auth.identity.password.user.name: must be a string"),
        ("/auth/identity/password/user/password", json!(null), "user.password: is missing"),
        ("/auth/scope", json!("everything"), "auth.scope: must be an object"),
        ("/auth/scope", json!({ "system": { "all": true } }), "auth.scope.system: tokens are for a project"),
    ] {
        let mut body = good.clone();
        *body.pointer_mut(pointer).unwrap() = value;
        let answer = world.a.nobody().post(TOKENS, &body).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        let message = answer.text("error.message");
        assert!(message.contains(named), "{named:?} is not in {message:?}");
    }
}

#[tokio::test]
async fn a_token_says_who_where_and_what_is_there() {
    let world = World::apart().await;
    let answer = world.a.nobody().post(TOKENS, &login_body("admin", PASSWORD, Some("eu-a"))).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    assert!(answer.header("x-subject-token").is_some());
    let token = &answer.body["token"];
    assert_eq!(token["methods"], json!(["password"]));
    assert_eq!(
        (&token["user"]["name"], &token["user"]["domain"]["id"]),
        (&json!("admin"), &json!("default"))
    );
    assert_eq!(
        (&token["project"]["name"], &token["project"]["domain"]["name"]),
        (&json!("eu-a"), &json!("Default"))
    );
    assert!(token["expires_at"].as_str().unwrap().ends_with('Z'));
    let service =
        token["catalog"].as_array().unwrap().iter().find(|service| service["type"] == "data-protect");
    let endpoint = &service.unwrap()["endpoints"][0];
    let url = format!("http://eu-a.example:8780/v1/{}", token["project"]["id"].as_str().unwrap());
    assert_eq!(endpoint["url"], json!(url));
    assert_eq!(
        (&endpoint["interface"], &endpoint["region"], &endpoint["region_id"]),
        (&json!("public"), &json!("eu-a"), &json!("eu-a"))
    );
    let catalog = world.a.admin.get("/identity/v3/auth/catalog").await;
    assert_eq!(catalog.body["catalog"], token["catalog"]);
    let projects = world.a.admin.get("/identity/v3/auth/projects").await;
    assert_eq!(projects.texts("projects", "name"), ["eu-a"]);
}

#[tokio::test]
async fn ids_and_names_log_in_alike_and_a_token_can_be_rescoped() {
    let world = World::apart().await;
    let unscoped = world.a.admin.relog("admin", None).await;
    assert_eq!(unscoped.project_id, "");
    let shown = about(&unscoped, Method::GET, unscoped.token.as_deref().unwrap()).await;
    assert!(shown.body["token"].get("project").is_none() && shown.body["token"].get("catalog").is_none());
    unscoped.get("/identity/v3/auth/catalog").await.refuses(403, "Antipode.0403", "");
    let user_id = shown.text("token.user.id");
    let scope = json!({ "project": { "id": world.a.admin.project_id } });
    let token = json!({ "methods": ["token"], "token": { "id": unscoped.token } });
    let rescoped = unscoped.post(TOKENS, &json!({ "auth": { "identity": token, "scope": scope } })).await;
    assert_eq!((rescoped.status, rescoped.text("token.project.name")), (201, "eu-a".to_owned()));
    assert_eq!(
        rescoped.body["token"]["expires_at"], shown.body["token"]["expires_at"],
        "rescoping prolongs nothing"
    );
    let user = json!({ "id": user_id, "password": PASSWORD });
    let by_id = json!({ "methods": ["password"], "password": { "user": user } });
    let by_id = unscoped.post(TOKENS, &json!({ "auth": { "identity": by_id, "scope": scope } })).await;
    assert_eq!(by_id.status, 201, "{}", by_id.body);
}

#[tokio::test]
async fn a_token_is_shown_to_its_owner_and_ends_when_revoked_or_old() {
    let world = World::apart().await;
    let reader = world.a.user("reader", "reader").await;
    let token = reader.token.clone().unwrap();
    assert_eq!(about(&reader, Method::GET, &token).await.text("token.user.name"), "reader");
    let head = about(&reader, Method::HEAD, &token).await;
    assert_eq!((head.status, head.body), (200, Value::Null));
    assert_eq!(about(&world.a.admin, Method::GET, &token).await.status, 200, "the operator may ask");
    let foreign = world.a.stranger("other").await;
    assert_eq!(about(&foreign, Method::GET, &token).await.status, 404);
    assert_eq!(about(&foreign, Method::DELETE, &token).await.status, 404);
    assert_eq!(about(&reader, Method::GET, "nonsense").await.status, 404);
    assert_eq!(reader.get(TOKENS).await.status, 400);
    assert_eq!(about(&reader, Method::DELETE, &token).await.status, 204);
    assert_eq!(reader.get_v1("/policies").await.status, 401);
    world.clock.advance_seconds(2 * 3600);
    assert_eq!(world.a.admin.get_v1("/policies").await.status, 401);
}

#[tokio::test]
async fn the_operator_makes_projects_and_users_and_nobody_else_does() {
    let world = World::apart().await;
    let admin = &world.a.admin;
    let project = json!({ "project": { "name": "moved", "id": "4f1d2c7a9b0e4d6f8a1b2c3d4e5f6071" } });
    let made = admin.post("/identity/v3/projects", &project).await;
    assert_eq!((made.status, made.text("project.id")), (201, "4f1d2c7a9b0e4d6f8a1b2c3d4e5f6071".to_owned()));
    assert_eq!(admin.post("/identity/v3/projects", &project).await.status, 409);
    for (body, named) in [
        (json!({ "project": {} }), "project.name"),
        (json!({ "project": { "name": "x", "id": "a/b" } }), "project.id"),
        (json!({ "project": { "name": "" } }), "project.name"),
    ] {
        admin.post("/identity/v3/projects", &body).await.refuses(400, "CSBS.9001", named);
    }
    let short = json!({ "user": { "name": "u", "password": "short" } });
    admin.post("/identity/v3/users", &short).await.refuses(400, "CSBS.9001", "user.password");
    let user = json!({ "user": { "name": "u", "password": PASSWORD } });
    let user = admin.post("/identity/v3/users", &user).await;
    assert_eq!(user.status, 201, "{}", user.body);
    assert!(user.body["user"].get("password").is_none());
    let id = user.text("user.id");
    let role = |role: &str| {
        format!("/identity/v3/projects/4f1d2c7a9b0e4d6f8a1b2c3d4e5f6071/users/{id}/roles/{role}")
    };
    admin.send(Method::PUT, &role("king"), None).await.refuses(400, "CSBS.9001", "role");
    assert_eq!(admin.send(Method::PUT, &role("operator"), None).await.status, 400);
    assert_eq!(admin.send(Method::PUT, &role("member"), None).await.status, 204);
    let member = admin.relog("u", Some("moved")).await;
    assert_eq!(member.project_id, "4f1d2c7a9b0e4d6f8a1b2c3d4e5f6071");
    member.post("/identity/v3/projects", &json!({ "project": { "name": "mine" } })).await.refuses(
        403,
        "Antipode.0403",
        "operator",
    );
    assert_eq!(member.get("/identity/v3/users").await.status, 403);
    assert_eq!(admin.get("/identity/v3/users").await.texts("users", "name").len(), 2);
    assert_eq!(admin.get("/identity/v3/projects").await.texts("projects", "name").len(), 2);
}
