//! What must hold after every step of a call, worked out from the plan and the inputs alone.

use gatehouse::base::time::Millis;
use gatehouse::domain::llm::engine::failure::{Break, Failure, FailureKind as K};
use gatehouse::domain::llm::engine::machine::Engine;
use gatehouse::domain::llm::engine::{
    Action, AttemptId, Booked, End, Fatal, Gate, Health, Input, Mode, Plan, TargetId,
};

use super::world::Seen;

/// The kinds after which the same target is asked again in one call, written out once more.
const SAME_AGAIN: [K; 11] = [
    K::RateLimited,
    K::Server,
    K::Timeout,
    K::Conflict,
    K::Unreachable,
    K::FirstToken,
    K::Cut,
    K::Protocol,
    K::Unfit,
    K::TooLarge,
    K::Shed,
];
/// The kinds that are the target's fault.
const FAULTS: [K; 12] = [
    K::RateLimited,
    K::Server,
    K::Timeout,
    K::Conflict,
    K::Unreachable,
    K::FirstToken,
    K::Cut,
    K::Protocol,
    K::TooLarge,
    K::Redirect,
    K::Auth,
    K::Quota,
];
/// From the least telling to the most.
const TELLING: [&[K]; 14] = [
    &[K::Redirect],
    &[K::NotServed],
    &[K::Quota],
    &[K::Auth],
    &[K::Unreachable],
    &[K::Conflict],
    &[K::Protocol, K::Unfit, K::Cut, K::TooLarge],
    &[K::Server],
    &[K::Timeout, K::FirstToken, K::Deadline],
    &[K::Shed],
    &[K::RateLimited],
    &[K::ContentFilter],
    &[K::ContextLength],
    &[K::Rejected],
];
/// What no wait mends.
const OPERATORS: [K; 4] = [K::Redirect, K::NotServed, K::Quota, K::Auth];

fn telling(kind: K) -> usize {
    TELLING
        .iter()
        .position(|kinds| kinds.contains(&kind))
        .unwrap()
}

#[derive(Clone, Debug)]
struct Attempt {
    target: TargetId,
    mode: Mode,
    started: Millis,
    /// Its request has gone out.
    sent: bool,
    /// Last piece, once committed.
    committed: Option<Millis>,
    aborted: bool,
    booked: Option<Booked>,
    reports: Vec<Health>,
}

impl Attempt {
    fn runs(&self) -> bool {
        self.booked.is_none()
    }
}

/// What is known of a target.
#[derive(Clone, Debug, Default)]
struct Known {
    tries: u32,
    /// Time and kind of the last failure or break before now; a break is `None`.
    last: Option<(Millis, Option<Failure>)>,
    /// Not again in this call.
    out: bool,
    no_prefill: bool,
    trial_reports: u32,
    succeeded: bool,
    given_back: bool,
}

pub struct Checker {
    plan: Plan,
    began: Millis,
    late_ticks: bool,
    attempts: Vec<Attempt>,
    targets: Vec<Known>,
    /// Targets that a caller did not want to wait for.
    hurried: Vec<TargetId>,
    failures: Vec<(Failure, TargetId)>,
    too_small: Option<u64>,
    broke: Option<Break>,
    rescue_forbidden: bool,
    commits: u32,
    used: u64,
    asking_since: Millis,
    hedges: u32,
    end: Option<End>,
    ended: Option<AttemptId>,
    pub seen: Seen,
}

impl Checker {
    pub fn new(plan: Plan, began: Millis, late_ticks: bool) -> Self {
        Self {
            targets: vec![Known::default(); plan.targets.len()],
            plan,
            began,
            late_ticks,
            attempts: Vec::new(),
            hurried: Vec::new(),
            failures: Vec::new(),
            too_small: None,
            broke: None,
            rescue_forbidden: false,
            commits: 0,
            used: 0,
            asking_since: began,
            hedges: 0,
            end: None,
            ended: None,
            seen: Seen::default(),
        }
    }

    pub fn is_running(&self, attempt: AttemptId) -> bool {
        self.attempts
            .get(attempt as usize)
            .is_some_and(Attempt::runs)
    }

    pub fn forbid_rescue(&mut self) {
        self.rescue_forbidden = true;
    }

