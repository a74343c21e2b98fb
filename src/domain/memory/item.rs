//! Items of a conversation: as OpenAI's API has them, whatever form they come in.

use serde_json::{Map, Value, json};

use super::command::Mark;
use crate::base::digest::{hex, sha256};

/// Longest id of an item, in characters.
const MAX_ID_CHARS: usize = 64;

/// Is that an id that an item may have? It becomes part of a row's key.
#[must_use]
pub fn is_item_id(id: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// An item as it is kept: with an id and a type, a message also with a status and its content as parts.
#[must_use]
pub fn kept(item: Map<String, Value>, id: &str) -> Map<String, Value> {
    let mut kept = Map::new();
    let kind = kind(&item).to_owned();
    kept.insert("id".into(), id.into());
    kept.insert("type".into(), kind.as_str().into());
    kept.extend(
        item.into_iter()
            .filter(|(name, _)| name != "id" && name != "type"),
    );
    if kind == "message" {
        kept.entry("status").or_insert_with(|| "completed".into());
        if let Some(Value::String(text)) = kept.get("content") {
            let part = if said_by_model(&kept) {
                json!({"type": "output_text", "text": text, "annotations": []})
            } else {
                json!({"type": "input_text", "text": text})
            };
            kept.insert("content".into(), json!([part]));
        }
    }
    kept
}

/// The id of an item that has none: made of what nobody else has, so that the same call makes the same ids.
#[must_use]
pub fn derived_id(item: &Map<String, Value>, of: &str, index: usize) -> String {
    let digest = hex(&sha256(json!([of, index]).to_string().as_bytes()));
    let prefix = match kind(item) {
        "message" => "msg",
        "function_call" => "fc",
        "function_call_output" => "fco",
        "reasoning" => "rs",
        _ => "item",
    };
    let digits: String = digest.chars().take(32).collect();
    [prefix, "_", &digits].concat()
}

/// What of an item decides where its conversation may be cut.
#[must_use]
pub fn mark(item: &Map<String, Value>) -> Mark {
    let joint = item.get("call_id").and_then(Value::as_str);
    let digest = |id: &str| -> String {
        // The caller may have chosen it, and what callers say is not kept in clear.
        hex(&sha256(id.as_bytes())).chars().take(16).collect()
    };
    Mark {
        asks: kind(item) == "message" && !said_by_model(item),
        joint: joint.map(digest),
    }
}

fn kind(item: &Map<String, Value>) -> &str {
    let kind = item.get("type").and_then(Value::as_str);
    kind.unwrap_or("message")
}

fn said_by_model(item: &Map<String, Value>) -> bool {
    item.get("role").and_then(Value::as_str) == Some("assistant")
}

/// An item as it is sent to a provider again. Nothing of it is stored there: it would look for the id of an item in
/// vain, and reasoning is of use to it only where it brings its own encrypted content.
#[must_use]
pub fn for_another_turn(item: Value) -> Option<Value> {
    let Value::Object(mut fields) = item else {
        return Some(item);
    };
    if kind(&fields) == "reasoning" {
        let encrypted = fields
            .get("encrypted_content")
            .is_some_and(Value::is_string);
        return encrypted.then_some(Value::Object(fields));
    }
    if kind(&fields) == "file_search_call" {
        // The search was made here, and what it found is in the answer.
        return None;
    }
    fields.shift_remove("id");
    if let Some(Value::Array(parts)) = fields.get_mut("content") {
        for part in parts {
            if let Some(Value::Array(annotations)) = part.get_mut("annotations") {
                let ours = |one: &Value| one.get("type").is_some_and(|t| t == "file_citation");
                annotations.retain(|one| !ours(one));
            }
        }
    }
    Some(Value::Object(fields))
}

#[cfg(test)]
mod tests {
    use super::{derived_id, is_item_id, kept, mark};
    use serde_json::{Map, Value, json};

    fn of(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_item_is_kept_as_openai_lists_it() {
        for (given, expected) in [
            (
                json!({"role": "user", "content": "Hi"}),
                json!({"id": "x", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}], "status": "completed"}),
            ),
            (
                json!({"role": "assistant", "content": "Ho", "id": "foreign", "status": "incomplete"}),
                json!({"id": "x", "type": "message", "role": "assistant", "status": "incomplete",
                    "content": [{"type": "output_text", "text": "Ho", "annotations": []}]}),
            ),
            (
                json!({"type": "function_call_output", "call_id": "c", "output": "1"}),
                json!({"id": "x", "type": "function_call_output", "call_id": "c", "output": "1"}),
            ),
        ] {
            assert_eq!(Value::Object(kept(of(given), "x")), expected);
        }
    }

    #[test]
    fn marks_say_who_asks_and_what_belongs_together() {
        let asks = |value| mark(&of(value)).asks;
        assert!(asks(json!({"role": "user", "content": "Hi"})));
        assert!(asks(
            json!({"type": "message", "role": "developer", "content": []})
        ));
        assert!(!asks(json!({"role": "assistant", "content": "Ho"})));
        assert!(!asks(json!({"type": "reasoning"})));
        let joint = |value| mark(&of(value)).joint;
        let call = joint(json!({"type": "function_call", "call_id": "call_1", "name": "f"}));
        assert!(call.is_some());
        assert_eq!(
            call,
            joint(json!({"type": "function_call_output", "call_id": "call_1", "output": ""}))
        );
        assert_ne!(
            call,
            joint(json!({"type": "function_call", "call_id": "call_2"}))
        );
        assert_eq!(joint(json!({"role": "user"})), None);
    }

    #[test]
    fn derived_ids_are_the_same_for_the_same_call_and_may_stand_in_a_key() {
        let item = of(json!({"role": "user"}));
        let id = derived_id(&item, "resp_1", 0);
        assert_eq!(id, derived_id(&item, "resp_1", 0));
        assert_ne!(id, derived_id(&item, "resp_1", 1));
        assert_ne!(id, derived_id(&item, "resp_2", 0));
        assert!(id.starts_with("msg_") && is_item_id(&id));
        for bad in ["", "a/b", "ä", "a b", &"x".repeat(65)] {
            assert!(!is_item_id(bad), "{bad}");
        }
    }
}
