use serde_json::{Map, Value, json};

use super::{read, write};
use crate::base::errors::Code;
use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Source, Thought,
    Tool, ToolCall, ToolChoice, Turn, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;

macro_rules! golden {
    ($name:literal) => {
        read(&object(
            serde_json::from_str(include_str!(concat!(
                "../../../../../../tests/golden/responses/",
                $name,
                ".request.json"
            )))
            .unwrap(),
        ))
        .unwrap()
    };
}

fn object(value: Value) -> Map<String, Value> {
    let Value::Object(map) = value else {
        panic!("{value}")
    };
    map
}

/// A conversation that says nothing but these turns.
fn conversation(turns: Vec<Turn>) -> Conversation {
    Conversation {
        origin: Protocol::Responses,
        system: Vec::new(),
        turns,
        tools: Vec::new(),
        tool_choice: ToolChoice::Unset,
        parallel_tools: None,
        format: Format::Text,
        sampling: Sampling::default(),
        reasoning: None,
        user: None,
        stream: false,
        unplaced: Vec::new(),
    }
}

fn user(parts: Vec<Part>) -> Turn {
    Turn {
        role: Role::User,
        parts,
    }
}

fn assistant(parts: Vec<Part>) -> Turn {
    Turn {
        role: Role::Assistant,
        parts,
    }
}

fn asks(text: &str) -> Turn {
    user(vec![Part::text(text)])
}

fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: "get_weather".into(),
        arguments: arguments.into(),
    })
}

fn result(id: &str, text: &str) -> Part {
    Part::ToolResult {
        id: id.into(),
        content: vec![Part::text(text)],
        is_error: false,
        cache: None,
    }
}

fn weather() -> Tool {
    Tool {
        name: "get_weather".into(),
        description: Some("The weather in a city.".into()),
        parameters: Some(json!({
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": false,
        })),
        strict: Some(true),
        cache: None,
    }
}

fn unplaced(feature: Feature, param: &str) -> Unplaced {
    Unplaced {
        feature,
        param: param.into(),
    }
}

const QUESTION: &str = "What is the weather in Paris and in Rome?";

// === reading ===

#[test]
fn golden_texts_and_turns_are_read() {
    assert_eq!(golden!("text"), conversation(vec![asks("Say hello.")]));
    assert_eq!(
        golden!("system"),
        Conversation {
            system: vec![Part::text("Be brief.")],
            ..conversation(vec![asks("Say hello.")])
        }
    );
    assert_eq!(
        golden!("turns"),
        conversation(vec![
            asks("Say hello."),
            assistant(vec![Part::text("Hello there!")]),
            asks("Again."),
        ])
    );
    assert_eq!(
        golden!("stop_sequence"),
        conversation(vec![asks("Count to ten.")])
    );
    assert_eq!(
        golden!("stop_filter"),
        conversation(vec![asks("Recite the lyrics.")])
    );
    let cut = golden!("stop_length");
    assert_eq!(cut.sampling.max_output, Some(16));
}

#[test]
fn golden_pictures_and_files_are_read_from_addresses_and_from_bytes() {
    let read = golden!("images");
    let [
        Part::Text { .. },
        Part::Image {
            source: web,
            detail: low,
            ..
        },
        Part::Image {
            source: inline,
            detail,
            ..
        },
    ] = read.turns[0].parts.as_slice()
    else {
        panic!("{read:?}")
    };
    assert_eq!(*web, Source::Url("https://example.com/cat.jpg".into()));
    assert_eq!((low.as_deref(), detail), (Some("low"), &None));
    assert!(
        matches!(inline, Source::Base64 { media_type, data } if media_type == "image/png" && data.starts_with("iVBOR"))
    );

    let read = golden!("file");
    assert!(matches!(
        &read.turns[0].parts[0],
        Part::File { source: Source::Base64 { media_type, data }, name: Some(name), .. }
            if media_type == "application/pdf" && name == "report.pdf" && data.starts_with("JVBERi0")
    ));
}

