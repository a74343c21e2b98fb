//! Flags.

use serde_json::json;

use super::changed;
use crate::app::admin::{Context, Told};
use crate::app::audit::short;
use crate::app::port::Port;
use crate::app::rules::rules;
use crate::base::errors::Refusal;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::limits::rules::Change;
use crate::domain::llm::request::missing;

/// Flags.
///
/// # Errors
/// `limiter_unavailable`
pub async fn flags<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    Ok(Told::Json(
        json!({"flags": rules.flags, "version": rules.version}),
    ))
}

/// Sets a flag: `{value}`: true, false, a text, or null to remove it.
///
/// # Errors
/// `invalid_parameter`
pub async fn flag_set<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let value = cx.fields.get("value").ok_or_else(|| missing("value"))?;
    let kept = (!value.is_null()).then(|| value.clone());
    let event = cx
        .event(Deed::SettingsChange)
        .target("flag")
        .detail("flag", &cx.id)
        .detail(
            "old",
            &short(&json!(rules(cx.port).await?.flags.get(&cx.id))),
        )
        .detail("new", &short(value));
    let told = json!({"name": cx.id, "value": value});
    changed(cx, Change::Flag(cx.id.clone(), kept), event, told).await
}
