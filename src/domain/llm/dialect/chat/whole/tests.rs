//! Whole answers, read and written.

use proptest::prelude::proptest;
use serde_json::{Value, json};

use super::{read, write};
use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::dialect::chat::samples::{envelope, golden, whole};
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};
use crate::domain::llm::normal::event::{Envelope, Failed};
use crate::domain::llm::normal::whole::Whole;

fn of(feature: &str) -> Whole {
    read(golden(feature).answer.as_bytes()).unwrap()
}

fn of_json(body: &Value) -> Result<Whole, Invalid> {
    read(body.to_string().as_bytes())
}

fn of_message(message: Value, finish: &str) -> Whole {
    let choice = json!({"index": 0, "message": message, "finish_reason": finish});
    of_json(&json!({"id": "chatcmpl-9", "model": "m", "choices": [choice]})).unwrap()
}

fn call(city: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: format!("call_{city}"),
        name: "get_weather".to_owned(),
        arguments: format!("{{\"city\":\"{city}\"}}"),
    })
}

fn thought(text: &str) -> Part {
    Part::Reasoning(Thought {
        text: text.to_owned(),
        ..Thought::default()
    })
}

#[test]
fn golden_answers_mean_what_they_say() {
    use Finish::{Filter, Length, Stop, Tool};
    let hello = || vec![Part::text("Hello there!")];
    let table = [
        ("text", hello(), Stop),
        ("system", hello(), Stop),
        ("turns", vec![Part::text("Hello again!")], Stop),
        ("images", vec![Part::text("A cat and a dot.")], Stop),
        ("file", vec![Part::text("It is empty.")], Stop),
        ("tools", vec![call("Paris"), call("Rome")], Tool),
        (
            "tool_results",
            vec![Part::text("Paris has 18 degrees; Rome is unknown.")],
            Stop,
        ),
        (
            "schema",
            vec![Part::text("{\"city\":\"Paris\",\"degrees\":18}")],
            Stop,
        ),
        ("stop_length", vec![Part::text("1, 2, 3")], Length),
        ("stop_sequence", vec![Part::text("1, 2, 3, ")], Stop),
        ("stop_filter", vec![Part::text("I")], Filter),
        (
            "reasoning",
            vec![thought("Count the letters."), Part::text("Three.")],
            Stop,
        ),
        ("cache", hello(), Stop),
        ("usage", hello(), Stop),
    ];
    for (feature, parts, finish) in table {
        let whole = of(feature);
        assert_eq!(whole.parts, parts, "{feature}");
        assert_eq!(whole.finish, Some(finish), "{feature}");
        let stopped_by = (feature == "stop_sequence").then(|| "4".to_owned());
        assert_eq!(whole.stop_sequence, stopped_by, "{feature}");
        assert!(whole.id.starts_with("chatcmpl-") && !whole.model.is_empty());
    }
}

#[test]
fn golden_usage_is_read_with_its_details() {
    let usage = |input, cached, written_5m, output, reasoning| {
        Some(Usage {
            input,
            cached,
            written_5m,
            output,
            reasoning,
            ..Usage::default()
        })
    };
    assert_eq!(of("text").usage, usage(10, 0, 0, 5, 0));
    assert_eq!(of("usage").usage, usage(120, 100, 0, 30, 10));
    assert_eq!(of("cache").usage, usage(120, 0, 115, 5, 0));
    assert_eq!(of("reasoning").usage, usage(20, 0, 0, 30, 10));
}

#[test]
fn what_is_no_answer_is_of_no_shape() {
    for body in [
        "",
        "<html>busy</html>",
        "null",
        "[]",
        "{}",
        "\"Hello\"",
        "{\"choices\":null}",
        "{\"choices\":[]}",
        "{\"choices\":[{\"index\":0}]}",
        "{\"choices\":[{\"message\":\"Hello\"}]}",
        "{\"choices\":[{\"message\":{\"content\":7}}]}",
        "{\"choices\":[{\"message\":{\"tool_calls\":[{\"id\":\"a\",\"function\":{\"arguments\":\"{}\"}}]}}]}",
        // an answer of Anthropic's, one of the Responses API's, one that was cut
        "{\"type\":\"message\",\"content\":[{\"type\":\"text\",\"text\":\"Hi\"}],\"stop_reason\":\"end_turn\"}",
        "{\"object\":\"response\",\"output\":[]}",
        "{\"choices\":[{\"message\":{\"content\":\"He",
    ] {
        assert!(
            matches!(read(body.as_bytes()), Err(Invalid::Shape(_))),
            "{body}"
        );
    }
    assert!(matches!(
        read(b"{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}"),
        Err(Invalid::Shape(_))
    ));
}

