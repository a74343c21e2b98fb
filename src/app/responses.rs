//! `POST /v1/responses` and what belongs to it: earlier responses as context, and the items of a request.

use serde_json::{Map, Value, json};

use super::body::json_body;
use super::chat::answer_chat;
use super::gate::{Caller, may_store};
use super::memory::turn::{self, input_items as input_items_of};
use super::port::{ByteSource, Port};
use super::reply::Reply;
use super::request::Head;
use super::retrieval::context;
use super::standing;
use super::stored;
use crate::base::errors::{Code, Refusal};
use crate::domain::identity::key_record::Stores;
use crate::domain::llm::Protocol;
use crate::domain::llm::request::{chat_request, invalid};
use crate::domain::llm::stream::log::Status;
use crate::domain::memory::item::for_another_turn;

/// Answers a Responses call. An earlier response, or the conversation that it belongs to, is laid out in front of the
/// input, so that every provider can carry it.
///
/// # Errors
/// As for a chat call; `response_not_found` for an earlier response that is not there, `conversation_not_found`;
/// `forbidden` for a key whose scopes
/// do not reach what is stored.
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
) -> Result<Reply<P>, Refusal> {
    let mut fields = json_body(port, head, body).await?;
    let lookup = context::taken(&mut fields, Protocol::Responses)?;
    check_background(port, &fields)?;
    check_stores(caller, &mut fields)?;
    let (mut from, mut belongs) = (None, None);
    let conversation = fields.shift_remove("conversation");
    if let Some(conversation) = conversation.filter(|given| !given.is_null()) {
        if fields
            .get("previous_response_id")
            .is_some_and(|given| !given.is_null())
        {
            return Err(invalid(
                "previous_response_id",
                "cannot be together with `conversation`",
            ));
        }
        for stores in [Stores::Read, Stores::Write] {
            may_store(caller, stores).map_err(|refusal| refusal.param("conversation"))?;
        }
        belongs = Some(turn::laid_out(port, caller, head, &conversation, &mut fields).await?);
    }
    if let Some(previous) = fields
        .shift_remove("previous_response_id")
        .filter(|v| !v.is_null())
    {
        let Some(id) = previous.as_str() else {
            return Err(invalid(
                "previous_response_id",
                "must be the id of a response",
            ));
        };
        may_store(caller, Stores::Read).map_err(|refusal| refusal.param("previous_response_id"))?;
        let earlier = earlier(port, caller, id).await?;
        from = Some(id.to_owned());
        let own = input_items_of(fields.shift_remove("input"));
        let all: Vec<Value> = earlier.into_iter().chain(own).collect();
        fields.insert("input".into(), Value::Array(all));
    }
    let mut request = chat_request(fields, Protocol::Responses)?;
    request.previous = from;
    request.belongs = belongs;
    request.lookup = lookup;
    answer_chat(port, caller, head, &request).await
}

fn check_background(port: &impl Port, fields: &Map<String, Value>) -> Result<(), Refusal> {
    let flag = |name: &str| fields.get(name).and_then(Value::as_bool);
    let alias = fields.get("model").and_then(Value::as_str);
    let alias = alias.and_then(|name| port.settings().alias(name));
    if flag("background") == Some(true) && alias.is_some_and(|a| !a.config.store_responses) {
        return Err(invalid(
            "background",
            "cannot be: this alias does not store responses",
        ));
    }
    if flag("background") == Some(true) && flag("store") == Some(false) {
        return Err(invalid(
            "store",
            "must not be false together with `background`: an answer in the background is read from the store",
        ));
    }
    Ok(())
}

/// A key that may not write what is stored has its responses not stored, as if it had said so.
fn check_stores(caller: &Caller, fields: &mut Map<String, Value>) -> Result<(), Refusal> {
    let Err(refusal) = may_store(caller, Stores::Write) else {
        return Ok(());
    };
    match fields.get("store") {
        None | Some(Value::Null) => {
            fields.insert("store".into(), Value::Bool(false));
        }
        Some(Value::Bool(false)) => {}
        Some(_) => return Err(refusal.param("store")),
    }
    // An answer in the background is read from the store.
    if fields.get("background").and_then(Value::as_bool) == Some(true) {
        return Err(refusal.param("background"));
    }
    Ok(())
}

