//! How many calls a target serves at the same time: leases that expire, and a short queue of tickets before them.
//!
//! A call that finds no free lease draws a ticket, and asks again with the same id until it is its turn. Interactive
//! tickets stand before batch ones, and within a kind the oldest is first. A free lease is kept for those who stand
//! first, so that nobody overtakes them; who does not ask for [`PATIENCE`] has left.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;

/// A ticket that was not shown for so long drops out. Five times the longest wait between two questions.
pub const PATIENCE: Millis = Millis::from_secs(5);
/// Shortest and longest wait between two questions.
pub const POLL: (Millis, Millis) = (Millis(100), Millis::from_secs(1));
/// Shortest and longest wait that a shed call is told.
pub const SHED: (Millis, Millis) = (Millis::from_secs(1), Millis::from_secs(60));
/// The time that a call is thought to take until one was seen to end.
pub const UNKNOWN_SERVICE: Millis = Millis::from_secs(5);

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Somebody.
    Interactive,
    /// Nobody in particular.
    Batch,
}

/// What an asking call is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "turn", rename_all = "snake_case")]
pub enum Turn {
    /// It may begin. To be given back with the same id; asking again renews it.
    Granted {
        /// Then the lease expires.
        until: Millis,
    },
    /// It stands in the queue.
    Wait {
        /// Ask again after that.
        retry_in: Millis,
    },
    /// The queue is full.
    Shed {
        /// When there is likely room, from the recent time that calls took.
        retry_after: Millis,
    },
}

/// The limits of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Most leases at the same time.
    pub cap: u32,
    /// Most tickets.
    pub queue: u32,
    /// Before or behind the others.
    pub priority: Priority,
    /// The lease expires after that.
    pub ttl: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lease {
    #[serde(rename = "s")]
    since: Millis,
    #[serde(rename = "u")]
    until: Millis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Ticket {
    #[serde(rename = "p")]
    priority: Priority,
    #[serde(rename = "n")]
    number: u64,
    #[serde(rename = "a")]
    asked: Millis,
}

/// The mean time of recent calls, and when the last ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    #[serde(rename = "m")]
    mean: Millis,
    #[serde(rename = "a")]
    at: Millis,
}

const LEASE: &str = "lease/";
const TICKET: &str = "ticket/";
const SERVICE: &str = "service";

/// The leases and tickets of one target.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    leases: BTreeMap<String, Lease>,
    tickets: BTreeMap<String, Ticket>,
    service: Option<Service>,
    /// Keys of the rows that changed since they were last stored.
    changed: BTreeSet<String>,
}