    /// One input and what the engine made of it.
    pub fn step(
        &mut self,
        now: Millis,
        input: Option<&Input>,
        actions: &[Action],
        engine: &Engine,
    ) {
        assert!(
            self.end.is_none() || actions.is_empty(),
            "nothing follows the end"
        );
        self.seen.note("step");
        let fresh = self.note_input(now, input);
        if !fresh && !matches!(input, None | Some(Input::Tick)) {
            let quiet = |a: &Action| matches!(a, Action::Wake { .. });
            // Time that passed may have its own consequences; where ticks are punctual there are none.
            assert!(
                self.late_ticks || self.is_due(now) || actions.iter().all(quiet),
                "an input of no running attempt changes nothing"
            );
        }
        let mut wake = None;
        for (place, action) in actions.iter().enumerate() {
            match action {
                Action::Start {
                    attempt,
                    target,
                    mode,
                } => self.start(now, *attempt, *target, *mode),
                Action::Abort { attempt } => self.abort(now, *attempt, input, actions),
                Action::Commit { attempt } => self.commit(now, *attempt, input),
                Action::Book { attempt, outcome } => self.book(now, *attempt, *outcome, input),
                Action::Report { target, health } => self.report(now, *target, *health),
                Action::Wake { at } => wake = Some(*at),
                Action::Finish(end) => {
                    assert_eq!(place + 1, actions.len(), "the end comes last");
                    self.finish(now, end, input);
                }
            }
        }
        if let Some(at) = wake {
            assert_eq!(engine.due(), Some(at));
        }
        assert_eq!(engine.is_over(), self.end.is_some());
        self.holds(now, input, engine);
    }

    /// Is anything due at that time?
    fn is_due(&self, now: Millis) -> bool {
        now >= self.end_at()
            || self.pending_deadline().is_some_and(|at| at <= now)
            || self.running().count() == 0
    }

    // === Inputs ===

    /// Says whether the input is news: of a running attempt, or of the client.
    fn note_input(&mut self, now: Millis, input: Option<&Input>) -> bool {
        let Some(input) = input else { return false };
        let attempt = match input {
            Input::Tick => return false,
            Input::ClientGone => return self.end.is_none(),
            Input::Failed { attempt, .. }
            | Input::Sent { attempt }
            | Input::Token { attempt }
            | Input::Progress { attempt }
            | Input::Ended { attempt }
            | Input::Broken { attempt, .. } => *attempt,
        };
        let Some(of) = self.attempts.get_mut(attempt as usize) else {
            return false;
        };
        if !of.runs() {
            return false;
        }
        match (input, of.committed) {
            (Input::Sent { .. }, None) if !of.sent => {
                of.sent = true;
                of.started = now;
                self.seen.note("sent after a wait");
            }
            (Input::Token { .. } | Input::Progress { .. }, Some(_)) => of.committed = Some(now),
            (Input::Ended { .. }, Some(_)) => self.ended = Some(attempt),
            (Input::Failed { failure, .. }, None) => self.failed(now, attempt, *failure),
            (Input::Ended { .. }, None) => self.failed(now, attempt, Failure::new(K::Protocol)),
            (Input::Broken { how, .. }, None) => {
                let kind = match how {
                    Break::Cut | Break::Stalled => K::Cut,
                    Break::TooLarge => K::TooLarge,
                    Break::Deadline => K::Deadline,
                    Break::Media => K::Rejected,
                    Break::Malformed | Break::MissingEnd | Break::InBand => K::Protocol,
                };
                self.failed(now, attempt, Failure::new(kind));
            }
            (
                Input::Broken {
                    how, continuable, ..
                },
                Some(_),
            ) => self.broken(now, attempt, *how, *continuable),
            (Input::Failed { .. }, Some(_)) => self.broken(now, attempt, Break::Cut, false),
            _ => {}
        }
        true
    }

    fn failed(&mut self, now: Millis, attempt: AttemptId, failure: Failure) {
        let (target, mode) = {
            let of = &self.attempts[attempt as usize];
            (of.target, of.mode)
        };
        self.failures.push((failure, target));
        let context = self.plan.targets[target].context_tokens;
        if failure.kind == K::ContextLength {
            self.too_small = self.too_small.max(context);
        }
        let trial =
            self.plan.targets[target].gate == Gate::Trial && !self.targets[target].succeeded;
        let known = &mut self.targets[target];
        known.last = Some((now, Some(failure)));
        let refused_prefill = failure.kind == K::Rejected && mode == Mode::Prefill;
        if refused_prefill {
            known.no_prefill = true;
            self.seen.note("prefill refused");
        }
        let too_long = failure
            .wait
            .is_some_and(|wait| wait > self.plan.retry.max_retry_after);
        if too_long && SAME_AGAIN.contains(&failure.kind) {
            self.seen.note("retry-after too long");
        }
        if trial || !refused_prefill && (too_long || !SAME_AGAIN.contains(&failure.kind)) {
            known.out = true;
        }
    }

