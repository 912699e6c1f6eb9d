//! Reads typed values out of a JSON body and, when one is wrong, names it by its path:
//! `replication.policy_id: is missing`. Keys that nobody asks for are ignored, as CSBS does.
//!
//! A [`Field`] may be absent; an [`Object`] was seen to be one. JSON `null` counts as absent, because
//! inherited clients send it for "not given".

use std::fmt::Display;
use std::str::FromStr;

use model::ids::BadId;
use model::text::{BadText, Description, Name, TAGS_MAX, Tag};
use serde_json::{Map, Value};

use super::error::ApiError;

/// The largest whole number, either way: up to here every reader and writer of JSON keeps numbers exactly.
const INTEGER_MAX: u64 = 1 << 53;

/// What every reading function answers.
pub(crate) type Reading<T> = Result<T, ApiError>;

/// A place in a body that may hold a value.
#[derive(Clone, Debug)]
pub(crate) struct Field<'a> {
    path: String,
    value: Option<&'a Value>,
}

/// A place in a body that holds an object.
#[derive(Clone, Debug)]
pub(crate) struct Object<'a> {
    path: String,
    map: &'a Map<String, Value>,
}

impl<'a> Object<'a> {
    /// The body itself, which must be an object.
    pub(crate) fn body(body: &'a Value) -> Reading<Object<'a>> {
        match body {
            Value::Object(map) => Ok(Object { path: String::new(), map }),
            _ => Err(ApiError::malformed("body", "must be a JSON object")),
        }
    }

    /// The object under the one mandatory key of a body.
    pub(crate) fn wrapped(body: &'a Value, wrapper: &str) -> Reading<Object<'a>> {
        Object::body(body)?.field(wrapper).object()
    }

    /// The place of a key, present or not.
    pub(crate) fn field(&self, name: &str) -> Field<'a> {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        Field { path, value: self.map.get(name).filter(|value| !value.is_null()) }
    }
}

impl<'a> Field<'a> {
    /// Whether a value other than null is there.
    pub(crate) fn is_given(&self) -> bool {
        self.value.is_some()
    }

    /// Reads the value if one is there.
    pub(crate) fn optional<T>(self, read: impl FnOnce(Field<'a>) -> Reading<T>) -> Reading<Option<T>> {
        if self.is_given() { read(self).map(Some) } else { Ok(None) }
    }

    /// The refusal of this field.
    pub(crate) fn refused(&self, why: impl Display) -> ApiError {
        ApiError::malformed(&self.path, why)
    }

    /// The value as it came.
    pub(crate) fn value(&self) -> Reading<&'a Value> {
        self.value.ok_or_else(|| self.refused("is missing"))
    }

    /// An object.
    pub(crate) fn object(self) -> Reading<Object<'a>> {
        match self.value()? {
            Value::Object(map) => Ok(Object { path: self.path, map }),
            _ => Err(self.refused("must be an object")),
        }
    }

    /// A list, each member with its own path.
    pub(crate) fn list(self) -> Reading<Vec<Field<'a>>> {
        let Value::Array(members) = self.value()? else {
            return Err(self.refused("must be a list"));
        };
        let member = |(index, value)| Field { path: format!("{}[{index}]", self.path), value: Some(value) };
        Ok(members.iter().enumerate().map(member).collect())
    }

    /// A text. NUL is refused here for all, because no database keeps it faithfully.
    pub(crate) fn text(&self) -> Reading<&'a str> {
        match self.value()? {
            Value::String(text) if text.contains('\0') => Err(self.refused("may not hold a NUL character")),
            Value::String(text) => Ok(text),
            _ => Err(self.refused("must be a string")),
        }
    }

    /// A text of at most `characters_max` characters that has no other rule.
    pub(crate) fn text_up_to(&self, characters_max: usize) -> Reading<&'a str> {
        let text = self.text()?;
        if text.chars().count() > characters_max {
            return Err(self.refused(format!("must be at most {characters_max} characters long")));
        }
        Ok(text)
    }

    /// `true` or `false` and nothing else.
    pub(crate) fn boolean(&self) -> Reading<bool> {
        self.value()?.as_bool().ok_or_else(|| self.refused("must be true or false"))
    }

    /// A boolean that clients also send as a text, such as `"False"`.
    pub(crate) fn loose_boolean(&self) -> Reading<bool> {
        match self.value()? {
            Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            _ => self.boolean(),
        }
    }

    /// A whole number. JSON has one kind of number, so `1.0` is one as well.
    pub(crate) fn integer(&self) -> Reading<i64> {
        let number = self.value()?;
        let whole = number.as_i64().or_else(|| number.as_f64().and_then(whole_number));
        let exact = whole.filter(|number| number.unsigned_abs() <= INTEGER_MAX);
        exact.ok_or_else(|| self.refused("must be a whole number"))
    }

    /// A whole number that clients also send as a text, such as `"20"`.
    pub(crate) fn loose_integer(&self) -> Reading<i64> {
        match self.value()? {
            Value::String(text) => text.parse().map_err(|_| self.refused("must be a whole number")),
            _ => self.integer(),
        }
    }

    /// An id.
    pub(crate) fn id<T: FromStr<Err = BadId>>(&self) -> Reading<T> {
        self.text()?.parse().map_err(|bad: BadId| self.refused(bad))
    }

    /// A name under the rules of CSBS.
    pub(crate) fn name(&self) -> Reading<Name> {
        Name::new(self.text()?).map_err(|bad| self.bad_text(&bad))
    }

    /// A description under the rules of CSBS.
    pub(crate) fn description(&self) -> Reading<Description> {
        Description::new(self.text()?).map_err(|bad| self.bad_text(&bad))
    }

    /// The tags of a new thing.
    pub(crate) fn tags(self) -> Reading<Vec<Tag>> {
        let place = self.clone();
        let mut tags = Vec::new();
        for member in self.list()? {
            let place = member.clone();
            let member = member.object()?;
            let value = member.field("value");
            let value = if value.is_given() { value.text()? } else { "" };
            let tag = Tag::new(member.field("key").text()?, value);
            tags.push(tag.map_err(|bad| place.bad_text(&bad))?);
        }
        if tags.len() > TAGS_MAX {
            return Err(ApiError::too_many_tags());
        }
        Tag::new_set(tags).map_err(|bad| place.bad_text(&bad))
    }

    fn bad_text(&self, bad: &BadText) -> ApiError {
        self.refused(bad.why)
    }
}

