//! What the bodies of identity requests look like, for the OpenAPI document. The readers beside the handlers
//! decide; a body that these types allow and a reader refuses is a mistake here.
#![expect(dead_code, reason = "bodies are read by hand; these types describe them in the document")]

use utoipa::ToSchema;

use crate::http::openapi::schema::{ForeignId, MomentGiven, RoleWord};

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
    application_credential: Option<ApplicationCredentialMethod>,
}

#[derive(ToSchema)]
#[schema(rename_all = "snake_case")]
enum LogInMethod {
    Password,
    Token,
    ApplicationCredential,
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

/// By `id`, or by `name` and its user.
#[derive(ToSchema)]
struct ApplicationCredentialMethod {
    #[schema(pattern = r"^[^\u0000]*$")]
    id: Option<String>,
    #[schema(pattern = r"^[^\u0000]*$")]
    name: Option<String>,
    user: Option<UserOfCredential>,
    #[schema(pattern = r"^[^\u0000]*$")]
    secret: String,
}

/// By `id`, or by `name` and domain.
#[derive(ToSchema)]
struct UserOfCredential {
    #[schema(pattern = r"^[^\u0000]*$")]
    id: Option<String>,
    #[schema(pattern = r"^[^\u0000]*$")]
    name: Option<String>,
    domain: Option<DomainRequest>,
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
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    description: Option<String>,
    enabled: Option<bool>,
}

/// The body of `updateProject`.
#[derive(ToSchema)]
pub(crate) struct ProjectChangeRequest {
    project: ChangedProjectBody,
}

/// What is left out stays.
#[derive(ToSchema)]
struct ChangedProjectBody {
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    name: Option<String>,
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    description: Option<String>,
    enabled: Option<bool>,
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
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    description: Option<String>,
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    email: Option<String>,
    /// The project of a log-in that names none.
    default_project_id: Option<ForeignId>,
    enabled: Option<bool>,
}

/// The body of `updateUser`.
#[derive(ToSchema)]
pub(crate) struct UserChangeRequest {
    user: ChangedUserBody,
}

/// What is left out stays.
#[derive(ToSchema)]
struct ChangedUserBody {
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    name: Option<String>,
    /// 8 to 128 bytes.
    #[schema(pattern = r"^[\u0020-\u007e]{8,128}$")]
    password: Option<String>,
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    description: Option<String>,
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    email: Option<String>,
    /// The project of a log-in that names none.
    default_project_id: Option<ForeignId>,
    enabled: Option<bool>,
}

/// The body of `changePassword`.
#[derive(ToSchema)]
pub(crate) struct PasswordRequest {
    user: PasswordBody,
}

#[derive(ToSchema)]
struct PasswordBody {
    #[schema(pattern = r"^[^\u0000]*$")]
    original_password: String,
    /// 8 to 128 bytes.
    #[schema(pattern = r"^[\u0020-\u007e]{8,128}$")]
    password: String,
}

/// The body of `createAppCredential`.
#[derive(ToSchema)]
pub(crate) struct ApplicationCredentialRequest {
    application_credential: NewApplicationCredentialBody,
}

#[derive(ToSchema)]
struct NewApplicationCredentialBody {
    /// Unique among the user's.
    #[schema(pattern = r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$")]
    name: String,
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    description: Option<String>,
    /// 8 to 128 bytes; one is made when left out.
    #[schema(pattern = r"^[\u0020-\u007e]{8,128}$")]
    secret: Option<String>,
    /// All that the token has in its project when left out or empty.
    roles: Option<Vec<RoleOfCredential>>,
    expires_at: Option<MomentGiven>,
    /// Whether its tokens may make and delete credentials.
    unrestricted: Option<bool>,
}

/// By `id` or by `name`, which are the same.
#[derive(ToSchema)]
struct RoleOfCredential {
    id: Option<RoleWord>,
    name: Option<RoleWord>,
}
