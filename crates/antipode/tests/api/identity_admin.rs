//! What operators administer and generic clients of Keystone look up.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::client::login_body;
use crate::support::{Answer, Client, NOBODY, PASSWORD, World, policy_body};

const V3: &str = "/identity/v3";
const TOKENS: &str = "/identity/v3/auth/tokens";

async fn patch(client: &Client, path: &str, body: Value) -> Answer {
    client.send(Method::PATCH, &format!("{V3}{path}"), Some(&body)).await
}

async fn delete(client: &Client, path: &str) -> u16 {
    client.send(Method::DELETE, &format!("{V3}{path}"), None).await.status
}

/// The id of the user of a token.
async fn own_id(client: &Client) -> String {
    let token = client.token.clone().unwrap();
    let request = client.request(Method::GET, TOKENS).header("X-Subject-Token", token);
    client.raw(request.body(axum::body::Body::empty()).unwrap()).await.text("token.user.id")
}

#[tokio::test]
async fn clients_find_version_3_from_every_address_they_may_be_given() {
    let world = World::apart().await;
    let nobody = world.a.nobody();
    let wanted = json!("http://eu-a.example:8780/identity/v3/");
    for (path, status, pointer) in [
        ("/identity", 300, "/versions/values/0"),
        ("/identity/", 300, "/versions/values/0"),
        ("/identity/v3", 200, "/version"),
        ("/identity/v3/", 200, "/version"),
    ] {
        let answer = nobody.get(path).await;
        assert_eq!(answer.status, status, "{path}");
        let version = answer.body.pointer(pointer).unwrap();
        assert_eq!((&version["status"], &version["links"][0]["href"]), (&json!("stable"), &wanted), "{path}");
        assert!(version["id"].as_str().unwrap().starts_with("v3."), "{path}");
    }
}

#[tokio::test]
async fn a_log_in_that_names_no_scope_gets_the_default_project_if_it_opens() {
    let world = World::apart().await;
    let (admin, member) = (&world.a.admin, world.a.user("member", "member").await);
    let id = own_id(&member).await;
    let mut body = login_body("member", PASSWORD, None);
    body["auth"].as_object_mut().unwrap().remove("scope");
    let log_in = async || world.a.nobody().post(TOKENS, &body).await;
    assert!(log_in().await.body["token"].get("project").is_none());
    let project = json!({ "user": { "default_project_id": admin.project_id } });
    let set = patch(admin, &format!("/users/{id}"), project).await;
    assert_eq!((set.status, set.text("user.default_project_id")), (200, admin.project_id.clone()));
    assert_eq!(log_in().await.text("token.project.id"), admin.project_id);
    let explicit = world.a.nobody().post(TOKENS, &login_body("member", PASSWORD, None)).await;
    assert!(explicit.body["token"].get("project").is_none(), "unscoped means unscoped");
    assert_eq!(delete(admin, &format!("/projects/{}/users/{id}/roles/member", admin.project_id)).await, 204);
    let answer = log_in().await;
    assert_eq!((answer.status, answer.body["token"].get("project")), (201, None), "{}", answer.body);
    let wrong = json!({ "user": { "default_project_id": "nowhere" } });
    patch(admin, &format!("/users/{id}"), wrong).await.refuses(400, "CSBS.9001", "user.default_project_id");
}

