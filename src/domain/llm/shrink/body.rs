//! What shrinking left out and shortened, done to the caller's own body: what nobody here knows survives in it.
//!
//! A conversation does not remember where its parts came from. But readers keep order, so that the parts of all items
//! behind each other are the parts of the conversation, and an item read alone tells how many of them are its own.

use serde_json::{Map, Value, json};

use super::Shrunk;
use crate::domain::llm::normal::conversation::{Conversation, Part};
use crate::domain::llm::{Protocol, dialect};

/// A part before, and after unless its turn was left out.
type Fate<'c> = (&'c Part, Option<&'c Part>);

/// The body without the turns that were left out and with the shorter texts in their places. `before` is the body as it
/// was read.
///
/// `None` where body and conversation cannot be brought together; the conversation must then be written anew.
#[must_use]
pub fn apply(
    protocol: Protocol,
    body: &Map<String, Value>,
    before: &Conversation,
    shrunk: &Shrunk,
) -> Option<Map<String, Value>> {
    let mut body = body.clone();
    let fates = fates(before, shrunk);
    let mut rest = fates.as_slice();
    let (instructions, field) = match protocol {
        Protocol::Chat => (None, "messages"),
        Protocol::Messages => (body.get_mut("system"), "messages"),
        Protocol::Responses => (body.get_mut("instructions"), "input"),
    };
    if let Some(instructions) = instructions {
        let count = match instructions {
            Value::String(text) => usize::from(protocol == Protocol::Messages || !text.is_empty()),
            Value::Array(blocks) => blocks.len(),
            _ => 0,
        };
        let own = rest.split_off(..count)?;
        let mut texts = Texts::of(own);
        texts.put(instructions);
        texts.are_all_put()?;
    }
    match body.get_mut(field)? {
        // The only turn is the one that asks, which nothing touches.
        Value::String(_) => return (rest.len() == 1).then_some(body),
        Value::Array(items) => {
            let mut kept = Vec::with_capacity(items.len());
            // An item without parts, such as one that is not known here, goes with the one behind it.
            let mut pending = Vec::new();
            for mut item in std::mem::take(items) {
                let own = rest.split_off(..parts_of(protocol, &item)?)?;
                if own.is_empty() {
                    pending.push(item);
                    continue;
                }
                let gone = own.iter().filter(|(_, after)| after.is_none()).count();
                if gone == own.len() {
                    pending.clear();
                    continue;
                }
                if gone > 0 {
                    return None;
                }
                let mut texts = Texts::of(own);
                for place in ["content", "output"] {
                    if let Some(content) = item.get_mut(place) {
                        texts.put(content);
                    }
                }
                texts.are_all_put()?;
                kept.append(&mut pending);
                kept.push(item);
            }
            kept.append(&mut pending);
            *items = kept;
        }
        _ => return None,
    }
    rest.is_empty().then_some(body)
}

/// The parts of the system and of all turns, each with what became of it.
fn fates<'c>(before: &'c Conversation, shrunk: &'c Shrunk) -> Vec<Fate<'c>> {
    let after = &shrunk.conversation;
    let system = before.system.iter().zip(after.system.iter().map(Some));
    let mut fates: Vec<Fate<'_>> = system.collect();
    let mut left = after.turns.iter();
    for (turn, kept) in before.turns.iter().zip(&shrunk.kept) {
        let new = if *kept { left.next() } else { None };
        fates.extend(turn.parts.iter().enumerate().map(|(i, part)| {
            let after = new.and_then(|turn| turn.parts.get(i));
            (part, after)
        }));
    }
    fates
}

/// How many parts an item makes when it is read; `None` for one that cannot be read alone.
fn parts_of(protocol: Protocol, item: &Value) -> Option<usize> {
    let question = json!({"role": "user", "content": "x"});
    let (alone, more) = match protocol {
        Protocol::Chat => (json!({"messages": [item]}), 0),
        Protocol::Messages => (json!({"max_tokens": 1, "messages": [item]}), 0),
        // An input of instructions alone is refused.
        Protocol::Responses => (json!({"input": [item, question]}), 1),
    };
    let read = dialect::read_request(protocol, alone.as_object()?).ok()?;
    let turns = read.turns.iter().map(|turn| turn.parts.len());
    let parts = turns.fold(read.system.len(), usize::saturating_add);
    parts.checked_sub(more)
}

/// Texts of some parts before and after, in order.
struct Texts<'c> {
    pairs: std::iter::Peekable<std::vec::IntoIter<(&'c str, &'c str)>>,
}

impl<'c> Texts<'c> {
    fn of(fates: &[Fate<'c>]) -> Self {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (old, new) in fates {
            texts(old, &mut before);
            texts(new.unwrap_or(old), &mut after);
        }
        let pairs: Vec<_> = before.into_iter().zip(after).collect();
        Self {
            pairs: pairs.into_iter().peekable(),
        }
    }

