//! A conversation → a request body.

use serde_json::{Map, Value, json};

use super::super::whole::or_empty_object;
use crate::domain::llm::dialect::lost::{self, Lost};
use crate::domain::llm::normal::conversation::{
    Conversation, Effort, Format, Part, Reasoning, Role, Sampling, Source, Tool, ToolCall,
    ToolChoice, Turn, Written,
};

/// OpenAI takes no more stop texts (API reference, "Create chat completion").
const MAX_STOPS: usize = 4;

/// Writes a request, without `model`, `stream` and `stream_options`.
///
/// What this dialect says in another way: neighbouring assistant turns become one message, with its text before its
/// tool calls; tool results come first behind the calls; a thinking budget becomes an effort; a file without a name
/// gets one. The ceiling is `max_tokens`, which every server knows but OpenAI's newest models: there the caller renames
/// it.
#[must_use]
pub fn write(conversation: &Conversation) -> Written {
    let mut lost = Lost::of(conversation);
    lost.cache_marks(conversation);
    let mut body = Map::new();
    body.insert("messages".into(), messages(conversation, &mut lost));
    tools(conversation, &mut body);
    if let Some(format) = format(&conversation.format) {
        body.insert("response_format".into(), format);
    }
    sampling(&conversation.sampling, &mut body, &mut lost);
    let effort = conversation.reasoning.as_ref().and_then(effort);
    insert(&mut body, "reasoning_effort", effort);
    insert(&mut body, "user", conversation.user.as_deref());
    Written {
        body,
        lost: lost.into_items(),
    }
}

fn insert(body: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        body.insert(name.into(), value.into());
    }
}

fn messages(conversation: &Conversation, lost: &mut Lost) -> Value {
    let mut out = Vec::new();
    out.extend(message("system", conversation.system.iter(), lost));
    let (speaking, silent): (Vec<&Turn>, Vec<&Turn>) =
        conversation.turns.iter().partition(|turn| says(turn));
    for turn in silent {
        for part in &turn.parts {
            content_part(part, turn.role == Role::User, lost); // for what is lost with it
        }
    }
    let is_assistant = |turn: &Turn| turn.role == Role::Assistant;
    for run in speaking.chunk_by(|a, b| is_assistant(a) == is_assistant(b)) {
        if run.first().is_some_and(|turn| is_assistant(turn)) {
            out.push(assistant(run, lost));
            continue;
        }
        // The results must stand right behind the calls, whatever was said in between.
        let parts = run.iter().flat_map(|turn| &turn.parts);
        out.extend(parts.filter_map(|part| tool_result(part, lost)));
        for turn in run {
            let role = match turn.role {
                Role::System => "system",
                Role::User | Role::Assistant => "user",
            };
            let parts = turn.parts.iter();
            let others = parts.filter(|part| !matches!(part, Part::ToolResult { .. }));
            out.extend(message(role, others, lost));
        }
    }
    Value::from(out)
}

/// Is anything of a turn written? What is not must not come between calls and their results.
fn says(turn: &Turn) -> bool {
    turn.parts.iter().any(|part| match (turn.role, part) {
        (Role::Assistant, Part::Text { text, .. } | Part::Refusal(text)) => !text.is_empty(),
        (Role::Assistant, part) => matches!(part, Part::ToolCall(_)),
        (_, Part::Text { .. } | Part::ToolResult { .. }) => true,
        (Role::User, Part::Image { .. }) => true,
        (Role::User, Part::File { source, .. }) => matches!(source, Source::Base64 { .. }),
        _ => false,
    })
}

/// A message of instructions or of the user; `None` when it would be empty.
fn message<'a>(
    role: &str,
    parts: impl Iterator<Item = &'a Part>,
    lost: &mut Lost,
) -> Option<Value> {
    let content: Vec<Value> = parts
        .filter_map(|part| content_part(part, role == "user", lost))
        .collect();
    (!content.is_empty()).then(|| json!({"role": role, "content": joined(content)}))
}