    fn broken(&mut self, now: Millis, attempt: AttemptId, how: Break, continuable: bool) {
        let target = self.attempts[attempt as usize].target;
        self.targets[target].last = Some((now, None));
        self.broke = Some(how);
        self.asking_since = now;
        let hopeless = matches!(how, Break::TooLarge | Break::Deadline | Break::Media);
        self.rescue_forbidden |= !continuable || hopeless || !self.plan.rescue;
    }

    // === Actions ===

    fn start(&mut self, now: Millis, attempt: AttemptId, target: TargetId, mode: Mode) {
        assert_eq!(
            attempt as usize,
            self.attempts.len(),
            "attempts are counted up"
        );
        assert!(self.running().all(|a| a.committed.is_none()));
        let at_target = self.plan.targets[target].clone();
        let first = self.attempts.is_empty();
        if !first {
            assert!(attempt < self.plan.retry.attempts, "too many attempts");
            assert!(
                now < self.before(),
                "no attempt begins after the budget or the end"
            );
        }
        assert!(
            !matches!(at_target.gate, Gate::Open { .. }),
            "an open target was asked"
        );
        let expected = match (self.broke, at_target.prefill) {
            (None, _) => Mode::Fresh,
            (Some(_), true) if !self.targets[target].no_prefill => Mode::Prefill,
            (Some(_), _) => Mode::Instruction,
        };
        assert_eq!(mode, expected);
        assert!(
            self.broke.is_none() || !self.rescue_forbidden,
            "continued what cannot be"
        );
        if self.broke.is_none() {
            let ends = |(f, _): &(Failure, TargetId)| {
                matches!(f.kind, K::Rejected | K::ContentFilter | K::Deadline)
            };
            assert!(!self.failures.iter().any(ends), "retried what never is");
        }
        if let (Some(tokens), Some(too_small)) = (at_target.context_tokens, self.too_small) {
            assert!(tokens > too_small, "a context that is too small for sure");
        }
        if self.too_small.is_some() {
            self.seen.note("went on to a larger context");
        }
        if let [other] = self.running().collect::<Vec<_>>().as_slice() {
            // A hedge.
            let p95 = self.plan.targets[other.target].p95_first_token;
            let p95 = p95.expect("no hedge without a p95");
            assert!(self.plan.hedge && other.mode == Mode::Fresh);
            assert!(now >= other.started.plus(p95), "hedged too early");
            assert!(
                self.late_ticks || now == other.started.plus(p95),
                "hedged too late"
            );
            assert_eq!(self.targets[target].tries, 0);
            assert_eq!(at_target.gate, Gate::Closed);
            self.hedges += 1;
            assert_eq!(self.hedges, 1);
            self.seen.note("hedged");
        }
        assert!(self.running().count() < 2, "two at once at most");
        assert!(self.running().all(|a| a.target != target));
        let retry = self.plan.retry;
        let known = &mut self.targets[target];
        assert!(
            !known.out && !known.given_back,
            "a target that is out was asked"
        );
        assert!(known.tries < retry.attempts_per_target.max(1));
        if at_target.gate == Gate::Trial && !known.succeeded {
            assert_eq!(known.tries, 0, "a trial is one attempt");
        }
        if let Some((at, Some(failure))) = known.last
            && let Some(wait) = failure.wait
            && failure.kind != K::Rejected
        {
            assert!(now >= at.plus(wait), "came before the wait was over");
            self.seen.note("retry-after waited for");
        }
        known.tries += 1;
        self.attempts.push(Attempt {
            target,
            mode,
            started: now,
            sent: !at_target.queues,
            committed: None,
            aborted: false,
            booked: None,
            reports: Vec::new(),
        });
    }

