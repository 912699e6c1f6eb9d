//! Tags of backups and of policies (`csbs-v1-api.md` §5.14): what both families share. The handlers are in
//! `backup_tags.rs` and `policy_tags.rs`; a family is told from the other by the things it names.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use control::tags::{TagFamily, TagToRemove, Tagged, TaggedPage};
use control::{Caller, Control};
use model::ids::RegionName;
use model::text::{TAGS_MAX, Tag};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::TagBody;
use super::item_body::ItemBody;
use super::tag_search::{Search, read_search};
use crate::http::error::ApiError;
use crate::http::openapi::schema::{Id, TagKey, TagValue};
use crate::http::reader::{Field, Object, Reading};

/// The longest key that a query or a deletion may name, in characters.
pub(super) const KEY_CHARACTERS_MAX: usize = 127;
/// The longest value that a query or a deletion may name, in characters.
pub(super) const VALUE_CHARACTERS_MAX: usize = 255;
/// The last part of the path of a batch. A tag may have that key as well.
pub(super) const ACTION: &str = "action";

/// The tags of one thing, in the order in which it got them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TagsAnswer<'a> {
    tags: Vec<TagBody<'a>>,
}

/// Every tag of a family in the project.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectTagsAnswer {
    tags: Vec<TagKeyBody>,
}

/// One key with every value it has somewhere in the project.
#[derive(Debug, Serialize, ToSchema)]
struct TagKeyBody {
    #[schema(value_type = TagKey)]
    key: String,
    #[schema(value_type = Vec<TagValue>)]
    values: Vec<String>,
}

/// What a search found.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaggedAnswer<'a> {
    /// A page of what was found, the newest first; absent when only counting was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    resources: Option<Vec<TaggedBody<'a>>>,
    /// How many there are, whatever the page.
    total_count: u64,
}

/// A backup or a policy that carries tags.
#[derive(Debug, Serialize, ToSchema)]
struct TaggedBody<'a> {
    #[schema(value_type = Id)]
    resource_id: String,
    resource_name: &'a str,
    /// The whole backup, as it is shown alone; empty for a policy.
    #[schema(value_type = Object)]
    resource_detail: Detail<'a>,
    tags: Vec<TagBody<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Detail<'a> {
    Item(Box<ItemBody<'a>>),
    Policy {},
}

impl ProjectTagsAnswer {
    /// Pairs in the order of their keys.
    fn new(pairs: Vec<Tag>) -> ProjectTagsAnswer {
        let mut tags: Vec<TagKeyBody> = Vec::new();
        for Tag { key, value } in pairs {
            match tags.last_mut().filter(|last| last.key == key) {
                Some(last) => last.values.push(value),
                None => tags.push(TagKeyBody { key, values: vec![value] }),
            }
        }
        ProjectTagsAnswer { tags }
    }
}

