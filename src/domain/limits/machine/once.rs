//! What may be used a single time: answers of puzzles, tokens of a challenge.

use std::collections::BTreeMap;

use super::{delete, put};
use crate::base::machine::Write;
use crate::base::time::Millis;

/// Most ids that are remembered at a time; beyond this a new one is refused rather than an old one forgotten.
pub const MAX_ONCE: usize = 10_000;
/// Longest id, and longest name of a user, in bytes.
pub const MAX_ID: usize = 256;
/// The rows' prefix.
pub(super) const PREFIX: &str = "u ";

/// Whether an id was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Once {
    /// It was not, and now it is.
    Fresh,
    /// It was, or it has expired already, or it is longer than [`MAX_ID`].
    Seen,
    /// Nobody knows: [`MAX_ONCE`] others are remembered. Nothing was used; try again in a while.
    Full,
}

/// Ids in use, each until it would have expired by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    /// By id: until when, and who used it.
    used: BTreeMap<String, (Millis, String)>,
    /// No id ends before this time.
    earliest: Millis,
}

impl Ids {
    /// Reads a row; `false` when it is unreadable. Its id then counts as used for a day.
    pub fn load(&mut self, now: Millis, id: &str, text: &str) -> bool {
        let stored = serde_json::from_str(text);
        let readable = stored.is_ok();
        let lost = || (now.plus(super::Window::MAX_PER), String::new());
        let used = stored.unwrap_or_else(|_| lost());
        self.used.insert(id.to_owned(), used);
        readable
    }

    /// The row of an id.
    pub fn store(&self, id: &str) -> Option<String> {
        let used = self.used.get(id)?;
        serde_json::to_string(used).ok()
    }

    /// Uses an id. The same user may ask again and gets the same answer, since it may not have heard the first.
    pub fn take(
        &mut self,
        now: Millis,
        id: String,
        until: Millis,
        by: String,
        writes: &mut Vec<Write>,
    ) -> Once {
        if let Some((end, user)) = self.used.get(&id)
            && *end > now
        {
            return if *user == by { Once::Fresh } else { Once::Seen };
        }
        if until <= now || id.len() > MAX_ID || by.len() > MAX_ID {
            return Once::Seen;
        }
        if self.used.len() >= MAX_ONCE {
            if self.earliest > now {
                return Once::Full;
            }
            self.sweep(now, writes);
            if self.used.len() >= MAX_ONCE {
                return Once::Full;
            }
        }
        self.earliest = if self.used.is_empty() {
            until
        } else {
            self.earliest.min(until)
        };
        self.used.insert(id.clone(), (until, by));
        if let Some(text) = self.store(&id) {
            writes.push(put(format!("{PREFIX}{id}"), text));
        }
        Once::Fresh
    }

    /// Forgets what has expired.
    pub fn sweep(&mut self, now: Millis, writes: &mut Vec<Write>) {
        self.used.retain(|id, (until, _)| {
            let keep = *until > now;
            if !keep {
                writes.push(delete(format!("{PREFIX}{id}")));
            }
            keep
        });
        let ends = self.used.values().map(|(until, _)| *until);
        self.earliest = ends.min().unwrap_or_default();
    }

    /// When the last of them ends; zero when there is none.
    pub fn last(&self) -> Millis {
        let ends = self.used.values().map(|(until, _)| *until);
        ends.max().unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }
}
