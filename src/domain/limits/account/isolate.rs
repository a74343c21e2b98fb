//! What an isolate remembers of the accounts that it asked, so that most requests need no hop.
//!
//! Nothing here can admit what the account has not counted: a lease was charged when it was granted, at its end. A lost
//! isolate loses its leases, and they stay spent.

use std::collections::{BTreeMap, HashMap, VecDeque};

use super::command::{Back, Reply, Want};
use super::limits::Limits;
use super::machine::{LEASE, MAX_LEASE};
use crate::base::time::Millis;
use crate::domain::limits::policy::{Class, LimitName, LimitStatus};

/// Most accounts remembered; the one that was not asked for longest goes out.
pub const MAX_ACCOUNTS: usize = 1000;
/// Most calls in flight to one account's object; more are shed here, and other objects do not notice.
pub const MAX_IN_FLIGHT: u32 = 64;
/// Most leases whose rest is kept to be given back.
const MAX_OVER: usize = 64;
/// A refusal that a settlement, a free place or a pardon may end sooner is remembered no longer than this.
const BRIEF: Millis = Millis::from_secs(1);

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It was taken from a lease: admitted. There is nothing to settle or to release ([`Isolate::give_back`]). With it
    /// the windows as the account told them last, and what is left of leases besides.
    Leased(Vec<LimitStatus>),
    /// It was refused a moment ago, and would be again.
    Refused(Reply),
    /// Ask the account, for so many requests ahead, and then call [`Isolate::heard`], whatever came of it.
    Ask {
        /// [`super::Take::ahead`]
        ahead: u32,
        /// [`super::Take::back`]
        back: Vec<Back>,
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
    /// One for each class that was asked for, and for what is asked: requests, or what a call holds until it is settled.
    /// The two are asked apart and under limits of their own.
    memories: BTreeMap<(Class, bool), Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Under other limits nothing of this holds.
    limits: Limits,
    /// In the order of their ends.
    leases: VecDeque<Lease>,
    /// Leases that are over, until the account is told what is left of them.
    over: Vec<Back>,
    /// Questions under way. While there are any, no further lease is asked for: what it held would lapse.
    asking: u32,
    denial: Option<Denial>,
    /// The windows as the account told them last, and when.
    status: Vec<LimitStatus>,
    told: Millis,
    /// The present second since the epoch, requests in it, and in the one before.
    second: u64,
    count: u32,
    before: u32,
}

