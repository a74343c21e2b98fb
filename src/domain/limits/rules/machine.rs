//! The rules of a tenant as one synchronous state machine.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::alert::{Alert, Alerts, Raise, State};
use super::change::{Change, Lists};
use super::snapshot::Snapshot;
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

/// Most ids of void sessions. One more, and everything issued so far is void instead: none is forgotten.
pub const MAX_REVOKED: usize = 10_000;
/// An epoch lies this far after the moment it was asked for: an isolate that has not heard of it yet (1 s) still renews
/// sessions, and its clock may be ahead. Whoever gets a new session within this time has to get another one.
pub const EPOCH_MARGIN: Millis = Millis::from_secs(2);
/// Most blocks, allowances, limits and site keys, each.
const MAX_EACH: usize = 1000;
/// Most flags.
const MAX_FLAGS: usize = 100;
/// A revocation that cannot be read lasts this long: 30 days, as long as a visitor's cookie = 30 × 86,400 s.
const UNREADABLE: Millis = Millis::from_secs(2_592_000);
/// Expired rows are removed at most this often.
const SWEEP: Millis = Millis::from_secs(60);
const HEAD: &str = "rules/head";
const LISTS: &str = "rules/lists";
const ADMIN: &str = "rules/admin";

/// What may be asked of the rules. Every command may be repeated without changing more.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Command {
    /// Has anything changed since this version?
    Since(u64),
    /// Change something.
    Change {
        /// The version that the operator saw; if another one stands, and the change would change something, nothing is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<u64>,
        /// What.
        change: Change,
    },
    /// Raise an alert.
    Raise(Raise),
    /// Set the state of an alert.
    Mark {
        /// Which.
        id: u64,
        /// To what.
        state: State,
        /// By whom.
        by: String,
    },
    /// List alerts, the newest first.
    Alerts {
        /// Only older ones than this.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// Only of this state.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        state: Option<State>,
        /// At most so many; at most 100.
        limit: u32,
    },
}

/// What the rules answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The version is the one that was named.
    Unchanged,
    /// What is in force.
    Snapshot(Box<Snapshot>),
    /// Done.
    Changed {
        /// The version now.
        version: u64,
        /// What restores what stood before; `None` when nothing can.
        undo: Option<Box<Change>>,
    },
    /// It stood like that already, at this version.
    Same(u64),
    /// Another version stands than was expected; nothing was changed.
    Conflict(u64),
    /// The change cannot be, for this reason.
    Invalid(String),
    /// There are as many of these as there may be.
    Full,
    /// The alert's id, and whether it is a new one.
    Raised(u64, bool),
    /// The alert's state before.
    Marked(State),
    /// There is no such alert.
    Unknown,
    /// Alerts, and whether there are more.
    Alerts(Vec<Alert>, bool),
}

/// The rules of a tenant.
#[derive(Debug, Default)]
pub struct Rules {
    now: Snapshot,
    alerts: Alerts,
    /// The alarm asked for last.
    alarm: Option<Millis>,
    /// Rows whose meaning was decided by loading, and which are still to be stored so.
    repairs: Vec<Write>,
}

/// What a step did: how to undo it, and the rows to write. `None`: nothing had to be done.
type Step = Option<(Option<Change>, Vec<Write>)>;

/// There are as many as there may be.
struct Full;

impl Machine for Rules {
    type Command = Command;
    type Reply = Reply;

    /// A row that cannot be read is named in [`Snapshot::damaged`] and stays stored; an unreadable revocation counts for
    /// 30 days, and without the head (version and epoch) every session so far is void.
    fn load(now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut rules = Self::default();
        // Alerts come without a head as long as nothing was ever changed.
        let used = rows.iter().any(|(key, _)| !key.starts_with("rules/a/"));
        let mut headed = false;
        for (key, text) in rows {
            if key == HEAD
                && let Ok((version, epoch, keyring)) = serde_json::from_str(&text)
            {
                (rules.now.version, rules.now.epoch, rules.now.keyring) = (version, epoch, keyring);
                headed = true;
            } else if !rules.load_row(&key, &text) {
                if let Some(id) = key.strip_prefix("rules/r/") {
                    let until = now.plus(UNREADABLE);
                    rules.now.revoked.insert(id.to_owned(), until);
                    let value = Some(until.0.to_string());
                    rules.repairs.push(Write { key, value });
                } else {
                    rules.now.damaged.push(key);
                }
            }
        }
        rules.alerts.sort();
        if used && !headed {
            // Larger than any count of changes, so that no isolate takes it for one that it knows.
            rules.now.version = now.0.max(1);
            rules.now.epoch = now.plus(EPOCH_MARGIN);
            rules.now.damaged.retain(|key| key != HEAD);
            let head = rules.head();
            rules.repairs.push(head);
        }
        rules
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let mut writes = std::mem::take(&mut self.repairs);
        let reply = match command {
            Command::Since(version) if version == self.now.version => Reply::Unchanged,
            Command::Since(_) => Reply::Snapshot(Box::new(self.now.clone())),
            Command::Change { expect, change } => self.change(now, expect, change, &mut writes),
            Command::Raise(raise) if !raise.is_valid() => {
                Reply::Invalid("a text of the alert is too long".to_owned())
            }
            Command::Raise(raise) => {
                let (id, new) = self.alerts.raise(now, raise, &mut writes);
                Reply::Raised(id, new)
            }
            Command::Mark { id, state, by } => self
                .alerts
                .mark(id, state, by, &mut writes)
                .map_or(Reply::Unknown, Reply::Marked),
            Command::Alerts {
                before,
                state,
                limit,
            } => {
                let (page, more) = self.alerts.page(before, state, limit);
                Reply::Alerts(page, more)
            }
        };
        let alarm = if writes.is_empty() {
            None
        } else {
            self.next_alarm(now)
        };
        let effects = Effects {
            writes,
            alarm,
            delete_all: false,
        };
        (reply, effects)
    }

