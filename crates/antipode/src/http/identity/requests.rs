//! What the bodies of identity requests look like, for the OpenAPI document. The readers beside the handlers
//! decide; a body that these types allow and a reader refuses is a mistake here.
#![expect(dead_code, reason = "bodies are read by hand; these types describe them in the document")]

use utoipa::ToSchema;

use crate::http::openapi::schema::{ForeignId, IdentityName, TextGiven, choices};

/// The body of `logIn`.
#[derive(ToSchema)]
#[schema(example = json!({ "auth": {
    "identity": {
        "methods": ["password"],
        "password": { "user": { "name": "demo", "domain": { "name": "Default" }, "password": "not a real one" } },
    },
    "scope": { "project": { "name": "cn-north-1", "domain": { "name": "Default" } } },
} }))]
pub(crate) struct LogInRequest {
    auth: AuthRequest,
}

#[derive(ToSchema)]
struct AuthRequest {
    identity: IdentityMethods,
    /// What the token is to be good for; nothing but looking around when left out.
    scope: Option<ScopeRequest>,
}

choices! {
    /// By which means. The first of `methods` counts.
    IdentityMethods = ByPassword | ByToken;
    /// By `id`, or by `name` and domain.
    UserToLogIn = UserById | UserByName;
    /// By `id`, or by `name` and domain.
    ProjectToScope = ProjectById | ProjectByName;
}

#[derive(ToSchema)]
struct ByPassword {
    #[schema(min_items = 1, max_items = 1)]
    methods: Vec<PasswordWord>,
    password: PasswordMethod,
}

#[derive(ToSchema)]
struct ByToken {
    #[schema(min_items = 1, max_items = 1)]
    methods: Vec<TokenWord>,
    token: TokenMethod,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum PasswordWord {
    Password,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum TokenWord {
    Token,
}

#[derive(ToSchema)]
struct PasswordMethod {
    user: UserToLogIn,
}

#[derive(ToSchema)]
struct UserById {
    id: TextGiven,
    password: TextGiven,
}

#[derive(ToSchema)]
struct UserByName {
    name: TextGiven,
    domain: Option<DomainRequest>,
    password: TextGiven,
}

/// The one domain there is. May be left out.
#[derive(ToSchema)]
struct DomainRequest {
    id: Option<TextGiven>,
    name: Option<TextGiven>,
}

#[derive(ToSchema)]
struct TokenMethod {
    /// A token that is good already.
    id: TextGiven,
}

#[derive(ToSchema)]
struct ScopeRequest {
    project: ProjectToScope,
}

#[derive(ToSchema)]
struct ProjectById {
    id: TextGiven,
}

#[derive(ToSchema)]
struct ProjectByName {
    name: TextGiven,
    domain: Option<DomainRequest>,
}

/// The body of `createProject`.
#[derive(ToSchema)]
pub(crate) struct ProjectRequest {
    project: NewProjectBody,
}

#[derive(ToSchema)]
struct NewProjectBody {
    /// A new one when left out.
    id: Option<ForeignId>,
    /// Unique in the region.
    name: IdentityName,
}

/// The body of `createUser`.
#[derive(ToSchema)]
pub(crate) struct UserRequest {
    user: NewUserBody,
}

#[derive(ToSchema)]
struct NewUserBody {
    /// Unique in the region.
    name: IdentityName,
    /// 8 to 128 bytes.
    #[schema(pattern = r"^[\u0020-\u007e]{8,128}$")]
    password: String,
}
