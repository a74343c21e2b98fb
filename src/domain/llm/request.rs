//! Bytes → a typed chat request. Only what Gatehouse must know is read; everything else stays in the body untouched.

use std::borrow::Cow;
use std::cell::OnceCell;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Protocol;
use super::dialect;
use super::normal::conversation::Conversation;
use super::passages::{Lookup, Passages};
use crate::base::errors::{Code, Refusal};

/// A chat request that is well-formed in its protocol.
#[derive(Clone, Debug)]
pub struct ChatRequest {
    /// The caller's protocol.
    pub protocol: Protocol,
    /// The alias that was asked for.
    pub alias: String,
    /// Stream the answer?
    pub stream: bool,
    /// Did the caller ask for the usage chunk of a stream (OpenAI)?
    pub include_usage: bool,
    /// Temperature, where given.
    pub temperature: Option<f64>,
    /// Bytes of messages, system prompt and tools as JSON: what the input ceiling is held against.
    pub input_bytes: u64,
    /// The whole body, unknown fields included.
    pub body: Map<String, Value>,
    /// The response that this one goes on from, whose turns stand in the body already (Responses API).
    pub previous: Option<String>,
    /// The conversation that this one belongs to, whose items stand in the body already (Responses API).
    pub belongs: Option<Belongs>,
    /// What the caller wants remembered, as one block for the provider, where the alias uses it.
    pub memories: Option<String>,
    /// What the caller wants to be looked up in documents.
    pub lookup: Option<Lookup>,
    /// What was found there.
    pub passages: Option<Passages>,
    conversation: OnceCell<Conversation>,
}

/// The conversation that a request belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Belongs {
    /// Whose it is.
    pub owner: String,
    /// Its id.
    pub id: String,
    /// How many of the input's items are the conversation's; the request's own are behind them.
    pub earlier: usize,
}

/// Reads a chat request.
///
/// # Errors
/// `missing_parameter` or `invalid_parameter` naming the field.
pub fn chat_request(body: Map<String, Value>, protocol: Protocol) -> Result<ChatRequest, Refusal> {
    let alias = string(&body, "model")?.to_owned();
    let conversation = OnceCell::new();
    if protocol == Protocol::Responses {
        let _ = conversation.set(dialect::read_request(protocol, &body)?);
    } else {
        check_messages(&body, protocol)?;
    }
    let stream = optional_bool(&body, "stream")?;
    let include_usage = include_usage(&body)?;
    let temperature = optional_number(&body, "temperature", 0.0, 2.0)?;
    optional_number(&body, "top_p", 0.0, 1.0)?;
    for name in [
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "n",
    ] {
        optional_positive(&body, name)?;
    }
    if protocol == Protocol::Messages && body.get("max_tokens").is_none_or(Value::is_null) {
        return Err(missing("max_tokens"));
    }
    let input_bytes = [
        "messages",
        "input",
        "instructions",
        "system",
        "tools",
        "functions",
    ]
    .iter()
    .filter_map(|name| body.get(*name))
    .map(json_bytes)
    .fold(0, u64::saturating_add);
    Ok(ChatRequest {
        protocol,
        alias,
        stream,
        include_usage,
        temperature,
        input_bytes,
        body,
        previous: None,
        belongs: None,
        memories: None,
        lookup: None,
        passages: None,
        conversation,
    })
}

impl ChatRequest {
    /// The request in normal form; read when it is first needed, since a request that stays in its protocol does not.
    ///
    /// # Errors
    /// `missing_parameter`, `invalid_parameter`: it is read more closely than what merely passes.
    pub fn conversation(&self) -> Result<&Conversation, Refusal> {
        if let Some(known) = self.conversation.get() {
            return Ok(known);
        }
        let read = dialect::read_request(self.protocol, &self.body)?;
        Ok(self.conversation.get_or_init(|| read))
    }

