//! The OpenAPI document: the one that is served is the one that is checked in, it says what the router
//! does, and it holds together. `ANTIPODE_WRITE_OPENAPI=1` writes the checked-in one anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::Value;

use crate::access::routes;
use crate::support::{NOBODY, PROVIDER, World};

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "patch", "options", "trace"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

async fn served(world: &World) -> (Value, String) {
    let request = Request::builder().uri("/openapi.json").body(Body::empty()).unwrap();
    let answer = world.a.nobody().raw(request).await;
    assert_eq!(answer.status, 200, "the document needs no token");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    (answer.body, answer.text)
}

/// Every operation: path, method, description.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, item): (&String, &Value)| {
        let (path, item) = (path.clone(), item.as_object().unwrap().clone());
        item.into_iter().map(move |(method, operation)| (path.clone(), method, operation))
    };
    paths.iter().flat_map(of_path).collect()
}

fn is_open(operation: &Value) -> bool {
    operation["security"] == serde_json::json!([{}])
}

/// Whether a path of the access table is of a documented path.
fn is_of(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap();
    let parts = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
    let (template, path) = (parts(template), parts(path));
    let fits = |(wanted, part): (&String, &String)| wanted.starts_with('{') || wanted == part;
    template.len() == path.len() && template.iter().zip(&path).all(fits)
}

/// The path with ids that fit.
fn filled(template: &str) -> String {
    let part = |part: &str| match part {
        "{provider_id}" => PROVIDER.to_owned(),
        "{vault_id}" => "0".repeat(32),
        "{role}" => "member".to_owned(),
        part if part.starts_with('{') => NOBODY.to_owned(),
        part => part.to_owned(),
    };
    template.split('/').map(part).collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn the_document_in_the_repository_is_the_one_that_is_served() {
    let (_, text) = served(&World::apart().await).await;
    let path = repository().join("docs/openapi.json");
    if std::env::var_os("ANTIPODE_WRITE_OPENAPI").is_some() {
        std::fs::write(&path, format!("{text}\n")).unwrap();
    }
    let checked_in = std::fs::read_to_string(&path).unwrap_or_default();
    let line = text.lines().zip(checked_in.lines()).position(|(served, kept)| served != kept);
    let is_same = format!("{text}\n") == checked_in;
    assert!(
        is_same,
        "docs/openapi.json differs from line {line:?} on; ANTIPODE_WRITE_OPENAPI=1 writes it anew"
    );
}

#[tokio::test]
async fn the_router_serves_what_the_document_says_and_nothing_else() {
    let world = World::apart().await;
    let (document, _) = served(&world).await;
    let described: BTreeSet<_> =
        operations(&document).into_iter().map(|(path, method, _)| (path, method)).collect();
    for path in document["paths"].as_object().unwrap().keys() {
        for method in METHODS {
            let known = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let request = Request::builder().method(known).uri(filled(path)).body(Body::empty()).unwrap();
            let answer = world.a.nobody().raw(request).await;
            let is_served = answer.body["error_code"] != "Antipode.0404" && answer.status != 405;
            let is_described = described.contains(&(path.clone(), method.to_owned()));
            assert_eq!(is_served, is_described, "{method} {path} answered {}", answer.status);
        }
    }
}

#[test]
fn routes_are_added_in_one_place_that_asks_for_their_description() {
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http")];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap();
            if [".route(", ".nest(", ".route_service("].iter().any(|call| text.contains(call)) {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].ends_with("openapi/mod.rs"), "{found:?}");
}

#[tokio::test]
async fn every_operation_stands_in_the_access_table_and_the_other_way_round() {
    let (document, _) = served(&World::apart().await).await;
    let closed: Vec<_> =
        operations(&document).into_iter().filter(|(_, _, operation)| !is_open(operation)).collect();
    let table = routes();
    let has_row = |path: &str, method: &str| {
        table.iter().any(|(known, row, _)| known.as_str().eq_ignore_ascii_case(method) && is_of(path, row))
    };
    let missing: Vec<_> =
        closed.iter().filter(|(path, method, _)| !has_row(path, method)).map(|(p, m, _)| (m, p)).collect();
    assert!(missing.is_empty(), "no row in the access table: {missing:#?}");
    for (method, row, _) in &table {
        let is_known = closed
            .iter()
            .any(|(path, known, _)| method.as_str().eq_ignore_ascii_case(known) && is_of(path, row));
        assert!(is_known, "{method} {row} is not described");
    }
}

/// All values under a key, wherever it stands outside examples.
fn values_under<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a Value>) {
    match value {
        Value::Object(map) => {
            for (name, inner) in map.iter().filter(|(name, _)| *name != "example" && *name != "examples") {
                if name == key {
                    found.push(inner);
                }
                values_under(inner, key, found);
            }
        }
        Value::Array(list) => list.iter().for_each(|inner| values_under(inner, key, found)),
        _ => {}
    }
}

#[tokio::test]
async fn the_document_holds_together() {
    let (document, _) = served(&World::apart().await).await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut references = Vec::new();
    values_under(&document, "$ref", &mut references);
    for reference in references {
        let place = reference.as_str().unwrap().strip_prefix('#').unwrap();
        assert!(document.pointer(place).is_some(), "{reference} leads nowhere");
    }
    let tags: Vec<_> = document["tags"].as_array().unwrap().iter().map(|tag| &tag["name"]).collect();
    let mut by_id = BTreeMap::new();
    for (path, method, operation) in operations(&document) {
        let id = operation["operationId"].as_str().unwrap().to_owned();
        let line = format!("{method} {path} ({id})");
        assert!(id.len() <= 24 && id.chars().all(|c| c.is_ascii_alphanumeric()), "{line}: a short id");
        assert!(
            operation["tags"].as_array().unwrap().iter().all(|tag| tags.contains(&tag)),
            "{line}: its tag"
        );
        let summary = operation["summary"].as_str().unwrap();
        assert!(!summary.is_empty() && !summary.ends_with('.'), "{line}: {summary:?}");
        let takes_body = operation.get("requestBody").is_some();
        assert!(!takes_body || ["post", "put", "patch"].contains(&method.as_str()), "{line}: a body");
        if !is_open(&operation) {
            for status in ["401", "403"] {
                assert!(operation["responses"].get(status).is_some(), "{line}: {status} is missing");
            }
        }
        assert!(by_id.insert(id, operation).is_none(), "{line}: the id is taken");
    }
    let mut links = Vec::new();
    values_under(&document["paths"], "links", &mut links);
    for (name, link) in links.iter().flat_map(|links| links.as_object().unwrap()) {
        let target = &by_id[link["operationId"].as_str().unwrap()];
        for parameter in link["parameters"].as_object().unwrap().keys() {
            let known = target["parameters"].as_array().unwrap();
            assert!(known.iter().any(|known| known["name"] == *parameter), "{name}: {parameter} of {link}");
        }
    }
}
