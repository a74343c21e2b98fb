use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::{read_request, write_request};

const PROTOCOLS: [Protocol; 3] = [Protocol::Chat, Protocol::Responses, Protocol::Messages];

/// A request that says whatever another dialect cannot.
fn lossy(origin: Protocol) -> Map<String, Value> {
    let body = match origin {
        Protocol::Chat => json!({
            "messages": [
                {"role": "system", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {}}]},
                {"role": "user", "content": [
                    {"type": "text", "text": "b", "prompt_cache_breakpoint": {}, "mood": "x"},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AA=="}},
                    {"type": "file", "file": {"file_data": "data:application/zip;base64,AA=="}},
                ]},
                {"role": "assistant", "content": "c", "reasoning_content": "hm", "tool_calls": [
                    {"id": "1", "type": "function", "function": {"name": "f", "arguments": "[1]"}},
                ]},
                {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": "d", "prompt_cache_breakpoint": {}}]},
                {"role": "system", "content": "e"},
                {"role": "user", "content": "f"},
            ],
            "tools": [{"type": "function", "function": {"name": "f"}, "cache_control": {"type": "ephemeral"}}],
            "response_format": {"type": "json_object"},
            "stop": ["\n", "a", "b"],
            "seed": 1,
            "presence_penalty": 1,
            "frequency_penalty": 1,
            "temperature": 0.2,
            "top_p": 0.5,
            "reasoning_effort": "low",
            "max_tokens": 100,
            "user": "x".repeat(65),
            "logit_bias": {"1": 1},
        }),
        Protocol::Responses => json!({
            "input": [
                {"role": "system", "content": [{"type": "input_text", "text": "a", "prompt_cache_breakpoint": {}}]},
                {"role": "user", "content": [
                    {"type": "input_text", "text": "b", "prompt_cache_breakpoint": {}},
                    {"type": "input_image", "image_url": "https://example.com/a.png", "detail": "low"},
                    {"type": "input_image", "image_url": "data:image/tiff;base64,AA=="},
                    {"type": "input_file", "file_url": "https://example.com/a.zip"},
                    {"type": "input_file", "filename": "a.zip", "file_data": "data:application/zip;base64,AA=="},
                ]},
                {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "[1]"},
                {"type": "function_call_output", "call_id": "1", "output": [
                    {"type": "input_text", "text": "d", "prompt_cache_breakpoint": {}},
                ]},
                {"role": "system", "content": "e"},
                {"role": "user", "content": "f"},
            ],
            "tools": [{"type": "function", "name": "f"}, {"type": "web_search"}],
            "text": {"format": {"type": "json_schema", "name": "s", "description": "d", "schema": {"type": "object"}}},
            "temperature": 0.2,
            "top_p": 0.5,
            "reasoning": {"summary": "auto"},
            "previous_response_id": "resp_1",
        }),
        Protocol::Messages => json!({
            "max_tokens": 100,
            "system": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": "b", "cache_control": {"type": "ephemeral"}},
                    {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
                ]},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "s"},
                    {"type": "text", "text": "c", "citations": [{}]},
                    {"type": "tool_use", "id": "1", "name": "f", "input": {}},
                ]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "is_error": true, "content": [
                    {"type": "text", "text": "d", "cache_control": {"type": "ephemeral"}},
                    {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
                ]}]},
            ],
            "tools": [{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
            "top_k": 3,
            "stop_sequences": ["a", "b", "c", "d", "e"],
            "metadata": {"user_id": "x".repeat(65)},
        }),
    };
    body.as_object().unwrap().clone()
}

fn lost(from: Protocol, to: Protocol) -> Vec<String> {
    let conversation = read_request(from, &lossy(from)).unwrap();
    let written = write_request(to, &conversation, "some-model");
    written.lost.into_iter().map(|lost| lost.param).collect()
}