/// A text or, where it is more, an array of parts.
fn joined(mut content: Vec<Value>) -> Value {
    match content.as_mut_slice() {
        [only] if only.get("type") == Some(&Value::from("text")) => {
            only.get_mut("text").map(Value::take).unwrap_or_default()
        }
        _ => Value::from(content),
    }
}

fn content_part(part: &Part, by_user: bool, lost: &mut Lost) -> Option<Value> {
    match part {
        Part::Text { text, .. } => return Some(json!({"type": "text", "text": text})),
        Part::Image { source, detail, .. } if by_user => {
            return Some(image(source, detail.as_deref()));
        }
        Part::File {
            source: Source::Base64 { media_type, data },
            name,
            ..
        } if by_user => return Some(file(media_type, data, name.as_deref())),
        Part::Image { .. } => lost.push(lost::IMAGE),
        // An address of a file is taken by no server of this dialect.
        Part::File { .. } => lost.push(lost::FILE),
        // Some servers want it back as `reasoning_content`, others refuse a message that has it.
        Part::Reasoning(_) => lost.push(lost::EARLIER_THINKING),
        Part::Media => {}
        Part::Refusal(text) if text.is_empty() => {}
        Part::Refusal(_) | Part::ToolCall(_) | Part::ToolResult { .. } => {
            lost.push(lost::MISPLACED)
        }
    }
    None
}

fn image(source: &Source, detail: Option<&str>) -> Value {
    let url = match source {
        Source::Url(url) => url.clone(),
        Source::Base64 { media_type, data } => data_url(media_type, data),
    };
    match detail {
        Some(detail) => json!({"type": "image_url", "image_url": {"url": url, "detail": detail}}),
        None => json!({"type": "image_url", "image_url": {"url": url}}),
    }
}

fn file(media_type: &str, data: &str, name: Option<&str>) -> Value {
    // OpenAI wants a name beside the bytes, and judges them by its ending.
    let name = name.unwrap_or(match media_type {
        "application/pdf" => "document.pdf",
        "text/plain" => "document.txt",
        _ => "document",
    });
    let data = data_url(media_type, data);
    json!({"type": "file", "file": {"filename": name, "file_data": data}})
}

fn data_url(media_type: &str, data: &str) -> String {
    format!("data:{media_type};base64,{data}")
}

/// One message for a run of assistant turns: calls in a message of their own would stand between others and their
/// results.
fn assistant(run: &[&Turn], lost: &mut Lost) -> Value {
    let (mut content, mut calls) = (Vec::new(), Vec::new());
    let mut refusal = String::new();
    for part in run.iter().flat_map(|turn| &turn.parts) {
        match part {
            Part::Refusal(text) => refusal.push_str(text),
            Part::ToolCall(call) => calls.push(tool_call(call)),
            Part::Text { text, .. } if text.is_empty() => {}
            _ => content.extend(content_part(part, false, lost)),
        }
    }
    let mut message = Map::new();
    message.insert("role".into(), Value::from("assistant"));
    let content = match (content.is_empty(), refusal.is_empty()) {
        (false, _) => joined(content),
        (true, true) => Value::Null,
        // Servers that do not know `refusal` still want a content.
        (true, false) => Value::from(""),
    };
    message.insert("content".into(), content);
    if !refusal.is_empty() {
        message.insert("refusal".into(), Value::from(refusal));
    }
    if !calls.is_empty() {
        message.insert("tool_calls".into(), Value::from(calls));
    }
    Value::Object(message)
}

fn tool_call(call: &ToolCall) -> Value {
    json!({
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": or_empty_object(&call.arguments)},
    })
}

