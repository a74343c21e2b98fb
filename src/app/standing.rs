//! A stored answer as one object of its dialect, whether it is whole, being made, or broken.

use serde_json::{Map, Value, json};

use super::stored::command::Standing;
use crate::base::errors::{Code, Refusal};
use crate::base::sse::Parser;
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect;
use crate::domain::llm::dialect::responses::echo::Echo;
use crate::domain::llm::normal::event::Envelope;
use crate::domain::llm::normal::whole::Collector;
use crate::domain::llm::stream::delivery::full_id;
use crate::domain::llm::stream::inlet::{Inlet, MAX_EVENT_BYTES};
use crate::domain::llm::stream::log::{self, Status};

/// The answer as it stands. OpenAI's responses tell their status themselves; the others are marked in a field of ours.
///
/// # Errors
/// What is stored cannot be read.
pub fn body(protocol: Protocol, id: &str, standing: &Standing) -> Result<Value, Refusal> {
    let whole = if standing.stream {
        from_events(protocol, id, standing)
    } else {
        serde_json::from_str(&standing.body).ok()
    };
    let mut body = match whole {
        Some(Value::Object(body)) => body,
        _ if standing.body.is_empty() || standing.stream => bare(protocol, id, standing),
        _ => {
            return Err(
                Refusal::new(Code::StorageUnavailable).cause("a stored answer cannot be read")
            );
        }
    };
    if protocol == Protocol::Responses {
        if let Some(word) = responses_status(standing.status) {
            body.insert("status".into(), Value::from(word));
        }
        told_of_call(&mut body, standing);
    } else if standing.status != Status::Done {
        body.insert("gatehouse".into(), json!({"status": standing.status}));
    }
    Ok(Value::Object(body))
}

/// What a response says of its call where no whole one was written: the request's fields, the alias in the place of a
/// model that nobody told, and the error.
fn told_of_call(body: &mut Map<String, Value>, standing: &Standing) {
    let kept = standing.request.as_deref();
    let kept = kept.and_then(|kept| serde_json::from_str::<Map<String, Value>>(kept).ok());
    let mut kept = kept.and_then(|mut kept| match kept.remove("response") {
        Some(Value::Object(kept)) => Some(kept),
        _ => None,
    });
    let model = kept.as_mut().and_then(|kept| kept.remove("model"));
    if let Some(model) = model
        && body.get("model").is_none_or(|told| told == "")
    {
        body.insert("model".into(), model);
    }
    let written = standing.status == Status::Done && body.contains_key("store");
    if let Some(echo) = kept.map(Value::Object).and_then(Echo::from_value)
        && !written
    {
        echo.put(body, false);
    }
    if body.get("status").is_some_and(|status| status == "failed")
        && body.get("error").is_none_or(Value::is_null)
    {
        let error = standing.error.clone();
        let error = error.or_else(|| error_event(&standing.body));
        let error = error.map(|error| json!({"code": error.code, "message": error.message}));
        body.insert("error".into(), error.unwrap_or_default());
    }
}

/// The error that ended a stream.
fn error_event(text: &str) -> Option<log::Error> {
    let mut last = None;
    let mut parser = Parser::new(MAX_EVENT_BYTES);
    let read = parser.push(text.as_bytes(), |event| {
        if event.event == "error" {
            last = serde_json::from_str(event.data).ok();
        }
    });
    read.ok()?;
    last
}

/// The status of an answer that is not whole; a whole one says by itself how it ended.
const fn responses_status(status: Status) -> Option<&'static str> {
    match status {
        Status::Running => Some("in_progress"),
        Status::Done => None,
        Status::Failed | Status::Lost => Some("failed"),
        Status::Cancelled => Some("cancelled"),
    }
}

fn from_events(protocol: Protocol, id: &str, standing: &Standing) -> Option<Value> {
    // The Responses API ends its streams with the whole object, which says more than we would.
    if protocol == Protocol::Responses
        && let Some(last) = last_response(&standing.body)
    {
        return Some(last);
    }
    let mut steps = Vec::new();
    let mut inlet = Inlet::new(protocol, false);
    inlet.push(standing.body.as_bytes(), &mut steps);
    let mut collector = Collector::default();
    for event in steps.iter().flat_map(|step| &step.events) {
        collector.push(event);
    }
    let so_far = collector.so_far();
    if so_far.model.is_empty() && so_far.parts.is_empty() {
        return None;
    }
    let mut body = dialect::write_whole(protocol, so_far, &envelope(id, standing));
    // A chat's stream tells its usage only to callers that asked; nothing is better than zeros.
    if so_far.usage.is_none()
        && protocol == Protocol::Chat
        && let Some(fields) = body.as_object_mut()
    {
        fields.shift_remove("usage");
    }
    Some(body)
}

/// The response object of the event that ends a stream.
fn last_response(text: &str) -> Option<Value> {
    let mut last = None;
    let mut parser = Parser::new(MAX_EVENT_BYTES);
    let read = parser.push(text.as_bytes(), |event| {
        if matches!(
            event.event,
            "response.completed" | "response.incomplete" | "response.failed"
        ) {
            last = serde_json::from_str::<Map<String, Value>>(event.data).ok();
        }
    });
    read.ok()?;
    last?.remove("response")
}

fn envelope(id: &str, standing: &Standing) -> Envelope {
    Envelope {
        id: id.to_owned(),
        created: standing.created,
        estimated_input: 0,
        include_usage: false,
        builtin: false,
    }
}

/// An answer of which there is nothing yet.
fn bare(protocol: Protocol, id: &str, standing: &Standing) -> Map<String, Value> {
    let nothing = Collector::default();
    let written = dialect::write_whole(protocol, nothing.so_far(), &envelope(id, standing));
    let mut body = match written {
        Value::Object(body) => body,
        _ => Map::new(),
    };
    body.insert("id".into(), Value::from(full_id(protocol, id)));
    body
}
