//! Documents: create, list, get, content, delete, and the sweep that removes what is over.
//!
//! A document exists from the moment its owner's object says so and until it says otherwise; blobs are written before
//! that and removed after it. Whatever fails on the way leaves rows that the sweep finds, because the owner was
//! registered in the directory first, and quota entries that end by themselves.

pub mod comments;
pub mod details;
pub mod door;
pub mod links;
pub mod orphans;
pub mod parts;
pub(super) mod reach;
pub mod scanner;
pub(super) mod sealing;
pub mod shares;
pub(super) mod sweep;
mod upload;
pub mod versions;

pub use sweep::{Swept, sweep};
pub(super) use upload::visitor;
pub use upload::{create, create_in_segments};

use std::borrow::Cow;

use serde_json::Value;

use super::gate::Caller;
use super::objects::ask;
use super::port::{Blobs, Class, Port, PortFault, call, storage_refusal};
use super::reply::{Body, Reply};
use super::request::Head;
use super::retrieval;
use crate::base::digest::hex;
use crate::base::errors::{Code, Refusal};
use crate::base::headers::API_SECURITY_POLICY;
use crate::base::ids::ID_BYTES;
use crate::base::time::Millis;
use crate::domain::documents::content_type::attachment;
use crate::domain::documents::directory::{self, DOCUMENT_OWNERS, Directory};
use crate::domain::documents::form;
use crate::domain::documents::manifest::{Document, is_document_id};
use crate::domain::documents::owner::{self, Order, OwnerDocuments, Purge};
use crate::domain::documents::quota::{self, Ledger, SITE_LEDGER, network_ledger};
use crate::domain::documents::range::{self, Selection};
use crate::domain::documents::wire::{self, Shape};
use crate::domain::identity::Principal;

use reach::reach;
use sealing::Held;

/// Longest page of a list in OpenAI's dialect, and its length when none is given.
const OPENAI_PAGE: u32 = 10_000;
/// Longest page of a list in Anthropic's dialect.
const ANTHROPIC_PAGE: u32 = 1_000;
/// Length of a page in Anthropic's dialect when none is given.
const ANTHROPIC_DEFAULT_PAGE: u32 = 20;

/// Lists the caller's documents.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site | 403 |
/// | 2 | query → page | 400 |
/// | 3 | the owner's rows; who is not known owns nothing | 503 |
///
/// # Errors
/// As the table says.
pub async fn list<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Reply<P>, Refusal> {
    // 1
    head.own_site()?;

    // 2
    let shape = shape(head);
    let page = match shape {
        Shape::OpenAi => openai_page(head)?,
        Shape::Anthropic => anthropic_page(head)?,
    };

    // 3
    let (documents, has_more) = match owner_of(caller) {
        None => (Vec::new(), false),
        Some(id) => match ask_owner(port, &id, &page.command).await {
            Ok(owner::Reply::Page {
                documents,
                has_more,
            }) => (documents, has_more),
            other => return Err(unexpected(other)),
        },
    };
    let documents: Vec<Document> = if page.backwards {
        documents.into_iter().rev().collect()
    } else {
        documents
    };
    Ok(Reply::json(200, wire::list(&documents, has_more, shape)))
}

/// Describes one document.
///
/// # Errors
/// 403 when another site asks, 404 for everything that is not the caller's, 503 when the store does not answer.
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    head.own_site()?;
    let held = reach(port, caller, id, None).await?;
    let told = wire::file_for(&held.document, held.right, shape(head));
    Ok(Reply::json(200, told))
}

/// Sends a document's content.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site | 403 |
/// | 2 | the document, and that its scan does not hold it back | 403, 404, 503 |
/// | 3 | the caller has it already: 304 | – |
/// | 4 | which bytes | 416 |
/// | 5 | they are sent as they are read | 500, 503 |
///
/// # Errors
/// As the table says.
pub async fn content<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    // 1
    head.own_site()?;

    // 2
    let version = versions::asked_for(head)?;
    let held = reach(port, caller, id, version).await?;
    // 3 to 5
    send(port, caller, head, &held).await
}

