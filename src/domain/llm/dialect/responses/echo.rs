//! What a response repeats of its request, as OpenAI's do, whoever made the answer.

use serde_json::{Map, Value, json};

use crate::domain::llm::passages::Passages;

/// The fields of a request that stand on its response again, and what was found in documents for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Echo {
    fields: Map<String, Value>,
    found: Option<Passages>,
}

/// Where what was found is kept between the fields.
const FOUND: &str = "gatehouse.found";

/// Events that a stream has more where documents were searched: an item begins, an item is done.
const MORE_EVENTS: u64 = 2;

/// Fields that are told alike whoever answers, since they are about the call and not about the model: what is stored is
/// stored here, and an alias may put instructions of its own in front of the caller's.
const OURS: [&str; 5] = [
    "store",
    "conversation",
    "background",
    "previous_response_id",
    "instructions",
];

impl Echo {
    /// Of a request, with OpenAI's own words for what it does not say. What a provider chooses where nothing is said
    /// (temperature, `top_p`) is null.
    #[must_use]
    pub fn of(request: &Map<String, Value>, previous: Option<&str>, stored: bool) -> Self {
        let defaults = json!({
            "background": false,
            "instructions": null,
            "max_output_tokens": null,
            "metadata": {},
            "parallel_tool_calls": true,
            "reasoning": {"effort": null, "summary": null},
            "temperature": null,
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "truncation": "disabled",
            "user": null,
        });
        let mut fields = match defaults {
            Value::Object(fields) => fields,
            _ => Map::new(),
        };
        for (name, value) in &mut fields {
            if let Some(said) = request.get(name).filter(|said| !said.is_null()) {
                value.clone_from(said);
            }
        }
        fields.insert("previous_response_id".into(), previous.into());
        fields.insert("store".into(), stored.into());
        Self {
            fields,
            found: None,
        }
    }

    /// The same for a response that belongs to a conversation.
    #[must_use]
    pub fn belonging(mut self, conversation: Option<&str>) -> Self {
        if let Some(id) = conversation {
            self.fields.insert("conversation".into(), json!({"id": id}));
        }
        self
    }

    /// The same where the caller asked for a search in documents.
    #[must_use]
    pub fn quoting(mut self, found: Option<&Passages>) -> Self {
        if let Some(found) = found
            && let Some(told) = &found.told
        {
            self.fields.insert("tools".into(), told.tools.clone());
            // What the passages say is kept where they are.
            let mut found = found.clone();
            for source in &mut found.sources {
                source.text.clear();
                source.attributes.clear();
            }
            self.found = Some(found);
        }
        self
    }

    /// As it is kept with a stored response.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut fields = self.fields.clone();
        let found = self.found.as_ref();
        let found = found.and_then(|found| serde_json::to_value(found).ok());
        if let Some(found) = found {
            fields.insert(FOUND.into(), found);
        }
        Value::Object(fields)
    }

    /// Back again.
    #[must_use]
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(mut fields) => {
                let found = fields.shift_remove(FOUND);
                Some(Self {
                    fields,
                    found: found.and_then(|found| serde_json::from_value(found).ok()),
                })
            }
            _ => None,
        }
    }

    /// The same for an answer that may be stored nowhere after all.
    #[must_use]
    pub fn where_stored(mut self, stored: bool) -> Self {
        if !stored {
            self.fields.insert("store".into(), false.into());
        }
        self
    }

    /// Puts the fields on a response. A provider's own response has most of them already, as they were done there.
    pub fn put(&self, response: &mut Map<String, Value>, foreign: bool) {
        for (name, value) in &self.fields {
            // The tool that searches documents is nothing that a provider was told of.
            let ours = OURS.contains(&name.as_str()) || self.found.is_some() && name == "tools";
            if !foreign || ours {
                response.insert(name.clone(), value.clone());
            }
        }
        if let Some(found) = &self.found
            && let Some(told) = &found.told
            && let Some(Value::Array(output)) = response.get_mut("output")
        {
            output.iter_mut().for_each(|item| annotate(item, found));
            if !output.iter().any(is_search) {
                output.insert(0, told.call.clone());
            }
        }
    }

    /// Are there more events in a stream than the writer makes, and other numbers on them?
    #[must_use]
    pub const fn searched(&self) -> bool {
        self.found.is_some()
    }

    /// The events that tell of the search: they stand before that one, where it is the first that tells of output.
    #[must_use]
    pub fn opening(&self, before: &str) -> Vec<(&'static str, String)> {
        let event: Option<Map<String, Value>> = serde_json::from_str(before).ok();
        let call = self.found.as_ref().and_then(|found| found.told.as_ref());
        let Some((call, event)) = call.map(|told| &told.call).zip(event) else {
            return Vec::new();
        };
        if is_preamble(&event) {
            return Vec::new();
        }
        let number = event.get("sequence_number").and_then(Value::as_u64);
        let number = number.unwrap_or_default();
        let mut begun = call.clone();
        if let Some(begun) = begun.as_object_mut() {
            begun.insert("status".into(), "in_progress".into());
            begun.insert("results".into(), Value::Null);
        }
        [
            ("response.output_item.added", begun),
            ("response.output_item.done", call.clone()),
        ]
        .into_iter()
        .zip(number..)
        .map(|((name, item), number)| {
            let event = json!({
                "type": name, "sequence_number": number, "output_index": 0, "item": item,
            });
            (name, event.to_string())
        })
        .collect()
    }

    /// An event with the numbers that it has behind those of the search, and its citations.
    fn behind_search(&self, data: &str, foreign: bool) -> Option<String> {
        let found = self.found.as_ref()?;
        let mut event: Map<String, Value> = serde_json::from_str(data).ok()?;
        if is_preamble(&event) {
            if let Some(Value::Object(response)) = event.get_mut("response") {
                for (name, value) in &self.fields {
                    if !foreign || OURS.contains(&name.as_str()) || name == "tools" {
                        response.insert(name.clone(), value.clone());
                    }
                }
            }
            return Some(Value::Object(event).to_string());
        }
        for (name, more) in [("sequence_number", MORE_EVENTS), ("output_index", 1)] {
            if let Some(number) = event.get(name).and_then(Value::as_u64) {
                event.insert(name.into(), number.saturating_add(more).into());
            }
        }
        if let Some(item) = event.get_mut("item") {
            annotate(item, found);
        }
        if let Some(Value::Object(response)) = event.get_mut("response") {
            self.put(response, foreign);
        }
        Some(Value::Object(event).to_string())
    }

    /// The same for the response in an event of a stream; `None` for an event without one.
    #[must_use]
    pub fn event(&self, data: &str, foreign: bool) -> Option<String> {
        if self.found.is_some() {
            return self.behind_search(data, foreign);
        }
        // Inside a text the quotes would be escaped.
        if !(data.contains("\"response\":{") || data.contains("\"response\": {")) {
            return None;
        }
        let mut event: Map<String, Value> = serde_json::from_str(data).ok()?;
        let response = event.get_mut("response")?.as_object_mut()?;
        self.put(response, foreign);
        Some(Value::Object(event).to_string())
    }
}

