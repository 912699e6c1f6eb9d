//! Reading the JSON texts that [`super::document`] writes, years later and from a store that may be
//! damaged: nothing panics, nothing recurses deep. Numbers are whole, as everything we write is.

use std::str::Chars;

/// How deep lists and objects may lie in one another.
const DEPTH_MAX: u32 = 16;

/// A document that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its document {why}")]
pub(crate) struct BadDocument {
    /// What is wrong with it.
    pub(crate) why: String,
}

impl BadDocument {
    pub(crate) fn new(why: impl Into<String>) -> BadDocument {
        BadDocument { why: why.into() }
    }
}

/// A value of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Json {
    Null,
    Truth(bool),
    Number(i64),
    Text(String),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// Reads a whole text.
    pub(crate) fn parse(text: &str) -> Result<Json, BadDocument> {
        let mut reader = Reader { rest: text.chars() };
        let value = reader.value(0)?;
        reader.skip_space();
        match reader.rest.next() {
            None => Ok(value),
            Some(_) => Err(BadDocument::new("goes on after its end")),
        }
    }

    /// A field of an object; null counts as absent.
    pub(crate) fn optional(&self, name: &str) -> Option<&Json> {
        let Json::Object(fields) = self else { return None };
        let found = fields.iter().find(|(field, _)| field == name).map(|(_, value)| value);
        found.filter(|value| **value != Json::Null)
    }

    fn field(&self, name: &str) -> Result<&Json, BadDocument> {
        self.optional(name).ok_or_else(|| BadDocument::new(format!("has no {name}")))
    }

    /// A field that is a text.
    pub(crate) fn text(&self, name: &str) -> Result<&str, BadDocument> {
        match self.field(name)? {
            Json::Text(text) => Ok(text),
            _ => Err(other_kind(name)),
        }
    }

    /// A field that is a text, if it is there.
    pub(crate) fn optional_text(&self, name: &str) -> Result<Option<&str>, BadDocument> {
        self.optional(name).map(|_| self.text(name)).transpose()
    }

    /// A field that is an id, or anything else with one spelling.
    pub(crate) fn id<T: std::str::FromStr>(&self, name: &str) -> Result<T, BadDocument> {
        self.text(name)?.parse().map_err(|_| other_kind(name))
    }

    /// A field that is a truth value.
    pub(crate) fn truth(&self, name: &str) -> Result<bool, BadDocument> {
        match self.field(name)? {
            Json::Truth(value) => Ok(*value),
            _ => Err(other_kind(name)),
        }
    }

    /// A field that is a whole number of the wanted type.
    pub(crate) fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T, BadDocument> {
        match self.field(name)? {
            Json::Number(number) => T::try_from(*number).map_err(|_| other_kind(name)),
            _ => Err(other_kind(name)),
        }
    }

    /// A field that is a whole number, if it is there.
    pub(crate) fn optional_number<T: TryFrom<i64>>(&self, name: &str) -> Result<Option<T>, BadDocument> {
        self.optional(name).map(|_| self.number(name)).transpose()
    }

    /// A field that is a list.
    pub(crate) fn list(&self, name: &str) -> Result<&[Json], BadDocument> {
        match self.field(name)? {
            Json::List(members) => Ok(members),
            _ => Err(other_kind(name)),
        }
    }

    /// A field that is an object.
    pub(crate) fn object(&self, name: &str) -> Result<&Json, BadDocument> {
        match self.field(name)? {
            object @ Json::Object(_) => Ok(object),
            _ => Err(other_kind(name)),
        }
    }
}

fn other_kind(name: &str) -> BadDocument {
    BadDocument::new(format!("has another kind of {name}"))
}

