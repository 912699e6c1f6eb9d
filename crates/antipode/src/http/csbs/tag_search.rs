//! The body of a search by tags, `resource_instances/action` (`csbs-v1-api.md` §5.14).

use control::tags::{TagFilter, TagMatch, ValueMatch};
use model::text::TAGS_MAX;
use serde_json::Value;

use super::tags::{KEY_CHARACTERS_MAX, VALUE_CHARACTERS_MAX};
use crate::http::reader::{Field, Object, Reading};

/// The most values of one key.
const VALUES_MAX: usize = 10;
/// The most things of one page, and the default.
const LIMIT_MAX: i64 = 1000;
/// The only key that `matches` knows.
const NAME: &str = "resource_name";

/// What a body asks for.
#[derive(Debug)]
pub(super) enum Search {
    /// The things themselves: so many (limit), after so many (offset).
    Filter(TagFilter, (u32, u64)),
    /// How many there are.
    Count(TagFilter),
}

/// The search in a body.
pub(super) fn read_search(body: &Value) -> Reading<Search> {
    let body = Object::body(body)?;
    let action = body.field("action");
    match action.text()? {
        "filter" => Ok(Search::Filter(read_filter(&body)?, read_paging(&body)?)),
        "count" => {
            for name in ["limit", "offset"] {
                if body.field(name).is_given() {
                    return Err(body.field(name).refused("does not go with the action count"));
                }
            }
            Ok(Search::Count(read_filter(&body)?))
        }
        _ => Err(action.refused("must be filter or count")),
    }
}

fn read_filter(body: &Object<'_>) -> Reading<TagFilter> {
    let list = |name| body.field(name).optional(read_matches).map(Option::unwrap_or_default);
    Ok(TagFilter {
        all: list("tags")?,
        any: list("tags_any")?,
        not_all: list("not_tags")?,
        not_any: list("not_tags_any")?,
        name: read_name(body.field("matches"))?,
    })
}

/// Both are texts that hold numbers; plain numbers are taken as well.
fn read_paging(body: &Object<'_>) -> Reading<(u32, u64)> {
    let (limit, offset) = (body.field("limit"), body.field("offset"));
    let wanted = limit.clone().optional(|field| field.loose_integer())?.unwrap_or(LIMIT_MAX);
    let limit = match u32::try_from(wanted) {
        Ok(rows @ 1..) if wanted <= LIMIT_MAX => rows,
        _ => return Err(limit.refused(format!("must be 1 to {LIMIT_MAX}"))),
    };
    let skipped = offset.clone().optional(|field| field.loose_integer())?.unwrap_or(0);
    let offset =
        u64::try_from(skipped).map_err(|_| offset.refused("must be 0 or a positive whole number"))?;
    Ok((limit, offset))
}

/// 1 to 10 keys, each once.
fn read_matches(field: Field<'_>) -> Reading<Vec<TagMatch>> {
    let place = field.clone();
    let matches: Vec<TagMatch> = field.list()?.into_iter().map(read_match).collect::<Result<_, _>>()?;
    if matches.is_empty() || matches.len() > TAGS_MAX {
        return Err(place.refused(format!("must hold 1 to {TAGS_MAX} keys")));
    }
    let is_repeated = |(position, one): (usize, &TagMatch)| {
        matches[..position].iter().any(|earlier| earlier.key == one.key)
    };
    if matches.iter().enumerate().any(is_repeated) {
        return Err(place.refused("keys must be unique"));
    }
    Ok(matches)
}

/// A key and at most 10 values, each once; no values mean any.
fn read_match(field: Field<'_>) -> Reading<TagMatch> {
    let one = field.object()?;
    let (key, values) = (one.field("key"), one.field("values"));
    let text = key.text_up_to(KEY_CHARACTERS_MAX)?;
    if text.trim().is_empty() {
        return Err(key.refused("must not be empty"));
    }
    let place = values.clone();
    let values = values.list()?;
    let mut texts = Vec::with_capacity(values.len());
    for value in &values {
        texts.push(value.text_up_to(VALUE_CHARACTERS_MAX)?.trim());
    }
    texts.sort_unstable();
    if texts.len() > VALUES_MAX || texts.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(place.refused(format!("must hold at most {VALUES_MAX} values, each once")));
    }
    // The value of an example in the documents begins so.
    let fits = |text: &&str| match text.strip_prefix('*') {
        Some(part) => ValueMatch::Contains(part.to_owned()),
        None => ValueMatch::Is((*text).to_owned()),
    };
    Ok(TagMatch { key: text.trim().to_owned(), values: texts.iter().map(fits).collect() })
}

