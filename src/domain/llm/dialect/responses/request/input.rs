//! `input`: items → turns.

use serde_json::Value;

use super::content;
use super::fields::Fields;
use crate::base::errors::Refusal;
use crate::domain::llm::dialect::responses::wire::{PARAGRAPH, unseal};
use crate::domain::llm::normal::conversation::{Part, Role, Thought, ToolCall, Turn, Unplaced};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::invalid;

/// Reads `input`; instructions in front of the first turn are added to `system`.
pub(super) fn read(
    request: &Fields<'_>,
    system: &mut Vec<Part>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<Vec<Turn>, Refusal> {
    let mut turns = Turns {
        system,
        turns: Vec::new(),
    };
    match request.get("input") {
        None => {}
        Some(Value::String(text)) => turns.say(Role::User, content::text(text)),
        Some(Value::Array(items)) => {
            for (i, item) in items.iter().enumerate() {
                let item = Fields::at(item, format!("input[{i}]"))?;
                read_item(&item, &mut turns, unplaced)?;
            }
        }
        Some(_) => return Err(invalid("input", "must be a text or an array of items")),
    }
    Ok(turns.turns)
}

fn read_item(
    item: &Fields<'_>,
    turns: &mut Turns<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<(), Refusal> {
    let kind = match item.text("type")? {
        Some(kind) => kind,
        // The type of a message may be left out, and that of a reference.
        None if item.get("role").is_some() => "message",
        None if item.get("id").is_some() => "item_reference",
        None => return Err(item.wrong("type", "must be the type of an item")),
    };
    match kind {
        "message" => message(item, turns, unplaced),
        "function_call" => call(item, turns, unplaced),
        "function_call_output" => output(item, turns, unplaced),
        "reasoning" => reasoning(item, turns, unplaced),
        _ => {
            unplaced.push(Unplaced {
                feature: feature_of(kind),
                param: item.path().to_owned(),
            });
            Ok(())
        }
    }
}

/// Items that the normal form has no place for.
fn feature_of(kind: &str) -> Feature {
    match kind {
        "item_reference" => Feature::Reference,
        // Free-text tools, items that change the settings on the way, and a sealed summary of earlier turns.
        "custom_tool_call"
        | "custom_tool_call_output"
        | "additional_tools"
        | "configuration_update"
        | "compaction"
        | "compaction_trigger" => Feature::Other,
        _ if kind.contains("_call") || kind.starts_with("mcp_") => Feature::ServerTool,
        "tool_search_output" | "program" | "program_output" => Feature::ServerTool,
        _ => Feature::Other,
    }
}

fn message(
    item: &Fields<'_>,
    turns: &mut Turns<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<(), Refusal> {
    item.required("role")?;
    let role = match item.word("role", &["user", "assistant", "system", "developer"])? {
        Some("assistant") => Role::Assistant,
        Some("system" | "developer") => Role::System,
        _ => Role::User,
    };
    let parts = content::read(
        item.required("content")?,
        &item.path_of("content"),
        unplaced,
    )?;
    item.others(
        &["type", "role", "content", "id", "status"],
        Feature::Hint,
        unplaced,
    );
    turns.say(role, parts);
    Ok(())
}

fn call(
    item: &Fields<'_>,
    turns: &mut Turns<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<(), Refusal> {
    let call = ToolCall {
        id: item.required_text("call_id")?.to_owned(),
        name: item.required_text("name")?.to_owned(),
        arguments: item.text("arguments")?.unwrap_or_default().to_owned(),
    };
    context(item, unplaced);
    turns.assistant(Part::ToolCall(call));
    Ok(())
}

fn output(
    item: &Fields<'_>,
    turns: &mut Turns<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<(), Refusal> {
    let result = Part::ToolResult {
        id: item.required_text("call_id")?.to_owned(),
        content: content::read(item.required("output")?, &item.path_of("output"), unplaced)?,
        is_error: false,
        cache: None,
    };
    context(item, unplaced);
    turns.result(result);
    Ok(())
}

/// Which tool a call is of, beyond its name.
fn context(item: &Fields<'_>, unplaced: &mut Vec<Unplaced>) {
    item.unplace("namespace", Feature::Other, unplaced);
    let direct = |caller: &Value| caller.get("type").and_then(Value::as_str) == Some("direct");
    if !item.get("caller").is_none_or(direct) {
        item.unplace("caller", Feature::Other, unplaced);
    }
    let known = [
        "type",
        "id",
        "call_id",
        "name",
        "arguments",
        "output",
        "status",
        "namespace",
        "caller",
    ];
    item.others(&known, Feature::Hint, unplaced);
}

fn reasoning(
    item: &Fields<'_>,
    turns: &mut Turns<'_>,
    unplaced: &mut Vec<Unplaced>,
) -> Result<(), Refusal> {
    let mut text = words(item, "summary")?;
    if text.is_empty() {
        text = words(item, "content")?;
    }
    let (signature, sealed) = unseal(item.text("encrypted_content")?.unwrap_or_default());
    let thought = Thought {
        text,
        signature,
        sealed,
        id: item
            .text("id")?
            .filter(|id| !id.is_empty())
            .map(str::to_owned),
    };
    if thought.text.is_empty() && thought.signature.is_none() && thought.sealed.is_none() {
        // Only the provider has what stands behind the id.
        unplaced.push(Unplaced {
            feature: Feature::Hint,
            param: item.path().to_owned(),
        });
    } else {
        turns.assistant(Part::Reasoning(thought));
    }
    Ok(())
}

fn words(item: &Fields<'_>, name: &str) -> Result<String, Refusal> {
    let mut texts = Vec::new();
    for (i, part) in item.list(name)?.iter().enumerate() {
        let part = Fields::at(part, format!("{}[{i}]", item.path_of(name)))?;
        texts.extend(part.text("text")?.filter(|text| !text.is_empty()));
    }
    Ok(texts.join(PARAGRAPH))
}

/// The turns so far.
struct Turns<'a> {
    system: &'a mut Vec<Part>,
    turns: Vec<Turn>,
}

impl Turns<'_> {
    /// A message. An assistant's belongs to the turn that its reasoning or its calls have begun.
    fn say(&mut self, role: Role, parts: Vec<Part>) {
        if parts.is_empty() {
            return;
        }
        if role == Role::System && self.turns.is_empty() {
            self.system.extend(parts);
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if role == Role::Assistant && turn.role == role && !ends_in_words(turn) => {
                turn.parts.extend(parts);
            }
            _ => self.turns.push(Turn { role, parts }),
        }
    }

    fn assistant(&mut self, part: Part) {
        match self.turns.last_mut() {
            Some(turn) if turn.role == Role::Assistant => turn.parts.push(part),
            _ => self.turns.push(Turn {
                role: Role::Assistant,
                parts: vec![part],
            }),
        }
    }

    fn result(&mut self, part: Part) {
        let is_result = |part: &Part| matches!(part, Part::ToolResult { .. });
        match self.turns.last_mut() {
            Some(turn) if turn.role == Role::User && turn.parts.iter().all(is_result) => {
                turn.parts.push(part);
            }
            _ => self.turns.push(Turn {
                role: Role::User,
                parts: vec![part],
            }),
        }
    }
}

fn ends_in_words(turn: &Turn) -> bool {
    !matches!(
        turn.parts.last(),
        Some(Part::Reasoning(_) | Part::ToolCall(_))
    )
}
