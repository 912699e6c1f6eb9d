//! Pages of long lists: limit, offset, marker and order, the same for every list.
//!
//! A marker is the id of the last thing of the previous page; the page goes on after it in the very
//! order asked for, whatever was inserted or removed meanwhile. Ties are broken by id.

use sqlx::AssertSqlSafe;

use crate::engine::Tx;
use crate::error::CatalogError;
use crate::value::{Row, Value, values};

/// The most rows one page holds; a larger limit is cut to it. One more than the largest page a
/// client may ask for, so that a caller can see whether more follows.
pub const PAGE_ROWS_MAX: u32 = 1001;

/// Which part of a list is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<Key> {
    /// The most rows wanted; cut to [`PAGE_ROWS_MAX`].
    pub limit: u32,
    /// Rows to leave out, counted from the marker if there is one.
    pub offset: u64,
    /// The id of the last row of the previous page.
    pub marker: Option<String>,
    /// The order; empty means newest first.
    pub sort: Vec<Sort<Key>>,
}

/// One key of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sort<Key> {
    /// By what.
    pub key: Key,
    /// Which way.
    pub direction: Direction,
}

/// The way of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

impl<Key> Page<Key> {
    /// The first page of the default order.
    pub fn first() -> Page<Key> {
        Page { limit: PAGE_ROWS_MAX, offset: 0, marker: None, sort: Vec::new() }
    }
}

impl<Key> Default for Page<Key> {
    fn default() -> Page<Key> {
        Page::first()
    }
}

/// A key that a list can be ordered by.
pub(crate) trait SortKey: Copy {
    /// The key of the default order, which is descending.
    const DEFAULT: Self;

    /// The SQL expression; never null.
    fn expression(self) -> &'static str;

    /// Whether the expression is text; otherwise it is a number.
    fn is_text(self) -> bool;
}

/// A WHERE clause being put together, with its values.
pub(crate) struct Where {
    terms: Vec<String>,
    values: Vec<Value>,
}

impl Where {
    pub(crate) fn new() -> Where {
        Where { terms: Vec::new(), values: Vec::new() }
    }

    /// Adds a term without values.
    pub(crate) fn term(&mut self, term: &str) {
        self.terms.push(term.to_owned());
    }

    /// Adds `left` (an expression with its comparison, such as `name =`) against a value.
    pub(crate) fn compare(&mut self, left: &str, value: impl Into<Value>) {
        let place = self.bind(value);
        self.terms.push(format!("{left} {place}"));
    }

    /// Adds "the column is one of these"; no values means any.
    pub(crate) fn any_of(&mut self, column: &str, values: impl IntoIterator<Item = impl Into<Value>>) {
        let places: Vec<String> = values.into_iter().map(|value| self.bind(value)).collect();
        if !places.is_empty() {
            self.terms.push(format!("{column} IN ({})", places.join(", ")));
        }
    }

    /// Adds "the column contains this text", letter case aside.
    pub(crate) fn contains(&mut self, column: &str, text: &str) {
        let place = self.bind(like_pattern(text));
        self.terms.push(format!("LOWER({column}) LIKE {place} ESCAPE '\\'"));
    }

    /// Notes a value and gives its place, such as `$3`.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> String {
        self.values.push(value.into());
        format!("${}", self.values.len())
    }

    /// The clause, beginning with WHERE, or nothing.
    pub(crate) fn clause(&self) -> String {
        if self.terms.is_empty() { String::new() } else { format!("WHERE {}", self.terms.join(" AND ")) }
    }

    pub(crate) fn into_values(self) -> Vec<Value> {
        self.values
    }
}

/// A list that can be asked for in pages.
pub(crate) struct List {
    /// What to select: the columns.
    pub(crate) columns: &'static str,
    /// The one table, with an `id` column.
    pub(crate) table: &'static str,
    /// What one row is called in errors.
    pub(crate) what: &'static str,
}