fn tool_result(part: &Part, lost: &mut Lost) -> Option<Value> {
    let Part::ToolResult {
        id,
        content,
        is_error,
        ..
    } = part
    else {
        return None;
    };
    if *is_error {
        // The result's own words say it.
        lost.push(lost::IS_ERROR);
    }
    let content: Vec<Value> = content
        .iter()
        .filter_map(|part| content_part(part, false, lost))
        .collect();
    let content = if content.is_empty() {
        Value::from("")
    } else {
        joined(content)
    };
    Some(json!({"role": "tool", "tool_call_id": id, "content": content}))
}

fn tools(conversation: &Conversation, body: &mut Map<String, Value>) {
    let choice = match &conversation.tool_choice {
        ToolChoice::Unset => None,
        ToolChoice::Auto => Some(Value::from("auto")),
        ToolChoice::None => Some(Value::from("none")),
        ToolChoice::Required => Some(Value::from("required")),
        ToolChoice::Named(name) => Some(json!({"type": "function", "function": {"name": name}})),
    };
    // OpenAI refuses both fields without tools, where they mean nothing.
    if conversation.tools.is_empty() {
        return;
    }
    let tools: Vec<Value> = conversation.tools.iter().map(tool).collect();
    body.insert("tools".into(), Value::from(tools));
    insert(body, "tool_choice", choice);
    // True is the default, and some servers do not know the field.
    let parallel = conversation.parallel_tools.filter(|parallel| !parallel);
    insert(body, "parallel_tool_calls", parallel);
}

fn tool(tool: &Tool) -> Value {
    let mut function = Map::new();
    function.insert("name".into(), Value::from(tool.name.as_str()));
    insert(&mut function, "description", tool.description.as_deref());
    insert(&mut function, "parameters", tool.parameters.clone());
    insert(&mut function, "strict", tool.strict);
    json!({"type": "function", "function": function})
}

fn format(format: &Format) -> Option<Value> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(json!({"type": "json_object"})),
        Format::Schema {
            name,
            description,
            schema,
            strict,
        } => {
            let mut fields = Map::new();
            fields.insert("name".into(), Value::from(name.as_str()));
            insert(&mut fields, "description", description.as_deref());
            fields.insert("schema".into(), schema.clone());
            insert(&mut fields, "strict", *strict);
            Some(json!({"type": "json_schema", "json_schema": fields}))
        }
    }
}

fn sampling(sampling: &Sampling, body: &mut Map<String, Value>, lost: &mut Lost) {
    insert(body, "max_tokens", sampling.max_output);
    insert(body, "temperature", sampling.temperature);
    insert(body, "top_p", sampling.top_p);
    insert(body, "seed", sampling.seed);
    insert(body, "presence_penalty", sampling.presence_penalty);
    insert(body, "frequency_penalty", sampling.frequency_penalty);
    if sampling.top_k.is_some() {
        lost.push(lost::TOP_K);
    }
    if sampling.stop.len() > MAX_STOPS {
        lost.push(lost::STOP);
    }
    if !sampling.stop.is_empty() {
        let stops: Vec<&str> = sampling
            .stop
            .iter()
            .take(MAX_STOPS)
            .map(String::as_str)
            .collect();
        body.insert("stop".into(), json!(stops));
    }
}

/// The word for effort. A budget becomes one of the words that every reasoning model knows:
///
/// | `budget_tokens` | 0 | 1 to 8191 | 8192 to 16 383 | 16 384 and more |
/// |---|---|---|---|---|
/// | `reasoning_effort` | `none` | `low` | `medium` | `high` |
///
/// Nothing is written where the model decides, which is what this dialect's models do unasked.
fn effort(reasoning: &Reasoning) -> Option<&'static str> {
    let derived = || {
        reasoning.budget_tokens.map(|tokens| match tokens {
            0 => Effort::None,
            1..8_192 => Effort::Low,
            8_192..16_384 => Effort::Medium,
            _ => Effort::High,
        })
    };
    Some(match reasoning.effort.or_else(derived)? {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        // `max` is newer and known to fewer models.
        Effort::Max => "xhigh",
    })
}
