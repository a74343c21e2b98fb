//! What is unusual about a network, counted, and what is held back because of it.
//!
//! Two rules, each a count over ten minutes. More refused credentials of one client than its limit: that client is
//! held off. More different principals of one network than its limit: every limit in the network counts at a quarter.
//! A hold ends by itself or is pardoned; the count begins anew after it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{MAX_CLIENT_ROWS, Window, delete, put};
use crate::base::digest::{hex, sha256};
use crate::base::machine::Write;
use crate::base::time::Millis;
use crate::domain::limits::policy::Verdict;
use crate::domain::limits::window::{EXACT_QUOTA, Log};
use crate::domain::settings::config::Abuse;

/// Counts go back this far.
pub const PERIOD: Millis = Millis::from_secs(600);
/// Rows of refused credentials, of principals, and of holds.
pub(super) const FAILURES: &str = "f ";
pub(super) const PRINCIPALS: &str = "w ";
pub(super) const HOLDS: &str = "h ";
/// The hold of the whole network; a client's is `h c <client>`.
const NETWORK: &str = "n";

/// What counts as unusual. It travels in each command, so that a changed setting needs no restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Different principals of the network in [`PERIOD`]; 0: not watched. At most [`EXACT_QUOTA`].
    #[serde(rename = "p")]
    pub principals: u32,
    /// Refused credentials of one client in [`PERIOD`]; 0: not watched. At most [`EXACT_QUOTA`].
    #[serde(rename = "f")]
    pub failures: u32,
    /// How long a hold lasts; at most one day.
    #[serde(rename = "h")]
    pub hold: Millis,
}

impl Watch {
    /// The configured rules; `None` when they are not applied. Larger counts are taken as [`EXACT_QUOTA`].
    #[must_use]
    pub fn of(abuse: &Abuse) -> Option<Self> {
        abuse.enabled.then(|| Self {
            principals: abuse.principals_per_network.min(EXACT_QUOTA),
            failures: abuse.auth_failures.min(EXACT_QUOTA),
            hold: Millis::from_secs(abuse.hold_seconds).min(Window::MAX_PER),
        })
    }
}

/// Why something is held back. `Display` tells it in a sentence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// More than so many refused credentials in [`PERIOD`].
    #[serde(rename = "f")]
    AuthFailures(u32),
    /// More than so many different principals in [`PERIOD`].
    #[serde(rename = "p")]
    Principals(u32),
}

impl Reason {
    /// The rule's name, as in an alert's kind.
    #[must_use]
    pub const fn rule(self) -> &'static str {
        match self {
            Self::AuthFailures(_) => "auth-failures",
            Self::Principals(_) => "principals-per-network",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, what) = match self {
            Self::AuthFailures(count) => (count, "refused credentials"),
            Self::Principals(count) => (count, "different principals of one network"),
        };
        write!(f, "More than {count} {what} in ten minutes.")
    }
}

/// A hold that an operator is to hear of.
///
/// It stands in one reply, and once more after the object was loaded anew, as the first reply may have been lost:
/// whoever keeps alerts tells them apart by subject and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alert {
    /// The rule, and its limit.
    #[serde(rename = "y")]
    pub why: Reason,
    /// Is the whole network slowed down? Else the client is held off.
    #[serde(rename = "n")]
    pub network: bool,
    /// When the hold ends by itself.
    #[serde(rename = "u")]
    pub until: Millis,
}

#[derive(Clone, Copy, Debug)]
struct Hold {
    until: Millis,
    /// How long it was to last: a clock that goes back does not make it longer.
    length: Millis,
    why: Reason,
    told: bool,
}

/// Counts and holds of one network.
#[derive(Clone, Debug, Default)]
pub(super) struct Watched {
    /// Refused credentials by client.
    failures: BTreeMap<String, Log>,
    /// Principals by a part of their hash, with the time from which each counts.
    principals: BTreeMap<String, Millis>,
    /// By what follows the prefix.
    holds: BTreeMap<String, Hold>,
}

