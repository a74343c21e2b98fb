//! The grammar of a stream, checked on the frames alone and told from the writer: what the SDK's types declare.

use serde_json::Value;

use crate::domain::llm::normal::event::Frame;

fn has(value: &Value, names: &[&str]) -> Result<(), String> {
    for name in names {
        if value.get(*name).is_none() {
            return Err(format!("`{name}` is missing in {value}"));
        }
    }
    Ok(())
}

/// Checks a whole stream.
pub(super) fn check(frames: &[Frame]) -> Result<(), String> {
    let mut open: Option<(u64, String)> = None;
    let mut next = 0;
    let (mut started, mut delta, mut stopped, mut signed) = (false, false, false, false);
    for frame in frames {
        let data: Value = serde_json::from_str(&frame.data).map_err(|e| e.to_string())?;
        let kind = data["type"].as_str().unwrap_or_default();
        if frame.event != Some(kind) {
            return Err(format!("{:?} says it is {kind}", frame.event));
        }
        if stopped || (!started && kind != "message_start") {
            return Err(format!("{kind} outside the message"));
        }
        match kind {
            "message_start" if !started => {
                started = true;
                start(&data["message"])?;
            }
            "ping" => {}
            "content_block_start" if open.is_none() && !delta && data["index"] == next => {
                open = Some((next, block(&data["content_block"])?));
                next += 1;
                signed = false;
            }
            "content_block_delta" => {
                let Some((index, kind)) = &open else {
                    return Err("a delta without a block".into());
                };
                if data["index"] != *index || signed {
                    return Err(format!("a delta out of place: {data}"));
                }
                signed = piece(&data["delta"], kind)?;
            }
            "content_block_stop" => match open.take() {
                Some((index, _)) if data["index"] == index => {}
                _ => return Err(format!("a stop out of place: {data}")),
            },
            "message_delta" if open.is_none() && !delta => {
                delta = true;
                let fields = ["stop_reason", "stop_sequence", "stop_details", "container"];
                has(&data["delta"], &fields)?;
                usage(&data["usage"])?;
                if !data["usage"]["output_tokens"].is_u64() {
                    return Err("output_tokens is no number".into());
                }
            }
            "message_stop" if delta => stopped = true,
            _ => return Err(format!("{kind} out of order")),
        }
    }
    if stopped {
        Ok(())
    } else {
        Err("no end".into())
    }
}

fn start(message: &Value) -> Result<(), String> {
    let fields = [
        "id",
        "model",
        "container",
        "diagnostics",
        "stop_details",
        "stop_reason",
        "stop_sequence",
    ];
    has(message, &fields)?;
    let id = message["id"].as_str().unwrap_or_default();
    if message["type"] != "message"
        || message["role"] != "assistant"
        || message["content"] != Value::Array(Vec::new())
        || !id.starts_with("msg_")
        || !message["usage"]["input_tokens"].is_u64()
    {
        return Err(format!("no message: {message}"));
    }
    let fields = ["cache_creation", "inference_geo", "service_tier", "speed"];
    has(&message["usage"], &fields)?;
    usage(&message["usage"])
}

fn usage(usage: &Value) -> Result<(), String> {
    let fields = [
        "input_tokens",
        "cache_creation_input_tokens",
        "cache_read_input_tokens",
        "output_tokens",
        "output_tokens_details",
        "server_tool_use",
    ];
    has(usage, &fields)
}

fn block(block: &Value) -> Result<String, String> {
    let kind = block["type"].as_str().unwrap_or_default();
    match kind {
        "text" if block["text"] == "" => has(block, &["citations"])?,
        "thinking" if block["thinking"] == "" && block["signature"] == "" => {}
        "redacted_thinking" if block["data"].is_string() => {}
        "tool_use" if block["input"] == serde_json::json!({}) => {
            has(block, &["id", "name", "caller"])?;
        }
        _ => return Err(format!("no start of a block: {block}")),
    }
    Ok(kind.to_owned())
}

/// Is it the signature, after which nothing comes in its block?
fn piece(delta: &Value, block: &str) -> Result<bool, String> {
    let kind = delta["type"].as_str().unwrap_or_default();
    let field = match (block, kind) {
        ("text", "text_delta") => "text",
        ("text", "citations_delta") if delta["citation"].is_object() => return Ok(false),
        ("thinking", "thinking_delta") => "thinking",
        ("thinking", "signature_delta") => "signature",
        ("tool_use", "input_json_delta") => "partial_json",
        _ => return Err(format!("{kind} in a block of {block}")),
    };
    match delta[field].as_str() {
        // The API begins arguments with an empty piece.
        Some(text) if !text.is_empty() || block == "tool_use" => Ok(kind == "signature_delta"),
        _ => Err(format!("an empty {kind}")),
    }
}
