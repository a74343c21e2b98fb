//! Vector stores: documents cut and sealed here with their owner's key, kept and searched in an object that opens none of
//! them.
//!
//! * `stores`, `files`, `batches`: OpenAI's Vector Stores API.
//! * `ingest`: from a document to passages that are found.
//! * `search`: from questions to passages that the caller may read now; `context`: the same for a model's call.

pub mod batches;
pub mod context;
pub mod files;
mod ingest;
pub mod search;
pub mod stores;

use serde_json::{Map, Value, json};

use super::documents::owner_of;
use super::gate::Caller;
use super::owned::{self, Owned, Said, object_of};
use super::owner_key::OwnerKey;
use super::port::{Class, Port, PortFault, call_rows};
use super::request::Head;
use super::{listing, owners};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::documents::directory::STORE_OWNERS;
use crate::domain::retrieval::store::command::{Command, File, Full, Key, Limits, Page, Reply};
use crate::domain::retrieval::store::machine::Stores;
use crate::domain::retrieval::store::sealing::{At, OWNER_KEY};
use crate::domain::retrieval::wire::is_store_id;
use crate::domain::settings::Settings;

impl Owned for Stores {
    const CLASS: Class = Class::Stores;
    const SUFFIX: &'static str = "/stores";
    const PURPOSE: &'static str = OWNER_KEY;
    const OWNERS: &'static str = STORE_OWNERS;
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

/// Asks an owner's stores.
async fn ask<P: Port>(port: &P, owner: &str, command: &Command) -> Result<Reply, Refusal> {
    owned::ask::<Stores>(port, owner, command).await
}

/// Sends a command with sealed texts.
async fn tell<P: Port>(
    port: &P,
    owner: &str,
    command: impl Fn(&OwnerKey) -> Command,
) -> Result<Reply, Refusal> {
    owned::tell::<Stores>(port, owner, command).await
}

/// The key that counts, if there is one.
async fn key_of<P: Port>(port: &P, owner: &str) -> Result<Option<OwnerKey>, Refusal> {
    owned::key_of::<Stores>(port, owner).await
}

/// The key that an object gave.
async fn open_key<P: Port>(port: &P, owner: &str, kept: Key) -> Result<OwnerKey, Refusal> {
    OwnerKey::open(port, OWNER_KEY, owner, kept).await
}

/// How much an owner may keep.
fn limits(settings: &Settings) -> Limits {
    let config = &settings.config.retrieval;
    Limits {
        stores: config.max_stores,
        files: config.max_files,
        passages: config.max_passages,
        ttl: Millis::from_secs(config.ttl_seconds),
    }
}

/// Whose a store of that id would be.
fn owner_of_it(caller: &Caller, head: &Head, id: &str) -> Result<String, Refusal> {
    head.own_site()?;
    let owner = owner_of(caller).filter(|_| is_store_id(id));
    owner
        .map(std::borrow::Cow::into_owned)
        .ok_or_else(not_found)
}

/// Everything that is kept of a caller's stores but the passages, which are in the documents: for an export.
///
/// # Errors
/// `storage_unavailable`, `keyring_unavailable`, `integrity`
pub async fn exported<P: Port>(port: &P, caller: &Caller) -> Result<Value, Refusal> {
    let Some(owner) = owner_of(caller) else {
        return Ok(json!([]));
    };
    let everything = Page {
        limit: u32::MAX,
        ..Page::default()
    };
    let (mut all, _) = stores::page(port, &owner, everything.clone()).await?;
    for store in &mut all {
        let id = store.get("id").and_then(Value::as_str).unwrap_or_default();
        let (files, _) = match files::page(port, &owner, id, None, None, everything.clone()).await {
            // Deleted, or over, since it was listed.
            Err(refusal) if refusal.code == not_found().code => continue,
            other => other?,
        };
        if let Some(store) = store.as_object_mut() {
            store.insert("files".into(), Value::Array(files));
        }
    }
    Ok(Value::Array(all))
}

/// Deletes everything of an owner, and the key with it. May be repeated.
///
/// # Errors
/// `storage_unavailable`
pub async fn forget<P: Port>(port: &P, owner: &str) -> Result<(), Refusal> {
    match ask(port, owner, &Command::Forget).await? {
        Reply::Forgotten { .. } => owners::leave(port, STORE_OWNERS, owner).await,
        other => Err(unexpected(other)),
    }
}

/// Documents of this owner are gone: nothing of them is left in their stores. May be repeated.
///
/// # Errors
/// The object could not be reached.
pub async fn dropped(
    port: &impl Port,
    owner: &str,
    documents: Vec<String>,
) -> Result<(), PortFault> {
    let command = Command::Drop { documents };
    call_rows::<Stores>(port, Class::Stores, &object_of::<Stores>(owner), &command)
        .await
        .map(drop)
}

// === attributes ===

/// Attributes of a file.
fn attributes<P: Port>(
    port: &P,
    key: &OwnerKey,
    owner: &str,
    store: &str,
    file: &File,
) -> Result<Map<String, Value>, Refusal> {
    let at = At::Attributes(store, &file.told.id);
    match &file.told.sealed {
        None => Ok(Map::new()),
        Some(sealed) => key.object(port, owner, at, sealed),
    }
}

/// The same on their way in; nothing for none.
fn sealed_attributes<P: Port>(
    port: &P,
    key: &OwnerKey,
    owner: &str,
    (store, file): (&str, &str),
    attributes: &Map<String, Value>,
) -> Option<String> {
    let text = Value::Object(attributes.clone()).to_string();
    (!attributes.is_empty()).then(|| key.seal(port, owner, At::Attributes(store, file), &text))
}

// === pages ===

/// A page of a list, as the query asks for it.
fn page_of(head: &Head) -> Result<Page, Refusal> {
    Ok(Page {
        after: head.query_value("after"),
        before: head.query_value("before"),
        limit: listing::length(head)?,
        ascending: listing::is_ascending(head)?,
    })
}

// === refusals ===

/// The same for what never was, what is gone and what is somebody else's.
fn not_found() -> Refusal {
    Refusal::new(Code::VectorStoreNotFound)
}

/// What a reply means that is not the one hoped for.
fn unexpected(reply: Reply) -> Refusal {
    match reply {
        Reply::NotFound | Reply::NoFile => not_found(),
        Reply::Full { limit } => Refusal::new(Code::RetrievalFull).detail(match limit {
            Full::Stores => "There are as many stores as one owner may have.",
            Full::Files => "The store has as many files as it may have.",
            Full::Passages => "There are as many passages as one owner may have.",
        }),
        other => Refusal::new(Code::Internal).cause(format!("the stores answered {other:?}")),
    }
}
