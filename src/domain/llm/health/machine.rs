//! What all isolates share about one target, as one synchronous state machine: the object `Target`.
//!
//! | row | holds | written |
//! |---|---|---|
//! | `breaker` | the breaker, and when it last heard something | by each report and trial |
//! | `latency` | the histogram | by reports with successes |
//! | `lease/<id>`, `ticket/<id>`, `service` | concurrency, only where the target has a cap | when they change |
//!
//! Everything is stored before the reply leaves, so a restart changes nothing. An object that was of no use for
//! [`KEEP`] deletes itself by alarm.

use serde::{Deserialize, Serialize};

use super::breaker::{Breaker, BreakerPolicy, Fault, State, Verdict};
use super::lanes::{Ask, Lanes, Priority, Turn};
use super::latency::Latency;
use crate::base::machine::{Effects, Machine, Write};
use crate::base::time::Millis;

/// So long after its last use an object still knows the target's latency.
pub const KEEP: Millis = Millis::from_secs(3600);

const BREAKER: &str = "breaker";
const LATENCY: &str = "latency";

/// What may be asked about a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum Command {
    /// What attempts met.
    Report {
        /// Ordinary outcomes.
        outcomes: Outcomes,
        /// The result of a trial, by the id that it was granted to. Its success is among the outcomes too, for the latency;
        /// its failure is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trial: Option<(String, Verdict)>,
        /// When to open.
        policy: BreakerPolicy,
    },
    /// May this call be the trial?
    Trial {
        /// The call's id.
        id: String,
        /// How long the trial may take.
        policy: BreakerPolicy,
    },
    /// Asks for a lease, asks again with the same id while it waits, or renews it.
    Acquire {
        /// The call's id.
        lease: String,
        /// Most calls at the same time.
        cap: u32,
        /// Most tickets.
        queue: u32,
        /// Before or behind the others.
        priority: Priority,
        /// The lease expires after that, so it is to be longer than a call may take.
        ttl: Millis,
    },
    /// Gives a lease or a ticket back.
    Release {
        /// The call's id.
        lease: String,
    },
    /// Only looks.
    Read,
}

/// Outcomes of attempts: first all successes, then the failures.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// When the last of them happened.
    pub at: Millis,
    /// Time to the first token of each success.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub first_tokens: Vec<Millis>,
    /// Failures that are the target's fault.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<Fault>,
}

/// What every reply brings along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct View {
    /// The breaker.
    pub state: State,
    /// 95th percentile of the time to the first token, when enough is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p95: Option<Millis>,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// As it is after the command.
    pub view: View,
    /// What was asked.
    pub answer: Answer,
}

/// The answer to the question itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To a report, a release, or a look.
    Done,
    /// The call is the trial, and must report how it ended; or it is not.
    Trial(bool),
    /// Whose turn it is.
    Turn(Turn),
}

/// The state of one target. The default is one that nobody asked.
#[derive(Clone, Debug, Default)]
pub struct TargetState {
    breaker: Heard,
    latency: Latency,
    lanes: Lanes,
    /// The alarm asked for last, if that is known.
    alarm: Option<Millis>,
}

/// The row `breaker`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Heard {
    #[serde(rename = "v1")]
    breaker: Breaker,
    /// The last report or trial.
    at: Millis,
}

impl Machine for TargetState {
    type Command = Command;
    type Reply = Reply;

    /// An unreadable row counts as missing: a breaker that forgot is closed, and opens again by the same failures.
    fn load(_now: Millis, rows: Vec<(String, String)>) -> Self {
        let mut state = Self::default();
        for (key, value) in rows {
            match key.as_str() {
                BREAKER => state.breaker = serde_json::from_str(&value).unwrap_or_default(),
                LATENCY => state.latency = serde_json::from_str(&value).unwrap_or_default(),
                _ => {
                    state.lanes.load(&key, &value);
                }
            }
        }
        state
    }

    fn apply(&mut self, now: Millis, command: Command) -> (Reply, Effects) {
        let (breaker, latency) = (self.breaker.clone(), self.latency.clone());
        self.lanes.expire(now);
        let answer = self.answer(now, command);
        let view = View {
            state: self.breaker.breaker.state(now),
            p95: self.latency.p95(),
        };
        let mut effects = Effects::default();
        if self.breaker != breaker {
            effects.writes.extend(put(BREAKER, &self.breaker));
        }
        if self.latency != latency {
            effects.writes.extend(put(LATENCY, &self.latency));
        }
        self.store_lanes(&mut effects);
        if !effects.writes.is_empty() && self.alarm.is_none_or(|alarm| alarm <= now) {
            self.alarm = Some(self.useless_at());
            effects.alarm = self.alarm;
        }
        (Reply { view, answer }, effects)
    }

    fn wake(&mut self, now: Millis) -> Effects {
        self.lanes.expire(now);
        let useless_at = self.useless_at();
        if now >= useless_at {
            *self = Self::default();
            return Effects {
                delete_all: true,
                ..Effects::default()
            };
        }
        self.alarm = Some(useless_at);
        let mut effects = Effects {
            alarm: self.alarm,
            ..Effects::default()
        };
        self.store_lanes(&mut effects);
        effects
    }
}

impl TargetState {
    fn answer(&mut self, now: Millis, command: Command) -> Answer {
        match command {
            Command::Report {
                outcomes,
                trial,
                policy,
            } => {
                self.report(now, &outcomes, trial, &policy);
                Answer::Done
            }
            Command::Trial { id, policy } => {
                let granted = self.breaker.breaker.ask_trial(now, &id, &policy);
                if granted {
                    self.breaker.at = now;
                }
                Answer::Trial(granted)
            }
            Command::Acquire {
                lease,
                cap,
                queue,
                priority,
                ttl,
            } => {
                let ask = Ask {
                    cap,
                    queue,
                    priority,
                    ttl,
                };
                Answer::Turn(self.lanes.acquire(now, &lease, ask))
            }
            Command::Release { lease } => {
                self.lanes.release(now, &lease);
                Answer::Done
            }
            Command::Read => Answer::Done,
        }
    }

    fn report(
        &mut self,
        now: Millis,
        outcomes: &Outcomes,
        trial: Option<(String, Verdict)>,
        policy: &BreakerPolicy,
    ) {
        // Another machine's clock may be ahead.
        let at = outcomes.at.min(now);
        self.breaker.at = now;
        let breaker = &mut self.breaker.breaker;
        if let Some((id, verdict)) = trial {
            breaker.end_trial(now, &id, verdict, policy);
        }
        for first_token in &outcomes.first_tokens {
            self.latency.add(*first_token);
        }
        let successes = u32::try_from(outcomes.first_tokens.len()).unwrap_or(u32::MAX);
        if successes > 0 {
            breaker.succeeded(at, successes, policy);
        }
        for fault in &outcomes.faults {
            breaker.failed(at, *fault, policy);
        }
    }

    fn store_lanes(&mut self, effects: &mut Effects) {
        for (key, value) in self.lanes.changes() {
            effects.writes.push(Write { key, value });
        }
    }

    /// When nothing in here is of use any more.
    fn useless_at(&self) -> Millis {
        let lanes = self.lanes.used_until().unwrap_or_default();
        self.breaker.at.max(lanes).plus(KEEP)
    }
}

fn put(key: &str, value: &impl Serialize) -> Option<Write> {
    Some(Write {
        key: key.to_owned(),
        value: Some(serde_json::to_string(value).ok()?),
    })
}

#[cfg(test)]
mod tests;
