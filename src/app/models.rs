//! `GET /v1/models`: the aliases that a visitor may call, never the provider models behind them.

use serde_json::{Value, json};

use super::port::Port;
use super::reply::Reply;
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::domain::llm::Protocol;
use crate::domain::llm::plan::{answered_by_builtin, protocols};
use crate::domain::settings::config::Serves;
use crate::domain::settings::{ActiveAlias, Settings};

/// When the aliases came into being, as far as callers are concerned: 2026-01-01T00:00:00Z. They have no date of
/// their own, but both protocols ask for one.
const CREATED_SECS: u64 = 1_767_225_600;

/// `GET /v1/models`
pub fn list<P: Port>(port: &P, head: &Head) -> Reply<P> {
    let settings = port.settings();
    let anthropic = head.anthropic_version.is_some();
    let models: Vec<Value> = settings
        .aliases
        .iter()
        .filter(|alias| alias.config.public && !alias.targets.is_empty())
        .map(|alias| model(settings, alias, anthropic))
        .collect();
    let body = if anthropic {
        let id = |model: Option<&Value>| {
            model
                .and_then(|m| m.get("id"))
                .cloned()
                .unwrap_or(Value::Null)
        };
        json!({
            "first_id": id(models.first()),
            "last_id": id(models.last()),
            "has_more": false,
            "data": models,
        })
    } else {
        json!({"object": "list", "data": models})
    };
    Reply::json(200, body.to_string())
}

/// `GET /v1/models/{id}`
///
/// # Errors
/// `model_not_found`, also for an alias that is not public or not active.
pub fn get<P: Port>(port: &P, head: &Head, id: &str) -> Result<Reply<P>, Refusal> {
    let settings = port.settings();
    let alias = settings
        .alias(id)
        .filter(|alias| alias.config.public && !alias.targets.is_empty())
        .ok_or_else(|| Refusal::new(Code::ModelNotFound).param("model"))?;
    let body = model(settings, alias, head.anthropic_version.is_some());
    Ok(Reply::json(200, body.to_string()))
}

fn model(settings: &Settings, alias: &ActiveAlias, anthropic: bool) -> Value {
    let protocols = protocols(settings, alias);
    let builtin = protocols
        .first()
        .is_some_and(|protocol| answered_by_builtin(settings, alias, *protocol));
    let is_default = settings
        .default_alias()
        .is_some_and(|default| default.config.name == alias.config.name);
    let title = alias.config.title.as_deref().unwrap_or(&alias.config.name);
    let ours = json!({
        "title": title,
        "dialects": dialects(alias, &protocols),
        "endpoints": endpoints(alias, &protocols),
        "builtin": builtin,
        "default": is_default,
        "max_output_tokens": alias.config.max_output_tokens,
        "max_input_bytes": alias.config.max_input_bytes,
        "hint": (builtin && is_default).then(|| hint(settings)).flatten(),
    });
    if anthropic {
        json!({
            "type": "model",
            "id": alias.config.name,
            "display_name": title,
            "created_at": crate::base::time::Millis::from_secs(CREATED_SECS).rfc3339(),
            "gatehouse": ours,
        })
    } else {
        json!({
            "id": alias.config.name,
            "object": "model",
            "created": CREATED_SECS,
            "owned_by": "gatehouse",
            "gatehouse": ours,
        })
    }
}

fn dialects(alias: &ActiveAlias, protocols: &[Protocol]) -> Vec<&'static str> {
    match alias.config.serves {
        Serves::Chat => protocols.iter().map(|protocol| protocol.name()).collect(),
        Serves::Embeddings => vec![Protocol::OpenAi.name()],
    }
}

fn endpoints(alias: &ActiveAlias, protocols: &[Protocol]) -> Vec<&'static str> {
    match alias.config.serves {
        Serves::Embeddings => vec!["embeddings"],
        Serves::Chat => protocols
            .iter()
            .map(|protocol| match protocol {
                Protocol::OpenAi => "chat.completions",
                Protocol::Anthropic => "messages",
            })
            .collect(),
    }
}

/// What to add to which file to get a model.
#[must_use]
pub fn hint(settings: &Settings) -> Option<String> {
    let variable = activator(settings)?;
    Some(format!(
        "To get a model, add the line {variable}=… to the file .dev.vars and start again."
    ))
}

/// The first variable that would activate a provider.
#[must_use]
pub fn activator(settings: &Settings) -> Option<&str> {
    settings
        .provider_status
        .iter()
        .find_map(|(_, active, variables)| if *active { None } else { variables.first() })
        .map(String::as_str)
}
