//! A conversation → a provider's request.

use serde_json::{Map, Value, json};

use super::write_input;
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::lost::{self, Lost};
use crate::domain::llm::normal::conversation::{
    Conversation, Effort, Format, Reasoning, Sampling, Tool, ToolChoice, Written,
};

/// Writes a request, without `model` and `stream`. Nothing is kept at the provider (`store: false`).
#[must_use]
pub fn write(conversation: &Conversation) -> Written {
    let mut lost = Lost::of(conversation);
    lost.cache_marks(conversation);
    let mut body = Map::new();
    body.insert("store".into(), false.into());
    let sealed = write_input::write(conversation, &mut body, &mut lost);
    tools(conversation, &mut body, &mut lost);
    if let Some(format) = format(&conversation.format) {
        body.insert("text".into(), json!({"format": format}));
    }
    sampling(&conversation.sampling, &mut body, &mut lost);
    let thinks = reasoning(conversation.reasoning.as_ref(), &mut body);
    // Models that do not reason refuse this, so it is asked for only where thinking plays a part.
    if thinks || sealed {
        body.insert("include".into(), json!(["reasoning.encrypted_content"]));
    }
    if let Some(user) = &conversation.user {
        if user.chars().count() <= MAX_USER_CHARS {
            body.insert("user".into(), user.as_str().into());
        } else {
            lost.push(lost::USER);
        }
    }
    Written {
        body,
        lost: lost.into_items(),
    }
}

/// OpenAI refuses longer ones ("Invalid 'user': string too long"); some Anthropic clients send 150 characters.
const MAX_USER_CHARS: usize = 64;

/// OpenAI refuses a lower ceiling ("Expected a value >= 16"), so a lower one is raised.
const MIN_OUTPUT_TOKENS: u64 = 16;

fn tools(conversation: &Conversation, body: &mut Map<String, Value>, lost: &mut Lost) {
    let choice = match &conversation.tool_choice {
        ToolChoice::Unset => None,
        ToolChoice::Auto => Some(json!("auto")),
        ToolChoice::None => Some(json!("none")),
        ToolChoice::Required => Some(json!("required")),
        ToolChoice::Named(name) => Some(json!({"type": "function", "name": name})),
    };
    if conversation.tools.is_empty() {
        // Without tools there is nothing to choose; only a tool that must be called is missed.
        if matches!(
            conversation.tool_choice,
            ToolChoice::Required | ToolChoice::Named(_)
        ) {
            lost.push(lost::TOOL_CHOICE);
        }
        return;
    }
    let functions: Vec<Value> = conversation
        .tools
        .iter()
        .map(|tool| function(tool, conversation.origin))
        .collect();
    body.insert("tools".into(), functions.into());
    if let Some(choice) = choice {
        body.insert("tool_choice".into(), choice);
    }
    if let Some(parallel) = conversation.parallel_tools {
        body.insert("parallel_tool_calls".into(), parallel.into());
    }
}

fn function(tool: &Tool, origin: Protocol) -> Value {
    let mut function = json!({
        "type": "function",
        "name": tool.name,
        "parameters": tool.parameters,
    });
    if let Value::Object(fields) = &mut function {
        if let Some(description) = &tool.description {
            fields.insert("description".into(), description.as_str().into());
        }
        // Where nothing is said, this API tries to be strict and the others do not.
        let strict = match (tool.strict, origin) {
            (None, Protocol::Chat | Protocol::Messages) => Some(false),
            (strict, _) => strict,
        };
        if let Some(strict) = strict {
            fields.insert("strict".into(), strict.into());
        }
    }
    function
}

fn format(format: &Format) -> Option<Value> {
    match format {
        Format::Text => None,
        Format::JsonObject => Some(json!({"type": "json_object"})),
        Format::Schema {
            name,
            description,
            schema,
            strict,
        } => {
            let name = if name.is_empty() { "answer" } else { name };
            let mut format = json!({"type": "json_schema", "name": name, "schema": schema});
            if let Value::Object(fields) = &mut format {
                if let Some(description) = description {
                    fields.insert("description".into(), description.as_str().into());
                }
                if let Some(strict) = strict {
                    fields.insert("strict".into(), (*strict).into());
                }
            }
            Some(format)
        }
    }
}

fn sampling(sampling: &Sampling, body: &mut Map<String, Value>, lost: &mut Lost) {
    if let Some(ceiling) = sampling.max_output {
        body.insert(
            "max_output_tokens".into(),
            ceiling.max(MIN_OUTPUT_TOKENS).into(),
        );
    }
    if let Some(temperature) = sampling.temperature {
        body.insert("temperature".into(), temperature.into());
    }
    if let Some(top_p) = sampling.top_p {
        body.insert("top_p".into(), top_p.into());
    }
    if sampling.top_k.is_some() {
        lost.push(lost::TOP_K);
    }
    if !sampling.stop.is_empty() {
        lost.push(lost::STOP);
    }
    if sampling.seed.is_some() {
        lost.push(lost::SEED);
    }
    // A penalty of 0 is none.
    for (penalty, loss) in [
        (sampling.presence_penalty, lost::PRESENCE_PENALTY),
        (sampling.frequency_penalty, lost::FREQUENCY_PENALTY),
    ] {
        if penalty.is_some_and(|penalty| penalty != 0.0) {
            lost.push(loss);
        }
    }
}

/// Writes `reasoning`; says whether the model is to think.
fn reasoning(reasoning: Option<&Reasoning>, body: &mut Map<String, Value>) -> bool {
    let Some(reasoning) = reasoning else {
        return false;
    };
    let effort = reasoning.effort.or(reasoning.budget_tokens.map(effort_of));
    let mut fields = Map::new();
    if let Some(effort) = effort {
        fields.insert("effort".into(), word_of(effort).into());
    }
    if reasoning.show {
        fields.insert("summary".into(), "auto".into());
    }
    let asked = !fields.is_empty();
    if asked {
        body.insert("reasoning".into(), fields.into());
    }
    asked && effort != Some(Effort::None)
}

/// A budget in tokens as effort. The steps are those by which the Messages dialect gives efforts their budgets; the
/// words that only some models know are never derived.
///
/// | none | low | medium | high |
/// |---|---|---|---|
/// | 0 | 1 | 8192 | 16 384 and more |
const fn effort_of(budget_tokens: u64) -> Effort {
    match budget_tokens {
        0 => Effort::None,
        1..8192 => Effort::Low,
        8192..16_384 => Effort::Medium,
        _ => Effort::High,
    }
}

/// `xhigh` rather than `max`: more models know it.
const fn word_of(effort: Effort) -> &'static str {
    match effort {
        Effort::None => "none",
        Effort::Minimal => "minimal",
        Effort::Low => "low",
        Effort::Medium => "medium",
        Effort::High => "high",
        Effort::Max => "xhigh",
    }
}
