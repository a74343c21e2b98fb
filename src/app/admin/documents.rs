//! Documents as operators see them: what scans held back, and what they hold themselves. Their content is not shown.
//!
//! What an operator changes lies in its owner's object, which has no outbox: the entry for the audit log is stored first,
//! and nothing is changed without it.

use serde_json::{Map, Value, json};

use super::sign_in::required;
use super::{Context, Told};
use crate::app::audit::recorded;
use crate::app::documents::reach::{owner_of_noted, pointers};
use crate::app::documents::scanner::told as scan_told;
use crate::app::documents::sealing::Held;
use crate::app::documents::shares::details;
use crate::app::documents::{ask_owner, remove};
use crate::app::port::{Port, PortFault, storage_refusal};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::documents::about::{Hold, Right};
use crate::domain::documents::manifest::{Document, is_document_id};
use crate::domain::documents::owner::details::{Ask, Told as ToldOfIt};
use crate::domain::documents::owner::{Command, Reply};
use crate::domain::documents::pointers::{self, HELD, HELD_BACK, Pointer};
use crate::domain::llm::request::invalid;

/// Documents of a page: each costs a call.
const PAGE: u32 = 50;

/// Longest reason of a hold, in bytes.
const MAX_REASON_BYTES: usize = 500;

/// What scans held back (`state=held_back`, or nothing said), or what operators hold (`state=held`); `after` turns the
/// page.
///
/// # Errors
/// `invalid_parameter`, `storage_unavailable`, `keyring_unavailable`.
pub async fn list<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let state = cx.head.query_value("state").unwrap_or_default();
    let name = match state.as_str() {
        "" | "held_back" => HELD_BACK,
        "held" => HELD,
        _ => return Err(invalid("state", "must be held_back or held")),
    };
    let command = pointers::Command::List {
        after: cx.head.query_value("after").filter(|id| is_document_id(id)),
        limit: PAGE,
    };
    let noted = pointers(cx.port, name, &command).await.map_err(fault)?;
    let next = noted
        .get(PAGE.saturating_sub(1) as usize)
        .map(|last| last.document.clone());
    let mut documents = Vec::new();
    for pointer in noted {
        match versions(cx.port, &pointer).await? {
            Some(held) => {
                for held in held.iter().filter(|held| is_meant(name, &held.document)) {
                    documents.push(shown(cx.port, held).await?);
                }
            }
            None => {
                // Left behind by what is gone.
                let documents = vec![pointer.document];
                let _ = pointers(cx.port, name, &pointers::Command::Remove { documents }).await;
            }
        }
    }
    Ok(Told::Json(json!({"documents": documents, "next": next})))
}

/// Lets a version go that was held back: `{owner, version}`, the newest if nothing is said.
///
/// # Errors
/// `not_found`; `conflict` for what is not held back; `audit_unavailable`, `storage_unavailable`.
pub async fn release<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let pointer = pointer(cx).await?;
    let all = versions(cx.port, &pointer).await?.unwrap_or_default();
    let wanted = cx.fields.get("version").filter(|it| !it.is_null());
    let wanted = match wanted {
        None => None,
        Some(number) => Some(
            number
                .as_u64()
                .ok_or_else(|| invalid("version", "must be the number of a version"))?,
        ),
    };
    let mut all = all.into_iter();
    let held = match wanted {
        None => all.next(),
        Some(number) => all.find(|held| u64::from(held.document.version) == number),
    };
    let held = held.ok_or_else(|| Refusal::new(Code::NotFound))?;
    if !held.document.about.state().is_held_back() {
        let state = held.document.about.state().name();
        return Err(Refusal::new(Code::Conflict).detail(["It is ", state, "."].concat()));
    }
    let version = held.document.version;
    let ask = Ask::Release {
        version,
        by: cx.operator().to_owned(),
        at: cx.port.now(),
    };
    let detail = ("version", version.to_string());
    changed(cx, &pointer, Deed::DocumentRelease, Some(detail), ask).await
}

/// Holds a document, whoever asks for its deletion and whatever date it has: `{owner, reason}`.
///
/// # Errors
/// `not_found`, `invalid_parameter`, `audit_unavailable`, `storage_unavailable`.
pub async fn hold<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let reason = required(cx, "reason")?.trim();
    if !(1..=MAX_REASON_BYTES).contains(&reason.len()) {
        return Err(invalid("reason", "must have 1 to 500 bytes"));
    }
    let pointer = pointer(cx).await?;
    if versions(cx.port, &pointer).await?.is_none() {
        return Err(Refusal::new(Code::NotFound));
    }
    // First: what is held is found again.
    let note = pointers::Command::Put {
        pointer: pointer.clone(),
    };
    pointers(cx.port, HELD, &note).await.map_err(fault)?;
    let hold = Hold {
        by: cx.operator().to_owned(),
        since: cx.port.now(),
        reason: reason.to_owned(),
    };
    let ask = Ask::Hold { hold: Some(hold) };
    changed(cx, &pointer, Deed::DocumentHold, None, ask).await
}

/// Ends a hold.
///
/// # Errors
/// `not_found`, `audit_unavailable`, `storage_unavailable`.
pub async fn unhold<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let pointer = pointer(cx).await?;
    let ask = Ask::Hold { hold: None };
    let told = changed(cx, &pointer, Deed::DocumentUnhold, None, ask).await?;
    let documents = vec![pointer.document];
    let _ = pointers(cx.port, HELD, &pointers::Command::Remove { documents }).await;
    Ok(told)
}

