//! What is kept: answers, documents, conversations and running streams.

use serde::{Deserialize, Serialize};

use super::alias::{Alias, Serves};
use super::fault::Faults;
use super::principals::AccountTier;
use super::scan::{External, Policy};

/// `[cache]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// How long an answer is kept, in seconds; KV accepts no less than 60.
    pub ttl_seconds: u64,
    /// Largest answer that is kept, in bytes.
    pub max_entry_bytes: u64,
    /// New entries that one client may cause in an hour.
    pub writes_per_hour: u32,
    /// Entries kept in the memory of one isolate.
    pub isolate_entries: usize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            ttl_seconds: 3600,
            max_entry_bytes: 262_144, // 256 KiB
            writes_per_hour: 120,
            isolate_entries: 256,
        }
    }
}

/// `[documents]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Documents {
    /// Largest document in bytes.
    pub max_bytes: u64,
    /// Documents of one visitor.
    pub max_count: u32,
    /// Bytes of one visitor's documents.
    pub max_visitor_bytes: u64,
    /// Bytes of all documents of one network (a new cookie is no new quota).
    pub max_network_bytes: u64,
    /// Bytes of all documents of anonymous visitors.
    pub max_site_bytes: u64,
    /// How long an anonymous visitor's document is kept, in seconds.
    pub ttl_seconds: u64,
    /// How long an upload in parts may take, in seconds.
    pub upload_ttl_seconds: u64,
    /// How many versions of a document are kept, the newest included.
    pub max_versions: u32,
    /// Accepted content types; `text/*` accepts a whole family.
    pub types: Vec<String>,
    /// Other lifetimes for some documents: the first that fits counts.
    pub retention: Vec<RetentionClass>,
    /// What the scan of a document looks for, and what follows.
    pub scan: Policy,
    /// A scanner outside that is asked as well.
    pub scanner: External,
}

impl Default for Documents {
    fn default() -> Self {
        Self {
            max_bytes: 26_214_400, // 25 MiB = 25 × 1024 × 1024
            max_count: 100,
            max_visitor_bytes: 104_857_600, // 100 MiB
            max_network_bytes: 524_288_000, // 500 MiB
            max_site_bytes: 10_737_418_240, // 10 GiB
            ttl_seconds: 604_800,           // 7 d × 86,400 s
            upload_ttl_seconds: 86_400,     // 24 h × 3,600 s
            max_versions: 5,
            types: [
                "text/*",
                "application/json",
                "application/jsonl",
                "application/pdf",
                "image/png",
                "image/jpeg",
                "image/gif",
                "image/webp",
            ]
            .map(String::from)
            .to_vec(),
            retention: Vec::new(),
            scan: Policy::default(),
            scanner: External::default(),
        }
    }
}

/// `[[documents.retention]]`
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionClass {
    /// What the documents are for; any, if nothing is said.
    #[serde(default)]
    pub purpose: Option<String>,
    /// Whose they are: `visitor`, `key`, `tier:` and a tier; anybody's, if nothing is said.
    #[serde(default)]
    pub of: Option<String>,
    /// How long they are kept, in seconds.
    pub ttl_seconds: u64,
    /// How long they must stay, in seconds: nobody deletes them before.
    #[serde(default)]
    pub keep_seconds: u64,
}

impl RetentionClass {
    fn check(&self, key: &str, tiers: &[AccountTier], faults: &mut Faults) {
        const PURPOSES: [&str; 6] = [
            "user_data",
            "assistants",
            "vision",
            "batch",
            "fine-tune",
            "evals",
        ];
        let purpose = self.purpose.as_deref();
        faults.unless(
            purpose.is_none_or(|purpose| PURPOSES.contains(&purpose)),
            format!("{key}.purpose"),
            format!("must be one of {}", PURPOSES.join(", ")),
        );
        let known = |of: &str| match of.strip_prefix("tier:") {
            Some(tier) => tiers.iter().any(|known| known.name == tier),
            None => matches!(of, "visitor" | "key"),
        };
        faults.unless(
            self.of.as_deref().is_none_or(known),
            format!("{key}.of"),
            "must be visitor, key, or tier: and the name of a [[tier]]",
        );
        // A minute to ten years × 365 d × 86,400 s.
        let ttl = format!("{key}.ttl_seconds");
        faults.within(ttl, self.ttl_seconds, 60, 315_360_000);
        faults.unless(
            self.keep_seconds <= self.ttl_seconds,
            format!("{key}.keep_seconds"),
            "must be at most ttl_seconds",
        );
    }
}

