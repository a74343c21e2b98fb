//! The normal form → a provider's request.

use serde_json::{Map, Value, json};

use super::thinking::{Generation, Thinking, decide, effort_of, effort_word};
use super::turns;
use crate::domain::llm::dialect::lost::{self, Lost};
use crate::domain::llm::normal::conversation::{
    Conversation, Format, Reasoning, Tool, ToolChoice, Written,
};

/// Output ceiling where the caller named none, in tokens; the API needs one.
const DEFAULT_MAX_TOKENS: u64 = 4096;

/// Writes a request for a model of [`Generation::Budget`], without `model` and `stream`.
#[must_use]
pub fn write(conversation: &Conversation) -> Written {
    write_for(conversation, Generation::Budget)
}

/// Writes a request for a model of that generation, without `model` and `stream`.
#[must_use]
pub fn write_for(conversation: &Conversation, generation: Generation) -> Written {
    let mut lost = Lost::of(conversation);
    let mut body = Map::new();
    let max_output = conversation
        .sampling
        .max_output
        .unwrap_or(DEFAULT_MAX_TOKENS);
    body.insert("max_tokens".into(), max_output.into());
    let (system, messages) = turns::write(&conversation.system, &conversation.turns, &mut lost);
    body.extend(system.map(|system| ("system".to_owned(), system)));
    body.insert("messages".into(), Value::Array(messages));
    let forced_tool = tools(conversation, &mut body, &mut lost);
    let thinking = decide(conversation, generation, max_output, forced_tool);
    output(conversation, generation, thinking, &mut body, &mut lost);
    sampling(conversation, generation, thinking, &mut body, &mut lost);
    if let Some(user) = &conversation.user {
        body.insert("metadata".into(), json!({"user_id": user}));
    }
    Written {
        body,
        lost: lost.into_items(),
    }
}

/// Writes tools and choice; tells whether a tool must be called.
fn tools(conversation: &Conversation, body: &mut Map<String, Value>, lost: &mut Lost) -> bool {
    let choice = &conversation.tool_choice;
    let forced = matches!(choice, ToolChoice::Required | ToolChoice::Named(_));
    if conversation.tools.is_empty() {
        // The API refuses a choice without tools.
        if forced {
            lost.push(lost::TOOL_CHOICE);
        }
        return false;
    }
    body.insert(
        "tools".into(),
        conversation.tools.iter().map(tool).collect(),
    );
    let one = conversation.parallel_tools == Some(false);
    let mut fields = match choice {
        ToolChoice::Unset if !one => return false,
        ToolChoice::Unset | ToolChoice::Auto => json!({"type": "auto"}),
        ToolChoice::None => json!({"type": "none"}),
        ToolChoice::Required => json!({"type": "any"}),
        ToolChoice::Named(name) => json!({"type": "tool", "name": name}),
    };
    if one
        && *choice != ToolChoice::None
        && let Some(fields) = fields.as_object_mut()
    {
        fields.insert("disable_parallel_tool_use".into(), true.into());
    }
    body.insert("tool_choice".into(), fields);
    forced
}

fn tool(tool: &Tool) -> Value {
    let schema = match &tool.parameters {
        Some(schema) if !super::fields::is_empty(schema) => schema.clone(),
        _ => json!({"type": "object", "properties": {}}),
    };
    let mut fields = Map::new();
    fields.insert("name".into(), tool.name.as_str().into());
    if let Some(description) = &tool.description {
        fields.insert("description".into(), description.as_str().into());
    }
    fields.insert("input_schema".into(), schema);
    if let Some(strict) = tool.strict {
        fields.insert("strict".into(), strict.into());
    }
    turns::marked(Value::Object(fields), tool.cache)
}

