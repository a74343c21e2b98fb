//! Requests: what the golden files mean, and what the other tests share.

mod tables;
mod ways;
mod writing;

use serde_json::{Map, Value, json};

use super::{read, write};
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::chat::samples::{GOLDEN, golden};
use crate::domain::llm::normal::conversation::{
    CacheMark, Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Source, Tool,
    ToolCall, ToolChoice, Turn, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => panic!("no object"),
    }
}

fn of(feature: &str) -> Conversation {
    read(&serde_json::from_str(golden(feature).request).unwrap()).unwrap()
}

/// A request with one user message and what else.
fn with(more: Value) -> Map<String, Value> {
    let mut body = object(json!({"model": "m", "messages": [{"role": "user", "content": "Hi"}]}));
    body.extend(object(more));
    body
}

fn of_messages(messages: Value) -> Conversation {
    read(&object(json!({"messages": messages}))).unwrap()
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

fn asks(text: &str) -> Vec<Turn> {
    vec![user(vec![Part::text(text)])]
}

fn call(id: &str, arguments: &str) -> Part {
    Part::ToolCall(ToolCall {
        id: id.to_owned(),
        name: "get_weather".to_owned(),
        arguments: arguments.to_owned(),
    })
}

fn result(id: &str, text: &str) -> Part {
    Part::ToolResult {
        id: id.to_owned(),
        content: vec![Part::text(text)],
        is_error: false,
        cache: None,
    }
}

fn tool(name: &str) -> Tool {
    Tool {
        name: name.to_owned(),
        description: None,
        parameters: None,
        strict: None,
        cache: None,
    }
}

fn weather_tool() -> Tool {
    Tool {
        description: Some("The weather in a city.".to_owned()),
        parameters: Some(
            json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}),
        ),
        ..tool("get_weather")
    }
}

/// A conversation that says nothing yet.
fn nothing() -> Conversation {
    Conversation {
        origin: Protocol::Chat,
        system: vec![],
        turns: vec![],
        tools: vec![],
        tool_choice: ToolChoice::Unset,
        parallel_tools: None,
        format: Format::Text,
        sampling: Sampling::default(),
        reasoning: None,
        user: None,
        stream: false,
        unplaced: vec![],
    }
}

fn capped(max_output: u64) -> Sampling {
    Sampling {
        max_output: Some(max_output),
        ..Sampling::default()
    }
}

fn base64(media_type: &str, data: &str) -> Source {
    Source::Base64 {
        media_type: media_type.to_owned(),
        data: data.to_owned(),
    }
}

fn lost(feature: Feature, param: &str) -> Unplaced {
    Unplaced {
        feature,
        param: param.to_owned(),
    }
}

const WEATHER: &str = "What is the weather in Paris and in Rome?";
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

#[test]
fn golden_texts_and_turns_mean_what_they_say() {
    let base = Conversation {
        sampling: capped(1024),
        ..nothing()
    };
    let hello = Conversation {
        turns: asks("Say hello."),
        ..base.clone()
    };
    let sampling = Sampling {
        temperature: Some(0.5),
        ..capped(1024)
    };
    assert_eq!(
        of("text"),
        Conversation {
            sampling,
            user: Some("visitor-1".into()),
            ..hello.clone()
        }
    );
    assert_eq!(
        of("system"),
        Conversation {
            system: vec![Part::text("Be brief.")],
            ..hello.clone()
        }
    );
    assert_eq!(of("usage"), hello);
    let mut turns = asks("Say hello.");
    turns.push(assistant(vec![Part::text("Hello there!")]));
    turns.extend(asks("Once more, please."));
    assert_eq!(
        of("turns"),
        Conversation {
            turns,
            ..base.clone()
        }
    );
    let marked = |text: &str, mark| Part::Text {
        text: text.into(),
        cache: Some(mark),
    };
    assert_eq!(
        of("cache"),
        Conversation {
            system: vec![marked("Be brief.", CacheMark::OneHour)],
            turns: vec![user(vec![marked("Say hello.", CacheMark::FiveMinutes)])],
            tools: vec![weather_tool()],
            unplaced: vec![
                lost(Feature::Hint, "prompt_cache_key"),
                lost(Feature::Hint, "prompt_cache_options")
            ],
            ..base
        }
    );
}

