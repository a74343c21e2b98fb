//! Messages → instructions and turns.

use serde_json::Value;

use super::content::{self, cache_mark};
use super::fields::Fields;
use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::{Part, Role, Thought, ToolCall, Turn, Unplaced};
use crate::domain::llm::normal::feature::Feature;

/// What is read so far.
pub(super) struct Messages<'u> {
    /// System and developer messages in front of the first turn.
    pub(super) system: Vec<Part>,
    /// The turns.
    pub(super) turns: Vec<Turn>,
    unplaced: &'u mut Vec<Unplaced>,
    /// Calls of the time before ids, by name: their results refer to them so.
    legacy_calls: Vec<(String, String)>,
}

/// Reads `messages`.
pub(super) fn read<'u>(
    root: &Fields<'_>,
    unplaced: &'u mut Vec<Unplaced>,
) -> Result<Messages<'u>, Refusal> {
    let items = root
        .list("messages")?
        .ok_or_else(|| root.missing("messages"))?;
    if items.is_empty() {
        return Err(root.invalid("messages", "must hold at least one message"));
    }
    let mut messages = Messages {
        system: Vec::new(),
        turns: Vec::new(),
        unplaced,
        legacy_calls: Vec::new(),
    };
    for (i, item) in items.iter().enumerate() {
        messages.message(&Fields::at(item, format!("messages[{i}]"))?, i)?;
    }
    Ok(messages)
}

