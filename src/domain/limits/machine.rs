//! The limiter of one network: every client's row and the network's own, as one synchronous state machine.
//!
//! Clients and networks have names that the caller makes with a key (`network::client_name`, `network::network_name`):
//! nothing that is stored here holds an address. Limits by country are the caller's choice of policy; a client has one
//! row for each class whatever the policy.
//!
//! The shell around it loads the rows once, calls [`Limiter::apply`] for each command and [`Limiter::wake`] when the
//! alarm rings, and makes the effects durable before the reply leaves. If that fails it drops the machine and loads
//! again: memory never runs ahead of what is stored.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use self::once::Ids;
use self::watch::Watched;
use super::policy::{Class, LimitName, LimitStatus, Policy, Verdict, Window};
use super::row::{Answer, Row, Windows};
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

mod once;
mod watch;

pub use once::{MAX_ID, MAX_ONCE, Once};
pub use watch::{Alert, PERIOD, Reason, Watch};

/// Most client rows at a time. A /24 needs at most 256 × 6 classes; a /48 has 65,536 subnets, and those beyond this
/// many share one row per class until others are full again.
pub const MAX_CLIENT_ROWS: usize = 4096;
/// The latest time that JavaScript's Date can tell (ECMA-262 §21.4.1.1); a later clock counts as this.
const LATEST: Millis = Millis(8_640_000_000_000_000);
/// Looking for full rows visits all of them, so it is done at most this often.
const SWEEP: Millis = Millis::from_secs(1);

/// What a limiter is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Spend `cost` requests of every window if all of them admit it, else spend nothing. A cost of 0 only looks.
    #[serde(rename = "admit")]
    Admit {
        /// The client's name (`network::client_name`).
        #[serde(rename = "c")]
        client: String,
        /// The limits of the class that is asked for.
        #[serde(rename = "p")]
        policy: Policy,
        /// Requests to spend.
        #[serde(rename = "n")]
        cost: u32,
        /// Who asks, and what counts as unusual; `None` counts nothing. Holds that stand are kept either way.
        #[serde(rename = "w", default, skip_serializing_if = "Option::is_none")]
        watch: Option<(String, Watch)>,
    },
    /// Take back what was admitted, since the request was refused elsewhere: denied requests change no counter.
    #[serde(rename = "back")]
    Refund {
        /// As it was asked.
        #[serde(rename = "c")]
        client: String,
        /// As it was asked.
        #[serde(rename = "p")]
        policy: Policy,
        /// As it was asked.
        #[serde(rename = "n")]
        cost: u32,
        /// When it was admitted, as the reply said.
        #[serde(rename = "t")]
        at: Millis,
    },
    /// Use an id a single time. Repeating it with the same `by` is harmless.
    #[serde(rename = "once")]
    Once {
        /// What is used, at most [`MAX_ID`] bytes.
        #[serde(rename = "i")]
        id: String,
        /// When it would expire by itself, by the clock that also judges whether it has.
        #[serde(rename = "u")]
        until: Millis,
        /// The use, such as a request's id, at most [`MAX_ID`] bytes.
        #[serde(rename = "b")]
        by: String,
    },
    /// A credential of this client was refused. Counted each time: a call repeated after a failed write may count twice.
    #[serde(rename = "failed")]
    AuthFailed {
        /// The client's name.
        #[serde(rename = "c")]
        client: String,
        /// What counts as unusual.
        #[serde(rename = "w")]
        watch: Watch,
    },
    /// Lift a hold.
    #[serde(rename = "pardon")]
    Pardon {
        /// Of this client; `None`: of the network.
        #[serde(rename = "c")]
        client: Option<String>,
    },
}

