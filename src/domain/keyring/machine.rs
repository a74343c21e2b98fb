//! The keyring's machine: it orders changes, stores them as rows, and never sees a key.

use serde::{Deserialize, Serialize};

use super::change::{change, next_expiry, tidy};
use super::command::{Command, Refusal, Reply};
use super::ring::Ring;
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

/// The machine.
pub struct Keyring {
    ring: Ring,
    broken: bool,
}

impl Machine for Keyring {
    type Command = Command;
    type Reply = Reply;

    fn load(_now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut ring = Ring::default();
        let mut read = true;
        for (key, value) in &rows {
            let Some(name) = key.strip_prefix("ring/") else {
                continue;
            };
            read &= add_row(&mut ring, name, value);
        }
        sort(&mut ring);
        let broken = !read || !ring.is_sound();
        Self { ring, broken }
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        if self.broken {
            return (Reply::Refused(Refusal::Broken), Effects::default());
        }
        let empty = self.ring.revision == 0;
        let init = matches!(command, Command::Init { .. });
        match command {
            Command::Load { .. } if empty => return (Reply::Empty, Effects::default()),
            Command::Load { known } if known == self.ring.revision => {
                return (Reply::Unchanged, Effects::default());
            }
            Command::Load { .. } => return (self.all(), Effects::default()),
            Command::Init { .. } if !empty => return (self.all(), Effects::default()),
            _ if empty && !init => return (Reply::Refused(Refusal::Empty), Effects::default()),
            _ => {}
        }
        let mut next = self.ring.clone();
        if let Err(stop) = change(&mut next, now, command) {
            return (stop, Effects::default());
        }
        let (changed, effects) = self.take(next, now);
        let revision = self.ring.revision;
        let reply = if init {
            self.all()
        } else {
            Reply::Done { revision, changed }
        };
        (reply, effects)
    }

    fn wake(&mut self, now: Millis) -> Effects {
        if self.broken {
            return Effects::default();
        }
        let (_, mut effects) = self.take(self.ring.clone(), now);
        effects.alarm = next_expiry(&self.ring);
        effects
    }
}

impl Keyring {
    fn all(&self) -> Reply {
        Reply::Loaded(Box::new(self.ring.clone()))
    }

    /// Takes the next state, tidied; says whether it differs, and what to write.
    fn take(&mut self, mut next: Ring, now: Millis) -> (bool, Effects) {
        tidy(&mut next, now);
        sort(&mut next);
        if next == self.ring {
            return (false, Effects::default());
        }
        next.revision = next.revision.saturating_add(1);
        let writes = difference(&rows(&self.ring), rows(&next));
        let alarm = next_expiry(&next).filter(|at| next_expiry(&self.ring) != Some(*at));
        self.ring = next;
        let effects = Effects {
            writes,
            alarm,
            delete_all: false,
        };
        (true, effects)
    }
}

// === rows ===

/// Every row: `ring/meta`, `ring/v/<n>`, `ring/d/<id>`, `ring/p/<name>`.
fn rows(ring: &Ring) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    if ring.revision > 0 {
        add(
            "meta",
            "",
            &(ring.revision, ring.floor, ring.raise_to),
            &mut rows,
        );
    }
    for version in &ring.versions {
        add("v/", &version.n.to_string(), version, &mut rows);
    }
    for key in &ring.data {
        add("d/", &key.id, key, &mut rows);
    }
    for provider in &ring.providers {
        add("p/", &provider.name, provider, &mut rows);
    }
    rows
}

fn add(kind: &str, name: &str, value: &impl Serialize, rows: &mut Vec<(String, String)>) {
    let key = ["ring/", kind, name].concat();
    rows.push((key, serde_json::to_string(value).unwrap_or_default()));
}

/// Reads one row into the ring; `false` when it is not one that this machine writes.
fn add_row(ring: &mut Ring, name: &str, value: &str) -> bool {
    fn read<T: for<'a> Deserialize<'a>>(value: &str, into: &mut Vec<T>) -> bool {
        serde_json::from_str(value)
            .map(|item| into.push(item))
            .is_ok()
    }
    match name.split_once('/') {
        None if name == "meta" => serde_json::from_str(value)
            .map(|meta| (ring.revision, ring.floor, ring.raise_to) = meta)
            .is_ok(),
        Some(("v", _)) => read(value, &mut ring.versions),
        Some(("d", _)) => read(value, &mut ring.data),
        Some(("p", _)) => read(value, &mut ring.providers),
        _ => false,
    }
}

/// What to write so that the first rows become the second.
fn difference(before: &[(String, String)], after: Vec<(String, String)>) -> Vec<Write> {
    let gone = before
        .iter()
        .filter(|(key, _)| after.iter().all(|(other, _)| other != key));
    let mut writes: Vec<Write> = gone
        .map(|(key, _)| Write {
            key: key.clone(),
            value: None,
        })
        .collect();
    let new = after.into_iter().filter(|row| !before.contains(row));
    writes.extend(new.map(|(key, value)| Write {
        key,
        value: Some(value),
    }));
    writes
}

/// The order in which the rows are read again, whatever order they were made in.
fn sort(ring: &mut Ring) {
    ring.versions.sort_by_key(|version| version.n);
    ring.data
        .sort_by(|a, b| (a.created, &a.id).cmp(&(b.created, &b.id)));
    ring.providers.sort_by(|a, b| a.name.cmp(&b.name));
}
