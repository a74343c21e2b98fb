use serde_json::{Map, Value, json};

use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{
    Conversation, Format, Part, Role, Sampling, Tool, ToolCall, ToolChoice, Turn, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;

macro_rules! golden {
    ($name:literal) => {
        read(&object(
            serde_json::from_str(include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/golden/responses/",
                $name,
                ".request.json"
            )))
            .unwrap(),
        ))
        .unwrap()
    };
}

mod reading;
mod tables;
mod writing;

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
