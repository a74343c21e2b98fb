//! What time does to a call: the three deadlines, the end of a wait, the hedge, and when to be woken.

use super::{ADAPTIVE_FACTOR, Engine, Run, report};
use crate::base::time::Millis;
use crate::domain::llm::engine::choose::Room;
use crate::domain::llm::engine::failure::{Break, Failure, FailureKind};
use crate::domain::llm::engine::{Action, Booked, End, Health, Mode, TargetId};

impl Engine {
    /// Does what is due.
    pub(super) fn expire(&mut self, actions: &mut Vec<Action>) {
        if !self.over && self.now >= self.end {
            self.total_deadline(actions);
        }
        for run in self.running.clone() {
            if self.over || self.deadline(&run) > self.now || self.find(run.attempt).is_none() {
                continue;
            }
            self.take(run.attempt);
            let attempt = run.attempt;
            actions.push(Action::Abort { attempt });
            if run.committed.is_some() {
                self.broken(run, Break::Stalled, true, actions);
            } else {
                let failure = Failure::new(if run.sent {
                    FailureKind::FirstToken
                } else {
                    FailureKind::Shed
                });
                let health = if self.is_late(&run) {
                    failure.health()
                } else {
                    Health::Neutral
                };
                self.failed_as(run, failure, health, actions);
            }
        }
        if let Some((target, until)) = self.pause
            && !self.over
            && until <= self.now
        {
            self.pause = None;
            // The tick may have come late.
            if self.now < self.room().before {
                self.start(target, actions);
            } else {
                self.give_up(actions);
            }
        }
        if let Some((target, at)) = self.hedge()
            && at <= self.now
        {
            self.hedged = true;
            self.start(target, actions);
        }
    }

    fn total_deadline(&mut self, actions: &mut Vec<Action>) {
        let committed = self.running.iter().any(|run| run.committed.is_some());
        let target = self.running.first().map(|run| run.target);
        for run in self.running.clone() {
            let outcome = match run.committed {
                Some(_) => Booked::Broken,
                None => Booked::Failed,
            };
            self.abort(run, outcome, actions);
            if run.committed.is_none() {
                report(run.target, Health::Neutral, actions);
            }
        }
        let end = if committed || self.broke.is_some() {
            let how = Break::Deadline;
            End::Cut { how }
        } else {
            End::Failed {
                failure: Failure::new(FailureKind::Deadline),
                target: target.or(self.telling.map(|(_, target)| target)),
                wait: None,
            }
        };
        self.finish(end, actions);
    }

    /// The attempt's own deadline: its first token, or its next piece. Nobody waits longer for a place than for a first
    /// token.
    fn deadline(&self, run: &Run) -> Millis {
        match run.committed {
            Some(last) => last.plus(self.plan.deadlines.idle),
            None => run.started.plus(self.first_token(run.target)),
        }
    }

    /// Does a missing first token say something about the target? Not when only the caller was in a hurry.
    fn is_late(&self, run: &Run) -> bool {
        let own = self.adapted(run.target, self.plan.deadlines.own_first_token);
        run.started.plus(own) <= self.now
    }

    /// The first-token deadline of a target.
    fn first_token(&self, target: TargetId) -> Millis {
        self.adapted(target, self.plan.deadlines.first_token)
    }

    /// As configured, or lower where the target's recent p95 allows.
    fn adapted(&self, target: TargetId, configured: Millis) -> Millis {
        let deadlines = &self.plan.deadlines;
        let p95 = self
            .plan
            .targets
            .get(target)
            .and_then(|t| t.p95_first_token);
        match (deadlines.adaptive_floor, p95) {
            (Some(floor), Some(p95)) => Millis(p95.0.saturating_mul(ADAPTIVE_FACTOR))
                .max(floor)
                .min(configured),
            _ => configured,
        }
    }

    /// The hedge that is still possible, and when: a lone, fresh attempt that is later than its target's p95.
    fn hedge(&self) -> Option<(TargetId, Millis)> {
        let [run] = self.running.as_slice() else {
            return None;
        };
        let lone = run.committed.is_none() && run.mode == Mode::Fresh;
        if !self.plan.hedge || self.hedged || self.over || !lone {
            return None;
        }
        let p95 = self.plan.targets.get(run.target)?.p95_first_token?;
        let at = run.started.plus(p95);
        let room = self.room();
        let possible = room.attempts > 0 && at < room.before && self.now < room.before;
        self.chain
            .hedge()
            .filter(|_| possible)
            .map(|target| (target, at))
    }

    /// Attempts may begin before then, and so many.
    pub(super) fn room(&self) -> Room {
        let budget_left = self.plan.retry.budget.since(self.used);
        Room {
            now: self.now,
            before: self.asking_since.plus(budget_left).min(self.end),
            attempts: self.plan.retry.attempts.saturating_sub(self.started),
        }
    }

    /// Asks to be woken at the next deadline. One that moved away is left as it is: a tick too early is harmless, and
    /// an answer that flows costs no timer for each piece.
    pub(super) fn arm(&mut self, actions: &mut Vec<Action>) {
        if self.over {
            self.wake = None;
            return;
        }
        let mut at = self.end;
        for run in &self.running {
            at = at.min(self.deadline(run));
        }
        if let Some((_, until)) = self.pause {
            at = at.min(until);
        }
        if let Some((_, hedge)) = self.hedge() {
            at = at.min(hedge);
        }
        if self.wake.is_none_or(|wake| wake <= self.now || at < wake) {
            self.wake = Some(at);
            actions.push(Action::Wake { at });
        }
    }
}
