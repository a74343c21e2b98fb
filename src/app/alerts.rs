//! What a rule noticed reaches the operators: as an alert in the rules, and as an entry of the audit log.

use super::audit::{self, Event};
use super::objects::ask;
use super::port::{Class as Object, Port, call, storage_refusal};
use super::rules::HOUSE;
use crate::base::errors::Refusal;
use crate::base::time::Millis;
use crate::domain::audit::entry::{Action, Actor};
use crate::domain::limits::account::{
    Account, Alert as AccountAlert, Command as AccountCommand, What,
};
use crate::domain::limits::machine::Alert as NetworkAlert;
use crate::domain::limits::rules::{Command, Level, Raise, Reply, Rules, Subject};
use crate::domain::limits::{Command as Limit, Limiter};
use crate::domain::settings::names;

/// An account's alert.
pub async fn of_account<P: Port>(port: &P, account: &str, global: bool, alert: &AccountAlert) {
    let (level, action) = match alert.what {
        What::Half | What::Most => (Level::Info, Action::BudgetAlert),
        What::All | What::Slope | What::Overrun => (Level::Warn, Action::BudgetAlert),
        What::Sudden => (Level::Warn, Action::AbuseHold),
    };
    let day = Millis::from_secs(86_400);
    let raise = Raise {
        kind: alert.id(),
        subject: Subject {
            class: "Ledger".to_owned(),
            name: if global {
                ["global ", account].concat()
            } else {
                account.to_owned()
            },
            client: None,
        },
        reason: alert.reason(),
        level,
        until: alert.until.unwrap_or_else(|| alert.start.plus(day)),
    };
    raised(port, raise, action).await;
}

/// A network's alert.
pub async fn of_network<P: Port>(port: &P, network: &str, client: &str, alert: &NetworkAlert) {
    let raise = Raise {
        kind: alert.why.rule().to_owned(),
        subject: Subject {
            class: "Limiter".to_owned(),
            name: network.to_owned(),
            client: (!alert.network).then(|| client.to_owned()),
        },
        reason: alert.why.to_string(),
        level: Level::Warn,
        until: alert.until,
    };
    raised(port, raise, Action::AbuseHold).await;
}

/// An alert that is lost is raised again by the next one of its kind; what it tells of holds all the same.
async fn raised<P: Port>(port: &P, raise: Raise, action: Action) {
    let event = Event::new(port, action)
        .by(Actor::Rule, &raise.kind)
        .about(&raise.subject.name)
        .detail("reason", &raise.reason);
    let event = if action == Action::AbuseHold {
        event.detail("until", &raise.until.rfc3339())
    } else {
        event
    };
    let reply = ask::<Rules>(port, Object::Directory, HOUSE, Command::Raise(raise)).await;
    if let Ok(Reply::Raised(_, true)) = reply {
        audit::record(port, event).await;
    }
}

/// Does the alert tell of a hold that can be lifted?
#[must_use]
pub fn can_undo(raise: &Raise) -> bool {
    raise.subject.class == "Limiter" || raise.kind.starts_with("sudden")
}

/// Lifts what the alert tells of.
///
/// # Errors
/// `storage_unavailable`
pub async fn undo<P: Port>(port: &P, raise: &Raise) -> Result<(), Refusal> {
    let subject = &raise.subject;
    let done = if subject.class == "Limiter" {
        let command = Limit::Pardon {
            client: subject.client.clone(),
        };
        let reply = call::<Limiter>(port, Object::Limiter, &subject.name, &command).await;
        reply.map(|_| ())
    } else {
        let (port, name) = match subject.name.strip_prefix("global ") {
            Some(name) => (port.of_tenant(names::GLOBAL), name),
            None => (port.clone(), subject.name.as_str()),
        };
        let reply = ask::<Account>(&port, Object::Ledger, name, AccountCommand::Pardon).await;
        reply.map(|_| ())
    };
    done.map_err(|fault| storage_refusal(&fault))
}

/// Something about the house itself, told again each day while it lasts.
pub async fn of_house<P: Port>(port: &P, kind: &str, reason: &str) {
    let raise = Raise {
        kind: kind.to_owned(),
        subject: Subject {
            class: "Keyring".to_owned(),
            name: "keyring".to_owned(),
            client: None,
        },
        reason: reason.to_owned(),
        level: Level::Warn,
        until: port.now().plus(Millis::from_secs(86_400)),
    };
    raised(port, raise, Action::SettingsChange).await;
}
