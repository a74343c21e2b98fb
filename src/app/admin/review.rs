//! Looking over the house: what stands, who may do what, and erasing.

use serde_json::{Value, json};

use super::sign_in::required;
use super::{Context, Told, keys};
use crate::app::audit::{recorded, with_log};
use crate::app::keyring::{keyring, wrapper};
use crate::app::me::forget;
use crate::app::objects::ask;
use crate::app::port::{Class, Port, storage_refusal};
use crate::app::rules::{HOUSE, rules};
use crate::base::errors::{Code, Refusal};
use crate::domain::audit::entry::Action as Deed;
use crate::domain::audit::review::{Access, csv_head, review};
use crate::domain::identity::is_visitor_id;
use crate::domain::identity::key_record::{Names, Stores};
use crate::domain::identity::operators::{Command, Reply};
use crate::domain::identity::roles::{Action, Role};
use crate::domain::keyring::status;
use crate::domain::limits::rules::{Command as RulesCommand, Reply as RulesReply, Rules, State};
use crate::domain::llm::request::invalid;

/// Keys of one review: each costs one call.
const MOST_KEYS: usize = 500;

/// What stands: open alerts, keys, keyring, log.
///
/// # Errors
/// `limiter_unavailable`, `keyring_unavailable`, `audit_unavailable`.
pub async fn overview<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let rules = rules(cx.port).await?;
    let command = RulesCommand::Alerts {
        before: None,
        state: Some(State::Open),
        limit: 100,
    };
    let alerts = match ask::<Rules>(cx.port, Class::Directory, HOUSE, command).await {
        Ok(RulesReply::Alerts(alerts, _)) => alerts.len(),
        Ok(_) => 0,
        Err(fault) => return Err(storage_refusal(&fault)),
    };
    let ring = keyring(cx.port).await?;
    let days = cx.port.settings().config.keyring.rotate_days;
    let ring = wrapper(cx.port.settings())
        .and_then(|wrapper| status(&ring.ring, cx.port.now(), days, &wrapper));
    let log = with_log(cx.port, async |audit| audit.status(cx.port).await).await?;
    Ok(Told::Json(json!({
        "tenant": cx.port.tenant(),
        "open_alerts": alerts,
        "rules_version": rules.version,
        "damaged_rules": rules.damaged,
        "site_keys": rules.site_keys.len(),
        "blocks": rules.blocks.len(),
        "keyring": ring.map(|ring| json!({
            "active": ring.active,
            "age_days": ring.age.secs() / 86_400,
            "warnings": ring.warnings.len(),
        })),
        "audit": {
            "entries": log.size,
            "checkpoint": log.checkpoint.map(|checkpoint| checkpoint.size),
        },
    })))
}

/// Who may do what: `?format=csv`.
///
/// # Errors
/// `storage_unavailable`
pub async fn access<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    recorded(cx.port, cx.event(Deed::AccessReview).target("access")).await?;
    let mut all = operators(cx).await?;
    let mut after = None;
    let mut whole = true;
    loop {
        let (entries, next) = keys::page(cx, after).await?;
        for entry in entries {
            if all.len() >= MOST_KEYS {
                whole = false;
                break;
            }
            let view = keys::look(cx, &entry.id).await?;
            let scopes = &view.settings.scopes;
            let names = |kind: &str, names: &Names| match names {
                Names::All => vec![[kind, ": all"].concat()],
                Names::Only(names) => names
                    .iter()
                    .map(|name| [kind, ": ", name].concat())
                    .collect(),
            };
            let mut rights = names("alias", &scopes.aliases);
            rights.extend(names("endpoint", &scopes.endpoints));
            rights.push(format!("stores: {:?}", scopes.stores).to_lowercase());
            all.push(Access {
                kind: "key",
                id: view.id,
                name: view.settings.name,
                rights,
                created: view.created,
                expires: view.settings.expires,
                used: view.last_used,
                revoked: view.revoked.is_some(),
                unbounded: scopes.aliases == Names::All
                    && scopes.endpoints == Names::All
                    && scopes.stores == Stores::Write,
                single_factor: false,
            });
        }
        after = next.filter(|_| whole);
        if after.is_none() {
            break;
        }
    }
    let findings = review(all, cx.port.now());
    if cx.head.query_value("format").as_deref() == Some("csv") {
        let lines = findings
            .iter()
            .map(crate::domain::audit::review::Finding::csv);
        let text: String = core::iter::once(csv_head()).chain(lines).collect();
        return Ok(Told::File {
            content_type: "text/csv; charset=utf-8",
            name: "gatehouse-access.csv",
            bytes: text.into_bytes(),
            headers: Vec::new(),
        });
    }
    let findings: Vec<Value> = findings
        .iter()
        .map(crate::domain::audit::review::Finding::json)
        .collect();
    Ok(Told::Json(json!({"access": findings, "complete": whole})))
}

async fn operators<P: Port>(cx: &Context<'_, P>) -> Result<Vec<Access>, Refusal> {
    let Reply::List(operators, _) = cx.operators(Command::List).await? else {
        return Err(Refusal::new(Code::StorageUnavailable));
    };
    let Reply::Sessions(sessions) = cx.operators(Command::Sessions(None, cx.idle())).await? else {
        return Err(Refusal::new(Code::StorageUnavailable));
    };
    Ok(operators
        .into_iter()
        .map(|operator| {
            let seen = sessions
                .iter()
                .filter(|session| session.operator == operator.id);
            let rights = Action::ALL
                .iter()
                .filter(|action| operator.role.may(**action));
            Access {
                kind: "operator",
                // The last sign-in stays when its session is gone.
                used: seen
                    .map(|session| session.seen)
                    .chain(operator.signed_in)
                    .max(),
                rights: [["role: ", operator.role.name()].concat()]
                    .into_iter()
                    .chain(rights.map(|action| action.name().to_owned()))
                    .collect(),
                created: operator.created,
                expires: None,
                revoked: operator.disabled,
                unbounded: operator.role == Role::Owner,
                // There is no way in without the second factor.
                single_factor: false,
                name: operator.name,
                id: operator.id,
            }
        })
        .collect())
}

/// Erases a visitor's personal data: `{visitor}`.
///
/// # Errors
/// `invalid_parameter`, `storage_unavailable`, `audit_unavailable`: it can be repeated.
pub async fn erase<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let visitor = required(cx, "visitor")?;
    if !is_visitor_id(visitor) {
        return Err(invalid("visitor", "must be a visitor's id"));
    }
    let event = cx.event(Deed::SubjectErase).target("visitor");
    let documents = forget(cx.port, visitor, event).await?;
    Ok(Told::Json(
        json!({"visitor": visitor, "erased": true, "documents": documents}),
    ))
}