#[test]
fn golden_pictures_and_files_mean_what_they_say() {
    let image = |source, detail: Option<&str>| Part::Image {
        source,
        detail: detail.map(str::to_owned),
        cache: None,
    };
    assert_eq!(
        of("images").turns,
        [user(vec![
            Part::text("What is in these pictures?"),
            image(
                Source::Url("https://example.com/cat.png".into()),
                Some("low")
            ),
            image(base64("image/png", PNG), None),
        ])]
    );
    let file = Part::File {
        source: base64("application/pdf", "JVBERi0xLjEKJSVFT0YK"),
        name: Some("report.pdf".into()),
        cache: None,
    };
    assert_eq!(
        of("file").turns,
        [user(vec![file, Part::text("Summarise the document.")])]
    );
}

#[test]
fn golden_tools_mean_what_they_say() {
    let tools = Conversation {
        turns: asks(WEATHER),
        tools: vec![weather_tool()],
        tool_choice: ToolChoice::Auto,
        sampling: capped(1024),
        ..nothing()
    };
    assert_eq!(of("tools"), tools);
    let mut turns = asks(WEATHER);
    turns.push(assistant(vec![
        call("call_Paris", "{\"city\":\"Paris\"}"),
        call("call_Rome", "{\"city\":\"Rome\"}"),
    ]));
    turns.push(user(vec![result("call_Paris", "18 degrees")]));
    turns.push(user(vec![result("call_Rome", "station offline")]));
    assert_eq!(
        of("tool_results"),
        Conversation {
            turns,
            tool_choice: ToolChoice::Required,
            parallel_tools: Some(false),
            ..tools
        }
    );
}

#[test]
fn golden_settings_mean_what_they_say() {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}, "degrees": {"type": "number"}}, "required": ["city", "degrees"], "additionalProperties": false});
    assert_eq!(
        of("schema").format,
        Format::Schema {
            name: "weather".into(),
            description: None,
            schema,
            strict: Some(true)
        }
    );
    assert_eq!(of("stop_length").sampling, capped(8));
    assert_eq!(of("stop_sequence").sampling.stop, ["4", "END"]);
    assert_eq!(
        of("reasoning").reasoning,
        Some(Reasoning {
            effort: Some(Effort::Low),
            ..Reasoning::default()
        })
    );
    assert_eq!(
        of("stop_filter"),
        Conversation {
            turns: asks("Tell me something forbidden."),
            sampling: capped(1024),
            ..nothing()
        }
    );
}

#[test]
fn a_golden_request_comes_back_as_it_was() {
    for golden in GOLDEN {
        let conversation = of(golden.feature);
        let written = write(&conversation);
        let mut back = read(&written.body).unwrap();
        let mut expected = conversation.clone();
        if golden.feature == "cache" {
            let params: Vec<&str> = written
                .lost
                .iter()
                .map(|lost| lost.param.as_str())
                .collect();
            assert_eq!(
                params,
                [
                    "prompt_cache_key",
                    "prompt_cache_options",
                    "messages[].content[].prompt_cache_breakpoint"
                ]
            );
            assert!(written.lost.iter().all(|lost| lost.feature.is_hint()));
            expected.system = vec![Part::text("Be brief.")];
            expected.turns = asks("Say hello.");
            expected.unplaced.clear();
            back.unplaced.clear();
        } else {
            assert_eq!(written.lost, [], "{}", golden.feature);
        }
        assert_eq!(back, expected, "{}", golden.feature);
        for name in ["model", "stream", "stream_options"] {
            assert!(!written.body.contains_key(name), "{name}");
        }
    }
}
