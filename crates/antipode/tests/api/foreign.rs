//! Somebody else's thing and one that does not exist: the same answer, byte for byte.

use std::collections::BTreeMap;

use axum::http::Method;
use serde_json::{Value, json};

use crate::support::{Answer, Client, NOBODY, PROVIDER, World};

/// Everything that comes back but the request's own name, with the id that was asked for taken out.
fn seen(answer: &Answer, id: &str) -> (u16, BTreeMap<String, String>, String) {
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap().to_owned();
    let headers = answer.headers.iter().map(|(name, value)| (name.to_string(), text(value)));
    let headers = headers.filter(|(name, _)| name != "x-openstack-request-id").collect();
    (answer.status, headers, answer.body.to_string().replace(id, "ID"))
}

async fn compare(client: &Client, method: Method, path: &str, id: &str, body: Option<Value>) {
    let ask = async |id: &str| {
        let body = body.as_ref().map(|body| body.to_string().replace("{id}", id));
        let body = body.map(|body| serde_json::from_str(&body).unwrap());
        let answer = client.send(method.clone(), &path.replace("{id}", id), body.as_ref()).await;
        (answer.status, seen(&answer, id))
    };
    assert_eq!(id.len(), NOBODY.len(), "the lengths would differ: {path}");
    let ((status, foreign), (_, absent)) = (ask(id).await, ask(NOBODY).await);
    assert!((400..500).contains(&status) && status != 401 && status != 403, "{method} {path}: {foreign:?}");
    assert_eq!(foreign, absent, "{method} {path}");
}

#[tokio::test]
async fn foreign_and_absent_things_look_the_same() {
    let world = World::paired().await;
    let (policy, item) = world.backed_up().await;
    let replicated = world.replicate(&policy).await;
    assert_eq!(replicated.status, 200, "{}", replicated.body);
    let record = replicated.selected()[0].1.clone();
    let checkpoint = world.a.item(&item).await["checkpoint_id"].as_str().unwrap().to_owned();
    let server = world.a.item(&item).await["resource_id"].as_str().unwrap().to_owned();
    let grant = json!({ "grant": { "source_region": "eu-b", "source_project_id": "p" } });
    let grant = world.a.admin.post("/antipode/v1/grants", &grant).await.text("grant.id");
    let foreign = world.a.stranger("other").await;
    let v1 = |path: &str| foreign.v1(path);
    let provider = format!("/providers/{PROVIDER}");
    let place = json!({ "destination_region": "eu-b", "destination_project_id": world.b.admin.project_id });
    let mut order = place.clone();
    order["policy_id"] = json!("{id}");
    let change = json!({ "policy": { "name": "stolen" } });
    let run = json!({ "checkpoint": { "plan_id": "{id}", "parameters": {} } });
    let rows = [
        (Method::GET, v1("/policies/{id}"), &policy, None),
        (Method::PUT, v1("/policies/{id}"), &policy, Some(change)),
        (Method::DELETE, v1("/policies/{id}"), &policy, None),
        (Method::POST, v1(&format!("{provider}/checkpoints")), &policy, Some(run)),
        (
            Method::POST,
            v1(&format!("{provider}/checkpoints/replicate")),
            &policy,
            Some(json!({ "replication": order })),
        ),
        (Method::DELETE, v1(&format!("{provider}/checkpoints/{{id}}")), &checkpoint, None),
        (Method::GET, v1("/checkpoint_items/{id}"), &item, None),
        (Method::GET, v1("/checkpoint_items/{id}"), &checkpoint, None),
        (
            Method::POST,
            v1(&format!("{provider}/checkpoint_items/{{id}}/replicate")),
            &item,
            Some(json!({ "replication": place })),
        ),
        (Method::GET, v1("/replication_records/{id}"), &record, None),
        (Method::GET, "/antipode/v1/servers/{id}".to_owned(), &server, None),
        (
            Method::POST,
            "/antipode/v1/servers/{id}/backups".to_owned(),
            &server,
            Some(json!({ "backup": {} })),
        ),
        (Method::DELETE, "/antipode/v1/grants/{id}".to_owned(), &grant, None),
        (Method::GET, "/antipode/v1/checkpoint_items/{id}".to_owned(), &item, None),
        (Method::GET, "/antipode/v1/replication_records/{id}".to_owned(), &record, None),
        (Method::GET, "/antipode/v1/replication_records/{id}/receipt".to_owned(), &record, None),
        (Method::POST, "/antipode/v1/replication_records/{id}/pause".to_owned(), &record, None),
        (Method::POST, "/antipode/v1/replication_records/{id}/resume".to_owned(), &record, None),
        (Method::POST, "/antipode/v1/replication_records/{id}/cancel".to_owned(), &record, None),
        (Method::POST, "/antipode/v1/replication_records/{id}/retry".to_owned(), &record, None),
        (Method::POST, "/antipode/v1/quarantine/{id}/undelete".to_owned(), &item, None),
    ];
    for (method, path, id, body) in rows {
        compare(&foreign, method, &path, id, body).await;
    }
    assert_eq!(world.a.item(&item).await["status"], "available", "nothing was changed");
}
