//! Content blocks of a request → parts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::Value;

use super::fields::{
    Fields, at, flag, is_empty, name, object, optional_object, required_text, said, text,
};
use super::read::Rest;
use crate::base::errors::Refusal;
use crate::domain::llm::normal::conversation::{CacheMark, Part, Role, Source, Thought, ToolCall};
use crate::domain::llm::normal::feature::Feature;
use crate::domain::llm::request::{invalid, missing};

/// Reads a text or a list of blocks. Who said it tells which blocks may stand there.
pub(super) fn read(
    content: &Value,
    path: &str,
    role: Role,
    rest: &mut Rest,
) -> Result<Vec<Part>, Refusal> {
    let blocks = match content {
        Value::String(text) => return Ok(vec![Part::text(text.as_str())]),
        Value::Array(blocks) => blocks,
        _ => {
            return Err(invalid(
                path,
                "must be a text or an array of content blocks",
            ));
        }
    };
    let mut parts = Vec::with_capacity(blocks.len());
    for (i, value) in blocks.iter().enumerate() {
        let path = format!("{path}[{i}]");
        parts.extend(block(object(value, &path)?, &path, role, rest)?);
    }
    Ok(parts)
}

fn block(
    fields: &Fields,
    path: &str,
    role: Role,
    rest: &mut Rest,
) -> Result<Option<Part>, Refusal> {
    let kind = name(fields, path, "type")?;
    belongs(kind, path, role)?;
    match kind {
        "text" => {
            if said(fields, "citations").is_some_and(|value| !is_empty(value)) {
                rest.push(Feature::Hint, at(path, "citations"));
            }
            Ok(Some(Part::Text {
                text: required_text(fields, path, "text")?.to_owned(),
                cache: cache_mark(fields, path)?,
            }))
        }
        "image" => image(fields, path, rest),
        "document" => document(fields, path, rest),
        "tool_use" => tool_use(fields, path, rest).map(Some),
        "tool_result" => tool_result(fields, path, rest).map(Some),
        "thinking" => thinking(fields, path).map(Some),
        "redacted_thinking" => Ok(Some(Part::Reasoning(Thought {
            sealed: Some(name(fields, path, "data")?.to_owned()),
            ..Thought::default()
        }))),
        _ => {
            rest.push(other(kind), path);
            Ok(None)
        }
    }
}

/// Blocks that stand on one side only.
fn belongs(kind: &str, path: &str, role: Role) -> Result<(), Refusal> {
    let place = match kind {
        "tool_use" | "thinking" | "redacted_thinking" if role != Role::Assistant => "assistant",
        "tool_result" if role != Role::User => "user",
        _ if role == Role::System && kind != "text" => {
            return Err(invalid(&at(path, "type"), "must be text here"));
        }
        _ => return Ok(()),
    };
    let rule = format!("cannot be {kind} here; it belongs into a message of the role {place}");
    Err(invalid(&at(path, "type"), &rule))
}

/// What a block is about that the normal form has no place for.
fn other(kind: &str) -> Feature {
    match kind {
        "container_upload" => Feature::Reference,
        "server_tool_use" | "mcp_tool_use" => Feature::ServerTool,
        _ if kind.ends_with("_tool_result") => Feature::ServerTool,
        _ => Feature::Other,
    }
}

/// `cache_control` of a block or a tool.
pub(super) fn cache_mark(fields: &Fields, path: &str) -> Result<Option<CacheMark>, Refusal> {
    let Some(mark) = optional_object(fields, path, "cache_control")? else {
        return Ok(None);
    };
    let path = at(path, "cache_control");
    if name(mark, &path, "type")? != "ephemeral" {
        return Err(invalid(&at(&path, "type"), "must be \"ephemeral\""));
    }
    match text(mark, &path, "ttl")? {
        None | Some("5m") => Ok(Some(CacheMark::FiveMinutes)),
        Some("1h") => Ok(Some(CacheMark::OneHour)),
        Some(_) => Err(invalid(&at(&path, "ttl"), "must be \"5m\" or \"1h\"")),
    }
}

/// `source` of a block, with its path.
fn source<'a>(fields: &'a Fields, path: &str) -> Result<(&'a Fields, String), Refusal> {
    let source = optional_object(fields, path, "source")?;
    let path = at(path, "source");
    source.map_or_else(|| Err(missing(&path)), |source| Ok((source, path.clone())))
}

fn base64(source: &Fields, path: &str) -> Result<Source, Refusal> {
    Ok(Source::Base64 {
        media_type: name(source, path, "media_type")?.to_owned(),
        data: name(source, path, "data")?.to_owned(),
    })
}