impl Messages<'_> {
    fn message(&mut self, message: &Fields<'_>, i: usize) -> Result<(), Refusal> {
        self.leftovers(message);
        let (role, parts) = match message.required_text("role")? {
            "system" | "developer" => (Role::System, self.plain(message)?),
            "user" => (Role::User, self.plain(message)?),
            "assistant" => (Role::Assistant, self.assistant(message, i)?),
            "tool" => (Role::User, vec![self.tool_result(message)?]),
            "function" => (Role::User, vec![self.legacy_result(message)?]),
            _ => {
                return Err(message.invalid(
                    "role",
                    "must be one of system, developer, user, assistant, tool, function",
                ));
            }
        };
        let parts = self.marked(parts, message)?;
        if role == Role::System && self.turns.is_empty() {
            self.system.extend(parts);
        } else if !parts.is_empty() {
            self.turns.push(Turn { role, parts });
        }
        Ok(())
    }

    /// Content that must be there.
    fn plain(&mut self, message: &Fields<'_>) -> Result<Vec<Part>, Refusal> {
        content::read(message, self.unplaced)?.ok_or_else(|| message.missing("content"))
    }

    fn assistant(&mut self, message: &Fields<'_>, i: usize) -> Result<Vec<Part>, Refusal> {
        let mut parts = Vec::new();
        let thought = match message.text("reasoning_content")? {
            None | Some("") => message.text("reasoning")?,
            thought => thought,
        };
        if let Some(text) = thought.filter(|text| !text.is_empty()) {
            parts.push(Part::Reasoning(Thought {
                text: text.to_owned(),
                ..Thought::default()
            }));
        }
        let content = content::read(message, self.unplaced)?;
        let said = content.is_some();
        parts.extend(content.unwrap_or_default());
        let refusal = message.text("refusal")?.filter(|text| !text.is_empty());
        parts.extend(refusal.map(|text| Part::Refusal(text.to_owned())));
        self.tool_calls(message, &mut parts)?;
        self.legacy_call(message, i, &mut parts)?;
        let audio = message.object("audio")?.is_some();
        if audio {
            message.unplaced("audio", Feature::Reference, self.unplaced);
        }
        // Answers are sent back as they came, also those that said nothing: their content is null, their fields are there.
        let answer_of_an_sdk = message.has("refusal") || message.has("tool_calls");
        if parts.is_empty() && !said && !audio && !answer_of_an_sdk {
            return Err(message.missing("content"));
        }
        // Beside a tool call or a refusal an empty text says nothing, and Anthropic refuses it.
        if parts.len() > 1 {
            parts.retain(|part| !matches!(part, Part::Text { text, .. } if text.is_empty()));
        }
        Ok(parts)
    }

    fn tool_calls(&mut self, message: &Fields<'_>, parts: &mut Vec<Part>) -> Result<(), Refusal> {
        for (j, call) in (0..).zip(message.list("tool_calls")?.unwrap_or_default()) {
            let call = Fields::at(call, message.path(&format!("tool_calls[{j}]")))?;
            match call.text("type")? {
                None | Some("function") => {}
                Some(_) => {
                    call.unplaced("", Feature::Other, self.unplaced);
                    continue;
                }
            }
            // `index` stays behind when a stream is gathered; Gemini's signatures are in `extra_content`.
            call.leftovers(
                &["type", "id", "function", "index"],
                Feature::Hint,
                self.unplaced,
            );
            let id = call.required_text("id")?;
            let function = call.required_object("function")?;
            parts.push(Part::ToolCall(tool_call(id.to_owned(), &function)?));
        }
        Ok(())
    }

    fn tool_result(&mut self, message: &Fields<'_>) -> Result<Part, Refusal> {
        Ok(Part::ToolResult {
            id: message.required_text("tool_call_id")?.to_owned(),
            content: self.plain(message)?,
            is_error: false,
            cache: None,
        })
    }

    /// `function_call`, which had no id: it gets one of its place.
    fn legacy_call(
        &mut self,
        message: &Fields<'_>,
        i: usize,
        parts: &mut Vec<Part>,
    ) -> Result<(), Refusal> {
        if let Some(function) = message.object("function_call")? {
            let call = tool_call(format!("call_{i}"), &function)?;
            self.legacy_calls.push((call.name.clone(), call.id.clone()));
            parts.push(Part::ToolCall(call));
        }
        Ok(())
    }

    fn legacy_result(&mut self, message: &Fields<'_>) -> Result<Part, Refusal> {
        let name = message.required_text("name")?;
        let call = self.legacy_calls.iter().rfind(|(called, _)| called == name);
        let Some((_, id)) = call else {
            return Err(message.invalid("name", "must name a function that was called before"));
        };
        let id = id.clone();
        let content = content::read(message, self.unplaced)?;
        Ok(Part::ToolResult {
            id,
            content: content.unwrap_or_default(),
            is_error: false,
            cache: None,
        })
    }

    /// A cache mark on the message is one behind its last part.
    fn marked(&mut self, mut parts: Vec<Part>, message: &Fields<'_>) -> Result<Vec<Part>, Refusal> {
        let Some(mark) = cache_mark(message)? else {
            return Ok(parts);
        };
        match parts.last_mut() {
            Some(
                Part::Text { cache, .. }
                | Part::Image { cache, .. }
                | Part::File { cache, .. }
                | Part::ToolResult { cache, .. },
            ) => *cache = Some(mark),
            _ => message.unplaced("cache_control", Feature::Hint, self.unplaced),
        }
        Ok(parts)
    }

    fn leftovers(&mut self, message: &Fields<'_>) {
        let role = message.get("role").and_then(Value::as_str);
        for (name, _) in message.said() {
            let feature = match (name, role) {
                (
                    "role"
                    | "content"
                    | "tool_calls"
                    | "tool_call_id"
                    | "function_call"
                    | "refusal"
                    | "audio"
                    | "reasoning_content"
                    | "reasoning"
                    | "cache_control"
                    | "prompt_cache_breakpoint",
                    _,
                ) => continue,
                // Repeats what the id says.
                ("name", Some("tool" | "function")) => continue,
                // What answers carry beside the message itself, ours and other servers', and comes back with it.
                (
                    "annotations"
                    | "parsed"
                    | "reasoning_details"
                    | "thinking_blocks"
                    | "provider_specific_fields"
                    | "extra_content"
                    | "id"
                    | "metadata",
                    _,
                ) => Feature::Hint,
                // Tells the model who speaks, or that the answer goes on from here (`prefix`, `partial`).
                _ => Feature::Other,
            };
            message.unplaced(name, feature, self.unplaced);
        }
    }
}

fn tool_call(id: String, function: &Fields<'_>) -> Result<ToolCall, Refusal> {
    let name = function.required_text("name")?.to_owned();
    let arguments = match function.get("arguments") {
        None => String::new(),
        Some(Value::String(text)) => text.clone(),
        // Not OpenAI's, but what servers hand out that answer so, and then comes back.
        Some(object @ Value::Object(_)) => object.to_string(),
        Some(_) => return Err(function.invalid("arguments", "must be JSON as a text")),
    };
    Ok(ToolCall {
        id,
        name,
        arguments,
    })
}
