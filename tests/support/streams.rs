//! The object of a stored answer in memory: the log and the story are the real ones, and this is their shell.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::rc::Rc;

use gatehouse::app::port::{Port, StoredReply};
use gatehouse::app::reply::Outcome;
use gatehouse::app::stored::command::{Command, Refused, Run, Standing, Told};
use gatehouse::app::stored::{self, Ended, Stage};
use gatehouse::base::errors::{Code, Refusal};
use gatehouse::base::machine::Effects;
use gatehouse::base::time::Millis;
use gatehouse::domain::llm::stream::log::{Began, Begin, Head, Log, Status};
use gatehouse::domain::telemetry::LogLine;

use super::fake_port::FakePort;
use super::pipe::FakeStream;
use super::run::{either, moved, spawn, until};

/// One answer. Rows outlive an eviction; the rest does not.
#[derive(Default)]
pub struct Answer {
    rows: RefCell<BTreeMap<String, String>>,
    log: RefCell<Log>,
    refused: RefCell<Option<Refused>>,
    running: Cell<bool>,
    stop: Cell<bool>,
    readers: Cell<u32>,
    /// The object went away: what its call still does reaches nobody.
    evicted: Cell<bool>,
}

impl Answer {
    /// What is left when the platform takes the object away.
    pub fn evict(&self) -> Rc<Self> {
        self.evicted.set(true);
        let rows = self.rows.borrow().clone();
        Rc::new(Self {
            log: RefCell::new(Log::load(rows.clone().into_iter().collect())),
            rows: RefCell::new(rows),
            ..Self::default()
        })
    }

    fn persist(&self, effects: Effects) {
        if self.evicted.get() {
            return;
        }
        effects.keep_in(&mut self.rows.borrow_mut(), &mut None);
        moved();
    }

    fn with<T>(&self, step: impl FnOnce(&mut Log) -> T) -> T {
        moved();
        step(&mut self.log.borrow_mut())
    }

    /// The alarm.
    pub fn wake(&self, now: Millis) {
        let effects = self.with(|log| log.wake(now));
        if effects.delete_all {
            self.log.take();
        }
        self.persist(effects);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.borrow().is_empty()
    }

    fn stop(&self) {
        self.stop.set(true);
        moved();
    }

    fn over(&self, now: Millis, status: Status, ttl: Millis) {
        let effects = self.with(|log| log.end(now, status, ttl));
        self.persist(effects);
        self.running.set(false);
    }

    fn standing(&self, now: Millis, owner: &str) -> Told {
        self.with(|log| match log.status(now, owner) {
            None => Told::NotFound,
            Some(status) => Told::Standing(Box::new(Standing {
                status,
                created: log.created(),
                request: log.request().map(str::to_owned),
                stream: log.is_stream(),
                body: String::from_utf8_lossy(log.read(0)).into_owned(),
                error: log.error(),
            })),
        })
    }
}

/// One command in, what is told and the answer's body out.
pub async fn open(port: &FakePort, answer: Rc<Answer>, command: &str) -> StoredReply<FakeStream> {
    let command: Command = serde_json::from_str(command).expect("a command");
    let now = port.now();
    let foreign = |protocol| !answer.with(|log| log.speaks(protocol));
    let (told, stream) = match command {
        _ if command.protocol().is_some_and(foreign) => (Told::NotFound, None),
        Command::Run(run) => self::run(port, &answer, *run).await,
        Command::Read { owner, after, .. } if answer.with(|log| log.is_stream()) => {
            head(port, &answer, &owner, after).await
        }
        Command::Read { .. } => (Told::NotFound, None),
        Command::Look { owner, .. } => (answer.standing(now, &owner), None),
        Command::Cancel { owner, .. } => (cancel(port, &answer, &owner).await, None),
        Command::Delete { owner, .. } => match cancel(port, &answer, &owner).await {
            Told::NotFound => (Told::NotFound, None),
            _ => {
                answer.log.take();
                answer.rows.borrow_mut().clear();
                (Told::Done, None)
            }
        },
    };
    StoredReply {
        told: serde_json::to_string(&told).unwrap(),
        stream,
    }
}

async fn run(port: &FakePort, answer: &Rc<Answer>, run: Run) -> (Told, Option<FakeStream>) {
    let (owner, background) = (run.begin.owner.clone(), run.background);
    let Some(began) = begun(port, answer, run.begin.clone()) else {
        return (Told::Conflict, None);
    };
    if began == Began::Run {
        spawn(make(port.clone(), Rc::clone(answer), run));
    }
    if background {
        return (answer.standing(port.now(), &owner), None);
    }
    let (told, body) = head(port, answer, &owner, None).await;
    (attached(told, began), body)
}

/// `None` when the key stands for another request.
fn begun(port: &FakePort, answer: &Rc<Answer>, begin: Begin) -> Option<Began> {
    let (began, effects) = answer.with(|log| log.begin(port.now(), begin));
    match began {
        Began::Conflict => return None,
        Began::Attach => {}
        Began::Run => {
            answer.persist(effects);
            answer.refused.take();
            answer.stop.set(false);
            answer.running.set(true);
        }
    }
    Some(began)
}

fn attached(told: Told, began: Began) -> Told {
    match told {
        Told::Head { head, .. } => Told::Head {
            head,
            attached: began == Began::Attach,
        },
        other => other,
    }
}

