//! What a request loses on its way into another dialect, named by the caller's own fields.
//!
//! A reader knows where the thing stands that it cannot keep, and names it with its index
//! (`messages[2].content[0].citations`). A writer no longer does: by then turns have been joined, moved in front or left
//! out. It names the field as the caller's dialect has it, with `[]` for any index, and each field once, so that a
//! request with a hundred cache marks gets a short header.

use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{Conversation, Part, Unplaced};
use crate::domain::llm::normal::feature::Feature;

/// Something that a writer leaves out.
#[derive(Clone, Copy)]
pub(super) struct Loss {
    feature: Feature,
    /// Its field in a chat's, a Responses and a Messages request.
    params: [&'static str; 3],
}

impl Loss {
    const fn new(feature: Feature, params: [&'static str; 3]) -> Self {
        Self { feature, params }
    }

    /// A field that is called the same in every dialect that has it.
    const fn same(feature: Feature, param: &'static str) -> Self {
        Self::new(feature, [param; 3])
    }
}

/// A part of a message.
const PART: [&str; 3] = [
    "messages[].content[]",
    "input[].content[]",
    "messages[].content[]",
];

pub(super) const IMAGE: Loss = Loss::new(Feature::Image, PART);
pub(super) const FILE: Loss = Loss::new(Feature::File, PART);
/// A part that cannot stand where it does, such as a tool's result in the model's turn.
pub(super) const MISPLACED: Loss = Loss::new(Feature::Other, PART);
pub(super) const IMAGE_DETAIL: Loss = Loss::new(
    Feature::Hint,
    [
        "messages[].content[].image_url.detail",
        "input[].content[].detail",
        "messages[].content[]",
    ],
);
/// Arguments of a tool call that are no object.
pub(super) const ARGUMENTS: Loss = Loss::new(
    Feature::Other,
    [
        "messages[].tool_calls[].function.arguments",
        "input[].arguments",
        "messages[].content[].input",
    ],
);
/// Only Anthropic's dialect has the flag.
pub(super) const IS_ERROR: Loss = Loss::new(
    Feature::Hint,
    [
        "messages[].content",
        "input[].output",
        "messages[].content[].is_error",
    ],
);
pub(super) const EARLIER_THINKING: Loss = Loss::new(
    Feature::Hint,
    [
        "messages[].reasoning_content",
        "input[].summary",
        "messages[].content[].thinking",
    ],
);
pub(super) const SYSTEM_TURN: Loss = Loss::new(
    Feature::SystemTurn,
    ["messages[].role", "input[].role", "messages[].role"],
);

/// Cache marks of instructions, of parts of turns, of parts of a tool's result, and of tools. A chat's tools have them
/// from servers that take Anthropic's word in this dialect.
const CACHED_SYSTEM: Loss = Loss::new(
    Feature::Hint,
    [
        "messages[].content[].prompt_cache_breakpoint",
        "input[].content[].prompt_cache_breakpoint",
        "system[].cache_control",
    ],
);
const CACHED_PART: Loss = Loss::new(
    Feature::Hint,
    [
        "messages[].content[].prompt_cache_breakpoint",
        "input[].content[].prompt_cache_breakpoint",
        "messages[].content[].cache_control",
    ],
);
const CACHED_RESULT: Loss = Loss::new(
    Feature::Hint,
    [
        "messages[].content[].prompt_cache_breakpoint",
        "input[].output[].prompt_cache_breakpoint",
        "messages[].content[].content[].cache_control",
    ],
);
const CACHED_TOOL: Loss = Loss::same(Feature::Hint, "tools[].cache_control");

pub(super) const TOOL_CHOICE: Loss = Loss::same(Feature::Other, "tool_choice");
pub(super) const JSON_OBJECT: Loss = Loss::new(
    Feature::JsonObject,
    ["response_format", "text.format", "output_config.format"],
);
pub(super) const SCHEMA_DESCRIPTION: Loss = Loss::new(
    Feature::Hint,
    [
        "response_format.json_schema.description",
        "text.format.description",
        "output_config.format",
    ],
);
pub(super) const REASONING: Loss = Loss::new(
    Feature::Reasoning,
    ["reasoning_effort", "reasoning", "thinking"],
);
/// Thinking is to be shown, but nobody said how much of it there shall be.
pub(super) const REASONING_SUMMARY: Loss = Loss::new(
    Feature::Hint,
    ["reasoning_effort", "reasoning.summary", "thinking.display"],
);
pub(super) const TEMPERATURE: Loss = Loss::same(Feature::Other, "temperature");
pub(super) const TOP_P: Loss = Loss::same(Feature::Other, "top_p");
pub(super) const TOP_K: Loss = Loss::same(Feature::TopK, "top_k");
pub(super) const STOP: Loss = Loss::new(Feature::Stop, ["stop", "stop", "stop_sequences"]);
pub(super) const SEED: Loss = Loss::same(Feature::Seed, "seed");
pub(super) const PRESENCE_PENALTY: Loss = Loss::same(Feature::Penalties, "presence_penalty");
pub(super) const FREQUENCY_PENALTY: Loss = Loss::same(Feature::Penalties, "frequency_penalty");
pub(super) const USER: Loss = Loss::new(Feature::Hint, ["user", "user", "metadata.user_id"]);

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

    pub(super) fn push(&mut self, loss: Loss) {
        let [chat, responses, messages] = loss.params;
        let param = match self.origin {
            Protocol::Chat => chat,
            Protocol::Responses => responses,
            Protocol::Messages => messages,
        };
        let known = |item: &Unplaced| item.feature == loss.feature && item.param == param;
        if !self.items.iter().any(known) {
            self.items.push(Unplaced {
                feature: loss.feature,
                param: param.to_owned(),
            });
        }
    }

    /// All cache marks. OpenAI caches by itself; only its newest models take marks, and others refuse the field.
    pub(super) fn cache_marks(&mut self, conversation: &Conversation) {
        for part in &conversation.system {
            self.cache_mark(part, CACHED_SYSTEM);
        }
        for part in conversation.turns.iter().flat_map(|turn| &turn.parts) {
            self.cache_mark(part, CACHED_PART);
            if let Part::ToolResult { content, .. } = part {
                for part in content {
                    self.cache_mark(part, CACHED_RESULT);
                }
            }
        }
        if conversation.tools.iter().any(|tool| tool.cache.is_some()) {
            self.push(CACHED_TOOL);
        }
    }

    fn cache_mark(&mut self, part: &Part, loss: Loss) {
        if let Part::Text { cache: Some(_), .. }
        | Part::Image { cache: Some(_), .. }
        | Part::File { cache: Some(_), .. }
        | Part::ToolResult { cache: Some(_), .. } = part
        {
            self.push(loss);
        }
    }

    pub(super) fn into_items(self) -> Vec<Unplaced> {
        self.items
    }
}

#[cfg(test)]
mod tests;
