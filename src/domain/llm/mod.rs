//! Model calls: reading what callers ask, deciding who answers and with what, and reading what providers send.

pub mod message;
pub mod observe;
pub mod plan;
pub mod read;
pub mod render;
pub mod request;
pub mod upstream;

use crate::domain::route::Dialect;

/// The protocol of a model call, on either side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OpenAI chat completions.
    OpenAi,
    /// Anthropic messages.
    Anthropic,
}

impl Protocol {
    /// The name in `GET /v1/models`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::OpenAi => "openai",
            Self::Anthropic => "anthropic",
        }
    }

    /// The endpoint that speaks it.
    #[must_use]
    pub const fn endpoint(self) -> &'static str {
        match self {
            Self::OpenAi => "/v1/chat/completions",
            Self::Anthropic => "/v1/messages",
        }
    }

    /// The dialect of its errors.
    #[must_use]
    pub const fn dialect(self) -> Dialect {
        match self {
            Self::OpenAi => Dialect::OpenAi,
            Self::Anthropic => Dialect::Anthropic,
        }
    }
}
