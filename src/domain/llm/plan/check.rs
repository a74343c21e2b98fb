//! What an alias lets a caller ask for.

use serde_json::{Map, Value};

use crate::base::errors::{Code, Refusal};
use crate::domain::llm::Protocol;
use crate::domain::llm::render::THREAD;
use crate::domain::llm::request::ChatRequest;
use crate::domain::settings::config::Alias;

pub(super) fn check_input(alias: &Alias, bytes: u64, param: &str) -> Result<(), Refusal> {
    if bytes <= alias.max_input_bytes {
        return Ok(());
    }
    Err(Refusal::new(Code::InputTooLong)
        .param(param)
        .detail(format!(
            "The input has {bytes} bytes; this alias accepts {}.",
            alias.max_input_bytes
        )))
}

/// Parameters that cost more than one bounded answer of the alias's own model, or reach beyond it.
const COSTLY: [&str; 32] = [
    "n",
    "best_of",
    "store",
    "modalities",
    "service_tier",
    "audio",
    "prediction",
    "web_search_options",
    "mcp_servers",
    "container",
    "conversation",
    "prompt",
    // Anthropic: a dearer region, a dearer mode.
    "inference_geo",
    "speed",
    // OpenRouter, LiteLLM, Vercel and Anthropic: another model or another provider, which the alias does not name.
    "models",
    "fallbacks",
    "provider",
    "providerOptions",
    "route",
    "preset",
    "transforms",
    "plugins",
    // LiteLLM: another server.
    "api_base",
    "base_url",
    // xAI, Azure and Alibaba: searches, which are billed apart.
    "search_parameters",
    "data_sources",
    "enable_search",
    // llama.cpp, Hugging Face, Google and Ollama: a ceiling of the output under a name that is not capped.
    "n_predict",
    "num_predict",
    "max_new_tokens",
    "max_output_tokens",
    "options",
];

/// Is it a parameter that costs more than one bounded answer of the alias's own model, or reaches beyond it?
#[must_use]
pub fn is_costly(protocol: Protocol, name: &str, value: &Value) -> bool {
    // This is how a Responses request names its ceiling, which is capped.
    let own = name == "max_output_tokens" && protocol == Protocol::Responses;
    COSTLY.contains(&name) && !own && costly(name, value)
}

/// Is it more than its harmless value? Clients write `null` for what they leave unsaid.
fn costly(name: &str, value: &Value) -> bool {
    if value.is_null() {
        return false;
    }
    match name {
        "n" | "best_of" => value.as_u64() != Some(1),
        "store" => value.as_bool() == Some(true),
        "modalities" => value
            .as_array()
            .is_some_and(|list| list.iter().any(|m| m.as_str() != Some("text"))),
        "service_tier" => !matches!(value.as_str(), Some("auto" | "default" | "standard_only")),
        "speed" => value.as_str() != Some("standard"),
        "enable_search" => value.as_bool() != Some(false),
        "options" => value
            .as_object()
            .is_none_or(|options| options.get("num_predict").is_some_and(|n| !n.is_null())),
        _ => value.as_array().is_none_or(|list| !list.is_empty()),
    }
}

pub(super) fn check_parameters(alias: &Alias, request: &ChatRequest) -> Result<(), Refusal> {
    let allowed = |name: &str| alias.allow_parameters.iter().any(|allowed| allowed == name);
    let refuse = |param: &str, allow: &str| {
        Refusal::new(Code::UnsupportedParameter).param(param).detail(format!(
            "`{param}` is not carried by this alias; the operator can add \"{allow}\" to its allow_parameters."
        ))
    };
    // What is stored in the operator's account at the provider is not for visitors.
    for name in COSTLY {
        // What a Responses caller wants stored is stored here.
        let ours = name == "store" && request.protocol == Protocol::Responses;
        if request
            .body
            .get(name)
            .is_some_and(|value| is_costly(request.protocol, name, value))
            && !ours
            && !allowed(name)
        {
            return Err(refuse(name, name));
        }
    }
    // A conversation that the provider held would be the operator's, not its caller's.
    if request.protocol == Protocol::Messages
        && request.body.get("thread").is_some_and(|v| !v.is_null())
    {
        return Err(Refusal::new(Code::UnsupportedParameter)
            .param(THREAD)
            .detail("No conversations are held here: send all of `messages` without `thread`."));
    }
    if let Some(Value::Array(tools)) = request.body.get("tools")
        && !allowed("server_tools")
    {
        for (i, tool) in tools.iter().enumerate() {
            // Tools that the caller runs are bounded by the input ceiling; those the provider runs are billed apart.
            let own = tool
                .get("type")
                .and_then(Value::as_str)
                .is_none_or(|kind| matches!(kind, "function" | "custom"));
            if !own {
                return Err(refuse(&format!("tools[{i}].type"), "server_tools"));
            }
        }
    }
    if !allowed("images")
        && let Some(param) = first_media_part(&request.body)
    {
        return Err(refuse(&param, "images"));
    }
    Ok(())
}

/// The path of the first content part that is an image, a file or audio, at any depth: tool results hold parts too.
fn first_media_part(body: &Map<String, Value>) -> Option<String> {
    let (field, messages) = ["messages", "input"]
        .into_iter()
        .find_map(|field| Some((field, body.get(field)?.as_array()?)))?;
    first_media_in(messages, field)
}

fn first_media_in(parts: &[Value], path: &str) -> Option<String> {
    parts.iter().enumerate().find_map(|(i, part)| {
        let path = format!("{path}[{i}]");
        if is_media(part) {
            return Some(path);
        }
        // What a tool is called with is data, whatever it looks like.
        ["content", "output"].into_iter().find_map(|field| {
            let path = format!("{path}.{field}");
            match part.get(field)? {
                Value::Array(parts) => first_media_in(parts, &path),
                single => is_media(single).then_some(path),
            }
        })
    })
}

fn is_media(part: &Value) -> bool {
    let kind = part.get("type").and_then(Value::as_str);
    kind.is_some_and(|kind| {
        matches!(
            kind,
            "image_url"
                | "image"
                | "input_audio"
                | "audio_url"
                | "video_url"
                | "file"
                | "document"
                | "input_image"
                | "input_file"
                | "computer_screenshot"
                | "container_upload"
        )
    })
}
