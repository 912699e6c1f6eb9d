//! Requests that are signed with an access key. That the signatures are those of the origin cloud's SDK is
//! tested beside the code, against vectors of that SDK.

use axum::body::Body;
use axum::http::Method;
use control::identity::DATE_SECONDS_MAX;
use control::lost_keys::{KeyTrouble, KeyTroubles, LostKey};
use serde_json::{Value, json};
use vault::ids::to_hex;
use vault::keyed_hash::{hmac_sha256, sha256};
use vault::seams::Clock;

use crate::support::{Answer, Client, PASSWORD, World, policy_body};

const CREDENTIALS: &str = "/antipode/v1/credentials";
const HOST: &str = "eu-a.example:8780";

/// An access key, and what a request signed with it does wrong.
#[derive(Clone)]
struct Signer {
    access: String,
    secret: String,
    /// Seconds that its clock is off.
    off_seconds: i64,
    /// Headers beside host and date: name, value, whether it is signed.
    headers: Vec<(&'static str, String, bool)>,
}

impl Signer {
    async fn of(client: &Client) -> Signer {
        let made = client.post(CREDENTIALS, &json!({ "credential": { "description": "ci" } })).await;
        assert_eq!(made.status, 201, "{}", made.body);
        let (access, secret) = (made.text("credential.id"), made.text("credential.secret"));
        Signer { access, secret, off_seconds: 0, headers: Vec::new() }
    }

    fn with(&self, name: &'static str, value: &str, is_signed: bool) -> Signer {
        let mut signer = self.clone();
        signer.headers.push((name, value.to_owned(), is_signed));
        signer
    }

    fn date(&self, world: &World) -> String {
        let now = i64::try_from(world.clock.now_ms()).unwrap() / 1000 + self.off_seconds;
        chrono::DateTime::from_timestamp(now, 0).unwrap().format("%Y%m%dT%H%M%SZ").to_string()
    }

    /// The head of a request; its path and query need no encoding.
    fn request(
        &self,
        date: &str,
        method: &Method,
        target: &str,
        body: &[u8],
    ) -> axum::http::request::Builder {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut signed = vec![("host", HOST.to_owned()), ("x-sdk-date", date.to_owned())];
        signed.extend(
            self.headers.iter().filter(|header| header.2).map(|(name, value, _)| (*name, value.clone())),
        );
        signed.sort();
        let lines: String = signed.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names: Vec<&str> = signed.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let canonical = format!("{method}\n{path}/\n{query}\n{lines}\n{names}\n{}", to_hex(&sha256(body)));
        let text = format!("SDK-HMAC-SHA256\n{date}\n{}", to_hex(&sha256(canonical.as_bytes())));
        let signature = to_hex(&hmac_sha256(self.secret.as_bytes(), text.as_bytes()));
        let stated =
            format!("SDK-HMAC-SHA256 Access={}, SignedHeaders={names}, Signature={signature}", self.access);
        let request = axum::http::Request::builder().method(method.clone()).uri(target);
        let request = request.header("Host", HOST).header("X-Sdk-Date", date).header("Authorization", stated);
        self.headers.iter().fold(request, |request, (name, value, _)| request.header(*name, value))
    }

    async fn send(&self, world: &World, method: Method, target: &str, body: Option<&Value>) -> Answer {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = self.request(&self.date(world), &method, target, body.as_bytes());
        world.a.nobody().raw(request.body(Body::from(body)).unwrap()).await
    }

