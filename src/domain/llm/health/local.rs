//! One isolate's view of a target: it decides alone while all is well, reacts to its own failures at once, and says
//! what the shared object is to hear, and when.
//!
//! Lives in memory only. Nothing here is exact across isolates: an isolate that has heard nothing takes a target for
//! healthy, and learns better from its own failures, or with its next report, at most [`REPORT_EVERY`] later.

use super::breaker::{BreakerPolicy, Fault, State, Verdict};
use super::latency::Latency;
use super::machine::{Answer, Command, Outcomes, Reply};
use crate::base::time::Millis;
use crate::domain::llm::engine::{Fatal, Gate, Health};

/// Successes are reported together, at most so often.
pub const REPORT_EVERY: Millis = Millis::from_secs(10);
/// A batch is sent when it has so many; each is a number of some five bytes.
pub const BATCH: usize = 100;
/// So often an isolate asks for the trial of a target that is down.
pub const ASK_EVERY: Millis = Millis::from_secs(1);

/// What the view says about a call that is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalGate {
    /// Go.
    Closed,
    /// Do not.
    Open {
        /// Not before then.
        until: Millis,
        /// Why nothing but the operator's work will help, where that is so.
        fatal: Option<Fatal>,
    },
    /// Ask the object: send [`LocalView::ask_trial`], and give the reply to [`LocalView::answered`]. To be asked only for a
    /// target that would be tried now, since a trial that is granted is kept from others.
    NeedsTrial,
}

/// The view of one target. The default is a healthy one.
#[derive(Clone, Debug, Default)]
pub struct LocalView {
    policy: BreakerPolicy,
    /// What the object said last.
    shared: State,
    shared_p95: Option<Millis>,
    latency: Latency,
    /// Failures in a row, seen here.
    consecutive: u32,
    /// This isolate's own pause, whatever the others see.
    own: Option<Millis>,
    /// What began that pause lasts until the operator acts.
    own_fatal: Option<Fatal>,
    /// The object is not asked for a trial before then.
    ask_after: Millis,
    pending: Vec<Millis>,
    reported: Option<Millis>,
}

