//! Tags of checkpoint items and of policies: one implementation for both families, and the search for
//! what carries which tags. A tag row names the project, so that the search begins at the tag and not
//! at every item there is. The tags of a deleted item stay with it in quarantine and are found nowhere.

use std::fmt::Display;

use model::checkpoint::CheckpointItem;
use model::ids::{CheckpointItemId, PolicyId, ProjectId};
use model::policy::Policy;
use model::text::Tag;
use model::time::Timestamp;
use sqlx::AssertSqlSafe;

use crate::engine::{Catalog, Tx};
use crate::error::{CatalogError, Conflict};
use crate::items::{ITEMS, ItemSort, whole_items};
use crate::page::{List, Page, SortKey, Where};
use crate::policies::{POLICIES, PolicySort, whole_policies};
use crate::state_outbox::{StateSubject, note_change};
use crate::value::{Row, Value, values};

/// The families of things that carry tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagFamily {
    /// Checkpoint items.
    Items,
    /// Policies.
    Policies,
}

/// One thing that carries tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagged {
    /// A checkpoint item.
    Item(CheckpointItemId),
    /// A policy.
    Policy(PolicyId),
}

/// Which tags to take away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagToRemove {
    /// The key.
    pub key: String,
    /// Only when it has this value; nothing means whatever its value.
    pub value: Option<String>,
}

/// A key with some values, of which one is enough.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TagMatch {
    /// The key, exactly.
    pub key: String,
    /// Values; none means any.
    pub values: Vec<ValueMatch>,
}

/// How a value is compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueMatch {
    /// It is this.
    Is(String),
    /// It contains this, letter case aside.
    Contains(String),
}

/// Which things are wanted. Empty lists let everything through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TagFilter {
    /// They have all of these.
    pub all: Vec<TagMatch>,
    /// They have at least one of these.
    pub any: Vec<TagMatch>,
    /// They do not have all of these.
    pub not_all: Vec<TagMatch>,
    /// They have none of these.
    pub not_any: Vec<TagMatch>,
    /// Their name matches.
    pub name: Option<ValueMatch>,
}

/// Up to so many things are few.
const FEW: u64 = 5_000;

/// Where a search begins.
#[derive(Clone, Copy, PartialEq)]
enum Start {
    /// At the tags, if some are wanted.
    Tags,
    /// At the things of the project.
    Project,
}

/// Where a family lies.
struct Place {
    list: List,
    tags: &'static str,
    owner: &'static str,
    /// What a thing must fulfil to be there at all.
    is_there: &'static str,
}

impl TagFamily {
    fn place(self) -> Place {
        match self {
            TagFamily::Items => {
                Place { list: ITEMS, tags: "item_tags", owner: "item_id", is_there: "state <> 'deleted'" }
            }
            TagFamily::Policies => {
                Place { list: POLICIES, tags: "policy_tags", owner: "policy_id", is_there: "1 = 1" }
            }
        }
    }
}

impl Tagged {
    /// What it is one of.
    pub fn family(&self) -> TagFamily {
        match self {
            Tagged::Item(_) => TagFamily::Items,
            Tagged::Policy(_) => TagFamily::Policies,
        }
    }

    fn id(&self) -> &dyn Display {
        match self {
            Tagged::Item(id) => id,
            Tagged::Policy(id) => id,
        }
    }

    fn value(&self) -> Value {
        Value::from(self.id().to_string())
    }
}

impl Catalog {
    /// The tags of one thing of a project, in their order.
    pub async fn tags(&self, project: &ProjectId, of: &Tagged) -> Result<Vec<Tag>, CatalogError> {
        let mut tx = self.read("reading tags").await?;
        let place = of.family().place();
        let sql = format!(
            "SELECT id FROM {} WHERE id = $1 AND project_id = $2 AND {}",
            place.list.table, place.is_there
        );
        // Safe: made of our own words; every value is bound.
        let known = tx.first(AssertSqlSafe(sql), vec![of.value(), Value::from(project)]).await?;
        known.ok_or_else(|| CatalogError::not_found(place.list.what, of.id()))?;
        read_tags(&mut tx, of).await
    }

    /// Gives one thing of a project more tags; one with a known key gets the new value. `TooManyTags`
    /// when it would carry more than it may.
    pub async fn put_tags(
        &self,
        project: &ProjectId,
        of: &Tagged,
        tags: &[Tag],
        now: Timestamp,
    ) -> Result<(), CatalogError> {
        let mut tx = self.write("tagging").await?;
        let before = lock_tags(&mut tx, project, of).await?;
        let after = Tag::merged(&before, tags).ok_or(Conflict::TooManyTags)?;
        if after != before {
            replace_tags(&mut tx, project, of, &after, now).await?;
        }
        tx.commit().await
    }

