//! What a caller may know of itself.

use serde_json::{Value, json};

use super::accounts;
use super::audit::{self, Event};
use super::backup;
use super::documents;
use super::gate::{Caller, admit};
use super::memory;
use super::port::{Port, storage_refusal};
use super::reply::Reply;
use super::request::Head;
use super::retrieval;
use super::rules::change;
use super::stored;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::audit::entry::{Action, Actor};
use crate::domain::identity::token::Kind;
use crate::domain::identity::{Principal, VISITOR_TTL, set_cookie};
use crate::domain::limits::rules::Change;
use crate::domain::settings::config::LimitClass;

/// Who the caller is.
///
/// # Errors
/// Those of the limits.
pub async fn me<P: Port>(port: &P, caller: &Caller) -> Result<Reply<P>, Refusal> {
    let limits = admit(port, caller, None, LimitClass::Read).await?;
    Ok(Reply::json(200, described(port, caller).to_string()).headers(limits))
}

fn described(port: &impl Port, caller: &Caller) -> Value {
    let tenant = port.tenant();
    match &caller.principal {
        Principal::Anonymous => json!({"kind": "anonymous", "tenant": tenant}),
        Principal::Visitor { id, session, .. } => json!({
            "kind": "visitor",
            "id": id,
            "tenant": tenant,
            "tier": caller.payer.tier,
            "session": session.as_ref().map(|session| json!({
                "expires_at": session.expires.rfc3339(),
                "origin": session.origin,
            })),
        }),
        Principal::Key(view) => json!({
            "kind": "key",
            "id": view.id,
            "name": view.settings.name,
            "tenant": tenant,
            "tier": caller.payer.tier,
            "scopes": view.settings.scopes,
            "expires_at": view.settings.expires.map(Millis::rfc3339),
        }),
    }
}

/// What the caller used.
///
/// # Errors
/// Those of the limits; `session_required` for whoever has no account.
pub async fn usage<P: Port>(port: &P, caller: &Caller) -> Result<Reply<P>, Refusal> {
    let limits = admit(port, caller, None, LimitClass::Read).await?;
    let account = caller
        .payer
        .account
        .as_deref()
        .ok_or_else(|| Refusal::new(Code::SessionRequired))?;
    let used = accounts::look(port, account).await?;
    Ok(Reply::json(200, used.to_string()).headers(limits))
}

/// Everything that is kept of the caller under its own name.
///
/// # Errors
/// Those of the limits; `session_required` for whoever has no account; `cross_site_refused`.
pub async fn export<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Reply<P>, Refusal> {
    own_page(head)?;
    let limits = admit(port, caller, None, LimitClass::Read).await?;
    let account = caller
        .payer
        .account
        .as_deref()
        .ok_or_else(|| Refusal::new(Code::SessionRequired))?;
    let (conversations, memories) = memory::exported(port, caller).await?;
    let told = json!({
        "me": described(port, caller),
        "usage": accounts::look(port, account).await?,
        "documents": documents::exported(port, caller).await?,
        "conversations": conversations,
        "memories": memories,
        "vector_stores": retrieval::exported(port, caller).await?,
        "not_listed": "Stored answers are read by their ids; an erasure deletes them.",
    });
    Ok(Reply::json(200, told.to_string())
        .header(
            "content-disposition",
            "attachment; filename=\"gatehouse-export.json\"",
        )
        .headers(limits))
}

/// Erases what is kept of a visitor: documents, vector stores, conversations, memories, stored answers, personal fields of the audit log, sessions, cookies. What
/// was used stays as numbers under an id that names nobody any more.
///
/// # Errors
/// Those of the limits; `session_required`; `forbidden` for a key, whose record belongs to its operator;
/// `storage_unavailable`, and then the rest can be erased by asking again.
pub async fn erase<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Reply<P>, Refusal> {
    own_page(head)?;
    let limits = admit(port, caller, None, LimitClass::Upload).await?;
    let id = match &caller.principal {
        Principal::Visitor { id, .. } => id,
        Principal::Key(_) => return Err(Refusal::new(Code::Forbidden)),
        Principal::Anonymous => return Err(Refusal::new(Code::SessionRequired)),
    };
    let event = Event::new(port, Action::SubjectErase)
        .by(Actor::Visitor, "-")
        .target("visitor")
        .request(&caller.request_id);
    let documents = forget(port, id, event).await?;
    let told = json!({"erased": true, "documents": documents});
    Ok(Reply::json(200, told.to_string())
        .header(
            "set-cookie",
            set_cookie(Kind::Session, "", Millis::ZERO, head.https()),
        )
        .header(
            "set-cookie",
            set_cookie(Kind::Visitor, "", Millis::ZERO, head.https()),
        )
        .headers(limits))
}

/// Erases a visitor. Of the steps that can fail the end of the sessions is the last, since whoever is not known any more
/// cannot ask again: then the rest is gone. What was begun meanwhile is looked for once more after that.
///
/// # Errors
/// `storage_unavailable`, `audit_unavailable`: it can be repeated.
pub async fn forget<P: Port>(port: &P, id: &str, event: Event) -> Result<usize, Refusal> {
    let documents = documents::forget(port, id).await?;
    retrieval::forget(port, id).await?;
    // Answers first: one that is being made is added to its conversation.
    stored::forget(port, id).await?;
    memory::forget(port, id).await?;
    audit::erased(port, id, event).await?;
    // The log may have taken long.
    let late = documents::forget(port, id).await?;
    retrieval::forget(port, id).await?;
    stored::forget(port, id).await?;
    memory::forget(port, id).await?;
    // No snapshot of the time before brings anything back.
    let noted = backup::erased::note(port, id).await;
    noted.map_err(|fault| storage_refusal(&fault))?;
    let until = port.now().plus(VISITOR_TTL);
    change(port, Change::Revoke(id.to_owned(), Some(until)), None, None).await?;
    // Of what was begun in this very moment a document expires, as do an answer and a conversation.
    let last = documents::forget(port, id).await.unwrap_or(0);
    let _ = retrieval::forget(port, id).await;
    let _ = stored::forget(port, id).await;
    let _ = memory::forget(port, id).await;
    Ok(documents.saturating_add(late).saturating_add(last))
}

/// A page of another site reads and erases nothing by a visitor's cookies.
fn own_page(head: &Head) -> Result<(), Refusal> {
    if head.authorization.is_some() || head.api_key.is_some() {
        return Ok(());
    }
    head.own_site()
}