#[tokio::test]
async fn what_is_taken_away_is_gone_for_the_next_request_of_an_old_token() {
    let world = World::apart().await;
    let admin = &world.a.admin;
    let enabled = |what: &str, enabled: bool| json!({ what: { "enabled": enabled } });
    let member = world.a.user("member", "member").await;
    let id = own_id(&member).await;
    let user = format!("/users/{id}");

    assert_eq!(patch(admin, &user, enabled("user", false)).await.status, 200);
    assert_eq!(member.get_v1("/policies").await.status, 401, "a disabled user");
    assert_eq!(patch(admin, &user, enabled("user", true)).await.status, 200);
    assert_eq!(member.get_v1("/policies").await.status, 401, "a token does not come back");

    let member = member.relog("member", Some("eu-a")).await;
    let password = json!({ "user": { "password": "another good one" } });
    assert_eq!(patch(admin, &user, password).await.status, 200);
    assert_eq!(member.get_v1("/policies").await.status, 401, "a changed password");
    let password = json!({ "user": { "password": PASSWORD } });
    assert_eq!(patch(admin, &user, password).await.status, 200);

    let member = member.relog("member", Some("eu-a")).await;
    let role = |role: &str| format!("/projects/{}/users/{id}/roles/{role}", admin.project_id);
    assert_eq!(admin.send(Method::PUT, &format!("{V3}{}", role("reader")), None).await.status, 204);
    assert_eq!(member.post_v1("/policies", &policy_body("n", &["x"])).await.status, 400);
    assert_eq!(delete(admin, &role("member")).await, 204);
    assert_eq!(member.post_v1("/policies", &policy_body("n", &["x"])).await.status, 403, "a lost role");
    assert_eq!(member.get_v1("/policies").await.status, 200, "another role is left");
    assert_eq!(delete(admin, &role("reader")).await, 204);
    assert_eq!(member.get_v1("/policies").await.status, 401, "the last role");

    let foreign = world.a.stranger("other").await;
    let project = format!("/projects/{}", foreign.project_id);
    assert_eq!(patch(admin, &project, enabled("project", false)).await.status, 200);
    assert_eq!(foreign.get_v1("/policies").await.status, 401, "a disabled project");
    assert_eq!(patch(admin, &project, enabled("project", true)).await.status, 200);
    assert_eq!(foreign.get_v1("/policies").await.status, 401);
    let foreign = foreign.relog("other-admin", Some("other")).await;
    assert_eq!(delete(admin, &format!("/users/{}", own_id(&foreign).await)).await, 204);
    assert_eq!(foreign.get_v1("/policies").await.status, 401, "a deleted user");
    assert_eq!(delete(admin, &project).await, 204);
}

#[tokio::test]
async fn a_user_changes_their_own_password_with_the_old_one_and_all_their_tokens_end() {
    let world = World::apart().await;
    let (reader, other) = (world.a.user("reader", "reader").await, world.a.user("other", "reader").await);
    let (id, others_id) = (own_id(&reader).await, own_id(&other).await);
    let path = |id: &str| format!("{V3}/users/{id}/password");
    let body = |old: &str, new: &str| json!({ "user": { "original_password": old, "password": new } });
    let good = body(PASSWORD, "another good one");
    assert_eq!(reader.post(&path(&id), &body("wrong", "another good one")).await.status, 401);
    assert_eq!(reader.post(&path(&others_id), &good).await.status, 403);
    reader.post(&path(&id), &body(PASSWORD, "short")).await.refuses(400, "CSBS.9001", "user.password");
    assert_eq!(reader.get_v1("/policies").await.status, 200);
    assert_eq!(reader.post(&path(&id), &good).await.status, 204);
    assert_eq!(reader.get_v1("/policies").await.status, 401);
    let old = world.a.nobody().post(TOKENS, &login_body("reader", PASSWORD, None)).await;
    let new = world.a.nobody().post(TOKENS, &login_body("reader", "another good one", None)).await;
    assert_eq!((old.status, new.status), (401, 201));
}

