//! A [`Refusal`] → an answer, in the caller's dialect. The only place where errors become responses.

use serde_json::json;

use super::port::Port;
use super::reply::{Outcome, Reply};
use super::request::Head;
use crate::app::ask;
use crate::base::errors::{Code, Entry, Refusal, Text};
use crate::base::time::Millis;
use crate::domain::limits::headers::retry;
use crate::domain::llm::Protocol;
use crate::domain::llm::render::error_object;
use crate::domain::llm::upstream::MAX_PASSED_WAIT;
use crate::domain::route::Dialect;

/// Renders a refusal.
pub async fn refuse<P: Port>(
    port: &P,
    head: &Head,
    dialect: Dialect,
    refusal: &Refusal,
    request_id: &str,
) -> Reply<P> {
    let entry = refusal.code.entry();
    let text = language(head, entry);
    let reply = match dialect {
        Dialect::OpenAi => json_error(Protocol::Chat, refusal, text, request_id),
        Dialect::Anthropic => json_error(Protocol::Messages, refusal, text, request_id),
        Dialect::Problem => problem(head, refusal, text, request_id),
        Dialect::Page => ask::error_page(port, head, refusal, text, request_id).await,
    };
    let mut reply = reply
        .headers(wait_headers(refusal))
        .headers(refusal.response_headers().to_vec());
    if let Some(allow) = refusal.allow {
        reply = reply.header("allow", allow);
    }
    reply.outcome = Outcome::of(refusal);
    reply
}

/// The catalogue's text in the language that the caller prefers.
#[must_use]
pub fn language(head: &Head, entry: &'static Entry) -> &'static Text {
    if head.prefers_chinese() {
        &entry.zh
    } else {
        &entry.en
    }
}

fn json_error<P: Port>(
    protocol: Protocol,
    refusal: &Refusal,
    text: &Text,
    request_id: &str,
) -> Reply<P> {
    let status = refusal.code.entry().status;
    Reply::json(
        status,
        error_object(protocol, refusal, text, request_id).to_string(),
    )
}

/// RFC 9457 problem details.
fn problem<P: Port>(head: &Head, refusal: &Refusal, text: &Text, request_id: &str) -> Reply<P> {
    let entry = refusal.code.entry();
    let body = json!({
        "type": format!("{}/docs/errors/{}", head.own_origin, entry.code),
        "title": text.title,
        "status": entry.status,
        "detail": refusal.detail.as_deref().unwrap_or(text.fix),
        "code": entry.code,
        "fix": text.fix,
        "param": refusal.param,
        "request_id": request_id,
        "retryable": entry.retryable,
        "retry_after_ms": refusal.wait.map(|wait| wait.0),
        "violated_policies": refusal.violated_limits(),
    });
    Reply::status(entry.status)
        .header("content-type", "application/problem+json")
        .header("cache-control", "no-store")
        .bytes(body.to_string())
}

/// `Retry-After` and its relatives. What cannot succeed by waiting tells SDKs not to retry by themselves; so does a
/// wait that was capped, since they would sleep it out once for each retry, and in vain.
fn wait_headers(refusal: &Refusal) -> Vec<(&'static str, String)> {
    const NO: (&str, &str) = ("x-should-retry", "false");
    let mut headers = refusal.wait.map(retry).unwrap_or_default();
    // What other calls hold of a budget comes back when they end; a spent budget waits for its next window.
    let held = refusal.code == Code::BudgetExhausted
        && refusal
            .wait
            .is_some_and(|wait| wait <= Millis::from_secs(1));
    let hopeless =
        !(held || refusal.code.entry().retryable) || refusal.wait == Some(MAX_PASSED_WAIT);
    if hopeless && !headers.iter().any(|(name, _)| *name == NO.0) {
        headers.push((NO.0, NO.1.to_owned()));
    }
    headers
}

/// The answer when everything else failed: no story, no settings.
#[must_use]
pub fn last_resort<P: Port>(head: &Head, code: Code, request_id: &str, cause: &str) -> Reply<P> {
    let refusal = Refusal::new(code).cause(cause);
    let text = language(head, code.entry());
    let mut reply = match head.dialect() {
        Dialect::OpenAi => json_error(Protocol::Chat, &refusal, text, request_id),
        Dialect::Anthropic => json_error(Protocol::Messages, &refusal, text, request_id),
        Dialect::Problem | Dialect::Page => problem(head, &refusal, text, request_id),
    };
    reply = reply.headers(wait_headers(&refusal));
    reply.outcome = Outcome::of(&refusal);
    reply
}