    fn abort(&mut self, now: Millis, attempt: AttemptId, input: Option<&Input>, all: &[Action]) {
        let deadline = self.deadline(attempt);
        let of = self.attempts[attempt as usize].clone();
        assert!(of.runs() && !of.aborted, "aborts what does not run");
        self.attempts[attempt as usize].aborted = true;
        let total = now >= self.end_at();
        let other_won = all
            .iter()
            .any(|a| matches!(a, Action::Commit { attempt: other } if *other != attempt));
        let call_ended = matches!(all.last(), Some(Action::Finish(End::Failed { failure, .. }))
            if matches!(failure.kind, K::Rejected | K::ContentFilter | K::Deadline));
        let booked = all.iter().find_map(|action| match action {
            Action::Book {
                attempt: of,
                outcome,
            } if *of == attempt => Some(*outcome),
            _ => None,
        });
        // The reason, and the engine's own findings, which no input told.
        match booked.expect("booked in the same step") {
            Booked::Lost => assert!(other_won || call_ended, "lost against nobody"),
            Booked::ClientGone => assert_eq!(input, Some(&Input::ClientGone)),
            Booked::Failed if !total && !of.sent => {
                assert!(now >= deadline, "left the queue too early");
                self.seen.note("waited too long for a place");
                self.failed(now, attempt, Failure::new(K::Shed));
            }
            Booked::Failed if !total => {
                assert!(now >= deadline, "aborted before its first-token deadline");
                self.seen.note("first-token deadline");
                self.failed(now, attempt, Failure::new(K::FirstToken));
                let (target, started) = {
                    let of = &self.attempts[attempt as usize];
                    (of.target, of.started)
                };
                let own = self.adapted(target, self.plan.deadlines.own_first_token);
                if now < started.plus(own) {
                    self.seen.note("a caller in a hurry");
                    self.hurried.push(target);
                }
            }
            Booked::Broken if !total => {
                assert!(now >= deadline, "aborted before its idle deadline");
                self.seen.note("idle deadline");
                self.broken(now, attempt, Break::Stalled, true);
            }
            Booked::Failed | Booked::Broken => {}
            Booked::Delivered => panic!("delivered and aborted"),
        }
    }

    fn commit(&mut self, now: Millis, attempt: AttemptId, input: Option<&Input>) {
        assert_eq!(
            input,
            Some(&Input::Token { attempt }),
            "committed without a token"
        );
        assert!(now < self.end_at(), "committed when the time was over");
        assert!(
            self.running().all(|a| a.committed.is_none()),
            "two commits without a break between"
        );
        assert!(self.commits == 0 || self.broke.is_some());
        self.commits += 1;
        if self.hedges == 1 && self.running().count() == 2 {
            let won = attempt as usize + 1 == self.attempts.len();
            self.seen.note(if won { "hedge won" } else { "hedge lost" });
        }
        let asking_since = self.asking_since;
        let of = &mut self.attempts[attempt as usize];
        assert!(of.runs());
        of.committed = Some(now);
        self.used += of.started.0 - asking_since.0;
    }

    fn book(&mut self, now: Millis, attempt: AttemptId, outcome: Booked, input: Option<&Input>) {
        let _ = now;
        let gone = matches!(input, Some(Input::ClientGone));
        let ended = self.ended;
        let of = &mut self.attempts[attempt as usize];
        assert_eq!(of.booked, None, "booked twice");
        of.booked = Some(outcome);
        match outcome {
            Booked::Delivered => assert_eq!(ended, Some(attempt)),
            Booked::Broken => assert!(of.committed.is_some()),
            Booked::Failed => assert!(of.committed.is_none()),
            Booked::Lost => assert!(of.committed.is_none() && of.aborted),
            Booked::ClientGone => assert!(gone && of.aborted),
        }
    }

    fn report(&mut self, now: Millis, target: TargetId, health: Health) {
        let gate = self.plan.targets[target].gate;
        let known = &mut self.targets[target];
        if gate == Gate::Trial && !known.succeeded {
            known.trial_reports += 1;
        }
        if let Health::Success { .. } = health {
            known.succeeded = true;
        }
        let Some(of) = self.attempts.iter_mut().rev().find(|a| a.target == target) else {
            assert_eq!((gate, health), (Gate::Trial, Health::Neutral), "given back");
            known.given_back = true;
            self.seen.note("trial given back");
            return;
        };
        if let Health::Success { first_token } = health {
            assert_eq!(of.committed, Some(now));
            assert_eq!(first_token, now.since(of.started));
        }
        of.reports.push(health);
    }

