//! What an alias puts on a body, whatever the caller said: its instructions, its ceilings, and how the answer comes.

use serde_json::{Map, Value, json};

use crate::domain::llm::Protocol;
use crate::domain::settings::ActiveProvider;

/// Puts the alias's own instructions in front.
pub(super) fn prepend_system(protocol: Protocol, body: &mut Map<String, Value>, system: &str) {
    match protocol {
        Protocol::Chat => prepend_system_message(body, system),
        Protocol::Messages => prepend_system_field(body, system),
        Protocol::Responses => {
            let own = body.get("instructions").and_then(Value::as_str);
            let joined = own.map_or_else(|| system.to_owned(), |own| format!("{system}\n\n{own}"));
            body.insert("instructions".into(), Value::from(joined));
        }
    }
}

fn prepend_system_message(body: &mut Map<String, Value>, system: &str) {
    if let Some(Value::Array(messages)) = body.get_mut("messages") {
        messages.insert(0, json!({"role": "system", "content": system}));
    }
}

fn prepend_system_field(body: &mut Map<String, Value>, system: &str) {
    let joined = match body.shift_remove("system") {
        Some(Value::String(own)) => Value::from(format!("{system}\n\n{own}")),
        Some(Value::Array(mut blocks)) => {
            blocks.insert(0, json!({"type": "text", "text": system}));
            Value::Array(blocks)
        }
        _ => Value::from(system),
    };
    body.insert("system".into(), joined);
}

/// OpenAI's newer models accept `max_completion_tokens` alone; other servers know `max_tokens` best. A caller's choice
/// stands elsewhere; of two the lower value is sent under one name, since a provider obeys whichever it likes.
pub(super) fn cap_openai_output(
    body: &mut Map<String, Value>,
    ceiling: u64,
    provider: &ActiveProvider,
) {
    let official = provider.base_url.starts_with("https://api.openai.com/");
    let given = |body: &Map<String, Value>, name: &str| {
        body.get(name).filter(|value| !value.is_null()).cloned()
    };
    let newer = given(body, "max_completion_tokens");
    let older = given(body, "max_tokens");
    let (name, other) = if official || (newer.is_some() && older.is_none()) {
        ("max_completion_tokens", "max_tokens")
    } else {
        ("max_tokens", "max_completion_tokens")
    };
    body.shift_remove(other);
    let number = |value: Option<Value>| value.and_then(|value| value.as_u64());
    let lower = number(newer).into_iter().chain(number(older)).min();
    body.insert(
        name.into(),
        Value::from(lower.unwrap_or(ceiling).min(ceiling)),
    );
}

pub(super) fn cap(body: &mut Map<String, Value>, name: &str, ceiling: u64) {
    let asked = body.get(name).and_then(Value::as_u64).unwrap_or(ceiling);
    body.insert(name.into(), Value::from(asked.min(ceiling)));
}

/// Least thinking budget that Anthropic's API takes, in tokens (API reference, `thinking.budget_tokens`).
const MIN_THINKING_TOKENS: u64 = 1024;

/// Least output ceiling with which a model may think, in tokens: as much again for the answer, 2 × 1024.
pub(super) const LEAST_OUTPUT_WITH_THINKING: u64 = 2048;

/// Lowers a thinking budget that the lowered output ceiling leaves no room for, which the API would refuse: half is for
/// the answer. False where not even the least budget fits, and the field was left out.
pub(super) fn thinking_fits(body: &mut Map<String, Value>, ceiling: u64) -> bool {
    let budget = |body: &Map<String, Value>| body.get("thinking")?.get("budget_tokens")?.as_u64();
    if budget(body).is_none_or(|budget| budget < ceiling) {
        return true;
    }
    let half = ceiling / 2;
    match body.get_mut("thinking") {
        Some(Value::Object(thinking)) if half >= MIN_THINKING_TOKENS => {
            thinking.insert("budget_tokens".into(), Value::from(half));
            true
        }
        _ => {
            body.shift_remove("thinking");
            false
        }
    }
}

/// Asks for a stream, and OpenAI's chat for usage in it: what a stream took must be known whether or not the caller
/// wants to.
pub(super) fn stream_fields(protocol: Protocol, body: &mut Map<String, Value>, stream: bool) {
    if !stream {
        body.shift_remove("stream");
        body.shift_remove("stream_options");
        return;
    }
    body.insert("stream".into(), Value::Bool(true));
    if protocol == Protocol::Chat {
        match body.get_mut("stream_options") {
            Some(Value::Object(options)) => {
                options.insert("include_usage".into(), Value::Bool(true));
            }
            _ => {
                body.insert("stream_options".into(), json!({"include_usage": true}));
            }
        }
    }
}