struct Reader<'a> {
    rest: Chars<'a>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(' ' | '\n' | '\r' | '\t')) {
            self.rest.next();
        }
    }

    /// Takes a character if it is the next one.
    fn takes(&mut self, wanted: char) -> bool {
        self.skip_space();
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.rest.next();
        }
        is_next
    }

    fn value(&mut self, depth: u32) -> Result<Json, BadDocument> {
        if depth > DEPTH_MAX {
            return Err(BadDocument::new("lies too deep"));
        }
        self.skip_space();
        match self.peek() {
            Some('{') => self.object(depth),
            Some('[') => self.list(depth),
            Some('"') => self.string().map(Json::Text),
            Some('-' | '0'..='9') => self.number(),
            Some(_) => self.word(),
            None => Err(BadDocument::new("ends early")),
        }
    }

    fn object(&mut self, depth: u32) -> Result<Json, BadDocument> {
        self.takes('{');
        let mut fields = Vec::new();
        if self.takes('}') {
            return Ok(Json::Object(fields));
        }
        loop {
            self.skip_space();
            let name = self.string()?;
            if !self.takes(':') {
                return Err(BadDocument::new("lacks a colon"));
            }
            if fields.iter().any(|(field, _)| *field == name) {
                return Err(BadDocument::new(format!("has {name} twice")));
            }
            fields.push((name, self.value(depth + 1)?));
            if self.takes('}') {
                return Ok(Json::Object(fields));
            }
            if !self.takes(',') {
                return Err(BadDocument::new("lacks a comma"));
            }
        }
    }

    fn list(&mut self, depth: u32) -> Result<Json, BadDocument> {
        self.takes('[');
        let mut members = Vec::new();
        if self.takes(']') {
            return Ok(Json::List(members));
        }
        loop {
            members.push(self.value(depth + 1)?);
            if self.takes(']') {
                return Ok(Json::List(members));
            }
            if !self.takes(',') {
                return Err(BadDocument::new("lacks a comma"));
            }
        }
    }

    fn string(&mut self) -> Result<String, BadDocument> {
        if self.rest.next() != Some('"') {
            return Err(BadDocument::new("lacks a quote"));
        }
        let mut text = String::new();
        loop {
            match self.rest.next() {
                Some('"') => return Ok(text),
                Some('\\') => text.push(self.escaped()?),
                Some(character) if character >= ' ' => text.push(character),
                _ => return Err(BadDocument::new("has a text without an end")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, BadDocument> {
        let bad = || BadDocument::new("has an unknown escape");
        match self.rest.next().ok_or_else(bad)? {
            'n' => Ok('\n'),
            'r' => Ok('\r'),
            't' => Ok('\t'),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            plain @ ('"' | '\\' | '/') => Ok(plain),
            'u' => {
                let digits: String = self.rest.by_ref().take(4).collect();
                // We escape control characters only, so halves of a pair never occur.
                u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32).ok_or_else(bad)
            }
            _ => Err(bad()),
        }
    }

    fn number(&mut self) -> Result<Json, BadDocument> {
        let mut digits = String::new();
        while let Some(character @ ('-' | '0'..='9')) = self.peek() {
            digits.push(character);
            self.rest.next();
        }
        digits.parse().map(Json::Number).map_err(|_| BadDocument::new("has a number that is none"))
    }

    fn word(&mut self) -> Result<Json, BadDocument> {
        for (word, value) in
            [("true", Json::Truth(true)), ("false", Json::Truth(false)), ("null", Json::Null)]
        {
            if let Some(rest) = self.rest.as_str().strip_prefix(word) {
                self.rest = rest.chars();
                return Ok(value);
            }
        }
        Err(BadDocument::new("has an unknown word"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_we_write_is_read_back() {
        let text = r#"{"a":"x\"\\\n\u0001é","b":[1,-2,{}],"c":true,"d":null,"e":{"f":[]}}"#;
        let json = Json::parse(text).unwrap();
        assert_eq!(json.text("a").unwrap(), "x\"\\\n\u{1}é");
        assert_eq!(json.list("b").unwrap()[1], Json::Number(-2));
        assert!(json.truth("c").unwrap());
        assert_eq!(json.optional_text("d").unwrap(), None);
        assert_eq!(json.object("e").unwrap().list("f").unwrap(), []);
        assert!(json.text("missing").is_err() && json.number::<u8>("a").is_err());
        assert!(Json::parse(r#"{"n":256}"#).unwrap().number::<u8>("n").is_err());
    }

    #[test]
    fn whatever_is_damaged_is_refused() {
        let text = r#"{"a":"x\n","b":[1,-2,{}],"c":true,"d":{"e":null}}"#;
        for length in 0..text.len() {
            assert!(Json::parse(&text[..length]).is_err(), "{length}");
        }
        for bad in [
            "{}x",
            "{\"a\":1,\"a\":2}",
            "\"\\u00\"",
            "\"\\ud800\"",
            "1-2",
            "99999999999999999999",
            "{\"a\" 1}",
            "[1 2]",
            "\"\u{1}\"",
            "nul",
        ] {
            assert!(Json::parse(bad).is_err(), "{bad}");
        }
        assert!(Json::parse(&"[".repeat(1000)).is_err());
    }
}
