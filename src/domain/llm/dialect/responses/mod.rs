//! OpenAI Responses (API reference, "Responses"; shapes as in the official SDK's `resources/responses/responses.ts`).
//!
//! What the normal form and this dialect do not share:
//!
//! | | here |
//! |---|---|
//! | turns | items: a message, a call, a call's output, reasoning; [`request`] joins and parts them |
//! | `stop`, `seed`, `top_k`, penalties | the dialect has none: lost |
//! | the stop text that was met | the dialect has no place for it: left out |
//! | `finish: tool` | not said by the dialect: it follows from a call in a complete answer |
//! | Anthropic's signature of thinking | travels in `encrypted_content` behind a mark, so that callers give it back |

#[cfg(test)]
mod arbitrary;
pub mod echo;
mod items;
pub mod request;
pub mod stream;
pub mod whole;
mod wire;