/// Waits for the answer to begin.
async fn head(
    port: &FakePort,
    answer: &Rc<Answer>,
    owner: &str,
    after: Option<u64>,
) -> (Told, Option<FakeStream>) {
    answer.readers.set(answer.readers.get() + 1);
    until(|| {
        answer.refused.borrow().is_some()
            || !answer.running.get()
            || answer.log.borrow().answer_head().is_some()
    })
    .await;
    let refused = answer.refused.borrow().clone();
    let status = answer.with(|log| log.status(port.now(), owner));
    let begun = answer.with(|log| log.answer_head().cloned());
    let told = match (refused, status, begun) {
        (_, None, _) => Told::NotFound,
        (Some(refused), ..) => Told::Refused(Box::new(refused)),
        (None, Some(_), Some(head)) => Told::Head {
            head,
            attached: false,
        },
        (None, Some(status), None) => {
            let code = if status == Status::Cancelled {
                Code::AnswerCancelled
            } else {
                Code::StreamLost
            };
            Told::Refused(Box::new(Refused::of(&Refusal::new(code))))
        }
    };
    let whole = matches!(told, Told::Head { .. }) && !answer.with(|log| log.is_stream());
    if whole {
        until(|| !answer.running.get()).await;
    }
    let body = match &told {
        Told::Head { .. } if whole => {
            let bytes = answer.with(|log| log.read(0).to_vec());
            leave(port, answer);
            Some(FakeStream::of(&port.clock(), vec![bytes], None))
        }
        Told::Head { .. } => {
            let from = answer.with(|log| log.position_after(after));
            let (outlet, body) = port.outlet();
            let (port, answer) = (port.clone(), Rc::clone(answer));
            spawn(async move {
                follow(&answer, &outlet, from).await;
                leave(&port, &answer);
            });
            Some(body)
        }
        _ => {
            leave(port, answer);
            None
        }
    };
    (told, body)
}

/// Gives a client everything from a position on.
async fn follow(answer: &Answer, outlet: &FakeStream, mut at: usize) {
    loop {
        let piece = answer.log.borrow().read(at).to_vec();
        if !piece.is_empty() {
            at += piece.len();
            if outlet.write(piece).await.is_err() {
                return;
            }
        } else if answer.running.get() && !answer.evicted.get() {
            let more = until(|| {
                answer.log.borrow().len() > at || !answer.running.get() || answer.evicted.get()
            });
            if either(more, outlet.gone()).await.is_err() {
                return;
            }
        } else {
            outlet.close();
            return;
        }
    }
}

/// A reader less: an answer that nobody reads is stopped after its grace period.
fn leave(port: &FakePort, answer: &Rc<Answer>) {
    answer.readers.set(answer.readers.get() - 1);
    let unread = |answer: &Answer| answer.readers.get() == 0 && answer.running.get();
    if let Some(grace) = answer.with(|log| log.grace()).filter(|_| unread(answer)) {
        let (port, answer) = (port.clone(), Rc::clone(answer));
        spawn(async move {
            port.sleep(grace).await;
            if unread(&answer) {
                answer.stop();
            }
        });
    }
}

async fn cancel(port: &FakePort, answer: &Rc<Answer>, owner: &str) -> Told {
    if matches!(answer.standing(port.now(), owner), Told::NotFound) {
        return Told::NotFound;
    }
    answer.stop();
    until(|| !answer.running.get()).await;
    answer.standing(port.now(), owner)
}

async fn make(port: FakePort, answer: Rc<Answer>, run: Run) {
    let (ttl, request_id) = (run.begin.ttl, run.begin.request_id.clone());
    let ended = stored::perform(&port, run, Making(Rc::clone(&answer))).await;
    made(&port, &answer, ttl, request_id, ended);
}

fn made(port: &FakePort, answer: &Answer, ttl: Millis, request_id: String, ended: Ended) {
    let stopped = answer.stop.get();
    let (status, outcome) = match ended {
        Ended::Over(outcome) => match outcome.code {
            None => (Status::Done, outcome),
            Some(_) => (Status::Failed, outcome),
        },
        Ended::Refused(refusal) => {
            answer.refused.replace(Some(Refused::of(&refusal)));
            answer.with(|log| log.fail(&refusal));
            let outcome = Outcome {
                code: Some(refusal.code),
                cause: refusal.cause,
                ..Outcome::default()
            };
            (Status::Failed, outcome)
        }
    };
    let status = if stopped { Status::Cancelled } else { status };
    answer.over(port.now(), status, ttl);
    port.log(&LogLine {
        request_id,
        method: "CALL".into(),
        code: outcome.code.map(|code| code.entry().code),
        cause: outcome.cause.filter(|cause| !cause.is_empty()),
        target: outcome.target,
        tokens_in: outcome.tokens_in,
        tokens_out: outcome.tokens_out,
        cost_micros: outcome.cost_micros,
        attempts: outcome.attempts,
        ..LogLine::default()
    });
}

#[derive(Clone)]
struct Making(Rc<Answer>);

impl Stage for Making {
    fn head(&self, head: Head) {
        let effects = self.0.with(|log| log.head(head));
        self.0.persist(effects);
    }

    fn write(&self, bytes: Vec<u8>) {
        self.0.with(|log| log.append(&bytes));
        let effects = self.0.with(Log::flush);
        self.0.persist(effects);
    }

    fn stopped(&self) -> Pin<Box<dyn Future<Output = ()>>> {
        let answer = Rc::clone(&self.0);
        Box::pin(async move { until(|| answer.stop.get()).await })
    }
}
