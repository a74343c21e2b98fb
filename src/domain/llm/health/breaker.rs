//! The circuit breaker: closed, open, half-open with a single trial.
//!
//! | state | event | next |
//! |---|---|---|
//! | closed | a failure is the Nth in a row, or failures have the share of a busy window | open, 5 s |
//! | closed | credentials are refused, or the quota is used up | open, 30 s |
//! | open | the pause ends | half-open |
//! | open, half-open | another failure arrives late | unchanged; `Retry-After` lengthens the pause |
//! | half-open | a call asks, and no trial is out | that call is the trial |
//! | half-open | the trial succeeds | closed, counting anew |
//! | half-open | the trial fails | open, twice as long |
//! | half-open | the trial is given back, or its lease ends | half-open, and the next call is the trial |

use serde::{Deserialize, Serialize};

use crate::base::time::Millis;
use crate::domain::llm::engine::Fatal;

/// So many failures in a row open it.
pub const CONSECUTIVE: u32 = 5;
/// So many of a hundred outcomes being failures open it, if there are at least [`LEAST`].
pub const SHARE_PERCENT: u32 = 50;
/// Fewer outcomes in the window say nothing.
pub const LEAST: u32 = 10;
/// The window of the share.
pub const WINDOW: Millis = Millis::from_secs(30);
/// The first pause.
pub const FIRST_PAUSE: Millis = Millis::from_secs(5);
/// The longest pause, whatever asks for it.
pub const LONGEST_PAUSE: Millis = Millis::from_secs(30);
/// A trial whose result does not come by then is over, so that a crash never blocks a target.
pub const TRIAL_LEASE: Millis = Millis::from_secs(30);

/// The window is counted in so many parts, so that it covers between 5/6 of its length and all of it.
const PARTS: usize = 6;
/// [`PARTS`] for arithmetic with times.
const PARTS_U64: u64 = 6;

/// When to open, and how long. Travels with the commands, so that a changed setting needs no restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BreakerPolicy {
    /// See [`CONSECUTIVE`].
    pub consecutive: u32,
    /// See [`SHARE_PERCENT`].
    pub share_percent: u32,
    /// See [`LEAST`].
    pub least: u32,
    /// See [`WINDOW`].
    pub window: Millis,
    /// See [`FIRST_PAUSE`].
    pub first: Millis,
    /// See [`LONGEST_PAUSE`].
    pub longest: Millis,
    /// See [`TRIAL_LEASE`].
    pub trial: Millis,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            consecutive: CONSECUTIVE,
            share_percent: SHARE_PERCENT,
            least: LEAST,
            window: WINDOW,
            first: FIRST_PAUSE,
            longest: LONGEST_PAUSE,
            trial: TRIAL_LEASE,
        }
    }
}

/// What a breaker says at a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum State {
    /// Everything passes.
    #[default]
    Closed,
    /// Nothing passes.
    Open {
        /// End of the pause.
        until: Millis,
        /// Why nothing but the operator's work will help, where that is so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fatal: Option<Fatal>,
    },
    /// One trial passes.
    HalfOpen {
        /// A trial is out, and its lease ends then.
        trial_until: Option<Millis>,
        /// As before the pause ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        fatal: Option<Fatal>,
    },
}

/// A failure that is the target's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// The wait that the provider asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait: Option<Millis>,
    /// Open at once, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fatal: Option<Fatal>,
}

/// How a trial ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// With a first token.
    Success,
    /// With a failure of the target.
    Failure(Fault),
    /// Neither: the next call may try.
    GivenBack,
}

/// The breaker of one target. The default is closed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Breaker {
    /// Failures in a row.
    #[serde(rename = "c")]
    consecutive: u32,
    #[serde(rename = "w")]
    recent: Recent,
    #[serde(rename = "o")]
    open: Option<Open>,
}

/// Open or half-open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Open {
    #[serde(rename = "u")]
    until: Millis,
    /// Length of this pause, before anything lengthened it.
    #[serde(rename = "l")]
    lasts: Millis,
    /// What opened it lasts until the operator acts. Rows of before this was told have no such field.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    fatal: Option<Fatal>,
    #[serde(rename = "t")]
    trial: Option<Trial>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trial {
    id: String,
    began: Millis,
    until: Millis,
}

impl Breaker {
    /// The state at that time.
    #[must_use]
    pub fn state(&self, now: Millis) -> State {
        match &self.open {
            None => State::Closed,
            Some(open) if now < open.until => State::Open {
                until: open.until,
                fatal: open.fatal,
            },
            Some(open) => State::HalfOpen {
                trial_until: open.trial_at(now).map(|trial| trial.until),
                fatal: open.fatal,
            },
        }
    }

