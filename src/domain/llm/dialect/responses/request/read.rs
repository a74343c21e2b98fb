//! A caller's request → a conversation.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::{input, settings, tools};
use crate::base::errors::Refusal;
use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{
    Conversation, Part, Sampling, Tool, ToolChoice, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::{invalid, missing};

/// Reads a request.
///
/// # Errors
/// `missing_parameter` or `invalid_parameter`; names the field.
pub fn read(body: &Map<String, Value>) -> Result<Conversation, Refusal> {
    let request = Fields::root(body);
    request.text("model")?;
    let mut unplaced = Vec::new();
    let stored = stored_context(&request, &mut unplaced);
    let mut system: Vec<Part> = match request.text("instructions")? {
        Some(text) if !text.is_empty() => vec![Part::text(text)],
        _ => Vec::new(),
    };
    let items_before = unplaced.len();
    let turns = input::read(&request, &mut system, &mut unplaced)?;
    if turns.is_empty() && unplaced.len() == items_before && !stored {
        return Err(match request.get("input") {
            None => missing("input"),
            Some(_) => invalid("input", "must say something"),
        });
    }
    let mut tools = tools::read(&request, &mut unplaced)?;
    let tool_choice = tools::choice(&request, &mut tools, &mut unplaced)?;
    // Tools of the provider and those of a stored prompt are not known here.
    let others = stored || unplaced.iter().any(|field| !field.feature.is_hint());
    if !tool_choice_fits(&tool_choice, &tools, others) {
        return Err(invalid("tool_choice", "must name a tool of `tools`"));
    }
    let conversation = Conversation {
        origin: Protocol::Responses,
        system,
        turns,
        tools,
        tool_choice,
        parallel_tools: request.flag("parallel_tool_calls")?,
        format: settings::format(&request, &mut unplaced)?,
        sampling: Sampling {
            max_output: request.count("max_output_tokens")?,
            temperature: request.number("temperature", 0.0, 2.0)?,
            top_p: request.number("top_p", 0.0, 1.0)?,
            ..Sampling::default()
        },
        reasoning: settings::reasoning(&request, &mut unplaced)?,
        user: request.text("user")?.map(str::to_owned),
        stream: request.flag("stream")?.unwrap_or(false),
        unplaced: Vec::new(),
    };
    settings::rest(&request, &mut unplaced)?;
    Ok(Conversation {
        unplaced,
        ..conversation
    })
}

/// Is part of the conversation stored at the provider?
fn stored_context(request: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> bool {
    let before = unplaced.len();
    for name in ["previous_response_id", "conversation", "prompt"] {
        request.unplace(name, Feature::Reference, unplaced);
    }
    unplaced.len() > before
}

fn tool_choice_fits(choice: &ToolChoice, tools: &[Tool], unknown_tools: bool) -> bool {
    match choice {
        ToolChoice::Unset | ToolChoice::Auto | ToolChoice::None => true,
        ToolChoice::Required => unknown_tools || !tools.is_empty(),
        ToolChoice::Named(name) => unknown_tools || tools.iter().any(|tool| tool.name == *name),
    }
}
