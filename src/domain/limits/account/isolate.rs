//! What an isolate remembers of the accounts that it asked, so that most requests need no hop.
//!
//! Nothing here can admit what the account has not counted: a lease was charged when it was granted, at its end. A lost
//! isolate loses its leases, and they stay spent.

use std::collections::{BTreeMap, HashMap};

use super::command::{Reply, Want};
use super::limits::Limits;
use super::machine::{LEASE, MAX_LEASE};
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, LimitName, LimitStatus};

/// Most accounts remembered; the one that was not asked for longest goes out.
pub const MAX_ACCOUNTS: usize = 1000;
/// Most calls in flight to one account's object; more are shed here, and other objects do not notice.
pub const MAX_IN_FLIGHT: u32 = 64;
/// A refusal that a settlement, a free place or a pardon may end sooner is remembered no longer than this.
const BRIEF: Millis = Millis::from_secs(1);

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken from a lease: admitted. There is nothing to settle or to release ([`Isolate::give_back`]).
    Leased,
    /// It was refused a moment ago, and would be again.
    Refused(Reply),
    /// Ask the account, for so many requests ahead, and then call [`Isolate::heard`], whatever came of it.
    Ask {
        /// [`super::Take::ahead`]
        ahead: u32,
    },
    /// Too many calls to this account are under way.
    Shed,
}

/// The memory of one isolate.
#[derive(Debug, Default)]
pub struct Isolate {
    accounts: HashMap<String, Known>,
    /// Counts the questions, to find the account that was not asked for longest.
    turn: u64,
}

#[derive(Debug, Default)]
struct Known {
    turn: u64,
    in_flight: u32,
    /// One for each class that was asked for.
    classes: BTreeMap<Class, Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Under other limits nothing of this holds.
    limits: Limits,
    lease: Option<Lease>,
    denial: Option<Denial>,
    /// The present second since the epoch, requests in it, and in the one before.
    second: u64,
    count: u32,
    before: u32,
}

#[derive(Debug)]
struct Lease {
    left: u32,
    from: Millis,
}

#[derive(Debug)]
struct Denial {
    want: Want,
    from: Millis,
    until: Millis,
    reply: Reply,
}

impl Isolate {
    /// What to do with a request to an account.
    pub fn ask(&mut self, now: Millis, account: &str, want: &Want, limits: &Limits) -> Answer {
        let Some(known) = self.known(account) else {
            return Answer::Shed;
        };
        let memory = known.memory(want.class, limits);
        memory.count(now, want.requests);
        if limits.is_of_requests_alone() && memory.draw(now, want.requests) {
            return Answer::Leased;
        }
        if let Some(reply) = memory.denied(now, want) {
            return Answer::Refused(reply);
        }
        let demand = memory.count.max(memory.before);
        let ahead = demand.saturating_sub(want.requests).min(MAX_LEASE);
        if known.in_flight >= MAX_IN_FLIGHT {
            return Answer::Shed;
        }
        known.in_flight = known.in_flight.saturating_add(1);
        Answer::Ask { ahead }
    }

    /// What the account said to the question of `asked`; `None` when it did not answer.
    ///
    /// A lease and a refusal count from the question: a lease ends no later
    /// than the account counts it, whatever the two clocks say, and a refusal is not remembered too long.
    pub fn heard(
        &mut self,
        asked: Millis,
        account: &str,
        want: &Want,
        limits: &Limits,
        reply: Option<&Reply>,
    ) {
        let Some(known) = self.accounts.get_mut(account) else {
            return;
        };
        known.in_flight = known.in_flight.saturating_sub(1);
        let memory = known.memory(want.class, limits);
        match reply {
            Some(Reply::Taken { lease, .. }) => {
                memory.denial = None;
                if let Some((left, _)) = lease {
                    memory.keep(asked, *left);
                }
            }
            Some(reply @ Reply::Refused { .. }) => memory.denial = Denial::of(asked, want, reply),
            _ => {}
        }
    }

    /// A request that was taken from a lease was refused elsewhere, or never made.
    pub fn give_back(&mut self, now: Millis, account: &str, want: &Want, limits: &Limits) {
        if let Some(known) = self.accounts.get_mut(account) {
            let lease = known.memory(want.class, limits).lease.as_mut();
            if let Some(lease) = lease.filter(|lease| lease.holds(now)) {
                lease.left = lease.left.saturating_add(want.requests);
            }
        }
    }