#[tokio::test]
async fn lists_have_the_envelopes_and_filters_that_clients_use() {
    let world = World::apart().await;
    let admin = &world.a.admin;
    world.a.stranger("other").await;
    let names = async |path: &str, list: &str| {
        let answer = admin.get(&format!("{V3}{path}")).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        let link = answer.body["links"]["self"].as_str().unwrap().to_owned();
        assert!(link.starts_with("http://eu-a.example:8780/identity/v3/"), "{link}");
        assert!(answer.body["links"]["next"].is_null());
        answer.texts(list, "name")
    };
    assert_eq!(names("/projects?name=other", "projects").await, ["other"]);
    assert_eq!(names("/projects?name=nothing", "projects").await, [""; 0]);
    assert_eq!(names("/projects?enabled=false", "projects").await, [""; 0]);
    assert_eq!(names("/projects?domain_id=elsewhere", "projects").await, [""; 0]);
    assert_eq!(names("/projects?domain_id=default&enabled=true", "projects").await, ["eu-a", "other"]);
    assert_eq!(names("/users?name=admin", "users").await, ["admin"]);
    assert_eq!(names("/users?domain_id=elsewhere", "users").await, [""; 0]);
    assert_eq!(names("/auth/projects", "projects").await, ["eu-a"]);
    assert_eq!(names("/roles?name=member", "roles").await, ["member"]);
    assert_eq!(names("/roles", "roles").await.len(), 5);
    assert_eq!(names("/domains", "domains").await, ["Default"]);
    assert_eq!(names("/domains?name=other", "domains").await, [""; 0]);
    assert_eq!(names("/services?type=data-protect", "services").await, ["csbs"]);
    let endpoints = admin.get(&format!("{V3}/endpoints?service_id=data-protect")).await;
    assert_eq!(endpoints.texts("endpoints", "url"), ["http://eu-a.example:8780/v1/%(project_id)s"]);
    assert_eq!(admin.get(&format!("{V3}/regions")).await.texts("regions", "id"), ["eu-a"]);
    for (path, name) in [
        ("/domains/default", "domain"),
        ("/regions/eu-a", "region"),
        ("/services/identity", "service"),
        ("/endpoints/identity", "endpoint"),
        ("/roles/admin", "role"),
    ] {
        let answer = admin.get(&format!("{V3}{path}")).await;
        let link = answer.text(&format!("{name}.links.self"));
        assert_eq!((answer.status, link), (200, format!("http://eu-a.example:8780{V3}{path}")));
        let (list, _) = path.rsplit_once('/').unwrap();
        assert_eq!(admin.get(&format!("{V3}{list}/elsewhere")).await.status, 404, "{list}");
    }
    admin.get(&format!("{V3}/projects?enabled=perhaps")).await.refuses(400, "CSBS.9001", "enabled");
}

#[tokio::test]
async fn a_project_is_shown_to_those_who_may_use_it_and_changed_by_the_operator() {
    let world = World::apart().await;
    let (admin, reader) = (&world.a.admin, world.a.user("reader", "reader").await);
    let foreign = world.a.stranger("other").await;
    let path = |id: &str| format!("{V3}/projects/{id}");
    assert_eq!(reader.get(&path(&reader.project_id)).await.text("project.name"), "eu-a");
    let absent = reader.get(&path("nowhere")).await;
    let hidden = reader.get(&path(&foreign.project_id)).await;
    assert_eq!((absent.status, &absent.body), (404, &hidden.body), "foreign and absent look the same");
    assert_eq!(reader.get(&path("a%20b")).await.status, 404, "clients ask by name first");
    assert_eq!(admin.get(&path(&foreign.project_id)).await.text("project.name"), "other");
    let own = format!("/projects/{}", foreign.project_id);
    let change = json!({ "project": { "name": "renamed", "description": "was other", "enabled": true } });
    assert_eq!(patch(&reader, &own, change.clone()).await.status, 403);
    let changed = patch(admin, &own, change).await;
    assert_eq!(changed.text("project.name"), "renamed", "{}", changed.body);
    assert_eq!(changed.text("project.description"), "was other");
    let taken = json!({ "project": { "name": "eu-a" } });
    assert_eq!(patch(admin, &own, taken).await.status, 409);
    assert_eq!(patch(admin, "/projects/nowhere", json!({ "project": {} })).await.status, 404);
    for (change, named) in [
        (json!({ "project": { "name": "" } }), "project.name"),
        (json!({ "project": { "name": "x".repeat(65) } }), "project.name"),
        (json!({ "project": { "description": "x".repeat(256) } }), "project.description"),
        (json!({ "project": { "enabled": "yes" } }), "project.enabled"),
        (json!({ "project": { "domain_id": "elsewhere" } }), "project.domain_id"),
        (json!({ "project": { "is_domain": true } }), "project.is_domain"),
        (json!({ "project": [] }), "project"),
    ] {
        patch(admin, &own, change).await.refuses(400, "CSBS.9001", named);
    }
    world.a.server_of(&foreign.project_id, "db1", 4096).await;
    assert_eq!(delete(admin, &own).await, 409, "it owns a server");
    assert_eq!(delete(&reader, &own).await, 403);
}

