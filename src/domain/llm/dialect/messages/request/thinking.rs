//! How much Claude thinks: effort in a word, budgets in tokens, and what a generation of models takes of both.

use crate::domain::llm::normal::conversation::{Conversation, Effort, Part, Reasoning, Role};

/// Least budget that the API takes, in tokens (API reference, `thinking.budget_tokens`).
pub(super) const MIN_BUDGET_TOKENS: u64 = 1024;
/// Least output ceiling with which thinking is worth while, in tokens: as much again for the answer, 2 × 1024.
const MIN_OUTPUT_TOKENS: u64 = 2048;

/// What a model takes. Claude up to 4.6 has thinking budgets and sampling parameters; from 4.7 on it refuses both with
/// status 400, thinks adaptively and is steered by `output_config.effort` ("What's new in Claude 4.7").
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Generation {
    /// Budgets and sampling parameters: Claude up to 4.6, and other makers' servers that speak this protocol.
    #[default]
    Budget,
    /// Adaptive thinking with effort, no sampling parameters: Claude 4.7 and later.
    Adaptive,
}

impl Generation {
    /// Tells it by the provider's name of the model: the first version number behind `claude`. A Claude without a number
    /// is taken for a new one.
    #[must_use]
    pub fn of(model: &str) -> Self {
        let Some((_, name)) = model.split_once("claude") else {
            return Self::Budget;
        };
        // `4-20250514` is version 4 of a day, so longer numbers are dates.
        let mut numbers = name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .skip_while(|word| !is_number(word))
            .map_while(|word| {
                if is_number(word) {
                    word.parse::<u32>().ok()
                } else {
                    None
                }
            });
        let version = (numbers.next(), numbers.next().unwrap_or(0));
        match version {
            (Some(major), minor) if (major, minor) < (4, 7) => Self::Budget,
            _ => Self::Adaptive,
        }
    }
}

fn is_number(word: &str) -> bool {
    (1..=2).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// The thinking budget for an effort, in tokens; no thinking has none.
///
/// | none | minimal | low | medium | high | max |
/// |---|---|---|---|---|---|
/// | – | 1024 | 2048 | 8192 | 16 384 | 32 000 |
///
/// Above 32 000 Anthropic advises batches, for calls get too long ("Extended thinking", working with budgets).
#[must_use]
pub const fn budget_of(effort: Effort) -> Option<u64> {
    match effort {
        Effort::None => None,
        Effort::Minimal => Some(1024),
        Effort::Low => Some(2048),
        Effort::Medium => Some(8192),
        Effort::High => Some(16_384),
        Effort::Max => Some(32_000),
    }
}

/// The effort for a budget: the greatest whose own budget is not above it.
#[must_use]
pub const fn effort_of(budget_tokens: u64) -> Effort {
    match budget_tokens {
        0 => Effort::None,
        1..2048 => Effort::Minimal,
        2048..8192 => Effort::Low,
        8192..16_384 => Effort::Medium,
        16_384..32_000 => Effort::High,
        _ => Effort::Max,
    }
}

/// Anthropic's word for an effort; it has none for `none`.
pub(super) const fn effort_word(effort: Effort) -> Option<&'static str> {
    match effort {
        Effort::None => None,
        Effort::Minimal | Effort::Low => Some("low"),
        Effort::Medium => Some("medium"),
        Effort::High => Some("high"),
        Effort::Max => Some("max"),
    }
}

/// What is to be written about thinking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Thinking {
    /// Nothing was asked for.
    Unsaid,
    /// No thinking.
    Disabled,
    /// Up to so many tokens.
    Budget(u64),
    /// As the model likes.
    Adaptive,
    /// It was asked for and cannot be had with this request.
    Impossible,
}

/// Decides. Thinking gives way where the API refuses it beside something else that was asked for: a tool that must be
/// called, an answer that goes on from the last turn, a low output ceiling; budgets also in the middle of a tool loop
/// whose last assistant turn does not begin with a signed thought.
pub(super) fn decide(
    conversation: &Conversation,
    generation: Generation,
    max_output: u64,
    forced_tool: bool,
) -> Thinking {
    let Some(reasoning) = &conversation.reasoning else {
        return Thinking::Unsaid;
    };
    let adaptive = reasoning.adaptive || generation == Generation::Adaptive;
    let Some(budget) = wanted(reasoning) else {
        return match reasoning.effort {
            Some(Effort::None) => Thinking::Disabled,
            _ if reasoning.adaptive => check(conversation, Thinking::Adaptive, forced_tool),
            _ => Thinking::Unsaid,
        };
    };
    if adaptive {
        return check(conversation, Thinking::Adaptive, forced_tool);
    }
    if max_output < MIN_OUTPUT_TOKENS || in_unsigned_tool_loop(conversation) {
        return Thinking::Impossible;
    }
    // The ceiling counts thinking too: a quarter stays for the answer.
    let most = max_output.saturating_sub(max_output.div_ceil(4));
    let budget = budget.min(most).max(MIN_BUDGET_TOKENS);
    check(conversation, Thinking::Budget(budget), forced_tool)
}

fn wanted(reasoning: &Reasoning) -> Option<u64> {
    reasoning
        .budget_tokens
        .or_else(|| reasoning.effort.and_then(budget_of))
}

fn check(conversation: &Conversation, thinking: Thinking, forced_tool: bool) -> Thinking {
    let prefilled = conversation
        .turns
        .last()
        .is_some_and(|turn| turn.role == Role::Assistant);
    if forced_tool || prefilled {
        Thinking::Impossible
    } else {
        thinking
    }
}

/// Does the request answer tool calls of an assistant turn that has no signed or sealed thought in front?
fn in_unsigned_tool_loop(conversation: &Conversation) -> bool {
    let answers = conversation
        .turns
        .iter()
        .rev()
        .take_while(|turn| turn.role != Role::Assistant)
        .flat_map(|turn| &turn.parts)
        .any(|part| matches!(part, Part::ToolResult { .. }));
    let first = conversation
        .turns
        .iter()
        .rev()
        .skip_while(|turn| turn.role != Role::Assistant)
        .take_while(|turn| turn.role == Role::Assistant)
        .last()
        .and_then(|turn| turn.parts.first());
    let signed = matches!(first, Some(Part::Reasoning(thought)) if super::turns::is_own(thought));
    answers && !signed
}
