//! The caller's name for what gets lost.

use crate::domain::llm::Protocol;
use crate::domain::llm::normal::feature::Feature;

/// The field in which a caller of that dialect says this.
#[must_use]
pub const fn param_of(feature: Feature, origin: Protocol) -> &'static str {
    match (feature, origin) {
        (Feature::ServerTool | Feature::StrictTool, _) => "tools",
        (Feature::JsonObject | Feature::JsonSchema, Protocol::Chat) => "response_format",
        (Feature::JsonObject | Feature::JsonSchema, Protocol::Responses) => "text.format",
        (Feature::JsonObject | Feature::JsonSchema, Protocol::Messages) => "output_config.format",
        (Feature::ParallelTools, Protocol::Messages) => "tool_choice.disable_parallel_tool_use",
        (Feature::ParallelTools, _) => "parallel_tool_calls",
        (Feature::Choices, _) => "n",
        (Feature::LogProbs, Protocol::Responses) => "top_logprobs",
        (Feature::LogProbs, _) => "logprobs",
        (Feature::LogitBias, _) => "logit_bias",
        (Feature::TopK, _) => "top_k",
        (Feature::Stop, Protocol::Messages) => "stop_sequences",
        (Feature::Stop, _) => "stop",
        (Feature::Seed, _) => "seed",
        (Feature::Penalties, _) => "presence_penalty",
        (Feature::Reasoning, Protocol::Chat) => "reasoning_effort",
        (Feature::Reasoning, Protocol::Responses) => "reasoning",
        (Feature::Reasoning, Protocol::Messages) => "thinking",
        (
            Feature::Image
            | Feature::File
            | Feature::Audio
            | Feature::Reference
            | Feature::SystemTurn
            | Feature::Other
            | Feature::Hint,
            Protocol::Responses,
        ) => "input",
        _ => "messages",
    }
}
