//! The JSON of answers and of the events that carry them, borrowed from the bytes where it can be.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::llm::normal::event::Failed;

/// A message: a whole answer, or what `message_start` carries.
#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) r#type: Option<Cow<'a, str>>,
    pub(super) id: Option<String>,
    pub(super) model: Option<String>,
    #[serde(borrow)]
    pub(super) content: Option<&'a RawValue>,
    pub(super) stop_reason: Option<String>,
    pub(super) stop_sequence: Option<String>,
    #[serde(borrow)]
    pub(super) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// A content block, or the beginning of one.
#[derive(Deserialize)]
pub(super) struct Block<'a> {
    #[serde(borrow)]
    pub(super) r#type: Cow<'a, str>,
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) text: Option<String>,
    pub(super) thinking: Option<String>,
    pub(super) signature: Option<String>,
    pub(super) data: Option<String>,
    #[serde(borrow)]
    pub(super) input: Option<&'a RawValue>,
}

/// What tells an object of any kind apart, and an error in the place of an answer.
#[derive(Deserialize)]
pub(super) struct Kind<'a> {
    #[serde(borrow)]
    pub(super) r#type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) error: Option<&'a RawValue>,
}

/// An error object, as Anthropic and its relatives send it inside a 200: an object, or only a text.
pub(super) fn failed(error: Option<&RawValue>) -> Failed {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Error {
        r#type: Option<String>,
        message: Option<String>,
    }
    let text = error.map_or("null", RawValue::get);
    let error = serde_json::from_str(text).unwrap_or_else(|_| Error {
        r#type: None,
        message: serde_json::from_str(text).ok(),
    });
    Failed {
        kind: error.r#type.unwrap_or_default(),
        message: error.message.unwrap_or_default(),
    }
}
