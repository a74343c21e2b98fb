//! Conversations and memories: sealed here with their owner's key, kept in an object that never opens them.
//!
//! * `conversations`, `items`: OpenAI's Conversations API, and what is ours beside it.
//! * `turn`: a response that belongs to a conversation: what it is told, and what is kept of it.
//! * `facts`: short memories, and the block that an alias tells its providers.

pub mod conversations;
pub mod facts;
pub mod items;
pub mod turn;

use serde_json::{Map, Value};

use super::gate::Caller;
use super::port::{Class, Port, PortFault, call_rows, storage_refusal};
use super::request::Head;
use super::{owner_key, owners};
use crate::base::digest::{Bytes32, hex, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::json::canonical_object;
use crate::base::secret::Secret;
use crate::base::time::Millis;
use crate::domain::documents::directory::MEMORY_OWNERS;
use crate::domain::identity::same_site;
use crate::domain::memory::command::{Command, Full, Key, Limits, Reply};
use crate::domain::memory::machine::Memory;
use crate::domain::memory::sealing::{self, At, OWNER_KEY, Place};
use crate::domain::settings::Settings;

/// What follows an owner's id in the name of the object.
pub const SUFFIX: &str = "/memory";

/// The object of an owner's memory.
fn object_of(owner: &str) -> String {
    [owner, SUFFIX].concat()
}

/// Asks an owner's memory.
async fn ask<P: Port>(port: &P, owner: &str, command: &Command) -> Result<Reply, Refusal> {
    let reply = call_rows::<Memory>(port, Class::Memory, &object_of(owner), command).await;
    match reply.map_err(|fault| storage_refusal(&fault))? {
        Reply::Newer => Err(storage_refusal(&PortFault(
            "the rows of this memory are of a newer version".to_owned(),
        ))),
        reply => Ok(reply),
    }
}

/// How much an owner may keep.
fn limits(settings: &Settings) -> Limits {
    let config = &settings.config.memory;
    Limits {
        conversations: config.max_conversations,
        memories: config.max_memories,
        items: config.max_items,
        conversation_bytes: config.max_conversation_bytes,
        owner_bytes: config.max_owner_bytes,
        ttl: Millis::from_secs(config.ttl_seconds),
        trim: config.trim,
    }
}

/// Memory is for pages of this site alone: reads as well as writes.
fn own_site(head: &Head) -> Result<(), Refusal> {
    same_site(
        head.origin.as_deref(),
        head.fetch_site.as_deref(),
        &head.own_origin,
    )
}

/// Everything that is kept of a caller, opened, for an export.
///
/// # Errors
/// `storage_unavailable`, `keyring_unavailable`, `integrity`
pub async fn exported<P: Port>(port: &P, caller: &Caller) -> Result<(Value, Value), Refusal> {
    let Some(owner) = super::documents::owner_of(caller) else {
        return Ok((Value::Array(Vec::new()), Value::Array(Vec::new())));
    };
    let conversations = conversations::all(port, &owner).await?;
    let memories = facts::all(port, &owner).await?;
    Ok((Value::Array(conversations), Value::Array(memories)))
}

/// Deletes everything of an owner, and the key with it. May be repeated.
///
/// # Errors
/// `storage_unavailable`
pub async fn forget<P: Port>(port: &P, owner: &str) -> Result<u32, Refusal> {
    match ask(port, owner, &Command::Forget).await? {
        Reply::Forgotten { conversations } => {
            owners::leave(port, MEMORY_OWNERS, owner).await?;
            Ok(conversations)
        }
        other => Err(unexpected(other)),
    }
}

// === sealing ===

/// An owner's key, opened.
struct OwnerKey {
    kept: Key,
    key: Secret<Bytes32>,
}

impl OwnerKey {
    /// The one that an object gave.
    async fn open<P: Port>(port: &P, owner: &str, kept: Key) -> Result<Self, Refusal> {
        let key = owner_key::opened(port, OWNER_KEY, owner, &kept.0).await?;
        Ok(Self { kept, key })
    }

    /// One for an owner who has none.
    async fn new<P: Port>(port: &P, owner: &str) -> Result<Self, Refusal> {
        let made = owner_key::OwnerKey::new(port, OWNER_KEY, owner).await?;
        Ok(Self {
            kept: Key(made.kept),
            key: made.key,
        })
    }

    fn seal<P: Port>(&self, port: &P, owner: &str, at: At<'_>, text: &str) -> String {
        let place = Place {
            tenant: port.tenant(),
            owner,
            at,
        };
        sealing::seal(self.key.reveal(), &place, &port.random(), text)
    }

    /// A sealed JSON object.
    fn object<P: Port>(
        &self,
        port: &P,
        owner: &str,
        at: At<'_>,
        sealed: &str,
    ) -> Result<Map<String, Value>, Refusal> {
        let place = Place {
            tenant: port.tenant(),
            owner,
            at,
        };
        let damaged =
            |cause: String| Refusal::new(Code::Integrity).cause(format!("{at:?}: {cause}"));
        let text = sealing::open(self.key.reveal(), &place, sealed);
        let text = text.map_err(|fault| damaged(fault.to_string()))?;
        serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))
    }
}

/// Sends a command with sealed texts: with the key that counts, whichever that turns out to be.
async fn tell<P: Port>(
    port: &P,
    owner: &str,
    command: impl Fn(&OwnerKey) -> Command,
) -> Result<Reply, Refusal> {
    let mut key = match ask(port, owner, &Command::Key).await? {
        Reply::Key { key: Some(kept) } => OwnerKey::open(port, owner, kept).await?,
        Reply::Key { key: None } => {
            owners::register(port, MEMORY_OWNERS, owner).await?;
            OwnerKey::new(port, owner).await?
        }
        other => return Err(unexpected(other)),
    };
    // Another call may have been the first meanwhile, and everything may have been deleted in between.
    for _ in 0..3 {
        match ask(port, owner, &command(&key)).await? {
            Reply::Other { key: kept } => key = OwnerKey::open(port, owner, kept).await?,
            reply => return Ok(reply),
        }
    }
    Err(Refusal::new(Code::StorageUnavailable).cause("an owner's key changed again and again"))
}

/// A digest of what is asked, for a call that comes twice.
fn digest_of(asked: &Map<String, Value>) -> String {
    hex(&sha256(canonical_object(asked).as_bytes()))
}

// === refusals ===

/// The same for what never was, what is gone and what is somebody else's.
fn not_found() -> Refusal {
    Refusal::new(Code::ConversationNotFound)
}

/// What a reply means that is not the one hoped for.
fn unexpected(reply: Reply) -> Refusal {
    match reply {
        Reply::NotFound | Reply::NoItem => not_found(),
        Reply::Conflict => Refusal::new(Code::IdempotencyConflict).param("Idempotency-Key"),
        Reply::Taken => Refusal::new(Code::InvalidParameter)
            .param("items")
            .detail("An item of that id is in the conversation already."),
        Reply::Full { limit } => Refusal::new(Code::MemoryFull).detail(match limit {
            Full::Conversations => "There are as many conversations as one owner may have.",
            Full::Memories => "There are as many memories as one owner may have.",
            Full::Items => "The conversation has as many items as it may have.",
            Full::Bytes => "The conversation is as long as it may be.",
            Full::Owner => "Everything together is as long as it may be.",
            Full::Item => "An item is too long.",
        }),
        other => Refusal::new(Code::Internal).cause(format!("the memory answered {other:?}")),
    }
}

fn invalid(param: &str, rule: &str) -> Refusal {
    crate::domain::llm::request::invalid(param, rule)
}
