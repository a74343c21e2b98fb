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
mod wire;