    fn finish(&mut self, now: Millis, end: &End, input: Option<&Input>) {
        assert_eq!(self.running().count(), 0, "something still runs");
        match end {
            End::Delivered { attempt } => {
                assert_eq!(self.ended, Some(*attempt));
                self.seen.note("delivered");
                if self.broke.is_some() {
                    self.seen.note("delivered after a rescue");
                }
            }
            End::ClientGone => {
                assert_eq!(input, Some(&Input::ClientGone));
                self.seen.note("client gone");
            }
            End::Cut { how } => {
                assert!(self.commits > 0, "nothing was delivered that could be cut");
                self.seen.note("cut");
                if *how == Break::Deadline && now >= self.end_at() {
                    self.seen.note("total deadline");
                } else {
                    assert_eq!(self.broke, Some(*how));
                    self.gave_up_rightly(now);
                }
            }
            End::Failed {
                failure,
                target,
                wait,
            } => {
                assert_eq!(self.commits, 0, "delivered, and called failed");
                self.seen.note("failed");
                if failure.kind == K::Deadline && now >= self.end_at() {
                    self.seen.note("total deadline");
                } else {
                    self.told_rightly(now, *failure, *target, *wait);
                    self.gave_up_rightly(now);
                }
            }
        }
        self.end = Some(end.clone());
    }

    /// The failure that tells most, of the target that had it, with a wait that somebody named.
    fn told_rightly(
        &mut self,
        now: Millis,
        failure: Failure,
        target: Option<TargetId>,
        wait: Option<Millis>,
    ) {
        let named = self
            .plan
            .targets
            .iter()
            .zip(&self.targets)
            .filter_map(|(t, known)| match (t.gate, known.last) {
                (Gate::Open { until, fatal }, _) => fatal.is_none().then(|| until.since(now)),
                (_, Some((at, Some(failure)))) => failure
                    .wait
                    .filter(|_| !OPERATORS.contains(&failure.kind))
                    .map(|wait| at.plus(wait).since(now)),
                _ => None,
            });
        let named = named.min();
        let Some(target) = target else {
            assert!(self.attempts.is_empty());
            let reasons = self.plan.targets.iter().map(|t| match t.gate {
                Gate::Open { fatal, .. } => fatal,
                _ => None,
            });
            let reasons: Vec<_> = reasons.collect();
            let kind = if reasons.contains(&None) {
                K::Server
            } else if reasons.contains(&Some(Fatal::Key)) {
                K::Auth
            } else {
                K::Quota
            };
            assert_eq!((failure.kind, wait), (kind, named));
            self.seen.note("all open");
            if kind != K::Server {
                self.seen.note("all open for the operator");
            }
            return;
        };
        assert!(self.failures.contains(&(failure, target)));
        let (last, _) = self.failures.last().unwrap();
        if matches!(last.kind, K::Rejected | K::ContentFilter | K::Deadline) {
            assert_eq!(failure, *last, "what ends a call is what is told");
        } else {
            let most = self.failures.iter().map(|(f, _)| telling(f.kind)).max();
            assert_eq!(
                Some(telling(failure.kind)),
                most,
                "another failure tells more"
            );
        }
        match failure.kind {
            K::Rejected | K::ContextLength | K::ContentFilter => assert_eq!(wait, None),
            kind if OPERATORS.contains(&kind) => assert_eq!(wait, None),
            _ => assert_eq!(wait, named),
        }
    }

    /// Nothing could have been tried any more, for sure.
    fn gave_up_rightly(&mut self, now: Millis) {
        let ends = self.failures.last().is_some_and(|(f, _)| {
            matches!(f.kind, K::ContentFilter | K::Deadline)
                || f.kind == K::Rejected && self.broke.is_none()
        });
        let out = self.attempts.len() >= self.plan.retry.attempts.max(1) as usize;
        if ends || out || now >= self.before() || self.broke.is_some() && self.rescue_forbidden {
            return;
        }
        let untried = (0..self.targets.len()).filter(|t| self.targets[*t].tries == 0);
        for target in untried {
            let known = &self.targets[target];
            let open = matches!(self.plan.targets[target].gate, Gate::Open { .. });
            // A trial that was given back at this very end was never begun for want of time, or did not fit.
            assert!(
                open || !self.fits(target) || known.given_back && self.broke.is_some(),
                "gave up while target {target} was untried"
            );
        }
        for target in 0..self.targets.len() {
            let known = &self.targets[target];
            if !self.may_retry(target) {
                continue;
            }
            let (at, _) = known.last.unwrap();
            assert!(
                at.plus(self.longest_wait(target)) >= self.before(),
                "gave up while target {target} had attempts left"
            );
        }
    }

