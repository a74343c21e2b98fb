//! What may be asked of an owner's stores, and what it answers.

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
pub use crate::domain::owned::Key;

/// How much an owner may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Stores.
    pub stores: u32,
    /// Files of one store.
    pub files: u32,
    /// Passages of everything.
    pub passages: u32,
    /// How long a store is kept after it was last used.
    pub ttl: Millis,
}

/// A store as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Store {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Millis,
    /// When it was last used, to within [`Store::life`] / 16.
    pub used: Millis,
    /// How long it is kept after it was last used.
    pub life: Millis,
    /// Did its owner say so? Else it is as long as anything is kept.
    pub limited: bool,
    /// Name and metadata, sealed.
    pub sealed: String,
    /// Files, by [`Status`].
    pub counts: [u32; 4],
    /// Bytes of passages and index, sealed.
    pub bytes: u64,
    /// Passages that can be found.
    pub passages: u32,
    /// Their terms.
    pub length: u64,
}

impl Store {
    /// From when on it is gone.
    #[must_use]
    pub const fn expires(&self) -> Millis {
        self.used.plus(self.life)
    }
}

/// How a file stands in a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its passages are on their way; none is found yet.
    InProgress,
    /// All of its passages are found.
    Completed,
    /// It has none.
    Failed,
    /// It was given up by whoever added it.
    Cancelled,
}

/// Whose fault it is that a file has no passages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Blame {
    /// Ours, or of something that we need.
    ServerError,
    /// Nobody reads such files here.
    UnsupportedFile,
    /// The file cannot be read, is too long, or is not what it was.
    InvalidFile,
}

/// Why a file has no passages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Whose fault.
    pub code: Blame,
    /// In a sentence that tells nothing of the content.
    pub message: String,
}

/// A file on its way into a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFile {
    /// The document's id.
    pub id: String,
    /// The document's version.
    pub version: u32,
    /// Its epoch: what was derived under another number is stale.
    pub epoch: u64,
    /// Longest passage and what two of them share, in tokens.
    pub chunking: (u32, u32),
    /// Attributes, sealed.
    pub sealed: Option<String>,
}

/// A file of a store as it is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// What was said of it.
    #[serde(flatten)]
    pub told: NewFile,
    /// Its number, which no other file of this owner ever has.
    pub number: u64,
    /// When it was added.
    pub created: Millis,
    /// How it stands.
    pub status: Status,
    /// Why it has no passages.
    pub failure: Option<Failure>,
    /// With which batch it came.
    pub batch: Option<String>,
    /// When it is given up, while it is on its way.
    pub until: Millis,
    /// Passages so far.
    pub passages: u32,
    /// Their terms.
    pub length: u64,
    /// Bytes of passages and index.
    pub bytes: u64,
    /// The model that made its embeddings, where it has some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// Files that were added together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// Its id.
    pub id: String,
    /// When it was made.
    pub created: Millis,
    /// The files' ids.
    pub files: Vec<String>,
    /// Was it given up?
    pub cancelled: bool,
    /// Files, by [`Status`]; those that are there no more count as cancelled.
    pub counts: [u32; 4],
}

/// A page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    /// Those behind this one.
    pub after: Option<String>,
    /// Those before this one, the nearest.
    pub before: Option<String>,
    /// At most so many.
    pub limit: u32,
    /// Oldest first.
    pub ascending: bool,
}

/// A block of an index: what it is sorted by, and its bytes, both in base64url.
pub type SentBlock = (String, String);

/// Embeddings of passages or their codes: the place of the first, and all of them, sealed, in base64url.
pub type SentVectors = (u32, String);

/// A question by its embedding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Near {
    /// What opens embeddings, in base64url. It is kept nowhere.
    pub key: String,
    /// The model that made it.
    pub model: String,
    /// The embedding of each question, encoded, in base64url.
    pub questions: Vec<String>,
    /// What words count, and what embeddings do.
    pub weights: (f64, f64),
}

/// A term of a question: its digest in hex, and whether it is a single character of a script without spaces.
pub type Term = (String, bool);

