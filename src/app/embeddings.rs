//! `POST /v1/embeddings`: passed on with the real model put in, kept like any deterministic answer.

use super::chat::{MAX_ANSWER_BYTES, failed, json_body, json_refusal, refusal_of};
use super::gate::{self, Caller, admit};
use super::port::{ByteSource, Port};
use super::reply::{Outcome, Reply};
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::json::{Limits, parse_object};
use crate::base::time::Millis;
use crate::domain::cache::{self, CallerWish, Entry, Kept, Partition};
use crate::domain::llm::Protocol;
use crate::domain::llm::plan::{find_alias, plan_embeddings};
use crate::domain::llm::request::embeddings_request;
use crate::domain::llm::upstream;
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
    let bytes = json_body(port, head, body).await?;
    let request =
        embeddings_request(parse_object(&bytes, Limits::default()).map_err(json_refusal)?)?;
    let settings = port.settings();
    let alias = find_alias(settings, &request.alias)?;
    let (provider, model, body) = plan_embeddings(settings, alias, &request)?;
    let limits = admit(port, caller, LimitClass::Embeddings).await?;

    let mut outcome = Outcome {
        alias: Some(request.alias.clone()),
        target: Some(format!("{}/{model}", provider.name)),
        cache: Some("bypass"),
        ..Outcome::default()
    };
    let wish = CallerWish::read(head.cache_control.as_deref());
    let key = settings
        .keys
        .as_ref()
        .filter(|_| wish != CallerWish::NoStore && alias.config.cache != CachePolicy::Never)
        .map(|keys| {
            let partition = Partition::Shared;
            cache::key(
                &keys.cache,
                "embeddings",
                &settings.digest,
                &request.alias,
                partition,
                &request.body,
            )
        });
    if let Some(key) = key.as_deref().filter(|_| wish == CallerWish::Any)
        && let Some((entry, body)) = look_up(port, key).await
    {
        outcome.cache = Some("hit");
        let age = port.now().since(entry.stored).secs();
        let mut reply = Reply::json(200, body)
            .header("x-cache", "hit")
            .header("age", age.to_string());
        reply.outcome = outcome;
        return Ok(reply.headers(limits));
    }

    let deadlines = settings.deadlines(&alias.config);
    let request = upstream::request(provider, Protocol::OpenAi, "/embeddings", &body, false);
    let sent = port.send(request, Millis(deadlines.first_byte_ms)).await;
    let (answer, stream) = sent.map_err(|fault| refusal_of(&fault))?;
    if !(200..300).contains(&answer.status) {
        return Err(failed(port, provider, &answer, stream, deadlines).await);
    }
    let stream = stream.ok_or_else(|| Refusal::new(Code::UpstreamProtocol).cause("no body"))?;
    let bytes = port
        .read(stream, MAX_ANSWER_BYTES, Millis(deadlines.total_ms))
        .await
        .map_err(|fault| refusal_of(&fault))?;
    let tokens = token_count(&bytes)
        .ok_or_else(|| Refusal::new(Code::UpstreamProtocol).cause("not a list of embeddings"))?;
    outcome.tokens_in = Some(tokens);
    outcome.tokens_out = Some(0);
    outcome.cost_micros = settings.cost_micros(model, tokens, 0, 0);
    outcome.cache = Some(if key.is_some() { "miss" } else { "bypass" });
    let mut reply = Reply::json(200, bytes.clone())
        .header("x-cache", if key.is_some() { "miss" } else { "bypass" });
    reply.outcome = outcome.clone();
    if let Some(key) = key {
        let (port, caller) = (port.clone(), caller.clone());
        reply.after = Some(Box::pin(async move {
            keep(
                &port,
                &caller,
                &key,
                bytes,
                outcome.target.clone().unwrap_or_default(),
            )
            .await;
            outcome
        }));
    }
    Ok(reply.headers(limits))
}

async fn look_up(port: &impl Port, key: &str) -> Option<(Entry, String)> {
    let now = port.now();
    let from_memory = port.memory_get(key);
    let bytes = match &from_memory {
        Some(bytes) => bytes.clone(),
        None => port.cache_get(key).await.ok().flatten()?,
    };
    let entry = Entry::read(&bytes, now)?;
    if from_memory.is_none() {
        port.memory_put(key, &bytes, entry.expires);
    }
    match &entry.kept {
        Kept::Body(body) => {
            let body = body.clone();
            Some((entry, body))
        }
        Kept::Answer(_) => None,
    }
}

async fn keep(port: &impl Port, caller: &Caller, key: &str, body: Vec<u8>, target: String) {
    let config = &port.settings().config.cache;
    let Ok(body) = String::from_utf8(body) else {
        return;
    };
    let entry = Entry::new(
        port.now(),
        Millis::from_secs(config.ttl_seconds),
        target,
        Kept::Body(body),
    );
    let Some(bytes) = entry.to_bytes(config.max_entry_bytes) else {
        return;
    };
    if gate::may_write_cache(port, caller).await {
        port.memory_put(key, &bytes, entry.expires);
        // A cache that cannot be written costs the next caller time, nothing else.
        let _ = port.cache_put(key, bytes, config.ttl_seconds).await;
    }
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