    /// Takes tags away from one thing of a project; answers how many of them it had.
    pub async fn remove_tags(
        &self,
        project: &ProjectId,
        of: &Tagged,
        tags: &[TagToRemove],
        now: Timestamp,
    ) -> Result<usize, CatalogError> {
        let mut tx = self.write("taking tags away").await?;
        let before = lock_tags(&mut tx, project, of).await?;
        let is_meant = |tag: &Tag| {
            let fits = |meant: &TagToRemove| {
                meant.key == tag.key && meant.value.as_ref().is_none_or(|value| *value == tag.value)
            };
            tags.iter().any(fits)
        };
        let after: Vec<Tag> = before.iter().filter(|tag| !is_meant(tag)).cloned().collect();
        if after != before {
            replace_tags(&mut tx, project, of, &after, now).await?;
        }
        tx.commit().await?;
        Ok(before.len() - after.len())
    }

    /// Every pair of key and value that something of the family carries in a project, in order.
    pub async fn project_tags(
        &self,
        project: &ProjectId,
        family: TagFamily,
    ) -> Result<Vec<Tag>, CatalogError> {
        let mut tx = self.read("reading the tags of a project").await?;
        let Place { list, tags, owner, is_there } = family.place();
        // One look for each pair, not for each item that carries it.
        let sql = format!(
            "SELECT d.tag_key AS tag_key, d.tag_value AS tag_value FROM \
             (SELECT DISTINCT tag_key, tag_value FROM {tags} WHERE project_id = $1) d \
             WHERE EXISTS (SELECT 1 FROM {tags} t JOIN {things} s ON s.id = t.{owner} \
             WHERE t.project_id = $1 AND t.tag_key = d.tag_key AND t.tag_value = d.tag_value AND {is_there}) \
             ORDER BY d.tag_key, d.tag_value",
            things = list.table
        );
        // Safe: made of our own words; every value is bound.
        tx.all(AssertSqlSafe(sql), values![project]).await?.iter().map(tag_of_row).collect()
    }

    /// A page of the items of a project that the filter lets through, newest first, and how many there are.
    pub async fn tagged_items(
        &self,
        project: &ProjectId,
        filter: &TagFilter,
        page: &Page<ItemSort>,
    ) -> Result<(Vec<CheckpointItem>, u64), CatalogError> {
        let mut tx = self.read("looking for tagged checkpoint items").await?;
        let (rows, count) = find(&mut tx, project, TagFamily::Items, filter, page).await?;
        Ok((whole_items(&mut tx, &rows).await?, count))
    }

    /// A page of the policies of a project that the filter lets through, newest first, and how many there are.
    pub async fn tagged_policies(
        &self,
        project: &ProjectId,
        filter: &TagFilter,
        page: &Page<PolicySort>,
    ) -> Result<(Vec<Policy>, u64), CatalogError> {
        let mut tx = self.read("looking for tagged policies").await?;
        let (rows, count) = find(&mut tx, project, TagFamily::Policies, filter, page).await?;
        Ok((whole_policies(&mut tx, &rows).await?, count))
    }

    /// How many things of a project the filter lets through.
    pub async fn count_tagged(
        &self,
        project: &ProjectId,
        family: TagFamily,
        filter: &TagFilter,
    ) -> Result<u64, CatalogError> {
        let mut tx = self.read("counting tagged things").await?;
        count(&mut tx, project, family, filter).await
    }
}

async fn count(
    tx: &mut Tx,
    project: &ProjectId,
    family: TagFamily,
    filter: &TagFilter,
) -> Result<u64, CatalogError> {
    family.place().list.count(tx, terms_of(project, family, filter, Start::Tags)).await
}

/// Few things are fetched by their tags and put in order; of many, those of the page are met soonest by
/// walking the project in order.
async fn find<Key: SortKey>(
    tx: &mut Tx,
    project: &ProjectId,
    family: TagFamily,
    filter: &TagFilter,
    page: &Page<Key>,
) -> Result<(Vec<Row>, u64), CatalogError> {
    let count = count(tx, project, family, filter).await?;
    let start = if count <= FEW { Start::Tags } else { Start::Project };
    let rows = family.place().list.page(tx, terms_of(project, family, filter, start), page).await?;
    Ok((rows, count))
}

/// Inserts the tags of a thing that has none.
pub(crate) async fn insert_tags(
    tx: &mut Tx,
    of: &Tagged,
    project: &ProjectId,
    tags: &[Tag],
) -> Result<(), CatalogError> {
    let Place { tags: table, owner, .. } = of.family().place();
    for (position, tag) in tags.iter().enumerate() {
        let sql = format!(
            "INSERT INTO {table} ({owner}, position, tag_key, tag_value, project_id) \
             VALUES ($1, $2, $3, $4, $5)"
        );
        let mut bound = vec![of.value()];
        bound.extend(values![position, &tag.key, &tag.value, project]);
        // Safe: made of our own words; every value is bound.
        tx.execute(AssertSqlSafe(sql), bound).await?;
    }
    Ok(())
}

pub(crate) fn tag_of_row(row: &Row) -> Result<Tag, CatalogError> {
    Ok(Tag { key: row.text("tag_key")?, value: row.text("tag_value")? })
}

