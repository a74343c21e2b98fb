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
use super::port::{Class, Port, PortFault, call_rows, storage_refusal};
use super::request::Head;
use super::{owner_key, owners};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::documents::directory::STORE_OWNERS;
use crate::domain::identity::same_site;
use crate::domain::llm::request::invalid;
use crate::domain::retrieval::store::command::{Command, File, Full, Limits, Page, Reply};
use crate::domain::retrieval::store::machine::Stores;
use crate::domain::retrieval::store::sealing::{self, At, OWNER_KEY, Place};
use crate::domain::retrieval::wire::is_store_id;
use crate::domain::settings::Settings;

/// Longest page of a list, and its length when none is given (as OpenAI has it).
const MOST: u32 = 100;
const USUAL: u32 = 20;

/// What follows an owner's id in the name of the object.
pub const SUFFIX: &str = "/stores";

/// The object of an owner's stores.
fn object_of(owner: &str) -> String {
    [owner, SUFFIX].concat()
}

/// Asks an owner's stores.
async fn ask<P: Port>(port: &P, owner: &str, command: &Command) -> Result<Reply, Refusal> {
    let reply = call_rows::<Stores>(port, Class::Stores, &object_of(owner), command).await;
    match reply.map_err(|fault| storage_refusal(&fault))? {
        Reply::Newer => Err(storage_refusal(&PortFault(
            "the rows of these stores are of a newer version".to_owned(),
        ))),
        reply => Ok(reply),
    }
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

/// Stores are for pages of this site alone: reads as well as writes.
fn own_site(head: &Head) -> Result<(), Refusal> {
    same_site(
        head.origin.as_deref(),
        head.fetch_site.as_deref(),
        &head.own_origin,
    )
}

/// Whose a store of that id would be.
fn owner_of_it(caller: &Caller, head: &Head, id: &str) -> Result<String, Refusal> {
    own_site(head)?;
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
    call_rows::<Stores>(port, Class::Stores, &object_of(owner), &command)
        .await
        .map(drop)
}

// === sealing ===

/// An owner's key, opened.
struct OwnerKey(owner_key::OwnerKey);

impl OwnerKey {
    /// The one that an object gave.
    async fn open<P: Port>(port: &P, owner: &str, kept: String) -> Result<Self, Refusal> {
        owner_key::OwnerKey::open(port, OWNER_KEY, owner, kept)
            .await
            .map(Self)
    }

    fn kept(&self) -> String {
        self.0.kept.clone()
    }

    fn seal<P: Port>(&self, port: &P, owner: &str, at: At<'_>, text: &str) -> String {
        let place = Place {
            tenant: port.tenant(),
            owner,
            at,
        };
        sealing::seal(self.0.key.reveal(), &place, &port.random(), text)
    }

    fn text<P: Port>(
        &self,
        port: &P,
        owner: &str,
        at: At<'_>,
        sealed: &str,
    ) -> Result<String, Refusal> {
        let place = Place {
            tenant: port.tenant(),
            owner,
            at,
        };
        sealing::open(self.0.key.reveal(), &place, sealed)
            .map_err(|fault| Refusal::new(Code::Integrity).cause(format!("{at:?}: {fault}")))
    }

    /// A sealed JSON object.
    fn object<P: Port>(
        &self,
        port: &P,
        owner: &str,
        at: At<'_>,
        sealed: &str,
    ) -> Result<Map<String, Value>, Refusal> {
        let text = self.text(port, owner, at, sealed)?;
        serde_json::from_str(&text)
            .map_err(|error| Refusal::new(Code::Integrity).cause(format!("{at:?}: {error}")))
    }

    /// Attributes of a file.
    fn attributes<P: Port>(
        &self,
        port: &P,
        owner: &str,
        store: &str,
        file: &File,
    ) -> Result<Map<String, Value>, Refusal> {
        match &file.told.sealed {
            None => Ok(Map::new()),
            Some(sealed) => self.object(port, owner, At::Attributes(store, &file.told.id), sealed),
        }
    }

    /// The same on their way in; nothing for none.
    fn sealed_attributes<P: Port>(
        &self,
        port: &P,
        owner: &str,
        (store, file): (&str, &str),
        attributes: &Map<String, Value>,
    ) -> Option<String> {
        let text = Value::Object(attributes.clone()).to_string();
        (!attributes.is_empty()).then(|| self.seal(port, owner, At::Attributes(store, file), &text))
    }
}

/// The key that counts, if there is one.
async fn key_of<P: Port>(port: &P, owner: &str) -> Result<Option<OwnerKey>, Refusal> {
    match ask(port, owner, &Command::Key).await? {
        Reply::Key { key: Some(kept) } => OwnerKey::open(port, owner, kept).await.map(Some),
        Reply::Key { key: None } => Ok(None),
        other => Err(unexpected(other)),
    }
}

/// Sends a command with sealed texts: with the key that counts, whichever that turns out to be.
async fn tell<P: Port>(
    port: &P,
    owner: &str,
    command: impl Fn(&OwnerKey) -> Command,
) -> Result<Reply, Refusal> {
    let mut key = match key_of(port, owner).await? {
        Some(key) => key,
        None => {
            owners::register(port, STORE_OWNERS, owner).await?;
            OwnerKey(owner_key::OwnerKey::new(port, OWNER_KEY, owner).await?)
        }
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

// === pages ===

/// A page of a list, as the query asks for it.
fn page_of(head: &Head) -> Result<Page, Refusal> {
    let limit = match head.query_value("limit") {
        None => USUAL,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=MOST).contains(limit))
            .ok_or_else(|| invalid("limit", "must be a number from 1 to 100"))?,
    };
    let ascending = match head.query_value("order").as_deref() {
        None | Some("desc") => false,
        Some("asc") => true,
        Some(_) => return Err(invalid("order", "must be asc or desc")),
    };
    Ok(Page {
        after: head.query_value("after"),
        before: head.query_value("before"),
        limit,
        ascending,
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
