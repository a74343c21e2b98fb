//! What changes while the house runs: site keys, visitors, limits, budgets, lists, flags, alerts.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use super::sign_in::{optional, required};
use super::{Context, Told};
use crate::app::accounts;
use crate::app::alerts;
use crate::app::audit::short;
use crate::app::objects::{ask, told};
use crate::app::port::{Class, Port, storage_refusal};
use crate::app::rules::{HOUSE, change, rules};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::identity::api_key::is_id;
use crate::domain::identity::is_visitor_id;
use crate::domain::identity::roles::Action;
use crate::domain::identity::site_key::{SiteKey, is_site_key, make_site_key};
use crate::domain::limits::rules::{
    Block, Change, Command, EPOCH_MARGIN, Lists, Reply, Rules, Snapshot, State, Target,
};
use crate::domain::limits::{Access, Cidr};
use crate::domain::llm::request::{invalid, missing};
use crate::domain::settings::config::{Allowance, DEFAULT_TENANT, Limit};

/// The longest block: a year of 365 d × 86,400 s.
const LONGEST_BLOCK: u64 = 31_536_000;

// === changes ===

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

// === site keys ===

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

fn site_key_fields(key: &SiteKey) -> Value {
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
    let environment = super::sign_in::env(cx.port.settings().environment);
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
    let environment = super::sign_in::env(cx.port.settings().environment);
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

fn site_key<P: Port>(
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

// === visitors ===

/// What is known of a visitor: use, and whether the sessions are void.
///
/// # Errors
/// `not_found` for what is no visitor's id.
pub async fn visitor<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    if !is_visitor_id(&cx.id) {
        return Err(Refusal::new(Code::NotFound));
    }
    let rules = rules(cx.port).await?;
    let used = accounts::look(cx.port, &["visitor/", &cx.id].concat()).await?;
    let revoked = rules.revoked.get(&cx.id).map(|until| until.rfc3339());
    let now = cx.port.now();
    let blocks: Vec<Value> = rules
        .blocks
        .iter()
        .filter(|(_, block)| block.what == Target::Visitor(cx.id.clone()) && block.until > now)
        .map(|(id, block)| block_fields(id, block))
        .collect();
    Ok(Told::Json(json!({
        "id": cx.id,
        "sessions_void_until": revoked,
        "blocks": blocks,
        "used": used,
    })))
}

/// Ends every session of a visitor.
///
/// # Errors
/// `not_found` for what is no visitor's id.
pub async fn visitor_revoke<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    if !is_visitor_id(&cx.id) {
        return Err(Refusal::new(Code::NotFound));
    }
    // As long as the longest of the visitor's tokens may live.
    let until = cx.port.now().plus(crate::domain::identity::VISITOR_TTL);
    let event = cx
        .event(Deed::SessionRevoke)
        .target("visitor")
        .about(&cx.id);
    let told = json!({"id": cx.id, "sessions_void_until": until.rfc3339()});
    changed(cx, Change::Revoke(cx.id.clone(), Some(until)), event, told).await
}

/// Voids every visitor session issued so far.
///
/// # Errors
/// `limiter_unavailable`
pub async fn visitors_revoke_all<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    // The rules add the margin.
    let asked = cx.port.now();
    let until = asked.plus(EPOCH_MARGIN);
    let event = cx.event(Deed::SessionRevoke).target("all visitors");
    let told = json!({"void_before": until.rfc3339()});
    changed(cx, Change::RevokeAll(asked), event, told).await
}

// === limits and budgets ===

/// What applies: configured and overridden.
///
/// # Errors
/// `limiter_unavailable`
pub async fn limits<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let config = &cx.port.settings().config;
    let aliases: Map<String, Value> = config
        .aliases
        .iter()
        .filter(|alias| !alias.allowance.is_empty())
        .map(|alias| (["alias/", &alias.name].concat(), json!(alias.allowance)))
        .collect();
    let tiers: Map<String, Value> = config
        .tiers
        .iter()
        .map(|tier| (["tier/", &tier.name].concat(), json!(tier.allowance)))
        .collect();
    let tenant = config
        .tenants
        .iter()
        .find(|tenant| tenant.name == cx.port.tenant());
    Ok(Told::Json(json!({
        "version": rules.version,
        "configured": {
            "limits": config.limits,
            "tiers": tiers,
            "aliases": aliases,
            "tenant": tenant.map(|tenant| &tenant.allowance),
            "global": config.global,
        },
        "overridden": {"allowances": rules.allowances, "limits": rules.limits},
    })))
}

