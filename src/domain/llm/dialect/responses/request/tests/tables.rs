//! What has no place in the normal form, and what is wrong, each named by its path.

use super::super::read;
use super::{object, unplaced};
use crate::base::errors::Code;
use crate::domain::llm::normal::feature::Feature;
use serde_json::{Value, json};

#[test]
fn what_has_no_place_is_named_by_its_path() {
    let table = [
        (
            json!({"previous_response_id": "resp_1"}),
            Feature::Reference,
            "previous_response_id",
        ),
        (
            json!({"conversation": {"id": "conv_1"}}),
            Feature::Reference,
            "conversation",
        ),
        (
            json!({"prompt": {"id": "pmpt_1"}}),
            Feature::Reference,
            "prompt",
        ),
        (json!({"truncation": "auto"}), Feature::Other, "truncation"),
        (
            json!({"text": {"verbosity": "low"}}),
            Feature::Other,
            "text.verbosity",
        ),
        (
            json!({"reasoning": {"effort": "low", "mode": "pro"}}),
            Feature::Other,
            "reasoning.mode",
        ),
        (
            json!({"reasoning": {"effort": "low", "context": "all_turns"}}),
            Feature::Hint,
            "reasoning.context",
        ),
        (
            json!({"service_tier": "auto"}),
            Feature::Hint,
            "service_tier",
        ),
        (
            json!({"service_tier": "flex"}),
            Feature::Other,
            "service_tier",
        ),
        (
            json!({"top_logprobs": 3}),
            Feature::LogProbs,
            "top_logprobs",
        ),
        (
            json!({"include": ["reasoning.encrypted_content", "message.output_text.logprobs"]}),
            Feature::LogProbs,
            "include[1]",
        ),
        (
            json!({"include": ["file_search_call.results"]}),
            Feature::Hint,
            "include[0]",
        ),
        (
            json!({"safety_identifier": "s"}),
            Feature::Hint,
            "safety_identifier",
        ),
        (
            json!({"prompt_cache_options": {"mode": "explicit"}}),
            Feature::Hint,
            "prompt_cache_options",
        ),
        (
            json!({"stream_options": {"include_obfuscation": false}}),
            Feature::Hint,
            "stream_options",
        ),
        (
            json!({"max_tool_calls": 3}),
            Feature::Hint,
            "max_tool_calls",
        ),
        (
            json!({"context_management": [{"type": "compaction"}]}),
            Feature::Other,
            "context_management",
        ),
        (
            json!({"moderation": {"model": "m"}}),
            Feature::Other,
            "moderation",
        ),
        (json!({"stop": ["x"]}), Feature::Other, "stop"),
        (
            json!({"tools": [{"type": "web_search"}]}),
            Feature::ServerTool,
            "tools[0]",
        ),
        (
            json!({"tools": [{"type": "mcp", "server_label": "s"}]}),
            Feature::ServerTool,
            "tools[0]",
        ),
        (
            json!({"tools": [{"type": "custom", "name": "c"}]}),
            Feature::Other,
            "tools[0]",
        ),
        (
            json!({"tools": [{"type": "function", "name": "f", "defer_loading": true}]}),
            Feature::Other,
            "tools[0].defer_loading",
        ),
        (
            json!({"tools": [{"type": "function", "name": "f", "output_schema": {"type": "object"}}]}),
            Feature::Other,
            "tools[0].output_schema",
        ),
        (
            json!({"tool_choice": {"type": "web_search_preview"}}),
            Feature::ServerTool,
            "tool_choice",
        ),
        (
            json!({"tool_choice": {"type": "custom", "name": "c"}}),
            Feature::Other,
            "tool_choice",
        ),
        (
            json!({"input": [{"type": "item_reference", "id": "msg_1"}]}),
            Feature::Reference,
            "input[0]",
        ),
        (
            json!({"input": [{"id": "msg_1"}]}),
            Feature::Reference,
            "input[0]",
        ),
        (
            json!({"input": [{"type": "web_search_call", "id": "ws_1"}]}),
            Feature::ServerTool,
            "input[0]",
        ),
        (
            json!({"input": [{"type": "mcp_list_tools", "id": "m"}]}),
            Feature::ServerTool,
            "input[0]",
        ),
        (
            json!({"input": [{"type": "custom_tool_call_output", "call_id": "1", "output": ""}]}),
            Feature::Other,
            "input[0]",
        ),
        (
            json!({"input": [{"type": "compaction", "encrypted_content": "x"}]}),
            Feature::Other,
            "input[0]",
        ),
        (
            json!({"input": [{"type": "of_the_future"}]}),
            Feature::Other,
            "input[0]",
        ),
        (
            json!({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}),
            Feature::Hint,
            "input[0]",
        ),
        (
            json!({"input": [{"role": "assistant", "content": "x", "phase": "commentary"}]}),
            Feature::Hint,
            "input[0].phase",
        ),
        (
            json!({"input": [{"type": "function_call", "call_id": "1", "name": "f", "arguments": "", "namespace": "n"}]}),
            Feature::Other,
            "input[0].namespace",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]}),
            Feature::Audio,
            "input[0].content[0]",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "file_1"}]}]}),
            Feature::Reference,
            "input[0].content[0].file_id",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "file_1"}]}]}),
            Feature::Reference,
            "input[0].content[0].file_id",
        ),
        (
            json!({"input": [{"role": "user", "content": [{"type": "of_the_future"}]}]}),
            Feature::Other,
            "input[0].content[0]",
        ),
    ];
    for (more, feature, param) in table {
        let mut body = object(json!({"input": "x"}));
        body.extend(object(more.clone()));
        let read = read(&body).unwrap();
        assert_eq!(read.unplaced, [unplaced(feature, param)], "{more}");
    }
    let prewarm = read(&object(
        json!({"input": "x", "prompt_cache_options": {"prewarm": true}}),
    ));
    let prewarm = prewarm.unwrap().unplaced;
    assert_eq!(
        prewarm[1],
        unplaced(Feature::Other, "prompt_cache_options.prewarm")
    );
}

