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
use super::owned::{self, Owned, Said};
use super::owner_key::OwnerKey;
use super::owners;
use super::port::{Class, Port};
use crate::base::digest::{hex, sha256};
use crate::base::errors::{Code, Refusal};
use crate::base::json::canonical_object;
use crate::base::time::Millis;
use crate::domain::documents::directory::MEMORY_OWNERS;
use crate::domain::memory::command::{Command, Full, Key, Limits, Reply};
use crate::domain::memory::machine::Memory;
use crate::domain::memory::sealing::OWNER_KEY;
use crate::domain::settings::Settings;

impl Owned for Memory {
    const CLASS: Class = Class::Memory;
    const SUFFIX: &'static str = "/memory";
    const PURPOSE: &'static str = OWNER_KEY;
    const OWNERS: &'static str = MEMORY_OWNERS;
    const KEY: Command = Command::Key;

    fn said(reply: &Reply) -> Said<'_> {
        match reply {
            Reply::Key { key } => Said::Key(key.as_ref()),
            Reply::Other { key } => Said::Other(key),
            Reply::Newer => Said::Newer,
            _ => Said::Nothing,
        }
    }
}

/// Asks an owner's memory.
async fn ask<P: Port>(port: &P, owner: &str, command: &Command) -> Result<Reply, Refusal> {
    owned::ask::<Memory>(port, owner, command).await
}

/// Sends a command with sealed texts.
async fn tell<P: Port>(
    port: &P,
    owner: &str,
    command: impl Fn(&OwnerKey) -> Command,
) -> Result<Reply, Refusal> {
    owned::tell::<Memory>(port, owner, command).await
}

/// The key that an object gave.
async fn open_key<P: Port>(port: &P, owner: &str, kept: Key) -> Result<OwnerKey, Refusal> {
    OwnerKey::open(port, OWNER_KEY, owner, kept).await
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
