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
    /// The column and the value that say whose rows these are.
    owner: Option<(&'static str, Value)>,
}

impl Where {
    pub(crate) fn new() -> Where {
        Where { terms: Vec::new(), values: Vec::new(), owner: None }
    }

    /// The rows of one owner. A marker must be one of them as well: one that names somebody else's row is
    /// answered as one that names nothing.
    pub(crate) fn of(column: &'static str, owner: impl Into<Value>) -> Where {
        let owner = owner.into();
        let mut terms = Where { owner: Some((column, owner.clone())), ..Where::new() };
        terms.compare(&format!("{column} ="), owner);
        terms
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

    /// Adds "the column is one of these"; no values means any. One value is compared by `=`, so that an
    /// index that goes on with the order of the list gives that order.
    pub(crate) fn any_of(&mut self, column: &str, values: impl IntoIterator<Item = impl Into<Value>>) {
        let places: Vec<String> = values.into_iter().map(|value| self.bind(value)).collect();
        match places.as_slice() {
            [] => {}
            [place] => self.terms.push(format!("{column} = {place}")),
            places => self.terms.push(format!("{column} IN ({})", places.join(", "))),
        }
    }

    /// Adds "the column contains one of these texts", letter case aside; no texts means any.
    pub(crate) fn contains_any(&mut self, column: &str, texts: &[String]) {
        let ways: Vec<String> = texts.iter().map(|text| self.containing(column, text)).collect();
        if !ways.is_empty() {
            self.terms.push(format!("({})", ways.join(" OR ")));
        }
    }

    /// "The column contains this text" as a term that is not added yet.
    pub(crate) fn containing(&mut self, column: &str, text: &str) -> String {
        let place = self.bind(like_pattern(text));
        format!("LOWER({column}) LIKE {place} ESCAPE '\\'")
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

/// One step of an order: an expression, whether it is text, and the way.
#[derive(Clone, Copy)]
struct Step {
    expression: &'static str,
    is_text: bool,
    direction: Direction,
}

impl List {
    /// One page of the rows that `filter` lets through.
    ///
    /// The ids are chosen first, by an index alone where there is one for filter and order; only the rows
    /// of the page are read whole. So a page in the middle costs index entries, not rows.
    pub(crate) async fn page<Key: SortKey>(
        &self,
        tx: &mut Tx,
        mut filter: Where,
        page: &Page<Key>,
    ) -> Result<Vec<Row>, CatalogError> {
        let steps = steps_of(&page.sort);
        if let Some(marker) = &page.marker {
            self.start_after(tx, &mut filter, &steps, marker).await?;
        }
        let order: Vec<String> =
            steps.iter().map(|step| format!("{} {}", step.expression, word(step.direction))).collect();
        let order = order.join(", ");
        let limit = filter.bind(page.limit.min(PAGE_ROWS_MAX));
        let offset = filter.bind(page.offset);
        let (columns, table, clause) = (self.columns, self.table, filter.clause());
        let sql = format!(
            "SELECT {columns} FROM {table} WHERE id IN (SELECT id FROM {table} {clause} ORDER BY {order} \
             LIMIT {limit} OFFSET {offset}) ORDER BY {order}"
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

    /// Adds "comes after the marker".
    async fn start_after(
        &self,
        tx: &mut Tx,
        filter: &mut Where,
        steps: &[Step],
        marker: &str,
    ) -> Result<(), CatalogError> {
        let keys = steps.iter().enumerate();
        let keys: Vec<String> = keys.map(|(n, step)| format!("{} AS key_{n}", step.expression)).collect();
        let mut values = values![marker];
        let mut sql = format!("SELECT {} FROM {} WHERE id = $1", keys.join(", "), self.table);
        if let Some((column, owner)) = &filter.owner {
            sql.push_str(&format!(" AND {column} = $2"));
            values.push(owner.clone());
        }
        // Safe: made of our own expressions and places; every value is bound.
        let row = tx.first(AssertSqlSafe(sql), values).await?;
        let row = row.ok_or_else(|| CatalogError::not_found(self.what, marker))?;
        let mut places = Vec::with_capacity(steps.len());
        for (n, step) in steps.iter().enumerate() {
            let column = format!("key_{n}");
            places.push(if step.is_text {
                filter.bind(row.text(&column)?)
            } else {
                filter.bind(row.integer(&column)?)
            });
        }
        filter.term(&after(steps, &places));
        Ok(())
    }
}

/// The steps of an order: the default when none is given, each key once, and the id last, which breaks ties.
fn steps_of<Key: SortKey>(sort: &[Sort<Key>]) -> Vec<Step> {
    let default = [Sort { key: Key::DEFAULT, direction: Direction::Descending }];
    let sort = if sort.is_empty() { &default } else { sort };
    let mut steps: Vec<Step> = Vec::with_capacity(sort.len() + 1);
    let last = sort.last().map_or(Direction::Descending, |sort| sort.direction);
    let keys = sort.iter().map(|sort| Step {
        expression: sort.key.expression(),
        is_text: sort.key.is_text(),
        direction: sort.direction,
    });
    for step in keys.chain([Step { expression: "id", is_text: true, direction: last }]) {
        if steps.iter().all(|before| before.expression != step.expression) {
            steps.push(step);
        }
    }
    steps
}

/// "Comes after these places in this order." With one way for all keys that is a comparison of rows, which both
/// engines look up in an index as long as the keys are columns. Else, for keys a, b: a after, or a equal and b
/// after, and so on; with a bound on the first key, for the index.
fn after(steps: &[Step], places: &[String]) -> String {
    let first = steps[0].direction;
    let is_column = |step: &Step| !step.expression.contains('(');
    if steps.iter().all(|step| step.direction == first && is_column(step)) {
        let expressions: Vec<&str> = steps.iter().map(|step| step.expression).collect();
        return format!("({}) {} ({})", expressions.join(", "), comparison(first), places.join(", "));
    }
    let mut ways = Vec::with_capacity(steps.len());
    for (length, (step, place)) in steps.iter().zip(places).enumerate() {
        let equal = steps[..length].iter().zip(places);
        let mut way: Vec<String> =
            equal.map(|(before, place)| format!("{} = {place}", before.expression)).collect();
        way.push(format!("{} {} {place}", step.expression, comparison(step.direction)));
        ways.push(format!("({})", way.join(" AND ")));
    }
    format!("{} {}= {} AND ({})", steps[0].expression, comparison(first), places[0], ways.join(" OR "))
}

fn comparison(direction: Direction) -> &'static str {
    match direction {
        Direction::Ascending => ">",
        Direction::Descending => "<",
    }
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
