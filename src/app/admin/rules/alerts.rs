//! Alerts.

use serde_json::{Value, json};

use crate::app::admin::{Context, Told};
use crate::app::alerts;
use crate::app::objects::{ask, told};
use crate::app::port::{Class, Port, storage_refusal};
use crate::app::rules::HOUSE;
use crate::base::errors::{Code, Refusal};
use crate::domain::audit::entry::Action as Deed;
use crate::domain::limits::rules::{Command, Reply, Rules, State};
use crate::domain::llm::request::invalid;

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
