//! Where to log in, and as whom: flags first, then the `OS_…` variables that clients of Keystone use.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::error::{CliError, Outcome};

/// What somebody logs in with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    /// The identity service, such as `http://127.0.0.1:8780/identity/v3`.
    pub(crate) auth_url: Option<String>,
    /// How to log in, such as `v3applicationcredential`; follows from what is there if left out.
    pub(crate) auth_type: Option<String>,
    /// The user's name.
    pub(crate) username: Option<String>,
    /// A file whose first line is the password.
    pub(crate) password_file: Option<PathBuf>,
    /// The password, from the environment only.
    pub(crate) password: Option<String>,
    /// A token instead of a password.
    pub(crate) token: Option<String>,
    /// The id of an application credential.
    pub(crate) application_credential_id: Option<String>,
    /// Its name, in place of its id.
    pub(crate) application_credential_name: Option<String>,
    /// Its secret.
    pub(crate) application_credential_secret: Option<String>,
    /// An access key.
    pub(crate) access_key: Option<String>,
    /// Its secret.
    pub(crate) secret_key: Option<String>,
    /// The domain of the user, by name.
    pub(crate) user_domain: Option<String>,
    /// The domain of the project, by name.
    pub(crate) project_domain: Option<String>,
    /// The project, by name or id.
    pub(crate) project: Option<String>,
    /// The project by id, from the environment.
    pub(crate) project_id: Option<String>,
    /// The region whose endpoints are wanted.
    pub(crate) region: Option<String>,
}

/// How to log in.
#[derive(Clone, Debug)]
pub(crate) enum Means {
    /// With a log-in, whose body this is.
    LogIn(Value),
    /// By signing each request.
    Sign {
        /// The access key.
        access_key: String,
        /// Its secret.
        secret_key: String,
    },
}

impl Credentials {
    /// Fills what flags left open from the environment, the one place where it is read.
    pub(crate) fn or_environment(mut self) -> Credentials {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.auth_url = self.auth_url.or_else(|| variable("OS_AUTH_URL"));
        self.auth_type = variable("OS_AUTH_TYPE");
        self.username = self.username.or_else(|| variable("OS_USERNAME"));
        self.password = variable("OS_PASSWORD");
        self.token = variable("OS_TOKEN");
        self.application_credential_id = variable("OS_APPLICATION_CREDENTIAL_ID");
        self.application_credential_name = variable("OS_APPLICATION_CREDENTIAL_NAME");
        self.application_credential_secret = variable("OS_APPLICATION_CREDENTIAL_SECRET");
        self.access_key = variable("OS_ACCESS_KEY");
        self.secret_key = variable("OS_SECRET_KEY");
        self.user_domain = variable("OS_USER_DOMAIN_NAME");
        self.project_domain = variable("OS_PROJECT_DOMAIN_NAME");
        if self.project.is_none() {
            self.project_id = variable("OS_PROJECT_ID");
            self.project = variable("OS_PROJECT_NAME");
        }
        self.region = self.region.or_else(|| variable("OS_REGION_NAME"));
        self
    }

    /// How to log in with what is there.
    pub(crate) fn means(&self) -> Outcome<Means> {
        let identity = match self.method()? {
            "token" => {
                let token = needed(&self.token, "no token: set OS_TOKEN")?;
                json!({ "methods": ["token"], "token": { "id": token } })
            }
            "application_credential" => return Ok(Means::LogIn(self.by_application_credential()?)),
            "access_key" => {
                return Ok(Means::Sign {
                    access_key: needed(&self.access_key, "no access key: set OS_ACCESS_KEY")?,
                    secret_key: needed(&self.secret_key, "no secret of the access key: set OS_SECRET_KEY")?,
                });
            }
            _ => {
                let name = needed(&self.username, "no user: set OS_USERNAME or --username")?;
                let user = json!({ "name": name, "domain": domain(&self.user_domain), "password": self.password()? });
                json!({ "methods": ["password"], "password": { "user": user } })
            }
        };
        let scope = match (&self.project_id, &self.project) {
            (Some(id), _) => json!({ "project": { "id": id } }),
            (None, Some(name)) => {
                json!({ "project": { "name": name, "domain": domain(&self.project_domain) } })
            }
            (None, None) => json!("unscoped"),
        };
        Ok(Means::LogIn(json!({ "auth": { "identity": identity, "scope": scope } })))
    }

