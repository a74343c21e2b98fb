//! Drives the failure engine: performs its actions over the port and tells it what happens.
//!
//! One loop for streams and whole answers. Until an attempt is committed nothing has reached the caller; then a stream
//! goes on after the reply was returned, either natively or piece by piece through here.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use super::attempt::{Arrival, Attempt, Body, usage_of};
use super::health::Health;
use super::job::{Job, Wants};
use super::port::{ClientGone, Port, RelayEnd};
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::engine::failure::{Break, Failure, FailureKind};
use crate::domain::llm::engine::machine::Engine;
use crate::domain::llm::engine::{
    Action, AttemptId, Booked, Deadlines, End, Health as Verdict, Input, Mode, Plan, TargetId,
};
use crate::domain::llm::message::Usage;
use crate::domain::llm::plan::Candidate;
use crate::domain::llm::price::Micros;
use crate::domain::llm::stream::delivery::Delivery;
use crate::domain::llm::stream::inlet::{Inlet, Step};
use crate::domain::llm::upstream::MAX_PASSED_WAIT;
use crate::domain::telemetry::LogLine;

/// A call on its way through the chain.
pub struct Drive<P: Port> {
    port: P,
    /// What is asked.
    pub job: Job,
    began: Millis,
    deadlines: Deadlines,
    engine: Engine,
    health: Health<P>,
    running: Vec<Attempt<P>>,
    committed: Option<AttemptId>,
    timer: Option<Timer>,
    books: Vec<Book>,
    refusals: Vec<(TargetId, FailureKind, Refusal)>,
    delivery: Delivery,
    out: Vec<u8>,
    /// Bytes that went to the sink.
    sent: u64,
    whole: Option<Body>,
    end: Option<End>,
}

/// What one attempt took.
#[derive(Clone, Debug)]
pub struct Book {
    /// Which target.
    pub target: TargetId,
    /// How it ended.
    pub outcome: Booked,
    /// Its tokens.
    pub usage: Usage,
    /// Its price, where one is configured.
    pub cost: Option<Micros>,
}

/// All attempts together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// How many.
    pub attempts: u32,
    /// Their tokens.
    pub usage: Usage,
    /// Their price; `None` when none of the models has one.
    pub cost: Option<Micros>,
}

struct Timer {
    at: Millis,
    sleep: Pin<Box<dyn Future<Output = ()>>>,
}

/// Where an inspected stream goes.
pub enum Sink<P: Port> {
    /// To the client.
    Client {
        /// Its body.
        outlet: P::Outlet,
        /// Resolves when it goes away.
        gone: Pin<Box<dyn Future<Output = ()>>>,
    },
    /// Into a log, from which any number of clients read.
    Record {
        /// Takes the next events.
        write: Box<dyn FnMut(Vec<u8>)>,
        /// Resolves when the answer is wanted no more.
        stopped: Stopped,
    },
}

/// Resolves when an answer is wanted no more.
pub type Stopped = Pin<Box<dyn Future<Output = ()>>>;

/// Nothing is written before an attempt is committed.
fn nowhere<P: Port>(stopped: Stopped) -> Sink<P> {
    Sink::Record {
        write: Box::new(|_| {}),
        stopped,
    }
}

enum Happening {
    Arrived(AttemptId, Arrival),
    Time,
    Gone,
    Written,
}

impl<P: Port> Drive<P> {
    /// Begins: the first attempt is under way when this returns.
    pub fn begin(port: &P, job: Job, plan: Plan, health: Health<P>, delivery: Delivery) -> Self {
        let jitter = u64::from_le_bytes(port.random());
        let (began, deadlines) = (port.now(), plan.deadlines);
        let (engine, actions) = Engine::new(plan, began, jitter);
        let mut drive = Self {
            port: port.clone(),
            job,
            began,
            deadlines,
            engine,
            health,
            running: Vec::new(),
            committed: None,
            timer: None,
            books: Vec::new(),
            refusals: Vec::new(),
            delivery,
            out: Vec::new(),
            sent: 0,
            whole: None,
            end: None,
        };
        drive.perform(actions);
        drive
    }