/// Events that come before any output.
fn is_preamble(event: &Map<String, Value>) -> bool {
    let kind = event.get("type").and_then(Value::as_str);
    matches!(
        kind,
        Some("response.created" | "response.in_progress" | "response.queued")
    )
}

fn is_search(item: &Value) -> bool {
    item.get("type").and_then(Value::as_str) == Some("file_search_call")
}

/// Notes on a message which of the passages its texts cite.
fn annotate(item: &mut Value, found: &Passages) {
    let Some(Value::Array(parts)) = item.get_mut("content") else {
        return;
    };
    for part in parts {
        let Some(text) = part.get("text").and_then(Value::as_str) else {
            continue;
        };
        let cited = found.cited(text).into_iter().map(|(index, source)| {
            json!({
                "type": "file_citation", "index": index, "file_id": source.file, "filename": source.filename,
            })
        });
        let cited: Vec<Value> = cited.collect();
        if let Some(Value::Array(annotations)) = part.get_mut("annotations") {
            annotations
                .retain(|one| one.get("type").and_then(Value::as_str) != Some("file_citation"));
            annotations.extend(cited);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Echo;
    use serde_json::{Value, json};

    fn echo() -> Echo {
        let request = json!({
            "model": "site", "input": "hi", "instructions": "Be kind.", "metadata": {"k": "v"}, "temperature": 0.5,
            "user": null,
        });
        Echo::of(request.as_object().unwrap(), Some("resp_1"), true)
    }

    #[test]
    fn what_was_said_is_repeated_and_the_rest_has_openais_words() {
        let mut response =
            json!({"id": "resp_2", "model": "m", "metadata": {}, "temperature": null});
        echo().put(response.as_object_mut().unwrap(), false);
        let expected = json!({
            "id": "resp_2", "model": "m", "instructions": "Be kind.", "metadata": {"k": "v"}, "temperature": 0.5,
            "user": null, "background": false, "max_output_tokens": null, "parallel_tool_calls": true,
            "reasoning": {"effort": null, "summary": null}, "text": {"format": {"type": "text"}}, "tool_choice": "auto",
            "tools": [], "top_p": null, "truncation": "disabled", "previous_response_id": "resp_1", "store": true,
        });
        assert_eq!(response, expected);
        assert_eq!(Echo::from_value(echo().to_value()), Some(echo()));
        assert_eq!(echo().where_stored(false).to_value()["store"], false);
    }

    #[test]
    fn a_providers_own_response_keeps_what_was_done_there() {
        let data = r#"{"type":"response.created","response":{"temperature":1.0,"store":false,"instructions":"Secret. Be kind."}}"#;
        let told: Value = serde_json::from_str(&echo().event(data, true).unwrap()).unwrap();
        let expected = json!({
            "temperature": 1.0, "store": true, "instructions": "Be kind.", "background": false,
            "previous_response_id": "resp_1",
        });
        assert_eq!(told["response"], expected);
        for other in [
            r#"{"type":"response.output_text.delta","delta":"\"response\":{"}"#,
            r#"{"response":{"#,
            "[DONE]",
        ] {
            assert_eq!(echo().event(other, true), None, "{other}");
        }
    }
}