fn image(fields: &Fields, path: &str, rest: &mut Rest) -> Result<Option<Part>, Refusal> {
    let (source, source_path) = source(fields, path)?;
    let source = match name(source, &source_path, "type")? {
        "base64" => base64(source, &source_path)?,
        "url" => Source::Url(name(source, &source_path, "url")?.to_owned()),
        "file" => {
            rest.push(Feature::Reference, source_path);
            return Ok(None);
        }
        _ => {
            let rule = "must be one of base64, url, file";
            return Err(invalid(&at(&source_path, "type"), rule));
        }
    };
    if let Some(transformations) = optional_object(fields, path, "transformations")?
        && said(transformations, "oversized_image").is_some_and(|value| *value != "downsize")
    {
        rest.push(Feature::Other, at(path, "transformations"));
    }
    Ok(Some(Part::Image {
        source,
        detail: None,
        cache: cache_mark(fields, path)?,
    }))
}

fn document(fields: &Fields, path: &str, rest: &mut Rest) -> Result<Option<Part>, Refusal> {
    let (source, source_path) = source(fields, path)?;
    let plain = |text: &str| Source::Base64 {
        media_type: "text/plain".into(),
        data: BASE64.encode(text),
    };
    let source = match name(source, &source_path, "type")? {
        "base64" => base64(source, &source_path)?,
        "text" => plain(required_text(source, &source_path, "data")?),
        "url" => Source::Url(name(source, &source_path, "url")?.to_owned()),
        "content" => match said(source, "content") {
            Some(Value::String(text)) => plain(text),
            // A document of the caller's own chunks.
            _ => {
                rest.push(Feature::File, source_path);
                return Ok(None);
            }
        },
        "file" => {
            rest.push(Feature::Reference, source_path);
            return Ok(None);
        }
        _ => {
            let rule = "must be one of base64, text, content, url, file";
            return Err(invalid(&at(&source_path, "type"), rule));
        }
    };
    if let Some(citations) = optional_object(fields, path, "citations")?
        && flag(citations, &at(path, "citations"), "enabled")? == Some(true)
    {
        rest.push(Feature::Other, at(path, "citations"));
    }
    if text(fields, path, "context")?.is_some() {
        rest.push(Feature::Other, at(path, "context"));
    }
    Ok(Some(Part::File {
        source,
        name: text(fields, path, "title")?.map(str::to_owned),
        cache: cache_mark(fields, path)?,
    }))
}

fn tool_use(fields: &Fields, path: &str, rest: &mut Rest) -> Result<Part, Refusal> {
    let arguments = match said(fields, "input") {
        None => String::new(),
        Some(input @ Value::Object(_)) => input.to_string(),
        // How our own answers give arguments that are no object.
        Some(Value::String(text)) => text.clone(),
        Some(_) => return Err(invalid(&at(path, "input"), "must be an object")),
    };
    // Marks after a call have no place: the next result can carry one.
    if cache_mark(fields, path)?.is_some() {
        rest.push(Feature::Hint, at(path, "cache_control"));
    }
    if let Some(caller) = optional_object(fields, path, "caller")?
        && said(caller, "type").is_some_and(|kind| *kind != "direct")
    {
        rest.push(Feature::ServerTool, at(path, "caller"));
    }
    toolset(fields, path, rest);
    Ok(Part::ToolCall(ToolCall {
        id: name(fields, path, "id")?.to_owned(),
        name: name(fields, path, "name")?.to_owned(),
        arguments,
    }))
}

fn tool_result(fields: &Fields, path: &str, rest: &mut Rest) -> Result<Part, Refusal> {
    let content_path = at(path, "content");
    let content = match said(fields, "content") {
        None => Vec::new(),
        Some(content) => result_content(content, &content_path, rest)?,
    };
    toolset(fields, path, rest);
    Ok(Part::ToolResult {
        id: name(fields, path, "tool_use_id")?.to_owned(),
        content,
        is_error: flag(fields, path, "is_error")?.unwrap_or(false),
        cache: cache_mark(fields, path)?,
    })
}

/// Texts, pictures and documents; a result inside a result is none.
fn result_content(content: &Value, path: &str, rest: &mut Rest) -> Result<Vec<Part>, Refusal> {
    if let Value::Array(blocks) = content {
        for (i, block) in blocks.iter().enumerate() {
            if block.get("type").and_then(Value::as_str) == Some("tool_result") {
                let path = format!("{path}[{i}].type");
                return Err(invalid(&path, "cannot be tool_result inside a tool_result"));
            }
        }
    }
    read(content, path, Role::User, rest)
}

fn toolset(fields: &Fields, path: &str, rest: &mut Rest) {
    if said(fields, "toolset_name").is_some() {
        rest.push(Feature::Other, at(path, "toolset_name"));
    }
}

fn thinking(fields: &Fields, path: &str) -> Result<Part, Refusal> {
    Ok(Part::Reasoning(Thought {
        text: required_text(fields, path, "thinking")?.to_owned(),
        signature: text(fields, path, "signature")?
            .filter(|signature| !signature.is_empty())
            .map(str::to_owned),
        ..Thought::default()
    }))
}
