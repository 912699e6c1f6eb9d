//! A real Keystone on loopback and what its administrator does.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The password of the service user.
pub(crate) const SERVICE_PASSWORD: &str = "service password 1";
const ADMIN_PASSWORD: &str = "admin password 1";

/// A Keystone in a folder of its own. It ends with this value.
pub(crate) struct RealKeystone {
    /// Its address, with `/v3`.
    pub(crate) url: String,
    client: Client,
    process: Mutex<Child>,
    _folder: TempDir,
}

fn python() -> PathBuf {
    let prepared = concat!(env!("CARGO_TARGET_TMPDIR"), "/../keystone/bin/python");
    std::env::var_os("ANTIPODE_KEYSTONE_PYTHON").map_or_else(|| PathBuf::from(prepared), PathBuf::from)
}

impl RealKeystone {
    /// Starts it and waits until it answers.
    pub(crate) fn start() -> RealKeystone {
        antipode::peer::install_crypto_provider();
        let folder = tempfile::tempdir().unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/keystone/serve_keystone.py");
        let mut process = Command::new(python())
            .args(["-W", "ignore", script])
            .arg(folder.path())
            .arg(ADMIN_PASSWORD)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Keystone is prepared by: tools/prepare.sh test");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let ready = lines.map(Result::unwrap).find_map(|line| line.strip_prefix("ready ").map(str::to_owned));
        let url = format!("http://127.0.0.1:{}/v3", ready.expect("Keystone says when it is ready"));
        RealKeystone { url, client: Client::new(), process: Mutex::new(process), _folder: folder }
    }

    /// Ends it.
    pub(crate) fn stop(&self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }

    async fn ask(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Response {
        let request = self.client.request(method, format!("{}{path}", self.url));
        let request = if token.is_empty() { request } else { request.header("X-Auth-Token", token) };
        let request = if let Some(body) = &body { request.json(body) } else { request };
        request.send().await.unwrap()
    }

    async fn done(&self, token: &str, method: Method, path: &str, body: Option<Value>) -> Value {
        let response = self.ask(token, method.clone(), path, body).await;
        let status = response.status();
        let text = response.text().await.unwrap();
        assert!(status.is_success(), "{method} {path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    /// A token of the administrator.
    pub(crate) async fn admin(&self) -> String {
        self.log_in("admin", ADMIN_PASSWORD, Some("admin")).await
    }

    /// A token.
    pub(crate) async fn log_in(&self, name: &str, password: &str, project: Option<&str>) -> String {
        let body = crate::support::client::login_body(name, password, project);
        let response = self.ask("", Method::POST, "/auth/tokens", Some(body)).await;
        assert_eq!(response.status(), 201, "{name}");
        response.headers()["x-subject-token"].to_str().unwrap().to_owned()
    }

    /// The id of something by its name.
    pub(crate) async fn id_of(&self, token: &str, list: &str, name: &str) -> String {
        let found = self.done(token, Method::GET, &format!("/{list}?name={name}"), None).await;
        found[list][0]["id"].as_str().unwrap_or_else(|| panic!("{list} {name}: {found}")).to_owned()
    }

    /// Makes a user with a role in a project, and the role and the project if they are not there; the project's id.
    pub(crate) async fn user(
        &self,
        token: &str,
        name: &str,
        password: &str,
        role: &str,
        project: &str,
    ) -> String {
        let wanted = json!({ "project": { "name": project } });
        self.ask(token, Method::POST, "/projects", Some(wanted)).await;
        self.ask(token, Method::POST, "/roles", Some(json!({ "role": { "name": role } }))).await;
        let user = json!({ "user": { "name": name, "password": password } });
        self.done(token, Method::POST, "/users", Some(user)).await;
        let (path, project_id) = self.assignment(token, name, role, project).await;
        self.done(token, Method::PUT, &path, None).await;
        project_id
    }

    /// Takes a role from a user.
    pub(crate) async fn take_role(&self, token: &str, name: &str, role: &str, project: &str) {
        let (path, _) = self.assignment(token, name, role, project).await;
        self.done(token, Method::DELETE, &path, None).await;
    }

    async fn assignment(&self, token: &str, name: &str, role: &str, project: &str) -> (String, String) {
        let user_id = self.id_of(token, "users", name).await;
        let project_id = self.id_of(token, "projects", project).await;
        let role_id = self.id_of(token, "roles", role).await;
        (format!("/projects/{project_id}/users/{user_id}/roles/{role_id}"), project_id)
    }

    /// Changes a user.
    pub(crate) async fn change_user(&self, token: &str, name: &str, change: Value) {
        let path = format!("/users/{}", self.id_of(token, "users", name).await);
        self.done(token, Method::PATCH, &path, Some(json!({ "user": change }))).await;
    }

    /// Ends all tokens of a user who can log in again at once.
    pub(crate) async fn end_tokens_of(&self, token: &str, name: &str) {
        self.change_user(token, name, json!({ "enabled": false })).await;
        self.change_user(token, name, json!({ "enabled": true })).await;
    }

    /// Ends a token.
    pub(crate) async fn revoke(&self, token: &str, subject: &str) {
        let request = self.client.delete(format!("{}/auth/tokens", self.url));
        let request = request.header("X-Auth-Token", token).header("X-Subject-Token", subject);
        assert_eq!(request.send().await.unwrap().status(), 204);
    }
}

impl Drop for RealKeystone {
    fn drop(&mut self) {
        self.stop();
    }
}
