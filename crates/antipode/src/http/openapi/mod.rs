//! The OpenAPI document, grown from the same table as the router: a [`Routes`] takes handlers only with
//! their descriptions, so a route that is not described cannot be written.
//!
//! What a handler's attribute leaves out is filled in here, once for all: the parameters of its path
//! ([`parameters`]), the refusals ([`refusals`]), the token. Types that answers and bodies share are in
//! [`schema`]. How to add a route stands in `ARCHITECTURE.md`.

pub(crate) mod parameters;
pub(crate) mod refusals;
pub(crate) mod schema;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::schema::Schema;
use utoipa::openapi::security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    Components, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, RefOr, ServerBuilder,
};
use utoipa_axum::router::UtoipaMethodRouter;

use super::Api;

/// The name of the security scheme that is a token in a header.
const TOKEN: &str = "token";

/// The families of operations, in the order in which the document shows them.
const TAGS: [(&str, &str); 12] = [
    ("policies", "Which servers are backed up, when, where the backups go, and how long they are kept."),
    (
        "backups",
        "Making, finding and deleting backups. A checkpoint is one run; a checkpoint item is the backup of one server in it, and what is restored or replicated.",
    ),
    ("replication", "Copying backups to other regions, and the records of it."),
    ("restores", "Writing a backup onto the volumes of a registered server."),
    ("project", "What a project may hold, and what was done in it."),
    (
        "servers",
        "The servers that can be backed up. Registered by the operator, seen by the project that owns them.",
    ),
    ("quarantine", "Deleted and expired backups that can still be had back."),
    ("grants", "Which projects of other regions may bring replicas into a project."),
    ("regions", "This region and those it is paired with. For the operator."),
    ("identity", "Logging in, projects, users and roles: a subset of Keystone v3."),
    ("credentials", "Access keys, with which programs sign requests instead of carrying a token."),
    ("service", "What load balancers, clients and people ask first. Needs no token."),
];

const ABOUT: &str = "Self-hosted backup of whole servers, with replication to other regions. \
Paths under `/v1` are the CSBS v1 API, those under `/identity/v3` a subset of Keystone v3, and those under \
`/antipode/v1` say what the inherited APIs have no words for.\n\n\
Log in with `POST /identity/v3/auth/tokens` and send the `X-Subject-Token` of the answer as `X-Auth-Token` \
with every other request. The token must be scoped to the project in the path.\n\n\
Moments are UTC, without a zone, except where a pattern says otherwise. Sizes of CSBS bodies are whole MiB or GiB as \
each field says, everything called `…_bytes` is bytes. Keys of a body that nobody asks for are ignored, and a key that \
is `null` counts as left out. A list that has more carries a `…_links` member with the absolute address of its next page.";

/// Routes and their descriptions, grown together.
pub(super) struct Routes {
    router: Router<Api>,
    paths: Paths,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Routes {
    pub(super) fn new() -> Routes {
        Routes { router: Router::new(), paths: Paths::new(), schemas: BTreeMap::new() }
    }

    /// One line of the table: a path, and the handlers of its methods. Each handler's attribute names the
    /// path as well, for whoever reads it there; this is where the two are compared.
    pub(super) fn at(mut self, path: &str, described: UtoipaMethodRouter<Api>) -> Routes {
        let (schemas, items, handlers) = described;
        for (stated, item) in items.paths {
            assert_eq!(stated, path, "a handler's attribute names another path than the table");
            self.add_path(path, item);
        }
        self.add_schemas(schemas);
        self.router = self.router.route(path, handlers);
        self
    }

    /// The same, with and without a slash at the end: clients that join addresses ask for either.
    pub(super) fn at_slashed(mut self, path: &str, described: UtoipaMethodRouter<Api>) -> Routes {
        let handlers = described.2.clone();
        self = self.at(path, described);
        self.router = self.router.route(&format!("{path}/"), handlers);
        self
    }

    /// A family of routes below a common beginning.
    pub(super) fn under(mut self, beginning: &str, family: Routes) -> Routes {
        for (path, item) in family.paths.paths {
            self.add_path(&format!("{beginning}{path}"), item);
        }
        self.add_schemas(family.schemas);
        self.router = self.router.nest(beginning, family.router);
        self
    }

    fn add_path(&mut self, path: &str, item: PathItem) {
        let was = self.paths.paths.insert(path.to_owned(), item);
        assert!(was.is_none(), "two lines of the table have the path {path}");
    }

    /// Two types of one name would describe each other's bodies wrongly, and nobody would notice.
    fn add_schemas(&mut self, schemas: impl IntoIterator<Item = (String, RefOr<Schema>)>) {
        for (name, schema) in schemas {
            let known = self.schemas.entry(name.clone()).or_insert_with(|| schema.clone());
            assert!(*known == schema, "two types are called {name} in the document: give one of them `as`");
        }
    }

    /// What serves the routes.
    pub(super) fn into_router(self) -> Router<Api> {
        self.router
    }

    /// What describes them.
    pub(super) fn into_document(mut self) -> OpenApi {
        for (path, item) in &mut self.paths.paths {
            let wanted = parameters::of_path(path);
            for operation in operations_of(item) {
                operation.parameters.get_or_insert_default().splice(0..0, wanted.iter().cloned());
            }
        }
        OpenApiBuilder::new()
            .info(
                InfoBuilder::new()
                    .title("Antipode")
                    .version(env!("CARGO_PKG_VERSION"))
                    .description(Some(ABOUT))
                    .license(Some(
                        LicenseBuilder::new().name("Apache-2.0").identifier(Some("Apache-2.0")).build(),
                    ))
                    .build(),
            )
            .servers(Some([ServerBuilder::new().url("/").build()]))
            .tags(Some(
                TAGS.map(|(name, about)| TagBuilder::new().name(name).description(Some(about)).build()),
            ))
            .security(Some([SecurityRequirement::new::<_, [String; 0], String>(TOKEN, [])]))
            .paths(self.paths)
            .components(Some(components(self.schemas)))
            .build()
    }
}

fn components(schemas: BTreeMap<String, RefOr<Schema>>) -> Components {
    let mut components = Components::new();
    components.schemas = schemas;
    components.schemas.extend(schema::all());
    refusals::add_to(&mut components);
    let token = ApiKeyValue::with_description(
        "X-Auth-Token",
        "A token from `POST /identity/v3/auth/tokens`. It ends after an hour at most, and when it is revoked.",
    );
    components.add_security_scheme(TOKEN, SecurityScheme::ApiKey(ApiKey::Header(token)));
    components
}

/// The operations of a path, whatever their methods.
fn operations_of(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, head, patch, .. } = item;
    [get, put, post, delete, head, patch].into_iter().flatten()
}

/// The document as text. Made when somebody first asks.
static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    let document = super::routes().into_document();
    document.to_pretty_json().expect("the document is made of texts, numbers and lists of them")
});

/// This document
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "showDocument",
    tag = "service",
    security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document.", body = Object))
)]
pub(super) async fn show() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.as_str())
}
