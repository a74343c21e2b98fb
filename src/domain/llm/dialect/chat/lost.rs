//! What a request loses on its way into this dialect.

use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{Conversation, Unplaced};
use crate::domain::llm::normal::feature::Feature;

/// Gathers losses, each field once.
pub(super) struct Lost {
    origin: Protocol,
    items: Vec<Unplaced>,
}

impl Lost {
    /// Begins with what already had no place in the normal form.
    pub(super) fn of(conversation: &Conversation) -> Self {
        Self {
            origin: conversation.origin,
            items: conversation.unplaced.clone(),
        }
    }

    /// This dialect lacks a feature.
    pub(super) fn feature(&mut self, feature: Feature) {
        self.push(feature, param_of(feature, self.origin));
    }

    /// What can be left out: named by its field in each dialect (chat, responses, messages).
    pub(super) fn hint(&mut self, [chat, responses, messages]: [&str; 3]) {
        self.push(
            Feature::Hint,
            match self.origin {
                Protocol::Chat => chat,
                Protocol::Responses => responses,
                Protocol::Messages => messages,
            },
        );
    }

    pub(super) fn into_items(self) -> Vec<Unplaced> {
        self.items
    }

    fn push(&mut self, feature: Feature, param: &str) {
        let known = |item: &Unplaced| item.feature == feature && item.param == param;
        if !self.items.iter().any(known) {
            self.items.push(Unplaced {
                feature,
                param: param.to_owned(),
            });
        }
    }
}

/// The field by which the caller's dialect asks for a feature.
pub(super) const fn param_of(feature: Feature, origin: Protocol) -> &'static str {
    use Protocol::{Chat, Messages, Responses};
    match (feature, origin) {
        (Feature::Reference, Responses) => "previous_response_id",
        (
            Feature::Image
            | Feature::File
            | Feature::Audio
            | Feature::Reference
            | Feature::SystemTurn
            | Feature::Other
            | Feature::Hint,
            _,
        ) => match origin {
            Chat | Messages => "messages",
            Responses => "input",
        },
        (Feature::ServerTool | Feature::StrictTool, _) => "tools",
        (Feature::JsonObject | Feature::JsonSchema, Chat) => "response_format",
        (Feature::JsonObject | Feature::JsonSchema, Responses) => "text.format",
        (Feature::JsonObject | Feature::JsonSchema, Messages) => "output_config.format",
        (Feature::ParallelTools, Chat | Responses) => "parallel_tool_calls",
        (Feature::ParallelTools, Messages) => "tool_choice.disable_parallel_tool_use",
        (Feature::Choices, _) => "n",
        (Feature::LogProbs, Chat) => "logprobs",
        (Feature::LogProbs, _) => "top_logprobs",
        (Feature::LogitBias, _) => "logit_bias",
        (Feature::TopK, _) => "top_k",
        (Feature::Stop, Chat | Responses) => "stop",
        (Feature::Stop, Messages) => "stop_sequences",
        (Feature::Seed, _) => "seed",
        (Feature::Penalties, _) => "presence_penalty",
        (Feature::Reasoning, Chat) => "reasoning_effort",
        (Feature::Reasoning, Responses) => "reasoning",
        (Feature::Reasoning, Messages) => "thinking",
    }
}