    /// The request as its caller wrote it: without the conversation's items.
    #[must_use]
    pub fn asked(&self) -> Cow<'_, Map<String, Value>> {
        let Some(belongs) = &self.belongs else {
            return Cow::Borrowed(&self.body);
        };
        let mut asked = self.body.clone();
        if let Some(Value::Array(input)) = asked.get_mut("input") {
            input.drain(..belongs.earlier.min(input.len()));
        }
        asked.insert("conversation".into(), belongs.id.as_str().into());
        Cow::Owned(asked)
    }

    /// The same with what its caller wants remembered.
    #[must_use]
    pub fn remembering(self, memories: Option<String>) -> Self {
        Self { memories, ..self }
    }

    /// The same with what was found for it in documents.
    #[must_use]
    pub fn quoting(self, passages: Option<Passages>) -> Self {
        Self { passages, ..self }
    }

    /// Does it say more than its caller wrote and everybody is told, so that nobody else may be given its answer?
    #[must_use]
    pub fn is_private(&self) -> bool {
        let own = |passages: &Passages| !passages.shared;
        self.memories.is_some()
            || self.passages.as_ref().is_some_and(own)
            || self
                .belongs
                .as_ref()
                .is_some_and(|belongs| belongs.earlier > 0)
    }

    /// What stands before everything else: the alias's own instructions, what the caller wants remembered, then what was
    /// found in documents.
    #[must_use]
    pub fn system(&self, alias: Option<&str>) -> Option<String> {
        let block = self.passages.as_ref().map(Passages::block);
        let all = [alias, self.memories.as_deref(), block.as_deref()];
        let said: Vec<&str> = all.into_iter().flatten().collect();
        (!said.is_empty()).then(|| said.join("\n\n"))
    }

    /// The text of the last user message: the question, for the built-in answerer.
    #[must_use]
    pub fn question(&self) -> String {
        let messages = match (self.body.get("messages"), self.body.get("input")) {
            (Some(Value::Array(messages)), _) | (None, Some(Value::Array(messages))) => messages,
            (None, Some(Value::String(only))) => return only.clone(),
            _ => return String::new(),
        };
        messages
            .iter()
            .rev()
            .find(|message| message.get("role").and_then(Value::as_str) == Some("user"))
            .and_then(|message| message.get("content"))
            .map(text_of)
            .unwrap_or_default()
    }

    /// Does the request want more than one plain text (tools, several choices, structured output, log probabilities,
    /// audio)?
    #[must_use]
    pub fn wants_more_than_text(&self) -> bool {
        let set = |name: &str| match self.body.get(name) {
            None | Some(Value::Null | Value::Bool(false)) => false,
            Some(Value::Array(list)) => !list.is_empty(),
            Some(_) => true,
        };
        let several = self
            .body
            .get("n")
            .and_then(Value::as_u64)
            .is_some_and(|n| n > 1);
        let kind = |format: Option<&Value>| {
            let kind = format.and_then(|format| format.get("type"));
            kind.and_then(Value::as_str)
                .is_some_and(|kind| kind != "text")
        };
        let within = |name: &str| self.body.get(name).and_then(|held| held.get("format"));
        several
            || kind(self.body.get("response_format"))
            || kind(within("text"))
            || kind(within("output_config"))
            || kind(self.body.get("output_format"))
            || [
                "tools",
                "functions",
                "logprobs",
                "top_logprobs",
                "audio",
                "thinking",
                "reasoning",
                "web_search_options",
            ]
            .into_iter()
            .any(set)
    }
}

/// An embeddings request that is well-formed.
#[derive(Clone, Debug)]
pub struct EmbeddingsRequest {
    /// The alias that was asked for.
    pub alias: String,
    /// Bytes of the input as JSON.
    pub input_bytes: u64,
    /// The whole body.
    pub body: Map<String, Value>,
}

/// Reads an embeddings request.
///
/// # Errors
/// `missing_parameter` or `invalid_parameter` naming the field.
pub fn embeddings_request(body: Map<String, Value>) -> Result<EmbeddingsRequest, Refusal> {
    let alias = string(&body, "model")?.to_owned();
    let input = present(&body, "input")?;
    let valid = match input {
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => {
            !items.is_empty()
                && items.len() <= MAX_EMBEDDING_INPUTS
                && items
                    .iter()
                    .all(|item| item.is_string() || item.is_array() || item.is_u64())
        }
        _ => false,
    };
    if !valid {
        return Err(invalid(
            "input",
            "must be a text, or an array of at most 2048 texts or token lists, and not empty",
        ));
    }
    if let Some(format) = body.get("encoding_format")
        && !matches!(format.as_str(), Some("float" | "base64"))
        && !format.is_null()
    {
        return Err(invalid(
            "encoding_format",
            "must be \"float\" or \"base64\"",
        ));
    }
    optional_positive(&body, "dimensions")?;
    Ok(EmbeddingsRequest {
        alias,
        input_bytes: json_bytes(input),
        body,
    })
}