/// Overrides what a scope may use: `{scope, allowance}` or `{scope, limit}`. Money is changed by `/budgets`.
///
/// # Errors
/// `invalid_parameter`
pub async fn limit_set<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let scope = required(cx, "scope")?.to_owned();
    let event = cx
        .event(Deed::LimitsChange)
        .target("limits")
        .detail("scope", &scope);
    if let Some(limit) = cx.fields.get("limit") {
        let limit: Limit = parsed(limit, "limit")?;
        let told = json!({"scope": scope, "limit": limit});
        let event = event
            .detail(
                "old",
                &short(&json!(rules(cx.port).await?.limits.get(&scope))),
            )
            .detail("new", &short(&json!(limit)));
        return changed(cx, Change::Limit(scope, Some(limit)), event, told).await;
    }
    let allowance = cx
        .fields
        .get("allowance")
        .ok_or_else(|| missing("allowance"))?;
    own_scope(cx, &scope)?;
    let with_budget = allowance.get("budget").is_some();
    let mut allowance: Allowance = parsed(allowance, "allowance")?;
    faultless(&allowance)?;
    known_scope(cx, &scope).await?;
    let budget = applying(cx, &*rules(cx.port).await?, &scope).budget;
    if !with_budget {
        // Whoever changes requests does not lift a budget by leaving it out.
        allowance.budget = budget;
    } else if allowance.budget != budget {
        cx.may(Action::BudgetsWrite).await?;
    }
    let old = rules(cx.port).await?.allowances.get(&scope).cloned();
    let event = event
        .detail("old", &short(&json!(old)))
        .detail("new", &short(&json!(allowance)));
    let told = json!({"scope": scope, "allowance": allowance});
    changed(cx, Change::Allowance(scope, Some(allowance)), event, told).await
}

/// Goes back to what is configured: `?scope=`.
///
/// # Errors
/// `missing_parameter`
pub async fn limit_clear<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let scope = cx
        .head
        .query_value("scope")
        .ok_or_else(|| missing("scope"))?;
    let rules = rules(cx.port).await?;
    let overridden = rules.allowances.get(&scope);
    if overridden.is_some_and(|allowance| !allowance.budget.is_empty()) {
        cx.may(Action::BudgetsWrite).await?;
    }
    let event = cx
        .event(Deed::LimitsChange)
        .target("limits")
        .detail("scope", &scope)
        .detail("change", "cleared")
        .detail(
            "old",
            &short(&match rules.limits.get(&scope) {
                Some(limit) => json!(limit),
                None => json!(overridden),
            }),
        );
    let told = json!({"scope": scope, "cleared": true});
    let what = if scope.starts_with("limit/") {
        Change::Limit(scope, None)
    } else {
        Change::Allowance(scope, None)
    };
    changed(cx, what, event, told).await
}

fn faultless(allowance: &Allowance) -> Result<(), Refusal> {
    match allowance.faults().into_iter().next() {
        Some((path, reason)) => Err(invalid(&["allowance.", &path].concat(), reason)),
        None => Ok(()),
    }
}

/// What all tenants share belongs to the operators of `default`.
fn own_scope<P: Port>(cx: &Context<'_, P>, scope: &str) -> Result<(), Refusal> {
    if scope == "global" && cx.port.tenant() != DEFAULT_TENANT {
        let rule =
            "must not be `global`: all tenants share it, and the operators of `default` change it";
        return Err(invalid("scope", rule));
    }
    Ok(())
}

/// The allowance of a scope as it applies now.
fn applying<P: Port>(cx: &Context<'_, P>, rules: &Snapshot, scope: &str) -> Allowance {
    let config = &cx.port.settings().config;
    let configured = match scope.split_once('/') {
        Some(("tier", name)) => config
            .tiers
            .iter()
            .find(|tier| tier.name == name)
            .map(|tier| tier.allowance.clone()),
        Some(("alias", name)) => cx
            .port
            .settings()
            .alias(name)
            .map(|alias| alias.config.allowance.clone()),
        None if scope == "global" => Some(config.global.clone()),
        None if scope == "tenant" => config
            .tenants
            .iter()
            .find(|tenant| tenant.name == cx.port.tenant())
            .map(|tenant| tenant.allowance.clone()),
        _ => None,
    };
    let configured = configured.unwrap_or_default();
    rules.allowance(scope, &configured).clone()
}

