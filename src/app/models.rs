//! `GET /v1/models`: the aliases that a visitor may call, never the provider models behind them.

use serde_json::{Value, json};

use super::port::Port;
use super::reply::Reply;
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::capability::describe;
use crate::domain::llm::plan::answered_by_builtin;
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
        .map(|alias| model(settings, alias, port.now(), anthropic))
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
    let body = model(
        settings,
        alias,
        port.now(),
        head.anthropic_version.is_some(),
    );
    Ok(Reply::json(200, body.to_string()))
}

fn model(settings: &Settings, alias: &ActiveAlias, now: Millis, anthropic: bool) -> Value {
    let builtin = answered_by_builtin(settings, alias);
    let is_default = settings
        .default_alias()
        .is_some_and(|default| default.config.name == alias.config.name);
    let title = alias.config.title.as_deref().unwrap_or(&alias.config.name);
    let mut ours = describe(settings, alias, now);
    for (name, value) in [
        ("title", json!(title)),
        ("dialects", json!(dialects(alias))),
        ("endpoints", json!(endpoints(alias))),
        ("builtin", json!(builtin)),
        ("default", json!(is_default)),
        ("resumable", json!(alias.config.resumable)),
        ("max_input_bytes", json!(alias.config.max_input_bytes)),
        (
            "hint",
            json!((builtin && is_default).then(|| hint(settings)).flatten()),
        ),
    ] {
        if let Some(fields) = ours.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    }
    if anthropic {
        json!({
            "type": "model",
            "id": alias.config.name,
            "display_name": title,
            "created_at": Millis::from_secs(CREATED_SECS).rfc3339(),
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

/// The dialects in which an alias can be called: a chat in all of them, whoever answers.
fn dialects(alias: &ActiveAlias) -> Vec<&'static str> {
    match alias.config.serves {
        Serves::Chat => Protocol::ALL.map(Protocol::name).to_vec(),
        _ => vec![Protocol::Chat.name()],
    }
}

fn endpoints(alias: &ActiveAlias) -> Vec<&'static str> {
    match alias.config.serves {
        Serves::Chat => vec!["chat.completions", "responses", "messages"],
        Serves::Embeddings => vec!["embeddings"],
        Serves::Moderations => vec!["moderations"],
        Serves::Images => vec!["images"],
        Serves::Speech => vec!["audio.speech"],
        Serves::Transcriptions => vec!["audio.transcriptions", "audio.translations"],
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