/// What was said up to the end of an earlier response: its input and its output.
async fn earlier<P: Port>(port: &P, caller: &Caller, id: &str) -> Result<Vec<Value>, Refusal> {
    let found = stored::look(port, caller, Protocol::Responses, id).await;
    let standing = found.map_err(|refusal| refusal.param("previous_response_id"))?;
    if standing.status != Status::Done {
        return Err(Refusal::new(Code::InvalidParameter)
            .param("previous_response_id")
            .detail("That response is not complete."));
    }
    let mut said = input_items_of(read_request(standing.request.as_deref()));
    let bare = id.strip_prefix("resp_").unwrap_or(id);
    let mut response = standing::body(Protocol::Responses, bare, &standing)?;
    if let Some(Value::Array(output)) = response.get_mut("output").map(Value::take) {
        said.extend(output);
    }
    Ok(said.into_iter().filter_map(for_another_turn).collect())
}

/// The input of a request, of which more is kept.
fn read_request(request: Option<&str>) -> Option<Value> {
    let mut kept: Map<String, Value> = serde_json::from_str(request?).ok()?;
    kept.remove("input")
}

/// `GET /v1/responses/{id}/input_items`, newest first as OpenAI has it.
///
/// # Errors
/// `response_not_found`.
pub async fn input_items<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Reply<P>, Refusal> {
    let standing = stored::look(port, caller, Protocol::Responses, id).await?;
    let mut list: Vec<Value> = input_items_of(read_request(standing.request.as_deref()))
        .into_iter()
        .enumerate()
        .map(|(i, item)| with_id(item, id, i))
        .collect();
    match head.query_value("order").as_deref() {
        None | Some("desc") => list.reverse(),
        Some("asc") => {}
        Some(_) => return Err(invalid("order", "must be asc or desc")),
    }
    let has_more = page(head, &mut list)?;
    let id_of = |item: Option<&Value>| {
        item.and_then(|i| i.get("id"))
            .cloned()
            .unwrap_or(Value::Null)
    };
    let body = json!({
        "object": "list",
        "first_id": id_of(list.first()),
        "last_id": id_of(list.last()),
        "has_more": has_more,
        "data": list,
    });
    Ok(Reply::json(200, body.to_string()))
}

/// Cuts a list to the page that is asked for: behind `after`, and `limit` items (20 unless told, at most 100, as OpenAI
/// has it). True when there is more.
fn page(head: &Head, list: &mut Vec<Value>) -> Result<bool, Refusal> {
    if let Some(after) = head.query_value("after") {
        let is_it = |item: &Value| item.get("id").and_then(Value::as_str) == Some(after.as_str());
        let at = list.iter().position(is_it);
        let at = at.ok_or_else(|| invalid("after", "must be the id of an item of this list"))?;
        list.drain(..=at);
    }
    let limit = match head.query_value("limit") {
        None => 20,
        Some(limit) => limit
            .parse()
            .ok()
            .filter(|limit| (1..=100).contains(limit))
            .ok_or_else(|| invalid("limit", "must be a number from 1 to 100"))?,
    };
    let more = list.len() > limit;
    list.truncate(limit);
    Ok(more)
}

/// An item as it is listed: with an id, a type, and its content as parts.
fn with_id(item: Value, response: &str, index: usize) -> Value {
    let Value::Object(mut item) = item else {
        return item;
    };
    item.entry("id")
        .or_insert_with(|| Value::from(format!("item_{response}_{index}")));
    if item.contains_key("role") {
        item.entry("type").or_insert_with(|| "message".into());
        item.entry("status").or_insert_with(|| "completed".into());
        if let Some(Value::String(text)) = item.get("content").cloned() {
            let kind = if item.get("role").and_then(Value::as_str) == Some("assistant") {
                "output_text"
            } else {
                "input_text"
            };
            item.insert("content".into(), json!([{"type": kind, "text": text}]));
        }
    }
    Value::Object(item)
}
