//! Requests by chance: what is written is read back the same.

use proptest::prelude::*;
use serde_json::json;

use super::tests::{conversation, turn};
use super::{read, write};
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Source, Thought,
    Tool, ToolCall, ToolChoice, Turn,
};

fn cache() -> impl Strategy<Value = Option<CacheMark>> {
    prop_oneof![
        4 => Just(None),
        1 => Just(Some(CacheMark::FiveMinutes)),
        1 => Just(Some(CacheMark::OneHour)),
    ]
}

/// A text that says something: the API refuses others.
fn words() -> impl Strategy<Value = String> {
    "[a-z]{1,3}.{0,6}[a-z]"
}

fn text() -> impl Strategy<Value = Part> {
    (words(), cache()).prop_map(|(text, cache)| Part::Text { text, cache })
}

fn source(media_type: &'static str) -> impl Strategy<Value = Source> {
    prop_oneof![
        "[a-z]{1,5}".prop_map(|name| Source::Url(format!("https://example.com/{name}"))),
        Just(Source::Base64 {
            media_type: media_type.into(),
            data: "YWJj".into()
        }),
    ]
}

fn medium() -> impl Strategy<Value = Part> {
    let file = prop_oneof![source("application/pdf"), source("text/plain")];
    prop_oneof![
        (source("image/png"), cache()).prop_map(|(source, cache)| Part::Image {
            source,
            detail: None,
            cache
        }),
        (file, proptest::option::of(words()), cache()).prop_map(|(source, name, cache)| {
            Part::File {
                source,
                name,
                cache,
            }
        }),
    ]
}

fn result() -> impl Strategy<Value = Part> {
    let content = proptest::collection::vec(prop_oneof![text(), medium()], 0..3);
    ("[a-z0-9_-]{1,6}", content, any::<bool>(), cache()).prop_map(
        |(id, content, is_error, cache)| Part::ToolResult {
            id,
            content,
            is_error,
            cache,
        },
    )
}

fn said() -> impl Strategy<Value = Part> {
    prop_oneof![
        text(),
        (words(), "[a-z]{1,6}").prop_map(|(text, signature)| Part::Reasoning(Thought {
            text,
            signature: Some(signature),
            ..Thought::default()
        })),
        words().prop_map(|sealed| Part::Reasoning(Thought {
            sealed: Some(sealed),
            ..Thought::default()
        })),
        ("[a-z0-9_-]{1,6}", "[a-z]{1,6}", words()).prop_map(|(id, name, value)| Part::ToolCall(
            ToolCall {
                id,
                name,
                arguments: json!({"value": value}).to_string(),
            }
        )),
    ]
}

/// Turns that alternate, from the user's to the user's, results in front.
fn turns() -> impl Strategy<Value = Vec<Turn>> {
    let user = || {
        let results = proptest::collection::vec(result(), 0..3);
        let others = proptest::collection::vec(prop_oneof![text(), medium()], 1..4);
        (results, others).prop_map(|(results, others)| turn(Role::User, [results, others].concat()))
    };
    let assistant =
        proptest::collection::vec(said(), 1..4).prop_map(|parts| turn(Role::Assistant, parts));
    (user(), proptest::collection::vec((assistant, user()), 0..3)).prop_map(|(first, pairs)| {
        let mut turns = vec![first];
        turns.extend(
            pairs
                .into_iter()
                .flat_map(|(assistant, user)| [assistant, user]),
        );
        turns
    })
}

fn tool() -> impl Strategy<Value = Tool> {
    let description = proptest::option::of(words());
    let strict = proptest::option::of(any::<bool>());
    ("[a-z]{1,6}", description, strict, cache()).prop_map(|(name, description, strict, cache)| {
        Tool {
            name,
            description,
            parameters: Some(json!({"type": "object", "properties": {"a": {"type": "number"}}})),
            strict,
            cache,
        }
    })
}

fn tools() -> impl Strategy<Value = (Vec<Tool>, ToolChoice, Option<bool>)> {
    let choice = prop_oneof![
        Just((ToolChoice::Unset, None)),
        Just((ToolChoice::Auto, None)),
        Just((ToolChoice::Auto, Some(false))),
        Just((ToolChoice::None, None)),
        Just((ToolChoice::Required, Some(false))),
        Just((ToolChoice::Named("f".into()), None)),
    ];
    prop_oneof![
        Just((Vec::new(), ToolChoice::Unset, None)),
        (proptest::collection::vec(tool(), 1..3), choice)
            .prop_map(|(tools, (choice, parallel))| (tools, choice, parallel)),
    ]
}

