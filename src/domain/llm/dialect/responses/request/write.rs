//! A conversation → a provider's request.

use serde_json::{Map, Value, json};

use super::write_input;
use crate::domain::llm::Protocol;
use crate::domain::llm::dialect::responses::param::param_of;
use crate::domain::llm::normal::conversation::{
    Conversation, Effort, Format, Reasoning, Sampling, Tool, ToolChoice, Unplaced, Written,
};
use crate::domain::llm::normal::feature::Feature;

/// Writes a request, without `model` and `stream`. Nothing is kept at the provider (`store: false`).
#[must_use]
pub fn write(conversation: &Conversation) -> Written {
    let mut losses = Losses {
        origin: conversation.origin,
        lost: conversation.unplaced.clone(),
    };
    let mut body = Map::new();
    body.insert("store".into(), false.into());
    let sealed = write_input::write(conversation, &mut body, &mut losses);
    tools(conversation, &mut body, &mut losses);
    if let Some(format) = format(&conversation.format) {
        body.insert("text".into(), json!({"format": format}));
    }
    sampling(&conversation.sampling, &mut body, &mut losses);
    let thinks = reasoning(conversation.reasoning.as_ref(), &mut body);
    // Models that do not reason refuse this, so it is asked for only where thinking plays a part.
    if thinks || sealed {
        body.insert("include".into(), json!(["reasoning.encrypted_content"]));
    }
    if let Some(user) = &conversation.user {
        if user.chars().count() <= MAX_USER_CHARS {
            body.insert("user".into(), user.as_str().into());
        } else {
            losses.field(Feature::Hint, user_param(conversation.origin));
        }
    }
    Written {
        body,
        lost: losses.lost,
    }
}

/// OpenAI refuses longer ones ("Invalid 'user': string too long"); some Anthropic clients send 150 characters.
const MAX_USER_CHARS: usize = 64;

/// OpenAI refuses a lower ceiling ("Expected a value >= 16"), so a lower one is raised.
const MIN_OUTPUT_TOKENS: u64 = 16;

/// What the dialect cannot carry.
pub(super) struct Losses {
    pub origin: Protocol,
    lost: Vec<Unplaced>,
}

impl Losses {
    /// A feature, by its usual field in the caller's dialect.
    pub fn feature(&mut self, feature: Feature) {
        self.field(feature, param_of(feature, self.origin));
    }

    /// A field of the caller's request; named once.
    pub fn field(&mut self, feature: Feature, param: &str) {
        let loss = Unplaced {
            feature,
            param: param.to_owned(),
        };
        if !self.lost.contains(&loss) {
            self.lost.push(loss);
        }
    }
}

const fn user_param(origin: Protocol) -> &'static str {
    match origin {
        Protocol::Messages => "metadata.user_id",
        Protocol::Chat | Protocol::Responses => "user",
    }
}

fn tools(conversation: &Conversation, body: &mut Map<String, Value>, losses: &mut Losses) {
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
            losses.field(Feature::Other, "tool_choice");
        }
        return;
    }
    let mut written = Vec::with_capacity(conversation.tools.len());
    for tool in &conversation.tools {
        if tool.cache.is_some() {
            losses.feature(Feature::Hint);
        }
        written.push(function(tool, conversation.origin));
    }
    body.insert("tools".into(), written.into());
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

fn sampling(sampling: &Sampling, body: &mut Map<String, Value>, losses: &mut Losses) {
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
        losses.feature(Feature::TopK);
    }
    if !sampling.stop.is_empty() {
        losses.feature(Feature::Stop);
    }
    if sampling.seed.is_some() {
        losses.feature(Feature::Seed);
    }
    // A penalty of 0 is none.
    for (penalty, param) in [
        (sampling.presence_penalty, "presence_penalty"),
        (sampling.frequency_penalty, "frequency_penalty"),
    ] {
        if penalty.is_some_and(|penalty| penalty != 0.0) {
            losses.field(Feature::Penalties, param);
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