/// Sends what was found, or the part of it that is asked for, unless its scan holds it back.
async fn send<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    held: &Held,
) -> Result<Reply<P>, Refusal> {
    scanner::may_read(port, held, scanner::reader_of(held.right)).await?;
    let document = &held.document;
    let etag = range::etag(&document.sha256);

    // 3
    if range::not_modified(head.if_none_match.as_deref(), &etag) {
        return Ok(Reply::status(304).headers(content_headers(document, &etag)));
    }

    // 4: only GET knows ranges (RFC 9110 §14.2).
    let is_head = head.method == "HEAD";
    let asked = head.range.as_deref().filter(|_| !is_head);
    let selection = range::select(asked, head.if_range.as_deref(), &etag, document.bytes);
    let (status, first, last) = match selection {
        Selection::Whole => (200, 0, document.bytes.saturating_sub(1)),
        Selection::Part { first, last } => (206, first, last),
        Selection::Unsatisfiable => {
            let refusal = Refusal::new(Code::RangeNotSatisfiable)
                .detail(format!("The document has {} bytes.", document.bytes));
            let range = range::content_range_unsatisfied(document.bytes);
            return Err(refusal.headers([("content-range", range)]));
        }
    };
    let length = last.saturating_sub(first).saturating_add(1);
    let mut reply = Reply::status(status)
        .headers(content_headers(document, &etag))
        .header("content-type", document.content_type.clone())
        .header("content-length", length.to_string());
    if status == 206 {
        reply = reply.header(
            "content-range",
            range::content_range(first, last, document.bytes),
        );
    }

    // 5
    if !is_head {
        reply.body = Body::Stream(open(port, caller, held, first, last).await?);
    }
    Ok(reply)
}

/// Deletes a document.
///
/// | # | step | refusal |
/// |---|---|---|
/// | 1 | the request comes from this site | 403 |
/// | 2 | the owner is due for a visit, should this stop half-way | 503 |
/// | 3 | the owner's row: from here on the document is gone | 404, 503 |
/// | 4 | passages, blobs and quota; what fails here is left to the sweep | – |
///
/// # Errors
/// As the table says.
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    // 1
    head.own_site()?;
    let owner = owner_of(caller)
        .filter(|_| is_document_id(id))
        .ok_or_else(not_found)?;

    // 2
    register(port, &owner, port.now())
        .await
        .map_err(|fault| storage_refusal(&fault))?;

    // 3 and 4
    let mut reply = Reply::json(200, wire::deleted(id, shape(head)));
    reply.outcome.cause = gone(port, &owner, id).await?;
    Ok(reply)
}

/// Deletes a document of an owner, who is due for a visit. Gives what was left to the sweep, for the log.
///
/// # Errors
/// `document_not_found`, `document_kept`, `storage_unavailable`.
async fn gone<P: Port>(port: &P, owner: &str, id: &str) -> Result<Option<String>, Refusal> {
    let command = owner::Command::Delete { id: id.to_owned() };
    let purges = match ask_owner(port, owner, &command).await {
        Ok(owner::Reply::Purge { purges, .. }) => purges,
        other => return Err(unexpected(other)),
    };
    let left = purge(port, owner, &purges).await.err();
    Ok(left.map(|fault| format!("left to the sweep: {}", fault.0)))
}

/// Deletes a document, whoever asks.
///
/// # Errors
/// As [`gone`].
pub(super) async fn remove<P: Port>(port: &P, owner: &str, id: &str) -> Result<(), Refusal> {
    register(port, owner, port.now())
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    gone(port, owner, id).await.map(drop)
}

// === what the stories share ===

fn shape(head: &Head) -> Shape {
    if head.anthropic_version.is_some() {
        Shape::Anthropic
    } else {
        Shape::OpenAi
    }
}

/// Whose documents a caller's are.
pub(super) fn owner_of(caller: &Caller) -> Option<Cow<'_, str>> {
    match &caller.principal {
        Principal::Visitor { id, .. } => Some(Cow::Borrowed(id)),
        Principal::Key(view) => Some(Cow::Owned(owner_of_key(&view.id))),
        Principal::Anonymous => None,
    }
}

/// A key's documents are its own.
fn owner_of_key(id: &str) -> String {
    ["key_", id].concat()
}

/// Everything that is told of a caller's documents, for an export.
///
/// # Errors
/// `storage_unavailable`
pub async fn exported<P: Port>(port: &P, caller: &Caller) -> Result<Value, Refusal> {
    let Some(owner) = owner_of(caller) else {
        return Ok(Value::Array(Vec::new()));
    };
    let documents = all_of(port, &owner).await?;
    let told = documents
        .iter()
        .filter_map(|document| serde_json::from_str(&wire::file(document, Shape::OpenAi)).ok());
    Ok(Value::Array(told.collect()))
}

