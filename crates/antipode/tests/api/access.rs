//! Every route × every kind of caller, from one table.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::client::login_body;
use crate::support::{Client, NOBODY, PASSWORD, PROVIDER, World};

/// What opens the door of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Least {
    /// Any token.
    LoggedIn,
    /// A token of a person, not of a program.
    Person,
    /// To look into a project.
    Reader,
    /// The same, as a person.
    ReadingPerson,
    /// To order something in a project.
    Member,
    /// To decide something for a project.
    Admin,
    /// To look at the region.
    Watcher,
    /// To run the region.
    Operator,
}

/// The kinds of callers with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Reader,
    Member,
    Admin,
    Service,
    Operator,
    /// An application credential of a member.
    Program,
}

/// The table of `control/src/access.rs` and the rules around it, said once more from the outside.
fn opens(kind: Kind, least: Least) -> bool {
    use Kind::{Admin, Member, Operator, Program, Service};
    match least {
        Least::LoggedIn => true,
        Least::Person => kind != Program,
        Least::Reader => kind != Operator,
        Least::ReadingPerson => kind != Operator && kind != Program,
        Least::Member => [Member, Admin, Program].contains(&kind),
        Least::Admin => kind == Admin,
        Least::Watcher => [Service, Operator].contains(&kind),
        Least::Operator => kind == Operator,
    }
}

/// A destination as queries name it.
const PLACE: &str = "destination_region=eu-b&destination_project_id=x";

