//! The engine itself: inputs become actions.
//!
//! A call is in one of three phases. *Asking*: one attempt runs, or two when the first is late and the call hedges, or
//! none while a wait passes. *Delivering*: exactly one attempt is committed. *Continuing*: output was delivered and
//! broke, and further attempts go on from there. Which target comes next is told in `choose.rs`, what each kind of
//! failure allows in `failure.rs`, and what time does in `machine/time.rs`.
//!
//! Budget: the time that passes without a committed answer counts, but for the time that the attempt which is then
//! committed took itself. An attempt never begins at or after the end of the budget or of the call.

mod time;

use super::choose::{Again, Chain, Next, Room};
use super::failure::{Break, Failure, FailureKind};
use super::jitter::Jitter;
use super::{Action, AttemptId, Booked, End, Fatal, Health, Input, Mode, Plan, TargetId};
use crate::base::time::Millis;

/// Most attempts that run at the same time: the first and its hedge.
pub const MAX_RUNNING: usize = 2;
/// An adaptive first-token deadline is so many times the target's recent p95.
pub const ADAPTIVE_FACTOR: u64 = 3;

/// One call of an alias.
#[derive(Clone, Debug)]
pub struct Engine {
    plan: Plan,
    chain: Chain,
    jitter: Jitter,
    /// Latest time seen: a clock that goes back stands still.
    now: Millis,
    /// The total deadline.
    end: Millis,
    /// Attempts started so far.
    started: u32,
    running: Vec<Run>,
    /// The target that is asked when its wait is over.
    pause: Option<(TargetId, Millis)>,
    hedged: bool,
    /// Budget used before `asking_since`.
    used: Millis,
    /// Since when no attempt is committed.
    asking_since: Millis,
    /// Output was delivered, and broke like that.
    broke: Option<Break>,
    /// What was delivered cannot be continued.
    closed_to_rescue: bool,
    /// The failure that tells most, and whose it was.
    telling: Option<(Failure, TargetId)>,
    wake: Option<Millis>,
    over: bool,
}

/// An attempt that runs.
#[derive(Clone, Copy, Debug)]
struct Run {
    attempt: AttemptId,
    target: TargetId,
    mode: Mode,
    started: Millis,
    /// Does its provider know of it yet? Until then it waits for a place, and `started` is when it began to.
    sent: bool,
    /// Its answer is being delivered; the time of its last piece.
    committed: Option<Millis>,
}

impl Engine {
    /// Begins a call, and says what to do first. `jitter` seeds the spread of all waits.
    ///
    /// A plan without a target that may be tried is over at once.
    #[must_use]
    pub fn new(plan: Plan, now: Millis, jitter: u64) -> (Self, Vec<Action>) {
        let mut engine = Self {
            chain: Chain::new(&plan),
            jitter: Jitter::new(jitter),
            now,
            end: now.plus(plan.deadlines.total),
            started: 0,
            running: Vec::with_capacity(MAX_RUNNING),
            pause: None,
            hedged: false,
            used: Millis::ZERO,
            asking_since: now,
            broke: None,
            closed_to_rescue: false,
            telling: None,
            wake: None,
            over: false,
            plan,
        };
        let mut actions = Vec::new();
        // The first attempt is no retry: no budget can forbid it.
        let room = Room {
            now,
            before: Millis(u64::MAX),
            attempts: 1,
        };
        match engine.chain.next(room, None) {
            Next::Start(target) => engine.start(target, &mut actions),
            Next::Wait(..) | Next::Nothing => engine.give_up(&mut actions),
        }
        engine.arm(&mut actions);
        (engine, actions)
    }

