//! Every route × every kind of caller, from one table.

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Client, NOBODY, PROVIDER, World};

/// The least that a caller must be to get past the door of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Least {
    Reader,
    Member,
    Admin,
    Operator,
}

/// Method, path (`{p}` is the project), and who gets past the door.
pub(crate) fn routes() -> Vec<(Method, String, Least)> {
    use Least::{Admin, Member, Operator, Reader};
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
        (Method::GET, "/antipode/v1/servers?all=true".to_owned(), Operator),
        (Method::POST, "/antipode/v1/servers".to_owned(), Operator),
        (Method::GET, "/antipode/v1/servers/x".to_owned(), Reader),
        (Method::DELETE, "/antipode/v1/servers/x".to_owned(), Operator),
        (Method::POST, "/antipode/v1/servers/x/backups".to_owned(), Member),
        (Method::GET, "/antipode/v1/grants".to_owned(), Reader),
        (Method::POST, "/antipode/v1/grants".to_owned(), Admin),
        (Method::DELETE, format!("/antipode/v1/grants/{NOBODY}"), Admin),
        (Method::GET, "/antipode/v1/region".to_owned(), Operator),
        (Method::POST, "/antipode/v1/region/unfreeze".to_owned(), Operator),
        (Method::GET, "/antipode/v1/regions".to_owned(), Operator),
        (Method::POST, "/antipode/v1/regions/invitations".to_owned(), Operator),
        (Method::POST, "/antipode/v1/regions/accept".to_owned(), Operator),
        (Method::POST, "/antipode/v1/regions/x/confirm".to_owned(), Operator),
        (Method::GET, format!("/antipode/v1/checkpoint_items/{NOBODY}"), Reader),
        (Method::GET, format!("/antipode/v1/replication_records/{NOBODY}"), Reader),
        (Method::GET, "/antipode/v1/restores".to_owned(), Reader),
        (Method::GET, format!("/antipode/v1/restores/{NOBODY}"), Reader),
        (Method::POST, format!("/antipode/v1/policies/{NOBODY}/adopt"), Member),
        (Method::GET, format!("/antipode/v1/policies/{NOBODY}/retention_preview"), Reader),
        (Method::POST, format!("/antipode/v1/policies/{NOBODY}/retention_preview"), Reader),
        (Method::GET, "/antipode/v1/quotas/{p}".to_owned(), Reader),
        (Method::GET, "/antipode/v1/quotas/nowhere".to_owned(), Operator),
        (Method::PUT, "/antipode/v1/quotas/{p}".to_owned(), Operator),
        (Method::GET, "/antipode/v1/quarantine".to_owned(), Reader),
        (Method::POST, format!("/antipode/v1/quarantine/{NOBODY}/undelete"), Member),
        (Method::GET, "/antipode/v1/vaults".to_owned(), Operator),
        (Method::POST, format!("/antipode/v1/vaults/{}/collect", "0".repeat(32)), Operator),
    ];
    rows.into_iter().chain(tag_routes()).chain(identity_routes()).collect()
}

fn identity_routes() -> impl Iterator<Item = (Method, String, Least)> {
    use Least::{Operator, Reader};
    let rows = [
        (Method::GET, "/identity/v3/projects".to_owned(), Operator),
        (Method::POST, "/identity/v3/projects".to_owned(), Operator),
        (Method::GET, "/identity/v3/users".to_owned(), Operator),
        (Method::POST, "/identity/v3/users".to_owned(), Operator),
        (Method::PUT, format!("/identity/v3/projects/x/users/{NOBODY}/roles/member"), Operator),
        (Method::PUT, format!("/identity/v3/system/users/{NOBODY}/roles/operator"), Operator),
        (Method::GET, "/identity/v3/auth/tokens".to_owned(), Reader),
        (Method::DELETE, "/identity/v3/auth/tokens".to_owned(), Reader),
        (Method::GET, "/identity/v3/auth/projects".to_owned(), Reader),
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
        "projects" => json!({ "project": { "name": "" } }),
        "users" => json!({ "user": { "name": "", "password": "" } }),
        _ if path.contains("/quotas/") => json!({ "quotas": {} }),
        _ => json!({ "policy": {} }),
    };
    (*method == Method::POST || *method == Method::PUT).then_some(body)
}

async fn call(client: &Client, project: &str, method: &Method, path: &str) -> u16 {
    let body = body(method, path);
    client.send(method.clone(), &path.replace("{p}", project), body.as_ref()).await.status
}

#[tokio::test]
async fn every_route_opens_to_those_it_is_for_and_to_nobody_else() {
    let world = World::apart().await;
    let project = world.a.admin.project_id.clone();
    let operator = world.a.admin.relog("admin", None).await;
    let callers = [
        (Least::Reader, world.a.user("reader", "reader").await),
        (Least::Member, world.a.user("member", "member").await),
        (Least::Admin, world.a.user("project-admin", "admin").await),
    ];
    let (nobody, foreign) = (world.a.nobody(), world.a.stranger("other").await);
    for (method, path, least) in routes() {
        let line = format!("{method} {path}");
        assert_eq!(call(&nobody, &project, &method, &path).await, 401, "nobody: {line}");
        for (role, client) in &callers {
            let status = call(client, &project, &method, &path).await;
            let may_pass = *role >= least;
            assert_eq!(status != 403, may_pass, "{role:?}: {line} answered {status}");
            assert!(status < 500 && status != 401, "{role:?}: {line} answered {status}");
        }
        if path.starts_with("/v1/") {
            assert_eq!(call(&foreign, &project, &method, &path).await, 403, "another project: {line}");
            assert_eq!(call(&operator, &project, &method, &path).await, 403, "an unscoped operator: {line}");
        }
        if least == Least::Operator {
            let status = call(&operator, &project, &method, &path).await;
            assert!(![401, 403].contains(&status) && status < 500, "the operator: {line} answered {status}");
        }
    }
}
