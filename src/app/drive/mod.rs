//! Drives the failure engine: performs its actions over the port and tells it what happens.
//!
//! One loop for streams and whole answers. Until an attempt is committed nothing has reached the caller; then a stream
//! goes on after the reply was returned, either natively or piece by piece through here.

mod books;
mod codes;
mod perform;
mod relay;
mod wait;

use std::pin::Pin;

use super::accounts::Reserved;
use super::attempt::{Attempt, Body};
use super::health::Health;
use super::job::{Job, Wants};
use super::port::Port;
use crate::base::errors::{Code, Refusal};
use crate::base::time::Millis;
use crate::domain::llm::engine::failure::{Break, Failure, FailureKind};
use crate::domain::llm::engine::machine::Engine;
use crate::domain::llm::engine::{AttemptId, Booked, Deadlines, End, Input, Plan, TargetId};
use crate::domain::llm::stream::delivery::Delivery;
use crate::domain::llm::upstream::MAX_PASSED_WAIT;

pub use books::{Book, Total};
pub use codes::{code_at, code_of_break, media_refused, refusal_of_break};
pub use relay::{RelayVerdict, verdict};
use wait::{Happening, Timer, Writing};

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
    reserved: Reserved,
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

impl<P: Port> Drive<P> {
    /// Begins: the first attempt is under way when this returns.
    ///
    /// `reserved` is settled with what the attempts took: as told, at their most where nobody tells.
    pub fn begin(
        port: &P,
        job: Job,
        plan: Plan,
        health: Health<P>,
        delivery: Delivery,
        reserved: Reserved,
    ) -> Self {
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
            reserved,
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
        self.health.settle().await;
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

    /// Headers that tell what the principal has left of its tokens, this call's reserved.
    #[must_use]
    pub fn limits(&self) -> Vec<(&'static str, String)> {
        self.reserved.headers(self.port.now())
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
        // Nobody was asked: every target is closed for a while.
        let nobody = target.is_none() && failure.kind == FailureKind::Server;
        let code = if nobody {
            Code::UpstreamUnavailable
        } else {
            failure.kind.code()
        };
        let refusal = known.unwrap_or_else(|| Refusal::new(code));
        match wait {
            Some(wait) if refusal.code.entry().retryable => told_wait(refusal, wait),
            _ => refusal,
        }
    }

    /// Tells the breakers, gives leases back, and settles the budgets: after the last byte.
    pub async fn settle(&mut self) {
        self.health.settle().await;
        let (tokens, micros) = self.booked();
        self.reserved.settle(&self.port, tokens, micros).await;
    }

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
}

/// Tells the wait, capped; and what was asked for, where that is longer.
fn told_wait(refusal: Refusal, asked: Millis) -> Refusal {
    let told = refusal.wait(asked.clamp(Millis::from_secs(1), MAX_PASSED_WAIT));
    if asked <= MAX_PASSED_WAIT || told.detail.is_some() {
        return told;
    }
    told.detail(format!(
        "The provider asks for a wait of {}.",
        in_words(asked)
    ))
}

/// A time of more than a minute, roughly.
fn in_words(time: Millis) -> String {
    const HOUR: u64 = 60;
    const DAY: u64 = 24 * HOUR;
    const YEAR: u64 = 365 * DAY;
    match time.secs() / 60 {
        minutes @ 0..120 => format!("{minutes} minutes"),
        minutes @ 120..2880 => format!("{} hours", minutes / HOUR),
        minutes @ 2880..=YEAR => format!("{} days", minutes / DAY),
        _ => "more than a year".to_owned(),
    }
}

/// Is the job a stream?
#[must_use]
pub const fn is_stream(wants: &Wants) -> bool {
    matches!(wants, Wants::Chat { stream: true, .. })
}