/// What may be asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// Which key counts?
    Key,
    /// Make a store. Once more with the same id changes nothing.
    Create {
        /// Its id.
        id: String,
        /// What it is sealed with.
        key: Key,
        /// Name and metadata, sealed.
        sealed: String,
        /// How long it is kept without use, where its owner says so.
        life: Option<Millis>,
        /// How much there may be.
        limits: Limits,
    },
    /// Describe a store.
    Get {
        /// Its id.
        id: String,
    },
    /// Some stores.
    List {
        /// Which.
        page: Page,
    },
    /// Replace what is said of a store.
    Update {
        /// Its id.
        id: String,
        /// What it is sealed with.
        key: Key,
        /// Name and metadata, sealed.
        sealed: String,
        /// How long it is kept without use, where its owner says so.
        life: Option<Millis>,
        /// How much there may be.
        limits: Limits,
    },
    /// Delete a store and all in it.
    Delete {
        /// Its id.
        id: String,
    },
    /// Files are on their way. One that is there already begins anew.
    Begin {
        /// The store.
        store: String,
        /// What attributes are sealed with.
        key: Key,
        /// The files.
        files: Vec<NewFile>,
        /// The id of their batch.
        batch: Option<String>,
        /// How much there may be.
        limits: Limits,
    },
    /// Passages of a file on its way, and blocks of its index. May be repeated.
    Put {
        /// The file's number.
        number: u64,
        /// The place of the first of these passages in the file.
        at: u32,
        /// Passages, sealed.
        passages: Vec<String>,
        /// Blocks.
        blocks: Vec<SentBlock>,
        /// Embeddings.
        #[serde(default)]
        vectors: Vec<SentVectors>,
        /// Their codes.
        #[serde(default)]
        codes: Vec<SentVectors>,
        /// How much there may be.
        limits: Limits,
    },
    /// All of a file is there, and from now on it is found; or none of it will be.
    End {
        /// The file's number.
        number: u64,
        /// Terms of its passages.
        length: u64,
        /// Bytes of passages and index.
        bytes: u64,
        /// The model that made its embeddings.
        #[serde(default)]
        model: Option<String>,
        /// Why not.
        failure: Option<Failure>,
    },
    /// Some files of a store.
    Files {
        /// The store.
        store: String,
        /// Of this batch.
        batch: Option<String>,
        /// That stand so.
        status: Option<Status>,
        /// Which.
        page: Page,
    },
    /// A file of a store.
    File {
        /// The store.
        store: String,
        /// The document's id.
        file: String,
    },
    /// Replace a file's attributes.
    Attributes {
        /// The store.
        store: String,
        /// The document's id.
        file: String,
        /// What they are sealed with.
        key: Key,
        /// The attributes, sealed.
        sealed: Option<String>,
    },
    /// Take a file out of a store.
    Detach {
        /// The store.
        store: String,
        /// The document's id.
        file: String,
    },
    /// What was found of these files may not be read any more: they have no passages from now on.
    Spoil {
        /// Their numbers.
        numbers: Vec<u64>,
    },
    /// Documents are gone: take them out of every store.
    Drop {
        /// Their ids.
        documents: Vec<String>,
    },
    /// Describe a batch.
    Batch {
        /// The store.
        store: String,
        /// Its id.
        batch: String,
        /// Give up what of it is on its way.
        cancel: bool,
    },
    /// Passages of a file.
    Content {
        /// The store.
        store: String,
        /// The document's id.
        file: String,
        /// From this place on.
        from: u32,
        /// At most so many.
        limit: u32,
    },
    /// The passages that answer questions best.
    Search {
        /// The store.
        store: String,
        /// The terms of each question.
        questions: Vec<Vec<Term>>,
        /// The same by their embeddings.
        #[serde(default)]
        near: Option<Near>,
        /// In files of these numbers alone.
        only: Option<Vec<u64>>,
        /// At most so many.
        limit: u32,
    },
    /// Delete everything, the owner's key included.
    Forget,
}

/// A passage that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    /// The number of its file.
    pub number: u64,
    /// Its place in the file.
    pub place: u32,
    /// The higher the better.
    pub score: f32,
    /// The cosine to the question, where both have embeddings.
    #[serde(default)]
    pub cosine: Option<f32>,
    /// The passage, sealed.
    pub sealed: String,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Full {
    /// Stores of the owner.
    Stores,
    /// Files of the store.
    Files,
    /// Passages of the owner.
    Passages,
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Stores; one where one was asked for.
    Stores {
        /// In order.
        stores: Vec<Store>,
        /// Are there more?
        more: bool,
        /// What they are sealed with.
        key: Option<Key>,
    },
    /// Files; one where one was asked for.
    Files {
        /// In order.
        files: Vec<File>,
        /// Are there more?
        more: bool,
        /// What they are sealed with.
        key: Key,
    },
    /// A batch.
    Batch {
        /// As it is now.
        batch: Batch,
    },
    /// Passages: of a file in order, or what was found, best first.
    Passages {
        /// The passages.
        hits: Vec<Hit>,
        /// The files that they are of.
        files: Vec<File>,
        /// What they are sealed with.
        key: Key,
    },
    /// Done, or done before.
    Done,
    /// There is no such store, or no such batch in it, or none such file is on its way.
    NotFound,
    /// There is no such file in it.
    NoFile,
    /// There is no room.
    Full {
        /// Which limit.
        limit: Full,
    },
    /// The rows are of a newer version of this program, which alone can read them.
    Newer,
    /// Everything is gone.
    Forgotten {
        /// Stores that there were.
        stores: u32,
    },
}
