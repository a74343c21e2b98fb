//! The health of a call's targets: what the isolate's views say before, what attempts met, and who has a place below a
//! target's concurrency cap. While all is well this costs no call of an object.

use std::pin::Pin;

use super::gate::Caller;
use super::port::{Class, Port, call};
use crate::base::time::Millis;
use crate::domain::llm::engine::failure::{Failure, FailureKind};
use crate::domain::llm::engine::{AttemptId, Gate, Health as Verdict, Target, TargetId};
use crate::domain::llm::health::lanes::{Priority, Turn};
use crate::domain::llm::health::local::LocalGate;
use crate::domain::llm::health::machine::{Answer, Command, TargetState};
use crate::domain::llm::plan::Candidate;
use crate::domain::settings::config::{self, Alias};

/// A place below a target's concurrency cap, once it is granted.
pub type Lease = Pin<Box<dyn Future<Output = Result<(), Failure>>>>;

/// A lease outlives the longest call, so that a call whose isolate died gives its place back in the end.
const LEASE_MARGIN: Millis = Millis::from_secs(10);

/// The targets of one call.
pub struct Health<P: Port> {
    port: P,
    targets: Vec<Watched>,
    /// The call's name among all: request id and a number of its own.
    call: String,
    priority: Priority,
    lease_ttl: Millis,
    outbox: Vec<(TargetId, Command)>,
}

struct Watched {
    name: String,
    gate: Gate,
    /// This call is its trial, and the result is not told yet.
    trial: bool,
    p95: Option<Millis>,
    cap: Option<(u32, u32)>,
}

impl<P: Port> Health<P> {
    /// Looks at the targets in the order in which they are tried. A target that was down is asked for its single trial
    /// only where no healthy one stands before it.
    pub async fn consult(
        port: &P,
        candidates: &[Candidate],
        alias: Option<&Alias>,
        caller: &Caller,
    ) -> Self {
        let settings = port.settings();
        let deadlines = alias.map_or(settings.config.deadlines, |alias| settings.deadlines(alias));
        let batch = alias.is_some_and(|alias| alias.priority == config::Priority::Batch);
        let nonce = u64::from_le_bytes(port.random());
        let mut health = Self {
            port: port.clone(),
            targets: Vec::with_capacity(candidates.len()),
            call: format!("{}.{nonce:x}", caller.request_id),
            priority: if batch {
                Priority::Batch
            } else {
                Priority::Interactive
            },
            lease_ttl: Millis(deadlines.total_ms).plus(LEASE_MARGIN),
            outbox: Vec::new(),
        };
        for candidate in candidates {
            let name = candidate.name();
            let now = port.now();
            let (gate, p95) = port.view(&name, |view| (view.gate(now), view.p95()));
            let healthy_before = health.targets.iter().any(|t| t.gate == Gate::Closed);
            let gate = match gate {
                LocalGate::Closed => Gate::Closed,
                LocalGate::Open { until, fatal } => Gate::Open { until, fatal },
                LocalGate::NeedsTrial if healthy_before => Gate::Open {
                    until: now,
                    fatal: None,
                },
                LocalGate::NeedsTrial => health.ask_for_trial(&name).await,
            };
            health.targets.push(Watched {
                name,
                gate,
                trial: gate == Gate::Trial,
                p95,
                cap: candidate.cap,
            });
        }
        health
    }

    async fn ask_for_trial(&self, name: &str) -> Gate {
        let now = self.port.now();
        let ask = self.port.view(name, |view| view.ask_trial(now, &self.call));
        let reply = call::<TargetState>(&self.port, Class::Target, name, &ask).await;
        let now = self.port.now();
        self.port
            .view(name, |view| view.answered(now, reply.as_ref().ok()))
    }

    /// For the engine.
    #[must_use]
    pub fn targets(&self, candidates: &[Candidate]) -> Vec<Target> {
        self.targets
            .iter()
            .zip(candidates)
            .map(|(watched, candidate)| Target {
                gate: watched.gate,
                context_tokens: candidate.context_tokens,
                p95_first_token: watched.p95,
                queues: watched.cap.is_some(),
                prefill: candidate.prefill,
            })
            .collect()
    }

    /// A place below the target's cap; `None` where it has none.
    pub fn lease(&self, target: TargetId, attempt: AttemptId) -> Option<Lease> {
        let watched = self.targets.get(target)?;
        let (cap, queue) = watched.cap?;
        let (port, name) = (self.port.clone(), watched.name.clone());
        let ask = Command::Acquire {
            lease: self.lease_id(attempt),
            cap,
            queue,
            priority: self.priority,
            ttl: self.lease_ttl,
        };
        Some(Box::pin(async move {
            loop {
                let reply = call::<TargetState>(&port, Class::Target, &name, &ask).await;
                let shed = |wait| Failure {
                    kind: FailureKind::Shed,
                    wait: Some(wait),
                };
                match reply.map(|reply| reply.answer) {
                    Ok(Answer::Turn(Turn::Granted { .. })) => return Ok(()),
                    Ok(Answer::Turn(Turn::Wait { retry_in })) => port.sleep(retry_in).await,
                    Ok(Answer::Turn(Turn::Shed { retry_after })) => return Err(shed(retry_after)),
                    // A cap that cannot be asked for is held, not dropped.
                    _ => return Err(shed(Millis::from_secs(1))),
                }
            }
        }))
    }

    fn lease_id(&self, attempt: AttemptId) -> String {
        format!("{}.{attempt}", self.call)
    }

    /// Gives an attempt's place back.
    pub fn release(&mut self, target: TargetId, attempt: AttemptId) {
        if self.targets.get(target).is_some_and(|t| t.cap.is_some()) {
            let lease = self.lease_id(attempt);
            self.outbox.push((target, Command::Release { lease }));
        }
    }

    /// Takes what an attempt met: the isolate knows at once, the others when it is told.
    pub fn report(&mut self, target: TargetId, verdict: Verdict) {
        let Some(watched) = self.targets.get_mut(target) else {
            return;
        };
        // A trial has one result, whatever happens to its target after.
        let trial = core::mem::take(&mut watched.trial).then_some(self.call.as_str());
        let now = self.port.now();
        let command = self
            .port
            .view(&watched.name, |view| view.note(now, verdict, trial));
        if let Some(command) = command {
            self.outbox.push((target, command));
        }
    }

    /// Tells the targets' objects what there is to tell. An object that cannot be reached learns it from others.
    pub async fn settle(&mut self) {
        for (target, command) in core::mem::take(&mut self.outbox) {
            let Some(watched) = self.targets.get(target) else {
                continue;
            };
            let reply = call::<TargetState>(&self.port, Class::Target, &watched.name, &command);
            if let Ok(reply) = reply.await {
                self.port.view(&watched.name, |view| view.learn(&reply));
            }
        }
    }
}
