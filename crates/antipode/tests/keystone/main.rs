//! A region whose callers are known to a Keystone elsewhere: a real one on loopback, and false ones.
//!
//! `ANTIPODE_KEYSTONE_PYTHON` names a Python with the packages of `tools/requirements-keystone.txt`; else the
//! environment that `tools/prepare.sh test` makes in the target folder.
#![expect(clippy::unwrap_used, reason = "tests may unwrap, their helpers too")]

#[path = "../support/mod.rs"]
mod support;

mod false_ones;
mod server;

use std::sync::Arc;

use antipode::config::{Identity, Roles};
use antipode::keystone::Keystone;
use axum::http::Method;
use serde_json::json;
use tempfile::TempDir;

use crate::server::{RealKeystone, SERVICE_PASSWORD};
use crate::support::client::login_body;
use crate::support::{Answer, Client, PASSWORD, World, policy_body};

/// A world whose region `a` asks a Keystone.
struct Asking {
    world: World,
    _folder: TempDir,
}

impl Asking {
    async fn new(url: &str, change: impl FnOnce(&mut Identity, &std::path::Path)) -> Asking {
        antipode::peer::install_crypto_provider();
        let world = World::apart().await;
        let folder = tempfile::tempdir().unwrap();
        let password_file = folder.path().join("password");
        std::fs::write(&password_file, format!("{SERVICE_PASSWORD}\n")).unwrap();
        let roles = Roles { operator: vec!["admin".to_owned()], ..Roles::default() };
        let mut identity = Identity {
            keystone_url: Some(url.to_owned()),
            password_file: Some(password_file),
            roles,
            ..Identity::default()
        };
        change(&mut identity, folder.path());
        let keystone = Keystone::of(&identity).unwrap().unwrap();
        world.a.control.ask_elsewhere(Arc::new(keystone));
        Asking { world, _folder: folder }
    }

    /// A caller with a token from elsewhere.
    fn client(&self, token: &str, project: &str) -> Client {
        let mut client = self.world.a.nobody().with_token(token);
        client.project_id = project.to_owned();
        client
    }
}

fn refused_for_now(answer: &Answer) {
    assert_eq!(answer.status, 503, "{}", answer.body);
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_keystone_says_who_callers_are() {
    let keystone = RealKeystone::start();
    let operator = keystone.admin().await;
    keystone.user(&operator, "antipode", SERVICE_PASSWORD, "service", "service").await;
    let project = keystone.user(&operator, "anna", PASSWORD, "member", "shop").await;
    keystone.user(&operator, "rita", PASSWORD, "reader", "shop").await;
    keystone.user(&operator, "otto", PASSWORD, "gardener", "shop").await;
    // Keystone hashes passwords slowly, and more so beside other tests.
    let asking = Asking::new(&keystone.url, |identity, _| identity.timeout_seconds = 30).await;
    let world = &asking.world;
    let anna = keystone.log_in("anna", PASSWORD, Some("shop")).await;
    let member = asking.client(&anna, &project);

    // The project appears under its id with its first caller, so that a server can be registered for it; roles are
    // what the configuration makes of them.
    assert_eq!(member.get_v1("/policies").await.status, 200);
    let admin = asking.client(&operator, "");
    let server = json!({ "server": { "name": "db1", "project_id": project, "volumes": [
        { "name": "root", "path": world.a.disk("db1"), "format": "raw", "bootable": true } ] } });
    support::write_disk(&world.a.disk("db1"), 4096, 1);
    let server = admin.post("/antipode/v1/servers", &server).await;
    assert_eq!(server.status, 201, "{}", server.body);
    let policy = policy_body("nightly", &[&server.text("server.id")]);
    assert_eq!(member.post_v1("/policies", &policy).await.status, 200);
    let reader = asking.client(&keystone.log_in("rita", PASSWORD, Some("shop")).await, &project);
    assert_eq!(reader.get_v1("/policies").await.texts("policies", "name"), ["nightly"]);
    assert_eq!(reader.post_v1("/policies", &policy).await.status, 403);
    let gardener = asking.client(&keystone.log_in("otto", PASSWORD, Some("shop")).await, &project);
    assert_eq!(gardener.get_v1("/policies").await.status, 403, "a role that nothing was made of");
    let foreign = asking.client(&anna, &admin_project(&keystone, &operator).await);
    assert_eq!(foreign.get_v1("/policies").await.status, 403);
    let unscoped = asking.client(&keystone.log_in("anna", PASSWORD, None).await, &project);
    assert_eq!(unscoped.get_v1("/policies").await.status, 403);

    // Nothing of the embedded identity service is left.
    for path in ["/identity", "/identity/", "/identity/v3", "/identity/v3/users", "/v3", "/v3/"] {
        assert_eq!(admin.get(path).await.status, 404, "{path}");
    }
    let login = login_body("admin", PASSWORD, Some("eu-a"));
    assert_eq!(world.a.nobody().post("/identity/v3/auth/tokens", &login).await.status, 404);
    assert_eq!(world.a.admin.get_v1("/policies").await.status, 401, "an embedded token");
    assert_eq!(admin.get("/").await.body["versions"].as_array().unwrap().len(), 1);
    let key = member.post("/antipode/v1/credentials", &json!({ "credential": {} })).await;
    assert_eq!(key.status, 403, "keys belong to embedded users");
    for bad in ["x", "gAAAAAB", &"x".repeat(9000)] {
        assert_eq!(asking.client(bad, &project).get_v1("/policies").await.status, 401);
    }

    // What is taken away there is refused here within five seconds.
    keystone.revoke(&operator, &anna).await;
    world.clock.advance_seconds(4);
    assert_eq!(member.get_v1("/policies").await.status, 401, "revoked");
    let anna = keystone.log_in("anna", PASSWORD, Some("shop")).await;
    let member = asking.client(&anna, &project);
    assert_eq!(member.get_v1("/policies").await.status, 200);
    keystone.change_user(&operator, "anna", json!({ "enabled": false })).await;
    world.clock.advance_seconds(4);
    assert_eq!(member.get_v1("/policies").await.status, 401, "disabled");
    keystone.take_role(&operator, "rita", "reader", "shop").await;
    world.clock.advance_seconds(4);
    assert_eq!(reader.get_v1("/policies").await.status, 401, "without a role");

    // Our own token there may end at any time.
    keystone.change_user(&operator, "anna", json!({ "enabled": true })).await;
    keystone.end_tokens_of(&operator, "antipode").await;
    let anna = keystone.log_in("anna", PASSWORD, Some("shop")).await;
    let member = asking.client(&anna, &project);
    assert_eq!(member.get_v1("/policies").await.status, 200, "a new one is fetched");

    // Without an answer nobody gets in, and nobody is told to log in again.
    keystone.stop();
    assert_eq!(member.get_v1("/policies").await.status, 200, "believed a moment longer");
    world.clock.advance_seconds(4);
    refused_for_now(&member.get_v1("/policies").await);
    refused_for_now(&asking.client("gAAAAAB", &project).get_v1("/policies").await);
    let raw = member.request(Method::GET, "/readyz").body(axum::body::Body::empty()).unwrap();
    assert_eq!(member.raw(raw).await.status, 200, "the region itself goes on");
}

async fn admin_project(keystone: &RealKeystone, operator: &str) -> String {
    keystone.id_of(operator, "projects", "admin").await
}
