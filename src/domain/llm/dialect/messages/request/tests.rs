//! What the golden requests mean, and what the tests of both directions share.

mod reading;
mod writing;

use serde_json::{Map, Value, json};

use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Format, Part, Reasoning, Role, Sampling, Source, Thought, Tool,
    ToolCall, ToolChoice, Turn,
};

macro_rules! golden {
    ($name:literal) => {
        parse(include_str!(concat!(
            "../../../../../../tests/golden/messages/",
            $name,
            ".request.json"
        )))
    };
}

pub(super) fn parse(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap()
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    let Value::Object(fields) = value else {
        panic!("no object")
    };
    fields
}

pub(in crate::domain::llm::dialect::messages::request) fn turn(
    role: Role,
    parts: Vec<Part>,
) -> Turn {
    Turn { role, parts }
}

pub(super) fn user(text: &str) -> Turn {
    turn(Role::User, vec![Part::text(text)])
}

pub(super) fn assistant(text: &str) -> Turn {
    turn(Role::Assistant, vec![Part::text(text)])
}

pub(in crate::domain::llm::dialect::messages::request) fn conversation(
    turns: Vec<Turn>,
) -> Conversation {
    Conversation {
        origin: Protocol::Messages,
        system: Vec::new(),
        turns,
        tools: Vec::new(),
        tool_choice: ToolChoice::Unset,
        parallel_tools: None,
        format: Format::Text,
        sampling: Sampling {
            max_output: Some(1024),
            ..Sampling::default()
        },
        reasoning: None,
        user: None,
        stream: false,
        unplaced: Vec::new(),
    }
}

pub(super) fn from_chat(turns: Vec<Turn>) -> Conversation {
    Conversation {
        origin: Protocol::Chat,
        ..conversation(turns)
    }
}

pub(super) fn weather_tool(cache: Option<CacheMark>) -> Tool {
    Tool {
        name: "get_weather".into(),
        description: Some("The weather in a city.".into()),
        parameters: Some(
            json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
        ),
        strict: None,
        cache,
    }
}

pub(super) fn call(id: &str, city: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.into(),
        name: "get_weather".into(),
        arguments: json!({"city": city}).to_string(),
    })
}

pub(super) fn result(id: &str, text: &str, is_error: bool) -> Part {
    Part::ToolResult {
        id: id.into(),
        content: vec![Part::text(text)],
        is_error,
        cache: None,
    }
}

pub(super) const ASK: &str = "What is the weather in Paris and in Rome?";