#[test]
fn an_error_inside_a_200_is_told_with_its_kind() {
    let table = [
        (
            json!({"error": {"message": "too long", "type": "invalid_request_error", "code": "context_length_exceeded"}}),
            "context_length_exceeded",
            "too long",
        ),
        (
            json!({"error": {"message": "slow", "type": "requests", "code": null}}),
            "requests",
            "slow",
        ),
        // OpenRouter and vLLM number their errors
        (
            json!({"error": {"message": "down", "code": 502}, "choices": []}),
            "502",
            "down",
        ),
        (
            json!({"error": {"message": "bad", "type": "BadRequestError", "code": 400}}),
            "BadRequestError",
            "bad",
        ),
        (
            json!({"object": "error", "message": "bad", "type": "BadRequestError", "code": 400}),
            "BadRequestError",
            "bad",
        ),
        // Ollama
        (json!({"error": "model is loading"}), "", "model is loading"),
        (json!({"error": {}}), "", ""),
        (
            json!({"choices": [{"message": {"content": "He"}, "finish_reason": "error", "error": {"code": "server_error", "message": "gone"}}]}),
            "server_error",
            "gone",
        ),
        (
            json!({"choices": [{"message": {"content": "He"}, "finish_reason": "error"}]}),
            "error",
            "",
        ),
        (
            json!({"choices": [{"message": {"content": "He"}, "finish_reason": "abort"}]}),
            "abort",
            "",
        ),
    ];
    for (body, kind, message) in table {
        let failed = Failed {
            kind: kind.to_owned(),
            message: message.to_owned(),
        };
        assert_eq!(of_json(&body), Err(Invalid::Error(failed)), "{body}");
    }
    let fine = json!({"error": null, "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]});
    assert!(of_json(&fine).is_ok());
}

#[test]
fn a_missing_finish_reason_stays_out() {
    for reason in [Value::Null, json!(""), json!("null"), json!(7)] {
        let body = json!({"choices": [{"message": {"content": "Hi"}, "finish_reason": reason}]});
        assert_eq!(of_json(&body).unwrap().finish, None, "{reason}");
    }
    let body = json!({"choices": [{"message": {"content": "Hi"}}]});
    let whole = of_json(&body).unwrap();
    assert_eq!((whole.finish, whole.usage), (None, None));
}

#[test]
fn a_stop_with_tool_calls_is_a_wish_for_tools() {
    let calls = json!([{"id": "a", "function": {"name": "f", "arguments": "{}"}}]);
    let message = json!({"content": null, "tool_calls": calls});
    assert_eq!(
        of_message(message.clone(), "stop").finish,
        Some(Finish::Tool)
    );
    assert_eq!(of_message(message, "length").finish, Some(Finish::Length));
}

#[test]
fn servers_say_things_in_their_own_way() {
    let f = |id: &str, arguments: &str| {
        Part::ToolCall(ToolCall {
            id: id.to_owned(),
            name: "f".to_owned(),
            arguments: arguments.to_owned(),
        })
    };
    let table = [
        // thinking under either name, or under both
        (
            json!({"content": "Hi", "reasoning": "hm"}),
            vec![thought("hm"), Part::text("Hi")],
        ),
        (
            json!({"content": "Hi", "reasoning": "hm", "reasoning_content": "hm"}),
            vec![thought("hm"), Part::text("Hi")],
        ),
        (
            json!({"content": "Hi", "reasoning_content": null, "reasoning": {"x": 1}}),
            vec![Part::text("Hi")],
        ),
        // Mistral's parts
        (
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]}, {"type": "text", "text": "H"}, {"type": "text", "text": "i"}]}),
            vec![thought("hm"), Part::text("Hi")],
        ),
        // nothing said
        (json!({"content": ""}), vec![]),
        (
            json!({"content": null, "tool_calls": [], "refusal": null, "audio": null}),
            vec![],
        ),
        (
            json!({"content": null, "refusal": "No."}),
            vec![Part::Refusal("No.".to_owned())],
        ),
        // arguments as an object, absent, null; no id; the form before tool calls
        (
            json!({"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {"n": -1, "l": [1.5, true, null]}}}]}),
            vec![f("a", "{\"n\":-1,\"l\":[1.5,true,null]}")],
        ),
        (
            json!({"tool_calls": [{"id": "a", "function": {"name": "f"}}]}),
            vec![f("a", "")],
        ),
        (
            json!({"tool_calls": [{"function": {"name": "f", "arguments": null}}, {"id": "", "function": {"name": "f"}}]}),
            vec![f("call_9_0", ""), f("call_9_1", "")],
        ),
        (
            json!({"content": null, "function_call": {"name": "f", "arguments": "{}"}}),
            vec![f("call_9_0", "{}")],
        ),
    ];
    for (message, parts) in table {
        assert_eq!(
            of_message(message.clone(), "length").parts,
            parts,
            "{message}"
        );
    }
}

