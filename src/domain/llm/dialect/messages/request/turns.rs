//! Turns → messages that alternate, tool results first in the user's.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value, json};

use crate::domain::llm::dialect::lost::{self, Lost};
use crate::domain::llm::dialect::messages::whole;
use crate::domain::llm::normal::conversation::{
    CacheMark, Part, Role, Source, Thought, ToolCall, Turn,
};

/// The user's word where the API needs one and the conversation has none.
const FILLER: &str = ".";

/// A message that is being gathered.
struct Message {
    role: Role,
    results: Vec<Value>,
    others: Vec<Value>,
}

/// Writes system prompt and turns. The API wants at least one message, and the first from the user: a request of
/// instructions alone becomes the user's words, and an opening of the assistant gets [`FILLER`] in front.
pub(super) fn write(
    system: &[Part],
    turns: &[Turn],
    lost: &mut Lost,
) -> (Option<Value>, Vec<Value>) {
    let system = system_blocks(system, lost);
    let mut messages: Vec<Message> = Vec::with_capacity(turns.len());
    for turn in turns {
        gather(turn, &mut messages, lost);
    }
    if messages.is_empty() {
        let content = if system.is_empty() {
            vec![text_block(FILLER, None)]
        } else {
            system
        };
        return (
            None,
            vec![json!({"role": "user", "content": short(content)})],
        );
    }
    if let Some(last) = messages.last_mut()
        && last.role == Role::Assistant
    {
        trim_end(last);
    }
    let mut written = Vec::with_capacity(messages.len().saturating_add(1));
    if messages
        .first()
        .is_some_and(|first| first.role == Role::Assistant)
    {
        written.push(json!({"role": "user", "content": FILLER}));
    }
    written.extend(messages.into_iter().map(|mut message| {
        message.results.append(&mut message.others);
        let role = match message.role {
            Role::Assistant => "assistant",
            Role::User | Role::System => "user",
        };
        json!({"role": role, "content": short(message.results)})
    }));
    let system = (!system.is_empty()).then(|| short(system));
    (system, written)
}

fn system_blocks(system: &[Part], lost: &mut Lost) -> Vec<Value> {
    system
        .iter()
        .filter_map(|part| match part {
            Part::Image { .. } => {
                lost.push(lost::IMAGE);
                None
            }
            Part::File { .. } => {
                lost.push(lost::FILE);
                None
            }
            part => block(part, lost),
        })
        .collect()
}

/// Adds a turn to the last message, or begins one. Instructions in the middle become the user's words at their place:
/// models before Claude 4.8 know no other (release notes of Claude 4.8, "Mid-conversation system messages").
fn gather(turn: &Turn, messages: &mut Vec<Message>, lost: &mut Lost) {
    let role = match turn.role {
        Role::System => {
            lost.push(lost::SYSTEM_TURN);
            Role::User
        }
        role => role,
    };
    for part in &turn.parts {
        let Some(block) = block(part, lost) else {
            continue;
        };
        if messages.last().is_none_or(|last| last.role != role) {
            messages.push(Message {
                role,
                results: Vec::new(),
                others: Vec::new(),
            });
        }
        if let Some(message) = messages.last_mut() {
            match part {
                Part::ToolResult { .. } => message.results.push(block),
                _ => message.others.push(block),
            }
        }
    }
}

/// The API refuses an answer to go on from that ends in blanks.
fn trim_end(message: &mut Message) {
    if let Some(Value::String(text)) = message
        .others
        .last_mut()
        .and_then(|last| last.get_mut("text"))
    {
        text.truncate(text.trim_end().len());
    }
}

/// One plain text stands for itself.
fn short(mut blocks: Vec<Value>) -> Value {
    if let [Value::Object(block)] = blocks.as_mut_slice()
        && block.len() == 2
        && let Some(text @ Value::String(_)) = block.get_mut("text")
    {
        return text.take();
    }
    Value::Array(blocks)
}

