//! A caller's request → the normal form.

use serde_json::Value;

use super::content;
use super::fields::{
    Fields, at, flag, is_empty, list, name, object, said, share, text, whole_number,
};
use super::settings;
use crate::base::errors::Refusal;
use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{
    Conversation, Part, Role, Sampling, Tool, ToolChoice, Turn, Unplaced,
};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::{invalid, missing};

/// Collects what the normal form has no place for.
#[derive(Default)]
pub(super) struct Rest(Vec<Unplaced>);

impl Rest {
    pub(super) fn push(&mut self, feature: Feature, param: impl Into<String>) {
        let param = param.into();
        self.0.push(Unplaced { feature, param });
    }
}

/// Reads a request. `model` and the ceilings of the alias are not looked at here.
///
/// # Errors
/// `missing_parameter` or `invalid_parameter`, with the field's path.
pub fn read(body: &Fields) -> Result<Conversation, Refusal> {
    let mut rest = Rest::default();
    let max_output =
        whole_number(body, "", "max_tokens", 1)?.ok_or_else(|| missing("max_tokens"))?;
    let (system, turns) = said_so_far(body, &mut rest)?;
    let tools = tools(body, &mut rest)?;
    let (tool_choice, parallel_tools) = tool_choice(body)?;
    let (reasoning, format) = settings::read(body, &mut rest)?;
    let user = settings::user(body, &mut rest)?;
    settings::others(body, &mut rest);
    Ok(Conversation {
        origin: Protocol::Messages,
        system,
        turns,
        tools,
        tool_choice,
        parallel_tools,
        format,
        sampling: Sampling {
            max_output: Some(max_output),
            temperature: share(body, "temperature")?,
            top_p: share(body, "top_p")?,
            top_k: whole_number(body, "", "top_k", 0)?,
            stop: stop_sequences(body)?,
            ..Sampling::default()
        },
        reasoning,
        user,
        stream: flag(body, "", "stream")?.unwrap_or(false),
        unplaced: rest.0,
    })
}

/// System prompt and turns; a system message in front of all others is part of the system prompt.
fn said_so_far(body: &Fields, rest: &mut Rest) -> Result<(Vec<Part>, Vec<Turn>), Refusal> {
    let mut system = match said(body, "system") {
        Some(content) => content::read(content, "system", Role::System, rest)?,
        None => Vec::new(),
    };
    let messages = said(body, "messages").ok_or_else(|| missing("messages"))?;
    let messages = messages
        .as_array()
        .ok_or_else(|| invalid("messages", "must be an array"))?;
    if messages.is_empty() {
        return Err(invalid("messages", "must hold at least one message"));
    }
    let mut turns = Vec::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        let turn = turn(message, &format!("messages[{i}]"), rest)?;
        if turn.role == Role::System && turns.is_empty() {
            system.extend(turn.parts);
        } else {
            turns.push(turn);
        }
    }
    Ok((system, turns))
}

fn turn(message: &Value, path: &str, rest: &mut Rest) -> Result<Turn, Refusal> {
    let message = object(message, path)?;
    let role = match said(message, "role").map(Value::as_str) {
        Some(Some("user")) => Role::User,
        Some(Some("assistant")) => Role::Assistant,
        Some(Some("system")) => Role::System,
        None => return Err(missing(&at(path, "role"))),
        Some(_) => {
            let rule = "must be one of user, assistant, system";
            return Err(invalid(&at(path, "role"), rule));
        }
    };
    let content_path = at(path, "content");
    let content = said(message, "content").ok_or_else(|| missing(&content_path))?;
    for (name, value) in message {
        if !matches!(name.as_str(), "role" | "content") && !value.is_null() {
            rest.push(Feature::Other, at(path, name));
        }
    }
    Ok(Turn {
        role,
        parts: content::read(content, &content_path, role, rest)?,
    })
}

fn stop_sequences(body: &Fields) -> Result<Vec<String>, Refusal> {
    list(body, "", "stop_sequences")?
        .iter()
        .enumerate()
        .map(|(i, stop)| {
            stop.as_str()
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
                .ok_or_else(|| {
                    let path = format!("stop_sequences[{i}]");
                    invalid(&path, "must be a text that is not empty")
                })
        })
        .collect()
}

fn tools(body: &Fields, rest: &mut Rest) -> Result<Vec<Tool>, Refusal> {
    let mut tools = Vec::new();
    for (i, tool) in list(body, "", "tools")?.iter().enumerate() {
        let path = format!("tools[{i}]");
        tools.extend(read_tool(object(tool, &path)?, &path, rest)?);
    }
    Ok(tools)
}

fn read_tool(tool: &Fields, path: &str, rest: &mut Rest) -> Result<Option<Tool>, Refusal> {
    if let Some(kind) = text(tool, path, "type")?.filter(|kind| *kind != "custom") {
        rest.push(provided_tool(kind), path);
        return Ok(None);
    }
    let schema_path = at(path, "input_schema");
    let schema = said(tool, "input_schema").ok_or_else(|| missing(&schema_path))?;
    object(schema, &schema_path)?;
    for (name, value) in tool {
        let feature = match name.as_str() {
            "type" | "name" | "description" | "input_schema" | "strict" | "cache_control" => {
                continue;
            }
            "allowed_callers" if *value == Value::from(vec!["direct"]) => continue,
            "allowed_callers" => Feature::ServerTool,
            "defer_loading" if *value == Value::Bool(false) => continue,
            "eager_input_streaming" => Feature::Hint,
            _ => Feature::Other,
        };
        if !is_empty(value) {
            rest.push(feature, at(path, name));
        }
    }
    Ok(Some(Tool {
        name: name(tool, path, "name")?.to_owned(),
        description: text(tool, path, "description")?.map(str::to_owned),
        parameters: Some(schema.clone()),
        strict: flag(tool, path, "strict")?,
        cache: content::cache_mark(tool, path)?,
    }))
}

/// Tools that Anthropic declares: some run at the provider, some at the caller.
fn provided_tool(kind: &str) -> Feature {
    let callers = ["bash_", "text_editor_", "memory_", "computer_", "browser_"];
    if callers.iter().any(|prefix| kind.starts_with(prefix)) {
        Feature::Other
    } else {
        Feature::ServerTool
    }
}

fn tool_choice(body: &Fields) -> Result<(ToolChoice, Option<bool>), Refusal> {
    let path = "tool_choice";
    let Some(value) = said(body, path) else {
        return Ok((ToolChoice::Unset, None));
    };
    let fields = object(value, path)?;
    let choice = match name(fields, path, "type")? {
        "auto" => ToolChoice::Auto,
        "any" => ToolChoice::Required,
        "none" => ToolChoice::None,
        "tool" => ToolChoice::Named(name(fields, path, "name")?.to_owned()),
        _ => {
            let rule = "must be one of auto, any, tool, none";
            return Err(invalid("tool_choice.type", rule));
        }
    };
    // `false` is the default.
    let one = flag(fields, path, "disable_parallel_tool_use")? == Some(true);
    Ok((choice, one.then_some(false)))
}