    /// Whether a token that ended can be had anew.
    pub(crate) fn is_renewable(&self) -> bool {
        !matches!(self.method(), Ok("token" | "access_key"))
    }

    /// The stated type of log-in, else the first that there is something for.
    fn method(&self) -> Outcome<&'static str> {
        if let Some(stated) = &self.auth_type {
            return match stated.as_str() {
                "password" | "v3password" => Ok("password"),
                "token" | "v3token" => Ok("token"),
                "v3applicationcredential" => Ok("application_credential"),
                other => Err(CliError::usage(format!(
                    "OS_AUTH_TYPE is {other}: it may be password, token or v3applicationcredential"
                ))),
            };
        }
        Ok(match self {
            Credentials { token: Some(_), .. } => "token",
            Credentials { application_credential_secret: Some(_), .. } => "application_credential",
            Credentials { access_key: Some(_), .. } => "access_key",
            _ => "password",
        })
    }

    /// An application credential brings its project with it.
    fn by_application_credential(&self) -> Outcome<Value> {
        let missing = "no secret of the application credential: set OS_APPLICATION_CREDENTIAL_SECRET";
        let secret = needed(&self.application_credential_secret, missing)?;
        let credential = match (&self.application_credential_id, &self.application_credential_name) {
            (Some(id), _) => json!({ "id": id, "secret": secret }),
            (None, Some(name)) => {
                let user = needed(&self.username, "the name of an application credential needs OS_USERNAME")?;
                let user = json!({ "name": user, "domain": domain(&self.user_domain) });
                json!({ "name": name, "secret": secret, "user": user })
            }
            (None, None) => {
                return Err(CliError::usage("no application credential: set OS_APPLICATION_CREDENTIAL_ID"));
            }
        };
        let methods = json!(["application_credential"]);
        let identity = json!({ "methods": methods, "application_credential": credential });
        Ok(json!({ "auth": { "identity": identity } }))
    }

    /// The password: from a file, else from the environment; never from an argument, where others see it.
    fn password(&self) -> Outcome<String> {
        if let Some(path) = &self.password_file {
            return read_secret(path);
        }
        needed(&self.password, "no password: set OS_PASSWORD or --password-file")
    }
}

/// The first line of a file.
pub(crate) fn read_secret(path: &Path) -> Outcome<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| CliError::usage(format!("cannot read {}: {error}", path.display())))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn needed(value: &Option<String>, missing: &str) -> Outcome<String> {
    value.clone().ok_or_else(|| CliError::usage(missing))
}

fn domain(name: &Option<String>) -> Value {
    json!({ "name": name.as_deref().unwrap_or(model::identity::DOMAIN_NAME) })
}

#[cfg(test)]
mod tests {
    use super::super::error::Exit;
    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn identity(credentials: &Credentials) -> Value {
        match credentials.means().unwrap() {
            Means::LogIn(body) => body["auth"]["identity"].clone(),
            Means::Sign { access_key, .. } => json!({ "signs": access_key }),
        }
    }

    #[test]
    fn a_log_in_without_what_it_needs_is_a_usage_error() {
        let named = Credentials { username: some("u"), ..Credentials::default() };
        let secretless = Credentials { access_key: some("A"), ..Credentials::default() };
        let nameless = Credentials { application_credential_secret: some("s"), ..Credentials::default() };
        let odd = Credentials { auth_type: some("v2password"), ..named.clone() };
        for credentials in [Credentials::default(), named, secretless, nameless, odd] {
            assert_eq!(credentials.means().unwrap_err().exit, Exit::Usage, "{credentials:?}");
        }
    }

    #[test]
    fn what_is_there_decides_how_to_log_in_unless_the_type_is_stated() {
        let mut all = Credentials {
            username: some("u"),
            password: some("p"),
            access_key: some("A"),
            secret_key: some("S"),
            ..Credentials::default()
        };
        assert_eq!(identity(&all), json!({ "signs": "A" }));
        (all.application_credential_id, all.application_credential_secret) = (some("i"), some("s"));
        assert_eq!(identity(&all)["application_credential"], json!({ "id": "i", "secret": "s" }));
        all.token = some("t");
        assert_eq!(identity(&all)["token"]["id"], "t");
        all.auth_type = some("v3applicationcredential");
        assert_eq!(identity(&all)["methods"], json!(["application_credential"]));
        all.auth_type = some("password");
        assert_eq!(identity(&all)["password"]["user"]["domain"]["name"], "Default");
    }
}