    // === After each step ===

    fn holds(&mut self, now: Millis, input: Option<&Input>, engine: &Engine) {
        if self.end.is_some() {
            assert_eq!(engine.due(), None);
            return;
        }
        let due = engine.due().expect("a wake time");
        assert!(due <= self.end_at());
        if let Some(at) = self.pending_deadline() {
            assert!(due <= at, "would sleep over a deadline");
            // A tick and an event at the same time come in any order.
            let ticked = matches!(input, Some(Input::Tick));
            assert!(
                self.late_ticks || at > now || !ticked && at == now,
                "a deadline was not kept"
            );
        }
        assert!(
            self.late_ticks || now <= self.end_at(),
            "the call goes on after its end"
        );
        for of in self.attempts.iter().filter(|a| a.aborted) {
            assert!(of.booked.is_some(), "aborted and not booked");
        }
        for (target, known) in self.plan.targets.iter().zip(&self.targets) {
            assert!(
                self.commits == 0
                    || target.gate != Gate::Trial
                    || known.tries > 0
                    || known.given_back,
                "keeps a trial that others could use while an answer flows"
            );
        }
        if self.running().count() == 0 {
            self.waits_rightly(now, due);
        }
    }

    /// Nothing runs: the wait is one that a target explains, and no healthy target stands by untried.
    fn waits_rightly(&mut self, now: Millis, due: Millis) {
        self.seen.note("waited");
        // An earlier wish may still stand: it only wakes too early.
        assert!(
            due < self.before() || due <= now,
            "waits for what cannot begin any more"
        );
        let explained = (0..self.targets.len()).any(|target| {
            self.may_retry(target)
                && self.targets[target]
                    .last
                    .is_some_and(|(at, _)| due <= at.plus(self.longest_wait(target)))
        });
        assert!(explained, "waits longer than any ceiling");
        let newest = self
            .targets
            .iter()
            .filter_map(|k| k.last)
            .max_by_key(|(at, _)| *at);
        let quick = self.targets.iter().any(|k| {
            k.tries == 1
                && k.last.is_some_and(|(at, failure)| {
                    Some(at) == newest.map(|(at, _)| at)
                        && failure.is_some_and(|f| {
                            matches!(f.kind, K::Server | K::Conflict) && f.wait.is_none()
                        })
                })
        });
        if !quick {
            for target in 0..self.targets.len() {
                let open = matches!(self.plan.targets[target].gate, Gate::Open { .. });
                let known = &self.targets[target];
                assert!(
                    known.tries > 0 || open || known.given_back || !self.fits(target),
                    "waits while target {target} is untried"
                );
            }
        }
    }

    pub fn finished(&mut self, delivered: u64, text: u64) {
        let end = self.end.clone().expect("the call is over");
        match end {
            End::Delivered { .. } => {
                assert_eq!(delivered, text, "a whole answer is the whole text")
            }
            End::Failed { .. } => assert_eq!(delivered, 0),
            End::Cut { .. } => assert!(delivered > 0 && delivered <= text),
            End::ClientGone => assert!(delivered <= text),
        }
        for of in &self.attempts {
            let outcome = of.booked.expect("every attempt is booked");
            let failing = |h: &Health| matches!(h, Health::Failure { .. });
            match (of.reports.as_slice(), outcome) {
                ([Health::Success { .. }], Booked::Delivered | Booked::ClientGone) => {}
                // The total deadline broke it: nobody's fault.
                ([Health::Success { .. }], Booked::Broken) => {}
                ([Health::Success { .. }, second], Booked::Broken) => assert!(failing(second)),
                ([Health::Neutral], Booked::Lost | Booked::ClientGone | Booked::Failed) => {}
                ([only], Booked::Failed) => assert!(failing(only)),
                (reports, outcome) => panic!("{reports:?} of an attempt that was {outcome:?}"),
            }
        }
        self.reports_match_failures();
        for (target, known) in self.plan.targets.iter().zip(&self.targets) {
            let expected = u32::from(target.gate == Gate::Trial);
            assert_eq!(
                known.trial_reports, expected,
                "a trial is reported exactly once"
            );
        }
        let delivered = self
            .attempts
            .iter()
            .filter(|a| a.booked == Some(Booked::Delivered));
        assert_eq!(
            delivered.count(),
            usize::from(matches!(end, End::Delivered { .. }))
        );
    }

