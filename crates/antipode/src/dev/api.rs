//! A caller of one region's API, as any client would be: logs in by name and password, sends JSON, logs in
//! again when a token has ended. The stories of `dev`, `demo` and the end-to-end tests speak through it.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// No call of these stories takes long: whatever does is asynchronous.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The header that carries tokens.
const AUTH_TOKEN: &str = "X-Auth-Token";

/// A call that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ApiFailure {
    /// The region answered with an error.
    #[error("{call}: {status} {code}: {message}")]
    Refused {
        /// Method and path.
        call: String,
        /// The HTTP status.
        status: u16,
        /// The error code of the body.
        code: String,
        /// The message of the body.
        message: String,
    },
    /// There was no answer.
    #[error("{call}: no answer")]
    Unreachable {
        /// Method and path.
        call: String,
        /// Why.
        #[source]
        cause: reqwest::Error,
    },
    /// The answer was not what the API promises.
    #[error("{call}: unexpected answer: {why}")]
    Unexpected {
        /// Method and path.
        call: String,
        /// What is odd about it.
        why: String,
    },
}

impl ApiFailure {
    /// The HTTP status, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            ApiFailure::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// True when the process may simply not be there at the moment.
    pub fn is_passing(&self) -> bool {
        matches!(self, ApiFailure::Unreachable { .. } | ApiFailure::Refused { status: 502..=504, .. })
    }
}

/// Who calls.
#[derive(Clone)]
pub struct Account {
    /// The user's name.
    pub user: String,
    /// The password.
    pub password: String,
    /// The project to work in; nothing for work on the region itself.
    pub project_name: Option<String>,
}

#[derive(Clone)]
struct Session {
    token: String,
    project_id: String,
}

/// A caller of one region.
pub struct RegionApi {
    http: reqwest::Client,
    base_url: String,
    account: Account,
    session: Mutex<Option<Session>>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: TokenBody,
}

#[derive(Deserialize)]
struct TokenBody {
    project: Option<ProjectBody>,
}

#[derive(Deserialize)]
struct ProjectBody {
    id: String,
}

impl RegionApi {
    /// A caller of the region at `base_url` (without a trailing slash). Nothing is sent yet.
    pub fn new(base_url: &str, account: Account) -> RegionApi {
        crate::peer::install_crypto_provider();
        let http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("a client without certificates or proxies has nothing that can fail");
        RegionApi { http, base_url: base_url.to_owned(), account, session: Mutex::new(None) }
    }

    /// Where the region listens.
    pub fn base_url(&self) -> &str {
        &self.base_url
    }

    /// The id of the project that the account works in.
    pub async fn project_id(&self) -> Result<String, ApiFailure> {
        Ok(self.session().await?.project_id)
    }

    /// True when the region says that it is ready.
    pub async fn is_ready(&self) -> bool {
        let answer = self.http.get(format!("{}/readyz", self.base_url)).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// `GET`; `{project}` in a path stands for the project id.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiFailure> {
        self.call(Method::GET, path, None).await
    }

    /// `POST` with a JSON body.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, ApiFailure> {
        self.call(Method::POST, path, Some(body)).await
    }

    /// `PUT` without a body.
    pub async fn put(&self, path: &str) -> Result<(), ApiFailure> {
        self.call::<Option<Value>>(Method::PUT, path, None).await.map(drop)
    }

    /// `DELETE`
    pub async fn delete(&self, path: &str) -> Result<(), ApiFailure> {
        self.call::<Option<Value>>(Method::DELETE, path, None).await.map(drop)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ApiFailure> {
        let first = self.try_call(method.clone(), path, body).await;
        let Err(failure) = &first else { return first };
        if failure.status() != Some(401) {
            return first;
        }
        self.put_session(None);
        self.try_call(method, path, body).await
    }

    async fn try_call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<T, ApiFailure> {
        let session = self.session().await?;
        let path = path.replace("{project}", &session.project_id);
        let call = format!("{method} {}{path}", self.base_url);
        let mut request = self.http.request(method, format!("{}{path}", self.base_url));
        request = request.header(AUTH_TOKEN, &session.token);
        if let Some(body) = body {
            request = request.json(body);
        }
        let (status, bytes) = send(request, &call).await?;
        if !status.is_success() {
            return Err(refused(call, status, &bytes));
        }
        let text: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(text).map_err(|error| ApiFailure::Unexpected { call, why: error.to_string() })
    }

    async fn session(&self) -> Result<Session, ApiFailure> {
        let known = self.session.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(session) = known {
            return Ok(session);
        }
        let session = self.log_in().await?;
        self.put_session(Some(session.clone()));
        Ok(session)
    }

    fn put_session(&self, session: Option<Session>) {
        *self.session.lock().unwrap_or_else(PoisonError::into_inner) = session;
    }

    async fn log_in(&self) -> Result<Session, ApiFailure> {
        let url = format!("{}/identity/v3/auth/tokens", self.base_url);
        let call = format!("POST {url} as {}", self.account.user);
        let (user, password) = (&self.account.user, &self.account.password);
        let mut auth = json!({ "identity": {
            "methods": ["password"],
            "password": { "user": { "name": user, "password": password, "domain": { "id": "default" } } },
        } });
        if let Some(name) = &self.account.project_name {
            auth["scope"] = json!({ "project": { "name": name, "domain": { "id": "default" } } });
        }
        let answer = self.http.post(&url).json(&json!({ "auth": auth })).send().await;
        let answer = answer.map_err(|cause| ApiFailure::Unreachable { call: call.clone(), cause })?;
        let token =
            answer.headers().get("X-Subject-Token").and_then(|value| value.to_str().ok()).map(str::to_owned);
        let status = answer.status();
        let bytes =
            answer.bytes().await.map_err(|cause| ApiFailure::Unreachable { call: call.clone(), cause })?;
        if !status.is_success() {
            return Err(refused(call, status, &bytes));
        }
        let unexpected = |why: String| ApiFailure::Unexpected { call: call.clone(), why };
        let token = token.ok_or_else(|| unexpected("no X-Subject-Token".to_owned()))?;
        let body: TokenAnswer =
            serde_json::from_slice(&bytes).map_err(|error| unexpected(error.to_string()))?;
        Ok(Session { token, project_id: body.token.project.map_or_else(String::new, |project| project.id) })
    }
}

async fn send(request: reqwest::RequestBuilder, call: &str) -> Result<(StatusCode, Vec<u8>), ApiFailure> {
    let unreachable = |cause| ApiFailure::Unreachable { call: call.to_owned(), cause };
    let answer = request.send().await.map_err(unreachable)?;
    let status = answer.status();
    let bytes = answer.bytes().await.map_err(unreachable)?;
    Ok((status, bytes.to_vec()))
}

/// Both error bodies that the API knows: `{error_code, error_msg}` and the identity service's `{error}`.
fn refused(call: String, status: StatusCode, bytes: &[u8]) -> ApiFailure {
    let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (code, message) = match body.get("error") {
        Some(error) => (text(&error["title"]), text(&error["message"])),
        None => (text(&body["error_code"]), text(&body["error_msg"])),
    };
    ApiFailure::Refused { call, status: status.as_u16(), code, message }
}
