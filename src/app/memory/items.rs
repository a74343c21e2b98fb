//! The items of a conversation: add, list, read, delete.

use serde_json::{Map, Value, json};

use super::conversations::{described, owner_of_it};
use super::{OwnerKey, ask, digest_of, invalid, limits, open_key, tell, unexpected};
use crate::app::body::json_body;
use crate::app::gate::Caller;
use crate::app::listing;
use crate::app::port::{ByteSource, Port};
use crate::app::reply::Reply as Answer;
use crate::app::request::Head;
use crate::app::stored::keyed;
use crate::base::digest::hex;
use crate::base::errors::{Code, Refusal};
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect;
use crate::domain::memory::command::{Command, Item, NewItem, Once, Order, Reply};
use crate::domain::memory::item::{derived_id, is_item_id, kept, mark};
use crate::domain::memory::sealing::At;
use crate::domain::memory::wire;

/// Most items that come in one call (OpenAI's API reference).
const MOST_AT_ONCE: usize = 20;

/// `POST /v1/conversations/{id}/items`
///
/// # Errors
/// 400, 403, 404, 422 for a key that stands for other items, 503
pub async fn create<P: Port, B: ByteSource>(
    port: &P,
    caller: &Caller,
    head: &Head,
    body: &mut B,
    id: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, id)?;
    let fields = json_body(port, head, body).await?;
    let items = fields
        .get("items")
        .ok_or_else(|| Refusal::new(Code::MissingParameter).param("items"))?;
    let items = read_items(items)?;
    let once = match &head.idempotency_key {
        None => None,
        Some(key) => Some(Once {
            key: keyed(port.settings(), caller, "/v1/conversations/items", key)?,
            digest: digest_of(&fields),
        }),
    };
    let of = match &once {
        Some(once) => once.key.clone(),
        None => hex(&port.random::<16>()),
    };
    let command = |key: &OwnerKey| Command::Append {
        id: id.to_owned(),
        key: key.kept.clone(),
        once: once.clone(),
        items: sealed_items(port, key, &owner, id, &items, &of),
        given: false,
        limits: limits(port.settings()),
    };
    match tell(port, &owner, command).await? {
        Reply::Done => {}
        other => return Err(unexpected(other)),
    }
    let data = kept_items(&items, &of).into_iter().map(Value::Object);
    Ok(Answer::json(
        200,
        wire::list(data.collect(), false).to_string(),
    ))
}

/// `GET /v1/conversations/{id}/items`, newest first unless told otherwise.
///
/// # Errors
/// 400, 403, 404, 503
pub async fn list<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    id: &str,
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, id)?;
    let order = if listing::is_ascending(head)? {
        Order::Ascending
    } else {
        Order::Descending
    };
    let not_here = || invalid("after", "must be the id of an item of this conversation");
    let after = head.query_value("after");
    if after.as_deref().is_some_and(|after| !is_item_id(after)) {
        return Err(not_here());
    }
    let command = Command::Items {
        id: id.to_owned(),
        after,
        limit: listing::length(head)?,
        order,
    };
    let reply = ask(port, &owner, &command).await?;
    if reply == Reply::NoItem {
        return Err(not_here());
    }
    let (data, more) = opened(port, &owner, id, reply).await?;
    Ok(Answer::json(200, wire::list(data, more).to_string()))
}

/// `GET /v1/conversations/{id}/items/{item}`
///
/// # Errors
/// 403, 404, 503
pub async fn get<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    (id, item): (&str, &str),
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, id)?;
    if !is_item_id(item) {
        return Err(super::not_found());
    }
    let command = Command::Item {
        id: id.to_owned(),
        item: item.to_owned(),
    };
    let (items, _) = opened(port, &owner, id, ask(port, &owner, &command).await?).await?;
    let item = items.into_iter().next().ok_or_else(super::not_found)?;
    Ok(Answer::json(200, item.to_string()))
}