    /// Runs until an attempt's answer can be delivered, or until none can. True when one is committed.
    pub async fn until_committed(&mut self, stopped: Option<Stopped>) -> bool {
        let mut sink = stopped.map(nowhere);
        while self.committed.is_none() && self.end.is_none() {
            let happening = self.next(sink.as_mut(), None).await;
            self.take(happening);
        }
        self.committed.is_some()
    }

    /// Runs a whole answer to its end.
    pub async fn until_over(&mut self, stopped: Option<Stopped>) {
        let mut sink = stopped.map(nowhere);
        while self.end.is_none() {
            let happening = self.next(sink.as_mut(), None).await;
            self.take(happening);
        }
    }

    /// Runs a committed stream to its end through `sink`. `closing` makes the last bytes from how it ended.
    pub async fn run(
        &mut self,
        mut sink: Sink<P>,
        closing: impl FnOnce(&mut Self, &End) -> Vec<u8>,
    ) {
        // What failed before is told now, not when a long answer has ended.
        self.settle().await;
        loop {
            let out = core::mem::take(&mut self.out);
            if !out.is_empty() {
                self.sent = self.sent.saturating_add(out.len() as u64);
                self.hold_to_size();
                self.write(&mut sink, out).await;
            } else if self.end.is_none() {
                let happening = self.next(Some(&mut sink), None).await;
                self.take(happening);
            } else {
                break;
            }
        }
        let Some(end) = self.end.clone() else { return };
        let last = closing(self, &end);
        match sink {
            Sink::Client { outlet, .. } => {
                if end != End::ClientGone {
                    if !last.is_empty() {
                        // The client may go away at the very last moment too.
                        let _ = self.port.write(&outlet, last).await;
                    }
                    self.port.close(&outlet).await;
                }
            }
            Sink::Record { mut write, .. } => write(last),
        }
    }

    /// Ends an answer that is longer than what may be stored.
    fn hold_to_size(&mut self) {
        let over = self.job.max_bytes.is_some_and(|max| self.sent > max);
        let Some(attempt) = self.committed.filter(|_| over && self.end.is_none()) else {
            return;
        };
        if let Some(running) = self.attempt(attempt) {
            running.abort();
        }
        self.tell(Input::Broken {
            attempt,
            how: Break::TooLarge,
            continuable: false,
        });
    }

    /// Writes to the sink; meanwhile nothing more is read, so that a slow client slows the provider down.
    async fn write(&mut self, sink: &mut Sink<P>, bytes: Vec<u8>) {
        match sink {
            Sink::Record { write, .. } => write(bytes),
            Sink::Client { outlet, .. } => {
                let (port, outlet) = (self.port.clone(), outlet.clone());
                let mut writing: Writing =
                    Box::pin(async move { port.write(&outlet, bytes).await });
                loop {
                    let happening = self.next(Some(sink), Some(&mut writing)).await;
                    let written = matches!(happening, Happening::Written);
                    // A client that takes its time is no stalled provider.
                    self.progress();
                    if written {
                        return;
                    }
                    self.take(happening);
                    if self.end.is_some() {
                        return;
                    }
                }
            }
        }
    }

    fn progress(&mut self) {
        if let Some(attempt) = self.committed {
            self.tell(Input::Progress { attempt });
        }
    }

    /// How it ended; `None` while it runs.
    pub const fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The committed attempt's target.
    #[must_use]
    pub fn target(&self) -> Option<TargetId> {
        let committed = self.committed?;
        self.running
            .iter()
            .find(|attempt| attempt.id == committed)
            .map(|attempt| attempt.target)
            .or_else(|| {
                let delivered = |book: &&Book| book.outcome == Booked::Delivered;
                self.books.iter().find(delivered).map(|book| book.target)
            })
    }

    /// The whole answer that is to be delivered.
    pub const fn whole(&self) -> Option<&Body> {
        self.whole.as_ref()
    }

    /// The stream as the caller gets it.
    pub const fn delivery(&mut self) -> &mut Delivery {
        &mut self.delivery
    }

    /// What all attempts took so far.
    #[must_use]
    pub fn total(&self) -> Total {
        let usage = self
            .books
            .iter()
            .fold(Usage::default(), |sum, book| sum.plus(book.usage));
        let cost = self
            .books
            .iter()
            .filter_map(|book| book.cost)
            .reduce(Micros::plus);
        Total {
            attempts: self.engine_attempts(),
            usage,
            cost,
        }
    }