    /// Puts the new texts into content: a text, or parts that hold some. Texts that were not read stay.
    fn put(&mut self, content: &mut Value) {
        match content {
            Value::String(text) => self.put_one(text),
            Value::Array(parts) => {
                for part in parts {
                    let place = match part.get("type").and_then(Value::as_str) {
                        Some("text" | "input_text" | "output_text") => "text",
                        Some("tool_result") => "content",
                        _ => continue,
                    };
                    if let Some(held) = part.get_mut(place) {
                        self.put(held);
                    }
                }
            }
            _ => {}
        }
    }

    fn put_one(&mut self, text: &mut String) {
        if let Some((_, new)) = self.pairs.next_if(|(old, _)| old == text)
            && new != text
        {
            new.clone_into(text);
        }
    }

    /// `None` where a text that changed has not found its place.
    fn are_all_put(mut self) -> Option<()> {
        self.pairs.all(|(old, new)| old == new).then_some(())
    }
}

fn texts<'c>(part: &'c Part, out: &mut Vec<&'c str>) {
    match part {
        Part::Text { text, .. } => out.push(text),
        Part::ToolResult { content, .. } => content.iter().for_each(|part| texts(part, out)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::apply;
    use crate::domain::llm::normal::conversation::{Conversation, Part};
    use crate::domain::llm::shrink::shrink;
    use crate::domain::llm::{Protocol, dialect, tokens};
    use crate::domain::settings::config::OnOverflow;
    use serde_json::{Map, Value, json};

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!() };
        map
    }

    fn parts(conversation: &Conversation) -> Vec<Part> {
        let turns = conversation.turns.iter().flat_map(|turn| &turn.parts);
        conversation.system.iter().chain(turns).cloned().collect()
    }

    /// A long conversation with a tool, and fields that nobody knows at every depth.
    fn body(protocol: Protocol) -> Map<String, Value> {
        let context = "A long context that a page sends with every question.  ".repeat(12);
        let ask = |i: usize| format!("{context}\n\n\n\nquestion {i}");
        let parameters = json!({"type": "object", "properties": {}});
        object(match protocol {
            Protocol::Chat => {
                let mut messages = vec![json!({"role": "system", "content": "Be  brief.", "x": 0})];
                for i in 0..8 {
                    messages.push(json!({"role": "user", "name": "u", "content": [{"type": "text", "text": ask(i), "x": i}]}));
                    messages.push(json!({"role": "assistant", "content": "", "x": i, "tool_calls": [
                        {"id": format!("c{i}"), "type": "function", "function": {"name": "f", "arguments": "{}"}, "x": i}
                    ]}));
                    messages.push(json!({"role": "tool", "tool_call_id": format!("c{i}"), "content": format!("rain {i} {context}"), "x": i}));
                    messages.push(
                        json!({"role": "assistant", "content": format!("answer {i}"), "x": i}),
                    );
                }
                messages.push(json!({"role": "user", "content": "the last question", "x": 9}));
                json!({"logit_bias": {"1": 2}, "messages": messages, "unknown": {"b": 1, "a": 2},
                    "tools": [{"type": "function", "function": {"name": "f", "parameters": parameters}}]})
            }
            Protocol::Messages => {
                let mut messages = Vec::new();
                for i in 0..8 {
                    messages.push(json!({"role": "user", "x": i, "content": ask(i)}));
                    messages.push(json!({"role": "assistant", "content": [
                        {"type": "strange", "x": i}, {"type": "tool_use", "id": format!("c{i}"), "name": "f", "input": {}, "x": i}
                    ]}));
                    messages.push(json!({"role": "user", "content": [
                        {"type": "tool_result", "tool_use_id": format!("c{i}"), "content": [{"type": "text", "text": context, "x": i}]},
                        {"type": "text", "text": "go  on"}
                    ]}));
                    messages.push(json!({"role": "assistant", "content": format!("answer {i}")}));
                }
                messages.push(json!({"role": "user", "content": "the last question"}));
                json!({"max_tokens": 9, "system": [{"type": "text", "text": format!("Be  brief.\n\n\n\n{context}"), "x": 0}],
                    "messages": messages, "unknown": {"b": 1, "a": 2},
                    "tools": [{"name": "f", "input_schema": parameters}]})
            }
            Protocol::Responses => {
                let mut input = Vec::new();
                for i in 0..8 {
                    input.push(json!({"role": "user", "x": i, "content": [{"type": "input_text", "text": ask(i), "x": i}]}));
                    input.push(json!({"type": "strange", "x": i}));
                    input.push(json!({"type": "function_call", "call_id": format!("c{i}"), "name": "f", "arguments": "{}", "x": i}));
                    input.push(json!({"type": "function_call_output", "call_id": format!("c{i}"), "output": context, "x": i}));
                    input.push(json!({"role": "assistant", "content": [{"type": "output_text", "text": format!("answer {i}"), "annotations": []}]}));
                }
                input.push(json!({"role": "user", "content": "the last question"}));
                json!({"instructions": format!("Be  brief.\n\n\n\n{context}"), "input": input, "unknown": {"b": 1, "a": 2},
                    "tools": [{"type": "function", "name": "f", "parameters": parameters}]})
            }
        })
    }

    #[test]
    fn the_callers_own_body_says_what_the_shrunk_conversation_says_and_keeps_what_is_not_known() {
        for protocol in Protocol::ALL {
            let body = body(protocol);
            let before = dialect::read_request(protocol, &body).unwrap();
            let all = tokens::conversation(&before);
            let (mut trimmed, mut shortened) = (0, 0);
            for (percent, compacting) in [
                (100, true),
                (80, false),
                (60, true),
                (30, false),
                (30, true),
            ] {
                let limit = Some(all * percent / 100);
                let Ok(shrunk) = shrink(before.clone(), limit, OnOverflow::Trim, compacting) else {
                    continue;
                };
                trimmed += shrunk.dropped_turns;
                shortened += shrunk.saved_bytes;
                let own = apply(protocol, &body, &before, &shrunk).unwrap();
                let read = dialect::read_request(protocol, &own).unwrap();
                assert_eq!(parts(&read), parts(&shrunk.conversation), "{protocol:?}");
                // All that is left is the caller's, in the caller's order, but for the texts.
                let names = |body: &Map<String, Value>| body.keys().cloned().collect::<Vec<_>>();
                assert_eq!(names(&own), names(&body));
                for name in ["unknown", "logit_bias", "tools", "max_tokens"] {
                    assert_eq!(own.get(name), body.get(name));
                }
                let field = if protocol == Protocol::Responses {
                    "input"
                } else {
                    "messages"
                };
                let items = |body: &Map<String, Value>| body[field].as_array().unwrap().clone();
                let mut whole = items(&body).into_iter().map(bare);
                for item in items(&own).into_iter().map(bare) {
                    assert!(whole.any(|known| known == item), "{item}");
                }
            }
            assert!(
                trimmed > 0 && shortened > 0,
                "{protocol:?} {trimmed} {shortened}"
            );
        }
    }

    /// An item without its texts.
    fn bare(mut item: Value) -> Value {
        match &mut item {
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    if matches!(name.as_str(), "text" | "content" | "output") && value.is_string() {
                        *value = Value::Null;
                    } else {
                        *value = bare(value.take());
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| *item = bare(item.take())),
            _ => {}
        }
        item
    }

    #[test]
    fn an_item_that_is_not_known_goes_with_the_one_behind_it() {
        let protocol = Protocol::Responses;
        let body = body(protocol);
        let before = dialect::read_request(protocol, &body).unwrap();
        let limit = tokens::conversation(&before) / 2;
        let shrunk = shrink(before.clone(), Some(limit), OnOverflow::Trim, false).unwrap();
        let own = apply(protocol, &body, &before, &shrunk).unwrap();
        let marks = |kind: &str| -> Vec<u64> {
            let items = own["input"].as_array().unwrap().iter();
            items
                .filter(|item| item["type"] == kind)
                .map(|item| item["x"].as_u64().unwrap())
                .collect()
        };
        assert!((1..8).contains(&marks("strange").len()));
        assert_eq!(marks("strange"), marks("function_call"));
    }

    #[test]
    fn every_golden_request_can_be_shrunk_in_its_own_body() {
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let folders = [
            (Protocol::Chat, "chat"),
            (Protocol::Messages, "messages"),
            (Protocol::Responses, "responses"),
        ];
        for (protocol, folder) in folders {
            for entry in std::fs::read_dir(golden.join(folder)).unwrap() {
                let path = entry.unwrap().path();
                if !path.to_str().unwrap().ends_with(".request.json") {
                    continue;
                }
                let body: Map<String, Value> =
                    serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
                let before = dialect::read_request(protocol, &body).unwrap();
                let shrunk = shrink(before.clone(), None, OnOverflow::Refuse, true).unwrap();
                let own = apply(protocol, &body, &before, &shrunk);
                assert!(own.is_some(), "{}", path.display());
                let own = own.unwrap();
                if shrunk.saved_bytes == 0 {
                    assert_eq!(own, body, "{}", path.display());
                }
                let read = dialect::read_request(protocol, &own).unwrap();
                assert_eq!(
                    parts(&read),
                    parts(&shrunk.conversation),
                    "{}",
                    path.display()
                );
            }
        }
    }
}
