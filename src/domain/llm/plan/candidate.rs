//! A target that can answer a request, and the very bytes that it is sent.

use serde_json::{Map, Value, json};

use super::ProviderTarget;
use crate::domain::llm::Protocol;
use crate::domain::llm::engine::Mode;

/// A target that can answer a request.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Index into [`Settings::providers`].
    pub provider: usize,
    /// The provider's name.
    pub provider_name: String,
    /// Its model.
    pub model: String,
    /// The protocol in which it is asked.
    pub protocol: Protocol,
    /// Path below the provider's base URL.
    pub path: String,
    /// What is sent.
    pub payload: Payload,
    /// Fields of the caller's request that are not in it.
    pub dropped: Vec<String>,
    /// Tokens that fit.
    pub context_tokens: Option<u64>,
    /// Does it continue an assistant's text that stands last?
    pub prefill: bool,
    /// Requests that it may answer at once, and how many may wait.
    pub cap: Option<(u32, u32)>,
}

/// What is sent.
#[derive(Clone, Debug)]
pub enum Payload {
    /// A JSON object.
    Json(Map<String, Value>),
    /// Bytes that are passed on.
    Bytes {
        /// Their content type.
        content_type: String,
        /// The bytes.
        bytes: std::rc::Rc<[u8]>,
    },
}

impl Candidate {
    /// That target, with nothing dropped.
    pub(super) fn new(
        (target, provider): ProviderTarget<'_>,
        protocol: Protocol,
        path: &str,
        payload: Payload,
    ) -> Self {
        let config = &target.config;
        Self {
            provider: target.provider,
            provider_name: provider.name.clone(),
            model: target.model.clone(),
            protocol,
            path: path.to_owned(),
            payload,
            dropped: Vec::new(),
            context_tokens: config.context_tokens,
            prefill: false,
            cap: config.max_concurrent.map(|cap| (cap, config.queue)),
        }
    }

    /// `provider/model`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.provider_name, self.model)
    }

    /// Content type and bytes of an attempt. `text` is what a continuation goes on from.
    #[must_use]
    pub fn body(&self, mode: Mode, text: Option<&str>) -> (String, Vec<u8>) {
        match &self.payload {
            Payload::Bytes {
                content_type,
                bytes,
            } => (content_type.clone(), bytes.to_vec()),
            Payload::Json(body) => {
                let bytes = match text.filter(|text| !text.trim().is_empty()) {
                    Some(text) if mode != Mode::Fresh => {
                        to_bytes(&continued(self.protocol, body.clone(), mode, text))
                    }
                    _ => to_bytes(body),
                };
                ("application/json".to_owned(), bytes)
            }
        }
    }
}

/// What a model is told that cannot go on from its own words by itself.
const CONTINUE: &str = "Your last message was cut off. Continue it from exactly where it stops. Do not repeat any of it, \
    do not begin anew, and add no remark about this.";

/// A request with the text so far behind it. White space at its end is left out: some providers refuse a last turn that
/// ends with it.
fn continued(
    protocol: Protocol,
    mut body: Map<String, Value>,
    mode: Mode,
    text: &str,
) -> Map<String, Value> {
    let field = match protocol {
        Protocol::Chat | Protocol::Messages => "messages",
        Protocol::Responses => "input",
    };
    // A Responses request may hold its only turn as plain text.
    if let Some(Value::String(only)) = body.get(field) {
        let only = only.clone();
        body.insert(field.into(), json!([{"role": "user", "content": only}]));
    }
    if let Some(Value::Array(turns)) = body.get_mut(field) {
        turns.push(json!({"role": "assistant", "content": text.trim_end()}));
        if mode == Mode::Instruction {
            turns.push(json!({"role": "user", "content": CONTINUE}));
        }
    }
    body
}

fn to_bytes(body: &Map<String, Value>) -> Vec<u8> {
    serde_json::to_vec(body).unwrap_or_default()
}
