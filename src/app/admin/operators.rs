//! Operators, invites and their sessions.

use serde_json::{Value, json};

use super::sign_in::{act, env, hash_of_new, required, role};
use super::{Context, Told};
use crate::app::keyring::keyring;
use crate::app::port::Port;
use crate::base::errors::{Code, Refusal};
use crate::domain::audit::entry::Action as Event;
use crate::domain::identity::api_key::{self, Kind};
use crate::domain::identity::operators::{Command, Deed, Reply, SessionInfo};
use crate::domain::identity::roles::Action;
use crate::domain::llm::request::{invalid, missing};

/// Operators and invites.
///
/// # Errors
/// `storage_unavailable`
pub async fn list<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let Reply::List(operators, invites) = cx.operators(Command::List).await? else {
        return Err(Refusal::new(Code::StorageUnavailable));
    };
    let operators: Vec<Value> = operators
        .iter()
        .map(|operator| {
            json!({
                "id": operator.id,
                "name": operator.name,
                "role": operator.role.name(),
                "created_at": operator.created.rfc3339(),
                "created_by": operator.created_by,
                "disabled": operator.disabled,
            })
        })
        .collect();
    let invites: Vec<Value> = invites
        .iter()
        .map(|invite| {
            json!({
                "id": invite.id,
                "role": invite.role.name(),
                "by": invite.by,
                "expires_at": invite.expires.rfc3339(),
                "used_by": invite.used,
            })
        })
        .collect();
    Ok(Told::Json(
        json!({"operators": operators, "invites": invites}),
    ))
}

/// Invites an operator: `{role}`. The code is shown once.
///
/// # Errors
/// `forbidden` for a role that one may not give.
pub async fn invite<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let role = role(required(cx, "role")?)?;
    let ring = keyring(cx.port).await?;
    let environment = env(cx.port.settings().environment);
    let code = api_key::make(Kind::Invite, environment, &cx.port.random());
    let id = ["inv_", &code.id].concat();
    let deed = Deed::Invite {
        id: id.clone(),
        code: hash_of_new(&ring, code.text.reveal())?,
        role,
    };
    let event = cx
        .event(Event::OperatorInvite)
        .target("invite")
        .about(&id)
        .detail("role", role.name());
    act(cx, deed, event).await?;
    Ok(Told::Created(json!({
        "id": id,
        "role": role.name(),
        "invite": code.text.reveal(),
        "join_url": ([&cx.head.own_origin, "/admin/join"].concat()),
        "next": "Give the invite to its person by a way that you trust; it is good once, for 24 hours.",
    })))
}

/// Disables or enables an operator: `{disabled}`.
///
/// # Errors
/// `last_owner`, `forbidden`, `not_found`.
pub async fn change<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let disabled = match cx.fields.get("disabled") {
        Some(Value::Bool(disabled)) => *disabled,
        None => return Err(missing("disabled")),
        Some(_) => return Err(invalid("disabled", "must be true or false")),
    };
    let deed = if disabled {
        Deed::Disable(cx.id.clone())
    } else {
        Deed::Enable(cx.id.clone())
    };
    let event = cx
        .event(Event::OperatorChange)
        .target("operator")
        .about(&cx.id)
        .detail("disabled", if disabled { "true" } else { "false" });
    act(cx, deed, event).await?;
    Ok(Told::Json(json!({"id": cx.id, "disabled": disabled})))
}

/// Changes a role: `{role}`.
///
/// # Errors
/// `last_owner`, `forbidden`, `not_found`.
pub async fn role_of<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let role = role(required(cx, "role")?)?;
    let event = cx
        .event(Event::OperatorChange)
        .target("operator")
        .about(&cx.id)
        .detail("role", role.name());
    act(cx, Deed::SetRole(cx.id.clone(), role), event).await?;
    Ok(Told::Json(json!({"id": cx.id, "role": role.name()})))
}

/// Removes an operator, or withdraws an invite.
///
/// # Errors
/// `last_owner`, `forbidden`, `not_found`.
pub async fn remove<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let deed = if cx.id.starts_with("inv_") {
        Deed::Withdraw(cx.id.clone())
    } else {
        Deed::Remove(cx.id.clone())
    };
    let event = cx
        .event(Event::OperatorRemove)
        .target("operator")
        .about(&cx.id);
    act(cx, deed, event).await?;
    Ok(Told::Json(json!({"id": cx.id, "removed": true})))
}

/// One's own sessions; with operators' rights, all.
///
/// # Errors
/// `storage_unavailable`
pub async fn sessions<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let sees_all = cx
        .standing
        .as_ref()
        .is_some_and(|standing| standing.role.may(Action::OperatorsRead));
    let of = (!sees_all).then(|| cx.operator().to_owned());
    let Reply::Sessions(sessions) = cx.operators(Command::Sessions(of, cx.idle())).await? else {
        return Err(Refusal::new(Code::StorageUnavailable));
    };
    let own = cx
        .standing
        .as_ref()
        .map_or("", |standing| standing.session.as_str());
    let told: Vec<Value> = sessions
        .iter()
        .map(|session| session_told(session, own))
        .collect();
    Ok(Told::Json(json!({"sessions": told})))
}

fn session_told(session: &SessionInfo, own: &str) -> Value {
    json!({
        "id": session.id,
        "operator": session.operator,
        "created_at": session.created.rfc3339(),
        "seen_at": session.seen.rfc3339(),
        "until": session.until.rfc3339(),
        "from": session.network,
        "agent": session.agent,
        "current": session.id == own,
    })
}

/// Ends a session.
///
/// # Errors
/// `forbidden`, `not_found`.
pub async fn session_end<P: Port>(cx: &Context<'_, P>) -> Result<Told, Refusal> {
    let event = cx
        .event(Event::OperatorSessionEnd)
        .target("session")
        .detail("session", &cx.id);
    act(cx, Deed::EndSession(cx.id.clone()), event).await?;
    Ok(Told::Json(json!({"id": cx.id, "ended": true})))
}