    /// Counts successes. They close nothing: an attempt may have begun long before the target went down.
    pub fn succeeded(&mut self, at: Millis, count: u32, policy: &BreakerPolicy) {
        self.recent.add(at, policy, count, 0);
        self.consecutive = 0;
    }

    /// Counts a failure, and opens when it is one too many.
    pub fn failed(&mut self, at: Millis, fault: Fault, policy: &BreakerPolicy) {
        self.recent.add(at, policy, 0, 1);
        self.consecutive = self.consecutive.saturating_add(1);
        let asked = fault.wait.unwrap_or_default().min(policy.longest);
        if let Some(open) = &mut self.open {
            let asked = if fault.fatal.is_some() {
                policy.longest
            } else {
                asked
            };
            open.fatal = fault.fatal.or(open.fatal);
            open.until = open.until.max(at.plus(asked));
            return;
        }
        let too_many = self.consecutive >= policy.consecutive || self.recent.is_bad(policy);
        if fault.fatal.is_some() || too_many {
            let lasts = if fault.fatal.is_some() {
                policy.longest
            } else {
                policy.first
            };
            self.open = Some(Open {
                until: at.plus(lasts.max(asked)),
                lasts,
                fatal: fault.fatal,
                trial: None,
            });
        }
    }

    /// Asks for the trial; a repeated question of its holder is granted again.
    pub fn ask_trial(&mut self, now: Millis, id: &str, policy: &BreakerPolicy) -> bool {
        let Some(open) = &mut self.open else {
            return false;
        };
        if let Some(trial) = open.trial_at(now) {
            return trial.id == id;
        }
        if now < open.until {
            return false;
        }
        open.trial = Some(Trial {
            id: id.to_owned(),
            began: now,
            until: now.plus(policy.trial),
        });
        true
    }

    /// Takes the result of a trial. A success counts even after its lease: the target works. Else only its holder is
    /// heard.
    pub fn end_trial(&mut self, now: Millis, id: &str, verdict: Verdict, policy: &BreakerPolicy) {
        let Some(open) = &mut self.open else {
            return;
        };
        if verdict == Verdict::Success {
            *self = Self::default();
            return;
        }
        let Some(began) = open
            .trial_at(now)
            .filter(|trial| trial.id == id)
            .map(|trial| trial.began)
        else {
            return;
        };
        open.trial = None;
        if let Verdict::Failure(fault) = verdict {
            let doubled = open.lasts.plus(open.lasts).min(policy.longest);
            let asked = fault.wait.unwrap_or_default().min(policy.longest);
            open.lasts = if fault.fatal.is_some() {
                policy.longest
            } else {
                doubled
            };
            // The trial knows best: a server that is down may have a good key by now.
            open.fatal = fault.fatal;
            // Counted from the begin of the trial, so that one that hangs long does not put recovery off.
            let latest = began.plus(policy.longest);
            let until = now.plus(open.lasts.max(asked)).min(latest);
            open.until = open.until.max(until);
        }
    }
}

impl Open {
    /// The trial that is out.
    fn trial_at(&self, now: Millis) -> Option<&Trial> {
        self.trial.as_ref().filter(|trial| now < trial.until)
    }
}

/// Outcomes of the recent past.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recent {
    /// Length of a part; counts of another length say nothing.
    #[serde(rename = "w")]
    width: Millis,
    /// Number of the newest part since the epoch.
    #[serde(rename = "n")]
    newest: u64,
    /// Successes and failures, the newest part first.
    #[serde(rename = "p")]
    parts: [(u32, u32); PARTS],
}

impl Recent {
    fn add(&mut self, at: Millis, policy: &BreakerPolicy, good: u32, bad: u32) {
        let width = Millis((policy.window.0 / PARTS_U64).max(1));
        let number = at.0.checked_div(width.0).unwrap_or_default();
        if width != self.width || number >= self.newest.saturating_add(PARTS_U64) {
            *self = Self {
                width,
                newest: number,
                ..Self::default()
            };
        }
        while self.newest < number {
            self.newest = self.newest.saturating_add(1);
            self.parts.rotate_right(1);
            self.parts[0] = (0, 0);
        }
        // What is too old is dropped.
        let age = usize::try_from(self.newest.saturating_sub(number)).unwrap_or(PARTS);
        if let Some(part) = self.parts.get_mut(age) {
            part.0 = part.0.saturating_add(good);
            part.1 = part.1.saturating_add(bad);
        }
    }

    fn is_bad(&self, policy: &BreakerPolicy) -> bool {
        let (mut good, mut bad) = (0u64, 0u64);
        for part in &self.parts {
            good = good.saturating_add(u64::from(part.0));
            bad = bad.saturating_add(u64::from(part.1));
        }
        let all = good.saturating_add(bad);
        all >= u64::from(policy.least)
            && bad.saturating_mul(100) >= all.saturating_mul(u64::from(policy.share_percent))
    }
}