/// What a limiter answers. `limits` are what the caller may see (see [`LimitStatus`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Spent.
    #[serde(rename = "ok")]
    Admitted {
        /// After spending.
        #[serde(rename = "l")]
        limits: Vec<LimitStatus>,
        /// When, for [`Command::Refund`].
        #[serde(rename = "t", default)]
        at: Millis,
        /// What an operator is to hear.
        #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
        alert: Option<Alert>,
    },
    /// Taken back.
    #[serde(rename = "back")]
    Refunded,
    /// Nothing was spent.
    #[serde(rename = "no")]
    Refused {
        /// A retry after exactly this long is admitted, and one a millisecond earlier is not, if nothing else is
        /// admitted meanwhile. At most the longest period among the windows.
        #[serde(rename = "t")]
        wait: Millis,
        /// As they stay.
        #[serde(rename = "l")]
        limits: Vec<LimitStatus>,
        /// The windows that refused.
        #[serde(rename = "v")]
        violated: Vec<LimitName>,
        /// Why the limits count at a quarter, if they do.
        #[serde(rename = "h", default, skip_serializing_if = "Option::is_none")]
        slowed: Option<Reason>,
        /// What an operator is to hear.
        #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
        alert: Option<Alert>,
    },
    /// The client is held off; nothing was spent or counted.
    #[serde(rename = "held")]
    Held {
        /// The hold ends after exactly this long.
        #[serde(rename = "t")]
        wait: Millis,
        /// Why.
        #[serde(rename = "h")]
        why: Reason,
        /// What an operator is to hear.
        #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
        alert: Option<Alert>,
    },
    /// Counted.
    #[serde(rename = "noted")]
    Noted {
        /// What an operator is to hear.
        #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
        alert: Option<Alert>,
    },
    /// The answer to [`Command::Once`].
    #[serde(rename = "once")]
    Once(Once),
    /// Nothing is held any more; was there a hold?
    #[serde(rename = "pardoned")]
    Pardoned(bool),
    /// Nothing was spent, and waiting does not help: the cost is above a whole quota.
    #[serde(rename = "never")]
    TooCostly {
        /// The windows whose quota is too small.
        #[serde(rename = "v")]
        violated: Vec<LimitName>,
    },
}

/// The state of one network. The default is a network that nobody called from.
#[derive(Clone, Debug, Default)]
pub struct Limiter {
    /// By stored key; the rows shared beyond [`MAX_CLIENT_ROWS`] are among them.
    clients: BTreeMap<String, Row>,
    networks: BTreeMap<Class, Row>,
    watched: Watched,
    once: Ids,
    /// Keys of rows whose meaning depends on when they were loaded, and which are still to be stored as it was.
    repairs: BTreeSet<String>,
    /// The alarm asked for last.
    alarm: Option<Millis>,
    swept: Millis,
}

impl Machine for Limiter {
    type Command = Command;
    type Reply = Reply;

    /// Reads what is stored, as (key, value). An unreadable value counts as everything spent now.
    fn load(now: Millis, rows: Vec<(String, String)>) -> Self {
        let now = now.min(LATEST);
        let mut limiter = Self::default();
        for (key, value) in rows {
            if !limiter.load_row(now, &key, &value) {
                limiter.repairs.insert(key);
            }
        }
        limiter
    }

    /// Answers a command.
    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let now = now.min(LATEST);
        let mut effects = Effects::default();
        self.repair(&mut effects);
        let before = effects.writes.len();
        let reply = match command {
            Command::Admit {
                client,
                policy,
                cost,
                watch,
            } => self.guarded(now, &client, &policy, cost, watch, &mut effects),
            Command::Refund {
                client,
                policy,
                cost,
                at,
            } => {
                self.refund(now, &client, &policy, cost, at, &mut effects);
                Reply::Refunded
            }
            Command::Once { id, until, by } => {
                Reply::Once(self.once.take(now, id, until, by, &mut effects.writes))
            }
            Command::AuthFailed { client, watch } => {
                self.failed(now, &client, &watch, &mut effects)
            }
            Command::Pardon { client } => {
                let client = client.as_deref();
                Reply::Pardoned(self.watched.pardon(now, client, &mut effects.writes))
            }
        };
        if effects.writes.len() > before && effects.alarm.is_none() {
            let last = self.watched.last().max(self.once.last());
            if last > now {
                effects.alarm = self.alarm_by(now, last);
            }
        }
        (reply, effects)
    }

    /// The alarm rang: forgets what is full again, gives idle reservations back, and says when to look next.
    ///
    /// Harmless at any other time, and more than once.
    fn wake(&mut self, now: Millis) -> Effects {
        let now = now.min(LATEST);
        let mut effects = Effects::default();
        self.repair(&mut effects);
        self.sweep(now, &mut effects);
        let others_gone = self.watched.is_empty() && self.once.is_empty();
        if self.clients.is_empty() && self.networks.is_empty() && others_gone {
            *self = Self::default();
            return Effects {
                delete_all: true,
                ..Effects::default()
            };
        }
        // Settle on time; then look again when the last row is full, since one alarm then deletes them all.
        let mut settle_by: Option<Millis> = None;
        let mut full_by = self.watched.last().max(self.once.last());
        let clients = self.clients.iter_mut().map(|(key, row)| (key.clone(), row));
        let networks = self
            .networks
            .iter_mut()
            .map(|(class, row)| (network_key(*class), row));
        for (key, row) in clients.chain(networks) {
            if let Some(text) = row.settle(now) {
                effects.writes.push(put(key, text));
            }
            if row.is_unsettled() {
                settle_by = Some(settle_by.map_or(row.due(), |due| due.min(row.due())));
            }
            full_by = full_by.max(row.full_at());
        }
        let next = settle_by.unwrap_or(full_by).max(now.plus(Millis(1)));
        self.alarm = Some(next);
        effects.alarm = Some(next);
        effects
    }
}

