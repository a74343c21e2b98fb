//! What a response repeats of its request, as OpenAI's do, whoever made the answer.

use serde_json::{Map, Value, json};

/// The fields of a request that stand on its response again.
#[derive(Clone, Debug, PartialEq)]
pub struct Echo(Map<String, Value>);

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
        Self(fields)
    }

    /// The same for a response that belongs to a conversation.
    #[must_use]
    pub fn belonging(mut self, conversation: Option<&str>) -> Self {
        if let Some(id) = conversation {
            self.0.insert("conversation".into(), json!({"id": id}));
        }
        self
    }

    /// As it is kept with a stored response.
    #[must_use]
    pub fn to_value(&self) -> Value {
        Value::Object(self.0.clone())
    }

    /// Back again.
    #[must_use]
    pub fn from_value(value: Value) -> Option<Self> {
        match value {
            Value::Object(fields) => Some(Self(fields)),
            _ => None,
        }
    }

    /// The same for an answer that may be stored nowhere after all.
    #[must_use]
    pub fn where_stored(mut self, stored: bool) -> Self {
        if !stored {
            self.0.insert("store".into(), false.into());
        }
        self
    }

    /// Puts the fields on a response. A provider's own response has most of them already, as they were done there.
    pub fn put(&self, response: &mut Map<String, Value>, foreign: bool) {
        for (name, value) in &self.0 {
            if !foreign || OURS.contains(&name.as_str()) {
                response.insert(name.clone(), value.clone());
            }
        }
    }

    /// The same for the response in an event of a stream; `None` for an event without one.
    #[must_use]
    pub fn event(&self, data: &str, foreign: bool) -> Option<String> {
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
