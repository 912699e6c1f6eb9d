//! How somebody logs in, from the body of `POST /identity/v3/auth/tokens`.

use control::identity::{Login, LoginCredential, LoginScope, LoginUser};
use control::{Error, Kind, Reason};
use model::identity::{DOMAIN_ID, DOMAIN_NAME};
use serde_json::Value;

use super::optional_text;
use crate::http::error::IdentityError;
use crate::http::reader::{Field, Object};

/// Reads a log-in. A thing that cannot exist is a wrong one: all wrong log-ins look the same.
pub(super) fn read_login(body: &Value) -> Result<Login, IdentityError> {
    let auth = Object::wrapped(body, "auth")?;
    let scope = read_scope(auth.field("scope"))?;
    let identity = auth.field("identity").object()?;
    let methods = identity.field("methods");
    let words = methods.clone().list()?;
    let [method] = words.as_slice() else {
        return Err(methods.refused("must hold one of password, token and application_credential").into());
    };
    match method.text()? {
        "password" => {
            let user = identity.field("password").object()?.field("user").object()?;
            let password = user.field("password").text()?.to_owned();
            Ok(Login::Password { user: read_user(&user)?, password, scope })
        }
        "token" => {
            let token = identity.field("token").object()?.field("id").text()?.to_owned();
            Ok(Login::Token { token, scope })
        }
        "application_credential" => {
            let credential = identity.field("application_credential").object()?;
            let secret = credential.field("secret").text()?.to_owned();
            Ok(Login::ApplicationCredential { credential: read_credential(&credential)?, secret, scope })
        }
        _ => Err(methods.refused("must hold one of password, token and application_credential").into()),
    }
}

fn read_user(user: &Object<'_>) -> Result<LoginUser, IdentityError> {
    let id = user.field("id");
    if id.is_given() {
        return Ok(LoginUser::Id(id.text()?.parse().map_err(|_| wrong_login())?));
    }
    check_domain(user.field("domain"))?;
    Ok(LoginUser::Name(user.field("name").text()?.to_owned()))
}

fn read_credential(credential: &Object<'_>) -> Result<LoginCredential, IdentityError> {
    let id = credential.field("id");
    if id.is_given() {
        return Ok(LoginCredential::Id(id.text()?.parse().map_err(|_| wrong_login())?));
    }
    let name = credential.field("name").text()?.to_owned();
    Ok(LoginCredential::Name { user: read_user(&credential.field("user").object()?)?, name })
}

fn read_scope(field: Field<'_>) -> Result<LoginScope, IdentityError> {
    if !field.is_given() {
        return Ok(LoginScope::Unsaid);
    }
    if field.value()?.as_str() == Some("unscoped") {
        return Ok(LoginScope::Unscoped);
    }
    let scope = field.object()?;
    for other in ["domain", "system", "OS-TRUST:trust"] {
        if scope.field(other).is_given() {
            return Err(scope.field(other).refused("tokens are for a project or for none").into());
        }
    }
    if scope.field("unscoped").is_given() {
        return Ok(LoginScope::Unscoped);
    }
    let project = scope.field("project").object()?;
    let id = project.field("id");
    if id.is_given() {
        return Ok(LoginScope::ProjectId(id.text()?.parse().map_err(|_| wrong_login())?));
    }
    check_domain(project.field("domain"))?;
    Ok(LoginScope::ProjectName(project.field("name").text()?.to_owned()))
}

/// There is one domain; left out, it is meant.
fn check_domain(field: Field<'_>) -> Result<(), IdentityError> {
    let Some(domain) = field.optional(Field::object)? else { return Ok(()) };
    let (id, name) = (optional_text(domain.field("id"))?, optional_text(domain.field("name"))?);
    let is_ours = id.is_none_or(|id| id.eq_ignore_ascii_case(DOMAIN_ID))
        && name.is_none_or(|name| name.eq_ignore_ascii_case(DOMAIN_NAME));
    if is_ours { Ok(()) } else { Err(wrong_login().into()) }
}

/// The one answer to every log-in that fails, whatever was wrong with it.
pub(super) fn wrong_login() -> Error {
    let message = "the user, the password, the secret, the token or the project is wrong";
    Error::new(Kind::Unauthenticated, Reason::NotLoggedIn, message)
}