#[test]
fn golden_tools_calls_and_results_are_read() {
    assert_eq!(
        golden!("tools"),
        Conversation {
            tools: vec![weather()],
            tool_choice: ToolChoice::Auto,
            parallel_tools: Some(true),
            ..conversation(vec![asks(QUESTION)])
        }
    );
    assert_eq!(
        golden!("tool_results"),
        Conversation {
            tools: vec![weather()],
            ..conversation(vec![
                asks(QUESTION),
                assistant(vec![
                    call("call_Pq8aParis01", "{\"city\":\"Paris\"}"),
                    call("call_Rm3bRome02", "{\"city\":\"Rome\"}"),
                ]),
                user(vec![
                    result("call_Pq8aParis01", "18 degrees, sunny"),
                    result("call_Rm3bRome02", "The station does not answer."),
                ]),
            ])
        }
    );
}

#[test]
fn golden_schema_reasoning_cache_and_labels_are_read() {
    let schema = json!({
        "type": "object",
        "properties": {"city": {"type": "string"}, "degrees": {"type": "number"}},
        "required": ["city", "degrees"],
        "additionalProperties": false,
    });
    assert_eq!(
        golden!("schema").format,
        Format::Schema {
            name: "weather".into(),
            description: None,
            schema,
            strict: Some(true),
        }
    );
    let read = golden!("reasoning");
    assert_eq!(
        read.reasoning,
        Some(Reasoning {
            effort: Some(Effort::Medium),
            show: true,
            ..Reasoning::default()
        })
    );
    assert_eq!(read.unplaced, [unplaced(Feature::Hint, "store")]);

    let read = golden!("cache");
    let marked = Part::Text {
        text: "You know the whole handbook.".into(),
        cache: Some(CacheMark::FiveMinutes),
    };
    assert_eq!(read.system, [marked]);
    assert_eq!(read.unplaced, [unplaced(Feature::Hint, "prompt_cache_key")]);

    let read = golden!("usage");
    assert_eq!(read.user.as_deref(), Some("visitor-7"));
    assert_eq!(read.unplaced, [unplaced(Feature::Hint, "metadata")]);
}

fn read_input(input: &Value) -> Conversation {
    read(&object(json!({"input": input}))).unwrap()
}

#[test]
fn instructions_in_front_are_the_system_and_later_ones_are_turns() {
    let read = read(&object(json!({
        "instructions": "a",
        "input": [
            {"role": "developer", "content": "b"},
            {"role": "system", "content": [{"type": "input_text", "text": "c"}]},
            {"role": "user", "content": "d"},
            {"role": "developer", "content": "e"},
        ],
    })))
    .unwrap();
    assert_eq!(
        read.system,
        [Part::text("a"), Part::text("b"), Part::text("c")]
    );
    assert_eq!(read.turns[1].role, Role::System);
    assert_eq!(read.turns.len(), 2);
}

#[test]
fn what_the_model_gave_in_a_row_is_one_turn_and_a_second_message_another() {
    let read = read_input(&json!([
        {"role": "user", "content": "a"},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "b"}], "encrypted_content": "gAAAA"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "c", "annotations": []}, {"type": "refusal", "refusal": "d"}]},
        {"type": "function_call", "call_id": "1", "name": "get_weather", "arguments": ""},
        {"role": "assistant", "content": "e"},
        {"role": "assistant", "content": "f"},
        {"type": "function_call_output", "call_id": "1", "output": ""},
        {"role": "user", "content": "g"},
    ]));
    let thought = Part::Reasoning(Thought {
        text: "b".into(),
        signature: None,
        sealed: Some("gAAAA".into()),
        id: Some("rs_1".into()),
    });
    let empty = Part::ToolResult {
        id: "1".into(),
        content: vec![],
        is_error: false,
        cache: None,
    };
    assert_eq!(
        read.turns,
        [
            asks("a"),
            assistant(vec![
                thought,
                Part::text("c"),
                Part::Refusal("d".into()),
                call("1", ""),
                Part::text("e"),
            ]),
            assistant(vec![Part::text("f")]),
            user(vec![empty]),
            asks("g"),
        ]
    );
}

#[test]
fn a_signature_that_we_put_into_encrypted_content_is_a_signature_again() {
    let read = read_input(&json!([
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "a"}], "encrypted_content": "signature:EqQB"},
    ]));
    let Part::Reasoning(thought) = &read.turns[0].parts[0] else {
        panic!()
    };
    assert_eq!(
        (thought.signature.as_deref(), &thought.sealed),
        (Some("EqQB"), &None)
    );
}

