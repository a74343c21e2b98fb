//! What is written, and what is lost with it.

use super::super::write;
use super::{asks, assistant, call, conversation, result, unplaced, user, weather};
use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Source, Thought,
    Tool, ToolChoice, Turn,
};
use crate::domain::llm::normal::feature::Feature;
use serde_json::{Value, json};

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
            unplaced(Feature::Hint, "system[].cache_control"),
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
            unplaced(Feature::Image, "messages[].content[]"),
            unplaced(Feature::File, "messages[].content[]")
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