    /// Takes what happened, and says what to do, in order.
    ///
    /// Inputs of attempts that are over are ignored, and so is everything after [`Action::Finish`]. What arrives late
    /// but before its `Tick` is still taken: only the total deadline is never bent for a first token.
    pub fn on(&mut self, now: Millis, input: Input) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.over {
            return actions;
        }
        self.now = self.now.max(now);
        match input {
            Input::Failed { attempt, failure } => self.on_failed(attempt, failure, &mut actions),
            Input::Sent { attempt } => self.on_sent(attempt),
            Input::Token { attempt } => self.on_token(attempt, &mut actions),
            Input::Progress { attempt } => self.on_progress(attempt),
            Input::Ended { attempt } => self.on_ended(attempt, &mut actions),
            Input::Broken {
                attempt,
                how,
                continuable,
            } => self.on_broken(attempt, how, continuable, &mut actions),
            Input::Tick => {}
            Input::ClientGone => self.on_client_gone(&mut actions),
        }
        self.expire(&mut actions);
        self.arm(&mut actions);
        actions
    }

    /// The wake time now in force: that of the last [`Action::Wake`]. `None` once the call is over.
    #[must_use]
    pub const fn due(&self) -> Option<Millis> {
        self.wake
    }

    /// Has the call ended?
    #[must_use]
    pub const fn is_over(&self) -> bool {
        self.over
    }

    /// What is being delivered cannot be continued any more, since a tool call has begun. To be said as soon as the driver
    /// knows it: the engine finds a stall by itself, and then asks nobody.
    pub const fn forbid_rescue(&mut self) {
        self.closed_to_rescue = true;
    }

    // === What happened ===

    fn on_failed(&mut self, attempt: AttemptId, failure: Failure, actions: &mut Vec<Action>) {
        match self.take(attempt) {
            // A driver that calls a break a failure: what came cannot be judged, so it is not continued.
            Some(run) if run.committed.is_some() => self.broken(run, Break::Cut, false, actions),
            Some(run) => self.failed(run, failure, actions),
            None => {}
        }
    }

    fn on_sent(&mut self, attempt: AttemptId) {
        let now = self.now;
        for run in &mut self.running {
            if run.attempt == attempt && !run.sent {
                run.sent = true;
                run.started = now;
            }
        }
    }

    fn on_token(&mut self, attempt: AttemptId, actions: &mut Vec<Action>) {
        if self.now >= self.end {
            return; // too late to begin: the deadline takes it
        }
        let Some(run) = self.find(attempt) else {
            return;
        };
        if run.committed.is_some() {
            self.on_progress(attempt);
            return;
        }
        actions.push(Action::Commit { attempt });
        self.report_success(run, actions);
        let losers: Vec<Run> = self
            .running
            .iter()
            .filter(|other| other.attempt != attempt)
            .copied()
            .collect();
        for loser in losers {
            self.abort(loser, Booked::Lost, actions);
            report(loser.target, Health::Neutral, actions);
        }
        self.used = self.used.plus(run.started.since(self.asking_since));
        self.on_progress_of(attempt, true);
        // A trial that has not begun by now is of use to another call rather than to a rescue.
        self.give_back_trials(actions);
    }

    fn on_progress(&mut self, attempt: AttemptId) {
        self.on_progress_of(attempt, false);
    }

    fn on_progress_of(&mut self, attempt: AttemptId, first: bool) {
        let now = self.now;
        for run in &mut self.running {
            if run.attempt == attempt && (first || run.committed.is_some()) {
                run.committed = Some(now);
            }
        }
    }

    fn on_ended(&mut self, attempt: AttemptId, actions: &mut Vec<Action>) {
        let Some(run) = self.take(attempt) else {
            return;
        };
        if run.committed.is_none() {
            // An end without any output is no answer.
            self.failed(run, Failure::new(FailureKind::Protocol), actions);
            return;
        }
        let outcome = Booked::Delivered;
        actions.push(Action::Book { attempt, outcome });
        self.finish(End::Delivered { attempt }, actions);
    }

    fn on_broken(
        &mut self,
        attempt: AttemptId,
        how: Break,
        continuable: bool,
        actions: &mut Vec<Action>,
    ) {
        match self.take(attempt) {
            Some(run) if run.committed.is_some() => self.broken(run, how, continuable, actions),
            Some(run) => self.failed(run, Failure::new(how.before_token()), actions),
            None => {}
        }
    }

    fn on_client_gone(&mut self, actions: &mut Vec<Action>) {
        for run in self.running.clone() {
            self.abort(run, Booked::ClientGone, actions);
            if run.committed.is_none() {
                report(run.target, Health::Neutral, actions);
            }
        }
        self.finish(End::ClientGone, actions);
    }

    // === What follows ===

    /// An attempt, no longer running, failed before its first token.
    fn failed(&mut self, run: Run, failure: Failure, actions: &mut Vec<Action>) {
        self.failed_as(run, failure, failure.health(), actions);
    }

    /// The same, with what the target's breaker learns of it.
    fn failed_as(&mut self, run: Run, failure: Failure, health: Health, actions: &mut Vec<Action>) {
        let (attempt, outcome) = (run.attempt, Booked::Failed);
        actions.push(Action::Book { attempt, outcome });
        report(run.target, health, actions);
        self.chain.failed(
            self.now,
            run.target,
            run.mode,
            failure,
            &self.plan,
            &mut self.jitter,
        );
        let telling = self.telling.map_or(0, |(told, _)| told.kind.rank());
        if failure.kind.rank() >= telling {
            self.telling = Some((failure, run.target));
        }
        // In a continued call `Rejected` speaks of the continuation, not of the request.
        let of_the_form = self.broke.is_some() && failure.kind == FailureKind::Rejected;
        if !failure.kind.goes_on() && !of_the_form {
            self.telling = Some((failure, run.target));
            for other in self.running.clone() {
                self.abort(other, Booked::Lost, actions);
                report(other.target, Health::Neutral, actions);
            }
            self.give_up(actions);
        } else if self.running.is_empty() {
            let again = if of_the_form && run.mode == Mode::Prefill {
                Again::Now
            } else if failure.kind.retries_same_first() {
                Again::First
            } else {
                Again::Later
            };
            self.go_on((run.target, again), actions);
        }
    }

    /// The committed attempt, no longer running, broke.
    fn broken(&mut self, run: Run, how: Break, continuable: bool, actions: &mut Vec<Action>) {
        let (attempt, outcome) = (run.attempt, Booked::Broken);
        actions.push(Action::Book { attempt, outcome });
        if how.health() != Health::Neutral {
            report(run.target, how.health(), actions);
        }
        self.broke = Some(how);
        self.asking_since = self.now;
        self.closed_to_rescue |= !continuable;
        if !self.plan.rescue || self.closed_to_rescue || !how.may_be_rescued() {
            self.give_up(actions);
            return;
        }
        self.chain
            .broke(self.now, run.target, &self.plan, &mut self.jitter);
        self.go_on((run.target, Again::Later), actions);
    }

    /// Starts the next attempt, now or later, or gives up.
    fn go_on(&mut self, after: (TargetId, Again), actions: &mut Vec<Action>) {
        match self.chain.next(self.room(), Some(after)) {
            Next::Start(target) => self.start(target, actions),
            Next::Wait(target, until) => self.pause = Some((target, until)),
            Next::Nothing => self.give_up(actions),
        }
    }

    /// Nothing more can be tried.
    fn give_up(&mut self, actions: &mut Vec<Action>) {
        let end = match (self.broke, self.telling) {
            (Some(how), _) => End::Cut { how },
            (None, Some((failure, target))) => End::Failed {
                failure,
                target: Some(target),
                wait: self
                    .chain
                    .peace(self.now)
                    .filter(|_| !failure.kind.is_callers() && !failure.kind.is_operators()),
            },
            // Every target is down, and none was asked.
            (None, None) => End::Failed {
                failure: Failure::new(self.chain.fatal().map_or(FailureKind::Server, Fatal::kind)),
                target: None,
                wait: self.chain.peace(self.now),
            },
        };
        self.finish(end, actions);
    }

    fn finish(&mut self, end: End, actions: &mut Vec<Action>) {
        self.give_back_trials(actions);
        actions.push(Action::Finish(end));
        self.pause = None;
        self.over = true;
    }

    // === Small steps ===

    fn start(&mut self, target: TargetId, actions: &mut Vec<Action>) {
        let attempt = self.started;
        self.started = self.started.saturating_add(1);
        let mode = self.chain.started(target, self.broke.is_some());
        let queues = self.plan.targets.get(target).is_some_and(|t| t.queues);
        self.running.push(Run {
            attempt,
            target,
            mode,
            started: self.now,
            sent: !queues,
            committed: None,
        });
        actions.push(Action::Start {
            attempt,
            target,
            mode,
        });
    }

    fn find(&self, attempt: AttemptId) -> Option<Run> {
        self.running
            .iter()
            .find(|run| run.attempt == attempt)
            .copied()
    }

    fn take(&mut self, attempt: AttemptId) -> Option<Run> {
        let run = self.find(attempt)?;
        self.running.retain(|run| run.attempt != attempt);
        Some(run)
    }

    fn abort(&mut self, run: Run, outcome: Booked, actions: &mut Vec<Action>) {
        let attempt = run.attempt;
        self.take(attempt);
        actions.push(Action::Abort { attempt });
        actions.push(Action::Book { attempt, outcome });
    }

    fn report_success(&mut self, run: Run, actions: &mut Vec<Action>) {
        let first_token = self.now.since(run.started);
        self.chain.succeeded(run.target);
        report(run.target, Health::Success { first_token }, actions);
    }

    fn give_back_trials(&mut self, actions: &mut Vec<Action>) {
        for target in self.chain.give_back_trials() {
            report(target, Health::Neutral, actions);
        }
    }
}

fn report(target: TargetId, health: Health, actions: &mut Vec<Action>) {
    actions.push(Action::Report { target, health });
}