/// Is there such a scope? A misspelt one would be stored, and limit nobody.
async fn known_scope<P: Port>(cx: &Context<'_, P>, scope: &str) -> Result<(), Refusal> {
    let config = &cx.port.settings().config;
    let (known, reason) = match scope.split_once('/') {
        Some(("tier", name)) => (
            config.tiers.iter().any(|tier| tier.name == name),
            "names no [[tier]] of the configuration",
        ),
        Some(("alias", name)) => (
            config.aliases.iter().any(|alias| alias.name == name),
            "names no [[alias]] of the configuration",
        ),
        Some(("visitor", id)) => (is_visitor_id(id), "has no visitor's id"),
        Some(("key", id)) => return known_key(cx, id, "scope").await,
        _ => (
            matches!(scope, "visitor" | "tenant" | "global"),
            "must be visitor, tenant, global, or one of visitor/, key/, tier/, alias/ and a name",
        ),
    };
    if known {
        Ok(())
    } else {
        Err(invalid("scope", reason))
    }
}

/// Is there such a key in this tenant?
async fn known_key<P: Port>(cx: &Context<'_, P>, id: &str, param: &str) -> Result<(), Refusal> {
    if !is_id(id) {
        return Err(invalid(param, "has no API key's id"));
    }
    super::keys::look(cx, id).await.map(|_| ())
}

/// Budgets, and what is spent and reserved of them.
///
/// # Errors
/// `limiter_unavailable`
pub async fn budgets<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let aliases = cx.port.settings().config.aliases.iter();
    let scopes = ["global".to_owned(), "tenant".to_owned()]
        .into_iter()
        .chain(aliases.map(|alias| ["alias/", &alias.name].concat()))
        .chain(
            rules
                .allowances
                .keys()
                .filter(|scope| scope.starts_with("key/") || scope.starts_with("visitor/"))
                .cloned(),
        );
    let mut told = Vec::new();
    for scope in scopes {
        let allowance = applying(cx, &rules, &scope);
        if allowance.budget.is_empty() {
            continue;
        }
        let used = accounts::look(cx.port, &scope).await?;
        told.push(json!({
            "scope": scope,
            "budget": allowance.budget,
            "overridden": rules.allowances.contains_key(&scope),
            "used": used,
        }));
    }
    Ok(Told::Json(
        json!({"budgets": told, "version": rules.version}),
    ))
}

/// Overrides the budget of a scope: `{scope, budget}`; the rest of its allowance stays.
///
/// # Errors
/// `invalid_parameter`
pub async fn budget_set<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let scope = required(cx, "scope")?.to_owned();
    let budget = cx.fields.get("budget").ok_or_else(|| missing("budget"))?;
    own_scope(cx, &scope)?;
    known_scope(cx, &scope).await?;
    let mut allowance = applying(cx, &*rules(cx.port).await?, &scope);
    allowance.budget = parsed(budget, "budget")?;
    faultless(&allowance)?;
    let event = cx
        .event(Deed::BudgetChange)
        .target("budget")
        .detail("scope", &scope)
        .detail(
            "old",
            &short(&json!(applying(cx, &*rules(cx.port).await?, &scope).budget)),
        )
        .detail("budget", &json!(allowance.budget).to_string());
    let told = json!({"scope": scope, "budget": allowance.budget});
    changed(cx, Change::Allowance(scope, Some(allowance)), event, told).await
}

// === lists and blocks ===

/// Allow and deny lists, and blocks.
///
/// # Errors
/// `limiter_unavailable`
pub async fn lists<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let blocks: Vec<Value> = rules
        .blocks
        .iter()
        .map(|(id, block)| block_fields(id, block))
        .collect();
    Ok(Told::Json(json!({
        "version": rules.version,
        "configured": cx.port.settings().config.access,
        "lists": rules.lists,
        "admin_allow": rules.admin_allow,
        "blocks": blocks,
    })))
}

