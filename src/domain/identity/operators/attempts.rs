//! Attempts to sign in: how many are free, and how long to wait for the next.
//!
//! An attempt is counted before anything about it is told. A refused one changes nothing, so that knocking on a closed
//! door does not keep it closed.

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;

/// Attempts that are free …
pub const FREE: usize = 5;
/// … within this time.
pub const WINDOW: Millis = Millis::from_secs(300);
/// Free attempts with keys that are not known, over all operators.
pub const FREE_UNKNOWN: usize = 20;
/// The first wait; each further attempt doubles it …
const FIRST_WAIT: Millis = Millis::from_secs(30);
/// … up to this: 1 h × 3600 s.
pub const LONGEST_WAIT: Millis = Millis::from_secs(3600);

/// The attempts of one kind. The default is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Attempts {
    /// The latest ones, oldest first; an empty id is one that was used up.
    #[serde(rename = "r")]
    recent: Vec<(String, Millis)>,
    /// How often the wait was doubled, plus one; 0: none yet.
    #[serde(rename = "l")]
    level: u32,
    /// Nothing is admitted before.
    #[serde(rename = "u")]
    until: Millis,
}

impl Attempts {
    /// What stands for a row that cannot be read: closed for the longest time.
    pub fn unreadable(now: Millis) -> Self {
        Self {
            recent: Vec::new(),
            level: 8,
            until: now.plus(LONGEST_WAIT),
        }
    }

    /// How long until the next is admitted; zero: now. A clock that went back makes nobody wait longer than the longest.
    pub fn wait(&self, now: Millis) -> Millis {
        self.until.since(now).min(LONGEST_WAIT)
    }

    /// Was this one admitted, and not used up?
    pub fn knows(&self, attempt: &str) -> bool {
        !attempt.is_empty() && self.recent.iter().any(|(known, _)| known == attempt)
    }

    /// Counts one, which [`Attempts::wait`] admits.
    pub fn count(&mut self, now: Millis, attempt: &str, free: usize) {
        if self.forgotten_at() <= now {
            *self = Self::default();
        }
        self.recent.retain(|(_, at)| now.since(*at) < WINDOW);
        self.recent.push((attempt.to_owned(), now));
        if self.level > 0 || self.recent.len() >= free {
            let doubled = FIRST_WAIT.0.checked_shl(self.level).unwrap_or(u64::MAX);
            self.until = now.plus(Millis(doubled).min(LONGEST_WAIT));
            self.level = self.level.saturating_add(1).min(16);
        }
        if let Some(extra) = self.recent.len().checked_sub(free) {
            self.recent.drain(..extra);
        }
    }

    /// Uses an admitted one up; it still counts. False when it was not admitted.
    pub fn use_up(&mut self, attempt: &str) -> bool {
        let known = self.knows(attempt);
        for (id, _) in &mut self.recent {
            if id == attempt {
                id.clear();
            }
        }
        known
    }

    /// When nothing of it matters any more: the longest wait after the last one, so that the doubling is not undone by
    /// waiting it out.
    pub fn forgotten_at(&self) -> Millis {
        let last = self.recent.last().map_or(Millis::ZERO, |(_, at)| *at);
        self.until.max(last.plus(WINDOW)).plus(LONGEST_WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::{Attempts, FREE, LONGEST_WAIT, WINDOW};
    use crate::base::time::Millis;

    const NOW: Millis = Millis(1_795_237_500_000);

    #[test]
    fn five_are_free_then_the_wait_doubles_up_to_an_hour() {
        let mut attempts = Attempts::default();
        let mut now = NOW;
        for i in 0..FREE {
            assert_eq!(attempts.wait(now), Millis::ZERO);
            attempts.count(now, &format!("a{i}"), FREE);
        }
        for expected in [30, 60, 120, 240, 480, 960, 1920, 3600, 3600] {
            let wait = attempts.wait(now);
            assert_eq!(wait, Millis::from_secs(expected));
            now = now.plus(wait);
            assert_eq!(attempts.wait(now), Millis::ZERO);
            attempts.count(now, "more", FREE);
        }
    }

    #[test]
    fn slow_attempts_are_free_and_an_hour_of_quiet_resets() {
        let mut attempts = Attempts::default();
        let mut now = NOW;
        for _ in 0..40 {
            assert_eq!(attempts.wait(now), Millis::ZERO);
            attempts.count(now, "a", FREE);
            now = now.plus(Millis(WINDOW.0 / 4));
        }
        for _ in 0..4 {
            attempts.count(now, "b", FREE);
        }
        assert!(attempts.wait(now) > Millis::ZERO);
        let quiet = attempts.forgotten_at();
        assert!(quiet.since(attempts.until) >= LONGEST_WAIT);
        attempts.count(quiet, "c", FREE);
        assert_eq!(attempts.wait(quiet), Millis::ZERO);
    }

    #[test]
    fn a_clock_that_goes_back_closes_for_an_hour_at_most() {
        let mut attempts = Attempts::unreadable(NOW);
        assert_eq!(attempts.wait(NOW), LONGEST_WAIT);
        assert_eq!(attempts.wait(Millis::ZERO), LONGEST_WAIT);
        attempts.count(NOW.plus(LONGEST_WAIT), "a", FREE);
        assert_eq!(attempts.wait(NOW.plus(LONGEST_WAIT)), LONGEST_WAIT);
    }

    #[test]
    fn an_attempt_is_used_once() {
        let mut attempts = Attempts::default();
        attempts.count(NOW, "a", FREE);
        assert!(!attempts.use_up("b"));
        assert!(!attempts.use_up(""));
        assert!(attempts.use_up("a"));
        assert!(!attempts.use_up("a"));
        assert!(!attempts.use_up(""));
    }
}
