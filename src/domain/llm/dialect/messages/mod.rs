//! Anthropic's Messages API: its requests, its answers and its streams, read into the normal form and written from it.
//!
//! Source of the wire: the type files of `@anthropic-ai/sdk` (`resources/messages/messages.d.ts`) and the API reference.
//!
//! What is not the same after a way through this dialect, though nothing is reported as lost:
//!
//! | said | comes back as |
//! |---|---|
//! | neighbouring turns of one role | one turn, its tool results first |
//! | empty texts, and texts of blanks alone, in a request; empty texts of a whole answer | nothing: the API refuses them |
//! | a refusal in words | a text |
//! | tool arguments that are empty | `{}` |
//! | effort without a budget | a budget (see [`request::budget_of`]), or adaptive thinking for newer models |
//! | `parallel_tools: Some(true)` | `None`: it is the default |
//! | the name of a schema | `output` |
//! | a thought with both words and sealed content | two thoughts |
//! | tokens written to the cache for an hour, in a stream | for five minutes: the stream's last report tells no lifetimes |

pub mod request;
pub mod stream;
pub mod whole;

mod usage;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::domain::llm::normal::event::Failed;

/// An error object, as Anthropic and its relatives send it inside a 200: an object, or only a text.
fn failed(error: Option<&RawValue>) -> Failed {
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
