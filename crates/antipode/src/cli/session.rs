//! The client of the API: logs in once, finds the services in the catalogue, sends requests. It uses
//! the same surface as anybody else.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::time::Timestamp;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{Client, Method, Request, StatusCode, redirect};
use serde_json::Value;
use vault::ids::to_hex;
use vault::keyed_hash::hmac_sha256;
use vault::seams::Clock;

use super::error::{CliError, Exit, Outcome};
use super::login::Means;
pub(crate) use super::login::{Credentials, read_secret};
use crate::signing::{ALGORITHM, DATE, HOST, canonical_head, text_to_sign};
use crate::world::SystemClock;

/// How long one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 << 20;

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
    own_url: String,
    pass: Pass,
}

/// What opens each request.
enum Pass {
    /// A token, renewed when it has expired: waiting may take longer than a token lives.
    Token(Mutex<String>),
    /// A signature.
    Key(Key),
}

/// An access key and its secret.
struct Key {
    access_key: String,
    secret_key: String,
}

/// What a log-in gave.
struct LoggedIn {
    pass: Pass,
    identity_url: String,
    project_id: Option<String>,
    csbs_url: Option<String>,
    own_url: String,
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

impl Session {
    /// Logs in. A project given by flag may be a name or an id: the name is tried first.
    pub(crate) async fn open(credentials: Credentials) -> Outcome<Session> {
        let client = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(REQUEST_TIMEOUT)
            .user_agent(concat!("antipode/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| CliError::failed(format!("cannot make an HTTP client: {error}")))?;
        let first = log_in_somewhere(&client, &credentials).await;
        let is_ambiguous = credentials.project.is_some() && credentials.project_id.is_none();
        let (credentials, gained) = match first {
            Err(refused) if refused.exit == Exit::Denied && is_ambiguous => {
                let by_id = Credentials { project_id: credentials.project.clone(), ..credentials };
                let gained = log_in_somewhere(&client, &by_id).await?;
                (by_id, gained)
            }
            ended => (credentials, ended?),
        };
        let LoggedIn { pass, identity_url, project_id, csbs_url, own_url } = gained;
        Ok(Session { client, credentials, identity_url, project_id, csbs_url, own_url, pass })
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
            Surface::Own => Ok(format!("{}{path}", self.own_url)),
            Surface::Csbs => {
                self.project_id()?;
                Ok(format!("{}{path}", self.csbs_url.as_deref().unwrap_or_default()))
            }
        }
    }

    /// The address of the region itself.
    fn root(&self) -> &str {
        self.own_url.strip_suffix("/antipode/v1").unwrap_or(&self.own_url)
    }

    /// Sends one request and takes any answer. A token that ended meanwhile is renewed once.
    pub(crate) async fn ask(&self, method: Method, url: &str, body: Option<&Value>) -> Outcome<Answer> {
        let answer = self.ask_once(method.clone(), url, body).await?;
        let Pass::Token(token) = &self.pass else { return Ok(answer) };
        if answer.status != StatusCode::UNAUTHORIZED.as_u16() || !self.credentials.is_renewable() {
            return Ok(answer);
        }
        let gained = log_in(&self.client, &self.identity_url, &self.credentials).await?;
        if let Pass::Token(renewed) = gained.pass {
            let renewed = renewed.into_inner().unwrap_or_else(PoisonError::into_inner);
            *token.lock().unwrap_or_else(PoisonError::into_inner) = renewed;
        }
        self.ask_once(method, url, body).await
    }

    async fn ask_once(&self, method: Method, url: &str, body: Option<&Value>) -> Outcome<Answer> {
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let mut request = request.build().map_err(|error| unsendable(&error))?;
        match &self.pass {
            Pass::Key(key) => key.sign(&mut request)?,
            Pass::Token(token) => {
                let token = token.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let token = HeaderValue::try_from(token).map_err(|error| unsendable(&error))?;
                request.headers_mut().insert("x-auth-token", token);
            }
        }
        let response = self.client.execute(request).await.map_err(|error| unreachable_region(&error))?;
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

impl Key {
    /// Signs a request as the SDKs of the origin cloud do.
    fn sign(&self, request: &mut Request) -> Outcome<()> {
        let now = Timestamp::from_millis(SystemClock.now_ms());
        let date = now.utc().format("%Y%m%dT%H%M%SZ").to_string();
        let url = request.url();
        let host = url.host_str().unwrap_or_default();
        let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
        let headers = [(HOST, host.as_bytes()), (DATE, date.as_bytes())];
        let query = url.query().unwrap_or_default();
        let head = canonical_head(request.method().as_str(), url.path(), query, &headers);
        let head = head.map_err(|error| unsendable(&error))?;
        let body = request.body().and_then(|body| body.as_bytes()).unwrap_or_default();
        let text = text_to_sign(&date, &head, body);
        let signature = to_hex(&hmac_sha256(self.secret_key.as_bytes(), text.as_bytes()));
        let stated = format!(
            "{ALGORITHM} Access={}, SignedHeaders={HOST};{DATE}, Signature={signature}",
            self.access_key
        );
        for (name, value) in [(DATE, date.clone()), (HOST, host.clone()), (AUTHORIZATION.as_str(), stated)] {
            let value = HeaderValue::try_from(value).map_err(|error| unsendable(&error))?;
            request.headers_mut().insert(
                reqwest::header::HeaderName::try_from(name).map_err(|error| unsendable(&error))?,
                value,
            );
        }
        Ok(())
    }
}

/// Logs in at the first address at which there is an identity service.
async fn log_in_somewhere(client: &Client, credentials: &Credentials) -> Outcome<LoggedIn> {
    let [first, second] = identity_urls(credentials)?;
    match proved(client, &first, credentials).await {
        Err(refused) if refused.exit == Exit::NotFound => log_in(client, &second, credentials).await,
        ended => found_services(&first, credentials, ended?),
    }
}

async fn log_in(client: &Client, identity_url: &str, credentials: &Credentials) -> Outcome<LoggedIn> {
    found_services(identity_url, credentials, proved(client, identity_url, credentials).await?)
}

/// What opens requests, and the body that says where the services are.
async fn proved(client: &Client, identity_url: &str, credentials: &Credentials) -> Outcome<(Pass, Value)> {
    match credentials.means()? {
        Means::LogIn(body) => token_of(client, identity_url, &body).await,
        Means::Sign { access_key, secret_key } => {
            let key = Key { access_key, secret_key };
            let catalog = catalog_of(client, identity_url, &key).await?;
            Ok((Pass::Key(key), catalog))
        }
    }
}

fn found_services(
    identity_url: &str,
    credentials: &Credentials,
    (pass, body): (Pass, Value),
) -> Outcome<LoggedIn> {
    let is_scoped = body["catalog"].is_array();
    let csbs_url = match is_scoped {
        true => Some(endpoint(&body, "data-protect", credentials.region.as_deref())?),
        false => None,
    };
    let stated = body["project"]["id"].as_str().map(str::to_owned);
    // A catalogue alone names the project in the address of the service.
    let in_url = csbs_url.as_deref().and_then(|url| url.rsplit('/').next()).map(str::to_owned);
    let own_url = match identity_url.strip_suffix("/identity/v3") {
        Some(root) => format!("{root}/antipode/v1"),
        None if is_scoped => endpoint(&body, "antipode", credentials.region.as_deref())?,
        None => String::new(),
    };
    let identity_url = identity_url.to_owned();
    Ok(LoggedIn { pass, identity_url, project_id: stated.or(in_url), csbs_url, own_url })
}

async fn token_of(client: &Client, identity_url: &str, body: &Value) -> Outcome<(Pass, Value)> {
    let request = client.post(format!("{identity_url}/auth/tokens")).json(body);
    let response = request.send().await.map_err(|error| unreachable_region(&error))?;
    let token = response.headers().get("x-subject-token").and_then(|value| value.to_str().ok());
    let token = token.map(str::to_owned);
    let mut answer = read_answer(response).await?;
    if answer.status != StatusCode::CREATED.as_u16() {
        return Err(CliError::refused(answer.status, &answer.body));
    }
    let token = token.ok_or_else(|| CliError::failed("the log-in answered without a token"))?;
    Ok((Pass::Token(Mutex::new(token)), answer.body["token"].take()))
}

async fn catalog_of(client: &Client, identity_url: &str, key: &Key) -> Outcome<Value> {
    let request = client.get(format!("{identity_url}/auth/catalog")).build();
    let mut request = request.map_err(|error| unsendable(&error))?;
    key.sign(&mut request)?;
    let response = client.execute(request).await.map_err(|error| unreachable_region(&error))?;
    let answer = read_answer(response).await?;
    if answer.status != StatusCode::OK.as_u16() {
        return Err(CliError::refused(answer.status, &answer.body));
    }
    Ok(answer.body)
}

/// Where the identity service may be: the region's own, or a Keystone elsewhere.
fn identity_urls(credentials: &Credentials) -> Outcome<[String; 2]> {
    let missing = || CliError::usage("no region to talk to: set OS_AUTH_URL or --auth-url");
    let url = credentials.auth_url.as_deref().ok_or_else(missing)?.trim_end_matches('/');
    if let Some(root) = url.strip_suffix("/identity/v3").or_else(|| url.strip_suffix("/identity")) {
        return Ok([format!("{root}/identity/v3"), format!("{root}/v3")]);
    }
    match url.strip_suffix("/v3") {
        Some(root) => Ok([url.to_owned(), format!("{root}/identity/v3")]),
        None => Ok([format!("{url}/identity/v3"), format!("{url}/v3")]),
    }
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

/// Something that cannot be put into a request.
fn unsendable(error: &dyn std::fmt::Display) -> CliError {
    CliError::usage(format!("the request cannot be sent: {error}"))
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
    use serde_json::json;

    use super::*;

    #[test]
    fn the_identity_service_is_found_from_any_form_of_its_address() {
        for (given, first) in [
            ("http://h:1", "http://h:1/identity/v3"),
            ("http://h:1/", "http://h:1/identity/v3"),
            ("http://h:1/identity", "http://h:1/identity/v3"),
            ("http://h:1/identity/v3/", "http://h:1/identity/v3"),
            ("http://h:1/v3", "http://h:1/v3"),
        ] {
            let credentials = Credentials { auth_url: Some(given.into()), ..Credentials::default() };
            assert_eq!(identity_urls(&credentials).unwrap()[0], first, "{given}");
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
}