/// `[memory]`: conversations, and memories that aliases may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Memory {
    /// Conversations of one owner.
    pub max_conversations: u32,
    /// Items of one conversation.
    pub max_items: u32,
    /// Bytes of one conversation, sealed (about 4/3 of the text).
    pub max_conversation_bytes: u64,
    /// Bytes of everything of one owner, sealed.
    pub max_owner_bytes: u64,
    /// How long a conversation is kept after it was last used, in seconds.
    pub ttl_seconds: u64,
    /// What happens when a conversation is full.
    pub trim: Trim,
    /// Memories of one owner.
    pub max_memories: u32,
    /// How long a memory is kept, in seconds; whoever makes it may say less.
    pub memory_ttl_seconds: u64,
}

/// What happens to a full conversation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Trim {
    /// Its oldest turns go, each whole.
    #[default]
    Oldest,
    /// It takes no more.
    Refuse,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            max_conversations: 100,
            max_items: 400,
            max_conversation_bytes: 1_048_576, // 1 MiB
            max_owner_bytes: 10_485_760,       // 10 MiB
            ttl_seconds: 2_592_000,            // 30 d × 86,400 s
            trim: Trim::Oldest,
            max_memories: 50,
            memory_ttl_seconds: 7_776_000, // 90 d
        }
    }
}

/// `[retrieval]`: vector stores, and what is told of documents to a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Retrieval {
    /// Stores of one owner.
    pub max_stores: u32,
    /// Files of one store.
    pub max_files: u32,
    /// Passages of everything of one owner.
    pub max_passages: u32,
    /// Largest document that is read, in bytes.
    pub max_document_bytes: u64,
    /// How long a store is kept after it was last used, in seconds; whoever makes it may say less.
    pub ttl_seconds: u64,
    /// Passages that a model is told of at most; a request may ask for others.
    pub max_results: usize,
    /// Bytes of passages that a model is told of at most.
    pub max_context_bytes: usize,
    /// The alias that makes embeddings of passages and questions; without one they are found by their words alone.
    pub embeddings: Option<String>,
    /// How many numbers an embedding has.
    pub dimensions: u32,
}

impl Default for Retrieval {
    fn default() -> Self {
        Self {
            max_stores: 20,
            max_files: 200,
            max_passages: 20_000,
            max_document_bytes: 8_388_608, // 8 MiB
            ttl_seconds: 2_592_000,        // 30 d × 86,400 s
            max_results: 8,
            max_context_bytes: 24_576, // 24 KiB, about 6,000 tokens of English
            embeddings: None,
            dimensions: 256,
        }
    }
}

/// `[streams]`: running answers that survive their client, and replies that a repeated key gets again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Streams {
    /// How long a finished stream can be read again, in seconds.
    pub ttl_seconds: u64,
    /// An answer that nobody attends is aborted after so many seconds.
    pub grace_seconds: u64,
    /// Largest stream that is kept, in bytes.
    pub max_bytes: u64,
    /// How long an `Idempotency-Key` is remembered, in seconds.
    pub idempotency_ttl_seconds: u64,
}

impl Default for Streams {
    fn default() -> Self {
        Self {
            ttl_seconds: 3600,
            grace_seconds: 30,
            max_bytes: 4_194_304,            // 4 MiB = 4 × 1024 × 1024
            idempotency_ttl_seconds: 86_400, // 24 h × 3600 s
        }
    }
}

impl Cache {
    pub(super) fn check(&self, faults: &mut Faults) {
        faults.unless(
            (60..=31_536_000).contains(&self.ttl_seconds),
            "cache.ttl_seconds",
            "must lie between 60 (what KV accepts) and 31536000",
        );
        faults.unless(
            (1..=25_000_000).contains(&self.max_entry_bytes),
            "cache.max_entry_bytes",
            "must lie between 1 and 25000000 (KV's limit is 25 MiB)",
        );
        faults.unless(
            self.isolate_entries <= 10_000,
            "cache.isolate_entries",
            "must be at most 10000",
        );
    }
}

impl Documents {
    pub(super) fn check(&self, tiers: &[AccountTier], faults: &mut Faults) {
        for (i, class) in self.retention.iter().enumerate() {
            class.check(&format!("documents.retention[{i}]"), tiers, faults);
        }
        faults.unless(
            (1..=5_000_000_000).contains(&self.max_bytes),
            "documents.max_bytes",
            "must lie between 1 and 5000000000",
        );
        faults.unless(
            self.max_bytes <= self.max_visitor_bytes
                && self.max_visitor_bytes <= self.max_network_bytes
                && self.max_network_bytes <= self.max_site_bytes,
            "documents",
            "needs max_bytes ≤ max_visitor_bytes ≤ max_network_bytes ≤ max_site_bytes",
        );
        faults.unless(
            (60..=31_536_000).contains(&self.ttl_seconds),
            "documents.ttl_seconds",
            "must lie between 60 and 31536000",
        );
        // A quarter of an hour × 60 s, of which the last five minutes take no part any more; a week × 86,400 s.
        let max_versions = "documents.max_versions";
        faults.within(max_versions, self.max_versions.into(), 1, 100);
        let upload_ttl = "documents.upload_ttl_seconds";
        faults.within(upload_ttl, self.upload_ttl_seconds, 900, 604_800);
        faults.unless(
            (1..=10_000).contains(&self.max_count),
            "documents.max_count",
            "must lie between 1 and 10000",
        );
        self.scan.limits.check(faults);
        if let Err(reason) = self.scanner.check() {
            faults.add("documents.scanner", reason);
        }
        for (i, content_type) in self.types.iter().enumerate() {
            faults.unless(
                content_type.split_once('/').is_some_and(|(a, b)| {
                    !a.is_empty()
                        && !b.is_empty()
                        && content_type.bytes().all(|c| c.is_ascii_graphic())
                }),
                format!("documents.types[{i}]"),
                "must be a content type such as text/plain or text/*",
            );
        }
    }
}