/// An empty name is looked for as it is, any other one as a part.
fn read_name(field: Field<'_>) -> Reading<Option<ValueMatch>> {
    let place = field.clone();
    let Some(matches) = field.optional(Field::list)? else { return Ok(None) };
    let [one] = matches.as_slice() else {
        return Err(place.refused(format!("must hold one entry, {NAME}")));
    };
    let one = one.clone().object()?;
    let key = one.field("key");
    if key.text()? != NAME {
        return Err(key.refused(format!("must be {NAME}")));
    }
    Ok(Some(match one.field("value").text_up_to(VALUE_CHARACTERS_MAX)? {
        "" => ValueMatch::Is(String::new()),
        part => ValueMatch::Contains(part.to_owned()),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(body: Value, refused: &str) {
        match (read_search(&body), refused) {
            (Ok(_), "") => {}
            (Err(error), named) if !named.is_empty() => {
                assert!(format!("{error:?}").contains(named), "{body}: {error:?}");
            }
            (outcome, named) => panic!("{body}: {outcome:?}, and not {named:?}"),
        }
    }

    #[test]
    fn a_bad_search_is_refused_by_field() {
        let keys = |count: usize| -> Vec<Value> {
            (0..count).map(|n| json!({ "key": format!("k{n}"), "values": [] })).collect()
        };
        let values = |count: usize| (0..count).map(|n| format!("v{n}")).collect::<Vec<_>>();
        let with = |name: &str, value: Value| json!({ "action": "filter", name: value });
        check(json!({ "action": "filter" }), "");
        check(json!({ "action": "count" }), "");
        check(json!({}), "action: is missing");
        check(json!({ "action": "list" }), "action: must be filter or count");
        for name in ["limit", "offset"] {
            check(json!({ "action": "count", name: "1" }), &format!("{name}: does not go with"));
        }
        for good in [json!("1"), json!("1000"), json!(7)] {
            check(with("limit", good), "");
        }
        for bad in [json!("0"), json!("1001"), json!("-1"), json!("x"), json!(""), json!("99999999999")] {
            check(with("limit", bad), "limit: must be");
        }
        check(with("offset", json!("0")), "");
        for bad in [json!("-1"), json!("x"), json!(1.5)] {
            check(with("offset", bad), "offset: must be");
        }
        for name in ["tags", "tags_any", "not_tags", "not_tags_any"] {
            check(with(name, json!(keys(10))), "");
            check(with(name, json!(keys(11))), &format!("{name}: must hold 1 to 10 keys"));
            check(with(name, json!([])), &format!("{name}: must hold 1 to 10 keys"));
            check(with(name, json!("x")), &format!("{name}: must be a list"));
            let twice = json!([{ "key": "a", "values": [] }, { "key": " a ", "values": [] }]);
            check(with(name, twice), &format!("{name}: keys must be unique"));
            let one = |values: Value| with(name, json!([{ "key": "a", "values": values }]));
            check(one(json!(values(10))), "");
            check(one(json!(values(11))), "[0].values: must hold at most 10 values");
            check(one(json!(["v", "v"])), "[0].values: must hold at most 10 values, each once");
            check(one(Value::Null), "[0].values: is missing");
            check(with(name, json!([{ "key": " ", "values": [] }])), "[0].key: must not be empty");
            check(with(name, json!([{ "key": "k".repeat(128), "values": [] }])), "[0].key: must be at most");
            check(one(json!(["v".repeat(256)])), "values[0]: must be at most");
        }
        let name = |value: Value| with("matches", json!([{ "key": "resource_name", "value": value }]));
        check(name(json!("x".repeat(255))), "");
        check(name(json!("x".repeat(256))), "value: must be at most");
        check(with("matches", json!([])), "matches: must hold one entry");
        check(with("matches", json!([{ "key": "name", "value": "" }])), "matches[0].key: must be");
    }
}
