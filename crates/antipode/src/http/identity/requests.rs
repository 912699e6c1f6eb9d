//! What the bodies of identity requests look like, for the OpenAPI document. The readers beside the handlers
//! decide; a body that these types allow and a reader refuses is a mistake here.
#![expect(dead_code, reason = "bodies are read by hand; these types describe them in the document")]

use utoipa::ToSchema;

use crate::http::openapi::schema::{ForeignId, IdentityName, MomentGiven, RoleWord, TextGiven, choices};

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
    IdentityMethods = ByPassword | ByToken | ByApplicationCredential;
    /// By `id`, or by `name` and domain.
    UserToLogIn = UserById | UserByName;
    /// By `id`, or by `name` and domain.
    ProjectToScope = ProjectById | ProjectByName;
    /// By `id`, or by `name` and its user.
    ApplicationCredentialMethod = CredentialById | CredentialByName;
    /// By `id`, or by `name` and domain.
    CredentialUser = CredentialUserById | CredentialUserByName;
    /// By `id` or by `name`, which are the same.
    CredentialRole = CredentialRoleById | CredentialRoleByName;
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
struct ByApplicationCredential {
    #[schema(min_items = 1, max_items = 1)]
    methods: Vec<ApplicationCredentialWord>,
    application_credential: ApplicationCredentialMethod,
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
#[schema(rename_all = "snake_case")]
enum ApplicationCredentialWord {
    ApplicationCredential,
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
struct CredentialById {
    id: TextGiven,
    secret: TextGiven,
}

#[derive(ToSchema)]
struct CredentialByName {
    name: TextGiven,
    user: CredentialUser,
    secret: TextGiven,
}

#[derive(ToSchema)]
struct CredentialUserById {
    id: TextGiven,
}

#[derive(ToSchema)]
struct CredentialUserByName {
    name: TextGiven,
    domain: Option<DomainRequest>,
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
    name: Option<IdentityName>,
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
    name: IdentityName,
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
    name: Option<IdentityName>,
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
    original_password: TextGiven,
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
    name: IdentityName,
    #[schema(pattern = r"^[^\u0000]{0,255}$")]
    description: Option<String>,
    /// 8 to 128 bytes; one is made when left out.
    #[schema(pattern = r"^[\u0020-\u007e]{8,128}$")]
    secret: Option<String>,
    /// All that the token has in its project when left out or empty.
    roles: Option<Vec<CredentialRole>>,
    expires_at: Option<MomentGiven>,
    /// Whether its tokens may make and delete credentials.
    unrestricted: Option<bool>,
}

#[derive(ToSchema)]
struct CredentialRoleById {
    id: RoleWord,
}

#[derive(ToSchema)]
struct CredentialRoleByName {
    name: RoleWord,
}