fn block(part: &Part, lost: &mut Lost) -> Option<Value> {
    match part {
        Part::Text { text, cache } => said(text).then(|| text_block(text, *cache)),
        Part::Refusal(text) => said(text).then(|| text_block(text, None)),
        Part::Image {
            source,
            detail,
            cache,
        } => {
            if detail.as_deref().is_some_and(|detail| detail != "auto") {
                lost.push(lost::IMAGE_DETAIL);
            }
            let source = image_source(source, lost)?;
            Some(marked(json!({"type": "image", "source": source}), *cache))
        }
        Part::File {
            source,
            name,
            cache,
        } => {
            let source = file_source(source, lost)?;
            let mut block = json!({"type": "document", "source": source});
            if let (Some(name), Some(fields)) = (name, block.as_object_mut()) {
                fields.insert("title".into(), name.as_str().into());
            }
            Some(marked(block, *cache))
        }
        Part::ToolCall(call) => tool_use(call, lost),
        Part::ToolResult {
            id,
            content,
            is_error,
            cache,
        } => {
            let content: Vec<Value> = content
                .iter()
                .filter_map(|part| block(part, lost))
                .collect();
            let mut fields = Map::new();
            fields.insert("type".into(), "tool_result".into());
            fields.insert("tool_use_id".into(), own_id(id).into());
            if !content.is_empty() {
                fields.insert("content".into(), short(content));
            }
            if *is_error {
                fields.insert("is_error".into(), true.into());
            }
            Some(marked(Value::Object(fields), *cache))
        }
        Part::Reasoning(thought) => thinking(thought, lost),
        Part::Media => None,
    }
}

/// The API refuses texts that are empty or blank.
fn said(text: &str) -> bool {
    !text.trim().is_empty()
}

fn text_block(text: &str, cache: Option<CacheMark>) -> Value {
    marked(json!({"type": "text", "text": text}), cache)
}

/// Puts a prompt-cache breakpoint on a block or a tool.
pub(super) fn marked(mut block: Value, cache: Option<CacheMark>) -> Value {
    let mark = match cache {
        None => return block,
        Some(CacheMark::FiveMinutes) => json!({"type": "ephemeral"}),
        Some(CacheMark::OneHour) => json!({"type": "ephemeral", "ttl": "1h"}),
    };
    if let Some(fields) = block.as_object_mut() {
        fields.insert("cache_control".into(), mark);
    }
    block
}

fn image_source(source: &Source, lost: &mut Lost) -> Option<Value> {
    match source {
        Source::Url(url) => Some(json!({"type": "url", "url": url})),
        Source::Base64 { media_type, data }
            if matches!(
                media_type.as_str(),
                "image/jpeg" | "image/png" | "image/gif" | "image/webp"
            ) =>
        {
            Some(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        Source::Base64 { .. } => {
            lost.push(lost::IMAGE);
            None
        }
    }
}

/// PDF as it is, and every kind of text as plain text; the API takes nothing else.
fn file_source(source: &Source, lost: &mut Lost) -> Option<Value> {
    match source {
        Source::Url(url) => Some(json!({"type": "url", "url": url})),
        Source::Base64 { media_type, data } if media_type == "application/pdf" => {
            Some(json!({"type": "base64", "media_type": media_type, "data": data}))
        }
        Source::Base64 { media_type, data } => {
            let is_text = media_type.starts_with("text/") || media_type == "application/json";
            let text = is_text
                .then(|| BASE64.decode(data).ok())
                .flatten()
                .and_then(|bytes| String::from_utf8(bytes).ok());
            if text.is_none() {
                lost.push(lost::FILE);
            }
            text.map(|text| json!({"type": "text", "media_type": "text/plain", "data": text}))
        }
    }
}

/// Arguments must be an object. A call whose arguments are none goes with empty ones, so that its result still has a
/// call, and is reported.
fn tool_use(call: &ToolCall, lost: &mut Lost) -> Option<Value> {
    let mut input = whole::input(&call.arguments);
    if !input.is_object() {
        lost.push(lost::ARGUMENTS);
        input = Value::Object(Map::new());
    }
    Some(json!({"type": "tool_use", "id": own_id(&call.id), "name": call.name, "input": input}))
}

/// Ids must match `^[a-zA-Z0-9_-]+$`; other makers use dots and colons too. Calls and their results change alike.
fn own_id(id: &str) -> String {
    if id.is_empty() {
        return "_".to_owned();
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    id.chars()
        .map(|c| if allowed(c) { c } else { '_' })
        .collect()
}

/// Is this a thought that Anthropic can verify? One with an item id is sealed by the Responses API.
pub(super) const fn is_own(thought: &Thought) -> bool {
    thought.signature.is_some() || (thought.sealed.is_some() && thought.id.is_none())
}

/// Thoughts go back as they came. Those of other makers are left out: the API refuses what it did not sign.
fn thinking(thought: &Thought, lost: &mut Lost) -> Option<Value> {
    if let Some(signature) = &thought.signature {
        return Some(json!({"type": "thinking", "thinking": thought.text, "signature": signature}));
    }
    match &thought.sealed {
        Some(data) if thought.id.is_none() => {
            Some(json!({"type": "redacted_thinking", "data": data}))
        }
        _ => {
            lost.push(lost::EARLIER_THINKING);
            None
        }
    }
}
