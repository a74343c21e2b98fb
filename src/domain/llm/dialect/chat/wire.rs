//! The JSON of answers and chunks, which have one shape, borrowed from the bytes where it can be.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::domain::llm::normal::event::Failed;

/// A JSON value where servers differ: whatever comes is read, and the reader takes what it can use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Loose<'a> {
    #[default]
    Null,
    Bool(bool),
    Count(u64),
    Integer(i64),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    Object(Vec<(Self, Self)>),
}

impl<'a> Loose<'a> {
    /// A field of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        let Self::Object(fields) = self else {
            return None;
        };
        fields
            .iter()
            .find(|(key, _)| key.text() == Some(name))
            .map(|(_, value)| value)
    }

    /// The text, when it is one that is not empty.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// As [`Self::text`], taken out.
    pub(super) fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// A whole number that is not negative; some servers write it with a fraction of zero.
    pub(super) fn count(&self) -> Option<u64> {
        /// 2^53, from where a float no longer holds every whole number.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self {
            Self::Count(count) => Some(*count),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "between 0 and 2^53 and without a fraction"
            )]
            Self::Number(number) if (0.0..EXACT).contains(number) && number.fract() == 0.0 => {
                Some(*number as u64)
            }
            _ => None,
        }
    }

    /// Is it a list or an object with anything in it?
    fn says_something(&self) -> bool {
        match self {
            Self::List(items) => !items.is_empty(),
            Self::Object(fields) => !fields.is_empty(),
            _ => false,
        }
    }

    /// The same as a JSON value of its own.
    fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::from(*flag),
            Self::Count(count) => Value::from(*count),
            Self::Integer(number) => Value::from(*number),
            Self::Number(number) => Value::from(*number),
            Self::Text(text) => Value::from(text.as_ref()),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Object(fields) => fields
                .iter()
                .map(|(key, value)| (key.text().unwrap_or_default(), value.to_value()))
                .collect(),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;
        impl<'de> Visitor<'de> for Any {
            type Value = Loose<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("JSON")
            }
            fn visit_unit<E>(self) -> Result<Self::Value, E> {
                Ok(Loose::Null)
            }
            fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
                Ok(Loose::Bool(flag))
            }
            fn visit_u64<E>(self, count: u64) -> Result<Self::Value, E> {
                Ok(Loose::Count(count))
            }
            fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
                Ok(Loose::Integer(number))
            }
            fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
                Ok(Loose::Number(number))
            }
            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Borrowed(text)))
            }
            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Loose::Text(Cow::Owned(text.to_owned())))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Loose::List(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Loose::Object(fields))
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A whole answer, or a chunk of a streamed one.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) id: Loose<'a>,
    #[serde(borrow)]
    object: Loose<'a>,
    #[serde(borrow)]
    pub(super) model: Loose<'a>,
    #[serde(borrow)]
    pub(super) choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    pub(super) usage: Loose<'a>,
    #[serde(borrow)]
    error: Loose<'a>,
    /// vLLM's older errors stand bare, with `object: "error"`.
    #[serde(borrow)]
    message: Loose<'a>,
    #[serde(borrow)]
    r#type: Loose<'a>,
}

impl Answer<'_> {
    /// The error that it tells instead of an answer.
    pub(super) fn failed(&self) -> Option<Failed> {
        let bare = || {
            let is_bare = self.object.text() == Some("error") && self.choices.is_none();
            is_bare.then(|| Failed {
                kind: self.r#type.text().unwrap_or_default().to_owned(),
                message: self.message.text().unwrap_or_default().to_owned(),
            })
        };
        failure(&self.error).or_else(bare)
    }
}

/// One of the answers to a request.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Choice<'a> {
    pub(super) index: u64,
    /// Of a whole answer.
    #[serde(borrow)]
    pub(super) message: Option<Said<'a>>,
    /// Of a chunk.
    #[serde(borrow)]
    pub(super) delta: Option<Said<'a>>,
    #[serde(borrow)]
    pub(super) finish_reason: Loose<'a>,
    #[serde(borrow)]
    pub(super) stop_reason: Loose<'a>,
    /// OpenRouter's.
    #[serde(borrow)]
    pub(super) error: Loose<'a>,
}

/// What the model says: a message, or a piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    content: Loose<'a>,
    /// DeepSeek, llama.cpp, earlier vLLM.
    #[serde(borrow)]
    reasoning_content: Loose<'a>,
    /// Ollama, OpenRouter, later vLLM. Some send both names with the same words.
    #[serde(borrow)]
    reasoning: Loose<'a>,
    #[serde(borrow)]
    refusal: Loose<'a>,
    /// Sound, with its transcript.
    #[serde(borrow)]
    audio: Loose<'a>,
    /// OpenRouter's pictures.
    #[serde(borrow)]
    images: Loose<'a>,
    #[serde(borrow)]
    tool_calls: Option<Vec<CallPiece<'a>>>,
    /// What came before `tool_calls`.
    #[serde(borrow)]
    function_call: Option<Function<'a>>,
}