/// Writes thinking and the output's format.
fn output(
    conversation: &Conversation,
    generation: Generation,
    thinking: Thinking,
    body: &mut Map<String, Value>,
    lost: &mut Lost,
) {
    let nothing = Reasoning::default();
    let reasoning = conversation.reasoning.as_ref().unwrap_or(&nothing);
    let mut config = Map::new();
    let mut fields = match thinking {
        // A summary was asked for, but not how much to think.
        Thinking::Unsaid if reasoning.show => {
            lost.push(lost::REASONING_SUMMARY);
            Value::Null
        }
        Thinking::Unsaid => Value::Null,
        Thinking::Impossible => {
            lost.push(lost::REASONING);
            Value::Null
        }
        Thinking::Disabled => json!({"type": "disabled"}),
        Thinking::Budget(tokens) => json!({"type": "enabled", "budget_tokens": tokens}),
        Thinking::Adaptive => json!({"type": "adaptive"}),
    };
    // Newer models leave the words out unless they are asked for; older ones show them unasked.
    if thinking == Thinking::Adaptive
        && let Some(fields) = fields.as_object_mut()
    {
        let display = if reasoning.show {
            "summarized"
        } else {
            "omitted"
        };
        fields.insert("display".into(), display.into());
    }
    if !fields.is_null() {
        body.insert("thinking".into(), fields);
    }
    let budget_effort = (generation == Generation::Adaptive)
        .then(|| reasoning.budget_tokens.map(effort_of))
        .flatten();
    if thinking == Thinking::Adaptive
        && let Some(word) = reasoning.effort.or(budget_effort).and_then(effort_word)
    {
        config.insert("effort".into(), word.into());
    }
    match &conversation.format {
        Format::Text => {}
        Format::JsonObject => lost.push(lost::JSON_OBJECT),
        Format::Schema {
            schema,
            description,
            ..
        } => {
            if description.is_some() {
                lost.push(lost::SCHEMA_DESCRIPTION);
            }
            let format = json!({"type": "json_schema", "schema": schema});
            config.insert("format".into(), format);
        }
    }
    if !config.is_empty() {
        body.insert("output_config".into(), Value::Object(config));
    }
}

/// Writes what steers the choice of words. Defaults (1 for temperature and `top_p`) say nothing; models take one of
/// the two at most; beside a thinking budget only a `top_p` from 0.95 up is taken (extended thinking, "Feature
/// compatibility").
fn sampling(
    conversation: &Conversation,
    generation: Generation,
    thinking: Thinking,
    body: &mut Map<String, Value>,
    lost: &mut Lost,
) {
    let sampling = &conversation.sampling;
    let thinks = matches!(thinking, Thinking::Budget(_) | Thinking::Adaptive);
    let refuses = generation == Generation::Adaptive;
    let mut temperature_written = false;
    // OpenAI's scale ends at 2: what is above 1 is as random as it gets here.
    match sampling.temperature.map(|temperature| temperature.min(1.0)) {
        Some(temperature) if temperature < 1.0 && (thinks || refuses) => {
            lost.push(lost::TEMPERATURE);
        }
        Some(temperature) if !refuses => {
            body.insert("temperature".into(), temperature.into());
            temperature_written = temperature < 1.0;
        }
        _ => {}
    }
    match sampling.top_p {
        Some(top_p) if top_p < 1.0 => {
            if refuses || temperature_written || (thinks && top_p < 0.95) {
                lost.push(lost::TOP_P);
            } else {
                body.shift_remove("temperature");
                body.insert("top_p".into(), top_p.into());
            }
        }
        _ => {}
    }
    if let Some(top_k) = sampling.top_k {
        if thinks || refuses {
            lost.push(lost::TOP_K);
        } else {
            body.insert("top_k".into(), top_k.into());
        }
    }
    stop(conversation, body, lost);
    if sampling.seed.is_some() {
        lost.push(lost::SEED);
    }
    for (loss, penalty) in [
        (lost::PRESENCE_PENALTY, sampling.presence_penalty),
        (lost::FREQUENCY_PENALTY, sampling.frequency_penalty),
    ] {
        if penalty.is_some_and(|penalty| penalty != 0.0) {
            lost.push(loss);
        }
    }
}

/// The API refuses stop texts of blanks alone.
fn stop(conversation: &Conversation, body: &mut Map<String, Value>, lost: &mut Lost) {
    let (stop, blank): (Vec<&String>, Vec<&String>) = conversation
        .sampling
        .stop
        .iter()
        .partition(|stop| !stop.trim().is_empty());
    if !blank.is_empty() {
        lost.push(lost::STOP);
    }
    if !stop.is_empty() {
        body.insert("stop_sequences".into(), json!(stop));
    }
}