impl Limiter {
    /// Reads a row; `false` when it must be stored again.
    fn load_row(&mut self, now: Millis, key: &str, value: &str) -> bool {
        for prefix in [watch::FAILURES, watch::PRINCIPALS, watch::HOLDS] {
            if let Some(rest) = key.strip_prefix(prefix) {
                return self.watched.load(prefix, rest, value);
            }
        }
        if let Some(id) = key.strip_prefix(once::PREFIX) {
            return self.once.load(now, id, value);
        }
        let (row, store_again) = Row::load(now, value);
        match key.strip_prefix("n ").and_then(Class::from_name) {
            Some(class) => self.networks.insert(class, row),
            None => self.clients.insert(key.to_owned(), row),
        };
        !store_again
    }

    /// Refuses whom a hold stands against, asks the limits, and counts who was admitted.
    fn guarded(
        &mut self,
        now: Millis,
        client: &str,
        policy: &Policy,
        cost: u32,
        watch: Option<(String, Watch)>,
        effects: &mut Effects,
    ) -> Reply {
        if let Some((wait, why)) = self.watched.client_hold(now, client) {
            let alert = self.watched.untold(now, client);
            return Reply::Held { wait, why, alert };
        }
        let mut reply = self.admit(now, client, policy, cost, effects);
        if let (Reply::Admitted { .. }, Some((principal, watch)), 1..) = (&reply, watch, cost) {
            self.watched
                .admitted(now, &principal, &watch, &mut effects.writes);
        }
        if let Reply::Admitted { alert, .. } | Reply::Refused { alert, .. } = &mut reply {
            *alert = self.watched.untold(now, client);
        }
        reply
    }

    fn failed(&mut self, now: Millis, client: &str, watch: &Watch, effects: &mut Effects) -> Reply {
        let held = self.watched.client_hold(now, client);
        if held.is_none() {
            self.watched.failed(now, client, watch, &mut effects.writes);
        }
        let alert = self.watched.untold(now, client);
        match held.or_else(|| self.watched.client_hold(now, client)) {
            Some((wait, why)) => Reply::Held { wait, why, alert },
            None => Reply::Noted { alert },
        }
    }