impl Lanes {
    /// Asks for a lease, or whether it is this call's turn.
    pub fn acquire(&mut self, now: Millis, id: &str, ask: Ask) -> Turn {
        let until = now.plus(ask.ttl);
        if let Some(lease) = self.leases.get_mut(id) {
            lease.until = until;
            self.changed.insert(format!("{LEASE}{id}"));
            return Turn::Granted { until };
        }
        let mine = self.tickets.get(id).copied();
        let place = mine.map_or((ask.priority, u64::MAX), |t| (t.priority, t.number));
        let ahead = self
            .tickets
            .values()
            .filter(|t| (t.priority, t.number) < place)
            .count();
        let free = usize::try_from(ask.cap)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.leases.len());
        if ahead < free {
            self.drop_ticket(id);
            let lease = Lease { since: now, until };
            self.leases.insert(id.to_owned(), lease);
            self.changed.insert(format!("{LEASE}{id}"));
            return Turn::Granted { until };
        }
        if mine.is_none() && !self.make_room(ask) {
            let everybody = self.tickets.len().saturating_add(1);
            let retry_after = self.until_free(everybody, ask.cap).clamp(SHED.0, SHED.1);
            return Turn::Shed { retry_after };
        }
        let number = mine.map_or_else(|| self.next_number(), |ticket| ticket.number);
        let ticket = Ticket {
            priority: place.0,
            number,
            asked: now,
        };
        self.tickets.insert(id.to_owned(), ticket);
        self.changed.insert(format!("{TICKET}{id}"));
        let in_front = ahead.saturating_add(1);
        Turn::Wait {
            retry_in: self.until_free(in_front, ask.cap).clamp(POLL.0, POLL.1),
        }
    }

    /// Gives a lease or a ticket back; an unknown one is no error.
    pub fn release(&mut self, now: Millis, id: &str) {
        self.drop_ticket(id);
        let Some(lease) = self.leases.remove(id) else {
            return;
        };
        self.changed.insert(format!("{LEASE}{id}"));
        let took = now.since(lease.since);
        // The last call weighs an eighth.
        let mean = self.service.map_or(took, |service| {
            Millis(service.mean.0.saturating_mul(7).saturating_add(took.0) / 8)
        });
        self.service = Some(Service { mean, at: now });
        self.changed.insert(SERVICE.to_owned());
    }

    /// Drops what is over.
    pub fn expire(&mut self, now: Millis) {
        let Self {
            leases,
            tickets,
            changed,
            ..
        } = self;
        leases.retain(|id, lease| {
            let keep = now < lease.until;
            if !keep {
                changed.insert(format!("{LEASE}{id}"));
            }
            keep
        });
        tickets.retain(|id, ticket| {
            let keep = now < ticket.asked.plus(PATIENCE);
            if !keep {
                changed.insert(format!("{TICKET}{id}"));
            }
            keep
        });
    }

    /// A place in the queue for a newcomer: a free one, or for an interactive call that of the last batch ticket.
    fn make_room(&mut self, ask: Ask) -> bool {
        let queue = usize::try_from(ask.queue).unwrap_or(usize::MAX);
        if self.tickets.len() < queue {
            return true;
        }
        let last = self
            .tickets
            .iter()
            .max_by_key(|(_, t)| (t.priority, t.number));
        let Some((id, ticket)) = last else {
            return false;
        };
        let full = self.tickets.len() == queue;
        if !full || ask.priority >= ticket.priority {
            return false;
        }
        let id = id.clone();
        self.drop_ticket(&id);
        true
    }

    /// An estimate of when so many calls have had their turn.
    fn until_free(&self, calls: usize, cap: u32) -> Millis {
        let mean = self.service.map_or(UNKNOWN_SERVICE, |service| service.mean);
        let calls = u64::try_from(calls).unwrap_or(u64::MAX);
        let total = mean.0.saturating_mul(calls);
        Millis(total.div_ceil(u64::from(cap.max(1))))
    }

    fn next_number(&self) -> u64 {
        let last = self.tickets.values().map(|ticket| ticket.number).max();
        last.map_or(0, |last| last.saturating_add(1))
    }

    fn drop_ticket(&mut self, id: &str) {
        if self.tickets.remove(id).is_some() {
            self.changed.insert(format!("{TICKET}{id}"));
        }
    }

    // === Rows ===

    /// Takes a stored row; says whether it was one of these.
    pub fn load(&mut self, key: &str, value: &str) -> bool {
        if let Some(id) = key.strip_prefix(LEASE) {
            if let Ok(lease) = serde_json::from_str(value) {
                self.leases.insert(id.to_owned(), lease);
            }
        } else if let Some(id) = key.strip_prefix(TICKET) {
            if let Ok(ticket) = serde_json::from_str(value) {
                self.tickets.insert(id.to_owned(), ticket);
            }
        } else if key == SERVICE {
            self.service = serde_json::from_str(value).ok();
        } else {
            return false;
        }
        true
    }

    /// The rows that changed since the last time, with their new values.
    pub fn changes(&mut self) -> Vec<(String, Option<String>)> {
        let changed = std::mem::take(&mut self.changed);
        let value = |key: &str| {
            if let Some(id) = key.strip_prefix(LEASE) {
                self.leases
                    .get(id)
                    .and_then(|l| serde_json::to_string(l).ok())
            } else if let Some(id) = key.strip_prefix(TICKET) {
                self.tickets
                    .get(id)
                    .and_then(|t| serde_json::to_string(t).ok())
            } else {
                self.service.and_then(|s| serde_json::to_string(&s).ok())
            }
        };
        changed
            .into_iter()
            .map(|key| {
                let value = value(&key);
                (key, value)
            })
            .collect()
    }

    /// The time up to which anything of it is of use; `None` when there is nothing.
    #[must_use]
    pub fn used_until(&self) -> Option<Millis> {
        let leases = self.leases.values().map(|lease| lease.until);
        let tickets = self.tickets.values().map(|t| t.asked.plus(PATIENCE));
        leases
            .chain(tickets)
            .chain(self.service.map(|service| service.at))
            .max()
    }
}

#[cfg(test)]
mod tests {
    use super::{Ask, Lanes, PATIENCE, Priority, Turn};
    use crate::base::time::Millis;

    const ASK: Ask = Ask {
        cap: 2,
        queue: 2,
        priority: Priority::Interactive,
        ttl: Millis(60_000),
    };
    const BATCH: Ask = Ask {
        priority: Priority::Batch,
        ..ASK
    };

    fn granted(turn: Turn) -> bool {
        matches!(turn, Turn::Granted { .. })
    }

    fn waits(turn: Turn) -> bool {
        matches!(turn, Turn::Wait { .. })
    }

    fn shed(turn: Turn) -> bool {
        matches!(turn, Turn::Shed { .. })
    }

    #[test]
    fn the_cap_holds_the_queue_is_short_and_the_rest_is_shed() {
        let mut lanes = Lanes::default();
        let mut ask = |id| lanes.acquire(Millis(0), id, ASK);
        assert!(granted(ask("a")) && granted(ask("b")));
        assert!(waits(ask("c")) && waits(ask("d")));
        assert!(shed(ask("e")));
        assert!(granted(ask("a")), "asking again renews");
        assert!(waits(ask("c")), "asking again keeps the place");
    }

