//! Whole answers.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::usage;
use super::wire::{Block, Kind, Message, failed};
use crate::domain::llm::dialect::{Invalid, parse};
use crate::domain::llm::message::Finish;
use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};
use crate::domain::llm::normal::event::Envelope;
use crate::domain::llm::normal::whole::Whole;
use crate::domain::llm::render::BUILTIN_MARK;

const NO_MESSAGE: Invalid = Invalid::Shape("not a message of the Messages API");
const NO_BLOCK: Invalid = Invalid::Shape("a content block without its fields");

/// Reads a whole answer. Blocks of server tools and of unknown types are left out, and so are citations.
///
/// # Errors
/// See [`Invalid`].
pub fn read(body: &[u8]) -> Result<Whole, Invalid> {
    let message: Message<'_> = parse(body).ok_or(NO_MESSAGE)?;
    let kind = message.r#type.as_deref();
    if message.error.is_some() || kind == Some("error") {
        return Err(Invalid::Error(failed(message.error)));
    }
    if !matches!(kind, None | Some("message")) {
        return Err(NO_MESSAGE);
    }
    let content = message.content.ok_or(NO_MESSAGE)?;
    let blocks: Vec<&RawValue> = serde_json::from_str(content.get()).map_err(|_| NO_MESSAGE)?;
    let mut parts = Vec::new();
    for block in blocks {
        parts.extend(part(block.get())?);
    }
    Ok(Whole {
        id: message.id.unwrap_or_default(),
        model: message.model.unwrap_or_default(),
        parts,
        finish: message.stop_reason.as_deref().map(Finish::read),
        stop_sequence: message.stop_sequence,
        usage: message
            .usage
            .and_then(usage::Report::read)
            .map(usage::Report::normal),
    })
}

fn part(block: &str) -> Result<Option<Part>, Invalid> {
    // Blocks of other kinds may have other things in fields of these names.
    let kind: Kind<'_> = serde_json::from_str(block).map_err(|_| NO_BLOCK)?;
    let kind = kind.r#type.ok_or(NO_BLOCK)?;
    if !matches!(
        kind.as_ref(),
        "text" | "thinking" | "redacted_thinking" | "tool_use"
    ) {
        return Ok(None);
    }
    let block: Block<'_> = serde_json::from_str(block).map_err(|_| NO_BLOCK)?;
    Ok(Some(match kind.as_ref() {
        "text" => Part::text(block.text.ok_or(NO_BLOCK)?),
        "thinking" => Part::Reasoning(Thought {
            text: block.thinking.ok_or(NO_BLOCK)?,
            signature: block.signature.filter(|signature| !signature.is_empty()),
            ..Thought::default()
        }),
        "redacted_thinking" => Part::Reasoning(Thought {
            sealed: Some(block.data.ok_or(NO_BLOCK)?),
            ..Thought::default()
        }),
        _ => Part::ToolCall(ToolCall {
            id: block.id.ok_or(NO_BLOCK)?,
            name: block.name.ok_or(NO_BLOCK)?,
            arguments: block
                .input
                .map_or_else(String::new, |raw| arguments(raw.get())),
        }),
    }))
}

/// The arguments behind an `input`: its JSON text, or, where it is a text (see [`input`]), that text.
pub(super) fn arguments(input: &str) -> String {
    serde_json::from_str::<String>(input).unwrap_or_else(|_| input.to_owned())
}

/// The `input` of a tool call: an object. What a model wrote that is none goes as a text, so that the caller sees it
/// and takes it for no set of arguments.
pub(super) fn input(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return Value::Object(Map::new());
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(fields)) => Value::Object(fields),
        _ => Value::from(arguments),
    }
}

/// Writes a whole answer with every field that the SDK's `Message` declares.
#[must_use]
pub fn write(whole: &Whole, envelope: &Envelope) -> Value {
    let mut message = message(
        &format!("msg_{}", envelope.id),
        &whole.model,
        usage::of_message(whole.usage.unwrap_or_default()),
        envelope,
    );
    message.insert(
        "content".into(),
        whole.parts.iter().flat_map(blocks).collect(),
    );
    message.insert(
        "stop_reason".into(),
        whole
            .finish
            .map(|finish| stop_reason(finish, whole.stop_sequence.as_deref()))
            .into(),
    );
    message.insert("stop_sequence".into(), whole.stop_sequence.clone().into());
    Value::Object(message)
}

/// A message without content, as `message_start` sends it.
pub(super) fn message(
    id: &str,
    model: &str,
    usage: Value,
    envelope: &Envelope,
) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("id".into(), id.into());
    fields.insert("type".into(), "message".into());
    fields.insert("role".into(), "assistant".into());
    fields.insert("model".into(), model.into());
    fields.insert("content".into(), Value::Array(Vec::new()));
    for name in [
        "stop_reason",
        "stop_sequence",
        "stop_details",
        "container",
        "diagnostics",
    ] {
        fields.insert(name.into(), Value::Null);
    }
    fields.insert("usage".into(), usage);
    if envelope.builtin {
        fields.insert("gatehouse".into(), json!({"answerer": BUILTIN_MARK}));
    }
    fields
}

/// Anthropic's word for why the model stopped; meeting a stop text has its own.
pub(super) const fn stop_reason(finish: Finish, stop_sequence: Option<&str>) -> &'static str {
    match (finish, stop_sequence) {
        (Finish::Stop, Some(_)) => "stop_sequence",
        (finish, _) => finish.anthropic(),
    }
}

fn blocks(part: &Part) -> Vec<Value> {
    match part {
        Part::Text { text, .. } | Part::Refusal(text) if !text.is_empty() => {
            vec![json!({"type": "text", "text": text, "citations": null})]
        }
        Part::Reasoning(thought) => thought_blocks(thought),
        Part::ToolCall(call) => vec![json!({
            "type": "tool_use",
            "id": call.id,
            "name": call.name,
            "input": input(&call.arguments),
            "caller": {"type": "direct"},
        })],
        _ => Vec::new(),
    }
}

/// Words and sealed content of one thought are two blocks here.
fn thought_blocks(thought: &Thought) -> Vec<Value> {
    let mut blocks = Vec::new();
    if !thought.text.is_empty() || thought.signature.is_some() {
        let signature = thought.signature.as_deref().unwrap_or_default();
        blocks.push(json!({"type": "thinking", "thinking": thought.text, "signature": signature}));
    }
    if let Some(data) = &thought.sealed {
        blocks.push(json!({"type": "redacted_thinking", "data": data}));
    }
    blocks
}

#[cfg(test)]
pub(super) mod tests;