impl List {
    /// One page of the rows that `filter` lets through.
    pub(crate) async fn page<Key: SortKey>(
        &self,
        tx: &mut Tx,
        mut filter: Where,
        page: &Page<Key>,
    ) -> Result<Vec<Row>, CatalogError> {
        let mut sort = page.sort.clone();
        if sort.is_empty() {
            sort.push(Sort { key: Key::DEFAULT, direction: Direction::Descending });
        }
        if let Some(marker) = &page.marker {
            self.start_after(tx, &mut filter, &sort, marker).await?;
        }
        let mut order: Vec<String> =
            sort.iter().map(|sort| format!("{} {}", sort.key.expression(), word(sort.direction))).collect();
        order.push(format!("id {}", word(last_direction(&sort))));
        let limit = filter.bind(page.limit.min(PAGE_ROWS_MAX));
        let offset = filter.bind(page.offset);
        let sql = format!(
            "SELECT {} FROM {} {} ORDER BY {} LIMIT {limit} OFFSET {offset}",
            self.columns,
            self.table,
            filter.clause(),
            order.join(", ")
        );
        // Safe: made of our own expressions and places; every value is bound.
        tx.all(AssertSqlSafe(sql), filter.into_values()).await
    }

    /// How many rows `filter` lets through.
    pub(crate) async fn count(&self, tx: &mut Tx, filter: Where) -> Result<u64, CatalogError> {
        let sql = format!("SELECT COUNT(*) AS row_count FROM {} {}", self.table, filter.clause());
        // Safe: made of our own expressions and places; every value is bound.
        let row = tx.first(AssertSqlSafe(sql), filter.into_values()).await?;
        row.map_or(Ok(0), |row| row.count("row_count"))
    }

    /// Adds "comes after the marker": for keys a, b: a after, or a equal and b after, and so on.
    async fn start_after<Key: SortKey>(
        &self,
        tx: &mut Tx,
        filter: &mut Where,
        sort: &[Sort<Key>],
        marker: &str,
    ) -> Result<(), CatalogError> {
        let keys: Vec<String> = sort
            .iter()
            .enumerate()
            .map(|(index, sort)| format!("{} AS key_{index}", sort.key.expression()))
            .collect();
        let sql = format!("SELECT {} FROM {} WHERE id = $1", keys.join(", "), self.table);
        // Safe: made of our own expressions and places; every value is bound.
        let row = tx.first(AssertSqlSafe(sql), values![marker]).await?;
        let row = row.ok_or_else(|| CatalogError::not_found(self.what, marker))?;
        let mut steps = Vec::with_capacity(sort.len() + 1);
        for (index, sort) in sort.iter().enumerate() {
            let column = format!("key_{index}");
            let value = if sort.key.is_text() {
                Value::from(row.text(&column)?)
            } else {
                Value::from(row.integer(&column)?)
            };
            steps.push((sort.key.expression(), sort.direction, filter.bind(value)));
        }
        steps.push(("id", last_direction(sort), filter.bind(marker)));
        let mut ways = Vec::with_capacity(steps.len());
        for (length, (expression, direction, place)) in steps.iter().enumerate() {
            let mut way: Vec<String> =
                steps[..length].iter().map(|(before, _, value)| format!("{before} = {value}")).collect();
            let comparison = if *direction == Direction::Ascending { ">" } else { "<" };
            way.push(format!("{expression} {comparison} {place}"));
            ways.push(format!("({})", way.join(" AND ")));
        }
        filter.term(&format!("({})", ways.join(" OR ")));
        Ok(())
    }
}

fn last_direction<Key>(sort: &[Sort<Key>]) -> Direction {
    sort.last().map_or(Direction::Descending, |sort| sort.direction)
}

fn word(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => "ASC",
        Direction::Descending => "DESC",
    }
}

fn like_pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character.to_ascii_lowercase());
    }
    pattern.push('%');
    pattern
}

/// The words of a comma list of places `$first`, `$first + 1`, …
pub(crate) fn places(first: usize, count: usize) -> String {
    (first..first + count).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ")
}

/// The rows of a VALUES list of pairs: `($first, $first + 1), …`
pub(crate) fn pair_places(first: usize, count: usize) -> String {
    let pairs = (0..count).map(|pair| format!("(${}, ${})", first + 2 * pair, first + 2 * pair + 1));
    pairs.collect::<Vec<_>>().join(", ")
}
