//! Visitors and their sessions.

use serde_json::{Value, json};

use super::changed;
use super::lists::block_fields;
use crate::app::accounts;
use crate::app::admin::{Context, Told};
use crate::app::port::Port;
use crate::app::rules::rules;
use crate::base::errors::{Code, Refusal};
use crate::domain::audit::entry::Action as Deed;
use crate::domain::identity::is_visitor_id;
use crate::domain::limits::rules::{Change, EPOCH_MARGIN, Target};

/// What is known of a visitor: use, and whether the sessions are void.
///
/// # Errors
/// `not_found` for what is no visitor's id.
pub async fn visitor<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    if !is_visitor_id(&cx.id) {
        return Err(Refusal::new(Code::NotFound));
    }
    let rules = rules(cx.port).await?;
    let used = accounts::look(cx.port, &["visitor/", &cx.id].concat()).await?;
    let revoked = rules.revoked.get(&cx.id).map(|until| until.rfc3339());
    let now = cx.port.now();
    let blocks: Vec<Value> = rules
        .blocks
        .iter()
        .filter(|(_, block)| block.what == Target::Visitor(cx.id.clone()) && block.until > now)
        .map(|(id, block)| block_fields(id, block))
        .collect();
    Ok(Told::Json(json!({
        "id": cx.id,
        "sessions_void_until": revoked,
        "blocks": blocks,
        "used": used,
    })))
}

/// Ends every session of a visitor.
///
/// # Errors
/// `not_found` for what is no visitor's id.
pub async fn visitor_revoke<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    if !is_visitor_id(&cx.id) {
        return Err(Refusal::new(Code::NotFound));
    }
    // As long as the longest of the visitor's tokens may live.
    let until = cx.port.now().plus(crate::domain::identity::VISITOR_TTL);
    let event = cx
        .event(Deed::SessionRevoke)
        .target("visitor")
        .about(&cx.id);
    let told = json!({"id": cx.id, "sessions_void_until": until.rfc3339()});
    changed(cx, Change::Revoke(cx.id.clone(), Some(until)), event, told).await
}

/// Voids every visitor session issued so far.
///
/// # Errors
/// `limiter_unavailable`
pub async fn visitors_revoke_all<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    // The rules add the margin.
    let asked = cx.port.now();
    let until = asked.plus(EPOCH_MARGIN);
    let event = cx.event(Deed::SessionRevoke).target("all visitors");
    let told = json!({"void_before": until.rfc3339()});
    changed(cx, Change::RevokeAll(asked), event, told).await
}
