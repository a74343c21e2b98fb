//! Performs the engine's actions, and tells the engine what arrives.

use super::Drive;
use crate::app::attempt::{Arrival, Attempt};
use crate::app::port::Port;
use crate::base::errors::Refusal;
use crate::domain::llm::engine::failure::FailureKind;
use crate::domain::llm::engine::{Action, AttemptId, Health, Input, Mode, TargetId};
use crate::domain::llm::plan::Candidate;
use crate::domain::llm::stream::inlet::Step;
use crate::domain::telemetry::LogLine;

impl<P: Port> Drive<P> {
    /// Does what the engine wants.
    pub(super) fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start {
                    attempt,
                    target,
                    mode,
                } => self.start(attempt, target, mode),
                Action::Abort { attempt } => {
                    if let Some(attempt) = self.attempt(attempt) {
                        attempt.abort();
                    }
                }
                Action::Commit { attempt } => self.commit(attempt),
                Action::Book { attempt, outcome } => self.book(attempt, outcome),
                Action::Report { target, health } => self.report(target, health),
                Action::Wake { .. } => {}
                Action::Finish(end) => self.end = Some(end),
            }
        }
    }

    /// An attempt of this call.
    pub(super) fn attempt(&mut self, id: AttemptId) -> Option<&mut Attempt<P>> {
        self.running.iter_mut().find(|attempt| attempt.id == id)
    }

    fn start(&mut self, id: AttemptId, target: TargetId, mode: Mode) {
        let text = match mode {
            Mode::Fresh => None,
            Mode::Prefill | Mode::Instruction => Some(self.delivery.text()),
        };
        let lease = self.health.lease(target, id);
        let attempt = Attempt::start(
            &self.port,
            &self.job,
            id,
            target,
            mode,
            text.as_deref(),
            lease,
        );
        self.running.push(attempt);
    }

    fn commit(&mut self, id: AttemptId) {
        self.committed = Some(id);
        let spent = self.total_booked();
        let Some(attempt) = self.running.iter_mut().find(|a| a.id == id) else {
            return;
        };
        attempt.committed = true;
        if let Some(body) = attempt.body.take() {
            self.whole = Some(body);
        }
        if !self.job.native {
            let Some(candidate) = self.job.candidates.get(attempt.target) else {
                return;
            };
            self.delivery.begin(candidate.protocol, attempt.mode, spent);
            for step in core::mem::take(&mut attempt.held) {
                self.delivery.step(&step, &mut self.out);
            }
        }
    }

    fn report(&mut self, target: TargetId, verdict: Health) {
        self.health.report(target, verdict);
    }

    /// What only the operator can mend is told in the log at once, also when another target answers.
    fn alert(&self, id: AttemptId, kind: FailureKind, refusal: Option<&Refusal>) {
        let attempt = self.running.iter().find(|attempt| attempt.id == id);
        let candidate = attempt.and_then(|attempt| self.job.candidates.get(attempt.target));
        let entry = kind.code().entry();
        let cause = refusal.and_then(|refusal| refusal.cause.as_deref());
        self.port.log(&LogLine {
            level: entry.severity.as_str(),
            time: self.port.now().rfc3339(),
            request_id: self.job.request_id.clone(),
            method: "CALL".to_owned(),
            route: "alert",
            principal: "gatehouse",
            code: Some(entry.code),
            cause: Some(match cause {
                Some(cause) => format!("{}: {cause}", entry.en.title),
                None => entry.en.title.to_owned(),
            }),
            alias: Some(self.job.alias.clone()),
            target: candidate.map(Candidate::name),
            ..LogLine::default()
        });
    }

    /// Takes what arrived of an attempt.
    pub(super) fn arrived(&mut self, id: AttemptId, arrival: Arrival) {
        let Self {
            port, job, running, ..
        } = self;
        let Some(attempt) = running.iter_mut().find(|attempt| attempt.id == id) else {
            return;
        };
        let mut steps: Vec<Step> = Vec::new();
        let news = attempt.take(port, job, arrival, &mut steps);
        let closed = attempt.inlet.as_ref().is_some_and(|inlet| {
            let seen = inlet.seen();
            // A tool call or a picture cannot be continued, and what has its finish reason needs no continuation.
            seen.tool_call || seen.media || seen.finish.is_some()
        });
        if attempt.committed {
            if closed || !self.delivery.continuable() {
                self.engine.forbid_rescue();
            }
            for step in &steps {
                self.delivery.step(step, &mut self.out);
            }
        } else {
            attempt.held.append(&mut steps);
        }
        for news in news {
            if let Input::Failed { failure, .. } = &news.input
                && failure.kind.is_operators()
            {
                self.alert(id, failure.kind, news.refusal.as_ref());
            }
            if let Some(refusal) = news.refusal {
                let target = self.attempt(id).map(|attempt| attempt.target);
                if let (Some(target), Input::Failed { failure, .. }) = (target, &news.input) {
                    self.refusals.push((target, failure.kind, refusal));
                }
            }
            let input = match news.input {
                Input::Broken {
                    attempt,
                    how,
                    continuable,
                } => Input::Broken {
                    attempt,
                    how,
                    continuable: continuable && self.delivery.continuable(),
                },
                other => other,
            };
            self.tell(input);
        }
    }
}
