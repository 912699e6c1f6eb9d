//! What the bodies of identity requests look like, for the OpenAPI document. The readers beside the handlers
//! decide; a body that these types allow and a reader refuses is a mistake here.
#![expect(dead_code, reason = "bodies are read by hand; these types describe them in the document")]

use utoipa::ToSchema;

use crate::http::openapi::schema::ForeignId;

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

/// By which means. The first of the methods counts, and its member must be there.
#[derive(ToSchema)]
struct IdentityMethods {
    #[schema(min_items = 1, max_items = 1)]
    methods: Vec<LogInMethod>,
    password: Option<PasswordMethod>,
    token: Option<TokenMethod>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum LogInMethod {
    Password,
    Token,
}

#[derive(ToSchema)]
struct PasswordMethod {
    user: UserToLogIn,
}

/// By `id`, or by `name` and domain.
#[derive(ToSchema)]
struct UserToLogIn {
    #[schema(pattern = r"^[^\u0000]*$")]
    id: Option<String>,
    #[schema(pattern = r"^[^\u0000]*$")]
    name: Option<String>,
    domain: Option<DomainRequest>,
    #[schema(pattern = r"^[^\u0000]*$")]
    password: String,
}

/// The one domain there is. May be left out.
#[derive(ToSchema)]
struct DomainRequest {
    #[schema(pattern = r"^[^\u0000]*$")]
    id: Option<String>,
    #[schema(pattern = r"^[^\u0000]*$")]
    name: Option<String>,
}

#[derive(ToSchema)]
struct TokenMethod {
    /// A token that is good already.
    #[schema(pattern = r"^[^\u0000]*$")]
    id: String,
}

#[derive(ToSchema)]
struct ScopeRequest {
    project: ProjectToScope,
}

/// By `id`, or by `name` and domain.
#[derive(ToSchema)]
struct ProjectToScope {
    #[schema(pattern = r"^[^\u0000]*$")]
    id: Option<String>,
    #[schema(pattern = r"^[^\u0000]*$")]
    name: Option<String>,
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
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    name: String,
}

/// The body of `createUser`.
#[derive(ToSchema)]
pub(crate) struct UserRequest {
    user: NewUserBody,
}

#[derive(ToSchema)]
struct NewUserBody {
    /// Unique in the region.
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    name: String,
    /// 8 to 128 bytes.
    #[schema(pattern = r"^[\u0020-\u007e]{8,128}$")]
    password: String,
}