/// A tool call, or a piece of one.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct CallPiece<'a> {
    pub(super) index: Option<u64>,
    #[serde(borrow)]
    id: Loose<'a>,
    #[serde(borrow)]
    function: Option<Function<'a>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function<'a> {
    #[serde(borrow)]
    name: Loose<'a>,
    #[serde(borrow)]
    arguments: Loose<'a>,
}

/// One thing that a message says.
#[derive(Debug, PartialEq)]
pub(super) enum Saying<'a> {
    Text(Cow<'a, str>),
    Refusal(Cow<'a, str>),
    Thought(Cow<'a, str>),
    /// Sound or pictures.
    Media,
}

impl<'a> Said<'a> {
    /// Words in the order in which models say them, without empty ones, and then the tool calls.
    pub(super) fn take(self) -> Result<(Vec<Saying<'a>>, Vec<CallPiece<'a>>), &'static str> {
        let mut sayings = Vec::new();
        let thought = self.reasoning_content.into_text();
        sayings.extend(
            thought
                .or_else(|| self.reasoning.into_text())
                .map(Saying::Thought),
        );
        match self.content {
            Loose::Null => {}
            Loose::Text(text) if text.is_empty() => {}
            Loose::Text(text) => sayings.push(Saying::Text(text)),
            Loose::List(parts) => parts
                .into_iter()
                .for_each(|part| pieces(part, &mut sayings)),
            _ => return Err("content is no text"),
        }
        sayings.extend(self.refusal.into_text().map(Saying::Refusal));
        let media = self.audio.says_something() || self.images.says_something();
        sayings.extend(media.then_some(Saying::Media));
        let mut calls = self.tool_calls.unwrap_or_default();
        calls.extend(self.function_call.map(|function| CallPiece {
            function: Some(function),
            ..CallPiece::default()
        }));
        Ok((sayings, calls))
    }
}

/// A content part of Mistral's answers: `{"type":"text","text":…}` or `{"type":"thinking","thinking":[parts]}`.
fn pieces<'a>(part: Loose<'a>, out: &mut Vec<Saying<'a>>) {
    let Loose::Object(fields) = part else {
        return;
    };
    for (key, value) in fields {
        match (key.text(), value) {
            (Some("text"), Loose::Text(text)) if !text.is_empty() => out.push(Saying::Text(text)),
            (Some("thinking"), Loose::List(thoughts)) => {
                for thought in &thoughts {
                    if let Some(text) = thought.get("text").and_then(Loose::text) {
                        out.push(Saying::Thought(Cow::Owned(text.to_owned())));
                    }
                }
            }
            _ => {}
        }
    }
}

impl<'a> CallPiece<'a> {
    pub(super) fn id(&self) -> Option<&str> {
        self.id.text()
    }

    pub(super) fn name(&self) -> Option<&str> {
        self.function.as_ref()?.name.text()
    }

    /// JSON text; some servers send the object itself.
    pub(super) fn arguments(self) -> Option<Cow<'a, str>> {
        match self.function?.arguments {
            Loose::Text(text) => Some(text).filter(|text| !text.is_empty()),
            object @ Loose::Object(_) => Some(Cow::Owned(object.to_value().to_string())),
            _ => None,
        }
    }
}

/// An id for a tool call that came without one (Gemini's and older local servers). Callers send ids back, and Anthropic
/// wants them unique over the whole conversation, so the answer's id is part of it.
pub(super) fn made_up_call_id(answer: &str, index: u64) -> String {
    let tail: String = answer
        .trim_start_matches("chatcmpl-")
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(40) // with the rest within the 64 characters that providers take
        .collect();
    format!("call_{tail}_{index}")
}

/// The error that an `error` field tells, if it tells one: an object, or the bare text of some servers.
pub(super) fn failure(error: &Loose<'_>) -> Option<Failed> {
    match error {
        Loose::Text(text) if !text.is_empty() => Some(Failed {
            kind: String::new(),
            message: text.to_string(),
        }),
        Loose::Object(_) => {
            let text = |name| error.get(name).and_then(Loose::text);
            // A code in words says more than the type; a number says less.
            let kind = text("code").or_else(|| text("type")).map(str::to_owned);
            let number = || error.get("code")?.count().map(|code| code.to_string());
            Some(Failed {
                kind: kind.or_else(number).unwrap_or_default(),
                message: text("message").unwrap_or_default().to_owned(),
            })
        }
        _ => None,
    }
}
