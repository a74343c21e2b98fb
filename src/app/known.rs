//! What an isolate remembers of one tenant between requests: its rules, its unlocked keyring, records of API keys, and
//! leases. None of it is older than [`FRESH`] when something is decided by it.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::uses::Due;
use crate::base::time::Millis;
use crate::domain::identity::key_record::View;
use crate::domain::keyring::Opened;
use crate::domain::limits::account::Isolate;
use crate::domain::limits::rules::Snapshot;

/// How old rules and records may be: what an operator changes is in force everywhere after 1 s.
pub const FRESH: Millis = Millis::from_secs(1);
/// Records of API keys that are remembered; beyond it all are forgotten and read again.
const MAX_KEYS: usize = 1000;

/// An isolate's memory of one tenant.
#[derive(Default)]
pub struct Known {
    rules: Option<(Millis, Rc<Snapshot>)>,
    /// The unlocked keyring.
    pub ring: Option<Rc<Opened>>,
    /// A newer keyring, by its revision, that could not be opened: until then `ring` goes on.
    pub ring_kept: Option<(u64, Millis)>,
    keys: BTreeMap<String, (Millis, String, Rc<View>)>,
    /// What is left to do for the record of API keys, once the answer is on its way.
    pub due: Vec<Due>,
    /// Leases, denials, and how many calls wait for each object.
    pub accounts: Isolate,
}

impl Known {
    /// The rules, if they are fresh.
    #[must_use]
    pub fn rules(&self, now: Millis) -> Option<Rc<Snapshot>> {
        let (at, rules) = self.rules.as_ref()?;
        is_fresh(*at, now).then(|| Rc::clone(rules))
    }

    /// The rules, however old they are.
    #[must_use]
    pub fn last_rules(&self) -> Option<Rc<Snapshot>> {
        self.rules.as_ref().map(|(_, rules)| Rc::clone(rules))
    }

    /// Remembers rules that were read at `at`, the time before they were asked for.
    pub fn set_rules(&mut self, at: Millis, rules: Rc<Snapshot>) {
        self.rules = Some((at, rules));
    }

    /// The record of an API key that was opened by a secret of that hash, if it is fresh.
    #[must_use]
    pub fn key(&self, id: &str, hash: &str, now: Millis) -> Option<Rc<View>> {
        let (at, opened_by, view) = self.keys.get(id)?;
        (is_fresh(*at, now) && opened_by == hash).then(|| Rc::clone(view))
    }

    /// Remembers the record of an API key.
    pub fn set_key(&mut self, at: Millis, hash: String, view: Rc<View>) {
        if self.keys.len() >= MAX_KEYS {
            self.keys.clear();
        }
        self.keys.insert(view.id.clone(), (at, hash, view));
    }

    /// Forgets the record of an API key: it was just changed here.
    pub fn forget_key(&mut self, id: &str) {
        self.keys.remove(id);
    }

    /// Forgets the rules: they were just changed here.
    pub fn forget_rules(&mut self) {
        if let Some((at, _)) = &mut self.rules {
            *at = Millis::ZERO;
        }
    }
}

/// A clock that went back makes nothing fresh.
fn is_fresh(at: Millis, now: Millis) -> bool {
    now >= at && now.since(at) < FRESH
}