#[test]
fn what_is_stored_at_the_provider_needs_no_input() {
    for body in [
        json!({"previous_response_id": "resp_1"}),
        json!({"conversation": "conv_1"}),
        json!({"prompt": {"id": "p"}, "tool_choice": "required"}),
    ] {
        assert!(read(&object(body)).is_ok());
    }
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    let item = |item: Value| json!({"input": [item]});
    let part = |part: Value| json!({"input": [{"role": "user", "content": [part]}]});
    let tool = |tool: Value| json!({"tools": [tool]});
    let table = [
        (json!({"input": null}), Code::MissingParameter, "input"),
        (json!({"input": ""}), Code::InvalidParameter, "input"),
        (json!({"input": []}), Code::InvalidParameter, "input"),
        (json!({"input": {}}), Code::InvalidParameter, "input"),
        (json!({"model": 5}), Code::InvalidParameter, "model"),
        (
            json!({"instructions": ["a"]}),
            Code::InvalidParameter,
            "instructions",
        ),
        (
            json!({"temperature": 2.5}),
            Code::InvalidParameter,
            "temperature",
        ),
        (
            json!({"temperature": "1"}),
            Code::InvalidParameter,
            "temperature",
        ),
        (json!({"top_p": -0.1}), Code::InvalidParameter, "top_p"),
        (
            json!({"max_output_tokens": 0}),
            Code::InvalidParameter,
            "max_output_tokens",
        ),
        (
            json!({"max_output_tokens": 1.5}),
            Code::InvalidParameter,
            "max_output_tokens",
        ),
        (json!({"stream": "yes"}), Code::InvalidParameter, "stream"),
        (json!({"store": 1}), Code::InvalidParameter, "store"),
        (json!({"user": 7}), Code::InvalidParameter, "user"),
        (
            json!({"parallel_tool_calls": 1}),
            Code::InvalidParameter,
            "parallel_tool_calls",
        ),
        (
            json!({"top_logprobs": 21}),
            Code::InvalidParameter,
            "top_logprobs",
        ),
        (
            json!({"truncation": "maybe"}),
            Code::InvalidParameter,
            "truncation",
        ),
        (json!({"include": "all"}), Code::InvalidParameter, "include"),
        (
            json!({"include": [1]}),
            Code::InvalidParameter,
            "include[0]",
        ),
        (json!({"text": "plain"}), Code::InvalidParameter, "text"),
        (
            json!({"text": {"format": {}}}),
            Code::MissingParameter,
            "text.format.type",
        ),
        (
            json!({"text": {"format": {"type": "xml"}}}),
            Code::InvalidParameter,
            "text.format.type",
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n"}}}),
            Code::MissingParameter,
            "text.format.schema",
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "name": "n", "schema": "s"}}}),
            Code::InvalidParameter,
            "text.format.schema",
        ),
        (
            json!({"text": {"format": {"type": "json_schema", "schema": {}}}}),
            Code::MissingParameter,
            "text.format.name",
        ),
        (
            json!({"reasoning": {"effort": "huge"}}),
            Code::InvalidParameter,
            "reasoning.effort",
        ),
        (
            json!({"reasoning": {"summary": true}}),
            Code::InvalidParameter,
            "reasoning.summary",
        ),
        (
            tool(json!("web_search")),
            Code::InvalidParameter,
            "tools[0]",
        ),
        (
            tool(json!({"name": "f"})),
            Code::MissingParameter,
            "tools[0].type",
        ),
        (
            tool(json!({"type": "function", "function": {"name": "f"}})),
            Code::MissingParameter,
            "tools[0].name",
        ),
        (
            tool(json!({"type": "function", "name": "f", "parameters": []})),
            Code::InvalidParameter,
            "tools[0].parameters",
        ),
        (
            tool(json!({"type": "function", "name": "f", "strict": "yes"})),
            Code::InvalidParameter,
            "tools[0].strict",
        ),
        (
            json!({"tools": [{"type": "function", "name": "f"}, {"type": "function", "name": "f"}]}),
            Code::InvalidParameter,
            "tools[1].name",
        ),
        (json!({"tools": {}}), Code::InvalidParameter, "tools"),
        (
            json!({"tool_choice": "any"}),
            Code::InvalidParameter,
            "tool_choice",
        ),
        (
            json!({"tool_choice": 1}),
            Code::InvalidParameter,
            "tool_choice",
        ),
        (
            json!({"tool_choice": "required"}),
            Code::InvalidParameter,
            "tool_choice",
        ),
        (
            json!({"tool_choice": {"type": "function"}}),
            Code::MissingParameter,
            "tool_choice.name",
        ),
        (
            json!({"tool_choice": {"type": "function", "name": "g"}}),
            Code::InvalidParameter,
            "tool_choice",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}),
            Code::InvalidParameter,
            "tool_choice.tools",
        ),
        (
            json!({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "g"}]}}),
            Code::InvalidParameter,
            "tool_choice.tools",
        ),
        (item(json!("hi")), Code::InvalidParameter, "input[0]"),
        (item(json!({})), Code::InvalidParameter, "input[0].type"),
        (
            item(json!({"type": 1})),
            Code::InvalidParameter,
            "input[0].type",
        ),
        (
            item(json!({"type": "message", "content": "x"})),
            Code::MissingParameter,
            "input[0].role",
        ),
        (
            item(json!({"role": "tool", "content": "x"})),
            Code::InvalidParameter,
            "input[0].role",
        ),
        (
            item(json!({"role": "user"})),
            Code::MissingParameter,
            "input[0].content",
        ),
        (
            item(json!({"role": "user", "content": 5})),
            Code::InvalidParameter,
            "input[0].content",
        ),
        (
            item(json!({"type": "function_call", "name": "f", "arguments": "{}"})),
            Code::MissingParameter,
            "input[0].call_id",
        ),
        (
            item(json!({"type": "function_call", "call_id": "1", "arguments": "{}"})),
            Code::MissingParameter,
            "input[0].name",
        ),
        (
            item(json!({"type": "function_call", "call_id": "1", "name": "f", "arguments": {}})),
            Code::InvalidParameter,
            "input[0].arguments",
        ),
        (
            item(json!({"type": "function_call_output", "output": "x"})),
            Code::MissingParameter,
            "input[0].call_id",
        ),
        (
            item(json!({"type": "function_call_output", "call_id": "1"})),
            Code::MissingParameter,
            "input[0].output",
        ),
        (
            item(
                json!({"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text"}]}),
            ),
            Code::MissingParameter,
            "input[0].output[0].text",
        ),
        (
            item(json!({"type": "reasoning", "summary": "x"})),
            Code::InvalidParameter,
            "input[0].summary",
        ),
        (
            item(json!({"type": "reasoning", "summary": ["x"]})),
            Code::InvalidParameter,
            "input[0].summary[0]",
        ),
        (
            part(json!("x")),
            Code::InvalidParameter,
            "input[0].content[0]",
        ),
        (
            part(json!({"text": "x"})),
            Code::MissingParameter,
            "input[0].content[0].type",
        ),
        (
            part(json!({"type": "input_text", "text": 1})),
            Code::InvalidParameter,
            "input[0].content[0].text",
        ),
        (
            part(json!({"type": "refusal"})),
            Code::MissingParameter,
            "input[0].content[0].refusal",
        ),
        (
            part(json!({"type": "input_image"})),
            Code::MissingParameter,
            "input[0].content[0].image_url",
        ),
        (
            part(json!({"type": "input_image", "image_url": "cat.jpg"})),
            Code::InvalidParameter,
            "input[0].content[0].image_url",
        ),
        (
            part(json!({"type": "input_image", "image_url": "data:image/png,abc"})),
            Code::InvalidParameter,
            "input[0].content[0].image_url",
        ),
        (
            part(json!({"type": "input_image", "image_url": "data:;base64,abc"})),
            Code::InvalidParameter,
            "input[0].content[0].image_url",
        ),
        (
            part(json!({"type": "input_image", "image_url": "https://a", "detail": "ultra"})),
            Code::InvalidParameter,
            "input[0].content[0].detail",
        ),
        (
            part(json!({"type": "input_file"})),
            Code::MissingParameter,
            "input[0].content[0].file_data",
        ),
        (
            part(json!({"type": "input_file", "file_data": "data:x"})),
            Code::InvalidParameter,
            "input[0].content[0].file_data",
        ),
        (
            part(json!({"type": "input_file", "file_url": "ftp://a"})),
            Code::InvalidParameter,
            "input[0].content[0].file_url",
        ),
    ];
    for (more, code, param) in table {
        let mut body = object(json!({"model": "site", "input": "x"}));
        body.extend(object(more.clone()));
        let refusal = read(&body).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.param.as_deref()),
            (code, Some(param)),
            "{more}"
        );
    }
}