    /// Removes the blocks and revocations that are over. The version stays: no decision changes by it.
    fn wake(&mut self, now: Millis) -> Effects {
        let mut writes = std::mem::take(&mut self.repairs);
        self.sweep(now, &mut writes);
        self.alarm = None;
        Effects {
            writes,
            alarm: self.next_alarm(now),
            delete_all: false,
        }
    }
}

impl Rules {
    /// Reads a row; `false` when it cannot be read or is none of these.
    fn load_row(&mut self, key: &str, text: &str) -> bool {
        fn read<T: DeserializeOwned>(text: &str, slot: &mut T) -> bool {
            serde_json::from_str(text)
                .map(|value| *slot = value)
                .is_ok()
        }
        fn add<T: DeserializeOwned>(text: &str, name: &str, map: &mut BTreeMap<String, T>) -> bool {
            serde_json::from_str(text)
                .map(|value| map.insert(name.to_owned(), value))
                .is_ok()
        }
        let now = &mut self.now;
        let parts = key
            .strip_prefix("rules/")
            .and_then(|rest| rest.split_once('/'));
        match (key, parts) {
            (LISTS, _) => read(text, &mut now.lists),
            (ADMIN, _) => read(text, &mut now.admin_allow),
            (_, Some(("o", name))) => add(text, name, &mut now.allowances),
            (_, Some(("l", name))) => add(text, name, &mut now.limits),
            (_, Some(("b", name))) => add(text, name, &mut now.blocks),
            (_, Some(("r", name))) => add(text, name, &mut now.revoked),
            (_, Some(("s", name))) => add(text, name, &mut now.site_keys),
            (_, Some(("f", name))) => add(text, name, &mut now.flags),
            (_, Some(("a", _))) => self.alerts.load(text),
            _ => false,
        }
    }

    /// Makes a change if it may be and changes something.
    fn change(
        &mut self,
        now: Millis,
        expect: Option<u64>,
        change: Change,
        writes: &mut Vec<Write>,
    ) -> Reply {
        if let Some(reason) = change.fault(now) {
            return Reply::Invalid(reason.to_owned());
        }
        let version = self.now.version;
        if expect.is_some_and(|expect| expect != version) {
            // Whoever repeats a change whose reply was lost finds it done.
            return if self.stands(now, &change) {
                Reply::Same(version)
            } else {
                Reply::Conflict(version)
            };
        }
        if let Change::Revoke(id, Some(until)) = &change
            && *until > now
            && !self.now.revoked.contains_key(id)
            && self.now.revoked.len() >= MAX_REVOKED
        {
            self.make_room(now, writes);
        }
        if matches!(change, Change::Block(..)) && self.now.blocks.len() >= MAX_EACH {
            self.sweep(now, writes);
        }
        match self.step(now, change) {
            Err(Full) => Reply::Full,
            Ok(None) => Reply::Same(version),
            Ok(Some((undo, rows))) => {
                let written = |key: &String| rows.iter().any(|row| row.key == *key);
                self.now.damaged.retain(|key| !written(key));
                self.now.version = self.now.version.saturating_add(1);
                writes.extend(rows);
                writes.push(self.head());
                Reply::Changed {
                    version: self.now.version,
                    undo: undo.map(Box::new),
                }
            }
        }
    }

    /// Would the change change nothing?
    fn stands(&self, now: Millis, change: &Change) -> bool {
        let mut copy = Self {
            now: self.now.clone(),
            ..Self::default()
        };
        matches!(copy.step(now, change.clone()), Ok(None))
    }

