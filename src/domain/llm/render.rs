//! An answer in normal form → either protocol, whole or as a stream: what the cache and the built-in answerer send.

use serde_json::{Value, json};

use super::Protocol;
use super::message::{Answer, Usage};
use crate::base::errors::{Refusal, Text};
use crate::base::sse::write_event;
use crate::base::time::Millis;

/// What an answer is called this time.
#[derive(Clone, Copy, Debug)]
pub struct Envelope<'a> {
    /// Id of the answer, without the protocol's prefix.
    pub id: &'a str,
    /// When it was made.
    pub created: Millis,
    /// Marks an answer of the built-in answerer.
    pub builtin: bool,
}

/// The whole answer as JSON.
#[must_use]
pub fn whole(protocol: Protocol, answer: &Answer, envelope: Envelope<'_>) -> Vec<u8> {
    let body = match protocol {
        Protocol::OpenAi => {
            let mut body = json!({
                "id": format!("chatcmpl-{}", envelope.id),
                "object": "chat.completion",
                "created": envelope.created.secs(),
                "model": answer.model,
                "choices": [{
                    "index": 0,
                    "message": {"role": "assistant", "content": answer.text, "refusal": null},
                    "logprobs": null,
                    "finish_reason": answer.finish.openai(),
                }],
                "usage": openai_usage(answer.usage),
            });
            mark(&mut body, envelope);
            body
        }
        Protocol::Anthropic => {
            let mut body = json!({
                "id": format!("msg_{}", envelope.id),
                "type": "message",
                "role": "assistant",
                "model": answer.model,
                "content": [{"type": "text", "text": answer.text}],
                "stop_reason": answer.finish.anthropic(),
                "stop_sequence": null,
                "usage": anthropic_usage(answer.usage),
            });
            mark(&mut body, envelope);
            body
        }
    };
    body.to_string().into_bytes()
}

/// The answer as a stream; `pieces` joined are its text. `include_usage` is OpenAI's stream option.
#[must_use]
pub fn stream(
    protocol: Protocol,
    answer: &Answer,
    pieces: &[String],
    include_usage: bool,
    envelope: Envelope<'_>,
) -> Vec<u8> {
    match protocol {
        Protocol::OpenAi => openai_stream(answer, pieces, include_usage, envelope),
        Protocol::Anthropic => anthropic_stream(answer, pieces, envelope),
    }
}

fn openai_stream(
    answer: &Answer,
    pieces: &[String],
    include_usage: bool,
    envelope: Envelope<'_>,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.text.len().saturating_mul(2));
    let mut send = |choices: Value, usage: Option<Value>| {
        let mut chunk = json!({
            "id": format!("chatcmpl-{}", envelope.id),
            "object": "chat.completion.chunk",
            "created": envelope.created.secs(),
            "model": answer.model,
            "choices": choices,
        });
        mark(&mut chunk, envelope);
        if include_usage && let Value::Object(fields) = &mut chunk {
            fields.insert("usage".into(), usage.unwrap_or(Value::Null));
        }
        write_event(&mut out, None, &chunk.to_string());
    };
    let choice = |delta: Value, finish: Value| json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish}]);
    send(
        choice(json!({"role": "assistant", "content": ""}), Value::Null),
        None,
    );
    for piece in pieces {
        send(choice(json!({"content": piece}), Value::Null), None);
    }
    send(choice(json!({}), Value::from(answer.finish.openai())), None);
    if include_usage {
        send(json!([]), Some(openai_usage(answer.usage)));
    }
    write_event(&mut out, None, "[DONE]");
    out
}

fn anthropic_stream(answer: &Answer, pieces: &[String], envelope: Envelope<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.text.len().saturating_mul(2));
    let mut send = |event: Value| {
        let name = event.get("type").and_then(Value::as_str).map(str::to_owned);
        write_event(&mut out, name.as_deref(), &event.to_string());
    };
    let mut message = json!({
        "id": format!("msg_{}", envelope.id),
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": [],
        "stop_reason": null,
        "stop_sequence": null,
        "usage": anthropic_usage(Usage { output: 0, ..answer.usage }),
    });
    mark(&mut message, envelope);
    send(json!({"type": "message_start", "message": message}));
    send(
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    );
    for piece in pieces {
        send(
            json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}),
        );
    }
    send(json!({"type": "content_block_stop", "index": 0}));
    send(json!({
        "type": "message_delta",
        "delta": {"stop_reason": answer.finish.anthropic(), "stop_sequence": null},
        "usage": {"output_tokens": answer.usage.output},
    }));
    send(json!({"type": "message_stop"}));
    out
}

/// The mark of the built-in answerer, in a field of our own name.
fn mark(body: &mut Value, envelope: Envelope<'_>) {
    if envelope.builtin
        && let Value::Object(fields) = body
    {
        fields.insert("gatehouse".into(), json!({"answerer": BUILTIN_MARK}));
    }
}

/// How the built-in answerer marks itself, in bodies and in the header `x-gatehouse-answerer`.
pub const BUILTIN_MARK: &str = "built-in, no model";