/// What each golden request means.
pub(super) fn goldens() -> Vec<(Map<String, Value>, Conversation)> {
    let hello = || vec![user("Say hello.")];
    let base64 = |media_type: &str, data: &str| Source::Base64 {
        media_type: media_type.into(),
        data: data.into(),
    };
    let image = |source| Part::Image {
        source,
        detail: None,
        cache: None,
    };
    let with_max = |max, turns| Conversation {
        sampling: Sampling {
            max_output: Some(max),
            ..Sampling::default()
        },
        ..conversation(turns)
    };
    let signed = Thought {
        text: "Count the letters.".into(),
        signature: Some("c2lnbmF0dXJl".into()),
        ..Thought::default()
    };
    let thinking = Some(Reasoning {
        budget_tokens: Some(2048),
        show: true,
        ..Reasoning::default()
    });
    let png = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    vec![
        (
            golden!("text"),
            Conversation {
                sampling: Sampling {
                    max_output: Some(1024),
                    temperature: Some(0.5),
                    ..Sampling::default()
                },
                user: Some("visitor-1".into()),
                ..conversation(hello())
            },
        ),
        (
            golden!("system"),
            Conversation {
                system: vec![Part::text("Be brief.")],
                ..conversation(hello())
            },
        ),
        (
            golden!("turns"),
            conversation(vec![
                user("Say hello."),
                assistant("Hello there!"),
                user("Once more, please."),
            ]),
        ),
        (
            golden!("images"),
            conversation(vec![turn(
                Role::User,
                vec![
                    Part::text("What is in these pictures?"),
                    image(Source::Url("https://example.com/cat.png".into())),
                    image(base64("image/png", png)),
                ],
            )]),
        ),
        (
            golden!("file"),
            conversation(vec![turn(
                Role::User,
                vec![
                    Part::File {
                        source: base64("application/pdf", "JVBERi0xLjEKJSVFT0YK"),
                        name: Some("report.pdf".into()),
                        cache: None,
                    },
                    Part::text("Summarise the document."),
                ],
            )]),
        ),
        (
            golden!("tools"),
            Conversation {
                tools: vec![weather_tool(None)],
                tool_choice: ToolChoice::Auto,
                ..conversation(vec![user(ASK)])
            },
        ),
        (
            golden!("tool_results"),
            Conversation {
                tools: vec![weather_tool(None)],
                tool_choice: ToolChoice::Required,
                parallel_tools: Some(false),
                ..conversation(vec![
                    user(ASK),
                    turn(
                        Role::Assistant,
                        vec![call("toolu_01Paris", "Paris"), call("toolu_02Rome", "Rome")],
                    ),
                    turn(
                        Role::User,
                        vec![
                            result("toolu_01Paris", "18 degrees", false),
                            result("toolu_02Rome", "station offline", true),
                        ],
                    ),
                ])
            },
        ),
        (
            golden!("schema"),
            Conversation {
                format: Format::Schema {
                    name: "output".into(),
                    description: None,
                    schema: json!({"type": "object", "properties": {"city": {"type": "string"}, "degrees": {"type": "number"}},
                        "required": ["city", "degrees"], "additionalProperties": false}),
                    strict: Some(true),
                },
                ..conversation(vec![user("What is the weather in Paris?")])
            },
        ),
        (
            golden!("stop_length"),
            with_max(8, vec![user("Count to one hundred.")]),
        ),
        (
            golden!("stop_sequence"),
            Conversation {
                sampling: Sampling {
                    max_output: Some(1024),
                    stop: vec!["4".into(), "END".into()],
                    ..Sampling::default()
                },
                ..conversation(vec![user("Count to ten.")])
            },
        ),
        (
            golden!("stop_filter"),
            conversation(vec![user("Tell me something forbidden.")]),
        ),
        (
            golden!("reasoning"),
            Conversation {
                reasoning: thinking.clone(),
                ..with_max(4096, vec![user("How many r are in strawberry?")])
            },
        ),
        (
            golden!("reasoning_turns"),
            Conversation {
                tools: vec![weather_tool(None)],
                reasoning: thinking,
                ..with_max(
                    4096,
                    vec![
                        user(ASK),
                        turn(
                            Role::Assistant,
                            vec![
                                Part::Reasoning(Thought {
                                    text: "Ask the tool.".into(),
                                    ..signed
                                }),
                                Part::Reasoning(Thought {
                                    sealed: Some("c2VhbGVk".into()),
                                    ..Thought::default()
                                }),
                                call("toolu_01Paris", "Paris"),
                            ],
                        ),
                        turn(
                            Role::User,
                            vec![result("toolu_01Paris", "18 degrees", false)],
                        ),
                    ],
                )
            },
        ),
        (
            golden!("cache"),
            Conversation {
                system: vec![Part::Text {
                    text: "Be brief.".into(),
                    cache: Some(CacheMark::OneHour),
                }],
                tools: vec![weather_tool(Some(CacheMark::FiveMinutes))],
                ..conversation(vec![turn(
                    Role::User,
                    vec![Part::Text {
                        text: "Say hello.".into(),
                        cache: Some(CacheMark::FiveMinutes),
                    }],
                )])
            },
        ),
        (golden!("usage"), conversation(hello())),
    ]
}
