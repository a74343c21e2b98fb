//! Whole answers.

use serde_json::Value;

use super::stream::Writer;
use super::wire::{Snapshot, looks_like_object};
use crate::domain::llm::dialect::{Invalid, parse};
use crate::domain::llm::normal::conversation::Part;
use crate::domain::llm::normal::event::Envelope;
use crate::domain::llm::normal::whole::Whole;

/// Reads a whole answer.
///
/// # Errors
/// See [`Invalid`].
pub fn read(body: &[u8]) -> Result<Whole, Invalid> {
    if !looks_like_object(body) {
        return Err(Invalid::Shape("not a JSON object"));
    }
    let response: Snapshot<'_> = parse(body).ok_or(Invalid::Shape("not a response object"))?;
    if let Some(failed) = response.failure() {
        return Err(Invalid::Error(failed));
    }
    let parts = response
        .parts()?
        .ok_or(Invalid::Shape("a response without output"))?;
    let calls = parts.iter().any(|part| matches!(part, Part::ToolCall(_)));
    Ok(Whole {
        finish: response.finish(calls),
        usage: response.usage(),
        id: response.id.into_string(),
        model: response.model.into_string(),
        parts,
        stop_sequence: None,
    })
}

/// Writes a whole answer: what the last event of the same answer as a stream carries.
#[must_use]
pub fn write(whole: &Whole, envelope: &Envelope) -> Value {
    let mut writer = Writer::new(envelope.clone());
    let mut frames = Vec::new();
    for event in whole.events() {
        writer.event(&event, &mut frames);
        frames.clear();
    }
    writer.answer()
}

#[cfg(test)]
mod tests;
