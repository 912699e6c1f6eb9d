//! Lists: the catalog's filters and pages, and the answer that says whether more follows.

use std::future::Future;

use catalog::{CatalogError, PAGE_ROWS_MAX};
pub use catalog::{
    Direction, ImageType, ItemFilter, ItemSort, OperationLogFilter, OperationLogSort, Page, PolicyFilter,
    PolicySort, RecordFilter, RecordSort, RestoreSort, ServerSort, Sort,
};

use crate::error::{Error, Reason};

/// One page of a list.
#[derive(Clone, Debug)]
pub struct PageOf<Row> {
    /// The rows, at most the limit asked for.
    pub rows: Vec<Row>,
    /// Whether more rows follow.
    pub has_more: bool,
}

/// Fetches one page, and one row more to see whether more follows.
pub(crate) async fn page_of<Row, Key, Fetch, Fetching>(
    page: &Page<Key>,
    fetch: Fetch,
) -> Result<PageOf<Row>, Error>
where
    Key: Clone,
    Fetch: FnOnce(Page<Key>) -> Fetching,
    Fetching: Future<Output = Result<Vec<Row>, CatalogError>>,
{
    let limit = page.limit.min(PAGE_ROWS_MAX - 1);
    let mut rows = fetch(Page { limit: limit + 1, ..page.clone() })
        .await
        .map_err(|error| unknown_marker(page, error))?;
    let has_more = rows.len() > limit as usize;
    rows.truncate(limit as usize);
    Ok(PageOf { rows, has_more })
}

/// A marker that names nothing is a fault of the request, not a missing thing.
fn unknown_marker<Key>(page: &Page<Key>, error: CatalogError) -> Error {
    match (&error, &page.marker) {
        (CatalogError::NotFound { id, .. }, Some(marker)) if id == marker => {
            Error::invalid("marker", "names nothing in this list")
        }
        _ => Error::from(error),
    }
}

/// Turns "there is no such thing" into nothing, and leaves every other error.
pub(crate) fn found<T>(result: Result<T, CatalogError>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(CatalogError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The same, with the answer for the caller when there is no such thing.
pub(crate) fn found_or<T>(
    result: Result<T, CatalogError>,
    reason: Reason,
    message: &str,
) -> Result<T, Error> {
    found(result)?.ok_or_else(|| Error::not_found(reason, message))
}