    async fn get(&self, world: &World, target: &str) -> Answer {
        self.send(world, Method::GET, target, None).await
    }
}

#[tokio::test]
async fn a_signed_request_acts_for_its_user_in_its_project() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let signer = Signer::of(&member).await;
    assert_eq!(signer.get(&world, &member.v1("/policies")).await.status, 200);
    assert_eq!(signer.get(&world, &member.v1("/policies?limit=5&name=x")).await.status, 200);
    let server = world.a.server("db1").await;
    let body = policy_body("nightly", &[&server]);
    let made = signer.send(&world, Method::POST, &member.v1("/policies"), Some(&body)).await;
    assert_eq!(made.status, 200, "{}", made.body);
    assert_eq!(member.get_v1("/policies").await.texts("policies", "name"), ["nightly"]);
    let catalog = signer.get(&world, "/identity/v3/auth/catalog").await;
    assert_eq!(catalog.status, 200, "{}", catalog.body);
    let url = catalog.body["catalog"][0]["endpoints"][0]["url"].as_str().unwrap();
    assert!(url.ends_with(&member.project_id), "{url}");
    let foreign = world.a.stranger("other").await;
    assert_eq!(signer.get(&world, &foreign.v1("/policies")).await.status, 403, "another project");
    let grant = json!({ "grant": { "source_region": "eu-b", "source_project_id": "p" } });
    let refused = signer.send(&world, Method::POST, "/antipode/v1/grants", Some(&grant)).await;
    assert_eq!(refused.status, 403, "a member makes no grants");
}

#[tokio::test]
async fn the_project_header_may_be_signed_or_not_and_must_be_the_keys_own() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let signer = Signer::of(&member).await;
    for is_signed in [true, false] {
        let own = signer.with("x-project-id", &member.project_id, is_signed);
        assert_eq!(own.get(&world, &member.v1("/policies")).await.status, 200, "{is_signed}");
        let other = signer.with("x-project-id", "other", is_signed);
        other.get(&world, &member.v1("/policies")).await.refuses(403, "Antipode.0403", "X-Project-Id");
    }
}

#[tokio::test]
async fn a_request_carries_a_token_or_a_signature_and_exactly_one() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let signer = Signer::of(&member).await;
    let token = member.token.clone().unwrap();
    let both = signer.with("x-auth-token", &token, false).get(&world, &member.v1("/policies")).await;
    both.refuses(401, "Antipode.0401", "not both");
    assert_eq!(world.a.nobody().get(&member.v1("/policies")).await.status, 401, "neither");
    let temporary = signer.with("x-security-token", "x", true).get(&world, &member.v1("/policies")).await;
    assert_eq!(temporary.status, 401);
    let identity = signer.with("x-auth-token", &token, false).get(&world, "/identity/v3/auth/catalog").await;
    assert_eq!((identity.status, &identity.body["error"]["code"]), (401, &json!(401)), "Keystone's form");
    assert_eq!(signer.with("x-auth-token", "x", false).get(&world, "/healthz").await.status, 200);
}

