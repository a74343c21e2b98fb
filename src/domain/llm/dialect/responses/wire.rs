//! The shapes that providers send, read leniently: what has the wrong type counts as absent.

use core::fmt;
use std::borrow::Cow;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::domain::llm::dialect::Invalid;
use crate::domain::llm::message::{Finish, Usage};
use crate::domain::llm::normal::conversation::{Part, Thought, ToolCall};
use crate::domain::llm::normal::event::Failed;

/// A text, borrowed where the JSON has no escapes; anything else counts as absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Text<'a>(pub Option<Cow<'a, str>>);

impl<'a> Text<'a> {
    /// The text; empty when there is none.
    pub fn get(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }

    /// The text, owned.
    pub fn into_string(self) -> String {
        self.0.map(Cow::into_owned).unwrap_or_default()
    }

    /// The text, if it is there and not empty.
    pub fn full(self) -> Option<Cow<'a, str>> {
        self.0.filter(|text| !text.is_empty())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Any)
            .map(|scalar| match scalar {
                Scalar::Text(text) => Self(Some(text)),
                _ => Self(None),
            })
    }
}

/// A count; what is not a whole number of at least 0 counts as absent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Count(pub Option<u64>);

impl Count {
    /// The count; 0 when there is none.
    pub fn get(self) -> u64 {
        self.0.unwrap_or(0)
    }
}

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Any)
            .map(|scalar| match scalar {
                Scalar::Count(count) => Self(Some(count)),
                _ => Self(None),
            })
    }
}

/// Any JSON value, of which only texts and counts are kept.
enum Scalar<'a> {
    Text(Cow<'a, str>),
    Count(u64),
    Other,
}

struct Any;

impl<'de> Visitor<'de> for Any {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }
    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }
    fn visit_u64<E>(self, count: u64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Count(count))
    }
    fn visit_i64<E>(self, count: i64) -> Result<Scalar<'de>, E> {
        Ok(u64::try_from(count).map_or(Scalar::Other, Scalar::Count))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }
    fn visit_bool<E>(self, _: bool) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }
    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

/// An object of a known shape; anything else counts as absent. Costs a second parse, so it is for rare fields only.
#[derive(Clone, Debug)]
pub(super) struct Lenient<T>(pub Option<T>);

impl<T> Default for Lenient<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Lenient<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        let is_object = looks_like_object(raw.get().as_bytes());
        let read = is_object.then(|| serde_json::from_str(raw.get()).ok());
        Ok(Self(read.flatten()))
    }
}

/// A list; anything else counts as empty. Costs a second parse too.
#[derive(Clone, Debug)]
pub(super) struct List<T>(pub Vec<T>);

impl<T> Default for List<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        Ok(Self(serde_json::from_str(raw.get()).unwrap_or_default()))
    }
}

/// A response object: a whole answer, and what the first and the last event of a stream carry.
#[derive(Debug, Deserialize)]
pub(super) struct Snapshot<'a> {
    #[serde(borrow, default)]
    pub id: Text<'a>,
    #[serde(borrow, default)]
    pub model: Text<'a>,
    #[serde(borrow, default)]
    pub status: Text<'a>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
    #[serde(borrow, default)]
    incomplete_details: Lenient<Incomplete<'a>>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(default)]
    usage: Lenient<WireUsage>,
}

#[derive(Clone, Debug, Deserialize)]
struct Incomplete<'a> {
    #[serde(borrow, default)]
    reason: Text<'a>,
}

impl Snapshot<'_> {
    /// The error, if the response says that it failed.
    pub fn failure(&self) -> Option<Failed> {
        match self.error {
            Some(raw) => Some(failed(raw)),
            None if matches!(self.status.get(), "failed" | "cancelled") => Some(Failed {
                kind: self.status.get().to_owned(),
                message: String::new(),
            }),
            None => None,
        }
    }

    /// What it took; `None` when the provider told nothing. No call takes nothing, so zeros tell nothing either.
    pub fn usage(&self) -> Option<Usage> {
        let usage = self.usage.0.as_ref()?.normal();
        (usage.input > 0 || usage.output > 0).then_some(usage)
    }

    /// Why the model stopped; `None` when the provider did not say. `calls`: is a tool call in the answer?
    pub fn finish(&self, calls: bool) -> Option<Finish> {
        match self.status.get() {
            "completed" if calls => Some(Finish::Tool),
            "completed" => Some(Finish::Stop),
            "incomplete" => match self.incomplete_details.0.as_ref()?.reason.get() {
                "" => None,
                "content_filter" => Some(Finish::Filter),
                // `max_output_tokens`, `max_messages` and words to come: the answer was cut short.
                _ => Some(Finish::Length),
            },
            _ => None,
        }
    }

    /// The output as parts; `None` without an array `output`.
    pub fn parts(&self) -> Result<Option<Vec<Part>>, Invalid> {
        let Some(raw) = self.output else {
            return Ok(None);
        };
        let items: Vec<Item<'_>> = serde_json::from_str(raw.get())
            .map_err(|_| Invalid::Shape("output is no list of items"))?;
        let mut parts = Vec::new();
        for item in items {
            item.into_parts(&mut parts)?;
        }
        Ok(Some(parts))
    }
}

/// An output item.
#[derive(Debug, Deserialize)]
pub(super) struct Item<'a> {
    #[serde(borrow, default)]
    pub r#type: Text<'a>,
    #[serde(borrow, default)]
    pub id: Text<'a>,
    #[serde(borrow, default)]
    pub call_id: Text<'a>,
    #[serde(borrow, default)]
    pub name: Text<'a>,
    #[serde(borrow, default)]
    pub arguments: Text<'a>,
    #[serde(borrow, default)]
    pub content: List<Content<'a>>,
    #[serde(borrow, default)]
    pub summary: List<Content<'a>>,
    #[serde(borrow, default)]
    pub encrypted_content: Text<'a>,
}