/// Deletes every document of an owner, blobs included. May be repeated.
///
/// # Errors
/// `storage_unavailable`; the sweep removes what is left of those that are gone.
pub async fn forget<P: Port>(port: &P, owner: &str) -> Result<usize, Refusal> {
    register(port, owner, port.now())
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    match ask_owner(port, owner, &owner::Command::Forget).await {
        Ok(owner::Reply::Purge { purges, .. }) => {
            let documents = purges.iter().filter(|purge| purge.document.is_none());
            let count = documents.count();
            purge(port, owner, &purges)
                .await
                .map_err(|fault| storage_refusal(&fault))?;
            Ok(count)
        }
        other => Err(unexpected(other)),
    }
}

async fn all_of<P: Port>(port: &P, owner: &str) -> Result<Vec<Document>, Refusal> {
    let mut all: Vec<Document> = Vec::new();
    loop {
        let command = owner::Command::List {
            after: all.last().map(|document| document.id.clone()),
            limit: OPENAI_PAGE,
            order: Order::Ascending,
            purpose: None,
        };
        match ask_owner(port, owner, &command).await {
            Ok(owner::Reply::Page {
                documents,
                has_more,
            }) => {
                let more = has_more && !documents.is_empty();
                all.extend(documents);
                if !more {
                    return Ok(all);
                }
            }
            other => return Err(unexpected(other)),
        }
    }
}

/// The same for what never was, what is gone and what is somebody else's.
fn not_found() -> Refusal {
    Refusal::new(Code::DocumentNotFound)
}

/// Opens the bytes from `first` to `last`.
async fn open<P: Port>(
    port: &P,
    caller: &Caller,
    held: &Held,
    first: u64,
    last: u64,
) -> Result<P::Stream, Refusal> {
    let id = &held.document.id;
    let parts = sealing::parts(port, held, held.document.pieces(first, last)).await?;
    let blobs = port
        .blob_stream(parts)
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    let damaged = |what: &str| Refusal::new(Code::Integrity).cause(format!("{id}: {what}"));
    match blobs {
        Blobs::Body(stream) => Ok(stream),
        Blobs::Forged => Err(damaged("a segment was changed")),
        Blobs::Missing => {
            // Deleted since it was looked up, or damaged: the owner knows.
            let version = Some(held.document.version);
            reach::again(port, caller, held, version).await?;
            Err(damaged("a segment is missing"))
        }
    }
}

