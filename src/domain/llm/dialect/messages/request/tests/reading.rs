//! A caller's request → the normal form.

use serde_json::{Map, Value, json};

use super::{goldens, object, turn, user};
use crate::base::errors::Code;
use crate::domain::llm::dialect::messages::request::{read, write};
use crate::domain::llm::normal::conversation::{
    Effort, Format, Part, Reasoning, Role, Source, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;

#[test]
fn every_golden_request_says_what_it_means() {
    for (body, expected) in goldens() {
        assert_eq!(read(&body), Ok(expected));
    }
}

fn minimal() -> Value {
    json!({"model": "site", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]})
}

fn patched(patch: Value) -> Map<String, Value> {
    let mut body = object(minimal());
    body.extend(object(patch));
    body
}

/// A request with one user message of these blocks.
fn blocks(blocks: Value) -> Value {
    json!({"messages": [{"role": "user", "content": blocks}]})
}

#[test]
fn what_is_wrong_is_named_by_its_path() {
    use Code::{InvalidParameter as Wrong, MissingParameter as Missing};
    let assistant = |block: Value| json!({"messages": [{"role": "assistant", "content": [block]}]});
    let result = |content: Value| {
        blocks(json!([{"type": "tool_result", "tool_use_id": "t", "content": content}]))
    };
    let tool = |tool: Value| json!({"tools": [tool]});
    let config = |config: Value| json!({"output_config": config});
    let cases = [
        (json!({"max_tokens": null}), Missing, "max_tokens"),
        (json!({"max_tokens": 0}), Wrong, "max_tokens"),
        (json!({"max_tokens": "9"}), Wrong, "max_tokens"),
        (json!({"messages": null}), Missing, "messages"),
        (json!({"messages": []}), Wrong, "messages"),
        (json!({"messages": {}}), Wrong, "messages"),
        (json!({"messages": ["hi"]}), Wrong, "messages[0]"),
        (
            json!({"messages": [{"content": "hi"}]}),
            Missing,
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "tool", "content": "hi"}]}),
            Wrong,
            "messages[0].role",
        ),
        (
            json!({"messages": [{"role": "user"}]}),
            Missing,
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "user", "content": 5}]}),
            Wrong,
            "messages[0].content",
        ),
        (blocks(json!(["hi"])), Wrong, "messages[0].content[0]"),
        (
            blocks(json!([{"text": "hi"}])),
            Missing,
            "messages[0].content[0].type",
        ),
        (
            blocks(json!([{"type": "text"}])),
            Missing,
            "messages[0].content[0].text",
        ),
        (
            blocks(json!([{"type": "text", "text": 5}])),
            Wrong,
            "messages[0].content[0].text",
        ),
        (
            blocks(json!([{"type": "text", "text": "a", "cache_control": {"type": "eternal"}}])),
            Wrong,
            "messages[0].content[0].cache_control.type",
        ),
        (
            blocks(
                json!([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "2h"}}]),
            ),
            Wrong,
            "messages[0].content[0].cache_control.ttl",
        ),
        (
            blocks(json!([{"type": "image"}])),
            Missing,
            "messages[0].content[0].source",
        ),
        (
            blocks(json!([{"type": "image", "source": {"type": "disk"}}])),
            Wrong,
            "messages[0].content[0].source.type",
        ),
        (
            blocks(json!([{"type": "image", "source": {"type": "base64", "data": "x"}}])),
            Missing,
            "messages[0].content[0].source.media_type",
        ),
        (
            blocks(json!([{"type": "image", "source": {"type": "url", "url": ""}}])),
            Wrong,
            "messages[0].content[0].source.url",
        ),
        (
            blocks(json!([{"type": "document", "source": {"type": "text"}}])),
            Missing,
            "messages[0].content[0].source.data",
        ),
        (
            blocks(json!([{"type": "tool_use", "id": "t", "name": "f", "input": {}}])),
            Wrong,
            "messages[0].content[0].type",
        ),
        (
            blocks(json!([{"type": "thinking", "thinking": "hm", "signature": "s"}])),
            Wrong,
            "messages[0].content[0].type",
        ),
        (
            assistant(json!({"type": "tool_result", "tool_use_id": "t"})),
            Wrong,
            "messages[0].content[0].type",
        ),
        (
            assistant(json!({"type": "tool_use", "name": "f", "input": {}})),
            Missing,
            "messages[0].content[0].id",
        ),
        (
            assistant(json!({"type": "tool_use", "id": "t", "input": {}})),
            Missing,
            "messages[0].content[0].name",
        ),
        (
            assistant(json!({"type": "tool_use", "id": "t", "name": "f", "input": [1]})),
            Wrong,
            "messages[0].content[0].input",
        ),
        (
            assistant(json!({"type": "redacted_thinking"})),
            Missing,
            "messages[0].content[0].data",
        ),
        (
            blocks(json!([{"type": "tool_result"}])),
            Missing,
            "messages[0].content[0].tool_use_id",
        ),
        (result(json!(5)), Wrong, "messages[0].content[0].content"),
        (
            result(json!([{"type": "text"}])),
            Missing,
            "messages[0].content[0].content[0].text",
        ),
        (
            result(json!([{"type": "tool_result", "tool_use_id": "u"}])),
            Wrong,
            "messages[0].content[0].content[0].type",
        ),
        (json!({"system": 5}), Wrong, "system"),
        (
            json!({"system": [{"type": "image", "source": {"type": "url", "url": "https://a"}}]}),
            Wrong,
            "system[0].type",
        ),
        (json!({"temperature": 1.5}), Wrong, "temperature"),
        (json!({"temperature": "hot"}), Wrong, "temperature"),
        (json!({"top_p": -0.1}), Wrong, "top_p"),
        (json!({"top_k": -1}), Wrong, "top_k"),
        (json!({"stop_sequences": "END"}), Wrong, "stop_sequences"),
        (
            json!({"stop_sequences": ["END", ""]}),
            Wrong,
            "stop_sequences[1]",
        ),
        (json!({"stream": "yes"}), Wrong, "stream"),
        (json!({"metadata": 5}), Wrong, "metadata"),
        (
            json!({"metadata": {"user_id": 5}}),
            Wrong,
            "metadata.user_id",
        ),
        (json!({"tools": {}}), Wrong, "tools"),
        (
            tool(json!({"input_schema": {"type": "object"}})),
            Missing,
            "tools[0].name",
        ),
        (tool(json!({"name": "f"})), Missing, "tools[0].input_schema"),
        (
            tool(json!({"name": "f", "input_schema": "any"})),
            Wrong,
            "tools[0].input_schema",
        ),
        (json!({"tool_choice": "auto"}), Wrong, "tool_choice"),
        (
            json!({"tool_choice": {"type": "some"}}),
            Wrong,
            "tool_choice.type",
        ),
        (
            json!({"tool_choice": {"type": "tool"}}),
            Missing,
            "tool_choice.name",
        ),
        (
            json!({"thinking": {"type": "enabled"}}),
            Missing,
            "thinking.budget_tokens",
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 1023}}),
            Wrong,
            "thinking.budget_tokens",
        ),
        (
            json!({"thinking": {"type": "adaptive", "display": "loud"}}),
            Wrong,
            "thinking.display",
        ),
        (json!({"thinking": {}}), Missing, "thinking.type"),
        (
            config(json!({"effort": "huge"})),
            Wrong,
            "output_config.effort",
        ),
        (
            config(json!({"format": {"type": "xml"}})),
            Wrong,
            "output_config.format.type",
        ),
        (
            config(json!({"format": {"type": "json_schema"}})),
            Missing,
            "output_config.format.schema",
        ),
    ];
    for (patch, code, param) in cases {
        let refusal = read(&patched(patch.clone())).unwrap_err();
        assert_eq!(
            (refusal.code, refusal.param.as_deref()),
            (code, Some(param)),
            "{patch}"
        );
    }
}

