//! What counts as not said, and the ways of servers and SDKs.

use serde_json::{Value, json};

use super::{
    asks, assistant, base64, call, capped, nothing, of_messages, result, tool, user, with,
};
use crate::domain::llm::dialect::chat::request::read;
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Effort, Format, Part, Reasoning, Source, Thought, ToolChoice,
};

#[test]
fn nulls_empty_values_and_defaults_are_not_said() {
    let more = json!({
        "tools": [], "functions": null, "tool_choice": null, "parallel_tool_calls": true, "response_format": {"type": "text"},
        "max_tokens": null, "temperature": null, "top_k": -1, "stop": [], "seed": null, "n": 1, "logprobs": false, "top_logprobs": 0,
        "logit_bias": {}, "modalities": ["text"], "metadata": {}, "verbosity": "medium", "reasoning_effort": null, "reasoning": {},
        "user": null, "stream": false, "stream_options": {"include_usage": true}, "whatever": null, "others": [],
    });
    assert_eq!(
        read(&with(more)).unwrap(),
        Conversation {
            turns: asks("Hi"),
            ..nothing()
        }
    );
}

#[test]
fn servers_and_sdks_say_settings_in_their_own_way() {
    let of = |more: Value| read(&with(more)).unwrap();
    assert_eq!(
        of(json!({"max_tokens": 9, "max_completion_tokens": 8})).sampling,
        capped(8)
    );
    assert_eq!(of(json!({"stop": "END"})).sampling.stop, ["END"]);
    assert_eq!(of(json!({"stop": ""})).sampling.stop, [""; 0]);
    assert_eq!(of(json!({"top_k": 40})).sampling.top_k, Some(40));
    assert_eq!(
        of(json!({"safety_identifier": "k"})).user.as_deref(),
        Some("k")
    );
    let functions = of(json!({"functions": [{"name": "f"}], "function_call": {"name": "f"}}));
    assert_eq!(
        (functions.tools, functions.tool_choice),
        (vec![tool("f")], ToolChoice::Named("f".into()))
    );
    let schema =
        of(json!({"response_format": {"type": "json_object", "schema": {"type": "object"}}}));
    assert!(matches!(schema.format, Format::Schema { name, .. } if name == "response"));
    assert_eq!(
        of(json!({"response_format": {"type": "json_object"}})).format,
        Format::JsonObject
    );
    let reasoning = |more| of(more).reasoning.unwrap();
    assert_eq!(
        reasoning(json!({"reasoning_effort": "xhigh"})).effort,
        Some(Effort::Max)
    );
    assert_eq!(
        reasoning(json!({"reasoning": {"max_tokens": 2000}})),
        Reasoning {
            budget_tokens: Some(2000),
            show: true,
            ..Reasoning::default()
        }
    );
    assert_eq!(
        reasoning(json!({"reasoning": {"effort": "high", "exclude": true}})),
        Reasoning {
            effort: Some(Effort::High),
            ..Reasoning::default()
        }
    );
    assert_eq!(
        reasoning(json!({"reasoning": {"enabled": false}})),
        Reasoning {
            effort: Some(Effort::None),
            ..Reasoning::default()
        }
    );
    assert_eq!(
        reasoning(json!({"reasoning": {"enabled": true}})),
        Reasoning {
            adaptive: true,
            show: true,
            ..Reasoning::default()
        }
    );
}

#[test]
fn servers_and_sdks_say_messages_in_their_own_way() {
    let thought = Part::Reasoning(Thought {
        text: "hm".into(),
        ..Thought::default()
    });
    let table = [
        // an answer sent back as it came
        (
            json!({"role": "assistant", "content": null, "refusal": null, "audio": null, "function_call": null, "annotations": [], "tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "get_weather", "arguments": {"n": 1}}}]}),
            vec![call("a", "{\"n\":1}")],
        ),
        (
            json!({"role": "assistant", "content": "", "tool_calls": [{"id": "a", "function": {"name": "get_weather"}}]}),
            vec![call("a", "")],
        ),
        (
            json!({"role": "assistant", "content": "", "refusal": "No."}),
            vec![Part::Refusal("No.".into())],
        ),
        (
            json!({"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}),
            vec![Part::Refusal("No.".into())],
        ),
        (
            json!({"role": "assistant", "content": "Hi", "reasoning_content": "hm"}),
            vec![thought.clone(), Part::text("Hi")],
        ),
        (
            json!({"role": "assistant", "content": "Hi", "reasoning": "hm"}),
            vec![thought, Part::text("Hi")],
        ),
        (
            json!({"role": "assistant", "content": ""}),
            vec![Part::text("")],
        ),
        // Ollama's address without an object
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": "DATA:image/png;name=a;base64,AAAA"}]}),
            vec![Part::Image {
                source: base64("image/png", "AAAA"),
                detail: None,
                cache: None,
            }],
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": "auto"}}]}),
            vec![Part::Image {
                source: Source::Url("https://x.example/a.png".into()),
                detail: None,
                cache: None,
            }],
        ),
        // a cache mark on a message is one on its last part
        (
            json!({"role": "user", "content": "Hi", "cache_control": {"type": "ephemeral", "ttl": "1h"}}),
            vec![Part::Text {
                text: "Hi".into(),
                cache: Some(CacheMark::OneHour),
            }],
        ),
    ];
    for (message, parts) in table {
        let conversation = of_messages(json!([message]));
        assert_eq!(conversation.turns[0].parts, parts, "{message}");
        assert_eq!(conversation.unplaced, [], "{message}");
    }
    // an answer that said nothing
    let silent = json!([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": null, "refusal": null}]);
    assert_eq!(of_messages(silent).turns, asks("Hi"));
    // functions of the time before tools
    let legacy = json!([{"role": "assistant", "content": null, "function_call": {"name": "get_weather", "arguments": "{}"}}, {"role": "function", "name": "get_weather", "content": "18"}]);
    assert_eq!(
        of_messages(legacy).turns,
        [
            assistant(vec![call("call_0", "{}")]),
            user(vec![result("call_0", "18")])
        ]
    );
}