fn openai_usage(usage: Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.input.saturating_add(usage.output),
        "prompt_tokens_details": {"cached_tokens": usage.cached},
    })
}

fn anthropic_usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input.saturating_sub(usage.cached),
        "cache_read_input_tokens": usage.cached,
        "cache_creation_input_tokens": 0,
        "output_tokens": usage.output,
    })
}

/// The error object of a protocol's dialect, the same inside a stream and as a body.
#[must_use]
pub fn error_object(protocol: Protocol, refusal: &Refusal, text: &Text, request_id: &str) -> Value {
    let entry = refusal.code.entry();
    let message = match &refusal.detail {
        Some(detail) => format!("{}. {detail}", text.title),
        None => format!("{}. {}", text.title, text.fix),
    };
    let ours = json!({
        "code": entry.code,
        "title": text.title,
        "fix": text.fix,
        "detail": refusal.detail,
        "request_id": request_id,
        "docs": format!("/docs/errors/{}", entry.code),
        "retryable": entry.retryable,
        "retry_after_ms": refusal.wait.map(|wait| wait.0),
        "limits": refusal.violated_limits(),
    });
    match protocol {
        Protocol::OpenAi => json!({"error": {
            "message": message,
            "type": entry.openai_type,
            "param": refusal.param,
            "code": entry.openai_code,
            "gatehouse": ours,
        }}),
        Protocol::Anthropic => json!({
            "type": "error",
            "error": {"type": entry.anthropic_type, "message": message, "gatehouse": ours},
            "request_id": request_id,
        }),
    }
}

/// The bytes that end a stream that went wrong: an error event in the protocol's own form. No end marker follows, so
/// that a cut answer is never taken for a whole one.
#[must_use]
pub fn error_event(
    protocol: Protocol,
    refusal: &Refusal,
    request_id: &str,
    inside_event: bool,
) -> Vec<u8> {
    let object = error_object(protocol, refusal, &refusal.code.entry().en, request_id).to_string();
    // A blank line first, so that a half-sent event does not swallow ours.
    let mut out = if inside_event {
        b"\n\n".to_vec()
    } else {
        Vec::new()
    };
    match protocol {
        Protocol::OpenAi => write_event(&mut out, None, &object),
        Protocol::Anthropic => write_event(&mut out, Some("error"), &object),
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Envelope, error_event, stream, whole};
    use crate::base::errors::{Code, Refusal};
    use crate::base::time::Millis;
    use crate::domain::llm::Protocol;
    use crate::domain::llm::message::{Answer, Finish, Usage};
    use crate::domain::llm::observe::Observer;
    use crate::domain::llm::read;

    fn answer() -> Answer {
        Answer {
            model: "m".into(),
            text: "Hello 你好\n\n> \"quoted\"".into(),
            finish: Finish::Stop,
            usage: Usage {
                input: 9,
                cached: 4,
                output: 3,
                estimated: false,
            },
        }
    }

    const ENVELOPE: Envelope<'_> = Envelope {
        id: "1",
        created: Millis(1000),
        builtin: false,
    };

    #[test]
    fn what_is_rendered_is_read_back_the_same() {
        for protocol in [Protocol::OpenAi, Protocol::Anthropic] {
            let bytes = whole(protocol, &answer(), ENVELOPE);
            assert_eq!(
                read::whole(protocol, &bytes, 0).unwrap().plain,
                Some(answer())
            );

            let pieces: Vec<String> = answer().text.chars().map(String::from).collect();
            let bytes = stream(protocol, &answer(), &pieces, true, ENVELOPE);
            let mut observer = Observer::new(protocol, true, 0);
            observer.push(&bytes);
            let seen = observer.observation();
            assert!(seen.ended && !seen.malformed);
            assert_eq!(seen.answer, Some(answer()), "{protocol:?}");
        }
    }

    #[test]
    fn the_usage_chunk_comes_only_when_asked_for() {
        let pieces = ["Hello".to_owned()];
        let without = stream(Protocol::OpenAi, &answer(), &pieces, false, ENVELOPE);
        assert!(!String::from_utf8(without).unwrap().contains("usage"));
        let with = String::from_utf8(stream(Protocol::OpenAi, &answer(), &pieces, true, ENVELOPE))
            .unwrap();
        assert_eq!(with.matches("\"usage\":null").count(), 3);
        assert!(with.contains("\"choices\":[]"));
    }

    #[test]
    fn an_error_event_is_read_even_behind_half_an_event_and_is_no_end() {
        for protocol in [Protocol::OpenAi, Protocol::Anthropic] {
            let refusal = Refusal::new(Code::UpstreamDisconnected);
            let mut observer = Observer::new(protocol, false, 0);
            observer.push(b": comment\ndata: {\"type\":\"ping\",\"choices\":[]}");
            let inside = observer.observation().inside_event;
            observer.push(&error_event(protocol, &refusal, "req_1", inside));
            let seen = observer.observation();
            assert!(seen.failed && !seen.ended, "{protocol:?}");
        }
    }
}