/// Reads the tags of a thing and keeps every other writer from changing it until the transaction ends.
async fn lock_tags(tx: &mut Tx, project: &ProjectId, of: &Tagged) -> Result<Vec<Tag>, CatalogError> {
    let place = of.family().place();
    let sql = format!(
        "UPDATE {} SET name = name WHERE id = $1 AND project_id = $2 AND {}",
        place.list.table, place.is_there
    );
    // Safe: made of our own words; every value is bound.
    let locked = tx.execute(AssertSqlSafe(sql), vec![of.value(), Value::from(project)]).await?;
    if locked == 0 {
        return Err(CatalogError::not_found(place.list.what, of.id()));
    }
    read_tags(tx, of).await
}

async fn read_tags(tx: &mut Tx, of: &Tagged) -> Result<Vec<Tag>, CatalogError> {
    let Place { tags, owner, .. } = of.family().place();
    let sql = format!("SELECT tag_key, tag_value FROM {tags} WHERE {owner} = $1 ORDER BY position");
    // Safe: made of our own words; every value is bound.
    tx.all(AssertSqlSafe(sql), vec![of.value()]).await?.iter().map(tag_of_row).collect()
}

/// A policy with other tags is a changed policy: whoever changes it from what was read before is told,
/// and the store hears of it.
async fn replace_tags(
    tx: &mut Tx,
    project: &ProjectId,
    of: &Tagged,
    tags: &[Tag],
    now: Timestamp,
) -> Result<(), CatalogError> {
    let Place { list, tags: table, owner, .. } = of.family().place();
    let things = list.table;
    // Safe, both: made of our own words; every value is bound.
    let clear = format!("DELETE FROM {table} WHERE {owner} = $1");
    tx.execute(AssertSqlSafe(clear), vec![of.value()]).await?;
    insert_tags(tx, of, project, tags).await?;
    let touch = format!(
        "UPDATE {things} SET updated_at = CASE WHEN updated_at < $1 THEN $1 ELSE updated_at + 1 END \
         WHERE id = $2"
    );
    tx.execute(AssertSqlSafe(touch), vec![Value::from(now), of.value()]).await?;
    match of {
        Tagged::Item(_) => Ok(()),
        Tagged::Policy(id) => note_change(tx, StateSubject::Policy, id, project, now).await,
    }
}

fn terms_of(project: &ProjectId, family: TagFamily, filter: &TagFilter, start: Start) -> Where {
    let place = family.place();
    let mut terms = Where::new();
    let project = terms.bind(project);
    // What carries a tag of the project belongs to it. Not said twice, so that no engine walks the project.
    let is_said_by_tags = !filter.all.is_empty() || !filter.any.is_empty();
    if start == Start::Project || !is_said_by_tags {
        terms.term(&format!("project_id = {project}"));
    }
    terms.term(place.is_there);
    let search = Search { project, place };
    for one in &filter.all {
        let carries = search.carries(&mut terms, std::slice::from_ref(one));
        terms.term(&carries);
    }
    if !filter.any.is_empty() {
        let carries = search.carries(&mut terms, &filter.any);
        terms.term(&carries);
    }
    if !filter.not_all.is_empty() {
        let carried: Vec<String> =
            filter.not_all.iter().map(|one| search.carries(&mut terms, std::slice::from_ref(one))).collect();
        terms.term(&format!("NOT ({})", carried.join(" AND ")));
    }
    if !filter.not_any.is_empty() {
        let carries = search.carries(&mut terms, &filter.not_any);
        terms.term(&format!("NOT ({carries})"));
    }
    if let Some(name) = &filter.name {
        let fits = value_fits(&mut terms, "name", name);
        terms.term(&fits);
    }
    terms
}

/// Puts the search for one project's tags into words.
struct Search {
    /// The place of the project among the values.
    project: String,
    place: Place,
}

impl Search {
    /// "It carries one of these."
    fn carries(&self, terms: &mut Where, wanted: &[TagMatch]) -> String {
        let ways: Vec<String> = wanted.iter().map(|one| tag_fits(terms, one)).collect();
        let Place { tags, owner, .. } = &self.place;
        let (project, ways) = (&self.project, ways.join(" OR "));
        format!("id IN (SELECT {owner} FROM {tags} WHERE project_id = {project} AND ({ways}))")
    }
}

fn tag_fits(terms: &mut Where, wanted: &TagMatch) -> String {
    let key = terms.bind(&wanted.key);
    if wanted.values.is_empty() {
        return format!("tag_key = {key}");
    }
    let values: Vec<String> =
        wanted.values.iter().map(|value| value_fits(terms, "tag_value", value)).collect();
    format!("(tag_key = {key} AND ({}))", values.join(" OR "))
}

fn value_fits(terms: &mut Where, column: &str, wanted: &ValueMatch) -> String {
    match wanted {
        ValueMatch::Is(text) => format!("{column} = {}", terms.bind(text)),
        ValueMatch::Contains(text) => terms.containing(column, text),
    }
}
