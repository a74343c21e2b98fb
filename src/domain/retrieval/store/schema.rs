//! Versions of the rows. There is one so far; the next brings a step that leads to it, in the transaction of whatever is
//! asked first.
//!
//! | version | what is new |
//! | --- | --- |
//! | 1 | stores, files, batches, passages, the index |

use super::rows;
use crate::base::rows::{Rows, RowsFault};

/// The version that this program writes.
pub const CURRENT: u32 = 1;

/// Are the rows of a newer version than this program's?
pub fn is_newer(rows: &impl Rows) -> Result<bool, RowsFault> {
    let Some(version) = rows::text(rows, rows::SCHEMA)? else {
        return Ok(false);
    };
    let version: u32 = version
        .parse()
        .map_err(|_| RowsFault("the schema's version cannot be read".to_owned()))?;
    Ok(version > CURRENT)
}