fn reasoning() -> impl Strategy<Value = Option<Reasoning>> {
    let effort = prop_oneof![
        Just(None),
        Just(Some(Effort::Low)),
        Just(Some(Effort::High)),
        Just(Some(Effort::Max))
    ];
    prop_oneof![
        Just(None),
        Just(Some(Reasoning {
            effort: Some(Effort::None),
            ..Reasoning::default()
        })),
        (1024u64..3000).prop_map(|budget| Some(Reasoning {
            budget_tokens: Some(budget),
            show: true,
            ..Reasoning::default()
        })),
        (effort, any::<bool>()).prop_map(|(effort, show)| Some(Reasoning {
            effort,
            adaptive: true,
            show,
            ..Reasoning::default()
        })),
    ]
}

fn sampling() -> impl Strategy<Value = Sampling> {
    let choice = prop_oneof![
        Just((None, None)),
        (0u8..10).prop_map(|t| (Some(f64::from(t) / 10.0), None)),
        (0u8..10).prop_map(|p| (None, Some(f64::from(p) / 10.0))),
    ];
    let stop = proptest::collection::vec(words(), 0..3);
    (4096u64..9000, choice, proptest::option::of(0u64..50), stop).prop_map(
        |(max_output, (temperature, top_p), top_k, stop)| Sampling {
            max_output: Some(max_output),
            temperature,
            top_p,
            top_k,
            stop,
            ..Sampling::default()
        },
    )
}

fn format() -> impl Strategy<Value = Format> {
    prop_oneof![
        Just(Format::Text),
        Just(Format::Schema {
            name: "output".into(),
            description: None,
            schema: json!({"type": "object", "additionalProperties": false}),
            strict: Some(true),
        }),
    ]
}

fn conversations() -> impl Strategy<Value = Conversation> {
    let system = proptest::collection::vec(text(), 0..3);
    let user = proptest::option::of(words());
    (
        system,
        turns(),
        tools(),
        reasoning(),
        sampling(),
        format(),
        user,
    )
        .prop_map(
            |(
                system,
                turns,
                (tools, tool_choice, parallel_tools),
                reasoning,
                sampling,
                format,
                user,
            )| {
                Conversation {
                    system,
                    tools,
                    tool_choice,
                    parallel_tools,
                    format,
                    sampling,
                    reasoning,
                    user,
                    ..conversation(turns)
                }
            },
        )
}

proptest! {
    #[test]
    fn what_is_not_lost_comes_back_the_same(conversation in conversations()) {
        let written = write(&conversation);
        let mut back = read(&written.body).unwrap();
        // What is told as lost is gone, and nothing else.
        let mut expected = conversation;
        for item in &written.lost {
            match item.param.as_str() {
                "thinking" => {
                    prop_assert!(expected.reasoning.is_some() && back.reasoning.is_none());
                    expected.reasoning = None;
                }
                "temperature" => expected.sampling.temperature = None,
                "top_p" => expected.sampling.top_p = None,
                "top_k" => expected.sampling.top_k = None,
                other => prop_assert!(false, "{other} was lost"),
            }
        }
        back.stream = expected.stream;
        prop_assert_eq!(back, expected);
    }

    #[test]
    fn roles_alternate_whatever_is_written(turns in proptest::collection::vec(
        (prop_oneof![Just(Role::User), Just(Role::Assistant), Just(Role::System)],
            proptest::collection::vec(prop_oneof![Just(Part::text(" ")), text()], 0..3)), 0..8))
    {
        let turns = turns.into_iter().map(|(role, parts)| turn(role, parts)).collect();
        let body = write(&conversation(turns)).body;
        let roles: Vec<&str> = body["messages"].as_array().unwrap().iter()
            .map(|message| message["role"].as_str().unwrap()).collect();
        prop_assert_eq!(roles[0], "user");
        prop_assert!(roles.windows(2).all(|pair| pair[0] != pair[1]));
        prop_assert!(read(&body).is_ok());
    }
}
