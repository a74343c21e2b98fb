//! How a memory lies in its object's rows.
//!
//! | row | value |
//! | --- | --- |
//! | `schema`, `key`, `total` | as for every owner ([`crate::domain::owned::opened`]) |
//! | `c/<conversation>` | JSON: the conversation |
//! | `i/<conversation>/<place>` | JSON: an item without its content |
//! | `n/<conversation>/<item>` | the item's place |
//! | `t/<conversation>/<place>` | the item's content, sealed |
//! | `u/<time>/<conversation>` | when the conversation that was last used then is over |
//! | `m/<memory>` | JSON: a memory |
//!
//! Ids, times, counts and sizes are in clear; what was said, and the metadata, are sealed before they come here.

use serde::{Deserialize, Serialize};

use super::command::{Conversation, Mark, Once};
use super::schema;
use crate::base::rows::{RowsFault, unreadable};
pub use crate::base::rows::{parsed, read, text, write};
use crate::base::time::Millis;
use crate::domain::owned::opened::Sums;

/// Conversations.
pub const CONVERSATIONS: &str = "c/";
/// Conversations by their last use.
pub const USES: &str = "u/";
/// Memories.
pub const MEMORIES: &str = "m/";

/// What an owner has altogether.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// Conversations.
    pub conversations: u32,
    /// Memories.
    #[serde(default)]
    pub memories: u32,
    /// Sealed bytes of everything.
    pub bytes: u64,
    /// When the alarm is set for.
    pub alarm: Option<Millis>,
}

impl Sums for Total {
    const VERSION: u32 = schema::CURRENT;

    fn is_empty(&self) -> bool {
        self.conversations == 0 && self.memories == 0
    }

    fn alarm(&mut self) -> &mut Option<Millis> {
        &mut self.alarm
    }
}

/// A conversation's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// What is told of it.
    #[serde(flatten)]
    pub told: Conversation,
    /// The place of the next item.
    pub place: u64,
    /// The number of the next append.
    pub append: u64,
    /// What was done last of that which is done once.
    pub done: Vec<Once>,
}

/// An item's row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptItem {
    /// Its id.
    pub id: String,
    /// Which append brought it.
    pub append: u64,
    /// Bytes of its content, sealed.
    pub bytes: u64,
    /// Where the conversation may be cut.
    #[serde(flatten)]
    pub mark: Mark,
}

/// The row of a conversation.
pub fn conversation(id: &str) -> String {
    [CONVERSATIONS, id].concat()
}

/// The rows of a conversation's items.
pub fn items(id: &str) -> String {
    format!("i/{id}/")
}

/// The row of the item in that place. Places have ten digits, so that their order is that of their bytes.
pub fn item(id: &str, place: u64) -> String {
    format!("i/{id}/{place:010}")
}

/// The rows of a conversation's contents.
pub fn contents(id: &str) -> String {
    format!("t/{id}/")
}

/// The row of the content in that place.
pub fn content(id: &str, place: u64) -> String {
    format!("t/{id}/{place:010}")
}

/// The rows that find a conversation's items by their ids.
pub fn names(id: &str) -> String {
    format!("n/{id}/")
}

/// The row that finds an item by its id.
pub fn name(id: &str, item: &str) -> String {
    format!("n/{id}/{item}")
}

/// The row that lists a conversation by its last use. Times have 16 digits, good for 300,000 years.
pub fn used(at: Millis, id: &str) -> String {
    format!("u/{:016}/{id}", at.0)
}

/// The conversation that a row of [`USES`] lists.
pub fn listed(key: &str) -> &str {
    key.rsplit('/').next().unwrap_or_default()
}

/// A row's value as a time.
pub fn time(key: &str, value: &[u8]) -> Result<Millis, RowsFault> {
    let text = std::str::from_utf8(value).ok();
    let time = text.and_then(|text| text.parse().ok());
    time.map(Millis).ok_or_else(|| unreadable(key))
}

/// The row of a memory.
pub fn memory(id: &str) -> String {
    [MEMORIES, id].concat()
}

/// The place that ends an item's key.
pub fn place(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.parse().ok()
}
