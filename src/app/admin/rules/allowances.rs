//! Limits and budgets.

use serde_json::{Map, Value, json};

use super::{changed, parsed};
use crate::app::accounts;
use crate::app::admin::sign_in::required;
use crate::app::admin::{Context, Told};
use crate::app::audit::short;
use crate::app::port::Port;
use crate::app::rules::rules;
use crate::base::errors::Refusal;
use crate::domain::audit::entry::Action as Deed;
use crate::domain::identity::api_key::is_id;
use crate::domain::identity::is_visitor_id;
use crate::domain::identity::roles::Action;
use crate::domain::limits::rules::{Change, Snapshot};
use crate::domain::llm::request::{invalid, missing};
use crate::domain::settings::config::{Allowance, DEFAULT_TENANT, Limit};

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
            "client": config.client,
            "network": config.network,
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
        None if scope == "client" => Some(config.client.clone()),
        None if scope == "network" => Some(config.network.clone()),
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
            matches!(
                scope,
                "client" | "network" | "visitor" | "tenant" | "global"
            ),
            "must be client, network, visitor, tenant, global, or one of visitor/, key/, tier/, alias/ and a name",
        ),
    };
    if known {
        Ok(())
    } else {
        Err(invalid("scope", reason))
    }
}

/// Is there such a key in this tenant?
pub(super) async fn known_key<P: Port>(
    cx: &Context<'_, P>,
    id: &str,
    param: &str,
) -> Result<(), Refusal> {
    if !is_id(id) {
        return Err(invalid(param, "has no API key's id"));
    }
    crate::app::admin::keys::look(cx, id).await.map(|_| ())
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
