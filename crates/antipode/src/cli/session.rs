//! The client of the API: logs in once, finds the services in the catalogue, sends requests. It uses
//! the same surface as anybody else.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Client, Method, StatusCode, redirect};
use serde_json::{Value, json};

use super::error::{CliError, Exit, Outcome};

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Where to log in, and as whom: flags first, then the `OS_…` variables.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// The identity service, such as `http://127.0.0.1:8780/identity/v3`.
    pub(crate) auth_url: Option<String>,
    /// The user's name.
    pub(crate) username: Option<String>,
    /// A file whose first line is the password.
    pub(crate) password_file: Option<PathBuf>,
    /// The password, from the environment only.
    pub(crate) password: Option<String>,
    /// A token instead of a password.
    pub(crate) token: Option<String>,
    /// The project, by name or id.
    pub(crate) project: Option<String>,
    /// The project by id, from the environment.
    pub(crate) project_id: Option<String>,
    /// The region whose endpoints are wanted.
    pub(crate) region: Option<String>,
}

/// The three surfaces of one region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// `/v1/{project_id}`
    Csbs,
    /// `/antipode/v1`
    Own,
    /// `/identity/v3`
    Identity,
}

/// One logged-in client.
pub(crate) struct Session {
    client: Client,
    credentials: Credentials,
    identity_url: String,
    project_id: Option<String>,
    csbs_url: Option<String>,
    /// Renewed when it has expired: waiting may take longer than a token lives.
    token: Mutex<String>,
}

/// What a log-in gave.
struct LoggedIn {
    token: String,
    project_id: Option<String>,
    csbs_url: Option<String>,
}

/// What the API answered.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The header of what a replication left out.
    pub(crate) left_out: Option<String>,
    /// The body; null when empty.
    pub(crate) body: Value,
}

impl Credentials {
    /// Fills what flags left open from the environment, the one place where it is read.
    pub(crate) fn or_environment(mut self) -> Credentials {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.auth_url = self.auth_url.or_else(|| variable("OS_AUTH_URL"));
        self.username = self.username.or_else(|| variable("OS_USERNAME"));
        self.password = variable("OS_PASSWORD");
        self.token = variable("OS_TOKEN");
        if self.project.is_none() {
            self.project_id = variable("OS_PROJECT_ID");
            self.project = variable("OS_PROJECT_NAME");
        }
        self.region = self.region.or_else(|| variable("OS_REGION_NAME"));
        self
    }

    /// The body of the log-in.
    fn body(&self) -> Outcome<Value> {
        let domain = json!({ "name": model::identity::DOMAIN_NAME });
        let identity = match (&self.token, &self.username) {
            (Some(token), _) => json!({ "methods": ["token"], "token": { "id": token } }),
            (None, Some(name)) => {
                let user = json!({ "name": name, "domain": domain, "password": self.password()? });
                json!({ "methods": ["password"], "password": { "user": user } })
            }
            (None, None) => return Err(CliError::usage("no user: set OS_USERNAME or --username")),
        };
        let scope = match (&self.project_id, &self.project) {
            (Some(id), _) => json!({ "project": { "id": id } }),
            (None, Some(name)) => json!({ "project": { "name": name, "domain": domain } }),
            (None, None) => json!("unscoped"),
        };
        Ok(json!({ "auth": { "identity": identity, "scope": scope } }))
    }

    /// The password: from a file, else from the environment; never from an argument, where others see it.
    fn password(&self) -> Outcome<String> {
        if let Some(path) = &self.password_file {
            return read_secret(path);
        }
        let missing = || CliError::usage("no password: set OS_PASSWORD or --password-file");
        self.password.clone().ok_or_else(missing)
    }
}

/// The first line of a file.
pub(crate) fn read_secret(path: &std::path::Path) -> Outcome<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