impl<'a> TaggedAnswer<'a> {
    fn new(page: &'a TaggedPage, total_count: u64, here: &RegionName) -> TaggedAnswer<'a> {
        let resources = match page {
            TaggedPage::Items(views) => views
                .iter()
                .map(|view| TaggedBody {
                    resource_id: view.item.id.to_string(),
                    resource_name: &view.item.name,
                    resource_detail: Detail::Item(Box::new(ItemBody::new(&view.item, &view.records, here))),
                    tags: TagBody::list(&view.item.tags),
                })
                .collect(),
            TaggedPage::Policies(policies) => policies
                .iter()
                .map(|policy| TaggedBody {
                    resource_id: policy.id.to_string(),
                    resource_name: policy.name.as_str(),
                    resource_detail: Detail::Policy {},
                    tags: TagBody::list(&policy.tags),
                })
                .collect(),
        };
        TaggedAnswer { resources: Some(resources), total_count }
    }
}

/// What a batch is to do.
enum Batch {
    Create(Vec<Tag>),
    Delete(Vec<TagToRemove>),
}

fn read_batch(body: &Value) -> Reading<Batch> {
    let body = Object::body(body)?;
    let (action, tags) = (body.field("action"), body.field("tags"));
    match action.text()? {
        "create" => Ok(Batch::Create(read_new_tags(tags)?)),
        "delete" => {
            Ok(Batch::Delete(tags.list()?.into_iter().map(read_tag_to_remove).collect::<Result<_, _>>()?))
        }
        _ => Err(action.refused("must be create or delete")),
    }
}

/// Tags to be given: not none, not too many, every key once.
fn read_new_tags(field: Field<'_>) -> Reading<Vec<Tag>> {
    let place = field.clone();
    let tags: Vec<Tag> = field.list()?.into_iter().map(read_new_tag).collect::<Result<_, _>>()?;
    if tags.len() > TAGS_MAX {
        return Err(ApiError::too_many_tags());
    }
    Tag::new_set(tags).map_err(|bad| place.refused(bad.why))
}

/// Unlike in the body of a policy, the value is mandatory here.
fn read_new_tag(field: Field<'_>) -> Reading<Tag> {
    let place = field.clone();
    let tag = field.object()?;
    let tag = Tag::new(tag.field("key").text()?, tag.field("value").text()?);
    tag.map_err(|bad| place.refused(bad.why))
}

fn read_tag_to_remove(field: Field<'_>) -> Reading<TagToRemove> {
    let tag = field.object()?;
    let (key, value) = (tag.field("key"), tag.field("value"));
    let value = value.optional(|value| value.text_up_to(VALUE_CHARACTERS_MAX))?;
    Ok(TagToRemove {
        key: read_known_key(key.text_up_to(KEY_CHARACTERS_MAX)?, |why| key.refused(why))?,
        value: value.map(|value| value.trim().to_owned()),
    })
}

/// A key that is only looked for: outer spaces do not count, and it may hold anything.
fn read_known_key(text: &str, refused: impl Fn(&str) -> ApiError) -> Reading<String> {
    match text.trim() {
        "" => Err(refused("must not be empty")),
        key => Ok(key.to_owned()),
    }
}

/// Gives one thing the tag in a body.
pub(super) async fn add(
    control: &Control,
    caller: &Caller,
    of: Tagged,
    body: &Value,
) -> Result<StatusCode, ApiError> {
    let tag = read_new_tag(Object::body(body)?.field("tag"))?;
    control.put_tags(caller, of, &[tag]).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Does what the batch in a body says.
pub(super) async fn change(
    control: &Control,
    caller: &Caller,
    of: Tagged,
    body: &Value,
) -> Result<StatusCode, ApiError> {
    match read_batch(body)? {
        Batch::Create(tags) => control.put_tags(caller, of, &tags).await?,
        Batch::Delete(tags) => drop(control.remove_tags(caller, of, &tags).await?),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Takes away the tag that a path names.
pub(super) async fn remove(
    control: &Control,
    caller: &Caller,
    of: Tagged,
    key: &str,
) -> Result<StatusCode, ApiError> {
    let key = read_known_key(key, |why| ApiError::malformed("key", why))?;
    control.remove_tag(caller, of, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the tags of one thing.
pub(super) async fn list(control: &Control, caller: &Caller, of: Tagged) -> Result<Response, ApiError> {
    let tags = control.tags(caller, of).await?;
    Ok(Json(TagsAnswer { tags: TagBody::list(&tags) }).into_response())
}

/// Lists the tags of a family.
pub(super) async fn of_project(
    control: &Control,
    caller: &Caller,
    family: TagFamily,
) -> Result<Json<ProjectTagsAnswer>, ApiError> {
    Ok(Json(ProjectTagsAnswer::new(control.project_tags(caller, family).await?)))
}

/// Searches or counts by the tags in a body.
pub(super) async fn search(
    control: &Control,
    caller: &Caller,
    family: TagFamily,
    body: &Value,
) -> Result<Response, ApiError> {
    match read_search(body)? {
        Search::Count(filter) => {
            let total_count = control.count_tagged(caller, family, &filter).await?;
            Ok(Json(TaggedAnswer { resources: None, total_count }).into_response())
        }
        Search::Filter(filter, page) => {
            let (found, count) = control.tagged(caller, family, &filter, page).await?;
            Ok(Json(TaggedAnswer::new(&found, count, control.region_name())).into_response())
        }
    }
}
