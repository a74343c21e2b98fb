//! Alerts: what a rule noticed, and what an operator did about it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::base::machine::Write;
use crate::base::time::Millis;

/// So many alerts are kept, the newest.
pub const MAX_ALERTS: usize = 1000;
/// Most alerts in one answer.
const MAX_PAGE: usize = 100;
/// Longest text of an alert, in bytes.
const MAX_TEXT: usize = 1000;

/// Something for an operator to look at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// Grows from alert to alert.
    pub id: u64,
    /// When it was first raised.
    pub at: Millis,
    /// How often.
    pub count: u32,
    /// What was raised; `until` and `reason` are those of the last time.
    #[serde(rename = "what")]
    pub raise: Raise,
    /// What became of it.
    pub state: State,
    /// The operator who changed the state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// What a rule noticed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Raise {
    /// The rule's name.
    pub kind: String,
    /// Whom to pardon.
    pub subject: Subject,
    /// Why, in a sentence.
    pub reason: String,
    /// How bad.
    pub level: Level,
    /// Until then the same about the same subject is counted and not raised again; with a hold, when it ends.
    pub until: Millis,
}

/// The object that holds something back, or that noticed something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Its class.
    pub class: String,
    /// Its name.
    pub name: String,
    /// The client in it, if it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// How bad an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Good to know.
    Info,
    /// Somebody is held back.
    Warn,
    /// Somebody has to act.
    Error,
}

/// What became of an alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody looked.
    Open,
    /// An operator saw it.
    Seen,
    /// An operator lifted what was held back.
    Undone,
}

/// The newest alerts, oldest first.
#[derive(Debug, Default)]
pub(super) struct Alerts(VecDeque<Alert>);

impl Alerts {
    /// Reads a row. When all are read they are to be sorted.
    pub fn load(&mut self, text: &str) -> bool {
        match serde_json::from_str(text) {
            Ok(alert) => self.0.push_back(alert),
            Err(_) => return false,
        }
        true
    }

    /// Brings what was read into the order of the ids.
    pub fn sort(&mut self) {
        self.0
            .make_contiguous()
            .sort_unstable_by_key(|alert| alert.id);
    }

    /// Raises an alert, or counts it up. Answers its id, and whether it is a new one.
    pub fn raise(&mut self, now: Millis, raise: Raise, writes: &mut Vec<Write>) -> (u64, bool) {
        let same = self.0.iter_mut().rev().find(|alert| {
            alert.raise.kind == raise.kind
                && alert.raise.subject == raise.subject
                && alert.state != State::Undone
                && (alert.raise.until > now || alert.raise.until == raise.until)
        });
        if let Some(alert) = same {
            // The same end: the same hold, told a second time.
            if alert.raise.until != raise.until {
                alert.count = alert.count.saturating_add(1);
                alert.raise.until = alert.raise.until.max(raise.until);
                alert.raise.reason = raise.reason;
                writes.push(row(alert));
            }
            return (alert.id, false);
        }
        let last = self.0.back().map_or(0, |alert| alert.id);
        let alert = Alert {
            id: last.saturating_add(1),
            at: now,
            count: 1,
            raise,
            state: State::Open,
            by: None,
        };
        let id = alert.id;
        writes.push(row(&alert));
        self.0.push_back(alert);
        while self.0.len() > MAX_ALERTS {
            if let Some(oldest) = self.0.pop_front() {
                writes.push(Write {
                    key: key(oldest.id),
                    value: None,
                });
            }
        }
        (id, true)
    }

    /// Sets the state of an alert, and answers the one before; `None` when there is no such alert.
    pub fn mark(
        &mut self,
        id: u64,
        state: State,
        by: String,
        writes: &mut Vec<Write>,
    ) -> Option<State> {
        let alert = self.0.iter_mut().find(|alert| alert.id == id)?;
        let before = alert.state;
        if before != state {
            alert.state = state;
            alert.by = Some(by);
            writes.push(row(alert));
        }
        Some(before)
    }

    /// The newest before an id, newest first, and whether there are more.
    pub fn page(
        &self,
        before: Option<u64>,
        state: Option<State>,
        limit: u32,
    ) -> (Vec<Alert>, bool) {
        let limit = usize::try_from(limit)
            .unwrap_or(MAX_PAGE)
            .clamp(1, MAX_PAGE);
        let mut rest = self
            .0
            .iter()
            .rev()
            .filter(|alert| before.is_none_or(|before| alert.id < before))
            .filter(|alert| state.is_none_or(|state| alert.state == state));
        let page = rest.by_ref().take(limit).cloned().collect();
        (page, rest.next().is_some())
    }
}

impl Raise {
    /// Are its texts within bounds?
    pub(super) const fn is_valid(&self) -> bool {
        self.kind.len() <= MAX_TEXT
            && self.reason.len() <= MAX_TEXT
            && self.subject.class.len() <= MAX_TEXT
            && self.subject.name.len() <= MAX_TEXT
    }
}

/// The key of an alert's row: twenty digits, which is what the largest id has, so that keys sort as ids do.
fn key(id: u64) -> String {
    format!("rules/a/{id:020}")
}

fn row(alert: &Alert) -> Write {
    Write {
        key: key(alert.id),
        value: serde_json::to_string(alert).ok(),
    }
}
