//! How people name things: by id, by the unique beginning of an id, by name; an item also by
//! `server@time`, where the time may be cut short or be `latest`.

use serde_json::Value;

use super::Context;
use super::error::{CliError, Exit, Outcome};
use super::output::cell;
use super::session::Surface;

/// Characters of a whole id.
const ID_CHARACTERS: usize = 36;

/// The id of a policy.
pub(super) async fn policy_id(context: &Context, text: &str) -> Outcome<String> {
    if is_whole_id(text) {
        return Ok(text.to_owned());
    }
    let rows = context.session.list(Surface::Csbs, "/policies", "policies").await?;
    choose(&rows, text, "policy")
}

/// The id of a server.
pub(super) async fn server_id(context: &Context, text: &str) -> Outcome<String> {
    if is_whole_id(text) {
        return Ok(text.to_owned());
    }
    let rows = context.session.list(Surface::Own, "/servers", "servers").await?;
    choose(&rows, text, "server")
}

/// The id of an item.
pub(super) async fn item_id(context: &Context, text: &str) -> Outcome<String> {
    if is_whole_id(text) {
        return Ok(text.to_owned());
    }
    let rows = context.session.list(Surface::Csbs, "/checkpoint_items", "checkpoint_items").await?;
    match text.split_once('@') {
        Some((server, time)) => choose_by_time(&rows, server, time),
        None => choose(&rows, text, "item"),
    }
}

/// The id of a replication record.
pub(super) async fn record_id(context: &Context, text: &str) -> Outcome<String> {
    if is_whole_id(text) {
        return Ok(text.to_owned());
    }
    let rows = context.session.list(Surface::Csbs, "/replication_records", "replication_records").await?;
    choose(&rows, text, "replication record")
}

/// The id of a user or project that is named by name or id.
pub(super) async fn identity_id(context: &Context, key: &str, text: &str) -> Outcome<String> {
    let rows = context.session.list(Surface::Identity, &format!("/{key}"), key).await?;
    choose(&rows, text, key.trim_end_matches('s'))
}

fn is_whole_id(text: &str) -> bool {
    text.len() == ID_CHARACTERS
}

/// An exact name wins over a whole id, that over the beginning of one; two candidates are none.
pub(super) fn choose(rows: &[Value], text: &str, what: &str) -> Outcome<String> {
    let like = |fits: &dyn Fn(&Value) -> bool| rows.iter().filter(|row| fits(row)).collect::<Vec<&Value>>();
    let named = like(&|row| row["name"] == text);
    let whole = like(&|row| row["id"] == text);
    let begun = like(&|row| cell(row, "id").starts_with(text));
    let found = [named, whole, begun].into_iter().find(|found| !found.is_empty()).unwrap_or_default();
    match found.as_slice() {
        [one] => Ok(cell(one, "id")),
        [] => Err(CliError::new(Exit::NotFound, format!("there is no {what} {text}"))),
        many => {
            Err(CliError::usage(format!("{text} could be any of {} things; give more of the id", many.len())))
        }
    }
}

/// The newest item of a server, or the only one whose time begins so. Rows come newest first.
fn choose_by_time(rows: &[Value], server: &str, time: &str) -> Outcome<String> {
    let is_of_server =
        |row: &&Value| row["resource_id"] == server || cell(row, "extend_info.resource_name") == server;
    let is_of_time = |row: &&Value| time == "latest" || cell(row, "created_at").starts_with(time);
    let found: Vec<&Value> = rows.iter().filter(is_of_server).filter(is_of_time).collect();
    match found.as_slice() {
        [] => Err(CliError::new(Exit::NotFound, format!("there is no item of {server} at {time}"))),
        [first, ..] if time == "latest" => Ok(cell(first, "id")),
        [one] => Ok(cell(one, "id")),
        many => Err(CliError::usage(format!(
            "{server} has {} items at {time}; give more of the time",
            many.len()
        ))),
    }
}

/// `REGION/PROJECT`
pub(super) fn split_destination(text: &str) -> Outcome<(&str, &str)> {
    let bad = || CliError::usage(format!("{text} is not REGION/PROJECT"));
    let (region, project) = text.split_once('/').ok_or_else(bad)?;
    if region.is_empty() || project.is_empty() { Err(bad()) } else { Ok((region, project)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_thing_is_named_by_name_or_by_the_unique_beginning_of_its_id() {
        let rows = [json!({ "id": "ab1", "name": "x" }), json!({ "id": "ab2", "name": "ab1" })];
        assert_eq!(choose(&rows, "x", "thing").unwrap(), "ab1");
        assert_eq!(choose(&rows, "ab2", "thing").unwrap(), "ab2");
        assert_eq!(choose(&rows, "ab1", "thing").unwrap(), "ab2");
        assert_eq!(choose(&rows, "ab", "thing").unwrap_err().exit, Exit::Usage);
        let rows = [json!({ "id": "i-1", "name": "x" }), json!({ "id": "i-10", "name": "y" })];
        assert_eq!(choose(&rows, "i-1", "thing").unwrap(), "i-1");
        assert_eq!(choose(&rows, "z", "thing").unwrap_err().exit, Exit::NotFound);
    }

    #[test]
    fn an_item_is_named_by_server_and_time() {
        let item = |id: &str, time: &str| json!({ "id": id, "created_at": time, "extend_info": { "resource_name": "db1" } });
        let rows = [item("c", "2026-11-24T01"), item("b", "2026-11-23T02"), item("a", "2026-11-23T01")];
        assert_eq!(choose_by_time(&rows, "db1", "latest").unwrap(), "c");
        assert_eq!(choose_by_time(&rows, "db1", "2026-11-23T02").unwrap(), "b");
        assert_eq!(choose_by_time(&rows, "db1", "2026-11-23").unwrap_err().exit, Exit::Usage);
        assert_eq!(choose_by_time(&rows, "db2", "latest").unwrap_err().exit, Exit::NotFound);
    }
}