    fn admit(
        &mut self,
        now: Millis,
        client: &str,
        policy: &Policy,
        cost: u32,
        effects: &mut Effects,
    ) -> Reply {
        let slow = self.watched.network_hold(now);
        let asked = &slow.map_or(*policy, |_| quarter(policy));
        let (own, shared) = windows(asked);
        // 1. Find the client's row and the network's.
        let key = self.client_key(now, policy.class, client, effects);
        let stored = self.clients.remove(&key);
        let mut keep = stored.is_some();
        let mut row = stored.unwrap_or_else(|| self.newcomer(policy.class));
        let network = self.networks.entry(policy.class).or_default();
        // 2. Ask all windows before any is spent.
        let held = slow.and_then(|hold| slowed(now, policy, &row, network, cost, hold));
        let (refusal, answers) = match held {
            Some(refusal) => (Some(refusal), None),
            None => {
                let mine = row.ask(now, own, cost);
                let ours = network.ask(now, shared, cost);
                let refusal = refuse(now, asked, &row, &mine, &ours);
                (refusal, Some((mine, ours)))
            }
        };
        // 3. Spend all of them, or none.
        if let (None, Some((mine, ours))) = (&refusal, &answers) {
            let network_key = network_key(policy.class);
            let spent = [
                (&key, row.spend(now, own, cost, mine), &row),
                (
                    &network_key,
                    network.spend(now, shared, cost, ours),
                    &*network,
                ),
            ];
            let mut due: Option<Millis> = None;
            for (key, text, row) in spent {
                if let Some(text) = text {
                    effects.writes.push(put(key.clone(), text));
                    due = Some(due.map_or(row.due(), |due| due.min(row.due())));
                }
            }
            effects.alarm = due.and_then(|due| self.alarm_by(now, due));
            keep |= cost > 0;
        }
        let reply = refusal.unwrap_or_else(|| Reply::Admitted {
            limits: row.status(now, &asked.burst, &asked.sustained),
            at: now,
            alert: None,
        });
        // 4. Keep the row; a client without one gets it by spending.
        if keep {
            self.clients.insert(key, row);
        }
        reply
    }

    fn refund(
        &mut self,
        now: Millis,
        client: &str,
        policy: &Policy,
        cost: u32,
        at: Millis,
        effects: &mut Effects,
    ) {
        let slow = self.watched.network_hold(now);
        let asked = &slow.map_or(*policy, |_| quarter(policy));
        let (own, shared) = windows(asked);
        // Of a client that had to share a row nothing is taken back: others spent from it too.
        let key = format!("c {} {client}", policy.class.as_str());
        if let Some(row) = self.clients.get_mut(&key) {
            effects
                .writes
                .push(put(key, row.refund(now, own, cost, at)));
        }
        if let Some(row) = self.networks.get_mut(&policy.class)
            && (shared.burst.is_some() || shared.sustained.is_some())
        {
            let text = row.refund(now, shared, cost, at);
            effects.writes.push(put(network_key(policy.class), text));
        }
    }

    /// Forgets every row that is full again.
    fn sweep(&mut self, now: Millis, effects: &mut Effects) {
        self.swept = now;
        self.watched.sweep(now, &mut effects.writes);
        self.once.sweep(now, &mut effects.writes);
        self.clients.retain(|key, row| {
            row.rebase(now);
            let keep = row.full_at() > now;
            if !keep {
                effects.writes.push(delete(key.clone()));
            }
            keep
        });
        self.networks.retain(|class, row| {
            row.rebase(now);
            let keep = row.full_at() > now;
            if !keep {
                effects.writes.push(delete(network_key(*class)));
            }
            keep
        });
    }

    /// The key of the client's own row, or of the shared one when there are too many rows.
    fn client_key(
        &mut self,
        now: Millis,
        class: Class,
        client: &str,
        effects: &mut Effects,
    ) -> String {
        let key = format!("c {} {client}", class.as_str());
        if self.clients.len() < MAX_CLIENT_ROWS || self.clients.contains_key(&key) {
            return key;
        }
        if now < self.swept || now.since(self.swept) >= SWEEP {
            self.sweep(now, effects);
        }
        if self.clients.len() < MAX_CLIENT_ROWS {
            return key;
        }
        shared_key(class)
    }

    /// A row for a client that has none. It may have spent from the shared row until now, so it starts with that.
    fn newcomer(&self, class: Class) -> Row {
        self.clients
            .get(&shared_key(class))
            .map_or_else(Row::default, Row::copy)
    }

    /// Stores what loading decided, so that the next load does not take it for freshly spent.
    fn repair(&mut self, effects: &mut Effects) {
        for key in std::mem::take(&mut self.repairs) {
            let value = if let Some(id) = key.strip_prefix(once::PREFIX) {
                self.once.store(id)
            } else {
                match key.strip_prefix("n ").and_then(Class::from_name) {
                    Some(class) => self.networks.get(&class),
                    None => self.clients.get(&key),
                }
                .map(Row::store)
            };
            effects.writes.push(Write { key, value });
        }
    }

