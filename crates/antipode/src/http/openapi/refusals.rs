//! Refusals in the OpenAPI document: every operation lists what it can answer besides success. How a
//! refusal comes about, and its codes, are `http/error.rs`'s.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Components, ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, PartialSchema, ToSchema};

/// A refusal.
#[derive(Serialize, ToSchema)]
#[schema(example = json!({ "error_code": "CSBS.3000", "error_msg": "plan not found: no policy x in this project" }))]
struct Refusal {
    /// A code of the CSBS table, or `Antipode.0nnn` with the status in its last digits where that table
    /// has none.
    error_code: &'static str,
    /// A sentence for people. Names the path of the field that was refused, if it was one.
    error_msg: &'static str,
}

/// A refusal of the identity surface: Keystone's form, with the code of the other surfaces added.
#[derive(Serialize, ToSchema)]
struct IdentityRefusal {
    error: IdentityRefusalBody,
    /// As in `Refusal`.
    error_code: &'static str,
    /// As in `Refusal`.
    error_msg: &'static str,
}

#[derive(Serialize, ToSchema)]
struct IdentityRefusalBody {
    /// The status.
    #[schema(minimum = 400, maximum = 599)]
    code: u16,
    /// The name of the status.
    title: &'static str,
    /// A sentence for people.
    message: &'static str,
}

/// One way to refuse: status, name in the document, meaning.
type Line = (&'static str, &'static str, &'static str);

const READING: [Line; 6] = [
    ("400", "Malformed", "A parameter or a rule is broken; the text says which. Nothing was changed."),
    ("401", "NotLoggedIn", "The token is missing, wrong, expired or revoked: log in again."),
    ("403", "Forbidden", "The token is for another project, or its role does not suffice."),
    ("404", "NotFound", "There is no such thing in this project. What another project owns looks the same."),
    (
        "500",
        "Fault",
        "A fault of the server. Its cause is in the log, under the id of `X-Openstack-Request-Id`.",
    ),
    (
        "503",
        "Unavailable",
        "Not now: something that is needed does not answer, or the region takes no writes.",
    ),
];
const WRITING: [Line; 2] = [
    ("408", "TooSlow", "The body did not arrive in time."),
    ("409", "Conflict", "Something that is going on, or is there already, stands in the way."),
];

/// The refusals of an operation that only reads, on `/v1` and `/antipode/v1`.
pub(crate) struct ReadRefusals;

/// The refusals of an operation that changes something, on `/v1` and `/antipode/v1`.
pub(crate) struct WriteRefusals;

/// The refusals of an operation that only reads, on `/identity`.
pub(crate) struct IdentityReadRefusals;

/// The refusals of an operation that changes something, on `/identity`.
pub(crate) struct IdentityWriteRefusals;

type Responses = BTreeMap<String, RefOr<Response>>;

fn named(lines: impl IntoIterator<Item = Line>, prefix: &str) -> Responses {
    let response = |(status, name, _): Line| {
        (status.to_owned(), Ref::from_response_name(format!("{prefix}{name}")).into())
    };
    lines.into_iter().map(response).collect()
}

impl IntoResponses for ReadRefusals {
    fn responses() -> Responses {
        named(READING, "")
    }
}

impl IntoResponses for WriteRefusals {
    fn responses() -> Responses {
        named(READING.into_iter().chain(WRITING), "")
    }
}

impl IntoResponses for IdentityReadRefusals {
    fn responses() -> Responses {
        named(READING, IDENTITY)
    }
}

impl IntoResponses for IdentityWriteRefusals {
    fn responses() -> Responses {
        named(READING.into_iter().chain(WRITING), IDENTITY)
    }
}

/// The prefix of the identity surface's refusals in the document.
const IDENTITY: &str = "Identity";

/// Puts every refusal and its body where operations refer to it.
pub(super) fn add_to(components: &mut Components) {
    for (name, schema) in [
        ("Refusal", Refusal::schema()),
        ("IdentityRefusal", IdentityRefusal::schema()),
        ("IdentityRefusalBody", IdentityRefusalBody::schema()),
    ] {
        components.schemas.insert(name.to_owned(), schema);
    }
    for (prefix, body) in [("", "Refusal"), (IDENTITY, "IdentityRefusal")] {
        for (_, name, about) in READING.into_iter().chain(WRITING) {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(body))).build();
            let response = ResponseBuilder::new().description(about).content("application/json", content);
            components.responses.insert(format!("{prefix}{name}"), response.build().into());
        }
    }
}