impl Watched {
    /// Reads a row, given the key behind the prefix; `false` when it is unreadable, and then it is left out.
    pub fn load(&mut self, prefix: &str, key: &str, text: &str) -> bool {
        let key = key.to_owned();
        match prefix {
            FAILURES => serde_json::from_str(text).map(|entries: Vec<(u64, u32)>| {
                let log = Log::load(Millis::ZERO, PERIOD, &entries, 0);
                self.failures.insert(key, log);
            }),
            PRINCIPALS => serde_json::from_str(text).map(|since| {
                self.principals.insert(key, since);
            }),
            _ => serde_json::from_str(text).map(|(until, length, why)| {
                let hold = Hold {
                    until,
                    length,
                    why,
                    told: false,
                };
                self.holds.insert(key, hold);
            }),
        }
        .is_ok()
    }

    /// The client's hold: how long it lasts yet, and why.
    pub fn client_hold(&mut self, now: Millis, client: &str) -> Option<(Millis, Reason)> {
        if self.holds.is_empty() {
            return None;
        }
        self.hold(now, &client_key(client))
    }

    /// The network's slow-down: how long it lasts yet, and why.
    pub fn network_hold(&mut self, now: Millis) -> Option<(Millis, Reason)> {
        self.hold(now, NETWORK)
    }

    fn hold(&mut self, now: Millis, key: &str) -> Option<(Millis, Reason)> {
        let hold = self.holds.get_mut(key)?;
        hold.until = hold.until.min(now.plus(hold.length));
        (hold.until > now).then(|| (hold.until.since(now), hold.why))
    }

    /// What an operator was not told yet about the client or its network.
    pub fn untold(&mut self, now: Millis, client: &str) -> Option<Alert> {
        if self.holds.is_empty() {
            return None;
        }
        for (key, network) in [(client_key(client), false), (NETWORK.to_owned(), true)] {
            if let Some(hold) = self.holds.get_mut(&key)
                && hold.until > now
                && !hold.told
            {
                hold.told = true;
                return Some(Alert {
                    why: hold.why,
                    network,
                    until: hold.until,
                });
            }
        }
        None
    }

    /// A credential of the client was refused. Not to be asked while the client is held off.
    ///
    /// A client beyond [`MAX_CLIENT_ROWS`] has no count of its own: all such clients share one, and when that is
    /// exceeded the network is slowed down rather than clients blocked that may have done nothing.
    pub fn failed(&mut self, now: Millis, client: &str, watch: &Watch, writes: &mut Vec<Write>) {
        let Some(window) = Window::new(watch.failures.min(EXACT_QUOTA), PERIOD) else {
            return;
        };
        let room = |len: usize| len < MAX_CLIENT_ROWS;
        let own = self.failures.contains_key(client) || room(self.failures.len());
        let name = if own { client } else { "" };
        let log = self.failures.entry(name.to_owned()).or_default();
        log.advance(now, &window);
        if log.decide(now, &window, 1) == Verdict::Admit {
            log.spend(now, &window, 1);
            let text = serde_json::to_string(&log.store().1).unwrap_or_default();
            writes.push(put(format!("{FAILURES}{name}"), text));
            return;
        }
        self.failures.remove(name);
        writes.push(delete(format!("{FAILURES}{name}")));
        let key = if own && room(self.holds.len()) {
            client_key(client)
        } else {
            NETWORK.to_owned()
        };
        self.begin(
            now,
            key,
            watch,
            Reason::AuthFailures(watch.failures),
            writes,
        );
    }