/// Method, path (`{p}` is the project, `{u}` the caller), and what opens the door.
pub(crate) fn routes() -> Vec<(Method, String, Least)> {
    use Least::{Admin, Member, Operator, Reader, ReadingPerson, Watcher};
    let provider = format!("/v1/{{p}}/providers/{PROVIDER}");
    let rows = [
        (Method::GET, "/v1/{p}/policies".to_owned(), Reader),
        (Method::POST, "/v1/{p}/policies".to_owned(), Member),
        (Method::GET, format!("/v1/{{p}}/policies/{NOBODY}"), Reader),
        (Method::PUT, format!("/v1/{{p}}/policies/{NOBODY}"), Member),
        (Method::DELETE, format!("/v1/{{p}}/policies/{NOBODY}"), Member),
        (Method::POST, format!("{provider}/resources/x/action"), Member),
        (Method::POST, format!("{provider}/checkpoints"), Member),
        (Method::POST, format!("{provider}/checkpoints/replicate"), Member),
        (Method::DELETE, format!("{provider}/checkpoints/{NOBODY}"), Member),
        (Method::POST, format!("{provider}/checkpoint_items/{NOBODY}/replicate"), Member),
        (Method::GET, "/v1/{p}/checkpoint_items".to_owned(), Reader),
        (Method::GET, "/v1/{p}/checkpoint_items/count".to_owned(), Reader),
        (Method::GET, format!("/v1/{{p}}/checkpoint_items/{NOBODY}"), Reader),
        (Method::POST, "/v1/{p}/restores".to_owned(), Member),
        (Method::GET, "/v1/{p}/restores".to_owned(), Reader),
        (Method::GET, format!("/v1/{{p}}/restores/{NOBODY}"), Reader),
        (Method::GET, "/v1/{p}/providers".to_owned(), Reader),
        (Method::GET, provider.clone(), Reader),
        (Method::POST, format!("{provider}/resources/action"), Reader),
        (Method::GET, "/v1/{p}/quotas".to_owned(), Reader),
        (Method::GET, "/v1/{p}/protect_config".to_owned(), Reader),
        (Method::GET, "/v1/{p}/protection_capabilities".to_owned(), Reader),
        (Method::GET, "/v1/{p}/operation_logs".to_owned(), Reader),
        (Method::GET, format!("/v1/{{p}}/operation_logs/{NOBODY}"), Reader),
        (Method::DELETE, format!("/v1/{{p}}/operation_logs/{NOBODY}"), Member),
        (Method::GET, "/v1/{p}/replication_capabilities".to_owned(), Reader),
        (Method::GET, "/v1/{p}/replication_records".to_owned(), Reader),
        (Method::GET, format!("/v1/{{p}}/replication_records/{NOBODY}"), Reader),
        (Method::GET, "/antipode/v1/servers".to_owned(), Reader),
        (Method::GET, "/antipode/v1/servers?all=true".to_owned(), Watcher),
        (Method::POST, "/antipode/v1/servers".to_owned(), Operator),
        (Method::GET, "/antipode/v1/servers/x".to_owned(), Reader),
        (Method::DELETE, "/antipode/v1/servers/x".to_owned(), Operator),
        (Method::POST, "/antipode/v1/servers/x/backups".to_owned(), Member),
        (Method::GET, "/antipode/v1/grants".to_owned(), Reader),
        (Method::POST, "/antipode/v1/grants".to_owned(), Admin),
        (Method::DELETE, format!("/antipode/v1/grants/{NOBODY}"), Admin),
        (Method::GET, "/antipode/v1/region".to_owned(), Watcher),
        (Method::POST, "/antipode/v1/region/unfreeze".to_owned(), Operator),
        (Method::GET, "/antipode/v1/regions".to_owned(), Watcher),
        (Method::POST, "/antipode/v1/regions/invitations".to_owned(), Operator),
        (Method::POST, "/antipode/v1/regions/accept".to_owned(), Operator),
        (Method::POST, "/antipode/v1/regions/x/confirm".to_owned(), Operator),
        (Method::GET, "/antipode/v1/credentials".to_owned(), Reader),
        (Method::POST, "/antipode/v1/credentials".to_owned(), ReadingPerson),
        (Method::GET, "/antipode/v1/credentials/X".to_owned(), Reader),
        (Method::DELETE, "/antipode/v1/credentials/X".to_owned(), ReadingPerson),
        (Method::GET, format!("/antipode/v1/checkpoint_items/{NOBODY}"), Reader),
        (Method::GET, "/antipode/v1/restores".to_owned(), Reader),
        (Method::GET, format!("/antipode/v1/restores/{NOBODY}"), Reader),
        (Method::POST, format!("/antipode/v1/policies/{NOBODY}/adopt"), Member),
        (Method::GET, format!("/antipode/v1/policies/{NOBODY}/retention_preview"), Reader),
        (Method::POST, format!("/antipode/v1/policies/{NOBODY}/retention_preview"), Reader),
        (Method::GET, "/antipode/v1/quotas/{p}".to_owned(), Least::LoggedIn),
        (Method::GET, "/antipode/v1/quotas/nowhere".to_owned(), Operator),
        (Method::PUT, "/antipode/v1/quotas/{p}".to_owned(), Operator),
        (Method::GET, "/antipode/v1/quarantine".to_owned(), Reader),
        (Method::POST, format!("/antipode/v1/quarantine/{NOBODY}/undelete"), Member),
        (Method::GET, "/antipode/v1/vaults".to_owned(), Watcher),
        (Method::POST, format!("/antipode/v1/vaults/{}/collect", "0".repeat(32)), Operator),
    ];
    rows.into_iter()
        .chain(record_routes())
        .chain(sight_routes())
        .chain(tag_routes())
        .chain(identity_routes())
        .collect()
}

/// What our own surface does with replication records, and with the links they travel over.
fn record_routes() -> impl Iterator<Item = (Method, String, Least)> {
    use Least::{Member, Operator, Reader};
    let rows = [
        (Method::PUT, "/antipode/v1/regions/x/limit".to_owned(), Operator),
        (Method::GET, format!("/antipode/v1/replication_records/{NOBODY}"), Reader),
        (Method::GET, format!("/antipode/v1/replication_records/{NOBODY}/receipt"), Reader),
        (Method::POST, format!("/antipode/v1/replication_records/{NOBODY}/pause"), Member),
        (Method::POST, format!("/antipode/v1/replication_records/{NOBODY}/resume"), Member),
        (Method::POST, format!("/antipode/v1/replication_records/{NOBODY}/cancel"), Member),
        (Method::POST, format!("/antipode/v1/replication_records/{NOBODY}/retry"), Member),
    ];
    rows.into_iter()
}

