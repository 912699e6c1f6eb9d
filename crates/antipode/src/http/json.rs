//! JSON bodies, read strictly: what two readers could understand differently is refused, and so is what
//! would cost far more memory than it has bytes.
//!
//! A key may stand once in an object. Nesting is bounded by `serde_json`, the number of values here; a lone
//! surrogate, a number beyond what a double holds and bytes that are no UTF-8 are no JSON to begin with.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// The most values in one body, keys not counted. The largest honest body is a list of changed extents.
const VALUES_MAX: u32 = 200_000;

/// Reads one JSON document.
pub(super) fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let left = Cell::new(VALUES_MAX);
    let value = Strict { left: &left }.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// Reads one value and everything in it.
#[derive(Clone, Copy)]
struct Strict<'a> {
    left: &'a Cell<u32>,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| D::Error::custom(format!("more than {VALUES_MAX} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, fact: bool) -> Result<Value, E> {
        Ok(Value::Bool(fact))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Number::from_f64(number).map(Value::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(member) = members.next_element_seed(self)? {
            list.push(member);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if map.contains_key(&key) {
                let short: String = key.chars().take(80).collect();
                return Err(A::Error::custom(format!("the key {short:?} stands twice in one object")));
            }
            let value = members.next_value_seed(self)?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn what_is_sound_comes_as_it_is() {
        let text =
            r#"{"a": [1, -2, 3.5, true, null, "ä\ud83d\ude00"], "b": {"a": {}}, "c": 18446744073709551615}"#;
        let expected = json!({ "a": [1, -2, 3.5, true, null, "ä😀"], "b": { "a": {} }, "c": u64::MAX });
        assert_eq!(parse(text.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn what_two_readers_would_understand_differently_is_refused() {
        assert!(refusal(r#"{"a": 1, "b": {"c": 1, "c": 2}}"#).contains("\"c\" stands twice"));
        assert!(refusal(r#"{"a": 1, "\u0061": 2}"#).contains("\"a\" stands twice"));
        assert!(refusal(r#"{"a": 1e400}"#).contains("out of range"));
        assert!(
            refusal(r#"["\ud800"]"#).contains("surrogate") || refusal(r#"["\ud800"]"#).contains("hex escape")
        );
        assert!(refusal(r#"{} {}"#).contains("trailing"));
        assert!(parse(b"[\"\xff\"]").is_err());
        for bad in ["NaN", "[1,]", "{'a': 1}", "01", "\u{feff}{}", "[\"\n\"]"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn depth_and_number_of_values_are_bounded() {
        assert!(refusal(&"[".repeat(100_000)).contains("recursion limit"));
        assert!(refusal(&format!("[{}0]", "0,".repeat(200_000))).contains("more than 200000 values"));
        assert!(
            refusal(&format!("[{}{{}}]", "{\"\":0},".repeat(100_000))).contains("more than 200000 values")
        );
    }
}
