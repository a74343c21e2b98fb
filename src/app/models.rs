//! `GET /v1/models`: the aliases that a visitor may call, never the provider models behind them.

use std::ops::Range;

use serde_json::{Value, json};

use super::gate::{Caller, may_see};
use super::port::Port;
use super::reply::Reply;
use super::request::Head;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::Protocol;
use crate::domain::llm::capability::describe;
use crate::domain::llm::plan::answered_by_builtin;
use crate::domain::llm::request::invalid;
use crate::domain::settings::config::Serves;
use crate::domain::settings::{ActiveAlias, Settings};

/// When the aliases came into being, as far as callers are concerned: 2026-01-01T00:00:00Z. They have no date of
/// their own, but both protocols ask for one.
const CREATED_SECS: u64 = 1_767_225_600;

/// Most aliases of a page in Anthropic's form (Anthropic API reference, "List models"). It is also what a caller gets who
/// names no `limit`, where Anthropic gives 20: aliases are few, and not all clients turn pages.
const MAX_PAGE: usize = 1000;

/// `GET /v1/models`. Anthropic's form comes in pages, OpenAI's has none.
///
/// # Errors
/// `invalid_parameter` for a page that cannot be.
pub fn list<P: Port>(port: &P, caller: &Caller, head: &Head) -> Result<Reply<P>, Refusal> {
    let settings = port.settings();
    let anthropic = head.anthropic_version.is_some();
    let all: Vec<&ActiveAlias> = settings
        .aliases
        .iter()
        .filter(|alias| may_see(port, caller, alias))
        .collect();
    let ids: Vec<&str> = all.iter().map(|alias| alias.config.name.as_str()).collect();
    let (range, has_more) = if anthropic {
        page(&ids, head)?
    } else {
        (0..ids.len(), false)
    };
    let page = all.get(range.clone()).unwrap_or_default();
    let ids = ids.get(range).unwrap_or_default();
    let models: Vec<Value> = page
        .iter()
        .map(|alias| model(settings, alias, port.now(), anthropic))
        .collect();
    let body = if anthropic {
        json!({
            "data": models,
            "first_id": ids.first(),
            "last_id": ids.last(),
            "has_more": has_more,
        })
    } else {
        json!({"object": "list", "data": models})
    };
    Ok(Reply::json(200, body.to_string()))
}

/// The page that `limit`, `after_id` and `before_id` name, and whether there is more in its direction.
fn page(ids: &[&str], head: &Head) -> Result<(Range<usize>, bool), Refusal> {
    let limit = match head.query_value("limit") {
        None => MAX_PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=MAX_PAGE).contains(limit))
            .ok_or_else(|| invalid("limit", "must be a whole number from 1 to 1000"))?,
    };
    let place = |name: &str| match head.query_value(name) {
        None => Ok(None),
        Some(id) => ids
            .iter()
            .position(|known| *known == id)
            .map(Some)
            .ok_or_else(|| invalid(name, "must be the id of a model here")),
    };
    let (after, before) = (place("after_id")?, place("before_id")?);
    let start = after.map_or(0, |place| place.saturating_add(1));
    let end = before.unwrap_or(ids.len());
    let has_more = end.saturating_sub(start) > limit;
    // Going backwards, the page is the one that ends at `before_id`.
    Ok(if before.is_some() && after.is_none() {
        (end.saturating_sub(limit)..end, has_more)
    } else {
        (start..end.min(start.saturating_add(limit)), has_more)
    })
}

/// `GET /v1/models/{id}`
///
/// # Errors
/// `model_not_found`, also for an alias that is not public or not active.
pub fn get<P: Port>(port: &P, caller: &Caller, head: &Head, id: &str) -> Result<Reply<P>, Refusal> {
    let settings = port.settings();
    let alias = settings
        .alias(id)
        .filter(|alias| may_see(port, caller, alias))
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

#[cfg(test)]
mod tests {
    use super::{Head, page};

    #[test]
    fn a_page_begins_where_the_caller_says_and_tells_whether_there_is_more() {
        let ids = ["a", "b", "c", "d", "e"];
        let read = |query: &str| {
            let head = Head {
                query: query.into(),
                ..Head::default()
            };
            let (range, more) = page(&ids, &head).map_err(|refusal| refusal.param)?;
            Ok::<_, Option<String>>((ids.get(range).unwrap_or_default().concat(), more))
        };
        for (query, expected, more) in [
            ("", "abcde", false),
            ("limit=2", "ab", true),
            ("limit=2&after_id=b", "cd", true),
            ("limit=2&after_id=d", "e", false),
            ("limit=2&after_id=e", "", false),
            ("limit=2&before_id=e", "cd", true),
            ("limit=2&before_id=c", "ab", false),
            ("before_id=a", "", false),
            ("after_id=a&before_id=d", "bc", false),
            ("after_id=d&before_id=b", "", false),
            ("limit=1000", "abcde", false),
        ] {
            assert_eq!(read(query), Ok((expected.into(), more)), "{query}");
        }
        for (query, param) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=abc", "limit"),
            ("after_id=z", "after_id"),
            ("before_id=z", "before_id"),
        ] {
            assert_eq!(read(query), Err(Some(param.to_owned())), "{query}");
        }
    }
}
