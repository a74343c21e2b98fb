//! A request body → a conversation.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::messages;
use super::options;
use crate::base::errors::Refusal;
use crate::domain::llm::Protocol;
use crate::domain::llm::normal::conversation::{Conversation, Unplaced};
use crate::domain::llm::normal::feature::Feature;

/// Reads a request. `model` is not read, and `stream_options` is the endpoint's matter.
///
/// Lenient where servers and SDKs are: legacy `functions`, arguments as objects, content null, cache marks of other
/// dialects. A field that nobody knows is no fault; it is reported as not placed.
///
/// # Errors
/// `missing_parameter`, `invalid_parameter`, each with the field's path.
pub fn read(body: &Map<String, Value>) -> Result<Conversation, Refusal> {
    let root = Fields::root(body);
    let mut unplaced = Vec::new();
    let messages = messages::read(&root, &mut unplaced)?;
    let (system, turns) = (messages.system, messages.turns);
    let tools = options::tools(&root, &mut unplaced)?;
    let tool_choice = options::tool_choice(&root, &tools, &mut unplaced)?;
    let format = options::format(&root, &mut unplaced)?;
    let reasoning = options::reasoning(&root, &mut unplaced)?;
    let label = root.text("user")?;
    let user = match label {
        Some(user) => Some(user),
        None => root.text("safety_identifier")?, // the successor of `user`
    };
    leftovers(&root, &mut unplaced)?;
    Ok(Conversation {
        origin: Protocol::Chat,
        system,
        turns,
        tools,
        tool_choice,
        // True is the default.
        parallel_tools: root
            .flag("parallel_tool_calls")?
            .filter(|parallel| !parallel),
        format,
        sampling: options::sampling(&root)?,
        reasoning,
        user: user.map(str::to_owned),
        stream: root.flag("stream")?.unwrap_or(false),
        unplaced,
    })
}

/// Reports what the request says beside all that.
fn leftovers(root: &Fields<'_>, unplaced: &mut Vec<Unplaced>) -> Result<(), Refusal> {
    check(root)?;
    for (name, value) in root.said() {
        let feature = match name {
            "model"
            | "messages"
            | "tools"
            | "functions"
            | "tool_choice"
            | "function_call"
            | "parallel_tool_calls"
            | "response_format"
            | "max_tokens"
            | "max_completion_tokens"
            | "temperature"
            | "top_p"
            | "top_k"
            | "stop"
            | "seed"
            | "presence_penalty"
            | "frequency_penalty"
            | "reasoning_effort"
            | "reasoning"
            | "user"
            | "stream" => continue,
            // The endpoint does it, whoever answers.
            "stream_options" => {
                let known = |(name, _): (&str, &Value)| name == "include_usage";
                if root
                    .object(name)?
                    .is_none_or(|options| options.said().all(known))
                {
                    continue;
                }
                Feature::Hint
            }
            "safety_identifier" if root.get("user").is_none() => continue,
            "n" if value.as_u64() == Some(1) => continue,
            "n" => Feature::Choices,
            "logprobs" if value == false => continue,
            "top_logprobs" if value.as_u64() == Some(0) => continue,
            "logprobs" | "top_logprobs" => Feature::LogProbs,
            "logit_bias" => Feature::LogitBias,
            "modalities" if is_text_alone(value) => continue,
            "modalities" | "audio" => Feature::Audio,
            "web_search_options" => Feature::ServerTool,
            "verbosity" if value == "medium" => continue,
            // Other tiers are asked for because they cost or hurry otherwise.
            "service_tier" if value == "auto" || value == "default" => Feature::Hint,
            "store" if value == false => Feature::Hint,
            // Labels, cache settings, and a guess of the answer that only makes it faster.
            "metadata"
            | "prompt_cache_key"
            | "prompt_cache_retention"
            | "prompt_cache_options"
            | "safety_identifier"
            | "prediction" => Feature::Hint,
            _ => Feature::Other,
        };
        root.unplaced(name, feature, unplaced);
    }
    Ok(())
}

/// Checks the types of what has no place, so that a mistake is told before it costs.
fn check(root: &Fields<'_>) -> Result<(), Refusal> {
    root.positive("n")?;
    root.flag("logprobs")?;
    root.number("top_logprobs", 0.0, 20.0)?;
    root.list("modalities")?;
    root.flag("store")?;
    for name in [
        "service_tier",
        "verbosity",
        "prompt_cache_key",
        "safety_identifier",
    ] {
        root.text(name)?;
    }
    for name in [
        "logit_bias",
        "metadata",
        "audio",
        "web_search_options",
        "prediction",
    ] {
        root.object(name)?;
    }
    if let Some(stream) = root.object("stream_options")? {
        stream.flag("include_usage")?;
    }
    Ok(())
}

fn is_text_alone(modalities: &Value) -> bool {
    modalities
        .as_array()
        .is_some_and(|names| names.iter().all(|name| name == "text"))
}