    fn engine_attempts(&self) -> u32 {
        let running = self.running.iter().filter(|a| !a.booked).count();
        u32::try_from(self.books.len().saturating_add(running)).unwrap_or(u32::MAX)
    }

    /// The refusal for a call of which nothing could be delivered.
    #[must_use]
    pub fn refusal(
        &self,
        failure: Failure,
        target: Option<TargetId>,
        wait: Option<Millis>,
    ) -> Refusal {
        let known = self
            .refusals
            .iter()
            .rev()
            .find(|(of, kind, _)| Some(*of) == target && *kind == failure.kind)
            .map(|(_, _, refusal)| refusal.clone());
        let refusal = known.unwrap_or_else(|| Refusal::new(code_of(failure.kind)));
        match wait {
            Some(wait) if refusal.code.entry().retryable => {
                refusal.wait(wait.clamp(Millis::from_secs(1), MAX_PASSED_WAIT))
            }
            _ => refusal,
        }
    }

    // === native relay ===

    /// Takes the committed attempt's inlet, so that the relay can watch with it.
    pub fn hand_over(&mut self) -> Option<(P::Call, Inlet)> {
        let committed = self.committed?;
        let attempt = self.running.iter_mut().find(|a| a.id == committed)?;
        attempt.pending = None;
        Some((attempt.call.clone()?, attempt.inlet.take()?))
    }

    /// Takes the end of a relay.
    pub fn relayed(&mut self, end: RelayEnd, inlet: Inlet) {
        let Some(id) = self.committed else { return };
        let verdict = verdict(end, &inlet);
        if let Some(attempt) = self.running.iter_mut().find(|a| a.id == id) {
            attempt.inlet = Some(inlet);
        }
        self.tell(match verdict {
            RelayVerdict::Whole => Input::Ended { attempt: id },
            RelayVerdict::ClientGone => Input::ClientGone,
            RelayVerdict::Broken(how) => Input::Broken {
                attempt: id,
                how,
                continuable: false,
            },
        });
    }

    /// What is left of the deadlines for a relay: between two pieces, and in all.
    #[must_use]
    pub fn deadlines_left(&self) -> (Millis, Millis) {
        let left = self.began.plus(self.deadlines.total).since(self.port.now());
        (self.deadlines.idle, Millis(left.0.max(1)))
    }

    /// The comment behind the end of a stream, for callers that asked: what all attempts took.
    #[must_use]
    pub fn trailer(&self) -> Vec<u8> {
        let total = self.total();
        trailer(self.target_name().as_deref(), &total)
    }