#[test]
fn bare_base64_and_addresses_of_files_are_read() {
    let read = read_input(&json!([{"role": "user", "content": [
        {"type": "input_file", "file_data": "YQ==", "filename": "a.txt"},
        {"type": "input_file", "file_data": "YQ=="},
        {"type": "input_file", "file_url": "https://example.com/a.pdf", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
    ]}]));
    let base64 = |media_type: &str| Source::Base64 {
        media_type: media_type.into(),
        data: "YQ==".into(),
    };
    let file = |source: Source, name: Option<&str>, cache| Part::File {
        source,
        name: name.map(str::to_owned),
        cache,
    };
    assert_eq!(
        read.turns[0].parts,
        [
            file(base64("text/plain"), Some("a.txt"), None),
            file(base64("application/pdf"), None, None),
            file(
                Source::Url("https://example.com/a.pdf".into()),
                None,
                Some(CacheMark::OneHour)
            ),
        ]
    );
}

#[test]
fn allowed_tools_take_the_others_away() {
    let tools = json!([{"type": "function", "name": "a"}, {"type": "function", "name": "b"}]);
    let body = |mode: &str| {
        object(json!({"input": "x", "tools": tools, "tool_choice": {
            "type": "allowed_tools", "mode": mode, "tools": [{"type": "function", "name": "b"}],
        }}))
    };
    for (mode, choice) in [
        ("auto", ToolChoice::Auto),
        ("required", ToolChoice::Required),
    ] {
        let read = read(&body(mode)).unwrap();
        assert_eq!(read.tool_choice, choice);
        assert_eq!(read.tools.len(), 1);
        assert_eq!(read.tools[0].name, "b");
    }
}

#[test]
fn efforts_and_summaries_are_read() {
    for (reasoning, effort, show) in [
        (json!({"effort": "none"}), Some(Effort::None), false),
        (json!({"effort": "minimal"}), Some(Effort::Minimal), false),
        (json!({"effort": "low"}), Some(Effort::Low), false),
        (
            json!({"effort": "high", "summary": null}),
            Some(Effort::High),
            false,
        ),
        (json!({"effort": "xhigh"}), Some(Effort::Max), false),
        (
            json!({"effort": "max", "summary": "detailed"}),
            Some(Effort::Max),
            true,
        ),
        (json!({"generate_summary": "concise"}), None, true),
    ] {
        let read = read(&object(json!({"input": "x", "reasoning": reasoning}))).unwrap();
        let read = read.reasoning.unwrap();
        assert_eq!((read.effort, read.show), (effort, show), "{reasoning}");
    }
}

#[test]
fn null_defaults_and_what_is_empty_say_nothing() {
    let read = read(&object(json!({
        "input": "Say hello.", "instructions": "", "tools": [], "tool_choice": null, "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "reasoning": {"effort": null, "summary": null}, "metadata": {}, "store": null, "background": true, "truncation": "disabled",
        "top_logprobs": 0, "include": [], "previous_response_id": null, "conversation": null, "prompt": null, "stream": false,
        "temperature": null, "max_output_tokens": null, "parallel_tool_calls": null, "user": null, "future": null, "more_future": [],
    })))
    .unwrap();
    assert_eq!(read, conversation(vec![asks("Say hello.")]));
}

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

// === writing ===

#[test]
fn a_rich_conversation_of_another_dialect_is_written() {
    let cached = |text: &str| Part::Text {
        text: text.into(),
        cache: Some(CacheMark::OneHour),
    };
    let thought = |text: &str, signature: Option<&str>, sealed: Option<&str>| {
        Part::Reasoning(Thought {
            text: text.into(),
            signature: signature.map(str::to_owned),
            sealed: sealed.map(str::to_owned),
            id: None,
        })
    };
    let conversation = Conversation {
        origin: Protocol::Messages,
        system: vec![cached("Be brief.")],
        tools: vec![Tool {
            strict: None,
            parameters: None,
            ..weather()
        }],
        tool_choice: ToolChoice::Named("get_weather".into()),
        parallel_tools: Some(false),
        format: Format::JsonObject,
        sampling: Sampling {
            max_output: Some(1),
            temperature: Some(0.5),
            top_p: Some(0.9),
            top_k: Some(5),
            stop: vec!["x".into()],
            seed: Some(7),
            presence_penalty: Some(0.0),
            frequency_penalty: Some(1.0),
        },
        reasoning: Some(Reasoning {
            budget_tokens: Some(10_000),
            show: true,
            ..Reasoning::default()
        }),
        user: Some("u".into()),
        unplaced: vec![unplaced(Feature::Other, "mcp_servers")],
        ..conversation(vec![
            user(vec![
                Part::text("a"),
                Part::Image {
                    source: Source::Base64 {
                        media_type: "image/png".into(),
                        data: "YQ==".into(),
                    },
                    detail: None,
                    cache: None,
                },
                Part::File {
                    source: Source::Base64 {
                        media_type: "application/pdf".into(),
                        data: "Yg==".into(),
                    },
                    name: None,
                    cache: None,
                },
            ]),
            assistant(vec![
                thought("signed", Some("sig"), None),
                thought("", None, Some("redacted")),
                thought("c", None, Some("gAAAAABc")),
                Part::text("d"),
                Part::Refusal("e".into()),
                call("toolu_1", ""),
            ]),
            user(vec![
                Part::ToolResult {
                    id: "toolu_1".into(),
                    content: vec![Part::text("f")],
                    is_error: true,
                    cache: None,
                },
                Part::ToolResult {
                    id: "toolu_2".into(),
                    content: vec![
                        Part::text("g"),
                        Part::Image {
                            source: Source::Url("https://example.com/h.png".into()),
                            detail: Some("low".into()),
                            cache: None,
                        },
                    ],
                    is_error: false,
                    cache: None,
                },
                Part::text("i"),
            ]),
            Turn {
                role: Role::System,
                parts: vec![Part::text("j")],
            },
        ])
    };
    let written = write(&conversation);
    let expected = json!({
        "store": false,
        "instructions": "Be brief.",
        "input": [
            {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "data:image/png;base64,YQ==", "detail": "auto"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,Yg==", "filename": "file.pdf"},
            ]},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "c"}], "encrypted_content": "gAAAAABc"},
            {"type": "message", "role": "assistant", "content": [
                {"type": "output_text", "text": "d"},
                {"type": "refusal", "refusal": "e"},
            ]},
            {"type": "function_call", "call_id": "toolu_1", "name": "get_weather", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "toolu_1", "output": "f"},
            {"type": "function_call_output", "call_id": "toolu_2", "output": [
                {"type": "input_text", "text": "g"},
                {"type": "input_image", "image_url": "https://example.com/h.png", "detail": "low"},
            ]},
            {"type": "message", "role": "user", "content": "i"},
            {"type": "message", "role": "system", "content": "j"},
        ],
        "tools": [{
            "type": "function", "name": "get_weather", "description": "The weather in a city.", "parameters": null, "strict": false,
        }],
        "tool_choice": {"type": "function", "name": "get_weather"},
        "parallel_tool_calls": false,
        "text": {"format": {"type": "json_object"}},
        "max_output_tokens": 16,
        "temperature": 0.5,
        "top_p": 0.9,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "include": ["reasoning.encrypted_content"],
        "user": "u",
    });
    assert_eq!(Value::Object(written.body), expected);
    assert_eq!(
        written.lost,
        [
            unplaced(Feature::Other, "mcp_servers"),
            unplaced(Feature::Hint, "cache_control"),
            unplaced(Feature::Hint, "messages[].content[].thinking"),
            unplaced(Feature::Hint, "messages[].content[].is_error"),
            unplaced(Feature::TopK, "top_k"),
            unplaced(Feature::Stop, "stop_sequences"),
            unplaced(Feature::Seed, "seed"),
            unplaced(Feature::Penalties, "frequency_penalty"),
        ]
    );
}