/// What stands on every answer about content. The caller's cache must ask each time, since a document can be deleted.
fn content_headers(document: &Document, etag: &str) -> [(&'static str, String); 6] {
    [
        ("etag", etag.to_owned()),
        ("cache-control", "private, no-cache".to_owned()),
        ("content-disposition", attachment(&document.filename)),
        ("content-security-policy", API_SECURITY_POLICY.to_owned()),
        ("cross-origin-resource-policy", "same-origin".to_owned()),
        ("accept-ranges", "bytes".to_owned()),
    ]
}

// === pages of a list ===

struct Page {
    command: owner::Command,
    /// The page was read from its end.
    backwards: bool,
}

fn openai_page(head: &Head) -> Result<Page, Refusal> {
    let order = match head.query_value("order").as_deref() {
        None | Some("desc") => Order::Descending,
        Some("asc") => Order::Ascending,
        Some(_) => return Err(invalid("order", "Use asc or desc.")),
    };
    let purpose = match head.query_value("purpose") {
        None => None,
        Some(name) => Some(form::purpose(&name)?),
    };
    Ok(Page {
        command: owner::Command::List {
            after: cursor(head, "after")?,
            limit: page_length(head, OPENAI_PAGE, OPENAI_PAGE)?,
            order,
            purpose,
        },
        backwards: false,
    })
}

/// Newest first; `before_id` asks for the page that ends right before that id.
fn anthropic_page(head: &Head) -> Result<Page, Refusal> {
    let (after, before) = (cursor(head, "after_id")?, cursor(head, "before_id")?);
    if after.is_some() && before.is_some() {
        return Err(invalid("before_id", "Use after_id or before_id, not both."));
    }
    let backwards = before.is_some();
    Ok(Page {
        command: owner::Command::List {
            after: before.or(after),
            limit: page_length(head, ANTHROPIC_DEFAULT_PAGE, ANTHROPIC_PAGE)?,
            order: if backwards {
                Order::Ascending
            } else {
                Order::Descending
            },
            purpose: None,
        },
        backwards,
    })
}

fn page_length(head: &Head, default: u32, most: u32) -> Result<u32, Refusal> {
    match head.query_value("limit") {
        None => Ok(default),
        Some(text) => {
            let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
            limit.ok_or_else(|| invalid("limit", &format!("Use a number from 1 to {most}.")))
        }
    }
}

fn cursor(head: &Head, name: &str) -> Result<Option<String>, Refusal> {
    match head.query_value(name) {
        Some(id) if !is_document_id(&id) => Err(invalid(name, "Use the id of a document.")),
        given => Ok(given),
    }
}

fn invalid(param: &str, detail: &str) -> Refusal {
    Refusal::new(Code::InvalidParameter)
        .param(param)
        .detail(detail)
}

// === the objects ===

pub(super) async fn ask_owner(
    port: &impl Port,
    owner: &str,
    command: &owner::Command,
) -> Result<owner::Reply, PortFault> {
    call::<OwnerDocuments>(port, Class::Owner, owner, command).await
}

/// What an owner's reply means that is not the one hoped for.
fn unexpected(reply: Result<owner::Reply, PortFault>) -> Refusal {
    match reply {
        Ok(owner::Reply::NotFound) => not_found(),
        Ok(owner::Reply::Forbidden { right }) => {
            let detail = format!("You may {} this document.", right.as_str());
            Refusal::new(Code::Forbidden).detail(detail)
        }
        Ok(owner::Reply::Kept { until }) => kept(until),
        Ok(owner::Reply::Stale { version }) => Refusal::new(Code::Conflict).detail(format!(
            "The document is at version {version}, or somebody is just storing the next one."
        )),
        Ok(owner::Reply::Passphrase { wrong, wait }) => passphrase(wrong, wait),
        Ok(other) => Refusal::new(Code::Internal).cause(format!("the owner answered {other:?}")),
        Err(fault) => storage_refusal(&fault),
    }
}

fn kept(until: Option<Millis>) -> Refusal {
    let refusal = Refusal::new(Code::DocumentKept);
    match until {
        Some(until) => refusal.detail(format!("It stays until {}.", until.rfc3339())),
        None => refusal.detail("An operator holds it."),
    }
}

fn passphrase(wrong: bool, wait: Option<Millis>) -> Refusal {
    match wait {
        Some(wait) => Refusal::new(Code::TooManyAttempts)
            .detail("Too many passphrases for this link were wrong.")
            .wait(wait),
        None if wrong => {
            Refusal::new(Code::PassphraseRequired).detail("That is not its passphrase.")
        }
        None => Refusal::new(Code::PassphraseRequired),
    }
}

/// Sees to it that the sweep will visit this owner at `due`, whatever happens until then.
pub(super) async fn register(port: &impl Port, owner: &str, due: Millis) -> Result<(), PortFault> {
    let command = directory::Command::Register {
        owner: owner.to_owned(),
        due,
        mark: hex(&port.random::<ID_BYTES>()),
    };
    ask::<Directory>(port, Class::Directory, DOCUMENT_OWNERS, command)
        .await
        .map(drop)
}

/// Removes what documents leave behind that are gone for their owner: passages in their stores, blobs, then quota, then
/// notes of shares, then the rows themselves. May be repeated at any point.
async fn purge(port: &impl Port, owner: &str, purges: &[Purge]) -> Result<(), PortFault> {
    /// R2 deletes at most 1,000 keys at once.
    const KEYS_AT_ONCE: usize = 1_000;

    let whole = purges.iter().filter(|purge| purge.document.is_none());
    let documents: Vec<String> = whole.map(|purge| purge.id.clone()).collect();
    if !documents.is_empty() {
        retrieval::dropped(port, owner, documents).await?;
    }
    let keys: Vec<String> = purges.iter().flat_map(Purge::keys).collect();
    for keys in keys.chunks(KEYS_AT_ONCE) {
        port.blob_delete(keys).await?;
    }
    let mut networks: Vec<&str> = purges.iter().map(|purge| purge.network.as_str()).collect();
    networks.sort_unstable();
    networks.dedup();
    for network in networks {
        let ids = purges
            .iter()
            .filter(|purge| purge.network == network)
            .map(|purge| purge.charged().to_owned())
            .collect();
        release(port, &network_ledger(network), ids).await?;
    }
    let charged = purges.iter().map(|purge| purge.charged().to_owned());
    release(port, SITE_LEDGER, charged.collect()).await?;
    shares::forget(port, purges).await?;
    let ids: Vec<String> = purges.iter().map(|purge| purge.id.clone()).collect();
    ask_owner(port, owner, &owner::Command::Purged { ids })
        .await
        .map(drop)
}

async fn release(port: &impl Port, ledger: &str, ids: Vec<String>) -> Result<(), PortFault> {
    ask::<Ledger>(port, Class::Ledger, ledger, quota::Command::Release { ids })
        .await
        .map(drop)
}
