//! What is read.

use super::super::read;
use super::{
    QUESTION, asks, assistant, call, conversation, object, result, unplaced, user, weather,
};
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Effort, Format, Part, Reasoning, Role, Source, Thought, ToolChoice,
};
use crate::domain::llm::normal::feature::Feature;
use serde_json::{Value, json};

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
