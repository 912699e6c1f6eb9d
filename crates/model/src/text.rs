//! The text rules of CSBS (`csbs-v1-api.md` §2.1): names, descriptions and tags. Texts come back
//! byte for byte; nothing here changes one.

use std::fmt;

/// A text that breaks a rule; the caller adds the name of the field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct BadText {
    /// The broken rule, as a sentence about the field.
    pub why: &'static str,
}

/// A name: 1 to 255 letters, digits, `_`, `-` and Chinese characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(String);

impl Name {
    /// Checks and keeps a name.
    pub fn new(text: &str) -> Result<Name, BadText> {
        if !(1..=255).contains(&text.chars().count()) {
            return Err(BadText { why: "must be 1 to 255 characters long" });
        }
        if !text.chars().all(is_name_character) {
            return Err(BadText { why: "may hold letters, digits, '_', '-' and Chinese characters only" });
        }
        Ok(Name(text.to_owned()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name_character(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || c == '_'
        || c == '-'
        || matches!(c, '\u{4E00}'..='\u{9FA5}' | '\u{F900}'..='\u{FA2D}')
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// A description: 0 to 255 characters without `<` and `>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description(String);

impl Description {
    /// Checks and keeps a description.
    pub fn new(text: &str) -> Result<Description, BadText> {
        if text.chars().count() > 255 {
            return Err(BadText { why: "must be at most 255 characters long" });
        }
        if text.contains(['<', '>']) {
            return Err(BadText { why: "may not hold '<' or '>'" });
        }
        Ok(Description(text.to_owned()))
    }

    /// The description as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One tag of a policy or a checkpoint item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    /// 1 to 36 letters, digits, `-` and `_`.
    pub key: String,
    /// 0 to 43 characters of the same set.
    pub value: String,
}

/// The most tags one thing may carry.
pub const TAGS_MAX: usize = 10;

impl Tag {
    /// Checks a tag that a caller wants to create; outer spaces are trimmed.
    pub fn new(key: &str, value: &str) -> Result<Tag, BadText> {
        let (key, value) = (key.trim(), value.trim());
        let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if key.is_empty() || key.len() > 36 || !is_plain(key) {
            return Err(BadText { why: "tag key must be 1 to 36 letters, digits, '-' and '_'" });
        }
        if value.len() > 43 || !is_plain(value) {
            return Err(BadText { why: "tag value must be at most 43 letters, digits, '-' and '_'" });
        }
        Ok(Tag { key: key.to_owned(), value: value.to_owned() })
    }

    /// Checks the tags of one new thing together: not empty, at most ten, keys unique.
    pub fn new_set(tags: Vec<Tag>) -> Result<Vec<Tag>, BadText> {
        if tags.is_empty() || tags.len() > TAGS_MAX {
            return Err(BadText { why: "must hold 1 to 10 tags" });
        }
        for (position, tag) in tags.iter().enumerate() {
            if tags[..position].iter().any(|earlier| earlier.key == tag.key) {
                return Err(BadText { why: "tag keys must be unique" });
            }
        }
        Ok(tags)
    }

    /// The tags that a thing has once it is given some more: a known key keeps its place and gets the new
    /// value. Nothing when that would be more than [`TAGS_MAX`].
    pub fn merged(before: &[Tag], given: &[Tag]) -> Option<Vec<Tag>> {
        let mut merged = before.to_vec();
        for tag in given {
            match merged.iter_mut().find(|known| known.key == tag.key) {
                Some(known) => known.value.clone_from(&tag.value),
                None => merged.push(tag.clone()),
            }
        }
        (merged.len() <= TAGS_MAX).then_some(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_rules_of_the_origin() {
        for good in ["a", "nightly_1-b", "备份", &"x".repeat(255)] {
            assert_eq!(Name::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a.b", "<a>", "é", &"x".repeat(256)] {
            assert!(Name::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn tags_are_trimmed_unique_and_few() {
        let tag = Tag::new(" a ", " b ").unwrap();
        assert_eq!((tag.key.as_str(), tag.value.as_str()), ("a", "b"));
        assert!(Tag::new("", "b").is_err());
        assert!(Tag::new_set(vec![]).is_err());
        assert!(Tag::new_set(vec![tag.clone(), tag]).is_err());
    }

    #[test]
    fn a_given_tag_overwrites_its_key_in_place_and_an_eleventh_is_too_many() {
        let tag = |key: &str, value: &str| Tag::new(key, value).unwrap();
        let before = [tag("a", "1"), tag("b", "2")];
        let given = [tag("c", "3"), tag("a", "9"), tag("c", "4")];
        let merged = Tag::merged(&before, &given).unwrap();
        assert_eq!(merged, [tag("a", "9"), tag("b", "2"), tag("c", "4")]);
        let ten: Vec<Tag> = (0..10).map(|n| tag(&format!("k{n}"), "")).collect();
        assert_eq!(Tag::merged(&ten, &[tag("k3", "new")]).unwrap().len(), TAGS_MAX);
        assert_eq!(Tag::merged(&ten, &[tag("eleventh", "")]), None);
    }
}