/// Changes the operators' lists; what is left out stays. All of it is one change.
///
/// # Errors
/// `invalid_parameter`; `conflict` for a list that would lock this operator out; `forbidden` for the networks of
/// operators, which are the owners' matter.
pub async fn lists_set<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let mut fields = cx.fields.clone();
    fields.remove("expect");
    let wanted: Lists = parsed(&Value::Object(fields.clone()), "lists")?;
    if wanted.admin_allow.is_some() {
        cx.may(Action::AdminAllow).await?;
    }
    let now = rules(cx.port).await?;
    let mut then = Snapshot {
        lists: now.lists.clone(),
        admin_allow: now.admin_allow.clone(),
        ..Snapshot::default()
    };
    let _before = wanted
        .clone()
        .replace(&mut then.lists, &mut then.admin_allow);
    let config = &cx.port.settings().config;
    let source = crate::domain::limits::Source::parse(cx.head.address.as_deref());
    let decision = then.access(
        &Access::of(&config.access),
        &source,
        cx.caller.country.as_deref(),
        cx.head.asn,
    );
    if decision != crate::domain::limits::Decision::Checked
        || !then.admin_allows(&source, &config.admin.allow)
    {
        return Err(Refusal::new(Code::Conflict)
            .detail("With these lists you could not come back from where you are."));
    }
    let names: Vec<&str> = fields.keys().map(String::as_str).collect();
    let event = cx
        .event(Deed::ListsChange)
        .target("lists")
        .detail("lists", &names.join(" "))
        .detail(
            "old",
            &short(&json!({"lists": now.lists, "admin_allow": now.admin_allow})),
        )
        .detail(
            "new",
            &short(&json!({"lists": then.lists, "admin_allow": then.admin_allow})),
        );
    let told = json!({"lists": then.lists, "admin_allow": then.admin_allow});
    changed(cx, Change::Lists(wanted), event, told).await
}

fn target_fields(target: &Target) -> Value {
    match target {
        Target::Cidr(cidr) => json!({"cidr": cidr}),
        Target::Visitor(id) => json!({"visitor": id}),
        Target::Key(id) => json!({"key": id}),
    }
}

fn block_fields(id: &str, block: &Block) -> Value {
    json!({
        "id": id,
        "what": target_fields(&block.what),
        "until": block.until.rfc3339(),
        "reason": block.reason,
        "by": block.by,
    })
}

/// Whom the record of a block is about: what is said of a visitor goes when the visitor is erased.
fn block_subject<'a>(id: &'a str, block: &'a Block) -> &'a str {
    match &block.what {
        Target::Visitor(visitor) => visitor,
        Target::Cidr(_) | Target::Key(_) => id,
    }
}

/// Blocks a network, a visitor or a key: `{cidr | visitor | key, seconds, reason}`.
///
/// # Errors
/// `invalid_parameter`; `conflict` for one's own network.
pub async fn block_add<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let target = match (
        optional(cx, "cidr")?,
        optional(cx, "visitor")?,
        optional(cx, "key")?,
    ) {
        (Some(cidr), None, None) => {
            let cidr: Cidr = cidr
                .parse()
                .map_err(|error| invalid("cidr", &["is ", &format!("{error}")].concat()))?;
            Target::Cidr(cidr)
        }
        (None, Some(id), None) if is_visitor_id(id) => Target::Visitor(id.to_owned()),
        (None, Some(_), None) => return Err(invalid("visitor", "is no visitor's id")),
        (None, None, Some(id)) => {
            known_key(cx, id, "key").await?;
            Target::Key(id.to_owned())
        }
        _ => {
            return Err(invalid(
                "cidr",
                "or visitor or key must be given, one of them",
            ));
        }
    };
    let seconds = cx
        .fields
        .get("seconds")
        .and_then(Value::as_u64)
        .filter(|seconds| (1..=LONGEST_BLOCK).contains(seconds))
        .ok_or_else(|| invalid("seconds", "must lie between 1 and 31536000 (a year)"))?;
    let block = Block {
        what: target,
        until: cx.port.now().plus(Millis::from_secs(seconds)),
        reason: required(cx, "reason")?.to_owned(),
        by: cx.operator().to_owned(),
    };
    let source = crate::domain::limits::Source::parse(cx.head.address.as_deref());
    if let (Target::Cidr(cidr), Some(address)) = (&block.what, source.address())
        && cidr.contains(address)
    {
        return Err(Refusal::new(Code::Conflict).detail("That network is the one you come from."));
    }
    let id = cx.new_id("blk");
    let event = cx
        .event(Deed::ListsChange)
        .target("block")
        .about(block_subject(&id, &block))
        .detail("block", &id)
        .detail("reason", &block.reason);
    let told = block_fields(&id, &block);
    changed(cx, Change::Block(id, Some(block)), event, told).await
}

