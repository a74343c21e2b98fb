//! `POST /v1/embeddings`: passed on with the real model put in, kept like any deterministic answer.

use super::attempt::bytes_to_tokens;
use super::body::json_body;
use super::gate::{Caller, admit_call, may_call};
use super::kept::{Slot, word};
use super::media::wishes;
use super::port::{ByteSource, Port};
use super::raw::{self, RawBody, RawCall};
use super::reply::{Outcome, Reply};
use super::request::Head;
use super::stored;
use crate::base::errors::Refusal;
use crate::domain::cache::{self, Kept};
use crate::domain::llm::plan::{check_embeddings, find_alias};
use crate::domain::llm::raw::Asked;
use crate::domain::llm::request::{EmbeddingsRequest, embeddings_request};
use crate::domain::settings::config::{Alias, CachePolicy, LimitClass, Serves};
use crate::domain::settings::{ActiveAlias, Settings};

/// Answers an embeddings call: read, plan, admit, look up, ask, keep.
///
/// # Errors
/// As for a chat call.
pub async fn embeddings<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Reply<P>, Refusal> {
    let request = embeddings_request(json_body(port, head, body).await?)?;
    let settings = port.settings();
    let alias = find_alias(settings, &request.alias)?;
    may_call(port, caller, &alias.config)?;
    check_embeddings(alias, &request)?;
    let name = Some(request.alias.as_str());
    let admission = admit_call(port, caller, name, LimitClass::Embeddings).await?;
    let reply = answered(port, caller, head, alias, &request).await;
    let (reply, limits) = admission.over(port, caller, reply).await?;
    Ok(reply.headers(limits))
}

/// What is kept, or else what a provider says.
async fn answered<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    alias: &ActiveAlias,
    request: &EmbeddingsRequest,
) -> Result<Reply<P>, Refusal> {
    let settings = port.settings();
    let call = RawCall {
        alias: request.alias.clone(),
        serves: Serves::Embeddings,
        path: "/embeddings".to_owned(),
        asked: Asked {
            tokens: bytes_to_tokens(request.input_bytes),
            ..Asked::default()
        },
        body: RawBody::Json(request.body.clone()),
        wishes: wishes(head),
    };
    // The same key means the same answer, which an entry of the cache need not be.
    if let Some(key) = &head.idempotency_key {
        return stored::ask_raw(port, caller, key, &call).await;
    }
    let slot = slot(settings, caller, head, &alias.config, request);
    let entry = match &slot {
        Some(slot) => slot.look_up(port).await,
        None => None,
    };
    if let Some(entry) = entry
        && let Kept::Body(body) = entry.kept
    {
        let age = port.now().since(entry.stored).secs();
        let mut reply = Reply::json(200, body)
            .header("x-cache", "hit")
            .header("age", age.to_string());
        reply.outcome = Outcome {
            alias: Some(request.alias.clone()),
            target: Some(entry.target),
            cache: Some("hit"),
            ..Outcome::default()
        };
        return Ok(reply);
    }

    let raw = raw::ask(port, caller, alias, &call).await?;
    let outcome = Outcome {
        cache: Some(word(slot.as_ref())),
        ..raw.outcome
    };
    let mut reply = Reply::json(200, raw.bytes.clone())
        .headers(raw.headers)
        .header("x-cache", word(slot.as_ref()));
    reply.outcome = outcome.clone();
    let (port, caller, mut drive) = (port.clone(), caller.clone(), raw.drive);
    reply.after = Some(Box::pin(async move {
        if let (Some(slot), Ok(body)) = (slot, String::from_utf8(raw.bytes)) {
            slot.keep(&port, &caller, raw.target, Kept::Body(body))
                .await;
        }
        drive.settle().await;
        outcome
    }));
    Ok(reply)
}

/// Embeddings are deterministic: only an alias that keeps nothing has no slot.
fn slot(
    settings: &Settings,
    caller: &Caller,
    head: &Head,
    alias: &Alias,
    request: &EmbeddingsRequest,
) -> Option<Slot> {
    let secret = &settings.keys.as_ref()?.cache;
    if alias.cache == CachePolicy::Never {
        return None;
    }
    Slot::new(settings, head, false, || {
        let digest = &settings.digest;
        cache::key(
            secret,
            "embeddings",
            digest,
            &request.alias,
            stored::shared_with(caller, alias),
            &request.body,
        )
    })
}
