//! An answer and its usage in normal form: what the cache keeps and what every dialect can be rendered from.

use serde::{Deserialize, Serialize};

/// Why an answer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model was done.
    Stop,
    /// The output ceiling was reached.
    Length,
    /// The provider's filter cut in.
    Filter,
    /// The model wants a tool called.
    Tool,
    /// The provider stopped in the middle of a turn that its own tools made long (Anthropic's `pause_turn`): whoever sends
    /// the answer back gets more. Dialects without a word for it tell an answer that was cut by its ceiling, which is not
    /// whole either.
    Pause,
}

impl Finish {
    /// OpenAI's `finish_reason`.
    #[must_use]
    pub const fn openai(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length | Self::Pause => "length",
            Self::Filter => "content_filter",
            Self::Tool => "tool_calls",
        }
    }

    /// Anthropic's `stop_reason`.
    #[must_use]
    pub const fn anthropic(self) -> &'static str {
        match self {
            Self::Stop => "end_turn",
            Self::Length => "max_tokens",
            Self::Filter => "refusal",
            Self::Tool => "tool_use",
            Self::Pause => "pause_turn",
        }
    }

    /// Reads either protocol's word; an unknown one is an ordinary stop.
    #[must_use]
    pub fn read(word: &str) -> Self {
        match word {
            "length" | "max_tokens" | "model_context_window_exceeded" => Self::Length,
            "content_filter" | "refusal" => Self::Filter,
            "pause_turn" => Self::Pause,
            "tool_calls" | "function_call" | "tool_use" => Self::Tool,
            _ => Self::Stop,
        }
    }
}

/// Tokens of one call, the same whatever the provider's dialect. `input` includes what was read from or written to the
/// provider's prompt cache, `output` includes reasoning; so no sum of parts can be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Input tokens, all of them.
    pub input: u64,
    /// Of these, read from the provider's prompt cache.
    pub cached: u64,
    /// Of these, written to the prompt cache for five minutes.
    #[serde(skip_serializing_if = "is_zero")]
    pub written_5m: u64,
    /// Of these, written to the prompt cache for an hour.
    #[serde(skip_serializing_if = "is_zero")]
    pub written_1h: u64,
    /// Output tokens, all of them.
    pub output: u64,
    /// Of these, reasoning.
    #[serde(skip_serializing_if = "is_zero")]
    pub reasoning: u64,
    /// The provider reported nothing: these are our estimate.
    #[serde(skip_serializing_if = "core::ops::Not::not")]
    pub estimated: bool,
}

const fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl Usage {
    /// Both together: what several attempts took.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input: self.input.saturating_add(other.input),
            cached: self.cached.saturating_add(other.cached),
            written_5m: self.written_5m.saturating_add(other.written_5m),
            written_1h: self.written_1h.saturating_add(other.written_1h),
            output: self.output.saturating_add(other.output),
            reasoning: self.reasoning.saturating_add(other.reasoning),
            estimated: self.estimated || other.estimated,
        }
    }
}

/// A whole answer of plain text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The model's own name for itself.
    pub model: String,
    /// The text.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// What it took.
    pub usage: Usage,
}
