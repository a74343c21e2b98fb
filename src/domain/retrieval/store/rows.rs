//! How an owner's stores lie in their object's rows.
//!
//! | row | value |
//! | --- | --- |
//! | `schema`, `key`, `total` | as for every owner ([`crate::domain::owned::opened`]) |
//! | `s/<store>` | JSON: a store |
//! | `f/<store>/<document>` | JSON: a file of it |
//! | `b/<store>/<batch>` | JSON: a batch |
//! | `i/<number>` | the row of a file that is on its way |
//! | `p/<number>/<place>` | a passage of that file, sealed |
//! | `v/<number>/<place>` | embeddings of that file's passages from that one on, sealed |
//! | `c/<number>/<place>` | codes of that file's embeddings from that one on, sealed |
//! | `g/<store>/<segment>` | JSON: which files' terms lie in that segment of the index |
//! | `x/<segment>/<digest>` | a block of that segment, which begins with that term |
//!
//! Ids, times, counts and sizes are in clear. Names, metadata, attributes, passages, embeddings and their codes are sealed before
//! they come here, and a term is a keyed digest: the rows tell how often some word stands in a passage, and not which.

use serde::{Deserialize, Serialize};

use super::schema;
pub use crate::base::rows::{parsed, read, text, write};
use crate::base::time::Millis;
use crate::domain::owned::opened::Sums;

/// Stores.
pub const STORES: &str = "s/";
/// Files that are on their way.
pub const COMING: &str = "i/";

/// What an owner has altogether.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Stores.
    pub stores: u32,
    /// Passages, those on their way included.
    pub passages: u32,
    /// The next number of a file or segment.
    pub next: u64,
    /// When the alarm is set for.
    pub alarm: Option<Millis>,
}

impl Sums for Total {
    const VERSION: u32 = schema::CURRENT;

    fn is_empty(&self) -> bool {
        self.stores == 0
    }

    fn alarm(&mut self) -> &mut Option<Millis> {
        &mut self.alarm
    }
}

/// A segment of a store's index.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// How many passages its blocks number, from 0 on, those that are gone included.
    pub size: u32,
    /// The files whose passages are there still, by the first of their passages.
    pub files: Vec<Part>,
}

/// The passages of a file in a segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The document's id.
    pub file: String,
    /// The file's number.
    pub number: u64,
    /// The first of its passages.
    pub first: u32,
    /// How many they are.
    pub count: u32,
    /// The model that made their embeddings, where they have some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

impl Segment {
    /// Passages that are there still.
    pub fn live(&self) -> u32 {
        let counts = self.files.iter().map(|part| part.count);
        counts.fold(0, u32::saturating_add)
    }
}

/// The row of a store.
pub fn store(id: &str) -> String {
    [STORES, id].concat()
}

/// The rows of a store's files.
pub fn files(store: &str) -> String {
    format!("f/{store}/")
}

/// The row of a file.
pub fn file(store: &str, document: &str) -> String {
    format!("f/{store}/{document}")
}

/// The store and the document of a file's row.
pub fn of_file(row: &str) -> Option<(&str, &str)> {
    row.strip_prefix("f/")?.split_once('/')
}

/// The rows of a store's batches.
pub fn batches(store: &str) -> String {
    format!("b/{store}/")
}

/// The row of a batch.
pub fn batch(store: &str, id: &str) -> String {
    format!("b/{store}/{id}")
}

/// The row that finds a file on its way by its number. Numbers have twelve digits, so that their order is that of their
/// bytes.
pub fn coming(number: u64) -> String {
    format!("{COMING}{number:012}")
}

/// The rows of a file's passages.
pub fn passages(number: u64) -> String {
    format!("p/{number:012}/")
}

/// The row of a passage.
pub fn passage(number: u64, place: u32) -> String {
    format!("p/{number:012}/{place:08}")
}

/// The rows of a file's embeddings.
pub fn vectors(number: u64) -> String {
    format!("v/{number:012}/")
}

/// The row of the embeddings from that place on.
pub fn vector(number: u64, place: u32) -> String {
    format!("v/{number:012}/{place:08}")
}

/// Codes of embeddings.
pub const CODES: &str = "c/";

/// The rows of the codes of a file's embeddings.
pub fn codes(number: u64) -> String {
    format!("{CODES}{number:012}/")
}

/// The row of the codes from that place on.
pub fn code(number: u64, place: u32) -> String {
    format!("{CODES}{number:012}/{place:08}")
}

/// The file's number and the place of the first in a row of codes.
pub fn of_codes(row: &str) -> Option<(u64, u32)> {
    let (number, place) = row.strip_prefix(CODES)?.split_once('/')?;
    Some((number.parse().ok()?, place.parse().ok()?))
}

/// The rows of a store's segments.
pub fn segments(store: &str) -> String {
    format!("g/{store}/")
}

/// The row of a segment.
pub fn segment(store: &str, number: u64) -> String {
    format!("g/{store}/{number:012}")
}

/// The rows of a segment's blocks.
pub fn blocks(segment: u64) -> String {
    format!("x/{segment:012}/")
}

/// The row of a block, by its first term's digest in hex.
pub fn block(segment: u64, first: &str) -> String {
    format!("x/{segment:012}/{first}")
}

/// The number that ends a row's key.
pub fn number(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.parse().ok()
}
