//! The objects that we write: a response and its output items, with every field that the official SDKs declare as
//! required. (`output_text` is none of the wire: the SDKs compute it.)

use serde_json::{Value, json};

use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::render::BUILTIN_MARK;

/// What a response object says besides its output.
pub(super) struct Head<'a> {
    /// With its prefix.
    pub id: &'a str,
    pub model: &'a str,
    /// In seconds since 1970.
    pub created: u64,
    pub builtin: bool,
}

/// A response that has only begun.
pub(super) fn begun(head: &Head<'_>) -> Value {
    response(head, "in_progress", &Value::Null, Vec::new(), Value::Null)
}

/// A response that has ended.
pub(super) fn ended(
    head: &Head<'_>,
    finish: Option<Finish>,
    usage: Option<Usage>,
    output: Vec<Value>,
) -> Value {
    let (status, details) = match finish {
        Some(Finish::Stop | Finish::Tool) => ("completed", Value::Null),
        Some(Finish::Length | Finish::Pause) => {
            ("incomplete", json!({"reason": "max_output_tokens"}))
        }
        Some(Finish::Filter) => ("incomplete", json!({"reason": "content_filter"})),
        None => ("incomplete", Value::Null),
    };
    let usage = tokens(usage.unwrap_or_default());
    response(head, status, &details, output, usage)
}

fn response(
    head: &Head<'_>,
    status: &str,
    incomplete_details: &Value,
    output: Vec<Value>,
    usage: Value,
) -> Value {
    let mut object = json!({
        "id": head.id,
        "object": "response",
        "created_at": head.created,
        "status": status,
        "model": head.model,
        "output": output,
        "usage": usage,
        "error": null,
        "incomplete_details": incomplete_details,
        "access_programs": null,
        "instructions": null,
        "metadata": {},
        "parallel_tool_calls": true,
        "temperature": null,
        "tool_choice": "auto",
        "tools": [],
        "top_p": null,
    });
    if head.builtin
        && let Value::Object(fields) = &mut object
    {
        fields.insert("gatehouse".into(), json!({"answerer": BUILTIN_MARK}));
    }
    object
}

fn tokens(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.written_5m.saturating_add(usage.written_1h),
            "cache_write_tokens_details": {
                "ttl_30m_tokens": usage.written_5m,
                "ttl_12h_tokens": usage.written_1h,
            },
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.input.saturating_add(usage.output),
    })
}

pub(super) fn message(id: &str, status: &str, content: &[Value]) -> Value {
    json!({"type": "message", "id": id, "status": status, "role": "assistant", "content": content})
}

pub(super) fn output_text(text: &str, annotations: &[Value]) -> Value {
    json!({"type": "output_text", "text": text, "annotations": annotations, "logprobs": []})
}

pub(super) fn refusal(text: &str) -> Value {
    json!({"type": "refusal", "refusal": text})
}

pub(super) fn call(id: &str, status: &str, call_id: &str, name: &str, arguments: &str) -> Value {
    json!({
        "type": "function_call",
        "id": id,
        "status": status,
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    })
}

pub(super) fn summary_text(text: &str) -> Value {
    json!({"type": "summary_text", "text": text})
}

pub(super) fn reasoning(id: &str, summary: &[Value], encrypted_content: Option<&str>) -> Value {
    let mut item = json!({"type": "reasoning", "id": id, "summary": summary});
    if let (Value::Object(fields), Some(encrypted)) = (&mut item, encrypted_content) {
        fields.insert("encrypted_content".into(), encrypted.into());
    }
    item
}