    #[test]
    fn interactive_goes_before_batch_and_the_oldest_first() {
        let ask = |lanes: &mut Lanes, id: &str, ask: Ask| {
            lanes.acquire(Millis(1), id, Ask { queue: 4, ..ask })
        };
        let mut lanes = Lanes::default();
        assert!(granted(ask(&mut lanes, "a", ASK)) && granted(ask(&mut lanes, "b", ASK)));
        for (id, kind) in [("c", BATCH), ("d", ASK), ("e", BATCH), ("f", ASK)] {
            assert!(waits(ask(&mut lanes, id, kind)));
        }
        for next in ["d", "f", "c", "e"] {
            let leaving = lanes.leases.keys().next().unwrap().clone();
            lanes.release(Millis(1), &leaving);
            for other in ["c", "d", "e", "f"].iter().filter(|id| **id != next) {
                if lanes.tickets.contains_key(*other) {
                    assert!(waits(ask(&mut lanes, other, ASK)), "{other} before {next}");
                }
            }
            // A newcomer does not overtake either: the queue has one place again.
            assert!(waits(ask(&mut lanes, "new", BATCH)) || lanes.tickets.len() == 4);
            lanes.release(Millis(1), "new");
            assert!(granted(ask(&mut lanes, next, ASK)), "{next}");
        }
    }

    #[test]
    fn an_interactive_call_takes_the_place_of_the_last_batch_ticket() {
        let mut lanes = Lanes::default();
        let mut ask = |id, kind| lanes.acquire(Millis(0), id, kind);
        assert!(granted(ask("a", BATCH)) && granted(ask("b", BATCH)));
        assert!(waits(ask("c", BATCH)) && waits(ask("d", BATCH)));
        assert!(waits(ask("e", ASK)));
        assert!(shed(ask("d", BATCH)), "the last one lost its place");
        assert!(waits(ask("c", BATCH)));
        assert!(waits(ask("f", ASK)));
        assert!(shed(ask("g", ASK)), "no batch ticket is left");
    }

    #[test]
    fn who_does_not_ask_any_more_drops_out_and_a_lease_expires() {
        let mut lanes = Lanes::default();
        for id in ["a", "b", "c", "d"] {
            lanes.acquire(Millis(0), id, ASK);
        }
        let later = Millis(PATIENCE.0 - 1);
        lanes.expire(later);
        assert!(waits(lanes.acquire(later, "d", ASK)));
        lanes.expire(PATIENCE);
        assert_eq!(lanes.tickets.keys().collect::<Vec<_>>(), ["d"]);
        lanes.release(PATIENCE, "a");
        assert!(granted(lanes.acquire(PATIENCE, "d", ASK)));
        lanes.expire(Millis(60_000));
        assert_eq!(lanes.leases.keys().collect::<Vec<_>>(), ["d"]);
    }

    #[test]
    fn a_shed_call_is_told_a_wait_from_what_calls_took_lately() {
        let mut lanes = Lanes::default();
        let told = |lanes: &mut Lanes| match lanes.acquire(
            Millis(0),
            "x",
            Ask {
                queue: 0,
                cap: 1,
                ..ASK
            },
        ) {
            Turn::Shed { retry_after } => retry_after,
            turn => panic!("{turn:?}"),
        };
        assert!(granted(lanes.acquire(Millis(0), "a", ASK)));
        assert_eq!(told(&mut lanes), Millis(5_000), "nothing is known yet");
        assert!(granted(lanes.acquire(Millis(0), "b", ASK)));
        lanes.release(Millis(8_000), "b");
        assert_eq!(told(&mut lanes), Millis(8_000));
        for (took, mean) in [(16_000, 9_000), (1_000, 8_000), (10_000_000, 60_000)] {
            assert!(granted(lanes.acquire(Millis(0), "b", ASK)));
            lanes.release(Millis(took), "b");
            assert_eq!(told(&mut lanes), Millis(mean));
        }
    }

    #[test]
    fn a_cap_of_nothing_sheds_all_and_a_lower_cap_holds_at_once() {
        let mut lanes = Lanes::default();
        let none = Ask {
            cap: 0,
            queue: 0,
            ..ASK
        };
        assert!(shed(lanes.acquire(Millis(0), "a", none)));
        assert!(granted(lanes.acquire(Millis(0), "a", ASK)));
        assert!(granted(lanes.acquire(Millis(0), "b", ASK)));
        let one = Ask { cap: 1, ..ASK };
        assert!(waits(lanes.acquire(Millis(0), "c", one)));
        lanes.release(Millis(0), "a");
        assert!(waits(lanes.acquire(Millis(0), "c", one)));
        lanes.release(Millis(0), "b");
        assert!(granted(lanes.acquire(Millis(0), "c", one)));
    }
}
