//! Events that leave a machine with the change that they tell of, in one transaction.
//!
//! [`Audited`] stands around a machine: what a command changed and the event that tells of it are written together, so
//! that neither can be without the other. The events wait in rows until whoever takes them elsewhere says so.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::machine::{Effects, Machine, Write};
use super::time::Millis;

/// The most events that wait. A command whose event would be one more is refused: nothing goes unrecorded.
pub const MAX_PENDING: usize = 10_000;

/// Whoever offers events is told of those that wait once in this time: 60 s × 1,000 ms.
const REMIND: u64 = 60_000; // ms

const ROW_PREFIX: &str = "out/";

/// What a machine's reply means to the record.
pub trait Told {
    /// The code of a refusal that belongs on record; `None` for success, and for what nobody needs to know of.
    fn refused(&self) -> Option<&str>;

    /// The event to keep, made of the one that was offered; `None`: nothing belongs on record.
    fn takes(&self, _offered: &str) -> Option<String> {
        None
    }
}

/// A command to the machine inside, or about the events that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command<C> {
    /// Applies a command.
    #[serde(rename = "do")]
    Do {
        /// The event, as a text that is not looked into; `None` for a command that is not recorded.
        event: Option<String>,
        /// Unique to the event: the same again is the same event.
        event_id: String,
        /// An event that is kept if the machine says so, and as it says: [`Told::takes`]. It is kept whatever waits: a
        /// machine that takes events bounds their number by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offer: Option<String>,
        /// For the machine inside.
        command: C,
    },
    /// About the events that wait.
    #[serde(rename = "out")]
    Out(Drain),
}

/// About the events that wait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drain {
    /// Which wait? At most so many, the oldest first.
    #[serde(rename = "pending")]
    Pending(u32),
    /// These have arrived where they belong, by event id.
    #[serde(rename = "ack")]
    Ack(Vec<String>),
}

/// What is answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<R> {
    /// The machine's reply.
    #[serde(rename = "done")]
    Done(R),
    /// The machine's reply to a command with an offer; events wait, and it was not told in the last minute.
    #[serde(rename = "waits")]
    Waits(R),
    /// Events wait: those asked for, or after [`Drain::Ack`] none.
    #[serde(rename = "out")]
    Out(Vec<Pending>),
    /// [`MAX_PENDING`] events wait. Nothing was done.
    #[serde(rename = "full")]
    Full,
}

/// An event that waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// As the command gave it.
    pub id: String,
    /// As the command gave it.
    pub event: String,
    /// The code of the refusal; `None` when the command was done.
    pub refused: Option<String>,
}

/// A machine whose changes are recorded.
///
/// * An event is kept when the command changed something, or when [`Told::refused`] says so. A read, and the repetition
///   of a command that had been done, leave none. One that was offered is kept when [`Told::takes`] says so.
/// * Rows: `out/<event id>`; all others are the machine's own.
#[derive(Debug)]
pub struct Audited<M> {
    machine: M,
    /// Keys of the machine's rows: while events wait, "remove everything" must spare theirs.
    keys: BTreeSet<String>,
    /// In the order of their arrival.
    pending: BTreeMap<u64, Pending>,
    places: BTreeMap<String, u64>,
    next: u64,
    /// When somebody was told that events wait. What they did about it may have failed, so that it is told again.
    reminded: Option<Millis>,
}

impl<M> Audited<M> {
    /// The machine inside, to look at.
    pub const fn inner(&self) -> &M {
        &self.machine
    }

