//! Application credentials: what programs log in with, and what they cannot do.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::client::login_body;
use crate::support::{Answer, Client, NOBODY, PASSWORD, World};

const TOKENS: &str = "/identity/v3/auth/tokens";

/// The id of the user of a token.
async fn own_id(client: &Client) -> String {
    let token = client.token.clone().unwrap();
    let request = client.request(Method::GET, TOKENS).header("X-Subject-Token", token);
    client.raw(request.body(axum::body::Body::empty()).unwrap()).await.text("token.user.id")
}

async fn path_of(client: &Client) -> String {
    format!("/identity/v3/users/{}/application_credentials", own_id(client).await)
}

async fn make(client: &Client, rest: Value) -> Answer {
    let mut credential = json!({ "name": "ci" });
    for (key, value) in rest.as_object().unwrap() {
        credential[key] = value.clone();
    }
    client.post(&path_of(client).await, &json!({ "application_credential": credential })).await
}

fn login(credential: &Answer) -> Value {
    let (id, secret) =
        (credential.text("application_credential.id"), credential.text("application_credential.secret"));
    let credential = json!({ "id": id, "secret": secret });
    json!({ "auth": { "identity": { "methods": ["application_credential"], "application_credential": credential } } })
}

/// A client with a token of a credential.
async fn program(client: &Client, credential: &Answer) -> Client {
    let answer = client.post(TOKENS, &login(credential)).await;
    assert_eq!(answer.status, 201, "{}", answer.body);
    client.with_token(answer.header("x-subject-token").unwrap())
}

#[tokio::test]
async fn an_application_credential_logs_in_to_its_project_with_its_roles() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let made =
        make(&member, json!({ "description": "for the pipeline", "access_rules": [], "roles": [] })).await;
    assert_eq!(made.status, 201, "{}", made.body);
    let credential = &made.body["application_credential"];
    assert_eq!((&credential["unrestricted"], &credential["expires_at"]), (&json!(false), &Value::Null));
    assert_eq!(credential["roles"], json!([{ "id": "member", "name": "member", "domain_id": null }]));
    let answer = world.a.nobody().post(TOKENS, &login(&made)).await;
    let token = &answer.body["token"];
    assert_eq!(token["methods"], json!(["application_credential"]));
    assert_eq!(token["project"]["id"], json!(member.project_id));
    assert_eq!(token["application_credential"]["restricted"], true);
    assert_eq!(program(&member, &made).await.get_v1("/policies").await.status, 200);
    let user = json!({ "name": "member", "domain": { "id": "default" } });
    let secret = made.text("application_credential.secret");
    let named = json!({ "name": "ci", "user": user, "secret": secret });
    let body = json!({ "auth": { "identity": { "methods": ["application_credential"], "application_credential": named } } });
    assert_eq!(world.a.nobody().post(TOKENS, &body).await.status, 201, "by name");
    let shown =
        member.get(&format!("{}/{}", path_of(&member).await, made.text("application_credential.id"))).await;
    assert!(shown.body["application_credential"].get("secret").is_none(), "the secret is shown once");
    let listed = member.get(&format!("{}?name=ci", path_of(&member).await)).await;
    assert_eq!(listed.texts("application_credentials", "name"), ["ci"]);
}

#[tokio::test]
async fn a_wrong_application_credential_looks_like_a_wrong_password() {
    let world = World::apart().await;
    let (member, foreign) = (world.a.user("member", "member").await, world.a.stranger("other").await);
    let made = make(&member, json!({})).await;
    let wrong = world.a.nobody().post(TOKENS, &login_body("admin", "wrong", None)).await;
    let mut bodies = Vec::new();
    for (key, value) in [("secret", json!("wrong")), ("id", json!(NOBODY)), ("id", json!("nonsense"))] {
        let mut body = login(&made);
        body["auth"]["identity"]["application_credential"][key] = value;
        bodies.push(body);
    }
    for scope in [json!({ "project": { "id": foreign.project_id } }), json!("unscoped")] {
        let mut body = login(&made);
        body["auth"]["scope"] = scope;
        bodies.push(body);
    }
    for body in &bodies {
        let answer = world.a.nobody().post(TOKENS, body).await;
        assert_eq!((answer.status, &answer.body), (401, &wrong.body), "{body}");
    }
    let mut own_scope = login(&made);
    own_scope["auth"]["scope"] = json!({ "project": { "id": member.project_id } });
    assert_eq!(world.a.nobody().post(TOKENS, &own_scope).await.status, 201);
}