    fn step(&mut self, now: Millis, change: Change) -> Result<Step, Full> {
        let rules = &mut self.now;
        match change {
            Change::Lists(lists) => {
                let before = lists.replace(&mut rules.lists, &mut rules.admin_allow);
                let mut rows = Vec::new();
                if before.admin_allow.is_some() {
                    rows.push(put(ADMIN, &rules.admin_allow));
                }
                let others = Lists {
                    admin_allow: None,
                    ..before.clone()
                };
                if others != Lists::default() {
                    rows.push(put(LISTS, &rules.lists));
                }
                Ok((!rows.is_empty()).then(|| (Some(Change::Lists(before)), rows)))
            }
            Change::Allowance(name, value) => set(
                &mut rules.allowances,
                "o",
                name,
                value,
                MAX_EACH,
                Change::Allowance,
            ),
            Change::Limit(name, value) => {
                set(&mut rules.limits, "l", name, value, MAX_EACH, Change::Limit)
            }
            Change::Block(name, value) => {
                set(&mut rules.blocks, "b", name, value, MAX_EACH, Change::Block)
            }
            Change::Revoke(_, Some(until)) if until <= now => Ok(None),
            Change::Revoke(name, value) => set(
                &mut rules.revoked,
                "r",
                name,
                value,
                MAX_REVOKED,
                Change::Revoke,
            ),
            Change::SiteKey(name, value) => set(
                &mut rules.site_keys,
                "s",
                name,
                value,
                MAX_EACH,
                Change::SiteKey,
            ),
            Change::Flag(name, value) => {
                set(&mut rules.flags, "f", name, value, MAX_FLAGS, Change::Flag)
            }
            Change::RevokeAll(at) => {
                // A clock that is far ahead must not void the sessions of days to come.
                let epoch = at.min(now.plus(SWEEP)).plus(EPOCH_MARGIN);
                let later = epoch > rules.epoch;
                rules.epoch = rules.epoch.max(epoch);
                Ok(later.then(|| (None, Vec::new())))
            }
            Change::Keyring(version) => {
                let newer = version > rules.keyring;
                rules.keyring = rules.keyring.max(version);
                Ok(newer.then(|| (None, Vec::new())))
            }
        }
    }

    /// Forgets the revocations that are over, or else voids every session so far, those that were revoked among them.
    fn make_room(&mut self, now: Millis, writes: &mut Vec<Write>) {
        self.sweep(now, writes);
        if self.now.revoked.len() < MAX_REVOKED {
            return;
        }
        self.now.epoch = self.now.epoch.max(now.plus(EPOCH_MARGIN));
        let all = std::mem::take(&mut self.now.revoked);
        writes.extend(all.into_keys().map(|id| gone("r", &id)));
    }

    fn sweep(&mut self, now: Millis, writes: &mut Vec<Write>) {
        self.now.blocks.retain(|id, block| {
            let keep = block.until > now;
            if !keep {
                writes.push(gone("b", id));
            }
            keep
        });
        self.now.revoked.retain(|id, until| {
            let keep = *until > now;
            if !keep {
                writes.push(gone("r", id));
            }
            keep
        });
    }

    /// The alarm to ask for: when the first block or revocation is over, but not within the next minute; `None` when one
    /// stands before that.
    fn next_alarm(&mut self, now: Millis) -> Option<Millis> {
        let blocks = self.now.blocks.values().map(|block| block.until);
        let first = blocks.chain(self.now.revoked.values().copied()).min()?;
        let due = first.max(now.plus(SWEEP));
        if self.alarm.is_some_and(|alarm| now < alarm && alarm <= due) {
            return None;
        }
        self.alarm = Some(due);
        self.alarm
    }

    fn head(&self) -> Write {
        put(HEAD, &(self.now.version, self.now.epoch, self.now.keyring))
    }
}

/// Puts a value under a name, or takes it away.
fn set<T: Serialize>(
    map: &mut BTreeMap<String, T>,
    kind: &str,
    name: String,
    value: Option<T>,
    most: usize,
    undo: fn(String, Option<T>) -> Change,
) -> Result<Step, Full> {
    let text = |value: &T| serde_json::to_string(value).unwrap_or_default();
    let stood = map.get(&name).map(text);
    let wanted = value.as_ref().map(text);
    if stood == wanted {
        return Ok(None);
    }
    if stood.is_none() && map.len() >= most {
        return Err(Full);
    }
    let before = match value {
        Some(value) => map.insert(name.clone(), value),
        None => map.remove(&name),
    };
    let write = Write {
        key: row_key(kind, &name),
        value: wanted,
    };
    Ok(Some((Some(undo(name, before)), vec![write])))
}

fn row_key(kind: &str, name: &str) -> String {
    ["rules/", kind, "/", name].concat()
}

fn gone(kind: &str, name: &str) -> Write {
    Write {
        key: row_key(kind, name),
        value: None,
    }
}

fn put(key: &str, value: &impl Serialize) -> Write {
    Write {
        key: key.to_owned(),
        value: serde_json::to_string(value).ok(),
    }
}

#[cfg(test)]
mod tests;