#[tokio::test]
async fn users_are_made_shown_changed_and_deleted() {
    let world = World::apart().await;
    let (admin, reader) = (&world.a.admin, world.a.user("reader", "reader").await);
    let new = json!({ "user": {
        "name": "u", "password": PASSWORD, "description": "for tests", "email": "u@example.com",
        "domain_id": "default", "enabled": false,
    } });
    let made = admin.post(&format!("{V3}/users"), &new).await;
    assert_eq!((made.status, &made.body["user"]["enabled"]), (201, &json!(false)), "{}", made.body);
    assert_eq!(
        (made.text("user.email"), made.text("user.description")),
        ("u@example.com".into(), "for tests".into())
    );
    let id = made.text("user.id");
    let path = format!("{V3}/users/{id}");
    assert_eq!(admin.get(&path).await.text("user.name"), "u");
    let absent = reader.get(&format!("{V3}/users/{NOBODY}")).await;
    assert_eq!((absent.status, &absent.body), (404, &reader.get(&path).await.body));
    assert_eq!(
        reader.get(&format!("{V3}/users/{}", own_id(&reader).await)).await.text("user.name"),
        "reader"
    );
    assert_eq!(admin.get(&format!("{V3}/users/u")).await.status, 404, "clients ask by name first");
    assert_eq!(world.a.nobody().post(TOKENS, &login_body("u", PASSWORD, None)).await.status, 401);
    assert_eq!(
        patch(admin, &format!("/users/{id}"), json!({ "user": { "enabled": true } })).await.status,
        200
    );
    assert_eq!(world.a.nobody().post(TOKENS, &login_body("u", PASSWORD, None)).await.status, 201);
    for (change, named) in [
        (json!({ "user": { "name": "a\u{7}b" } }), "user.name"),
        (json!({ "user": { "name": 7 } }), "user.name"),
        (json!({ "user": { "password": "short" } }), "user.password"),
        (json!({ "user": { "password": "x".repeat(129) } }), "user.password"),
        (json!({ "user": { "email": "x".repeat(256) } }), "user.email"),
        (json!({ "user": { "domain_id": "elsewhere" } }), "user.domain_id"),
        (json!({ "user": { "default_project_id": "a/b" } }), "user.default_project_id"),
    ] {
        patch(admin, &format!("/users/{id}"), change).await.refuses(400, "CSBS.9001", named);
    }
    assert_eq!(delete(&reader, &format!("/users/{id}")).await, 403);
    assert_eq!(delete(admin, &format!("/users/{id}")).await, 204);
    assert_eq!(delete(admin, &format!("/users/{id}")).await, 404);
    let own = format!("/users/{}", own_id(admin).await);
    assert_eq!(delete(admin, &own).await, 409, "the last operator stays");
    assert_eq!(patch(admin, &own, json!({ "user": { "enabled": false } })).await.status, 409);
}

#[tokio::test]
async fn roles_are_given_checked_listed_and_taken() {
    let world = World::apart().await;
    let (admin, reader) = (&world.a.admin, world.a.user("reader", "reader").await);
    let (id, project) = (own_id(&reader).await, &admin.project_id);
    let path = |role: &str| format!("{V3}/projects/{project}/users/{id}/roles/{role}");
    let call = async |method: Method, path: &str| admin.send(method, path, None).await.status;
    assert_eq!(call(Method::HEAD, &path("member")).await, 404);
    assert_eq!(call(Method::PUT, &path("member")).await, 204);
    assert_eq!(
        (call(Method::HEAD, &path("member")).await, call(Method::GET, &path("member")).await),
        (204, 204)
    );
    let listed = admin.get(&format!("{V3}/projects/{project}/users/{id}/roles")).await;
    assert_eq!(listed.texts("roles", "name"), ["member", "reader"]);
    assert_eq!(call(Method::DELETE, &path("member")).await, 204);
    assert_eq!(call(Method::DELETE, &path("member")).await, 404);
    let in_region = format!("{V3}/system/users/{id}/roles");
    assert_eq!(call(Method::PUT, &format!("{in_region}/service")).await, 204);
    assert_eq!(call(Method::HEAD, &format!("{in_region}/service")).await, 204);
    assert_eq!(admin.get(&in_region).await.texts("roles", "id"), ["service"]);
    assert_eq!(call(Method::PUT, &format!("{in_region}/member")).await, 400);
    assert_eq!(call(Method::PUT, &path("service")).await, 400);
    assert_eq!(call(Method::DELETE, &format!("{in_region}/service")).await, 204);
    let all = admin.get(&format!("{V3}/role_assignments?include_names=True")).await;
    let rows = all.body["role_assignments"].as_array().unwrap();
    let has =
        |row: &Value, user: &str, role: &str| row["user"]["name"] == user && row["role"]["name"] == role;
    assert!(rows.iter().any(|row| has(row, "reader", "reader") && row["scope"]["project"]["name"] == "eu-a"));
    assert!(rows.iter().any(|row| has(row, "admin", "operator") && row["scope"]["system"]["all"] == true));
    let filtered = format!("{V3}/role_assignments?user.id={id}&scope.project.id={project}&role.id=reader");
    assert_eq!(admin.get(&filtered).await.body["role_assignments"].as_array().unwrap().len(), 1);
    assert_eq!(reader.get(&filtered).await.status, 200, "one's own");
    assert_eq!(reader.get(&format!("{V3}/role_assignments")).await.status, 403);
    let operator = format!("{V3}/system/users/{}/roles/operator", own_id(admin).await);
    assert_eq!(call(Method::DELETE, &operator).await, 409, "the last operator stays");
}

