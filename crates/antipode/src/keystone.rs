//! The client of a Keystone elsewhere: has tokens validated there, as a service user of its own.
//!
//! Its address and its certificates are configuration; redirects are off; an answer has a size and a time.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use control::identity::{ForeignToken, IdentityElsewhere, LookingUp, NoAnswer};
use model::identity::Role;
use model::ids::ProjectId;
use model::time::Timestamp;
use reqwest::header::HeaderValue;
use reqwest::{Certificate, Client, Response, StatusCode, redirect};
use serde_json::{Value, json};

use crate::config::Identity;
use crate::serve::StartError;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;
const SUBJECT_TOKEN: &str = "x-subject-token";

/// A Keystone, and the user that asks it.
pub struct Keystone {
    client: Client,
    /// With `/v3`, without a slash at the end.
    url: String,
    user: String,
    user_domain: String,
    project: String,
    project_domain: String,
    password_file: PathBuf,
    roles: BTreeMap<String, Vec<Role>>,
    /// Our own token there, renewed when it is refused.
    token: Mutex<Option<HeaderValue>>,
}

impl Keystone {
    /// The Keystone of a configuration; nothing when it names none.
    pub fn of(identity: &Identity) -> Result<Option<Keystone>, StartError> {
        let (Some(url), Some(password_file)) = (&identity.keystone_url, &identity.password_file) else {
            return Ok(None);
        };
        let timeout = Duration::from_secs(identity.timeout_seconds);
        let builder = Client::builder().redirect(redirect::Policy::none()).timeout(timeout).no_proxy();
        let builder = match &identity.ca_file {
            Some(path) => {
                let pem = std::fs::read(path).map_err(|cause| StartError::io("reading", path, cause))?;
                let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| {
                    StartError::Refused(format!("{} holds no certificates: {error}", path.display()))
                })?;
                builder.tls_certs_only(certificates)
            }
            None => builder,
        };
        let client = builder
            .build()
            .map_err(|error| StartError::Refused(format!("cannot make an HTTP client: {error}")))?;
        let url = if url.ends_with("/v3") { url.clone() } else { format!("{url}/v3") };
        let keystone = Keystone {
            client,
            url,
            user: identity.user.clone(),
            user_domain: identity.user_domain.clone(),
            project: identity.project.clone(),
            project_domain: identity.project_domain.clone(),
            password_file: password_file.clone(),
            roles: identity.roles.by_name(),
            token: Mutex::default(),
        };
        // A start that cannot read it says so at once.
        keystone.password().map_err(|failure| StartError::Refused(failure.0))?;
        Ok(Some(keystone))
    }

    /// Asks once, and once more with a new token of ours when the first was refused.
    async fn ask(&self, subject: HeaderValue) -> Result<Option<ForeignToken>, NoAnswer> {
        let known = self.token.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let is_known = known.is_some();
        let token = match known {
            Some(token) => token,
            None => self.log_in().await?,
        };
        let mut response = self.validate(token, subject.clone()).await?;
        if response.status() == StatusCode::UNAUTHORIZED && is_known {
            response = self.validate(self.log_in().await?, subject).await?;
        }
        match response.status() {
            StatusCode::OK => self.read_token(&read_json(response).await?).map(Some),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(NoAnswer(format!("it answered {status} to our own user"))),
        }
    }

    async fn validate(&self, token: HeaderValue, subject: HeaderValue) -> Result<Response, NoAnswer> {
        let request = self.client.get(format!("{}/auth/tokens?nocatalog", self.url));
        let request = request.header("x-auth-token", token).header(SUBJECT_TOKEN, subject);
        request.send().await.map_err(no_answer)
    }

    async fn log_in(&self) -> Result<HeaderValue, NoAnswer> {
        let user = json!({
            "name": self.user, "domain": { "name": self.user_domain }, "password": self.password()?,
        });
        let identity = json!({ "methods": ["password"], "password": { "user": user } });
        let scope = json!({ "project": { "name": self.project, "domain": { "name": self.project_domain } } });
        let body = json!({ "auth": { "identity": identity, "scope": scope } });
        let request = self.client.post(format!("{}/auth/tokens?nocatalog", self.url)).json(&body);
        let response = request.send().await.map_err(no_answer)?;
        if response.status() != StatusCode::CREATED {
            let status = response.status();
            return Err(NoAnswer(format!("it answered {status} to the log-in of user {}", self.user)));
        }
        let token = response.headers().get(SUBJECT_TOKEN).cloned();
        let mut token = token.ok_or_else(|| NoAnswer("its log-in gave no token".to_owned()))?;
        token.set_sensitive(true);
        *self.token.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.clone());
        Ok(token)
    }

    /// Read anew for each log-in, so that it can be changed.
    fn password(&self) -> Result<String, NoAnswer> {
        let text = std::fs::read_to_string(&self.password_file)
            .map_err(|error| NoAnswer(format!("cannot read {}: {error}", self.password_file.display())))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    }

    fn read_token(&self, body: &Value) -> Result<ForeignToken, NoAnswer> {
        let odd = |what: &str| NoAnswer(format!("its answer holds no {what}"));
        let token = &body["token"];
        let text = |value: &Value, what: &str| value.as_str().map(str::to_owned).ok_or_else(|| odd(what));
        let moment = |key: &str| token[key].as_str().and_then(Timestamp::parse).ok_or_else(|| odd(key));
        let project = match &token["project"] {
            Value::Null => None,
            project => {
                let id: ProjectId =
                    text(&project["id"], "project id")?.parse().map_err(|_| odd("project id"))?;
                Some((id, text(&project["name"], "project name")?))
            }
        };
        let named = token["roles"].as_array().map(Vec::as_slice).unwrap_or_default();
        let named = named.iter().filter_map(|role| self.roles.get(role["name"].as_str()?));
        let mut roles: Vec<Role> = named.flatten().copied().collect();
        roles.sort();
        roles.dedup();
        Ok(ForeignToken {
            user_id: text(&token["user"]["id"], "user id")?,
            user_name: text(&token["user"]["name"], "user name")?,
            project,
            roles,
            issued_at: moment("issued_at")?,
            expires_at: moment("expires_at")?,
        })
    }
}

impl IdentityElsewhere for Keystone {
    fn look_up<'a>(&'a self, token: &'a str) -> LookingUp<'a> {
        Box::pin(async move {
            // What cannot stand in a header is no token.
            let Ok(mut subject) = HeaderValue::from_str(token) else { return Ok(None) };
            subject.set_sensitive(true);
            self.ask(subject).await
        })
    }
}

async fn read_json(mut response: Response) -> Result<Value, NoAnswer> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_answer)? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Err(NoAnswer(format!("its answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
        bytes.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&bytes).map_err(|error| NoAnswer(format!("its answer is no JSON: {error}")))
}

/// With all causes: the outermost says nearly nothing.
fn no_answer(error: reqwest::Error) -> NoAnswer {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text.push_str(&format!(": {inner}"));
        cause = inner.source();
    }
    NoAnswer(text)
}