    /// Each failure that is a target's fault was reported as such, with its wait, and no other was.
    fn reports_match_failures(&self) {
        let mut expected: Vec<(TargetId, Option<Millis>, Option<Fatal>)> = self
            .failures
            .iter()
            .filter(|(f, _)| FAULTS.contains(&f.kind))
            .map(|(f, target)| {
                let fatal = match f.kind {
                    K::Auth => Some(Fatal::Key),
                    K::Quota => Some(Fatal::Quota),
                    _ => None,
                };
                (*target, f.wait, fatal)
            })
            .collect();
        // Nobody is to blame for a caller in a hurry.
        for target in &self.hurried {
            let at = expected.iter().position(|e| *e == (*target, None, None));
            expected.swap_remove(at.expect("a failure without a wish"));
        }
        let reported = |a: &Attempt| {
            let target = a.target;
            let health = a.reports.iter().find_map(|h| match h {
                Health::Failure { wait, fatal } => Some((target, *wait, *fatal)),
                _ => None,
            });
            health.filter(|_| a.committed.is_none())
        };
        let mut reported: Vec<_> = self.attempts.iter().filter_map(reported).collect();
        expected.sort();
        reported.sort();
        assert_eq!(expected, reported);
    }

    // === Arithmetic of the plan ===

    fn running(&self) -> impl Iterator<Item = &Attempt> {
        self.attempts.iter().filter(|a| a.runs())
    }

    fn end_at(&self) -> Millis {
        self.began.plus(self.plan.deadlines.total)
    }

    /// Attempts begin before then.
    fn before(&self) -> Millis {
        let left = self.plan.retry.budget.0.saturating_sub(self.used);
        self.asking_since.plus(Millis(left)).min(self.end_at())
    }

    fn first_token(&self, target: TargetId) -> Millis {
        self.adapted(target, self.plan.deadlines.first_token)
    }

    fn adapted(&self, target: TargetId, configured: Millis) -> Millis {
        let deadlines = self.plan.deadlines;
        let configured = configured.0;
        let p95 = self.plan.targets[target].p95_first_token;
        match (deadlines.adaptive_floor, p95) {
            (Some(floor), Some(p95)) if p95.0 * 3 > floor.0 => Millis((p95.0 * 3).min(configured)),
            (Some(floor), Some(_)) => Millis(floor.0.min(configured)),
            _ => Millis(configured),
        }
    }

    fn deadline(&self, attempt: AttemptId) -> Millis {
        let of = &self.attempts[attempt as usize];
        match of.committed {
            Some(last) => last.plus(self.plan.deadlines.idle),
            None => of.started.plus(self.first_token(of.target)),
        }
    }

    fn pending_deadline(&self) -> Option<Millis> {
        (0u32..)
            .zip(&self.attempts)
            .filter(|(_, a)| a.runs())
            .map(|(id, _)| self.deadline(id))
            .min()
    }

    fn fits(&self, target: TargetId) -> bool {
        match (self.plan.targets[target].context_tokens, self.too_small) {
            (Some(tokens), Some(too_small)) => tokens > too_small,
            _ => true,
        }
    }

    fn may_retry(&self, target: TargetId) -> bool {
        let known = &self.targets[target];
        let trial = self.plan.targets[target].gate == Gate::Trial && !known.succeeded;
        known.tries > 0
            && known.tries < self.plan.retry.attempts_per_target.max(1)
            && !known.out
            && !trial
            && self.fits(target)
    }

    /// The most that the engine may wait for a target after its last failure.
    fn longest_wait(&self, target: TargetId) -> Millis {
        let retry = self.plan.retry;
        let known = &self.targets[target];
        let doubled = retry.base.0 << known.tries.saturating_sub(1).min(20);
        let backoff = doubled.min(retry.max.0);
        let asked = match known.last {
            Some((
                _,
                Some(Failure {
                    wait: Some(wait), ..
                }),
            )) => wait.plus(Millis((wait.0 / 8).min(retry.base.0))),
            _ => Millis::ZERO,
        };
        asked.max(Millis(backoff))
    }
}
