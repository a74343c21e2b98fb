//! `POST /v1/embeddings`: passed on with the real model put in, kept like any deterministic answer.

use super::body::json_body;
use super::call::{MAX_ANSWER_BYTES, failed, refusal_of};
use super::gate::{Caller, admit};
use super::kept::{Slot, word};
use super::port::{ByteSource, Port};
use super::reply::{Outcome, Reply};
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::cache::{self, Kept, Partition};
use crate::domain::llm::Protocol;
use crate::domain::llm::plan::{find_alias, plan_embeddings};
use crate::domain::llm::request::{EmbeddingsRequest, embeddings_request};
use crate::domain::llm::upstream;
use crate::domain::settings::Settings;
use crate::domain::settings::config::{CachePolicy, LimitClass};

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
    let (provider, model, body) = plan_embeddings(settings, alias, &request)?;
    let limits = admit(port, caller, LimitClass::Embeddings).await?;

    let slot = slot(settings, head, alias.config.cache, &request);
    let target = format!("{}/{model}", provider.name);
    let mut outcome = Outcome {
        alias: Some(request.alias.clone()),
        target: Some(target.clone()),
        cache: Some(word(slot.as_ref())),
        ..Outcome::default()
    };
    let entry = match &slot {
        Some(slot) => slot.look_up(port).await,
        None => None,
    };
    if let Some((Kept::Body(body), stored)) = entry.map(|entry| (entry.kept, entry.stored)) {
        outcome.cache = Some("hit");
        let age = port.now().since(stored).secs();
        let mut reply = Reply::json(200, body)
            .header("x-cache", "hit")
            .header("age", age.to_string());
        reply.outcome = outcome;
        return Ok(reply.headers(limits));
    }

    let deadlines = settings.deadlines(&alias.config);
    let began = port.now();
    let left = |deadline: u64| Millis(deadline).since(port.now().since(began));
    let asked = upstream::request(provider, Protocol::OpenAi, "/embeddings", &body, false);
    let sent = port.send(asked, Millis(deadlines.first_byte_ms)).await;
    let (answer, stream) = sent.map_err(|fault| refusal_of(&fault))?;
    if !(200..300).contains(&answer.status) {
        return Err(failed(port, provider, &answer, stream, deadlines).await);
    }
    let stream = stream.ok_or_else(|| Refusal::new(Code::UpstreamProtocol).cause("no body"))?;
    let bytes = port
        .read(
            stream,
            MAX_ANSWER_BYTES,
            left(deadlines.first_byte_ms),
            left(deadlines.total_ms),
        )
        .await
        .map_err(|fault| refusal_of(&fault))?;
    let tokens = token_count(&bytes)
        .ok_or_else(|| Refusal::new(Code::UpstreamProtocol).cause("not a list of embeddings"))?;
    outcome.tokens_in = Some(tokens);
    outcome.tokens_out = Some(0);
    outcome.cost_micros = settings.cost_micros(model, tokens, 0, 0);
    let mut reply = Reply::json(200, bytes.clone()).header("x-cache", word(slot.as_ref()));
    reply.outcome = outcome.clone();
    if let (Some(slot), Ok(body)) = (slot, String::from_utf8(bytes)) {
        let (port, caller) = (port.clone(), caller.clone());
        reply.after = Some(Box::pin(async move {
            slot.keep(&port, &caller, target, Kept::Body(body)).await;
            outcome
        }));
    }
    Ok(reply.headers(limits))
}

/// Embeddings are deterministic: only an alias that keeps nothing has no slot.
fn slot(
    settings: &Settings,
    head: &Head,
    policy: CachePolicy,
    request: &EmbeddingsRequest,
) -> Option<Slot> {
    let secret = &settings.keys.as_ref()?.cache;
    if policy == CachePolicy::Never {
        return None;
    }
    Slot::new(settings, head, || {
        let digest = &settings.digest;
        cache::key(
            secret,
            "embeddings",
            digest,
            &request.alias,
            Partition::Shared,
            &request.body,
        )
    })
}

/// The input tokens of a list of embeddings; `None` when the bytes are something else.
fn token_count(bytes: &[u8]) -> Option<u64> {
    #[derive(serde::Deserialize)]
    struct List {
        data: Vec<serde::de::IgnoredAny>,
        #[serde(default)]
        usage: Option<ListUsage>,
    }
    #[derive(serde::Deserialize)]
    struct ListUsage {
        #[serde(default)]
        prompt_tokens: u64,
    }
    let list: List = serde_json::from_slice(bytes).ok()?;
    (!list.data.is_empty()).then(|| list.usage.map_or(0, |usage| usage.prompt_tokens))
}