fn from_chat(turns: Vec<Turn>) -> Conversation {
    Conversation {
        origin: Protocol::Chat,
        ..conversation(turns)
    }
}

#[test]
fn pictures_and_files_of_the_model_are_lost() {
    let source = Source::Url("https://example.com/a.png".into());
    let written = write(&from_chat(vec![assistant(vec![
        Part::Image {
            source: source.clone(),
            detail: None,
            cache: None,
        },
        Part::File {
            source,
            name: None,
            cache: None,
        },
    ])]));
    assert_eq!(written.body["input"], json!([]));
    assert_eq!(
        written.lost,
        [
            unplaced(Feature::Image, "messages"),
            unplaced(Feature::File, "messages")
        ]
    );
}

#[test]
fn a_choice_without_tools_is_left_out_and_missed_only_where_a_tool_must_be_called() {
    for (choice, lost) in [
        (ToolChoice::Auto, vec![]),
        (ToolChoice::None, vec![]),
        (
            ToolChoice::Required,
            vec![unplaced(Feature::Other, "tool_choice")],
        ),
    ] {
        let written = write(&Conversation {
            tool_choice: choice,
            parallel_tools: Some(true),
            ..from_chat(vec![asks("a")])
        });
        assert_eq!(written.lost, lost);
        assert_eq!(
            Value::Object(written.body),
            json!({"store": false, "input": [{"type": "message", "role": "user", "content": "a"}]})
        );
    }
}

