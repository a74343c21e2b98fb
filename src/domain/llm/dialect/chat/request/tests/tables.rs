//! What is refused, and what is reported as not placed.

use serde_json::{Value, json};

use super::{lost, with};
use crate::base::errors::Code;
use crate::domain::llm::dialect::chat::request::{read, write};
use crate::domain::llm::normal::feature::Feature;

#[test]
fn refusals_name_the_field() {
    use Code::{InvalidParameter as Invalid, MissingParameter as Missing};
    let message =
        |message: Value| json!({"messages": [{"role": "user", "content": "Hi"}, message]});
    let part = |part: Value| message(json!({"role": "user", "content": ["skip", part]}));
    let part = |value: Value| {
        let mut body = part(value);
        body["messages"][1]["content"][0] = json!({"type": "text", "text": ""});
        body
    };
    let table = [
        (json!({"messages": null}), Missing, "messages"),
        (json!({"messages": "Hi"}), Invalid, "messages"),
        (json!({"messages": []}), Invalid, "messages"),
        (message(json!("Hi")), Invalid, "messages[1]"),
        (
            message(json!({"content": "Hi"})),
            Missing,
            "messages[1].role",
        ),
        (
            message(json!({"role": "robot", "content": "Hi"})),
            Invalid,
            "messages[1].role",
        ),
        (
            message(json!({"role": "user"})),
            Missing,
            "messages[1].content",
        ),
        (
            message(json!({"role": "user", "content": null})),
            Missing,
            "messages[1].content",
        ),
        (
            message(json!({"role": "user", "content": 7})),
            Invalid,
            "messages[1].content",
        ),
        (
            message(json!({"role": "user", "content": {"type": "text"}})),
            Invalid,
            "messages[1].content",
        ),
        (
            message(json!({"role": "assistant"})),
            Missing,
            "messages[1].content",
        ),
        (
            message(json!({"role": "assistant", "content": null, "tool_calls": {}})),
            Invalid,
            "messages[1].tool_calls",
        ),
        (
            message(json!({"role": "assistant", "tool_calls": [{"function": {"name": "f"}}]})),
            Missing,
            "messages[1].tool_calls[0].id",
        ),
        (
            message(json!({"role": "assistant", "tool_calls": [{"id": "a"}]})),
            Missing,
            "messages[1].tool_calls[0].function",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": ""}}]}),
            ),
            Invalid,
            "messages[1].tool_calls[0].function.name",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": 7}}]}),
            ),
            Invalid,
            "messages[1].tool_calls[0].function.arguments",
        ),
        (
            message(json!({"role": "tool", "content": "x"})),
            Missing,
            "messages[1].tool_call_id",
        ),
        (
            message(json!({"role": "tool", "tool_call_id": "a"})),
            Missing,
            "messages[1].content",
        ),
        (
            message(json!({"role": "function", "name": "f", "content": "x"})),
            Invalid,
            "messages[1].name",
        ),
        (part(json!("Hi")), Invalid, "messages[1].content[1]"),
        (
            part(json!({"text": "Hi"})),
            Missing,
            "messages[1].content[1].type",
        ),
        (
            part(json!({"type": "text"})),
            Missing,
            "messages[1].content[1].text",
        ),
        (
            part(json!({"type": "text", "text": "Hi", "cache_control": "yes"})),
            Invalid,
            "messages[1].content[1].cache_control",
        ),
        (
            part(json!({"type": "image_url"})),
            Missing,
            "messages[1].content[1].image_url",
        ),
        (
            part(json!({"type": "image_url", "image_url": "cat.png"})),
            Invalid,
            "messages[1].content[1].image_url",
        ),
        (
            part(json!({"type": "image_url", "image_url": {"url": "data:image/png,abc"}})),
            Invalid,
            "messages[1].content[1].image_url.url",
        ),
        (
            part(json!({"type": "image_url", "image_url": {"url": "data:image/png;base64,"}})),
            Invalid,
            "messages[1].content[1].image_url.url",
        ),
        (
            part(json!({"type": "image_url", "image_url": {"url": "data:;base64,AAAA"}})),
            Invalid,
            "messages[1].content[1].image_url.url",
        ),
        (
            part(
                json!({"type": "image_url", "image_url": {"url": "https://x.example/a.png", "detail": 1}}),
            ),
            Invalid,
            "messages[1].content[1].image_url.detail",
        ),
        (
            part(json!({"type": "file", "file": {}})),
            Missing,
            "messages[1].content[1].file.file_data",
        ),
        (
            part(json!({"type": "file", "file": {"file_data": "AAAA"}})),
            Invalid,
            "messages[1].content[1].file.file_data",
        ),
        (json!({"tools": {}}), Invalid, "tools"),
        (
            json!({"tools": [{"function": {"name": "f"}}]}),
            Missing,
            "tools[0].type",
        ),
        (
            json!({"tools": [{"type": "function", "name": "f"}]}),
            Missing,
            "tools[0].function",
        ),
        (
            json!({"tools": [{"type": "function", "function": {}}]}),
            Missing,
            "tools[0].function.name",
        ),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f", "parameters": "{}"}}]}),
            Invalid,
            "tools[0].function.parameters",
        ),
        (
            json!({"functions": [{"description": "x"}]}),
            Missing,
            "functions[0].name",
        ),
        (json!({"tool_choice": "required"}), Invalid, "tool_choice"),
        (json!({"tool_choice": "maybe"}), Invalid, "tool_choice"),
        (
            json!({"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
            Invalid,
            "tool_choice",
        ),
        (
            json!({"tool_choice": {"type": "function"}}),
            Missing,
            "tool_choice.function",
        ),
        (
            json!({"functions": [{"name": "f"}], "function_call": {}}),
            Missing,
            "function_call.name",
        ),
        (
            json!({"response_format": "json"}),
            Invalid,
            "response_format",
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            Missing,
            "response_format.json_schema",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}),
            Missing,
            "response_format.json_schema.schema",
        ),
        (
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": {}}}}),
            Missing,
            "response_format.json_schema.name",
        ),
        (json!({"max_tokens": 0}), Invalid, "max_tokens"),
        (
            json!({"max_completion_tokens": 1.5}),
            Invalid,
            "max_completion_tokens",
        ),
        (json!({"temperature": 2.1}), Invalid, "temperature"),
        (json!({"temperature": "1"}), Invalid, "temperature"),
        (json!({"top_p": -0.1}), Invalid, "top_p"),
        (json!({"top_k": -2}), Invalid, "top_k"),
        (json!({"presence_penalty": 3}), Invalid, "presence_penalty"),
        (
            json!({"frequency_penalty": -3}),
            Invalid,
            "frequency_penalty",
        ),
        (json!({"seed": 1.5}), Invalid, "seed"),
        (json!({"stop": 7}), Invalid, "stop"),
        (json!({"stop": ["a", ""]}), Invalid, "stop[1]"),
        (json!({"reasoning_effort": 3}), Invalid, "reasoning_effort"),
        (json!({"n": 0}), Invalid, "n"),
        (json!({"stream": "yes"}), Invalid, "stream"),
        (
            json!({"stream_options": {"include_usage": 1}}),
            Invalid,
            "stream_options.include_usage",
        ),
        (
            json!({"parallel_tool_calls": "no"}),
            Invalid,
            "parallel_tool_calls",
        ),
        (json!({"logprobs": 1}), Invalid, "logprobs"),
        (json!({"top_logprobs": 21}), Invalid, "top_logprobs"),
        (json!({"logit_bias": []}), Invalid, "logit_bias"),
        (json!({"user": 7}), Invalid, "user"),
    ];
    for (more, code, param) in table {
        let refusal = read(&with(more.clone())).expect_err(&more.to_string());
        assert_eq!(
            (refusal.code, refusal.param.as_deref()),
            (code, Some(param)),
            "{more}"
        );
        assert!(refusal.detail.unwrap().starts_with(&format!("`{param}` ")));
    }
}