    /// The account's memory; `None` when there is no room for it.
    fn known(&mut self, account: &str) -> Option<&mut Known> {
        self.turn = self.turn.saturating_add(1);
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(account) {
            // One with calls in flight stays: their number would be lost.
            let idle = self
                .accounts
                .iter()
                .filter(|(_, known)| known.in_flight == 0);
            let oldest = idle.min_by_key(|(_, known)| known.turn)?.0.clone();
            self.accounts.remove(&oldest);
        }
        let known = self.accounts.entry(account.to_owned()).or_default();
        known.turn = self.turn;
        Some(known)
    }
}

impl Known {
    /// The class's memory; it begins anew under other limits.
    fn memory(&mut self, class: Class, limits: &Limits) -> &mut Memory {
        let memory = self.classes.entry(class).or_default();
        if memory.limits != *limits {
            memory.limits = *limits;
            memory.lease = None;
            memory.denial = None;
        }
        memory
    }
}

impl Memory {
    fn count(&mut self, now: Millis, requests: u32) {
        let second = now.secs();
        if second != self.second {
            let next = second == self.second.saturating_add(1);
            self.before = if next { self.count } else { 0 };
            self.count = 0;
            self.second = second;
        }
        self.count = self.count.saturating_add(requests);
    }

    /// Takes requests from the lease.
    fn draw(&mut self, now: Millis, requests: u32) -> bool {
        let lease = self.lease.as_mut().filter(|lease| lease.holds(now));
        let left = lease
            .as_ref()
            .and_then(|lease| lease.left.checked_sub(requests));
        match (lease, left) {
            (Some(lease), Some(left)) => {
                lease.left = left;
                true
            }
            _ => false,
        }
    }

    /// Of two leases the later one stays, with the requests of its own alone: those of the earlier end sooner.
    fn keep(&mut self, asked: Millis, left: u32) {
        let later = self.lease.as_ref().is_none_or(|lease| lease.from <= asked);
        if later {
            self.lease = Some(Lease { left, from: asked });
        }
    }

    /// The refusal that still stands, as it reads now.
    fn denied(&self, now: Millis, want: &Want) -> Option<Reply> {
        let denial = self.denial.as_ref()?;
        let stands = denial.from <= now && now < denial.until && at_least(want, &denial.want);
        let Reply::Refused {
            wait,
            forever,
            why,
            status,
            ..
        } = &denial.reply
        else {
            return None;
        };
        let passed = now.since(denial.from);
        stands.then(|| Reply::Refused {
            wait: wait.since(passed),
            forever: *forever,
            why: why.clone(),
            status: status
                .iter()
                .map(|limit| LimitStatus {
                    more: limit.more.since(passed),
                    full: limit.full.since(passed),
                    ..*limit
                })
                .collect(),
            alerts: Vec::new(),
        })
    }
}

impl Lease {
    fn holds(&self, now: Millis) -> bool {
        self.from <= now && now < self.from.plus(LEASE)
    }
}

impl Denial {
    /// A refusal to remember. Of places and reservations nobody knows when they are free.
    fn of(asked: Millis, want: &Want, reply: &Reply) -> Option<Self> {
        let Reply::Refused {
            wait, forever, why, ..
        } = reply
        else {
            return None;
        };
        let one_of = |names: &[LimitName]| why.iter().any(|name| names.contains(name));
        if one_of(&[LimitName::Concurrent, LimitName::Overload]) {
            return None;
        }
        let rates = why
            .iter()
            .all(|name| matches!(name, LimitName::Burst | LimitName::Sustained));
        let lasts = match (forever, rates) {
            (true, _) => BRIEF,
            (false, true) => *wait,
            (false, false) => BRIEF.min(*wait),
        };
        Some(Self {
            want: *want,
            from: asked,
            until: asked.plus(lasts),
            reply: reply.clone(),
        })
    }
}

/// Does a request need at least what another one did?
fn at_least(want: &Want, other: &Want) -> bool {
    want.requests >= other.requests
        && want.tokens >= other.tokens
        && want.micros >= other.micros
        && want.place >= other.place
}
