//! What changes while the house runs: site keys, visitors, limits, budgets, lists, flags, alerts.

mod alerts;
mod allowances;
mod flags;
mod lists;
mod site_keys;
mod visitors;

use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::app::admin::{Context, Told};
use crate::app::port::{Class, Port};
use crate::app::rules::{HOUSE, change};
use crate::base::errors::Refusal;
use crate::domain::limits::rules::Change;
use crate::domain::llm::request::invalid;

use lists::target_fields;
use site_keys::site_key_fields;

pub use alerts::*;
pub use allowances::*;
pub use flags::*;
pub use lists::*;
pub use site_keys::*;
pub use visitors::*;

/// The longest block: a year of 365 d × 86,400 s.
const LONGEST_BLOCK: u64 = 31_536_000;

/// Makes a change with its event, and tells what undoes it.
async fn changed<P: Port>(
    cx: &Context<'_, P>,
    what: Change,
    event: crate::app::audit::Event,
    mut told: Value,
) -> Result<Told, Refusal> {
    let expect = match cx.fields.get("expect") {
        None | Some(Value::Null) => None,
        Some(version) => Some(
            version
                .as_u64()
                .ok_or_else(|| invalid("expect", "must be a version of the rules"))?,
        ),
    };
    let (version, undo) = change(cx.port, what, expect, Some(event.outbox())).await?;
    cx.deliver(Class::Directory, HOUSE).await;
    if let Some(fields) = told.as_object_mut() {
        fields.insert("version".to_owned(), Value::from(version));
        fields.insert("undo".to_owned(), undo_of(cx, undo.as_deref()));
    }
    Ok(Told::Json(told))
}

/// The request that restores what stood before.
fn undo_of<P: Port>(cx: &Context<'_, P>, undo: Option<&Change>) -> Value {
    let scope = |scope: &str| ["?scope=", scope].concat();
    match undo {
        Some(Change::Lists(lists)) => {
            json!({"method": "PUT", "path": "/api/admin/lists", "body": lists})
        }
        // Whoever set a budget gets the budget back, and an empty one where there was none.
        Some(Change::Allowance(name, Some(allowance))) if cx.fields.contains_key("budget") => {
            json!({"method": "PUT", "path": "/api/admin/budgets", "body": {"scope": name, "budget": allowance.budget}})
        }
        Some(Change::Allowance(name, Some(allowance))) => {
            let mut body = json!({"scope": name, "allowance": allowance});
            if let Some(fields) = body.get_mut("allowance").and_then(Value::as_object_mut) {
                // One that is left out would stay as it is.
                fields.insert("budget".to_owned(), json!(allowance.budget));
            }
            json!({"method": "PUT", "path": "/api/admin/limits", "body": body})
        }
        Some(Change::Limit(name, Some(limit))) => {
            json!({"method": "PUT", "path": "/api/admin/limits", "body": {"scope": name, "limit": limit}})
        }
        Some(Change::Allowance(name, None) | Change::Limit(name, None)) => {
            json!({"method": "DELETE", "path": (["/api/admin/limits", &scope(name)].concat())})
        }
        Some(Change::Block(id, None)) => {
            json!({"method": "DELETE", "path": (["/api/admin/blocks/", id].concat())})
        }
        Some(Change::Block(_, Some(block))) => {
            let left = block.until.since(cx.port.now()).secs_ceil();
            if left == 0 {
                return Value::Null;
            }
            let mut body = target_fields(&block.what);
            if let Some(fields) = body.as_object_mut() {
                fields.insert("seconds".to_owned(), left.min(LONGEST_BLOCK).into());
                fields.insert("reason".to_owned(), block.reason.as_str().into());
            }
            json!({"method": "POST", "path": "/api/admin/blocks", "body": body})
        }
        Some(Change::SiteKey(id, None)) => {
            json!({"method": "DELETE", "path": (["/api/admin/site-keys/", id].concat())})
        }
        Some(Change::SiteKey(id, Some(key))) => {
            json!({"method": "PUT", "path": (["/api/admin/site-keys/", id].concat()), "body": site_key_fields(key)})
        }
        Some(Change::Flag(name, value)) => {
            json!({"method": "PUT", "path": (["/api/admin/flags/", name].concat()), "body": {"value": value}})
        }
        _ => Value::Null,
    }
}

fn parsed<T: DeserializeOwned>(value: &Value, name: &str) -> Result<T, Refusal> {
    T::deserialize(value)
        .map_err(|error| invalid(name, &["cannot be read: ", &error.to_string()].concat()))
}
