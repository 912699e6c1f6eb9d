//! Callers of the API, what comes back to them, and the bodies they send.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{PASSWORD, PROVIDER};

/// Somebody who calls the API of one region.
#[derive(Clone)]
pub(crate) struct Client {
    pub(super) router: Router,
    /// The token, if logged in.
    pub(crate) token: Option<String>,
    /// The project of the token.
    pub(crate) project_id: String,
}

impl Client {
    pub(super) async fn log_in(router: &Router, name: &str, project: Option<&str>) -> Client {
        let nobody = Client { router: router.clone(), token: None, project_id: String::new() };
        let answer = nobody.post("/identity/v3/auth/tokens", &login_body(name, PASSWORD, project)).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        let token = answer.header("x-subject-token").unwrap().to_owned();
        let project_id = answer.body["token"]["project"]["id"].as_str().unwrap_or_default().to_owned();
        Client { token: Some(token), project_id, ..nobody }
    }

    /// Logs in again, with another scope.
    pub(crate) async fn relog(&self, name: &str, project: Option<&str>) -> Client {
        Client::log_in(&self.router, name, project).await
    }

    /// The same caller under a token of one's own making.
    pub(crate) fn with_token(&self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self.clone() }
    }

    /// Sends a request with any head and body.
    pub(crate) async fn raw(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body, text }
    }

    /// A request of this caller, without a body.
    pub(crate) fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path);
        match &self.token {
            Some(token) => request.header("X-Auth-Token", token),
            None => request,
        }
    }

    /// Sends a request with a JSON body, or none.
    pub(crate) async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => {
                request.header("Content-Type", "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        self.raw(request.unwrap()).await
    }

    /// GET from the root.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, None).await
    }

    /// POST from the root.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, Some(body)).await
    }

    /// The path of something in the caller's project.
    pub(crate) fn v1(&self, path: &str) -> String {
        format!("/v1/{}{path}", self.project_id)
    }

    /// GET in the project.
    pub(crate) async fn get_v1(&self, path: &str) -> Answer {
        self.get(&self.v1(path)).await
    }

    /// POST in the project.
    pub(crate) async fn post_v1(&self, path: &str, body: &Value) -> Answer {
        self.post(&self.v1(path), body).await
    }

    /// PUT in the project.
    pub(crate) async fn put_v1(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::PUT, &self.v1(path), Some(body)).await
    }

    /// DELETE in the project.
    pub(crate) async fn delete_v1(&self, path: &str) -> Answer {
        self.send(Method::DELETE, &self.v1(path), None).await
    }
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The headers.
    pub(crate) headers: HeaderMap,
    /// The body; null when it was empty or no JSON.
    pub(crate) body: Value,
    /// The body, byte for byte.
    pub(crate) text: String,
}

impl Answer {
    /// The text at a path of keys.
    pub(crate) fn text(&self, path: &str) -> String {
        let value = path.split('.').fold(&self.body, |value, key| &value[key]);
        value.as_str().unwrap_or_else(|| panic!("no text at {path} in {}", self.body)).to_owned()
    }

    /// The texts under one key of each member of a list.
    pub(crate) fn texts(&self, list: &str, key: &str) -> Vec<String> {
        let rows = self.body[list].as_array().unwrap_or_else(|| panic!("no list {list} in {}", self.body));
        rows.iter().map(|row| row[key].as_str().unwrap().to_owned()).collect()
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The members of the core call's answer, as (item, record).
    pub(crate) fn selected(&self) -> Vec<(String, String)> {
        assert_eq!(self.status, 200, "{}", self.body);
        let rows = self.body["replication"]["checkpoint_items"].as_array().unwrap();
        let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
        rows.iter().map(|row| (text(row, "checkpoint_item_id"), text(row, "replication_record_id"))).collect()
    }

    /// Asserts a refusal: its status, its code, and that the text names something.
    #[track_caller]
    pub(crate) fn refuses(&self, status: u16, code: &str, named: &str) {
        assert_eq!((self.status, &self.body["error_code"]), (status, &json!(code)), "{}", self.body);
        let message = self.body["error_msg"].as_str().unwrap();
        assert!(message.contains(named), "{named:?} is not in {message:?}");
    }
}

/// The body of a log-in by password.
pub(crate) fn login_body(name: &str, password: &str, project: Option<&str>) -> Value {
    let domain = json!({ "name": "Default" });
    let user = json!({ "name": name, "password": password, "domain": domain });
    let scope = match project {
        Some(project) => json!({ "project": { "name": project, "domain": domain } }),
        None => json!("unscoped"),
    };
    json!({ "auth": { "identity": { "methods": ["password"], "password": { "user": user } }, "scope": scope } })
}

/// The body of a policy with one backup operation that is switched off.
pub(crate) fn policy_body(name: &str, servers: &[&str]) -> Value {
    let resource = |id: &&str| json!({ "id": id, "type": "OS::Nova::Server", "name": "server" });
    let pattern = "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nRRULE:FREQ=DAILY;BYHOUR=1;BYMINUTE=30\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";
    json!({ "policy": {
        "name": name,
        "description": "",
        "provider_id": PROVIDER,
        "parameters": { "common": {} },
        "resources": servers.iter().map(resource).collect::<Vec<_>>(),
        "scheduled_operations": [{
            "name": format!("{name}-backup"),
            "enabled": false,
            "operation_type": "backup",
            "operation_definition": { "max_backups": 14, "retention_duration_days": -1, "permanent": false },
            "trigger": { "properties": { "pattern": pattern } },
        }],
    } })
}
