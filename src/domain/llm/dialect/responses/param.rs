//! What a feature is called in each caller's dialect.

use crate::domain::llm::Protocol;
use crate::domain::llm::normal::feature::Feature;

/// The field by which a caller of that dialect said it.
pub(super) const fn param_of(feature: Feature, origin: Protocol) -> &'static str {
    use Protocol::{Chat, Messages, Responses};
    match (feature, origin) {
        (Feature::Image | Feature::File | Feature::Audio | Feature::SystemTurn, Responses) => {
            "input"
        }
        (Feature::Image | Feature::File | Feature::Audio | Feature::SystemTurn, _) => "messages",
        (Feature::ServerTool | Feature::StrictTool, _) => "tools",
        (Feature::Reference, Responses) => "previous_response_id",
        (Feature::Reference, _) => "file_id",
        (Feature::JsonObject | Feature::JsonSchema, Chat) => "response_format",
        (Feature::JsonObject | Feature::JsonSchema, Responses) => "text.format",
        (Feature::JsonObject | Feature::JsonSchema, Messages) => "output_config.format",
        (Feature::ParallelTools, Messages) => "tool_choice.disable_parallel_tool_use",
        (Feature::ParallelTools, _) => "parallel_tool_calls",
        (Feature::Choices, _) => "n",
        (Feature::LogProbs, Chat) => "logprobs",
        (Feature::LogProbs, _) => "top_logprobs",
        (Feature::LogitBias, _) => "logit_bias",
        (Feature::TopK, _) => "top_k",
        (Feature::Stop, Messages) => "stop_sequences",
        (Feature::Stop, _) => "stop",
        (Feature::Seed, _) => "seed",
        (Feature::Penalties, _) => "presence_penalty",
        (Feature::Reasoning, Chat) => "reasoning_effort",
        (Feature::Reasoning, Responses) => "reasoning",
        (Feature::Reasoning, Messages) => "thinking",
        (Feature::Hint, Messages) => "cache_control",
        (Feature::Hint | Feature::Other, Responses) => "input",
        (Feature::Hint | Feature::Other, _) => "messages",
    }
}