#[test]
fn of_several_answers_the_first_is_read() {
    let choice = |index: u64, text: &str| json!({"index": index, "message": {"content": text}, "finish_reason": "stop"});
    let body = json!({"choices": [choice(1, "b"), choice(0, "a")]});
    assert_eq!(of_json(&body).unwrap().text(), "a");
}

#[test]
fn every_field_that_the_sdk_requires_is_written() {
    let whole = Whole {
        parts: vec![
            thought("hm"),
            Part::text("Hel"),
            Part::text("lo"),
            call("Paris"),
            Part::ToolCall(ToolCall {
                id: "a".into(),
                name: "f".into(),
                arguments: String::new(),
            }),
        ],
        ..of("usage")
    };
    let written = write(
        &whole,
        &Envelope {
            builtin: true,
            ..envelope()
        },
    );
    assert_eq!(
        written,
        json!({
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1_795_237_500,
            "model": "gpt-5-mini-2025-08-07",
            "choices": [{
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "Hello",
                    "refusal": null,
                    "annotations": [],
                    "reasoning_content": "hm",
                    "tool_calls": [
                        {"id": "call_Paris", "type": "function", "function": {"name": "get_weather", "arguments": "{\"city\":\"Paris\"}"}},
                        {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    ],
                },
                "logprobs": null,
                "finish_reason": "stop",
            }],
            "usage": {
                "prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150,
                "prompt_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 0, "audio_tokens": 0},
                "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0},
            },
            "gatehouse": {"answerer": "built-in, no model"},
        })
    );
}

#[test]
fn content_is_null_only_beside_something_else() {
    let message = |parts| {
        let whole = Whole {
            parts,
            usage: None,
            ..of("text")
        };
        let written = write(&whole, &envelope());
        assert_eq!(written["usage"]["total_tokens"], 0);
        assert_eq!(written.get("gatehouse"), None);
        written["choices"][0]["message"].clone()
    };
    assert_eq!(message(vec![])["content"], "");
    assert_eq!(message(vec![thought("hm")])["content"], "");
    assert_eq!(message(vec![call("Rome")])["content"], Value::Null);
    let refused = message(vec![Part::Refusal("No.".into())]);
    assert_eq!(
        (&refused["content"], &refused["refusal"]),
        (&Value::Null, &json!("No."))
    );
    assert_eq!(message(vec![Part::text("")]).get("tool_calls"), None);
}

/// What of an answer comes back from this dialect: see the head of the dialect.
fn normal(whole: &Whole) -> Whole {
    let mut parts = Vec::new();
    let (mut said, mut refused, mut thoughts) = (String::new(), String::new(), String::new());
    let mut calls = Vec::new();
    for part in &whole.parts {
        match part {
            Part::Text { text, .. } => said += text,
            Part::Refusal(text) => refused += text,
            Part::Reasoning(thought) => thoughts += &thought.text,
            Part::ToolCall(call) if call.arguments.is_empty() => {
                calls.push(Part::ToolCall(ToolCall {
                    arguments: "{}".into(),
                    ..call.clone()
                }))
            }
            part => calls.push(part.clone()),
        }
    }
    if !thoughts.is_empty() {
        parts.push(thought(&thoughts));
    }
    if !said.is_empty() {
        parts.push(Part::text(said));
    }
    if !refused.is_empty() {
        parts.push(Part::Refusal(refused));
    }
    let finish = match whole.finish {
        Some(Finish::Stop) if !calls.is_empty() => Some(Finish::Tool),
        finish => finish,
    };
    parts.extend(calls);
    Whole {
        id: "chatcmpl-1".to_owned(),
        model: whole.model.clone(),
        parts,
        finish,
        stop_sequence: None,
        usage: whole
            .usage
            .filter(|usage| usage.input + usage.output > 0)
            .map(|usage| Usage {
                written_5m: usage.written_5m + usage.written_1h,
                written_1h: 0,
                ..usage
            }),
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(whole in whole()) {
        assert_eq!(of_json(&write(&whole, &envelope())), Ok(normal(&whole)));
    }
}