/// OpenAI's own ceiling for one call (API reference, "Create embeddings").
const MAX_EMBEDDING_INPUTS: usize = 2048;

fn check_messages(body: &Map<String, Value>, protocol: Protocol) -> Result<(), Refusal> {
    let Value::Array(messages) = present(body, "messages")? else {
        return Err(invalid("messages", "must be an array"));
    };
    if messages.is_empty() {
        return Err(invalid("messages", "must hold at least one message"));
    }
    let roles: &[&str] = match protocol {
        Protocol::Chat | Protocol::Responses => &[
            "system",
            "developer",
            "user",
            "assistant",
            "tool",
            "function",
        ],
        Protocol::Messages => &["user", "assistant", "system"],
    };
    for (i, message) in messages.iter().enumerate() {
        let Value::Object(message) = message else {
            return Err(invalid(&format!("messages[{i}]"), "must be an object"));
        };
        let role = message.get("role").and_then(Value::as_str);
        if !role.is_some_and(|role| roles.contains(&role)) {
            return Err(invalid(
                &format!("messages[{i}].role"),
                &format!("must be one of {}", roles.join(", ")),
            ));
        }
        let content = message.get("content");
        let carries_calls =
            message.contains_key("tool_calls") || message.contains_key("function_call");
        let valid = match content {
            Some(Value::String(_)) => true,
            Some(Value::Array(parts)) => parts.iter().all(Value::is_object),
            None | Some(Value::Null) => {
                protocol == Protocol::Chat && (carries_calls || message.contains_key("refusal"))
            }
            Some(_) => false,
        };
        if !valid {
            return Err(invalid(
                &format!("messages[{i}].content"),
                "must be a text or an array of content parts",
            ));
        }
    }
    Ok(())
}

fn include_usage(body: &Map<String, Value>) -> Result<bool, Refusal> {
    match body.get("stream_options") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Object(options)) => optional_bool(options, "include_usage")
            .map_err(|refusal| refusal.param("stream_options.include_usage")),
        Some(_) => Err(invalid("stream_options", "must be an object")),
    }
}

/// The text of a message's content: a string, or the text parts of an array.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => {
            let texts: Vec<&str> = parts
                .iter()
                .filter_map(|part| part.get("text")?.as_str())
                .collect();
            texts.join("\n")
        }
        _ => String::new(),
    }
}

fn json_bytes(value: &Value) -> u64 {
    struct Counter(u64);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 = self.0.saturating_add(bytes.len() as u64);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Writing to a counter cannot fail.
    let _ = serde_json::to_writer(&mut counter, value);
    counter.0
}

/// `missing_parameter` for a field.
#[must_use]
pub fn missing(name: &str) -> Refusal {
    Refusal::new(Code::MissingParameter)
        .param(name)
        .detail(format!("`{name}` is required."))
}

/// `invalid_parameter` for a field.
#[must_use]
pub fn invalid(name: &str, rule: &str) -> Refusal {
    Refusal::new(Code::InvalidParameter)
        .param(name)
        .detail(format!("`{name}` {rule}."))
}

fn present<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a Value, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Err(missing(name)),
        Some(value) => Ok(value),
    }
}

fn string<'a>(body: &'a Map<String, Value>, name: &str) -> Result<&'a str, Refusal> {
    present(body, name)?
        .as_str()
        .filter(|text| !text.is_empty())
        .ok_or_else(|| invalid(name, "must be a text that is not empty"))
}

fn optional_bool(body: &Map<String, Value>, name: &str) -> Result<bool, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(_) => Err(invalid(name, "must be true or false")),
    }
}