    /// How many events wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    fn keep(&mut self, pending: Pending) -> Write {
        let place = self.next;
        self.next = place.saturating_add(1);
        let value = serde_json::to_string(&(place, &pending.event, &pending.refused));
        let key = row_key(&pending.id);
        self.places.insert(pending.id.clone(), place);
        self.pending.insert(place, pending);
        Write {
            key,
            value: Some(value.unwrap_or_default()),
        }
    }

    /// Is it time to tell that events wait?
    fn reminds(&mut self, now: Millis, new: bool) -> bool {
        let long_ago = |told: Millis| told.0.abs_diff(now.0) >= REMIND;
        let due = new || !self.pending.is_empty() && self.reminded.is_none_or(long_ago);
        if due {
            self.reminded = Some(now);
        }
        due
    }

    fn ack(&mut self, ids: &[String]) -> Effects {
        let mut effects = Effects::default();
        for id in ids {
            if let Some(place) = self.places.remove(id) {
                self.pending.remove(&place);
                effects.writes.push(Write {
                    key: row_key(id),
                    value: None,
                });
            }
        }
        effects
    }

    /// The machine's effects, such that no waiting event is lost by them.
    fn passed(&mut self, mut effects: Effects) -> Effects {
        if effects.delete_all {
            let keys = core::mem::take(&mut self.keys);
            if !self.pending.is_empty() {
                effects.delete_all = false;
                effects.writes = keys
                    .into_iter()
                    .map(|key| Write { key, value: None })
                    .collect();
            }
            return effects;
        }
        for write in &effects.writes {
            if write.value.is_some() {
                self.keys.insert(write.key.clone());
            } else {
                self.keys.remove(&write.key);
            }
        }
        effects
    }
}

fn row_key(id: &str) -> String {
    [ROW_PREFIX, id].concat()
}

/// The row of an event that waits in that place behind others: for rows that are put back from a snapshot.
#[must_use]
pub fn row_of(place: u64, id: &str, event: &str) -> (String, String) {
    let value = serde_json::to_string(&(place, event, None::<String>));
    (row_key(id), value.unwrap_or_default())
}

impl<M: Machine> Machine for Audited<M>
where
    M::Reply: Told,
{
    type Command = Command<M::Command>;
    type Reply = Reply<M::Reply>;

    fn load(now: Millis, rows: Vec<(String, String)>) -> Self {
        let (out, own): (Vec<_>, Vec<_>) = rows
            .into_iter()
            .partition(|(key, _)| key.starts_with(ROW_PREFIX));
        let mut pending = BTreeMap::new();
        let mut places = BTreeMap::new();
        for (key, value) in out {
            let id = key.strip_prefix(ROW_PREFIX).unwrap_or_default().to_owned();
            // A row that cannot be read is still an event: it must arrive, even if only as one that cannot be read.
            let (place, event, refused) =
                serde_json::from_str(&value).unwrap_or((u64::MAX / 2, value, None));
            places.insert(id.clone(), place);
            pending.insert(place, Pending { id, event, refused });
        }
        let next = pending
            .last_key_value()
            .map_or(0, |(place, _)| place.saturating_add(1));
        Self {
            keys: own.iter().map(|(key, _)| key.clone()).collect(),
            machine: M::load(now, own),
            pending,
            places,
            next,
            reminded: None,
        }
    }

    fn apply(&mut self, now: Millis, command: Self::Command) -> (Self::Reply, Effects) {
        let (event, id, offer, command) = match command {
            Command::Do {
                event,
                event_id,
                offer,
                command,
            } => (event, event_id, offer, command),
            Command::Out(Drain::Pending(limit)) => {
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let pending = self.pending.values().take(limit).cloned().collect();
                return (Reply::Out(pending), Effects::default());
            }
            Command::Out(Drain::Ack(ids)) => return (Reply::Out(Vec::new()), self.ack(&ids)),
        };
        let event = event.filter(|_| !self.places.contains_key(&id));
        if event.is_some() && self.pending.len() >= MAX_PENDING {
            return (Reply::Full, Effects::default());
        }
        let (reply, effects) = self.machine.apply(now, command);
        let refused = reply.refused().map(str::to_owned);
        let changed = effects.delete_all || !effects.writes.is_empty();
        let event = event.filter(|_| changed || refused.is_some());
        let offered = offer.is_some();
        let taken = offer
            .filter(|_| !self.places.contains_key(&id))
            .and_then(|offer| reply.takes(&offer));
        let event = event.or(taken);
        let new = event.is_some();
        let row = event.map(|event| self.keep(Pending { id, event, refused }));
        let effects = self.passed(effects).and(row);
        if offered && self.reminds(now, new) {
            (Reply::Waits(reply), effects)
        } else {
            (Reply::Done(reply), effects)
        }
    }

    fn wake(&mut self, now: Millis) -> Effects {
        let effects = self.machine.wake(now);
        self.passed(effects)
    }
}

#[cfg(test)]
mod tests;
