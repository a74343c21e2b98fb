//! Answers of similar requests: the last question is compared by its embedding, everything else must be the same.
//!
//! Off unless an alias asks for it. One index stands for one context (alias, settings, partition, and all of the request
//! but the last question), so that no answer ever leaves its partition. Its names tell nothing, its entries are the
//! ordinary cache entries.

use serde_json::{Map, Value};

use super::call::Call;
use super::embed::embed;
use super::gate::Caller;
use super::port::Port;
use super::reply::{Outcome, Reply};
use super::stored::shared_with;
use crate::domain::cache::{self, Entry};
use crate::domain::llm::request::ChatRequest;
use crate::domain::llm::similar::{Index, Quantised};
use crate::domain::settings::config::{self, Alias};

/// A question that may be answered by the answer to a similar one.
pub struct Question {
    similar: config::Similar,
    /// Name of the index of its context.
    index: String,
    /// Its embedding.
    embedding: Quantised,
    /// The model that made it: embeddings of two models do not compare.
    model: String,
    /// What it took.
    spent: Outcome,
}

/// Embeds the last question of a request, where its alias compares questions. A provider that fails means that nothing is
/// compared, nothing else.
pub async fn question<P: Port>(
    port: &P,
    caller: &Caller,
    alias: &Alias,
    request: &ChatRequest,
) -> Option<Question> {
    let similar = alias.similar.clone()?;
    let settings = port.settings();
    let (text, context) = split(request)?;
    let embedded = embed(port, caller, &similar.alias, &[&text], None).await?;
    let embedding = Quantised::of(embedded.vectors.first()?)?;
    let (model, spent) = (embedded.model, embedded.spent);
    let secret = &settings.keys.as_ref()?.cache;
    let endpoint = cache::chat_endpoint(request.protocol);
    let name = cache::key(
        secret,
        endpoint,
        &settings.digest,
        &request.alias,
        shared_with(caller, alias),
        &context,
    );
    Some(Question {
        similar,
        index: format!("{name}/similar"),
        embedding,
        model,
        spent,
    })
}

/// The last question, and the request without it.
fn split(request: &ChatRequest) -> Option<(String, Map<String, Value>)> {
    let mut context = request.body.clone();
    let last = match context.get_mut("messages").or(None) {
        Some(Value::Array(messages)) => messages.last_mut()?,
        _ => return None,
    };
    if last.get("role").and_then(Value::as_str) != Some("user") {
        return None;
    }
    let content = last.get_mut("content")?;
    let text = content.as_str()?.trim().to_owned();
    *content = Value::Null;
    (!text.is_empty()).then_some((text, context))
}

impl Question {
    /// The kept answer of the most similar question, with its score.
    pub async fn look_up<P: Port>(&self, call: &Call<P>) -> Option<Reply<P>> {
        let port = &call.port;
        let index = self.read(port).await;
        let (name, score) = index.lookup(&self.embedding, self.similar.threshold)?;
        let bytes = port.cache_get(name).await.ok().flatten()?;
        let entry = Entry::read(&bytes, port.now())?;
        let mut reply = call.kept(&entry, "similar")?;
        self.book(&mut reply.outcome);
        Some(reply.header("x-cache-score", format!("{score:.4}")))
    }

    /// Adds what the comparison took to what the call took.
    pub fn book(&self, outcome: &mut Outcome) {
        let sum = |one: Option<u64>, other: Option<u64>| match (one, other) {
            (Some(one), Some(other)) => Some(one.saturating_add(other)),
            (one, other) => one.or(other),
        };
        outcome.tokens_in = sum(outcome.tokens_in, self.spent.tokens_in);
        outcome.tokens_estimated |= self.spent.tokens_estimated;
        outcome.cost_micros = sum(outcome.cost_micros, self.spent.cost_micros);
    }

    /// Notes that the answer to this question is kept under that name.
    pub async fn remember<P: Port>(&self, port: &P, name: &str, ttl_seconds: u64) {
        let mut index = self.read(port).await;
        index.insert(name, self.embedding.clone(), self.similar.max_entries);
        let text = index.write();
        // An index that cannot be written compares less, nothing else.
        let _ = port
            .cache_put(&self.index, text.into_bytes(), ttl_seconds)
            .await;
    }

    async fn read<P: Port>(&self, port: &P) -> Index {
        let bytes = port.cache_get(&self.index).await.ok().flatten();
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Index::read(text.as_deref().unwrap_or_default(), &self.model)
    }
}
