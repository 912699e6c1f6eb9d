//! Small types of the OpenAPI document that bodies share: moments, names, words, and the loose forms that
//! known clients send. Words come from `model`, so that the document cannot lag behind it.

use model::checkpoint::ItemState;
use model::coverage::Verdict;
use model::explain::Code;
use model::grant::{Level, Mode};
use model::identity::Role;
use model::operation_log::{OperationStatus, OperationType};
use model::policy::{PROVIDER_ID, RESOURCE_TYPE};
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{RefOr, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

/// Types that exist only as schemas of their names.
macro_rules! schemas {
    ($($(#[doc = $doc:literal])+ $name:ident = $schema:expr;)*) => {
        $(
        $(#[doc = $doc])+
        pub(crate) enum $name {}

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                RefOr::<Schema>::from($schema.description(Some(concat!($($doc),+).trim())))
            }
        }

        impl ToSchema for $name {}
    )*

        /// All of them: parameters refer to some that no body holds.
        pub(super) fn all() -> Vec<(String, RefOr<Schema>)> {
            vec![$((stringify!($name).to_owned(), $name::schema())),*]
        }
    };
}

schemas! {
    /// A moment in UTC, with microseconds and without a zone.
    Moment = text(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}$").examples(["2026-11-23T01:30:00.104233"]);
    /// A moment in UTC, or empty while it has not come.
    MomentOrEmpty = text(r"^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6})?$");
    /// A moment in UTC, as texts of requests name it; a fraction and a `Z` may be left out.
    MomentGiven = text(r"^20\d{2}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,6})?Z?$")
        .examples(["2026-11-23T01:02:03"]);
    /// A name: 1 to 255 letters, digits, `_`, `-` and Chinese characters.
    NameText = text("^[A-Za-z0-9_\\-\u{4E00}-\u{9FA5}\u{F900}-\u{FA2D}]{1,255}$").examples(["nightly"]);
    /// A name as above, or nothing, for clients that send `""` where they have none.
    NameOrEmpty = text("^[A-Za-z0-9_\\-\u{4E00}-\u{9FA5}\u{F900}-\u{FA2D}]{0,255}$").examples(["nightly-backup"]);
    /// At most 255 characters, none of them `<`, `>` or NUL.
    DescriptionText = text(r"^[^<>\u0000]*$").max_length(Some(255));
    /// An id of this region's making.
    Id = uuid();
    /// The id of a project, a server or a volume: 1 to 64 letters, digits, `_` and `-`.
    ForeignId = text(r"^[A-Za-z0-9_\-]{1,64}$");
    /// The name of a region: 1 to 64 letters, digits, `_`, `-` and `.`, not starting with a dot.
    RegionText = text(r"^[A-Za-z0-9_\-][A-Za-z0-9_.\-]{0,63}$").examples(["cn-east-2"]);
    /// The one provider there is: whole servers.
    ProviderId = text_of([PROVIDER_ID]);
    /// The one type of resource there is: a server.
    ResourceType = text_of([RESOURCE_TYPE]);
    /// The state of a backup. While one is made it is `protecting`; only an `available` one can be restored or
    /// replicated, and only an `available` or `error` one can be deleted.
    ItemStatus = text_of(ItemState::ALL.map(ItemState::word));
    /// `waiting_replicate` queued, `replicating` under way, `success` the destination signed for it, `fail`, `skip` it
    /// turned out not to be needed.
    RecordStatus = text_of(["waiting_replicate", "replicating", "success", "fail", "skip"]);
    /// What was done: `protect` a backup, `restore`, `delete` a deletion or expiry, `copy` a replication.
    OperationTypeWord = text_of(OperationType::ALL.map(OperationType::word));
    /// What came of an operation.
    OperationStatusWord = text_of(OperationStatus::ALL.map(OperationStatus::word));
    /// `backup` made here, `replication` a replica from another region.
    ImageTypeWord = text_of(["backup", "replication"]);
    /// Whether the destination can open what it receives (`restorable`), or only check, keep and expire it (`sealed`).
    ModeWord = text_of([Mode::Restorable, Mode::Sealed].map(Mode::word));
    /// What is proved of a replica: every address (`stored`), every chunk opened (`opened`), a restore compared (`drilled`).
    LevelWord = text_of([Level::Stored, Level::Opened, Level::Drilled].map(Level::word));
    /// How a server stands against its target in a region.
    VerdictWord = text_of(Verdict::ALL.map(Verdict::word));
    /// Why a backup is, or is not, in a region: a closed list.
    ExplainCodeWord = text_of(Code::ALL.map(Code::word));
    /// `reader` may read, `member` may order backups, replications and restores and change policies, `admin` may do
    /// everything inside the project, `service` may read in every project, `operator` may run the region; both are held outside any project.
    RoleWord = text_of(Role::ALL.map(Role::word));
    /// A limit: -1 and 0 for none, or up to 99999, as a number or as text.
    LimitGiven = number_or_text(-1, 99_999, r"^(-1|\d{1,5})$");
    /// How many days, weeks, months or years: 0 for none, up to 100, as a number or as text.
    PeriodCountGiven = number_or_text(0, 100, r"^(\d{1,2}|100)$");
    /// 0, 1 or 2, as a number or as text.
    ConsistencyGiven = number_or_text(0, 2, "^[012]$");
    /// 0 or 2: what can be had without an agent in the server.
    NoAgentGiven = ObjectBuilder::new().schema_type(Type::Integer).enum_values(Some([0, 2]));
    /// True or false, as such or as text.
    FlagGiven = flag_or_text();
    /// How many rows; what is above the largest page means the largest page.
    PageLimit = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1)).default(Some(1000.into()));
    /// Any text without NUL.
    TextGiven = text(r"^[^\u0000]*$");
    /// A name of identity: 1 to 64 printable characters.
    IdentityName = text(r"^[^\u0000-\u001f\u007f-\u009f]{1,64}$");
    /// The key of a tag: 1 to 36 letters, digits, `-` and `_`; spaces around it are cut off.
    TagKey = text(r"^[A-Za-z0-9_\-]{1,36}$").examples(["department"]);
    /// The value of a tag: at most 43 of the same.
    TagValue = text(r"^[A-Za-z0-9_\-]{0,43}$").examples(["billing"]);
    /// A role in a project.
    ProjectRoleWord = text_of([Role::Reader, Role::Member, Role::Admin].map(Role::word));
    /// A role in the region itself.
    RegionRoleWord = text_of([Role::Service, Role::Operator].map(Role::word));
    /// The id of a vault: 32 hex digits.
    VaultIdText = text("^[0-9a-f]{32}$");
}

