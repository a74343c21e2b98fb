//! Turns → `instructions` and `input`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::mem;

use serde_json::{Map, Value, json};

use crate::base::digest::sha256;
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::lost::{self, Lost};
use crate::domain::llm::normal::conversation::{Conversation, Part, Role, Source, Thought, Turn};

/// Writes them; says whether sealed thinking is in it.
pub(super) fn write(
    conversation: &Conversation,
    body: &mut Map<String, Value>,
    lost: &mut Lost,
) -> bool {
    let mut input = Input {
        lost,
        origin: conversation.origin,
        items: Vec::new(),
        role: Role::System,
        content: Vec::new(),
        sealed: false,
    };
    match conversation.system.as_slice() {
        // One text is what every server understands as `instructions`; alone they are no input.
        [Part::Text { text, .. }] if !conversation.turns.is_empty() => {
            body.insert("instructions".into(), text.as_str().into());
        }
        parts => input.turn(Role::System, parts),
    }
    for Turn { role, parts } in &conversation.turns {
        input.turn(*role, parts);
    }
    let sealed = input.sealed;
    body.insert("input".into(), input.items.into());
    sealed
}

struct Input<'a> {
    lost: &'a mut Lost,
    origin: Protocol,
    items: Vec<Value>,
    /// Role and content of the message that is being gathered.
    role: Role,
    content: Vec<Value>,
    sealed: bool,
}

impl Input<'_> {
    fn turn(&mut self, role: Role, parts: &[Part]) {
        self.role = role;
        for part in parts {
            self.part(part);
        }
        self.end_message();
    }

    fn part(&mut self, part: &Part) {
        match part {
            Part::ToolCall(call) => {
                let arguments = match call.arguments.as_str() {
                    "" => "{}",
                    arguments => arguments,
                };
                self.item(json!({
                    "type": "function_call",
                    "call_id": call_id(&call.id),
                    "name": call.name,
                    "arguments": arguments,
                }));
            }
            Part::ToolResult {
                id,
                content,
                is_error,
                ..
            } => {
                if *is_error {
                    // The dialect has no flag; what went wrong stands in the text.
                    self.lost.push(lost::IS_ERROR);
                }
                let output = self.output(content);
                self.item(json!({
                    "type": "function_call_output",
                    "call_id": call_id(id),
                    "output": output,
                }));
            }
            Part::Reasoning(thought) => self.reasoning(thought),
            Part::Refusal(text) if self.role == Role::Assistant => {
                self.content
                    .push(json!({"type": "refusal", "refusal": text}));
            }
            Part::Image { .. } | Part::File { .. } if self.role == Role::Assistant => {
                self.lost.push(match part {
                    Part::Image { .. } => lost::IMAGE,
                    _ => lost::FILE,
                });
            }
            _ => {
                let content = self.content_part(part);
                self.content.extend(content);
            }
        }
    }

    /// Text, pictures and files, which messages and results share.
    fn content_part(&mut self, part: &Part) -> Option<Value> {
        let kind = match self.role {
            Role::Assistant => "output_text",
            Role::User | Role::System => "input_text",
        };
        match part {
            Part::Text { text, .. } => {
                (!text.is_empty()).then(|| json!({"type": kind, "text": text}))
            }
            Part::Refusal(text) => Some(json!({"type": kind, "text": text})),
            Part::Image { source, detail, .. } => {
                let detail = detail.as_deref().unwrap_or("auto");
                Some(json!({"type": "input_image", "image_url": &*url(source), "detail": detail}))
            }
            Part::File { source, name, .. } => Some(file(source, name.as_deref())),
            Part::ToolCall(_) | Part::ToolResult { .. } | Part::Reasoning(_) | Part::Media => None,
        }
    }

    fn output(&mut self, content: &[Part]) -> Value {
        let role = mem::replace(&mut self.role, Role::User);
        let mut parts: Vec<Value> = Vec::with_capacity(content.len());
        for part in content {
            parts.extend(self.content_part(part));
        }
        self.role = role;
        plain(parts)
    }

    /// Thinking goes back to the provider that sealed it; OpenAI refuses any other.
    fn reasoning(&mut self, thought: &Thought) {
        let ours = self.origin == Protocol::Responses;
        let sealed = thought
            .sealed
            .as_deref()
            .filter(|sealed| ours || sealed.starts_with(OPENAI_SEAL));
        let Some(sealed) = sealed else {
            self.lost.push(lost::EARLIER_THINKING);
            return;
        };
        let mut summary = Vec::new();
        if !thought.text.is_empty() {
            summary.push(json!({"type": "summary_text", "text": thought.text}));
        }
        let mut item =
            json!({"type": "reasoning", "summary": summary, "encrypted_content": sealed});
        if let (Value::Object(fields), Some(id)) = (&mut item, &thought.id) {
            fields.insert("id".into(), id.as_str().into());
        }
        self.sealed = true;
        self.item(item);
    }

    fn item(&mut self, item: Value) {
        self.end_message();
        self.items.push(item);
    }

    fn end_message(&mut self) {
        if self.content.is_empty() {
            return;
        }
        let role = match self.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        let content = plain(mem::take(&mut self.content));
        self.items
            .push(json!({"type": "message", "role": role, "content": content}));
    }
}

/// A single text as a mere string, which every server takes; otherwise the parts.
fn plain(mut parts: Vec<Value>) -> Value {
    match parts.as_mut_slice() {
        [] => Value::String(String::new()),
        [Value::Object(part)] if part.len() == 2 => match part.remove("text") {
            Some(text) => text,
            None => parts.into(),
        },
        _ => parts.into(),
    }
}

fn url(source: &Source) -> Cow<'_, str> {
    match source {
        Source::Url(url) => Cow::Borrowed(url),
        Source::Base64 { media_type, data } => {
            Cow::Owned(format!("data:{media_type};base64,{data}"))
        }
    }
}

fn file(source: &Source, name: Option<&str>) -> Value {
    match source {
        Source::Url(url) => match name {
            Some(name) => json!({"type": "input_file", "file_url": url, "filename": name}),
            None => json!({"type": "input_file", "file_url": url}),
        },
        // Bytes without a name are refused.
        Source::Base64 { media_type, .. } => json!({
            "type": "input_file",
            "file_data": &*url(source),
            "filename": name.unwrap_or(if media_type == "application/pdf" { "file.pdf" } else { "file.txt" }),
        }),
    }
}

/// How OpenAI's `encrypted_content` begins: version 0x80 and a time whose upper bytes are zero (Fernet), in base64.
const OPENAI_SEAL: &str = "gAAAA";

/// OpenAI refuses longer ids of calls ("string too long").
const MAX_CALL_ID_CHARS: usize = 64;

/// The id itself, or a short one that follows from it, so that call and result still match.
fn call_id(id: &str) -> Cow<'_, str> {
    if id.chars().count() <= MAX_CALL_ID_CHARS {
        return Cow::Borrowed(id);
    }
    let mut short = String::from("call_");
    for byte in sha256(id.as_bytes()).iter().take(16) {
        let _ = write!(short, "{byte:02x}"); // writing to a String cannot fail
    }
    Cow::Owned(short)
}
