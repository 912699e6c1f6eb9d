//! Pages of lists: limit, offset, marker and sort out of a query, and the absolute `next` link into an
//! answer (`csbs-v1-api.md` §2.2).

use control::page::{Direction, Page, PageOf, Sort};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::ApiError;
use super::request::Query;

/// The most rows of one page, and the default.
const PAGE_ROWS_MAX: u32 = 1000;
/// The longest `sort`, in characters.
const SORT_CHARACTERS_MAX: usize = 255;

/// The `…_links` of a list: one link while there is more, else none.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Links(Vec<Link>);

#[derive(Debug, Serialize, ToSchema)]
struct Link {
    rel: &'static str,
    href: String,
}

impl Links {
    /// Whether the list ends here.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The link to the page after `found`: the caller's own query with the last id as marker.
    pub(crate) fn next<Row>(
        found: &PageOf<Row>,
        id: impl Fn(&Row) -> String,
        query: &Query,
        api_url: &str,
    ) -> Links {
        let (true, Some(last)) = (found.has_more, found.rows.last()) else { return Links::default() };
        let kept = query.pairs().iter().filter(|(name, _)| name != "marker" && name != "offset");
        let mut text: String =
            kept.map(|(name, value)| format!("{}={}&", encoded(name), encoded(value))).collect();
        text.push_str(&format!("marker={}", encoded(&id(last))));
        Links(vec![Link { rel: "next", href: format!("{api_url}{}?{text}", query.path()) }])
    }
}

/// Percent-encodes everything that is not unreserved.
fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte))
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The page that a query asks for; `keys` are the words that this list can be sorted by.
pub(crate) fn read_page<Key: Copy>(query: &Query, keys: &[(&str, Key)]) -> Result<Page<Key>, ApiError> {
    let limit: u32 = match query.last("limit") {
        Some(text) => read_limit(text)?,
        None => PAGE_ROWS_MAX,
    };
    let offset: Option<u32> = query.parsed("offset", "0 or a positive whole number")?;
    Ok(Page {
        limit,
        offset: offset.unwrap_or(0).into(),
        marker: query.last("marker").map(str::to_owned),
        sort: read_sort(query, keys)?,
    })
}

/// A positive number of any size; what is above the largest page means the largest page.
fn read_limit(text: &str) -> Result<u32, ApiError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(0) => Err(ApiError::malformed("limit", "must be a positive whole number")),
        Ok(limit) => Ok(limit.min(PAGE_ROWS_MAX)),
        Err(_) if is_number => Ok(PAGE_ROWS_MAX),
        Err(_) => Err(ApiError::malformed("limit", "must be a positive whole number")),
    }
}

/// `sort=key[:dir],…`, or the older pair `sort_key` and `sort_dir`; never both.
fn read_sort<Key: Copy>(query: &Query, keys: &[(&str, Key)]) -> Result<Vec<Sort<Key>>, ApiError> {
    let pair = (query.last("sort_key"), query.last("sort_dir"));
    let text = match (query.last("sort"), pair) {
        (Some(_), (Some(_), _) | (_, Some(_))) => {
            return Err(ApiError::malformed("sort", "cannot be mixed with sort_key and sort_dir"));
        }
        (Some(text), (None, None)) => text.to_owned(),
        (None, (None, None)) => return Ok(Vec::new()),
        (None, (key, direction)) => {
            format!("{}:{}", key.unwrap_or("created_at"), direction.unwrap_or("desc"))
        }
    };
    if text.chars().count() > SORT_CHARACTERS_MAX {
        return Err(ApiError::malformed("sort", "must be at most 255 characters long"));
    }
    text.split(',').map(|part| read_sort_key(part.trim(), keys)).collect()
}

fn read_sort_key<Key: Copy>(part: &str, keys: &[(&str, Key)]) -> Result<Sort<Key>, ApiError> {
    let (word, direction) = part.split_once(':').unwrap_or((part, "desc"));
    let direction = match direction {
        "asc" => Direction::Ascending,
        "desc" => Direction::Descending,
        _ => return Err(ApiError::malformed("sort", "direction must be asc or desc")),
    };
    match keys.iter().find(|(known, _)| *known == word) {
        Some((_, key)) => Ok(Sort { key: *key, direction }),
        None => {
            let known: Vec<&str> = keys.iter().map(|(word, _)| *word).collect();
            Err(ApiError::malformed("sort", format!("key must be one of {}", known.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [(&str, u8); 2] = [("created_at", 1), ("name", 2)];

    fn read(text: &str) -> Result<Page<u8>, ApiError> {
        read_page(&Query::of(&text.parse().unwrap()).unwrap(), &KEYS)
    }

    #[test]
    fn limits_are_positive_and_clamped_and_offsets_are_not_negative() {
        assert_eq!(read("/x").unwrap().limit, 1000);
        assert_eq!(read("/x?limit=5").unwrap().limit, 5);
        assert_eq!(read("/x?limit=1001").unwrap().limit, 1000);
        assert_eq!(read("/x?limit=99999999999999999999").unwrap().limit, 1000);
        assert_eq!(read("/x?offset=0").unwrap().offset, 0);
        for bad in ["limit=0", "limit=-1", "limit=x", "limit=1.5", "limit=%2B5x", "offset=-1", "offset=x"] {
            assert!(read(&format!("/x?{bad}")).is_err(), "{bad}");
        }
    }

    #[test]
    fn sort_takes_keys_with_directions_and_refuses_strangers() {
        let sort = read("/x?sort=name%3Aasc,created_at").unwrap().sort;
        let expected = [(2, Direction::Ascending), (1, Direction::Descending)];
        assert_eq!(sort.iter().map(|sort| (sort.key, sort.direction)).collect::<Vec<_>>(), expected);
        let sort = read("/x?sort_key=name&sort_dir=asc").unwrap().sort;
        assert_eq!((sort[0].key, sort[0].direction), (2, Direction::Ascending));
        for bad in ["sort=size", "sort=name:up", "sort=name&sort_key=name", "sort=,"] {
            assert!(read(&format!("/x?{bad}")).is_err(), "{bad}");
        }
        assert!(read(&format!("/x?sort={}", "name,".repeat(60))).is_err());
    }

    #[test]
    fn the_next_link_is_absolute_and_keeps_the_callers_filters() {
        let query = Query::of(&"/v1/p/policies?limit=2&offset=4&name=%C3%A4%26b".parse().unwrap()).unwrap();
        let found = PageOf { rows: vec![1, 2], has_more: true };
        let links = Links::next(&found, |row| row.to_string(), &query, "http://h:1");
        assert_eq!(links.0[0].href, "http://h:1/v1/p/policies?limit=2&name=%C3%A4%26b&marker=2");
        let found = PageOf { has_more: false, ..found };
        assert!(Links::next(&found, |row| row.to_string(), &query, "http://h:1").is_empty());
    }
}