impl Session {
    /// Logs in. A project given by flag may be a name or an id: the name is tried first.
    pub(crate) async fn open(credentials: Credentials) -> Outcome<Session> {
        let identity_url = identity_url(&credentials)?;
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("antipode/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CliError::failed(format!("cannot make an HTTP client: {error}")))?;
        let first = log_in(&client, &identity_url, &credentials).await;
        let is_ambiguous = credentials.project.is_some() && credentials.project_id.is_none();
        let (credentials, gained) = match first {
            Err(refused) if refused.exit == Exit::Denied && is_ambiguous => {
                let by_id = Credentials { project_id: credentials.project.clone(), ..credentials };
                let gained = log_in(&client, &identity_url, &by_id).await?;
                (by_id, gained)
            }
            ended => (credentials, ended?),
        };
        let LoggedIn { token, project_id, csbs_url } = gained;
        Ok(Session { client, credentials, identity_url, project_id, csbs_url, token: Mutex::new(token) })
    }

    /// The project of the token.
    pub(crate) fn project_id(&self) -> Outcome<&str> {
        let missing = || CliError::usage("this needs a project: set OS_PROJECT_NAME or --project");
        self.project_id.as_deref().ok_or_else(missing)
    }

    /// The address of a path on a surface.
    fn url(&self, surface: Surface, path: &str) -> Outcome<String> {
        match surface {
            Surface::Identity => Ok(format!("{}{path}", self.identity_url)),
            Surface::Own => Ok(format!("{}/antipode/v1{path}", self.root())),
            Surface::Csbs => {
                self.project_id()?;
                Ok(format!("{}{path}", self.csbs_url.as_deref().unwrap_or_default()))
            }
        }
    }

    /// The address of the region itself.
    fn root(&self) -> &str {
        self.identity_url.strip_suffix("/identity/v3").unwrap_or(&self.identity_url)
    }

    /// Sends one request and takes any answer. A token that ended meanwhile is renewed once.
    pub(crate) async fn ask(&self, method: Method, url: &str, body: Option<&Value>) -> Outcome<Answer> {
        let answer = self.ask_once(method.clone(), url, body).await?;
        if answer.status != StatusCode::UNAUTHORIZED.as_u16() || self.credentials.token.is_some() {
            return Ok(answer);
        }
        let gained = log_in(&self.client, &self.identity_url, &self.credentials).await?;
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = gained.token;
        self.ask_once(method, url, body).await
    }

    async fn ask_once(&self, method: Method, url: &str, body: Option<&Value>) -> Outcome<Answer> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut request = self.client.request(method, url).header("X-Auth-Token", token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| unreachable_region(&error))?;
        read_answer(response).await
    }

    /// The address of a path as `antipode api` takes it: from the root, or within the project.
    pub(crate) fn free_url(&self, path: &str) -> Outcome<String> {
        match path.strip_prefix('/') {
            Some(_) => Ok(format!("{}{path}", self.root())),
            None => self.url(Surface::Csbs, &format!("/{path}")),
        }
    }

    /// Sends one request and takes success only.
    pub(crate) async fn send(
        &self,
        method: Method,
        surface: Surface,
        path: &str,
        body: Option<&Value>,
    ) -> Outcome<Answer> {
        let answer = self.ask(method, &self.url(surface, path)?, body).await?;
        if (200..300).contains(&answer.status) {
            Ok(answer)
        } else {
            Err(CliError::refused(answer.status, &answer.body))
        }
    }

    /// Reads one thing.
    pub(crate) async fn get(&self, surface: Surface, path: &str) -> Outcome<Value> {
        Ok(self.send(Method::GET, surface, path, None).await?.body)
    }

    /// Sends a body and reads the answer.
    pub(crate) async fn post(&self, surface: Surface, path: &str, body: &Value) -> Outcome<Value> {
        Ok(self.send(Method::POST, surface, path, Some(body)).await?.body)
    }

    /// Reads a whole list, page by page.
    pub(crate) async fn list(&self, surface: Surface, path: &str, key: &str) -> Outcome<Vec<Value>> {
        self.list_by(Method::GET, surface, path, None, key).await
    }

    /// The same by any method. The next page is asked for at our own address: a link names what the server
    /// believes its address is.
    pub(crate) async fn list_by(
        &self,
        method: Method,
        surface: Surface,
        path: &str,
        body: Option<&Value>,
        key: &str,
    ) -> Outcome<Vec<Value>> {
        let mut rows = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let joint = if path.contains('?') { '&' } else { '?' };
            let page = match &marker {
                Some(marker) => format!("{path}{joint}marker={marker}"),
                None => path.to_owned(),
            };
            let mut found = self.send(method.clone(), surface, &page, body).await?.body;
            let has_more = found[format!("{key}_links")].as_array().is_some_and(|links| !links.is_empty());
            let Value::Array(found) = found[key].take() else {
                return Err(CliError::failed(format!("the answer holds no list {key}")));
            };
            rows.extend(found);
            let last = rows.last().and_then(|row| row["id"].as_str()).map(str::to_owned);
            match last {
                Some(last) if has_more && marker.as_ref() != Some(&last) => marker = Some(last),
                _ => return Ok(rows),
            }
        }
    }
}