/// `DELETE /v1/conversations/{id}/items/{item}`: answered with the conversation, as OpenAI does.
///
/// # Errors
/// 403, 404, 503
pub async fn delete<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    (id, item): (&str, &str),
) -> Result<Answer<P>, Refusal> {
    let owner = owner_of_it(caller, head, id)?;
    if !is_item_id(item) {
        return Err(super::not_found());
    }
    let command = Command::DeleteItem {
        id: id.to_owned(),
        item: item.to_owned(),
    };
    let reply = ask(port, &owner, &command).await?;
    let told = described(port, &owner, reply).await?;
    Ok(Answer::json(200, told.to_string()))
}

// === in ===

/// Items as a caller sends them: such as the Responses API takes as input.
pub(super) fn read_items(given: &Value) -> Result<Vec<Map<String, Value>>, Refusal> {
    let Value::Array(items) = given else {
        return Err(invalid("items", "must be a list"));
    };
    if items.len() > MOST_AT_ONCE {
        return Err(invalid("items", "must hold at most 20 items"));
    }
    if items.is_empty() {
        return Ok(Vec::new());
    }
    let as_input = json!({"model": "", "input": given});
    if let Value::Object(as_input) = &as_input {
        dialect::read_request(Protocol::Responses, as_input).map_err(about_items)?;
    }
    items
        .iter()
        .map(|item| item.as_object().cloned())
        .collect::<Option<_>>()
        .ok_or_else(|| invalid("items", "must hold objects"))
}

/// A refusal of an input, in words of items.
fn about_items(mut refusal: Refusal) -> Refusal {
    let renamed = |text: &str| text.replacen("input", "items", 1);
    refusal.param = refusal.param.as_deref().map(renamed);
    refusal.detail = refusal.detail.as_deref().map(renamed);
    refusal
}

/// The items as they are kept, each with an id of its own, made of `of`.
fn kept_items(items: &[Map<String, Value>], of: &str) -> Vec<Map<String, Value>> {
    let items = items.iter().enumerate();
    items
        .map(|(at, item)| kept(item.clone(), &derived_id(item, of, at)))
        .collect()
}

pub(super) fn sealed_items<P: Port>(
    port: &P,
    key: &OwnerKey,
    owner: &str,
    id: &str,
    items: &[Map<String, Value>],
    of: &str,
) -> Vec<NewItem> {
    let kept = kept_items(items, of).into_iter();
    kept.map(|item| sealed_item(port, key, owner, id, item))
        .collect()
}

/// An item that has its id.
pub(super) fn sealed_item<P: Port>(
    port: &P,
    key: &OwnerKey,
    owner: &str,
    id: &str,
    item: Map<String, Value>,
) -> NewItem {
    let own = item.get("id").and_then(Value::as_str).unwrap_or_default();
    let (own, mark) = (own.to_owned(), mark(&item));
    let text = Value::Object(item).to_string();
    NewItem {
        sealed: key.seal(port, owner, At::Item(id, &own), &text),
        id: own,
        mark,
    }
}

// === out ===

/// The items of a reply, opened; and whether there are more.
pub(super) async fn opened<P: Port>(
    port: &P,
    owner: &str,
    id: &str,
    reply: Reply,
) -> Result<(Vec<Value>, bool), Refusal> {
    let (items, more) = opened_items(port, owner, id, reply).await?;
    let values = items.into_iter().map(|(_, item)| Value::Object(item));
    Ok((values.collect(), more))
}

/// The same, with what the object tells of each.
pub(super) async fn opened_items<P: Port>(
    port: &P,
    owner: &str,
    id: &str,
    reply: Reply,
) -> Result<(Vec<(Item, Map<String, Value>)>, bool), Refusal> {
    let (items, more, key) = match reply {
        Reply::Items { items, more, key } => (items, more, key),
        other => return Err(unexpected(other)),
    };
    let key = open_key(port, owner, key).await?;
    let opened: Result<Vec<_>, Refusal> = items
        .into_iter()
        .map(|item| {
            let said = key.object(port, owner, At::Item(id, &item.id), &item.sealed)?;
            Ok((item, said))
        })
        .collect();
    Ok((opened?, more))
}