    /// Asks for an alarm at `due` unless one stands before it. One in the past was missed.
    fn alarm_by(&mut self, now: Millis, due: Millis) -> Option<Millis> {
        if self.alarm.is_some_and(|alarm| now < alarm && alarm <= due) {
            return None;
        }
        self.alarm = Some(due);
        self.alarm
    }
}

fn put(key: String, text: String) -> Write {
    let value = Some(text);
    Write { key, value }
}

fn delete(key: String) -> Write {
    Write { key, value: None }
}

fn network_key(class: Class) -> String {
    format!("n {}", class.as_str())
}

fn shared_key(class: Class) -> String {
    format!("o {}", class.as_str())
}

/// The refusal, if any window refuses: the longest wait is when all of them admit.
fn refuse(now: Millis, policy: &Policy, row: &Row, mine: &Answer, ours: &Answer) -> Option<Reply> {
    let verdicts = [
        (LimitName::Burst, mine.burst, None),
        (LimitName::Sustained, mine.sustained, None),
        (LimitName::NetworkBurst, ours.burst, policy.network_burst),
        (
            LimitName::NetworkSustained,
            ours.sustained,
            policy.network_sustained,
        ),
    ];
    let never: Vec<_> = verdicts
        .iter()
        .filter(|(_, verdict, _)| *verdict == Verdict::Never)
        .map(|(name, _, _)| *name)
        .collect();
    if !never.is_empty() {
        return Some(Reply::TooCostly { violated: never });
    }
    let mut longest = None;
    let mut violated = Vec::new();
    let mut others = Vec::new();
    for (name, verdict, network) in verdicts {
        let Verdict::Wait(wait) = verdict else {
            continue;
        };
        longest = longest.max(Some(wait));
        violated.push(name);
        if let Some(window) = network {
            others.push(LimitStatus {
                name,
                quota: window.requests(),
                window: window.per(),
                remaining: 0,
                more: wait,
                full: wait,
            });
        }
    }
    let mut limits = row.status(now, &policy.burst, &policy.sustained);
    limits.append(&mut others);
    longest.map(|wait| Reply::Refused {
        wait,
        limits,
        violated,
        slowed: None,
        alert: None,
    })
}

/// The refusal while a slow-down lasts, if any window refuses. Only copies are asked, so that a refusal leaves the rows
/// as they are. Whoever would be admitted once the slow-down is over does not wait longer than that.
fn slowed(
    now: Millis,
    policy: &Policy,
    row: &Row,
    network: &Row,
    cost: u32,
    (rest, why): (Millis, Reason),
) -> Option<Reply> {
    let probe = |policy: &Policy| {
        let (own, shared) = windows(policy);
        let (mut row, mut network) = (row.copy(), network.copy());
        let mine = row.ask(now, own, cost);
        let ours = network.ask(now, shared, cost);
        refuse(now, policy, &row, &mine, &ours)
    };
    let refusal = probe(&quarter(policy))?;
    let after = match probe(policy) {
        None => rest,
        Some(Reply::Refused { wait, .. }) => wait.max(rest),
        Some(never) => return Some(never),
    };
    Some(match refusal {
        Reply::Refused {
            wait,
            limits,
            violated,
            alert,
            ..
        } => Reply::Refused {
            wait: wait.min(after),
            limits,
            violated,
            slowed: Some(why),
            alert,
        },
        Reply::TooCostly { violated } => Reply::Refused {
            wait: after,
            limits: Vec::new(),
            violated,
            slowed: Some(why),
            alert: None,
        },
        other => other,
    })
}

/// The windows of the client and of the network.
const fn windows(policy: &Policy) -> (Windows, Windows) {
    (
        Windows {
            burst: Some(policy.burst),
            sustained: Some(policy.sustained),
        },
        Windows {
            burst: policy.network_burst,
            sustained: policy.network_sustained,
        },
    )
}

/// Every limit at a quarter, and at least one request.
fn quarter(policy: &Policy) -> Policy {
    let less = |w: Window| Window::new((w.requests() / 4).max(1), w.per()).unwrap_or(w);
    Policy {
        class: policy.class,
        burst: less(policy.burst),
        sustained: less(policy.sustained),
        network_burst: policy.network_burst.map(less),
        network_sustained: policy.network_sustained.map(less),
    }
}

#[cfg(test)]
mod tests;