fn text(pattern: &str) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).pattern(Some(pattern))
}

fn uuid() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).format(Some(SchemaFormat::Custom("uuid".to_owned())))
}

fn text_of<const COUNT: usize>(words: [&'static str; COUNT]) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words))
}

/// A number, or a text that holds one. Known clients send either.
fn number_or_text(minimum: i64, maximum: i64, pattern: &str) -> OneOfBuilder {
    let number =
        ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(minimum)).maximum(Some(maximum));
    let text = text(pattern).description(Some("The same number as text."));
    OneOfBuilder::new().item(number).item(text)
}

/// True or false, or a text that says it. Known clients send either.
fn flag_or_text() -> OneOfBuilder {
    let flag = ObjectBuilder::new().schema_type(Type::Boolean);
    let text = text("^([Tt][Rr][Uu][Ee]|[Ff][Aa][Ll][Ss][Ee])$").description(Some("The same as text."));
    OneOfBuilder::new().item(flag).item(text)
}

/// Types that are any of several others: `Name = This | That;`.
macro_rules! choices {
    ($($(#[doc = $doc:literal])+ $visibility:vis $name:ident = $($choice:ident)|+;)*) => {$(
        $(#[doc = $doc])+
        $visibility enum $name {}

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let choices = utoipa::openapi::schema::AnyOfBuilder::new()
                    $(.item(utoipa::openapi::Ref::from_schema_name(<$choice as utoipa::ToSchema>::name())))+;
                utoipa::openapi::RefOr::from(choices.description(Some(concat!($($doc),+).trim())))
            }
        }

        impl utoipa::ToSchema for $name {
            fn schemas(schemas: &mut Vec<(String, utoipa::openapi::RefOr<utoipa::openapi::Schema>)>) {
                $(
                    let name = <$choice as utoipa::ToSchema>::name().into_owned();
                    schemas.push((name, <$choice as utoipa::PartialSchema>::schema()));
                    <$choice as utoipa::ToSchema>::schemas(schemas);
                )+
            }
        }
    )*};
}
pub(crate) use choices;