/// A number without a fraction.
fn whole_number(number: f64) -> Option<i64> {
    // Beyond the limits the cast saturates, far above what is let through.
    (number.fract() == 0.0).then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::ids::PolicyId;
    use serde_json::json;

    fn refusal<T: std::fmt::Debug>(reading: Reading<T>) -> String {
        format!("{:?}", reading.unwrap_err())
    }

    #[test]
    fn a_refusal_names_the_path_of_the_field() {
        let body = json!({ "policy": { "list": [{ "n": 1 }, { "n": "x" }], "id": "nonsense", "flag": 1 } });
        let policy = Object::wrapped(&body, "policy").unwrap();
        assert!(refusal(policy.field("name").text()).contains("policy.name: is missing"));
        assert!(refusal(policy.field("flag").boolean()).contains("policy.flag: must be true or false"));
        assert!(refusal(policy.field("id").id::<PolicyId>()).contains("policy.id: "));
        let second = policy.field("list").list().unwrap()[1].clone().object().unwrap();
        assert!(refusal(second.field("n").integer()).contains("policy.list[1].n: must be a whole number"));
    }

    #[test]
    fn a_body_without_its_wrapper_is_refused_by_name() {
        for body in [json!({}), json!({ "other": {} }), json!({ "policy": null })] {
            assert!(refusal(Object::wrapped(&body, "policy")).contains("policy: is missing"));
        }
        assert!(refusal(Object::wrapped(&json!([]), "policy")).contains("body: must be a JSON object"));
        assert!(refusal(Object::wrapped(&json!({ "policy": [] }), "policy")).contains("policy: must be"));
    }

    #[test]
    fn numbers_and_booleans_come_as_texts_only_where_that_is_the_custom() {
        let body = json!({ "a": "20", "b": "False", "c": 1.0, "d": 20, "e": true, "f": "1e2" });
        let body = Object::body(&body).unwrap();
        assert_eq!(body.field("a").loose_integer(), Ok(20));
        assert_eq!(body.field("d").loose_integer(), Ok(20));
        assert_eq!(body.field("b").loose_boolean(), Ok(false));
        assert_eq!(body.field("e").loose_boolean(), Ok(true));
        assert!(body.field("a").integer().is_err());
        assert!(body.field("b").boolean().is_err());
        assert_eq!(body.field("c").loose_integer(), Ok(1), "JSON has one kind of number");
        assert!(body.field("f").loose_integer().is_err());
    }

    #[test]
    fn whole_numbers_are_those_that_json_keeps_exactly() {
        let body = json!({ "a": 9_007_199_254_740_992_i64, "b": -9_007_199_254_740_992.0, "c": 9_007_199_254_740_993_i64,
            "d": u64::MAX, "e": 1e300, "f": -1.5 });
        let body = Object::body(&body).unwrap();
        assert_eq!(body.field("a").integer(), Ok(1 << 53));
        assert_eq!(body.field("b").integer(), Ok(-(1 << 53)));
        for bad in ["c", "d", "e", "f"] {
            assert!(refusal(body.field(bad).integer()).contains("must be a whole number"), "{bad}");
        }
    }

    #[test]
    fn null_counts_as_absent_and_nul_is_refused() {
        let body = json!({ "description": null, "name": "a\u{0}b" });
        let body = Object::body(&body).unwrap();
        assert_eq!(body.field("description").optional(|field| field.description()), Ok(None));
        assert!(refusal(body.field("name").text()).contains("NUL"));
    }

    #[test]
    fn tags_follow_their_rules() {
        let read = |value: Value| {
            let body = json!({ "tags": value });
            Object::body(&body).unwrap().field("tags").tags().map(|tags| tags.len())
        };
        assert_eq!(read(json!([{ "key": "a", "value": "b" }, { "key": "b" }])), Ok(2));
        assert!(refusal(read(json!([]))).contains("tags: must hold 1 to 10 tags"));
        assert!(
            refusal(read(json!([{ "key": "a" }, { "key": "a" }]))).contains("tags: tag keys must be unique")
        );
        assert!(refusal(read(json!([{ "key": "a b" }]))).contains("tags[0]: tag key"));
    }
}
