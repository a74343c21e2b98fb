//! The contract between a pure machine and the Durable Object shell that keeps it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::time::Millis;

/// One row to write or to remove, before the reply leaves the object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The row's key.
    pub key: String,
    /// The new value; `None` removes the row.
    pub value: Option<String>,
}

/// What a step of a machine asks its shell to do. The shell persists `writes` before the reply leaves; if that fails
/// it drops the machine and reloads, so that memory never runs ahead of what is durable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Rows to write, in order.
    pub writes: Vec<Write>,
    /// When to call [`Machine::wake`] next; `None` leaves the alarm as it is.
    pub alarm: Option<Millis>,
    /// Nothing is worth keeping: remove every row and the alarm. Goes without `writes`.
    pub delete_all: bool,
}

impl Effects {
    /// These, and further rows to write.
    #[must_use]
    pub fn and(mut self, writes: impl IntoIterator<Item = Write>) -> Self {
        self.writes.extend(writes);
        self
    }

    /// These, and those of a later step.
    #[must_use]
    pub fn then(mut self, later: Self) -> Self {
        if later.delete_all {
            return later;
        }
        self.writes.extend(later.writes);
        Self {
            alarm: later.alarm.or(self.alarm),
            ..self
        }
    }

    /// What they mean, on rows in memory. Simulations and tests keep their rows by it; the shell does the same in storage.
    pub fn keep_in(self, rows: &mut BTreeMap<String, String>, alarm: &mut Option<Millis>) {
        if self.delete_all {
            debug_assert!(self.writes.is_empty(), "delete_all goes without writes");
            rows.clear();
            *alarm = None;
            return;
        }
        for write in self.writes {
            match write.value {
                Some(value) => rows.insert(write.key, value),
                None => rows.remove(&write.key),
            };
        }
        *alarm = self.alarm.or(*alarm);
    }
}

/// A synchronous state machine: atomicity is a fact of the signatures, since no await can stand between read and write.
pub trait Machine: Sized {
    /// What may be asked of it; limits and policies travel in the command, so a changed setting needs no restart.
    type Command: DeserializeOwned + Serialize;
    /// What it answers.
    type Reply: DeserializeOwned + Serialize;

    /// Rebuilds the machine from its rows.
    fn load(now: Millis, rows: Vec<(String, String)>) -> Self;

    /// Applies a command.
    fn apply(&mut self, now: Millis, command: Self::Command) -> (Self::Reply, Effects);

    /// Called by the alarm: expires what is due and says when to wake next.
    fn wake(&mut self, now: Millis) -> Effects;
}