#[test]
fn effort_follows_from_a_budget_and_thinking_is_sealed_only_where_there_is_any() {
    let reasoning = |effort, budget_tokens, adaptive, show| Reasoning {
        effort,
        budget_tokens,
        adaptive,
        show,
    };
    let table = [
        (
            reasoning(None, Some(1024), false, false),
            json!({"effort": "low"}),
            true,
        ),
        (
            reasoning(None, Some(8191), false, false),
            json!({"effort": "low"}),
            true,
        ),
        (
            reasoning(None, Some(8192), false, false),
            json!({"effort": "medium"}),
            true,
        ),
        (
            reasoning(None, Some(16_384), false, false),
            json!({"effort": "high"}),
            true,
        ),
        (
            reasoning(None, Some(0), false, false),
            json!({"effort": "none"}),
            false,
        ),
        (
            reasoning(Some(Effort::Minimal), None, false, false),
            json!({"effort": "minimal"}),
            true,
        ),
        (
            reasoning(Some(Effort::Max), Some(1), false, false),
            json!({"effort": "xhigh"}),
            true,
        ),
        (
            reasoning(Some(Effort::None), None, false, false),
            json!({"effort": "none"}),
            false,
        ),
        (
            reasoning(None, None, true, true),
            json!({"summary": "auto"}),
            true,
        ),
        (reasoning(None, None, true, false), Value::Null, false),
    ];
    for (reasoning, expected, sealed) in table {
        let written = write(&Conversation {
            reasoning: Some(reasoning.clone()),
            ..from_chat(vec![asks("a")])
        });
        let body = Value::Object(written.body);
        assert_eq!(body["reasoning"], expected, "{reasoning:?}");
        assert_eq!(body.get("include").is_some(), sealed, "{reasoning:?}");
    }
}

#[test]
fn what_openai_refuses_for_its_length_is_shortened_or_left_out() {
    let long = "x".repeat(65);
    let written = write(&Conversation {
        user: Some(long.clone()),
        ..from_chat(vec![
            assistant(vec![call(&long, "{}")]),
            user(vec![result(&long, "a")]),
        ])
    });
    let input = &written.body["input"];
    let id = input[0]["call_id"].as_str().unwrap();
    assert_eq!((id.len(), &input[1]["call_id"]), (37, &json!(id)));
    assert_eq!(written.body.get("user"), None);
    assert_eq!(written.lost, [unplaced(Feature::Hint, "user")]);
    let other = write(&from_chat(vec![assistant(vec![call(
        &format!("{long}y"),
        "{}",
    )])]));
    assert_ne!(other.body["input"][0]["call_id"], json!(id));
    let fits = "x".repeat(64);
    let written = write(&Conversation {
        user: Some(fits.clone()),
        ..from_chat(vec![assistant(vec![call(&fits, "{}")])])
    });
    assert_eq!(written.body["input"][0]["call_id"], json!(fits));
    assert_eq!(written.body["user"], json!(fits));
}

#[test]
fn strictness_that_was_not_said_stays_as_the_callers_dialect_means_it() {
    for (origin, expected) in [
        (Protocol::Chat, Some(&json!(false))),
        (Protocol::Messages, Some(&json!(false))),
        (Protocol::Responses, None),
    ] {
        let written = write(&Conversation {
            origin,
            tools: vec![Tool {
                strict: None,
                ..weather()
            }],
            ..conversation(vec![asks("a")])
        });
        assert_eq!(
            written.body["tools"][0].get("strict"),
            expected,
            "{origin:?}"
        );
    }
}
