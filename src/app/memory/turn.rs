//! A response that belongs to a conversation: its items are laid out before the input, and when the answer is whole, what
//! was asked and what was answered are added to it.

use serde_json::{Map, Value};

use super::conversations::owner_of_it;
use super::items::{opened_items, sealed_item};
use super::{OwnerKey, ask, invalid, limits, tell, unexpected};
use crate::app::gate::Caller;
use crate::app::port::Port;
use crate::app::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::request::Belongs;
use crate::domain::memory::command::{Command, Full, Item, Once, Order, Reply};
use crate::domain::memory::item::{derived_id, for_another_turn, is_item_id, kept};
use crate::domain::memory::trim::cuts;
use crate::domain::settings::config::Trim;

/// Waits before an append is tried again: storage that is away for a moment is back after that.
const TRY_AGAIN_AFTER: [Millis; 2] = [Millis(200), Millis(1000)];

/// Lays a conversation out in front of a request's input.
///
/// # Errors
/// `invalid_parameter` for what is no conversation; 403, 404, 503
pub async fn laid_out<P: Port>(
    port: &P,
    caller: &Caller,
    head: &Head,
    conversation: &Value,
    fields: &mut Map<String, Value>,
) -> Result<Belongs, Refusal> {
    let about = |refusal: Refusal| refusal.param("conversation");
    let id = conversation
        .as_str()
        .or_else(|| conversation.get("id").and_then(Value::as_str))
        .ok_or_else(|| invalid("conversation", "must be the id of a conversation"))?;
    let owner = owner_of_it(caller, head, id).map_err(about)?;
    let command = Command::Items {
        id: id.to_owned(),
        after: None,
        limit: u32::MAX,
        order: Order::Ascending,
    };
    let reply = ask(port, &owner, &command).await.map_err(about)?;
    let (items, _) = opened_items(port, &owner, id, reply).await.map_err(about)?;
    takes_more(port, &items).map_err(about)?;
    let own = input_items(fields.shift_remove("input"));
    fields.insert("input".into(), Value::Array(own.clone()));
    let earlier = fitting(port, fields, items);
    let belongs = Belongs {
        owner,
        id: id.to_owned(),
        earlier: earlier.len(),
    };
    let all = earlier.into_iter().chain(own).collect();
    fields.insert("input".into(), Value::Array(all));
    Ok(belongs)
}

/// An input as a list of items: a text is one message of the user.
pub fn input_items(input: Option<Value>) -> Vec<Value> {
    match input {
        Some(Value::Array(items)) => items,
        Some(Value::String(text)) => vec![serde_json::json!({
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": text}],
        })],
        _ => Vec::new(),
    }
}

/// A conversation that takes no more is told before anybody is asked.
fn takes_more<P: Port>(port: &P, items: &[(Item, Map<String, Value>)]) -> Result<(), Refusal> {
    let limits = limits(port.settings());
    let bytes: u64 = items.iter().map(|(item, _)| item.sealed.len() as u64).sum();
    let limit = if limits.trim == Trim::Oldest {
        return Ok(());
    } else if items.len() >= limits.items as usize {
        Full::Items
    } else if bytes >= limits.conversation_bytes {
        Full::Bytes
    } else {
        return Ok(());
    };
    Err(unexpected(Reply::Full { limit }))
}

/// The items as they are sent again. Where the alias takes no input that long, the oldest turns stay behind, each whole.
fn fitting<P: Port>(
    port: &P,
    fields: &Map<String, Value>,
    items: Vec<(Item, Map<String, Value>)>,
) -> Vec<Value> {
    let settings = port.settings();
    let alias = fields.get("model").and_then(Value::as_str);
    let alias = alias.and_then(|name| settings.alias(name));
    let length = |value: &Value| value.to_string().len() as u64;
    let own: u64 = ["input", "instructions", "tools"]
        .iter()
        .filter_map(|name| fields.get(*name))
        .map(length)
        .sum();
    let room = match (alias, settings.config.memory.trim) {
        (Some(alias), Trim::Oldest) => alias.config.max_input_bytes.saturating_sub(own),
        _ => u64::MAX,
    };
    let cuts = cuts(items.iter().map(|(item, _)| (&item.mark, item.append)));
    let said: Vec<Option<Value>> = items
        .into_iter()
        .map(|(_, item)| for_another_turn(Value::Object(item)))
        .collect();
    // With the comma behind each.
    let bytes = |said: &[Option<Value>]| -> u64 {
        let lengths = said.iter().flatten().map(length);
        lengths.map(|length| length.saturating_add(1)).sum()
    };
    let from = core::iter::once(0)
        .chain(cuts)
        .find(|from| said.get(*from..).is_some_and(|left| bytes(left) <= room));
    // Where not even the last turn fits, nothing of it is said: half of it would be worse.
    let from = from.unwrap_or(said.len());
    said.into_iter().skip(from).flatten().collect()
}

/// Adds a whole answer, and what was asked, to the conversation. Done once for each response, whenever and as often as
/// it is tried.
///
/// # Errors
/// `storage_unavailable` after several tries; `memory_full` where one turn is longer than a conversation may be.
pub async fn keep<P: Port>(
    port: &P,
    belongs: &Belongs,
    response: &str,
    input: Vec<Value>,
    output: Vec<Value>,
) -> Result<(), Refusal> {
    let asked = input.len();
    let objects = input.into_iter().chain(output).enumerate();
    let items: Vec<(usize, Map<String, Value>)> = objects
        .filter_map(|(at, item)| match item {
            Value::Object(item) => Some((at, item)),
            _ => None,
        })
        .collect();
    let mut waits = TRY_AGAIN_AFTER.into_iter();
    // An answer's items keep their ids, unless somebody has taken one.
    let mut own_ids = true;
    loop {
        let with_ids = items.iter().map(|(at, item)| {
            let own = item.get("id").and_then(Value::as_str);
            let own = own.filter(|id| own_ids && *at >= asked && is_item_id(id));
            let id = own.map_or_else(|| derived_id(item, response, *at), str::to_owned);
            kept(item.clone(), &id)
        });
        let with_ids: Vec<Map<String, Value>> = with_ids.collect();
        let command = |key: &OwnerKey| Command::Append {
            id: belongs.id.clone(),
            key: key.kept.clone(),
            once: Some(Once {
                key: response.to_owned(),
                digest: String::new(),
            }),
            items: with_ids
                .iter()
                .map(|item| sealed_item(port, key, &belongs.owner, &belongs.id, item.clone()))
                .collect(),
            given: true,
            limits: limits(port.settings()),
        };
        match tell(port, &belongs.owner, command).await {
            // Deleted meanwhile: there is nothing to add to.
            Ok(Reply::Done | Reply::NotFound) => return Ok(()),
            Ok(Reply::Taken) if own_ids => own_ids = false,
            Ok(other) => return Err(unexpected(other)),
            Err(refusal) => match waits.next() {
                Some(wait) if again(refusal.code) => port.sleep(wait).await,
                _ => return Err(refusal),
            },
        }
    }
}

const fn again(code: Code) -> bool {
    matches!(code, Code::StorageUnavailable | Code::KeyringUnavailable)
}
