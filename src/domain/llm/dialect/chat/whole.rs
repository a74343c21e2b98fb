//! Whole answers (`chat.completion`).

use serde_json::{Value, json};

use super::wire::{Answer, CallPiece, Said, Saying, failure, made_up_call_id};
use super::{finish, usage};
use crate::domain::llm::dialect::{Invalid, parse};
use crate::domain::llm::message::Finish;
use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};
use crate::domain::llm::normal::event::Envelope;
use crate::domain::llm::normal::whole::Whole;

#[cfg(test)]
mod tests;

/// Reads a whole answer: its first choice. A `finish_reason` that is missing stays out.
///
/// # Errors
/// The bytes are no completion, or tell an error. See [`Invalid`].
pub fn read(body: &[u8]) -> Result<Whole, Invalid> {
    let completion: Answer<'_> = parse(body).ok_or(Invalid::Shape("not a chat completion"))?;
    if let Some(failed) = completion.failed() {
        return Err(Invalid::Error(failed));
    }
    let choices = completion.choices.unwrap_or_default();
    let choice = choices
        .into_iter()
        .min_by_key(|choice| choice.index)
        .ok_or(Invalid::Shape("no choices"))?;
    if let Some(failed) = failure(&choice.error) {
        return Err(Invalid::Error(failed));
    }
    let id = completion.id.text().unwrap_or_default().to_owned();
    let said = choice.message.ok_or(Invalid::Shape("no message"))?;
    let parts = parts(said, &id)?;
    let with_calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    let finish = finish::read(&choice.finish_reason, with_calls)
        .transpose()
        .map_err(Invalid::Error)?;
    Ok(Whole {
        id,
        model: completion.model.text().unwrap_or_default().to_owned(),
        parts,
        finish,
        stop_sequence: finish.and_then(|finish| finish::stop_sequence(&choice.stop_reason, finish)),
        usage: usage::read(&completion.usage),
    })
}

fn parts(said: Said<'_>, answer: &str) -> Result<Vec<Part>, Invalid> {
    let (sayings, calls) = said.take().map_err(Invalid::Shape)?;
    let mut parts: Vec<Part> = Vec::new();
    for saying in sayings {
        match (parts.last_mut(), saying) {
            (Some(Part::Text { text, .. }), Saying::Text(more)) => text.push_str(&more),
            (Some(Part::Reasoning(thought)), Saying::Thought(more)) => thought.text.push_str(&more),
            (_, Saying::Text(text)) => parts.push(Part::text(text)),
            (_, Saying::Refusal(text)) => parts.push(Part::Refusal(text.into_owned())),
            (_, Saying::Thought(text)) => parts.push(Part::Reasoning(Thought {
                text: text.into_owned(),
                ..Thought::default()
            })),
            (_, Saying::Media) => parts.push(Part::Media),
        }
    }
    for (index, call) in (0..).zip(calls) {
        parts.push(Part::ToolCall(tool_call(call, answer, index)?));
    }
    Ok(parts)
}

fn tool_call(call: CallPiece<'_>, answer: &str, index: u64) -> Result<ToolCall, Invalid> {
    let id = call.id().map(str::to_owned);
    let name = call
        .name()
        .ok_or(Invalid::Shape("a tool call without a name"))?
        .to_owned();
    Ok(ToolCall {
        id: id.unwrap_or_else(|| made_up_call_id(answer, index)),
        name,
        arguments: call.arguments().unwrap_or_default().into_owned(),
    })
}

/// Writes a whole answer with every field that OpenAI's SDK declares as required. Texts are joined; so are thoughts, as
/// `reasoning_content`.
#[must_use]
pub fn write(whole: &Whole, envelope: &Envelope) -> Value {
    let mut body = json!({
        "id": format!("chatcmpl-{}", envelope.id),
        "object": "chat.completion",
        "created": envelope.created.secs(),
        "model": whole.model,
        "choices": [{
            "index": 0,
            "message": message(&whole.parts, envelope),
            "logprobs": null,
            "finish_reason": whole.finish.map(Finish::openai),
        }],
        "usage": usage::write(whole.usage.unwrap_or_default()),
    });
    if envelope.builtin
        && let Value::Object(fields) = &mut body
    {
        fields.insert("gatehouse".into(), builtin_mark());
    }
    body
}

/// What marks an answer of the built-in answerer.
pub(super) fn builtin_mark() -> Value {
    json!({"answerer": crate::domain::llm::render::BUILTIN_MARK})
}

fn message(parts: &[Part], envelope: &Envelope) -> Value {
    let (mut text, mut refusal, mut thought) = (None::<String>, None::<String>, String::new());
    let mut calls = Vec::new();
    for (index, part) in (0..).zip(parts) {
        match part {
            Part::Text { text: more, .. } => text.get_or_insert_default().push_str(more),
            Part::Refusal(more) => refusal.get_or_insert_default().push_str(more),
            Part::Reasoning(part) => thought.push_str(&part.text),
            Part::ToolCall(call) => calls.push(call_json(call, &envelope.id, index)),
            Part::Image { .. } | Part::File { .. } | Part::ToolResult { .. } | Part::Media => {}
        }
    }
    if refusal.is_none() && calls.is_empty() {
        // An answer that says nothing is an empty text, not nothing: callers take its length.
        text.get_or_insert_default();
    }
    let mut message = json!({
        "role": "assistant",
        "content": text,
        "refusal": refusal,
        "annotations": [],
    });
    if let Value::Object(fields) = &mut message {
        if !thought.is_empty() {
            fields.insert("reasoning_content".into(), Value::from(thought));
        }
        if !calls.is_empty() {
            fields.insert("tool_calls".into(), Value::from(calls));
        }
    }
    message
}

fn call_json(call: &ToolCall, answer: &str, index: u64) -> Value {
    let id = if call.id.is_empty() {
        made_up_call_id(answer, index)
    } else {
        call.id.clone()
    };
    json!({
        "id": id,
        "type": "function",
        "function": {"name": call.name, "arguments": or_empty_object(&call.arguments)},
    })
}

/// Arguments as callers parse them: empty text is no JSON.
pub(super) fn or_empty_object(arguments: &str) -> &str {
    if arguments.trim().is_empty() {
        "{}"
    } else {
        arguments
    }
}