#[cfg(test)]
mod tests {
    use super::{Breaker, BreakerPolicy, Fault, LONGEST_PAUSE, State, Verdict};
    use crate::base::time::Millis;
    use crate::domain::llm::engine::Fatal;

    const START: u64 = 1_795_237_500_000;
    const FAULT: Fault = Fault {
        wait: None,
        fatal: None,
    };

    fn at(secs: u64) -> Millis {
        Millis(START + secs * 1000)
    }

    const fn open(until: Millis) -> State {
        State::Open { until, fatal: None }
    }

    const fn half_open(trial_until: Option<Millis>) -> State {
        State::HalfOpen {
            trial_until,
            fatal: None,
        }
    }

    fn policy() -> BreakerPolicy {
        BreakerPolicy::default()
    }

    /// Opened at second 0.
    fn opened() -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..5 {
            breaker.failed(at(0), FAULT, &policy());
        }
        breaker
    }

    fn fail_trial(breaker: &mut Breaker, began: Millis, ended: Millis, fault: Fault) {
        assert!(breaker.ask_trial(began, "t", &policy()));
        breaker.end_trial(ended, "t", Verdict::Failure(fault), &policy());
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_a_success_between_does_not_let_them() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.failed(at(0), FAULT, &policy());
        }
        assert_eq!(breaker.state(at(0)), State::Closed);
        breaker.succeeded(at(0), 1, &policy());
        for _ in 0..4 {
            breaker.failed(at(0), FAULT, &policy());
        }
        // 8 of 9 failed, but 9 outcomes say nothing yet.
        assert_eq!(breaker.state(at(0)), State::Closed);
        breaker.failed(at(0), FAULT, &policy());
        assert_eq!(breaker.state(at(0)), open(at(5)));
    }

    #[test]
    fn half_of_at_least_ten_outcomes_in_half_a_minute_open_it() {
        // (pairs of a success and a failure, seconds between the pairs, opens)
        for (pairs, every, opens) in [(4, 1, false), (5, 1, true), (5, 6, true), (9, 8, false)] {
            let mut breaker = Breaker::default();
            for pair in 0..pairs {
                breaker.succeeded(at(pair * every), 1, &policy());
                breaker.failed(at(pair * every), FAULT, &policy());
            }
            let open = breaker.state(at(pairs * every - every)) != State::Closed;
            assert_eq!(open, opens, "{pairs} pairs every {every} s");
        }
    }

    #[test]
    fn fewer_failures_than_half_leave_it_closed() {
        let mut breaker = Breaker::default();
        for _ in 0..20 {
            breaker.succeeded(at(0), 2, &policy());
            breaker.failed(at(0), FAULT, &policy());
        }
        assert_eq!(breaker.state(at(0)), State::Closed);
    }

    #[test]
    fn refused_credentials_open_it_at_once_for_half_a_minute() {
        let mut breaker = Breaker::default();
        let fault = Fault {
            fatal: Some(Fatal::Key),
            ..FAULT
        };
        breaker.failed(at(0), fault, &policy());
        assert_eq!(
            breaker.state(at(0)),
            State::Open {
                until: at(30),
                fatal: Some(Fatal::Key)
            }
        );
    }

    #[test]
    fn it_knows_why_it_is_open_until_a_trial_knows_better() {
        let why = |breaker: &Breaker, now| match breaker.state(now) {
            State::Closed => None,
            State::Open { fatal, .. } | State::HalfOpen { fatal, .. } => fatal,
        };
        for fatal in [Fatal::Key, Fatal::Quota] {
            let fault = Fault {
                fatal: Some(fatal),
                ..FAULT
            };
            // It opens by this, or learns it while it is open already.
            let mut first = Breaker::default();
            first.failed(at(0), fault, &policy());
            let mut late = opened();
            assert_eq!(why(&late, at(0)), None);
            late.failed(at(0), fault, &policy());
            for mut breaker in [first, late] {
                breaker.failed(at(1), FAULT, &policy());
                for now in [at(1), at(29), at(30), at(99)] {
                    assert_eq!(why(&breaker, now), Some(fatal));
                }
                let stored = serde_json::to_string(&breaker).unwrap();
                let read: Breaker = serde_json::from_str(&stored).unwrap();
                assert_eq!(read, breaker);
                let mut down = breaker.clone();
                fail_trial(&mut down, at(99), at(99), FAULT);
                assert_eq!(why(&down, at(99)), None, "another failure");
                fail_trial(&mut breaker, at(99), at(99), fault);
                assert_eq!(why(&breaker, at(99)), Some(fatal));
                assert!(breaker.ask_trial(at(130), "t", &policy()));
                breaker.end_trial(at(130), "t", Verdict::Success, &policy());
                assert_eq!(breaker.state(at(130)), State::Closed);
            }
        }
    }

    #[test]
    fn a_row_of_before_it_knew_why_is_read_as_one_that_does_not_know() {
        let row = r#"{"c":1,"w":{"w":5000,"n":1,"p":[[0,1],[0,0],[0,0],[0,0],[0,0],[0,0]]},"o":{"u":9000,"l":5000,"t":null}}"#;
        let breaker: Breaker = serde_json::from_str(row).unwrap();
        assert_eq!(breaker.state(Millis(8999)), open(Millis(9000)));
        assert_eq!(serde_json::to_string(&breaker).unwrap(), row);
    }

    #[test]
    fn each_failed_trial_doubles_the_pause_up_to_half_a_minute() {
        let mut breaker = opened();
        let mut now = 5;
        for pause in [10, 20, 30, 30, 30] {
            assert_eq!(breaker.state(at(now)), half_open(None));
            fail_trial(&mut breaker, at(now), at(now), FAULT);
            now += pause;
            assert_eq!(breaker.state(at(now - 1)), open(at(now)));
        }
    }

    #[test]
    fn a_pause_ends_half_a_minute_after_its_trial_began_however_long_that_hung() {
        let mut breaker = opened();
        fail_trial(&mut breaker, at(5), at(25), FAULT);
        assert_eq!(breaker.state(at(25)), open(at(35)));
        fail_trial(&mut breaker, at(35), at(64), FAULT);
        assert_eq!(breaker.state(at(64)), open(at(65)));
    }

    #[test]
    fn a_wait_that_was_asked_for_lengthens_the_pause_but_not_beyond_half_a_minute() {
        for (wait, until) in [(3, 5), (12, 12), (30, 30), (3600, 30)] {
            let fault = Fault {
                wait: Some(Millis::from_secs(wait)),
                ..FAULT
            };
            // The failure that opens it says so, or one that comes late.
            let mut breaker = Breaker::default();
            for _ in 0..4 {
                breaker.failed(at(0), FAULT, &policy());
            }
            breaker.failed(at(0), fault, &policy());
            let mut later = opened();
            later.failed(at(0), fault, &policy());
            for breaker in [breaker, later] {
                let until = at(until);
                assert_eq!(breaker.state(at(0)), open(until), "{wait}");
            }
        }
        let mut breaker = opened();
        let fault = Fault {
            wait: Some(Millis(u64::MAX)),
            ..FAULT
        };
        fail_trial(&mut breaker, at(5), at(6), fault);
        assert_eq!(breaker.state(at(6)), open(at(35)));
    }

    #[test]
    fn one_call_alone_is_the_trial_and_its_success_closes() {
        let mut breaker = opened();
        assert!(!breaker.ask_trial(at(4), "a", &policy()), "still open");
        assert!(breaker.ask_trial(at(5), "a", &policy()));
        assert!(breaker.ask_trial(at(6), "a", &policy()), "asked again");
        assert!(!breaker.ask_trial(at(6), "b", &policy()));
        let trial_until = Some(at(35));
        assert_eq!(breaker.state(at(6)), half_open(trial_until));
        // What began before it went down closes nothing.
        breaker.succeeded(at(6), 50, &policy());
        assert_ne!(breaker.state(at(6)), State::Closed);
        breaker.end_trial(at(7), "a", Verdict::Success, &policy());
        assert_eq!(breaker, Breaker::default());
        assert!(!breaker.ask_trial(at(7), "b", &policy()), "none is needed");
    }

    #[test]
    fn a_trial_that_is_given_back_or_never_ends_makes_way_for_the_next() {
        let mut breaker = opened();
        assert!(breaker.ask_trial(at(5), "a", &policy()));
        breaker.end_trial(at(6), "a", Verdict::GivenBack, &policy());
        assert!(breaker.ask_trial(at(6), "b", &policy()));
        assert!(!breaker.ask_trial(at(35), "c", &policy()));
        assert!(breaker.ask_trial(at(36), "c", &policy()));
        // The one whose lease ended is not heard, unless it succeeded.
        breaker.end_trial(at(37), "b", Verdict::Failure(FAULT), &policy());
        breaker.end_trial(at(37), "b", Verdict::GivenBack, &policy());
        assert!(!breaker.ask_trial(at(37), "d", &policy()));
        breaker.end_trial(at(37), "b", Verdict::Success, &policy());
        assert_eq!(breaker.state(at(37)), State::Closed);
    }

    #[test]
    fn no_pause_is_longer_than_the_longest() {
        assert!(LONGEST_PAUSE <= Millis::from_secs(30));
        assert!(policy().first <= policy().longest && policy().trial <= LONGEST_PAUSE);
    }
}