#[derive(Debug)]
struct Lease {
    /// The call that it was granted with.
    id: String,
    granted: u32,
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
        let crowded = known.in_flight >= MAX_IN_FLIGHT;
        let memory = known.memory(want, limits);
        memory.count(now, want.requests);
        if limits.is_of_requests_alone() && memory.draw(now, want.requests) {
            return Answer::Leased(memory.seen(now));
        }
        if let Some(reply) = memory.denied(now, want) {
            return Answer::Refused(reply);
        }
        if crowded {
            return Answer::Shed;
        }
        let demand = memory.count.max(memory.before);
        let ahead = match memory.asking {
            0 => demand.saturating_sub(want.requests).min(MAX_LEASE),
            _ => 0,
        };
        memory.asking = memory.asking.saturating_add(1);
        let back = core::mem::take(&mut memory.over);
        known.in_flight = known.in_flight.saturating_add(1);
        Answer::Ask { ahead, back }
    }

    /// The refusal that is remembered, if one stands. It needs no question, and counts as none.
    pub fn denied(
        &mut self,
        now: Millis,
        account: &str,
        want: &Want,
        limits: &Limits,
    ) -> Option<Reply> {
        let memory = self.accounts.get_mut(account)?.memory(want, limits);
        memory.lapse(now);
        let leased = memory
            .leases
            .iter()
            .any(|lease| lease.left >= want.requests);
        if leased {
            return None;
        }
        memory.denied(now, want)
    }

    /// What the account said to the question of `asked`; `None` when it did not answer. Gives the windows as the caller may
    /// see them: what is leased ahead is not spent.
    ///
    /// A lease and a refusal count from the question: a lease ends no later
    /// than the account counts it, whatever the two clocks say, and a refusal is not remembered too long.
    pub fn heard(
        &mut self,
        asked: Millis,
        account: &str,
        id: &str,
        want: &Want,
        limits: &Limits,
        reply: Option<&Reply>,
    ) -> Vec<LimitStatus> {
        let Some(known) = self.accounts.get_mut(account) else {
            return Vec::new();
        };
        known.in_flight = known.in_flight.saturating_sub(1);
        let memory = known.memory(want, limits);
        memory.asking = memory.asking.saturating_sub(1);
        match reply {
            Some(Reply::Taken { lease, status, .. }) => {
                memory.denial = None;
                memory.status.clone_from(status);
                memory.told = asked;
                if let Some((left, _)) = lease {
                    memory.keep(asked, id, *left);
                }
            }
            Some(reply @ Reply::Refused { .. }) => memory.denial = Denial::of(asked, want, reply),
            _ => {}
        }
        memory.seen(asked)
    }

    /// A request that was taken from a lease was refused elsewhere, or never made.
    pub fn give_back(&mut self, now: Millis, account: &str, want: &Want, limits: &Limits) {
        if let Some(known) = self.accounts.get_mut(account) {
            let mut leases = known.memory(want, limits).leases.iter_mut();
            // The one that ends first: no request comes back later than its own lease ends.
            if let Some(lease) = leases.find(|lease| lease.holds(now)) {
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
    /// The memory of such a question; it begins anew under other limits.
    fn memory(&mut self, want: &Want, limits: &Limits) -> &mut Memory {
        let of = (want.class, want.requests > 0);
        let memory = self.memories.entry(of).or_default();
        if memory.limits != *limits {
            memory.end_all();
            *memory = Memory {
                limits: *limits,
                asking: memory.asking,
                over: core::mem::take(&mut memory.over),
                ..Memory::default()
            };
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

    /// Takes requests from the lease that ends first and has as many.
    fn draw(&mut self, now: Millis, requests: u32) -> bool {
        self.lapse(now);
        for lease in &mut self.leases {
            if let Some(left) = lease.left.checked_sub(requests) {
                lease.left = left;
                return true;
            }
        }
        false
    }

    /// Each lease is kept with its own end.
    fn keep(&mut self, asked: Millis, id: &str, left: u32) {
        let before = self.leases.partition_point(|lease| lease.from <= asked);
        let lease = Lease {
            id: id.to_owned(),
            granted: left,
            left,
            from: asked,
        };
        self.leases.insert(before, lease);
    }

    /// Nothing is drawn any more from leases whose time is over.
    fn lapse(&mut self, now: Millis) {
        let over = &mut self.over;
        self.leases.retain(|lease| {
            if !lease.holds(now) {
                over.push(lease.over());
            }
            lease.holds(now)
        });
        // An account forgets a lease, too: what was told of none for so long stays spent.
        let surplus = over.len().saturating_sub(MAX_OVER);
        over.drain(..surplus);
    }

    fn end_all(&mut self) {
        self.over
            .extend(self.leases.drain(..).map(|lease| lease.over()));
    }

    /// The windows as the account told them last, as they read now: what stands in leases was counted as spent there.
    fn seen(&self, now: Millis) -> Vec<LimitStatus> {
        let passed = now.since(self.told);
        let leased = self
            .leases
            .iter()
            .fold(0_u32, |sum, lease| sum.saturating_add(lease.left));
        let requests = |name| matches!(name, LimitName::Burst | LimitName::Sustained);
        let read = |limit: &LimitStatus| LimitStatus {
            remaining: match requests(limit.name) {
                true => limit.remaining.saturating_add(leased).min(limit.quota),
                false => limit.remaining,
            },
            more: limit.more.since(passed),
            full: limit.full.since(passed),
            ..*limit
        };
        self.status.iter().map(read).collect()
    }

    /// The refusal that still stands, as it reads now.
    fn denied(&self, now: Millis, want: &Want) -> Option<Reply> {
        let denial = self.denial.as_ref()?;
        // What comes back makes room.
        if self.over.iter().any(|lease| lease.unused > 0) {
            return None;
        }
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
    fn over(&self) -> Back {
        Back {
            id: self.id.clone(),
            used: self.granted.saturating_sub(self.left),
            unused: self.left,
        }
    }

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
