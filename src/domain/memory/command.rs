//! What may be asked of an owner's memory, and what it answers.

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
pub use crate::domain::owned::Key;
pub use crate::domain::settings::config::Trim;

/// How much an owner may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Conversations.
    pub conversations: u32,
    /// Memories.
    pub memories: u32,
    /// Items of one conversation.
    pub items: u32,
    /// Bytes of one conversation as it is stored: sealed, which is about 4/3 of the text.
    pub conversation_bytes: u64,
    /// The same of everything.
    pub owner_bytes: u64,
    /// How long a conversation is kept after it was last used.
    pub ttl: Millis,
    /// What happens when a conversation is full.
    pub trim: Trim,
}

/// An item on its way in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewItem {
    /// Its id, unique in its conversation.
    pub id: String,
    /// Its JSON, sealed.
    pub sealed: String,
    /// What of it decides where the conversation may be cut.
    #[serde(flatten)]
    pub mark: Mark,
}

/// What of an item decides where its conversation may be cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Is it said to the model? A turn begins with such an item.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub asks: bool,
    /// A digest of what joins it to other items: a call and its output go together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joint: Option<String>,
}

/// Something that may be asked twice, and is done once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Once {
    /// What it is known by.
    pub key: String,
    /// A digest of what is asked; empty where the key says it all.
    pub digest: String,
}

/// In which order items are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// Oldest first.
    Ascending,
    /// Newest first.
    Descending,
}

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Which key counts?
    Key,
    /// Begin a conversation.
    Create {
        /// Its id.
        id: String,
        /// What it is sealed with.
        key: Key,
        /// Its metadata, sealed.
        metadata: Option<String>,
        /// Its first items.
        items: Vec<NewItem>,
        /// A digest of all that, for a call that comes twice with the same id.
        digest: String,
        /// How much there may be.
        limits: Limits,
    },
    /// Describe a conversation.
    Get {
        /// Its id.
        id: String,
    },
    /// Replace a conversation's metadata. It counts as use.
    Update {
        /// Its id.
        id: String,
        /// What they are sealed with.
        key: Key,
        /// The new ones, sealed.
        metadata: Option<String>,
        /// How much there may be.
        limits: Limits,
    },
    /// Delete a conversation and its items.
    Delete {
        /// Its id.
        id: String,
    },
    /// List conversations, the last used first.
    List {
        /// Those behind this one.
        after: Option<String>,
        /// At most so many.
        limit: u32,
    },
    /// Add items at a conversation's end. It counts as use.
    Append {
        /// Its id.
        id: String,
        /// What they are sealed with.
        key: Key,
        /// Done once for this.
        once: Option<Once>,
        /// The items.
        items: Vec<NewItem>,
        /// They belong to an answer that was given: where full conversations take no more, this one is still taken.
        given: bool,
        /// How much there may be.
        limits: Limits,
    },
    /// Some items of a conversation.
    Items {
        /// Its id.
        id: String,
        /// Those behind this one.
        after: Option<String>,
        /// At most so many.
        limit: u32,
        /// In which order.
        order: Order,
    },
    /// An item.
    Item {
        /// The conversation's id.
        id: String,
        /// The item's.
        item: String,
    },
    /// Delete an item.
    DeleteItem {
        /// The conversation's id.
        id: String,
        /// The item's.
        item: String,
    },
    /// Every memory, the newest first.
    Memories,
    /// Keep a memory. One that is there already stays as it is.
    Remember {
        /// What it is sealed with.
        key: Key,
        /// The memory.
        memory: Memory,
        /// How much there may be.
        limits: Limits,
    },
    /// Delete a memory.
    Unremember {
        /// Its id.
        id: String,
    },
    /// Delete everything, the owner's key included.
    Forget,
}

/// A conversation as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conversation {
    /// Its id.
    pub id: String,
    /// When it was begun.
    pub created: Millis,
    /// When it was last used.
    pub used: Millis,
    /// From when on it is gone.
    pub expires: Millis,
    /// How many items it has.
    pub items: u32,
    /// Bytes of items and metadata, sealed.
    pub bytes: u64,
    /// Its metadata, sealed.
    pub metadata: Option<String>,
}

/// An item as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its id.
    pub id: String,
    /// Which append brought it, counted within the conversation.
    pub append: u64,
    /// Its JSON, sealed.
    pub sealed: String,
    /// Where the conversation may be cut.
    #[serde(flatten)]
    pub mark: Mark,
}

/// A short fact as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Millis,
    /// From when on it is gone.
    pub expires: Millis,
    /// What it says and where it comes from, sealed.
    pub sealed: String,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Full {
    /// Conversations of the owner.
    Conversations,
    /// Memories of the owner.
    Memories,
    /// Items of the conversation.
    Items,
    /// Bytes of the conversation.
    Bytes,
    /// Bytes of the owner.
    Owner,
    /// Bytes of a single item.
    Item,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Reply {
    /// The key that counts, where there is one.
    Key {
        /// Sealed by the keyring.
        key: Option<Key>,
    },
    /// Nothing was done: this key counts.
    Other {
        /// Sealed by the keyring.
        key: Key,
    },
    /// A conversation.
    Conversation {
        /// As it is now.
        conversation: Conversation,
        /// What its metadata are sealed with.
        key: Key,
    },
    /// Conversations.
    Conversations {
        /// In order.
        conversations: Vec<Conversation>,
        /// Are there more?
        more: bool,
        /// What they are sealed with.
        key: Option<Key>,
    },
    /// Items.
    Items {
        /// In order.
        items: Vec<Item>,
        /// Are there more?
        more: bool,
        /// What they are sealed with.
        key: Key,
    },
    /// Memories.
    Memories {
        /// The newest first.
        memories: Vec<Memory>,
        /// What they are sealed with.
        key: Option<Key>,
    },
    /// Done, or done before.
    Done,
    /// There is no such conversation, or no such memory.
    NotFound,
    /// There is no such item in it.
    NoItem,
    /// There is no room.
    Full {
        /// Which limit.
        limit: Full,
    },
    /// An item of that id is there already.
    Taken,
    /// The same key stands for something else.
    Conflict,
    /// The rows are of a newer version of this program, which alone can read them.
    Newer,
    /// Everything is gone.
    Forgotten {
        /// Conversations that there were.
        conversations: u32,
    },
}