/// Seeing replication.
fn sight_routes() -> impl Iterator<Item = (Method, String, Least)> {
    use Least::{Member, Reader, Watcher};
    let rows = [
        (Method::GET, format!("/antipode/v1/checkpoint_items/{NOBODY}/explain"), Reader),
        (Method::GET, "/antipode/v1/coverage".to_owned(), Reader),
        (Method::GET, "/antipode/v1/coverage?all_tenants=true".to_owned(), Watcher),
        (Method::GET, format!("/antipode/v1/policies/{NOBODY}/destinations"), Reader),
        (Method::GET, format!("/antipode/v1/policies/{NOBODY}/destinations/eu-b"), Reader),
        (Method::PUT, format!("/antipode/v1/policies/{NOBODY}/destinations/eu-b"), Member),
        (Method::GET, format!("/antipode/v1/policies/{NOBODY}/replication_plan?{PLACE}"), Reader),
    ];
    rows.into_iter()
}

fn identity_routes() -> impl Iterator<Item = (Method, String, Least)> {
    use Least::{LoggedIn, Operator, Person, Reader, ReadingPerson};
    let in_project = format!("/identity/v3/projects/x/users/{NOBODY}/roles");
    let in_region = format!("/identity/v3/system/users/{NOBODY}/roles");
    let credentials = "/identity/v3/users/{u}/application_credentials";
    let rows = [
        (Method::GET, "/identity/v3/projects".to_owned(), Operator),
        (Method::POST, "/identity/v3/projects".to_owned(), Operator),
        (Method::GET, "/identity/v3/users".to_owned(), Operator),
        (Method::POST, "/identity/v3/users".to_owned(), Operator),
        (Method::GET, "/identity/v3/projects/nowhere".to_owned(), LoggedIn),
        (Method::PATCH, "/identity/v3/projects/nowhere".to_owned(), Operator),
        (Method::DELETE, "/identity/v3/projects/nowhere".to_owned(), Operator),
        (Method::GET, "/identity/v3/users/{u}".to_owned(), LoggedIn),
        (Method::PATCH, format!("/identity/v3/users/{NOBODY}"), Operator),
        (Method::DELETE, format!("/identity/v3/users/{NOBODY}"), Operator),
        (Method::POST, "/identity/v3/users/{u}/password".to_owned(), Person),
        (Method::GET, "/identity/v3/users/{u}/projects".to_owned(), LoggedIn),
        (Method::GET, credentials.to_owned(), LoggedIn),
        (Method::POST, credentials.to_owned(), ReadingPerson),
        (Method::GET, format!("{credentials}/{NOBODY}"), LoggedIn),
        (Method::DELETE, format!("{credentials}/{NOBODY}"), Person),
        (Method::GET, "/identity/v3/roles".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/roles/member".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/role_assignments".to_owned(), Operator),
        (Method::GET, "/identity/v3/role_assignments?user.id={u}".to_owned(), LoggedIn),
        (Method::GET, in_project.clone(), Operator),
        (Method::GET, format!("{in_project}/member"), Operator),
        (Method::PUT, format!("{in_project}/member"), Operator),
        (Method::DELETE, format!("{in_project}/member"), Operator),
        (Method::GET, in_region.clone(), Operator),
        (Method::GET, format!("{in_region}/operator"), Operator),
        (Method::PUT, format!("{in_region}/operator"), Operator),
        (Method::DELETE, format!("{in_region}/operator"), Operator),
        (Method::GET, "/identity/v3/domains".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/domains/default".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/regions".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/regions/eu-a".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/services".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/services/identity".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/endpoints".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/endpoints/identity".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/auth/tokens".to_owned(), LoggedIn),
        (Method::DELETE, "/identity/v3/auth/tokens".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/auth/projects".to_owned(), LoggedIn),
        (Method::GET, "/identity/v3/auth/catalog".to_owned(), Reader),
    ];
    rows.into_iter()
}

/// The same calls for both families.
fn tag_routes() -> impl Iterator<Item = (Method, String, Least)> {
    use Least::{Member, Reader};
    ["csbs_backup", "csbs_backup_policy"].into_iter().flat_map(|family| {
        let (family, thing) = (format!("/v1/{{p}}/{family}"), format!("/v1/{{p}}/{family}/{NOBODY}"));
        [
            (Method::GET, format!("{family}/tags"), Reader),
            (Method::POST, format!("{family}/resource_instances/action"), Reader),
            (Method::GET, format!("{thing}/tags"), Reader),
            (Method::POST, format!("{thing}/tags"), Member),
            (Method::POST, format!("{thing}/tags/action"), Member),
            (Method::DELETE, format!("{thing}/tags/action"), Member),
            (Method::DELETE, format!("{thing}/tags/k"), Member),
        ]
    })
}

/// The routes that need no token.
pub(crate) fn open_routes() -> Vec<(Method, String)> {
    let get =
        ["/", "/healthz", "/readyz", "/version", "/identity", "/identity/", "/identity/v3", "/identity/v3/"];
    let more = ["/v1", "/v3", "/v3/", "/openapi.json"];
    let mut rows: Vec<_> = get.iter().chain(&more).map(|path| (Method::GET, (*path).to_owned())).collect();
    rows.push((Method::POST, "/identity/v3/auth/tokens".to_owned()));
    rows
}

/// Bodies that are well formed, so that only the door can refuse; what they name does not exist.
fn body(method: &Method, path: &str) -> Option<Value> {
    let place = json!({ "destination_region": "eu-z", "destination_project_id": "p" });
    let mut order = place.clone();
    order["policy_id"] = json!(NOBODY);
    let body = match path.rsplit('/').next().unwrap_or_default() {
        "action" if path.contains("/resource_instances/") => json!({ "action": "count" }),
        "action" if path.contains("/tags/") => {
            json!({ "action": "create", "tags": [{ "key": "k", "value": "v" }] })
        }
        "tags" => json!({ "tag": { "key": "k", "value": "v" } }),
        "action" if path.ends_with("/resources/action") => json!({ "check_protectable": [] }),
        "action" => json!({ "protect": {} }),
        "checkpoints" => json!({ "checkpoint": { "plan_id": NOBODY, "parameters": {} } }),
        "replicate" if path.contains("checkpoint_items") => json!({ "replication": place }),
        "replicate" => json!({ "replication": order }),
        "restores" => json!({ "restore": {
            "checkpoint_id": NOBODY, "provider_id": PROVIDER,
            "parameters": { "checkpoint_item_id": NOBODY, "power_on": false,
                "targets": { "server_id": "x", "volumes": [] } },
        } }),
        "policies" => crate::support::policy_body("n", &["nothing"]),
        "adopt" => json!({ "old_policy_id": NOBODY }),
        "retention_preview" => json!({ "retention_preview": {} }),
        "backups" => json!({ "backup": {} }),
        "servers" => json!({ "server": { "name": "x", "project_id": "nowhere", "volumes": [] } }),
        "grants" => json!({ "grant": { "source_region": "eu-z", "source_project_id": "p" } }),
        "invitations" => json!({ "region": "eu-z" }),
        "accept" => json!({ "invitation": "x" }),
        "unfreeze" => json!({ "name": "eu-z" }),
        "confirm" => json!({ "code": "x" }),
        "limit" => json!({ "limit": { "bytes_per_second": null } }),
        "projects" => json!({ "project": { "name": "" } }),
        "users" => json!({ "user": { "name": "", "password": "" } }),
        "password" => json!({ "user": { "original_password": PASSWORD, "password": "short" } }),
        "application_credentials" => json!({ "application_credential": { "name": "" } }),
        "credentials" => json!({ "credential": { "description": "x".repeat(256) } }),
        "tokens" => login_body("nobody", PASSWORD, None),
        "nowhere" => json!({ "project": {} }),
        _ if path.contains("/destinations/") => json!({ "destination": {} }),
        _ if path.contains("/quotas/") => json!({ "quotas": {} }),
        _ if path.contains("/identity/v3/users/") => json!({ "user": {} }),
        _ => json!({ "policy": {} }),
    };
    [Method::POST, Method::PUT, Method::PATCH].contains(method).then_some(body)
}

/// Somebody who calls, and the id of their user.
struct Caller {
    client: Client,
    user_id: String,
}

impl Caller {
    async fn of(client: Client) -> Caller {
        let token = client.token.clone().unwrap();
        let request =
            client.request(Method::GET, "/identity/v3/auth/tokens").header("X-Subject-Token", token);
        let answer = client.raw(request.body(axum::body::Body::empty()).unwrap()).await;
        Caller { user_id: answer.text("token.user.id"), client }
    }

    /// Nobody in particular.
    fn stray(client: Client) -> Caller {
        Caller { client, user_id: NOBODY.to_owned() }
    }

    async fn call(&self, project: &str, method: &Method, path: &str) -> u16 {
        let body = body(method, path);
        let path = path.replace("{p}", project).replace("{u}", &self.user_id);
        self.client.send(method.clone(), &path, body.as_ref()).await.status
    }
}

/// One caller of each kind in the first project of a region.
async fn callers(world: &World) -> Vec<(Kind, Caller)> {
    let (a, admin) = (&world.a, &world.a.admin);
    let monitor = json!({ "user": { "name": "monitor", "password": PASSWORD } });
    let monitor = admin.post("/identity/v3/users", &monitor).await.text("user.id");
    let path = format!("/identity/v3/system/users/{monitor}/roles/service");
    assert_eq!(admin.send(Method::PUT, &path, None).await.status, 204);
    let member = Caller::of(a.user("member", "member").await).await;
    vec![
        (Kind::Reader, Caller::of(a.user("reader", "reader").await).await),
        (Kind::Admin, Caller::of(a.user("project-admin", "admin").await).await),
        (Kind::Service, Caller::of(admin.relog("monitor", Some("eu-a")).await).await),
        (Kind::Operator, Caller::of(admin.relog("admin", None).await).await),
        (Kind::Program, Caller::of(program(&member).await).await),
        (Kind::Member, member),
    ]
}

/// A program with an application credential.
async fn program(of: &Caller) -> Client {
    let path = format!("/identity/v3/users/{}/application_credentials", of.user_id);
    let made = of.client.post(&path, &json!({ "application_credential": { "name": "ci" } })).await;
    let made = &made.body["application_credential"];
    let credential = json!({ "id": made["id"], "secret": made["secret"] });
    let identity = json!({ "methods": ["application_credential"], "application_credential": credential });
    let answer =
        of.client.post("/identity/v3/auth/tokens", &json!({ "auth": { "identity": identity } })).await;
    of.client.with_token(answer.header("x-subject-token").unwrap())
}

/// Those who are nobody here: without a token, with one that has ended, was revoked, or is another region's.
async fn strays(world: &World) -> Vec<(&'static str, Caller)> {
    let revoked = world.a.user("leaver", "admin").await;
    let token = revoked.token.clone().unwrap();
    let request =
        revoked.request(Method::DELETE, "/identity/v3/auth/tokens").header("X-Subject-Token", &token);
    let request = request.body(axum::body::Body::empty()).unwrap();
    assert_eq!(revoked.raw(request).await.status, 204);
    let nobody = world.a.nobody();
    let tls_key = nobody.with_token(&vault::ids::to_hex(&[2; 32]));
    let old = nobody.with_token(&world.a.user("old", "admin").await.token.unwrap());
    world.clock.advance_seconds(2 * 3600);
    let peer = world.b.admin.relog("admin", Some("eu-b")).await;
    let peer = nobody.with_token(peer.token.as_deref().unwrap());
    vec![
        ("without a token", Caller::stray(nobody)),
        ("with a token that has ended", Caller::stray(old)),
        ("with a token that was revoked", Caller::stray(revoked)),
        ("a user of the peer", Caller::stray(peer)),
        ("with the TLS key of the peer", Caller::stray(tls_key)),
    ]
}

#[tokio::test]
async fn every_route_opens_to_those_it_is_for_and_to_nobody_else() {
    let mut world = World::paired().await;
    let strays = strays(&world).await;
    world.a.admin = world.a.admin.relog("admin", Some("eu-a")).await;
    let project = world.a.admin.project_id.clone();
    let callers = callers(&world).await;
    let foreign = Caller::of(world.a.stranger("other").await).await;
    for (method, path, least) in routes() {
        let line = format!("{method} {path}");
        for (who, stray) in &strays {
            assert_eq!(stray.call(&project, &method, &path).await, 401, "{who}: {line}");
        }
        for (kind, caller) in &callers {
            let status = caller.call(&project, &method, &path).await;
            assert_eq!(status != 403, opens(*kind, least), "{kind:?}: {line} answered {status}");
            assert!(status < 500 && status != 401, "{kind:?}: {line} answered {status}");
        }
        let status = foreign.call(&project, &method, &path).await;
        let is_shut = path.contains("{p}") || !opens(Kind::Admin, least);
        assert_eq!(status == 403, is_shut, "an admin of another project: {line} answered {status}");
    }
    for (method, path) in open_routes() {
        for (who, stray) in &strays {
            let status = stray.call(&project, &method, &path).await;
            let is_login = path.ends_with("/tokens");
            assert_eq!(status == 401, is_login, "{who}: {method} {path} answered {status}");
        }
    }
}