    /// The same for a relay, whose last attempt is not booked yet when its end is written.
    pub fn trailer_of_relay(&self) -> impl FnOnce(&Inlet) -> Vec<u8> + 'static {
        let (before, name) = (self.total(), self.target_name());
        let (port, input_tokens) = (self.port.clone(), self.job.input_tokens);
        let candidate = self
            .target()
            .and_then(|t| self.job.candidates.get(t))
            .cloned();
        move |inlet| {
            let usage = usage_of(inlet, input_tokens);
            let cost = candidate.and_then(|candidate| {
                let settings = port.settings();
                settings.cost(
                    &candidate.provider_name,
                    &candidate.model,
                    &usage.into(),
                    port.now(),
                )
            });
            let total = Total {
                attempts: before.attempts,
                usage: before.usage.plus(usage),
                cost: [before.cost, cost]
                    .into_iter()
                    .flatten()
                    .reduce(Micros::plus),
            };
            trailer(name.as_deref(), &total)
        }
    }

    fn target_name(&self) -> Option<String> {
        let candidate = self.job.candidates.get(self.target()?)?;
        Some(candidate.name())
    }

    /// Tells the breakers and gives leases back: after the last byte.
    pub async fn settle(&mut self) {
        self.health.settle().await;
    }

    // === the loop ===

    fn tell(&mut self, input: Input) {
        let actions = self.engine.on(self.port.now(), input);
        self.perform(actions);
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Time => self.tell(Input::Tick),
            Happening::Gone => self.tell(Input::ClientGone),
            Happening::Written => {}
            Happening::Arrived(id, arrival) => self.arrived(id, arrival),
        }
    }

    /// The next thing that happens: something of an attempt, the timer, the client, or the end of a write.
    async fn next(
        &mut self,
        sink: Option<&mut Sink<P>>,
        writing: Option<&mut Writing>,
    ) -> Happening {
        self.arm();
        let (mut sink, mut writing) = (sink, writing);
        let (running, timer) = (&mut self.running, &mut self.timer);
        poll_fn(|context| {
            if let Some(writing) = writing.as_mut() {
                match writing.as_mut().poll(context) {
                    Poll::Ready(Ok(())) => return Poll::Ready(Happening::Written),
                    Poll::Ready(Err(ClientGone)) => return Poll::Ready(Happening::Gone),
                    Poll::Pending => {}
                }
            } else {
                for attempt in running.iter_mut() {
                    if let Some(pending) = attempt.pending.as_mut()
                        && let Poll::Ready(arrival) = pending.as_mut().poll(context)
                    {
                        attempt.pending = None;
                        return Poll::Ready(Happening::Arrived(attempt.id, arrival));
                    }
                }
            }
            let gone = match sink.as_mut() {
                Some(Sink::Client { gone, .. }) => gone.as_mut().poll(context).is_ready(),
                Some(Sink::Record { stopped, .. }) => stopped.as_mut().poll(context).is_ready(),
                None => false,
            };
            if gone {
                return Poll::Ready(Happening::Gone);
            }
            if let Some(armed) = timer.as_mut()
                && armed.sleep.as_mut().poll(context).is_ready()
            {
                *timer = None;
                return Poll::Ready(Happening::Time);
            }
            Poll::Pending
        })
        .await
    }

    /// Sees to it that a timer fires when the engine wants one, not earlier than needed: a deadline that moves on with
    /// every piece must not cost a timer for every piece. One that fires too early finds nothing to do.
    fn arm(&mut self) {
        let Some(due) = self.engine.due() else { return };
        if self.timer.as_ref().is_some_and(|timer| timer.at <= due) {
            return;
        }
        let port = self.port.clone();
        let time = Millis(due.since(port.now()).0.max(1));
        self.timer = Some(Timer {
            at: due,
            sleep: Box::pin(async move { port.sleep(time).await }),
        });
    }

    fn perform(&mut self, actions: Vec<Action>) {
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

    fn attempt(&mut self, id: AttemptId) -> Option<&mut Attempt<P>> {
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

    fn total_booked(&self) -> Usage {
        self.books
            .iter()
            .fold(Usage::default(), |sum, book| sum.plus(book.usage))
    }

    fn book(&mut self, id: AttemptId, outcome: Booked) {
        let now = self.port.now();
        let input_tokens = self.job.input_tokens;
        let Some(attempt) = self.attempt(id) else {
            return;
        };
        if attempt.booked {
            return;
        }
        attempt.booked = true;
        attempt.pending = None;
        let usage = attempt.usage(input_tokens);
        let target = attempt.target;
        let cost = self.job.candidates.get(target).and_then(|candidate| {
            self.port.settings().cost(
                &candidate.provider_name,
                &candidate.model,
                &usage.into(),
                now,
            )
        });
        self.health.release(target, id);
        self.books.push(Book {
            target,
            outcome,
            usage,
            cost,
        });
    }

    fn report(&mut self, target: TargetId, verdict: Verdict) {
        self.health.report(target, verdict);
    }

    /// A provider that refuses our credentials is the operator's matter, also when another target answers.
    fn alert(&self, id: AttemptId) {
        let attempt = self.running.iter().find(|attempt| attempt.id == id);
        let candidate = attempt.and_then(|attempt| self.job.candidates.get(attempt.target));
        let entry = Code::UpstreamAuth.entry();
        self.port.log(&LogLine {
            level: entry.severity.as_str(),
            time: self.port.now().rfc3339(),
            request_id: self.job.request_id.clone(),
            method: "CALL".to_owned(),
            route: "alert",
            principal: "gatehouse",
            code: Some(entry.code),
            cause: Some("the provider refused the operator's key".to_owned()),
            alias: Some(self.job.alias.clone()),
            target: candidate.map(Candidate::name),
            ..LogLine::default()
        });
    }

    // === arrivals ===

    fn arrived(&mut self, id: AttemptId, arrival: Arrival) {
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
            // A tool call cannot be continued, and what has its finish reason needs no continuation.
            seen.tool_call || seen.finish.is_some()
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
                && failure.kind == FailureKind::Auth
            {
                self.alert(id);
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

/// What the end of a relay means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayVerdict {
    /// The answer is whole.
    Whole,
    /// The client went away.
    ClientGone,
    /// It broke.
    Broken(Break),
}

/// Judges the end of a relay by how the connection ended and by what was seen.
#[must_use]
pub fn verdict(end: RelayEnd, inlet: &Inlet) -> RelayVerdict {
    match (end, inlet.fault()) {
        (RelayEnd::ClientGone, _) => RelayVerdict::ClientGone,
        // An error inside the stream, or something that cannot be read, says more than how the connection ended.
        (_, Some(how @ (Break::InBand | Break::Malformed))) => RelayVerdict::Broken(how),
        // What broke behind the end marker broke nothing.
        (_, None) => RelayVerdict::Whole,
        (RelayEnd::Ended, Some(how)) => RelayVerdict::Broken(how),
        (RelayEnd::Broken, _) => RelayVerdict::Broken(Break::Cut),
        (RelayEnd::Stalled, _) => RelayVerdict::Broken(Break::Stalled),
        (RelayEnd::Overran, _) => RelayVerdict::Broken(Break::Deadline),
    }
}

/// A Server-Sent Events comment: clients that do not look for it never see it.
fn trailer(target: Option<&str>, total: &Total) -> Vec<u8> {
    let said = serde_json::json!({
        "target": target,
        "attempts": total.attempts,
        "tokens_in": total.usage.input,
        "tokens_out": total.usage.output,
        "tokens_estimated": total.usage.estimated,
        "cost_usd": total.cost.map(|cost| cost.to_string()),
    });
    format!(": gatehouse {said}\n\n").into_bytes()
}

type Writing = Pin<Box<dyn Future<Output = Result<(), ClientGone>>>>;

/// The catalogue's code for a failure of which nothing more is known.
#[must_use]
pub const fn code_of(kind: FailureKind) -> Code {
    match kind {
        FailureKind::RateLimited | FailureKind::Quota => Code::UpstreamRateLimited,
        FailureKind::Server | FailureKind::Conflict => Code::UpstreamError,
        FailureKind::Timeout | FailureKind::FirstToken => Code::UpstreamTimeout,
        FailureKind::Unreachable => Code::UpstreamUnreachable,
        FailureKind::Cut => Code::UpstreamDisconnected,
        FailureKind::Protocol => Code::UpstreamProtocol,
        FailureKind::TooLarge => Code::UpstreamTooLarge,
        FailureKind::Redirect => Code::UpstreamRedirect,
        FailureKind::Auth => Code::UpstreamAuth,
        FailureKind::ContextLength => Code::InputTooLong,
        FailureKind::ContentFilter => Code::ContentFiltered,
        FailureKind::Rejected => Code::UpstreamRejected,
        FailureKind::Shed => Code::UpstreamBusy,
        FailureKind::Deadline => Code::UpstreamDeadline,
    }
}

/// The catalogue's code for an answer that broke.
#[must_use]
pub const fn code_of_break(how: Break) -> Code {
    match how {
        Break::Cut => Code::UpstreamDisconnected,
        Break::Stalled => Code::UpstreamStalled,
        Break::Malformed | Break::MissingEnd => Code::UpstreamProtocol,
        Break::InBand => Code::UpstreamError,
        Break::TooLarge => Code::UpstreamTooLarge,
        Break::Deadline => Code::UpstreamDeadline,
    }
}

/// What an end means for the log line.
#[must_use]
pub fn code_at(end: &End) -> Option<Code> {
    match end {
        End::Delivered { .. } | End::ClientGone => None,
        End::Failed { failure, .. } => Some(code_of(failure.kind)),
        End::Cut { how } => Some(code_of_break(*how)),
    }
}

/// Is the job a stream?
#[must_use]
pub const fn is_stream(wants: &Wants) -> bool {
    matches!(wants, Wants::Chat { stream: true, .. })
}