#[tokio::test]
async fn a_date_more_than_15_minutes_off_is_refused() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let signer = Signer::of(&member).await;
    for (off_seconds, status) in [
        (-DATE_SECONDS_MAX + 5, 200),
        (DATE_SECONDS_MAX - 5, 200),
        (-DATE_SECONDS_MAX - 5, 401),
        (DATE_SECONDS_MAX + 5, 401),
    ] {
        let answer = Signer { off_seconds, ..signer.clone() }.get(&world, &member.v1("/policies")).await;
        assert_eq!(answer.status, status, "{off_seconds}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_signature_covers_path_query_headers_and_body() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let signer = Signer::of(&member).await;
    let (date, path) = (signer.date(&world), member.v1("/policies"));
    let body = policy_body("nightly", &["x"]).to_string();
    let request = || signer.request(&date, &Method::POST, &path, body.as_bytes());
    let send = async |request: axum::http::Request<Body>| world.a.nobody().raw(request).await;
    let changed = body.replace("nightly", "weekly");
    let wrong = send(request().body(Body::from(changed)).unwrap()).await;
    wrong.refuses(401, "Antipode.0401", "the access key or the signature is wrong");
    let unknown = Signer { access: "A".repeat(20), ..signer.clone() };
    let unknown = unknown.get(&world, &path).await;
    assert_eq!(unknown.body, wrong.body, "an unknown key and a wrong signature look the same");
    let secretless = Signer { secret: "wrong".to_owned(), ..signer.clone() }.get(&world, &path).await;
    assert_eq!(secretless.body, wrong.body);
    let target = request().uri(member.v1("/restores")).body(Body::from(body.clone())).unwrap();
    assert_eq!(send(target).await.status, 401);
    let doubled = request().header("X-Sdk-Date", &date).body(Body::from(body.clone())).unwrap();
    assert_eq!(send(doubled).await.status, 401, "a signed header stands once");
    let typed = signer.with("content-type", "application/json", true);
    let good = typed.request(&date, &Method::POST, &path, body.as_bytes());
    assert_ne!(send(good.body(Body::from(body)).unwrap()).await.status, 401);
}

#[tokio::test]
async fn a_signature_that_changes_something_is_good_once_and_one_that_reads_is_not_counted() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let signer = Signer::of(&member).await;
    let (date, path) = (signer.date(&world), member.v1("/policies/00000000-0000-4000-8000-000000000000"));
    let send = async |method: Method| {
        let request = signer.request(&date, &method, &path, b"").body(Body::empty()).unwrap();
        world.a.nobody().raw(request).await.status
    };
    assert_eq!(send(Method::DELETE).await, 404);
    assert_eq!(send(Method::DELETE).await, 401, "a replay");
    assert_eq!(send(Method::GET).await, 404);
    assert_eq!(send(Method::GET).await, 404);
    world.clock.advance_seconds(u64::try_from(DATE_SECONDS_MAX).unwrap() + 60);
    world.a.control.keep_house().await.unwrap();
    assert_eq!(send(Method::DELETE).await, 401, "forgotten, but too old by then");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_whoever_signed_it() {
    let world = World::apart().await;
    let member = world.a.user("member", "member").await;
    let signer = Signer::of(&member).await;
    let large = json!({ "policy": "x".repeat(70 * 1024) });
    let answer = signer.send(&world, Method::POST, &member.v1("/policies"), Some(&large)).await;
    answer.refuses(400, "CSBS.9001", "body");
    let stranger = Signer { access: "A".repeat(20), ..signer };
    let answer = stranger.send(&world, Method::POST, &member.v1("/policies"), Some(&large)).await;
    assert_eq!(answer.status, 401, "nothing is read for a key that nobody has");
}

#[tokio::test]
async fn an_access_key_is_its_users_own_and_shows_its_secret_once() {
    let world = World::apart().await;
    let (member, other) = (world.a.user("member", "member").await, world.a.user("other", "admin").await);
    let signer = Signer::of(&member).await;
    let path = format!("{CREDENTIALS}/{}", signer.access);
    let shown = member.get(&path).await;
    assert_eq!(shown.text("credential.description"), "ci");
    assert!(shown.body["credential"].get("secret").is_none());
    assert_eq!(
        member.get(CREDENTIALS).await.texts("credentials", "id"),
        std::slice::from_ref(&signer.access)
    );
    assert_eq!(other.get(CREDENTIALS).await.texts("credentials", "id"), [""; 0]);
    let (hidden, absent) = (other.get(&path).await, other.get(&format!("{CREDENTIALS}/X")).await);
    assert_eq!((hidden.status, &hidden.body), (404, &absent.body));
    assert_eq!(other.send(Method::DELETE, &path, None).await.body, absent.body);
    let unscoped = member.relog("member", None).await;
    assert_eq!(unscoped.post(CREDENTIALS, &json!({ "credential": {} })).await.status, 403);
    let long = json!({ "credential": { "description": "x".repeat(256) } });
    member.post(CREDENTIALS, &long).await.refuses(400, "CSBS.9001", "credential.description");
    let minted = signer.send(&world, Method::POST, CREDENTIALS, Some(&json!({ "credential": {} }))).await;
    assert_eq!(minted.status, 403, "a key makes no keys");
    assert_eq!(member.send(Method::DELETE, &path, None).await.status, 204);
    assert_eq!(signer.get(&world, &member.v1("/policies")).await.status, 401, "a deleted key");
}

#[tokio::test]
async fn a_key_does_what_its_user_still_may() {
    let world = World::apart().await;
    let (admin, member) = (&world.a.admin, world.a.user("member", "member").await);
    let (operators, signer) = (Signer::of(admin).await, Signer::of(&member).await);
    assert_eq!(operators.get(&world, "/antipode/v1/region").await.status, 403, "no role of the region");
    assert_eq!(operators.get(&world, "/antipode/v1/grants").await.status, 200);
    let users = admin.get("/identity/v3/users?name=member").await;
    let id = users.texts("users", "id")[0].clone();
    let patch = async |body: Value| {
        let answer = admin.send(Method::PATCH, &format!("/identity/v3/users/{id}"), Some(&body)).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    };
    patch(json!({ "user": { "password": "another good one" } })).await;
    assert_eq!(signer.get(&world, &member.v1("/policies")).await.status, 200, "a password is another thing");
    patch(json!({ "user": { "enabled": false } })).await;
    assert_eq!(signer.get(&world, &member.v1("/policies")).await.status, 401);
    patch(json!({ "user": { "enabled": true, "password": PASSWORD } })).await;
    assert_eq!(signer.get(&world, &member.v1("/policies")).await.status, 200);
    let role = format!("/identity/v3/projects/{}/users/{id}/roles/member", member.project_id);
    assert_eq!(admin.send(Method::DELETE, &role, None).await.status, 204);
    assert_eq!(signer.get(&world, &member.v1("/policies")).await.status, 401);
}

#[tokio::test]
async fn a_secret_outlives_the_kek_it_was_sealed_under_and_waits_for_a_lost_one() {
    let World { a, b, links, clock } = World::apart().await;
    let member = a.user("member", "member").await;
    let (signer, path) = (Signer::of(&member).await, member.v1("/policies"));
    let entropy = vault::seams::SeededEntropy::new(77);
    let (keys, store) = a.keys_and_store();
    let plan = control::region::KekPlan::default();

    // Rotated: the next start opens what the old KEK sealed, and seals it anew.
    let rotated = keys.rotate_kek(&store, &plan, None, &entropy).unwrap();
    let a = a.restart((&links, &clock), KeyTroubles::default()).await;
    let world = World { a, b, links, clock };
    assert_eq!(signer.get(&world, &path).await.status, 200);

    // The old KEK retired, and even what remembers it gone: the secret lies under the new one alone.
    keys.retire_kek(&store, rotated.old_number.unwrap()).unwrap();
    std::fs::remove_file(world.a.store_dir().join(vault::layout::ring_name(rotated.number))).unwrap();
    let World { a, b, links, clock } = world;
    let a = a.restart((&links, &clock), KeyTroubles::default()).await;
    let world = World { a, b, links, clock };
    assert_eq!(signer.get(&world, &path).await.status, 200);

    // Without any: a clear word, for signatures and for new keys; tokens go on.
    let why = "keys/kek: it is missing".to_owned();
    let troubles = KeyTroubles::new(vec![KeyTrouble { key: LostKey::Kek, why }]);
    let World { a, b, links, clock } = world;
    let a = a.restart((&links, &clock), troubles).await;
    let world = World { a, b, links, clock };
    let refused = signer.get(&world, &path).await;
    refused.refuses(503, "CSBS.9998", "the region runs without the KEK");
    assert!(refused.header("retry-after").is_some());
    let member = world.a.admin.relog("member", Some("eu-a")).await;
    let made = member.post(CREDENTIALS, &json!({ "credential": {} })).await;
    made.refuses(503, "CSBS.9998", "the KEK");
    assert_eq!(member.get(CREDENTIALS).await.status, 200);
    assert_eq!(member.get_v1("/policies").await.status, 200);
}