/// `[backup]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Backup {
    /// Hours between the begins of two snapshots; 0: the cron takes none.
    pub every_hours: u32,
    /// How many snapshots are kept.
    pub keep: u32,
}

impl Default for Backup {
    fn default() -> Self {
        Self {
            every_hours: 24,
            keep: 7,
        }
    }
}

impl Backup {
    pub(super) fn check(&self, faults: &mut Faults) {
        // At most a year of 365 d × 24 h.
        faults.within("backup.every_hours", u64::from(self.every_hours), 0, 8_760);
        faults.within("backup.keep", u64::from(self.keep), 1, 100);
    }
}

impl Memory {
    pub(super) fn check(&self, faults: &mut Faults) {
        let key = |name: &str| format!("memory.{name}");
        let count = |max: u32| u64::from(max);
        // A list of them is read whole.
        faults.within(
            key("max_conversations"),
            count(self.max_conversations),
            1,
            1_000,
        );
        faults.within(key("max_items"), count(self.max_items), 2, 10_000);
        // Eight MiB pass between objects in one message (32 MiB), and fit an isolate several times over.
        faults.within(
            key("max_conversation_bytes"),
            self.max_conversation_bytes,
            4_096,
            8_388_608,
        );
        faults.unless(
            (self.max_conversation_bytes..=1_073_741_824).contains(&self.max_owner_bytes),
            key("max_owner_bytes"),
            "must lie between max_conversation_bytes and 1073741824 (1 GiB)",
        );
        // A minute to ten years.
        faults.within(key("ttl_seconds"), self.ttl_seconds, 60, 315_360_000);
        faults.within(key("max_memories"), count(self.max_memories), 0, 200);
        let ttl = self.memory_ttl_seconds;
        faults.within(key("memory_ttl_seconds"), ttl, 60, 315_360_000);
    }
}

impl Retrieval {
    pub(super) fn check(&self, aliases: &[Alias], faults: &mut Faults) {
        let key = |name: &str| format!("retrieval.{name}");
        let count = |max: u32| u64::from(max);
        // Lists of them are read whole.
        faults.within(key("max_stores"), count(self.max_stores), 0, 100);
        faults.within(key("max_files"), count(self.max_files), 1, 1_000);
        // A word that stands in all of them makes a row, which has at most a MiB.
        let passages = count(self.max_passages);
        faults.within(key("max_passages"), passages, 1, 100_000);
        // 16 MiB fit an isolate beside the text of them.
        let bytes = self.max_document_bytes;
        faults.within(key("max_document_bytes"), bytes, 1, 16_777_216);
        // A minute to ten years.
        faults.within(key("ttl_seconds"), self.ttl_seconds, 60, 315_360_000);
        faults.within(key("max_results"), self.max_results as u64, 1, 50);
        let bytes = self.max_context_bytes as u64;
        faults.within(key("max_context_bytes"), bytes, 1_024, 1_048_576);
        let serves = |name: &String| {
            let mut aliases = aliases.iter();
            aliases.any(|alias| alias.name == *name && alias.serves == Serves::Embeddings)
        };
        faults.unless(
            self.embeddings.as_ref().is_none_or(serves),
            key("embeddings"),
            "must name an alias that serves embeddings",
        );
        // A question reads them all: 100,000 of 256 numbers are 26 MB.
        faults.within(key("dimensions"), self.dimensions.into(), 16, 1_536);
    }
}

impl Streams {
    pub(super) fn check(&self, faults: &mut Faults) {
        let key = |name: &str| format!("streams.{name}");
        // A week × 86,400 s; longer is the document store's business.
        faults.within(key("ttl_seconds"), self.ttl_seconds, 60, 604_800);
        // An operation of a Durable Object may last 15 min × 60 s without a client.
        faults.within(key("grace_seconds"), self.grace_seconds, 0, 900);
        // 64 KiB to 64 MiB: half of an isolate's memory.
        faults.within(key("max_bytes"), self.max_bytes, 65_536, 67_108_864);
        faults.within(
            key("idempotency_ttl_seconds"),
            self.idempotency_ttl_seconds,
            60,
            604_800,
        );
    }
}