#[test]
fn what_has_no_place_is_told_by_feature_and_path() {
    let block = |block: Value| blocks(json!([{"type": "text", "text": "a"}, block]));
    let said = |block: Value| json!({"messages": [{"role": "assistant", "content": [block]}]});
    let source = |kind: &str, source: Value| block(json!({"type": kind, "source": source}));
    let tool = |more: Value| {
        let mut tool = object(json!({"name": "f", "input_schema": {"type": "object"}}));
        tool.extend(object(more));
        json!({"tools": [tool]})
    };
    let (one, zero) = ("messages[0].content[1]", "messages[0].content[0]");
    let pdf = json!({"type": "base64", "media_type": "application/pdf", "data": "AA=="});
    let document = |more: Value| {
        let mut fields = object(json!({"type": "document", "source": pdf}));
        fields.extend(object(more));
        block(Value::Object(fields))
    };
    let cases = [
        (
            json!({"service_tier": "auto"}),
            Feature::Hint,
            "service_tier".to_owned(),
        ),
        (
            json!({"service_tier": "priority"}),
            Feature::Other,
            "service_tier".into(),
        ),
        (json!({"speed": "fast"}), Feature::Other, "speed".into()),
        (
            json!({"cache_control": {"type": "ephemeral"}}),
            Feature::Hint,
            "cache_control".into(),
        ),
        (
            json!({"container": "c"}),
            Feature::Reference,
            "container".into(),
        ),
        (
            json!({"mcp_servers": [{"url": "https://a"}]}),
            Feature::ServerTool,
            "mcp_servers".into(),
        ),
        (
            json!({"inference_geo": "eu"}),
            Feature::Other,
            "inference_geo".into(),
        ),
        (
            json!({"of_next_year": 1}),
            Feature::Other,
            "of_next_year".into(),
        ),
        (
            json!({"metadata": {"trace": "x"}}),
            Feature::Hint,
            "metadata.trace".into(),
        ),
        (
            json!({"output_config": {"task_budget": {"total": 9}}}),
            Feature::Other,
            "output_config.task_budget".into(),
        ),
        (
            json!({"thinking": {"type": "between_tools"}}),
            Feature::Reasoning,
            "thinking.type".into(),
        ),
        (
            json!({"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}),
            Feature::Reasoning,
            "output_config.effort".into(),
        ),
        (
            json!({"messages": [{"role": "user", "content": "hi", "name": "Eve"}]}),
            Feature::Other,
            "messages[0].name".into(),
        ),
        (
            source("image", json!({"type": "file", "file_id": "f"})),
            Feature::Reference,
            format!("{one}.source"),
        ),
        (
            source("document", json!({"type": "file", "file_id": "f"})),
            Feature::Reference,
            format!("{one}.source"),
        ),
        (
            source(
                "document",
                json!({"type": "content", "content": [{"type": "text", "text": "a"}]}),
            ),
            Feature::File,
            format!("{one}.source"),
        ),
        (
            document(json!({"citations": {"enabled": true}})),
            Feature::Other,
            format!("{one}.citations"),
        ),
        (
            document(json!({"context": "from the archive"})),
            Feature::Other,
            format!("{one}.context"),
        ),
        (
            block(json!({"type": "search_result", "source": "s", "title": "t", "content": []})),
            Feature::Other,
            one.into(),
        ),
        (
            block(json!({"type": "container_upload", "file_id": "f"})),
            Feature::Reference,
            one.into(),
        ),
        (
            block(json!({"type": "of_next_year"})),
            Feature::Other,
            one.into(),
        ),
        (
            said(json!({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}})),
            Feature::ServerTool,
            zero.into(),
        ),
        (
            said(json!({"type": "web_search_tool_result", "tool_use_id": "s", "content": []})),
            Feature::ServerTool,
            zero.into(),
        ),
        (
            said(json!({"type": "text", "text": "a", "citations": [{"type": "char_location"}]})),
            Feature::Hint,
            format!("{zero}.citations"),
        ),
        (
            said(
                json!({"type": "tool_use", "id": "t", "name": "f", "input": {}, "cache_control": {"type": "ephemeral"}}),
            ),
            Feature::Hint,
            format!("{zero}.cache_control"),
        ),
        (
            said(
                json!({"type": "tool_use", "id": "t", "name": "f", "input": {}, "caller": {"type": "code_execution_20260120"}}),
            ),
            Feature::ServerTool,
            format!("{zero}.caller"),
        ),
        (
            json!({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
            Feature::ServerTool,
            "tools[0]".into(),
        ),
        (
            json!({"tools": [{"type": "bash_20250124", "name": "bash"}]}),
            Feature::Other,
            "tools[0]".into(),
        ),
        (
            tool(json!({"defer_loading": true})),
            Feature::Other,
            "tools[0].defer_loading".into(),
        ),
        (
            tool(json!({"eager_input_streaming": true})),
            Feature::Hint,
            "tools[0].eager_input_streaming".into(),
        ),
        (
            tool(json!({"allowed_callers": ["code_execution_20260120"]})),
            Feature::ServerTool,
            "tools[0].allowed_callers".into(),
        ),
    ];
    for (patch, feature, param) in cases {
        let conversation = read(&patched(patch.clone())).unwrap();
        assert_eq!(
            conversation.unplaced,
            [Unplaced { feature, param }],
            "{patch}"
        );
        // And so it is lost on the way to any provider.
        assert!(
            write(&conversation)
                .lost
                .starts_with(&conversation.unplaced)
        );
    }
}

#[test]
fn defaults_and_what_is_empty_say_nothing() {
    let plain = read(&object(minimal())).unwrap();
    for patch in [
        json!({"temperature": null, "top_p": null, "top_k": null, "stop_sequences": null, "stream": false}),
        json!({"stop_sequences": [], "tools": [], "system": null, "metadata": {}, "metadata": {"user_id": null}}),
        json!({"tool_choice": null, "thinking": null, "output_config": {}, "output_format": null}),
        json!({"speed": "standard", "container": null, "mcp_servers": [], "of_next_year": null}),
        json!({"output_config": {"effort": null, "format": null}}),
        blocks(json!([{"type": "text", "text": "hi", "cache_control": null, "citations": []}])),
    ] {
        assert_eq!(read(&patched(patch.clone())).unwrap(), plain, "{patch}");
    }
}

#[test]
fn a_system_message_in_front_is_part_of_the_system_prompt() {
    let body = patched(json!({"system": "a", "messages": [
        {"role": "system", "content": "b"}, {"role": "user", "content": "hi"}, {"role": "system", "content": "c"},
    ]}));
    let conversation = read(&body).unwrap();
    assert_eq!(conversation.system, [Part::text("a"), Part::text("b")]);
    assert_eq!(
        conversation.turns,
        [user("hi"), turn(Role::System, vec![Part::text("c")])]
    );
}

#[test]
fn plain_text_documents_are_files_and_come_back_as_text() {
    let body = patched(blocks(json!([
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}},
        {"type": "document", "source": {"type": "content", "content": "chunk"}},
    ])));
    let conversation = read(&body).unwrap();
    let Part::File {
        source: Source::Base64 { media_type, data },
        ..
    } = &conversation.turns[0].parts[0]
    else {
        panic!("no file")
    };
    assert_eq!(
        (media_type.as_str(), data.as_str()),
        ("text/plain", "R3LDvMOfZQ==")
    );
    let written = write(&conversation);
    assert_eq!(written.lost, []);
    assert_eq!(
        written.body["messages"][0]["content"][0]["source"],
        json!({"type": "text", "media_type": "text/plain", "data": "Grüße"})
    );
}

#[test]
fn thinking_and_effort_are_read() {
    let cases = [
        (
            json!({"output_config": {"effort": "medium"}}),
            Some(Effort::Medium),
            None,
            false,
            false,
        ),
        (
            json!({"output_config": {"effort": "xhigh"}}),
            Some(Effort::Max),
            None,
            false,
            false,
        ),
        (
            json!({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
            Some(Effort::Low),
            None,
            true,
            true,
        ),
        (
            json!({"thinking": {"type": "adaptive", "display": "omitted"}}),
            None,
            None,
            true,
            false,
        ),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 5000}}),
            None,
            Some(5000),
            false,
            true,
        ),
        (
            json!({"thinking": {"type": "disabled"}}),
            Some(Effort::None),
            None,
            false,
            false,
        ),
    ];
    for (patch, effort, budget_tokens, adaptive, show) in cases {
        let expected = Reasoning {
            effort,
            budget_tokens,
            adaptive,
            show,
        };
        assert_eq!(
            read(&patched(patch.clone())).unwrap().reasoning,
            Some(expected),
            "{patch}"
        );
    }
}

#[test]
fn the_place_of_a_schema_while_it_was_a_beta_is_still_read() {
    let format = json!({"type": "json_schema", "schema": {"type": "object"}});
    let old = read(&patched(json!({"output_format": format}))).unwrap();
    let new = read(&patched(json!({"output_config": {"format": format}}))).unwrap();
    assert_eq!(old, new);
    assert_ne!(old.format, Format::Text);
}
