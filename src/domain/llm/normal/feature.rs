//! What one dialect can say and another cannot.

/// Something that may get lost between two dialects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Feature {
    /// A picture.
    Image,
    /// A document.
    File,
    /// Audio in or out.
    Audio,
    /// A tool that the provider runs.
    ServerTool,
    /// A reference to something stored at the provider (`file_id`, `previous_response_id`).
    Reference,
    /// An answer that must be JSON.
    JsonObject,
    /// An answer that must follow a schema.
    JsonSchema,
    /// `strict` of a tool.
    StrictTool,
    /// `parallel_tool_calls`.
    ParallelTools,
    /// Several answers to one request.
    Choices,
    /// Log probabilities.
    LogProbs,
    /// `logit_bias`
    LogitBias,
    /// `top_k`
    TopK,
    /// `stop`, or more stop texts than the provider takes.
    Stop,
    /// `seed`
    Seed,
    /// Presence and frequency penalties.
    Penalties,
    /// Thinking that was asked for.
    Reasoning,
    /// Instructions in the middle of a conversation.
    SystemTurn,
    /// Anything else that changes the answer.
    Other,
    /// Labels, cache marks, thinking of earlier turns: what can be left out without changing what is answered.
    Hint,
}

impl Feature {
    /// Can it be left out without asking?
    #[must_use]
    pub const fn is_hint(self) -> bool {
        matches!(self, Self::Hint)
    }
}
