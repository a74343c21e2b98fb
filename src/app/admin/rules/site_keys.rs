//! Site keys.

use serde_json::{Value, json};

use super::{changed, parsed};
use crate::app::admin::{Context, Told};
use crate::app::port::Port;
use crate::app::rules::rules;
use crate::base::errors::{Code, Refusal};
use crate::domain::audit::entry::Action as Deed;
use crate::domain::identity::site_key::{SiteKey, is_site_key, make_site_key};
use crate::domain::limits::rules::Change;
use crate::domain::llm::request::invalid;

/// Lists site keys.
///
/// # Errors
/// `limiter_unavailable`
pub async fn site_keys<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let keys: Vec<Value> = rules.site_keys.values().map(site_key_fields).collect();
    Ok(Told::Json(
        json!({"site_keys": keys, "version": rules.version}),
    ))
}

pub(super) fn site_key_fields(key: &SiteKey) -> Value {
    json!({
        "id": key.id,
        "name": key.name,
        "origins": key.origins,
        "tier": key.tier,
        "proof": key.proof,
        "enabled": key.enabled,
    })
}

/// Creates a site key: `{name, origins, tier?, proof?}`.
///
/// # Errors
/// `invalid_parameter`
pub async fn site_key_create<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let environment = crate::app::admin::sign_in::env(cx.port.settings().environment);
    let id = make_site_key(environment, &cx.port.random());
    let key = site_key(cx, &id, None)?;
    let event = cx.event(Deed::SiteKeyCreate).target("site key").about(&id);
    let shown = site_key_fields(&key);
    match changed(cx, Change::SiteKey(id, Some(key)), event, shown).await? {
        Told::Json(told) => Ok(Told::Created(told)),
        other => Ok(other),
    }
}

/// Changes a site key; what is left out stays. One that was removed is made again under its id.
///
/// # Errors
/// `not_found`, `invalid_parameter`.
pub async fn site_key_change<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let before = rules.site_keys.get(&cx.id);
    let environment = crate::app::admin::sign_in::env(cx.port.settings().environment);
    let own = ["pk_", environment.as_str(), "_"].concat();
    if before.is_none() && !(is_site_key(&cx.id) && cx.id.starts_with(&own)) {
        return Err(Refusal::new(Code::NotFound));
    }
    let key = site_key(cx, &cx.id, before)?;
    let deed = if before.is_some() {
        Deed::SiteKeyChange
    } else {
        Deed::SiteKeyCreate
    };
    let event = cx.event(deed).target("site key").about(&cx.id);
    let shown = site_key_fields(&key);
    changed(cx, Change::SiteKey(cx.id.clone(), Some(key)), event, shown).await
}

/// Removes a site key; no new sessions come of it, and those that did are not renewed.
///
/// # Errors
/// `not_found`
pub async fn site_key_remove<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    if !rules(cx.port).await?.site_keys.contains_key(&cx.id) {
        return Err(Refusal::new(Code::NotFound));
    }
    let event = cx
        .event(Deed::SiteKeyRevoke)
        .target("site key")
        .about(&cx.id);
    let told = json!({"id": cx.id, "removed": true});
    changed(cx, Change::SiteKey(cx.id.clone(), None), event, told).await
}

pub(super) fn site_key<P: Port>(
    cx: &Context<'_, P>,
    id: &str,
    before: Option<&SiteKey>,
) -> Result<SiteKey, Refusal> {
    let mut key = before.cloned().unwrap_or_else(|| SiteKey {
        id: id.to_owned(),
        name: String::new(),
        origins: Vec::new(),
        tier: None,
        enabled: true,
        proof: None,
    });
    let set = |name: &'static str| cx.fields.get(name);
    if let Some(value) = set("name") {
        key.name = parsed(value, "name")?;
    }
    if let Some(value) = set("origins") {
        key.origins = parsed(value, "origins")?;
    }
    if let Some(value) = set("tier") {
        key.tier = parsed(value, "tier")?;
    }
    if let Some(value) = set("proof") {
        key.proof = parsed(value, "proof")?;
    }
    if let Some(value) = set("enabled") {
        key.enabled = parsed(value, "enabled")?;
    }
    let tiers = &cx.port.settings().config.tiers;
    if let Some(tier) = &key.tier
        && !tiers.iter().any(|known| known.name == *tier)
    {
        return Err(invalid("tier", "names no [[tier]] of the configuration"));
    }
    match key.faults().first() {
        Some((path, reason)) => Err(invalid(path, reason)),
        None => Ok(key),
    }
}
