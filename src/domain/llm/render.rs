//! Errors in the caller's dialect, whole and inside streams.

use serde_json::{Value, json};

use super::Protocol;
use super::normal::event::Frame;
use crate::base::errors::{Refusal, Text};
use crate::base::sse::write_event;

/// How the built-in answerer names itself.
pub const BUILTIN_MARK: &str = "built-in, no model";

/// The field of a messages request that asks the provider to hold the conversation.
pub const THREAD: &str = "thread";

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
        Protocol::Chat | Protocol::Responses => json!({"error": {
            "message": message,
            "type": entry.openai_type,
            "param": refusal.param,
            "code": entry.openai_code,
            "gatehouse": ours,
        }}),
        Protocol::Messages => {
            let mut error =
                json!({"type": entry.anthropic_type, "message": message, "gatehouse": ours});
            // By this Anthropic's SDK knows that it must send the whole conversation each time
            // (ThreadUnsupportedRequestErrorDetails).
            if let Some(error) = error
                .as_object_mut()
                .filter(|_| refusal.param.as_deref() == Some(THREAD))
            {
                let details =
                    json!({"error_code": "thread_unsupported_request", "unsupported": null});
                error.insert("details".into(), details);
            }
            json!({"type": "error", "error": error, "request_id": request_id})
        }
    }
}

/// The event that ends a stream with an error. `sequence` is its number in the stream (Responses API).
#[must_use]
pub fn error_frame(
    protocol: Protocol,
    refusal: &Refusal,
    request_id: &str,
    sequence: u64,
) -> Frame {
    let object = error_object(protocol, refusal, &refusal.code.entry().en, request_id);
    match protocol {
        Protocol::Chat => Frame {
            event: None,
            data: object.to_string(),
        },
        Protocol::Messages => Frame {
            event: Some("error"),
            data: object.to_string(),
        },
        Protocol::Responses => {
            let field = |name: &str| {
                let error = object.get("error");
                error
                    .and_then(|e| e.get(name))
                    .cloned()
                    .unwrap_or(Value::Null)
            };
            let event = json!({
                "type": "error",
                "code": field("code"),
                "message": field("message"),
                "param": field("param"),
                "sequence_number": sequence,
                "gatehouse": field("gatehouse"),
            });
            Frame {
                event: Some("error"),
                data: event.to_string(),
            }
        }
    }
}

/// The bytes of such an event, the `sequence`th. Behind half an event it begins with a blank line, so that it is read at all.
#[must_use]
pub fn error_event(
    protocol: Protocol,
    refusal: &Refusal,
    request_id: &str,
    sequence: u64,
    inside_event: bool,
) -> Vec<u8> {
    let mut out = if inside_event {
        b"\n\n".to_vec()
    } else {
        Vec::new()
    };
    let frame = error_frame(protocol, refusal, request_id, sequence);
    write_event(&mut out, frame.event, &frame.data);
    out
}

#[cfg(test)]
mod tests {
    use super::{error_event, error_frame, error_object};
    use crate::base::errors::{Code, Refusal};
    use crate::base::time::Millis;
    use crate::domain::llm::Protocol;
    use crate::domain::llm::dialect::{Invalid, StreamReader};
    use crate::domain::llm::normal::event::Event;
    use serde_json::Value;

    fn refusal() -> Refusal {
        Refusal::new(Code::UpstreamStalled)
            .wait(Millis(1500))
            .cause("sk-canary")
    }

    #[test]
    fn the_error_of_a_stream_is_an_error_to_the_reader_of_its_dialect_and_never_an_answer() {
        for protocol in Protocol::ALL {
            let frame = error_frame(protocol, &refusal(), "req_1", 7);
            let mut reader = StreamReader::new(protocol);
            let mut events = Vec::new();
            let read = reader.event(&frame.data, &mut events);
            let failed = matches!(read, Err(Invalid::Error(_)))
                || matches!(events.as_slice(), [Event::Failed(_)]);
            assert!(failed, "{protocol:?}: {read:?} {events:?}");
            assert_eq!(frame.event, (protocol != Protocol::Chat).then_some("error"));
            assert!(frame.data.contains("upstream_stalled") && frame.data.contains("req_1"));
            assert!(
                !frame.data.contains("canary"),
                "the cause is for the log alone"
            );
        }
    }

    #[test]
    fn the_error_of_a_responses_stream_goes_on_with_the_numbers() {
        let frame = error_frame(Protocol::Responses, &refusal(), "r", 7);
        let data: Value = serde_json::from_str(&frame.data).unwrap();
        assert_eq!(
            (&data["type"], &data["sequence_number"]),
            (&"error".into(), &7.into())
        );
        assert!(data["code"].is_string() && data["message"].is_string());
        assert!(data.get("param").is_some());
    }

    #[test]
    fn an_error_behind_half_an_event_is_an_event_of_its_own() {
        for protocol in Protocol::ALL {
            let whole = error_event(protocol, &refusal(), "r", 0, false);
            let behind = error_event(protocol, &refusal(), "r", 0, true);
            assert!(whole.ends_with(b"\n\n") && !whole.starts_with(b"\n"));
            assert_eq!(behind, [b"\n\n".as_slice(), &whole].concat());
        }
    }

    #[test]
    fn each_dialect_has_its_own_words_and_all_have_ours() {
        let entry = Code::UpstreamStalled.entry();
        for protocol in Protocol::ALL {
            let object = error_object(protocol, &refusal(), &entry.en, "r");
            let error = &object["error"];
            let kind = if protocol == Protocol::Messages {
                assert_eq!(
                    (&object["type"], &object["request_id"]),
                    (&"error".into(), &"r".into())
                );
                entry.anthropic_type
            } else {
                entry.openai_type
            };
            assert_eq!(error["type"], kind);
            assert_eq!(error["gatehouse"]["retry_after_ms"], 1500);
            assert_eq!(error["gatehouse"]["docs"], "/docs/errors/upstream_stalled");
        }
    }
}
