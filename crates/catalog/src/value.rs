//! Values on their way into a statement, and rows on their way out. Every conversion between a model
//! type and a column stands here or beside the rows of its story, written by hand; a column that
//! holds anything else than this program writes is [`CatalogError::Corrupt`].

use std::str::FromStr;

use model::ids::{
    AccessKeyId, ApplicationCredentialId, CheckpointId, CheckpointItemId, GrantId, OperationId,
    OperationLogId, PolicyId, ProjectId, RegionName, ReplicationRecordId, ResourceId, RestoreId,
    ScheduledOperationId, TriggerId, UserId, VolumeBackupId, VolumeId,
};
use model::time::Timestamp;
use sqlx::Row as _;
use sqlx::any::AnyRow;

use crate::error::CatalogError;

/// One value bound to a statement.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Integer(Option<i64>),
    Text(Option<String>),
    Blob(Option<Vec<u8>>),
    /// A number above 2^63 - 1; the statement is refused.
    TooLarge,
}

/// A list of values for one statement, in the order of its `$1`, `$2`, …
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$(crate::value::Value::from($value)),*] };
}
pub(crate) use values;

impl From<i64> for Value {
    fn from(number: i64) -> Value {
        Value::Integer(Some(number))
    }
}

impl From<Option<i64>> for Value {
    fn from(number: Option<i64>) -> Value {
        Value::Integer(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        i64::try_from(number).map_or(Value::TooLarge, |number| Value::Integer(Some(number)))
    }
}

impl From<Option<u64>> for Value {
    fn from(number: Option<u64>) -> Value {
        number.map_or(Value::Integer(None), Value::from)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Value {
        Value::Integer(Some(i64::from(number)))
    }
}

impl From<Option<u32>> for Value {
    fn from(number: Option<u32>) -> Value {
        Value::Integer(number.map(i64::from))
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Value {
        i64::try_from(number).map_or(Value::TooLarge, |number| Value::Integer(Some(number)))
    }
}

impl From<bool> for Value {
    fn from(fact: bool) -> Value {
        Value::Integer(Some(i64::from(fact)))
    }
}

impl From<Timestamp> for Value {
    fn from(moment: Timestamp) -> Value {
        Value::Integer(Some(moment.micros()))
    }
}

impl From<Option<Timestamp>> for Value {
    fn from(moment: Option<Timestamp>) -> Value {
        Value::Integer(moment.map(Timestamp::micros))
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Value {
        Value::Text(Some(text.to_owned()))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Value {
        Value::Text(Some(text))
    }
}

impl From<&String> for Value {
    fn from(text: &String) -> Value {
        Value::Text(Some(text.clone()))
    }
}

impl From<Option<&str>> for Value {
    fn from(text: Option<&str>) -> Value {
        Value::Text(text.map(str::to_owned))
    }
}

impl From<&Option<String>> for Value {
    fn from(text: &Option<String>) -> Value {
        Value::Text(text.clone())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Value {
        Value::Blob(Some(bytes.to_vec()))
    }
}

impl From<&Option<Vec<u8>>> for Value {
    fn from(bytes: &Option<Vec<u8>>) -> Value {
        Value::Blob(bytes.clone())
    }
}

impl<const N: usize> From<[u8; N]> for Value {
    fn from(bytes: [u8; N]) -> Value {
        Value::Blob(Some(bytes.to_vec()))
    }
}

impl<const N: usize> From<Option<[u8; N]>> for Value {
    fn from(bytes: Option<[u8; N]>) -> Value {
        Value::Blob(bytes.map(|bytes| bytes.to_vec()))
    }
}

macro_rules! id_values {
    ($($id:ty),* $(,)?) => {$(
        impl From<&$id> for Value {
            fn from(id: &$id) -> Value {
                Value::Text(Some(id.to_string()))
            }
        }

        impl From<$id> for Value {
            fn from(id: $id) -> Value {
                Value::Text(Some(id.to_string()))
            }
        }

        impl From<Option<$id>> for Value {
            fn from(id: Option<$id>) -> Value {
                Value::Text(id.map(|id| id.to_string()))
            }
        }

        impl From<Option<&$id>> for Value {
            fn from(id: Option<&$id>) -> Value {
                Value::Text(id.map(|id| id.to_string()))
            }
        }
    )*};
}

id_values!(
    AccessKeyId,
    ApplicationCredentialId,
    CheckpointId,
    CheckpointItemId,
    GrantId,
    OperationId,
    OperationLogId,
    PolicyId,
    ProjectId,
    RegionName,
    ReplicationRecordId,
    ResourceId,
    RestoreId,
    ScheduledOperationId,
    TriggerId,
    UserId,
    VolumeBackupId,
    VolumeId,
);

/// One row of an answer.
pub(crate) struct Row {
    row: AnyRow,
    doing: &'static str,
}

impl Row {
    pub(crate) fn new(row: AnyRow, doing: &'static str) -> Row {
        Row { row, doing }
    }

    /// The error for a column that holds what it never should.
    pub(crate) fn corrupt(&self, column: &str) -> CatalogError {
        CatalogError::Corrupt { what: format!("column {column} while {}", self.doing) }
    }

    pub(crate) fn optional_integer(&self, column: &str) -> Result<Option<i64>, CatalogError> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn optional_text(&self, column: &str) -> Result<Option<String>, CatalogError> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn optional_blob(&self, column: &str) -> Result<Option<Vec<u8>>, CatalogError> {
        self.row.try_get(column).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn integer(&self, column: &str) -> Result<i64, CatalogError> {
        self.optional_integer(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn text(&self, column: &str) -> Result<String, CatalogError> {
        self.optional_text(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn blob(&self, column: &str) -> Result<Vec<u8>, CatalogError> {
        self.optional_blob(column)?.ok_or_else(|| self.corrupt(column))
    }

    /// A number that is never negative.
    pub(crate) fn count(&self, column: &str) -> Result<u64, CatalogError> {
        u64::try_from(self.integer(column)?).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn optional_count(&self, column: &str) -> Result<Option<u64>, CatalogError> {
        let number = self.optional_integer(column)?;
        number.map(|number| u64::try_from(number).map_err(|_| self.corrupt(column))).transpose()
    }

    /// A number of a smaller type than the column's.
    pub(crate) fn small<T: TryFrom<i64>>(&self, column: &str) -> Result<T, CatalogError> {
        T::try_from(self.integer(column)?).map_err(|_| self.corrupt(column))
    }

    pub(crate) fn optional_small<T: TryFrom<i64>>(&self, column: &str) -> Result<Option<T>, CatalogError> {
        let number = self.optional_integer(column)?;
        number.map(|number| T::try_from(number).map_err(|_| self.corrupt(column))).transpose()
    }

    pub(crate) fn flag(&self, column: &str) -> Result<bool, CatalogError> {
        match self.integer(column)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(self.corrupt(column)),
        }
    }

    pub(crate) fn time(&self, column: &str) -> Result<Timestamp, CatalogError> {
        self.optional_time(column)?.ok_or_else(|| self.corrupt(column))
    }

    pub(crate) fn optional_time(&self, column: &str) -> Result<Option<Timestamp>, CatalogError> {
        Ok(self.optional_integer(column)?.map(Timestamp::from_micros))
    }

    pub(crate) fn id<T: FromStr>(&self, column: &str) -> Result<T, CatalogError> {
        self.text(column)?.parse().map_err(|_| self.corrupt(column))
    }

    pub(crate) fn optional_id<T: FromStr>(&self, column: &str) -> Result<Option<T>, CatalogError> {
        let text = self.optional_text(column)?;
        text.map(|text| text.parse().map_err(|_| self.corrupt(column))).transpose()
    }

    pub(crate) fn bytes<const N: usize>(&self, column: &str) -> Result<[u8; N], CatalogError> {
        self.blob(column)?.try_into().map_err(|_| self.corrupt(column))
    }

    pub(crate) fn optional_bytes<const N: usize>(
        &self,
        column: &str,
    ) -> Result<Option<[u8; N]>, CatalogError> {
        let blob = self.optional_blob(column)?;
        blob.map(|blob| blob.try_into().map_err(|_| self.corrupt(column))).transpose()
    }

    /// A word of one of the model's lists.
    pub(crate) fn word<T>(
        &self,
        column: &str,
        from_word: impl Fn(&str) -> Option<T>,
    ) -> Result<T, CatalogError> {
        from_word(&self.text(column)?).ok_or_else(|| self.corrupt(column))
    }
}