impl LocalView {
    /// A view with that policy, which its commands carry.
    #[must_use]
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            ..Self::default()
        }
    }

    /// May a call go to the target now?
    #[must_use]
    pub fn gate(&self, now: Millis) -> LocalGate {
        let shared = match self.shared {
            State::Open { until, .. } => until,
            State::Closed | State::HalfOpen { .. } => Millis::ZERO,
        };
        let until = self.own.unwrap_or_default().max(shared);
        if now < until {
            let fatal = self.fatal(now);
            return LocalGate::Open { until, fatal };
        }
        if self.shared == State::Closed && self.own.is_none() {
            return LocalGate::Closed;
        }
        if now < self.ask_after {
            return LocalGate::Open {
                until: self.ask_after,
                fatal: self.fatal(now),
            };
        }
        LocalGate::NeedsTrial
    }

    /// The question for the trial. Until its reply, and for [`ASK_EVERY`], this isolate's other calls take the target for
    /// open.
    pub fn ask_trial(&mut self, now: Millis, call: &str) -> Command {
        self.ask_after = now.plus(ASK_EVERY);
        Command::Trial {
            id: call.to_owned(),
            policy: self.policy,
        }
    }

    /// The reply to [`ask_trial`](Self::ask_trial), as the gate of the call. `None`: the object cannot be reached, so this
    /// isolate lets a trial through by itself, one each [`ASK_EVERY`].
    pub fn answered(&mut self, now: Millis, reply: Option<&Reply>) -> Gate {
        let Some(reply) = reply else {
            return Gate::Trial;
        };
        self.learn(reply);
        if reply.answer == Answer::Trial(true) {
            return Gate::Trial;
        }
        match reply.view.state {
            State::Closed => {
                // The others find it healthy, and the pause here is over.
                self.recover();
                Gate::Closed
            }
            State::Open { until, fatal } => Gate::Open { until, fatal },
            State::HalfOpen { fatal, .. } => Gate::Open {
                until: self.ask_after.max(now),
                fatal,
            },
        }
    }

    /// Takes what the object says in reply to anything.
    pub fn learn(&mut self, reply: &Reply) {
        self.shared = reply.view.state;
        self.shared_p95 = reply.view.p95.or(self.shared_p95);
    }

    /// Takes what an attempt met, as the engine reports it. `trial` is the call's id with its first report of a target that
    /// it holds the trial of, and `None` with every later one: an answer that breaks after its first token is an
    /// ordinary failure of a target whose trial has succeeded.
    ///
    /// Says what to send now, if anything: failures and results of trials at once, successes together.
    pub fn note(&mut self, now: Millis, health: Health, trial: Option<&str>) -> Option<Command> {
        let verdict = match health {
            Health::Success { first_token } => {
                self.latency.add(first_token);
                self.pending.push(first_token);
                self.consecutive = 0;
                if trial.is_some() {
                    self.recover();
                    self.shared = State::Closed;
                }
                Verdict::Success
            }
            Health::Failure { wait, fatal } => {
                let fault = Fault { wait, fatal };
                self.fail(now, fault, trial.is_some());
                Verdict::Failure(fault)
            }
            Health::Neutral => Verdict::GivenBack,
        };
        let trial = trial.map(|call| (call.to_owned(), verdict));
        match verdict {
            // A trial's failure is told as such, and not counted once more.
            Verdict::Failure(fault) if trial.is_none() => Some(self.send(now, vec![fault], None)),
            Verdict::Failure(_) => Some(self.send(now, Vec::new(), trial)),
            Verdict::GivenBack => trial.map(|trial| self.send(now, Vec::new(), Some(trial))),
            Verdict::Success if trial.is_some() => Some(self.send(now, Vec::new(), trial)),
            Verdict::Success => self.flush(now),
        }
    }

    /// The gathered successes, if it is time to send them. The first of an isolate goes at once, and brings the view.
    pub fn flush(&mut self, now: Millis) -> Option<Command> {
        let time = self
            .reported
            .is_none_or(|reported| now < reported || now.since(reported) >= REPORT_EVERY);
        let due = !self.pending.is_empty() && (time || self.pending.len() >= BATCH);
        due.then(|| self.send(now, Vec::new(), None))
    }

    /// 95th percentile of the time to the first token: this isolate's own when it has seen enough, else what the object
    /// told.
    #[must_use]
    pub fn p95(&self) -> Option<Millis> {
        self.latency.p95().or(self.shared_p95)
    }

    fn fail(&mut self, now: Millis, fault: Fault, trial: bool) {
        self.consecutive = self.consecutive.saturating_add(1);
        if trial || fault.fatal.is_some() || self.consecutive >= self.policy.consecutive {
            let pause = if fault.fatal.is_some() {
                self.policy.longest
            } else {
                self.policy.first
            };
            let asked = fault.wait.unwrap_or_default().min(self.policy.longest);
            let until = now.plus(pause.max(asked));
            self.own = Some(self.own.unwrap_or_default().max(until));
            // A trial knows best, and what comes late adds to what is known.
            self.own_fatal = fault.fatal.or(self.own_fatal.filter(|_| !trial));
        }
    }

    /// Why nothing but the operator's work will help: as seen here, or as the object said.
    fn fatal(&self, now: Millis) -> Option<Fatal> {
        let own_runs = self.own.is_some_and(|until| now < until);
        match self.shared {
            State::Closed => self.own_fatal,
            State::Open { fatal, .. } | State::HalfOpen { fatal, .. } => {
                self.own_fatal.filter(|_| own_runs).or(fatal)
            }
        }
    }

    fn recover(&mut self) {
        self.consecutive = 0;
        self.own = None;
        self.own_fatal = None;
    }

    fn send(
        &mut self,
        now: Millis,
        faults: Vec<Fault>,
        trial: Option<(String, Verdict)>,
    ) -> Command {
        self.reported = Some(now);
        Command::Report {
            outcomes: Outcomes {
                at: now,
                first_tokens: std::mem::take(&mut self.pending),
                faults,
            },
            trial,
            policy: self.policy,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ASK_EVERY, BATCH, LocalGate, LocalView, REPORT_EVERY};
    use crate::base::machine::Machine;
    use crate::base::time::Millis;
    use crate::domain::llm::engine::{Fatal, Gate, Health};
    use crate::domain::llm::health::breaker::State;
    use crate::domain::llm::health::machine::{Answer, Command, Reply, TargetState, View};

    const START: u64 = 1_795_237_500_000;
    const GOOD: Health = Health::Success {
        first_token: Millis(300),
    };
    const BAD: Health = Health::Failure {
        wait: None,
        fatal: None,
    };

    fn at(secs: u64) -> Millis {
        Millis(START + secs * 1000)
    }

    const fn shut(until: Millis) -> LocalGate {
        LocalGate::Open { until, fatal: None }
    }

    const fn open(until: Millis, fatal: Option<Fatal>) -> State {
        State::Open { until, fatal }
    }

    const fn half_open(trial_until: Option<Millis>) -> State {
        State::HalfOpen {
            trial_until,
            fatal: None,
        }
    }

    fn saying(state: State, answer: Answer) -> Reply {
        let view = View { state, p95: None };
        Reply { view, answer }
    }

    #[test]
    fn healthy_calls_cost_one_report_in_ten_seconds() {
        let mut view = LocalView::default();
        let mut sent = Vec::new();
        // Ten calls a second for a minute.
        for tick in 0..600 {
            let now = Millis(START + tick * 100);
            assert_eq!(view.gate(now), LocalGate::Closed);
            if let Some(Command::Report { outcomes, .. }) = view.note(now, GOOD, None) {
                sent.push((now.since(at(0)), outcomes.first_tokens.len()));
            }
        }
        let tens: Vec<_> = (0..6)
            .map(|n| (Millis(n * REPORT_EVERY.0), if n == 0 { 1 } else { 100 }))
            .collect();
        assert_eq!(sent, tens);
        assert_eq!(BATCH, 100);
    }

    #[test]
    fn a_busy_isolate_sends_full_batches() {
        let mut view = LocalView::default();
        let sent = (0..1 + 3 * BATCH).filter(|_| view.note(at(0), GOOD, None).is_some());
        assert_eq!(sent.count(), 1 + 3);
    }

    #[test]
    fn failures_are_told_at_once_and_five_in_a_row_stop_this_isolate() {
        let mut view = LocalView::default();
        view.note(at(0), GOOD, None);
        view.note(at(0), GOOD, None);
        for n in 0..5 {
            assert_eq!(view.gate(at(1)), LocalGate::Closed, "{n}");
            let Some(Command::Report { outcomes, .. }) = view.note(at(1), BAD, None) else {
                panic!("not told");
            };
            assert_eq!(outcomes.faults.len(), 1);
            assert_eq!(
                outcomes.first_tokens.len(),
                usize::from(n == 0),
                "what waited goes along"
            );
            // The others find it healthy: that is no reason to go on here.
            view.learn(&saying(State::Closed, Answer::Done));
        }
        assert_eq!(view.gate(at(2)), shut(at(6)));
        assert_eq!(view.gate(at(6)), LocalGate::NeedsTrial);
        view.ask_trial(at(6), "call");
        let answer = saying(State::Closed, Answer::Trial(false));
        assert_eq!(view.answered(at(6), Some(&answer)), Gate::Closed);
        assert_eq!(view.gate(at(6)), LocalGate::Closed);
    }

    #[test]
    fn refused_credentials_stop_this_isolate_at_once() {
        let mut view = LocalView::default();
        let fatal = Health::Failure {
            wait: None,
            fatal: Some(Fatal::Key),
        };
        view.note(at(0), fatal, None);
        let until = at(30);
        assert_eq!(
            view.gate(at(29)),
            LocalGate::Open {
                until,
                fatal: Some(Fatal::Key)
            }
        );
    }

    #[test]
    fn why_a_target_is_down_is_known_from_here_and_from_the_object() {
        let why = |view: &LocalView, now| match view.gate(now) {
            LocalGate::Open { fatal, .. } => fatal,
            LocalGate::Closed | LocalGate::NeedsTrial => None,
        };
        let refused = Health::Failure {
            wait: None,
            fatal: Some(Fatal::Quota),
        };
        // Seen here, and the object cannot be reached.
        let mut view = LocalView::default();
        view.note(at(0), refused, None);
        assert_eq!(why(&view, at(29)), Some(Fatal::Quota));
        view.ask_trial(at(30), "call");
        assert_eq!(why(&view, at(30)), Some(Fatal::Quota), "a trial is out");
        // Its trial meets something else, or succeeds.
        let mut down = view.clone();
        down.note(at(30), BAD, Some("call"));
        assert_eq!(down.gate(at(31)), shut(at(35)));
        view.note(at(30), GOOD, Some("call"));
        assert_eq!(view.gate(at(30)), LocalGate::Closed);
        // Seen elsewhere.
        let mut view = LocalView::default();
        view.learn(&saying(open(at(30), Some(Fatal::Key)), Answer::Done));
        assert_eq!(why(&view, at(29)), Some(Fatal::Key));
        let answer = saying(open(at(60), Some(Fatal::Key)), Answer::Trial(false));
        let gate = view.answered(at(30), Some(&answer));
        let (until, fatal) = (at(60), Some(Fatal::Key));
        assert_eq!(gate, Gate::Open { until, fatal });
    }

    #[test]
    fn an_open_target_is_left_alone_and_its_trial_is_asked_for_once_a_second() {
        let mut view = LocalView::default();
        view.learn(&saying(open(at(5), None), Answer::Done));
        assert_eq!(view.gate(at(4)), shut(at(5)));
        assert_eq!(view.gate(at(5)), LocalGate::NeedsTrial);
        view.ask_trial(at(5), "call");
        let later = at(5).plus(ASK_EVERY);
        assert_eq!(view.gate(at(5)), shut(later));
        let trial_until = Some(at(33));
        let answer = saying(half_open(trial_until), Answer::Trial(false));
        assert_eq!(
            view.answered(at(5), Some(&answer)),
            Gate::Open {
                until: later,
                fatal: None
            }
        );
        assert_eq!(view.gate(later), LocalGate::NeedsTrial);
    }

    #[test]
    fn the_result_of_a_trial_is_always_told_at_once() {
        for health in [GOOD, BAD, Health::Neutral] {
            let mut view = LocalView::default();
            view.learn(&saying(half_open(None), Answer::Done));
            view.note(at(0), GOOD, None);
            let told = view.note(at(0), health, Some("call"));
            let Some(Command::Report { trial, .. }) = told else {
                panic!("not told");
            };
            assert_eq!(trial.unwrap().0, "call");
            let closed = view.gate(at(0)) == LocalGate::Closed;
            assert_eq!(closed, health == GOOD);
        }
        assert_eq!(
            LocalView::default().note(at(0), Health::Neutral, None),
            None
        );
    }

    #[test]
    fn without_the_object_one_call_a_second_is_a_trial() {
        let mut view = LocalView::default();
        view.learn(&saying(open(at(5), None), Answer::Done));
        view.ask_trial(at(5), "call");
        assert_eq!(view.answered(at(5), None), Gate::Trial);
        assert!(matches!(view.gate(at(5)), LocalGate::Open { .. }));
        view.note(at(5), GOOD, Some("call"));
        assert_eq!(view.gate(at(5)), LocalGate::Closed);
    }

    /// Two isolates and the object; a primary that is down until some second, and a call in each isolate every second.
    #[test]
    fn a_flapping_primary_is_used_again_within_half_a_minute_and_hardly_asked_while_it_is_down() {
        for healthy_from in [7, 12, 40, 100, 333] {
            let mut object = TargetState::default();
            let mut views = [LocalView::default(), LocalView::default()];
            let (mut asked_while_down, mut served_from) = (0, [None; 2]);
            for second in 0..healthy_from + 60 {
                for (isolate, view) in views.iter_mut().enumerate() {
                    let call = format!("{isolate}-{second}");
                    let now = at(second);
                    let (goes, trial) = match view.gate(now) {
                        LocalGate::Closed => (true, false),
                        LocalGate::Open { .. } => (false, false),
                        LocalGate::NeedsTrial => {
                            let command = view.ask_trial(now, &call);
                            let (reply, _) = object.apply(now, command);
                            let gate = view.answered(now, Some(&reply));
                            (!matches!(gate, Gate::Open { .. }), gate == Gate::Trial)
                        }
                    };
                    if !goes {
                        continue;
                    }
                    let up = second >= healthy_from;
                    if up {
                        served_from[isolate].get_or_insert(second);
                    } else {
                        asked_while_down += 1;
                    }
                    let health = if up { GOOD } else { BAD };
                    if let Some(command) = view.note(now, health, trial.then_some(&call)) {
                        let (reply, _) = object.apply(now, command);
                        view.learn(&reply);
                    }
                }
            }
            for served in served_from {
                let served = served.expect("it is used again");
                assert!(served <= healthy_from + 30, "{healthy_from}: {served}");
            }
            // Five to open, then a trial after 5, 10, 20, 30, 30 … seconds; an isolate may add its own view once.
            assert!(
                asked_while_down <= 8 + healthy_from / 30,
                "{asked_while_down}"
            );
        }
    }
}