#[tokio::test]
async fn a_service_account_reads_everywhere_and_changes_nothing() {
    let world = World::apart().await;
    let admin = &world.a.admin;
    let foreign = world.a.stranger("other").await;
    let body = json!({ "user": { "name": "monitor", "password": PASSWORD } });
    let id = admin.post(&format!("{V3}/users"), &body).await.text("user.id");
    let path = format!("{V3}/system/users/{id}/roles/service");
    assert_eq!(admin.send(Method::PUT, &path, None).await.status, 204);
    let unscoped = admin.relog("monitor", None).await;
    let projects = unscoped.get(&format!("{V3}/auth/projects")).await;
    assert_eq!(projects.texts("projects", "name"), ["eu-a", "other"]);
    assert_eq!(unscoped.get("/antipode/v1/region").await.status, 200);
    assert_eq!(unscoped.get("/antipode/v1/vaults").await.status, 200);
    for project in ["eu-a", "other"] {
        let monitor = admin.relog("monitor", Some(project)).await;
        assert_eq!(monitor.get_v1("/policies").await.status, 200);
        assert_eq!(monitor.post_v1("/policies", &policy_body("n", &["x"])).await.status, 403);
        assert_eq!(monitor.get(&format!("{V3}/users")).await.status, 403);
    }
    assert_eq!(admin.relog("monitor", Some("other")).await.project_id, foreign.project_id);
}

#[tokio::test]
async fn nothing_that_a_stranger_sends_makes_the_identity_service_fail() {
    let world = World::apart().await;
    let (admin, nobody) = (&world.a.admin, world.a.nobody());
    let deep = (0..200).fold(json!(1), |inner, _| json!([inner]));
    let long = "x".repeat(20_000);
    let odd = [
        json!(null),
        json!([]),
        json!(7),
        json!("x"),
        json!({}),
        json!(long),
        json!("a\u{0}b"),
        deep,
        json!(-1.5e300),
    ];
    let login = login_body("admin", PASSWORD, Some("eu-a"));
    let places = [
        "/auth",
        "/auth/identity",
        "/auth/identity/methods",
        "/auth/identity/methods/0",
        "/auth/identity/password",
        "/auth/identity/password/user",
        "/auth/identity/password/user/name",
        "/auth/identity/password/user/password",
        "/auth/identity/password/user/domain",
        "/auth/identity/password/user/domain/name",
        "/auth/scope",
        "/auth/scope/project",
        "/auth/scope/project/name",
        "/auth/scope/project/domain",
    ];
    for place in places {
        for value in &odd {
            let mut body = login.clone();
            *body.pointer_mut(place).unwrap() = value.clone();
            let status = nobody.post(TOKENS, &body).await.status;
            assert!([400, 401, 201].contains(&status), "{place}: {status}");
            assert!(status != 201 || place.starts_with("/auth/scope") || place.contains("domain"), "{place}");
        }
    }
    let own = own_id(admin).await;
    for (path, wrapper) in [
        ("/projects".to_owned(), "project"),
        ("/users".to_owned(), "user"),
        (format!("/users/{own}/application_credentials"), "application_credential"),
        (format!("/users/{own}/password"), "user"),
    ] {
        for key in [
            "name",
            "password",
            "description",
            "enabled",
            "roles",
            "expires_at",
            "original_password",
            "secret",
        ] {
            for value in &odd {
                let body = json!({ wrapper: { "name": "n", "password": PASSWORD, key: value } });
                let answer = admin.post(&format!("{V3}{path}"), &body).await;
                assert!(answer.status < 500, "{path} {key}: {}", answer.body);
            }
        }
    }
}