#[test]
fn what_has_no_place_is_reported_with_its_path() {
    use Feature::{Audio, Choices, Hint, LogProbs, Other, Reference, ServerTool};
    let message =
        |message: Value| json!({"messages": [{"role": "user", "content": "Hi"}, message]});
    let part = |part: Value| message(json!({"role": "user", "content": [part]}));
    let table = [
        (
            part(json!({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}})),
            Audio,
            "messages[1].content[0]",
        ),
        (
            part(json!({"type": "file", "file": {"file_id": "file-1"}})),
            Reference,
            "messages[1].content[0].file.file_id",
        ),
        (
            part(json!({"type": "video_url", "video_url": {"url": "https://x.example/a.mp4"}})),
            Other,
            "messages[1].content[0]",
        ),
        (
            part(json!({"type": "text", "text": "Hi", "mood": 1})),
            Other,
            "messages[1].content[0].mood",
        ),
        (
            message(json!({"role": "user", "content": "Hi", "name": "Ada"})),
            Other,
            "messages[1].name",
        ),
        (
            message(json!({"role": "assistant", "content": "Hi", "prefix": true})),
            Other,
            "messages[1].prefix",
        ),
        (
            message(json!({"role": "assistant", "audio": {"id": "audio_1"}})),
            Reference,
            "messages[1].audio",
        ),
        (
            message(
                json!({"role": "assistant", "content": "Hi", "annotations": [{"type": "url_citation"}]}),
            ),
            Hint,
            "messages[1].annotations",
        ),
        (
            message(
                json!({"role": "assistant", "tool_calls": [{"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}]}),
            ),
            Other,
            "messages[1].tool_calls[0]",
        ),
        (
            json!({"tools": [{"type": "custom", "custom": {"name": "f"}}]}),
            Other,
            "tools[0]",
        ),
        (
            json!({"tools": [{"type": "web_search"}]}),
            ServerTool,
            "tools[0]",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}}),
            Other,
            "tool_choice",
        ),
        (
            json!({"response_format": {"type": "structural_tag"}}),
            Other,
            "response_format",
        ),
        (
            json!({"reasoning_effort": "ultra"}),
            Feature::Reasoning,
            "reasoning_effort",
        ),
        (json!({"n": 2}), Choices, "n"),
        (json!({"logprobs": true}), LogProbs, "logprobs"),
        (json!({"top_logprobs": 3}), LogProbs, "top_logprobs"),
        (
            json!({"logit_bias": {"50256": -100}}),
            Feature::LogitBias,
            "logit_bias",
        ),
        (
            json!({"modalities": ["text", "audio"]}),
            Audio,
            "modalities",
        ),
        (
            json!({"audio": {"voice": "ash", "format": "wav"}}),
            Audio,
            "audio",
        ),
        (
            json!({"web_search_options": {"search_context_size": "low"}}),
            ServerTool,
            "web_search_options",
        ),
        (json!({"verbosity": "low"}), Other, "verbosity"),
        (json!({"service_tier": "flex"}), Other, "service_tier"),
        (json!({"service_tier": "auto"}), Hint, "service_tier"),
        (json!({"store": true}), Other, "store"),
        (json!({"store": false}), Hint, "store"),
        (json!({"metadata": {"a": "b"}}), Hint, "metadata"),
        (json!({"prompt_cache_key": "k"}), Hint, "prompt_cache_key"),
        (
            json!({"user": "u", "safety_identifier": "k"}),
            Hint,
            "safety_identifier",
        ),
        (
            json!({"stream_options": {"include_obfuscation": false}}),
            Hint,
            "stream_options",
        ),
        (json!({"min_p": 0.1}), Other, "min_p"),
    ];
    for (more, feature, param) in table {
        let conversation = read(&with(more.clone())).unwrap();
        assert_eq!(conversation.unplaced, [lost(feature, param)], "{more}");
        // And it is lost when it is written.
        assert_eq!(write(&conversation).lost, conversation.unplaced, "{more}");
    }
}