#[tokio::test]
async fn a_restricted_credential_mints_nothing_and_goes_nowhere_else() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let foreign = world.a.stranger("other").await;
    let role =
        format!("/identity/v3/projects/{}/users/{}/roles/member", foreign.project_id, own_id(&member).await);
    assert_eq!(world.a.admin.send(Method::PUT, &role, None).await.status, 204);
    let program = program(&member, &make(&member, json!({})).await).await;
    assert_eq!(make(&program, json!({ "name": "second" })).await.status, 403);
    let access_key = json!({ "credential": {} });
    assert_eq!(program.post("/antipode/v1/credentials", &access_key).await.status, 403);
    let password = json!({ "user": { "original_password": PASSWORD, "password": "another good one" } });
    let path = format!("/identity/v3/users/{}/password", own_id(&member).await);
    assert_eq!(program.post(&path, &password).await.status, 403);
    let rescope = |scope: Value| {
        let token = json!({ "methods": ["token"], "token": { "id": program.token } });
        json!({ "auth": { "identity": token, "scope": scope } })
    };
    for scope in [json!({ "project": { "id": foreign.project_id } }), json!("unscoped")] {
        assert_eq!(program.post(TOKENS, &rescope(scope.clone())).await.status, 401, "{scope}");
    }
    let same = program.post(TOKENS, &rescope(json!({ "project": { "id": member.project_id } }))).await;
    assert_eq!(same.body["token"]["application_credential"]["restricted"], true, "it stays restricted");
    assert_eq!(same.body["token"]["methods"], json!(["application_credential", "token"]));
    let again = member.with_token(same.header("x-subject-token").unwrap());
    assert_eq!(make(&again, json!({ "name": "second" })).await.status, 403);
    assert_eq!(program.get("/identity/v3/auth/projects").await.texts("projects", "name"), ["eu-a"]);
}

#[tokio::test]
async fn an_unrestricted_credential_mints_credentials_of_its_own_width() {
    let world = World::apart().await;
    let admin = &world.a.admin;
    let made = make(admin, json!({ "unrestricted": true, "roles": [{ "name": "admin" }] })).await;
    let program = program(admin, &made).await;
    assert_eq!(program.get("/antipode/v1/region").await.status, 403, "no role of the region comes with it");
    assert_eq!(make(&program, json!({ "name": "second" })).await.status, 201);
    let wider = make(&program, json!({ "name": "third", "roles": [{ "name": "member" }] })).await;
    wider.refuses(400, "CSBS.9001", "application_credential.roles");
    let rules = make(admin, json!({ "name": "fourth", "access_rules": [{ "path": "/" }] })).await;
    rules.refuses(400, "CSBS.9001", "application_credential.access_rules");
    let operator = make(admin, json!({ "name": "fourth", "roles": [{ "id": "operator" }] })).await;
    operator.refuses(400, "CSBS.9001", "application_credential.roles");
}

#[tokio::test]
async fn a_credential_ends_with_its_time_its_role_and_its_row() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let soon = make(&member, json!({ "name": "soon", "expires_at": "2026-11-23T01:10:00.000000" })).await;
    assert_eq!(soon.status, 201, "{}", soon.body);
    let short = program(&member, &soon).await;
    let over = make(&member, json!({ "name": "over", "expires_at": "2026-11-23T00:00:00Z" })).await;
    over.refuses(400, "CSBS.9001", "application_credential.expires_at");
    let made = make(&member, json!({})).await;
    assert_eq!(make(&member, json!({})).await.status, 409, "the name is taken");
    let program = program(&member, &made).await;
    assert_eq!(short.get_v1("/policies").await.status, 200);
    world.clock.advance_seconds(600);
    assert_eq!(short.get_v1("/policies").await.status, 401, "its time is over");
    assert_eq!(member.post(TOKENS, &login(&soon)).await.status, 401);
    let foreign = world.a.stranger("other").await;
    let path = format!("{}/{}", path_of(&member).await, made.text("application_credential.id"));
    assert_eq!(foreign.get(&path).await.status, 403);
    assert_eq!(foreign.send(Method::DELETE, &path, None).await.status, 403);
    assert_eq!(program.send(Method::DELETE, &path, None).await.status, 403);
    assert_eq!(program.get_v1("/policies").await.status, 200);
    assert_eq!(member.send(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(program.get_v1("/policies").await.status, 401, "it was deleted");
    assert_eq!(member.post(TOKENS, &login(&made)).await.status, 401);
    assert_eq!(member.get(&path).await.status, 404);
}