/// Deletes a document that is not held.
///
/// # Errors
/// `not_found`, `document_kept`, `audit_unavailable`, `storage_unavailable`.
pub async fn delete<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let pointer = pointer(cx).await?;
    let Some(all) = versions(cx.port, &pointer).await? else {
        return Err(Refusal::new(Code::NotFound));
    };
    let is_kept = all
        .first()
        .is_some_and(|held| held.document.about.is_kept(cx.port.now()));
    if is_kept {
        return Err(Refusal::new(Code::DocumentKept));
    }
    record(cx, &pointer, Deed::DocumentRemove, None).await?;
    remove(cx.port, &pointer.owner, &pointer.document).await?;
    Ok(Told::Json(json!({"id": pointer.document, "removed": true})))
}

// === what they share ===

fn fault(fault: PortFault) -> Refusal {
    storage_refusal(&fault)
}

/// Which document is meant: its owner is in the request, or noted.
async fn pointer<P: Port>(cx: &Context<'_, P>) -> Result<Pointer, Refusal> {
    let not_found = || Refusal::new(Code::NotFound).detail("There is no such document.");
    if !is_document_id(&cx.id) {
        return Err(not_found());
    }
    let field = cx.fields.get("owner").and_then(Value::as_str);
    let given = field
        .map(str::to_owned)
        .or_else(|| cx.head.query_value("owner"));
    let owner = match given.filter(|owner| !owner.is_empty()) {
        Some(owner) => Some(owner),
        None => owner_of_noted(cx.port, &cx.id).await.map_err(fault)?,
    };
    Ok(Pointer {
        document: cx.id.clone(),
        owner: owner.ok_or_else(|| {
            not_found().detail("Say whose the document is, with owner: it is not noted.")
        })?,
    })
}

/// Its versions, the newest first; `None` when it is gone.
async fn versions<P: Port>(port: &P, pointer: &Pointer) -> Result<Option<Vec<Held>>, Refusal> {
    let get = Command::Get {
        id: pointer.document.clone(),
        version: None,
        who: None,
    };
    let owner_key = match ask_owner(port, &pointer.owner, &get).await.map_err(fault)? {
        Reply::Found { owner_key, .. } => owner_key,
        _ => return Ok(None),
    };
    let command = Command::Versions {
        id: pointer.document.clone(),
        who: None,
    };
    match ask_owner(port, &pointer.owner, &command)
        .await
        .map_err(fault)?
    {
        Reply::Page { documents, .. } => {
            let held = documents.into_iter().map(|document| Held {
                owner: pointer.owner.clone(),
                document,
                owner_key: owner_key.clone(),
                right: Right::Own,
            });
            Ok(Some(held.collect()))
        }
        _ => Ok(None),
    }
}

fn is_meant(name: &str, document: &Document) -> bool {
    match name {
        HELD => document.about.hold.is_some(),
        _ => document.about.state().is_held_back(),
    }
}

/// A version, without its content.
async fn shown<P: Port>(port: &P, held: &Held) -> Result<Value, Refusal> {
    let document = &held.document;
    let about = &document.about;
    let scan = match about.scan.as_deref() {
        None => Value::Null,
        Some(scanned) => scan_told(port, held, scanned).await?,
    };
    let hold = about
        .hold
        .as_ref()
        .map(|hold| json!({"by": hold.by, "since": hold.since.rfc3339(), "reason": hold.reason}));
    Ok(json!({
        "id": document.id,
        "version": document.version,
        "owner": held.owner,
        "filename": document.filename,
        "content_type": document.content_type,
        "bytes": document.bytes,
        "sha256": document.sha256,
        "created_at": document.created.rfc3339(),
        "expires_at": document.expires.rfc3339(),
        "keep_until": about.keep_until.map(Millis::rfc3339),
        "state": about.state().name(),
        "held_back_for": scan.get("held_back_for"),
        "findings": scan.get("findings"),
        "hold": hold,
        "shares": about.shares.len(),
    }))
}

async fn record<P: Port>(
    cx: &Context<'_, P>,
    pointer: &Pointer,
    deed: Deed,
    detail: Option<(&'static str, String)>,
) -> Result<(), Refusal> {
    let mut event = cx.event(deed).target("document").about(&pointer.document);
    if let Some((name, value)) = &detail {
        event = event.detail(name, value);
    }
    recorded(cx.port, event).await
}

/// Records a change, makes it, and tells the document.
async fn changed<P: Port>(
    cx: &Context<'_, P>,
    pointer: &Pointer,
    deed: Deed,
    detail: Option<(&'static str, String)>,
    ask: Ask,
) -> Result<Told, Refusal> {
    if versions(cx.port, pointer).await?.is_none() {
        return Err(Refusal::new(Code::NotFound));
    }
    record(cx, pointer, deed, detail).await?;
    let command = Command::Details {
        id: pointer.document.clone(),
        who: None,
        ask,
    };
    match details(ask_owner(cx.port, &pointer.owner, &command).await)? {
        ToldOfIt::Document { .. } => {}
        _ => return Err(Refusal::new(Code::NotFound)),
    }
    let all = versions(cx.port, pointer).await?.unwrap_or_default();
    let mut told = Vec::new();
    for held in &all {
        told.push(shown(cx.port, held).await?);
    }
    let fields = Map::from_iter([("versions".to_owned(), Value::Array(told))]);
    Ok(Told::Json(Value::Object(fields)))
}
