//! Conversations and lists of items on the wire, as OpenAI's Conversations API has them.

use serde_json::{Map, Value, json};

use super::command::Conversation;
use crate::base::errors::{Code, Refusal};

/// Most pairs of metadata, their longest key and longest value in characters (OpenAI's API reference).
const MAX_PAIRS: usize = 16;
const MAX_KEY_CHARS: usize = 64;
const MAX_VALUE_CHARS: usize = 512;

/// What a conversation's ids begin with.
pub const CONVERSATION_PREFIX: &str = "conv";

/// Could that be the id of a conversation?
#[must_use]
pub fn is_conversation_id(id: &str) -> bool {
    id.strip_prefix("conv_")
        .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// A conversation.
#[must_use]
pub fn conversation(conversation: &Conversation, metadata: &Value) -> Value {
    json!({
        "id": conversation.id,
        "object": "conversation",
        "created_at": conversation.created.secs(),
        "metadata": metadata,
        "last_used_at": conversation.used.secs(),
        "expires_at": conversation.expires.secs(),
        "item_count": conversation.items,
    })
}

/// A list of what has ids.
#[must_use]
pub fn list(data: Vec<Value>, more: bool) -> Value {
    let id = |one: Option<&Value>| one.and_then(|one| one.get("id")).cloned();
    let (first, last) = (id(data.first()), id(data.last()));
    json!({
        "object": "list",
        "data": data,
        "first_id": first,
        "last_id": last,
        "has_more": more,
    })
}

/// A conversation that is gone.
#[must_use]
pub fn deleted(id: &str) -> Value {
    json!({"id": id, "object": "conversation.deleted", "deleted": true})
}

/// Metadata, checked.
///
/// # Errors
/// `invalid_parameter`
pub fn metadata(given: Option<&Value>) -> Result<Map<String, Value>, Refusal> {
    let pairs = match given {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Object(pairs)) => pairs,
        Some(_) => return Err(invalid("metadata", "must be an object")),
    };
    if pairs.len() > MAX_PAIRS {
        return Err(invalid("metadata", "must have at most 16 pairs"));
    }
    for (key, value) in pairs {
        if key.chars().count() > MAX_KEY_CHARS {
            return Err(invalid(
                "metadata",
                "must have keys of at most 64 characters",
            ));
        }
        let value = value.as_str();
        if value.is_none_or(|value| value.chars().count() > MAX_VALUE_CHARS) {
            let param = ["metadata.", key].concat();
            return Err(invalid(&param, "must be a text of at most 512 characters"));
        }
    }
    Ok(pairs.clone())
}

fn invalid(param: &str, rule: &str) -> Refusal {
    Refusal::new(Code::InvalidParameter)
        .param(param)
        .detail(format!("`{param}` {rule}."))
}

#[cfg(test)]
mod tests {
    use super::{is_conversation_id, list, metadata};
    use serde_json::{Map, Value, json};

    #[test]
    fn metadata_are_sixteen_short_texts() {
        assert_eq!(metadata(None), Ok(Map::new()));
        assert_eq!(metadata(Some(&Value::Null)), Ok(Map::new()));
        let fine = json!({"title": "ä".repeat(512), "k".repeat(64): ""});
        assert_eq!(metadata(Some(&fine)), Ok(fine.as_object().unwrap().clone()));
        let many: Map<String, Value> = (0..17).map(|n| (n.to_string(), "".into())).collect();
        for (bad, param) in [
            (json!([]), "metadata"),
            (json!({"k".repeat(65): ""}), "metadata"),
            (json!({"title": 1}), "metadata.title"),
            (json!({"title": "x".repeat(513)}), "metadata.title"),
            (Value::Object(many), "metadata"),
        ] {
            let refused = metadata(Some(&bad)).unwrap_err();
            assert_eq!(refused.param.as_deref(), Some(param));
        }
    }

    #[test]
    fn a_list_tells_its_ends() {
        let some = list(vec![json!({"id": "a"}), json!({"id": "b"})], true);
        assert_eq!(
            (&some["first_id"], &some["last_id"]),
            (&json!("a"), &json!("b"))
        );
        assert_eq!(list(Vec::new(), false)["last_id"], Value::Null);
    }

    #[test]
    fn ids_of_conversations_have_one_form() {
        assert!(is_conversation_id(&format!("conv_{}", "0a".repeat(16))));
        for bad in ["", "conv_", "conv_1", "conv_zz", &"a".repeat(37)] {
            assert!(!is_conversation_id(bad));
        }
    }
}