    /// A request of this principal was admitted. A principal counts for [`PERIOD`] from the request that made it
    /// count, and again from its next request after that: one write for each principal and period.
    pub fn admitted(
        &mut self,
        now: Millis,
        principal: &str,
        watch: &Watch,
        writes: &mut Vec<Write>,
    ) {
        if watch.principals == 0 || self.network_hold(now).is_some() {
            return;
        }
        let digest = sha256(principal.as_bytes());
        // 64 bits: two of a thousand principals share them about once in 10^13 networks.
        let key = hex(digest.first_chunk::<8>().unwrap_or(&[0; 8]));
        let counts = |since: Millis| since.plus(PERIOD) > now;
        if self
            .principals
            .get(&key)
            .is_some_and(|since| counts(*since))
        {
            return;
        }
        self.rebase_principals(now);
        self.forget_principals(writes, |since| !counts(since));
        let limit = usize::try_from(watch.principals.min(EXACT_QUOTA)).unwrap_or(usize::MAX);
        if self.principals.len() >= limit {
            self.forget_principals(writes, |_| true);
            let why = Reason::Principals(watch.principals);
            self.begin(now, NETWORK.to_owned(), watch, why, writes);
            return;
        }
        writes.push(put(format!("{PRINCIPALS}{key}"), now.0.to_string()));
        self.principals.insert(key, now);
    }

    /// Moves to now what lies in the future (the clock went back).
    fn rebase_principals(&mut self, now: Millis) {
        for since in self.principals.values_mut() {
            *since = now.min(*since);
        }
    }

    fn forget_principals(&mut self, writes: &mut Vec<Write>, gone: impl Fn(Millis) -> bool) {
        self.principals.retain(|key, since| {
            let gone = gone(*since);
            if gone {
                writes.push(delete(format!("{PRINCIPALS}{key}")));
            }
            !gone
        });
    }

    fn begin(
        &mut self,
        now: Millis,
        key: String,
        watch: &Watch,
        why: Reason,
        writes: &mut Vec<Write>,
    ) {
        let length = watch.hold.min(Window::MAX_PER);
        let until = now.plus(length);
        let text = serde_json::to_string(&(until, length, why)).unwrap_or_default();
        writes.push(put(format!("{HOLDS}{key}"), text));
        let hold = Hold {
            until,
            length,
            why,
            told: false,
        };
        self.holds.insert(key, hold);
    }

    /// Lifts the hold of a client, or of the network, and begins its count anew. Was there one?
    pub fn pardon(&mut self, now: Millis, client: Option<&str>, writes: &mut Vec<Write>) -> bool {
        let key = client.map_or(NETWORK.to_owned(), client_key);
        match client {
            Some(client) => {
                if self.failures.remove(client).is_some() {
                    writes.push(delete(format!("{FAILURES}{client}")));
                }
            }
            None => self.forget_principals(writes, |_| true),
        }
        let held = self.hold(now, &key).is_some();
        if self.holds.remove(&key).is_some() {
            writes.push(delete(format!("{HOLDS}{key}")));
        }
        held
    }

    /// Forgets what counts no longer and what has ended.
    pub fn sweep(&mut self, now: Millis, writes: &mut Vec<Write>) {
        self.failures.retain(|client, log| {
            log.rebase(now);
            let keep = log.full_at() > now;
            if !keep {
                writes.push(delete(format!("{FAILURES}{client}")));
            }
            keep
        });
        self.rebase_principals(now);
        self.forget_principals(writes, |since| since.plus(PERIOD) <= now);
        self.holds.retain(|key, hold| {
            hold.until = hold.until.min(now.plus(hold.length));
            let keep = hold.until > now;
            if !keep {
                writes.push(delete(format!("{HOLDS}{key}")));
            }
            keep
        });
    }

    /// When the last of it ends; zero when there is none.
    pub fn last(&self) -> Millis {
        let failures = self.failures.values().map(Log::full_at);
        let principals = self.principals.values().map(|since| since.plus(PERIOD));
        let holds = self.holds.values().map(|hold| hold.until);
        failures
            .chain(principals)
            .chain(holds)
            .max()
            .unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.failures.is_empty() && self.principals.is_empty() && self.holds.is_empty()
    }
}

fn client_key(client: &str) -> String {
    format!("c {client}")
}