/// A content part of an item.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub r#type: Text<'a>,
    #[serde(borrow, default)]
    pub text: Text<'a>,
    #[serde(borrow, default)]
    pub refusal: Text<'a>,
}

impl Item<'_> {
    /// The id by which a result refers to this call. Some servers give calls an item id alone.
    pub fn call_id(&self) -> String {
        match self.call_id.get() {
            "" => self.id.get(),
            id => id,
        }
        .to_owned()
    }

    /// The words of a reasoning item: its summary, or its full text where there is none.
    pub fn thought(&self) -> String {
        let joined = |contents: &List<Content<'_>>| {
            let texts: Vec<&str> = contents
                .0
                .iter()
                .map(|content| content.text.get())
                .filter(|text| !text.is_empty())
                .collect();
            texts.join(PARAGRAPH)
        };
        let summary = joined(&self.summary);
        if summary.is_empty() {
            joined(&self.content)
        } else {
            summary
        }
    }

    /// What the item adds to an answer.
    pub fn into_parts(self, parts: &mut Vec<Part>) -> Result<(), Invalid> {
        match self.r#type.get() {
            "message" => {
                for content in self.content.0 {
                    match content.r#type.get() {
                        "output_text" => parts.push(Part::text(content.text.into_string())),
                        "refusal" => parts.push(Part::Refusal(content.refusal.into_string())),
                        _ => {}
                    }
                }
            }
            "function_call" => {
                if self.name.get().is_empty() {
                    return Err(Invalid::Shape("a call without a name"));
                }
                parts.push(Part::ToolCall(ToolCall {
                    id: self.call_id(),
                    name: self.name.get().to_owned(),
                    arguments: self.arguments.into_string(),
                }));
            }
            "reasoning" => {
                let (signature, sealed) = unseal(self.encrypted_content.get());
                let thought = Thought {
                    text: self.thought(),
                    signature,
                    sealed,
                    id: self.id.full().map(Cow::into_owned),
                };
                // Without a summary and without `encrypted_content` there is nothing to show and nothing to give back.
                if !thought.text.is_empty()
                    || thought.signature.is_some()
                    || thought.sealed.is_some()
                {
                    parts.push(Part::Reasoning(thought));
                }
            }
            // What provider-run tools did is no part of the answer's text.
            _ => {}
        }
        Ok(())
    }
}

/// Between two parts of a summary, as OpenAI's own pages show them.
pub(super) const PARAGRAPH: &str = "\n\n";

/// In front of a signature in `encrypted_content`. A colon is no character of base64, in which sealed thinking comes.
const SIGNATURE_MARK: &str = "signature:";

/// `encrypted_content` → (signature, sealed).
pub(super) fn unseal(encrypted: &str) -> (Option<String>, Option<String>) {
    match encrypted.strip_prefix(SIGNATURE_MARK) {
        Some(signature) => (Some(signature.to_owned()), None),
        None => (None, (!encrypted.is_empty()).then(|| encrypted.to_owned())),
    }
}

/// (signature, sealed) → `encrypted_content`. No provider gives both; the sealed thinking is the one that is needed.
pub(super) fn seal(signature: Option<&str>, sealed: Option<&str>) -> Option<String> {
    sealed
        .map(str::to_owned)
        .or_else(|| signature.map(|signature| format!("{SIGNATURE_MARK}{signature}")))
        .filter(|text| !text.is_empty())
}

/// An error object, or an error that is a mere text.
pub(super) fn failed(raw: &RawValue) -> Failed {
    let error: Value = serde_json::from_str(raw.get()).unwrap_or_default();
    let text = |name: &str| match error.get(name) {
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    Failed {
        // The code says more than the type, and is null where there is none.
        kind: text("code").or_else(|| text("type")).unwrap_or_default(),
        message: text("message")
            .or_else(|| error.as_str().map(str::to_owned))
            .unwrap_or_default(),
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct WireUsage {
    input_tokens: Count,
    input_tokens_details: Lenient<InputDetails>,
    output_tokens: Count,
    output_tokens_details: Lenient<OutputDetails>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct InputDetails {
    cached_tokens: Count,
    cache_write_tokens: Count,
    cache_write_tokens_details: Lenient<WriteDetails>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct WriteDetails {
    ttl_12h_tokens: Count,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct OutputDetails {
    reasoning_tokens: Count,
}

impl WireUsage {
    /// OpenAI's cache writes live 30 minutes or 12 hours; they count as the shorter and the longer of the normal form.
    fn normal(&self) -> Usage {
        let input = self.input_tokens.get();
        let output = self.output_tokens.get();
        let details = self.input_tokens_details.0.clone().unwrap_or_default();
        let long = details.cache_write_tokens_details.0.unwrap_or_default();
        let cached = details.cached_tokens.get().min(input);
        let written = details
            .cache_write_tokens
            .get()
            .min(input.saturating_sub(cached));
        let written_1h = long.ttl_12h_tokens.get().min(written);
        let reasoning = self.output_tokens_details.0.clone().unwrap_or_default();
        Usage {
            input,
            cached,
            written_5m: written.saturating_sub(written_1h),
            written_1h,
            output,
            reasoning: reasoning.reasoning_tokens.get().min(output),
            estimated: false,
        }
    }
}

/// Is this text a JSON object, as far as its first character tells? An array would be read as fields in order.
pub(super) fn looks_like_object(bytes: &[u8]) -> bool {
    bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}