fn optional_number(
    body: &Map<String, Value>,
    name: &str,
    low: f64,
    high: f64,
) -> Result<Option<f64>, Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value
            .as_f64()
            .filter(|number| (low..=high).contains(number))
            .map(Some)
            .ok_or_else(|| invalid(name, &format!("must be a number between {low} and {high}"))),
    }
}

fn optional_positive(body: &Map<String, Value>, name: &str) -> Result<(), Refusal> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(()),
        Some(value) if value.as_u64().is_some_and(|n| n >= 1) => Ok(()),
        Some(_) => Err(invalid(name, "must be a whole number of at least 1")),
    }
}

#[cfg(test)]
mod tests {
    use super::{chat_request, embeddings_request};
    use crate::base::errors::Code;
    use crate::domain::llm::Protocol;
    use serde_json::{Map, Value, json};

    fn object(value: Value) -> Map<String, Value> {
        let Value::Object(map) = value else { panic!() };
        map
    }

    #[test]
    fn a_well_formed_request_is_read_and_kept_whole() {
        let body = object(json!({
            "model": "site", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
            "stream": true, "stream_options": {"include_usage": true}, "temperature": 0, "unknown": {"kept": 1}
        }));
        let request = chat_request(body, Protocol::Chat).unwrap();
        assert!(request.stream && request.include_usage && !request.wants_more_than_text());
        assert_eq!(request.question(), "hi");
        assert_eq!(request.body["unknown"]["kept"], 1);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let base = json!({"model": "site", "messages": [{"role": "user", "content": "hi"}]});
        let cases = [
            (json!({"model": null}), Code::MissingParameter, "model"),
            (json!({"model": 5}), Code::InvalidParameter, "model"),
            (json!({"messages": []}), Code::InvalidParameter, "messages"),
            (
                json!({"messages": "hi"}),
                Code::InvalidParameter,
                "messages",
            ),
            (
                json!({"messages": [{"role": "king", "content": ""}]}),
                Code::InvalidParameter,
                "messages[0].role",
            ),
            (
                json!({"messages": [{"role": "user"}]}),
                Code::InvalidParameter,
                "messages[0].content",
            ),
            (
                json!({"messages": [{"role": "user", "content": [1]}]}),
                Code::InvalidParameter,
                "messages[0].content",
            ),
            (json!({"stream": "yes"}), Code::InvalidParameter, "stream"),
            (
                json!({"stream_options": 1}),
                Code::InvalidParameter,
                "stream_options",
            ),
            (
                json!({"temperature": 9}),
                Code::InvalidParameter,
                "temperature",
            ),
            (
                json!({"max_tokens": -1}),
                Code::InvalidParameter,
                "max_tokens",
            ),
            (
                json!({"max_tokens": 1.5}),
                Code::InvalidParameter,
                "max_tokens",
            ),
            (
                json!({"max_tokens": "9"}),
                Code::InvalidParameter,
                "max_tokens",
            ),
            (json!({"n": 0}), Code::InvalidParameter, "n"),
        ];
        for (patch, code, param) in cases {
            let mut body = object(base.clone());
            body.extend(object(patch));
            let refusal = chat_request(body, Protocol::Chat).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.param.as_deref()),
                (code, Some(param))
            );
        }
    }

    #[test]
    fn anthropic_needs_max_tokens() {
        let body =
            object(json!({"model": "site", "messages": [{"role": "user", "content": "hi"}]}));
        let refusal = chat_request(body, Protocol::Messages).unwrap_err();
        assert_eq!(refusal.param.as_deref(), Some("max_tokens"));
    }

    #[test]
    fn embeddings_need_an_input() {
        for (body, ok) in [
            (json!({"model": "embed", "input": "a"}), true),
            (json!({"model": "embed", "input": ["a", "b"]}), true),
            (json!({"model": "embed", "input": [1, 2]}), true),
            (json!({"model": "embed", "input": ""}), false),
            (json!({"model": "embed", "input": []}), false),
            (
                json!({"model": "embed", "input": "a", "encoding_format": "xml"}),
                false,
            ),
            (json!({"model": "embed"}), false),
        ] {
            assert_eq!(
                embeddings_request(object(body.clone())).is_ok(),
                ok,
                "{body}"
            );
        }
    }
}