/// Lifts a block.
///
/// # Errors
/// `not_found`
pub async fn block_remove<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let block = rules.blocks.get(&cx.id);
    let block = block.ok_or_else(|| Refusal::new(Code::NotFound))?;
    let event = cx
        .event(Deed::ListsChange)
        .target("block")
        .about(block_subject(&cx.id, block))
        .detail("block", &cx.id)
        .detail("change", "lifted");
    let told = json!({"id": cx.id, "lifted": true});
    changed(cx, Change::Block(cx.id.clone(), None), event, told).await
}

// === flags ===

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

// === alerts ===

/// Alerts, newest first: `?before=`, `?state=`.
///
/// # Errors
/// `invalid_parameter`, `storage_unavailable`.
pub async fn alerts<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let before = match cx
        .head
        .query_value("before")
        .filter(|text| !text.is_empty())
    {
        None => None,
        Some(text) => Some(
            text.parse()
                .map_err(|_| invalid("before", "must be the id of an alert"))?,
        ),
    };
    let state = match cx.head.query_value("state").as_deref() {
        None | Some("") => None,
        Some("open") => Some(State::Open),
        Some("seen") => Some(State::Seen),
        Some("undone") => Some(State::Undone),
        Some(_) => return Err(invalid("state", "must be open, seen or undone")),
    };
    let command = Command::Alerts {
        before,
        state,
        limit: 100,
    };
    let reply = ask::<Rules>(cx.port, Class::Directory, HOUSE, command)
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    let Reply::Alerts(alerts, more) = reply else {
        return Err(Refusal::new(Code::StorageUnavailable));
    };
    let told: Vec<Value> = alerts
        .iter()
        .map(|alert| {
            json!({
                "id": alert.id.to_string(),
                "at": alert.at.rfc3339(),
                "count": alert.count,
                "kind": alert.raise.kind,
                "about": alert.raise.subject.name,
                "reason": alert.raise.reason,
                "level": alert.raise.level,
                "until": alert.raise.until.rfc3339(),
                "state": alert.state,
                "by": alert.by,
                "can_undo": alerts::can_undo(&alert.raise) && alert.state != State::Undone,
            })
        })
        .collect();
    Ok(Told::Json(json!({"alerts": told, "more": more})))
}

/// Acknowledges an alert.
///
/// # Errors
/// `not_found`
pub async fn alert_seen<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    mark(cx, State::Seen, Deed::AlertClose).await
}

/// Lifts what an alert brought about.
///
/// # Errors
/// `not_found`; `conflict` when it brought nothing about.
pub async fn alert_undo<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let id = alert_id(cx)?;
    let command = Command::Alerts {
        before: Some(id.saturating_add(1)),
        state: None,
        limit: 1,
    };
    let reply = ask::<Rules>(cx.port, Class::Directory, HOUSE, command)
        .await
        .map_err(|fault| storage_refusal(&fault))?;
    let alert = match reply {
        Reply::Alerts(alerts, _) => alerts.into_iter().find(|alert| alert.id == id),
        _ => None,
    };
    let alert = alert.ok_or_else(|| Refusal::new(Code::NotFound))?;
    if !alerts::can_undo(&alert.raise) {
        return Err(Refusal::new(Code::Conflict).detail("This alert holds nobody back."));
    }
    alerts::undo(cx.port, &alert.raise).await?;
    mark(cx, State::Undone, Deed::AbuseUndo).await
}

fn alert_id<P>(cx: &Context<'_, P>) -> Result<u64, Refusal> {
    cx.id.parse().map_err(|_| Refusal::new(Code::NotFound))
}

async fn mark<P: Port>(cx: &Context<'_, P>, state: State, deed: Deed) -> Result<Told, Refusal> {
    let command = Command::Mark {
        id: alert_id(cx)?,
        state,
        by: cx.operator().to_owned(),
    };
    let event = cx.event(deed).target("alert").detail("alert", &cx.id);
    let reply = told::<Rules>(
        cx.port,
        Class::Directory,
        HOUSE,
        command,
        Some(event.outbox()),
    )
    .await
    .map_err(|fault| storage_refusal(&fault))?;
    cx.deliver(Class::Directory, HOUSE).await;
    match reply {
        Reply::Marked(_) => Ok(Told::Json(json!({"id": cx.id, "state": state}))),
        _ => Err(Refusal::new(Code::NotFound)),
    }
}