async fn log_in(client: &Client, identity_url: &str, credentials: &Credentials) -> Outcome<LoggedIn> {
    let request = client.post(format!("{identity_url}/auth/tokens")).json(&credentials.body()?);
    let response = request.send().await.map_err(|error| unreachable_region(&error))?;
    let token = response.headers().get("x-subject-token").and_then(|value| value.to_str().ok());
    let token = token.map(str::to_owned);
    let answer = read_answer(response).await?;
    if answer.status != StatusCode::CREATED.as_u16() {
        return Err(CliError::refused(answer.status, &answer.body));
    }
    let body = &answer.body["token"];
    let project_id = body["project"]["id"].as_str().map(str::to_owned);
    let csbs_url = match project_id {
        Some(_) => Some(endpoint(body, "data-protect", credentials.region.as_deref())?),
        None => None,
    };
    let token = token.ok_or_else(|| CliError::failed("the log-in answered without a token"))?;
    Ok(LoggedIn { token, project_id, csbs_url })
}

fn identity_url(credentials: &Credentials) -> Outcome<String> {
    let missing = || CliError::usage("no region to talk to: set OS_AUTH_URL or --auth-url");
    let url = credentials.auth_url.as_deref().ok_or_else(missing)?.trim_end_matches('/');
    let url = match url.strip_suffix("/identity").unwrap_or(url) {
        whole if whole.ends_with("/identity/v3") => whole.to_owned(),
        root => format!("{root}/identity/v3"),
    };
    Ok(url)
}

/// The public endpoint of a service, in the region asked for if one was.
fn endpoint(token: &Value, service_type: &str, region: Option<&str>) -> Outcome<String> {
    let services = token["catalog"].as_array().map(Vec::as_slice).unwrap_or_default();
    let services = services.iter().filter(|service| service["type"] == service_type);
    let endpoints = services.filter_map(|service| service["endpoints"].as_array()).flatten();
    let mut wanted = endpoints.filter(|endpoint| {
        endpoint["interface"] == "public" && region.is_none_or(|region| endpoint["region"] == region)
    });
    let url = wanted.next().and_then(|endpoint| endpoint["url"].as_str());
    let missing = || {
        let place = region.map_or_else(String::new, |region| format!(" in region {region}"));
        CliError::new(Exit::NotFound, format!("the catalogue has no service {service_type}{place}"))
    };
    url.map(|url| url.trim_end_matches('/').to_owned()).ok_or_else(missing)
}

async fn read_answer(mut response: reqwest::Response) -> Outcome<Answer> {
    let status = response.status().as_u16();
    let left_out = response.headers().get("x-antipode-left-out").and_then(|value| value.to_str().ok());
    let left_out = left_out.map(str::to_owned);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable_region(&error))? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(CliError::failed(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    Ok(Answer { status, left_out, body })
}

/// No answer at all: it may come once the region is back.
fn unreachable_region(error: &reqwest::Error) -> CliError {
    let mut text = format!("cannot talk to the region: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    CliError { may_pass: true, ..CliError::failed(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_identity_service_is_found_from_any_form_of_its_address() {
        for given in ["http://h:1", "http://h:1/", "http://h:1/identity", "http://h:1/identity/v3/"] {
            let credentials = Credentials { auth_url: Some(given.into()), ..Credentials::default() };
            assert_eq!(identity_url(&credentials).unwrap(), "http://h:1/identity/v3", "{given}");
        }
    }

    #[test]
    fn an_endpoint_is_chosen_by_type_and_region() {
        let endpoint_of = |region: &str| json!({ "interface": "public", "region": region, "url": format!("http://{region}/") });
        let token = json!({ "catalog": [
            { "type": "identity", "endpoints": [endpoint_of("a")] },
            { "type": "data-protect", "endpoints": [endpoint_of("a"), endpoint_of("b")] },
        ] });
        assert_eq!(endpoint(&token, "data-protect", Some("b")).unwrap(), "http://b");
        assert_eq!(endpoint(&token, "data-protect", None).unwrap(), "http://a");
        assert_eq!(endpoint(&token, "data-protect", Some("c")).unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn a_log_in_without_password_or_user_is_a_usage_error() {
        let nobody = Credentials::default().body().unwrap_err();
        assert_eq!(nobody.exit, Exit::Usage);
        let named = Credentials { username: Some("u".into()), ..Credentials::default() };
        assert_eq!(named.body().unwrap_err().exit, Exit::Usage);
    }
}