/// Is there such a field in a request? `[]` stands for any index.
fn stands(value: &Value, path: &str) -> bool {
    let Some((name, rest)) = path.split_once('.').or(Some((path, ""))) else {
        return false;
    };
    let (name, index) = name.split_once('[').unwrap_or((name, ""));
    let Some(value) = value.get(name) else {
        return false;
    };
    let further = |value: &Value| rest.is_empty() || stands(value, rest);
    match (index.strip_suffix(']'), value) {
        (None, value) => further(value),
        (Some(""), Value::Array(items)) => items.iter().any(further),
        (Some(index), value) => value
            .get(index.parse::<usize>().unwrap())
            .is_some_and(further),
    }
}

#[test]
fn every_loss_is_a_field_of_the_callers_own_request() {
    for from in PROTOCOLS {
        let body = Value::Object(lossy(from));
        for to in PROTOCOLS {
            for param in lost(from, to) {
                assert!(stands(&body, &param), "{from:?} to {to:?}: {param}");
            }
        }
    }
}

#[test]
fn each_caller_is_told_by_its_own_names() {
    let table = [
        (
            Protocol::Chat,
            Protocol::Messages,
            vec![
                "logit_bias",
                "messages[1].content[0].mood",
                "messages[].content[].image_url.detail",
                "messages[].content[]",
                "messages[].reasoning_content",
                "messages[].tool_calls[].function.arguments",
                "messages[].role",
                "reasoning_effort",
                "response_format",
                "stop",
                "seed",
                "presence_penalty",
                "frequency_penalty",
                "top_p",
            ],
        ),
        (
            Protocol::Chat,
            Protocol::Responses,
            vec![
                "logit_bias",
                "messages[1].content[0].mood",
                "messages[].content[].prompt_cache_breakpoint",
                "tools[].cache_control",
                "messages[].reasoning_content",
                "stop",
                "seed",
                "presence_penalty",
                "frequency_penalty",
                "user",
            ],
        ),
        (
            Protocol::Responses,
            Protocol::Chat,
            vec![
                "previous_response_id",
                "tools[1]",
                "input[].content[].prompt_cache_breakpoint",
                "input[].output[].prompt_cache_breakpoint",
                "input[].content[]",
                "input[].summary",
            ],
        ),
        (
            Protocol::Responses,
            Protocol::Messages,
            vec![
                "previous_response_id",
                "tools[1]",
                "input[].content[].detail",
                "input[].content[]",
                "input[].summary",
                "input[].arguments",
                "input[].role",
                "reasoning.summary",
                "text.format.description",
                "top_p",
            ],
        ),
        (
            Protocol::Messages,
            Protocol::Chat,
            vec![
                "messages[1].content[1].citations",
                "system[].cache_control",
                "messages[].content[].cache_control",
                "messages[].content[].content[].cache_control",
                "tools[].cache_control",
                "messages[].content[]",
                "messages[].content[].thinking",
                "messages[].content[].is_error",
                "top_k",
                "stop_sequences",
            ],
        ),
        (
            Protocol::Messages,
            Protocol::Responses,
            vec![
                "messages[1].content[1].citations",
                "system[].cache_control",
                "messages[].content[].cache_control",
                "messages[].content[].content[].cache_control",
                "tools[].cache_control",
                "messages[].content[].thinking",
                "messages[].content[].is_error",
                "top_k",
                "stop_sequences",
                "metadata.user_id",
            ],
        ),
    ];
    for (from, to, expected) in table {
        let names = lost(from, to);
        let named: BTreeSet<&str> = names.iter().map(String::as_str).collect();
        let expected: BTreeSet<&str> = expected.into_iter().collect();
        assert_eq!(named, expected, "{from:?} to {to:?}");
    }
}

#[test]
fn a_hundred_marks_are_told_once() {
    let part = json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}});
    let body = json!({"max_tokens": 1, "messages": [{"role": "user", "content": vec![part; 100]}]});
    let conversation = read_request(Protocol::Messages, body.as_object().unwrap()).unwrap();
    for to in [Protocol::Chat, Protocol::Responses] {
        let written = write_request(to, &conversation, "some-model");
        let names: Vec<&str> = written
            .lost
            .iter()
            .map(|lost| lost.param.as_str())
            .collect();
        assert_eq!(names, ["messages[].content[].cache_control"]);
    }
}
